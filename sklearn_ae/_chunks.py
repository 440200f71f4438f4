"""Training chunk by chunk, for ``partial_fit``."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.decomposition import IncrementalPCA
from torch import Generator

from sklearn_ae._anchor import as_incremental, with_chunk
from sklearn_ae._building import Slots
from sklearn_ae._fitting import Fit
from sklearn_ae._resources import private_random_state


class ChunkFit(Fit):
    """One pass over a chunk of rows, continuing what an estimator has learnt.

    The first chunk gives the anchor and the scale. A linear model at PCA's
    objective is scikit-learn's ``IncrementalPCA``.
    """

    def __init__(self, params: Any, slots: Slots, X: Any, n_components: Any):
        super().__init__(params, slots, X, None, n_components, private_random_state(params.random_state))
        self.train = self.valid = None

    def _anchor(self, indices: np.ndarray | None) -> Any:
        n, d = self.X.shape
        r = min(self.n_components, d)
        if n < r:
            raise ValueError(
                f"n_components={r} must be at most the number of rows of the first chunk, {n}; "
                "pass a larger chunk to the first call of partial_fit."
            )
        return with_chunk(IncrementalPCA(r), self.X)

    def _run(self, previous: Any) -> None:
        """Train for one epoch, from scratch or on from a fitted estimator."""
        if previous is None or self.at_optimum:
            self._build(None if previous is None else self._updated(previous.pca_))
            self.net = self._net()
        else:
            self._continue(previous)
        self.gate_open = not self.at_optimum
        with self._resources():
            if not self.at_optimum:
                self._train_one_epoch()
            self._rest()
            self._describe()

    def _updated(self, pca: Any) -> Any:
        return with_chunk(as_incremental(pca), self.X)

    def _continue(self, previous: Any) -> None:
        self.pca, self.net = previous.pca_, previous.net_
        self.module = copy.deepcopy(self.net.module_).double()
        self.module.offset.copy_(previous.module_.offset)
        self.batch_size = self.net.batch_size

    def _train_one_epoch(self) -> None:
        net = self.net
        net.warmup = None
        net.generator = Generator(self.device).manual_seed(self.seed + len(net.history or ()))
        net.device, net.lr = str(self.device), self.params.learning_rate_init
        net.module_.to(self.device)
        net.partial_fit((self.rows(self.X, None), None), epochs=1)

    @property
    def n_samples(self) -> int:
        return int(getattr(self.pca, "n_samples_seen_", self.X.shape[0]))
