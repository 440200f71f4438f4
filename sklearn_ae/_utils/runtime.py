"""Runtime resources of a fit: device, precision, threads and random numbers; all are restored afterwards."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from threadpoolctl import OpenBLASController, ThreadpoolController
from torch import Generator, nn

from sklearn_ae._utils.compat import InvalidParameterError
from sklearn_ae._utils.ranks import RANKS

# Operations per step from which several torch threads are used. Below it a second thread gains little
# and may wait many times as long on a busy machine; the result does not depend on the count.
_FLOPS_PER_THREAD = 8e8

_BF16_MIN_WEIGHTS = 300_000  # size of a layer from which bfloat16 steps are faster


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the torch device; "auto" is the first available of cuda, mps and cpu."""
    ranks = RANKS.get()
    if ranks is not None and torch.cuda.is_available() and str(device) in ("auto", "cuda"):
        device = ranks.local_device(torch.device("cuda"))
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, dtype=torch.float32, device=resolved)
    except (RuntimeError, AssertionError) as error:
        absent = isinstance(
            error, NotImplementedError
        )  # "Could not run ... from the 'MPS' backend", for pages
        reason = "there is none" if absent else str(error).splitlines()[0]
        raise InvalidParameterError(
            f"device={str(device)!r} cannot be used here: {reason}. Use device='cpu' or 'auto'."
        ) from error
    return resolved


_DEVICE_OF_TENSORS: ContextVar[torch.device | None] = ContextVar("device_of_tensors", default=None)


@contextlib.contextmanager
def running_on(X: Any) -> Iterator[None]:
    """Let computations run on the device of X, if it is a tensor, instead of that of a parameter."""
    token = _DEVICE_OF_TENSORS.set(X.device if isinstance(X, torch.Tensor) else None)
    try:
        yield
    finally:
        _DEVICE_OF_TENSORS.reset(token)


def selected_device(device: str | torch.device) -> torch.device:
    """Return the device of the tensors that a method was called with, or else that of a parameter."""
    return _DEVICE_OF_TENSORS.get() or resolve_device(device)


def use_bf16(precision: str, device: torch.device, module: nn.Module, batch_size: int) -> bool:
    """Return whether bfloat16 autocast is supported and the layers are wide enough to profit."""
    if precision != "auto":
        return precision == "bfloat16"
    weights = [p for p in module.parameters() if p.ndim > 1]
    wide = max((p.numel() for p in weights), default=0) >= _BF16_MIN_WEIGHTS and batch_size >= 64
    return wide and _has_bf16(device)


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):  # older versions of torch
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def main_memory() -> float:
    """Return the bytes of memory that this process can have at most, as far as the system says it."""
    limits = [2.0**42]
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not on Windows
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for file in ("memory.max", "memory/memory.limit_in_bytes"):  # of a container
        with contextlib.suppress(ValueError, OSError):
            limits.append(int(Path("/sys/fs/cgroup", file).read_text()))
    return min(limits)


@contextlib.contextmanager
def threads_for(n_weights: int, n_samples: int) -> Iterator[None]:
    """Run small steps on one torch thread, and restore the count afterwards.

    Passing ``n_samples`` samples through a small net of ``n_weights`` weights takes less time than waking
    a second thread; on a busy machine, waiting for it costs many times the work itself. Each Python thread
    has its own count, except that a new one starts with the count that was set last.
    """
    before = torch.get_num_threads()
    if before == 1 or 6 * n_samples * n_weights >= _FLOPS_PER_THREAD:
        yield
        return
    try:
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(before)


class Shared:
    """State of the process that calls in several threads share: the first sets it, the last restores it.

    Parameters
    ----------
    make : callable
        Returns the context that sets the state.
    """

    def __init__(self, make: Callable[[], contextlib.AbstractContextManager]):
        self._make = make
        self._forget()
        if hasattr(os, "register_at_fork"):  # a forked process has none of the threads that hold the state
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._context: contextlib.AbstractContextManager = contextlib.nullcontext()
        self._n = 0

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._n == 0:
                self._context = self._make()
                self._context.__enter__()
            self._n += 1
        try:
            yield
        finally:
            with self._lock:
                self._n -= 1
                if self._n == 0:
                    self._context.__exit__(None, None, None)


@functools.cache
def _thread_pools() -> ThreadpoolController:
    """Return the thread pools of the process; finding them takes milliseconds."""
    return ThreadpoolController()


@contextlib.contextmanager
def _one_blas_thread() -> Iterator[None]:
    with _thread_pools().limit(limits=1, user_api="blas"):
        yield
        # In newer versions only the thread that set a limit can lift it.
        if hasattr(OpenBLASController, "clear_controlling_thread"):
            OpenBLASController.clear_controlling_thread(force=True)


one_blas_thread = Shared(_one_blas_thread)
kept_filters = Shared(warnings.catch_warnings)  # scikit-learn changes them while it validates samples


@contextlib.contextmanager
def without_foreign_warnings() -> Iterator[None]:
    """Ignore warnings of auxiliary models of scikit-learn, and of torch about the capture of a graph."""
    with kept_filters():
        warnings.filterwarnings("ignore", category=ConvergenceWarning, module=r"sklearn\.")
        warnings.filterwarnings("ignore", module=r"sklearn_ae\._training\.cuda_graphs")
        yield


MAX_SEED = np.iinfo(np.int32).max  # upper bound of seeds drawn from a random state


def private_random_state(random_state: Any) -> np.random.RandomState:
    """Return what ``check_random_state`` returns, except that None means fresh entropy.

    While several ranks fit a model, it is that of rank 0.
    """
    own = np.random.RandomState() if random_state is None else check_random_state(random_state)
    ranks = RANKS.get()
    return own if ranks is None else ranks.of_first(own)


def as_seed(random_state: Any) -> int:
    """Return an integer unchanged, and draw a seed from anything else."""
    if isinstance(random_state, Integral) and RANKS.get() is None:
        return int(random_state)
    return int(private_random_state(random_state).randint(MAX_SEED))


_GENERATORS = threading.RLock()


def _forget_holder() -> None:
    """Replace the lock in a forked process, which has none of the threads that may hold it."""
    global _GENERATORS
    _GENERATORS = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_holder)


@contextlib.contextmanager
def forked_global_rng(needed: bool, seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators for user code, and restore their state afterwards.

    Only the generators of the CPU and of ``device`` are affected; torch.manual_seed
    would seed those of all devices. One thread at a time draws from them.
    """
    if not needed:
        yield
        return
    devices = [] if device.type == "cpu" else [device]
    with _GENERATORS, torch.random.fork_rng(devices=devices, device_type=device.type):
        torch.default_generator.manual_seed(seed)
        for used in devices:
            state = Generator(used).manual_seed(seed).get_state()
            torch.get_device_module(used).set_rng_state(state, used)
        yield


@contextlib.contextmanager
def fit_context() -> Iterator[None]:
    """Record gradients, and use one BLAS thread.

    ``fit`` may be called under ``torch.no_grad()``, and the low-order bits of the initial
    PCA depend on the number of BLAS threads.
    """
    with torch.inference_mode(False), torch.enable_grad(), one_blas_thread():
        yield
