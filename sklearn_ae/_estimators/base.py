"""Base of the transformers: fitting, encoding, decoding and scoring, from validation to private methods.

    fit                validate -> resolve slots -> pipeline (``_fitting``) -> copy what was learned
    transform          validate -> encode (no corruption, no randomness)
    inverse_transform  validate -> decode -> inverse link
    score_samples      validate -> log-likelihood in nats

Subclasses declare their slots (``_slots``). Public methods validate once and then call
private ones.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Self

import numpy as np
import torch
import torch.distributed as dist
from sklearn import get_config
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from sklearn_ae._data.in_memory import ArraySamples
from sklearn_ae._estimators.imputation import Imputation
from sklearn_ae._estimators.inference import (
    ArrayEstimator,
    as_returned,
    follows_input,
    inference,
    inference_module,
    joined,
    with_feature_names,
)
from sklearn_ae._estimators.lazy import lazy_for_dask
from sklearn_ae._estimators.pca_attributes import LinearAttributes
from sklearn_ae._estimators.validation import (
    N_DRAWS,
    check_spec,
    check_values,
    reproducible_streams,
    validate_codes,
    validate_held_out,
    validate_large,
    validate_pairs,
    validate_samples,
    validate_training,
    warn_of_pairs,
)
from sklearn_ae._fitting.incremental import check_unchanged, fit_chunk
from sklearn_ae._fitting.pipeline import Fitted, Previous, fit
from sklearn_ae._model.initialization import ModelSpec
from sklearn_ae._model.statistics import working_blocks
from sklearn_ae._options import Slot, check_nested, resolve, suggestion
from sklearn_ae._training.callbacks import check_callbacks
from sklearn_ae._training.net import AutoencoderNet
from sklearn_ae._training.optimization import SHORT, TrainingConfig
from sklearn_ae._training.stored_net import StoredNet, net_to_state
from sklearn_ae._utils.arrays import BLOCK_VALUES, numpy_only, sample_blocks
from sklearn_ae._utils.compat import InvalidParameterError, _fit_context
from sklearn_ae._utils.namespaces import is_foreign
from sklearn_ae._utils.parameters import check_positive
from sklearn_ae._utils.ranks import RANKS
from sklearn_ae._utils.runtime import (
    MAX_SEED,
    kept_filters,
    private_random_state,
    running_on,
    selected_device,
)
from sklearn_ae._utils.stored_modules import from_tree, to_tree
from sklearn_ae.networks import ACTIVATIONS, NETWORKS, Network, as_modules
from sklearn_ae.priors import FittedPrior

_NETWORK = {"network": Slot(NETWORKS, Network, wrapper=as_modules)}


def unchanged_on_error(method: Callable[..., Any]) -> Callable[..., Any]:
    """Restore the attributes of an estimator if its method is refused, fails or is interrupted.

    The method may call scikit-learn as it likes: the filters of warnings are kept, and arrays are NumPy's.
    Where scikit-learn's support for others is on, it trains where X is, and leaves the estimator there.
    """

    @functools.wraps(method)
    def wrapped(self: Any, X: Any, *args: Any, **kwargs: Any) -> Any:
        before = dict(vars(self))
        follows = get_config()["array_api_dispatch"] and is_foreign(X)
        try:
            with kept_filters(), numpy_only(), running_on(X) if follows else contextlib.nullcontext():
                fitted = method(self, X, *args, **kwargs)
            if follows:
                self._move_to(X)
            return fitted
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return wrapped


def on_all_ranks(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let all processes that ``torchrun`` or the user's process group holds fit one model together."""

    @functools.wraps(method)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _may_have_ranks():
            return method(self, *args, **kwargs)
        from sklearn_ae._estimators.data_parallel import fit_on_ranks

        return fit_on_ranks(method, self, *args, **kwargs)

    return wrapped


def _may_have_ranks() -> bool:
    """Return whether there may be other processes that fit the same model."""
    return dist.is_available() and (dist.is_initialized() or dist.is_torchelastic_launched())


def passes_interrupts_on(method: Callable[..., Any]) -> Callable[..., Any]:
    """Raise KeyboardInterrupt after a fit that was interrupted and has kept its best model so far."""

    @functools.wraps(method)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        fitted = method(self, *args, **kwargs)
        if self.net_.interrupted_:
            raise KeyboardInterrupt(
                f"Training was interrupted in epoch {len(self.loss_curve_)}; the estimator holds the best "
                "model so far."
            )
        return fitted

    return wrapped


@lazy_for_dask("transform", "fit_transform", "inverse_transform", "reconstruction_error", "score_samples")
class BaseAutoencoder(
    LinearAttributes, Imputation, ClassNamePrefixFeaturesOutMixin, TransformerMixin, ArrayEstimator
):
    """Base of deterministic and variational autoencoders."""

    _parameter_constraints: dict[str, Any]
    _slots: dict[str, Slot]
    _schedule = SHORT
    _placed = "mean_"
    missing = "error"  # of models that were stored before the parameter

    # -- fit ----------------------------------------------------------------------

    @on_all_ranks
    @_fit_context(prefer_skip_nested_validation=True)
    @passes_interrupts_on
    @unchanged_on_error
    def fit(self, X: Any, y: Any = None, *, X_val: Any = None, X_clean: Any = None) -> Self:
        """Fit the autoencoder to X.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), Dataset, DataLoader or iterable
            Training data. Memory-mapped arrays with more than 2**26 entries, datasets (of
            PyTorch or pyarrow), data loaders, dask arrays and data frames, and iterables of
            chunks are read sequentially once per epoch and are not loaded into memory. The
            results of other methods are lazy for dask arrays and data frames. A chunk is an
            array-like, or a tuple whose first entry is one. Iterables must be re-iterable,
            or be passed as a function that returns an iterator. Lists and other indexable
            objects are array-likes.
        y : Ignored
            Present for API consistency.
        X_val : {array-like, sparse matrix} of shape (n_val, n_features), default=None
            Validation samples for early stopping and the fallback to PCA. None holds out
            ``validation_fraction`` of the samples of X (at most 2**23 entries of
            out-of-core data). In a pipeline, request it with
            ``set_fit_request(X_val=True)`` and list it in
            ``Pipeline(transform_input=["X_val"])``, so that it is transformed like X.
        X_clean : {array-like, sparse matrix} of shape (n_samples, n_features), default=None
            Clean versions of the samples, if those of X are noisy: the autoencoder is
            trained to reconstruct ``X_clean`` from X, and falls back to the PCA of
            ``X_clean``. None reconstructs X. In a pipeline, request it like ``X_val``.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        KeyboardInterrupt
            After Ctrl-C. If the network was being trained, the estimator holds the best
            model so far; otherwise it is as before the call.
        """
        rng = private_random_state(self.random_state)
        with reproducible_streams(X, rng):
            data = validate_training(self, X)
            if X_clean is not None:
                data = validate_pairs(self, data, X_clean, X_val)
            elif y is not None:
                warn_of_pairs(X, y, data.shape)
            valid = None if X_val is None else validate_held_out(self, X_val, data)
            spec = self._model_spec(is_paired=X_clean is not None)
            previous = self._previous() if self.warm_start and self.__sklearn_is_fitted__() else None
            names = getattr(self, "feature_names_in_", None)
            spec = check_spec(spec, data, self.n_components, names=names, previous=previous)
            if valid is not None:
                check_values(spec.loss, valid, "X_val")
            self._take_over(self._fitted(data, valid, spec, rng, previous))
        return self

    def _fitted(self, data: Any, X_val: Any, spec: ModelSpec, rng: Any, previous: Previous | None) -> Fitted:
        """Return everything that is learned from validated data."""
        return fit(data, X_val, spec, self._training_config(), rng, previous)

    def set_params(self, **params: Any) -> Self:
        """Set parameters of this estimator, and of options given as objects.

        Parameters
        ----------
        **params : dict
            Parameters; ``corruption__scale`` is the parameter ``scale`` of ``corruption``.

        Returns
        -------
        self : object
            The estimator.
        """
        check_nested(self, params, {name: slot.registry for name, slot in (_NETWORK | self._slots).items()})
        return super().set_params(**params)

    def _validate_params(self) -> None:
        try:
            super()._validate_params()
        except ValueError as error:
            hint = suggestion(self.activation, ACTIVATIONS) if "'activation' parameter" in str(error) else ""
            raise type(error)(f"{error}{hint}") from None

    def _model_spec(self, **more: Any) -> ModelSpec:
        """Resolve the slots; subclasses add other values of their models."""
        slots = {
            slot.field or name: resolve(
                getattr(self, name),
                slot.registry,
                name,
                slot.base,
                optional=slot.optional,
                wrapper=slot.wrapper,
            )
            for name, slot in (_NETWORK | self._slots).items()
        }
        return ModelSpec(
            hidden_layer_sizes=_as_sizes(self.hidden_layer_sizes),
            activation=self.activation,
            tied_weights=self.tied_weights,
            init=self.init,
            masks_missing=self.missing == "mask",
            **slots,
            **more,
        )

    def _training_config(self, *, in_chunks: bool = False) -> TrainingConfig:
        resolved = ("device", "schedule")
        names = [field.name for field in fields(TrainingConfig) if field.name not in resolved]
        params = {name: getattr(self, name) for name in names}
        if self.callbacks:
            check_callbacks(self.callbacks, in_chunks=in_chunks)
        ranks = RANKS.get()
        if ranks is not None and not ranks.is_first:
            params["verbose"] = 0
        return TrainingConfig(device=selected_device(self.device), schedule=self._schedule, **params)

    def _previous(self) -> Previous:
        """Return the fitted model that the next fit continues."""
        return Previous(
            net=self.net_,
            module=self.module_,
            pca=self.pca_,
            n_components=self.n_components_,
            statistics=self._statistics,
            spec=self._spec,
        )

    def _has_partial_fit(self) -> bool:
        """Return True, or raise an AttributeError that says why there is no ``partial_fit``."""
        return True

    @available_if(lambda self: self._has_partial_fit())
    @_fit_context(prefer_skip_nested_validation=True)
    @unchanged_on_error
    def partial_fit(self, X: Any, y: Any = None) -> Self:
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
        if _may_have_ranks():
            from sklearn_ae._estimators.data_parallel import refuse_chunks

            refuse_chunks()
        first = not self.__sklearn_is_fitted__()
        data = ArraySamples(validate_samples(self, X, reset=first, allow_nan=False))
        k = self.n_components if first else self.n_components_
        if k in (0, "mle"):
            raise ValueError(
                f"n_components={k!r} is not defined for chunks; pass a positive integer, or call fit."
            )
        names = getattr(self, "feature_names_in_", None)
        previous = None if first else self._previous()
        spec = check_spec(self._model_spec(), data, k, names=names, previous=previous, is_fitted=not first)
        if isinstance(spec.n_components, float):
            raise ValueError(
                f"n_components={k} is a share of the variance of all samples, which the first chunk does not "
                "know; pass an integer."
            )
        seed = int(private_random_state(self.random_state).randint(MAX_SEED))
        if previous is not None:
            fields = {name: slot.field or name for name, slot in (_NETWORK | self._slots).items()}
            check_unchanged(previous, spec, fields, self.n_components)
        self._take_over(fit_chunk(data, spec, self._training_config(in_chunks=True), seed, previous))
        return self

    def _take_over(self, fitted: Fitted) -> None:
        """Copy everything that a finished fit has learned."""
        for name, slot in (_NETWORK | self._slots).items():
            setattr(self, f"{name}_", getattr(fitted.spec, slot.field or name))
        self.pca_ = fitted.pca
        self.net_ = fitted.net
        self.module_ = fitted.module
        self.uses_network_ = fitted.uses_network
        self.mean_ = fitted.module.offset.numpy().copy()
        self.scale_ = fitted.module.scale
        self.n_samples_ = fitted.n_samples
        self.n_components_ = fitted.module.n_kept
        self.n_iter_ = fitted.n_iter
        self.best_iter_ = fitted.best_iter
        self.pca_loss_ = fitted.pca_loss
        self._spec = fitted.spec
        self._is_pca = fitted.is_pca
        self._statistics = fitted.statistics

    @property
    def net_(self) -> AutoencoderNet:
        """skorch net that was trained; that of a loaded model is built on first use."""
        check_is_fitted(self)
        net = vars(self)["net_"]
        if isinstance(net, StoredNet):
            self.net_ = net = net.built()
        return net

    @net_.setter
    def net_(self, net: AutoencoderNet | StoredNet) -> None:
        self.__dict__["net_"] = net

    @property
    def loss_curve_(self) -> list[float]:
        """Training loss of each epoch."""
        check_is_fitted(self)
        return self.net_.losses("train_loss")

    @property
    def validation_loss_curve_(self) -> list[float]:
        """Validation loss of each epoch."""
        check_is_fitted(self)
        return self.net_.losses("valid_loss")

    @property
    def fitted_prior_(self) -> FittedPrior | None:
        """Prior that was fitted to the codes after training, or None if it is N(0, I)."""
        check_is_fitted(self)
        prior = self.module_.prior
        return getattr(prior, "whitened", prior)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_")

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if not self.__sklearn_is_fitted__():
            return state
        parts = {"module_": to_tree(self.module_), "net_": net_to_state(self.net_, self.module_)}
        return parts | state | parts  # first, as they may refuse to be stored

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self.__sklearn_is_fitted__():
            self.module_: Any = from_tree(state["module_"])
            self.net_ = StoredNet(state["net_"], self.module_)

    def __copy__(self) -> Self:
        """Return a shallow copy; ``partial_fit`` of either model does not train the other."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        if self.__sklearn_is_fitted__():
            self.net_.is_shared = True
        return twin

    # -- transform ------------------------------------------------------------------

    @follows_input(on_tensors=True)
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

    def _transform(self, X: Any) -> Any:
        module = inference_module(self.module_, self.device, X.dtype)
        with inference(module, X.shape[0]):
            parts = (self._to_user(as_returned(module.encode(x), X)) for x in working_blocks(module, X))
            return joined(parts, X)

    def _to_user(self, codes: Any) -> Any:
        """Convert codes of the module to those that ``transform`` returns."""
        return codes

    def _from_user(self, Z: Any) -> Any:
        """Invert :meth:`_to_user`."""
        return Z

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

    # -- helpers ------------------------------------------------------------------

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    @property
    def _dtype(self) -> np.dtype:
        """Precision that the model was fitted in."""
        return self.module_.offset.numpy().dtype

    def _has_loss_with(self, flag: str) -> bool:
        """Return a flag of the loss or likelihood, False for one that is invalid."""
        name, slot = next((n, s) for n, s in self._slots.items() if (s.field or n) == "loss")
        loss = getattr(self, name)
        if isinstance(loss, str) and loss in slot.registry:
            loss = slot.registry[loss]()
        return getattr(loss, flag, False) is True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self.missing == "mask"
        tags.input_tags.positive_only = self._has_loss_with("positive_only")
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _as_sizes(value: Any) -> tuple[int, ...]:
    """Return ``hidden_layer_sizes``, a sequence or a single integer, as a tuple."""
    sizes = np.ravel(value).tolist()
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise InvalidParameterError(
            f"hidden_layer_sizes must hold positive integers, or be () for a linear model; got {value!r}."
        )
    return tuple(sizes)
