"""Models exported to ONNX: onnxruntime gives what scikit-learn gives, and refusals give the reason."""

import functools
import subprocess
import sys
import warnings
from itertools import product

import numpy as np
import pandas as pd
import pytest
import skl2onnx
import torch
from onnxruntime import InferenceSession
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import nn

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer
from sklearn_ae.bottlenecks import Bottleneck, ThresholdedReLU, TopK
from sklearn_ae.likelihoods import Gaussian
from sklearn_ae.losses import CallableLoss, Loss
from sklearn_ae.networks import ACTIVATIONS, Conv
from sklearn_ae.onnx import to_onnx
from sklearn_ae.onnx._converters import MIN_OPSET
from sklearn_ae.outlier_scores import Contrast, Mahalanobis, Neighbors, OutlierScore, Reconstruction
from sklearn_ae.priors import Mixture

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",  # few epochs
)

DTYPES = [np.float32, np.float64]
TOLERANCE = 1e-5
METHODS = ["transform", "inverse_transform", "reconstruction_error"]
SHORT = {"hidden_layer_sizes": (16,), "max_iter": 3, "random_state": 0}
TRAINED = {**SHORT, "early_stopping": False}  # without a fallback to PCA

AE = functools.partial(AutoencoderTransformer, 4, **TRAINED)
VAE = functools.partial(VAETransformer, 4, **TRAINED)


def modules(*layers):
    """Return a pair of networks of the user's, of which the encoder has some more layers."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(64, 12), *layers, nn.Linear(12, 4))
    return encoder, nn.Sequential(nn.Linear(4, 64))


def images():
    torch.manual_seed(0)
    encoder = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 3, 3, padding=1, stride=2, bias=False),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(48, 4),
    )
    decoder = nn.Sequential(
        nn.Linear(4, 32), nn.Unflatten(1, (2, 4, 4)), nn.ConvTranspose2d(2, 1, 2, stride=2), nn.Flatten()
    )
    return encoder, decoder


USER_LAYERS = [
    nn.BatchNorm1d(12),
    nn.LayerNorm(12),
    nn.LayerNorm(12, elementwise_affine=False),
    nn.Dropout(0.1),
    nn.LeakyReLU(0.2),
    nn.GELU(approximate="tanh"),
    nn.GELU(),
    nn.Softplus(beta=2.0),
    nn.Sequential(nn.ReLU(), nn.Identity()),
]

MODELS = {
    "default": AE(),
    "pca": AE(hidden_layer_sizes=()),
    "fallback": AutoencoderTransformer(4, hidden_layer_sizes=(16,), max_iter=1, learning_rate_init=1e-9),
    "random": AE(init="random"),
    "tied": AE(tied_weights=True),
    "whiten": AE(whiten=True),
    "topk": AE(bottleneck=TopK(2)),
    "relu": AE(bottleneck=ThresholdedReLU(0.1)),
    "ordered": AE(bottleneck="ordered"),
    "overcomplete": AE(penalty="l1").set_params(n_components=80),
    "conv": AE(network=Conv(channels=(3, 4))),
    "conv tied": AE(network=Conv(channels=(3, 4)), tied_weights=True),
    "conv not square": AE(network=Conv((2, 4, 8), (3,))),
    "bernoulli loss": AE(loss="binary_cross_entropy"),
    "poisson loss": AE(loss="poisson"),
    "poisson loss, random": AE(loss="poisson", init="random"),
    "huber": AE(loss="huber", corruption="masking"),
    "own loss": AE(loss=CallableLoss(lambda eta, x: (eta - x).abs())),
    "mixture": AE(prior=Mixture(2)),
    "cv": AutoencoderTransformerCV([2, 4], cv=2, **TRAINED),
    "vae": VAE(),
    "vae tied": VAE(tied_weights=True),
    "vae pca": VAE(hidden_layer_sizes=()),
    "vae random": VAE(init="random"),
    "vae conv": VAE(network=Conv(channels=(3,))),
    "vae bernoulli": VAE(likelihood="bernoulli"),
    "vae poisson": VAE(likelihood="poisson"),
    "vae full": VAE(likelihood=Gaussian(noise="full")),
    "vae decoder": VAE(likelihood=Gaussian(noise="decoder")),
    "images": AE(network=images()),
    **{f"activation {name}": AE(activation=name) for name in ACTIVATIONS},
    **{f"own {i} {type(layer).__name__}": AE(network=modules(layer)) for i, layer in enumerate(USER_LAYERS)},
}

X_DIGITS = load_digits().data[:300] / 16.0


@functools.cache
def fitted(name, dtype):
    return clone(MODELS[name]).fit(X_DIGITS.astype(dtype))


def run(model, X):
    """Return the outputs of an exported model for X, which checks that it is valid."""
    session = InferenceSession(model.SerializeToString())
    inputs = [part.name for part in session.get_inputs()]
    return session.run(None, {inputs[0]: X})


def assert_close(actual, expected, tolerance=TOLERANCE):
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * max(np.abs(expected).max(), 1e-30)


# -- transformers ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MODELS)
def test_methods_of_transformers(name, method, dtype):
    model = fitted(name, dtype)
    X = X_DIGITS.astype(dtype)
    X = model.transform(X) if method == "inverse_transform" else X
    (actual,) = run(to_onnx(model, X[:1], method), X)
    assert actual.dtype == dtype
    assert_close(actual, getattr(model, method)(X))


@pytest.mark.parametrize("name", ["default", "vae", "images", "tied"])
def test_trained_models_use_their_networks(name):
    """Otherwise the tests above would compare PCA alone."""
    model = fitted(name, np.float32)
    assert model.uses_network_
    assert len(to_onnx(model, X_DIGITS[:1]).graph.node) > 6


def test_fallback_is_linear():
    model = fitted("fallback", np.float64)
    assert not model.uses_network_
    (codes,) = run(to_onnx(model, X_DIGITS[:1]), X_DIGITS)
    assert_close(codes, model.pca_.transform(X_DIGITS), 1e-12)


@pytest.mark.parametrize("n", [1, 7, 300])
@pytest.mark.parametrize("name", ["default", "conv", "topk", "vae bernoulli"])
def test_batches_of_any_size(name, n):
    model = fitted(name, np.float32)
    X = X_DIGITS[:n].astype(np.float32)
    (codes,) = run(to_onnx(model, X[:1]), X)
    assert_close(codes, model.transform(X))


@pytest.mark.parametrize("method", METHODS)
def test_truncated_codes(method):
    model = fitted("ordered", np.float64).truncate(2)
    X = model.transform(X_DIGITS) if method == "inverse_transform" else X_DIGITS
    assert_close(run(to_onnx(model, X[:1], method), X)[0], getattr(model, method)(X))


@pytest.mark.parametrize("likelihood", ["auto", Gaussian(normal_scores=True)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", METHODS)
def test_normal_scores(method, dtype, likelihood):
    X = np.exp(load_wine().data[:, :6].astype(dtype) / 3) % 7
    X[:, 0] = X[:, 0].round()  # ties
    model = VAETransformer(2, likelihood=likelihood, **SHORT).fit(X)
    assert model.module_.scores is not None
    X = np.concatenate([X, X.min(axis=0)[None] - 5, X.max(axis=0)[None] + 5])  # beyond the knots
    X = model.transform(X) if method == "inverse_transform" else X
    (actual,) = run(to_onnx(model, X[:1], method), X)
    assert_close(actual, getattr(model, method)(X))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", ["transform", "reconstruction_error"])
def test_large_means_cost_no_digits(method, dtype):
    """Codes and errors of float32 are those of the same values in float64."""
    X = (1e4 + load_wine().data[:, :6]).astype(dtype)
    model = AE().set_params(n_components=2).fit(X)
    (actual,) = run(to_onnx(model, X[:1], method), X)
    assert_close(actual, getattr(model, method)(X.astype(np.float64)))


@pytest.mark.parametrize("opset", range(MIN_OPSET, skl2onnx.get_latest_tested_opset_version() + 1))
@pytest.mark.parametrize("name", ["default", "conv", "topk", "own 1 LayerNorm", "own 0 BatchNorm1d"])
def test_opsets(name, opset):
    model = fitted(name, np.float32)
    X = X_DIGITS.astype(np.float32)
    exported = to_onnx(model, X[:1], "reconstruction_error", target_opset=opset)
    assert [imported.version for imported in exported.opset_import if not imported.domain] == [opset]
    assert_close(run(exported, X)[0], model.reconstruction_error(X))


def test_partial_fit_and_sparse_input():
    model = AE().partial_fit(X_DIGITS[:150]).partial_fit(X_DIGITS[150:])
    assert_close(run(to_onnx(model, X_DIGITS[:1]), X_DIGITS)[0], model.transform(X_DIGITS))


def test_more_features_than_samples():
    X = np.random.RandomState(0).normal(size=(30, 200))
    model = AE().fit(X)
    assert_close(run(to_onnx(model, X[:1]), X)[0], model.transform(X))


# -- skl2onnx -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_option_of_skl2onnx(method):
    model = fitted("default", np.float32)
    X = X_DIGITS.astype(np.float32)
    X = model.transform(X) if method == "inverse_transform" else X
    exported = skl2onnx.to_onnx(model, X[:1], options={id(model): {"method": method}})
    assert_close(run(exported, X)[0], getattr(model, method)(X))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("middle", [AE(), VAE(), AE(whiten=True), AE(network="conv")], ids=repr)
def test_classifier_behind_a_transformer(middle, dtype):
    X, y = load_digits(return_X_y=True)
    X = X.astype(dtype)
    model = make_pipeline(MinMaxScaler(), clone(middle), LogisticRegression()).fit(X, y)
    label, probabilities = run(skl2onnx.to_onnx(model, X[:1], options={"zipmap": False}), X)
    np.testing.assert_array_equal(label, model.predict(X))
    assert_close(probabilities, model.predict_proba(X))


@pytest.mark.parametrize("dtype", DTYPES)
def test_search_over_a_pipeline(dtype):
    X, y = load_wine(return_X_y=True)
    X = X.astype(dtype)
    model = make_pipeline(StandardScaler(), AE(), LogisticRegression())
    search = GridSearchCV(model, {"autoencodertransformer__n_components": [1, 3]}, cv=2).fit(X, y)
    for exported in (search, search.best_estimator_):
        label, probabilities = run(to_onnx(exported, X[:1], options={"zipmap": False}), X)
        np.testing.assert_array_equal(label, search.predict(X))
        assert_close(probabilities, search.predict_proba(X))


def test_last_step_of_a_pipeline():
    X = load_wine().data
    model = make_pipeline(StandardScaler(), AE().set_params(n_components=2)).fit(X)
    (errors,) = run(to_onnx(model, X[:1], "reconstruction_error"), X)
    assert_close(errors, model[-1].reconstruction_error(model[0].transform(X)))


def test_union_of_transformers():
    model = FeatureUnion([("ae", AE()), ("vae", VAE())]).fit(X_DIGITS)
    assert_close(run(to_onnx(model, X_DIGITS[:1]), X_DIGITS)[0], model.transform(X_DIGITS))


def test_data_frames_have_an_input_for_each_feature():
    X = load_wine(as_frame=True).data
    model = AE().fit(X)
    session = InferenceSession(to_onnx(model, X[:1]).SerializeToString())
    columns = {part.name: X.iloc[:, [i]].to_numpy() for i, part in enumerate(session.get_inputs())}
    assert len(columns) == X.shape[1]
    assert_close(session.run(None, columns)[0], model.transform(X))


def test_names_of_outputs():
    model = fitted("default", np.float64)
    names = {m: [o.name for o in to_onnx(model, X_DIGITS[:1], m).graph.output] for m in METHODS[::2]}
    assert names == {"transform": ["variable"], "reconstruction_error": ["reconstruction_error"]}


def test_export_leaves_the_model_and_warnings_alone():
    model = fitted("vae", np.float64)
    before, filters = model.transform(X_DIGITS), list(warnings.filters)
    to_onnx(model, X_DIGITS[:1].astype(np.float32))
    assert warnings.filters == filters
    np.testing.assert_array_equal(model.transform(X_DIGITS), before)


def test_integers_are_computed_in_double_precision():
    X = np.random.RandomState(0).randint(0, 10, (200, 5)) + 1_700_000_000  # times, for example
    model = AutoencoderTransformer(2, max_iter=3, random_state=0).fit(X)
    (codes,) = run(to_onnx(model, X[:1]), X)
    assert codes.dtype == np.float64
    assert_close(codes, model.transform(X), 1e-9)
    detector = AEOutlierDetector(n_estimators=1, random_state=0).fit(X)
    np.testing.assert_array_equal(run(to_onnx(detector, X[:1]), X)[0], detector.predict(X))


def test_one_feature_in_double_precision_makes_all_of_a_frame_so():
    X = pd.DataFrame(np.random.RandomState(0).normal(size=(100, 3)), columns=["a", "b", "c"])
    X = X.astype({"a": np.float32})
    model = AutoencoderTransformer(2, max_iter=3, random_state=0).fit(X)
    session = InferenceSession(to_onnx(model, X[:1]).SerializeToString())
    (codes,) = session.run(None, {name: X[[name]].to_numpy() for name in X})
    assert codes.dtype == np.float64
    assert_close(codes, model.transform(X), 1e-7)


def test_a_sample_must_have_two_dimensions():
    X = table(np.float32)
    model = AutoencoderTransformer(2, max_iter=3, random_state=0).fit(X)
    with pytest.raises(ValueError, match=r"X\[:1\]"):
        to_onnx(model, X[0])


def test_samples_may_be_lists_and_tensors():
    X = table(np.float32)
    model = AutoencoderTransformer(2, max_iter=3, random_state=0).fit(X)
    for sample in (torch.from_numpy(X[:1]), X[:1].astype(float).tolist()):
        assert to_onnx(model, sample).graph.input


def test_a_model_without_components_has_no_codes_to_decode():
    X = table(np.float32)
    with pytest.raises(NotImplementedError, match="without components"):
        to_onnx(AutoencoderTransformer(0).fit(X), np.zeros((1, 0), np.float32), "inverse_transform")


# -- outlier detectors ----------------------------------------------------------------------

SCORES = [
    "reconstruction",
    "mahalanobis",
    "neighbors",
    Mahalanobis(residuals=False),
    Neighbors(1) + Mahalanobis(),
    Neighbors(3, max_references=20) | Reconstruction(),
    (Neighbors(1) + Reconstruction()) | Mahalanobis(),
]


@functools.cache
def table(dtype):
    return StandardScaler().fit_transform(load_breast_cancer().data).astype(dtype)


def detect(X, **params):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return AEOutlierDetector(**{"n_estimators": 2, "random_state": 0, **params}).fit(X)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("score", "robust"), [("auto", True), *product(SCORES, [True, False])], ids=str)
def test_labels_and_scores_of_detectors(score, robust, dtype):
    X = table(dtype)
    model = detect(X[:400], outlier_score=score, robust=robust, contamination=0.1)
    label, scores = run(to_onnx(model, X[:1]), X)
    assert label.dtype == np.int64
    assert scores.dtype == dtype
    np.testing.assert_array_equal(label, model.predict(X))
    assert 0.02 < np.mean(label == -1) < 0.6
    assert_close(scores, model.decision_function(X))


@pytest.mark.parametrize("autoencoder", [AE(), VAE(), AE(whiten=True), AE(loss="huber")], ids=repr)
def test_detectors_with_other_autoencoders(autoencoder):
    X = table(np.float64)
    model = detect(X, autoencoder=autoencoder, outlier_score="mahalanobis")
    label, scores = run(to_onnx(model, X[:1]), X)
    np.testing.assert_array_equal(label, model.predict(X))
    assert_close(scores, model.decision_function(X))


@pytest.mark.parametrize("method", ["decision_function", "score_samples"])
def test_scores_by_name(method):
    X = table(np.float64)
    model = make_pipeline(StandardScaler(), AEOutlierDetector(n_estimators=1, random_state=0)).fit(X)
    (scores,) = run(to_onnx(model, X[:1], method), X)
    assert_close(scores, getattr(model, method)(X))


def test_clumps_are_found():
    """The deviation towards a clump is a score of its own."""
    rng = np.random.RandomState(0)
    X, direction = rng.normal(size=(500, 30)), rng.normal(size=30)
    X[:50] = 6 * direction / np.linalg.norm(direction) + 0.1 * rng.normal(size=(50, 30))
    model = detect(X)
    assert all(len(fold_detector.sizes) > 2 for fold_detector in model._fold_detectors)
    label, scores = run(to_onnx(model, X[:1]), X)
    np.testing.assert_array_equal(label, model.predict(X))
    assert_close(scores, model.decision_function(X))


@pytest.mark.parametrize("copies", [0, 3])
def test_references_are_not_their_own_neighbors(copies):
    """Samples that are references, also repeated ones and in single precision, have the same scores."""
    X = np.random.RandomState(0).normal(size=(40, 3))
    X = np.concatenate([X, *[X[:5]] * copies])
    model = detect(X, outlier_score=Neighbors(2), robust=False)
    _, scores = run(to_onnx(model, X[:1]), X)
    assert_close(scores, model.decision_function(X), 1e-9)
    single = X.astype(np.float32)
    _, scores = run(to_onnx(model, single[:1]), single)
    assert_close(scores, model.decision_function(X))


def test_missing_values_and_extremes_are_outliers():
    X = table(np.float64)[:100]
    model = detect(X)
    odd = X[:3].copy()
    odd[0, 0], odd[1, 1], odd[2, :] = np.nan, np.inf, 1e300
    label, scores = run(to_onnx(model, X[:1]), odd)
    assert (label == -1).all()
    assert np.isneginf(scores).all()


# -- refusals -------------------------------------------------------------------------------


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 4)

    def forward(self, x):
        return self.layer(x)


class Halved(Bottleneck):
    def __call__(self, a, generator=None):
        return a / 2


class OwnLink(Loss):
    discrete = True

    def __call__(self, eta, x):
        return (eta - x) ** 2

    def inverse_link(self, eta):
        return 2 * eta


class OwnFitted:
    squared = True

    def outlyingness(self, samples):
        return np.square(samples.residual).max(axis=1)

    def contributions(self, samples):
        return np.square(samples.residual)


class OwnScore(OutlierScore):
    def fit_scores(self, samples, rng):
        return [OwnFitted()]


def hooked():
    encoder, decoder = modules(nn.ReLU())
    encoder[0].register_forward_hook(lambda layer, args, output: 2 * output)
    return encoder, decoder


REFUSED = {
    "contains the layer Own": AE(network=(Own(), nn.Linear(4, 64))),
    "contains the layer PReLU": AE(network=modules(nn.PReLU())),
    "Linear has forward hooks": AE(network=hooked()),
    "bottleneck Halved is code of your own": AE(bottleneck=Halved()),
    "link of OwnLink is code of your own": AE(loss=OwnLink()),
    "Contrast is an ensemble of trees": AEOutlierDetector(robust=False, n_estimators=1),
    "LogLikelihood is estimated by importance sampling": AEOutlierDetector(
        outlier_score="log_likelihood", n_estimators=1
    ),
    "OwnFitted is code of your own": AEOutlierDetector(outlier_score=OwnScore(), n_estimators=1),
    r"Contrast is an .* can be exported": AEOutlierDetector(
        outlier_score=Neighbors() | Contrast(), n_estimators=1
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
@pytest.mark.parametrize("convert", [to_onnx, skl2onnx.to_onnx], ids=["own", "skl2onnx"])
def test_refused_models(reason, convert):
    method = {"method": "reconstruction_error"} if convert is to_onnx and "link" in reason else {}
    model = clone(REFUSED[reason]).fit(X_DIGITS)
    if "link" in reason and not method:
        return  # codes do not need the link
    with pytest.raises(NotImplementedError, match=reason):
        convert(model, X_DIGITS[:1], **method)


def test_detectors_of_incomplete_samples_are_refused():
    X = table(np.float64)[:200].copy()
    X[3, 4] = np.nan
    model = detect(X, robust=False, outlier_score="mahalanobis")
    with pytest.raises(NotImplementedError, match="missing values cannot be exported"):
        to_onnx(model, X[:1])


def test_wrong_arguments():
    model = fitted("default", np.float64)
    with pytest.raises(ValueError, match=r"predict.* of AutoencoderTransformer .* use one of"):
        to_onnx(model, X_DIGITS[:1], "predict")
    with pytest.raises(ValueError, match="last step is LogisticRegression"):
        to_onnx(make_pipeline(model, LogisticRegression()), X_DIGITS[:1], "transform")
    with pytest.raises(ValueError, match="inverse_transform of a pipeline"):
        to_onnx(make_pipeline(StandardScaler(), model), X_DIGITS[:1], "inverse_transform")
    with pytest.raises(ValueError, match="63 features, but transform is exported for n_features_in_=64"):
        to_onnx(model, X_DIGITS[:1, 1:])
    with pytest.raises(ValueError, match=r"X has 64 features, but .* n_components_=4"):
        to_onnx(model, X_DIGITS[:1], "inverse_transform")
    with pytest.raises(NotFittedError):
        to_onnx(AE(), X_DIGITS[:1])
    with pytest.raises(NotImplementedError, match="target_opset >= 13; got 12"):
        to_onnx(model, X_DIGITS[:1], target_opset=12)


# -- the package ----------------------------------------------------------------------------

MISSING = """
import sys
sys.modules["skl2onnx"] = None
import sklearn_ae
try:
    import sklearn_ae.onnx
except ImportError as error:
    print(error)
"""


def test_the_library_is_named_if_it_is_missing():
    done = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'sklearn_ae.onnx requires skl2onnx: pip install "sklearn-ae[onnx]"'
