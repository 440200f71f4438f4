"""Divergences: closed forms, unbiased estimates, the effect on codes, and user-defined divergences."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp
from sklearn.feature_selection import mutual_info_regression
from torch import Generator
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal
from torch.distributions import kl_divergence as torch_kl

from sklearn_ae import VAETransformer
from sklearn_ae._utils.gaussian import kl_per_component, log_normal
from sklearn_ae.divergences import (
    DIVERGENCES,
    KL,
    MMD,
    BetaTC,
    CallableDivergence,
    Divergence,
    total_correlation,
)

# a few epochs suffice for the properties tested here
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")


def generator(seed=0):
    return Generator().manual_seed(seed)


def posteriors(n=60, k=3, seed=0):
    """Return means, log-variances and a draw from each of n posteriors."""
    source = generator(seed)
    mu, log_var, normal = (torch.randn((n, k), generator=source).double() for _ in range(3))
    return mu, log_var, mu + (0.5 * log_var).exp() * normal


def on(divergence, mu, log_var, z, n_samples=None, seed=0):
    return divergence(mu, log_var, z, n_samples or len(z), generator(seed))


@pytest.mark.parametrize("name", DIVERGENCES)
class TestEveryDivergence:
    def test_is_a_number_per_sample_with_a_gradient(self, name):
        mu, log_var, z = posteriors()
        mu.requires_grad_()
        value = on(DIVERGENCES[name](), mu, log_var, z + mu - mu.detach())
        assert value.shape == (60,)
        (gradient,) = torch.autograd.grad(value.sum(), mu)
        assert gradient.isfinite().all()
        assert (gradient != 0).any()

    def test_uses_only_the_given_generator(self, name, unchanged_globals):
        divergence, batch = DIVERGENCES[name](), posteriors()
        assert torch.equal(on(divergence, *batch), on(divergence, *batch))

    @pytest.mark.parametrize("size", [1e-6, 1e3])
    def test_is_finite_for_distant_and_for_equal_posteriors(self, name, size):
        mu, log_var, z = (size * part for part in posteriors())
        log_var = log_var.clamp(-23, 10).requires_grad_()
        value = on(DIVERGENCES[name](), mu, log_var, z)
        assert value.isfinite().all()
        if name != "mmd":
            assert torch.autograd.grad(value.sum(), log_var)[0].isfinite().all()

    def test_takes_a_batch_of_one(self, name):
        assert on(DIVERGENCES[name](), *posteriors(1), n_samples=1).isfinite().all()


# -- KL -----------------------------------------------------------------------------


def test_kl_is_that_of_torch():
    mu, log_var, z = posteriors()
    q, p = Normal(mu, (0.5 * log_var).exp()), Normal(torch.zeros_like(mu), torch.ones_like(mu))
    torch.testing.assert_close(kl_per_component(mu, log_var), torch_kl(q, p))
    torch.testing.assert_close(on(KL(), mu, log_var, z), torch_kl(q, p).sum(1))
    torch.testing.assert_close(log_normal(z, mu, log_var), q.log_prob(z))


def test_kl_is_zero_at_the_prior_only():
    zero = torch.zeros(4, 3).double()
    assert (on(KL(), zero, zero, zero) == 0).all()
    assert (on(KL(), zero + 1e-3, zero, zero) > 0).all()
    assert (on(KL(), zero, zero - 1e-3, zero) > 0).all()


# -- total correlation ----------------------------------------------------------------


def exact_total_correlation(mu, log_var, z):
    """Return log q(z) - sum_j log q(z_j) with the mixture of all posteriors, by torch."""
    std = (0.5 * log_var).exp()
    weights = Categorical(torch.ones(len(mu)))
    joint = MixtureSameFamily(weights, Independent(Normal(mu, std), 1)).log_prob(z)
    marginals = (MixtureSameFamily(weights, Normal(m, s)) for m, s in zip(mu.T, std.T, strict=True))
    return joint - sum(q.log_prob(component) for q, component in zip(marginals, z.T, strict=True))


def test_total_correlation_of_all_samples_is_exact():
    mu, log_var, z = posteriors(300)
    expected = exact_total_correlation(mu, log_var, z)
    torch.testing.assert_close(total_correlation(mu, log_var, z, 300), expected)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_total_correlation_is_that_of_normal_codes(correlation):
    """512 of 5,000 samples represent all; the aggregate posterior is normal with a known correlation."""
    covariance = torch.full((3, 3), correlation).double().fill_diagonal_(1.0)
    closed = -0.5 * float(torch.logdet(covariance))
    share = 0.05  # the part of the variance within each posterior
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mu = MultivariateNormal(torch.zeros(3).double(), covariance - share * torch.eye(3)).sample((5000,))
        z = mu + share**0.5 * torch.randn(5000, 3)
    log_var = torch.full_like(mu, math.log(share))
    assert float(total_correlation(mu, log_var, z, 5000).mean()) == pytest.approx(closed, abs=0.12)


def test_total_correlation_of_batches_has_a_smaller_bias_than_the_estimate_of_the_paper():
    """Minibatch-weighted sampling gives a sample's own posterior the same weight as every other one."""
    n, size = 2000, 100
    mu, log_var, z = posteriors(n, 3)
    mu, log_var = mu @ torch.tensor([[1.0, 0.8, 0.0], [0, 0.6, 0], [0, 0, 1]]).double(), log_var - 1.0
    z = mu + (0.5 * log_var).exp() * torch.randn((n, 3), generator=generator(1)).double()
    exact = float(exact_total_correlation(mu, log_var, z).mean())
    batches = torch.arange(n).split(size)
    ours = np.mean([total_correlation(mu[b], log_var[b], z[b], n).mean() for b in batches])
    papers = np.mean([weighted_sampling(mu[b], log_var[b], z[b], n).mean() for b in batches])
    assert ours == pytest.approx(exact, abs=0.1)
    assert abs(ours - exact) < 0.3 * abs(papers - exact)


def weighted_sampling(mu, log_var, z, n_samples):
    """Return the estimate of R. Chen et al. (2018), equation (S6)."""
    log_q = log_normal(z[:, None], mu, log_var)
    constant = math.log(len(z) * n_samples)
    return log_q.sum(2).logsumexp(1) - constant - (log_q.logsumexp(1) - constant).sum(1)


def test_beta_weights_the_total_correlation_only():
    batch = posteriors()
    kl, tc = on(KL(), *batch), total_correlation(*batch, 60)
    for beta in (0.0, 1.0, 6.0):
        torch.testing.assert_close(on(BetaTC(beta), *batch), kl + (beta - 1) * tc)
    assert torch.equal(on(BetaTC(1.0), *batch), kl)


# -- maximum mean discrepancy -----------------------------------------------------------


def normal(n, k, seed, shift=0.0):
    return torch.randn((n, k), generator=generator(seed)).double() + shift


def test_discrepancy_is_the_u_statistic_of_its_kernel():
    z, prior = normal(7, 3, 0), normal(7, 3, 1)
    widths = 2 * 3 * np.array([0.1, 0.2, 0.5, 1, 2, 5, 10])

    def kernel(a, b):
        return np.mean(widths / (widths + float((a - b).square().sum())))

    pairs = [(i, j) for i in range(7) for j in range(7) if i != j]
    within = np.mean([kernel(z[i], z[j]) + kernel(prior[i], prior[j]) for i, j in pairs])
    between = np.mean([kernel(a, b) for a in z for b in prior])
    assert float(MMD().discrepancy(z, prior)) == pytest.approx(within - 2 * between)


def test_discrepancy_of_equal_distributions_is_zero_on_average():
    values = np.array(
        [float(MMD().discrepancy(normal(20, 4, 2 * i), normal(20, 4, 2 * i + 1))) for i in range(500)]
    )
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(500)
    assert values.min() < 0  # unbiased, so that it is sometimes negative


def test_expected_discrepancy_does_not_depend_on_the_batch_size():
    small = np.mean(
        [float(MMD().discrepancy(normal(10, 2, 2 * i, 1.0), normal(10, 2, 2 * i + 1))) for i in range(800)]
    )
    large = np.mean(
        [float(MMD().discrepancy(normal(800, 2, i, 1.0), normal(800, 2, i + 9))) for i in range(4)]
    )
    assert small == pytest.approx(large, rel=0.1)


def test_discrepancy_grows_with_a_shift_or_contraction_of_the_codes():
    prior = normal(400, 3, 1)
    shifted = [float(MMD().discrepancy(normal(400, 3, 0, shift), prior)) for shift in (0, 0.3, 1, 3, 10)]
    scaled = [float(MMD().discrepancy(normal(400, 3, 0) * scale, prior)) for scale in (1, 0.7, 0.3, 0)]
    assert abs(shifted[0]) < 0.01
    assert (np.diff(shifted) > 0).all()
    assert (np.diff(scaled) > 0).all()


def test_mmd_adds_its_terms():
    batch = posteriors()
    one = on(MMD(1.0), *batch)
    assert one.unique().numel() == 1  # one value for the batch
    torch.testing.assert_close(on(MMD(30.0), *batch), 30 * one)
    torch.testing.assert_close(on(MMD(30.0, kl=0.2), *batch), 30 * one + 0.2 * on(KL(), *batch))
    torch.testing.assert_close(on(MMD(0.0, kl=1.0), *batch), on(KL(), *batch))


# -- on data ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def factors():
    """Two uniform factors; PCA's axes lie at 45 degrees to them, where the codes are dependent."""
    rng = np.random.RandomState(0)
    s = rng.uniform(-1, 1, size=(1000, 2))
    axes = np.linalg.qr(rng.normal(size=(8, 8)))[0][:2]
    u = np.column_stack([1.5 * (s[:, 0] + s[:, 1]), s[:, 0] - s[:, 1]])
    return u @ axes + 0.15 * rng.normal(size=(1000, 8)), s


def fit(X, divergence="kl", **params):
    given = {"hidden_layer_sizes": (32,), "max_iter": 60, "early_stopping": False, "random_state": 0}
    given |= {"batch_size": 200, "learning_rate_init": 0.01}
    return VAETransformer(2, divergence=divergence, **(given | params)).fit(X)


@pytest.fixture(scope="module")
def models(factors):
    return {name: fit(factors[0], d) for name, d in {"kl": "kl", "tc": BetaTC(20.0), "mmd": MMD()}.items()}


def drawn(model, X):
    mean, std = model.posterior(X)
    return mean + std * np.random.RandomState(0).normal(size=mean.shape)


def dependence(model, X):
    """Return the total correlation of two codes, their mutual information, by nearest neighbours."""
    z = drawn(model, X)
    return mutual_info_regression(z[:, :1], z[:, 1], random_state=0)[0]


def information(model, X):
    """Return the mutual information of x and z: E KL(q(z|x) || p) - KL(q(z) || p), over all samples."""
    (mean, std), z = model.posterior(X), drawn(model, X)
    log_q = logsumexp(stats.norm.logpdf(z[:, None], mean, std).sum(2), axis=1) - np.log(len(X))
    return model.kl_divergence(X).mean() - (log_q - stats.norm.logpdf(z).sum(1)).mean()


@pytest.mark.slow
def test_beta_tc_removes_the_total_correlation_and_finds_the_factors(models, factors):
    X, s = factors
    kl, tc = models["kl"], models["tc"]
    assert dependence(kl, X) > 0.12
    assert dependence(tc, X) < 0.5 * dependence(kl, X)
    assert information(tc, X) > information(kl, X) - 0.2  # the information is kept
    match = np.abs(np.corrcoef(tc.transform(X).T, s.T)[:2, 2:])
    assert match.max(1).min() > 0.8
    assert set(match.argmax(1)) == {0, 1}
    assert np.abs(np.corrcoef(kl.transform(X).T, s.T)[:2, 2:]).max() < 0.78


def test_mmd_keeps_more_information(models, factors):
    X, _ = factors
    assert information(models["mmd"], X) > information(models["kl"], X) + 1.0
    # and its aggregate posterior is no farther from the prior
    prior = normal(1000, 2, 5)
    gaps = [
        float(MMD().discrepancy(torch.from_numpy(drawn(models[name], X)), prior)) for name in ("kl", "mmd")
    ]
    assert gaps[1] < gaps[0] + 0.01


@pytest.mark.slow
def test_the_weights_of_mmd_have_an_effect(models, factors):
    X, _ = factors
    plain = fit(X, max_iter=15)
    both = fit(X, MMD(0.0, kl=1.0), max_iter=15)
    free = fit(X, MMD(0.0), max_iter=15)
    assert both.kl_divergence(X).mean() == pytest.approx(plain.kl_divergence(X).mean(), rel=0.05)
    assert free.kl_divergence(X).mean() > 1.2 * plain.kl_divergence(X).mean()
    assert fit(X, MMD(1000.0), max_iter=15).kl_divergence(X).mean() < free.kl_divergence(X).mean()


def test_total_correlation_of_weight_one_is_the_plain_model_bit_for_bit(factors):
    X = factors[0][:300]
    for params in ({}, {"early_stopping": True}):
        one, plain = (fit(X, divergence, max_iter=4, **params) for divergence in (BetaTC(1.0), "kl"))
        assert one.loss_curve_ == plain.loss_curve_
        np.testing.assert_array_equal(one.transform(X), plain.transform(X))
        assert fit(X, BetaTC(2.0), max_iter=4, **params).loss_curve_ != plain.loss_curve_


@pytest.mark.parametrize("divergence", [BetaTC(), MMD()], ids=str)
def test_importance_weights_are_for_the_kl_divergence_only(divergence):
    model = VAETransformer(2, divergence=divergence, n_importance_samples=5)
    with pytest.raises(
        ValueError, match=r"n_importance_samples=5.*divergence='kl'.*Set n_importance_samples=1"
    ):
        model.fit(np.random.RandomState(0).normal(size=(40, 5)))
    assert not hasattr(model, "module_")


# -- user-defined divergences ---------------------------------------------------------


class SquaredNorm(Divergence):
    """Half the squared norm of the means, with only the required method."""

    def __call__(self, mu, log_var, z, n_samples, generator):
        return 0.5 * mu.square().sum(1)


def squared_norm(mu, log_var):
    return 0.5 * mu.square().sum(1)


def test_a_user_defined_function_and_class_train_alike(factors):
    X = factors[0][:200]
    models = [
        fit(X, divergence, max_iter=4) for divergence in (SquaredNorm(), CallableDivergence(squared_norm))
    ]
    assert models[0].loss_curve_ == models[1].loss_curve_
    assert np.isfinite(models[0].score_samples(X[:10])).all()


def test_a_function_that_computes_the_kl_divergence_is_the_plain_model(factors):
    X = factors[0][:200]
    mine = CallableDivergence(lambda mu, log_var: kl_per_component(mu, log_var).sum(1))
    assert fit(X, mine, max_iter=3).loss_curve_ == fit(X, max_iter=3).loss_curve_


@pytest.mark.parametrize(
    ("function", "got"),
    [(lambda mu, log_var: mu.square(), r"shape \(60, 3\)"), (lambda mu, log_var: 1.0, "float")],
)
def test_a_function_must_return_a_divergence_per_sample(function, got):
    with pytest.raises(ValueError, match=rf"passed as divergence must return .* shape \(60,\); got {got}"):
        on(CallableDivergence(function), *posteriors())
