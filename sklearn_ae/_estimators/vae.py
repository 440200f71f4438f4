"""Variational autoencoders: transformers that are generative models."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Generator, Tensor, nn

from sklearn_ae._data.in_memory import ArraySamples
from sklearn_ae._density.imputation import Conditional
from sklearn_ae._density.vae import FittedVAE
from sklearn_ae._estimators.base import BaseAutoencoder
from sklearn_ae._estimators.inference import follows_input
from sklearn_ae._estimators.lazy import lazy_for_dask
from sklearn_ae._estimators.validation import N_DRAWS, PARAMETER_CONSTRAINTS, validate_large
from sklearn_ae._fitting.densities import fit_density
from sklearn_ae._fitting.pipeline import Fitted, Previous
from sklearn_ae._model.features import FeaturewiseAutoencoder
from sklearn_ae._model.initialization import ModelSpec
from sklearn_ae._model.pca import total_variance
from sklearn_ae._model.whitening import Whitening
from sklearn_ae._options import Slot, wrapping
from sklearn_ae._training.optimization import LONG
from sklearn_ae._utils.arrays import sample_blocks, stacked
from sklearn_ae._utils.compat import Interval
from sklearn_ae._utils.parameters import check_positive
from sklearn_ae._utils.runtime import MAX_SEED, private_random_state
from sklearn_ae._utils.warnings import warn_user
from sklearn_ae.bottlenecks import GaussianSampling
from sklearn_ae.corruptions import CORRUPTIONS, CallableNoise, Corruption
from sklearn_ae.divergences import DIVERGENCES, KL, CallableDivergence, Divergence
from sklearn_ae.likelihoods import LIKELIHOODS, ByFeature, Likelihood, NegativeBinomial
from sklearn_ae.networks import Network
from sklearn_ae.priors import PRIORS, Prior

# Components are active if the variance of their posterior mean exceeds this threshold.
_ACTIVE = 0.01


@lazy_for_dask("posterior", "kl_divergence", "elbo")
class VAETransformer(BaseAutoencoder):
    """Variational autoencoder with probabilistic PCA as starting point and fallback.

    ::

        z ~ N(0, I),    x | z ~ likelihood(decoder(z)),    q(z | x) = N(mu(x), sigma(x)^2)

    Training maximises the ELBO, a lower bound of the log-likelihood in nats. It starts
    at probabilistic PCA, which is the VAE with a linear decoder and one noise
    variance: its posterior is exact, so that the bound equals the log-likelihood.
    Early stopping keeps the best epoch on validation samples, with epoch 0
    (probabilistic PCA) as a candidate. The networks are used only if they improve
    significantly on it (``uses_network_``). ``summary`` says whether, and why.

    Parameters
    ----------
    n_components : int or None, default=2
        Number of components of the latent code; 0 is the mean with its density. None means
        ``min(n_samples, n_features)``; larger values are allowed, because the
        divergence regularises the code.
    beta : float, default=1.0
        Weight of the divergence during training. 1 gives the ELBO. Larger values
        compress the codes, smaller ones improve reconstructions at the expense of the
        density.
    likelihood : {"auto", "gaussian", "bernoulli", "poisson", "negative_binomial"} or Likelihood, \
            default="gaussian"
        Distribution of a sample given its code. ``Gaussian(noise="per_column")``
        learns one noise variance per feature, "shared" one for all features, and
        "decoder" one for each feature of each sample. With one per feature, factor
        analysis replaces probabilistic PCA as starting point and fallback; with a full
        covariance (``noise="full"``) a normal distribution with shrunk covariance does.
        "auto" gives the best densities of tables: the average of a VAE and of mixtures
        of normal distributions, weighted by held-out samples. Bernoulli requires X
        in [0, 1], Poisson and the negative binomial distribution require counts.
        ``ByFeature({...})`` is for tables of numbers, categories and counts.
    divergence : {"kl", "beta_tc", "mmd"} or Divergence, default="kl"
        Divergence between the codes and the prior. ``BetaTC(beta=6)`` encourages
        disentangled codes; ``MMD()`` retains more information in them.
    prior : {"normal", "mixture", "flow"} or Prior, default="normal"
        Prior used by ``sample``, ``score_samples`` and ``elbo``; training always uses
        N(0, I). "mixture" fits a Gaussian mixture to the codes of the training
        samples after training, which improves samples and densities if the codes are
        clustered. "flow" fits a normalising flow (``pip install "sklearn-ae[flow]"``).
        Both are used only if they are better on validation samples.
    n_importance_samples : int, default=1
        Number of importance samples per sample of X in the importance-weighted bound
        (IWAE). More of them make the bound tighter, and each requires a pass through
        the decoder.
    kl_warmup : float, default=0.1
        Fraction of the training during which the weight of the divergence increases
        from 0 to ``beta``. The warm-up prevents posterior collapse early in training.
    hidden_layer_sizes : array-like of int, default=(256, 128)
        Hidden layer sizes of the encoder; the decoder mirrors them. ``()`` gives a
        linear VAE, which is equivalent to probabilistic PCA, to factor analysis
        with ``Gaussian(noise="per_column")``, or to a normal distribution with
        ``Gaussian(noise="full")``.
    activation : {"gelu", "relu", "elu", "silu", "tanh", "logistic", "softplus", \
            "identity"}, default="gelu"
        Activation function of the hidden layers.
    network : {"dense", "conv"}, Network, or pair of torch.nn.Module, default="dense"
        Architecture of the networks. ``Conv(image_shape=(1, 28, 28))`` reshapes
        samples to images. A pair ``(encoder, decoder)`` of modules is used as given;
        the encoder must return ``2 * n_components`` values, the means followed by the
        log-variances.
    init : {"pca", "random"}, default="pca"
        Initialisation. "random" gives the textbook autoencoder, without the linear
        path and without fallback to PCA.
    corruption : {"gaussian", "masking", "salt_and_pepper", "rayleigh"}, Corruption, \
            callable or None, default=None
        Noise added to the input of the encoder during training (denoising VAE).
    alpha : float, default=0.01
        Decoupled weight decay on the weights of the networks.
    tied_weights : bool, default=False
        If True, the decoder uses the transposed weights of the encoder.
    batch_size : int or "auto", default="auto"
        Size of minibatches. "auto" is 64 for up to 1,000 training samples, 128 for up
        to 20,000, and 256 beyond.
    learning_rate_init : float, default=0.003
        Peak learning rate of AdamW, reached after a warm-up and followed by a cosine
        decay.
    max_iter : int or "auto", default="auto"
        Maximum number of epochs. "auto" plans for 4,000 optimizer steps, but no more
        than 150 epochs with ``init="pca"``.
    early_stopping : bool, default=True
        If True, hold out validation samples, restore the best epoch, and fall back to
        PCA without a significant gain; with at most 1,000 samples, an accepted model
        is retrained on all of them for the same number of epochs. If False, train on
        all samples for ``max_iter`` epochs and keep the last one.
    validation_fraction : float, default=0.1
        Fraction of the samples to hold out for validation, unless ``X_val`` is passed
        to ``fit``.
    n_iter_no_change : int, default=150
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
        True if the networks are used; False if the model fell back to probabilistic
        PCA, because validation showed no gain or there were too few samples.
    n_components_ : int
        Number of components of the latent code.
    n_active_units_ : int
        Number of components whose posterior mean has a variance above 0.01 on the
        training samples (the prior has variance 1).
    n_samples_ : int
        Number of training samples, including those held out for validation.
    mean_ : ndarray of shape (n_features,)
        Feature means of the samples that the initial PCA was fitted to.
    scale_ : float or ndarray of shape (n_features,)
        Scalar by which X is divided: the square root of the mean feature variance. One for each
        feature with ``ByFeature``, of whose scaled features ``pca_`` is the PCA.
    noise_variance_ : float or ndarray of shape (n_features,)
        Noise variance of a Gaussian likelihood, in squared units of X, calibrated on
        validation samples if there are any; the diagonal of ``noise_covariance_`` for
        ``Gaussian(noise="full")``. Not defined for other likelihoods and for
        ``Gaussian(noise="decoder")``; NaN for features that are not "gaussian" in ``ByFeature``.
    noise_covariance_ : ndarray of shape (n_features, n_features)
        Covariance of X given the code, diagonal unless ``Gaussian(noise="full")``.
    dispersion_ : ndarray of shape (n_features,)
        Dispersion a of each "negative_binomial" feature, whose counts have the variance
        m + a m^2 around a mean m given the code; NaN for other features of ``ByFeature``.
    density_weights_ : dict of str to float
        Weights of the densities that ``score_samples`` averages, with
        ``likelihood="auto"`` only.
    components_ : ndarray of shape (n_components_, n_features)
        Matrix of the linear decoder, as for ``FactorAnalysis``. Available for linear
        models.
    pca_ : PCA
        The initial PCA.
    loss_curve_, validation_loss_curve_ : list of float
        Negative ELBO at each epoch, in nats per sample, in the units of X. Means over the
        folds where folds decided.
    reconstruction_loss_curve_, validation_reconstruction_loss_curve_ : list of float
        Its first term at each epoch: the negative log-likelihood of X given draws of the
        code, in nats per sample, in the units of X.
    divergence_curve_, validation_divergence_curve_ : list of float
        Its second term at each epoch before the multiplication by ``beta``: the divergence
        of the codes from the prior, in nats per sample. The loss is
        ``reconstruction_loss + beta * divergence``; in training, the weight rises from 0
        during ``kl_warmup``. With ``n_importance_samples`` above 1, the loss is lower.
    pca_loss_ : float or None
        Objective of the initial PCA on the validation samples, comparable to
        ``validation_loss_curve_``. None without validation samples or with
        ``init="random"``.
    n_iter_ : int
        Number of epochs run; 1 if no training was needed.
    best_iter_ : int
        Epoch of the weights that were kept; 0 is probabilistic PCA.
    net_ : skorch.NeuralNet
        The trained skorch net.
    module_ : torch.nn.Module
        Encoder, bottleneck and decoder used for inference, applied to the centred and
        scaled X.
    network_, corruption_, likelihood_, divergence_, prior_ : Option or None
        The resolved options.
    fitted_prior_ : FittedPrior or None
        Prior that was fitted to the codes; None if it is N(0, I), which is kept unless
        validation shows a gain.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during fit. Defined only if X has feature names that
        are all strings.

    See Also
    --------
    AutoencoderTransformer : Deterministic autoencoder, with smaller reconstruction errors.
    sklearn.decomposition.FactorAnalysis : Linear model with one noise variance per feature.

    References
    ----------
    .. [1] D. Kingma, M. Welling (2014), Auto-encoding variational Bayes, ICLR.
    .. [2] D. Rezende, S. Mohamed, D. Wierstra (2014), Stochastic backpropagation and
       approximate inference in deep generative models, ICML.
    .. [3] Y. Burda, R. Grosse, R. Salakhutdinov (2016), Importance weighted
       autoencoders, ICLR.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae import VAETransformer
    >>> X = load_digits().data
    >>> pca = PCA(n_components=8).fit(X[:1400])
    >>> vae = VAETransformer(n_components=8, max_iter=50, random_state=0)
    >>> vae = vae.fit(X[:1400])
    >>> mean, std = vae.posterior(X[1400:])
    >>> mean.shape, vae.n_active_units_
    ((397, 8), 8)
    >>> bool(vae.score(X[1400:]) > pca.score(X[1400:]))
    True
    >>> vae.sample(5, random_state=0).shape
    (5, 64)
    """

    likelihood_: Likelihood

    _schedule = LONG
    _slots = {
        "corruption": Slot(CORRUPTIONS, Corruption, optional=True, wrapper=wrapping(CallableNoise)),
        "likelihood": Slot(LIKELIHOODS, Likelihood, field="loss"),
        "divergence": Slot(DIVERGENCES, Divergence, wrapper=wrapping(CallableDivergence)),
        "prior": Slot(PRIORS, Prior),
    }

    _parameter_constraints = {
        **PARAMETER_CONSTRAINTS,
        "n_components": [Interval(Integral, 0, None, closed="left"), None],
        "beta": [Interval(Real, 0, None, closed="left")],
        "n_importance_samples": [Interval(Integral, 1, None, closed="left")],
        "kl_warmup": [Interval(Real, 0, 1, closed="both")],
        **dict.fromkeys(_slots, "no_validation"),
    }

    def __init__(
        self,
        n_components: int | None = 2,
        *,
        beta: float = 1.0,
        likelihood: str | Likelihood = "gaussian",
        divergence: str | Divergence = "kl",
        prior: str | Prior = "normal",
        n_importance_samples: int = 1,
        kl_warmup: float = 0.1,
        hidden_layer_sizes: int | Sequence[int] = (256, 128),
        activation: str = "gelu",
        network: str | Network | tuple[nn.Module, nn.Module] = "dense",
        init: str = "pca",
        corruption: str | Corruption | Callable[..., Any] | None = None,
        alpha: float = 0.01,
        tied_weights: bool = False,
        batch_size: int | str = "auto",
        learning_rate_init: float = 0.003,
        max_iter: int | str = "auto",
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: float = 150,
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
        self.beta = beta
        self.likelihood = likelihood
        self.divergence = divergence
        self.prior = prior
        self.n_importance_samples = n_importance_samples
        self.kl_warmup = kl_warmup
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.network = network
        self.init = init
        self.corruption = corruption
        self.alpha = alpha
        self.tied_weights = tied_weights
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

    @property
    def reconstruction_loss_curve_(self) -> list[float]:
        """Reconstruction term of the training loss of each epoch."""
        check_is_fitted(self)
        return self.net_.losses("train_reconstruction_loss")

    @property
    def validation_reconstruction_loss_curve_(self) -> list[float]:
        """Reconstruction term of the validation loss of each epoch."""
        check_is_fitted(self)
        return self.net_.losses("valid_reconstruction_loss")

    @property
    def divergence_curve_(self) -> list[float]:
        """Divergence of the training samples in each epoch, without its weight in the loss."""
        check_is_fitted(self)
        return self.net_.losses("train_divergence")

    @property
    def validation_divergence_curve_(self) -> list[float]:
        """Divergence of the validation samples in each epoch, without its weight in the loss."""
        check_is_fitted(self)
        return self.net_.losses("valid_divergence")

    def _model_spec(self, **more: Any) -> ModelSpec:
        spec = super()._model_spec(
            bottleneck=GaussianSampling(self.n_importance_samples),
            beta=float(self.beta),
            kl_warmup=float(self.kl_warmup),
            **more,
        )
        if self.n_importance_samples > 1 and type(spec.divergence) is not KL:
            raise ValueError(
                f"n_importance_samples={self.n_importance_samples} is defined for divergence='kl' only; "
                f"got {spec.divergence!r}. Set n_importance_samples=1."
            )
        if spec.loss.noise == "full" and spec.loss.discrete:
            raise ValueError(
                f"{spec.loss!r} has noise='full', which only likelihoods of real values can have."
            )
        return spec

    def _fitted(self, data: Any, X_val: Any, spec: ModelSpec, rng: Any, previous: Previous | None) -> Fitted:
        if not spec.loss.needs_all_samples:
            return super()._fitted(data, X_val, spec, rng, previous)
        if type(data) is not ArraySamples or issparse(data.X):
            raise ValueError(
                f"likelihood={self.likelihood!r} needs a dense X in memory, without X_clean; use "
                "Gaussian(noise='full') for sparse or out-of-core X."
            )
        return fit_density(data, X_val, spec, self._training_config(), rng, previous)

    def _take_over(self, fitted: Any) -> None:
        super()._take_over(fitted)
        self._stacked, self._weight = fitted.stacked, fitted.weight
        self._warn_inactive_units()

    @torch.inference_mode(False)
    def _score_samples(self, X: Any, n_draws: int) -> tuple[np.ndarray, np.ndarray]:
        self.module_.loss.check(X)
        if not self._weight:
            log_p = self._stacked_log_prob(X)
            return log_p, np.zeros_like(log_p)
        codes = self._statistics.moments.landmarks
        own, std = self._model.score_samples(X, codes, n_draws)
        if self._stacked is None:
            return own, std
        own = own + math.log(self._weight)
        log_p = np.logaddexp(own, self._stacked_log_prob(X) + math.log1p(-self._weight))
        return log_p, std * np.exp(own - log_p)

    def _posterior(self) -> Conditional:
        """Return the distribution of X given the codes, for draws."""
        return self._model.conditional(self._statistics.moments.landmarks)

    def _stacked_log_prob(self, X: Any) -> np.ndarray:
        return stacked((self._stacked.log_prob(x) for x in sample_blocks(X)), X.shape[0])

    @property
    def _model(self) -> FittedVAE:
        """The fitted module as a probability model of X."""
        return FittedVAE(self.module_)

    @follows_input()
    def posterior(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the approximate posterior q(z | x).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        mean : ndarray of shape (n_samples, n_components_)
            Posterior means, the codes that ``transform`` returns.
        std : ndarray of shape (n_samples, n_components_)
            Standard deviation of each component; the prior has 1.
        """
        check_is_fitted(self)
        X = validate_large(self, X)
        mean, std = self._model.moments(X)
        return mean.astype(X.dtype), std.astype(X.dtype)

    @follows_input()
    def kl_divergence(self, X: Any) -> np.ndarray:
        """Compute the KL divergence of each sample's posterior from N(0, I), in closed form.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        kl : ndarray of shape (n_samples,)
            KL divergence in nats, summed over the components.
        """
        check_is_fitted(self)
        return self._model.kl_divergence(validate_large(self, X))

    @follows_input()
    def elbo(self, X: Any, *, n_draws: int = N_DRAWS) -> np.ndarray:
        """Compute the evidence lower bound of each sample.

        The ELBO is the expected log p(x | z) minus the KL divergence. Up to Monte
        Carlo error, it is at most the log-likelihood, with equality if the
        approximate posterior is exact. It does not depend on ``beta`` and
        ``divergence``, which only affect training. With another prior than N(0, I) the
        divergence from it is estimated from the draws.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.
        n_draws : int, default=128
            Number of draws from the posterior; every sample uses the same random
            numbers.

        Returns
        -------
        elbo : ndarray of shape (n_samples,)
            ELBO in nats, in the units of X.
        """
        check_is_fitted(self)
        check_positive("n_draws", n_draws)
        X = validate_large(self, X)
        self.module_.loss.check(X)
        return self._model.elbo(X, int(n_draws))

    def sample(
        self,
        n_samples: int = 1,
        random_state: int | np.random.RandomState | None = None,
        *,
        noise: bool = True,
        return_codes: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Generate random samples from the model.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples to generate.
        random_state : int, RandomState instance or None, default=None
            Controls the draws; None uses fresh entropy.
        noise : bool, default=True
            If True, draw from p(x | z), so that samples follow the density of the
            model. If False, return the means of p(x | z), for example images without
            pixel noise, which only the autoencoder has if ``likelihood="auto"`` averages
            it with other densities.
        return_codes : bool, default=False
            If True, also return the codes drawn from the prior.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Generated samples, in the units of X.
        codes : ndarray of shape (n_samples, n_components_)
            Codes of the samples. Only returned if ``return_codes`` is True. For draws
            from a density without codes, they are drawn from the posterior.
        """
        check_is_fitted(self)
        check_positive("n_samples", n_samples)
        rng = private_random_state(random_state)
        model, n = self._model, int(n_samples)
        has_others = noise and self._stacked is not None
        n_others = n - rng.binomial(n, self._weight) if has_others else 0
        codes = model.draw_codes(n - n_others, rng)
        generator = Generator().manual_seed(int(rng.randint(MAX_SEED)))
        X = model.draw(codes, generator if noise else None)
        if n_others:
            others = self._stacked.draw(n_others, rng)
            mean, std = model.moments(others)
            own_codes = torch.from_numpy(mean + std * rng.standard_normal(mean.shape))
            order = rng.permutation(n)
            X, codes = np.concatenate([X, others])[order], torch.cat([codes, own_codes])[order]
        X = X.astype(self._dtype)
        return (X, codes.numpy()) if return_codes else X

    def _has_partial_fit(self) -> bool:
        self._require(
            not self._has_loss_with("needs_all_samples"),
            "partial_fit",
            f"likelihood={self.likelihood!r} needs all samples at once; use fit, or Gaussian(noise='full')",
        )
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = not self._has_loss_with("needs_all_samples")
        return tags

    # -- attributes ---------------------------------------------------------------------

    @property
    def noise_variance_(self) -> Any:
        """Noise variance in squared units of X: a float if shared, otherwise one per feature."""
        if isinstance(getattr(self, "module_", None), FeaturewiseAutoencoder):
            return self.module_.noise_variances()
        variance, whitening = self._noise("noise_variance_")
        if whitening is not None:
            return whitening.variances(variance).numpy() * self.scale_**2
        variances = variance.numpy() * self.scale_**2
        return float(variances[0]) if self.likelihood_.noise == "shared" else variances

    @property
    def noise_covariance_(self) -> np.ndarray:
        """Covariance of X given the code, of shape (n_features, n_features), in squared units of X."""
        variance, whitening = self._noise("noise_covariance_")
        variance = variance.expand(len(self.mean_))
        covariance = torch.diag(variance) if whitening is None else whitening.covariance(variance)
        return covariance.numpy() * self.scale_**2

    @property
    def dispersion_(self) -> np.ndarray:
        """Dispersion of each negative binomial feature, NaN for others, of shape (n_features,)."""
        check_is_fitted(self)
        likelihood = self.likelihood_
        counts = np.full(len(self.mean_), isinstance(likelihood, NegativeBinomial))
        if isinstance(likelihood, ByFeature):
            counts = likelihood.parts_.are("negative_binomial")
        self._require(
            bool(counts.any()), "dispersion_", f"{likelihood!r} has no 'negative_binomial' features"
        )
        log_dispersion = self.module_.noise.common.double().clamp(min=NegativeBinomial.least)
        return np.where(counts, log_dispersion.exp().numpy(), np.nan)

    def _noise(self, name: str) -> tuple[Tensor, Whitening | None]:
        """Return the noise variances in working units, whitened if a map is returned as well."""
        check_is_fitted(self)
        noise, whitening = self.module_.noise, self.module_.whitening
        self._require(self.module_.scores is None, name, "the noise is that of normal scores")
        is_variance = noise is not None and not self.likelihood_.discrete
        self._require(is_variance, name, f"{self.likelihood_!r} has no noise variance")
        self._require(
            noise.network is None,
            name,
            "the decoder predicts one per sample, which score_samples and sample use",
        )
        return noise.common.double().exp(), copy.deepcopy(whitening).double() if whitening else None

    @property
    def density_weights_(self) -> dict[str, float]:
        """Weights of the densities whose average ``score_samples`` returns, with ``likelihood="auto"``."""
        check_is_fitted(self)
        self._require(self._stacked is not None, "density_weights_", "likelihood is not 'auto'")
        weights = {"autoencoder": self._weight}
        for candidate, weight in zip(self._stacked.candidates, self._stacked.weights, strict=True):
            name = str(candidate)
            weights[name] = weights.get(name, 0.0) + (1.0 - self._weight) * float(weight)
        return weights

    @property
    def n_active_units_(self) -> int:
        """Number of components whose posterior mean varies between samples."""
        check_is_fitted(self)
        return int((self._code_variances() > _ACTIVE).sum())

    def _code_variances(self) -> np.ndarray:
        """Return the variance of each component's posterior mean over the training samples."""
        if self._is_pca:
            noise = max(float(self.pca_.noise_variance_), np.finfo(float).tiny)
            return 1.0 - noise / np.maximum(self.pca_.explained_variance_, noise)
        return np.square(self._statistics.moments.root).sum(axis=0)

    def _directions(self) -> np.ndarray:
        return self.scale_ * self._loadings()

    def _signal(self) -> np.ndarray:
        return self._directions()

    def _warn_inactive_units(self) -> None:
        """Warn if fewer components are active than PCA finds directions above the noise."""
        n_active, k = self.n_active_units_, self.n_components_
        n_structured = min(k, _n_structured(self.pca_, self.n_samples_))
        if self.uses_network_ and n_active < n_structured:
            warn_user(
                f"Only {n_active} of {k} components are active: the posterior of the others equals the "
                f"prior, although X has at least {n_structured} directions of variance above the noise. "
                f"Decrease beta={self.beta:g}, increase kl_warmup={self.kl_warmup:g}, use init='pca', or "
                f"set n_components={max(1, n_active)} if that is sufficient.",
                ConvergenceWarning,
            )


def _n_structured(pca: Any, n: int) -> int:
    """Return the number of principal components with more variance than noise alone would give.

    The largest sample variance of white noise with variance s^2 is about
    s^2 (1 + sqrt(d / n))^2 (V. Marchenko, L. Pastur 1967).
    """
    d, variances = pca.components_.shape[1], np.asarray(pca.explained_variance_)
    if len(variances) < min(n, d):
        noise = float(pca.noise_variance_)
    else:  # PCA has no residual, so the smaller half of the variances serves as the noise estimate
        noise = float(np.sort(variances)[: max(1, len(variances) // 2)].mean())
    noise = max(noise, 1e-10 * total_variance(pca) / d)
    return int((variances > 1.1 * noise * (1 + math.sqrt(d / n)) ** 2).sum())
