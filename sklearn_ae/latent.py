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

import inspect
import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy import sparse
from scipy.stats import norm
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch, check_array, check_scalar
from sklearn.utils.validation import check_is_fitted

from sklearn_ae._resources import private_random_state

__all__ = ["apply_attribute", "attribute_vector", "interpolate", "latent_grid", "sample_latent", "traverse"]


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
    if method not in list(_PATHS):
        raise ValueError(f"method={method!r} is not known; valid strings are 'linear' and 'spherical'.")
    start, end = _encode(model, X_start, "X_start"), _encode(model, X_end, "X_end")
    if len(start) != len(end):
        raise ValueError(f"X_start has {len(start)} rows and X_end {len(end)}; pass as many, in pairs.")
    path = _PATHS[method](start, end, np.linspace(0, 1, n_steps))
    path[:, 0], path[:, -1] = start, end  # without a rounding error
    rows = _decode(model, path, np.result_type(start, end))
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
    code = _encode(model, x, "x")
    if len(code) != 1:
        raise ValueError(f"x must be one row; got {len(code)}. Call traverse once for each.")
    values = _finite_vector(values, "values")
    codes = np.repeat(code, len(values), axis=0)
    codes[:, _index(component, code.shape[1], "component")] = values
    return _decode(model, codes, code.dtype)


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
    low, high = _pair(quantile_range, "quantile_range")
    if not 0 <= low < high <= 1:
        raise ValueError(f"quantile_range must hold 0 <= low < high <= 1; got {quantile_range!r}.")
    quantiles, centre = _code_quantiles(model, X, np.linspace(low, high, n))
    first, second = _two_components(components, len(centre))
    right, up = quantiles[:, first], quantiles[::-1, second]
    codes = np.tile(centre, (n, n, 1))
    codes[:, :, first], codes[:, :, second] = right, up[:, np.newaxis]
    return Bunch(rows=_decode(model, codes, centre.dtype), codes=codes, grid_values=(right, up))


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
    .. [1] A. Larsen et al. (2016), Autoencoding beyond pixels using a learned similarity
       metric, ICML.
    .. [2] A. Radford, L. Metz, S. Chintala (2016), Unsupervised representation learning
       with deep convolutional generative adversarial networks, ICLR.

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
    with_it, without = _encode(model, X_with, "X_with"), _encode(model, X_without, "X_without")
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
    codes, vector = _encode(model, X, "X"), _finite_vector(vector, "vector")
    check_scalar(strength, "strength", Real)
    if not np.isfinite(strength):
        raise ValueError(f"strength must be finite; got {strength!r}.")
    if len(vector) != codes.shape[1]:
        raise ValueError(
            f"vector has {len(vector)} entries, but the codes have {codes.shape[1]} components. "
            "Pass what attribute_vector returns for the same model."
        )
    rows = _decode(model, codes + float(strength) * vector, codes.dtype)
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
    _check_density(density)
    rng = private_random_state(random_state)
    codes = _encode(model, X, "X")
    draw = _draw_gaussians if isinstance(density, str) else _draw_from_estimator
    drawn = draw(codes, density, n_samples, rng)
    drawn = drawn[rng.permutation(n_samples)]  # mixtures draw component by component
    rows = _decode(model, drawn, codes.dtype)
    return (rows, drawn) if return_codes else rows


# -- rows and codes -----------------------------------------------------------------------


def _check_model(model: Any) -> None:
    missing = [name for name in ("transform", "inverse_transform") if not hasattr(model, name)]
    if missing or isinstance(model, type):
        name = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise TypeError(
            f"model must be a fitted transformer with transform and inverse_transform; got {name}"
            f"{' without ' + ' and '.join(missing) if missing else ', not an instance'}. Use for instance "
            "PCA, AutoencoderTransformer, or a Pipeline of steps that all have inverse_transform."
        )


def _encode(model: Any, X: Any, name: str) -> np.ndarray:
    """Codes of rows, as a float array of shape (n_samples, n_components)."""
    _check_model(model)
    if np.ndim(X) not in (1, 2):
        raise ValueError(f"{name} must have 1 dimension (one row) or 2; got {np.ndim(X)}.")
    try:
        codes = model.transform(X if np.ndim(X) == 2 else _as_rows(X))
    except Exception as error:
        error.add_note(f"Raised by {type(model).__name__}.transform for {name}.")
        raise
    return check_array(_dense(codes), dtype=[np.float64, np.float32], input_name=f"transform({name})")


def _as_rows(x: Any) -> Any:
    """One row in two dimensions; a row of a DataFrame keeps its names."""
    if hasattr(x, "to_frame") and hasattr(x, "iloc"):
        return x.to_frame().T.infer_objects()
    return (x if sparse.issparse(x) else np.asarray(x)).reshape(1, -1)


def _decode(model: Any, codes: np.ndarray, dtype: Any) -> np.ndarray:
    """Decode codes of shape (..., n_components)."""
    rows = _dense(model.inverse_transform(codes.reshape(-1, codes.shape[-1]).astype(dtype)))
    return rows.reshape(*codes.shape[:-1], rows.shape[-1])


def _dense(X: Any) -> np.ndarray:
    return X.toarray() if sparse.issparse(X) else np.asarray(X)


# -- parameters ---------------------------------------------------------------------------


def _finite_vector(values: Any, name: str) -> np.ndarray:
    if np.ndim(values) != 1:
        raise ValueError(f"{name} must have 1 dimension; got {np.ndim(values)}.")
    return check_array(values, ensure_2d=False, dtype=np.float64, input_name=name)


def _index(component: Any, n_components: int, name: str) -> int:
    if not isinstance(component, Integral) or not 0 <= component < n_components:
        raise ValueError(
            f"{name} must be an integer from 0 to {n_components - 1}, since the code has {n_components} "
            f"components; got {component!r}."
        )
    return int(component)


def _pair(values: Any, name: str) -> list[Any]:
    pair = np.ravel(values).tolist()
    if len(pair) != 2 or not all(isinstance(value, Real) for value in pair):
        raise ValueError(f"{name} must be a pair of numbers; got {values!r}.")
    return pair


def _two_components(components: Any, n_components: int) -> list[int]:
    if n_components < 2:
        raise ValueError("A grid needs codes of 2 components, and this model has 1: use traverse instead.")
    first, second = (_index(c, n_components, "components") for c in _pair(components, "components"))
    if first == second:
        raise ValueError(f"components must differ; got {components!r}.")
    return [first, second]


# -- walks --------------------------------------------------------------------------------


def _linear(start: np.ndarray, end: np.ndarray, t: np.ndarray) -> np.ndarray:
    return start[:, np.newaxis] + t[:, np.newaxis] * (end - start)[:, np.newaxis]


def _spherical(start: np.ndarray, end: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Rotate the direction at constant speed, and interpolate the length.

    The angle comes from W. Kahan's formula, and the plane from the part of the end
    that is orthogonal to the start: both are accurate for nearly parallel codes,
    where arccos and the ratio of sines are not.
    """
    u, v = _directions(start, end), _directions(end, start)
    apart, together = _lengths(v - u), _lengths(v + u)
    opposite = together < np.sqrt(np.finfo(np.result_type(start, end)).eps) * apart
    if opposite.any():
        raise ValueError(
            f"X_start and X_end have opposite codes (row {np.flatnonzero(opposite)[0]}), between which no "
            "great circle is the shortest: use method='linear'."
        )
    sideways = _unit(v - u * (u * v).sum(axis=1, keepdims=True))
    angle, t = 2 * np.arctan2(apart, together)[:, np.newaxis], t[:, np.newaxis]
    direction = np.cos(t * angle) * u[:, np.newaxis] + np.sin(t * angle) * sideways[:, np.newaxis]
    return direction * _linear(_lengths(start), _lengths(end), t[:, 0])


def _directions(codes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Unit vectors; a code of zero has no direction of its own."""
    return _unit(np.where(codes.any(axis=1, keepdims=True), codes, others).astype(np.float64))


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = _lengths(vectors)
    return vectors / np.where(lengths > 0, lengths, 1)


def _lengths(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=1, keepdims=True)


_PATHS = {"linear": _linear, "spherical": _spherical}


# -- densities ----------------------------------------------------------------------------

_MIXTURE_SIZES = (1, 2, 4, 8, 16, 32)
# Least variance of a mixture's component, as a share of that of the codes. With it a component
# that collapses onto a few rows gains less likelihood than BIC charges for it.
_MIXTURE_FLOOR = 1e-3


def _check_density(density: Any) -> None:
    if isinstance(density, str) and density not in ("gaussian", "mixture"):
        raise ValueError(
            f"density={density!r} is not known; valid strings are 'gaussian' and 'mixture'. An estimator "
            "with fit and sample, such as KernelDensity(), is one, too."
        )
    if not isinstance(density, str) and not (hasattr(density, "fit") and hasattr(density, "sample")):
        raise TypeError(
            f"density={density!r} has no fit and sample: pass 'gaussian', 'mixture', or an estimator that "
            "has both, such as KernelDensity()."
        )


def _code_quantiles(model: Any, X: Any, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles (levels by components) and centre, of the codes of X or of the prior."""
    if X is not None:
        codes = _encode(model, X, "X")
        return np.quantile(codes, levels, axis=0), np.median(codes, axis=0)
    _check_model(model)
    last = model.steps[-1][1] if isinstance(model, Pipeline) else model
    if not (hasattr(last, "sample") and hasattr(last, "posterior")):
        raise ValueError(
            f"X=None needs a standard normal prior, and the codes of {type(last).__name__} have none: pass "
            "rows whose codes the grid is to cover, such as X=X_train."
        )
    check_is_fitted(last)
    quantiles = norm.ppf(levels)
    if not np.isfinite(quantiles).all():
        raise ValueError(
            "quantile_range must be inside of (0, 1): quantiles 0 and 1 of N(0, 1) are infinite."
        )
    return np.tile(quantiles[:, np.newaxis], last.n_components_), np.zeros(last.n_components_)


def _draw_gaussians(
    codes: np.ndarray, density: str, n_samples: int, rng: np.random.RandomState
) -> np.ndarray:
    """Draw from one Gaussian or several, in coordinates in which the codes have unit covariance.

    There null directions are gone, and one floor on the variances fits all units.
    """
    mean = codes.mean(axis=0, dtype=np.float64)
    U, S, Vt = np.linalg.svd(codes - mean, full_matrices=False)
    rank = int((S > S[0] * max(codes.shape) * np.finfo(codes.dtype).eps).sum())
    root = np.sqrt(max(len(codes) - 1, 1))
    mixture = _mixture(root * U[:, :rank], rng) if density == "mixture" else None
    white = mixture.sample(n_samples)[0] if mixture else rng.standard_normal((n_samples, rank))
    return mean + white @ (S[:rank, np.newaxis] * Vt[:rank] / root)


def _mixture(white: np.ndarray, rng: np.random.RandomState) -> GaussianMixture | None:
    """Mixture with the least BIC; None if the rows suffice for one Gaussian only."""
    n, rank = white.shape
    sizes = [size for size in _MIXTURE_SIZES if 2 * size * (rank + 1) <= n] if rank else []
    if len(sizes) < 2:
        return None
    with warnings.catch_warnings():  # BIC judges what has not converged, too
        warnings.simplefilter("ignore", ConvergenceWarning)
        fits = [GaussianMixture(k, reg_covar=_MIXTURE_FLOOR, random_state=rng).fit(white) for k in sizes]
    return min(fits, key=lambda mixture: mixture.bic(white))


def _draw_from_estimator(
    codes: np.ndarray, density: Any, n_samples: int, rng: np.random.RandomState
) -> np.ndarray:
    """Fit a clone to the codes and draw from it, without the global generator."""
    density = clone(density)
    params = density.get_params().items()
    unset = {name: rng for name, value in params if name.endswith("random_state") and value is None}
    density.set_params(**unset).fit(codes)
    takes_state = "random_state" in inspect.signature(density.sample).parameters
    drawn = density.sample(n_samples, **({"random_state": rng} if takes_state else {}))
    drawn = _dense(drawn[0] if isinstance(drawn, tuple) else drawn)  # GaussianMixture adds labels
    if drawn.shape != (n_samples, codes.shape[1]):
        raise ValueError(
            f"density={density!r} drew an array of shape {drawn.shape} instead of "
            f"{(n_samples, codes.shape[1])}: its sample must return rows like those given to fit."
        )
    return drawn
