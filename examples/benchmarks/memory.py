"""More rows than memory: anonymous memory and time, and what training by chunks costs in quality.

Writes a file of rows (a curved sheet of 8 dimensions in noise) into a temporary folder,
fits a small network to its memory map, transforms and scores it, and deletes it. Pages
of a mapped file can be dropped by the system at any time; what counts is the anonymous
memory (RssAnon in Linux's /proc/self/status). Every call has a process of its own; the
table gives its peak, and the peak above what Python and its libraries take. Then
``partial_fit`` chunk by chunk is compared with ``fit`` for as many epochs, by the squared
error of held-out rows.

    python examples/benchmarks/memory.py --gigabytes 1
    python examples/benchmarks/memory.py --gigabytes 8 --data DIR

``--data`` names a folder with mnist.npz and adbench/*.npz; without it, the comparison is
made on scikit-learn's digits.
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
TABLES = {"cardio": 8, "letter": 8, "musk": 16}  # of adbench, with the size of the code


def anonymous_memory():
    """Bytes of this process that are not pages of files; 0 where the system does not tell."""
    if not STATUS.exists():
        return 0
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("RssAnon"))
    return 1024 * int(line.split()[1])


class Peak:
    """The peak of anonymous memory, watched by a thread, and the time."""

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
    """Seconds of the last epoch."""

    def on_epoch_begin(self, net, **kwargs):
        self.start = time.perf_counter()

    def on_epoch_end(self, net, **kwargs):
        self.seconds = time.perf_counter() - self.start


def write_rows(path, n, dtype):
    """Rows near a curved sheet, in a file; every 20,000 they repeat."""
    rng = np.random.RandomState(0)
    z = rng.normal(size=(20_000, 8))
    x = z @ rng.normal(size=(8, WIDTH)) + 3 * np.sin(z) @ rng.normal(size=(8, WIDTH))
    x += rng.normal(size=x.shape)
    x = x.astype(dtype) if dtype == np.float32 else (128 + 8 * x).clip(0, 255).astype(dtype)
    rows = np.memmap(path, dtype=dtype, mode="w+", shape=(n, WIDTH))
    for start in range(0, n, len(x)):
        rows[start : start + len(x)] = x[: n - start]
    rows.flush()


def small(**params):
    return AutoencoderTransformer(8, hidden_layer_sizes=(64,), random_state=0, **params)


# what is measured: functions of a fitted model and rows


def fit(model, X):
    epochs = Epochs()
    return small(max_iter=2, callbacks=[epochs]).fit(X).set_params(callbacks=None), epochs.seconds


def transform(model, X):
    model.transform(X)


def reconstruction_error(model, X):
    model.reconstruction_error(X)


def score_samples(model, X):
    """Milliseconds a row, so of a thousandth."""
    model.score_samples(X[: len(X) // 1000])


def score_samples_linear(model, X):
    small(max_iter=1).set_params(hidden_layer_sizes=()).fit(X[: len(X) // 100]).score_samples(X)


def measured(call, model, path, n, dtype, mapped):
    """Call in this process: result, bytes of the rows, peak, and peak above the start, in MB, and seconds."""
    warnings.simplefilter("ignore", ConvergenceWarning)  # few epochs
    small(max_iter=1).fit(np.random.RandomState(0).normal(size=(200, 9)))  # torch loads what it needs
    X = np.memmap(path, dtype=dtype, mode="r", shape=(n, WIDTH))
    X = X if mapped else np.array(X)
    with Peak() as peak:
        result = call(model, X)
    return result, X.nbytes, peak.top / 2**20, (peak.top - peak.start) / 2**20, peak.seconds


def in_own_process(*args):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measured, *args).result()


def measure_memory(gigabytes, dtype, mapped, calls):
    n = int(gigabytes * 2**30 / np.dtype(dtype).itemsize / WIDTH)
    where = "mapped" if mapped else "in memory"
    print(f"\n{n} x {WIDTH} {np.dtype(dtype).name}, {where}")
    print(f"{'':30} {'peak MB':>9} {'above':>7} {'seconds':>9} {'GB/s':>7}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        write_rows(path, n, dtype)
        (model, epoch), *fitting = in_own_process(fit, None, path, n, dtype, mapped)
        rows = [("fit, 2 epochs and all else", fitting), ("  of which an epoch", [*fitting[:3], epoch])]
        rows += [(call.__name__, in_own_process(call, model, path, n, dtype, mapped)[1:]) for call in calls]
    for name, (size, top, above, seconds) in rows:
        print(f"{name:30} {top:9.0f} {above:7.0f} {seconds:9.1f} {size / 2**30 / seconds:7.2f}", flush=True)


# -- partial_fit against fit --------------------------------------------------------------


def sets(data):
    """Rows to train on, rows held out, size of the code."""
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
    """Held-out error of ``partial_fit`` over that of ``fit``, after as many epochs."""
    print("\nsquared error of held-out rows by fit, and that by partial_fit over it, for rows per chunk")
    print(f"{'set':10} {'rows':>6} {'epochs':>6} {'fit':>9}" + "".join(f"{size:9}" for size in chunk_sizes))
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
        print(f"{name:10} {len(train):6} {epochs:6} {error:9.4g}{ratios}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of the file; 0 leaves this out")
    parser.add_argument("--data", type=Path, help="folder with mnist.npz and adbench")
    parser.add_argument("--epochs", type=int, default=12, help="of the comparison; 0 leaves it out")
    parser.add_argument("--chunks", type=int, nargs="+", default=[2000, 500], help="rows in a chunk")
    parser.add_argument("--only-fit", action="store_true", help="leave out the other methods and forms")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # few epochs
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
