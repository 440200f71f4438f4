"""Scores: every fitted_score agrees with an independent oracle, and scores are options like any other."""

import pickle

import numpy as np
import pytest
from scipy.stats import multivariate_normal, spearmanr
from sklearn.base import clone
from sklearn.neighbors import NearestNeighbors

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, VAETransformer
from sklearn_ae._utils.covariance import ShrunkCovariance
from sklearn_ae.outlier_scores import (
    OUTLIER_SCORES,
    Auto,
    Either,
    LogLikelihood,
    Mahalanobis,
    Neighbors,
    OutlierScore,
    ReconstructedSamples,
    Reconstruction,
)


def no_likelihood(x):
    raise AssertionError("this score needs no likelihood")


def seen(n, d=4, seed=0, log_likelihood=no_likelihood):
    """Rows, and a reconstruction that is another function of them."""
    x = np.random.RandomState(seed).normal(size=(n, d))
    return ReconstructedSamples(x, np.sin(x) + 0.3 * x[:, ::-1], log_likelihood)


def rows_of(model, X):
    """Rows as the detector makes them."""
    return ReconstructedSamples(X, model.inverse_transform(model.transform(X)), model.score_samples)


def fitted(score, rows, seed=0):
    return score.fitted_scores(rows, np.random.RandomState(seed))


def correlated(n, seed=0):
    loadings = np.random.RandomState(99).normal(size=(2, 6))
    rng = np.random.RandomState(seed)
    return 3 + rng.normal(size=(n, 2)) @ loadings + 0.3 * rng.normal(size=(n, 6))


def detector(score):
    return AEOutlierDetector(
        AutoencoderTransformer(1, hidden_layer_sizes=()), outlier_score=score, random_state=0
    )


# -- reconstruction ----------------------------------------------------------------------


def test_reconstruction_is_the_squared_error():
    model = AutoencoderTransformer(2, hidden_layer_sizes=()).fit(correlated(100))
    rows = rows_of(model, correlated(30, seed=1))
    (fitted_score,) = fitted(Reconstruction(), rows)
    np.testing.assert_allclose(fitted_score.measure(rows), model.reconstruction_error(rows.x), rtol=1e-9)
    np.testing.assert_allclose(fitted_score.contributions(rows), (rows.x - rows.x_hat) ** 2, rtol=1e-12)


# -- log-likelihood ----------------------------------------------------------------------


@pytest.mark.parametrize("cls", [AutoencoderTransformer, VAETransformer])
def test_log_likelihood_is_that_of_the_model(cls):
    model = cls(2, hidden_layer_sizes=()).fit(correlated(100))
    rows = rows_of(model, correlated(30, seed=1))
    (fitted_score,) = fitted(LogLikelihood(), rows)
    np.testing.assert_allclose(fitted_score.measure(rows), -model.score_samples(rows.x), rtol=1e-9)


def test_nats_of_a_column_are_gained_where_it_is_replaced_by_its_reconstruction():
    normal = multivariate_normal(np.zeros(3), [[1, 0.9, 0], [0.9, 1, 0], [0, 0, 4]])
    rows = seen(20, d=3, log_likelihood=normal.logpdf)
    before = rows.x.copy()
    (fitted_score,) = fitted(LogLikelihood(), rows)
    gains = fitted_score.contributions(rows)
    for j in range(3):
        mended = np.column_stack([rows.x_hat[:, i] if i == j else rows.x[:, i] for i in range(3)])
        np.testing.assert_allclose(gains[:, j], normal.logpdf(mended) - normal.logpdf(rows.x), rtol=1e-9)
    np.testing.assert_array_equal(rows.x, before)


# -- Mahalanobis -------------------------------------------------------------------------


@pytest.mark.parametrize("residuals", [True, False])
@pytest.mark.parametrize("n", [200, 6])
def test_mahalanobis_is_the_scatter_of_row_and_residual(residuals, n):
    train, fresh = seen(n), seen(50, seed=1)
    (fitted_score,) = fitted(Mahalanobis(residuals=residuals), train)

    def space(rows):
        return np.hstack([rows.x, rows.x - rows.x_hat]) if residuals else rows.x

    scatter = ShrunkCovariance.fit(space(train))
    np.testing.assert_allclose(fitted_score.measure(fresh), scatter.distance(space(fresh)), rtol=1e-9)
    parts = scatter.contributions(space(fresh))
    expected = parts[:, :4] + parts[:, 4:] if residuals else parts
    np.testing.assert_allclose(fitted_score.contributions(fresh), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        fitted_score.contributions(fresh).sum(axis=1), fitted_score.measure(fresh), rtol=1e-9
    )


@pytest.mark.parametrize("residuals", [True, False])
def test_beside_a_linear_autoencoder_it_is_the_distance_of_the_row(residuals):
    X, fresh = correlated(5000), 2 * correlated(300, seed=1) - 3
    model = AutoencoderTransformer(2, hidden_layer_sizes=()).fit(X)
    (fitted_score,) = fitted(Mahalanobis(residuals=residuals), rows_of(model, X))
    z = (fresh - X.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(X.T))).T
    expected = np.square(z).sum(axis=1)
    measured = fitted_score.measure(rows_of(model, fresh))
    assert spearmanr(measured, expected).statistic > 0.99
    assert np.median(measured / expected) == pytest.approx(1, abs=0.1)


def test_residuals_are_seen_only_if_asked_for():
    """Rows that are usual, but badly reconstructed."""
    train = ReconstructedSamples(seen(300).x, seen(300).x, no_likelihood)
    train.x_hat = train.x + 0.1 * np.random.RandomState(1).normal(size=train.x.shape)
    odd = ReconstructedSamples(train.x, train.x + 3, no_likelihood)
    (with_residuals,), (without,) = (fitted(Mahalanobis(residuals=r), train) for r in (True, False))
    assert (with_residuals.measure(odd) > 10 * with_residuals.measure(train).max()).all()
    np.testing.assert_array_equal(without.measure(odd), without.measure(train))


# -- neighbors ---------------------------------------------------------------------------


def spaces(rows):
    return np.hstack([rows.x, rows.x - rows.x_hat]), rows.x_hat


def oracle(places, k, fresh=None):
    """Mean squared distance to the k nearest; of the places themselves without fresh ones."""
    neighbors = NearestNeighbors(n_neighbors=k, algorithm="kd_tree").fit(places)
    return np.square(neighbors.kneighbors(fresh)[0]).mean(axis=1)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_neighbors_are_those_of_scikit_learn_in_both_spaces(k):
    train, fresh = seen(200), seen(60, seed=1)
    for fitted_score, places, new in zip(
        fitted(Neighbors(n_neighbors=k), train), spaces(train), spaces(fresh), strict=True
    ):
        np.testing.assert_allclose(fitted_score.measure(fresh), oracle(places, k, new), rtol=1e-9)
        np.testing.assert_allclose(
            fitted_score.contributions(fresh).sum(axis=1), fitted_score.measure(fresh), rtol=1e-12
        )


@pytest.mark.parametrize("k", [1, 2, 5])
def test_a_reference_is_judged_by_the_others(k):
    train = seen(200)
    for fitted_score, places in zip(fitted(Neighbors(n_neighbors=k), train), spaces(train), strict=True):
        np.testing.assert_allclose(fitted_score.measure(train), oracle(places, k), rtol=1e-9)


def test_a_twin_of_a_reference_counts():
    train = seen(50)
    twins = train[np.r_[np.arange(50), np.arange(5)]]
    for fitted_score in fitted(Neighbors(n_neighbors=1), twins):
        measured = fitted_score.measure(train)
        np.testing.assert_array_equal(measured[:5], 0)
        assert (measured[5:] > 0).all()
    for fitted_score, places in zip(fitted(Neighbors(n_neighbors=3), twins), spaces(twins), strict=True):
        np.testing.assert_allclose(fitted_score.measure(twins), oracle(places, 3), rtol=1e-9)


def test_rows_that_are_reconstructed_alike_are_not_taken_for_each_other():
    """Only a row that is equal is passed over; another one with the same code is a neighbour at 0."""
    train = seen(40)
    train.x_hat = np.round(train.x_hat / 2)
    _, fitted_score = fitted(Neighbors(n_neighbors=2), train)
    expected = oracle(train.x_hat, 2)
    assert 5 < (expected == 0).sum() < 40
    np.testing.assert_allclose(fitted_score.measure(train), expected, atol=1e-12)


def test_what_columns_contribute_are_their_squared_differences():
    train, fresh = seen(100), seen(10, seed=1)
    joint, codes = fitted(Neighbors(n_neighbors=2), train)
    for fitted_score, (places, new) in zip(
        (joint, codes), zip(spaces(train), spaces(fresh), strict=True), strict=True
    ):
        found = NearestNeighbors(n_neighbors=2).fit(places).kneighbors(new, return_distance=False)
        parts = np.square(new[:, None] - places[found]).mean(axis=1)
        expected = parts.reshape(10, -1, 4).sum(axis=1)
        np.testing.assert_allclose(fitted_score.contributions(fresh), expected, rtol=1e-9)


def test_an_odd_column_is_named_beside_a_constant_reconstruction():
    """Of (x, x - x^) the columns' parts belong to the same column."""
    x = np.random.RandomState(0).normal(size=(100, 3))
    train = ReconstructedSamples(x, np.zeros_like(x), no_likelihood)
    fresh = ReconstructedSamples(x[:1] + 50 * np.eye(3)[[1]], np.zeros((1, 3)), no_likelihood)
    fitted_score = fitted(Neighbors(n_neighbors=1), train)[0]
    parts = fitted_score.contributions(fresh)[0]
    assert parts.argmax() == 1
    assert parts[1] > 0.99 * parts.sum()


@pytest.mark.parametrize("shift", [0, 1e6])
def test_short_distances_far_from_zero_keep_their_digits(shift):
    rng = np.random.RandomState(0)
    x = np.round(1024 * rng.normal(size=(100, 3))) / 1024  # that a shift does not round
    near = ReconstructedSamples(x, np.zeros_like(x), no_likelihood)
    far = ReconstructedSamples(x + shift, np.zeros_like(x) + shift, no_likelihood)
    for here, there in zip(*(fitted(Neighbors(n_neighbors=2), rows) for rows in (near, far)), strict=True):
        np.testing.assert_allclose(there.measure(far), here.measure(near), rtol=1e-6)


def test_references_are_a_random_part_of_the_rows():
    train, fresh = seen(200), seen(60, seed=1)
    full, _ = fitted(Neighbors(n_neighbors=1), train)
    few = [fitted(Neighbors(n_neighbors=1, max_references=50), train, seed)[0] for seed in (0, 0, 1)]
    one, twin, other = (fitted_score.measure(fresh) for fitted_score in few)
    np.testing.assert_array_equal(one, twin)
    assert not np.allclose(one, other)
    assert not np.allclose(one, full.measure(fresh))
    distances = np.square(spaces(train)[0][:, None] - spaces(train)[0]).sum(axis=2)
    others = np.where(distances > 0, distances, np.inf)
    used = np.isclose(others, few[0].measure(train)[:, None], rtol=1e-9).any(axis=0)
    assert 25 < used.sum() <= 50
    assert (one >= full.measure(fresh) - 1e-12).all()


def test_more_neighbors_than_references_are_all_of_them():
    train, fresh = seen(4), seen(10, seed=1)
    for fitted_score, places, new in zip(
        fitted(Neighbors(n_neighbors=50), train), spaces(train), spaces(fresh), strict=True
    ):
        np.testing.assert_allclose(fitted_score.measure(fresh), oracle(places, 3, new), rtol=1e-9)
        np.testing.assert_allclose(fitted_score.measure(train), oracle(places, 3), rtol=1e-9)


# -- scores together -----------------------------------------------------------------------


def test_a_bar_builds_either_and_its_gauges_stand_side_by_side():
    score = Neighbors(n_neighbors=2) | Mahalanobis() | Reconstruction()
    assert isinstance(score, Either)
    assert isinstance(score.first, Either)
    assert repr(Neighbors(3) | Mahalanobis(False)) == (
        "Either(first=Neighbors(n_neighbors=3), second=Mahalanobis(residuals=False))"
    )
    train, fresh = seen(80), seen(20, seed=1)
    parts = [*fitted(Neighbors(n_neighbors=2), train), *fitted(Mahalanobis(), train)]
    parts += fitted(Reconstruction(), train)
    for fitted_score, part in zip(fitted(score, train), parts, strict=True):
        np.testing.assert_array_equal(fitted_score.measure(fresh), part.measure(fresh))


def test_nested_parameters_have_names():
    model = detector(Neighbors() | Mahalanobis())
    assert model.get_params()["score__first__n_neighbors"] == 5
    model.set_params(score__first__n_neighbors=2, score__second__residuals=False)
    assert repr(model.get_params()["score"]) == (
        "Either(first=Neighbors(n_neighbors=2), second=Mahalanobis(residuals=False))"
    )
    assert model.fit(correlated(60)).outlier_score_.first.n_neighbors == 2


def test_either_is_the_farther_out_of_its_parts_on_their_scales():
    X, fresh = correlated(200), correlated(50, seed=1)
    parts = Neighbors(), Mahalanobis()
    given = {"n_estimators": 1, "robust": False}
    either, neighbors = (
        detector(s).set_params(**given).fit(X).score_samples(fresh)
        for s in (parts[0] | parts[1], parts[0] | parts[0])
    )
    mahalanobis = detector(parts[1] | parts[1]).set_params(**given).fit(X).score_samples(fresh)
    np.testing.assert_allclose(either, np.minimum(neighbors, mahalanobis), rtol=1e-9)
    assert 0 < (either == neighbors).sum() < 50


def test_auto_stands_for_neighbors_and_in_contaminated_data_mahalanobis_too():
    assert repr(Auto().chosen(robust=False)) == "Neighbors(n_neighbors=1)"
    assert repr(Auto().chosen(robust=True)) == repr(Neighbors(n_neighbors=5) | Mahalanobis(residuals=False))
    for robust in (True, False):
        model = detector("auto").set_params(robust=robust).fit(correlated(60))
        assert repr(model.outlier_score_) == repr(Auto().chosen(robust))
        named = detector(model.outlier_score_).set_params(robust=robust).fit(correlated(60))
        fresh = correlated(20, seed=1)
        np.testing.assert_array_equal(model.score_samples(fresh), named.score_samples(fresh))


@pytest.mark.parametrize("score", [Auto() | Reconstruction(), Reconstruction() | Auto()], ids=str)
@pytest.mark.parametrize("robust", [True, False])
def test_auto_can_be_a_part(score, robust):
    model = detector(score).set_params(robust=robust).fit(correlated(60))
    assert (model.score_samples(correlated(60) + 100) < model.offset_).all()


@pytest.mark.parametrize("name", OUTLIER_SCORES)
def test_a_string_is_the_score_with_its_defaults(name):
    X, fresh = correlated(60), correlated(20, seed=1)
    by_name, by_object = (
        detector(score).fit(X).score_samples(fresh) for score in (name, OUTLIER_SCORES[name]())
    )
    np.testing.assert_array_equal(by_name, by_object)


class Largest(OutlierScore):
    """The largest error of a single column: a score of the user's own."""

    squared = True

    def fitted_scores(self, rows, rng):
        return [self]

    def measure(self, rows):
        return self.contributions(rows).max(axis=1)

    def contributions(self, rows):
        return np.square(rows.residual)


def test_a_score_of_one_s_own_takes_part():
    X, fresh = correlated(100), correlated(20, seed=1)
    model = detector(Largest()).fit(X)
    errors = [(fresh - m.inverse_transform(m.transform(fresh))) ** 2 for m in model.estimators_]
    np.testing.assert_allclose(-model.score_samples(fresh), np.mean([e.max(1) for e in errors], 0), rtol=1e-9)
    np.testing.assert_allclose(model.explain(fresh), np.mean(errors, axis=0), rtol=1e-9)
    odd = fresh + 100
    assert (detector(Largest() | Neighbors()).fit(X).predict(odd) == -1).all()


@pytest.mark.parametrize(
    "score", [*[cls() for cls in OUTLIER_SCORES.values()], Neighbors(2) | Auto()], ids=str
)
def test_scores_are_cloned_and_pickled(score):
    assert repr(clone(score)) == repr(pickle.loads(pickle.dumps(score))) == repr(score)


def test_the_user_s_score_is_copied():
    score = Neighbors(n_neighbors=2)
    model = detector(score).fit(correlated(60))
    score.n_neighbors = 7
    assert model.outlier_score_.n_neighbors == 2


REFUSED = [
    ("neighbours", ValueError, "outlier_score='neighbours' is not known.*Did you mean 'neighbors'"),
    ("zzz", ValueError, "valid strings are 'auto', 'reconstruction', 'log_likelihood'"),
    (3, ValueError, "'score' parameter of AEOutlierDetector"),
    (None, ValueError, "'score' parameter of AEOutlierDetector"),
    (Neighbors, ValueError, "'score' parameter of AEOutlierDetector"),
    (Neighbors() | 3, TypeError, "joined with scores such as"),
    (Neighbors() | "mahalanobis", TypeError, "got 'mahalanobis'"),
    (Either("neighbors", Mahalanobis()), TypeError, "got 'neighbors'"),
    (Neighbors(0), ValueError, "'n_neighbors' parameter of Neighbors"),
    (Neighbors(1.5), ValueError, "'n_neighbors' parameter of Neighbors"),
    (Neighbors(max_references=1), ValueError, "'max_references' parameter of Neighbors"),
    (Mahalanobis(residuals="no"), ValueError, "'residuals' parameter of Mahalanobis"),
    (Mahalanobis() | Neighbors(0), ValueError, "'n_neighbors' parameter of Neighbors"),
    (Mahalanobis() | Reconstruction() | Neighbors(0), ValueError, "'n_neighbors' parameter of Neighbors"),
]


@pytest.mark.parametrize(("score", "error", "message"), REFUSED)
def test_what_is_no_score_or_out_of_range_is_refused(score, error, message):
    with pytest.raises(error, match=message):
        detector(score).fit(correlated(30))


def test_only_scores_stand_left_of_the_bar():
    with pytest.raises(TypeError):
        _ = 3 | Neighbors()
