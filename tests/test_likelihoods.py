"""Likelihoods: densities, draws, noise variances, binarisation, and user-defined likelihoods."""

import numpy as np
import pytest
import torch
from builders import build_vae
from scipy import sparse, stats
from sklearn.base import clone
from torch import Generator

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, VAETransformer
from sklearn_ae._model.module import Noise
from sklearn_ae.bottlenecks import LOG_VARIANCE_BOUNDS
from sklearn_ae.likelihoods import LIKELIHOODS, Bernoulli, Gaussian, Likelihood, Poisson

# a few epochs suffice for the properties tested here
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")

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


# likelihood, samples, noise, and the log-density of each entry by scipy.stats
ORACLES = [
    *[(Gaussian(noise), REAL, log_noise, scipy_normal) for noise, log_noise in LOG_NOISE.items()],
    (Bernoulli(), BINARY, None, lambda eta, x, _: stats.bernoulli.logpmf(x, 1 / (1 + np.exp(-eta)))),
    (Poisson(), COUNTS, None, lambda eta, x, _: stats.poisson.logpmf(x, np.exp(eta))),
]


@pytest.mark.parametrize(
    ("likelihood", "x", "log_noise", "oracle"), ORACLES, ids=[str(case[0]) for case in ORACLES]
)
class TestEveryLikelihood:
    def test_log_prob_is_that_of_scipy_with_all_constants(self, likelihood, x, log_noise, oracle):
        expected = oracle(ETA.numpy(), x.numpy(), log_noise)
        entries = likelihood.log_prob(ETA, x, log_noise)
        np.testing.assert_allclose(entries, expected, rtol=1e-9, atol=1e-9)
        log_p = likelihood.log_likelihood(ETA, x, log_noise)
        np.testing.assert_allclose(log_p, expected.sum(1), rtol=1e-9)

    def test_leading_dimensions_of_eta_are_draws_for_the_same_samples(self, likelihood, x, log_noise, oracle):
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
            else likelihood.information(ETA[0], ETA[0])
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
def test_saturated_outputs_are_finite_and_exact(eta, x):
    """The logarithm of a probability that rounds to 0 or 1 is still accurate."""
    log_p = Bernoulli().log_prob(*torch.tensor([[eta], [x]]).double())
    np.testing.assert_allclose(log_p, -np.logaddexp(0, -eta if x else eta), atol=1e-8)
    assert Poisson().log_prob(*torch.tensor([[eta], [x]])).isfinite().all()


def test_grey_values_have_the_expected_log_probability():
    grey = torch.full_like(ETA, 0.3)
    white, black = (Bernoulli().log_prob(ETA, torch.full_like(ETA, x)) for x in (1.0, 0.0))
    torch.testing.assert_close(Bernoulli().log_prob(ETA, grey), 0.3 * white + 0.7 * black)


@pytest.mark.parametrize("noise", LOG_NOISE)
@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (1, 4), (2, 3, 4), (1, 1, 1)])
def test_log_likelihood_is_the_sum_over_features_for_any_shape(noise, shape):
    log_noise = torch.zeros({"shared": (1,), "per_column": shape[-1:], "decoder": shape}[noise]) + 0.4
    eta, x = torch.zeros(shape), torch.ones(shape[-2:])
    log_p = Gaussian(noise).log_likelihood(eta, x, log_noise)
    assert log_p.shape == shape[:-1]
    torch.testing.assert_close(log_p, Gaussian(noise).log_prob(eta, x, log_noise).sum(-1))


class TestNoise:
    def test_is_bounded(self):
        low, high = LOG_VARIANCE_BOUNDS
        wild = Noise(torch.tensor([-1e4, 0.3, 1e4]))
        torch.testing.assert_close(wild(torch.zeros(5, 2)), torch.tensor([low, 0.3, high]))
        steep = Noise(torch.zeros(3), torch.nn.Linear(2, 3))
        bounded = steep(1e6 * torch.randn(50, 2, generator=Generator().manual_seed(0)))
        assert (bounded.min(), bounded.max()) == (low, high)
        for likelihood in (Gaussian(), Gaussian("decoder")):
            assert likelihood.log_prob(torch.zeros(50, 3), torch.ones(50, 3), bounded).isfinite().all()

    @pytest.mark.parametrize(("kind", "shape"), [("shared", (1,)), ("per_column", (6,)), ("decoder", (9, 6))])
    def test_is_one_number_one_per_feature_or_one_per_entry(self, kind, shape, digits):
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

    def test_source_and_target_are_the_same_binary_samples(self, module, digits):
        out = module(self.working(module, digits), Generator().manual_seed(0))
        binary = out.target.detach().round()
        assert set(binary.unique().tolist()) == {0.0, 1.0}
        np.testing.assert_allclose(out.target.detach(), binary, atol=1e-6)
        np.testing.assert_allclose(module.in_units(out.source).detach(), binary, atol=1e-6)

    def test_each_step_draws_again_with_the_grey_values_as_probabilities(self, module, digits):
        x, generator = self.working(module, digits), Generator().manual_seed(0)
        with torch.no_grad():
            targets = torch.stack([module(x, generator).target.round() for _ in range(400)])
        assert not torch.equal(targets[0], targets[1])
        p = digits[:300] / 16
        error = (targets.mean(0).numpy() - p) / np.sqrt(np.maximum(p * (1 - p), 1e-3) / 400)
        assert np.abs(error).max() < 5.5  # of 19,200 entries

    def test_nothing_is_drawn_without_the_option_or_outside_training(self, module, digits):
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
        (
            "bernoulli",
            1.5,
            r"^likelihood='bernoulli' needs X in \[0, 1\].*feature 2 .*0 to 1\.5.*MinMaxScaler",
        ),
        ("bernoulli", -0.25, r"^likelihood='bernoulli'.*-0\.25 to 1\b.*likelihood='gaussian'"),
        (
            "poisson",
            -2.0,
            r"^likelihood='poisson' needs counts, X >= 0.*2 is -2\b.*likelihood='gaussian'",
        ),
    ],
)
def test_invalid_data_are_refused(likelihood, bad, message):
    X = np.random.RandomState(0).randint(0, 2, size=(50, 4)).astype(float)
    LIKELIHOODS[likelihood]().check(X)
    X[3, 2] = bad
    model = VAETransformer(2, likelihood=likelihood, max_iter=1)
    for fit in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=message):
            fit(X)
    assert not hasattr(model, "module_")


QUICK = {"hidden_layer_sizes": (4,), "max_iter": 1, "early_stopping": False, "random_state": 0}
BOUNDED = {
    "cross-entropy": AutoencoderTransformer(2, loss="binary_cross_entropy", **QUICK),
    "Poisson loss": AutoencoderTransformer(2, loss="poisson", **QUICK),
    "Bernoulli": VAETransformer(2, likelihood="bernoulli", **QUICK),
    "Poisson": VAETransformer(2, likelihood="poisson", **QUICK),
    "detector": AEOutlierDetector(
        VAETransformer(2, likelihood="bernoulli", **QUICK),
        outlier_score="log_likelihood",
        n_estimators=2,
        random_state=0,
    ),
}


@pytest.mark.parametrize("model", BOUNDED.values(), ids=BOUNDED)
@pytest.mark.parametrize("form", [np.asarray, np.float32, sparse.csr_array], ids=lambda form: form.__name__)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_samples_out_of_range_are_refused_everywhere_but_rounding_is_not(model, form, unperturbed):
    X = np.random.RandomState(0).uniform(size=(60, 4))
    X[0, 0], X[1, 1] = 1 + 2.3e-16, -1e-17  # as a MinMaxScaler computes them
    model = clone(model).fit(form(X))
    assert np.isfinite(model.score_samples(form(X))).all()
    X[5, 2] = -255
    methods = [model.score_samples, model.fit]
    if isinstance(model, AEOutlierDetector):
        methods += [model.predict, model.pvalues]
    else:
        methods += [model.partial_fit, lambda bad: model.fit(np.abs(X) / 255, X_val=bad)]
    if isinstance(model, VAETransformer):
        methods.append(model.elbo)
    for method in methods:
        with pytest.raises(ValueError, match=r"X.*feature 2 .*-255"):
            method(form(X))


# -- user-defined likelihoods -------------------------------------------------------


class Laplace(Likelihood):
    """Likelihood that defines only its density, with a fixed scale in working units."""

    def __init__(self, scale=0.3):
        self.scale = scale

    def log_prob(self, eta, x, log_noise=None):
        return torch.distributions.Laplace(eta, self.scale).log_prob(x)


class StudentT(Likelihood):
    """Likelihood with a learned noise variance, and draws."""

    def __init__(self, noise="shared"):
        self.noise = noise

    def log_prob(self, eta, x, log_noise=None):
        return torch.distributions.StudentT(6.0, eta, (0.5 * log_noise).exp()).log_prob(x)

    def draw(self, eta, log_noise, generator):
        normal = torch.randn(eta.shape, generator=generator, dtype=eta.dtype)
        return eta + (0.5 * log_noise).exp() * normal  # lighter tails suffice here


USER_DEFINED = {
    "Laplace": Laplace(),
    **{f"StudentT, {noise}": StudentT(noise) for noise in ("shared", "per_column", "decoder")},
}


@pytest.fixture(scope="module")
def parabola():
    rng = np.random.RandomState(0)
    t = rng.uniform(-2, 2, 300)
    return 3.0 * np.column_stack([t, t**2]) + 0.6 * rng.laplace(size=(300, 2)) + 5.0


@pytest.fixture(scope="module", params=USER_DEFINED)
def user_model(request, parabola):
    params = {"hidden_layer_sizes": (16,), "max_iter": 30, "early_stopping": False, "random_state": 0}
    return VAETransformer(1, likelihood=USER_DEFINED[request.param], **params).fit(parabola)


class TestUserDefinedLikelihood:
    @pytest.mark.slow
    def test_density_integrates_to_one_in_the_units_of_X(self, user_model, parabola):
        axes = [np.linspace(a - 9, b + 9, 45) for a, b in zip(parabola.min(0), parabola.max(0), strict=True)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
        cell = np.prod([axis[1] - axis[0] for axis in axes])
        density = np.exp(user_model.score_samples(grid, n_draws=64))
        assert density.sum() * cell == pytest.approx(1.0, abs=0.04)

    def test_elbo_is_a_lower_bound(self, user_model, parabola):
        score, std = user_model.score_samples(parabola[:100], return_std=True)
        assert (std < 0.5).all()
        assert user_model.elbo(parabola[:100]).mean() < score.mean() + 0.02

    def test_samples_without_noise_are_decoded_codes(self, user_model):
        X, codes = user_model.sample(50, random_state=0, noise=False, return_codes=True)
        np.testing.assert_allclose(X, user_model.inverse_transform(codes))

    def test_samples_with_noise_need_draw(self, user_model):
        if isinstance(user_model.likelihood_, Laplace):
            with pytest.raises(NotImplementedError, match=r"Laplace does not define draw.*noise=False"):
                user_model.sample(5)
        else:
            assert np.isfinite(user_model.sample(5, random_state=0)).all()


@pytest.mark.parametrize("method", ["get_covariance", "get_precision"])
@pytest.mark.parametrize("early_stopping", [True, False])
def test_the_scale_of_another_likelihood_is_not_taken_for_a_variance(parabola, method, early_stopping):
    params = {"hidden_layer_sizes": (), "max_iter": 2, "early_stopping": early_stopping, "random_state": 0}
    model = VAETransformer(1, likelihood=StudentT(), **params).fit(parabola)
    with pytest.raises(AttributeError, match=rf"{method}.*StudentT.* is not Gaussian"):
        getattr(model, method)()


def test_linear_decoders_have_no_closed_form_under_another_likelihood(parabola):
    """The closed form is that of a Gaussian; the estimate agrees with draws from the prior."""
    model = VAETransformer(
        1, likelihood=Laplace(), hidden_layer_sizes=(), max_iter=20, early_stopping=False, random_state=0
    ).fit(parabola)
    z = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)[:, None]
    scale = model.likelihood_.scale * model.scale_
    log_p = stats.laplace.logpdf(parabola[:30, None], model.inverse_transform(z), scale).sum(2)
    naive = np.logaddexp.reduce(log_p, axis=1) - np.log(len(z))
    np.testing.assert_allclose(model.score_samples(parabola[:30]), naive, atol=0.5)


def test_a_subclass_of_gaussian_with_another_density_is_not_gaussian():
    class Cauchy(Gaussian):
        def log_prob(self, eta, x, log_noise=None):
            return torch.distributions.Cauchy(eta, (0.5 * log_noise).exp()).log_prob(x)

    log_noise = torch.zeros(1).double()
    expected = stats.cauchy.logpdf(REAL, ETA).sum(1)
    np.testing.assert_allclose(Cauchy().log_likelihood(ETA, REAL, log_noise), expected)
