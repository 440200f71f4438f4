"""Fitting to a source: the rows stay where they are and are read once an epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.random import sample_without_replacement

from sklearn_ae._anchor import n_held_out
from sklearn_ae._batches import Rows, SourceRows
from sklearn_ae._fitting import Fit
from sklearn_ae._sources import LARGE, Source

_MAX_HELD_OUT = 2**23  # entries of validation rows, which are kept in memory (32 MB as float32)


class SourceFit(Fit):
    """A fit whose rows are read in passes; those held out are kept in memory.

    The held-out rows are drawn once and never come with the others.
    """

    X: Source

    def _split(self, rng: Any) -> tuple[None, None]:
        """Take validation rows out of X, as if they had been given beside it."""
        self.whole = self.X
        n, d = self.X.n_places, self.X.shape[1]
        given = self.X_val is not None or self.at_optimum
        n_valid = 0 if given else min(n_held_out(self.params, n), max(1_000, _MAX_HELD_OUT // d))
        if n_valid:
            valid = np.sort(sample_without_replacement(n, n_valid, random_state=rng))
            self.X, self.X_val = self.whole.without(valid), self.whole[valid]
        return None, None

    def _take_back(self) -> bool:
        some, self.X = self.X is not self.whole, self.whole
        return some

    def rows(self, X: Any, indices: np.ndarray | None) -> Any:
        if isinstance(X, Source):
            return SourceRows(X, self.offset, self.module.scale, self.device)
        return Rows(X, indices, self.offset, self.module.scale, self.device, lazy=X.size > LARGE)

    @property
    def n_samples(self) -> int:
        return self.whole.shape[0]
