"""Processes that fit one model together, by ``torch.distributed``.

``RANKS.get()`` is None in a single process, and otherwise the :class:`Ranks` of the fit that is going on.
All ranks call the same methods in the same order. Values on the host travel by gloo, gradients by gloo or,
on GPUs, by NCCL.
"""

from __future__ import annotations

import contextlib
import functools
import math
import multiprocessing
import os
import pickle
import platform
import re
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from datetime import timedelta
from itertools import count
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

RANKS: ContextVar[Ranks | None] = ContextVar("RANKS", default=None)

SWITCH = "SKLEARN_AE_RANKS"  # environment variable; 0 lets every process fit models of its own
_TO_COME = timedelta(minutes=5)  # for which ranks wait for each other at the start of a fit
_TO_ANSWER = timedelta(minutes=30)  # within a fit; a process that has ended is noticed at once
_fits = count()


class Ranks:
    """Processes that fit one model together.

    Parameters
    ----------
    group : ProcessGroup
        For values on the host.
    store : Store
        Of this fit alone; holds the error of the rank that failed first.
    net_class : type
        Of the nets that they train.
    """

    def __init__(self, group: Any, store: dist.Store, net_class: type) -> None:
        self.group = group
        self.store = store
        self.net_class = net_class
        self.rank = dist.get_rank(group)
        self.size = dist.get_world_size(group)
        self._on_gpus: Any = None  # the group for gradients on GPUs

    @property
    def is_first(self) -> bool:
        """True on rank 0, whose random numbers and decisions are those of all ranks."""
        return self.rank == 0

    # -- values ------------------------------------------------------------------------

    def gathered(self, value: Any, step: str = "") -> list[Any]:
        """Return the values of all ranks, which must be at the same step."""
        found: list[Any] = [None] * self.size
        self._together(lambda: dist.all_gather_object(found, (step, value), group=self.group))
        if any(other != step for other, _ in found):
            at = "; ".join(f"rank {i}: {other or 'another step'}" for i, (other, _) in enumerate(found))
            raise RuntimeError(
                f"The ranks have lost step ({at}). Callbacks and options of your own must decide alike on "
                "all ranks."
            )
        return [theirs for _, theirs in found]

    def of_first(self, value: Any) -> Any:
        """Return the value of rank 0."""
        found = [value]
        self._together(lambda: dist.broadcast_object_list(found, src=self._first, group=self.group))
        return found[0]

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite tensors by those of rank 0."""
        for tensor in tensors:
            part = tensor.detach().cpu().contiguous()
            self._together(functools.partial(dist.broadcast, part, src=self._first, group=self.group))
            tensor.copy_(part)

    def summed(self, *values: Any) -> list[np.ndarray]:
        """Return the sums of arrays over all ranks, in double precision."""
        sums = [torch.from_numpy(np.array(value, dtype=np.float64, ndmin=1)) for value in values]
        for part in sums:
            self._together(functools.partial(dist.all_reduce, part, group=self.group))
        return [part.numpy().reshape(np.shape(value)) for part, value in zip(sums, values, strict=True)]

    def means(self, totals: Sequence[float], n: int, step: str) -> tuple[list[float], int]:
        """Return the means over the samples of all ranks and their number, the same to the last bit."""
        parts = self.gathered((totals, n), step)
        n_all = sum(part[1] for part in parts)
        return [
            math.fsum(of_ranks) / n_all for of_ranks in zip(*(part[0] for part in parts), strict=True)
        ], n_all

    # -- training ------------------------------------------------------------------------

    def own_part(self, whole: Tensor) -> Tensor:
        """Return the part of a batch, or of its indices, that this rank processes."""
        return whole.tensor_split(self.size)[self.rank]

    def own_turns(self, batches: Sequence[Any]) -> Sequence[Any]:
        """Return every n-th batch, beginning with that of this rank."""
        return batches[self.rank :: self.size]

    @staticmethod
    def in_order(parts: Sequence[Sequence[Any]]) -> list[Any]:
        """Return the results of all turns, from the results of each rank, in the order of the batches."""
        n = sum(map(len, parts))
        return [parts[i % len(parts)][i // len(parts)] for i in range(n)]

    def own_seed(self, seed: int) -> int:
        """Return a seed of noise that differs between the ranks."""
        return int(np.random.SeedSequence([seed, self.rank]).generate_state(1)[0])

    def average_gradients(self, parameters: Sequence[Tensor], n_samples: int) -> None:
        """Replace gradients by their mean over ranks, weighted by the samples of each."""
        used = [p for p in parameters if p.grad is not None]
        n_values = sum(p.numel() for p in used)
        flat = used[0].new_zeros(n_values + 1)
        *views, n = flat.split([*(p.numel() for p in used), 1])
        shaped = [view.view_as(p) for view, p in zip(views, used, strict=True)]
        torch._foreach_copy_(shaped, [p.grad for p in used])  # type: ignore[misc]
        flat *= n_samples
        n.fill_(n_samples)
        self._together(lambda: dist.all_reduce(flat, group=self._gradient_group(flat.device)))
        flat /= n.clone()
        for p, gradient in zip(used, shaped, strict=True):
            p.grad = gradient

    def _gradient_group(self, device: torch.device) -> Any:
        if device.type != "cuda" or not dist.is_nccl_available():
            return self.group
        if self._on_gpus is None:
            places = self.gathered((platform.node(), device.index))
            # Two processes cannot share a GPU under NCCL.
            self._on_gpus = dist.new_group(backend="nccl") if len(set(places)) == self.size else self.group
        return self._on_gpus

    def local_device(self, device: torch.device) -> torch.device:
        """Return the GPU of this process, unless one is named."""
        if device.type != "cuda" or device.index is not None:
            return device
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())

    # -- agreement and failure -------------------------------------------------------------

    def check_same(self, what: str, description: dict[str, Any]) -> None:
        """Raise an error on all ranks that names the first difference between their descriptions."""
        found = self.gathered(description, f"start of {what}")
        for i, other in enumerate(found):
            for name in found[0].keys() | other.keys():
                first, second = (d.get(name, "none") for d in (found[0], other))
                if first != second:
                    raise ValueError(
                        f"{what} needs the same call on all ranks, but {name} differs: {first} on rank 0, "
                        f"{second} on rank {i}."
                    )

    def report(self, error: BaseException) -> None:
        """Leave word of an error for the other ranks, and let their calls fail."""
        with contextlib.suppress(RuntimeError):
            if not self.store.check(["error"]):
                self.store.set("error", f"rank {self.rank} raised {type(error).__name__}: {error}")
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_globals.get("__name__", "").startswith((__name__, dist.__name__)):
                with contextlib.suppress(RuntimeError):  # it still runs
                    frame.clear()  # it may hold the group, whose connections close when nothing does
        self.close()

    def close(self) -> None:
        """Leave the group; ranks that wait for this one get an error."""
        groups = {id(group): group for group in (self._on_gpus, self.group) if group is not None}
        self.group = self._on_gpus = None
        while groups and dist.is_initialized():
            dist.destroy_process_group(groups.popitem()[1])

    @property
    def _first(self) -> int:
        return dist.get_global_rank(self.group, 0)

    def _together(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except RuntimeError as error:
            raise RuntimeError(f"The fit has ended on all ranks: {self._reason().rstrip('.')}.") from error

    def _reason(self) -> str:
        with contextlib.suppress(RuntimeError):
            self.store.wait(["error"], timedelta(seconds=1))
            return self.store.get("error").decode()
        return f"rank {self.rank} has lost the connection to another rank, which has ended or does not answer"


def is_first_rank() -> bool:
    """Return whether this process is alone, or rank 0 of those that fit a model."""
    ranks = RANKS.get()
    return ranks is None or ranks.is_first


def several_ranks() -> bool:
    """Return whether a fit that is called here is one of several processes.

    Workers of joblib and multiprocessing, which inherit the environment of a rank, and threads other than
    the main one are on their own.
    """
    if os.environ.get(SWITCH) == "0" or threading.current_thread() is not threading.main_thread():
        return False
    if dist.is_initialized():
        return dist.group.WORLD is not _inherited and dist.get_world_size() > 1
    is_main = multiprocessing.parent_process() is None and multiprocessing.current_process().name == _MAIN
    return is_main and dist.is_torchelastic_launched() and int(os.environ.get("WORLD_SIZE", 1)) > 1


_MAIN = "MainProcess"
_inherited: Any = None  # group of the process from which this one was forked


def _forget_group() -> None:
    global _inherited
    _inherited = dist.group.WORLD if dist.is_initialized() else None
    RANKS.set(None)


if hasattr(os, "register_at_fork") and dist.is_available():
    os.register_at_fork(after_in_child=_forget_group)


@contextlib.contextmanager
def all_ranks(net_class: type) -> Iterator[Ranks]:
    """Fit with all ranks: those of the fit that is going on, or of a group that is closed at the end."""
    ranks = RANKS.get()
    if ranks is not None:
        yield ranks
        return
    ranks, closes_default = _opened(f"sklearn_ae/{next(_fits)}", net_class)
    token = RANKS.set(ranks)
    try:
        yield ranks
        ranks.gathered(None, "end of the fit")  # a rank may have failed in its last step
    except BaseException as error:
        ranks.report(error)
        raise
    finally:
        RANKS.reset(token)
        ranks.close()
        if closes_default and dist.is_initialized():
            dist.destroy_process_group()


def _opened(name: str, net_class: type) -> tuple[Ranks, bool]:
    """Return the ranks of a fit, and whether they have the default group, which did not exist."""
    if dist.is_initialized():
        from torch.distributed.distributed_c10d import _get_default_store

        store = _get_default_store()
        rank, size, timeout = dist.get_rank(), dist.get_world_size(), getattr(store, "timeout", _TO_COME)
        own = dist.PrefixStore(name, store)
        _wait_for_all(own, rank, size, timeout)
        return Ranks(dist.new_group(backend="gloo", timeout=timeout), own, net_class), False
    store, rank, size = next(iter(dist.rendezvous("env://", timeout=_TO_COME)))
    own = dist.PrefixStore(name, store)
    _wait_for_all(own, rank, size, _TO_COME)
    dist.init_process_group("gloo", store=own, rank=rank, world_size=size, timeout=_TO_ANSWER)
    return Ranks(dist.group.WORLD, own, net_class), True


def _wait_for_all(store: dist.Store, rank: int, size: int, timeout: timedelta) -> None:
    """Raise an error that names the missing ranks if some do not call fit."""
    store.set(f"here/{rank}", "")
    try:
        store.wait([f"here/{i}" for i in range(size)], timeout)
    except RuntimeError as error:
        missing = [i for i in range(size) if not store.check([f"here/{i}"])]
        store.set("error", f"rank {rank} did not wait any longer")
        raise RuntimeError(
            f"fit was called on rank {rank}, but within {timeout.total_seconds():g} seconds not on rank "
            f"{', '.join(map(str, missing))} of {size}. All ranks must call fit; to fit a model in one "
            f"process alone, set the environment variable {SWITCH}=0."
        ) from error
    if store.check(["error"]):
        raise RuntimeError(f"The fit has ended on all ranks: {store.get('error').decode()}.")


def without_addresses(value: Any) -> str:
    """Return a representation that does not depend on the process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def pickled(value: Any) -> bytes | None:
    """Return the pickle of a value, or None if it has none."""
    try:
        return pickle.dumps(value)
    except Exception:
        return None
