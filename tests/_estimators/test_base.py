"""At home in scikit-learn: pipelines, searches, data frames, dtypes, odd input, determinism."""

import io
import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, KernelPCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.corruptions import GaussianNoise
from sklearn_ae.networks import Conv


def quick(n_components=2, **params):
    """A model that trains, for a moment."""
    given = {"hidden_layer_sizes": (16,), "max_iter": 30, "random_state": 0}
    return AutoencoderTransformer(n_components, **(given | params))


@pytest.fixture(scope="module")
def labelled():
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X[:600] / 16, y[:600]


@pytest.fixture(scope="module")
def opened():
    """A nonlinear model that the gate has let through, and its data."""
    rng = np.random.RandomState(0)
    t = rng.uniform(-2, 2, 400)
    X = np.column_stack([t, t**2, np.sin(2 * t), t**3]) + 0.05 * rng.normal(size=(400, 4))
    model = AutoencoderTransformer(1, hidden_layer_sizes=(32, 16), random_state=0).fit(X)
    assert model.uses_network_
    return model, X


pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# -- in the places where PCA stands ---------------------------------------------------


def test_pipeline_with_scaler_and_classifier(labelled):
    X, y = labelled
    pipe = make_pipeline(StandardScaler(), quick(8), LogisticRegression(max_iter=1000))
    assert cross_val_score(pipe, X, y, cv=3).mean() > 0.7


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_one_search_over_reducers(labelled, n_jobs):
    X, y = labelled
    pipe = Pipeline([("reduce", PCA()), ("classify", LogisticRegression(max_iter=1000))])
    grid = {"reduce": [PCA(), KernelPCA(), quick()], "reduce__n_components": [2, 8]}
    search = GridSearchCV(pipe, grid, cv=2, n_jobs=n_jobs, error_score="raise").fit(X, y)
    assert search.best_params_["reduce__n_components"] == 8
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_search_by_likelihood_needs_no_scorer_and_picks_a_large_code(digits):
    """A mean r2 over columns picks 2 here, because near-constant columns dominate it."""
    grid = {"n_components": [2, 8, 32]}
    search = GridSearchCV(quick(max_iter=5), grid, cv=2, error_score="raise").fit(digits[:500])
    assert search.best_params_["n_components"] == 32


def test_search_tunes_the_parameters_of_an_option(labelled):
    search = GridSearchCV(
        quick(corruption=GaussianNoise()), {"corruption__scale": [0.1, 0.5]}, cv=2, error_score="raise"
    ).fit(labelled[0])
    assert search.best_estimator_.corruption_.scale == search.best_params_["corruption__scale"]


def test_column_transformer_and_feature_union(labelled):
    X = pd.DataFrame(labelled[0]).rename(columns=str)
    left, right = list(X.columns[:32]), list(X.columns[32:])
    union = FeatureUnion([("pca", PCA(2)), ("ae", quick(3))])
    both = ColumnTransformer([("left", union, left), ("right", quick(2), right)]).fit(X)
    assert both.transform(X).shape == (600, 7)
    assert list(both.get_feature_names_out())[-1] == "right__autoencodertransformer1"


@pytest.mark.parametrize(("library", "frame"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_data_frames_out(library, frame, labelled):
    Z = quick(2).set_output(transform=library).fit_transform(labelled[0])
    assert isinstance(Z, frame)
    assert list(Z.columns) == ["autoencodertransformer0", "autoencodertransformer1"]


@pytest.mark.parametrize("make", [pd.DataFrame, lambda data: pl.DataFrame(data)])
def test_data_frames_in_keep_their_columns_in_order(make, labelled):
    X = make({f"column {i}": labelled[0][:, i] for i in range(5, 15)})
    model = quick(2).fit(X)
    assert list(model.feature_names_in_) == list(X.columns)
    with pytest.raises(ValueError, match="feature names"):
        model.transform(X[list(reversed(X.columns))])


def test_validation_rows_through_a_pipeline(labelled):
    """Requested and named in transform_input, X_val is scaled as X is."""
    X, _ = labelled
    train, valid = 100 * X[:400], 100 * X[400:]
    with sklearn.config_context(enable_metadata_routing=True):
        step = quick(2).set_fit_request(X_val=True)
        pipe = Pipeline([("scale", StandardScaler()), ("ae", step)], transform_input=["X_val"])
        pipe.fit(train, X_val=valid)
    scaler = StandardScaler().fit(train)
    direct = quick(2).fit(scaler.transform(train), X_val=scaler.transform(valid))
    assert pipe[-1].validation_loss_curve_ == pytest.approx(direct.validation_loss_curve_)


# -- determinism and state ----------------------------------------------------------------


@pytest.mark.parametrize("state", [0, 7, np.random.RandomState(3)])
def test_random_state_decides_the_result(state, labelled):
    first, second = (quick(2, random_state=clone_state(state)).fit(labelled[0]) for _ in range(2))
    np.testing.assert_array_equal(first.transform(labelled[0]), second.transform(labelled[0]))
    rows = labelled[0][:20]
    np.testing.assert_array_equal(first.score_samples(rows), second.score_samples(rows))


def clone_state(state):
    return pickle.loads(pickle.dumps(state))


def test_other_seeds_give_other_networks(labelled):
    a, b = (quick(2, random_state=seed).fit(labelled[0]) for seed in (0, 1))
    assert not np.allclose(a.transform(labelled[0]), b.transform(labelled[0]))


def test_worker_processes_give_the_same_bits(labelled):
    X = labelled[0]
    here = quick(2).fit(X).transform(X)
    there = joblib.Parallel(n_jobs=2)(joblib.delayed(_codes)(X) for _ in range(2))
    for codes in there:
        np.testing.assert_array_equal(codes, here)


def _codes(X):
    return quick(2).fit(X).transform(X)


def test_the_number_of_threads_does_not_change_the_result(digits):
    before = torch.get_num_threads()
    try:
        codes = []
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            with threadpool_limits(n_threads):
                codes.append(quick(8).fit(digits).transform(digits))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*codes)


def test_calls_leave_the_global_state_alone(labelled, unchanged_globals):
    X = labelled[0]
    convolutional = {"network": Conv((8, 8)), "max_iter": 2}
    for params in ({}, {"random_state": None}, {"corruption": lambda x: x + 0.1}, convolutional):
        model = clone(quick(2, **params)).fit(X)
        model.inverse_transform(model.transform(X))
        model.score_samples(X[:5])
        model.partial_fit(X[:100])


def test_rows_do_not_depend_on_each_other(opened):
    model, X = opened
    together, order = model.transform(X), np.random.RandomState(0).permutation(len(X))
    np.testing.assert_allclose(model.transform(X[:1]), together[:1], rtol=1e-10)
    np.testing.assert_allclose(model.transform(X[order]), together[order], rtol=1e-10)
    scores = model.score_samples(X[:40])
    np.testing.assert_allclose(model.score_samples(X[7:9]), scores[7:9], rtol=1e-8)


def test_few_rows_are_all_trained_on_in_the_end(opened):
    """What was held out has opened the gate; then every row counts."""
    model, X = opened
    np.testing.assert_allclose(model.mean_, X.mean(axis=0))
    assert len(model.validation_loss_curve_) == model.n_iter_ >= model.best_iter_ > 0
    assert model.n_samples_ == len(X)
    on_given_rows = clone(model).fit(X[:300], X_val=X[300:])  # the user's rows stay held out
    np.testing.assert_allclose(on_given_rows.mean_, X[:300].mean(axis=0))


def test_fit_does_not_touch_parameters_or_data(labelled):
    X = labelled[0].copy()
    noise = GaussianNoise(0.2)
    model = quick(2, corruption=noise)
    before = repr(model.get_params())
    model.fit(X)
    assert repr(model.get_params()) == before
    assert model.corruption is noise
    assert model.corruption_ is not noise
    np.testing.assert_array_equal(X, labelled[0])


# -- persistence ------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [{}, {"tied_weights": True}, {"whiten": True}, {"bottleneck": "ordered"}])
def test_pickle_and_joblib_keep_the_result(params, labelled):
    X = labelled[0]
    model = quick(3, **params).fit(X)
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    for twin in (pickle.loads(pickle.dumps(model)), joblib.load(buffer)):
        np.testing.assert_array_equal(twin.transform(X), model.transform(X))
        np.testing.assert_array_equal(twin.score_samples(X[:9]), model.score_samples(X[:9]))
        twin.partial_fit(X)  # and can go on


# -- numbers in, numbers out --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_is_kept(dtype, opened):
    X = opened[1].astype(dtype)
    model = AutoencoderTransformer(1, hidden_layer_sizes=(16,), max_iter=50, random_state=0).fit(X)
    assert model.transform(X).dtype == dtype
    assert model.inverse_transform(model.transform(X)).dtype == dtype
    # whatever it was fitted on, either precision gives the same codes
    other = model.transform(X.astype(np.float32 if dtype == np.float64 else np.float64))
    np.testing.assert_allclose(other, model.transform(X), atol=1e-4)


@pytest.mark.parametrize("dtype", [int, bool, np.uint8])
def test_integers_and_booleans(dtype, labelled):
    X = (labelled[0] > 0.5).astype(dtype)
    model = quick(4).fit(X)
    assert model.transform(X).dtype == np.float64
    np.testing.assert_allclose(model.transform(X), quick(4).fit(X.astype(float)).transform(X), rtol=1e-10)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_units_of_X_do_not_matter(scale, opened):
    model, X = opened
    twin = clone(model).fit(scale * X)
    codes, shift = model.transform(X), X.shape[1] * np.log(scale)
    np.testing.assert_allclose(twin.transform(scale * X) / scale, codes, rtol=1e-3, atol=1e-4)
    scores = model.score_samples(X[:20])
    np.testing.assert_allclose(twin.score_samples(scale * X[:20]), scores - shift, atol=0.1)


def test_whitened_codes_are_uncorrelated_with_unit_variance(opened):
    X = np.column_stack([opened[1], opened[1] ** 2])
    model = AutoencoderTransformer(2, hidden_layer_sizes=(32,), whiten=True, random_state=0).fit(X)
    assert model.uses_network_
    Z = model.transform(X)
    np.testing.assert_allclose(np.cov(Z.T), np.eye(2), atol=1e-8)
    plain = clone(model).set_params(whiten=False).fit(X)
    X_hat = plain.inverse_transform(plain.transform(X))
    np.testing.assert_allclose(model.inverse_transform(Z), X_hat, rtol=1e-6)


def test_columns_that_are_constant_in_training_cannot_explode(opened):
    X = np.column_stack([opened[1], np.full(400, 3.0)])
    model = clone(opened[0]).fit(X)
    X_new = X.copy()
    X_new[:, -1] += 1e-3
    assert np.abs(model.transform(X_new) - model.transform(X)).max() < 0.1


def test_all_columns_constant():
    X = np.ones((50, 3))
    model = AutoencoderTransformer(2).fit(X)
    np.testing.assert_allclose(model.inverse_transform(model.transform(X)), X)
    assert np.isfinite(model.score_samples(X)).all()


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_few_rows_are_pca(n):
    X = np.random.RandomState(0).normal(size=(n, 6))
    model, pca = AutoencoderTransformer(1, random_state=0).fit(X), PCA(1, svd_solver="full").fit(X)
    assert not model.uses_network_
    np.testing.assert_allclose(model.transform(X), pca.transform(X), atol=1e-8)


def test_mean_far_from_zero_costs_no_precision(opened):
    model, X = opened
    far = clone(model).fit(X + 1e8)  # float32 would round these columns to multiples of 8
    assert far.reconstruction_error(X + 1e8).sum() < 1.5 * model.reconstruction_error(X).sum()


def test_sparse_input_equals_dense(labelled):
    X = labelled[0].copy()
    X[X < 0.3] = 0
    dense, csr = quick(4).fit(X), quick(4).fit(sparse.csr_array(X))
    # the anchors come from different solvers, so the networks differ a little
    np.testing.assert_allclose(csr.transform(sparse.csc_array(X)), dense.transform(X), atol=1e-2)
    # and given the model, the two formats differ in nothing
    for method in (dense.transform, dense.score_samples, dense.reconstruction_error):
        np.testing.assert_allclose(method(sparse.csr_array(X[:9])), method(X[:9]), rtol=1e-10)


def test_memory_mapped_input(tmp_path, labelled):
    X = np.memmap(tmp_path / "X.dat", dtype=np.float64, mode="w+", shape=labelled[0].shape)
    X[:] = labelled[0]
    read_only = np.memmap(tmp_path / "X.dat", dtype=np.float64, mode="r", shape=X.shape)
    model = quick(4).fit(read_only)
    in_memory = quick(4).fit(labelled[0])
    ratio = model.reconstruction_error(read_only).sum() / in_memory.reconstruction_error(labelled[0]).sum()
    assert 0.9 < ratio < 1.1


# -- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused_as_scikit_learn_does(bad):
    X = np.ones((30, 3))
    X[4, 1] = bad
    with pytest.raises(ValueError, match="NaN|infinity"):  # noqa: RUF043
        AutoencoderTransformer().fit(X)


REFUSED = [
    ({"n_components": 0}, "n_components"),
    ({"n_components": "mle"}, r"n_components=0.95"),
    ({"n_components": 7}, r"between 1 and min\(n_samples, n_features\)=6"),
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


@pytest.mark.parametrize(("params", "message"), REFUSED)
def test_bad_parameters_are_named_before_any_work(params, message):
    X = np.random.RandomState(0).normal(size=(40, 6))
    model = AutoencoderTransformer(**params)
    with pytest.raises(ValueError, match=message):
        model.fit(X)
    with pytest.raises(NotFittedError):
        check_is_fitted(model)


def test_wrong_widths_are_refused(opened):
    model, X = opened
    with pytest.raises(ValueError, match="4 features"):
        model.transform(X[:, :3])
    with pytest.raises(ValueError, match="n_components_=1"):
        model.inverse_transform(X[:, :3])
    with pytest.raises(ValueError, match="n_draws"):
        model.score_samples(X, n_draws=0)


def test_one_row_is_too_few():
    with pytest.raises(ValueError, match="minimum of 2"):
        AutoencoderTransformer(1).fit(np.ones((1, 3)))


def test_an_unfitted_model_says_so():
    with pytest.raises(NotFittedError):
        AutoencoderTransformer().transform(np.ones((3, 3)))


def test_nothing_is_warned_of_by_default(opened):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clone(opened[0]).fit(opened[1])


def test_a_warm_start_of_another_shape_is_refused(labelled):
    model = quick(4, warm_start=True).fit(labelled[0])
    for change in ({"n_components": 3}, {"hidden_layer_sizes": (8,)}):
        with pytest.raises(ValueError, match="warm_start"):
            clone(model).fit(labelled[0]).set_params(**change).fit(labelled[0])


def test_one_hidden_layer_may_be_given_as_a_number(labelled):
    one, same = quick(2, hidden_layer_sizes=16), quick(2, hidden_layer_sizes=(16,))
    np.testing.assert_array_equal(one.fit_transform(labelled[0]), same.fit_transform(labelled[0]))


def test_validation_rows_of_another_width_are_named(labelled):
    with pytest.raises(ValueError, match="X_val"):
        quick(2).fit(labelled[0], X_val=labelled[0][:, :3])


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_text_columns_are_named_with_a_remedy(make):
    X = make({"width": [1.0, 2.0, 3.0], "colour": ["red", "green", "red"], "kind": ["a", "b", "b"]})
    with pytest.raises(ValueError, match=r"not numeric: 'colour', 'kind'\. Encode them first"):
        AutoencoderTransformer(1).fit(X)
