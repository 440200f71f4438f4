"""Monotone maps to normal scores: inverses, slopes, tails and invariance."""

import numpy as np
import pytest
from scipy import stats

from sklearn_ae._utils.normal_scores import Feature, NormalScores


def skewed(n=2_000, seed=0):
    """Return an exponential, a two-peaked, a rounded and a normal feature."""
    rng = np.random.RandomState(seed)
    peaks = rng.normal(size=n) + 6 * (rng.uniform(size=n) < 0.3)
    counts = rng.poisson(2.0, n) + rng.uniform(size=n)
    return np.column_stack([rng.exponential(size=n), peaks, counts, 3 + 2 * rng.normal(size=n)])


def test_scores_are_normal():
    X = skewed()
    U = NormalScores.fit(X, seed=0)(skewed(seed=1))
    for j in range(X.shape[1]):
        assert stats.kstest(U[:, j], "norm").statistic < 0.05
    assert stats.kstest(X[:, 0], "norm", args=(X[:, 0].mean(), X[:, 0].std())).statistic > 0.1


def test_inverse_returns_the_samples():
    X = skewed()
    scores = NormalScores.fit(X, seed=0)
    beyond = np.array([[1.0], [50.0]])
    other = np.concatenate([skewed(seed=1), X.min(axis=0) - beyond, X.max(axis=0) + beyond])
    np.testing.assert_allclose(scores.inverse(scores(other)), other, rtol=1e-9, atol=1e-9)


def test_log_slopes_are_those_of_the_map():
    X = skewed()
    scores = NormalScores.fit(X, seed=0)
    other = np.concatenate([skewed(200, seed=1), X.max(axis=0)[None] + 3.0])
    h = 1e-6
    slopes = (scores(other + h) - scores(other - h)) / (2 * h)
    np.testing.assert_allclose(scores.log_slopes(other), np.log(slopes).sum(axis=1), atol=1e-3)


@pytest.mark.parametrize("j", range(4))
@pytest.mark.parametrize("n_knots", [0, 6, 96])
def test_density_of_a_feature_integrates_to_one(j, n_knots):
    x = skewed()[:, j]
    feature = Feature.fit(x, n_knots)
    grid = np.linspace(x.mean() - 12 * x.std(), x.mean() + 12 * x.std(), 400_001)
    density = np.exp(feature.log_density(grid)) / np.sqrt(2 * np.pi)
    assert abs(density.sum() * (grid[1] - grid[0]) - 1) < 2e-3


def test_normal_feature_has_an_affine_map():
    X = np.random.RandomState(0).normal(5, 3, size=(500, 1))
    assert NormalScores.fit(X, seed=0).features[0].n_knots == 0


def test_scores_do_not_depend_on_units():
    X = skewed(300)
    scale, shift = np.array([2.0, 0.5, 1024.0, 1.0]), np.array([0.0, 1.0, 0.0, -2.0])
    U = NormalScores.fit(X, seed=0)(X)
    np.testing.assert_allclose(NormalScores.fit(X * scale + shift, seed=0)(X * scale + shift), U, atol=1e-6)


def test_numbers_of_knots_are_taken_over():
    first = NormalScores.fit(skewed(), seed=0)
    again = first.refit(skewed(seed=1))
    assert [f.n_knots for f in again.features] == [f.n_knots for f in first.features]


@pytest.mark.parametrize("x", [np.full(50, 3.0), np.arange(2.0), np.repeat([0.0, 1.0], 40)], ids=str)
def test_few_values(x):
    feature = NormalScores.fit(x[:, None], seed=0).features[0]
    other = np.linspace(-5, 5, 11)
    assert np.isfinite(feature.log_density(other)).all()
    np.testing.assert_allclose(feature.inverse(feature(other)), other, atol=1e-6)
    assert (np.diff(feature(other)) > 0).all()
