"""Methods that are lazy for dask arrays and data frames: one task for each block of samples."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from sklearn_ae._data.dask_source import map_samples, stand_in
from sklearn_ae._estimators.validation import is_dask
from sklearn_ae._utils.runtime import kept_filters

Class = TypeVar("Class", bound=type)


def lazy_for_dask(*names: str) -> Callable[[Class], Class]:
    """Let methods of a class return a lazy dask array for a dask array or data frame.

    Its blocks are the results for the blocks of X, and data frames where ``set_output`` asks for
    them. A decorator of the class, because scikit-learn wraps ``transform`` when the class is created.

    Parameters
    ----------
    *names : str
        Methods of samples.
    """

    def decorate(cls: Class) -> Class:
        for name in names:
            setattr(cls, name, _lazy_method(getattr(cls, name)))
        return cls

    return decorate


def _lazy_method(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def wrapped(self: Any, X: Any, *args: Any, **kwargs: Any) -> Any:
        if not is_dask(X):
            return method(self, X, *args, **kwargs)
        if method.__name__ == "fit_transform":
            return self.fit(X, *args, **kwargs).transform(X)
        return _lazily(self, functools.partial(_call, method.__name__, args, kwargs), X)

    return wrapped


def _lazily(estimator: Any, call: Callable[[Any, Any], Any], X: Any) -> Any:
    """Return the results of a call for each block, after a trial on one sample.

    The trial refuses other features than those seen in ``fit``, and gives dtypes and shapes.
    """
    import dask

    tried = call(stand_in(X), estimator)
    empty = _as_one(tried)[:0]
    # A copy, so that fitting the estimator again does not change what has not been computed yet
    model = dask.delayed(copy.copy(estimator), traverse=False)
    results = map_samples(X, _of_block, model, call, empty, empty=empty)
    return tuple(results[..., i] for i in range(len(tried))) if isinstance(tried, tuple) else results


# -- tasks, which run where the blocks are -----------------------------------------------------


def _call(name: str, args: tuple, kwargs: dict[str, Any], X: Any, estimator: Any) -> Any:
    return getattr(estimator, name)(X, *args, **kwargs)


def _of_block(block: Any, estimator: Any, call: Callable[[Any, Any], Any], empty: Any) -> Any:
    if not block.shape[0]:
        return empty
    with kept_filters():  # the trial has already warned of names
        warnings.filterwarnings("ignore", "X (has|does not have valid) feature names")
        return _as_one(call(block, estimator))


def _as_one(results: Any) -> Any:
    """Return an array with several results along a last axis, or a pandas data frame as it is."""
    if isinstance(results, tuple):
        return np.stack(results, axis=-1)
    return results if hasattr(results, "iloc") else np.asarray(results)
