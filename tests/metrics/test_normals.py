"""Sets and mixtures of normal densities, against torch's distributions and scikit-learn's mixture."""

import numpy as np
import torch
from scipy.special import logsumexp
from sklearn.mixture import GaussianMixture

from sklearn_ae.metrics import _normals
from sklearn_ae.metrics._normals import FoldMixtures, Normals, _seeds, log_sum_exp


def some_normals():
    rng = np.random.RandomState(0)
    means, roots, x = rng.normal(size=(7, 3)), rng.normal(size=(7, 3, 3)), rng.normal(size=(5, 3))
    return means, roots @ roots.transpose(0, 2, 1), x


def test_normal_densities():
    means, covariances, x = some_normals()
    log_q = next(Normals(means, covariances).blocks(x))[1]
    truth = torch.distributions.MultivariateNormal(torch.from_numpy(means), torch.from_numpy(covariances))
    np.testing.assert_allclose(log_q, truth.log_prob(torch.from_numpy(x[:, None])), rtol=1e-8)


def test_blocks_do_not_change_the_density(monkeypatch):
    means, covariances, x = some_normals()
    whole = Normals(means, covariances).log_density(x)
    monkeypatch.setattr(_normals, "_BLOCK_VALUES", 14)
    np.testing.assert_allclose(Normals(means, covariances).log_density(x), whole)


def test_log_sum_exp_is_scipys():
    values = np.random.RandomState(0).normal(size=(5, 4)) * 1000
    np.testing.assert_allclose(log_sum_exp(values), logsumexp(values, axis=1))


def clusters(n=300):
    rng = np.random.RandomState(0)
    return 6.0 * np.array([[0, 0], [1, 0], [0, 1]])[np.arange(n) % 3] + rng.normal(size=(n, 2))


def test_mixtures_are_those_of_scikit_learn_without_the_fold():
    """Separated clusters have one optimum, which both find."""
    X, folds = clusters(), np.arange(300) // 60
    found = FoldMixtures(X, folds, 4, np.random.RandomState(0)).fit(3).log_density(X, folds)
    for fold in range(5):
        mixture = GaussianMixture(3, reg_covar=1e-3, tol=1e-9, random_state=0).fit(X[folds != fold])
        np.testing.assert_allclose(found[folds == fold], mixture.score_samples(X[folds == fold]), atol=1e-2)


def test_mixtures_of_one_component_are_normals_with_the_moments():
    X, folds = clusters(), np.arange(300) % 2
    found = FoldMixtures(X, folds, 1, np.random.RandomState(0)).fit(1).log_density(X, folds)
    for fold in (0, 1):
        rest = X[folds != fold]
        covariance = np.cov(rest.T, bias=True) + 1e-3 * np.eye(2)
        truth = Normals(rest.mean(0)[None], covariance[None]).log_density(X[folds == fold])
        np.testing.assert_allclose(found[folds == fold], truth)


def test_seeds_are_outside_of_their_fold_and_in_different_clusters():
    X, folds = clusters(), np.arange(300) // 60
    seeds = _seeds(X, folds[:, None] != np.arange(5), 3, np.random.RandomState(0))
    assert (folds[seeds] != np.arange(5)[:, None]).all()
    assert (np.sort(seeds % 3, axis=1) == [0, 1, 2]).all()


def test_equal_points_raise_no_error():
    X, folds = np.ones((40, 2)), np.arange(40) % 4
    log_density = FoldMixtures(X, folds, 4, np.random.RandomState(0)).fit(4).log_density(X, folds)
    np.testing.assert_allclose(log_density, -np.log(2 * np.pi * 1e-3), rtol=1e-3)
