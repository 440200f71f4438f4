"""Training on a GPU: epochs on the device, reasons against a capture, and results as on the CPU.

Everything except the capture itself is also tested on a CPU.
"""

import copy
import functools
import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from scipy import sparse
from skorch.callbacks import Callback
from torch import Generator, nn
from torch.utils.data import TensorDataset

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer
from sklearn_ae._data.in_memory import WorkingSamples
from sklearn_ae._estimators.size_selection import Nested
from sklearn_ae._training.cuda_graphs import CapturedEpochs, Recorder
from sklearn_ae._training.net import AutoencoderNet
from sklearn_ae.corruptions import Masking
from sklearn_ae.likelihoods import Gaussian
from sklearn_ae.penalties import L1, Contractive

pytestmark = [
    pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply"),
    pytest.mark.filterwarnings("ignore:The log-likelihood"),
    # PyTorch warns where there is a GPU and the steps run on the CPU.
    pytest.mark.filterwarnings("ignore:This instance was constructed with capturable=True"),
]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a CUDA device")

OPTIONS = {
    "identity": {},
    "tied": {"tied_weights": True},
    "full batch": {"batch_size": 600},
    "masking, ordered": {"corruption": "masking", "bottleneck": "ordered"},
    "salt and pepper, top-k": {"corruption": "salt_and_pepper", "bottleneck": "topk"},
    "rayleigh, rectified, l1": {"corruption": "rayleigh", "bottleneck": "relu", "penalty": "l1"},
    "nested": {"bottleneck": Nested((1, 3))},
    "contractive": {"penalty": Contractive() + L1(), "bottleneck": "relu"},
    "kl_sparsity, huber": {"penalty": "kl_sparsity", "loss": "huber"},
    "absolute error, conv": {"loss": "absolute_error", "network": "conv"},
    "binary cross-entropy": {"loss": "binary_cross_entropy"},
    "poisson": {"loss": "poisson"},
}
VAE_OPTIONS = {
    "vae": {"kl_warmup": 0.5},
    "vae, noise per sample": {"likelihood": "gaussian", "kl_warmup": 0.0},
    "vae, full noise covariance": {"likelihood": Gaussian("full")},
    "vae, bernoulli": {"likelihood": "bernoulli"},
    "vae, poisson": {"likelihood": "poisson"},
    "vae, beta_tc": {"divergence": "beta_tc"},
    "vae, mmd": {"divergence": "mmd"},
    "vae, importance weights": {"n_importance_samples": 3},
}


def transformer(name, k=3, **params):
    """Return an estimator with one of the sets of options above."""
    known = {"hidden_layer_sizes": (16,), "max_iter": 4, "random_state": 0, "precision": "float32"}
    if name in OPTIONS:
        return AutoencoderTransformer(k, **{**known, **OPTIONS[name], **params})
    return VAETransformer(k, **{**known, **VAE_OPTIONS[name], **params})


@pytest.fixture(scope="module")
def X():
    """Samples in [0, 1], which suit every loss; images of 3 x 3 pixels."""
    rng = np.random.RandomState(0)
    t = rng.uniform(-2, 2, (600, 2))
    mean = np.exp(np.sin(t @ rng.normal(size=(2, 9))))
    return np.clip(mean + 0.1 * rng.normal(size=mean.shape), 0.0, 3.0) / 3.0


def fitted(name, X, **params):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few epochs
        return transformer(name, **params).fit(X[:500], X_val=X[500:])


# -- on a CPU -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def net_of(X):
    """Function that returns a fresh copy of the net of an option."""

    @functools.cache
    def net(name):
        return fitted(name, X, max_iter=1, early_stopping=False).net_

    return lambda name: copy.deepcopy(net(name))


class OnDevice(AutoencoderNet):
    """Net whose epochs always run on the device; on a CPU they are not captured."""

    def _reason_against_graphs(self, samples):
        return None


def working(net, X, device="cpu", **kwargs):
    module = net.module_
    return WorkingSamples(X, None, module.offset.numpy(), module.scale, torch.device(device), **kwargs)


def trained(net, kind, samples, epochs=3):
    """Return a net of another class after some epochs."""
    net.__class__ = kind
    net.callbacks_, net.history = [], None
    net.initialize_history()
    return net.run(*samples, epochs=epochs)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*OPTIONS, *VAE_OPTIONS])
def test_epochs_on_the_device_equal_those_of_the_loop(name, net_of, X):
    """One large step per epoch, because more of them would amplify rounding errors."""
    samples = working(net_of(name), X[:500]), working(net_of(name), X[500:])
    loop, device = net_of(name), net_of(name)
    for net, kind in ((loop, AutoencoderNet), (device, OnDevice)):
        net.batch_size = 250
        trained(net, kind, samples)
    terms = device.criterion_.terms
    assert len(terms) == 2 * (name in VAE_OPTIONS)
    for curve in [f"{prefix}_{loss}" for prefix in ("train", "valid") for loss in ("loss", *terms)]:
        np.testing.assert_allclose(device.history[:, curve], loop.history[:, curve], rtol=1e-3)
    assert device.history[0, "train_loss"] == pytest.approx(loop.history[0, "train_loss"], rel=1e-4)
    assert len(set(loop.history[:, "train_loss"])) == 3
    for got, expected in zip(device.module_.parameters(), loop.module_.parameters(), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-2, atol=1e-3)


def test_samples_that_are_not_in_memory_are_validated_by_the_loop(net_of, X):
    net = net_of("identity")
    train = working(net, X[:500])
    valid = [working(net, X[500:], lazy=lazy) for lazy in (False, True)]
    nets = [trained(net_of("identity"), OnDevice, (train, v)) for v in valid]
    assert nets[0].history[:, "valid_loss"] == pytest.approx(nets[1].history[:, "valid_loss"])
    assert [CapturedEpochs(nets[0], train, v).serves(False) for v in valid] == [True, False]


@pytest.mark.parametrize("name", ["identity", "vae"])
def test_the_net_is_restored_after_training(name, net_of, X):
    net = net_of(name)
    trained(net, OnDevice, (working(net, X), None))
    groups = net.optimizer_.param_groups
    assert [group["lr"] for group in groups] == [net.lr * group["lr_multiplier"] for group in groups]
    assert not any(group["capturable"] for group in groups)
    assert all(p.grad is None for p in net.module_.parameters())
    assert net.captured_ is None
    assert net.graph_fallback_reason_ is None
    assert not isinstance(getattr(net.criterion_, "share", 1.0), torch.Tensor)


def test_epochs_on_the_device_are_left_out_of_pickles(net_of, X):
    net = net_of("identity")
    net.step_, net.n_steps_ = 0, 10
    net.generator = Generator()
    captured = CapturedEpochs(net, working(net, X), None)
    assert pickle.loads(pickle.dumps(captured)) is None
    assert copy.deepcopy(captured) is None


@pytest.mark.parametrize("name", [*OPTIONS, *VAE_OPTIONS])
def test_no_step_needs_a_value_or_another_device(name, net_of):
    """Tensors on torch's "meta" device have no values, and raise an error with those of the CPU."""
    net, x = net_of(name), torch.empty((50, 9), device="meta")
    assert net.capturable
    net.module_.to("meta").train().requires_grad_(True)
    net.criterion_.schedule(torch.empty((), device="meta"))
    recorded = []
    loss = net.criterion_(net.module_(x, Generator()), recorded.append)
    assert all(terms.is_meta for terms in recorded)
    loss.backward()
    assert loss.device.type == "meta"
    assert all(p.grad is not None and p.grad.is_meta for p in net.module_.parameters())
    assert net.objective_per_sample(x, Generator()).shape == (50,)


def test_a_step_that_needs_a_value_fails_with_meta_tensors(net_of):
    net = net_of("identity")
    net.module_.to("meta")
    net.module_.corruption = NeedsValues()
    with pytest.raises(RuntimeError, match="meta"):
        net.module_(torch.empty((50, 9), device="meta"), Generator())


class NeedsValues(Masking):
    """User-defined corruption that needs a device-to-host synchronisation."""

    def __call__(self, x, generator, stats):
        return super().__call__(x, generator, stats) if float(x.sum()) < np.inf else x


class Batchwise(Callback):
    def on_batch_end(self, net, **kwargs):
        pass


class EpochEnd(Callback):
    def on_epoch_end(self, net, **kwargs):
        pass


class Gradients(Callback):
    def on_grad_computed(self, net, **kwargs):
        pass


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reason", "params"),
    [
        ("user code", {"corruption": NeedsValues()}),
        ("user code", {"corruption": lambda x: x}),
        ("user code", {"network": (nn.Linear(9, 12), nn.Linear(12, 9)), "penalty": "l1"}),
        ("decomposes", {"penalty": L1() + Contractive(n_probes=2)}),
        ("inspects batches", {"callbacks": [Batchwise()]}),
        ("inspects gradients", {"callbacks": [Gradients()]}),
        ("too few", {"max_iter": 1}),
        ("not for cpu", {"max_iter": 300, "batch_size": 500}),
        ("not for cpu", {"max_iter": 300, "batch_size": 500, "callbacks": [EpochEnd()]}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_reason_against_a_capture_is_reported(reason, params, X):
    width = 12 if "network" in params else 3
    # Without early stopping, because a fallback replaces the net.
    model = fitted("identity", X, k=width, early_stopping=False, **params)
    assert reason in model.net_.graph_fallback_reason_


@pytest.mark.parametrize(
    "form", [sparse.csr_array, lambda X: TensorDataset(torch.from_numpy(X))], ids=["sparse", "dataset"]
)
def test_steps_on_streamed_samples_are_not_captured(form, X):
    model = transformer("identity", max_iter=1, early_stopping=False).fit(form(X))
    assert "batch by batch" in model.net_.graph_fallback_reason_


def test_large_steps_are_not_captured(net_of, X):
    net = net_of("identity")
    samples = working(net, X)
    net.n_steps_ = 10_000
    assert "not for cpu" in net._reason_against_graphs(samples)
    net.batch_size = 10**10
    assert "gain nothing" in net._reason_against_graphs(samples)


def test_a_recorder_on_a_cpu_calls_functions_without_a_capture():
    recorder = Recorder(torch.device("cpu"), ())
    calls = []
    for key in (1, 2, 1, 1, 1, 1):
        recorder.run(key, lambda key=key: calls.append(key))
    assert calls == [1, 2, 1, 1, 1, 1]
    assert recorder.graphs == {}
    assert recorder.failure is None


# -- on a GPU -----------------------------------------------------------------------------

LONG = {"max_iter": 120, "batch_size": 64}


class RecordReason(Callback):
    """Callback that records why steps were not captured, also if the model falls back to PCA."""

    def on_train_end(self, net, **kwargs):
        self.graph_fallback_reason_ = net.graph_fallback_reason_


def difference(got, expected):
    """Return the largest difference of two curves, relative to the largest value of the second."""
    return np.max(np.abs(np.subtract(got, expected))) / np.max(np.abs(expected))


def error(model, X):
    return model.reconstruction_error(X).mean()


@needs_cuda
@pytest.mark.parametrize("name", [*OPTIONS, *VAE_OPTIONS])
def test_captured_steps_equal_those_launched_one_by_one(name, X):
    params = {"device": "cuda", "max_iter": 320} if "batch_size" in OPTIONS.get(name, {}) else {}
    params = {"device": "cuda", **LONG, "max_iter": 40, **params}
    first, second = RecordReason(), RecordReason()
    captured = fitted(name, X, **params, callbacks=[first])
    eager = fitted(name, X, **params, callbacks=[second, Batchwise()])
    assert first.graph_fallback_reason_ is None
    assert "batches" in second.graph_fallback_reason_
    for curve in ("train_loss", "valid_loss"):
        assert difference(captured.net_.losses(curve), eager.net_.losses(curve)) < 0.03  # 0.011 was seen
    for term in captured.net_.criterion_.terms:
        for curve in (f"train_{term}", f"valid_{term}"):
            scale = np.max(np.abs(eager.loss_curve_))
            found = np.subtract(captured.net_.losses(curve), eager.net_.losses(curve))
            assert np.abs(found).max() < 0.03 * scale


@needs_cuda
def test_wide_layers_are_captured_in_bfloat16(digits):
    params = {"hidden_layer_sizes": (6000,), "max_iter": 25, "random_state": 0, "device": "cuda"}
    captured = AutoencoderTransformer(8, **params, callbacks=[record := RecordReason()]).fit(digits)
    assert captured.net_.bf16
    assert record.graph_fallback_reason_ is None
    eager = AutoencoderTransformer(8, **params, callbacks=[Batchwise()]).fit(digits)
    assert difference(captured.loss_curve_, eager.loss_curve_) < 0.02


@needs_cuda
def test_a_fit_in_full_batches_equals_that_of_the_cpu(X):
    """Without noise and shuffling, devices differ in rounding only."""
    on_cpu = fitted("full batch", X, max_iter=320)
    on_gpu = fitted("full batch", X, max_iter=320, device="cuda", callbacks=[record := RecordReason()])
    assert record.graph_fallback_reason_ is None
    assert difference(on_gpu.loss_curve_[:50], on_cpu.loss_curve_[:50]) < 1e-3
    assert error(on_gpu, X) == pytest.approx(error(on_cpu, X), rel=0.02)


@needs_cuda
@pytest.mark.parametrize("name", ["identity", "tied", "masking, ordered", "contractive", "poisson", "vae"])
def test_a_fit_in_batches_is_as_good_as_on_the_cpu(name, X):
    """The order of samples and the noise depend on the device, as on the seed."""
    on_cpu = [error(fitted(name, X, random_state=seed, **LONG), X) for seed in range(4)]
    on_gpu = error(fitted(name, X, device="cuda", **LONG), X)
    assert 0.75 * min(on_cpu) < on_gpu < 1.25 * max(on_cpu)


@needs_cuda
def test_every_form_of_x_gives_the_same_fit(X, tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    curves = [
        transformer("identity", device="cuda", max_iter=10).fit(form).loss_curve_
        for form in (X, mapped, sparse.csr_array(X))
    ]
    assert difference(curves[1], curves[0]) < 0.05
    assert difference(curves[2], curves[0]) < 1e-3


@needs_cuda
def test_a_callback_can_freeze_a_layer(X):
    class Freeze(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 20:
                net.module_.encoder.network[0].weight.requires_grad_(False)
                self.weight_ = net.module_.encoder.network[0].weight.detach().clone()
            if len(net.history) == 30:  # at its end, the module holds the averaged weights
                assert torch.equal(net.module_.encoder.network[0].weight, self.weight_)
                self.seen_ = True

    freeze, record = Freeze(), RecordReason()
    fitted("identity", X, device="cuda", **LONG, callbacks=[freeze, record])
    assert record.graph_fallback_reason_ is None
    assert freeze.seen_


@needs_cuda
def test_meta_estimators_train_on_the_gpu(X):
    chosen = AutoencoderTransformerCV([1, 3], cv=2, max_iter=30, device="cuda", random_state=0).fit(X)
    assert chosen.n_components_ == 3
    outliers = np.random.RandomState(1).uniform(-2, 3, (20, 9))
    inner = AutoencoderTransformer(3, device="cuda", max_iter=30)
    detector = AEOutlierDetector(inner, random_state=0).fit(X)
    assert np.median(detector.score_samples(outliers)) < np.quantile(detector.score_samples(X), 0.05)


@needs_cuda
def test_training_continues_on_the_gpu(X):
    model = fitted("identity", X, device="cuda", warm_start=True, **LONG)
    before = min(model.validation_loss_curve_)
    model.fit(X[:500], X_val=X[500:])
    assert min(model.validation_loss_curve_) <= 1.01 * before
    chunks = transformer("identity", device="cuda")
    errors = [error(chunks.partial_fit(X), X) for _ in range(20)]
    assert errors[-1] < errors[0]


@needs_cuda
@pytest.mark.parametrize("corruption", ["masking", torch.nn.functional.dropout])
def test_generators_and_streams_are_restored(corruption, X, unchanged_globals):
    state, stream = torch.cuda.get_rng_state(), torch.cuda.current_stream()
    first, second = (fitted("identity", X, device="cuda", corruption=corruption, **LONG) for _ in range(2))
    assert torch.equal(torch.cuda.get_rng_state(), state)
    assert torch.cuda.current_stream() == stream
    assert difference(second.loss_curve_[:5], first.loss_curve_[:5]) < 1e-3


@needs_cuda
def test_a_model_from_the_gpu_can_be_loaded_without_one(X, tmp_path):
    model = fitted("vae", X, device="cuda", **LONG)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(model))
    np.save(tmp_path / "X.npy", X)
    code = (
        "import pickle, numpy as np, torch; assert not torch.cuda.is_available()\n"
        "model = pickle.load(open('model.pkl', 'rb')); np.save('Z.npy', model.transform(np.load('X.npy')))"
    )
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=hidden)
    np.testing.assert_allclose(np.load(tmp_path / "Z.npy"), model.transform(X), rtol=1e-10)


@needs_cuda
def test_memory_is_released(X):
    """Except what libraries allocate once."""

    def used():
        torch.cuda.empty_cache()
        return np.array([torch.cuda.memory_allocated(), torch.cuda.memory_reserved()])

    fitted("identity", X, device="cuda", **LONG)
    after_one = used()
    for _ in range(3):
        fitted("identity", X, device="cuda", **LONG)
    assert (used() <= after_one + 2**20).all()


@needs_cuda
def test_a_failed_capture_changes_nothing_but_the_speed(X):
    class Disguised(NeedsValues):
        __module__ = Masking.__module__

    params = {"device": "cuda", "max_iter": 40, "batch_size": 64, "random_state": 0}
    params["early_stopping"] = False  # a single training
    model = AutoencoderTransformer(3, corruption=Disguised(), callbacks=[record := RecordReason()], **params)
    state = torch.cuda.get_rng_state()
    with pytest.warns(RuntimeWarning, match="could not be captured"):
        model.fit(X)
    assert torch.equal(torch.cuda.get_rng_state(), state)
    torch.rand(3, device="cuda")  # torch's own generator does not remain part of the capture
    assert "capture failed" in record.graph_fallback_reason_
    eager = AutoencoderTransformer(3, corruption=Masking(), callbacks=[Batchwise()], **params).fit(X)
    assert difference(model.loss_curve_, eager.loss_curve_) < 0.01
