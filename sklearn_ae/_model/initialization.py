"""From resolved slots and PCA to the autoencoder that training starts from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, nn
from torch.nn.utils import skip_init

from sklearn_ae._model.module import Autoencoder, Noise, Residual
from sklearn_ae._model.spec import ModelSpec, is_linear
from sklearn_ae._model.units import feature_stats, working_scale
from sklearn_ae.bottlenecks import LOG_VARIANCE_BOUNDS
from sklearn_ae.networks import Dense, MarkMissing, Modules, Network, Shape, TiedLinear


def build_module(
    params: Any, slots: ModelSpec, pca: Any, n_components: int, X: Any, generator: Generator
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
        feature_stats(X, offset, scale, slots.corruption is not None),
        torch.from_numpy(offset),
        scale,
        n_components,
        _noise(params, slots, pca, n_components, scale, generator),
    )
    module.needs_input_grad = slots.penalty is not None and slots.penalty.needs_input_grad
    return module.double()


def _paths(params: Any, slots: ModelSpec, pca: Any, k: int, scale: float, generator: Generator) -> Any:
    """Linear layers that are PCA; they have a bias where no network beside them has one."""
    bias = is_linear(slots.network, slots.hidden_layer_sizes) and not slots.loss.discrete
    if slots.divergence is None:
        return linear_paths(pca.components_, k, params.tied_weights, bias, generator)
    return probabilistic_paths(pca, k, scale, params.tied_weights, bias, generator)


def _noise(
    params: Any, slots: ModelSpec, pca: Any, k: int, scale: float, generator: Generator
) -> Noise | None:
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


def linear_paths(
    components: np.ndarray, n_codes: int, tied: bool, bias: bool, generator: Generator
) -> tuple[nn.Module, nn.Module]:
    """Return the encoder's and the decoder's linear layer, biases at zero.

    Components beyond PCA's (overcomplete codes) start with random directions in
    the encoder and zeros in the decoder, so that the model is still PCA; tied
    ones start small.
    """
    r, d = components.shape
    extra = torch.randn((n_codes - r, d), generator=generator, dtype=torch.float64) / math.sqrt(d)
    basis = torch.from_numpy(np.array(components, dtype=np.float64))
    encoder = skip_init(nn.Linear, d, n_codes, bias=bias, dtype=torch.float64)
    if tied:
        encoder.weight.data = torch.cat([basis, 0.01 * extra])
        decoder: nn.Module = TiedLinear(encoder, bias)
    else:
        encoder.weight.data = torch.cat([basis, extra])
        decoder = skip_init(nn.Linear, n_codes, d, bias=bias, dtype=torch.float64)
        decoder.weight.data = torch.cat([basis, torch.zeros_like(extra)]).T.contiguous()
    if bias:
        encoder.bias.data.zero_()
        decoder.bias.data.zero_()  # type: ignore[union-attr, operator]
    return encoder, decoder


def probabilistic_paths(
    pca: Any, n_components: int, scale: float, tied: bool, bias: bool, generator: Generator
) -> tuple[nn.Module, nn.Module]:
    """Linear layers of probabilistic PCA: posterior means and log-variances, and the decoder of u ~ N(0, I).

    In working units the decoder is W = U (L - s^2)^1/2 and the posterior of a
    row x is N(L^-1 W'x, s^2 L^-1), with axes U, variances L and noise s^2: on
    these axes it has independent components, so the ELBO is the log-likelihood.
    Components beyond PCA's start at the prior, with small random directions.

    References
    ----------
    M. Tipping, C. Bishop (1999), Probabilistic principal component analysis,
    Journal of the Royal Statistical Society B 61(3).
    """
    r, d = pca.components_.shape
    noise = noise_floor(pca, scale)
    variances = torch.from_numpy(np.maximum(pca.explained_variance_ / scale**2, noise).astype(np.float64))
    axes = torch.from_numpy(np.array(pca.components_, dtype=np.float64))
    root = (variances - noise).sqrt()[:, None]
    rest = n_components - r
    extra = 0.01 * torch.randn((rest, d), generator=generator, dtype=torch.float64) / math.sqrt(d)
    encoder = skip_init(nn.Linear, d, 2 * n_components, dtype=torch.float64)
    encoder.weight.data = torch.cat(
        [root / variances[:, None] * axes, extra, torch.zeros(n_components, d, dtype=torch.float64)]
    )
    encoder.bias.data = F.pad((noise / variances).log(), (n_components, rest))
    if tied:
        return encoder, TiedLinear(encoder, bias, n_components, F.pad(variances, (0, rest), value=1.0))
    decoder = skip_init(nn.Linear, n_components, d, bias=bias, dtype=torch.float64)
    decoder.weight.data = torch.cat([root * axes, torch.zeros_like(extra)]).T.contiguous()
    if bias:
        decoder.bias.data.zero_()
    return encoder, decoder


def noise_floor(pca: Any, scale: float) -> float:
    """PCA's noise variance in working units, not under what a VAE can learn."""
    return max(float(pca.noise_variance_) / scale**2, math.exp(LOG_VARIANCE_BOUNDS[0]))


def build_residuals(
    network: Network,
    paths: tuple[nn.Module, nn.Module] | None,
    shape: Shape,
    hidden_layer_sizes: tuple[int, ...],
    activation: str,
    tied: bool,
    discrete: bool,
    ordered: bool,
    generator: Generator,
) -> tuple[Residual, Residual]:
    """Build encoder and decoder: beside linear paths, or textbook networks if there are none."""
    own = isinstance(network, Modules)
    marked = ordered and not tied and not own and not is_linear(network, hidden_layer_sizes)
    if marked:
        shape = shape._replace(n_components=2 * shape.n_components)
    f, g = network.build(shape, hidden_layer_sizes, activation, tied, generator)
    if marked:
        g = nn.Sequential(MarkMissing(), g)
    if paths is None:
        return Residual(None, f), Residual(None, g)
    P, Q = paths
    if is_linear(network, hidden_layer_sizes) and not discrete:
        return Residual(P, None), Residual(Q, None)
    gained = tied or own
    if not gained:
        zero_last_layer(f)
        zero_last_layer(g)
    return Residual(P, f, gained), Residual(Q, g, gained)


def zero_last_layer(network: nn.Module) -> None:
    *_, last = (m for m in network.modules() if isinstance(m, (nn.Linear, nn.ConvTranspose2d)))
    nn.init.zeros_(last.weight)
    if last.bias is not None:
        nn.init.zeros_(last.bias)
