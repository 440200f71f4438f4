"""Losses: closed forms, links, information, the effect of each on data, and user-defined losses."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch.distributions import Bernoulli, Poisson

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.losses import LOSSES, CallableLoss, Huber, Loss, SquaredError

ETA = torch.tensor([[-3.0, -0.4, 0.0, 0.3], [0.9, 1.0, 2.0, 4.0]], dtype=torch.float64)
REAL = torch.tensor([[-3.0, 0.6, 1.0, -1.5], [7.0, 0.1, 2.5, 3.2]], dtype=torch.float64)
BINARY = torch.tensor([[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
COUNTS = torch.tensor([[0.0, 1.0, 2.0, 3.0], [5.0, 0.0, 9.0, 60.0]], dtype=torch.float64)


def huber_by_hand(eta, x, delta=1.0):
    r = (eta - x).abs()
    return torch.where(r <= delta, r**2 / 2, delta * (r - delta / 2))


# targets, and the loss of each entry in closed form
ORACLES = {
    "squared_error": (REAL, lambda eta, x: (eta - x) ** 2),
    "absolute_error": (REAL, lambda eta, x: (eta - x).abs()),
    "huber": (REAL, huber_by_hand),
    "binary_cross_entropy": (BINARY, lambda eta, x: -Bernoulli(logits=eta).log_prob(x)),
    "poisson": (COUNTS, lambda eta, x: -Poisson(eta.exp()).log_prob(x)),  # up to a function of x
}
# distribution of x given eta, its support (up to a negligible tail), means that the link must invert
DISCRETE = {
    "binary_cross_entropy": (lambda eta: Bernoulli(logits=eta), torch.arange(2.0), [0.02, 0.3, 0.5, 0.98]),
    "poisson": (lambda eta: Poisson(eta.exp()), torch.arange(200.0), [0.06, 1.0, 3.5, 1e4]),
}


@pytest.mark.parametrize("name", LOSSES)
class TestEveryLoss:
    def test_equals_its_closed_form(self, name):
        loss, (x, oracle) = LOSSES[name](), ORACLES[name]
        start = torch.full_like(ETA, 0.7)
        torch.testing.assert_close(loss(ETA, x) - loss(start, x), oracle(ETA, x) - oracle(start, x))
        if name != "poisson":
            torch.testing.assert_close(loss(ETA, x), oracle(ETA, x))

    def test_mean_is_that_of_the_entries(self, name):
        loss, (x, _) = LOSSES[name](), ORACLES[name]
        torch.testing.assert_close(loss.mean(ETA, x), loss(ETA, x).mean())

    def test_gradient_is_that_of_the_closed_form(self, name):
        x, oracle = ORACLES[name]
        eta = (ETA + 0.01).requires_grad_()  # off the kink of the absolute error
        ours, theirs = (torch.autograd.grad(f(eta, x).sum(), eta)[0] for f in (LOSSES[name](), oracle))
        torch.testing.assert_close(ours, theirs)

    def test_inverse_link_undoes_the_link(self, name):
        loss = LOSSES[name]()
        means = torch.tensor(DISCRETE[name][2] if name in DISCRETE else [-5.0, 0.0, 3.0]).double()
        torch.testing.assert_close(loss.inverse_link(loss.link(means)), means)

    def test_link_of_means_outside_the_range_is_finite(self, name):
        loss = LOSSES[name]()
        eta = loss.link(torch.tensor([-1e3, 0.0, 1.0, 1e3]).double())
        assert torch.isfinite(eta).all()
        assert (eta.diff() >= 0).all()

    def test_only_losses_of_discrete_data_are_discrete(self, name):
        assert LOSSES[name]().discrete == (name in DISCRETE)


def test_huber_with_another_delta():
    torch.testing.assert_close(Huber(delta=2.5)(ETA, REAL), huber_by_hand(ETA, REAL, 2.5))


def test_binary_cross_entropy_of_grey_values():
    p, x = torch.sigmoid(ETA), torch.full_like(ETA, 0.3)
    entries = LOSSES["binary_cross_entropy"]()(ETA, x)
    torch.testing.assert_close(entries, -(x * p.log() + (1 - x) * (1 - p).log()))


@pytest.mark.parametrize("name", DISCRETE)
class TestDiscrete:
    def test_log_prob_has_all_its_constants(self, name):
        distribution, x = DISCRETE[name][0](ETA), ORACLES[name][0]
        torch.testing.assert_close(LOSSES[name]().log_prob(ETA, x), distribution.log_prob(x))

    def test_probabilities_sum_to_one_and_give_the_mean(self, name):
        loss, support = LOSSES[name](), DISCRETE[name][1].double()
        for eta in ETA.ravel():
            p = loss.log_prob(eta.expand_as(support), support).exp()
            assert p.sum() == pytest.approx(1, abs=1e-9)
            assert (p * support).sum() == pytest.approx(float(loss.inverse_link(eta)), rel=1e-6)

    def test_information_is_the_expected_squared_slope(self, name):
        loss, support = LOSSES[name](), DISCRETE[name][1].double()
        for value in ETA.ravel():
            eta = value.expand_as(support).clone().requires_grad_()
            log_p = loss.log_prob(eta, support)
            (slope,) = torch.autograd.grad(log_p.sum(), eta)
            expected = (log_p.exp() * slope**2).sum().detach()
            torch.testing.assert_close(loss.information(value, support[0]), expected, rtol=1e-6, atol=1e-9)

    def test_closed_forms_for_scoring_are_the_derivatives_by_autograd(self, name):
        loss, x = LOSSES[name](), ORACLES[name][0]
        torch.testing.assert_close(loss.slope(ETA, x), Loss.slope(loss, ETA, x))
        torch.testing.assert_close(loss.information(ETA, x), Loss.information(loss, ETA, x))
        difference = loss.pairwise_misfit(ETA, x) - Loss.pairwise_misfit(loss, ETA, x)
        torch.testing.assert_close(difference, difference[:, :1].expand_as(difference))


@pytest.mark.parametrize(
    ("loss", "bad", "message"),
    [
        ("binary_cross_entropy", 1.5, r"\[0, 1\].*0 to 1\.5.*MinMaxScaler"),
        ("binary_cross_entropy", -0.25, r"\[0, 1\].*-0\.25 to 1\b"),
        ("poisson", -2.0, r"X >= 0.*-2\b.*squared_error"),
    ],
)
def test_invalid_data_are_refused(loss, bad, message):
    X = np.random.RandomState(0).randint(0, 2, size=(50, 4)).astype(float)
    LOSSES[loss]().check(X)
    X[3, 2] = bad
    model = AutoencoderTransformer(2, loss=loss, max_iter=1)
    for fit in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=message):
            fit(X)
    assert not hasattr(model, "module_")


def fit(X, loss, n_components=2, **params):
    params = {"hidden_layer_sizes": (64,), "max_iter": 40, "random_state": 0, **params}
    return AutoencoderTransformer(n_components, loss=loss, **params).fit(X)


def test_binary_cross_entropy_beats_its_start_at_pca(digits_split):
    train, test = (X / 16 for X in digits_split)

    def cross_entropy(mean):
        return -(test * np.log(mean) + (1 - test) * np.log1p(-mean)).sum(1).mean()

    model = fit(train, "binary_cross_entropy", 8)
    X_hat = model.inverse_transform(model.transform(test))
    assert ((X_hat > 0) & (X_hat < 1)).all()
    pca = PCA(8).fit(train)
    start = np.clip(pca.inverse_transform(pca.transform(test)), 0.01, 0.99)
    assert cross_entropy(X_hat) < 0.95 * cross_entropy(start)


@pytest.fixture(scope="module")
def counts():
    """Poisson samples whose log rates are linear in two latent variables."""
    rng = np.random.RandomState(0)
    rates = np.exp(rng.normal(size=(800, 2)) @ rng.normal(size=(2, 12)) * 0.8 + 2)
    return rng.poisson(rates).astype(float)


def test_poisson_beats_clipped_pca_in_deviance(counts):
    train, test = counts[:600], counts[600:]

    def deviance(mean):
        ratio = np.where(test > 0, test, 1) / mean
        return 2 * (test * np.log(ratio) - test + mean).sum(1).mean()

    model, pca = fit(train, "poisson"), PCA(2).fit(train)
    X_hat = model.inverse_transform(model.transform(test))
    assert (X_hat > 0).all()
    assert model.uses_network_
    linear = pca.inverse_transform(pca.transform(test))
    assert deviance(X_hat) < 0.7 * min(deviance(np.maximum(linear, clip)) for clip in (0.01, 0.1, 0.3, 1.0))


@pytest.fixture(scope="module")
def outlying():
    """Samples near a curved surface, with three percent of outlying entries."""
    rng = np.random.RandomState(0)
    t = rng.uniform(-1, 1, size=(800, 2))
    clean = np.tanh(t @ rng.normal(size=(2, 12)) * 1.5) + 0.02 * rng.normal(size=(800, 12))
    dirty = np.where(rng.uniform(size=clean.shape) < 0.03, rng.choice([-8, 8], clean.shape), clean)
    return clean, dirty, fit(dirty, "squared_error")


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["absolute_error", Huber(delta=0.2)], ids=str)
def test_robust_losses_stay_closer_to_the_clean_data(loss, outlying):
    clean, dirty, squared = outlying
    robust = fit(dirty, loss)
    assert robust.uses_network_

    def error(model, X):
        return np.abs(model.inverse_transform(model.transform(X)) - clean).mean()

    for X in (clean, dirty):
        assert error(robust, X) < 0.9 * error(squared, X)


# -- user-defined losses ------------------------------------------------------------


class LogCosh(Loss):
    """Loss with only the required method."""

    def __call__(self, eta, x):
        return torch.log(torch.cosh(eta - x))


def log_cosh(eta, x):
    return torch.log(torch.cosh(eta - x))


@pytest.mark.parametrize("loss", [LogCosh(), CallableLoss(log_cosh)], ids=["class", "function"])
def test_user_defined_losses_train_and_score(loss, outlying):
    X = outlying[0][:200]
    model = fit(X, loss, max_iter=15, early_stopping=False)
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert np.isfinite(model.score_samples(X[:20])).all()
    torch.testing.assert_close(loss.mean(ETA, REAL), log_cosh(ETA, REAL).mean())


def test_a_function_is_the_loss_that_it_computes(outlying):
    """Bit for bit, except that the built-in loss averages in one fused operation."""
    X = outlying[0][:200]
    params = {"max_iter": 2, "early_stopping": False}
    mine = fit(X, CallableLoss(lambda eta, x: (eta - x) ** 2), **params)
    np.testing.assert_allclose(
        mine.loss_curve_[0], fit(X, SquaredError(), **params).loss_curve_[0], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("function", "got"),
    [
        (lambda eta, x: (eta - x).square().sum(1), r"shape \(2,\)"),
        (lambda eta, x: (eta - x).square().mean(), r"shape \(\)"),
        (lambda eta, x: 0.0, "float"),
    ],
)
def test_a_function_must_return_a_loss_per_entry(function, got):
    with pytest.raises(ValueError, match=rf"passed as loss must return .* shape \(2, 4\); got {got}"):
        CallableLoss(function)(ETA, REAL)


@pytest.mark.parametrize("name", LOSSES)
def test_required_methods_are_defined(name):
    for method in Loss._required:
        assert getattr(LOSSES[name], method) is not getattr(Loss, method)


def in_place(eta, x):
    return x.sub_(eta).square()


@pytest.mark.parametrize("batch_size", [100, 600], ids=str)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_losses_may_work_in_place(batch_size, curve):
    params = {"hidden_layer_sizes": (8,), "max_iter": 3, "early_stopping": False, "random_state": 0}
    ours, expected = (
        AutoencoderTransformer(2, loss=loss, batch_size=batch_size, **params).fit(curve)
        for loss in (in_place, lambda eta, x: (x - eta).square())
    )
    np.testing.assert_array_equal(ours.transform(curve), expected.transform(curve))
