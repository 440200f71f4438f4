"""How x is distributed given the decoder's output: what the likelihood asks of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sklearn_ae.likelihoods import LOG_2PI
from sklearn_ae.losses import Loss


class Observation(Protocol):
    """How x is distributed given the decoder's output ``eta``."""

    def misfit(self, eta: Tensor, x: Tensor) -> Tensor:
        """Minus log p(x | eta) of each row, constants included."""
        ...

    def misfits(self, etas: Tensor, x: Tensor) -> Tensor:
        """The same for all pairs of rows of x and etas, (n, m), up to a constant for each row."""
        ...

    def slope(self, eta: Tensor, x: Tensor) -> Tensor:
        """Derivative of log p(x | eta) with respect to each entry of eta."""
        ...

    def information(self, eta: Tensor, jac: Tensor) -> Tensor:
        """J'WJ, where W is the Fisher information of eta."""
        ...


@dataclass(frozen=True)
class GaussianObservation:
    """x ~ N(eta, diag(noise_variance)), with one variance for all columns or one for each."""

    noise_variance: Tensor | float

    def misfit(self, eta: Tensor, x: Tensor) -> Tensor:
        variance = torch.as_tensor(self.noise_variance, dtype=x.dtype).expand(x.shape[1])
        constant = x.shape[1] * LOG_2PI + variance.log().sum()
        return 0.5 * (((x - eta).square() / variance).sum(1) + constant)

    def misfits(self, etas: Tensor, x: Tensor) -> Tensor:
        unit = torch.as_tensor(self.noise_variance, dtype=x.dtype).rsqrt()
        return 0.5 * torch.cdist(x * unit, etas * unit).square()

    def slope(self, eta: Tensor, x: Tensor) -> Tensor:
        return (x - eta) / self.noise_variance

    def information(self, eta: Tensor, jac: Tensor) -> Tensor:
        unit = torch.as_tensor(self.noise_variance, dtype=jac.dtype).rsqrt()
        jac = jac * unit[..., None]
        return jac.mT @ jac


@dataclass(frozen=True)
class HeteroscedasticObservation:
    """x ~ N(m, diag(exp(l))) for an eta that holds m and then l, shape (n, 2d)."""

    def misfit(self, eta: Tensor, x: Tensor) -> Tensor:
        m, log_noise = eta.chunk(2, dim=1)
        return 0.5 * ((x - m).square() * (-log_noise).exp() + log_noise + LOG_2PI).sum(1)

    def misfits(self, etas: Tensor, x: Tensor) -> Tensor:
        m, log_noise = etas.chunk(2, dim=1)
        precision = (-log_noise).exp()
        constant = (m.square() * precision + log_noise).sum(1)
        return 0.5 * (x.square() @ precision.T - 2.0 * x @ (m * precision).T + constant)

    def slope(self, eta: Tensor, x: Tensor) -> Tensor:
        m, log_noise = eta.chunk(2, dim=1)
        residual, precision = x - m, (-log_noise).exp()
        return torch.cat([residual * precision, 0.5 * (residual.square() * precision - 1.0)], 1)

    def information(self, eta: Tensor, jac: Tensor) -> Tensor:
        precision = (-eta.chunk(2, dim=1)[1]).exp()
        fisher = torch.cat([precision, torch.full_like(precision, 0.5)], 1)
        return jac.mT @ (fisher[..., None] * jac)


@dataclass(frozen=True)
class DiscreteObservation:
    """Bernoulli or Poisson, in their canonical parameter: log p = x eta - A(eta) + constant."""

    loss: Loss

    def misfit(self, eta: Tensor, x: Tensor) -> Tensor:
        return -self.loss.log_prob(eta, x).sum(1)

    def misfits(self, etas: Tensor, x: Tensor) -> Tensor:
        return self.loss(etas, torch.zeros_like(etas)).sum(1) - x @ etas.T

    def slope(self, eta: Tensor, x: Tensor) -> Tensor:
        return x - self.loss.inverse_link(eta)

    def information(self, eta: Tensor, jac: Tensor) -> Tensor:
        return jac.mT @ (self.loss.fisher(eta)[..., None] * jac)
