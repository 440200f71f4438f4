"""Priors of a trained VAE's codes.

Training pulls the aggregate posterior towards N(0, I) but does not reach it: if the
data form groups, so do the codes. A prior is fitted to the codes after training, and
used for sampling, ``score_samples`` and ``elbo``. Encoder and decoder do not change.
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

_MAX_ITER = 50  # EM iterations of a mixture


class FittedPrior(nn.Module):
    """Base class of fitted priors, which define ``log_prob`` and ``draw``.

    Tensors are registered as buffers, so that they follow the precision of the model.
    """

    _required: tuple[str, ...] = ("log_prob", "draw")

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density of codes (..., n_components) in nats, of shape (...,)."""
        raise NotImplementedError

    def draw(self, n: int, rng: np.random.RandomState) -> np.ndarray:
        """Return n codes drawn from the prior, of shape (n, n_components)."""
        raise NotImplementedError

    def derivatives(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient of minus the log-density and a positive definite curvature.

        Their shapes are (n, n_components) and (n, n_components, n_components) for codes
        (n, n_components). By default the gradient is by autograd, and the curvature that
        of N(0, I), which affects the variance of ``score_samples`` only.
        """
        with torch.inference_mode(False), torch.enable_grad():
            z = z.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(-self.log_prob(z).sum(), z)
        eye = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
        return gradient, eye.expand(len(z), *eye.shape)


class FittedMixture(FittedPrior):
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

    @classmethod
    def of(cls, mixture: GaussianMixture) -> FittedMixture:
        """Take the parameters of scikit-learn's mixture."""
        parts = np.log(mixture.weights_), mixture.means_, mixture.precisions_cholesky_
        return cls(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density of codes (..., k) in nats, of shape (...,)."""
        return self._log_joint(z)[0].logsumexp(-1)

    def derivatives(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient of minus the log-density, and the precision of the components.

        The precision is averaged with the posterior probabilities of the components.
        """
        log_joint, whitened = self._log_joint(z)
        share = torch.softmax(log_joint, -1)
        gradient = torch.einsum("nc,ncj,cij->ni", share, whitened, self.roots)
        return gradient, torch.einsum("nc,cij,clj->nil", share, self.roots, self.roots)

    def draw(self, n: int, rng: np.random.RandomState) -> np.ndarray:
        """Return n codes drawn from the mixture, of shape (n, k)."""
        chosen = torch.from_numpy(rng.choice(len(self.means), n, p=self._weights()))
        normal = torch.from_numpy(rng.standard_normal((n, self.means.shape[1])))[..., None]
        step = torch.linalg.solve_triangular(self.roots[chosen].double().mT, normal, upper=False)
        return (self.means[chosen].double() + step[..., 0]).numpy()

    def _weights(self) -> np.ndarray:
        weights = self.log_weights.double().exp().numpy()
        return weights / weights.sum()

    def _log_joint(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return log(weight times density) of each component (..., C), and (z - mean)' R (..., C, k)."""
        whitened = torch.einsum("...ci,cij->...cj", z[..., None, :] - self.means, self.roots)
        log_det = self.roots.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = self.log_weights + log_det - 0.5 * z.shape[-1] * LOG_2PI
        return constant - 0.5 * whitened.square().sum(-1), whitened


class Prior(Option):
    """Base class of the priors."""

    #: names of the members without a default
    _required: tuple[str, ...] = ("fit",)

    def fit(
        self, codes: np.ndarray, validation_codes: np.ndarray, all_codes: np.ndarray
    ) -> FittedPrior | None:
        """Fit to draws from the posteriors of samples; None stands for N(0, I).

        Parameters
        ----------
        codes, validation_codes : ndarray of shape (n, n_components), (n_validation, n_components)
            Draws for training and for validation samples, to select hyperparameters.
        all_codes : ndarray of shape (n_all, n_components)
            Draws for all samples, to fit the returned prior.
        """
        raise NotImplementedError


class StandardNormal(Prior):
    """N(0, I), the prior that the VAE is trained with.

    Examples
    --------
    >>> from sklearn_ae import VAETransformer
    >>> VAETransformer(8, prior="normal").prior
    'normal'
    """

    def fit(
        self, codes: np.ndarray, validation_codes: np.ndarray, all_codes: np.ndarray
    ) -> FittedPrior | None:
        return None


class Mixture(Prior):
    """Mixture of normal distributions, fitted to the codes of the training samples after training.

    The mixture is fitted to draws from the posterior of every sample, and so
    approximates the aggregate posterior, the prior with the highest ELBO [1]_.
    Validation samples select the number of components, and N(0, I) is kept unless a
    mixture is significantly better.

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

    def fit(
        self, codes: np.ndarray, validation_codes: np.ndarray, all_codes: np.ndarray
    ) -> FittedPrior | None:
        normal = norm.logpdf(validation_codes).sum(1)
        best, n_components = normal, 0
        for c in 2 ** np.arange(int(math.log2(self.max_components)) + 1):
            if len(codes) < 2 * c * (codes.shape[1] + 1):
                break
            log_prob = fit_mixture(codes, int(c), 0, _MAX_ITER).score_samples(validation_codes)
            if log_prob.mean() > best.mean():
                best, n_components = log_prob, int(c)
            elif c > 4 * max(n_components, 1):
                break
        gain = best - normal
        if not n_components or gain.mean() < gain.std() / math.sqrt(len(gain)):
            return None
        return FittedMixture.of(fit_mixture(all_codes, n_components, 0, _MAX_ITER))


PRIORS = {
    "normal": StandardNormal,
    "mixture": Mixture,
}
