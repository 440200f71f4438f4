"""Arrays of other libraries than NumPy: recognised, converted, and returned where they came from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn import get_config
from torch import Tensor

from sklearn_ae._utils.compat import _convert_to_numpy


def is_foreign(X: Any) -> bool:
    """Return whether X is a tensor, or an array of another library that follows the array API standard."""
    if isinstance(X, Tensor):
        return X.layout is torch.strided
    return hasattr(X, "__array_namespace__") and not isinstance(X, (np.ndarray, np.generic))


def is_dispatched(X: Any) -> bool:
    """Return whether X is such an array, and scikit-learn's support for them is switched on."""
    return get_config()["array_api_dispatch"] and is_foreign(X)


def as_numpy(X: Any) -> Any:
    """Return a NumPy array for one of another library, and anything else as it is.

    Gradients are dropped, and bfloat16, which NumPy does not have, becomes float32.
    """
    if not is_foreign(X):
        return X
    if isinstance(X, Tensor):
        return without_gradient(X).cpu().numpy()
    return _convert_to_numpy(X, X.__array_namespace__())


def without_gradient(X: Tensor) -> Tensor:
    """Return a tensor without its gradient, in float32 if it is in bfloat16."""
    X = X.detach()
    return X.float() if X.dtype is torch.bfloat16 else X


def returned_as(X: Any, result: Any) -> Any:
    """Return the NumPy arrays of a result as arrays of the library and on the device of X."""
    if isinstance(result, tuple):
        return tuple(returned_as(X, part) for part in result)
    if not isinstance(result, np.ndarray):
        return result
    if not isinstance(X, Tensor):
        return X.__array_namespace__().asarray(result, device=X.device)
    result = result if result.flags.writeable else result.copy()  # that of a file, for example
    values = torch.from_numpy(np.ascontiguousarray(result))
    dtype = values.dtype if values.dtype is not torch.float64 else widest_float(X.device)
    return values.to(X.device, dtype)


def widest_float(device: torch.device) -> torch.dtype:
    """Return float64, or float32 for a device without it."""
    return torch.float32 if device.type == "mps" else torch.float64
