"""Priors: how the codes of a VAE are taken to be distributed once it is trained.

Training pulls the codes of all rows together towards N(0, I), and stops short of
it: where the data fall into groups, so do the codes. A prior option says what to
draw from, and to weigh codes by, after training. Encoder and decoder stay as they
are.
"""

from __future__ import annotations

import math
from numbers import Integral

import numpy as np
import torch
from scipy.stats import norm
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from sklearn_ae._options import Option
from sklearn_ae._utils.compat import Interval
from sklearn_ae._utils.gaussian import LOG_2PI, fit_mixture

_MAX_ITER = 50  # of a prior's mixture


class FittedMixture(nn.Module):
    """Mixture of C normal distributions of codes.

    Parameters
    ----------
    log_weights : Tensor of shape (C,)
    means : Tensor of shape (C, k)
    roots : Tensor of shape (C, k, k)
        R with R R' the precision.
    """

    log_weights: Tensor
    means: Tensor
    roots: Tensor

    def __init__(self, log_weights: Tensor, means: Tensor, roots: Tensor):
        super().__init__()
        self.register_buffer("log_weights", log_weights)
        self.register_buffer("means", means)
        self.register_buffer("roots", roots)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of codes (..., k), in nats."""
        return self._log_joint(z)[0].logsumexp(-1)

    def pull(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient of minus the log-density at codes (n, k), and a positive definite curvature (n, k, k).

        The curvature is the components' precision, weighed as they have a share in z.
        """
        log_joint, whitened = self._log_joint(z)
        share = torch.softmax(log_joint, -1)
        gradient = torch.einsum("nc,ncj,cij->ni", share, whitened, self.roots)
        return gradient, torch.einsum("nc,cij,clj->nil", share, self.roots, self.roots)

    def draw(self, n: int, rng: np.random.RandomState) -> np.ndarray:
        """Codes of shape (n, k)."""
        chosen = torch.from_numpy(rng.choice(len(self.means), n, p=self._weights()))
        normal = torch.from_numpy(rng.standard_normal((n, self.means.shape[1])))[..., None]
        step = torch.linalg.solve_triangular(self.roots[chosen].double().mT, normal, upper=False)
        return (self.means[chosen].double() + step[..., 0]).numpy()

    def _weights(self) -> np.ndarray:
        weights = self.log_weights.double().exp().numpy()
        return weights / weights.sum()

    def _log_joint(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """log(weight times density) of each component (..., C), and (z - mean)' R (..., C, k)."""
        whitened = torch.einsum("...ci,cij->...cj", z[..., None, :] - self.means, self.roots)
        log_det = self.roots.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = self.log_weights + log_det - 0.5 * z.shape[-1] * LOG_2PI
        return constant - 0.5 * whitened.square().sum(-1), whitened


class Prior(Option):
    """Base of the priors."""

    def fit(self, codes: np.ndarray, held_out: np.ndarray, everything: np.ndarray) -> FittedMixture | None:
        """Fit to draws from the posteriors of rows; None stands for N(0, I).

        Parameters
        ----------
        codes, held_out : ndarray of shape (n, k), (n_held_out, k)
            Draws for training rows, and for rows that judge how well they fit.
        everything : ndarray of shape (n_all, k)
            Draws for the final fit.
        """
        raise NotImplementedError


class StandardNormal(Prior):
    """N(0, I), by which the VAE is trained.

    Examples
    --------
    >>> from sklearn_ae import VAETransformer
    >>> VAETransformer(8, prior="normal").prior
    'normal'
    """

    def fit(self, codes, held_out, everything):
        return None


class Mixture(Prior):
    """Mixture of normal distributions, fitted to the codes of the training rows after training.

    Draws of the codes' posterior are taken for every row, so that the mixture
    comes near the codes of all rows together, the prior under which the ELBO is
    highest [1]_. Held-out rows choose the number of components, and keep N(0, I)
    where a mixture is no better.

    Parameters
    ----------
    max_components : int, default=64
        Powers of two up to this number are tried.

    References
    ----------
    .. [1] J. Tomczak, M. Welling (2018), VAE with a VampPrior, AISTATS.
    .. [2] P. Ghosh, M. Sajjadi, A. Vergari, M. Black, B. Schoelkopf (2020), From
       variational to deterministic autoencoders, ICLR (the fit after training).

    Examples
    --------
    >>> from sklearn_ae import VAETransformer
    >>> from sklearn_ae.priors import Mixture
    >>> VAETransformer(8, prior=Mixture(max_components=16)).prior
    Mixture(max_components=16)
    """

    _parameter_constraints = {"max_components": [Interval(Integral, 1, None, closed="left")]}

    def __init__(self, max_components: int = 64):
        self.max_components = max_components

    def fit(self, codes, held_out, everything):
        normal = norm.logpdf(held_out).sum(1)
        best, n_components = normal, 0
        for c in 2 ** np.arange(int(math.log2(self.max_components)) + 1):
            if len(codes) < 2 * c * (codes.shape[1] + 1):
                break
            log_prob = fit_mixture(codes, int(c), 0, _MAX_ITER).score_samples(held_out)
            if log_prob.mean() > best.mean():
                best, n_components = log_prob, int(c)
            elif c > 4 * max(n_components, 1):
                break
        gain = best - normal
        if not n_components or gain.mean() < gain.std() / math.sqrt(len(gain)):
            return None
        return _fitted(fit_mixture(everything, n_components, 0, _MAX_ITER))


def _fitted(mixture: GaussianMixture) -> FittedMixture:
    parts = np.log(mixture.weights_), mixture.means_, mixture.precisions_cholesky_
    return FittedMixture(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))


PRIORS = {
    "normal": StandardNormal,
    "mixture": Mixture,
}
