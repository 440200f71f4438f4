"""How x is distributed given the decoder's output: what the likelihood asks of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from sklearn_ae import losses
from sklearn_ae._utils.compat import StrOptions
from sklearn_ae._utils.gaussian import LOG_2PI
from sklearn_ae.losses import Loss


class Likelihood(losses.Loss):
    """Base of the likelihoods."""

    def log_prob(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        """Log-density or log-probability of each entry, in nats."""
        raise NotImplementedError

    def log_likelihood(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        """Log p(x | z) of each row, in nats: the sum over the columns."""
        return self.log_prob(eta, x, log_noise).sum(-1)

    def draw(self, eta: Tensor, log_noise: Tensor | None, generator: Generator) -> Tensor:
        """Rows drawn from p(x | z)."""
        raise NotImplementedError


class Gaussian(Likelihood):
    """Normal distribution around the decoded code, with a learned noise variance.

    Parameters
    ----------
    noise : {"shared", "per_column", "decoder"}, default="shared"
        One variance for all columns, as in probabilistic PCA; one for each
        column, as in factor analysis; or one for each entry of each row, given
        by a second output of the decoder.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.likelihoods import Gaussian
    >>> eta, x, log_noise = torch.zeros(1, 2), torch.tensor([[0.0, 2.0]]), torch.zeros(1)
    >>> Gaussian().log_prob(eta, x, log_noise)
    tensor([[-0.9189, -2.9189]])
    """

    _parameter_constraints = {"noise": [StrOptions({"shared", "per_column", "decoder"})]}

    def __init__(self, noise: str = "shared"):
        self.noise = noise

    def log_prob(self, eta, x, log_noise=None):
        return -0.5 * ((x - eta).square() * (-log_noise).exp() + log_noise + LOG_2PI)

    def log_likelihood(self, eta, x, log_noise=None):
        if self.noise != "shared":
            return super().log_likelihood(eta, x, log_noise)
        distance = (x - eta).square().sum(-1)  # one factor for all columns
        return -0.5 * (distance * (-log_noise).exp() + x.shape[-1] * (log_noise + LOG_2PI))

    def draw(self, eta, log_noise, generator):
        normal = torch.randn(eta.shape, generator=generator, dtype=eta.dtype)
        return eta + (0.5 * log_noise).exp() * normal


class Bernoulli(Likelihood, losses.BinaryCrossEntropy):
    """Bernoulli distribution of X in [0, 1], sigmoid outputs.

    Values strictly between 0 and 1 are taken as probabilities: their
    log-probability is the expected one.

    Parameters
    ----------
    dynamic_binarization : bool, default=False
        Draw binary rows with these probabilities anew in every step of the
        training (dynamic binarisation [1]_), so that encoder and decoder see
        binary rows only.

    References
    ----------
    .. [1] R. Salakhutdinov, I. Murray (2008), On the quantitative analysis of
       deep belief networks, ICML.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.likelihoods import Bernoulli
    >>> Bernoulli().log_prob(torch.tensor([[0.0]]), torch.tensor([[1.0]]))
    tensor([[-0.6931]])
    """

    _parameter_constraints = {"dynamic_binarization": ["boolean"]}
    _instead = "likelihood='bernoulli'", "likelihood='gaussian'"

    def __init__(self, dynamic_binarization: bool = False):
        self.dynamic_binarization = dynamic_binarization

    def log_prob(self, eta, x, log_noise=None):
        return -F.binary_cross_entropy_with_logits(eta, x.expand_as(eta), reduction="none")

    def draw(self, eta, log_noise, generator):
        return torch.bernoulli(self.inverse_link(eta), generator=generator)


class Poisson(Likelihood, losses.Poisson):
    """Poisson distribution of counts, exponential outputs.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.likelihoods import Poisson
    >>> Poisson().log_prob(torch.tensor([[0.0]]), torch.tensor([[2.0]]))
    tensor([[-1.6931]])
    """

    _instead = "likelihood='poisson'", "likelihood='gaussian'"

    def log_prob(self, eta, x, log_noise=None):
        x = x.clamp(min=0)  # rounding may leave -1e-9 of a zero count
        eta = eta.clamp(max=self._max_eta)
        return x * eta - eta.exp() - torch.lgamma(x + 1)

    def draw(self, eta, log_noise, generator):
        return torch.poisson(self.inverse_link(eta), generator=generator)


LIKELIHOODS = {
    "gaussian": Gaussian,
    "bernoulli": Bernoulli,
    "poisson": Poisson,
}


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
