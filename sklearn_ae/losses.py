"""Reconstruction losses: how far the decoder's output is from the clean row.

A loss sees the decoder's raw output ``eta`` and the target ``x``. Real-valued
losses compare in working units (X centred and divided by one scalar, see
:class:`~sklearn_ae.AutoencoderTransformer`) and reconstruct by the identity.
Losses of discrete likelihoods (:class:`BinaryCrossEntropy`, :class:`Poisson`)
compare in the units of X and reconstruct by an inverse link: the sigmoid, the
exponential. All are sums over the columns of a row, as log-likelihoods are.
"""

from __future__ import annotations

from numbers import Real

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sklearn_ae._options import Option
from sklearn_ae._utils.compat import Interval


class Loss(Option):
    """Base of the losses; the identity link and real-valued targets by default."""

    #: whether the target is X itself and ``eta`` is mapped by an inverse link
    discrete = False
    #: whether entries of X are probabilities, of which binary rows are drawn anew in every step
    dynamic_binarization = False
    #: how a learnt noise variance varies: "shared", "per_column", "decoder", or None where there is none
    noise: str | None = None
    #: whether it is the same in any other orthonormal basis of the columns
    rotation_invariant = False

    def __call__(self, eta: Tensor, x: Tensor, reduction: str = "none") -> Tensor:
        """Loss of each entry (``reduction="none"``), or their mean or sum, as torch names them."""
        raise NotImplementedError

    def check(self, X: np.ndarray) -> None:
        """Refuse data that the likelihood cannot have produced."""

    def link(self, mean: Tensor) -> Tensor:
        """Map a reconstruction (clipped into the valid range) to ``eta``."""
        return mean

    def inverse_link(self, eta: Tensor) -> Tensor:
        """Map ``eta`` to the reconstruction, the mean of x given the code."""
        return eta

    def log_prob(self, eta: Tensor, x: Tensor) -> Tensor:
        """Log-probability of each entry, in nats; discrete losses only."""
        raise NotImplementedError

    def fisher(self, eta: Tensor) -> Tensor:
        """Fisher information of ``eta`` in each entry; discrete losses only."""
        raise NotImplementedError


class SquaredError(Loss):
    """Squared error: the Gaussian likelihood with one noise variance, and PCA's objective.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.losses import SquaredError
    >>> SquaredError()(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 0.0]]))
    tensor([[1., 4.]])
    """

    rotation_invariant = True

    def __call__(self, eta: Tensor, x: Tensor, reduction: str = "none") -> Tensor:
        return F.mse_loss(eta, x, reduction=reduction)


class AbsoluteError(Loss):
    """Absolute error: reconstructs conditional medians, hence robust to outlying entries.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.losses import AbsoluteError
    >>> AbsoluteError()(torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, 0.0]]))
    tensor([[1., 2.]])
    """

    def __call__(self, eta: Tensor, x: Tensor, reduction: str = "none") -> Tensor:
        return F.l1_loss(eta, x, reduction=reduction)


class Huber(Loss):
    """Huber's loss [1]_: quadratic up to ``delta``, linear beyond.

    Parameters
    ----------
    delta : float, default=1.0
        Where the loss turns linear, in working units (1 is the root of the
        mean column variance).

    References
    ----------
    .. [1] P. J. Huber (1964), Robust estimation of a location parameter,
       Annals of Mathematical Statistics 35(1).

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.losses import Huber
    >>> Huber(delta=1.0)(torch.tensor([[0.5, 3.0]]), torch.tensor([[0.0, 0.0]]))
    tensor([[0.1250, 2.5000]])
    """

    _parameter_constraints = {"delta": [Interval(Real, 0, None, closed="neither")]}

    def __init__(self, delta: float = 1.0):
        self.delta = delta

    def __call__(self, eta: Tensor, x: Tensor, reduction: str = "none") -> Tensor:
        return F.huber_loss(eta, x, delta=self.delta, reduction=reduction)


class BinaryCrossEntropy(Loss):
    """Binary cross-entropy for X in [0, 1]: the Bernoulli likelihood, sigmoid outputs.

    Values strictly between 0 and 1 are taken as probabilities, as is usual for
    grey-scale images.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.losses import BinaryCrossEntropy
    >>> BinaryCrossEntropy()(torch.tensor([[0.0]]), torch.tensor([[1.0]]))
    tensor([[0.6931]])
    """

    discrete = True
    _instead = "loss='binary_cross_entropy'", "loss='squared_error'"  # of the error messages
    _margin = 1e-2  # clip of the anchor: the logit's slope is at most 100 there

    def __call__(self, eta: Tensor, x: Tensor, reduction: str = "none") -> Tensor:
        return F.binary_cross_entropy_with_logits(eta, x, reduction=reduction)

    def check(self, X: np.ndarray) -> None:
        if X.min() < 0 or X.max() > 1:
            name, instead = self._instead
            raise ValueError(
                f"{name} needs X in [0, 1], but X ranges from {X.min():.6g} to {X.max():.6g}. Scale X "
                f"first, for example by sklearn.preprocessing.MinMaxScaler(clip=True), or use {instead}."
            )

    def link(self, mean: Tensor) -> Tensor:
        return torch.logit(mean, eps=self._margin)

    def inverse_link(self, eta: Tensor) -> Tensor:
        return torch.sigmoid(eta)

    def log_prob(self, eta: Tensor, x: Tensor) -> Tensor:
        return -self(eta, x)

    def fisher(self, eta: Tensor) -> Tensor:
        p = torch.sigmoid(eta)
        return p * (1 - p)


class Poisson(Loss):
    """Poisson likelihood for counts (X >= 0), exponential outputs.

    The loss is half the deviance, ``exp(eta) - x eta`` less its smallest value.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.losses import Poisson
    >>> Poisson()(torch.tensor([[0.0]]), torch.tensor([[2.0]]))
    tensor([[0.3863]])
    """

    discrete = True
    _instead = "loss='poisson'", "loss='squared_error'"
    _margin = 0.05  # clip of the anchor, in counts
    _max_eta = 30.0  # exp(30) = 1e13: beyond it the gradient is cut, not the count

    def __call__(self, eta: Tensor, x: Tensor, reduction: str = "none") -> Tensor:
        x = x.clamp(min=0)  # rounding may leave -1e-9 of a zero count
        lowest = torch.xlogy(x, x) - x
        half_deviance = F.poisson_nll_loss(eta.clamp(max=self._max_eta), x, reduction="none") + lowest
        return half_deviance if reduction == "none" else getattr(half_deviance, reduction)()

    def check(self, X: np.ndarray) -> None:
        if X.min() < 0:
            name, instead = self._instead
            raise ValueError(
                f"{name} needs counts, X >= 0, but the smallest value of X is {X.min():.6g}. Use {instead} "
                "for real-valued data."
            )

    def link(self, mean: Tensor) -> Tensor:
        return torch.log(mean.clamp(min=self._margin))

    def inverse_link(self, eta: Tensor) -> Tensor:
        return torch.exp(eta.clamp(max=self._max_eta))

    def log_prob(self, eta: Tensor, x: Tensor) -> Tensor:
        x = x.clamp(min=0)
        return torch.xlogy(x, x) - x - torch.lgamma(x + 1) - self(eta, x)

    def fisher(self, eta: Tensor) -> Tensor:
        return self.inverse_link(eta)


LOSSES = {
    "squared_error": SquaredError,
    "absolute_error": AbsoluteError,
    "huber": Huber,
    "binary_cross_entropy": BinaryCrossEntropy,
    "poisson": Poisson,
}
