"""Densities fitted to codes, and draws from them."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.mixture import GaussianMixture

from sklearn_ae._utils.arrays import dense
from sklearn_ae._utils.gaussian import fit_mixture

_MIXTURE_SIZES = (1, 2, 4, 8, 16, 32)


def draw_gaussians(codes: np.ndarray, density: str, n_samples: int, rng: np.random.RandomState) -> np.ndarray:
    """Return draws from a Gaussian or a Gaussian mixture fitted to the codes.

    The fit uses coordinates with unit covariance, which have no null directions, so that one floor on
    the variances suits all units.
    """
    mean = codes.mean(axis=0, dtype=np.float64)
    u, s, vt = np.linalg.svd(codes - mean, full_matrices=False)
    negligible = s[0] * max(codes.shape) * np.finfo(codes.dtype).eps
    rank = int(np.count_nonzero(s > negligible))
    root = np.sqrt(max(len(codes) - 1, 1))
    mixture = _mixture(root * u[:, :rank], rng) if density == "mixture" else None
    white = mixture.sample(n_samples)[0] if mixture is not None else rng.standard_normal((n_samples, rank))
    return mean + white @ (s[:rank, np.newaxis] * vt[:rank] / root)


def _mixture(white: np.ndarray, rng: np.random.RandomState) -> GaussianMixture | None:
    """Return the mixture with the lowest BIC, or None if there are only enough samples for one Gaussian."""
    n, rank = white.shape
    sizes = [size for size in _MIXTURE_SIZES if 2 * size * (rank + 1) <= n] if rank else []
    if len(sizes) < 2:
        return None
    fits = [fit_mixture(white, k, rng, max_iter=100) for k in sizes]
    return min(fits, key=lambda mixture: mixture.bic(white))


def draw_from_estimator(
    codes: np.ndarray, density: Any, n_samples: int, rng: np.random.RandomState
) -> np.ndarray:
    """Return draws from a clone fitted to the codes, without using NumPy's global generator."""
    density = clone(density)
    params = density.get_params().items()
    unset = {name: rng for name, value in params if name.endswith("random_state") and value is None}
    density.set_params(**unset).fit(codes)
    takes_state = "random_state" in inspect.signature(density.sample).parameters
    drawn = density.sample(n_samples, **({"random_state": rng} if takes_state else {}))
    drawn = np.asarray(
        dense(drawn[0] if isinstance(drawn, tuple) else drawn)
    )  # GaussianMixture also returns labels
    if drawn.shape != (n_samples, codes.shape[1]):
        raise ValueError(
            f"density={density!r} drew an array of shape {drawn.shape} instead of "
            f"{(n_samples, codes.shape[1])}: use an estimator whose sample returns codes like those in fit."
        )
    return drawn
