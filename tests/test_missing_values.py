"""Autoencoders of samples with missing values: ``missing="mask"``."""

import copy
import pickle

import numpy as np
import pytest
import torch
from scipy import sparse, stats
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Generator, nn

from sklearn_ae import (
    AEOutlierDetector,
    AutoencoderTransformer,
    AutoencoderTransformerCV,
    VAETransformer,
    metrics,
)
from sklearn_ae._data.sources import ArraySource, DataSummary
from sklearn_ae._estimators.validation import check_can_mask
from sklearn_ae._model.completion import Completion, posterior_precision
from sklearn_ae._model.module import ForwardOutput
from sklearn_ae._model.objectives import Elbo, Objective
from sklearn_ae._utils.ranks import RANKS
from sklearn_ae.bottlenecks import BOTTLENECKS
from sklearn_ae.corruptions import CORRUPTIONS
from sklearn_ae.divergences import DIVERGENCES, KL
from sklearn_ae.likelihoods import LIKELIHOODS, Gaussian
from sklearn_ae.losses import LOSSES
from sklearn_ae.networks import Conv
from sklearn_ae.penalties import PENALTIES
from sklearn_ae.priors import Flow

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # few epochs

D, K = 6, 2
CLASSES = [AutoencoderTransformer, VAETransformer]


def low_rank(n=150, d=D, k=K, noise=0.3, seed=0):
    """Samples with k factors; their distribution does not depend on n and the noise of n samples does."""
    rng = np.random.RandomState(seed)
    W, mean = rng.normal(size=(k, d)), rng.normal(size=d)
    return mean + rng.normal(size=(n, k)) @ W + noise * rng.normal(size=(n, d))


def with_gaps(X, share=0.25, seed=0):
    X = X.copy()
    X[np.random.RandomState(seed).uniform(size=X.shape) < share] = np.nan
    return X


def linear(cls=AutoencoderTransformer, k=K, **params):
    return cls(k, hidden_layer_sizes=(), missing="mask", **params)


def network(cls=AutoencoderTransformer, k=K, **params):
    """An autoencoder with a small network that is kept."""
    given = {"hidden_layer_sizes": (8,), "max_iter": 3, "early_stopping": False, "random_state": 0}
    return cls(k, missing="mask", **(given | params))


X = with_gaps(low_rank())
GAPS = np.isnan(X)
FITTED = {
    "linear": linear().fit(X),
    "linear VAE": linear(VAETransformer).fit(X),
    "factor analysis": linear(VAETransformer, likelihood=Gaussian("per_column")).fit(X),
    "network": network().fit(X),
    "VAE": network(VAETransformer).fit(X),
}
LINEAR = ["linear", "linear VAE", "factor analysis"]


def normal_of(model):
    """Return mean and covariance of X under a linear model."""
    return model.mean_, model.get_covariance()


def marginal_log_densities(X, mean, covariance):
    values = []
    for x in X:
        o = ~np.isnan(x)
        normal = stats.multivariate_normal(mean[o], covariance[np.ix_(o, o)]) if o.any() else None
        values.append(normal.logpdf(x[o]) if o.any() else 0.0)
    return np.array(values)


def conditional_of(x, mean, covariance):
    """Return mean and covariance of the missing values of a sample given the others."""
    m, o = np.isnan(x), ~np.isnan(x)
    gain = covariance[np.ix_(m, o)] @ np.linalg.inv(covariance[np.ix_(o, o)])
    mu = mean[m] + gain @ (x[o] - mean[o])
    return mu, covariance[np.ix_(m, m)] - gain @ covariance[np.ix_(o, m)]


def check_defined(model, X):
    """Check that all results are finite, and that observed values stay as they are."""
    gaps = np.isnan(X)
    codes = model.transform(X)
    assert np.isfinite(codes).all()
    assert np.isfinite(model.inverse_transform(codes)).all()
    assert np.isfinite(model.score_samples(X, n_draws=16)).all()
    errors = model.reconstruction_error(X)
    assert np.isfinite(errors).all()
    assert (errors >= 0).all()
    for filled in (model.impute(X), *model.impute(X, n_draws=2, random_state=0)):
        assert np.isfinite(filled).all()
        np.testing.assert_allclose(filled[~gaps], X[~gaps], rtol=1e-6)


# -- linear models: closed forms ------------------------------------------------------------


@pytest.mark.parametrize("name", LINEAR)
def test_scores_are_the_marginal_log_densities(name):
    model = FITTED[name]
    expected = marginal_log_densities(X, *normal_of(model))
    np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-8, atol=1e-8)
    score, std = model.score_samples(X, return_std=True)
    assert not std.any()
    assert model.score(X) == pytest.approx(score.mean())


@pytest.mark.parametrize("name", LINEAR)
def test_imputed_values_are_conditional_means(name):
    model = FITTED[name]
    filled = model.impute(X)
    for x, row in zip(X[:40], filled, strict=False):
        expected, _ = conditional_of(x, *normal_of(model))
        np.testing.assert_allclose(row[np.isnan(x)], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LINEAR)
def test_draws_have_the_moments_of_the_conditional_distribution(name):
    model, n_draws = FITTED[name], 20_000
    row = np.array([[X[~GAPS].mean(), np.nan, 0.3, np.nan, np.nan, -0.5]])
    draws = model.impute(row, n_draws=n_draws, random_state=0)[:, 0, np.isnan(row[0])]
    mean, covariance = conditional_of(row[0], *normal_of(model))
    error = np.sqrt(np.diag(covariance) / n_draws)
    assert (np.abs(draws.mean(axis=0) - mean) < 5 * error).all()
    spread = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert (np.abs(np.cov(draws.T) - covariance) < 8 * spread / np.sqrt(n_draws)).all()


def test_draws_under_a_network_have_the_scores_they_deserve():
    """Draws of a feature follow the density that score_samples implies, on a grid of its values."""
    model = FITTED["network"]
    row = X[~GAPS.any(axis=1)][:1].copy()
    grid = np.linspace(row[0, 2] - 12, row[0, 2] + 12, 400)
    rows = np.repeat(row, len(grid), axis=0)
    rows[:, 2] = grid
    density = np.exp(model.score_samples(rows, n_draws=512))
    density /= density.sum()
    mean = density @ grid
    std = np.sqrt(density @ (grid - mean) ** 2)
    row[0, 2] = np.nan
    draws = model.impute(row, n_draws=4000, random_state=0)[:, 0, 2]
    assert abs(draws.mean() - mean) < 0.15 * std
    assert 0.85 < draws.std() / std < 1.15


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("k", [0, 1, 3])
def test_no_other_normal_model_is_more_likely(cls, k):
    """Small changes of the mean, the loadings and the noise do not raise the observed likelihood."""
    model = linear(cls, k).fit(X)
    mean, covariance = normal_of(model)
    best = marginal_log_densities(X, mean, covariance).mean()
    noise = float(np.linalg.eigvalsh(covariance)[0])
    sizes, axes = np.linalg.eigh(covariance - noise * np.eye(D))
    W = (axes * np.sqrt(np.maximum(sizes, 0.0))).T[D - k :]
    rng = np.random.RandomState(0)
    for size in (0.01, 0.05, 0.2):
        for _ in range(10):
            other = W + size * rng.normal(size=W.shape)
            other = other.T @ other + noise * np.exp(size * rng.normal()) * np.eye(D)
            shifted = mean + size * rng.normal(size=D)
            assert marginal_log_densities(X, shifted, other).mean() < best + 0.01


def test_maximum_likelihood_beats_pca_of_samples_filled_with_means():
    filled = SimpleImputer().fit_transform(X)
    pca = PCA(K).fit(filled)
    of_filled = marginal_log_densities(X, pca.mean_, pca.get_covariance()).mean()
    assert FITTED["linear"].score(X) > of_filled + 0.05


def test_covariances_are_recovered_where_means_of_features_shrink_them():
    rng = np.random.RandomState(0)
    W = rng.normal(size=(K, D))
    truth = W.T @ W + 0.25 * np.eye(D)
    complete = rng.normal(size=(3000, K)) @ W + 0.5 * rng.normal(size=(3000, D))
    gaps = with_gaps(complete, 0.4)
    filled = np.cov(SimpleImputer().fit_transform(gaps).T)
    error = np.abs(linear().fit(gaps).get_covariance() - truth).mean()
    assert error < 0.25 * np.abs(filled - truth).mean()


def test_values_missing_depending_on_others_do_not_bias_the_mean():
    """Missing at random: the second feature is missing where the first is large."""
    rng = np.random.RandomState(0)
    z = rng.normal(size=(4000, 1))
    complete = z + 0.4 * rng.normal(size=(4000, 3))
    gaps = complete.copy()
    gaps[gaps[:, 0] > 0.5, 1] = np.nan
    assert np.nanmean(gaps[:, 1]) < -0.3
    assert abs(linear(k=1).fit(gaps).mean_[1]) < 0.1


@pytest.mark.parametrize("share", [0.0, 0.25])
@pytest.mark.parametrize("cls", CLASSES)
def test_everything_equals_pca_without_missing_values(cls, share):
    """A model of complete samples is PCA, also for gaps in later samples."""
    complete = low_rank()
    model, pca = linear(cls).fit(complete), PCA(K).fit(complete)
    np.testing.assert_allclose(model.get_covariance(), pca.get_covariance(), rtol=1e-6, atol=1e-8)
    later = with_gaps(low_rank(seed=3), share)
    expected = marginal_log_densities(later, pca.mean_, pca.get_covariance())
    np.testing.assert_allclose(model.score_samples(later), expected, rtol=1e-6)
    if cls is AutoencoderTransformer:
        np.testing.assert_allclose(np.abs(model.components_), np.abs(pca.components_), atol=1e-8)
        np.testing.assert_allclose(model.explained_variance_, pca.explained_variance_)


def test_complete_samples_give_the_same_linear_model_as_without_the_option():
    complete = low_rank()
    masked = linear().fit(complete)
    plain = clone(masked).set_params(missing="error").fit(complete)
    np.testing.assert_array_equal(masked.transform(complete), plain.transform(complete))
    np.testing.assert_array_equal(masked.score_samples(complete), plain.score_samples(complete))


def test_a_posterior_is_that_of_the_observed_features():
    model = FITTED["linear VAE"]
    mean, std = model.posterior(X)
    covariance = model.noise_variance_
    W = model.inverse_transform(np.eye(K)) - model.inverse_transform(np.zeros((1, K)))
    centre = model.inverse_transform(np.zeros((1, K)))[0]
    for i in range(30):
        o = ~GAPS[i]
        spread = np.linalg.inv(np.eye(K) + W[:, o] @ W[:, o].T / covariance)
        expected = spread @ W[:, o] @ (X[i, o] - centre[o]) / covariance
        np.testing.assert_allclose(mean[i], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(std[i], np.sqrt(np.diag(spread)), rtol=1e-5)


@pytest.mark.parametrize("name", ["linear VAE", "factor analysis", "VAE"])
def test_elbos_are_bounds(name):
    model = FITTED[name]
    bound, score, std = model.elbo(X), *model.score_samples(X, return_std=True)
    assert (bound < score + 5 * std + 0.1).all()
    assert (model.kl_divergence(X) >= 0).all()
    if name == "linear VAE":  # the posterior of complete samples has no correlations
        whole = ~GAPS.any(axis=1)
        np.testing.assert_allclose(bound[whole], score[whole], rtol=1e-5)


# -- what is left out -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss", [*LOSSES, *(f"VAE, {name}" for name in ("gaussian", "bernoulli", "poisson"))]
)
def test_objectives_do_not_depend_on_values_behind_the_mask(loss):
    generator = Generator().manual_seed(0)
    n, d, k = 7, 5, 2
    target = torch.randint(0, 2, (n, d), generator=generator).double()
    observed = torch.rand((n, d), generator=generator) < 0.6
    if loss in LOSSES:
        objective = Objective(LOSSES[loss](), None, 0.6)
    else:
        likelihood = LIKELIHOODS[loss.removeprefix("VAE, ")]()
        objective = Elbo(
            likelihood,
            KL(),
            beta=1.0,
            warmup=0.0,
            n_draws=1,
            n_samples=n,
            n_features=d,
            log_jacobian=3.0,
            log_units=torch.full((d,), 3.0 / d, dtype=torch.float64),
        )
    moments = torch.randn((n, 2 * k), generator=generator, dtype=torch.float64)

    def value_and_gradient(target):
        eta = torch.full((n, d), 0.3, dtype=torch.float64, requires_grad=True)
        log_noise = torch.zeros(1, dtype=torch.float64)
        out = ForwardOutput(
            target, target, moments, moments[:, :k], eta, log_noise, generator, observed=observed
        )
        value = objective(out)
        return value.detach(), torch.autograd.grad(value, eta)[0]

    value, gradient = value_and_gradient(target)
    assert not gradient[~observed].any()
    assert gradient[observed].all()
    other, other_gradient = value_and_gradient(torch.where(observed, target, 1.0 - target))
    torch.testing.assert_close(value, other)
    torch.testing.assert_close(gradient, other_gradient)


def test_fits_do_not_depend_on_noisy_values_whose_clean_ones_are_missing_in_all_samples():
    """A feature without any clean value is neither reconstructed nor seen."""
    noisy, clean = low_rank(), low_rank()
    clean[:, 3] = np.nan
    other = noisy.copy()
    other[:, 3] = 17.0
    codes = [network().fit(values, X_clean=clean).transform(noisy) for values in (noisy, other)]
    np.testing.assert_array_equal(*codes)


@pytest.mark.parametrize("name", FITTED)
def test_results_do_not_depend_on_other_samples_and_their_order(name):
    model = FITTED[name]
    order = np.random.RandomState(0).permutation(len(X))
    methods = ["transform", "impute", "score_samples", "reconstruction_error"]
    methods += ["elbo", "kl_divergence"] if isinstance(model, VAETransformer) else []
    for method in methods:
        whole = getattr(model, method)(X)
        np.testing.assert_allclose(getattr(model, method)(X[order]), whole[order], rtol=1e-7, atol=1e-9)
        one = np.concatenate([getattr(model, method)(X[i : i + 1]) for i in range(12)])
        np.testing.assert_allclose(one, whole[:12], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", LINEAR)
def test_linear_fits_do_not_depend_on_the_order_of_the_samples(name):
    order = np.random.RandomState(0).permutation(len(X))
    again = clone(FITTED[name]).fit(X[order])
    np.testing.assert_allclose(again.score_samples(X), FITTED[name].score_samples(X), rtol=1e-6)


@pytest.mark.parametrize("name", FITTED)
def test_errors_are_those_of_observed_values_scaled(name):
    model = FITTED[name]
    residual = X - model.inverse_transform(model.transform(X))
    expected = D * np.nanmean(residual**2, axis=1)
    np.testing.assert_allclose(model.reconstruction_error(X), expected, rtol=1e-9)


@pytest.mark.parametrize("name", FITTED)
def test_a_sample_without_values_has_the_score_0_and_the_mean_code(name):
    model = FITTED[name]
    empty = np.full((2, D), np.nan)
    np.testing.assert_allclose(model.score_samples(empty), 0.0, atol=1e-6)
    np.testing.assert_array_equal(model.reconstruction_error(empty), 0.0)
    check_defined(model, np.vstack([empty, X[:3]]))
    if name in LINEAR:
        np.testing.assert_allclose(model.transform(empty), 0.0, atol=1e-7)
        np.testing.assert_allclose(model.impute(empty), np.tile(model.mean_, (2, 1)), rtol=1e-6)
    if name in ("linear VAE", "factor analysis"):  # its posterior is the prior
        np.testing.assert_allclose(model.kl_divergence(empty), 0.0, atol=1e-6)
        np.testing.assert_allclose(model.elbo(empty), 0.0, atol=1e-6)


@pytest.mark.parametrize("name", FITTED)
def test_patterns_that_training_has_not_seen(name):
    """All 2**6 patterns, under models of one pattern and of complete samples."""
    one_pattern = low_rank()
    one_pattern[:75, 1] = np.nan
    patterns = (np.arange(2**D)[:, None] >> np.arange(D)) % 2 == 1
    later = np.where(patterns, np.nan, low_rank(2**D, seed=1))
    for samples in (one_pattern, low_rank()):
        check_defined(clone(FITTED[name]).fit(samples), later)


@pytest.mark.parametrize("name", FITTED)
def test_a_feature_without_values(name):
    samples = X.copy()
    samples[:, 2] = np.nan
    model = clone(FITTED[name]).fit(samples)
    check_defined(model, samples)
    np.testing.assert_allclose(model.impute(samples)[:, 2], 0.0, atol=0.3 * model.scale_)
    other = samples.copy()
    other[:, 2] = 1.0  # a value where none was in training does not enter the code
    np.testing.assert_array_equal(model.transform(other), model.transform(samples))
    rest = [0, 1, 3, 4, 5]
    if name in LINEAR:
        without = clone(FITTED[name]).fit(samples[:, rest])
        assert model.score(samples) == pytest.approx(without.score(samples[:, rest]), abs=0.02)


# -- data that are hard ---------------------------------------------------------------------


def one_value_per_sample():
    complete = low_rank()
    rows = np.arange(len(complete))
    samples = np.full_like(complete, np.nan)
    samples[rows, rows % D] = complete[rows, rows % D]
    return samples


def a_feature_with_one_value():
    samples = X.copy()
    samples[:, 3] = np.nan
    samples[7, 3] = 1.0
    return samples


def monotone():
    samples = low_rank()
    for i, row in enumerate(samples):
        row[1 + i % D :] = np.nan
    return samples


def halves_that_never_meet():
    samples = low_rank()
    samples[:75, :3] = np.nan
    samples[75:, 3:] = np.nan
    return samples


def constant_feature():
    samples = low_rank()
    samples[:, 1] = 3.0
    return with_gaps(samples)


def only_one_value():
    samples = np.full((30, D), np.nan)
    samples[4, 2] = 1.0
    return samples


def duplicated_features():
    half = low_rank(d=3)
    return with_gaps(np.hstack([half, half]))


HARD = {
    "90 % missing": lambda: with_gaps(low_rank(), 0.9),
    "one value per sample": one_value_per_sample,
    "a feature with one value": a_feature_with_one_value,
    "monotone": monotone,
    "halves that never meet": halves_that_never_meet,
    "constant feature": constant_feature,
    "constant": lambda: with_gaps(np.ones((50, D))),
    "only one value": only_one_value,
    "duplicated features": duplicated_features,
    "rank 2": lambda: with_gaps(low_rank(noise=0.0)),
    "offset": lambda: X + 1e9,
    "tiny units": lambda: 1e-9 * X,
    "wide": lambda: with_gaps(low_rank(30, 80)),
    "2 samples": lambda: with_gaps(low_rank(2), 0.2, 1),
    "4 samples": lambda: with_gaps(low_rank(4), 0.3, 1),
    "1 feature": lambda: with_gaps(low_rank(d=1)),
}


@pytest.mark.parametrize("data", HARD)
@pytest.mark.parametrize("name", FITTED)
def test_hard_data(name, data):
    samples = HARD[data]()
    model = clone(FITTED[name]).set_params(n_components=min(K, samples.shape[1]))
    check_defined(model.fit(samples), samples)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.2, 0.9])
@pytest.mark.parametrize("name", FITTED)
def test_many_features(name, share):
    samples = with_gaps(low_rank(60, 3000), share)
    check_defined(clone(FITTED[name]).fit(samples), with_gaps(samples, 0.1, 1))


def test_noise_at_the_floor_does_not_make_training_diverge():
    """Networks are trained from a smoother model than factor analysis, whose noise is zero here."""
    samples = duplicated_features()
    model = network(VAETransformer, likelihood=Gaussian("per_column"), max_iter=10).fit(samples)
    assert model.noise_variance_.max() < 0.3 * np.nanvar(samples)


def test_offsets_and_units_change_nothing_else():
    base = FITTED["linear"]
    moved = 1e-6 * (X + 1e6)
    other = linear().fit(moved)
    np.testing.assert_allclose(other.impute(moved) * 1e6 - 1e6, base.impute(X), atol=1e-4)
    shift = (~GAPS).sum(axis=1) * np.log(1e6)
    np.testing.assert_allclose(
        other.score_samples(1e-6 * (X + 1e6)), base.score_samples(X) + shift, atol=1e-3
    )


@pytest.mark.parametrize("k", [D - 1, D, None])
@pytest.mark.parametrize("name", FITTED)
def test_as_many_components_as_the_rank(name, k):
    check_defined(clone(FITTED[name]).set_params(n_components=k).fit(X), X)


def test_as_many_components_as_samples():
    samples = with_gaps(low_rank(20, 30))
    model = linear(k=None).fit(samples)
    assert model.n_components_ == 20
    assert model.score(samples) > linear(k=2).fit(samples).score(samples)


# -- parameters -----------------------------------------------------------------------------


def own_modules(n_out=K):
    return nn.Sequential(nn.Linear(D, 5), nn.Tanh(), nn.Linear(5, n_out)), nn.Linear(K, D)


VARIANTS = {
    **{f"loss {name}": {"loss": name} for name in LOSSES},
    **{f"bottleneck {name}": {"bottleneck": name} for name in BOTTLENECKS},
    **{f"corruption {name}": {"corruption": name} for name in CORRUPTIONS},
    **{f"penalty {name}": {"penalty": name} for name in PENALTIES},
    "prior mixture": {"prior": "mixture"},
    "random": {"init": "random"},
    "tied": {"tied_weights": True},
    "random and tied": {"init": "random", "tied_weights": True},
    "conv": {"network": Conv(image_shape=(1, 2, 3), channels=(2,))},
    "modules": {"network": own_modules()},
    "whiten": {"whiten": True},
    "no components": {"n_components": 0},
    "overcomplete": {"n_components": 9, "penalty": "l1"},
    "share of the variance": {"n_components": 0.8, "bottleneck": "ordered"},
    "callable corruption": {"corruption": lambda x: x + 0.1},
    "callable loss": {"loss": lambda x_hat, x: (x_hat - x) ** 4},
    "early stopping": {"early_stopping": True},
}
VAE_VARIANTS = {
    **{f"divergence {name}": {"divergence": name} for name in DIVERGENCES},
    **{f"likelihood {name}": {"likelihood": name} for name in ("bernoulli", "poisson")},
    **{f"noise {name}": {"likelihood": Gaussian(name)} for name in ("per_column", "decoder")},
    **{f"corruption {name}": {"corruption": name} for name in CORRUPTIONS},
    "importance weighted": {"n_importance_samples": 3},
    "prior mixture": {"prior": "mixture"},
    "random": {"init": "random"},
    "tied": {"tied_weights": True},
    "conv": {"network": Conv(image_shape=(1, 2, 3), channels=(2,))},
    "modules": {"network": own_modules(2 * K)},
    "no components": {"n_components": 0},
    "early stopping": {"early_stopping": True},
}


def data_for(name):
    complete = low_rank()
    if "binary" in name or "bernoulli" in name:
        complete = (complete > 0) + 0.0
    if "poisson" in name:
        complete = np.random.RandomState(0).poisson(3.0, size=complete.shape) + 0.0
    return with_gaps(complete)


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_of_autoencoders(name):
    samples = data_for(name)
    check_defined(network().set_params(**VARIANTS[name]).fit(samples), samples)


@pytest.mark.parametrize("name", VAE_VARIANTS)
def test_variants_of_variational_autoencoders(name):
    samples = data_for(name)
    model = network(VAETransformer).set_params(**VAE_VARIANTS[name]).fit(samples)
    check_defined(model, samples)
    assert np.isfinite(model.elbo(samples)).all()
    assert np.isfinite(model.sample(5, random_state=0)).all()


@pytest.mark.slow
@pytest.mark.parametrize("cls", CLASSES)
def test_flows(cls):
    pytest.importorskip("zuko")
    check_defined(network(cls, prior=Flow(transforms=1, hidden_layer_sizes=(4,))).fit(X), X)


@pytest.mark.parametrize("name", ["loss binary_cross_entropy", "loss poisson"])
def test_draws_of_discrete_features_are_possible_values(name):
    samples = data_for(name)
    draws = network().set_params(**VARIANTS[name]).fit(samples).impute(samples, n_draws=3, random_state=0)
    draws = draws[:, np.isnan(samples)]
    assert (draws == draws.round()).all()
    assert (draws >= 0).all()


@pytest.mark.parametrize("likelihood", ["auto", Gaussian("full"), Gaussian(normal_scores=True)])
def test_densities_of_all_features_together_are_refused(likelihood):
    with pytest.raises(ValueError, match="missing='mask' does not support"):
        network(VAETransformer, likelihood=likelihood).fit(X)


def test_the_number_of_components():
    assert linear(k=0.8).fit(X).n_components_ == 2
    with pytest.raises(ValueError, match="'mle' is defined for complete samples"):
        linear(k="mle").fit(X)
    assert linear(k="mle").fit(low_rank()).n_components_ == PCA("mle").fit(low_rank()).n_components_


@pytest.mark.parametrize("params", [{"hidden_layer_sizes": ()}, {"bottleneck": "ordered"}])
def test_truncated_models(params):
    model = network(k=3, **params).fit(X)
    small = model.truncate(2)
    np.testing.assert_allclose(small.transform(X), model.transform(X)[:, :2], rtol=1e-6)
    check_defined(small, X)


def test_more_values_are_hidden_in_training_only():
    """Losses of training differ between passes of the same samples; transform does not."""
    module = FITTED["network"].module_
    x = (torch.from_numpy(X) - module.offset) / module.scale
    generator = Generator().manual_seed(0)
    codes = [module(x, generator).codes for _ in range(2)]
    assert not torch.equal(*codes)
    assert torch.equal(module.encode(x), module.encode(x))
    observed = module(x, generator).observed
    assert torch.equal(observed, torch.from_numpy(~GAPS))  # hidden values are predicted


def test_the_bound_of_a_vae_is_about_what_its_encoder_sees():
    module = FITTED["VAE"].module_
    x = (torch.from_numpy(X) - module.offset) / module.scale
    observed = module(x, Generator().manual_seed(0)).observed.numpy()
    assert not (observed & GAPS).any()
    assert 0.6 < observed[~GAPS].mean() < 0.9


def test_posterior_precisions():
    rng = np.random.RandomState(0)
    W, noise = torch.from_numpy(rng.normal(size=(K, D))), torch.from_numpy(rng.uniform(0.5, 2.0, D))
    observed = torch.from_numpy(rng.uniform(size=(5, D)) < 0.5).double()
    A = posterior_precision(observed, W, 1.0 / noise)
    for o, precision in zip(observed.bool(), A, strict=True):
        torch.testing.assert_close(
            precision, torch.eye(K).double() + W[:, o] @ (W[:, o] / noise[o]).T, rtol=1e-12, atol=1e-12
        )


def test_gradients_do_not_pass_through_what_was_filled_in():
    completion = Completion(torch.ones(1, 3), torch.ones(3), torch.ones(3, dtype=torch.bool), 1.0)
    x = torch.tensor([[1.0, torch.nan, 2.0]], requires_grad=True)
    filled, missing = completion(x)
    (gradient,) = torch.autograd.grad(filled.sum(), x)
    assert missing.tolist() == [[False, True, False]]
    assert gradient.tolist() == [[1.0, 0.0, 1.0]]


# -- inputs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FITTED)
def test_float32(name):
    model = clone(FITTED[name]).fit(X.astype(np.float32))
    for method in ("transform", "impute", "reconstruction_error"):
        values = getattr(model, method)(X.astype(np.float32))
        assert values.dtype == np.float32
    check_defined(model, X.astype(np.float32))
    if name in LINEAR:
        np.testing.assert_allclose(model.score_samples(X), FITTED[name].score_samples(X), atol=1e-3)


def test_data_frames():
    pd = pytest.importorskip("pandas")
    names = [f"f{j}" for j in range(D)]
    frame = pd.DataFrame(X, columns=names)
    nullable = frame.convert_dtypes()
    assert nullable.isna().to_numpy().any()
    model = linear().set_output(transform="pandas").fit(nullable)
    filled = model.impute(nullable)
    assert filled.columns.tolist() == names
    np.testing.assert_allclose(filled.to_numpy(), FITTED["linear"].impute(X))
    np.testing.assert_allclose(model.transform(frame).to_numpy(), FITTED["linear"].transform(X))
    assert isinstance(model.impute(nullable, n_draws=2, random_state=0), np.ndarray)


@pytest.mark.parametrize("cls", CLASSES)
def test_sparse_samples(cls):
    samples = sparse.csr_array(np.where(np.random.RandomState(0).uniform(size=X.shape) < 0.5, X, 0.0))
    model, dense = network(cls).fit(samples), network(cls).fit(samples.toarray())
    for method in ("transform", "impute", "score_samples", "reconstruction_error"):
        np.testing.assert_array_equal(
            getattr(model, method)(samples), getattr(dense, method)(samples.toarray())
        )


@pytest.mark.parametrize("cls", CLASSES)
def test_chunks_that_fit_into_memory(cls):
    model = linear(cls).fit(lambda: iter([X[:70], X[70:]]))
    np.testing.assert_allclose(model.transform(X), linear(cls).fit(X).transform(X))


def test_data_that_are_read_sequentially_are_refused():
    spec, needed = linear()._model_spec(), "needs X as one array in memory, in one process"
    with pytest.raises(ValueError, match=needed):
        check_can_mask(spec, ArraySource(low_rank(), DataSummary.of([low_rank()])))
    with pytest.raises(ValueError, match=needed):
        linear().fit(torch.utils.data.TensorDataset(torch.from_numpy(X)))


def test_several_processes_are_refused():
    token = RANKS.set(object())
    try:
        with pytest.raises(ValueError, match="in one process"):
            check_can_mask(linear()._model_spec(), X)
    finally:
        RANKS.reset(token)


@pytest.mark.parametrize("cls", CLASSES)
def test_dask_arrays(cls):
    da = pytest.importorskip("dask.array")
    chunks = da.from_array(X, chunks=(50, D))
    model = linear(cls).fit(chunks)
    np.testing.assert_allclose(model.transform(chunks).compute(), linear(cls).fit(X).transform(X))


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("gaps", [(0.2, 0.0), (0.0, 0.2), (0.2, 0.2)])
def test_pairs_of_noisy_and_clean_samples(cls, gaps):
    clean = low_rank()
    noisy = with_gaps(clean + 0.3 * np.random.RandomState(1).normal(size=clean.shape), gaps[0], 2)
    for early_stopping in (False, True):
        model = network(cls, early_stopping=early_stopping).fit(noisy, X_clean=with_gaps(clean, gaps[1]))
        check_defined(model, noisy)


@pytest.mark.parametrize("cls", CLASSES)
def test_validation_samples_with_gaps(cls):
    for X_train, X_val in ((X, low_rank(40)), (low_rank(), X[:40]), (X, X[:40])):
        model = network(cls, early_stopping=True).fit(X_train, X_val=X_val)
        check_defined(model, X)


def test_errors_that_count_validation_samples_leave_gaps_out():
    model = network(early_stopping=True, bottleneck="ordered", max_iter=20).fit(X, X_val=X[:40])
    errors = np.nansum((X[:40] - model.inverse_transform(model.transform(X[:40]))) ** 2)
    total = np.nansum((X[:40] - model.mean_) ** 2)
    if model.uses_network_:
        assert model.explained_variance_ratio_.sum() == pytest.approx(1 - errors / total, rel=1e-4)


@pytest.mark.parametrize("where", ["X", "X_val", "X_clean"])
def test_nothing_but_missing_values_is_refused(where):
    nothing = np.full_like(X, np.nan)
    params = {} if where == "X" else {where: nothing}
    with pytest.raises(ValueError, match=f"{where} contains NaN only"):
        network().fit(nothing if where == "X" else X, **params)


@pytest.mark.parametrize("cls", CLASSES)
def test_infinity_is_refused(cls):
    infinite = np.where(GAPS, np.inf, X)
    with pytest.raises(ValueError, match="contains infinity"):
        linear(cls).fit(infinite)
    with pytest.raises(ValueError, match="contains infinity"):
        linear(cls).fit(X).transform(infinite)


@pytest.mark.parametrize("cls", CLASSES)
def test_missing_values_are_refused_by_default(cls):
    with pytest.raises(ValueError, match="set missing='mask' to leave them out"):
        cls().fit(X)
    model = cls(K, hidden_layer_sizes=()).fit(low_rank())
    with pytest.raises(ValueError, match="contains NaN"):
        model.transform(X)
    assert not hasattr(model, "impute")
    with pytest.raises(AttributeError) as error:
        model.impute(X)
    assert "set missing='mask'" in str(error.value.__cause__)
    with pytest.raises(ValueError, match="missing"):
        cls(missing="drop").fit(X)


@pytest.mark.parametrize("cls", [*CLASSES, AutoencoderTransformerCV])
def test_tags(cls):
    assert cls(missing="mask").__sklearn_tags__().input_tags.allow_nan
    assert not cls().__sklearn_tags__().input_tags.allow_nan


@pytest.mark.parametrize("cls", CLASSES)
def test_the_parameter_is_that_of_the_fit(cls):
    """Set afterwards, it takes effect with the next one, as all parameters do."""
    plain = cls(K, hidden_layer_sizes=()).fit(low_rank())
    plain.set_params(missing="mask")
    with pytest.raises(ValueError, match="contains NaN"):
        plain.transform(X)
    assert not hasattr(plain, "impute")
    masked = linear(cls).fit(X).set_params(missing="error")
    np.testing.assert_array_equal(masked.impute(X), linear(cls).fit(X).impute(X))
    with pytest.raises(ValueError, match="contains NaN"):
        masked.fit(X)


@pytest.mark.parametrize("n_draws", [0, -1])
def test_numbers_of_draws(n_draws):
    with pytest.raises(ValueError, match="n_draws"):
        FITTED["linear"].impute(X, n_draws=n_draws)


@pytest.mark.parametrize("name", FITTED)
def test_draws_are_reproducible_and_differ(name, unperturbed):
    model = FITTED[name]
    draws = model.impute(X, n_draws=2, random_state=3)
    np.testing.assert_array_equal(draws, model.impute(X, n_draws=2, random_state=3))
    assert (draws[0] != draws[1])[GAPS].all()
    np.testing.assert_array_equal(draws[:, ~GAPS], np.tile(X[~GAPS], (2, 1)))
    np.testing.assert_array_equal(model.impute(X)[~GAPS], X[~GAPS])
    complete = low_rank()
    np.testing.assert_array_equal(model.impute(complete), complete)
    np.testing.assert_array_equal(model.impute(complete, n_draws=1)[0], complete)


# -- continued training ---------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["gaussian", Gaussian("per_column")])
def test_a_warm_start_keeps_the_units(likelihood):
    """A step of no length leaves the codes as they are, even with other samples."""
    model = network(VAETransformer, likelihood=likelihood, warm_start=True).fit(X)
    codes = model.transform(X)
    model.set_params(max_iter=1, learning_rate_init=1e-12).fit(X[:70])
    np.testing.assert_allclose(model.transform(X), codes, atol=1e-5)


@pytest.mark.parametrize("first", ["error", "mask"])
def test_a_warm_start_cannot_change_the_treatment(first):
    other = {"error": "mask", "mask": "error"}[first]
    model = network(warm_start=True).set_params(missing=first).fit(low_rank())
    with pytest.raises(ValueError, match="but missing changed"):
        model.set_params(missing=other).fit(low_rank())


@pytest.mark.parametrize("cls", CLASSES)
def test_chunks_of_partial_fit_must_be_complete(cls):
    model = network(cls)
    with pytest.raises(ValueError, match="call fit, which leaves them out"):
        model.partial_fit(X)
    for _ in range(2):
        model.partial_fit(low_rank())
    check_defined(model, X)
    with pytest.raises(ValueError, match="missing changed"):
        model.set_params(missing="error").partial_fit(low_rank())


@pytest.mark.parametrize("cls", CLASSES)
def test_partial_fit_changes_the_units_of_the_completion(cls):
    """Without a step of training, a chunk with the same mean and another scale changes nothing."""
    complete = low_rank()
    wider = 3.0 * complete - 2.0 * complete.mean(axis=0)
    model = network(cls, learning_rate_init=1e-12).partial_fit(complete)
    filled = model.impute(X)
    model.partial_fit(wider)
    np.testing.assert_allclose(model.impute(X), filled, atol=1e-4)


# -- scikit-learn ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", FITTED)
def test_copies(name):
    model = FITTED[name]
    skops = pytest.importorskip("skops.io")
    stored = skops.dumps(model)
    trusted = skops.get_untrusted_types(data=stored)
    twins = [
        pickle.loads(pickle.dumps(model)),
        skops.loads(stored, trusted=trusted),
        copy.copy(model),
        copy.deepcopy(model),
    ]
    for twin in twins:
        np.testing.assert_array_equal(twin.impute(X), model.impute(X))
        np.testing.assert_array_equal(twin.score_samples(X), model.score_samples(X))
    assert clone(model).missing == "mask"


def test_pipelines_and_searches():
    pipeline = make_pipeline(StandardScaler(), linear())
    search = GridSearchCV(pipeline, {"autoencodertransformer__n_components": [1, 2, 3]}, cv=3).fit(X)
    assert search.best_params_["autoencodertransformer__n_components"] > 1
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("sizes", [(), (6,)])
def test_cross_validation_of_the_number_of_components(sizes):
    params = {"hidden_layer_sizes": sizes, "max_iter": 2, "missing": "mask", "random_state": 0}
    model = AutoencoderTransformerCV([1, 2, 3], cv=3, **params).fit(X)
    assert model.n_components_ > 1
    check_defined(model, X)
    if not sizes:  # the models of the folds are those of a search
        search = GridSearchCV(AutoencoderTransformer(**params), {"n_components": [1, 2, 3]}, cv=3).fit(X)
        np.testing.assert_allclose(
            model.cv_results_["mean_test_score"], search.cv_results_["mean_test_score"], rtol=1e-9
        )


@pytest.mark.parametrize("name", ["linear", "VAE"])
def test_outlier_detectors_complete_samples_themselves(name):
    masked = clone(FITTED[name])
    plain = clone(masked).set_params(missing="error")
    detectors = [AEOutlierDetector(model, n_estimators=2, random_state=0).fit(X) for model in (masked, plain)]
    scores = [detector.score_samples(X) for detector in detectors]
    assert np.isfinite(scores[0]).all()
    if name == "linear":
        np.testing.assert_allclose(*scores)


@pytest.mark.parametrize("name", FITTED)
def test_onnx(name):
    """The decoder can be exported; the encoder is refused before there is a file."""
    onnx = pytest.importorskip("sklearn_ae.onnx")
    model = FITTED[name]
    for method in ("transform", "reconstruction_error"):
        with pytest.raises(NotImplementedError, match="missing='mask'"):
            onnx.to_onnx(model, X[:1], method=method)
    assert onnx.to_onnx(model, model.transform(X[:1]), method="inverse_transform").SerializeToString()


def test_tools_with_gaps():
    """Densities and codes are defined; what compares X with its reconstruction needs all values."""
    model = FITTED["VAE"]
    assert metrics.log_likelihood_scorer(model, X) == pytest.approx(model.score(X))
    assert np.isfinite(metrics.mutual_information(model, X))
    assert np.isfinite(metrics.total_correlation(model, X))
    for needs_all in (metrics.explained_variance_scorer, metrics.neg_reconstruction_error_scorer):
        with pytest.raises(ValueError, match="contains NaN"):
            needs_all(model, X)


@pytest.mark.slow
@pytest.mark.parametrize("cls", CLASSES)
def test_networks_impute_curves_better_than_linear_models(curve, cls):
    gaps = with_gaps(curve, 0.2)
    missing = np.isnan(gaps)
    error = {}
    for name, model in (("network", cls(1, missing="mask", random_state=0)), ("linear", linear(cls, 1))):
        error[name] = np.sqrt(np.mean((model.fit(gaps).impute(gaps) - curve)[missing] ** 2))
    assert error["network"] < 0.8 * error["linear"]
