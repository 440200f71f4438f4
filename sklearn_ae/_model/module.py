"""The autoencoder as torch modules: the formula, with the slots handed in.

    x -> corruption -> encoder -> bottleneck -> decoder -> loss  (+ penalty)

Rows are in working units: X centred and divided by one scalar. Encoder and
decoder are each a linear path plus a network (:class:`Residual`). The linear
path holds PCA and the networks start at zero, so before the first step the
model is PCA; a textbook autoencoder has no linear path.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from sklearn_ae.bottlenecks import LOG_VARIANCE_BOUNDS, Bottleneck
from sklearn_ae.corruptions import Corruption, FeatureStats
from sklearn_ae.losses import Loss
from sklearn_ae.networks import TiedLinear

# Adam moves a parameter by the learning rate at most, and a noise variance may fall by orders of
# magnitude: its logarithm learns this many times as fast.
NOISE_LR_MULTIPLIER = 3.0


class ForwardOutput(NamedTuple):
    """What one pass through the autoencoder leaves for the objective."""

    target: Tensor  # the clean rows, in the loss's units
    source: Tensor  # what the encoder saw
    activations: Tensor
    codes: Tensor
    eta: Tensor  # the decoder's output
    log_noise: Tensor | None  # logarithm of the noise variance, where the likelihood has one
    generator: Generator | None


class Residual(nn.Module):
    """``linear(x) + gain * network(x)``; either part may be missing.

    Parameters
    ----------
    linear : module or None
        The linear path.
    network : module or None
        The nonlinear part.
    gained : bool
        Whether a trainable scalar that starts at zero multiplies the network.
        Networks whose last layer can be set to zero do not need it.
    """

    def __init__(self, linear: nn.Module | None, network: nn.Module | None, gained: bool = False):
        super().__init__()
        self.linear = linear
        self.network = network
        self.gain = nn.Parameter(torch.zeros(())) if gained else None

    def residual(self, x: Tensor) -> Tensor | None:
        if self.network is None:
            return None
        y = self.network(x)
        return y if self.gain is None else self.gain * y

    def forward(self, x: Tensor) -> Tensor:
        residual = self.residual(x)
        if self.linear is None:
            assert residual is not None
            return residual
        y = self.linear(x)
        return y if residual is None else y + residual

    def is_affine(self) -> bool:
        """Whether the map is affine, told from its layers."""
        if self.network is None:
            return True
        layers = (nn.Linear, TiedLinear, nn.Identity, nn.Sequential)
        return all(isinstance(module, layers) for module in self.network.modules())


class Noise(nn.Module):
    """Logarithm of the noise variance in working units: one number, one per column, or a network's.

    Parameters
    ----------
    log_variance : Tensor of shape (1,) or (d,)
        Where it starts.
    network : module or None
        Maps codes (n, k) to what is added for each entry (n, d).
    """

    def __init__(self, log_variance: Tensor, network: nn.Module | None = None):
        super().__init__()
        self.log_variance = nn.Parameter(log_variance)
        self.network = network

    @property
    def common(self) -> Tensor:
        """What all rows share: all there is, where there is no network."""
        return self.log_variance.clamp(*LOG_VARIANCE_BOUNDS)

    def forward(self, z: Tensor) -> Tensor:
        if self.network is None:
            return self.common
        return (self.log_variance + self.network(z)).clamp(*LOG_VARIANCE_BOUNDS)


class Autoencoder(nn.Module):
    """Encoder, bottleneck and decoder, with the corruption before and the link after.

    Parameters
    ----------
    encoder, decoder : Residual
        Maps (n, d) -> (n, k) and (n, k) -> (n, d), in working units.
    bottleneck : Bottleneck
        Turns the encoder's output into the code.
    corruption : Corruption or None
        Noise on the encoder's input, in training only.
    loss : Loss
        Gives the link between the linear path and ``eta``.
    stats : FeatureStats
        Zero, minimum and maximum of the training columns, in working units.
    offset : Tensor of shape (d,)
    scale : float
        ``X = offset + scale * x`` for working rows x.
    width : int
        Number of components.
    noise : Noise or None
        Of a Gaussian likelihood.
    """

    offset: Tensor
    zero: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self,
        encoder: Residual,
        decoder: Residual,
        bottleneck: Bottleneck,
        corruption: Corruption | None,
        loss: Loss,
        stats: FeatureStats,
        offset: Tensor,
        scale: float,
        width: int,
        noise: Noise | None = None,
    ):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.bottleneck = bottleneck
        self.corruption = corruption
        self.loss = loss
        self.scale = scale
        self.width = width
        self.noise = noise
        self.prior: Any = None  # of the codes, once trained; None is N(0, I)
        self.n_kept = width  # fewer after truncation
        self.needs_input_grad = False  # set for penalties that differentiate the code
        self.register_buffer("offset", offset)
        for name, column in stats._asdict().items():
            self.register_buffer(name, column)

    @functools.cached_property
    def n_weights(self) -> int:
        """Number of parameters; to count them takes longer than to encode a row."""
        return sum(p.numel() for p in self.parameters())

    def encode(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Codes of working rows; random bottlenecks need the generator."""
        return self.bottleneck(self.encoder(x), generator)[:, : self.n_kept]

    def decode(self, z: Tensor) -> Tensor:
        """Decoder's output ``eta``; missing last components are zero."""
        if z.shape[1] < self.width:
            z = F.pad(z, (0, self.width - z.shape[1]))
        if not self.loss.discrete:
            return self.decoder(z)
        linear = self.decoder.linear
        y = z.new_zeros(()) if linear is None else linear(z)
        eta = self.loss.link(self.in_units(y))
        residual = self.decoder.residual(z)
        return eta if residual is None else eta + residual

    def log_noise(self, z: Tensor) -> Tensor | None:
        """Logarithm of the noise variance, broadcastable to the rows decoded from z."""
        return None if self.noise is None else self.noise(z)

    def reconstruct(self, z: Tensor) -> Tensor:
        """Mean of X given the codes, in the units of X."""
        eta = self.decode(z)
        return self.loss.inverse_link(eta) if self.loss.discrete else self.in_units(eta)

    def in_units(self, x: Tensor) -> Tensor:
        """Working rows in the units of X."""
        return torch.add(self.offset, x, alpha=self.scale)

    def forward(self, x: Tensor, generator: Generator | None = None) -> ForwardOutput:
        """ForwardOutput clean working rows through; the generator draws the noises.

        Evaluation mode keeps the corruption, so that a validation loss is one of
        denoising, but of the bottleneck's randomness only what its objective is about.
        """
        target = self.in_units(x) if self.loss.discrete else x
        if self.loss.dynamic_binarization and generator is not None:
            target = torch.bernoulli(target.clamp_(0, 1), generator=generator)
            x = (target - self.offset) / self.scale
        source = x
        if self.corruption is not None and generator is not None:
            source = self.corruption(x, generator, FeatureStats(self.zero, self.low, self.high))
        if torch.is_grad_enabled() and not source.requires_grad and self.needs_input_grad:
            source = source.detach().requires_grad_()
        a = self.encoder(source)
        z = (self.bottleneck if self.training else self.bottleneck.evaluate)(a, generator)
        return ForwardOutput(target, source, a, z, self.decode(z), self.log_noise(z), generator)

    @torch.no_grad()
    def change_units(self, offset: Tensor, scale: float, seen: FeatureStats) -> None:
        """Take other working units, and the extremes of more rows, which are in these units."""
        for name in FeatureStats._fields:
            column = getattr(self, name)
            if len(column):
                column.copy_((self.offset + self.scale * column - offset) / scale)
        self.low = torch.minimum(self.low, seen.low.to(self.low))
        self.high = torch.maximum(self.high, seen.high.to(self.high))
        self.offset.copy_(offset)
        self.scale = scale

    def has_affine_decoder(self) -> bool:
        """Whether x given z is an affine map plus noise of a fixed variance, as in PCA."""
        fixed = self.noise is None or self.noise.network is None
        return fixed and not self.loss.discrete and self.decoder.is_affine()

    def param_groups(self, alpha: float) -> list[dict]:
        """Parameters for the optimizer: weight decay on the weights of f and g alone, a faster noise."""
        decayed = {id(p) for p in self._network_weights()}
        noise = [] if self.noise is None else [self.noise.log_variance]
        apart = decayed | {id(p) for p in noise}
        weights = [p for p in self.parameters() if id(p) in decayed]
        others = [p for p in self.parameters() if id(p) not in apart]
        groups = [
            {"params": weights, "weight_decay": alpha, "lr_multiplier": 1.0},
            {"params": others, "weight_decay": 0.0, "lr_multiplier": 1.0},
            {"params": noise, "weight_decay": 0.0, "lr_multiplier": NOISE_LR_MULTIPLIER},
        ]
        return [group for group in groups if group["params"]]

    def _network_weights(self) -> Iterator[nn.Parameter]:
        for part in (self.encoder, self.decoder, self.noise):
            if part is not None and part.network is not None:
                yield from (p for p in part.network.parameters() if p.ndim > 1)
