"""Priors of the codes of a trained autoencoder.

Training a VAE pulls the aggregate posterior towards N(0, I) but does not reach it: if
the data form groups, so do the codes. The codes of a deterministic autoencoder are not
pulled at all. A prior is fitted to them after training, and used for sampling,
``score_samples`` and ``elbo``. Encoder and decoder do not change.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from scipy.stats import norm
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from sklearn_ae._options import Option
from sklearn_ae._utils.compat import Interval, InvalidParameterError
from sklearn_ae._utils.gaussian import LOG_2PI, fit_mixture
from sklearn_ae._utils.runtime import forked_global_rng, threads_for

_MAX_ITER = 50  # EM iterations of a mixture

# Floor of the eigenvalues of a mixture's curvature; those of N(0, I) are 1
_LEAST_CURVATURE = 0.1

# Training of a flow: steps at most, steps between evaluations, and evaluations without an improvement
_MAX_STEPS = 600
_INTERVAL = 20
_PATIENCE = 6
_BATCH_SIZE = 256
_LEARNING_RATE = 0.01


class FittedPrior(nn.Module):
    """Base class of fitted priors, which define ``log_prob`` and ``draw``; ``truncate`` needs ``marginal``.

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

    def marginal(self, k: int) -> FittedPrior:
        """Return the prior of the first k components."""
        raise ValueError(
            f"{type(self).__name__} does not define the marginal distribution of the first {k} components: "
            f"fit a model with n_components={k}, or use prior='mixture'."
        )


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
        """Return the gradient of minus the log-density, and its Hessian made positive definite."""
        log_joint, whitened = self._log_joint(z)
        share = torch.softmax(log_joint, -1)
        slopes = torch.einsum("ncj,cij->nci", whitened, self.roots)
        gradient = torch.einsum("nc,nci->ni", share, slopes)
        weighted = share.sqrt()[..., None] * (slopes - gradient[:, None])
        hessian = torch.einsum("nc,cij->nij", share, self.roots @ self.roots.mT) - weighted.mT @ weighted
        power, basis = torch.linalg.eigh(hessian)
        return gradient, (basis * power.clamp_min(_LEAST_CURVATURE)[:, None]) @ basis.mT

    def draw(self, n: int, rng: np.random.RandomState) -> np.ndarray:
        """Return n codes drawn from the mixture, of shape (n, k)."""
        chosen = torch.from_numpy(rng.choice(len(self.means), n, p=self._weights()))
        normal = torch.from_numpy(rng.standard_normal((n, self.means.shape[1])))[..., None]
        step = torch.linalg.solve_triangular(self.roots[chosen].double().mT, normal, upper=False)
        return (self.means[chosen].double() + step[..., 0]).numpy()

    def marginal(self, k: int) -> FittedMixture:
        """Return the mixture of the first k components of the codes."""
        # A block of the inverse of a triangular matrix is the inverse of its block.
        return FittedMixture(self.log_weights, self.means[:, :k], self.roots[:, :k, :k])

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
    """Base class of the priors.

    They are fitted to codes of about unit variance: those of a deterministic autoencoder are whitened.
    """

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
    """N(0, I), the prior that a VAE is trained with.

    The whitened codes of a deterministic autoencoder have this prior.

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
        n_components, _ = self._select(codes, validation_codes)
        return self._of_size(n_components, all_codes)

    def _select(self, codes: np.ndarray, validation_codes: np.ndarray) -> tuple[int, np.ndarray]:
        """Return the number of components, 0 for N(0, I), and the log-density of the validation codes."""
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
        if not n_components or not _is_better(best, normal):
            return 0, normal
        return n_components, best

    def _of_size(self, n_components: int, codes: np.ndarray) -> FittedMixture | None:
        """Return the mixture, or None for N(0, I) without components."""
        if not n_components:
            return None
        return FittedMixture.of(fit_mixture(codes, n_components, 0, _MAX_ITER))


class FittedFlow(FittedPrior):
    """Normalising flow of codes.

    Parameters
    ----------
    flow : zuko.flows.Flow
        Maps codes to N(0, I).
    prior : Flow
        The option that has built it.
    n_components : int
        Number of components.
    """

    def __init__(self, flow: Any, prior: Flow, n_components: int):
        super().__init__()
        self.prior = prior
        self.n_components = n_components
        self.flow = flow.eval().requires_grad_(False)

    @classmethod
    def rebuilt(cls, values: dict[str, Any]) -> FittedFlow:
        """Return a flow with other weights, for those of a file."""
        prior, k = values["prior"], values["n_components"]
        return cls(prior._initial(k).double(), prior, k).eval()

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density of codes (..., k) in nats, of shape (...,)."""
        with z.device:  # zuko makes tensors on the default device
            return self.flow().log_prob(z)

    def draw(self, n: int, rng: np.random.RandomState) -> np.ndarray:
        """Return n codes drawn from the flow, of shape (n, k)."""
        with torch.no_grad(), torch.device("cpu"):
            distribution = copy.deepcopy(self.flow).double()()
            normal = rng.standard_normal((n, *distribution.base.event_shape))
            return distribution.transform.inv(torch.from_numpy(normal)).numpy()

    def derivatives(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient of minus the log-density, and J'J of the transform to N(0, I).

        It is the Gauss-Newton curvature, without the second derivatives of the transform.
        """
        with torch.inference_mode(False), torch.enable_grad(), z.device:
            z = z.detach().clone().requires_grad_()
            normal, log_jacobian = self.flow().transform.call_and_ladj(z)
            energy = 0.5 * normal.square().sum() - log_jacobian.sum()
            outputs = [energy, *normal.sum(0)]
            gradient, *rows = (torch.autograd.grad(y, z, retain_graph=True)[0] for y in outputs)
        jac = torch.stack(rows, 1)
        return gradient, jac.mT @ jac


class Flow(Prior):
    """Normalising flow, fitted to the codes of the training samples after training.

    A neural spline flow [1]_ of the package zuko (``pip install "sklearn-ae[flow]"``) is
    trained on draws from the posterior of every sample, with early stopping on those of
    validation samples. It is used if it is significantly better on them than a
    :class:`Mixture` and N(0, I); otherwise the better of these two is.

    Parameters
    ----------
    transforms : int, default=3
        Number of autoregressive spline transformations.
    hidden_layer_sizes : array-like of int, default=(64, 64)
        Hidden layer sizes of the network of each transformation.

    References
    ----------
    .. [1] C. Durkan, A. Bekasov, I. Murray, G. Papamakarios (2019), Neural spline flows,
       NeurIPS.

    Examples
    --------
    >>> from sklearn_ae import VAETransformer
    >>> from sklearn_ae.priors import Flow
    >>> VAETransformer(8, prior=Flow(transforms=5)).prior
    Flow(transforms=5)
    """

    _parameter_constraints = {
        "transforms": [Interval(Integral, 1, None, closed="left")],
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, transforms: int = 3, hidden_layer_sizes: int | Sequence[int] = (64, 64)):
        self.transforms = transforms
        self.hidden_layer_sizes = hidden_layer_sizes

    def _validate_params(self) -> None:
        super()._validate_params()
        if not all(isinstance(size, int) and size > 0 for size in self._sizes()):
            raise InvalidParameterError(
                f"hidden_layer_sizes of Flow must hold positive integers; got {self.hidden_layer_sizes!r}."
            )
        _zuko()

    def _sizes(self) -> list[int]:
        return np.ravel(self.hidden_layer_sizes).tolist()

    def fit(
        self, codes: np.ndarray, validation_codes: np.ndarray, all_codes: np.ndarray
    ) -> FittedPrior | None:
        mixture = Mixture()
        n_components, log_prob = mixture._select(codes, validation_codes)
        with torch.device("cpu"):
            flow, n_steps = self._train(codes, validation_codes)
            if not _is_better(_log_prob(flow, validation_codes), log_prob):
                return mixture._of_size(n_components, all_codes)
            flow, _ = self._train(all_codes, n_steps=n_steps)
        return FittedFlow(flow.double(), self, codes.shape[1])

    def _train(
        self, codes: np.ndarray, validation_codes: np.ndarray | None = None, n_steps: int = _MAX_STEPS
    ) -> tuple[Any, int]:
        """Return the best flow on the validation codes, or the last one without any, and its steps."""
        generator = torch.Generator().manual_seed(0)
        z = torch.from_numpy(codes).float()
        flow = self._initial(z.shape[1])
        optimizer = torch.optim.Adam(flow.parameters(), lr=_LEARNING_RATE)
        best, best_step, state = -math.inf, 0, copy.deepcopy(flow.state_dict())
        with threads_for(sum(p.numel() for p in flow.parameters()), _BATCH_SIZE):
            for step in range(n_steps):
                optimizer.param_groups[0]["lr"] = _learning_rate(step)
                batch = z[torch.randint(len(z), (_BATCH_SIZE,), generator=generator, device="cpu")]
                optimizer.zero_grad()
                (-flow().log_prob(batch).mean()).backward()
                optimizer.step()
                if validation_codes is None or (step + 1) % _INTERVAL:
                    continue
                value = float(_log_prob(flow, validation_codes).mean())
                if value > best:
                    best, best_step, state = value, step + 1, copy.deepcopy(flow.state_dict())
                elif step + 1 - best_step >= _PATIENCE * _INTERVAL:
                    break
        if validation_codes is None:
            return flow, n_steps
        flow.load_state_dict(state)
        return flow, best_step

    def _initial(self, k: int) -> Any:
        with forked_global_rng(True, 0, torch.device("cpu")), torch.device("cpu"):
            return _zuko().flows.NSF(k, transforms=self.transforms, hidden_features=self._sizes()).float()


def _zuko() -> Any:
    try:
        import zuko
    except ImportError as error:
        raise ImportError('prior="flow" requires the package zuko: pip install "sklearn-ae[flow]"') from error
    return zuko


def _learning_rate(step: int) -> float:
    """Return a rate that decays as a cosine."""
    return 0.5 * _LEARNING_RATE * (1.0 + math.cos(math.pi * step / _MAX_STEPS))


@torch.no_grad()
def _log_prob(flow: Any, codes: np.ndarray) -> np.ndarray:
    """Return log-densities of codes under a flow in float32."""
    parts = torch.from_numpy(codes).float().split(_BATCH_SIZE)
    return torch.cat([flow().log_prob(z) for z in parts]).double().numpy()


def _is_better(log_prob: np.ndarray, other: np.ndarray) -> bool:
    """Return whether log-densities of draws are higher in the mean, by two standard errors.

    Draws from the posterior of one sample count as independent, so that these are too small.
    """
    gain = log_prob - other
    return bool(gain.mean() > 2.0 * gain.std() / math.sqrt(len(gain)))


PRIORS = {
    "normal": StandardNormal,
    "mixture": Mixture,
    "flow": Flow,
}
