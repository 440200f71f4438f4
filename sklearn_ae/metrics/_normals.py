"""Sets of multivariate normal densities: evaluated together, and fitted as mixtures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn.cluster import kmeans_plusplus

from sklearn_ae._utils.gaussian import LOG_2PI

_BLOCK_VALUES = 2**20
_N_ITER = 15  # Fixed, because a tolerance would make the fit discontinuous in the data
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


class NormalMixture:
    """Gaussian mixture fitted to data of about unit variance by expectation maximisation.

    Both steps are matrix products with the monomials of the data, which is several times faster than
    scikit-learn's ``GaussianMixture``. Convergence is not required: the caller evaluates the fit on
    other data.

    Parameters
    ----------
    points : ndarray of shape (m, r)
    n_components : int
    rng : RandomState
        Determines the initial clusters, which are those of k-means.
    """

    def __init__(self, points: np.ndarray, n_components: int, rng: np.random.RandomState):
        self._pairs = np.triu_indices(points.shape[1])
        monomials = _monomials(points)
        centres = kmeans_plusplus(points, n_components, random_state=rng)[0]
        nearest = (np.square(centres).sum(axis=1) - 2.0 * points @ centres.T).argmin(axis=1)
        self._maximise(np.eye(n_components)[nearest], monomials)
        for _ in range(_N_ITER if n_components > 1 else 0):
            log_joint = self._log_joint(monomials)
            joint = np.exp(log_joint - log_joint.max(axis=1, keepdims=True))
            self._maximise(joint / joint.sum(axis=1, keepdims=True), monomials)

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """Return the log-density (m,) of the points."""
        return log_sum_exp(self._log_joint(_monomials(points)))

    def _log_joint(self, monomials: np.ndarray) -> np.ndarray:
        return self._normals.at_monomials(monomials) + self._log_weights

    def _maximise(self, responsibilities: np.ndarray, monomials: np.ndarray) -> None:
        """Set weights, means and covariances to the moments under the responsibilities (m, c)."""
        counts = responsibilities.sum(axis=0) + 10 * np.finfo(float).eps
        moments = responsibilities.T @ monomials / counts[:, None]
        first, second = self._pairs
        second_moments, means = moments[:, : len(first)], moments[:, len(first) : -1]
        covariances = np.empty((*means.shape, means.shape[1]))
        covariances[:, first, second] = second_moments - means[:, first] * means[:, second]
        covariances[:, second, first] = covariances[:, first, second]
        self._normals = Normals(means, covariances + _FLOOR * np.eye(means.shape[1]))
        self._log_weights = np.log(counts / counts.sum())
