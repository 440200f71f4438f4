"""Derivatives of functions that act on every entry of a tensor separately."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


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
