"""AEOutlierDetector: labels, p-values and explanations; any kind of data; conventions of scikit-learn."""

import pickle
from functools import cache

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import false_discovery_control, kstest
from sklearn.base import clone, is_outlier_detector
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, VAETransformer
from sklearn_ae._outlier import ensemble
from sklearn_ae._outlier.threshold import upper_fence
from sklearn_ae.outlier_scores import OUTLIER_SCORES, Mahalanobis, Neighbors

WITHOUT_UNIT = [Neighbors() | Mahalanobis(), "auto", "neighbors"]

# A few epochs suffice for these tests.
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")


def linear(k=2):
    """Return an autoencoder that equals PCA and is fast."""
    return AutoencoderTransformer(k, hidden_layer_sizes=())


def trained(k=2, **params):
    """Return an autoencoder with a short training."""
    given = {"hidden_layer_sizes": (8,), "max_iter": 3, "early_stopping": False}
    return AutoencoderTransformer(k, **(given | params))


def quick(score="auto", autoencoder=None, **params):
    given = {"n_estimators": 2, "random_state": 0}
    return AEOutlierDetector(autoencoder or linear(), outlier_score=score, **(given | params))


def correlated(n, d=6, seed=0):
    """Return normal samples far from zero, with two strong directions and noise."""
    loadings = np.random.RandomState(99).normal(size=(2, d))
    rng = np.random.RandomState(seed)
    return 3 + rng.normal(size=(n, 2)) @ loadings + 0.3 * rng.normal(size=(n, d))


def scattered(n, d=6, seed=0):
    """Return outliers of ``correlated``, each in another direction."""
    return correlated(n, d, seed + 1000) + np.random.RandomState(seed).choice([-6.0, 6.0], size=(n, d))


@cache
def fitted(score="auto", robust=True):
    """Return a detector fitted to 200 samples, which no test changes."""
    return quick(score, robust=robust, n_estimators=5).fit(correlated(200))


def pairwise(kinds, scores=OUTLIER_SCORES):
    """Combine kinds and scores, each kind and each score with both values of robust."""
    return [(kind, score, (i + j) % 2 == 0) for i, kind in enumerate(kinds) for j, score in enumerate(scores)]


# -- labels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", OUTLIER_SCORES)
@pytest.mark.parametrize(("contamination", "n"), [(0.05, 200), (0.1, 101), (0.5, 200), (0.5, 101)])
def test_contamination_is_the_fraction_of_training_samples_labelled_as_outliers(score, contamination, n):
    X = correlated(n)
    labels = quick(score, contamination=contamination).fit(X).predict(X)
    assert set(labels) == {-1, 1}
    assert abs((labels == -1).sum() - contamination * n) <= 1


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_clear_outliers_and_few_other_samples_are_labelled(score, robust):
    fractions = []
    for seed in range(3):
        X = np.vstack([correlated(300, seed=seed), scattered(8, seed=seed)])
        labels = quick(score, robust=robust, random_state=seed).fit(X).predict(X)
        # Trees learn which outliers are among the training samples.
        assert np.mean(labels[300:] == -1) >= (0.8 if score == "contrast" and not robust else 1)
        fractions.append(np.mean(labels[:300] == -1))
    assert np.mean(fractions) < 0.08


@pytest.mark.parametrize("contamination", ["auto", 0.1])
def test_methods_agree_with_each_other(contamination):
    X, new = correlated(200), correlated(50, seed=1)
    detector = quick(contamination=contamination).fit(X)
    decision = detector.decision_function(new)
    np.testing.assert_array_equal(decision, detector.score_samples(new) - detector.offset_)
    np.testing.assert_array_equal(detector.predict(new), np.where(decision < 0, -1, 1))
    np.testing.assert_array_equal(clone(detector).fit_predict(X), detector.predict(X))
    assert detector.predict(new).dtype.kind == "i"


@pytest.mark.parametrize("score", ["mahalanobis", "reconstruction"])
def test_the_threshold_is_the_farther_fence_of_training_and_held_out_samples(score):
    X = correlated(201)
    detector = quick(score, robust=False, n_estimators=3).fit(X)
    held_out = [fold_detector.held_out_scores for fold_detector in detector._fold_detectors]
    fences = [upper_fence(np.sqrt(-scores)) for scores in (detector.score_samples(X), *held_out)]
    expected = max(fences[0], np.median(fences[1:]))
    assert np.sqrt(-detector.offset_) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_new_outliers_and_few_other_new_samples_are_labelled(score):
    assert (fitted(score).predict(scattered(30)) == -1).all()
    assert (fitted(score).predict(correlated(300, seed=1)) == 1).mean() > 0.85


@pytest.mark.parametrize("score", WITHOUT_UNIT, ids=str)
def test_scores_without_unit_are_0_at_the_median_and_minus_1_at_the_lowest_tenth(score):
    detector = quick(score, n_estimators=1, robust=False).fit(correlated(2000))
    scores = detector.score_samples(correlated(2000, seed=1))
    assert np.median(scores) == pytest.approx(-0.2, abs=0.35)
    assert np.quantile(scores, 0.1) == pytest.approx(-1.15, abs=0.35)


@pytest.mark.parametrize("robust", [True, False])
def test_scores_of_a_single_measure_are_in_its_unit(robust):
    new = correlated(30, seed=1)
    detector = fitted("reconstruction", robust)
    errors = [model.reconstruction_error(new) for model in detector.estimators_]
    np.testing.assert_allclose(-detector.score_samples(new), np.mean(errors, axis=0), rtol=1e-9)
    detector = fitted("log_likelihood", robust)
    nats = [model.score_samples(new) for model in detector.estimators_]
    np.testing.assert_allclose(detector.score_samples(new), np.mean(nats, axis=0), rtol=1e-9)


# -- p-values ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_fits", [3, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_pvalues_of_new_normal_samples_are_uniform(score, robust, n_fits):
    """The tolerance allows for averaging over five folds, which makes ranks less extreme."""
    p = []
    for seed in range(n_fits):
        detector = quick(score, robust=robust, n_estimators=5, random_state=seed)
        p.append(detector.fit(correlated(400, seed=seed)).pvalues(correlated(400, seed=500 + seed)))
    assert kstest(np.ravel(p), "uniform").statistic < 0.08
    for level in (0.02, 0.05, 0.1, 0.2):
        assert np.mean(np.ravel(p) <= level) == pytest.approx(level, abs=0.02 + 0.1 * level)


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_pvalues_are_positive_multiples_of_a_step(score, robust):
    p = fitted(score, robust).pvalues(np.vstack([correlated(100, seed=1), 1e3 * scattered(3)]))
    assert (p > 0).all()
    assert (p <= 1).all()
    np.testing.assert_allclose(p * 201, np.round(p * 201), atol=1e-9)
    assert (p[100:] <= 2 / 201 + 1e-12).all()


@pytest.mark.parametrize(("n", "n_estimators"), [(200, 5), (40, 1), (2, 5), (4, 5), (8, 5), (20, 50)])
def test_no_pvalue_is_smaller_than_the_number_of_samples_allows(n, n_estimators):
    """Of n + 1 samples of one distribution, each is the farthest out with probability 1 / (n + 1)."""
    detector = quick(n_estimators=n_estimators, robust=False, autoencoder=linear(1)).fit(correlated(n))
    p = detector.pvalues(scattered(5))
    assert (p >= 1 / (n + 1) - 1e-12).all()


def test_pvalues_compare_the_mean_rank_with_those_of_training_samples():
    X, new = correlated(60), correlated(40, seed=1)
    detector = quick("reconstruction", robust=False, n_estimators=5).fit(X)
    new_ranks, training_ranks = np.zeros(40), np.zeros(60)
    for model, held_out in zip(detector.estimators_, held_out_samples(X, detector), strict=True):
        errors, unseen = model.reconstruction_error(X), (X[:, None] == held_out).all(axis=2).any(axis=1)
        new_ranks += (errors[unseen] >= model.reconstruction_error(new)[:, None]).mean(axis=1) / 5
        for i in range(60):
            group = errors[unseen == unseen[i]]
            training_ranks[i] += (np.sum(group >= errors[i]) - 1) / len(group) / 5
    as_far = (training_ranks <= new_ranks[:, None] + 1e-9).sum(axis=1)
    np.testing.assert_allclose(detector.pvalues(new), (1 + as_far) / 61)


def held_out_samples(X, detector):
    """Yield the samples that each autoencoder was not fitted on, verified by the mean of the others."""
    seed = np.random.RandomState(0).randint(np.iinfo(np.int32).max, size=6)[0]
    for model, fold in zip(detector.estimators_, ensemble.make_folds(len(X), 5, seed), strict=True):
        np.testing.assert_allclose(model.mean_, X[fold.train].mean(axis=0))
        yield X[fold.held_out]


@pytest.mark.slow
@pytest.mark.parametrize("n_fits", [8, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("robust", [True, False])
def test_the_false_discovery_rate_is_below_its_nominal_level(robust, n_fits):
    false, found = [], []
    for seed in range(n_fits):
        detector = quick(robust=robust, n_estimators=5, random_state=seed).fit(correlated(150, seed=seed))
        p = detector.pvalues(np.vstack([correlated(40, seed=500 + seed), scattered(8, seed=seed)]))
        rejected = false_discovery_control(p) <= 0.2
        false.append(rejected[:40].sum() / max(1, rejected.sum()))
        found.append(rejected[40:].mean())
    assert np.mean(false) <= 0.2 + 2 * np.std(false) / np.sqrt(n_fits)
    assert np.mean(found) > 0.95


def test_outliers_among_the_training_samples_make_pvalues_larger():
    p = []
    for seed in range(6):
        X = np.vstack([correlated(270, seed=seed), scattered(30, seed=seed)])
        detector = quick(n_estimators=5, random_state=seed).fit(X)
        p.append(detector.pvalues(correlated(300, seed=500 + seed)))
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
def test_a_corrupted_feature_contributes_most(data, robust):
    X, new = DATA[data]
    rng = np.random.RandomState(0)
    feature = rng.randint(X.shape[1], size=len(new))
    odd = new.copy()
    odd[np.arange(len(odd)), feature] += rng.choice([-8, 8], len(odd)) * X.std(axis=0)[feature]
    detector = AEOutlierDetector(robust=robust, n_estimators=1, random_state=0).fit(X)
    assert np.mean(detector.explain(odd).argmax(axis=1) == feature) >= 0.95
    assert np.mean(detector.score_samples(odd) < detector.score_samples(new)) >= 0.95


@pytest.mark.parametrize("robust", [True, False])
def test_a_corrupted_pixel_of_a_usual_image_contributes_most(robust):
    X = load_digits().data
    X = StandardScaler().fit_transform(X[:, np.mean(X[:1] != X, axis=0) > 0.05])
    X, new = X[:1350], X[1350:]
    detector = AEOutlierDetector(robust=robust, random_state=0).fit(X)
    new = new[detector.predict(new) == 1]
    rng = np.random.RandomState(0)
    pixel = rng.randint(X.shape[1], size=len(new))
    odd = new.copy()
    odd[np.arange(len(odd)), pixel] += rng.choice([-8, 8], len(odd))
    assert np.mean(detector.explain(odd).argmax(axis=1) == pixel) >= 0.95


@pytest.mark.parametrize("score", OUTLIER_SCORES)
@pytest.mark.parametrize("value", [np.float32(-3.4e38), 1e155, -1e300], ids=str)
def test_values_whose_square_overflows_are_outliers(value, score):
    dtype = np.asarray(value).dtype
    X, new = correlated(200).astype(dtype), correlated(20, seed=1).astype(dtype)
    new[3, 2] = value
    detector = quick(score).fit(X)
    scores = detector.score_samples(new)
    assert scores.argmin() == 3
    assert not np.isnan(scores).any()
    assert detector.predict(new)[3] == -1
    assert not np.isnan(detector.explain(new)).any()
    p = detector.pvalues(new)
    assert p[3] == p.min() <= (5 if score == "contrast" else 2) / 201
    X[5, 1] = value
    assert quick(score).fit(X).predict(X)[5] == -1  # robust: the inlier core is without it
    with pytest.raises(ValueError, match=rf"Feature 1 of X reaches .*e\+{int(np.log10(abs(value)))}"):
        quick(score, robust=False).fit(X)


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("score", ["auto", "neighbors"])
@pytest.mark.parametrize(
    "rounding",
    [np.float32, lambda X: X.astype(np.float32).astype(float), lambda X: np.round(X, 4)],
    ids=["float32", "via float32", "four decimals"],
)
def test_labels_of_training_samples_do_not_depend_on_rounding(rounding, score, robust):
    X = correlated(300)
    detector = quick(score, contamination=0.15, robust=robust).fit(X)
    labels = detector.predict(X)
    assert np.count_nonzero(labels == -1) == 45
    np.testing.assert_array_equal(detector.predict(rounding(X)), labels)
    pipeline = make_pipeline(PCA(4), quick(score, contamination=0.15, robust=robust)).fit(X)
    np.testing.assert_array_equal([pipeline.predict(x[None])[0] for x in X[::20]], pipeline.predict(X)[::20])


@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_contributions_are_means_over_the_ensemble(score, unperturbed):
    new = correlated(20, seed=1)
    detector = fitted(score)
    parts = detector.explain(new)
    assert parts.shape == new.shape
    expected = np.mean([fold.contributions(new) for fold in detector._fold_detectors], axis=0)
    np.testing.assert_allclose(parts, expected, rtol=1e-12)
    np.testing.assert_allclose(detector.explain(new[3:4])[0], parts[3], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("score", ["reconstruction", "mahalanobis"])
@pytest.mark.parametrize("shape", [(200, 6), (12, 40)], ids=str)
@pytest.mark.parametrize("robust", [True, False])
def test_contributions_to_squared_distances_add_up_to_the_score(score, shape, robust):
    detector = quick(score, robust=robust).fit(correlated(*shape))
    new = correlated(30, shape[1], seed=1)
    np.testing.assert_allclose(detector.explain(new).sum(axis=1), -detector.score_samples(new), rtol=1e-9)


@pytest.mark.parametrize("score", [Neighbors() | Mahalanobis(), Neighbors(1), "neighbors"], ids=str)
@pytest.mark.parametrize("robust", [True, False])
def test_contributions_add_up_to_about_1_for_scores_near_0(score, robust):
    detector, new = quick(score, robust=robust).fit(correlated(300)), correlated(300, seed=1)
    sums = detector.explain(new).sum(axis=1)
    typical = np.abs(detector.score_samples(new)) < 0.2
    assert typical.sum() > 20
    assert np.median(sums[typical]) == pytest.approx(1, abs=0.4)
    assert np.median(detector.explain(scattered(20)).sum(axis=1)) > 10


@pytest.mark.parametrize("autoencoder", [linear(), trained(init="random")], ids=["linear", "trained"])
def test_contributions_to_log_likelihood_are_gains_by_reconstructed_values(autoencoder):
    detector = quick("log_likelihood", autoencoder, n_estimators=1).fit(correlated(60, 4))
    new = correlated(2, 4, seed=1)
    model = detector.autoencoder_
    x_hat, before = model.inverse_transform(model.transform(new)), model.score_samples(new)
    expected = np.zeros_like(new)
    for j in range(4):
        replaced = new.copy()
        replaced[:, j] = x_hat[:, j]
        expected[:, j] = model.score_samples(replaced) - before
    np.testing.assert_allclose(detector.explain(new), expected, rtol=1e-6, atol=1e-9)
    new[0, 2] += 20
    assert detector.explain(new[:1])[0].argmax() == 2


# -- robust or not ------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_only_the_robust_detector_finds_a_cluster_with_a_fifth_of_the_samples(score):
    auc = {True: [], False: []}
    for seed in range(2):
        rng = np.random.RandomState(seed)
        cluster = 3 + 2.5 * rng.choice([-1, 1], size=6) + 0.2 * rng.normal(size=(60, 6))
        X, y = np.vstack([correlated(240, seed=seed), cluster]), np.repeat([1, -1], [240, 60])
        for robust in auc:
            auc[robust].append(roc_auc_score(y, quick(score, robust=robust).fit(X).score_samples(X)))
    assert min(auc[True]) > 0.99
    assert max(auc[False]) < 0.9


def test_outliers_of_clean_curved_data_are_ranked_better_than_by_pca_and_forests():
    rng = np.random.RandomState(0)
    t = rng.uniform(-2, 2, 600)
    samples = np.column_stack([t, t**2, np.sin(2 * t)]) + 0.05 * rng.normal(size=(600, 3))
    X, new = samples[:400], samples[400:]
    test = np.vstack([new, rng.uniform(X.min(axis=0), X.max(axis=0), size=(200, 3))])
    y = np.repeat([1, -1], 200)
    detector = AEOutlierDetector(robust=False, n_estimators=1, random_state=0).fit(X)
    ours = roc_auc_score(y, detector.score_samples(test))
    forest = roc_auc_score(y, IsolationForest(random_state=0).fit(X).score_samples(test))
    pca = [PCA(k).fit(X) for k in (1, 2)]
    errors = [np.square(test - p.inverse_transform(p.transform(test))).sum(axis=1) for p in pca]
    assert ours > 0.98
    assert ours > max(forest, *(roc_auc_score(y, -error) for error in errors)) + 0.05


def test_the_detector_is_robust_by_default_and_is_fitted_to_the_inlier_core():
    X = np.vstack([correlated(240), 3 + 50 * np.ones((60, 6))])
    detector = quick().fit(X)
    assert detector.robust
    assert all(model.n_samples_ <= 240 for model in detector.estimators_)
    assert np.ptp(detector.inverse_transform(detector.transform(correlated(200))).mean(axis=0)) < 3
    naive = quick(robust=False).fit(X)
    assert {model.n_samples_ for model in naive.estimators_} == {240}


@pytest.mark.parametrize("shares", [(0.02,), (0.2,), (0.08, 0.08)], ids=str)
@pytest.mark.parametrize("shape", [(500, 5), (1000, 30), (1500, 60)], ids=str)
def test_clumps_that_are_closer_than_normal_samples_are_found(shape, shares):
    """At six standard deviations in 60 dimensions, most normal samples are farther from the centre."""
    n, d = shape
    rng = np.random.RandomState(0)
    X, end = rng.normal(size=shape), 0
    for share in shares:
        start, end = end, end + round(share * n)
        direction = rng.normal(size=d)
        X[start:end] = 6 * direction / np.linalg.norm(direction) + 0.1 * rng.normal(size=(end - start, d))
    outlier = np.arange(n) < end
    detector = quick().fit(X)
    assert roc_auc_score(outlier, -detector.score_samples(X)) > 0.97


FEW_VALUED = {
    "indicator": lambda rng: rng.uniform(size=(500, 1)) < 0.08,
    "frequent indicator": lambda rng: rng.uniform(size=(500, 1)) < 0.2,
    "one-hot": lambda rng: np.eye(4)[rng.choice(4, size=500, p=[0.5, 0.3, 0.15, 0.05])],
    "one-hot, equal": lambda rng: np.eye(12)[rng.choice(12, size=500)],
    "missing": lambda rng: rng.uniform(size=(500, 2)) < 0.1,
    "zero-inflated counts": lambda rng: np.where(
        rng.uniform(size=(500, 2)) < 0.8, 0, 1 + rng.poisson(5, size=(500, 2))
    ),
    "counts": lambda rng: rng.poisson(1, size=(500, 3)),
    "ratings": lambda rng: rng.choice(5, size=(500, 4), p=[0.05, 0.1, 0.2, 0.3, 0.35]),
    "rounded": lambda rng: np.round(2 * rng.normal(size=(500, 3))),
}


@pytest.mark.parametrize("kind", FEW_VALUED)
def test_errors_beside_few_valued_features_are_found(kind):
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.normal(size=(500, 3)), FEW_VALUED[kind](rng)])
    error = np.arange(500) < 10
    X[error, np.arange(10) % 3] += 8
    X = StandardScaler().fit_transform(X)
    robust, naive = (
        roc_auc_score(error, -quick(robust=robust).fit(X).score_samples(X)) for robust in (True, False)
    )
    assert robust > max(0.98, naive - 0.02)


def test_images_of_other_digits_are_found():
    X, target = load_digits(return_X_y=True)
    areas = []
    for label in (0, 3, 6, 8):
        rng = np.random.RandomState(label)
        normal, other = (rng.permutation(np.flatnonzero(m)) for m in (target == label, target != label))
        index = np.concatenate([normal, other[: len(normal) // 10]])
        samples, outlier = StandardScaler().fit_transform(X[index]), target[index] != label
        detectors = [quick(robust=robust).fit(samples) for robust in (True, False)]
        areas.append([roc_auc_score(outlier, -detector.score_samples(samples)) for detector in detectors])
    robust, naive = np.transpose(areas)
    assert robust.min() > 0.85
    assert robust.mean() > naive.mean() - 0.02


# -- data of all kinds -----------------------------------------------------------------------------------


def with_feature(X, value):
    return np.column_stack([X, np.full(len(X), value)])


KINDS = {
    "constant feature": with_feature(correlated(60), 7.0),
    "equal samples": np.ones((30, 4)),
    "duplicates": np.repeat(correlated(12), 5, axis=0),
    "mostly equal": np.vstack([np.zeros((40, 3)), correlated(10, 3)]),
    "one feature": correlated(40, 1),
    "low rank": np.outer(correlated(60, 1)[:, 0], [1.0, 2, -1, 0.5, 0]),
    "few samples": correlated(9),
    "wide": correlated(20, 40),
    "very wide": correlated(12, 150),
    **{f"{n} samples": correlated(n, 3) for n in range(2, 7)},
}


def check_finite(kind, score, robust, n_estimators):
    X = KINDS[kind]
    detector = AEOutlierDetector(
        outlier_score=score, robust=robust, n_estimators=n_estimators, random_state=0
    ).fit(X)
    few = X[:3]
    samples = np.vstack([few, few + 100 * np.linspace(1, 2, X.shape[1])])
    scores, p = detector.score_samples(samples), detector.pvalues(samples)
    assert np.isfinite(np.column_stack([scores, p])).all()
    assert np.isfinite(detector.explain(samples[len(few) - 1 : len(few) + 1])).all()
    assert np.isfinite(detector.offset_)
    assert ((p > 0) & (p <= 1)).all()
    if kind != "one feature" or score != "reconstruction":  # reconstructed exactly by one component
        outer, inner = scores[len(few) :].max(), scores[: len(few)].min()
        assert outer < inner or (score == "contrast" and outer == inner)  # a share ends at 1
    assert np.mean(detector.predict(X) == -1) <= 0.5


@pytest.mark.parametrize(("kind", "score", "robust"), pairwise(KINDS))
def test_results_are_finite_for_any_samples(kind, score, robust, monkeypatch):
    check_finite(kind, score, robust, n_estimators=1)


@pytest.mark.slow
@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("score", OUTLIER_SCORES)
@pytest.mark.parametrize("kind", KINDS)
def test_results_are_finite_after_the_default_training(kind, score, robust):
    check_finite(kind, score, robust, n_estimators=5)


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("score", sorted(set(OUTLIER_SCORES) - {"log_likelihood"}))
def test_a_constant_feature_counts_if_a_new_sample_differs(score, robust):
    detector = quick(score, robust=robust).fit(with_feature(correlated(200), 3.0))
    usual, odd = with_feature(correlated(50, seed=1), 3.0), with_feature(correlated(50, seed=1), 8.0)
    assert (detector.predict(odd) == -1).all()
    assert (detector.explain(odd).argmax(axis=1) == 6).all()
    assert (detector.score_samples(usual) - detector.score_samples(odd) < 1e6).all()
    np.testing.assert_allclose(detector.explain(usual)[:, 6], 0, atol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_equal_training_samples_at_the_median_are_inliers(seed):
    """The threshold is the distance of more than half of the samples, and must not be rounded below it."""
    X = np.vstack([np.ones((40, 3)), correlated(10, 3, seed)])
    detector = quick("reconstruction", linear(1), robust=False).fit(X)
    assert (detector.predict(X[:40]) == 1).all()


@pytest.mark.parametrize("score", OUTLIER_SCORES)
@pytest.mark.parametrize("c", [1e-6, 1e6])
def test_labels_do_not_depend_on_the_unit_of_X(score, c):
    X, new = correlated(100), np.vstack([correlated(50, seed=1), scattered(5)])
    one, other = quick(score).fit(X), quick(score).fit(c * X)
    agree = one.predict(new) == other.predict(c * new)
    assert agree.mean() > 0.98
    np.testing.assert_allclose(other.pvalues(c * new), one.pvalues(new), atol=0.03)
    if score in ("auto", "neighbors", "mahalanobis"):
        np.testing.assert_allclose(other.score_samples(c * new), one.score_samples(new), rtol=1e-3, atol=1e-3)


# -- determinism -----------------------------------------------------------------------------------------


AUTOENCODERS = {"linear": linear(), "trained": trained()}


@pytest.mark.parametrize(("autoencoder", "score", "robust"), pairwise(AUTOENCODERS))
def test_results_do_not_depend_on_the_batch(autoencoder, score, robust):
    detector = quick(score, AUTOENCODERS[autoencoder], robust=robust, n_estimators=1).fit(correlated(40, 3))
    samples = np.vstack([correlated(40, 3)[:1], correlated(2, 3, seed=1), scattered(2, 3)])
    for method in (detector.score_samples, detector.explain):
        assert_independent_of_batch(method, samples)
    assert_independent_of_batch(detector.pvalues, samples[1:])


def assert_independent_of_batch(method, samples):
    order, tight = np.random.RandomState(0).permutation(len(samples)), {"rtol": 1e-7, "atol": 1e-9}
    whole = method(samples)
    np.testing.assert_array_equal(method(samples), whole)
    np.testing.assert_allclose(method(samples[order]), whole[order], **tight)
    np.testing.assert_allclose(np.concatenate([method(sample[None]) for sample in samples]), whole, **tight)
    np.testing.assert_allclose(np.concatenate([method(samples[:2]), method(samples[2:])]), whole, **tight)


def binary(n, seed=0):
    """Return samples with many duplicates."""
    return np.random.RandomState(seed).binomial(1, 0.4, size=(n, 5)) + 0.0


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_pvalues_of_ties_do_not_depend_on_the_batch(score, robust):
    """New samples that equal held-out ones must tie with them despite rounding."""
    assert_independent_of_batch(quick(score, robust=robust).fit(binary(100)).pvalues, binary(8, seed=1))


@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_ties_do_not_depend_on_rounding(score):
    """Neither of new samples nor of training samples: equal samples have distance 0, not 1e-15."""

    def rounded_differently(X):
        return X + 1e-14 * np.random.RandomState(3).normal(size=X.shape)

    X, new = binary(400), binary(60, seed=1)
    detector, other = (quick(score, robust=False).fit(x) for x in (X, rounded_differently(X)))
    for p in (detector.pvalues(rounded_differently(new)), other.pvalues(new)):
        np.testing.assert_allclose(p, detector.pvalues(new), rtol=1e-9)
    np.testing.assert_array_equal(other.predict(X), detector.predict(X))


@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_labels_at_the_threshold_do_not_depend_on_the_batch(score):
    """Many of the binary samples lie at the threshold."""
    X = binary(200)
    first = np.unique(X, axis=0, return_index=True)[1]
    alone = None
    for contamination in (0.1, 0.2, 0.3):
        detector = quick(score, robust=False, contamination=contamination).fit(X)
        if alone is None:  # contamination changes only the threshold
            alone = np.concatenate([detector.score_samples(X[i : i + 1]) for i in first])
        labels = np.where(alone - detector.offset_ < 0, -1, 1)
        np.testing.assert_array_equal(labels, detector.predict(X)[first])


@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_pickle_keeps_the_result_and_clone_is_not_fitted(score):
    new, detector = correlated(20, seed=1), fitted(score)
    twin = pickle.loads(pickle.dumps(detector))
    for method in ("score_samples", "predict", "pvalues", "explain", "transform"):
        np.testing.assert_array_equal(getattr(twin, method)(new), getattr(detector, method)(new))
    with pytest.raises(NotFittedError):
        clone(detector).score_samples(new)


@pytest.mark.parametrize("score", ["auto", "reconstruction", Neighbors(max_references=50)], ids=str)
def test_random_state_determines_the_result(score):
    X, new = correlated(200), correlated(20, seed=1)
    detectors = [quick(score, trained(), random_state=seed).fit(X) for seed in (0, 0, 1)]
    one, same_seed, other_seed = (detector.score_samples(new) for detector in detectors)
    np.testing.assert_array_equal(one, same_seed)
    assert not np.allclose(one, other_seed, rtol=1e-3)
    assert detectors[0].offset_ == detectors[1].offset_


def test_a_random_state_instance_is_advanced():
    X, new = correlated(100), correlated(20, seed=1)
    rng = np.random.RandomState(0)
    first, second = (quick(random_state=rng).fit(X).score_samples(new) for _ in range(2))
    np.testing.assert_array_equal(first, quick(random_state=0).fit(X).score_samples(new))
    assert not np.allclose(first, second)


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
def test_n_jobs_does_not_change_the_result(backend):
    """X is large enough for joblib to pass it to processes as a read-only memory map."""
    X = correlated(1400, 100)
    sequential = quick("mahalanobis").fit(X)
    with joblib.parallel_config(backend):
        parallel = quick("mahalanobis", n_jobs=2).fit(X)
    np.testing.assert_array_equal(parallel.score_samples(X[:50]), sequential.score_samples(X[:50]))
    assert parallel.offset_ == sequential.offset_


@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_read_only_samples_are_accepted(score, tmp_path):
    X = correlated(60)
    mapped = np.memmap(tmp_path / "samples", dtype=X.dtype, mode="w+", shape=X.shape)
    mapped[:] = X
    mapped.setflags(write=False)
    detector, reference = quick(score).fit(mapped), quick(score).fit(X)
    for method in ("score_samples", "explain", "pvalues", "transform"):
        np.testing.assert_array_equal(getattr(detector, method)(mapped), getattr(reference, method)(X))


GLOBALS = {"default": None, "vae": VAETransformer(2, hidden_layer_sizes=(8,), max_iter=2)}


@pytest.mark.parametrize("random_state", [0, None])
@pytest.mark.parametrize(("autoencoder", "score", "robust"), pairwise(GLOBALS))
def test_global_state_is_left_unchanged(
    autoencoder, score, robust, random_state, monkeypatch, unchanged_globals
):
    X = correlated(60)
    params = {"outlier_score": score, "robust": robust, "random_state": random_state}
    detector = AEOutlierDetector(GLOBALS[autoencoder], n_estimators=1, **params).fit(X)
    detector.score_samples(X)
    detector.explain(X[:2])
    detector.pvalues(X)
    detector.inverse_transform(detector.transform(X))


@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_X_is_left_unchanged(score):
    X = correlated(60)
    before = X.copy()
    detector = quick(score).fit(X)
    detector.explain(X)
    detector.pvalues(X)
    np.testing.assert_array_equal(X, before)


# -- parameters --------------------------------------------------------------------------------------


CHANGES = [
    {"outlier_score": "neighbors"},
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
    new = correlated(50, seed=1)
    one, other = quick().fit(X), clone(quick()).set_params(**change).fit(X)
    assert not np.allclose(one.decision_function(new), other.decision_function(new), rtol=1e-3)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_verbose_prints_a_line_for_each_fitted_autoencoder(n_jobs, capfd):
    with joblib.parallel_config("threading"):
        quick(verbose=1, n_jobs=n_jobs, n_estimators=5).fit(correlated(40))
    lines = "".join(capfd.readouterr()).splitlines()
    assert sum("Done" in line and "finished" not in line for line in lines) >= (4 if n_jobs is None else 2)
    assert "5 out of   5" in lines[-1]
    quick(verbose=0).fit(correlated(40))
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize("n_estimators", [1, 3, 7])
def test_scores_are_means_over_n_estimators(n_estimators):
    X, new = correlated(100), correlated(20, seed=1)
    detector = quick("reconstruction", n_estimators=n_estimators).fit(X)
    assert len(detector.estimators_) == n_estimators
    assert detector.autoencoder_ is detector.estimators_[0]
    errors = [model.reconstruction_error(new) for model in detector.estimators_]
    np.testing.assert_allclose(detector.score_samples(new), -np.mean(errors, axis=0), rtol=1e-9)


@pytest.mark.parametrize("score", OUTLIER_SCORES)
@pytest.mark.parametrize("sizes", [(), (8,)], ids=["linear", "trained"])
def test_a_variational_autoencoder_can_be_used(score, sizes):
    vae = VAETransformer(2, hidden_layer_sizes=sizes, max_iter=3, early_stopping=False)
    detector = quick(score, vae).fit(correlated(150))
    assert all(isinstance(model, VAETransformer) for model in detector.estimators_)
    assert (detector.predict(scattered(10)) == -1).all()
    y = np.repeat([1, -1], [50, 10])
    samples = np.vstack([correlated(50, seed=1), scattered(10)])
    assert roc_auc_score(y, detector.score_samples(samples)) > 0.98
    assert np.isfinite(detector.explain(samples[48:52])).all()


def test_the_autoencoder_parameter_is_cloned():
    autoencoder = trained(random_state=3)
    before = {**vars(autoencoder)}
    detector = quick(autoencoder=autoencoder).fit(correlated(100))
    assert vars(autoencoder) == before
    assert detector.autoencoder is autoencoder
    assert autoencoder not in detector.estimators_


def test_each_autoencoder_has_its_own_seed():
    autoencoder = trained(random_state=3)
    detector = quick("reconstruction", autoencoder, robust=False, n_estimators=5).fit(correlated(100))
    seeds = {model.random_state for model in detector.estimators_}
    assert len(seeds) == 5
    assert 3 not in seeds
    codes = [model.transform(correlated(10)) for model in detector.estimators_]
    assert not np.allclose(codes[0], codes[1], atol=1e-4)


@pytest.mark.parametrize("invalid", [AutoencoderTransformer, PCA(2), "pca", 3], ids=str)
def test_invalid_autoencoders_are_refused(invalid):
    with pytest.raises(
        ValueError,
        match=r"'autoencoder' parameter of AEOutlierDetector.*AutoencoderTransformer.*VAETransformer",
    ):
        AEOutlierDetector(invalid).fit(correlated(30))


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
        ({"autoencoder": linear(-1)}, "'n_components' parameter of AutoencoderTransformer"),
        ({"autoencoder": linear(20)}, "n_components=20 must be between"),
    ],
    ids=str,
)
def test_errors_name_invalid_parameters(params, message):
    detector = quick().set_params(**params)
    with pytest.raises(ValueError, match=message):
        detector.fit(correlated(30))
    assert not hasattr(detector, "offset_")


# -- transform -------------------------------------------------------------------------------------------


def test_codes_are_those_of_the_first_autoencoder():
    detector, new = fitted(), correlated(20, seed=1)
    codes = detector.transform(new)
    np.testing.assert_array_equal(codes, detector.autoencoder_.transform(new))
    np.testing.assert_array_equal(
        detector.inverse_transform(codes), detector.autoencoder_.inverse_transform(codes)
    )
    np.testing.assert_allclose(
        clone(detector).fit_transform(correlated(200)), detector.transform(correlated(200))
    )
    assert list(detector.get_feature_names_out()) == ["aeoutlierdetector0", "aeoutlierdetector1"]


def test_data_frames_keep_index_and_feature_names():
    X = pd.DataFrame(correlated(80), columns=list("abcdef"), index=np.arange(80) + 5)
    detector = quick().set_output(transform="pandas").fit(X)
    codes = detector.transform(X)
    assert list(codes.columns) == ["aeoutlierdetector0", "aeoutlierdetector1"]
    assert list(codes.index) == list(X.index)
    assert list(detector.feature_names_in_) == list("abcdef")
    reference = quick().fit(X.to_numpy())
    np.testing.assert_array_equal(detector.score_samples(X), reference.score_samples(X.to_numpy()))
    for method in ("score_samples", "explain", "pvalues", "predict", "decision_function", "transform"):
        with pytest.raises(ValueError, match="feature names"):
            getattr(detector, method)(X[list("fedcba")])


@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_codes_keep_the_dtype_and_scores_are_in_double_precision(score):
    X, new = correlated(200), correlated(50, seed=1)
    single = quick(score, n_estimators=5).fit(X.astype(np.float32))
    codes = single.transform(new.astype(np.float32))
    assert codes.dtype == single.inverse_transform(codes).dtype == np.float32
    scores = single.score_samples(new.astype(np.float32))
    assert scores.dtype == single.explain(new[:5].astype(np.float32)).dtype == np.float64
    np.testing.assert_allclose(scores, fitted(score).score_samples(new), rtol=1e-2, atol=1e-2)
    assert fitted(score).transform(new).dtype == np.float64


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("score", OUTLIER_SCORES)
def test_sparse_and_dense_samples_give_the_same_result(score, robust):
    X = correlated(120)
    X[np.random.RandomState(0).uniform(size=X.shape) < 0.3] = 0
    detector = quick(score, robust=robust).fit(sparse.csr_array(X[:100]))
    dense = quick(score, robust=robust).fit(X[:100])
    new = X[110:]
    for method in ("score_samples", "explain", "pvalues", "predict", "transform"):
        expected = getattr(detector, method)(new)
        for container in (sparse.csr_array, sparse.csc_array, sparse.csr_matrix):
            values = getattr(detector, method)(container(new))
            np.testing.assert_allclose(values, expected, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(detector.score_samples(X[100:]), dense.score_samples(X[100:]), rtol=1e-4)


@pytest.mark.parametrize("method", ["score_samples", "predict", "pvalues", "explain", "transform"])
def test_invalid_samples_are_refused(method):
    call, X = getattr(fitted(), method), correlated(5)
    with pytest.raises(ValueError, match="infinity"):
        call(np.where(np.eye(5, 6), np.inf, X))
    with pytest.raises(ValueError, match="5 features, but AEOutlierDetector is expecting 6"):
        call(X[:, :5])
    with pytest.raises(ValueError, match="2D"):
        call(X[0])
    with pytest.raises(NotFittedError):
        getattr(quick(), method)(X)


@pytest.mark.parametrize(
    ("X", "message"), [(correlated(1), "minimum of 2"), (np.where(np.eye(6), np.inf, 1.0), "infinity")]
)
def test_invalid_training_samples_are_refused(X, message):
    with pytest.raises(ValueError, match=message):
        quick().fit(X)


# -- conventions of scikit-learn ---------------------------------------------------------------------------


def test_scores_after_a_scaler_do_not_depend_on_the_units_of_features():
    X, units = np.vstack([correlated(150), scattered(10)]), 10.0 ** np.arange(-3, 3)
    one, other = (make_pipeline(StandardScaler(), quick()).fit(samples) for samples in (X, units * X))
    np.testing.assert_allclose(other.score_samples(units * X), one.score_samples(X), rtol=1e-6)
    assert (one.predict(X)[150:] == -1).all()
    assert not hasattr(one, "score")


def test_searches_set_all_parameters():
    rng = np.random.RandomState(0)
    near = correlated(30, seed=1) + rng.normal(size=(30, 6))
    X, y = np.vstack([correlated(120), near]), np.repeat([1, -1], [120, 30])
    order = rng.permutation(len(X))
    grid = {
        "outlier_score": ["reconstruction", Neighbors(3)],
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


def test_searches_set_nested_parameters_of_the_score():
    X, y = np.vstack([correlated(60), scattered(6)]), np.repeat([1, -1], [60, 6])
    order = np.random.RandomState(0).permutation(66)
    grid = {"outlier_score__n_neighbors": [1, 4]}
    search = GridSearchCV(quick(Neighbors()), grid, scoring="roc_auc", cv=2, error_score="raise")
    best = search.fit(X[order], y[order]).best_estimator_
    assert best.outlier_score_.n_neighbors == search.best_params_["outlier_score__n_neighbors"]


@pytest.mark.parametrize("detector", [AEOutlierDetector(linear()), IsolationForest()], ids=["ours", "forest"])
def test_there_is_no_score_and_searches_need_a_scorer(detector):
    assert not hasattr(detector, "score")
    assert not hasattr(type(detector), "score")
    with pytest.raises(AttributeError, match="has no attribute 'score'"):
        detector.score(correlated(5))
    with pytest.raises(TypeError, match=r"If no scoring is specified, .* should have a 'score' method"):
        GridSearchCV(detector, {"n_estimators": [1, 2]}, cv=2).fit(correlated(30))


def test_the_score_is_shown_in_the_repr_and_the_diagram():
    detector = quick(Neighbors(3))
    assert repr(detector).replace("\n", "").count("outlier_score=Neighbors(n_neighbors=3)") == 1
    assert "outlier_score=" not in repr(AEOutlierDetector())
    assert "n_neighbors" in detector._repr_html_()


def test_parameters_are_set_by_name():
    detector = AEOutlierDetector(linear(3), outlier_score=Neighbors(3), robust=False)
    params = detector.get_params()
    assert params["autoencoder__n_components"] == params["outlier_score__n_neighbors"] == 3
    assert set(detector.get_params(deep=False)) == {
        *("autoencoder", "outlier_score", "contamination", "robust"),
        *("n_estimators", "n_jobs", "random_state", "verbose"),
    }
    detector.set_params(outlier_score__n_neighbors=1, autoencoder__n_components=2, contamination=0.2)
    twin = clone(detector)
    assert repr(twin.get_params()) == repr(detector.get_params())
    assert twin.outlier_score is not detector.outlier_score
    assert twin.set_params(outlier_score="mahalanobis").fit(correlated(50)).outlier_score_.residuals
    with pytest.raises(ValueError, match="Invalid parameter 'k'"):
        detector.set_params(outlier_score__k=1)


def test_get_params_accepts_a_class_that_was_passed_by_mistake():
    assert AEOutlierDetector(AutoencoderTransformer).get_params()["autoencoder"] is AutoencoderTransformer
    assert AEOutlierDetector(outlier_score=Neighbors).get_params()["outlier_score"] is Neighbors


def test_the_detector_is_an_outlier_detector():
    assert is_outlier_detector(AEOutlierDetector())
    assert fitted().n_features_in_ == 6
