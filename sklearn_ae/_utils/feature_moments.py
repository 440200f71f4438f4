"""Mean and variance of each feature, from blocks of samples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np


class FeatureMoments(NamedTuple):
    """Mean and variance of each feature of n samples."""

    mean: np.ndarray  # (d,)
    variance: np.ndarray  # (d,)
    n: int

    @classmethod
    def of(cls, samples: Any, blocks: Iterable[np.ndarray]) -> FeatureMoments:
        """Return the moments of samples that are read in blocks, on all ranks that share them."""
        d = samples.shape[1]
        moments = cls(np.zeros(d), np.zeros(d), 0)
        for block in blocks:
            block = block.astype(np.float64)
            moments = moments.joined(cls(block.mean(axis=0), block.var(axis=0), len(block)))
        return samples.joined(moments) if hasattr(samples, "joined") else moments

    def joined(self, other: FeatureMoments) -> FeatureMoments:
        """Return the moments of the samples of both."""
        n = max(1, self.n + other.n)
        share = other.n / n
        shift = other.mean - self.mean
        variance = (1 - share) * self.variance + share * other.variance + share * (1 - share) * shift**2
        return FeatureMoments(self.mean + share * shift, variance, self.n + other.n)
