"""The one place that imports scikit-learn's private helpers."""

from sklearn.base import _fit_context
from sklearn.utils import _param_validation, _safe_indexing
from sklearn.utils._param_validation import Interval, InvalidParameterError, Options, RealNotInt
from sklearn.utils.validation import _check_sample_weight

__all__ = [
    "Interval",
    "InvalidParameterError",
    "Options",
    "RealNotInt",
    "StrOptions",
    "_check_sample_weight",
    "_fit_context",
    "_safe_indexing",
]


class StrOptions(_param_validation.StrOptions):
    """Constraint to some strings, which error messages list in alphabetical order."""

    def __str__(self) -> str:
        return f"a str among {{{', '.join(map(repr, sorted(self.options)))}}}"
