"""Threshold of ``contamination="auto"``: the upper fence of a box plot of distances."""

from __future__ import annotations

import numpy as np

from sklearn_ae._outlier.ensemble import ROUNDING, FoldDetector

_WHISKER = 4.0  # Half-widths of the upper half of the box between the median and the fence

_FEW = 0.11  # Samples above equal ones are the outliers up to this share, a tenth with a margin

_SAME = 1e-3  # Relative difference up to which distances are equal, also in single precision


def automatic_threshold(scores: np.ndarray, fold_detectors: list[FoldDetector]) -> float:
    """Return the score that separates inliers from outliers without a given fraction of outliers.

    Training and held-out samples have different scores if an autoencoder overfits. The
    farther of two fences counts, that of the training samples, and the median over the
    folds of those of the held-out samples.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        Scores of the training samples by the ensemble.
    fold_detectors : list of FoldDetector
        Provide the scores of the held-out samples.

    Returns
    -------
    threshold : float
    """
    log_scale = float(np.median([fold_detector.log_scale for fold_detector in fold_detectors]))
    squared = fold_detectors[0].has_squared_unit
    groups = [scores] + [fold_detector.held_out_scores for fold_detector in fold_detectors]
    thresholds = [_threshold(group[np.isfinite(group)], log_scale, squared=squared) for group in groups]
    return min(thresholds[0], float(np.median(thresholds[1:])))


def _threshold(scores: np.ndarray, log_scale: float, *, squared: bool) -> float:
    """Return the threshold at the fence of the distances."""
    if log_scale > 0:
        return -float(np.log(upper_fence(np.exp(-scores * log_scale)))) / log_scale
    best = 0.0 if squared else float(scores.max())
    differences = best - scores
    differences[differences <= ROUNDING * abs(best)] = 0.0
    return best - upper_fence(np.sqrt(differences)) ** 2


def upper_fence(distances: np.ndarray) -> float:
    """Return the upper fence of the semi-interquartile range box plot [1]_, adapted to ties.

    The fence is ``median + 4 (upper - median)``, where ``upper`` is the median of the
    distances above the median, the upper quartile if there are no ties. If more than
    three quarters of the distances are tied with the median or lie below it, ``upper`` is
    the lower quartile of those above it, because many of these may belong to outliers; if
    at most 11 % lie above it, all of them are beyond the fence.

    References
    ----------
    .. [1] A. Kimber (1990), Exploratory data analysis for possibly censored data from
       skewed distributions, Applied Statistics 39.
    """
    median = np.median(distances)
    equal = median * (1 + _SAME)
    above = distances[distances > equal]
    if len(above) <= _FEW * len(distances):
        return float(equal)
    upper = np.quantile(above, 0.5 if len(above) > len(distances) / 4 else 0.25)
    return float(median + _WHISKER * (upper - median))
