"""How good a reducer is: scorers for searches, and reducers side by side."""

from sklearn_ae.metrics._information import mutual_information, mutual_information_gap, total_correlation
from sklearn_ae.metrics._reducers import compare_reducers
from sklearn_ae.metrics._robustness import code_shift, lipschitz_estimate, round_trip_error
from sklearn_ae.metrics._scorers import (
    explained_variance_scorer,
    log_likelihood_scorer,
    neg_reconstruction_error_scorer,
)

__all__ = [
    "code_shift",
    "compare_reducers",
    "explained_variance_scorer",
    "lipschitz_estimate",
    "log_likelihood_scorer",
    "mutual_information",
    "mutual_information_gap",
    "neg_reconstruction_error_scorer",
    "round_trip_error",
    "total_correlation",
]
