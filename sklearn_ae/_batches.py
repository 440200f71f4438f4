"""Batches as slices of tensors in memory, in working units."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Generator, Tensor
from torch.utils.data import Dataset

_BLOCK_BYTES = 2**26  # of rows converted at a time


def dense(X: Any) -> np.ndarray:
    """Rows as an array, whether or not they are sparse."""
    return X.toarray() if sparse.issparse(X) else X


def row_blocks(X: Any, n_values: int) -> Iterator[np.ndarray]:
    """Dense parts of X with so many entries, or one row."""
    size = max(1, n_values // X.shape[1])
    for start in range(0, X.shape[0], size):
        yield dense(X[start : start + size])


class Rows(Dataset):
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


class Batches:
    """Iterate over nearly equal batches, in a fresh random order where a generator is given."""

    def __init__(self, rows: Rows, batch_size: int, generator: Generator | None = None):
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
