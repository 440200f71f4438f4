"""Base class of the transformers: input validation and public methods.

    fit                validate -> resolve options -> split -> initial PCA -> train -> fall back -> summarize
    transform          validate -> encode (no corruption, no randomness)
    inverse_transform  validate -> decode -> inverse link
    score_samples      validate -> log-likelihood in nats

Subclasses resolve their options in ``_resolve_slots``. Public methods validate their
input once and then call private methods.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_array, check_is_fitted

from sklearn_ae._data.streams import is_stream
from sklearn_ae._estimators.pca_attributes import LinearAttributes
from sklearn_ae._estimators.validation import (
    N_DRAWS,
    PARAMETER_CONSTRAINTS,
    check_n_components,
    check_slots,
    validate_held_out,
    validate_large,
    validate_rows,
    validate_training,
)
from sklearn_ae._fitting.incremental import ChunkFit
from sklearn_ae._fitting.pipeline import Fit
from sklearn_ae._fitting.row_space import kind_of_fit
from sklearn_ae._model.module import Autoencoder
from sklearn_ae._model.spec import ModelSpec
from sklearn_ae._model.statistics import working_blocks
from sklearn_ae._utils.arrays import BLOCK_VALUES, sample_blocks, stacked
from sklearn_ae._utils.compat import _fit_context
from sklearn_ae._utils.hardware import threads_for
from sklearn_ae._utils.parameters import check_positive
from sklearn_ae._utils.random import MAX_SEED, forked_global_rng, private_random_state


class BaseAutoencoder(LinearAttributes, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Base class of deterministic and variational autoencoders."""

    _parameter_constraints = PARAMETER_CONSTRAINTS

    def _resolve_slots(self):
        """Turn the slot parameters into options."""
        raise NotImplementedError

    def _fitted_slots(self, slots: ModelSpec) -> dict[str, Any]:
        """The resolved options as attributes."""
        raise NotImplementedError

    # -- fit ----------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, *, X_val=None):
        """Fit the autoencoder to X.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), Dataset, DataLoader or iterable
            Training data. Memory-mapped arrays with more than 2**26 entries, datasets,
            data loaders and iterables of chunks are read sequentially once per epoch and
            are not loaded into memory. A chunk is an array-like, or a tuple whose first
            entry is one. Iterables must be re-iterable, or be passed as a function that
            returns an iterator. Lists and other indexable objects are array-likes.
        y : Ignored
            Present for API consistency.
        X_val : {array-like, sparse matrix} of shape (n_val, n_features), default=None
            Validation samples for early stopping and the fallback to PCA. None holds out
            ``validation_fraction`` of the samples of X (at most 2**23 entries of
            out-of-core data). In a pipeline, request it with
            ``set_fit_request(X_val=True)`` and list it in
            ``Pipeline(transform_input=["X_val"])``, so that it is transformed like X.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        rng = private_random_state(self.random_state)
        loads = is_stream(X)  # loaders draw from torch's global generator
        seed = int(rng.randint(MAX_SEED)) if loads else 0
        with forked_global_rng(loads, seed, torch.device("cpu")):
            fit = self._prepared(X, X_val, rng)
            self._take_over(fit.run(self if self.warm_start and self.__sklearn_is_fitted__() else None))
        return self

    def _prepared(self, X: Any, X_val: Any, rng: np.random.RandomState) -> Fit:
        """Check everything, and split."""
        X = validate_training(self, X)
        X_val = None if X_val is None else validate_held_out(self, X_val)
        slots = check_slots(self, X)
        n_components = check_n_components(self, X, slots)
        return kind_of_fit(X, slots)(self, slots, X, X_val, n_components, rng)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Train for one epoch on a chunk of samples, as in ``IncrementalPCA`` and ``MLPRegressor``.

        Mean, scale and initial PCA are updated with every chunk. Training starts from
        the PCA of the first chunk, which must have at least ``n_components`` samples.
        The number of chunks need not be known: the learning rate decays as
        1/sqrt(step), and inference uses a moving average of the weights. There is
        neither validation nor fallback to PCA. A linear model is an
        ``IncrementalPCA`` of all chunks.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Chunk of training data.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        first = not self.__sklearn_is_fitted__()
        X = validate_rows(self, X, reset=first)
        slots = check_slots(self, X)
        n_components = check_n_components(self, X, slots) if first else self.n_components_
        fit = ChunkFit(self, slots, X, n_components)
        self._take_over(fit.run(None if first else self))
        return self

    def _take_over(self, fit: Any) -> None:
        """Copy what a finished fit has learnt."""
        for name, option in self._fitted_slots(fit.slots).items():
            setattr(self, name, option)
        self._hidden_layer_sizes = fit.slots.hidden_layer_sizes
        self.pca_, self.net_, self.module_ = fit.pca, fit.net, fit.inference
        self.uses_network_ = fit.gate_open
        self.mean_ = self.module_.offset.numpy().copy()
        self.scale_ = self.module_.scale
        self.n_samples_ = fit.n_samples
        self.n_components_ = self.module_.n_kept
        self.n_iter_, self.best_iter_ = fit.n_iter, fit.best_iter
        self.loss_curve_, self.validation_loss_curve_ = fit.curve("train_loss"), fit.curve("valid_loss")
        self.pca_loss_ = fit.pca_loss
        self._is_pca, self._description = fit.is_pca, fit.description

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_")

    # -- transform ------------------------------------------------------------------

    def transform(self, X: Any) -> np.ndarray:
        """Encode samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_components_)
            Latent codes: in the units of X for deterministic autoencoders, unless
            whitened, and in those of the prior for variational ones.
        """
        check_is_fitted(self)
        return self._transform(validate_large(self, X))

    def _transform(self, X: Any) -> np.ndarray:
        module = self._inference_module(X.dtype)
        with torch.no_grad(), threads_for(module.n_weights, X.shape[0]):
            parts = (self._to_user(module.encode(x).numpy()) for x in working_blocks(module, X))
            return stacked(parts, X.shape[0])

    def _to_user(self, codes: np.ndarray) -> np.ndarray:
        """Convert codes of the module to those that ``transform`` returns."""
        return codes

    def _from_user(self, Z: np.ndarray) -> np.ndarray:
        """Invert :meth:`_to_user`."""
        return Z

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Decode latent codes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components_)
            Latent codes as returned by ``transform``.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            Reconstructed samples, in the units of X.
        """
        check_is_fitted(self)
        return self._inverse_transform(self._check_codes(X))

    def _check_codes(self, X: Any) -> np.ndarray:
        Z = check_array(X, dtype=[np.float64, np.float32], input_name="X")
        if Z.shape[1] != self.n_components_:
            raise ValueError(
                f"X has {Z.shape[1]} components, but {type(self).__name__} is expecting "
                f"n_components_={self.n_components_} components as input to inverse_transform."
            )
        return Z

    def _inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        module = self._inference_module(Z.dtype)
        size = max(1, BLOCK_VALUES // self.n_features_in_)
        blocks = (self._from_user(Z[start : start + size]) for start in range(0, len(Z), size))
        with torch.no_grad(), threads_for(module.n_weights, len(Z)):
            return stacked((module.reconstruct(torch.tensor(z)).numpy() for z in blocks), len(Z))

    def reconstruction_error(self, X: Any) -> np.ndarray:
        """Compute the squared reconstruction error of each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        error : ndarray of shape (n_samples,)
            Squared error summed over the features, in squared units of X.
        """
        check_is_fitted(self)
        X = validate_large(self, X)
        return stacked((self._squared_errors(x) for x in sample_blocks(X)), X.shape[0])

    def _squared_errors(self, X: np.ndarray) -> np.ndarray:
        return np.square(X - self._inverse_transform(self._transform(X))).sum(axis=1)

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
            Number of importance samples per sample of X.
        return_std : bool, default=False
            If True, also return the standard error of each estimate.

        Returns
        -------
        log_likelihood : ndarray of shape (n_samples,)
            Log-density in the units of X, or log-probability for discrete losses.
        std : ndarray of shape (n_samples,)
            Standard errors; zero if exact. Only returned if ``return_std`` is True.
        """
        check_is_fitted(self)
        check_positive("n_draws", n_draws)
        X = validate_large(self, X)
        log_p, std = self._score_samples(X, int(n_draws))
        return (log_p, std) if return_std else log_p

    def _score_samples(self, X: Any, n_draws: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the log-likelihood of each sample and its standard error."""
        raise NotImplementedError

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

    # -- helpers ------------------------------------------------------------------

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    def _inference_module(self, dtype: Any) -> Autoencoder:
        wanted = torch.float32 if dtype == np.float32 else torch.float64
        if self.module_.offset.dtype == wanted:
            return self.module_
        return copy.deepcopy(self.module_).to(wanted)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
