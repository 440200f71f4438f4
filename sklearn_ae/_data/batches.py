"""Batches in working units: slices of tensors in memory, or read from a source in passes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Generator, Tensor
from torch.utils.data import Dataset

from sklearn_ae._data.sources import SHUFFLE_VALUES, Source
from sklearn_ae._utils.arrays import dense

_BLOCK_BYTES = 2**21  # of rows converted at a time, in the cache


class InMemorySamples(Dataset):
    """Rows of X in working units: centred in X's precision, divided by one scalar, float32.

    Data in memory is converted once. Memory-mapped and sparse data stay as they
    are, and each batch is converted when it is asked for.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n, d)
    indices : ndarray of int or None
        The rows to use, None for all.
    offset : ndarray of shape (d,)
    scale : float
        Working rows are ``(X - offset) / scale``.
    device : torch.device
    lazy : bool
        Convert batch by batch.
    """

    def __init__(
        self,
        X: Any,
        indices: np.ndarray | None,
        offset: np.ndarray,
        scale: float,
        device: torch.device,
        lazy: bool = False,
    ):
        self.X = X
        self.indices = np.arange(X.shape[0]) if indices is None else indices
        self.offset = offset
        self.scale = scale
        self.device = device
        self.tensor = None if lazy or sparse.issparse(X) else self._convert_all()
        if self.tensor is not None:
            self.X = None

    def _convert_all(self) -> Tensor:
        n, d = len(self.indices), self.X.shape[1]
        out = torch.empty((n, d), dtype=torch.float32)
        block = max(1, _BLOCK_BYTES // (8 * d))
        for start in range(0, n, block):
            part = slice(start, start + block)
            out[part] = torch.from_numpy(self._convert(self.indices[part]))
        return out.to(self.device)

    def _convert(self, indices: np.ndarray) -> np.ndarray:
        part = self.X[indices]
        part = dense(part)
        return ((part - self.offset) / self.scale).astype(np.float32)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Tensor:
        if self.tensor is not None:
            return self.tensor[index]
        rows = self.indices[index.numpy() if isinstance(index, Tensor) else index]
        batch = torch.from_numpy(self._convert(np.atleast_1d(rows)))
        if self.device.type == "cuda":  # copied while the next one is converted
            return batch.pin_memory().to(self.device, non_blocking=True)
        return batch.to(self.device)

    def batches(self, batch_size: int, generator: Generator | None = None) -> Batches:
        """One pass, in a fresh random order where a generator is given."""
        return Batches(self, batch_size, generator)


class Batches:
    """Iterate over nearly equal batches, in a fresh random order where a generator is given."""

    def __init__(self, rows: Any, batch_size: int, generator: Generator | None = None):
        self.rows = rows
        self.n_batches = max(1, math.ceil(len(rows) / batch_size))
        self.generator = generator

    @property
    def sizes(self) -> list[int]:
        """Numbers of rows of the batches, at most one apart."""
        size, n_larger = divmod(len(self.rows), self.n_batches)
        return [size + (i < n_larger) for i in range(self.n_batches)]

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[Tensor]:
        n, whole = len(self.rows), self.rows.tensor
        if self.n_batches == 1 and whole is not None:
            yield whole  # the order of the rows within a full batch has no effect
        elif self.generator is None:
            order = torch.arange(n, device="cpu" if whole is None else whole.device)
            for index in order.tensor_split(self.n_batches):
                yield self.rows[index]
        else:
            order = torch.randperm(n, generator=self.generator, device=self.generator.device)
            order = order.cpu() if whole is None else order  # to where the rows are
            for index in order.tensor_split(self.n_batches):
                yield self.rows[index]


class StreamedSamples(Dataset):
    """Rows of a source in working units, float32, for training.

    Parameters
    ----------
    source : Source
    offset : ndarray of shape (d,)
    scale : float
        Working rows are ``(X - offset) / scale``.
    device : torch.device
    """

    tensor = None  # there is none of all rows

    def __init__(self, source: Source, offset: np.ndarray, scale: float, device: torch.device):
        self.source = source
        self.offset = offset
        self.scale = scale
        self.device = device
        # float32 rows less the offset in two parts are as exact as in float64, at half the time
        self.high = offset.astype(np.float32)
        self.low = (offset - self.high).astype(np.float32)

    def __len__(self) -> int:
        return self.source.shape[0]

    def convert(self, part: np.ndarray, out: np.ndarray) -> None:
        """Write rows in working units into an array of float32."""
        if np.promote_types(part.dtype, np.float32) == np.float32:
            np.subtract(part, self.high, out=out)
            out -= self.low
            out *= np.float32(1 / self.scale)
        else:
            np.divide(part - self.offset, self.scale, out=out, casting="same_kind")

    def batches(self, batch_size: int, generator: Generator | None = None) -> StreamedBatches:
        """One pass in random order."""
        return StreamedBatches(self, batch_size, generator or Generator().manual_seed(0))


class StreamedBatches(Batches):
    """Iterate over nearly equal batches of a source in random order.

    Rows of an array in memory are picked one by one. Others are read one after
    the other, and shuffled within 64 MB.
    """

    generator: Generator

    def __init__(self, rows: StreamedSamples, batch_size: int, generator: Generator):
        super().__init__(rows, batch_size, generator)
        self.order = Generator().manual_seed(0)  # of rows and runs; on the CPU, wherever the net is

    def __iter__(self) -> Iterator[Tensor]:
        seed = torch.randint(2**62, (), generator=self.generator, device=self.generator.device)
        self.order.manual_seed(int(seed))
        picked = self._picked() if self.rows.source.in_memory else self._mixed()
        return (batch.to(self.rows.device) for batch in picked)

    def _picked(self) -> Iterator[Tensor]:
        order = torch.randperm(len(self.rows), generator=self.order)
        for index in order.tensor_split(self.n_batches):
            part = self.rows.source[index.numpy()]
            out = np.empty(part.shape, dtype=np.float32)
            self.rows.convert(part, out)
            yield torch.from_numpy(out)

    def _mixed(self) -> Iterator[Tensor]:
        buffer = _Buffer(self.rows, iter(self.sizes), self.order)
        for chunk in self.rows.source.scattered(self.order):
            while len(chunk):
                chunk = buffer.add(chunk)
                if buffer.full:
                    yield from buffer.draw()
        yield from buffer.draw()
        if buffer.size and buffer.n:  # a loader has given fewer rows than in the survey
            yield torch.from_numpy(buffer.array[: buffer.n].copy())


class _Buffer:
    """Rows from which batches are drawn at random once it is full.

    Parameters
    ----------
    rows : StreamedSamples
    sizes : iterator of int
        Of the batches.
    generator : Generator
    """

    def __init__(self, rows: StreamedSamples, sizes: Iterator[int], generator: Generator):
        self.rows = rows
        self.sizes = sizes
        self.size = next(sizes)
        self.generator = generator
        n, d = rows.source.shape
        self.array = np.empty((min(n, max(SHUFFLE_VALUES // d, 2 * self.size)), d), dtype=np.float32)
        self.n = 0

    @property
    def full(self) -> bool:
        return self.n == len(self.array)

    def add(self, chunk: np.ndarray) -> np.ndarray:
        """Take rows of a chunk as long as there is room, and return the others."""
        taken = chunk[: len(self.array) - self.n]
        self.rows.convert(taken, self.array[self.n : self.n + len(taken)])
        self.n += len(taken)
        return chunk[len(taken) :]

    def draw(self) -> Iterator[Tensor]:
        """Batches without replacement, until fewer rows are left than the next one needs."""
        order, start = torch.randperm(self.n, generator=self.generator).numpy(), 0
        while 0 < self.size <= self.n - start:
            yield torch.from_numpy(self.array[order[start : start + self.size]])
            start, self.size = start + self.size, next(self.sizes, 0)
        rest = self.array[order[start:]] if self.size else self.array[:0]  # after the last batch none is kept
        self.n = len(rest)
        self.array[: self.n] = rest
