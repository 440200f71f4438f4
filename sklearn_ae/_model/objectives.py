"""The variational objective: the negative ELBO of each row, in nats and in the units of X.

    ELBO = E_q(z|x) log p(x | z) - beta * divergence(q(z|x), p(z))

With several importance samples and the KL divergence it is the tighter bound
E log 1/K sum_i p(x | z_i) (p(z_i) / q(z_i | x))^beta. Reconstruction and
divergence are both sums, over the columns and over the components.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_ae._model.module import ForwardOutput
from sklearn_ae._utils.gaussian import log_normal, log_standard_normal
from sklearn_ae.bottlenecks import split_posterior
from sklearn_ae.divergences import Divergence
from sklearn_ae.likelihoods import Likelihood
from sklearn_ae.losses import Loss
from sklearn_ae.penalties import Penalty


class Objective(nn.Module):
    """Reconstruction loss plus penalty, in working units.

    Both are sums over the columns (or components) of a row. What is reported and
    minimised is their mean over rows, divided by the number of columns: for
    squared error the share of the variance that is left unexplained.
    """

    def __init__(self, loss: Loss, penalty: Penalty | None):
        super().__init__()
        self.loss = loss
        self.penalty = penalty

    calibrated = False

    def schedule(self, progress: float | Tensor) -> None:
        """Hear which share of the training's steps is done."""

    def size(self, loss: float) -> float:
        """What a change of this loss is small or large beside: itself."""
        return abs(loss)

    def forward(self, out: ForwardOutput, y: Tensor | None = None) -> Tensor:
        """Mean over rows and columns (skorch passes an unused y)."""
        value = self.loss.mean(out.eta, out.target)
        return value if self.penalty is None else value + self._penalty(out).mean()

    def per_row(self, out: ForwardOutput) -> Tensor:
        """Mean over the columns for each row, shape (n,)."""
        value = self.loss(out.eta, out.target).mean(1)
        return value if self.penalty is None else value + self._penalty(out)

    def _penalty(self, out: ForwardOutput) -> Tensor:
        assert self.penalty is not None
        assert out.generator is not None
        penalty = self.penalty(out.source, out.activations, out.codes, out.generator)
        return penalty / out.target.shape[1]


class Elbo(nn.Module):
    """Negative evidence lower bound.

    Parameters
    ----------
    likelihood : Likelihood
    divergence : Divergence
    beta : float
        Weight of the divergence.
    warmup : float
        Share of the training's steps over which that weight rises from 0 to
        beta. Validation always takes beta.
    n_samples : int
        Draws of the importance-weighted bound; 1 is the ELBO.
    n_rows, n_features : int
        Of the training data.
    log_jacobian : float
        Added to each row: d log(scale) for densities of rows divided by a scale.

    References
    ----------
    D. Kingma, M. Welling (2014), Auto-encoding variational Bayes, ICLR.

    Y. Burda, R. Grosse, R. Salakhutdinov (2016), Importance weighted
    autoencoders, ICLR.

    S. Bowman et al. (2016), Generating sentences from a continuous space, CoNLL
    (the warm-up).
    """

    def __init__(
        self,
        likelihood: Likelihood,
        divergence: Divergence,
        beta: float,
        warmup: float,
        n_samples: int,
        n_rows: int,
        n_features: int,
        log_jacobian: float,
    ):
        super().__init__()
        self.likelihood = likelihood
        self.divergence = divergence
        self.beta = beta
        self.warmup = warmup
        self.n_samples = n_samples
        self.n_rows = n_rows
        self.log_jacobian = log_jacobian
        self.n_features = n_features
        self.calibrated = False  # whether validation mends the noise variance
        self.share: float | Tensor = 1.0  # of beta, during the warm-up

    def schedule(self, progress: float | Tensor) -> None:
        """Hear which share of the training's steps is done: a number, or where on the device it is kept."""
        share = progress / self.warmup if self.warmup > 0 else 1.0
        self.share = share.clamp(max=1.0) if isinstance(share, Tensor) else min(1.0, share)

    def size(self, loss: float) -> float:
        """What a change of this loss is small or large beside: a nat per column (it may be negative)."""
        return float(self.n_features)

    def forward(self, out: ForwardOutput, y: Tensor | None = None) -> Tensor:
        """Mean over rows (skorch passes an unused y)."""
        return self._rows(out, self.share * self.beta).mean()

    def per_row(self, out: ForwardOutput) -> Tensor:
        """Negative ELBO of each row, shape (n,), with the noise variance set right for these rows.

        A noise variance that was learnt on training rows is too small for others;
        that is mended after training and is no reason to stop it.
        """
        if self.calibrated and out.log_noise is not None:
            factor = misfit(out.eta, out.target, out.log_noise).mean()
            out = out._replace(log_noise=out.log_noise + factor.clamp_min(1e-10).log())
        return self._rows(out, self.beta)

    def _rows(self, out: ForwardOutput, weight: float | Tensor) -> Tensor:
        mu, log_var = split_posterior(_full(out.activations))
        z = _full(out.codes).view(-1, *mu.shape)
        log_p = self._log_likelihood(out, len(z))
        if self.n_samples > 1:
            log_ratio = log_normal(z, mu, log_var) - log_standard_normal(z)
            log_w = log_p - weight * log_ratio.sum(2)
            return self.log_jacobian - (log_w.logsumexp(0) - math.log(len(z)))
        generator: Any = out.generator
        divergence = self.divergence(mu, log_var, z[0], self.n_rows, generator)
        return self.log_jacobian - log_p.mean(0) + weight * divergence

    def _log_likelihood(self, out: ForwardOutput, n_samples: int) -> Tensor:
        """log p(x | z) of each draw, shape (n_samples, n)."""
        eta = _full(out.eta).view(n_samples, *out.target.shape)
        log_noise = out.log_noise
        if log_noise is not None and log_noise.ndim > 1:
            log_noise = _full(log_noise).view_as(eta)
        return self.likelihood.log_likelihood(eta, out.target, log_noise)


def _full(x: Tensor) -> Tensor:
    """Float32 again after bfloat16 layers: differences of large sums follow."""
    return x.float() if x.dtype == torch.bfloat16 else x


def misfit(eta: Tensor, x: Tensor, log_noise: Tensor) -> Tensor:
    """Mean squared residual of each row in units of the noise variance; 1 where that is right.

    Parameters
    ----------
    eta : Tensor of shape (m * n, d)
        m decoded draws of each row.
    x : Tensor of shape (n, d)
    log_noise : Tensor of shape (1,), (d,) or (m * n, d)
    """
    precision = (-log_noise).exp()
    precision = precision.view(-1, *x.shape) if precision.ndim > 1 else precision
    return ((eta.view(-1, *x.shape) - x).square() * precision).mean((0, 2))
