"""Estimators x options x kinds of data: a finite, reproducible model, or an error that names the cause.

The examples are the same in every run. ``--fuzz N`` tries N random ones per test instead.
"""

import pickle
import re
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path
from secrets import randbits

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer
from sklearn_ae.bottlenecks import BOTTLENECKS, Ordered, ThresholdedReLU, TopK
from sklearn_ae.corruptions import CORRUPTIONS
from sklearn_ae.divergences import DIVERGENCES
from sklearn_ae.likelihoods import LIKELIHOODS, Gaussian
from sklearn_ae.losses import LOSSES
from sklearn_ae.networks import ACTIVATIONS, Conv
from sklearn_ae.outlier_scores import OUTLIER_SCORES, Mahalanobis, Neighbors
from sklearn_ae.penalties import L1, PENALTIES, Contractive
from sklearn_ae.priors import PRIORS

N_EXAMPLES = 40  # examples per test
N_PARTS = 3  # tests per estimator

# -- data -------------------------------------------------------------------------------------


def rank_one(rng, n, d):
    return np.outer(rng.normal(size=n), rng.normal(size=d))


def with_constant_features(rng, n, d):
    X = rng.normal(size=(n, d))
    X[:, ::2] = 3.0
    return X


def mostly_equal(rng, n, d):
    X = np.tile(rng.normal(size=d), (n, 1))
    X[: 1 + n // 8] = rng.normal(size=(1 + n // 8, d))
    return X


def mostly_zero(rng, n, d):
    return rng.poisson(2.0, size=(n, d)) * (rng.uniform(size=(n, d)) < 0.1)


def with_an_outlier(rng, n, d):
    X = rng.normal(size=(n, d))
    X[0] *= 1e6
    return X


KINDS = {
    "normal": lambda rng, n, d: rng.normal(size=(n, d)),
    "rank one": rank_one,
    "rank-deficient": lambda rng, n, d: rng.normal(size=(n, 2)) @ rng.normal(size=(2, d)),
    "constant": lambda rng, n, d: np.full((n, d), 0.1),
    "zero": lambda rng, n, d: np.zeros((n, d)),
    "constant features": with_constant_features,
    "mostly equal samples": mostly_equal,
    "huge offset": lambda rng, n, d: 1e8 + rng.normal(size=(n, d)),
    "tiny spread": lambda rng, n, d: 1 + 1e-12 * rng.normal(size=(n, d)),
    "tiny values": lambda rng, n, d: 1e-130 * rng.normal(size=(n, d)),
    "vanishing values": lambda rng, n, d: 1e-300 * rng.normal(size=(n, d)),
    "huge values": lambda rng, n, d: 1e16 * rng.normal(size=(n, d)),
    "extreme values": lambda rng, n, d: 1e140 * rng.normal(size=(n, d)),
    "overflowing values": lambda rng, n, d: 1e200 * rng.normal(size=(n, d)),
    "mixed scales": lambda rng, n, d: rng.normal(size=(n, d)) * 10.0 ** rng.uniform(-9, 9, size=d),
    "binary": lambda rng, n, d: rng.integers(0, 2, size=(n, d)),
    "shares": lambda rng, n, d: rng.uniform(size=(n, d)),
    "counts": lambda rng, n, d: rng.poisson(3.0, size=(n, d)),
    "mostly zero": mostly_zero,
    "heavy tails": lambda rng, n, d: rng.standard_cauchy(size=(n, d)),
    "one outlier": with_an_outlier,
    "sorted": lambda rng, n, d: np.sort(rng.normal(size=(n, d)), axis=0),
}


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def memory_map(X):
    with tempfile.TemporaryFile() as file:
        mapped = np.memmap(file, dtype=X.dtype, shape=X.shape)
        mapped[:] = X
    return mapped


def as_integers(X):
    return X.clip(-1e9, 1e9).round().astype(np.int64)


CONTAINERS = {
    "array": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "integers": as_integers,
    "8 bits": lambda X: X.clip(0, 255).astype(np.uint8),
    "booleans": lambda X: X > 0.5,
    "csr": sparse.csr_array,
    "csc": sparse.csc_matrix,
    "float32 csr": lambda X: sparse.csr_matrix(X.astype(np.float32)),
    "data frame": lambda X: pd.DataFrame(X, columns=[f"f{j}" for j in range(X.shape[1])]),
    "Fortran order": np.asfortranarray,
    "read-only": read_only,
    "strided": lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
    "reversed": lambda X: X[::-1, ::-1],
    "list": lambda X: X.tolist(),
    "memory map": memory_map,
    "tensor": torch.from_numpy,
    "float32 tensor": lambda X: torch.from_numpy(X).float(),
}


@st.composite
def datasets(draw):
    """Draw what :func:`make` needs."""
    n = draw(st.one_of(st.integers(20, 60), st.integers(2, 20)))
    d = draw(st.integers(1, 8))
    return (
        draw(st.sampled_from([*KINDS])),
        draw(st.sampled_from([*CONTAINERS])),
        n,
        d,
        draw(st.integers(0, 99)),
    )


def make(kind, container, n, d, random_state):
    with warnings.catch_warnings(), np.errstate(over="ignore"):
        X = np.asarray(KINDS[kind](np.random.default_rng(random_state), n, d), dtype=np.float64)
        return CONTAINERS[container](X)


# -- parameters -------------------------------------------------------------------------------


def some(**strategies):
    """Draw values of some parameters; the others keep their defaults."""
    return st.fixed_dictionaries({}, optional=strategies)


def values(*sequences):
    return st.sampled_from([value for sequence in sequences for value in sequence])


SIZES = values([1, 2, 3, 8, None])
TRAINING = {
    "activation": values(ACTIVATIONS),
    "network": values(["dense"] * 8, ["conv", Conv((1, 2, 2), channels=(2,))]),
    "init": values(["pca", "random"]),
    "corruption": values([None], CORRUPTIONS),
    "alpha": values([0.0, 1.0]),
    "tied_weights": st.booleans(),
    "batch_size": values([1, 7, 100]),
    "learning_rate_init": values([1e-6, 0.1, 10.0]),
    "early_stopping": st.booleans(),
    "validation_fraction": values([0.01, 0.3, 0.5, 0.99]),
    "n_iter_no_change": values([1, np.inf]),
    "tol": values([0.0, 0.5]),
    "precision": values(["bfloat16", "float32"]),
}
QUICK_PRIORS = sorted(set(PRIORS) - {"flow"})  # the training of a flow takes seconds
SLOTS = {
    "bottleneck": values(BOTTLENECKS, [TopK(1), ThresholdedReLU(0.5), Ordered(0.0)]),
    "loss": values(LOSSES),
    "penalty": values([None], PENALTIES, [L1(1.0) + Contractive(1.0)]),
    "prior": values(QUICK_PRIORS),
    "whiten": st.booleans(),
}
VAE_SLOTS = {
    "likelihood": values(
        LIKELIHOODS,
        [Gaussian(noise) for noise in ("per_column", "full", "decoder")] + [Gaussian(normal_scores=True)],
    ),
    "divergence": values(DIVERGENCES),
    "prior": values(QUICK_PRIORS),
    "beta": values([0.0, 6.0]),
    "n_importance_samples": values([1, 3]),
    "kl_warmup": values([0.0, 1.0]),
}


def models(cls, sizes, **slots):
    """Draw a transformer that trains for a moment."""
    fixed = {
        "n_components": sizes,
        "hidden_layer_sizes": values([(3,), (), (8, 4)]),
        "max_iter": st.integers(1, 4),
        "random_state": st.integers(0, 9),
    }
    return st.builds(
        lambda fixed, options: cls(**fixed, **options),
        st.fixed_dictionaries(fixed),
        some(**TRAINING, **slots),
    )


AUTOENCODERS = models(AutoencoderTransformer, values([1, 2, 3, 8, None, 0.9]), **SLOTS)
VAES = models(VAETransformer, SIZES, **VAE_SLOTS)
DETECTORS = st.builds(
    AEOutlierDetector,
    autoencoder=st.one_of(AUTOENCODERS, VAES),
    outlier_score=values(OUTLIER_SCORES, [Neighbors(1) | Mahalanobis(), Neighbors(1, max_references=2)]),
    contamination=values(["auto", 0.05, 0.5]),
    robust=st.booleans(),
    n_estimators=values([1, 2]),
    random_state=st.integers(0, 9),
)
SEARCHES = models(
    AutoencoderTransformerCV,
    values(["auto", [1, 2], [1, 3, 8], 2]),
    cv=values([2, 3]),
    rule=values(["best", "1se"]),
    **SLOTS,
)
ESTIMATORS = {"autoencoder": AUTOENCODERS, "vae": VAES, "detector": DETECTORS, "search": SEARCHES}


# -- ways to train ------------------------------------------------------------------------------


def fit(model, X):
    return model.fit(X)


def fit_twice(model, X):
    return model.set_params(warm_start=True).fit(X).fit(X)


def fit_with_validation_samples(model, X):
    return model.fit(X, X_val=X)


def fit_pairs(model, X):
    return model.fit(X, X_clean=X)


def fit_stream(model, X):
    return model.fit(lambda: chunks_of(X))


def fit_in_chunks(model, X):
    if not hasattr(model, "partial_fit"):
        return model.fit(X)
    for chunk in chunks_of(X):
        model.partial_fit(chunk)
    return model


def chunks_of(X):
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    return (rows(X, start, start + 1 + n // 3) for start in range(0, n, 1 + n // 3))


def rows(X, start, stop):
    return X.iloc[start:stop] if hasattr(X, "iloc") else X[start:stop]


WAYS = [fit, fit_twice, fit_with_validation_samples, fit_pairs, fit_stream, fit_in_chunks]


# -- properties -----------------------------------------------------------------------------------

METHODS = [
    "transform",
    "score_samples",
    "reconstruction_error",
    "predict",
    "decision_function",
    "explain",
    "pvalues",
    "posterior",
    "kl_divergence",
    "elbo",
]


def results(model, X):
    """Return what each method says about X, and the reconstructions."""
    found = {name: np.asarray(getattr(model, name)(X)) for name in METHODS if hasattr(model, name)}
    found["inverse_transform"] = model.inverse_transform(found["transform"])
    if hasattr(model, "sample"):
        found["sample"] = model.sample(3, random_state=0)
    return found


def assert_same(found, expected):
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def assert_names_the_cause(error, model):
    """Assert that an error is the package's or scikit-learn's, and names a parameter or the data."""
    assert isinstance(error, (TypeError, ValueError)), error
    origin = Path(traceback.extract_tb(error.__traceback__)[-1].filename).parts
    assert "sklearn_ae" in origin or "sklearn" in origin, error
    names = {part for name in model.get_params() for part in (name, *name.split("__"))}
    words = {*names, "feature", "features", "Feature", "sample", "samples", "X"}
    assert words & set(re.findall(r"\w+", str(error))), error


def unseen_samples(kind, X):
    container = "data frame" if hasattr(X, "iloc") else "array"
    return make(kind, container, 5, len(X[0]) if isinstance(X, list) else X.shape[1], random_state=1)


def assert_numbers(model, X):
    """Assert that samples unlike those of the training are scored, infinitely low if need be, or refused."""
    for name in METHODS:
        if hasattr(model, name):
            try:
                value = getattr(model, name)(X)
            except Exception as error:
                assert_names_the_cause(error, model)
            else:
                assert not np.isnan(value).any(), f"{name} of unseen samples"


def check(model, train, data, unseen, counts):
    X = make(*data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fitted = train(clone(model), X)
        except Exception as error:
            assert_names_the_cause(error, model)
            counts[f"{type(error).__name__}: {re.sub(r'[-+.e]*[0-9][-+.e0-9]*', '#', str(error))[:100]}"] += 1
            return
        found = results(fitted, X)
        for name, value in found.items():
            assert np.isfinite(value).all(), name
        assert_same(results(train(clone(model), X), X), found)
        assert_same(results(pickle.loads(pickle.dumps(fitted)), X), found)
        assert_numbers(fitted, unseen_samples(unseen, X))
        if train is fit:
            np.testing.assert_array_equal(clone(model).fit_transform(X), found["transform"])
        assert_independent_of_the_batch(fitted, X, found)
    for warning in caught:
        own = warning.category is UserWarning and warning.filename == __file__
        assert own or warning.category is ConvergenceWarning, str(warning)
    counts["fits"] += 1


def assert_independent_of_the_batch(model, X, found):
    codes = found["transform"]
    if isinstance(
        getattr(getattr(model, "autoencoder_", model), "bottleneck_", None), (TopK, ThresholdedReLU)
    ):
        return  # rounding decides between equal codes
    alone = model.transform(rows(X, 0, 1))
    eps = float(np.finfo(codes.dtype).eps)
    tolerance = (10 * eps**0.25 if getattr(model, "whiten", True) else 1e4 * eps) * np.abs(codes).max()
    np.testing.assert_allclose(alone, codes[:1], rtol=0, atol=tolerance)


@pytest.mark.parametrize("part", range(N_PARTS))
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_model_or_an_error_that_names_the_cause(name, part, request, record_property):
    n_random = request.config.getoption("--fuzz")
    number = randbits(32) if n_random else part
    ways = WAYS if name in ("autoencoder", "vae") else [fit]
    counts = Counter()

    @seed(number)
    @settings(
        max_examples=n_random or N_EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        model=ESTIMATORS[name],
        train=st.sampled_from(ways),
        data=datasets(),
        unseen=st.sampled_from([*KINDS]),
    )
    def run(model, train, data, unseen):
        check(model, train, data, unseen, counts)

    print(f"seed {number}")
    run()
    record_property("fuzz", dict(counts))
