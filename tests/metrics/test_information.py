"""Information in codes and what they share, against closed forms and numerical integrals."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from scipy.special import ive
from scipy.stats import norm
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_selection import mutual_info_classif
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler, scale

from sklearn_ae import AutoencoderTransformer, VAETransformer
from sklearn_ae.metrics import mutual_information, mutual_information_gap, total_correlation
from sklearn_ae.metrics._aggregate import Aggregate, Kernels, blend
from sklearn_ae.metrics._posteriors import _squared_jacobians, posteriors, posteriors_or_points

# few epochs suffice for what is tested here
pytestmark = pytest.mark.filterwarnings(
    "ignore:The loss was still falling steeply", "ignore:Only . of . components are active"
)

CODES = FunctionTransformer(inverse_func=lambda Z: Z)  # rows are their own codes
CORRELATION = np.array([[1.0, 0.8, 0.3], [0.8, 1.0, 0.5], [0.3, 0.5, 1.0]])


def normal(n, covariance, seed=0):
    """Rows whose covariance is exactly this one."""
    X = np.random.RandomState(seed).normal(size=(n, len(covariance)))
    white = PCA(whiten=True).fit_transform(X) * np.sqrt(n / (n - 1))
    return white @ np.linalg.cholesky(covariance).T


def uniform(n, k, seed=0):
    return np.random.RandomState(seed).uniform(size=(n, k))


class Noisy(TransformerMixin, BaseEstimator):
    """Rows are the means of their codes' posteriors."""

    def __init__(self, std=0.1):
        self.std = std

    def transform(self, X):
        return np.asarray(X)

    inverse_transform = transform

    def posterior(self, X):
        return np.asarray(X), np.broadcast_to(self.std, np.shape(X))


class Angle(TransformerMixin, BaseEstimator):
    """The code of a point in the plane is its angle."""

    def transform(self, X):
        return np.arctan2(X[:, 1], X[:, 0])[:, None]

    def inverse_transform(self, Z):
        return np.column_stack([np.cos(Z[:, 0]), np.sin(Z[:, 0])])


def circle(n, seed=0):
    angle = 2 * np.pi * uniform(n, 1, seed)[:, 0]
    return np.column_stack([np.cos(angle), np.sin(angle)])


def integrated_entropy(values, density):
    return -np.trapezoid(density * np.log(np.maximum(density, 1e-300)), values)


def circle_entropy(std):
    """Of a point on the unit circle with normal noise: the density at a radius is a Bessel function."""
    r = np.linspace(max(1e-9, 1 - 9 * std), 1 + 9 * std, 20001)
    log_density = np.log(ive(0, r / std**2)) - (r - 1) ** 2 / (2 * std**2) - np.log(2 * np.pi * std**2)
    return -np.trapezoid(2 * np.pi * r * np.exp(log_density) * log_density, r)


def cosine_entropy(std):
    """Of the cosine of a uniform angle, with normal noise."""
    x = np.linspace(-1 - 8 * std, 1 + 8 * std, 2001)
    angles = (np.arange(4000) + 0.5) * np.pi / 4000
    return integrated_entropy(x, norm.pdf(x[:, None], np.cos(angles), std).mean(1))


def normal_entropy(std, k=1):
    return 0.5 * k * np.log(2 * np.pi * np.e * std**2)


# -- mutual information --------------------------------------------------------------------


SPECTRUM = np.r_[9.0, 5.0, 3.0, 1.5, np.full(8, 0.2)]


@pytest.fixture(scope="module")
def rows():
    """600 rows with a spectrum of which probabilistic PCA with 4 components is the truth."""
    basis = np.linalg.qr(np.random.RandomState(1).normal(size=(12, 12)))[0]
    return normal(600, np.diag(SPECTRUM)) @ basis


PPCA = 0.5 * np.log(SPECTRUM[:4] / 0.2).sum()


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
def test_information_of_linear_codes_is_that_of_probabilistic_pca(rows, model):
    value = mutual_information(model.fit(rows), rows, random_state=0)
    assert value == pytest.approx(PPCA, abs=0.06)


def test_posterior_of_pca_is_that_of_probabilistic_pca(rows):
    pca = PCA(4).fit(rows)
    q = posteriors(pca, rows)
    noise, shrunk = 0.2, 1 - 0.2 / SPECTRUM[:4]
    np.testing.assert_allclose(q.codes(q.means), shrunk * pca.transform(rows), atol=1e-6)
    np.testing.assert_allclose(q.component_variances(), np.tile(noise * shrunk, (600, 1)), rtol=1e-5)


@pytest.mark.parametrize("std", [0.3, 2.0])
def test_information_of_normal_codes_with_noise(std):
    truth = 0.5 * np.linalg.slogdet(np.eye(3) + CORRELATION / std**2)[1]
    upper, lower = mutual_information(Noisy(std), normal(800, CORRELATION), return_lower=True, random_state=0)
    assert upper == pytest.approx(truth, abs=0.06)
    assert lower == pytest.approx(truth, abs=0.06 if std > 1 else 0.7)


@pytest.mark.parametrize("std", [0.03, 0.1, 0.5])
def test_information_of_codes_on_a_circle(std):
    truth = circle_entropy(std) - normal_entropy(std, 2)
    upper, lower = mutual_information(Noisy(std), circle(1500), return_lower=True, random_state=0)
    assert upper == pytest.approx(truth, abs=0.05)
    assert lower == pytest.approx(truth, abs=0.07)


def test_information_of_four_codes_is_log_4():
    X = np.eye(4)[np.arange(400) % 4]
    values = mutual_information(Noisy(0.05), X, return_lower=True, random_state=0)
    np.testing.assert_allclose(values, np.log(4), atol=0.02)


def test_bounds_hold_the_truth_between_them_where_rows_are_few():
    X = np.column_stack([circle(500, seed) for seed in range(3)])
    truth = 3 * (circle_entropy(0.1) - normal_entropy(0.1, 2))
    upper, lower = mutual_information(Noisy(0.1), X, return_lower=True, random_state=0)
    assert truth - 2.5 < lower < truth - 0.5
    assert truth + 0.2 < upper < truth + 1.5
    assert lower < np.log(500)


def test_information_of_a_curved_decoder():
    """The angle of a point near the unit circle, told from its radius how large the noise is."""
    std = 0.05
    X = circle(1000) + std * np.random.RandomState(1).normal(size=(1000, 2))
    truth = np.log(2 * np.pi) - normal_entropy(std)  # but for the ends of the interval
    assert mutual_information(Angle(), X, random_state=0) == pytest.approx(truth, abs=0.08)


def test_jacobians_are_those_of_autograd(curve):
    model = AutoencoderTransformer(2, hidden_layer_sizes=(8,), max_iter=30, random_state=0).fit(curve)
    assert model.uses_network_
    codes = model.transform(curve[:20])
    where = posteriors(model, curve).coordinates
    module = model.module_.double()
    decoded = torch.func.vmap(torch.func.jacrev(lambda z: module.reconstruct(z[None] / model.scale_)[0]))
    jac = decoded(torch.from_numpy(codes)).detach().numpy() @ where.basis.T
    truth = jac.transpose(0, 2, 1) @ jac
    np.testing.assert_allclose(_squared_jacobians(model, codes, where), truth, rtol=1e-4, atol=1e-6)


def test_codes_without_an_error_tell_infinitely_much(rows):
    assert mutual_information(PCA().fit(rows), rows) == np.inf
    assert mutual_information(CODES, rows, return_lower=True) == (np.inf, np.log(600))


def test_a_constant_code_tells_nothing(rows):
    model = FunctionTransformer(lambda X: np.zeros((len(X), 2)), lambda Z: np.zeros((len(Z), 12)))
    assert mutual_information(model, rows, return_lower=True) == (0.0, 0.0)
    assert mutual_information(Noisy(1.0), np.zeros((50, 3)), random_state=0) == pytest.approx(0, abs=0.02)


def test_a_component_that_the_decoder_does_not_see_tells_nothing(rows):
    noise = np.random.RandomState(0).normal(size=(600, 1))
    pca = PCA(4).fit(rows)
    blind = FunctionTransformer(
        lambda X: np.hstack([pca.transform(X), noise]), lambda Z: pca.inverse_transform(Z[:, :4])
    )
    assert mutual_information(blind, rows, random_state=0) == pytest.approx(PPCA, abs=0.15)


@pytest.fixture(scope="module")
def cancer():
    return scale(load_breast_cancer().data)


@pytest.fixture(scope="module", params=["kl", "beta_tc", "mmd"])
def vae(cancer, request):
    return VAETransformer(5, divergence=request.param, max_iter=20, random_state=0).fit(cancer)


def test_information_is_part_of_the_divergence_from_the_prior(vae, cancer):
    upper, lower = mutual_information(vae, cancer, return_lower=True, random_state=0)
    divergence = vae.kl_divergence(cancer).mean()
    assert 0.5 * min(divergence, np.log(len(cancer))) < lower <= upper < divergence + 0.01


def test_divergence_is_information_where_the_prior_is_right(rows):
    """KL(q(z | x) || p(z)) is then I(x; z) on average: probabilistic PCA of normal rows."""
    vae = VAETransformer(4, hidden_layer_sizes=(), random_state=0).fit(rows)
    assert mutual_information(vae, rows, random_state=0) == pytest.approx(PPCA, abs=0.1)
    assert vae.kl_divergence(rows).mean() == pytest.approx(PPCA, abs=0.1)


def test_pipelines_have_the_posterior_of_their_last_step(vae, cancer):
    X = 3 * cancer + 1
    pipeline = make_pipeline(
        make_pipeline(FunctionTransformer(lambda X: (X - 1) / 3, lambda X: 3 * X + 1), vae)
    )
    for measure in (mutual_information, total_correlation):
        alone = measure(vae, cancer, random_state=0)
        assert measure(pipeline, X, random_state=0) == pytest.approx(alone, rel=0.01)


def test_noise_of_an_own_posterior_is_used_as_it_is(cancer, vae):
    mean, std = vae.posterior(cancer)
    q = posteriors(vae, cancer)
    np.testing.assert_allclose(q.codes(q.means), mean, atol=1e-9)
    np.testing.assert_allclose(np.sqrt(q.component_variances()), std, rtol=1e-6)
    np.testing.assert_allclose(q.codes(q.draws(4000, np.random.RandomState(0))).std(0), std, rtol=0.1)


# -- the density of all codes together -----------------------------------------------------


def test_a_row_is_judged_without_itself():
    """An outlier's density does not come from its own posterior, be it ever so narrow."""
    X = normal(200, np.eye(2))
    X[0] = 8
    q = posteriors_or_points(Noisy(1e-3), X)
    draws = q.draws(2, np.random.RandomState(0))
    aggregate = Aggregate(q, draws, np.random.RandomState(0))
    assert aggregate.mixture[:, 0].min() > 0  # its own kernel is high
    assert aggregate.joint[:, 0].max() < -10
    assert aggregate.product[:, 0].max() < -5


def test_densities_integrate_to_one():
    """The mean of density / truth over draws from the truth, where posteriors are the truth's noise."""
    X = np.random.RandomState(0).normal(size=(1000, 2))
    q = posteriors_or_points(Noisy(1.0), X)
    draws = q.draws(4, np.random.RandomState(1))
    aggregate = Aggregate(q, draws, np.random.RandomState(0))
    truth = norm.logpdf(q.codes(draws), scale=np.sqrt(2)).sum(2) + q.coordinates.log_det
    for log_density in (aggregate.joint, aggregate.product, aggregate.mixture):
        assert np.exp(log_density - truth).mean() == pytest.approx(1, abs=0.03)


def test_kernels_are_normal_densities():
    rng = np.random.RandomState(0)
    means, roots, x = rng.normal(size=(7, 3)), rng.normal(size=(7, 3, 3)), rng.normal(size=(5, 3))
    covariances = roots @ roots.transpose(0, 2, 1)
    log_q = next(Kernels(means, covariances).blocks(x))[1]
    truth = torch.distributions.MultivariateNormal(torch.from_numpy(means), torch.from_numpy(covariances))
    np.testing.assert_allclose(log_q, truth.log_prob(torch.from_numpy(x[:, None])), rtol=1e-8)


def test_blend_finds_the_weights():
    rng = np.random.RandomState(0)
    x = np.where(rng.uniform(size=20000) < 0.3, rng.normal(size=20000), 5 + rng.normal(size=20000))
    parts = np.stack([norm.logpdf(x), norm.logpdf(x, 5), np.full(len(x), -np.inf)])
    truth = np.log(0.3 * norm.pdf(x) + 0.7 * norm.pdf(x, 5))
    np.testing.assert_allclose(blend(parts), truth, atol=0.05)


# -- total correlation ---------------------------------------------------------------------


def test_total_correlation_of_normal_codes():
    X = normal(1000, CORRELATION) * [1, 100, 0.01] + [5, 0, 1]
    truth = -0.5 * np.linalg.slogdet(CORRELATION)[1]
    assert total_correlation(CODES, X, random_state=0) == pytest.approx(truth, abs=0.03)


def test_total_correlation_of_independent_codes_is_zero(rows):
    assert total_correlation(CODES, uniform(500, 4), random_state=0) < 0.01
    assert total_correlation(PCA(4).fit(rows), rows, random_state=0) < 0.02
    assert total_correlation(Noisy(0.1), uniform(500, 3), random_state=0) < 0.01


def test_total_correlation_of_mixed_codes():
    """Sum and difference of two uniform numbers are uncorrelated: 2 * 1/2 - log(2) nats."""
    X = uniform(1500, 2) @ [[1, 1], [1, -1]]
    assert 0.2 < total_correlation(CODES, X, random_state=0) < 1 - np.log(2) + 0.02
    assert total_correlation(PCA(1).fit(X), X) == 0  # nothing to be shared


@pytest.mark.parametrize("std", [0.05, 0.3])
def test_total_correlation_of_codes_on_a_circle(std):
    truth = 2 * cosine_entropy(std) - circle_entropy(std)
    assert total_correlation(Noisy(std), circle(1000), random_state=0) == pytest.approx(truth, abs=0.08)


def test_total_correlation_of_dependent_codes_is_infinite():
    x = uniform(100, 1)
    assert total_correlation(CODES, np.hstack([x, 3 * x + 1])) == np.inf
    assert (
        total_correlation(CODES, np.hstack([x, np.ones((100, 1)), uniform(100, 1, 1)]), random_state=0) < 0.1
    )


def test_a_penalty_on_total_correlation_lowers_it(cancer):
    values = [
        total_correlation(
            VAETransformer(4, divergence=name, max_iter=40, random_state=0).fit(cancer),
            cancer,
            random_state=0,
        )
        for name in ("kl", "beta_tc")
    ]
    assert values[1] < 0.3 * values[0]


# -- mutual information gap ------------------------------------------------------------------


def test_gap_of_codes_that_are_the_factors():
    factors = uniform(1000, 3)
    assert mutual_information_gap(CODES, factors, factors, random_state=0) > 0.95
    bent = np.column_stack([factors[:, 2] ** 3, -factors[:, 0], np.exp(factors[:, 1])])
    assert mutual_information_gap(CODES, bent, factors, random_state=0) > 0.95


def test_gap_of_rotated_factors_is_near_zero():
    factors = uniform(1000, 2)
    assert mutual_information_gap(CODES, factors @ [[1, 1], [1, -1]], factors, random_state=0) < 0.06


def test_gap_of_a_single_code_is_its_share_of_the_entropy():
    """z = v + noise: I(z; bin of v) by integration over z."""
    std, n_bins, v = 0.05, 10, uniform(2000, 1)
    z = np.linspace(-0.5, 1.5, 4001)
    edges = np.linspace(0, 1, n_bins + 1)
    within = n_bins * -np.diff(norm.cdf((z[:, None] - edges) / std), axis=1)
    conditional = np.mean([integrated_entropy(z, density) for density in within.T])
    truth = (integrated_entropy(z, within.mean(1)) - conditional) / np.log(n_bins)
    Z = v + std * np.random.RandomState(1).normal(size=v.shape)
    assert mutual_information_gap(CODES, Z, v, n_bins=n_bins, random_state=0) == pytest.approx(
        truth, abs=0.04
    )


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


def test_gap_leaves_out_what_the_posterior_hides():
    """A second copy of the factor, too small beside the noise to be seen in a draw."""
    factor = uniform(800, 1)
    X = np.hstack([factor, 1e-3 * factor])
    assert mutual_information_gap(CODES, X, factor, random_state=0) < 0.02
    assert mutual_information_gap(Noisy([1e-3, 1.0]), X, factor, random_state=0) > 0.9


def test_discrete_factors_are_taken_as_they_are():
    factor = np.random.RandomState(0).poisson(30, size=500)
    Z = factor[:, None] + np.random.RandomState(1).normal(size=(500, 1))
    auto, cut, whole = (
        mutual_information_gap(CODES, Z, factor, discrete_factors=value, n_bins=5, random_state=0)
        for value in ("auto", False, [True])
    )
    assert auto == cut != whole


# -- what all of them share --------------------------------------------------------------------

MEASURES = {
    "information": mutual_information,
    "correlation": total_correlation,
    "gap": lambda model, X, **options: mutual_information_gap(model, X, np.arange(_n(X)) % 3, **options),
}


def _n(X):
    return X.shape[0]


@pytest.mark.parametrize("name", MEASURES)
class TestEveryMeasure:
    def test_depends_on_the_seed_alone(self, name, vae, cancer, unchanged_globals):
        first, second, other = (MEASURES[name](vae, cancer[:100], random_state=seed) for seed in (1, 1, 2))
        assert first == second != other

    def test_fresh_entropy_without_a_seed(self, name, vae, cancer):
        assert MEASURES[name](vae, cancer[:100]) != MEASURES[name](vae, cancer[:100])

    def test_takes_frames_and_sparse_rows(self, name, cancer, unchanged_globals):
        X = np.where(cancer[:150] > 0, cancer[:150], 0)
        frame = pd.DataFrame(X).rename(columns=str)
        options = {"random_state": 0, "max_samples": 80}
        svd = TruncatedSVD(3, random_state=0).fit(X)
        truth = MEASURES[name](svd, X, **options)
        assert MEASURES[name](svd, sparse.csr_matrix(X), **options) == pytest.approx(truth, rel=0.05)
        pipeline = make_pipeline(StandardScaler(with_mean=False), TruncatedSVD(3, random_state=0)).fit(frame)
        assert MEASURES[name](pipeline, frame, **options) >= 0

    def test_a_part_of_many_rows_will_do(self, name, rows):
        model = PCA(3).fit(rows)
        part, whole = (MEASURES[name](model, rows, max_samples=n, random_state=0) for n in (300, 600))
        assert part != whole
        assert part == pytest.approx(whole, abs=0.25)

    def test_refuses_what_it_cannot_measure(self, name, rows):
        with pytest.raises(ValueError, match="at least 10 rows"):
            MEASURES[name](PCA(2).fit(rows), rows[:9])
        with pytest.raises(ValueError, match="max_samples"):
            MEASURES[name](PCA(2).fit(rows), rows, max_samples=5)
        with pytest.raises(TypeError, match="inverse_transform"):
            MEASURES[name](StandardScaler, rows)


def test_parameters_are_checked(rows):
    pca = PCA(2).fit(rows)
    for measure in (mutual_information, total_correlation):
        with pytest.raises(ValueError, match="n_draws"):
            measure(pca, rows, n_draws=0)
    y = np.arange(600) % 2
    for factors, options, message in (
        (y[:50], {}, "inconsistent numbers"),
        (np.column_stack([y, 0 * y]), {}, "Factor 1 is constant"),
        (y, {"n_bins": 1}, "n_bins"),
        (y, {"discrete_factors": [True, False]}, "discrete_factors"),
        (y, {"discrete_factors": "all"}, "discrete_factors"),
        (y.reshape(1, -1, 1), {}, "1 or 2 dimensions"),
        (np.where(y, np.nan, np.arange(600)), {"discrete_factors": False}, "NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            mutual_information_gap(pca, rows, factors, **options)
