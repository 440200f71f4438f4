"""Training: schedule, callbacks, errors and interrupts, warnings, warm starts and reproducibility."""

import contextlib
import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback, EpochScoring

from sklearn_ae import AutoencoderTransformer
from sklearn_ae._training.net import AutoencoderNet, _Record
from sklearn_ae.corruptions import Masking

# Few epochs suffice for these tests.
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")


def estimator(k=1, **params):
    params = {"hidden_layer_sizes": (32,), "max_iter": 20, "random_state": 0, **params}
    return AutoencoderTransformer(k, **params)


def error(model, X):
    return model.reconstruction_error(X).mean()


@pytest.fixture(scope="module")
def fitted(curve):
    """A model, its training samples and its validation samples."""
    return estimator().fit(curve[:450], X_val=curve[450:]), curve[:450], curve[450:]


# -- schedule and callbacks --------------------------------------------------------------


class Spy(Callback):
    """Callback that records calls of hooks, and the learning rate of each step."""

    def __init__(self):
        self.calls_, self.rates_ = [], []

    def on_train_begin(self, net, **kwargs):
        self.calls_.append("train begin")

    def on_epoch_begin(self, net, **kwargs):
        self.calls_.append("epoch begin")

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        self.calls_.append(f"batch begin {len(batch)} {training}")

    def on_batch_end(self, net, batch=None, training=None, loss=None, **kwargs):
        self.calls_.append(f"batch end {len(batch)} {training}")
        assert torch.isfinite(loss)
        if training:
            self.rates_.append(net.optimizer_.param_groups[0]["lr"])

    def on_epoch_end(self, net, **kwargs):
        self.calls_.append("epoch end")

    def on_train_end(self, net, **kwargs):
        self.calls_.append("train end")


@pytest.fixture(scope="module")
def spied(curve):
    spy = Spy()
    model = estimator(max_iter=20, batch_size=100, learning_rate_init=0.01, callbacks=[("spy", spy)])
    model.fit(curve[:400], X_val=curve[400:])
    return model, spy


def test_learning_rate_warms_up_and_then_decays_to_zero(spied):
    _, spy = spied
    rates = np.array(spy.rates_)
    assert len(rates) == 20 * 4
    peak = int(rates.argmax())
    assert 1 <= peak <= 0.1 * len(rates)
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()
    assert 0.95 * 0.01 < rates.max() <= 0.01
    assert rates[0] < 0.3 * 0.01
    assert rates[-1] < 1e-3 * 0.01
    half_way = rates[len(rates) // 2]
    assert half_way == pytest.approx(0.005, rel=0.05)  # cosine


def test_user_callbacks_are_called_in_every_epoch_and_batch(spied):
    model, spy = spied
    epoch = [
        "epoch begin",
        *["batch begin 100 True", "batch end 100 True"] * 4,
        "batch begin 200 False",
        "batch end 200 False",
        "epoch end",
    ]
    assert spy.calls_ == ["train begin", *epoch * 20, "train end"]
    assert model.callbacks == [("spy", spy)]


def test_a_callback_without_effect_changes_nothing(spied, curve):
    model, _ = spied
    alone = clone(model).set_params(callbacks=None).fit(curve[:400], X_val=curve[400:])
    assert alone.loss_curve_ == model.loss_curve_
    np.testing.assert_array_equal(alone.transform(curve), model.transform(curve))


def test_skorch_scoring_works(curve):
    def size(net, X, y=None):
        return float(sum(p.detach().square().sum() for p in net.module_.parameters()))

    scoring = EpochScoring(size, name="size", on_train=False, use_caching=False)
    model = estimator(max_iter=5, callbacks=[scoring]).fit(curve)
    assert len(set(model.net_.history[:, "size"])) == 5


def test_callbacks_can_change_the_gradients(curve):
    """skorch's GradientNormClipping relies on it, and would fail unnoticed."""

    class Freeze(Callback):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            for _, parameter in named_parameters:
                if parameter.grad is not None:
                    parameter.grad.zero_()

    params = {"max_iter": 5, "init": "random", "alpha": 0, "early_stopping": False}
    free, frozen = (estimator(callbacks=c, **params).fit(curve) for c in (None, [Freeze()]))
    assert free.loss_curve_[-1] < 0.9 * free.loss_curve_[0]
    np.testing.assert_allclose(frozen.loss_curve_, frozen.loss_curve_[0], rtol=1e-4)


def test_losses_of_an_epoch_are_read_in_order():
    """Any number of them may be kept as separate tensors."""
    for n in (1, 63, 64, 65, 200):
        record = _Record(n)
        for i in range(n):
            record.add(torch.tensor(float(i)))
        assert record.values() == list(range(n))


# -- best epoch ---------------------------------------------------------------------


def test_the_fitted_model_is_that_of_the_best_epoch(fitted):
    model, _, valid = fitted
    curve = model.validation_loss_curve_
    assert len(curve) == len(model.loss_curve_) == model.n_iter_ == 20
    assert model.best_iter_ == 1 + int(np.argmin(curve))
    share = error(model, valid) / (valid.shape[1] * model.scale_**2)
    assert share == pytest.approx(min(curve), rel=1e-5)


def test_epochs_that_overfit_are_discarded(digits_split):
    train, valid = digits_split[0][:60], digits_split[1]
    params = {"learning_rate_init": 0.02, "max_iter": 150, "n_iter_no_change": 150}
    model = estimator(8, init="random", hidden_layer_sizes=(128,), **params).fit(train, X_val=valid)
    assert model.best_iter_ < 140
    assert model.loss_curve_[-1] < model.loss_curve_[model.best_iter_ - 1]
    share = error(model, valid) / (64 * model.scale_**2)
    assert share == pytest.approx(min(model.validation_loss_curve_), rel=1e-5)
    assert share < 0.98 * model.validation_loss_curve_[-1]


@pytest.mark.slow
def test_patience_stops_a_fit_early(curve):
    impatient = estimator(max_iter=400, n_iter_no_change=5, tol=0.01, batch_size=300).fit(curve)
    assert 5 < impatient.n_iter_ < 400
    assert impatient.n_iter_ == len(impatient.validation_loss_curve_)
    # None of the last five epochs improved on the best one before them by the fraction tol.
    before, after = impatient.validation_loss_curve_[:-5], impatient.validation_loss_curve_[-5:]
    assert min(after) > 0.98 * min(before)


# -- divergence, interrupts, warnings -----------------------------------------------


@pytest.mark.parametrize("early_stopping", [False, True])
def test_divergence_names_the_remedy_and_leaves_no_half_fitted_model(early_stopping, curve):
    model = estimator(learning_rate_init=1e4, early_stopping=early_stopping)
    with pytest.raises(ValueError, match=r"diverged.*Lower\s+learning_rate_init"):
        model.fit(curve)
    with pytest.raises(NotFittedError):
        check_is_fitted(model)
    assert not [name for name in vars(model) if name.endswith("_") and name != "n_features_in_"]


def test_divergence_leaves_an_earlier_fit_unchanged(curve):
    model = estimator(max_iter=5, early_stopping=False).fit(curve)
    before = model.transform(curve)
    with pytest.raises(ValueError, match="diverged"):
        model.set_params(learning_rate_init=1e4).fit(curve)
    np.testing.assert_array_equal(model.transform(curve), before)


def press_ctrl_c():
    raise KeyboardInterrupt


class Interrupt(Callback):
    """Callback during which the user presses Ctrl-C in an epoch, in the given hook."""

    def __init__(self, epoch, hook):
        self.epoch = epoch
        setattr(self, hook, self.interrupt)

    def interrupt(self, net, **kwargs):
        if len(net.history) == self.epoch:
            press_ctrl_c()


class InterruptInBatch(Interrupt):
    def on_batch_end(self, net, training=None, **kwargs):
        self.interrupt(net)


@pytest.mark.parametrize(
    "callback",
    [Interrupt(8, "on_epoch_end"), Interrupt(8, "on_epoch_begin"), InterruptInBatch(8, "unused")],
    ids=["end of an epoch", "start of an epoch", "within an epoch"],
)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_ctrl_c_keeps_the_best_model_so_far(callback, early_stopping, curve):
    model = estimator(max_iter=50, callbacks=[callback], early_stopping=early_stopping, init="random")
    with pytest.raises(KeyboardInterrupt, match=r"interrupted in epoch [78]; the estimator holds the best"):
        model.fit(curve[:450], X_val=curve[450:] if early_stopping else None)
    check_is_fitted(model)
    assert 7 <= len(model.loss_curve_) <= 8
    untrained = estimator(max_iter=1, learning_rate_init=1e-9, init="random", early_stopping=False)
    assert error(model, curve) < 0.8 * error(untrained.fit(curve[:450]), curve)
    if early_stopping:
        share = error(model, curve[450:]) / (5 * model.scale_**2)
        assert share == pytest.approx(min(model.validation_loss_curve_), rel=1e-5)
    pickle.loads(pickle.dumps(model.set_params(callbacks=None)))


@contextlib.contextmanager
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_too_few_epochs_warn_and_enough_do_not(curve):
    params = {"init": "random", "early_stopping": False, "batch_size": 150}
    with pytest.warns(ConvergenceWarning, match="last of 6 epochs; set max_iter above 6"):
        estimator(max_iter=6, **params).fit(curve)
    with no_warning():
        estimator(max_iter=150, **params).fit(curve)


@pytest.mark.parametrize(
    ("curve", "warns"),
    [
        (np.linspace(10, 1, 100), True),
        (1 + 9 * np.exp(-np.arange(100) / 5), False),
        (1 + 0.1 * np.random.RandomState(0).normal(size=100), False),
        (np.linspace(1.06, 1, 100) + 0.1 * np.random.RandomState(0).normal(size=100), False),
        (np.linspace(-1, -10, 100), True),
        (-10 + np.exp(-np.arange(100) / 5), False),
        (np.linspace(10, 1, 50), False),  # stopped early
    ],
    ids=["falls", "converged", "noisy", "noisy and slow", "negative", "negative and flat", "stopped"],
)
def test_only_a_steep_decrease_at_the_end_of_training_warns(curve, warns):
    net = SimpleNamespace(
        interrupted_=False,
        history=[{"train_loss": loss} for loss in curve],
        max_epochs=100,
        criterion_=SimpleNamespace(tolerance_scale=abs),
    )
    expected = pytest.warns(ConvergenceWarning, match="last of 100 epochs; set max_iter above 100")
    with expected if warns else no_warning():
        AutoencoderNet.warn_unfinished(net, "train_loss")


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 8))])
def test_a_noisy_training_loss_does_not_warn(seed, curve):
    """Under strong corruption, the loss varies by a tenth between epochs."""
    model = estimator(3, corruption=Masking(0.3), early_stopping=False, max_iter=100, random_state=seed)
    with no_warning():
        model.fit(curve)


def test_a_flat_negative_loss_does_not_warn():
    """The Poisson loss is negative for large counts."""
    rng = np.random.RandomState(0)
    X = rng.poisson(np.exp(rng.normal(size=(400, 1)) * [0.5, 0.5, -0.5, -0.5] + 4)).astype(float)
    with no_warning():
        estimator(loss="poisson", max_iter=60, early_stopping=False).fit(X)


# -- warm start ---------------------------------------------------------------------


@pytest.mark.parametrize("init", ["pca", "random"])
def test_warm_start_continues_where_the_last_fit_ended(init, curve):
    model = estimator(init=init, warm_start=True, max_iter=60, early_stopping=False, batch_size=200).fit(
        curve
    )
    first = model.loss_curve_
    second = model.fit(curve).loss_curve_
    assert len(second) == 60
    assert second[0] < first[-1] + 0.2 * (first[0] - first[-1])
    assert second[-1] < first[-1]
    cold = clone(model).set_params(warm_start=False).fit(curve)
    assert cold.loss_curve_ == first
    assert cold.fit(curve).loss_curve_ == first


# -- reproducibility ----------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"corruption": "gaussian"},
        {"bottleneck": "ordered"},
        {"init": "random"},
        {"early_stopping": False},
    ],
    ids=str,
)
def test_the_fit_depends_on_random_state_only(params, curve):
    def fit(seed):
        return estimator(2, max_iter=4, learning_rate_init=0.01, random_state=seed, **params).fit(curve[:200])

    first, again, other = fit(0), fit(0), fit(1)
    assert again.loss_curve_ == first.loss_curve_
    assert again.validation_loss_curve_ == first.validation_loss_curve_
    np.testing.assert_array_equal(again.transform(curve[:99]), first.transform(curve[:99]))
    assert other.loss_curve_ != first.loss_curve_
    same = fit(np.random.RandomState(0))
    assert same.loss_curve_ == first.loss_curve_
    assert fit(None).loss_curve_ != first.loss_curve_


# -- units of X --------------------------------------------------------------------------


def test_training_of_data_far_from_zero_is_as_good(curve):
    X = (curve - curve.mean(0)) / curve.std(0)
    params = {"early_stopping": False, "batch_size": 600, "learning_rate_init": 0.01}
    near, far = (estimator(**params).fit(data) for data in (X, X + 1e6))
    assert far.loss_curve_[0] == pytest.approx(near.loss_curve_[0], rel=1e-5)  # before the first step
    assert near.loss_curve_[-1] < 0.8 * near.loss_curve_[0]
    assert error(far, X + 1e6) == pytest.approx(error(near, X), rel=0.05)


def test_the_unit_of_x_does_not_matter(curve):
    """Exactly, for a power of two."""
    near, tiny = (estimator(max_iter=5).fit(unit * curve) for unit in (1.0, 2.0**-30))
    assert tiny.loss_curve_ == near.loss_curve_
    np.testing.assert_allclose(tiny.transform(2.0**-30 * curve), 2.0**-30 * near.transform(curve), rtol=1e-6)


# -- side effects -------------------------------------------------------------------


def test_fit_leaves_the_global_state_unchanged(curve, unchanged_globals):
    model = estimator(2, max_iter=2, corruption=lambda x: x + torch.rand_like(x), learning_rate_init=1e-4)
    model.fit(curve)
    model.inverse_transform(model.transform(curve))


@pytest.mark.slow
def test_the_first_fit_of_a_process_restores_the_warning_filters(first_fit):
    """Importing torch's optimizers adds filters."""
    assert first_fit["keeps_filters"]


def test_no_state_of_training_is_kept(fitted):
    model = fitted[0]
    assert not model.net_.optimizer_.state
    assert not model.module_.training
    assert all(p.grad is None for p in model.module_.parameters())
    n_weights = sum(p.numel() for p in model.module_.parameters())
    assert len(pickle.dumps(model)) < 40 * n_weights + 100_000
