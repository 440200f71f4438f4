"""AdamW by torch's fused kernel, with little around it.

What torch does in Python around the kernel takes longer than the kernel itself where networks
are small; and with its first step it imports its compiler, which takes a process a second or more.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor


class FusedAdamW(torch.optim.AdamW):
    """torch's fused AdamW; :meth:`advance` is its step with less around it.

    Same kernel, same state and same numbers. On other devices than the CPU
    ``advance`` is ``step``.
    """

    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)  # without a guard for the compiler

    def clear_gradients(self) -> None:
        """``zero_grad(set_to_none=True)``, without a record for profilers."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def advance(self) -> None:
        """Update all parameters that have a gradient."""
        if self.param_groups[0]["params"][0].device.type != "cpu":
            self.step()
            return
        with torch.no_grad():
            for group in self.param_groups:
                params = [p for p in group["params"] if p.grad is not None]
                if params:
                    self._update(group, params)

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        states = [self.state[p] or self._begin(p) for p in params]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        beta1, beta2 = group["betas"]
        torch._fused_adamw_(
            params,
            [p.grad for p in params],  # type: ignore[misc]
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            amsgrad=False,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
            grad_scale=None,
            found_inf=None,
        )

    def _begin(self, p: Tensor) -> dict[str, Tensor]:
        """The state of a parameter before its first step, as torch has it."""
        averages = {name: torch.zeros_like(p) for name in ("exp_avg", "exp_avg_sq")}
        self.state[p] = {"step": torch.zeros(()), **averages}
        return self.state[p]
