"""TODO"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Generator

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
def forked_global_rng(needed: bool, seed: int, device: torch.device) -> Iterator[None]:
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
