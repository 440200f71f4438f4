"""Streaming inputs that ``fit`` accepts instead of an array: datasets, loaders, files and chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, SequentialSampler

from sklearn_ae._data.shards import own_loader, summary_of_all
from sklearn_ae._data.sources import (
    N_ITEMS,
    Check,
    ChunkSource,
    DataSummary,
    FilesSource,
    LoaderSource,
    Source,
)
from sklearn_ae._utils.arrays import BLOCK_VALUES


def open_stream(X: Any, check: Check) -> Source:
    """Return a source that reads a stream, after a first pass that validates it.

    Parameters
    ----------
    X : Dataset, DataLoader, pyarrow.dataset.Dataset, iterable or callable
    check : callable
        Turns a chunk into a validated array.
    """
    if hasattr(X, "get_fragments"):
        return _open_files(X, check)
    if isinstance(X, Dataset) and not isinstance(X, IterableDataset):
        X = DataLoader(X, N_ITEMS, shuffle=True)
    elif isinstance(X, IterableDataset):
        X = DataLoader(X, N_ITEMS)
    if isinstance(X, DataLoader) and not isinstance(X.dataset, IterableDataset):
        if X.batch_sampler is not None:
            return LoaderSource(X, check, summary_of_all(map(check, own_loader(X))))
        if not isinstance(X.sampler, SequentialSampler):
            raise ValueError(
                "A DataLoader whose items are whole chunks (batch_size=None) is split by the positions of "
                "the samples, so it must read the chunks in the same order each time: set shuffle=False."
            )
    passes = _passes(X, check)
    return ChunkSource(passes, DataSummary.of(passes()))


def _open_files(X: Any, check: Check) -> Source:
    """Return a source that reads a ``pyarrow.dataset.Dataset`` by row groups, in batches."""
    size = max(1, BLOCK_VALUES // max(1, len(X.schema)))
    try:
        fragments = list(X.get_fragments())
    except ValueError:  # of a filtered dataset, which is read as a whole
        return open_stream(partial(X.to_batches, batch_size=size), check)
    parts = [part for fragment in fragments for part in _row_groups(fragment)]
    files = [_passes(partial(part.to_batches, schema=X.schema, batch_size=size), check) for part in parts]
    lengths = []

    def counted() -> Iterator[np.ndarray]:
        for file in files:
            lengths.append(0)
            for chunk in file():
                lengths[-1] += len(chunk)
                yield chunk

    summary = DataSummary.of(counted())
    return FilesSource(files, lengths, summary)


def _row_groups(fragment: Any) -> list[Any]:
    return fragment.split_by_row_group() if hasattr(fragment, "split_by_row_group") else [fragment]


def _passes(X: Any, check: Check) -> Callable[[], Iterator[np.ndarray]]:
    """Return a function that starts a pass over validated, non-empty chunks."""
    if hasattr(X, "__next__"):
        raise ValueError(
            f"X is a {type(X).__name__}, which can be iterated only once, but fit reads all chunks once per "
            "epoch. Pass the function that creates it (fit(chunks) instead of fit(chunks())) or an object "
            "that can be iterated again, or call partial_fit with each chunk."
        )
    return lambda: (check(chunk) for chunk in _iterable(X) if _length(chunk))


def _iterable(X: Any) -> Iterable[Any]:
    """Return an iterable over the chunks of X, which may be a function that creates it."""
    if hasattr(X, "__iter__"):
        return X
    chunks = X()
    if not hasattr(chunks, "__iter__"):
        raise TypeError(
            f"X is a function that returns a {type(chunks).__name__}; it must take no arguments and return "
            "an iterable of chunks (arrays, data frames, tensors), or yield them."
        )
    return chunks


def _length(chunk: Any) -> int:
    shape = getattr(samples_of(chunk), "shape", None)
    return shape[0] if shape else 1  # the check refuses chunks without a shape


def samples_of(chunk: Any) -> Any:
    """Return the samples of a chunk: itself, or the first entry of a (samples, targets) pair.

    A list may be either; its first entry is a sample if it is a number or a list of numbers.
    """
    if isinstance(chunk, (tuple, list)) and len(chunk) and not _is_table(chunk):
        chunk = chunk[0]
    if isinstance(chunk, Mapping):
        raise TypeError(
            f"The items of X are of type {type(chunk).__name__}; the dataset (or the loader's collate_fn) "
            "must return samples, or tuples whose first entry holds the samples."
        )
    return chunk.detach().cpu() if isinstance(chunk, Tensor) else chunk


def _is_table(chunk: Any) -> bool:
    """Return whether a chunk is a list of numbers or of lists of numbers."""
    first = chunk[0] if isinstance(chunk[0], list) else chunk[:1]
    return isinstance(chunk, list) and all(isinstance(value, Real) for value in first)
