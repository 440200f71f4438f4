"""AEOutlierDetector with missing values: scores, p-values, explanations, and any container of samples."""

import pickle
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import ks_2samp, kstest
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, VAETransformer
from sklearn_ae.outlier_scores import OUTLIER_SCORES, Neighbors, OutlierScore

pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")

METHODS = ["score_samples", "decision_function", "predict", "pvalues", "explain", "transform"]

D = 8


def linear(k=3):
    return AutoencoderTransformer(k, hidden_layer_sizes=())


def quick(score="auto", autoencoder=None, **params):
    given = {"n_estimators": 2, "random_state": 0}
    return AEOutlierDetector(autoencoder or linear(), outlier_score=score, **(given | params))


def correlated(n, seed=0):
    """Return normal samples far from zero, with three strong directions and noise."""
    loadings = np.random.RandomState(99).normal(size=(3, D))
    rng = np.random.RandomState(seed)
    return 3 + rng.normal(size=(n, 3)) @ loadings + 0.5 * rng.normal(size=(n, D))


def incomplete(X, rate=0.2, seed=1):
    return np.where(np.random.RandomState(seed).uniform(size=X.shape) < rate, np.nan, X)


@cache
def fitted(score="auto", robust=True, rate=0.2):
    """Return a detector that no test changes."""
    return quick(score, robust=robust).fit(incomplete(correlated(400), rate))


# -- which samples are accepted -----------------------------------------------------------------


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_all_methods_accept_missing_values(score, robust):
    X = incomplete(correlated(100), 0.3)
    X[0], X[1, 1:] = np.nan, np.nan
    for rate in (0.2, 0.0):  # 0: only new samples are incomplete
        for method in METHODS:
            values = getattr(fitted(score, robust, rate), method)(X)
            assert np.isfinite(values).all()


def test_missing_values_are_declared_and_infinite_ones_are_refused():
    assert get_tags(AEOutlierDetector()).input_tags.allow_nan
    assert not get_tags(AutoencoderTransformer()).input_tags.allow_nan
    X = incomplete(correlated(50))
    X[3, 1] = np.inf
    for call in (quick().fit, *(getattr(fitted(), method) for method in METHODS)):
        with pytest.raises(ValueError, match=r"^X contains infinity in feature 1\."):
            call(X)


@pytest.mark.parametrize("robust", [True, False])
def test_containers_of_missing_values_are_equivalent(robust):
    X = incomplete(correlated(120))
    X[:, 2] = np.where(np.isnan(X[:, 2]), np.nan, np.round(X[:, 2]))
    names = [f"x{j}" for j in range(D)]
    frame = pd.DataFrame(X, columns=names)
    expected = quick(robust=robust).fit(X).score_samples(X)
    kinds = [
        sparse.csr_array(X),
        sparse.csc_matrix(X),
        [[None if np.isnan(x) else x for x in row] for row in X],
        frame.astype("Float64").astype({"x2": "Int64"}),
        frame.astype(object).where(frame.notna(), None),
    ]
    for samples in kinds:
        values = quick(robust=robust).fit(samples).score_samples(samples)
        np.testing.assert_allclose(values, expected, rtol=1e-9)


def test_na_among_objects_is_named():
    frame = pd.DataFrame({"a": np.arange(20.0), "b": [pd.NA, *np.arange(19.0)]})
    with pytest.raises(ValueError, match=r"feature 'b'\. Call X\.convert_dtypes\(\)"):
        quick(autoencoder=linear(1)).fit(frame)
    quick(autoencoder=linear(1)).fit(frame.convert_dtypes())


@pytest.mark.parametrize(
    "autoencoder",
    [
        AutoencoderTransformer(2, loss="poisson", hidden_layer_sizes=(4,), max_iter=2, early_stopping=False),
        VAETransformer(2, likelihood="bernoulli", hidden_layer_sizes=(4,), max_iter=2, early_stopping=False),
    ],
    ids=["poisson", "bernoulli"],
)
@pytest.mark.parametrize("score", ["auto", "log_likelihood"])
def test_autoencoders_of_discrete_data_see_values_in_their_range(autoencoder, score):
    X = np.random.RandomState(0).poisson(1.0, size=(100, 4)).clip(max=1).astype(float)
    detector = quick(score, autoencoder).fit(incomplete(X))
    assert np.isfinite(detector.score_samples(incomplete(X, 0.5))).all()


# -- complete and incomplete samples ----------------------------------------------------------------


@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_scores_of_complete_samples_do_not_depend_on_incomplete_ones(score):
    detector, X = fitted(score), correlated(60, seed=2)
    mixed = np.vstack([incomplete(X), X])
    for method in METHODS:
        values = getattr(detector, method)
        np.testing.assert_allclose(values(mixed)[60:], values(X), rtol=1e-7, atol=1e-9)
        each = np.concatenate([values(mixed[[i]]) for i in range(60)])
        np.testing.assert_allclose(each, values(mixed)[:60], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("score", ["auto", "reconstruction", "mahalanobis", "neighbors"])
def test_incomplete_samples_have_about_the_scores_of_complete_ones(score):
    detector, new = fitted(score), correlated(2000, seed=2)
    complete = detector.score_samples(new)
    for rate in (0.1, 0.3):
        scores = detector.score_samples(incomplete(new, rate))
        assert ks_2samp(scores, complete).statistic < 0.2
        assert np.mean(scores < np.quantile(complete, 0.05)) == pytest.approx(0.05, abs=0.04)


@pytest.mark.parametrize("robust", [True, False])
def test_outliers_are_found_among_incomplete_samples(robust):
    """Better than after filling in the means, and nearly as well as among complete samples."""
    rng = np.random.RandomState(0)
    direction = rng.normal(size=(300, D))
    X, new = correlated(400), correlated(600, seed=2)
    new[300:] += 2.5 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    y, gaps = np.arange(600) >= 300, (incomplete(X), incomplete(new, seed=2))
    ours = roc_auc_score(y, -quick(robust=robust).fit(gaps[0]).score_samples(gaps[1]))
    complete = roc_auc_score(y, -quick(robust=robust).fit(X).score_samples(new))
    imputed = make_pipeline(SimpleImputer(), quick(robust=robust)).fit(gaps[0]).score_samples(gaps[1])
    assert ours > complete - 0.1
    assert ours > roc_auc_score(y, -imputed) + 0.02


def test_training_outliers_with_missing_values_are_not_in_the_inlier_core():
    X = correlated(400)
    X[:40] += np.random.RandomState(0).choice([-6.0, 6.0], size=(40, D))
    scores = quick().fit(incomplete(X)).score_samples(incomplete(X))
    assert roc_auc_score(np.arange(400) < 40, -scores) > 0.97


def test_a_sample_without_values_is_neither_far_out_nor_close():
    nothing = np.full((1, D), np.nan)
    for score in ("auto", "reconstruction", "mahalanobis", "neighbors"):
        detector = quick(score).fit(incomplete(correlated(400)))
        scores = detector.score_samples(correlated(400, seed=2))
        assert np.quantile(scores, 0.1) < detector.score_samples(nothing) < np.quantile(scores, 0.95)


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_a_feature_without_training_values_is_ignored(score, robust):
    X, new = incomplete(correlated(200)), correlated(50, seed=2)
    X[:, 5] = np.nan
    detector = quick(score, robust=robust).fit(X)
    expected = {method: getattr(detector, method)(new) for method in METHODS}
    for value in (np.nan, 1e6):
        new[:, 5] = value
        for method in METHODS:
            np.testing.assert_array_equal(getattr(detector, method)(new), expected[method])


@pytest.mark.parametrize("shape", [(2, 3), (4, 3), (12, 40), (30, 3)])
@pytest.mark.parametrize("robust", [True, False])
def test_few_wide_and_nearly_empty_samples_are_accepted(shape, robust):
    X = np.random.RandomState(0).normal(size=shape)
    nearly_empty = np.full(shape, np.nan)
    nearly_empty[0, 1] = 1.0
    for samples in (incomplete(X, 0.5), nearly_empty, incomplete(np.ones(shape))):
        detector = quick(autoencoder=linear(1), robust=robust).fit(samples)
        for method in METHODS:
            assert np.isfinite(getattr(detector, method)(incomplete(X))).all()


@pytest.mark.parametrize("weights", [None, [0.0, 1.0, 1.0]])
def test_samples_without_any_value_are_refused(weights):
    X = np.full((3, 2), np.nan)
    X[0] = 1.0 if weights else np.nan
    with pytest.raises(ValueError, match="X contains NaN only"):
        quick(autoencoder=linear(1)).fit(X, sample_weight=weights)


# -- unusual gaps -----------------------------------------------------------------------------------


@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_a_value_that_is_never_missing_is_unusual_if_missing(score):
    X, new = correlated(400), correlated(200, seed=2)
    X[:, 0] = np.where(np.random.RandomState(1).uniform(size=400) < 0.3, np.nan, X[:, 0])
    detector = quick(score).fit(X)
    before = detector.score_samples(new)
    common, odd = new.copy(), new.copy()
    common[:, 0] = odd[:, 4] = np.nan
    assert np.median(detector.score_samples(odd) - before) < 0
    assert np.median(detector.score_samples(odd)) < np.quantile(before, 0.3)
    change = detector.score_samples(common) - before
    assert abs(np.median(change)) < 0.2 * before.std()
    parts = detector.explain(odd)
    assert np.mean(parts.argmax(axis=1) == 4) > 0.8
    assert np.mean(detector.explain(common).argmax(axis=1) == 0) < 0.05


def test_the_score_of_an_unusual_gap_is_its_surprisal(unperturbed):
    """The size is that of a squared distance in units of a typical sample per feature, and in nats half."""
    X, new = correlated(400), correlated(1, seed=2)
    new[0, 4] = np.nan
    p = 1 / 322  # with 320 training samples
    surprisal = -2 * np.log(p) * (1 - p / 0.05)
    detector = quick("log_likelihood", robust=False).fit(X)
    filled = [d.completion.fill(new)[0] for d in detector._fold_detectors]
    pairs = zip(detector.estimators_, filled, strict=True)
    nats = np.mean([model.score_samples(x)[0] for model, x in pairs])
    assert detector.score_samples(new)[0] == pytest.approx(nats - surprisal / 2)
    assert detector.explain(new)[0, 4] == pytest.approx(surprisal / 2)


# -- p-values and explanations -------------------------------------------------------------------------


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("score", ["auto", "reconstruction"])
def test_pvalues_of_incomplete_samples_are_uniform(score, robust):
    p = []
    for seed in range(4):
        detector = quick(score, robust=robust, n_estimators=5, random_state=seed)
        detector.fit(incomplete(correlated(400, seed=seed), seed=seed))
        p.append(detector.pvalues(incomplete(correlated(400, seed=500 + seed), seed=900 + seed)))
    assert kstest(np.ravel(p), "uniform").statistic < 0.06
    for level in (0.02, 0.05, 0.1, 0.2):
        assert np.mean(np.ravel(p) <= level) == pytest.approx(level, abs=0.02 + 0.1 * level)


@pytest.mark.parametrize("rate", [0.1, 0.3])
@pytest.mark.parametrize(("score", "share"), [("auto", 0.95), ("neighbors", 0.95), ("mahalanobis", 0.95)])
def test_an_unusual_value_is_explained_beside_missing_ones(score, share, rate):
    new, planted = correlated(200, seed=2), np.random.RandomState(0).randint(D, size=200)
    rows = np.arange(200)
    odd = incomplete(new, rate)
    odd[rows, planted] = new[rows, planted] + 8 * new.std(axis=0)[planted]
    assert np.mean(fitted(score).explain(odd).argmax(axis=1) == planted) >= share


@pytest.mark.parametrize("score", ["reconstruction", "mahalanobis"])
def test_contributions_add_up_to_the_score(score):
    new = incomplete(correlated(100, seed=2), 0.4)
    for rate in (0.2, 0.0):
        detector = fitted(score, rate=rate)
        np.testing.assert_allclose(detector.explain(new).sum(axis=1), -detector.score_samples(new))


# -- codes, scores of one's own, conventions ------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_codes_are_those_of_filled_samples(dtype, unperturbed):
    X = incomplete(correlated(200)).astype(dtype)
    detector = quick().fit(X)
    codes = detector.transform(X)
    assert codes.dtype == dtype
    filled = detector._fold_detectors[0].completion.fill(X)[0]
    np.testing.assert_array_equal(filled[~np.isnan(X)], X[~np.isnan(X)])
    np.testing.assert_array_equal(codes, detector.autoencoder_.transform(filled))


class Largest(OutlierScore):
    """Score of a user who does not know of missing values."""

    squared = True

    def fit_scores(self, samples, rng):
        assert np.isfinite(samples.x).all()
        assert samples.observed is None
        return [self]

    def outlyingness(self, samples):
        return self.contributions(samples).max(axis=1)

    def contributions(self, samples):
        assert np.isfinite(samples.x).all()
        assert np.isfinite(samples.x_hat).all()
        assert samples.observed is None or samples.observed.shape == samples.x.shape
        return np.square(samples.residual)


@pytest.mark.parametrize("score", [Largest(), Largest() | Neighbors()], ids=str)
def test_scores_of_ones_own_see_completed_samples(score):
    X = incomplete(correlated(100))
    detector = quick(score).fit(X)
    for method in METHODS:
        assert np.isfinite(getattr(detector, method)(X)).all()


def test_results_depend_on_random_state_alone(unperturbed):
    X = incomplete(correlated(150))
    first = quick().fit(X)
    expected = first.score_samples(X)
    np.testing.assert_array_equal(quick().fit(X).score_samples(X), expected)
    np.testing.assert_array_equal(quick(n_jobs=2).fit(X).score_samples(X), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(first)).score_samples(X), expected)
    assert (quick(random_state=1).fit(X).score_samples(X) != expected).any()


def test_a_scaler_passes_missing_values_on():
    X, units = incomplete(correlated(150)), 10.0 ** np.arange(-4, 4)
    one, other = (make_pipeline(StandardScaler(), quick()).fit(samples) for samples in (X, units * X))
    np.testing.assert_allclose(other.score_samples(units * X), one.score_samples(X), rtol=1e-6)
