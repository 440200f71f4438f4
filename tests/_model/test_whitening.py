"""The map to coordinates in which the noise of a full covariance is independent."""

import numpy as np
import pytest
import torch

from sklearn_ae._model.whitening import Whitening


def whitening(m, d, mixes, seed=0):
    rng = np.random.RandomState(seed)
    axes = np.linalg.qr(rng.normal(size=(d, m)))[0].T
    made = Whitening(torch.from_numpy(axes), torch.from_numpy(rng.uniform(-0.9, 9, m)), mixes=mixes)
    if mixes:
        made.mix.data = torch.from_numpy(rng.normal(size=(d, d)))
    return made.requires_grad_(False)


@pytest.fixture(params=[(6, 6, True), (6, 6, False), (2, 6, False), (0, 3, False), (1, 1, True)], ids=str)
def made(request):
    return whitening(*request.param)


def matrix(made):
    return made(torch.eye(made.axes.shape[1]).double()).T.numpy()


def test_it_is_linear_keeps_volumes_and_has_an_inverse(made):
    x = torch.from_numpy(np.random.RandomState(1).normal(size=(2, 5, made.axes.shape[1])))
    A = matrix(made)
    np.testing.assert_allclose(made(x), x.numpy() @ A.T, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.abs(np.linalg.det(A)), 1.0, rtol=1e-9)
    np.testing.assert_allclose(made.inverse(made(x[0])), x[0], atol=1e-9)
    assert np.linalg.norm(A, 2) <= made.gain * (1 + 1e-9)


def test_the_covariance_is_that_of_independent_coordinates(made):
    d = made.axes.shape[1]
    variance = torch.from_numpy(np.random.RandomState(2).uniform(0.1, 5, d))
    inverse = np.linalg.inv(matrix(made))
    expected = inverse @ np.diag(variance) @ inverse.T
    np.testing.assert_allclose(made.covariance(variance), expected, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(made.variances(variance), np.diag(expected), rtol=1e-8)


def test_gradients_reach_the_strictly_lower_triangle_only():
    made = whitening(3, 3, True).requires_grad_(True)
    made(torch.ones(1, 3).double()).square().sum().backward()
    above = np.triu(np.ones((3, 3)))
    assert (made.mix.grad.numpy()[above == 1] == 0).all()
    assert (made.mix.grad.numpy()[above == 0] != 0).all()


@pytest.mark.parametrize("mixes", [True, False])
def test_it_is_computed_in_float32_under_autocast(mixes):
    """Whitened samples are differences of large numbers, of which bfloat16 would keep few digits."""
    made = whitening(3, 3, mixes).float()
    x = torch.from_numpy(np.random.RandomState(1).normal(size=(5, 3))).float()
    with torch.autocast("cpu", torch.bfloat16):
        result = made(x)
        assert made(x.bfloat16()).dtype == torch.float32
    torch.testing.assert_close(result, made(x), rtol=0, atol=0)
