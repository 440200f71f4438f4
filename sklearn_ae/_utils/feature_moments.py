"""Mean and variance of each feature, from blocks of samples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np


class FeatureMoments(NamedTuple):
    """Mean and variance of the known values, which are not NaN, of each feature of n samples."""

    mean: np.ndarray  # (d,)
    variance: np.ndarray  # (d,)
    n_known: np.ndarray  # (d,)
    n: int

    @classmethod
    def of(cls, samples: Any, blocks: Iterable[np.ndarray]) -> FeatureMoments:
        """Return the moments of samples that are read in blocks, on all ranks that share them."""
        d = samples.shape[1]
        moments = cls(np.zeros(d), np.zeros(d), np.zeros(d), 0)
        for block in blocks:
            moments = moments.joined(cls._of_block(block.astype(np.float64)))
        return samples.joined(moments) if hasattr(samples, "joined") else moments

    @classmethod
    def _of_block(cls, block: np.ndarray) -> FeatureMoments:
        is_known = ~np.isnan(block)
        n = is_known.sum(axis=0)
        mean = np.where(is_known, block, 0.0).sum(axis=0) / np.maximum(n, 1)
        variance = np.where(is_known, block - mean, 0.0)
        return cls(mean, np.square(variance).sum(axis=0) / np.maximum(n, 1), n, len(block))

    def joined(self, other: FeatureMoments) -> FeatureMoments:
        """Return the moments of the samples of both."""
        n_known = self.n_known + other.n_known
        share = other.n_known / np.maximum(n_known, 1)
        shift = other.mean - self.mean
        variance = (1 - share) * self.variance + share * other.variance + share * (1 - share) * shift**2
        return FeatureMoments(self.mean + share * shift, variance, n_known, self.n + other.n)
