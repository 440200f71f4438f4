"""Laplace proposals for the posterior of the code, and the log-likelihood estimated from them.

From several starts (the sample's code, landmarks whose reconstructions are near)
damped Gauss-Newton steps reach modes of the posterior. A normal distribution at
each mode gives a mixture, whose draws :mod:`sklearn_ae._density.importance_sampling`
weights. One mode is not enough on curved data. For a linear decoder the proposal is
the posterior.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sklearn_ae._density.importance_sampling import Proposals, importance_log_likelihood, log_det
from sklearn_ae._density.latent_prior import Decode, LatentModel, chunk_size, decode_all
from sklearn_ae._density.observations import Observation
from sklearn_ae._utils.derivatives import jacobian

N_STARTS = 5

MAX_STEPS = 20

# Modes are the same if their squared distance is below this, in standard deviations.
MERGE = 1.0


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
    """Estimate log p(x) of each sample by Laplace importance sampling.

    Parameters
    ----------
    x : Tensor of shape (n, d)
    decode : callable
        Maps float64 codes (n, k) to outputs (n, d), sample by sample, with PyTorch
        operations.
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
    if codes.shape[1] == 0:
        log_p = -observation.misfit(decode(codes), x)
        return log_p, torch.zeros_like(log_p)
    starts = _Starts(decode, model, observation, n_starts)
    parts = []
    for chunk in indices(len(x), x).split(512):
        posterior = _Posterior(x[chunk], decode, model, observation)
        proposals = laplace_proposals(posterior, *starts(x[chunk], codes[chunk]))
        for some in indices(len(chunk), x).split(chunk_size(n_draws * max(x.shape[1], 256))):
            chosen = Proposals(*(value[some] for value in proposals))
            parts.append(importance_log_likelihood(posterior.of(some), chosen, n_draws))
    log_p, std = (torch.cat(values) for values in zip(*parts, strict=True))
    return log_p, std


def indices(n: int, like: Tensor) -> Tensor:
    """Return 0, ..., n - 1 on the device of a tensor."""
    return torch.arange(n, device=like.device)


class _Posterior:
    """Joint density of samples x and their whitened codes u.

    Methods take codes of shape (n, k) and ``owners`` of shape (n,), the index of the
    sample of each code.
    """

    def __init__(self, x: Tensor, decode: Decode, model: LatentModel, observation: Observation) -> None:
        self.x = x
        self.model = model
        self.observation = observation
        self.decode: Decode = lambda u: decode(model.colour(u))

    def energy(self, u: Tensor, owners: Tensor) -> Tensor:
        """Return minus the log of the joint density."""
        size = chunk_size(max(self.x.shape[1], 256))
        misfit = [
            self.observation.misfit(self.decode(v), self.x[i])
            for v, i in zip(u.split(size), owners.split(size), strict=True)
        ]
        value = torch.cat(misfit) - self.model.log_prior(u)
        return torch.nan_to_num(value, nan=math.inf)

    def of(self, samples: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the log joint density of some samples, for importance weighting."""

        def log_joint(u: Tensor) -> Tensor:
            b, n_draws, k = u.shape
            energy = self.energy(u.reshape(-1, k), samples.repeat_interleave(n_draws))
            return -energy.view(b, n_draws)

        return log_joint

    def gauss_newton(self, u: Tensor, owners: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient of the energy, and the Cholesky factor of J'WJ + the prior's curvature."""
        size = chunk_size(max(self.x.shape[1], 256) * (u.shape[1] + 1))
        gradients, factors = [], []
        for v, i in zip(u.split(size), owners.split(size), strict=True):
            value, jac = jacobian(self.decode, v)
            slope = self.observation.slope(value, self.x[i])
            gradient, curvature = self.model.prior_derivatives(v)
            gradients.append(gradient - (slope[:, None] @ jac)[:, 0])
            factors.append(_cholesky(self.observation.information(value, self.x[i], jac), curvature))
        return torch.cat(gradients), torch.cat(factors)


class _Starts:
    """Starting points of the mode search: the sample's code and locally optimal landmarks."""

    def __init__(self, decode: Decode, model: LatentModel, observation: Observation, n_starts: int) -> None:
        self.model = model
        self.observation = observation
        self.u = model.whiten(model.landmarks)
        self.log_prior = model.log_prior(self.u)
        self.output = decode_all(decode, model.landmarks)
        self.n_landmarks = min(n_starts - 1, len(self.u))
        n_near = min(len(self.u) - 1, 2 + 2 * self.u.shape[1], 16)
        near = torch.cdist(self.u, self.u).topk(n_near + 1, largest=False).indices
        self.near = near[:, 1:]

    def __call__(self, x: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return starts (b, n_starts, k), and a mask of those to use."""
        parts = [self._best(some) for some in x.split(chunk_size(self.near.numel()))]
        landmarks, used = (torch.cat(values) for values in zip(*parts, strict=True))
        own = self.model.whiten(codes)[:, None]
        used = torch.cat([torch.ones_like(used[:, :1]), used], 1)
        return torch.cat([own, landmarks], 1), used

    def _best(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best landmarks with no better neighbour, and a mask of those that exist."""
        score = self.log_prior - self.observation.pairwise_misfit(self.output, x)
        surpassed = score < score[:, self.near].amax(-1)
        top = score.masked_fill(surpassed, -math.inf).topk(self.n_landmarks)
        return self.u[top.indices], ~top.values.isinf()


def laplace_proposals(posterior: _Posterior, starts: Tensor, used: Tensor) -> Proposals:
    """Return normal approximations at the modes that damped Gauss-Newton steps reach.

    Parameters
    ----------
    posterior : _Posterior
    starts : Tensor of shape (b, n_starts, k)
    used : Tensor of shape (b, n_starts)
        False leaves a start out.
    """
    search = _ModeSearch(posterior, starts, used)
    search.run()
    evidence = (-search.energy - log_det(search.factors)).view(used.shape)
    factors = search.factors.view(*starts.shape, starts.shape[2])
    return _merge(search.u.view(starts.shape), factors, evidence)


class _ModeSearch:
    """Damped Gauss-Newton searches for the modes of several posteriors at once.

    Searches that approach a better one of the same sample, or can no longer reach
    its energy, are given up after two steps.

    Attributes
    ----------
    u : Tensor of shape (n, k)
        Positions of n searches, n_starts for each sample.
    energy : Tensor of shape (n,)
        Infinite for searches that were given up.
    factors : Tensor of shape (n, k, k)
        Cholesky factors of the curvature.
    active : Tensor of int
        Indices of the searches that go on.
    """

    def __init__(self, posterior: _Posterior, starts: Tensor, used: Tensor) -> None:
        b, self.n_starts, k = starts.shape
        self.posterior = posterior
        self.u = starts.reshape(-1, k).clone()
        self.owners = indices(b, starts).repeat_interleave(self.n_starts)
        self.energy = posterior.energy(self.u, self.owners).masked_fill(~used.reshape(-1), math.inf)
        eye = torch.eye(k, dtype=starts.dtype, device=starts.device)
        self.factors = eye.repeat(len(self.u), 1, 1)
        self.active = self.energy.isfinite().nonzero()[:, 0]

    def run(self) -> None:
        """Search until all have converged or the steps are used up."""
        for iteration in range(MAX_STEPS):
            if not len(self.active):
                break
            step, decrement = self._gauss_newton_step()
            if iteration > 0:
                kept = self._promising(step, decrement)
                self.energy[self.active[~kept]] = math.inf
                self.active, step, decrement = self.active[kept], step[kept], decrement[kept]
            unfinished = decrement > 0.1 + 1e-12 * self.energy[self.active].abs()
            # The last step is taken, too, because it reaches the mode of a linear decoder.
            moved = self._line_search(step, decrement)
            self.active = self.active[moved & unfinished]

    def _gauss_newton_step(self) -> tuple[Tensor, Tensor]:
        """Return the step of each active search and the decrease of energy that it predicts, doubled."""
        active = self.active
        gradient, self.factors[active] = self.posterior.gauss_newton(self.u[active], self.owners[active])
        step = -torch.cholesky_solve(gradient[..., None], self.factors[active])[..., 0]
        return step, -(gradient * step).sum(1)

    def _promising(self, step: Tensor, decrement: Tensor) -> Tensor:
        """Return a mask of the active searches that may reach a mode of their own."""
        active = self.active
        owners = self.owners[active]
        rival = self.energy.view(-1, self.n_starts).argmin(1)[owners] + owners * self.n_starts
        gap = ((self.u[active] + step - self.u[rival])[:, None] @ self.factors[rival])[:, 0]
        hopeless = self.energy[active] - decrement > self.energy[rival] + 20.0
        return (rival == active) | ~(hopeless | (gap.square().sum(1) < MERGE))

    def _line_search(self, step: Tensor, decrement: Tensor) -> Tensor:
        """Move the active searches by the first step size that helps; return a mask of those moved."""
        waiting = torch.ones_like(self.active, dtype=torch.bool)
        for size in (1.0, 0.3, 0.1, 0.03, 0.01):
            tried = waiting.nonzero()[:, 0]
            if not len(tried):
                break
            at = self.active[tried]
            trial = self.u[at] + size * step[tried]
            value = self.posterior.energy(trial, self.owners[at])
            good = value < self.energy[at] - 0.1 * size * decrement[tried]
            self.u[at[good]] = trial[good]
            self.energy[at[good]] = value[good]
            waiting[tried[good]] = False
        return ~waiting


def _merge(means: Tensor, factors: Tensor, evidence: Tensor) -> Proposals:
    """Drop repeated modes, and weight the others by their Laplace evidence."""
    order = evidence.argsort(dim=1, descending=True, stable=True)
    sample = indices(len(means), means)[:, None]
    means, factors, evidence = means[sample, order], factors[sample, order], evidence[sample, order]
    apart = (means[:, None] - means[:, :, None]) @ factors  # (b, better, worse, k)
    repeated = (apart.square().sum(-1) < 0.1 * MERGE).triu(1).any(1)
    dropped = repeated | evidence.isinf()
    dropped[:, 0] = False
    share = torch.softmax(evidence.clamp_min(-1e300).masked_fill(dropped, -math.inf), 1)
    # The evidence is inaccurate for curved decoders, so each mode keeps a part of the draws.
    even = (~dropped).float() / (~dropped).sum(1, keepdim=True)
    return Proposals(means, factors, (0.8 * share + 0.2 * even).log())


def _cholesky(gram: Tensor, base: Tensor) -> Tensor:
    """Return the lower factor of base + gram, with jitter if rounding made it indefinite."""
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    size = gram.diagonal(dim1=-2, dim2=-1).amax(-1)[:, None, None]
    gram = gram + base
    factor, info = torch.linalg.cholesky_ex(gram)
    for jitter in (1e-13, 1e-10, 1e-6):
        bad = info > 0
        if not bad.any():
            break
        shifted = gram[bad] + jitter * size[bad] * eye
        factor[bad], info[bad] = torch.linalg.cholesky_ex(shifted)
    return factor
