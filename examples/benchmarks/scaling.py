"""Growth of the fit time with the numbers of samples and features.

Time per epoch (the fastest one, with validation) and time of the rest of the fit (split, PCA, statistics of
the codes), against the numbers of samples and features. The exponent b of t = a n^b is estimated by least
squares on logarithms: over all sizes, where the fixed cost of a step flattens the slope, and over the
larger half of them. The batch size is 256 throughout.

Wide data are trained in the row space of X. The time is compared with that of the same samples projected to
the row space beforehand, and with training in all features.

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
    "samples": [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000],
    "features": [10, 30, 100, 300, 1_000, 3_000, 10_000],
    "wide": (60, 7_000),
}
QUICK = {"samples": [1_000, 3_000, 9_000], "features": [10, 60, 400], "wide": (60, 1_000)}
N_FEATURES = 20  # while the number of samples varies
N_SAMPLES = 2_500  # while the number of features varies; too many for training in the row space
BOUND = 1.05  # upper bound for the exponent of the time per epoch


class Clock(Callback):
    """Callback that records the seconds of each epoch."""

    def __init__(self):
        self.seconds = []

    def on_epoch_begin(self, net, **kwargs):
        self.start = time.perf_counter()

    def on_epoch_end(self, net, **kwargs):
        self.seconds.append(time.perf_counter() - self.start)


class FeatureSpaceError(SquaredError):
    """Squared error that declines training in the row space."""

    rotation_invariant = False


def noisy_surface(n, d, seed=0):
    """Draw n samples near a curved surface in d dimensions."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(-1, 1, (n, 2))
    waves = np.column_stack([t, *(np.sin(3 * t + shift) for shift in range(3))])
    X = waves.astype(np.float32) @ rng.standard_normal((8, d), dtype=np.float32)
    return X + 0.1 * rng.standard_normal((n, d), dtype=np.float32)


def timed_fit(X, X_val=None, **params):
    """Return the seconds of the fastest epoch, of all epochs, and of the whole fit."""
    clock = Clock()
    model = AutoencoderTransformer(2, callbacks=[clock], random_state=0, **params)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, X_val=X_val)
    total = time.perf_counter() - start
    return min(clock.seconds), sum(clock.seconds), total


def exponent(sizes, seconds):
    """Return b of t = a n^b, over all sizes and over the larger half."""
    half = len(sizes) // 2
    slopes = (np.polyfit(np.log(sizes[i:]), np.log(seconds[i:]), 1)[0] for i in (0, half))
    return tuple(float(slope) for slope in slopes)


def growth(name, sizes, shape):
    """Print the times for each size, and the exponents."""
    print(f"\n{name:>9} {'epoch ms':>10} {'rest of the fit, s':>19}")
    epochs, others = [], []
    for size in sizes:
        n, d = shape(size)
        n_epochs = int(np.clip(1e6 / (n * max(d, N_FEATURES)), 3, 20))
        X = noisy_surface(n, d)
        epoch, training, total = timed_fit(X, X[: n // 10], batch_size=256, max_iter=n_epochs)
        epochs.append(epoch)
        others.append(total - training)
        print(f"{size:9,} {1e3 * epoch:10.1f} {others[-1]:19.2f}", flush=True)
    start = sizes[len(sizes) // 2]
    for what, seconds in (("an epoch", epochs), ("the rest", others)):
        whole, upper = exponent(sizes, seconds)
        print(f"time of {what} against {name}: exponent {whole:.2f}; {upper:.2f} from {start:,} on")
    print(f"at most {BOUND}: {'yes' if max(exponent(sizes, epochs)) <= BOUND else 'NO'}")


def row_space(n, d, repeats):
    """Print the times of a wide fit, of the projected data, and of training in all features."""
    wide = noisy_surface(n, d).astype(float)
    axes = np.linalg.svd(wide - wide.mean(axis=0), full_matrices=False)[2]
    cases = {
        f"{n} x {n}, projected": (wide @ axes.T, "squared_error"),
        f"{n} x {d}": (wide, "squared_error"),
        f"{n} x {d}, in all features": (wide, FeatureSpaceError()),
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
        timed_fit(noisy_surface(200, N_FEATURES), max_iter=1)  # the first fit imports libraries
        growth("samples", sizes["samples"], lambda n: (n, N_FEATURES))
        growth("features", sizes["features"], lambda d: (N_SAMPLES, d))
        row_space(*sizes["wide"], repeats=1 if quick else 5)


if __name__ == "__main__":
    main()
