"""Bottlenecks: exact zeros, nested dropout, Gaussian sampling, and codes of fitted models."""

import numpy as np
import pytest
import torch
from torch import Generator

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.bottlenecks import (
    BOTTLENECKS,
    LOG_VARIANCE_BOUNDS,
    GaussianSampling,
    Ordered,
    ThresholdedReLU,
    TopK,
    split_posterior,
)
from sklearn_ae.penalties import L1, KLSparsity

# few epochs suffice for the properties tested here
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")


def generator(seed=0):
    return Generator().manual_seed(seed)


def activations(n=500, k=8):
    return torch.randn((n, k), generator=generator(7))


def fit(X, n_components, X_val=None, **params):
    params = {"hidden_layer_sizes": (64,), "max_iter": 40, "random_state": 0, **params}
    return AutoencoderTransformer(n_components, **params).fit(X, X_val=X_val)


# -- as functions -------------------------------------------------------------------


@pytest.mark.parametrize("name", BOTTLENECKS)
class TestEveryBottleneck:
    def test_is_deterministic_and_independent_of_the_batch_without_a_generator(self, name, unchanged_globals):
        bottleneck, a = BOTTLENECKS[name](), activations()
        z = bottleneck(a)
        assert torch.equal(z, bottleneck(a))
        assert torch.equal(z[7:9], bottleneck(a[7:9]))

    def test_every_code_is_its_activation_or_exactly_zero(self, name, unchanged_globals):
        bottleneck, a = BOTTLENECKS[name](), activations()
        for source in (None, generator()):
            z = bottleneck(a, source)
            assert ((z == a) | (z == 0)).all()

    def test_gradient_flows_through_kept_components_only(self, name):
        a = activations().requires_grad_()
        z = BOTTLENECKS[name]()(a, generator())
        (gradient,) = torch.autograd.grad(z.sum(), a)
        assert torch.equal(gradient, (z != 0).float())


@pytest.mark.parametrize("n_active", [1, 3, 8, 50])
def test_topk_keeps_exactly_the_largest_magnitudes(n_active):
    a = activations()
    z = TopK(n_active)(a)
    kept = z != 0
    assert (kept.sum(1) == min(n_active, 8)).all()
    smallest = torch.where(kept, a.abs(), torch.inf).amin(1)
    largest_dropped = torch.where(kept, 0.0, a.abs()).amax(1)
    assert (smallest >= largest_dropped).all()


@pytest.mark.parametrize("n_active", [1, 3, 8, 50])
def test_topk_keeps_the_same_number_with_ties(n_active):
    a = torch.tensor([[2.0, -2.0, 2.0, -2.0, 2.0, 2.0, -2.0, 2.0], [1.0, 1, 1, 3, -3, 1, -1, 1]])
    assert ((TopK(n_active)(a) != 0).sum(1) == min(n_active, 8)).all()


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_thresholded_relu_zeroes_activations_up_to_the_threshold(threshold):
    a = torch.tensor([[-2.0, -threshold, 0.0, threshold, threshold + 1e-6, 3.0]])
    expected = torch.tensor([[0.0, 0.0, 0.0, 0.0, threshold + 1e-6, 3.0]])
    assert torch.equal(ThresholdedReLU(threshold)(a), expected)


class TestNestedDropout:
    @pytest.mark.parametrize("full_rate", [0.0, 0.5, 0.9])
    @pytest.mark.parametrize("k", [2, 5])
    def test_sizes_have_the_expected_frequencies_in_each_batch(self, full_rate, k):
        a = torch.ones(1000, k)
        z = Ordered(full_rate)(a, generator())
        n_kept = z.sum(1).long()
        expected = np.full(k, 1000 * (1 - full_rate) / k)
        expected[-1] += 1000 * full_rate
        np.testing.assert_allclose(np.bincount(n_kept, minlength=k + 1)[1:], expected, atol=2)

    def test_components_are_dropped_from_the_end(self):
        z = Ordered(0.1)(torch.ones(500, 6), generator())
        assert (z[:, :-1] >= z[:, 1:]).all()
        assert (z[:, 0] == 1).all()

    def test_each_sample_has_random_sizes(self):
        """Sizes are stratified within a batch, but random for a single sample."""
        running, ones = generator(), torch.ones(20, 4)
        first = torch.stack([Ordered(0.2)(ones, running)[0] for _ in range(4000)]).sum(1).long()
        expected = np.array([0.2, 0.2, 0.2, 0.4])
        found = np.bincount(first, minlength=5)[1:] / 4000
        np.testing.assert_allclose(found, expected, atol=5 * np.sqrt(0.25 / 4000))

    def test_nothing_is_dropped_in_evaluation(self):
        a = activations()
        assert torch.equal(Ordered(0.0)(a), a)


class TestGaussianSampling:
    def test_is_the_mean_without_a_generator(self, unchanged_globals):
        a = activations(k=6)
        assert torch.equal(GaussianSampling()(a), a[:, :3])
        assert torch.equal(GaussianSampling(n_samples=5)(a), a[:, :3])
        assert torch.equal(GaussianSampling().evaluate(a, None), a[:, :3])

    @pytest.mark.parametrize("n_samples", [1, 3])
    def test_draws_are_normal_around_the_mean(self, n_samples, unchanged_globals):
        a = torch.tensor([[1.0, -2.0, 0.0, -3.0]]).repeat(20_000, 1)
        z = GaussianSampling(n_samples)(a, generator())
        assert torch.equal(z, GaussianSampling(n_samples)(a, generator()))
        assert z.shape == (20_000 * n_samples, 2)
        unit = (z - torch.tensor([1.0, -2.0])) / torch.tensor([1.0, np.exp(-1.5)])
        assert unit.mean(0).abs().max() < 4 / len(z) ** 0.5
        np.testing.assert_allclose(np.cov(unit.T), np.eye(2), atol=0.05)

    def test_draws_of_all_samples_are_stacked(self):
        a = activations(n=7, k=6)
        a[:, 3:] = -40.0  # so that a draw is nearly the mean
        z = GaussianSampling(n_samples=4)(a, generator()).view(4, 7, 3)
        torch.testing.assert_close(z, a[:, :3].expand(4, 7, 3), atol=1e-4, rtol=0)
        assert len({float(value) for value in z[:, 0, 0]}) > 1

    def test_validation_uses_more_draws_for_the_elbo_but_not_for_tighter_bounds(self):
        a = activations(n=5, k=6)
        assert len(GaussianSampling().evaluate(a, generator())) == 8 * 5
        assert len(GaussianSampling(n_samples=3).evaluate(a, generator())) == 3 * 5

    def test_gradient_is_that_of_mean_and_deviation(self):
        """dz/dmu = 1 and dz/dlog_var = (z - mu) / 2."""
        a = activations(k=6).requires_grad_()
        z = GaussianSampling()(a, generator())
        (gradient,) = torch.autograd.grad(z.sum(), a)
        torch.testing.assert_close(gradient[:, :3], torch.ones(500, 3))
        torch.testing.assert_close(gradient[:, 3:], 0.5 * (z - a[:, :3]).detach())

    def test_log_variances_are_bounded(self):
        low, high = LOG_VARIANCE_BOUNDS
        mu, log_var = split_posterior(torch.tensor([[0.0, 1e9, 5.0, -1e9, 1e9, 0.5]]))
        assert torch.equal(mu, torch.tensor([[0.0, 1e9, 5.0]]))
        assert torch.equal(log_var, torch.tensor([[low, high, 0.5]]))
        wild = 1e30 * activations(k=6)
        wild[:, :3] = 0.0
        assert GaussianSampling()(wild, generator()).isfinite().all()
        assert 1 + np.exp(0.5 * np.float32(low)) > 1  # in float32, 1 plus the smallest deviation is not 1


# -- ordered codes ------------------------------------------------------------------


@pytest.fixture(scope="module")
def ordered(digits_split):
    train, test = digits_split
    return fit(train, 8, X_val=test, bottleneck="ordered")


class TestOrderedModel:
    def test_beats_pca(self, ordered, digits_split):
        assert ordered.uses_network_
        pca = AutoencoderTransformer(8, hidden_layer_sizes=()).fit(digits_split[0])
        test = digits_split[1]
        assert ordered.reconstruction_error(test).mean() < 0.9 * pca.reconstruction_error(test).mean()

    def test_every_component_explains_variance_and_later_ones_less(self, ordered):
        ratio = ordered.explained_variance_ratio_
        assert (ratio > 0).all()
        assert (ratio[:-1] > 0.8 * ratio[1:]).all()
        assert (ratio[:-3] > ratio[3:]).all()

    def test_earlier_components_reduce_the_error_more(self, ordered, digits_split):
        """The error increases most if an early component is replaced by its mean."""
        test = digits_split[1]
        Z, losses = ordered.transform(test), []
        for j in range(8):
            cut = np.where(np.arange(8) == j, Z.mean(0), Z)
            losses.append(np.square(ordered.inverse_transform(cut) - test).sum(1).mean())
        increase = np.array(losses) - ordered.reconstruction_error(test).mean()
        assert (increase[:-1] > 0.85 * increase[1:]).all()
        assert (increase[:-2] > increase[2:]).all()

    def test_shares_are_those_of_the_validation_samples(self, ordered, digits_split):
        train, test = digits_split
        total = np.square(test - train.mean(0)).sum(1).mean()
        shares = [1 - ordered.truncate(k).reconstruction_error(test).mean() / total for k in range(1, 9)]
        np.testing.assert_allclose(np.cumsum(ordered.explained_variance_ratio_), shares, rtol=1e-6)

    def test_truncated_codes_are_the_first_components(self, ordered, digits_split):
        Z = ordered.transform(digits_split[1])
        for k in (1, 3, 8):
            short = ordered.truncate(k)
            assert short.n_components_ == k
            np.testing.assert_array_equal(short.transform(digits_split[1]), Z[:, :k])
            np.testing.assert_array_equal(
                short.inverse_transform(Z[:, :k]),
                ordered.inverse_transform(np.pad(Z[:, :k], ((0, 0), (0, 8 - k)))),
            )
        assert ordered.n_components_ == 8

    def test_error_falls_with_the_size(self, ordered, digits_split):
        errors = [ordered.truncate(k).reconstruction_error(digits_split[1]).mean() for k in range(1, 9)]
        assert (np.diff(errors) < 0).all()

    def test_truncation_costs_less_than_without_order(self, ordered, digits_split):
        """Replacing the last components of unordered codes by their means is much worse."""
        train, test = digits_split
        plain = fit(train, 8, X_val=test, init="random")
        Z = plain.transform(test)
        Z[:, 4:] = Z[:, 4:].mean(0)
        cut = np.square(plain.inverse_transform(Z) - test).sum(1).mean()
        assert ordered.truncate(4).reconstruction_error(test).mean() < 0.8 * cut

    def test_sizes_out_of_range_are_refused(self, ordered):
        for k in (0, 9, 2.0, "2"):
            with pytest.raises(ValueError, match=r"between 1 and n_components_=8"):
                ordered.truncate(k)


@pytest.mark.parametrize("share", [0.6, 0.8])
def test_a_share_picks_the_smallest_size_that_explains_it(share, digits_split):
    train, test = digits_split
    model = fit(train, share, X_val=test, bottleneck="ordered")
    reached = np.cumsum(model.explained_variance_ratio_)
    assert reached[-1] >= share > reached[-2]
    total = np.square(test - train.mean(0)).sum(1).mean()
    assert model.reconstruction_error(test).mean() <= (1 - share) * total
    assert model.transform(test).shape[1] == model.n_components_ == len(reached)
    linear = AutoencoderTransformer(share, hidden_layer_sizes=()).fit(train)
    assert model.n_components_ < linear.n_components_


@pytest.mark.parametrize("name", [name for name in BOTTLENECKS if name != "ordered"])
def test_codes_without_order_are_not_truncated(name, curve):
    model = fit(curve, 2, bottleneck=name, max_iter=2, early_stopping=False)
    with pytest.raises(AttributeError, match="bottleneck='ordered'"):
        model.truncate(1)
    with pytest.raises(ValueError, match="bottleneck='ordered'"):
        fit(curve, 0.9, bottleneck=name)


# -- sparse codes -------------------------------------------------------------------


def share_of_zeros(model, X):
    return (model.transform(X) == 0).mean()


def test_topk_codes_have_exactly_n_active_nonzeros(digits_split):
    train, test = digits_split
    model = fit(train, 32, bottleneck=TopK(5), max_iter=10)
    assert ((model.transform(test) != 0).sum(1) == 5).all()
    # training improves on the five largest components of PCA
    start = fit(train, 32, bottleneck=TopK(5), max_iter=1, early_stopping=False, learning_rate_init=1e-9)
    assert model.uses_network_
    assert model.reconstruction_error(test).mean() < 0.9 * start.reconstruction_error(test).mean()


@pytest.mark.slow
def test_zeros_of_rectified_codes_grow_with_the_l1_weight(digits_split):
    train, test = digits_split
    models = [fit(train, 32, bottleneck="relu", penalty=L1(w), max_iter=20) for w in (0, 0.3, 3)]
    shares = [share_of_zeros(model, test) for model in models]
    errors = [model.reconstruction_error(test).mean() for model in models]
    assert shares[0] + 0.05 < shares[1] < shares[2] - 0.05
    assert errors[0] < errors[1] < errors[2]
    assert all((model.transform(test) >= 0).all() for model in models)


@pytest.mark.slow
@pytest.mark.parametrize("target", [0.05, 0.2])
def test_kl_sparsity_reaches_the_target_rate(target, digits_split):
    train, test = digits_split
    rates = []
    for weight in (3, 100):
        model = fit(train, 32, bottleneck="relu", penalty=KLSparsity(weight, target=target))
        assert model.uses_network_
        rates.append(1 - share_of_zeros(model, test))
    assert rates[1] == pytest.approx(target, abs=0.03)
    assert abs(rates[1] - target) < abs(rates[0] - target)


def test_codes_under_the_threshold_are_exactly_zero(digits_split):
    train, test = digits_split
    model = fit(train, 16, bottleneck=ThresholdedReLU(0.4), max_iter=10)
    Z = model.transform(test) / model.scale_
    assert 0.05 < (Z == 0).mean() < 0.95
    assert Z[Z != 0].min() > 0.4
