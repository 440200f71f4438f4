"""Device, precision, threads and random state: what a fit uses and gives back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Generator

from sklearn_ae._module import Autoencoder

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


def use_bf16(precision: str, device: torch.device, module: Autoencoder, batch_size: int) -> bool:
    """Whether to train under bfloat16 autocast: hardware that does it and layers wide enough to gain."""
    if precision != "auto":
        return precision == "bfloat16"
    weights = [p for p in module.parameters() if p.ndim > 1]
    wide = max(p.numel() for p in weights) >= _BF16_MIN_WEIGHTS and batch_size >= 64
    if device.type == "cuda":
        return wide and torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return wide and bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


MAX_SEED = np.iinfo(np.int32).max  # of what a random state hands on as a seed


def private_random_state(random_state: Any) -> np.random.RandomState:
    """As ``check_random_state``, but None means fresh entropy, not NumPy's global generator."""
    return np.random.RandomState() if random_state is None else check_random_state(random_state)


def as_seed(random_state: Any) -> int:
    """A seed: an int as it is, else drawn."""
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(private_random_state(random_state).randint(MAX_SEED))


@contextlib.contextmanager
def threads_for(module: Autoencoder, n_rows: int) -> Iterator[None]:
    """Run small steps on one torch thread, and restore the count afterwards.

    Passing ``n_rows`` rows of a small net takes less time than to wake a second
    thread; on a busy machine waiting for it costs many times the work itself.
    """
    before = torch.get_num_threads()
    few = 6 * n_rows * module.n_weights < _FLOPS_PER_THREAD
    try:
        torch.set_num_threads(1 if few else before)
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def private_global_generator(needed: bool, seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators for the user's own code and restore them afterwards.

    Those of the CPU and of the device: torch.manual_seed would reach those of all devices.
    """
    if not needed:
        yield
        return
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices=devices, device_type=device.type):
        torch.default_generator.manual_seed(seed)
        for used in devices:
            state = Generator(used).manual_seed(seed).get_state()
            torch.get_device_module(used).set_rng_state(state, used)
        yield
