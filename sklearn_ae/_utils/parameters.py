"""Validation of parameters that are not those of an estimator."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import check_scalar

from sklearn_ae._utils.arrays import check_array
from sklearn_ae._utils.compat import InvalidParameterError


def finite_vector(values: Any, name: str) -> np.ndarray:
    """Return a vector of finite numbers, or raise an error that names the parameter."""
    if np.ndim(values) != 1:
        raise ValueError(f"{name} must have 1 dimension; got {np.ndim(values)}.")
    return check_array(values, ensure_2d=False, dtype=np.float64, input_name=name)


def finite_number(value: Any, name: str) -> float:
    """Return a finite number, or raise an error that names the parameter."""
    check_scalar(value, name, Real)
    if not np.isfinite(value):
        raise ValueError(f"{name} must be finite; got {value!r}.")
    return float(value)


def index(component: Any, n_components: int, name: str) -> int:
    """Return the index of a component, or raise an error that names the parameter."""
    is_integer = isinstance(component, (int, np.integer)) and not isinstance(component, bool)
    if not is_integer or not 0 <= component < n_components:
        raise ValueError(
            f"{name} must be an integer from 0 to {n_components - 1}, since the code has {n_components} "
            f"components; got {component!r}."
        )
    return int(component)


def check_density(density: Any) -> None:
    """Raise an error unless the density is a known name, or has ``fit`` and ``sample``."""
    if isinstance(density, str) and density not in ("gaussian", "mixture"):
        raise ValueError(
            f"density={density!r} is not known; use 'gaussian', 'mixture' or an estimator with fit and "
            "sample, such as KernelDensity()."
        )
    if not isinstance(density, str) and not (hasattr(density, "fit") and hasattr(density, "sample")):
        raise TypeError(
            f"density={density!r} has no fit and sample: use 'gaussian', 'mixture' or an estimator that "
            "has both, such as KernelDensity()."
        )


def check_groups(cv: Any, groups: Any) -> None:
    """Raise an error if the splitter requests groups and there are none."""
    routing = getattr(cv, "get_metadata_routing", None)
    if groups is None and routing is not None and routing().split.requests.get("groups"):
        raise ValueError(f"cv={cv!r} needs groups: pass the group of each sample as groups.")


def check_positive(name: str, value: Any) -> None:
    """Raise an error unless the value is a positive integer."""
    if not isinstance(value, Integral) or value < 1:
        raise InvalidParameterError(f"{name} must be a positive integer; got {value!r}.")
