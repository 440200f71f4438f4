"""likelihood="auto" and normal scores: what VAETransformer makes of them."""

import pickle
from functools import cache

import numpy as np
import pytest
from scipy import sparse, stats
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from sklearn_ae import VAETransformer
from sklearn_ae.likelihoods import Auto, Gaussian

pytestmark = [
    pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply"),
    pytest.mark.filterwarnings("ignore:Only 0 of"),  # a few epochs from random weights
]
SCORES = Gaussian(normal_scores=True)


def skewed(n, seed=0):
    """Return samples around a curve with skewed features."""
    rng = np.random.RandomState(seed)
    t = rng.uniform(-1, 1, n)
    curve = np.column_stack([t, t**2, np.sin(3 * t), np.cos(3 * t)])
    return np.exp(curve + 0.1 * rng.normal(size=curve.shape)) * [1, 10, 1, 0.1]


def vae(likelihood="auto", k=1, **params):
    params = {"hidden_layer_sizes": (32,), "max_iter": 40, "random_state": 0} | params
    return VAETransformer(k, likelihood=likelihood, **params)


@cache
def fitted(likelihood="auto"):
    return vae(SCORES if likelihood == "scores" else likelihood, max_iter=60).fit(skewed(1_500))


def drawn_integral(model, X, seed=0):
    """Return the integral of the model's density by importance sampling around samples X, and its error."""
    rng = np.random.RandomState(seed)
    U, d = np.log(X), X.shape[1]
    wide = stats.multivariate_normal(U.mean(axis=0), 2.0 * np.cov(U.T))
    V = wide.rvs(4_000, random_state=rng)
    weights = np.exp(model.score_samples(np.exp(V)) + V.sum(axis=1) - wide.logpdf(V))
    assert V.shape[1] == d
    return weights.mean(), weights.std() / np.sqrt(len(V))


# -- normal scores -----------------------------------------------------------------------


def test_linear_model_of_normal_scores_is_exact():
    X, other = skewed(500), skewed(200, seed=1)
    model = vae(SCORES, k=2, hidden_layer_sizes=()).fit(X)
    scores = model.module_.scores
    pca = PCA(2).fit(scores(X))
    expected = pca.score_samples(scores(other)) + scores.log_slopes(other)
    np.testing.assert_allclose(model.score_samples(other), expected, rtol=1e-6)


@pytest.mark.parametrize("likelihood", ["scores", pytest.param("auto", marks=pytest.mark.slow)])
def test_density_integrates_to_one(likelihood):
    integral, error = drawn_integral(fitted(likelihood), skewed(1_500))
    assert abs(integral - 1) < max(0.03, 4 * error)


def test_normal_scores_suit_skewed_features():
    other = skewed(1_000, seed=1)
    plain = vae("gaussian", max_iter=100).fit(skewed(1_500))
    assert fitted("scores").score(other) > plain.score(other) + 1.0


def test_codes_and_reconstructions_are_those_of_the_scores():
    X, model = skewed(200, seed=1), fitted("scores")
    scores = model.module_.scores
    U = scores(model.inverse_transform(model.transform(X)))
    errors = np.square(scores(X) - U).mean(axis=0)
    assert (errors < 0.8).all()  # of variances of 1
    assert (model.inverse_transform(np.zeros((1, 1))) > 0).all()  # within the range of X


def test_samples_of_normal_scores_have_the_margins_of_x():
    X = fitted("scores").sample(2_000, random_state=0)
    for j, feature in enumerate(skewed(1_500).T):
        assert stats.ks_2samp(X[:, j], feature).statistic < 0.1


def test_elbo_is_at_most_the_log_likelihood():
    X, model = skewed(300, seed=1), fitted("scores")
    assert (model.elbo(X) - model.score_samples(X)).mean() < 0.02


@pytest.mark.parametrize("name", ["noise_variance_", "components_", "get_covariance"])
def test_attributes_of_linear_models_do_not_exist(name):
    model = vae(SCORES, k=2, hidden_layer_sizes=()).fit(skewed(200))
    with pytest.raises(AttributeError, match=name):
        np.asarray(getattr(model, name)())


# -- auto --------------------------------------------------------------------------------


@pytest.mark.slow
def test_auto_is_better_than_each_model():
    other = skewed(1_000, seed=1)
    auto = fitted().score(other)
    assert auto > fitted("scores").score(other) - 0.1
    assert auto > PCA(1).fit(skewed(1_500)).score(other) + 1.0


def test_weights():
    weights = fitted().density_weights_
    assert abs(sum(weights.values()) - 1) < 1e-9
    assert weights["autoencoder"] == fitted()._weight
    assert isinstance(fitted().likelihood_, Gaussian)
    assert fitted().likelihood_.normal_scores
    with pytest.raises(AttributeError, match="density_weights_"):
        _ = fitted("scores").density_weights_


def test_score_is_the_average_of_both_densities():
    X, model = skewed(100, seed=1), pickle.loads(pickle.dumps(fitted()))
    model._weight = 1.0
    model._stacked, stack = None, model._stacked
    own = model.score_samples(X)
    model._stacked, model._weight = stack, 0.25
    total, std = model.score_samples(X, return_std=True)
    expected = np.logaddexp(np.log(0.25) + own, np.log(0.75) + stack.log_prob(X))
    np.testing.assert_allclose(total, expected, rtol=1e-9)
    assert (std >= 0).all()
    model._weight = 0.0
    np.testing.assert_allclose(model.score_samples(X), stack.log_prob(X))


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_samples_of_auto(weight):
    model = pickle.loads(pickle.dumps(fitted()))
    model._weight = weight
    X, codes = model.sample(1_000, random_state=0, return_codes=True)
    assert X.shape == (1_000, 4)
    assert codes.shape == (1_000, 1)
    training = skewed(1_500)
    positive = np.maximum(X, training.min(axis=0))  # mixtures of features may draw a few negative values
    assert abs(np.log(positive).mean(axis=0) - np.log(training).mean(axis=0)).max() < 0.15
    assert (X <= 0).mean() < 0.001
    for p in (0.25, 0.5, 0.75):  # of the samples are as small in each feature
        assert np.abs((np.quantile(training, p, axis=0) >= X).mean(axis=0) - p).max() < 0.12
    mean, std = model.posterior(X)
    assert np.abs((codes - mean) / std).mean() < 2.0  # codes belong to their samples
    means = model.sample(50, random_state=0, noise=False)
    np.testing.assert_allclose(means, model.inverse_transform(model.transform(means)), rtol=1.0)


@pytest.mark.slow
def test_network_of_images_has_weight():
    X = load_digits().data[:1_000] + np.random.RandomState(0).uniform(size=(1_000, 64))
    model = vae(k=8, hidden_layer_sizes=(128,), max_iter=60).fit(X)
    assert model.density_weights_["autoencoder"] > 0.1


def test_same_random_state_same_numbers():
    X = skewed(100)
    a, b = (vae(max_iter=5).fit(X).score_samples(X) for _ in range(2))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "params",
    [
        {"k": 0},
        {"early_stopping": False},
        {"init": "random"},
        {"prior": "mixture"},
        {"divergence": "mmd"},
        {"corruption": "gaussian"},
        {"k": 6},
    ],
    ids=str,
)
@pytest.mark.parametrize("likelihood", ["auto", SCORES], ids=str)
def test_parameters(params, likelihood):
    X = skewed(110)
    model = vae(likelihood, **({"max_iter": 3} | params)).fit(X)
    assert np.isfinite(model.score_samples(X)).all()
    assert model.sample(3, random_state=0).shape == (3, 4)
    assert np.isfinite(model.elbo(X)).all()


@pytest.mark.parametrize("likelihood", ["auto", SCORES], ids=str)
def test_containers_and_copies(likelihood):
    X = skewed(200)
    model = vae(likelihood, max_iter=5).fit(X, X_val=skewed(60, seed=1))
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.score_samples(X), model.score_samples(X))
    np.testing.assert_array_equal(model.score_samples(sparse.csr_matrix(X)), model.score_samples(X))
    single = clone(model).fit(X.astype(np.float32))
    assert single.transform(X.astype(np.float32)).dtype == np.float32
    assert single.sample(2, random_state=0).dtype == np.float32
    assert abs(single.score(X) - clone(model).fit(X).score(X)) < 0.5
    with pytest.raises(AttributeError, match="partial_fit") as caught:
        vae(likelihood).partial_fit(X)
    assert "needs all samples" in str(caught.value.__cause__ or caught.value)
    for args in ({"X": sparse.csr_matrix(X)}, {"X": X, "X_clean": X + 1}):
        with pytest.raises(ValueError, match="dense X in memory"):
            vae(likelihood).fit(**args)


def test_warm_start_keeps_the_scores():
    X = skewed(100)
    model = vae(max_iter=3, warm_start=True).fit(X)
    scores = model.module_.scores
    model.fit(X)
    assert model.module_.scores is scores


def test_auto_is_an_object_too():
    assert repr(Auto()) == "Auto()"
    assert vae(Auto()).get_params()["likelihood"].get_params() == {}
