"""Data that the tests share, and the state that every test must leave as it was."""

import functools
import random
import warnings

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.datasets import load_digits

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer


def pytest_addoption(parser):
    parser.addoption(
        "--perturb",
        action="store_true",
        help="change every X that is fitted by 1e-12 of its entries: a test that then fails asserts digits "
        "which training amplifies, and fails on another processor, too",
    )


def pytest_configure(config):
    if config.getoption("--perturb"):
        for cls in (AEOutlierDetector, AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer):
            for name in ("fit", "fit_transform", "partial_fit"):
                if isinstance(vars(cls).get(name) or getattr(cls, name, None), type(perturbing)):
                    setattr(cls, name, perturbing(getattr(cls, name)))


def perturbing(method):
    """Let a method see its first argument changed in the last digits."""

    @functools.wraps(method)
    def wrapped(self, X, *args, **kwargs):
        return method(self, perturbed(X), *args, **kwargs)

    return wrapped


def perturbed(X):
    """X with every entry changed by up to 1e-12 of itself, within the range of X; zeros stay."""
    if sparse.issparse(X):
        X = X.copy()
        X.data = perturbed(X.data)
        return X
    if type(X) is not np.ndarray or X.dtype.kind != "f" or not X.size or not np.isfinite(X).all():
        return X
    eps = max(1e-12, np.finfo(X.dtype).eps)
    noise = np.random.RandomState(0).uniform(-eps, eps, size=X.shape)
    return np.clip(X + X * noise.astype(X.dtype), X.min(), X.max())


@pytest.fixture(scope="session")
def digits():
    return load_digits().data


@pytest.fixture(scope="session")
def digits_split(digits):
    order = np.random.RandomState(0).permutation(len(digits))
    return digits[order[:1437]], digits[order[1437:]]


@pytest.fixture(scope="session")
def curve():
    """300 noisy points on a curve in five dimensions: one nonlinear degree of freedom."""
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
