"""Completion of incomplete samples, against the formulas of the normal distribution."""

import numpy as np
import pytest
from scipy import sparse

from sklearn_ae._utils.missing import Completion, completed, surprisal_of_missing


def normal(n, d=5, seed=0):
    rng = np.random.RandomState(seed)
    return 2 + rng.normal(size=(n, d)) @ np.random.RandomState(99).normal(size=(d, d))


def incomplete(X, rate=0.3, seed=1):
    return np.where(np.random.RandomState(seed).uniform(size=X.shape) < rate, np.nan, X)


def fit(X, seed=0):
    return Completion.fit(X, np.random.RandomState(seed))


def precision(completion):
    """Return the inverse of the shrunk covariance."""
    fitted = completion.covariance
    d = len(fitted.mean)
    core = fitted.rest * np.eye(d) + (fitted.axes.T * fitted.weights) @ fitted.axes
    return core / np.outer(fitted.scale, fitted.scale)


def test_missing_values_are_filled_by_conditional_means():
    X = incomplete(normal(300))
    completion = fit(X)
    covariance, mean = np.linalg.inv(precision(completion)), completion.covariance.mean
    filled, observed = completion.fill(X)
    np.testing.assert_array_equal(observed, ~np.isnan(X))
    np.testing.assert_array_equal(filled[observed], X[observed])
    for x, sample, seen in zip(X, filled, observed, strict=True):
        slopes = np.linalg.solve(covariance[np.ix_(seen, seen)], covariance[np.ix_(seen, ~seen)])
        expected = mean[~seen] + (x - mean)[seen] @ slopes
        expected = np.clip(expected, completion.low[~seen], completion.high[~seen])
        np.testing.assert_allclose(sample[~seen], expected, rtol=1e-7, atol=1e-7)


def test_the_distance_of_a_filled_sample_is_that_of_its_observed_features():
    X = 0.5 * incomplete(normal(300)) + 1  # well within the range of the training samples
    completion = fit(np.vstack([incomplete(normal(300)), 100 * normal(2), -100 * normal(2)]))
    covariance, mean = np.linalg.inv(precision(completion)), completion.covariance.mean
    filled, observed = completion.fill(X)
    distances = completion.covariance.squared_distance(filled)
    for x, distance, seen in zip(X, distances, observed, strict=True):
        a = (x - mean)[seen]
        expected = a @ np.linalg.solve(covariance[np.ix_(seen, seen)], a)
        np.testing.assert_allclose(distance, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_draws_keep_means_and_covariances(rate):
    X = normal(4000)
    rng = np.random.RandomState(0)
    samples = completed(incomplete(X, rate), rng)
    scale = X.std(axis=0)
    np.testing.assert_allclose(samples.mean(axis=0) / scale, X.mean(axis=0) / scale, atol=0.08)
    difference = (np.cov(samples.T) - np.cov(X.T)) / np.outer(scale, scale)
    np.testing.assert_allclose(difference, 0, atol=0.1)


def test_values_stay_within_the_range_of_the_training_samples():
    X = np.random.RandomState(0).poisson(1.0, size=(200, 4)).astype(float)
    completion = fit(incomplete(X))
    rng = np.random.RandomState(0)
    for samples in (completion.draw(incomplete(X), rng), completion.fill(100 * incomplete(X))[0]):
        missing = np.isnan(incomplete(X))
        assert (samples >= X.min(axis=0))[missing].all()
        assert (samples <= X.max(axis=0))[missing].all()


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_complete_samples_are_returned_as_they_are(container, dtype):
    X = container(normal(50).astype(dtype))
    rng = np.random.RandomState(0)
    state = rng.get_state()[1].copy()
    completion = Completion.fit(X, rng)
    assert completion.draw(X, rng) is completed(X, rng) is X
    assert completion.fill(X)[0] is X
    assert completion.fill(X)[1] is None
    np.testing.assert_array_equal(rng.get_state()[1], state)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_is_kept(dtype):
    X = incomplete(normal(50)).astype(dtype)
    completion = fit(X)
    assert completion.draw(X, np.random.RandomState(0)).dtype == completion.fill(X)[0].dtype == dtype


def test_a_feature_without_any_value_is_0_and_missing():
    X = incomplete(normal(100))
    X[:, 2] = np.nan
    completion = fit(X)
    filled, observed = completion.fill(normal(10))
    assert (filled[:, 2] == 0).all()
    np.testing.assert_array_equal(observed, np.arange(5)[None].repeat(10, axis=0) != 2)
    assert (completion.draw(X, np.random.RandomState(0))[:, 2] == 0).all()


@pytest.mark.parametrize("shape", [(200, 5), (20, 300), (3, 4)])
def test_extreme_and_empty_samples_are_finite(shape):
    X = normal(*shape)
    completion = fit(incomplete(X))
    new = X.copy()
    new[0], new[1, 1:], new[1, 0] = np.nan, np.nan, 1e300
    filled = completion.fill(new)[0]
    assert np.isfinite(filled).all()
    np.testing.assert_allclose(filled[0], completion.covariance.mean, rtol=1e-6)


def test_filling_does_not_depend_on_the_other_samples():
    X = incomplete(normal(200, d=20))
    completion = fit(X)
    alone = np.vstack([completion.fill(X[[i]])[0] for i in range(30)])
    np.testing.assert_allclose(alone, completion.fill(X)[0][:30], rtol=1e-7, atol=1e-9)


def test_a_missing_value_is_as_unusual_as_it_is_rare():
    never, some, common, always = surprisal_of_missing(np.arange(998)[:, None] < [0, 9, 400, 998])
    assert never == pytest.approx(2 * np.log(1000) * 0.98)
    assert some == pytest.approx(2 * np.log(100) * 0.8)
    assert common == always == 0
