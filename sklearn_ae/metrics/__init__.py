"""Evaluation of dimensionality reduction: scorers, comparison of models, properties of codes."""

from sklearn_ae.metrics._information import mutual_information, mutual_information_gap, total_correlation
from sklearn_ae.metrics._reducers import compare_reducers
from sklearn_ae.metrics._robustness import lipschitz_estimate, noise_sensitivity, round_trip_error
from sklearn_ae.metrics._scorers import (
    explained_variance_scorer,
    log_likelihood_scorer,
    neg_reconstruction_error_scorer,
)

__all__ = [
    "compare_reducers",
    "explained_variance_scorer",
    "lipschitz_estimate",
    "log_likelihood_scorer",
    "mutual_information",
    "mutual_information_gap",
    "neg_reconstruction_error_scorer",
    "noise_sensitivity",
    "round_trip_error",
    "total_correlation",
]
