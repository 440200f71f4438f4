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

_MAX_VALUES = 2**21  # of the loadings of incomplete samples that are held at a time


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
        Centred samples. The density is that of the observed features where others are NaN.
    loadings : Tensor of shape (k, d)
        L, the matrix of the decoder times a root of the prior covariance.
    noise_variance : float

    References
    ----------
    M. Tipping, C. Bishop (1999), Probabilistic principal component analysis,
    Journal of the Royal Statistical Society B 61(3).
    """
    incomplete = x.isnan().any(1)
    if bool(incomplete.any()):
        log_p = x.new_empty(len(x))
        log_p[~incomplete] = gaussian_log_likelihood(x[~incomplete], loadings, noise_variance)
        log_p[incomplete] = _marginal_log_likelihood(x[incomplete], loadings, noise_variance)
        return log_p
    _, s, v = torch.linalg.svd(loadings, full_matrices=False)
    scores = x @ v.T
    variance = s.square() + noise_variance
    distance = (scores.square() / variance).sum(1)
    distance = distance + (x - scores @ v).square().sum(1) / noise_variance
    log_det = variance.log().sum() + (x.shape[1] - len(s)) * math.log(noise_variance)
    log_p = -0.5 * (distance + log_det + x.shape[1] * LOG_2PI)
    return log_p.masked_fill(log_p.isnan(), -math.inf)  # a difference of infinities, of extreme samples


def _marginal_log_likelihood(x: Tensor, loadings: Tensor, noise_variance: float) -> Tensor:
    """Return the log-density of the observed features of incomplete samples.

    With the singular value decomposition L_o = U S V' of the loadings of the observed features of
    each sample, it is that of complete samples.
    """
    return torch.cat([_marginal_part(part, loadings, noise_variance) for part in x.split(_rows(loadings))])


def _rows(loadings: Tensor) -> int:
    """Return the number of samples whose loadings are held at a time."""
    return max(1, _MAX_VALUES // max(loadings.numel(), 1))


def _marginal_part(x: Tensor, loadings: Tensor, noise_variance: float) -> Tensor:
    observed = ~x.isnan()
    x = x.nan_to_num(0.0)
    _, s, v = torch.linalg.svd(loadings * observed[:, None].to(x.dtype), full_matrices=False)
    scores = (v @ x[..., None])[..., 0]
    variance = s.square() + noise_variance
    distance = (scores.square() / variance).sum(1)
    rest = (x - (scores[:, None] @ v)[:, 0]).masked_fill(~observed, 0.0)
    distance = distance + rest.square().sum(1) / noise_variance
    n_observed = observed.sum(1).to(x.dtype)
    log_det = variance.log().sum(1) + (n_observed - s.shape[1]) * math.log(noise_variance)
    log_p = -0.5 * (distance + log_det + n_observed * LOG_2PI)
    return log_p.masked_fill(log_p.isnan(), -math.inf)


_FLOOR = 1e-3  # added to the variances of mixture components of codes with about unit variance


def fit_mixture(codes: np.ndarray, n_components: int, random_state: Any, max_iter: int) -> GaussianMixture:
    """Fit scikit-learn's mixture to codes of about unit variance, with ConvergenceWarning suppressed.

    Callers evaluate the fit on other samples. A floor of the variances keeps components from
    collapsing onto a few samples.
    """
    mixture = GaussianMixture(n_components, reg_covar=_FLOOR, max_iter=max_iter, random_state=random_state)
    with without_foreign_warnings(), one_blas_thread(), numpy_only():
        return mixture.fit(codes)
