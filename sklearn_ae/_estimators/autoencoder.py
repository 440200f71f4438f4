"""Deterministic autoencoders: one estimator, configured by its options."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from scipy.linalg import solve_triangular
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from sklearn_ae._density.autoencoder import (
    AutoencoderPosterior,
    latent_model,
    noise_variance,
    score_samples,
)
from sklearn_ae._density.imputation import Conditional
from sklearn_ae._density.laplace import N_STARTS
from sklearn_ae._density.latent_prior import LatentModel
from sklearn_ae._estimators.base import BaseAutoencoder
from sklearn_ae._estimators.validation import PARAMETER_CONSTRAINTS
from sklearn_ae._model.features import FeaturewiseAutoencoder
from sklearn_ae._model.pca import truncated_pca
from sklearn_ae._options import Slot, wrapping
from sklearn_ae._utils.compat import InvalidParameterError
from sklearn_ae._utils.namespaces import returned_as
from sklearn_ae.bottlenecks import BOTTLENECKS, Bottleneck
from sklearn_ae.corruptions import CORRUPTIONS, CallableNoise, Corruption
from sklearn_ae.losses import LOSSES, CallableLoss, Loss
from sklearn_ae.networks import Network
from sklearn_ae.penalties import PENALTIES, CallablePenalty, Penalty
from sklearn_ae.priors import PRIORS, Prior


class AutoencoderTransformer(BaseAutoencoder):
    """Nonlinear drop-in replacement for PCA that falls back to PCA unless validation shows a gain.

    ::

        x -> corruption -> encoder -> bottleneck -> decoder -> loss  (+ penalty)

    The encoder is ``z = P x + f(x)`` and the decoder ``x^ = Q z + g(z)``. P and Q are
    initialised with the principal axes and the networks f and g start at zero, so
    that training starts at PCA. Early stopping keeps the best epoch on validation
    samples, with epoch 0 (PCA) as a candidate. The networks are used only if they
    improve significantly on PCA (``uses_network_``). With too few samples to decide,
    the model is PCA. ``summary`` says which and why.

    Parameters
    ----------
    n_components : int, float, "mle" or None, default=2
        Number of components of the latent code. As for PCA, 0 is the mean with its
        density, None means ``min(n_samples, n_features)``, and a float in (0, 1)
        selects the smallest number that explains this fraction of the variance (for
        ``bottleneck="ordered"`` or linear models). "mle" estimates the number (for
        linear models with squared error). Overcomplete codes require a
        penalty, a corruption or a sparse bottleneck.
    hidden_layer_sizes : array-like of int, default=(256, 128)
        Hidden layer sizes of the encoder; the decoder mirrors them. ``()`` gives a
        linear autoencoder, which is equivalent to PCA.
    activation : {"gelu", "relu", "elu", "silu", "tanh", "logistic", "softplus", \
            "identity"}, default="gelu"
        Activation function of the hidden layers.
    network : {"dense", "conv"}, Network, or pair of torch.nn.Module, default="dense"
        Architecture of f and g. ``Conv(image_shape=(1, 28, 28))`` reshapes samples to
        images; a pair ``(encoder, decoder)`` of modules is used as given.
    init : {"pca", "random"}, default="pca"
        Initialisation. "random" gives the textbook autoencoder, without the linear
        path and without fallback to PCA.
    bottleneck : {"identity", "ordered", "topk", "relu"} or Bottleneck, default="identity"
        Transformation from the encoder output to the latent code.
    corruption : {"gaussian", "masking", "salt_and_pepper", "rayleigh"}, Corruption, \
            callable or None, default=None
        Noise added to the input during training; the target is the clean sample.
    loss : {"squared_error", "absolute_error", "huber", "binary_cross_entropy", "poisson"} \
            or Loss, default="squared_error"
        Reconstruction loss of a sample, summed over the features. ``ByFeature({...})`` is for
        tables of numbers, categories and counts.
    penalty : {"l1", "kl_sparsity", "contractive"}, Penalty or None, default=None
        Regularisation added to the loss. Penalties can be summed:
        ``Contractive(0.1) + L1(0.01)``.
    prior : {"normal", "mixture", "flow"} or Prior, default="normal"
        Prior of the latent code in ``score_samples``; it does not affect training and
        codes. "mixture" fits a Gaussian mixture to the codes of the training samples
        after training, and "flow" a normalising flow (``pip install
        "sklearn-ae[flow]"``), which gives higher densities if the codes are far from
        normal. Both are used only if they are better on validation samples.
    alpha : float, default=0.01
        Decoupled weight decay on the weights of f and g.
    tied_weights : bool, default=False
        If True, the decoder uses the transposed weights of the encoder.
    whiten : bool, default=False
        If True, codes are uncorrelated on the training samples, with zero mean and
        unit variance (by the Cholesky factor of their covariance).
    batch_size : int or "auto", default="auto"
        Size of minibatches. "auto" is 64 for up to 1,000 training samples, 128 for up
        to 20,000, and 256 beyond.
    learning_rate_init : float, default=0.007
        Peak learning rate of AdamW, reached after a warm-up and followed by a cosine
        decay.
    max_iter : int or "auto", default="auto"
        Maximum number of epochs. "auto" plans for 1,800 optimizer steps (2,400 for
        more than 20,000 samples of at most 100 features), but no more than 100 epochs
        with ``init="pca"``.
    early_stopping : bool, default=True
        If True, hold out validation samples, restore the best epoch, and fall back to
        PCA without a significant gain; with at most 1,000 samples, an accepted model
        is retrained on all of them for the same number of epochs. With 50 to 1,000
        samples, of which one validation set is too small or shows no gain, five folds are
        held out in turn, so that all samples decide. If False, train on all samples for
        ``max_iter`` epochs and keep the last one.
    validation_fraction : float, default=0.1
        Fraction of the samples to hold out for validation, unless ``X_val`` is passed
        to ``fit``.
    n_iter_no_change : int, default=15
        Maximum number of epochs without an improvement of at least ``tol``.
    tol : float, default=1e-4
        Minimum improvement of the validation objective, relative to the best one.
    warm_start : bool, default=False
        If True, continue from the previous fit, with its initial PCA and scale.
    random_state : int, RandomState instance or None, default=None
        Controls the validation split, the initial weights, the order of the
        minibatches and the noise. None uses fresh entropy; NumPy's global generator
        is never used.
    device : str or torch.device, default="cpu"
        Device of training, ``transform``, ``inverse_transform`` and
        ``reconstruction_error``, unless X is a tensor that they follow (scikit-learn's
        ``array_api_dispatch``); "auto" selects cuda, mps or cpu. Data that fit in
        memory are copied to the device once for training, and on cuda training steps
        are captured as CUDA graphs unless they run user code. Densities are computed
        on the CPU, as is everything where a stored model finds no such device.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the training steps. "auto" uses bfloat16 if the hardware supports
        it and the layers are wide enough to benefit. Weights are kept in float32.
    missing : {"error", "mask"}, default="error"
        Treatment of missing values, which are NaN. "error" refuses them. "mask" leaves them
        out of the objective and of ``score_samples``: the initial PCA maximises the
        likelihood of the observed values, the encoder gets their conditional means, and
        more values are hidden from it in training. X must then be in memory.
    callbacks : list of skorch.callbacks.Callback or None, default=None
        Callbacks of the training, such as skorch's for checkpoints, logs, early stopping
        and learning rates (an ``LRScheduler`` replaces the built-in schedule). Those that
        score predictions of a target are refused.
    verbose : int, default=0
        If 1, show a progress bar with the losses, that of PCA and the remaining time on
        stderr, and print whether the networks are in use and why, as ``summary`` does.

    Attributes
    ----------
    uses_network_ : bool
        True if f and g are used; False if the model fell back to PCA, because
        validation showed no gain or there were too few samples.
    n_components_ : int
        Number of components of the latent code.
    n_samples_ : int
        Number of training samples, including those held out for validation.
    mean_ : ndarray of shape (n_features,)
        Feature means of the samples that the initial PCA was fitted to.
    scale_ : float or ndarray of shape (n_features,)
        Scalar by which X is divided: the square root of the mean feature variance. One for each
        feature with ``ByFeature``, of whose scaled features ``pca_`` is the PCA.
    noise_variance_ : float or ndarray of shape (n_features,)
        Variance of X given the code, averaged over the features, in squared units of
        X; estimated from validation samples if there are any. One for each feature with
        ``ByFeature``, NaN for those that are not "gaussian".
    components_, explained_variance_, explained_variance_ratio_, singular_values_ : ndarray
        As for PCA. Available for linear models (``uses_network_`` is False, or there
        are no hidden layers); the ratio also for ordered codes.
    pca_ : PCA
        The initial PCA.
    loss_curve_, validation_loss_curve_ : list of float
        Objective at each epoch, averaged over samples and features of the scaled X:
        for squared error, the fraction of unexplained variance. Means over the folds where
        folds decided.
    pca_loss_ : float or None
        Objective of the initial PCA on the validation samples, comparable to
        ``validation_loss_curve_``. None without validation samples or with
        ``init="random"``.
    n_iter_ : int
        Number of epochs run; 1 if no training was needed.
    best_iter_ : int
        Epoch of the weights that were kept; 0 is PCA.
    net_ : skorch.NeuralNet
        The trained skorch net.
    module_ : torch.nn.Module
        Encoder, bottleneck and decoder used for inference, applied to the centred and
        scaled X.
    network_, bottleneck_, corruption_, loss_, penalty_, prior_ : Option or None
        The resolved options.
    fitted_prior_ : FittedPrior or None
        Prior that was fitted to the whitened codes; None if it is N(0, I), which is kept
        unless validation shows a gain.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during fit. Defined only if X has feature names that
        are all strings.

    See Also
    --------
    VAETransformer : Variational autoencoder, a generative model.
    AutoencoderTransformerCV : Selects ``n_components`` by cross-validation.
    sklearn.decomposition.PCA : The initial model and the fallback.

    Notes
    -----
    X is centred and divided by one scalar, not by one scale per feature. This
    preserves PCA's objective, makes training invariant to the units of X, and avoids
    amplifying features that were constant in training. Standardise the features
    where you would do so for PCA.

    References
    ----------
    .. [1] G. Hinton, R. Salakhutdinov (2006), Reducing the dimensionality of data
       with neural networks, Science 313.
    .. [2] I. Goodfellow, Y. Bengio, A. Courville (2016), Deep learning, chapter 14.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae import AutoencoderTransformer
    >>> X = load_digits().data
    >>> pca = PCA(n_components=8).fit(X[:1400])
    >>> ae = AutoencoderTransformer(n_components=8, random_state=0).fit(X[:1400])
    >>> ae.transform(X[1400:]).shape
    (397, 8)
    >>> pca_error = ((X[1400:] - pca.inverse_transform(pca.transform(X[1400:]))) ** 2).sum(axis=1)
    >>> bool(ae.reconstruction_error(X[1400:]).mean() < 0.6 * pca_error.mean())
    True
    >>> bool(ae.score(X[1400:]) > pca.score(X[1400:]))
    True
    """

    _slots = {
        "bottleneck": Slot(BOTTLENECKS, Bottleneck),
        "corruption": Slot(CORRUPTIONS, Corruption, optional=True, wrapper=wrapping(CallableNoise)),
        "loss": Slot(LOSSES, Loss, wrapper=wrapping(CallableLoss)),
        "penalty": Slot(PENALTIES, Penalty, optional=True, wrapper=wrapping(CallablePenalty)),
        "prior": Slot(PRIORS, Prior),
    }

    _parameter_constraints = {
        **PARAMETER_CONSTRAINTS,
        "whiten": ["boolean"],
        **dict.fromkeys(_slots, "no_validation"),
    }

    bottleneck_: Bottleneck

    def __init__(
        self,
        n_components: int | float | str | None = 2,
        *,
        hidden_layer_sizes: int | Sequence[int] = (256, 128),
        activation: str = "gelu",
        network: str | Network | tuple[nn.Module, nn.Module] = "dense",
        init: str = "pca",
        bottleneck: str | Bottleneck = "identity",
        corruption: str | Corruption | Callable[..., Any] | None = None,
        loss: str | Loss = "squared_error",
        penalty: str | Penalty | None = None,
        prior: str | Prior = "normal",
        alpha: float = 0.01,
        tied_weights: bool = False,
        whiten: bool = False,
        batch_size: int | str = "auto",
        learning_rate_init: float = 0.007,
        max_iter: int | str = "auto",
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: float = 15,
        tol: float = 1e-4,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        device: str | torch.device = "cpu",
        precision: str = "auto",
        missing: str = "error",
        callbacks: Sequence[Any] | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.network = network
        self.init = init
        self.bottleneck = bottleneck
        self.corruption = corruption
        self.loss = loss
        self.penalty = penalty
        self.prior = prior
        self.alpha = alpha
        self.tied_weights = tied_weights
        self.whiten = whiten
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.precision = precision
        self.missing = missing
        self.callbacks = callbacks
        self.verbose = verbose

    def _to_user(self, codes: Any) -> Any:
        if not (self.whiten and codes.shape[1]):
            return codes * self._code_unit
        mean, L = self._whitening(codes)
        if isinstance(codes, Tensor):
            return torch.linalg.solve_triangular(L, (codes - mean).T, upper=False).T.to(codes.dtype)
        whitened = solve_triangular(L, (codes - mean).T, lower=True, check_finite=False).T
        return whitened.astype(codes.dtype)

    def _from_user(self, Z: Any) -> Any:
        if not self.whiten:
            return Z / self._code_unit
        mean, L = self._whitening(Z)
        if isinstance(Z, Tensor):
            return (Z.to(L.dtype) @ L.T + mean).to(Z.dtype)
        return (Z @ L.T + mean).astype(Z.dtype)

    @property
    def _code_unit(self) -> float:
        """Unit of the codes: that of X, unless its features have different ones."""
        return float(self.scale_) if np.ndim(self.scale_) == 0 else 1.0

    def _whitening(self, like: Any = None) -> Any:
        """Return mean and factor of the whitening as arrays, or as tensors if ``like`` is one."""
        whitening = self._statistics.moments.whitening(self._dtype)
        return returned_as(like, whitening) if isinstance(like, Tensor) else whitening

    @torch.inference_mode(False)
    def _score_samples(self, X: Any, n_draws: int, n_starts: int = N_STARTS) -> tuple[np.ndarray, np.ndarray]:
        self.module_.loss.check(X)
        return score_samples(self.module_, self._statistics, self._pca_or_none(), X, n_draws, n_starts)

    def _posterior(self) -> Conditional:
        """Return the distribution of X given the codes, for draws."""
        posterior = AutoencoderPosterior.of(self.module_, self._statistics, self._pca_or_none())
        return Conditional(posterior.decoded, posterior.latent)

    # -- attributes shared with PCA -----------------------------------------------------
    # If the model is exactly PCA, because it fell back to it or needed no training, they are those
    # of pca_. Other linear models have the attributes that follow from their decoder.

    def _pca_or_none(self) -> Any:
        return self.pca_ if self._is_pca else None

    @property
    def noise_variance_(self) -> Any:
        """Variance of X given the code, averaged over the features, in squared units of X."""
        check_is_fitted(self)
        if isinstance(self.module_, FeaturewiseAutoencoder):
            return self.module_.noise_variances()
        if self._is_pca:
            return self.pca_.noise_variance_
        return self._statistics.noise * self.scale_**2

    def _directions(self) -> np.ndarray:
        return self.pca_.components_ if self._is_pca else self._loadings()

    def _signal(self) -> np.ndarray:
        return self.scale_ * self._matrix(self._latent())

    def _latent(self) -> LatentModel:
        """Return the distribution of the codes, in working units."""
        module, pca = copy.deepcopy(self.module_).double(), self._pca_or_none()
        noise = noise_variance(self._statistics, pca, self.scale_)
        return latent_model(module, self._statistics, noise, pca)

    def _require_pca(self, name: str) -> None:
        reason = "this model is not PCA; use explained_variance_ratio_ of ordered codes instead"
        self._require(self._is_pca, name, reason)

    @property
    def explained_variance_(self) -> np.ndarray:
        """Variance of each component, in squared units of X; only if the model is PCA."""
        check_is_fitted(self)
        self._require_pca("explained_variance_")
        return self.pca_.explained_variance_

    @property
    def singular_values_(self) -> np.ndarray:
        """Singular values of the centred training samples; only if the model is PCA."""
        check_is_fitted(self)
        self._require_pca("singular_values_")
        return self.pca_.singular_values_

    @property
    def explained_variance_ratio_(self) -> np.ndarray:
        """Fraction of the total variance that each component adds, of shape (n_components_,).

        Computed on the validation samples if there are any, otherwise on the training
        samples; the sum is 1 - SSE / SST.
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

    def truncate(self, k: int) -> Self:
        """Return a fitted estimator with the first k components, without further training.

        Parameters
        ----------
        k : int
            Number of components to keep, between 1 and ``n_components_``.

        Returns
        -------
        estimator : object
            Estimator whose codes are the first k components of this one's codes.

        Raises
        ------
        AttributeError
            If the codes are not ordered.
        """
        check_is_fitted(self)
        ordered = self._is_pca or self.bottleneck_.ordered
        self._require(ordered, "truncate", "the codes have no order; set bottleneck='ordered'")
        if not isinstance(k, Integral) or not 1 <= int(k) <= self.n_components_:
            raise InvalidParameterError(
                f"k must be an integer between 1 and n_components_={self.n_components_}; got {k!r}."
            )
        twin = copy.copy(self)
        twin.n_components = twin.n_components_ = int(k)
        twin.module_ = self.module_.truncated(int(k))
        twin._statistics = self._statistics.truncated(int(k))
        if int(k) < self.n_components_:
            twin._outcome = self._outcome.truncated()
        if self._is_pca:
            twin.pca_ = truncated_pca(self.pca_, int(k), self.n_samples_)
        return twin
