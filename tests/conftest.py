"""Data that the tests share, and the state that every test must leave as it was."""

import random
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from torch import Generator

from sklearn_ae import VAETransformer
from sklearn_ae._building import Slots, build_module
from sklearn_ae.bottlenecks import Plain
from sklearn_ae.losses import SquaredError
from sklearn_ae.networks import Dense


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


def build(X, k=4, network=None, *, bottleneck=None, corruption=None, loss=None, penalty=None, **params):
    """The module that training starts from, and the PCA beneath it."""
    params = {
        "init": "pca",
        "hidden_layer_sizes": (10,),
        "activation": "gelu",
        "tied_weights": False,
        **params,
    }
    pca = PCA(min(k, *X.shape), svd_solver="full").fit(X)
    sizes = params["hidden_layer_sizes"]
    network, bottleneck = network or Dense(), bottleneck or Plain()
    slots = Slots(network, sizes, bottleneck, corruption, loss or SquaredError(), penalty)
    return build_module(SimpleNamespace(**params), slots, pca, k, X, Generator().manual_seed(0)), pca


def build_vae(X, k=4, **params):
    """The variational autoencoder that training starts from, and the PCA beneath it."""
    model = VAETransformer(k, **{"hidden_layer_sizes": (10,), **params})
    pca = PCA(min(k, *X.shape), svd_solver="full").fit(X)
    return build_module(model, model._resolve_slots(), pca, k, X, Generator().manual_seed(0)), pca
