"""The prior of the code, its landmarks, and the decoder's Jacobian."""

import numpy as np
import pytest
import torch
from torch import Generator

from sklearn_ae._density.latent_prior import LatentModel, chunk_size
from sklearn_ae._model.statistics import CodeMoments
from sklearn_ae.priors import Mixture


def normal(*shape, seed=0):
    return torch.randn(shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def fitted(codes, noise_variance, weights):
    moments = CodeMoments.of(codes.numpy())
    parts = map(torch.from_numpy, (moments.mean, moments.root, moments.landmarks))
    return LatentModel.fit(lambda z: z @ weights, *parts, noise_variance)


def test_covariance_of_the_codes_is_reduced_by_the_noise_in_them():
    """For a linear decoder W, that noise is sigma^2 (W W')^-1."""
    codes, weights = normal(300, 3) @ normal(3, 3, seed=1), normal(3, 8, seed=2)
    model = fitted(codes, 0.01, weights)
    expected = np.cov(codes.T) - 0.01 * np.linalg.inv(weights.numpy() @ weights.numpy().T)
    np.testing.assert_allclose(model.scale @ model.scale.T, expected, rtol=1e-6)
    torch.testing.assert_close(model.mean, codes.mean(0))
    assert torch.equal(model.scale, model.scale.tril())


def test_directions_that_the_decoder_ignores_keep_their_variance():
    codes, weights = normal(300, 2), torch.tensor([[1.0, 2.0], [0.0, 0.0]]).double()
    covariance = fitted(codes, 0.5, weights)
    found = covariance.scale @ covariance.scale.T
    spread = np.cov(codes.T)
    root = np.linalg.inv(np.linalg.cholesky(spread))
    share = np.linalg.eigvalsh(root @ found.numpy() @ root.T)
    assert share[0] < 0.95
    assert share[1] == pytest.approx(1.0, abs=1e-6)


def test_whitening_undoes_colouring_and_the_prior_is_standard_normal():
    model = fitted(normal(100, 3) + 5.0, 0.01, normal(3, 8, seed=2))
    u = normal(20, 3, seed=4)
    torch.testing.assert_close(model.whiten(model.colour(u)), u)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(u).sum(1)
    torch.testing.assert_close(model.log_prior(u), expected)
    gradient, curvature = model.prior_derivatives(u)
    torch.testing.assert_close(gradient, u)
    torch.testing.assert_close(curvature, torch.eye(3).double())


def test_landmarks_are_the_codes_and_draws_that_reach_beyond_the_prior():
    codes = normal(50, 2)
    landmarks = LatentModel.standard(codes).landmarks
    assert torch.equal(landmarks[:50], codes)
    assert landmarks[50:].norm(dim=1).max() > 6
    assert (landmarks[50:].norm(dim=1) < 1).any()
    assert len(LatentModel.unit(2).landmarks) == 0


def test_a_given_prior_replaces_the_standard_normal():
    codes = np.random.RandomState(0).normal(size=(300, 2)) + np.array(
        [[4.0, 0.0], [-4.0, 0.0], [0.0, 4.0]] * 100
    )
    prior = Mixture().fit(codes, codes, codes)
    model, u = LatentModel.standard(torch.from_numpy(codes), prior), normal(10, 2)
    assert torch.equal(model.log_prior(u), prior.log_prob(u))
    for found, expected in zip(model.prior_derivatives(u), prior.derivatives(u), strict=True):
        assert torch.equal(found, expected)


def test_chunks_hold_at_least_one_sample():
    assert chunk_size(2**40) == 1
    assert chunk_size(1) > 1
