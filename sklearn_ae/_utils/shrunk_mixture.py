"""Normal distributions and mixtures of them with shrunk covariances, for any number of features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp
from sklearn.cluster import KMeans
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.decomposition import FactorAnalysis

from sklearn_ae._utils.gaussian import LOG_2PI
from sklearn_ae._utils.runtime import without_foreign_warnings

_MIN_SHRINKAGE = 1e-6
_CONSTANT = 1e-9  # standard deviation relative to the largest value below which a feature is constant
_LEAST_NOISE = 1e-3  # variance of standardised features
_MAX_EXACT = 100  # samples or features up to which decompositions are full ones
_MAX_ITER = 20  # of expectation maximisation
_TOL = 1e-2  # nats
_FLOOR = 1e-3  # of variances relative to the pooled ones
_NONE = 1e-6  # share of a component that is neglected


@dataclass(frozen=True)
class Normal:
    """Multivariate normal distribution that is kept by some principal directions.

    With D the standard deviations of the features or of their noise, the covariance is D C D, where
    C has these directions with the variances along them, and one variance in all other directions.
    No matrix of size d x d is needed for wide data.

    Attributes
    ----------
    mean, unit : ndarray of shape (d,)
    axes : ndarray of shape (m, d)
        Orthonormal directions, by variance.
    """

    mean: np.ndarray
    unit: np.ndarray
    axes: np.ndarray

    def _variances(self) -> tuple[np.ndarray, float]:
        """Return the variances along the axes, and the one in all other directions."""
        raise NotImplementedError

    def whiten(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return coordinates with unit variance along the axes, (n, m), and the log-density of the rest.

        The log-density includes the determinant for all directions.
        """
        (m, d), (variances, other) = self.axes.shape, self._variances()
        A = (X - self.mean) / self.unit
        scores = A @ self.axes.T
        rest = np.zeros(len(X))
        if m < d:
            rest = np.maximum(np.square(A).sum(axis=1) - np.square(scores).sum(axis=1), 0.0) / other
        log_det = np.log(variances).sum() + (d - m) * math.log(other) + 2.0 * np.log(self.unit).sum()
        return scores / np.sqrt(variances), -0.5 * (rest + log_det + (d - m) * LOG_2PI)

    def colour(self, Z: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
        """Return samples with coordinates Z along the axes, and drawn in all other directions."""
        (m, d), (variances, other) = self.axes.shape, self._variances()
        A = (Z * np.sqrt(variances)) @ self.axes
        if m < d:
            noise = rng.standard_normal((len(Z), d))
            A += math.sqrt(other) * (noise - noise @ self.axes.T @ self.axes)
        return self.mean + A * self.unit


@dataclass(frozen=True)
class ShrunkNormal(Normal):
    """Normal distribution with a shrunk correlation matrix, ``C = (1 - s) corr + s I``.

    Attributes
    ----------
    spectrum : ndarray of shape (m,)
        Variances along the axes before shrinkage.
    shrinkage : float
        By default that of Ledoit and Wolf.

    References
    ----------
    O. Ledoit, M. Wolf (2004), A well-conditioned estimator for large-dimensional
    covariance matrices, J. Multivariate Analysis 88.
    """

    spectrum: np.ndarray
    shrinkage: float

    @classmethod
    def fit(cls, X: np.ndarray) -> ShrunkNormal:
        """Estimate it from samples of shape (n, d)."""
        n, d = X.shape
        mean, unit, A, varies = _standardised(X)
        shrinkage = float(ledoit_wolf_shrinkage(A, assume_centered=True)) if varies.any() else 1.0
        if n < d:
            _, sizes, axes = np.linalg.svd(A, full_matrices=False)
            spectrum = np.square(sizes) / n
        else:
            values, vectors = np.linalg.eigh(A.T @ A / n)
            spectrum, axes = np.maximum(values[::-1], 0.0), vectors.T[::-1]
        # Products of arrays of another layout, as after pickling, would differ in their last bits.
        spectrum, axes = np.ascontiguousarray(spectrum), np.ascontiguousarray(axes)
        return cls(mean, unit, axes, spectrum, shrinkage)

    def shrunk(self, factor: float) -> ShrunkNormal:
        """Return the distribution with a multiple of the shrinkage."""
        return replace(self, shrinkage=min(max(factor * self.shrinkage, _MIN_SHRINKAGE), 1.0))

    def best_shrinkage(self, X: np.ndarray, factors: Sequence[float]) -> float:
        """Return the multiple of the shrinkage with the highest density of other samples."""
        A = (X - self.mean) / self.unit
        squares = np.square(A @ self.axes.T).mean(axis=0)
        rest = np.square(A).sum(axis=1).mean() - squares.sum()
        n_rest = len(self.mean) - len(squares)
        scores = []
        for factor in factors:
            variances, other = self.shrunk(factor)._variances()
            scores.append(
                (np.log(variances) + squares / variances).sum() + n_rest * math.log(other) + rest / other
            )
        return float(factors[int(np.argmin(scores))])

    def _variances(self) -> tuple[np.ndarray, float]:
        other = self.shrinkage * (float(self.spectrum.sum()) / len(self.mean) or 1.0)
        return (1.0 - self.shrinkage) * self.spectrum + other, other


@dataclass(frozen=True)
class FactorNormal(Normal):
    """Normal distribution of factor analysis: loadings of a few factors, and one noise variance per feature.

    Attributes
    ----------
    variances : ndarray of shape (m,)
        Along the axes of the loadings in units of the noise.
    """

    variances: np.ndarray

    @classmethod
    def fit(cls, X: np.ndarray, n_factors: int) -> FactorNormal:
        """Estimate it from samples of shape (n, d)."""
        mean, unit, A, _ = _standardised(X)
        n_factors = min(
            n_factors, int(np.linalg.matrix_rank(A))
        )  # scikit-learn takes the logarithm of the others
        solver = "lapack" if min(A.shape) <= _MAX_EXACT else "randomized"
        with without_foreign_warnings():  # of iterations that did not converge
            fa = FactorAnalysis(n_factors, svd_method=solver, random_state=0).fit(A)
        noise = np.sqrt(np.maximum(fa.noise_variance_, _LEAST_NOISE))
        _, sizes, axes = np.linalg.svd(fa.components_ / noise, full_matrices=False)
        return cls(mean, unit * noise, np.ascontiguousarray(axes), 1.0 + np.square(sizes))

    def _variances(self) -> tuple[np.ndarray, float]:
        return self.variances, 1.0


def _standardised(X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return means, units, standardised samples, and which features vary; others are 0."""
    mean, std = X.mean(axis=0), X.std(axis=0)
    varies = std > _CONSTANT * np.abs(X).max(axis=0)
    typical = math.sqrt(np.mean(np.square(std[varies]))) if varies.any() else 1.0
    unit = np.where(varies, std, typical)
    return mean, unit, np.where(varies, X - mean, 0.0) / unit, varies


@dataclass(frozen=True)
class Concentric:
    """Normal distributions around 0 with these standard deviations in all directions, equally weighted."""

    scales: tuple[float, ...] = (1.0,)

    def log_prob(self, Z: np.ndarray) -> np.ndarray:
        """Return the log-density of coordinates Z of shape (n, m), of shape (n,)."""
        scales, m = np.asarray(self.scales), Z.shape[1]
        squares = np.square(Z).sum(axis=1, keepdims=True)
        log_p = -0.5 * (squares / np.square(scales) + m * LOG_2PI) - m * np.log(scales)
        return logsumexp(log_p, axis=1) - math.log(len(scales))

    def draw(self, n: int, m: int, rng: np.random.RandomState) -> np.ndarray:
        """Return n draws of m coordinates."""
        return rng.choice(self.scales, (n, 1)) * rng.standard_normal((n, m))


@dataclass(frozen=True)
class Components:
    """Mixture of normal distributions of the first q of m coordinates; the others are N(0, I).

    Attributes
    ----------
    weights : ndarray of shape (C,)
    means : ndarray of shape (C, q)
    factors : ndarray of shape (C, q, q)
        Lower Cholesky factors of the covariances.
    """

    weights: np.ndarray
    means: np.ndarray
    factors: np.ndarray

    def __getstate__(self) -> dict[str, np.ndarray]:
        """Return the parameters, of the factors what is not zero."""
        return vars(self) | {"factors": self.factors[:, *np.tril_indices(self.means.shape[1])]}

    def __setstate__(self, state: dict[str, np.ndarray]) -> None:
        C, q = state["means"].shape
        factors = np.zeros((C, q, q))
        factors[:, *np.tril_indices(q)] = state["factors"]
        vars(self).update(state, factors=factors)

    @classmethod
    def fit(cls, Z: np.ndarray, n_components: int, strength: float, seed: int) -> Components:
        """Fit by expectation maximisation with a prior of the covariances around the pooled one.

        Parameters
        ----------
        Z : ndarray of shape (n, q)
            Coordinates of about unit variance.
        n_components : int
        strength : float
            Samples per coordinate that the prior counts as.
        seed : int
            Of the clusters from which it starts.

        References
        ----------
        C. Fraley, A. Raftery (2007), Bayesian regularization for normal mixture estimation
        and model-based clustering, J. Classification 24.
        """
        with without_foreign_warnings():  # of fewer distinct samples than clusters
            clusters = KMeans(n_components, n_init=1, max_iter=_MAX_ITER, random_state=seed)
            labels = clusters.fit_predict(Z.astype(np.float32))
        return cls.from_shares(Z, np.eye(n_components, dtype=np.float32)[labels], strength)

    @classmethod
    def from_shares(cls, Z: np.ndarray, share: np.ndarray, strength: float) -> Components:
        """Fit from given shares (n, C) of the components in the samples on."""
        Z, n_prior = Z.astype(np.float32), strength * Z.shape[1]
        before = -np.inf
        for _ in range(_MAX_ITER):
            mixture = cls._maximised(Z, share, n_prior)
            share, log_p = mixture.shares(Z)
            if log_p.mean() < before + _TOL:
                break
            before = log_p.mean()
        return mixture

    def shares(self, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the shares of the components at coordinates Z (n, m), (n, C), and the log-density, (n,).

        The log-density is that of the first q coordinates.
        """
        joint = self.log_joint(Z)
        log_p = logsumexp(joint, axis=1)
        return np.exp(joint - log_p[:, None]), log_p

    @classmethod
    def _maximised(cls, Z: np.ndarray, share: np.ndarray, n_prior: float) -> Components:
        """Return the mixture for shares (n, C) of the components in the samples."""
        counts = share.sum(axis=0, dtype=np.float64)
        means = (share.T @ Z) / np.maximum(counts, _NONE)[:, None]
        scatter = np.empty((len(counts), Z.shape[1], Z.shape[1]))
        for c, mean in enumerate(means):
            own = share[:, c] > _NONE
            D = (Z[own] - mean.astype(Z.dtype)) * np.sqrt(share[own, c, None])
            scatter[c] = D.T @ D
        pooled = scatter.sum(axis=0) / len(Z)
        pooled[np.diag_indices_from(pooled)] += _FLOOR * max(float(np.trace(pooled)) / len(pooled), _FLOOR)
        covariances = (scatter + n_prior * pooled) / (counts + n_prior)[:, None, None]
        weights = (counts + 1.0) / (counts + 1.0).sum()
        return cls(weights, means, np.linalg.cholesky(covariances))

    def log_joint(self, Z: np.ndarray) -> np.ndarray:
        """Return log(weight times density) of each component at the coordinates Z (n, m), shape (n, C)."""
        q = self.means.shape[1]
        inverse = np.linalg.inv(self.factors)
        joint = np.empty((len(Z), len(self.weights)), dtype=Z.dtype)
        for c, root in enumerate(inverse):
            white = Z[:, :q] @ root.T.astype(Z.dtype) - (root @ self.means[c]).astype(Z.dtype)
            joint[:, c] = -0.5 * np.einsum("ij,ij->i", white, white)
        log_det = np.log(np.diagonal(self.factors, axis1=1, axis2=2)).sum(axis=1)
        return joint + (np.log(self.weights) - log_det - 0.5 * q * LOG_2PI).astype(Z.dtype)

    def log_prob(self, Z: np.ndarray) -> np.ndarray:
        """Return the log-density of coordinates Z of shape (n, m), of shape (n,)."""
        others = Z[:, self.means.shape[1] :]
        rest = -0.5 * (np.square(others).sum(axis=1) + others.shape[1] * LOG_2PI)
        return logsumexp(self.log_joint(Z), axis=1) + rest

    def draw(self, n: int, m: int, rng: np.random.RandomState) -> np.ndarray:
        """Return n draws of m coordinates."""
        Z = rng.standard_normal((n, m))
        chosen = rng.choice(len(self.weights), n, p=self.weights)
        q = self.means.shape[1]
        Z[:, :q] = self.means[chosen] + np.einsum("nij,nj->ni", self.factors[chosen], Z[:, :q])
        return Z
