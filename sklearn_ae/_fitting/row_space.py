"""The row space of X, in which autoencoders of data with far more features than samples are trained.

Squared error and dense layers are invariant to a rotation of the features. Every gradient
of the first encoder weights is a sum of samples, and so is everything that the decoder
learns to output: neither leaves the row space. With V an orthonormal basis of it, an
autoencoder of the r columns of X V can be trained instead of one of all d features, and V
can be folded into its first and last layers afterwards.

The part of an unseen sample orthogonal to the row space cannot be reconstructed; its norm
is appended as a feature that enters the objective but not the encoder.

Sparse samples are trained in the span of their leading principal directions, a few
hundred of them. The other directions of texts and one-hot codes are those of single
samples, which a network can only overfit.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import linalg
from scipy.sparse.linalg import aslinearoperator
from torch import Generator, Tensor, nn

from sklearn_ae._data.in_memory import N_DIRECTIONS, WorkingSamples
from sklearn_ae._model.initialization import Start
from sklearn_ae._model.module import Autoencoder, ForwardOutput
from sklearn_ae._model.objectives import Objective
from sklearn_ae._training.net import AutoencoderNet
from sklearn_ae._training.optimization import TrainingConfig
from sklearn_ae._utils.arrays import dense
from sklearn_ae._utils.runtime import use_bf16
from sklearn_ae.corruptions import FeatureStats
from sklearn_ae.networks import TiedLinear

_TOLERANCE = 1e-4  # share of a layer's weights outside the space that float32 rounding can leave
_EPS = float(np.finfo(np.float64).eps)
_LEFT = 0.01  # share of the residual variance of PCA that the leading directions may leave
_N_OVERSAMPLES = 10
_N_PASSES = 4  # of the subspace iteration; the span of many directions need not be exact


class RowSpace:
    """Coordinates in the span of some samples.

    Adam scales each coordinate separately. In the coordinates of PCA it amplifies
    directions of little variance and overfits; a random rotation spreads the
    variance evenly, as features do.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    offset : ndarray of shape (d,)
        Subtracted from the samples.
    seed : int
        Of the rotation.
    """

    def __init__(self, X: np.ndarray, offset: np.ndarray, seed: int) -> None:
        self.offset = offset
        _, sizes, axes = linalg.svd((X - offset).astype(X.dtype), full_matrices=False, check_finite=False)
        rank = int(np.sum(sizes > max(X.shape) * np.finfo(X.dtype).eps * sizes[0]))
        self.basis = _rotated(axes[:rank], seed)  # V' of shape (r, d)

    # -- training in the space, as in AllFeatures -----------------------------------

    def net(self, net: AutoencoderNet, start: Start, config: TrainingConfig) -> AutoencoderNet:
        """Return a net whose module takes coordinates."""
        module = self.enter(start.module)
        params = net.get_params(deep=False)
        params["bf16"] = use_bf16(config.precision, config.device, module, net.batch_size)
        params["module"] = module.float()
        params["criterion"] = self.objective(net.criterion_)
        return type(net)(**params).initialize()

    def samples(self, samples: Any, module: Autoencoder, device: torch.device) -> WorkingSamples:
        """Return the coordinates of samples in working units."""
        inside = self.coordinates(samples.array)
        return WorkingSamples(inside, None, np.zeros(inside.shape[1]), module.scale, device)

    def weights(self, module: Autoencoder) -> dict[str, Any]:
        """Return the weights of a previous module as the net needs them."""
        return self.enter(module).state_dict()

    def outside(self, trained: AutoencoderNet, net: AutoencoderNet) -> AutoencoderNet:
        """Return the net for all features with the weights of a net that was trained in the space."""
        net.module_.load_state_dict(self.leave(trained.module_, net.module_).state_dict())
        return net.with_history_of(trained)

    # -- maps ----------------------------------------------------------------------

    def coordinates(self, X: Any) -> np.ndarray:
        """Return the coordinates of samples, followed by the norm of the part outside the space."""
        centred = dense(X) - self.offset
        inside = centred @ self.basis.T
        return np.column_stack([inside, np.linalg.norm(centred - inside @ self.basis, axis=1)])

    def enter(self, module: Autoencoder) -> RowSpaceAutoencoder:
        """Return the autoencoder of the coordinates that equals ``module`` on the space."""
        offset = module.offset.new_zeros(len(self.basis))
        r, d = self.basis.shape
        twin = RowSpaceAutoencoder(**_parts(module, module, offset), lr_multiplier=math.sqrt(d / r))
        _map_features(twin, torch.from_numpy(self.basis.T))
        return twin

    def leave(self, trained: Autoencoder, like: Autoencoder) -> Autoencoder:
        """Return the autoencoder of all features that equals ``trained`` on the space."""
        twin = Autoencoder(**_parts(trained, like, like.offset))
        _map_features(twin, torch.from_numpy(self.basis))
        return twin

    def objective(self, objective: Any) -> RowSpaceObjective:
        """Return the same objective for coordinates."""
        r, d = self.basis.shape
        return RowSpaceObjective(objective, (r + 1) / d)

    @torch.no_grad()
    def contains(self, module: Autoencoder) -> bool:
        """Return whether the weights of an autoencoder lie in the space."""
        V = torch.from_numpy(self.basis.T).double()
        last = (p.T if p.ndim > 1 else p for p in _last_parameters(module))
        return all(_lies_in(V, rows.double()) for rows in (*_first_parameters(module), *last))


class LeadingDirections(RowSpace):
    """Coordinates in the span of the components of a PCA and the leading directions of its residuals.

    Parameters
    ----------
    X : sparse matrix of shape (n, d)
    pca : PCA
    seed : int
    """

    def __init__(self, X: Any, pca: Any, seed: int) -> None:
        self.offset = np.asarray(pca.mean_, dtype=np.float64)
        axes = np.vstack([pca.components_, _residual_directions(X, self.offset, pca.components_, seed)])
        self.basis = _rotated(np.linalg.qr(axes.T)[0].T.astype(X.dtype), seed)

    def coordinates(self, X: Any) -> np.ndarray:
        """Return the coordinates of samples, followed by the norm of the part outside the space."""
        inside = X @ self.basis.T - self.offset @ self.basis.T
        outside = _squared_distances(X, self.offset) - np.square(inside).sum(axis=1)
        return np.column_stack([inside, np.sqrt(np.maximum(outside, 0.0))])


def _residual_directions(X: Any, offset: np.ndarray, components: np.ndarray, seed: int) -> np.ndarray:
    """Return the leading principal directions of the residuals of a PCA, in no particular units.

    As many as leave one hundredth of the residual variance, and at most
    ``N_DIRECTIONS``, by subspace iteration.

    References
    ----------
    N. Halko, P.-G. Martinsson, J. Tropp (2011), Finding structure with randomness, SIAM Review 53(2).
    """
    n, d = X.shape
    codes = X @ components.T - offset @ components.T
    total = _squared_distances(X, offset).sum()
    rest = total - np.square(codes).sum()
    n_more = min(N_DIRECTIONS, n - 1 - len(components), d - len(components))
    if n_more <= 0 or rest <= _EPS * total:
        return np.empty((0, d))
    left, right = np.column_stack([np.ones(n), codes]), np.vstack([offset, components])
    residuals = aslinearoperator(X) - aslinearoperator(left) @ aslinearoperator(right)
    basis = np.random.RandomState(seed).normal(size=(d, min(n_more + _N_OVERSAMPLES, n, d)))
    for _ in range(_N_PASSES):
        basis = residuals.T @ np.linalg.qr(residuals @ basis)[0]
    sizes, rotation = linalg.eigh(basis.T @ basis)
    n_kept = 1 + int(np.searchsorted(np.cumsum(sizes[::-1]), (1 - _LEFT) * rest))
    return (basis @ rotation[:, ::-1][:, : min(n_more, n_kept)]).T


def _squared_distances(X: Any, offset: np.ndarray) -> np.ndarray:
    """Return the squared distances of sparse samples from a point."""
    squares = np.asarray(X.multiply(X).sum(axis=1)).ravel()
    return squares - 2 * (X @ offset) + offset @ offset


def _rotated(axes: np.ndarray, seed: int) -> np.ndarray:
    r = len(axes)
    rotation = np.linalg.qr(np.random.RandomState(seed).normal(size=(r, r)))[0]
    return rotation.astype(axes.dtype) @ axes


def _lies_in(V: Tensor, rows: Tensor) -> bool:
    outside = rows - rows @ V @ V.T
    return float(outside.norm()) <= _TOLERANCE * float(rows.norm())


class RowSpaceAutoencoder(Autoencoder):
    """Autoencoder of coordinates, plus a last column that it neither sees nor reconstructs.

    Parameters
    ----------
    lr_multiplier : float
        Learning rate of the first and last layers relative to the others.
    **parts
        Of the autoencoder.
    """

    def __init__(self, *, lr_multiplier: float, **parts: Any) -> None:
        super().__init__(**parts)
        self.lr_multiplier = lr_multiplier

    def forward(self, x: Tensor, generator: Generator | None = None) -> ForwardOutput:
        """Pass the coordinates through the autoencoder."""
        out = super().forward(x[:, :-1], generator)
        return out._replace(target=x, eta=F.pad(out.eta, (0, 1)))

    def param_groups(self, alpha: float) -> list[dict]:
        """Rescale the learning rate of the outer layers.

        The norm of an Adam step grows with the square root of the layer width.
        """
        outer = {id(p) for p in (*_first_parameters(self), *_last_parameters(self))}
        groups = []
        for group in super().param_groups(alpha):
            inner_params = [p for p in group["params"] if id(p) not in outer]
            outer_params = [p for p in group["params"] if id(p) in outer]
            groups.append({**group, "params": inner_params})
            groups.append(
                {
                    "params": outer_params,
                    "weight_decay": group["weight_decay"] / self.lr_multiplier,
                    "lr_multiplier": group["lr_multiplier"] * self.lr_multiplier,
                }
            )
        return [group for group in groups if group["params"]]


class RowSpaceObjective(Objective):
    """Objective per feature of X, from sums over fewer coordinates.

    Parameters
    ----------
    objective : Objective
    share : float
        Number of coordinates divided by the number of features.
    """

    def __init__(self, objective: Objective, share: float) -> None:
        super().__init__(objective.loss, objective.penalty)
        self.share = share

    def forward(self, out: ForwardOutput, record: Any = None) -> Tensor:
        """Return the mean over samples and features."""
        return self.share * super().forward(out)

    def per_sample(self, out: ForwardOutput, record: Any = None, *, calibrated: bool = True) -> Tensor:
        """Return the mean over the features of each sample."""
        return self.share * super().per_sample(out)


def _parts(weights: Autoencoder, like: Autoencoder, offset: Tensor) -> dict[str, Any]:
    """Return the parts of an autoencoder with copied weights, and the slots and scale of ``like``."""
    replaced = (*_first_parameters(weights), *_last_parameters(weights))
    shared: dict[int, Any] = {id(p): p for p in replaced}  # not copied, because they are large
    encoder, decoder = copy.deepcopy((weights.encoder, weights.decoder), shared)
    return {
        "encoder": encoder,
        "decoder": decoder,
        "bottleneck": like.bottleneck,
        "corruption": like.corruption,
        "loss": like.loss,
        "stats": FeatureStats(like.zero, like.low, like.high),
        "offset": offset,
        "scale": like.scale,
        "width": like.width,
        "needs_input_grad": like.needs_input_grad,
        "copies": like.copies,
    }


@torch.no_grad()
def _map_features(module: Autoencoder, A: Tensor) -> None:
    """Let the outer layers take and return A'x instead of x; tied layers follow their source."""
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
    """Iterate over the first layers of the linear path and of f."""
    for part in (module.encoder.linear, module.encoder.network):
        if part is not None:
            yield next(layer for layer in part.modules() if isinstance(layer, nn.Linear))


def _last_layers(module: Autoencoder) -> Iterator[Any]:
    """Iterate over the last layers of the linear path and of g."""
    for part in (module.decoder.linear, module.decoder.network):
        if part is not None:
            *_, last = (layer for layer in part.modules() if isinstance(layer, (nn.Linear, TiedLinear)))
            yield last


def _first_parameters(module: Autoencoder) -> list[Tensor]:
    """Return the encoder parameters of shape (..., d)."""
    return [layer.weight for layer in _first_layers(module)]


def _last_parameters(module: Autoencoder) -> list[Tensor]:
    """Return the decoder parameters of shape (d, ...), without tied weights, which belong to the encoder."""
    own = ("weight", "bias")
    return [p for layer in _last_layers(module) for name, p in layer.named_parameters() if name in own]
