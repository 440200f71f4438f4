"""What a fitted VAE says of rows: posterior, ELBO and log-likelihood, all in nats.

The model is z ~ N(0, I), x given z from the likelihood around decode(z), and
q(z | x) = N(mu, diag(std^2)). Everything works in float64 and with the same
draws for every row, so results depend neither on the batch nor on the order.
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
from sklearn_ae._density.importance_sampling import normal_draws
from sklearn_ae._density.laplace import log_likelihood
from sklearn_ae._density.latent_prior import Decode, LatentModel, n_rows
from sklearn_ae._model.module import Autoencoder
from sklearn_ae._model.statistics import working_blocks
from sklearn_ae._utils.arrays import stacked
from sklearn_ae._utils.gaussian import gaussian_log_likelihood, kl_per_component, log_standard_normal
from sklearn_ae._utils.runtime import threads_for
from sklearn_ae.bottlenecks import split_posterior
from sklearn_ae.likelihoods import (
    DiscreteObservation,
    GaussianObservation,
    HeteroscedasticObservation,
    Observation,
)
from sklearn_ae.priors import Prior, StandardNormal

_MAX_CODES = 10_000  # that a prior is fitted to


class FittedVAE:
    """A fitted module in float64, as a probability model of X.

    Parameters
    ----------
    module : Autoencoder
        With a likelihood in the place of the loss.
    """

    def __init__(self, module: Autoencoder):
        self.module = copy.deepcopy(module).double()
        self.likelihood: Any = self.module.loss

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log-variances of q(z | x) for working rows."""
        return split_posterior(self.module.encoder(x))

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) of working rows (b, d) and codes (b, m, k), shape (b, m)."""
        b, m, _ = z.shape
        flat = z.flatten(0, 1)
        target = self.module.in_units(x) if self.likelihood.discrete else x
        eta = self.module.decode(flat).view(b, m, -1)
        log_noise = self.module.log_noise(flat)
        if log_noise is not None and log_noise.ndim > 1:
            log_noise = log_noise.view_as(eta)
        value = self.likelihood.log_likelihood(eta, target[:, None], log_noise)
        if not self.likelihood.discrete:  # a density in the units of X
            value = value - x.shape[1] * math.log(self.module.scale)
        low = torch.finfo(value.dtype).min
        return torch.nan_to_num(value, nan=low, neginf=low)

    def draw_codes(self, n: int, rng: np.random.RandomState) -> Tensor:
        """Codes drawn from the prior, shape (n, k)."""
        prior = self.module.prior
        shape = n, self.module.width
        return torch.from_numpy(rng.standard_normal(shape) if prior is None else prior.draw(n, rng))

    def draw(self, z: Tensor, generator: torch.Generator | None) -> np.ndarray:
        """Rows decoded from z, in the units of X, with noise where there is a generator."""
        with torch.no_grad():
            if generator is None:
                return self.module.reconstruct(z).numpy()
            x = self.likelihood.draw(self.module.decode(z), self.module.log_noise(z), generator)
            return (x if self.likelihood.discrete else self.module.in_units(x)).numpy()

    # -- over the rows of X ---------------------------------------------------------

    def moments(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations of q(z | x)."""
        mu, log_var = self._over(X, self.posterior)
        return mu, np.exp(0.5 * log_var)

    def kl_divergence(self, X: Any) -> np.ndarray:
        """KL(q(z | x) || N(0, I)) of each row."""
        return self._over(X, lambda x: (kl_per_component(*self.posterior(x)).sum(1),))[0]

    def elbo(self, X: Any, n_draws: int) -> np.ndarray:
        """E_q log p(x | z) - KL of each row."""
        return self._over(X, lambda x: (self._elbo(x, n_draws),), n_draws)[0]

    def score_samples(self, X: Any, codes: np.ndarray, n_draws: int) -> tuple[np.ndarray, np.ndarray]:
        """log p(x) of each row and its standard error; exact where the decoder is affine.

        The posterior mean is the first start of the search for the modes of the
        true posterior, whose normal approximations are the proposals: with as many
        draws q(z | x), which has no correlations, is several times less exact.
        """
        if self.module.has_affine_decoder() and self.module.prior is None:
            log_p = self._over(X, lambda x: (self._closed_form(x),))[0]
            return log_p, np.zeros_like(log_p)
        latent = LatentModel.standard(torch.from_numpy(codes), self.module.prior)
        log_p, std = self._over(X, lambda x: self._estimate(x, latent, n_draws))
        log_jacobian = 0.0 if self.likelihood.discrete else X.shape[1] * math.log(self.module.scale)
        return log_p - log_jacobian, std

    def _over(
        self, X: Any, function: Callable[[Tensor], tuple[Tensor, ...]], n_draws: int = 1
    ) -> tuple[np.ndarray, ...]:
        """Apply a function of working rows to X in chunks that fit the cache."""
        size = n_rows(n_draws * max(X.shape[1], 256))
        with torch.no_grad(), threads_for(self.module.n_weights, 1):
            parts = (function(x) for block in working_blocks(self.module, X) for x in block.split(size))
            whole = stacked((torch.stack(part, 1) for part in parts), X.shape[0])
        return tuple(np.ascontiguousarray(column) for column in np.moveaxis(whole, 1, 0))

    # -- for some working rows --------------------------------------------------------

    def _elbo(self, x: Tensor, n_draws: int) -> Tensor:
        mu, log_var = self.posterior(x)
        draws = standardised(normal_draws(n_draws, mu.shape[1], seed=2)[1])
        z = mu[:, None] + (0.5 * log_var).exp()[:, None] * draws
        bound = self.log_likelihood(x, z).mean(1) - kl_per_component(mu, log_var).sum(1)
        if self.module.prior is None:
            return bound
        return bound + (self.module.prior.log_prob(z) - log_standard_normal(z).sum(2)).mean(1)

    def _estimate(self, x: Tensor, latent: LatentModel, n_draws: int) -> tuple[Tensor, Tensor]:
        """Log-density of working rows (log-probability for discrete likelihoods)."""
        module, noise = self.module, self.module.noise
        decode: Decode = module.decode
        observation: Observation
        if noise is None:
            observation = DiscreteObservation(module.loss)
        elif noise.network is None:
            observation = GaussianObservation(noise.common.exp())
        else:
            observation = HeteroscedasticObservation()
            decode = self._decode_with_noise
        target = module.in_units(x) if self.likelihood.discrete else x
        return log_likelihood(target, decode, module.encode(x), latent, observation, n_draws=n_draws)

    def _decode_with_noise(self, z: Tensor) -> Tensor:
        log_noise = self.module.log_noise(z)
        assert log_noise is not None
        return torch.cat([self.module.decode(z), log_noise], 1)

    def _closed_form(self, x: Tensor) -> Tensor:
        """Log-density where x = b + z W + noise, with columns brought to unit noise."""
        module = self.module
        assert module.noise is not None
        b, W = loadings(module, LatentModel.unit(module.width))
        unit = (-0.5 * module.noise.common).exp().expand(x.shape[1])
        log_p = gaussian_log_likelihood((x - b) * unit, W * unit, 1.0)
        return log_p + unit.log().sum() - x.shape[1] * math.log(module.scale)


def standardised(draws: Tensor) -> Tensor:
    """Normal draws (n, k) with mean 0 and, if there are enough, covariance I.

    Averages over them are then exact for quadratic functions, as the ELBO of a
    linear decoder is.
    """
    n, k = draws.shape
    if n <= k:
        return draws
    centred = draws - draws.mean(0)
    root = torch.linalg.cholesky(centred.mT @ centred / n)
    return torch.linalg.solve_triangular(root, centred.mT, upper=False).mT


def fit_prior(
    prior: Prior, judged: Autoencoder, module: Autoencoder, X: Any, X_val: Any, valid: np.ndarray | None
) -> Any:
    """Fit the prior to the codes of X under ``module``; rows that ``judged`` has not seen decide how.

    Parameters
    ----------
    prior : Prior
    judged, module : Autoencoder
        What was trained without the held-out rows, and what is to be used.
    X, X_val : ndarray or sparse matrix
        X_val may be None.
    valid : ndarray of int or None
        The rows of X that were held out; where there are none, a tenth judges.
    """
    if isinstance(prior, StandardNormal):
        return None
    every = np.arange(X.shape[0])
    rows, held_out = (X, every), None if X_val is None else (X_val, np.arange(X_val.shape[0]))
    if held_out is None:
        valid = every[::10] if valid is None else valid
        rows, held_out = (X, np.setdiff1d(every, valid)), (X, valid)
    return prior.fit(_draws(judged, *rows), _draws(judged, *held_out), _draws(module, X, every))


def _draws(module: Autoencoder, X: Any, rows: np.ndarray) -> np.ndarray:
    """Up to 4 draws from the posterior of each of the rows, not many more than 10,000 in all."""
    n = len(rows)
    mean, std = FittedVAE(module).moments(X[rows[:: max(1, n // _MAX_CODES)]])
    n_each = max(1, min(4, _MAX_CODES // n))
    normal = np.random.RandomState(0).standard_normal((n_each, *mean.shape))
    return (mean + std * normal).reshape(-1, mean.shape[1])
