"""Derivatives of decoders, layer by layer, agree with autograd; float32 where it is precise enough."""

import copy
import itertools

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from sklearn_ae import AutoencoderTransformer, VAETransformer
from sklearn_ae._density import laplace
from sklearn_ae._density.decoder import Decoder, ModuleDecoder
from sklearn_ae._density.observations import GaussianObservation
from sklearn_ae._utils import derivatives
from sklearn_ae.likelihoods import Gaussian
from sklearn_ae.networks import GELU

K, HIDDEN = 3, (12, 7)
UNIT = torch.eye(K, dtype=torch.float64)


class Shifted(nn.Module):
    """A layer of the user's own."""

    def forward(self, x):
        return torch.sin(x) + 1.0


def chain(*sizes, activation):
    layers = [nn.Linear(sizes[0], sizes[1])]
    for n_in, n_out in itertools.pairwise(sizes[1:]):
        layers += [activation(), nn.Linear(n_in, n_out)]
    return nn.Sequential(*layers)


def pair(activation):
    torch.manual_seed(0)
    return chain(9, 12, K, activation=activation), chain(K, 7, 12, 9, activation=activation)


AE = {
    **{name: {"activation": name} for name in ("gelu", "tanh", "softplus", "relu", "identity", "logistic")},
    "tied": {"tied_weights": True},
    "random": {"init": "random"},
    "ordered": {"bottleneck": "ordered"},
    "binary": {"loss": "binary_cross_entropy"},
    "binary, random": {"loss": "binary_cross_entropy", "init": "random"},
    "counts": {"loss": "poisson"},
    "modules": {"network": pair(nn.Tanh)},
    "unknown layer": {"network": pair(Shifted)},
}
VAE = {
    "VAE": {},
    "VAE, linear": {"hidden_layer_sizes": (), "prior": "mixture"},
    "VAE, linear, decoded noise": {"hidden_layer_sizes": (), "likelihood": Gaussian(noise="decoder")},
    "VAE, decoded noise": {"likelihood": Gaussian(noise="decoder")},
    "VAE, Bernoulli": {"likelihood": "bernoulli"},
}


@pytest.fixture(scope="module")
def X():
    rng = np.random.RandomState(0)
    return rng.binomial(1, 1 / (1 + np.exp(-rng.normal(size=(150, 2)) @ rng.normal(size=(2, 9))))).astype(
        float
    )


@pytest.fixture(scope="module", params=[*AE, *VAE])
def module(request, X):
    """A float64 module after a few steps, in which all parts of the decoder take part."""
    params = {"hidden_layer_sizes": HIDDEN, **{**AE, **VAE}[request.param]}
    kind = VAETransformer if request.param in VAE else AutoencoderTransformer
    model = kind(K, max_iter=3, early_stopping=False, random_state=0, **params).fit(X)
    module = copy.deepcopy(model.module_).double()
    for parameter in module.parameters():  # a gain starts at zero
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return module


@pytest.fixture(scope="module")
def z():
    return torch.randn(20, K, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize("n_directions", [K, 2])
def test_derivatives_along_directions_agree_with_autograd(module, z, n_directions):
    decoder = ModuleDecoder(module, 0.0)
    assert decoder.dtype == torch.float64
    directions = torch.randn(K, n_directions, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    value, jac, bend = decoder.expand(z, directions)
    weights = torch.randn(value.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    bend = bend(weights)
    expected = derivatives.jacobian(decoder, z)[1] @ directions
    expected_bend = directions.T @ derivatives.curvature(decoder, z, weights) @ directions
    np.testing.assert_allclose(value, decoder(z), rtol=1e-12)
    np.testing.assert_allclose(jac, expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(decoder.expand(z, directions, order=1).jac, expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(bend, expected_bend, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(bend, bend.mT, atol=1e-9)
    by_autograd = Decoder(decoder).expand(z, directions)
    np.testing.assert_allclose(by_autograd.jac, expected, rtol=1e-12)
    np.testing.assert_allclose(by_autograd.curvature(weights), expected_bend, rtol=1e-12)


def test_vector_jacobian_products_agree_with_autograd(module, z):
    decoder = ModuleDecoder(module, 0.0)
    value, jac = derivatives.jacobian(decoder, z)
    expected = (value.square()[:, None] @ jac)[:, 0]
    np.testing.assert_allclose(decoder.vjp(z, torch.square), expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(ModuleDecoder(module).vjp(z, torch.square), expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(decoder.vjp(z[:3], torch.square), expected[:3], rtol=1e-8, atol=1e-10)


def test_vector_jacobian_products_of_a_constant_are_zero(z):
    decoder = Decoder(lambda z: torch.ones_like(z))
    assert not decoder.vjp(z, torch.square).any()


def test_codes_that_are_narrower_are_padded(module, z):
    decoder = ModuleDecoder(module, 0.0)
    if decoder.has_noise or module.n_kept < K:
        pytest.skip("truncation is for ordered codes")
    jac = decoder.expand(z[:, :1], UNIT[:1, :1]).jac
    np.testing.assert_allclose(jac, derivatives.jacobian(decoder, z[:, :1])[1], rtol=1e-8, atol=1e-10)


def test_float32_is_close_and_used_only_if_the_noise_hides_its_rounding(module, z):
    if not ModuleDecoder(module, 1.0).has_noise:
        single, double = ModuleDecoder(module, 1.0), ModuleDecoder(module, torch.tensor([1.0, 1e-8]))
        assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
        np.testing.assert_allclose(single(z), double(z), atol=1e-5)
        value, jac, bend = single.expand(z, UNIT)
        assert jac.dtype == torch.float32
        assert single(z).dtype == value.dtype == bend(value).dtype == torch.float64
        np.testing.assert_allclose(jac, double.expand(z, UNIT).jac, rtol=1e-5, atol=1e-5)


def test_results_do_not_depend_on_the_batch(module, z):
    decoder = ModuleDecoder(module)
    whole = decoder.expand(z, UNIT)
    weights = torch.ones_like(whole.value)
    bend = whole.curvature(weights)
    for n in (1, 2, 3, 5, 9):
        value, jac, curvature = decoder.expand(z[:n], UNIT)
        np.testing.assert_allclose(decoder(z[:n]), decoder(z)[:n], atol=1e-6)
        np.testing.assert_allclose(value, whole.value[:n], atol=1e-6)
        np.testing.assert_allclose(jac, whole.jac[:n], atol=1e-5)
        np.testing.assert_allclose(curvature(weights[:n]), bend[:n], atol=1e-4)


def test_curvature_of_a_function_that_has_no_second_derivative_is_zero(z):
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.square()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, gradient):
            return 2 * ctx.saved_tensors[0] * gradient

    bend = derivatives.curvature(Once.apply, z, torch.ones_like(z))
    assert bend.shape == (20, K, K)
    assert not bend.any()


def test_gelu_in_float64_is_that_of_torch():
    x = torch.linspace(-40, 40, 1001, dtype=torch.float64)
    expected = nn.functional.gelu(x)
    np.testing.assert_allclose(GELU()(x), expected, rtol=1e-12, atol=1e-14)
    with_graph = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(GELU()(with_graph).sum(), with_graph)
    assert slope.isfinite().all()


@pytest.mark.slow
def test_few_draws_are_as_good_as_many_and_their_errors_are_known():
    X = load_digits().data / 16
    model = AutoencoderTransformer(8, random_state=0, max_iter=40).fit(X[:1400])
    exact = model.score_samples(X[1400:1480], n_draws=10_000)
    score, std = model.score_samples(X[1400:1480], return_std=True)
    assert np.abs(score - exact).mean() < 0.06
    assert np.sqrt(np.mean(np.square((score - exact) / std))) < 1.5
    assert abs(np.mean(score - exact)) < 0.03


def test_all_draws_are_taken_where_few_do_not_show_the_error(monkeypatch):
    """Two equal modes, and a ridge on which one normal distribution is a poor proposal."""
    counts = []
    draw = laplace.importance_draws

    def counted(log_joint, proposals, start, stop):
        counts.append((len(proposals.means), start, stop))
        return draw(log_joint, proposals, start, stop)

    monkeypatch.setattr(laplace, "importance_draws", counted)

    def decode(z):
        return z.square()

    codes = torch.randn(200, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    latent = laplace.LatentModel.standard(codes)
    observation = GaussianObservation(0.01)
    x = torch.tensor([[1.0], [4.0]], dtype=torch.float64)  # codes of either sign
    log_p, _ = laplace.log_likelihood(x, decode, x.sqrt(), latent, observation, n_draws=128)
    assert counts == [(2, 0, 32), (2, 32, 128)]
    grid = torch.linspace(-6, 6, 40_001, dtype=torch.float64)[:, None]
    joint = -observation.misfit(decode(grid)[:, None].flatten(0, 1), x[:1].expand(len(grid), 1))
    exact = (joint - 0.5 * grid[:, 0].square()).logsumexp(0) + np.log(12 / 40_000) - 0.5 * np.log(2 * np.pi)
    assert float(log_p[0]) == pytest.approx(float(exact), abs=0.03)
