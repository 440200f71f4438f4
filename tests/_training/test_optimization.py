"""Optimisation: automatic sizes, AdamW, averaged weights and the best epoch."""

import copy
import pickle
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_ae import AutoencoderTransformer, VAETransformer
from sklearn_ae._training.optimization import (
    LONG,
    SHORT,
    BestEpoch,
    FusedAdamW,
    OnlineAverage,
    StopTraining,
    WeightAverage,
    batch_size_and_epochs,
)

pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")


# -- automatic sizes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_samples", "init", "size", "epochs"),
    [
        (50, "pca", 50, 100),
        (1_000, "pca", 64, 100),
        (1_001, "pca", 128, 100),
        (20_000, "pca", 128, 12),  # 1,800 steps of 157 batches
        (20_001, "pca", 256, 31),  # 2,400 steps of 79 batches
        (10**7, "pca", 256, 1),
        (1_000, "random", 64, 113),
        (50, "random", 50, 1_800),
    ],
)
def test_automatic_batch_size_and_number_of_epochs(n_samples, init, size, epochs):
    assert batch_size_and_epochs("auto", "auto", (n_samples, 9), init, SHORT) == (size, epochs)
    assert batch_size_and_epochs(32, 7, (n_samples, 9), init, SHORT) == (32, 7)


def test_only_few_features_allow_more_steps_on_large_data():
    assert batch_size_and_epochs("auto", "auto", (20_001, 101), "pca", SHORT) == (256, 23)
    assert batch_size_and_epochs("auto", "auto", (20_001, 9), "pca", LONG) == (256, 51)


def test_batches_are_no_larger_than_the_data():
    assert batch_size_and_epochs(64, 3, (10, 2), "pca", SHORT) == (10, 3)


def test_a_config_is_resolved_into_a_new_one():
    config = AutoencoderTransformer()._training_config()
    resolved = config.resolved((500, 9), "pca")
    assert (config.batch_size, config.max_iter) == ("auto", "auto")
    assert (resolved.batch_size, resolved.max_iter) == (64, 100)
    assert resolved.alpha == config.alpha


@pytest.mark.parametrize(
    ("estimator", "n_samples", "epochs", "betas"),
    [
        (AutoencoderTransformer, 500, 100, (0.9, 0.95)),
        (AutoencoderTransformer, 15_000, 16, (0.9, 0.95)),  # 118 batches
        (VAETransformer, 500, 150, (0.9, 0.999)),
        (VAETransformer, 15_000, 34, (0.9, 0.999)),
    ],
)
def test_a_variational_autoencoder_has_more_steps_and_longer_averages(estimator, n_samples, epochs, betas):
    assert estimator()._training_config().resolved((n_samples, 9), "pca").max_iter == epochs
    X = np.random.RandomState(0).normal(size=(99, 3))
    model = estimator(1, hidden_layer_sizes=(4,), max_iter=1, random_state=0).fit(X)
    assert all(group["betas"] == betas for group in model.net_.optimizer_.param_groups)


# -- AdamW --------------------------------------------------------------------------------


def problem(optimizer_class):
    """Return a small network and its optimizer with two groups of parameters."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 5))
    weights = [p for p in net.parameters() if p.ndim > 1]
    biases = [p for p in net.parameters() if p.ndim == 1]
    groups = [{"params": weights, "weight_decay": 0.3}, {"params": biases, "weight_decay": 0.0}]
    return net, optimizer_class(groups, lr=0.02, fused=True)


def backward(net, step):
    x = torch.randn(16, 5, generator=torch.Generator().manual_seed(step))
    (net(x) - x).square().mean().backward()


def same(net, other):
    return all(torch.equal(p, q) for p, q in zip(net.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("frozen_at", [None, 0, 3])
def test_steps_equal_those_of_torch(frozen_at):
    """Bit for bit, also if the learning rate changes and a parameter is frozen for some steps."""
    (net, fused_adamw), (twin, reference) = problem(FusedAdamW), problem(torch.optim.AdamW)
    for step in range(8):
        for model, optimizer in ((net, fused_adamw), (twin, reference)):
            model[0].bias.requires_grad_(frozen_at is None or not frozen_at <= step < frozen_at + 2)
            for group in optimizer.param_groups:
                group["lr"] = 0.02 / (1 + step)
            optimizer.zero_grad() if optimizer is reference else optimizer.clear_gradients()
            backward(model, step)
            optimizer.step() if optimizer is reference else optimizer.advance()
        assert same(net, twin)
    assert not same(net, problem(FusedAdamW)[0])


@pytest.mark.parametrize("method", ["pickle", "deepcopy", "load_state_dict"])
def test_steps_continue_from_a_copy(method):
    """The state is that of torch and part of the optimizer."""
    (net, fused_adamw), (twin, reference) = problem(FusedAdamW), problem(torch.optim.AdamW)
    for step in range(6):
        if step == 3 and method == "load_state_dict":
            fused_adamw.load_state_dict(copy.deepcopy(fused_adamw.state_dict()))
        elif step == 3:
            both = (net, fused_adamw)
            net, fused_adamw = pickle.loads(pickle.dumps(both)) if method == "pickle" else copy.deepcopy(both)
        fused_adamw.clear_gradients()
        reference.zero_grad()
        backward(net, step)
        backward(twin, step)
        fused_adamw.advance()
        reference.step()
        assert same(net, twin)


def test_learning_rates_are_multiplied_per_group():
    weights = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))]
    groups = [{"params": [p], "lr_multiplier": factor} for p, factor in zip(weights, (1.0, 3.0), strict=True)]
    optimizer = FusedAdamW(groups, lr=0.1, fused=True)
    optimizer.set_rate(0.02)
    assert [group["lr"] for group in optimizer.param_groups] == [0.02, 0.06]


def test_the_first_fit_of_a_process_does_not_import_torchs_compiler(first_fit):
    """Importing it takes longer than fitting a small model, in every process of joblib."""
    assert not first_fit["imports_compiler"]


# -- averaged weights -----------------------------------------------------------------------


class SingleWeight(nn.Module):
    """Module with a single weight, which the tests set to the number of the step."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def set(self, value):
        with torch.no_grad():
            self.weight.fill_(float(value))

    @property
    def value(self):
        return self.weight.item()


def test_weight_average_covers_about_a_tenth_of_the_steps():
    module = SingleWeight()
    average = WeightAverage(module, 1_000)
    for step in range(1, 1_001):
        module.set(step)
        average.update(step)
    average.swap()
    assert 850 < module.value < 950
    average.swap()
    assert module.value == 1_000


def test_weight_average_of_a_short_training_is_the_last_weights():
    module = SingleWeight()
    average = WeightAverage(module, 2)
    for step in (1, 2):
        module.set(step)
        average.update(step)
    average.swap()
    assert module.value == 2


def test_weight_average_follows_weights_after_a_swap():
    """Validation swaps the weights twice, and training continues."""
    plain, swapped = SingleWeight(), SingleWeight()
    averages = WeightAverage(plain, 50), WeightAverage(swapped, 50)
    for step in range(1, 51):
        for module, average in zip((plain, swapped), averages, strict=True):
            module.set(step)
            average.update(step)
        averages[1].swap()
        averages[1].swap()
    for average in averages:
        average.swap()
    assert torch.equal(plain.weight, swapped.weight)


class OpenEnded:
    """Net without training, whose weight is the number of steps of all calls."""

    lr = 0.01

    def __init__(self):
        self.module_ = SingleWeight()
        self.rates = []
        self.optimizer_ = SimpleNamespace(set_rate=self.rates.append)

    def run(self, callback, n_steps):
        """Return the weight at the first and after the last step of a call."""
        callback.on_train_begin(self)
        first = self.module_.value
        for _ in range(n_steps):
            callback.on_batch_begin(self)
            self.module_.set(self.module_.value + 1)
            callback.on_batch_end(self)
        last = self.module_.value
        callback.on_train_end(self)
        return first, last


def test_open_ended_training_averages_a_tenth_of_all_steps_and_continues_from_the_weights():
    net, callback = OpenEnded(), OnlineAverage()
    assert net.run(callback, 400) == (0, 400)
    assert 340 < net.module_.value < 380  # the average is left in the module
    callback = pickle.loads(pickle.dumps(callback))
    assert net.run(callback, 400) == (400, 800)
    assert 690 < net.module_.value < 750


def test_open_ended_learning_rate_warms_up_and_decays_with_the_root_of_the_step():
    net, callback = OpenEnded(), OnlineAverage()
    for n_steps in (37, 16_000):  # the number of calls has no effect
        net.run(callback, n_steps)
    rates = np.array(net.rates)
    assert rates[0] == pytest.approx(1e-4)
    peak = int(rates.argmax())
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()
    assert 90 <= peak <= 110
    assert rates[15_999] / rates[3_999] == pytest.approx(np.sqrt(5 / 17), rel=1e-3)


# -- best epoch -----------------------------------------------------------------------------


class Scripted:
    """Net whose only weight is the number of the epoch, and whose validation losses are given."""

    averaged = staticmethod(nullcontext)

    def __init__(self, losses, best):
        self.module_ = SingleWeight()
        self.losses = losses
        self.best = best

    def run(self):
        """Return the best epoch, the epoch of the restored weights, and the last epoch."""
        self.best.on_train_begin(self)
        stopped = len(self.losses)
        for epoch, loss in enumerate(self.losses, start=1):
            self.module_.set(epoch)
            self.history = {(-1, "valid_loss"): loss, (-1, "epoch"): epoch}
            try:
                self.best.on_epoch_end(self)
            except StopTraining:
                stopped = epoch
                break
        self.best.on_train_end(self)
        return self.best.best_epoch_, int(self.module_.value), stopped


@pytest.mark.parametrize(
    ("first", "losses", "best"),
    [
        (5.0, [4, 3, 2], 3),
        (5.0, [4, 1, 2], 2),
        (0.5, [4, 1, 2], 0),
        (-1.0, [-2, -4, -3], 2),
        (1.0, [1, 1], 0),
    ],
    ids=["last", "middle", "untrained", "negative", "ties"],
)
def test_best_weights_are_restored_with_the_untrained_model_as_a_candidate(first, losses, best):
    assert Scripted(losses, BestEpoch(99, 0.0, first)).run() == (best, best, len(losses))


@pytest.mark.parametrize(
    ("losses", "patience", "tol", "stopped", "best"),
    [
        ([9, 9, 9, 9, 9, 9], 3, 0.0, 4, 1),
        ([8, 9, 9, 7, 9, 9, 9, 1], 3, 0.0, 7, 4),
        (
            [9.99, 9.98, 9.97, 9.96],
            3,
            0.05,
            3,
            3,
        ),  # gains below tol count for the best epoch, but not for patience
        ([9.6, 9.3, 9.0, 8.7], 3, 0.05, 4, 4),  # unless they add up
        ([9, 8, 7], np.inf, 0.0, 3, 3),
    ],
)
def test_training_stops_after_some_epochs_without_an_improvement(losses, patience, tol, stopped, best):
    assert Scripted(losses, BestEpoch(patience, tol, 10.0)).run() == (best, best, stopped)


def test_the_averaged_weights_are_kept():
    class Averaged(Scripted):
        def averaged(self):
            self.module_.set(-7)
            return nullcontext()

    assert Averaged([1.0], BestEpoch(9, 0.0, 2.0)).run() == (1, -7, 1)
