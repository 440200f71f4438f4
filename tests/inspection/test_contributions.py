"""Contributions, compared with correlations, closed forms and other models' derivatives."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.decomposition import NMF, PCA, FastICA, IncrementalPCA, KernelPCA, TruncatedSVD
from sklearn.exceptions import NotFittedError
from sklearn.manifold import TSNE
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer
from sklearn_ae.inspection import component_contributions
from sklearn_ae.likelihoods import Gaussian
from sklearn_ae.losses import ByFeature
from sklearn_ae.networks import Conv

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Only . of . components are active"),
]

IRIS = load_iris().data
WINE = load_wine().data
CANCER = load_breast_cancer().data
COUNTS = np.random.RandomState(0).poisson(np.random.RandomState(1).gamma(2, 2, size=(90, 6))) + 0.0
MIXED = np.column_stack([IRIS, IRIS[:, 0] > 5.8, COUNTS[np.arange(150) % 90, 0]])
GAPS = np.where(np.random.RandomState(0).uniform(size=IRIS.shape) < 0.1, np.nan, IRIS)
FEW = {"max_iter": 3, "hidden_layer_sizes": (8,), "random_state": 0, "early_stopping": False}
RESULTS = ("decoder", "encoder", "decoder_linear_share", "encoder_linear_share")


def correlations(X, codes):
    """Return the correlation of each component with each feature."""
    k = codes.shape[1]
    return np.corrcoef(codes.T, X.T)[:k, k:]


def by_differences(model, X):
    """Return the contributions of a model that is unknown to the package, from finite differences."""
    unknown = FunctionTransformer(model.transform, model.inverse_transform)
    return component_contributions(unknown, X)


def assert_agree(found, expected, **tolerances):
    for name in RESULTS:
        np.testing.assert_allclose(found[name], expected[name], **tolerances, err_msg=name)


# -- linear models ----------------------------------------------------------------------


@pytest.mark.parametrize("X", [IRIS, WINE, CANCER, 1e6 + IRIS], ids=["iris", "wine", "cancer", "far"])
@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_contributions_to_pca_are_correlation_loadings(X, whiten, scaled):
    pca = PCA(3, whiten=whiten, svd_solver="full")
    model = (make_pipeline(StandardScaler(), pca) if scaled else pca).fit(X)
    found = component_contributions(model, X)
    expected = correlations(X, model.transform(X))
    np.testing.assert_allclose(found.decoder, expected, rtol=1e-6, atol=1e-7)
    explained = np.square(found.decoder).sum(axis=0)
    residual = X - model.inverse_transform(model.transform(X))
    np.testing.assert_allclose(explained, 1 - residual.var(axis=0) / X.var(axis=0), atol=1e-7)
    assert np.all(found.decoder_linear_share == 1)
    assert np.all(found.encoder_linear_share == 1)


def test_encoder_of_pca_has_the_standardised_weights():
    model = make_pipeline(StandardScaler(), PCA(2)).fit(WINE)
    found = component_contributions(model, WINE)
    standardised = (WINE - WINE.mean(axis=0)) / WINE.std(axis=0)
    codes = model.transform(WINE)
    np.testing.assert_allclose(standardised @ found.encoder.T, codes / codes.std(axis=0), atol=1e-9)


@pytest.mark.parametrize(
    "make",
    [
        lambda: IncrementalPCA(2),
        lambda: TruncatedSVD(2, random_state=0),
        lambda: FastICA(2, whiten="unit-variance", random_state=0),
        lambda: make_pipeline(RobustScaler(), PCA(2)),
        lambda: make_pipeline(MinMaxScaler(), PCA(2)),
        lambda: make_pipeline(MaxAbsScaler(), "passthrough", PCA(2)),
    ],
    ids=["incremental", "svd", "ica", "robust", "min-max", "max-abs"],
)
def test_linear_models_have_the_derivatives_of_their_maps(make):
    model = make().fit(IRIS)
    found = component_contributions(model, IRIS)
    codes = model.transform(IRIS)
    zero = model.inverse_transform(np.zeros((1, 2)))
    W = model.inverse_transform(np.eye(2)) - zero
    np.testing.assert_allclose(found.decoder, W * codes.std(axis=0)[:, None] / IRIS.std(axis=0), atol=1e-9)
    V = model.transform(np.eye(4)) - model.transform(np.zeros((1, 4)))
    np.testing.assert_allclose(found.encoder, V.T * IRIS.std(axis=0) / codes.std(axis=0)[:, None], atol=1e-9)
    assert_agree(found, {**found, "decoder_linear_share": 1, "encoder_linear_share": 1}, rtol=1e-9)


@pytest.mark.parametrize("whiten", [False, True])
def test_linear_autoencoders_have_the_loadings_of_pca(whiten):
    ae = AutoencoderTransformer(3, hidden_layer_sizes=(), whiten=whiten).fit(WINE)
    pca = PCA(3, whiten=whiten, svd_solver="full").fit(WINE)
    assert_agree(component_contributions(ae, WINE), component_contributions(pca, WINE), atol=1e-6)


def test_models_that_fell_back_to_pca_have_its_loadings():
    ae = AutoencoderTransformer(2, max_iter=1, random_state=0).fit(IRIS)
    assert not ae.uses_network_
    expected = correlations(IRIS, ae.transform(IRIS))
    np.testing.assert_allclose(component_contributions(ae, IRIS).decoder, expected, atol=1e-6)


# -- nonlinear models -------------------------------------------------------------------


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.weight * x[:, :1] + x[:, 1:2] ** 3


class Decoder(torch.nn.Module):
    """The curve (z, z^2, sin(3 z))."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, z):
        return torch.cat([self.weight * z, z**2, torch.sin(3 * z)], 1)


def averages(J, unit):
    """Return signed mean absolute derivatives (n, d) and their linear share."""
    J = J * unit
    sign = np.where(J.mean(axis=0) < 0, -1, 1)
    return sign * np.abs(J).mean(axis=0), J.mean(axis=0) ** 2 / np.square(J).mean(axis=0)


def test_custom_network_with_known_derivatives():
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.gamma(2, size=200), rng.normal(size=200), rng.normal(size=200)])
    model = AutoencoderTransformer(1, network=(Encoder(), Decoder()), init="random", **FEW).fit(X)
    a, b = (float(next(part.parameters())) for part in (model.module_.encoder, model.module_.decoder))
    found = component_contributions(model, X)
    x, z = (X - model.mean_) / model.scale_, model.transform(X) / model.scale_  # working units
    decoder = np.hstack([np.full_like(z, b), 2 * z, 3 * np.cos(3 * z)])
    encoder = np.column_stack([np.full(200, a), 3 * x[:, 1] ** 2, np.zeros(200)])
    ratio = model.transform(X).std(axis=0) / X.std(axis=0)
    size, share = averages(decoder, ratio)
    np.testing.assert_allclose(found.decoder, [size], rtol=1e-5)
    np.testing.assert_allclose(found.decoder_linear_share, [share], rtol=1e-4, atol=1e-9)
    size, share = averages(encoder[:, :2], 1 / ratio[:2])
    np.testing.assert_allclose(found.encoder, [[*size, 0]], rtol=1e-5)
    np.testing.assert_allclose(found.encoder_linear_share, [[*share, 1]], rtol=1e-4)


def test_function_with_known_derivatives():
    z = np.random.RandomState(0).normal(1, 1, size=(300, 1))
    X = np.hstack([z, np.square(z), np.sin(z)])
    model = FunctionTransformer(lambda X: X[:, :1], lambda Z: np.hstack([Z, Z**2, np.sin(Z)]))
    found = component_contributions(model, X)
    size, share = averages(np.hstack([np.ones_like(z), 2 * z, np.cos(z)]), z.std() / X.std(axis=0))
    np.testing.assert_allclose(found.decoder, [size], rtol=1e-5)
    np.testing.assert_allclose(found.decoder_linear_share, [share], rtol=1e-5)
    np.testing.assert_allclose(found.encoder, [[1, 0, 0]], rtol=1e-9)


def test_derivatives_that_cancel_have_no_linear_share():
    z = np.linspace(-1, 1, 101)[:, None]
    model = FunctionTransformer(lambda X: X[:, :1], lambda Z: np.hstack([Z, Z**2]))
    found = component_contributions(model, np.hstack([z, z**2]))
    assert abs(found.decoder[0, 1]) == pytest.approx(
        2 * np.abs(z).mean() * z.std() / np.square(z).std(), rel=1e-6
    )
    assert found.decoder_linear_share[0] == pytest.approx([1, 0], abs=1e-9)


MODELS = {
    "default": lambda: (AutoencoderTransformer(2, **FEW), IRIS),
    "whitened": lambda: (AutoencoderTransformer(2, whiten=True, **FEW), IRIS),
    "one component": lambda: (AutoencoderTransformer(1, **FEW), IRIS),
    "overcomplete": lambda: (AutoencoderTransformer(9, penalty="l1", **FEW), IRIS),
    "ordered": lambda: (AutoencoderTransformer(3, bottleneck="ordered", **FEW), IRIS),
    "topk": lambda: (AutoencoderTransformer(4, bottleneck="topk", **FEW), IRIS),
    "convolutional": lambda: (AutoencoderTransformer(2, network=Conv(channels=(2,)), **FEW), COUNTS[:, :4]),
    "cross-entropy": lambda: (AutoencoderTransformer(2, loss="binary_cross_entropy", **FEW), IRIS / 10 + 0.1),
    "counts": lambda: (VAETransformer(2, likelihood="negative_binomial", **FEW), COUNTS + 1),
    "by feature": lambda: (
        AutoencoderTransformer(
            2, loss=ByFeature({"gaussian": range(4), "bernoulli": [4], "poisson": [5]}), **FEW
        ),
        MIXED,
    ),
    "variational": lambda: (VAETransformer(2, **FEW), IRIS),
    "covariance": lambda: (VAETransformer(2, likelihood=Gaussian(noise="full"), **FEW), IRIS),
    "outliers": lambda: (AEOutlierDetector(n_estimators=1, random_state=0), WINE),
}


@pytest.mark.parametrize("name", MODELS)
def test_automatic_derivatives_are_those_of_finite_differences(name):
    """Of smooth functions: models whose functions bend have derivatives that differ near the bends."""
    model, X = MODELS[name]()
    model.fit(X)
    if name == "by feature":  # log-odds and log-rates of the initial PCA are clipped
        X = X[(X[:, 5] > 1) & (X[:, 5] < 6)]
    assert_agree(component_contributions(model, X), by_differences(model, X), rtol=2e-3, atol=2e-3)


def test_normal_scores_have_the_slopes_of_their_maps():
    rng = np.random.RandomState(0)
    X = np.exp(rng.normal(size=(200, 2)) @ rng.normal(size=(2, 4)) / 2 + 0.1 * rng.normal(size=(200, 4)))
    model = VAETransformer(2, likelihood=Gaussian(noise="full", normal_scores=True), **FEW).fit(X)
    assert_agree(component_contributions(model, X), by_differences(model, X), rtol=1e-2, atol=1e-2)


def test_models_of_incomplete_samples():
    model = AutoencoderTransformer(2, missing="mask", **FEW).fit(GAPS)
    assert_agree(component_contributions(model, IRIS), by_differences(model, IRIS), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        component_contributions(model, GAPS)


@pytest.mark.parametrize("make", [StandardScaler, MinMaxScaler, PowerTransformer])
def test_scalers_before_autoencoders(make):
    model = make_pipeline(make(), AutoencoderTransformer(2, **FEW)).fit(WINE)
    found = component_contributions(model, WINE)
    assert_agree(found, by_differences(model, WINE), rtol=1e-3, atol=1e-5)
    if make is StandardScaler:  # the scale of each feature does not matter
        inner = component_contributions(model[-1], model[0].transform(WINE))
        assert_agree(found, inner, rtol=1e-9, atol=1e-12)


def test_pipelines_of_other_steps():
    model = make_pipeline(PCA(3), AutoencoderTransformer(2, **FEW)).fit(IRIS)
    assert_agree(component_contributions(model, IRIS), by_differences(model, IRIS), rtol=1e-9)
    nested = make_pipeline(StandardScaler(), make_pipeline(PCA(3), AutoencoderTransformer(2, **FEW))).fit(
        IRIS
    )
    assert_agree(component_contributions(nested, IRIS), by_differences(nested, IRIS), rtol=1e-9)


def test_subclasses_of_known_transformers_may_differ():
    class Bent(StandardScaler):
        def transform(self, X, copy=None):
            return np.sinh(super().transform(X, copy))

        def inverse_transform(self, X, copy=None):
            return super().inverse_transform(np.arcsinh(X), copy)

    model = make_pipeline(Bent(), PCA(2)).fit(IRIS)
    assert component_contributions(model, IRIS).encoder_linear_share.min() < 0.9


def test_kernel_pca():
    model = KernelPCA(2, kernel="rbf", gamma=0.1, fit_inverse_transform=True).fit(IRIS)
    found = component_contributions(model, IRIS)
    assert 0 < found.decoder_linear_share.min() < 0.99
    centred = IRIS - IRIS.mean(axis=0)  # KernelPCA decodes without a mean
    linear = KernelPCA(2, kernel="linear", fit_inverse_transform=True, alpha=1e-5).fit(centred)
    expected = correlations(centred, linear.transform(centred))
    np.testing.assert_allclose(component_contributions(linear, centred).decoder, expected, atol=1e-4)


def test_nonnegative_inputs_stay_nonnegative():
    model = NMF(2, init="nndsvda", tol=1e-8, max_iter=5000, random_state=0).fit(COUNTS)
    found = component_contributions(model, COUNTS)
    codes = model.transform(COUNTS)
    expected = model.components_ * codes.std(axis=0)[:, None] / COUNTS.std(axis=0)
    np.testing.assert_allclose(found.decoder, expected, rtol=1e-6)


# -- units and constants ----------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: PCA(2), lambda: AutoencoderTransformer(2, **FEW)])
def test_features_with_a_shared_scale(make):
    model = make().fit(IRIS)
    own = component_contributions(model, IRIS)
    shared = component_contributions(model, IRIS, feature_scale="shared")
    ratio = IRIS.std(axis=0) / np.sqrt(IRIS.var(axis=0).mean())
    np.testing.assert_allclose(shared.decoder, own.decoder * ratio, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(shared.encoder, own.encoder / ratio, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(shared.decoder_linear_share, own.decoder_linear_share, rtol=1e-6)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e8])
@pytest.mark.parametrize(
    "make",
    [
        lambda: PCA(2),
        lambda: make_pipeline(StandardScaler(), PCA(2)),
        lambda: AutoencoderTransformer(2, **FEW),
        lambda: make_pipeline(StandardScaler(), AutoencoderTransformer(2, **FEW)),
        lambda: VAETransformer(2, **FEW),
    ],
    ids=["pca", "scaled pca", "ae", "scaled ae", "vae"],
)
@pytest.mark.parametrize("feature_scale", ["per_column", "shared"])
def test_constant_features_contribute_nothing(make, constant, feature_scale):
    X = np.insert(IRIS, 1, constant, axis=1)
    found = component_contributions(make().fit(X), X, feature_scale=feature_scale)
    assert np.all(found.decoder[:, 1] == 0)
    assert np.all(found.encoder[:, 1] == 0)
    assert np.all(found.decoder_linear_share[:, 1] == 1)
    assert all(np.isfinite(found[name]).all() for name in RESULTS)
    assert np.all(found.decoder[:, 0] != 0)


def test_constant_components_contribute_nothing():
    constant = FunctionTransformer(
        lambda X: np.column_stack([X[:, 0], np.full(len(X), 0.1)]), lambda Z: Z @ np.ones((2, 4))
    )
    found = component_contributions(constant, IRIS)
    assert np.all(found.decoder[1] == 0)
    assert np.all(found.encoder[1] == 0)
    assert np.all(found.decoder[0] != 0)


def test_inactive_components_contribute_nothing_to_the_reconstruction():
    X = np.random.RandomState(0).normal(size=(300, 1)) @ np.ones((1, 5))
    X += 0.3 * np.random.RandomState(1).normal(size=X.shape)
    model = VAETransformer(3, beta=4.0, random_state=0).fit(X)
    assert model.n_active_units_ == 1
    found = component_contributions(model, X)
    assert all(np.isfinite(found[name]).all() for name in RESULTS)
    *inactive, active = np.sort(np.abs(found.decoder).max(axis=1))
    assert active > 0.5
    assert max(inactive) < 0.05


def test_shares_are_shares(curve):
    model = AutoencoderTransformer(2, hidden_layer_sizes=(16,), max_iter=10, random_state=0).fit(curve)
    found = component_contributions(model, curve)
    for name in RESULTS[2:]:
        assert np.all((found[name] >= 0) & (found[name] <= 1))


# -- inputs -----------------------------------------------------------------------------


def test_all_kinds_of_input_give_the_same():
    for model in (PCA(2), make_pipeline(StandardScaler(), AutoencoderTransformer(2, **FEW))):
        expected = component_contributions(model.fit(IRIS), IRIS)
        for X in (IRIS.tolist(), torch.from_numpy(IRIS), np.asfortranarray(IRIS)):
            assert_agree(component_contributions(model, X), expected, rtol=1e-9, atol=1e-12)
        frame = pd.DataFrame(IRIS, columns=list("abcd"))
        found = component_contributions(model.fit(frame), frame)
        assert_agree(found, expected, rtol=1e-6, atol=1e-9)
        assert found.feature_names == list("abcd")
        assert found.component_names == ["Component 1", "Component 2"]
        model.set_output(transform="pandas").fit(frame)
        assert_agree(component_contributions(model, frame), found, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "make", [lambda: TruncatedSVD(2, random_state=0), lambda: AutoencoderTransformer(2, **FEW)]
)
def test_sparse_samples(make):
    X = sparse.csr_matrix(COUNTS)
    model = make().fit(X)
    assert_agree(component_contributions(model, X), component_contributions(model, COUNTS), rtol=1e-6)


def test_single_precision():
    X = IRIS.astype(np.float32)
    for model in (PCA(2), AutoencoderTransformer(2, whiten=True, **FEW), VAETransformer(2, **FEW)):
        model.fit(X)
        assert_agree(component_contributions(model, X), by_differences(model, X), rtol=1e-3, atol=1e-3)


def test_samples_are_chosen_at_random():
    model = AutoencoderTransformer(2, **FEW).fit(IRIS)
    state = np.random.get_state()[1].copy()
    first, again, other = (
        component_contributions(model, IRIS, max_samples=50, random_state=seed) for seed in (0, 0, 1)
    )
    assert_agree(first, again, rtol=0)
    assert not np.allclose(first.decoder, other.decoder, rtol=1e-6)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    whole = component_contributions(model, IRIS)
    assert_agree(component_contributions(model, IRIS, max_samples=150, random_state=3), whole, rtol=0)
    frame = pd.DataFrame(IRIS, columns=list("abcd"))
    framed = component_contributions(model.fit(frame), frame, max_samples=50, random_state=0)
    assert_agree(framed, first, rtol=1e-6, atol=1e-9)


def test_blocks_make_no_difference(monkeypatch):
    models = [
        make_pipeline(PowerTransformer(), AutoencoderTransformer(2, **FEW)).fit(IRIS),
        KernelPCA(2, kernel="rbf", fit_inverse_transform=True).fit(IRIS),
    ]
    whole = [component_contributions(model, IRIS) for model in models]
    monkeypatch.setattr("sklearn_ae.inspection._jacobians._BLOCK_VALUES", 100)
    monkeypatch.setattr("sklearn_ae._utils.differences._BLOCK_VALUES", 400)
    for model, expected in zip(models, whole, strict=True):
        assert_agree(component_contributions(model, IRIS), expected, rtol=1e-6, atol=1e-9)


def test_models_chosen_by_cross_validation():
    model = AutoencoderTransformerCV([1, 2], cv=2, max_iter=1, random_state=0).fit(IRIS)
    assert component_contributions(model, IRIS).decoder.shape == (model.n_components_, 4)


def test_works_without_gradients():
    model = AutoencoderTransformer(2, **FEW).fit(IRIS)
    expected = component_contributions(model, IRIS)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert_agree(component_contributions(model, IRIS), expected, rtol=0)
    assert all(p.grad is None for p in model.module_.parameters())


# -- errors -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("X", "options", "message"),
    [
        (IRIS[:1], {}, "minimum of 2 is required"),
        (IRIS[0], {}, "2D array"),
        (GAPS, {}, "contains NaN"),
        (IRIS[:, :3], {}, "3 features"),
        (IRIS, {"max_samples": 1}, "max_samples == 1, must be >= 2"),
        (IRIS, {"feature_scale": "robust"}, "feature_scale='robust' is not known"),
        (IRIS, {"feature_names": ["a"]}, "feature_names has 1 names"),
    ],
)
def test_errors_name_the_parameter(X, options, message):
    with pytest.raises(ValueError, match=message):
        component_contributions(PCA(2).fit(IRIS), X, **options)


def test_models_without_components_are_refused():
    model = AutoencoderTransformer(0).fit(IRIS)
    with pytest.raises(ValueError, match="n_components=0"):
        component_contributions(model, IRIS)


def test_models_that_cannot_decode_are_refused():
    with pytest.raises(TypeError, match=r"estimator must be a fitted transformer.*TSNE"):
        component_contributions(TSNE(), IRIS)
    with pytest.raises(NotFittedError):
        component_contributions(AutoencoderTransformer(2), IRIS)


def test_components_of_nonlinear_models_refer_to_the_contributions():
    model = AutoencoderTransformer(2, **FEW).fit(IRIS)
    with pytest.raises(AttributeError, match=r"use sklearn_ae\.inspection\.component_contributions instead"):
        _ = model.components_


def test_no_warnings_for_constants():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = component_contributions(PCA(1).fit(IRIS), np.ones((4, 4)))
    assert np.all(found.decoder == 0)
