"""Latent space of any fitted transformer that can decode: walk it, sweep it, draw from it.

    rows -- transform --> codes -- change --> codes -- inverse_transform --> rows

Each function encodes rows, changes the codes and decodes them. It asks a model for
nothing but ``transform`` and ``inverse_transform``: this package's autoencoders have
them, and so do PCA, ``KernelPCA(fit_inverse_transform=True)`` and pipelines of such.

Rows of two dimensions reach the model as they are: DataFrames keep their names,
sparse matrices stay sparse, and the model validates them; a note on its error names
the parameter. Results are NumPy arrays, whatever ``set_output`` says, and have the
axis of rows where the input had it. Codes are decoded in the precision they came in.

Models with the methods ``sample`` and ``posterior``, as ``VAETransformer``, and
pipelines that end in one are taken to have a standard normal prior on their
``n_components_`` components. Only :func:`sample_latent` is random.
"""

from __future__ import annotations

from numbers import Integral

import numpy as np
from sklearn.utils import Bunch, check_scalar

from sklearn_ae._utils.parameters import check_density, finite_number, finite_vector, index
from sklearn_ae._utils.runtime import private_random_state
from sklearn_ae._utils.transformers import decode, encode
from sklearn_ae.latent._codes import check_method, code_quantiles, code_vector, levels, two_components, walk
from sklearn_ae.latent._densities import draw_from_estimator, draw_gaussians


def interpolate(model, X_start, X_end, n_steps=10, method="linear"):
    """Walk from rows to other rows through the latent space.

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``.
    X_start, X_end : {array-like, sparse matrix} of shape (n_features,) or (n_samples, n_features)
        Where the walks start and end.
    n_steps : int, default=10
        Rows of a walk, both ends included.
    method : {"linear", "spherical"}, default="linear"
        "linear" goes straight from code to code. "spherical" turns about the origin at
        constant speed [1]_, and the length changes linearly. It suits models with a normal
        prior, whose codes are nearly all far from the origin that a straight walk would cut
        past [2]_. A code of zero takes the other's direction.

    Returns
    -------
    rows : ndarray of shape (n_steps, n_features) or (n_samples, n_steps, n_features)
        Decoded codes, from the reconstruction of X_start to that of X_end.

    Raises
    ------
    ValueError
        If a parameter is out of range, the numbers of rows differ, or "spherical" meets
        opposite codes, between which no great circle is the shortest.

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
    rows = decode(model, walk(start, end, n_steps, method), np.result_type(start, end))
    return rows[0] if np.ndim(X_start) == np.ndim(X_end) == 1 else rows


def traverse(model, x, component, values):
    """Set one component of a row's code to each of several values.

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``.
    x : {array-like, sparse matrix} of shape (n_features,) or (1, n_features)
        The row.
    component : int
        Index of the component, from 0.
    values : array-like of shape (n_values,)
        What the component is set to, in the units of the code.

    Returns
    -------
    rows : ndarray of shape (n_values, n_features)
        Decoded codes.

    Raises
    ------
    ValueError
        If x is not one row, the code has no such component, or a value is not finite.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.latent import traverse
    >>> X = load_iris().data
    >>> traverse(PCA(n_components=2).fit(X), X[0], component=0, values=[-1, 0, 1]).shape
    (3, 4)
    """
    code = encode(model, x, "x")
    if len(code) != 1:
        raise ValueError(f"x must be one row; got {len(code)}. Call traverse once for each.")
    values = finite_vector(values, "values")
    codes = np.repeat(code, len(values), axis=0)
    codes[:, index(component, code.shape[1], "component")] = values
    return decode(model, codes, code.dtype)


def latent_grid(model, n=20, *, X=None, components=(0, 1), quantile_range=(0.05, 0.95)):
    """Sweep the plane of two components in steps of equal probability.

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``, and with two components at least.
    n : int, default=20
        Points along each of the two components.
    X : {array-like, sparse matrix} of shape (n_samples, n_features), default=None
        Rows whose codes give the quantiles, and the medians at which the other components
        stay. None takes both from the prior N(0, I), for models that have one: those with
        the methods ``sample`` and ``posterior``, as ``VAETransformer``.
    components : pair of int, default=(0, 1)
        The two components.
    quantile_range : pair of float, default=(0.05, 0.95)
        The lowest and the highest quantile.

    Returns
    -------
    grid : Bunch
        ``rows`` of shape (n, n, n_features), laid out as a scatter plot: the first
        component grows to the right (along the second axis), the second one upwards, so
        that the first axis starts at its largest value. ``codes`` of shape
        (n, n, n_components): what was decoded. ``grid_values``: the values of the first
        component, ascending, and of the second one, descending.

    Raises
    ------
    ValueError
        If a parameter is out of range, or X is missing where there is no prior.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.latent import latent_grid
    >>> X = load_digits().data
    >>> grid = latent_grid(PCA(n_components=2).fit(X), n=10, X=X)
    >>> grid.rows.shape
    (10, 10, 64)
    >>> grid.rows.reshape(10, 10, 8, 8).swapaxes(1, 2).reshape(80, 80).shape  # one picture of all
    (80, 80)
    """
    check_scalar(n, "n", Integral, min_val=2)
    quantiles, centre = code_quantiles(model, X, levels(quantile_range, n))
    first, second = two_components(components, len(centre))
    right, up = quantiles[:, first], quantiles[::-1, second]
    codes = np.tile(centre, (n, n, 1))
    codes[:, :, first], codes[:, :, second] = right, up[:, np.newaxis]
    return Bunch(rows=decode(model, codes, centre.dtype), codes=codes, grid_values=(right, up))


def attribute_vector(model, X_with, X_without):
    """Direction in the latent space from rows without an attribute to rows with it.

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``.
    X_with, X_without : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows with the attribute and rows without it. Their numbers may differ.

    Returns
    -------
    vector : ndarray of shape (n_components,)
        Mean code of the rows with the attribute less that of the others.

    Raises
    ------
    ValueError
        If the model does not take the rows.

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


def apply_attribute(model, X, vector, strength=1.0):
    """Move the codes of rows along a vector, such as :func:`attribute_vector` gives.

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``.
    X : {array-like, sparse matrix} of shape (n_samples, n_features) or (n_features,)
        Rows.
    vector : array-like of shape (n_components,)
        What is added to each code.
    strength : float, default=1.0
        How often it is added; a negative number takes the attribute away.

    Returns
    -------
    rows : ndarray of shape (n_samples, n_features) or (n_features,)
        Decoded codes.

    Raises
    ------
    ValueError
        If the vector is not as long as a code, or a number is not finite.

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
    rows = decode(model, codes + step, codes.dtype)
    return rows[0] if np.ndim(X) == 1 else rows


def sample_latent(model, X, n_samples=1, *, density="gaussian", random_state=None, return_codes=False):
    """Draw new rows: fit a density to the codes of X, draw codes from it, and decode them.

    Makes a generative model of any transformer, PCA included. A variational
    autoencoder has a density of its own; draw from it with its ``sample``.

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``.
    X : {array-like, sparse matrix} of shape (n_samples_X, n_features)
        Rows whose codes the density is fitted to, such as the training rows.
    n_samples : int, default=1
        Number of rows to draw.
    density : {"gaussian", "mixture"} or estimator, default="gaussian"
        "gaussian" has mean and covariance of the codes, however few and dependent they
        are. "mixture" is a ``GaussianMixture`` of 1, 2, 4, 8, 16 or 32 components, those
        with the least BIC among the sizes that leave twice as many rows per component as
        it needs for a covariance. Of an estimator with ``fit`` and ``sample``, such as
        ``KernelDensity``, a clone is fitted.
    random_state : int, RandomState instance or None, default=None
        Decides the draws, also those of an estimator whose own ``random_state`` is None.
        None takes fresh entropy and leaves NumPy's global generator alone.
    return_codes : bool, default=False
        Also return the codes that were drawn.

    Returns
    -------
    rows : ndarray of shape (n_samples, n_features)
        New rows, in random order.
    codes : ndarray of shape (n_samples, n_components)
        Only if ``return_codes``.

    Raises
    ------
    ValueError
        If a parameter is out of range, or the density draws no codes of the right width.
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
    drawn = drawn[rng.permutation(n_samples)]  # mixtures draw component by component
    rows = decode(model, drawn, codes.dtype)
    return (rows, drawn) if return_codes else rows
