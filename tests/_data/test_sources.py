"""Out-of-core data: sources, shuffled batches, and fits that never hold all samples."""

import numpy as np
import pandas as pd
import pytest
import torch
from out_of_core import FORMS, Chunks, NumberedDataset, quick, thirds
from sklearn.decomposition import PCA
from skorch.callbacks import Callback
from torch import Generator
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from sklearn_ae import AutoencoderTransformer, VAETransformer
from sklearn_ae._data.sources import (
    ArraySource,
    ChunkSource,
    DataSummary,
    LoaderSource,
    StreamedWorkingSamples,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def error(model, X):
    return model.reconstruction_error(X).mean()


def array_source(X):
    return ArraySource(X, DataSummary.of([X]))


def chunk_source(X):
    def chunks():
        return iter(np.array_split(X, 7))

    return ChunkSource(chunks, DataSummary.of(chunks()))


def loader_source(X):
    loader = DataLoader(X, 40, shuffle=True, generator=Generator().manual_seed(0))
    return LoaderSource(loader, np.asarray, DataSummary.of([X]))


SOURCES = {"array": array_source, "chunks": chunk_source, "loader": loader_source}


# -- summary ------------------------------------------------------------------------------


def test_summary_has_size_dtype_and_ranges_of_all_chunks():
    X = np.random.RandomState(0).normal(size=(50, 4))
    summary = DataSummary.of([X[:20].astype(np.float32), X[20:21], X[21:]])
    assert summary.n_samples == 50
    assert summary.dtype == np.float64
    np.testing.assert_allclose(summary.low, X.min(0), rtol=1e-6)
    np.testing.assert_allclose(summary.high, X.max(0), rtol=1e-6)


@pytest.mark.parametrize("chunks", [[], [np.zeros((1, 3))]], ids=["none", "one sample"])
def test_summary_needs_two_samples(chunks):
    with pytest.raises(ValueError, match=f"Found {len(chunks)} sample.*iterated again"):
        DataSummary.of(chunks)


# -- sources ------------------------------------------------------------------------------


def in_any_order(X):
    return X[np.lexsort(X.T)]


@pytest.mark.parametrize("kind", SOURCES)
def test_held_out_samples_are_those_left_out(kind, low_limits):
    X = np.random.RandomState(0).normal(size=(300, 5))
    source = SOURCES[kind](X)
    train, valid = source.hold_out(40, np.random.RandomState(1))
    assert train.shape == (260, 5)
    assert valid.shape == (40, 5)
    for read in (train.chunks(), train.blocks(25), train.shuffled_chunks(Generator().manual_seed(0))):
        rest = np.concatenate(list(read))
        np.testing.assert_array_equal(in_any_order(np.vstack([rest, valid.array])), in_any_order(X))
    assert all(block.size <= 25 for block in train.blocks(25))
    assert len(train.head(10)) == 10
    for low, high in (train.feature_range(), (train.min(axis=0), train.max(axis=0))):
        np.testing.assert_array_equal(low, X.min(0))
        np.testing.assert_array_equal(high, X.max(0))
    assert (train.min(), train.max()) == (X.min(), X.max())


@pytest.mark.parametrize("kind", SOURCES)
def test_samples_are_addressed_among_the_kept_ones(kind, low_limits):
    X = np.random.RandomState(0).normal(size=(300, 5))
    held_out = np.array([0, 17, 18, 299])
    source = SOURCES[kind](X).without(held_out)
    assert source.n_places == 296
    rest = np.delete(X, held_out, axis=0)
    positions = np.array([0, 15, 16, 17, 200, 295])
    np.testing.assert_array_equal(source[positions], rest[positions])
    np.testing.assert_array_equal(source[:9], rest[:9])
    np.testing.assert_array_equal(source[:], rest)


# -- batches ------------------------------------------------------------------------------


def batches(source, size, seed=0):
    d = source.shape[1]
    samples = StreamedWorkingSamples(source, np.full(d, 3.0), 2.0, torch.device("cpu"))
    found = samples.batches(size, Generator().manual_seed(seed))
    parts = [batch.numpy() for batch in found]
    assert [len(part) for part in parts] == found.sizes
    return parts


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("size", [7, 64, 5000])
def test_batches_hold_every_kept_sample_once_in_random_order(dtype, on_disk, size, mapped, low_limits):
    X = np.arange(251, dtype=dtype)[:, None] + np.zeros((1, 3), dtype)
    held_out = np.array([0, 17, 18, 250])
    source = array_source(mapped(X) if on_disk else X).without(held_out)
    assert source.in_memory != on_disk
    parts = batches(source, size)
    sizes = [len(part) for part in parts]
    assert len(parts) == -(-247 // size)
    assert max(sizes) - min(sizes) <= 1
    values = np.concatenate(parts)[:, 0]
    np.testing.assert_array_equal(np.sort(2 * values + 3), np.delete(X[:, 0], held_out))
    if size < 200:
        assert abs(np.corrcoef(np.arange(247), values)[0, 1]) < 0.4
        assert not np.array_equal(values, np.concatenate(batches(source, size, seed=1))[:, 0])


def test_float32_samples_far_from_zero_keep_their_precision(low_limits):
    X = (1e4 + np.random.RandomState(0).normal(size=(400, 3))).astype(np.float32)
    offset = X.mean(0, dtype=float)
    samples = StreamedWorkingSamples(array_source(X), offset, 1.0, torch.device("cpu"))
    ours = np.concatenate([batch.numpy() for batch in samples.batches(50, Generator().manual_seed(0))])
    np.testing.assert_allclose(np.sort(ours[:, 0]), np.sort(X[:, 0].astype(float) - offset[0]), atol=1e-6)


def test_an_epoch_with_fewer_samples_than_expected_loses_none(low_limits):
    """A loader may draw fewer samples in a later epoch."""

    class Shrinking(LoaderSource):
        def chunks(self):
            return iter([X[:90]])

    X = np.random.RandomState(0).normal(size=(100, 3))
    source = Shrinking(DataLoader(X, 40), np.asarray, DataSummary.of([X]))
    samples = StreamedWorkingSamples(source, np.zeros(3), 1.0, torch.device("cpu"))
    found = np.concatenate([batch.numpy() for batch in samples.batches(32)])
    np.testing.assert_array_equal(in_any_order(found), in_any_order(X[:90].astype(np.float32)))


# -- fit ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def in_memory(digits_split):
    """Transformers fitted to all samples in memory."""
    kinds = (AutoencoderTransformer, VAETransformer)
    return {kind: quick(4, kind, max_iter=10).fit(digits_split[0]) for kind in kinds}


# One form per kind of source, and both models.
PAIRS = [
    ("array", AutoencoderTransformer),
    ("array", VAETransformer),
    ("mapped", VAETransformer),
    ("mapped bytes", AutoencoderTransformer),
    ("chunks", AutoencoderTransformer),
    ("tuples", VAETransformer),
    ("dataset", VAETransformer),
    ("loader", AutoencoderTransformer),
]


@pytest.mark.slow
@pytest.mark.parametrize(("form", "kind"), PAIRS)
def test_out_of_core_fit_is_as_good_as_in_memory(form, kind, digits_split, in_memory, mapped, low_limits):
    train, test = digits_split
    plain = in_memory[kind]
    ours = quick(4, kind, max_iter=10).fit(FORMS[form](train, mapped))
    assert ours.uses_network_
    assert ours.n_samples_ == len(train)
    assert ours.n_features_in_ == train.shape[1]
    assert len(ours.loss_curve_) == len(ours.validation_loss_curve_) == ours.n_iter_
    assert ours.best_iter_ > 0
    assert error(ours, test) < 1.1 * error(plain, test)
    assert ours.score(test[:50]) == pytest.approx(plain.score(test[:50]), abs=4)
    assert ours.noise_variance_ == pytest.approx(plain.noise_variance_, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_every_form_can_be_fitted_and_is_reproducible(form, digits, mapped, low_limits):
    X = digits[:600]
    kind = (AutoencoderTransformer, VAETransformer)[list(FORMS).index(form) % 2]
    ours, again = (quick(4, kind, max_iter=2).fit(FORMS[form](X, mapped)) for _ in range(2))
    assert ours.n_samples_ == 600
    np.testing.assert_allclose(ours.mean_, X.mean(0), atol=0.5)  # of the training samples
    assert again.loss_curve_ == ours.loss_curve_
    np.testing.assert_array_equal(again.transform(X[:50]), ours.transform(X[:50]))


@pytest.mark.parametrize("form", ["array", "mapped", "chunks", "loader"])
def test_without_a_gain_the_model_is_pca_of_all_samples(form, mapped, low_limits):
    X = np.random.RandomState(0).normal(size=(700, 5)) * [5, 4, 1, 1, 1]
    model = quick(2, max_iter=2).fit(FORMS[form](X, mapped))
    assert not model.uses_network_
    np.testing.assert_allclose(model.mean_, X.mean(0), atol=1e-6)
    np.testing.assert_allclose(model.explained_variance_, PCA(2).fit(X).explained_variance_)


@pytest.mark.parametrize(
    "params", [{"early_stopping": False}, {"whiten": True}, {"corruption": "salt_and_pepper"}], ids=str
)
def test_noise_variance_and_whitening_fit_the_codes(params, digits, low_limits):
    model = quick(3, **params).fit(thirds(digits))
    Z = model.transform(digits)
    if model.whiten:
        np.testing.assert_allclose(np.cov(Z.T), np.eye(3), atol=1e-6)  # statistics are of all samples
    X_hat = model.inverse_transform(Z)
    squares = np.square(digits - X_hat).sum(1)
    np.testing.assert_allclose(squares, model.reconstruction_error(digits), rtol=1e-6)
    expected = squares.mean() / (digits.shape[1] - 3)
    assert model.noise_variance_ == pytest.approx(expected, rel=0.1)
    if not model.early_stopping:
        assert model.noise_variance_ == pytest.approx(expected, rel=1e-5)
        assert model.validation_loss_curve_ == []


@pytest.mark.slow
@pytest.mark.parametrize("params", [{"early_stopping": False}, {}], ids=str)
def test_a_mixture_prior_is_fitted_out_of_core(params, digits, low_limits, monkeypatch):
    X = digits[:600]
    ours = quick(2, VAETransformer, prior="mixture", **params).fit(thirds(X))
    monkeypatch.undo()
    plain = quick(2, VAETransformer, prior="mixture", **params).fit(X)
    assert ours.score(X[:50]) == pytest.approx(plain.score(X[:50]), abs=5)


def test_a_small_iterable_is_fitted_in_memory(curve):
    """The result is the same as that of the array."""
    ours, plain = quick(1).fit(thirds(curve)), quick(1).fit(curve)
    np.testing.assert_array_equal(ours.transform(curve), plain.transform(curve))
    assert ours.loss_curve_ == plain.loss_curve_


@pytest.mark.parametrize("shuffle", [False, True])
def test_held_out_items_of_a_loader_are_never_trained_on(shuffle, low_limits):
    class RecordTraining(Callback):
        def on_train_begin(self, net, **kwargs):
            data.read.clear()

        def on_train_end(self, net, **kwargs):
            self.times_ = np.bincount(data.read, minlength=300)

    data, record = NumberedDataset(np.random.RandomState(0).normal(size=(300, 5))), RecordTraining()
    quick(2, max_iter=3, callbacks=[record]).fit(DataLoader(data, 32, shuffle=shuffle))
    assert np.bincount(record.times_).tolist() == [30, 0, 0, 270]  # three epochs


def test_a_loader_may_draw_some_samples_repeatedly(digits, low_limits):
    weights = np.where(np.arange(len(digits)) < 900, 1.0, 0.0)
    sampler = WeightedRandomSampler(weights, 1200)
    model = quick(3).fit(DataLoader(TensorDataset(torch.from_numpy(digits)), 64, sampler=sampler))
    assert model.n_samples_ == 1200
    np.testing.assert_allclose(model.mean_, digits[:900].mean(0), atol=0.6)


def test_workers_and_collate_functions_are_kept(digits, low_limits):
    def halved(items):
        return torch.stack([torch.from_numpy(x) / 2 for x, _ in items])

    loader = DataLoader(NumberedDataset(digits[:400]), 100, collate_fn=halved, num_workers=1)
    model = quick(3, max_iter=1).fit(loader)
    np.testing.assert_allclose(model.mean_, digits[:400].mean(0) / 2, atol=0.3)


def test_validation_samples_may_come_in_chunks(digits_split, low_limits):
    train, test = digits_split
    ours, plain = (quick(3, max_iter=3).fit(thirds(train), X_val=X_val) for X_val in (thirds(test), test))
    assert ours.validation_loss_curve_ == plain.validation_loss_curve_
    assert ours.n_samples_ == len(train)


def test_out_of_core_fit_leaves_the_global_state_unchanged(digits, low_limits, unchanged_globals):
    X = digits[:300]
    quick(2, max_iter=1).fit(DataLoader(TensorDataset(torch.from_numpy(X)), 50, shuffle=True))
    quick(2, max_iter=1, random_state=None).fit(NumberedDataset(X))


def test_an_interrupted_out_of_core_fit_keeps_the_model_so_far(digits, low_limits):
    class Interrupt(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                press_ctrl_c()

    def press_ctrl_c():
        raise KeyboardInterrupt

    model = quick(3, callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt, match="holds the best model so far"):
        model.fit(thirds(digits))
    assert model.n_iter_ == 2
    assert np.isfinite(model.transform(digits)).all()


def test_chunks_that_can_be_iterated_only_once_raise_an_error(digits):
    used = iter(np.array_split(digits, 3))
    hidden = Chunks()
    hidden.__class__ = type("Hidden", (Chunks,), {"__iter__": lambda self: used})
    with pytest.raises(ValueError, match=r"first pass, but 0|iterated again"):
        quick(2).fit(hidden)


def test_feature_names_come_from_the_first_chunk(digits):
    frame = pd.DataFrame(digits[:, 10:14]).add_prefix("pixel")
    model = quick(2, max_iter=2).fit(Chunks(frame[:900], frame[900:], frame[:0]))
    assert list(model.feature_names_in_) == ["pixel0", "pixel1", "pixel2", "pixel3"]
    with pytest.raises(ValueError, match="feature names"):
        quick(2).fit(Chunks(frame[:900], frame[900:].rename(columns={"pixel0": "other"})))


# -- other methods on memory maps -----------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("kind", [AutoencoderTransformer, VAETransformer])
def test_methods_read_memory_maps_in_blocks(dtype, kind, digits, mapped, low_limits):
    X = digits[:400].astype(dtype)
    model = quick(3, kind, max_iter=2).fit(X)
    names = ["transform", "reconstruction_error", "score_samples", "score"]
    for name in [*names, "elbo", "kl_divergence"] if kind is VAETransformer else names:
        part = slice(60) if name.startswith("score") else slice(None)
        ours, plain = (getattr(model, name)(form[part]) for form in (mapped(X), X))
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-5)
        assert np.asarray(ours).dtype == np.asarray(plain).dtype
    codes = model.transform(X)
    np.testing.assert_allclose(model.inverse_transform(mapped(codes)), model.inverse_transform(codes))


def test_a_memory_map_with_other_features_raises_an_error(digits, mapped, low_limits):
    model = quick(2, max_iter=1).fit(digits[:300])
    with pytest.raises(ValueError, match="features"):
        model.transform(mapped(digits[:, :9]))
