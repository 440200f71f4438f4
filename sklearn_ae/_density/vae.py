"""A fitted VAE as a probability model: posterior, ELBO and log-likelihood, in nats.

The model is z ~ N(0, I) or a fitted prior, x given z from the likelihood around
decode(z), and q(z | x) = N(mu, diag(std^2)). All computations are in float64 and use
the same draws for every sample, so the results depend neither on the batch nor on
the order.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._density.autoencoder import loadings
from sklearn_ae._density.decoded import DecodedDistribution
from sklearn_ae._density.importance_sampling import normal_draws
from sklearn_ae._density.imputation import Conditional
from sklearn_ae._density.latent_prior import LatentModel, chunk_size
from sklearn_ae._density.observations import (
    DecodedNoiseObservation,
    GaussianObservation,
    HeteroscedasticObservation,
    Observation,
    OptionObservation,
)
from sklearn_ae._model.module import Autoencoder
from sklearn_ae._model.statistics import working_blocks
from sklearn_ae._utils.arrays import sample_blocks, stacked
from sklearn_ae._utils.gaussian import gaussian_log_likelihood, kl_per_component, log_standard_normal
from sklearn_ae._utils.missing import observed_or_none
from sklearn_ae._utils.runtime import threads_for
from sklearn_ae.bottlenecks import split_posterior
from sklearn_ae.likelihoods import is_gaussian
from sklearn_ae.priors import FittedPrior


class FittedVAE:
    """A fitted module in float64, as a probability model of X.

    Parameters
    ----------
    module : Autoencoder
        Its loss is a likelihood.
    """

    def __init__(self, module: Autoencoder):
        self.module = copy.deepcopy(module).double()
        self.likelihood: Any = self.module.loss

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and log-variances of q(z | x) for samples in working units."""
        return split_posterior(self.module.encoder(x))

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x | z) for working samples (b, d) and codes (b, m, k), of shape (b, m)."""
        b, m, _ = z.shape
        flat = z.flatten(0, 1)
        target = self.module.target(x)
        eta = self.module.decode(flat).view(b, m, -1)
        log_noise = self.module.log_noise(flat)
        if log_noise is not None and log_noise.ndim > 1:
            log_noise = log_noise.view_as(eta)
        target = target[:, None]
        observed = observed_or_none(target)
        if observed is not None:
            target = target.nan_to_num(0.0)
        value = self.likelihood.log_likelihood_of(observed, eta, target, log_noise)
        value = value - self.module.log_jacobian_at(x)[..., None]
        low = torch.finfo(value.dtype).min
        return torch.nan_to_num(value, nan=low, neginf=low)

    def draw_codes(self, n: int, rng: np.random.RandomState) -> Tensor:
        """Return n codes drawn from the prior, of shape (n, k)."""
        prior = self.module.prior
        codes = rng.standard_normal((n, self.module.width)) if prior is None else prior.draw(n, rng)
        return torch.from_numpy(np.asarray(codes, dtype=np.float64))

    @torch.no_grad()
    def draw(self, z: Tensor, generator: torch.Generator | None) -> np.ndarray:
        """Return draws of x given z in the units of X, or their means without a generator."""
        if generator is None:
            return self.module.reconstruct(z).numpy()
        x = self.likelihood.draw(self.module.decode(z), self.module.log_noise(z), generator)
        return self.module.from_target(x).numpy()

    # -- for a prior of the codes ---------------------------------------------------

    def draw_posterior(self, X: Any, normal: np.ndarray) -> np.ndarray:
        """Return codes (m, n, k) drawn from q(z | x) of n samples, from normal draws of this shape."""
        mean, std = self.moments(X)
        return mean + std * normal

    def whiten(self, codes: np.ndarray) -> np.ndarray:
        """Return the codes, which training has pulled towards N(0, I)."""
        return codes

    def prior(self, whitened: FittedPrior) -> FittedPrior:
        """Return the prior of the codes, given that of the whitened ones."""
        return whitened

    # -- for the samples of X -------------------------------------------------------

    def moments(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return means and standard deviations of q(z | x)."""
        mu, log_var = self._map(X, self.posterior)
        return mu, np.exp(0.5 * log_var)

    def kl_divergence(self, X: Any) -> np.ndarray:
        """Return KL(q(z | x) || N(0, I)) of each sample."""
        return self._map(X, lambda x: (kl_per_component(*self.posterior(x)).sum(1),))[0]

    def elbo(self, X: Any, n_draws: int) -> np.ndarray:
        """Return E_q log p(x | z) - KL of each sample."""
        return self._map(X, lambda x: (self._elbo(x, n_draws),), n_draws)[0] + self._log_slopes(X)

    def score_samples(self, X: Any, codes: np.ndarray, n_draws: int) -> tuple[np.ndarray, np.ndarray]:
        """Return log p(x) of each sample and its standard error; exact if x and z are jointly normal.

        The posterior mean is the first start of the search for the modes of the
        true posterior. Normal approximations at the modes are the proposals: with the
        same number of draws q(z | x), which has no correlations, is several times less
        accurate.
        """
        if self._is_linear_gaussian():
            log_p = self._map(X, lambda x: (self._closed_form(x),))[0]
            return log_p + self._log_slopes(X), np.zeros_like(log_p)
        decoded, latent = self.conditional(codes)
        log_p, std = self._map(X, lambda x: decoded.in_units_of_X(x, latent, n_draws=n_draws))
        return log_p + self._log_slopes(X), std

    def conditional(self, codes: np.ndarray) -> Conditional:
        """Return the distribution of X given the codes; some training codes help the search for modes."""
        latent = LatentModel.standard(torch.from_numpy(codes), self.module.prior)
        return Conditional(DecodedDistribution.of(self.module, self._observation()), latent)

    def _log_slopes(self, X: Any) -> Any:
        """Return the log-determinant of the derivative of the normal scores by X."""
        scores = self.module.scores
        if scores is None:
            return 0.0
        return stacked((scores.log_slopes(x) for x in sample_blocks(X)), X.shape[0])

    def _map(
        self, X: Any, function: Callable[[Tensor], tuple[Tensor, ...]], n_draws: int = 1
    ) -> tuple[np.ndarray, ...]:
        """Apply a function of working samples to X in chunks that fit the cache."""
        size = chunk_size(n_draws * max(X.shape[1], 256))
        with torch.no_grad(), threads_for(self.module.n_weights, 1):
            parts = (function(x) for block in working_blocks(self.module, X) for x in block.split(size))
            whole = stacked((torch.stack(part, 1) for part in parts), X.shape[0])
        return tuple(np.ascontiguousarray(column) for column in np.moveaxis(whole, 1, 0))

    # -- for a chunk in working units -------------------------------------------------

    def _elbo(self, x: Tensor, n_draws: int) -> Tensor:
        mu, log_var = self.posterior(x)
        draws = standardised(normal_draws(n_draws, mu.shape[1], seed=2)[1])
        z = mu[:, None] + (0.5 * log_var).exp()[:, None] * draws
        bound = self.log_likelihood(x, z).mean(1) - kl_per_component(mu, log_var).sum(1)
        if self.module.prior is None:
            return bound
        bound = bound + (self.module.prior.log_prob(z) - log_standard_normal(z).sum(2)).mean(1)
        return bound.masked_fill(bound.isnan(), -math.inf)  # a difference of infinities, of extreme samples

    def _observation(self) -> Observation:
        noise = self.module.noise
        if noise is None:
            return OptionObservation(self.likelihood)
        if noise.network is not None:
            gaussian = is_gaussian(self.likelihood)
            return HeteroscedasticObservation() if gaussian else DecodedNoiseObservation(self.likelihood)
        if is_gaussian(self.likelihood):
            return GaussianObservation(noise.common.exp())
        return OptionObservation(self.likelihood, noise.common)

    def _is_linear_gaussian(self) -> bool:
        gaussian = is_gaussian(self.likelihood) and self.module.prior is None
        return gaussian and self.module.has_affine_decoder()

    def _closed_form(self, x: Tensor) -> Tensor:
        """Return the log-density of x = b + z W + noise, computed for features scaled to unit noise."""
        module = self.module
        assert module.noise is not None
        b, W = loadings(module, LatentModel.unit(module.width))
        if module.whitening is not None:
            x, b, W = map(module.whitening, (x, b, W))
        unit = (-0.5 * module.noise.common).exp().expand(x.shape[1])
        centred = (x - b) * unit
        log_p = gaussian_log_likelihood(centred, W * unit, 1.0)
        log_unit = unit.log().expand_as(x).masked_fill(centred.isnan(), 0.0).sum(1)
        return log_p + log_unit - module.log_jacobian_at(centred)


def standardised(draws: Tensor) -> Tensor:
    """Return normal draws (n, k) with mean 0 and, if n exceeds k, covariance I.

    Averages over them are then exact for quadratic functions, such as the ELBO of a
    linear decoder.
    """
    n, k = draws.shape
    if n <= k:
        return draws
    centred = draws - draws.mean(0)
    root = torch.linalg.cholesky(centred.mT @ centred / n)
    return torch.linalg.solve_triangular(root, centred.mT, upper=False).mT
