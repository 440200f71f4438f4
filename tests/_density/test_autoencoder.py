"""Densities of fitted deterministic autoencoders."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp
from sklearn.decomposition import PCA

from sklearn_ae import AutoencoderTransformer
from sklearn_ae._density.importance_sampling import normal_draws
from sklearn_ae.losses import Loss

# a few epochs suffice for most properties
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")


def points_on(name, n):
    rng = np.random.RandomState(0)
    if name == "circle":
        angle = rng.uniform(0, 2 * np.pi, n)
        return np.column_stack([np.cos(angle), np.sin(angle)]) * (1 + 0.1 * rng.normal(size=(n, 1)))
    t = rng.uniform(-2, 2, n)
    return np.column_stack([t, np.sin(3 * t) if name == "sine" else t**2]) + 0.1 * rng.normal(size=(n, 2))


def on_a_curve(**params):
    given = {"hidden_layer_sizes": (32, 32), "max_iter": 60, "learning_rate_init": 0.01, "random_state": 0}
    return AutoencoderTransformer(1, **(given | params))


@pytest.fixture(
    scope="module", params=[("sine", 0.02), ("parabola", 0.05), ("circle", 0.05)], ids=lambda p: p[0]
)
def fitted_curve(request):
    name, tolerance = request.param
    X, fresh = np.split(points_on(name, 600), [400])
    model = on_a_curve().fit(X)
    assert model.uses_network_
    return name, model, X, fresh, tolerance


@pytest.mark.slow
def test_fitted_densities_integrate_to_one(fitted_curve):
    _, model, X, _, tolerance = fitted_curve
    axes = [np.linspace(a - 2, b + 2, 60) for a, b in zip(X.min(0), X.max(0), strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    assert np.exp(model.score_samples(grid)).sum() * cell == pytest.approx(1, abs=tolerance)


def test_fitted_densities_agree_with_draws_from_the_prior(fitted_curve):
    """p(x) = E_z p(x | z) with z from the model's own prior, decoded by inverse_transform."""
    _, model, X, _, _ = fitted_curve
    noise = model.noise_variance_
    latent = model._latent()
    z = latent.colour(normal_draws(100_000, 1, seed=5)[1]).numpy() * model.scale_
    decoded = model.inverse_transform(z)
    squared = ((X[:50, None] - decoded) ** 2).sum(-1)
    expected = logsumexp(-0.5 * squared / noise, axis=1) - np.log(len(z)) - np.log(2 * np.pi * noise)
    error = np.abs(model.score_samples(X[:50], n_draws=256) - expected)
    assert np.median(error) < 0.03
    assert error.max() < 0.5


def test_nonlinear_models_explain_fresh_samples_better_than_pca(fitted_curve):
    """Except on the parabola, whose codes are far from the normal distribution that the prior assumes."""
    name, model, X, fresh, _ = fitted_curve
    if name != "parabola":
        assert model.score(fresh) > PCA(1).fit(X).score(fresh) + 0.1


@pytest.mark.parametrize("c", [1e-3, 100.0])
def test_score_samples_are_in_the_units_of_X(c):
    X = points_on("sine", 300)
    model, scaled = (on_a_curve(max_iter=15).fit(factor * X) for factor in (1.0, c))
    np.testing.assert_allclose(scaled.score(c * X), model.score(X) - 2 * np.log(c), atol=0.05)


class NegativeBinomial(Loss):
    """Loss of overdispersed counts with exponential outputs, defined by the required methods only."""

    discrete = True

    def __init__(self, total_count=5.0):
        self.total_count = total_count

    def __call__(self, eta, x):
        return -self.log_prob(eta, x)

    def link(self, mean):
        return mean.clamp(min=0.05).log()

    def inverse_link(self, eta):
        return eta.clamp(max=30.0).exp()

    def log_prob(self, eta, x):
        logits = eta.clamp(max=30.0) - np.log(self.total_count)
        given = torch.distributions.NegativeBinomial(self.total_count, logits=logits, validate_args=False)
        return given.log_prob(x.clamp(min=0))


@pytest.fixture(scope="module")
def counts():
    """Negative binomial samples whose log means are linear in one latent variable."""
    rng = np.random.RandomState(0)
    mean = np.exp(rng.normal(size=(300, 1)) @ np.array([[0.8, -0.5]]) + 0.7)
    return rng.negative_binomial(5, 5 / (5 + mean)).astype(float)


def fit_counts(X, loss):
    params = {"hidden_layer_sizes": (8,), "max_iter": 30, "early_stopping": False, "random_state": 0}
    return AutoencoderTransformer(1, loss=loss, **params).fit(X)


@pytest.fixture(scope="module")
def count_model(counts):
    return fit_counts(counts, NegativeBinomial())


class TestUserDefinedDiscreteLoss:
    def test_probabilities_sum_to_one(self, count_model):
        support = np.stack(np.meshgrid(np.arange(60.0), np.arange(30.0), indexing="ij"), -1).reshape(-1, 2)
        assert np.exp(count_model.score_samples(support)).sum() == pytest.approx(1.0, abs=0.02)

    def test_score_is_the_mean_over_draws_from_the_prior(self, count_model, counts):
        model = count_model
        z = model._latent().colour(normal_draws(20_000, 1, seed=5)[1]).numpy() * model.scale_
        mean = model.inverse_transform(z)
        log_p = stats.nbinom.logpmf(counts[:60, None], 5.0, 5.0 / (5.0 + mean)).sum(2)
        naive = logsumexp(log_p, axis=1) - np.log(len(z))
        np.testing.assert_allclose(model.score_samples(counts[:60]), naive, atol=0.1)

    def test_only_scoring_needs_log_prob(self, counts):
        class Unscored(NegativeBinomial):
            log_prob = Loss.log_prob

            def __call__(self, eta, x):
                return NegativeBinomial(self.total_count)(eta, x)

        model = fit_counts(counts, Unscored())
        assert model.inverse_transform(model.transform(counts)).min() > 0
        with pytest.raises(NotImplementedError, match=r"Unscored does not define log_prob.*losses\.Loss"):
            model.score_samples(counts)
