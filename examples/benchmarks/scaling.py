"""How the time of a fit grows with the rows and the columns of X.

Time per epoch (the fastest, with validation) and the time of all else in the fit (split,
PCA, what is learnt about the codes), against the number of rows n and of columns d.
Exponents b of t = a n^b come from least squares on logarithms: over all sizes, where
the fixed cost of a step flattens the slope, and over the larger half of them. Batches
have 256 rows throughout.

Wide data is trained in the row space of X. There the time is compared with that of the
same rows in as many columns as the space has dimensions, and of training in all columns.

    python examples/benchmarks/scaling.py            # about 3 minutes
    python examples/benchmarks/scaling.py --quick    # 10 seconds
"""

import argparse
import time
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback
from threadpoolctl import threadpool_limits

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.losses import SquaredError

FULL = {
    "rows": [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000],
    "columns": [10, 30, 100, 300, 1_000, 3_000, 10_000],
    "wide": (60, 7_000),
}
QUICK = {"rows": [1_000, 3_000, 9_000], "columns": [10, 60, 400], "wide": (60, 1_000)}
D, N = 20, 2_500  # columns where rows vary; rows where columns do, too many for the row space
BOUND = 1.05  # what the exponent of an epoch's time is to stay under


class Clock(Callback):
    """Seconds of each epoch."""

    def __init__(self):
        self.seconds = []

    def on_epoch_begin(self, net, **kwargs):
        self.start = time.perf_counter()

    def on_epoch_end(self, net, **kwargs):
        self.seconds.append(time.perf_counter() - self.start)


class OfColumns(SquaredError):
    """Squared error, trained in the columns of X even where they are many."""

    rotation_invariant = False


def rows_on_surface(n, d, seed=0):
    """Rows around a curved surface in d dimensions."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(-1, 1, (n, 2))
    waves = np.column_stack([t, *(np.sin(3 * t + shift) for shift in range(3))])
    X = waves.astype(np.float32) @ rng.standard_normal((8, d), dtype=np.float32)
    return X + 0.1 * rng.standard_normal((n, d), dtype=np.float32)


def timed_fit(X, X_val=None, **params):
    """Seconds of the fastest epoch, of all epochs, and of the whole fit."""
    clock = Clock()
    model = AutoencoderTransformer(2, callbacks=[clock], random_state=0, **params)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, X_val=X_val)
    total = time.perf_counter() - start
    return min(clock.seconds), sum(clock.seconds), total


def exponent(sizes, seconds):
    """b of t = a n^b, over all sizes and over the larger half."""
    half = len(sizes) // 2
    slopes = (np.polyfit(np.log(sizes[i:]), np.log(seconds[i:]), 1)[0] for i in (0, half))
    return tuple(float(slope) for slope in slopes)


def growth(name, sizes, shape):
    """Print times for each size, and the exponents."""
    print(f"\n{name:>9} {'epoch ms':>10} {'else in the fit, s':>19}")
    epochs, others = [], []
    for size in sizes:
        n, d = shape(size)
        n_epochs = int(np.clip(1e6 / (n * max(d, D)), 3, 20))
        X = rows_on_surface(n, d)
        epoch, training, total = timed_fit(X, X[: n // 10], batch_size=256, max_iter=n_epochs)
        epochs.append(epoch)
        others.append(total - training)
        print(f"{size:9,} {1e3 * epoch:10.1f} {others[-1]:19.2f}", flush=True)
    start = sizes[len(sizes) // 2]
    for what, seconds in (("an epoch", epochs), ("all else", others)):
        whole, upper = exponent(sizes, seconds)
        print(f"time of {what} against {name}: exponent {whole:.2f}; {upper:.2f} from {start:,} on")
    print(f"at most {BOUND}: {'yes' if max(exponent(sizes, epochs)) <= BOUND else 'NO'}")


def row_space(n, d, repeats):
    """Print times of a wide fit, of its few-column twin, and of training in all columns."""
    wide = rows_on_surface(n, d).astype(float)
    axes = np.linalg.svd(wide - wide.mean(axis=0), full_matrices=False)[2]
    cases = {
        f"{n} x {n}, the same rows": (wide @ axes.T, "squared_error"),
        f"{n} x {d}": (wide, "squared_error"),
        f"{n} x {d}, in all columns": (wide, OfColumns()),
    }
    seconds = {name: [] for name in cases}
    for _ in range(repeats):
        for name, (X, loss) in cases.items():
            seconds[name].append(timed_fit(X, loss=loss, early_stopping=False)[1:])
    print(f"\n{'wide data':30} {'training s':>10} {'fit s':>7} {'ratio':>6}")
    medians = {name: np.median(some, axis=0) for name, some in seconds.items()}
    least = next(iter(medians.values()))[1]
    for name, (training, total) in medians.items():
        print(f"{name:30} {training:10.2f} {total:7.2f} {total / least:6.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    sizes = QUICK if quick else FULL
    torch.set_num_threads(1)
    with threadpool_limits(1):
        timed_fit(rows_on_surface(200, D), max_iter=1)  # imports
        growth("rows", sizes["rows"], lambda n: (n, D))
        growth("columns", sizes["columns"], lambda d: (N, d))
        row_space(*sizes["wide"], repeats=1 if quick else 5)


if __name__ == "__main__":
    main()
