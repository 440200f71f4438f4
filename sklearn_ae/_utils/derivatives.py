"""Derivatives of functions that act on every entry, or on every sample, of a tensor separately.

They are computed by backward passes, because torch's forward mode keeps its state in
the process (calls in other threads fail) and imports torch's compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction

_MIN_ROWS = 64  # rows up to which a pass takes little longer than with one


def entrywise_derivatives(
    function: Callable[..., Tensor], x: Tensor, *others: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the first and the second derivative of an entrywise function by autograd.

    Works under ``torch.no_grad()`` and ``torch.inference_mode()``, too.

    Parameters
    ----------
    function : callable
        ``function(x, *others)`` has the shape of x, and each of its entries depends on
        the same entry of x alone.
    x : Tensor
    *others : Tensor or None
        Arguments without a derivative.

    Returns
    -------
    first, second : Tensor of the shape of x
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        constants = [None if other is None else other.detach().clone() for other in others]
        first = _gradient(function(x, *constants), x)
        second = _gradient(first, x)
    return first.detach(), second.detach()


def jacobian(
    function: Callable[[Tensor], Tensor], u: Tensor, *, by_rows: bool = False
) -> tuple[Tensor, Tensor]:
    """Return values (n, d) and Jacobians (n, d, k) of a function that maps each sample separately.

    Parameters
    ----------
    function : callable
    u : Tensor of shape (n, k)
    by_rows : bool, default=False
        Whether to take d passes, one for each value, which suits functions with fewer values than arguments.

    Returns
    -------
    value, jac : Tensor

    Notes
    -----
    The gradient of ``(function(u) * w).sum()`` is linear in w, and its own derivative in
    a direction is a column of the Jacobian, so that k passes take the place of d. A
    function with parts that cannot be differentiated twice takes the d passes.
    Derivatives where the function overflows are replaced by 0, since NaN would spread.
    """
    # copies of each sample, for as many columns at once
    n_copies = 1 if by_rows else min(u.shape[1], max(1, _MIN_ROWS // len(u)))
    with torch.inference_mode(False), torch.enable_grad():
        copies = u.detach().repeat(n_copies, 1).requires_grad_()
        value = function(copies)
        if not value.requires_grad:  # it is constant
            return value[: len(u)], value.new_zeros((len(u), value.shape[1], u.shape[1]))
        try:
            jac = _rows(value, copies) if by_rows else _columns(value, copies, n_copies)
        except (RuntimeError, NotImplementedError):
            jac = _rows(value, copies)
    value, jac = (part.detach()[: len(u)] for part in (value, jac))
    return value, torch.nan_to_num(jac, 0.0, 0.0, 0.0)


def curvature(function: Callable[[Tensor], Tensor], u: Tensor, weights: Tensor) -> Tensor:
    """Return the sums (n, k, k) of second derivatives of the values, with weights (n, d).

    They are zero for a function with parts that cannot be differentiated twice.
    """
    with torch.inference_mode(False), torch.enable_grad():
        u = u.detach().clone().requires_grad_()
        try:
            pulled = _gradient(function(u) * weights.to(u.dtype), u)
            rows = [_gradient(column, u) for column in pulled.unbind(1)]
        except (RuntimeError, NotImplementedError):
            return weights.new_zeros((len(u), u.shape[1], u.shape[1]))
    return torch.stack(rows, 1).detach().nan_to_num(0.0, 0.0, 0.0).to(weights.dtype)


def _columns(value: Tensor, u: Tensor, n_copies: int) -> Tensor:
    """Return the Jacobians of the first samples of u, which holds ``n_copies`` of all, column by column."""
    if any(isinstance(node, BackwardCFunction) for node in _graph(value)):
        raise NotImplementedError  # the user's own derivatives need not have derivatives
    n, k = len(u) // n_copies, u.shape[1]
    weight = torch.zeros_like(value, requires_grad=True)
    pulled = _gradient(value * weight, u)
    columns = []
    for some in torch.eye(k, dtype=u.dtype, device=u.device).split(n_copies):
        directions = some.repeat_interleave(n, 0)
        moved = (pulled[: len(directions)] * directions).sum()
        (of_all,) = torch.autograd.grad(moved, weight, retain_graph=True, materialize_grads=True)
        columns.append(of_all[: len(directions)].view(len(some), n, -1))
    return torch.cat(columns).movedim(0, -1)


def _rows(value: Tensor, u: Tensor) -> Tensor:
    """Return the Jacobians of all samples, row by row."""
    parts = [torch.autograd.grad(column.sum(), u, retain_graph=True)[0] for column in value.unbind(1)]
    return torch.stack(parts, 1)


def _graph(value: Tensor) -> set[Any]:
    """Return the nodes of the graph of a value."""
    found: set[Any] = set()
    ahead = [value.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is not None and node not in found:
            found.add(node)
            ahead += [following for following, _ in node.next_functions]
    return found


def positive_information(slope: Tensor, second: Tensor) -> Tensor:
    """Return minus the second derivative of a log-density, or its squared slope where that is not positive.

    Both have the Fisher information as their expectation.
    """
    return torch.where(second < 0, -second, slope.square())


def _gradient(value: Tensor, x: Tensor) -> Tensor:
    """Return the gradient of the sum of the values, zero if they are constant."""
    if not value.requires_grad:
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=True, materialize_grads=True)
    return gradient
