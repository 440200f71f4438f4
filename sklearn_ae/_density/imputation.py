"""Draws of missing values from their conditional distribution.

Codes are drawn from a normal approximation of their posterior given the observed features. One of
several is selected by importance weights, which are equal if the approximation is exact, as for
linear models. The features are drawn from their distribution given the selected code.

D. Rubin (1988), Using the SIR algorithm to simulate posterior distributions, Bayesian Statistics 3.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from sklearn_ae._density.decoded import DecodedDistribution
from sklearn_ae._density.latent_prior import LatentModel, chunk_size
from sklearn_ae._density.observations import GaussianObservation
from sklearn_ae._model.module import Autoencoder
from sklearn_ae._model.statistics import working_blocks
from sklearn_ae._utils.runtime import threads_for

_N_CANDIDATES = 8  # from which each code is selected


class Conditional(NamedTuple):
    """Distribution of samples given their codes, and the prior of the codes."""

    decoded: DecodedDistribution
    latent: LatentModel


@torch.no_grad()
def draw_missing(model: Conditional, X: np.ndarray, n_draws: int, generator: Generator) -> np.ndarray:
    """Return draws of all features of incomplete samples (n, d) in the units of X, (n_draws, n, d).

    The observed features are drawn, too; the caller keeps those of X.
    """
    module = model.decoded.module
    size = chunk_size(_N_CANDIDATES * n_draws * max(X.shape[1], 64))
    with threads_for(module.n_weights, 1):
        parts = [
            _draws(model, x, n_draws, generator)
            for block in working_blocks(module, X)
            for x in block.split(size)
        ]
    return torch.cat(parts, 1).numpy().astype(X.dtype, copy=False)


def _draws(model: Conditional, x: Tensor, n_draws: int, generator: Generator) -> Tensor:
    module = model.decoded.module
    shape = _N_CANDIDATES * n_draws, len(x), module.n_kept
    normal = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")
    u = model.decoded.posterior_draws(x, model.latent, normal)
    log_weights = model.decoded.log_joint(x, u, model.latent) + 0.5 * normal.square().sum(2)
    z = model.latent.colour(_selected(u, log_weights, generator)).flatten(0, 1)
    drawn = module.from_target(_features(model, module, z, generator))
    return drawn.view(n_draws, len(x), -1)


def _selected(u: Tensor, log_weights: Tensor, generator: Generator) -> Tensor:
    """Return one of each _N_CANDIDATES draws with probabilities proportional to the weights."""
    n_draws = len(u) // _N_CANDIDATES
    weights = log_weights.view(_N_CANDIDATES, n_draws, u.shape[1])
    weights = (weights - weights.amax(0)).nan_to_num(0.0).exp()
    chosen = torch.multinomial(weights.flatten(1).T, 1, generator=generator).T.view(1, *weights.shape[1:], 1)
    candidates = u.view(_N_CANDIDATES, n_draws, *u.shape[1:])
    return candidates.gather(0, chosen.expand(1, *candidates.shape[1:]))[0]


def _features(model: Conditional, module: Autoencoder, z: Tensor, generator: Generator) -> Tensor:
    """Return draws of the features for codes, in the units of the loss."""
    eta = module.decode(z)
    observation = model.decoded.whole
    if isinstance(observation, GaussianObservation):
        variance = torch.as_tensor(observation.noise_variance, dtype=eta.dtype, device="cpu")
        noise = torch.randn(eta.shape, generator=generator, dtype=eta.dtype, device="cpu")
        return eta + variance.sqrt() * noise
    return module.loss.draw(eta, module.log_noise(z), generator)
