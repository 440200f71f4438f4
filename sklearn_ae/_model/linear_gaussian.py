"""The linear models that a VAE starts from and falls back to: probabilistic PCA and factor analysis."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import linalg
from sklearn.decomposition import FactorAnalysis
from sklearn.utils.extmath import svd_flip
from torch import Generator, nn

from sklearn_ae._data.sources import Source
from sklearn_ae._model.incomplete import IncompleteFactors
from sklearn_ae._model.pca import InitialPCA
from sklearn_ae._model.whitening import Whitening
from sklearn_ae._utils.runtime import without_foreign_warnings
from sklearn_ae.bottlenecks import LOG_VARIANCE_BOUNDS
from sklearn_ae.networks import Linear, TiedLinear

# The EM algorithm decomposes a matrix of 2 d x d in every iteration.
_MAX_FEATURES = 500
_MAX_EXACT = 100  # number of features up to which the decomposition is a full one

# Samples per feature from which the noise variances of single features can be estimated. With fewer, factor
# analysis is worse on unseen samples than probabilistic PCA.
_MIN_SAMPLES_PER_FEATURE = 2

# Samples up to which networks are trained from factor analysis. With more, they reach a higher likelihood
# from probabilistic PCA, whose noise leaves them more to learn.
FEW = 1_000

_N_FOLDS = 5

_TOL = 1e-2  # smallest difference of log-likelihoods that counts, the default of FactorAnalysis

LEAST_NOISE = math.exp(LOG_VARIANCE_BOUNDS[0])  # the smallest variance that a VAE can learn


@dataclass(frozen=True)
class LinearGaussian:
    """The model z ~ N(0, I), x | z ~ N(z W, diag(noise)), rotated so that W diag(noise)^-1 W' is diagonal.

    The posterior N(x B', diag(variances)) then has independent components, so that the ELBO of a
    VAE with these linear maps is the log-likelihood. All values are in working units, except that
    ``noise`` is in whitened ones for a full noise covariance.
    """

    W: np.ndarray  # (r, d)
    B: np.ndarray  # (r, d)
    variances: np.ndarray  # (r,)
    noise: np.ndarray  # (d,), or (1,) if it is shared
    is_pca: bool
    smoother: LinearGaussian | None = None  # from which networks are trained; None is the model itself
    whitening: Whitening | None = None
    mean: np.ndarray | None = None  # (d,) of X, None if it is that of PCA
    gains: np.ndarray | None = None  # (r,), W = diag(gains) B if W and B have the same directions


def probabilistic_pca(initial: InitialPCA) -> LinearGaussian:
    """Return probabilistic PCA.

    With axes U, variances L and noise variance s^2, W is (L - s^2)^1/2 U and the posterior of a
    sample x is N(L^-1 W x, s^2 L^-1).

    References
    ----------
    M. Tipping, C. Bishop (1999), Probabilistic principal component analysis,
    Journal of the Royal Statistical Society B 61(3).
    """
    pca = initial.pca
    noise = shared_noise(initial)
    spectrum = np.maximum(pca.explained_variance_ / initial.pca_unit**2, noise).astype(np.float64)
    axes = np.array(pca.components_, dtype=np.float64)
    root = np.sqrt(spectrum - noise)[:, None]
    return LinearGaussian(
        root * axes,
        root / spectrum[:, None] * axes,
        noise / spectrum,
        np.array([noise]),
        is_pca=True,
        gains=spectrum,
    )


def shared_noise(initial: InitialPCA) -> float:
    """Return the noise variance of PCA."""
    return max(float(initial.pca.noise_variance_) / initial.pca_unit**2, LEAST_NOISE)


def determines_factors(n_samples: int, n_features: int) -> bool:
    """Return whether there are enough samples for factor analysis, and not too many features."""
    return n_features <= _MAX_FEATURES and n_samples >= _MIN_SAMPLES_PER_FEATURE * n_features


def better_linear_gaussian(samples: Any, initial: InitialPCA) -> LinearGaussian:
    """Return factor analysis with as many factors as PCA has components, or probabilistic PCA.

    A noise variance per feature overfits features that vary in a few samples only, and is then far
    worse on others. Therefore all models are fitted to four in five samples first. The first one
    that is not worse on the others than any is taken, in the order: factor analysis, the same with
    the least noise that so few samples can tell, probabilistic PCA.

    Parameters
    ----------
    samples : ArraySamples or Source
    initial : InitialPCA
        Defines the number of components and the working units.
    """
    if not isinstance(samples, Source) and samples.incomplete:
        return incomplete_factor_analysis(samples, initial)
    parts = Scatter.folds(samples, initial)
    held_out = parts.pop(2)
    train = functools.reduce(Scatter.joined, parts)
    k, shared = initial.pca.n_components_, shared_noise(initial)
    W, psi, least = _factor_analysis(train, k, shared)
    candidates = [(W, psi), (W, np.maximum(psi, least)), *([_pca_of(train, k)] if k else [])]
    scores = [held_out.log_likelihood(*candidate) for candidate in candidates]
    chosen = next(i for i, score in enumerate(scores) if score >= max(scores) - _TOL)
    if chosen == 2:
        return probabilistic_pca(initial)
    W, psi, least = _factor_analysis(train.joined(held_out), k, shared)
    smooth = _rotated(W, np.maximum(psi, least))
    best = smooth if chosen else _rotated(W, psi)
    return replace(best, smoother=smooth if samples.shape[0] <= FEW else probabilistic_pca(initial))


def incomplete_factor_analysis(samples: Any, initial: InitialPCA) -> LinearGaussian:
    """Return factor analysis of samples with missing values, with as many factors as PCA has components."""
    factors = IncompleteFactors.fit(samples.array, initial.pca.n_components_, shared=False)
    W, noise = factors.W / initial.scale, np.maximum(factors.noise / initial.scale**2, LEAST_NOISE)
    return replace(_rotated(W, noise), mean=factors.mean, smoother=probabilistic_pca(initial))


def _rotated(W: np.ndarray, psi: np.ndarray) -> LinearGaussian:
    """Return the model with loadings W and noise variances psi."""
    _, sizes, axes = np.linalg.svd(W / np.sqrt(psi), full_matrices=False)  # SciPy's needs a component
    scaled = sizes[:, None] * svd_flip(None, axes, u_based_decision=False)[1]
    variances = 1.0 / (1.0 + sizes**2)
    return LinearGaussian(
        scaled * np.sqrt(psi), variances[:, None] * scaled / np.sqrt(psi), variances, psi, is_pca=False
    )


def _pca_of(scatter: Scatter, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return loadings W (k, d) and noise variances (d,) of probabilistic PCA."""
    _, sizes, axes = linalg.svd(scatter.root, full_matrices=False, check_finite=False)
    noise = max(np.square(sizes[k:]).sum() / max(scatter.d - k, 1), LEAST_NOISE)
    return np.sqrt(np.maximum(sizes[:k] ** 2 - noise, 0.0))[:, None] * axes[:k], np.full(scatter.d, noise)


def _factor_analysis(scatter: Scatter, k: int, shared: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return loadings W (r, d) and noise variances (d,) of FactorAnalysis, and the least that samples tell.

    It is fitted to standardised features: the maximum of the likelihood does not depend on their
    units, but the EM algorithm, which starts at unit noise variance, reaches it in few iterations
    only there. The samples are replaced by a root of their scatter matrix, which has the same
    likelihood, so that an iteration takes the same time for any number of samples. Features
    without variance get the ``shared`` noise variance.
    """
    root, d = scatter.root, scatter.d
    varies = scatter.n_varied > 0
    unit = np.where(varies, np.sqrt(np.square(root).sum(axis=0)), 1.0)
    standardised = np.where(varies, root / unit, 0.0)
    mirrored = math.sqrt(len(root)) * np.vstack([standardised, -standardised])  # has mean 0
    # Factors beyond the rank would keep the EM algorithm from any noise variance but its first.
    k = min(k, np.linalg.matrix_rank(standardised), d - 1)
    solver = "lapack" if d <= _MAX_EXACT else "randomized"
    with without_foreign_warnings():
        fa = FactorAnalysis(k, tol=_TOL * len(mirrored) / scatter.n, svd_method=solver).fit(mirrored)
    psi = np.where(varies, fa.noise_variance_ * unit**2, shared)
    least = (unit / np.maximum(scatter.n_varied, 1.0)) ** 2
    return fa.components_ * unit, np.maximum(psi, LEAST_NOISE), np.where(varies, least, 0.0)


def probabilistic_paths(
    linear: LinearGaussian, n_components: int, *, tied: bool, bias: bool, generator: Generator
) -> tuple[nn.Module, nn.Module]:
    """Return the linear layers of a VAE: posterior means and log-variances, and the decoder.

    Components beyond those of the linear model start at the prior, with small random directions.
    """
    r, d = linear.W.shape
    rest = n_components - r
    extra = (
        0.01 * torch.randn((rest, d), generator=generator, dtype=torch.float64, device="cpu") / math.sqrt(d)
    )
    variances = torch.from_numpy(linear.variances)
    encoder = Linear(d, 2 * n_components, dtype=torch.float64, device="cpu")
    encoder.weight.data = torch.cat(
        [
            torch.from_numpy(linear.B),
            extra,
            torch.zeros(n_components, d, dtype=torch.float64, device="cpu"),
        ]
    )
    encoder.bias.data = F.pad(variances.log(), (n_components, rest))
    if tied:
        assert linear.gains is not None
        gain = F.pad(torch.from_numpy(linear.gains), (0, rest), value=1.0)
        return encoder, TiedLinear(encoder, bias, n_components, gain)
    decoder = Linear(n_components, d, bias=bias, dtype=torch.float64, device="cpu")
    decoder.weight.data = torch.cat([torch.from_numpy(linear.W), torch.zeros_like(extra)]).T.contiguous()
    if bias:
        decoder.bias.data.zero_()
    return encoder, decoder


@dataclass(frozen=True)
class Scatter:
    """Second moments of samples in working units: R with R'R = X'X / n, and sums of fourth powers."""

    n: int
    root: np.ndarray  # (r, d)
    fourth: np.ndarray  # (d,)
    rounding: np.ndarray  # (d,), mean square of features without variance

    @property
    def d(self) -> int:
        """Number of features."""
        return len(self.fourth)

    @property
    def n_varied(self) -> np.ndarray:
        """Number of samples in which each feature varies, (sum x^2)^2 / sum x^4.

        A third of the samples for normal features, one if a single sample differs from all
        others, and 0 without variance.
        """
        second = np.square(self.root).sum(axis=0)
        varies = (second > self.rounding) & (self.fourth > 0)
        return np.where(varies, (self.n * second) ** 2 / np.where(varies, self.fourth, 1.0), 0.0)

    @classmethod
    def folds(cls, samples: Any, initial: InitialPCA) -> list[Scatter]:
        """Return the moments of every fifth sample, from the first five on."""
        d = samples.shape[1]
        rounding = (1e-12 * initial.offset / initial.scale) ** 2
        folds = [cls(0, np.zeros((0, d)), np.zeros(d), rounding) for _ in range(_N_FOLDS)]
        n = 0
        for block in samples.blocks():
            x = (block - initial.offset) / initial.scale
            for i in range(_N_FOLDS):
                part = x[(i - n) % _N_FOLDS :: _N_FOLDS]
                more = cls(len(part), part / math.sqrt(max(len(part), 1)), (part**4).sum(axis=0), rounding)
                folds[i] = folds[i].joined(more)
            n += len(x)
        return [samples.joined(fold) for fold in folds] if isinstance(samples, Source) else folds

    def joined(self, other: Scatter) -> Scatter:
        """Return the moments of the samples of both."""
        n = max(self.n + other.n, 1)
        roots = [math.sqrt(part.n / n) * part.root for part in (self, other)]
        root = np.asarray(np.linalg.qr(np.vstack(roots), mode="r"))
        return Scatter(self.n + other.n, root, self.fourth + other.fourth, self.rounding)

    def log_likelihood(self, W: np.ndarray, noise: np.ndarray) -> float:
        """Return twice the mean log-density under N(0, W'W + diag(noise)), up to a constant."""
        triangle = linalg.cholesky(W.T @ W + np.diag(noise), lower=True)
        whitened = linalg.solve_triangular(triangle, self.root.T, lower=True)
        return float(-2 * np.log(np.diag(triangle)).sum() - np.square(whitened).sum())
