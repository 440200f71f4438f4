"""Public methods within scikit-learn: pipelines, searches, data frames, dtypes, determinism."""

import copy
import io
import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sklearn
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, KernelPCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch.utils.data import TensorDataset

from sklearn_ae import (
    AEOutlierDetector,
    AutoencoderTransformer,
    AutoencoderTransformerCV,
    VAETransformer,
)
from sklearn_ae.corruptions import GaussianNoise
from sklearn_ae.networks import Conv

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


QUICK = {"hidden_layer_sizes": (8,), "max_iter": 3, "early_stopping": False}


def quick(n_components=2, **params):
    """Return a model that trains for a few epochs, without fallback to PCA."""
    given = {"hidden_layer_sizes": (8,), "max_iter": 3, "early_stopping": False, "random_state": 0}
    return AutoencoderTransformer(n_components, **(given | params))


@pytest.fixture(scope="module")
def labelled():
    X, y = load_digits(return_X_y=True)
    return X[:300] / 16, y[:300]


@pytest.fixture(scope="module")
def fitted(labelled):
    return quick(2).fit(labelled[0])


# -- as a replacement for PCA -----------------------------------------------------------


def test_pipeline_with_scaler_and_classifier(labelled):
    X, y = labelled
    pipe = make_pipeline(StandardScaler(), quick(8), LogisticRegression(max_iter=1000))
    assert cross_val_score(pipe, X, y, cv=2).mean() > 0.6


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_one_search_over_reducers(labelled, n_jobs):
    X, y = labelled
    pipe = Pipeline([("reduce", PCA()), ("classify", LogisticRegression(max_iter=1000))])
    grid = {"reduce": [PCA(), KernelPCA(), quick()], "reduce__n_components": [2, 8]}
    search = GridSearchCV(pipe, grid, cv=2, n_jobs=n_jobs, error_score="raise").fit(X, y)
    assert search.best_params_["reduce__n_components"] == 8
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_search_by_likelihood_needs_no_scorer_and_selects_a_large_code(digits):
    """A mean r2 over features selects 2 here, because near-constant features dominate it."""
    search = GridSearchCV(quick(), {"n_components": [2, 8, 32]}, cv=2, error_score="raise").fit(digits[:400])
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
    assert both.transform(X).shape == (len(X), 7)
    assert list(both.get_feature_names_out())[-1] == "right__autoencodertransformer1"


@pytest.mark.parametrize(("library", "frame"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_data_frames_out(library, frame, fitted, labelled):
    Z = clone(fitted).set_output(transform=library).fit_transform(labelled[0])
    assert isinstance(Z, frame)
    assert list(Z.columns) == ["autoencodertransformer0", "autoencodertransformer1"]


@pytest.mark.parametrize("make", [pd.DataFrame, lambda data: pl.DataFrame(data)], ids=["pandas", "polars"])
def test_data_frames_in_keep_their_features_in_order(make, labelled):
    X = make({f"column {i}": labelled[0][:, i] for i in range(5, 15)})
    model = quick(2).fit(X)
    assert list(model.feature_names_in_) == list(X.columns)
    with pytest.raises(ValueError, match="feature names"):
        model.transform(X[list(reversed(X.columns))])


def test_validation_samples_through_a_pipeline(labelled):
    """If requested and listed in transform_input, X_val is scaled like X."""
    X, _ = labelled
    train, valid = 100 * X[:200], 100 * X[200:]
    params = {"early_stopping": True, "max_iter": 10}
    with sklearn.config_context(enable_metadata_routing=True):
        step = quick(2, **params).set_fit_request(X_val=True)
        pipe = Pipeline([("scale", StandardScaler()), ("ae", step)], transform_input=["X_val"])
        pipe.fit(train, X_val=valid)
    scaler = StandardScaler().fit(train)
    direct = quick(2, **params).fit(scaler.transform(train), X_val=scaler.transform(valid))
    assert pipe[-1].validation_loss_curve_
    np.testing.assert_array_equal(pipe[-1].validation_loss_curve_, direct.validation_loss_curve_)


# -- determinism and state ----------------------------------------------------------------


@pytest.mark.parametrize("early_stopping", [False, True])
def test_random_state_determines_the_result(early_stopping, labelled):
    X = labelled[0]
    for state in (7, np.random.RandomState(3)):
        first, second = (
            quick(2, random_state=copy.deepcopy(state), early_stopping=early_stopping).fit(X)
            for _ in range(2)
        )
        np.testing.assert_array_equal(first.transform(X), second.transform(X))
        np.testing.assert_array_equal(first.score_samples(X[:20]), second.score_samples(X[:20]))


def test_other_seeds_give_other_networks(fitted, labelled):
    X = labelled[0]
    other = clone(fitted).set_params(random_state=1).fit(X)
    assert not np.allclose(other.transform(X), fitted.transform(X))


def test_worker_processes_give_the_same_bits(labelled, unperturbed):
    X = labelled[0]
    for codes in joblib.Parallel(n_jobs=2)(joblib.delayed(_codes)(X) for _ in range(2)):
        np.testing.assert_array_equal(codes, _codes(X))


def _codes(X):
    return quick(2).fit(X).transform(X)


def test_the_number_of_threads_does_not_change_the_result(digits):
    before = torch.get_num_threads()
    try:
        codes = []
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            with threadpool_limits(n_threads):
                model = quick(8, hidden_layer_sizes=(64,), early_stopping=True).fit(digits)
                codes.append(model.transform(digits))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*codes)


def test_calls_leave_the_global_state_unchanged(labelled, unchanged_globals):
    X = labelled[0]
    convolutional = {"network": Conv((8, 8), channels=(2,)), "max_iter": 1}
    for params in ({}, {"random_state": None}, {"corruption": lambda x: x + 0.1}, convolutional):
        model = quick(2, **params).fit(X)
        model.inverse_transform(model.transform(X))
        model.score_samples(X[:5])
        model.partial_fit(X[:100])


def test_samples_do_not_depend_on_each_other(fitted, labelled):
    X = labelled[0]
    together, order = fitted.transform(X), np.random.RandomState(0).permutation(len(X))
    np.testing.assert_allclose(fitted.transform(X[:1]), together[:1], rtol=1e-10)
    np.testing.assert_allclose(fitted.transform(X[order]), together[order], rtol=1e-10)
    scores = fitted.score_samples(X[:40])
    np.testing.assert_allclose(fitted.score_samples(X[7:9]), scores[7:9], rtol=1e-8)


def test_fit_does_not_modify_parameters_or_data(labelled):
    X = labelled[0].copy()
    noise = GaussianNoise(0.2)
    model = quick(2, corruption=noise)
    before = repr(model.get_params())
    model.fit(X)
    assert repr(model.get_params()) == before
    assert model.corruption is noise
    assert model.corruption_ is not noise
    np.testing.assert_array_equal(X, labelled[0])


# -- persistence --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params", [{"tied_weights": True}, {"whiten": True, "bottleneck": "ordered"}], ids=str
)
def test_pickle_and_joblib_keep_the_result(params, labelled):
    X = labelled[0]
    model = quick(3, **params).fit(X)
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    for twin in (pickle.loads(pickle.dumps(model)), joblib.load(buffer)):
        np.testing.assert_array_equal(twin.transform(X), model.transform(X))
        np.testing.assert_array_equal(twin.score_samples(X[:9]), model.score_samples(X[:9]))
        twin.partial_fit(X)  # training can be continued


@pytest.mark.parametrize(
    "model",
    [
        quick(2),
        VAETransformer(2, hidden_layer_sizes=(8,), max_iter=3, random_state=0),
        AutoencoderTransformerCV([1, 2], cv=2, hidden_layer_sizes=(8,), max_iter=3, random_state=0),
        AEOutlierDetector(quick(2), n_estimators=2, random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_failed_refit_keeps_the_model(model, monkeypatch):
    X = np.random.RandomState(0).normal(size=(60, 4))
    model = clone(model).fit(X)
    state, scores = dict(vars(model)), model.score_samples(X)
    missing = np.full((60, 7), np.nan)
    for bad in (missing, X[:1], np.empty((60, 0)), [["a"]]):
        with pytest.raises(ValueError, match=r"NaN|minimum|numeric|convert"):
            model.fit(bad)
    for error in (RuntimeError, KeyboardInterrupt):

        def stopped(*args, error=error, **kwargs):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(PCA, "fit", stopped)  # after validation
            with pytest.raises(error):
                model.fit(np.ones((60, 7)))
    assert vars(model).keys() == state.keys()
    assert all(vars(model)[name] is value for name, value in state.items())
    np.testing.assert_array_equal(model.score_samples(X), scores)


# -- dtypes and formats of the input --------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_preserved(dtype, labelled):
    X = labelled[0].astype(dtype)
    model = quick(2).fit(X)
    assert model.transform(X).dtype == dtype
    assert model.inverse_transform(model.transform(X)).dtype == dtype
    # Either dtype gives the same codes, independent of the dtype of the training data.
    other = model.transform(X.astype(np.float32 if dtype == np.float64 else np.float64))
    np.testing.assert_allclose(other, model.transform(X), atol=1e-4)


@pytest.mark.parametrize(
    "convert",
    [
        torch.from_numpy,
        lambda X: torch.from_numpy(X).requires_grad_(),
        lambda X: torch.from_numpy(X).bfloat16(),
    ],
    ids=["tensor", "with gradient", "bfloat16"],
)
@pytest.mark.parametrize("estimator", [AutoencoderTransformer, VAETransformer, AEOutlierDetector])
def test_tensors_are_arrays(estimator, convert):
    X = np.random.RandomState(0).normal(size=(60, 4))
    T = convert(X)
    same = T.detach().float().numpy() if T.dtype is torch.bfloat16 else X
    params = {"autoencoder": quick(2), "n_estimators": 2} if estimator is AEOutlierDetector else QUICK
    ours, expected = (estimator(**params, random_state=0).fit(samples) for samples in (T, same))
    for method in ("transform", "score_samples"):
        np.testing.assert_array_equal(getattr(ours, method)(T), getattr(expected, method)(same))
    Z = expected.transform(same)
    np.testing.assert_array_equal(ours.inverse_transform(convert(Z)).shape, same.shape)
    if estimator is not AEOutlierDetector:
        np.testing.assert_array_equal(clone(ours).partial_fit(T).mean_, clone(ours).partial_fit(same).mean_)
        streamed = clone(ours).fit(TensorDataset(T.detach()))
        assert streamed.n_features_in_ == 4


def test_record_batches_keep_their_names():
    X = np.random.RandomState(0).normal(size=(60, 3))
    batch = pa.RecordBatch.from_arrays([pa.array(x) for x in X.T], names=["a", "b", "c"])
    for samples in (batch, lambda: iter([batch, batch])):
        assert quick(2).fit(samples).feature_names_in_.tolist() == ["a", "b", "c"]


def test_a_device_may_be_an_object(labelled):
    X = labelled[0]
    model = quick(2, device=torch.device("cpu")).fit(X)
    np.testing.assert_array_equal(model.transform(X), quick(2, device="cpu").fit(X).transform(X))
    assert clone(model).device == torch.device("cpu")


@pytest.mark.parametrize("centre", [1e6, 101_325, [2010, 0, 1e5]], ids=str)
@pytest.mark.parametrize(
    "estimator",
    [
        AutoencoderTransformer(1, hidden_layer_sizes=()),
        VAETransformer(1, hidden_layer_sizes=()),
        AutoencoderTransformer(
            1, hidden_layer_sizes=(8,), max_iter=2, learning_rate_init=0.003, random_state=0
        ),
        AEOutlierDetector(AutoencoderTransformer(1, hidden_layer_sizes=()), n_estimators=1, random_state=0),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.parametrize("form", ["array", "csr", "stream", "chunks"])
def test_large_means_do_not_hide_the_spread_of_single_precision(form, estimator, centre, curve):
    """Scores and errors are those of the same numbers in double precision."""
    X = (centre + 10 * curve[:, :3]).astype(np.float32)
    calls = {
        "array": lambda X: clone(estimator).fit(X),
        "csr": lambda X: clone(estimator).fit(sparse.csr_array(X)),
        "stream": lambda X: clone(estimator).fit(lambda: iter(np.array_split(X, 3))),
        "chunks": lambda X: clone(estimator).partial_fit(X[:300]).partial_fit(X[300:]),
    }
    if isinstance(estimator, AEOutlierDetector) and form in ("stream", "chunks"):
        pytest.skip("no out-of-core detector")
    single, double = calls[form](X), calls[form](X.astype(np.float64))
    X_double = X.astype(np.float64)
    decoded = [model.inverse_transform(model.transform(X_double)) for model in (single, double)]
    error, exact = (np.square(X_double - X_hat).mean() for X_hat in decoded)
    assert error == pytest.approx(exact, rel=5e-3)
    scores, expected = single.score_samples(X), double.score_samples(X_double)
    # The spacing of float32 at 1e6 is 0.06, so that single scores differ.
    assert np.corrcoef(scores, expected)[0, 1] > 0.99
    # One sample more or less in the inlier core of a detector changes its scores.
    tolerance = 0.1 if isinstance(estimator, AEOutlierDetector) else 0.01
    assert scores.mean() == pytest.approx(expected.mean(), abs=tolerance)


@pytest.mark.parametrize("dtype", [int, bool, np.uint8])
def test_integers_and_booleans_are_converted(dtype, labelled):
    X = (labelled[0] > 0.5).astype(dtype)
    model = quick(4).fit(X)
    assert model.transform(X).dtype == np.float64
    np.testing.assert_array_equal(model.transform(X), quick(4).fit(X.astype(float)).transform(X))


@pytest.mark.parametrize("estimator", [AutoencoderTransformer, VAETransformer])
@pytest.mark.parametrize("hidden_layer_sizes", [(), (4,)], ids=["linear", "networks"])
@pytest.mark.parametrize("shape", [(40, 60), (48, 40), (8, 1)], ids=str)
def test_sparse_input_takes_every_size_that_dense_input_takes(shape, hidden_layer_sizes, estimator):
    """Also sizes above the number of samples that are left after the hold-out."""
    X = np.random.RandomState(0).normal(size=shape)
    n = min(shape)
    for k in {max(1, n - 3), n, None}:
        model = estimator(k, hidden_layer_sizes=hidden_layer_sizes, max_iter=1, random_state=0)
        dense, ours = (clone(model).fit(form(X)) for form in (np.asarray, sparse.csr_array))
        assert ours.n_components_ == dense.n_components_ == (k or n)
        np.testing.assert_allclose(ours.reconstruction_error(X), dense.reconstruction_error(X), atol=1e-4)


def test_sparse_input_equals_dense(labelled):
    X = labelled[0].copy()
    X[X < 0.3] = 0
    # The initial PCAs come from different solvers, but start from the same point up to rounding.
    start = {"max_iter": 1, "learning_rate_init": 1e-12}
    dense, csr = quick(4, **start).fit(X), quick(4, **start).fit(sparse.csr_array(X))
    np.testing.assert_allclose(csr.transform(sparse.csc_array(X)), dense.transform(X), atol=1e-4)
    np.testing.assert_allclose(csr.loss_curve_, dense.loss_curve_, rtol=1e-4)
    # Methods of one fitted model give the same for both formats.
    for method in (dense.transform, dense.score_samples, dense.reconstruction_error):
        np.testing.assert_allclose(method(sparse.csr_array(X[:9])), method(X[:9]), rtol=1e-10)


def test_memory_mapped_input_equals_an_array(tmp_path, fitted, labelled):
    X = np.memmap(tmp_path / "X.dat", dtype=np.float64, mode="w+", shape=labelled[0].shape)
    X[:] = labelled[0]
    read_only = np.memmap(tmp_path / "X.dat", dtype=np.float64, mode="r", shape=X.shape)
    model = clone(fitted).fit(read_only)
    np.testing.assert_allclose(model.transform(read_only), fitted.transform(labelled[0]), atol=1e-3)


OF_EVERY_MODEL = ["loss_curve_", "validation_loss_curve_"]
OF_VAES = [
    "reconstruction_loss_curve_",
    "validation_reconstruction_loss_curve_",
    "divergence_curve_",
    "validation_divergence_curve_",
]


@pytest.mark.parametrize(
    ("kind", "name"),
    [(AutoencoderTransformer, name) for name in OF_EVERY_MODEL]
    + [(VAETransformer, name) for name in OF_EVERY_MODEL + OF_VAES],
)
def test_an_unfitted_model_has_no_curves_and_says_so(kind, name):
    assert not hasattr(kind(), name)
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        getattr(kind(), name)
