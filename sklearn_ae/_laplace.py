"""Laplace proposals for the posterior of a decoder's code, and the log-likelihood from them.

From several starts (the row's code, landmarks whose reconstructions are near)
damped Gauss-Newton steps reach modes of the posterior; a normal distribution at
each makes a mixture, whose draws :mod:`sklearn_ae._likelihood` weighs. One mode
is not enough on curved data. For a linear decoder the proposal is the posterior.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import torch
from torch import Tensor
from torch.func import jvp, vmap

from sklearn_ae._likelihood import (
    LOG_2PI,
    Proposals,
    importance_log_likelihood,
    log_det,
    normal_draws,
)
from sklearn_ae.losses import Loss

Decode = Callable[[Tensor], Tensor]

# Values per chunk. Small enough to stay in cache: twice as fast as large blocks.
CHUNK = 2**19
N_STARTS = 5
MAX_STEPS = 20
# A mode nearer to another than this squared number of its deviations is the same.
MERGE = 1.0


class Observation(Protocol):
    """How x is distributed given the decoder's output ``eta``."""

    def misfit(self, eta: Tensor, x: Tensor) -> Tensor:
        """Minus log p(x | eta) of each row, constants included."""
        ...

    def misfits(self, etas: Tensor, x: Tensor) -> Tensor:
        """The same for all pairs of rows of x and etas, (n, m), up to a constant for each row."""
        ...

    def slope(self, eta: Tensor, x: Tensor) -> Tensor:
        """Derivative of log p(x | eta) with respect to each entry of eta."""
        ...

    def information(self, eta: Tensor, jac: Tensor) -> Tensor:
        """J'WJ, where W is the Fisher information of eta."""
        ...


@dataclass(frozen=True)
class GaussianObservation:
    """x ~ N(eta, noise_variance * I)."""

    noise_variance: float

    def misfit(self, eta: Tensor, x: Tensor) -> Tensor:
        constant = x.shape[1] * (LOG_2PI + math.log(self.noise_variance))
        return 0.5 * ((x - eta).square().sum(1) / self.noise_variance + constant)

    def misfits(self, etas: Tensor, x: Tensor) -> Tensor:
        return 0.5 * torch.cdist(x, etas).square() / self.noise_variance

    def slope(self, eta: Tensor, x: Tensor) -> Tensor:
        return (x - eta) / self.noise_variance

    def information(self, eta: Tensor, jac: Tensor) -> Tensor:
        return jac.mT @ jac / self.noise_variance


@dataclass(frozen=True)
class DiscreteObservation:
    """Bernoulli or Poisson, in their canonical parameter: log p = x eta - A(eta) + constant."""

    loss: Loss

    def misfit(self, eta: Tensor, x: Tensor) -> Tensor:
        return -self.loss.log_prob(eta, x).sum(1)

    def misfits(self, etas: Tensor, x: Tensor) -> Tensor:
        return self.loss(etas, torch.zeros_like(etas)).sum(1) - x @ etas.T

    def slope(self, eta: Tensor, x: Tensor) -> Tensor:
        return x - self.loss.inverse_link(eta)

    def information(self, eta: Tensor, jac: Tensor) -> Tensor:
        return jac.mT @ (self.loss.fisher(eta)[..., None] * jac)


@dataclass(frozen=True)
class LatentModel:
    """Prior of the codes, noise, and places from which modes are searched.

    Attributes
    ----------
    mean : Tensor of shape (k,)
    scale : Tensor of shape (k, k)
        Lower-triangular root of the prior covariance.
    landmarks : Tensor of shape (n_landmarks, k)
        Training codes, and draws within and beyond the prior.
    """

    mean: Tensor
    scale: Tensor
    landmarks: Tensor

    @classmethod
    def fit(
        cls, decode: Decode, mean: Tensor, root: Tensor, codes: Tensor, noise_variance: float
    ) -> LatentModel:
        """Take the moments of the training codes, less the noise's share in them.

        For principal components this is probabilistic PCA: the covariance is
        ``Lambda - noise_variance * I``.

        Parameters
        ----------
        decode : callable
            Maps float64 codes (n, k) to ``eta`` (n, d).
        mean : Tensor of shape (k,)
        root : Tensor of shape (k, k)
            R with R'R the covariance of the codes.
        codes : Tensor of shape (m, k)
            Some training codes.
        noise_variance : float
            Of a Gaussian; 0 takes no share away.
        """
        _load_forward_mode()
        k = len(mean)
        floored = _floored_root(root)
        floored = floored @ _signal_root(decode, codes, floored, noise_variance)
        scale = torch.linalg.qr(floored.T).R.T
        # Only in low dimension can draws fill the prior, and steep decoders need it.
        reach, normal = normal_draws(1024 if k <= 2 else 256, k, seed=1)
        # Rows beyond the data have modes beyond the prior: half reach out, up to 6.
        normal = normal * 6.0 ** (2.0 * reach[:, None] - 1.0).clamp_min(0.0)
        return cls(mean, scale, torch.cat([codes, mean + normal @ scale.T]))

    def whiten(self, codes: Tensor) -> Tensor:
        """Map codes z to u."""
        centred = (codes - self.mean).T
        return torch.linalg.solve_triangular(self.scale, centred, upper=False).T

    def colour(self, u: Tensor) -> Tensor:
        """Map u to codes z."""
        return self.mean + u @ self.scale.T


def _floored_root(root: Tensor) -> Tensor:
    """A with AA' = R'R, floored where the codes have no variance."""
    _, size, basis = torch.linalg.svd(root)
    return basis.T * size.clamp_min(max(1e-8 * float(size.max()), 1e-15))


def _signal_root(decode: Decode, codes: Tensor, root: Tensor, noise_variance: float) -> Tensor:
    """Square root of I - mean of noise_variance * inv(J'J), J in units of root.

    Directions in which the decoder is blind (overcomplete codes) tell nothing
    of the noise: they take no share of it.
    """
    share = torch.zeros_like(root)
    for block in codes.split(_n_rows((root.shape[0] + 1) * 256)):
        _, jac = _jacobian(decode, block)
        jac = jac @ root
        power, basis = torch.linalg.eigh(jac.mT @ jac)
        blind = power <= 1e-9 * power[:, -1:].clamp_min(1e-300)
        part = (noise_variance / power.clamp_min(noise_variance)).masked_fill(blind, 0.0)
        share += torch.einsum("nij,nj,nkj->ik", basis, part, basis)
    share, basis = torch.linalg.eigh(share / len(codes))
    return basis * (1.0 - share).clamp_min(1e-8).sqrt()


@torch.no_grad()
def log_likelihood(
    x: Tensor,
    decode: Decode,
    codes: Tensor,
    model: LatentModel,
    observation: Observation,
    *,
    n_draws: int,
    n_starts: int = N_STARTS,
) -> tuple[Tensor, Tensor]:
    """Estimate log p(x) for each row by Laplace importance sampling.

    Parameters
    ----------
    x : Tensor of shape (n, d)
    decode : callable
        Maps float64 codes (n, k) to (n, d), row by row, with PyTorch operations.
    codes : Tensor of shape (n, k)
        Codes of x, the first start of the search for modes.
    model : LatentModel
    observation : Observation
    n_draws : int
    n_starts : int, default=5
        Starts of the search: the code and the best landmarks.

    Returns
    -------
    log_p, std : Tensor of shape (n,)
        The estimates and their standard errors, by the delta method.

    References
    ----------
    L. Tierney, J. Kadane (1986), Accurate approximations for posterior moments
    and marginal densities, JASA 81(393).
    """
    starts = _Starts(decode, model, observation, n_starts)
    parts = []
    for rows in torch.arange(len(x)).split(512):
        posterior = _Posterior(x[rows], decode, model, observation)
        proposals = laplace_proposals(posterior, *starts(x[rows], codes[rows]))
        for some in torch.arange(len(rows)).split(_n_rows(n_draws * max(x.shape[1], 256))):
            chosen = Proposals(*(value[some] for value in proposals))
            parts.append(importance_log_likelihood(posterior.on(some), chosen, n_draws))
    log_p, std = (torch.cat(values) for values in zip(*parts, strict=True))
    return log_p, std


class _Posterior:
    """The joint density of rows x and their u."""

    def __init__(self, x: Tensor, decode: Decode, model: LatentModel, observation: Observation) -> None:
        self.x, self.observation = x, observation
        self.decode: Decode = lambda u: decode(model.colour(u))

    def energy(self, u: Tensor, rows: Tensor) -> Tensor:
        """Minus the log of the joint density, without the prior's constant."""
        size = _n_rows(max(self.x.shape[1], 256))
        misfit = [
            self.observation.misfit(self.decode(v), self.x[i])
            for v, i in zip(u.split(size), rows.split(size), strict=True)
        ]
        value = torch.cat(misfit) + 0.5 * u.square().sum(1)
        return torch.nan_to_num(value, nan=math.inf)

    def on(self, rows: Tensor) -> Callable[[Tensor], Tensor]:
        """The log joint density of these rows, for importance weighting."""

        def log_joint(u: Tensor) -> Tensor:
            b, n_draws, k = u.shape
            energy = self.energy(u.reshape(-1, k), rows.repeat_interleave(n_draws))
            return -energy.view(b, n_draws) - 0.5 * k * LOG_2PI

        return log_joint

    def gauss_newton(self, u: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient of the energy, and Cholesky factor of I + J'WJ."""
        size = _n_rows(max(self.x.shape[1], 256) * (u.shape[1] + 1))
        gradients, factors = [], []
        for v, i in zip(u.split(size), rows.split(size), strict=True):
            value, jac = _jacobian(self.decode, v)
            slope = self.observation.slope(value, self.x[i])
            gradients.append(v - (slope[:, None] @ jac)[:, 0])
            factors.append(_cholesky(self.observation.information(value, jac)))
        return torch.cat(gradients), torch.cat(factors)


class _Starts:
    """From where modes are sought: the code, and landmarks no neighbour beats."""

    def __init__(self, decode: Decode, model: LatentModel, observation: Observation, n_starts: int) -> None:
        self.model, self.observation = model, observation
        self.u = model.whiten(model.landmarks)
        self.output = _decode_all(decode, model.landmarks)
        self.n_landmarks = min(n_starts - 1, len(self.u))
        n_near = min(len(self.u) - 1, 2 + 2 * self.u.shape[1], 16)
        near = torch.cdist(self.u, self.u).topk(n_near + 1, largest=False).indices
        self.near = near[:, 1:]

    def __call__(self, x: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Starts (b, n_starts, k), and which of them to use."""
        parts = [self._best(some) for some in x.split(_n_rows(self.near.numel()))]
        landmarks, used = (torch.cat(values) for values in zip(*parts, strict=True))
        own = self.model.whiten(codes)[:, None]
        used = torch.cat([torch.ones_like(used[:, :1]), used], 1)
        return torch.cat([own, landmarks], 1), used

    def _best(self, x: Tensor) -> tuple[Tensor, Tensor]:
        score = -self.observation.misfits(self.output, x) - 0.5 * self.u.square().sum(1)
        beaten = score < score[:, self.near].amax(-1)
        top = score.masked_fill(beaten, -math.inf).topk(self.n_landmarks)
        return self.u[top.indices], ~top.values.isinf()


def laplace_proposals(posterior: _Posterior, starts: Tensor, used: Tensor) -> Proposals:
    """Normal approximations at the modes that damped Gauss-Newton steps reach.

    Searches that run into a better one of the same row, or can no longer come
    near it, are given up after two steps.
    """
    b, n_starts, k = starts.shape
    u = starts.reshape(-1, k).clone()
    rows = torch.arange(b).repeat_interleave(n_starts)
    energy = posterior.energy(u, rows).masked_fill(~used.reshape(-1), math.inf)
    factors = torch.eye(k, dtype=u.dtype).repeat(len(u), 1, 1)
    active = energy.isfinite().nonzero()[:, 0]
    for iteration in range(MAX_STEPS):
        if not len(active):
            break
        gradient, factors[active] = posterior.gauss_newton(u[active], rows[active])
        step = -torch.cholesky_solve(gradient[..., None], factors[active])[..., 0]
        decrement = -(gradient * step).sum(1)
        going = decrement > 0.1 + 1e-12 * energy[active].abs()
        if iteration > 0:
            rival = energy.view(b, -1).argmin(1)[rows[active]] + rows[active] * n_starts
            gap = ((u[active] + step - u[rival])[:, None] @ factors[rival])[:, 0]
            hopeless = energy[active] - decrement > energy[rival] + 20.0
            lost = (rival != active) & (hopeless | (gap.square().sum(1) < MERGE))
            energy[active[lost]] = math.inf
            active, step, decrement, going = (value[~lost] for value in (active, step, decrement, going))
        # The last step, too, is taken: it lands on the mode of a linear decoder.
        moved = _line_search(posterior, u, energy, rows, active, step, decrement)
        active = active[moved & going]
    evidence = (-energy - log_det(factors)).view(b, n_starts)
    return _merge(u.view(b, n_starts, k), factors.view(b, n_starts, k, k), evidence)


def _line_search(
    posterior: _Posterior,
    u: Tensor,
    energy: Tensor,
    rows: Tensor,
    active: Tensor,
    step: Tensor,
    decrement: Tensor,
) -> Tensor:
    """Move u and energy in place by the first step that helps; tell who moved."""
    waiting = torch.ones_like(active, dtype=torch.bool)
    for size in (1.0, 0.3, 0.1, 0.03, 0.01):
        tried = waiting.nonzero()[:, 0]
        if not len(tried):
            break
        at = active[tried]
        trial = u[at] + size * step[tried]
        value = posterior.energy(trial, rows[at])
        good = value < energy[at] - 0.1 * size * decrement[tried]
        u[at[good]], energy[at[good]] = trial[good], value[good]
        waiting[tried[good]] = False
    return ~waiting


def _merge(means: Tensor, factors: Tensor, evidence: Tensor) -> Proposals:
    """Drop repeated modes, and weigh the others by their Laplace evidence."""
    order = evidence.argsort(dim=1, descending=True, stable=True)
    row = torch.arange(len(means))[:, None]
    means, factors, evidence = means[row, order], factors[row, order], evidence[row, order]
    apart = (means[:, None] - means[:, :, None]) @ factors  # (b, better, worse, k)
    repeated = (apart.square().sum(-1) < 0.1 * MERGE).triu(1).any(1)
    dropped = repeated | evidence.isinf()
    dropped[:, 0] = False
    share = torch.softmax(evidence.clamp_min(-1e300).masked_fill(dropped, -math.inf), 1)
    # The evidence is a guess on curved decoders: each mode keeps a part of the draws.
    even = (~dropped) / (~dropped).sum(1, keepdim=True)
    return Proposals(means, factors, (0.8 * share + 0.2 * even).log())


def _jacobian(function: Decode, u: Tensor) -> tuple[Tensor, Tensor]:
    """Values (n, d) and Jacobians (n, d, k) of a row-wise function."""

    def push(direction: Tensor) -> tuple[Tensor, Tensor]:
        value, tangent, *_ = jvp(function, (u,), (direction.expand_as(u),))
        return value, tangent

    columns = vmap(push, out_dims=(None, -1))  # type: ignore[arg-type]
    value, jac = columns(torch.eye(u.shape[1], dtype=u.dtype))
    # Where the decoder overflows it gives no direction, rather than NaN.
    return value.detach(), torch.nan_to_num(jac.detach(), 0.0, 0.0, 0.0)


@cache
def _load_forward_mode() -> None:
    """Let torch import what its first jvp needs, without its own deprecation warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))
        _jacobian(torch.sin, torch.zeros(1, 1, dtype=torch.float64))


def _cholesky(gram: Tensor) -> Tensor:
    """Lower factor of I + gram, with jitter if rounding made it indefinite."""
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype)
    size = gram.diagonal(dim1=-2, dim2=-1).amax(-1)[:, None, None]
    factor, info = torch.linalg.cholesky_ex(gram + eye)
    for jitter in (1e-13, 1e-10, 1e-6):
        bad = info > 0
        if not bad.any():
            break
        shifted = gram[bad] + (1.0 + jitter * size[bad]) * eye
        factor[bad], info[bad] = torch.linalg.cholesky_ex(shifted)
    return factor


def _decode_all(decode: Decode, codes: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([decode(some) for some in codes.split(1024)])


def _n_rows(n_values: int) -> int:
    """Rows in a chunk if each takes this many values."""
    return max(1, CHUNK // n_values)
