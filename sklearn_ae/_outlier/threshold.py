"""Threshold of ``contamination="auto"``: the upper fence of a box plot."""

from __future__ import annotations

import numpy as np

from sklearn_ae._outlier.ensemble import ROUNDING, FoldDetector

_WHISKER = 3.0  # Half-widths of the upper half of the box between the median and the fence

_FEW = 0.11  # Samples above equal ones are the outliers up to this share, a tenth with a margin

_SAME = 1e-3  # Relative difference up to which values are equal, also in single precision


def automatic_threshold(scores: np.ndarray, fold_detectors: list[FoldDetector]) -> float:
    """Return the score that separates inliers from outliers without a given fraction of outliers.

    The farther of two fences counts, because training samples have other scores than new
    samples: the fence of the training samples, and the median over the folds of those of
    the held-out samples. Scores with a unit are squared distances or like these (nats), up
    to the highest score; their square roots have shorter tails.

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
    groups = [scores] + [fold_detector.held_out_scores for fold_detector in fold_detectors]
    fences = [_fence_of_scores(group[np.isfinite(group)], fold_detectors[0]) for group in groups]
    return min(fences[0], float(np.median(fences[1:])))


def _fence_of_scores(scores: np.ndarray, detector: FoldDetector) -> float:
    """Return the score at the fence of calibrated scores, or of distances if scores have a unit."""
    if not detector.has_unit:
        return -upper_fence(-scores)
    best = 0.0 if detector.has_squared_unit else float(scores.max())
    squares = best - scores
    squares[squares <= ROUNDING * abs(best)] = 0.0
    return best - upper_fence(np.sqrt(squares)) ** 2


def upper_fence(values: np.ndarray) -> float:
    """Return the upper fence of the semi-interquartile range box plot [1]_, adapted to ties.

    The fence is ``median + 3 (upper - median)``, where ``upper`` is the median of the
    values above the median: the upper quartile if there are no ties. With ties, at least
    11 % of the values are above ``upper``, as they may be outliers; if at most 11 % exceed
    the median, all of them are beyond the fence.

    References
    ----------
    .. [1] A. Kimber (1990), Exploratory data analysis for possibly censored data from
       skewed distributions, Applied Statistics 39.
    """
    median = float(np.median(values))
    rounding = _SAME * float(np.median(np.abs(values)))
    share_above = float(np.mean(values > median + rounding))
    if share_above <= _FEW:
        return median + rounding
    upper = float(np.quantile(values, 1 - max(share_above / 2, _FEW), method="higher"))
    return median + max(_WHISKER * (upper - median), rounding)
