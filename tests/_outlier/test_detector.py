"""AEOutlierDetector: labels, p-values and explanations hold what they promise, on any data."""

import pickle
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import false_discovery_control, kstest
from sklearn.base import clone, is_outlier_detector
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, VAETransformer
from sklearn_ae._outlier import ensemble as _detecting
from sklearn_ae.outlier_scores import OUTLIER_SCORES, Mahalanobis, Neighbors

UNITLESS = [Neighbors() | Mahalanobis(), "auto", "neighbors"]

# few epochs suffice for what is tested here
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still falling steeply")


def linear(k=2):
    """As good as PCA, and as fast."""
    return AutoencoderTransformer(k, hidden_layer_sizes=())


def trained(k=2, **params):
    """A network that trains, for a moment."""
    given = {"hidden_layer_sizes": (8,), "max_iter": 3, "early_stopping": False}
    return AutoencoderTransformer(k, **(given | params))


def quick(score="auto", autoencoder=None, **params):
    return AEOutlierDetector(autoencoder or linear(), outlier_score=score, **({"random_state": 0} | params))


def correlated(n, d=6, seed=0):
    """Normal rows of two strong directions beside noise, far from zero."""
    loadings = np.random.RandomState(99).normal(size=(2, d))
    rng = np.random.RandomState(seed)
    return 3 + rng.normal(size=(n, 2)) @ loadings + 0.3 * rng.normal(size=(n, d))


def scattered(n, d=6, seed=0):
    """Rows far from those of ``correlated``, each in another direction."""
    return correlated(n, d, seed + 1000) + np.random.RandomState(seed).choice([-6.0, 6.0], size=(n, d))


@cache
def fitted(score="auto", robust=True, n=200):
    """A fitted detector that no test changes."""
    return quick(score, robust=robust).fit(correlated(n))


# -- labels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", OUTLIER_SCORES)
@pytest.mark.parametrize("contamination", [0.05, 0.1, 0.5])
def test_the_given_share_of_the_training_rows_is_flagged(score, contamination):
    for n in (200, 101):
        X = correlated(n)
        labels = quick(score, contamination=contamination).fit(X).predict(X)
        assert set(labels) == {-1, 1}
        assert abs((labels == -1).sum() - contamination * n) <= 1


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_plain_outliers_are_flagged_and_few_others(score, robust):
    shares = []
    for seed in range(5):
        X = np.vstack([correlated(300, seed=seed), scattered(8, seed=seed)])
        labels = quick(score, robust=robust, random_state=seed).fit(X).predict(X)
        assert (labels[300:] == -1).all()
        shares.append(np.mean(labels[:300] == -1))
    assert np.mean(shares) < 0.08


@pytest.mark.parametrize("contamination", ["auto", 0.1])
def test_methods_agree_with_each_other(contamination):
    X, fresh = correlated(200), correlated(50, seed=1)
    detector = quick(contamination=contamination).fit(X)
    decision = detector.decision_function(fresh)
    np.testing.assert_array_equal(decision, detector.score_samples(fresh) - detector.offset_)
    np.testing.assert_array_equal(detector.predict(fresh), np.where(decision < 0, -1, 1))
    np.testing.assert_array_equal(clone(detector).fit_predict(X), detector.predict(X))
    assert detector.predict(fresh).dtype.kind == "i"


def test_the_threshold_of_distances_lies_two_and_a_half_deviations_from_the_median():
    X = correlated(200)
    for score, root in (("mahalanobis", np.sqrt), ("reconstruction", np.sqrt), ("auto", np.asarray)):
        detector = quick(score).fit(X)
        distance = root(-detector.score_samples(X))
        middle = np.median(distance)
        deviation = 1.4826 * np.median(np.abs(distance - middle))
        assert root(-detector.offset_) == pytest.approx(middle + 2.5 * deviation, rel=1e-4)


def test_fresh_outliers_are_flagged_and_few_fresh_normal_rows():
    for score in OUTLIER_SCORES:
        detector = fitted(score)
        assert (detector.predict(scattered(30)) == -1).all()
        assert (detector.predict(correlated(300, seed=1)) == 1).mean() > 0.85


@pytest.mark.parametrize("score", UNITLESS, ids=str)
def test_scores_without_unit_are_0_in_the_middle_and_minus_1_at_nine_tenths(score):
    scores = (
        quick(score, n_estimators=1, robust=False)
        .fit(correlated(2000))
        .score_samples(correlated(2000, seed=1))
    )
    assert np.median(scores) == pytest.approx(-0.2, abs=0.35)
    assert np.quantile(scores, 0.1) == pytest.approx(-1.15, abs=0.35)


@pytest.mark.parametrize("robust", [True, False])
def test_natural_scores_are_in_their_unit(robust):
    fresh = correlated(30, seed=1)
    models = fitted("reconstruction", robust).estimators_
    errors = [model.reconstruction_error(fresh) for model in models]
    np.testing.assert_allclose(
        -fitted("reconstruction", robust).score_samples(fresh), np.mean(errors, axis=0), rtol=1e-9
    )
    models = fitted("log_likelihood", robust).estimators_
    nats = [model.score_samples(fresh) for model in models]
    np.testing.assert_allclose(
        fitted("log_likelihood", robust).score_samples(fresh), np.mean(nats, axis=0), rtol=1e-9
    )


# -- p-values ------------------------------------------------------------------------------------


@cache
def fresh_pvalues(score, robust):
    """P-values of 400 fresh normal rows from each of ten detectors."""
    detectors = (quick(score, robust=robust, random_state=s).fit(correlated(400, seed=s)) for s in range(10))
    return np.stack([detector.pvalues(correlated(400, seed=500 + s)) for s, detector in enumerate(detectors)])


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_pvalues_of_fresh_normal_rows_are_uniform(score, robust):
    """The tolerance is for the middle: each is a mean over five folds, of ranks that differ."""
    p = fresh_pvalues(score, robust)
    assert kstest(p.ravel(), "uniform").statistic < 0.08
    for level in (0.02, 0.05, 0.1, 0.2):
        assert np.mean(p <= level) == pytest.approx(level, abs=0.02 + 0.1 * level)


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_pvalues_are_in_steps_and_never_0(score, robust):
    detector = fitted(score, robust)
    p = detector.pvalues(np.vstack([correlated(100, seed=1), 1e3 * scattered(3)]))
    assert (p > 0).all()
    assert (p <= 1).all()
    np.testing.assert_allclose(p * 201, np.round(p * 201), atol=1e-9)
    assert (p[100:] <= 2 / 201 + 1e-12).all()


@pytest.mark.parametrize(("n", "n_estimators"), [(200, 5), (40, 1), (2, 5), (4, 5), (8, 5), (20, 50)])
def test_no_pvalue_is_smaller_than_the_rows_allow(n, n_estimators):
    """Of n rows like it, a row is the farthest out with probability 1 / (n + 1)."""
    detector = quick(n_estimators=n_estimators, robust=False, autoencoder=linear(1)).fit(correlated(n))
    p = detector.pvalues(scattered(5))
    assert (p >= 1 / (n + 1) - 1e-12).all()


def test_pvalues_compare_the_mean_rank_with_those_of_training_rows():
    X, fresh = correlated(60), correlated(40, seed=1)
    detector = quick("reconstruction", robust=False).fit(X)
    of_fresh, of_training = np.zeros(40), np.zeros(60)
    for model, held_out in zip(detector.estimators_, held_out_rows(X, detector), strict=True):
        errors, unseen = model.reconstruction_error(X), (X[:, None] == held_out).all(axis=2).any(axis=1)
        of_fresh += (errors[unseen] >= model.reconstruction_error(fresh)[:, None]).mean(axis=1) / 5
        for i in range(60):
            others = errors[unseen == unseen[i]]
            of_training[i] += (np.sum(others >= errors[i]) - 1) / len(others) / 5
    as_far = (of_training <= of_fresh[:, None] + 1e-9).sum(axis=1)
    np.testing.assert_allclose(detector.pvalues(fresh), (1 + as_far) / 61)


def held_out_rows(X, detector):
    """Rows that each member has not seen: linear autoencoders give away the mean of those they have."""
    splits = _detecting.folds(len(X), 5, np.random.RandomState(0).randint(np.iinfo(np.int32).max, size=6)[0])
    for model, (train, held_out) in zip(detector.estimators_, splits, strict=True):
        np.testing.assert_allclose(model.mean_, X[train].mean(axis=0))
        yield X[held_out]


@pytest.mark.parametrize("robust", [True, False])
def test_false_discoveries_stay_under_their_nominal_rate(robust):
    wrong, found = [], []
    for seed in range(60):
        detector = quick(robust=robust, random_state=seed).fit(correlated(150, seed=seed))
        p = detector.pvalues(np.vstack([correlated(40, seed=500 + seed), scattered(8, seed=seed)]))
        rejected = false_discovery_control(p) <= 0.2
        wrong.append(rejected[:40].sum() / max(1, rejected.sum()))
        found.append(rejected[40:].mean())
    assert np.mean(wrong) <= 0.2 + 2 * np.std(wrong) / np.sqrt(60)
    assert np.mean(found) > 0.95


def test_outliers_among_the_training_rows_make_pvalues_larger():
    p = []
    for seed in range(10):
        X = np.vstack([correlated(270, seed=seed), scattered(30, seed=seed)])
        p.append(quick(random_state=seed).fit(X).pvalues(correlated(300, seed=500 + seed)))
    p = np.ravel(p)
    assert p.min() > 0.05
    for level in (0.1, 0.15, 0.3):
        assert np.mean(p <= level) < 0.8 * level
    assert kstest(p, "uniform", alternative="greater").statistic < 0.02  # never smaller


# -- explanations -----------------------------------------------------------------------------------


def standardised_breast_cancer():
    X = StandardScaler().fit_transform(load_breast_cancer().data)
    order = np.random.RandomState(0).permutation(len(X))
    return X[order[:400]], X[order[400:]]


DATA = {
    "correlated": (correlated(300, d=10), correlated(200, d=10, seed=1)),
    "breast cancer": standardised_breast_cancer(),
}


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("data", DATA)
def test_the_corrupted_column_is_named_first(data, robust):
    X, fresh = DATA[data]
    rng = np.random.RandomState(0)
    column = rng.randint(X.shape[1], size=len(fresh))
    odd = fresh.copy()
    odd[np.arange(len(odd)), column] += rng.choice([-8, 8], len(odd)) * X.std(axis=0)[column]
    detector = AEOutlierDetector(robust=robust, random_state=0).fit(X)
    assert np.mean(detector.explain(odd).argmax(axis=1) == column) >= 0.95
    assert np.mean(detector.score_samples(odd) < detector.score_samples(fresh)) >= 0.95


@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_explanations_have_the_shape_of_the_rows_and_are_means_over_the_ensemble(score):
    fresh = correlated(20, seed=1)
    detector = fitted(score)
    parts = detector.explain(fresh)
    assert parts.shape == fresh.shape
    members = [member.contributions(fresh) for member in detector._members]
    np.testing.assert_allclose(parts, np.mean(members, axis=0), rtol=1e-12)
    np.testing.assert_allclose(detector.explain(fresh[3:4])[0], parts[3], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("score", ["reconstruction", "mahalanobis"])
@pytest.mark.parametrize("shape", [(200, 6), (12, 40)], ids=str)
@pytest.mark.parametrize("robust", [True, False])
def test_parts_of_distances_add_up_to_the_score(score, shape, robust):
    detector = quick(score, robust=robust).fit(correlated(*shape))
    fresh = correlated(30, shape[1], seed=1)
    np.testing.assert_allclose(detector.explain(fresh).sum(axis=1), -detector.score_samples(fresh), rtol=1e-9)


@pytest.mark.parametrize("score", UNITLESS, ids=str)
@pytest.mark.parametrize("robust", [True, False])
def test_rows_in_the_middle_have_a_sum_of_about_1(score, robust):
    detector, fresh = quick(score, robust=robust).fit(correlated(300)), correlated(300, seed=1)
    sums = detector.explain(fresh).sum(axis=1)
    middle = np.abs(detector.score_samples(fresh)) < 0.2
    assert middle.sum() > 20
    assert np.median(sums[middle]) == pytest.approx(1, abs=0.4)
    assert np.median(detector.explain(scattered(20)).sum(axis=1)) > 10


@pytest.mark.parametrize("autoencoder", [linear(), trained(init="random")], ids=["linear", "trained"])
def test_nats_are_gained_where_a_column_is_replaced(autoencoder):
    detector = quick("log_likelihood", autoencoder, n_estimators=2).fit(correlated(100))
    fresh = correlated(10, seed=1)
    expected = np.zeros_like(fresh)
    for model in detector.estimators_:
        x_hat = model.inverse_transform(model.transform(fresh))
        for j in range(6):
            mended = fresh.copy()
            mended[:, j] = x_hat[:, j]
            expected[:, j] += (model.score_samples(mended) - model.score_samples(fresh)) / 2
    np.testing.assert_allclose(detector.explain(fresh), expected, rtol=1e-6, atol=1e-9)
    fresh[0, 4] += 20
    assert detector.explain(fresh[:1])[0].argmax() == 4


# -- robust or not ------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_a_fifth_of_outliers_in_one_clump_is_found_by_the_robust_detector(score):
    auc = {True: [], False: []}
    for seed in range(3):
        rng = np.random.RandomState(seed)
        clump = 3 + 2.5 * rng.choice([-1, 1], size=6) + 0.2 * rng.normal(size=(60, 6))
        X, y = np.vstack([correlated(240, seed=seed), clump]), np.repeat([1, -1], [240, 60])
        for robust in auc:
            auc[robust].append(roc_auc_score(y, quick(score, robust=robust).fit(X).score_samples(X)))
    assert min(auc[True]) > 0.99
    assert max(auc[False]) < 0.9


def test_clean_curved_rows_are_told_better_than_by_pca_and_forests():
    rng = np.random.RandomState(0)
    t = rng.uniform(-2, 2, 800)
    rows = np.column_stack([t, t**2, np.sin(2 * t)]) + 0.05 * rng.normal(size=(800, 3))
    X, fresh = rows[:400], rows[400:]
    test = np.vstack([fresh, rng.uniform(X.min(axis=0), X.max(axis=0), size=(400, 3))])
    y = np.repeat([1, -1], 400)
    ours = roc_auc_score(y, AEOutlierDetector(robust=False, random_state=0).fit(X).score_samples(test))
    forest = roc_auc_score(y, IsolationForest(random_state=0).fit(X).score_samples(test))
    pca = [PCA(k).fit(X) for k in (1, 2)]
    errors = [np.square(test - p.inverse_transform(p.transform(test))).sum(axis=1) for p in pca]
    assert ours > 0.98
    assert ours > max(forest, *(roc_auc_score(y, -error) for error in errors)) + 0.05


def test_robust_is_the_default_and_learns_from_the_core():
    X = np.vstack([correlated(240), 3 + 50 * np.ones((60, 6))])
    detector = quick().fit(X)
    assert detector.robust
    assert all(model.n_samples_ <= 240 for model in detector.estimators_)
    assert np.ptp(detector.inverse_transform(detector.transform(correlated(200))).mean(axis=0)) < 3
    naive = quick(robust=False).fit(X)
    assert {model.n_samples_ for model in naive.estimators_} == {240}


# -- data of all kinds -----------------------------------------------------------------------------------


def with_column(X, values):
    return np.column_stack([X, np.full(len(X), values)])


KINDS = {
    "constant column": with_column(correlated(60), 7.0),
    "constant rows": np.ones((30, 4)),
    "duplicates": np.repeat(correlated(12), 5, axis=0),
    "mostly equal": np.vstack([np.zeros((40, 3)), correlated(10, 3)]),
    "one column": correlated(40, 1),
    "low rank": np.outer(correlated(60, 1)[:, 0], [1.0, 2, -1, 0.5, 0]),
    "few rows": correlated(9),
    "wide": correlated(20, 40),
    "very wide": correlated(12, 150),
    **{f"{n} rows": correlated(n, 3) for n in range(2, 7)},
}


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("score", OUTLIER_SCORES)
@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_finite_on_any_rows(kind, score, robust):
    X = KINDS[kind]
    detector = AEOutlierDetector(outlier_score=score, robust=robust, random_state=0).fit(X)
    few = X[:5]
    rows = np.vstack([few, few + 100 * np.linspace(1, 2, X.shape[1])])
    scores, p = detector.score_samples(rows), detector.pvalues(rows)
    assert np.isfinite(np.column_stack([scores, p, detector.explain(rows)])).all()
    assert np.isfinite(detector.offset_)
    assert ((p > 0) & (p <= 1)).all()
    if kind != "one column" or score != "reconstruction":  # which one component reconstructs
        assert scores[len(few) :].max() < scores[: len(few)].min()
    assert np.mean(detector.predict(X) == -1) <= 0.5


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("score", sorted(set(OUTLIER_SCORES) - {"log_likelihood"}))
def test_a_column_that_was_constant_counts_where_it_differs_later(score, robust):
    X = with_column(correlated(200), 3.0)
    detector = quick(score, robust=robust).fit(X)
    usual, odd = with_column(correlated(50, seed=1), 3.0), with_column(correlated(50, seed=1), 8.0)
    assert (detector.predict(odd) == -1).all()
    assert (detector.explain(odd).argmax(axis=1) == 6).all()
    assert (detector.score_samples(usual) - detector.score_samples(odd) < 1e6).all()
    np.testing.assert_allclose(detector.explain(usual)[:, 6], 0, atol=1e-6)


def test_the_middle_of_equal_training_rows_is_not_flagged():
    """Half of the rows and more at the very same distance: the threshold is theirs, not a rounding less."""
    for seed in range(20):
        X = np.vstack([np.ones((40, 3)), correlated(10, 3, seed)])
        detector = quick("reconstruction", linear(1), robust=False).fit(X)
        assert (detector.predict(X[:40]) == 1).all()


@pytest.mark.parametrize("score", OUTLIER_SCORES)
@pytest.mark.parametrize("c", [1e-6, 1e6])
def test_the_unit_of_X_changes_no_label(score, c):
    X, fresh = correlated(100), np.vstack([correlated(50, seed=1), scattered(5)])
    one, other = quick(score).fit(X), quick(score).fit(c * X)
    agree = one.predict(fresh) == other.predict(c * fresh)
    assert agree.mean() > 0.98
    np.testing.assert_allclose(other.pvalues(c * fresh), one.pvalues(fresh), atol=0.03)
    if score in ("auto", "neighbors", "mahalanobis"):
        np.testing.assert_allclose(
            other.score_samples(c * fresh), one.score_samples(fresh), rtol=1e-3, atol=1e-3
        )


# -- the same scores ------------------------------------------------------------------------------------


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("score", OUTLIER_SCORES)
@pytest.mark.parametrize("autoencoder", [linear(), trained()], ids=["linear", "trained"])
def test_rows_are_judged_one_by_one(autoencoder, score, robust):
    detector = quick(score, autoencoder, robust=robust, n_estimators=2).fit(correlated(60))
    rows = np.vstack([correlated(60)[:4], correlated(5, seed=1), scattered(3)])
    for method in (detector.score_samples, detector.explain):
        assert_by_row(method, rows)
    assert_by_row(detector.pvalues, rows[4:])


def assert_by_row(method, rows):
    order, tight = np.random.RandomState(0).permutation(len(rows)), {"rtol": 1e-7, "atol": 1e-9}
    whole = method(rows)
    np.testing.assert_array_equal(method(rows), whole)
    np.testing.assert_allclose(method(rows[order]), whole[order], **tight)
    np.testing.assert_allclose(np.concatenate([method(row[None]) for row in rows]), whole, **tight)
    np.testing.assert_allclose(np.concatenate([method(rows[:7]), method(rows[7:])]), whole, **tight)


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_pvalues_of_rows_equal_to_held_out_ones_are_by_row_too(score, robust):
    """Binary rows repeat, and a tie must not hang on a rounding."""
    rng = np.random.RandomState(0)
    X, fresh = rng.binomial(1, 0.4, size=(200, 5)) + 0.0, rng.binomial(1, 0.4, size=(20, 5)) + 0.0
    assert_by_row(quick(score, robust=robust).fit(X).pvalues, fresh)


@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_labels_of_rows_at_the_threshold_are_by_row_too(score):
    """Of binary rows many lie there."""
    X = np.random.RandomState(0).binomial(1, 0.4, size=(200, 5)) + 0.0
    first = np.unique(X, axis=0, return_index=True)[1]
    for contamination in (0.1, 0.2, 0.3):
        detector = quick(score, robust=False, contamination=contamination).fit(X)
        alone = [detector.predict(X[i : i + 1])[0] for i in first]
        np.testing.assert_array_equal(alone, detector.predict(X)[first])


def test_pickle_keeps_the_result_and_clone_forgets_it():
    fresh = correlated(20, seed=1)
    for score in OUTLIER_SCORES:
        detector = fitted(score)
        twin = pickle.loads(pickle.dumps(detector))
        for method in ("score_samples", "predict", "pvalues", "explain", "transform"):
            np.testing.assert_array_equal(getattr(twin, method)(fresh), getattr(detector, method)(fresh))
        with pytest.raises(NotFittedError):
            clone(detector).score_samples(fresh)


@pytest.mark.parametrize("score", ["auto", "reconstruction", Neighbors(max_references=50)], ids=str)
def test_random_state_decides_the_result(score):
    X, fresh = correlated(200), correlated(20, seed=1)
    detectors = [quick(score, trained(), random_state=seed, n_estimators=2).fit(X) for seed in (0, 0, 1)]
    one, twin, other = (detector.score_samples(fresh) for detector in detectors)
    np.testing.assert_array_equal(one, twin)
    assert not np.allclose(one, other, rtol=1e-3)
    assert detectors[0].offset_ == detectors[1].offset_


def test_a_random_state_instance_goes_on():
    X, fresh = correlated(100), correlated(20, seed=1)
    rng = np.random.RandomState(0)
    first, second = (quick(random_state=rng).fit(X).score_samples(fresh) for _ in range(2))
    np.testing.assert_array_equal(first, quick(random_state=0).fit(X).score_samples(fresh))
    assert not np.allclose(first, second)


def test_parallel_fits_are_the_same():
    """With rows enough that joblib maps them into memory, read-only."""
    X = correlated(3000, 50)
    alone, shared = (quick(n_jobs=n_jobs).fit(X) for n_jobs in (None, 2))
    np.testing.assert_array_equal(shared.score_samples(X[:50]), alone.score_samples(X[:50]))
    assert shared.offset_ == alone.offset_


def test_rows_that_cannot_be_written_are_judged(tmp_path):
    X = correlated(100)
    mapped = np.memmap(tmp_path / "rows", dtype=X.dtype, mode="w+", shape=X.shape)
    mapped[:] = X
    mapped.setflags(write=False)
    for score in OUTLIER_SCORES:
        detector = quick(score).fit(mapped)
        for method in ("score_samples", "explain", "pvalues", "transform"):
            expected = getattr(quick(score).fit(X), method)(X)
            np.testing.assert_array_equal(getattr(detector, method)(mapped), expected)


@pytest.mark.parametrize("random_state", [0, None])
@pytest.mark.parametrize(
    "autoencoder", [None, VAETransformer(2, hidden_layer_sizes=(8,), max_iter=2)], ids=str
)
def test_calls_leave_the_global_state_alone(autoencoder, random_state, unchanged_globals):
    X = correlated(60)
    for score in OUTLIER_SCORES:
        for robust in (True, False):
            detector = AEOutlierDetector(
                autoencoder, outlier_score=score, robust=robust, random_state=random_state
            )
            detector.set_params(n_estimators=2).fit(X)
            detector.score_samples(X)
            detector.explain(X[:5])
            detector.pvalues(X)
            detector.inverse_transform(detector.transform(X))


def test_rows_are_left_as_they_are():
    X = correlated(60)
    before = X.copy()
    for score in OUTLIER_SCORES:
        detector = quick(score).fit(X)
        detector.explain(X)
        detector.pvalues(X)
    np.testing.assert_array_equal(X, before)


# -- no option is ignored ----------------------------------------------------------------------------


CHANGES = [
    {"score": "neighbors"},
    {"robust": False},
    {"n_estimators": 4},
    {"random_state": 1},
    {"autoencoder": linear(1)},
    {"autoencoder__n_components": 3},
    {"contamination": 0.3},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_every_parameter_has_an_effect(change):
    X = np.vstack([correlated(100), scattered(10)])
    fresh = correlated(50, seed=1)
    one, other = quick().fit(X), clone(quick()).set_params(**change).fit(X)
    assert not np.allclose(one.decision_function(fresh), other.decision_function(fresh), rtol=1e-3)


def test_verbose_is_joblib_s(capfd):
    quick(verbose=1).fit(correlated(40))
    assert "5 out of   5" in "".join(capfd.readouterr())
    quick(verbose=0).fit(correlated(40))
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize("n_estimators", [1, 3, 7])
def test_the_ensemble_has_so_many_members_and_scores_are_their_mean(n_estimators):
    X, fresh = correlated(100), correlated(20, seed=1)
    detector = quick("reconstruction", n_estimators=n_estimators).fit(X)
    assert len(detector.estimators_) == n_estimators
    assert detector.autoencoder_ is detector.estimators_[0]
    errors = [model.reconstruction_error(fresh) for model in detector.estimators_]
    np.testing.assert_allclose(detector.score_samples(fresh), -np.mean(errors, axis=0), rtol=1e-9)


# -- the autoencoder ------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", OUTLIER_SCORES)
@pytest.mark.parametrize("sizes", [(), (8,)], ids=["linear", "trained"])
def test_a_variational_autoencoder_serves_too(score, sizes):
    vae = VAETransformer(2, hidden_layer_sizes=sizes, max_iter=3, early_stopping=False)
    detector = quick(score, vae, n_estimators=2).fit(correlated(150))
    assert all(isinstance(model, VAETransformer) for model in detector.estimators_)
    assert (detector.predict(scattered(10)) == -1).all()
    y = np.repeat([1, -1], [100, 10])
    rows = np.vstack([correlated(100, seed=1), scattered(10)])
    assert roc_auc_score(y, detector.score_samples(rows)) > 0.99
    assert np.isfinite(detector.explain(rows)).all()


def test_the_user_s_autoencoder_is_not_touched():
    autoencoder = trained(random_state=3)
    before = {**vars(autoencoder)}
    detector = quick(autoencoder=autoencoder).fit(correlated(100))
    assert vars(autoencoder) == before
    assert detector.autoencoder is autoencoder
    assert autoencoder not in detector.estimators_


def test_members_have_seeds_of_their_own():
    detector = quick("reconstruction", trained(random_state=3), robust=False).fit(correlated(100))
    seeds = {model.random_state for model in detector.estimators_}
    assert len(seeds) == 5
    assert 3 not in seeds
    codes = [model.transform(correlated(10)) for model in detector.estimators_]
    assert not np.allclose(codes[0], codes[1], atol=1e-4)


@pytest.mark.parametrize("wrong", [AutoencoderTransformer, PCA(2), "pca", 3], ids=str)
def test_what_is_no_autoencoder_is_refused(wrong):
    with pytest.raises(
        ValueError,
        match=r"'autoencoder' parameter of AEOutlierDetector.*AutoencoderTransformer.*VAETransformer",
    ):
        AEOutlierDetector(wrong).fit(correlated(30))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"contamination": 0.0}, "'contamination' parameter"),
        ({"contamination": 0.6}, "'contamination' parameter"),
        ({"contamination": "some"}, "'contamination' parameter"),
        ({"n_estimators": 0}, "'n_estimators' parameter"),
        ({"robust": "yes"}, "'robust' parameter"),
        ({"n_jobs": 1.5}, "'n_jobs' parameter"),
        ({"random_state": "x"}, "'random_state' parameter"),
        ({"autoencoder": linear(0)}, "'n_components' parameter of AutoencoderTransformer"),
        ({"autoencoder": linear(20)}, "n_components=20 must be between"),
    ],
    ids=str,
)
def test_bad_parameters_are_named(params, message):
    detector = quick().set_params(**params)
    with pytest.raises(ValueError, match=message):
        detector.fit(correlated(30))
    assert not hasattr(detector, "offset_")


# -- transform -------------------------------------------------------------------------------------------


def test_transforms_are_those_of_the_first_autoencoder():
    detector, fresh = fitted(), correlated(20, seed=1)
    codes = detector.transform(fresh)
    np.testing.assert_array_equal(codes, detector.autoencoder_.transform(fresh))
    np.testing.assert_array_equal(
        detector.inverse_transform(codes), detector.autoencoder_.inverse_transform(codes)
    )
    np.testing.assert_allclose(
        clone(detector).fit_transform(correlated(200)), detector.transform(correlated(200))
    )
    assert list(detector.get_feature_names_out()) == ["aeoutlierdetector0", "aeoutlierdetector1"]


def test_data_frames_keep_their_names():
    X = pd.DataFrame(correlated(80), columns=list("abcdef"), index=np.arange(80) + 5)
    detector = quick().set_output(transform="pandas").fit(X)
    codes = detector.transform(X)
    assert list(codes.columns) == ["aeoutlierdetector0", "aeoutlierdetector1"]
    assert list(codes.index) == list(X.index)
    assert list(detector.feature_names_in_) == list("abcdef")
    np.testing.assert_array_equal(
        detector.score_samples(X), quick().fit(X.to_numpy()).score_samples(X.to_numpy())
    )
    judged = (detector.score_samples, detector.explain, detector.pvalues, detector.predict)
    for method in (*judged, detector.decision_function, detector.transform):
        with pytest.raises(ValueError, match="feature names"):
            method(X[list("fedcba")])


def test_precision_is_kept():
    X, fresh = correlated(200), correlated(50, seed=1)
    for score in OUTLIER_SCORES:
        single = quick(score).fit(X.astype(np.float32))
        codes = single.transform(fresh.astype(np.float32))
        assert codes.dtype == single.inverse_transform(codes).dtype == np.float32
        scores = single.score_samples(fresh.astype(np.float32))
        assert scores.dtype == single.explain(fresh.astype(np.float32)).dtype == np.float64
        np.testing.assert_allclose(scores, fitted(score).score_samples(fresh), rtol=1e-2, atol=1e-2)
    assert fitted().transform(fresh).dtype == np.float64


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_sparse_rows_are_dense_rows(score, robust):
    X = correlated(120)
    X[np.random.RandomState(0).uniform(size=X.shape) < 0.3] = 0
    detector = quick(score, robust=robust).fit(sparse.csr_array(X[:100]))
    dense = quick(score, robust=robust).fit(X[:100])
    for method in ("score_samples", "explain", "pvalues", "predict", "transform"):
        expected = getattr(detector, method)(X[100:])
        for container in (sparse.csr_array, sparse.csc_array, sparse.csr_matrix):
            np.testing.assert_allclose(
                getattr(detector, method)(container(X[100:])), expected, rtol=1e-7, atol=1e-9
            )
    np.testing.assert_allclose(detector.score_samples(X[100:]), dense.score_samples(X[100:]), rtol=1e-4)


@pytest.mark.parametrize("method", ["score_samples", "predict", "pvalues", "explain", "transform"])
def test_rows_that_do_not_fit_are_refused(method):
    judge, rows = getattr(fitted(), method), correlated(5)
    with pytest.raises(ValueError, match="NaN"):
        judge(np.where(rows > rows.min(), rows, np.nan))
    with pytest.raises(ValueError, match="5 features, but AEOutlierDetector is expecting 6"):
        judge(rows[:, :5])
    with pytest.raises(NotFittedError):
        getattr(quick(), method)(rows)
    with pytest.raises(ValueError, match="2D"):
        judge(rows[0])


def test_training_rows_that_do_not_fit_are_refused():
    for X, message in ((correlated(1), "minimum of 2"), (np.where(np.eye(6), np.nan, 1.0), "NaN")):
        with pytest.raises(ValueError, match=message):
            quick().fit(X)


# -- at home in scikit-learn -------------------------------------------------------------------------------


def test_a_scaler_before_the_detector_makes_units_of_columns_irrelevant():
    X, units = np.vstack([correlated(150), scattered(10)]), 10.0 ** np.arange(-3, 3)
    one, other = (make_pipeline(StandardScaler(), quick()).fit(rows) for rows in (X, units * X))
    np.testing.assert_allclose(other.score_samples(units * X), one.score_samples(X), rtol=1e-6)
    assert (one.predict(X)[150:] == -1).all()
    assert not hasattr(one, "score")


def test_searches_reach_the_parameters_and_need_a_scorer():
    rng = np.random.RandomState(0)
    near = correlated(30, seed=1) + rng.normal(size=(30, 6))
    X, y = np.vstack([correlated(120), near]), np.repeat([1, -1], [120, 30])
    order = rng.permutation(len(X))
    grid = {
        "score": ["reconstruction", Neighbors(3)],
        "robust": [True, False],
        "autoencoder__n_components": [1, 2],
    }
    search = GridSearchCV(quick(), grid, scoring="roc_auc", cv=2, error_score="raise").fit(X[order], y[order])
    scores = search.cv_results_["mean_test_score"]
    assert len(scores) == 8
    assert search.best_score_ == scores.max() > 0.8
    assert len(set(scores)) > 4
    best = search.best_estimator_.get_params()
    assert all(repr(best[name]) == repr(value) for name, value in search.best_params_.items())
    for call in (lambda: GridSearchCV(quick(), grid, cv=2).fit(X, y), lambda: quick().score(X, y)):
        with pytest.raises((TypeError, AttributeError), match=r"score.* method"):
            call()


def test_nested_parameters_of_the_score_are_searched():
    X, y = np.vstack([correlated(60), scattered(6)]), np.repeat([1, -1], [60, 6])
    order = np.random.RandomState(0).permutation(66)
    grid = {"score__n_neighbors": [1, 4]}
    search = GridSearchCV(quick(Neighbors()), grid, scoring="roc_auc", cv=2, error_score="raise")
    best = search.fit(X[order], y[order]).best_estimator_
    assert best.outlier_score_.n_neighbors == search.best_params_["score__n_neighbors"]


def test_score_is_a_parameter_and_no_method():
    detector = quick(Neighbors(3))
    assert not hasattr(detector, "score")
    with pytest.raises(
        AttributeError, match=r"parameter of AEOutlierDetector.*score_samples.*scoring='roc_auc'"
    ):
        detector.score(correlated(5))
    assert detector.get_params()["score"].n_neighbors == 3
    assert repr(detector).replace("\n", "").count("outlier_score=Neighbors(n_neighbors=3)") == 1
    assert "outlier_score=" not in repr(AEOutlierDetector())
    assert "n_neighbors" in detector._repr_html_()


def test_parameters_are_got_and_set_by_name():
    detector = AEOutlierDetector(linear(3), outlier_score=Neighbors(3), robust=False)
    params = detector.get_params()
    assert params["autoencoder__n_components"] == params["score__n_neighbors"] == 3
    assert set(detector.get_params(deep=False)) == {
        *("autoencoder", "score", "contamination", "robust"),
        *("n_estimators", "n_jobs", "random_state", "verbose"),
    }
    detector.set_params(score__n_neighbors=1, autoencoder__n_components=2, contamination=0.2)
    twin = clone(detector)
    assert repr(twin.get_params()) == repr(detector.get_params())
    assert twin.get_params()["score"] is not detector.get_params()["score"]
    assert twin.set_params(outlier_score="mahalanobis").fit(correlated(50)).outlier_score_.residuals
    with pytest.raises(ValueError, match="Invalid parameter 'k'"):
        detector.set_params(score__k=1)


def test_parameters_can_be_listed_where_one_is_a_class_by_mistake():
    assert AEOutlierDetector(AutoencoderTransformer).get_params()["autoencoder"] is AutoencoderTransformer
    assert AEOutlierDetector(outlier_score=Neighbors).get_params()["score"] is Neighbors


def test_scikit_learn_knows_it_for_an_outlier_detector():
    assert is_outlier_detector(AEOutlierDetector())
    assert fitted().n_features_in_ == 6
