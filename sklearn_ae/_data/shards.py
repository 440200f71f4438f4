"""The shard of an out-of-core source that one of several ranks reads."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader

from sklearn_ae._data.dask_source import DaskSource
from sklearn_ae._data.in_memory import ArraySamples
from sklearn_ae._data.sources import (
    ArraySource,
    DataSummary,
    FilesSource,
    LoaderSource,
    Source,
    StreamedBatches,
    StreamedWorkingSamples,
    restricted_loader,
)
from sklearn_ae._utils.arrays import BLOCK_VALUES, dense
from sklearn_ae._utils.ranks import RANKS, Ranks

_N_COMPARED = 1_000  # samples of arrays in memory that are compared between the ranks


class Shard(Source):
    """Source of which each rank reads a part; size, dtype and ranges are those of the whole.

    Parameters
    ----------
    whole : Source
    ranks : Ranks
    """

    def __init__(self, whole: Source, ranks: Ranks) -> None:
        self.whole = whole
        self.ranks = ranks
        self.own = part_of(whole, ranks.rank, ranks.size)
        self.in_memory = whole.in_memory
        self.n_own: int | None = None  # counted in the first pass
        super().__init__(whole.summary, whole.shape[0])

    @property
    def n_places(self) -> int:
        return self.whole.n_places

    def chunks(self) -> Iterator[np.ndarray]:
        return self.own.chunks()

    def shuffled_chunks(self, generator: Generator) -> Iterator[np.ndarray]:
        return self.own.shuffled_chunks(generator)

    def blocks(self, n_values: int = BLOCK_VALUES) -> Iterator[np.ndarray]:
        """Iterate over the samples of this rank in blocks."""
        n = 0
        for block in self.own.blocks(n_values):
            n += len(block)
            yield block
        self.n_own = n

    def count(self) -> int:
        """Return the number of samples of this rank, by a pass over them unless there was one."""
        if self.n_own is None:
            self.n_own = sum(map(len, self.own.chunks()))
        return self.n_own

    def head(self, n: int) -> np.ndarray:
        return self.ranks.of_first(self.own.head(n) if self.ranks.is_first else None)

    def __getitem__(self, positions: Any) -> np.ndarray:
        return self.whole[positions]

    def without(self, positions: np.ndarray) -> Shard:
        return Shard(self.whole.without(positions), self.ranks)

    def hold_out(self, n_valid: int, rng: np.random.RandomState) -> tuple[Source, ArraySamples]:
        train, valid = self.whole.hold_out(n_valid, rng)
        return Shard(train, self.ranks), valid

    def in_working_units(
        self, offset: np.ndarray, scale: float, device: torch.device
    ) -> StreamedWorkingSamples:
        """Return the samples as training sees them; of an array in memory, batches are divided."""
        if self.in_memory:
            return self.whole.in_working_units(offset, scale, device)
        return ShardWorkingSamples(self, offset, scale, device)

    # -- reductions --------------------------------------------------------------------

    def summed(self, *values: Any) -> list[Any]:
        return self.ranks.summed(*values)

    def pooled(self, mean: np.ndarray, spread: Any) -> tuple[np.ndarray, Any]:
        n = self.count()
        total, mean_sum = self.ranks.summed(n, n * mean)
        common = mean_sum / total
        shift = mean - common
        between = n * (np.outer(shift, shift) if np.ndim(spread) else shift @ shift)
        return common, self.ranks.summed(spread + between)[0]

    def joined(self, value: Any) -> Any:
        filled = [part for part in self.ranks.gathered(value) if part.n]
        return functools.reduce(lambda a, b: a.joined(b), filled)


def shared(data: Any, ranks: Ranks, name: str = "X") -> Any:
    """Return the shard of a source that this rank reads, or samples in memory that all ranks have alike."""
    description = {f"the shape of {name}": data.shape, f"the dtype of {name}": str(data.dtype)}
    if isinstance(data, Source):
        description[f"the hash of the ranges of {name}"] = _hash(data.summary.low, data.summary.high)
        description[f"the hash of the blocks of {name}"] = _hash(getattr(data, "lengths", ()))
    else:
        some = dense(data.X[:: -(-data.X.shape[0] // _N_COMPARED)])
        description[f"the hash of {name}"] = _hash(some)
    ranks.check_same("fit", description)
    return Shard(data, ranks) if isinstance(data, Source) else data


def _hash(*arrays: Any) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def summary_of_all(chunks: Iterable[np.ndarray]) -> DataSummary:
    """Return the summary of the chunks of all ranks."""
    ranks = RANKS.get()
    if ranks is None:
        return DataSummary.of(chunks)
    parts = ranks.gathered(DataSummary.of_some(chunks))
    return functools.reduce(DataSummary.joined, parts).checked()


def own_loader(loader: DataLoader) -> DataLoader:
    """Return the loader, or one of the items of this rank."""
    ranks = RANKS.get()
    if ranks is None:
        return loader
    n_items = len(loader.dataset)  # type: ignore[arg-type]
    return restricted_loader(loader, np.arange(ranks.rank, n_items, ranks.size))


def own_samples(X: np.ndarray) -> np.ndarray:
    """Return the samples of an array, or those that this rank reads."""
    ranks = RANKS.get()
    return X if ranks is None else X[_range(len(X), ranks.rank, ranks.size)]


def _range(n: int, i: int, n_parts: int) -> slice:
    return slice(n * i // n_parts, n * (i + 1) // n_parts)


@functools.singledispatch
def part_of(source: Source, i: int, n: int) -> Source:
    """Return the i-th of n nearly equal parts of a source: every n-th chunk."""
    return EveryNth(source, i, n)


@part_of.register
def _(source: ArraySource, i: int, n: int) -> Source:
    """Return neighbouring samples."""
    own = _range(len(source.X), i, n)
    first, last = np.searchsorted(source.held_out, [own.start, own.stop])
    return ArraySource(source.X[own], source.summary, source.held_out[first:last] - own.start)


@part_of.register
def _(source: DaskSource, i: int, n: int) -> Source:
    """Return every n-th block."""
    return DaskSource(source.parts[i::n], source.lengths[i::n], source.summary)


@part_of.register
def _(source: FilesSource, i: int, n: int) -> Source:
    """Return every n-th file, or part of a file."""
    return source.restricted(range(i, len(source.files), n))


@part_of.register
def _(source: LoaderSource, i: int, n: int) -> Source:
    """Return every n-th item of the dataset, in the batches of the loader."""
    return source.restricted(source.items[i::n])


class EveryNth(Source):
    """Every n-th chunk of a source, from the i-th on."""

    def __init__(self, source: Source, i: int, n: int) -> None:
        self.source = source
        self.turns = i, n
        super().__init__(source.summary, source.shape[0])

    def chunks(self) -> Iterator[np.ndarray]:
        i, n = self.turns
        return islice(self.source.chunks(), i, None, n)

    def head(self, n: int) -> np.ndarray:
        return next(iter(self.chunks()))[:n]

    def __getitem__(self, positions: Any) -> np.ndarray:
        raise NotImplementedError("parts are read in passes only")

    def without(self, positions: np.ndarray) -> Source:
        raise NotImplementedError("samples are held out of the whole source")


class ShardWorkingSamples(StreamedWorkingSamples):
    """Samples of a shard in working units; every rank has the same number of batches."""

    source: Shard

    def __len__(self) -> int:
        return self.source.count()

    def batches(self, batch_size: int, generator: Generator | None = None) -> StreamedBatches:
        n_batches = max(1, math.ceil(self.source.shape[0] / batch_size))
        return ShardBatches(self, n_batches, generator or Generator().manual_seed(0))


class ShardBatches(StreamedBatches):
    """Batches of a shard, which are empty if the rank has too few samples for all steps."""

    def __init__(self, samples: ShardWorkingSamples, n_batches: int, generator: Generator) -> None:
        super().__init__(samples, max(1, math.ceil(len(samples) / n_batches)), generator)
        self.n_batches = n_batches

    def __iter__(self) -> Iterator[Tensor]:
        n, d = 0, self.samples.source.shape[1]
        for batch in islice(super().__iter__(), self.n_batches):
            yield batch
            n += 1
        for _ in range(n, self.n_batches):
            yield torch.empty((0, d), device=self.samples.device)
