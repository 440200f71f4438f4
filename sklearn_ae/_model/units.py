"""TODO"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy import sparse

from sklearn_ae._model.pca import total_variance
from sklearn_ae.corruptions import FeatureStats


def working_scale(pca: Any, n_features: int) -> float:
    """The one scalar that X is divided by: the root of the mean column variance."""
    scale = math.sqrt(max(total_variance(pca), 0.0) / n_features)
    return scale if scale > 0 and math.isfinite(scale) else 1.0


def feature_stats(X: Any, offset: np.ndarray, scale: float, needed: bool) -> FeatureStats:
    """Zero, minimum and maximum of each column in working units (only where a noise needs them)."""
    if not needed:
        return FeatureStats(*(torch.zeros(0) for _ in FeatureStats._fields))
    low, high = X.min(axis=0), X.max(axis=0)
    if sparse.issparse(X):
        low, high = low.toarray().ravel(), high.toarray().ravel()
    columns = (np.zeros_like(offset), low, high)
    return FeatureStats(*(torch.from_numpy(np.asarray((c - offset) / scale)) for c in columns))
