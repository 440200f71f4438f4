"""Divergences: what keeps a VAE's codes near the prior N(0, I).

A divergence sees the posterior q(z | x) = N(mu, exp(log_var)) of each row of a
batch and one draw z of each, and returns nats per row. The ELBO's own term is
:class:`KL`; the others weigh its parts differently, or compare the codes of all
rows together with the prior.
"""

from __future__ import annotations

import math
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from sklearn_ae._options import Option
from sklearn_ae._utils.compat import Interval
from sklearn_ae._utils.gaussian import kl_per_component, log_normal

_MAX_REFERENCES = 512  # rows whose posteriors or draws stand for those of all rows


class Divergence(Option):
    """Base of the divergences."""

    def __call__(self, mu: Tensor, log_var: Tensor, z: Tensor, n_rows: int, generator: Generator) -> Tensor:
        """Return the divergence of each row, of shape (n,).

        Parameters
        ----------
        mu, log_var : Tensor of shape (n, k)
            Posterior of each row of the batch.
        z : Tensor of shape (n, k)
            A draw from it.
        n_rows : int
            Training rows, of which the batch is a sample.
        generator : Generator
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

    def __call__(self, mu, log_var, z, n_rows, generator):
        return kl_per_component(mu, log_var).sum(1)


class BetaTC(Divergence):
    """KL divergence with an extra weight on the codes' total correlation [1]_.

    Averaged over rows, the KL divergence is the sum of the mutual information of
    x and z, the total correlation of z, and the divergence of each component
    from its prior. Here the total correlation, and it alone, counts ``beta``
    times, which disentangles the components and keeps their information.

    Parameters
    ----------
    beta : float, default=6.0
        Weight of the total correlation; 1 is the plain KL divergence.

    Notes
    -----
    NOTE[DIFF]: the density of all rows' codes is estimated from the batch, with
    each row's own posterior weighed as the one of ``n_rows`` that it is; the
    paper's minibatch-weighted estimate is biased more.

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

    def __call__(self, mu, log_var, z, n_rows, generator):
        extra = (self.beta - 1.0) * total_correlation(mu, log_var, z, n_rows)
        return kl_per_component(mu, log_var).sum(1) + extra


def total_correlation(mu: Tensor, log_var: Tensor, z: Tensor, n_rows: int) -> Tensor:
    """log q(z) - sum_j log q(z_j) at each row's draw; its mean is the total correlation, in nats."""
    n, n_rows = len(z), max(n_rows, 2)
    m = min(n, _MAX_REFERENCES)
    log_q = torch.cat(
        [log_normal(z[:, None], mu[:m], log_var[:m]), log_normal(z, mu, log_var)[:, None]], dim=1
    )
    own = torch.eye(n, m, dtype=torch.bool, device=z.device)
    n_others = (m - own.sum(1, keepdim=True)).clamp_min(1)
    others = (math.log((n_rows - 1) / n_rows) - n_others.log()).to(z.dtype).expand(n, m)
    weight = F.pad(others.masked_fill(own, -math.inf), (0, 1), value=-math.log(n_rows))
    joint = (weight + log_q.sum(2)).logsumexp(1)
    return joint - (weight[..., None] + log_q).logsumexp(1).sum(1)


class MMD(Divergence):
    """Maximum mean discrepancy between the codes of all rows and the prior [1]_ [2]_.

    It asks that the codes together look like draws from N(0, I), and not that
    each row's posterior does, so nothing is gained by codes that tell nothing of
    their row: information is kept.

    Parameters
    ----------
    weight : float, default=100.0
        Of the squared discrepancy, in nats per row.
    kl : float, default=0.0
        Weight of the KL divergence beside it: 0 for a Wasserstein autoencoder or
        MMD-VAE, 1 - alpha in the InfoVAE.

    Notes
    -----
    Inverse multiquadric kernels of several widths; the U-statistic, which is
    unbiased and may be negative.

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

    def __call__(self, mu, log_var, z, n_rows, generator):
        some = z[:_MAX_REFERENCES]
        prior = torch.randn(some.shape, generator=generator, device=z.device, dtype=z.dtype)
        value = (self.weight * self.discrepancy(some, prior)).expand(len(z))
        return value + self.kl * kl_per_component(mu, log_var).sum(1) if self.kl else value

    def discrepancy(self, z: Tensor, prior: Tensor) -> Tensor:
        """Squared maximum mean discrepancy of two samples of shape (n, k)."""
        n = len(z)
        if n < 2:
            return z.new_zeros(())
        within = self._kernel(z, z) + self._kernel(prior, prior)
        off_diagonal = (within.sum() - within.diagonal().sum()) / (n * (n - 1))
        return off_diagonal - 2.0 * self._kernel(z, prior).mean()

    def _kernel(self, a: Tensor, b: Tensor) -> Tensor:
        """Mean of the kernels over their widths; 1 at distance zero."""
        distance = a.square().sum(1)[:, None] + b.square().sum(1) - 2.0 * a @ b.T
        distance = distance.clamp_min(0.0)  # of what rounding leaves at zero
        scales = [2.0 * a.shape[1] * width for width in self._widths]
        return torch.stack([c / (c + distance) for c in scales]).mean(0)


DIVERGENCES = {
    "kl": KL,
    "beta_tc": BetaTC,
    "mmd": MMD,
}
