"""Information in codes and between components, against closed forms and numerical integrals."""

import numpy as np
import pandas as pd
import pytest
from known_codes import (
    CODES,
    CORRELATION,
    Noisy,
    circle,
    circle_entropy,
    cosine_entropy,
    integrated_entropy,
    normal,
    normal_entropy,
    uniform,
)
from scipy import sparse
from scipy.stats import norm
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_selection import mutual_info_classif
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler, scale

from sklearn_ae import AutoencoderTransformer, VAETransformer
from sklearn_ae.metrics import mutual_information, mutual_information_gap, total_correlation

# Few epochs suffice for the properties tested here
pytestmark = pytest.mark.filterwarnings(
    "ignore:The loss was still decreasing steeply", "ignore:Only . of . components are active"
)

ONCE = {"n_repeats": 1, "random_state": 0}


class Angle(TransformerMixin, BaseEstimator):
    """Model that encodes a point in the plane as its angle."""

    def transform(self, X):
        return np.arctan2(X[:, 1], X[:, 0])[:, None]

    def inverse_transform(self, Z):
        return np.column_stack([np.cos(Z[:, 0]), np.sin(Z[:, 0])])


# -- mutual information --------------------------------------------------------------------


SPECTRUM = np.r_[9.0, 5.0, 3.0, 1.5, np.full(8, 0.2)]
PPCA = 0.5 * np.log(SPECTRUM[:4] / 0.2).sum()


@pytest.fixture(scope="module")
def X():
    """Samples for which probabilistic PCA with 4 components is the truth."""
    basis = np.linalg.qr(np.random.RandomState(1).normal(size=(12, 12)))[0]
    return normal(400, np.diag(SPECTRUM)) @ basis


@pytest.mark.parametrize(
    "model",
    [
        PCA(4),
        PCA(4, whiten=True),
        make_pipeline(FunctionTransformer(lambda X: 100 * X, lambda X: X / 100), PCA(4)),
        AutoencoderTransformer(4, hidden_layer_sizes=()),
    ],
    ids=["pca", "whitened", "pipeline", "linear autoencoder"],
)
def test_information_of_linear_codes_is_that_of_probabilistic_pca(X, model):
    assert mutual_information(model.fit(X), X, **ONCE) == pytest.approx(PPCA, abs=0.08)


@pytest.mark.parametrize("std", [0.3, 2.0])
def test_information_of_normal_codes_with_noise(std):
    truth = 0.5 * np.linalg.slogdet(np.eye(3) + CORRELATION / std**2)[1]
    upper, lower = mutual_information(Noisy(std), normal(400, CORRELATION), return_lower=True, **ONCE)
    assert upper == pytest.approx(truth, abs=0.07)
    assert lower == pytest.approx(truth, abs=0.07 if std > 1 else 0.8)


@pytest.mark.slow
@pytest.mark.parametrize("std", [0.03, 0.1, 0.5])
def test_information_of_codes_on_a_circle(std):
    truth = circle_entropy(std) - normal_entropy(std, 2)
    upper, lower = mutual_information(Noisy(std), circle(600), return_lower=True, **ONCE)
    assert upper == pytest.approx(truth, abs=0.09)
    assert lower == pytest.approx(truth, abs=0.12)


def test_information_of_four_codes_is_log_4():
    X = np.eye(4)[np.arange(200) % 4]
    values = mutual_information(Noisy(0.05), X, return_lower=True, **ONCE)
    np.testing.assert_allclose(values, np.log(4), atol=0.03)


def test_bounds_enclose_the_truth_with_few_samples():
    X = np.column_stack([circle(500, seed) for seed in range(3)])
    truth = 3 * (circle_entropy(0.1) - normal_entropy(0.1, 2))
    upper, lower = mutual_information(Noisy(0.1), X, return_lower=True, **ONCE)
    assert truth - 2.5 < lower < truth - 0.5
    assert truth + 0.2 < upper < truth + 1.5
    assert lower < np.log(500)


def test_information_of_a_curved_decoder():
    """The angle of a point near the unit circle; the noise is estimated from the radius."""
    std = 0.05
    X = circle(600) + std * np.random.RandomState(1).normal(size=(600, 2))
    truth = np.log(2 * np.pi) - normal_entropy(std)  # Except near the ends of the interval
    assert mutual_information(Angle(), X, **ONCE) == pytest.approx(truth, abs=0.1)


def test_information_of_codes_without_error_is_infinite(X):
    assert mutual_information(PCA().fit(X), X) == np.inf
    found = mutual_information(CODES, X, return_lower=True, return_std=True)
    assert found == (np.inf, np.log(400), 0.0)


def test_constant_codes_have_no_information(X):
    model = FunctionTransformer(lambda X: np.zeros((len(X), 2)), lambda Z: np.zeros((len(Z), 12)))
    assert mutual_information(model, X, return_lower=True) == (0.0, 0.0)
    assert mutual_information(Noisy(1.0), np.zeros((50, 3)), **ONCE) == pytest.approx(0, abs=0.02)


def test_component_that_the_decoder_ignores_has_no_information(X):
    noise = np.random.RandomState(0).normal(size=(400, 1))
    pca = PCA(4).fit(X)
    model = FunctionTransformer(
        lambda X: np.hstack([pca.transform(X), noise]), lambda Z: pca.inverse_transform(Z[:, :4])
    )
    assert mutual_information(model, X, **ONCE) == pytest.approx(PPCA, abs=0.2)


@pytest.fixture(scope="module")
def cancer():
    return scale(load_breast_cancer().data[:200])


@pytest.fixture(scope="module", params=["kl", "beta_tc", "mmd"])
def vae(cancer, request):
    return VAETransformer(
        3, hidden_layer_sizes=(16,), divergence=request.param, max_iter=10, random_state=0
    ).fit(cancer)


@pytest.fixture(scope="module")
def plain_vae(cancer):
    return VAETransformer(3, hidden_layer_sizes=(16,), max_iter=10, random_state=0).fit(cancer)


@pytest.mark.slow
def test_information_is_part_of_the_divergence_from_the_prior(vae, cancer):
    upper, lower, std = mutual_information(
        vae, cancer, return_lower=True, return_std=True, n_repeats=2, random_state=0
    )
    divergence = vae.kl_divergence(cancer).mean()
    assert 0.5 * min(divergence, np.log(len(cancer))) < lower <= upper < divergence + 0.01 + 4 * std


def test_divergence_is_the_information_if_the_prior_is_right(X):
    """KL(q(z | x) || p(z)) is then I(x; z) on average, as for probabilistic PCA of normal data."""
    vae = VAETransformer(4, hidden_layer_sizes=(), random_state=0).fit(X)
    assert mutual_information(vae, X, **ONCE) == pytest.approx(PPCA, abs=0.12)
    assert vae.kl_divergence(X).mean() == pytest.approx(PPCA, abs=0.12)


def test_pipelines_have_the_posterior_of_their_last_step(vae, cancer):
    measure = mutual_information if vae.divergence == "beta_tc" else total_correlation
    X = 3 * cancer + 1
    step = FunctionTransformer(lambda X: (X - 1) / 3, lambda X: 3 * X + 1)
    pipeline = make_pipeline(make_pipeline(step, vae))
    options = {"n_repeats": 2, "return_std": True, "random_state": 0}
    alone, error = measure(vae, cancer, **options)
    found, _ = measure(pipeline, X, **options)
    assert abs(found - alone) < max(4 * error, 1e-6)


# -- repetitions and their standard error ---------------------------------------------------

FACTOR = np.random.RandomState(5).randint(3, size=150)
MEASURES = {
    "information": mutual_information,
    "correlation": total_correlation,
    "gap": lambda model, X, **options: mutual_information_gap(
        model, X, np.resize(FACTOR, X.shape[0]), **options
    ),
}


@pytest.mark.parametrize("name", MEASURES)
def test_measures_are_continuous_in_the_samples(name):
    """Uncorrelated codes of equal variance, as those of a VAE: their eigenvectors are arbitrary."""
    X = normal(60, np.eye(3))
    noise = 1 + 1e-14 * np.random.RandomState(1).normal(size=X.shape)
    options = {"n_repeats": 2, "return_std": True, "random_state": 0}
    value, error = MEASURES[name](Noisy(0.3), X, **options)
    moved, _ = MEASURES[name](Noisy(0.3), X * noise, **options)
    assert abs(moved - value) < 1e-3 * max(error, 1e-3)


@pytest.mark.parametrize(
    ("name", "max_samples"),
    [
        pytest.param("information", 150, marks=pytest.mark.slow),
        pytest.param("correlation", 150, marks=pytest.mark.slow),
        ("correlation", 60),
        pytest.param("gap", 150, marks=pytest.mark.slow),
        ("gap", 60),
    ],
)
def test_seeds_scatter_by_the_standard_error(name, max_samples):
    X = circle(150)[:, [0, 1, 1]] + 0.5 * (FACTOR - 1)[:, None]
    options = {"return_std": True, "n_repeats": 2, "max_samples": max_samples}
    found = [MEASURES[name](Noisy(0.3), X, random_state=seed, **options) for seed in range(8)]
    values, errors = np.transpose(found)
    reported = np.sqrt(np.square(errors).mean())
    assert 0.4 * reported < values.std(ddof=1) < 2.2 * reported


def test_standard_error_of_deterministic_codes_is_that_of_folds():
    X = circle(60)
    value, error = total_correlation(CODES, X, n_repeats=3, return_std=True, random_state=0)
    other = total_correlation(CODES, X, n_repeats=3, random_state=1)
    assert 0 < error < 0.2
    assert 0 < abs(value - other) < 6 * error


def test_standard_error_needs_repetitions(X):
    pca = PCA(2).fit(X)
    for measure in MEASURES.values():
        with pytest.raises(ValueError, match="n_repeats=2 or more"):
            measure(pca, X, n_repeats=1, return_std=True)
        with pytest.raises(ValueError, match="n_repeats"):
            measure(pca, X, n_repeats=0)


# -- total correlation ---------------------------------------------------------------------


def test_total_correlation_of_normal_codes():
    X = normal(800, CORRELATION) * [1, 100, 0.01] + [5, 0, 1]
    truth = -0.5 * np.linalg.slogdet(CORRELATION)[1]
    assert total_correlation(CODES, X, **ONCE) == pytest.approx(truth, abs=0.03)


def test_total_correlation_of_independent_codes_is_zero(X):
    assert total_correlation(CODES, uniform(300, 4), **ONCE) < 0.03
    assert total_correlation(PCA(4).fit(X), X, **ONCE) < 0.05
    assert total_correlation(Noisy(0.1), uniform(300, 3), **ONCE) < 0.03


def test_total_correlation_of_mixed_codes():
    """Sum and difference of two uniform numbers are uncorrelated: 2 * 1/2 - log(2) nats."""
    X = uniform(1000, 2) @ [[1, 1], [1, -1]]
    assert 0.18 < total_correlation(CODES, X, **ONCE) < 1 - np.log(2) + 0.02
    assert total_correlation(PCA(1).fit(X), X) == 0  # A single component shares nothing


@pytest.mark.slow
@pytest.mark.parametrize("std", [0.05, 0.3])
def test_total_correlation_of_codes_on_a_circle(std):
    truth = 2 * cosine_entropy(std) - circle_entropy(std)
    assert total_correlation(Noisy(std), circle(600), **ONCE) == pytest.approx(truth, abs=0.1)


def test_total_correlation_of_dependent_codes_is_infinite():
    x = uniform(100, 1)
    assert total_correlation(CODES, np.hstack([x, 3 * x + 1]), return_std=True) == (np.inf, 0.0)
    assert total_correlation(CODES, np.hstack([x, np.ones((100, 1)), uniform(100, 1, 1)]), **ONCE) < 0.1


@pytest.mark.slow
def test_a_penalty_on_total_correlation_lowers_it():
    X = scale(load_breast_cancer().data)
    kl, beta_tc = (
        total_correlation(
            VAETransformer(4, divergence=name, max_iter=40, random_state=0).fit(X), X, random_state=0
        )
        for name in ("kl", "beta_tc")
    )
    assert beta_tc < 0.3 * kl


# -- mutual information gap ------------------------------------------------------------------


def test_gap_of_codes_that_are_the_factors():
    factors = uniform(600, 3)
    assert mutual_information_gap(CODES, factors, factors, **ONCE) > 0.93
    bent = np.column_stack([factors[:, 2] ** 3, -factors[:, 0], np.exp(factors[:, 1])])
    assert mutual_information_gap(CODES, bent, factors, **ONCE) > 0.93


def test_gap_of_rotated_factors_is_near_zero():
    factors = uniform(1000, 2)
    assert mutual_information_gap(CODES, factors @ [[1, 1], [1, -1]], factors, **ONCE) < 0.06


def test_gap_of_a_single_code_is_its_share_of_the_entropy():
    """For z = v + noise, I(z; bin of v) by integration over z."""
    std, n_bins, v = 0.05, 10, uniform(2000, 1)
    z = np.linspace(-0.5, 1.5, 4001)
    edges = np.linspace(0, 1, n_bins + 1)
    within = n_bins * -np.diff(norm.cdf((z[:, None] - edges) / std), axis=1)
    conditional = np.mean([integrated_entropy(z, density) for density in within.T])
    truth = (integrated_entropy(z, within.mean(1)) - conditional) / np.log(n_bins)
    Z = v + std * np.random.RandomState(1).normal(size=v.shape)
    found = mutual_information_gap(CODES, Z, v, n_bins=n_bins, **ONCE)
    assert found == pytest.approx(truth, abs=0.04)


def test_gap_of_labels_is_scikit_learns_information():
    rng = np.random.RandomState(0)
    y = np.repeat(["a", "b"], [300, 100])
    Z = np.column_stack([(y == "a") + 0.3 * rng.normal(size=400), (y == "a") + rng.normal(size=400)])
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    first, second = mutual_info_classif(Z, y, random_state=0)
    gap = mutual_information_gap(CODES, Z, y, random_state=0)
    assert gap == pytest.approx((first - second) / entropy, abs=1e-6)
    several = pd.DataFrame({"label": y, "column": Z[:, 0]})
    both = mutual_information_gap(CODES, Z, several, random_state=0)
    alone = mutual_information_gap(CODES, Z, several["column"], random_state=0)
    assert both == pytest.approx((gap + alone) / 2, abs=1e-3)


def test_gap_ignores_information_below_the_noise_of_the_posterior():
    """A second copy of the factor is too small to be visible in a draw."""
    factor = uniform(500, 1)
    X = np.hstack([factor, 1e-3 * factor])
    assert mutual_information_gap(CODES, X, factor, **ONCE) < 0.02
    assert mutual_information_gap(Noisy([1e-3, 1.0]), X, factor, **ONCE) > 0.88


def test_discrete_factors_are_used_as_they_are():
    factor = np.random.RandomState(0).poisson(30, size=500)
    Z = factor[:, None] + np.random.RandomState(1).normal(size=(500, 1))
    auto, binned, discrete = (
        mutual_information_gap(CODES, Z, factor, discrete_factors=value, n_bins=5, **ONCE)
        for value in ("auto", False, [True])
    )
    assert auto == binned != discrete


# -- shared by all measures --------------------------------------------------------------------


@pytest.mark.parametrize("name", MEASURES)
class TestEveryMeasure:
    def test_depends_only_on_the_seed(self, name, plain_vae, cancer, unchanged_globals):
        first, second, other = (
            MEASURES[name](plain_vae, cancer[:60], n_repeats=1, random_state=seed) for seed in (1, 1, 2)
        )
        assert first == second != other

    def test_fresh_entropy_without_a_seed(self, name, plain_vae, cancer):
        values = {MEASURES[name](plain_vae, cancer, n_repeats=1, max_samples=100) for _ in range(4)}
        assert len(values) > 1

    def test_accepts_data_frames_and_sparse_matrices(self, name, cancer, unchanged_globals):
        X = np.where(cancer[:150] > 0, cancer[:150], 0)
        frame = pd.DataFrame(X).rename(columns=str)
        options = {"max_samples": 80, **ONCE}
        svd = TruncatedSVD(3, random_state=0).fit(X)
        truth = MEASURES[name](svd, X, **options)
        assert MEASURES[name](svd, sparse.csr_matrix(X), **options) == pytest.approx(truth, rel=0.01)
        pipeline = make_pipeline(StandardScaler(with_mean=False), TruncatedSVD(3, random_state=0)).fit(frame)
        assert MEASURES[name](pipeline, frame, **options) >= 0

    def test_max_samples_uses_a_random_subset(self, name, X):
        model = PCA(3).fit(X)
        part, whole = (MEASURES[name](model, X, max_samples=n, **ONCE) for n in (200, 400))
        assert part != whole
        assert part == pytest.approx(whole, abs=0.3)

    def test_rejects_unsuitable_input(self, name, X):
        with pytest.raises(ValueError, match="at least 10 samples"):
            MEASURES[name](PCA(2).fit(X), X[:9])
        with pytest.raises(ValueError, match="max_samples"):
            MEASURES[name](PCA(2).fit(X), X, max_samples=5)
        with pytest.raises(TypeError, match="inverse_transform"):
            MEASURES[name](StandardScaler, X)


def test_invalid_parameters(X):
    pca = PCA(2).fit(X)
    for measure in (mutual_information, total_correlation):
        with pytest.raises(ValueError, match="n_draws"):
            measure(pca, X, n_draws=0)
    y = np.arange(400) % 2
    for factors, options, message in (
        (y[:50], {}, "inconsistent numbers"),
        (np.column_stack([y, 0 * y]), {}, "Factor 1 is constant"),
        (y, {"n_bins": 1}, "n_bins"),
        (y, {"discrete_factors": [True, False]}, "discrete_factors"),
        (y, {"discrete_factors": "all"}, "discrete_factors"),
        (y.reshape(1, -1, 1), {}, "1 or 2 dimensions"),
        (np.where(y, np.nan, np.arange(400)), {"discrete_factors": False}, "NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            mutual_information_gap(pca, X, factors, **options)
