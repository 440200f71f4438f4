"""Out-of-core data sources, read sequentially once per epoch: large arrays, memory maps, datasets, chunks.

A :class:`Source` has the methods of :class:`~sklearn_ae._data.in_memory.ArraySamples`. Its
shape, dtype and feature ranges come from a first pass over all samples, which also
validates them.

    summarize -> hold out -> initial PCA in one pass -> one pass per epoch -> statistics in one pass
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import abc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.utils.random import sample_without_replacement
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from sklearn_ae._data.in_memory import ArraySamples, Batches
from sklearn_ae._utils.arrays import BLOCK_VALUES

# Number of entries (256 MB as float32) above which samples are not converted as a whole. Below it a
# converted copy is faster, because a batch is one slice that needs no conversion.
LARGE = 2**26
_RUN_VALUES = 2**18  # entries of neighbouring samples that are read together from a memory map (1 MB)
SHUFFLE_VALUES = 2**24  # entries of the shuffle buffer for sequential data (64 MB as float32)
N_ITEMS = 256  # items of a dataset that are read at a time
_MAX_HELD_OUT = 2**23  # entries of validation samples, which are kept in memory (32 MB as float32)

Check = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class DataSummary:
    """Size, dtype and feature ranges from one pass over all samples."""

    n_samples: int
    dtype: np.dtype
    low: np.ndarray  # (d,)
    high: np.ndarray  # (d,)

    @classmethod
    def of(cls, chunks: Iterable[np.ndarray]) -> DataSummary:
        """Return the summary of validated chunks, which are all samples."""
        return cls.of_some(chunks).checked()

    @classmethod
    def of_some(cls, chunks: Iterable[np.ndarray]) -> DataSummary:
        """Return the summary of some of the validated chunks, or of none."""
        n, low, high = 0, np.inf, -np.inf
        dtypes: set[np.dtype] = set()
        for chunk in chunks:
            n += len(chunk)
            dtypes.add(chunk.dtype)
            low, high = np.minimum(low, chunk.min(axis=0)), np.maximum(high, chunk.max(axis=0))
        return cls(n, np.result_type(np.float32, *dtypes), np.asarray(low), np.asarray(high))

    def checked(self) -> DataSummary:
        """Return the summary, or raise an error if there are too few samples."""
        if self.n_samples < 2:
            raise ValueError(
                f"Found {self.n_samples} sample(s) in all chunks of X, while a minimum of 2 is required. An "
                "iterator is exhausted after one pass: pass an object that can be iterated again."
            )
        return self

    def joined(self, other: DataSummary) -> DataSummary:
        """Return the summary of the samples of both."""
        dtype = np.result_type(self.dtype, other.dtype)
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return DataSummary(self.n_samples + other.n_samples, dtype, low, high)


class Source(ABC):
    """Samples that are read sequentially, once per epoch.

    Parameters
    ----------
    summary : DataSummary
        Of all samples.
    n_samples : int
        Number of samples in a pass.
    """

    in_memory = False
    is_wide = False

    def __init__(self, summary: DataSummary, n_samples: int) -> None:
        self.summary = summary
        self.shape = n_samples, len(summary.low)
        self.dtype = summary.dtype

    @property
    def n_places(self) -> int:
        """Number of samples that can be addressed by their position."""
        return self.shape[0]

    @abstractmethod
    def chunks(self) -> Iterator[np.ndarray]:
        """Iterate over all samples, in the same order each time if the source has an order."""

    @abstractmethod
    def __getitem__(self, positions: Any) -> np.ndarray:
        """Return samples at increasing positions, or of a slice, as an array in memory."""

    @abstractmethod
    def without(self, positions: np.ndarray) -> Source:
        """Return the source without the samples at some increasing positions."""

    def head(self, n: int) -> np.ndarray:
        """Return at most n samples, the first in the order of reading."""
        return next(iter(self.chunks()))[:n]

    def hold_out(self, n_valid: int, rng: np.random.RandomState) -> tuple[Source, ArraySamples]:
        """Return training samples, and validation samples in memory, of a random split."""
        n_valid = min(n_valid, max(1_000, _MAX_HELD_OUT // self.shape[1]))
        positions = np.sort(sample_without_replacement(self.n_places, n_valid, random_state=rng))
        lazy = n_valid * self.shape[1] > LARGE
        return self.without(positions), ArraySamples(*self._in_memory(positions), lazy=lazy)

    def _in_memory(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return an array that holds the samples at some positions, and its rows, None for all."""
        return self[positions], None

    def shuffled_chunks(self, generator: Generator) -> Iterator[np.ndarray]:
        """Iterate over all samples, in as random an order as is cheap to read."""
        return self.chunks()

    def blocks(self, n_values: int = BLOCK_VALUES) -> Iterator[np.ndarray]:
        """Iterate over all samples in blocks of at most ``n_values`` entries, or one sample."""
        size = max(1, n_values // self.shape[1])
        for chunk in self.chunks():
            for start in range(0, len(chunk), size):
                yield chunk[start : start + size]

    def in_working_units(
        self, offset: np.ndarray, scale: float, device: torch.device
    ) -> StreamedWorkingSamples:
        """Return the samples as training sees them: ``(X - offset) / scale`` in float32."""
        return StreamedWorkingSamples(self, offset, scale, device)

    def feature_range(self) -> tuple[np.ndarray, np.ndarray]:
        """Return minimum and maximum of each feature, including held-out samples."""
        return self.summary.low, self.summary.high

    def min(self, axis: int | None = None) -> Any:
        """Return the minimum of all entries, or of each feature, as an array does."""
        return self.summary.low if axis == 0 else self.summary.low.min()

    def max(self, axis: int | None = None) -> Any:
        """Return the maximum of all entries, or of each feature, as an array does."""
        return self.summary.high if axis == 0 else self.summary.high.max()

    # -- reductions over the ranks that share the source: here there are none --------------

    def summed(self, *values: Any) -> list[Any]:
        """Return the sums over all ranks."""
        return list(values)

    def pooled(self, mean: np.ndarray, spread: Any) -> tuple[np.ndarray, Any]:
        """Return the mean of all samples, and their scatter matrix or its trace, from those of each rank."""
        return mean, spread

    def joined(self, value: Any) -> Any:
        """Return the statistics of all samples, from those of each rank."""
        return value

    def _positions(self, positions: Any) -> np.ndarray:
        return np.arange(*positions.indices(self.shape[0])) if isinstance(positions, slice) else positions


class ArraySource(Source):
    """Samples of an array in memory or of a memory-mapped file, of any numeric type.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    summary : DataSummary
    held_out : ndarray of int
        Positions of samples to leave out, in increasing order.
    """

    def __init__(self, X: np.ndarray, summary: DataSummary, held_out: np.ndarray | None = None):
        self.X = X
        self.held_out = np.empty(0, dtype=int) if held_out is None else held_out
        self.in_memory = not isinstance(X, np.memmap)
        super().__init__(summary, len(X) - len(self.held_out))
        # Number of kept samples before each held-out one, which converts positions to row numbers.
        self._before = self.held_out - np.arange(len(self.held_out))

    def chunks(self) -> Iterator[np.ndarray]:
        size = max(1, BLOCK_VALUES // self.shape[1])
        return (self._run(start, size) for start in range(0, len(self.X), size))

    def shuffled_chunks(self, generator: Generator) -> Iterator[np.ndarray]:
        """Iterate over runs of neighbouring samples; those that share a shuffle buffer come in file order.

        Reading single samples takes ten times as long unless the file is in the system's cache.
        """
        size = max(1, _RUN_VALUES // self.shape[1])
        starts = torch.randperm(-(-len(self.X) // size), generator=generator, device="cpu").numpy() * size
        for together in np.array_split(starts, max(1, self.X.size // SHUFFLE_VALUES)):
            yield from (self._run(start, size) for start in np.sort(together))

    def _run(self, start: int, size: int) -> np.ndarray:
        rows = np.asarray(self.X[start : start + size])
        first, last = np.searchsorted(self.held_out, [start, start + size])
        if first < last:
            rows = np.delete(rows, self.held_out[first:last] - start, axis=0)
        return rows

    def __getitem__(self, positions: Any) -> np.ndarray:
        rows = self._positions(positions)
        if len(self.held_out):
            rows = rows + np.searchsorted(self._before, rows, side="right")
        return np.asarray(self.X[rows]).astype(self.dtype, copy=False)

    def _in_memory(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        return (self.X, positions) if self.in_memory else super()._in_memory(positions)

    def without(self, positions: np.ndarray) -> ArraySource:
        return ArraySource(self.X, self.summary, positions)


class ChunkSource(Source):
    """Samples of chunks that come in the same order in every pass and are addressed by their position.

    Parameters
    ----------
    passes : callable
        Starts a pass over validated chunks.
    summary : DataSummary
    held_out : ndarray of int
        Positions of samples to leave out, in increasing order.
    """

    def __init__(
        self,
        passes: Callable[[], Iterator[np.ndarray]],
        summary: DataSummary,
        held_out: np.ndarray | None = None,
    ):
        self.passes = passes
        self.held_out = np.empty(0, dtype=int) if held_out is None else held_out
        super().__init__(summary, summary.n_samples - len(self.held_out))

    def chunks(self) -> Iterator[np.ndarray]:
        n = yield from self._kept(0, self.passes())
        if n != self.summary.n_samples:
            raise ValueError(
                f"The chunks of X held {self.summary.n_samples} samples in the first pass, but {n} later. "
                "fit reads them once per epoch: pass an object that yields the same samples each time it is "
                "iterated, or call partial_fit with each chunk."
            )

    def _kept(self, n: int, chunks: Iterable[np.ndarray]) -> abc.Generator[np.ndarray, None, int]:
        """Iterate over chunks from position n without held-out samples; return the position of the end."""
        for chunk in chunks:
            first, last = np.searchsorted(self.held_out, [n, n + len(chunk)])
            kept = np.delete(chunk, self.held_out[first:last] - n, axis=0) if first < last else chunk
            n += len(chunk)
            if len(kept):
                yield kept
        return n

    def __getitem__(self, positions: Any) -> np.ndarray:
        wanted = self._positions(positions)
        found = []
        n = 0
        for chunk in self.chunks():
            first, last = np.searchsorted(wanted, [n, n + len(chunk)])
            found.append(chunk[wanted[first:last] - n])
            n += len(chunk)
        return np.concatenate(found).astype(self.dtype, copy=False)

    def without(self, positions: np.ndarray) -> ChunkSource:
        return ChunkSource(self.passes, self.summary, positions)


class FilesSource(ChunkSource):
    """Chunks of several files, or parts of files, which are read in random order in training.

    Parameters
    ----------
    files : sequence of callables
        Start a pass over the validated chunks of a file.
    lengths : sequence of int
        Number of samples in each file.
    summary : DataSummary
    held_out : ndarray of int
        Positions of samples to leave out, in increasing order.
    """

    def __init__(
        self,
        files: Sequence[Callable[[], Iterator[np.ndarray]]],
        lengths: Sequence[int],
        summary: DataSummary,
        held_out: np.ndarray | None = None,
    ):
        super().__init__(lambda: (chunk for file in files for chunk in file()), summary, held_out)
        self.files = files
        self.lengths = lengths

    def shuffled_chunks(self, generator: Generator) -> Iterator[np.ndarray]:
        """Iterate over the chunks of files in random order."""
        starts = np.cumsum([0, *self.lengths])
        for i in torch.randperm(len(self.files), generator=generator, device="cpu").tolist():
            yield from self._kept(int(starts[i]), self.files[i]())

    def without(self, positions: np.ndarray) -> FilesSource:
        return FilesSource(self.files, self.lengths, self.summary, positions)

    def restricted(self, numbers: Sequence[int]) -> FilesSource:
        """Return the source of some of the files, in increasing order."""
        ends = np.cumsum(self.lengths)
        starts = ends - self.lengths
        by_file = np.split(self.held_out, np.searchsorted(self.held_out, ends[:-1]))
        lengths = [self.lengths[i] for i in numbers]
        new_starts = np.cumsum([0, *lengths])
        held_out = [by_file[i] - starts[i] + start for i, start in zip(numbers, new_starts, strict=False)]
        summary = replace(self.summary, n_samples=sum(lengths))
        kept = np.concatenate([*held_out, np.empty(0, dtype=int)])
        return FilesSource([self.files[i] for i in numbers], lengths, summary, kept)


class LoaderSource(Source):
    """Samples of a map-style dataset, read by its ``DataLoader`` and addressed by their index in the dataset.

    Held-out samples are never read with the others, even if the loader shuffles or draws samples
    repeatedly.

    Parameters
    ----------
    loader : DataLoader
    check : callable
        Turns a chunk into a validated array.
    summary : DataSummary
        Of one pass of the loader.
    held_out : ndarray of int
        Indices to leave out, in increasing order.
    """

    def __init__(
        self, loader: DataLoader, check: Check, summary: DataSummary, held_out: np.ndarray | None = None
    ):
        n_items = len(loader.dataset)  # type: ignore[arg-type]
        self.items = np.arange(n_items)
        self.loader = loader
        self.check = check
        if held_out is not None:
            self.items = np.delete(self.items, held_out)
            self.loader = restricted_loader(loader, self.items)
        super().__init__(summary, max(1, round(summary.n_samples * len(self.items) / n_items)))

    def chunks(self) -> Iterator[np.ndarray]:
        return map(self.check, self.loader)

    @property
    def n_places(self) -> int:
        return len(self.items)

    def __getitem__(self, positions: Any) -> np.ndarray:
        items = self.items[positions]
        batches = np.array_split(items, max(1, len(items) // N_ITEMS))
        read = _same_loader(self.loader, [batch.tolist() for batch in batches])
        return np.concatenate([self.check(batch) for batch in read]).astype(self.dtype, copy=False)

    def without(self, positions: np.ndarray) -> LoaderSource:
        return LoaderSource(self.loader, self.check, self.summary, positions)

    def restricted(self, items: np.ndarray) -> LoaderSource:
        """Return the source of some indices of the dataset."""
        twin = copy.copy(self)
        twin.items = items
        twin.loader = restricted_loader(self.loader, items)
        return twin


class _Only:
    """Batch sampler of some indices."""

    def __init__(self, batches: Any, items: np.ndarray, n_items: int):
        self.batches = batches
        self.is_kept = np.zeros(n_items, dtype=bool)
        self.is_kept[items] = True

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches:
            kept = [index for index in batch if self.is_kept[int(index)]]
            if kept:
                yield kept


def restricted_loader(loader: DataLoader, items: np.ndarray) -> DataLoader:
    """Return a loader that reads some indices of the dataset alone."""
    n_items = len(loader.dataset)  # type: ignore[arg-type]
    return _same_loader(loader, _Only(loader.batch_sampler, items, n_items))


def _same_loader(loader: DataLoader, batches: Any) -> DataLoader:
    """Return a loader with the same settings and other batches."""
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


class StreamedWorkingSamples(Dataset):
    """Samples of a source in working units, float32, for training.

    Parameters
    ----------
    source : Source
    offset : ndarray of shape (d,)
    scale : float
    device : torch.device
    """

    tensor = None  # never held as one tensor

    def __init__(self, source: Source, offset: np.ndarray, scale: float, device: torch.device):
        self.source = source
        self.offset = offset
        self.scale = scale
        self.device = device
        # Subtracting the offset in two float32 parts is as exact as float64, in half the time.
        self.high = offset.astype(np.float32)
        self.low = (offset - self.high).astype(np.float32)

    def __len__(self) -> int:
        return self.source.shape[0]

    def convert(self, part: np.ndarray, out: np.ndarray) -> None:
        """Write samples in working units into a float32 array."""
        if np.promote_types(part.dtype, np.float32) == np.float32:
            np.subtract(part, self.high, out=out)
            out -= self.low
            out *= np.float32(1 / self.scale)
        else:
            np.divide(part - self.offset, self.scale, out=out, casting="same_kind")

    def batches(self, batch_size: int, generator: Generator | None = None) -> StreamedBatches:
        """Return the batches of one pass, in random order."""
        return StreamedBatches(self, batch_size, generator or Generator().manual_seed(0))


class StreamedBatches(Batches):
    """Iterable of nearly equal batches of a source, in random order.

    Samples of an array in memory are picked individually; others are read
    sequentially and shuffled within a buffer of 64 MB.
    """

    generator: Generator

    def __init__(self, samples: StreamedWorkingSamples, batch_size: int, generator: Generator) -> None:
        super().__init__(samples, batch_size, generator)
        self.order = Generator().manual_seed(0)  # on the CPU, even if the net is not

    def __iter__(self) -> Iterator[Tensor]:
        seed = torch.randint(2**62, (), generator=self.generator, device=self.generator.device)
        self.order.manual_seed(int(seed))
        picked = self._picked() if self.samples.source.in_memory else self._mixed()
        return (batch.to(self.samples.device) for batch in picked)

    def _picked(self) -> Iterator[Tensor]:
        order = torch.randperm(len(self.samples), generator=self.order, device="cpu")
        for index in self.own_parts(order.tensor_split(self.n_batches)):
            part = self.samples.source[index.numpy()]
            out = np.empty(part.shape, dtype=np.float32)
            self.samples.convert(part, out)
            yield torch.from_numpy(out)

    def _mixed(self) -> Iterator[Tensor]:
        buffer = _ShuffleBuffer(self.samples, iter(self.sizes), self.order)
        for chunk in self.samples.source.shuffled_chunks(self.order):
            while len(chunk):
                chunk = buffer.add(chunk)
                if buffer.full:
                    yield from buffer.draw()
        yield from buffer.draw()
        if buffer.size and buffer.n:  # a loader returned fewer samples than in the first pass
            yield torch.from_numpy(buffer.array[: buffer.n].copy())


class _ShuffleBuffer:
    """Buffer of samples from which random batches are drawn once it is full.

    Parameters
    ----------
    samples : StreamedWorkingSamples
    sizes : iterator of int
        Sizes of the batches.
    generator : Generator
    """

    def __init__(self, samples: StreamedWorkingSamples, sizes: Iterator[int], generator: Generator):
        self.samples = samples
        self.sizes = sizes
        self.size = next(sizes)
        self.generator = generator
        n, d = samples.source.shape
        self.array = np.empty((min(n, max(SHUFFLE_VALUES // d, 2 * self.size)), d), dtype=np.float32)
        self.n = 0

    @property
    def full(self) -> bool:
        return self.n == len(self.array)

    def add(self, chunk: np.ndarray) -> np.ndarray:
        """Add samples of a chunk until the buffer is full, and return the others."""
        taken = chunk[: len(self.array) - self.n]
        self.samples.convert(taken, self.array[self.n : self.n + len(taken)])
        self.n += len(taken)
        return chunk[len(taken) :]

    def draw(self) -> Iterator[Tensor]:
        """Iterate over batches without replacement, until fewer samples are left than the next one needs."""
        order, start = torch.randperm(self.n, generator=self.generator, device="cpu").numpy(), 0
        while 0 < self.size <= self.n - start:
            yield torch.from_numpy(self.array[order[start : start + self.size]])
            start, self.size = start + self.size, next(self.sizes, 0)
        rest = self.array[order[start:]] if self.size else self.array[:0]  # empty after the last batch
        self.n = len(rest)
        self.array[: self.n] = rest
