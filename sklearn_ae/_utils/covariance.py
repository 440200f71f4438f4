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

from sklearn_ae._utils.clumps import Clump, find_clump

_MIN_RELATIVE_STD = 0.1  # Features vary at least this much relative to the root mean square of all.

_MIN_SHRINKAGE = 1e-6  # A positive shrinkage keeps the weights of null directions finite.

_ESTIMATION_FRACTION = 0.6  # Share of the samples in each concentration step

_CUTOFF = 2.0  # Robust standard deviations between the median distance and the edge of the core

_MIN_CORE_FRACTION = 0.75

_MAX_CLUMPS = 2
_MAX_CLUMP_FRACTION = 0.27  # A quarter, and room for the random share in a fold

_FEW_VALUES = 10
_UNIT = 0.125  # of deviations from a frequent value, in standard deviations of the feature
_SAME = 1e-6  # Values are equal if they differ less, relative to the range of most samples.
_USUAL_FRACTION = 0.95  # These samples are most; others may be extreme.

_UP_TO_ROUNDING = 1 + 1e-7

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

    The core excludes up to two clumps with a quarter of the samples, which are searched
    within the core, and the steps are repeated without them. If there are more, the
    samples are clustered, and nothing but the distances counts.

    A feature in which 60 % of the samples have the same value would have no scale if all
    selected samples had that value. It is ignored if it has few values, such as an
    indicator, whose rare values are no outliers. Otherwise, such as for counts that are
    mostly 0, its squared deviation in eighths of the standard deviation of all samples is
    added to the squared distance.

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

    space: _CoreSpace
    covariance: ShrunkCovariance
    radius: float  # largest distance within the core
    clumps: list[Clump]  # excluded, in the space of all features

    @classmethod
    def fit(cls, X: np.ndarray, rng: np.random.RandomState) -> InlierCore:
        """Find the core of samples of shape (n, d)."""
        sample = X[np.sort(rng.permutation(len(X))[:_MAX_SAMPLES])]
        space = _CoreSpace.fit(sample, rng)
        reduced, deviations = space.reduce(sample), space.deviations(sample)
        directions = reduced if space.pca is None else reduced[:, :-1]
        clumps, others = _find_clumps(directions, reduced, deviations, rng)
        covariance, radius = _concentrate(reduced, deviations, others)
        return cls(space, covariance, radius, [space.embed(clump) for clump in clumps])

    def contains(self, X: np.ndarray) -> np.ndarray:
        """Return a boolean mask of the samples within the core, of shape (n,)."""
        squared = self.covariance.squared_distance(self.space.reduce(X)) + self.space.deviations(X)
        inside = np.sqrt(squared) <= self.radius * _UP_TO_ROUNDING
        for clump in self.clumps:
            inside &= ~clump.contains(X)
        return inside


@dataclass
class _CoreSpace:
    """Space in which the core is an ellipsoid, and deviations of the features that are not in it."""

    features: np.ndarray  # (d,), mask of the features in the space
    pca: PCA | None  # of these features if there are many
    middle: np.ndarray  # (d,), frequent values
    weights: np.ndarray  # (d,), inverse units, 0 unless the feature has a frequent value

    @classmethod
    def fit(cls, X: np.ndarray, rng: np.random.RandomState) -> _CoreSpace:
        ordered = np.sort(X, axis=0)
        widths, middle = _shortest_windows(ordered, _ESTIMATION_FRACTION)
        usual_widths, _ = _shortest_windows(ordered, _USUAL_FRACTION)
        tolerance = _SAME * np.maximum(usual_widths, _SAME * (np.abs(middle) + np.median(usual_widths)))
        frequent = widths <= tolerance
        has_few_values = np.sum(np.diff(ordered, axis=0) > tolerance, axis=0) < _FEW_VALUES
        largest = np.maximum(np.abs(X - middle).max(axis=0), np.finfo(float).tiny)
        std = largest * np.sqrt(np.mean(np.square((X - middle) / largest), axis=0))  # without overflow
        counts = frequent & ~has_few_values & (std > 0)
        weights = np.divide(1.0, _UNIT * std, out=np.zeros_like(std), where=counts)
        pca = None
        if (~frequent).sum() > _MAX_DIRECTIONS:
            n_directions = min(_MAX_DIRECTIONS, len(X) - 1)
            pca = PCA(n_directions, svd_solver="randomized", random_state=rng).fit(X[:, ~frequent])
        return cls(~frequent, pca, middle, weights)

    def reduce(self, X: np.ndarray) -> np.ndarray:
        """Return the features, or the principal components and the norm of the remainder."""
        if not self.features.any():
            return np.zeros((len(X), 1))  # at distance 0
        X = X[:, self.features]
        if self.pca is None:
            return X
        components = self.pca.transform(X)
        remainder = np.square(X - self.pca.mean_).sum(axis=1) - np.square(components).sum(axis=1)
        return np.column_stack([components, np.sqrt(np.maximum(remainder, 0.0))])

    def deviations(self, X: np.ndarray) -> np.ndarray:
        """Return the sum of the squared deviations of features that are not in the space, of shape (n,)."""
        return np.square((X - self.middle) * self.weights).sum(axis=1)

    def embed(self, clump: Clump) -> Clump:
        """Return a clump in the space of all features."""
        direction, mean = clump.direction, clump.mean
        if self.pca is not None:
            components = self.pca.components_
            direction, mean = direction @ components, self.pca.mean_ + mean @ components
        embedded = np.zeros((2, len(self.features)))
        embedded[:, self.features] = direction, mean
        return Clump(embedded[0], embedded[1], clump.threshold)


def _shortest_windows(ordered: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the width and the middle value of the shortest interval with a fraction of the samples."""
    n_inside = int(np.ceil(fraction * len(ordered)))
    widths = ordered[n_inside - 1 :] - ordered[: len(ordered) - n_inside + 1]
    starts = widths.argmin(axis=0)
    columns = np.arange(ordered.shape[1])
    return widths[starts, columns], ordered[starts + n_inside // 2, columns]


def _find_clumps(
    space: np.ndarray, reduced: np.ndarray, deviations: np.ndarray, rng: np.random.RandomState
) -> tuple[list[Clump], np.ndarray]:
    """Return the clumps, and a mask of the other samples.

    More than two clumps, or together more than a quarter of the samples, are clusters of
    normal samples.
    """
    clumps: list[Clump] = []
    everything = others = np.ones(len(space), dtype=bool)
    max_size = int(_MAX_CLUMP_FRACTION * len(space))
    while True:
        covariance, radius = _concentrate(reduced, deviations, others)
        distances = np.sqrt(covariance.squared_distance(reduced) + deviations)
        inside = others & (distances <= radius * _UP_TO_ROUNDING)
        clump = find_clump(space[others], inside[others], max_size, rng)
        if clump is None:
            return clumps, others
        clumps.append(clump)
        others = others & ~clump.contains(space)
        if len(clumps) > _MAX_CLUMPS or np.sum(~others) > max_size:
            return [], everything


def _concentrate(X: np.ndarray, deviations: np.ndarray, others: np.ndarray) -> tuple[ShrunkCovariance, float]:
    """Return the covariance at which the concentration steps converge, and the radius of the core.

    The samples of clumps are not in the mask ``others``.
    """
    n_core = int(np.ceil(_MIN_CORE_FRACTION * len(X)))
    X, deviations = X[others], deviations[others]
    n_selected = max(2, int(np.ceil(_ESTIMATION_FRACTION * len(X))))
    selected = _smallest(_squared_sign_distance(X) + deviations, max(2, (len(X) + 1) // 2))
    for _ in range(_MAX_STEPS):
        covariance = ShrunkCovariance.fit(X[selected])
        before, squared = selected, covariance.squared_distance(X) + deviations
        selected = _smallest(squared, n_selected)
        if np.array_equal(before, selected):
            break
    distances = np.sqrt(squared)
    cutoff = np.median(distances) + _CUTOFF * median_abs_deviation(distances, scale="normal")
    return covariance, float(max(cutoff, np.sort(distances)[min(n_core, len(distances) - 1)]))


def _smallest(values: np.ndarray, n: int) -> np.ndarray:
    """Return a mask of the n smallest values and those that equal the largest of these up to rounding."""
    return values <= np.partition(values, n - 1)[n - 1] * _UP_TO_ROUNDING


def _squared_sign_distance(X: np.ndarray) -> np.ndarray:
    """Return the squared distance from the median under the spatial sign covariance, of shape (n,)."""
    D = X - np.median(X, axis=0)
    length = np.linalg.norm(D, axis=1, keepdims=True)
    variances, axes = _principal_axes(D / np.maximum(length, np.finfo(float).tiny))
    floor = _MIN_SHRINKAGE * (variances.max() or 1.0)
    return (np.square(D @ axes.T) / (variances + floor)).sum(axis=1)
