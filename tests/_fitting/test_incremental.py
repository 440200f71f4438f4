"""partial_fit: training on chunks, and the statistics of all chunks."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA, IncrementalPCA

from sklearn_ae import AutoencoderTransformer, VAETransformer


def estimator(k=2, kind=AutoencoderTransformer, **params):
    params = {"hidden_layer_sizes": (32,), "max_iter": 6, "random_state": 0, **params}
    return kind(k, **params)


def error(model, X):
    return model.reconstruction_error(X).mean()


def fit_chunks(model, X, n_chunks, epochs=1):
    for _ in range(epochs):
        for chunk in np.array_split(X, n_chunks):
            model.partial_fit(chunk)
    return model


# -- quality ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted_at_once(digits_split):
    return estimator(8, max_iter=15).fit(digits_split[0])


@pytest.mark.slow
@pytest.mark.parametrize("n_chunks", [2, 20])
@pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")
def test_chunks_are_as_good_as_all_samples_at_once(n_chunks, fitted_at_once, digits_split):
    train, test = digits_split
    model = fit_chunks(estimator(8), train, n_chunks)
    first = error(model, test)
    fit_chunks(model, train, n_chunks, epochs=14)
    assert model.n_components_ == 8
    assert error(model, test) < 1.05 * error(fitted_at_once, test)
    assert error(model, test) < 0.9 * first


@pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")
def test_partial_fit_continues_from_fit(curve):
    model = estimator(1, max_iter=20).fit(curve)
    before = error(model, curve)
    for _ in range(5):
        model.set_params(learning_rate_init=1e-4).partial_fit(curve)
    assert error(model, curve) < 1.02 * before


# -- statistics of all chunks -----------------------------------------------------------------


def test_mean_scale_and_pca_are_those_of_all_chunks(digits):
    X = digits[np.argsort(digits.sum(1))]  # the first chunk differs from the others
    model = fit_chunks(estimator(6), X, 20)
    np.testing.assert_allclose(model.mean_, X.mean(0), atol=1e-10)
    assert model.scale_ == pytest.approx(np.sqrt(X.var(0, ddof=1).mean()), rel=1e-3)
    ipca = IncrementalPCA(6)
    for chunk in np.array_split(X, 20):
        ipca.partial_fit(chunk)
    np.testing.assert_allclose(model.pca_.components_, ipca.components_, atol=1e-7)
    assert model.n_samples_ == len(X)


@pytest.mark.parametrize("n_chunks", [1, 5])
def test_a_linear_model_is_an_incremental_pca(n_chunks, digits):
    model = fit_chunks(estimator(6, hidden_layer_sizes=()), digits, n_chunks)
    ipca = IncrementalPCA(6)
    for chunk in np.array_split(digits, n_chunks):
        ipca.partial_fit(chunk)
    np.testing.assert_allclose(model.transform(digits), ipca.transform(digits), atol=1e-8)
    np.testing.assert_allclose(model.explained_variance_, ipca.explained_variance_)
    # scikit-learn omits the variance that earlier updates discarded.
    exact = PCA(6).fit(digits).noise_variance_
    assert model.noise_variance_ == pytest.approx(exact, rel=1e-8 if n_chunks == 1 else 0.05)


def test_feature_ranges_are_those_of_all_chunks(digits):
    model = fit_chunks(estimator(2, corruption="salt_and_pepper"), digits, 7)
    module = model.net_.module_
    for name, expected in (("zero", np.zeros(64)), ("low", digits.min(0)), ("high", digits.max(0))):
        found = model.mean_ + model.scale_ * getattr(module, name).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.slow
def test_whitening_and_noise_variance_fit_all_samples_after_small_chunks(digits):
    model = fit_chunks(estimator(4, whiten=True), digits, 120)  # 15 samples each
    np.testing.assert_allclose(np.cov(model.transform(digits).T), np.eye(4), atol=0.35)
    expected = error(model, digits) / 60
    assert model.noise_variance_ == pytest.approx(expected, rel=0.2)


# -- state between chunks -----------------------------------------------------------------


@pytest.mark.parametrize("kind", [AutoencoderTransformer, VAETransformer])
def test_pickling_and_transforming_between_chunks_change_nothing(kind, digits):
    X = digits[:600]
    uninterrupted = fit_chunks(estimator(3, kind), X, 3, epochs=2)
    other = estimator(3, kind)
    for _ in range(2):
        for chunk in np.array_split(X, 3):
            other.partial_fit(chunk)
            other.transform(chunk)
            other = pickle.loads(pickle.dumps(other))
    np.testing.assert_array_equal(other.transform(X), uninterrupted.transform(X))
    assert other.loss_curve_ == uninterrupted.loss_curve_
    assert not hasattr(clone(other), "module_")


@pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")
def test_a_size_chosen_by_fit_is_kept(digits):
    X = digits[:600]
    model = estimator(0.7, bottleneck="ordered").fit(X)
    k = model.n_components_
    model.partial_fit(X[:300])
    assert model.transform(X).shape == (len(X), k)
    assert len(model.explained_variance_ratio_) == k


def test_random_state_determines_the_result(digits):
    first, same, other = (
        fit_chunks(estimator(random_state=seed, init="random"), digits[:300], 3) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(same.transform(digits), first.transform(digits))
    assert not np.allclose(other.transform(digits), first.transform(digits))


# -- validation -----------------------------------------------------------------------------


def test_the_first_chunk_needs_as_many_samples_as_components(digits):
    with pytest.raises(ValueError, match="n_components=30"):
        estimator(30).partial_fit(digits[:20])
    estimator(30).partial_fit(digits[:30]).partial_fit(digits[30:31])


@pytest.mark.parametrize("kind", [AutoencoderTransformer, VAETransformer])
@pytest.mark.parametrize("X", [np.full((6, 2), 0.1), np.zeros((6, 1))], ids=["constant", "zero"])
def test_chunks_of_equal_samples_give_a_finite_model_without_warnings(kind, X):
    model = estimator(1, kind, hidden_layer_sizes=()).partial_fit(X).partial_fit(X)
    np.testing.assert_allclose(model.inverse_transform(model.transform(X)), X, atol=1e-12)
    assert np.isfinite(model.score_samples(X)).all()


def test_a_chunk_may_hold_a_single_sample_if_a_prior_is_fitted(digits):
    model = estimator(2, VAETransformer, prior="mixture").partial_fit(digits[:50]).partial_fit(digits[50:51])
    assert np.isfinite(model.score_samples(digits[:5])).all()
    assert model.n_samples_ == 51


def test_a_chunk_with_other_features_leaves_the_model_unchanged(digits):
    model = estimator().partial_fit(digits[:100])
    before = model.transform(digits)
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(digits[:100, :9])
    np.testing.assert_array_equal(model.transform(digits), before)


def test_feature_names_are_kept(digits):
    frame = pd.DataFrame(digits[:, 10:14]).add_prefix("pixel")
    model = estimator().partial_fit(frame[:900]).partial_fit(frame[900:])
    assert list(model.feature_names_in_) == list(frame.columns)


def test_partial_fit_leaves_the_global_state_unchanged(curve, unchanged_globals):
    fit_chunks(estimator(1), curve, 2)


@pytest.mark.parametrize("params", [{"hidden_layer_sizes": ()}, {"bottleneck": "ordered"}], ids=str)
def test_a_share_of_the_variance_is_refused(params):
    with pytest.raises(ValueError, match=r"n_components=0\.9 .*first chunk .*integer"):
        AutoencoderTransformer(0.9, **params).partial_fit(np.random.RandomState(0).normal(size=(50, 4)))


@pytest.mark.parametrize(
    "change",
    [
        {"n_components": 3},
        {"hidden_layer_sizes": (8,)},
        {"activation": "tanh"},
        {"bottleneck": "relu"},
        {"tied_weights": True},
        {"init": "random"},
        {"corruption": "masking"},
        {"loss": "huber"},
    ],
    ids=str,
)
def test_changes_of_what_the_weights_depend_on_are_refused(change):
    X = np.random.RandomState(0).normal(size=(50, 4))
    model = AutoencoderTransformer(2, hidden_layer_sizes=(4,), random_state=0).partial_fit(X)
    with pytest.raises(ValueError, match=f"partial_fit .* {next(iter(change))} changed"):
        model.set_params(**change).partial_fit(X)
    fresh = AutoencoderTransformer()
    model.set_params(**{name: getattr(fresh, name) for name in change} | {"n_components": 2})
    model.set_params(hidden_layer_sizes=(4,), penalty="l1", learning_rate_init=1e-3).partial_fit(X)


def test_a_change_of_the_likelihood_is_refused():
    X = np.random.RandomState(0).uniform(size=(50, 4))
    model = VAETransformer(2, hidden_layer_sizes=(4,), random_state=0).partial_fit(X)
    with pytest.raises(ValueError, match=r"partial_fit .* likelihood changed"):
        model.set_params(likelihood="bernoulli").partial_fit(X)


@pytest.mark.parametrize("estimator", [AutoencoderTransformer, VAETransformer])
def test_a_failed_chunk_leaves_the_model_as_it_was(estimator):
    X = np.random.RandomState(0).normal(size=(50, 4))
    extreme, missing = X.copy(), X.copy()
    extreme[0, 0], missing[0, 0] = 1e160, np.nan
    model = estimator(2, hidden_layer_sizes=(4,), batch_size=10, random_state=0)
    for _ in range(3):
        model.partial_fit(X)
    untouched = copy.deepcopy(model)
    diverging = {"learning_rate_init": 1e30}
    for chunk, params in ((X, diverging), (extreme, {}), (missing, {}), (X[:, :3], {}), (X[:0], {})):
        model.set_params(**params)
        with pytest.raises(ValueError, match=r"diverged|too large|NaN|features|0 sample"):
            model.partial_fit(chunk)
        model.set_params(learning_rate_init=untouched.learning_rate_init)
        np.testing.assert_array_equal(model.transform(X), untouched.transform(X))
    for twin in (model, untouched):  # weights, moments, averages and history are those from before, too
        twin.partial_fit(X)
    np.testing.assert_array_equal(model.transform(X), untouched.transform(X))
    assert model.loss_curve_ == untouched.loss_curve_


def test_copies_are_trained_separately():
    X = np.random.RandomState(0).normal(size=(200, 4))
    params = {"hidden_layer_sizes": (4,), "max_iter": 2, "bottleneck": "ordered", "random_state": 0}
    model = AutoencoderTransformer(3, **params).fit(X)
    expected = copy.deepcopy(model).partial_fit(X).transform(X)
    for twin in (copy.copy(model), model.truncate(3)):
        before = twin.transform(X)
        np.testing.assert_array_equal(copy.copy(model).partial_fit(X).transform(X), expected)
        np.testing.assert_array_equal(twin.transform(X), before)
        np.testing.assert_array_equal(twin.partial_fit(X).transform(X), expected)
    np.testing.assert_array_equal(model.partial_fit(X).transform(X), expected)


@pytest.mark.parametrize("kind", [AutoencoderTransformer, VAETransformer])
@pytest.mark.parametrize("value", [1e6, -1e9, 1e14])
def test_a_value_that_would_undo_what_was_learned_is_refused_with_its_feature(kind, value, curve):
    model = kind(2, hidden_layer_sizes=(8,), random_state=0)
    for chunk in np.array_split(curve[:500], 5):
        model.partial_fit(chunk)
    codes, bad = model.transform(curve), curve[500:].copy()
    bad[7, 2] = value
    with pytest.raises(ValueError, match=r"Feature 2 of this chunk reaches .*Remove or clip"):
        model.partial_fit(bad)
    np.testing.assert_array_equal(model.transform(curve), codes)
    bad[7, 2] = 100.0  # an outlier like others
    assert np.isfinite(model.partial_fit(bad).transform(curve)).all()


def test_a_first_chunk_without_variance_does_not_refuse_later_ones(curve):
    model = AutoencoderTransformer(2, hidden_layer_sizes=(8,), random_state=0).partial_fit(np.zeros((50, 5)))
    assert np.isfinite(model.partial_fit(1e5 * curve).transform(curve)).all()
