"""Calls in turn, in parallel or in advance."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from joblib import effective_n_jobs
from sklearn.utils.parallel import Parallel, delayed

_EVERY_CALL = 11  # Verbosity from which on joblib reports every finished call


def call_all(calls: Iterable[Callable[[], Any]], n_jobs: int | None, verbose: int = 0) -> list[Any]:
    """Return the results of some calls, with a line for each finished one if verbose.

    A single job needs no wrappers: those of scikit-learn reset the warning filters of all threads.
    """
    if effective_n_jobs(n_jobs) == 1 and not verbose:
        return [call() for call in calls]
    verbosity = max(verbose, _EVERY_CALL) if verbose else 0
    return Parallel(n_jobs=n_jobs, verbose=verbosity)(delayed(call)() for call in calls)


def in_advance(calls: Iterable[Callable[[], Any]]) -> Iterator[Any]:
    """Iterate over the results of some calls; each runs in a thread while the result before it is used."""
    with ThreadPoolExecutor(1) as pool:
        pending = None
        for call in calls:
            following = pool.submit(contextvars.copy_context().run, call)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()
