"""Shrunk covariance with additive squared distances, and a robust core of inliers.

Distances are based on the shrunk correlation matrix. They therefore exist for any
number of samples and features, and do not depend on the units of features whose
standard deviation is at least a tenth of the root mean square of all. Squared
distances are sums of one contribution per feature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import median_abs_deviation
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.decomposition import PCA

_MIN_RELATIVE_STD = 0.1  # Features vary at least this much relative to the root mean square of all.

_MIN_SHRINKAGE = 1e-6  # A positive shrinkage keeps the weights of null directions finite.

_ESTIMATION_FRACTION = 0.6  # Share of the samples in each concentration step

_CUTOFF = 2.0  # Robust standard deviations between the median distance and the edge of the core

_MIN_CORE_FRACTION = 0.75

_MAX_SAMPLES = 5_000  # Limits of the concentration steps
_MAX_DIRECTIONS = 100
_MAX_STEPS = 50


@dataclass
class ShrunkCovariance:
    """Mean and inverse of the shrunk correlation matrix of the features.

    With D the standard deviations of the features, s the shrinkage of Ledoit and
    Wolf [1]_ and ``R = (1 - s) corr + s I``, the squared distance of a sample is
    ``a' R^-1 a`` with ``a = D^-1 (x - mean)``. Feature j contributes ``a_j (R^-1 a)_j``,
    its Shapley value [2]_.

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
    weights: np.ndarray  # (m,), inverse eigenvalues along the axes minus `rest`
    rest: float  # inverse eigenvalue of all other directions

    @classmethod
    def fit(cls, X: np.ndarray) -> ShrunkCovariance:
        """Estimate the covariance from samples of shape (n, d)."""
        mean, std = X.mean(axis=0), X.std(axis=0)
        floor = _MIN_RELATIVE_STD * np.sqrt(np.mean(std**2))
        scale = np.maximum(std, floor) if floor > 0 else np.ones_like(std)
        A = (X - mean) / scale
        shrinkage = np.clip(ledoit_wolf_shrinkage(A, assume_centered=True), _MIN_SHRINKAGE, 1.0)
        variances, axes = _principal_axes(A)
        other = shrinkage * (np.mean(np.square(A)) or 1.0)
        weights = 1.0 / ((1.0 - shrinkage) * variances + other) - 1.0 / other
        return cls(mean, scale, axes, weights, 1.0 / other)

    def contributions(self, X: np.ndarray) -> np.ndarray:
        """Return the signed contribution of each feature to the squared distance, of shape (n, d)."""
        A = (X - self.mean) / self.scale
        return A * self.precision_times(A)

    def precision_times(self, A: np.ndarray) -> np.ndarray:
        """Return ``R^-1 a`` for each standardised sample a, of shape (n, d)."""
        return self.rest * A + ((A @ self.axes.T) * self.weights) @ self.axes

    def squared_distance(self, X: np.ndarray) -> np.ndarray:
        """Return the squared Mahalanobis distance of each sample, of shape (n,)."""
        return np.maximum(self.contributions(X).sum(axis=1), 0.0)


def _principal_axes(A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the variances, of shape (m,), and principal axes, of shape (m, d), of centred samples."""
    n, d = A.shape
    if n < d:
        _, singular, axes = np.linalg.svd(A, full_matrices=False)
        return singular**2 / n, axes
    variances, vectors = np.linalg.eigh(A.T @ A / n)
    return np.maximum(variances, 0.0), vectors.T


@dataclass
class InlierCore:
    """Samples that lie closest together, found without labels.

    Concentration steps [1]_ with a shrunk covariance [2]_: estimate the covariance,
    select the 60 % of the samples with the smallest distances, and repeat until the
    selection is stable. The first selection is the half that is closest in terms of
    the spatial sign covariance [3]_, which weights all samples equally. Finally, the
    core includes every sample whose distance exceeds the median by at most two robust
    standard deviations, and at least three quarters of the samples.

    The result is deterministic up to 5,000 samples; more are subsampled. With more
    than 100 features, the steps use the leading principal components and the norm of
    the remainder.

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
    covariance: ShrunkCovariance
    radius: float  # largest distance within the core

    @classmethod
    def fit(cls, X: np.ndarray, rng: np.random.RandomState) -> InlierCore:
        """Find the core of samples of shape (n, d)."""
        sample = X[np.sort(rng.permutation(len(X))[:_MAX_SAMPLES])]
        pca = None
        if X.shape[1] > _MAX_DIRECTIONS and np.ptp(sample, axis=0).any():
            n_directions = min(_MAX_DIRECTIONS, len(sample) - 1)
            pca = PCA(n_directions, svd_solver="randomized", random_state=rng).fit(sample)
        reduced = _reduce(sample, pca)
        covariance = _concentrate(reduced)
        distances = np.sqrt(covariance.squared_distance(reduced))
        cutoff = np.median(distances) + _CUTOFF * median_abs_deviation(distances, scale="normal")
        radius = max(cutoff, np.quantile(distances, _MIN_CORE_FRACTION, method="higher"))
        return cls(pca, covariance, float(radius))

    def contains(self, X: np.ndarray) -> np.ndarray:
        """Return a boolean mask of the samples within the core, of shape (n,)."""
        return np.sqrt(self.covariance.squared_distance(_reduce(X, self.pca))) <= self.radius


def _reduce(X: np.ndarray, pca: PCA | None) -> np.ndarray:
    """Return the principal components and the norm of the remainder, or X without a PCA."""
    if pca is None:
        return X
    components = pca.transform(X)
    remainder = np.square(X - pca.mean_).sum(axis=1) - np.square(components).sum(axis=1)
    return np.column_stack([components, np.sqrt(np.maximum(remainder, 0.0))])


def _concentrate(X: np.ndarray) -> ShrunkCovariance:
    """Return the covariance at which the concentration steps converge."""
    n_selected = max(2, int(np.ceil(_ESTIMATION_FRACTION * len(X))))
    selected = np.argsort(_squared_sign_distance(X), kind="stable")[: max(2, (len(X) + 1) // 2)]
    for _ in range(_MAX_STEPS):
        covariance = ShrunkCovariance.fit(X[selected])
        before = selected
        selected = np.argsort(covariance.squared_distance(X), kind="stable")[:n_selected]
        if np.array_equal(np.sort(before), np.sort(selected)):
            break
    return covariance


def _squared_sign_distance(X: np.ndarray) -> np.ndarray:
    """Return the squared distance from the median under the spatial sign covariance, of shape (n,)."""
    D = X - np.median(X, axis=0)
    length = np.linalg.norm(D, axis=1, keepdims=True)
    variances, axes = _principal_axes(D / np.maximum(length, np.finfo(float).tiny))
    floor = _MIN_SHRINKAGE * (variances.max() or 1.0)
    return (np.square(D @ axes.T) / (variances + floor)).sum(axis=1)
