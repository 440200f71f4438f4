"""Attributes that linear autoencoders share with PCA and factor analysis."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from scipy import linalg
from sklearn.utils.validation import check_is_fitted

from sklearn_ae._density.autoencoder import loadings
from sklearn_ae._density.latent_prior import LatentModel
from sklearn_ae._estimators.jacobians import Jacobians
from sklearn_ae.likelihoods import Likelihood, is_gaussian


class LinearAttributes(Jacobians):
    """Mixin for ``components_`` and ``get_covariance`` of models with a linear decoder.

    Other models have derivatives that depend on the sample.
    """

    # Set by fit.
    module_: Any
    n_components_: int
    scale_: float
    noise_variance_: Any
    noise_covariance_: Any

    def _require(self, condition: bool, name: str, reason: str) -> None:
        if not condition:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}: {reason}.")

    def _require_linear(self, name: str, instead: str) -> None:
        is_linear = self.module_.scores is None and self.module_.has_affine_decoder()
        self._require(is_linear, name, f"this model is not linear; {instead}")

    def _require_gaussian(self, name: str) -> None:
        """Require a linear model whose noise variance is the variance of x given z."""
        self._require_linear(name, "use score_samples for densities")
        loss = self.module_.loss
        gaussian = not isinstance(loss, Likelihood) or is_gaussian(loss)
        self._require(gaussian, name, f"{loss!r} is not Gaussian; use score_samples for densities")

    @property
    def components_(self) -> np.ndarray:
        """Matrix W of the linear decoder, of shape (n_components_, n_features), in the units of X."""
        check_is_fitted(self)
        self._require_linear("components_", "use sklearn_ae.inspection.component_contributions instead")
        return self._directions()

    def _loadings(self) -> np.ndarray:
        """Return W of shape (k, d): the decoder is ``z W + b`` in working units."""
        return self._matrix(LatentModel.unit(self.n_components_))

    def _matrix(self, latent: LatentModel) -> np.ndarray:
        """Return L of shape (k, d): decoded draws of ``latent`` are ``u L + b`` with u from N(0, I)."""
        with torch.no_grad():
            return loadings(copy.deepcopy(self.module_).double(), latent)[1].numpy()

    def _directions(self) -> np.ndarray:
        """Return W for the codes that ``transform`` returns, in the units of X."""
        raise NotImplementedError

    def _signal(self) -> np.ndarray:
        """Return L of shape (k, d) such that L'L is the covariance of the decoded codes."""
        raise NotImplementedError

    def get_covariance(self) -> np.ndarray:
        """Compute data covariance with the model, ``W' S W`` plus that of the noise.

        Returns
        -------
        covariance : ndarray of shape (n_features, n_features)
            Estimated covariance of data. If the model is PCA, this equals
            ``PCA.get_covariance`` without whitening.

        Raises
        ------
        AttributeError
            If the model is not linear, or its likelihood not Gaussian.
        """
        check_is_fitted(self)
        self._require_gaussian("get_covariance")
        L = self._signal()
        covariance = L.T @ L
        if self.module_.whitening is None:
            covariance.flat[:: len(covariance) + 1] += self.noise_variance_
        else:
            covariance += self.noise_covariance_
        return covariance

    def get_precision(self) -> np.ndarray:
        """Compute data precision matrix with the model.

        Returns
        -------
        precision : ndarray of shape (n_features, n_features)
            Inverse of the estimated covariance of data.

        Raises
        ------
        AttributeError
            If the model is not linear, or its likelihood not Gaussian.
        """
        check_is_fitted(self)
        self._require_gaussian("get_precision")
        return linalg.pinvh(self.get_covariance(), check_finite=False)
