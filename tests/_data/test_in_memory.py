"""Samples in memory: splits, blocks and feature ranges, and batches in working units."""

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Generator

from sklearn_ae import AutoencoderTransformer
from sklearn_ae._data.in_memory import ArraySamples, Batches, WorkingSamples

CPU = torch.device("cpu")
FORMS = [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array]
in_every_form = pytest.mark.parametrize("form", FORMS, ids=lambda f: f.__name__)


def grid(n=10, d=3):
    return np.arange(n * d, dtype=float).reshape(n, d)


# -- array samples ------------------------------------------------------------------------


def small_counts(n=40, d=6):
    return np.random.RandomState(0).poisson(0.5, (n, d)).astype(float)


@in_every_form
def test_a_split_is_a_partition(form):
    X = grid(40)
    train, valid = ArraySamples(form(X)).hold_out(9, np.random.RandomState(0))
    assert train.shape == (31, 3)
    assert valid.shape == (9, 3)
    parts = [np.concatenate(list(part.blocks())) for part in (train, valid)]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts), axis=0), X)
    assert not np.array_equal(parts[1], X[:9])


def test_splits_depend_on_the_random_state_only():
    def validation_samples(seed):
        return ArraySamples(grid(40)).hold_out(9, np.random.RandomState(seed))[1].array

    np.testing.assert_array_equal(validation_samples(0), validation_samples(0))
    assert not np.array_equal(validation_samples(0), validation_samples(1))


@in_every_form
@pytest.mark.parametrize("indices", [None, np.array([5, 1, 8, 30])], ids=["all", "some"])
def test_array_samples_hold_the_chosen_samples(form, indices):
    X = small_counts()
    samples = ArraySamples(form(X), indices)
    expected = X if indices is None else X[indices]
    assert samples.shape == expected.shape
    assert samples.n_places == len(expected)
    assert samples.lazy == (form is not np.asarray)
    np.testing.assert_array_equal(samples.head(3), expected[:3])
    np.testing.assert_array_equal(samples.head(1_000), expected)
    for found in (samples.array, samples[np.arange(len(expected))]):
        np.testing.assert_array_equal(found.toarray() if sparse.issparse(found) else found, expected)


@in_every_form
@pytest.mark.parametrize(("n_values", "longest"), [(1, 1), (30, 5), (10_000, 40)])
def test_blocks_are_dense_limited_and_in_order(form, n_values, longest):
    X = small_counts()
    blocks = list(ArraySamples(form(X)).blocks(n_values))
    assert all(type(block) is np.ndarray for block in blocks)
    assert max(map(len, blocks)) == longest
    np.testing.assert_array_equal(np.concatenate(blocks), X)


@in_every_form
def test_feature_ranges_include_held_out_samples(form):
    X = small_counts() - 1
    train, valid = ArraySamples(form(X)).hold_out(20, np.random.RandomState(0))
    for samples in (train, valid):
        low, high = samples.feature_range()
        np.testing.assert_array_equal(low, X.min(0))
        np.testing.assert_array_equal(high, X.max(0))


@pytest.mark.parametrize(
    ("X", "wide"),
    [
        (np.zeros((5, 11)), True),
        (np.zeros((5, 10)), False),
        (np.zeros((2_001, 4_003), dtype=np.float32), False),
        (sparse.csr_array((5, 11)), True),
        (sparse.csr_array((5_000, 600)), False),
        (sparse.csr_array((5_000, 601)), True),
    ],
    ids=["wide", "not wide", "too many samples", "sparse", "sparse, not wide", "sparse, many samples"],
)
def test_wide_arrays_are_recognized(X, wide):
    assert ArraySamples(X).is_wide == wide


# -- working units ------------------------------------------------------------------------


def working(X, lazy=False, indices=None):
    return WorkingSamples(X, indices, grid().mean(0), 2.0, CPU, lazy=lazy)


@in_every_form
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("indices", [None, np.array([5, 1, 8])], ids=["all", "some"])
def test_samples_are_centred_and_scaled(form, lazy, indices):
    X = grid()
    samples = working(form(X), lazy, indices)
    expected = ((X - X.mean(0)) / 2)[slice(None) if indices is None else indices].astype(np.float32)
    assert len(samples) == len(expected)
    assert (samples.tensor is None) == lazy
    np.testing.assert_array_equal(samples[torch.arange(len(expected))], expected)
    np.testing.assert_array_equal(samples[torch.tensor([2, 0])], expected[[2, 0]])


def test_conversion_in_blocks_changes_nothing(monkeypatch):
    whole = working(grid()).tensor
    monkeypatch.setattr("sklearn_ae._data.in_memory._BLOCK_BYTES", 100)
    assert torch.equal(working(grid()).tensor, whole)


def test_samples_far_from_zero_keep_their_precision():
    X = np.random.RandomState(0).normal(size=(50, 4))
    samples = WorkingSamples(1e6 + X, None, 1e6 + X.mean(0), 1.0, CPU)
    np.testing.assert_allclose(samples[torch.arange(50)], X - X.mean(0), atol=1e-6)


# -- batches ------------------------------------------------------------------------------


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(("n", "size"), [(1, 4), (10, 4), (10, 10), (10, 99), (1000, 128), (129, 128)])
@pytest.mark.parametrize("shuffled", [False, True])
def test_batches_hold_every_sample_once_in_nearly_equal_sizes(n, size, lazy, shuffled):
    samples = working(grid(n), lazy)
    batches = samples.batches(size, Generator().manual_seed(0) if shuffled else None)
    for _ in range(2):
        parts = list(batches)
        assert len(parts) == len(batches) == batches.n_batches == -(-n // size)
        sizes = [len(part) for part in parts]
        assert sizes == batches.sizes
        assert max(sizes) <= size
        assert max(sizes) - min(sizes) <= 1
        seen = torch.cat(parts).numpy()
        np.testing.assert_array_equal(np.sort(seen, axis=0), working(grid(n)).tensor)


def test_batches_have_a_new_order_in_every_epoch_and_are_reproducible():
    samples = working(grid(50))

    def orders():
        batches = Batches(samples, 8, Generator().manual_seed(1))
        return [torch.cat(list(batches))[:, 0].tolist() for _ in range(3)]

    assert orders() == orders()
    first, second, third = orders()
    assert first != second != third != sorted(third)
    in_order = list(Batches(samples, 8))
    assert torch.equal(torch.cat(in_order), samples.tensor)


# -- forms of X ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def in_form(tmp_path_factory):
    """Function that returns samples as a memory map or a sparse matrix."""

    def convert(form, X):
        if form is not np.memmap:
            return form(X)
        path = tmp_path_factory.mktemp("mapped") / "X.npy"
        np.save(path, X)
        return np.load(path, mmap_mode="r")

    return convert


@pytest.mark.parametrize("form", [*FORMS[1:], np.memmap], ids=lambda f: f.__name__)
def test_every_form_of_x_gives_the_same_splits_and_batches(form, in_form, digits):
    """Training itself amplifies the low-order bits of the initial PCA, which depend on the form."""
    offset = digits.mean(0)
    splits = [
        ArraySamples(X).hold_out(100, np.random.RandomState(3)) for X in (digits, in_form(form, digits))
    ]
    for dense, other in zip(*splits, strict=True):
        ours, theirs = (
            samples.in_working_units(offset, 2.5, CPU).batches(64, Generator().manual_seed(5))
            for samples in (dense, other)
        )
        assert len(ours) == len(theirs)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("form", [*FORMS[1:], np.memmap], ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=lambda t: t.__name__)
def test_every_form_of_x_gives_the_same_start_and_codes(form, dtype, in_form, digits_split):
    train, test = (X.astype(dtype) for X in digits_split)
    params = {"hidden_layer_sizes": (16,), "max_iter": 2, "batch_size": 10_000, "random_state": 0}
    dense, ours = (
        AutoencoderTransformer(4, early_stopping=False, **params).fit(X)
        for X in (train, in_form(form, train))
    )
    assert ours.uses_network_
    assert ours.loss_curve_[0] == pytest.approx(dense.loss_curve_[0], rel=1e-4)  # before the first step
    np.testing.assert_allclose(ours.mean_, dense.mean_, rtol=1e-5, atol=1e-5)
    Z = ours.transform(test)
    assert Z.dtype == dtype
    atol = (1e-9 if dtype == np.float64 else 1e-4) * np.abs(Z).max()
    np.testing.assert_allclose(ours.transform(in_form(form, test)), Z, atol=atol)
    errors = ours.reconstruction_error(in_form(form, test))
    np.testing.assert_allclose(errors, ours.reconstruction_error(test), rtol=1e-4)
