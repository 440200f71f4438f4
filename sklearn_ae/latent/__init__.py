"""Interpolation, traversal, attributes and sampling in the latent space of any transformer.

    samples -- transform --> codes -- change --> codes -- inverse_transform --> samples

Each function encodes samples, changes the codes and decodes them. A model needs only
``transform`` and ``inverse_transform``, such as this package's autoencoders, PCA,
``KernelPCA(fit_inverse_transform=True)`` and pipelines of these.

Two-dimensional input is passed to the model unchanged: DataFrames keep their feature
names, sparse matrices stay sparse, and the model validates them; a note on its error
names the parameter. Results are NumPy arrays regardless of ``set_output``, and have a
samples axis if the input has one. Codes are decoded in the precision of ``transform``.

Models with the methods ``sample`` and ``posterior``, such as ``VAETransformer``, and
pipelines that end in one are assumed to have a standard normal prior on their
``n_components_`` components. Only :func:`sample_latent` is random.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch, check_scalar

from sklearn_ae._utils.arrays import numpy_only
from sklearn_ae._utils.parameters import check_density, finite_number, finite_vector, index
from sklearn_ae._utils.runtime import kept_filters, private_random_state
from sklearn_ae._utils.transformers import decode, encode
from sklearn_ae.latent._codes import check_method, code_quantiles, code_vector, levels, path, two_components
from sklearn_ae.latent._densities import draw_from_estimator, draw_gaussians

__all__ = [
    "apply_attribute",
    "attribute_vector",
    "interpolate",
    "latent_grid",
    "sample_latent",
    "traverse",
]


@kept_filters()
@numpy_only()
def interpolate(
    model: Any, X_start: Any, X_end: Any, n_steps: int = 10, method: str = "linear"
) -> np.ndarray:
    """Interpolate between samples in the latent space.

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``.
    X_start, X_end : {array-like, sparse matrix} of shape (n_features,) or (n_samples, n_features)
        Samples at the start and the end of the paths.
    n_steps : int, default=10
        Number of points on a path, both ends included.
    method : {"linear", "spherical"}, default="linear"
        "linear" connects the codes by straight lines. "spherical" rotates about the origin at
        constant speed [1]_ while the length changes linearly. It suits models with a normal
        prior, nearly all of whose codes are far from the origin, unlike the middle of a straight
        line [2]_. A code of zero takes the other's direction.

    Returns
    -------
    decoded : ndarray of shape (n_steps, n_features) or (n_samples, n_steps, n_features)
        Decoded codes, from the reconstruction of X_start to that of X_end.

    Raises
    ------
    ValueError
        If a parameter is out of range, the numbers of samples differ, or codes for "spherical" are
        opposite, so that no great circle between them is the shortest.

    References
    ----------
    .. [1] K. Shoemake (1985), Animating rotation with quaternion curves, SIGGRAPH.
    .. [2] T. White (2016), Sampling generative networks, arXiv:1609.04468.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.latent import interpolate
    >>> X = load_digits().data
    >>> pca = PCA(n_components=8).fit(X)
    >>> interpolate(pca, X[0], X[1], n_steps=5).shape
    (5, 64)
    >>> interpolate(pca, X[:3], X[3:6], method="spherical").shape
    (3, 10, 64)
    """
    check_scalar(n_steps, "n_steps", Integral, min_val=2)
    check_method(method)
    start, end = encode(model, X_start, "X_start"), encode(model, X_end, "X_end")
    decoded = decode(model, path(start, end, n_steps, method), np.result_type(start, end))
    return decoded[0] if np.ndim(X_start) == np.ndim(X_end) == 1 else decoded


@kept_filters()
@numpy_only()
def traverse(
    model: Any,
    x: Any,
    component: Any,
    values: ArrayLike | None = None,
    *,
    X: Any = None,
    n_steps: int = 10,
    quantile_range: Any = (0.05, 0.95),
    return_codes: bool = False,
) -> Any:
    """Vary one component of a code, or several components in turn.

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``.
    x : {array-like, sparse matrix} of shape (n_features,) or (1, n_features), or None
        A single sample, whose code is varied. None varies the medians of the codes of X, or the
        mean 0 of a prior.
    component : int or sequence of int
        Index of the component, from 0, or indices of several. Each is varied alone.
    values : array-like of shape (n_values,), default=None
        Values of the component, in the units of the code. None uses quantiles of the component.
    X : {array-like, sparse matrix} of shape (n_samples, n_features), default=None
        Samples whose codes determine the quantiles and medians, such as the training samples.
        None uses those of the prior N(0, I) of models with the methods ``sample`` and
        ``posterior``, such as ``VAETransformer``.
    n_steps : int, default=10
        Number of quantiles, at equal distances of probability.
    quantile_range : pair of float, default=(0.05, 0.95)
        The lowest and the highest quantile.
    return_codes : bool, default=False
        Also return the codes that were decoded.

    Returns
    -------
    decoded : ndarray of shape (n_values, n_features) or (n_varied, n_values, n_features)
        Decoded codes, one for each value; the first axis is that of a sequence of components.
    codes : ndarray of shape (n_values, n_components) or (n_varied, n_values, n_components)
        The codes that were decoded. Only if ``return_codes``.

    Raises
    ------
    ValueError
        If x is not a single sample, the code has no such component, a parameter is out of range,
        or quantiles are needed and X is None for a model without a prior.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.latent import traverse
    >>> X = load_iris().data
    >>> pca = PCA(n_components=2).fit(X)
    >>> traverse(pca, X[0], component=0, X=X).shape
    (10, 4)
    >>> traverse(pca, X[0], component=0, values=[-1, 0, 1]).shape
    (3, 4)
    >>> traverse(pca, None, component=[0, 1], X=X, n_steps=5).shape
    (2, 5, 4)
    """
    check_scalar(n_steps, "n_steps", Integral, min_val=2)
    given = None if values is None else finite_vector(values, "values")
    quantiles: Any = None
    code: Any = None
    if given is None or x is None:
        quantiles, code = code_quantiles(model, X, levels(quantile_range, n_steps))
    if x is not None:
        code = _single_code(model, x)
    varied = [index(c, len(code), "component") for c in np.ravel(component).tolist()]
    if not varied:
        raise ValueError("component must be an index or a sequence of at least one; got none.")
    steps = np.tile(given, (len(code), 1)).T if given is not None else quantiles
    codes = np.tile(code, (len(varied), len(steps), 1))
    for of_component, c in zip(codes, varied, strict=True):
        of_component[:, c] = steps[:, c]
    codes = codes[0] if np.ndim(component) == 0 else codes
    decoded = decode(model, codes, code.dtype)
    return (decoded, codes) if return_codes else decoded


def _single_code(model: Any, x: Any) -> np.ndarray:
    """Return the code of a single sample, of shape (n_components,)."""
    codes = encode(model, x, "x")
    if len(codes) != 1:
        raise ValueError(f"x must be a single sample; got {len(codes)}. Call traverse for each of them.")
    return codes[0]


@kept_filters()
@numpy_only()
def latent_grid(
    model: Any,
    n: int = 20,
    *,
    X: Any = None,
    components: Any = (0, 1),
    quantile_range: Any = (0.05, 0.95),
) -> Bunch:
    """Decode a grid of codes in the plane of two components, in steps of equal probability.

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform`` and at least two components.
    n : int, default=20
        Number of points along each of the two components.
    X : {array-like, sparse matrix} of shape (n_samples, n_features), default=None
        Samples whose codes determine the quantiles, and the medians at which the other components
        are fixed. None uses those of the prior N(0, I) of models with the methods ``sample`` and
        ``posterior``, such as ``VAETransformer``.
    components : pair of int, default=(0, 1)
        Indices of the two components.
    quantile_range : pair of float, default=(0.05, 0.95)
        The lowest and the highest quantile.

    Returns
    -------
    grid : Bunch
        ``samples`` of shape (n, n, n_features): the decoded codes, laid out like a scatter plot. The first
        component increases to the right (along the second axis), the second one upwards, so
        that the first axis starts at its largest value. ``codes`` of shape
        (n, n, n_components): the codes that were decoded. ``grid_values``: the values of the first
        component, ascending, and of the second one, descending.

    Raises
    ------
    ValueError
        If a parameter is out of range, or X is None and the model has no prior.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.latent import latent_grid
    >>> X = load_digits().data
    >>> grid = latent_grid(PCA(n_components=2).fit(X), n=10, X=X)
    >>> grid.samples.shape
    (10, 10, 64)
    >>> grid.samples.reshape(10, 10, 8, 8).swapaxes(1, 2).reshape(80, 80).shape  # One image of all
    (80, 80)
    """
    check_scalar(n, "n", Integral, min_val=2)
    quantiles, centre = code_quantiles(model, X, levels(quantile_range, n))
    first, second = two_components(components, len(centre))
    right, up = quantiles[:, first], quantiles[::-1, second]
    codes = np.tile(centre, (n, n, 1))
    codes[:, :, first], codes[:, :, second] = right, up[:, np.newaxis]
    return Bunch(samples=decode(model, codes, centre.dtype), codes=codes, grid_values=(right, up))


@kept_filters()
@numpy_only()
def attribute_vector(model: Any, X_with: Any, X_without: Any) -> np.ndarray:
    """Return the latent direction from samples without an attribute to samples with it.

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``.
    X_with, X_without : {array-like, sparse matrix} of shape (n_samples, n_features)
        Samples with and without the attribute. Their numbers may differ.

    Returns
    -------
    vector : ndarray of shape (n_components,)
        Mean code of the samples with the attribute less that of the others.

    Raises
    ------
    ValueError
        If the model does not accept the samples.

    References
    ----------
    A. Radford, L. Metz, S. Chintala (2016), Unsupervised representation learning with DCGANs,
    ICLR; A. Larsen et al. (2016), Autoencoding beyond pixels, ICML.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.latent import apply_attribute, attribute_vector
    >>> X, y = load_digits(return_X_y=True)
    >>> pca = PCA(n_components=8).fit(X)
    >>> from_3_to_8 = attribute_vector(pca, X[y == 8], X[y == 3])
    >>> apply_attribute(pca, X[y == 3][:5], from_3_to_8).shape
    (5, 64)
    """
    with_it, without = encode(model, X_with, "X_with"), encode(model, X_without, "X_without")
    return with_it.mean(axis=0) - without.mean(axis=0)


@kept_filters()
@numpy_only()
def apply_attribute(model: Any, X: Any, vector: ArrayLike, strength: float = 1.0) -> np.ndarray:
    """Shift the codes of samples along a vector, such as the result of :func:`attribute_vector`.

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``.
    X : {array-like, sparse matrix} of shape (n_samples, n_features) or (n_features,)
        Samples to change.
    vector : array-like of shape (n_components,)
        Vector to add to each code.
    strength : float, default=1.0
        Factor of the vector; negative values remove the attribute.

    Returns
    -------
    decoded : ndarray of shape (n_samples, n_features) or (n_features,)
        Decoded codes.

    Raises
    ------
    ValueError
        If the vector has not as many entries as a code, or a number is not finite.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.latent import apply_attribute
    >>> X = load_iris().data
    >>> apply_attribute(PCA(n_components=2).fit(X), X[:3], [1.0, 0.0], strength=0.5).shape
    (3, 4)
    """
    codes = encode(model, X, "X")
    step = finite_number(strength, "strength") * code_vector(vector, codes.shape[1])
    decoded = decode(model, codes + step, codes.dtype)
    return decoded[0] if np.ndim(X) == 1 else decoded


@kept_filters()
@numpy_only()
def sample_latent(
    model: Any,
    X: Any,
    n_samples: int = 1,
    *,
    density: Any = "gaussian",
    random_state: Any = None,
    return_codes: bool = False,
) -> Any:
    """Draw new samples: fit a density to the codes of X, draw codes from it, and decode them.

    This turns any transformer, including PCA, into a generative model. A variational
    autoencoder has its own density: use its method ``sample``.

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``.
    X : {array-like, sparse matrix} of shape (n_samples_X, n_features)
        Samples to whose codes the density is fitted, such as the training data.
    n_samples : int, default=1
        Number of samples to draw.
    density : {"gaussian", "mixture"} or estimator, default="gaussian"
        "gaussian" has the mean and covariance of the codes, which may be few or linearly dependent.
        "mixture" is a ``GaussianMixture`` of 1, 2, 4, 8, 16 or 32 components, with the lowest BIC
        among the sizes that leave twice as many samples per component as its covariance
        needs. An estimator with ``fit`` and ``sample``, such as ``KernelDensity``, is cloned and
        fitted.
    random_state : int, RandomState instance or None, default=None
        Determines the draws, also those of an estimator whose own ``random_state`` is None.
        None uses fresh entropy, and does not affect NumPy's global generator.
    return_codes : bool, default=False
        Also return the codes that were drawn.

    Returns
    -------
    decoded : ndarray of shape (n_samples, n_features)
        New samples, in random order.
    codes : ndarray of shape (n_samples, n_components)
        Drawn codes. Only if ``return_codes``.

    Raises
    ------
    ValueError
        If a parameter is out of range, or the density draws codes of the wrong shape.
    TypeError
        If the density has no ``fit`` and ``sample``.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.latent import sample_latent
    >>> X = load_digits().data
    >>> pca = PCA(n_components=8).fit(X)
    >>> sample_latent(pca, X, 5, density="mixture", random_state=0).shape
    (5, 64)
    """
    check_scalar(n_samples, "n_samples", Integral, min_val=1)
    check_density(density)
    rng = private_random_state(random_state)
    codes = encode(model, X, "X")
    draw = draw_gaussians if isinstance(density, str) else draw_from_estimator
    drawn = draw(codes, density, n_samples, rng)
    drawn = drawn[rng.permutation(n_samples)]  # Mixtures draw component by component
    decoded = decode(model, drawn, codes.dtype)
    return (decoded, drawn) if return_codes else decoded
