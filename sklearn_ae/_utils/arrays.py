"""TODO"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from scipy import sparse

BLOCK_VALUES = 2**21  # entries of X that are read at a time


def dense(X: Any) -> np.ndarray:
    """Rows as an array, whether or not they are sparse."""
    return X.toarray() if sparse.issparse(X) else X


def sample_blocks(X: Any, n_values: int = BLOCK_VALUES) -> Iterator[np.ndarray]:
    """Dense parts of X with so many entries, or one row."""
    if hasattr(X, "blocks"):
        yield from X.blocks(n_values)
        return
    size = max(1, n_values // X.shape[1])
    for start in range(0, X.shape[0], size):
        yield dense(X[start : start + size])


def stacked(parts: Iterable[Any], n: int) -> np.ndarray:
    """Parts of n rows, arrays or tensors, below each other.

    Each is copied at once: small parts that stay alive would keep the allocator from
    using the memory around them for the next block again.
    """
    whole, start = np.empty(0), 0
    for part in map(np.asarray, parts):
        whole = whole if start else np.empty((n, *part.shape[1:]), part.dtype)
        whole[start : start + len(part)] = part
        start += len(part)
    return whole
