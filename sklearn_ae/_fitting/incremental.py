"""Training chunk by chunk, for ``partial_fit``."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import IncrementalPCA
from torch import Generator

from sklearn_ae._fitting.pipeline import Fit
from sklearn_ae._model.pca import as_incremental, with_chunk
from sklearn_ae._model.spec import ModelSpec
from sklearn_ae._model.units import feature_stats, working_scale
from sklearn_ae._training.callbacks import OnlineAverage
from sklearn_ae._training.schedule import batches_and_epochs
from sklearn_ae._utils.random import private_random_state

_PART = 100  # least rows of an update of the anchor

_REMEMBERED = 1_000  # rows that a description is made of, at least


class ChunkFit(Fit):
    """One pass over a chunk of rows, continuing what an estimator has learnt.

    The first chunk gives the anchor; its mean and scale, and Adam's moments, run
    on. A linear model at PCA's objective is scikit-learn's ``IncrementalPCA``.
    """

    def __init__(self, params: Any, slots: ModelSpec, X: Any, n_components: Any):
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
        if previous is not None and not self.is_pca:
            self._join(previous)

    def _updated(self, pca: Any) -> Any:
        return with_chunk(as_incremental(pca), self.X)

    def _continue(self, previous: Any) -> None:
        """Go on with the weights, in the working units of all rows so far."""
        n, d = self.X.shape
        self.pca, self.net = as_incremental(previous.pca_), previous.net_
        # a few small decompositions take less time than a large one; nothing but a record hangs on it
        n_parts = max(1, n // max(_PART, 4 * self.pca.n_components_))
        for part in np.array_split(np.arange(n), n_parts):
            with_chunk(self.pca, self.X[part])
        offset, scale = np.asarray(self.pca.mean_, dtype=np.float64), working_scale(self.pca, d)
        trained = self.net.module_
        trained.change_units(
            torch.from_numpy(offset), scale, feature_stats(self.X, offset, scale, len(trained.low) > 0)
        )
        self.module = copy.deepcopy(trained).double()
        self.module.offset.copy_(torch.from_numpy(offset))
        self.batch_size, _ = batches_and_epochs(self.params, n)
        self.net.batch_size = self.batch_size
        self.net.criterion_ = self.slots.objective(self.n_samples, d, scale, warm=True)

    def _train_one_epoch(self) -> None:
        net = self.net
        net.warmup = None
        net.generator = Generator(self.device).manual_seed(self.seed + len(net.history or ()))
        net.device, net.lr = str(self.device), self.params.learning_rate_init
        net.module_.to(self.device)
        if not any(name == "trail" for name, _ in net.callbacks_):
            net.callbacks_.append(("trail", OnlineAverage()))
        _move_state(net.optimizer_)
        net.partial_fit((self.rows(self.X, None), None), epochs=1)

    def _rest(self) -> None:
        """Keep Adam's moments for the next chunk."""
        optimizer = self.net.optimizer_
        moments = optimizer.state_dict()
        super()._rest()
        optimizer.load_state_dict(moments)

    def _join(self, previous: Any) -> None:
        """Describe what all chunks so far say, the last ones above all: weights have changed since."""
        k = previous.n_components_
        self.inference.n_kept, new = k, self.description.truncated(k)
        n = min(previous._description.moments.n, max(_REMEMBERED, self.n_samples / 3))
        self.description = new.after(previous._description, n, (previous.scale_ / self.module.scale) ** 2)

    @property
    def n_samples(self) -> int:
        return int(getattr(self.pca, "n_samples_seen_", self.X.shape[0]))


def _move_state(optimizer: torch.optim.Optimizer) -> None:
    """Bring the state to where the parameters are."""
    optimizer.load_state_dict(optimizer.state_dict())
