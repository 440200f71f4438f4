"""Stacked densities: integrals, known truths, outliers, units and draws."""

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import make_moons
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from sklearn_ae._density.stacked import StackedDensity, stacking_weights


def moons(n, seed=0):
    return make_moons(n, noise=0.1, random_state=seed)[0]


def log_normal(n, seed=0):
    """Return skewed, correlated samples and their log-density."""
    covariance = [[1.0, 0.7], [0.7, 1.0]]
    U = stats.multivariate_normal([0, 0], covariance).rvs(n, random_state=seed)
    X = np.exp(0.8 * U)
    truth = stats.multivariate_normal([0, 0], covariance).logpdf(U) - (0.8 * U + np.log(0.8)).sum(axis=1)
    return X, truth


def two_normals(n, seed=0):
    """Return samples of a mixture with unequal covariances, and their log-density."""
    rng = np.random.RandomState(seed)
    parts = [stats.multivariate_normal([0, 0, 0], np.diag([1, 4, 0.1]))]
    parts.append(stats.multivariate_normal([5, 0, 0], [[1, 0.8, 0], [0.8, 1, 0], [0, 0, 1]]))
    X = np.where(rng.uniform(size=n)[:, None] < 0.4, *(part.rvs(n, random_state=rng) for part in parts))
    return X, np.log(0.4 * parts[0].pdf(X) + 0.6 * parts[1].pdf(X))


def normal(n, seed=0):
    X = stats.multivariate_normal([1, 2, 3], np.diag([1, 2, 3])).rvs(n, random_state=seed)
    return X, stats.multivariate_normal([1, 2, 3], np.diag([1, 2, 3])).logpdf(X)


def test_density_integrates_to_one():
    density = StackedDensity.fit(moons(200), seed=0)
    grid = np.linspace(-4, 4, 201)
    points = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    integral = np.exp(density.log_prob(points)).sum() * (grid[1] - grid[0]) ** 2
    assert 0.995 < integral < 1.002  # some of the tails are outside


@pytest.mark.parametrize("data", [log_normal, two_normals, normal])
def test_known_densities(data):
    density = StackedDensity.fit(data(1_500)[0], seed=0)
    X, truth = data(3_000, seed=1)
    assert abs((truth - density.log_prob(X)).mean()) < 0.06


def test_better_than_the_normal_distribution():
    X, other = moons(400), moons(1_000, seed=1)
    log_p = stats.multivariate_normal(X.mean(axis=0), np.cov(X.T)).logpdf(other)
    assert (StackedDensity.fit(X, seed=0).log_prob(other) - log_p).mean() > 0.4


def test_factors_of_wide_data():
    """The noise of 40 features is between .05 and 5; a shrunk covariance makes it alike."""
    rng = np.random.RandomState(0)
    loadings, noise = rng.normal(size=(2, 40)), np.geomspace(0.05, 5.0, 40)
    model = stats.multivariate_normal(np.zeros(40), loadings.T @ loadings + np.diag(noise))
    other = model.rvs(1_000, random_state=1)
    density = StackedDensity.fit(model.rvs(60, random_state=0), seed=0)
    shares = {c.factored: 0.0 for c in density.candidates}
    for candidate, weight in zip(density.candidates, density.weights, strict=True):
        shares[candidate.factored] += weight
    assert shares[True] > 0.5
    assert (model.logpdf(other) - density.log_prob(other)).mean() < 6
    assert "factor analysis" in map(str, density.candidates)
    drawn = density.draw(2_000, rng)
    np.testing.assert_allclose(drawn.std(axis=0), np.sqrt(np.diag(model.cov)), rtol=0.35)


def test_normal_scores_are_preferred_for_skewed_features():
    assert StackedDensity.fit(log_normal(500)[0], seed=0).prefers_scores


def test_outliers_have_a_finite_density_that_falls():
    density = StackedDensity.fit(moons(120), seed=0)
    log_p = density.log_prob(np.array([0.5, 0.25]) + np.geomspace(10, 1e6, 6)[:, None])
    assert np.isfinite(log_p).all()
    assert (np.diff(log_p) < 0).all()


@pytest.mark.slow
def test_one_outlier_does_not_choose_the_candidates():
    X = np.concatenate([two_normals(600)[0], [[300.0, -300.0, 300.0]]])
    other, truth = two_normals(2_000, seed=1)
    assert (truth - StackedDensity.fit(X, seed=0).log_prob(other)).mean() < 0.3


def test_units():
    X, scale = two_normals(200)[0], np.array([2.0, 0.25, 1024.0])
    log_p = StackedDensity.fit(X, seed=0).log_prob(X)
    other = StackedDensity.fit(X * scale, seed=0).log_prob(X * scale)
    assert abs((log_p - np.log(scale).sum() - other).mean()) < 0.05


@pytest.mark.slow
def test_draws_are_like_samples():
    X, other = moons(600), moons(600, seed=1)
    drawn = StackedDensity.fit(X, seed=0).draw(600, np.random.RandomState(0))
    y = np.repeat([0, 1], 600)
    both = np.concatenate([other, drawn])
    order = np.random.RandomState(0).permutation(1_200)
    train, test = order[:800], order[800:]
    nearest = KNeighborsClassifier(20).fit(both[train], y[train])
    assert roc_auc_score(y[test], nearest.predict_proba(both[test])[:, 1]) < 0.65


def test_refit_keeps_candidates_and_weights():
    first = StackedDensity.fit(moons(120), seed=0)
    again = first.refit(moons(120, seed=1), seed=0)
    assert again.candidates == first.candidates
    np.testing.assert_array_equal(again.weights, first.weights)
    assert not np.array_equal(again.log_prob(moons(10)), first.log_prob(moons(10)))


def test_same_seed_same_density():
    a, b = (StackedDensity.fit(moons(60), seed=3).log_prob(moons(50, seed=1)) for _ in range(2))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", [(5, 2), (12, 40), (30, 1), (2, 3)])
def test_few_samples(shape):
    X = np.random.RandomState(0).normal(size=shape)
    density = StackedDensity.fit(X, seed=0)
    assert np.isfinite(density.log_prob(2 * X)).all()
    assert density.draw(7, np.random.RandomState(0)).shape == (7, shape[1])
    assert abs(density.weights.sum() - 1) < 1e-12


def test_constant_features():
    X = np.column_stack([moons(100), np.full(100, 3.0)])
    assert np.isfinite(StackedDensity.fit(X, seed=0).log_prob(X)).all()


# -- weights -----------------------------------------------------------------------------


def test_weights_maximise_the_log_density():
    rng = np.random.RandomState(0)
    x = np.concatenate([rng.normal(size=700), rng.normal(6, 1, 300)])
    log_p = np.column_stack(
        [stats.norm(0, 1).logpdf(x), stats.norm(6, 1).logpdf(x), stats.norm(50).logpdf(x)]
    )
    weights = stacking_weights(log_p)
    np.testing.assert_allclose(weights, [0.7, 0.3, 0.0], atol=0.02)


def test_model_that_is_better_everywhere_has_all_weight():
    log_p = np.random.RandomState(0).normal(size=(500, 1)) + np.array([0.0, -5.0])
    assert stacking_weights(log_p)[0] > 0.99
