"""Laplace proposals for the posterior of the code, and the log-likelihood estimated from them.

From the sample's code damped Newton steps reach a mode of the posterior. One mode
is not enough on curved data, so that landmarks whose reconstructions are nearly as likely
are starts of further searches. A normal distribution at each mode gives a mixture, whose
draws :mod:`sklearn_ae._density.importance_sampling` weights; where few of them are enough,
no more are taken. For a linear decoder the proposal is the posterior.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sklearn_ae._density.decoder import Decode, Decoder
from sklearn_ae._density.importance_sampling import (
    Proposals,
    importance_draws,
    importance_log_likelihood,
    log_det,
)
from sklearn_ae._density.latent_prior import LatentModel, chunk_size, decode_all
from sklearn_ae._density.observations import Observation

N_STARTS = 5

# Steps of the search from the code before landmarks are chosen, and of all searches after that.
FIRST_STEPS = 4
MAX_STEPS = 12

# Squared distance from the mode, in standard deviations, at which the last step is taken.
_CONVERGED = 0.3

# Number of components from which curvatures on the way to the mode are estimated from gradients (BFGS),
# since a Jacobian takes as long as that many outputs.
QUASI_NEWTON = 8

# Modes are the same if their squared distance is below this.
MERGE = 1.0

# Further searches start outside an ellipsoid around the first mode, whose squared radius exceeds
# its mean under the normal distribution by this number of standard deviations, ...
_RADIUS = 1.0

# ... and at most this number of nats below the mode.
_REACH = 20.0

# Least diagonal entry of the factor of a Hessian to be used; that of the prior alone has ones.
_LEAST_FACTOR = 0.3

# All samples have this share of the draws. Those with several modes, whose weights vary more than
# few draws show, or with a standard error above _TOLERANCE / sqrt(n_draws) have the others, too.
_FIRST_SHARE = 0.25
_MIN_DRAWS = 16
_TOLERANCE = 1.0


@torch.no_grad()
def log_likelihood(
    x: Tensor,
    decode: Decoder | Decode,
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
    decode : Decoder or callable
        Maps float64 codes (n, k) to outputs (n, d), sample by sample, with PyTorch
        operations.
    codes : Tensor of shape (n, k)
        Codes of x, the first start of the search for modes.
    model : LatentModel
    observation : Observation
    n_draws : int
        Draws for samples whose standard error is large with fewer.
    n_starts : int, default=5
        Largest number of starts of the search: the code and the best landmarks. With one, the
        search ends after few steps, which suffices for means over samples.

    Returns
    -------
    log_p, std : Tensor of shape (n,)
        The estimates and their standard errors, by the delta method.

    References
    ----------
    L. Tierney, J. Kadane (1986), Accurate approximations for posterior moments
    and marginal densities, JASA 81(393).
    """
    decoder = Decoder.of(decode)
    if codes.shape[1] == 0:
        log_p = -observation.misfit(decoder(codes), x)
        return log_p, torch.zeros_like(log_p)
    landmarks = _Landmarks(decoder, model, observation, n_starts - 1) if n_starts > 1 else None
    parts = []
    for chunk in indices(len(x), x).split(512):
        posterior = _Posterior(x[chunk], decoder, model, observation)
        own = model.whiten(codes[chunk])
        proposals = laplace_proposals(posterior, own, landmarks)
        parts.append(_estimate(posterior, proposals, n_draws))
    log_p, std = torch.cat(parts, 1)
    return log_p, std


@torch.no_grad()
def posterior_draws(
    x: Tensor, decoder: Decoder, codes: Tensor, model: LatentModel, observation: Observation, normal: Tensor
) -> Tensor:
    """Return draws of u from normal approximations of the posteriors of samples.

    Parameters
    ----------
    x, decoder, codes, model, observation : object
        As for :func:`log_likelihood`.
    normal : Tensor of shape (n_draws, n, k)
        Standard normal draws.

    Returns
    -------
    u : Tensor of shape (n_draws, n, k)
    """
    if codes.shape[1] == 0:
        return normal
    parts = []
    for chunk in indices(len(x), x).split(512):
        posterior = _Posterior(x[chunk], decoder, model, observation)
        proposals = laplace_proposals(posterior, model.whiten(codes[chunk]), None)
        step = torch.linalg.solve_triangular(
            proposals.factors[:, 0].mT, normal[:, chunk, :, None], upper=True
        )
        parts.append(proposals.means[:, 0] + step[..., 0])
    return torch.cat(parts, 1)


def _estimate(posterior: _Posterior, proposals: Proposals, n_draws: int) -> Tensor:
    """Return the estimates and their standard errors, shape (2, n)."""
    n_first = min(n_draws, max(_MIN_DRAWS, round(_FIRST_SHARE * n_draws)))
    draws = _draws(posterior, proposals, indices(len(proposals.means), proposals.means), 0, n_first)
    result = torch.stack(importance_log_likelihood(draws))
    several = proposals.log_weights.isfinite().sum(1) > 1
    rest = (several | (result[1] > _TOLERANCE / math.sqrt(n_draws))).nonzero()[:, 0]
    if n_first < n_draws and len(rest):
        draws = torch.cat([draws[:, rest], _draws(posterior, proposals, rest, n_first, n_draws)], 2)
        result[:, rest] = torch.stack(importance_log_likelihood(draws))
    return result


def _draws(posterior: _Posterior, proposals: Proposals, samples: Tensor, start: int, stop: int) -> Tensor:
    """Return log-densities (4, n, stop - start) of draws for n samples, given by indices.

    Samples with the same number of modes are treated together.
    """
    n_modes = proposals.log_weights[samples].isfinite().sum(1)
    result = proposals.means.new_empty((4, len(samples), stop - start))
    size = chunk_size((stop - start) * max(posterior.x.shape[1], 256))
    for n in n_modes.unique():
        for part in (n_modes == n).nonzero()[:, 0].split(size):
            some = samples[part]
            chosen = Proposals(*(value[some, :n] for value in proposals))
            result[:, part] = importance_draws(posterior.of(some), chosen, start, stop)
    return result


def indices(n: int, like: Tensor) -> Tensor:
    """Return 0, ..., n - 1 on the device of a tensor."""
    return torch.arange(n, device=like.device)


class _Posterior:
    """Joint density of samples x and their whitened codes u.

    Methods take codes of shape (n, k) and ``owners`` of shape (n,), the index of the
    sample of each code.
    """

    def __init__(self, x: Tensor, decoder: Decoder, model: LatentModel, observation: Observation) -> None:
        self.x = x
        self.decoder = decoder
        self.model = model
        self.observation = observation

    def energy(self, u: Tensor, owners: Tensor) -> Tensor:
        """Return minus the log of the joint density."""
        size = chunk_size(max(self.x.shape[1], 256))
        misfit = [
            self.observation.misfit(self.decoder(self.model.colour(v)), self.x[i])
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

    def quadratic(self, u: Tensor, owners: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient of the energy, and the Cholesky factor of its curvature.

        The curvature is the Hessian where that is positive definite, and J'WJ + the prior's
        curvature (Gauss-Newton) elsewhere.
        """
        size = chunk_size(max(self.x.shape[1], 256) * (u.shape[1] + 1))
        gradients, factors = [], []
        for v, i in zip(u.split(size), owners.split(size), strict=True):
            value, jac, curvature = self.decoder.expand(self.model.colour(v), self.model.scale)
            slope = self.observation.slope(value, self.x[i])
            gradient, base = self.model.prior_derivatives(v)
            gradients.append(gradient - (slope[:, None] @ jac.double())[:, 0])
            gram = self.observation.information(value, self.x[i], jac).double()
            gram[~gram.isfinite().all(2).all(1)] = 0.0  # squares overflow before the Jacobian does
            exact, info = torch.linalg.cholesky_ex(gram + base - curvature(slope))
            is_positive = (info == 0) & (exact.diagonal(dim1=-2, dim2=-1).amin(1) > _LEAST_FACTOR)
            rest = ~is_positive
            exact[rest] = _cholesky(gram[rest], base.expand_as(gram)[rest])
            factors.append(exact)
        return torch.cat(gradients), torch.cat(factors)

    def gradient(self, u: Tensor, owners: Tensor) -> Tensor:
        """Return the gradient of the energy."""
        size = chunk_size(max(self.x.shape[1], 256))
        gradients = []
        for v, i in zip(u.split(size), owners.split(size), strict=True):
            pulled = self.decoder.vjp(self.model.colour(v), partial(self.observation.slope, x=self.x[i]))
            gradients.append(self.model.prior_derivatives(v)[0] - pulled @ self.model.scale)
        return torch.cat(gradients)


class _Landmarks:
    """Codes across the prior with their outputs, among which further starts of the search are found."""

    def __init__(self, decoder: Decoder, model: LatentModel, observation: Observation, n_best: int) -> None:
        self.observation = observation
        self.u = model.whiten(model.landmarks)
        self.log_prior = model.log_prior(self.u)
        self.output = decode_all(decoder, model.landmarks)
        self.n_best = min(n_best, len(self.u))
        n_near = min(len(self.u) - 1, 2 + 2 * self.u.shape[1], 16)
        distance = torch.cdist(self.u.float(), self.u.float()).fill_diagonal_(math.inf).numpy()
        near = np.argpartition(distance, n_near - 1, axis=1)[:, :n_near]  # several times as fast as topk
        self.near = torch.from_numpy(near)

    def apart(self, x: Tensor, mode: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        """Return starts (b, m, k) of searches for other modes than one of each sample, and their energies.

        They are the most likely landmarks outside the ellipsoid around the mode, and with no
        more likely neighbour. The energy is infinite where there are fewer.
        """
        chunks = (part.split(chunk_size(2 * len(self.u))) for part in (x, mode, factor))
        parts = [self._apart(*chunk) for chunk in zip(*chunks, strict=True)]
        u, energy = (torch.cat(values) for values in zip(*parts, strict=True))
        return u, energy

    def _apart(self, x: Tensor, mode: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        score = self.log_prior - self.observation.pairwise_misfit(self.output, x)
        score = (score - score.amax(1, keepdim=True)).T.float().contiguous()
        highest = score.clone()
        for near in self.near.T:
            torch.maximum(highest, score.index_select(0, near), out=highest)
        score = score.masked_fill_(score < highest, -math.inf).T
        # The search is for few starts, and few of the most likely candidates are in the ellipsoid.
        best, index = score.topk(min(4 * self.n_best, len(self.u)))
        k = self.u.shape[1]
        distance = ((self.u[index] - mode[:, None]) @ factor).square().sum(2)
        best[distance < k + _RADIUS * math.sqrt(2.0 * k)] = -math.inf
        best, chosen = best.topk(self.n_best)
        index = index.gather(1, chosen)
        n = index.flatten()
        misfit = self.observation.misfit(self.output[n], x.repeat_interleave(self.n_best, 0))
        energy = (misfit - self.log_prior[n]).view_as(index)
        return self.u[index], energy.masked_fill(best.isinf() | energy.isnan(), math.inf)


def laplace_proposals(posterior: _Posterior, own: Tensor, landmarks: _Landmarks | None) -> Proposals:
    """Return normal approximations at the modes that damped Newton steps reach.

    Parameters
    ----------
    posterior : _Posterior
        Of b samples.
    own : Tensor of shape (b, k)
        First starts.
    landmarks : _Landmarks or None
        Further starts.
    """
    search = _ModeSearch(posterior, own)
    search.run(FIRST_STEPS)
    if landmarks is not None:
        search.add(*landmarks.apart(posterior.x, search.u[:, 0], search.factors[:, 0]))
        search.run(MAX_STEPS)
    return _merge(search.u, search.factors, -search.energy - log_det(search.factors))


class _ModeSearch:
    """Damped Newton searches for modes of several posteriors at once.

    With many components, curvatures are computed at the start and at the mode, and estimated on the way.
    The first search of a sample is the rival of the others, which are given up if they join
    it, or start far less likely.

    Attributes
    ----------
    u : Tensor of shape (b, n_starts, k)
        Positions.
    energy : Tensor of shape (b, n_starts)
        Infinite for searches that were not started or given up.
    factors : Tensor of shape (b, n_starts, k, k)
        Cholesky factors of the curvature.
    active : Tensor of shape (n_active, 2)
        Samples and numbers of the searches that have neither converged nor failed.
    exact : Tensor of shape (b, n_starts)
        Mask of the searches whose next curvature is computed, not estimated: at the start, and
        where the estimate suggests that they have converged, or gives no step that helps.
    gradient, move : Tensor of shape (b, n_starts, k)
        Last gradients and moves.
    """

    def __init__(self, posterior: _Posterior, own: Tensor) -> None:
        self.posterior = posterior
        self.u = own[:, None].clone()
        self.energy = posterior.energy(own, indices(len(own), own))[:, None]
        self.factors = torch.eye(own.shape[1], dtype=own.dtype, device=own.device).repeat(len(own), 1, 1, 1)
        self.active = self.energy.isfinite().nonzero()
        self.exact = torch.ones_like(self.energy, dtype=torch.bool)
        self.gradient, self.move = torch.zeros_like(self.u), torch.zeros_like(self.u)

    def add(self, u: Tensor, energy: Tensor) -> None:
        """Add searches from further starts (b, m, k), of which those with infinite energy do not exist."""
        energy = energy.masked_fill(energy > self.energy + _REACH, math.inf)
        used = energy.isfinite().any(0)
        u, energy = u[:, used], energy[:, used]
        n_new = u.shape[1]
        self.active = torch.cat([self.active, energy.isfinite().nonzero() + self.active.new_tensor([0, 1])])
        self.u, self.energy = torch.cat([self.u, u], 1), torch.cat([self.energy, energy], 1)
        self.factors = torch.cat([self.factors, self.factors.expand(-1, n_new, -1, -1)], 1)
        self.exact = F.pad(self.exact, (0, n_new), value=True)
        self.gradient, self.move = F.pad(self.gradient, (0, 0, 0, n_new)), F.pad(self.move, (0, 0, 0, n_new))

    def run(self, n_steps: int) -> None:
        """Take steps of all searches until they have converged or failed, at most this number."""
        for _ in range(n_steps):
            if not len(self.active):
                break
            samples, number = at = self.active.unbind(1)
            self._differentiate()
            exact, gradient, before = self.exact[at], self.gradient[at], self.u[at]
            step = -torch.cholesky_solve(gradient[..., None], self.factors[at])[..., 0]
            decrement = -(gradient * step).sum(1)
            unfinished = decrement > _CONVERGED + 1e-12 * self.energy[at].abs()
            # The last step is taken, too, because it reaches the mode of a linear decoder.
            unfinished &= self._line_search(step, decrement)
            self.move[at] = self.u[at] - before
            self.exact[at] = ~unfinished | (step.shape[1] < QUASI_NEWTON)
            joins = self._joins()
            self.energy[samples[joins], number[joins]] = math.inf
            self.active = self.active[(unfinished | ~exact) & ~joins]

    def _differentiate(self) -> None:
        """Compute gradients and curvatures of the active searches."""
        exact = self.exact[self.active.unbind(1)]
        if exact.any():
            at = self.active[exact].unbind(1)
            self.gradient[at], self.factors[at] = self.posterior.quadratic(self.u[at], at[0])
        if not exact.all():
            at = self.active[~exact].unbind(1)
            gradient = self.posterior.gradient(self.u[at], at[0])
            self.factors[at] = _updated(self.factors[at], self.move[at], gradient - self.gradient[at])
            self.gradient[at] = gradient

    def _line_search(self, step: Tensor, decrement: Tensor) -> Tensor:
        """Move the active searches by the first step size that helps; return a mask of those moved."""
        waiting = torch.ones_like(decrement, dtype=torch.bool)
        for size in (1.0, 0.3, 0.1, 0.03, 0.01):
            tried = waiting.nonzero()[:, 0]
            if not len(tried):
                break
            samples, number = at = self.active[tried].unbind(1)
            trial = self.u[at] + size * step[tried]
            value = self.posterior.energy(trial, samples)
            good = value < self.energy[at] - 0.1 * size * decrement[tried]
            at = samples[good], number[good]
            self.u[at], self.energy[at] = trial[good], value[good]
            waiting[tried[good]] = False
        return ~waiting

    def _joins(self) -> Tensor:
        """Return a mask of the active searches that are close to the first one of their sample."""
        result = self.active[:, 1] > 0
        samples, number = self.active[result].unbind(1)
        gap = (self.u[samples, number] - self.u[samples, 0])[:, None] @ self.factors[samples, 0]
        result[result.clone()] = self.energy[samples, 0].isfinite() & (gap.square().sum((1, 2)) < MERGE)
        return result


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
    log_weights = (0.8 * share + 0.2 * even).log()
    kept_first = log_weights.argsort(dim=1, descending=True, stable=True)
    return Proposals(*(value[sample, kept_first] for value in (means, factors, log_weights)))


def _updated(factors: Tensor, move: Tensor, change: Tensor) -> Tensor:
    """Return factors of curvatures after damped BFGS updates by changes of the gradient along moves.

    References
    ----------
    J. Nocedal, S. Wright (2006), Numerical optimization, Springer, procedure 18.2.
    """
    curvature = factors @ factors.mT
    expected = (curvature @ move[..., None])[..., 0]
    power = (move * expected).sum(1, keepdim=True)
    ratio = (move * change).sum(1, keepdim=True) / power
    change = expected.lerp(change, (0.8 / (1.0 - ratio)).where(ratio < 0.2, 1.0))
    new, old = change / (move * change).sum(1, keepdim=True).sqrt(), expected / power.sqrt()
    curvature.baddbmm_(new[:, :, None], new[:, None]).baddbmm_(old[:, :, None], old[:, None], alpha=-1)
    updated, info = torch.linalg.cholesky_ex(curvature)
    return updated.where((info == 0)[:, None, None], factors)


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
