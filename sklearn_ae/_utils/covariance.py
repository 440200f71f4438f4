"""Location and scatter of rows: shrunk, scaled column by column; and the core of rows.

Distances are those of the shrunk correlation matrix, so that they exist for any
number of rows and columns, and do not depend on the units of columns that vary at
least a tenth as much as the others. Their squares are sums of one part per column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import median_abs_deviation
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.decomposition import PCA

_FLAT = 0.1  # least standard deviation of a column, relative to the root mean square of all

_LEAST_SHRINKAGE = 1e-6  # keeps null directions from infinite weights

_ESTIMATED = 0.6  # share of the rows that location and scatter are estimated from

_REACH = 2.0  # robust standard deviations from the median distance to the edge of the core

_LEAST = 0.75  # share of the rows in the core

_MAX_ROWS = 5_000  # that the concentration steps see

_MAX_DIRECTIONS = 100  # and directions

_MAX_STEPS = 50


@dataclass
class ShrunkCovariance:
    """Location, and the inverse of the columns' shrunk correlation.

    With D the columns' standard deviations, ``R = (1 - s) corr + s I`` and s the
    shrinkage of Ledoit and Wolf [1]_, rows become ``a = D^-1 (x - mean)``, and
    their squared distance ``a' R^-1 a``. Column j contributes ``a_j (R^-1 a)_j``, which
    is its Shapley value [2]_.

    References
    ----------
    .. [1] O. Ledoit, M. Wolf (2004), A well-conditioned estimator for
       large-dimensional covariance matrices, J. Multivariate Analysis 88.
    .. [2] M. Mayrhofer, P. Filzmoser (2023), Multivariate outlier explanations using
       Shapley values and Mahalanobis distances, Econometrics and Statistics.
    """

    mean: np.ndarray  # (d,)
    scale: np.ndarray  # (d,)
    axes: np.ndarray  # (m, d), orthonormal
    weights: np.ndarray  # (m,): inverse eigenvalues along the axes, less that of all other directions
    rest: float  # inverse eigenvalue of all other directions

    @classmethod
    def fit(cls, X: np.ndarray) -> ShrunkCovariance:
        """Estimate from rows of shape (n, d)."""
        mean, std = X.mean(axis=0), X.std(axis=0)
        floor = _FLAT * np.sqrt(np.mean(std**2))
        scale = np.maximum(std, floor) if floor > 0 else np.ones_like(std)
        A = (X - mean) / scale
        shrinkage = np.clip(ledoit_wolf_shrinkage(A, assume_centered=True), _LEAST_SHRINKAGE, 1.0)
        variances, axes = _principal_axes(A)
        other = shrinkage * (np.mean(np.square(A)) or 1.0)
        weights = 1.0 / ((1.0 - shrinkage) * variances + other) - 1.0 / other
        return cls(mean, scale, axes, weights, 1.0 / other)

    def contributions(self, X: np.ndarray) -> np.ndarray:
        """What each column adds to the squared distance, of shape (n, d); it may be negative."""
        A = (X - self.mean) / self.scale
        return A * (self.rest * A + ((A @ self.axes.T) * self.weights) @ self.axes)

    def distance(self, X: np.ndarray) -> np.ndarray:
        """Squared Mahalanobis distance of each row."""
        return np.maximum(self.contributions(X).sum(axis=1), 0.0)


def _principal_axes(A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances and axes (in rows) of centred rows, at most one for each row or column."""
    n, d = A.shape
    if n < d:
        _, singular, axes = np.linalg.svd(A, full_matrices=False)
        return singular**2 / n, axes
    variances, vectors = np.linalg.eigh(A.T @ A / n)
    return np.maximum(variances, 0.0), vectors.T


@dataclass
class InlierCore:
    """The share of the rows that lies closest together, without a look at labels.

    Concentration steps [1]_ with a shrunk covariance [2]_: estimate location and
    scatter of the rows in the core, take the 60 % of all rows that are nearest by
    it, and repeat until they stay. The first core is the half that is nearest by
    the spatial sign covariance [3]_, in which no row weighs more than another. In
    the end all rows are taken in whose distance exceeds the median distance by no
    more than two robust standard deviations, and three quarters of them in any
    case. Nothing here is random but the choice of rows beyond 5,000; of more than
    100 columns, the leading principal components are used, and the length of what
    they leave.

    References
    ----------
    .. [1] P. Rousseeuw, K. Van Driessen (1999), A fast algorithm for the minimum
       covariance determinant estimator, Technometrics 41.
    .. [2] K. Boudt, P. Rousseeuw, S. Vanduffel, T. Verdonck (2020), The minimum
       regularized covariance determinant estimator, Statistics and Computing 30.
    .. [3] S. Visuri, V. Koivunen, H. Oja (2000), Sign and rank covariance matrices,
       J. Statistical Planning and Inference 91.
    """

    pca: PCA | None
    scatter: ShrunkCovariance
    radius: float  # distance of the farthest row that is in the core

    @classmethod
    def fit(cls, X: np.ndarray, rng: np.random.RandomState) -> InlierCore:
        """Find the core of rows of shape (n, d)."""
        sample = X[np.sort(rng.permutation(len(X))[:_MAX_ROWS])]
        pca = None
        if X.shape[1] > _MAX_DIRECTIONS and np.ptp(sample, axis=0).any():
            n_directions = min(_MAX_DIRECTIONS, len(sample) - 1)
            pca = PCA(n_directions, svd_solver="randomized", random_state=rng).fit(sample)
        view = _view(sample, pca)
        scatter = _concentrated(view)
        lengths = np.sqrt(scatter.distance(view))
        reach = np.median(lengths) + _REACH * median_abs_deviation(lengths, scale="normal")
        radius = max(reach, np.quantile(lengths, _LEAST, method="higher"))
        return cls(pca, scatter, float(radius))

    def contains(self, X: np.ndarray) -> np.ndarray:
        """Which rows lie within the core; boolean of shape (n,)."""
        return np.sqrt(self.scatter.distance(_view(X, self.pca))) <= self.radius


def _view(X: np.ndarray, pca: PCA | None) -> np.ndarray:
    """Rows as the core sees them."""
    if pca is None:
        return X
    scores = pca.transform(X)
    left = np.square(X - pca.mean_).sum(axis=1) - np.square(scores).sum(axis=1)
    return np.column_stack([scores, np.sqrt(np.maximum(left, 0.0))])


def _concentrated(X: np.ndarray) -> ShrunkCovariance:
    n_core = max(2, int(np.ceil(_ESTIMATED * len(X))))
    nearest = np.argsort(_sign_distance(X), kind="stable")[: max(2, (len(X) + 1) // 2)]
    for _ in range(_MAX_STEPS):
        scatter = ShrunkCovariance.fit(X[nearest])
        before, nearest = nearest, np.argsort(scatter.distance(X), kind="stable")[:n_core]
        if np.array_equal(np.sort(before), np.sort(nearest)):
            break
    return scatter


def _sign_distance(X: np.ndarray) -> np.ndarray:
    """Squared distance from the medians by the covariance of the directions from them."""
    D = X - np.median(X, axis=0)
    length = np.linalg.norm(D, axis=1, keepdims=True)
    variances, axes = _principal_axes(D / np.maximum(length, np.finfo(float).tiny))
    floor = _LEAST_SHRINKAGE * (variances.max() or 1.0)
    return (np.square(D @ axes.T) / (variances + floor)).sum(axis=1)
