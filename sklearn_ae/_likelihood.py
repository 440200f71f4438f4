import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class LatentModel:
    mean: Tensor
    scale: Tensor
    noise_variance: float
    landmarks: Tensor

    @classmethod
    def fit(cls, decode, mean, root, landmarks, noise):
        return cls(mean, root.T, noise, landmarks)


def log_likelihood(x, decode, codes, latent, n_draws):
    return -((decode(codes) - x) ** 2).sum(1), torch.zeros(len(x))


def gaussian_log_likelihood(x: Tensor, loadings: Tensor, noise_variance: float) -> Tensor:
    """Log-density of rows under N(0, L'L + sigma^2 I), without any d x d matrix.

    Parameters
    ----------
    x : Tensor of shape (n, d)
    loadings : Tensor of shape (k, d)
        The rows of L.
    noise_variance : float
        sigma^2.
    """
    d, k = x.shape[1], len(loadings)
    # the posterior mode u splits x' C^-1 x into |x - L'u|^2 / sigma^2 + |u|^2, a sum of squares
    # that does not cancel; R'R = L L' + sigma^2 I comes from a QR that does not square L
    noise_root = math.sqrt(noise_variance) * torch.eye(k, dtype=x.dtype)
    q, r = torch.linalg.qr(torch.cat([loadings.T, noise_root]))
    u = torch.linalg.solve_triangular(r, (x @ q[:d]).T, upper=True).T
    misfit = (x - u @ loadings).square().sum(1) / noise_variance + u.square().sum(1)
    log_det = 2 * r.diagonal().abs().log().sum() + (d - k) * math.log(noise_variance)
    return -0.5 * (misfit + log_det + d * math.log(2 * math.pi))


N_DRAWS = 128
