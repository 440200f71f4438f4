"""Modules as training starts from them, for tests of a part of the package."""

from types import SimpleNamespace

from sklearn.decomposition import PCA
from torch import Generator

from sklearn_ae import VAETransformer
from sklearn_ae._model.initialization import build_module
from sklearn_ae._model.spec import ModelSpec
from sklearn_ae.bottlenecks import Identity
from sklearn_ae.losses import SquaredError
from sklearn_ae.networks import Dense


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
    network, bottleneck = network or Dense(), bottleneck or Identity()
    slots = ModelSpec(network, sizes, bottleneck, corruption, loss or SquaredError(), penalty)
    return build_module(SimpleNamespace(**params), slots, pca, k, X, Generator().manual_seed(0)), pca


def build_vae(X, k=4, **params):
    """The variational autoencoder that training starts from, and the PCA beneath it."""
    model = VAETransformer(k, **{"hidden_layer_sizes": (10,), **params})
    pca = PCA(min(k, *X.shape), svd_solver="full").fit(X)
    return build_module(model, model._resolve_slots(), pca, k, X, Generator().manual_seed(0)), pca
