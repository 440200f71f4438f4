"""Streams that ``fit`` takes in the place of X: datasets, loaders, iterables of chunks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, SequentialSampler

from sklearn_ae._data.sources import N_ITEMS, Check, ChunkSource, DataSummary, LoaderSource, Source


def is_stream(X: Any) -> bool:
    """Whether X gives rows in chunks: a dataset, a loader, an iterable or a function that makes one.

    What has a length and can be indexed, or can be turned into an array or a data frame, is an
    array-like as everywhere in scikit-learn; so lists and tuples are.
    """
    if isinstance(X, (Dataset, DataLoader)):
        return True
    table = any(hasattr(X, name) for name in ("__array__", "__dataframe__", "shape", "__getitem__"))
    return not table and (hasattr(X, "__iter__") or (callable(X) and not inspect.isclass(X)))


def open_stream(X: Any, check: Check) -> Source:
    """DataSummary a stream.

    Parameters
    ----------
    X : Dataset, DataLoader, iterable or callable
    check : callable
        Turns a chunk into validated rows.
    """
    if isinstance(X, Dataset) and not isinstance(X, IterableDataset):
        X = DataLoader(X, N_ITEMS, shuffle=True)
    elif isinstance(X, IterableDataset):
        X = DataLoader(X, N_ITEMS)
    if isinstance(X, DataLoader) and not isinstance(X.dataset, IterableDataset):
        if X.batch_sampler is not None:
            return LoaderSource(X, check, DataSummary.of(map(check, X)))
        if not isinstance(X.sampler, SequentialSampler):
            raise ValueError(
                "A DataLoader whose items are whole chunks (batch_size=None) is split by the places of the "
                "rows, so it must read the chunks in the same order each time: set shuffle=False."
            )
    passes = _passes(X, check)
    return ChunkSource(passes, DataSummary.of(passes()))


def _passes(X: Any, check: Check) -> Callable[[], Iterator[np.ndarray]]:
    """What begins a pass over validated chunks; those without rows are left out."""
    if hasattr(X, "__next__"):
        raise ValueError(
            f"X is a {type(X).__name__}, which can be iterated only once, but fit reads all chunks once an "
            "epoch. ForwardOutput the function that makes it (fit(chunks) in the place of fit(chunks())) or an "
            "object that can be iterated again, or call partial_fit with each chunk."
        )
    return lambda: (check(chunk) for chunk in _begun(X) if _length(chunk))


def _begun(X: Any) -> Iterable[Any]:
    """The chunks of an iterable, or of the one that a function makes."""
    if hasattr(X, "__iter__"):
        return X
    chunks = X()
    if not hasattr(chunks, "__iter__"):
        raise TypeError(
            f"X is a function that gives a {type(chunks).__name__}; give it no arguments and let it return "
            "an iterable of chunks (arrays, data frames, tensors), or yield them."
        )
    return chunks


def _length(chunk: Any) -> int:
    rows = rows_of(chunk)
    shape = getattr(rows, "shape", None)
    return shape[0] if shape else 1  # what has no shape is refused by the check


def rows_of(chunk: Any) -> Any:
    """The rows of a chunk: itself, or the first entry of what a dataset with targets gives."""
    if isinstance(chunk, (tuple, list)) and len(chunk):
        chunk = chunk[0]
    if isinstance(chunk, Mapping):
        raise TypeError(
            f"The items of X are of type {type(chunk).__name__}; let the dataset (or the loader's "
            "collate_fn) give rows, or tuples that begin with the rows."
        )
    if len(getattr(chunk, "shape", ())) > 2:
        raise ValueError(
            f"A chunk of X has shape {tuple(chunk.shape)}, but rows are flat: give chunks of shape "
            "(n_rows, n_features), for example by a transform that calls torch.flatten."
        )
    return chunk.detach().cpu().numpy() if isinstance(chunk, Tensor) else chunk
