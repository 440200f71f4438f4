"""Inference on devices, copies of the module for them, and data frames from inverse_transform."""

import copy
import gc
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_threads import X_of, estimators, fitted
from torch.utils import backend_registration

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, VAETransformer
from sklearn_ae._estimators import inference
from sklearn_ae._estimators.inference import inference_module
from sklearn_ae._utils.compat import InvalidParameterError
from sklearn_ae._utils.runtime import running_on, selected_device

pytestmark = pytest.mark.filterwarnings("ignore")  # few epochs
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
X = X_of("default")

# -- copies of the module ---------------------------------------------------------------


def new(**params):
    return AutoencoderTransformer(2, hidden_layer_sizes=(6,), max_iter=3, random_state=0, **params)


def test_the_copy_in_another_precision_is_kept():
    model = new().fit(X)
    twin = inference_module(model.module_, "cpu", np.float32)
    assert twin.offset.dtype is torch.float32
    assert inference_module(model.module_, "cpu", np.float32) is twin
    assert inference_module(model.module_, torch.device("cpu"), torch.float32) is twin
    assert inference_module(model.module_, "cpu", np.float64) is model.module_


def test_a_change_of_the_weights_makes_a_new_copy():
    model = new(init="random").fit(X)
    before = model.transform(np.float32(X))
    with torch.no_grad():
        next(model.module_.parameters()).mul_(2)
    after = model.transform(np.float32(X))
    assert not np.allclose(after, before)
    np.testing.assert_allclose(after, model.transform(X), atol=1e-5)


@pytest.mark.parametrize(
    "refit", [lambda m: m.fit(2 * X), lambda m: m.partial_fit(2 * X)], ids=["fit", "partial"]
)
def test_another_fit_makes_a_new_copy(refit):
    model = new(init="random").partial_fit(X)
    model.transform(np.float32(X))
    refit(model)
    np.testing.assert_allclose(model.transform(np.float32(X)), model.transform(X), rtol=1e-4, atol=1e-5)


def test_copies_are_neither_stored_nor_kept_after_the_module():
    model = new().fit(X)
    size = len(pickle.dumps(model))
    model.transform(np.float32(X))
    assert len(pickle.dumps(model)) == size
    assert vars(clone(model)).keys() == model.get_params().keys()
    before = len(inference._COPIES)
    del model
    gc.collect()
    assert len(inference._COPIES) < before


def test_truncated_models_have_copies_of_their_own():
    model = new(bottleneck="ordered").fit(X)
    codes = model.transform(np.float32(X))
    assert model.truncate(1).transform(np.float32(X)).shape == (len(X), 1)
    np.testing.assert_array_equal(model.transform(np.float32(X)), codes)


# -- devices ------------------------------------------------------------------------------


def test_a_model_of_an_absent_device_infers_on_the_cpu():
    model = new().fit(X)
    expected = model.transform(X)
    model.set_params(device="cuda:99")
    np.testing.assert_array_equal(model.transform(X), expected)
    state = model.__getstate__() | {"_device": "cuda:99"}
    loaded = object.__new__(AutoencoderTransformer)
    loaded.__setstate__(state)
    assert loaded.mean_.device.type == "cpu"


def test_tensors_decide_instead_of_the_parameter():
    with running_on(torch.zeros(1)):
        assert selected_device("cuda:99").type == "cpu"
        with running_on(X):
            assert selected_device("cpu").type == "cpu"
        assert selected_device("cuda:99").type == "cpu"
    with pytest.raises(ValueError, match="device='cuda:99' cannot be used here"):
        selected_device("cuda:99")


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this version of PyTorch has no devices in Python",
)
@pytest.mark.parametrize("kind", ["arrays", "tensors"])
def test_inference_on_an_emulated_device_is_that_on_the_cpu(kind):
    run = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("emulated_inference.py")), kind],
        env=os.environ | {"SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-5000:]


def test_convolutions_on_gpus_are_exact():
    def flags():
        cudnn = torch.backends.cudnn
        return cudnn.enabled, cudnn.benchmark, cudnn.deterministic, torch._C._get_cudnn_allow_tf32()

    before = flags()
    with inference._exact_convolutions(), inference._exact_convolutions():
        assert flags() == (*before[:3], False)
    assert flags() == before


@needs_cuda
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", estimators())
def test_inference_on_a_gpu_is_that_on_the_cpu(name, dtype):
    if name == "flow":
        pytest.skip("scores under a flow take seconds")
    model, x = copy.copy(fitted(name)), X_of(name).astype(dtype)
    codes, errors = model.transform(x), None
    decoded = model.inverse_transform(codes)
    if hasattr(model, "reconstruction_error"):
        errors = model.reconstruction_error(x)
    if isinstance(model, AEOutlierDetector):
        for autoencoder in (model := copy.deepcopy(model)).estimators_:
            autoencoder.set_params(device="cuda")
    else:
        model.device = "cuda"
        assert inference_module(model.module_, "cuda", dtype).offset.is_cuda
    found = model.transform(x)
    assert isinstance(found, np.ndarray)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, codes, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.inverse_transform(codes), decoded, rtol=1e-5, atol=1e-5)
    if errors is not None:
        np.testing.assert_allclose(model.reconstruction_error(x), errors, rtol=1e-4, atol=1e-5)


@needs_cuda
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", ["default", "conv", "vae", "cv", "detector"])
def test_tensors_on_a_gpu_stay_there(name, dtype):
    pytest.importorskip("array_api_strict")
    x = torch.tensor(X_of(name), dtype=dtype, device="cuda")
    try:
        context = config_context(array_api_dispatch=True)
        context.__enter__()
    except RuntimeError:
        pytest.skip("needs SCIPY_ARRAY_API=1")
    with context:
        model = clone(estimators()[name]).fit(x)
        codes = model.transform(x)
        decoded, scores = model.inverse_transform(codes), model.score_samples(x)
        loaded = pickle.loads(pickle.dumps(model))
        assert torch.equal(loaded.transform(x), codes)
    assert all(result.is_cuda for result in (codes, decoded, scores))
    assert codes.dtype is decoded.dtype is dtype
    array = x.cpu().numpy()
    np.testing.assert_allclose(codes.cpu(), model.transform(array), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scores.cpu(), model.score_samples(array), rtol=1e-4, atol=1e-4)


# -- data frames ----------------------------------------------------------------------------

NAMES = list("abcdefghi")
FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame}
MODELS = {
    "transformer": new(),
    "vae": VAETransformer(2, hidden_layer_sizes=(6,), max_iter=3, random_state=0),
    "detector": AEOutlierDetector(new(), n_estimators=1, random_state=0),
}


def frame_of(container, x=X):
    if container == "pandas":
        return pd.DataFrame(x, columns=NAMES, index=np.arange(len(x)) + 1000)
    return pl.DataFrame(x, schema=NAMES)


@pytest.mark.parametrize("container", FRAMES)
@pytest.mark.parametrize("name", MODELS)
def test_decoded_frames_have_the_names_of_the_features(name, container):
    frame = frame_of(container)
    model = clone(MODELS[name]).fit(frame)
    codes = model.transform(frame)
    expected = model.inverse_transform(codes)
    assert isinstance(expected, np.ndarray)
    model.set_output(transform=container)
    for given in (codes, model.transform(frame)):
        decoded = model.inverse_transform(given)
        assert isinstance(decoded, FRAMES[container])
        assert list(decoded.columns) == NAMES
        np.testing.assert_array_equal(decoded.to_numpy(), expected)
        if isinstance(given, pd.DataFrame):
            assert decoded.index.equals(frame.index)
    with config_context(transform_output=container):
        assert isinstance(clone(MODELS[name]).fit(frame).inverse_transform(codes), FRAMES[container])


def test_names_without_names_and_float32():
    model = new().set_output(transform="pandas").fit(np.float32(X))
    decoded = model.inverse_transform(model.transform(np.float32(X)))
    assert list(decoded.columns) == [f"x{j}" for j in range(9)]
    assert set(decoded.dtypes) == {np.dtype(np.float32)}
    model.set_output(transform="default")
    assert isinstance(model.inverse_transform(np.zeros((1, 2))), np.ndarray)


@pytest.mark.parametrize("container", FRAMES)
def test_pipelines_decode_frames(container):
    frame = frame_of(container)
    pipeline = (
        make_pipeline(StandardScaler(), new(n_iter_no_change=5)).set_output(transform=container).fit(frame)
    )
    codes = pipeline.transform(frame)
    plain = clone(pipeline).set_output(transform="default").fit(X)
    np.testing.assert_allclose(pipeline.inverse_transform(codes), plain.inverse_transform(plain.transform(X)))
    autoencoders = make_pipeline(new(), AutoencoderTransformer(1, hidden_layer_sizes=()))
    decoded = (
        autoencoders.set_output(transform=container)
        .fit(frame)
        .inverse_transform(autoencoders.transform(frame))
    )
    assert list(decoded.columns) == NAMES


def test_tools_do_not_depend_on_set_output():
    from sklearn_ae.latent import traverse
    from sklearn_ae.metrics import explained_variance_scorer, neg_reconstruction_error_scorer

    frame = frame_of("pandas")
    model = new().fit(frame)
    expected = explained_variance_scorer(model, frame), neg_reconstruction_error_scorer(model, frame)
    walk = traverse(model, frame[:1], 0, [-1.0, 1.0])
    model.set_output(transform="pandas")
    assert (
        explained_variance_scorer(model, frame),
        neg_reconstruction_error_scorer(model, frame),
    ) == expected
    np.testing.assert_array_equal(traverse(model, frame[:1], 0, [-1.0, 1.0]), walk)


def test_copies_follow_weights_that_are_replaced():
    model = copy.deepcopy(fitted("random"))
    x = X_of("default").astype(np.float32)
    model.transform(x)
    for parameter in model.module_.parameters():
        parameter.data = parameter.data * 2
    np.testing.assert_allclose(model.transform(x), model.transform(x.astype(float)), rtol=1e-3, atol=1e-4)


def test_a_name_of_no_device_is_refused_after_fit():
    with pytest.raises(InvalidParameterError, match="bogus"):
        copy.deepcopy(fitted("random")).set_params(device="bogus").transform(X_of("default"))
