"""ShrunkCovariance: squared distance and Shapley values by independent oracles; InlierCore."""

from itertools import combinations
from math import factorial

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.covariance import ledoit_wolf_shrinkage

from sklearn_ae._utils import covariance
from sklearn_ae._utils.covariance import InlierCore, ShrunkCovariance

SHAPES = [(200, 6), (12, 40), (7, 7), (300, 1), (2, 3)]


def gaussian(n, d, seed=0):
    """Return correlated samples far from zero, with similar variances of all features."""
    mixing = np.eye(d) + 0.5 * np.random.RandomState(99).normal(size=(d, d))
    rng = np.random.RandomState(seed)
    return 5 + rng.normal(size=(n, d)) @ mixing / np.sqrt(np.square(mixing).sum(axis=0))


def textbook_squared_distance(X, new):
    """Return the squared distance by the inverse of the shrunk correlation matrix."""
    A = (X - X.mean(axis=0)) / X.std(axis=0)
    s = max(ledoit_wolf_shrinkage(A, assume_centered=True), 1e-6)
    corr = A.T @ A / len(A)
    R = (1 - s) * corr + s * np.trace(corr) / len(corr) * np.eye(len(corr))
    z = (new - X.mean(axis=0)) / X.std(axis=0)
    return np.square(cdist(z, np.zeros((1, z.shape[1])), "mahalanobis", VI=np.linalg.inv(R)))[:, 0]


def shapley(value, d):
    """Return the mean gain by each of d players over all coalitions of the others."""
    gains = np.zeros(d)
    for j in range(d):
        others = [i for i in range(d) if i != j]
        for size in range(d):
            weight = factorial(size) * factorial(d - size - 1) / factorial(d)
            gains[j] += weight * sum(value({*S, j}) - value(set(S)) for S in combinations(others, size))
    return gains


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_squared_distance_is_that_of_the_shrunk_correlation(shape):
    X, new = gaussian(*shape), 3 * gaussian(50, shape[1], seed=1)
    fitted = ShrunkCovariance.fit(X)
    for samples in (X, new):
        expected = textbook_squared_distance(X, samples)
        np.testing.assert_allclose(fitted.squared_distance(samples), expected, rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_contributions_add_up_to_the_squared_distance(shape):
    fitted, new = ShrunkCovariance.fit(gaussian(*shape)), gaussian(50, shape[1], seed=1)
    np.testing.assert_allclose(fitted.contributions(new).sum(axis=1), fitted.squared_distance(new), rtol=1e-9)


@pytest.mark.parametrize("shape", [(100, 4), (3, 4), (50, 3)], ids=str)
def test_contributions_are_shapley_values(shape):
    fitted = ShrunkCovariance.fit(gaussian(*shape))

    def value(sample, coalition):
        kept = [j in coalition for j in range(shape[1])]
        return fitted.squared_distance(np.where(kept, sample, fitted.mean)[None])[0]

    samples = gaussian(5, shape[1], seed=1)
    expected = [shapley(lambda S, sample=sample: value(sample, S), shape[1]) for sample in samples]
    np.testing.assert_allclose(fitted.contributions(samples), expected, rtol=1e-7, atol=1e-9)


def test_contribution_is_negative_if_the_feature_makes_the_sample_less_unusual():
    t = np.random.RandomState(0).normal(size=500)
    X = np.column_stack([t, t + 0.1 * np.random.RandomState(1).normal(size=500)])
    first, second = ShrunkCovariance.fit(X).contributions(np.array([[6.0, 3.0]]))[0]
    assert first > 0 > second


@pytest.mark.parametrize("shape", [(200, 6), (12, 40)], ids=str)
def test_contributions_do_not_depend_on_the_units_of_features(shape):
    X, new = gaussian(*shape), gaussian(50, shape[1], seed=1)
    units = np.random.RandomState(0).choice([-1.0, 1.0], shape[1]) * np.linspace(0.5, 2, shape[1])
    changed = ShrunkCovariance.fit(X * units - 7).contributions(new * units - 7)
    np.testing.assert_allclose(changed, ShrunkCovariance.fit(X).contributions(new), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("c", [1e-8, 1e8])
def test_contributions_do_not_depend_on_the_unit_of_X(c):
    X = np.column_stack([gaussian(100, 4), np.ones(100)])
    new = X[:10] + 1
    np.testing.assert_allclose(
        ShrunkCovariance.fit(c * X).contributions(c * new),
        ShrunkCovariance.fit(X).contributions(new),
        rtol=1e-6,
    )


@pytest.mark.parametrize("n", [200, 8])
def test_a_constant_feature_contributes_if_a_new_sample_differs(n):
    X = np.column_stack([gaussian(n, 10), np.full(n, 3.0)])
    fitted, sample = ShrunkCovariance.fit(X), X[:1].copy()
    before = fitted.squared_distance(sample)[0]
    assert fitted.contributions(sample)[0, -1] == pytest.approx(0, abs=1e-9)
    sample[0, -1] += 1.0  # about the standard deviation of the other features
    gain = fitted.squared_distance(sample)[0] - before
    assert 10 < gain < 1e4
    assert fitted.contributions(sample)[0, -1] == pytest.approx(gain, rel=0.01)


@pytest.mark.parametrize("n", [2, 5])
def test_distances_are_finite_without_any_variance(n):
    fitted = ShrunkCovariance.fit(np.ones((n, 3)))
    equal, different = fitted.squared_distance(np.array([[1.0, 1, 1], [1, 2, 1]]))
    assert equal == 0
    assert 0 < different < np.inf


# -- inlier core --------------------------------------------------------------------------


def contaminated(n, d, share, kind, seed=0):
    """Return samples with outliers, in a distant cluster or scattered, and the mask of the outliers."""
    X, rng = gaussian(n, d, seed), np.random.RandomState(seed + 50)
    m, std = round(share * n), gaussian(1000, d).std(axis=0)
    if kind == "cluster":
        X[:m] = 5 + std * (8 * np.sign(rng.normal(size=d)) + 0.5 * rng.normal(size=(m, d)))
    else:
        directions = rng.normal(size=(m, d))
        lengths = rng.uniform(10, 30, size=(m, 1)) * np.sqrt(d)
        X[:m] = 5 + std * lengths * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return X, np.arange(n) < m


def in_inlier_core(X, seed=0):
    return InlierCore.fit(X, np.random.RandomState(seed)).contains(X)


@pytest.mark.parametrize("kind", ["cluster", "scattered"])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.24])
@pytest.mark.parametrize("shape", [(200, 2), (500, 5), (200, 30), (300, 150), (60, 120)], ids=str)
def test_the_inlier_core_includes_normal_samples_and_no_outliers(shape, share, kind):
    n, d = shape
    for seed in range(3):
        X, outlier = contaminated(n, d, share, kind, seed)
        inside = in_inlier_core(X)
        assert not inside[outlier].any()
        assert inside[~outlier].mean() >= (0.9 if n > d else 0.75)


@pytest.mark.parametrize("kind", ["cluster", "scattered"])
@pytest.mark.parametrize("shape", [(500, 5), (200, 30), (300, 150)], ids=str)
def test_with_more_outliers_the_inlier_core_includes_all_normal_samples(shape, kind):
    """The core then also includes the closest outliers, up to three quarters of the samples."""
    X, outlier = contaminated(*shape, 0.3, kind)
    inside = in_inlier_core(X)
    assert inside[~outlier].all()
    assert inside.mean() == pytest.approx(0.75, abs=1.5 / shape[0])


@pytest.mark.parametrize("shape", [(50, 3), (500, 1), (500, 5), (300, 20), (300, 150)], ids=str)
def test_most_clean_samples_are_in_the_inlier_core(shape):
    kept = [in_inlier_core(gaussian(*shape, seed=seed)).mean() for seed in range(8)]
    assert np.mean(kept) >= 0.9


@pytest.mark.parametrize(
    "X",
    [
        gaussian(200, 99),
        gaussian(40, 120),
        np.random.RandomState(0).standard_cauchy(size=(400, 5)),
        np.random.RandomState(0).exponential(size=(400, 5)) ** 3,
    ],
    ids=["few samples", "wide", "heavy tails", "skewed"],
)
def test_at_least_three_quarters_are_in_the_inlier_core(X):
    assert in_inlier_core(X).mean() >= 0.75


def test_wide_samples_far_from_the_leading_components_are_excluded():
    """The outliers are normal along the leading components and unusual in the norm of the remainder."""
    rng = np.random.RandomState(0)
    n, d, m = 400, 300, 20
    X = rng.normal(size=(n, 100)) @ (5 * np.eye(100, d)) + 0.1 * rng.normal(size=(n, d))
    X[:m, 150 : 150 + m] += 8 * np.eye(m)  # 1.6 standard deviations of each of the first 100 features
    inside = in_inlier_core(X)
    assert not inside[:m].any()
    assert inside[m:].mean() >= 0.9


@pytest.mark.parametrize("c", [1e-3, 1e3])
def test_the_inlier_core_is_invariant_to_shifts_and_the_unit_of_X(c):
    X, _ = contaminated(300, 5, 0.2, "cluster")
    np.testing.assert_array_equal(in_inlier_core(c * X - 7), in_inlier_core(X))


def test_the_inlier_core_is_invariant_to_the_order_of_samples():
    X, _ = contaminated(301, 5, 0.2, "scattered")
    order = np.random.RandomState(0).permutation(len(X))
    np.testing.assert_array_equal(in_inlier_core(X[order]), in_inlier_core(X)[order])


def test_a_subsample_of_many_samples_finds_the_inlier_core(monkeypatch):
    X, outlier = contaminated(3000, 4, 0.2, "cluster")
    monkeypatch.setattr(covariance, "_MAX_SAMPLES", 300)
    inside = in_inlier_core(X)
    assert not inside[outlier].any()
    assert inside[~outlier].mean() >= 0.9


def test_duplicates_are_treated_alike():
    X, outlier = contaminated(60, 3, 0.2, "cluster")
    inside = in_inlier_core(np.repeat(X, 4, axis=0)).reshape(len(X), 4)
    assert (inside == inside[:, :1]).all()
    assert not inside[outlier].any()
    assert inside[~outlier].mean() >= 0.9


@pytest.mark.parametrize("X", [[[0.0, 1], [1, 3]], [[0.0], [5]], [[0.0, 0], [1, 0], [9, 0]]], ids=str)
def test_very_few_samples_have_an_inlier_core(X):
    inside = in_inlier_core(np.array(X))
    assert inside.mean() >= 0.75


@pytest.mark.parametrize("d", [1, 3, 150])
def test_equal_samples_are_all_in_the_inlier_core(d):
    assert in_inlier_core(np.ones((10, d))).all()


@pytest.mark.parametrize("d", [1, 3, 150])
def test_mostly_equal_samples_have_an_inlier_core(d):
    X = np.zeros((50, d))
    X[:10] = 5 + gaussian(10, d)
    inside = in_inlier_core(X)
    assert inside[10:].all()
    assert not inside[:10].any()


def test_a_constant_feature_does_not_change_the_inlier_core():
    X, _ = contaminated(200, 4, 0.2, "cluster")
    np.testing.assert_array_equal(in_inlier_core(np.column_stack([X, np.ones(200)])), in_inlier_core(X))


@pytest.mark.parametrize("share", [0.02, 0.08, 0.2, 0.35])
def test_rare_values_of_an_indicator_do_not_change_the_inlier_core(share):
    X, outlier = contaminated(300, 4, 0.1, "scattered")
    indicator = np.random.RandomState(1).uniform(size=300) < share
    both = in_inlier_core(np.column_stack([X, 5.0 * indicator]))
    np.testing.assert_array_equal(both, in_inlier_core(X))
    assert not both[outlier].any()


def test_samples_with_few_valued_features_only_are_all_in_the_inlier_core():
    X = np.random.RandomState(0).uniform(size=(200, 6)) < [0.02, 0.05, 0.1, 0.2, 0.3, 0.9]
    assert in_inlier_core(X.astype(float)).all()


def clumps(n, d, shares, seed=0):
    """Return normal samples with tight clumps at 6 standard deviations, and the mask of these."""
    rng = np.random.RandomState(seed)
    X, end = rng.normal(size=(n, d)), 0
    for share in shares:
        start, end = end, end + round(share * n)
        direction = rng.normal(size=d)
        X[start:end] = 6 * direction / np.linalg.norm(direction) + 0.1 * rng.normal(size=(end - start, d))
    return X, np.arange(n) < end


@pytest.mark.parametrize("shares", [(0.02,), (0.2,), (0.1, 0.1), (0.05, 0.15)], ids=str)
@pytest.mark.parametrize("shape", [(300, 5), (500, 30), (800, 150)], ids=str)
def test_up_to_two_clumps_are_excluded(shape, shares):
    X, outlier = clumps(*shape, shares)
    inside = in_inlier_core(X)
    assert not inside[outlier].any()
    assert inside[~outlier].mean() >= 0.9


def test_clumps_on_opposite_sides_are_excluded():
    X, outlier = clumps(1000, 20, [0.16])
    X[:80] -= 2 * X[:160].mean(axis=0)
    inside = in_inlier_core(X)
    assert not inside[outlier].any()
    assert inside[~outlier].mean() >= 0.9


def test_more_groups_are_clusters_of_normal_samples():
    X, grouped = clumps(1000, 10, [0.08] * 4)
    assert in_inlier_core(X)[grouped].mean() > 0.9


def test_the_deviation_towards_a_clump_uses_all_features():
    X, outlier = clumps(500, 130, [0.1])
    X = np.insert(X, 3, outlier, axis=1)  # an indicator, which the core ignores
    (clump,) = InlierCore.fit(X, np.random.RandomState(0)).clumps
    assert clump.direction[3] == 0
    np.testing.assert_array_equal(clump.contains(X), outlier)
