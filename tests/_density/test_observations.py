"""Distributions of x given the decoder's output: closed forms, and autograd for other likelihoods."""

import pytest
import torch
from torch import Generator

from sklearn_ae._density.observations import (
    DecodedNoiseObservation,
    GaussianObservation,
    HeteroscedasticObservation,
    OptionObservation,
)
from sklearn_ae.likelihoods import Bernoulli, Likelihood, Poisson
from sklearn_ae.losses import LOSSES

VARIANCES = torch.tensor([0.1, 1.0, 3.0, 20.0]).double()
COUNTS = torch.tensor([[0.0, 1.0, 4.0, 2.0], [1.0, 0.0, 0.0, 30.0], [2.0, 3.0, 1.0, 0.0]]).double()
REAL = COUNTS - 1.5


class Normal(Likelihood):
    """Gaussian likelihood that defines only its density."""

    def __init__(self, noise=None, variance=0.7):
        self.noise = noise
        self.variance = variance

    def log_prob(self, eta, x, log_noise=None):
        variance = eta.new_tensor(self.variance) if log_noise is None else log_noise.exp()
        return normal(eta, variance).log_prob(x)


def normal(mean, variance):
    return torch.distributions.Normal(mean, variance.sqrt())


def one_variance(eta):
    return normal(eta, 0.7 * VARIANCES**0)


def one_per_feature(eta):
    return normal(eta, VARIANCES)


def one_per_entry(eta):
    return normal(eta[..., :4], eta[..., 4:].exp())


def bernoulli(eta):
    return torch.distributions.Bernoulli(logits=eta)


def poisson(eta):
    return torch.distributions.Poisson(eta.exp())


# observation, samples of four features, width of eta, distribution of x given eta
OBSERVATIONS = {
    "one variance": (GaussianObservation(0.7), REAL, 4, one_variance),
    "one per feature": (GaussianObservation(VARIANCES), REAL, 4, one_per_feature),
    "one per entry": (HeteroscedasticObservation(), REAL, 8, one_per_entry),
    "bernoulli": (OptionObservation(Bernoulli()), COUNTS.clamp(max=1), 4, bernoulli),
    "poisson": (OptionObservation(Poisson()), COUNTS, 4, poisson),
    "cross-entropy loss": (
        OptionObservation(LOSSES["binary_cross_entropy"]()),
        COUNTS.clamp(max=1),
        4,
        bernoulli,
    ),
    "poisson loss": (OptionObservation(LOSSES["poisson"]()), COUNTS, 4, poisson),
    "autograd": (OptionObservation(Normal()), REAL, 4, one_variance),
    "autograd, one variance": (
        OptionObservation(Normal("shared"), torch.tensor([0.7], dtype=torch.float64).log()),
        REAL,
        4,
        one_variance,
    ),
    "autograd, one per feature": (
        OptionObservation(Normal("per_column"), VARIANCES.log()),
        REAL,
        4,
        one_per_feature,
    ),
    "autograd, one per entry": (DecodedNoiseObservation(Normal("decoder")), REAL, 8, one_per_entry),
}


def jacobians(width):
    return torch.randn((3, width, 2), generator=Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture(params=OBSERVATIONS)
def name(request):
    return request.param


@pytest.fixture
def case(name):
    observation, x, width, given = OBSERVATIONS[name]
    eta = torch.randn((3, width), generator=Generator().manual_seed(0), dtype=torch.float64)
    return observation, x, eta, given


def test_misfit_is_minus_the_log_density_with_its_constants(case):
    observation, x, eta, given = case
    torch.testing.assert_close(observation.misfit(eta, x), -given(eta).log_prob(x).sum(1))


@pytest.mark.parametrize("option", [Bernoulli(), LOSSES["binary_cross_entropy"]()])
def test_float32_suffices_for_the_misfit_of_many_binary_features(option):
    generator = Generator().manual_seed(0)
    eta = torch.linspace(-30, 30, 784, dtype=torch.float64).repeat(20, 1)
    eta += torch.rand(eta.shape, generator=generator, dtype=torch.float64)
    typical = torch.bernoulli(torch.sigmoid(eta), generator=generator)
    for x in (typical, 1.0 - typical, torch.rand(eta.shape, generator=generator, dtype=torch.float64)):
        found = OptionObservation(option).misfit(eta, x)
        expected = torch.nn.functional.binary_cross_entropy_with_logits(eta, x, reduction="none").sum(1)
        assert found.dtype == torch.float64
        torch.testing.assert_close(found, expected, rtol=2e-7, atol=1e-4)


def test_pairwise_misfit_may_omit_a_constant_per_sample(case):
    observation, x, eta, given = case
    pairs = -torch.stack([given(eta).log_prob(sample).sum(1) for sample in x])
    difference = observation.pairwise_misfit(eta, x) - pairs
    torch.testing.assert_close(difference, difference[:, :1].expand_as(difference))


def test_pairwise_misfit_of_many_pairs_is_computed_in_parts(monkeypatch):
    monkeypatch.setattr("sklearn_ae.losses._MAX_PAIR_ENTRIES", 20)
    observation = OptionObservation(Normal())
    found = observation.pairwise_misfit(REAL[:2] + 0.1, REAL)
    expected = torch.stack([observation.misfit(REAL[:2] + 0.1, sample) for sample in REAL])
    torch.testing.assert_close(found, expected)


def test_slope_is_the_gradient_of_the_log_density(case):
    observation, x, eta, given = case
    eta = eta.requires_grad_()
    (expected,) = torch.autograd.grad(given(eta).log_prob(x).sum(), eta)
    with torch.no_grad():
        torch.testing.assert_close(observation.slope(eta.detach(), x), expected)


def test_information_is_the_expected_curvature(case, name):
    """Minus the Hessian of the log density, averaged over draws if it depends on x."""
    if name == "autograd, one per entry":
        pytest.skip("the information at x, which is not its expectation")
    observation, x, eta, given = case
    jac = jacobians(eta.shape[1])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        draws = given(eta).sample((40_000,)) if name == "one per entry" else x[None]
    tolerance = 0.05 if name == "one per entry" else 1e-9
    for i in range(3):
        hessian = torch.autograd.functional.hessian(
            lambda e, i=i: -given(e).log_prob(draws[:, i]).sum() / len(draws), eta[i]
        )
        expected = jac[i].T @ hessian @ jac[i]
        found = observation.information(eta[i : i + 1], x[i : i + 1], jac[i : i + 1])[0]
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_information_on_a_decoded_noise_variance_is_that_at_x():
    """Minus the second derivatives, without the mixed one: r^2 / 2 exp(l) for the log variance l."""
    eta, jac = torch.randn((3, 8), generator=Generator().manual_seed(0)).double(), jacobians(8)
    m, log_noise = eta.chunk(2, dim=1)
    precision = (-log_noise).exp()
    weights = torch.cat([precision, 0.5 * (REAL - m).square() * precision], 1)
    found = DecodedNoiseObservation(Normal("decoder")).information(eta, REAL, jac)
    torch.testing.assert_close(found, jac.mT @ (weights[..., None] * jac))


def test_information_is_positive_for_densities_without_curvature():
    """Minus the second derivative of a Laplace density is 0, and the squared slope 1 / scale^2."""

    class Laplace(Likelihood):
        def log_prob(self, eta, x, log_noise=None):
            return torch.distributions.Laplace(eta, 0.5).log_prob(x)

    jac = jacobians(4)
    found = OptionObservation(Laplace()).information(REAL + 0.3, REAL, jac)
    torch.testing.assert_close(found, 4.0 * jac.mT @ jac)


def test_equal_variances_per_feature_are_a_shared_variance():
    x, eta, jac = COUNTS, COUNTS.flip(0) + 0.3, torch.ones(3, 4, 2).double()
    one, each = GaussianObservation(0.7), GaussianObservation(torch.full((4,), 0.7).double())
    for name in ("misfit", "pairwise_misfit", "slope"):
        torch.testing.assert_close(getattr(one, name)(eta, x), getattr(each, name)(eta, x))
    torch.testing.assert_close(one.information(eta, x, jac), each.information(eta, x, jac))
