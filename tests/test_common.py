"""scikit-learn's estimator checks, for the defaults and for every option in combination with others."""

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
from sklearn_ae.likelihoods import LIKELIHOODS, ByFeature, Gaussian
from sklearn_ae.losses import LOSSES
from sklearn_ae.losses import ByFeature as LossByFeature
from sklearn_ae.metrics import explained_variance_scorer
from sklearn_ae.networks import NETWORKS
from sklearn_ae.outlier_scores import OUTLIER_SCORES, Contrast, Mahalanobis, Neighbors
from sklearn_ae.penalties import L1, PENALTIES, Contractive
from sklearn_ae.priors import PRIORS, Flow, Mixture

REGISTRIES = {
    "bottleneck": BOTTLENECKS,
    "corruption": CORRUPTIONS,
    "divergence": DIVERGENCES,
    "likelihood": LIKELIHOODS,
    "loss": LOSSES,
    "network": NETWORKS,
    "outlier_score": OUTLIER_SCORES,
    "penalty": PENALTIES,
    "prior": PRIORS,
}
# These options refuse the data of the checks: they need values in [0, 1], counts or images.
RESTRICTED = {
    LOSSES["binary_cross_entropy"],
    LIKELIHOODS["bernoulli"],
    LIKELIHOODS["negative_binomial"],
    NETWORKS["conv"],
}


class ExplainedVariance:
    """Scorer whose repr is the same in every process, as parallel runs of the tests need."""

    def __call__(self, estimator, X, y=None):
        return explained_variance_scorer(estimator, X, y)

    def __repr__(self):
        return "explained_variance"


def small(cls=AutoencoderTransformer, **params):
    """Return an estimator that trains on the few samples of the checks, without fallback to PCA."""
    given = {"n_components": 1, "hidden_layer_sizes": (4,), "max_iter": 2, "early_stopping": False}
    return cls(**(given | params))


ESTIMATORS = [
    AutoencoderTransformer(),
    AutoencoderTransformer(n_components=None, hidden_layer_sizes=(), whiten=True),
    small(bottleneck="ordered", corruption="gaussian", loss="absolute_error", whiten=True, prior="mixture"),
    AutoencoderTransformerCV(hidden_layer_sizes=()),
    VAETransformer(),
    VAETransformer(n_components=None, hidden_layer_sizes=()),
    small(VAETransformer, tied_weights=True, n_importance_samples=2),
    small(VAETransformer, likelihood=Gaussian("full")),
    small(missing="mask"),
    small(VAETransformer, missing="mask"),
    AEOutlierDetector(small(), n_estimators=2),
    AEOutlierDetector(VAETransformer(hidden_layer_sizes=()), robust=False, n_estimators=2),
]
SLOW_ESTIMATORS = [
    small(bottleneck="topk", corruption="masking", loss="huber", penalty="l1", tied_weights=True),
    small(bottleneck="relu", corruption="salt_and_pepper", penalty="contractive", init="random"),
    small(
        corruption="rayleigh", penalty="kl_sparsity", init="random", tied_weights=True, early_stopping=True
    ),
    small(penalty=Contractive(0.1) + L1(0.1), hidden_layer_sizes=(), whiten=True),
    AutoencoderTransformer(missing="mask"),
    VAETransformer(missing="mask"),
    AutoencoderTransformer(n_components=None, hidden_layer_sizes=(), whiten=True, missing="mask"),
    small(AutoencoderTransformerCV, cv=2, missing="mask"),
    small(bottleneck="ordered", corruption="gaussian", penalty="l1", tied_weights=True, missing="mask"),
    small(VAETransformer, likelihood=Gaussian("per_column"), missing="mask"),
    small(loss="poisson", prior=Flow(transforms=1, hidden_layer_sizes=(4,))),
    small(VAETransformer, likelihood="poisson"),
    small(VAETransformer, likelihood="auto"),
    small(VAETransformer, likelihood=ByFeature({"gaussian": slice(None)})),
    small(loss=LossByFeature({"gaussian": slice(None)})),
    small(VAETransformer, likelihood=Gaussian(normal_scores=True)),
    small(AutoencoderTransformerCV, cv=2, scoring=ExplainedVariance()),
    small(
        VAETransformer,
        likelihood=Gaussian("per_column"),
        hidden_layer_sizes=(),
        prior=Mixture(max_components=2),
    ),
    small(VAETransformer, likelihood=Gaussian("decoder"), divergence="beta_tc", corruption="gaussian"),
    small(VAETransformer, divergence="mmd", init="random", early_stopping=True),
    AEOutlierDetector(),
    AEOutlierDetector(small(), outlier_score="reconstruction", n_estimators=1),
    AEOutlierDetector(small(hidden_layer_sizes=()), outlier_score="log_likelihood", n_estimators=2),
    AEOutlierDetector(
        small(hidden_layer_sizes=()),
        outlier_score=Neighbors(3) | Mahalanobis(),
        robust=False,
        n_estimators=2,
    ),
    AEOutlierDetector(outlier_score=Neighbors(1) + Contrast(n_trees=5), robust=False, n_estimators=2),
]


# As in scikit-learn's IsolationForest. The copies of a repeated sample are in different folds, while a sample
# of larger weight is in one: otherwise it would be compared with itself, and calibration and p-values would
# be wrong. tests/_outlier/test_weights.py has statistical tests instead.
NOT_REPEATED = "sample_weight is not equivalent to repeating samples, which are independent"


def expected_failures(estimator):
    if not isinstance(estimator, AEOutlierDetector):
        return {}
    return {f"check_sample_weight_equivalence_on_{kind}_data": NOT_REPEATED for kind in ("dense", "sparse")}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # after two epochs
@parametrize_with_checks(SLOW_ESTIMATORS, expected_failed_checks=expected_failures)
def test_scikit_learn_checks_of_other_options(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # after two epochs
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_every_option_is_in_an_estimator():
    checked = set()
    for estimator in ESTIMATORS + SLOW_ESTIMATORS:
        for name, value in estimator.get_params().items():
            registry = REGISTRIES.get(name.rpartition("__")[2], {})
            checked.add(registry.get(value) if isinstance(value, str) else type(value))
    options = {option for registry in REGISTRIES.values() for option in registry.values()}
    assert options - RESTRICTED <= checked
