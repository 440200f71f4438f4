"""Device, precision and threads of a fit, and what of them must be restored afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

# Work per step from which torch's threads are used. Under it a second one gains little, may
# wait many times as long on a busy machine, and the result does not depend on the count.
_FLOPS_PER_THREAD = 8e8

_BF16_MIN_WEIGHTS = 300_000  # size of a layer from which bfloat16 steps are faster


def resolve_device(device: str) -> torch.device:
    """Return the torch device; "auto" takes cuda, mps or cpu, in this order."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={device!r} cannot be used here: {error}. Use device='cpu' or 'auto'."
        ) from error
    return resolved


def use_bf16(precision: str, device: torch.device, module: nn.Module, batch_size: int) -> bool:
    """Return whether to train under bfloat16 autocast: supported by the hardware, and layers wide enough to gain."""
    if precision != "auto":
        return precision == "bfloat16"
    weights = [p for p in module.parameters() if p.ndim > 1]
    wide = max(p.numel() for p in weights) >= _BF16_MIN_WEIGHTS and batch_size >= 64
    return wide and _has_bf16(device)


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):  # older versions of torch
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


@contextlib.contextmanager
def threads_for(n_weights: int, n_samples: int) -> Iterator[None]:
    """Run small steps on one torch thread, and restore the count afterwards.

    Passing ``n_samples`` samples through a small net of ``n_weights`` weights takes less time than waking
    a second thread; on a busy machine, waiting for it costs many times the work itself.
    """
    before = torch.get_num_threads()
    few = 6 * n_samples * n_weights < _FLOPS_PER_THREAD
    try:
        torch.set_num_threads(1 if few else before)
        yield
    finally:
        torch.set_num_threads(before)
