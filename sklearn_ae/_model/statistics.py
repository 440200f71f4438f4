"""What is learnt about a trained model's codes and residuals after training.

:class:`CodeMoments` serves whitening, the prior of the likelihood and linear
models' covariance. :class:`CodeStatistics` adds the noise variance and, for ordered
codes, what each component explains.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from sklearn_ae._model.module import Autoencoder, Noise
from sklearn_ae._model.objectives import misfit
from sklearn_ae._model.pca import total_variance
from sklearn_ae._utils.arrays import sample_blocks

N_LANDMARKS = 512

_MAX_CODES = 2**23  # entries of codes held at a time (64 MB)


@dataclass
class CodeMoments:
    """Mean and covariance of the training codes, in working units, and some of the codes.

    ``root`` is the upper-triangular R with a non-negative diagonal and
    ``covariance = R' R``. Its first columns belong to the first components, so
    everything here commutes with truncation.
    """

    mean: np.ndarray  # (k,)
    root: np.ndarray  # (k, k)
    landmarks: np.ndarray  # (m, k)
    n: float = 0.0  # rows that they stand for

    @classmethod
    def of(cls, codes: np.ndarray) -> CodeMoments:
        """Moments of codes of shape (n, k)."""
        n = len(codes)
        mean = codes.mean(axis=0)
        root = _triangular_root(codes - mean) / np.sqrt(max(n - 1, 1))
        return cls(mean, root, codes[_spread(n, N_LANDMARKS)], n)

    @classmethod
    def of_parts(cls, parts: Iterable[Tensor]) -> CodeMoments:
        """Moments of codes that come in parts, of which only so many are held at a time."""
        moments: list[CodeMoments] = []
        for together in _gathered(parts, _MAX_CODES):
            more = cls.of(together.double().numpy())
            moments = [moments[0].joined(more) if moments else more]
        return moments[0]

    def joined(self, other: CodeMoments) -> CodeMoments:
        """Moments of the rows of both."""
        n, m = self.n, other.n
        shift = np.sqrt(n * m / (n + m)) * (other.mean - self.mean)
        scatter = [np.sqrt(max(part.n - 1, 0)) * part.root for part in (self, other)]
        root = _triangular_root(np.vstack([*scatter, shift[None]])) / np.sqrt(max(n + m - 1, 1))
        n_old = round(N_LANDMARKS * n / (n + m))
        landmarks = [self.landmarks, other.landmarks]
        if sum(map(len, landmarks)) > N_LANDMARKS:
            landmarks = [
                codes[_spread(len(codes), wanted)]
                for codes, wanted in zip(landmarks, (n_old, N_LANDMARKS - n_old), strict=True)
            ]
        return CodeMoments(
            self.mean + m / (n + m) * (other.mean - self.mean), root, np.vstack(landmarks), n + m
        )

    @classmethod
    def of_pca(cls, variances: np.ndarray) -> CodeMoments:
        """Moments of PCA's codes: centred and uncorrelated by construction."""
        k = len(variances)
        return cls(np.zeros(k), np.diag(np.sqrt(np.maximum(variances, 0))), np.zeros((0, k)))

    def truncated(self, k: int) -> CodeMoments:
        root = _triangular_root(self.root[:, :k])
        return CodeMoments(self.mean[:k], root, self.landmarks[:, :k], self.n)

    def whitening(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean m and lower-triangular L with ``whitened = L^-1 (z - m)``; null directions stay small."""
        L = self.root.T.copy()
        diagonal = np.diag(L)
        floor = np.finfo(float).eps * max(1.0, float(diagonal.max(initial=0.0)))
        np.fill_diagonal(L, np.maximum(diagonal, floor))
        return self.mean, L


def _triangular_root(A: np.ndarray) -> np.ndarray:
    """Upper-triangular R of shape (k, k) with R'R = A'A and a non-negative diagonal."""
    k = A.shape[1]
    R = np.asarray(np.linalg.qr(A, mode="r"))
    R = np.vstack([R, np.zeros((max(0, k - len(R)), k))])
    return R * np.where(np.diag(R) < 0, -1.0, 1.0)[:, None]


def _gathered(parts: Iterable[Tensor], n_values: int) -> Iterator[Tensor]:
    """Parts put together until there are so many values."""
    kept, n = [], 0
    for part in parts:
        kept.append(part)
        n += part.numel()
        if n > n_values:
            yield torch.cat(kept)
            kept, n = [], 0
    if kept:
        yield torch.cat(kept)


def _spread(n: int, n_wanted: int) -> np.ndarray:
    """Evenly spread row numbers."""
    return np.unique(np.linspace(0, n - 1, min(n, n_wanted)).round().astype(int))


@dataclass
class CodeStatistics:
    """What a fitted model knows of its codes and residuals, in working units.

    Parameters
    ----------
    moments : CodeMoments
    errors : ndarray of shape (k,) or (1,)
        Mean over rows of the squared error (summed over columns) with the first
        j components, j = 1, ..., k, for ordered codes; with all of them otherwise.
    total : float
        The same for the training mean alone.
    n_features : int
    """

    moments: CodeMoments
    errors: np.ndarray
    total: float
    n_features: int

    @property
    def noise(self) -> float:
        """Noise variance per column, by PCA's formula on held-out or training residuals."""
        k = len(self.moments.mean)
        return float(self.errors[-1]) / max(1, self.n_features - k)

    @property
    def explained(self) -> np.ndarray:
        """Share of the total variance that each component adds."""
        return -np.diff(self.errors, prepend=self.total) / (self.total or 1.0)

    def truncated(self, k: int) -> CodeStatistics:
        return CodeStatistics(self.moments.truncated(k), self.errors[:k], self.total, self.n_features)

    def after(self, old: CodeStatistics, n: float, unit: float) -> CodeStatistics:
        """Together with an older description, which counts for n rows and is in other units."""
        share = n / (n + self.moments.n)
        return CodeStatistics(
            replace(old.moments, n=n).joined(self.moments),
            share * unit * old.errors + (1 - share) * self.errors,
            share * unit * old.total + (1 - share) * self.total,
            self.n_features,
        )


def code_statistics(module: Autoencoder, X: Any, judged: Autoencoder, held_out: Any) -> CodeStatistics:
    """Describe a trained model by the codes of X and residuals of ``held_out`` under ``judged``.

    ``judged`` is the model itself, or one that was trained in the same way
    without the rows that are held out.
    """
    with torch.no_grad():
        moments = CodeMoments.of_parts(module.encode(x) for x in working_blocks(module, X))
    sizes = range(1, module.width + 1) if module.bottleneck.ordered else [module.width]
    errors, total = squared_errors(judged, held_out, sizes)
    unit = (judged.scale / module.scale) ** 2
    return CodeStatistics(moments, unit * errors, unit * total, X.shape[1])


def pca_statistics(pca: Any, scale: float) -> CodeStatistics:
    """Describe PCA itself, from its spectrum."""
    d = pca.components_.shape[1]
    variances = np.asarray(pca.explained_variance_, dtype=float) / scale**2
    total = total_variance(pca) / scale**2
    return CodeStatistics(CodeMoments.of_pca(variances), total - np.cumsum(variances), total, d)


def squared_errors(module: Autoencoder, X: Any, sizes: Iterable[int]) -> tuple[np.ndarray, float]:
    """Mean squared error of a row with the first j components for each j in ``sizes``, and with none."""
    sizes = list(sizes)
    errors, total = np.zeros(len(sizes)), 0.0
    with torch.no_grad():
        for x in working_blocks(module, X):
            z = module.encode(x)
            for i, j in enumerate(sizes):
                x_hat = (module.reconstruct(z[:, :j]) - module.offset) / module.scale
                errors[i] += float((x - x_hat).square().sum())
            total += float(x.square().sum())
    return errors / X.shape[0], total / X.shape[0]


def working_blocks(module: Autoencoder, X: Any) -> Iterator[Tensor]:
    """Rows of X in working units and in the module's precision, in blocks that fit the cache."""
    offset = module.offset.numpy().astype(np.float64)
    for part in sample_blocks(X):
        yield torch.from_numpy((part - offset) / module.scale).to(module.offset.dtype)


@torch.no_grad()
def calibrate_noise(noise: Noise, module: Autoencoder, blocks: Iterable[Tensor], seed: int) -> None:
    """Set the noise variance right for working rows, usually held-out ones.

    It is multiplied by the maximum-likelihood factor, given ``module``'s posterior: always if it was
    too small, as overfitting makes it; if it was too large, beyond two standard errors.
    """
    generator = Generator().manual_seed(seed)
    parts = []
    for x in blocks:
        z = module.bottleneck.evaluate(module.encoder(x), generator)
        log_noise = module.log_noise(z)
        assert log_noise is not None
        parts.append(misfit(module.decode(z), x, log_noise).double())
    rows = torch.cat(parts)
    factor, error = float(rows.mean()), float(rows.std(correction=0)) / math.sqrt(len(rows))
    if factor > 1.0 or factor < 1.0 - 2.0 * error:
        noise.log_variance.add_(math.log(max(factor, 1e-10)))
