"""Methods of fitted transformers that decode: reconstructions, their errors, and log-likelihoods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from sklearn_ae._estimators.inference import (
    as_returned,
    follows_input,
    inference,
    inference_module,
    joined,
    with_feature_names,
)
from sklearn_ae._estimators.validation import N_DRAWS, validate_codes, validate_large
from sklearn_ae._utils.arrays import BLOCK_VALUES, sample_blocks
from sklearn_ae._utils.parameters import check_positive


class Decoding:
    """Reconstructions, errors and log-likelihoods of transformers."""

    # Set by fit.
    module_: Any
    n_components_: int
    n_features_in_: int
    device: Any
    _from_user: Callable[[Any], Any]
    _squared_errors: Callable[[Any], Any]

    @follows_input(on_tensors=True)
    def inverse_transform(self, X: Any) -> Any:
        """Decode latent codes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components_)
            Latent codes as returned by ``transform``.

        Returns
        -------
        X_original : {ndarray, DataFrame} of shape (n_samples, n_features)
            Reconstructed samples, in the units of X. A DataFrame with the names of the
            features if ``set_output`` selects one.
        """
        check_is_fitted(self)
        return with_feature_names(self, self._inverse_transform(self._check_codes(X)), X)

    def _check_codes(self, X: Any) -> Any:
        Z = validate_codes(X)
        if Z.shape[1] != self.n_components_:
            raise ValueError(
                f"X has {Z.shape[1]} components, but {type(self).__name__} is expecting "
                f"n_components_={self.n_components_} components as input to inverse_transform."
            )
        return Z

    def _inverse_transform(self, Z: Any) -> Any:
        module = inference_module(self.module_, self.device, Z.dtype)
        size = max(1, BLOCK_VALUES // self.n_features_in_)
        blocks = (self._from_user(Z[start : start + size]) for start in range(0, len(Z), size))
        with inference(module, len(Z)):
            codes = (torch.asarray(z, device=module.offset.device, copy=True) for z in blocks)
            return joined((as_returned(module.reconstruct(z), Z) for z in codes), Z)

    @follows_input(on_tensors=True)
    def reconstruction_error(self, X: Any) -> np.ndarray:
        """Compute the squared reconstruction error of each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        error : ndarray of shape (n_samples,)
            Squared error summed over the features, in squared units of X. That of the observed
            features of an incomplete sample, times ``n_features`` over their number.
        """
        check_is_fitted(self)
        X = validate_large(self, X)
        return joined((self._squared_errors(x) for x in sample_blocks(X)), X)

    @follows_input()
    def score_samples(
        self, X: Any, *, n_draws: int = N_DRAWS, return_std: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Return the log-likelihood of each sample, in nats, comparable to ``PCA.score_samples``.

        The decoder defines a latent variable model: codes are normally distributed,
        and samples are normally distributed around the decoded code with variance
        ``noise_variance_`` (Bernoulli or Poisson distributed for these losses). The
        integral over the code is exact for linear decoders and otherwise estimated
        by importance sampling, with the same random numbers for every sample.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.
        n_draws : int, default=128
            Largest number of importance samples per sample of X. A quarter of them are used where
            the standard error is then below ``1 / sqrt(n_draws)``.
        return_std : bool, default=False
            If True, also return the standard error of each estimate.

        Returns
        -------
        log_likelihood : ndarray of shape (n_samples,)
            Log-density in the units of X, or log-probability for discrete losses.
        std : ndarray of shape (n_samples,)
            Standard errors; zero if exact, and infinite if so few draws carry the
            estimate that its error is unknown, as for samples far from the training data.
            Only returned if ``return_std`` is True.
        """
        check_is_fitted(self)
        check_positive("n_draws", n_draws)
        X = validate_large(self, X)
        log_p, std = self._score_samples(X, int(n_draws))
        return (log_p, std) if return_std else log_p

    def _score_samples(self, X: Any, n_draws: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the log-likelihood of each sample and its standard error."""
        raise NotImplementedError

    @follows_input()
    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean log-likelihood of the samples, in nats; higher is better.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        score : float
            Mean log-likelihood.
        """
        return float(np.mean(self.score_samples(X)))
