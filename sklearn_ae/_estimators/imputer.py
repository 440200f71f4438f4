"""Imputation as a step of a pipeline: standardise, fit an autoencoder to what is observed, fill, undo."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.base import OneToOneFeatureMixin, TransformerMixin, clone
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from sklearn_ae._estimators.autoencoder import AutoencoderTransformer
from sklearn_ae._estimators.base import unchanged_on_error
from sklearn_ae._estimators.inference import ArrayEstimator, follows_input
from sklearn_ae._estimators.summary import Summarized
from sklearn_ae._estimators.vae import VAETransformer
from sklearn_ae._estimators.validation import validate_samples
from sklearn_ae._options import check_nested
from sklearn_ae._utils.compat import _fit_context
from sklearn_ae._utils.missing import observed_range

# Of the default autoencoder. With three times as many steps, the errors are 3 % smaller.
_BATCH_SIZE = 512
_N_STEPS = 200
_LEARNING_RATE = 0.014


class AEImputer(Summarized, OneToOneFeatureMixin, TransformerMixin, ArrayEstimator):
    """Imputation of missing values by an autoencoder, instead of ``IterativeImputer``.

    The features are standardised, an autoencoder with ``missing="mask"`` is fitted to the
    observed values, and missing ones are replaced by what it reconstructs from the others.
    It starts at probabilistic PCA of incomplete samples, and the network is used only if it
    is better on held-out samples.

    Parameters
    ----------
    autoencoder : AutoencoderTransformer or VAETransformer, default=None
        Autoencoder for standardised features, with any value of ``missing``. None is an
        :class:`AutoencoderTransformer` with half as many components as features, hidden
        layers of 128 and 64 units and about 200 training steps.
    random_state : int, RandomState instance or None, default=None
        Controls the autoencoder; None keeps the ``random_state`` of ``autoencoder``.

    Attributes
    ----------
    autoencoder_ : estimator
        Fitted autoencoder of the standardised features.
    mean_, scale_ : ndarray of shape (n_features,)
        Mean and standard deviation of the observed values of each feature.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, if X has names that are strings.

    See Also
    --------
    AutoencoderTransformer.impute : Imputation without standardisation, and draws.
    sklearn.impute.IterativeImputer : Linear regressions of each feature on the others.

    Notes
    -----
    Imputed values stay in the range of the observed training values. A feature without any
    training value is filled with 0.

    References
    ----------
    .. [1] L. Gondara, K. Wang (2018), MIDA: multiple imputation using denoising autoencoders,
       PAKDD.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ae import AEImputer
    >>> X, y = load_iris(return_X_y=True)
    >>> X[::3, 2] = np.nan
    >>> X_filled = AEImputer(random_state=0).fit_transform(X)
    >>> bool(np.isnan(X_filled).any())
    False
    """

    _remedy = "pass more samples, or an autoencoder with early_stopping=False"
    _parameter_constraints = {
        "autoencoder": [AutoencoderTransformer, VAETransformer, None],
        "random_state": ["random_state"],
    }
    _placed = "mean_"

    def __init__(
        self,
        autoencoder: AutoencoderTransformer | VAETransformer | None = None,
        *,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.autoencoder = autoencoder
        self.random_state = random_state

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the imputer, and of its autoencoder, given as an object.

        Parameters
        ----------
        **params : dict
            Parameters; ``autoencoder__n_components`` is the parameter ``n_components`` of
            ``autoencoder``.

        Returns
        -------
        self : object
            The imputer.
        """
        check_nested(self, params, {"autoencoder": {"autoencoder": AutoencoderTransformer}})
        return super().set_params(**params)

    @_fit_context(prefer_skip_nested_validation=False)
    @unchanged_on_error
    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the autoencoder to the observed values.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data; missing values are NaN.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        self : object
            The fitted imputer.
        """
        X = self._validated(X, reset=True)
        observed = ~np.isnan(X)
        count = np.maximum(observed.sum(axis=0), 1)
        self.mean_ = np.where(observed, X, 0.0).sum(axis=0, dtype=np.float64) / count
        centred = np.where(observed, X - self.mean_, 0.0)
        scale = np.sqrt(np.square(centred).sum(axis=0) / count)
        self.scale_ = np.where(scale > 10 * np.finfo(X.dtype).eps * np.abs(self.mean_), scale, 1.0)
        self._mean, self._range = self.mean_, observed_range(X)
        self.autoencoder_ = self._new_autoencoder(*X.shape).fit(self._standardised(X))
        return self

    @follows_input()
    def transform(self, X: Any) -> np.ndarray:
        """Fill in missing values.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples; missing values are NaN.

        Returns
        -------
        X_filled : ndarray of shape (n_samples, n_features)
            Samples whose observed values are those of X.
        """
        return self._imputed(X)

    @follows_input()
    def impute(
        self,
        X: Any,
        n_draws: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> np.ndarray:
        """Fill in missing values by their conditional means, or by draws for multiple imputation.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples; missing values are NaN.
        n_draws : int, default=None
            Number of draws from the conditional distribution of the missing values; None
            returns conditional means.
        random_state : int, RandomState instance or None, default=None
            Controls the draws; None uses fresh entropy.

        Returns
        -------
        X_filled : ndarray of shape (n_samples, n_features) or (n_draws, n_samples, n_features)
            Samples whose observed values are those of X.
        """
        return self._imputed(X, n_draws, random_state)

    def _imputed(self, X: Any, n_draws: int | None = None, random_state: Any = None) -> np.ndarray:
        check_is_fitted(self)
        X = self._validated(X)
        filled = self.autoencoder_.impute(self._standardised(X), n_draws, random_state)
        filled = np.clip(np.asarray(filled) * self.scale_ + self._mean, *self._range)
        return np.where(np.isnan(X), filled, X).astype(X.dtype, copy=False)

    def _validated(self, X: Any, reset: bool = False) -> np.ndarray:
        if issparse(X):
            raise TypeError(
                "AEImputer does not support sparse input, whose gaps are filled; use X.toarray()."
            )
        return validate_samples(self, X, reset=reset, allow_nan=True)

    def _standardised(self, X: np.ndarray) -> np.ndarray:
        return ((X - self._mean) / self.scale_).astype(X.dtype, copy=False)

    def _new_autoencoder(self, n_samples: int, n_features: int) -> Any:
        """Return the unfitted autoencoder."""
        if self.autoencoder is None:
            autoencoder = AutoencoderTransformer(
                max(1, min(n_samples, n_features) // 2),
                hidden_layer_sizes=(128, 64),
                batch_size=_BATCH_SIZE,
                learning_rate_init=_LEARNING_RATE,
                max_iter=math.ceil(_N_STEPS * _BATCH_SIZE / max(n_samples, _BATCH_SIZE)),
                missing="mask",
                random_state=self.random_state,
            )
            autoencoder._n_folds = 0  # the time of several trainings is not worth it
            return autoencoder
        autoencoder = clone(self.autoencoder).set_params(missing="mask")
        if self.random_state is not None:
            autoencoder.set_params(random_state=self.random_state)
        return autoencoder

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "autoencoder_")

    def _summarized(self) -> Any:
        return self.autoencoder_

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
