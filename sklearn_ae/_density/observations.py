"""Distributions of x given the decoder's output, in the form that scoring needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sklearn_ae._utils.derivatives import entrywise_derivatives, positive_information
from sklearn_ae._utils.gaussian import LOG_2PI
from sklearn_ae.likelihoods import Likelihood
from sklearn_ae.losses import BinaryCrossEntropy, Loss

_MAX_PAIR_ENTRIES = 2**19  # entries of pairs of samples and outputs that are held at a time


class Observation(Protocol):
    """Distribution of x given the decoder's output ``eta``."""

    def misfit(self, eta: Tensor, x: Tensor) -> Tensor:
        """Return minus log p(x | eta) of each sample with all constants, of shape (n,)."""
        ...

    def entries(self, eta: Tensor, x: Tensor) -> Tensor:
        """Return log p(x | eta) of each feature, of shape (n, d); their sum is minus the misfit."""
        ...

    def pairwise_misfit(self, eta: Tensor, x: Tensor) -> Tensor:
        """Return the misfit of all pairs of n samples x and m outputs eta, of shape (n, m).

        Each row may lack a constant.
        """
        ...

    def slope(self, eta: Tensor, x: Tensor) -> Tensor:
        """Return the derivative of log p(x | eta) with respect to each entry of eta."""
        ...

    def information(self, eta: Tensor, x: Tensor, jac: Tensor) -> Tensor:
        """Return J'WJ of shape (n, k, k), where W is the information on eta and J the decoder's Jacobian.

        It is computed in the dtype of J.
        """
        ...


@dataclass(frozen=True)
class OptionObservation:
    """Distribution that is given by a likelihood or by a discrete loss.

    Parameters
    ----------
    option : Loss
    log_noise : Tensor or None
        Logarithm of the noise variance that all samples share, if there is one.
    """

    option: Loss
    log_noise: Tensor | None = None

    def misfit(self, eta: Tensor, x: Tensor) -> Tensor:
        if isinstance(self.option, BinaryCrossEntropy):  # terms of one sign lose nothing in float32
            return -self.option.log_prob(eta.float(), x.float()).sum(1, dtype=torch.float64)
        if isinstance(self.option, Likelihood):
            return -self.option.log_likelihood(eta, x, self.log_noise)
        return -self.option._entries(eta, x, self.log_noise).sum(1)

    def entries(self, eta: Tensor, x: Tensor) -> Tensor:
        return self.option._entries(eta, x, self.log_noise)

    def pairwise_misfit(self, eta: Tensor, x: Tensor) -> Tensor:
        return self.option.pairwise_misfit(eta, x, self.log_noise)

    def slope(self, eta: Tensor, x: Tensor) -> Tensor:
        return self.option.slope(eta, x, self.log_noise)

    def information(self, eta: Tensor, x: Tensor, jac: Tensor) -> Tensor:
        return _weighted_gram(jac, self.option.information(eta, x, self.log_noise))


@dataclass(frozen=True)
class DecodedNoiseObservation:
    """Distribution whose log noise variance is an output of the decoder, too.

    The outputs of shape (n, 2d) hold ``eta`` followed by the log noise variance.
    """

    likelihood: Likelihood

    def misfit(self, eta: Tensor, x: Tensor) -> Tensor:
        m, log_noise = eta.chunk(2, dim=1)
        return -self.likelihood.log_likelihood(m, x, log_noise)

    def entries(self, eta: Tensor, x: Tensor) -> Tensor:
        m, log_noise = eta.chunk(2, dim=1)
        return self.likelihood.log_prob(m, x, log_noise)

    def pairwise_misfit(self, eta: Tensor, x: Tensor) -> Tensor:
        m, log_noise = eta.chunk(2, dim=1)
        return self.likelihood.pairwise_misfit(m, x, log_noise)

    def slope(self, eta: Tensor, x: Tensor) -> Tensor:
        m, log_noise = eta.chunk(2, dim=1)
        slope, _ = self._noise_derivatives(m, x, log_noise)
        return torch.cat([self.likelihood.slope(m, x, log_noise), slope], 1)

    def information(self, eta: Tensor, x: Tensor, jac: Tensor) -> Tensor:
        m, log_noise = eta.chunk(2, dim=1)
        about_noise = positive_information(*self._noise_derivatives(m, x, log_noise))
        information = torch.cat([self.likelihood.information(m, x, log_noise), about_noise], 1)
        return _weighted_gram(jac, information)

    def _noise_derivatives(self, m: Tensor, x: Tensor, log_noise: Tensor) -> tuple[Tensor, Tensor]:
        def log_prob(log_noise: Tensor, m: Tensor, x: Tensor) -> Tensor:
            return self.likelihood.log_prob(m, x, log_noise)

        return entrywise_derivatives(log_prob, log_noise, m, x)


@dataclass(frozen=True)
class GaussianObservation:
    """Normal distribution N(eta, diag(noise_variance)).

    Parameters
    ----------
    noise_variance : float or Tensor of shape (1,) or (d,)
        One variance for all features, or one for each.
    """

    noise_variance: Tensor | float

    def misfit(self, eta: Tensor, x: Tensor) -> Tensor:
        variance = self._variance(x).expand(x.shape[1])
        constant = x.shape[1] * LOG_2PI + variance.log().sum()
        return 0.5 * (((x - eta).square() / variance).sum(1) + constant)

    def entries(self, eta: Tensor, x: Tensor) -> Tensor:
        variance = self._variance(x)
        return -0.5 * ((x - eta).square() / variance + variance.log() + LOG_2PI)

    def pairwise_misfit(self, eta: Tensor, x: Tensor) -> Tensor:
        unit = self._variance(x).rsqrt()
        eta = eta * unit
        return 0.5 * eta.square().sum(1) - (x * unit) @ eta.T

    def pairwise_misfit_of_observed(self, eta: Tensor, x: Tensor) -> Tensor:
        """Return the misfit of all pairs, of the features of x that are not NaN."""
        unit = self._variance(x).rsqrt()
        eta = eta * unit
        observed = (~x.isnan()).to(x.dtype)
        return 0.5 * observed @ eta.square().T - (x.nan_to_num(0.0) * unit) @ eta.T

    def slope(self, eta: Tensor, x: Tensor) -> Tensor:
        return (x - eta) / self.noise_variance

    def information(self, eta: Tensor, x: Tensor, jac: Tensor) -> Tensor:
        jac = jac * self._variance(jac).rsqrt()[..., None]
        return jac.mT @ jac

    def _variance(self, like: Tensor) -> Tensor:
        return torch.as_tensor(self.noise_variance, dtype=like.dtype, device=like.device)


@dataclass(frozen=True)
class HeteroscedasticObservation:
    """Normal distribution N(m, diag(exp(l))) for outputs of shape (n, 2d) that hold m followed by l."""

    def misfit(self, eta: Tensor, x: Tensor) -> Tensor:
        m, log_noise = eta.chunk(2, dim=1)
        return 0.5 * ((x - m).square() * (-log_noise).exp() + log_noise + LOG_2PI).sum(1)

    def entries(self, eta: Tensor, x: Tensor) -> Tensor:
        m, log_noise = eta.chunk(2, dim=1)
        return -0.5 * ((x - m).square() * (-log_noise).exp() + log_noise + LOG_2PI)

    def pairwise_misfit(self, eta: Tensor, x: Tensor) -> Tensor:
        m, log_noise = eta.chunk(2, dim=1)
        precision = (-log_noise).exp()
        constant = (m.square() * precision + log_noise).sum(1)
        return 0.5 * (x.square() @ precision.T - 2.0 * x @ (m * precision).T + constant)

    def slope(self, eta: Tensor, x: Tensor) -> Tensor:
        m, log_noise = eta.chunk(2, dim=1)
        residual = x - m
        precision = (-log_noise).exp()
        return torch.cat([residual * precision, 0.5 * (residual.square() * precision - 1.0)], 1)

    def information(self, eta: Tensor, x: Tensor, jac: Tensor) -> Tensor:
        precision = (-eta.chunk(2, dim=1)[1]).exp()
        fisher = torch.cat([precision, torch.full_like(precision, 0.5)], 1)
        return _weighted_gram(jac, fisher)


@dataclass(frozen=True)
class ObservedFeatures:
    """Distribution of the observed features of x; missing ones are NaN.

    Parameters
    ----------
    whole : Observation
        Distribution of all features, which are independent given the decoder's output.
    """

    whole: Observation

    def misfit(self, eta: Tensor, x: Tensor) -> Tensor:
        return -self.entries(eta, x).sum(1)

    def entries(self, eta: Tensor, x: Tensor) -> Tensor:
        return self.whole.entries(eta, x.nan_to_num(0.0)).masked_fill(x.isnan(), 0.0)

    def pairwise_misfit(self, eta: Tensor, x: Tensor) -> Tensor:
        if isinstance(self.whole, GaussianObservation):
            return self.whole.pairwise_misfit_of_observed(eta, x)
        parts = []
        for part in x.split(max(1, _MAX_PAIR_ENTRIES // eta.numel())):
            pairs = eta.repeat(len(part), 1), part.repeat_interleave(len(eta), 0)
            parts.append(self.misfit(*pairs).view(len(part), len(eta)))
        return torch.cat(parts)

    def slope(self, eta: Tensor, x: Tensor) -> Tensor:
        slope = self.whole.slope(eta, x.nan_to_num(0.0))
        return slope.masked_fill(_missing_outputs(x, slope.shape[1]), 0.0)

    def information(self, eta: Tensor, x: Tensor, jac: Tensor) -> Tensor:
        missing = _missing_outputs(x, jac.shape[1])
        return self.whole.information(eta, x.nan_to_num(0.0), jac.masked_fill(missing[..., None], 0.0))


def _missing_outputs(x: Tensor, n_outputs: int) -> Tensor:
    """Return the mask of the decoder's outputs for missing features, of which each may have several."""
    return x.isnan().repeat(1, n_outputs // x.shape[1])


def _weighted_gram(jac: Tensor, weights: Tensor) -> Tensor:
    """Return J'WJ (n, k, k) for diagonal weights (n, d)."""
    return jac.mT @ (weights.to(jac.dtype)[..., None] * jac)
