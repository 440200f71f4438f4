"""Densities of fitted deterministic autoencoders."""

import copy
import functools
import pickle

import numpy as np
import pytest
import torch
from scipy import sparse, stats
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.decomposition import PCA

from sklearn_ae import AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer
from sklearn_ae._density.importance_sampling import normal_draws
from sklearn_ae.losses import Loss
from sklearn_ae.priors import FittedFlow, FittedMixture, Flow, Mixture

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


@pytest.mark.parametrize("prior", ["normal", "mixture"])
@pytest.mark.parametrize("c", [1e-3, 100.0])
def test_score_samples_are_in_the_units_of_X(c, prior):
    X = points_on("sine", 300)
    model, scaled = (on_a_curve(max_iter=15, prior=prior).fit(factor * X) for factor in (1.0, c))
    np.testing.assert_allclose(scaled.score(c * X), model.score(X) - 2 * np.log(c), atol=0.05)


# -- fitted priors ------------------------------------------------------------------------

CURVES = {
    "sine": (lambda t: [t, np.sin(3 * t)], (-2, 2), 0.02),
    "bow": (lambda t: [t, t**2 / 2], (-2, 2), 0.02),
    "parabola": (lambda t: [t, t**2], (-2, 2), 0.03),
    "circle": (lambda t: [np.cos(t), np.sin(t)], (-np.pi, np.pi), 0.03),
    "spiral": (lambda t: [t * np.cos(t) / 3, t * np.sin(t) / 3], (1.5, 9), 0.05),
}


SLOW_CURVES = [name if name == "sine" else pytest.param(name, marks=pytest.mark.slow) for name in CURVES]


def around(name, n, seed):
    """Return points whose position on a curve is uniform, with noise."""
    curve, bounds, _ = CURVES[name]
    rng = np.random.RandomState(seed)
    return np.column_stack(curve(rng.uniform(*bounds, n))) + 0.1 * rng.normal(size=(n, 2))


def true_log_density(name, X):
    curve, bounds, _ = CURVES[name]
    points = np.column_stack(curve(np.linspace(*bounds, 2001)))
    log_p = stats.norm.logpdf(X[:, None], points, 0.1).sum(2)
    return logsumexp(log_p, axis=1) - np.log(len(points))


@functools.cache
def fitted_around(name, prior="mixture"):
    params = {"hidden_layer_sizes": (64, 64), "max_iter": 100, "n_iter_no_change": 50}
    return on_a_curve(prior=prior, **params).fit(around(name, 1200, 0))


@pytest.mark.slow
@pytest.mark.parametrize("name", CURVES)
def test_densities_with_a_mixture_integrate_to_one(name):
    model, X = fitted_around(name), around(name, 1200, 0)
    axes = [np.linspace(a - 2, b + 2, 70) for a, b in zip(X.min(0), X.max(0), strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    assert np.exp(model.score_samples(grid)).sum() * cell == pytest.approx(1, abs=CURVES[name][2])


@pytest.mark.parametrize("name", SLOW_CURVES)
def test_a_mixture_raises_the_density_above_that_of_pca(name):
    X, fresh = around(name, 1200, 0), around(name, 500, 1)
    model = fitted_around(name)
    assert model.uses_network_
    assert model.score(fresh) > PCA(1).fit(X).score(fresh) + 0.2
    assert model.score(fresh) > fitted_around(name, "normal").score(fresh)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sine", "bow"])
def test_with_a_mixture_the_density_is_close_to_the_true_one(name):
    """On curves along PCA's first axis. Both halves of the parabola lie on it, and few starts unfold them."""
    long = {"max_iter": 300, "n_iter_no_change": 60, "random_state": 0}
    model = AutoencoderTransformer(1, prior="mixture", **long).fit(around(name, 2000, 0))
    fresh = around(name, 1000, 1)
    assert model.score(fresh) == pytest.approx(true_log_density(name, fresh).mean(), abs=0.1)


@pytest.fixture(scope="module")
def grouped():
    """Samples in three groups, close to a plane in five dimensions."""
    rng = np.random.RandomState(0)
    centres = 3 * np.array([[1, 0], [-0.5, 0.87], [-0.5, -0.87]])
    z = centres[rng.randint(3, size=600)] + rng.normal(size=(600, 2)) * [0.4, 0.2]
    return z @ rng.normal(size=(2, 5)) + 0.3 * rng.normal(size=(600, 5)) + 1


LINEAR = {"hidden_layer_sizes": (), "random_state": 0}


def exact_score_samples(model, X):
    """Return log-densities under a linear model with a mixture prior, which is a mixture of normals."""
    prior, whitening = model.fitted_prior_, model.module_.prior
    origin, *unit = model.inverse_transform(np.vstack([np.zeros(2), np.eye(2)]))
    decode = model.scale_ * (unit - origin)
    log_p = []
    for log_weight, mean, root in zip(prior.log_weights, prior.means, prior.roots, strict=True):
        centre = origin + (whitening.mean + whitening.scale @ mean).numpy() @ decode
        spread = (whitening.scale @ torch.linalg.inv(root).mT).mT.numpy() @ decode
        covariance = spread.T @ spread + model.noise_variance_ * np.eye(X.shape[1])
        log_p.append(float(log_weight) + stats.multivariate_normal(centre, covariance).logpdf(X))
    return logsumexp(log_p, axis=0)


@pytest.mark.parametrize("params", [{}, {"init": "random", "max_iter": 60}], ids=["pca", "trained"])
def test_the_density_of_a_linear_model_with_a_mixture_is_a_mixture_of_normals(grouped, params):
    model = AutoencoderTransformer(2, prior="mixture", **LINEAR, **params).fit(grouped[:500])
    assert len(model.fitted_prior_.means) > 2
    expected = exact_score_samples(model, grouped[500:])
    found = model.score_samples(grouped[500:])
    np.testing.assert_allclose(found, expected, atol=0.1)
    assert found.mean() == pytest.approx(expected.mean(), abs=0.01)
    assert found.mean() > AutoencoderTransformer(2, **LINEAR).fit(grouped[:500]).score(grouped[500:]) + 0.3


def test_a_flow_has_the_density_of_draws_from_it(grouped):
    model = AutoencoderTransformer(2, prior=AlwaysFlow(), **LINEAR).fit(grouped)
    z = model.module_.prior.draw(100_000, np.random.RandomState(0)) * model.scale_
    squared = cdist(grouped[:60], model.inverse_transform(z), "sqeuclidean")
    noise = model.noise_variance_
    expected = logsumexp(-0.5 * squared / noise, axis=1) - np.log(len(z)) - 2.5 * np.log(2 * np.pi * noise)
    error = np.abs(model.score_samples(grouped[:60]) - expected)
    assert np.median(error) < 0.05
    assert error.max() < 0.6


class AlwaysFlow(Flow):
    """Flow that is not compared with mixtures."""

    def fit(self, codes, validation_codes, all_codes):
        return FittedFlow(self._train(codes, validation_codes, n_steps=80)[0].double(), self, codes.shape[1])


def test_normal_codes_keep_the_normal_prior():
    X = np.random.RandomState(1).normal(size=(500, 2)) @ np.array([[3, 1, 0, 1], [0, 1, 2, -1.0]])
    X += 0.5 * np.random.RandomState(2).normal(size=X.shape)
    model = AutoencoderTransformer(2, prior="mixture", **LINEAR).fit(X)
    assert model.fitted_prior_ is None
    np.testing.assert_allclose(model.score_samples(X), PCA(2).fit(X).score_samples(X), rtol=1e-8)


def test_a_prior_changes_nothing_but_the_density():
    X = points_on("sine", 300)
    plain, model = (on_a_curve(max_iter=15, prior=prior).fit(X) for prior in ("normal", AlwaysMixture()))
    assert type(model.fitted_prior_) is FittedMixture
    assert plain.fitted_prior_ is None
    np.testing.assert_array_equal(model.transform(X), plain.transform(X))
    assert model.noise_variance_ == plain.noise_variance_
    assert not np.allclose(model.score_samples(X), plain.score_samples(X))


@pytest.mark.parametrize("X_type", [np.float32, np.float64])
def test_a_prior_is_kept_by_copies_and_whitening(grouped, X_type):
    X = grouped.astype(X_type)
    model = AutoencoderTransformer(2, prior="mixture", **LINEAR).fit(X)
    scores = model.score_samples(X[:50])
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
        np.testing.assert_array_equal(twin.score_samples(X[:50]), scores)
    white = AutoencoderTransformer(2, prior="mixture", whiten=True, **LINEAR).fit(X)
    np.testing.assert_allclose(white.score_samples(X[:50]), scores, rtol=1e-6)
    sparse_X = AutoencoderTransformer(2, prior="mixture", **LINEAR).fit(sparse.csr_array(X))
    np.testing.assert_allclose(sparse_X.score_samples(X[:50]), scores, atol=1e-2)


def test_a_truncated_model_has_the_marginal_of_the_mixture(grouped):
    model = AutoencoderTransformer(2, prior="mixture", **LINEAR).fit(grouped)
    twin = model.truncate(1)
    codes = model.module_.prior.draw(20_000, np.random.RandomState(0))[:, :1]
    points = np.linspace(codes.min(), codes.max(), 12)
    density = np.exp(twin.module_.prior.log_prob(torch.from_numpy(points[:, None])).numpy())
    counts, edges = np.histogram(codes, np.linspace(codes.min(), codes.max(), 41), density=True)
    found = np.interp(points[1:-1], (edges[1:] + edges[:-1]) / 2, counts)
    np.testing.assert_allclose(found, density[1:-1], atol=0.05 * density.max())
    assert np.isfinite(twin.score_samples(grouped)).all()
    np.testing.assert_allclose(
        model.truncate(2).score_samples(grouped), model.score_samples(grouped), rtol=1e-9
    )


def test_a_flow_cannot_be_truncated(grouped):
    model = AutoencoderTransformer(2, prior=AlwaysFlow(transforms=1), **LINEAR).fit(grouped)
    with pytest.raises(ValueError, match=r"FittedFlow does not define .*n_components=1, .*'mixture'"):
        model.truncate(1)


@pytest.mark.parametrize("kind", [AutoencoderTransformer, VAETransformer])
@pytest.mark.parametrize("hidden", [(), (16,)])
def test_chunks_fit_the_prior_to_all_samples(grouped, kind, hidden):
    order = np.argsort(grouped @ np.linalg.svd(grouped - grouped.mean(0))[2][0])
    first, second = grouped[order[:300]], grouped[order[300:]]
    model = kind(2, hidden_layer_sizes=hidden, prior="mixture", random_state=0)
    for chunk in (first, second, second[:1]):
        model.partial_fit(chunk)
    unit = model.scale_ if kind is AutoencoderTransformer else 1.0
    codes = [model.transform(chunk) / unit for chunk in (first, second)]
    drawn = model.module_.prior.draw(2000, np.random.RandomState(0))
    closer = cdist(drawn, codes[0]).min(1) < cdist(drawn, codes[1]).min(1)
    assert 0.3 < closer.mean() < 0.7


def test_cross_validation_fits_the_prior_of_the_selected_size(grouped):
    params = {"cv": 2, "prior": "mixture", **LINEAR}
    model = AutoencoderTransformerCV([1, 2], **params).fit(grouped)
    single = AutoencoderTransformer(model.n_components_, prior="mixture", **LINEAR).fit(grouped)
    assert type(model.fitted_prior_) is FittedMixture
    np.testing.assert_array_equal(model.score_samples(grouped[:20]), single.score_samples(grouped[:20]))


def test_a_share_of_the_variance_is_found_before_the_prior_is_fitted(grouped):
    model = AutoencoderTransformer(0.8, prior="mixture", **LINEAR).fit(grouped)
    assert model.fitted_prior_.means.shape[1] == model.n_components_


# -- discrete losses ----------------------------------------------------------------------


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


class AlwaysMixture(Mixture):
    """Mixture of three components."""

    def fit(self, codes, validation_codes, all_codes):
        return self._of_size(3, all_codes)


def fit_counts(X, loss, prior="normal"):
    params = {"hidden_layer_sizes": (8,), "max_iter": 30, "early_stopping": False, "random_state": 0}
    return AutoencoderTransformer(1, loss=loss, prior=prior, **params).fit(X)


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

    def test_probabilities_with_a_mixture_sum_to_one(self, counts):
        model = fit_counts(counts, NegativeBinomial(), prior=AlwaysMixture())
        assert len(model.fitted_prior_.means) == 3
        support = np.stack(np.meshgrid(np.arange(60.0), np.arange(30.0), indexing="ij"), -1).reshape(-1, 2)
        assert np.exp(model.score_samples(support)).sum() == pytest.approx(1.0, abs=0.02)

    def test_only_scoring_needs_log_prob(self, counts):
        class Unscored(NegativeBinomial):
            log_prob = Loss.log_prob

            def __call__(self, eta, x):
                return NegativeBinomial(self.total_count)(eta, x)

        model = fit_counts(counts, Unscored())
        assert model.inverse_transform(model.transform(counts)).min() > 0
        with pytest.raises(NotImplementedError, match=r"Unscored does not define log_prob.*losses\.Loss"):
            model.score_samples(counts)
