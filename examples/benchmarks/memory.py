"""More rows than memory: anonymous memory and time, and what training by chunks costs in quality.

Writes a file of float32 rows (a curved sheet of 8 dimensions in noise) into a temporary
folder, fits a small network to its memory map, transforms and scores it, and deletes
it. Pages of a mapped file can be dropped by the system at any time; what counts is the
anonymous memory (RssAnon of Linux's /proc/self/status), of which the table gives the peak
above what the process had before the call. Then ``partial_fit`` chunk by chunk is compared with
``fit`` for as many epochs, by the squared error of held-out rows.

    python examples/benchmarks/memory.py --gigabytes 1
    python examples/benchmarks/memory.py --gigabytes 8 --data DIR

``--data`` names a folder with mnist.npz and adbench/*.npz; without it, the comparison is made on
scikit-learn's digits.
"""

import argparse
import contextlib
import tempfile
import threading
import time
import warnings
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
    """The peak of anonymous memory above its start, watched by a thread."""

    def __enter__(self):
        self.start = self.top = anonymous_memory()
        self.seconds = time.perf_counter()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self):
        while not self.done.wait(0.005):
            self.top = max(self.top, anonymous_memory())

    def __exit__(self, *error):
        self.done.set()
        self.thread.join()
        self.seconds = time.perf_counter() - self.seconds

    @property
    def megabytes(self):
        return (self.top - self.start) / 2**20


class Epochs(Callback):
    """Seconds of each epoch."""

    def on_epoch_begin(self, net, **kwargs):
        self.start = time.perf_counter()

    def on_epoch_end(self, net, **kwargs):
        self.seconds = time.perf_counter() - self.start


def write_rows(path, n, dtype):
    """Rows near a curved sheet, in a file."""
    rng = np.random.RandomState(0)
    weights = [rng.normal(size=(8, WIDTH)) for _ in range(2)]
    rows = np.memmap(path, dtype=dtype, mode="w+", shape=(n, WIDTH))
    for start in range(0, n, 10_000):
        z = rng.normal(size=(min(10_000, n - start), 8))
        x = z @ weights[0] + 3 * np.sin(z) @ weights[1] + rng.normal(size=(len(z), WIDTH))
        rows[start : start + 10_000] = x if dtype == np.float32 else (128 + 8 * x).clip(0, 255)
    rows.flush()
    return np.memmap(path, dtype=dtype, mode="r", shape=(n, WIDTH))


def report(name, peak, n_bytes, seconds=None):
    seconds = peak.seconds if seconds is None else seconds
    rate = n_bytes / 2**30 / seconds
    print(f"{name:44} {peak.megabytes:9.0f} {seconds:9.1f} {rate:7.2f}", flush=True)


def model(n_components=8, **params):
    params = {"hidden_layer_sizes": (64,), "max_iter": 2, "random_state": 0, **params}
    return AutoencoderTransformer(n_components, **params)


def measure_memory(X, name):
    """Fit, transform and score; peaks and times."""
    size, epochs = X.nbytes, Epochs()
    with Peak() as peak:
        ae = model(callbacks=[epochs]).fit(X)
    report(f"fit, {name}, whole", peak, size)
    report("  one epoch of it", peak, size, epochs.seconds)
    codes = 4 * len(X) * 8 * (1 if X.dtype == np.float32 else 2) / 2**20
    with Peak() as peak:
        ae.transform(X)
    report(f"transform ({codes:.0f} MB of codes)", peak, size)
    with Peak() as peak:
        ae.reconstruction_error(X)
    report("reconstruction_error", peak, size)
    linear = model(hidden_layer_sizes=()).fit(X)
    with Peak() as peak:
        linear.score_samples(X)
    report("score_samples, linear", peak, size)
    few = X[: len(X) // 1000]
    with Peak() as peak:
        ae.score_samples(few)
    report("score_samples, nonlinear, a thousandth", peak, few.nbytes)


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
    print(
        f"\n{'set':10} {'rows':>6} {'epochs':>6} {'fit':>9}" + "".join(f"  {c:>6} rows" for c in chunk_sizes)
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
        print(
            f"{name:10} {len(train):6} {epochs:6} {error:9.4g}" + "".join(f"{r:13.3f}" for r in ratios),
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of the file; 0 leaves this out")
    parser.add_argument("--data", type=Path, help="folder with mnist.npz and adbench")
    parser.add_argument("--epochs", type=int, default=12, help="of the comparison; 0 leaves it out")
    parser.add_argument("--chunks", type=int, nargs="+", default=[1000, 200], help="rows in a chunk")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # few epochs
    if args.gigabytes:
        print(f"{'':44} {'peak MB':>9} {'seconds':>9} {'GB/s':>7}")
        n = int(args.gigabytes * 2**30 / 4 / WIDTH)
        for dtype, part in ((np.float32, 1), (np.uint8, 1)):
            with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as closing:
                X = write_rows(Path(folder) / "rows", part * n, dtype)
                closing.callback(X._mmap.close)
                measure_memory(X, f"mapped {X.dtype}")
    if args.epochs:
        compare_chunks(args.data, args.epochs, args.chunks)


if __name__ == "__main__":
    main()
