"""Threshold of ``contamination="auto"``: the upper fence of a box plot."""

from __future__ import annotations

import numpy as np

from sklearn_ae._outlier.ensemble import FoldDetector

_WHISKER = 3.0  # Half-widths of the upper half of the box between the median and the fence

_FEW = 0.11  # Samples above equal ones are the outliers up to this share, a tenth with a margin

_SAME = 1e-3  # Relative difference up to which values are equal, also in single precision


def automatic_threshold(scores: np.ndarray, fold_detectors: list[FoldDetector]) -> float:
    """Return the score that separates inliers from outliers without a given fraction of outliers.

    The farther of two fences counts, because training samples have other scores than new
    samples: the fence of the training samples, and the median over the folds of those of
    the held-out samples. Squared distances are replaced by distances.

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
    power = 2 if fold_detectors[0].has_squared_unit else 1
    groups = [scores] + [fold_detector.held_out_scores for fold_detector in fold_detectors]
    fences = [_fence_of_scores(group[np.isfinite(group)], power) for group in groups]
    return min(fences[0], float(np.median(fences[1:])))


def _fence_of_scores(scores: np.ndarray, power: int) -> float:
    values = -scores if power == 1 else np.sqrt(np.maximum(-scores, 0.0))
    return -(upper_fence(values) ** power)


def upper_fence(values: np.ndarray) -> float:
    """Return the upper fence of the semi-interquartile range box plot [1]_, adapted to ties.

    The fence is ``median + 3 (upper - median)``, where ``upper`` is the median of the
    values above the median: the upper quartile if there are no ties. At least 11 % of the
    values are beyond ``upper``, as they may be outliers. If fewer exceed the median because
    of ties, ``upper`` is the median, and all of them are beyond the fence.

    References
    ----------
    .. [1] A. Kimber (1990), Exploratory data analysis for possibly censored data from
       skewed distributions, Applied Statistics 39.
    """
    median = float(np.median(values))
    rounding = _SAME * float(np.median(np.abs(values)))
    share_above = np.mean(values > median + rounding)
    if share_above <= _FEW:
        return median + rounding
    upper = float(np.quantile(values, 1 - max(share_above / 2, _FEW), method="higher"))
    return median + max(_WHISKER * (upper - median), rounding)
