"""Invalid parameters and data are refused before training, with messages that name the remedy."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from sklearn_ae import AutoencoderTransformer, VAETransformer
from sklearn_ae.corruptions import GaussianNoise
from sklearn_ae.divergences import BetaTC
from sklearn_ae.likelihoods import Gaussian
from sklearn_ae.networks import Conv

X = np.random.RandomState(0).normal(size=(40, 6))


@pytest.fixture(scope="module")
def fitted():
    return AutoencoderTransformer(2, hidden_layer_sizes=()).fit(X)


REFUSED = [
    ({"n_components": -1}, "n_components"),
    ({"n_components": "mle"}, "AutoencoderTransformerCV"),
    ({"n_components": 7}, r"between 0 and min\(n_samples, n_features\)=6"),
    ({"n_components": 0.9}, "bottleneck='ordered'"),
    ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes"),
    ({"activation": "gelo"}, "activation"),
    ({"bottleneck": "order"}, "Did you mean 'ordered'"),
    ({"corruption": GaussianNoise(-1)}, "scale"),
    ({"loss": "binary_cross_entropy"}, "MinMaxScaler"),
    ({"loss": "poisson"}, "squared_error"),
    ({"network": "conv"}, "image_shape"),
    ({"network": Conv((2, 2))}, "features"),
    ({"device": "abacus"}, "device"),
    ({"max_iter": 0}, "max_iter"),
    ({"validation_fraction": 1.0}, "validation_fraction"),
]
REFUSED_BY_VAE = [
    ({"likelihood": "gausian"}, "likelihood='gausian'.*Did you mean 'gaussian'"),
    ({"divergence": "betatc"}, "divergence='betatc'.*Did you mean 'beta_tc'"),
    ({"likelihood": Gaussian("columns")}, "'noise' parameter of Gaussian"),
    ({"divergence": BetaTC(-1.0)}, "'beta' parameter of BetaTC"),
    ({"beta": -1.0}, "'beta' parameter of VAETransformer"),
    ({"kl_warmup": 1.5}, "'kl_warmup' parameter"),
    ({"n_importance_samples": 0}, "'n_importance_samples' parameter"),
    ({"n_components": -1}, "'n_components' parameter"),
    ({"n_components": 0.9}, "'n_components' parameter"),
    ({"likelihood": "bernoulli"}, r"likelihood='bernoulli' needs X in \[0, 1\]"),
    ({"likelihood": "poisson"}, "likelihood='poisson' needs counts"),
    ({"network": "conv"}, "image_shape"),
    ({"divergence": "mmd", "n_importance_samples": 2}, "n_importance_samples=1"),
]


@pytest.mark.parametrize(
    ("cls", "params", "message"),
    [
        *[(AutoencoderTransformer, *case) for case in REFUSED],
        *[(VAETransformer, *case) for case in REFUSED_BY_VAE],
    ],
)
def test_invalid_parameters_are_named_before_training(cls, params, message):
    model = cls(**params)
    with pytest.raises(ValueError, match=message):
        model.fit(X)
    with pytest.raises(NotFittedError):
        check_is_fitted(model)


def test_a_single_sample_is_refused():
    with pytest.raises(ValueError, match="minimum of 2"):
        AutoencoderTransformer(1).fit(X[:1])


def test_wrong_numbers_of_features_and_components_are_refused(fitted):
    with pytest.raises(ValueError, match="6 features"):
        fitted.transform(X[:, :3])
    with pytest.raises(ValueError, match="n_components_=2"):
        fitted.inverse_transform(X[:, :3])


@pytest.mark.parametrize("bad", [0, -1, 2.5, "3"])
def test_numbers_of_draws_are_positive_integers(bad, fitted):
    vae = VAETransformer(2, hidden_layer_sizes=()).fit(X)
    with pytest.raises(ValueError, match="n_samples must be a positive integer"):
        vae.sample(bad)
    for method in (vae.elbo, vae.score_samples, fitted.score_samples):
        with pytest.raises(ValueError, match="n_draws must be a positive integer"):
            method(X, n_draws=bad)


def test_validation_samples_with_other_features_are_named():
    with pytest.raises(ValueError, match="X_val"):
        AutoencoderTransformer(2).fit(X, X_val=X[:, :3])


@pytest.mark.parametrize("cls", [AutoencoderTransformer, VAETransformer])
def test_unfitted_models_are_refused(cls):
    model = cls()
    methods = [model.transform, model.inverse_transform, model.score_samples, model.reconstruction_error]
    if cls is VAETransformer:
        methods += [model.posterior, model.elbo, model.kl_divergence, lambda X: model.sample()]
    for method in methods:
        with pytest.raises(NotFittedError):
            method(X)


@pytest.mark.parametrize("estimator", [AutoencoderTransformer, VAETransformer])
@pytest.mark.parametrize(
    ("dtype", "factor", "message"),
    [
        (np.float32, 1e20, "Feature 2 of X reaches .*float32"),
        (float, 1e160, "Feature 2 of X reaches .*float64"),
        (np.float32, 1e-25, "vary by .*float32"),
        (float, 1e-290, "vary by .*float64"),
    ],
    ids=str,
)
def test_values_whose_squares_leave_the_range_are_refused(dtype, factor, message, estimator):
    X = np.random.RandomState(0).normal(size=(60, 4)) * [1, 1, 2, 1]
    scaled = (factor * X).astype(dtype)
    model = estimator(2, hidden_layer_sizes=(4,), max_iter=1)
    calls = [
        lambda: model.fit(scaled),
        lambda: model.fit(sparse.csr_array(scaled)),
        lambda: model.fit(lambda: iter([scaled[:30], scaled[30:]])),
        lambda: model.partial_fit(scaled),
        lambda: model.fit(X, X_val=scaled),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=message.replace("of X", "of X(_val)?")):
            call()


@pytest.mark.parametrize("factor", [1e-15, 1e15])
def test_single_precision_of_any_permitted_size_is_fitted_as_in_double_precision(factor):
    X = (factor * np.random.RandomState(0).normal(size=(60, 4))).astype(np.float32)
    model = AutoencoderTransformer(2, hidden_layer_sizes=())
    single, double = (model.fit(X.astype(dtype)).score(X.astype(float)) for dtype in (np.float32, float))
    assert single == pytest.approx(double, abs=1e-3)
