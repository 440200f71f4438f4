"""Importance weights with any proposal, and the draws behind them."""

import math

import numpy as np
import pytest
import torch

from sklearn_ae._density.importance_sampling import Proposals, importance_log_likelihood, normal_draws

X = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]], dtype=torch.float64)
WEIGHTS = torch.tensor([[1.0, -2.0, 0.5], [0.3, 1.0, -1.0]], dtype=torch.float64)


def log_joint(u):
    """Return the log joint density of Bernoulli samples and their two codes."""
    signs = 2 * X[:, None] - 1
    prior = -0.5 * u.square().sum(-1) - math.log(2 * math.pi)
    return torch.nn.functional.logsigmoid(signs * (u @ WEIGHTS)).sum(-1) + prior


def proposals(means, precision, log_weights):
    """Return isotropic proposals for two samples with two codes."""
    factors = math.sqrt(precision) * torch.eye(2, dtype=torch.float64)
    shape = *means.shape, 2
    return Proposals(means, factors.expand(shape), log_weights)


@pytest.fixture(scope="module")
def expected():
    """log p(x) by draws from the prior."""
    u = normal_draws(200_000, 2, seed=3)[1]
    return np.array([torch.sigmoid((2 * x - 1) * (u @ WEIGHTS)).prod(1).mean().log() for x in X])


def test_estimate_is_right_for_a_poor_proposal(expected):
    poor = proposals(
        torch.full((2, 1, 2), 0.3, dtype=torch.float64), 1.6, torch.zeros(2, 1, dtype=torch.float64)
    )
    log_p, std = importance_log_likelihood(log_joint, poor, 256)
    np.testing.assert_allclose(log_p, expected, atol=0.05)
    assert (std < 0.1).all()


def test_components_without_weight_are_left_out(expected):
    means = torch.stack([torch.full((2, 2), 0.3), torch.full((2, 2), 1e6)], 1).double()
    log_weights = torch.tensor([[0.0, -math.inf]] * 2, dtype=torch.float64)
    log_p, std = importance_log_likelihood(log_joint, proposals(means, 1.6, log_weights), 256)
    np.testing.assert_allclose(log_p, expected, atol=0.05)
    assert (std < 0.1).all()


def test_estimate_is_exact_if_the_proposal_is_the_posterior():
    """For x = u + noise of variance 1/3, the posterior is N(3 x / 4, 1 / 4)."""
    x = torch.tensor([[0.5, -1.0], [3.0, 2.0]], dtype=torch.float64)

    def log_joint(u):
        log_prior = -0.5 * u.square().sum(-1) - math.log(2 * math.pi)
        misfit = 1.5 * (x[:, None] - u).square().sum(-1) - math.log(3 / (2 * math.pi))
        return log_prior - misfit

    posterior = proposals(0.75 * x[:, None], 4.0, torch.zeros(2, 1, dtype=torch.float64))
    log_p, std = importance_log_likelihood(log_joint, posterior, 64)
    marginal = torch.distributions.Normal(0.0, math.sqrt(4 / 3)).log_prob(x).sum(1)
    torch.testing.assert_close(log_p, marginal, rtol=0, atol=1e-5)
    assert std.max() < 1e-4


def test_draws_are_normal_and_the_same_every_time():
    level, normal = normal_draws(4096, 3)
    assert (level.diff() >= 0).all()
    assert torch.equal(normal, normal_draws(4096, 3)[1])
    np.testing.assert_allclose(normal.mean(0), np.zeros(3), atol=0.01)
    np.testing.assert_allclose(np.cov(normal.T), np.eye(3), atol=0.02)
