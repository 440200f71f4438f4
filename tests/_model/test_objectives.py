"""Variational objective: closed form, bounds, warm-up, and correction of the noise variance."""

import math

import numpy as np
import pytest
import torch
from builders import COUNTS, DATA, Bound
from skorch.callbacks import Callback
from torch import Generator
from torch.distributions import kl_divergence

from sklearn_ae import VAETransformer
from sklearn_ae._density.vae import FittedVAE, standardised
from sklearn_ae._model.objectives import Elbo
from sklearn_ae.bottlenecks import GaussianSampling
from sklearn_ae.divergences import KL
from sklearn_ae.likelihoods import Gaussian

# Few epochs suffice for the properties that are tested here.
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")

LIKELIHOODS = [
    Gaussian(),
    Gaussian("per_column"),
    Gaussian("full"),
    Gaussian("decoder"),
    "bernoulli",
    "poisson",
]


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=str)
class TestObjective:
    @pytest.mark.parametrize("beta", [0.0, 1.0, 5.0])
    def test_is_the_negative_elbo_in_nats_and_in_the_units_of_X(self, likelihood, beta):
        bound = Bound(likelihood, beta=beta)
        q, p, log_p, _ = bound.by_hand()
        expected = beta * kl_divergence(q, p).sum(1) - log_p[0]
        torch.testing.assert_close(bound.objective.per_sample(bound.out, calibrated=False), expected)
        torch.testing.assert_close(bound.objective(bound.out), expected.mean())

    @pytest.mark.parametrize("n_samples", [1, 5])
    def test_its_terms_are_recorded_without_the_weight(self, likelihood, n_samples):
        bound = Bound(likelihood, beta=3.0, n_samples=n_samples)
        q, p, log_p, z = bound.by_hand()
        kl = kl_divergence(q, p) if n_samples == 1 else q.log_prob(z) - p.log_prob(z)
        expected = torch.stack([-log_p.mean(), kl.sum(-1).mean()])
        recorded = []
        bound.objective(bound.out, recorded.append)
        bound.objective.per_sample(bound.out, recorded.append, calibrated=False)
        for terms in recorded:
            assert not terms.requires_grad
            torch.testing.assert_close(terms, expected.detach())
        assert len(recorded) == 2

    @pytest.mark.parametrize("beta", [1.0, 0.3])
    def test_is_the_importance_weighted_bound_for_several_samples(self, likelihood, beta):
        bound = Bound(likelihood, n_samples=5, beta=beta)
        q, p, log_p, z = bound.by_hand()
        log_w = log_p + beta * (p.log_prob(z) - q.log_prob(z)).sum(2)
        expected = math.log(5) - log_w.logsumexp(0)
        torch.testing.assert_close(bound.objective.per_sample(bound.out, calibrated=False), expected)

    def test_is_a_sum_over_features_and_components(self, likelihood):
        """Repeated features double the reconstruction term and leave the divergence unchanged."""
        bound = Bound(likelihood, beta=0.0)
        out = bound.out
        wide = {"eta": out.eta.repeat(1, 2), "target": out.target.repeat(1, 2)}
        if out.log_noise is not None and out.log_noise.shape[-1] > 1:
            wide["log_noise"] = torch.cat([out.log_noise] * 2, -1)
        bound.objective.log_jacobian = 0.0
        once = bound.objective.per_sample(out, calibrated=False)
        torch.testing.assert_close(
            bound.objective.per_sample(out._replace(**wide), calibrated=False), 2 * once
        )
        bound.objective.beta = 1.0
        kl = bound.objective.per_sample(out, calibrated=False) - once
        torch.testing.assert_close(
            bound.objective.per_sample(out._replace(**wide), calibrated=False), 2 * once + kl
        )

    def test_units_shift_it_by_the_log_jacobian(self, likelihood):
        bound = Bound(likelihood)
        if bound.likelihood.discrete:
            pytest.skip("probabilities have no units")
        wide = Bound(likelihood, scale=1e6)
        shift = bound.objective.per_sample(bound.out, calibrated=False) + 6 * math.log(1e6)
        torch.testing.assert_close(wide.objective.per_sample(wide.out, calibrated=False), shift)


def test_several_draws_in_evaluation_give_the_mean_of_their_elbos():
    bound = Bound()
    bound.module.eval()
    out = bound.forward()
    assert len(out.codes) == 8 * len(COUNTS)
    singles = []
    for i in range(8):
        part = slice(i * len(COUNTS), (i + 1) * len(COUNTS))
        one = out._replace(codes=out.codes[part], eta=out.eta[part])
        singles.append(bound.objective.per_sample(one, calibrated=False))
    torch.testing.assert_close(
        bound.objective.per_sample(out, calibrated=False), torch.stack(singles).mean(0)
    )


def test_importance_weighted_bound_rises_with_the_number_of_samples():
    """It does not exceed the log-likelihood of held-out samples."""
    rng = np.random.RandomState(0)
    t = rng.uniform(-2, 2, 600)
    X = np.column_stack([t, t**2, np.sin(2 * t)]) + 0.2 * rng.normal(size=(600, 3))
    params = {"hidden_layer_sizes": (16,), "max_iter": 15, "early_stopping": False, "random_state": 0}
    model = VAETransformer(2, **params).fit(X[:300])
    module, held_out = model.module_, X[300:]
    module.encoder.linear.bias[2:] += 1.0  # posteriors that are too wide make the bound of one sample loose
    x = (torch.from_numpy(held_out) - module.offset) / module.scale
    bounds = []
    for k in (1, 2, 5, 20, 100):
        module.bottleneck = GaussianSampling(k)
        objective = Elbo(
            module.loss,
            KL(),
            beta=1.0,
            warmup=0.0,
            n_draws=k,
            n_samples=300,
            n_features=3,
            log_jacobian=3 * math.log(module.scale),
        )
        module.train()  # in evaluation mode, the ELBO would use more draws
        draws = [
            objective.per_sample(module(x, Generator().manual_seed(seed)), calibrated=False)
            for seed in range(40)
        ]
        bounds.append(-float(torch.stack(draws).mean()))
    assert (np.diff(bounds) > 0).all()
    score = model.score(held_out)
    assert bounds[0] == pytest.approx(model.elbo(held_out).mean(), abs=0.05)
    assert bounds[0] < score - 0.5
    assert score - 0.1 * (score - bounds[0]) < bounds[-1] < score + 0.01


# -- warm-up ------------------------------------------------------------------------


def test_warm_up_changes_the_training_loss_only():
    bound = Bound(beta=4.0, warmup=0.5)
    full = bound.objective.per_sample(bound.out, calibrated=False)
    values = []
    for progress in (0.0, 0.25, 0.5, 0.75):
        bound.objective.schedule(progress)
        values.append(float(bound.objective(bound.out)))
        torch.testing.assert_close(bound.objective.per_sample(bound.out, calibrated=False), full)
    q, p, log_p, _ = bound.by_hand()
    kl = float(kl_divergence(q, p).sum(1).mean())
    expected = 4 * kl * np.array([0, 0.5, 1, 1]) - float(log_p.mean())
    np.testing.assert_allclose(values, expected)


class Shares(Callback):
    """Callback that records the share of beta after each epoch."""

    def __init__(self):
        self.seen = []

    def on_epoch_end(self, net, **kwargs):
        self.seen.append(net.criterion_.share)


@pytest.mark.parametrize(("warmup", "rising"), [(0.0, 0), (0.5, 5), (1.0, 10)])
def test_warm_up_takes_its_share_of_the_training(warmup, rising):
    shares = Shares()
    params = {"hidden_layer_sizes": (8,), "max_iter": 10, "early_stopping": False, "batch_size": 10}
    VAETransformer(2, kl_warmup=warmup, callbacks=[shares], **params).fit(DATA["gaussian"])
    expected = np.minimum(1, (np.arange(1, 11) - 0.25) / rising) if rising else np.ones(10)
    np.testing.assert_allclose(shares.seen, expected, atol=1e-6)  # four steps per epoch


# -- noise variance ---------------------------------------------------------------------


@pytest.mark.parametrize("noise", ["shared", "per_column", "full", "decoder"])
def test_validation_corrects_the_noise_variance(noise):
    """No other multiple of the noise variance gives a better bound than the corrected one."""
    bound = Bound(Gaussian(noise))

    def value(out, calibrated):
        return bound.objective.per_sample(out, calibrated=calibrated).mean()

    corrected = value(bound.out, True)
    assert corrected < value(bound.out, False) - 0.1
    values = [
        float(value(bound.out._replace(log_noise=bound.out.log_noise + step), False))
        for step in np.linspace(-3, 3, 301)
    ]
    assert float(corrected) == pytest.approx(min(values), abs=0.01)
    assert corrected <= min(values) + 1e-9


def test_misfit_is_one_if_the_noise_variance_is_right():
    generator = Generator().manual_seed(0)
    log_noise = torch.linspace(-2, 2, 5).expand(4000, 5)
    x = torch.randn((2000, 5), generator=generator)
    etas = x.repeat(2, 1) + (0.5 * log_noise).exp() * torch.randn((4000, 5), generator=generator)
    assert float(Gaussian().noise_misfit(etas, x, log_noise).mean()) == pytest.approx(1, abs=0.03)
    assert float(Gaussian().noise_misfit(etas, x, log_noise - math.log(4)).mean()) == pytest.approx(
        4, abs=0.12
    )


def test_curves_are_the_mean_negative_elbo_in_the_units_of_X(digits_split):
    train, test = digits_split
    params = {"hidden_layer_sizes": (32,), "max_iter": 12, "random_state": 0}
    model = VAETransformer(4, **params).fit(train[:500], X_val=test)
    assert model.uses_network_
    best = model.validation_loss_curve_[model.best_iter_ - 1]
    assert best == pytest.approx(-model.elbo(test).mean(), abs=0.3)
    free = VAETransformer(4, early_stopping=False, learning_rate_init=1e-9, **params).fit(train[:500])
    assert free.loss_curve_[-1] == pytest.approx(-free.elbo(train[:500]).mean(), abs=1.0)


# -- fitted models ----------------------------------------------------------------------


@pytest.mark.parametrize("n_draws", [16, 500])
def test_standardised_draws_have_the_moments_of_the_prior(n_draws):
    draws = standardised(torch.randn((n_draws, 7), generator=Generator().manual_seed(0)).double())
    np.testing.assert_allclose(draws.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(draws.T @ draws / n_draws, np.eye(7), atol=1e-12)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=str)
def test_elbo_is_the_mean_of_the_objective(likelihood):
    """The ELBO of a fitted model equals the training objective up to the noise of the draws."""
    bound = Bound(likelihood)
    draws = np.array(
        [bound.objective.per_sample(bound.forward(seed), calibrated=False).numpy() for seed in range(300)]
    )
    error = (draws.mean(0) + FittedVAE(bound.module).elbo(bound.X, 512)) / (draws.std(0) / 300**0.5)
    assert np.abs(error).max() < 6  # the draws of elbo have an error, too
    assert np.square(error).mean() < 2.5


def test_training_in_bfloat16_is_as_good(digits_split):
    """The objective is summed in float32; bfloat16 would round a value of 170 to an integer."""
    train, test = digits_split
    params = {"hidden_layer_sizes": (32,), "max_iter": 5, "random_state": 0, "early_stopping": False}
    models = [VAETransformer(4, precision=p, **params).fit(train[:600]) for p in ("float32", "bfloat16")]
    assert models[0].loss_curve_ != models[1].loss_curve_
    np.testing.assert_allclose(*[model.loss_curve_[:1] for model in models], rtol=1e-3)
    np.testing.assert_allclose(*[model.loss_curve_ for model in models], rtol=5e-3)
    assert models[1].score(test) == pytest.approx(models[0].score(test), abs=0.1)
