"""Training on a GPU: time per epoch against a bare PyTorch loop, and results against those on the CPU.

The first table compares the training of the same network (random initialisation, no linear path) on the
same random data in device memory, with the same batch size, fused AdamW and squared error. In mode "both",
both sides also evaluate 10 % of the samples after each epoch and keep the best weights; in mode "neither",
neither does. Runs alternate, and the device is synchronised before the time is read. The table gives
medians and the median of the paired ratios. The time of the estimator includes the capture of its steps.

The second table compares fits of the digits on the CPU and on the device.

    python examples/benchmarks/gpu.py                # on a GPU, about three minutes
    python examples/benchmarks/gpu.py --device cpu   # the same tables without a GPU
"""

import argparse
import copy
import time
import warnings

import numpy as np
import torch
from engine import bare_loop, ours  # the script beside this one
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from sklearn_ae import AutoencoderTransformer, VAETransformer

SHAPES = {  # name: samples, layer sizes of the encoder, batch size, precisions
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


def time_shape(shape, validates, precision, device, seconds, repeats):
    """Return median seconds per epoch, their median ratio, and the reason if steps were not captured."""
    n, sizes, batch_size, _ = shape
    X = np.random.RandomState(0).normal(size=(n, sizes[0])).astype(np.float32)
    X_val = X[: n // 10] if validates else None
    tensors = [None if x is None else torch.from_numpy(x).to(device) for x in (X, X_val)]
    task = sizes, batch_size
    bare_loop(*tensors, *task, 2, precision)  # first calls initialise the libraries
    n_epochs = max(3, int(seconds / bare_loop(*tensors, *task, 3, precision)))
    times = []
    for _ in range(repeats):
        bare = bare_loop(*tensors, *task, n_epochs, precision)
        own, reason = ours(X, X_val, *task, n_epochs, precision, device)
        times.append((bare, own))
    return (*np.median(times, axis=0), np.median([bare / own for bare, own in times]), reason)


def compare_speed(device, seconds, repeats):
    """Print the time per epoch of both sides for each shape."""
    print(
        f"{'network':31} {'precision':9} {'validation':10} {'bare ms':>9} {'ours ms':>9} {'faster':>7}  steps"
    )
    for name, shape in SHAPES.items():
        for precision in shape[-1]:
            for validates in (False, True):
                bare, own, ratio, reason = time_shape(shape, validates, precision, device, seconds, repeats)
                print(
                    f"{name:31} {precision:9} {'both' if validates else 'neither':10} {1e3 * bare:9.2f} "
                    f"{1e3 * own:9.2f} {ratio:6.2f}x  {reason or 'captured'}",
                    flush=True,
                )


def compare_results(device):
    """Print the results on the CPU and on the device, and the differences between two seeds for scale."""
    X = load_digits().data
    print(f"\n{'digits, k=8':19} {'':11} {'CPU':>9} {device.type:>9} {'differ':>7} {'seeds differ':>12}")
    for name, model in MODELS.items():
        fits = [fit(model, X, where, seed) for where, seed in [("cpu", 0), (str(device), 0), ("cpu", 1)]]
        for label, a, b, c in zip(("final loss", "error", "seconds"), *fits, strict=True):
            devices, seeds = (f"{abs(x - a) / abs(a):.1e}" if label != "seconds" else "" for x in (b, c))
            print(f"{name:19} {label:11} {a:9.4g} {b:9.4g} {devices:>7} {seeds:>12}", flush=True)


def fit(model, X, device, seed):
    """Return the final training loss, the reconstruction error, and the seconds of the fit."""
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
        print("There is no CUDA device; --device cpu prints the same tables on the CPU.")
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
