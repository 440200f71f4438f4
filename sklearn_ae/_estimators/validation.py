"""Validation of data, and of parameters against each other and the data, before training."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import validate_data

from sklearn_ae._data.sources import LARGE, ArraySource, ChunkSource, DataSummary, Source
from sklearn_ae._data.streams import is_stream, open_stream, rows_of
from sklearn_ae._model.spec import ModelSpec
from sklearn_ae._utils.arrays import dense, sample_blocks
from sklearn_ae._utils.compat import Interval, Options, RealNotInt, StrOptions
from sklearn_ae.networks import ACTIVATIONS

PARAMETER_CONSTRAINTS: dict[str, list[Any]] = {
    "n_components": [
        Interval(Integral, 1, None, closed="left"),
        Interval(RealNotInt, 0, 1, closed="neither"),
        StrOptions({"mle"}),
        None,
    ],
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [StrOptions(set(ACTIVATIONS))],
    "init": [StrOptions({"pca", "random"})],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "tied_weights": ["boolean"],
    "whiten": ["boolean"],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "max_iter": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
    "tol": [Interval(Real, 0, None, closed="left")],
    "warm_start": ["boolean"],
    "random_state": ["random_state"],
    "device": [str],
    "precision": [StrOptions({"auto", "float32", "bfloat16"})],
    "callbacks": [list, tuple, None],
    "verbose": ["verbose"],
}


# Default number of importance samples of scores.
N_DRAWS = 128


def validate_rows(
    estimator: Any, X: Any, reset: bool = False, name: str = "X", least: int | None = None
) -> Any:
    """Validate X or X_val with scikit-learn's ``validate_data``; float32 and float64 are preserved."""
    if is_stream(X):
        raise TypeError(
            f"{name} is a {type(X).__name__}, but only fit of AutoencoderTransformer and VAETransformer "
            "accepts datasets, data loaders and iterables of chunks; pass the samples of one chunk at a time."
        )
    try:
        return validate_data(
            estimator,
            X,
            reset=reset,
            dtype=[np.float64, np.float32],
            accept_sparse=("csr", "csc"),
            ensure_min_samples=least or (2 if reset else 1),
        )
    except ValueError as error:
        text = _text_columns(X)
        if text:
            raise ValueError(
                f"{name} has features that are not numeric: {', '.join(map(repr, text))}. Encode them first, "
                "for example with OneHotEncoder in make_column_transformer."
            ) from error
        if name == "X":
            raise
        raise ValueError(f"{name} does not match X: {error}") from error


def validate_large(estimator: Any, X: Any, reset: bool = False) -> Any:
    """Validate X like :func:`validate_rows`, but return large memory-mapped arrays as a :class:`Source`."""
    if isinstance(X, np.memmap) and X.ndim == 2 and X.size > LARGE:
        check = _chunk_check(estimator, reset)
        return ArraySource(X, DataSummary.of(map(check, sample_blocks(X))))
    return validate_rows(estimator, X, reset)


def validate_training(estimator: Any, X: Any) -> Any:
    """Return validated training samples: an array, or a :class:`Source` if X is large or a stream."""
    if is_stream(X):
        return _kept_if_few(open_stream(X, _chunk_check(estimator, reset=True)))
    X = validate_large(estimator, X, reset=True)
    if isinstance(X, np.ndarray) and X.size > LARGE and X.shape[0] >= X.shape[1]:
        return ArraySource(X, DataSummary.of([X]))
    return X


def validate_held_out(estimator: Any, X: Any) -> Any:
    """Return validated validation samples, in memory."""
    if is_stream(X):
        source = open_stream(X, _chunk_check(estimator, reset=False))
        return np.concatenate(list(source.chunks())).astype(source.dtype, copy=False)
    return validate_rows(estimator, X, name="X_val")


def _kept_if_few(source: Source) -> Any:
    """Load iterables of chunks into memory if they are small.

    Datasets are excluded, because they may return other samples in every epoch
    (data augmentation).
    """
    if isinstance(source, ChunkSource) and source.shape[0] * source.shape[1] <= LARGE:
        return source[:]
    return source


def _chunk_check(estimator: Any, reset: bool) -> Any:
    """Return a function that validates chunks; with ``reset``, the first one sets the features."""
    first = [reset]

    def check(chunk: Any) -> np.ndarray:
        rows = validate_rows(estimator, rows_of(chunk), first.pop() if first else False, least=1)
        return dense(rows)

    return check


def _text_columns(X: Any) -> list[Any]:
    """Return the names of the columns of a data frame that cannot be converted to numbers."""
    return [name for name in getattr(X, "columns", ()) if not _numeric(X[name])]


def _numeric(column: Any) -> bool:
    try:
        np.asarray(column, dtype=float)
    except (TypeError, ValueError):
        return False
    return True


def check_slots(params: Any, X: Any) -> ModelSpec:
    """Resolve the slots and refuse what cannot work."""
    slots = params._resolve_slots()
    slots.network.check(X.shape[1], params.tied_weights)
    slots.loss.check(X)
    return slots


def check_n_components(params: Any, X: Any, slots: ModelSpec) -> int | float:
    """The size of the code, or the share of variance that is to decide it."""
    n, d = X.shape
    k = params.n_components
    if k == "mle":
        raise ValueError(
            "n_components='mle' is not defined for autoencoders; give the share of variance to "
            "explain (n_components=0.95), or choose the size by cross-validation."
        )
    if k is None:
        return min(n, d) - (1 if sparse.issparse(X) else 0)
    if isinstance(k, Real) and k < 1:
        if not slots.bottleneck.ordered and slots.hidden_layer_sizes:
            raise ValueError(
                f"n_components={k} picks the number of components by the variance they explain, which "
                "needs ordered codes; set bottleneck='ordered', or give an integer."
            )
        return float(k)
    if k > min(n, d) and not slots.limited:
        raise ValueError(
            f"n_components={k} must be between 1 and min(n_samples, n_features)={min(n, d)} "
            f"(n_samples={n}, n_features={d}). An overcomplete code needs something that limits it, "
            "such as penalty='l1', bottleneck='topk' or a corruption."
        )
    return int(k)
