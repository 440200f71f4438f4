"""Messages for samples that cannot be used: which features, and what to do about them."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from scipy import sparse

_TIME_DTYPE = re.compile("date|time|period|duration", re.IGNORECASE)  # of pandas, polars and pyarrow
_TIMES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)
_N_LISTED = 5  # features that a message names

_TO_NUMBERS = "Convert them to numbers first, for example to the number of days since the first date."
_ENCODE = "Encode them first, for example with OneHotEncoder in make_column_transformer."


def refuse_times(X: Any, name: str) -> None:
    """Raise an error if features are dates or times, which convert to floats in an arbitrary unit.

    Parameters
    ----------
    X : data frame, table or array of dates
    name : str
        Name of X in the message.
    """
    if type(X).__name__ == "LazyFrame":
        raise TypeError(f"{name} is a LazyFrame, a query without samples; pass its result, {name}.collect().")
    if not hasattr(X, "columns"):
        raise ValueError(f"{name} holds dates or times. {_TO_NUMBERS}")
    is_arrow = hasattr(X, "column_names")
    dtypes = zip(*((X.column_names, X.schema.types) if is_arrow else (X.columns, X.dtypes)), strict=True)
    times = [feature for feature, dtype in dtypes if _TIME_DTYPE.match(str(dtype))]
    if times:
        raise ValueError(f"{name} has dates or times in {_listed(times)}. {_TO_NUMBERS}")


def reason_for(X: Any, estimator: Any, allow_nan: bool = False) -> str | None:
    """Return why samples were refused and the remedy, or None if scikit-learn's message gives them.

    Parameters
    ----------
    X : array-like, sparse matrix, data frame or table
    estimator : estimator
    allow_nan : bool
        Whether X may contain NaN.
    """
    if isinstance(X, (str, Mapping)):
        return f"is a {type(X).__name__}; pass an array or a data frame."
    shape = _shape(X)
    if len(shape) > 2:
        return _images(shape)
    if len(shape) < 2:
        return None
    mask = {"error": ", set missing='mask' to leave them out", "mask": ", call fit, which leaves them out"}
    missing = getattr(estimator, "missing", "")
    fill: str | None = (
        f"Fill in missing values first, for example with make_pipeline(SimpleImputer(), "
        f"{type(estimator).__name__}(...)){mask.get(missing, '')}, or remove these samples."
    )
    if allow_nan:  # pandas.NA alone does not convert to NaN
        has_objects = hasattr(X, "convert_dtypes") and "object" in map(str, X.dtypes)
        fill = "Call X.convert_dtypes() first." if has_objects else None
    return _not_numeric(X) or _not_finite(X, "feature", fill)


def reason_for_codes(Z: Any) -> str | None:
    """Return why latent codes were refused, or None if scikit-learn's message says it."""
    remedy = "pass codes of shape (n_samples, n_components_), as transform returns them."
    shape = _shape(Z)
    if len(shape) > 2:
        return f"has shape {shape}; {remedy}"
    return _not_finite(Z, "component", remedy.capitalize()) if len(shape) == 2 else None


def _not_finite(X: Any, noun: str, remedy: str | None) -> str | None:
    """Return the reason for NaN, with its remedy if it is refused, or for infinity; None if there is none."""
    for test, value, advice in (
        (np.isnan, "NaN", remedy),
        (np.isinf, "infinity", "Replace or remove these values first."),
    ):
        found = [name for name, column in _features(X) if advice and _any(test, column)]
        if found:
            return f"contains {value} in {_listed(found, noun)}. {advice}"
    return None


# -- shape ----------------------------------------------------------------------------------


def _shape(X: Any) -> tuple[int, ...]:
    try:
        return tuple(X.shape) if hasattr(X, "shape") else np.shape(X)
    except ValueError:  # a list whose entries have different lengths
        return ()


def _images(shape: tuple[int, ...]) -> str:
    """Return the reason for arrays of more than two dimensions, which usually hold images."""
    move, image = "", shape[1:]
    if len(shape) == 4 and shape[3] in (1, 3, 4) and shape[1] not in (1, 3, 4):
        move, image = "move the channels to the front by transpose(0, 3, 1, 2), and ", (shape[3], *shape[1:3])
    images = f" For convolutions on images, use network=Conv(image_shape={image})." if len(image) < 4 else ""
    reshape = "reshape to (n_samples, -1), in a dataset by a transform that calls torch.flatten"
    return f"has shape {shape}, but samples must be flat: {move}{reshape}.{images}"


# -- features -------------------------------------------------------------------------------


def _features(X: Any) -> Iterator[tuple[Any, Any]]:
    """Iterate over the names, or indices without names, and the values of the features."""
    if hasattr(X, "column_names"):  # pyarrow
        return zip(X.column_names, X.columns, strict=True)
    if hasattr(X, "iter_columns"):  # polars
        return zip(X.columns, X.iter_columns(), strict=True)
    if hasattr(X, "columns"):
        return iter(X.items())
    if sparse.issparse(X):
        by_feature = X.tocsc()
        ends = by_feature.indptr
        return ((j, by_feature.data[ends[j] : ends[j + 1]]) for j in range(X.shape[1]))
    return enumerate(np.asarray(X).T)


def _as_floats(values: Any) -> np.ndarray | None:
    """Return values as an array with NaN for missing ones, or None if they are not numeric."""
    try:
        if hasattr(values, "isna"):
            return values.astype(object).to_numpy(dtype=float, na_value=np.nan)
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        return None


def _any(test: Any, column: Any) -> bool:
    values = None if np.iscomplexobj(column) else _as_floats(column)
    return values is not None and bool(test(values).any())


def _not_numeric(X: Any) -> str | None:
    """Return the reason for features of text, categories, dates or times."""
    if sparse.issparse(X) or getattr(getattr(X, "dtype", None), "kind", "O") not in "OSU":
        return None
    first = {name: _first_refused(column) for name, column in _features(X) if _as_floats(column) is None}
    times = [name for name, value in first.items() if isinstance(value, _TIMES)]
    others = [
        name
        for name, value in first.items()
        if name not in times and (isinstance(value, str) or hasattr(X, "columns"))
    ]
    reasons = [f"has dates or times in {_listed(times)}. {_TO_NUMBERS}"] if times else []
    if others:
        reasons.append(f"has features that are not numeric: {_listed(others, '')}. {_ENCODE}")
    return " It ".join(reasons) or None


def _first_refused(column: Any) -> Any:
    """Return the first value of a column that does not convert to a float."""
    return next((value for value in column if _as_floats(value) is None), None)


def _listed(names: list[Any], noun: str = "feature") -> str:
    """Return "feature 'a'", or "features 'a', 'b', 'c', 'd', 'e' and 7 more"."""
    plural = "s" if noun and len(names) > 1 else ""
    shown = ", ".join(map(repr, names[:_N_LISTED]))
    rest = f" and {len(names) - _N_LISTED} more" if len(names) > _N_LISTED else ""
    return f"{noun}{plural} {shown}{rest}".lstrip()
