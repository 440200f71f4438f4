"""AutoencoderTransformer: fallback to PCA, units of X, whitening, refit on all samples, warm starts."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.preprocessing import MinMaxScaler

from sklearn_ae import AutoencoderTransformer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def quick(n_components=2, **params):
    """Return a model that trains for a few epochs."""
    given = {"hidden_layer_sizes": (16,), "max_iter": 5, "random_state": 0}
    return AutoencoderTransformer(n_components, **(given | params))


@pytest.fixture(scope="module")
def nonlinear():
    """A model that uses its networks, and its training data."""
    rng = np.random.RandomState(0)
    t = rng.uniform(-2, 2, 300)
    X = np.column_stack([t, t**2, np.sin(2 * t), t**3]) + 0.05 * rng.normal(size=(300, 4))
    model = AutoencoderTransformer(1, hidden_layer_sizes=(16,), max_iter=40, random_state=0).fit(X)
    assert model.uses_network_
    return model, X


@pytest.fixture(scope="module")
def trained(nonlinear):
    """A model that was trained without validation, for properties that hold after any training."""
    return quick(1, early_stopping=False).fit(nonlinear[1])


# -- fallback to PCA ----------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_few_samples_fall_back_to_pca(n):
    X = np.random.RandomState(0).normal(size=(n, 6))
    model, pca = AutoencoderTransformer(1, random_state=0).fit(X), PCA(1, svd_solver="full").fit(X)
    assert not model.uses_network_
    np.testing.assert_allclose(model.transform(X), pca.transform(X), atol=1e-8)


def test_an_accepted_model_is_retrained_on_all_samples_if_they_are_few(nonlinear):
    model, X = nonlinear
    np.testing.assert_allclose(model.mean_, X.mean(axis=0))
    assert len(model.validation_loss_curve_) == model.n_iter_ >= model.best_iter_ > 0
    assert model.n_samples_ == len(X)
    given = clone(model).fit(X[:200], X_val=X[200:])  # the user's validation samples stay held out
    np.testing.assert_allclose(given.mean_, X[:200].mean(axis=0))


def test_the_default_emits_no_warnings(nonlinear):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AutoencoderTransformer(1, hidden_layer_sizes=(16,), random_state=0).fit(nonlinear[1])


# -- units and degenerate features ----------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_units_of_X_do_not_matter(scale, trained, nonlinear):
    model, X = trained, nonlinear[1]
    twin = clone(model).fit(scale * X)
    codes, shift = model.transform(X), X.shape[1] * np.log(scale)
    np.testing.assert_allclose(twin.transform(scale * X) / scale, codes, rtol=1e-3, atol=1e-4)
    scores = model.score_samples(X[:20])
    np.testing.assert_allclose(twin.score_samples(scale * X[:20]), scores - shift, atol=0.1)


def test_a_mean_far_from_zero_costs_no_precision(trained, nonlinear):
    model, X = trained, nonlinear[1]
    far = clone(model).fit(X + 1e8)  # float32 would round these features to multiples of 8
    assert far.reconstruction_error(X + 1e8).sum() < 1.5 * model.reconstruction_error(X).sum()


def test_features_that_are_constant_in_training_are_not_amplified(trained, nonlinear):
    X = np.column_stack([nonlinear[1], np.full(300, 3.0)])
    model = clone(trained).fit(X)
    X_new = X.copy()
    X_new[:, -1] += 1e-3
    assert np.abs(model.transform(X_new) - model.transform(X)).max() < 0.1


def test_all_features_constant():
    X = np.ones((50, 3))
    model = AutoencoderTransformer(2).fit(X)
    np.testing.assert_allclose(model.inverse_transform(model.transform(X)), X)
    assert np.isfinite(model.score_samples(X)).all()


# -- parameters -----------------------------------------------------------------------------


def test_whitened_codes_are_uncorrelated_with_unit_variance(nonlinear):
    X = np.column_stack([nonlinear[1], nonlinear[1] ** 2])
    model = quick(2, whiten=True, early_stopping=False).fit(X)
    Z = model.transform(X)
    np.testing.assert_allclose(np.cov(Z.T), np.eye(2), atol=1e-8)
    plain = clone(model).set_params(whiten=False).fit(X)
    X_hat = plain.inverse_transform(plain.transform(X))
    np.testing.assert_allclose(model.inverse_transform(Z), X_hat, rtol=1e-6)


def test_the_error_of_a_sample_whose_square_overflows_is_infinite(nonlinear):
    X = nonlinear[1]
    model = quick(1, early_stopping=False).fit(X)
    unusual = np.full((1, X.shape[1]), 1e200)
    assert model.reconstruction_error(unusual)[0] == np.inf


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "params", [{"hidden_layer_sizes": ()}, {"init": "random", "hidden_layer_sizes": ()}], ids=str
)
def test_whitened_rounding_errors_stay_small(params, dtype, unperturbed):
    rng = np.random.RandomState(0)
    X = (rng.normal(size=(60, 2)) @ rng.normal(size=(2, 5))).astype(dtype)
    model = quick(4, whiten=True, early_stopping=False, **params).fit(X)
    Z = model.transform(X)
    used = np.sort(Z.std(axis=0))[::-1]
    np.testing.assert_allclose(used[:2], 1, rtol=0.02)
    assert used[2:].max() < (0.2 if dtype == np.float32 else 0.01)
    np.testing.assert_allclose(model.transform(X[:1]), Z[:1], atol=0.5 if dtype == np.float32 else 0.01)


def test_a_single_hidden_layer_may_be_an_integer(nonlinear):
    X = nonlinear[1]
    one, same = (quick(2, hidden_layer_sizes=sizes, early_stopping=False) for sizes in (16, (16,)))
    np.testing.assert_array_equal(one.fit_transform(X), same.fit_transform(X))


@pytest.mark.parametrize(
    "change",
    [
        {"n_components": 3},
        {"hidden_layer_sizes": (8,)},
        {"tied_weights": True},
        {"init": "random"},
        {"bottleneck": "ordered"},
        {"bottleneck": "topk"},
        {"corruption": "gaussian"},
        {"loss": "binary_cross_entropy"},
    ],
    ids=str,
)
def test_a_warm_start_with_other_weights_is_refused(change, nonlinear):
    X = MinMaxScaler(clip=True).fit_transform(nonlinear[1])
    model = quick(2, max_iter=1, warm_start=True, early_stopping=False).fit(X)
    with pytest.raises(ValueError, match=f"warm_start=True .* {next(iter(change))} changed"):
        model.set_params(**change).fit(X)
    before = model.transform(X)
    unchanged = {name: getattr(quick(2), name) for name in change}
    model.set_params(**unchanged | {"alpha": 1e-3, "loss": "absolute_error"}).fit(X)  # these may change
    assert not np.array_equal(model.transform(X), before)
