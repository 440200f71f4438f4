"""Format of stored models: one of another format is refused when it is loaded, not later."""

from __future__ import annotations

import sys
from typing import Any

from sklearn_ae._utils.documentation import Documented
from sklearn_ae._utils.stored_modules import with_modules, without_modules

# Raise it with every change after which fitted estimators of earlier versions no longer work.
_FORMAT = 2


class StoredEstimator(Documented):
    """Estimator whose state, as stored by pickle and joblib, holds the number of its format."""

    def __getstate__(self) -> dict[str, Any]:
        state = without_modules(super().__getstate__(), self._get_param_names())
        return state | {"_sklearn_ae_state": _FORMAT, "_sklearn_ae_version": _version()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        found = state.get("_sklearn_ae_state")
        version = state.get("_sklearn_ae_version", "without a number")
        known = {k: v for k, v in state.items() if not k.startswith("_sklearn_ae_")}
        super().__setstate__(with_modules(known))
        if found != _FORMAT and self.__sklearn_is_fitted__():
            raise ValueError(
                f"This {type(self).__name__} was stored by sklearn_ae {version} (format {found}), but "
                f"sklearn_ae {_version()} reads format {_FORMAT}. Fit it again, or install the version that "
                "stored it."
            )

    def __sklearn_is_fitted__(self) -> bool:
        raise NotImplementedError


def _version() -> str:
    return sys.modules[__name__.partition(".")[0]].__version__
