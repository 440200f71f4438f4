"""Training: batches, schedule, best epoch, errors and interrupts, warm starts and repeatability."""

import contextlib
import pickle
import subprocess
import sys
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback, EpochScoring
from torch import Generator, nn

from sklearn_ae import AutoencoderTransformer
from sklearn_ae._data.batches import Batches, InMemorySamples
from sklearn_ae._training.callbacks import BestEpoch, StopTraining
from sklearn_ae.corruptions import Masking

# few epochs suffice for what is tested here
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still falling steeply")


def estimator(k=1, **params):
    params = {"hidden_layer_sizes": (32,), "max_iter": 20, "random_state": 0, **params}
    return AutoencoderTransformer(k, **params)


def error(model, X):
    return model.reconstruction_error(X).mean()


@pytest.fixture(scope="module")
def fitted(curve):
    """A model, the rows that it was trained on and those that it was validated on."""
    return estimator().fit(curve[:450], X_val=curve[450:]), curve[:450], curve[450:]


# -- rows and batches ---------------------------------------------------------------


def rows(n, d=3, form=np.asarray, lazy=False, indices=None):
    X = np.arange(n * d, dtype=float).reshape(n, d)
    return InMemorySamples(form(X), indices, X.mean(0), 2.0, torch.device("cpu"), lazy), X


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix], ids=lambda f: f.__name__)
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("indices", [None, np.array([5, 1, 8])], ids=str)
def test_rows_are_centred_and_scaled_wherever_they_come_from(form, lazy, indices):
    data, X = rows(10, form=form, lazy=lazy, indices=indices)
    wanted = ((X - X.mean(0)) / 2)[slice(None) if indices is None else indices].astype(np.float32)
    assert len(data) == len(wanted)
    np.testing.assert_array_equal(data[torch.arange(len(wanted))], wanted)
    np.testing.assert_array_equal(data[torch.tensor([2, 0])], wanted[[2, 0]])


def test_rows_far_from_zero_lose_nothing():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(50, 4))
    offset = 1e6 + X.mean(0)
    data = InMemorySamples(1e6 + X, None, offset, 1.0, torch.device("cpu"))
    np.testing.assert_allclose(data[torch.arange(50)], X - X.mean(0), atol=1e-6)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(("n", "size"), [(1, 4), (10, 4), (10, 10), (10, 99), (1000, 128), (129, 128)])
@pytest.mark.parametrize("shuffled", [False, True])
def test_batches_cover_every_row_once_in_nearly_equal_sizes(n, size, lazy, shuffled):
    data, X = rows(n, lazy=lazy)
    batches = Batches(data, size, Generator().manual_seed(0) if shuffled else None)
    for _ in range(2):
        parts = list(batches)
        assert len(parts) == len(batches) == -(-n // size)
        sizes = [len(part) for part in parts]
        assert max(sizes) <= size
        assert max(sizes) - min(sizes) <= 1
        seen = torch.cat(parts).numpy()
        np.testing.assert_array_equal(np.sort(seen, axis=0), ((X - X.mean(0)) / 2).astype(np.float32))


def test_batches_are_in_a_new_order_every_epoch_and_repeatable():
    data, _ = rows(50)

    def orders():
        batches = Batches(data, 8, Generator().manual_seed(1))
        return [torch.cat(list(batches))[:, 0].tolist() for _ in range(3)]

    assert orders() == orders()
    first, second, third = orders()
    assert first != second != third != sorted(third)
    in_order = list(Batches(data, 8))
    assert torch.equal(torch.cat(in_order), data[torch.arange(50)])


# -- the schedule -------------------------------------------------------------------


class Spy(Callback):
    """Record the hooks that are called, and the learning rate of each step."""

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
    model = estimator(max_iter=40, batch_size=100, learning_rate_init=0.01, callbacks=[("spy", spy)])
    model.fit(curve[:400], X_val=curve[400:])
    return model, spy


def test_learning_rate_warms_up_and_then_decays_to_zero(spied):
    _, spy = spied
    rates = np.array(spy.rates_)
    assert len(rates) == 40 * 4
    peak = int(rates.argmax())
    assert 1 <= peak <= 0.1 * len(rates)
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()
    assert 0.95 * 0.01 < rates.max() <= 0.01
    assert rates[0] < 0.3 * 0.01
    assert rates[-1] < 1e-3 * 0.01
    half_way = rates[len(rates) // 2]
    assert half_way == pytest.approx(0.005, rel=0.05)  # cosine


def test_the_users_callbacks_see_every_epoch_and_batch(spied):
    model, spy = spied
    epoch = [
        "epoch begin",
        *["batch begin 100 True", "batch end 100 True"] * 4,
        "batch begin 200 False",
        "batch end 200 False",
        "epoch end",
    ]
    assert spy.calls_ == ["train begin", *epoch * 40, "train end"]
    assert model.callbacks == [("spy", spy)]


def test_a_silent_callback_changes_nothing(spied, curve):
    model, _ = spied
    alone = clone(model).set_params(callbacks=None).fit(curve[:400], X_val=curve[400:])
    assert alone.loss_curve_ == model.loss_curve_
    np.testing.assert_array_equal(alone.transform(curve), model.transform(curve))


def test_skorchs_scoring_works(curve):
    def size(net, X, y=None):
        return float(sum(p.detach().square().sum() for p in net.module_.parameters()))

    scoring = EpochScoring(size, name="size", on_train=False, use_caching=False)
    model = estimator(max_iter=5, callbacks=[scoring]).fit(curve)
    assert len(set(model.net_.history[:, "size"])) == 5


def test_callbacks_see_the_gradients(curve):
    """skorch's GradientNormClipping hooks in there; that it does nothing would go unnoticed."""

    class Freeze(Callback):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            for _, parameter in named_parameters:
                if parameter.grad is not None:
                    parameter.grad.zero_()

    params = {"max_iter": 5, "init": "random", "alpha": 0, "early_stopping": False}
    free, frozen = (estimator(callbacks=c, **params).fit(curve) for c in (None, [Freeze()]))
    assert free.loss_curve_[-1] < 0.9 * free.loss_curve_[0]
    np.testing.assert_allclose(frozen.loss_curve_, frozen.loss_curve_[0], rtol=1e-4)


# -- the best epoch -----------------------------------------------------------------


def test_the_fitted_model_is_that_of_the_best_epoch(fitted):
    model, _, valid = fitted
    curve = model.validation_loss_curve_
    assert len(curve) == len(model.loss_curve_) == model.n_iter_ == 20
    assert model.best_iter_ == 1 + int(np.argmin(curve))
    share = error(model, valid) / (valid.shape[1] * model.scale_**2)
    assert share == pytest.approx(min(curve), rel=1e-5)


def test_epochs_that_overfit_do_no_harm(digits_split):
    train, valid = digits_split[0][:60], digits_split[1]
    model = estimator(8, init="random", hidden_layer_sizes=(128,), learning_rate_init=0.02, max_iter=150)
    model.fit(train, X_val=valid)
    assert model.best_iter_ < 140
    assert model.loss_curve_[-1] < model.loss_curve_[model.best_iter_ - 1]
    share = error(model, valid) / (64 * model.scale_**2)
    assert share == pytest.approx(min(model.validation_loss_curve_), rel=1e-5)
    assert share < 0.98 * model.validation_loss_curve_[-1]


class Scripted:
    """A net whose only weight counts the epochs and whose validation losses are given."""

    averaged = staticmethod(nullcontext)

    def __init__(self, start, losses, patience, tol=0.0):
        self.module_ = nn.Linear(1, 1)
        self.current, self.losses = start, losses
        self.best = BestEpoch(patience, tol)
        self._set(0)

    def _set(self, epoch):
        with torch.no_grad():
            self.module_.weight.fill_(float(epoch))

    def evaluate(self, rows):
        return torch.tensor([self.current, self.current])

    def run(self):
        self.best.on_train_begin(self, X=(None, None))
        stopped = len(self.losses)
        for epoch, loss in enumerate(self.losses, start=1):
            self._set(epoch)
            self.history = {(-1, "valid_loss"): loss, (-1, "epoch"): epoch}
            try:
                self.best.on_epoch_end(self)
            except StopTraining:
                stopped = epoch
                break
        self.best.on_train_end(self, X=(None, None))
        return self.best.best_epoch_, int(self.module_.weight), stopped


@pytest.mark.parametrize(
    ("start", "losses", "best"),
    [
        (5.0, [4, 3, 2], 3),
        (5.0, [4, 1, 2], 2),
        (0.5, [4, 1, 2], 0),
        (-1.0, [-2, -4, -3], 2),
        (1.0, [1, 1], 0),
    ],
    ids=["last", "middle", "start", "negative", "ties"],
)
def test_best_weights_come_back_with_the_start_as_a_candidate(start, losses, best):
    assert Scripted(start, losses, patience=99).run() == (best, best, len(losses))


@pytest.mark.parametrize(
    ("losses", "patience", "tol", "stopped", "best"),
    [
        ([9, 9, 9, 9, 9, 9], 3, 0.0, 4, 1),
        ([8, 9, 9, 7, 9, 9, 9, 1], 3, 0.0, 7, 4),
        ([9.99, 9.98, 9.97, 9.96], 3, 0.05, 3, 3),  # small steps count for the best, not for patience
        ([9.6, 9.3, 9.0, 8.7], 3, 0.05, 4, 4),  # which add up
        ([9, 8, 7], np.inf, 0.0, 3, 3),
    ],
)
def test_patience_ends_after_epochs_without_an_improvement(losses, patience, tol, stopped, best):
    assert Scripted(10.0, losses, patience, tol).run() == (best, best, stopped)


def test_patience_stops_a_fit_early(curve):
    impatient = estimator(max_iter=400, n_iter_no_change=5, tol=0.01).fit(curve)
    assert 5 < impatient.n_iter_ < 400
    assert impatient.n_iter_ == len(impatient.validation_loss_curve_)
    # none of the last five improved on the best before them by the share tol
    before, after = impatient.validation_loss_curve_[:-5], impatient.validation_loss_curve_[-5:]
    assert min(after) > 0.98 * min(before)


# -- divergence, interrupts, warnings -----------------------------------------------


@pytest.mark.parametrize("early_stopping", [False, True])
def test_divergence_names_the_remedy_and_leaves_nothing_half_fitted(early_stopping, curve):
    model = estimator(learning_rate_init=1e4, early_stopping=early_stopping)
    with pytest.raises(ValueError, match=r"diverged.*Lower\s+learning_rate_init"):
        model.fit(curve)
    with pytest.raises(NotFittedError):
        check_is_fitted(model)
    assert not [name for name in vars(model) if name.endswith("_") and name != "n_features_in_"]


def test_divergence_leaves_an_earlier_fit_as_it_was(curve):
    model = estimator(max_iter=5, early_stopping=False).fit(curve)
    before = model.transform(curve)
    with pytest.raises(ValueError, match="diverged"):
        model.set_params(learning_rate_init=1e4).fit(curve)
    np.testing.assert_array_equal(model.transform(curve), before)


class CtrlC(Callback):
    """Interrupt training in an epoch, at its end or within it."""

    def __init__(self, epoch, hook):
        self.epoch = epoch
        setattr(self, hook, self.interrupt)

    def interrupt(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise KeyboardInterrupt


class CtrlCInBatch(CtrlC):
    def on_batch_end(self, net, training=None, **kwargs):
        self.interrupt(net)


@pytest.mark.parametrize(
    "callback",
    [CtrlC(8, "on_epoch_end"), CtrlC(8, "on_epoch_begin"), CtrlCInBatch(8, "unused")],
    ids=["end of an epoch", "start of an epoch", "within an epoch"],
)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_ctrl_c_leaves_the_best_model_so_far(callback, early_stopping, curve):
    model = estimator(max_iter=50, callbacks=[callback], early_stopping=early_stopping, init="random")
    with pytest.warns(ConvergenceWarning, match="interrupted in epoch 8; the best model so far is kept"):
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
    params = {"init": "random", "early_stopping": False}
    with pytest.warns(ConvergenceWarning, match="max_iter=6 epochs; raise max_iter"):
        estimator(max_iter=6, **params).fit(curve)
    with no_warning():
        estimator(max_iter=150, **params).fit(curve)


@pytest.mark.parametrize("seed", range(8))
def test_a_noisy_loss_is_not_one_that_falls(seed, curve):
    """The training loss under strong corruption jumps by a tenth from epoch to epoch."""
    model = estimator(3, corruption=Masking(0.3), early_stopping=False, max_iter=100, random_state=seed)
    with no_warning():
        model.fit(curve)


def test_a_flat_negative_loss_is_not_one_that_falls():
    """Poisson's loss is negative for large counts."""
    rng = np.random.RandomState(0)
    X = rng.poisson(np.exp(rng.normal(size=(400, 1)) * [0.5, 0.5, -0.5, -0.5] + 4)).astype(float)
    with no_warning():
        estimator(loss="poisson", max_iter=60, early_stopping=False).fit(X)


# -- what it prints -----------------------------------------------------------------


def test_verbose_shows_a_progress_bar_with_losses_and_time_left(curve, capfd):
    estimator(max_iter=5, verbose=1).fit(curve)
    out, err = capfd.readouterr()
    assert out == ""
    assert "5/5" in err
    assert "train_loss=" in err
    assert "valid_loss=" in err
    assert "epoch/s" in err
    assert "<" in err  # elapsed < left


def test_silent_by_default(curve, capfd):
    estimator(max_iter=5).fit(curve).score(curve[:10])
    assert capfd.readouterr() == ("", "")


# -- training on --------------------------------------------------------------------


@pytest.mark.parametrize("init", ["pca", "random"])
def test_warm_start_continues_where_the_last_fit_ended(init, curve):
    model = estimator(init=init, warm_start=True, max_iter=60, early_stopping=False).fit(curve)
    first = model.loss_curve_
    second = model.fit(curve).loss_curve_
    assert len(second) == 60
    assert second[0] < first[-1] + 0.2 * (first[0] - first[-1])
    assert second[-1] < first[-1]
    cold = clone(model).set_params(warm_start=False).fit(curve)
    assert cold.loss_curve_ == first
    assert cold.fit(curve).loss_curve_ == first


def test_partial_fit_over_chunks_approaches_fit(digits_split):
    train, test = digits_split
    whole = estimator(4, max_iter=15, early_stopping=False).fit(train)
    chunked = estimator(4)
    errors = []
    for _ in range(15):
        for chunk in np.array_split(train, 3):
            chunked.partial_fit(chunk)
        errors.append(error(chunked, test))
    assert errors[-1] < 1.15 * error(whole, test)
    assert errors[-1] < 0.8 * errors[0]
    assert chunked.n_components_ == 4


def test_partial_fit_goes_on_from_fit(curve):
    model = estimator(max_iter=40).fit(curve)
    before = error(model, curve)
    for _ in range(10):
        model.set_params(learning_rate_init=1e-4).partial_fit(curve)
    assert error(model, curve) < 1.02 * before


# -- repeatability and the forms of X -----------------------------------------------


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
def test_random_state_alone_decides(params, curve):
    def fit(seed):
        return estimator(2, max_iter=4, learning_rate_init=0.01, random_state=seed, **params).fit(curve)

    first, again, other = fit(0), fit(0), fit(1)
    assert again.loss_curve_ == first.loss_curve_
    assert again.validation_loss_curve_ == first.validation_loss_curve_
    np.testing.assert_array_equal(again.transform(curve), first.transform(curve))
    assert other.loss_curve_ != first.loss_curve_
    same = fit(np.random.RandomState(0))
    assert same.loss_curve_ == first.loss_curve_
    assert fit(None).loss_curve_ != first.loss_curve_


def test_memory_mapped_rows_give_nearly_the_same(tmp_path, digits):
    X = digits.astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    ours, theirs = (estimator(4, max_iter=5).fit(data) for data in (mapped, X))
    assert ours.uses_network_
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=0.02)
    assert error(ours, X) == pytest.approx(error(theirs, X), rel=0.02)
    assert ours.transform(mapped).dtype == np.float32


@pytest.mark.parametrize(
    "form", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array], ids=lambda f: f.__name__
)
def test_sparse_rows_give_the_same_as_dense_ones(form, digits_split):
    train, test = digits_split
    dense = estimator(4, max_iter=5).fit(train)
    ours = estimator(4, max_iter=5).fit(form(train))
    assert dense.uses_network_
    np.testing.assert_allclose(ours.loss_curve_, dense.loss_curve_, rtol=1e-4)
    Z = dense.transform(test)
    np.testing.assert_allclose(ours.transform(form(test)), Z, atol=1e-2 * np.abs(Z).max())
    np.testing.assert_allclose(ours.transform(form(test)), ours.transform(test), atol=1e-9)
    assert error(ours, form(test)) == pytest.approx(error(dense, test), rel=1e-2)


def test_a_far_mean_costs_nothing(curve):
    X = (curve - curve.mean(0)) / curve.std(0)
    near, far = estimator(max_iter=40).fit(X), estimator(max_iter=40).fit(X + 1e6)
    assert near.uses_network_
    assert error(far, X + 1e6) == pytest.approx(error(near, X), rel=0.01)


def test_units_of_x_do_not_matter(curve):
    near, tiny = estimator().fit(curve), estimator().fit(1e-9 * curve)
    assert error(tiny, 1e-9 * curve) == pytest.approx(1e-18 * error(near, curve), rel=1e-2)


# -- what it leaves behind ----------------------------------------------------------


def test_fitting_changes_nothing_global(curve, unchanged_globals):
    model = estimator(2, max_iter=2, corruption=lambda x: x + torch.rand_like(x), learning_rate_init=1e-4)
    model.fit(curve)
    model.inverse_transform(model.transform(curve))


def test_the_first_fit_of_a_process_leaves_the_warning_filters():
    """torch imports what it needs at the first optimizer, some of which adds filters of its own."""
    code = (
        "import warnings, numpy as np; from sklearn_ae import AutoencoderTransformer as AE\n"
        "before = list(warnings.filters)\n"
        "AE(1, max_iter=1, early_stopping=False).fit(np.random.RandomState(0).normal(size=(20, 3)))\n"
        "print(list(warnings.filters) == before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_nothing_of_training_is_kept(fitted):
    model = fitted[0]
    assert not model.net_.optimizer_.state
    assert not model.module_.training
    assert all(p.grad is None for p in model.module_.parameters())
    n_weights = sum(p.numel() for p in model.module_.parameters())
    assert len(pickle.dumps(model)) < 40 * n_weights + 100_000
