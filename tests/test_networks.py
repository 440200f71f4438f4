"""Networks: gradients of all weights, image shapes, tied weights, and user-defined modules."""

import copy
import pickle

import numpy as np
import pytest
import torch
from builders import build
from sklearn.base import clone
from sklearn.decomposition import PCA
from torch import Generator, nn

from sklearn_ae import AutoencoderTransformer, VAETransformer
from sklearn_ae._model.objectives import Objective
from sklearn_ae.losses import SquaredError
from sklearn_ae.networks import ACTIVATIONS, NETWORKS, Conv, Dense, Linear, Modules, Shape

# few epochs suffice for the properties tested here
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")

IMAGES = {
    "square": (8, 8),
    "odd": (1, 7, 5),
    "one row": (1, 1, 7),
    "one pixel": (1, 1, 1),
    "channels": (3, 8, 5),
    "two rows": (2, 2, 9),
}


def samples(n_features, n=40):
    rng = np.random.RandomState(0)
    return 5 + rng.normal(size=(n, n_features)) @ rng.normal(size=(n_features, n_features))


def working(module, X):
    return torch.from_numpy((X - module.offset.numpy()) / module.scale)


def modules(n_features=64, k=3):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Linear(n_features, 8), nn.Tanh(), nn.Linear(8, k))
        return encoder, nn.Sequential(nn.Linear(k, 8), nn.Tanh(), nn.Linear(8, n_features))


def fit(X, k=3, **params):
    params = {
        "hidden_layer_sizes": (16,),
        "max_iter": 3,
        "random_state": 0,
        "early_stopping": False,
        **params,
    }
    return AutoencoderTransformer(k, **params).fit(X)


# -- every network ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "tied"), [*((name, tied) for name in NETWORKS for tied in (False, True)), ("modules", False)]
)
@pytest.mark.parametrize("init", ["pca", "random"])
def test_gradients_reach_every_parameter_after_two_steps(name, init, tied):
    X = samples(64)
    network = Modules(*modules()) if name == "modules" else NETWORKS[name]()
    module, _ = build(X, 3, network, init=init, tied_weights=tied, hidden_layer_sizes=(10, 6))
    objective, optimizer = (
        Objective(SquaredError(), None),
        torch.optim.AdamW(module.param_groups(0.0), lr=0.01),
    )
    for _ in range(3):  # two steps, then the gradients that are tested
        optimizer.zero_grad(set_to_none=True)
        objective(module(working(module, X))).backward()
        optimizer.step()
    named = dict(module.named_parameters())
    assert len(named) > 3
    without_gradient = [key for key, p in named.items() if p.grad is None or not p.grad.any()]
    assert not without_gradient
    in_groups = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(in_groups) == sorted(map(id, named.values()))


@pytest.mark.parametrize("name", [*NETWORKS, "modules"])
@pytest.mark.parametrize("tied", [False, True])
def test_building_is_reproducible_and_leaves_the_global_state_unchanged(name, tied, unchanged_globals):
    network = Modules(*modules()) if name == "modules" else NETWORKS[name]()

    def weights(seed):
        pair = network.build(Shape(64, 3, 3), (10,), "relu", tied, Generator().manual_seed(seed))
        return torch.cat([p.detach().ravel() for part in pair for p in part.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert torch.equal(weights(0), weights(1)) == (name == "modules")


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_drawn_as_torch_draws_them(name):
    network = NETWORKS[name]()
    pair = network.build(Shape(256, 40, 40), (60,), "relu", False, Generator().manual_seed(0))
    layers = [layer for part in pair for layer in part.modules() if hasattr(layer, "weight")]
    assert len(layers) >= 4
    for layer in layers:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            twin = copy.deepcopy(layer)
            twin.reset_parameters()
        for ours, theirs in zip(layer.parameters(), twin.parameters(), strict=True):
            ours, theirs = ours.detach().numpy(), theirs.detach().numpy()
            if ours.size > 100:  # enough numbers for a range and a spread
                assert np.abs(ours).max() == pytest.approx(np.abs(theirs).max(), rel=0.1)
                assert ours.std() == pytest.approx(theirs.std(), rel=0.1)


@pytest.mark.parametrize("name", NETWORKS)
def test_encoders_may_have_more_outputs_than_components(name):
    f, g = NETWORKS[name]().build(Shape(64, 3, 6), (10,), "tanh", False, Generator().manual_seed(0))
    assert f(torch.zeros(5, 64)).shape == (5, 6)
    assert g(torch.zeros(5, 3)).shape == (5, 64)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_is_between_all_layers_and_after_none(activation):
    f, g = Dense().build(Shape(5, 2, 2), (4, 3), activation, False, Generator().manual_seed(0))
    kinds = [type(layer) for layer in f]
    act = ACTIVATIONS[activation]
    assert kinds == [type(layer) for layer in g] == [Linear, act, Linear, act, Linear]
    assert [layer.out_features for layer in f if isinstance(layer, nn.Linear)] == [4, 3, 2]
    assert [layer.out_features for layer in g if isinstance(layer, nn.Linear)] == [3, 4, 5]


# -- convolutions -------------------------------------------------------------------


@pytest.mark.parametrize("image_shape", IMAGES.values(), ids=IMAGES.keys())
@pytest.mark.parametrize("channels", [(4,), (4, 6, 8)], ids=str)
@pytest.mark.parametrize("tied", [False, True])
def test_any_image_fits_and_starts_at_pca(image_shape, channels, tied):
    d = int(np.prod(image_shape))
    X, k = samples(d), min(2, d)
    module, pca = build(X, k, Conv(image_shape, channels), tied_weights=tied)
    with torch.no_grad():
        codes = module.encode(working(module, X))
        X_hat = module.reconstruct(codes).numpy()
        # the networks themselves, without the linear path
        assert module.encoder.network(working(module, X)).shape == (len(X), k)
        assert module.decoder.network(codes).shape == X.shape
    np.testing.assert_allclose(codes * module.scale, pca.transform(X), atol=1e-6 * np.abs(X).max())
    np.testing.assert_allclose(X_hat, pca.inverse_transform(pca.transform(X)), atol=1e-6 * np.abs(X).max())


@pytest.mark.parametrize("tied", [False, True])
def test_small_images_have_finite_weights_after_training_in_low_precision(tied):
    X = np.random.RandomState(0).poisson(3.0, size=(55, 4))
    for seed in range(6):  # memory that is not initialised is NaN by chance
        model = AutoencoderTransformer(
            1,
            network="conv",
            tied_weights=tied,
            precision="bfloat16",
            early_stopping=False,
            batch_size=7,
            max_iter=4,
            random_state=seed,
        )
        module = model.fit(X).net_.module_
        assert all(weights.isfinite().all() for weights in module.parameters())


def test_convolutions_are_local():
    """The first feature map of an image with one nonzero pixel is zero away from it."""
    f, _ = Conv((1, 9, 9), (2,)).build(Shape(81, 2, 2), (), "relu", False, Generator().manual_seed(0))
    unflatten, conv = f[0], f[1]
    x = torch.zeros(1, 81)
    x[0, 9 * 4 + 4] = 1.0
    seen = (conv(unflatten(x)) - conv(unflatten(torch.zeros(1, 81)))).abs().sum((0, 1)) > 0
    assert seen.nonzero().tolist() == [[2, 2]]


@pytest.mark.slow
def test_convolutional_model_beats_pca_on_digits(digits_split):
    train, test = digits_split
    model = fit(train, 8, network="conv", max_iter=25, early_stopping=True)
    assert model.uses_network_
    pca = PCA(8).fit(train)
    theirs = np.square(test - pca.inverse_transform(pca.transform(test))).sum(1).mean()
    assert model.reconstruction_error(test).mean() < 0.9 * theirs


@pytest.mark.parametrize(
    ("network", "n_features", "message"),
    [
        ("conv", 60, r"60 features.*image_shape=\(channels, height, width\)"),
        (Conv((8, 9)), 64, r"\(8, 9\).*72 pixels.*64 features"),
        (Conv((2, 8, 8)), 64, r"128 pixels.*64 features"),
        (Conv((64,)), 64, r"\(channels, height, width\) or \(height, width\)"),
        (Conv((1, 1, 8, 8)), 64, r"\(channels, height, width\) or \(height, width\)"),
        (Conv((8, -8)), 64, "image_shape.*positive integers"),
        (Conv((8.0, 8)), 64, "image_shape.*positive integers"),
        (Conv((8, 8), (4, 0)), 64, "channels.*positive integers"),
        (Conv((8, 8), ()), 64, "channels.*empty"),
    ],
    ids=str,
)
def test_images_that_do_not_fit_are_refused(network, n_features, message):
    with pytest.raises(ValueError, match=message):
        fit(samples(n_features, 100), network=network)


# -- tied weights -------------------------------------------------------------------


def tied_layers(model):
    """Return the layers of the encoder, and the tied layers of the decoder."""
    encoder, decoder = model.net_.module_.encoder, model.net_.module_.decoder
    sources = [m for m in encoder.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    mirrors = [m for m in decoder.modules() if hasattr(m, "_source")]
    return sources, mirrors


def transposed_weight(layer):
    """Return the weight of a tied dense layer, computed from its outputs."""
    k = layer._source[0].out_features
    zero = layer(torch.zeros(1, k))
    return layer(torch.eye(k)) - zero


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("init", ["pca", "random"])
@pytest.mark.parametrize(
    "copied",
    [
        lambda m, X: m,
        lambda m, X: pickle.loads(pickle.dumps(m)),
        lambda m, X: copy.deepcopy(m),
        lambda m, X: clone(m).fit(X),
    ],
    ids=["as fitted", "pickled", "deep-copied", "cloned and fitted"],
)
def test_tied_weights_are_shared(network, init, copied, digits):
    X = digits[:200]
    first = fit(X, network=network, init=init, tied_weights=True)
    model = copied(first, X)
    sources, mirrors = tied_layers(model)
    assert len(sources) == len(mirrors) >= 2
    assert {id(m._source[0]) for m in mirrors} == {id(m) for m in sources}
    # a change of the encoder's weight changes the decoder's
    for mirror in mirrors:
        source = mirror._source[0]
        with torch.no_grad():
            source.weight.mul_(-1.5)
            if isinstance(source, nn.Linear):
                torch.testing.assert_close(transposed_weight(mirror), source.weight, atol=1e-5, rtol=1e-5)
    # a copy shares no weights with the original model
    if model is not first:
        assert not torch.equal(sources[0].weight, tied_layers(first)[0][0].weight)


def test_tied_model_has_one_set_of_weights_for_both_directions(digits):
    def n_weights(tied):
        model = fit(digits[:200], init="random", tied_weights=tied)
        return sum(p.numel() for p in model.net_.module_.parameters() if p.ndim > 1)

    assert n_weights(False) == 2 * n_weights(True)


@pytest.mark.slow
def test_tied_linear_model_is_orthogonal_at_its_optimum(digits):
    """Tied linear autoencoders without decay find orthonormal directions (Baldi and Hornik)."""
    model = fit(
        digits,
        4,
        hidden_layer_sizes=(),
        init="random",
        tied_weights=True,
        alpha=0,
        max_iter=80,
        learning_rate_init=0.01,
    )
    W = model.components_
    np.testing.assert_allclose(W @ W.T, np.eye(4), atol=0.02)


# -- user-defined modules -----------------------------------------------------------


@pytest.mark.parametrize("init", ["pca", "random"])
def test_user_defined_modules_are_used_and_left_unchanged(init, digits_split, unchanged_globals):
    train, test = digits_split
    pair = modules()
    before = copy.deepcopy([part.state_dict() for part in pair])
    model = fit(train, network=pair, init=init, max_iter=10)
    for part, state in zip(pair, before, strict=True):
        assert part.training
        for key, value in part.state_dict().items():
            assert torch.equal(value, state[key])
    trained = model.module_.encoder.network
    assert [type(layer) for layer in trained] == [type(layer) for layer in pair[0]]
    assert not torch.equal(trained[0].weight, pair[0][0].weight)
    # the codes are those of the modules, plus the linear path with init="pca"
    x = working(model.module_, test).to(model.module_.offset.dtype)
    y = (
        trained(x)
        if init == "random"
        else model.module_.encoder.gain * trained(x) + model.module_.encoder.linear(x)
    )
    np.testing.assert_allclose(model.transform(test), y * model.scale_, atol=1e-9)


def test_training_starts_from_the_weights_of_the_modules(digits):
    encoder, decoder = modules()
    module, _ = build(digits, 3, Modules(encoder, decoder), init="random")
    x = working(module, digits).float()
    with torch.no_grad():
        np.testing.assert_allclose(module.float().encode(x), encoder(x), atol=1e-5)
        np.testing.assert_allclose(module.decode(encoder(x)), decoder(encoder(x)), atol=1e-5)


def test_user_defined_modules_start_at_pca(digits):
    module, pca = build(digits, 3, Modules(*modules()))
    with torch.no_grad():
        X_hat = module.reconstruct(module.encode(working(module, digits)))
    np.testing.assert_allclose(X_hat, pca.inverse_transform(pca.transform(digits)), atol=1e-8)


def test_modules_in_training_mode_are_measured_without_side_effects(digits):
    """Measuring the outputs must not update the running statistics of a normalisation."""
    encoder = nn.Sequential(nn.BatchNorm1d(64), nn.Linear(64, 3))
    module, _ = build(digits, 3, Modules(encoder, nn.Linear(3, 64)))
    f = module.encoder.network
    assert torch.equal(f[0].running_mean, torch.zeros(64))
    assert f[0].num_batches_tracked == 0
    assert f.training


@pytest.mark.parametrize(
    ("encoder", "decoder", "message"),
    [
        (nn.Linear(64, 2), nn.Linear(3, 64), r"encoder.*maps \(\d+, 64\) to \(\d+, 2\).*expected \(\d+, 3\)"),
        (
            nn.Linear(64, 3),
            nn.Linear(3, 60),
            r"decoder.*maps \(\d+, 3\) to \(\d+, 60\).*expected \(\d+, 64\)",
        ),
        (nn.Linear(60, 3), nn.Linear(3, 64), r"encoder.*does not accept inputs of width 64"),
        (nn.Linear(64, 3), nn.Linear(2, 64), r"decoder.*does not accept inputs of width 3"),
        (nn.Sequential(nn.Linear(64, 3), nn.Flatten(0)), nn.Linear(3, 64), r"encoder.*to \(96,\)"),
    ],
    ids=["codes", "output", "input", "decoder's input", "flat"],
)
def test_modules_of_wrong_widths_are_refused(encoder, decoder, message, digits):
    with pytest.raises(ValueError, match=message):
        fit(digits[:200], network=(encoder, decoder))


def test_user_defined_modules_cannot_be_tied(digits):
    with pytest.raises(ValueError, match="tied_weights=True needs a network that the package builds"):
        fit(digits[:200], network=modules(), tied_weights=True)


def test_a_model_of_user_defined_modules_is_cloned_and_pickled(digits):
    X = digits[:200]
    model = fit(X, network=modules())
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).transform(X), model.transform(X))
    np.testing.assert_array_equal(clone(model).fit(X).transform(X), model.transform(X))


@pytest.mark.parametrize("init", ["pca", "random"])
@pytest.mark.parametrize("estimator", [AutoencoderTransformer, VAETransformer])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_modules_may_work_in_place(estimator, init, curve):
    n_codes = 2 if estimator is AutoencoderTransformer else 4
    fitted = []
    for inplace in (True, False):
        torch.manual_seed(0)
        network = (
            nn.Sequential(nn.ReLU(inplace=inplace), nn.Linear(5, n_codes)),
            nn.Sequential(nn.ReLU(inplace=inplace), nn.Linear(2, 5)),
        )
        params = {"init": init, "max_iter": 3, "early_stopping": False, "random_state": 0}
        fitted.append(estimator(2, network=network, **params).fit(curve))
    np.testing.assert_array_equal(*[model.transform(curve) for model in fitted])
    np.testing.assert_array_equal(*[model.reconstruction_error(curve) for model in fitted])
