"""Densities and divergences of normal distributions, and mixtures of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from sklearn_ae._utils.arrays import numpy_only
from sklearn_ae._utils.runtime import one_blas_thread, without_foreign_warnings

LOG_2PI = math.log(2.0 * math.pi)


def kl_per_component(mu: Tensor, log_var: Tensor) -> Tensor:
    """Return KL(N(mu, exp(log_var)) || N(0, 1)) of each entry, in nats."""
    return 0.5 * (mu.square() + log_var.exp() - 1.0 - log_var)


def log_normal(z: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    """Return the log-density of each entry under N(mu, exp(log_var))."""
    return -0.5 * ((z - mu).square() * (-log_var).exp() + log_var + LOG_2PI)


def log_standard_normal(z: Tensor) -> Tensor:
    """Return the log-density of each entry under N(0, 1)."""
    return -0.5 * (z.square() + LOG_2PI)


def gaussian_log_likelihood(x: Tensor, loadings: Tensor, noise_variance: float) -> Tensor:
    """Return the log-density of samples under ``N(0, L'L + noise_variance * I)``.

    No matrix of size d x d is formed. Singular vectors of L are used because
    Woodbury's identity loses digits by subtracting two large numbers.

    Parameters
    ----------
    x : Tensor of shape (n, d)
        Centred samples.
    loadings : Tensor of shape (k, d)
        L, the matrix of the decoder times a root of the prior covariance.
    noise_variance : float

    References
    ----------
    M. Tipping, C. Bishop (1999), Probabilistic principal component analysis,
    Journal of the Royal Statistical Society B 61(3).
    """
    _, s, v = torch.linalg.svd(loadings, full_matrices=False)
    scores = x @ v.T
    variance = s.square() + noise_variance
    distance = (scores.square() / variance).sum(1)
    distance = distance + (x - scores @ v).square().sum(1) / noise_variance
    log_det = variance.log().sum() + (x.shape[1] - len(s)) * math.log(noise_variance)
    log_p = -0.5 * (distance + log_det + x.shape[1] * LOG_2PI)
    return log_p.masked_fill(log_p.isnan(), -math.inf)  # a difference of infinities, of extreme samples


_FLOOR = 1e-3  # added to the variances of mixture components of codes with about unit variance


def fit_mixture(codes: np.ndarray, n_components: int, random_state: Any, max_iter: int) -> GaussianMixture:
    """Fit scikit-learn's mixture to codes of about unit variance, with ConvergenceWarning suppressed.

    Callers evaluate the fit on other samples. A floor of the variances keeps components from
    collapsing onto a few samples.
    """
    mixture = GaussianMixture(n_components, reg_covar=_FLOOR, max_iter=max_iter, random_state=random_state)
    with without_foreign_warnings(), one_blas_thread(), numpy_only():
        return mixture.fit(codes)
