"""Checks of what the user's functions return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor


def checked_result(value: Any, shape: Sequence[int], parameter: str) -> Tensor:
    """Return the result of the function passed as ``parameter`` if it is a tensor of this shape."""
    if isinstance(value, Tensor) and value.shape == tuple(shape):
        return value
    got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    raise ValueError(
        f"The function passed as {parameter} must return a tensor of shape {tuple(shape)}; got {got}."
    )
