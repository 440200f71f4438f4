"""Validation of data and parameters, before any work."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
import sklearn.utils
import torch
from sklearn.utils.validation import validate_data
from torch.utils.data import DataLoader, Dataset

from sklearn_ae._data.dask_source import open_dask
from sklearn_ae._data.in_memory import ArraySamples, PairedSamples
from sklearn_ae._data.shards import own_samples, shared, summary_of_all
from sklearn_ae._data.sources import LARGE, ArraySource, DataSummary, LoaderSource, Source
from sklearn_ae._data.streams import open_stream, samples_of
from sklearn_ae._estimators.data_errors import reason_for, reason_for_codes, refuse_times
from sklearn_ae._model.initialization import ModelSpec
from sklearn_ae._model.pca import mle_components
from sklearn_ae._utils.arrays import check_array, dense, sample_blocks
from sklearn_ae._utils.compat import Interval, InvalidParameterError, Options, RealNotInt, StrOptions
from sklearn_ae._utils.missing import has_missing
from sklearn_ae._utils.namespaces import as_numpy, is_dispatched, without_gradient
from sklearn_ae._utils.ranks import RANKS
from sklearn_ae._utils.runtime import MAX_SEED, forked_global_rng, kept_filters, main_memory
from sklearn_ae._utils.warnings import warn_user
from sklearn_ae.networks import ACTIVATIONS, Conv, Shape

PARAMETER_CONSTRAINTS: dict[str, Any] = {
    "n_components": [
        Interval(Integral, 0, None, closed="left"),
        Interval(RealNotInt, 0, 1, closed="neither"),
        StrOptions({"mle"}),
        None,
    ],
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [StrOptions(set(ACTIVATIONS))],
    "network": "no_validation",  # as all slots: resolve validates them
    "init": [StrOptions({"pca", "random"})],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "tied_weights": ["boolean"],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "max_iter": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
    "tol": [Interval(Real, 0, None, closed="left")],
    "warm_start": ["boolean"],
    "random_state": ["random_state"],
    "device": [str, torch.device],
    "precision": [StrOptions({"auto", "float32", "bfloat16"})],
    "missing": [StrOptions({"error", "mask"})],
    "callbacks": [list, tuple, None],
    "verbose": ["verbose"],
}


def masks_missing(estimator: Any) -> bool:
    """Return whether ``fit`` of an estimator leaves missing values out."""
    return getattr(estimator, "missing", "error") == "mask"


def model_masks_missing(estimator: Any) -> bool:
    """Return whether the fitted model leaves missing values out; the parameter may have changed since."""
    spec = getattr(estimator, "_spec", None)
    return masks_missing(estimator) if spec is None else spec.masks_missing


N_DRAWS = 128  # default number of importance samples per sample


def is_dask(X: Any) -> bool:
    """Return whether X is a dask array, data frame or series, without importing dask."""
    return type(X).__module__.startswith(("dask.array.", "dask.dataframe."))


def is_stream(X: Any) -> bool:
    """Return whether X is a dataset (of PyTorch or pyarrow), a loader, an iterable of chunks or its function.

    Objects that can be indexed or converted to an array or data frame, such as lists
    and tuples, are array-likes as everywhere in scikit-learn.
    """
    if isinstance(X, (Dataset, DataLoader)):
        return True
    table = any(hasattr(X, name) for name in ("__array__", "__dataframe__", "shape", "__getitem__"))
    is_iterable = hasattr(X, "__iter__") or hasattr(X, "get_fragments")
    return not table and (is_iterable or (callable(X) and not inspect.isclass(X)))


@contextlib.contextmanager
def reproducible_streams(X: Any, rng: np.random.RandomState) -> Iterator[None]:
    """Seed torch's global generator, from which loaders draw, while a stream is read."""
    streams = is_stream(X)
    seed = int(rng.randint(MAX_SEED)) if streams else 0
    with forked_global_rng(streams, seed, torch.device("cpu")):
        yield


def array_like(X: Any) -> Any:
    """Return NumPy's array for one of another library and a table for a record batch; X otherwise.

    Tensors stay tensors with ``array_api_dispatch=True``. A table has the names of the features. Methods that
    need all samples in memory compute those of dask, as scikit-learn's do.
    """
    if isinstance(X, np.ndarray):
        return X
    if is_dask(X):
        return X.compute()
    if type(X).__name__ == "RecordBatch" and hasattr(X, "schema"):
        import pyarrow

        return pyarrow.Table.from_batches([X])
    return without_gradient(X) if is_kept(X) else as_numpy(X)


def _dtypes(X: Any) -> list[Any]:
    """Return the data types that are kept; others are converted to the first."""
    return [torch.float64, torch.float32] if is_kept(X) else [np.float64, np.float32]


def is_kept(X: Any) -> bool:
    """Return whether X is a tensor that computations follow."""
    return isinstance(X, torch.Tensor) and is_dispatched(X)


def validate_samples(
    estimator: Any,
    X: Any,
    reset: bool = False,
    name: str = "X",
    least: int | None = None,
    allow_nan: bool | None = None,
) -> Any:
    """Return X validated by scikit-learn; float32 and float64 are kept.

    Parameters
    ----------
    estimator : estimator
    X : array-like or sparse matrix
    reset : bool
        Whether X determines the number and names of the features.
    name : str
        Name of X in error messages.
    least : int or None
        Minimum number of samples, None for 2 in ``fit`` and 1 otherwise.
    allow_nan : bool or None
        Whether X may contain NaN; None for what the parameter ``missing`` says, which is that of
        the fitted model unless ``reset``.
    """
    if allow_nan is None:
        allow_nan = masks_missing(estimator) if reset else model_masks_missing(estimator)
    if is_stream(X):
        raise TypeError(
            f"{name} is a {type(X).__name__}, but only fit of AutoencoderTransformer and VAETransformer "
            "accepts datasets, loaders and iterables of chunks; pass the samples of one chunk at a time."
        )
    X = array_like(X)
    if hasattr(type(X), "columns") or getattr(getattr(X, "dtype", None), "kind", None) in ("m", "M"):
        refuse_times(X, name)
    try:
        with kept_filters():
            return validate_data(
                estimator,
                X,
                reset=reset,
                dtype=_dtypes(X),
                accept_sparse=("csr", "csc"),
                ensure_all_finite="allow-nan" if allow_nan else True,
                ensure_min_samples=least or (2 if reset else 1),
            )
    except (TypeError, ValueError) as error:
        reason = reason_for(as_numpy(X), estimator, allow_nan)
        if reason is not None:
            raise ValueError(f"{name} {reason}") from error
        if name == "X":
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name} does not match X: {error}") from error


def validate_codes(Z: Any) -> Any:
    """Return validated latent codes; float32 and float64 are kept."""
    Z = array_like(Z)
    try:
        with kept_filters():
            check = sklearn.utils.check_array if is_kept(Z) else check_array
            return check(Z, dtype=_dtypes(Z), ensure_min_features=0, input_name="X")
    except (TypeError, ValueError) as error:
        reason = reason_for_codes(as_numpy(Z))
        if reason is None:
            raise
        raise ValueError(f"X {reason}") from error


def validate_large(estimator: Any, X: Any, reset: bool = False) -> Any:
    """Return validated samples, or a :class:`Source` for a large memory map."""
    if _is_large_map(X):
        check = _chunk_check(estimator, reset)
        return ArraySource(X, DataSummary.of(map(check, sample_blocks(X))))
    return validate_samples(estimator, X, reset)


def _is_large_map(X: Any) -> bool:
    return isinstance(X, np.memmap) and X.ndim == 2 and X.size > LARGE


def validate_training(estimator: Any, X: Any) -> ArraySamples | Source:
    """Return the data passed to ``fit``: samples in memory, or a :class:`Source` if large or streaming."""
    if is_dask(X):
        data = _in_memory_if_small(open_dask(X, _chunk_check(estimator, reset=True)))
    elif is_stream(X):
        data = _in_memory_if_small(open_stream(X, _chunk_check(estimator, reset=True)))
    elif _is_large_map(X):
        check = _chunk_check(estimator, reset=True)
        data = ArraySource(X, summary_of_all(map(check, sample_blocks(own_samples(X)))))
    else:
        X = validate_samples(estimator, X, reset=True)
        is_large = isinstance(X, np.ndarray) and X.size > LARGE and X.shape[0] >= X.shape[1]
        is_large = is_large and not masks_missing(estimator)
        data = ArraySource(X, DataSummary.of([X])) if is_large else ArraySamples(X)
    if masks_missing(estimator) and isinstance(data, ArraySamples):
        data = _maybe_incomplete(data.X, "X")
    ranks = RANKS.get()
    return data if ranks is None else shared(data, ranks)


def _maybe_incomplete(X: Any, name: str) -> ArraySamples:
    """Return samples in memory, whose missing values are left out."""
    X = dense(X)
    _check_known(X, name)
    return ArraySamples(X, incomplete=has_missing(X))


def _check_known(X: np.ndarray, name: str) -> None:
    if np.isnan(X).all():
        raise ValueError(f"{name} contains NaN only. At least one value must be known.")


def validate_held_out(estimator: Any, X: Any, data: ArraySamples | Source) -> ArraySamples:
    """Return the validation samples passed to ``fit`` beside ``data``, in memory."""
    if is_stream(X):
        source = open_stream(X, _chunk_check(estimator, reset=False, name="X_val"))
        X = np.concatenate(list(source.chunks())).astype(source.dtype, copy=False)
    else:
        X = validate_samples(estimator, X, name="X_val", allow_nan=masks_missing(estimator))
    if masks_missing(estimator):
        return _maybe_incomplete(X, "X_val")
    valid = ArraySamples(X, lazy=isinstance(data, Source) and X.shape[0] * X.shape[1] > LARGE)
    ranks = RANKS.get()
    return valid if ranks is None else shared(valid, ranks, "X_val")


def validate_pairs(estimator: Any, data: ArraySamples | Source, X_clean: Any, X_val: Any) -> PairedSamples:
    """Return the samples passed to ``fit`` together with the clean ones to be reconstructed from them."""
    if X_val is not None:
        raise ValueError(
            "X_val and X_clean cannot be combined: a validation_fraction of the pairs is held out."
        )
    if not isinstance(data, ArraySamples):
        raise ValueError("X_clean needs X as an array or sparse matrix in memory.")
    clean = validate_samples(estimator, X_clean, name="X_clean", allow_nan=masks_missing(estimator))
    if clean.shape[0] != data.shape[0]:
        raise ValueError(
            f"X_clean has {clean.shape[0]} samples, but X has {data.shape[0]}; sample i of X_clean must be "
            "the clean version of sample i of X."
        )
    check_magnitude(data, "X")
    if masks_missing(estimator):
        clean = dense(clean)
        _check_known(clean, "X_clean")
    pairs = PairedSamples(data.X, clean.astype(data.dtype, copy=False))
    ranks = RANKS.get()
    return pairs if ranks is None else shared(pairs, ranks, "X_clean")


def warn_of_pairs(X: Any, y: Any, shape: tuple[int, int]) -> None:
    """Warn if y looks like the clean samples that belong to noisy X, of the given shape."""
    if y is X or is_stream(X) or is_dask(y):
        return
    try:
        y = np.asarray(array_like(y))
    except (TypeError, ValueError):  # y may be anything
        return
    if y.shape == shape and y.dtype.kind == "f":
        warn_user(
            "y has the shape of X, but is ignored: the autoencoder is trained to reconstruct X. To train on "
            "pairs of noisy and clean samples, call fit(X, X_clean=y)."
        )


def _in_memory_if_small(source: Source) -> ArraySamples | Source:
    """Return the samples of small chunks in memory; datasets may change between passes and are kept."""
    if not isinstance(source, LoaderSource) and source.shape[0] * source.shape[1] <= LARGE:
        return ArraySamples(source[:])
    return source


def _chunk_check(estimator: Any, reset: bool, name: str = "X") -> Any:
    """Return a function that validates chunks; the first chunk determines the features if ``reset``."""
    first = [reset]

    def check(chunk: Any) -> np.ndarray:
        is_first = first.pop() if first else False
        allow_nan = masks_missing(estimator)
        return dense(validate_samples(estimator, samples_of(chunk), is_first, name, 1, allow_nan))

    return check


def check_spec(
    spec: ModelSpec,
    data: ArraySamples | Source,
    n_components: Any,
    *,
    names: Any = None,
    previous: Any = None,
    is_fitted: bool = False,
) -> ModelSpec:
    """Return the spec with a number of components, or raise an error if it does not suit the data.

    Chunks may have fewer samples than a model that is already fitted has components. The loss of
    the fitted model ``previous`` may have the units of its features.
    """
    spec.network.check(data.shape[1], spec.tied_weights)
    if spec.loss.needs_samples:
        earlier = None if previous is None else previous.spec.loss
        spec = replace(spec, loss=spec.loss.for_samples(data, names, earlier))
    if spec.loss.scale_ is not None and isinstance(spec.network, Conv):
        raise ValueError(
            f"{spec.network!r} needs the pixels of images, and ByFeature is for features of different kinds: "
            "use network='dense'."
        )
    if spec.masks_missing:
        check_can_mask(spec, data)
    check_values(spec.loss, data)
    k = n_components if is_fitted else check_n_components(n_components, data, spec)
    if k == 0:
        return spec.without_components()
    check_memory(spec, data.shape[1], k)
    return replace(spec, n_components=k)


def check_can_mask(spec: ModelSpec, data: ArraySamples | Source) -> None:
    """Raise an error if missing values cannot be left out of the model."""
    if isinstance(data, Source) or RANKS.get() is not None:
        raise ValueError(
            "missing='mask' needs X as one array in memory, in one process. Fill in missing values first, "
            "and set missing='error'."
        )
    if spec.loss.noise == "full" or getattr(spec.loss, "needs_all_samples", False):
        raise ValueError(
            f"likelihood={spec.loss!r} is a density of all features together, which missing='mask' does not "
            "support; use likelihood='gaussian' or Gaussian(noise='per_column')."
        )


_WIDE = 10_000  # layers up to this width fit into the memory of any machine
_BYTES = 12  # per weight: float64 at the start, and a copy in float32 for training
_N_PROBES = 32  # samples that pass through the networks before training


def check_memory(spec: ModelSpec, n_features: int, n_components: int | float) -> None:
    """Raise an error that names the parameter if the networks need more memory than there is."""
    k = int(n_components) or 1  # a share of the variance is resolved later
    widths = {
        "n_components": k,
        "hidden_layer_sizes": max(spec.hidden_layer_sizes, default=0),
        "channels of Conv": max(getattr(spec.network, "channels", ()), default=0),
    }
    if max(n_features, *widths.values()) <= _WIDE:
        return
    n_weights = spec.network.n_weights(Shape(n_features, k, k), spec.hidden_layer_sizes)
    if spec.init == "pca" and not spec.is_linear:
        n_weights += n_features * k
    n_bytes = _BYTES * n_weights * (1 if spec.tied_weights else 2) + 4 * _N_PROBES * max(widths.values())
    if n_bytes > main_memory():
        raise ValueError(
            f"The networks need at least {n_bytes / 1e9:,.0f} GB of memory, but there are "
            f"{main_memory() / 1e9:,.0f} GB: decrease {max(widths, key=lambda name: widths[name])} "
            f"(n_components={k}, hidden_layer_sizes={spec.hidden_layer_sizes}, n_features={n_features})."
        )


# Values and spreads outside of these have squares that leave the range of the dtype.
_LARGEST = {np.dtype(np.float32): 1e18, np.dtype(np.float64): 1e150}
_SMALLEST = {np.dtype(np.float32): 1e-18, np.dtype(np.float64): 1e-140}


def check_magnitude(data: ArraySamples | Source, name: str) -> None:
    """Raise an error that names the feature if squares of its values would overflow or vanish."""
    dtype = np.dtype(data.dtype)
    low, high = (np.asarray(values, dtype=np.float64) for values in data.feature_range())
    size = np.maximum(-low, high)
    j = int(size.argmax())
    if size[j] > _LARGEST.get(dtype, np.inf):
        value = low[j] if -low[j] > high[j] else high[j]
        raise ValueError(
            f"Feature {j} of {name} reaches {value:.3g}, whose square is too large for {dtype}. Remove such "
            "values, if they are codes for missing ones, or rescale the feature."
        )
    spread = float((high - low).max())
    if 0 < spread < _SMALLEST.get(dtype, 0.0):
        raise ValueError(
            f"The features of {name} vary by {spread:.3g} at most, whose square is too small for {dtype}. "
            "Multiply them by a constant."
        )


def check_values(loss: Any, data: ArraySamples | Source, name: str = "X") -> None:
    """Raise an error that names the data if they are too extreme, or out of the range of the loss."""
    check_magnitude(data, name)
    try:
        loss.check(data.X if isinstance(data, ArraySamples) else data)
    except ValueError as error:
        if name == "X":
            raise
        raise ValueError(f"{name} is out of range: {error}") from error


def check_n_components(n_components: Any, data: ArraySamples | Source, spec: ModelSpec) -> int | float:
    """Return the size of the code, or the share of the variance that determines it."""
    n, d = data.shape
    k = n_components
    if k == "mle" and spec.masks_missing and data.incomplete:  # type: ignore[union-attr]
        raise ValueError(
            "n_components='mle' is defined for complete samples; pass an integer, or a share of the variance."
        )
    if k == "mle":
        if not spec.is_optimal_at_start:
            raise InvalidParameterError(
                "n_components='mle' is defined for linear autoencoders with squared error only; pass an "
                "integer, or choose it by cross-validation with AutoencoderTransformerCV."
            )
        return mle_components(data)
    if k is None:
        return min(n, d)
    if isinstance(k, Real) and k < 1 and k != 0:
        if not spec.bottleneck.ordered and not spec.is_optimal_at_start:
            raise ValueError(
                f"n_components={k} selects the number of components by the variance that they explain, "
                "which needs ordered codes; set bottleneck='ordered', or pass an integer."
            )
        return float(k)
    if k > min(n, d) and not spec.is_limited:
        raise ValueError(
            f"n_components={k} must be between 0 and min(n_samples, n_features)={min(n, d)} "
            f"(n_samples={n}, n_features={d}). An overcomplete code needs something that limits it, "
            "such as penalty='l1', bottleneck='topk' or a corruption."
        )
    return int(k)
