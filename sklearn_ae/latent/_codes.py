"""Quantiles and vectors of codes, paths between codes, and checks of parameters."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from scipy.stats import norm
from sklearn.utils.validation import check_is_fitted

from sklearn_ae._utils.parameters import finite_vector, index
from sklearn_ae._utils.pipelines import last_step
from sklearn_ae._utils.transformers import check_decoder, encode


def code_quantiles(model: Any, X: Any, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return quantiles (n_levels, n_components) and medians of the codes of X, or of the prior."""
    if X is not None:
        codes = encode(model, X, "X")
        return np.quantile(codes, levels, axis=0), np.median(codes, axis=0)
    check_decoder(model)
    last = last_step(model)
    if not (hasattr(last, "sample") and hasattr(last, "posterior")):
        raise ValueError(
            f"X=None needs a standard normal prior, and the codes of {type(last).__name__} have none: pass "
            "samples whose codes determine the quantiles, such as X=X_train."
        )
    check_is_fitted(last)
    quantiles = norm.ppf(levels)
    if not np.isfinite(quantiles).all():
        raise ValueError("quantile_range must be inside (0, 1): quantiles 0 and 1 of N(0, 1) are infinite.")
    return np.tile(quantiles[:, np.newaxis], last.n_components_), np.zeros(last.n_components_)


def code_vector(vector: Any, n_components: int) -> np.ndarray:
    """Return a vector of finite numbers as long as a code."""
    vector = finite_vector(vector, "vector")
    if len(vector) != n_components:
        raise ValueError(
            f"vector has {len(vector)} entries, but the codes have {n_components} components. "
            "Pass the result of attribute_vector for the same model."
        )
    return vector


def _pair(values: Any, name: str) -> list[Any]:
    pair = np.ravel(values).tolist()
    if len(pair) != 2 or not all(isinstance(value, Real) for value in pair):
        raise ValueError(f"{name} must be a pair of numbers; got {values!r}.")
    return pair


def levels(quantile_range: Any, n: int) -> np.ndarray:
    """Return n quantile levels at equal distances."""
    low, high = _pair(quantile_range, "quantile_range")
    if not 0 <= low < high <= 1:
        raise ValueError(f"quantile_range must hold 0 <= low < high <= 1; got {quantile_range!r}.")
    return np.linspace(low, high, n)


def two_components(components: Any, n_components: int) -> list[int]:
    """Return two different indices of components."""
    if n_components < 2:
        raise ValueError(
            "A grid needs codes with at least 2 components, but this model has 1: use traverse instead."
        )
    first, second = (index(c, n_components, "components") for c in _pair(components, "components"))
    if first == second:
        raise ValueError(f"components must differ; got {components!r}.")
    return [first, second]


# -- paths --------------------------------------------------------------------------------


def check_method(method: Any) -> None:
    """Raise ValueError unless the method of interpolation is known."""
    if method not in list(_PATHS):
        raise ValueError(f"method={method!r} is not known; use 'linear' or 'spherical'.")


def path(start: np.ndarray, end: np.ndarray, n_steps: int, method: str) -> np.ndarray:
    """Return paths from start to end codes, of shape (n_samples, n_steps, n_components)."""
    if len(start) != len(end):
        raise ValueError(f"X_start has {len(start)} samples and X_end {len(end)}: pass the same number.")
    codes = _PATHS[method](start, end, np.linspace(0, 1, n_steps))
    codes[:, 0], codes[:, -1] = start, end  # Without rounding errors
    return codes


def _linear(start: np.ndarray, end: np.ndarray, t: np.ndarray) -> np.ndarray:
    return start[:, np.newaxis] + t[:, np.newaxis] * (end - start)[:, np.newaxis]


def _spherical(start: np.ndarray, end: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Rotate the direction at constant speed, and interpolate the length linearly.

    The angle is given by W. Kahan's formula, and the plane by the part of the end that is
    orthogonal to the start. Both are accurate for nearly parallel codes, unlike arccos and the
    ratio of sines.
    """
    u, v = _directions(start, end), _directions(end, start)
    apart, together = _lengths(v - u), _lengths(v + u)
    opposite = together < np.sqrt(np.finfo(np.result_type(start, end)).eps) * apart
    if opposite.any():
        raise ValueError(
            f"X_start and X_end have opposite codes (sample {np.flatnonzero(opposite)[0]}), between which no "
            "great circle is the shortest: use method='linear'."
        )
    sideways = _unit(v - u * (u * v).sum(axis=1, keepdims=True))
    angle, t = 2 * np.arctan2(apart, together)[:, np.newaxis], t[:, np.newaxis]
    direction = np.cos(t * angle) * u[:, np.newaxis] + np.sin(t * angle) * sideways[:, np.newaxis]
    return direction * _linear(_lengths(start), _lengths(end), t[:, 0])


def _directions(codes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return unit vectors along the codes, or along the others for codes of zero."""
    return _unit(np.where(codes.any(axis=1, keepdims=True), codes, others).astype(np.float64))


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = _lengths(vectors)
    return vectors / np.where(lengths > 0, lengths, 1)


def _lengths(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=1, keepdims=True)


_PATHS = {"linear": _linear, "spherical": _spherical}
