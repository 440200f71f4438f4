"""Deterministic autoencoders: one estimator, whose slots make it any of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from sklearn_ae._density.autoencoder import score_samples
from sklearn_ae._density.laplace import N_STARTS
from sklearn_ae._estimators.base import BaseAutoencoder
from sklearn_ae._estimators.pca_attributes import PCAAttributes
from sklearn_ae._options import Slot, wrapping
from sklearn_ae.bottlenecks import BOTTLENECKS, Bottleneck
from sklearn_ae.corruptions import CORRUPTIONS, CallableNoise, Corruption
from sklearn_ae.losses import LOSSES, CallableLoss, Loss
from sklearn_ae.penalties import PENALTIES, CallablePenalty, Penalty


class AutoencoderTransformer(PCAAttributes, BaseAutoencoder):
    """Autoencoder that takes PCA's place: nonlinear, and never worse than PCA where that can be told.

    ::

        x -> corruption -> encoder -> bottleneck -> decoder -> loss  (+ penalty)

    Training starts at PCA: the encoder is ``z = P x + f(x)`` and the decoder
    ``x^ = Q z + g(z)``, where P and Q hold the principal axes and the networks f
    and g start at zero. Validation rows choose the epoch, with epoch 0 (PCA) as
    a candidate, and decide in the end whether f and g are kept at all
    (``uses_network_``). Where too few rows could tell, the model is PCA.

    Parameters
    ----------
    n_components : int, float or None, default=2
        Size of the code. As for PCA, a float in (0, 1) picks the smallest size
        that explains this share of the variance (it needs ``bottleneck="ordered"``,
        or a linear model), and None means ``min(n_samples, n_features)``. More
        than that is allowed where something limits the code: a penalty, a
        corruption, or a sparse bottleneck.
    hidden_layer_sizes : array-like of int, default=(256, 128)
        Hidden layers of the encoder; the decoder mirrors them. ``()`` gives a
        linear autoencoder, which equals PCA.
    activation : {"gelu", "relu", "elu", "silu", "tanh", "logistic", "softplus", \
            "identity"}, default="gelu"
        Nonlinearity of the hidden layers.
    network : {"dense", "conv"}, Network, or pair of torch.nn.Module, default="dense"
        Form of f and g. ``Conv(image_shape=(1, 28, 28))`` takes flat rows for
        images; ``(encoder, decoder)`` are your own modules.
    init : {"pca", "random"}, default="pca"
        Where training starts. "random" is the textbook network, without linear
        path and gate.
    bottleneck : {"identity", "ordered", "topk", "relu"} or Bottleneck, default="identity"
        What makes the encoder's output a code.
    corruption : {"gaussian", "masking", "salt_and_pepper", "rayleigh"}, Corruption, \
            callable or None, default=None
        Noise on the input in training; the target is the clean row.
    loss : {"squared_error", "absolute_error", "huber", "binary_cross_entropy", "poisson"} \
            or Loss, default="squared_error"
        Reconstruction loss, summed over the columns of a row.
    penalty : {"l1", "kl_sparsity", "contractive"}, Penalty or None, default=None
        Added to the loss of each row. Penalties add: ``Contractive(0.1) + L1(0.01)``.
    alpha : float, default=0.01
        Decoupled weight decay (Tikhonov) on the weights of f and g.
    tied_weights : bool, default=False
        Decode with the transposed weights of the encoder.
    whiten : bool, default=False
        Codes with zero mean, unit variance and no correlation on the training
        rows, by the Cholesky factor of their covariance.
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
    n_iter_no_change : int, default=40
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
        Whether f and g are in use. False where the model is PCA: nothing was to
        be gained on the validation rows, or too few could tell.
    n_components_ : int
        Size of the code.
    n_samples_ : int
        Rows that the model was fitted on.
    mean_ : ndarray of shape (n_features,)
        Mean of the rows that the anchor was fitted on.
    scale_ : float
        The scalar that X was divided by, the root of the mean column variance.
    noise_variance_ : float
        Variance of X around the decoded code, per column, in squared units of X;
        from validation rows where there were any.
    components_, explained_variance_, explained_variance_ratio_, singular_values_ : ndarray
        As for PCA, on linear models (``uses_network_`` False, or no hidden layers);
        the ratio also for ordered codes.
    pca_ : PCA
        The anchor.
    loss_curve_, validation_loss_curve_ : list of float
        Objective of each epoch, per row and column in working units: for squared
        error the share of the variance that is left unexplained.
    pca_loss_ : float or None
        Objective of PCA on the validation rows, beside ``validation_loss_curve_``. None where none were
        held out or training did not start at PCA.
    n_iter_ : int
        Epochs run; 1 where there was nothing to train.
    best_iter_ : int
        Epoch whose weights were kept; 0 is PCA.
    net_ : skorch.NeuralNet
        The fitted skorch net.
    module_ : torch.nn.Module
        What transforms: encoder, bottleneck and decoder in working units.
    network_, bottleneck_, corruption_, loss_, penalty_ : Option or None
        The resolved slots.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where X had any.

    See Also
    --------
    sklearn.decomposition.PCA : What this model starts from and falls back to.

    Notes
    -----
    The network works on X centred and divided by one scalar, never by one per
    column: that keeps PCA's objective, makes training indifferent to the units of
    X, and a column that was constant in training cannot explode. Scale the
    columns yourself where you would for PCA.

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
    }

    def __init__(
        self,
        n_components=2,
        *,
        hidden_layer_sizes=(256, 128),
        activation="gelu",
        network="dense",
        init="pca",
        bottleneck="identity",
        corruption=None,
        loss="squared_error",
        penalty=None,
        alpha=0.01,
        tied_weights=False,
        whiten=False,
        batch_size="auto",
        learning_rate_init=0.003,
        max_iter="auto",
        early_stopping=True,
        validation_fraction=0.1,
        n_iter_no_change=40,
        tol=1e-4,
        warm_start=False,
        random_state=None,
        device="cpu",
        precision="auto",
        callbacks=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.network = network
        self.init = init
        self.bottleneck = bottleneck
        self.corruption = corruption
        self.loss = loss
        self.penalty = penalty
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
        self.callbacks = callbacks
        self.verbose = verbose

    def _to_user(self, codes: np.ndarray) -> np.ndarray:
        if not self.whiten:
            return codes * codes.dtype.type(self.scale_)
        mean, L = self._statistics.moments.whitening()
        whitened = solve_triangular(L, (codes - mean).T, lower=True, check_finite=False).T
        return whitened.astype(codes.dtype)

    def _from_user(self, Z: np.ndarray) -> np.ndarray:
        if not self.whiten:
            return Z / Z.dtype.type(self.scale_)
        mean, L = self._statistics.moments.whitening()
        return (Z @ L.T + mean).astype(Z.dtype)

    def _score_samples(self, X: Any, n_draws: int, n_starts: int = N_STARTS) -> tuple[np.ndarray, np.ndarray]:
        return score_samples(self.module_, self._statistics, self._pca_or_none(), X, n_draws, n_starts)
