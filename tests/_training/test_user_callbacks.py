"""Each of skorch's callbacks works or is refused with the reason; stopping and interrupting a training."""

import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import skorch.callbacks
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochTimer,
    Freezer,
    GradientNormClipping,
    Initializer,
    LoadInitState,
    LRScheduler,
    MlflowLogger,
    ParamMapper,
    PrintLog,
    ProgressBar,
    SacredLogger,
    TensorBoard,
    TrainEndCheckpoint,
    Unfreezer,
    WandbLogger,
)
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau, StepLR

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer

pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")


def estimator(*callbacks, kind=AutoencoderTransformer, **params):
    given = {"hidden_layer_sizes": (8,), "max_iter": 6, "init": "random", "random_state": 0}
    return kind(2, callbacks=list(callbacks), **(given | params))


def first_layer(model):
    return model.net_.module_.encoder.network[0].weight.detach().numpy().copy()


# -- one test per callback of skorch ------------------------------------------------------


def check_timer(curve, tmp_path, capsys):
    model = estimator(EpochTimer()).fit(curve)
    assert all(epoch["dur"] > 0 for epoch in model.net_.history)


def check_print_log(curve, tmp_path, capsys):
    estimator(PrintLog()).fit(curve)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["epoch", "train_loss", "valid_loss"]
    assert len(lines) == 8


def check_progress_bar(curve, tmp_path, capsys):
    estimator(ProgressBar(detect_notebook=False)).fit(curve)
    assert "0/10" in capsys.readouterr().err  # 9 batches of training, one of validation


def check_tensorboard(curve, tmp_path, capsys):
    seen = []
    writer = SimpleNamespace(add_scalar=lambda **kwargs: seen.append(kwargs), close=lambda: None)
    estimator(TensorBoard(writer, close_after_train=False)).fit(curve)
    assert {entry["tag"] for entry in seen} >= {"Loss/train_loss", "Loss/valid_loss"}


def check_scheduler(curve, tmp_path, capsys):
    policies = [StepLR, CosineAnnealingLR, ReduceLROnPlateau, "WarmRestartLR"]
    params = [{"step_size": 2, "gamma": 0.5}, {"T_max": 6}, {"monitor": "valid_loss", "patience": 0}, {}]
    for policy, given in zip(policies, params, strict=True):
        model = estimator(LRScheduler(policy, event_name="rate", **given), learning_rate_init=0.01).fit(curve)
        rates = model.net_.history[:, "rate"]
        assert len(rates) == 6
        if policy is StepLR:
            assert rates == pytest.approx(np.repeat([0.01, 0.005, 0.0025], 2))


def check_clipping(curve, tmp_path, capsys):
    frozen = estimator(GradientNormClipping(0.0), learning_rate_init=0.01, alpha=0.0).fit(curve)
    moving = estimator(learning_rate_init=0.01, alpha=0.0).fit(curve)
    start = estimator(learning_rate_init=1e-12, alpha=0.0).fit(curve)
    np.testing.assert_allclose(first_layer(frozen), first_layer(start), atol=1e-6)
    assert not np.allclose(first_layer(moving), first_layer(start), atol=1e-3)


def check_checkpoint(curve, tmp_path, capsys):
    for monitor in ("valid_loss_best", "train_loss_best", None, lambda net: True):
        f_pickle = None if callable(monitor) else "net.pkl"
        model = estimator(Checkpoint(monitor, dirname=str(tmp_path), f_pickle=f_pickle)).fit(curve)
        files = {path.name for path in tmp_path.iterdir()}
        expected = {"params.pt", "optimizer.pt", "criterion.pt", "history.json", f_pickle} - {None}
        assert files == expected
        assert len(json.loads((tmp_path / "history.json").read_text())) == model.n_iter_
        for path in tmp_path.iterdir():
            path.unlink()
    # What is saved are the averaged weights, whose validation loss was recorded.
    X, X_val = curve[:500], curve[500:]
    saved = Checkpoint("valid_loss_best", dirname=str(tmp_path))
    model = estimator(saved, max_iter=12).fit(X, X_val=X_val)
    best = torch.load(tmp_path / "params.pt")["encoder.network.0.weight"]
    np.testing.assert_array_equal(best.numpy(), first_layer(model))
    estimator(Checkpoint(dirname=str(tmp_path), load_best=True)).fit(X, X_val=X_val)


def check_train_end_checkpoint(curve, tmp_path, capsys):
    model = estimator(TrainEndCheckpoint(dirname=str(tmp_path))).fit(curve[:500], X_val=curve[500:])
    weights = torch.load(tmp_path / "train_end_params.pt")["encoder.network.0.weight"]
    np.testing.assert_array_equal(weights.numpy(), first_layer(model))


def check_load_init_state(curve, tmp_path, capsys):
    """Training goes on in another process: weights, moments and history are those of the checkpoint."""
    X, X_val = curve[:500], curve[500:]
    last = Checkpoint(None, dirname=str(tmp_path))
    first = estimator(last, max_iter=20).fit(X, X_val=X_val)
    resumed = estimator(LoadInitState(last), max_iter=3).fit(X, X_val=X_val)
    assert resumed.n_iter_ == 23
    assert resumed.loss_curve_[:20] == pytest.approx(first.loss_curve_)
    assert resumed.loss_curve_[20] < 0.7 * first.loss_curve_[0]


def check_early_stopping(curve, tmp_path, capsys):
    stops = EarlyStopping(patience=2, threshold=0.9, load_best=True)
    model = estimator(stops, max_iter=30).fit(curve[:500], X_val=curve[500:])
    assert model.n_iter_ < 6
    assert not model.net_.interrupted_
    assert capsys.readouterr().out == ""
    estimator(clone_of(stops), max_iter=30, verbose=1).fit(curve[:500], X_val=curve[500:])
    assert "Stopping since valid_loss has not improved" in capsys.readouterr().out


def clone_of(stopping):
    return EarlyStopping(patience=stopping.patience, threshold=stopping.threshold)


def check_freezer(curve, tmp_path, capsys):
    """Also in the second training, on all samples."""
    frozen = estimator(Freezer("encoder.*"), alpha=0.0).fit(curve)
    start = estimator(learning_rate_init=1e-12, alpha=0.0).fit(curve)
    np.testing.assert_allclose(first_layer(frozen), first_layer(start), atol=1e-6)


def check_unfreezer(curve, tmp_path, capsys):
    callbacks = Freezer("encoder.*"), Unfreezer("encoder.*", at=3)
    model = estimator(*callbacks, alpha=0.0, learning_rate_init=0.01).fit(curve)
    start = estimator(learning_rate_init=1e-12, alpha=0.0).fit(curve)
    assert not np.allclose(first_layer(model), first_layer(start), atol=1e-4)


def check_initializer(curve, tmp_path, capsys):
    callbacks = Initializer("encoder.*.weight", fn=torch.nn.init.zeros_), Freezer("encoder.*")
    assert not first_layer(estimator(*callbacks).fit(curve)).any()


def check_param_mapper(curve, tmp_path, capsys):
    zeros = ParamMapper("encoder.*.weight", fn=torch.nn.init.zeros_, schedule=None)
    assert estimator(zeros).fit(curve).n_iter_ == 6


def check_wandb(curve, tmp_path, capsys):
    seen = []
    run = SimpleNamespace(log=lambda values, **_: seen.append(values), watch=lambda *_: None)
    estimator(WandbLogger(run, save_model=False)).fit(curve)
    assert all("train_loss" in values for values in seen)


def check_sacred(curve, tmp_path, capsys):
    seen = []
    experiment = SimpleNamespace(log_scalar=lambda name, value, step: seen.append(name))
    estimator(SacredLogger(experiment)).fit(curve)
    assert {"train_loss", "valid_loss"} <= set(seen)


def check_mlflow(curve, tmp_path, capsys):
    seen = []
    run = SimpleNamespace(info=SimpleNamespace(run_id="1"))
    client = SimpleNamespace(log_metric=lambda run_id, name, value, **_: seen.append(name))
    logger = MlflowLogger(
        run, client, log_on_batch_end=False, terminate_after_train=False, create_artifact=False
    )
    estimator(logger).fit(curve)
    assert {"train_loss", "valid_loss"} <= set(seen)


def check_neptune(curve, tmp_path, capsys):
    pytest.importorskip("neptune")


def check_base(curve, tmp_path, capsys):
    estimator(Callback()).fit(curve)


WORKING = {
    "Callback": check_base,
    "Checkpoint": check_checkpoint,
    "EarlyStopping": check_early_stopping,
    "EpochTimer": check_timer,
    "Freezer": check_freezer,
    "GradientNormClipping": check_clipping,
    "Initializer": check_initializer,
    "LRScheduler": check_scheduler,
    "LoadInitState": check_load_init_state,
    "MlflowLogger": check_mlflow,
    "NeptuneLogger": check_neptune,
    "ParamMapper": check_param_mapper,
    "PrintLog": check_print_log,
    "ProgressBar": check_progress_bar,
    "SacredLogger": check_sacred,
    "TensorBoard": check_tensorboard,
    "TrainEndCheckpoint": check_train_end_checkpoint,
    "Unfreezer": check_unfreezer,
    "WandbLogger": check_wandb,
}
REFUSED = {
    "BatchScoring": ("loss", "on_batch_end"),
    "EpochScoring": ("accuracy", "use_caching=False"),
    "InputShapeSetter": ((), "hidden_layer_sizes"),
    "PassthroughScoring": ("train_loss", "always recorded"),
}


@pytest.mark.parametrize("name", sorted({*skorch.callbacks.__all__, *WORKING, *REFUSED} - {"WarmRestartLR"}))
def test_each_callback_of_skorch_works_or_is_refused(name, curve, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if name in REFUSED:
        arguments, alternative = REFUSED[name]
        callback = getattr(skorch.callbacks, name)(*([arguments] if arguments else []))
        for kind in (AutoencoderTransformer, VAETransformer):
            with pytest.raises(ValueError, match=rf"{name} in callbacks cannot be used: .*{alternative}"):
                estimator(("named", callback), kind=kind).fit(curve)
        return
    WORKING[name](curve, tmp_path, capsys)


@pytest.mark.parametrize("bad", ["print", 3, [Callback], lambda net: None])
def test_what_is_no_callback_is_refused(bad, curve):
    with pytest.raises(ValueError, match=r"callbacks holds .*skorch\.callbacks\.Callback"):
        estimator(bad).fit(curve)


@pytest.mark.parametrize(
    "callback", [EarlyStopping(), Checkpoint(), LRScheduler(ReduceLROnPlateau, "valid_loss")]
)
def test_a_loss_that_is_not_computed_cannot_be_monitored(callback, curve):
    if isinstance(callback, LRScheduler):
        callback = LRScheduler(ReduceLROnPlateau, monitor="valid_loss")
    with pytest.raises(ValueError, match=r"monitors 'valid_loss.*X_val.*monitor='train_loss"):
        estimator(callback, early_stopping=False).fit(curve)


def test_a_scheduler_cannot_be_used_chunk_by_chunk(curve):
    with pytest.raises(ValueError, match=r"LRScheduler in callbacks.*partial_fit.*learning_rate_init"):
        estimator(LRScheduler(StepLR, step_size=1)).partial_fit(curve)


def test_a_model_with_a_scheduler_can_be_pickled_and_trained_on(curve):
    model = estimator(LRScheduler(StepLR, step_size=2), warm_start=True).fit(curve)
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.transform(curve), model.transform(curve))
    twin.fit(curve)


def test_passive_callbacks_do_not_change_the_model(curve, tmp_path):
    callbacks = [EpochTimer(), Checkpoint(dirname=str(tmp_path)), PrintLog(sink=lambda text: None)]
    watched, alone = estimator(*callbacks).fit(curve), estimator().fit(curve)
    np.testing.assert_array_equal(watched.transform(curve), alone.transform(curve))


# -- Ctrl-C -------------------------------------------------------------------------------


def press_ctrl_c():
    raise KeyboardInterrupt


class CtrlC(Callback):
    """Callback during which the user presses Ctrl-C, and which counts the trainings."""

    n_trainings = 0

    def on_train_begin(self, net, **kwargs):
        type(self).n_trainings += 1

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 3:
            press_ctrl_c()


@pytest.fixture(autouse=True)
def no_trainings():
    CtrlC.n_trainings = 0


@pytest.mark.filterwarnings("ignore:Only . of . components are active")
@pytest.mark.parametrize("kind", [AutoencoderTransformer, VAETransformer])
@pytest.mark.parametrize("init", ["pca", "random"])
def test_an_interrupted_transformer_keeps_its_best_model_and_raises(kind, init, curve):
    model = estimator(CtrlC(), kind=kind, init=init)
    with pytest.raises(KeyboardInterrupt, match="interrupted in epoch 3; the estimator holds the best model"):
        model.fit(curve)
    assert model.n_iter_ == 3
    assert np.isfinite(model.transform(curve)).all()
    with pytest.raises(KeyboardInterrupt):
        estimator(CtrlC(), kind=kind, init=init).fit_transform(curve)


def test_a_callback_that_stops_training_does_not_interrupt(curve):
    class Stop(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                raise KeyboardInterrupt

    assert estimator(Stop()).fit(curve).n_iter_ == 2


def interrupted_search(curve):
    grid = GridSearchCV(estimator(CtrlC()), {"n_components": [1, 2, 3]}, cv=2)
    return grid, lambda: grid.fit(curve)


def interrupted_pipeline(curve):
    pipeline = make_pipeline(StandardScaler(), estimator(CtrlC()), AutoencoderTransformer(1))
    return pipeline, lambda: pipeline.fit(curve)


def interrupted_cv(curve):
    model = AutoencoderTransformerCV([1, 2], cv=2, max_iter=3, hidden_layer_sizes=(4,)).fit(curve)
    return model, lambda: model.set_params(callbacks=[CtrlC()], max_iter=5, init="random").fit(curve[:, :4])


def interrupted_detector(curve):
    model = AEOutlierDetector(AutoencoderTransformer(1, hidden_layer_sizes=()), random_state=0).fit(curve)
    inner = estimator(CtrlC())
    return model, lambda: model.set_params(autoencoder=inner).fit(curve[:, :4])


@pytest.mark.parametrize(
    "interrupted", [interrupted_search, interrupted_pipeline, interrupted_cv, interrupted_detector]
)
def test_ctrl_c_ends_everything_and_keeps_earlier_state(interrupted, curve):
    model, fit = interrupted(curve)
    before = {name: value for name, value in vars(model).items() if name.endswith("_")}
    with pytest.raises(KeyboardInterrupt):
        fit()
    assert CtrlC.n_trainings == 1
    assert all(getattr(model, name) is value for name, value in before.items())
    assert not hasattr(model, "best_estimator_")
    if before:
        model.score_samples(curve)


def test_an_interrupted_chunk_changes_nothing(curve):
    model, other = estimator(), estimator()
    for chunk in (curve[:200], curve[200:400]):
        model.partial_fit(chunk)
        other.partial_fit(chunk)

    class InBatch(Callback):
        def on_batch_end(self, net, **kwargs):
            press_ctrl_c()

    codes = model.transform(curve)
    model.net_.callbacks_.append(("ctrl-c", interrupt := InBatch()))
    with pytest.raises(KeyboardInterrupt, match="earlier chunks"):
        model.partial_fit(curve[400:])
    np.testing.assert_array_equal(model.transform(curve), codes)
    model.net_.callbacks_ = [(name, cb) for name, cb in model.net_.callbacks_ if cb is not interrupt]
    model.partial_fit(curve[400:])
    other.partial_fit(curve[400:])
    np.testing.assert_array_equal(model.transform(curve), other.transform(curve))
