"""Sets of multivariate normal densities: evaluated together, and fitted as mixtures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sklearn_ae._utils.gaussian import LOG_2PI

_BLOCK_VALUES = 2**20
_N_ITER = 20  # Fixed, because a tolerance would make the fit discontinuous in the data
_N_CANDIDATES = 4  # Number of candidates for each seed of k-means++
_FLOOR = 1e-3  # Added to the variances of a mixture's components; those of the data are about 1


class Normals:
    """Multivariate normal densities, all evaluated by one matrix product.

    Parameters
    ----------
    means : ndarray of shape (n, r)
    covariances : ndarray of shape (n, r, r)
    """

    def __init__(self, means: np.ndarray, covariances: np.ndarray):
        precisions = np.linalg.inv(covariances)
        slopes = np.einsum("nij,nj->ni", precisions, means)
        constants = np.linalg.slogdet(covariances)[1] + np.einsum("ni,ni->n", slopes, means)
        constants += means.shape[1] * LOG_2PI
        first, second = np.triu_indices(means.shape[1])
        quadratic = precisions[:, first, second] * np.where(first == second, 1.0, 2.0)
        self._coefficients = -0.5 * np.column_stack([quadratic, -2.0 * slopes, constants]).T

    def at_monomials(self, monomials: np.ndarray) -> np.ndarray:
        """Return the log-densities (m, n) at the points that have these :func:`_monomials`."""
        return monomials @ self._coefficients

    def blocks(self, points: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Iterate over slices of the points (m, r) and their log-densities under each normal."""
        size = max(1, _BLOCK_VALUES // self._coefficients.shape[1])
        for start in range(0, len(points), size):
            block = points[start : start + size]
            yield slice(start, start + len(block)), self.at_monomials(_monomials(block))

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """Return the log-density (m,) of the points under the mixture with equal weights."""
        values = [log_sum_exp(log_q) - np.log(log_q.shape[1]) for _, log_q in self.blocks(points)]
        return np.concatenate(values)


def _monomials(points: np.ndarray) -> np.ndarray:
    """Return the products of all pairs of coordinates, the coordinates, and ones."""
    first, second = np.triu_indices(points.shape[1])
    return np.column_stack([points[:, first] * points[:, second], points, np.ones(len(points))])


def log_sum_exp(log_q: np.ndarray) -> np.ndarray:
    """Return the log-sum-exp over the second of two axes, several times faster than scipy's."""
    top = log_q.max(axis=1, keepdims=True)
    return top[:, 0] + np.log(np.exp(log_q - top).sum(axis=1))


class FoldMixtures:
    """Gaussian mixtures fitted by expectation maximisation to the data outside of each fold.

    Both steps are matrix products with the monomials of the data, for all folds at once, which is much
    faster than fitting scikit-learn's ``GaussianMixture`` to each. Convergence is not required, because
    the fits are evaluated on the folds.

    Parameters
    ----------
    points : ndarray of shape (m, r)
        Data of about unit variance.
    folds : ndarray of int, shape (m,)
        Fold of each point.
    max_components : int
    rng : RandomState
        Determines the initial centres, those of k-means++.
    """

    def __init__(
        self, points: np.ndarray, folds: np.ndarray, max_components: int, rng: np.random.RandomState
    ):
        self._points, self._monomials = points, _monomials(points)
        self._outside = folds[:, None] != np.arange(folds.max() + 1)
        self._pairs = np.triu_indices(points.shape[1])
        self._seeds = _seeds(points, self._outside, max_components, rng)

    def fit(self, n_components: int) -> FoldMixtures:
        """Fit mixtures of this size, and return self."""
        centres = self._points[self._seeds[:, :n_components]]
        distances = np.square(centres).sum(axis=2) - 2.0 * np.einsum("mj,fcj->mfc", self._points, centres)
        self._maximise(np.eye(n_components)[distances.argmin(axis=2)])
        for _ in range(_N_ITER if n_components > 1 else 0):
            log_joint = self._log_joint(self._monomials)
            joint = np.exp(log_joint - log_joint.max(axis=2, keepdims=True))
            self._maximise(joint / joint.sum(axis=2, keepdims=True))
        return self

    def log_density(self, points: np.ndarray, folds: np.ndarray) -> np.ndarray:
        """Return the log-density (m,) of each point under the mixture fitted outside of its fold."""
        log_joint = self._log_joint(_monomials(points))
        return log_sum_exp(log_joint[np.arange(len(points)), folds])

    def _log_joint(self, monomials: np.ndarray) -> np.ndarray:
        log_q = self._normals.at_monomials(monomials)
        return log_q.reshape(len(monomials), *self._log_weights.shape) + self._log_weights

    def _maximise(self, responsibilities: np.ndarray) -> None:
        """Set weights, means and covariances to the moments under the responsibilities (m, folds, c)."""
        weighted = responsibilities * self._outside[:, :, None]
        counts = weighted.sum(axis=0) + 10 * np.finfo(float).eps
        moments = np.tensordot(weighted, self._monomials, (0, 0)) / counts[:, :, None]
        moments = moments.reshape(counts.size, -1)
        first, second = self._pairs
        second_moments, means = moments[:, : len(first)], moments[:, len(first) : -1]
        covariances = np.empty((*means.shape, means.shape[1]))
        covariances[:, first, second] = second_moments - means[:, first] * means[:, second]
        covariances[:, second, first] = covariances[:, first, second]
        self._normals = Normals(means, covariances + _FLOOR * np.eye(means.shape[1]))
        self._log_weights = np.log(counts / counts.sum(axis=1, keepdims=True))


def _seeds(points: np.ndarray, outside: np.ndarray, n_seeds: int, rng: np.random.RandomState) -> np.ndarray:
    """Return the indices (folds, n_seeds) of points outside of each fold, drawn as for k-means++.

    Of several candidates, drawn with probabilities in proportion to the squared distances to the
    previous seeds, each step takes the one that leaves the least sum of squared distances.
    """
    n_folds = outside.shape[1]
    seeds = np.empty((n_folds, n_seeds), dtype=int)
    every_fold = np.arange(n_folds)
    lengths = np.square(points).sum(axis=1)
    distances = probabilities = outside.T.astype(float)
    for i in range(n_seeds):
        cumulated = probabilities.cumsum(axis=1)
        drawn = rng.uniform(size=(_N_CANDIDATES, n_folds, 1)) * cumulated[:, -1:]
        candidates = (cumulated <= drawn).sum(axis=2).clip(max=len(points) - 1)
        gaps = lengths - 2.0 * points[candidates] @ points.T + lengths[candidates][..., None]
        gaps = gaps if i == 0 else np.minimum(gaps, distances)
        best = (gaps * outside.T).sum(axis=2).argmin(axis=0)
        seeds[:, i] = candidates[best, every_fold]
        distances = np.maximum(gaps[best, every_fold], 0.0)
        probabilities = distances * outside.T
    return seeds
