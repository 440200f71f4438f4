"""Bottlenecks: transformations from the encoder output to the latent code.

A bottleneck maps the activations ``a`` of shape (n, k) to codes ``z`` of the
same shape. It may be random when it is given a generator (in training) and is
deterministic without one.
"""

from __future__ import annotations

from numbers import Integral, Real

import torch
from torch import Generator, Tensor

from sklearn_ae._options import Option
from sklearn_ae._utils.compat import Interval

# A standard deviation of 1e-5 is the smallest that float32 resolves next to values of about 1.
LOG_VARIANCE_BOUNDS = (-23.0, 10.0)


class Bottleneck(Option):
    """Base of the bottlenecks; a subclass defines ``__call__``."""

    _required = ("__call__",)

    #: the code of a fitted model is the encoder output itself: true of nothing but the identity
    identity = False
    #: component j explains more than component j + 1, so that codes can be truncated
    ordered = False
    #: limits the code, so that more components than features make sense
    sparse = False
    #: smallest number of components that the objective decodes from; None for all
    n_least: int | None = None
    #: only number of components for which the error of a fitted model is measured; None for every number
    #: if codes are ordered, and for all components otherwise
    measured_size: int | None = None

    def __call__(self, a: Tensor, generator: Generator | None = None) -> Tensor:
        """Return the codes of the activations ``a``, both of shape (n, k); random only with a generator."""
        raise NotImplementedError

    def evaluate(self, a: Tensor, generator: Generator | None) -> Tensor:
        """Return the codes that the objective uses on validation samples; no randomness by default."""
        return self(a)


class Identity(Bottleneck):
    """No transformation: the code is the encoder output.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.bottlenecks import Identity
    >>> Identity()(torch.tensor([[1.0, -2.0]]))
    tensor([[ 1., -2.]])
    """

    identity = True

    def __call__(self, a: Tensor, generator: Generator | None = None) -> Tensor:
        return a


class Ordered(Bottleneck):
    """Ordered codes by nested dropout [1]_: component j explains more than component j + 1, as in PCA.

    In training each sample keeps its first b components, where b is k with
    probability ``full_rate`` and uniform on 1, ..., k otherwise.

    Parameters
    ----------
    full_rate : float in [0, 1), default=0.5
        Share of the training samples that keep all components. A larger share improves
        the full code at the expense of truncated ones.

    References
    ----------
    .. [1] O. Rippel, M. Gelbart, R. Adams (2014), Learning ordered
       representations with nested dropout, ICML.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.bottlenecks import Ordered
    >>> Ordered()(torch.tensor([[1.0, -2.0]]))  # no dropout outside of training
    tensor([[ 1., -2.]])
    """

    identity = True
    ordered = True
    _parameter_constraints = {"full_rate": [Interval(Real, 0, 1, closed="left")]}

    def __init__(self, full_rate: float = 0.5) -> None:
        self.full_rate = full_rate

    def __call__(self, a: Tensor, generator: Generator | None = None) -> Tensor:
        n, k = a.shape
        if generator is None or k == 1:
            return a
        # Stratify u, so that each batch contains every size in proportion.
        shift = torch.rand((), generator=generator, dtype=torch.float32, device=a.device)
        u = (torch.randperm(n, generator=generator, device=a.device) + shift)[:, None] / n
        n_kept = 1 + torch.floor((u - self.full_rate) / (1 - self.full_rate) * k)
        n_kept = torch.where(u < self.full_rate, float(k), n_kept)
        return torch.where(torch.arange(k, device=a.device) < n_kept, a, 0.0)


class TopK(Bottleneck):
    """Keep the ``n_active`` activations of largest magnitude, set all others to zero [1]_.

    Parameters
    ----------
    n_active : int, default=8
        Non-zero entries of each code; clipped to ``n_components``.

    Notes
    -----
    Codes are signed because training starts at PCA, so "largest" refers to the
    magnitude; the activations of the paper are positive.

    References
    ----------
    .. [1] A. Makhzani, B. Frey (2014), k-sparse autoencoders, ICLR.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.bottlenecks import TopK
    >>> TopK(n_active=1)(torch.tensor([[1.0, -2.0]]))
    tensor([[ 0., -2.]])
    """

    sparse = True
    _parameter_constraints = {"n_active": [Interval(Integral, 1, None, closed="left")]}

    def __init__(self, n_active: int = 8) -> None:
        self.n_active = n_active

    def __call__(self, a: Tensor, generator: Generator | None = None) -> Tensor:
        n_active = min(self.n_active, a.shape[1])
        largest = a.abs().topk(n_active, dim=1).indices
        # Scattering keeps exactly n_active entries even with ties.
        return torch.zeros_like(a).scatter(1, largest, a.gather(1, largest))


class ThresholdedReLU(Bottleneck):
    """Thresholded ReLU [1]_: activations at or below the threshold become exactly zero.

    Parameters
    ----------
    threshold : float, default=0.0
        In working units (1 is the root of the mean feature variance of X).

    References
    ----------
    .. [1] K. Konda, R. Memisevic, D. Krueger (2015), Zero-bias autoencoders and
       the benefits of co-adapting features, ICLR.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.bottlenecks import ThresholdedReLU
    >>> ThresholdedReLU(threshold=0.5)(torch.tensor([[1.0, 0.2, -2.0]]))
    tensor([[1., 0., 0.]])
    """

    sparse = True
    _parameter_constraints = {"threshold": [Interval(Real, 0, None, closed="left")]}

    def __init__(self, threshold: float = 0.0) -> None:
        self.threshold = threshold

    def __call__(self, a: Tensor, generator: Generator | None = None) -> Tensor:
        return torch.where(a > self.threshold, a, 0.0)


class GaussianSampling(Bottleneck):
    """Draws from a normal posterior by the reparametrisation trick [1]_; its mean without a generator.

    The activations hold the means followed by the log-variances of k components,
    shape (n, 2k). The ``n_samples`` draws of all samples are concatenated, shape
    (n_samples * n, k).

    Parameters
    ----------
    n_samples : int, default=1
        Draws per sample in training.

    References
    ----------
    .. [1] D. Kingma, M. Welling (2014), Auto-encoding variational Bayes, ICLR.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.bottlenecks import GaussianSampling
    >>> GaussianSampling()(torch.tensor([[1.0, -2.0, 0.0, 0.0]]))
    tensor([[ 1., -2.]])
    """

    identity = True  # the code of a fitted model is the posterior mean
    _parameter_constraints = {"n_samples": [Interval(Integral, 1, None, closed="left")]}
    _n_evaluated = 8  # draws per validation sample, which keep the noise of the ELBO small

    def __init__(self, n_samples: int = 1) -> None:
        self.n_samples = n_samples

    def __call__(self, a: Tensor, generator: Generator | None = None) -> Tensor:
        return self._draw(a, generator, self.n_samples)

    def evaluate(self, a: Tensor, generator: Generator | None) -> Tensor:
        return self._draw(a, generator, self._n_evaluated if self.n_samples == 1 else self.n_samples)

    def _draw(self, a: Tensor, generator: Generator | None, n_samples: int) -> Tensor:
        mu, log_var = split_posterior(a)
        if generator is None:
            return mu
        shape = (n_samples, *mu.shape)
        normal = torch.randn(shape, generator=generator, device=mu.device, dtype=mu.dtype)
        return (mu + (0.5 * log_var).exp() * normal).flatten(0, 1)


def split_posterior(a: Tensor) -> tuple[Tensor, Tensor]:
    """Return means and bounded log-variances from the activations of :class:`GaussianSampling`."""
    mu, log_var = a.chunk(2, dim=1)
    return mu, log_var.clamp(*LOG_VARIANCE_BOUNDS)


BOTTLENECKS = {
    "identity": Identity,
    "ordered": Ordered,
    "topk": TopK,
    "relu": ThresholdedReLU,
}
