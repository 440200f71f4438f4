"""The log-likelihood is a density, agrees with oracles, and never breaks down."""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.decomposition import PCA

from sklearn_ae import AutoencoderTransformer
from sklearn_ae._density import laplace as laplace
from sklearn_ae._density.autoencoder import NOISE_FLOOR
from sklearn_ae._density.importance_sampling import Proposals, importance_log_likelihood, normal_draws
from sklearn_ae._density.latent_prior import LatentModel
from sklearn_ae._model.statistics import CodeMoments
from sklearn_ae._utils.gaussian import gaussian_log_likelihood
from sklearn_ae.likelihoods import (
    Bernoulli,
    DiscreteObservation,
    GaussianObservation,
    HeteroscedasticObservation,
    Poisson,
)
from sklearn_ae.losses import LOSSES


class Model:
    """A decoder with its prior and its noise."""

    def __init__(self, decode, codes, noise_variance):
        moments = CodeMoments.of(np.asarray(codes))
        parts = map(torch.from_numpy, (moments.mean, moments.root, moments.landmarks))
        self.noise_variance = max(noise_variance, NOISE_FLOOR)
        self.latent = LatentModel.fit(decode, *parts, self.noise_variance)

    @property
    def covariance(self):
        return self.latent.scale @ self.latent.scale.T

    @property
    def mean(self):
        return self.latent.mean

    def colour(self, u):
        return self.latent.colour(u)


def log_likelihood(x, decode, codes, model, n_draws=128, return_std=False):
    observation = GaussianObservation(model.noise_variance)
    result = laplace.log_likelihood(x, decode, codes, model.latent, observation, n_draws=n_draws)
    return result if return_std else result[0]


def _curve(name, z):
    return {
        "sine": lambda: torch.cat([z, torch.sin(3 * z)], 1),
        "parabola": lambda: torch.cat([z, z.square()], 1),
        "circle": lambda: torch.cat([torch.cos(2 * z), torch.sin(2 * z)], 1),
    }[name]()


@pytest.fixture(params=["sine", "parabola", "circle"])
def curve(request):
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(400, 1, generator=generator, dtype=torch.float64)

    def decode(z):
        return _curve(request.param, z)

    model = Model(decode, codes, 0.1**2)
    noise = torch.randn(400, 2, generator=generator, dtype=torch.float64)
    return decode, model, decode(codes) + 0.1 * noise, codes


@pytest.fixture
def mlp():
    """An untrained decoder of 10 columns from 3 codes, bent but smooth."""
    generator = torch.Generator().manual_seed(0)
    w, v = (torch.randn(size, generator=generator, dtype=torch.float64) for size in [(3, 32), (32, 10)])

    def decode(z):
        return torch.tanh(z @ w) @ v / 4

    codes = torch.randn(300, 3, generator=generator, dtype=torch.float64)
    noise = torch.randn(300, 10, generator=generator, dtype=torch.float64)
    return decode, Model(decode, codes, 0.04), decode(codes) + 0.2 * noise, codes


def _quadrature(x, decode, model):
    """log p(x) with one component, on a fine grid of u."""
    u = torch.linspace(-12, 12, 40_001, dtype=torch.float64)[:, None]
    distance = torch.cdist(x, decode(model.colour(u)), compute_mode="donot_use_mm_for_euclid_dist")
    log_p = (-0.5 * (distance.square() / model.noise_variance + u.T.square())).logsumexp(1)
    constant = x.shape[1] * math.log(2 * math.pi * model.noise_variance) + math.log(2 * math.pi)
    return log_p + math.log(24 / 40_000) - 0.5 * constant


def _naive(x, decode, model, n=400_000):
    """Naive Monte Carlo from the prior, and its relative standard error."""
    generator = torch.Generator().manual_seed(1)
    total = torch.full((2, len(x)), -math.inf, dtype=torch.float64)
    for _ in range(n // 20_000):
        u = torch.randn(20_000, len(model.mean), generator=generator, dtype=torch.float64)
        log_w = -0.5 * torch.cdist(x, decode(model.colour(u))).square() / model.noise_variance
        both = torch.stack([log_w.logsumexp(1), (2 * log_w).logsumexp(1)])
        total = torch.logaddexp(total, both)
    constant = 0.5 * x.shape[1] * math.log(2 * math.pi * model.noise_variance)
    return total[0] - math.log(n) - constant, (0.5 * total[1] - total[0]).exp()


def test_density_integrates_to_one(curve):
    decode, model, x, _ = curve
    low, high = x.min(0).values - 2.5, x.max(0).values + 2.5
    axes = [torch.linspace(a, b, 110, dtype=torch.float64) for a, b in zip(low, high, strict=True)]
    grid = torch.cartesian_prod(*axes)
    log_p = log_likelihood(grid, decode, grid[:, :1], model)
    cell = math.prod(float(axis[1] - axis[0]) for axis in axes)
    assert float(log_p.exp().sum()) * cell == pytest.approx(1.0, abs=0.02)


def test_agrees_with_quadrature_wherever_the_row_is(curve):
    decode, model, x, codes = curve
    generator = torch.Generator().manual_seed(2)
    away = torch.rand(400, 2, generator=generator, dtype=torch.float64) * 8 - 4
    for rows, start, typical in [(x, codes, 0.02), (away, away[:, :1], 0.05)]:
        error = (log_likelihood(rows, decode, start, model) - _quadrature(rows, decode, model)).abs()
        assert error.median() < typical
        assert error.max() < 1.0


def test_agrees_with_naive_monte_carlo_in_three_dimensions(mlp):
    decode, model, x, codes = mlp
    log_p, std = log_likelihood(x, decode, codes, model, n_draws=256, return_std=True)
    expected, expected_std = _naive(x, decode, model)
    sure = expected_std < 0.05
    assert sure.sum() > 150
    error = (log_p - expected)[sure]
    assert error.abs().median() < 0.05
    assert error.abs().max() < 0.5
    assert abs(float(error.mean())) < 0.02
    scaled = error / (std.square() + expected_std.square()).sqrt()[sure]
    assert 0.3 < scaled.square().mean().sqrt() < 2.0


@pytest.mark.parametrize("shape", [(200, 12), (20, 60)])
@pytest.mark.parametrize("k", [1, 4])
def test_linear_decoder_is_probabilistic_pca(shape, k):
    rng = np.random.default_rng(0)
    data = rng.normal(size=shape) @ rng.normal(size=(shape[1], shape[1]))
    pca = PCA(k, svd_solver="full").fit(data)
    x, mean, components = map(torch.as_tensor, (data, pca.mean_, pca.components_))
    codes = torch.as_tensor(pca.transform(data))

    def decode(z):
        return mean + z @ components

    model = Model(decode, codes, pca.noise_variance_)
    spectrum = np.diag(pca.explained_variance_ - pca.noise_variance_)
    np.testing.assert_allclose(model.covariance, spectrum, atol=1e-9 * spectrum.max())
    expected = pca.score_samples(data)
    loadings = torch.as_tensor(np.sqrt(spectrum)) @ components
    closed = gaussian_log_likelihood(x - mean, loadings, pca.noise_variance_)
    np.testing.assert_allclose(closed, expected, rtol=1e-10)
    log_p, std = log_likelihood(x, decode, codes, model, return_std=True)
    np.testing.assert_allclose(log_p, expected, rtol=1e-8)
    assert std.max() < 1e-6


def test_same_result_in_any_batch_and_order(mlp):
    decode, model, x, codes = mlp
    whole = log_likelihood(x, decode, codes, model)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert torch.equal(whole, log_likelihood(x, decode, codes, model))
    assert torch.equal(before, torch.get_rng_state())
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    shuffled = log_likelihood(x[order], decode, codes[order], model)
    np.testing.assert_allclose(shuffled, whole[order], atol=1e-8)
    single = [log_likelihood(x[i : i + 1], decode, codes[i : i + 1], model) for i in range(9)]
    np.testing.assert_allclose(torch.cat(single), whole[:9], atol=1e-8)


def test_far_rows_are_finite_and_ordered(curve):
    decode, model, _, _ = curve
    far = 10.0 ** torch.arange(1, 12, dtype=torch.float64)
    x = far[:, None] * torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    log_p, std = log_likelihood(x, decode, x[:, :1], model, return_std=True)
    assert log_p.isfinite().all()
    assert std.isfinite().all()
    assert (log_p.diff() < 0).all()
    extreme = torch.full((1, 2), 1e200, dtype=torch.float64)
    assert log_likelihood(extreme, decode, extreme[:, :1], model).isfinite().all()


@pytest.mark.parametrize("scale", [1e-6, 30.0, 1e6])
def test_scaling_the_data_shifts_by_the_log_jacobian(mlp, scale):
    decode, model, x, codes = mlp
    wider = Model(lambda z: scale * decode(z), codes, 0.04 * scale**2)
    scaled = log_likelihood(scale * x, lambda z: scale * decode(z), codes, wider)
    expected = log_likelihood(x, decode, codes, model) - 10 * math.log(scale)
    np.testing.assert_allclose(scaled, expected, atol=1e-6)


def test_reparametrised_codes_leave_the_density(mlp):
    decode, model, x, codes = mlp
    map_ = torch.tensor([[2.0, 0.5, 0.0], [0.0, 0.1, 3.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
    back = torch.linalg.inv(map_)
    other = Model(lambda z: decode(z @ back), codes @ map_, 0.04)
    change = map_.T @ model.covariance @ map_
    torch.testing.assert_close(other.covariance, change, rtol=1e-6, atol=1e-9)
    log_p = log_likelihood(x, lambda z: decode(z @ back), codes @ map_, other)
    assert (log_p - log_likelihood(x, decode, codes, model)).abs().median() < 0.05


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("codes", [torch.zeros(50, 4), torch.randn(50, 1) @ torch.ones(1, 4)])
@pytest.mark.parametrize("noise_variance", [0.0, 1e-12, 1.0])
def test_degenerate_codes_and_noise(codes, noise_variance):
    codes = codes.double()

    def decode(z):
        return 3.0 + z.sum(1, keepdim=True) * torch.ones(1, 5, dtype=z.dtype)

    model = Model(decode, codes, noise_variance)
    x = decode(codes)
    log_p, std = log_likelihood(x, decode, codes, model, return_std=True)
    assert log_p.isfinite().all()
    assert std.isfinite().all()
    farther = log_likelihood(x + torch.arange(5.0) * 10, decode, codes, model)
    assert (farther < log_p).all()


def test_overcomplete_codes_of_a_wide_decoder():
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(20, 6, generator=generator, dtype=torch.float64)
    codes = torch.randn(100, 20, generator=generator, dtype=torch.float64)
    model = Model(lambda z: z @ weights, codes, 0.5)
    x = codes @ weights
    log_p = log_likelihood(x, lambda z: z @ weights, codes, model)
    loadings = model.latent.scale.T @ weights
    closed = gaussian_log_likelihood(x - model.mean @ weights, loadings, model.noise_variance)
    np.testing.assert_allclose(log_p, closed, rtol=1e-6)


def test_error_falls_with_more_draws_and_std_tells(mlp):
    decode, model, x, codes = mlp
    truth = log_likelihood(x, decode, codes, model, n_draws=4096)
    few, few_std = log_likelihood(x, decode, codes, model, n_draws=32, return_std=True)
    many, many_std = log_likelihood(x, decode, codes, model, n_draws=512, return_std=True)
    assert (many - truth).square().mean() < 0.3 * (few - truth).square().mean()
    assert many_std.mean() < 0.5 * few_std.mean()
    assert 0.2 < ((many - truth) / many_std).square().mean().sqrt() < 2.0


def test_importance_weights_serve_any_likelihood_and_proposal():
    """A Bernoulli decoder with a poor normal proposal, against plain Monte Carlo."""
    weights = torch.tensor([[1.0, -2.0, 0.5], [0.3, 1.0, -1.0]], dtype=torch.float64)
    x = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]], dtype=torch.float64)

    def log_joint(u):
        signs = 2 * x[:, None] - 1
        prior = -0.5 * u.square().sum(-1) - math.log(2 * math.pi)
        return torch.nn.functional.logsigmoid(signs * (u @ weights)).sum(-1) + prior

    proposals = Proposals(
        means=torch.full((2, 1, 2), 0.3, dtype=torch.float64),
        factors=torch.eye(2, dtype=torch.float64).expand(2, 1, 2, 2) / 0.8,
        log_weights=torch.zeros(2, 1, dtype=torch.float64),
    )
    log_p, std = importance_log_likelihood(log_joint, proposals, 256)
    u = normal_draws(200_000, 2, seed=3)[1]
    expected = [torch.sigmoid((2 * row - 1) * (u @ weights)).prod(1).mean().log() for row in x]
    np.testing.assert_allclose(log_p, torch.stack(expected), atol=0.05)
    assert (std < 0.1).all()


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.discrete])
def test_discrete_likelihoods_agree_with_naive_monte_carlo(name, mlp):
    decode, model, _, codes = mlp
    loss = LOSSES[name]()
    generator = torch.Generator().manual_seed(0)
    mean = loss.inverse_link(decode(codes))
    draw = {"poisson": torch.poisson, "binary_cross_entropy": torch.bernoulli}[name]
    x = draw(mean, generator=generator)
    observation = DiscreteObservation(loss)
    log_p, std = laplace.log_likelihood(x, decode, codes, model.latent, observation, n_draws=256)
    etas = decode(model.colour(normal_draws(40_000, 3, seed=7)[1]))
    expected = torch.stack([loss.log_prob(etas, row.expand_as(etas)).sum(1) for row in x[:100]])
    expected = expected.logsumexp(1) - math.log(40_000)
    error = (log_p[:100] - expected).abs()
    assert error.median() < 0.05
    assert error.max() < 0.4
    assert std.max() < 0.4


# -- observations --------------------------------------------------------------------------

VARIANCES = torch.tensor([0.1, 1.0, 3.0, 20.0]).double()
COUNTS = torch.tensor([[0.0, 1.0, 4.0, 2.0], [1.0, 0.0, 0.0, 30.0], [2.0, 3.0, 1.0, 0.0]]).double()
# observation, rows of four columns, width of eta, distribution of x given eta
OBSERVATIONS = {
    "one variance": (GaussianObservation(0.7), COUNTS - 1.5, 4, lambda eta: normal(eta, 0.7 * VARIANCES**0)),
    "one per column": (GaussianObservation(VARIANCES), COUNTS - 1.5, 4, lambda eta: normal(eta, VARIANCES)),
    "one per entry": (
        HeteroscedasticObservation(),
        COUNTS - 1.5,
        8,
        lambda eta: normal(eta[..., :4], eta[..., 4:].exp()),
    ),
    "bernoulli": (
        DiscreteObservation(Bernoulli()),
        COUNTS.clamp(max=1),
        4,
        lambda eta: torch.distributions.Bernoulli(logits=eta),
    ),
    "poisson": (
        DiscreteObservation(Poisson()),
        COUNTS,
        4,
        lambda eta: torch.distributions.Poisson(eta.exp()),
    ),
}


def normal(mean, variance):
    return torch.distributions.Normal(mean, variance.sqrt())


@pytest.mark.parametrize("name", OBSERVATIONS)
class TestObservations:
    @pytest.fixture
    def case(self, name):
        observation, x, width, given = OBSERVATIONS[name]
        eta = torch.randn((3, width), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        return observation, x, eta, given

    def test_misfit_is_minus_the_log_density_with_its_constants(self, case):
        observation, x, eta, given = case
        torch.testing.assert_close(observation.misfit(eta, x), -given(eta).log_prob(x).sum(1))

    def test_misfits_of_all_pairs_are_those_of_each_but_for_a_constant_of_the_row(self, case):
        observation, x, eta, given = case
        pairs = -torch.stack([given(eta).log_prob(row).sum(1) for row in x])
        difference = observation.misfits(eta, x) - pairs
        torch.testing.assert_close(difference, difference[:, :1].expand_as(difference))

    def test_slope_is_the_gradient_of_the_log_density(self, case):
        observation, x, eta, given = case
        eta = eta.requires_grad_()
        (expected,) = torch.autograd.grad(given(eta).log_prob(x).sum(), eta)
        torch.testing.assert_close(observation.slope(eta.detach(), x), expected)

    def test_information_is_the_expected_curvature(self, case, name):
        """Minus the Hessian of the log density, averaged over draws where it depends on x."""
        observation, x, eta, given = case
        width = eta.shape[1]
        jac = torch.randn((3, width, 2), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            draws = given(eta).sample((40_000,)) if name == "one per entry" else x[None]
        for i in range(3):
            hessian = torch.autograd.functional.hessian(
                lambda e, i=i: -given(e).log_prob(draws[:, i]).sum() / len(draws), eta[i]
            )
            expected = jac[i].T @ hessian @ jac[i]
            found = observation.information(eta[i : i + 1], jac[i : i + 1])[0]
            tolerance = 0.05 if name == "one per entry" else 1e-9
            torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_an_equal_variance_for_each_column_is_one_for_all():
    x, eta = COUNTS, COUNTS.flip(0) + 0.3
    one, each = GaussianObservation(0.7), GaussianObservation(torch.full((4,), 0.7).double())
    jac = torch.ones(3, 4, 2).double()
    for name, arguments in [
        ("misfit", (eta, x)),
        ("misfits", (eta, x)),
        ("slope", (eta, x)),
        ("information", (eta, jac)),
    ]:
        torch.testing.assert_close(getattr(one, name)(*arguments), getattr(each, name)(*arguments))


# -- through the estimator ---------------------------------------------------------------------


def points_on(name, n=600):
    rng = np.random.RandomState(0)
    if name == "circle":
        angle = rng.uniform(0, 2 * np.pi, n)
        return np.column_stack([np.cos(angle), np.sin(angle)]) * (1 + 0.1 * rng.normal(size=(n, 1)))
    t = rng.uniform(-2, 2, n)
    return np.column_stack([t, np.sin(3 * t) if name == "sine" else t**2]) + 0.1 * rng.normal(size=(n, 2))


def on_a_curve():
    return AutoencoderTransformer(1, hidden_layer_sizes=(64, 32), max_iter=200, random_state=0)


@pytest.fixture(
    scope="module", params=[("sine", 0.02), ("parabola", 0.05), ("circle", 0.05)], ids=lambda p: p[0]
)
def fitted_curve(request):
    name, tolerance = request.param
    X = points_on(name)
    model = on_a_curve().fit(X)
    assert model.uses_network_
    return model, X, tolerance


def test_fitted_densities_integrate_to_one(fitted_curve):
    model, X, tolerance = fitted_curve
    axes = [np.linspace(a - 2, b + 2, 80) for a, b in zip(X.min(0), X.max(0), strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    assert np.exp(model.score_samples(grid)).sum() * cell == pytest.approx(1, abs=tolerance)


def test_fitted_densities_agree_with_draws_from_the_prior(fitted_curve):
    """p(x) = E_z p(x | z) with z from the model's own prior, decoded by its public method."""
    model, X, _ = fitted_curve
    noise = model.noise_variance_
    latent = model._latent()
    z = latent.colour(normal_draws(100_000, 1, seed=5)[1]).numpy() * model.scale_
    decoded = model.inverse_transform(z)
    rows = X[:50]
    squared = ((rows[:, None] - decoded) ** 2).sum(-1)
    expected = logsumexp(-0.5 * squared / noise, axis=1) - np.log(len(z)) - np.log(2 * np.pi * noise)
    error = np.abs(model.score_samples(rows, n_draws=256) - expected)
    assert np.median(error) < 0.03
    assert error.max() < 0.5


@pytest.mark.parametrize("name", ["sine", "circle"])
def test_nonlinear_models_explain_fresh_rows_better_than_pca(name):
    """Not so on the parabola: its codes are far from normal, which the prior takes them to be."""
    X, fresh = np.split(points_on(name, 800), [600])
    assert on_a_curve().fit(X).score(fresh) > PCA(1).fit(X).score(fresh) + 0.3


@pytest.mark.parametrize("c", [1e-3, 100.0])
def test_score_samples_are_in_the_units_of_X(c, fitted_curve):
    model, X, _ = fitted_curve
    scaled = on_a_curve().fit(c * X)
    shift = 2 * np.log(c)
    np.testing.assert_allclose(scaled.score(c * X), model.score(X) - shift, atol=0.05)
