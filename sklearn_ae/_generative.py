"""What a variational autoencoder can do beyond a transformer: posterior, bounds, samples."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted
from torch import Generator

from sklearn_ae._anchor import total_variance
from sklearn_ae._linear import LinearAttributes
from sklearn_ae._resources import MAX_SEED, private_random_state
from sklearn_ae._validation import N_DRAWS, check_positive, validate_large
from sklearn_ae._variational import FittedVAE

_ACTIVE = 0.01  # variance of a component's posterior means over which it is called active


class GenerativeModel(LinearAttributes):
    """Public methods of a model with a prior, a likelihood and an approximate posterior."""

    # set by fit
    pca_: Any
    likelihood_: Any
    mean_: np.ndarray
    n_samples_: int
    beta: float
    kl_warmup: float
    _is_pca: bool
    _description: Any

    @property
    def _model(self) -> FittedVAE:
        """The fitted module as a probability model of X."""
        return FittedVAE(self.module_)

    def posterior(self, X):
        """Mean and standard deviation of the approximate posterior q(z | x).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        mean : ndarray of shape (n_samples, n_components_)
            What ``transform`` returns.
        std : ndarray of shape (n_samples, n_components_)
            Standard deviation of each component; 1 is the prior's.
        """
        check_is_fitted(self)
        X = validate_large(self, X)
        mean, std = self._model.moments(X)
        return mean.astype(X.dtype), std.astype(X.dtype)

    def kl_divergence(self, X):
        """KL divergence of each row's posterior from N(0, I), in closed form.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        kl : ndarray of shape (n_samples,)
            In nats, summed over the components: what a code tells of its row.
        """
        check_is_fitted(self)
        return self._model.kl_divergence(validate_large(self, X))

    def elbo(self, X, *, n_draws=N_DRAWS):
        """Evidence lower bound of each row: expected log p(x | z) less the KL divergence.

        It never exceeds the log-likelihood but by the error of its draws, and
        equals it where the posterior is exact. ``beta`` and ``divergence``, which
        steer the training, have no part in it; with ``prior="mixture"`` the
        divergence is that from the mixture, averaged over the draws.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        n_draws : int, default=128
            Draws from the posterior, the same for every row.

        Returns
        -------
        elbo : ndarray of shape (n_samples,)
            In nats, in the units of X.
        """
        check_is_fitted(self)
        check_positive("n_draws", n_draws)
        return self._model.elbo(validate_large(self, X), int(n_draws))

    def sample(self, n_samples=1, random_state=None, *, noise=True):
        """Draw new rows from the model.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            None takes fresh entropy.
        noise : bool, default=True
            Draw rows from p(x | z), which is what the density describes. False gives
            its means, such as images without pixel noise.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In the units of X.
        """
        check_is_fitted(self)
        check_positive("n_samples", n_samples)
        rng = private_random_state(random_state)
        model = self._model
        z = model.draw_codes(int(n_samples), rng)
        generator = Generator().manual_seed(int(rng.randint(MAX_SEED)))
        rows = model.draw(z, generator if noise else None)
        return rows.astype(self.mean_.dtype)

    # -- attributes ---------------------------------------------------------------------

    @property
    def noise_variance_(self) -> Any:
        """Noise variance in squared units of X: a float if shared, an array with one for each column."""
        check_is_fitted(self)
        module = self.module_
        self._require(
            module.noise is not None, "noise_variance_", f"{self.likelihood_!r} has no noise variance"
        )
        self._require(
            module.noise.network is None,
            "noise_variance_",
            "the decoder gives each row its own; it shows in score_samples and sample",
        )
        variance = module.noise.common.double().exp().numpy() * self.scale_**2
        return float(variance[0]) if self.likelihood_.noise == "shared" else variance.copy()

    @property
    def n_active_units_(self) -> int:
        """Components whose posterior mean varies from row to row."""
        check_is_fitted(self)
        return int((self._code_variances() > _ACTIVE).sum())

    def _code_variances(self) -> np.ndarray:
        """Variance of each component's posterior means over the training rows."""
        if self._is_pca:
            noise = max(float(self.pca_.noise_variance_), np.finfo(float).tiny)
            return 1.0 - noise / np.maximum(self.pca_.explained_variance_, noise)
        return np.square(self._description.moments.root).sum(axis=0)

    def _directions(self) -> np.ndarray:
        return self.scale_ * self._loadings()

    def _signal(self) -> np.ndarray:
        return self._directions()

    def _warn_of_dead_units(self) -> None:
        """Warn where components are dead, although PCA finds more structure than there are live ones."""
        n_active, k = self.n_active_units_, self.n_components_
        n_structured = min(k, _n_structured(self.pca_, self.n_samples_))
        if n_active < n_structured:
            warnings.warn(
                f"Only {n_active} of {k} components are active: the posterior of the others is the prior, "
                f"though X has at least {n_structured} directions that stand out from noise. Lower beta"
                f"={self.beta:g}, raise kl_warmup={self.kl_warmup:g}, keep init='pca', or set "
                f"n_components={max(1, n_active)} if that is enough.",
                ConvergenceWarning,
                stacklevel=5,
            )


def _n_structured(pca: Any, n: int) -> int:
    """Number of PCA's components whose variance noise alone would hardly reach.

    The largest eigenvalue that noise of variance s^2 has is about
    s^2 (1 + sqrt(d / n))^2 (V. Marchenko, L. Pastur 1967).
    """
    d, variances = pca.components_.shape[1], np.asarray(pca.explained_variance_)
    if len(variances) < min(n, d):
        noise = float(pca.noise_variance_)
    else:  # all are taken, and none is left for the noise: the smaller half has to tell
        noise = float(np.sort(variances)[: max(1, len(variances) // 2)].mean())
    noise = max(noise, 1e-10 * total_variance(pca) / d)
    return int((variances > 1.1 * noise * (1 + math.sqrt(d / n)) ** 2).sum())
