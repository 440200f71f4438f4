"""Trees that tell samples from corrupted copies: copies, normal scores, and shares of copies."""

import numpy as np
import pytest
from scipy import stats

from sklearn_ae._utils.contrast import CorruptionTrees, NormalScores, corrupted


def correlated(n, seed=0, d=6):
    rng = np.random.RandomState(seed)
    return rng.normal(size=(n, 2)) @ np.random.RandomState(9).normal(size=(2, d)) + 0.3 * rng.normal(
        size=(n, d)
    )


def trees(X):
    return CorruptionTrees(X, 20, np.random.RandomState(0))


def test_copies_differ_from_all_samples_and_stay_near_their_range():
    X = correlated(500)
    copies = corrupted(X, 3000, np.random.RandomState(0))
    as_before = (copies[:, None] == X).sum(axis=2).max(axis=1)
    assert as_before.max() == X.shape[1] - 1
    width = np.ptp(X, axis=0)
    assert np.mean((copies < X.min(axis=0) - 0.1 * width) | (copies > X.max(axis=0) + 0.1 * width)) < 0.05


def test_normal_scores_are_the_quantiles_of_mid_ranks():
    x = np.random.RandomState(0).exponential(size=(150, 2)) * [1, 50]
    ranks = stats.rankdata(x, axis=0)
    scores = NormalScores(x)
    np.testing.assert_allclose(scores(x), stats.norm.ppf((ranks - 0.5) / 150), rtol=1e-6, atol=1e-9)
    beyond = np.vstack([x.max(axis=0) + 3, x.min(axis=0) - 2])
    ends = stats.norm.ppf([149.5 / 150, 0.5 / 150])
    np.testing.assert_allclose(scores(beyond), np.column_stack([ends + np.array([3, -2])] * 2))


def test_normal_scores_of_ties_and_constants():
    x = np.column_stack([np.repeat([0.0, 1.0, 4.0], [50, 30, 20]), np.full(100, 7.0)])
    expected = np.column_stack([stats.norm.ppf([0.25, 0.65, 0.9]), np.zeros(3)])
    np.testing.assert_allclose(NormalScores(x)(x[[0, 50, 80]]), expected, atol=1e-12)
    np.testing.assert_allclose(NormalScores(x)(np.array([[0.5, 9.0]]))[0, 1], 2.0)


@pytest.mark.parametrize("rounding", [0.0, 1e-7, 1e-4])
def test_shares_of_training_samples_are_distributed_like_those_of_new_samples(rounding):
    """If they counted themselves, their mean would be lower by half a standard deviation."""
    differences = []
    for seed in range(5):
        X, new = correlated(400, seed), correlated(1000, seed + 50)
        fitted = trees(X)
        X = X + rounding * np.random.RandomState(1).normal(size=X.shape)
        differences.append(fitted.share(X).mean() - fitted.share(new).mean())
    spread = fitted.share(new).std()
    assert abs(np.mean(differences)) < 0.15 * spread


def test_shares_are_large_away_from_the_samples_and_add_up():
    X, new = correlated(400), correlated(300, 1)
    fitted = trees(X)
    independent = np.column_stack([np.random.RandomState(j).permutation(x) for j, x in enumerate(new.T)])
    inside, broken = fitted.share(new), fitted.share(independent)
    assert np.mean(inside[:, None] < broken) > 0.9
    sums = fitted.contributions(new).sum(axis=1) + 0.5
    assert np.mean(np.abs(sums - inside) < 1e-9) > 0.95  # others are taken for training samples
    far = new[:50].copy()
    far[:, 3] += 1e3
    np.testing.assert_array_equal(fitted.share(far), 1.0)
    np.testing.assert_array_equal(fitted.contributions(far).argmax(axis=1), 3)


def test_nothing_depends_on_units():
    X, new = correlated(300), correlated(100, 1)
    unit, shift = 2.0 ** np.arange(6), np.arange(6.0)
    np.testing.assert_allclose(trees(X).share(new), trees(unit * X).share(unit * new), atol=1e-9)
    shifted = trees(unit * X + shift).share(unit * new + shift)
    assert np.mean(np.abs(trees(X).share(new) - shifted) > 1e-6) < 0.05
