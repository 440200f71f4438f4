"""scikit-learn's support for other arrays, switched on: everything returns what it returns without.

SciPy reads ``SCIPY_ARRAY_API`` when it is imported, so that these tests run in a process of their own.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.utils.fixes import parse_version
from test_threads import X_of, estimators, fitted, methods_of, result_of

from sklearn_ae import AEOutlierDetector
from sklearn_ae import latent as la
from sklearn_ae import metrics as me
from sklearn_ae.inspection import LatentSpaceDisplay, OutlierScoreDisplay, ReconstructionDisplay

IS_ON = os.environ.get("SCIPY_ARRAY_API") == "1"
inside = pytest.mark.skipif(not IS_ON, reason="runs in a process with SCIPY_ARRAY_API=1")
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # few epochs
    pytest.mark.skipif(parse_version(scipy.__version__) < parse_version("1.14"), reason="not supported"),
]


@pytest.mark.skipif(IS_ON, reason="is on already")
@pytest.mark.parametrize(
    "file", ["test_array_api.py", pytest.param("test_common.py", marks=pytest.mark.slow)]
)
def test_in_a_process_with_the_array_api(file):
    path = Path(__file__).with_name(file)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(path)],
        env=os.environ | {"SCIPY_ARRAY_API": "1"},
        cwd=path.parents[1],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]


@inside
@pytest.mark.parametrize("name", estimators())
def test_methods_return_what_they_return_without(name):
    for method in methods_of(estimators()[name]):
        expected = result_of(name, method)
        with config_context(array_api_dispatch=True):
            found = result_of(name, method)
        for part, truth in zip(found, expected, strict=True):
            np.testing.assert_array_equal(part, truth, err_msg=method)


@inside
@pytest.mark.parametrize("name", estimators())
def test_tensors_are_taken_as_arrays(name):
    X = X_of(name)
    with config_context(array_api_dispatch=True):
        model = clone(estimators()[name]).fit(torch.tensor(X))
        codes = model.transform(torch.tensor(X))
        np.testing.assert_array_equal(codes, fitted(name).transform(X))
        decoded = model.inverse_transform(torch.tensor(codes))
        np.testing.assert_array_equal(decoded, fitted(name).inverse_transform(codes))


y = X_of("vae")[:, 0] > 0.3
TOOLS = {
    "interpolate": lambda model, X: la.interpolate(model, X[:1], X[1:2]),
    "traverse": lambda model, X: la.traverse(model, X[:1], 0, [-1.0, 1.0]),
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
    "LatentSpaceDisplay": lambda model, X: arrays_of(LatentSpaceDisplay.from_estimator(model, X)),
    "ReconstructionDisplay": lambda model, X: arrays_of(ReconstructionDisplay.from_estimator(model, X)),
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
