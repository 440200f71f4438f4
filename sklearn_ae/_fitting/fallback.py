"""TODO"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import stats

MIN_VALIDATION_SAMPLES = 10  # validation rows under which nothing can be said


def validation_split(params: Any, n: int, rng: Any) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Row numbers for training and for validation; None twice where none are, or can be, held out."""
    n_valid = n_held_out(params, n)
    if not n_valid:
        return None, None
    order = rng.permutation(n)
    return order[n_valid:], order[:n_valid]


def n_held_out(params: Any, n: int) -> int:
    """How many of n rows are for validation; 0 where none are, or can be."""
    n_valid = round(params.validation_fraction * n)
    least = MIN_VALIDATION_SAMPLES if params.init == "pca" else 1
    return n_valid if params.early_stopping and n_valid >= least and n - n_valid >= 2 else 0


def shows_a_gain(anchor: np.ndarray, network: np.ndarray, in_nats: bool = False) -> bool:
    """Whether the network's objective on validation rows is credibly below the anchor's.

    Two paired t statistics must be high. That of the root of each row's
    objective, because in the objective itself a few rows can carry the mean: as
    improbable by chance as 2.5 standard errors are with many rows. And that of
    the objective itself, over one; in nats, whose mean is the promise and where a
    few rows far from the model can outweigh all others, as high as the first.

    Parameters
    ----------
    anchor, network : ndarray of shape (n,)
        Objective of each validation row.
    in_nats : bool
        Whether the objective is minus a log-likelihood.
    """
    n = len(anchor)
    if n < MIN_VALIDATION_SAMPLES:
        return False
    low = min(0.0, float(np.min(anchor)), float(np.min(network)))  # a user's loss may be negative
    roots = _t(np.sqrt(anchor - low) - np.sqrt(network - low))
    high = float(stats.t.ppf(stats.norm.cdf(2.5), n - 1))
    return roots > high and _t(anchor - network) > (high if in_nats else 1.0)


def _t(gain: np.ndarray) -> float:
    """Mean over its standard error."""
    spread = gain.std(ddof=1) / math.sqrt(len(gain))
    return float(gain.mean() / spread) if spread > 0 else 0.0
