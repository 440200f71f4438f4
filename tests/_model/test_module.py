"""The autoencoder as a torch module: PCA before training, clean targets, and weight decay."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import build, start_of
from torch import Generator, nn

from sklearn_ae import AutoencoderTransformer
from sklearn_ae._fitting.pipeline import inference_copy
from sklearn_ae._model.module import Residual
from sklearn_ae._model.objectives import Objective
from sklearn_ae.bottlenecks import Identity, Ordered, TopK
from sklearn_ae.corruptions import GaussianNoise
from sklearn_ae.losses import LOSSES, SquaredError
from sklearn_ae.networks import NETWORKS, Modules, TiedLinear
from sklearn_ae.penalties import L1

# Range to which the link of each discrete loss clips the reconstruction of PCA
CLIPS = {"binary_cross_entropy": (0.01, 0.99), "poisson": (0.05, None)}


def working(module, X):
    return torch.from_numpy((X - module.offset.numpy()) / module.scale)


@pytest.fixture(scope="module")
def X(digits):
    return digits[:300] / 16


# -- at the start -------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_before_training_the_model_is_pca(network, tied, loss, X):
    module, pca = build(X, network=NETWORKS[network](), loss=LOSSES[loss](), tied_weights=tied)
    module.eval()
    with torch.no_grad():
        Z = module.encode(working(module, X))
        X_hat = module.reconstruct(Z).numpy()
    np.testing.assert_allclose(Z * module.scale, pca.transform(X), atol=1e-10)
    expected = pca.inverse_transform(pca.transform(X))
    if LOSSES[loss].discrete:
        expected = np.clip(expected, *CLIPS[loss])
    np.testing.assert_allclose(X_hat, expected, atol=1e-10)


@pytest.mark.parametrize("network", NETWORKS)
def test_before_training_a_randomly_initialized_network_is_not_pca(network, X):
    module, pca = build(X, network=NETWORKS[network](), init="random")
    assert module.encoder.linear is None
    error = module(working(module, X)).eta.sub(working(module, X)).square().mean()
    assert error > 0.9  # it explains nothing yet
    assert 1 - pca.explained_variance_ratio_.sum() < 0.6


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("mean", [0.0, 1e6])
def test_working_units_have_mean_zero_and_mean_variance_one(scale, mean):
    rng = np.random.RandomState(0)
    X = scale * (mean + rng.normal(size=(200, 5)) @ rng.normal(size=(5, 5)))
    module, _ = build(X, 2)
    x = working(module, X)
    assert x.mean(0).abs().max() < 1e-6
    assert x.var(0).mean() == pytest.approx(1, rel=1e-6)
    np.testing.assert_allclose(module.in_units(x), X, rtol=1e-12)


def test_constant_data_have_scale_one():
    X = np.full((20, 3), 7.0)
    model = AutoencoderTransformer(1, early_stopping=False, max_iter=1).fit(X)
    assert model.scale_ == 1.0
    np.testing.assert_allclose(model.inverse_transform(model.transform(X)), X, atol=0.1)


def test_overcomplete_codes_start_at_pca_too(curve):
    for tied in (False, True):
        module, pca = build(curve, 9, bottleneck=Identity(), tied_weights=tied)
        with torch.no_grad():
            Z = module.encode(working(module, curve))
            X_hat = module.reconstruct(Z).numpy()
        np.testing.assert_allclose(Z[:, :5] * module.scale, pca.transform(curve), atol=1e-9)
        assert (Z[:, 5:].std(0) > 0).all()  # the surplus components depend on the samples
        np.testing.assert_allclose(X_hat, curve, atol=1e-9 if not tied else 0.01)


# -- forward pass -------------------------------------------------------------------


def test_residual_is_the_linear_path_plus_gain_times_the_network():
    f, g, x = nn.Linear(3, 2), nn.Linear(3, 2), torch.randn(5, 3, generator=Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(Residual(f, g)(x), f(x) + g(x))
        torch.testing.assert_close(Residual(None, g)(x), g(x))
        torch.testing.assert_close(Residual(f, None)(x), f(x))
        with_gain = Residual(f, g, has_gain=True)
        assert torch.equal(with_gain(x), f(x))
        with_gain.gain.fill_(2.0)
        torch.testing.assert_close(with_gain(x), f(x) + 2 * g(x))


@pytest.mark.parametrize(
    ("network", "affine"),
    [
        (None, True),
        (nn.Linear(2, 2), True),
        (nn.Sequential(nn.Linear(2, 2), nn.Identity(), nn.Linear(2, 2)), True),
        (TiedLinear(nn.Linear(2, 2)), True),
        (nn.Sequential(nn.Linear(2, 2), nn.Tanh()), False),
        (nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU())), False),
    ],
    ids=str,
)
def test_affine_maps_are_recognized_by_their_layers(network, affine):
    residual = Residual(nn.Linear(2, 2), network)
    assert residual.is_affine() == affine
    x, y = torch.randn(2, 50, 2, generator=Generator().manual_seed(0))
    with torch.no_grad():
        middle = (residual(x) + residual(y)) / 2
        assert torch.allclose(residual((x + y) / 2), middle, atol=1e-5) == affine


def test_missing_last_components_are_zeros(X):
    module, _ = build(X, 4, bottleneck=Ordered())
    Z = module.encode(working(module, X))
    padded = torch.cat([Z[:, :2], torch.zeros(len(Z), 2)], dim=1)
    assert torch.equal(module.decode(Z[:, :2]), module.decode(padded))
    short = module.truncated(2)
    assert torch.equal(short.encode(working(module, X)), Z[:, :2])
    assert module.n_kept == 4


def test_corruption_needs_a_generator_and_dropout_training_mode(X):
    """The input is corrupted if a generator is passed; codes are dropped in training mode only."""
    module, _ = build(X, 4, corruption=GaussianNoise(0.5), bottleneck=Ordered(0.0))
    x = working(module, X)
    outputs = {mode: module.train(mode)(x, Generator().manual_seed(0)) for mode in (True, False)}
    for mode, out in outputs.items():
        assert torch.equal(out.target, x)
        assert (out.source - x).std() == pytest.approx(0.5, rel=0.05)
        assert (out.codes == 0).any() == mode
    assert torch.equal(module.eval()(x).source, x)


@pytest.mark.parametrize("loss", LOSSES)
def test_discrete_losses_compare_in_the_units_of_x(loss, X):
    module, _ = build(X, loss=LOSSES[loss]())
    target = module(working(module, X)).target
    expected = torch.from_numpy(X) if LOSSES[loss].discrete else working(module, X)
    torch.testing.assert_close(target, expected)


# -- the objective ------------------------------------------------------------------


def test_initial_squared_error_is_the_fraction_of_variance_unexplained(X):
    module, pca = build(X, 4)
    value = Objective(SquaredError(), None)(module(working(module, X)))
    n = len(X)
    assert value.item() == pytest.approx((1 - pca.explained_variance_ratio_.sum()) * (n - 1) / n, rel=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("penalty", [None, L1(0.3)], ids=str)
def test_objective_is_the_mean_over_samples(loss, penalty, X):
    module, _ = build(X, loss=LOSSES[loss](), penalty=penalty, bottleneck=TopK(2))
    objective, out = Objective(LOSSES[loss](), penalty), module(working(module, X), Generator())
    per_sample = objective.per_sample(out)
    assert per_sample.shape == (len(X),)
    torch.testing.assert_close(per_sample.mean(), objective(out))
    expected = LOSSES[loss]()(out.eta, out.target).sum(1)
    if penalty is not None:
        expected = expected + 0.3 * out.codes.abs().sum(1)
    torch.testing.assert_close(
        per_sample, expected / X.shape[1]
    )  # both are divided by the number of features


# -- weight decay -------------------------------------------------------------------


@pytest.mark.parametrize("network", [*NETWORKS, "modules"])
@pytest.mark.parametrize("tied", [False, True])
def test_weight_decay_applies_to_weights_of_the_networks_only(network, tied, X):
    if network == "modules":
        if tied:
            tied = False
        option = Modules(nn.Linear(64, 4), nn.Linear(4, 64))
    else:
        option = NETWORKS[network]()
    module, _ = build(X, 4, network=option, tied_weights=tied)
    groups = module.param_groups(0.7)
    names = {id(p): name for name, p in module.named_parameters()}
    decayed = {names[id(p)] for g in groups if g["weight_decay"] == 0.7 for p in g["params"]}
    undecayed = {names[id(p)] for g in groups if g["weight_decay"] == 0.0 for p in g["params"]}
    assert decayed | undecayed == set(names.values())
    assert not decayed & undecayed
    assert all(".network." in name and name.endswith("weight") for name in decayed)
    assert {name for name in undecayed if name.endswith("weight")} == {
        name for name in names.values() if ".linear." in name and name.endswith("weight")
    }


# -- inference ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inference_copy_is_frozen_and_independent(dtype, X):
    start = start_of(
        X, replace(AutoencoderTransformer(hidden_layer_sizes=(10,))._model_spec(), n_components=4)
    )
    exact = start.module
    trained = copy.deepcopy(exact).float()
    nn.init.normal_(trained.decoder.network[-1].bias, generator=Generator().manual_seed(0))
    twin = inference_copy(trained, start, dtype)
    assert not twin.training
    assert not any(p.requires_grad for p in twin.parameters())
    assert twin.offset.numpy().dtype == dtype
    np.testing.assert_array_equal(twin.offset, exact.offset.numpy().astype(dtype))
    Z = exact.encode(working(exact, X)).detach()
    wanted = trained.decode(Z.float()).detach().clone()
    np.testing.assert_allclose(twin.decode(Z.to(twin.offset.dtype)), wanted, atol=1e-5)
    nn.init.zeros_(twin.decoder.network[-1].bias)
    torch.testing.assert_close(trained.decode(Z.float()).detach(), wanted)
    # After a fallback there is no network at all.
    fallback = inference_copy(exact.without_networks(), start, dtype)
    assert fallback.encoder.network is None
    linear = exact.decoder.linear(Z).detach()
    np.testing.assert_allclose(fallback.decode(Z.to(fallback.offset.dtype)), linear, atol=1e-5)
