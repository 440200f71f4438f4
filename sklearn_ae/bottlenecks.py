"""Bottlenecks: what happens to the encoder's output before it is called the code.

A bottleneck maps the activations ``a`` of shape (n, k) to codes ``z`` of the
same shape. With a generator (in training) it may be random; without one it is
deterministic.
"""

from __future__ import annotations

from numbers import Integral, Real

import torch
from torch import Generator, Tensor

from sklearn_ae._options import Option
from sklearn_ae._utils.compat import Interval

# a standard deviation of 1e-5 is what float32 can tell from none beside values of about 1
LOG_VARIANCE_BOUNDS = (-23.0, 10.0)


class Bottleneck(Option):
    """Base of the bottlenecks."""

    #: component j is worth more than j + 1, so that codes can be truncated
    ordered = False
    #: limits the code, so that more components than columns make sense
    sparse = False

    def __call__(self, a: Tensor, generator: Generator | None = None) -> Tensor:
        """Return the codes of the activations ``a``."""
        raise NotImplementedError

    def evaluate(self, a: Tensor, generator: Generator | None) -> Tensor:
        """Return the codes that the objective is evaluated with on validation rows."""
        return self(a)

    def shortest(self, width: int) -> int:
        """Fewest components that the objective asks to decode from, of a code of this width."""
        return width


class Identity(Bottleneck):
    """The code is the encoder's output.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.bottlenecks import Identity
    >>> Identity()(torch.tensor([[1.0, -2.0]]))
    tensor([[ 1., -2.]])
    """

    def __call__(self, a: Tensor, generator: Generator | None = None) -> Tensor:
        return a


class Ordered(Bottleneck):
    """Ordered codes by nested dropout [1]_: component j is worth more than j + 1, as in PCA.

    In training each row keeps its first b components, where b is k with
    probability ``full_rate`` and else uniform on 1, ..., k.

    Parameters
    ----------
    full_rate : float in [0, 1), default=0.5
        Share of the training rows that keep all components in any case. More makes the
        full code better and the shorter ones worse.

    References
    ----------
    .. [1] O. Rippel, M. Gelbart, R. Adams (2014), Learning ordered
       representations with nested dropout, ICML.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.bottlenecks import Ordered
    >>> Ordered()(torch.tensor([[1.0, -2.0]]))  # nothing is dropped outside of training
    tensor([[ 1., -2.]])
    """

    ordered = True
    _parameter_constraints = {"full_rate": [Interval(Real, 0, 1, closed="left")]}

    def __init__(self, full_rate: float = 0.5):
        self.full_rate = full_rate

    def __call__(self, a: Tensor, generator: Generator | None = None) -> Tensor:
        n, k = a.shape
        if generator is None or k == 1:
            return a
        # u is stratified, so that each batch holds every size in proportion
        shift = torch.rand((), generator=generator, device=a.device)
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
    Codes are signed here because training starts at PCA, so "largest" means
    largest in magnitude; the paper's activations are positive.

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

    def __init__(self, n_active: int = 8):
        self.n_active = n_active

    def __call__(self, a: Tensor, generator: Generator | None = None) -> Tensor:
        n_active = min(self.n_active, a.shape[1])
        largest = a.abs().topk(n_active, dim=1).indices
        # scattering keeps exactly n_active entries even among ties
        return torch.zeros_like(a).scatter(1, largest, a.gather(1, largest))


class ThresholdedReLU(Bottleneck):
    """Thresholded rectifier [1]_: codes at or under the threshold are exactly zero.

    Parameters
    ----------
    threshold : float, default=0.0
        In working units (1 is the root of the mean column variance of X).

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

    def __init__(self, threshold: float = 0.0):
        self.threshold = threshold

    def __call__(self, a: Tensor, generator: Generator | None = None) -> Tensor:
        return torch.where(a > self.threshold, a, 0.0)


class GaussianSampling(Bottleneck):
    """Draws from a normal posterior by the reparametrisation trick [1]_; its mean without a generator.

    The activations hold the means and then the log-variances of k components,
    shape (n, 2k). ``n_samples`` draws of all rows are stacked on one another,
    shape (n_samples * n, k).

    Parameters
    ----------
    n_samples : int, default=1
        Draws per row in training.

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

    _parameter_constraints = {"n_samples": [Interval(Integral, 1, None, closed="left")]}
    _n_evaluated = 8  # draws per row for a steady ELBO on validation rows

    def __init__(self, n_samples: int = 1):
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
    """Means and bounded log-variances of the activations of :class:`GaussianSampling`."""
    mu, log_var = a.chunk(2, dim=1)
    return mu, log_var.clamp(*LOG_VARIANCE_BOUNDS)


BOTTLENECKS = {
    "identity": Identity,
    "ordered": Ordered,
    "topk": TopK,
    "relu": ThresholdedReLU,
}
