"""Attributes of linear models: those of PCA and factor analysis alike, and those of PCA alone."""

from __future__ import annotations

import copy
from numbers import Integral
from typing import Any

import numpy as np
import torch
from scipy import linalg
from sklearn.utils.validation import check_is_fitted

from sklearn_ae._density.autoencoder import latent_model, loadings, noise_variance
from sklearn_ae._density.latent_prior import LatentModel
from sklearn_ae._model.pca import truncated_pca


class LinearAttributes:
    """``components_`` and ``get_covariance``, where x given z is linear."""

    # set by fit
    module_: Any
    n_components_: int
    scale_: float
    noise_variance_: Any

    def _require(self, condition: bool, name: str, reason: str) -> None:
        if not condition:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}: {reason}.")

    def _require_linear(self, name: str, instead: str) -> None:
        self._require(self.module_.has_affine_decoder(), name, f"this model is not linear; {instead}")

    @property
    def components_(self) -> np.ndarray:
        """Directions W of shape (n_components_, n_features): ``inverse_transform`` is ``Z W`` + constant."""
        check_is_fitted(self)
        self._require_linear("components_", "look at inverse_transform of unit steps in the code instead")
        return self._directions()

    def _loadings(self) -> np.ndarray:
        """W of shape (k, d): working rows are ``z W`` plus a constant."""
        return self._matrix(LatentModel.unit(self.n_components_))

    def _matrix(self, latent: LatentModel) -> np.ndarray:
        """L of shape (k, d): working rows are ``u L`` plus a constant, for the u of a prior."""
        with torch.no_grad():
            return loadings(copy.deepcopy(self.module_).double(), latent)[1].numpy()

    def _directions(self) -> np.ndarray:
        """W for the codes that the user sees, in units of X."""
        raise NotImplementedError

    def _signal(self) -> np.ndarray:
        """L of shape (k, d) with L'L the covariance of the decoded codes, in squared units of X."""
        raise NotImplementedError

    def get_covariance(self) -> np.ndarray:
        """Covariance of X under the model, ``W' S W + diag(noise_variance_)``.

        Returns
        -------
        covariance : ndarray of shape (n_features, n_features)
            In squared units of X. Where the model is PCA, equal to that of
            ``PCA.get_covariance`` without whitening.

        Raises
        ------
        AttributeError
            For nonlinear models.
        """
        check_is_fitted(self)
        self._require_linear("get_covariance", "use score_samples for densities")
        L = self._signal()
        covariance = L.T @ L
        covariance.flat[:: len(covariance) + 1] += self.noise_variance_
        return covariance

    def get_precision(self) -> np.ndarray:
        """Inverse of the covariance of X under the model.

        Returns
        -------
        precision : ndarray of shape (n_features, n_features)

        Raises
        ------
        AttributeError
            For nonlinear models.
        """
        check_is_fitted(self)
        self._require_linear("get_precision", "use score_samples for densities")
        return linalg.pinvh(self.get_covariance(), check_finite=False)


class PCAAttributes(LinearAttributes):
    """What deterministic autoencoders share with PCA.

    A model is exactly PCA (``pca_`` is it) where the gate is shut or nothing was
    to be trained; then every attribute is PCA's own number. Other linear models,
    trained by gradient, have the attributes that follow from their decoder.
    """

    n_components: Any
    # set by fit
    pca_: Any
    bottleneck_: Any
    n_samples_: int
    _is_pca: bool
    _statistics: Any

    def _latent(self) -> LatentModel:
        """Prior of the code, in working units."""
        module, pca = copy.deepcopy(self.module_).double(), self._pca_or_none()
        noise = noise_variance(self._statistics, pca, self.scale_)
        return latent_model(module, self._statistics, noise, pca)

    def _pca_or_none(self) -> Any:
        return self.pca_ if self._is_pca else None

    @property
    def noise_variance_(self) -> float:
        """Variance of X around the decoded code, per column, in squared units of X."""
        check_is_fitted(self)
        if self._is_pca:
            return self.pca_.noise_variance_
        return self._statistics.noise * self.scale_**2

    def _directions(self) -> np.ndarray:
        return self.pca_.components_ if self._is_pca else self._loadings()

    def _signal(self) -> np.ndarray:
        return self.scale_ * self._matrix(self._latent())

    def _require_pca(self, name: str) -> None:
        instead = "use explained_variance_ratio_ of ordered codes instead"
        self._require(self._is_pca, name, f"this model is not PCA; {instead}")

    @property
    def explained_variance_(self) -> np.ndarray:
        """Variance of each component, in squared units of X; where the model is PCA."""
        check_is_fitted(self)
        self._require_pca("explained_variance_")
        return self.pca_.explained_variance_

    @property
    def singular_values_(self) -> np.ndarray:
        """Singular values of the centred training rows; where the model is PCA."""
        check_is_fitted(self)
        self._require_pca("singular_values_")
        return self.pca_.singular_values_

    @property
    def explained_variance_ratio_(self) -> np.ndarray:
        """Share of the total variance that each component adds, shape (n_components_,).

        On validation rows where there were any, else on the training rows; the
        sum is 1 - SSE / SST.
        """
        check_is_fitted(self)
        if self._is_pca:
            return self.pca_.explained_variance_ratio_
        self._require(
            self.bottleneck_.ordered,
            "explained_variance_ratio_",
            "its codes have no order; set bottleneck='ordered', or use reconstruction_error",
        )
        return self._statistics.explained

    def truncate(self, k):
        """Return a fitted estimator with the first k components, without training.

        Parameters
        ----------
        k : int
            Between 1 and ``n_components_``.

        Returns
        -------
        estimator : object
            Its codes are the first k columns of this one's.

        Raises
        ------
        AttributeError
            If the codes are not ordered.
        """
        check_is_fitted(self)
        ordered = self._is_pca or self.bottleneck_.ordered
        self._require(ordered, "truncate", "the codes have no order; set bottleneck='ordered'")
        if not isinstance(k, Integral) or not 1 <= int(k) <= self.n_components_:
            raise ValueError(
                f"k must be an integer between 1 and n_components_={self.n_components_}; got {k!r}."
            )
        twin = copy.copy(self)
        twin.n_components = twin.n_components_ = int(k)
        twin.module_ = self.module_.truncated(int(k))
        twin._statistics = self._statistics.truncated(int(k))
        if self._is_pca:
            twin.pca_ = truncated_pca(self.pca_, int(k), self.n_samples_)
        return twin
