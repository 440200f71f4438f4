"""Reconstruction losses, which compare the decoder's output with the clean samples.

A loss is a function of the decoder's raw output ``eta`` and the target ``x``.
Real-valued losses compare in working units (X centred and divided by one scalar,
see :class:`~sklearn_ae.AutoencoderTransformer`) and reconstruct by the identity.
Losses of discrete likelihoods (:class:`BinaryCrossEntropy`, :class:`Poisson`)
compare in the units of X and reconstruct by an inverse link, the sigmoid or the
exponential.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Generator, Tensor

from sklearn_ae._options import Option, suggestion
from sklearn_ae._utils.arrays import sample_blocks
from sklearn_ae._utils.callables import checked_result
from sklearn_ae._utils.compat import Interval, InvalidParameterError
from sklearn_ae._utils.derivatives import entrywise_derivatives, positive_information
from sklearn_ae._utils.feature_groups import groups_of_transformer
from sklearn_ae._utils.feature_moments import FeatureMoments
from sklearn_ae._utils.feature_parts import FeatureParts
from sklearn_ae._utils.gaussian import LOG_2PI
from sklearn_ae._utils.missing import observed_range

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
    #: True if ``for_samples`` returns another loss
    needs_samples = False
    #: unit of each feature, of shape (d,), if each has its own
    scale_: Any = None
    #: logarithm of the noise variance or dispersion of each feature at the start, if samples tell it
    start_: Any = None
    #: which features have a density, of shape (d,), if their kinds differ
    real_: Any = None
    #: the learned noise variance: "shared", "per_column", "full", "decoder", or None for no such variance
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

    def for_samples(self, samples: Any, names: Sequence[str] | None, previous: Loss | None = None) -> Loss:
        """Return the loss for training samples: itself, unless it depends on the features.

        Parameters
        ----------
        samples : ArraySamples or Source
        names : sequence of str or None
            Names of the features.
        previous : Loss, default=None
            Loss of the fitted model that the training continues.
        """
        return self

    def fault(self, x: np.ndarray) -> tuple[int, str] | None:
        """Return the first column of samples with invalid values and a description of these, if any."""
        return None

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

    def fault(self, x: np.ndarray) -> tuple[int, str] | None:
        low, high, feature = _excess(x, 0.0, 1.0)
        text = f"but it ranges from {low:.6g} to {high:.6g}: declare it as 'gaussian', or code it as 0 and 1"
        return None if feature is None else (feature, text)

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

    def fault(self, x: np.ndarray) -> tuple[int, str] | None:
        return fault_of_counts(x)

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
    if np.isnan(lowest).any():  # values are missing
        lowest, highest = observed_range(X)
    excess = np.maximum(low - lowest, highest - high)
    worst = int(excess.argmax())
    inside = excess[worst] <= 100 * np.finfo(lowest.dtype).eps
    return float(lowest[worst]), float(highest[worst]), None if inside else worst


def fault_of_counts(x: np.ndarray) -> tuple[int, str] | None:
    """Return the first column that holds no counts, and a description of a value that is none."""
    wrong = (x < 0) | ((x != np.round(x)) & ~np.isnan(x))
    if not wrong.any():
        return None
    row, column = np.argwhere(wrong)[0]
    kind = "negative" if x[row, column] < 0 else "fractional"
    return int(column), f"but it has the {kind} value {x[row, column]:.6g}: declare it as 'gaussian'"


class Categorical(_CanonicalLoss):
    """Cross-entropy of one-hot encoded variables, with softmax outputs.

    The features are consecutive groups, one for each variable. The loss of an entry is
    ``-x log(softmax(eta))``, so that the sum over a group is minus the log-probability of
    its category. A group of zeros has no category and adds nothing.

    Parameters
    ----------
    n_categories : int, default=2
        Number of features of each group.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.losses import Categorical
    >>> Categorical(3)(torch.zeros(1, 3), torch.tensor([[0.0, 1.0, 0.0]]))
    tensor([[0.0000, 1.0986, 0.0000]])
    """

    _parameter_constraints = {"n_categories": [Interval(Integral, 2, None, closed="left")]}
    _margin = 1e-2  # clips the initial PCA, or a tenth of the uniform probability if that is smaller

    def __init__(self, n_categories: int = 2):
        self.n_categories = n_categories

    def _in_groups(self, entries: Tensor) -> Tensor:
        return entries.unflatten(-1, (-1, self.n_categories))

    def _log_softmax(self, eta: Tensor) -> Tensor:
        return self._in_groups(eta).log_softmax(-1).flatten(-2)

    def __call__(self, eta: Tensor, x: Tensor) -> Tensor:
        return -x * self._log_softmax(eta)

    def check(self, X: np.ndarray) -> None:
        for block in sample_blocks(X):
            fault = self.fault(block)
            if fault is not None:
                raise ValueError(f"Categorical needs one-hot features, {fault[1]} (feature {fault[0]}).")

    def fault(self, x: np.ndarray) -> tuple[int, str] | None:
        wrong = (x != 0) & (x != 1) & ~np.isnan(x)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            return int(column), f"but it has the value {x[row, column]:.6g}, not 0 or 1: use OneHotEncoder"
        groups = x.reshape(len(x), -1, self.n_categories)
        n_missing = np.isnan(groups).sum(axis=2)
        if (n_missing % self.n_categories).any():
            row, group = np.argwhere(n_missing % self.n_categories)[0]
            return int(group * self.n_categories), (
                f"but {n_missing[row, group]} of the {self.n_categories} features of its group are NaN in "
                f"sample {row}: a missing category is NaN in all of them"
            )
        counts = groups.sum(axis=2)
        if (counts > 1).any():
            row, group = np.argwhere(counts > 1)[0]
            n = int(counts[row, group])
            return int(group * self.n_categories), (
                f"but {n} features of its group are 1 in sample {row}, where one-hot rows have a single 1: "
                "list the features of each variable as a group of their own"
            )
        return None

    def first_empty(self, x: np.ndarray) -> int | None:
        """Return the first column of a group that is zero in some sample, None without one."""
        empty = ~x.reshape(len(x), -1, self.n_categories).any(axis=2)
        return int(np.argwhere(empty)[0][1]) * self.n_categories if empty.any() else None

    def link(self, mean: Tensor) -> Tensor:
        return torch.log(mean.clamp(min=min(self._margin, 0.1 / self.n_categories)))

    def inverse_link(self, eta: Tensor) -> Tensor:
        return self._in_groups(eta).softmax(-1).flatten(-2)

    def log_prob(self, eta: Tensor, x: Tensor) -> Tensor:
        return x * self._log_softmax(eta)

    def slope(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        return x - self._n_known(x) * self.inverse_link(eta)

    def information(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        p = self.inverse_link(eta)
        return self._n_known(x) * p * (1 - p)

    def pairwise_misfit(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        return -x @ self._log_softmax(eta).T

    def draw(self, eta: Tensor, log_noise: Tensor | None, generator: Generator) -> Tensor:
        p = self._in_groups(self.inverse_link(eta))
        category = torch.multinomial(p.flatten(0, -2), 1, generator=generator).view(p.shape[:-1])
        return F.one_hot(category, self.n_categories).to(eta.dtype).flatten(-2)

    def _n_known(self, x: Tensor) -> Tensor:
        """Return 1 for the features of a group with a category, and 0 for a group of zeros."""
        return self._in_groups(x).sum(-1, keepdim=True).expand_as(self._in_groups(x)).flatten(-2)


class _FeatureGaussian(Loss):
    """Normal distribution of standardised features, as one kind of :class:`ByFeature`.

    As a loss it is that of unit variance, half the squared error.
    """

    def __call__(self, eta: Tensor, x: Tensor) -> Tensor:
        return 0.5 * (eta - x).square()

    def slope(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        return (x - eta) * self._precision(eta, log_noise)

    def information(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        return self._precision(eta, log_noise).expand_as(eta)

    def pairwise_misfit(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        precision = self._precision(eta, log_noise)
        return 0.5 * (eta.square() * precision).sum(1) - x @ (eta * precision).T

    def draw(self, eta: Tensor, log_noise: Tensor | None, generator: Generator) -> Tensor:
        normal = torch.randn(eta.shape, generator=generator, device=eta.device, dtype=eta.dtype)
        return eta + self._precision(eta, log_noise).rsqrt() * normal

    def _precision(self, eta: Tensor, log_noise: Tensor | None) -> Tensor:
        return torch.ones_like(eta) if log_noise is None else (-log_noise).exp()

    def _entries(self, eta: Tensor, x: Tensor, log_noise: Tensor | None) -> Tensor:
        log_noise = eta.new_zeros(eta.shape[-1]) if log_noise is None else log_noise
        return -0.5 * ((x - eta).square() * (-log_noise).exp() + log_noise + LOG_2PI)


class ByFeature(Loss):
    """Losses of features of different kinds, as tables of numbers, categories and counts have them.

    All losses are in nats, so that they add up without weights. A real feature counts
    with half its squared error in units of its standard deviation, which is minus the
    log-density of a normal distribution up to a constant. Working units, in which the
    encoder sees the samples and the initial PCA is computed, are those of a factor
    analysis of mixed data [1]_: each feature is divided by its standard deviation, and a
    category by the root of its frequency. Codes have no unit.

    Parameters
    ----------
    groups : dict of str to features
        Features of each kind: "gaussian", "bernoulli" (in [0, 1]), "poisson" (counts) and
        "categorical" (one-hot encoded). Features are names, prefixes of names up to an
        underscore (``"cat__colour"`` for ``"cat__colour_red"`` and so on), indices, slices,
        or lists of those. Each variable of "categorical" is an entry of a list:
        ``{"categorical": ["cat__colour", "cat__size"]}`` or ``{"categorical": [[2, 3, 4], [5, 6]]}``.
        Each feature of X belongs to one group.

    Notes
    -----
    Training samples must be one-hot in each categorical group. In other samples a group
    may be zero, as ``OneHotEncoder(handle_unknown="ignore")`` encodes unknown categories;
    its log-probability is that of no observation, 0. With ``missing="mask"`` a missing category
    is NaN in all features of its group, in training samples, too.

    References
    ----------
    .. [1] J. Pages (2004), Analyse factorielle de donnees mixtes, Revue de statistique
       appliquee 52(4).

    Examples
    --------
    >>> from sklearn_ae import AutoencoderTransformer
    >>> from sklearn_ae.losses import ByFeature
    >>> loss = ByFeature({"gaussian": [0, 1], "categorical": [[2, 3, 4], [5, 6]], "poisson": -1})
    >>> AutoencoderTransformer(2, loss=loss).loss.groups["poisson"]
    -1
    """

    discrete = True
    needs_samples = True
    _kinds: Mapping[str, type[Loss]]
    _what = "loss"
    _elsewhere = {
        "negative_binomial": " Its dispersion is learned by VAETransformer(likelihood=ByFeature(...)) only; "
        "use 'poisson', which has the same mean."
    }

    parts_: FeatureParts  # set by for_samples in a copy, as the units

    def __init__(self, groups: Mapping[str, Any]):
        self.groups = groups

    @classmethod
    def from_transformer(cls, transformer: Any, **kinds: Any) -> Self:
        """Return the groups of what a fitted transformer returns.

        The columns of a :class:`~sklearn.preprocessing.OneHotEncoder` are "categorical"
        ("bernoulli" if it returns a single one), all others "gaussian", unless declared.

        Parameters
        ----------
        transformer : ColumnTransformer, OneHotEncoder or Pipeline
            Fitted.
        **kinds : str, int, slice or list of those
            Features of other kinds, such as ``poisson=["n_visits"]``: names of columns before or
            after the transformation, or indices of features.

        Returns
        -------
        option : ByFeature
            With indices, which suit arrays and data frames.
        """
        for kind in kinds:
            cls._check_kind(kind)
        return cls(groups_of_transformer(transformer, kinds))

    @classmethod
    def _check_kind(cls, kind: Any) -> None:
        if kind not in cls._kinds:
            hint = cls._elsewhere.get(kind, suggestion(kind, cls._kinds))
            raise InvalidParameterError(
                f"{kind!r} is no kind of ByFeature as {cls._what}; kinds are "
                f"{', '.join(map(repr, cls._kinds))}.{hint}"
            )

    def _validate_params(self) -> None:
        if not isinstance(self.groups, Mapping):
            raise InvalidParameterError(
                f"groups must map kinds to features, as in ByFeature({{'gaussian': [0, 1], 'poisson': 2}}); "
                f"got {self.groups!r}."
            )
        for kind in self.groups:
            self._check_kind(kind)

    # -- fit ----------------------------------------------------------------------

    def for_samples(self, samples: Any, names: Sequence[str] | None, previous: Loss | None = None) -> Loss:
        """Return a copy for the features of samples, with the units of a fitted model that it continues."""
        samples = getattr(samples, "clean", None) or samples  # those that are reconstructed
        twin = self.for_features(samples.shape[1], names)
        if previous is not None:
            twin._continue(previous)
            return twin
        moments = FeatureMoments.of(samples, twin.parts_.checked_blocks(samples, for_training=True))
        deviation = np.sqrt(moments.variance)
        varies = deviation > 1e-12 * np.abs(moments.mean)
        scale = np.where(twin.parts_.are("categorical"), np.sqrt(moments.mean.clip(0)), deviation)
        twin.scale_ = np.where(varies, scale, 1.0)
        twin.start_ = start_of_dispersion(moments)
        return twin

    def for_features(self, n_features: int, names: Sequence[str] | None = None) -> Self:
        """Return a copy for features of unit scale, so that its functions can be called.

        Parameters
        ----------
        n_features : int
        names : sequence of str or None, default=None
            Names of the features.
        """
        twin = copy.copy(self)
        twin.parts_ = FeatureParts.of(self.groups, self._kinds, n_features, names)
        twin.real_ = twin.parts_.are("gaussian")
        twin.scale_, twin.start_ = np.ones(n_features), np.zeros(n_features)
        return twin

    def _continue(self, previous: Any) -> None:
        """Take over the units of the loss of a fitted model."""
        if not (isinstance(previous, ByFeature) and self.parts_.equals(previous.parts_)):
            raise ValueError(
                "warm_start and partial_fit continue with earlier weights, but the groups of ByFeature "
                f"changed: restore {previous!r}, or fit a clone."
            )
        self.scale_, self.start_ = previous.scale_, previous.start_

    def check(self, X: Any) -> None:
        for _ in self.parts_.checked_blocks(X, for_training=False):
            pass

    # -- entries ------------------------------------------------------------------

    def __call__(self, eta: Tensor, x: Tensor) -> Tensor:
        return self.parts_.mapped("__call__", eta, x)

    def link(self, mean: Tensor) -> Tensor:
        return self.parts_.mapped("link", mean)

    def inverse_link(self, eta: Tensor) -> Tensor:
        return self.parts_.mapped("inverse_link", eta)

    def log_prob(self, eta: Tensor, x: Tensor) -> Tensor:
        return self._entries(eta, x, None)

    def slope(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        return self.parts_.mapped("slope", eta, x, log_noise)

    def information(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        return self.parts_.mapped("information", eta, x, log_noise)

    def pairwise_misfit(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        return torch.stack(self.parts_.results("pairwise_misfit", eta, x, log_noise)).sum(0)

    def draw(self, eta: Tensor, log_noise: Tensor | None, generator: Generator) -> Tensor:
        parts = zip(self.parts_.options, self.parts_.split(eta), self.parts_.split(log_noise), strict=True)
        return self.parts_.joined([option.draw(*part, generator) for option, *part in parts])

    def _entries(self, eta: Tensor, x: Tensor, log_noise: Tensor | None) -> Tensor:
        return self.parts_.mapped("_entries", eta, x, log_noise)


ByFeature._kinds = {
    "gaussian": _FeatureGaussian,
    "bernoulli": BinaryCrossEntropy,
    "poisson": Poisson,
    "categorical": Categorical,
}


def start_of_dispersion(moments: FeatureMoments) -> np.ndarray:
    """Return the logarithm of the dispersion of counts by the method of moments, at least 1e-3."""
    mean = np.maximum(moments.mean, 1e-12)
    return np.log(np.clip((moments.variance - mean) / mean**2, 1e-3, 1e3))


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
