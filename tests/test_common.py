"""What every estimator must do: scikit-learn's own checks, for every option of every slot."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_ae import (
    AEOutlierDetector,
    AutoencoderTransformer,
    AutoencoderTransformerCV,
    VAETransformer,
)
from sklearn_ae.bottlenecks import BOTTLENECKS
from sklearn_ae.corruptions import CORRUPTIONS
from sklearn_ae.divergences import DIVERGENCES
from sklearn_ae.likelihoods import Gaussian
from sklearn_ae.losses import LOSSES
from sklearn_ae.networks import NETWORKS
from sklearn_ae.outlier_scores import OUTLIER_SCORES, Mahalanobis, Neighbors
from sklearn_ae.penalties import L1, PENALTIES, Contractive

# losses and likelihoods that refuse data outside their range, and networks that need images, cannot
# pass checks that feed any data; they are tested in their own files
ANY_DATA = {"losses": set(LOSSES) - {"binary_cross_entropy", "poisson"}, "networks": set(NETWORKS) - {"conv"}}


def small(cls=AutoencoderTransformer, **params):
    """An estimator that trains on the few rows of the checks, without a gate."""
    given = {"n_components": 1, "hidden_layer_sizes": (8,), "max_iter": 3, "early_stopping": False}
    return cls(**(given | params))


ESTIMATORS = [
    AutoencoderTransformer(),
    AutoencoderTransformer(hidden_layer_sizes=()),
    AutoencoderTransformer(whiten=True),
    AutoencoderTransformer(n_components=None),
    small(),
    small(hidden_layer_sizes=()),
    small(init="random"),
    small(init="random", early_stopping=True),
    small(tied_weights=True),
    small(whiten=True),
    small(penalty=Contractive(0.1) + L1(0.1)),
    *[small(bottleneck=name) for name in BOTTLENECKS],
    *[small(corruption=name) for name in CORRUPTIONS],
    *[small(penalty=name) for name in PENALTIES],
    *[small(loss=name) for name in sorted(ANY_DATA["losses"])],
    *[small(network=name) for name in sorted(ANY_DATA["networks"])],
    AutoencoderTransformerCV(hidden_layer_sizes=()),
    small(AutoencoderTransformerCV, n_components="auto", cv=2),
    VAETransformer(),
    VAETransformer(hidden_layer_sizes=()),
    VAETransformer(n_components=None),
    small(VAETransformer, hidden_layer_sizes=(), likelihood=Gaussian("per_column")),
    small(VAETransformer, likelihood=Gaussian("decoder")),
    small(VAETransformer, init="random", early_stopping=True),
    small(VAETransformer, tied_weights=True),
    small(VAETransformer, n_importance_samples=2),
    small(VAETransformer, corruption="gaussian"),
    *[small(VAETransformer, divergence=name) for name in DIVERGENCES],
    AEOutlierDetector(),
    AEOutlierDetector(robust=False),
    AEOutlierDetector(n_estimators=1),
    AEOutlierDetector(VAETransformer(hidden_layer_sizes=())),
    *[AEOutlierDetector(small(), outlier_score=name) for name in OUTLIER_SCORES],
    AEOutlierDetector(small(), outlier_score=Neighbors(3) | Mahalanobis()),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of three epochs
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
