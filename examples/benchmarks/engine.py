"""Time per epoch of the training engine against a bare PyTorch loop.

Both train the same network (random initialisation, no linear path) on the same random data with the same
batch size, fused AdamW and squared error, in float32 on one thread. In mode "both", both sides also
evaluate 10 % of the samples after each epoch and keep the best weights; in mode "neither", neither does.
Runs alternate; the table gives medians and the median of the paired ratios.

    python examples/benchmarks/engine.py
"""

import argparse
import contextlib
import copy
import time
from itertools import pairwise

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import nn

from sklearn_ae import AutoencoderTransformer

SHAPES = {  # name: samples, layer sizes of the encoder, batch size
    "30-64-32-8-32-64-30, batch 256": (20_000, (30, 64, 32, 8), 256),
    "784-256-32-256-784, batch 256": (10_000, (784, 256, 32), 256),
    "64-64-32-8-32-64-64, full batch of 1797": (1797, (64, 64, 32, 8), 1797),
}


def now(device):
    """Return the time after the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def autoencoder(sizes):
    """Return an autoencoder with the given layer sizes of the encoder, and GELU between layers."""
    layers = []
    for i, (n_in, n_out) in enumerate(pairwise((*sizes, *sizes[-2::-1]))):
        if i not in (0, len(sizes) - 1):  # no activation on the input or on the code
            layers.append(nn.GELU())
        layers.append(nn.Linear(n_in, n_out))
    return nn.Sequential(*layers)


def bare_loop(X, X_val, sizes, batch_size, n_epochs, precision="float32"):
    """Return the seconds per epoch of a careful hand-written training loop."""
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


def ours(X, X_val, sizes, batch_size, n_epochs, precision="float32", device="cpu"):
    """Return the seconds per epoch of the estimator, and the reason if no CUDA graphs were captured."""
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
    return (clock.end - clock.start) / n_epochs, clock.fallback_reason


class EpochClock(Callback):
    """Callback that records the start of the first epoch and the end of training."""

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 1:
            self.start = now(torch.device(net.device))

    def on_train_end(self, net, **kwargs):
        self.end = now(torch.device(net.device))
        self.fallback_reason = net.graph_fallback_reason_


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'network':42} {'validation':10} {'bare ms':>9} {'ours ms':>9} {'ratio':>6}")
    for name, (n, sizes, batch_size) in SHAPES.items():
        for validates in (False, True):
            rng = np.random.RandomState(0)
            X = rng.normal(size=(n, sizes[0])).astype(np.float32)
            X_val = X[: n // 10] if validates else None
            tensors = torch.from_numpy(X), None if X_val is None else torch.from_numpy(X_val)
            n_epochs = max(8, int(1.0 / bare_loop(*tensors, sizes, batch_size, 3)))
            times = []
            for _ in range(args.repeats):
                times.append(
                    (
                        bare_loop(*tensors, sizes, batch_size, n_epochs),
                        ours(X, X_val, sizes, batch_size, n_epochs)[0],
                    )
                )
            bare, own = 1e3 * np.median(times, axis=0)
            ratio = np.median([b / a for a, b in times])
            print(
                f"{name:42} {'both' if validates else 'neither':10} {bare:9.2f} {own:9.2f} {ratio:6.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
