"""Priors that are fitted after training, to draws from the posteriors of the training samples.

Codes that are points would contain the noise of x, which the likelihood of x given z adds
again. Draws from the posteriors under N(0, I) do not: their density is the prior with the
highest ELBO.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from sklearn_ae._density.autoencoder import AutoencoderPosterior
from sklearn_ae._density.vae import FittedVAE
from sklearn_ae._model.module import Autoencoder
from sklearn_ae._model.statistics import CodeStatistics, spread
from sklearn_ae.likelihoods import Likelihood
from sklearn_ae.priors import FittedPrior, Prior

MAX_CODES = 10_000  # codes that a prior is fitted to


class Posterior(Protocol):
    """Posterior of the codes of a model under the normal prior."""

    def draw_posterior(self, X: Any, normal: np.ndarray) -> np.ndarray:
        """Return codes (m, n, k) drawn from the posteriors of n samples, from normal draws of this shape."""
        ...

    def whiten(self, codes: np.ndarray) -> np.ndarray:
        """Map codes (n, k) to those of about unit variance, to which the prior is fitted."""
        ...

    def prior(self, whitened: FittedPrior) -> FittedPrior:
        """Return the prior of the codes, given that of the whitened ones."""
        ...


def posterior_of(module: Autoencoder, statistics: CodeStatistics, pca: Any) -> Posterior:
    """Return the posterior of the codes of a fitted module, which is exactly PCA if ``pca`` is not None."""
    if isinstance(module.loss, Likelihood):
        return FittedVAE(module)
    return AutoencoderPosterior.of(module, statistics, pca)


def fit_prior(
    prior: Prior, validated: Posterior, final: Posterior, X: Any, X_val: Any, valid: np.ndarray | None, k: int
) -> FittedPrior | None:
    """Fit the prior to the codes of X, selected on samples that the validated model has not seen.

    Parameters
    ----------
    prior : Prior
    validated, final : Posterior
        Of the model trained without the validation samples, and of the final one.
    X, X_val : ndarray or sparse matrix
        X_val may be None.
    valid : ndarray of int or None
        Indices of the samples of X that were held out; without any, every tenth
        sample is used for validation. A single sample keeps N(0, I).
    k : int
        Number of components.
    """
    if k == 0 or (X_val is None and X.shape[0] < 2):
        return None
    every = np.arange(X.shape[0])
    if X_val is not None:
        train_codes = _whitened_draws(validated, X, every, k)
        validation_codes = _whitened_draws(validated, X_val, np.arange(X_val.shape[0]), k)
    else:
        valid = every[::10] if valid is None else valid
        train_codes = _whitened_draws(validated, X, np.setdiff1d(every, valid), k)
        validation_codes = _whitened_draws(validated, X, valid, k)
    whitened = prior.fit(train_codes, validation_codes, _whitened_draws(final, X, every, k))
    return None if whitened is None else final.prior(whitened)


def fit_to_chunks(
    prior: Prior, posterior: Posterior, X: Any, k: int, n_samples: int, earlier: np.ndarray | None
) -> tuple[FittedPrior | None, np.ndarray]:
    """Fit the prior to the codes of all chunks; return it, and the draws to which it was fitted.

    Parameters
    ----------
    prior : Prior
    posterior : Posterior
    X : ndarray or sparse matrix
        The last chunk.
    k : int
        Number of components.
    n_samples : int
        Number of samples of all chunks.
    earlier : ndarray of shape (m, k) or None
        Draws of the earlier chunks, of which as many are kept as is their share of the samples.
    """
    n = X.shape[0]
    n_new = min(n, -(-MAX_CODES * n // n_samples))
    draws = _draws(posterior, X, spread(n, n_new), k)
    if earlier is not None:
        draws = np.concatenate([earlier[spread(len(earlier), MAX_CODES - n_new)], draws])
    whitened = posterior.whiten(draws)
    held_out = np.arange(len(draws)) % 10 == 0
    fitted = prior.fit(whitened[~held_out], whitened[held_out], whitened) if len(draws) > 1 else None
    return None if fitted is None else posterior.prior(fitted), draws


def _whitened_draws(posterior: Posterior, X: Any, indices: np.ndarray, k: int) -> np.ndarray:
    """Return up to 4 whitened draws from the posterior of each sample, about 10,000 in all at most."""
    n_each = max(1, min(4, MAX_CODES // len(indices)))
    indices = indices[:: max(1, len(indices) // MAX_CODES)]
    return posterior.whiten(_draws(posterior, X, indices, k, n_each))


def _draws(posterior: Posterior, X: Any, indices: np.ndarray, k: int, n_each: int = 1) -> np.ndarray:
    """Return draws from the posteriors of some samples, of shape (n_each * n, k)."""
    normal = np.random.RandomState(0).standard_normal((n_each, len(indices), k))
    return posterior.draw_posterior(X[indices], normal).reshape(-1, k)
