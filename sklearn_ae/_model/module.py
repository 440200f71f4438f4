"""The autoencoder as torch modules: the formula, with the options of the slots passed in.

    x -> corruption -> encoder -> bottleneck -> decoder -> loss  (+ penalty)

Samples are in working units: X centred and divided by one scalar. Encoder and
decoder each consist of a linear path and a parallel network (:class:`Residual`).
The linear path holds PCA and the networks start at zero, so that the untrained
model is PCA; a textbook autoencoder has no linear path.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from sklearn_ae._model.whitening import Whitening
from sklearn_ae.bottlenecks import LOG_VARIANCE_BOUNDS, Bottleneck
from sklearn_ae.corruptions import Corruption, FeatureStats
from sklearn_ae.losses import Loss
from sklearn_ae.networks import Linear, TiedLinear

# The log noise variance has three times the learning rate of the weights. Adam moves a parameter by at most
# the learning rate, so that it could not drop by orders of magnitude within the step budget otherwise.
NOISE_LR_MULTIPLIER = 3.0


class ForwardOutput(NamedTuple):
    """Intermediate results of a forward pass, from which the objective is computed."""

    target: Tensor  # clean samples, in the units of the loss
    source: Tensor  # input of the encoder
    activations: Tensor
    codes: Tensor
    eta: Tensor  # output of the decoder
    log_noise: Tensor | None  # log noise variance, if the likelihood has one
    generator: Generator | None
    observed: Tensor | None = None  # mask of the entries that the objective is about; None for all


class Residual(nn.Module):
    """``linear(x) + gain * network(x)``; either part may be missing.

    Parameters
    ----------
    linear : module or None
        The linear path.
    network : module or None
        The nonlinear part.
    has_gain : bool
        Whether the network is multiplied by a trainable scalar that starts at zero.
        Networks whose last layer can be set to zero do not need it.
    copies : bool
        Whether the network gets a copy of x, because it may change its input in place.
    """

    def __init__(
        self,
        linear: nn.Module | None,
        network: nn.Module | None,
        has_gain: bool = False,
        *,
        copies: bool = False,
    ) -> None:
        super().__init__()
        self.copies = copies
        self.linear = linear
        self.network = network
        self.gain = nn.Parameter(torch.zeros((), dtype=torch.float32, device="cpu")) if has_gain else None

    def residual(self, x: Tensor) -> Tensor | None:
        """Return the output of the nonlinear part, or None without one."""
        network, gain = self.network, self.gain  # looking up a part takes as long as a small layer
        if network is None:
            return None
        y = network(x.clone() if self.copies else x)
        return y if gain is None else gain * y

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both parts."""
        residual, linear = self.residual(x), self.linear
        if linear is None:
            assert residual is not None
            return residual
        return linear(x) if residual is None else linear(x) + residual

    def is_affine(self) -> bool:
        """Return whether the map is affine, from the types of its layers."""
        if self.network is None:
            return True
        layers = (nn.Linear, Linear, TiedLinear, nn.Identity, nn.Sequential)
        return all(type(module) in layers for module in self.network.modules())

    def drop_network(self) -> None:
        """Reduce the map to its linear path."""
        self.network = None


class Noise(nn.Module):
    """Log noise variance in working units: shared, one per feature, or the output of a network.

    Parameters
    ----------
    log_variance : Tensor of shape (1,) or (d,)
        Initial value.
    network : module or None
        Maps codes (n, k) to an additional term for each entry (n, d).
    """

    def __init__(self, log_variance: Tensor, network: nn.Module | None = None) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(log_variance)
        self.network = network

    @property
    def common(self) -> Tensor:
        """The part that all samples share, which is everything without a network."""
        return self.log_variance.clamp(*LOG_VARIANCE_BOUNDS)

    def forward(self, z: Tensor) -> Tensor:
        """Return the log noise variance for codes z."""
        if self.network is None:
            return self.common
        return self.bounded(self.network(z))

    def bounded(self, change: Tensor) -> Tensor:
        """Return the log noise variance for outputs of the network."""
        return (self.log_variance + change).clamp(*LOG_VARIANCE_BOUNDS)

    @torch.no_grad()
    def replace(self, log_variance: Tensor) -> None:
        """Set the part that all samples share."""
        self.log_variance.copy_(log_variance)

    def drop_network(self) -> None:
        """Reduce the noise to the part that all samples share."""
        self.network = None


class Autoencoder(nn.Module):
    """Encoder, bottleneck and decoder, preceded by the corruption and followed by the inverse link.

    Parameters
    ----------
    encoder, decoder : Residual
        Maps (n, d) -> (n, k) and (n, k) -> (n, d), in working units.
    bottleneck : Bottleneck
        Turns the encoder output into the code.
    corruption : Corruption or None
        Noise on the encoder input, in training only.
    loss : Loss
        Provides the link between the linear path and ``eta``.
    stats : FeatureStats or None
        Zero, minimum and maximum of the training features, in working units; a
        corruption needs them.
    offset : Tensor of shape (d,)
    scale : float
        ``X = offset + scale * x`` for x in working units.
    width : int
        Number of components.
    noise : Noise or None
        Of a Gaussian likelihood.
    whitening : Whitening or None
        Maps working units to the units of the loss if the noise has a full covariance.
    needs_input_grad : bool
        Whether a penalty differentiates the code with respect to the input.
    copies : bool
        Whether corruption and loss get copies of x, because they may change it in place.
    is_paired : bool
        Whether x holds, in training, noisy samples followed by the clean ones to be
        reconstructed from them, of shape (n, 2d).
    """

    observed_share = 1.0  # of the values of the training samples

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
        stats: FeatureStats | None,
        offset: Tensor,
        scale: float,
        width: int,
        *,
        noise: Noise | None = None,
        whitening: Whitening | None = None,
        needs_input_grad: bool = False,
        copies: bool = False,
        is_paired: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.bottleneck = bottleneck
        self.corruption = corruption
        self.loss = loss
        self.scale = scale
        self.width = width
        self.noise = noise
        self.whitening = whitening
        self.needs_input_grad = needs_input_grad
        self.copies = copies
        self.is_paired = is_paired
        self.prior: Any = None  # fitted to the codes after training; None is N(0, I)
        self.scores: Any = None  # normal scores, of which the samples consist; None if it is X itself
        self.n_kept = width  # smaller after truncation
        self.register_buffer("offset", offset)
        for name in FeatureStats._fields:
            self.register_buffer(
                name, torch.zeros(0, device="cpu") if stats is None else getattr(stats, name)
            )

    @functools.cached_property
    def n_weights(self) -> int:
        """Number of parameters; cached, because counting takes longer than encoding one sample."""
        return sum(p.numel() for p in self.parameters())

    # -- maps ---------------------------------------------------------------------

    def encode(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Return the codes of samples in working units; random bottlenecks need the generator."""
        z = self._code(self.encoder(x), generator)
        return z if self.n_kept == self.width else z[:, : self.n_kept]

    def _code(self, a: Tensor, generator: Generator | None) -> Tensor:
        return self.bottleneck(a, generator)

    def decode(self, z: Tensor) -> Tensor:
        """Return the decoder output ``eta`` in the units of the loss; truncated components are zero."""
        eta = self.output(z)
        return eta if self.whitening is None else self.whitening(eta)

    def output(self, z: Tensor) -> Tensor:
        """Return the decoder output in working units, or in those of the loss if it is discrete."""
        if z.shape[1] < self.width:
            z = F.pad(z, (0, self.width - z.shape[1]))
        if not self.loss.discrete:
            return self.decoder(z)
        linear = self.decoder.linear
        y = z.new_zeros(()) if linear is None else linear(z)
        eta = self.loss.link(self.target(y))
        residual = self.decoder.residual(z)
        return eta if residual is None else eta + residual

    def log_noise(self, z: Tensor) -> Tensor | None:
        """Return the log noise variance, broadcastable to the samples decoded from z."""
        return None if self.noise is None else self.noise(z)

    def reconstruct(self, z: Tensor) -> Tensor:
        """Return the mean of X given the codes (the median for normal scores), in the units of X."""
        eta = self.output(z)
        return self.from_target(self.loss.inverse_link(eta)) if self.loss.discrete else self._in_X(eta)

    def forward(self, x: Tensor, generator: Generator | None = None) -> ForwardOutput:
        """Pass samples in working units through the autoencoder; the generator draws the noise.

        In evaluation mode the corruption stays, so that the validation loss of a
        denoising autoencoder is one of denoising; of the bottleneck, only the
        randomness that the objective is about stays.
        """
        x, clean = x.chunk(2, dim=1) if self.is_paired else (x, x)
        target = self.target(clean.clone() if self.copies else clean)
        if self.loss.dynamic_binarization and generator is not None:
            target = torch.bernoulli(target.clamp(0, 1), generator=generator)
            x = x if self.is_paired else (target - self.offset) / self.scale
        source = x
        if self.corruption is not None and generator is not None:
            source = self._corrupted(x.clone() if self.copies else x, generator)
        if torch.is_grad_enabled() and not source.requires_grad and self.needs_input_grad:
            source = source.detach().requires_grad_()
        a = self.encoder(source)
        z = self._code(a, generator) if self.training else self.bottleneck.evaluate(a, generator)
        return ForwardOutput(target, source, a, z, self.decode(z), self.log_noise(z), generator)

    def _corrupted(self, x: Tensor, generator: Generator) -> Tensor:
        assert self.corruption is not None
        return self.corruption(x, generator, FeatureStats(self.zero, self.low, self.high))

    # -- units --------------------------------------------------------------------

    def in_units(self, x: Tensor) -> Tensor:
        """Return samples in the units of X, given those in working units."""
        return torch.add(self.offset, x, alpha=self.scale)

    def target(self, x: Tensor) -> Tensor:
        """Return samples in the units of the loss.

        They are those of X if it is discrete, and working units otherwise, whitened for a full
        noise covariance.
        """
        if self.loss.discrete:
            return self.in_units(x)
        return x if self.whitening is None else self.whitening(x)

    def from_target(self, target: Tensor) -> Tensor:
        """Return samples in the units of X, given those in the units of the loss."""
        if self.loss.discrete:
            return target
        return self._in_X(target if self.whitening is None else self.whitening.inverse(target))

    def _in_X(self, x: Tensor) -> Tensor:
        """Return samples in the units of X, given those in working units, which may be normal scores."""
        X = self.in_units(x)
        return X if self.scores is None else torch.from_numpy(self.scores.inverse(X.cpu().numpy())).to(X)

    @property
    def log_jacobian(self) -> float:
        """Difference between log-densities in the units of the loss and of X, in nats per sample."""
        return 0.0 if self.loss.discrete else len(self.offset) * math.log(self.scale)

    @property
    def log_units(self) -> Tensor:
        """The share of each feature in ``log_jacobian``, of shape (d,)."""
        return torch.full_like(self.offset, self.log_jacobian / len(self.offset), dtype=torch.float64)

    def log_jacobian_at(self, x: Tensor) -> Tensor:
        """Return ``log_jacobian`` of samples in working units, to which missing features do not add."""
        missing = x.isnan()
        return self.log_jacobian - torch.where(missing, self.log_units, 0.0).sum(1)

    @torch.no_grad()
    def change_units(self, offset: Tensor, scale: float, seen: FeatureStats | None) -> None:
        """Switch to other working units, and extend the feature ranges by ``seen``, given in these units."""
        for name in FeatureStats._fields:
            feature = getattr(self, name)
            if len(feature):
                feature.copy_((self.offset + self.scale * feature - offset) / scale)
        self._extend_ranges(seen)
        self.offset.copy_(offset)
        self.scale = scale

    def _extend_ranges(self, seen: FeatureStats | None) -> None:
        if seen is not None:
            self.low = torch.minimum(self.low, seen.low.to(self.low))
            self.high = torch.maximum(self.high, seen.high.to(self.high))

    # -- variants -----------------------------------------------------------------

    def has_affine_decoder(self) -> bool:
        """Return whether x given z is an affine map plus noise of fixed variance, as in PCA."""
        fixed = self.noise is None or self.noise.network is None
        return fixed and not self.loss.discrete and self.decoder.is_affine()

    @torch.no_grad()
    def is_its_linear_path(self, x: Tensor) -> bool:
        """Return whether f = g = 0 on some samples and the bottleneck leaves their codes unchanged."""
        training = self.training
        self.eval()
        a = self.encoder.linear(x)  # type: ignore[misc]
        mu = a[:, : self.width]
        unchanged = torch.equal(self.encoder(x), a) and torch.equal(self.encode(x), mu)
        g = self.decoder.residual(mu)
        self.train(training)
        return unchanged and (g is None or not bool(g.any()))

    @torch.no_grad()
    def squared_errors(self, x: Tensor, sizes: list[int]) -> Tensor:
        """Return the squared errors of samples, summed, with the first j components for j in ``sizes``."""
        z = self.encode(x)
        reconstructions = ((self.reconstruct(z[:, :j]) - self.offset) / self.scale for j in sizes)
        return torch.stack([(x - x_hat).square().nansum() for x_hat in reconstructions])

    def is_affine(self) -> bool:
        """Return whether encoder, bottleneck and decoder are affine."""
        return self.bottleneck.identity and self.encoder.is_affine() and self.has_affine_decoder()

    def without_networks(self) -> Autoencoder:
        """Return a copy that consists of the linear paths only."""
        twin = copy.deepcopy(self)
        for part in (twin.encoder, twin.decoder, twin.noise):
            if part is not None:
                part.drop_network()
        twin.__dict__.pop("n_weights", None)  # the cached number of parameters
        return twin

    def truncated(self, n_components: int) -> Autoencoder:
        """Return an autoencoder of the first components, which shares the weights."""
        prior = self.prior
        if prior is not None and n_components < self.n_kept:
            prior = prior.marginal(n_components)
        twin = self.with_prior(prior)
        twin.n_kept = n_components
        return twin

    def with_prior(self, prior: Any) -> Autoencoder:
        """Return an autoencoder with a prior of its codes, which shares the weights."""
        twin = copy.copy(self)
        twin._modules = dict(self._modules)
        twin.prior = prior
        return twin

    def with_scores(self, scores: Any) -> Autoencoder:
        """Return an autoencoder of the normal scores of X, which shares the weights."""
        twin = self.with_prior(self.prior)
        twin.scores = scores
        return twin

    # -- parameters ---------------------------------------------------------------

    def param_groups(self, alpha: float) -> list[dict]:
        """Return parameter groups: weight decay on the weights of f and g only, a faster noise variance."""
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
