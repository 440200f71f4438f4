"""Reduction of many features to the directions in which the decoder moves does not change log p(x)."""

import numpy as np
import pytest
from scipy import sparse
from torch import nn

from sklearn_ae import AutoencoderTransformer, VAETransformer
from sklearn_ae._density import decoded
from sklearn_ae.likelihoods import Gaussian

MODELS = {
    "dense": AutoencoderTransformer(2, hidden_layer_sizes=(8,)),
    "tied": AutoencoderTransformer(2, hidden_layer_sizes=(8,), tied_weights=True),
    "random": AutoencoderTransformer(2, hidden_layer_sizes=(8, 6), init="random"),
    "ordered": AutoencoderTransformer(2, hidden_layer_sizes=(8,), bottleneck="ordered"),
    "modules": AutoencoderTransformer(
        2,
        network=(
            nn.Sequential(nn.Linear(60, 8), nn.Tanh(), nn.Linear(8, 2)),
            nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 60)),
        ),
    ),
    "VAE": VAETransformer(2, hidden_layer_sizes=(8,)),
    "VAE, noise of each feature": VAETransformer(
        2, hidden_layer_sizes=(8,), likelihood=Gaussian(noise="per_column")
    ),
    "VAE, full noise covariance": VAETransformer(
        2, hidden_layer_sizes=(8,), likelihood=Gaussian(noise="full")
    ),
}


@pytest.fixture(scope="module")
def X():
    rng = np.random.RandomState(0)
    t = rng.uniform(-2, 2, (200, 2))
    features = np.column_stack([t, t**2, np.sin(2 * t)]) @ rng.normal(size=(6, 60))
    return 5.0 + features + 0.2 * rng.uniform(0.5, 2, 60) * rng.normal(size=(200, 60))


@pytest.mark.parametrize("name", MODELS)
def test_log_likelihood_is_that_of_all_features(name, X, monkeypatch):
    model = MODELS[name].set_params(max_iter=20, early_stopping=False, random_state=0).fit(X)
    reductions = []
    reduce = decoded.OutputSpan.of.__func__

    def recorded(cls, *args):
        reductions.append(reduce(cls, *args))
        return reductions[-1]

    monkeypatch.setattr(decoded.OutputSpan, "of", classmethod(recorded))
    log_p, std = model.score_samples(X[:40], return_std=True)
    monkeypatch.setattr(decoded, "_MIN_REDUCTION", np.inf)
    expected, expected_std = model.score_samples(X[:40], return_std=True)
    assert reductions[0].axes.shape[0] == 60
    assert reductions[0].axes.shape[1] <= 10
    assert reductions[1] is None
    np.testing.assert_allclose(log_p, expected, atol=1e-3)
    np.testing.assert_allclose(std, expected_std, atol=1e-3)


def test_extreme_samples_have_finite_and_ordered_scores(X):
    model = MODELS["dense"].set_params(max_iter=5, early_stopping=False, random_state=0).fit(X)
    far = X[:1] + np.array([[0.0], [1e3], [1e6], [1e9], [1e200]]) * np.random.RandomState(1).normal(size=60)
    log_p = model.score_samples(far)
    assert np.isfinite(log_p).all()
    assert (np.diff(log_p) < 0).all()


def test_wide_sparse_samples():
    X = sparse.random(60, 500, density=0.05, random_state=0, format="csr")
    model = VAETransformer(2, hidden_layer_sizes=(8,), max_iter=3, early_stopping=False, random_state=0).fit(
        X
    )
    np.testing.assert_allclose(model.score_samples(X[:9]), model.score_samples(X[:9].toarray()), rtol=1e-8)
