"""Every estimator on an emulated device; test_devices.py runs this file in a process of its own."""

import copy
import sys
import warnings

import numpy as np
import torch
from emulated_device import DEVICE, Remote
from sklearn import set_config
from test_threads import X_of, estimators, fitted

from sklearn_ae import AEOutlierDetector
from sklearn_ae._estimators.inference import inference_module
from sklearn_ae.inspection import component_contributions

METHODS = ("transform", "reconstruction_error", "score_samples", "predict", "elbo")


def check(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert found.dtype == expected.dtype


def check_arrays(model, x):
    """Compare results on the device, for arrays, with those on the CPU."""
    remote = copy.copy(model).set_params(device=DEVICE)
    assert inference_module(remote.module_, DEVICE, x.dtype).offset.device == torch.device(DEVICE)
    codes = model.transform(x)
    check(remote.transform(x), codes)
    check(remote.inverse_transform(codes), model.inverse_transform(codes))
    check(remote.reconstruction_error(x), model.reconstruction_error(x))
    if not np.isnan(x).any():
        found, expected = (component_contributions(each, x) for each in (remote, model))
        check(found.decoder, expected.decoder)
        check(found.encoder, expected.encoder)


def check_tensors(model, x):
    """Compare results for tensors on the device with those for arrays."""
    there = torch.from_numpy(x).to(DEVICE)
    moved = model.__sklearn_array_api_convert__(lambda array: torch.from_numpy(array).to(DEVICE))
    for method in METHODS:
        if hasattr(model, method):
            found = getattr(moved, method)(there)
            assert isinstance(found, Remote)
            check(found.cpu().numpy(), getattr(model, method)(x))
    codes = model.transform(x)
    decoded = moved.inverse_transform(torch.from_numpy(codes).to(DEVICE))
    assert isinstance(decoded, Remote)
    check(decoded.cpu().numpy(), model.inverse_transform(codes))


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # few epochs
    dispatches = sys.argv[1] == "tensors"
    set_config(array_api_dispatch=dispatches)
    # Two take seconds, and the imputer computes with arrays on the CPU.
    for name in estimators().keys() - {"flow", "log-likelihood detector", "incomplete, imputer"}:
        for dtype in (np.float64, np.float32):
            model, x = copy.copy(fitted(name)), X_of(name).astype(dtype)
            if dispatches:
                check_tensors(model, x)
            elif not isinstance(model, AEOutlierDetector):
                check_arrays(model, x)
