"""Reconstruction losses, which compare the decoder's output with the clean samples.

A loss is a function of the decoder's raw output ``eta`` and the target ``x``.
Real-valued losses compare in working units (X centred and divided by one scalar,
see :class:`~sklearn_ae.AutoencoderTransformer`) and reconstruct by the identity.
Losses of discrete likelihoods (:class:`BinaryCrossEntropy`, :class:`Poisson`)
compare in the units of X and reconstruct by an inverse link, the sigmoid or the
exponential.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Generator, Tensor

from sklearn_ae._options import Option
from sklearn_ae._utils.callables import checked_result
from sklearn_ae._utils.compat import Interval
from sklearn_ae._utils.derivatives import entrywise_derivatives, positive_information

_MAX_PAIR_ENTRIES = 2**19  # entries of pairs of samples that are held at a time (4 MB)


class Loss(Option):
    """Base class of the losses.

    A loss defines ``__call__``, and everything else has a default. The defaults
    suit real-valued targets in working units. A loss with ``discrete = True``
    compares with X itself and also defines ``link`` and ``inverse_link``, and
    ``log_prob`` if ``score_samples`` is to work.
    """

    #: names of the members without a default
    _required: tuple[str, ...] = ("__call__",)

    #: True if the target is X itself and an inverse link maps ``eta`` to its mean
    discrete = False
    #: True if ``check`` refuses negative values, which scikit-learn's tag of this name declares
    positive_only = False
    #: True if X holds probabilities, from which binary targets are drawn in every training step
    dynamic_binarization = False
    #: the learnt noise variance: "shared", "per_column", "full", "decoder", or None for no such variance
    noise: str | None = None
    #: True if rotations of the feature space do not change the loss of a sample
    rotation_invariant = False

    def __call__(self, eta: Tensor, x: Tensor) -> Tensor:
        """Return the loss of each entry, of the shape (n_samples, n_features) of ``eta`` and ``x``."""
        raise NotImplementedError

    def mean(self, eta: Tensor, x: Tensor) -> Tensor:
        """Return the mean loss over all entries, a scalar; override it only for a faster equivalent."""
        return self(eta, x).mean()

    def check(self, X: np.ndarray) -> None:
        """Raise a ValueError if X, of shape (n_samples, n_features), is not a valid target."""

    def link(self, mean: Tensor) -> Tensor:
        """Map a mean of X, clipped into the valid range, to ``eta``, entry by entry."""
        return mean

    def inverse_link(self, eta: Tensor) -> Tensor:
        """Map ``eta`` to the mean of X given the code, entry by entry."""
        return eta

    def log_prob(self, eta: Tensor, x: Tensor) -> Tensor:
        """Return the log-probability of each entry in nats, of the shape of ``eta``; only if discrete."""
        raise NotImplementedError(
            f"{type(self).__name__} does not define log_prob, which score_samples needs for losses with "
            "discrete = True. It is described in sklearn_ae.losses.Loss."
        )

    def draw(self, eta: Tensor, log_noise: Tensor | None, generator: Generator) -> Tensor:
        """Return one draw of x per entry of ``eta``, of shape (n_samples, n_features); only if discrete."""
        raise NotImplementedError(f"{type(self).__name__} does not define draw, which draws of X need.")

    def slope(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        """Return the derivative of ``log_prob`` with respect to ``eta``, entry by entry; by autograd."""
        return entrywise_derivatives(self._entries, eta, x, log_noise)[0]

    def information(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        """Return the information on ``eta`` in each entry, not negative; by autograd.

        This is minus the second derivative of ``log_prob`` or its expectation, the
        Fisher information. The default takes the squared slope, which has the same
        expectation, where minus the second derivative is not positive. The estimates of
        ``score_samples`` are consistent with any value; it affects their variance.
        """
        return positive_information(*entrywise_derivatives(self._entries, eta, x, log_noise))

    def pairwise_misfit(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        """Return minus the log-likelihood of all pairs, of shape (n_samples, n_outputs).

        An override may leave out terms that do not depend on ``eta``.
        """
        parts = []
        for part in x.split(max(1, _MAX_PAIR_ENTRIES // eta.numel())):
            shape = len(part), len(eta), part.shape[1]
            pairs = eta.expand(shape), part[:, None].expand(shape)
            parts.append(-self._entries(*pairs, log_noise).sum(-1))
        return torch.cat(parts)

    def _entries(self, eta: Tensor, x: Tensor, log_noise: Tensor | None) -> Tensor:
        """Return ``log_prob`` of the arguments that it takes."""
        return self.log_prob(eta, x)


class SquaredError(Loss):
    """Squared error, the objective of PCA and of a Gaussian likelihood with one noise variance.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.losses import SquaredError
    >>> SquaredError()(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 0.0]]))
    tensor([[1., 4.]])
    """

    rotation_invariant = True

    def __call__(self, eta: Tensor, x: Tensor) -> Tensor:
        return F.mse_loss(eta, x, reduction="none")

    def mean(self, eta: Tensor, x: Tensor) -> Tensor:
        return F.mse_loss(eta, x)


class AbsoluteError(Loss):
    """Absolute error, which reconstructs conditional medians and is robust to outlying entries.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.losses import AbsoluteError
    >>> AbsoluteError()(torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, 0.0]]))
    tensor([[1., 2.]])
    """

    def __call__(self, eta: Tensor, x: Tensor) -> Tensor:
        return F.l1_loss(eta, x, reduction="none")

    def mean(self, eta: Tensor, x: Tensor) -> Tensor:
        return F.l1_loss(eta, x)


class Huber(Loss):
    """Huber loss [1]_, quadratic up to ``delta`` and linear beyond.

    Parameters
    ----------
    delta : float, default=1.0
        Residual at which the loss becomes linear, in working units (1 is the root
        of the mean feature variance).

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

    def __call__(self, eta: Tensor, x: Tensor) -> Tensor:
        return F.huber_loss(eta, x, delta=self.delta, reduction="none")

    def mean(self, eta: Tensor, x: Tensor) -> Tensor:
        return F.huber_loss(eta, x, delta=self.delta)


class _CanonicalLoss(Loss):
    """Base class of likelihoods in their canonical parameter: log p = x eta - A(eta) + constant.

    Then A'(eta), the mean of x, is the inverse link. Those below are of x >= 0.
    """

    discrete = True
    positive_only = True

    def slope(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        return x - self.inverse_link(eta)

    def pairwise_misfit(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        return self(eta, torch.zeros_like(eta)).sum(1) - x @ eta.T


class BinaryCrossEntropy(_CanonicalLoss):
    """Binary cross-entropy for X in [0, 1], the Bernoulli likelihood with sigmoid outputs.

    Values strictly between 0 and 1 are treated as probabilities, as is usual for
    grey-scale images.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.losses import BinaryCrossEntropy
    >>> BinaryCrossEntropy()(torch.tensor([[0.0]]), torch.tensor([[1.0]]))
    tensor([[0.6931]])
    """

    _names = "loss='binary_cross_entropy'", "loss='squared_error'"  # this option and its alternative
    _margin = 1e-2  # clips the initial PCA, so that the slope of the logit is at most 100

    def __call__(self, eta: Tensor, x: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(eta, x, reduction="none")

    def mean(self, eta: Tensor, x: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(eta, x)

    def check(self, X: np.ndarray) -> None:
        low, high, feature = _excess(X, 0.0, 1.0)
        if feature is not None:
            name, alternative = self._names
            raise ValueError(
                f"{name} needs X in [0, 1], but feature {feature} ranges from {low:.6g} to {high:.6g}. "
                "Negative values in data and values above 1 need scaling, for example with "
                f"sklearn.preprocessing.MinMaxScaler(clip=True), or {alternative}."
            )

    def link(self, mean: Tensor) -> Tensor:
        return torch.logit(mean, eps=self._margin)

    def inverse_link(self, eta: Tensor) -> Tensor:
        return torch.sigmoid(eta)

    def log_prob(self, eta: Tensor, x: Tensor) -> Tensor:
        return -self(eta, x)

    def information(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        p = torch.sigmoid(eta)
        return p * (1 - p)

    def draw(self, eta: Tensor, log_noise: Tensor | None, generator: Generator) -> Tensor:
        return torch.bernoulli(self.inverse_link(eta), generator=generator)


class Poisson(_CanonicalLoss):
    """Poisson loss for counts (X >= 0), with exponential outputs.

    The loss is half the deviance, ``exp(eta) - x eta`` minus its minimum.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.losses import Poisson
    >>> Poisson()(torch.tensor([[0.0]]), torch.tensor([[2.0]]))
    tensor([[0.3863]])
    """

    _names = "loss='poisson'", "loss='squared_error'"
    _margin = 0.05  # clips the initial PCA, in counts
    _max_eta = 30.0  # outputs beyond exp(30), about 1e13, are clipped and have no gradient

    def __call__(self, eta: Tensor, x: Tensor) -> Tensor:
        x = x.clamp(min=0)  # rounding may turn a count of zero into -1e-9
        lowest = torch.xlogy(x, x) - x
        return F.poisson_nll_loss(eta.clamp(max=self._max_eta), x, reduction="none") + lowest

    def check(self, X: np.ndarray) -> None:
        low, _, feature = _excess(X, 0.0, np.inf)
        if feature is not None:
            name, alternative = self._names
            raise ValueError(
                f"{name} needs counts, X >= 0, but the smallest value of feature {feature} is {low:.6g}. "
                f"Negative values in data need {alternative}."
            )

    def link(self, mean: Tensor) -> Tensor:
        return torch.log(mean.clamp(min=self._margin))

    def inverse_link(self, eta: Tensor) -> Tensor:
        return torch.exp(eta.clamp(max=self._max_eta))

    def log_prob(self, eta: Tensor, x: Tensor) -> Tensor:
        x = x.clamp(min=0)
        return torch.xlogy(x, x) - x - torch.lgamma(x + 1) - self(eta, x)

    def information(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        return self.inverse_link(eta)

    def draw(self, eta: Tensor, log_noise: Tensor | None, generator: Generator) -> Tensor:
        return torch.poisson(self.inverse_link(eta), generator=generator)


def _excess(X: Any, low: float, high: float) -> tuple[float, float, int | None]:
    """Return the range of the feature that is furthest outside of [low, high], and its index.

    The index is None if all features are inside, up to rounding: a MinMaxScaler reaches
    1.0000000000000002.
    """
    lowest, highest = (
        m.toarray().ravel() if sparse.issparse(m) else np.asarray(m) for m in (X.min(axis=0), X.max(axis=0))
    )
    excess = np.maximum(low - lowest, highest - high)
    worst = int(excess.argmax())
    inside = excess[worst] <= 100 * np.finfo(lowest.dtype).eps
    return float(lowest[worst]), float(highest[worst]), None if inside else worst


class CallableLoss(Loss):
    """Loss given by a function.

    Parameters
    ----------
    function : callable
        Maps the decoder's output and the target, both of shape (n_samples, n_features)
        and in working units, to the loss of each entry, a tensor of the same shape.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.losses import CallableLoss
    >>> def log_cosh(eta, x):
    ...     return torch.log(torch.cosh(eta - x))
    >>> CallableLoss(log_cosh)(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 0.0]]))
    tensor([[0.0000, 0.4338]])
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Any]):
        self.function = function

    def __call__(self, eta: Tensor, x: Tensor) -> Tensor:
        return checked_result(self.function(eta, x), eta.shape, "loss")


LOSSES = {
    "squared_error": SquaredError,
    "absolute_error": AbsoluteError,
    "huber": Huber,
    "binary_cross_entropy": BinaryCrossEntropy,
    "poisson": Poisson,
}
