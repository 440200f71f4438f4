"""The resolved slots, and the autoencoder that training starts from.

With ``init="pca"`` the encoder is ``z = P x + f(x)`` and the decoder
``x^ = Q z + g(z)`` in working units. P = Q' holds the principal axes of PCA at the
start, and f = g = 0, so that the untrained model is PCA. Whether it really is, with
the user's own network or bottleneck, is measured on a few samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from sklearn_ae._data.in_memory import ArraySamples
from sklearn_ae._model.completion import (
    IncompleteAutoencoder,
    IncompleteEncoder,
    IncompleteFeaturewiseAutoencoder,
    completion_by,
)
from sklearn_ae._model.features import FeaturewiseAutoencoder, start_of_noise
from sklearn_ae._model.linear_gaussian import (
    LinearGaussian,
    better_linear_gaussian,
    determines_factors,
    probabilistic_paths,
    probabilistic_pca,
)
from sklearn_ae._model.module import Autoencoder, Noise, Residual
from sklearn_ae._model.pca import InitialPCA, initial_pca
from sklearn_ae._model.shrunk_normal import shrunk_normal
from sklearn_ae.bottlenecks import Bottleneck, GaussianSampling, Identity
from sklearn_ae.corruptions import Corruption, FeatureStats
from sklearn_ae.divergences import KL, Divergence
from sklearn_ae.likelihoods import is_gaussian
from sklearn_ae.losses import SquaredError
from sklearn_ae.networks import Dense, JoinedOutputs, Linear, MarkMissing, Modules, Network, Shape, TiedLinear
from sklearn_ae.penalties import Penalty
from sklearn_ae.priors import Prior, StandardNormal

_N_PROBES = 32  # samples on which the start is compared with PCA


@dataclass(frozen=True)
class ModelSpec:
    """The resolved slots and the form of the networks; a divergence makes the autoencoder variational."""

    network: Network
    hidden_layer_sizes: tuple[int, ...]
    activation: str
    tied_weights: bool
    init: str
    bottleneck: Bottleneck
    corruption: Corruption | None
    loss: Any  # a Likelihood if the autoencoder is variational
    n_components: int | float = 1  # resolved by the data; a float is a share of the variance
    penalty: Penalty | None = None
    divergence: Divergence | None = None
    beta: float = 1.0
    kl_warmup: float = 0.0
    prior: Prior = field(default_factory=StandardNormal)
    masks_missing: bool = False  # samples may have missing values, which are left out
    is_paired: bool = False  # samples come with the clean samples to be reconstructed from them

    @property
    def options(self) -> tuple[Any, ...]:
        """All slots that take part in training."""
        return (self.network, self.bottleneck, self.corruption, self.loss, self.penalty, self.divergence)

    @property
    def is_limited(self) -> bool:
        """True if an overcomplete code is kept from being a copy of X."""
        limits = (self.corruption, self.penalty, self.divergence)
        return self.is_paired or self.bottleneck.sparse or any(limit is not None for limit in limits)

    @property
    def is_linear(self) -> bool:
        """True if f and g are absent, so that only the linear path is left."""
        return type(self.network) is Dense and not self.hidden_layer_sizes

    @property
    def claims_pca(self) -> bool:
        """True if the options allow the untrained model to be PCA."""
        return self.init == "pca" and self.bottleneck.identity

    @property
    def has_pca_objective(self) -> bool:
        """True if the objective is that of PCA, so that a linear model is optimal at the start."""
        if self.corruption is not None or self.is_paired or not self.bottleneck.identity:
            return False
        if self.divergence is None:
            return type(self.loss) is SquaredError and self.penalty is None
        return is_gaussian(self.loss) and self.loss.noise == "shared" and self.has_elbo

    @property
    def has_elbo(self) -> bool:
        """True if the objective of a variational autoencoder is the ELBO of clean samples."""
        return type(self.divergence) is KL and self.beta == 1 and self.corruption is None

    @property
    def is_optimal_at_start(self) -> bool:
        """True if no training can improve on PCA, or there is nothing to train."""
        return self.n_components == 0 or (self.claims_pca and self.is_linear and self.has_pca_objective)

    def without_components(self) -> ModelSpec:
        """Return the spec of the mean with the same density around it, which has nothing to train."""
        return replace(
            self,
            n_components=0,
            network=Dense(),
            hidden_layer_sizes=(),
            tied_weights=False,
            init="pca",
            bottleneck=Identity() if self.divergence is None else GaussianSampling(),
            corruption=None,
            penalty=None,
            prior=StandardNormal(),
        )

    @property
    def has_factors(self) -> bool:
        """True if factor analysis, with one noise variance per feature, is a model of this form."""
        per_feature = is_gaussian(self.loss) and self.loss.noise == "per_column"
        return per_feature and self.init == "pca" and not self.tied_weights

    @property
    def is_rotation_invariant(self) -> bool:
        """True if a rotation of the features gives an equivalent problem."""
        options = (self.network, self.loss, self.corruption, self.penalty)
        if self.masks_missing:
            return False
        return self.divergence is None and all(o is None or o.rotation_invariant for o in options)

    @property
    def runs_user_code(self) -> bool:
        """True if an option is not the package's own.

        It may draw from torch's global generator, and change its input in place.
        """
        return not all(option is None or option._is_own() for option in self.options)

    def is_capturable(self, width: int) -> bool:
        """Return whether a step for codes of this width runs without a device-to-host synchronisation.

        User code is assumed to need one.
        """
        if self.masks_missing:  # incomplete samples are completed apart
            return False
        return not (self.runs_user_code or (self.penalty is not None and self.penalty.decomposes(width)))


@dataclass(frozen=True)
class Start:
    """An initial PCA, the autoencoder that training starts from (in float64), and its properties."""

    spec: ModelSpec
    pca: Any
    module: Autoencoder
    can_fall_back: bool  # measured: the untrained module is its linear path, PCA or factor analysis
    is_pca: bool
    is_optimal: bool  # no training can improve on the linear path
    has_pca_objective: bool
    is_capturable: bool
    smoother: dict[str, Tensor] | None = None  # weights from which networks are trained instead

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        pca: Any,
        module: Autoencoder,
        *,
        can_fall_back: bool,
        linear: LinearGaussian | None = None,
    ) -> Start:
        """Return a start with the properties that follow from the model."""
        is_pca = linear is None or linear.is_pca
        has_factor_objective = not is_pca and spec.is_linear and spec.has_elbo
        return cls(
            spec,
            pca,
            module,
            can_fall_back=can_fall_back,
            is_pca=can_fall_back and is_pca,
            is_optimal=can_fall_back and (spec.is_optimal_at_start or has_factor_objective),
            has_pca_objective=spec.has_pca_objective,
            is_capturable=spec.is_capturable(module.width),
        )


def initialize(
    spec: ModelSpec, samples: Any, seed: int, pca: Any = None, offset: np.ndarray | None = None
) -> Start:
    """Return the autoencoder at PCA, or with random weights if ``init="random"``.

    Parameters
    ----------
    spec : ModelSpec
    samples : ArraySamples or Source
        Training samples.
    seed : int
        Of the weights.
    pca : PCA, default=None
        The initial PCA; None fits one to ``samples``.
    offset : ndarray of shape (d,), default=None
        That of the weights that a warm start continues. None is the mean of the linear model.
    """
    initial = initial_pca(samples, spec.n_components, seed, pca, spec.loss.scale_)
    is_share = isinstance(spec.n_components, float)
    width = int(initial.pca.n_components_ if is_share else spec.n_components)
    generator = Generator().manual_seed(seed)
    linear = _linear_gaussian(spec, samples, initial, seed)
    if linear is not None and linear.mean is not None:
        initial = replace(initial, offset=linear.mean if offset is None else offset)
    x = torch.from_numpy((samples.head(_N_PROBES) - initial.offset) / initial.scale).double()
    kind = Autoencoder if spec.loss.scale_ is None else FeaturewiseAutoencoder
    completion = None
    if spec.masks_missing:
        completion = completion_by(linear or probabilistic_pca(initial), samples, width)
        kind = IncompleteAutoencoder if spec.loss.scale_ is None else IncompleteFeaturewiseAutoencoder
        x, _ = completion(x)
    encoder, decoder = build_residuals(spec, initial, linear, width, x, generator)
    if completion is not None:
        encoder = IncompleteEncoder(encoder, completion, has_variances=spec.divergence is not None)
    module = kind(
        encoder,
        decoder,
        spec.bottleneck,
        spec.corruption,
        spec.loss,
        feature_stats(samples, initial) if spec.corruption is not None else None,
        torch.from_numpy(initial.offset),
        initial.scale,
        width,
        noise=build_noise(spec, linear, len(initial.offset), width, generator),
        whitening=None if linear is None else linear.whitening,
        needs_input_grad=spec.penalty is not None and spec.penalty.needs_input_grad,
        copies=spec.runs_user_code,
        is_paired=spec.is_paired or spec.masks_missing,
    ).double()
    can_fall_back = spec.init == "pca" and module.is_its_linear_path(x)
    start = Start.of(spec, initial.pca, module, can_fall_back=can_fall_back, linear=linear)
    if linear is None or linear.smoother is None or spec.is_linear:
        return start
    return replace(start, smoother=_weights_at(linear.smoother, module, Generator().manual_seed(seed)))


def _weights_at(linear: LinearGaussian, module: Autoencoder, generator: Generator) -> dict[str, Tensor]:
    """Return the weights of a VAE at another linear model."""
    bias = getattr(module.decoder.linear, "bias", None) is not None
    tied = isinstance(module.decoder.linear, TiedLinear)
    paths = probabilistic_paths(linear, module.width, tied=tied, bias=bias, generator=generator)
    weights = module.state_dict()
    if linear.whitening is not None:
        weights |= {f"whitening.{name}": tensor for name, tensor in linear.whitening.state_dict().items()}
    if isinstance(module.encoder, IncompleteEncoder):
        completion = module.encoder.completion.like(linear)
        weights |= {f"encoder.completion.{name}": tensor for name, tensor in completion.state_dict().items()}
    noise = torch.from_numpy(linear.noise).log()
    weights["noise.log_variance"] = noise.expand_as(weights["noise.log_variance"])
    for part, path in zip(("encoder", "decoder"), paths, strict=True):
        weights |= {f"{part}.linear.{name}": tensor for name, tensor in path.state_dict().items()}
    return weights


def _linear_gaussian(spec: ModelSpec, samples: Any, initial: InitialPCA, seed: int) -> LinearGaussian | None:
    """Return the linear model that a VAE starts from, None without one."""
    if spec.divergence is None:
        return None
    if spec.loss.noise == "full":
        clean = ArraySamples(samples.array) if spec.is_paired else samples
        if spec.init == "pca":
            return shrunk_normal(clean, initial, initial.pca.n_components_, seed)
        start = shrunk_normal(clean, initial, 0, seed)
        return replace(start.smoother or start, smoother=None)
    if spec.init != "pca":
        return None
    if spec.has_factors and (spec.n_components == 0 or determines_factors(*samples.shape)):
        clean = ArraySamples(samples.array) if spec.is_paired else samples
        return better_linear_gaussian(clean, initial)
    return probabilistic_pca(initial)


def feature_stats(samples: Any, initial: InitialPCA) -> FeatureStats:
    """Return zero, minimum and maximum of each feature in working units."""
    low, high = samples.feature_range()
    features = (np.zeros_like(initial.offset), low, high)
    return FeatureStats(
        *(torch.from_numpy(np.asarray((c - initial.offset) / initial.scale)) for c in features)
    )


# -- linear paths ---------------------------------------------------------------------------


def linear_paths(
    components: np.ndarray, n_codes: int, tied: bool, bias: bool, generator: Generator
) -> tuple[nn.Module, nn.Module]:
    """Return the linear layers of encoder and decoder, with biases at zero.

    Components beyond those of PCA (overcomplete codes) start with random directions
    in the encoder and zeros in the decoder, so that the model is still PCA; with
    tied weights they start small.
    """
    r, d = components.shape
    extra = torch.randn((n_codes - r, d), generator=generator, dtype=torch.float64, device="cpu") / math.sqrt(
        d
    )
    basis = torch.from_numpy(np.array(components, dtype=np.float64))
    encoder = Linear(d, n_codes, bias=bias, dtype=torch.float64, device="cpu")
    if tied:
        encoder.weight.data = torch.cat([basis, 0.01 * extra])
        decoder: nn.Module = TiedLinear(encoder, bias)
    else:
        encoder.weight.data = torch.cat([basis, extra])
        decoder = Linear(n_codes, d, bias=bias, dtype=torch.float64, device="cpu")
        decoder.weight.data = torch.cat([basis, torch.zeros_like(extra)]).T.contiguous()
    if bias:
        encoder.bias.data.zero_()
        decoder.bias.data.zero_()  # type: ignore[union-attr, operator]
    return encoder, decoder


# -- parallel networks ----------------------------------------------------------------------


def build_residuals(
    spec: ModelSpec,
    initial: InitialPCA,
    linear: LinearGaussian | None,
    width: int,
    x: Tensor,
    generator: Generator,
) -> tuple[Residual, Residual]:
    """Return encoder and decoder: networks parallel to linear paths, or alone if ``init="random"``.

    Parameters
    ----------
    spec : ModelSpec
    initial : InitialPCA
    linear : LinearGaussian or None
        The linear paths of a VAE.
    width : int
        Number of components.
    x : Tensor of shape (n, d)
        Samples in working units, on which the outputs of the networks are measured.
    generator : Generator
    """
    copies = spec.runs_user_code
    if spec.init != "pca":
        f, g = build_networks(spec, x, width, generator)
        return Residual(None, f, copies=copies), Residual(None, g, copies=copies)
    P, Q = _linear_paths(spec, initial, linear, width, generator)
    if width == 0 or (spec.is_linear and not spec.loss.discrete):
        return Residual(P, None), Residual(Q, None)
    f, g = build_networks(spec, x, width, generator)
    in_gain = spec.tied_weights or isinstance(spec.network, Modules)
    codes = P(x).detach()[:, :width]
    return (
        Residual(P, f, in_gain or not _vanishes(f, x), copies=copies),
        Residual(Q, g, in_gain or not _vanishes(g, codes), copies=copies),
    )


def _linear_paths(
    spec: ModelSpec, initial: InitialPCA, linear: LinearGaussian | None, width: int, generator: Generator
) -> tuple[nn.Module, nn.Module]:
    """Return the initial linear layers, with a bias unless a parallel network already has one."""
    bias = spec.is_linear and not spec.loss.discrete
    if linear is None:
        return linear_paths(initial.pca.components_, width, spec.tied_weights, bias, generator)
    return probabilistic_paths(linear, width, tied=spec.tied_weights, bias=bias, generator=generator)


def build_networks(
    spec: ModelSpec, x: Tensor, width: int, generator: Generator
) -> tuple[nn.Module, nn.Module]:
    """Return the networks f and g; the decoder of ordered codes sees which components are missing."""
    marked = (
        spec.bottleneck.ordered
        and not spec.tied_weights
        and not spec.is_linear
        and not isinstance(spec.network, Modules)
    )
    n, d = x.shape
    shape = Shape(d, 2 * width if marked else width, width if spec.divergence is None else 2 * width)
    f, g = spec.network.build(shape, spec.hidden_layer_sizes, spec.activation, spec.tied_weights, generator)
    is_variational = spec.divergence is not None
    f = _checked("encoder", f, x, shape.n_codes, is_variational=is_variational)
    g = _checked("decoder", g, x.new_zeros(n, shape.n_components), d)
    return f, nn.Sequential(MarkMissing(), g) if marked else g


def _checked(
    name: str, network: nn.Module, x: Tensor, n_out: int, *, is_variational: bool = False
) -> nn.Module:
    """Return a network that maps samples to outputs of the right width, or raise an error.

    A variational encoder may return means and log-variances as a tuple.
    """
    try:
        y = _output(network, x)
        is_pair = isinstance(y, (tuple, list)) and len(y) == 2 and all(isinstance(part, Tensor) for part in y)
        if is_variational and is_pair:
            return _checked(name, JoinedOutputs(network), x, n_out)
    except RuntimeError as error:
        raise ValueError(
            f"The {name} of network does not accept inputs of width {x.shape[1]}: {error}"
        ) from error
    expected = f"{(len(x), n_out)}"
    if is_variational:
        expected += ", the means followed by the log-variances, or a tuple of both"
    if not isinstance(y, Tensor):
        kind = type(y).__name__ + (f" of {len(y)}" if isinstance(y, (tuple, list)) else "")
        raise ValueError(f"The {name} of network returns a {kind}; expected a tensor of shape {expected}.")
    if tuple(y.shape) != (len(x), n_out):
        raise ValueError(
            f"The {name} of network maps {tuple(x.shape)} to {tuple(y.shape)}; expected {expected}."
        )
    return network


@torch.no_grad()
def _output(network: nn.Module, x: Tensor) -> Any:
    """Return the output of a network in evaluation mode, in its own precision."""
    training = network.training
    dtype = next((p.dtype for p in network.parameters()), torch.float32)
    y = network.eval()(x.to(dtype, copy=True))
    network.train(training)
    return y


@torch.no_grad()
def _vanishes(network: nn.Module, x: Tensor) -> bool:
    """Zero the last linear layer if the network then outputs zeros, and return whether it does."""
    layers = [m for m in network.modules() if isinstance(m, (nn.Linear, nn.ConvTranspose2d))]
    if not layers:
        return False
    before = {name: p.clone() for name, p in layers[-1].named_parameters()}
    zero_layer(layers[-1])
    vanishes = not bool(_output(network, x).any())
    if not vanishes:
        layers[-1].load_state_dict(before)
    return vanishes


def zero_layer(layer: nn.Linear | nn.ConvTranspose2d) -> None:
    """Set weight and bias of a layer to zero."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def build_noise(
    spec: ModelSpec, linear: LinearGaussian | None, n_features: int, width: int, generator: Generator
) -> Noise | None:
    """Return the noise of a Gaussian likelihood, which starts at that of the linear model or of X."""
    kind = spec.loss.noise
    if kind is None:
        return None
    if spec.loss.start_ is not None:
        return Noise(torch.from_numpy(start_of_noise(spec.loss, linear)))
    start = (
        torch.zeros(1, dtype=torch.float64, device="cpu")
        if linear is None
        else torch.from_numpy(linear.noise).log()
    )
    network = None
    if kind == "decoder" and width:
        shape = Shape(n_features, width, width)
        network = Dense().build(shape, spec.hidden_layer_sizes, spec.activation, False, generator)[1]
        zero_layer([m for m in network.modules() if isinstance(m, nn.Linear)][-1])
    return Noise(start.expand(1 if kind == "shared" else n_features).clone(), network)
