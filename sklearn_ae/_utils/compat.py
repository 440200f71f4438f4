"""The one place that imports scikit-learn's private helpers."""

from sklearn.base import _fit_context
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import Interval, InvalidParameterError, Options, RealNotInt, StrOptions

__all__ = [
    "Interval",
    "InvalidParameterError",
    "Options",
    "RealNotInt",
    "StrOptions",
    "_fit_context",
    "_safe_indexing",
]
