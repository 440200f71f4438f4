"""Initial modules, for tests of parts of the package."""

from dataclasses import replace

import numpy as np
import torch
from scipy import sparse
from sklearn.decomposition import PCA
from torch import Generator
from torch.distributions import Bernoulli, Normal, Poisson

from sklearn_ae import VAETransformer
from sklearn_ae._data.in_memory import ArraySamples
from sklearn_ae._model.initialization import ModelSpec, initialize
from sklearn_ae._model.objectives import make_objective
from sklearn_ae.bottlenecks import Identity
from sklearn_ae.losses import SquaredError
from sklearn_ae.networks import Dense

COUNTS = np.random.RandomState(0).poisson(3.0, size=(40, 6)) + 0.0
DATA = {"gaussian": 7.0 * COUNTS, "bernoulli": COUNTS / COUNTS.max(), "poisson": COUNTS}


def start_of(X, spec):
    """Return the initialization of a fit of X at the exact PCA."""
    pca = PCA(min(spec.n_components, *X.shape), svd_solver="full").fit(X)
    return initialize(spec, ArraySamples(X), 0, pca)


def build(X, k=4, network=None, *, bottleneck=None, corruption=None, loss=None, penalty=None, **params):
    """Return the initial module of a fit, and the PCA that it equals."""
    spec = ModelSpec(
        network=network or Dense(),
        bottleneck=bottleneck or Identity(),
        corruption=corruption,
        loss=loss or SquaredError(),
        penalty=penalty,
        n_components=k,
        **{"init": "pca", "hidden_layer_sizes": (10,), "activation": "gelu", "tied_weights": False, **params},
    )
    start = start_of(X, spec)
    return start.module, start.pca


def build_vae(X, k=4, **params):
    """Return the initial variational autoencoder of a fit, and the PCA that it equals."""
    spec = VAETransformer(k, **{"hidden_layer_sizes": (10,), **params})._model_spec()
    start = start_of(X, replace(spec, n_components=k))
    return start.module, start.pca


class Bound:
    """Randomly initialized VAE of counts, one forward pass, and its objective."""

    def __init__(self, likelihood="gaussian", n_samples=1, beta=1.0, warmup=0.0, scale=1.0):
        model = VAETransformer(
            2, likelihood=likelihood, n_importance_samples=n_samples, beta=beta, kl_warmup=warmup
        )
        spec = replace(model._model_spec(), init="random", hidden_layer_sizes=(10,), n_components=2)
        self.likelihood = spec.loss
        self.X = DATA[type(spec.loss).__name__.lower()] * scale
        start = start_of(self.X, spec)
        self.module = start.module
        self.n_samples = n_samples
        with torch.no_grad():  # so that every entry has its own noise
            noise = self.module.noise
            if noise is not None:
                noise.log_variance += torch.linspace(-1, 1, len(noise.log_variance))
                if noise.network is not None:
                    noise.network[-1].weight.normal_(std=0.3, generator=Generator().manual_seed(1))
        self.x = (torch.from_numpy(self.X) - self.module.offset) / self.module.scale
        self.objective = make_objective(start, len(self.X), has_warmup=True)
        self.out = self.forward()

    @torch.no_grad()
    def forward(self, seed=0):
        return self.module(self.x, Generator().manual_seed(seed))

    def by_hand(self):
        """Return posterior, prior, log p(x | z) in the units of X, and the draws, shape (K, n, ...)."""
        mu, log_var = self.out.activations.chunk(2, dim=1)
        z = self.out.codes.view(self.n_samples, *mu.shape)
        eta = self.out.eta.view(self.n_samples, *self.X.shape)
        if self.out.log_noise is None:
            discrete = {"bernoulli": lambda: Bernoulli(logits=eta), "poisson": lambda: Poisson(eta.exp())}
            given = discrete[type(self.likelihood).__name__.lower()]()
            given._validate_args = False  # grey values
        else:
            std = self.module.scale * (0.5 * self.out.log_noise).exp()
            std = std.view_as(eta) if std.ndim > 1 else std
            given = Normal(self.module.in_units(eta), std)
        log_p = given.log_prob(torch.from_numpy(self.X)).sum(2)
        prior = Normal(torch.zeros_like(mu), torch.ones_like(mu))
        return Normal(mu, (0.5 * log_var).exp()), prior, log_p, z


CONTAINERS = {
    "float32": lambda X: X.astype(np.float32),
    "sparse": sparse.csr_array,
    "chunks": lambda X: lambda: iter(np.array_split(X, 3)),
}
