"""Divergences of a VAE's posteriors from the prior N(0, I).

A divergence is a function of the posterior q(z | x) = N(mu, exp(log_var)) of each
sample of a batch and one draw z from it, and returns nats per sample. :class:`KL` is
the term of the ELBO; the others weight its parts differently, or compare the
aggregate posterior with the prior.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from sklearn_ae._options import Option
from sklearn_ae._utils.callables import checked_result
from sklearn_ae._utils.compat import Interval
from sklearn_ae._utils.gaussian import kl_per_component, log_normal

_MAX_REFERENCES = 512  # samples whose posteriors or draws represent those of all samples


class Divergence(Option):
    """Base class of the divergences."""

    #: names of the members without a default
    _required: tuple[str, ...] = ("__call__",)

    def __call__(
        self, mu: Tensor, log_var: Tensor, z: Tensor, n_samples: int, generator: Generator
    ) -> Tensor:
        """Return the divergence of each sample in nats, of shape (n,).

        Parameters
        ----------
        mu, log_var : Tensor of shape (n, n_components)
            Posterior of each sample of the batch.
        z : Tensor of shape (n, n_components)
            One draw from each posterior.
        n_samples : int
            Size of the training set that the batch is drawn from.
        generator : Generator
            Source of random numbers.
        """
        raise NotImplementedError


class KL(Divergence):
    """KL divergence of the posterior from the prior N(0, I), in closed form [1]_.

    References
    ----------
    .. [1] D. Kingma, M. Welling (2014), Auto-encoding variational Bayes, ICLR.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.divergences import KL
    >>> KL()(torch.tensor([[1.0, 2.0]]), torch.zeros(1, 2), torch.zeros(1, 2), 1, None)
    tensor([2.5000])
    """

    def __call__(
        self, mu: Tensor, log_var: Tensor, z: Tensor, n_samples: int, generator: Generator
    ) -> Tensor:
        return kl_per_component(mu, log_var).sum(1)


class BetaTC(Divergence):
    """KL divergence with an extra weight on the total correlation of the codes [1]_.

    Averaged over samples, the KL divergence is the sum of the mutual information of
    x and z, the total correlation of z, and the divergence of each component from its
    prior. Multiplying the total correlation alone by ``beta`` disentangles the
    components without reducing their information.

    Parameters
    ----------
    beta : float, default=6.0
        Weight of the total correlation; 1 is the plain KL divergence.

    Notes
    -----
    NOTE[DIFF]: minibatch stratified sampling estimates the density of the aggregate
    posterior: a sample's own posterior has weight 1 / n_samples, and the others of the
    batch share the rest. The minibatch-weighted estimate of the paper has a larger
    bias.

    References
    ----------
    .. [1] R. Chen, X. Li, R. Grosse, D. Duvenaud (2018), Isolating sources of
       disentanglement in variational autoencoders, NeurIPS.

    Examples
    --------
    >>> from sklearn_ae import VAETransformer
    >>> from sklearn_ae.divergences import BetaTC
    >>> VAETransformer(8, divergence=BetaTC(beta=4.0)).divergence
    BetaTC(beta=4.0)
    """

    _parameter_constraints = {"beta": [Interval(Real, 0, None, closed="left")]}

    def __init__(self, beta: float = 6.0):
        self.beta = beta

    def __call__(
        self, mu: Tensor, log_var: Tensor, z: Tensor, n_samples: int, generator: Generator
    ) -> Tensor:
        extra = (self.beta - 1.0) * total_correlation(mu, log_var, z, n_samples)
        return kl_per_component(mu, log_var).sum(1) + extra


def total_correlation(mu: Tensor, log_var: Tensor, z: Tensor, n_samples: int) -> Tensor:
    """Return log q(z) - sum_j log q(z_j) at each draw; the mean is the total correlation, in nats."""
    n, n_samples = len(z), max(n_samples, 2)
    m = min(n, _MAX_REFERENCES)
    log_q = torch.cat(
        [log_normal(z[:, None], mu[:m], log_var[:m]), log_normal(z, mu, log_var)[:, None]], dim=1
    )
    own = torch.eye(n, m, dtype=torch.bool, device=z.device)
    n_others = (m - own.sum(1, keepdim=True)).clamp_min(1)
    others = (math.log((n_samples - 1) / n_samples) - n_others.log()).to(z.dtype).expand(n, m)
    weight = F.pad(others.masked_fill(own, -math.inf), (0, 1), value=-math.log(n_samples))
    joint = (weight + log_q.sum(2)).logsumexp(1)
    return joint - (weight[..., None] + log_q).logsumexp(1).sum(1)


class MMD(Divergence):
    """Maximum mean discrepancy between the aggregate posterior and the prior [1]_ [2]_.

    The codes of all samples together are to be distributed as N(0, I), instead of the
    posterior of each sample, so uninformative codes are not rewarded.

    Parameters
    ----------
    weight : float, default=100.0
        Weight of the squared discrepancy, in nats per sample.
    kl : float, default=0.0
        Weight of an additional KL divergence: 0 for a Wasserstein autoencoder or
        MMD-VAE, 1 - alpha for the InfoVAE.

    Notes
    -----
    The kernel is a mean of inverse multiquadrics of several widths. The estimate is
    the U-statistic, which is unbiased and may be negative.

    References
    ----------
    .. [1] S. Zhao, J. Song, S. Ermon (2019), InfoVAE: balancing learning and
       inference in variational autoencoders, AAAI.
    .. [2] I. Tolstikhin, O. Bousquet, S. Gelly, B. Schoelkopf (2018), Wasserstein
       auto-encoders, ICLR.

    Examples
    --------
    >>> from sklearn_ae import VAETransformer
    >>> from sklearn_ae.divergences import MMD
    >>> VAETransformer(8, divergence=MMD(weight=50.0)).divergence
    MMD(weight=50.0)
    """

    _parameter_constraints = {
        "weight": [Interval(Real, 0, None, closed="left")],
        "kl": [Interval(Real, 0, None, closed="left")],
    }
    _widths = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

    def __init__(self, weight: float = 100.0, kl: float = 0.0):
        self.weight = weight
        self.kl = kl

    def __call__(
        self, mu: Tensor, log_var: Tensor, z: Tensor, n_samples: int, generator: Generator
    ) -> Tensor:
        some = z[:_MAX_REFERENCES]
        prior = torch.randn(some.shape, generator=generator, device=z.device, dtype=z.dtype)
        value = (self.weight * self.discrepancy(some, prior)).expand(len(z))
        return value + self.kl * kl_per_component(mu, log_var).sum(1) if self.kl else value

    def discrepancy(self, z: Tensor, prior: Tensor) -> Tensor:
        """Return the squared maximum mean discrepancy of two sets of codes of shape (n, k)."""
        n = len(z)
        if n < 2:
            return z.new_zeros(())
        within = self._kernel(z, z) + self._kernel(prior, prior)
        off_diagonal = (within.sum() - within.diagonal().sum()) / (n * (n - 1))
        return off_diagonal - 2.0 * self._kernel(z, prior).mean()

    def _kernel(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the mean of the kernels over their widths, which is 1 at distance zero."""
        distance = a.square().sum(1)[:, None] + b.square().sum(1) - 2.0 * a @ b.T
        distance = distance.clamp_min(0.0)  # rounding may make distances of zero negative
        scales = [2.0 * a.shape[1] * width for width in self._widths]
        return torch.stack([c / (c + distance) for c in scales]).mean(0)


class CallableDivergence(Divergence):
    """Divergence given by a function of the posteriors.

    Parameters
    ----------
    function : callable
        Maps the means and log-variances of the posteriors, both of shape
        (n_samples, n_components), to nats per sample, a tensor of shape (n_samples,).

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.divergences import CallableDivergence
    >>> def squared_norm(mu, log_var):
    ...     return 0.5 * mu.square().sum(1)
    >>> divergence = CallableDivergence(squared_norm)
    >>> divergence(torch.tensor([[1.0, 2.0]]), torch.zeros(1, 2), torch.zeros(1, 2), 1, None)
    tensor([2.5000])
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Any]):
        self.function = function

    def __call__(
        self, mu: Tensor, log_var: Tensor, z: Tensor, n_samples: int, generator: Generator
    ) -> Tensor:
        return checked_result(self.function(mu, log_var), mu.shape[:1], "divergence")


DIVERGENCES = {
    "kl": KL,
    "beta_tc": BetaTC,
    "mmd": MMD,
}
