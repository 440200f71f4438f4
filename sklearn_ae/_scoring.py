"""Log-likelihood of rows under a fitted model: exact where it is linear, else estimated.

The model is z ~ N(m, S), x | z ~ N(decode(z), sigma^2 I), or Bernoulli and
Poisson around the decoded code for the discrete losses.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._describing import Description, working_blocks
from sklearn_ae._likelihood import LatentModel, gaussian_log_likelihood, log_likelihood
from sklearn_ae._module import Autoencoder

# Floor of the noise variance, relative to the mean column variance. Under it (rank-deficient
# data, k at the rank) PCA's density is infinite or undefined; ours is finite and keeps the order.
NOISE_FLOOR = float(np.finfo(np.float64).eps)


def noise_variance(description: Description, pca: Any, scale: float) -> float:
    """Noise variance in working units, floored; PCA's own where ``pca`` is given."""
    noise = description.noise if pca is None else float(pca.noise_variance_) / scale**2
    return max(noise, NOISE_FLOOR)


def latent_model(module: Autoencoder, description: Description, pca: Any) -> LatentModel:
    """Prior of the code and noise, of a float64 module in working units; PCA's own where it is PCA."""
    noise = noise_variance(description, pca, module.scale)
    moments = description.moments
    if pca is None:
        return LatentModel.fit(
            module.decode, *map(torch.from_numpy, (moments.mean, moments.root, moments.landmarks)), noise
        )
    signal = np.maximum(np.asarray(pca.explained_variance_, dtype=float) / module.scale**2 - noise, 0)
    root = torch.from_numpy(np.diag(np.sqrt(signal)))
    return LatentModel(torch.zeros(len(root), dtype=torch.float64), root, noise, root.new_zeros(0, len(root)))


def score_rows(
    module: Autoencoder, description: Description, pca: Any, X: Any, n_draws: int
) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood of each row of X, in the units of X, and its standard error.

    Parameters
    ----------
    module : Autoencoder
    description : Description
    pca : PCA or None
        Given where the model is exactly PCA.
    X : ndarray or sparse matrix of shape (n, d)
    n_draws : int
    """
    module = copy.deepcopy(module).double()
    latent = latent_model(module, description, pca)
    parts = [_score_block(module, latent, x, n_draws) for x in working_blocks(module, X)]
    log_p, std = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    if not module.loss.discrete:  # a density in the units of X
        log_p = log_p - X.shape[1] * math.log(module.scale)
    return log_p, std


def _score_block(module: Autoencoder, latent: LatentModel, x: Tensor, n_draws: int) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        if module.has_affine_decoder():
            b = module.decode(latent.mean[None])[0]
            W = module.decode(latent.mean + torch.eye(len(latent.mean), dtype=b.dtype)) - b
            log_p = gaussian_log_likelihood(x - b, latent.scale.T @ W, latent.noise_variance)
            return log_p, torch.zeros_like(log_p)
        return log_likelihood(x, module.decode, module.encode(x), latent, n_draws)
