"""Fits of data with far more columns than rows: trained in the row space of X."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import linalg
from torch import Generator, Tensor, nn

from sklearn_ae._data.batches import InMemorySamples
from sklearn_ae._data.sources import Source
from sklearn_ae._fitting.pipeline import Fit, SourceFit
from sklearn_ae._model.module import Autoencoder, ForwardOutput
from sklearn_ae._model.objectives import Objective
from sklearn_ae._model.spec import ModelSpec
from sklearn_ae._training.net import AutoencoderNet
from sklearn_ae._utils.arrays import dense
from sklearn_ae._utils.hardware import threads_for, use_bf16
from sklearn_ae.corruptions import FeatureStats
from sklearn_ae.networks import TiedLinear

_TOLERANCE = 1e-4  # share of a layer's weights beside the space that float32 can leave


class RowSpace:
    """Coordinates in the span of rows.

    Adam treats each coordinate by itself. In those of PCA it lifts directions of little
    variance and overfits; a random rotation spreads the variance evenly, as columns do.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    offset : ndarray of shape (d,)
        Taken from the rows first.
    seed : int
        Of the rotation.
    """

    def __init__(self, X: np.ndarray, offset: np.ndarray, seed: int):
        self.offset = offset
        _, sizes, axes = linalg.svd(X - offset, full_matrices=False, check_finite=False)
        rank = int(np.sum(sizes > max(X.shape) * np.finfo(X.dtype).eps * sizes[0]))
        self.basis = _rotation(rank, seed).astype(X.dtype) @ axes[:rank]  # V' of shape (r, d)

    def coordinates(self, X: Any) -> np.ndarray:
        """Rows in the basis, and in a last column the length of what they have beside it."""
        centred = dense(X) - self.offset
        inside = centred @ self.basis.T
        return np.column_stack([inside, np.linalg.norm(centred - inside @ self.basis, axis=1)])

    def enter(self, module: Autoencoder) -> RowSpaceAutoencoder:
        """The autoencoder of the coordinates that is the same as ``module`` on the space."""
        offset = module.offset.new_zeros(len(self.basis))
        twin = _with_columns(RowSpaceAutoencoder, module, module, offset, torch.from_numpy(self.basis.T))
        r, d = self.basis.shape
        twin.lr_multiplier = math.sqrt(d / r)
        return twin

    def leave(self, trained: Autoencoder, like: Autoencoder) -> Autoencoder:
        """The autoencoder of all columns that is the same as ``trained``, and blind beside the space."""
        return _with_columns(Autoencoder, trained, like, like.offset, torch.from_numpy(self.basis))

    def objective(self, objective: Objective) -> RowSpaceObjective:
        """The same objective, of coordinates."""
        r, d = self.basis.shape
        return RowSpaceObjective(objective, (r + 1) / d)

    @torch.no_grad()
    def holds(self, module: Autoencoder) -> bool:
        """Whether an autoencoder sees, and gives, nothing beside the space."""
        V = torch.from_numpy(self.basis.T).double()
        last = (p.T if p.ndim > 1 else p for p in _last_parameters(module))
        return all(_lies_in(V, rows.double()) for rows in (*_first_parameters(module), *last))


def _rotation(r: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.RandomState(seed).normal(size=(r, r)))[0]


def _lies_in(V: Tensor, rows: Tensor) -> bool:
    beside = rows - rows @ V @ V.T
    return float(beside.norm()) <= _TOLERANCE * float(rows.norm())


class RowSpaceAutoencoder(Autoencoder):
    """An autoencoder of coordinates, beside which runs a column that it neither sees nor can give."""

    lr_multiplier = 1.0  # of the layers that take and give rows, against that of the others

    def forward(self, x: Tensor, generator: Generator | None = None) -> ForwardOutput:
        out = super().forward(x[:, :-1], generator)
        return out._replace(target=x, eta=F.pad(out.eta, (0, 1)))

    def param_groups(self, alpha: float) -> list[dict]:
        """Make up for the length of Adam's steps: that of a row of weights grows as the root of its size."""
        longer = {id(p) for p in (*_first_parameters(self), *_last_parameters(self))}
        groups = []
        for group in super().param_groups(alpha):
            parts: tuple[list, list] = ([], [])
            for p in group["params"]:
                parts[id(p) in longer].append(p)
            decay, lr_multiplier = (
                group["weight_decay"] / self.lr_multiplier,
                group["lr_multiplier"] * self.lr_multiplier,
            )
            groups.append({**group, "params": parts[0]})
            groups.append({"params": parts[1], "weight_decay": decay, "lr_multiplier": lr_multiplier})
        return [group for group in groups if group["params"]]


class RowSpaceObjective(Objective):
    """The objective per column of X, from sums over fewer of them.

    Parameters
    ----------
    objective : Objective
    share : float
        Columns that are summed over for each column of X.
    """

    def __init__(self, objective: Objective, share: float):
        super().__init__(objective.loss, objective.penalty)
        self.share = share

    def forward(self, out: ForwardOutput, y: Tensor | None = None) -> Tensor:
        return self.share * super().forward(out)

    def per_row(self, out: ForwardOutput) -> Tensor:
        return self.share * super().per_row(out)


def _with_columns(kind: Any, weights: Autoencoder, like: Autoencoder, offset: Tensor, A: Tensor) -> Any:
    """An autoencoder of the columns A'x: those of ``weights``, with the slots and the scale of ``like``."""
    replaced = (*_first_parameters(weights), *_last_parameters(weights))
    shared: dict[int, Any] = {id(p): p for p in replaced}  # they are large
    encoder, decoder = copy.deepcopy((weights.encoder, weights.decoder), shared)
    stats = FeatureStats(like.zero, like.low, like.high)
    twin = kind(
        encoder,
        decoder,
        like.bottleneck,
        like.corruption,
        like.loss,
        stats,
        offset,
        like.scale,
        like.width,
    )
    twin.needs_input_grad = like.needs_input_grad
    _map_columns(twin, A)
    return twin


@torch.no_grad()
def _map_columns(module: Autoencoder, A: Tensor) -> None:
    """Let layers take and give A'x in the place of x; tied ones follow their source."""
    for layer in _first_layers(module):
        layer.weight = nn.Parameter(layer.weight @ A.to(layer.weight))
        layer.in_features = A.shape[1]
    for layer in _last_layers(module):
        if isinstance(layer, nn.Linear):
            layer.weight = nn.Parameter(A.T.to(layer.weight) @ layer.weight)
            layer.out_features = A.shape[1]
        if layer.bias is not None:
            layer.bias = nn.Parameter(layer.bias @ A.to(layer.bias))


def _first_layers(module: Autoencoder) -> Iterator[nn.Linear]:
    """The layers that take rows, of the linear path and of f."""
    for part in (module.encoder.linear, module.encoder.network):
        if part is not None:
            yield next(layer for layer in part.modules() if isinstance(layer, nn.Linear))


def _last_layers(module: Autoencoder) -> Iterator[Any]:
    """The layers that give rows, of the linear path and of g."""
    for part in (module.decoder.linear, module.decoder.network):
        if part is not None:
            *_, last = (layer for layer in part.modules() if isinstance(layer, (nn.Linear, TiedLinear)))
            yield last


def _first_parameters(module: Autoencoder) -> list[Tensor]:
    """The encoder's parameters of shape (..., d)."""
    return [layer.weight for layer in _first_layers(module)]


def _last_parameters(module: Autoencoder) -> list[Tensor]:
    """The decoder's parameters of shape (d, ...); tied weights are the encoder's."""
    own = ("weight", "bias")
    return [p for layer in _last_layers(module) for name, p in layer.named_parameters() if name in own]


_WIDE = 2  # columns per row from which it pays

_MAX_ROWS = 2_000  # whose decomposition takes little time beside the training's


def kind_of_fit(X: Any, slots: ModelSpec) -> type[Fit]:
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
        with threads_for(inside.module_.n_weights, self.batch_size):
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

    def rows(self, X: Any, indices: np.ndarray | None) -> InMemorySamples:
        if self.space is None:
            return super().rows(X, indices)
        inside = self.space.coordinates(X if indices is None else X[indices])
        return InMemorySamples(inside, None, np.zeros(inside.shape[1]), self.module.scale, self.device)
