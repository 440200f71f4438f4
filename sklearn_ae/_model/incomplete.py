"""Probabilistic PCA and factor analysis of samples with missing values (NaN).

Both are the model x = mean + z W + noise with z ~ N(0, I) and independent noise, of which every
sample shows its observed features. Its likelihood is maximised by the EM algorithm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.utils.extmath import svd_flip
from torch import Tensor

from sklearn_ae._utils.gaussian import LOG_2PI

_MAX_ITERATIONS = 100
_TOL = 1e-2  # gain of the mean log-likelihood, in nats per sample, at which EM ends
MAX_VALUES = 2**21  # entries of the posterior precisions of samples that are held at a time
_MANY = 2_000  # samples from which half of this number starts the iterations
_LEAST_NOISE = 1e-7  # relative to the mean variance of the features


@dataclass(frozen=True)
class IncompleteFactors:
    """The model N(mean, W'W + diag(noise)), with maximal likelihood of the observed values.

    Parameters
    ----------
    mean : ndarray of shape (d,)
    W : ndarray of shape (k, d)
    noise : ndarray of shape (d,)
    n_samples : int

    References
    ----------
    D. Rubin, D. Thayer (1982), EM algorithms for ML factor analysis, Psychometrika 47.

    C. Liu, D. Rubin, Y. Wu (1998), Parameter expansion to accelerate EM: the PX-EM algorithm,
    Biometrika 85.
    """

    mean: np.ndarray
    W: np.ndarray
    noise: np.ndarray
    n_samples: int

    @classmethod
    def fit(cls, X: np.ndarray, k: int, *, shared: bool, seed: int = 0) -> IncompleteFactors:
        """Fit k factors to samples (n, d), with one noise variance or one for each feature.

        Features without any value have mean 0 and no loadings.
        """
        observed = ~np.isnan(X)
        count = observed.sum(axis=0)
        mean = np.where(observed, X, 0.0).sum(axis=0, dtype=np.float64) / np.maximum(count, 1)
        x = np.where(observed, X - mean, 0.0).astype(np.float64)
        variance = np.square(x).sum(axis=0) / np.maximum(count, 1)
        unit = math.sqrt(float(variance[count > 0].mean())) if (count > 0).any() else 1.0
        unit = unit if unit > 0 else 1.0
        n, d = x.shape
        k = min(k, d - 1, n - 1)
        values, mask = torch.from_numpy(x / unit), torch.from_numpy(observed)
        em = _EM(values, mask, shared=shared)
        em.start(_initial_loadings(x / unit, observed, k, seed))
        if n > _MANY:  # most iterations are those of a part of the samples
            some = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[: _MANY // 2]
            em.take_over(_EM(values[some], mask[some], shared=shared).take_over(em).run())
        em.run()
        return cls(mean + unit * em.mean.numpy(), unit * em.W.numpy().T, unit**2 * em.noise.numpy(), n)

    def as_pca(self, n_components: int) -> PCA:
        """Return a PCA with the same density, if the noise is shared; further components are noise alone."""
        d, n = len(self.mean), self.n_samples
        correction = n / (n - 1)  # PCA divides by n - 1
        noise = correction * float(self.noise[0])
        _, sizes, axes = np.linalg.svd(self.W, full_matrices=n_components > len(self.W))
        axes = svd_flip(None, axes, u_based_decision=False)[1] if len(axes) else axes
        spectrum = np.full(d, noise)
        spectrum[: len(sizes)] += correction * sizes**2
        pca = PCA(n_components)
        pca.mean_ = self.mean
        pca.components_ = axes[:n_components]
        pca.explained_variance_ = spectrum[:n_components]
        pca.explained_variance_ratio_ = spectrum[:n_components] / (spectrum.sum() or 1.0)
        pca.singular_values_ = np.sqrt(spectrum[:n_components] * (n - 1))
        pca.noise_variance_ = noise if n_components < d else 0.0
        pca.n_components_, pca.n_features_in_, pca.n_samples_ = n_components, d, n
        return pca


def _initial_loadings(x: np.ndarray, observed: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Return loadings (d, k): principal axes of samples with zeros for what is missing."""
    if not k:
        return np.zeros((x.shape[1], 0))
    with np.errstate(invalid="ignore", divide="ignore"):  # ratios of zero variance
        pca = PCA(k, svd_solver="auto", random_state=seed).fit(x)
    share = np.maximum(observed.mean(axis=0), 1e-3)
    noise = pca.noise_variance_
    return np.sqrt(np.maximum(pca.explained_variance_ - noise, 1e-3)) * (pca.components_ / np.sqrt(share)).T


class _EM:
    """The EM algorithm with expanded parameters: mean and covariance of the factors are free in a step."""

    def __init__(self, x: Tensor, observed: Tensor, *, shared: bool) -> None:
        complete = observed.all(1)
        self.shared = shared
        self.complete, self.x, self.o = x[complete], x[~complete], observed[~complete].double()
        self.n, self.d = x.shape
        self.count = observed.sum(0).double()
        self.square = x.square().sum(0)
        self.mean = x.new_zeros(self.d)
        self.noise = x.new_ones(self.d)
        self.W = x.new_zeros((self.d, 0))

    def start(self, W: np.ndarray) -> None:
        self.W = torch.from_numpy(W)
        rest = (self.square / self.count.clamp_min(1) - self.W.square().sum(1)).clamp_min(0.05)
        self.noise = self._pooled(rest * self.count)

    def take_over(self, other: _EM) -> _EM:
        """Continue with the parameters of another run."""
        self.mean, self.W, self.noise = other.mean, other.W, other.noise
        return self

    def run(self) -> _EM:
        """Iterate until the likelihood hardly increases."""
        before = -math.inf
        for _ in range(_MAX_ITERATIONS):
            log_p = self.step()
            if log_p - before < _TOL:
                break
            before = log_p
        return self

    def step(self) -> float:
        """Update all parameters, and return the mean log-likelihood under those before."""
        k = self.W.shape[1]
        second = self.W.new_zeros((self.d, (k + 1) ** 2))  # sums of E[(z, 1)(z, 1)'] where x_j is observed
        cross = self.W.new_zeros((self.d, k + 1))  # sums of x_j E[(z, 1)]
        total = self.W.new_zeros((k + 1, k + 1))
        log_p = 0.0
        for x, o in self._parts():
            z, S, value = self._posterior(x, o)
            log_p += value
            ones = z.new_ones((len(z), 1))
            extended = torch.cat([z, ones], 1)
            cross += x.T @ extended
            if o is None:
                moments = extended.T @ extended
                moments[:k, :k] += len(z) * S[0]
                second += moments.flatten()
            else:
                each = extended[:, :, None] * extended[:, None]
                each[:, :k, :k] += S
                second += o.T @ each.flatten(1)
                moments = each.sum(0)
            total += moments
        gram = second.view(self.d, k + 1, k + 1)
        is_empty = self.count == 0
        gram[is_empty] = torch.eye(k + 1, dtype=gram.dtype, device="cpu")
        ridge = 1e-10 * gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
        solved = torch.linalg.solve(gram + ridge * torch.eye(k + 1, dtype=gram.dtype, device="cpu"), cross)
        rest = (self.square - (solved * cross).sum(1)).clamp_min(0.0)
        W, mean = solved[:, :k], solved[:, k]
        centre = total[:k, k] / self.n
        spread = total[:k, :k] / self.n - centre[:, None] * centre
        root = torch.linalg.cholesky(spread)
        self.mean, self.W, self.noise = mean + W @ centre, W @ root, self._pooled(rest)
        return log_p / self.n

    def _pooled(self, rest: Tensor) -> Tensor:
        """Return the noise variances for sums of squared residuals."""
        if self.shared:
            noise = (rest.sum() / self.count.sum().clamp_min(1)).expand(self.d)
        else:
            noise = rest / self.count.clamp_min(1)
            noise = torch.where(self.count > 0, noise, noise.mean())
        return noise.clamp_min(_LEAST_NOISE).clone()

    def _parts(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        if len(self.complete):
            yield self.complete, None
        size = max(1, MAX_VALUES // max((self.W.shape[1] + 1) ** 2, self.d))
        yield from zip(self.x.split(size), self.o.split(size), strict=True) if len(self.x) else ()

    def _posterior(self, x: Tensor, o: Tensor | None) -> tuple[Tensor, Tensor, float]:
        """Return mean and covariance of z for samples, and the sum of their log-likelihoods."""
        is_whole = o is None
        o = x.new_ones((1, self.d)) if o is None else o
        centred = (x - self.mean) * o
        A = posterior_precision(o, self.W.T, 1.0 / self.noise)
        root = torch.linalg.cholesky(A)
        b = (centred / self.noise) @ self.W
        z = torch.cholesky_solve(b[..., None], root.expand(len(x), -1, -1))[..., 0]
        residual = (centred - (z @ self.W.T) * o).square() / self.noise
        log_det = 2.0 * root.diagonal(dim1=1, dim2=2).log().sum(1) + o @ (self.noise.log() + LOG_2PI)
        distance = residual.sum(1) + z.square().sum(1)
        log_p = -0.5 * (distance.sum() + log_det.sum() * (len(x) if is_whole else 1))
        return z, torch.cholesky_inverse(root), float(log_p)


def posterior_precision(observed: Tensor, W: Tensor, precision: Tensor) -> Tensor:
    """Return I + W_o diag(precision_o) W_o' of each sample, of shape (n, k, k).

    Parameters
    ----------
    observed : Tensor of shape (n, d)
        One for observed features and zero for missing ones.
    W : Tensor of shape (k, d)
    precision : Tensor of shape (d,)
    """
    k = len(W)
    products = (W[:, None] * W[None] * precision).flatten(0, 1)
    A = (observed @ products.T).view(len(observed), k, k)
    return A + torch.eye(k, dtype=A.dtype, device=A.device)
