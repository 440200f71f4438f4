"""Whole epochs on the device: steps that read all they need there, captured as CUDA graphs.

A small network's step is microseconds of work for a GPU, and half a millisecond of Python that
launches it kernel by kernel. A CUDA graph launches all kernels at once, but with the same
arguments at every replay: what changes from step to step has to lie in memory on the device.

    table[step]                   -> learning rates, progress of the training
    order[start : start + length] -> rows of the batch
    loss                          -> losses[number]
    step, number, start           += 1, 1, length

That step is one function. Its first calls run as they are, on the stream of the capture, then it
is captured, and from there on replayed: whichever way, a call is a step of the training, with the
same random numbers. So nothing is lost where a capture fails, and all but the capture itself is
the same on a CPU.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor

from sklearn_ae._data.batches import InMemorySamples
from sklearn_ae._utils.warnings import warn_user

_MIN_STEPS = 300  # in a training, from which a capture (some tens of milliseconds) pays

_MAX_FLOPS = 1e12  # in a step, from which the GPU is busy for longer than Python takes to launch it

_N_WARM = 3  # calls before a capture, in which libraries set up what they may not set up within one

_CAPTURING = threading.Lock()  # a process captures one graph at a time


def obstacle(net: Any, rows: InMemorySamples) -> str | None:
    """Why the steps of a training on these rows are not captured; None where they are.

    Parameters
    ----------
    net : AutoencoderNet
        About to train.
    rows : InMemorySamples
    """
    flops = 6 * net.batch_size * sum(p.numel() for p in net.module_.parameters())
    device = torch.device(net.device).type
    reasons = {
        "an option or a network is the user's own code, or decomposes matrices": not net.capturable,
        "rows are not in memory, but read batch by batch": rows.tensor is None,
        "a callback looks at batches": net.batch_callbacks_,
        "a callback looks at gradients": net.gradient_callbacks_,
        f"{net.n_steps_} steps are too few": net.n_steps_ < _MIN_STEPS,
        f"steps of {flops:.0e} operations gain nothing": flops > _MAX_FLOPS,
        f"graphs are for cuda, not for {device}": device != "cuda",
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


class Recorder:
    """Calls functions on a device; on a CUDA device each is captured once it is warm, and replayed.

    A function must do the same work at the same addresses at every call, never ask
    the device for a value, and leave its results in tensors that were there before.

    Parameters
    ----------
    device : torch.device
    generators : sequence of Generator
        What the functions draw from.
    """

    def __init__(self, device: torch.device, generators: Sequence[Generator]):
        self.device = device
        self.generators = generators
        self.failure: str | None = None  # what the only capture that failed has said
        self.stream = _stream(device, threading.get_ident()) if device.type == "cuda" else None
        self.forget()

    def forget(self) -> None:
        """Drop the graphs: the functions are captured anew once they are warm."""
        if self.stream is not None:
            torch.cuda.synchronize(self.device)  # a replay in flight uses the graph's memory
            self.pool = torch.cuda.graph_pool_handle()  # the old one dies with its last graph
        self.graphs: dict[Hashable, Any] = {}
        self.n_calls: Counter[Hashable] = Counter()
        self.drawn_from: dict[Hashable, list[Generator]] = {}

    def run(self, key: Hashable, function: Callable[[], None]) -> None:
        """Call a function, which is the same at every call with this key."""
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
        """Call on the stream of the capture: autograd and libraries remember the stream they began on."""
        assert self.stream is not None
        current, states = torch.cuda.current_stream(self.device), self._states()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            function()
        current.wait_stream(self.stream)
        pairs = zip(self.generators, states, strict=True)
        self.drawn_from[key] = [g for g, state in pairs if not torch.equal(g.get_state(), state)]

    def _states(self) -> list[Tensor]:
        return [generator.get_state() for generator in self.generators]

    def _capture(self, key: Hashable, function: Callable[[], None]) -> None:
        """Capture a function, which does not run it; where that fails everything is as it was."""
        graph, states = torch.cuda.CUDAGraph(), self._states()
        current = torch.cuda.current_stream(self.device)
        try:
            # torch.cuda.graph does not return to the current stream from a capture that failed
            with _CAPTURING, torch.cuda.device(self.device), torch.cuda.stream(current):
                self._register(graph, self.drawn_from[key])
                # other threads may allocate in the meantime
                with torch.cuda.graph(
                    graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"
                ):
                    function()
        except RuntimeError as error:
            self._recover(error, states)
        else:
            self.graphs[key] = graph

    def _register(self, graph: Any, generators: Sequence[Generator]) -> None:
        """Let each replay draw on from where the generators are."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer versions of torch do it by themselves, and say so
            for generator in generators:
                graph.register_generator_state(generator)

    def _recover(self, error: RuntimeError, states: list[Tensor]) -> None:
        """Give the generators states that no capture holds."""
        for generator, state in zip(self.generators, states, strict=True):
            fresh = Generator(generator.device)
            fresh.set_state(state)
            generator.graphsafe_set_state(fresh.graphsafe_get_state())
        self.failure = f"the capture failed: {str(error).splitlines()[0]}"
        warn_user(
            f"Training steps could not be captured as a CUDA graph ({self.failure}). They are launched "
            "one by one: the same result, later.",
            RuntimeWarning,
        )


@functools.cache
def _stream(device: torch.device, thread: int) -> Any:
    """A thread's stream for captures, always the same: cuBLAS keeps a workspace for each that it sees."""
    return torch.cuda.Stream(device)


class CapturedEpochs:
    """Epochs of training and validation whose every step reads and writes on the device alone.

    Parameters
    ----------
    net : AutoencoderNet
        At the start of its training; :meth:`close` hands it back.
    train : InMemorySamples
        In memory.
    valid : InMemorySamples or None
        Those not in memory are left to the usual loop.
    """

    def __init__(self, net: Any, train: InMemorySamples, valid: InMemorySamples | None):
        assert train.tensor is not None
        self.net = net
        self.rows = train.tensor
        self.sizes = net.get_iterator(train, training=True).sizes
        self.parts: Sequence[Tensor] = ()
        if valid is not None and valid.tensor is not None:
            self.parts = valid.tensor.tensor_split(net.get_iterator(valid).n_batches)
        device = self.rows.device
        self.validation_noise = Generator(device)
        self.recorder = Recorder(device, (net.generator, self.validation_noise))
        self._allocate()
        self._lend_rates()

    def _allocate(self) -> None:
        """Everything that steps read and write, at addresses that stay."""
        n, device = len(self.rows), self.rows.device
        self.order = torch.arange(n, device=device)
        self.places = torch.arange(max(self.sizes), device=device)
        self.counters = torch.zeros(3, dtype=torch.int64, device=device)
        self.step, self.number, self.start = self.counters.split(1)
        self.moves = {size: torch.tensor([1, 1, size], device=device) for size in set(self.sizes)}
        self.losses = torch.zeros(len(self.sizes), device=device)
        self.valid_losses = torch.zeros(len(self.parts), device=device)

    def _lend_rates(self) -> None:
        """Replace the optimizer's learning rates by numbers on the device, a row of a table per step."""
        net, n_steps = self.net, self.net.n_steps_
        groups = net.optimizer_.param_groups
        rates = [[net.rate(t) * group["lr_multiplier"] for group in groups] for t in range(n_steps)]
        rows = [[*of_step, t / n_steps] for t, of_step in enumerate(rates)]
        self.table = torch.tensor(rows, dtype=torch.float32, device=self.rows.device)
        self.now = self.table[:1].clone()
        for group, rate in zip(groups, self.now[0], strict=False):
            group.update(lr=rate, capturable=True)

    def __reduce__(self) -> tuple:
        """Pickles and copies of a net in training have None in its place: graphs belong to a process."""
        return type(None), ()

    # -- epochs --------------------------------------------------------------------

    def serves(self, training: bool) -> bool:
        return training or len(self.parts) > 0

    def epoch(self, training: bool) -> tuple[list[float], list[int]]:
        """Losses of all batches, and their numbers of rows."""
        return self._train() if training else self._validate()

    def _train(self) -> tuple[list[float], list[int]]:
        net = self.net
        self._watch_parameters()
        self.counters[1:].zero_()
        if len(self.sizes) > 1:  # the order of the rows within a full batch has no effect
            torch.randperm(len(self.rows), generator=net.generator, out=self.order)
        for size in self.sizes:
            self.recorder.run(size, partial(self._step, size))
            net.step_ += 1
            if net.average_ is not None:
                net.average_.update(net.step_)
        return self.losses.tolist(), self.sizes

    def _watch_parameters(self) -> None:
        """Capture anew where a callback has frozen a parameter or replaced its memory."""
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
            loss = net.criterion_(net.module_(self._batch(size), net.generator))
        loss.backward()
        net.optimizer_.step()
        self.losses.index_copy_(0, self.number, loss.detach().to(self.losses.dtype)[None])
        self.counters.add_(self.moves[size])

    def _batch(self, size: int) -> Tensor:
        if len(self.sizes) == 1:
            return self.rows
        return self.rows[self.order[self.places[:size] + self.start]]

    def _validate(self) -> tuple[list[float], list[int]]:
        for i in range(len(self.parts)):
            self.validation_noise.manual_seed(self.net.seed)
            self.recorder.run(("valid", i), partial(self._judge, i))
        return self.valid_losses.tolist(), [len(part) for part in self.parts]

    def _judge(self, i: int) -> None:
        objective = self.net.objective_per_row(self.parts[i], self.validation_noise)
        self.valid_losses[i].copy_(objective.mean())

    # -- the end -------------------------------------------------------------------

    def close(self) -> str | None:
        """Hand the net back as the usual loop leaves it; say what went wrong, if anything did."""
        net = self.net
        net.optimizer_.zero_grad(set_to_none=True)
        self.recorder.forget()
        for group in net.optimizer_.param_groups:
            group.update(lr=net.lr * group["lr_multiplier"], capturable=False)
        net.criterion_.schedule(1.0)
        return self.recorder.failure
