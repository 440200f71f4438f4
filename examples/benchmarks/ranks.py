"""Time per epoch against the number of processes, and the time of one all-reduce of the gradients.

    python examples/benchmarks/ranks.py

Starts itself under torchrun with 1 and 2 processes, each with one thread. The time per epoch is the median
over the epochs of a training without validation.
"""

import argparse
import os
import subprocess
import sys
import time
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from skorch.callbacks import Callback

from sklearn_ae import AutoencoderTransformer

SHAPES = {  # samples, features, hidden layers, batch size
    "narrow": (20_000, 50, (256, 128), 256),
    "narrow, large batches": (20_000, 50, (256, 128), 2048),
    "wide": (10_000, 784, (1000, 500), 512),
    "wide, large batches": (10_000, 784, (1000, 500), 2048),
}


class Times(Callback):
    """Times at which epochs end."""

    def on_train_begin(self, net, **kwargs):
        """Start the clock."""
        self.n_weights_ = sum(p.numel() for p in net.module_.parameters())
        self.times_ = [time.perf_counter()]

    def on_epoch_end(self, net, **kwargs):
        """Take the time."""
        self.times_.append(time.perf_counter())


def seconds_per_epoch(n, d, hidden, batch_size):
    """Return the median time of an epoch, and the number of weights."""
    X = np.random.RandomState(0).normal(size=(n, d)).astype(np.float32)
    times = Times()
    params = {"max_iter": 6, "early_stopping": False, "callbacks": [times], "precision": "float32"}
    AutoencoderTransformer(
        16, hidden_layer_sizes=hidden, batch_size=batch_size, random_state=0, **params
    ).fit(X)
    return float(np.median(np.diff(times.times_)[1:])), times.n_weights_


def seconds_per_all_reduce(n_weights):
    """Return the median time of a sum of all gradients over the ranks."""
    store, rank, size = next(iter(dist.rendezvous("env://")))
    store = dist.PrefixStore("all-reduce", store)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(minutes=5))
    flat, times = torch.zeros(n_weights), []
    for _ in range(20):
        start = time.perf_counter()
        dist.all_reduce(flat)
        times.append(time.perf_counter() - start)
    dist.destroy_process_group()
    return float(np.median(times))


def measure(name):
    """Print the times of one shape."""
    epoch, n_weights = seconds_per_epoch(*SHAPES[name])
    is_alone = os.environ.get("WORLD_SIZE", "1") == "1"
    reduce = 0.0 if is_alone else seconds_per_all_reduce(n_weights)
    if os.environ.get("RANK", "0") == "0":
        n, _, _, batch_size = SHAPES[name]
        n_steps = -(-n // batch_size)
        print(f"{epoch} {1e3 * epoch / n_steps} {n_weights} {1e3 * reduce}", flush=True)


def launched(n_processes, name):
    """Return the figures that ``measure`` prints with this number of processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", str(n_processes), __file__, "--measure", name]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    printed = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    return list(map(float, printed.split()))


def main():
    """Print the table, or measure one shape as a rank."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", choices=SHAPES)
    parser.add_argument("--shapes", nargs="*", choices=SHAPES, default=list(SHAPES))
    args = parser.parse_args()
    if args.measure:
        measure(args.measure)
        return
    print("| samples x features, hidden layers, batch | weights | ms per step: 1, 2 processes "
          "| s per epoch: 1, 2 processes | speed-up | all-reduce |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- |")
    for name in args.shapes:
        n, d, hidden, batch_size = SHAPES[name]
        (one, step, n_weights, _), (two, step_of_two, _, reduce) = launched(1, name), launched(2, name)
        print(
            f"| {n:,} x {d}, {hidden}, {batch_size} | {n_weights:,.0f} | {step:.2f}, {step_of_two:.2f} "
            f"| {one:.2f}, {two:.2f} | {one / two:.2f} | {reduce:.2f} ms |",
            flush=True,
        )


if __name__ == "__main__":
    main()
