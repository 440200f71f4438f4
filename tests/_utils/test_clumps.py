"""find_clump: clumps of samples are found, normal samples of many distributions are not."""

import numpy as np
import pytest

from sklearn_ae._utils.clumps import find_clump


def with_clump(n, d, share, std=0.1, distance=6.0, correlated=False, seed=0):
    """Return normal samples with a clump, and the mask of the clump."""
    rng = np.random.RandomState(seed)
    X, m = rng.normal(size=(n, d)), round(share * n)
    direction = rng.normal(size=d)
    X[:m] = distance * direction / np.linalg.norm(direction) + std * rng.normal(size=(m, d))
    if correlated:
        X = X @ (np.eye(d) + rng.normal(size=(d, d)))
    return X, np.arange(n) < m


def find(X, seed=0):
    return find_clump(X, np.ones(len(X), dtype=bool), int(0.27 * len(X)), np.random.RandomState(seed))


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.25])
@pytest.mark.parametrize("shape", [(300, 5), (300, 20), (1000, 60)], ids=str)
def test_tight_clumps_are_found(shape, share, correlated):
    X, outlier = with_clump(*shape, share, correlated=correlated)
    np.testing.assert_array_equal(find(X).contains(X), outlier)


@pytest.mark.parametrize(("share", "std"), [(0.2, 0.0), (0.2, 0.5), (0.08, 1.0)])
def test_wider_clumps_and_equal_samples_are_found(share, std):
    X, outlier = with_clump(1000, 20, share, std)
    assert np.mean(find(X).contains(X) != outlier) < 0.01


def test_a_large_group_as_wide_as_the_others_is_a_cluster():
    assert find(with_clump(1000, 20, 0.2, 1.0)[0]) is None


@pytest.mark.parametrize("kind", ["normal", "uniform", "standard_t"])
@pytest.mark.parametrize("shape", [(100, 30), (300, 5), (1000, 20)], ids=str)
def test_clean_samples_have_no_clump(shape, kind):
    for seed in range(4):
        rng = np.random.RandomState(seed)
        X = rng.standard_t(5, size=shape) if kind == "standard_t" else getattr(rng, kind)(size=shape)
        assert find(X) is None


def test_the_tail_of_skewed_samples_is_no_clump():
    found = [find(np.random.RandomState(seed).exponential(size=(500, 8))) for seed in range(6)]
    assert sum(clump is not None for clump in found) <= 1


def test_other_samples_have_mean_0_and_standard_deviation_1_along_the_direction():
    X, outlier = with_clump(500, 10, 0.1, correlated=True)
    deviation = find(X).deviation(X)
    assert deviation[~outlier].mean() == pytest.approx(0, abs=1e-9)
    assert deviation[~outlier].std() == pytest.approx(1, abs=1e-3)
    assert np.median(deviation[outlier]) > 4.5


@pytest.mark.parametrize("c", [1e-6, 1e6])
def test_the_clump_does_not_depend_on_shifts_and_the_unit_of_X(c):
    X, _ = with_clump(300, 8, 0.1)
    np.testing.assert_array_equal(find(c * (X - 3)).contains(c * (X - 3)), find(X).contains(X))


def test_the_clump_does_not_depend_on_rounding_and_starts():
    X, outlier = with_clump(400, 12, 0.15, std=0.5)
    for seed in range(5):
        new = X * (1 + 1e-12 * np.random.RandomState(seed).normal(size=X.shape))
        np.testing.assert_array_equal(find(new, seed).contains(new), outlier)


@pytest.mark.parametrize(
    "X", [np.zeros((20, 3)), np.ones((2, 2)), np.eye(12), np.arange(30.0)[:, None]], ids=len
)
def test_degenerate_samples_have_no_clump(X):
    assert find(X) is None


def test_a_group_that_samples_outside_of_the_core_continue_is_no_clump():
    X, outlier = with_clump(500, 5, 0.05)
    core = np.ones(700, dtype=bool)
    core[500:] = False
    wide = np.linspace(2, 30, 200)[:, None] * X[outlier].mean(axis=0) / 6
    everything = np.concatenate([X, wide])
    rng = np.random.RandomState(0)
    assert find(X) is not None
    assert find_clump(everything, core, 180, rng) is None
