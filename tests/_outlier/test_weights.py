"""sample_weight of AEOutlierDetector: absent and repeated samples, weighted distributions, conventions."""

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from scipy.stats import kstest
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer
from sklearn_ae._outlier.sample_weights import copies_by_weight
from sklearn_ae.outlier_scores import OUTLIER_SCORES, Mahalanobis, Neighbors, OutlierScore

pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")

METHODS = ["score_samples", "decision_function", "predict", "pvalues", "explain", "transform"]


def quick(score="auto", **params):
    linear = AutoencoderTransformer(1, hidden_layer_sizes=())
    return AEOutlierDetector(linear, outlier_score=score, **({"n_estimators": 2, "random_state": 0} | params))


def two_groups(n, share, seed=0):
    """Return samples of two groups, a given share of them in the second, and the mask of these."""
    rng = np.random.RandomState(seed)
    second = rng.uniform(size=n) < share
    X = rng.normal(size=(n, 4))
    X[second] = 0.4 * X[second] + 2.5
    return X, second


def assert_same(one, other, X):
    for method in METHODS:
        np.testing.assert_array_equal(getattr(one, method)(X), getattr(other, method)(X))


# -- copies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [1e-300, 0.1, 1.0, 7.0, 1e300])
def test_whole_multiples_of_the_smallest_weight_are_numbers_of_copies(unit):
    multiples = np.random.RandomState(0).choice([1, 2, 3, 5], size=500)
    for seed in range(5):
        np.testing.assert_array_equal(copies_by_weight(unit * multiples, seed), multiples)
        np.testing.assert_array_equal(copies_by_weight(np.full(500, unit), seed), np.ones(500))


def test_other_numbers_of_copies_are_rounded_at_random():
    weights = np.random.RandomState(0).lognormal(sigma=1.5, size=200)
    copies = np.stack([copies_by_weight(weights, seed) for seed in range(500)])
    expected = 600 * weights / weights.sum()
    assert (copies.sum(axis=1) == 600).all()
    assert (np.abs(copies - expected) < 1).all()
    np.testing.assert_allclose(copies.mean(axis=0), expected, atol=0.12)


# -- equal weights and zeros ---------------------------------------------------------------------------


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_equal_weights_are_no_weights(score, robust):
    X, _ = two_groups(120, 0.3)
    expected = quick(score, robust=robust).fit(X)
    for weights in (np.full(120, 0.3), 2, [5] * 120):
        assert_same(quick(score, robust=robust).fit(X, sample_weight=weights), expected, X)


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("equal", [True, False])
def test_samples_of_weight_0_are_absent(equal, robust):
    X, _ = two_groups(150, 0.3)
    weights = np.random.RandomState(0).uniform(size=150)
    if equal:
        weights[:] = 3.0
    weights[::4] = 0.0
    X[::4] += 50
    kept = weights > 0
    expected = quick(robust=robust).fit(X[kept], sample_weight=weights[kept])
    assert_same(quick(robust=robust).fit(X, sample_weight=weights), expected, X)


def test_only_ratios_of_weights_matter():
    X, second = two_groups(150, 0.3)
    weights = np.where(second, 3.0, 1.0)
    assert_same(quick().fit(X, sample_weight=weights), quick().fit(X, sample_weight=64 * weights), X)


# -- weighted distributions -------------------------------------------------------------------------------


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("score", ["auto", "reconstruction", "mahalanobis"])
def test_pvalues_and_threshold_refer_to_the_weighted_distribution(score, robust):
    p, flagged = [], []
    for seed in range(5):
        X, second = two_groups(400, 0.2, seed)
        new, _ = two_groups(600, 0.5, 700 + seed)
        weights = 0.37 * np.where(second, 4, 1)  # half of the weight is in the second group
        detector = quick(score, robust=robust, n_estimators=5, random_state=seed, contamination=0.1)
        detector.fit(X, sample_weight=weights)
        p.append(detector.pvalues(new))
        flagged.append(detector.predict(new) == -1)
    assert kstest(np.ravel(p), "uniform").statistic < 0.07
    assert np.mean(np.ravel(p) <= 0.05) == pytest.approx(0.05, abs=0.025)
    assert np.mean(flagged) == pytest.approx(0.1, abs=0.035)


@pytest.mark.parametrize("score", ["auto", "reconstruction", "neighbors"])
def test_contamination_is_a_share_of_the_weight(score):
    X, second = two_groups(300, 0.3)
    weights = np.where(second, 3.0, 1.0)
    detector = quick(score, contamination=0.1).fit(X, sample_weight=weights)
    labels = detector.predict(X)
    assert weights[labels == -1].sum() / weights.sum() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("robust", [True, False])
def test_weights_approximate_repeated_samples(robust):
    """The scores differ by the folds alone; the Mahalanobis distance does not depend on close samples."""
    X, second = two_groups(400, 0.2)
    new, _ = two_groups(300, 0.5, 1)
    weights = np.where(second, 4, np.arange(400) % 2)
    detectors = [quick("mahalanobis", robust=robust, n_estimators=5) for _ in range(3)]
    weighted = detectors[0].fit(X, sample_weight=weights)
    repeated = detectors[1].fit(np.repeat(X, weights, axis=0))
    without = detectors[2].fit(X)
    expected = repeated.score_samples(new)
    errors = [np.abs(detector.score_samples(new) - expected).mean() for detector in (weighted, without)]
    assert errors[0] < 0.3 * errors[1]
    assert np.mean(weighted.predict(new) == repeated.predict(new)) > 0.9


def test_outliers_of_small_weight_do_not_spoil_the_fit():
    X, _ = two_groups(300, 0.0)
    X[:100] = 0.3 * X[:100] + 6  # far more than a robust fit tolerates
    weights = np.where(np.arange(300) < 100, 0.01, 1.0)
    detector = quick("mahalanobis", robust=False).fit(X, sample_weight=weights)
    assert roc_auc_score(np.arange(300) < 100, -detector.score_samples(X)) > 0.99


class Recording(OutlierScore):
    """Mahalanobis distance that keeps the number of samples it is fitted to, and of distinct ones."""

    def fit_scores(self, samples, rng):
        fitted = Mahalanobis().fit_scores(samples, rng)
        origins = [] if samples.origin is None else [len(np.unique(samples.origin))]
        fitted[0].sizes = [len(samples.x), len(np.unique(samples.x, axis=0)), *origins]
        return fitted


def test_all_copies_of_a_sample_are_in_one_fold(unperturbed):
    X, second = two_groups(100, 0.5)
    weights = np.where(second, 3.0, 1.0)
    detector = quick(Recording(), robust=False, n_estimators=5).fit(X, sample_weight=weights)
    for fold in detector._fold_detectors:
        n_copies, n_distinct, n_origins = fold.fitted_scores[0].sizes
        assert n_copies + len(fold.held_out_scores) == weights.sum()
        assert n_distinct == n_origins == 80
        assert len(np.unique(fold.held_out_scores)) == 20
    assert len(quick(Recording(), robust=False).fit(X)._fold_detectors[0].fitted_scores[0].sizes) == 2


def test_copies_are_one_reference():
    X, second = two_groups(200, 0.5)
    detector = quick(Neighbors(1), robust=False).fit(X, sample_weight=np.where(second, 3.0, 1.0))
    for fold in detector._fold_detectors:
        for fitted in fold.fitted_scores:
            assert len(np.unique(fitted.x, axis=0)) == len(fitted.x) == 160
    assert np.isfinite(detector.score_samples(X)).all()
    assert (detector.explain(X).sum(axis=1) > 0).all()  # its copies are not the neighbors of a sample


@pytest.mark.parametrize(
    "weights",
    [
        np.r_[1e9, np.ones(59)],
        np.r_[1e-300, np.ones(59)],
        np.r_[1e300, np.full(59, 1e-300)],
        np.r_[1, 1, np.zeros(58)],
        np.r_[1, 2, 3, np.zeros(57)],
        10.0 ** np.random.RandomState(0).uniform(-5, 5, 60),
    ],
    ids=["one", "all but one", "extreme", "two", "three", "wide"],
)
@pytest.mark.parametrize("robust", [True, False])
def test_extreme_weights_are_accepted(weights, robust):
    X, _ = two_groups(60, 0.5)
    detector = quick(robust=robust).fit(X, sample_weight=weights)
    for method in METHODS:
        assert np.isfinite(getattr(detector, method)(X)).all()


# -- validation and conventions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros(20), "at least one non-zero"),
        (0.0, "at least one non-zero"),
        (np.r_[-1.0, np.ones(19)], "(?i)negative"),
        (np.r_[np.nan, np.ones(19)], "NaN"),
        (np.r_[np.inf, np.ones(19)], "infinity"),
        (float("nan"), "finite"),
        (np.ones(19), r"\(19,\)"),
        (np.ones((20, 1)), "1D"),
        (np.r_[1.0, np.zeros(19)], "Only one sample has a positive weight"),
    ],
)
def test_invalid_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        quick().fit(two_groups(20, 0.5)[0], sample_weight=weights)


def test_containers_of_weights_are_equivalent():
    X, _ = two_groups(80, 0.3)
    weights = np.random.RandomState(0).randint(1, 4, size=80)
    expected = quick().fit(X, sample_weight=weights)
    for kind in (list, pd.Series, torch.from_numpy, np.float32):
        assert_same(quick().fit(X, sample_weight=kind(weights)), expected, X)


def test_weights_and_missing_values_are_combined():
    X, second = two_groups(200, 0.3)
    X[np.random.RandomState(0).uniform(size=X.shape) < 0.2] = np.nan
    detector = quick().fit(X, sample_weight=np.where(second, 3.0, 1.0))
    for method in METHODS:
        assert np.isfinite(getattr(detector, method)(X)).all()


def test_weights_reach_the_detector_in_a_pipeline():
    X, second = two_groups(100, 0.3)
    weights = np.where(second, 3.0, 1.0)
    scaled = StandardScaler().fit_transform(X)
    expected = quick().fit(scaled, sample_weight=weights)
    plain = make_pipeline(StandardScaler(), quick()).fit(X, aeoutlierdetector__sample_weight=weights)
    np.testing.assert_array_equal(plain.score_samples(X), expected.score_samples(scaled))
    with sklearn.config_context(enable_metadata_routing=True):
        routed = make_pipeline(StandardScaler(), quick().set_fit_request(sample_weight=True))
        routed[0].set_fit_request(sample_weight=False)
        routed.fit(X, sample_weight=weights)
    np.testing.assert_array_equal(routed.score_samples(X), expected.score_samples(scaled))
    np.testing.assert_array_equal(
        quick().fit_predict(scaled, sample_weight=weights), expected.predict(scaled)
    )
