"""VAETransformer: equal to probabilistic PCA if linear, better on nonlinear data, no silent collapse."""

import pickle
import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import linalg, sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_ae import VAETransformer
from sklearn_ae._training.net import AutoencoderNet
from sklearn_ae.divergences import BetaTC
from sklearn_ae.likelihoods import Gaussian
from sklearn_ae.networks import Conv

# The models of these tests are trained for few epochs.
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")


def quick(n_components=2, **params):
    """Return a model that trains for a few epochs."""
    given = {"hidden_layer_sizes": (16,), "max_iter": 20, "random_state": 0}
    return VAETransformer(n_components, **(given | params))


def linear(n_components=2, **params):
    return VAETransformer(n_components, hidden_layer_sizes=(), random_state=0, **params)


def correlated(shape=(400, 8), rank=3, seed=0):
    """Return normally distributed samples with a few strong directions, noise, and a mean far from zero."""
    rng = np.random.RandomState(seed)
    n, d = shape
    loadings = np.linspace(2, 1, rank)[:, None] * rng.normal(size=(rank, d))
    return 10 + rng.normal(size=(n, rank)) @ loadings + 0.3 * rng.normal(size=shape)


@pytest.fixture(scope="module")
def bent():
    """A model of a noisy curve that uses its networks, its training data, and unseen samples."""
    rng = np.random.RandomState(0)
    t = rng.uniform(-2, 2, 500)
    X = np.column_stack([t, t**2, np.sin(2 * t), t**3]) + 0.1 * rng.normal(size=(500, 4))
    model = quick(1, hidden_layer_sizes=(32,), max_iter=80).fit(X[:350], X_val=X[350:400])
    assert model.uses_network_
    return model, X[:400], X[400:]


@pytest.fixture(scope="module")
def trained(bent):
    """A model that was trained without validation, for properties that hold after any training."""
    return quick(1, max_iter=3, early_stopping=False).fit(bent[1])


# -- linear: probabilistic PCA ----------------------------------------------------------


@pytest.mark.parametrize("shape", [(300, 12), (30, 60)], ids=["tall", "wide"])
@pytest.mark.parametrize("k", [1, 3])
class TestLinearIsProbabilisticPCA:
    @pytest.fixture
    def pair(self, shape, k):
        X = correlated(shape, rank=5)
        return X, PCA(k, svd_solver="full").fit(X), linear(k).fit(X)

    def test_likelihood_and_bound(self, pair, shape):
        _, pca, vae = pair
        fresh = correlated(shape, rank=5, seed=1)
        expected = pca.score_samples(fresh)
        np.testing.assert_allclose(vae.score_samples(fresh), expected, rtol=1e-6)
        np.testing.assert_allclose(vae.elbo(fresh), expected, rtol=1e-6)  # the posterior is exact
        assert vae.score(fresh) == pytest.approx(pca.score(fresh), rel=1e-6)
        log_p, std = vae.score_samples(fresh, return_std=True)
        assert (std == 0).all()
        np.testing.assert_array_equal(log_p, vae.score_samples(fresh, n_draws=1))

    def test_attributes(self, pair):
        _, pca, vae = pair
        np.testing.assert_allclose(vae.get_covariance(), pca.get_covariance(), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(vae.get_precision(), pca.get_precision(), rtol=1e-5, atol=1e-7)
        assert vae.noise_variance_ == pytest.approx(pca.noise_variance_, rel=1e-6)
        np.testing.assert_allclose(vae.mean_, pca.mean_)
        signal = np.sqrt(pca.explained_variance_ - pca.noise_variance_)
        np.testing.assert_allclose(vae.components_, signal[:, None] * pca.components_, rtol=1e-6, atol=1e-9)

    def test_posterior_is_exact(self, pair):
        X, _, vae = pair
        W, noise = vae.components_, vae.noise_variance_
        covariance = linalg.inv(np.eye(len(W)) + W @ W.T / noise)
        mean, std = vae.posterior(X)
        np.testing.assert_allclose(mean, (X - vae.mean_) @ W.T @ covariance / noise, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(std, np.tile(np.sqrt(np.diag(covariance)), (len(X), 1)), rtol=1e-6)
        np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-9)

    def test_decoder_is_affine(self, pair, k):
        _, _, vae = pair
        Z = np.random.RandomState(0).normal(size=(5, k))
        np.testing.assert_allclose(vae.inverse_transform(Z), vae.mean_ + Z @ vae.components_, rtol=1e-9)

    def test_samples_have_the_mean_and_covariance_of_the_model(self, pair):
        _, _, vae = pair
        n = 20_000
        X_new = vae.sample(n, random_state=0)
        covariance = vae.get_covariance()
        variance = np.diag(covariance)
        assert np.abs((X_new.mean(0) - vae.mean_) / np.sqrt(variance / n)).max() < 5
        spread = np.sqrt((np.outer(variance, variance) + covariance**2) / n)
        assert np.abs((np.cov(X_new.T) - covariance) / spread).max() < 5.5


def test_training_from_random_weights_finds_probabilistic_pca():
    """PPCA is the optimum of the linear ELBO (J. Lucas et al. (2019), Don't blame the ELBO!, NeurIPS)."""
    k = 3
    X = correlated((600, 10), rank=k + 1)
    given = {
        "learning_rate_init": 0.03,
        "batch_size": 600,
        "max_iter": 800,
        "early_stopping": False,
        "alpha": 0,
    }
    pca, vae = PCA(k).fit(X), linear(k, init="random", **given).fit(X)
    assert vae.score(X) == pytest.approx(pca.score(X), rel=0.005)
    assert vae.score(X) <= pca.score(X) + 1e-3  # the maximum
    assert vae.noise_variance_ == pytest.approx(pca.noise_variance_, rel=0.05)
    assert linalg.subspace_angles(vae.components_.T, pca.components_.T).max() < 0.05
    covariance = pca.get_covariance()
    np.testing.assert_allclose(vae.get_covariance(), covariance, atol=0.1 * np.abs(covariance).max())
    # The posterior found by training is the true one.
    np.testing.assert_allclose(vae.elbo(X), vae.score_samples(X), atol=0.3)


def test_partial_fit_of_a_linear_model_approaches_pca(digits):
    vae = linear(5)
    for chunk in np.array_split(digits, 6):
        vae.partial_fit(chunk)
    pca = PCA(5).fit(digits)
    assert vae.score(digits) > pca.score(digits) - 3
    assert vae.noise_variance_ == pytest.approx(pca.noise_variance_, rel=0.1)


# -- nonlinear data -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def on_digits(digits_split):
    return quick(8, hidden_layer_sizes=(64,), max_iter=30).fit(digits_split[0])


class TestOnDigits:
    def test_all_components_are_active(self, on_digits, digits_split):
        assert on_digits.uses_network_
        assert on_digits.n_active_units_ == 8
        mean, std = on_digits.posterior(digits_split[1])
        assert mean.var(0).min() > 0.5
        assert std.mean(0).max() < 0.7

    def test_squared_error_and_likelihood_are_better_than_those_of_pca(self, on_digits, digits_split):
        train, test = digits_split
        pca = PCA(8).fit(train)
        pca_error = np.square(test - pca.inverse_transform(pca.transform(test))).sum(1).mean()
        assert on_digits.reconstruction_error(test).mean() < 0.7 * pca_error
        assert on_digits.elbo(test).mean() > pca.score(test) + 5  # a lower bound of the log-likelihood
        assert on_digits.score(test[:100]) > pca.score(test[:100]) + 5

    def test_divergence_and_reconstruction_are_on_one_scale(self, on_digits, digits_split):
        """Both are sums in nats: the divergence is smaller than the gain over a normal without a code."""
        test = digits_split[1]
        kl = on_digits.kl_divergence(test).mean()
        without_code = -0.5 * (np.log(2 * np.pi * test.var(0).mean()) + 1) * 64
        assert 8 < kl < 40
        assert on_digits.elbo(test).mean() - without_code > kl

    def test_the_aggregate_posterior_is_close_to_the_prior(self, on_digits, digits_split):
        """The variance of the means and the mean variance of the posterior add up to about 1."""
        mean, std = on_digits.posterior(digits_split[1])
        np.testing.assert_allclose(mean.var(0) + np.square(std).mean(0), 1, atol=0.6)


def test_held_out_likelihood_on_a_curve_is_far_above_that_of_pca(curve):
    model = quick(1, hidden_layer_sizes=(32,), max_iter=80).fit(curve[:300], X_val=curve[300:400])
    assert model.uses_network_
    assert model.score(curve[400:]) > PCA(1).fit(curve[:300]).score(curve[400:]) + 3


@pytest.mark.slow
def test_the_default_learns_the_noise_variance_of_the_data(curve):
    """A larger estimate would give reconstructions too little weight against the divergence."""
    model = VAETransformer(1, random_state=0).fit(curve[:400])
    assert model.uses_network_
    assert np.sqrt(model.noise_variance_) == pytest.approx(0.05, rel=0.4)
    assert model.score(curve[400:]) > PCA(1).fit(curve[:400]).score(curve[400:]) + 5


@pytest.mark.slow
def test_the_default_on_digits(digits_split):
    train, test = digits_split
    model, pca = VAETransformer(8, random_state=0).fit(train), PCA(8).fit(train)
    assert model.uses_network_
    assert model.n_active_units_ == 8
    pca_error = np.square(test - pca.inverse_transform(pca.transform(test))).sum(1).mean()
    assert model.reconstruction_error(test).mean() < 0.6 * pca_error
    assert model.elbo(test).mean() > pca.score(test) + 10


@pytest.mark.parametrize("name", ["one nonlinear feature", "noise"])
def test_held_out_likelihood_is_not_below_that_of_pca(name):
    rng = np.random.RandomState(0)
    X = {
        "one nonlinear feature": lambda: np.column_stack([correlated((500, 5)), rng.uniform(size=500) ** 2]),
        "noise": lambda: rng.normal(size=(450, 6)),
    }[name]()
    model, pca = quick(2).fit(X[:300]), PCA(2).fit(X[:300])
    assert model.score(X[300:]) > pca.score(X[300:]) - 1e-6
    if name == "noise":
        assert not model.uses_network_


def test_the_fallback_is_probabilistic_pca_of_all_samples():
    X = np.random.RandomState(1).normal(size=(400, 6)) * [6, 5, 4, 3, 2, 1] + 10
    model, pca = quick(2, max_iter=10).fit(X), PCA(2).fit(X)
    assert not model.uses_network_
    assert model.best_iter_ == 0
    assert len(model.loss_curve_) == 10  # the network was trained and rejected
    np.testing.assert_allclose(model.score_samples(X), pca.score_samples(X), rtol=1e-6)
    np.testing.assert_allclose(model.get_covariance(), pca.get_covariance(), rtol=1e-6, atol=1e-9)
    assert quick(2, max_iter=1, early_stopping=False).fit(X).uses_network_


FORMS = {
    "denoising, noise per feature": {"corruption": "gaussian", "likelihood": Gaussian("per_column")},
    "tied, importance-weighted": {"tied_weights": True, "max_iter": 25, "n_importance_samples": 3},
    "convolutional": {"network": Conv((8, 8), channels=(4,)), "max_iter": 12},
    "tied convolutional": {"network": Conv((8, 8), channels=(4,)), "tied_weights": True, "max_iter": 25},
    "noise of the decoder": {"likelihood": Gaussian("decoder")},
}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_every_form_keeps_its_components_active_and_beats_pca(form, digits_split):
    train, valid, test = digits_split[0][:1000], digits_split[0][1000:], digits_split[1][:50]
    model = quick(8, hidden_layer_sizes=(32,), **FORMS[form]).fit(train, X_val=valid)
    assert model.uses_network_
    assert model.n_active_units_ == 8
    score = model.score_samples(test)
    assert score.mean() > PCA(8).fit(train).score(test) + 1
    assert model.elbo(test).mean() < score.mean()


def test_user_modules_return_means_and_log_variances(curve):
    encoder = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 4))
    decoder = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 5))
    model = quick(2, network=(encoder, decoder), max_iter=40).fit(curve[:400], X_val=curve[400:])
    assert model.uses_network_
    assert model.elbo(curve).mean() > PCA(2).fit(curve).score(curve) + 0.1
    too_narrow = nn.Linear(5, 2), nn.Linear(2, 5)
    with pytest.raises(ValueError, match=r"encoder.*expected \(\d+, 4\)"):
        quick(2, network=too_narrow).fit(curve)


def test_input_is_corrupted_in_training_only(digits):
    X = digits[:300]
    start = {"max_iter": 1, "learning_rate_init": 1e-12, "early_stopping": False}
    clean, noisy = (quick(4, corruption=c, **start).fit(X) for c in (None, "salt_and_pepper"))
    assert noisy.loss_curve_[0] > clean.loss_curve_[0] + 1
    np.testing.assert_allclose(noisy.transform(X), clean.transform(X), atol=1e-6)
    np.testing.assert_allclose(noisy.elbo(X), clean.elbo(X), rtol=1e-4)


def test_the_posterior_of_surplus_components_is_the_prior():
    X = correlated((400, 5), rank=2)
    model = quick(9).fit(X)
    mean, std = model.posterior(X)
    assert model.transform(X).shape == (400, 9)
    assert np.sort(mean.var(0))[:4].max() < 0.01
    assert np.sort(std.mean(0))[-4:].min() > 0.95
    assert np.isfinite(model.score(X))


# -- beta, warm-up, importance weights ------------------------------------------------------


@cache
def weighted(beta):
    X = correlated((200, 8), seed=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # beta=1000 leaves no component active
        given = {"early_stopping": False, "max_iter": 60, "learning_rate_init": 0.01}
        return quick(3, beta=beta, **given).fit(X), X


@pytest.mark.slow
def test_beta_trades_reconstruction_for_divergence():
    models, X = [weighted(beta)[0] for beta in (0.0, 1.0, 1000.0)], weighted(1.0)[1]
    kl = [model.kl_divergence(X).mean() for model in models]
    error = [model.reconstruction_error(X).mean() for model in models]
    elbo = [model.elbo(X).mean() for model in models]
    assert kl[0] > kl[1] + 1
    assert kl[1] > 50 * kl[2]
    assert error[0] < error[1] < 0.2 * error[2]
    assert elbo[1] > max(elbo[0], elbo[2]) + 0.3  # beta=1 maximises the ELBO
    assert [model.n_active_units_ for model in models] == [3, 3, 0]
    # Without a divergence the posterior contracts towards a point.
    assert models[0].posterior(X)[1].mean() < 0.5 * models[1].posterior(X)[1].mean()


@pytest.mark.slow
def test_importance_weighted_training_improves_its_bound(digits_split):
    """With more importance samples, the bound on held-out samples is closer to the log-likelihood."""
    train, test = digits_split[0][:800], digits_split[1]
    given = {"hidden_layer_sizes": (32,), "max_iter": 25}
    models = [quick(8, n_importance_samples=k, **given).fit(train, X_val=test) for k in (1, 10)]
    bounds = [-min(model.validation_loss_curve_) for model in models]
    assert all(model.uses_network_ for model in models)
    assert bounds[0] + 0.5 < bounds[1]
    assert models[1].score(test) > bounds[1] - 0.05


# -- posterior collapse -----------------------------------------------------------------------


def collapse_warnings(model, X):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X)
    return [w for w in caught if "components are active" in str(w.message)]


def test_inactive_components_are_reported_with_remedies():
    X = correlated()
    model = clone(weighted(1000.0)[0])
    (warning,) = collapse_warnings(model, X)
    assert warning.category is ConvergenceWarning
    assert warning.filename == __file__  # the line that calls fit, here in collapse_warnings
    assert model.n_active_units_ == 0
    message = str(warning.message)
    for part in (
        "Only 0 of 3",
        "at least 3 directions",
        "beta=1000",
        "kl_warmup=0.1",
        "init='pca'",
        "n_components",
    ):
        assert part in message


@pytest.mark.slow
@pytest.mark.parametrize(("init", "k"), [("pca", 2), ("random", 5), ("random", 8)])
def test_pure_noise_gives_no_warning(init, k):
    X = np.random.RandomState(0).normal(size=(500, 6))
    assert not collapse_warnings(quick(k, init=init, max_iter=20), X)


def test_active_components_have_varying_means():
    X = correlated((400, 8), rank=2)
    for model in (quick(5, early_stopping=False, max_iter=60), linear(5), linear(2)):
        varies = model.fit(X).transform(X).var(0, ddof=1) > 0.01
        assert model.n_active_units_ == varies.sum()
    # The number of active components does not depend on the units of the features.
    wide = np.random.RandomState(0).normal(size=(500, 10)) * np.r_[100, 1, np.full(8, 0.01)]
    model = linear(2)
    assert not collapse_warnings(model, wide)
    assert model.n_active_units_ == 2


# -- samples --------------------------------------------------------------------------------------


def test_samples_are_reproducible_and_leave_the_global_state_unchanged(bent, unchanged_globals):
    model, _, _ = bent
    X = model.sample(50, random_state=3)
    np.testing.assert_array_equal(model.sample(50, random_state=3), X)
    np.testing.assert_array_equal(model.sample(50, random_state=np.random.RandomState(3)), X)
    assert not np.allclose(model.sample(50, random_state=4), X)
    assert not np.allclose(model.sample(50), model.sample(50))
    running = np.random.RandomState(3)
    model.sample(50, random_state=running)
    assert not np.allclose(model.sample(50, random_state=running), X)
    assert model.sample().shape == (1, 4)


def test_codes_of_samples_are_returned_on_request(bent):
    model, _, _ = bent
    means, codes = model.sample(50, random_state=3, noise=False, return_codes=True)
    assert codes.shape == (50, 1)
    np.testing.assert_array_equal(means, model.sample(50, random_state=3, noise=False))
    np.testing.assert_allclose(model.inverse_transform(codes), means, rtol=1e-9)


def test_samples_are_as_close_to_the_curve_as_unseen_data(bent):
    model, X, fresh = bent

    def distances(samples):
        return np.sqrt(np.square(samples[:, None] - X).sum(2).min(1))

    samples, means = (model.sample(400, random_state=0, noise=noise) for noise in (True, False))
    assert np.median(distances(means)) < 1.5 * np.median(distances(fresh))
    by_pca = linear(1).fit(X).sample(400, random_state=0)
    assert np.median(distances(samples)) < 0.4 * np.median(distances(by_pca))


# -- curves of the terms ------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{}, {"divergence": "mmd"}, {"n_importance_samples": 3}], ids=str)
def test_curves_of_the_terms_add_up_to_the_loss(change):
    X = correlated((300, 8))
    model = quick(2, max_iter=6, beta=2.0, kl_warmup=0.5, early_stopping=True, **change).fit(X)
    loss, validation_loss = np.array(model.loss_curve_), np.array(model.validation_loss_curve_)
    terms = np.array(model.reconstruction_loss_curve_) + 2.0 * np.array(model.divergence_curve_)
    validation = np.array(model.validation_reconstruction_loss_curve_)
    validation = validation + 2.0 * np.array(model.validation_divergence_curve_)
    if "divergence" not in change:  # others than KL may be negative
        assert loss[0] < terms[0]  # during the warm-up of the divergence
    if "n_importance_samples" in change:
        assert (loss < terms).all()
        assert (validation_loss < validation).all()
    else:
        np.testing.assert_allclose(loss[3:], terms[3:], rtol=1e-5)
        np.testing.assert_allclose(validation_loss, validation, rtol=1e-5)


def test_the_divergence_of_the_best_epoch_is_that_of_the_model(bent):
    _, X, fresh = bent
    model = quick(1, max_iter=6, early_stopping=True, init="random").fit(X, X_val=fresh)
    found = model.validation_divergence_curve_[model.best_iter_ - 1]
    assert found == pytest.approx(model.kl_divergence(fresh).mean(), rel=1e-4)


def test_recording_the_terms_does_not_change_the_training(monkeypatch):
    X = correlated((300, 8))
    recorded = quick(2, max_iter=4).fit(X)
    monkeypatch.setattr(AutoencoderNet, "record_", property(lambda self: None, lambda self, record: None))
    plain = quick(2, max_iter=4).fit(X)
    assert plain.divergence_curve_ == []
    assert recorded.loss_curve_ == plain.loss_curve_
    for name, value in recorded.module_.state_dict().items():
        assert torch.equal(value, plain.module_.state_dict()[name])


def test_curves_of_the_terms_grow_with_partial_fit_and_are_stored():
    X = correlated((300, 8))
    model = quick(2).partial_fit(X).partial_fit(X)
    assert len(model.divergence_curve_) == len(model.loss_curve_) == 2
    assert pickle.loads(pickle.dumps(model)).divergence_curve_ == model.divergence_curve_


# -- bounds and scores --------------------------------------------------------------------------------


def test_elbo_is_below_the_log_likelihood(bent):
    model, X, fresh = bent
    for samples in (X[:100], fresh):
        score, std = model.score_samples(samples, return_std=True)
        assert (model.elbo(samples) < score + 4 * std + 0.05).all()
        assert (model.kl_divergence(samples) > 0).all()


@pytest.mark.parametrize("n_draws", [1, 2, 3, 128])
def test_the_elbo_of_few_draws_is_not_optimistic(n_draws):
    X = correlated()
    vae = linear(2).fit(X)
    assert vae.elbo(X, n_draws=n_draws).mean() < vae.score(X) + 0.1
    if n_draws > 2:  # exact with more draws than components
        assert vae.elbo(X, n_draws=n_draws).mean() == pytest.approx(vae.score(X))


def test_more_draws_reduce_the_standard_error(bent):
    model, fresh = bent[0], bent[2][:50]
    truth = model.score_samples(fresh, n_draws=16_384)
    few, few_std = model.score_samples(fresh, n_draws=16, return_std=True)
    many, many_std = model.score_samples(fresh, n_draws=1024, return_std=True)
    assert np.square(many - truth).mean() < 0.3 * np.square(few - truth).mean()
    assert many_std.mean() < 0.5 * few_std.mean()
    assert model.score(fresh) == pytest.approx(model.score_samples(fresh).mean())


def test_density_integrates_to_one():
    rng = np.random.RandomState(0)
    t = rng.uniform(-2, 2, 500)
    X = np.column_stack([t, t**2]) + 0.2 * rng.normal(size=(500, 2))
    model = quick(1, hidden_layer_sizes=(32,), max_iter=40, likelihood=Gaussian("decoder"))
    model.fit(X[:400], X_val=X[400:])
    assert model.uses_network_
    axes = [np.linspace(low - 3, high + 3, 50) for low, high in zip(X.min(0), X.max(0), strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    assert np.exp(model.score_samples(grid)).sum() * cell == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(("c", "noise"), [(2.0**20, "shared"), (2.0**20, "decoder"), (1e-6, "shared")])
def test_units_of_X_shift_the_scores_by_the_log_jacobian(c, noise, bent):
    _, X, fresh = bent
    model = quick(1, likelihood=Gaussian(noise), max_iter=3, early_stopping=False)
    one, other = clone(model).fit(X), clone(model).fit(c * X)
    exact = c == 2.0**20  # a power of two, so that nothing is rounded
    for method in ("score_samples", "elbo"):
        shifted = getattr(one, method)(fresh[:50]) - 4 * np.log(c)
        np.testing.assert_allclose(
            getattr(other, method)(c * fresh[:50]), shifted, atol=1e-9 if exact else 0.02
        )
    np.testing.assert_allclose(other.sample(9, random_state=0), c * one.sample(9, random_state=0), rtol=1e-3)
    np.testing.assert_allclose(other.kl_divergence(c * fresh), one.kl_divergence(fresh), rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("likelihood", "make"),
    [
        ("gaussian", lambda rng: 1e6 * rng.normal(size=(40, 10_000))),
        (Gaussian("decoder"), lambda rng: 1e6 * rng.normal(size=(40, 10_000))),
        ("bernoulli", lambda rng: rng.randint(0, 2, size=(40, 10_000)) + 0.0),
        ("poisson", lambda rng: rng.poisson(3.0, size=(40, 10_000)) * np.r_[1e6, np.ones(9_999)]),
    ],
    ids=["gaussian", "decoder", "bernoulli", "poisson"],
)
def test_nothing_overflows_with_ten_thousand_features(likelihood, make):
    X = make(np.random.RandomState(0))
    given = {"hidden_layer_sizes": (4,), "max_iter": 2, "early_stopping": False}
    model = quick(1, likelihood=likelihood, **given).fit(X)
    score, std = model.score_samples(X[:2], n_draws=4, return_std=True)
    elbo = model.elbo(X[:2], n_draws=4)
    assert np.isfinite([score, std, elbo]).all()
    assert (elbo < score + 4 * std + 1e-3).all()
    assert np.isfinite(model.kl_divergence(X)).all()
    assert np.isfinite(model.sample(2, random_state=0)).all()


def test_scores_of_distant_samples_are_finite_and_ordered(bent):
    model, X, _ = bent
    far = X[:1] * 10.0 ** np.arange(1, 12)[:, None]
    for values in (model.score_samples(far), model.elbo(far), -model.kl_divergence(far)):
        assert np.isfinite(values).all()
    assert (np.diff(model.score_samples(far)) < 0).all()


def test_scores_of_constant_and_low_rank_data_are_finite():
    rng = np.random.RandomState(0)
    constant = np.ones((50, 3))
    for X in (constant, 0.1 * constant, rng.normal(size=(200, 2)) @ rng.normal(size=(2, 6))):
        for params in ({}, {"early_stopping": False}):
            model = quick(2, max_iter=3, **params).fit(X)
            values = model.score_samples(X), model.elbo(X), model.sample(len(X), random_state=0)
            assert all(np.isfinite(value).all() for value in values)
            assert model.score(X) > model.score(X + 1)


# -- determinism ---------------------------------------------------------------------------------------


def test_methods_are_deterministic_and_treat_samples_independently(bent):
    model, X = bent[0], bent[1][:60]
    order = np.random.RandomState(0).permutation(len(X))
    methods = {
        "transform": model.transform,
        "mean": lambda X: model.posterior(X)[0],
        "deviation": lambda X: model.posterior(X)[1],
        "elbo": model.elbo,
        "kl_divergence": model.kl_divergence,
        "score_samples": model.score_samples,
        "standard error": lambda X: model.score_samples(X, return_std=True)[1],
        "inverse_transform": lambda X: model.inverse_transform(model.transform(X)),
    }
    for name, method in methods.items():
        whole = method(X)
        np.testing.assert_array_equal(method(X), whole, err_msg=name)
        np.testing.assert_allclose(method(X[order]), whole[order], rtol=1e-7, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(method(X[7:9]), whole[7:9], rtol=1e-7, atol=1e-9, err_msg=name)


def test_codes_are_the_posterior_mean(bent):
    model, X, _ = bent
    mean, std = model.posterior(X)
    np.testing.assert_allclose(model.transform(X), mean, rtol=1e-12)
    assert ((std > 0) & (std < 1.5)).all()
    model = quick(2, max_iter=2)
    np.testing.assert_array_equal(model.fit_transform(X), model.transform(X))


def test_calls_leave_the_global_state_unchanged(bent, unchanged_globals):
    _, X, _ = bent
    for params in ({}, {"random_state": None}, {"divergence": "mmd"}, {"likelihood": Gaussian("decoder")}):
        model = quick(1, max_iter=1, early_stopping=False, **params).fit(X)
        model.elbo(X[:5])
        model.score_samples(X[:5])
        model.sample(3)
        model.partial_fit(X[:100])


def test_random_state_determines_the_result(bent, trained):
    X = bent[1]
    twin, other = (clone(trained).set_params(random_state=seed).fit(X) for seed in (0, 1))
    np.testing.assert_array_equal(trained.score_samples(X[:9]), twin.score_samples(X[:9]))
    assert not np.allclose(trained.score_samples(X[:9]), other.score_samples(X[:9]))


# -- no parameter is ignored ------------------------------------------------------------------------------


CHANGES = [
    {"kl_warmup": 0.0},
    {"kl_warmup": 1.0},
    {"beta": 1.5},
    {"likelihood": Gaussian("per_column")},
    {"likelihood": Gaussian("full")},
    {"likelihood": Gaussian("decoder")},
    {"divergence": "beta_tc"},
    {"divergence": "mmd"},
    {"n_importance_samples": 2},
    {"hidden_layer_sizes": (17,)},
    {"activation": "tanh"},
    {"init": "random"},
    {"corruption": "gaussian"},
    {"alpha": 100.0},
    {"tied_weights": True},
    {"batch_size": 30},
    {"learning_rate_init": 0.004},
    {"max_iter": 5},
    {"early_stopping": True},
    {"random_state": 1},
]


@cache
def loss_curve(**change):
    model = quick(2, max_iter=4, early_stopping=False).set_params(**change)
    return model.fit(correlated((200, 8))).loss_curve_


@pytest.mark.filterwarnings("ignore:Only")  # too few epochs for some changes
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_every_parameter_has_an_effect(change):
    assert loss_curve(**change) != loss_curve()


# -- within scikit-learn ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("params", "grid"),
    [
        ({"divergence": BetaTC()}, {"divergence__beta": [1.0, 10.0]}),
        ({"likelihood": Gaussian()}, {"likelihood__noise": ["shared", "per_column", "full", "decoder"]}),
        ({"max_iter": 20}, {"beta": [1.0, 100.0]}),
        ({}, {"divergence": ["kl", "mmd"]}),
    ],
    ids=["divergence__beta", "likelihood__noise", "beta", "divergence"],
)
@pytest.mark.filterwarnings("ignore:Only")
def test_searches_over_options_need_no_scorer(params, grid):
    X = correlated((200, 8)) * np.r_[np.ones(7), 5]
    model = quick(**{"max_iter": 5, "early_stopping": False, **params})
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(X)
    ((name, values),) = grid.items()
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert search.best_params_[name] == values[np.argmax(scores)]
    assert search.best_estimator_.get_params()[name] == search.best_params_[name]
    if name == "beta":
        assert scores[0] > scores[1] + 0.1
    if name == "likelihood__noise":
        assert len(set(scores)) == len(search.cv_results_["params"])


def test_pipeline_with_scaler_and_classifier():
    X, y = load_digits(return_X_y=True)
    model = quick(8, max_iter=5, early_stopping=False)
    pipe = make_pipeline(StandardScaler(), model, LogisticRegression(max_iter=500)).fit(X[:600], y[:600])
    assert pipe.score(X[600:900], y[600:900]) > 0.7


@pytest.mark.parametrize("likelihood", ["gaussian", Gaussian("decoder"), "poisson"], ids=str)
def test_pickle_keeps_the_result(likelihood):
    X = np.random.RandomState(0).poisson(3.0, size=(100, 6)) + 0.0
    model = quick(2, likelihood=likelihood, max_iter=2, early_stopping=False).fit(X)
    twin = pickle.loads(pickle.dumps(model))
    for method in ("transform", "elbo", "score_samples"):
        np.testing.assert_array_equal(getattr(twin, method)(X[:9]), getattr(model, method)(X[:9]))
    np.testing.assert_array_equal(twin.sample(5, random_state=0), model.sample(5, random_state=0))
    twin.partial_fit(X)  # training can be continued
    assert repr(clone(model)) == repr(model)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_preserved(dtype, bent):
    X = bent[1][:100].astype(dtype)
    model = quick(1, max_iter=2, early_stopping=False).fit(X)
    Z = model.transform(X)
    results = Z, *model.posterior(X), model.inverse_transform(Z), model.sample(3, random_state=0)
    assert {result.dtype for result in results} == {np.dtype(dtype)}
    assert model.score_samples(X[:3]).dtype == model.elbo(X[:3]).dtype == np.float64
    other = X.astype(np.float32 if dtype == np.float64 else np.float64)
    np.testing.assert_allclose(model.transform(other), Z, atol=1e-4)
    np.testing.assert_allclose(model.elbo(other), model.elbo(X), atol=1e-2)


def test_data_frames_keep_their_names(bent):
    X = pd.DataFrame(bent[1], columns=list("abcd"))
    model = quick(2, max_iter=1, early_stopping=False).set_output(transform="pandas").fit(X)
    assert list(model.transform(X).columns) == ["vaetransformer0", "vaetransformer1"]
    assert list(model.feature_names_in_) == list("abcd")
    for method in (model.posterior, model.elbo, model.kl_divergence, model.score_samples):
        with pytest.raises(ValueError, match="feature names"):
            method(X[list("dcba")])


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli", "poisson"])
def test_sparse_input_equals_dense(likelihood):
    X = np.random.RandomState(0).binomial(1, 0.3, size=(150, 8)) + 0.0
    # The initial PCAs come from different solvers, but start from the same point up to rounding.
    start = {"max_iter": 1, "learning_rate_init": 1e-12, "early_stopping": False}
    model = quick(2, likelihood=likelihood, **start).fit(sparse.csr_array(X))
    for method in (model.transform, model.elbo, model.kl_divergence, model.score_samples):
        np.testing.assert_allclose(method(sparse.csc_array(X[:9])), method(X[:9]), rtol=1e-10)
    dense = clone(model).fit(X)
    assert model.score(X) == pytest.approx(dense.score(X), abs=1e-3)
    np.testing.assert_allclose(model.loss_curve_, dense.loss_curve_, rtol=1e-3)


def test_partial_fit_improves_the_elbo(bent):
    _, X, fresh = bent
    model = quick(1).partial_fit(X)
    first = model.elbo(fresh).mean()
    for _ in range(40):
        model.partial_fit(X)
    assert model.elbo(fresh).mean() > first + 1
    assert model.n_iter_ == 41


def test_warm_starts_continue_training(bent):
    _, X, fresh = bent
    model = quick(1, max_iter=10, warm_start=True, early_stopping=False).fit(X)
    elbo, last_loss = model.elbo(fresh).mean(), model.loss_curve_[-1]
    model.fit(X)
    assert model.elbo(fresh).mean() > elbo
    assert model.loss_curve_[0] == pytest.approx(
        last_loss, abs=0.3
    )  # without another warm-up of the divergence


def test_a_warm_start_with_another_noise_is_refused(bent):
    model = quick(1, max_iter=1, warm_start=True, early_stopping=False).fit(bent[1])
    model.set_params(likelihood=Gaussian("per_column"))
    with pytest.raises(ValueError, match="warm_start"):
        model.fit(bent[1])


def test_missing_attributes_name_the_reason():
    X = np.random.RandomState(0).binomial(1, 0.3, size=(60, 5)) + 0.0
    decoder = quick(1, likelihood=Gaussian("decoder"), max_iter=1, early_stopping=False).fit(X)
    discrete = quick(1, likelihood="bernoulli", max_iter=1, early_stopping=False).fit(X)
    for model, reason in ((decoder, "one per sample"), (discrete, r"Bernoulli\(\) has no noise variance")):
        with pytest.raises(AttributeError, match=rf"no attribute 'noise_variance_': .*{reason}"):
            _ = model.noise_variance_
        with pytest.raises(AttributeError, match="not linear"):
            _ = model.components_
        with pytest.raises(AttributeError, match="score_samples"):
            model.get_covariance()


def test_a_decoder_with_its_own_noise_is_not_linear():
    """Even without hidden layers, the noise variance is an exponential of the code."""
    X = correlated((200, 5))
    model = linear(2, likelihood=Gaussian("decoder"), max_iter=3, early_stopping=False).fit(X)
    with pytest.raises(AttributeError, match="not linear"):
        model.get_covariance()
    assert torch.is_tensor(model.module_.noise.network[-1].weight)
