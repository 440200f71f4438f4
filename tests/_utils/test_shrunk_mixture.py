"""Normal distributions with shrunk covariance or factors, and mixtures of them, against scipy.stats."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp
from sklearn.decomposition import FactorAnalysis

from sklearn_ae._utils.shrunk_mixture import Components, Concentric, FactorNormal, ShrunkNormal


def correlated(n, d, seed=0):
    rng = np.random.RandomState(seed)
    return 5 + rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * np.geomspace(0.1, 100, d)


def clusters(n=600, seed=0):
    rng = np.random.RandomState(seed)
    middle = np.array([[-4.0, 0.0], [4.0, 0.0], [0.0, 5.0]])[rng.randint(3, size=n)]
    return middle + rng.normal(size=(n, 2)) * [1.0, 0.3]


@pytest.mark.parametrize(("n", "d"), [(100, 4), (12, 30), (8, 8)])
@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_normal_density_is_that_of_the_shrunk_covariance(n, d, factor):
    X = correlated(n, d)
    normal = ShrunkNormal.fit(X).shrunk(factor)
    s, D = normal.shrinkage, np.diag(X.std(axis=0))
    covariance = D @ ((1 - s) * np.corrcoef(X.T) + s * np.eye(d)) @ D
    Z, rest = normal.whiten(X)
    expected = stats.multivariate_normal(X.mean(axis=0), covariance).logpdf(X)
    np.testing.assert_allclose(Concentric().log_prob(Z) + rest, expected, rtol=1e-7)


def factors(n, d=30, k=3, seed=0):
    """Return samples of a factor model with unequal noise, and the model."""
    rng = np.random.RandomState(17)
    loadings, noise = rng.normal(size=(k, d)), np.geomspace(0.05, 5.0, d)
    model = stats.multivariate_normal(np.arange(d), loadings.T @ loadings + np.diag(noise))
    return model.rvs(n, random_state=seed), model


def test_factor_analysis_has_the_density_of_scikit_learns():
    X = factors(400)[0]
    normal = FactorNormal.fit(X, 3)
    Z, rest = normal.whiten(X)
    expected = FactorAnalysis(3, svd_method="lapack", tol=1e-6, max_iter=10_000).fit(X).score_samples(X)
    np.testing.assert_allclose((Concentric().log_prob(Z) + rest).mean(), expected.mean(), atol=0.02)
    covariance = normal.axes.T @ np.diag(normal.variances - 1) @ normal.axes + np.eye(30)
    own = stats.multivariate_normal(normal.mean, np.diag(normal.unit) @ covariance @ np.diag(normal.unit))
    np.testing.assert_allclose(Concentric().log_prob(Z) + rest, own.logpdf(X), rtol=1e-9)


def test_factor_analysis_of_few_samples_is_better_than_the_shrunk_covariance():
    X, (other, model) = factors(40)[0], factors(2_000, seed=1)
    log_p = []
    for normal in (FactorNormal.fit(X, 3), ShrunkNormal.fit(X)):
        Z, rest = normal.whiten(other)
        log_p.append((Concentric().log_prob(Z) + rest).mean())
    truth = model.logpdf(other).mean()
    assert truth > log_p[0] > log_p[1] + 0.5 * (truth - log_p[0])


def test_drawn_samples_of_factor_analysis_have_its_covariance():
    rng = np.random.RandomState(0)
    X, model = factors(20_000)
    drawn = FactorNormal.fit(X, 3).colour(rng.normal(size=(20_000, 3)), rng)
    spread = np.sqrt(np.diag(model.cov))
    np.testing.assert_allclose(np.cov(drawn.T) / np.outer(spread, spread), np.corrcoef(X.T), atol=0.06)


def test_shrinkage_is_the_best_for_other_samples():
    X, other = correlated(40, 20), correlated(40, 20, seed=1)
    normal, factors = ShrunkNormal.fit(X), (0.1, 1.0, 10.0)
    best = normal.best_shrinkage(other, factors)

    def log_p(factor):
        Z, rest = normal.shrunk(factor).whiten(other)
        return (Concentric().log_prob(Z) + rest).mean()

    assert log_p(best) == max(map(log_p, factors))


@pytest.mark.parametrize(("n", "d"), [(500, 3), (6, 10)])
def test_drawn_samples_have_their_coordinates(n, d):
    rng = np.random.RandomState(0)
    normal = ShrunkNormal.fit(correlated(n, d))
    Z = rng.normal(size=(50, len(normal.axes)))
    np.testing.assert_allclose(normal.whiten(normal.colour(Z, rng))[0], Z, atol=1e-8)


def test_drawn_samples_of_wide_data_have_the_variance_of_the_model():
    rng = np.random.RandomState(0)
    normal = ShrunkNormal.fit(rng.normal(size=(6, 12)))
    X = normal.colour(rng.normal(size=(20_000, len(normal.axes))), rng)
    np.testing.assert_allclose(X.var(axis=0) / normal.unit**2, 1.0, atol=0.25)


@pytest.mark.parametrize("X", [np.zeros((5, 3)), np.ones((2, 1)), np.eye(4)[:, :3] * 0 + [1.0, 2.0, 3.0]])
def test_equal_samples(X):
    for normal in (ShrunkNormal.fit(X), FactorNormal.fit(X, 1)):
        Z, rest = normal.whiten(X + 0.1)
        assert np.isfinite(Z).all()
        assert np.isfinite(rest).all()


def test_constant_feature_beside_others():
    X = np.column_stack([correlated(50, 2), np.full(50, 7.0)])
    for normal in (ShrunkNormal.fit(X), FactorNormal.fit(X, 1)):
        Z, rest = normal.whiten(X)
        assert np.isfinite(Concentric().log_prob(Z) + rest).all()


def test_mixture_density_is_that_of_its_components():
    X = clusters()
    mixture = Components.fit(X, 3, 0.5, seed=0)
    log_p = [
        np.log(weight) + stats.multivariate_normal(mean, factor @ factor.T).logpdf(X)
        for weight, mean, factor in zip(mixture.weights, mixture.means, mixture.factors, strict=True)
    ]
    np.testing.assert_allclose(mixture.log_prob(X), logsumexp(log_p, axis=0), rtol=1e-9)
    assert abs(mixture.weights.sum() - 1) < 1e-9


def test_mixture_finds_clusters():
    mixture = Components.fit(clusters(), 3, 0.1, seed=0)
    order = np.argsort(mixture.means[:, 0])
    np.testing.assert_allclose(mixture.means[order], [[-4, 0], [0, 5], [4, 0]], atol=0.3)
    spreads = np.sqrt(np.diagonal(mixture.factors @ mixture.factors.transpose(0, 2, 1), axis1=1, axis2=2))
    np.testing.assert_allclose(spreads, [[1.0, 0.3]] * 3, rtol=0.25)


def test_strong_prior_makes_covariances_equal():
    mixture = Components.fit(clusters(), 3, 1e6, seed=0)
    covariances = mixture.factors @ mixture.factors.transpose(0, 2, 1)
    np.testing.assert_allclose(covariances, covariances[:1].repeat(3, axis=0), rtol=1e-3)


def test_components_of_the_first_coordinates():
    X = clusters()
    mixture = Components.fit(X, 3, 0.5, seed=0)
    rest = np.random.RandomState(0).normal(size=(len(X), 2))
    expected = mixture.log_prob(X) + stats.norm.logpdf(rest).sum(axis=1)
    np.testing.assert_allclose(mixture.log_prob(np.hstack([X, rest])), expected, rtol=1e-9)


def test_draws_have_the_moments_of_the_samples():
    X = clusters(3_000)
    drawn = Components.fit(X, 3, 0.1, seed=0).draw(20_000, 4, np.random.RandomState(0))
    np.testing.assert_allclose(drawn.mean(axis=0), [*X.mean(axis=0), 0, 0], atol=0.1)
    np.testing.assert_allclose(drawn.std(axis=0), [*X.std(axis=0), 1, 1], rtol=0.05)


def test_concentric_density():
    Z = np.random.RandomState(0).normal(size=(20, 3))
    log_p = [stats.multivariate_normal(np.zeros(3), s**2 * np.eye(3)).logpdf(Z) for s in (1.0, 5.0)]
    expected = logsumexp(log_p, axis=0) - np.log(2)
    np.testing.assert_allclose(Concentric((1.0, 5.0)).log_prob(Z), expected, rtol=1e-10)
