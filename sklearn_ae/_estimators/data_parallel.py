"""``fit`` of one model in several processes: the same call on all of them, and the same model at the end."""

from __future__ import annotations

import pickle
import platform
import sys
from collections.abc import Callable
from typing import Any

import sklearn
import torch

from sklearn_ae._training.data_parallel import DataParallelNet
from sklearn_ae._utils.ranks import Ranks, all_ranks, pickled, several_ranks, without_addresses

_MAY_DIFFER = ("random_state", "device", "verbose", "callbacks", "n_jobs")


def fit_on_ranks(method: Callable[..., Any], estimator: Any, *args: Any, **kwargs: Any) -> Any:
    """Call ``fit`` together with the same call in all other processes."""
    if not several_ranks():
        return method(estimator, *args, **kwargs)
    with all_ranks(DataParallelNet) as ranks:
        name = f"{type(estimator).__name__}.fit"
        ranks.check_same(name, _description(estimator, args, kwargs))
        fitted = method(estimator, *args, **kwargs)
        _take_over_first(estimator, ranks)
        return fitted


def refuse_chunks() -> None:
    """Raise an error for ``partial_fit`` in one of several processes, whose models would go apart."""
    if several_ranks():
        raise RuntimeError(
            "partial_fit trains in a single process, but this is one of several ranks: pass all chunks to "
            "fit, or set the environment variable SKLEARN_AE_RANKS=0 to train a model in each process."
        )


def _description(estimator: Any, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return what must be the same on all ranks."""
    package = sys.modules[__name__.partition(".")[0]]
    versions = {module.__name__: module.__version__ for module in (package, sklearn, torch)}
    params = estimator.get_params().items()
    return {
        "the class": type(estimator).__name__,
        **{
            name: without_addresses(value)
            for name, value in params
            if name.split("__")[-1] not in _MAY_DIFFER
        },
        "the fitted state": hasattr(estimator, "n_features_in_"),
        "the arguments": [type(value).__name__ for value in args] + sorted(kwargs),
        "the version": {**versions, "python": platform.python_version()},
    }


def _take_over_first(estimator: Any, ranks: Ranks) -> None:
    """Give all ranks the fitted state of rank 0, to the last bit, unless options of it cannot be stored."""
    params = estimator.get_params(deep=False)
    stored = {name: value for name, value in estimator.__getstate__().items() if name not in params}
    state = ranks.of_first(pickled(stored) if ranks.is_first else None)
    if state is not None:
        twin = object.__new__(type(estimator))
        twin.__setstate__({**params, **pickle.loads(state)})
        vars(estimator).update({name: value for name, value in vars(twin).items() if name not in params})
