"""``n_components=0``, the mean with its density, and ``n_components="mle"``, as PCA takes them."""

import pickle

import numpy as np
import pytest
from scipy import sparse, stats
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_wine
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer
from sklearn_ae.likelihoods import Gaussian

X = load_diabetes(scaled=False).data
COUNTS = np.random.RandomState(0).poisson([1.0, 3.0, 8.0, 4.0], size=(300, 4)).astype(float)

MODELS = {
    "default": AutoencoderTransformer(0),
    "linear": AutoencoderTransformer(0, hidden_layer_sizes=()),
    "whitened": AutoencoderTransformer(0, whiten=True),
    "all options": AutoencoderTransformer(
        0, init="random", bottleneck="topk", corruption="gaussian", penalty="l1", tied_weights=True
    ),
    "absolute error": AutoencoderTransformer(0, loss="absolute_error"),
    "vae": VAETransformer(0),
    "linear vae": VAETransformer(0, hidden_layer_sizes=()),
    "mixture": VAETransformer(0, prior="mixture", beta=3.0, n_importance_samples=2),
}
FORMS = {
    "array": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "sparse": sparse.csr_array,
    "chunks": lambda X: lambda: iter(np.array_split(X, 3)),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("n", [300, 6], ids=["tall", "wide"])
def test_no_components_are_the_pca_of_none(name, n):
    model, pca = clone(MODELS[name]).fit(X[:n]), PCA(0).fit(X[:n])
    assert model.transform(X).shape == (len(X), 0)
    mean = np.tile(X[:n].mean(axis=0), (len(X), 1))
    np.testing.assert_allclose(model.inverse_transform(model.transform(X)), mean, rtol=1e-9)
    np.testing.assert_allclose(model.score_samples(X), pca.score_samples(X), rtol=1e-9)
    np.testing.assert_allclose(model.get_covariance(), pca.get_covariance(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(model.noise_variance_, pca.noise_variance_, rtol=1e-9)
    error = np.square(X - mean).sum(axis=1)
    np.testing.assert_allclose(model.reconstruction_error(X), error, rtol=1e-9)
    assert model.components_.shape == (0, X.shape[1])
    assert len(model.get_feature_names_out()) == model.n_components_ == 0
    assert not model.uses_network_
    assert model.loss_curve_ == []  # nothing was trained
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.score_samples(X), model.score_samples(X))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("model", [AutoencoderTransformer(0), VAETransformer(0)])
def test_every_container_has_its_mean(model, form):
    model = clone(model).fit(FORMS[form](X))
    np.testing.assert_allclose(model.score(X), PCA(0).fit(X).score(X), rtol=1e-6)


def test_explained_variances_are_those_of_pca():
    model = AutoencoderTransformer(0).fit(X)
    for name in ("explained_variance_", "explained_variance_ratio_", "singular_values_"):
        assert getattr(model, name).shape == (0,)


@pytest.mark.parametrize("noise", ["per_column", "decoder"])
@pytest.mark.parametrize("n", [300, 12], ids=["many samples", "few samples"])
def test_noise_of_a_vae_without_components(noise, n):
    vae = VAETransformer(0, likelihood=Gaussian(noise)).fit(X[:n])
    if noise == "decoder":  # there is no code that it could depend on
        expected = PCA(0).fit(X[:n]).score_samples(X)
    else:
        expected = stats.norm.logpdf(X, X[:n].mean(axis=0), X[:n].std(axis=0)).sum(axis=1)
    np.testing.assert_allclose(vae.score_samples(X), expected, rtol=1e-6)
    np.testing.assert_allclose(vae.elbo(X), expected, rtol=1e-6)
    assert vae.n_active_units_ == 0
    assert vae.sample(3).shape == (3, X.shape[1])


@pytest.mark.parametrize(
    "model", [AutoencoderTransformer(0, loss="poisson"), VAETransformer(0, likelihood="poisson")]
)
def test_counts_without_components_have_the_probabilities_of_their_means(model):
    model = clone(model).fit(COUNTS)
    expected = stats.poisson(COUNTS.mean(axis=0)).logpmf(COUNTS).sum(axis=1)
    np.testing.assert_allclose(model.score_samples(COUNTS), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "model", [AutoencoderTransformer(hidden_layer_sizes=()), VAETransformer(hidden_layer_sizes=())]
)
def test_a_search_selects_the_size_as_for_pca(model):
    """scikit-learn's example of model selection by likelihood begins with no components."""
    grid = {"n_components": range(0, 10, 3)}
    scores = [
        GridSearchCV(estimator, grid).fit(X).cv_results_["mean_test_score"] for estimator in (model, PCA())
    ]
    np.testing.assert_allclose(*scores, rtol=1e-6)


def test_a_warm_start_keeps_the_mean_of_its_initial_pca():
    model = AutoencoderTransformer(0, warm_start=True).fit(X)
    np.testing.assert_allclose(model.fit(X).score(X), PCA(0).fit(X).score(X), rtol=1e-9)


def test_a_detector_of_the_mean():
    labels = AEOutlierDetector(AutoencoderTransformer(0), random_state=0).fit_predict(X)
    assert 0 < np.sum(labels == -1) < len(X) / 2


@pytest.mark.parametrize("k", [0, "mle"])
def test_chunks_need_components(k):
    model = AutoencoderTransformer(k, hidden_layer_sizes=())
    with pytest.raises(ValueError, match=f"n_components={k!r} is not defined for chunks; pass a positive"):
        model.partial_fit(X)


def test_size_selection_needs_components():
    with pytest.raises(ValueError, match="n_components must list positive integers"):
        AutoencoderTransformerCV([0, 2]).fit(X)


@pytest.mark.parametrize("form", ["array", "float32", "sparse"])
@pytest.mark.parametrize("load", [load_wine, load_diabetes])
def test_mle_is_that_of_pca(load, form):
    X = load().data
    model, pca = AutoencoderTransformer("mle", hidden_layer_sizes=()).fit(FORMS[form](X)), PCA("mle").fit(X)
    assert model.n_components_ == pca.n_components_
    np.testing.assert_allclose(model.score(X), pca.score(X), rtol=1e-4)


@pytest.mark.parametrize("params", [{}, {"hidden_layer_sizes": (), "loss": "huber"}], ids=["network", "loss"])
def test_mle_is_refused_for_other_models(params):
    with pytest.raises(ValueError, match="defined for linear autoencoders with squared error only"):
        AutoencoderTransformer("mle", **params).fit(X)


def test_mle_needs_as_many_samples_as_features():
    with pytest.raises(ValueError, match="got 6 samples of 10 features"):
        AutoencoderTransformer("mle", hidden_layer_sizes=()).fit(X[:6])


@pytest.mark.parametrize(
    "model",
    [
        AutoencoderTransformer(0, missing="mask"),
        AutoencoderTransformer(0, missing="mask", loss="poisson"),
        VAETransformer(0, missing="mask"),
        VAETransformer(0, missing="mask", likelihood="negative_binomial"),
    ],
)
def test_missing_values_are_drawn_from_the_distribution_of_their_feature(model):
    gaps = COUNTS.copy()
    gaps[::3, 2] = np.nan
    model = clone(model).fit(gaps)
    draws = model.impute(gaps, n_draws=50, random_state=0)
    np.testing.assert_array_equal(draws[:, 1::3], np.tile(gaps[1::3], (50, 1, 1)))
    drawn = draws[:, ::3, 2]
    assert drawn.mean() == pytest.approx(np.nanmean(gaps[:, 2]), rel=0.03)
    np.testing.assert_allclose(model.impute(gaps)[::3, 2], np.nanmean(gaps[:, 2]), rtol=1e-6)
