"""Sample weights of an outlier detector, by repeating samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_ae._utils.arrays import numpy_only
from sklearn_ae._utils.compat import _check_sample_weight

_MAX_COPIES = 3  # average number of copies of a sample


def check_weights(sample_weight: Any, X: Any) -> tuple[Any, np.ndarray | None]:
    """Return the samples with positive weights, and these weights; None if they are equal."""
    if sample_weight is None:
        return X, None
    check = numpy_only()(_check_sample_weight)
    weights = check(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not np.isfinite(weights).all():  # a scalar is not checked by scikit-learn
        raise ValueError(f"sample_weight must be finite; got {sample_weight!r}.")
    positive = weights > 0
    if not positive.any():  # accepted by scikit-learn before 1.9
        raise ValueError("Sample weights must contain at least one non-zero number.")
    if positive.sum() < 2:
        raise ValueError("Only one sample has a positive weight, but a minimum of 2 is required.")
    if not positive.all():
        X, weights = X[positive], weights[positive]
    return X, None if weights.min() == weights.max() else weights


def copies_by_weight(weights: np.ndarray, seed: int) -> np.ndarray:
    """Return the number of copies of each sample, in proportion to its weight up to rounding.

    The sample of the smallest weight has one copy, unless there would be more than
    three copies per sample; numbers that are not whole are rounded up or down at
    random (systematic sampling). Whole multiples of the smallest weight are exact.

    Parameters
    ----------
    weights : ndarray of shape (n,)
        Positive weights.
    seed : int

    Returns
    -------
    copies : ndarray of shape (n,)
        Integers that add up to at least n.
    """
    n = len(weights)
    weights = weights / weights.max()
    total = min(weights.sum() / weights.min(), _MAX_COPIES * n)
    edges = np.append(0.0, np.cumsum(weights))
    edges *= round(total) / edges[-1]
    return np.diff(np.floor(edges + np.random.RandomState(seed).uniform(0.01, 0.99))).astype(np.intp)
