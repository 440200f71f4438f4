"""Density of the aggregate posterior: normalised, and without the sample that it is evaluated at."""

import numpy as np
import pytest
from known_codes import Noisy, normal
from scipy.stats import norm

from sklearn_ae.metrics._aggregate import Aggregate, blend
from sklearn_ae.metrics._posteriors import posteriors_or_codes


def test_density_of_a_sample_does_not_include_itself():
    """The density of an outlier does not come from its own posterior, however narrow."""
    X = normal(120, np.eye(2))
    X[0] = 8
    q = posteriors_or_codes(Noisy(1e-3), X)
    aggregate = Aggregate(q, q.draws(2, np.random.RandomState(0)), np.random.RandomState(0))
    assert aggregate.mixture[:, 0].min() > 0  # Dominated by its own kernel
    assert aggregate.joint[:, 0].max() < -10
    assert aggregate.product[:, 0].max() < -5


def test_densities_integrate_to_one():
    """The mean of density / truth over draws from the truth is the integral of the density."""
    X = np.random.RandomState(0).normal(size=(500, 2))
    q = posteriors_or_codes(Noisy(1.0), X)
    draws = q.draws(8, np.random.RandomState(1))
    aggregate = Aggregate(q, draws, np.random.RandomState(0))
    truth = norm.logpdf(q.codes(draws), scale=np.sqrt(2)).sum(2) + q.coordinates.log_det
    for log_density in (aggregate.joint, aggregate.product, aggregate.mixture):
        assert np.exp(log_density - truth).mean() == pytest.approx(1, abs=0.04)


def test_control_variates_keep_the_mean():
    """They change an estimate by no more than its error."""
    q = posteriors_or_codes(Noisy(0.5), normal(200, np.eye(2)))
    aggregate = Aggregate(q, q.draws(4, np.random.RandomState(0)), np.random.RandomState(0))
    error = aggregate.joint.std() / np.sqrt(aggregate.joint.size)
    assert abs(aggregate.mean(aggregate.joint) - aggregate.joint.mean()) < 4 * error
    known = aggregate._controls[0].reshape(aggregate.joint.shape) - 7.0
    assert aggregate.mean(known) == pytest.approx(-7)


def test_blend_finds_the_weights():
    rng = np.random.RandomState(0)
    x = np.where(rng.uniform(size=20000) < 0.3, rng.normal(size=20000), 5 + rng.normal(size=20000))
    parts = np.stack([norm.logpdf(x), norm.logpdf(x, 5), np.full(len(x), -np.inf)])
    truth = np.log(0.3 * norm.pdf(x) + 0.7 * norm.pdf(x, 5))
    np.testing.assert_allclose(blend(parts), truth, atol=0.05)
