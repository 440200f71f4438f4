"""Data that dask computes, on one machine or a cluster: dask arrays and data frames.

A :class:`DaskSource` holds one task per block of samples. ``fit`` computes them a few at a time, and
sums over samples (ranges, moments) where the blocks are. Inference maps blocks to blocks
(:func:`map_samples`) without computing them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
import torch
from torch import Generator

from sklearn_ae._data.in_memory import ArraySamples
from sklearn_ae._data.sources import Check, DataSummary, Source
from sklearn_ae._utils.arrays import check_array, dense, stacked
from sklearn_ae._utils.parallel import in_advance

_TOGETHER = 2**22  # entries of small blocks that are computed together (16 MB as float32)
_SPLIT_EVERY = 4  # partial results that a task of a tree reduction joins, as many as in dask


def open_dask(X: Any, check: Check) -> DaskSource:
    """Return a source that reads a dask array or data frame, after a reduction that validates it.

    Parameters
    ----------
    X : dask.array.Array or dask.dataframe.DataFrame
    check : callable
        Turns samples into a validated array.
    """
    dtype = check(stand_in(X)).dtype
    is_integer = not hasattr(X, "columns") and X.dtype.kind in "iu"  # smaller than floats
    empty = np.empty((0, X.shape[1]), X.dtype if is_integer else dtype)
    parts = map_samples(X, _as_array, empty.dtype, empty=empty).to_delayed().ravel()
    lengths, ranges = _tree_reduced([_delayed(_summary)(part) for part in parts], _joined_summaries)
    n = sum(lengths)
    if n < 2:
        raise ValueError(f"Found {n} sample(s) in X, while a minimum of 2 is required.")
    low, high = check(type(X._meta)(ranges, columns=X.columns) if hasattr(X, "columns") else ranges)
    summary = DataSummary(n, dtype, low, high)
    return DaskSource(list(parts), np.array(lengths), summary)


def stand_in(X: Any) -> Any:
    """Return one sample of ones, with the names and dtypes of the features of X, without computing X.

    What is refused about it would be refused in every block.
    """
    if hasattr(X, "dtypes"):  # a data frame or series
        from dask.dataframe.utils import meta_nonempty

        return meta_nonempty(X._meta).iloc[:1]
    if np.isnan(X.shape[1:]).any():
        raise ValueError(
            "X has an unknown number of features. Call X.compute_chunk_sizes() first, which computes X."
        )
    return np.ones((1, *X.shape[1:]), X.dtype)


def map_samples(X: Any, function: Callable[..., Any], *args: Any, empty: Any) -> Any:
    """Return a dask array or data frame of ``function(block, *args)`` for each block of samples of X.

    Parameters
    ----------
    X : dask.array.Array or dask.dataframe.DataFrame
    function : callable
    *args : object
        Dask computes those that are delayed only once.
    empty : ndarray or DataFrame
        The result for no samples, which gives the dtype, the names and the shape of a sample of the results.
    """
    if hasattr(X, "columns"):
        return X.map_partitions(function, *args, meta=empty)
    if hasattr(empty, "columns"):
        from dask.dataframe import from_dask_array

        arrays = map_samples(X, _values, function, *args, empty=empty.to_numpy())
        return from_dask_array(arrays, columns=empty.columns)
    axes = {"drop_axis": 1} if empty.ndim == 1 else {"new_axis": list(range(2, empty.ndim)) or None}
    chunks = (X.chunks[0], *((size,) for size in empty.shape[1:]))
    whole = X if X.numblocks[1] == 1 else X.rechunk({1: -1})
    return whole.map_blocks(function, *args, dtype=empty.dtype, chunks=chunks, meta=empty, **axes)


class DaskSource(Source):
    """Samples in blocks that dask computes whenever they are read.

    Parameters
    ----------
    parts : list of Delayed
        Blocks of samples.
    lengths : ndarray of int
        Number of samples in each block.
    summary : DataSummary
    """

    def __init__(self, parts: list[Any], lengths: np.ndarray, summary: DataSummary):
        filled = np.flatnonzero(lengths)
        self.parts = [parts[i] for i in filled]
        self.lengths = lengths[filled]
        super().__init__(summary, int(lengths.sum()))

    def chunks(self) -> Iterator[np.ndarray]:
        return self._computed(range(len(self.parts)))

    def shuffled_chunks(self, generator: Generator) -> Iterator[np.ndarray]:
        """Iterate over blocks in random order."""
        return self._computed(torch.randperm(len(self.parts), generator=generator, device="cpu").tolist())

    def _computed(self, order: Sequence[int]) -> Iterator[np.ndarray]:
        """Iterate over blocks; the next ones are computed while these are used."""
        import dask

        groups = self._groups(order)
        for blocks in in_advance(partial(dask.compute, *(self.parts[i] for i in group)) for group in groups):
            yield from blocks

    def _groups(self, order: Sequence[int]) -> list[np.ndarray]:
        """Return successive blocks in groups of about ``_TOGETHER`` entries, at least one block each."""
        before = np.cumsum(self.lengths[order]) - self.lengths[order]
        group = before * self.shape[1] // _TOGETHER
        return np.split(np.asarray(order), np.flatnonzero(np.diff(group)) + 1)

    def head(self, n: int) -> np.ndarray:
        return self[: min(n, int(self.lengths[0]))]

    def __getitem__(self, positions: Any) -> np.ndarray:
        import dask

        wanted = self._positions(positions)
        within = zip(self.parts, self._within_parts(wanted), strict=True)
        found = dask.compute(*(_delayed(np.take)(part, rows, axis=0) for part, rows in within if len(rows)))
        return stacked(found, len(wanted)).astype(self.dtype, copy=False)

    def without(self, positions: np.ndarray) -> DaskSource:
        rows = self._within_parts(positions)
        parts = [
            _delayed(np.delete)(part, left_out, axis=0) if len(left_out) else part
            for part, left_out in zip(self.parts, rows, strict=True)
        ]
        return DaskSource(parts, self.lengths - [len(left_out) for left_out in rows], self.summary)

    def _within_parts(self, positions: np.ndarray) -> list[np.ndarray]:
        """Return which samples of each block are at some increasing positions."""
        ends = np.cumsum(self.lengths)
        by_part = np.split(positions, np.searchsorted(positions, ends[:-1]))
        return [rows - start for rows, start in zip(by_part, ends - self.lengths, strict=True)]

    def reduced(self, function: Callable[..., Any], join: Callable[[Any, Any], Any], *args: Any) -> Any:
        """Return ``function(samples, *args)`` of the samples of each block, joined in a tree.

        Dask computes it where the blocks are, so that only the results are moved.
        """
        shared = [_delayed(arg) for arg in args]
        return _tree_reduced([_delayed(_of_block)(function, part, *shared) for part in self.parts], join)


def _delayed(value: Any) -> Any:
    import dask

    return dask.delayed(value, traverse=False)


def _tree_reduced(values: list[Any], join: Callable[[Any, Any], Any]) -> Any:
    """Return delayed values joined in a tree."""
    while len(values) > 1:
        groups = (values[start : start + _SPLIT_EVERY] for start in range(0, len(values), _SPLIT_EVERY))
        values = [_delayed(reduce)(join, group) for group in groups]
    return values[0].compute()


# -- tasks, which run where the blocks are -----------------------------------------------------


def _values(block: Any, function: Callable[..., Any], *args: Any) -> np.ndarray:
    return function(block, *args).to_numpy()


def _as_array(block: Any, dtype: np.dtype) -> np.ndarray:
    """Return a block or partition as scikit-learn converts it; NaN are refused later, by name."""
    checked = check_array(
        block, dtype=dtype, accept_sparse=("csr", "csc"), ensure_all_finite=False, ensure_min_samples=0
    )
    return dense(checked)


def _of_block(function: Callable[..., Any], block: np.ndarray, *args: Any) -> Any:
    return function(ArraySamples(block), *args)


def _summary(block: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Return the number of samples, and the ranges of the features, none for an empty block."""
    return [len(block)], _ranges(block)


def _joined_summaries(first: tuple, second: tuple) -> tuple[list[int], np.ndarray]:
    return first[0] + second[0], _ranges(np.concatenate([first[1], second[1]]))


def _ranges(samples: np.ndarray) -> np.ndarray:
    """Return the minimum and maximum of each feature, of shape (2, d) or (0, d)."""
    return np.stack([samples.min(axis=0), samples.max(axis=0)]) if len(samples) else samples
