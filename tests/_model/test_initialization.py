"""Initialization at PCA or probabilistic PCA, also with user-defined options."""

import pickle

import numpy as np
import pytest
import torch
from builders import build_vae
from sklearn.base import clone
from sklearn.decomposition import PCA
from torch import nn

from sklearn_ae import AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer
from sklearn_ae._density.vae import FittedVAE
from sklearn_ae.bottlenecks import LOG_VARIANCE_BOUNDS, Bottleneck
from sklearn_ae.corruptions import Corruption
from sklearn_ae.divergences import KL
from sklearn_ae.likelihoods import Gaussian
from sklearn_ae.losses import SquaredError
from sklearn_ae.networks import Conv, Network
from sklearn_ae.penalties import L1, Penalty

# Few epochs suffice for the properties that are tested here.
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")

VAE_FORMS = {
    "dense": {},
    "linear": {"hidden_layer_sizes": ()},
    "tied": {"tied_weights": True},
    "tied linear": {"tied_weights": True, "hidden_layer_sizes": ()},
    "convolutional": {"network": Conv((8, 8), channels=(3,))},
    "tied convolutional": {"network": Conv((8, 8), channels=(3,)), "tied_weights": True},
    "noise per feature": {"likelihood": Gaussian("per_column")},
    "noise of the decoder": {"likelihood": Gaussian("decoder")},
    "importance-weighted": {"n_importance_samples": 3},
}


@pytest.mark.parametrize("form", VAE_FORMS)
@pytest.mark.parametrize("n", [300, 40], ids=["tall", "wide"])
def test_a_vae_starts_at_probabilistic_pca(form, n, digits):
    """The ELBO of each sample is its log-likelihood, because the posterior is exact."""
    X, fresh = digits[:n], digits[1000:1100]
    module, pca = build_vae(X, 5, **VAE_FORMS[form])
    model, expected = FittedVAE(module), pca.score_samples(fresh)
    np.testing.assert_allclose(model.elbo(fresh, 64), expected, rtol=1e-6)
    np.testing.assert_allclose(model.kl_divergence(fresh) > 0, True)
    mean, std = model.moments(fresh)
    # Posterior of probabilistic PCA
    signal = pca.explained_variance_ - pca.noise_variance_
    whitened = pca.transform(fresh) * np.sqrt(signal) / pca.explained_variance_
    np.testing.assert_allclose(mean, whitened, rtol=1e-6, atol=1e-9)
    expected = np.sqrt(pca.noise_variance_ / pca.explained_variance_)
    np.testing.assert_allclose(std, np.tile(expected, (100, 1)), rtol=1e-6)


def test_initial_aggregate_posterior_has_the_covariance_of_the_prior(digits):
    """The covariances of the posterior means and within the posteriors add up to the identity."""
    module, _ = build_vae(digits, 6)
    mean, std = FittedVAE(module).moments(digits)
    np.testing.assert_allclose(np.cov(mean.T) + np.diag(np.square(std[0])), np.eye(6), atol=1e-6)


@pytest.mark.parametrize("tied", [False, True])
def test_components_beyond_those_of_pca_start_at_the_prior(tied):
    X = np.random.RandomState(0).normal(size=(200, 4)) @ np.diag([5, 3, 1, 1]) + 2
    module, pca = build_vae(X, 7, tied_weights=tied)
    model = FittedVAE(module)
    mean, std = model.moments(X)
    np.testing.assert_allclose(std[:, 4:], 1)
    assert np.abs(mean[:, 4:]).max() < 0.05  # with zeros they could not be trained
    assert np.abs(mean[:, 4:]).min() > 0
    # Their KL divergence is far below that of the others.
    narrow = FittedVAE(build_vae(X, 4, tied_weights=tied)[0])
    assert np.all(model.kl_divergence(X) - narrow.kl_divergence(X) < 0.005)
    assert pca.n_components_ == 4


@pytest.mark.parametrize("likelihood", ["bernoulli", "poisson"])
def test_discrete_vaes_start_at_the_clipped_reconstruction(likelihood, digits):
    X = digits[:300] / 16
    module, pca = build_vae(X, 5, likelihood=likelihood)
    x = (torch.from_numpy(X) - module.offset) / module.scale
    with torch.no_grad():
        means = module.reconstruct(module.encode(x))
    signal = 1 - pca.noise_variance_ / pca.explained_variance_  # the posterior mean shrinks the code
    linear = pca.mean_ + (pca.transform(X) * signal) @ pca.components_
    low, high = (0.01, 0.99) if likelihood == "bernoulli" else (0.05, np.inf)
    np.testing.assert_allclose(means, np.clip(linear, low, high), rtol=1e-6)


def test_noise_free_data_start_at_the_lower_bound_of_the_noise():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(100, 2)) @ rng.normal(size=(2, 6))
    module, pca = build_vae(X, 2)
    assert pca.noise_variance_ < 1e-20
    assert float(module.log_noise(torch.zeros(1, 2)).detach()) == LOG_VARIANCE_BOUNDS[0]
    assert np.isfinite(FittedVAE(module).elbo(X, 8)).all()


# -- user-defined options ---------------------------------------------------------------------


class Tanh(Bottleneck):
    """Bottleneck with codes between -1 and 1."""

    def __call__(self, a, generator=None):
        return torch.tanh(a)


class FalseIdentity(Tanh):
    """Bottleneck that is wrongly declared as the identity."""

    identity = True


class Doubled(Bottleneck):
    identity = True

    def __call__(self, a, generator=None):
        return 2.0 * a


class Block(nn.Module):
    """Residual block, whose output is not that of its last layer."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.outer = nn.Linear(n_in, n_out)
        self.inner = nn.Linear(n_out, n_out)

    def forward(self, x):
        h = self.outer(x)
        return h + self.inner(torch.relu(h))


def sigmoid_end(n_in, n_out):
    return nn.Sequential(nn.Linear(n_in, n_out), nn.Sigmoid())


def normalised_end(n_in, n_out):
    return nn.Sequential(nn.Linear(n_in, n_out), nn.LayerNorm(n_out), nn.Dropout(0.2))


def batch_normalised(n_in, n_out):
    return nn.Sequential(nn.BatchNorm1d(n_in), nn.Linear(n_in, n_out))


class Filter(nn.Module):
    """Network without a linear layer."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.n_out = n_out
        self.filter = nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, x):
        y = self.filter(x[:, None])[:, 0]
        return nn.functional.pad(y, (0, max(0, self.n_out - y.shape[1])))[:, : self.n_out]


class UserNetwork(Network):
    """Network whose weights are drawn from torch's global generator."""

    def __init__(self, make):
        self.make = make

    def build(self, shape, hidden_layer_sizes, activation, tied, generator):
        f = self.make(shape.n_features, shape.n_codes)
        return f, self.make(shape.n_components, shape.n_features)


USER_NETWORKS = {
    "residual block": Block,
    "sigmoid": sigmoid_end,
    "layer norm": normalised_end,
    "batch norm": batch_normalised,
    "no linear layer": Filter,
}
QUICK = {"hidden_layer_sizes": (12,), "max_iter": 6, "random_state": 0}


@pytest.fixture(scope="module")
def surface():
    rng = np.random.RandomState(0)
    t = rng.uniform(-2, 2, size=(300, 2))
    return np.hstack([t, t**2, np.sin(2 * t)]) @ rng.normal(size=(6, 12)) + 0.1 * rng.normal(size=(300, 12))


@pytest.mark.parametrize("bottleneck", [Tanh(), FalseIdentity(), Doubled()], ids=str)
@pytest.mark.parametrize("sizes", [(), (12,)], ids=str)
def test_a_bottleneck_that_is_not_the_identity_does_not_start_at_pca(bottleneck, sizes, surface):
    model = AutoencoderTransformer(2, bottleneck=bottleneck, **{**QUICK, "hidden_layer_sizes": sizes})
    model.fit(surface)
    assert model.n_iter_ > 1  # it is trained
    assert model.uses_network_
    assert model.pca_loss_ is None
    assert not hasattr(model, "explained_variance_ratio_")
    assert not hasattr(model, "explained_variance_")
    assert model.score(surface) != pytest.approx(PCA(2).fit(surface).score(surface), rel=1e-6)


@pytest.mark.parametrize("name", USER_NETWORKS)
@pytest.mark.parametrize("estimator", [AutoencoderTransformer, VAETransformer])
def test_any_network_starts_at_pca(name, estimator, surface, unchanged_globals):
    model = estimator(2, network=UserNetwork(USER_NETWORKS[name]), learning_rate_init=1e-12, **QUICK).fit(
        surface
    )
    assert not model.uses_network_  # fallback, because nothing is gained at this learning rate
    assert model.validation_loss_curve_[0] == pytest.approx(model.pca_loss_, rel=1e-3)
    dense = estimator(2, learning_rate_init=1e-12, **QUICK).fit(surface)
    assert model.pca_loss_ == pytest.approx(dense.pca_loss_, rel=1e-6)
    np.testing.assert_allclose(model.transform(surface), dense.transform(surface), rtol=1e-9)


def test_a_user_defined_network_is_reproducible_and_trained(surface, unchanged_globals):
    first, second = (
        AutoencoderTransformer(2, network=UserNetwork(Block), **{**QUICK, "max_iter": 30}).fit(surface)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.transform(surface), second.transform(surface))
    assert first.uses_network_
    assert float(first.net_.module_.encoder.gain.detach()) != 0.0


class Narrow(Network):
    def build(self, shape, hidden_layer_sizes, activation, tied, generator):
        return nn.Linear(shape.n_features, shape.n_codes + 1), nn.Linear(shape.n_components, shape.n_features)


@pytest.mark.parametrize("init", ["pca", "random"])
def test_networks_of_the_wrong_width_are_refused(init, surface):
    with pytest.raises(ValueError, match=r"encoder of network maps .* expected \(\d+, 2\)"):
        AutoencoderTransformer(2, network=Narrow(), init=init, **QUICK).fit(surface)


class FeatureWeighted(SquaredError):
    """Squared error with larger weights for the first features, which PCA does not minimise."""

    rotation_invariant = False

    def __call__(self, eta, x):
        return torch.linspace(2, 0, x.shape[-1]).to(x) * super().__call__(eta, x)

    def mean(self, eta, x):
        return self(eta, x).mean()


class WeightedKL(KL):
    def __call__(self, mu, log_var, z, n_samples, generator):
        return 0.1 * super().__call__(mu, log_var, z, n_samples, generator)


def test_subclasses_of_the_objective_of_pca_are_trained(surface):
    linear = {**QUICK, "hidden_layer_sizes": (), "max_iter": 20}
    model = AutoencoderTransformer(2, loss=FeatureWeighted(), **linear).fit(surface)
    assert len(model.loss_curve_) > 1
    vae = VAETransformer(2, divergence=WeightedKL(), **linear).fit(surface)
    assert len(vae.loss_curve_) > 1


class Missing(Bottleneck):
    pass


class MissingPenalty(Penalty):
    pass


class MissingNetwork(Network):
    pass


class MissingNoise(Corruption):
    pass


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"bottleneck": Missing()}, r"Missing must define __call__ .*sklearn_ae.bottlenecks.Bottleneck"),
        (
            {"penalty": MissingPenalty()},
            r"MissingPenalty must define __call__ .*sklearn_ae.penalties.Penalty",
        ),
        ({"penalty": L1() + MissingPenalty()}, r"MissingPenalty must define __call__"),
        ({"network": MissingNetwork()}, r"MissingNetwork must define build .*sklearn_ae.networks.Network"),
        ({"corruption": MissingNoise()}, r"MissingNoise must define __call__ .*sklearn_ae.corruptions"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_missing_methods_are_named(params, message, surface):
    with pytest.raises(TypeError, match=message):
        AutoencoderTransformer(2, **params, **QUICK).fit(surface)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"bottleneck": torch.tanh}, r"derive your own from sklearn_ae.bottlenecks.Bottleneck"),
        ({"network": torch.relu}, r"a pair of modules; derive your own from sklearn_ae.networks.Network"),
        ({"penalty": L1}, r"penalty=L1 is a class; pass an instance: penalty=L1\(\)"),
        ({"loss": 3}, r"loss=3 is not valid: .* or a function; derive your own from sklearn_ae.losses.Loss"),
    ],
    ids=["function as bottleneck", "function as network", "class", "number"],
)
def test_other_values_are_refused_with_the_base_class(params, message, surface):
    with pytest.raises(TypeError, match=message):
        AutoencoderTransformer(2, **params, **QUICK).fit(surface)


def test_sizes_of_a_user_defined_bottleneck_are_selected(surface):
    search = AutoencoderTransformerCV([1, 2], cv=2, bottleneck=Tanh(), **QUICK).fit(surface)
    assert isinstance(search.bottleneck_, Tanh)
    assert np.abs(search.transform(surface)).max() <= search.scale_


def test_user_defined_options_are_tuned_cloned_and_pickled(surface):
    unfitted = AutoencoderTransformer(2, network=UserNetwork(Block), bottleneck=Tanh(), **QUICK)
    model = clone(unfitted).set_params(network__make=sigmoid_end).fit(surface.astype(np.float32))
    assert model.network_.make is sigmoid_end
    restored = pickle.loads(pickle.dumps(model))
    X = surface.astype(np.float32)
    np.testing.assert_array_equal(restored.transform(X), model.transform(X))
