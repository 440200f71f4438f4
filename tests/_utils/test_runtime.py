"""Runtime resources: device, precision, threads and random numbers."""

import contextlib
import os
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info
from torch import nn

from sklearn_ae._utils import runtime
from sklearn_ae._utils.runtime import (
    MAX_SEED,
    Shared,
    as_seed,
    forked_global_rng,
    kept_filters,
    one_blas_thread,
    private_random_state,
    resolve_device,
    threads_for,
    use_bf16,
)

CPU = torch.device("cpu")


# -- device -------------------------------------------------------------------------------


def test_a_device_is_resolved_by_its_name():
    assert resolve_device("cpu") == CPU


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_is_the_first_available_device(cuda, mps, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert resolve_device("auto") == torch.device(expected)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "mps:99", torch.device("cuda:99")])
def test_an_unusable_device_raises_an_error_of_one_line_with_the_remedy(device):
    with pytest.raises(
        ValueError, match=f"^device='{device}' cannot be used here: .*'cpu' or 'auto'.$"
    ) as error:
        resolve_device(device)
    assert len(str(error.value)) < 300


# -- precision ----------------------------------------------------------------------------

WIDE = nn.Linear(600, 500)
NARROW = nn.Linear(60, 50)


@pytest.mark.parametrize(
    ("precision", "layer", "batch_size", "supported", "expected"),
    [
        ("auto", WIDE, 64, True, True),
        ("auto", WIDE, 64, False, False),
        ("auto", WIDE, 63, True, False),
        ("auto", NARROW, 64, True, False),
        ("float32", WIDE, 64, True, False),
        ("bfloat16", NARROW, 8, False, True),
    ],
)
def test_bfloat16_is_used_if_supported_and_faster(
    precision, layer, batch_size, supported, expected, monkeypatch
):
    monkeypatch.setattr(runtime, "_has_bf16", lambda device: supported)
    assert use_bf16(precision, CPU, layer, batch_size) == expected


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx2": True}, False), ({}, False)],
)
def test_bfloat16_needs_instructions_of_the_processor(capabilities, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert use_bf16("auto", CPU, WIDE, 64) == expected


# -- threads ------------------------------------------------------------------------------


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("n_weights", "n_samples", "expected"), [(10_000, 100, 1), (10**6, 1_000, 2)])
def test_small_steps_run_on_one_thread(n_weights, n_samples, expected, two_threads):
    with threads_for(n_weights, n_samples):
        assert torch.get_num_threads() == expected
    assert torch.get_num_threads() == 2


def test_threads_are_restored_after_an_error(two_threads):
    with pytest.raises(RuntimeError, match="inside"), threads_for(1, 1):
        raise RuntimeError("inside")
    assert torch.get_num_threads() == 2


# -- random numbers -------------------------------------------------------------------------


def test_no_random_state_means_fresh_entropy(unchanged_globals):
    first, second = private_random_state(None), private_random_state(None)
    assert first.randint(MAX_SEED) != second.randint(MAX_SEED)


def test_a_random_state_is_used_as_it_is():
    state = np.random.RandomState(3)
    assert private_random_state(state) is state
    assert private_random_state(3).randint(MAX_SEED) == np.random.RandomState(3).randint(MAX_SEED)


def test_a_seed_is_kept_or_drawn():
    assert as_seed(7) == as_seed(np.int64(7)) == 7
    assert as_seed(np.random.RandomState(0)) == as_seed(np.random.RandomState(0))
    state = np.random.RandomState(0)
    assert as_seed(state) != as_seed(state)
    assert 0 <= as_seed(None) < MAX_SEED


def test_the_global_generator_is_seeded_and_restored(unchanged_globals):
    draws = []
    for _ in range(2):
        with forked_global_rng(True, 5, CPU):
            draws.append(torch.rand(3))
    assert torch.equal(*draws)
    assert torch.equal(draws[0], torch.rand(3, generator=torch.Generator().manual_seed(5)))


def test_the_global_generator_is_restored_after_an_error(unchanged_globals):
    def fail():
        torch.rand(3)
        raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"), forked_global_rng(True, 5, CPU):
        fail()


def test_the_global_generator_is_left_alone_unless_needed():
    state = torch.get_rng_state()
    with forked_global_rng(False, 5, CPU):
        torch.rand(3)
    assert not torch.equal(torch.get_rng_state(), state)
    torch.set_rng_state(state)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_global_generator_of_a_gpu_is_seeded_and_restored():
    device = torch.device("cuda")
    before = torch.cuda.get_rng_state(), torch.get_rng_state()
    draws = []
    for _ in range(2):
        with forked_global_rng(True, 5, device):
            draws.append(torch.rand(3, device=device))
    assert torch.equal(*draws)
    assert torch.equal(torch.cuda.get_rng_state(), before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


# -- state of the process -------------------------------------------------------------------


@contextlib.contextmanager
def held_in_a_thread(context):
    """Let another thread enter a context, and leave it when the function that this one returns is called."""
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with context():
            inside.set()
            leave.wait()

    def release():
        leave.set()
        thread.join()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    try:
        yield release
    finally:
        release()


def test_shared_state_is_set_by_the_first_and_restored_by_the_last_of_several_threads():
    """The thread that set the state leaves before the other one."""
    events = []

    @contextlib.contextmanager
    def state():
        events.append("set")
        yield
        events.append("restored")

    shared = Shared(state)
    with held_in_a_thread(shared) as release:
        with shared():
            with shared():
                pass
            release()
            assert events == ["set"]
        assert events == ["set", "restored"]
    with pytest.raises(KeyError), shared():
        raise KeyError
    assert events == 2 * ["set", "restored"]


def test_threads_of_blas_are_restored_by_another_thread_than_the_one_that_set_them():
    def counts():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = counts()
    with held_in_a_thread(one_blas_thread) as release, one_blas_thread():
        assert set(counts()) <= {1}
        release()
        assert set(counts()) <= {1}
    assert counts() == before


def test_filters_are_as_before_after_overlapping_changes():
    @contextlib.contextmanager
    def other():
        with kept_filters(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield

    before = list(warnings.filters)
    with kept_filters(), held_in_a_thread(other) as release, warnings.catch_warnings():
        warnings.simplefilter("always")  # as scikit-learn's validation changes them
        release()
    assert list(warnings.filters) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_does_not_wait_for_the_threads_of_its_parent():
    code = """
import os, threading, torch
from sklearn_ae._utils.runtime import forked_global_rng, kept_filters
inside, leave = threading.Event(), threading.Event()
def other():
    with forked_global_rng(True, 0, torch.device("cpu")), kept_filters._lock:
        inside.set(); leave.wait()
thread = threading.Thread(target=other); thread.start(); inside.wait()
child = os.fork()
if child == 0:
    with forked_global_rng(True, 0, torch.device("cpu")), kept_filters():
        os._exit(7)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
leave.set(); thread.join(); print(code)
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.stdout.strip() == "7"
