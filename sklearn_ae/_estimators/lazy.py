"""Methods that are lazy for dask arrays and data frames: one task for each block of samples."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from sklearn_ae._data.dask_source import map_samples, stand_in
from sklearn_ae._estimators.validation import is_dask


def lazy_for_dask(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a dask array from a method of samples if they are a dask array or data frame.

    Its blocks are the results for the blocks of X. The method is tried at once on a stand-in, which
    refuses other features than those seen in ``fit``, and gives the dtype and the shape.
    """

    @functools.wraps(method)
    def wrapped(self: Any, X: Any, **kwargs: Any) -> Any:
        if is_dask(X):
            return _lazily(self, method.__name__, X, kwargs)
        return method(self, X, **kwargs)

    return wrapped


def _lazily(estimator: Any, name: str, X: Any, kwargs: dict[str, Any]) -> Any:
    import dask

    tried = getattr(estimator, name)(stand_in(X), **kwargs)
    empty = _as_one(tried)[:0]
    # A copy, so that fitting the estimator again does not change what has not been computed yet
    model = dask.delayed(copy.copy(estimator), traverse=False)
    results = map_samples(X, _of_block, model, name, kwargs, empty, empty=empty)
    return tuple(results[..., i] for i in range(len(tried))) if isinstance(tried, tuple) else results


def _of_block(block: Any, estimator: Any, name: str, kwargs: dict[str, Any], empty: np.ndarray) -> np.ndarray:
    return _as_one(getattr(estimator, name)(block, **kwargs)) if len(block) else empty


def _as_one(results: Any) -> np.ndarray:
    """Return an array, with several results along a last axis."""
    return np.stack(results, axis=-1) if isinstance(results, tuple) else np.asarray(results)
