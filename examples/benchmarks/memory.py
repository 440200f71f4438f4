"""Data larger than memory: anonymous memory and time, and the quality of training by chunks.

Samples near a noisy surface of 8 dimensions are written to a temporary file. A small network is fitted to
its memory map, which is then transformed and scored. The system can drop pages of a mapped file at any
time, hence the table reports anonymous memory (RssAnon in Linux's /proc/self/status). Every call runs in a
separate process; the table gives its peak, and the increase over the start of the call. Then
``partial_fit`` by chunks is compared with ``fit`` for the same number of epochs, by the squared error of
held-out samples.

    python examples/benchmarks/memory.py --gigabytes 1
    python examples/benchmarks/memory.py --gigabytes 8 --data DIR

``--data`` is a folder with mnist.npz and adbench/*.npz; without it, the comparison uses scikit-learn's
digits.
"""

import argparse
import multiprocessing
import tempfile
import threading
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from sklearn_ae import AutoencoderTransformer

STATUS = Path("/proc/self/status")
WIDTH = 784
TABLES = {"cardio": 8, "letter": 8, "musk": 16}  # datasets of ADBench, and the number of components


def anonymous_memory():
    """Return the bytes of this process that are not pages of files; 0 if the system does not report them."""
    if not STATUS.exists():
        return 0
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("RssAnon"))
    return 1024 * int(line.split()[1])


class Peak:
    """Context that measures the peak of anonymous memory, polled by a thread, and the time."""

    def __enter__(self):
        self.start = self.top = anonymous_memory()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        self.seconds = time.perf_counter()
        return self

    def _watch(self):
        while not self.done.wait(0.005):
            self.top = max(self.top, anonymous_memory())

    def __exit__(self, *error):
        self.seconds = time.perf_counter() - self.seconds
        self.done.set()
        self.thread.join()


class Epochs(Callback):
    """Callback that records the seconds of the last epoch."""

    def on_epoch_begin(self, net, **kwargs):
        self.start = time.perf_counter()

    def on_epoch_end(self, net, **kwargs):
        self.seconds = time.perf_counter() - self.start


def write_samples(path, n, dtype):
    """Write samples near a curved surface to a file; they repeat after 20,000."""
    rng = np.random.RandomState(0)
    z = rng.normal(size=(20_000, 8))
    x = z @ rng.normal(size=(8, WIDTH)) + 3 * np.sin(z) @ rng.normal(size=(8, WIDTH))
    x += rng.normal(size=x.shape)
    x = x.astype(dtype) if dtype == np.float32 else (128 + 8 * x).clip(0, 255).astype(dtype)
    samples = np.memmap(path, dtype=dtype, mode="w+", shape=(n, WIDTH))
    for start in range(0, n, len(x)):
        samples[start : start + len(x)] = x[: n - start]
    samples.flush()


def small(**params):
    """Return an autoencoder with one small hidden layer."""
    return AutoencoderTransformer(8, hidden_layer_sizes=(64,), random_state=0, **params)


# -- calls to measure: functions of a fitted model and samples ----------------------------


def fit(model, X):
    """Fit for two epochs; return the model and the seconds of the last epoch."""
    epochs = Epochs()
    return small(max_iter=2, callbacks=[epochs]).fit(X).set_params(callbacks=None), epochs.seconds


def transform(model, X):
    """Transform all samples."""
    model.transform(X)


def reconstruction_error(model, X):
    """Compute the reconstruction error of all samples."""
    model.reconstruction_error(X)


def score_samples(model, X):
    """Score a thousandth of the samples, because each takes milliseconds."""
    model.score_samples(X[: len(X) // 1000])


def score_samples_linear(model, X):
    """Score all samples with a linear model."""
    small(max_iter=1).set_params(hidden_layer_sizes=()).fit(X[: len(X) // 100]).score_samples(X)


def measured(call, model, path, n, dtype, mapped):
    """Measure a call; return its result, the bytes of X, the peak and its increase in MB, and the seconds."""
    warnings.simplefilter("ignore", ConvergenceWarning)  # few epochs on purpose
    small(max_iter=1).fit(np.random.RandomState(0).normal(size=(200, 9)))  # the first fit loads libraries
    X = np.memmap(path, dtype=dtype, mode="r", shape=(n, WIDTH))
    X = X if mapped else np.array(X)
    with Peak() as peak:
        result = call(model, X)
    return result, X.nbytes, peak.top / 2**20, (peak.top - peak.start) / 2**20, peak.seconds


def in_own_process(*args):
    """Measure a call in a new process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measured, *args).result()


def measure_memory(gigabytes, dtype, mapped, calls):
    """Print the table of memory and time for a file of the given size."""
    n = int(gigabytes * 2**30 / np.dtype(dtype).itemsize / WIDTH)
    where = "mapped" if mapped else "in memory"
    print(f"\n{n} x {WIDTH} {np.dtype(dtype).name}, {where}")
    print(f"{'':30} {'peak MB':>9} {'increase':>9} {'seconds':>9} {'GB/s':>7}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples"
        write_samples(path, n, dtype)
        (model, epoch), *fitting = in_own_process(fit, None, path, n, dtype, mapped)
        lines = [("fit, 2 epochs and the rest", fitting), ("  one epoch", [*fitting[:3], epoch])]
        lines += [(call.__name__, in_own_process(call, model, path, n, dtype, mapped)[1:]) for call in calls]
    for name, (size, top, above, seconds) in lines:
        print(f"{name:30} {top:9.0f} {above:9.0f} {seconds:9.1f} {size / 2**30 / seconds:7.2f}", flush=True)


# -- partial_fit against fit --------------------------------------------------------------


def sets(data):
    """Yield the name, the samples and the number of components of each dataset."""
    if data is None:
        yield "digits", load_digits().data, 8
        return
    rng = np.random.RandomState(0)
    with np.load(data / "mnist.npz") as file:
        images = file["X_train"].reshape(len(file["X_train"]), -1) / 255
    yield "mnist", images[rng.permutation(len(images))[:22_000]].astype(np.float32), 32
    for path in sorted(data.glob("adbench/*.npz")):
        name = path.stem.partition("_")[2]
        if name in TABLES:
            with np.load(path) as file:
                yield name, StandardScaler().fit_transform(file["X"]), TABLES[name]


def compare_chunks(data, epochs, chunk_sizes):
    """Print held-out errors of ``partial_fit`` relative to ``fit`` with the same number of epochs."""
    print("\nheld-out squared error of fit, and that of partial_fit relative to it by samples per chunk")
    print(
        f"{'dataset':10} {'samples':>7} {'epochs':>6} {'fit':>9}"
        + "".join(f"{size:9}" for size in chunk_sizes)
    )
    for name, X, k in sets(data):
        X = X[np.random.RandomState(0).permutation(len(X))]
        train, test = np.split(X, [round(10 / 11 * len(X))])
        whole = AutoencoderTransformer(k, max_iter=epochs, random_state=0).fit(train)
        error = whole.reconstruction_error(test).mean()
        ratios = []
        for size in chunk_sizes:
            ae = AutoencoderTransformer(k, random_state=0)
            for _ in range(epochs):
                for chunk in np.array_split(train, max(1, len(train) // size)):
                    ae.partial_fit(chunk)
            ratios.append(ae.reconstruction_error(test).mean() / error)
        ratios = "".join(f"{ratio:9.3f}" for ratio in ratios)
        print(f"{name:10} {len(train):7} {epochs:6} {error:9.4g}{ratios}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--gigabytes", type=float, default=1.0, help="size of the file; 0 skips the measurement"
    )
    parser.add_argument("--data", type=Path, help="folder with mnist.npz and adbench")
    parser.add_argument("--epochs", type=int, default=12, help="epochs of the comparison; 0 skips it")
    parser.add_argument("--chunks", type=int, nargs="+", default=[2000, 500], help="samples per chunk")
    parser.add_argument("--only-fit", action="store_true", help="measure only fit to float32 files")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # few epochs on purpose
    if args.gigabytes:
        calls = (transform, reconstruction_error, score_samples_linear, score_samples)
        measure_memory(args.gigabytes, np.float32, True, () if args.only_fit else calls)
        if not args.only_fit:
            measure_memory(args.gigabytes / 4, np.uint8, True, ())
            measure_memory(min(1.0, args.gigabytes), np.float32, False, ())
    if args.epochs:
        compare_chunks(args.data, args.epochs, args.chunks)


if __name__ == "__main__":
    main()
