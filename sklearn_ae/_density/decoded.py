"""Distribution of x around a decoder's output, reduced to the directions in which the output moves."""

from __future__ import annotations

import copy
import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_ae._density.decoder import AFFINE, ModuleDecoder, without_bias
from sklearn_ae._density.laplace import N_STARTS, log_likelihood, posterior_draws
from sklearn_ae._density.latent_prior import LatentModel
from sklearn_ae._density.observations import GaussianObservation, Observation, ObservedFeatures
from sklearn_ae._model.module import Autoencoder
from sklearn_ae._utils.gaussian import LOG_2PI
from sklearn_ae.networks import Linear

_MIN_REDUCTION = 2  # features per direction from which samples are reduced


@dataclass(frozen=True)
class DecodedDistribution:
    """Distribution of x given the code.

    Parameters
    ----------
    module : Autoencoder
        In float64.
    decoder : ModuleDecoder
    observation : Observation
        Distribution of what the decoder's output is compared with: x, or its coordinates.
    span : OutputSpan or None
        Given if x is replaced by its coordinates.
    """

    module: Autoencoder
    decoder: ModuleDecoder
    observation: Observation
    span: OutputSpan | None = None

    @classmethod
    def of(cls, module: Autoencoder, observation: Observation) -> DecodedDistribution:
        """Return the distribution for a module, reduced if that is possible."""
        if not isinstance(observation, GaussianObservation):
            return cls(module, ModuleDecoder(module), observation)
        variance = torch.as_tensor(observation.noise_variance, dtype=torch.float64, device="cpu")
        span = OutputSpan.of(module, variance)
        if span is None:
            return cls(module, ModuleDecoder(module, variance), observation)
        return cls(module, ModuleDecoder(span.module, variance), GaussianObservation(span.noise), span)

    @property
    def whole(self) -> Observation:
        """Distribution of all features given the decoder's output."""
        if self.span is None:
            return self.observation
        return GaussianObservation(self.span.noise / self.span.unit.square())

    @functools.cached_property
    def incomplete(self) -> DecodedDistribution:
        """The distribution of the observed features of incomplete samples."""
        whole = self.whole
        noise = whole.noise_variance if isinstance(whole, GaussianObservation) else None
        return DecodedDistribution(self.module, ModuleDecoder(self.module, noise), ObservedFeatures(whole))

    def in_units_of_X(self, x: Tensor, latent: LatentModel, **params: int) -> tuple[Tensor, Tensor]:
        """Return the log-likelihood of the observed features, in the units of X, and its standard error."""
        gaps = x.isnan().any(1)
        if not bool(gaps.any()):
            log_p, std = self.log_likelihood(x, latent, **params)
            return log_p - self.module.log_jacobian, std
        both = x.new_empty((2, len(x)))
        for rows, decoded in ((gaps, self.incomplete), (~gaps, self)):
            if bool(rows.any()):
                both[:, rows] = torch.stack(decoded.log_likelihood(x[rows], latent, **params))
        return both[0] - self.module.log_jacobian_at(x), both[1]

    def log_likelihood(
        self, x: Tensor, latent: LatentModel, *, n_draws: int, n_starts: int = N_STARTS
    ) -> tuple[Tensor, Tensor]:
        """Return log p(x) of samples in working units and its standard error."""
        target, rest = self._reduced(x)
        codes = self.module.encode(x)
        log_p, std = log_likelihood(
            target, self.decoder, codes, latent, self.observation, n_draws=n_draws, n_starts=n_starts
        )
        return (log_p + rest).clamp_min(torch.finfo(log_p.dtype).min), std

    def posterior_draws(self, x: Tensor, latent: LatentModel, normal: Tensor) -> Tensor:
        """Return draws (n_draws, n, k) of u given samples, from standard normal ones of this shape."""
        if not isinstance(self.observation, ObservedFeatures) and bool(x.isnan().any()):
            return self.incomplete.posterior_draws(x, latent, normal)
        target, _ = self._reduced(x)
        codes = self.module.encode(x)
        return posterior_draws(target, self.decoder, codes, latent, self.observation, normal)

    def log_joint(self, x: Tensor, u: Tensor, latent: LatentModel) -> Tensor:
        """Return log p(x, u) of draws (n_draws, n, k) of u for incomplete samples, of shape (n_draws, n)."""
        decoded = self.incomplete
        target = self.module.target(x).repeat(len(u), 1)
        misfit = decoded.observation.misfit(decoded.decoder(latent.colour(u.flatten(0, 1))), target)
        return latent.log_prior(u) - misfit.view(u.shape[:2])

    def _reduced(self, x: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return what the decoder's output is compared with, and the log-density of the rest of x."""
        target = self.module.target(x)
        return (target, 0.0) if self.span is None else self.span.coordinates(target)


@dataclass(frozen=True)
class OutputSpan:
    """Directions in which a decoder with linear last layers moves, for normal noise around its output.

    With many features they are few. What x has besides does not depend on the code.

    Attributes
    ----------
    module : Autoencoder
        Decodes codes (n, k) to coordinates (n, m).
    noise : float
        Noise variance of each coordinate.
    origin : Tensor of shape (d,)
        Sum of the biases of the last layers.
    unit : Tensor of shape (d,)
        Factors that make the noise variance of all features equal.
    axes : Tensor of shape (d, m)
        Orthonormal directions of x in these units.
    """

    module: Autoencoder
    noise: float
    origin: Tensor
    unit: Tensor
    axes: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, module: Autoencoder, variance: Tensor) -> OutputSpan | None:
        """Return the span, None if it has most of the dimensions of x, or if a last layer is not linear."""
        last = _last_layers(module)
        widths = [
            layer.in_features if type(layer) in AFFINE else len(module.offset) for layer in last.values()
        ]
        if _MIN_REDUCTION * sum(widths) > len(module.offset):
            return None
        noise = float(variance.min())
        unit = (noise / variance).sqrt().expand(len(module.offset))
        gain = module.decoder.gain
        origin, weights = torch.zeros_like(module.offset), []
        for name, layer in last.items():
            zero = origin.new_zeros(layer.in_features)
            factor: Any = gain if name == "network" and gain is not None else 1.0
            origin += factor * layer(zero)
            weights.append(without_bias(layer, torch.diag(zero + 1.0)))
        moves = torch.cat(weights)
        twin = copy.deepcopy(module)
        if module.whitening is not None:
            origin, moves, twin.whitening = module.whitening(origin), module.whitening(moves), None
        axes, root = torch.linalg.qr((unit * moves).T)
        twin.offset = origin.new_zeros(len(root))
        for name, weight in zip(last, root.split(widths, 1), strict=True):
            _replace_last_layer(twin, name, weight)
        return cls(twin, noise, origin, unit, axes)

    def coordinates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the coordinates (n, m) of samples (n, d), and the log-density of the rest, (n,)."""
        scaled = (x - self.origin) * self.unit
        coordinates = scaled @ self.axes
        rest = scaled.square().sum(1) - coordinates.square().sum(1)
        rest = rest.clamp_min(0.0).nan_to_num(torch.inf) / self.noise  # nan if both overflow
        n_rest = len(self.unit) - self.axes.shape[1]
        constant = 2.0 * self.unit.log().sum() - n_rest * (LOG_2PI + math.log(self.noise))
        return coordinates, 0.5 * (constant - rest)


def _last_layers(module: Autoencoder) -> dict[str, Any]:
    """Return the last layer of each part of the decoder."""
    linear, network = module.decoder.linear, module.decoder.network
    while type(network) is nn.Sequential:
        network = network[-1]
    last = {"linear": linear, "network": network}
    return {name: layer for name, layer in last.items() if layer is not None}


def _replace_last_layer(module: Autoencoder, name: str, weight: Tensor) -> None:
    """Replace the last layer of a part of the decoder by one without a bias."""
    layer = Linear(weight.shape[1], len(weight), bias=False, dtype=torch.float64, device="cpu")
    layer.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    parent, key = module.decoder, name
    while type(getattr(parent, key)) is nn.Sequential:
        parent = getattr(parent, key)
        key = str(len(parent) - 1)
    setattr(parent, key, layer)
