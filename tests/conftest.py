"""Data that the tests share, and the state that every test must leave as it was."""

import random
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.utils.validation import validate_data

from sklearn_ae._estimators import validation

# Scripts that tests run in processes of their own, where importing them changes the state of PyTorch
collect_ignore = ["emulated_device.py", "emulated_inference.py", "rank_scenarios.py"]


def pytest_addoption(parser):
    parser.addoption(
        "--perturb",
        action="store_true",
        help="change every X that an estimator receives by 1e-12 of its entries: a test that then fails "
        "asserts digits which training amplifies, and fails on another processor, too",
    )
    parser.addoption(
        "--fuzz",
        type=int,
        metavar="N",
        help="try N random examples in each test of test_fuzz.py instead of a few that are always the same",
    )


def pytest_configure(config):
    if config.getoption("--perturb"):
        validation.validate_data = lambda *args, **kwargs: perturbed(validate_data(*args, **kwargs))


def pytest_terminal_summary(terminalreporter):
    """Print how many fits of test_fuzz.py gave a model, and how many were refused with which message."""
    counts = Counter()
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "fuzz":
                counts.update(value)
    if counts:
        terminalreporter.section("fuzz test")
        for message, count in counts.most_common():
            terminalreporter.line(f"{count:6} {message}")


@pytest.fixture
def unperturbed(monkeypatch):
    """Let estimators see X itself, for comparisons with internals that are called with X."""
    monkeypatch.setattr(validation, "validate_data", validate_data)


def perturbed(X):
    """Return validated X with each entry reduced by up to 2e-12 of itself, or by its last digits if float32.

    The mantissa is rounded up, and then reduced by less than a unit, which is a function
    of the rounded mantissa. Therefore all methods, slices and containers see the same
    numbers, and a second validation does not change them again. Zeros, signs and the
    range of the features are kept, and powers of two.
    """
    if sparse.issparse(X):
        X = X.copy()
        X.data = perturbed(X.data)
        return X
    bits, unit = (22, 2.0**-2) if X.dtype == np.float32 else (40, 2.0**-12)
    finite = np.isfinite(X)
    mantissa, exponent = np.frexp(np.where(finite, X, 0.0).astype(np.float64))
    rounded = np.ceil(np.abs(mantissa) * 2.0**bits)
    share = np.where(rounded == 2.0 ** (bits - 1), 0, rounded * 0.6180339887 % 1 // unit * unit)
    changed = np.copysign(np.ldexp((rounded - share) / 2.0**bits, exponent), X).astype(X.dtype)
    return np.where(finite, changed, X)


@pytest.fixture(scope="session")
def digits():
    return load_digits().data


@pytest.fixture(scope="session")
def digits_split(digits):
    order = np.random.RandomState(0).permutation(len(digits))
    return digits[order[:1437]], digits[order[1437:]]


@pytest.fixture(scope="session")
def curve():
    """600 noisy points on a curve in five dimensions: one nonlinear degree of freedom."""
    rng = np.random.RandomState(0)
    t = rng.uniform(-2, 2, 600)
    X = np.column_stack([t, t**2, np.sin(2 * t), np.cos(2 * t), 0.5 * t**3])
    return X + 0.05 * rng.normal(size=X.shape)


def global_state():
    """Everything global that a call must not change."""
    return (
        random.getstate(),
        [np.asarray(part).tolist() for part in np.random.get_state()],
        torch.get_rng_state().tolist(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        list(warnings.filters),
    )


@pytest.fixture
def unchanged_globals():
    before = global_state()
    yield
    assert global_state() == before
