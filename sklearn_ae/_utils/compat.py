"""The one place that imports scikit-learn's private helpers."""

from typing import Any

from sklearn.base import _fit_context
from sklearn.utils import _param_validation, _safe_indexing
from sklearn.utils._array_api import _convert_to_numpy
from sklearn.utils._param_validation import Interval, InvalidParameterError, Options, RealNotInt
from sklearn.utils._set_output import ADAPTERS_MANAGER, _get_output_config
from sklearn.utils.validation import _check_feature_names_in, _check_sample_weight

try:
    from sklearn.utils._array_api import check_same_namespace
except ImportError:  # before scikit-learn 1.9, whose estimators do not check it

    def check_same_namespace(X: Any, estimator: Any, *, attribute: str, method: str) -> None:
        """Accept arrays of all libraries."""


__all__ = [
    "ADAPTERS_MANAGER",
    "Interval",
    "InvalidParameterError",
    "Options",
    "RealNotInt",
    "StrOptions",
    "_check_feature_names_in",
    "_check_sample_weight",
    "_convert_to_numpy",
    "_fit_context",
    "_get_output_config",
    "_safe_indexing",
    "check_same_namespace",
]


class StrOptions(_param_validation.StrOptions):
    """Constraint to some strings, which error messages list in alphabetical order."""

    def __str__(self) -> str:
        return f"a str among {{{', '.join(map(repr, sorted(self.options)))}}}"
