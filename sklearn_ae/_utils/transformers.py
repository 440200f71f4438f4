"""Encoding and decoding with any fitted transformer, with errors that name the parameter."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from sklearn_ae._utils.arrays import check_array, dense
from sklearn_ae._utils.pipelines import first_step


def kind(model: Any) -> str:
    """Return a description of a model for error messages."""
    return f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__


def check_decoder(model: Any, name: str = "model") -> None:
    """Raise TypeError unless the model, passed as parameter ``name``, can encode and decode."""
    missing = [method for method in ("transform", "inverse_transform") if not hasattr(model, method)]
    if missing or isinstance(model, type):
        raise TypeError(
            f"{name} must be a fitted transformer with transform and inverse_transform; got {kind(model)}"
            f"{' without ' + ' and '.join(missing) if missing else ', not an instance'}. Use, for instance, "
            "PCA, AutoencoderTransformer, or a Pipeline of steps that all have inverse_transform."
        )


def transform(model: Any, X: Any) -> Any:
    """Return ``model.transform(X)``; scikit-learn 1.7 raises no NotFittedError for an unfitted PCA."""
    try:
        return model.transform(X)
    except AttributeError:
        if isinstance(model, BaseEstimator):
            check_is_fitted(model)
        raise


def encode(model: Any, X: Any, name: str) -> np.ndarray:
    """Return the codes of samples as a float array of shape (n_samples, n_components)."""
    check_decoder(model)
    if np.ndim(X) not in (1, 2):
        raise ValueError(f"{name} must have 1 dimension (one sample) or 2; got {np.ndim(X)}.")
    try:
        codes = transform(model, X if np.ndim(X) == 2 else _as_2d(X))
    except Exception as error:
        error.add_note(f"Raised by {type(model).__name__}.transform for {name}.")
        raise
    return check_array(dense(codes), dtype=[np.float64, np.float32], input_name=f"transform({name})")


def _as_2d(x: Any) -> Any:
    """Return a single sample in two dimensions; a row of a DataFrame keeps its feature names."""
    if hasattr(x, "to_frame") and hasattr(x, "iloc"):
        return x.to_frame().T.infer_objects()
    return (x if sparse.issparse(x) else np.asarray(x)).reshape(1, -1)


def dense_samples(X: Any, name: str = "X") -> np.ndarray:
    """Return samples, possibly sparse or in a data frame, as a float array."""
    return check_array(dense(X), dtype=[np.float64, np.float32], input_name=name)


def decode(model: Any, codes: np.ndarray, dtype: Any) -> np.ndarray:
    """Return the decoded samples of codes of shape (..., n_components)."""
    decoded = np.asarray(dense(model.inverse_transform(codes.reshape(-1, codes.shape[-1]).astype(dtype))))
    return decoded.reshape(*codes.shape[:-1], decoded.shape[-1])


def minimum_input(model: Any) -> float:
    """Return 0 for models with the tag for nonnegative input, such as NMF, or else minus infinity."""
    first = first_step(model)
    if hasattr(first, "__sklearn_tags__") and get_tags(first).input_tags.positive_only:
        return 0.0
    return -np.inf


def in_frame_of(X: Any, values: np.ndarray) -> Any:
    """Return a data frame with the columns of X, which the model may require, if X is one."""
    if not hasattr(X, "columns"):
        return values
    names = {"columns": X.columns} if hasattr(X, "iloc") else {"schema": list(X.columns)}
    return type(X)(values, **names)
