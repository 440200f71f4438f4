"""scikit-learn's support for other arrays, switched on: tensors in and out, and all else as without.

SciPy reads ``SCIPY_ARRAY_API`` when it is imported, so that these tests run in a process of their own.
"""

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy
import sklearn
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.utils.estimator_checks import check_array_api_input
from sklearn.utils.fixes import parse_version
from test_threads import X_of, estimators, fitted, methods_of, names, result_of

from sklearn_ae import (
    AEOutlierDetector,
    AutoencoderTransformer,
    AutoencoderTransformerCV,
    VAETransformer,
)
from sklearn_ae import latent as la
from sklearn_ae import metrics as me
from sklearn_ae._utils.namespaces import as_numpy
from sklearn_ae.inspection import (
    LatentSpaceDisplay,
    OutlierScoreDisplay,
    ReconstructionDisplay,
    TraversalDisplay,
    component_contributions,
)

IS_ON = os.environ.get("SCIPY_ARRAY_API") == "1"
inside = pytest.mark.skipif(not IS_ON, reason="runs in a process with SCIPY_ARRAY_API=1")
strict = pytest.importorskip("array_api_strict")
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # few epochs
    pytest.mark.skipif(parse_version(scipy.__version__) < parse_version("1.14"), reason="not supported"),
]


@pytest.mark.skipif(IS_ON, reason="is on already")
@pytest.mark.parametrize(
    "arguments",
    [
        ["test_array_api.py", "-m", "not slow"],
        ["test_common.py", "-k", "array_api", "-m", "not slow"],
        pytest.param(["test_array_api.py", "-m", "slow"], marks=pytest.mark.slow),
        pytest.param(["test_common.py"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_in_a_process_with_the_array_api(arguments):
    path = Path(__file__).with_name(arguments[0])
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(path), *arguments[1:]],
        env=os.environ | {"SCIPY_ARRAY_API": "1"},
        cwd=path.parents[1],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]


@inside
@pytest.mark.parametrize("name", names())
def test_methods_return_what_they_return_without(name):
    for method in methods_of(estimators()[name]):
        expected = result_of(name, method)
        with config_context(array_api_dispatch=True):
            found = result_of(name, method)
        for part, truth in zip(found, expected, strict=True):
            np.testing.assert_array_equal(part, truth, err_msg=method)


NAMESPACES = {
    "torch": torch.from_numpy,
    "strict": lambda X: strict.asarray(X, device=strict.Device("device1")),
}
METHODS = [
    *("transform", "score_samples", "reconstruction_error", "posterior", "kl_divergence", "elbo"),
    *("decision_function", "predict", "pvalues", "explain"),
]


def assert_like(found, expected, X):
    """Compare arrays of the library and device of X with NumPy's; last bits of sums may differ."""
    if isinstance(expected, tuple):
        for part, truth in zip(found, expected, strict=True):
            assert_like(part, truth, X)
        return
    assert type(found) is type(X)
    assert found.device == X.device
    found = as_numpy(found)
    assert found.dtype == expected.dtype
    precision = 100 * np.finfo(np.dtype(str(X.dtype).rpartition(".")[2])).eps
    np.testing.assert_allclose(found, expected, rtol=precision)


@inside
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("name", names())
def test_arrays_go_in_and_come_out(name, namespace, dtype):
    if name == "flow" and namespace == "strict":
        pytest.skip("scores under a flow take seconds")
    array = X_of(name).astype(dtype)
    X = NAMESPACES[namespace](array)
    expected = clone(estimators()[name]).fit(array)
    with config_context(array_api_dispatch=True):
        model = clone(estimators()[name]).fit(X)
        for method in METHODS:
            if hasattr(expected, method):
                assert_like(getattr(model, method)(X), getattr(expected, method)(array), X)
        assert_like(model.fit_transform(X), expected.transform(array), X)
        codes = model.transform(X)
        if hasattr(model, "inverse_transform"):
            decoded = expected.inverse_transform(expected.transform(array))
            assert_like(model.inverse_transform(codes), decoded, X)
        if hasattr(model, "score"):
            assert model.score(X) == expected.score(array)
        if hasattr(model, "mean_"):
            assert_like(model.mean_, expected.mean_, X)
    if namespace == "torch":  # without the support, tensors are taken as arrays
        found = model.transform(X)
        assert isinstance(found, np.ndarray)
        np.testing.assert_array_equal(found, expected.transform(array))


@inside
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_whitened_tensors(dtype):
    X = torch.tensor(X_of("default"), dtype=dtype)
    whitening = clone(estimators()["default"]).set_params(whiten=True)
    expected = clone(whitening).fit(X.numpy())
    with config_context(array_api_dispatch=True):
        model = whitening.fit(X)
        codes = model.transform(X)
        decoded = model.inverse_transform(codes)
    assert codes.dtype is decoded.dtype is dtype
    tolerance = 1e-12 if dtype is torch.float64 else 1e-5
    np.testing.assert_allclose(codes, expected.transform(X.numpy()), atol=tolerance)
    np.testing.assert_allclose(decoded, expected.inverse_transform(codes.numpy()), atol=tolerance)


CHECKED = {
    "PCA": PCA(2),
    "transformer": AutoencoderTransformer(2, hidden_layer_sizes=()),
    "vae": VAETransformer(2, hidden_layer_sizes=()),
    "cv": AutoencoderTransformerCV([1, 2], hidden_layer_sizes=()),
    "detector": AEOutlierDetector(AutoencoderTransformer(2, hidden_layer_sizes=()), n_estimators=2),
}


@inside
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CHECKED)
def test_scikit_learn_check_with_values(name, dtype):
    check_array_api_input(name, CHECKED[name], "torch", "cpu", dtype, check_values=True)


def error_of(function, *arguments):
    with pytest.raises((ValueError, TypeError)) as caught:
        function(*arguments)
    return type(caught.value), str(caught.value)


@inside
@pytest.mark.skipif(parse_version(sklearn.__version__) < parse_version("1.9"), reason="PCA does not check")
@pytest.mark.parametrize("name", list(CHECKED)[1:])
@pytest.mark.parametrize("fitted_with", ["numpy", "torch"])
def test_other_arrays_than_those_of_fit_are_refused_as_by_pca(name, fitted_with):
    X = X_of("default")
    wrong, right = [torch.tensor(X), X] if fitted_with == "numpy" else [X, torch.tensor(X)]
    with config_context(array_api_dispatch=True):
        pca, model = PCA(2).fit(right), clone(CHECKED[name]).fit(right)
        for argument in (wrong, wrong.tolist()) if fitted_with == "torch" else (wrong,):
            kind, message = error_of(pca.transform, argument)
            assert error_of(model.transform, argument) == (kind, message.replace("PCA", type(model).__name__))
            error_of(model.inverse_transform, argument)
    model.transform(wrong)  # as arrays, without the support


@inside
@pytest.mark.parametrize("name", ["transformer", "vae", "cv"])
def test_bad_tensors_are_refused_as_arrays(name):
    X = X_of("default")
    with config_context(array_api_dispatch=True):
        model = clone(CHECKED[name]).fit(torch.tensor(X))
    array = clone(CHECKED[name]).fit(X)
    for bad in (X[:, 1:], X[:0], X[0], np.where(X > 0.5, np.nan, X), 1e300 * X + np.inf, X[None]):
        with config_context(array_api_dispatch=True):
            found = error_of(model.transform, torch.tensor(bad))
        kind, message = error_of(array.transform, bad)
        assert found[0] is kind
        assert found[1].split()[:5] == message.split()[:5]
    with config_context(array_api_dispatch=True):
        assert "too far" in error_of(model.transform, torch.tensor(1e308 * np.sign(X)))[1]
        assert "has 7 components" in error_of(model.inverse_transform, torch.zeros(2, 7))[1]


@inside
def test_other_dtypes_and_gradients_of_tensors():
    X = torch.tensor(X_of("default"))
    with config_context(array_api_dispatch=True):
        model = clone(CHECKED["transformer"]).fit(X.requires_grad_())
        assert not model.transform(X).requires_grad
        assert model.transform(X.bfloat16()).dtype is torch.float32
        assert model.transform((9 * X).int()).dtype is torch.float64
        assert model.partial_fit(X.detach()).transform(X).dtype is torch.float64


@inside
@pytest.mark.parametrize("name", ["transformer", "vae", "cv", "detector"])
def test_a_model_is_moved_and_stored(name):
    X = X_of("default")
    model = clone(CHECKED[name]).fit(X)
    with config_context(array_api_dispatch=True):
        moved = model.__sklearn_array_api_convert__(torch.from_numpy)
        for twin in (moved, copy.copy(moved), copy.deepcopy(moved), pickle.loads(pickle.dumps(moved))):
            assert_like(twin.transform(torch.tensor(X)), model.transform(X), torch.tensor(X))
        assert isinstance(clone(moved).fit(X).transform(X), np.ndarray)
    state = moved.__getstate__()
    assert not any(isinstance(value, torch.Tensor) for value in state.values())


y = X_of("vae")[:, 0] > 0.3
TOOLS = {
    "interpolate": lambda model, X: la.interpolate(model, X[:1], X[1:2]),
    "traverse": lambda model, X: la.traverse(model, X[:1], 0, [-1.0, 1.0]),
    "traverse by quantiles": lambda model, X: la.traverse(model, X[:1], [0, 1], X=X),
    "latent_grid": lambda model, X: la.latent_grid(model, 3, X=X).samples,
    "attribute_vector": lambda model, X: la.attribute_vector(model, X[y], X[~y]),
    "apply_attribute": lambda model, X: la.apply_attribute(model, X, [1.0, 0.0]),
    "sample_latent": lambda model, X: la.sample_latent(model, X, 5, random_state=0),
    "mixture": lambda model, X: la.sample_latent(model, X, 5, density="mixture", random_state=0),
    "mutual_information": lambda model, X: me.mutual_information(model, X, random_state=0),
    "total_correlation": lambda model, X: me.total_correlation(model, X, random_state=0),
    "gap": lambda model, X: me.mutual_information_gap(model, X, y, random_state=0),
    "noise_sensitivity": lambda model, X: me.noise_sensitivity(model, X, random_state=0),
    "lipschitz_estimate": lambda model, X: me.lipschitz_estimate(model, X),
    "round_trip_error": lambda model, X: me.round_trip_error(model, X, random_state=0),
    "explained_variance": lambda model, X: me.explained_variance_scorer(model, X),
    "reconstruction_error": lambda model, X: me.neg_reconstruction_error_scorer(model, X),
    "log_likelihood": lambda model, X: me.log_likelihood_scorer(model, X),
    "compare_reducers": lambda model, X: me.compare_reducers([model], X, [1, 2], y, cv=2, random_state=0)[
        ["reconstruction_error", "log_likelihood", "accuracy"]
    ],
    "component_contributions": lambda model, X: component_contributions(model, X).decoder,
    "LatentSpaceDisplay": lambda model, X: arrays_of(LatentSpaceDisplay.from_estimator(model, X)),
    "ReconstructionDisplay": lambda model, X: arrays_of(ReconstructionDisplay.from_estimator(model, X)),
    "TraversalDisplay": lambda model, X: arrays_of(TraversalDisplay.from_estimator(model, X, x=X[:1])),
    "OutlierScoreDisplay": lambda model, X: arrays_of(OutlierScoreDisplay.from_estimator(detector(), X)),
}


def arrays_of(display):
    arrays = [np.ravel(value) for value in vars(display).values() if isinstance(value, np.ndarray)]
    return np.concatenate([array for array in arrays if array.dtype.kind == "f"])


def detector():
    return AEOutlierDetector(n_estimators=1, random_state=0).fit(X_of("vae"))


@inside
@pytest.mark.parametrize("as_input", [np.asarray, torch.tensor])
@pytest.mark.parametrize("tool", TOOLS)
def test_tools_return_what_they_return_without(tool, as_input):
    model, X = fitted("vae"), X_of("vae")
    expected = TOOLS[tool](model, X)
    with config_context(array_api_dispatch=True):
        np.testing.assert_array_equal(TOOLS[tool](model, as_input(X)), expected)
        model = clone(model).fit(as_input(X))
        np.testing.assert_array_equal(TOOLS[tool](model, as_input(X)), expected)
