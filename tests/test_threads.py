"""Every public method in several threads at once: results and global state as after calls in turn."""

import copy
import functools
import sys
import threading
import warnings

import numpy as np
import pytest
import threadpoolctl
import torch
from sklearn.base import clone
from torch import nn

from sklearn_ae import (
    AEImputer,
    AEOutlierDetector,
    AutoencoderTransformer,
    AutoencoderTransformerCV,
    VAETransformer,
)
from sklearn_ae.inspection import component_contributions
from sklearn_ae.latent import sample_latent, traverse
from sklearn_ae.likelihoods import ByFeature
from sklearn_ae.metrics import lipschitz_estimate, mutual_information, noise_sensitivity
from sklearn_ae.networks import Conv
from sklearn_ae.priors import Flow

N_THREADS = 8
pytestmark = pytest.mark.filterwarnings("ignore")  # few epochs

SMALL = {"hidden_layer_sizes": (6,), "max_iter": 3, "random_state": 0}


def noisy(x):
    return x + 0.1 * torch.randn_like(x)  # from torch's global generator


def own_modules():
    encoder = nn.Sequential(nn.Linear(9, 5), nn.Dropout(0.3), nn.Tanh(), nn.Linear(5, 2))
    return encoder, nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 9))


KINDS = ByFeature({"gaussian": slice(0, 4), "bernoulli": slice(4, 9)})


@functools.cache
def estimators():
    """Estimators whose fits draw random numbers and whose scores differentiate, in every way there is."""
    torch.manual_seed(0)
    forced = {**SMALL, "init": "random"}  # no fallback to PCA
    return {
        "default": AutoencoderTransformer(2, **SMALL),
        "random": AutoencoderTransformer(2, **forced),
        "tied, masked, ordered": AutoencoderTransformer(
            2, **forced, tied_weights=True, corruption="masking", bottleneck="ordered"
        ),
        "penalised": AutoencoderTransformer(2, **forced, penalty="contractive", bottleneck="relu"),
        "flow": AutoencoderTransformer(2, **forced, prior=Flow(transforms=1, hidden_layer_sizes=(8,))),
        "poisson": AutoencoderTransformer(2, **SMALL, loss="poisson"),
        "conv": AutoencoderTransformer(2, **forced, network=Conv(channels=(2,))),
        "callable": AutoencoderTransformer(2, **forced, corruption=noisy),
        "modules": AutoencoderTransformer(2, **forced, network=own_modules()),
        "cv": AutoencoderTransformerCV([1, 2], cv=2, **SMALL),
        "vae": VAETransformer(2, **SMALL),
        "vae, random": VAETransformer(2, **forced, prior="mixture", likelihood="bernoulli"),
        "incomplete": AutoencoderTransformer(2, **forced, missing="mask"),
        "vae, incomplete": VAETransformer(2, **SMALL, early_stopping=False, missing="mask"),
        "incomplete, imputer": AEImputer(AutoencoderTransformer(2, **SMALL)),
        "vae, by feature": VAETransformer(2, **SMALL, early_stopping=False, likelihood=KINDS),
        "detector": AEOutlierDetector(n_estimators=1, random_state=0),
        "log-likelihood detector": AEOutlierDetector(
            AutoencoderTransformer(2, **forced),
            outlier_score="log_likelihood",
            n_estimators=2,
            random_state=0,
        ),
    }


def names():
    """Names of the estimators; scores under a flow take seconds."""
    return [pytest.param(name, marks=pytest.mark.slow) if name == "flow" else name for name in estimators()]


def methods_of(estimator):
    names = ["fit", "transform", "inverse_transform", "score_samples", "score", "reconstruction_error"]
    names += ["partial_fit", "fit_transform", "elbo", "kl_divergence", "posterior", "sample", "truncate"]
    names += ["impute", "predict", "decision_function", "pvalues", "explain", "fit_predict"]
    return [name for name in names if hasattr(type(estimator), name)]


def X_of(name):
    n = 50 if name == "log-likelihood detector" else 120
    X = np.random.RandomState(1).beta(0.7, 1.5, size=(n, 9))
    if "incomplete" in name:
        X[np.random.RandomState(2).uniform(size=X.shape) < 0.2] = np.nan
    return X


@functools.cache
def fitted(name):
    return clone(estimators()[name]).fit(X_of(name))


def result_of(name, method):
    """Return the result of a method as a list of arrays."""
    model, X = copy.copy(fitted(name)), X_of(name)
    if not hasattr(model, method):
        return []
    if method in ("fit", "partial_fit", "fit_transform", "fit_predict"):
        model = clone(model)
        fresh = getattr(model, method)(np.nan_to_num(X) if method == "partial_fit" else X)
        shown = model.predict if isinstance(model, AEOutlierDetector) else model.transform
        return [np.asarray(fresh) if method.startswith("fit_") else shown(X)]
    if method == "inverse_transform":
        return [model.inverse_transform(model.transform(X))]
    if method == "sample":
        return [model.sample(5, random_state=0)]
    if method == "truncate":
        return [model.truncate(1).transform(X)] if model.bottleneck == "ordered" else []
    value = getattr(model, method)(X)
    return [np.asarray(part) for part in (value if isinstance(value, tuple) else (value,))]


def in_threads(function, arguments):
    """Call the function with each argument, all at once; return the results, or raise the first error."""
    results, barrier = [None] * len(arguments), threading.Barrier(len(arguments))

    def call(i):
        barrier.wait()
        try:
            results[i] = function(*arguments[i])
        except BaseException as error:
            results[i] = error

    threads = [threading.Thread(target=call, args=(i,)) for i in range(len(arguments))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def global_state():
    blas = [(pool["filepath"], pool["num_threads"]) for pool in threadpoolctl.threadpool_info()]
    generators = torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()
    return blas, generators, list(warnings.filters), torch.get_num_threads(), torch.is_grad_enabled()


@pytest.fixture
def switching():
    """Let the interpreter switch between threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


CALLS = [(name, method) for name, model in estimators().items() for method in methods_of(model)]


@pytest.mark.parametrize("name", names())
def test_methods_in_threads_return_what_they_return_in_turn(name, switching):
    methods = methods_of(estimators()[name])
    expected = {method: result_of(name, method) for method in methods}
    before = global_state()
    for method in methods:
        for found in in_threads(result_of, [(name, method)] * N_THREADS):
            for part, truth in zip(found, expected[method], strict=True):
                np.testing.assert_array_equal(part, truth, err_msg=method)
    assert global_state() == before


@pytest.mark.parametrize("seed", range(3))
def test_different_methods_do_not_disturb_each_other(seed, switching):
    order = np.random.RandomState(seed).permutation(len(CALLS))[: 4 * N_THREADS]
    calls = [CALLS[i] for i in order]
    expected = [result_of(*call) for call in calls]
    before = global_state()
    for start in range(0, len(calls), N_THREADS):
        some = slice(start, start + N_THREADS)
        for call, found, truths in zip(
            calls[some], in_threads(result_of, calls[some]), expected[some], strict=True
        ):
            for part, truth in zip(found, truths, strict=True):
                np.testing.assert_array_equal(part, truth, err_msg=str(call))
    assert global_state() == before


def test_tools_in_threads_return_what_they_return_in_turn(switching):
    vae, X = fitted("vae"), X_of("vae")
    tools = [
        (lambda: sample_latent(vae, X, 5, random_state=0),),
        (lambda: traverse(vae, X[:1], 0, [-1.0, 1.0]),),
        (lambda: mutual_information(vae, X, random_state=0),),
        (lambda: noise_sensitivity(vae, X, random_state=0),),
        (lambda: lipschitz_estimate(vae, X),),
        (lambda: component_contributions(vae, X).decoder,),
    ]
    expected = [tool() for (tool,) in tools]
    before = global_state()
    for found, truth in zip(in_threads(lambda tool: tool(), 2 * tools), 2 * expected, strict=True):
        np.testing.assert_array_equal(found, truth)
    assert global_state() == before
