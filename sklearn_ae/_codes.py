"""Behind :mod:`sklearn_ae.latent`: rows and codes, checks of parameters, walks, densities."""

from __future__ import annotations

import inspect
from numbers import Real
from typing import Any

import numpy as np
from scipy import sparse
from scipy.stats import norm
from sklearn.base import clone
from sklearn.mixture import GaussianMixture
from sklearn.utils import check_array, check_scalar
from sklearn.utils.validation import check_is_fitted

from sklearn_ae._batches import dense
from sklearn_ae._pipelines import last_step
from sklearn_ae.priors import fit_mixture

# -- rows and codes -----------------------------------------------------------------------


def kind(model: Any) -> str:
    """What a model is, for errors: its class, or that it is itself one."""
    return f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__


def check_decoder(model: Any, name: str = "model") -> None:
    """Refuse what cannot encode and decode; ``name`` is the parameter that it was passed as."""
    missing = [name for name in ("transform", "inverse_transform") if not hasattr(model, name)]
    if missing or isinstance(model, type):
        raise TypeError(
            f"{name} must be a fitted transformer with transform and inverse_transform; got {kind(model)}"
            f"{' without ' + ' and '.join(missing) if missing else ', not an instance'}. Use for instance "
            "PCA, AutoencoderTransformer, or a Pipeline of steps that all have inverse_transform."
        )


def encode(model: Any, X: Any, name: str) -> np.ndarray:
    """Codes of rows, as a float array of shape (n_samples, n_components)."""
    check_decoder(model)
    if np.ndim(X) not in (1, 2):
        raise ValueError(f"{name} must have 1 dimension (one row) or 2; got {np.ndim(X)}.")
    try:
        codes = model.transform(X if np.ndim(X) == 2 else _as_rows(X))
    except Exception as error:
        error.add_note(f"Raised by {type(model).__name__}.transform for {name}.")
        raise
    return check_array(dense(codes), dtype=[np.float64, np.float32], input_name=f"transform({name})")


def _as_rows(x: Any) -> Any:
    """One row in two dimensions; a row of a DataFrame keeps its names."""
    if hasattr(x, "to_frame") and hasattr(x, "iloc"):
        return x.to_frame().T.infer_objects()
    return (x if sparse.issparse(x) else np.asarray(x)).reshape(1, -1)


def numeric_rows(X: Any, name: str = "X") -> np.ndarray:
    """Rows as a float array, whether or not they are sparse or a data frame."""
    return check_array(dense(X), dtype=[np.float64, np.float32], input_name=name)


def decode(model: Any, codes: np.ndarray, dtype: Any) -> np.ndarray:
    """Decode codes of shape (..., n_components)."""
    rows = np.asarray(dense(model.inverse_transform(codes.reshape(-1, codes.shape[-1]).astype(dtype))))
    return rows.reshape(*codes.shape[:-1], rows.shape[-1])


def code_quantiles(model: Any, X: Any, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles (levels by components) and centre, of the codes of X or of the prior."""
    if X is not None:
        codes = encode(model, X, "X")
        return np.quantile(codes, levels, axis=0), np.median(codes, axis=0)
    check_decoder(model)
    last = last_step(model)
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


# -- parameters ---------------------------------------------------------------------------


def finite_vector(values: Any, name: str) -> np.ndarray:
    if np.ndim(values) != 1:
        raise ValueError(f"{name} must have 1 dimension; got {np.ndim(values)}.")
    return check_array(values, ensure_2d=False, dtype=np.float64, input_name=name)


def finite_number(value: Any, name: str) -> float:
    check_scalar(value, name, Real)
    if not np.isfinite(value):
        raise ValueError(f"{name} must be finite; got {value!r}.")
    return float(value)


def code_vector(vector: Any, n_components: int) -> np.ndarray:
    vector = finite_vector(vector, "vector")
    if len(vector) != n_components:
        raise ValueError(
            f"vector has {len(vector)} entries, but the codes have {n_components} components. "
            "Pass what attribute_vector returns for the same model."
        )
    return vector


def index(component: Any, n_components: int, name: str) -> int:
    if not isinstance(component, (int, np.integer)) or not 0 <= component < n_components:
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


def levels(quantile_range: Any, n: int) -> np.ndarray:
    low, high = _pair(quantile_range, "quantile_range")
    if not 0 <= low < high <= 1:
        raise ValueError(f"quantile_range must hold 0 <= low < high <= 1; got {quantile_range!r}.")
    return np.linspace(low, high, n)


def two_components(components: Any, n_components: int) -> list[int]:
    if n_components < 2:
        raise ValueError("A grid needs codes of 2 components, and this model has 1: use traverse instead.")
    first, second = (index(c, n_components, "components") for c in _pair(components, "components"))
    if first == second:
        raise ValueError(f"components must differ; got {components!r}.")
    return [first, second]


# -- walks --------------------------------------------------------------------------------


def check_method(method: Any) -> None:
    if method not in list(_PATHS):
        raise ValueError(f"method={method!r} is not known; valid strings are 'linear' and 'spherical'.")


def walk(start: np.ndarray, end: np.ndarray, n_steps: int, method: str) -> np.ndarray:
    """Codes of shape (n_samples, n_steps, n_components)."""
    if len(start) != len(end):
        raise ValueError(f"X_start has {len(start)} rows and X_end {len(end)}; pass as many, in pairs.")
    path = _PATHS[method](start, end, np.linspace(0, 1, n_steps))
    path[:, 0], path[:, -1] = start, end  # without a rounding error
    return path


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


def check_density(density: Any) -> None:
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


def draw_gaussians(codes: np.ndarray, density: str, n_samples: int, rng: np.random.RandomState) -> np.ndarray:
    """Draw from one Gaussian or several, in coordinates in which the codes have unit covariance.

    There null directions are gone, and one floor on the variances fits all units.
    """
    mean = codes.mean(axis=0, dtype=np.float64)
    u, s, vt = np.linalg.svd(codes - mean, full_matrices=False)
    negligible = s[0] * max(codes.shape) * np.finfo(codes.dtype).eps
    rank = int(np.count_nonzero(s > negligible))
    root = np.sqrt(max(len(codes) - 1, 1))
    mixture = _mixture(root * u[:, :rank], rng) if density == "mixture" else None
    white = mixture.sample(n_samples)[0] if mixture is not None else rng.standard_normal((n_samples, rank))
    return mean + white @ (s[:rank, np.newaxis] * vt[:rank] / root)


def _mixture(white: np.ndarray, rng: np.random.RandomState) -> GaussianMixture | None:
    """Mixture with the least BIC; None if the rows suffice for one Gaussian only."""
    n, rank = white.shape
    sizes = [size for size in _MIXTURE_SIZES if 2 * size * (rank + 1) <= n] if rank else []
    if len(sizes) < 2:
        return None
    fits = [fit_mixture(white, k, rng, max_iter=100) for k in sizes]
    return min(fits, key=lambda mixture: mixture.bic(white))


def draw_from_estimator(
    codes: np.ndarray, density: Any, n_samples: int, rng: np.random.RandomState
) -> np.ndarray:
    """Fit a clone to the codes and draw from it, without the global generator."""
    density = clone(density)
    params = density.get_params().items()
    unset = {name: rng for name, value in params if name.endswith("random_state") and value is None}
    density.set_params(**unset).fit(codes)
    takes_state = "random_state" in inspect.signature(density.sample).parameters
    drawn = density.sample(n_samples, **({"random_state": rng} if takes_state else {}))
    drawn = np.asarray(dense(drawn[0] if isinstance(drawn, tuple) else drawn))  # GaussianMixture adds labels
    if drawn.shape != (n_samples, codes.shape[1]):
        raise ValueError(
            f"density={density!r} drew an array of shape {drawn.shape} instead of "
            f"{(n_samples, codes.shape[1])}: its sample must return rows like those given to fit."
        )
    return drawn
