"""Posteriors of codes: whitened coordinates, probabilistic PCA, Jacobians, the model's own posterior."""

import numpy as np
import pytest
import torch
from known_codes import CODES, Noisy, normal
from sklearn.decomposition import PCA

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.metrics._posteriors import (
    Coordinates,
    _squared_jacobians,
    posteriors,
    posteriors_or_codes,
    subsample,
)


@pytest.mark.parametrize("noise", [0.0, 1e-15])
def test_coordinates_of_uncorrelated_codes_do_not_depend_on_rounding(noise):
    covariance = np.eye(4) + noise * np.random.RandomState(0).normal(size=(4, 4))
    covariance = (covariance + covariance.T) / 2
    coordinates = Coordinates.whitening(np.ones(4), covariance)
    np.testing.assert_allclose(coordinates.basis, np.eye(4), atol=1e-13)


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_coordinates_whiten_and_are_continuous(rank):
    """Equal eigenvalues have arbitrary eigenvectors, and dependent components have a null space."""
    loadings = np.linalg.qr(np.random.RandomState(rank).normal(size=(4, 4)))[0][:, :rank]
    covariance = np.zeros((5, 5))
    covariance[:4, :4] = loadings @ loadings.T * np.outer([1, 100, 1, 1e-3], [1, 100, 1, 1e-3])
    coordinates = Coordinates.whitening(np.zeros(5), covariance)
    assert coordinates.basis.shape == (rank, 5)
    assert coordinates.dependent == (rank < 4)
    assert coordinates.varying.tolist() == [True] * 4 + [False]
    whitened = coordinates.inverse.T @ covariance @ coordinates.inverse
    np.testing.assert_allclose(whitened, np.eye(rank), atol=1e-9)
    np.testing.assert_allclose(coordinates.basis @ coordinates.inverse, np.eye(rank), atol=1e-9)
    scale = 1 + 1e-14 * np.random.RandomState(9).normal(size=5)
    moved = Coordinates.whitening(np.zeros(5), covariance * np.outer(scale, scale))
    np.testing.assert_allclose(moved.basis, coordinates.basis, rtol=1e-6, atol=1e-9)


def test_posterior_of_pca_is_that_of_probabilistic_pca():
    spectrum = np.r_[9.0, 5.0, 3.0, 1.5, np.full(8, 0.2)]
    X = normal(300, np.diag(spectrum))
    pca = PCA(4).fit(X)
    q = posteriors(pca, X)
    shrinkage = 1 - 0.2 / spectrum[:4]
    np.testing.assert_allclose(q.codes(q.means), shrinkage * pca.transform(X), atol=1e-6)
    np.testing.assert_allclose(q.component_variances(), np.tile(0.2 * shrinkage, (300, 1)), rtol=1e-5)


@pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")
def test_jacobians_are_those_of_autograd(curve):
    model = AutoencoderTransformer(
        2, hidden_layer_sizes=(8,), max_iter=5, early_stopping=False, random_state=0
    ).fit(curve)
    codes = model.transform(curve[:20])
    coordinates = posteriors(model, curve[:100]).coordinates
    module = model.module_.double()
    decoded = torch.func.vmap(torch.func.jacrev(lambda z: module.reconstruct(z[None] / model.scale_)[0]))
    jacobian = decoded(torch.from_numpy(codes)).detach().numpy() @ coordinates.basis.T
    truth = jacobian.transpose(0, 2, 1) @ jacobian
    assert truth.std(axis=0).max() > 1e-3 * truth.max()  # The decoder is not linear
    np.testing.assert_allclose(_squared_jacobians(model, codes, coordinates), truth, rtol=1e-4, atol=1e-6)


def test_own_posterior_is_used_unchanged():
    mean = normal(200, np.array([[2.0, 0.5], [0.5, 1.0]]))
    std = np.random.RandomState(0).uniform(0.1, 1.0, size=mean.shape)
    q = posteriors(Noisy(std), mean)
    assert q.from_model
    assert not q.deterministic
    np.testing.assert_allclose(q.codes(q.means), mean, atol=1e-9)
    np.testing.assert_allclose(np.sqrt(q.component_variances()), std, rtol=1e-6)
    draws = q.codes(q.draws(1000, np.random.RandomState(0)))
    np.testing.assert_allclose(draws.mean(0), mean, atol=1e-9)  # Antithetic
    np.testing.assert_allclose(draws.std(0), std, rtol=0.15)


def test_codes_without_a_posterior_are_deterministic():
    X = normal(50, np.eye(3))
    q = posteriors_or_codes(CODES, X)
    assert q.deterministic
    np.testing.assert_allclose(q.codes(q.draws(3, np.random.RandomState(0))), X[None], atol=1e-9)
    assert posteriors(PCA().fit(X), X).deterministic  # The reconstruction is exact


def test_subsample_takes_the_same_samples_from_all():
    X = np.arange(40.0).reshape(20, 2)
    part, labels = subsample(12, np.random.RandomState(0), X, np.arange(20))
    assert len(np.unique(labels)) == 12
    np.testing.assert_array_equal(part, X[labels])
    assert subsample(20, np.random.RandomState(0), X)[0] is X
    with pytest.raises(ValueError, match="at least 10 samples"):
        subsample(20, np.random.RandomState(0), X[:9])
