"""Samples in memory: what ``fit`` needs of an array or sparse matrix, and batches of it.

Out-of-core data (:mod:`sklearn_ae._data.sources`) have the same methods:

    hold_out            -> training and validation samples
    blocks              -> dense parts that fit the cache
    in_working_units    -> float32 samples for the training loop, in batches
    feature_range       -> minimum and maximum of each feature
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Generator, Tensor
from torch.utils.data import Dataset

from sklearn_ae._utils.arrays import BLOCK_VALUES
from sklearn_ae._utils.missing import has_missing, observed_range
from sklearn_ae._utils.ranks import RANKS

_BLOCK_BYTES = 2**21  # size of the parts that are converted to float32, chosen to fit the cache
_WIDE = 2  # features per sample from which training in the row space pays
_MAX_WIDE_SAMPLES = 2_000  # number of samples whose decomposition is cheap compared with training
N_DIRECTIONS = 300  # of sparse samples, in whose span they are trained


class ArraySamples:
    """Some or all rows of an array or sparse matrix.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n, d)
    indices : ndarray of int or None
        Rows that belong to these samples, None for all.
    lazy : bool
        Convert batches on demand instead of all samples at once.
    incomplete : bool
        Whether values are missing, which are NaN.
    """

    clean: ArraySamples | None = None  # to be reconstructed instead of the samples

    def __init__(
        self, X: Any, indices: np.ndarray | None = None, lazy: bool = False, *, incomplete: bool = False
    ) -> None:
        self.X = X
        self.indices = indices
        self.incomplete = incomplete
        self.lazy = lazy or sparse.issparse(X)
        self.shape = X.shape[0] if indices is None else len(indices), X.shape[1]
        self.n_places = self.shape[0]  # samples that can be addressed by their position
        self.dtype = X.dtype
        n, d = self.shape
        if sparse.issparse(X):
            self.is_wide = d > _WIDE * min(n, N_DIRECTIONS)
        else:
            self.is_wide = isinstance(X, np.ndarray) and n <= _MAX_WIDE_SAMPLES and d > _WIDE * n

    @property
    def array(self) -> Any:
        """The samples as an array or sparse matrix."""
        return self.X if self.indices is None else self.X[self.indices]

    def __getitem__(self, positions: Any) -> Any:
        return self.X[positions] if self.indices is None else self.X[self.indices[positions]]

    def head(self, n: int) -> np.ndarray:
        """Return the first n samples as a dense array."""
        return _dense(self[np.arange(min(n, self.shape[0]))])

    def of(self, X: np.ndarray) -> ArraySamples:
        """Return the same rows of another array."""
        return ArraySamples(X, self.indices, self.lazy, incomplete=self.incomplete)

    def selected(self, indices: np.ndarray) -> ArraySamples:
        """Return some of all samples, by their position in X."""
        return ArraySamples(self.X, indices, incomplete=self.incomplete)

    def hold_out(self, n_valid: int, rng: np.random.RandomState) -> tuple[ArraySamples, ArraySamples]:
        """Return training and validation samples of a random split."""
        order = rng.permutation(self.n_places)
        return self.selected(order[n_valid:]), self.selected(order[:n_valid])

    def folds(self, n_folds: int, rng: np.random.RandomState) -> Iterator[tuple[ArraySamples, ArraySamples]]:
        """Iterate over the training and validation samples of random folds."""
        parts = np.array_split(rng.permutation(self.n_places), n_folds)
        for i, part in enumerate(parts):
            yield self.selected(np.concatenate(parts[:i] + parts[i + 1 :])), self.selected(part)

    def blocks(self, n_values: int = BLOCK_VALUES) -> Iterator[np.ndarray]:
        """Iterate over all samples in dense blocks of at most ``n_values`` entries, or one sample."""
        n, d = self.shape
        size = max(1, n_values // d)
        for start in range(0, n, size):
            yield _dense(self[start : start + size])

    def feature_range(self) -> tuple[np.ndarray, np.ndarray]:
        """Return minimum and maximum of each feature of X, including held-out samples."""
        if self.incomplete:
            return observed_range(self.X)
        low, high = self.X.min(axis=0), self.X.max(axis=0)
        if sparse.issparse(self.X):
            return low.toarray().ravel(), high.toarray().ravel()
        return low, high

    def in_working_units(self, offset: np.ndarray, scale: float, device: torch.device) -> WorkingSamples:
        """Return the samples as training sees them: ``(X - offset) / scale`` in float32."""
        return WorkingSamples(self.X, self.indices, offset, scale, device, lazy=self.lazy)


class PairedSamples(ArraySamples):
    """Clean samples that are to be reconstructed from given noisy ones.

    The encoder sees noisy samples, in training and later, so that rows and blocks are
    theirs; ``array`` and ``feature_range`` are those of the clean ones.

    Parameters
    ----------
    noisy, clean : ndarray or sparse matrix of shape (n, d)
    indices : ndarray of int or None
        Rows that belong to these samples, None for all.
    """

    def __init__(self, noisy: Any, clean: Any, indices: np.ndarray | None = None) -> None:
        super().__init__(clean, indices, lazy=sparse.issparse(noisy), incomplete=has_missing(clean))
        self.clean = ArraySamples(clean, indices, incomplete=self.incomplete)
        self.noisy = noisy
        self.dtype = noisy.dtype
        self.is_wide = False

    def __getitem__(self, positions: Any) -> Any:
        return self.noisy[positions] if self.indices is None else self.noisy[self.indices[positions]]

    def selected(self, indices: np.ndarray) -> PairedSamples:
        return PairedSamples(self.noisy, self.X, indices)

    def blocks(self, n_values: int = BLOCK_VALUES) -> Iterator[np.ndarray]:
        return ArraySamples(self.noisy, self.indices).blocks(n_values)

    def in_working_units(self, offset: np.ndarray, scale: float, device: torch.device) -> WorkingSamples:
        return WorkingSamples(self.noisy, self.indices, offset, scale, device, lazy=self.lazy, clean=self.X)


class WorkingSamples(Dataset):
    """Samples in working units: centred in the precision of X, divided by one scalar, float32.

    Samples are converted once, or batch by batch if they are sparse or large.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n, d)
    indices : ndarray of int or None
        Rows to use, None for all.
    offset : ndarray of shape (d,)
    scale : float
    device : torch.device
    lazy : bool
        Convert batch by batch.
    clean : ndarray or sparse matrix of shape (n, d), default=None
        Samples to be reconstructed instead of X, which follow those of X in each row.
    """

    def __init__(
        self,
        X: Any,
        indices: np.ndarray | None,
        offset: np.ndarray,
        scale: float,
        device: torch.device,
        *,
        lazy: bool = False,
        clean: Any = None,
    ) -> None:
        self.X = X
        self.clean = clean
        self.indices = np.arange(X.shape[0]) if indices is None else indices
        self.offset = offset
        self.scale = scale
        self.device = device
        self.tensor = None if lazy else self._convert_all()
        if self.tensor is not None:
            self.X = self.clean = None

    def _convert_all(self) -> Tensor:
        n, d = len(self.indices), self.X.shape[1] * (1 if self.clean is None else 2)
        out = torch.empty((n, d), dtype=torch.float32, device="cpu")
        block = max(1, _BLOCK_BYTES // (8 * d))
        for start in range(0, n, block):
            part = slice(start, start + block)
            out[part] = torch.from_numpy(self._convert(self.indices[part]))
        return out.to(self.device)

    def _convert(self, indices: np.ndarray) -> np.ndarray:
        working = [
            ((_dense(samples[indices]) - self.offset) / self.scale).astype(np.float32)
            for samples in (self.X, self.clean)
            if samples is not None
        ]
        return working[0] if self.clean is None else np.hstack(working)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Tensor:
        if self.tensor is not None:
            is_tensor = isinstance(index, Tensor)  # selected several times as fast as by indexing
            return self.tensor.index_select(0, index) if is_tensor else self.tensor[index]
        rows = self.indices[index.numpy() if isinstance(index, Tensor) else index]
        batch = torch.from_numpy(self._convert(np.atleast_1d(rows)))
        if self.device.type == "cuda":  # the copy overlaps with the conversion of the next batch
            return batch.pin_memory().to(self.device, non_blocking=True)
        return batch.to(self.device)

    def batches(self, batch_size: int, generator: Generator | None = None) -> Batches:
        """Return the batches of one epoch, in a fresh random order if a generator is given.

        Without a generator, the samples are evaluated, in batches of a limited number of entries.
        """
        if generator is None:
            batch_size = min(batch_size, max(1, BLOCK_VALUES // len(self.offset)))
        return Batches(self, batch_size, generator)


class Batches:
    """Iterable of nearly equal batches, in a fresh random order if a generator is given."""

    def __init__(self, samples: Any, batch_size: int, generator: Generator | None = None) -> None:
        self.samples = samples
        self.n_batches = max(1, math.ceil(len(samples) / batch_size))
        self.generator = generator

    @property
    def sizes(self) -> list[int]:
        """Sizes of the batches, which differ by at most one."""
        size, n_larger = divmod(len(self.samples), self.n_batches)
        return [size + (i < n_larger) for i in range(self.n_batches)]

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[Tensor]:
        n, whole = len(self.samples), self.samples.tensor
        if self.n_batches == 1 and whole is not None:
            yield from self.own_parts([whole])  # the order within a full batch has no effect
        elif self.generator is None:
            order = torch.arange(n, device="cpu" if whole is None else whole.device)
            for index in self.own_parts(order.tensor_split(self.n_batches)):
                yield self.samples[index]
        else:
            order = torch.randperm(n, generator=self.generator, device=self.generator.device)
            order = order.cpu() if whole is None else order  # indices must be on the device of the samples
            for index in self.own_parts(order.tensor_split(self.n_batches)):
                yield self.samples[index]

    def own_parts(self, batches: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return what this rank processes: its part of each batch in training, every n-th batch otherwise."""
        ranks = RANKS.get()
        if ranks is None:
            return batches
        if self.generator is None:
            return ranks.own_turns(batches)
        return [ranks.own_part(batch) for batch in batches]


def _dense(X: Any) -> np.ndarray:
    return X.toarray() if sparse.issparse(X) else X
