"""The linear models that a VAE starts from: probabilistic PCA, and factor analysis with noise per feature."""

import numpy as np
import pytest
from builders import CONTAINERS
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.preprocessing import StandardScaler

from sklearn_ae import VAETransformer
from sklearn_ae.likelihoods import Gaussian

TABLES = {
    "iris": lambda: load_iris().data,
    "wine": lambda: load_wine().data,
    "breast cancer": lambda: load_breast_cancer().data,
    "diabetes": lambda: load_diabetes(scaled=False).data,
}

# Few epochs suffice for the properties that are tested here.
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")


def table(name):
    return StandardScaler().fit_transform(TABLES[name]())


def factor_vae(n_components=2, **params):
    defaults = {"likelihood": Gaussian("per_column"), "hidden_layer_sizes": (), "random_state": 0}
    return VAETransformer(n_components, **{**defaults, **params})


def factor_analysis(X, n_components=2):
    return FactorAnalysis(n_components, svd_method="lapack").fit(X)


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("name", TABLES)
def test_a_linear_model_with_noise_per_feature_is_factor_analysis(name, k):
    X = table(name)
    if k >= X.shape[1]:
        pytest.skip("factor analysis has fewer factors than features")
    vae, fa = factor_vae(k).fit(X), factor_analysis(X, k)
    np.testing.assert_allclose(vae.score(X), fa.score(X), rtol=1e-4)
    np.testing.assert_allclose(vae.elbo(X), vae.score_samples(X), rtol=1e-6)  # the posterior is exact
    np.testing.assert_allclose(vae.noise_variance_, fa.noise_variance_, atol=2e-3)
    np.testing.assert_allclose(vae.get_covariance(), fa.get_covariance(), atol=2e-3)
    signal = fa.components_.T @ fa.components_  # the factors themselves are determined up to a rotation
    np.testing.assert_allclose(vae.components_.T @ vae.components_, signal, atol=5e-3)
    reconstructed = vae.inverse_transform(vae.transform(X))
    np.testing.assert_allclose(reconstructed, vae.mean_ + vae.transform(X) @ vae.components_, atol=1e-9)
    np.testing.assert_allclose(reconstructed, fa.transform(X) @ fa.components_, atol=0.05)


@pytest.mark.parametrize("name", TABLES)
def test_units_of_features_do_not_matter(name):
    """EM started in the units of X ends below its maximum on some of these tables, as FactorAnalysis does."""
    X, standardised = TABLES[name](), table(name)
    vae, expected = factor_vae().fit(X), factor_vae().fit(standardised)
    scores = expected.score_samples(standardised) - np.log(X.std(axis=0)).sum()
    np.testing.assert_allclose(vae.score_samples(X), scores, rtol=1e-2, atol=1e-2)
    assert vae.score(X) > factor_analysis(X).score(X) - 1e-3


@pytest.mark.parametrize("name", TABLES)
def test_the_default_is_not_below_factor_analysis_on_unseen_samples(name):
    X = table(name)[np.random.RandomState(1).permutation(len(TABLES[name]()))]
    train, test = np.split(X, [2 * len(X) // 3])
    vae = factor_vae(hidden_layer_sizes=(32,), max_iter=25).fit(train)
    assert vae.score(test) > factor_analysis(train).score(test) - 0.1


def test_the_fallback_is_factor_analysis_of_all_samples():
    rng = np.random.RandomState(0)
    noise = [0.5, 1, 1.5, 2, 1, 1] * rng.normal(size=(400, 6))
    X = rng.normal(size=(400, 2)) @ rng.normal(size=(2, 6)) + noise
    vae, fa = factor_vae(hidden_layer_sizes=(32,), max_iter=10).fit(X), factor_analysis(X)
    assert not vae.uses_network_
    assert len(vae.loss_curve_) == 10  # the network was trained and rejected
    np.testing.assert_allclose(vae.score(X), fa.score(X), rtol=1e-3)
    np.testing.assert_allclose(vae.noise_variance_, fa.noise_variance_, rtol=0.1)


@pytest.mark.parametrize("form", CONTAINERS.values(), ids=CONTAINERS)
def test_every_container_gives_factor_analysis(form):
    X = table("diabetes") + 3.0
    np.testing.assert_allclose(factor_vae().fit(form(X)).score(X), factor_analysis(X).score(X), rtol=1e-4)


def test_warm_starts_fit_factor_analysis_to_the_new_samples():
    X = table("diabetes")
    vae = factor_vae(warm_start=True).fit(X[:200])
    np.testing.assert_allclose(vae.fit(X).score(X), factor_analysis(X).score(X), rtol=1e-2)


@pytest.mark.parametrize("hidden_layer_sizes", [(), (16,)])
def test_the_first_chunk_gives_factor_analysis(hidden_layer_sizes):
    X = table("diabetes")
    vae = factor_vae(hidden_layer_sizes=hidden_layer_sizes)
    for chunk in np.array_split(X, 3):
        vae.partial_fit(chunk)
        assert vae.score(X) > PCA(2).fit(X).score(X) + 1


def test_features_without_variance_have_the_noise_of_pca():
    """Their noise variance is unknown; a tiny one would give other values no density."""
    X = table("diabetes")
    vae = factor_vae().fit(np.column_stack([X, np.full(len(X), 7.0)]))
    assert vae.noise_variance_[-1] > 0.1
    np.testing.assert_allclose(vae.noise_variance_[:-1], factor_vae().fit(X).noise_variance_, rtol=1e-6)


def test_features_that_vary_in_a_few_samples_do_not_lose_their_density():
    """Two features that differ from zero in one sample are a factor without noise to FactorAnalysis."""
    X = np.column_stack([table("diabetes"), np.zeros((442, 2))])
    X[7, -2:] = 5.0
    fresh = X[:50].copy()
    fresh[:, -1] = 1.0
    vae = factor_vae(1).fit(X[:, -4:])
    assert vae.score(fresh[:, -4:]) > PCA(1).fit(X[:, -4:]).score(fresh[:, -4:]) - 100


@pytest.mark.parametrize("n", [8, 30])
def test_few_samples_start_at_probabilistic_pca(n):
    """Noise variances of single features are not determined by so few samples."""
    X = table("breast cancer")
    vae, pca = factor_vae(3).fit(X[:n]), PCA(3).fit(X[:n])
    np.testing.assert_allclose(vae.pca_.noise_variance_, pca.noise_variance_, rtol=1e-6)
    assert vae.score(X[n:]) > pca.score(X[n:]) - 1e-6 or vae.uses_network_


@pytest.mark.parametrize("k", [9, 10, 12])
def test_as_many_factors_as_features_give_the_full_covariance(k):
    X = table("diabetes")
    vae = factor_vae(k).fit(X)
    np.testing.assert_allclose(vae.score(X), PCA(9).fit(X).score(X), atol=1e-2)


def test_networks_are_trained_from_more_noise_than_the_fallback_has():
    """A feature that is nearly known, but varies mostly in few samples, would leave no room for a network."""
    rng = np.random.RandomState(0)
    z = rng.normal(size=(600, 2))
    heavy = np.exp(1.5 * z[:, :1])
    X = np.hstack([z @ rng.normal(size=(2, 4)), heavy, heavy + 1e-3 * rng.normal(size=heavy.shape)])
    X = (X + 0.1 * rng.normal(size=X.shape) * np.array([1, 1, 1, 1, 0, 0])) / X.std(axis=0)
    params = {"likelihood": Gaussian(noise="per_column"), "random_state": 0}
    linear = VAETransformer(2, hidden_layer_sizes=(), **params).fit(X)
    assert linear.score(X) == pytest.approx(
        FactorAnalysis(2, tol=1e-8, max_iter=5000).fit(X).score(X), rel=0.005
    )
    untrained = {"learning_rate_init": 1e-12, "max_iter": 1, "early_stopping": False}
    start = VAETransformer(2, hidden_layer_sizes=(4,), **untrained, **params).fit(X)
    chunk = VAETransformer(2, hidden_layer_sizes=(4,), learning_rate_init=1e-12, **params).partial_fit(X)
    for model in (start, chunk):
        assert (model.noise_variance_[-2:] > 10 * linear.noise_variance_[-2:]).all()
    fallback = VAETransformer(2, hidden_layer_sizes=(4,), learning_rate_init=1e-12, **params).fit(X)
    assert not fallback.uses_network_
    np.testing.assert_allclose(fallback.noise_variance_, linear.noise_variance_, rtol=1e-6)
