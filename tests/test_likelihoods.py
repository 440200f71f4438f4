"""Likelihoods: densities of scipy.stats, draws that follow them, and fitted models that are E_z p(x | z)."""

from functools import cache

import numpy as np
import pytest
import torch
from builders import build_vae
from scipy import stats
from scipy.special import logsumexp
from torch import Generator

from sklearn_ae import VAETransformer
from sklearn_ae._model.module import Noise
from sklearn_ae.bottlenecks import LOG_VARIANCE_BOUNDS
from sklearn_ae.likelihoods import LIKELIHOODS, Bernoulli, Gaussian, Poisson

# few epochs suffice for what is tested here
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still falling steeply")

ETA = torch.tensor([[-3.0, -0.4, 0.0, 0.3], [0.9, 1.0, 2.0, 4.0], [-9.0, 0.1, 7.0, -1.0]]).double()
REAL = torch.tensor([[-3.0, 0.6, 1.0, -1.5], [7.0, 0.1, 2.5, 3.2], [-9.1, 0.0, 80.0, 0.4]]).double()
BINARY = torch.tensor([[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 0.0, 0.0]]).double()
COUNTS = torch.tensor([[0.0, 1.0, 2.0, 3.0], [5.0, 0.0, 9.0, 60.0], [0.0, 2.0, 1200.0, 1.0]]).double()
LOG_NOISE = {
    "shared": torch.tensor([0.3]).double(),
    "per_column": torch.tensor([-6.0, 0.2, 0.7, 4.0]).double(),
    "decoder": torch.linspace(-4, 5, 12).view(3, 4).double(),
}


def scipy_normal(eta, x, log_noise):
    return stats.norm.logpdf(x, eta, np.exp(0.5 * log_noise.numpy()))


# likelihood, rows, noise, and what scipy.stats says of each entry
ORACLES = [
    *[(Gaussian(noise), REAL, log_noise, scipy_normal) for noise, log_noise in LOG_NOISE.items()],
    (Bernoulli(), BINARY, None, lambda eta, x, _: stats.bernoulli.logpmf(x, 1 / (1 + np.exp(-eta)))),
    (Poisson(), COUNTS, None, lambda eta, x, _: stats.poisson.logpmf(x, np.exp(eta))),
]


@pytest.mark.parametrize(
    ("likelihood", "x", "log_noise", "oracle"), ORACLES, ids=[str(row[0]) for row in ORACLES]
)
class TestEveryLikelihood:
    def test_is_scipys_with_all_constants(self, likelihood, x, log_noise, oracle):
        expected = oracle(ETA.numpy(), x.numpy(), log_noise)
        entries = likelihood.log_prob(ETA, x, log_noise)
        np.testing.assert_allclose(entries, expected, rtol=1e-9, atol=1e-9)
        rows = likelihood.log_likelihood(ETA, x, log_noise)
        np.testing.assert_allclose(rows, expected.sum(1), rtol=1e-9)

    def test_several_draws_of_a_row_are_scored_one_by_one(self, likelihood, x, log_noise, oracle):
        etas = torch.stack([ETA, ETA + 0.5])
        both = likelihood.log_likelihood(etas, x, log_noise)
        for eta, log_p in zip(etas, both, strict=True):
            torch.testing.assert_close(log_p, likelihood.log_likelihood(eta, x, log_noise))

    def test_draws_have_its_mean_and_variance(self, likelihood, x, log_noise, oracle, unchanged_globals):
        eta = ETA[0].expand(20_000, 4)
        noise = log_noise if log_noise is None or log_noise.ndim == 1 else log_noise[0].expand(20_000, 4)
        draws = likelihood.draw(eta, noise, Generator().manual_seed(0))
        assert torch.equal(draws, likelihood.draw(eta, noise, Generator().manual_seed(0)))
        mean = likelihood.inverse_link(ETA[0])
        variance = (
            (log_noise if log_noise.ndim == 1 else log_noise[0]).exp()
            if log_noise is not None
            else (likelihood.fisher(ETA[0]))
        )
        spread = variance.expand(4).sqrt() / len(eta) ** 0.5
        assert ((draws.mean(0) - mean).abs() < 4 * spread).all()
        np.testing.assert_allclose(draws.var(0), variance.expand(4), rtol=0.1)
        if likelihood.discrete:
            assert torch.equal(draws, draws.round())
            assert draws.min() == 0
            assert (draws.max() == 1) == isinstance(likelihood, Bernoulli)


@pytest.mark.parametrize("eta", [-300.0, -40.0, 40.0, 300.0])
@pytest.mark.parametrize("x", [0.0, 1.0])
def test_sure_decoders_are_finite_and_exact(eta, x):
    """A probability that rounds to 0 or 1 has a log all the same."""
    log_p = Bernoulli().log_prob(*torch.tensor([[eta], [x]]).double())
    np.testing.assert_allclose(log_p, -np.logaddexp(0, -eta if x else eta), atol=1e-8)
    assert Poisson().log_prob(*torch.tensor([[eta], [x]])).isfinite().all()


def test_grey_values_have_the_expected_log_probability_of_binary_ones():
    grey = torch.full_like(ETA, 0.3)
    white, black = (Bernoulli().log_prob(ETA, torch.full_like(ETA, x)) for x in (1.0, 0.0))
    torch.testing.assert_close(Bernoulli().log_prob(ETA, grey), 0.3 * white + 0.7 * black)


@pytest.mark.parametrize("noise", LOG_NOISE)
@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (1, 4), (2, 3, 4), (1, 1, 1)])
def test_a_row_is_the_sum_of_its_entries_whatever_the_shape(noise, shape):
    log_noise = torch.zeros({"shared": (1,), "per_column": shape[-1:], "decoder": shape}[noise]) + 0.4
    eta, x = torch.zeros(shape), torch.ones(shape[-2:])
    rows = Gaussian(noise).log_likelihood(eta, x, log_noise)
    assert rows.shape == shape[:-1]
    torch.testing.assert_close(rows, Gaussian(noise).log_prob(eta, x, log_noise).sum(-1))


class TestNoise:
    def test_is_bounded_whatever_was_learnt(self):
        low, high = LOG_VARIANCE_BOUNDS
        wild = Noise(torch.tensor([-1e4, 0.3, 1e4]))
        torch.testing.assert_close(wild(torch.zeros(5, 2)), torch.tensor([low, 0.3, high]))
        steep = Noise(torch.zeros(3), torch.nn.Linear(2, 3))
        bounded = steep(1e6 * torch.randn(50, 2, generator=Generator().manual_seed(0)))
        assert (bounded.min(), bounded.max()) == (low, high)
        for likelihood in (Gaussian(), Gaussian("decoder")):
            assert likelihood.log_prob(torch.zeros(50, 3), torch.ones(50, 3), bounded).isfinite().all()

    @pytest.mark.parametrize(("kind", "shape"), [("shared", (1,)), ("per_column", (6,)), ("decoder", (9, 6))])
    def test_has_one_number_one_per_column_or_one_per_entry(self, kind, shape, digits):
        module, pca = build_vae(digits[:200, 2:8], 2, likelihood=Gaussian(kind))
        log_noise = module.log_noise(torch.randn(9, 2).double())
        assert log_noise.shape == shape
        start = np.full(shape, pca.noise_variance_)
        np.testing.assert_allclose(log_noise.detach().exp() * module.scale**2, start)


class TestDynamicBinarisation:
    @pytest.fixture
    def module(self, digits):
        return build_vae(digits[:300] / 16, 4, likelihood=Bernoulli(dynamic_binarization=True))[0]

    @staticmethod
    def working(module, digits):
        return (torch.from_numpy(digits[:300] / 16) - module.offset) / module.scale

    def test_encoder_and_target_see_the_same_binary_rows(self, module, digits):
        out = module(self.working(module, digits), Generator().manual_seed(0))
        binary = out.target.detach().round()
        assert set(binary.unique().tolist()) == {0.0, 1.0}
        np.testing.assert_allclose(out.target.detach(), binary, atol=1e-6)
        np.testing.assert_allclose(module.in_units(out.source).detach(), binary, atol=1e-6)

    def test_they_are_drawn_anew_with_the_grey_values_as_probabilities(self, module, digits):
        x, generator = self.working(module, digits), Generator().manual_seed(0)
        with torch.no_grad():
            targets = torch.stack([module(x, generator).target.round() for _ in range(400)])
        assert not torch.equal(targets[0], targets[1])
        p = digits[:300] / 16
        error = (targets.mean(0).numpy() - p) / np.sqrt(np.maximum(p * (1 - p), 1e-3) / 400)
        assert np.abs(error).max() < 5.5  # of 19,200 entries

    def test_nothing_is_drawn_without_it_or_outside_of_training(self, module, digits):
        x = self.working(module, digits)
        np.testing.assert_allclose(module(x).target.detach(), digits[:300] / 16, atol=1e-9)
        plain = build_vae(digits[:300] / 16, 4, likelihood="bernoulli")[0]
        target = plain(x, Generator().manual_seed(0)).target
        np.testing.assert_allclose(target.detach(), digits[:300] / 16, atol=1e-9)

    def test_fitted_means_are_those_of_the_pixels(self, digits):
        X = digits / 16
        likelihood = Bernoulli(dynamic_binarization=True)
        model = VAETransformer(4, likelihood=likelihood, max_iter=10, random_state=0).fit(X)
        means = model.inverse_transform(model.transform(X))
        np.testing.assert_allclose(means.mean(0), X.mean(0), atol=0.03)
        assert set(np.unique(model.sample(50, random_state=0))) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("likelihood", "bad", "message"),
    [
        ("bernoulli", 1.5, r"^likelihood='bernoulli' needs X in \[0, 1\].*0 to 1\.5.*MinMaxScaler"),
        ("bernoulli", -0.25, r"^likelihood='bernoulli'.*-0\.25 to 1\b.*likelihood='gaussian'"),
        ("poisson", -2.0, r"^likelihood='poisson' needs counts, X >= 0.*-2\b.*likelihood='gaussian'"),
    ],
)
def test_impossible_data_are_refused(likelihood, bad, message):
    X = np.random.RandomState(0).randint(0, 2, size=(50, 4)).astype(float)
    LIKELIHOODS[likelihood]().check(X)
    X[3, 2] = bad
    model = VAETransformer(2, likelihood=likelihood, max_iter=1)
    for fit in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=message):
            fit(X)
    assert not hasattr(model, "module_")


# -- fitted models ------------------------------------------------------------------


def bent(n=800, seed=0):
    """Points on a bent curve, with a noise that grows along it and differs between the columns."""
    rng = np.random.RandomState(seed)
    t = rng.uniform(-2, 2, n)
    curve = np.column_stack([t, t**2, np.sin(2 * t), np.cos(2 * t), 0.5 * t**3])
    spread = np.array([0.1, 0.2, 0.1, 0.4, 0.2]) * np.exp(0.5 * t)[:, None]
    return curve + spread * rng.normal(size=curve.shape), t


def binary(n=600):
    rng = np.random.RandomState(0)
    logits = 2 * rng.normal(size=(n, 2)) @ rng.normal(size=(2, 10))
    return (rng.uniform(size=logits.shape) < 1 / (1 + np.exp(-logits))).astype(float)


def counts(n=600):
    rng = np.random.RandomState(0)
    return rng.poisson(np.exp(0.7 * rng.normal(size=(n, 2)) @ rng.normal(size=(2, 8)) + 1)).astype(float)


FITTED = {
    "shared": (Gaussian(), bent()[0], 1),
    "per_column": (Gaussian("per_column"), bent()[0], 1),
    "decoder": (Gaussian("decoder"), bent()[0], 1),
    "bernoulli": ("bernoulli", binary(), 2),
    "dynamic": (Bernoulli(dynamic_binarization=True), 0.1 + 0.8 * binary(), 2),
    "poisson": ("poisson", counts(), 2),
}


@cache
def fit(name):
    likelihood, X, k = FITTED[name]
    model = VAETransformer(k, likelihood=likelihood, hidden_layer_sizes=(32,), max_iter=60, random_state=0)
    return model.fit(X), X


@pytest.fixture(params=FITTED)
def fitted(request):
    return fit(request.param)


def log_p_given(model, rows, z):
    """log p(x | z) of all pairs, by scipy and the model's public methods."""
    mean, likelihood = model.inverse_transform(z), model.likelihood_
    if isinstance(likelihood, Bernoulli):
        return rows @ np.log(mean).T + (1 - rows) @ np.log1p(-mean).T
    if isinstance(likelihood, Poisson):
        return np.stack([stats.poisson.logpmf(row, mean).sum(1) for row in rows])
    spread = np.sqrt(noise_variance(model, z))
    return np.stack([stats.norm.logpdf(row, mean, spread).sum(1) for row in rows])


def noise_variance(model, z):
    if model.likelihood_.noise != "decoder":
        return model.noise_variance_
    return model.module_.log_noise(torch.from_numpy(z)).exp().numpy() * model.scale_**2


class TestFitted:
    def test_score_is_the_mean_over_draws_from_the_prior(self, fitted):
        """Naive Monte Carlo, which is accurate in low dimension, and takes nothing from the encoder."""
        model, X = fitted
        assert model.uses_network_
        z = stats.norm.ppf(stats.qmc.Sobol(model.n_components_, seed=1).random(2**15))
        log_p = log_p_given(model, X[:40], z)
        naive = logsumexp(log_p, axis=1) - np.log(len(z))
        naive_error = np.exp(0.5 * logsumexp(2 * log_p, axis=1) - logsumexp(log_p, axis=1))
        sure = naive_error < 0.1
        assert sure.sum() > 30
        score, std = model.score_samples(X[:40], return_std=True)
        error = (score - naive)[sure]
        assert np.median(np.abs(error)) < 0.02
        assert np.abs(error).max() < 0.25
        assert np.abs(error.mean()) < 0.02
        scaled = error / np.hypot(std, naive_error)[sure]
        assert np.sqrt(np.square(scaled).mean()) < 1.5  # the standard errors tell the truth
        assert (model.elbo(X[:40]) <= naive + 4 * naive_error + 0.02).all()

    def test_elbo_is_that_of_its_definition(self, fitted):
        model, X = fitted
        mean, std = model.posterior(X[:20])
        normal = np.random.RandomState(2).normal(size=(1000, model.n_components_))
        log_p = [
            log_p_given(model, row[None], m + s * normal)[0]
            for row, m, s in zip(X[:20], mean, std, strict=True)
        ]
        kl = stats.norm.logpdf(mean[:, None] + std[:, None] * normal, mean[:, None], std[:, None])
        kl = (kl - stats.norm.logpdf(mean[:, None] + std[:, None] * normal)).sum(2)
        terms = np.array(log_p) - kl
        spread = terms.std(1) / np.sqrt(len(normal))
        assert (np.abs(model.elbo(X[:20]) - terms.mean(1)) < 5 * spread + 0.05).all()
        np.testing.assert_allclose(model.kl_divergence(X[:20]), kl.mean(1), atol=0.3)

    def test_samples_without_noise_are_the_means_of_codes_from_the_prior(self, fitted):
        model, _ = fitted
        means = model.sample(4000, random_state=0, noise=False)
        z = np.random.RandomState(1).standard_normal((4000, model.n_components_))
        for ours, theirs in zip(means.T, model.inverse_transform(z).T, strict=True):
            assert stats.ks_2samp(ours, theirs).pvalue > 1e-3

    def test_samples_are_spread_around_them_as_the_likelihood_says(self, fitted):
        model, _ = fitted
        rows, mean = (model.sample(4000, random_state=0, noise=noise) for noise in (True, False))
        if model.likelihood_.noise is None:
            np.testing.assert_array_equal(rows, rows.round())  # counts, or 0 and 1
            assert rows.min() == 0
            bernoulli = isinstance(model.likelihood_, Bernoulli)
            assert (rows.max() == 1) == bernoulli
            variance = mean * (1 - mean) if bernoulli else mean
        else:  # the codes of a seed are its first numbers
            z = np.random.RandomState(0).standard_normal((4000, model.n_components_))
            variance = np.broadcast_to(noise_variance(model, z), mean.shape)
        unit = ((rows - mean) / np.sqrt(variance))[variance > 0.05 * (model.likelihood_.noise is None)]
        assert abs(unit.mean()) < 4 / np.sqrt(unit.size)
        assert np.square(unit).mean() == pytest.approx(1, abs=0.05)


def test_one_noise_per_column_finds_each():
    rng = np.random.RandomState(0)
    true = np.array([0.05, 0.1, 0.2, 0.4, 0.8])
    t = rng.uniform(-2, 2, 1500)
    X = np.column_stack([t, t**2, np.sin(t), t, t]) + true * rng.normal(size=(1500, 5))
    params = {"hidden_layer_sizes": (32,), "max_iter": 80, "learning_rate_init": 0.02, "random_state": 0}
    model = VAETransformer(1, likelihood=Gaussian("per_column"), **params).fit(X)
    np.testing.assert_allclose(np.sqrt(model.noise_variance_), true, rtol=0.5)
    shared = VAETransformer(1, **params).fit(X)
    assert isinstance(shared.noise_variance_, float)
    assert model.noise_variance_.min() < 0.2 * shared.noise_variance_ < model.noise_variance_.max()


def test_a_decoders_noise_follows_the_row():
    fresh, t = bent(seed=1)
    models = [fit(kind)[0] for kind in ("shared", "per_column", "decoder")]
    scores = [model.score(fresh) for model in models]
    assert np.diff(scores).min() > 0.1  # each says more of these rows than the one before
    variance = noise_variance(models[2], models[2].transform(fresh))
    assert stats.spearmanr(variance[:, 0], t).statistic > 0.8  # it grows with t
