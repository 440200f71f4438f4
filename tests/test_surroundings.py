"""Settings of torch that a user may have changed: every public method gives the same, bit for bit."""

import contextlib
import copy
import pickle

import numpy as np
import pytest
import torch
from test_threads import CALLS, X_of, fitted, global_state, names, result_of

pytestmark = pytest.mark.filterwarnings("ignore")  # few epochs


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


SURROUNDINGS = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "default dtype": lambda: default_dtype(torch.float64),
    "default dtype of half the size": lambda: default_dtype(torch.bfloat16),
    "default device": lambda: default_device("meta"),  # every tensor that is created on it is useless
}


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_results_do_not_depend_on_the_surroundings(surroundings, name):
    for method in [method for owner, method in CALLS if owner == name]:
        expected = result_of(name, method)
        with SURROUNDINGS[surroundings]():
            before = global_state()
            found = result_of(name, method)
            assert global_state() == before
        for part, truth in zip(found, expected, strict=True):
            np.testing.assert_array_equal(part, truth, err_msg=method)


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_a_model_loaded_in_other_surroundings_is_the_same(surroundings, name):
    model, X = fitted(name), X_of(name)
    stored = pickle.dumps(model)
    with SURROUNDINGS[surroundings]():
        loaded, copied = pickle.loads(stored), copy.deepcopy(model)
    for twin in (loaded, copied):
        for method in {"score_samples", "transform"} & set(dir(twin)):
            np.testing.assert_array_equal(getattr(twin, method)(X), getattr(model, method)(X))
        if hasattr(twin, "partial_fit"):
            whole = np.nan_to_num(X)  # chunks must be complete
            continued = [copy.deepcopy(m).partial_fit(whole).transform(X) for m in (twin, model)]
            np.testing.assert_array_equal(*continued)
        if "warm_start" in twin.get_params():
            warm = [copy.deepcopy(m).set_params(warm_start=True) for m in (twin, model)]
            np.testing.assert_array_equal(*[m.fit(X).transform(X) for m in warm])
            twin.partial_fit(np.nan_to_num(X))  # of the loaded model itself
