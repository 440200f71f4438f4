"""Jacobians of any function that maps samples separately, by central differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

STEP = 1e-3  # Step of the differences, in standard deviations of the arguments
_BLOCK_VALUES = 2**22  # Number of values computed at a time


def jacobian_blocks(
    function: Callable[[np.ndarray], np.ndarray],
    points: np.ndarray,
    steps: np.ndarray,
    n_values: int,
    minimum: float = -np.inf,
) -> Iterator[np.ndarray]:
    """Iterate over transposed Jacobians (n, d, k) at blocks of points.

    Parameters
    ----------
    function : callable
        Maps samples (n, d) to values (n, k).
    points : ndarray of shape (n_points, d)
    steps : ndarray of shape (d,)
        Step along each argument.
    n_values : int
        Number k of values.
    minimum : float, default=-inf
        Smallest argument that the function accepts, at which steps stop.
    """
    d = points.shape[1]
    size = max(1, _BLOCK_VALUES // (2 * d * max(d, n_values)))
    for start in range(0, len(points), size):
        block = points[start : start + size, None]
        up, down = block + np.diag(steps), np.maximum(block - np.diag(steps), minimum)
        moved = np.concatenate([up, down], axis=1).reshape(-1, d)
        values = function(moved).reshape(-1, 2, d, n_values)
        gap = np.diagonal(up - down, axis1=1, axis2=2)[..., None]
        yield (values[:, 0] - values[:, 1]) / gap


def varying(X: np.ndarray, std: np.ndarray, typical: float = 0.0) -> np.ndarray:
    """Return the mask of the features that are not constant up to rounding errors.

    ``typical`` is a standard deviation in the same units, if all features have these.
    """
    return std > 1e-12 * np.maximum(typical, np.abs(X).max(axis=0))
