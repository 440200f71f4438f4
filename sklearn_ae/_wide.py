"""Fits of data with far more columns than rows: trained in the row space of X."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from sklearn_ae._batches import Rows
from sklearn_ae._building import Slots
from sklearn_ae._fitting import Fit
from sklearn_ae._passes import SourceFit
from sklearn_ae._resources import threads_for, use_bf16
from sklearn_ae._row_space import RowSpace
from sklearn_ae._sources import Source
from sklearn_ae._training import AutoencoderNet

_WIDE = 2  # columns per row from which it pays
_MAX_ROWS = 2_000  # whose decomposition takes little time beside the training's


def kind_of_fit(X: Any, slots: Slots) -> type[Fit]:
    """The fit for these rows: in passes over a source, in the row space where that is exact and cheaper."""
    if isinstance(X, Source):
        return SourceFit
    n, d = X.shape
    wide = n <= _MAX_ROWS and d > _WIDE * n
    return WideFit if wide and isinstance(X, np.ndarray) and slots.rotation_invariant else Fit


class WideFit(Fit):
    """A fit whose epochs run in the row space; before and after them it has all columns."""

    space: RowSpace | None = None  # while epochs run

    def _train(self, previous: Any) -> None:
        with self._in_row_space(previous):
            super()._train(previous)

    def _train_again(self, n_epochs: int) -> None:
        with self._in_row_space():
            super()._train_again(n_epochs)

    @contextlib.contextmanager
    def _in_row_space(self, previous: Any = None) -> Iterator[None]:
        """Have a net in the row space meanwhile, and hand on what it has learnt."""
        X = self.X if self.train is None else self.X[self.train]
        space = RowSpace(X, self.pca.mean_, self.seed)
        if previous is not None and not space.holds(previous.net_.module_):
            yield  # other rows than those that a warm start goes on from
            return
        net, self.space = self.net, space
        self.net = inside = self._row_space_net(net, space)
        with threads_for(inside.module_, self.batch_size):
            yield
        self.net, self.space = net, None
        net.module_.load_state_dict(space.leave(inside.module_, net.module_).state_dict())
        net.history = inside.history
        net.interrupted_ = getattr(inside, "interrupted_", False)

    def _row_space_net(self, net: AutoencoderNet, space: RowSpace) -> AutoencoderNet:
        module = space.enter(self.module)
        params = net.get_params(deep=False)
        params["bf16"] = use_bf16(self.params.precision, self.device, module, self.batch_size)
        params.update(module=module.float(), criterion=space.objective(net.criterion_))
        return AutoencoderNet(**params).initialize()

    def _weights(self, previous: Any) -> dict[str, Any]:
        module = previous.net_.module_
        return (module if self.space is None else self.space.enter(module)).state_dict()

    def rows(self, X: Any, indices: np.ndarray | None) -> Rows:
        if self.space is None:
            return super().rows(X, indices)
        inside = self.space.coordinates(X if indices is None else X[indices])
        return Rows(inside, None, np.zeros(inside.shape[1]), self.module.scale, self.device)
