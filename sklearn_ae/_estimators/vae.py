"""Variational autoencoders: the transformer with a density, from which it can draw rows."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted
from torch import Generator

from sklearn_ae._density.vae import FittedVAE
from sklearn_ae._estimators.base import BaseAutoencoder
from sklearn_ae._estimators.pca_attributes import LinearAttributes
from sklearn_ae._estimators.validation import N_DRAWS, PARAMETER_CONSTRAINTS, validate_large
from sklearn_ae._model.initialization import ModelSpec
from sklearn_ae._model.pca import total_variance
from sklearn_ae._options import Slot, wrapping
from sklearn_ae._utils.compat import Interval
from sklearn_ae._utils.parameters import check_positive
from sklearn_ae._utils.runtime import MAX_SEED, private_random_state
from sklearn_ae._utils.warnings import warn_user
from sklearn_ae.bottlenecks import GaussianSampling
from sklearn_ae.corruptions import CORRUPTIONS, CallableNoise, Corruption
from sklearn_ae.divergences import DIVERGENCES, KL, CallableDivergence, Divergence
from sklearn_ae.likelihoods import LIKELIHOODS, Likelihood
from sklearn_ae.priors import PRIORS, Prior

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
    _statistics: Any

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

    def sample(self, n_samples=1, random_state=None, *, noise=True, return_codes=False):
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
        return_codes : bool, default=False
            Also return the codes drawn from the prior.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In the units of X.
        codes : ndarray of shape (n_samples, n_components_)
            Only if ``return_codes``.
        """
        check_is_fitted(self)
        check_positive("n_samples", n_samples)
        rng = private_random_state(random_state)
        model = self._model
        z = model.draw_codes(int(n_samples), rng)
        generator = Generator().manual_seed(int(rng.randint(MAX_SEED)))
        rows = model.draw(z, generator if noise else None).astype(self.mean_.dtype)
        return (rows, z.numpy()) if return_codes else rows

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
        return np.square(self._statistics.moments.root).sum(axis=0)

    def _directions(self) -> np.ndarray:
        return self.scale_ * self._loadings()

    def _signal(self) -> np.ndarray:
        return self._directions()

    def _warn_of_dead_units(self) -> None:
        """Warn where components are dead, although PCA finds more structure than there are live ones."""
        n_active, k = self.n_active_units_, self.n_components_
        n_structured = min(k, _n_structured(self.pca_, self.n_samples_))
        if n_active < n_structured:
            warn_user(
                f"Only {n_active} of {k} components are active: the posterior of the others is the prior, "
                f"though X has at least {n_structured} directions that stand out from noise. Lower beta"
                f"={self.beta:g}, raise kl_warmup={self.kl_warmup:g}, keep init='pca', or set "
                f"n_components={max(1, n_active)} if that is enough.",
                ConvergenceWarning,
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


class VAETransformer(GenerativeModel, BaseAutoencoder):
    """Variational autoencoder that takes the place of PCA and factor analysis, with a density to draw from.

    ::

        z ~ N(0, I),    x | z ~ likelihood(decoder(z)),    q(z | x) = N(mu(x), sigma(x)^2)

    Training maximises the ELBO, a lower bound of the log-likelihood in nats. It
    starts at probabilistic PCA, of which a VAE with a linear decoder and one noise
    variance is the nonlinear kin: there the posterior is exact and the bound is
    the log-likelihood. Validation rows choose the epoch, with epoch 0
    (probabilistic PCA) as a candidate, and decide in the end whether the networks
    are kept at all (``uses_network_``).

    Parameters
    ----------
    n_components : int or None, default=2
        Size of the code. None means ``min(n_samples, n_features)``; it may be more,
        since the divergence limits the code.
    beta : float, default=1.0
        Weight of the divergence in training. 1 is the ELBO; more compresses the
        codes, less makes reconstructions better and the density worse.
    likelihood : {"gaussian", "bernoulli", "poisson"} or Likelihood, default="gaussian"
        How rows are distributed around the decoded code. ``Gaussian(noise="per_column")``
        learns one noise variance per column, "shared" one for all, and "decoder" one
        for each entry of each row. Bernoulli takes X in [0, 1], Poisson counts.
    divergence : {"kl", "beta_tc", "mmd"} or Divergence, default="kl"
        What keeps the codes near the prior: ``BetaTC(beta=6)`` disentangles them,
        ``MMD()`` keeps more information in them.
    prior : {"normal", "mixture"} or Prior, default="normal"
        What codes are drawn from, and weighed by in ``score_samples`` and ``elbo``, once
        the model is trained: N(0, I), or a mixture that is fitted to the codes of the
        training rows, which makes better samples and densities where they fall into
        groups. Training is the same.
    n_importance_samples : int, default=1
        Draws per row of the importance-weighted bound (IWAE), which is tighter the
        more there are, and costs as many passes through the decoder.
    kl_warmup : float, default=0.1
        Share of the training over which the weight of the divergence rises from 0
        to ``beta``, so that no component is given up before it is of use.
    hidden_layer_sizes : array-like of int, default=(256, 128)
        Hidden layers of the encoder; the decoder mirrors them. ``()`` gives a linear
        VAE, which equals probabilistic PCA (with ``Gaussian(noise="per_column")``,
        factor analysis).
    activation : {"gelu", "relu", "elu", "silu", "tanh", "logistic", "softplus", \
            "identity"}, default="gelu"
        Nonlinearity of the hidden layers.
    network : {"dense", "conv"}, Network, or pair of torch.nn.Module, default="dense"
        Form of the networks. ``Conv(image_shape=(1, 28, 28))`` takes flat rows for
        images; ``(encoder, decoder)`` are your own modules, of which the encoder gives
        ``2 * n_components`` numbers: the means and then the log-variances.
    init : {"pca", "random"}, default="pca"
        Where training starts. "random" is the textbook network, without linear
        path and gate.
    corruption : {"gaussian", "masking", "salt_and_pepper", "rayleigh"}, Corruption, \
            callable or None, default=None
        Noise on the encoder's input in training (denoising VAE).
    alpha : float, default=0.01
        Decoupled weight decay (Tikhonov) on the weights of the networks.
    tied_weights : bool, default=False
        Decode with the transposed weights of the encoder.
    batch_size : int or "auto", default="auto"
        Rows per step. "auto" is 64 up to 1,000 training rows, 128 up to 20,000,
        and 256 beyond.
    learning_rate_init : float, default=0.003
        Peak learning rate of AdamW, after a warm-up and before a cosine decay.
    max_iter : int or "auto", default="auto"
        Epochs. "auto" is as many as 4,000 steps need, and 150 at most if training starts at PCA.
    early_stopping : bool, default=True
        Hold out validation rows, keep the best epoch, and gate. Up to 1,000 rows, a
        model that has passed is trained again on all of them, for as many epochs.
        False trains for ``max_iter`` epochs on all rows and keeps the last one.
    validation_fraction : float, default=0.1
        Share of the rows held out, unless ``fit`` is given ``X_val``.
    n_iter_no_change : int, default=150
        Epochs without an improvement over ``tol`` after which training stops.
    tol : float, default=1e-4
        Least improvement of the validation objective, relative to the best.
    warm_start : bool, default=False
        Go on from the previous fit, with its anchor and scale.
    random_state : int, RandomState instance or None, default=None
        Decides the split, the weights, the batches and the noises. None takes
        fresh entropy and leaves NumPy's global generator alone.
    device : str, default="cpu"
        Where to train; "auto" takes cuda, mps or cpu. Rows in memory are moved there
        once, and on cuda steps are captured as CUDA graphs, unless they run your own
        code. A fitted model rests, transforms and scores on the CPU.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of the training steps; "auto" takes bfloat16 where the hardware has it and
        the layers are wide enough to gain. Weights are kept in float32.
    callbacks : list of skorch.callbacks.Callback or None, default=None
        Called by the training engine.
    verbose : int, default=0
        1 shows a progress bar with the losses and the time left.

    Attributes
    ----------
    uses_network_ : bool
        Whether the networks are in use. False where the model is probabilistic PCA:
        nothing was to be gained on the validation rows, or too few could tell.
    n_components_ : int
        Size of the code.
    n_active_units_ : int
        Components whose posterior mean varies between the training rows (variance
        over 0.01, where the prior's is 1).
    n_samples_ : int
        Rows that the model was fitted on.
    mean_ : ndarray of shape (n_features,)
        Mean of the rows that the anchor was fitted on.
    scale_ : float
        The scalar that X was divided by, the root of the mean column variance.
    noise_variance_ : float or ndarray of shape (n_features,)
        Learned noise variance of a Gaussian likelihood, in squared units of X, set
        right on validation rows where there were any; AttributeError otherwise.
    components_ : ndarray of shape (n_components_, n_features)
        The decoder's matrix, where it is linear, as that of ``FactorAnalysis``.
    pca_ : PCA
        The anchor.
    loss_curve_, validation_loss_curve_ : list of float
        Negative ELBO of each epoch, in nats per row, in the units of X.
    pca_loss_ : float or None
        Objective of PCA on the validation rows, beside ``validation_loss_curve_``. None where none were
        held out or training did not start at PCA.
    n_iter_ : int
        Epochs run; 1 where there was nothing to train.
    best_iter_ : int
        Epoch whose weights were kept; 0 is probabilistic PCA.
    net_ : skorch.NeuralNet
        The fitted skorch net.
    module_ : torch.nn.Module
        What transforms: encoder, bottleneck and decoder in working units.
    network_, corruption_, likelihood_, divergence_, prior_ : Option or None
        The resolved slots.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where X had any.

    See Also
    --------
    AutoencoderTransformer : Smaller reconstruction errors; a density only on top.
    sklearn.decomposition.FactorAnalysis : The linear model with a noise per column.

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
    >>> vae = VAETransformer(n_components=8, random_state=0).fit(X[:1400])
    >>> mean, std = vae.posterior(X[1400:])
    >>> mean.shape, vae.n_active_units_
    ((397, 8), 8)
    >>> bool(vae.score(X[1400:]) > pca.score(X[1400:]))
    True
    >>> vae.sample(5, random_state=0).shape
    (5, 64)
    """

    _parameter_constraints = {
        **PARAMETER_CONSTRAINTS,
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "beta": [Interval(Real, 0, None, closed="left")],
        "n_importance_samples": [Interval(Integral, 1, None, closed="left")],
        "kl_warmup": [Interval(Real, 0, 1, closed="both")],
    }

    _slots = {
        "corruption": Slot(CORRUPTIONS, Corruption, optional=True, wrapper=wrapping(CallableNoise)),
        "likelihood": Slot(LIKELIHOODS, Likelihood, field="loss"),
        "divergence": Slot(DIVERGENCES, Divergence, wrapper=wrapping(CallableDivergence)),
        "prior": Slot(PRIORS, Prior),
    }

    def __init__(
        self,
        n_components=2,
        *,
        beta=1.0,
        likelihood="gaussian",
        divergence="kl",
        prior="normal",
        n_importance_samples=1,
        kl_warmup=0.1,
        hidden_layer_sizes=(256, 128),
        activation="gelu",
        network="dense",
        init="pca",
        corruption=None,
        alpha=0.01,
        tied_weights=False,
        batch_size="auto",
        learning_rate_init=0.003,
        max_iter="auto",
        early_stopping=True,
        validation_fraction=0.1,
        n_iter_no_change=150,
        tol=1e-4,
        warm_start=False,
        random_state=None,
        device="cpu",
        precision="auto",
        callbacks=None,
        verbose=0,
    ):
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
        self.callbacks = callbacks
        self.verbose = verbose

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
        return spec

    def _take_over(self, fitted: Any) -> None:
        super()._take_over(fitted)
        self._warn_of_dead_units()

    def _score_samples(self, X: Any, n_draws: int) -> tuple[np.ndarray, np.ndarray]:
        codes = self._statistics.moments.landmarks
        return self._model.score_samples(X, codes, n_draws)
