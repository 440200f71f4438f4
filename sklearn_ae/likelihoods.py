"""Likelihoods: how x is distributed given the code, which stands in the place of the loss in a VAE.

A likelihood is a loss whose unit is the nat: it sees the decoder's raw output
``eta`` and the target ``x``, both of shape (..., d), and gives log p(x | z) with
all constants. The Gaussian one works in working units and has a noise variance,
which the module learns and hands in as ``log_noise``; Bernoulli and Poisson work
in the units of X, through the link of their loss.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from sklearn_ae import losses
from sklearn_ae._compat import StrOptions

LOG_2PI = math.log(2.0 * math.pi)


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
    dynamic : bool, default=False
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

    _parameter_constraints = {"dynamic": ["boolean"]}
    _instead = "likelihood='bernoulli'", "likelihood='gaussian'"

    def __init__(self, dynamic: bool = False):
        self.dynamic = dynamic

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
