"""How x is distributed given the decoder's output: what the likelihood asks of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sklearn_ae._likelihood import LOG_2PI
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
    """x ~ N(eta, noise_variance * I)."""

    noise_variance: float

    def misfit(self, eta: Tensor, x: Tensor) -> Tensor:
        constant = x.shape[1] * (LOG_2PI + math.log(self.noise_variance))
        return 0.5 * ((x - eta).square().sum(1) / self.noise_variance + constant)

    def misfits(self, etas: Tensor, x: Tensor) -> Tensor:
        return 0.5 * torch.cdist(x, etas).square() / self.noise_variance

    def slope(self, eta: Tensor, x: Tensor) -> Tensor:
        return (x - eta) / self.noise_variance

    def information(self, eta: Tensor, jac: Tensor) -> Tensor:
        return jac.mT @ jac / self.noise_variance


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
