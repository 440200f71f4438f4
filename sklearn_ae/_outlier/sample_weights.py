"""Sample weights of an outlier detector, as copies of samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_ae._utils.arrays import numpy_only
from sklearn_ae._utils.compat import _check_sample_weight

_MAX_COPIES = 3  # average number of copies of a sample


def with_positive_weights(X: Any, sample_weight: Any) -> tuple[Any, np.ndarray]:
    """Return the samples with positive weights, and these weights; ones for None."""
    check = numpy_only()(_check_sample_weight)
    weights = check(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not np.isfinite(weights).all():  # scikit-learn does not check scalars
        raise ValueError(f"sample_weight must be finite; got {sample_weight!r}.")
    positive = weights > 0
    if not positive.any():  # scikit-learn before 1.9 accepts them
        raise ValueError("Sample weights must contain at least one non-zero number.")
    if positive.sum() < 2:
        raise ValueError("Only one sample has a positive weight, but a minimum of 2 is required.")
    return (X, weights) if positive.all() else (X[positive], weights[positive])


def copies_by_weight(weights: np.ndarray, seed: int) -> np.ndarray:
    """Return the number of copies of each sample, in proportion to its weight.

    The sample of the smallest weight has one copy, unless this makes more than three
    copies per sample; then the number of copies is three times that of the samples. A
    sample's number is rounded up or down at random by systematic sampling [1]_. Equal
    weights result in ones, and whole multiples of the smallest weight in these multiples.

    Parameters
    ----------
    weights : ndarray of shape (n,)
        Positive weights.
    seed : int
        Seed of the random rounding.

    Returns
    -------
    copies : ndarray of shape (n,)
        Integers from 0 that add up to at least n.

    References
    ----------
    .. [1] W. Madow, L. Madow (1944), On the theory of systematic sampling, Annals of
       Mathematical Statistics 15.
    """
    weights = weights / weights.max()
    total = weights.sum()
    unit = max(weights.min(), total / (_MAX_COPIES * len(weights)))
    edges = np.append(0.0, np.cumsum(weights))
    edges *= round(total / unit) / edges[-1]
    # An offset away from whole numbers, so that rounding errors do not change whole multiples
    offset = np.random.RandomState(seed).uniform(0.01, 0.99)
    return np.diff(np.floor(edges + offset)).astype(np.intp)
