"""Checks of parameters against each other and against X, before any work."""

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


N_DRAWS = 128  # of a score's importance samples


def validate_rows(
    estimator: Any, X: Any, reset: bool = False, name: str = "X", least: int | None = None
) -> Any:
    """Validate X (or what stands beside it) as scikit-learn does; float32 and float64 stay as they are."""
    if is_stream(X):
        raise TypeError(
            f"{name} is a {type(X).__name__}, but only fit of AutoencoderTransformer and VAETransformer "
            "takes datasets, loaders and iterables of chunks; call this with the rows of one chunk at a time."
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
                f"{name} has columns that are not numeric: {', '.join(map(repr, text))}. Encode them first, "
                "for example by OneHotEncoder in make_column_transformer."
            ) from error
        if name == "X":
            raise
        raise ValueError(f"{name} is not like X: {error}") from error


def validate_large(estimator: Any, X: Any, reset: bool = False) -> Any:
    """As :func:`validate_rows`; a large mapped file becomes a :class:`Source` that is read in passes."""
    if isinstance(X, np.memmap) and X.ndim == 2 and X.size > LARGE:
        check = _chunk_check(estimator, reset)
        return ArraySource(X, DataSummary.of(map(check, sample_blocks(X))))
    return validate_rows(estimator, X, reset)


def validate_training(estimator: Any, X: Any) -> Any:
    """Rows that ``fit`` is given: in memory, or a :class:`Source` where they are many or come in chunks."""
    if is_stream(X):
        return _kept_if_few(open_stream(X, _chunk_check(estimator, reset=True)))
    X = validate_large(estimator, X, reset=True)
    if isinstance(X, np.ndarray) and X.size > LARGE and X.shape[0] >= X.shape[1]:
        return ArraySource(X, DataSummary.of([X]))
    return X


def validate_held_out(estimator: Any, X: Any) -> Any:
    """Rows that ``fit`` is given for validation, in memory."""
    if is_stream(X):
        source = open_stream(X, _chunk_check(estimator, reset=False))
        return np.concatenate(list(source.chunks())).astype(source.dtype, copy=False)
    return validate_rows(estimator, X, name="X_val")


def _kept_if_few(source: Source) -> Any:
    """The rows of an iterable in memory, if they are not many; a dataset may change them in each pass."""
    if isinstance(source, ChunkSource) and source.shape[0] * source.shape[1] <= LARGE:
        return source[:]
    return source


def _chunk_check(estimator: Any, reset: bool) -> Any:
    """What turns chunks into validated rows; the first one decides the columns."""
    first = [reset]

    def check(chunk: Any) -> np.ndarray:
        rows = validate_rows(estimator, rows_of(chunk), first.pop() if first else False, least=1)
        return dense(rows)

    return check


def _text_columns(X: Any) -> list[Any]:
    """Names of a data frame's columns that cannot be read as numbers."""
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
