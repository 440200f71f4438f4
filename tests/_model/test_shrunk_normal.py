"""A VAE with full noise covariance starts from, and falls back to, a shrunk normal distribution."""

import copy
import pickle

import numpy as np
import pytest
from builders import CONTAINERS, build_vae
from scipy import sparse, stats
from scipy.special import logsumexp
from sklearn.covariance import empirical_covariance, ledoit_wolf, oas
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_ae import VAETransformer
from sklearn_ae._density.vae import FittedVAE
from sklearn_ae.likelihoods import Gaussian, Poisson
from sklearn_ae.networks import Conv

TABLES = {
    "wine": lambda: load_wine().data,
    "breast cancer": lambda: load_breast_cancer().data,
    "diabetes": lambda: load_diabetes(scaled=False).data,
}

# Few epochs suffice for the properties that are tested here.
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")

FORMS = {
    "linear": {"hidden_layer_sizes": ()},
    "tied": {"hidden_layer_sizes": (), "tied_weights": True},
    "fallback": {"hidden_layer_sizes": (8,), "max_iter": 2, "learning_rate_init": 1e-9},
    "tied fallback": {
        "hidden_layer_sizes": (8,), "max_iter": 2, "learning_rate_init": 1e-9, "tied_weights": True
    },
}  # fmt: skip


def table(name):
    return StandardScaler().fit_transform(TABLES[name]())


def full_vae(n_components=2, **params):
    defaults = {"likelihood": Gaussian("full"), "hidden_layer_sizes": (), "random_state": 0}
    return VAETransformer(n_components, **{**defaults, **params})


def wide_loadings(d=700):
    return np.random.RandomState(0).normal(size=(3, d))


def wide(n=60, d=700):
    rng = np.random.RandomState(1)
    return rng.normal(size=(n, 3)) @ wide_loadings(d) + rng.normal(size=(n, d)) + 5.0


@pytest.mark.parametrize("k", [0, 1, 3, 50])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", TABLES)
def test_the_log_likelihood_is_that_of_the_normal_distribution(name, form, k):
    X = table(name)
    vae = full_vae(min(k, X.shape[1]), **FORMS[form]).fit(X)
    assert not vae.uses_network_
    expected = stats.multivariate_normal(X.mean(axis=0), vae.get_covariance()).logpdf(X)
    np.testing.assert_allclose(vae.score_samples(X), expected, rtol=1e-8)
    np.testing.assert_allclose(vae.elbo(X), expected, rtol=1e-8)  # the posterior is exact
    W = vae.components_
    np.testing.assert_allclose(vae.get_covariance(), W.T @ W + vae.noise_covariance_, atol=1e-12)
    np.testing.assert_allclose(vae.noise_variance_, np.diag(vae.noise_covariance_), rtol=1e-9)
    np.testing.assert_allclose(vae.get_precision() @ vae.get_covariance(), np.eye(X.shape[1]), atol=1e-6)


@pytest.mark.parametrize("k", [0, 1, 3])
@pytest.mark.parametrize("name", TABLES)
def test_the_posterior_is_that_of_the_linear_model(name, k):
    """cov(z | x) = (I + W Sigma^-1 W')^-1, and its mean that times W Sigma^-1 (x - mean)."""
    X = table(name)
    vae = full_vae(k).fit(X)
    mean, std = vae.posterior(X)
    G = vae.components_ @ np.linalg.inv(vae.noise_covariance_)
    covariance = np.linalg.inv(np.eye(k) + G @ vae.components_.T)
    np.testing.assert_allclose(np.diag(covariance) if k else [], std[0] ** 2, rtol=1e-7)
    np.testing.assert_allclose(covariance, np.diag(std[0] ** 2), atol=1e-9)
    np.testing.assert_allclose(mean, (X - vae.mean_) @ G.T @ covariance, atol=1e-7)


@pytest.mark.parametrize("name", TABLES)
def test_the_covariance_is_shrunk_and_does_not_depend_on_the_number_of_components(name):
    X = table(name)
    covariances = [full_vae(k).fit(X).get_covariance() for k in (0, 1, 4)]
    np.testing.assert_allclose(covariances[1], covariances[0], atol=1e-9)
    np.testing.assert_allclose(covariances[2], covariances[0], atol=1e-9)
    np.testing.assert_allclose(np.trace(covariances[0]), np.trace(empirical_covariance(X)), rtol=1e-9)
    least = np.linalg.eigvalsh(empirical_covariance(X))[0]
    assert np.linalg.eigvalsh(covariances[0])[0] > least


@pytest.mark.parametrize("name", TABLES)
def test_unseen_samples_have_a_likelihood_not_below_that_of_other_linear_models(name):
    X = table(name)
    gains = []  # of all splits, because single samples dominate some of them
    for seed in range(5):
        train, test = train_test_split(X, test_size=0.3, random_state=seed)
        others = [model.fit(train).score(test) for model in (PCA(2), FactorAnalysis(2))]
        for covariance in (ledoit_wolf(train)[0], oas(train)[0]):
            normal = stats.multivariate_normal(train.mean(axis=0), covariance)
            others.append(normal.logpdf(test).mean())
        gains.append(full_vae().fit(train).score(test) - np.array(others))
    assert (np.mean(gains, axis=0) > [0, 0, -0.1, -0.1]).all()


@pytest.mark.parametrize("shape", [(3, 5), (8, 30), (40, 30)])
def test_few_samples_have_finite_likelihoods(shape):
    X = np.random.RandomState(0).normal(size=shape)
    fresh = np.random.RandomState(1).normal(size=(50, shape[1]))
    score = full_vae(2).fit(X).score(fresh)
    assert np.isfinite(score)
    assert score > PCA(2).fit(X).score(fresh) - 1e-6


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_units_of_x_change_the_likelihood_by_a_constant(scale):
    X = table("diabetes")
    expected = full_vae().fit(X).score_samples(X) - X.shape[1] * np.log(scale)
    np.testing.assert_allclose(full_vae().fit(scale * X).score_samples(scale * X), expected, rtol=1e-6)


def test_features_without_variance_have_a_density():
    X = table("diabetes")
    constant = np.column_stack([X, np.full(len(X), 7.0)])
    vae = full_vae().fit(constant)
    assert np.isfinite(vae.score_samples(constant)).all()
    assert np.isfinite(vae.score_samples(constant + 1.0)).all()
    expected = stats.multivariate_normal(vae.mean_, vae.get_covariance()).logpdf(constant)
    np.testing.assert_allclose(vae.score_samples(constant), expected, rtol=1e-8)


def test_equal_samples_have_finite_and_ordered_scores():
    X = np.full((30, 4), 3.0)
    vae = full_vae(hidden_layer_sizes=(8,)).fit(X)
    scores = vae.score_samples(X[:3] + np.array([[0.0], [1e-3], [1.0]]))
    assert np.isfinite(scores).all()
    assert (np.diff(scores) < 0).all()


@pytest.mark.parametrize("form", CONTAINERS.values(), ids=CONTAINERS)
def test_every_container_gives_the_same_distribution(form):
    X = table("diabetes") + 3.0
    np.testing.assert_allclose(
        full_vae().fit(form(X)).score_samples(X), full_vae().fit(X).score_samples(X), rtol=1e-4
    )


class TestWide:
    """More features than the covariance is formed for."""

    @pytest.mark.parametrize("k", [0, 2, 5])
    def test_the_log_likelihood_is_that_of_the_normal_distribution(self, k):
        X = wide()
        vae = full_vae(k).fit(X)
        expected = stats.multivariate_normal(vae.mean_, vae.get_covariance()).logpdf(X)
        np.testing.assert_allclose(vae.score_samples(X), expected, rtol=1e-8)
        np.testing.assert_allclose(vae.elbo(X), expected, rtol=1e-8)
        np.testing.assert_allclose(vae.noise_variance_, np.diag(vae.noise_covariance_), rtol=1e-9)

    @pytest.mark.parametrize("k", [1, 3, 10])
    def test_the_rank_and_the_noise_are_those_of_the_data(self, k):
        """The noise of PCA is an average over 60 directions, and of fewer components also over signal."""
        X, fresh = np.split(wide(n=160), [60])
        score = full_vae(k).fit(X).score(fresh)
        assert score > max(PCA(m).fit(X).score(fresh) for m in (k, 3))
        W = wide_loadings()
        true = stats.multivariate_normal(np.full(700, 5.0), W.T @ W + np.eye(700)).logpdf(fresh).mean()
        assert score > true - 0.05 * 700

    @pytest.mark.parametrize(
        "form", [sparse.csr_array, lambda X: lambda: iter(np.array_split(X, 3))], ids=["sparse", "chunks"]
    )
    def test_every_container(self, form):
        X, fresh = np.split(wide(n=160), [60])
        assert full_vae(3).fit(form(X)).score(fresh) > PCA(3).fit(X).score(fresh) - 1

    def test_networks_and_warm_starts(self):
        X = wide(n=120)
        params = {"hidden_layer_sizes": (4,), "max_iter": 1, "early_stopping": False, "warm_start": True}
        vae = full_vae(2, **params).fit(X)
        before = copy.deepcopy(vae).set_params(learning_rate_init=1e-12)
        assert np.isfinite(vae.fit(X[:50]).score_samples(X)).all()
        np.testing.assert_allclose(before.fit(X[:50]).score(X), before.fit(X).score(X), rtol=1e-2)


def test_warm_starts_fit_a_linear_model_to_the_new_samples():
    X = table("diabetes")
    vae = full_vae(warm_start=True).fit(X[:200])
    np.testing.assert_allclose(vae.fit(X).score(X), full_vae().fit(X).score(X), rtol=1e-9)


def test_chunks_of_a_linear_model_improve_on_pca():
    X = table("breast cancer")
    vae = full_vae()
    for chunk in np.array_split(X, 3):
        vae.partial_fit(chunk)
        assert vae.score(X) > PCA(2).fit(X).score(X) + 1


# -- networks -------------------------------------------------------------------------------

NOISE = np.array([[0.09, 0.07, 0.0], [0.07, 0.09, 0.0], [0.0, 0.0, 0.04]])


def decoded(t):
    return np.column_stack([2 * t, t**2, np.sin(2 * t)])


def curve(n=1500, seed=0):
    """Return points around a curve, with correlated noise."""
    rng = np.random.RandomState(seed)
    return decoded(rng.normal(size=n)) + rng.multivariate_normal(np.zeros(3), NOISE, n)


@pytest.fixture(scope="module")
def fitted():
    return full_vae(1, hidden_layer_sizes=(32,), max_iter=60, learning_rate_init=0.01).fit(curve())


def test_networks_approach_the_true_density(fitted):
    """One noise variance, or one for each feature, cannot."""
    fresh = curve(300, seed=1)
    means = decoded(np.random.RandomState(2).normal(size=10_000))
    normal = stats.multivariate_normal(cov=NOISE)
    true = np.mean([logsumexp(normal.logpdf(x - means)) - np.log(len(means)) for x in fresh])
    assert fitted.uses_network_
    assert fitted.score(fresh) > true - 0.25
    for noise in ("shared", "per_column"):
        params = {"hidden_layer_sizes": (32,), "max_iter": 60, "learning_rate_init": 0.01}
        other = full_vae(1, likelihood=Gaussian(noise), **params).fit(curve())
        assert fitted.score(fresh) > other.score(fresh) + 0.05


def test_samples_have_correlated_noise(fitted):
    X, codes = fitted.sample(20_000, random_state=0, return_codes=True)
    noise = np.cov((X - fitted.inverse_transform(codes)).T)
    np.testing.assert_allclose(noise, fitted.noise_covariance_, atol=0.05 * NOISE.max())
    means, codes = fitted.sample(9, random_state=0, noise=False, return_codes=True)
    np.testing.assert_allclose(means, fitted.inverse_transform(codes), rtol=1e-9)


def test_the_elbo_is_below_the_log_likelihood(fitted):
    fresh = curve(200, seed=1)
    log_p = fitted.score_samples(fresh)
    assert fitted.elbo(fresh).mean() < log_p.mean()
    assert (fitted.elbo(fresh) < log_p + 0.1).all()


def test_the_density_integrates_to_one(fitted):
    X = curve()
    proposal = stats.multivariate_t(X.mean(axis=0), np.cov(X.T), df=5)
    draws = proposal.rvs(20_000, random_state=0)
    ratio = np.exp(fitted.score_samples(draws) - proposal.logpdf(draws))
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(len(draws))


def _modules(d, k):
    encoder = nn.Sequential(nn.Linear(d, 8), nn.Tanh(), nn.Linear(8, 2 * k))
    return encoder, nn.Sequential(nn.Linear(k, 8), nn.Tanh(), nn.Linear(8, d))


NETWORKS = {
    "tied": {"tied_weights": True},
    "convolutional": {"network": Conv((3, 3), channels=(4,))},
    "modules": {"network": _modules(9, 2)},
    "random": {"init": "random"},
    "importance-weighted": {"n_importance_samples": 3},
    "beta-TC": {"divergence": "beta_tc"},
    "MMD": {"divergence": "mmd"},
    "denoising": {"corruption": "gaussian"},
    "mixture": {"prior": "mixture"},
    "linear, beta": {"beta": 2.0, "hidden_layer_sizes": ()},
}


@pytest.mark.filterwarnings("ignore:Only")  # too few epochs
@pytest.mark.parametrize("n", [300, 1100])  # networks start with other noise from 1,000 samples
@pytest.mark.parametrize("form", NETWORKS)
def test_the_likelihood_of_any_form_is_that_of_its_definition(form, n):
    """log p(x) is the mean over codes of N(x; decoded code, noise covariance)."""
    rng = np.random.RandomState(0)
    z = rng.normal(size=(n, 2))
    X = np.column_stack([z, z**2, np.sin(z)]) @ rng.normal(size=(6, 9)) + rng.normal(size=(n, 9))
    params = {"hidden_layer_sizes": (8,), "max_iter": 5, "early_stopping": False, **NETWORKS[form]}
    vae = full_vae(2, **params).fit(X)
    loaded = pickle.loads(pickle.dumps(vae))
    log_p = vae.score_samples(X[:20])
    np.testing.assert_array_equal(loaded.score_samples(X[:20]), log_p)
    means, _ = vae.sample(100_000, random_state=0, noise=False, return_codes=True)
    normal = stats.multivariate_normal(cov=vae.noise_covariance_)
    for x, score in zip(X[:20], log_p, strict=True):
        terms = normal.logpdf(x - means)
        expected = logsumexp(terms) - np.log(len(terms))
        error = np.sqrt(np.mean(np.exp(2 * (terms - expected))) / len(terms))
        assert abs(score - expected) < 5 * error + 0.05


@pytest.mark.parametrize("params", [{}, {"tied_weights": True}, {"network": "conv"}], ids=str)
def test_training_starts_at_the_normal_distribution(params):
    X = table("wine")
    if "network" in params:
        params = {"network": Conv((1, 13), channels=(4,))}
    module, _ = build_vae(X, 3, likelihood=Gaussian("full"), **params)
    model = FittedVAE(module.requires_grad_(False))
    expected = full_vae(3).fit(X).score_samples(X)
    np.testing.assert_allclose(model.elbo(X, 100), expected, rtol=1e-6)
    np.testing.assert_allclose(model.score_samples(X, np.zeros((1, 3)), 32)[0], expected, rtol=1e-4)


def test_pairs_of_noisy_and_clean_samples():
    X = table("wine")
    noisy = X + 0.3 * np.random.RandomState(0).normal(size=X.shape)
    vae = full_vae(2, hidden_layer_sizes=(8,), max_iter=3).fit(noisy, X_clean=X)
    np.testing.assert_allclose(vae.mean_, X.mean(axis=0), atol=0.3)
    assert np.isfinite(vae.score_samples(noisy)).all()


class Discrete(Poisson):
    noise = "full"


def test_discrete_likelihoods_have_no_full_noise():
    with pytest.raises(ValueError, match=r"Discrete\(\) has noise='full', which only likelihoods of real"):
        VAETransformer(1, likelihood=Discrete()).fit(np.ones((30, 3)))
