"""Log-likelihood of a deterministic autoencoder: exact for linear models, otherwise estimated.

The model is z ~ N(m, S), or a fitted prior of the whitened code, and
x | z ~ N(decode(z), sigma^2 I), or the likelihood of a discrete loss around the decoded
code.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._density.decoded import DecodedDistribution
from sklearn_ae._density.decoder import Decoder
from sklearn_ae._density.laplace import N_STARTS
from sklearn_ae._density.latent_prior import CodePrior, LatentModel
from sklearn_ae._density.observations import GaussianObservation, OptionObservation
from sklearn_ae._model.module import Autoencoder
from sklearn_ae._model.statistics import CodeStatistics, working_blocks
from sklearn_ae._utils.arrays import stacked
from sklearn_ae._utils.gaussian import gaussian_log_likelihood
from sklearn_ae._utils.runtime import threads_for
from sklearn_ae.priors import FittedPrior

# Floor of the noise variance, relative to the mean feature variance. Below it (rank-deficient
# data, k at the rank) the density of PCA is infinite or undefined; the floored one is finite
# and keeps the order of the samples.
NOISE_FLOOR = float(np.finfo(np.float64).eps)


def noise_variance(statistics: CodeStatistics, pca: Any, scale: float) -> float:
    """Return the floored noise variance in working units, that of ``pca`` if it is not None."""
    noise = statistics.noise if pca is None else float(pca.noise_variance_) / scale**2
    return max(noise, NOISE_FLOOR)


def latent_model(
    module: Autoencoder,
    statistics: CodeStatistics,
    noise: float,
    pca: Any,
    decoder: Decoder | None = None,
    *,
    is_rough: bool = False,
) -> LatentModel:
    """Return the prior of the code for a float64 module in working units, that of ``pca`` if not None.

    A rough one is estimated from a quarter of the landmarks.
    """
    moments = statistics.moments
    if module.width == 0:
        return LatentModel.unit(0)
    if module.prior is not None:
        return module.prior.latent_model(torch.from_numpy(moments.landmarks[:: 4 if is_rough else 1]))
    if pca is None:
        mean, root, codes = map(torch.from_numpy, (moments.mean, moments.root, moments.landmarks))
        noise = 0.0 if module.loss.discrete else noise
        codes = (codes[::4] if is_rough else codes).contiguous()
        is_kept = decoder is not None and not is_rough
        kept = statistics.latent_scale if is_kept else None
        scale = None if kept is None else torch.from_numpy(kept)
        latent = LatentModel.fit(decoder or module.decode, mean, root, codes, noise, scale=scale)
        if is_kept:
            statistics.latent_scale = latent.scale.numpy()
        return latent
    signal = np.diag(moments.root) ** 2 - noise
    scale = torch.from_numpy(np.diag(np.sqrt(np.maximum(signal, 0))))
    return LatentModel(scale.new_zeros(len(scale)), scale, scale[:0])


def loadings(module: Autoencoder, latent: LatentModel) -> tuple[Tensor, Tensor]:
    """Return b and L of a linear decoder, x = b + u L for u ~ N(0, I), in working units."""
    b = module.output(latent.mean[None])
    return b, module.output(latent.mean + latent.scale.T) - b


@torch.no_grad()
def score_samples(
    module: Autoencoder, statistics: CodeStatistics, pca: Any, X: Any, n_draws: int, n_starts: int = N_STARTS
) -> tuple[np.ndarray, np.ndarray]:
    """Return the log-likelihood of each sample in the units of X, and its standard error.

    Parameters
    ----------
    module : Autoencoder
    statistics : CodeStatistics
    pca : PCA or None
        Given if the model is exactly PCA.
    X : ndarray or sparse matrix of shape (n, d)
    n_draws, n_starts : int
    """
    module = copy.deepcopy(module).double()
    noise = noise_variance(statistics, pca, module.scale)
    with threads_for(module.n_weights, 1):  # chunks fit the cache of one core
        if module.prior is None and module.has_affine_decoder():
            latent = latent_model(module, statistics, noise, pca)
            b, L = loadings(module, latent)
            log_ps = (
                gaussian_log_likelihood(x - b, L, noise) - module.log_jacobian_at(x)
                for x in working_blocks(module, X)
            )
            parts = ((log_p, torch.zeros_like(log_p)) for log_p in log_ps)
        else:
            decoded = _decoded(module, noise)
            latent = latent_model(module, statistics, noise, pca, decoded.decoder, is_rough=n_starts == 1)
            parts = (
                decoded.in_units_of_X(x, latent, n_draws=n_draws, n_starts=n_starts)
                for x in working_blocks(module, X)
            )
        log_p, std = stacked((torch.stack(part, 1) for part in parts), X.shape[0]).T.copy()
    return log_p, std


def _decoded(module: Autoencoder, noise: float) -> DecodedDistribution:
    """Return the distribution of x given the code, for a float64 module."""
    if not module.loss.discrete:
        return DecodedDistribution.of(module, GaussianObservation(noise))
    log_noise = None if module.noise is None else module.noise.common
    return DecodedDistribution.of(module, OptionObservation(module.loss, log_noise))


@dataclass(frozen=True)
class AutoencoderPosterior:
    """Posterior of the codes under the normal prior, to which another prior can be fitted."""

    decoded: DecodedDistribution
    latent: LatentModel

    @classmethod
    def of(cls, module: Autoencoder, statistics: CodeStatistics, pca: Any) -> AutoencoderPosterior:
        """Return the posterior of a fitted module without a prior."""
        module = copy.deepcopy(module).double()
        noise = noise_variance(statistics, pca, module.scale)
        decoded = _decoded(module, noise)
        latent = latent_model(module, statistics, noise, pca, decoded.decoder)
        scale = latent.scale
        if pca is not None and len(scale):  # directions without variance cannot be whitened
            scale = torch.diag(scale.diagonal().clamp_min(max(1e-8 * float(scale.max()), 1e-15)))
        return cls(decoded, replace(latent, scale=scale))

    def draw_posterior(self, X: Any, normal: np.ndarray) -> np.ndarray:
        """Return codes (m, n, k) drawn from the posteriors of n samples, from normal draws of this shape."""
        module, rest = self.decoded.module, torch.from_numpy(normal)
        parts = []
        with torch.no_grad(), threads_for(module.n_weights, 1):
            for x in working_blocks(module, X):
                some, rest = rest[:, : len(x)], rest[:, len(x) :]
                parts.append(self.latent.colour(self.decoded.posterior_draws(x, self.latent, some)))
        return torch.cat(parts, 1).numpy()

    def whiten(self, codes: np.ndarray) -> np.ndarray:
        """Map codes (n, k) to those of about unit variance, to which the prior is fitted."""
        return self.latent.whiten(torch.from_numpy(codes)).numpy()

    def prior(self, whitened: FittedPrior) -> FittedPrior:
        """Return the prior of the codes, given that of the whitened ones."""
        return CodePrior(self.latent.mean, self.latent.scale, whitened)
