"""Streaming inputs: opening as a source, and refusal of invalid streams before training."""

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pytest
import torch
from out_of_core import FORMS, Chunks, quick, thirds
from scipy import sparse
from sklearn.decomposition import PCA
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from sklearn_ae import AEOutlierDetector
from sklearn_ae._data.sources import ChunkSource, FilesSource, LoaderSource
from sklearn_ae._data.streams import open_stream, samples_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def check(chunk):
    samples = samples_of(chunk)
    return samples.toarray() if sparse.issparse(samples) else np.asarray(samples)


STREAMS = {
    "chunks": ChunkSource,
    "tuples": ChunkSource,
    "sparse chunks": ChunkSource,
    "function": ChunkSource,
    "dataset": LoaderSource,
    "loader": LoaderSource,
    "loader of chunks": ChunkSource,
}


@pytest.mark.parametrize("form", STREAMS)
def test_every_stream_yields_all_samples_in_every_iteration(form):
    X = np.arange(200.0)[:, None] * [1.0, -1.0, 2.0]
    source = open_stream(FORMS[form](X, None), check)
    assert type(source) is STREAMS[form]
    assert source.shape == X.shape
    for _ in range(2):
        found = np.concatenate(list(source.chunks()))
        if type(source) is LoaderSource:  # in random order
            assert not np.array_equal(found, X)
            found = found[np.argsort(found[:, 0])]
        np.testing.assert_array_equal(found, X)
    np.testing.assert_array_equal(source[np.array([3, 150])], X[[3, 150]])


class Stream(IterableDataset):
    """Iterable dataset of single samples."""

    def __init__(self, X):
        self.X = X

    def __iter__(self):
        return iter(self.X)


@pytest.mark.parametrize("form", [Stream, lambda X: DataLoader(Stream(X), 30)], ids=["dataset", "loader"])
def test_iterable_datasets_yield_samples(form, digits, low_limits):
    source = open_stream(form(digits[:300]), check)
    np.testing.assert_array_equal(np.concatenate(list(source.chunks())), digits[:300])
    assert quick(3, max_iter=1).fit(form(digits[:300])).n_samples_ == 300


def test_empty_chunks_are_skipped():
    X = np.arange(12.0).reshape(6, 2)
    source = open_stream(Chunks(X[:0], X[:4], X[:0], X[4:]), check)
    assert [len(chunk) for chunk in source.chunks()] == [4, 2]


@pytest.mark.parametrize("chunk", [[[1.0, 2.0], [3.0, 4.0]], [[1, 2]], [1.0, 2.0]], ids=str)
def test_a_list_of_samples_is_a_chunk(chunk):
    assert samples_of(chunk) is chunk


def test_samples_are_the_first_entry_of_a_pair():
    X = np.eye(3)
    for chunk in (X, (X, np.arange(3)), [X, np.arange(3)]):
        assert samples_of(chunk) is X
    tensor = torch.ones(2, 3, requires_grad=True)
    np.testing.assert_array_equal(samples_of(tensor), np.ones((2, 3)))


# -- refusals -----------------------------------------------------------------------------


def bad_chunk(change):
    X = np.random.RandomState(0).normal(size=(60, 4))
    return Chunks(X, X, change(X.copy()))


def with_nan(X):
    X[7, 2] = np.nan
    return X


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (bad_chunk(with_nan), "NaN"),
        (bad_chunk(lambda X: X[:, :3]), "features"),
        (bad_chunk(lambda X: np.full(X.shape, "a")), "could not convert|not numeric"),
        (bad_chunk(lambda X: X[0]), "2D"),
        (Chunks(), "iterated again"),
        ((c for c in [np.eye(9)]), "only once"),
        (iter([np.eye(9)]), "partial_fit"),
        (DataLoader([np.eye(9)] * 3, batch_size=None, shuffle=True), "shuffle=False"),
    ],
    ids=["nan", "features", "text", "1D", "empty", "generator", "iterator", "shuffled chunks"],
)
def test_bad_streams_raise_an_error_before_training(X, message, low_limits, monkeypatch):
    def train(*args, **kwargs):
        raise AssertionError("trained")

    monkeypatch.setattr("sklearn_ae._fitting.pipeline.train", train)
    model = quick(2)
    with pytest.raises(ValueError, match=message):
        model.fit(X)
    assert not hasattr(model, "module_")


class Named(Dataset):
    """Dataset whose items are dicts."""

    def __len__(self):
        return 30

    def __getitem__(self, index):
        return {"pixels": torch.zeros(4)}


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (Named(), TypeError, "items of X are of type dict.*collate_fn"),
        (TensorDataset(torch.zeros(20, 1, 4, 4)), ValueError, r"shape \(20, 1, 4, 4\).*flatten"),
        (lambda: 5, TypeError, "X is a function that returns a int.*iterable of chunks"),
    ],
    ids=["dicts", "images", "no iterable"],
)
def test_streams_without_samples_raise_an_error_with_the_remedy(X, error, message):
    with pytest.raises(error, match=message):
        quick(2).fit(X)


def test_lists_are_arrays(curve):
    ours, plain = (quick(1, max_iter=2).fit(X) for X in (curve.tolist(), curve))
    np.testing.assert_array_equal(ours.transform(curve), plain.transform(curve))


@pytest.mark.parametrize("method", ["transform", "reconstruction_error", "score_samples", "partial_fit"])
def test_other_methods_refuse_streams(method, curve):
    model = quick(1, max_iter=1).fit(curve)
    with pytest.raises(TypeError, match="one chunk at a time"):
        getattr(model, method)(thirds(curve))


def test_the_detector_refuses_streams(curve):
    with pytest.raises(TypeError, match="only fit of AutoencoderTransformer"):
        AEOutlierDetector().fit(thirds(curve))


# -- files --------------------------------------------------------------------------------


@pytest.fixture
def files(curve, tmp_path):
    """A dataset of four Parquet files with several row groups each."""
    for i, part in enumerate(np.array_split(curve, 4)):
        frame = pd.DataFrame(part, columns=list("abcde"))
        frame.to_parquet(tmp_path / f"{i}.parquet", row_group_size=40, index=False)
    return ds.dataset(tmp_path)


def test_row_groups_are_read_in_random_order_in_training(files, curve):
    source = open_stream(files, check)
    assert isinstance(source, FilesSource)
    np.testing.assert_array_equal(np.concatenate(list(source.chunks())), curve)
    rest = np.delete(curve, [0, 1, 170, 599], axis=0)
    train = source.without(np.array([0, 1, 170, 599]))
    for seed in range(3):
        shuffled = np.concatenate(list(train.shuffled_chunks(torch.Generator().manual_seed(seed))))
        assert not np.array_equal(shuffled, rest)
        np.testing.assert_array_equal(shuffled[np.lexsort(shuffled.T)], rest[np.lexsort(rest.T)])


def test_batches_of_files_are_small(files, monkeypatch):
    monkeypatch.setattr("sklearn_ae._data.streams.BLOCK_VALUES", 100)
    assert max(map(len, open_stream(files, check).chunks())) == 20


@pytest.mark.parametrize("is_filtered", [False, True])
def test_fits_of_files_are_those_of_arrays(files, curve, unperturbed, is_filtered):
    X = files.filter(ds.field("a") > -100) if is_filtered else files
    ours, plain = quick(2).fit(X), quick(2).fit(curve)
    assert ours.feature_names_in_.tolist() == list("abcde")
    frame = pd.DataFrame(curve, columns=list("abcde"))
    np.testing.assert_allclose(ours.transform(frame), plain.transform(curve), rtol=1e-9, atol=1e-12)


def test_large_files_are_not_loaded(files, curve, low_limits):
    model = quick(2, hidden_layer_sizes=()).fit(files)
    pca = PCA(2).fit(curve)
    np.testing.assert_allclose(model.components_, pca.components_, atol=1e-6)
    frame = pd.DataFrame(curve, columns=list("abcde"))
    errors = [quick(2, max_iter=15).fit(X).reconstruction_error(frame).mean() for X in (files, frame)]
    assert errors[0] < 1.1 * errors[1]


def test_text_in_files_is_refused_by_name(tmp_path):
    pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}).to_parquet(tmp_path / "0.parquet")
    with pytest.raises(ValueError, match="not numeric: 'b'"):
        quick(1).fit(ds.dataset(tmp_path))
