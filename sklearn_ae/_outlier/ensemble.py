"""What a detector's ensemble consists of: autoencoders, each judged by rows it has not seen.

    rows outside a fold -> core (if robust) -> autoencoder -> fitted_scores
    rows of the fold    -> scale of the fitted_scores, and scores that fresh rows are compared with

A :class:`FoldDetector` is a whole detector of one fold: not even the choice of the core
has seen the held-out rows, so that their scores are like those of fresh rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold

from sklearn_ae._estimators.autoencoder import AutoencoderTransformer
from sklearn_ae._estimators.validation import N_DRAWS
from sklearn_ae._utils.arrays import dense, sample_blocks
from sklearn_ae._utils.covariance import InlierCore
from sklearn_ae._utils.runtime import MAX_SEED
from sklearn_ae.outlier_scores import FittedScore, OutlierScore, ReconstructedSamples

_MIN_FOLDS = 5

_BLOCK_VALUES = 2**18  # entries of X that are scored at a time

_STEPS = 500  # of an autoencoder of the default ensemble

_BATCH = 128

_MAX_COMPONENTS = 16

ROUNDING = 1e-9  # relative differences of scores that count as none

_LEAST_MEASURE = 1e-4  # squared distances under this part of the median count as equal

_LEAST_SPREAD = 0.05  # of the logarithms of squared distances (and of nats), between median and 90 %


def default_autoencoder(n: int, d: int) -> AutoencoderTransformer:
    """A small autoencoder for the width of X, trained briefly: an ensemble has several."""
    steps_per_epoch = -(-n // _BATCH)
    return AutoencoderTransformer(
        min(_MAX_COMPONENTS, -(-d // 4), max(1, n // 4)),
        hidden_layer_sizes=(128, 64),
        batch_size=_BATCH,
        max_iter=min(150, -(-_STEPS // steps_per_epoch)),
    )


def folds(n: int, n_estimators: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and held-out row numbers of each member; the same rows where there are too few to split."""
    n_folds = min(max(_MIN_FOLDS, n_estimators), n // 2)
    if n_folds < 2:
        return [(np.arange(n), np.arange(n))] * n_estimators
    splits = list(KFold(n_folds, shuffle=True, random_state=seed).split(np.empty(n)))
    return [splits[i % n_folds] for i in range(n_estimators)]


@dataclass
class Calibration:
    """Where a fitted_score's measures lie for held-out rows: their middle, and how far the last tenth is from it."""

    least: float
    centre: float
    spread: float

    @classmethod
    def of(cls, fitted_score: FittedScore, measured: np.ndarray) -> Calibration:
        positive = measured[measured > 0]
        least = _LEAST_MEASURE * float(np.median(positive)) if len(positive) else 1.0
        levels = _levels(fitted_score, measured, least)
        centre, last_tenth = np.quantile(levels, [0.5, 0.9])
        return cls(least, float(centre), max(float(last_tenth - centre), _LEAST_SPREAD))

    def standardise(self, fitted_score: FittedScore, measured: np.ndarray) -> np.ndarray:
        """0 for a row in the middle, 1 for one that is farther out than nine tenths."""
        return (_levels(fitted_score, measured, self.least) - self.centre) / self.spread

    def typical(self, fitted_score: FittedScore) -> float:
        """What contributions are divided by to be compared between fitted_scores."""
        return float(np.exp(self.centre)) if fitted_score.squared else self.spread


def _levels(fitted_score: FittedScore, measured: np.ndarray, least: float) -> np.ndarray:
    return np.log(np.maximum(measured, least)) if fitted_score.squared else measured


class FoldDetector:
    """One autoencoder of a detector's ensemble and the fitted_scores fitted to its training rows.

    Parameters
    ----------
    autoencoder : BaseAutoencoder
        Fitted.
    fitted_scores : list of FittedScore
    """

    def __init__(self, autoencoder: Any, fitted_scores: list[FittedScore]):
        self.autoencoder = autoencoder
        self.fitted_scores = fitted_scores
        self.scales: list[Calibration] = []
        self.held_out_scores = np.empty(0)

    @property
    def natural(self) -> bool:
        """Whether scores are in the unit of the only fitted_score."""
        return len(self.fitted_scores) == 1

    @classmethod
    def fit(
        cls, autoencoder: Any, score: OutlierScore, X: Any, train: Any, held_out: Any, robust: bool, seed: int
    ) -> FoldDetector:
        """Fit a copy of the autoencoder, None for the default one, without the held-out rows."""
        rng = np.random.RandomState(seed)
        judging = np.ones(len(held_out), dtype=bool)
        if robust:
            rows = _double(X[train])
            core = InlierCore.fit(rows, rng)
            train = train[core.contains(rows)]
            inside = core.contains(_double(X[held_out]))
            judging = inside if inside.any() else judging
        model = _fitted(autoencoder, X[train], rng.randint(MAX_SEED))
        member = cls(model, score.fitted_scores(_rows(model, dense(X[train])), rng))
        member._compare_with(X[held_out], judging)
        return member

    def _compare_with(self, X: Any, judging: np.ndarray) -> None:
        """Set the fitted_scores' scales by those held-out rows that are judging, and keep the scores of all."""
        measured = self._measure(X)
        self.scales = [
            Calibration.of(fitted_score, m[judging])
            for fitted_score, m in zip(self.fitted_scores, measured, strict=True)
        ]
        self.held_out_scores = np.sort(self._scores(measured))

    def views(self, X: Any) -> Iterator[ReconstructedSamples]:
        """Blocks of X with their reconstructions."""
        return (_rows(self.autoencoder, block) for block in sample_blocks(X, _BLOCK_VALUES))

    def _measure(self, X: Any) -> np.ndarray:
        """What each fitted_score says of each row, of shape (n_gauges, n)."""
        return np.hstack([self._measure_block(rows) for rows in self.views(X)])

    def _measure_block(self, rows: ReconstructedSamples) -> np.ndarray:
        return np.stack([fitted_score.measure(rows) for fitted_score in self.fitted_scores])

    def score(self, X: Any) -> np.ndarray:
        """Higher is more normal: minus the only fitted_score's measure, or minus the largest in their scales."""
        return self._scores(self._measure(X))

    def _scores(self, measured: np.ndarray) -> np.ndarray:
        return -measured[0] if self.natural else -self._standardised(measured).max(axis=0)

    def _standardised(self, measured: np.ndarray) -> np.ndarray:
        each = zip(self.fitted_scores, self.scales, measured, strict=True)
        return np.stack([scale.standardise(fitted_score, m) for fitted_score, scale, m in each])

    def contributions(self, X: Any) -> np.ndarray:
        """What each column adds to the fitted_score that decides; of several, relative to a typical row's."""
        return np.concatenate([self._contributions(rows) for rows in self.views(X)])

    def _contributions(self, rows: ReconstructedSamples) -> np.ndarray:
        if self.natural:
            return self.fitted_scores[0].contributions(rows)
        decides = self._standardised(self._measure_block(rows)).argmax(axis=0)
        out = np.empty_like(rows.x)
        for i, (fitted_score, scale) in enumerate(zip(self.fitted_scores, self.scales, strict=True)):
            chosen = decides == i
            if chosen.any():
                out[chosen] = fitted_score.contributions(rows[chosen]) / scale.typical(fitted_score)
        return out

    def rank(self, scores: np.ndarray) -> np.ndarray:
        """Share of the held-out rows that are at most as normal."""
        return count_at_most(scores, self.held_out_scores) / len(self.held_out_scores)


def count_at_most(values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """How many of the ordered values are at most as high, but for rounding."""
    return np.searchsorted(ordered, values + ROUNDING * np.abs(values), side="right")


def training_ranks(scores: np.ndarray, splits: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Mean over the members of each training row's rank, as that of a fresh row would be; ordered.

    Scores have a row for each member. A member ranks the rows it was trained on
    among themselves, and the held-out ones among themselves, a row itself not
    counted: both ranks are then spread evenly, as those of fresh rows are, whether
    or not the member has learnt its rows by heart.
    """
    ranks = np.zeros_like(scores)
    for of_member, member_scores, split in zip(ranks, scores, splits, strict=True):
        for rows in split:
            among = member_scores[rows]
            of_member[rows] = (count_at_most(among, np.sort(among)) - 1) / len(rows)
    return np.sort(ranks.mean(axis=0))


def _fitted(autoencoder: Any, X: Any, seed: int) -> Any:
    """Fit a clone; the default autoencoder's budget is not the user's to raise."""
    if autoencoder is not None:
        return clone(autoencoder).set_params(random_state=seed).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return default_autoencoder(*X.shape).set_params(random_state=seed).fit(X)


def _rows(model: Any, X: np.ndarray) -> ReconstructedSamples:
    """Rows with their reconstructions, in double precision."""
    return ReconstructedSamples(
        _double(X),
        _double(model._inverse_transform(model._transform(X))),
        lambda x: model._score_samples(x.astype(X.dtype, copy=False), N_DRAWS)[0],
    )


def _double(X: Any) -> np.ndarray:
    return dense(X).astype(np.float64, copy=False)
