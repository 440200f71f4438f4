"""Prior of the code, and starting points of the mode search."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._density.decoder import Decode, Decoder
from sklearn_ae._density.importance_sampling import normal_draws
from sklearn_ae._utils.gaussian import log_standard_normal
from sklearn_ae.priors import FittedPrior

# Values per chunk, few enough to stay in the cache: twice as fast as large blocks.
CHUNK = 2**19


@dataclass(frozen=True)
class LatentModel:
    """Prior of the codes, and landmarks as starting points of the mode search.

    Attributes
    ----------
    mean : Tensor of shape (k,)
    scale : Tensor of shape (k, k)
        Lower-triangular root of the prior covariance.
    landmarks : Tensor of shape (n_landmarks, k)
        Training codes, and draws within and beyond the prior.
    prior : FittedPrior or None
        Prior of u instead of N(0, I).
    """

    mean: Tensor
    scale: Tensor
    landmarks: Tensor
    prior: FittedPrior | None = None

    @classmethod
    def fit(
        cls,
        decode: Decoder | Decode,
        mean: Tensor,
        root: Tensor,
        codes: Tensor,
        noise_variance: float,
        *,
        scale: Tensor | None = None,
    ) -> LatentModel:
        """Take the moments of the training codes, minus the share of the noise in them.

        For principal components this is probabilistic PCA: the covariance is
        ``Lambda - noise_variance * I``.

        Parameters
        ----------
        decode : Decoder or callable
            Maps float64 codes (n, k) to ``eta`` (n, d).
        mean : Tensor of shape (k,)
        root : Tensor of shape (k, k)
            R with R'R the covariance of the codes.
        codes : Tensor of shape (m, k)
            Some training codes.
        noise_variance : float
            Variance of Gaussian noise on x; 0 subtracts nothing.
        scale : Tensor of shape (k, k), default=None
            Result of an earlier call, which takes longer than everything else here.
        """
        if scale is None:
            floored = _floored_root(root)
            floored = floored @ _signal_root(Decoder.of(decode), codes, floored, noise_variance)
            scale = torch.linalg.qr(floored.T).R.T
        return cls._with_draws(mean, scale, codes)

    @classmethod
    def standard(cls, codes: Tensor, prior: FittedPrior | None = None) -> LatentModel:
        """Return N(0, I), or the given prior, with some training codes as landmarks."""
        unit = cls.unit(codes.shape[1])
        return replace(cls._with_draws(unit.mean, unit.scale, codes), prior=prior)

    @classmethod
    def unit(cls, k: int) -> LatentModel:
        """Return the standard normal prior without landmarks for the mode search."""
        scale = torch.eye(k, dtype=torch.float64, device="cpu")
        return cls(scale.new_zeros(k), scale, scale[:0])

    @classmethod
    def _with_draws(cls, mean: Tensor, scale: Tensor, codes: Tensor) -> LatentModel:
        """Add draws within and beyond the prior to the landmarks."""
        k = len(mean)
        # Steep decoders need draws that fill the prior, which is possible in low dimension only.
        reach, normal = normal_draws(1024 if k <= 2 else 256, k, seed=1)
        # Samples far from the data have modes far from the prior: half of the draws are
        # stretched, by factors up to 6.
        normal = normal * 6.0 ** (2.0 * reach[:, None] - 1.0).clamp_min(0.0)
        return cls(mean, scale, torch.cat([codes, mean + normal @ scale.T]))

    def whiten(self, codes: Tensor) -> Tensor:
        """Map codes z to u."""
        centred = (codes - self.mean).T
        return torch.linalg.solve_triangular(self.scale, centred, upper=False).T

    def log_prior(self, u: Tensor) -> Tensor:
        """Return the log-density of u (..., k)."""
        if self.prior is not None:
            return self.prior.log_prob(u)
        return log_standard_normal(u).sum(-1)

    def prior_derivatives(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient (n, k) of minus the log-prior and its curvature, (n, k, k) or (k, k)."""
        if self.prior is not None:
            return self.prior.derivatives(u)
        return u, torch.eye(u.shape[1], dtype=u.dtype, device=u.device)

    def colour(self, u: Tensor) -> Tensor:
        """Map u to codes z."""
        return self.mean + u @ self.scale.T


class CodePrior(FittedPrior):
    """Prior of codes z = mean + scale u, given that of u.

    Parameters
    ----------
    mean : Tensor of shape (k,)
    scale : Tensor of shape (k, k)
        Lower-triangular.
    whitened : FittedPrior
        Prior of u.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor, whitened: FittedPrior):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.whitened = whitened

    def latent_model(self, codes: Tensor) -> LatentModel:
        """Return the distribution of the codes, with some training codes as landmarks."""
        return replace(LatentModel._with_draws(self.mean, self.scale, codes), prior=self.whitened)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density of codes (..., k) in nats, of shape (...,)."""
        u = torch.linalg.solve_triangular(self.scale.mT, z - self.mean, upper=True, left=False)
        return self.whitened.log_prob(u) - self.scale.diagonal().log().sum()

    def draw(self, n: int, rng: np.random.RandomState) -> np.ndarray:
        """Return n codes drawn from the prior, of shape (n, k)."""
        return self.mean.numpy() + self.whitened.draw(n, rng) @ self.scale.numpy().T

    def marginal(self, k: int) -> CodePrior:
        """Return the prior of the first k components, which depend on the first k of u alone."""
        return CodePrior(self.mean[:k], self.scale[:k, :k], self.whitened.marginal(k))


def _floored_root(root: Tensor) -> Tensor:
    """Return A with AA' = R'R, floored in directions without variance."""
    _, size, basis = torch.linalg.svd(root)
    return basis.T * size.clamp_min(max(1e-8 * float(size.max()), 1e-15))


def _signal_root(decoder: Decoder, codes: Tensor, root: Tensor, noise_variance: float) -> Tensor:
    """Return the square root of I - mean of noise_variance * inv(J'J), J in units of root.

    Directions that do not change the decoder's output (overcomplete codes) hold no
    noise, so nothing is subtracted from them.
    """
    share = torch.zeros_like(root)
    for block in codes.split(chunk_size((root.shape[0] + 1) * 256)):
        jac = decoder.expand(block, root, order=1).jac.double()
        gram = jac.mT @ jac
        noise = noise_variance * torch.eye(len(root), dtype=root.dtype, device="cpu")
        info = torch.linalg.cholesky_ex(gram - noise).info
        # In the usual case, more signal than noise in all directions, no eigenvectors are needed.
        usual = (info == 0) & (noise_variance > 1e-9 * gram.diagonal(dim1=1, dim2=2).sum(1))
        share += noise_variance * torch.cholesky_inverse(torch.linalg.cholesky(gram[usual])).sum(0)
        power, basis = torch.linalg.eigh(gram[~usual])
        null = power <= 1e-9 * power[:, -1:].clamp_min(1e-300)
        part = (noise_variance / power.clamp_min(noise_variance)).masked_fill(null, 0.0)
        share += torch.einsum("nij,nj,nkj->ik", basis, part, basis)
    share, basis = torch.linalg.eigh(share / len(codes))
    return basis * (1.0 - share).clamp_min(1e-8).sqrt()


def decode_all(decode: Decoder, codes: Tensor) -> Tensor:
    """Decode codes (n, k) in parts, without a graph."""
    with torch.no_grad():
        return torch.cat([decode(some) for some in codes.split(1024)])


def chunk_size(n_values: int) -> int:
    """Return the number of samples in a chunk if each takes this many values."""
    return max(1, CHUNK // n_values)
