"""Statistics of a trained model: codes, residuals, noise variance, and the test against PCA.

:class:`CodeMoments` serves whitening, the prior of the likelihood and the covariance
of linear models. :class:`CodeStatistics` adds the noise variance and, for ordered
codes, the variance that each component explains. :func:`shows_a_gain` compares the
validation objective of a network with that of PCA.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Generator, Tensor

from sklearn_ae._data.sources import Source
from sklearn_ae._model.module import Autoencoder
from sklearn_ae._model.pca import total_variance
from sklearn_ae._utils.arrays import BLOCK_VALUES, sample_blocks
from sklearn_ae._utils.missing import observed_or_none
from sklearn_ae._utils.namespaces import widest_float

N_LANDMARKS = 512
MIN_VALIDATION_SAMPLES = 10  # below this number, validation cannot show a gain
_MAX_CODES = 2**20  # entries of codes that are held at a time (8 MB)


@dataclass
class CodeMoments:
    """Mean and covariance of the training codes, in working units, and a subset of the codes.

    ``root`` is the upper-triangular R with a non-negative diagonal and
    ``covariance = R' R``. Its first columns belong to the first components, so that
    all methods commute with truncation.
    """

    mean: np.ndarray  # (k,)
    root: np.ndarray  # (k, k)
    landmarks: np.ndarray  # (m, k)
    n: float = 0.0  # number of samples that the moments represent

    @classmethod
    def of(cls, codes: np.ndarray) -> CodeMoments:
        """Return the moments of codes of shape (n, k)."""
        n = len(codes)
        mean = codes.mean(axis=0)
        root = _triangular_root(codes - mean) / np.sqrt(max(n - 1, 1))
        return cls(mean, root, codes[spread(n, N_LANDMARKS)], n)

    @classmethod
    def of_parts(cls, parts: Iterable[Tensor], width: int) -> CodeMoments:
        """Return the moments of codes that come in parts, if any, holding a limited number at a time."""
        moments: list[CodeMoments] = []
        for together in _gathered(parts, _MAX_CODES):
            more = cls.of(together.double().numpy())
            moments = [moments[0].joined(more) if moments else more]
        return moments[0] if moments else cls(np.zeros(width), np.zeros((width, width)), np.zeros((0, width)))

    def joined(self, other: CodeMoments) -> CodeMoments:
        """Return the moments of the samples of both."""
        n, m = self.n, other.n
        shift = np.sqrt(n * m / (n + m)) * (other.mean - self.mean)
        scatter = [np.sqrt(max(part.n - 1, 0)) * part.root for part in (self, other)]
        root = _triangular_root(np.vstack([*scatter, shift[None]])) / np.sqrt(max(n + m - 1, 1))
        n_old = round(N_LANDMARKS * n / (n + m))
        landmarks = [self.landmarks, other.landmarks]
        if sum(map(len, landmarks)) > N_LANDMARKS:
            landmarks = [
                codes[spread(len(codes), wanted)]
                for codes, wanted in zip(landmarks, (n_old, N_LANDMARKS - n_old), strict=True)
            ]
        return CodeMoments(
            self.mean + m / (n + m) * (other.mean - self.mean), root, np.vstack(landmarks), n + m
        )

    @classmethod
    def of_pca(cls, variances: np.ndarray) -> CodeMoments:
        """Return the moments of PCA codes, which are centred and uncorrelated."""
        k = len(variances)
        return cls(np.zeros(k), np.diag(np.sqrt(np.maximum(variances, 0))), np.zeros((0, k)))

    def truncated(self, k: int) -> CodeMoments:
        """Return the moments of the first k components."""
        root = _triangular_root(self.root[:, :k])
        return CodeMoments(self.mean[:k], root, self.landmarks[:, :k], self.n)

    def whitening(self, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return m and lower-triangular L with ``whitened = L^-1 (z - m)``; null directions stay small.

        The codes of null directions are the rounding errors of ``dtype``.
        """
        L = self.root.T.copy()
        diagonal = np.diag(L)
        floor = np.finfo(dtype).eps ** 0.75 * float(diagonal.max(initial=0.0)) or 1.0
        np.fill_diagonal(L, np.maximum(diagonal, floor))
        return self.mean, L


def _triangular_root(A: np.ndarray) -> np.ndarray:
    """Return the upper-triangular R of shape (k, k) with R'R = A'A and a non-negative diagonal."""
    k = A.shape[1]
    R = np.asarray(np.linalg.qr(A, mode="r"))
    R = np.vstack([R, np.zeros((max(0, k - len(R)), k))])
    return R * np.where(np.diag(R) < 0, -1.0, 1.0)[:, None]


def _gathered(parts: Iterable[Tensor], n_values: int) -> Iterator[Tensor]:
    """Iterate over concatenated parts of about ``n_values`` values each, which share their memory.

    Parts are copied immediately, as in :func:`~sklearn_ae._utils.arrays.stacked`.
    """
    whole, n = torch.empty((0, 0), device="cpu"), 0
    for part in parts:
        if n and n + len(part) > len(whole):
            yield whole[:n]
            n = 0
        if len(part) > len(whole):
            size = max(len(part), n_values // max(1, part.shape[1]))
            whole = part.new_empty((size, part.shape[1]))
        whole[n : n + len(part)] = part
        n += len(part)
    if n:
        yield whole[:n]


def spread(n: int, n_wanted: int) -> np.ndarray:
    """Return evenly spaced indices."""
    return np.unique(np.linspace(0, n - 1, min(n, n_wanted)).round().astype(int))


@dataclass
class CodeStatistics:
    """Statistics of the codes and residuals of a fitted model, in working units.

    Parameters
    ----------
    moments : CodeMoments
    errors : ndarray of shape (k,) or (1,)
        Mean over samples of the squared error (summed over features) with the first
        j components, j = 1, ..., k, for ordered codes; with all components otherwise.
        Missing values do not count.
    total : float
        The same for the training mean as reconstruction.
    n_features : float
        Number of features, or the mean number of observed ones.
    latent_scale : ndarray of shape (k, k) or None
        Root of the covariance of the prior of the codes, once a log-likelihood has needed it.
    draws : ndarray of shape (m, k) or None
        Codes drawn from posteriors of the samples of all chunks, if a prior is fitted to them.
    """

    moments: CodeMoments
    errors: np.ndarray
    total: float
    n_features: float
    latent_scale: np.ndarray | None = field(default=None, repr=False, compare=False)
    draws: np.ndarray | None = None

    @property
    def noise(self) -> float:
        """Noise variance per feature, by the formula of PCA, from held-out or training residuals."""
        k = len(self.moments.mean)
        return float(self.errors[-1]) / max(1, self.n_features - k)

    @property
    def explained(self) -> np.ndarray:
        """Share of the total variance that each component explains."""
        return -np.diff(self.errors, prepend=self.total) / (self.total or 1.0)

    def truncated(self, k: int) -> CodeStatistics:
        """Return the statistics of the first k components."""
        return CodeStatistics(self.moments.truncated(k), self.errors[:k], self.total, self.n_features)

    def n_components_for_share(self, share: float) -> int:
        """Return the smallest number of components that explains a share of the variance, or all."""
        reached = np.cumsum(self.explained) >= share
        return 1 + int(np.argmax(reached)) if reached.any() else len(self.explained)

    def after(self, old: CodeStatistics, n: float, unit: float) -> CodeStatistics:
        """Return the average with older statistics in other units, which count as n samples."""
        share = n / (n + self.moments.n)
        return CodeStatistics(
            replace(old.moments, n=n).joined(self.moments),
            share * unit * old.errors + (1 - share) * self.errors,
            share * unit * old.total + (1 - share) * self.total,
            self.n_features,
        )


def code_statistics(
    module: Autoencoder, samples: Any, validated: Autoencoder, held_out: Any
) -> CodeStatistics:
    """Return the statistics of the codes of ``samples`` and of the residuals of ``held_out``.

    The residuals are those of ``validated``: the model itself, or one that was
    trained in the same way without the held-out samples.
    """
    moments = CodeMoments.of_parts(_codes(module, samples), module.width)
    if isinstance(samples, Source):
        moments = samples.joined(moments)
    bottleneck, k = module.bottleneck, module.width
    every = range(1 if bottleneck.ordered else k, k + 1)
    sizes = [bottleneck.measured_size] if bottleneck.measured_size else every
    errors, total = squared_errors(validated, held_out, sizes)
    unit = float(np.mean(validated.scale / module.scale)) ** 2  # scales of single features do not change
    return CodeStatistics(moments, unit * errors, unit * total, mean_n_observed(held_out))


def mean_n_observed(samples: Any) -> float:
    """Return the mean number of observed features of samples: all of them without missing values."""
    d = samples.shape[1]
    if isinstance(samples, Source) or not samples.incomplete:
        return d
    return d - int(np.isnan(samples.array).sum()) / samples.shape[0]


@torch.no_grad()
def _codes(module: Autoencoder, samples: Any) -> Iterator[Tensor]:
    for x in working_blocks(module, samples):
        yield module.encode(x)


def pca_statistics(pca: Any, scale: float) -> CodeStatistics:
    """Return the statistics of PCA, from its spectrum."""
    d = pca.components_.shape[1]
    variances = np.asarray(pca.explained_variance_, dtype=float) / scale**2
    total = total_variance(pca) / scale**2
    return CodeStatistics(CodeMoments.of_pca(variances), total - np.cumsum(variances), total, d)


@torch.no_grad()
def squared_errors(module: Autoencoder, samples: Any, sizes: Iterable[int]) -> tuple[np.ndarray, float]:
    """Return the mean squared error with the first j components, for j in ``sizes``, and with none."""
    sizes = list(sizes)
    errors = np.zeros(len(sizes))
    total = 0.0
    for x in working_blocks(module, samples):
        errors += module.squared_errors(x, sizes).numpy()
        total += float(x.square().nansum())
    if isinstance(samples, Source):
        errors, total = samples.summed(errors, total)
    n = samples.shape[0]
    return errors / n, float(total / n)


def working_blocks(module: Autoencoder, X: Any) -> Iterator[Tensor]:
    """Iterate over X in working units and in the precision of the module, in blocks that fit the cache."""
    dtype = module.offset.dtype
    device = module.offset.device
    if isinstance(X, Tensor) and module.scores is None:
        yield from _working_tensors(module, X)
        return
    offset = module.offset.cpu().numpy().astype(np.float64, copy=False)
    for part in X.blocks() if hasattr(X, "blocks") else sample_blocks(X):
        part = part.cpu().numpy() if isinstance(part, Tensor) else part
        x = (part if module.scores is None else module.scores(part)) - offset
        try:
            with np.errstate(over="raise"):
                x /= module.scale
        except FloatingPointError as error:
            raise _too_far(module, part) from error
        yield torch.from_numpy(x).to(dtype).to(device)


def _working_tensors(module: Autoencoder, X: Tensor) -> Iterator[Tensor]:
    """Iterate over blocks of a tensor, on its device; centred in float64 if the device has it."""
    exact = widest_float(X.device)
    offset, scale = module.offset.to(exact), module.scale
    if isinstance(scale, np.ndarray):
        scale = torch.from_numpy(scale).to(offset)
    for part in X.split(max(1, BLOCK_VALUES // X.shape[1])):
        x = (part.to(exact) - offset) / scale
        if not bool((x.isfinite() | part.isnan()).all()):
            raise _too_far(module, part.cpu().numpy())
        yield x.to(module.offset.dtype)


def _too_far(module: Autoencoder, part: np.ndarray) -> ValueError:
    part = np.nan_to_num(np.abs(part))
    j = int(part.max(axis=0).argmax())
    value = part[:, j].max()
    deviation = np.broadcast_to(module.scale, len(part[0]))[j]
    return ValueError(
        f"Feature {j} of X reaches {value:.3g}, too far from the training samples, whose standard "
        f"deviation is {deviation:.3g}; remove or clip such values."
    )


class _Spread(NamedTuple):
    """Mean, standard deviation and number of some values."""

    mean: float
    std: float
    n: int

    def joined(self, other: _Spread) -> _Spread:
        """Return those of the values of both."""
        n = self.n + other.n
        shares, gap = (self.n / n, other.n / n), other.mean - self.mean
        within = shares[0] * self.std**2 + shares[1] * other.std**2
        std = math.sqrt(within + shares[0] * shares[1] * gap**2)
        return _Spread(self.mean + shares[1] * gap, std, n)


@torch.no_grad()
def noise_correction(module: Autoencoder, held_out: Any, seed: int) -> float:
    """Return the factor by which the noise variance must be multiplied, from held-out samples.

    It is the maximum-likelihood factor given the posterior of the module. A noise
    variance that is too small, as overfitting makes it, is always corrected; one
    that is too large only beyond two standard errors.
    """
    generator = Generator().manual_seed(seed)
    parts = []
    for x in working_blocks(module, held_out):
        z = module.bottleneck.evaluate(module.encoder(x), generator)
        log_noise = module.log_noise(z)
        assert log_noise is not None
        target = module.target(x)
        values = module.decode(z), target, log_noise, observed_or_none(target)
        part = module.loss.noise_misfit(*values)  # type: ignore[attr-defined]
        if part is None:
            return 1.0
        parts.append(part.double())
    factor, spread, n = 1.0, 0.0, 0
    if parts:  # one of several ranks may have no samples
        misfits = torch.cat(parts)
        factor, spread, n = float(misfits.mean()), float(misfits.std(correction=0)), len(misfits)
    if isinstance(held_out, Source):
        factor, spread, n = held_out.joined(_Spread(factor, spread, n))
    error = spread / math.sqrt(n)
    corrects = factor > 1.0 or factor < 1.0 - 2.0 * error
    return max(factor, 1e-10) if corrects else 1.0


# -- test against PCA -----------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """Comparison of the networks with PCA on held-out samples, or the reason that there was none.

    Parameters
    ----------
    comparison : str
        "compared"; without networks "none" (no components), "optimal" (nothing to
        train), "explained" (PCA leaves nothing unexplained), "interrupted" or "few"
        (held-out samples);
        with networks "early_stopping", "warm" (no samples were held out), "random" or
        "start" (untrained models are not PCA), or "chunks".
    start : str
        Name of the untrained model.
    loss, pca_loss : float or None
        Objective of the network and of PCA.
    n_held_out : int
        Number of samples that were held out.
    n_folds : int
    seconds : float
        Duration of the fit.
    """

    comparison: str
    start: str
    loss: float | None = None
    pca_loss: float | None = None
    n_held_out: int = 0
    n_folds: int = 1
    seconds: float = math.nan

    def truncated(self) -> Outcome:
        """Return the outcome of a model of which only the first components are left."""
        return Outcome("truncated", self.start, seconds=self.seconds)


def shows_a_gain(
    pca_losses: np.ndarray, losses: np.ndarray, *, in_nats: bool = False, in_folds: bool = False
) -> bool:
    """Return whether the validation objective of a network is significantly below that of PCA.

    Two paired t statistics must be large. The first is that of the root of the
    objective of each sample, because a few samples can dominate the mean of the
    objective itself; its critical value has the significance of 2.5 standard errors
    of a normal distribution. The second is that of the objective itself, which must
    exceed one. In nats it must exceed the first critical value, because the mean of
    the nats is what the model promises, and a few samples far from the model can
    outweigh all others. If folds decide, after one validation set has not, both must
    have the significance of 3.5 standard errors: there are few samples, of which a few
    can again outweigh all others, and this is a second test.

    Parameters
    ----------
    pca_losses, losses : ndarray of shape (n,)
        Objective of each validation sample.
    in_nats : bool, default=False
        Whether the objective is a negative log-likelihood.
    in_folds : bool, default=False
        Whether the samples were held out in several folds.
    """
    n = len(pca_losses)
    if n < MIN_VALIDATION_SAMPLES:
        return False
    # A user's loss may be negative.
    low = min(0.0, float(np.min(pca_losses)), float(np.min(losses)))
    roots = _t_statistic(np.sqrt(pca_losses - low) - np.sqrt(losses - low))
    critical = float(stats.t.ppf(stats.norm.cdf(3.5 if in_folds else 2.5), n - 1))
    return roots > critical and _t_statistic(pca_losses - losses) > (critical if in_nats or in_folds else 1.0)


def _t_statistic(gain: np.ndarray) -> float:
    """Return the mean divided by its standard error."""
    spread = gain.std(ddof=1) / math.sqrt(len(gain))
    return float(gain.mean() / spread) if spread > 0 else 0.0
