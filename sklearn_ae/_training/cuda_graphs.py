"""Whole epochs on the GPU: steps read every input from device memory, so that they can be captured.

A step of a small network is microseconds of work for a GPU, but Python takes half a
millisecond to launch its kernels one by one. A CUDA graph launches all kernels at once,
with the same arguments in every replay, so that everything that changes between steps
must be in device memory:

    table[step]                   -> learning rates, training progress
    order[start : start + length] -> samples of the batch
    loss                          -> losses[number]
    step, number, start           += 1, 1, length

That step is one function. Its first calls run as they are, on the stream of the capture;
then it is captured and replayed. In either way a call is a step of the training, with
the same random numbers. Nothing is lost if a capture fails, and all but the capture
itself is the same on a CPU.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor

from sklearn_ae._utils.runtime import without_foreign_warnings
from sklearn_ae._utils.warnings import warn_user

_N_WARM = 3  # calls before a capture, in which libraries initialise what they cannot initialise during one
_CAPTURING = threading.Lock()  # a process captures one graph at a time


class Recorder:
    """Executor of functions on a device; on a CUDA device each is captured after a warm-up, and replayed.

    A function must do the same work at the same addresses in every call, run without a
    device-to-host synchronisation, and write its results to existing tensors.

    Parameters
    ----------
    device : torch.device
    generators : sequence of Generator
        Generators that the functions draw from.
    """

    def __init__(self, device: torch.device, generators: Sequence[Generator]):
        self.device = device
        self.generators = generators
        self.failure: str | None = None  # message of the capture that failed, after which none is tried
        self.stream = _stream(device, threading.get_ident()) if device.type == "cuda" else None
        self.forget()

    def forget(self) -> None:
        """Drop the graphs; the functions are captured again after another warm-up."""
        if self.stream is not None:
            torch.cuda.synchronize(self.device)  # a replay in flight uses the graph's memory
            self.pool = torch.cuda.graph_pool_handle()  # the old one is released with its last graph
        self.graphs: dict[Hashable, Any] = {}
        self.n_calls: Counter[Hashable] = Counter()
        self.drawn_from: dict[Hashable, list[Generator]] = {}

    def run(self, key: Hashable, function: Callable[[], None]) -> None:
        """Call a function, which must be the same in every call with this key."""
        if self.stream is None:
            function()
            return
        if key not in self.graphs and self.failure is None and self.n_calls[key] == _N_WARM:
            self._capture(key, function)
        if key in self.graphs:
            self.graphs[key].replay()
        else:
            self.n_calls[key] += 1
            self._call_aside(key, function)

    def _call_aside(self, key: Hashable, function: Callable[[], None]) -> None:
        """Call on the stream of the capture, because autograd and libraries remember their first stream."""
        assert self.stream is not None
        current = torch.cuda.current_stream(self.device)
        states = self._states()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            function()
        current.wait_stream(self.stream)
        pairs = zip(self.generators, states, strict=True)
        self.drawn_from[key] = [g for g, state in pairs if not torch.equal(g.get_state(), state)]

    def _states(self) -> list[Tensor]:
        return [generator.get_state() for generator in self.generators]

    def _capture(self, key: Hashable, function: Callable[[], None]) -> None:
        """Capture a function without running it; a failure leaves everything unchanged."""
        assert self.stream is not None
        graph = torch.cuda.CUDAGraph()
        current = torch.cuda.current_stream(self.device)
        default = torch.cuda.default_generators[current.device.index]  # torch adds it to every capture
        generators = [*self.generators, default]
        states = [generator.get_state() for generator in generators]
        try:
            # torch.cuda.graph does not return to the current stream after a failed capture.
            with _CAPTURING, torch.cuda.device(self.device), torch.cuda.stream(current):
                self._register(graph, self.drawn_from[key])
                # Other threads may allocate memory in the meantime.
                with torch.cuda.graph(
                    graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"
                ):
                    function()
        except RuntimeError as error:
            self._recover(error, generators, states)
        else:
            # The begin of a capture resets random numbers on its stream, after which a replay may set them.
            current.wait_stream(self.stream)
            self.graphs[key] = graph

    def _register(self, graph: Any, generators: Sequence[Generator]) -> None:
        """Let each replay continue from the current state of the generators."""
        with without_foreign_warnings():
            for generator in generators:
                graph.register_generator_state(generator)

    def _recover(self, error: RuntimeError, generators: Sequence[Generator], states: list[Tensor]) -> None:
        """Give the generators states that do not belong to a capture."""
        for generator, state in zip(generators, states, strict=True):
            fresh = Generator(generator.device)
            fresh.set_state(state)
            generator.graphsafe_set_state(fresh.graphsafe_get_state())
        self.failure = f"the capture failed: {str(error).splitlines()[0]}"
        warn_user(
            f"Training steps could not be captured as a CUDA graph ({self.failure}). Their kernels are "
            "launched one by one, which gives the same result more slowly.",
            RuntimeWarning,
        )


@functools.cache
def _stream(device: torch.device, thread: int) -> Any:
    """Return the stream of a thread for captures; cuBLAS keeps a workspace for every stream."""
    return torch.cuda.Stream(device)


class CapturedEpochs:
    """Epochs of training and validation whose steps only read and write device memory.

    Parameters
    ----------
    net : AutoencoderNet
        At the start of its training; :meth:`close` restores it.
    train : WorkingSamples
        In memory.
    valid : WorkingSamples or None
        Validated by the usual loop unless they are in memory.
    """

    def __init__(self, net: Any, train: Any, valid: Any):
        assert train.tensor is not None
        self.net = net
        self.samples = train.tensor
        self.sizes = net.get_iterator(train, training=True).sizes
        self.parts: Sequence[Tensor] = ()
        if valid is not None and valid.tensor is not None:
            self.parts = valid.tensor.tensor_split(net.get_iterator(valid).n_batches)
        device = self.samples.device
        self.validation_noise = Generator(device)
        self.recorder = Recorder(device, (net.generator, self.validation_noise))
        self._allocate()
        self._move_rates_to_device()

    def _allocate(self) -> None:
        """Allocate everything that steps read and write, at fixed addresses."""
        n, device = len(self.samples), self.samples.device
        n_terms = len(self.net.criterion_.terms)
        self.order = torch.arange(n, device=device)
        self.places = torch.arange(max(self.sizes), device=device)
        self.counters = torch.zeros(3, dtype=torch.int64, device=device)
        self.step, self.number, self.start = self.counters.split(1)
        self.moves = {size: torch.tensor([1, 1, size], device=device) for size in set(self.sizes)}
        self.losses = torch.zeros(len(self.sizes), dtype=torch.float32, device=device)
        self.terms = torch.zeros((len(self.sizes), n_terms), dtype=torch.float32, device=device)
        self.valid_terms = torch.zeros((len(self.parts), n_terms), dtype=torch.float32, device=device)
        self.valid_losses = torch.zeros(len(self.parts), dtype=torch.float32, device=device)

    def _move_rates_to_device(self) -> None:
        """Replace the learning rates by values on the device, from a table with a row per step."""
        net = self.net
        n_steps = net.n_steps_
        groups = net.optimizer_.param_groups
        rates = [[net.rate(t) * group["lr_multiplier"] for group in groups] for t in range(n_steps)]
        rows = [[*of_step, t / n_steps] for t, of_step in enumerate(rates)]
        self.table = torch.tensor(rows, dtype=torch.float32, device=self.samples.device)
        self.now = self.table[:1].clone()
        for group, rate in zip(groups, self.now[0], strict=False):
            group.update(lr=rate, capturable=True)

    def __reduce__(self) -> tuple:
        """Become None in pickles and copies of a net in training, because graphs belong to a process."""
        return type(None), ()

    # -- epochs --------------------------------------------------------------------

    def serves(self, training: bool) -> bool:
        """Return whether epochs of this kind run here instead of in the usual loop."""
        return training or len(self.parts) > 0

    def epoch(self, training: bool) -> tuple[list[float], list[int], list[list[float]]]:
        """Return the losses, sizes and terms of all batches."""
        return self._train() if training else self._validate()

    def _train(self) -> tuple[list[float], list[int], list[list[float]]]:
        net = self.net
        self._watch_parameters()
        self.counters[1:].zero_()
        if len(self.sizes) > 1:  # the order within a full batch has no effect
            torch.randperm(len(self.samples), generator=net.generator, out=self.order)
        for size in self.sizes:
            self.recorder.run(size, partial(self._step, size))
            net.step_ += 1
            if net.average_ is not None:
                net.average_.update(net.step_)
        return self.losses.tolist(), self.sizes, self.terms.tolist()

    def _watch_parameters(self) -> None:
        """Capture again if a callback has frozen a parameter or replaced its memory."""
        found = [(p.data_ptr(), p.requires_grad) for p in self.net.module_.parameters()]
        if getattr(self, "found", found) != found:
            self.recorder.forget()
        self.found = found

    def _step(self, size: int) -> None:
        net = self.net
        torch.index_select(self.table, 0, self.step, out=self.now)
        net.criterion_.schedule(self.now[0, -1])
        net.optimizer_.zero_grad(set_to_none=True)
        with net.autocast():
            loss = net.criterion_(net.module_(self._batch(size), net.generator), self._record_terms)
        loss.backward()
        net.optimizer_.step()
        self.losses.index_copy_(0, self.number, loss.detach().to(self.losses.dtype)[None])
        self.counters.add_(self.moves[size])

    def _record_terms(self, terms: Tensor) -> None:
        self.terms.index_copy_(0, self.number, terms.to(self.terms.dtype)[None])

    def _batch(self, size: int) -> Tensor:
        if len(self.sizes) == 1:
            return self.samples
        return self.samples[self.order[self.places[:size] + self.start]]

    def _validate(self) -> tuple[list[float], list[int], list[list[float]]]:
        for i in range(len(self.parts)):
            self.validation_noise.manual_seed(self.net.seed)
            self.recorder.run(("valid", i), partial(self._evaluate, i))
        sizes = [len(part) for part in self.parts]
        return self.valid_losses.tolist(), sizes, self.valid_terms.tolist()

    def _evaluate(self, i: int) -> None:
        record = self.valid_terms[i].copy_
        objective = self.net.objective_per_sample(self.parts[i], self.validation_noise, record=record)
        self.valid_losses[i].copy_(objective.mean())

    # -- end of training -------------------------------------------------------------------

    def close(self) -> str | None:
        """Restore the net as the usual loop leaves it; return why a capture failed, if one did."""
        net = self.net
        net.optimizer_.zero_grad(set_to_none=True)
        self.recorder.forget()
        for group in net.optimizer_.param_groups:
            group.update(lr=net.lr * group["lr_multiplier"], capturable=False)
        net.criterion_.schedule(1.0)
        return self.recorder.failure
