"""Fitted VAEs as probability models: E_z p(x | z), the ELBO, and samples, for every likelihood."""

from functools import cache

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp

from sklearn_ae import VAETransformer
from sklearn_ae.likelihoods import Bernoulli, Gaussian, Poisson

# a few epochs suffice for the properties tested here
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")


def bent(n=600, seed=0):
    """Return points on a curve, with noise that increases along it and differs between the features."""
    rng = np.random.RandomState(seed)
    t = rng.uniform(-2, 2, n)
    curve = np.column_stack([t, t**2, np.sin(2 * t), np.cos(2 * t), 0.5 * t**3])
    spread = np.array([0.1, 0.2, 0.1, 0.4, 0.2]) * np.exp(0.5 * t)[:, None]
    return curve + spread * rng.normal(size=curve.shape), t


def binary(n=400):
    rng = np.random.RandomState(0)
    logits = 2 * rng.normal(size=(n, 2)) @ rng.normal(size=(2, 10))
    return (rng.uniform(size=logits.shape) < 1 / (1 + np.exp(-logits))).astype(float)


def counts(n=400):
    rng = np.random.RandomState(0)
    return rng.poisson(np.exp(0.7 * rng.normal(size=(n, 2)) @ rng.normal(size=(2, 8)) + 1)).astype(float)


FITTED = {
    "shared": (Gaussian(), bent()[0], 1),
    "per_column": (Gaussian("per_column"), bent()[0], 1),
    "full": (Gaussian("full"), bent()[0], 1),
    "decoder": (Gaussian("decoder"), bent()[0], 1),
    "bernoulli": ("bernoulli", binary(), 2),
    "dynamic": (Bernoulli(dynamic_binarization=True), 0.1 + 0.8 * binary(), 2),
    "poisson": ("poisson", counts(), 2),
}


@cache
def fit(name):
    likelihood, X, k = FITTED[name]
    params = {"hidden_layer_sizes": (32,), "max_iter": 40, "early_stopping": False, "random_state": 0}
    return VAETransformer(k, likelihood=likelihood, **params).fit(X), X


@pytest.fixture(params=FITTED)
def fitted(request):
    return fit(request.param)


def log_p_given(model, X, z):
    """Return log p(x | z) of all pairs, by scipy and the model's public methods."""
    mean, likelihood = model.inverse_transform(z), model.likelihood_
    if isinstance(likelihood, Bernoulli):
        return X @ np.log(mean).T + (1 - X) @ np.log1p(-mean).T
    if isinstance(likelihood, Poisson):
        return np.stack([stats.poisson.logpmf(x, mean).sum(1) for x in X])
    if likelihood.noise == "full":
        normal = stats.multivariate_normal(cov=model.noise_covariance_)
        return np.stack([normal.logpdf(x - mean).reshape(len(z)) for x in X])
    spread = np.sqrt(noise_variance(model, z))
    return np.stack([stats.norm.logpdf(x, mean, spread).sum(1) for x in X])


def noise_variance(model, z):
    if model.likelihood_.noise != "decoder":
        return model.noise_variance_
    return model.module_.log_noise(torch.from_numpy(z)).exp().numpy() * model.scale_**2


class TestFitted:
    def test_score_is_the_mean_over_draws_from_the_prior(self, fitted):
        """Naive Monte Carlo is accurate in low dimension, and does not use the encoder."""
        model, X = fitted
        assert model.uses_network_
        z = stats.norm.ppf(stats.qmc.Sobol(model.n_components_, seed=1).random(2**13))
        log_p = log_p_given(model, X[:40], z)
        naive = logsumexp(log_p, axis=1) - np.log(len(z))
        naive_error = np.exp(0.5 * logsumexp(2 * log_p, axis=1) - logsumexp(log_p, axis=1))
        accurate = naive_error < 0.1
        assert accurate.sum() > 30
        score, std = model.score_samples(X[:40], return_std=True)
        error = (score - naive)[accurate]
        assert np.median(np.abs(error)) < 0.02
        assert np.abs(error).max() < 0.25
        assert np.abs(error.mean()) < 0.02
        scaled = error / np.hypot(std, naive_error)[accurate]
        assert np.sqrt(np.square(scaled).mean()) < 1.5  # the standard errors are right
        assert (model.elbo(X[:40]) <= naive + 4 * naive_error + 0.02).all()

    def test_elbo_equals_its_definition(self, fitted):
        model, X = fitted
        mean, std = model.posterior(X[:20])
        normal = np.random.RandomState(2).normal(size=(1000, model.n_components_))
        log_p = [
            log_p_given(model, x[None], m + s * normal)[0] for x, m, s in zip(X[:20], mean, std, strict=True)
        ]
        kl = stats.norm.logpdf(mean[:, None] + std[:, None] * normal, mean[:, None], std[:, None])
        kl = (kl - stats.norm.logpdf(mean[:, None] + std[:, None] * normal)).sum(2)
        terms = np.array(log_p) - kl
        spread = terms.std(1) / np.sqrt(len(normal))
        assert (np.abs(model.elbo(X[:20]) - terms.mean(1)) < 5 * spread + 0.05).all()
        np.testing.assert_allclose(model.kl_divergence(X[:20]), kl.mean(1), atol=0.3)

    def test_samples_without_noise_are_the_means_of_codes_from_the_prior(self, fitted):
        model, _ = fitted
        means = model.sample(4000, random_state=0, noise=False)
        z = np.random.RandomState(1).standard_normal((4000, model.n_components_))
        for ours, theirs in zip(means.T, model.inverse_transform(z).T, strict=True):
            assert stats.ks_2samp(ours, theirs).pvalue > 1e-3

    def test_samples_with_noise_are_distributed_as_the_likelihood(self, fitted):
        model, _ = fitted
        drawn, mean = (model.sample(4000, random_state=0, noise=noise) for noise in (True, False))
        if model.likelihood_.noise is None:
            np.testing.assert_array_equal(drawn, drawn.round())  # counts, or 0 and 1
            assert drawn.min() == 0
            bernoulli = isinstance(model.likelihood_, Bernoulli)
            assert (drawn.max() == 1) == bernoulli
            variance = mean * (1 - mean) if bernoulli else mean
        else:  # the codes are the first numbers drawn from the seed
            z = np.random.RandomState(0).standard_normal((4000, model.n_components_))
            variance = np.broadcast_to(noise_variance(model, z), mean.shape)
        unit = ((drawn - mean) / np.sqrt(variance))[variance > 0.05 * (model.likelihood_.noise is None)]
        assert abs(unit.mean()) < 4 / np.sqrt(unit.size)
        assert np.square(unit).mean() == pytest.approx(1, abs=0.05)


@pytest.mark.slow
def test_one_noise_variance_per_feature_recovers_each():
    rng = np.random.RandomState(0)
    true = np.array([0.05, 0.1, 0.2, 0.4, 0.8])
    t = rng.uniform(-2, 2, 1000)
    X = np.column_stack([t, t**2, np.sin(t), t, t]) + true * rng.normal(size=(1000, 5))
    params = {"hidden_layer_sizes": (32,), "early_stopping": False, "random_state": 0}
    model = VAETransformer(
        1, likelihood=Gaussian("per_column"), max_iter=80, learning_rate_init=0.02, **params
    ).fit(X)
    np.testing.assert_allclose(np.sqrt(model.noise_variance_), true, rtol=0.5)
    shared = VAETransformer(1, max_iter=20, **params).fit(X)
    assert isinstance(shared.noise_variance_, float)
    assert model.noise_variance_.min() < 0.2 * shared.noise_variance_ < model.noise_variance_.max()


def test_the_noise_of_the_decoder_depends_on_the_sample():
    fresh, t = bent(seed=1)
    models = [fit(kind)[0] for kind in ("shared", "per_column", "decoder")]
    scores = [model.score(fresh) for model in models]
    assert np.diff(scores).min() > 0.1  # each explains the samples better than the one before
    variance = noise_variance(models[2], models[2].transform(fresh))
    assert stats.spearmanr(variance[:, 0], t).statistic > 0.8  # the noise increases with t
