"""Priors: agreement of the mixture with scikit-learn, flows, fitted models, and user-defined priors."""

import copy
import functools
import pickle
import sys

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.mixture import GaussianMixture

from sklearn_ae import AutoencoderTransformer, VAETransformer
from sklearn_ae._density.vae import FittedVAE
from sklearn_ae.priors import FittedFlow, FittedMixture, FittedPrior, Flow, Mixture, Prior, StandardNormal


def groups(n, k=2, seed=0):
    """Return codes in three groups, with mean 0 and variance 1 overall, approximately."""
    rng = np.random.RandomState(seed)
    centres = 1.3 * np.array([[1, 0], [-0.5, 0.87], [-0.5, -0.87]]) @ np.eye(2, k)
    return centres[rng.randint(3, size=n)] + 0.25 * rng.normal(size=(n, k))


@pytest.fixture(scope="module")
def mixture():
    return GaussianMixture(3, random_state=0).fit(groups(500))


@pytest.fixture(scope="module")
def grouped():
    """Samples in three groups, on a curved surface in six dimensions."""
    z = groups(600)
    X = np.column_stack([z, np.sin(2 * z), z**2])
    return X + 0.05 * np.random.RandomState(1).normal(size=X.shape)


@pytest.fixture(scope="module")
def fitted(grouped):
    params = {"hidden_layer_sizes": (32,), "max_iter": 25, "random_state": 0}
    return {
        prior: VAETransformer(2, prior=prior, **params).fit(grouped[:500]) for prior in ("normal", "mixture")
    }


def test_density_is_that_of_scikit_learn(mixture):
    z = 2 * np.random.RandomState(0).normal(size=(50, 2))
    log_prob = FittedMixture.of(mixture).log_prob(torch.from_numpy(z))
    np.testing.assert_allclose(log_prob, mixture.score_samples(z), rtol=1e-10)
    torch.testing.assert_close(
        FittedMixture.of(mixture).log_prob(torch.from_numpy(z).view(5, 10, 2)).flatten(), log_prob
    )


def test_derivatives_are_the_gradient_and_a_positive_curvature(mixture):
    z = torch.randn(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z.requires_grad_()
    prior = FittedMixture.of(mixture)
    (expected,) = torch.autograd.grad(-prior.log_prob(z).sum(), z)
    gradient, curvature = prior.derivatives(z)
    torch.testing.assert_close(gradient, expected)
    assert (torch.linalg.eigvalsh(curvature) > 0).all()
    alone = GaussianMixture(1, random_state=0).fit(groups(500))
    _, curvature = FittedMixture.of(alone).derivatives(z)
    np.testing.assert_allclose(curvature[0].detach(), alone.precisions_[0], rtol=1e-10)


def test_draws_have_the_moments_of_the_mixture(mixture):
    drawn = FittedMixture.of(mixture).draw(50_000, np.random.RandomState(0))
    expected = mixture.sample(50_000)[0]
    np.testing.assert_allclose(drawn.mean(0), expected.mean(0), atol=0.03)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(expected.T), atol=0.03)
    assert mixture.score(drawn) == pytest.approx(mixture.score(expected), abs=0.03)


def test_marginals_of_the_mixture(mixture):
    one = FittedMixture.of(mixture).marginal(1)
    z = np.linspace(-3, 3, 20)
    std = np.sqrt(mixture.covariances_[:, 0, 0])
    expected = norm.pdf(z[:, None], mixture.means_[:, 0], std) @ mixture.weights_
    np.testing.assert_allclose(one.log_prob(torch.from_numpy(z[:, None])).exp(), expected, rtol=1e-8)
    z = torch.randn(9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        FittedMixture.of(mixture).marginal(2).log_prob(z), FittedMixture.of(mixture).log_prob(z)
    )


def test_validation_codes_select_the_number_of_components():
    codes, held_out = groups(600), groups(200, seed=1)
    assert 3 <= len(Mixture().fit(codes, held_out, codes).means) <= 16
    assert len(Mixture(max_components=2).fit(codes, held_out, codes).means) == 2
    assert StandardNormal().fit(codes, held_out, codes) is None


@pytest.mark.parametrize("prior", [Mixture(), Flow(transforms=1, hidden_layer_sizes=8)])
def test_normal_codes_keep_the_standard_normal(prior):
    rng = np.random.RandomState(0)
    codes, held_out = rng.normal(size=(400, 3)), rng.normal(size=(400, 3))
    assert prior.fit(codes, held_out, codes) is None


# -- flows --------------------------------------------------------------------------------


def uniform(n, k=2, seed=0):
    """Return codes of mean 0 and variance 1 whose density has edges, which mixtures do not model well."""
    return np.random.RandomState(seed).uniform(-(3**0.5), 3**0.5, (n, k))


@functools.cache
def flow_of(k):
    prior = Flow(transforms=2, hidden_layer_sizes=(16,))
    flow, _ = prior._train(uniform(1500, k), uniform(500, k, 1), 150)
    return FittedFlow(flow.double(), prior, k)


@pytest.mark.slow
def test_a_flow_is_chosen_if_it_is_better_than_mixtures():
    samples = uniform(1500), uniform(500, seed=1), uniform(2000)
    flow = Flow(transforms=2, hidden_layer_sizes=(16,)).fit(*samples)
    assert type(flow) is FittedFlow
    z = torch.from_numpy(uniform(1000, seed=2))
    truth = -2 * np.log(2 * 3**0.5)
    assert truth - 0.12 < float(flow.log_prob(z).mean()) < truth + 0.01
    assert float(flow.log_prob(z).mean()) > float(Mixture().fit(*samples).log_prob(z).mean())


def test_a_mixture_is_chosen_if_a_flow_is_not_better():
    prior = Flow(transforms=1, hidden_layer_sizes=(4,)).fit(groups(600), groups(300, seed=1), groups(600))
    assert type(prior) is FittedMixture
    expected = Mixture().fit(groups(600), groups(300, seed=1), groups(600))
    z = torch.from_numpy(groups(50, seed=2))
    torch.testing.assert_close(prior.log_prob(z), expected.log_prob(z))


@pytest.mark.parametrize("k", [1, 2])
def test_the_density_of_a_flow_integrates_to_one(k):
    axis = torch.linspace(-4, 4, 401, dtype=torch.float64)
    z = torch.cartesian_prod(*[axis] * k).view(-1, k)
    total = float(flow_of(k).log_prob(z).exp().sum()) * float(axis[1] - axis[0]) ** k
    assert total == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("k", [1, 3])
def test_derivatives_of_a_flow(k):
    flow = flow_of(k)
    z = torch.from_numpy(uniform(20, k, 3)).requires_grad_()
    torch.testing.assert_close(flow.log_prob(z.view(4, 5, k)).flatten(), flow.log_prob(z))
    (expected,) = torch.autograd.grad(-flow.log_prob(z).sum(), z)
    with torch.inference_mode():
        gradient, curvature = flow.derivatives(z.detach())
    torch.testing.assert_close(gradient, expected)
    assert (torch.linalg.eigvalsh(curvature) > 0).all()
    normal = flow.flow().transform(z)
    half_log_det = torch.linalg.slogdet(curvature)[1] / 2
    torch.testing.assert_close(
        flow.log_prob(z), torch.from_numpy(norm.logpdf(normal.detach()).sum(1)) + half_log_det
    )


@pytest.mark.parametrize("k", [1, 3])
def test_draws_of_a_flow_are_determined_by_the_random_state(k, unchanged_globals):
    flow = flow_of(k)
    drawn = flow.draw(4000, np.random.RandomState(0))
    np.testing.assert_array_equal(flow.draw(4000, np.random.RandomState(0)), drawn)
    normal = flow.flow().transform(torch.from_numpy(drawn))
    np.testing.assert_allclose(normal, np.random.RandomState(0).standard_normal((4000, k)), atol=1e-4)


def test_a_flow_is_deterministic_and_can_be_copied(unchanged_globals):
    z = torch.from_numpy(uniform(20))
    params = uniform(300), uniform(100, seed=1), uniform(300)
    prior = Flow(1, (4,))
    first, second = (FittedFlow(prior._train(*params[:2], 20)[0].double(), prior, 2) for _ in range(2))
    torch.testing.assert_close(first.log_prob(z), second.log_prob(z), rtol=0, atol=0)
    for twin in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        torch.testing.assert_close(twin.log_prob(z), first.log_prob(z), rtol=0, atol=0)
    torch.testing.assert_close(copy.deepcopy(first).float().double().log_prob(z), first.log_prob(z))


@pytest.mark.parametrize("kind", [AutoencoderTransformer, VAETransformer])
def test_a_flow_needs_zuko_before_training_starts(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(ImportError, match=r'prior="flow" .* pip install "sklearn-ae\[flow\]"'):
        kind(2, prior="flow", callbacks=["never reached"]).fit(groups(100))


def test_layers_of_a_flow_must_have_units():
    with pytest.raises(ValueError, match=r"hidden_layer_sizes of Flow .*\(8, 0\)"):
        AutoencoderTransformer(2, prior=Flow(hidden_layer_sizes=(8, 0))).fit(groups(100))


# -- fitted models ------------------------------------------------------------------------


@pytest.mark.slow
def test_training_does_not_depend_on_the_prior(grouped, fitted):
    codes = [model.transform(grouped) for model in fitted.values()]
    np.testing.assert_array_equal(*codes)
    assert fitted["mixture"].validation_loss_curve_ == fitted["normal"].validation_loss_curve_


def test_groups_have_a_higher_density(grouped, fitted):
    test = grouped[500:]
    assert fitted["mixture"].score(test) > fitted["normal"].score(test) + 0.2
    assert fitted["mixture"].elbo(test).mean() > fitted["normal"].elbo(test).mean() + 0.2


@pytest.mark.slow
@pytest.mark.parametrize("prior", ["normal", "mixture"])
def test_score_agrees_with_draws_from_the_prior(grouped, fitted, prior):
    model, test = fitted[prior], grouped[500:540]
    fitted_vae = FittedVAE(model.module_)
    z = fitted_vae.draw_codes(30_000, np.random.RandomState(0)).numpy()
    std = np.sqrt(model.noise_variance_)
    log_p = norm.logpdf(test[:, None], model.inverse_transform(z), std).sum(2)
    naive = logsumexp(log_p, axis=1) - np.log(len(z))
    accurate = np.exp(2 * logsumexp(log_p, axis=1) - logsumexp(2 * log_p, axis=1)) > 200  # effective draws
    assert accurate.sum() > 20
    error = (model.score_samples(test) - naive)[accurate]
    assert abs(error.mean()) < 0.02
    assert np.abs(error).max() < 0.3
    assert (model.elbo(test) < model.score_samples(test) + 0.01).all()


@pytest.mark.parametrize("prior", ["normal", "mixture"])
def test_the_bound_of_a_sample_whose_square_overflows_is_infinitely_low(grouped, fitted, prior):
    unusual = np.vstack([grouped[:1], np.full((1, grouped.shape[1]), 1e200)])
    bound = fitted[prior].elbo(unusual)
    assert np.isfinite(bound[0])
    assert bound[1] == -np.inf


def test_samples_come_from_the_groups(grouped, fitted):
    """There are no samples between the groups, but a normal prior draws some there."""
    reach = np.linalg.norm(grouped[:, :2], axis=1).min()
    between = {
        prior: np.mean(np.linalg.norm(model.sample(2000, random_state=0)[:, :2], axis=1) < reach)
        for prior, model in fitted.items()
    }
    assert between["mixture"] < 0.5 * between["normal"]


def test_a_model_that_is_pca_keeps_its_density():
    X = np.random.RandomState(0).normal(size=(300, 6)) @ np.random.RandomState(1).normal(size=(6, 6))
    model = VAETransformer(2, prior="mixture", hidden_layer_sizes=(), random_state=0).fit(X)
    assert model.module_.prior is None
    np.testing.assert_allclose(model.score_samples(X), model.pca_.score_samples(X), rtol=1e-8)


# -- user-defined priors --------------------------------------------------------------


class FittedDiagonal(FittedPrior):
    """Independent normal components, with only the required methods."""

    def __init__(self, mean, std):
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("std", torch.from_numpy(std))

    def log_prob(self, z):
        return torch.distributions.Normal(self.mean, self.std).log_prob(z).sum(-1)

    def draw(self, n, rng):
        return self.mean.numpy() + self.std.numpy() * rng.standard_normal((n, len(self.mean)))


class Diagonal(Prior):
    def fit(self, codes, validation_codes, all_codes):
        return FittedDiagonal(all_codes.mean(0), all_codes.std(0))


def test_a_user_defined_prior_is_used_by_scores_and_samples(grouped):
    params = {"hidden_layer_sizes": (16,), "max_iter": 15, "early_stopping": False, "random_state": 0}
    X = grouped[:200]
    model = VAETransformer(2, prior=Diagonal(), **params).fit(X)
    prior = model.module_.prior
    assert type(prior) is FittedDiagonal
    z = prior.draw(30_000, np.random.RandomState(0))
    log_p = norm.logpdf(X[:20, None], model.inverse_transform(z), np.sqrt(model.noise_variance_)).sum(2)
    naive = logsumexp(log_p, axis=1) - np.log(len(z))
    accurate = np.exp(2 * logsumexp(log_p, axis=1) - logsumexp(2 * log_p, axis=1)) > 200
    assert accurate.sum() > 10
    assert np.abs(model.score_samples(X[:20]) - naive)[accurate].max() < 0.3
    codes = model.sample(4000, random_state=0, return_codes=True)[1]
    np.testing.assert_allclose(codes.mean(0), prior.mean, atol=0.1)


def test_default_derivatives_of_a_prior():
    z = torch.randn(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradient, curvature = FittedDiagonal(np.array([1.0, 0.0]), np.array([0.5, 2.0])).derivatives(z)
    torch.testing.assert_close(gradient, (z - torch.tensor([1.0, 0.0])) / torch.tensor([0.25, 4.0]))
    torch.testing.assert_close(curvature, torch.eye(2).double().expand(20, 2, 2))
