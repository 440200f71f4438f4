"""Clumps: small groups of samples that are separated from all others along one direction.

With many features, distances do not detect clumps. At six standard deviations from the
centre in 60 dimensions, a clump is closer to the centre than most samples, and its
samples are close to each other. Along the direction towards it there is a gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import median_abs_deviation, norm

_N_STARTS = 300  # Number of samples from whose neighbourhoods the search starts
_N_NEIGHBORS = 10
_N_AXES = 5  # Number of principal axes from which it starts in addition
_N_ITERATIONS = 6
_N_REFINEMENTS = 3
_CAP = 3.5  # Projections beyond, in standard deviations, count no more.

_MIN_SAMPLES = 10

# Limits of a clump, where standard deviations are those of the other samples
_MIN_SIZE = 3
_MIN_FRACTION = 0.005
_MIN_SEPARATION = 4.5  # Distance of the medians, in standard deviations
_MAX_STD = 1.5  # Standard deviation along the direction
_MAX_VARIANCE = 1.3  # Mean variance, relative to that of the other samples
_MAX_GAP = 0.2  # Density in the gap, relative to that of the clump
_MIN_ROOT_GAP = (
    1.4  # Difference of the roots of the numbers of samples, whose standard deviation is about 0.7
)

# Loose clumps resemble clusters and tails of normal samples. A clump is tight below this relative variance.
_TIGHT = 0.5
_MAX_LOOSE_FRACTION = 0.1  # Larger groups are clusters of normal samples unless they are tight.
_MARGIN_TIGHT, _MARGIN_LOOSE = (
    2.0,
    4.0,
)  # Required gain in log-likelihood, in multiples of the penalty of the BIC

_RIDGE = 1e-6  # Lower bound of variances, relative to the largest or mean one


@dataclass
class Clump:
    """Direction towards a clump, along which the other samples have mean 0 and standard deviation 1."""

    direction: np.ndarray  # (d,)
    mean: np.ndarray  # (d,), of the other samples
    threshold: float  # deviation in the gap

    def deviation(self, X: np.ndarray) -> np.ndarray:
        """Return the signed deviation from the mean along the direction, of shape (n,)."""
        return (X - self.mean) @ self.direction

    def contains(self, X: np.ndarray) -> np.ndarray:
        """Return a boolean mask of the samples in the clump, of shape (n,)."""
        return self.deviation(X) > self.threshold


class _Group(NamedTuple):
    """Samples beyond a gap, and the gain in log-likelihood of a normal distribution of their own."""

    inside: np.ndarray  # (n,), mask
    threshold: float
    gain: float


class _Gap(NamedTuple):
    """Position of a gap on a line, and the group beyond it in units of the spread before it."""

    threshold: float
    separation: float
    std: float


def find_clump(X: np.ndarray, core: np.ndarray, max_size: int, rng: np.random.RandomState) -> Clump | None:
    """Return the most likely clump of samples of shape (n, d), or None without a significant one.

    Only the samples in the mask ``core`` are searched, because other outliers would mislead
    the search. The clump must be separated from all samples.

    On whitened samples, the direction towards a clump has a large skewness [1]_. Local
    maxima of the skewness are found from many starts. Where the projection has a gap,
    the linear discriminant between the samples beyond the gap and the others replaces
    the direction. A clump is significant if its gain in log-likelihood exceeds the
    penalty of the Bayesian information criterion.

    References
    ----------
    .. [1] D. Pena, F. Prieto (2001), Multivariate outlier detection and robust
       covariance matrix estimation, Technometrics 43.
    """
    everything, X = X, X[core]
    if len(X) < _MIN_SAMPLES:
        return None
    Z = _whiten(X)
    group = _best_group(Z, Z @ _directions(Z, rng), max_size, significant=False)
    clump, gain = None, 0.0
    for _ in range(_N_REFINEMENTS):
        if group is None:
            break
        found = _discriminant(X, group.inside)
        group = _best_group(Z, found.deviation(X)[:, None], max_size, significant=True)
        if group is None or group.gain <= gain:
            break
        found.threshold, gain = group.threshold, group.gain
        clump = found
    return clump if clump is not None and _is_separated(clump, everything) else None


# -- directions ---------------------------------------------------------------------------


def _whiten(X: np.ndarray) -> np.ndarray:
    """Return the principal components with variance 1, in the order of their variances."""
    A = X - X.mean(axis=0)
    variances, axes = np.linalg.eigh(A.T @ A / len(A))
    kept = variances > max(_RIDGE * variances[-1], np.finfo(float).tiny)
    return A @ (axes[:, kept] / np.sqrt(variances[kept]))


def _directions(Z: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Return unit vectors with large skewness, of shape (d, n_directions).

    Starts are the means of neighbourhoods, and the principal axes. The variance of loose
    clumps makes the latter good enough without maximisation, which noise may mislead.
    """
    axes = np.eye(Z.shape[1])[:, -_N_AXES:]
    axes = np.concatenate([axes, -axes], axis=1)
    W = _unit(np.concatenate([_local_means(Z, rng), axes], axis=1))
    for _ in range(_N_ITERATIONS):
        W = _unit(Z.T @ np.square(np.clip(Z @ W, 0.0, _CAP)))
    return np.concatenate([W, axes], axis=1)


def _local_means(Z: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Return the means of the neighbourhoods of random samples, of shape (d, n_starts)."""
    n_neighbors = min(_N_NEIGHBORS, len(Z) - 1)
    starts = np.sort(rng.permutation(len(Z))[:_N_STARTS])
    distances = np.square(Z).sum(axis=1) - 2.0 * Z[starts] @ Z.T
    nearest = np.argpartition(distances, n_neighbors, axis=1)[:, :n_neighbors]
    return Z[nearest].mean(axis=1).T


def _unit(W: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(W, axis=0)
    return W[:, length > 0] / length[length > 0]


def _discriminant(X: np.ndarray, inside: np.ndarray) -> Clump:
    """Return the direction of the linear discriminant, in standard deviations of the other samples."""
    mean = X[~inside].mean(axis=0)
    difference = X[inside].mean(axis=0) - mean
    A = X[~inside] - mean
    covariance = A.T @ A / len(A)
    covariance.flat[:: len(covariance) + 1] += _RIDGE * np.trace(covariance) / len(covariance)
    direction = np.linalg.solve(covariance, difference)
    std = np.sqrt(max(float(direction @ difference), np.finfo(float).tiny))
    return Clump(direction / std, mean, np.inf)


# -- groups -------------------------------------------------------------------------------


def _best_group(Z: np.ndarray, projections: np.ndarray, max_size: int, *, significant: bool) -> _Group | None:
    """Return the group with the largest gain in any of the projections, of shape (n, n_directions)."""
    ordered = np.sort(projections.T, axis=1)
    spreads = median_abs_deviation(ordered, axis=1, scale="normal")
    found = [(j, _widest_gap(t, float(spreads[j]), max_size)) for j, t in enumerate(ordered)]
    columns = [j for j, gap in found if gap is not None]
    if not columns:
        return None
    thresholds, separations, stds = np.array([gap for _, gap in found if gap is not None]).T
    inside = projections[:, columns] > thresholds
    n, d = Z.shape
    size = inside.sum(axis=0)
    # Others follow the direction of their own noise: their standard deviation along it is too small.
    shrinkage = np.maximum(1.0 - d / (n - size), 0.1)
    variance = _relative_variance(Z, inside)
    tightness = np.where(variance < 1.0, variance - 1.0 - np.log(variance), 0.0)
    gains = 0.5 * size * (shrinkage * separations**2 + d * tightness + 2.0 * np.log(size / n))
    penalty = 0.5 * (d + 2) * np.log(n) * np.where(variance < _TIGHT, _MARGIN_TIGHT, _MARGIN_LOOSE)
    is_clump = (separations >= _MIN_SEPARATION) & (variance <= _MAX_VARIANCE)
    is_clump &= (variance < _TIGHT) | (size <= _MAX_LOOSE_FRACTION * n)
    gains[~is_clump | (stds * np.sqrt(shrinkage) > _MAX_STD)] = 0.0
    best = int(np.argmax(gains - penalty))
    if significant and gains[best] <= penalty[best]:
        return None
    return _Group(inside[:, best], float(thresholds[best]), float(gains[best]))


def _is_separated(clump: Clump, X: np.ndarray) -> bool:
    """Return whether samples outside of the core do not continue the clump to a wide group."""
    t = clump.deviation(X)
    beyond = t[t > clump.threshold]
    in_gap = np.sum(np.abs(t - clump.threshold) < 0.5)
    densest = np.sum(np.abs(t - np.median(beyond)) < 0.5)
    return bool(median_abs_deviation(beyond, scale="normal") <= 2.0 and in_gap <= _MAX_GAP * densest)


def _relative_variance(Z: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the variance of each group relative to that of the other samples, of shape (n_groups,)."""

    def variance(mask: np.ndarray) -> np.ndarray:
        size = mask.sum(axis=0)
        mean = (mask.T.astype(float) @ Z) / size[:, None]
        squares = np.square(Z).sum(axis=1) @ mask - size * np.square(mean).sum(axis=1)
        return squares / np.maximum(size - 1, 1)

    return np.maximum(variance(inside) / np.maximum(variance(~inside), np.finfo(float).tiny), 1e-4)


def _widest_gap(t: np.ndarray, spread: float, max_size: int) -> _Gap | None:
    """Return the gap between most of the sorted values and a group of the largest ones, if there is one.

    Densities are compared in windows of one standard deviation. Variances are stabilised
    by the root of the number of samples.
    """
    n = len(t)
    last = min(t[-1], t[n // 2] + 60 * spread)
    if not spread > 0:
        return None
    positions = np.arange(t[n // 2] + 2 * spread, last + spread, spread / 4)
    if not len(positions):
        return None
    counts = np.searchsorted(t, positions + spread / 2) - np.searchsorted(t, positions - spread / 2)
    beyond = n - np.searchsorted(t, positions)
    largest = np.maximum.accumulate(counts[::-1])[::-1]
    gaps = np.sqrt(largest) - np.sqrt(counts)
    possible = (beyond <= max_size) & (beyond >= max(_MIN_SIZE, _MIN_FRACTION * n))
    gaps[~possible | (counts > _MAX_GAP * largest)] = 0.0
    if gaps.max() < _MIN_ROOT_GAP:
        return None
    return _describe_gap(t, float(positions[_middle_of_first_run(gaps >= gaps.max() - 1e-9)]))


def _middle_of_first_run(mask: np.ndarray) -> int:
    start = int(mask.argmax())
    length = int(np.append(~mask[start:], True).argmax())
    return start + (length - 1) // 2


def _describe_gap(t: np.ndarray, threshold: float) -> _Gap | None:
    others, group = np.split(t, [np.searchsorted(t, threshold, side="right")])
    if not len(group):
        return None
    # The spread on the side of the gap: other clumps may lie on the opposite side.
    centre, upper = others[len(others) // 2], others[int(0.9 * len(others))]
    std = max(upper - centre, np.finfo(float).tiny) / norm.ppf(0.9)
    return _Gap(threshold, float(np.median(group) - centre) / std, float(group.std()) / std)
