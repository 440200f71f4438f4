"""The anchor and the gate: PCA where nothing better is found, the network where it is."""

import numpy as np
import pytest
import torch
from builders import build_vae
from scipy import sparse
from sklearn.decomposition import PCA

from sklearn_ae import AutoencoderTransformer
from sklearn_ae._density.vae import FittedVAE
from sklearn_ae._fitting.fallback import MIN_VALIDATION_SAMPLES, shows_a_gain
from sklearn_ae._model.pca import fit_pca, truncated_pca
from sklearn_ae.bottlenecks import LOG_VARIANCE_BOUNDS, TopK
from sklearn_ae.likelihoods import Gaussian
from sklearn_ae.networks import Conv

# few epochs suffice for what is tested here
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still falling steeply")


def fit(X, k=1, X_val=None, **params):
    params = {"hidden_layer_sizes": (32,), "max_iter": 60, "random_state": 0, **params}
    return AutoencoderTransformer(k, **params).fit(X, X_val=X_val)


# -- the gate, on made-up errors ----------------------------------------------------


@pytest.fixture
def errors():
    """Errors of 50 validation rows, all positive, of very different size."""
    return np.exp(np.random.RandomState(0).normal(size=50))


class TestGate:
    def test_opens_for_a_clear_gain(self, errors):
        assert shows_a_gain(errors, 0.5 * errors)
        assert shows_a_gain(errors, errors * np.random.RandomState(1).uniform(0.3, 1.05, 50))

    def test_stays_shut_without_a_gain(self, errors):
        assert not shows_a_gain(errors, errors)
        assert not shows_a_gain(errors, 1.2 * errors)
        assert not shows_a_gain(errors, errors * np.random.RandomState(1).uniform(0.8, 1.2, 50))

    def test_stays_shut_for_a_gain_that_one_row_carries(self, errors):
        anchor, network = errors.copy(), errors.copy()
        anchor[7], network[7] = 1e4, 1.0
        assert network.mean() < 0.1 * anchor.mean()
        assert not shows_a_gain(anchor, network)

    def test_stays_shut_where_small_gains_are_paid_by_one_row(self, errors):
        network = 0.8 * errors
        network[7] = 1e3
        assert not shows_a_gain(errors, network)

    def test_stays_shut_on_too_few_rows(self, errors):
        few = errors[: MIN_VALIDATION_SAMPLES - 1]
        assert not shows_a_gain(few, 0.01 * few)
        assert shows_a_gain(errors[:MIN_VALIDATION_SAMPLES], 0.01 * errors[:MIN_VALIDATION_SAMPLES])

    def test_takes_objectives_of_any_sign(self, errors):
        """Losses of counts may be negative."""
        for shift in (1.0, 3.0, 100.0):
            assert shows_a_gain(errors - shift, 0.3 * errors - shift)
            assert not shows_a_gain(errors - shift, errors - shift)

    def test_does_not_depend_on_units(self, errors):
        rng = np.random.RandomState(2)
        for gain in (0.9, 0.95, 1.0):
            network = gain * errors * rng.uniform(0.7, 1.3, 50)
            assert shows_a_gain(errors, network) == shows_a_gain(1e-9 * errors, 1e-9 * network)

    def test_seldom_opens_by_chance(self):
        """Two models that are equally good in truth, 500 times."""
        rng = np.random.RandomState(3)
        opened = [shows_a_gain(*np.exp(rng.normal(size=(2, 60)))) for _ in range(500)]
        assert np.mean(opened) < 0.01


# -- the gate, on data --------------------------------------------------------------


def assert_is_pca(model, X, pca):
    Z = pca.transform(X)
    assert not model.uses_network_
    assert model.best_iter_ == 0
    np.testing.assert_allclose(model.transform(X), Z, rtol=1e-6, atol=1e-6 * np.abs(Z).max())
    np.testing.assert_allclose(model.inverse_transform(Z), pca.inverse_transform(Z), rtol=1e-6, atol=1e-9)
    assert model.score(X) == pytest.approx(pca.score(X), rel=1e-6)


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("seed", range(3))
def test_noise_leaves_the_pca_of_all_rows(k, seed):
    X = np.random.RandomState(seed).normal(size=(400, 6)) * [6, 5, 4, 3, 2, 1] + 10
    model = fit(X, k, max_iter=15, random_state=seed)
    assert len(model.loss_curve_) == 15  # it was tried
    assert_is_pca(model, X, PCA(k, svd_solver="full").fit(X))


def test_curved_data_open_the_gate_and_beat_pca(curve):
    train, test = curve[:450], curve[450:]
    model, pca = fit(train), PCA(1).fit(train)
    assert model.uses_network_
    assert model.best_iter_ > 0
    theirs = np.square(test - pca.inverse_transform(pca.transform(test))).sum(1).mean()
    assert model.reconstruction_error(test).mean() < 0.2 * theirs


def test_too_few_validation_rows_leave_pca_untrained(curve):
    X = curve[: 10 * MIN_VALIDATION_SAMPLES - 10]
    model = fit(X)
    assert_is_pca(model, X, PCA(1, svd_solver="full").fit(X))
    assert model.loss_curve_ == []
    assert model.n_iter_ == 1
    # given as X_val, too
    assert_is_pca(fit(X, X_val=curve[-9:]), X, PCA(1, svd_solver="full").fit(X))
    assert fit(X, X_val=curve[-60:]).uses_network_


def test_a_harmful_network_is_shut_out(curve):
    """A learning rate that ruins the net does no harm to the model."""
    model = fit(curve, max_iter=5, learning_rate_init=2.0)
    assert min(model.loss_curve_) > 1
    assert_is_pca(model, curve, PCA(1, svd_solver="full").fit(curve))


def test_without_early_stopping_there_is_no_gate(curve):
    model = fit(np.random.RandomState(0).normal(size=(300, 6)), 2, max_iter=10, early_stopping=False)
    assert model.uses_network_
    assert model.validation_loss_curve_ == []
    assert model.best_iter_ == model.n_iter_ == 10


def test_a_textbook_network_has_no_gate():
    X = np.random.RandomState(0).normal(size=(300, 6))
    model = fit(X, 2, max_iter=10, init="random")
    assert model.uses_network_
    Z = PCA(2).fit_transform(X)
    assert not np.allclose(model.transform(X), Z, rtol=0.1, atol=0.1)


def test_a_shut_gate_keeps_the_users_options():
    """Shut means that the networks are zero, never that the bottleneck is bypassed."""
    X = np.random.RandomState(0).normal(size=(400, 6)) * [3, 3, 3, 1, 1, 1]
    model = fit(X, 4, max_iter=3, bottleneck=TopK(2), learning_rate_init=2.0)
    assert not model.uses_network_
    Z, plain = model.transform(X), PCA(4, svd_solver="full").fit_transform(X)
    assert ((Z != 0).sum(1) == 2).all()
    np.testing.assert_allclose(Z[Z != 0], plain[Z != 0], rtol=1e-6)


# -- probabilistic PCA, where a VAE starts ------------------------------------------------

VAE_FORMS = {
    "dense": {},
    "linear": {"hidden_layer_sizes": ()},
    "tied": {"tied_weights": True},
    "tied linear": {"tied_weights": True, "hidden_layer_sizes": ()},
    "convolutional": {"network": Conv((8, 8), channels=(3,))},
    "tied convolutional": {"network": Conv((8, 8), channels=(3,)), "tied_weights": True},
    "noise per column": {"likelihood": Gaussian("per_column")},
    "noise of the decoder": {"likelihood": Gaussian("decoder")},
    "importance-weighted": {"n_importance_samples": 3},
}


@pytest.mark.parametrize("form", VAE_FORMS)
@pytest.mark.parametrize("n", [300, 40], ids=["tall", "wide"])
def test_a_vae_starts_at_probabilistic_pca(form, n, digits):
    """Its ELBO is the log-likelihood, row by row, because its posterior is the true one."""
    X, fresh = digits[:n], digits[1000:1100]
    module, pca = build_vae(X, 5, **VAE_FORMS[form])
    model, expected = FittedVAE(module), pca.score_samples(fresh)
    np.testing.assert_allclose(model.elbo(fresh, 64), expected, rtol=1e-6)
    np.testing.assert_allclose(model.kl_divergence(fresh) > 0, True)
    mean, std = model.moments(fresh)
    # the posterior of the code is that of PCA's components, each in units of its own signal
    signal = pca.explained_variance_ - pca.noise_variance_
    whitened = pca.transform(fresh) * np.sqrt(signal) / pca.explained_variance_
    np.testing.assert_allclose(mean, whitened, rtol=1e-6, atol=1e-9)
    expected = np.sqrt(pca.noise_variance_ / pca.explained_variance_)
    np.testing.assert_allclose(std, np.tile(expected, (100, 1)), rtol=1e-6)


def test_training_rows_fill_the_prior_at_the_start(digits):
    """Their posteriors together are N(0, I): variances of means and posteriors add up to one."""
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
    assert np.abs(mean[:, 4:]).max() < 0.05  # not zero: they could not begin to learn
    assert np.abs(mean[:, 4:]).min() > 0
    # what they cost is far less than what the others do
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


def test_noise_free_data_start_at_the_least_noise_that_can_be_learnt():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(100, 2)) @ rng.normal(size=(2, 6))
    module, pca = build_vae(X, 2)
    assert pca.noise_variance_ < 1e-20
    assert float(module.log_noise(torch.zeros(1, 2)).detach()) == LOG_VARIANCE_BOUNDS[0]
    assert np.isfinite(FittedVAE(module).elbo(X, 8)).all()


# -- PCA beneath --------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(300, 8), (30, 20), (20, 50)])
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_anchor_is_the_exact_pca(shape, k, form):
    X = np.random.RandomState(0).normal(size=shape) @ np.diag(np.linspace(1, 3, shape[1])) + 2
    ours, exact = fit_pca(form(X), k, seed=0), PCA(k, svd_solver="full").fit(X)
    for name in ("components_", "explained_variance_", "mean_", "noise_variance_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(exact, name), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("shape", [(200, 12), (12, 40)])
@pytest.mark.parametrize("k", [1, 3, 6])
def test_truncated_pca_is_pca_with_fewer_components(shape, k):
    X = np.random.RandomState(0).normal(size=shape)
    long, exact = PCA(6, svd_solver="full").fit(X), PCA(k, svd_solver="full").fit(X)
    short = truncated_pca(long, k, shape[0])
    for name in ("components_", "explained_variance_", "explained_variance_ratio_", "singular_values_"):
        np.testing.assert_allclose(getattr(short, name), getattr(exact, name), rtol=1e-9, atol=1e-12)
    assert short.noise_variance_ == pytest.approx(exact.noise_variance_, rel=1e-9)
    assert short.n_components_ == k
    assert long.n_components_ == 6
