"""Completion of incomplete samples by a normal distribution, and how unusual their gaps are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from torch import Tensor

from sklearn_ae._utils.arrays import dense
from sklearn_ae._utils.covariance import ShrunkCovariance

_N_STEPS = 10  # draws of the missing values, each followed by an estimate of the covariance

# Limits of the training samples from which the covariance is estimated
_MAX_VALUES = 2**21
_MAX_COMPLETE_VALUES = 2**16  # if only new samples may be incomplete
_MAX_SAMPLES = 5_000
_MIN_SAMPLES = 100

_COMMON = 0.05  # Share of missing values from which they are not unusual

_TOLERANCE = 1e-10  # Relative error at which conjugate gradients end, and the limit of their steps
_MAX_ITERATIONS = 200


def has_missing(X: Any) -> bool:
    """Return whether a dense or sparse array contains NaN."""
    return bool(np.isnan(X.data if sparse.issparse(X) else X).any())


def observed_or_none(x: Tensor) -> Tensor | None:
    """Return the mask of the observed values, or None for complete samples."""
    missing = x.isnan()
    return ~missing if bool(missing.any()) else None


def observed_range(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return minimum and maximum of the observed values of each feature, 0 for features without any."""
    low, high = (np.nan_to_num(bound.reduce(X, axis=0)) for bound in (np.fmin, np.fmax))
    return low, high


def completed(X: Any, rng: np.random.RandomState) -> Any:
    """Return samples with missing values drawn from their conditional distribution."""
    return Completion.fit(X, rng).draw(X, rng) if has_missing(X) else X


@dataclass
class Completion:
    """Conditional distribution of the missing values given the observed ones.

    The features are treated as jointly normal with a shrunk covariance, which is
    estimated by stochastic EM [1]_: draw the missing values, estimate the mean and the
    covariance of the completed samples, and repeat. Training samples are completed by
    draws, which keep variances and correlations; new samples by the conditional mean,
    at which the squared Mahalanobis distance of the sample is that of its observed
    features alone. Values stay within the range of the training samples.

    A feature without any training value is 0 in all samples, and counts as missing.

    Parameters
    ----------
    covariance : ShrunkCovariance
        Mean and covariance of the completed training samples.
    low, high : ndarray of shape (d,)
        Range of the observed training values.
    known : ndarray of shape (d,)
        Mask of the features with at least one training value.
    surprisal : ndarray of shape (d,)
        Squared distance that a missing value of each feature is worth.

    References
    ----------
    .. [1] G. Celeux, J. Diebolt (1985), The SEM algorithm, Computational Statistics
       Quarterly 2.
    """

    covariance: ShrunkCovariance
    low: np.ndarray
    high: np.ndarray
    known: np.ndarray
    surprisal: np.ndarray

    @classmethod
    def fit(cls, X: Any, rng: np.random.RandomState) -> Completion:
        """Estimate the distribution from samples of shape (n, d)."""
        values = _values(X)
        n, d = values.shape
        missing = np.isnan(values)
        is_complete = not missing.any()
        limit = _MAX_COMPLETE_VALUES if is_complete else _MAX_VALUES
        n_used = int(np.clip(limit // d, _MIN_SAMPLES, _MAX_SAMPLES))
        used = values if n <= n_used else values[np.random.RandomState(0).permutation(n)[:n_used]]
        known = ~missing.all(axis=0)
        low, high = observed_range(values)
        surprisal = surprisal_of_missing(missing)
        if is_complete:
            return cls(ShrunkCovariance.fit(used), low, high, known, surprisal)
        missing = np.isnan(used)
        used = _with_random_values(used, missing, rng)
        for _ in range(1 + _N_STEPS):
            completion = cls(ShrunkCovariance.fit(used), low, high, known, surprisal)
            used = completion._drawn(used, missing, rng)
        return completion

    def draw(self, X: Any, rng: np.random.RandomState) -> Any:
        """Return dense samples with missing values drawn at random; complete samples as they are."""
        if self.known.all() and not has_missing(X):
            return X
        values = _values(X)
        return self._drawn(values, np.isnan(values) | ~self.known, rng).astype(X.dtype, copy=False)

    def fill(self, X: Any) -> tuple[Any, np.ndarray | None]:
        """Return samples with conditional means for missing values, and the mask of the observed ones.

        The mask is None for complete samples.
        """
        if self.known.all() and not has_missing(X):
            return X, None
        X = dense(X)
        missing = np.isnan(X) | ~self.known
        incomplete = missing.any(axis=1)
        filled = X.copy()
        values = X[incomplete].astype(np.float64)
        filled[incomplete] = self._completed(values, missing[incomplete], 0.0)
        return filled, ~missing

    def oddity(self, observed: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
        """Return the squared distance that each missing value is worth, given the mask of ``fill``."""
        return np.zeros(shape) if observed is None else np.where(observed, 0.0, self.surprisal)

    def _drawn(self, X: np.ndarray, missing: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
        """Return samples with draws from the conditional distribution of the missing values.

        A draw from the joint distribution is shifted by the conditional mean of its error.
        """
        covariance = self.covariance
        draws = rng.normal(size=X.shape)
        root = np.sqrt(covariance.rest)
        along = 1.0 / np.sqrt(covariance.weights + covariance.rest) - 1.0 / root
        draws = draws / root + ((draws @ covariance.axes.T) * along) @ covariance.axes
        return self._completed(X, missing, draws)

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def _completed(self, X: np.ndarray, missing: np.ndarray, draws: np.ndarray | float) -> np.ndarray:
        mean, scale = self.covariance.mean, self.covariance.scale
        A = np.where(missing, 0.0, (X - mean) / scale - draws)
        values = mean + scale * (self._conditional_mean(A, missing) + draws)
        values = np.clip(np.where(np.isfinite(values), values, mean), self.low, self.high)
        return np.where(missing, values, X)

    def _conditional_mean(self, A: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Return standardised samples at the missing values with the smallest squared distance.

        Conjugate gradients for all samples at a time, preconditioned by the diagonal.
        """
        covariance = self.covariance
        diagonal = covariance.rest + covariance.weights @ np.square(covariance.axes)
        A = A.copy()
        residual = np.where(missing, -covariance.precision_times(A), 0.0)
        direction = residual / diagonal
        size = (residual * direction).sum(axis=1)
        end = _TOLERANCE**2 * size
        active = np.flatnonzero(size > end)
        direction, residual, size = direction[active], residual[active], size[active]
        for _ in range(_MAX_ITERATIONS):
            if not len(active):
                break
            product = np.where(missing[active], covariance.precision_times(direction), 0.0)
            step = (size / (direction * product).sum(axis=1))[:, None]
            A[active] += step * direction
            residual = residual - step * product
            before, size = size, (residual**2 / diagonal).sum(axis=1)
            direction = residual / diagonal + (size / before)[:, None] * direction
            going = size > end[active]
            active, direction, residual, size = active[going], direction[going], residual[going], size[going]
        return A


def surprisal_of_missing(missing: np.ndarray) -> np.ndarray:
    """Return how unusual a missing value of each feature is, as a squared distance, of shape (d,).

    It is twice the negative logarithm of the share of missing values, which is faded
    out up to a share of 5 %: common gaps tell nothing.
    """
    p = (missing.sum(axis=0) + 1.0) / (len(missing) + 2.0)
    return -2.0 * np.log(p) * np.maximum(1.0 - p / _COMMON, 0.0)


def _with_random_values(X: np.ndarray, missing: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Return samples with random other values of the features for missing ones, and 0 if there are none."""
    X = np.where(missing, 0.0, X)
    for j in np.flatnonzero(missing.any(axis=0) & ~missing.all(axis=0)):
        X[missing[:, j], j] = rng.choice(X[~missing[:, j], j], size=missing[:, j].sum())
    return X


def _values(X: Any) -> np.ndarray:
    return dense(X).astype(np.float64, copy=False)
