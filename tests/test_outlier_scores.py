"""Outlier scores: fitted scores against independent oracles; built-in and user-defined scores as options."""

import pickle

import numpy as np
import pytest
from scipy.stats import multivariate_normal, spearmanr
from sklearn.base import clone
from sklearn.neighbors import NearestNeighbors

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, VAETransformer, outlier_scores
from sklearn_ae._utils.covariance import ShrunkCovariance
from sklearn_ae.outlier_scores import (
    OUTLIER_SCORES,
    Auto,
    Contrast,
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


def make_samples(n, d=4, seed=0, log_likelihood=no_likelihood):
    """Return samples with an arbitrary function of them as their reconstruction."""
    x = np.random.RandomState(seed).normal(size=(n, d))
    return ReconstructedSamples(x, np.sin(x) + 0.3 * x[:, ::-1], log_likelihood)


def reconstruct(model, X):
    """Return samples and reconstructions as the detector passes them."""
    return ReconstructedSamples(X, model.inverse_transform(model.transform(X)), model.score_samples)


def fit_scores(score, samples, seed=0):
    return score.fit_scores(samples, np.random.RandomState(seed))


def correlated(n, seed=0):
    loadings = np.random.RandomState(99).normal(size=(2, 6))
    rng = np.random.RandomState(seed)
    return 3 + rng.normal(size=(n, 2)) @ loadings + 0.3 * rng.normal(size=(n, 6))


def detector(score, **params):
    linear = AutoencoderTransformer(1, hidden_layer_sizes=())
    return AEOutlierDetector(linear, outlier_score=score, **({"n_estimators": 2, "random_state": 0} | params))


# -- reconstruction ----------------------------------------------------------------------


def test_reconstruction_is_the_squared_error():
    model = AutoencoderTransformer(2, hidden_layer_sizes=()).fit(correlated(100))
    samples = reconstruct(model, correlated(30, seed=1))
    (fitted,) = fit_scores(Reconstruction(), samples)
    np.testing.assert_allclose(fitted.outlyingness(samples), model.reconstruction_error(samples.x), rtol=1e-9)
    np.testing.assert_allclose(fitted.contributions(samples), (samples.x - samples.x_hat) ** 2, rtol=1e-12)


# -- log-likelihood ----------------------------------------------------------------------


@pytest.mark.parametrize("cls", [AutoencoderTransformer, VAETransformer])
def test_log_likelihood_is_that_of_the_model(cls):
    model = cls(2, hidden_layer_sizes=()).fit(correlated(100))
    samples = reconstruct(model, correlated(30, seed=1))
    (fitted,) = fit_scores(LogLikelihood(), samples)
    np.testing.assert_allclose(fitted.outlyingness(samples), -model.score_samples(samples.x), rtol=1e-9)


def test_contribution_to_log_likelihood_is_the_gain_by_the_reconstructed_value():
    normal = multivariate_normal(np.zeros(3), [[1, 0.9, 0], [0.9, 1, 0], [0, 0, 4]])
    samples = make_samples(20, d=3, log_likelihood=normal.logpdf)
    before = samples.x.copy()
    (fitted,) = fit_scores(LogLikelihood(), samples)
    gains = fitted.contributions(samples)
    for j in range(3):
        replaced = samples.x.copy()
        replaced[:, j] = samples.x_hat[:, j]
        np.testing.assert_allclose(gains[:, j], normal.logpdf(replaced) - normal.logpdf(samples.x), rtol=1e-9)
    np.testing.assert_array_equal(samples.x, before)


# -- Mahalanobis -------------------------------------------------------------------------


@pytest.mark.parametrize("residuals", [True, False])
@pytest.mark.parametrize("n", [200, 6])
def test_mahalanobis_uses_the_covariance_of_samples_and_residuals(residuals, n):
    train, new = make_samples(n), make_samples(50, seed=1)
    (fitted,) = fit_scores(Mahalanobis(residuals=residuals), train)

    def space(samples):
        return np.hstack([samples.x, samples.x - samples.x_hat]) if residuals else samples.x

    covariance = ShrunkCovariance.fit(space(train))
    np.testing.assert_allclose(fitted.outlyingness(new), covariance.squared_distance(space(new)), rtol=1e-9)
    parts = covariance.contributions(space(new))
    expected = parts[:, :4] + parts[:, 4:] if residuals else parts
    np.testing.assert_allclose(fitted.contributions(new), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fitted.contributions(new).sum(axis=1), fitted.outlyingness(new), rtol=1e-9)


@pytest.mark.parametrize("residuals", [True, False])
def test_mahalanobis_with_a_linear_autoencoder_is_the_distance_of_the_sample(residuals):
    X, new = correlated(5000), 2 * correlated(300, seed=1) - 3
    model = AutoencoderTransformer(2, hidden_layer_sizes=()).fit(X)
    (fitted,) = fit_scores(Mahalanobis(residuals=residuals), reconstruct(model, X))
    z = (new - X.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(X.T))).T
    expected = np.square(z).sum(axis=1)
    values = fitted.outlyingness(reconstruct(model, new))
    assert spearmanr(values, expected).statistic > 0.99
    assert np.median(values / expected) == pytest.approx(1, abs=0.1)


def test_only_residuals_detect_usual_samples_with_bad_reconstructions():
    train = make_samples(300)
    train.x_hat = train.x + 0.1 * np.random.RandomState(1).normal(size=train.x.shape)
    odd = ReconstructedSamples(train.x, train.x + 3, no_likelihood)
    (with_residuals,), (without,) = (fit_scores(Mahalanobis(residuals=r), train) for r in (True, False))
    assert (with_residuals.outlyingness(odd) > 10 * with_residuals.outlyingness(train).max()).all()
    np.testing.assert_array_equal(without.outlyingness(odd), without.outlyingness(train))


# -- neighbors ---------------------------------------------------------------------------


def spaces(samples):
    return np.hstack([samples.x, samples.x - samples.x_hat]), samples.x_hat


def mean_squared_distance(points, k, new=None):
    """Return the mean squared distance of new points or, without them, of each point from its neighbors."""
    neighbors = NearestNeighbors(n_neighbors=k, algorithm="kd_tree").fit(points)
    return np.square(neighbors.kneighbors(new)[0]).mean(axis=1)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_neighbors_agree_with_scikit_learn_in_both_spaces(k):
    train, new = make_samples(200), make_samples(60, seed=1)
    for fitted, points, new_points in zip(
        fit_scores(Neighbors(n_neighbors=k), train), spaces(train), spaces(new), strict=True
    ):
        expected = mean_squared_distance(points, k, new_points)
        np.testing.assert_allclose(fitted.outlyingness(new), expected, rtol=1e-9)
        np.testing.assert_allclose(
            fitted.contributions(new).sum(axis=1), fitted.outlyingness(new), rtol=1e-12
        )


@pytest.mark.parametrize("k", [1, 2, 5])
def test_a_reference_is_compared_with_the_others(k):
    train = make_samples(200)
    for fitted, points in zip(fit_scores(Neighbors(n_neighbors=k), train), spaces(train), strict=True):
        np.testing.assert_allclose(fitted.outlyingness(train), mean_squared_distance(points, k), rtol=1e-9)


def test_a_duplicate_of_a_reference_counts_as_a_neighbor():
    train = make_samples(50)
    duplicated = train[np.r_[np.arange(50), np.arange(5)]]
    for fitted in fit_scores(Neighbors(n_neighbors=1), duplicated):
        values = fitted.outlyingness(train)
        np.testing.assert_array_equal(values[:5], 0)
        assert (values[5:] > 0).all()
    for fitted, points in zip(
        fit_scores(Neighbors(n_neighbors=3), duplicated), spaces(duplicated), strict=True
    ):
        expected = mean_squared_distance(points, 3)
        np.testing.assert_allclose(fitted.outlyingness(duplicated), expected, rtol=1e-9)


def test_different_samples_with_equal_reconstructions_are_neighbors_at_distance_0():
    train = make_samples(40)
    train.x_hat = np.round(train.x_hat / 2)
    _, fitted = fit_scores(Neighbors(n_neighbors=2), train)
    expected = mean_squared_distance(train.x_hat, 2)
    assert 5 < (expected == 0).sum() < 40
    np.testing.assert_allclose(fitted.outlyingness(train), expected, atol=1e-12)


def test_contributions_to_neighbors_are_squared_differences():
    train, new = make_samples(100), make_samples(10, seed=1)
    for fitted, points, new_points in zip(
        fit_scores(Neighbors(n_neighbors=2), train), spaces(train), spaces(new), strict=True
    ):
        indices = NearestNeighbors(n_neighbors=2).fit(points).kneighbors(new_points, return_distance=False)
        parts = np.square(new_points[:, None] - points[indices]).mean(axis=1)
        expected = parts.reshape(10, -1, 4).sum(axis=1)
        np.testing.assert_allclose(fitted.contributions(new), expected, rtol=1e-9)


def test_an_unusual_feature_is_located_next_to_constant_reconstructions():
    """The differences of sample and residual are attributed to the same feature."""
    x = np.random.RandomState(0).normal(size=(100, 3))
    train = ReconstructedSamples(x, np.zeros_like(x), no_likelihood)
    new = ReconstructedSamples(x[:1] + 50 * np.eye(3)[[1]], np.zeros((1, 3)), no_likelihood)
    joint, _ = fit_scores(Neighbors(n_neighbors=1), train)
    parts = joint.contributions(new)[0]
    assert parts.argmax() == 1
    assert parts[1] > 0.99 * parts.sum()


@pytest.mark.parametrize("shift", [0, 1e6])
def test_short_distances_far_from_zero_keep_their_digits(shift):
    rng = np.random.RandomState(0)
    x = np.round(1024 * rng.normal(size=(100, 3))) / 1024  # not rounded by the shift
    near = ReconstructedSamples(x, np.zeros_like(x), no_likelihood)
    far = ReconstructedSamples(x + shift, np.zeros_like(x) + shift, no_likelihood)
    pairs = zip(*(fit_scores(Neighbors(n_neighbors=2), samples) for samples in (near, far)), strict=True)
    for of_near, of_far in pairs:
        np.testing.assert_allclose(of_far.outlyingness(far), of_near.outlyingness(near), rtol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("k", [1, 3])
def test_references_in_single_precision_are_compared_with_the_others(k, offset):
    """They are recognised, although the sums of their features differ slightly."""
    train = make_samples(200)
    train = ReconstructedSamples(train.x + offset, train.x_hat, no_likelihood)
    rounded = ReconstructedSamples(train.x.astype(np.float32).astype(float), train.x_hat, no_likelihood)
    for fitted, points in zip(fit_scores(Neighbors(n_neighbors=k), train), spaces(train), strict=True):
        expected = mean_squared_distance(points, k)
        np.testing.assert_allclose(fitted.outlyingness(rounded), expected, rtol=1e-2)


@pytest.mark.parametrize("value", [-0.0236, 1.0, 42.4])
def test_references_are_recognised_after_computations_in_single_precision(value):
    """Of a feature that is constant in the references, results differ by some units in the last place."""
    train = make_samples(200)
    x = np.column_stack([train.x, np.full(200, np.float32(value), dtype=float)])
    train = ReconstructedSamples(x, 0.9 * x, no_likelihood)
    apart = np.random.RandomState(0).choice([-2, 2], size=x.shape) * np.spacing(x.astype(np.float32))
    again = ReconstructedSamples(x + apart, 0.9 * x, no_likelihood)
    for fitted in fit_scores(Neighbors(n_neighbors=1), train):
        np.testing.assert_allclose(fitted.outlyingness(again), fitted.outlyingness(train), rtol=1e-2)


@pytest.mark.parametrize("size", [1, 7, 60])
def test_neighbors_do_not_depend_on_the_size_of_batches(size, monkeypatch):
    train, new = make_samples(80), make_samples(60, seed=1)
    for fitted in fit_scores(Neighbors(n_neighbors=3), train):
        expected = fitted.outlyingness(new), fitted.contributions(new)
        with monkeypatch.context() as patch:
            patch.setattr(outlier_scores, "_BATCH_SIZE", size)
            values = fitted.outlyingness(new), fitted.contributions(new)
        for value, reference in zip(values, expected, strict=True):
            np.testing.assert_allclose(value, reference, rtol=1e-12)


def test_all_of_the_equally_near_references_are_neighbors():
    """None of them is counted twice."""
    x = np.vstack([np.eye(4), -np.eye(4)])
    train = ReconstructedSamples(x, np.zeros_like(x), no_likelihood)
    centre = ReconstructedSamples(np.zeros((1, 4)), np.zeros((1, 4)), no_likelihood)
    joint, _ = fit_scores(Neighbors(n_neighbors=7), train)
    np.testing.assert_allclose(joint.outlyingness(centre), 2.0)
    assert joint.contributions(centre).sum() == pytest.approx(2.0)
    assert np.sort(joint.contributions(centre)[0])[0] == pytest.approx(2 / 7)  # one of eight is left out


def test_references_are_a_random_subset_of_the_samples():
    train, new = make_samples(200), make_samples(60, seed=1)
    full, _ = fit_scores(Neighbors(n_neighbors=1), train)
    few = [fit_scores(Neighbors(n_neighbors=1, max_references=50), train, seed)[0] for seed in (0, 0, 1)]
    one, same_seed, other_seed = (fitted.outlyingness(new) for fitted in few)
    np.testing.assert_array_equal(one, same_seed)
    assert not np.allclose(one, other_seed)
    assert not np.allclose(one, full.outlyingness(new))
    distances = np.square(spaces(train)[0][:, None] - spaces(train)[0]).sum(axis=2)
    distances_to_others = np.where(distances > 0, distances, np.inf)
    values = few[0].outlyingness(train)
    is_reference = np.isclose(distances_to_others, values[:, None], rtol=1e-9).any(axis=0)
    assert 25 < is_reference.sum() <= 50
    assert (one >= full.outlyingness(new) - 1e-12).all()


def test_with_fewer_references_than_neighbors_all_are_used():
    train, new = make_samples(4), make_samples(10, seed=1)
    for fitted, points, new_points in zip(
        fit_scores(Neighbors(n_neighbors=50), train), spaces(train), spaces(new), strict=True
    ):
        expected = mean_squared_distance(points, 3, new_points)
        np.testing.assert_allclose(fitted.outlyingness(new), expected, rtol=1e-9)
        np.testing.assert_allclose(fitted.outlyingness(train), mean_squared_distance(points, 3), rtol=1e-9)


# -- combined scores -----------------------------------------------------------------------


def test_a_bar_builds_either_with_the_fitted_scores_of_both():
    score = Neighbors(n_neighbors=2) | Mahalanobis() | Reconstruction()
    assert isinstance(score, Either)
    assert isinstance(score.first, Either)
    assert repr(Neighbors(3) | Mahalanobis(False)) == (
        "Either(first=Neighbors(n_neighbors=3), second=Mahalanobis(residuals=False))"
    )
    train, new = make_samples(80), make_samples(20, seed=1)
    parts = [*fit_scores(Neighbors(n_neighbors=2), train), *fit_scores(Mahalanobis(), train)]
    parts += fit_scores(Reconstruction(), train)
    for fitted, part in zip(fit_scores(score, train), parts, strict=True):
        np.testing.assert_array_equal(fitted.outlyingness(new), part.outlyingness(new))


def test_nested_parameters_are_set_by_name():
    model = detector(Neighbors() | Mahalanobis())
    assert model.get_params()["outlier_score__first__n_neighbors"] == 5
    model.set_params(outlier_score__first__n_neighbors=2, outlier_score__second__residuals=False)
    assert repr(model.outlier_score) == (
        "Either(first=Neighbors(n_neighbors=2), second=Mahalanobis(residuals=False))"
    )
    assert model.fit(correlated(60)).outlier_score_.first.n_neighbors == 2


def test_either_is_the_larger_calibrated_score():
    X, new = correlated(200), correlated(50, seed=1)
    neighbors, mahalanobis = Neighbors(), Mahalanobis()
    combinations = (neighbors | mahalanobis, neighbors | neighbors, mahalanobis | mahalanobis)
    either, only_neighbors, only_mahalanobis = (
        detector(score, n_estimators=1, robust=False).fit(X).score_samples(new) for score in combinations
    )
    np.testing.assert_allclose(either, np.minimum(only_neighbors, only_mahalanobis), rtol=1e-9)
    assert 0 < (either == only_neighbors).sum() < 50


def test_a_sum_finds_what_one_of_the_scores_finds():
    """A curve, and samples off it that are near the mean; and samples on it beyond its ends."""
    t = np.random.RandomState(0).uniform(-2, 2, 400)
    X = np.column_stack([t, t**2]) + 0.05 * np.random.RandomState(1).normal(size=(400, 2))
    off, beyond = np.array([[0.0, 1.0], [0.2, 1.2]]), np.array([[3.0, 9.0], [-3.0, 9.0]])
    model = detector(Neighbors() + Mahalanobis(residuals=False), robust=False).fit(X)
    assert model.score_samples(np.vstack([off, beyond])).max() < np.quantile(model.score_samples(X), 0.02)
    assert detector(Mahalanobis(residuals=False), robust=False).fit(X).predict(off).min() == 1


def test_sums_and_larger_scores_are_combined():
    X, new = correlated(200), correlated(50, seed=1)
    a, b, c = Reconstruction(), Neighbors(), Mahalanobis()
    given = {"n_estimators": 1, "robust": False}
    of_sum, total, single = (
        detector(score, **given).fit(X).score_samples(new) for score in (a + b | c, a + b, c | c)
    )
    np.testing.assert_allclose(of_sum, np.minimum(total, single), rtol=1e-9)
    with pytest.raises(TypeError, match="cannot be added"):
        detector((a + b | c) + a).fit(X)


def test_auto_is_neighbors_combined_with_mahalanobis_if_robust_and_with_contrast_if_not():
    clean_choice = Neighbors(n_neighbors=1) + Contrast()
    assert repr(Auto().resolve_auto(robust=False)) == repr(clean_choice)
    robust_choice = Neighbors(n_neighbors=5, max_references=500) | Mahalanobis(residuals=False)
    assert repr(Auto().resolve_auto(robust=True)) == repr(robust_choice)
    for robust in (True, False):
        model = detector("auto", robust=robust).fit(correlated(60))
        assert repr(model.outlier_score_) == repr(Auto().resolve_auto(robust=robust))
        explicit = detector(model.outlier_score_, robust=robust).fit(correlated(60))
        new = correlated(20, seed=1)
        np.testing.assert_array_equal(model.score_samples(new), explicit.score_samples(new))


@pytest.mark.parametrize("score", [Auto() | Reconstruction(), Reconstruction() | Auto()], ids=str)
@pytest.mark.parametrize("robust", [True, False])
def test_auto_can_be_combined(score, robust):
    model = detector(score, robust=robust).fit(correlated(60))
    assert (model.score_samples(correlated(60) + 100) < model.offset_).all()


# -- scores as options ---------------------------------------------------------------------


@pytest.mark.parametrize("name", OUTLIER_SCORES)
def test_a_string_is_the_score_with_default_parameters(name):
    X, new = correlated(60), correlated(20, seed=1)
    by_name, by_object = (
        detector(score).fit(X).score_samples(new) for score in (name, OUTLIER_SCORES[name]())
    )
    np.testing.assert_array_equal(by_name, by_object)


@pytest.mark.parametrize(
    "score", [*[cls() for cls in OUTLIER_SCORES.values()], Neighbors(2) | Auto()], ids=str
)
def test_scores_are_cloned_and_pickled(score):
    assert repr(clone(score)) == repr(pickle.loads(pickle.dumps(score))) == repr(score)


def test_the_fitted_detector_has_a_copy_of_the_score():
    score = Neighbors(n_neighbors=2)
    model = detector(score).fit(correlated(60))
    score.n_neighbors = 7
    assert model.outlier_score_.n_neighbors == 2


INVALID = [
    ("neighbours", ValueError, "outlier_score='neighbours' is not known.*Did you mean 'neighbors'"),
    ("zzz", ValueError, "valid strings are 'auto', 'reconstruction', 'log_likelihood'"),
    (3, ValueError, "outlier_score=.*(pass one of|pass an instance)"),
    (None, ValueError, "outlier_score=.*(pass one of|pass an instance)"),
    (Neighbors, ValueError, "outlier_score=.*(pass one of|pass an instance)"),
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


@pytest.mark.parametrize(("score", "error", "message"), INVALID)
def test_invalid_scores_are_refused(score, error, message):
    with pytest.raises(error, match=message):
        detector(score).fit(correlated(30))


def test_the_left_side_of_the_bar_must_be_a_score():
    with pytest.raises(TypeError):
        _ = 3 | Neighbors()


# -- user-defined scores ---------------------------------------------------------------------


class FittedMedianDistance:
    """Fitted score: weighted squared distance from the median of a random subset."""

    squared = True

    def __init__(self, centre, weight):
        self.centre = centre
        self.weight = weight

    def outlyingness(self, samples):
        return self.contributions(samples).sum(axis=1)

    def contributions(self, samples):
        return self.weight * np.square(samples.x - self.centre)


class MedianDistance(OutlierScore):
    _parameter_constraints = {"weight": [float]}

    def __init__(self, weight=1.0):
        self.weight = weight

    def fit_scores(self, samples, rng):
        subset = samples[rng.permutation(len(samples.x))[:20]]
        return [FittedMedianDistance(np.median(subset.x, axis=0), self.weight)]


class FittedDensity:
    """Fitted score in nats, which is not a squared distance and is negative for most samples."""

    squared = False

    def __init__(self, normal):
        self.normal = normal

    def outlyingness(self, samples):
        return -self.normal.logpdf(samples.residual)

    def contributions(self, samples):
        return np.square(samples.residual)


class Density(OutlierScore):
    def fit_scores(self, samples, rng):
        return [FittedDensity(multivariate_normal(np.zeros(6), np.cov(samples.residual.T) + np.eye(6)))]


def test_a_user_defined_score_works_in_every_method(unperturbed):
    X, new = correlated(100), correlated(20, seed=1)
    model = detector(MedianDistance(2.0), robust=False).fit(X)
    samples = ReconstructedSamples(new, new, no_likelihood)
    parts = [fold.fitted_scores[0].contributions(samples) for fold in model._fold_detectors]
    expected = np.mean(parts, axis=0)
    np.testing.assert_allclose(model.explain(new), expected, rtol=1e-12)
    np.testing.assert_allclose(model.score_samples(new), -expected.sum(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(model.score_samples(new), clone(model).fit(X).score_samples(new))
    # The fitted scores are those of a subset of the training samples of each fold.
    half = detector(MedianDistance(1.0), robust=False).fit(X)
    np.testing.assert_allclose(2 * half.score_samples(new), model.score_samples(new), rtol=1e-12)
    p = model.pvalues(np.vstack([new, new + 100]))
    assert (p[20:] <= 2 / 101 + 1e-12).all()
    assert np.median(p[:20]) > 0.1
    np.testing.assert_array_equal(model.predict(new + 100), -1)
    assert model.get_params()["outlier_score__weight"] == 2.0


class LargestError(OutlierScore):
    """Largest squared error of a single feature; the score is its own fitted score."""

    squared = True

    def fit_scores(self, samples, rng):
        return [self]

    def outlyingness(self, samples):
        return self.contributions(samples).max(axis=1)

    def contributions(self, samples):
        return np.square(samples.residual)


def test_a_user_defined_score_uses_the_reconstructions_of_each_autoencoder():
    X, new = correlated(100), correlated(20, seed=1)
    model = detector(LargestError()).fit(X)
    errors = [(new - ae.inverse_transform(ae.transform(new))) ** 2 for ae in model.estimators_]
    expected = np.mean([error.max(axis=1) for error in errors], axis=0)
    np.testing.assert_allclose(-model.score_samples(new), expected, rtol=1e-9)
    np.testing.assert_allclose(model.explain(new), np.mean(errors, axis=0), rtol=1e-9)


USER_DEFINED = [MedianDistance(), Density(), Density() | MedianDistance(), LargestError() | Neighbors()]


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("score", USER_DEFINED, ids=str)
def test_user_defined_scores_can_be_combined_cloned_and_pickled(score, robust):
    X, new = correlated(100), correlated(20, seed=1)
    model = detector(score, robust=robust).fit(X)
    twin = pickle.loads(pickle.dumps(model))
    for method in ("score_samples", "explain", "pvalues", "predict"):
        values = getattr(model, method)(new)
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(getattr(twin, method)(new), values)
    assert (model.score_samples(new + 100) < model.offset_).all()
    assert model.explain(new).shape == new.shape
    assert repr(clone(score)) == repr(score)


def test_parameters_of_a_user_defined_score_are_checked():
    with pytest.raises(ValueError, match="'weight' parameter of MedianDistance"):
        detector(MedianDistance("heavy")).fit(correlated(30))


class NoMethod(OutlierScore):
    pass


class Returning(OutlierScore):
    """Score with an arbitrary fitted result."""

    def __init__(self, fitted=None):
        self.fitted = fitted

    def fit_scores(self, samples, rng):
        return self.fitted


class NoContributions:
    squared = True

    def outlyingness(self, samples):
        return np.zeros(len(samples.x))


INCOMPLETE = [
    (NoMethod(), r"NoMethod .*fit_scores.*sklearn_ae\.outlier_scores\.OutlierScore"),
    (Neighbors() | NoMethod(), r"NoMethod .*fit_scores.*sklearn_ae\.outlier_scores\.OutlierScore"),
    (Returning(), r"Returning\.fit_scores must return a list.*outlier_scores\.OutlierScore; got None"),
    (Returning([]), r"Returning\.fit_scores must return a list.*got \[\]"),
    (Returning([NoContributions()]), r"NoContributions without contributions.*outlier_scores\.FittedScore"),
    (Returning([3]), r"int without squared.*outlier_scores\.FittedScore"),
    (Neighbors() | Returning([3]), r"int without squared.*outlier_scores\.FittedScore"),
]


@pytest.mark.parametrize(("score", "message"), INCOMPLETE)
def test_errors_of_incomplete_scores_name_the_missing_attribute(score, message):
    with pytest.raises(TypeError, match=message):
        detector(score).fit(correlated(30))


# -- missing values ----------------------------------------------------------------------


def masked(samples, observed):
    return ReconstructedSamples(samples.x, samples.x_hat, samples.log_likelihood, observed)


ADDITIVE = [Reconstruction(), Mahalanobis(), Mahalanobis(residuals=False), Neighbors(1), Neighbors(3)]


@pytest.mark.parametrize("score", ADDITIVE, ids=str)
def test_a_mask_without_missing_values_changes_nothing(score):
    new = make_samples(50, seed=1)
    complete = masked(new, np.ones((50, 4), dtype=bool))
    for fitted in fit_scores(score, make_samples(200)):
        np.testing.assert_allclose(fitted.outlyingness(complete), fitted.outlyingness(new))
        np.testing.assert_allclose(fitted.contributions(complete), fitted.contributions(new), atol=1e-12)


@pytest.mark.parametrize("score", ADDITIVE, ids=str)
def test_without_any_value_a_sample_is_as_far_out_as_a_typical_one(score):
    train, new = make_samples(400), make_samples(400, seed=1)
    for fitted in fit_scores(score, train):
        (value,) = fitted.outlyingness(masked(new[:1], np.zeros((1, 4), dtype=bool)))
        assert value == pytest.approx(np.median(fitted.outlyingness(new)), rel=0.4)


@pytest.mark.parametrize("score", ADDITIVE, ids=str)
def test_an_observed_value_that_is_far_out_has_the_largest_contribution(score):
    new = make_samples(40, seed=1)
    new.x[:, 1] += 8
    observed = np.ones((40, 4), dtype=bool)
    observed[:, 3] = observed[::2, 0] = False
    samples = masked(new, observed)
    for fitted in fit_scores(score, make_samples(300)):
        parts = fitted.contributions(samples)
        np.testing.assert_allclose(parts.sum(axis=1), fitted.outlyingness(samples))
        if not (isinstance(score, Neighbors) and fitted._centred(samples).shape[1] == 4):  # x^ is unchanged
            assert (parts.argmax(axis=1) == 1).all()


def test_neighbors_are_the_nearest_over_the_observed_features():
    train, new = make_samples(300), make_samples(40, seed=1)
    observed = np.random.RandomState(2).uniform(size=(40, 4)) < 0.6
    observed[:, 0] = True
    for fitted in fit_scores(Neighbors(3), train):
        ours = fitted._parts(new.x, fitted._centred(new), observed)
        points, references = (getattr(samples, fitted.space) for samples in (new, train))
        for part, point, seen in zip(ours, points, observed, strict=True):
            differences = np.square(point - references) * np.tile(seen, len(point) // 4)
            nearest = np.argsort(differences.sum(axis=1))[:3]
            expected = differences[nearest].reshape(3, -1, 4).sum(axis=(0, 1)) / 3
            np.testing.assert_allclose(part, expected, atol=1e-9)


def test_an_incomplete_reference_is_not_its_own_neighbor():
    train = make_samples(100)
    observed = np.random.RandomState(2).uniform(size=(100, 4)) < 0.7
    observed[:, 0] = True
    for fitted in fit_scores(Neighbors(1), train):
        assert (fitted.outlyingness(masked(train, observed)) > 0).all()
        assert fitted._parts(fitted.x, fitted.points, observed).sum(axis=1).min() > 0


def test_the_likelihood_is_that_of_the_filled_sample():
    new = make_samples(20, seed=1, log_likelihood=multivariate_normal(np.zeros(4)).logpdf)
    observed = np.arange(4) != 2
    (fitted,) = fit_scores(LogLikelihood(), new)
    samples = masked(new, np.tile(observed, (20, 1)))
    np.testing.assert_array_equal(fitted.outlyingness(samples), fitted.outlyingness(new))
    expected = np.where(observed, fitted.contributions(new), 0.0)
    np.testing.assert_array_equal(fitted.contributions(samples), expected)


@pytest.mark.parametrize(("n_features", "n_expected"), [(4, 120), (20, 50), (60, 40)])
def test_contrast_of_wide_data_has_fewer_training_samples(n_features, n_expected, monkeypatch):
    monkeypatch.setattr(outlier_scores, "_MAX_VALUES", 1000)
    monkeypatch.setattr(outlier_scores, "_MIN_SAMPLES", 40)
    X = np.random.RandomState(0).normal(size=(150, n_features))
    samples = ReconstructedSamples(X, X, lambda x: x[:, 0])
    (fitted,) = Contrast(n_trees=2, max_samples=120).fit_scores(samples, np.random.RandomState(0))
    assert fitted.trees.trees[0].n_node_samples[0] == 3 * n_expected
