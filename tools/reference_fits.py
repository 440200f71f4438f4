"""Record what a list of fits learns, and compare two recordings bit for bit.

Run it before and after a change that must not alter any number, on the same machine:

    python tools/reference_fits.py record before.npz
    python tools/reference_fits.py record after.npz
    python tools/reference_fits.py compare before.npz after.npz

``record --only NAME`` limits it to the fits whose name contains NAME.
"""

import argparse
import sys
import warnings

import numpy as np
import torch
from scipy import sparse
from sklearn.datasets import load_digits

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer
from sklearn_ae.bottlenecks import TopK
from sklearn_ae.corruptions import GaussianNoise
from sklearn_ae.divergences import MMD, BetaTC
from sklearn_ae.likelihoods import Gaussian
from sklearn_ae.penalties import L1, Contractive, KLSparsity

SMALL = {"hidden_layer_sizes": (24, 12), "max_iter": 8, "random_state": 0}


def digits(n=400):
    return load_digits().data[:n]


def table(n, d, seed=0):
    """Curved data with noise: three nonlinear degrees of freedom in d features."""
    rng = np.random.RandomState(seed)
    t = rng.uniform(-2, 2, size=(n, 3))
    return np.hstack([t, t**2, np.sin(2 * t)]) @ rng.normal(size=(9, d)) + 0.1 * rng.normal(size=(n, d))


def ae(k=4, **params):
    return AutoencoderTransformer(k, **{**SMALL, **params})


def vae(k=4, **params):
    return VAETransformer(k, **{**SMALL, **params})


def warm(X):
    model = ae(warm_start=True).fit(X)
    return model.fit(X)


def in_chunks(model, X, n_chunks=4):
    for chunk in np.array_split(X, n_chunks):
        model.partial_fit(chunk)
    return model


def out_of_core(model, X):
    """Lower the size from which data are read in passes, wherever the package keeps it."""
    modules = [m for name, m in sys.modules.items() if name.startswith("sklearn_ae") and hasattr(m, "LARGE")]
    before = [m.LARGE for m in modules]
    for module in modules:
        module.LARGE = 1_000
    try:
        return model.fit(X)
    finally:
        for module, value in zip(modules, before, strict=True):
            module.LARGE = value


def dropout(x):
    return torch.nn.functional.dropout(x, 0.2)


def chunks():
    return iter(np.array_split(digits(), 5))


FITS = {
    "ae default network": (lambda: ae(hidden_layer_sizes=(256, 128), max_iter=4).fit(digits()), digits),
    "ae large": (lambda: ae(max_iter=3).fit(load_digits().data), digits),
    "ae linear": (lambda: ae(hidden_layer_sizes=()).fit(digits()), digits),
    "ae no early stopping": (lambda: ae(early_stopping=False).fit(digits()), digits),
    "ae tied": (lambda: ae(tied_weights=True, activation="tanh").fit(digits()), digits),
    "ae ordered share": (lambda: ae(0.5, bottleneck="ordered").fit(digits()), digits),
    "ae topk": (lambda: ae(16, bottleneck=TopK(4), penalty=KLSparsity()).fit(digits()), digits),
    "ae masked bce": (
        lambda: ae(corruption="masking", loss="binary_cross_entropy").fit(digits() / 16),
        lambda: digits() / 16,
    ),
    "ae poisson": (lambda: ae(loss="poisson").fit(digits()), digits),
    "ae conv": (lambda: ae(network="conv").fit(digits()), digits),
    "ae contractive": (lambda: ae(loss="huber", penalty=Contractive(0.1) + L1(0.01)).fit(digits()), digits),
    "ae random": (lambda: ae(init="random").fit(digits()), digits),
    "ae whitened float32": (
        lambda: ae(whiten=True).fit(digits().astype(np.float32)),
        lambda: digits().astype(np.float32),
    ),
    "ae warm start": (lambda: warm(digits()), digits),
    "ae sparse": (lambda: ae().fit(sparse.csr_matrix(digits())), digits),
    "ae X_val": (lambda: ae().fit(digits(), X_val=load_digits().data[400:600]), digits),
    "ae wide": (lambda: ae(max_iter=20).fit(table(120, 400)), lambda: table(120, 400)),
    "ae wide noise": (
        lambda: ae(max_iter=20, corruption=GaussianNoise(0.2)).fit(table(120, 400)),
        lambda: table(120, 400),
    ),
    "ae small falls back": (lambda: ae().fit(table(40, 6)), lambda: table(40, 6)),
    "ae callable": (lambda: ae(corruption=dropout).fit(digits()), digits),
    "ae modules": (
        lambda: ae(network=seeded_modules()).fit(digits()),
        digits,
    ),
    "ae array in passes": (lambda: out_of_core(ae(), digits()), digits),
    "ae chunks in passes": (lambda: out_of_core(ae(), chunks), digits),
    "ae partial_fit": (lambda: in_chunks(ae(), digits()), digits),
    "ae linear partial_fit": (lambda: in_chunks(ae(hidden_layer_sizes=()), digits()), digits),
    "vae": (lambda: vae().fit(digits()), digits),
    "vae bernoulli": (lambda: vae(likelihood="bernoulli").fit(digits() / 16), lambda: digits() / 16),
    "vae poisson": (lambda: vae(likelihood="poisson").fit(digits()), digits),
    "vae beta_tc": (
        lambda: vae(likelihood=Gaussian("per_column"), divergence=BetaTC(4.0)).fit(digits()),
        digits,
    ),
    "vae decoder noise": (lambda: vae(likelihood=Gaussian("decoder")).fit(digits()), digits),
    "vae mmd": (lambda: vae(divergence=MMD(), corruption="gaussian").fit(digits()), digits),
    "vae importance": (lambda: vae(n_importance_samples=4).fit(digits()), digits),
    "vae mixture": (lambda: vae(prior="mixture").fit(digits()), digits),
    "vae linear": (lambda: vae(hidden_layer_sizes=(), tied_weights=True).fit(digits()), digits),
    "vae partial_fit": (lambda: in_chunks(vae(), digits()), digits),
    "vae chunks in passes": (lambda: out_of_core(vae(), chunks), digits),
    "detector": (lambda: AEOutlierDetector(random_state=0).fit(table(200, 8)), lambda: table(200, 8, 1)),
    "detector clean": (
        lambda: AEOutlierDetector(ae(), robust=False, contamination=0.1, random_state=0).fit(table(200, 8)),
        lambda: table(200, 8, 1),
    ),
    "cv": (
        lambda: AutoencoderTransformerCV([1, 2, 4], cv=3, **{**SMALL, "max_iter": 20}).fit(table(300, 10)),
        lambda: table(300, 10, 1),
    ),
}  # fmt: skip


def seeded_modules():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = torch.nn.Sequential(torch.nn.Linear(64, 12), torch.nn.Tanh(), torch.nn.Linear(12, 4))
        return encoder, torch.nn.Linear(4, 64)


def learnt(model, X):
    """Everything that a user can read off a fitted model, as arrays."""
    found = {"transform": model.transform(X[:30]), "score_samples": model.score_samples(X[:12])}
    found["inverse_transform"] = model.inverse_transform(found["transform"])
    if isinstance(model, AEOutlierDetector):
        return found | {
            "offset": model.offset_,
            "pvalues": model.pvalues(X[:30]),
            "explain": model.explain(X[:5]),
        }
    found |= {
        "loss_curve": model.loss_curve_,
        "n_components": model.n_components_,
        "best_iter": model.best_iter_,
        "n_iter": model.n_iter_,
        "error": model.reconstruction_error(X[:30]),
        "mean": model.mean_,
        "pca_loss": np.nan if model.pca_loss_ is None else model.pca_loss_,
    }
    for name in ("noise_variance_", "explained_variance_ratio_", "components_", "cv_results_"):
        value = getattr(model, name, None)
        if isinstance(value, dict):
            found |= {f"{name} {key}": value[key] for key in value if key.startswith(("split", "mean_test"))}
        elif value is not None:
            found[name] = value
    for i, p in enumerate(model.net_.module_.parameters()):
        found[f"net parameter {i}"] = p.detach().numpy()
    if isinstance(model, VAETransformer):
        found |= {"elbo": model.elbo(X[:12]), "sample": model.sample(5, random_state=0)}
    return found


def record(path, only):
    arrays = {}
    for name, (fit, data) in FITS.items():
        if only in name:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = learnt(fit(), data())
            arrays |= {f"{name} | {key}": np.asarray(value) for key, value in found.items()}
            print(name, flush=True)
    np.savez(path, **arrays)


def compare(first, second):
    """Print a line for each number that differs; return whether any does."""
    a, b = np.load(first), np.load(second)
    differs = sorted(set(a.files) ^ set(b.files))
    for key in differs:
        print(f"{key}: only in {first if key in a.files else second}")
    for key in sorted(set(a.files) & set(b.files)):
        x, y = a[key], b[key]
        if x.shape != y.shape or not np.array_equal(x, y, equal_nan=x.dtype.kind == "f"):
            gap = np.abs(x - y).max() / (np.abs(x).max() or 1.0) if x.shape == y.shape and x.size else np.nan
            print(f"{key}: differs, {gap:.1e} of the largest value")
            differs.append(key)
    n_fits = len({key.split(" | ")[0] for key in a.files})
    print(f"{n_fits} fits, {len(a.files)} arrays, {len(differs)} differ")
    return bool(differs)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("path")
    recording.add_argument("--only", default="")
    comparing = commands.add_parser("compare")
    comparing.add_argument("first")
    comparing.add_argument("second")
    args = parser.parse_args()
    if args.command == "record":
        record(args.path, args.only)
    else:
        sys.exit(compare(args.first, args.second))


if __name__ == "__main__":
    main()
