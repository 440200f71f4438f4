"""ShrunkCovariance is the shrunk correlation's Mahalanobis distance and its Shapley values; the core is clean."""

from itertools import combinations
from math import factorial

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.covariance import ledoit_wolf_shrinkage

from sklearn_ae._utils import covariance as _scatter
from sklearn_ae._utils.covariance import InlierCore, ShrunkCovariance

SHAPES = [(200, 6), (12, 40), (7, 7), (300, 1), (2, 3)]


def gaussian(n, d, seed=0):
    """Correlated rows far from zero, all columns of about the same spread."""
    mixing = np.eye(d) + 0.5 * np.random.RandomState(99).normal(size=(d, d))
    rng = np.random.RandomState(seed)
    return 5 + rng.normal(size=(n, d)) @ mixing / np.sqrt(np.square(mixing).sum(axis=0))


def shrunk_distance(X, rows):
    """Squared distance by the textbook: an inverse of the shrunk correlation matrix."""
    A = (X - X.mean(axis=0)) / X.std(axis=0)
    s = max(ledoit_wolf_shrinkage(A, assume_centered=True), 1e-6)
    corr = A.T @ A / len(A)
    R = (1 - s) * corr + s * np.trace(corr) / len(corr) * np.eye(len(corr))
    z = (rows - X.mean(axis=0)) / X.std(axis=0)
    return np.square(cdist(z, np.zeros((1, z.shape[1])), "mahalanobis", VI=np.linalg.inv(R)))[:, 0]


def shapley(value, d):
    """Mean gain from each player, over all coalitions of the others."""
    gains = np.zeros(d)
    for j in range(d):
        others = [i for i in range(d) if i != j]
        for size in range(d):
            weight = factorial(size) * factorial(d - size - 1) / factorial(d)
            gains[j] += weight * sum(value({*S, j}) - value(set(S)) for S in combinations(others, size))
    return gains


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_distance_is_that_of_the_shrunk_correlation(shape):
    X, fresh = gaussian(*shape), 3 * gaussian(50, shape[1], seed=1)
    for rows in (X, fresh):
        np.testing.assert_allclose(
            ShrunkCovariance.fit(X).distance(rows), shrunk_distance(X, rows), rtol=1e-6
        )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_contributions_add_up_to_the_distance(shape):
    scatter, fresh = ShrunkCovariance.fit(gaussian(*shape)), gaussian(50, shape[1], seed=1)
    np.testing.assert_allclose(scatter.contributions(fresh).sum(axis=1), scatter.distance(fresh), rtol=1e-9)


@pytest.mark.parametrize("shape", [(100, 4), (3, 4), (50, 3)], ids=str)
def test_contributions_are_shapley_values(shape):
    scatter = ShrunkCovariance.fit(gaussian(*shape))

    def value(row, coalition):
        kept = [j in coalition for j in range(shape[1])]
        return scatter.distance(np.where(kept, row, scatter.mean)[None])[0]

    rows = gaussian(5, shape[1], seed=1)
    expected = [shapley(lambda S, row=row: value(row, S), shape[1]) for row in rows]
    np.testing.assert_allclose(scatter.contributions(rows), expected, rtol=1e-7, atol=1e-9)


def test_a_contribution_is_negative_where_the_column_makes_the_row_less_odd():
    t = np.random.RandomState(0).normal(size=500)
    X = np.column_stack([t, t + 0.1 * np.random.RandomState(1).normal(size=500)])
    first, second = ShrunkCovariance.fit(X).contributions(np.array([[6.0, 3.0]]))[0]
    assert first > 0 > second


@pytest.mark.parametrize("shape", [(200, 6), (12, 40)], ids=str)
def test_units_of_the_columns_do_not_matter(shape):
    X, fresh = gaussian(*shape), gaussian(50, shape[1], seed=1)
    units = np.random.RandomState(0).choice([-1.0, 1.0], shape[1]) * np.linspace(0.5, 2, shape[1])
    changed = ShrunkCovariance.fit(X * units - 7).contributions(fresh * units - 7)
    np.testing.assert_allclose(changed, ShrunkCovariance.fit(X).contributions(fresh), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("c", [1e-8, 1e8])
def test_the_unit_of_all_columns_does_not_matter(c):
    X = np.column_stack([gaussian(100, 4), np.ones(100)])
    fresh = X[:10] + 1
    np.testing.assert_allclose(
        ShrunkCovariance.fit(c * X).contributions(c * fresh),
        ShrunkCovariance.fit(X).contributions(fresh),
        rtol=1e-6,
    )


@pytest.mark.parametrize("n", [200, 8])
def test_a_constant_column_counts_where_it_differs_later(n):
    X = np.column_stack([gaussian(n, 10), np.full(n, 3.0)])
    scatter, row = ShrunkCovariance.fit(X), X[:1].copy()
    before = scatter.distance(row)[0]
    assert scatter.contributions(row)[0, -1] == pytest.approx(0, abs=1e-9)
    row[0, -1] += 1.0  # the spread of the other columns
    gain = scatter.distance(row)[0] - before
    assert 10 < gain < 1e4
    assert scatter.contributions(row)[0, -1] == pytest.approx(gain, rel=0.01)


@pytest.mark.parametrize("n", [2, 5])
def test_rows_without_any_variance_have_finite_distances(n):
    scatter = ShrunkCovariance.fit(np.ones((n, 3)))
    at, off = scatter.distance(np.array([[1.0, 1, 1], [1, 2, 1]]))
    assert at == 0
    assert 0 < off < np.inf


# -- the core --------------------------------------------------------------------------


def contaminated(n, d, share, kind, seed=0):
    """Normal rows after a share of outliers that is a far cluster, or scattered."""
    X, rng = gaussian(n, d, seed), np.random.RandomState(seed + 50)
    m, std = round(share * n), gaussian(1000, d).std(axis=0)
    if kind == "cluster":
        X[:m] = 5 + std * (8 * np.sign(rng.normal(size=d)) + 0.5 * rng.normal(size=(m, d)))
    else:
        directions = rng.normal(size=(m, d))
        lengths = rng.uniform(10, 30, size=(m, 1)) * np.sqrt(d)
        X[:m] = 5 + std * lengths * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return X, np.arange(n) < m


def core_of(X, seed=0):
    return InlierCore.fit(X, np.random.RandomState(seed)).contains(X)


@pytest.mark.parametrize("kind", ["cluster", "scattered"])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.24])
@pytest.mark.parametrize("shape", [(200, 2), (500, 5), (200, 30), (300, 150), (60, 120)], ids=str)
def test_the_core_holds_normal_rows_and_no_outliers(shape, share, kind):
    n, d = shape
    for seed in range(3):
        X, odd = contaminated(n, d, share, kind, seed)
        inside = core_of(X)
        assert not inside[odd].any()
        assert inside[~odd].mean() >= (0.9 if n > d else 0.75)


@pytest.mark.parametrize("kind", ["cluster", "scattered"])
@pytest.mark.parametrize("shape", [(500, 5), (200, 30), (300, 150)], ids=str)
def test_more_outliers_than_a_quarter_only_fill_up_the_core(shape, kind):
    """It has three quarters of the rows: all normal ones, and the least far of the others."""
    X, odd = contaminated(*shape, 0.3, kind)
    inside = core_of(X)
    assert inside[~odd].all()
    assert inside.mean() == pytest.approx(0.75, abs=1.5 / shape[0])


@pytest.mark.parametrize("shape", [(50, 3), (500, 1), (500, 5), (300, 20), (300, 150)], ids=str)
def test_clean_rows_are_kept(shape):
    kept = [core_of(gaussian(*shape, seed=seed)).mean() for seed in range(8)]
    assert np.mean(kept) >= 0.9


@pytest.mark.parametrize(
    "X",
    [
        gaussian(200, 99),
        gaussian(40, 120),
        np.random.RandomState(0).standard_cauchy(size=(400, 5)),
        np.random.RandomState(0).exponential(size=(400, 5)) ** 3,
    ],
    ids=["few rows", "wide", "heavy tails", "skew"],
)
def test_three_quarters_are_kept_of_any_rows(X):
    assert core_of(X).mean() >= 0.75


def test_wide_rows_off_the_leading_components_are_left_out():
    """Outliers that are usual along the components that the core sees, and odd in what these leave."""
    rng = np.random.RandomState(0)
    n, d, m = 400, 300, 20
    X = rng.normal(size=(n, 100)) @ (5 * np.eye(100, d)) + 0.1 * rng.normal(size=(n, d))
    X[:m, 150 : 150 + m] += 8 * np.eye(m)  # as long as 1.6 deviations of each of the first 100 columns
    inside = core_of(X)
    assert not inside[:m].any()
    assert inside[m:].mean() >= 0.9


@pytest.mark.parametrize("c", [1e-3, 1e3])
def test_shifts_and_one_unit_for_all_columns_leave_the_core_as_it_is(c):
    X, _ = contaminated(300, 5, 0.2, "cluster")
    np.testing.assert_array_equal(core_of(c * X - 7), core_of(X))


def test_the_order_of_the_rows_leaves_the_core_as_it_is():
    X, _ = contaminated(301, 5, 0.2, "scattered")
    order = np.random.RandomState(0).permutation(len(X))
    np.testing.assert_array_equal(core_of(X[order]), core_of(X)[order])


def test_few_of_many_rows_find_the_core(monkeypatch):
    X, odd = contaminated(3000, 4, 0.2, "cluster")
    monkeypatch.setattr(_scatter, "_MAX_ROWS", 300)
    inside = core_of(X)
    assert not inside[odd].any()
    assert inside[~odd].mean() >= 0.9


def test_duplicates_stay_together():
    X, odd = contaminated(60, 3, 0.2, "cluster")
    inside = core_of(np.repeat(X, 4, axis=0)).reshape(len(X), 4)
    assert (inside == inside[:, :1]).all()
    assert not inside[odd].any()
    assert inside[~odd].mean() >= 0.9


@pytest.mark.parametrize("X", [[[0.0, 1], [1, 3]], [[0.0], [5]], [[0.0, 0], [1, 0], [9, 0]]], ids=str)
def test_very_few_rows_have_a_core(X):
    inside = core_of(np.array(X))
    assert inside.mean() >= 0.75


@pytest.mark.parametrize("d", [1, 3, 150])
def test_equal_rows_are_all_in_the_core(d):
    assert core_of(np.ones((10, d))).all()


@pytest.mark.parametrize("d", [1, 3, 150])
def test_rows_of_which_most_are_equal_have_a_core(d):
    X = np.zeros((50, d))
    X[:10] = 5 + gaussian(10, d)
    inside = core_of(X)
    assert inside[10:].all()
    assert not inside[:10].any()


def test_a_constant_column_does_not_disturb_the_core():
    X, odd = contaminated(200, 4, 0.2, "cluster")
    np.testing.assert_array_equal(core_of(np.column_stack([X, np.ones(200)])), core_of(X))
    inside = core_of(np.column_stack([gaussian(200, 4), np.where(odd, 5.0, 0.0)]))
    assert not inside[odd].any()
