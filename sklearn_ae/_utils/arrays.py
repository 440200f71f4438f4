"""Dense and sparse arrays, as a whole and in blocks of samples."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import sklearn.utils
from scipy import sparse
from sklearn import config_context

BLOCK_VALUES = 2**19  # Number of entries of X read at a time

# scikit-learn's models and checks, where the user has switched on its support for other arrays: it does
# not cover all that they do with NumPy's.
numpy_only = functools.partial(config_context, array_api_dispatch=False)
check_array = numpy_only()(sklearn.utils.check_array)


def dense(X: Any) -> np.ndarray:
    """Return X as a dense array if it is sparse, and otherwise as it is."""
    return X.toarray() if sparse.issparse(X) else X


def sum_of_observed(errors: Any) -> Any:
    """Return the sums of rows without NaN, scaled to the number of columns; 0 for rows of NaN."""
    missing = errors != errors  # of arrays and tensors
    errors[missing] = 0.0
    n_observed = (~missing).sum(axis=1, dtype=errors.dtype)  # the quotient keeps the precision
    total = errors.sum(axis=1)
    n_observed[n_observed == 0] = 1
    return total * (errors.shape[1] / n_observed)


def sample_blocks(X: Any, n_values: int = BLOCK_VALUES) -> Iterator[np.ndarray]:
    """Iterate over dense blocks of samples with about ``n_values`` entries each."""
    if hasattr(X, "blocks"):
        yield from X.blocks(n_values)
        return
    size = max(1, n_values // X.shape[1])
    for start in range(0, X.shape[0], size):
        yield dense(X[start : start + size])


def stacked(parts: Iterable[Any], n: int) -> np.ndarray:
    """Return the concatenation of arrays or tensors with n samples in all.

    Each is copied immediately: small parts that stay alive would keep the allocator from
    reusing the memory around them.
    """
    whole, start = np.empty(0), 0
    for part in map(np.asarray, parts):
        whole = whole if start else np.empty((n, *part.shape[1:]), part.dtype)
        whole[start : start + len(part)] = part
        start += len(part)
    return whole
