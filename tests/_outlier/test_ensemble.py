"""FoldDetector: calibration by held-out samples, folds, ranks, and the default autoencoder."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer
from sklearn_ae._outlier import ensemble
from sklearn_ae._outlier.ensemble import (
    Calibration,
    Fold,
    FoldDetector,
    TrainingRanks,
    default_autoencoder,
    make_folds,
)
from sklearn_ae.outlier_scores import Contrast, LogLikelihood, Mahalanobis, Neighbors, Reconstruction, Sum

SCORES = [
    Neighbors(),
    Neighbors(1) | Mahalanobis(),
    LogLikelihood() | Reconstruction(),
    Neighbors(1) + Mahalanobis(),
    LogLikelihood() + Reconstruction(),
]


class Recording(AutoencoderTransformer):
    """Autoencoder that keeps its training samples."""

    def fit(self, X, y=None):
        self.training_samples_ = X.copy()
        return super().fit(X)


def linear(k=2):
    return Recording(k, hidden_layer_sizes=())


def normal(n, d=5, seed=0):
    rng = np.random.RandomState(seed)
    return rng.normal(size=(n, d)) @ (np.eye(d) + np.random.RandomState(99).normal(size=(d, d)))


def is_in(samples, others):
    return (samples[:, None] == others).all(axis=2).any(axis=1)


def split(n_train, n_held_out):
    """Return a fold whose held-out samples follow the training samples."""
    return Fold(np.arange(n_train), np.arange(n_train, n_train + n_held_out))


def fit_fold(X, fold, score=None, robust=False, seed=0):
    return FoldDetector.fit(linear(), score or Neighbors(), X, fold, robust=robust, seed=seed)


# -- folds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [10, 11, 57, 200])
@pytest.mark.parametrize("n_estimators", [1, 3, 5])
def test_each_fold_holds_out_a_fifth_of_the_samples(n, n_estimators):
    folds = make_folds(n, n_estimators, 0)
    assert len(folds) == n_estimators
    held_out = np.concatenate([fold.held_out for fold in folds])
    assert len(set(held_out)) == len(held_out)
    for fold in folds:
        np.testing.assert_array_equal(np.sort(np.concatenate(fold)), np.arange(n))
        assert abs(len(fold.held_out) - n / 5) < 1


@pytest.mark.parametrize(("n", "n_estimators"), [(10, 5), (57, 5), (57, 9)])
def test_every_sample_is_held_out_once(n, n_estimators):
    held_out = np.concatenate([fold.held_out for fold in make_folds(n, n_estimators, 0)])
    np.testing.assert_array_equal(np.sort(held_out), np.arange(n))


@pytest.mark.parametrize("n", [4, 5, 8])
def test_each_of_few_samples_is_held_out(n):
    folds = make_folds(n, 5, 0)
    assert set(np.concatenate([fold.held_out for fold in folds])) == set(range(n))
    for fold in folds:
        assert not set(fold.train) & set(fold.held_out)
        assert min(len(fold.train), len(fold.held_out)) >= 2


@pytest.mark.parametrize("n", [2, 3])
def test_too_few_samples_to_split_are_both_trained_on_and_held_out(n):
    for fold in make_folds(n, 5, 0):
        np.testing.assert_array_equal(fold.train, np.arange(n))
        np.testing.assert_array_equal(fold.held_out, np.arange(n))


def test_folds_are_shuffled_by_the_seed():
    one, same_seed, other_seed = (make_folds(100, 5, seed)[0].held_out for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same_seed)
    assert set(one) != set(other_seed)
    assert set(one) != set(range(20))


# -- calibration ----------------------------------------------------------------------------


@pytest.mark.parametrize("squared", [True, False])
def test_the_median_is_0_and_the_90_percent_quantile_is_1(squared):
    values = np.random.RandomState(0).gamma(2.0, size=1001)
    standardised = Calibration.fit(values, squared=squared).standardise(values)
    assert np.quantile(standardised, 0.5) == pytest.approx(0, abs=1e-12)
    assert np.quantile(standardised, 0.9) == pytest.approx(1)
    assert (np.diff(standardised[np.argsort(values)]) > 0).all()


@pytest.mark.parametrize("c", [1e-8, 1e8])
def test_calibration_does_not_depend_on_the_unit_of_squared_distances(c):
    values, new = np.random.RandomState(0).gamma(2.0, size=(2, 200))
    one, other = (Calibration.fit(unit * values, squared=True) for unit in (1, c))
    np.testing.assert_allclose(other.standardise(c * new), one.standardise(new), atol=1e-9)
    assert other.typical_value == pytest.approx(c * one.typical_value)


def test_squared_distances_are_compared_by_ratios_and_nats_by_differences():
    values = np.random.RandomState(0).gamma(2.0, size=200)
    ratios = Calibration.fit(values, squared=True).standardise(np.array([1.0, 10, 100]))
    differences = Calibration.fit(values - 50, squared=False).standardise(np.array([-50.0, -40, -30]))
    for steps in (np.diff(ratios), np.diff(differences)):
        assert steps[0] == pytest.approx(steps[1])
        assert steps[0] > 0.5


def test_the_typical_value_of_squared_distances_is_their_median():
    values = np.random.RandomState(0).gamma(2.0, size=201)
    assert Calibration.fit(values, squared=True).typical_value == pytest.approx(np.median(values))


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("value", [0.0, 1e-300, 3.0, 1e300])
def test_equal_values_have_a_finite_calibration(squared, value):
    calibration = Calibration.fit(np.full(7, value), squared=squared)
    equal, above = calibration.standardise(np.array([value, 2 * value + 1]))
    assert equal == 0
    assert 0 <= above < np.inf
    assert 0 < calibration.typical_value < np.inf


def test_squared_distances_of_0_are_finite_and_below_the_others():
    values = np.r_[np.zeros(30), np.random.RandomState(0).gamma(2.0, size=71)]
    standardised = Calibration.fit(values, squared=True).standardise(values)
    assert np.isfinite(standardised).all()
    assert standardised[:30].max() < standardised[30:].min()


# -- detector of a fold ---------------------------------------------------------------------


def standardised(fold_detector, X):
    """Return the calibrated values of X by each fitted score."""
    (samples,) = fold_detector.blocks(X)
    pairs = zip(fold_detector.fitted_scores, fold_detector.calibrations, strict=True)
    return [calibration.standardise(fitted.outlyingness(samples)) for fitted, calibration in pairs]


@pytest.mark.parametrize("score", SCORES, ids=str)
def test_held_out_samples_calibrate_every_fitted_score(score):
    X = normal(505)
    for values in standardised(fit_fold(X, split(404, 101), score), X[404:]):
        np.testing.assert_allclose(np.quantile(values, [0.5, 0.9]), [0, 1], atol=1e-9)


def test_only_normal_held_out_samples_calibrate_if_robust():
    X = normal(1000)
    odd = np.arange(1000) % 5 == 0
    X[odd] += 50
    fold_detector = fit_fold(X, Fold(np.arange(500, 1000), np.arange(500)), robust=True)
    for values in standardised(fold_detector, X[:500][~odd[:500]]):
        np.testing.assert_allclose(np.quantile(values, [0.5, 0.9]), [0, 1], atol=0.2)


@pytest.mark.parametrize("robust", [True, False])
def test_held_out_scores_are_the_sorted_scores_of_all_held_out_samples(robust):
    X = normal(1000)
    X[::5] += 50
    fold_detector = fit_fold(X, Fold(np.arange(500, 1000), np.arange(500)), robust=robust)
    expected = np.sort(fold_detector.score_samples(X[:500]))
    np.testing.assert_array_equal(fold_detector.held_out_scores, expected)


@pytest.mark.parametrize("score", SCORES, ids=str)
def test_calibrated_values_are_joined_and_the_largest_is_explained(score):
    """The largest value counts, or the sum of how far the terms exceed 0, calibrated again."""
    X, new = normal(300), normal(60, seed=1)
    fold_detector = fit_fold(X, split(200, 100), score)
    values = np.stack(standardised(fold_detector, new))

    def total(values):
        if not isinstance(score, Sum):
            return values.max(axis=0)
        parts = [values[:2].max(axis=0), values[2]] if len(values) == 3 else values
        return np.sum([np.log1p(np.exp(4 * part)) / 4 for part in parts], axis=0)

    expected = total(values)
    if isinstance(score, Sum):
        centre, upper = np.quantile(total(np.stack(standardised(fold_detector, X[200:]))), [0.5, 0.9])
        expected = (expected - centre) / (upper - centre)
    np.testing.assert_allclose(fold_detector.score_samples(new), -expected, rtol=1e-9, atol=1e-9)
    largest = values.argmax(axis=0)
    assert len(set(largest)) == len(values)
    (samples,) = fold_detector.blocks(new)
    parts = fold_detector.contributions(new)
    for i, calibration in enumerate(fold_detector.calibrations):
        expected = fold_detector.fitted_scores[i].contributions(samples) / calibration.typical_value
        np.testing.assert_allclose(parts[largest == i], expected[largest == i])


@pytest.mark.parametrize("robust", [True, False])
def test_nothing_is_fitted_to_held_out_samples(robust):
    """Neither the inlier core nor the scores change with other held-out samples."""
    X, fold = normal(300), split(240, 60)
    other = X.copy()
    other[fold.held_out] = 30 * normal(60, seed=1)
    one, two = (fit_fold(samples, fold, robust=robust) for samples in (X, other))
    np.testing.assert_array_equal(one.autoencoder.training_samples_, two.autoencoder.training_samples_)
    (samples,) = one.blocks(normal(20, seed=2))
    for a, b in zip(one.fitted_scores, two.fitted_scores, strict=True):
        np.testing.assert_array_equal(a.outlyingness(samples), b.outlyingness(samples))
    assert not is_in(X[fold.held_out], one.autoencoder.training_samples_).any()
    assert is_in(one.autoencoder.training_samples_, X[fold.train]).all()
    np.testing.assert_array_equal(one.held_out_scores, np.sort(one.score_samples(X[fold.held_out])))


def test_the_autoencoder_is_trained_on_the_inlier_core_if_robust():
    X = normal(300)
    X[:50] += 40
    robust, naive = (fit_fold(X, split(240, 60), robust=r).autoencoder for r in (True, False))
    assert not is_in(X[:50], robust.training_samples_).any()
    assert is_in(X[50:240], robust.training_samples_).mean() > 0.9
    np.testing.assert_array_equal(naive.training_samples_, X[:240])


@pytest.mark.parametrize("robust", [True, False])
def test_every_sample_is_held_out_by_one_fold_of_the_detector(robust, unperturbed):
    X = normal(103)
    detector = AEOutlierDetector(linear(), robust=robust, random_state=0).fit(X)
    unseen = np.array([~is_in(X, model.training_samples_) for model in detector.estimators_])
    if not robust:
        assert (unseen.sum(axis=0) == 1).all()
    assert sum(len(fold.held_out_scores) for fold in detector._fold_detectors) == 103
    for fold_detector, mask in zip(detector._fold_detectors, unseen, strict=True):
        scores = fold_detector.score_samples(X)[mask]
        assert np.isin(fold_detector.held_out_scores, scores).all()
        if not robust:
            np.testing.assert_array_equal(fold_detector.held_out_scores, np.sort(scores))


@pytest.mark.parametrize("scores", [[-3.0, -1.0, 0.0, 0.5, 9.0], [-1.0, -1.0]])
def test_ranks_among_held_out_samples_count_ties(scores):
    fold_detector = fit_fold(normal(50), split(40, 10))
    fold_detector.held_out_scores = np.array([-2.0, -1.0, -1.0, 0.5])
    expected = [np.mean(fold_detector.held_out_scores <= score) for score in scores]
    np.testing.assert_array_equal(fold_detector.rank(np.array(scores)), expected)


def test_training_ranks_compare_training_and_held_out_samples_separately():
    scores = np.array([[5.0, 1.0, 2.0, 2.0, 9.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    folds = [
        Fold(np.array([0, 1, 2]), np.array([3, 4])),
        Fold(np.array([2, 3, 4]), np.array([0, 1])),
    ]
    # Fractions of the group, without the sample itself, that are at most as normal
    first = [2 / 3, 0.0, 1 / 3, 0.0, 1 / 2]
    second = [0.0, 1 / 2, 0.0, 1 / 3, 2 / 3]
    expected = np.mean([first, second], axis=0)
    ranks = TrainingRanks(scores, folds, np.array([1, 1, 1, 2, 1]))
    np.testing.assert_allclose(ranks.ordered, np.sort([*expected, expected[3]]))
    assert ranks.expected_copies == pytest.approx(8 / 6)


@pytest.mark.parametrize("n_equal", [1, 4])
def test_a_sample_is_at_most_as_far_out_as_training_samples_of_the_same_score(n_equal):
    rng = np.random.RandomState(0)
    scores = np.tile(np.append(rng.normal(size=16), [[-np.inf]] + [[-3.0]] * n_equal), (2, 1))
    n = scores.shape[1]
    ranks = TrainingRanks(scores, [Fold(*np.array_split(np.arange(n), 2))] * 2, np.ones(n, dtype=int))
    p = ranks.pvalues(np.array([-3.0 * (1 + 1e-9), -2.9999, -np.inf, -5.0]), np.zeros(4))
    highest = [ranks.highest[ranks.scores == score][0] for score in (-3.0, -np.inf)]
    expected = [np.sum(ranks.ordered <= rank) for rank in (highest[0], 0.0, highest[1], 0.0)]
    np.testing.assert_allclose(p * (n + 1) - 1, expected)
    assert expected[0] >= n_equal


def test_training_depends_on_the_seed():
    X = normal(100)
    trained = AutoencoderTransformer(2, hidden_layer_sizes=(8,), max_iter=3, early_stopping=False)
    given = trained, Reconstruction(), X, split(80, 20)
    one, same_seed, other_seed = (
        FoldDetector.fit(*given, robust=False, seed=seed).score_samples(X) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same_seed)
    assert not np.allclose(one, other_seed, rtol=1e-4)


@pytest.mark.parametrize("n_values", [1, 7, 60])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array, sparse.csc_array])
def test_results_do_not_depend_on_the_size_of_blocks(n_values, container, monkeypatch):
    X, new = normal(100), normal(33, seed=1)
    fold_detector = fit_fold(X, split(80, 20), Neighbors() | Mahalanobis())
    scores, parts = fold_detector.score_samples(new), fold_detector.contributions(new)
    monkeypatch.setattr(ensemble, "_BLOCK_VALUES", n_values)
    assert len(list(fold_detector.blocks(new))) > 1
    np.testing.assert_allclose(fold_detector.score_samples(container(new)), scores, rtol=1e-9)
    np.testing.assert_allclose(fold_detector.contributions(container(new)), parts, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("robust", [True, False])
def test_results_with_very_few_samples_are_finite(n, robust):
    X, new = normal(n), normal(5, seed=1)
    fold = Fold(np.arange(n), np.arange(n))
    fold_detector = FoldDetector.fit(None, Neighbors(), X, fold, robust=robust, seed=0)
    assert np.isfinite(fold_detector.score_samples(new)).all()
    assert np.isfinite(fold_detector.contributions(new)).all()
    assert fold_detector.score_samples(100 + X).max() < fold_detector.held_out_scores.min()


# -- the default autoencoder ------------------------------------------------------------------


@pytest.mark.parametrize(("d", "k"), [(1, 1), (4, 1), (5, 2), (30, 8), (64, 16), (1000, 16)])
def test_the_default_has_one_component_per_four_features_and_at_most_sixteen(d, k):
    for linear in (True, False):
        assert default_autoencoder(1000, d, linear=linear).n_components == k
        assert default_autoencoder(20, d, linear=linear).n_components == min(5, k)
        assert default_autoencoder(3, d, linear=linear).n_components == 1


@pytest.mark.parametrize(
    ("score", "linear"),
    [
        (Neighbors(1) + Contrast(), True),
        (Neighbors() | Mahalanobis(residuals=False), True),
        (Reconstruction(), False),
        (Neighbors() | LogLikelihood(), False),
        (Mahalanobis(), False),
    ],
    ids=str,
)
def test_the_default_is_linear_unless_the_score_needs_a_network(score, linear, curve):
    """A linear autoencoder equals PCA with the same number of components."""
    fold_detector = FoldDetector.fit(None, score, curve, split(480, 120), robust=False, seed=0)
    pca = PCA(2).fit(curve[:480])
    expected = np.square(curve - pca.inverse_transform(pca.transform(curve))).sum(axis=1)
    model = fold_detector.autoencoder
    errors = np.square(curve - model.inverse_transform(model.transform(curve))).sum(axis=1)
    assert np.allclose(errors, expected, rtol=1e-3, atol=1e-6) == linear
    assert linear or errors.mean() < 0.7 * expected.mean()


@pytest.mark.parametrize("n", [10, 300, 2000, 10**5])
def test_the_default_network_is_trained_for_about_350_steps(n):
    model = default_autoencoder(n, 8, linear=False)
    steps = model.max_iter * -(-n // model.batch_size)
    assert steps == 150 if n < model.batch_size else 350 <= steps < 351 + n / model.batch_size


def test_the_default_emits_no_convergence_warning(curve, monkeypatch):
    monkeypatch.setattr(ensemble, "_N_STEPS", 20)
    given = Reconstruction(), curve, split(480, 120)
    default = FoldDetector.fit(None, *given, robust=False, seed=0)
    network = default_autoencoder(480, 5, linear=False)
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        explicit = FoldDetector.fit(network, *given, robust=False, seed=0)
    np.testing.assert_array_equal(default.score_samples(curve), explicit.score_samples(curve))
    assert default.autoencoder.uses_network_


@pytest.mark.parametrize("d", [2, 30, 300])
def test_blocks_are_limited_by_the_distances_to_the_references(d):
    """A block of samples with few features needs much more memory for distances than for itself."""
    X = normal(5_000, d)
    fold = fit_fold(X[:100], split(80, 20), Neighbors())
    sizes = [len(samples.x) for samples in fold.blocks(X)]
    assert sum(sizes) == 5_000
    assert max(sizes) <= 1024
