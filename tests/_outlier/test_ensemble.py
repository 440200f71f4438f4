"""Members of the ensemble: judged by rows that they have not seen, on a scale set by these."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer
from sklearn_ae._outlier import ensemble as _detecting
from sklearn_ae._outlier.ensemble import Calibration, FoldDetector, default_autoencoder, folds, training_ranks
from sklearn_ae.outlier_scores import (
    LogLikelihood,
    Mahalanobis,
    Nats,
    Neighbors,
    Reconstruction,
    SquaredError,
)


class Recording(AutoencoderTransformer):
    """Keeps the rows that it was fitted on."""

    def fit(self, X, y=None):
        self.seen_ = X.copy()
        return super().fit(X)


def linear(k=2):
    return Recording(k, hidden_layer_sizes=())


def normal(n, d=5, seed=0):
    rng = np.random.RandomState(seed)
    return rng.normal(size=(n, d)) @ (np.eye(d) + np.random.RandomState(99).normal(size=(d, d)))


def is_in(rows, others):
    return (rows[:, None] == others).all(axis=2).any(axis=1)


def member_of(X, train, held_out, score=None, robust=False, seed=0):
    return FoldDetector.fit(linear(), score or Neighbors(), X, train, held_out, robust, seed)


# -- folds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [10, 11, 57, 200])
@pytest.mark.parametrize("n_estimators", [1, 3, 5])
def test_each_member_is_without_a_fifth_of_the_rows(n, n_estimators):
    splits = folds(n, n_estimators, 0)
    assert len(splits) == n_estimators
    held = np.concatenate([held_out for _, held_out in splits])
    assert len(set(held)) == len(held)
    for train, held_out in splits:
        np.testing.assert_array_equal(np.sort(np.r_[train, held_out]), np.arange(n))
        assert abs(len(held_out) - n / 5) < 1


@pytest.mark.parametrize(("n", "n_estimators"), [(10, 5), (57, 5), (57, 9)])
def test_all_rows_are_held_out_once(n, n_estimators):
    held = np.concatenate([held_out for _, held_out in folds(n, n_estimators, 0)])
    np.testing.assert_array_equal(np.sort(held), np.arange(n))


@pytest.mark.parametrize("n", [4, 5, 8])
def test_of_few_rows_each_is_held_out_by_some_member(n):
    splits = folds(n, 5, 0)
    assert set(np.concatenate([held_out for _, held_out in splits])) == set(range(n))
    for train, held_out in splits:
        assert not set(train) & set(held_out)
        assert min(len(train), len(held_out)) >= 2


@pytest.mark.parametrize("n", [2, 3])
def test_too_few_rows_to_split_are_all_seen(n):
    for train, held_out in folds(n, 5, 0):
        np.testing.assert_array_equal(train, np.arange(n))
        np.testing.assert_array_equal(held_out, np.arange(n))


def test_the_seed_decides_the_folds_and_their_rows_are_mixed():
    one, twin, other = (folds(100, 5, seed)[0][1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, twin)
    assert set(one) != set(other)
    assert set(one) != set(range(20))


# -- scale ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fitted_score", [SquaredError(), Nats()], ids=["squared", "nats"])
def test_the_middle_is_0_and_the_last_tenth_starts_at_1(fitted_score):
    measured = np.random.RandomState(0).gamma(2.0, size=1001)
    standard = Calibration.of(fitted_score, measured).standardise(fitted_score, measured)
    assert np.quantile(standard, 0.5) == pytest.approx(0, abs=1e-12)
    assert np.quantile(standard, 0.9) == pytest.approx(1)
    assert (np.diff(standard[np.argsort(measured)]) > 0).all()


@pytest.mark.parametrize("c", [1e-8, 1e8])
def test_the_unit_of_squared_distances_does_not_matter(c):
    measured, fresh = np.random.RandomState(0).gamma(2.0, size=(2, 200))
    one, other = (Calibration.of(SquaredError(), unit * measured) for unit in (1, c))
    np.testing.assert_allclose(
        other.standardise(SquaredError(), c * fresh), one.standardise(SquaredError(), fresh), atol=1e-9
    )
    assert other.typical(SquaredError()) == pytest.approx(c * one.typical(SquaredError()))


def test_distances_are_compared_by_ratios_and_nats_by_differences():
    measured = np.random.RandomState(0).gamma(2.0, size=200)
    ratios = Calibration.of(SquaredError(), measured).standardise(SquaredError(), np.array([1.0, 10, 100]))
    differences = Calibration.of(Nats(), measured - 50).standardise(Nats(), np.array([-50.0, -40, -30]))
    for steps in (np.diff(ratios), np.diff(differences)):
        assert steps[0] == pytest.approx(steps[1])
        assert steps[0] > 0.5


def test_the_typical_measure_is_the_median_of_distances():
    measured = np.random.RandomState(0).gamma(2.0, size=201)
    assert Calibration.of(SquaredError(), measured).typical(SquaredError()) == pytest.approx(
        np.median(measured)
    )


@pytest.mark.parametrize("fitted_score", [SquaredError(), Nats()], ids=["squared", "nats"])
@pytest.mark.parametrize("value", [0.0, 1e-300, 3.0, 1e300])
def test_equal_measures_have_a_finite_scale(fitted_score, value):
    scale = Calibration.of(fitted_score, np.full(7, value))
    at, above = scale.standardise(fitted_score, np.array([value, 2 * value + 1]))
    assert at == 0
    assert 0 <= above < np.inf
    assert 0 < scale.typical(fitted_score) < np.inf


def test_zeros_among_distances_are_short_not_infinitely_far():
    measured = np.r_[np.zeros(30), np.random.RandomState(0).gamma(2.0, size=71)]
    scale = Calibration.of(SquaredError(), measured)
    standard = scale.standardise(SquaredError(), measured)
    assert np.isfinite(standard).all()
    assert standard[:30].max() < standard[30:].min()


# -- members --------------------------------------------------------------------------------


OUTLIER_SCORES = [Neighbors(), Neighbors(1) | Mahalanobis(), LogLikelihood() | Reconstruction()]


@pytest.mark.parametrize("score", OUTLIER_SCORES, ids=str)
def test_held_out_rows_set_the_scale_of_every_gauge(score):
    X = normal(505)
    member = member_of(X, np.arange(404), np.arange(404, 505), score)
    (rows,) = member.views(X[404:])
    for fitted_score, scale in zip(member.fitted_scores, member.scales, strict=True):
        standard = scale.standardise(fitted_score, fitted_score.measure(rows))
        np.testing.assert_allclose(np.quantile(standard, [0.5, 0.9]), [0, 1], atol=1e-9)


def test_the_scale_of_a_robust_member_is_that_of_normal_held_out_rows():
    X = normal(1000)
    odd = np.arange(1000) % 5 == 0
    X[odd] += 50
    member = member_of(X, np.arange(500, 1000), np.arange(500), robust=True)
    (rows,) = member.views(X[:500][~odd[:500]])
    for fitted_score, scale in zip(member.fitted_scores, member.scales, strict=True):
        standard = scale.standardise(fitted_score, fitted_score.measure(rows))
        np.testing.assert_allclose(np.quantile(standard, [0.5, 0.9]), [0, 1], atol=0.2)
    np.testing.assert_array_equal(member.held_out_scores, np.sort(member.score(X[:500])))


@pytest.mark.parametrize("score", OUTLIER_SCORES, ids=str)
def test_the_score_is_that_of_the_gauge_that_is_farthest_out(score):
    X, fresh = normal(300), normal(60, seed=1)
    member = member_of(X, np.arange(200), np.arange(200, 300), score)
    (rows,) = member.views(fresh)
    pairs = list(zip(member.fitted_scores, member.scales, strict=True))
    standard = np.stack(
        [scale.standardise(fitted_score, fitted_score.measure(rows)) for fitted_score, scale in pairs]
    )
    np.testing.assert_allclose(member.score(fresh), -standard.max(axis=0), rtol=1e-12)
    decides = standard.argmax(axis=0)
    assert len(set(decides)) == len(pairs)
    for i, (fitted_score, scale) in enumerate(pairs):
        expected = fitted_score.contributions(rows) / scale.typical(fitted_score)
        np.testing.assert_allclose(member.contributions(fresh)[decides == i], expected[decides == i])


@pytest.mark.parametrize("robust", [True, False])
def test_nothing_learns_from_held_out_rows(robust):
    """Not even the choice of the core: with other rows in their place all is the same."""
    X = normal(300)
    train, held_out = np.arange(240), np.arange(240, 300)
    other = X.copy()
    other[held_out] = 30 * normal(60, seed=1)
    one, two = (member_of(rows, train, held_out, robust=robust) for rows in (X, other))
    np.testing.assert_array_equal(one.autoencoder.seen_, two.autoencoder.seen_)
    (rows,) = one.views(normal(20, seed=2))
    for a, b in zip(one.fitted_scores, two.fitted_scores, strict=True):
        np.testing.assert_array_equal(a.measure(rows), b.measure(rows))
    assert not is_in(X[held_out], one.autoencoder.seen_).any()
    assert is_in(one.autoencoder.seen_, X[train]).all()
    np.testing.assert_array_equal(one.held_out_scores, np.sort(one.score(X[held_out])))


def test_a_robust_member_learns_from_the_core_of_its_rows():
    X = normal(300)
    X[:50] += 40
    robust, naive = (member_of(X, np.arange(240), np.arange(240, 300), robust=r) for r in (True, False))
    assert not is_in(X[:50], robust.autoencoder.seen_).any()
    assert is_in(X[50:240], robust.autoencoder.seen_).mean() > 0.9
    np.testing.assert_array_equal(naive.autoencoder.seen_, X[:240])


@pytest.mark.parametrize("robust", [True, False])
def test_each_row_is_unseen_by_one_member_of_the_detector(robust):
    X = normal(103)
    detector = AEOutlierDetector(linear(), robust=robust, random_state=0).fit(X)
    unseen = np.array([~is_in(X, model.seen_) for model in detector.estimators_])
    if not robust:
        assert (unseen.sum(axis=0) == 1).all()
    held = [len(member.held_out_scores) for member in detector._members]
    assert sum(held) == 103
    for member, rows in zip(detector._members, unseen, strict=True):
        assert np.isin(member.held_out_scores, member.score(X)[rows]).all()
        if not robust:
            np.testing.assert_array_equal(member.held_out_scores, np.sort(member.score(X)[rows]))


@pytest.mark.parametrize("scores", [[-3.0, -1.0, 0.0, 0.5, 9.0], [-1.0, -1.0]])
def test_held_out_rows_are_ranked_with_ties(scores):
    X = normal(50)
    member = member_of(X, np.arange(40), np.arange(40, 50))
    member.held_out_scores = np.array([-2.0, -1.0, -1.0, 0.5])
    expected = [np.mean([held <= score for held in member.held_out_scores]) for score in scores]
    np.testing.assert_array_equal(member.rank(np.array(scores)), expected)


def test_training_rows_are_ranked_among_those_that_a_member_has_seen_or_has_not():
    scores = np.array([[5.0, 1.0, 2.0, 2.0, 9.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    splits = [(np.array([0, 1, 2]), np.array([3, 4])), (np.array([2, 3, 4]), np.array([0, 1]))]
    first = [2 / 3, 0.0, 1 / 3, 0.0, 1 / 2]  # share of the other rows of the group that are at most as normal
    second = [0.0, 1 / 2, 0.0, 1 / 3, 2 / 3]
    expected = np.sort(np.mean([first, second], axis=0))
    np.testing.assert_allclose(training_ranks(scores, splits), expected)


def test_members_differ_by_their_seeds():
    X = normal(100)
    trained = AutoencoderTransformer(2, hidden_layer_sizes=(8,), max_iter=3, early_stopping=False)
    train, held_out = np.arange(80), np.arange(80, 100)
    one, twin, other = (
        FoldDetector.fit(trained, Reconstruction(), X, train, held_out, False, seed).score(X)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, twin)
    assert not np.allclose(one, other, rtol=1e-4)


@pytest.mark.parametrize("values", [1, 7, 60])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array, sparse.csc_array])
def test_blocks_do_not_change_what_is_said_of_rows(values, container, monkeypatch):
    X, fresh = normal(100), normal(33, seed=1)
    member = member_of(X, np.arange(80), np.arange(80, 100), Neighbors() | Mahalanobis())
    scores, parts = member.score(fresh), member.contributions(fresh)
    monkeypatch.setattr(_detecting, "_BLOCK_VALUES", values)
    assert len(list(member.views(fresh))) > 1
    np.testing.assert_allclose(member.score(container(fresh)), scores, rtol=1e-9)
    np.testing.assert_allclose(member.contributions(container(fresh)), parts, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("robust", [True, False])
def test_members_of_very_few_rows_are_finite(n, robust):
    X = normal(n)
    member = FoldDetector.fit(None, Neighbors(), X, np.arange(n), np.arange(n), robust, 0)
    values = member.score(normal(5, seed=1)), member.contributions(normal(5, seed=1))
    assert all(np.isfinite(value).all() for value in values)
    assert member.score(100 + X).max() < member.held_out_scores.min()


# -- the default autoencoder ------------------------------------------------------------------


@pytest.mark.parametrize(("d", "k"), [(1, 1), (4, 1), (5, 2), (30, 8), (64, 16), (1000, 16)])
def test_the_default_has_a_component_for_four_columns_and_sixteen_at_most(d, k):
    assert default_autoencoder(1000, d).n_components == k
    assert default_autoencoder(20, d).n_components == min(5, k)
    assert default_autoencoder(3, d).n_components == 1


@pytest.mark.parametrize("n", [10, 300, 2000, 10**5])
def test_the_default_is_trained_for_about_500_steps(n):
    model = default_autoencoder(n, 8)
    steps = model.max_iter * -(-n // model.batch_size)
    assert steps == 150 if n < model.batch_size else 450 <= steps < 500 + n / model.batch_size


def test_only_the_default_s_small_budget_is_not_the_user_s_to_raise(curve, monkeypatch):
    monkeypatch.setattr(_detecting, "_STEPS", 20)
    train, held_out = np.arange(480), np.arange(480, 600)
    given = curve, train, held_out, False, 0
    default = FoldDetector.fit(None, Reconstruction(), *given)
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        named = FoldDetector.fit(default_autoencoder(480, 5), Reconstruction(), *given)
    np.testing.assert_array_equal(default.score(curve), named.score(curve))
    assert default.autoencoder.uses_network_
