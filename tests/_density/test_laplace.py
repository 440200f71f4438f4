"""The estimated log-likelihood is a density, agrees with oracles, and is finite in extreme cases."""

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from sklearn_ae._density import laplace
from sklearn_ae._density.autoencoder import NOISE_FLOOR
from sklearn_ae._density.decoder import Decoder
from sklearn_ae._density.importance_sampling import normal_draws
from sklearn_ae._density.latent_prior import LatentModel
from sklearn_ae._density.observations import GaussianObservation, OptionObservation
from sklearn_ae._model.statistics import CodeMoments
from sklearn_ae._utils.gaussian import gaussian_log_likelihood
from sklearn_ae.losses import LOSSES


class Model:
    """Decoder with its prior and noise."""

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


CURVES = {
    "sine": lambda z: torch.cat([z, torch.sin(3 * z)], 1),
    "parabola": lambda z: torch.cat([z, z.square()], 1),
    "circle": lambda z: torch.cat([torch.cos(2 * z), torch.sin(2 * z)], 1),
}


@pytest.fixture(scope="module", params=CURVES)
def curve(request):
    decode = CURVES[request.param]
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(200, 1, generator=generator, dtype=torch.float64)
    model = Model(decode, codes, 0.1**2)
    noise = torch.randn(200, 2, generator=generator, dtype=torch.float64)
    return decode, model, decode(codes) + 0.1 * noise, codes


@pytest.fixture(scope="module")
def mlp():
    """Untrained decoder from 3 components to 10 features, curved but smooth."""
    generator = torch.Generator().manual_seed(0)
    w, v = (torch.randn(size, generator=generator, dtype=torch.float64) for size in [(3, 32), (32, 10)])

    def decode(z):
        return torch.tanh(z @ w) @ v / 4

    codes = torch.randn(150, 3, generator=generator, dtype=torch.float64)
    noise = torch.randn(150, 10, generator=generator, dtype=torch.float64)
    return decode, Model(decode, codes, 0.04), decode(codes) + 0.2 * noise, codes


def quadrature(x, decode, model, n=8_001):
    """Return log p(x) with one component, by the trapezoidal rule on a fine grid of u."""
    u = torch.linspace(-12, 12, n, dtype=torch.float64)[:, None]
    distance = torch.cdist(x, decode(model.colour(u)), compute_mode="donot_use_mm_for_euclid_dist")
    log_p = (-0.5 * (distance.square() / model.noise_variance + u.T.square())).logsumexp(1)
    constant = x.shape[1] * math.log(2 * math.pi * model.noise_variance) + math.log(2 * math.pi)
    return log_p + math.log(24 / (n - 1)) - 0.5 * constant


def naive_monte_carlo(x, decode, model, n=400_000):
    """Return log p(x) by draws from the prior, and its relative standard error."""
    generator = torch.Generator().manual_seed(1)
    total = torch.full((2, len(x)), -math.inf, dtype=torch.float64)
    for _ in range(n // 20_000):
        u = torch.randn(20_000, len(model.mean), generator=generator, dtype=torch.float64)
        log_w = -0.5 * torch.cdist(x, decode(model.colour(u))).square() / model.noise_variance
        both = torch.stack([log_w.logsumexp(1), (2 * log_w).logsumexp(1)])
        total = torch.logaddexp(total, both)
    constant = 0.5 * x.shape[1] * math.log(2 * math.pi * model.noise_variance)
    return total[0] - math.log(n) - constant, (0.5 * total[1] - total[0]).exp()


@pytest.mark.slow
def test_density_integrates_to_one(curve):
    decode, model, x, _ = curve
    low, high = x.min(0).values - 0.6, x.max(0).values + 0.6
    axes = [torch.linspace(a, b, 70, dtype=torch.float64) for a, b in zip(low, high, strict=True)]
    grid = torch.cartesian_prod(*axes)
    log_p = log_likelihood(grid, decode, grid[:, :1], model)
    cell = math.prod(float(axis[1] - axis[0]) for axis in axes)
    assert float(log_p.exp().sum()) * cell == pytest.approx(1.0, abs=0.02)


def test_agrees_with_quadrature_near_and_far_from_the_data(curve):
    decode, model, x, codes = curve
    generator = torch.Generator().manual_seed(2)
    away = torch.rand(200, 2, generator=generator, dtype=torch.float64) * 8 - 4
    for samples, start, typical in [(x, codes, 0.02), (away, away[:, :1], 0.05)]:
        error = (log_likelihood(samples, decode, start, model) - quadrature(samples, decode, model)).abs()
        assert error.median() < typical
        assert error.max() < 1.0


def test_agrees_with_naive_monte_carlo_in_three_dimensions(mlp):
    decode, model, x, codes = mlp
    log_p, std = log_likelihood(x[:80], decode, codes[:80], model, n_draws=256, return_std=True)
    expected, expected_std = naive_monte_carlo(x[:80], decode, model)
    accurate = expected_std < 0.06
    assert accurate.sum() > 50
    error = (log_p - expected)[accurate]
    assert error.abs().median() < 0.05
    assert error.abs().max() < 0.5
    assert abs(float(error.mean())) < 0.02
    scaled = error / (std.square() + expected_std.square()).sqrt()[accurate]
    assert 0.3 < scaled.square().mean().sqrt() < 2.0


@pytest.mark.parametrize("quasi_newton", [0, 99])
def test_searches_end_in_modes(mlp, monkeypatch, quasi_newton):
    """A step further, there is no gradient, whether curvatures on the way are exact or estimated."""
    monkeypatch.setattr(laplace, "QUASI_NEWTON", quasi_newton)
    monkeypatch.setattr(laplace, "FIRST_STEPS", 16)
    decode, model, x, codes = mlp
    posterior = laplace._Posterior(x, Decoder(decode), model.latent, GaussianObservation(0.04))
    proposals = laplace.laplace_proposals(posterior, model.latent.whiten(codes), None)
    gradient, factors = posterior.quadratic(proposals.means[:, 0], laplace.indices(len(x), x))
    np.testing.assert_allclose(
        posterior.gradient(proposals.means[:, 0], laplace.indices(len(x), x)), gradient, rtol=1e-8, atol=1e-8
    )
    decrement = (gradient[..., None] * torch.cholesky_solve(gradient[..., None], factors)).sum((1, 2))
    assert decrement.median() < 1e-3
    assert decrement.max() < 0.3
    np.testing.assert_allclose(
        proposals.factors[:, 0].diagonal(dim1=1, dim2=2), factors.diagonal(dim1=1, dim2=2), rtol=0.3
    )


def test_estimated_curvatures_map_the_last_move_to_the_change_of_the_gradient():
    generator = torch.Generator().manual_seed(0)
    factors = torch.eye(4).tril().expand(3, 4, 4).double()
    move = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    change = move * torch.tensor([[0.5], [3.0], [-1.0]])  # the last one has no positive definite solution
    updated = laplace._updated(factors, move, change)
    curvature = updated @ updated.mT
    torch.testing.assert_close((curvature @ move[..., None])[:2, :, 0], change[:2])
    power = (move[:, None] @ curvature @ move[..., None])[:, 0, 0] / move.square().sum(1)
    torch.testing.assert_close(power, torch.tensor([0.5, 3.0, 0.2], dtype=torch.float64))


def test_landmarks_apart_from_a_mode_are_likely_and_outside_its_ellipsoid():
    def decode(z):
        return z.square()

    codes = torch.randn(300, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    latent, observation = LatentModel.standard(codes), GaussianObservation(0.01)
    landmarks = laplace._Landmarks(Decoder(decode), latent, observation, 3)
    x = torch.tensor([[1.0], [4.0], [1e30]], dtype=torch.float64)
    factors = 20.0 * torch.ones(3, 1, 1, dtype=torch.float64)
    u, energy = landmarks.apart(x, x.sqrt(), factors)
    np.testing.assert_allclose(u[:2, 0, 0], [-1.0, -2.0], atol=0.1)
    posterior = laplace._Posterior(x, Decoder(decode), latent, observation)
    for i in range(2):
        exist = energy[i].isfinite()
        expected = posterior.energy(u[i, exist], torch.full((int(exist.sum()),), i))
        np.testing.assert_allclose(energy[i, exist], expected, rtol=1e-10)
        assert (20.0 * (u[i, exist] - x[i].sqrt()).abs() > 1.5).all()
    assert not energy.isnan().any()


@pytest.mark.parametrize("quasi_newton", [0, 99])
@pytest.mark.parametrize("shape", [(200, 12), (20, 60)])
@pytest.mark.parametrize("k", [1, 4])
def test_linear_decoder_is_probabilistic_pca(shape, k, quasi_newton, monkeypatch):
    monkeypatch.setattr(laplace, "QUASI_NEWTON", quasi_newton)
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


def test_overflow_of_the_curvature_in_float32_spreads_no_nan(mlp):
    _, model, x, codes = mlp

    class Single(Decoder):
        def expand(self, z, directions, *, order=2):
            value, jac, bend = super().expand(z, directions)
            return value, jac.float(), bend

    decode = Single(lambda z: (1e25 * z).repeat(1, 4)[:, :10])
    posterior = laplace._Posterior(x, decode, model.latent, GaussianObservation(1.0))
    gradient, factors = posterior.quadratic(codes, laplace.indices(len(x), x))
    assert gradient.isfinite().all()
    assert factors.isfinite().all()


@pytest.mark.parametrize("quasi_newton", [0, 99])
def test_result_does_not_depend_on_batch_and_order(mlp, monkeypatch, quasi_newton):
    monkeypatch.setattr(laplace, "QUASI_NEWTON", quasi_newton)
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


def test_the_standard_error_is_infinite_where_a_few_draws_carry_the_estimate(mlp):
    decode, model, x, codes = mlp
    far = x + 100 * torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0))
    for samples, known in ((x, True), (far, False)):
        log_p, std = log_likelihood(samples, decode, codes, model, return_std=True)
        assert std.isfinite().all() == known
        assert std[std.isfinite()].max() <= 0.5
        assert log_p.isfinite().all()


def test_far_samples_are_finite_and_ordered(curve):
    decode, model, _, _ = curve
    far = 10.0 ** torch.arange(1, 12, dtype=torch.float64)
    x = far[:, None] * torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    log_p, std = log_likelihood(x, decode, x[:, :1], model, return_std=True)
    assert log_p.isfinite().all()
    assert not std.isnan().any()
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


def test_density_is_invariant_under_linear_maps_of_the_code(mlp):
    decode, model, x, codes = mlp
    map_ = torch.tensor([[2.0, 0.5, 0.0], [0.0, 0.1, 3.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
    back = torch.linalg.inv(map_)
    other = Model(lambda z: decode(z @ back), codes @ map_, 0.04)
    change = map_.T @ model.covariance @ map_
    torch.testing.assert_close(other.covariance, change, rtol=1e-6, atol=1e-9)
    log_p = log_likelihood(x, lambda z: decode(z @ back), codes @ map_, other)
    assert (log_p - log_likelihood(x, decode, codes, model)).abs().median() < 0.05


DEGENERATE = {
    "constant": torch.zeros(50, 4),
    "rank one": torch.randn(50, 1, generator=torch.Generator().manual_seed(0)) @ torch.ones(1, 4),
}


@pytest.mark.parametrize("codes", DEGENERATE.values(), ids=DEGENERATE)
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


def test_error_and_its_estimate_fall_with_more_draws(mlp):
    decode, model, x, codes = mlp
    truth = log_likelihood(x, decode, codes, model, n_draws=4096)
    few, few_std = log_likelihood(x, decode, codes, model, n_draws=32, return_std=True)
    many, many_std = log_likelihood(x, decode, codes, model, n_draws=512, return_std=True)
    assert (many - truth).square().mean() < 0.3 * (few - truth).square().mean()
    assert many_std.mean() < 0.5 * few_std.mean()
    assert 0.2 < ((many - truth) / many_std).square().mean().sqrt() < 2.0


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.discrete])
def test_discrete_likelihoods_agree_with_naive_monte_carlo(name, mlp):
    decode, model, _, codes = mlp
    loss = LOSSES[name]()
    generator = torch.Generator().manual_seed(0)
    mean = loss.inverse_link(decode(codes))
    draw = {"poisson": torch.poisson, "binary_cross_entropy": torch.bernoulli}[name]
    x = draw(mean, generator=generator)
    observation = OptionObservation(loss)
    log_p, std = laplace.log_likelihood(x, decode, codes, model.latent, observation, n_draws=256)
    etas = decode(model.colour(normal_draws(40_000, 3, seed=7)[1]))
    expected = torch.stack([loss.log_prob(etas, sample.expand_as(etas)).sum(1) for sample in x[:100]])
    expected = expected.logsumexp(1) - math.log(40_000)
    error = (log_p[:100] - expected).abs()
    assert error.median() < 0.05
    assert error.max() < 0.4
    assert std.max() < 0.4
