"""Rows that are read in passes: large arrays, memory maps, datasets, iterables of chunks.

A :class:`Source` knows the shape, the type and the extremes of what it gives: a survey of
all rows, which also validates them, comes before any work.

    survey -> hold out some rows -> anchor in a pass -> a pass per epoch -> code_statistics in a pass
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator
from torch.utils.data import DataLoader

from sklearn_ae._utils.arrays import BLOCK_VALUES

# Entries from which rows are not copied as a whole (256 MB as float32). A copy in working units is
# faster: a batch of it is one slice, and takes no conversion.
LARGE = 2**26

_RUN = 2**18  # entries of neighbouring rows that are read together from a mapped file: 1 MB

SHUFFLE_VALUES = (
    2**24
)  # entries (64 MB as float32) that are shuffled together where rows come one after the other

N_ITEMS = 256  # items of a dataset that are read at a time

Check = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class DataSummary:
    """What one pass over all rows has found."""

    n_rows: int
    dtype: np.dtype
    low: np.ndarray  # (d,)
    high: np.ndarray  # (d,)

    @classmethod
    def of(cls, chunks: Iterable[np.ndarray]) -> DataSummary:
        """Look at validated chunks of rows."""
        n, dtypes, low, high = 0, set(), np.inf, -np.inf
        for chunk in chunks:
            n += len(chunk)
            dtypes.add(chunk.dtype)
            low, high = np.minimum(low, chunk.min(axis=0)), np.maximum(high, chunk.max(axis=0))
        if n < 2:
            raise ValueError(
                f"Found {n} sample(s) in all chunks of X, while a minimum of 2 is required. An object whose "
                "chunks are used up by one pass is empty from then on: pass one that can be iterated again."
            )
        return cls(n, np.result_type(*dtypes), np.asarray(low), np.asarray(high))


class Source(ABC):
    """Rows that are read in passes.

    Parameters
    ----------
    survey : DataSummary
        Of all rows.
    n_rows : int
        How many of them a pass gives.
    """

    in_memory = False

    def __init__(self, survey: DataSummary, n_rows: int):
        self.survey = survey
        self.shape = n_rows, len(survey.low)
        self.dtype = survey.dtype

    @property
    def n_places(self) -> int:
        """How many rows can be told apart by their numbers."""
        return self.shape[0]

    @abstractmethod
    def chunks(self) -> Iterator[np.ndarray]:
        """All rows, always in the same order where the source has one."""

    @abstractmethod
    def __getitem__(self, rows: Any) -> np.ndarray:
        """Rows by their numbers in increasing order, or by a slice, in memory."""

    @abstractmethod
    def without(self, rows: np.ndarray) -> Source:
        """The source less some rows, given by their numbers in increasing order."""

    def scattered(self, generator: Generator) -> Iterator[np.ndarray]:
        """All rows in chunks, in as random an order as it is cheap to read them."""
        return self.chunks()

    def blocks(self, n_values: int = BLOCK_VALUES) -> Iterator[np.ndarray]:
        """All rows in chunks of so many entries, or one row."""
        size = max(1, n_values // self.shape[1])
        for chunk in self.chunks():
            for start in range(0, len(chunk), size):
                yield chunk[start : start + size]

    def min(self, axis: int | None = None) -> Any:
        return self.survey.low if axis == 0 else self.survey.low.min()

    def max(self, axis: int | None = None) -> Any:
        return self.survey.high if axis == 0 else self.survey.high.max()

    def _numbers(self, rows: Any) -> np.ndarray:
        return np.arange(*rows.indices(self.shape[0])) if isinstance(rows, slice) else rows


class ArraySource(Source):
    """Rows of an array in memory or in a mapped file, of any numeric type.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    survey : DataSummary
    held_out : ndarray of int
        Rows that are left out, in increasing order.
    """

    def __init__(self, X: np.ndarray, survey: DataSummary, held_out: np.ndarray | None = None):
        self.X = X
        self.held_out = np.empty(0, dtype=int) if held_out is None else held_out
        self.in_memory = not isinstance(X, np.memmap)
        super().__init__(survey, len(X) - len(self.held_out))
        # of the kept rows before a held-out one: turns places among the kept rows into row numbers
        self._before = self.held_out - np.arange(len(self.held_out))

    def chunks(self) -> Iterator[np.ndarray]:
        size = max(1, BLOCK_VALUES // self.shape[1])
        return (self._run(start, size) for start in range(0, len(self.X), size))

    def scattered(self, generator: Generator) -> Iterator[np.ndarray]:
        """Runs of neighbouring rows, those that are mixed together in the order of the file.

        Single rows would be read at a tenth of the speed where the file is not in the system's cache.
        """
        size = max(1, _RUN // self.shape[1])
        starts = torch.randperm(-(-len(self.X) // size), generator=generator).numpy() * size
        for together in np.array_split(starts, max(1, self.X.size // SHUFFLE_VALUES)):
            yield from (self._run(start, size) for start in np.sort(together))

    def _run(self, start: int, size: int) -> np.ndarray:
        rows = np.asarray(self.X[start : start + size])
        first, last = np.searchsorted(self.held_out, [start, start + size])
        if first < last:
            rows = np.delete(rows, self.held_out[first:last] - start, axis=0)
        return rows

    def __getitem__(self, rows: Any) -> np.ndarray:
        places = self._numbers(rows)
        if len(self.held_out):
            places = places + np.searchsorted(self._before, places, side="right")
        return np.asarray(self.X[places]).astype(self.dtype, copy=False)

    def without(self, rows: np.ndarray) -> ArraySource:
        return ArraySource(self.X, self.survey, rows)


class ChunkSource(Source):
    """Rows of chunks that come in the same order in every pass; a row is known by its place in it.

    Parameters
    ----------
    passes : callable
        Begins a pass over validated chunks.
    survey : DataSummary
    held_out : ndarray of int
        Rows that are left out, in increasing order.
    """

    def __init__(
        self,
        passes: Callable[[], Iterator[np.ndarray]],
        survey: DataSummary,
        held_out: np.ndarray | None = None,
    ):
        self.passes = passes
        self.held_out = np.empty(0, dtype=int) if held_out is None else held_out
        super().__init__(survey, survey.n_rows - len(self.held_out))

    def chunks(self) -> Iterator[np.ndarray]:
        for start, chunk in self._placed():
            first, last = np.searchsorted(self.held_out, [start, start + len(chunk)])
            kept = np.delete(chunk, self.held_out[first:last] - start, axis=0) if first < last else chunk
            if len(kept):
                yield kept

    def _placed(self) -> Iterator[tuple[int, np.ndarray]]:
        """Chunks with the place of their first row."""
        n = 0
        for chunk in self.passes():
            yield n, chunk
            n += len(chunk)
        if n != self.survey.n_rows:
            raise ValueError(
                f"The chunks of X held {self.survey.n_rows} rows in the first pass and {n} in a later one. "
                "fit reads them once an epoch: pass an object that gives the same rows each time it is "
                "iterated, or call partial_fit with each chunk."
            )

    def __getitem__(self, rows: Any) -> np.ndarray:
        places, found, n = self._numbers(rows), [], 0
        for chunk in self.chunks():
            first, last = np.searchsorted(places, [n, n + len(chunk)])
            found.append(chunk[places[first:last] - n])
            n += len(chunk)
        return np.concatenate(found).astype(self.dtype, copy=False)

    def without(self, rows: np.ndarray) -> ChunkSource:
        return ChunkSource(self.passes, self.survey, rows)


class LoaderSource(Source):
    """Rows of a map-style dataset through its ``DataLoader``; a row is known by its index in the dataset.

    Whatever order the loader has, and whether or not it draws some rows several times, held-out rows
    never come with the others.

    Parameters
    ----------
    loader : DataLoader
    check : callable
        Turns a chunk into validated rows.
    survey : DataSummary
        Of one pass of the loader.
    held_out : ndarray of int
        Indices that are left out, in increasing order.
    """

    def __init__(
        self, loader: DataLoader, check: Check, survey: DataSummary, held_out: np.ndarray | None = None
    ):
        n_items = len(loader.dataset)  # type: ignore[arg-type]
        self.items = np.arange(n_items)
        self.loader = loader
        self.check = check
        if held_out is not None:
            self.items = np.delete(self.items, held_out)
            self.loader = _same_loader(loader, _Without(loader.batch_sampler, held_out))
        super().__init__(survey, max(1, round(survey.n_rows * len(self.items) / n_items)))

    def chunks(self) -> Iterator[np.ndarray]:
        return map(self.check, self.loader)

    @property
    def n_places(self) -> int:
        return len(self.items)

    def __getitem__(self, rows: Any) -> np.ndarray:
        items = self.items[rows]
        batches = np.array_split(items, max(1, len(items) // N_ITEMS))
        read = _same_loader(self.loader, [batch.tolist() for batch in batches])
        return np.concatenate([self.check(batch) for batch in read]).astype(self.dtype, copy=False)

    def without(self, rows: np.ndarray) -> LoaderSource:
        return LoaderSource(self.loader, self.check, self.survey, rows)


class _Without:
    """A batch sampler less some indices."""

    def __init__(self, batches: Any, held_out: np.ndarray):
        self.batches = batches
        self.held_out = frozenset(held_out.tolist())

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches:
            kept = [index for index in batch if int(index) not in self.held_out]
            if kept:
                yield kept


def _same_loader(loader: DataLoader, batches: Any) -> DataLoader:
    """A loader that reads other batches in the same way."""
    return DataLoader(
        loader.dataset,
        batch_sampler=batches,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
    )
