"""Time and accuracy of log-likelihoods, and time of sparse text and of a single sample.

Part ``density``: milliseconds of ``score_samples`` per sample, and the mean absolute difference in nats from
20,000 draws, for autoencoders of digits, a Bernoulli VAE of 784 binary features, and small tables. Part
``text``: fit of 3,000 x 20,000 TF-IDF values with 50 components, its held-out error compared with that of
TruncatedSVD, and ``score`` of 20 samples of a VAE. Part ``one``: ``transform`` of a single sample, compared
with PCA. Seconds are CPU time on one thread; another version is measured by putting it first in PYTHONPATH.

    python examples/benchmarks/scoring.py --data DIR     # about 5 minutes
    python examples/benchmarks/scoring.py --part one     # seconds
"""

import argparse
import statistics
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AutoencoderTransformer, VAETransformer

N_SAMPLES = 360  # that are scored
N_REFERENCES = 100  # of them, with N_DRAWS
N_DRAWS = 20_000
N_TOPICS = 30
N_CALLS = 100  # of transform in a measurement


def cpu_seconds(action):
    """Return the CPU seconds that a function takes."""
    start = time.process_time()
    action()
    return time.process_time() - start


def standardised(X):
    """Return training and test samples, standardised by the former."""
    train, test = train_test_split(X.astype(float), test_size=0.2, random_state=0)
    scaler = StandardScaler().fit(train)
    return scaler.transform(train), scaler.transform(test)


def curves():
    """Return noisy samples of three curves in the plane by name."""
    rng = np.random.RandomState(0)
    t = rng.uniform(-1, 1, 2_300)
    points = {
        "sine": (3 * t, np.sin(3 * t)),
        "parabola": (2 * t, 2 * t**2),
        "circle": (np.cos(np.pi * t), np.sin(np.pi * t)),
    }
    return {name: np.column_stack(xy) + 0.05 * rng.normal(size=(len(t), 2)) for name, xy in points.items()}


def models(folder, max_iter):
    """Yield names, unfitted models, and training and test samples."""
    digits = train_test_split(load_digits().data / 16, test_size=0.2, random_state=0)
    for k in (8, 32):
        yield f"digits, k={k}", AutoencoderTransformer(k, random_state=0, max_iter=max_iter), *digits
    if folder is not None:
        file = np.load(folder / "mnist.npz")
        parts = (file[name].reshape(-1, 784) > 127 for name in ("X_train", "X_test"))
        train, test = (part.astype(float) for part in parts)
        vae = VAETransformer(
            50, likelihood="bernoulli", hidden_layer_sizes=(500, 500), max_iter=20, random_state=0
        )
        yield "Bernoulli VAE, k=50, 784 features", vae, train[:3_000], test[:N_REFERENCES]
    tables = {"wine": load_wine().data, "breast_cancer": load_breast_cancer().data}
    if folder is not None:
        file = np.load(folder / "adbench" / "28_pendigits.npz")
        tables["pendigits"] = file["X"][file["y"] == 0]
    for name, X in tables.items():
        yield f"{name}, k=5", AutoencoderTransformer(5, random_state=0, max_iter=max_iter), *standardised(X)
    for name, X in curves().items():
        yield name, AutoencoderTransformer(1, random_state=0, max_iter=max_iter), X[:2_000], X[2_000:]


def density(args):
    """Print the time and the error of score_samples."""
    print(f"\n{'score_samples':34} {'ms a sample':>12} {'abs. error':>11} {'std':>7} {'rms z':>7}")
    for name, model, train, test in models(args.data, 3 if args.quick else "auto"):
        model.fit(train)
        test = test[:N_SAMPLES]
        model.score_samples(test[:9])
        seconds = statistics.median(cpu_seconds(partial(model.score_samples, test)) for _ in range(5))
        some = test[:N_REFERENCES]
        score, std = model.score_samples(some, return_std=True)
        exact, exact_std = model.score_samples(some, n_draws=500 if args.quick else N_DRAWS, return_std=True)
        difference = np.abs(score - exact)
        z = difference / np.sqrt(std**2 + exact_std**2 + 1e-12)
        print(
            f"{name:34} {1e3 * seconds / len(test):12.3f} {difference.mean():11.3f} "
            f"{np.median(std):7.3f} {np.sqrt(np.mean(z**2)):7.2f}",
            flush=True,
        )


def documents(n_samples, n_features):
    """Return TF-IDF values of documents of 60 words, each a mixture of topics."""
    rng = np.random.RandomState(0)
    topics = rng.dirichlet(np.full(n_features, 0.02), N_TOPICS)
    shares = rng.dirichlet(np.full(N_TOPICS, 0.1), n_samples)
    counts = [sparse.csr_array(rng.multinomial(60, p / p.sum())[None]) for p in shares @ topics]
    return TfidfTransformer().fit_transform(sparse.vstack(counts).astype(float)).tocsr()


def text(args):
    """Print the times of sparse text."""
    n, d, k = (300, 2_000, 5) if args.quick else (3_000, 20_000, 50)
    X = documents(n, d)
    train, test = X[: n * 4 // 5], X[n * 4 // 5 :]
    model = AutoencoderTransformer(k, random_state=0)
    seconds = cpu_seconds(lambda: model.fit(train))
    svd = TruncatedSVD(k, random_state=0)
    svd_seconds = cpu_seconds(lambda: svd.fit(train))
    kept = sparse.linalg.norm(test) ** 2 - np.square(svd.transform(test)).sum()
    error = model.reconstruction_error(test).sum() / kept
    print(f"\ntext {train.shape[0]} x {d}, k={k}: fit {seconds:.1f} s, TruncatedSVD {svd_seconds:.1f} s;")
    print(f"held-out squared error / TruncatedSVD's: {error:.4f}")
    vae = VAETransformer(k, init="random", max_iter=1, early_stopping=False, random_state=0).fit(train[:400])
    print(f"score of 20 samples of a VAE: {cpu_seconds(lambda: vae.score(test[:20])):.2f} s", flush=True)


def one(args):
    """Print the time of transform for one sample, compared with PCA."""
    for name, X in (("digits", load_digits().data), ("wine", load_wine().data)):
        X = StandardScaler().fit_transform(X)
        for dtype in (np.float64, np.float32):
            x = X[:1].astype(dtype)
            pair = [model.fit(X.astype(dtype)) for model in (AutoencoderTransformer(8, max_iter=3), PCA(8))]
            rounds = [[cpu_seconds(partial(repeat, model, x)) for model in pair] for _ in range(21)]
            ours, _ = np.median(rounds, axis=0)
            ratio = statistics.median(own / of_pca for own, of_pca in rounds)
            print(
                f"transform of one sample, {name}, {np.dtype(dtype)}: "
                f"{1e6 * ours / N_CALLS:.0f} us, {ratio:.2f} x PCA",
                flush=True,
            )


def repeat(model, x):
    """Transform a sample many times."""
    for _ in range(N_CALLS):
        model.transform(x)


PARTS = {"density": density, "text": text, "one": one}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with mnist.npz and adbench")
    parser.add_argument("--part", choices=PARTS, action="append", help="part to run (default: all)")
    parser.add_argument("--quick", action="store_true", help="few epochs, draws and samples")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # short trainings on purpose
    for part in args.part or PARTS:
        PARTS[part](args)


if __name__ == "__main__":
    main()
