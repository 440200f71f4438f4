"""Draws of missing values from their conditional distribution.

A code is drawn from the normal approximation of its posterior given the observed features, and
the features from their distribution given that code.
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
    size = chunk_size(n_draws * max(X.shape[1], 64))
    with threads_for(module.n_weights, 1):
        parts = [
            _draws(model, x, n_draws, generator)
            for block in working_blocks(module, X)
            for x in block.split(size)
        ]
    return torch.cat(parts, 1).numpy().astype(X.dtype, copy=False)


def _draws(model: Conditional, x: Tensor, n_draws: int, generator: Generator) -> Tensor:
    module = model.decoded.module
    normal = torch.randn((n_draws, len(x), module.n_kept), generator=generator, dtype=torch.float64)
    u = model.decoded.posterior_draws(x, model.latent, normal)
    z = model.latent.colour(u).flatten(0, 1)
    drawn = module.from_target(_features(model, module, z, generator))
    return drawn.view(n_draws, len(x), -1)


def _features(model: Conditional, module: Autoencoder, z: Tensor, generator: Generator) -> Tensor:
    """Return draws of the features for codes, in the units of the loss."""
    eta = module.decode(z)
    observation = model.decoded.whole
    if isinstance(observation, GaussianObservation):
        variance = torch.as_tensor(observation.noise_variance, dtype=eta.dtype)
        noise = torch.randn(eta.shape, generator=generator, dtype=eta.dtype)
        return eta + variance.sqrt() * noise
    return module.loss.draw(eta, module.log_noise(z), generator)
