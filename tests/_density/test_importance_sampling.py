"""Importance weights with any proposal, and the draws behind them."""

import math

import numpy as np
import pytest
import torch

from sklearn_ae._density.importance_sampling import (
    Proposals,
    _counts,
    importance_draws,
    importance_log_likelihood,
    normal_draws,
)

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


def estimate(log_joint, proposals, n_draws):
    return importance_log_likelihood(importance_draws(log_joint, proposals, 0, n_draws))


@pytest.fixture(scope="module")
def expected():
    """log p(x) by draws from the prior."""
    u = normal_draws(200_000, 2, seed=3)[1]
    return np.array([torch.sigmoid((2 * x - 1) * (u @ WEIGHTS)).prod(1).mean().log() for x in X])


def test_estimate_is_right_for_a_poor_proposal(expected):
    poor = proposals(
        torch.full((2, 1, 2), 0.3, dtype=torch.float64), 1.6, torch.zeros(2, 1, dtype=torch.float64)
    )
    log_p, std = estimate(log_joint, poor, 256)
    np.testing.assert_allclose(log_p, expected, atol=0.05)
    assert (std < 0.1).all()


def test_draws_are_extended_by_points_of_the_same_sequence(expected):
    """The prior's draws are the points themselves, and each draw of a family is weighted by all."""
    poor = proposals(
        torch.full((2, 1, 2), 0.3, dtype=torch.float64), 1.6, torch.zeros(2, 1, dtype=torch.float64)
    )
    seen = []

    def recorded(u):
        seen.append(u[0])
        return log_joint(u)

    parts = [importance_draws(recorded, poor, *block) for block in ((0, 32), (32, 128), (128, 256))]
    first = normal_draws(32, 2)[1][-5:]
    assert torch.equal(seen[0][-5:], first)
    points = torch.cat([normal_draws(stop, 2, start=start)[1] for start, stop in ((0, 32), (32, 128))])
    assert torch.equal(points.sort(0).values, normal_draws(128, 2)[1].sort(0).values)
    log_p, std = importance_log_likelihood(torch.cat(parts, 2))
    np.testing.assert_allclose(log_p, expected, atol=0.05)
    assert (std < 0.1).all()


def test_draws_can_be_extended_from_a_quarter():
    for n_draws in range(17, 300):
        n_first = max(16, round(0.25 * n_draws))
        assert min(np.subtract(_counts(n_draws), _counts(n_first))) >= 0
        assert sum(_counts(n_draws)) == n_draws


def test_components_without_weight_are_left_out(expected):
    means = torch.stack([torch.full((2, 2), 0.3), torch.full((2, 2), 1e6)], 1).double()
    log_weights = torch.tensor([[0.0, -math.inf]] * 2, dtype=torch.float64)
    log_p, std = estimate(log_joint, proposals(means, 1.6, log_weights), 256)
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
    log_p, std = estimate(log_joint, posterior, 64)
    marginal = torch.distributions.Normal(0.0, math.sqrt(4 / 3)).log_prob(x).sum(1)
    torch.testing.assert_close(log_p, marginal, rtol=0, atol=1e-5)
    assert std.max() < 1e-4


def test_draws_are_normal_and_the_same_every_time():
    level, normal = normal_draws(4096, 3)
    assert (level.diff() >= 0).all()
    assert torch.equal(normal, normal_draws(4096, 3)[1])
    np.testing.assert_allclose(normal.mean(0), np.zeros(3), atol=0.01)
    np.testing.assert_allclose(np.cov(normal.T), np.eye(3), atol=0.02)
