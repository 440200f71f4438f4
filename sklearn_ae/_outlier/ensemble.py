"""Ensemble of an outlier detector: one autoencoder with fitted outlier scores per fold.

    training samples of a fold -> inlier core (if robust) -> autoencoder -> fitted scores
    held-out samples           -> calibration, and reference scores for p-values

A :class:`FoldDetector` never uses the held-out samples for training, not even to find
the inlier core. Their scores are therefore distributed like those of new samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import KFold

from sklearn_ae._estimators.autoencoder import AutoencoderTransformer
from sklearn_ae._estimators.validation import N_DRAWS
from sklearn_ae._utils.arrays import dense, sample_blocks
from sklearn_ae._utils.clumps import Clump
from sklearn_ae._utils.covariance import InlierCore
from sklearn_ae._utils.missing import Completion, completed
from sklearn_ae._utils.runtime import MAX_SEED
from sklearn_ae._utils.warnings import without_convergence_warnings
from sklearn_ae.outlier_scores import FittedScore, OutlierScore, ReconstructedSamples, Terms, fit_alternatives

_MIN_FOLDS = 5

_BLOCK_VALUES = 2**18  # number of entries of X that are scored at a time, in blocks of
_MIN_WIDTH = 256  # that number divided by this, or by the number of features if larger

_MAX_COMPONENTS = 16  # of a default autoencoder
_N_STEPS = 350  # Training budget of a default network
_BATCH_SIZE = 128
_LEARNING_RATE = 0.008  # higher than that of AutoencoderTransformer, because there are few steps
_MAX_EPOCHS = 150

ROUNDING = 1e-7  # Scores with a smaller relative difference are regarded as equal.

_RELATIVE_FLOOR = 1e-4  # Squared distances below this fraction of the median are regarded as equal.

_MIN_SPREAD = 0.05  # Lower bound of Calibration.spread, which is 0 for equal values

SHARPNESS = 4.0  # Calibrated values below 0 by more than the inverse hardly count beside larger ones.

SAME_LEVEL = 1e-6  # Difference of calibrated values up to which they are equal to the median


class Fold(NamedTuple):
    """Indices of the samples that one autoencoder is trained on, and of those that are held out."""

    train: np.ndarray
    held_out: np.ndarray


def default_autoencoder(n_samples: int, n_features: int, *, linear: bool) -> AutoencoderTransformer:
    """Return a linear autoencoder, or a small network with a short training, as there are several.

    NOTE[DIFF]: Networks did not improve scores by neighbours and contrast on the benchmark's datasets.
    """
    n_components = min(_MAX_COMPONENTS, -(-n_features // 4), max(1, n_samples // 4))
    if linear:
        return AutoencoderTransformer(n_components, hidden_layer_sizes=())
    steps_per_epoch = -(-n_samples // _BATCH_SIZE)
    autoencoder = AutoencoderTransformer(
        n_components,
        hidden_layer_sizes=(64,),
        batch_size=_BATCH_SIZE,
        learning_rate_init=_LEARNING_RATE,
        max_iter=min(_MAX_EPOCHS, -(-_N_STEPS // steps_per_epoch)),
    )
    autoencoder._n_folds = 0  # the detector has folds of its own
    return autoencoder


def make_folds(n_samples: int, n_estimators: int, seed: int) -> list[Fold]:
    """Return the fold of each autoencoder; too few samples to split are both trained on and held out."""
    n_folds = min(max(_MIN_FOLDS, n_estimators), n_samples // 2)
    if n_folds < 2:
        return [Fold(np.arange(n_samples), np.arange(n_samples))] * n_estimators
    splitter = KFold(n_folds, shuffle=True, random_state=seed)
    folds = [Fold(*split) for split in splitter.split(np.empty(n_samples))]
    return [folds[i % n_folds] for i in range(n_estimators)]


@dataclass
class Calibration:
    """Distribution of a fitted score over held-out samples: median, and distance to the 90 % quantile.

    Squared distances are compared on a logarithmic scale, with a positive lower bound.
    """

    squared: bool
    floor: float
    centre: float
    spread: float

    @classmethod
    def fit(cls, values: np.ndarray, *, squared: bool) -> Calibration:
        """Calibrate by the outlyingness of held-out samples, of shape (n,)."""
        positive = values[values > 0]
        floor = _RELATIVE_FLOOR * float(np.median(positive)) if len(positive) else 1.0
        levels = _levels(values, floor) if squared else values
        centre, upper = np.quantile(levels, [0.5, 0.9])
        return cls(squared, floor, float(centre), max(float(upper - centre), _MIN_SPREAD))

    def standardise(self, values: np.ndarray) -> np.ndarray:
        """Return 0 for the median of the held-out samples and 1 for their 90 % quantile, of shape (n,).

        Values that equal the median up to rounding are exactly 0: near 0 no relative difference is rounding.
        """
        levels = _levels(values, self.floor) if self.squared else values
        standardised = (levels - self.centre) / self.spread
        return np.where(np.abs(standardised) <= SAME_LEVEL, 0.0, standardised)

    @property
    def typical_value(self) -> float:
        """Divisor that makes contributions to different fitted scores comparable."""
        return float(np.exp(self.centre)) if self.squared else self.spread


def _levels(squared_distances: np.ndarray, floor: float) -> np.ndarray:
    return np.log(np.maximum(squared_distances, floor))


@dataclass
class FittedDeviation:
    """Signed deviation of the sample towards a clump outside of the inlier core, in standard deviations."""

    clump: Clump
    squared = False

    def outlyingness(self, samples: ReconstructedSamples) -> np.ndarray:
        return self.clump.deviation(samples.x)

    def contributions(self, samples: ReconstructedSamples) -> np.ndarray:
        return (samples.x - self.clump.mean) * self.clump.direction


class FoldDetector:
    """Autoencoder of one fold, and outlier scores fitted to its training samples.

    Parameters
    ----------
    autoencoder : BaseAutoencoder
        Fitted autoencoder.
    alternatives : list of list of list of FittedScore
        A single fitted score is used in its own unit. Of each term, the largest calibrated
        score counts; what exceeds a typical value is added up over the terms, and
        calibrated again; the largest of the alternatives counts.
    completion : Completion
        Conditional distribution of missing values in the training samples.
    X : {ndarray, sparse array} of shape (n_samples, n_features)
        Held-out samples.
    calibrates : ndarray of shape (n_samples,)
        Mask of the held-out samples that form the calibration set.
    """

    def __init__(
        self,
        autoencoder: Any,
        alternatives: list[Terms],
        completion: Completion,
        X: Any,
        calibrates: np.ndarray,
    ) -> None:
        self.autoencoder = autoencoder
        self.fitted_scores = [fitted for terms in alternatives for term in terms for fitted in term]
        self.sizes = [[len(term) for term in terms] for terms in alternatives]
        self.completion = completion
        values, oddity = self._values(X)
        self.calibrations = [
            Calibration.fit(v[calibrates], squared=fitted.squared)
            for fitted, v in zip(self.fitted_scores, values, strict=True)
        ]
        standardised = self._standardised(self._with_oddity(values, oddity))[:, calibrates]
        self.joint = [Calibration.fit(v, squared=False) for v in self._alternatives(standardised)]
        self.held_out_scores = np.sort(self._scores(values, oddity))

    @classmethod
    @np.errstate(over="ignore", invalid="ignore")  # distances of extreme samples are infinite
    def fit(
        cls, autoencoder: Any, score: OutlierScore, X: Any, fold: Fold, *, robust: bool, seed: int
    ) -> FoldDetector:
        """Fit a clone of the autoencoder, or the default one, and the score without the held-out samples."""
        rng = np.random.RandomState(seed)
        draws = np.random.RandomState(seed)  # a second generator, as complete samples need no draws
        train, samples = fold.train, X[fold.train]
        calibrates = np.ones(len(fold.held_out), dtype=bool)
        deviations: list[FittedScore] = []
        if robust:
            complete = _as_double(completed(samples, draws))
            core = InlierCore.fit(complete, rng)
            inside = core.contains(complete)
            train, samples = train[inside], samples[inside]
        completion = Completion.fit(samples, draws)
        samples = completion.draw(samples, draws)
        if robust:
            inside = core.contains(_as_double(completion.draw(X[fold.held_out], draws)))
            calibrates = inside if inside.any() else calibrates
            deviations = [FittedDeviation(clump) for clump in core.clumps]
        model = _fit_autoencoder(autoencoder, score, samples, rng.randint(MAX_SEED))
        origin = train if len(np.unique(train)) < len(train) else None
        reconstructed = _reconstructed(model, dense(samples), origin=origin)
        alternatives = fit_alternatives(score, reconstructed, rng)
        if sum(len(term) for terms in alternatives for term in terms) > 1:  # A single score keeps its unit.
            alternatives += [[[deviation]] for deviation in deviations]
        return cls(model, alternatives, completion, X[fold.held_out], calibrates)

    @property
    def has_unit(self) -> bool:
        """True if scores are those of a single fitted score, in its own unit."""
        return len(self.fitted_scores) == 1

    @property
    def has_squared_unit(self) -> bool:
        """True if scores are negated squared distances."""
        return self.has_unit and self.fitted_scores[0].squared

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the score of each sample, of shape (n,); higher is more normal."""
        return self._scores(*self._values(X))

    @np.errstate(over="ignore", invalid="ignore")
    def contributions(self, X: Any) -> np.ndarray:
        """Return the contributions to the largest fitted score, of shape (n, d).

        With several fitted scores, they are relative to the value of a typical sample.
        """
        return np.concatenate([self._block_contributions(samples) for samples in self.blocks(X)])

    def rank(self, scores: np.ndarray) -> np.ndarray:
        """Return the fraction of held-out samples that are at most as normal, of shape (n,)."""
        return count_at_most(scores, self.held_out_scores) / len(self.held_out_scores)

    def blocks(self, X: Any) -> Iterator[ReconstructedSamples]:
        """Return the samples with their reconstructions, a block at a time."""
        n_values = _BLOCK_VALUES * X.shape[1] // max(X.shape[1], _MIN_WIDTH)
        filled = (self.completion.fill(block) for block in sample_blocks(X, n_values))
        return (_reconstructed(self.autoencoder, x, observed) for x, observed in filled)

    @np.errstate(over="ignore", invalid="ignore")
    def _values(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the outlyingness by each fitted score, of shape (n_scores, n), and that of the gaps."""
        values, oddities = [], []
        for samples in self.blocks(X):
            values.append(self._block_values(samples))
            oddities.append(self._oddity(samples).sum(axis=1))
        return np.concatenate(values, axis=1), np.concatenate(oddities)

    def _oddity(self, samples: ReconstructedSamples) -> np.ndarray:
        return self.completion.oddity(samples.observed, samples.x.shape)

    def _block_values(self, samples: ReconstructedSamples) -> np.ndarray:
        return np.stack([fitted.outlyingness(samples) for fitted in self.fitted_scores])

    def _scores(self, values: np.ndarray, oddity: np.ndarray) -> np.ndarray:
        """Return scores; those of samples that are too extreme to be computed are minus infinity."""
        values = self._with_oddity(values, oddity)
        scores = -values[0] if self.has_unit else -self._joined(self._standardised(values))
        return np.where(np.isnan(scores), -np.inf, scores)

    def _with_oddity(self, values: np.ndarray, oddity: np.ndarray) -> np.ndarray:
        """Add to the outlyingness by each fitted score what missing values are worth."""
        return values + np.multiply.outer(self._units, oddity) if oddity.any() else values

    @property
    def _units(self) -> np.ndarray:
        """Values of a squared distance of 1 in the units of the fitted scores, of shape (n_scores,).

        The squared distance of a typical sample is its number of features; half a squared
        distance is a negative log-likelihood in nats.
        """
        d = len(self.completion.known)
        return np.array([c.typical_value / d if c.squared else 0.5 for c in self.calibrations])

    def _joined(self, standardised: np.ndarray) -> np.ndarray:
        """Return the largest of the alternatives, of which sums are calibrated again, of shape (n,)."""
        alternatives = self._alternatives(standardised)
        for i, sizes in enumerate(self.sizes):
            if len(sizes) > 1:
                alternatives[i] = self.joint[i].standardise(alternatives[i])
        return np.max(alternatives, axis=0)

    def _alternatives(self, standardised: np.ndarray) -> list[np.ndarray]:
        """Return the value of the only term, or the sum of how far terms exceed 0, each of shape (n,)."""
        rows = iter(standardised)
        out = []
        for sizes in self.sizes:
            terms = [np.max([next(rows) for _ in range(size)], axis=0) for size in sizes]
            smooth = [np.logaddexp(0.0, SHARPNESS * term) / SHARPNESS for term in terms]
            out.append(terms[0] if len(terms) == 1 else np.sum(smooth, axis=0))
        return out

    def _standardised(self, values: np.ndarray) -> np.ndarray:
        pairs = zip(self.calibrations, values, strict=True)
        return np.stack([calibration.standardise(v) for calibration, v in pairs])

    def _block_contributions(self, samples: ReconstructedSamples) -> np.ndarray:
        if self.has_unit:
            return self._contributions(0, samples)
        values = self._with_oddity(self._block_values(samples), self._oddity(samples).sum(axis=1))
        largest = self._standardised(values).argmax(axis=0)
        out = np.empty_like(samples.x)
        for i, calibration in enumerate(self.calibrations):
            selected = largest == i
            if selected.any():
                out[selected] = self._contributions(i, samples[selected]) / calibration.typical_value
        return out

    def _contributions(self, i: int, samples: ReconstructedSamples) -> np.ndarray:
        """Return the contributions to the i-th fitted score, and those of unusual gaps, of shape (n, d)."""
        parts = self.fitted_scores[i].contributions(samples)
        return parts if samples.observed is None else parts + self._units[i] * self._oddity(samples)


def count_at_most(values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Return the number of ordered values that do not exceed each value, up to rounding."""
    return np.searchsorted(ordered, values + _rounding(values, ordered), side="right")


def _rounding(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the difference from each value that may be rounding.

    Rounding is relative to the value, and to most of the others, since a value may be a difference.
    """
    finite = np.abs(others[np.isfinite(others)])
    scale = np.quantile(finite, 0.9) if len(finite) else 0.0
    return np.where(np.isfinite(values), ROUNDING * np.maximum(np.abs(values), scale), 0.0)


class TrainingRanks:
    """Mean ranks of the training samples, distributed like those of new samples, for p-values.

    A fold's detector ranks its training samples among themselves, and the held-out
    samples among themselves, each without the sample itself. Both ranks are uniform,
    as those of new samples are, even if the fold's detector overfits its training
    samples. A new sample with the score of training samples, such as a combination of
    categories, is at most as far out as these: the ranks alone, which are taken among
    other samples, would decide by chance whether it is beyond all of them.

    Parameters
    ----------
    scores : ndarray of shape (n_estimators, n_samples)
        Scores of the training samples by the detector of each fold.
    folds : list of Fold
        Samples that are repeated by weight have repeated indices.
    n_copies : ndarray of shape (n_samples,)
        Number of copies of each sample.
    """

    def __init__(self, scores: np.ndarray, folds: list[Fold], n_copies: np.ndarray) -> None:
        ranks = np.zeros_like(scores)
        for fold_ranks, fold_scores, fold in zip(ranks, scores, folds, strict=True):
            for group in fold:
                values = fold_scores[group]
                own = np.bincount(group)[group]
                fold_ranks[group] = (count_at_most(values, np.sort(values)) - own) / len(group)
        mean_ranks, mean_scores = ranks.mean(axis=0), scores.mean(axis=0)
        self.ordered = np.sort(np.repeat(mean_ranks, n_copies))
        self.expected_copies = float(np.average(n_copies, weights=n_copies))
        order = np.argsort(mean_scores)
        self.scores = mean_scores[order]
        before, after = self.scores[:-1], self.scores[1:]
        differ = after > before + _rounding(before, self.scores)
        starts = np.append(0, 1 + np.flatnonzero(differ))
        highest = np.maximum.reduceat(mean_ranks[order], starts)
        self.highest = np.repeat(highest, np.diff(np.append(starts, len(order))))

    def pvalues(self, scores: np.ndarray, ranks: np.ndarray) -> np.ndarray:
        """Return p-values of samples with the given mean scores and mean ranks, of shape (n,)."""
        last = count_at_most(scores, self.scores) - 1
        equal = (last >= 0) & (self.scores[last] >= scores - _rounding(scores, self.scores))
        ranks = np.where(equal, np.maximum(ranks, self.highest[last]), ranks)
        at_most = self.expected_copies + count_at_most(ranks, self.ordered)
        return at_most / (self.expected_copies + len(self.ordered))


def _fit_autoencoder(autoencoder: Any, score: OutlierScore, X: Any, seed: int) -> Any:
    """Fit a clone, or the default autoencoder without a ConvergenceWarning: its budget is not a parameter."""
    if autoencoder is not None:
        return clone(autoencoder).set_params(random_state=seed).fit(X)
    default = default_autoencoder(*X.shape, linear=not score.needs_network)
    with without_convergence_warnings():
        return default.set_params(random_state=seed).fit(X)


def repeated_folds(folds: list[Fold], copies: np.ndarray) -> list[Fold]:
    """Return folds in which samples are repeated; all parts keep at least two."""
    return [Fold(*(_repeated(part, copies[part]) for part in fold)) for fold in folds]


def _repeated(indices: np.ndarray, copies: np.ndarray) -> np.ndarray:
    return np.repeat(indices, copies) if copies.sum() >= 2 else indices


def _reconstructed(
    model: Any,
    X: np.ndarray,
    observed: np.ndarray | None = None,
    origin: np.ndarray | None = None,
) -> ReconstructedSamples:
    """Return the samples and their reconstructions in double precision."""
    return ReconstructedSamples(
        _as_double(X),
        _as_double(model._inverse_transform(model._transform(X))),
        lambda x: model._score_samples(x.astype(X.dtype, copy=False), N_DRAWS)[0],
        observed,
        origin,
    )


def _as_double(X: Any) -> np.ndarray:
    return dense(X).astype(np.float64, copy=False)
