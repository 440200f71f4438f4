"""Laplace proposals for the posterior of a decoder's code, and the log-likelihood from them.

From several starts (the row's code, landmarks whose reconstructions are near)
damped Gauss-Newton steps reach modes of the posterior; a normal distribution at
each makes a mixture, whose draws :mod:`sklearn_ae._likelihood` weighs. One mode
is not enough on curved data. For a linear decoder the proposal is the posterior.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sklearn_ae._density.importance_sampling import Proposals, importance_log_likelihood, log_det
from sklearn_ae._density.latent_prior import Decode, LatentModel, decode_all, jacobian, n_rows
from sklearn_ae.likelihoods import Observation

N_STARTS = 5

MAX_STEPS = 20

# A mode nearer to another than this squared number of its deviations is the same.
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
        for some in torch.arange(len(rows)).split(n_rows(n_draws * max(x.shape[1], 256))):
            chosen = Proposals(*(value[some] for value in proposals))
            parts.append(importance_log_likelihood(posterior.on(some), chosen, n_draws))
    log_p, std = (torch.cat(values) for values in zip(*parts, strict=True))
    return log_p, std


class _Posterior:
    """The joint density of rows x and their u."""

    def __init__(self, x: Tensor, decode: Decode, model: LatentModel, observation: Observation) -> None:
        self.x, self.model, self.observation = x, model, observation
        self.decode: Decode = lambda u: decode(model.colour(u))

    def energy(self, u: Tensor, rows: Tensor) -> Tensor:
        """Minus the log of the joint density."""
        size = n_rows(max(self.x.shape[1], 256))
        misfit = [
            self.observation.misfit(self.decode(v), self.x[i])
            for v, i in zip(u.split(size), rows.split(size), strict=True)
        ]
        value = torch.cat(misfit) - self.model.log_prior(u)
        return torch.nan_to_num(value, nan=math.inf)

    def on(self, rows: Tensor) -> Callable[[Tensor], Tensor]:
        """The log joint density of these rows, for importance weighting."""

        def log_joint(u: Tensor) -> Tensor:
            b, n_draws, k = u.shape
            energy = self.energy(u.reshape(-1, k), rows.repeat_interleave(n_draws))
            return -energy.view(b, n_draws)

        return log_joint

    def gauss_newton(self, u: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient of the energy, and Cholesky factor of J'WJ plus the prior's curvature (I if normal)."""
        size = n_rows(max(self.x.shape[1], 256) * (u.shape[1] + 1))
        gradients, factors = [], []
        for v, i in zip(u.split(size), rows.split(size), strict=True):
            value, jac = jacobian(self.decode, v)
            slope = self.observation.slope(value, self.x[i])
            gradient, curvature = self.model.pull(v)
            gradients.append(gradient - (slope[:, None] @ jac)[:, 0])
            factors.append(_cholesky(self.observation.information(value, jac), curvature))
        return torch.cat(gradients), torch.cat(factors)


class _Starts:
    """From where modes are sought: the code, and landmarks no neighbour beats."""

    def __init__(self, decode: Decode, model: LatentModel, observation: Observation, n_starts: int) -> None:
        self.model, self.observation = model, observation
        self.u = model.whiten(model.landmarks)
        self.log_prior = model.log_prior(self.u)
        self.output = decode_all(decode, model.landmarks)
        self.n_landmarks = min(n_starts - 1, len(self.u))
        n_near = min(len(self.u) - 1, 2 + 2 * self.u.shape[1], 16)
        near = torch.cdist(self.u, self.u).topk(n_near + 1, largest=False).indices
        self.near = near[:, 1:]

    def __call__(self, x: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Starts (b, n_starts, k), and which of them to use."""
        parts = [self._best(some) for some in x.split(n_rows(self.near.numel()))]
        landmarks, used = (torch.cat(values) for values in zip(*parts, strict=True))
        own = self.model.whiten(codes)[:, None]
        used = torch.cat([torch.ones_like(used[:, :1]), used], 1)
        return torch.cat([own, landmarks], 1), used

    def _best(self, x: Tensor) -> tuple[Tensor, Tensor]:
        score = self.log_prior - self.observation.misfits(self.output, x)
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


def _cholesky(gram: Tensor, base: Tensor) -> Tensor:
    """Lower factor of base + gram, with jitter if rounding made it indefinite."""
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype)
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
