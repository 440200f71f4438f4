"""From resolved slots and PCA to the autoencoder that training starts from."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Generator

from sklearn_ae._anchor import (
    build_residuals,
    is_linear,
    linear_paths,
    noise_floor,
    probabilistic_paths,
    total_variance,
    zero_last_layer,
)
from sklearn_ae._elbo import Elbo
from sklearn_ae._module import Autoencoder, Noise, Objective
from sklearn_ae.bottlenecks import Bottleneck
from sklearn_ae.corruptions import CallableNoise, ColumnStats, Corruption
from sklearn_ae.divergences import KL, Divergence
from sklearn_ae.losses import SquaredError
from sklearn_ae.networks import Dense, Modules, Network, Shape
from sklearn_ae.penalties import Penalty
from sklearn_ae.priors import Prior


@dataclass
class Slots:
    """The resolved options of the formula; a divergence makes it a variational autoencoder."""

    network: Network
    hidden_layer_sizes: tuple[int, ...]
    bottleneck: Bottleneck
    corruption: Corruption | None
    loss: Any  # a Likelihood in a variational autoencoder
    penalty: Penalty | None = None
    divergence: Divergence | None = None
    beta: float = 1.0
    kl_warmup: float = 0.0
    prior: Prior | None = None

    @property
    def limited(self) -> bool:
        """Whether something keeps an overcomplete code from being a copy of X."""
        limits = self.corruption, self.penalty, self.divergence
        return self.bottleneck.sparse or any(limit is not None for limit in limits)

    @property
    def plain(self) -> bool:
        """Whether the objective is PCA's, so that a linear model is at its optimum at the start."""
        if self.divergence is not None:
            pca = self.loss.noise == "shared" and isinstance(self.divergence, KL) and self.beta == 1
            return pca and self.corruption is None
        return (
            isinstance(self.loss, SquaredError)
            and self.corruption is None
            and self.penalty is None
            and not self.bottleneck.sparse
        )

    @property
    def rotation_invariant(self) -> bool:
        """Whether rotated columns would be the same task."""
        options = self.network, self.loss, self.corruption, self.penalty
        return self.divergence is None and all(o is None or o.rotation_invariant for o in options)

    @property
    def uses_global_generator(self) -> bool:
        """Whether the user's own code may draw from torch's global generator."""
        return isinstance(self.corruption, CallableNoise) or isinstance(self.network, Modules)

    def capturable(self, width: int) -> bool:
        """Whether a training step for codes of this width never asks the device for a value.

        Nobody can tell that of code that is not the package's own.
        """
        options = self.network, self.bottleneck, self.corruption, self.loss, self.penalty, self.divergence
        own = all(option is None or option.is_own() for option in options)
        return own and not (self.penalty is not None and self.penalty.decomposes(width))

    def objective(self, n_rows: int, n_features: int, scale: float, warm: bool) -> Objective | Elbo:
        """What training minimises, for this many rows in working units of this scale.

        A warm start needs no other warm-up.
        """
        if self.divergence is None:
            return Objective(self.loss, self.penalty)
        log_jacobian = 0.0 if self.loss.discrete else n_features * math.log(scale)
        n_samples = self.bottleneck.n_samples  # type: ignore[attr-defined]
        return Elbo(
            self.loss,
            self.divergence,
            self.beta,
            0.0 if warm else self.kl_warmup,
            n_samples,
            n_rows,
            n_features,
            log_jacobian,
        )


def working_scale(pca: Any, n_features: int) -> float:
    """The one scalar that X is divided by: the root of the mean column variance."""
    scale = math.sqrt(max(total_variance(pca), 0.0) / n_features)
    return scale if scale > 0 and math.isfinite(scale) else 1.0


def column_stats(X: Any, offset: np.ndarray, scale: float, needed: bool) -> ColumnStats:
    """Zero, minimum and maximum of each column in working units (only where a noise needs them)."""
    if not needed:
        return ColumnStats(*(torch.zeros(0) for _ in ColumnStats._fields))
    low, high = X.min(axis=0), X.max(axis=0)
    if sparse.issparse(X):
        low, high = low.toarray().ravel(), high.toarray().ravel()
    columns = (np.zeros_like(offset), low, high)
    return ColumnStats(*(torch.from_numpy(np.asarray((c - offset) / scale)) for c in columns))


def build_module(
    params: Any, slots: Slots, pca: Any, n_components: int, X: Any, generator: Generator
) -> Autoencoder:
    """Build the autoencoder at PCA (or, with ``init="random"``, a textbook one), in float64."""
    d = X.shape[1]
    offset = np.asarray(pca.mean_, dtype=np.float64)
    scale = working_scale(pca, d)
    n_codes = n_components if slots.divergence is None else 2 * n_components
    encoder, decoder = build_residuals(
        slots.network,
        _paths(params, slots, pca, n_components, scale, generator) if params.init == "pca" else None,
        Shape(d, n_components, n_codes),
        slots.hidden_layer_sizes,
        params.activation,
        params.tied_weights,
        slots.loss.discrete,
        slots.bottleneck.ordered,
        generator,
    )
    module = Autoencoder(
        encoder,
        decoder,
        slots.bottleneck,
        slots.corruption,
        slots.loss,
        column_stats(X, offset, scale, slots.corruption is not None),
        torch.from_numpy(offset),
        scale,
        n_components,
        _noise(params, slots, pca, n_components, scale, generator),
    )
    module.needs_input_grad = slots.penalty is not None and slots.penalty.needs_input_grad
    return module.double()


def _paths(params: Any, slots: Slots, pca: Any, k: int, scale: float, generator: Generator) -> Any:
    """Linear layers that are PCA; they have a bias where no network beside them has one."""
    bias = is_linear(slots.network, slots.hidden_layer_sizes) and not slots.loss.discrete
    if slots.divergence is None:
        return linear_paths(pca.components_, k, params.tied_weights, bias, generator)
    return probabilistic_paths(pca, k, scale, params.tied_weights, bias, generator)


def _noise(params: Any, slots: Slots, pca: Any, k: int, scale: float, generator: Generator) -> Noise | None:
    """Noise of a Gaussian likelihood, at PCA's noise variance or at that of X."""
    kind = slots.loss.noise
    if kind is None:
        return None
    d = pca.components_.shape[1]
    start = math.log(noise_floor(pca, scale)) if params.init == "pca" else 0.0
    network = None
    if kind == "decoder":
        shape = Shape(d, k, k)
        network = Dense().build(shape, slots.hidden_layer_sizes, params.activation, False, generator)[1]
        zero_last_layer(network)
    return Noise(torch.full((1 if kind == "shared" else d,), start, dtype=torch.float64), network)


def inference_copy(trained: Autoencoder, exact: Autoencoder, dtype: Any, shut: bool) -> Autoencoder:
    """A frozen copy in the precision of X; behind a shut gate, without its networks.

    Training is in float32. ``exact`` is the float64 module that it started from,
    which has the full digits of the offset and, behind a shut gate, of PCA.
    """
    twin = copy.deepcopy(exact if shut else trained).double()
    twin.offset.copy_(exact.offset)
    if shut:
        twin.encoder.network = twin.decoder.network = None
        if twin.noise is not None:
            twin.noise.network = None
        twin.__dict__.pop("n_weights", None)  # there are fewer now
    return twin.to(torch.float32 if dtype == np.float32 else torch.float64).eval().requires_grad_(False)


def is_pca(module: Autoencoder, pca: Any) -> bool:
    """Whether a model at its anchor is PCA in everything: linear, with PCA's components alone."""
    linear = module.encoder.is_affine() and module.has_affine_decoder() and not module.bottleneck.sparse
    return linear and module.width == pca.n_components_
