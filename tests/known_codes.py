"""Models whose codes or posteriors are known, and samples for which measures have closed forms."""

import numpy as np
from scipy.integrate import trapezoid
from scipy.special import ive
from scipy.stats import norm
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.preprocessing import FunctionTransformer

CODES = FunctionTransformer(inverse_func=lambda Z: Z)  # Samples are their own codes
CORRELATION = np.array([[1.0, 0.8, 0.3], [0.8, 1.0, 0.5], [0.3, 0.5, 1.0]])


class Noisy(TransformerMixin, BaseEstimator):
    """Model whose posteriors have the samples as means."""

    def __init__(self, std=0.1):
        self.std = std

    def transform(self, X):
        return np.asarray(X)

    inverse_transform = transform

    def posterior(self, X):
        return np.asarray(X), np.broadcast_to(self.std, np.shape(X))


def normal(n, covariance, seed=0):
    """Return normal samples with exactly this covariance."""
    X = np.random.RandomState(seed).normal(size=(n, len(covariance)))
    white = PCA(whiten=True).fit_transform(X) * np.sqrt(n / (n - 1))
    return white @ np.linalg.cholesky(covariance).T


def uniform(n, k, seed=0):
    return np.random.RandomState(seed).uniform(size=(n, k))


def circle(n, seed=0):
    angle = 2 * np.pi * uniform(n, 1, seed)[:, 0]
    return np.column_stack([np.cos(angle), np.sin(angle)])


def integrated_entropy(values, density):
    return -trapezoid(density * np.log(np.maximum(density, 1e-300)), values)


def circle_entropy(std):
    """Return the entropy of a point on the unit circle with normal noise, by its radial Bessel density."""
    r = np.linspace(max(1e-9, 1 - 9 * std), 1 + 9 * std, 20001)
    log_density = np.log(ive(0, r / std**2)) - (r - 1) ** 2 / (2 * std**2) - np.log(2 * np.pi * std**2)
    return -trapezoid(2 * np.pi * r * np.exp(log_density) * log_density, r)


def cosine_entropy(std):
    """Return the entropy of the cosine of a uniform angle with normal noise."""
    x = np.linspace(-1 - 8 * std, 1 + 8 * std, 2001)
    angles = (np.arange(1000) + 0.5) * np.pi / 1000
    return integrated_entropy(x, norm.pdf(x[:, None], np.cos(angles), std).mean(1))


def normal_entropy(std, k=1):
    return 0.5 * k * np.log(2 * np.pi * np.e * std**2)
