"""Penalties: closed forms, exact Jacobians, and effects on fitted models."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import Generator, nn
from torch.distributions import Bernoulli, kl_divergence

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.bottlenecks import Identity, ThresholdedReLU, TopK
from sklearn_ae.penalties import L1, PENALTIES, Contractive, KLSparsity, Sum

# few epochs suffice for the properties tested here
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")


def generator(seed=0):
    return Generator().manual_seed(seed)


def fit(X, n_components, **params):
    params = {"hidden_layer_sizes": (32,), "max_iter": 10, "random_state": 0, **params}
    return AutoencoderTransformer(n_components, **params).fit(X)


class Pair:
    """Nonlinear encoder of 6 features, with its activations and codes."""

    def __init__(self, k, bottleneck=None):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.encoder = nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, k)).double()
            x = torch.randn(7, 6).double()
        self.bottleneck = bottleneck or Identity()
        self.x = x.requires_grad_()
        self.a = self.encoder(self.x)
        self.z = self.bottleneck(self.a)

    def penalty(self, penalty, seed=0):
        return penalty(self.x, self.a, self.z, generator(seed))

    def squared_jacobian(self):
        """Return the exact squared Frobenius norm of each sample's Jacobian, by autograd."""

        def code(sample):
            return self.bottleneck(self.encoder(sample[None]))[0]

        return torch.func.vmap(torch.func.jacrev(code))(self.x).square().sum((1, 2))


# -- closed forms -------------------------------------------------------------------


def kl_by_torch(pair, target=0.2, temperature=0.1):
    rate = torch.sigmoid(pair.a / temperature).mean(0)
    return kl_divergence(Bernoulli(torch.full_like(rate, target)), Bernoulli(rate)).sum().expand(7)


# each penalty of weight 1 on a code of five components
ORACLES = {
    "l1": (L1(1.0), lambda pair: torch.linalg.vector_norm(pair.z, ord=1, dim=1)),
    "kl_sparsity": (KLSparsity(1.0, target=0.2), kl_by_torch),
    "contractive": (Contractive(1.0), Pair.squared_jacobian),
}


@pytest.mark.parametrize("name", PENALTIES)
class TestEveryPenalty:
    @pytest.mark.parametrize("bottleneck", [Identity(), ThresholdedReLU(0.1)], ids=str)
    def test_equals_its_closed_form(self, name, bottleneck):
        penalty, oracle = ORACLES[name]
        pair = Pair(5, bottleneck)
        torch.testing.assert_close(pair.penalty(penalty), oracle(pair), rtol=1e-6, atol=1e-9)

    def test_gradient_is_that_of_the_closed_form(self, name):
        penalty, oracle = ORACLES[name]
        pair = Pair(5)
        weights = list(pair.encoder.parameters())[:3]
        ours = torch.autograd.grad(pair.penalty(penalty).sum(), weights, retain_graph=True)
        theirs = torch.autograd.grad(oracle(pair).sum(), weights)
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)

    def test_grows_in_proportion_to_its_weight(self, name):
        penalty, pair = ORACLES[name][0], Pair(5)
        double = clone(penalty).set_params(weight=2.5)
        torch.testing.assert_close(pair.penalty(double), 2.5 * pair.penalty(penalty))

    @pytest.mark.parametrize("k", [2, 12])
    def test_weight_zero_is_no_penalty_bit_for_bit(self, name, k, digits):
        X = digits[:300]
        params = {"max_iter": 3, "bottleneck": "ordered", "early_stopping": False}
        without = fit(X, k, **params)
        silent = fit(X, k, penalty=PENALTIES[name](weight=0), **params)
        assert silent.loss_curve_ == without.loss_curve_
        np.testing.assert_array_equal(silent.transform(X), without.transform(X))

    def test_is_smaller_after_training_with_it(self, name, digits_split):
        train, test = digits_split
        models = fit(train, 4), fit(train, 4, penalty=PENALTIES[name](weight=30))
        values = []
        for model in models:
            module = model.net_.module_
            x = torch.from_numpy((test - model.mean_) / model.scale_).float().requires_grad_()
            a = module.encoder(x)
            penalty = PENALTIES[name](weight=1)(x, a, module.bottleneck(a), generator())
            values.append(float(penalty.detach().mean()))
        assert values[1] < 0.7 * values[0]


class TestContractive:
    @pytest.mark.parametrize(("k", "n_probes"), [(1, 8), (8, 8), (3, 50)])
    def test_is_exact_for_narrow_codes(self, k, n_probes):
        pair = Pair(k, TopK(2))
        torch.testing.assert_close(
            pair.penalty(Contractive(0.3, n_probes), seed=k), 0.3 * pair.squared_jacobian()
        )

    @pytest.mark.parametrize("n_probes", [1, 4])
    def test_is_unbiased_for_wide_codes(self, n_probes):
        pair = Pair(9)
        n = 500
        draws = torch.stack([pair.penalty(Contractive(1.0, n_probes), seed).detach() for seed in range(n)])
        error = (draws.mean(0) - pair.squared_jacobian()) / (draws.std(0) / n**0.5)
        assert error.abs().max() < 4
        assert (draws.std(0) > 0).all()

    def test_more_probes_estimate_better(self):
        pair = Pair(9)

        def spread(n_probes):
            draws = [pair.penalty(Contractive(1.0, n_probes), seed).detach() for seed in range(100)]
            return torch.stack(draws).std(0).mean()

        assert spread(8) < 0.5 * spread(1)

    @pytest.mark.slow
    def test_fitted_model_is_smoother(self, digits_split):
        """The norm of the Jacobian is divided by the variance of the codes: their scale is irrelevant."""
        train, test = digits_split

        def roughness(penalty):
            model = fit(train, 4, init="random", penalty=penalty, max_iter=30)
            module = model.module_
            x = torch.from_numpy((test - model.mean_) / model.scale_)
            jacobians = torch.func.vmap(torch.func.jacrev(lambda s: module.encode(s[None])[0]))(x)
            return float(jacobians.square().sum((1, 2)).mean() / module.encode(x).var(0).sum())

        assert roughness(Contractive(1.0)) < 0.8 * roughness(None)


class TestSum:
    def test_adds_its_terms(self):
        pair = Pair(5)
        terms = Contractive(0.1), L1(0.01), KLSparsity(2.0)
        total = pair.penalty(terms[0] + terms[1] + terms[2])
        torch.testing.assert_close(total, sum(pair.penalty(term) for term in terms))

    def test_has_the_properties_of_its_terms(self):
        for first in PENALTIES.values():
            for second in PENALTIES.values():
                both = first() + second()
                assert both.needs_input_grad == (first.needs_input_grad or second.needs_input_grad)
                assert both.rotation_invariant

    def test_is_trained_and_tuned_like_a_single_penalty(self, digits):
        X = digits[:300]
        both = fit(X, 4, max_iter=3, penalty=L1(0.5) + Contractive(0.0))
        single = fit(X, 4, max_iter=3, penalty=L1(0.5))
        assert both.loss_curve_ == single.loss_curve_
        retuned = clone(both).set_params(penalty__first__weight=5.0).fit(X)
        assert isinstance(retuned.penalty_, Sum)
        assert retuned.penalty_.first.weight == 5.0
        assert retuned.loss_curve_[0] > both.loss_curve_[0]


def test_penalty_of_a_rate_at_its_target_is_zero():
    a = torch.tensor([[1.0, -1.0]]).repeat(4, 1) * torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    cost = KLSparsity(1.0, target=0.5, temperature=0.01)(a, a, a, None)
    torch.testing.assert_close(cost, torch.zeros(4), atol=1e-9, rtol=0)


def test_dead_and_saturated_components_have_finite_penalties():
    a = torch.tensor([[-1e6, 1e6]]).repeat(4, 1).requires_grad_()
    cost = KLSparsity(1.0)(a, a, a, None)
    assert torch.isfinite(cost).all()
    assert torch.isfinite(torch.autograd.grad(cost.sum(), a)[0]).all()


# -- overcomplete codes -------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "constraint",
    [
        {"penalty": "l1"},
        {"penalty": "kl_sparsity"},
        {"bottleneck": TopK(2)},
        {"bottleneck": "relu"},
        {"corruption": "gaussian"},
    ],
    ids=str,
)
def test_overcomplete_models_train(constraint, curve):
    model = fit(curve, 12, max_iter=60, early_stopping=False, **constraint)
    assert model.transform(curve).shape == (len(curve), 12)
    assert model.loss_curve_[-1] < 0.7 * model.loss_curve_[0]
    X_hat = model.inverse_transform(model.transform(curve))
    assert np.square(X_hat - curve).sum() < 0.3 * np.square(curve - curve.mean(0)).sum()


def test_overcomplete_models_need_a_constraint(curve):
    for bottleneck in ("identity", "ordered"):
        with pytest.raises(ValueError, match=r"(?s)n_components=12.*overcomplete.*penalty='l1'"):
            fit(curve, 12, bottleneck=bottleneck)
