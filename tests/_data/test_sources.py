"""Rows that are read in passes: large arrays, memory maps, datasets, loaders and chunks; partial_fit."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.decomposition import PCA, IncrementalPCA
from sklearn.exceptions import ConvergenceWarning
from torch import Generator
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, VAETransformer
from sklearn_ae._data.batches import StreamedSamples
from sklearn_ae._data.sources import ArraySource, DataSummary
from sklearn_ae._model.pca import streamed_pca
from sklearn_ae._model.statistics import CodeMoments

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def quick(k=2, kind=AutoencoderTransformer, **params):
    params = {"hidden_layer_sizes": (32,), "max_iter": 6, "random_state": 0, **params}
    return kind(k, **params)


@pytest.fixture
def few_are_many(monkeypatch):
    """Whatever has more than 1,000 entries is read in passes, 900 entries at a time, in buffers of 3,000."""
    for module in ("_data.sources", "_estimators.validation", "_fitting.pipeline"):
        monkeypatch.setattr(f"sklearn_ae.{module}.LARGE", 1_000)
    for module in ("_data.sources", "_data.batches"):
        monkeypatch.setattr(f"sklearn_ae.{module}.SHUFFLE_VALUES", 3_000)
    monkeypatch.setattr("sklearn_ae._data.sources.BLOCK_VALUES", 900)
    monkeypatch.setattr("sklearn_ae._data.sources._RUN", 90)


@pytest.fixture
def mapped(tmp_path):
    """Write rows into a file and map it."""

    def write(X):
        np.save(tmp_path / "rows.npy", X)
        return np.load(tmp_path / "rows.npy", mmap_mode="r")

    return write


class Chunks:
    """Chunks that can be iterated again."""

    def __init__(self, *chunks):
        self.chunks = chunks

    def __iter__(self):
        return iter(self.chunks)


class Numbered(Dataset):
    """Rows that remember in which order they were asked for."""

    def __init__(self, X):
        self.X = X
        self.asked = []

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        self.asked.append(int(i))
        return self.X[i], i


def thirds(X):
    return Chunks(*np.array_split(X, 3))


def error(model, X):
    return model.reconstruction_error(X).mean()


# -- the anchor in a pass ---------------------------------------------------------------


def source_of(X, held_out=None):
    return ArraySource(X, DataSummary.of([X]), held_out)


@pytest.mark.parametrize("k", [3, 0.9])
@pytest.mark.parametrize("far", [0.0, 1e6])
def test_pca_in_a_pass_is_pca(k, far, digits, few_are_many):
    X = digits + far
    ours, exact = streamed_pca(source_of(X), k, 0), PCA(k, svd_solver="full").fit(X)
    assert ours.n_components_ == exact.n_components_
    for name in ("mean_", "components_", "explained_variance_", "explained_variance_ratio_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(exact, name), rtol=1e-6, atol=1e-6)
    for name in ("singular_values_", "noise_variance_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(exact, name), rtol=1e-6)
    np.testing.assert_allclose(ours.transform(X[:9]), exact.transform(X[:9]), atol=1e-4)


def test_pca_of_too_many_columns_for_a_covariance_matrix(digits, few_are_many, monkeypatch):
    monkeypatch.setattr("sklearn_ae._model.pca._COVARIANCE_MAX", 10)
    ours, exact = streamed_pca(source_of(digits), 5, 0), PCA(5, svd_solver="full").fit(digits)
    np.testing.assert_allclose(ours.explained_variance_, exact.explained_variance_, rtol=1e-6)
    np.testing.assert_allclose(ours.noise_variance_, exact.noise_variance_, rtol=1e-6)
    np.testing.assert_allclose(np.abs((ours.components_ * exact.components_).sum(1)), 1, atol=1e-4)
    with pytest.raises(ValueError, match="integer"):
        streamed_pca(source_of(digits), 0.9, 0)


def test_moments_in_parts_are_those_of_all(monkeypatch):
    Z = torch.from_numpy(np.random.RandomState(0).normal(size=(5000, 3)) @ np.diag([1, 2, 3]) + 5)
    whole = CodeMoments.of(Z.numpy())
    monkeypatch.setattr("sklearn_ae._model.statistics._MAX_CODES", 1_000)
    parts = CodeMoments.of_parts(Z.split(130))
    np.testing.assert_allclose(parts.mean, whole.mean)
    np.testing.assert_allclose(parts.root, whole.root, atol=1e-12)
    places = np.flatnonzero((Z.numpy()[:, None] == parts.landmarks).all(2).any(1))
    assert len(parts.landmarks) == len(whole.landmarks) == len(places)
    assert abs(places.mean() - 2500) < 250  # from everywhere


# -- batches ----------------------------------------------------------------------------


def batches(source, size, seed=0):
    d = source.shape[1]
    rows = StreamedSamples(source, np.full(d, 3.0), 2.0, torch.device("cpu"))
    return [batch.numpy() for batch in rows.batches(size, Generator().manual_seed(seed))]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("size", [7, 64, 5000])
def test_batches_have_every_kept_row_once_in_random_order(dtype, on_disk, size, mapped, few_are_many):
    X = np.arange(251, dtype=dtype)[:, None] + np.zeros((1, 3), dtype)
    held_out = np.array([0, 17, 18, 250])
    source = source_of(mapped(X) if on_disk else X, held_out)
    parts = batches(source, size)
    sizes = [len(part) for part in parts]
    assert len(parts) == -(-247 // size)
    assert max(sizes) - min(sizes) <= 1
    values = np.concatenate(parts)[:, 0]
    np.testing.assert_array_equal(np.sort(2 * values + 3), np.delete(X[:, 0], held_out))
    if size < 200:
        assert abs(np.corrcoef(np.arange(247), values)[0, 1]) < 0.4
        assert not np.array_equal(values, np.concatenate(batches(source, size, seed=1))[:, 0])


def test_float32_rows_far_from_zero_lose_nothing(few_are_many):
    X = (1e4 + np.random.RandomState(0).normal(size=(400, 3))).astype(np.float32)
    offset = X.mean(0, dtype=float)
    rows = StreamedSamples(source_of(X), offset, 1.0, torch.device("cpu"))
    ours = np.concatenate([batch.numpy() for batch in rows.batches(50, Generator().manual_seed(0))])
    np.testing.assert_allclose(np.sort(ours[:, 0]), np.sort(X[:, 0] - offset[0]), atol=1e-6)


# -- fit --------------------------------------------------------------------------------

FORMS = {
    "array": lambda X, mapped: X,
    "float32 array": lambda X, mapped: X.astype(np.float32),
    "mapped": lambda X, mapped: mapped(X),
    "mapped bytes": lambda X, mapped: mapped(X.astype(np.uint8)),
    "chunks": lambda X, mapped: thirds(X),
    "tuples": lambda X, mapped: Chunks(*((c, np.arange(len(c))) for c in np.array_split(X, 5))),
    "sparse chunks": lambda X, mapped: Chunks(*(sparse.csr_array(c) for c in np.array_split(X, 5))),
    "function": lambda X, mapped: lambda: (torch.from_numpy(c) for c in np.array_split(X, 9)),
    "dataset": lambda X, mapped: Numbered(X),
    "loader": lambda X, mapped: DataLoader(TensorDataset(torch.from_numpy(X)), 50, shuffle=True),
    "loader of chunks": lambda X, mapped: DataLoader(np.array_split(X, 9), batch_size=None),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [AutoencoderTransformer, VAETransformer])
def test_fit_in_passes_is_as_good_as_in_memory(form, kind, digits_split, mapped, few_are_many, monkeypatch):
    train, test = digits_split
    ours, again = (quick(4, kind, max_iter=10).fit(FORMS[form](train, mapped)) for _ in range(2))
    monkeypatch.undo()
    plain = quick(4, kind, max_iter=10).fit(train)
    assert ours.uses_network_
    assert ours.n_samples_ == len(train)
    assert ours.n_features_in_ == train.shape[1]
    assert len(ours.loss_curve_) == len(ours.validation_loss_curve_) == ours.n_iter_
    assert ours.best_iter_ > 0
    assert error(ours, test) < 1.1 * error(plain, test)
    assert ours.score(test[:50]) == pytest.approx(plain.score(test[:50]), abs=4)
    assert ours.noise_variance_ == pytest.approx(plain.noise_variance_, rel=0.15)
    assert again.loss_curve_ == ours.loss_curve_


@pytest.mark.parametrize("form", ["array", "mapped", "chunks", "loader"])
def test_without_gain_the_model_is_pca_of_all_rows(form, mapped, few_are_many):
    X = np.random.RandomState(0).normal(size=(700, 5)) * [5, 4, 1, 1, 1]
    model = quick(2, max_iter=2).fit(FORMS[form](X, mapped))
    assert not model.uses_network_
    np.testing.assert_allclose(model.mean_, X.mean(0), atol=1e-6)
    np.testing.assert_allclose(model.explained_variance_, PCA(2).fit(X).explained_variance_)


@pytest.mark.parametrize(
    "params", [{"early_stopping": False}, {"whiten": True}, {"corruption": "salt_and_pepper"}]
)
def test_what_fit_says_of_the_codes_is_right(params, digits, few_are_many):
    model = quick(3, **params).fit(thirds(digits))
    Z = model.transform(digits)
    if model.whiten:
        np.testing.assert_allclose(np.cov(Z.T), np.eye(3), atol=0.1)
    X_hat = model.inverse_transform(Z)
    squares = np.square(digits - X_hat).sum(1)
    np.testing.assert_allclose(squares, model.reconstruction_error(digits), rtol=1e-6)
    wanted = squares.mean() / (digits.shape[1] - 3)
    assert model.noise_variance_ == pytest.approx(wanted, rel=0.1)
    if not model.early_stopping:
        assert model.noise_variance_ == pytest.approx(wanted, rel=1e-5)
        assert model.validation_loss_curve_ == []


@pytest.mark.parametrize("params", [{"early_stopping": False}, {}])
def test_a_mixture_prior_is_fitted_to_rows_in_passes(params, digits, few_are_many):
    model = quick(2, VAETransformer, prior="mixture", **params).fit(thirds(digits))
    plain = quick(2, VAETransformer, prior="mixture", **params).fit(digits)
    assert model.score(digits[:50]) == pytest.approx(plain.score(digits[:50]), abs=5)


def test_few_rows_of_an_iterable_are_fitted_in_memory(curve):
    """And the result is the same as that of the array."""
    ours, plain = quick(1).fit(thirds(curve)), quick(1).fit(curve)
    np.testing.assert_array_equal(ours.transform(curve), plain.transform(curve))
    assert ours.loss_curve_ == plain.loss_curve_


@pytest.mark.parametrize("shuffle", [False, True])
def test_held_out_items_of_a_loader_are_never_trained_on(shuffle, few_are_many):
    data = Numbered(np.random.RandomState(0).normal(size=(300, 5)))
    quick(2, max_iter=3).fit(DataLoader(data, 32, shuffle=shuffle))
    times = np.bincount(data.asked, minlength=300)
    held_out = times == times.min()  # drawn once, where others are read by the anchor and in three epochs
    assert held_out.sum() == 30
    assert set(times[~held_out] - times.min()) == {3}


def test_a_loader_may_draw_rows_as_it_likes(digits, few_are_many):
    weights = np.where(np.arange(len(digits)) < 900, 1.0, 0.0)
    sampler = WeightedRandomSampler(weights, 1200)
    model = quick(3).fit(DataLoader(TensorDataset(torch.from_numpy(digits)), 64, sampler=sampler))
    assert model.n_samples_ == 1200
    np.testing.assert_allclose(model.mean_, digits[:900].mean(0), atol=0.6)


def test_workers_and_collate_functions_are_kept(digits, few_are_many):
    def halved(items):
        return torch.stack([torch.from_numpy(x) / 2 for x, _ in items])

    loader = DataLoader(Numbered(digits), 100, collate_fn=halved, num_workers=1)
    model = quick(3, max_iter=1).fit(loader)
    np.testing.assert_allclose(model.mean_, digits.mean(0) / 2, atol=0.2)


def test_iterable_datasets_give_rows(digits, few_are_many):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(digits)

    for X in (Stream(), DataLoader(Stream(), 30)):
        assert quick(3, max_iter=2).fit(X).n_samples_ == len(digits)


def test_names_of_columns_come_from_chunks(digits):
    frame = pd.DataFrame(digits[:, 10:14]).add_prefix("pixel")
    model = quick(2, max_iter=2).fit(Chunks(frame[:900], frame[900:], frame[:0]))
    assert list(model.feature_names_in_) == ["pixel0", "pixel1", "pixel2", "pixel3"]
    with pytest.raises(ValueError, match="feature names"):
        quick(2).fit(Chunks(frame[:900], frame[900:].rename(columns={"pixel0": "other"})))


def test_validation_rows_may_come_in_chunks(digits_split, few_are_many):
    train, test = digits_split
    ours, plain = (quick(3).fit(thirds(train), X_val=X_val) for X_val in (thirds(test), test))
    assert ours.validation_loss_curve_ == plain.validation_loss_curve_
    assert ours.n_samples_ == len(train)


def test_fit_in_passes_leaves_the_global_state_alone(digits, few_are_many, unchanged_globals):
    quick(2, max_iter=1).fit(DataLoader(TensorDataset(torch.from_numpy(digits)), 50, shuffle=True))
    quick(2, max_iter=1, random_state=None).fit(Numbered(digits))


# -- refusals ---------------------------------------------------------------------------


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
)
def test_bad_streams_are_refused_before_training(X, message, few_are_many, monkeypatch):
    def train(self, previous):
        raise AssertionError("trained")

    monkeypatch.setattr("sklearn_ae._fitting.pipeline.Fit._train", train)
    model = quick(2)
    with pytest.raises(ValueError, match=message):
        model.fit(X)
    assert not hasattr(model, "module_")


class Named(Dataset):
    """Items with names, as many data sets have."""

    def __len__(self):
        return 30

    def __getitem__(self, index):
        return {"pixels": torch.zeros(4)}


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (Named(), TypeError, "items of X are of type dict.*collate_fn"),
        (TensorDataset(torch.zeros(20, 1, 4, 4)), ValueError, r"shape \(20, 1, 4, 4\).*flatten"),
        (lambda: 5, TypeError, "X is a function that gives a int.*iterable of chunks"),
    ],
    ids=["dicts", "images", "no iterable"],
)
def test_streams_of_what_is_no_rows_say_what_to_give(X, error, message):
    with pytest.raises(error, match=message):
        quick(2).fit(X)


def test_chunks_that_are_used_up_are_refused(digits):
    used = iter(np.array_split(digits, 3))
    hidden = Chunks()
    hidden.__class__ = type("Hidden", (Chunks,), {"__iter__": lambda self: used})
    with pytest.raises(ValueError, match=r"first pass and 0|iterated again"):
        quick(2).fit(hidden)


def test_lists_stay_arrays(curve):
    ours, plain = (quick(1, max_iter=2).fit(X) for X in (curve.tolist(), curve))
    np.testing.assert_array_equal(ours.transform(curve), plain.transform(curve))


@pytest.mark.parametrize("method", ["transform", "reconstruction_error", "score_samples", "partial_fit"])
def test_other_methods_say_that_they_take_rows(method, curve):
    model = quick(1, max_iter=1).fit(curve)
    with pytest.raises(TypeError, match="one chunk at a time"):
        getattr(model, method)(thirds(curve))


def test_the_detector_refuses_streams(curve):
    with pytest.raises(TypeError, match="only fit of AutoencoderTransformer"):
        AEOutlierDetector().fit(thirds(curve))


# -- the other methods on mapped files --------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_methods_read_mapped_files_in_blocks(dtype, digits, mapped, few_are_many):
    X = digits.astype(dtype)
    for kind in (AutoencoderTransformer, VAETransformer):
        model = quick(3, kind, max_iter=2).fit(X)
        names = ["transform", "reconstruction_error", "score_samples", "score"]
        for name in [*names, "elbo", "kl_divergence"] if kind is VAETransformer else names:
            rows = slice(100) if name.startswith("score") else slice(None)
            ours, plain = (getattr(model, name)(form[rows]) for form in (mapped(X), X))
            np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-5)
            assert np.asarray(ours).dtype == np.asarray(plain).dtype
        codes = model.transform(X)
        np.testing.assert_allclose(model.inverse_transform(mapped(codes)), model.inverse_transform(codes))


def test_a_mapped_file_of_another_width_is_refused(digits, mapped, few_are_many):
    model = quick(2, max_iter=1).fit(digits)
    with pytest.raises(ValueError, match="features"):
        model.transform(mapped(digits[:, :9]))


# -- partial_fit ------------------------------------------------------------------------


def in_chunks(model, X, n_chunks, epochs):
    for _ in range(epochs):
        for chunk in np.array_split(X, n_chunks):
            model.partial_fit(chunk)
    return model


@pytest.mark.parametrize("n_chunks", [2, 20])
def test_chunks_are_as_good_as_all_rows_at_once(n_chunks, digits_split):
    train, test = digits_split
    epochs = 15
    chunked = in_chunks(quick(8), train, n_chunks, epochs)
    assert error(chunked, test) < 1.05 * error(quick(8, max_iter=epochs).fit(train), test)


def test_mean_scale_and_anchor_are_those_of_all_chunks(digits):
    X = digits[np.argsort(digits.sum(1))]  # the first chunk is unlike the others
    model = in_chunks(quick(6), X, 20, 1)
    np.testing.assert_allclose(model.mean_, X.mean(0), atol=1e-10)
    assert model.scale_ == pytest.approx(np.sqrt(X.var(0, ddof=1).mean()), rel=1e-3)
    ipca = IncrementalPCA(6)
    for chunk in np.array_split(X, 20):
        ipca.partial_fit(chunk)
    np.testing.assert_allclose(model.pca_.components_, ipca.components_, atol=1e-7)
    assert model.n_samples_ == len(X)


def test_extremes_of_all_chunks_are_remembered(digits):
    model = in_chunks(quick(2, corruption="salt_and_pepper"), digits, 7, 1)
    module = model.net_.module_
    for name, wanted in (("zero", np.zeros(64)), ("low", digits.min(0)), ("high", digits.max(0))):
        found = model.mean_ + model.scale_ * getattr(module, name).numpy()
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_small_chunks_leave_a_usable_whitening_and_noise(digits):
    model = in_chunks(quick(4, whiten=True), digits, 120, 1)  # fifteen rows each
    np.testing.assert_allclose(np.cov(model.transform(digits).T), np.eye(4), atol=0.35)
    wanted = error(model, digits) / 60
    assert model.noise_variance_ == pytest.approx(wanted, rel=0.2)


@pytest.mark.parametrize("kind", [AutoencoderTransformer, VAETransformer])
def test_pickling_and_transforming_in_between_change_nothing(kind, digits):
    straight = in_chunks(quick(3, kind), digits, 4, 3)
    other = quick(3, kind)
    for _ in range(3):
        for chunk in np.array_split(digits, 4):
            other.partial_fit(chunk)
            other.transform(chunk)
            other = pickle.loads(pickle.dumps(other))
    np.testing.assert_array_equal(other.transform(digits), straight.transform(digits))
    assert other.loss_curve_ == straight.loss_curve_
    assert not hasattr(clone(other), "module_")


def test_chosen_size_is_kept_by_further_chunks(digits):
    model = quick(0.7, bottleneck="ordered").fit(digits)
    k = model.n_components_
    model.partial_fit(digits[:500])
    assert model.transform(digits).shape == (len(digits), k)
    assert len(model.explained_variance_ratio_) == k


def test_the_first_chunk_needs_enough_rows(digits):
    with pytest.raises(ValueError, match="n_components=30"):
        quick(30).partial_fit(digits[:20])
    quick(30).partial_fit(digits[:30]).partial_fit(digits[30:31])


def test_partial_fit_with_names_of_columns(digits):
    frame = pd.DataFrame(digits[:, 10:14]).add_prefix("pixel")
    model = quick(2).partial_fit(frame[:900]).partial_fit(frame[900:])
    assert list(model.feature_names_in_) == list(frame.columns)


def test_interrupted_passes_keep_what_there_is(digits, few_are_many):
    from skorch.callbacks import Callback

    class Stop(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                raise KeyboardInterrupt

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with pytest.warns(ConvergenceWarning, match="interrupted"):
            model = quick(3, callbacks=[Stop()]).fit(thirds(digits))
    assert model.n_iter_ == 2
    assert np.isfinite(model.transform(digits)).all()
