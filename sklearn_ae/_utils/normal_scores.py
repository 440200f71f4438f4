"""Monotone maps of single features to normal scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.special import ndtri

_SIZES = (0, 6, 12, 24, 48, 96, 192, 384)  # numbers of knots that are tried; without any, the map is affine
_PER_KNOT = 5  # samples per knot, at least
_N_FOLDS = 3
_LEAST_GAIN = 1.0  # standard errors of the held-out log-density, for more knots
_N_HALVINGS = 60  # of an interval that holds a value


@dataclass(frozen=True)
class Feature:
    """Monotone map of one feature, linear beyond its knots.

    Attributes
    ----------
    map : PchipInterpolator or None
        Between the first and the last knot; None without knots.
    knots, scores : ndarray of shape (m,)
    slopes : tuple of float
        Slopes below the first and beyond the last knot.
    n_knots : int
        Number of quantiles, of which equal ones are one knot; 0 for an affine map.
    """

    map: PchipInterpolator | None
    knots: np.ndarray
    scores: np.ndarray
    slopes: tuple[float, float]
    n_knots: int

    @classmethod
    def fit(cls, x: np.ndarray, n_knots: int) -> Feature:
        """Map quantiles of x of shape (n,) to those of N(0, 1)."""
        mean, std = x.mean(), x.std()
        slope = 1.0 / std if std > 0 else 1.0
        affine = cls(None, np.array([mean]), np.zeros(1), (slope, slope), 0)
        if n_knots == 0 or len(x) < _PER_KNOT * n_knots:
            return affine
        tail = 0.5 / len(x)
        p = np.concatenate([[tail], np.arange(1, n_knots) / n_knots, [1 - tail]])
        knots = np.quantile(x, np.concatenate([[0.0], p[1:-1], [1.0]]))
        apart = np.diff(knots, prepend=-np.inf) > 1e-6 * (knots[-1] - knots[0])
        knots, scores = knots[apart], ndtri(p[apart])
        if len(knots) < 3:
            return affine
        # Quantiles say little about the tails, which are at least as heavy as those of a normal distribution.
        low, high = np.diff(scores)[[0, -1]] / np.diff(knots)[[0, -1]]
        slopes = min(low, slope), min(high, slope)
        return cls(PchipInterpolator(knots, scores), knots, scores, slopes, n_knots)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "map"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        knots, scores = state["knots"], state["scores"]
        vars(self).update(state, map=PchipInterpolator(knots, scores) if state["n_knots"] else None)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the normal scores of values of shape (n,)."""
        below, beyond = self._outside(x)
        inside = 0.0 if self.map is None else self.map(np.clip(x, self.knots[0], self.knots[-1]))
        return inside + below * self.slopes[0] + beyond * self.slopes[1]

    def log_slope(self, x: np.ndarray) -> np.ndarray:
        """Return the logarithm of the derivative at values of shape (n,)."""
        below, beyond = self._outside(x)
        inside = 1.0 if self.map is None else self.map(np.clip(x, self.knots[0], self.knots[-1]), 1)
        slope = np.where(below < 0, self.slopes[0], np.where(beyond > 0, self.slopes[1], inside))
        if self.map is None:
            slope = np.full(x.shape, self.slopes[0])
        return np.log(np.maximum(slope, 1e-12 * self.slopes[0]))

    def inverse(self, u: np.ndarray) -> np.ndarray:
        """Return the values whose normal scores are u of shape (n,)."""
        low = self.knots[0] + np.minimum(u - self.scores[0], 0.0) / self.slopes[0]
        high = self.knots[-1] + np.maximum(u - self.scores[-1], 0.0) / self.slopes[1]
        if self.map is None:
            return low + high - self.knots[0]
        is_inside = (u > self.scores[0]) & (u < self.scores[-1])
        a, b = np.full(u.shape, self.knots[0]), np.full(u.shape, self.knots[-1])
        for _ in range(_N_HALVINGS):
            middle = 0.5 * (a + b)
            is_low = self.map(middle) < u
            a, b = np.where(is_low, middle, a), np.where(is_low, b, middle)
        return np.where(is_inside, 0.5 * (a + b), np.where(u <= self.scores[0], low, high))

    def _outside(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.minimum(x - self.knots[0], 0.0), np.maximum(x - self.knots[-1], 0.0)

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Return the log-density of values whose normal scores are normally distributed, up to a constant."""
        return self.log_slope(x) - 0.5 * np.square(self(x))


@dataclass(frozen=True)
class NormalScores:
    """Monotone maps that give each feature a normal distribution, a nonparanormal model.

    The maps are monotone cubic splines through quantiles. The held-out density of a
    feature decides on the number of knots.

    References
    ----------
    H. Liu, J. Lafferty, L. Wasserman (2009), The nonparanormal: semiparametric estimation
    of high dimensional undirected graphs, JMLR 10.

    F. Fritsch, J. Butland (1984), A method for constructing local monotone piecewise cubic
    interpolants, SIAM J. Scientific and Statistical Computing 5(2).
    """

    features: tuple[Feature, ...]

    @classmethod
    def fit(cls, X: np.ndarray, seed: int) -> NormalScores:
        """Fit the maps to samples of shape (n, d)."""
        folds = np.random.RandomState(seed).permutation(len(X)) % _N_FOLDS
        return cls(tuple(_best(x, folds) for x in X.T))

    def refit(self, X: np.ndarray) -> NormalScores:
        """Return maps with as many knots for other samples of shape (n, d)."""
        pairs = zip(X.T, self.features, strict=True)
        return NormalScores(tuple(Feature.fit(x, feature.n_knots) for x, feature in pairs))

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Return the normal scores of samples of shape (n, d)."""
        return np.stack([feature(x) for feature, x in zip(self.features, X.T, strict=True)], axis=1)

    def log_slopes(self, X: np.ndarray) -> np.ndarray:
        """Return the log-determinant of the Jacobian at samples of shape (n, d), of shape (n,)."""
        return sum(f.log_slope(x) for f, x in zip(self.features, X.T, strict=True)) + np.zeros(len(X))

    def slopes(self, X: np.ndarray) -> np.ndarray:
        """Return the derivative of each feature's map at samples of shape (n, d)."""
        return np.exp(np.stack([f.log_slope(x) for f, x in zip(self.features, X.T, strict=True)], axis=1))

    def inverse(self, U: np.ndarray) -> np.ndarray:
        """Return the samples whose normal scores are U of shape (n, d)."""
        return np.stack([feature.inverse(u) for feature, u in zip(self.features, U.T, strict=True)], axis=1)


def _best(x: np.ndarray, folds: np.ndarray) -> Feature:
    """Return the map with the fewest knots that is not significantly worse on held-out values than others."""
    best, size = np.full(len(x), -np.inf), 0
    for n_knots in _SIZES:
        if len(x) < max(_PER_KNOT * n_knots, 2 * _N_FOLDS):
            break
        density = np.empty(len(x))
        for i in range(_N_FOLDS):
            density[folds == i] = Feature.fit(x[folds != i], n_knots).log_density(x[folds == i])
        gain = density - best
        if n_knots == 0 or gain.mean() > _LEAST_GAIN * gain.std() / np.sqrt(len(x)):
            best, size = density, n_knots
    return Feature.fit(x, size)
