"""Training on a GPU: time per epoch against a bare PyTorch loop, and results against the CPU's.

The first table: both sides train the same network (random start, no linear path) on
the same random data, which lies on the device, in batches of the same size, with
fused AdamW and squared error. In one mode both also evaluate 10 % of held-out rows
after each epoch and keep the best weights; in the other neither does. Runs
alternate, clocks are read when the device is idle; the table gives medians and the
median of the paired ratios. The estimator's time includes what it takes to capture
its steps.

The second table: the same fits of the digits on the CPU and on the device.

    python examples/benchmarks/gpu.py                # on a GPU, about three minutes
    python examples/benchmarks/gpu.py --device cpu   # the same tables where there is none
"""

import argparse
import contextlib
import copy
import time
import warnings
from itertools import pairwise

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback
from torch import nn

from sklearn_ae import AutoencoderTransformer, VAETransformer

SHAPES = {  # name: rows, layer sizes of the encoder, batch size, precisions
    "30-64-32-8, batch 256": (20_000, (30, 64, 32, 8), 256, ["float32"]),
    "64-64-32-8, full batch of 1797": (1797, (64, 64, 32, 8), 1797, ["float32"]),
    "784-256-32, batch 256": (10_000, (784, 256, 32), 256, ["float32"]),
    "784-2048-1024-64, batch 1024": (16_384, (784, 2048, 1024, 64), 1024, ["float32", "bfloat16"]),
}
MODELS = {
    "full batches": AutoencoderTransformer(8, batch_size=10_000, max_iter=400),
    "batches": AutoencoderTransformer(8),
    "denoising, ordered": AutoencoderTransformer(8, corruption="masking", bottleneck="ordered"),
    "variational": VAETransformer(8),
}


def now(device):
    """The time at which the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def autoencoder(sizes):
    layers = []
    for i, (n_in, n_out) in enumerate(pairwise((*sizes, *sizes[-2::-1]))):
        if i not in (0, len(sizes) - 1):  # no activation on the input and on the code
            layers.append(nn.GELU())
        layers.append(nn.Linear(n_in, n_out))
    return nn.Sequential(*layers)


def bare_loop(X, X_val, sizes, batch_size, precision, n_epochs):
    """Seconds per epoch of what a careful user writes by hand."""
    torch.manual_seed(0)
    device = X.device
    net = autoencoder(sizes).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    criterion = nn.MSELoss()

    def cast():
        if precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(device.type, torch.bfloat16)

    best, weights = np.inf, None
    start = now(device)
    for _ in range(n_epochs):
        net.train()
        for index in torch.randperm(len(X), device=device).split(batch_size):
            batch = X[index] if batch_size < len(X) else X
            optimizer.zero_grad(set_to_none=True)
            with cast():
                loss = criterion(net(batch), batch)
            loss.backward()
            optimizer.step()
        if X_val is not None:
            net.eval()
            with torch.no_grad(), cast():
                loss = criterion(net(X_val), X_val).item()
            if loss < best:
                best, weights = loss, copy.deepcopy(net.state_dict())
    seconds = now(device) - start
    net.load_state_dict(weights or net.state_dict())
    return seconds / n_epochs


def ours(X, X_val, sizes, batch_size, precision, n_epochs, device):
    """Seconds per epoch of the same through the estimator; why its steps were not captured."""
    clock = EpochClock()
    AutoencoderTransformer(
        sizes[-1],
        hidden_layer_sizes=sizes[1:-1],
        init="random",
        batch_size=batch_size,
        max_iter=n_epochs,
        n_iter_no_change=n_epochs,
        learning_rate_init=1e-3,
        early_stopping=X_val is not None,
        precision=precision,
        callbacks=[clock],
        device=str(device),
        random_state=0,
    ).fit(X, X_val=X_val)
    return (clock.end - clock.start) / n_epochs, clock.obstacle


class EpochClock(Callback):
    """From the first epoch's start to the end of training."""

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 1:
            self.start = now(torch.device(net.device))

    def on_train_end(self, net, **kwargs):
        self.end, self.obstacle = now(torch.device(net.device)), net.obstacle_


def time_shape(shape, validates, precision, device, seconds, repeats):
    """Medians of the seconds per epoch, the median of their ratio, and the obstacle to a capture."""
    n, sizes, batch_size, _ = shape
    X = np.random.RandomState(0).normal(size=(n, sizes[0])).astype(np.float32)
    X_val = X[: n // 10] if validates else None
    tensors = [None if rows is None else torch.from_numpy(rows).to(device) for rows in (X, X_val)]
    settings = sizes, batch_size, precision
    bare_loop(*tensors, *settings, 2)  # libraries set themselves up
    n_epochs = max(3, int(seconds / bare_loop(*tensors, *settings, 3)))
    times = []
    for _ in range(repeats):
        bare = bare_loop(*tensors, *settings, n_epochs)
        own, obstacle = ours(X, X_val, *settings, n_epochs, device)
        times.append((bare, own))
    return (*np.median(times, axis=0), np.median([bare / own for bare, own in times]), obstacle)


def compare_speed(device, seconds, repeats):
    print(
        f"{'network':31} {'precision':9} {'validation':10} {'bare ms':>9} {'ours ms':>9} {'faster':>7}  steps"
    )
    for name, shape in SHAPES.items():
        for precision in shape[-1]:
            for validates in (False, True):
                bare, own, ratio, obstacle = time_shape(shape, validates, precision, device, seconds, repeats)
                print(
                    f"{name:31} {precision:9} {'both' if validates else 'neither':10} {1e3 * bare:9.2f} "
                    f"{1e3 * own:9.2f} {ratio:6.2f}x  {obstacle or 'captured'}",
                    flush=True,
                )


def compare_results(device):
    """Fit the digits on the CPU and on the device; other seeds show how far apart fits may be."""
    X = load_digits().data
    print(f"\n{'digits, k=8':19} {'':11} {'CPU':>9} {device.type:>9} {'apart':>7} {'seeds apart':>12}")
    for name, model in MODELS.items():
        fits = [fit(model, X, place, seed) for place, seed in [("cpu", 0), (str(device), 0), ("cpu", 1)]]
        for label, a, b, c in zip(("final loss", "error", "seconds"), *fits, strict=True):
            apart, seeds = (f"{abs(x - a) / abs(a):.1e}" if label != "seconds" else "" for x in (b, c))
            print(f"{name:19} {label:11} {a:9.4g} {b:9.4g} {apart:>7} {seeds:>12}", flush=True)


def fit(model, X, device, seed):
    """Last training loss, reconstruction error, and seconds."""
    start = time.perf_counter()
    fitted = copy.copy(model).set_params(device=device, random_state=seed, precision="float32").fit(X)
    seconds = time.perf_counter() - start
    return fitted.loss_curve_[-1], fitted.reconstruction_error(X).mean(), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", help="default: cuda")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run of the bare loop")
    args = parser.parse_args()
    if args.device is None and not torch.cuda.is_available():
        print("torch sees no CUDA device here; --device cpu makes the same tables on the CPU.")
        return
    device = torch.device(args.device or "cuda")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, one thread"
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(f"torch {torch.__version__}, {name}\n")
    compare_speed(device, args.seconds, args.repeats)
    compare_results(device)


if __name__ == "__main__":
    main()
