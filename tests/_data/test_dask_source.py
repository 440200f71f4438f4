"""Dask arrays and data frames: validation and moments by reductions, fits that hold a few blocks."""

import subprocess
import sys
import threading
import weakref

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from out_of_core import quick
from scipy import sparse
from sklearn.decomposition import PCA

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer
from sklearn_ae._data.dask_source import DaskSource, map_samples, open_dask
from sklearn_ae._estimators.validation import validate_training

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:X does not have valid feature names"),
]


@pytest.fixture
def X():
    rng = np.random.RandomState(0)
    return rng.normal(size=(500, 6)) @ rng.normal(size=(6, 12)) + 3 + 0.1 * rng.normal(size=(500, 12))


def frame(X):
    return pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])])


def parquet(X, folder):
    for i, part in enumerate(np.array_split(X, 6)):
        frame(part).to_parquet(folder / f"{i}.parquet")
    return dd.read_parquet(folder)


def with_empty_partition(X, folder):
    parts = (frame(X[:200]), frame(X[:0]), frame(X[200:]))
    return dd.from_map(pd.DataFrame, parts)


# Functions of samples and of an empty folder
FORMS = {
    "array": lambda X, folder: da.from_array(X, chunks=(70, 12)),
    "split features": lambda X, folder: da.from_array(X, chunks=(130, 5)),
    "unknown lengths": lambda X, folder: da.from_array(X, chunks=(130, 12))[da.from_array(X[:, 0]) > -np.inf],
    "one block": lambda X, folder: da.from_array(X, chunks=-1),
    "sparse blocks": lambda X, folder: da.from_array(X, chunks=(99, 12)).map_blocks(sparse.csr_array),
    "frame": lambda X, folder: dd.from_pandas(frame(X), npartitions=7),
    "empty partitions": with_empty_partition,
    "parquet": parquet,
}


@pytest.fixture(params=FORMS)
def form(request, X, tmp_path):
    return FORMS[request.param](X, tmp_path)


# -- sources --------------------------------------------------------------------------------


def test_a_source_has_all_samples_and_their_summary(form, X, low_limits, unperturbed):
    source = validate_training(AutoencoderTransformer(), form)
    assert isinstance(source, DaskSource)
    assert source.shape == X.shape
    assert source.dtype == np.float64
    np.testing.assert_array_equal(np.concatenate(list(source.chunks())), X)
    np.testing.assert_array_equal(source.feature_range(), [X.min(axis=0), X.max(axis=0)])
    train = source.without(np.array([3, 250, 499]))
    np.testing.assert_array_equal(train[:], np.delete(X, [3, 250, 499], axis=0))
    np.testing.assert_array_equal(train.head(2), X[:2])
    assert all(isinstance(block, np.ndarray) for block in train.blocks())


def test_small_data_are_the_same_in_memory(form, X, unperturbed):
    ours, plain = quick(3).fit(form), quick(3).fit(X)
    np.testing.assert_array_equal(ours.transform(X), plain.transform(X))


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8, bool])
def test_dtypes_are_those_of_scikit_learn(dtype, X, low_limits):
    X = X > 3 if dtype is bool else X.astype(dtype)
    model = quick(3, hidden_layer_sizes=()).fit(da.from_array(X, chunks=(90, 12)))
    assert model.transform(X).dtype == quick(3).fit(X).transform(X).dtype
    pca = PCA(3).fit(X.astype(float))
    np.testing.assert_allclose(model.components_, pca.components_, atol=1e-4 if dtype == np.float32 else 1e-6)


def test_integers_stay_integers_until_they_are_used(low_limits):
    images = np.arange(4000, dtype=np.uint8).reshape(100, 40)
    source = open_dask(
        da.from_array(images, chunks=(30, 40)), lambda samples: np.asarray(samples, dtype=float)
    )
    assert {chunk.dtype for chunk in source.chunks()} == {np.dtype(np.uint8)}
    assert source[:5].dtype == source.dtype == np.float64


def test_small_blocks_are_computed_together(monkeypatch):
    monkeypatch.setattr("sklearn_ae._data.dask_source._TOGETHER", 200)
    source = open_dask(da.ones((100, 4), chunks=((10,) * 5 + (50,), 4)), np.asarray)
    assert [group.tolist() for group in source._groups(range(6))] == [[0, 1, 2, 3, 4], [5]]
    assert [group.tolist() for group in source._groups([5, 3, 0, 1])] == [[5], [3, 0, 1]]


# -- fits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_features", [12, 4], ids=["covariance", "subspace iteration"])
def test_linear_models_equal_pca(form, X, low_limits, monkeypatch, n_features):
    monkeypatch.setattr("sklearn_ae._model.pca._COVARIANCE_MAX", n_features)
    model = quick(3, hidden_layer_sizes=()).fit(form)
    pca = PCA(3).fit(X)
    for name in ("mean_", "components_", "explained_variance_ratio_", "noise_variance_"):
        np.testing.assert_allclose(getattr(model, name), getattr(pca, name), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(model.score_samples(X), pca.score_samples(X), rtol=1e-6)
    assert model.n_samples_ == 500


@pytest.mark.parametrize("kind", [AutoencoderTransformer, VAETransformer])
def test_quality_is_that_of_arrays(kind, digits_split, low_limits):
    train, held_out = digits_split
    params = {"kind": kind, "max_iter": 20, "hidden_layer_sizes": (64,)}
    lazy = quick(8, **params).fit(da.from_array(train, chunks=(250, 64)))
    plain = quick(8, **params).fit(train)
    assert lazy.uses_network_
    errors = [model.reconstruction_error(held_out).mean() for model in (lazy, plain)]
    assert errors[0] < 1.05 * errors[1]


@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
def test_fits_are_reproducible_with_every_scheduler(scheduler, X, low_limits, unchanged_globals):
    forms = [FORMS["array"](X, None) for _ in range(2)]
    with dask.config.set(scheduler=scheduler, num_workers=3):
        model = quick(3).fit(forms[0])
    np.testing.assert_array_equal(model.transform(X), quick(3).fit(forms[1]).transform(X))


def test_names_of_frames_are_kept(X, low_limits):
    model = quick(3).fit(FORMS["frame"](X, None))
    assert model.feature_names_in_.tolist() == [f"x{j}" for j in range(12)]


def test_a_held_out_set_may_be_lazy(X, low_limits):
    lazy = da.from_array(X, chunks=(100, 12))
    ours, plain = (quick(3).fit(lazy[:400], X_val=X_val) for X_val in (lazy[400:], X[400:]))
    np.testing.assert_array_equal(ours.transform(X), plain.transform(X))


def test_methods_that_need_all_samples_compute_them(X):
    lazy = FORMS["frame"](X, None)
    for model, method in (
        (quick(2), "partial_fit"),
        (AEOutlierDetector(n_estimators=1, random_state=0), "fit"),
        (AutoencoderTransformerCV([1, 2], cv=2, hidden_layer_sizes=()), "fit"),
    ):
        getattr(model, method)(lazy)
        expected = getattr(quick(2) if method == "partial_fit" else model, method)(frame(X))
        assert model.feature_names_in_.tolist() == list(lazy.columns)
        np.testing.assert_allclose(model.transform(frame(X)), expected.transform(frame(X)))


def test_y_is_not_computed(X):
    def refused(block):
        raise AssertionError("computed")

    y = da.from_array(X, chunks=(50, 12)).map_blocks(refused, dtype=float, meta=np.empty((0, 12)))
    quick(2, hidden_layer_sizes=()).fit(X, y)
    quick(2, hidden_layer_sizes=()).fit(da.from_array(X), y)


# -- refusals -------------------------------------------------------------------------------


def with_value(X, value):
    X[321, 7] = value
    return X


def lazy(X):
    return (
        da.from_array(X, chunks=(50, 12)) if isinstance(X, np.ndarray) else dd.from_pandas(X, npartitions=5)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda X: da.from_array(with_value(X, np.nan), chunks=(50, 12)),
            r"contains NaN in feature 7\. Fill",
        ),
        (lambda X: da.from_array(with_value(X, np.inf), chunks=(50, 12)), "contains infinity in feature 7"),
        (
            lambda X: dd.from_pandas(frame(with_value(X, np.nan)), npartitions=5),
            "contains NaN in feature 'x7'",
        ),
        (
            lambda X: dd.from_pandas(frame(X).assign(x3="a"), npartitions=2),
            "not numeric: 'x3'.*OneHotEncoder",
        ),
        (
            lambda X: dd.from_pandas(frame(X).assign(t=pd.Timestamp("2020-01-01")), npartitions=2),
            "dates or times in feature 't'",
        ),
        (lambda X: da.from_array(X[:, 0], chunks=50), "Expected 2D array"),
        (lambda X: lazy(frame(X))["x1"], "Expected (a )?2.?[Dd]"),
        (lambda X: da.zeros((9, 1, 8, 8)), "samples must be flat"),
        (lambda X: da.from_array(X[:1]), r"Found 1 sample"),
        (lambda X: da.ones((5, 4), chunks=2)[:, da.ones(4, chunks=2) > 0], "unknown number of features"),
    ],
    ids=["nan", "inf", "nan in frame", "text", "dates", "vector", "series", "images", "one sample", "width"],
)
def test_bad_data_are_refused_before_training(change, message, X, monkeypatch):
    monkeypatch.setattr("sklearn_ae._fitting.pipeline.train", None)
    model = quick(2)
    with pytest.raises(ValueError, match=message):
        model.fit(change(X))
    assert not hasattr(model, "module_")


def test_what_the_dtypes_tell_is_refused_without_computing():
    def refused(part):
        raise AssertionError("computed")

    lazy = dd.from_pandas(pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}), npartitions=1)
    with pytest.raises(ValueError, match="not numeric: 'b'"):
        quick(1).fit(lazy.map_partitions(refused, meta=lazy._meta))


# -- memory ---------------------------------------------------------------------------------


class Blocks:
    """Blocks that are created when they are computed, and counted while they exist."""

    def __init__(self, n_blocks, shape):
        self.shape = shape
        self.n_alive = self.n_most = 0
        self.lock = threading.Lock()
        chunks = ((shape[0],) * n_blocks, shape[1])
        lazy = da.zeros((n_blocks * shape[0], shape[1]), chunks=chunks)
        self.array = map_samples(lazy, self.create, empty=np.empty((0, shape[1])))

    def create(self, block, block_info=None):
        rng = np.random.RandomState(block_info[0]["chunk-location"][0])
        created = rng.normal(size=self.shape) @ np.diag(1.0 + np.arange(self.shape[1]))
        with self.lock:
            self.n_alive += 1
            self.n_most = max(self.n_most, self.n_alive)
        weakref.finalize(created, self.forget)
        return created

    def forget(self):
        with self.lock:
            self.n_alive -= 1


def test_a_fit_holds_a_few_blocks_at_a_time(low_limits, monkeypatch):
    monkeypatch.setattr("sklearn_ae._data.dask_source._TOGETHER", 1)
    blocks = Blocks(40, (50, 8))
    with dask.config.set(scheduler="threads", num_workers=2):
        model = quick(2, max_iter=3).fit(blocks.array)
        model.score(blocks.array)
    assert model.n_samples_ == 2000
    assert 1 <= blocks.n_most <= 8


MEMORY = """
import tracemalloc
import dask.array as da
from sklearn_ae import AutoencoderTransformer

X = da.random.RandomState(0).normal(size=(100_000, 1_000), chunks=(2_500, 1_000)).astype("float32")
tracemalloc.start()
model = AutoencoderTransformer(2, hidden_layer_sizes=(8,), max_iter=1, random_state=0).fit(X)
print(X.nbytes, tracemalloc.get_traced_memory()[1])
"""


@pytest.mark.slow
def test_a_fit_of_large_data_needs_memory_for_a_part_of_it():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    n_bytes, peak = map(int, done.stdout.split())
    assert n_bytes == 400_000_000
    assert peak < 0.6 * n_bytes  # the shuffle buffer has 64 MB, and validation samples 33 MB
