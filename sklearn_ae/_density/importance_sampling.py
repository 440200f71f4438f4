"""Importance-weighted log-likelihood, given proposals for the posterior of the code.

The model is ``z ~ N(m, S)`` and ``x`` given ``z`` around ``decode(z)``. All
computations are in float64, in log space, with the whitened code ``u`` for which
``z = m + scale @ u`` and ``u ~ N(0, I)``: every posterior precision is then at
least the identity, whatever the rank of the codes. This file weights draws from
given proposals; :mod:`sklearn_ae._density.laplace` finds proposals for a decoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from sklearn_ae._utils.gaussian import LOG_2PI

# Shares of the draws from the modes and from the widened modes; the rest are from the prior.
NARROW, BROAD = 0.5, 0.35

# Relative standard error beyond which fewer than four draws carry the estimate, and nothing tells its error.
_MAX_ERROR = 0.5


class Proposals(NamedTuple):
    """Mixture of K normal distributions of u for each of b samples.

    Attributes
    ----------
    means : Tensor of shape (b, K, k)
    factors : Tensor of shape (b, K, k, k)
        Lower Cholesky factors of the precisions.
    log_weights : Tensor of shape (b, K)
        Their exponentials sum to one; minus infinity leaves a component out.
    """

    means: Tensor
    factors: Tensor
    log_weights: Tensor


def importance_draws(
    log_joint: Callable[[Tensor], Tensor], proposals: Proposals, start: int, stop: int
) -> Tensor:
    """Return log-densities (4, b, n_draws) of draws number start, ..., stop - 1, given proposals.

    Draws come from the proposals, the widened proposals, and the prior N(0, I). The first entries
    are log p(x, u), the others the log-densities of these three families. Draws are the same
    scrambled Sobol points for every sample, so the result depends on no other sample.

    Parameters
    ----------
    log_joint : callable
        Maps u (b, n_draws, k) to log p(x, u) (b, n_draws), with u ~ N(0, I).
    proposals : Proposals
    start, stop : int
    """
    k = proposals.means.shape[-1]
    widening = 1.0 + 2.0 / math.sqrt(k)  # distances concentrate at sqrt(k)
    n_each = [after - before for before, after in zip(_counts(start), _counts(stop), strict=True)]
    _, normal = normal_draws(stop, k, start=start)
    u = _sample(proposals, normal, n_each, widening)
    return torch.cat([log_joint(u)[None], _log_families(u, proposals, widening)])


def importance_log_likelihood(draws: Tensor) -> tuple[Tensor, Tensor]:
    """Return the importance-weighted log p(x) and its standard error (inf if unknown).

    The draws are weighted by the whole mixture (balance heuristic). The defensive families
    bound the weights; as control variates they make the estimate exact where a proposal is the
    posterior.

    Parameters
    ----------
    draws : Tensor of shape (4, b, n_draws)
        The first draws, by :func:`importance_draws`.

    References
    ----------
    A. Owen, Y. Zhou (2000), Safe and effective importance sampling, JASA 95(449).

    Y. Burda, R. Grosse, R. Salakhutdinov (2016), Importance weighted
    autoencoders, ICLR.
    """
    log_p, families = draws[0], draws[1:]
    shares = draws.new_tensor(_counts(draws.shape[2])) / draws.shape[2]
    log_q = torch.logsumexp(families + shares.log()[:, None, None], 0)
    # A decoder that overflows far out has no density there; keep numbers finite.
    low = torch.finfo(draws.dtype).min
    log_w = torch.nan_to_num(log_p - log_q, nan=low, posinf=low, neginf=low)
    top = log_w.amax(1, keepdim=True)
    mean, std = _controlled_mean((log_w - top).exp(), (families[[0, 2]] - log_q).exp())
    error = std / mean
    return top[:, 0] + mean.log(), error.masked_fill(error > _MAX_ERROR, math.inf)


def _counts(n_draws: int) -> tuple[int, int, int]:
    """Return the numbers of the first draws that are from the modes, the widened modes, and the prior."""
    narrow, broad = round(NARROW * n_draws), round(BROAD * n_draws)
    return narrow, broad, n_draws - narrow - broad


@lru_cache(maxsize=8)
def normal_draws(stop: int, k: int, seed: int = 0, start: int = 0) -> tuple[Tensor, Tensor]:
    """Return sorted uniform numbers, and normal vectors spread evenly along them.

    They are points number start, ..., stop - 1 of a sequence.
    """
    sobol = torch.quasirandom.SobolEngine(k + 1, scramble=True, seed=seed)
    points = sobol.draw(stop, dtype=torch.float64)[start:] + 2.0**-31  # never 0
    points = points[points[:, 0].argsort()]
    return points[:, 0], torch.special.ndtri(points[:, 1:])


def _sample(proposals: Proposals, normal: Tensor, n_each: list[int], widening: float) -> Tensor:
    """Return stratified draws u (b, n_draws, k), the families one after another."""
    means, factors, log_weights = proposals
    b, n_modes, k = means.shape
    n_draws = len(normal)
    level = torch.cat([_levels(n, means) for n in n_each])
    edges = log_weights.exp().cumsum(1)
    mode = torch.searchsorted(edges, level.to(edges).expand(b, -1).contiguous())
    mode = mode.clamp_max(n_modes - 1)[:, None, None].expand(b, 1, k, n_draws)
    stretch = torch.cat([means.new_full((n,), s) for n, s in zip(n_each, (1.0, widening, 0.0), strict=True)])
    step = torch.linalg.solve_triangular(
        factors.mT, (normal * stretch[:, None]).T.expand(b, n_modes, k, n_draws), upper=True
    )
    u = (means[..., None] + step).gather(1, mode)[:, 0].mT
    return torch.where((stretch == 0.0)[:, None], normal, u)


def _levels(n: int, like: Tensor) -> Tensor:
    """Return n levels in the middle of equal parts of [0, 1], by which a family selects its modes."""
    return (torch.arange(n, dtype=torch.float32, device=like.device) + 0.5) / n


def _log_families(u: Tensor, proposals: Proposals, widening: float) -> Tensor:
    """Return log-densities (3, b, n_draws) of the narrow, the broad and the prior family."""
    means, factors, log_weights = proposals
    k = u.shape[-1]
    distance = ((u[:, None] - means[:, :, None]) @ factors).square().sum(-1)
    base = (log_weights + log_det(factors))[..., None]
    narrow = torch.logsumexp(base - 0.5 * distance, 1)
    broad = torch.logsumexp(base - 0.5 * distance / widening**2, 1) - k * math.log(widening)
    return torch.stack([narrow, broad, -0.5 * u.square().sum(-1)]) - 0.5 * k * LOG_2PI


def _controlled_mean(weights: Tensor, controls: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of the weights and its standard error, by regression on the controls.

    The controls (2, b, n_draws) have mean 1. The plain mean is kept where they
    explain less than half of the variance, or few draws carry all of it.
    """
    n_draws = weights.shape[1]
    plain = weights.mean(1)
    residual = weights - plain[:, None]
    variance = residual.square().sum(1)
    offset = controls.mean(2, keepdim=True) - 1.0
    design = (controls - 1.0 - offset).permute(1, 2, 0)
    ridge = 1e-12 * torch.eye(2, dtype=weights.dtype, device=weights.device)
    slope = torch.linalg.solve(design.mT @ design + ridge, design.mT @ residual[..., None])
    controlled = plain - (offset[..., 0].T * slope[..., 0]).sum(1)
    remaining = (residual - (design @ slope)[..., 0]).square().sum(1)
    use = (remaining < 0.5 * variance) & (controlled > 0.2 * plain)
    variance = torch.where(use, remaining, variance) / (n_draws * max(n_draws - 1, 1))
    return torch.where(use, controlled, plain), variance.sqrt()


def log_det(factors: Tensor) -> Tensor:
    """Return half the log-determinant of precisions with these Cholesky factors."""
    return factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
