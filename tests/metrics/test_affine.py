"""Log-likelihoods of pipelines, against changes of variables and normal distributions."""

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.stats import multivariate_normal, norm
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.covariance import EllipticEnvelope
from sklearn.datasets import load_iris
from sklearn.decomposition import NMF, PCA, FactorAnalysis, KernelPCA, TruncatedSVD
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity, LocalOutlierFactor
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import OneClassSVM

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, VAETransformer
from sklearn_ae.metrics import log_likelihood_scorer

# Few epochs suffice for the properties tested here
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")

IRIS = load_iris().data[np.random.RandomState(0).permutation(150)]
X, HELD_OUT = IRIS[:100] * [1, 5, 0.3, 20], IRIS[100:] * [1, 5, 0.3, 20]  # Features of different scales
SMALL = AutoencoderTransformer(2, hidden_layer_sizes=(8,), max_iter=5, random_state=0)

STEPS = {
    "standard": [StandardScaler()],
    "only centred": [StandardScaler(with_std=False)],
    "min_max": [MinMaxScaler((-1, 3))],
    "max_abs": [MaxAbsScaler()],
    "robust": [RobustScaler(unit_variance=True, quantile_range=(10, 90))],
    "robust, only centred": [RobustScaler(with_scaling=False)],
    "rotation": [PCA()],
    "whitening": [PCA(4, whiten=True)],
    "function": [FunctionTransformer()],
    "nothing": ["passthrough", None],
    "several": [MinMaxScaler(), "passthrough", PCA(whiten=True), RobustScaler()],
    "nested": [make_pipeline(StandardScaler(), make_pipeline(None, MaxAbsScaler())), MinMaxScaler()],
    "frozen": [FrozenEstimator(MinMaxScaler().fit(X))],
}


@pytest.mark.parametrize("name", STEPS)
def test_an_equivariant_model_has_the_same_density_behind_any_affine_steps(name):
    pipeline = make_pipeline(*STEPS[name], GaussianMixture(reg_covar=0)).fit(X)
    normal = multivariate_normal(X.mean(axis=0), np.cov(X.T, bias=True))
    expected = normal.logpdf(HELD_OUT).mean()
    assert log_likelihood_scorer(pipeline, HELD_OUT) == pytest.approx(expected, rel=1e-9)


def by_finite_differences(pipeline, samples):
    """Return the log-density with the Jacobian by finite differences, which is exact for affine steps."""
    steps, d = pipeline[:-1], samples.shape[1]
    jacobian = steps.transform(samples[0] + np.eye(d)) - steps.transform(np.tile(samples[0], (d, 1)))
    return pipeline[-1].score_samples(steps.transform(samples)).mean() + np.linalg.slogdet(jacobian)[1]


@pytest.mark.parametrize("name", STEPS)
def test_jacobian_is_that_of_finite_differences(name):
    pipeline = make_pipeline(*STEPS[name], KernelDensity()).fit(X)
    expected = by_finite_differences(pipeline, HELD_OUT)
    assert log_likelihood_scorer(pipeline, HELD_OUT) == pytest.approx(expected, rel=1e-10)


def test_whitening_of_a_constant_feature():
    """PCA divides by a lower bound of the standard deviation."""
    samples = np.column_stack([X[:, :2], np.full(len(X), 2.0)])
    pipeline = make_pipeline(PCA(whiten=True), KernelDensity()).fit(samples)
    found = log_likelihood_scorer(pipeline, samples)
    assert found == pytest.approx(by_finite_differences(pipeline, samples), rel=1e-6)
    assert found > 20


def test_scaled_pca_is_a_normal_distribution_of_x():
    pipeline = make_pipeline(StandardScaler(), PCA(2)).fit(X)
    scaler, pca = pipeline
    spread = np.diag(scaler.scale_)
    normal = multivariate_normal(scaler.mean_, spread @ pca.get_covariance() @ spread)
    assert log_likelihood_scorer(pipeline, HELD_OUT) == pytest.approx(
        normal.logpdf(HELD_OUT).mean(), rel=1e-10
    )


@pytest.mark.parametrize("model", [PCA(2), PCA(2, whiten=True), FactorAnalysis(2), SMALL], ids=str)
def test_score_of_a_model_without_steps(model):
    model = clone(model).fit(X)
    assert log_likelihood_scorer(model, HELD_OUT) == pytest.approx(model.score(HELD_OUT), rel=1e-12)
    assert log_likelihood_scorer(make_pipeline(model), HELD_OUT) == pytest.approx(
        model.score(HELD_OUT), rel=1e-12
    )


def test_kernel_density_has_bandwidths_in_the_units_of_x():
    pipeline = make_pipeline(StandardScaler(), KernelDensity(bandwidth=0.5)).fit(X)
    kernels = norm.logpdf(HELD_OUT[:, None], X[None], 0.5 * pipeline[0].scale_).sum(axis=2)
    expected = np.log(np.exp(kernels).mean(axis=1)).mean()
    assert log_likelihood_scorer(pipeline, HELD_OUT) == pytest.approx(expected, rel=1e-9)


def test_density_integrates_to_one():
    feature = X[:, 3:]
    pipeline = make_pipeline(MinMaxScaler((0, 50)), KernelDensity(bandwidth=3)).fit(feature)
    grid = np.linspace(-100, 200, 301)
    density = np.exp([log_likelihood_scorer(pipeline, [[x]]) for x in grid])
    assert trapezoid(density, grid) == pytest.approx(1, abs=1e-9)


def test_density_of_zero():
    tophat = KernelDensity(kernel="tophat").fit(X)
    assert log_likelihood_scorer(tophat, [[1e3, 0, 0, 0]]) == -np.inf


def test_constant_feature_is_not_scaled():
    samples = np.column_stack([X, np.full(len(X), 3.0)])
    held = np.column_stack([HELD_OUT, np.full(len(HELD_OUT), 3.0)])
    pipeline = make_pipeline(StandardScaler(), PCA(2)).fit(samples)
    expected = pipeline.score(held) - np.log(X.std(axis=0)).sum()
    assert log_likelihood_scorer(pipeline, held) == pytest.approx(expected, rel=1e-10)


def test_searches_and_frozen_pipelines_are_opened():
    pipeline = make_pipeline(StandardScaler(), PCA(2)).fit(X)
    expected = log_likelihood_scorer(pipeline, HELD_OUT)
    search = GridSearchCV(pipeline, {"pca__n_components": [2]}, cv=2).fit(X)
    assert search.score_samples(HELD_OUT).mean() != pytest.approx(expected)  # In scaled units
    for model in (search, FrozenEstimator(pipeline), Pipeline([("all", pipeline), ("end", "passthrough")])):
        assert log_likelihood_scorer(model, HELD_OUT) == pytest.approx(expected, rel=1e-12)


def test_scaling_changes_the_autoencoders_score_by_its_jacobian():
    pipeline = make_pipeline(StandardScaler(), SMALL).fit(X)
    expected = pipeline.score(HELD_OUT) - np.log(X.std(axis=0)).sum()
    assert log_likelihood_scorer(pipeline, HELD_OUT) == pytest.approx(expected, rel=1e-9)


# -- models without a density ----------------------------------------------------------------


class Doubler(StandardScaler):
    """Subclass that transforms differently."""

    def transform(self, X):
        return 2 * super().transform(X)


@pytest.mark.parametrize(
    "model",
    [
        IsolationForest(n_estimators=2),
        OneClassSVM(),
        LocalOutlierFactor(novelty=True),
        EllipticEnvelope(random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_rejects_outlier_detectors(model):
    with pytest.raises(TypeError, match=f"{type(model).__name__} is an outlier score"):
        log_likelihood_scorer(clone(model).fit(X), X)
    pipeline = make_pipeline(StandardScaler(), model).fit(X)
    with pytest.raises(TypeError, match="is an outlier score"):
        log_likelihood_scorer(pipeline, X)


def test_rejects_models_without_a_likelihood():
    with pytest.raises(TypeError, match="AEOutlierDetector is an outlier score"):
        log_likelihood_scorer(AEOutlierDetector(), X)
    with pytest.raises(TypeError, match="BernoulliRBM is a pseudo-likelihood"):
        log_likelihood_scorer(BernoulliRBM(n_iter=1).fit(X > 1), X > 1)
    with pytest.raises(TypeError, match="KernelPCA has no score_samples"):
        log_likelihood_scorer(KernelPCA(2).fit(X), X)
    with pytest.raises(TypeError, match=r"step 'nmf' \(NMF\) has no score_samples"):
        log_likelihood_scorer(
            make_pipeline(MinMaxScaler(), NMF(2, init="nndsvda", tol=1e-2, max_iter=500)).fit(X), X
        )
    with pytest.raises(TypeError, match="has no step"):
        log_likelihood_scorer(make_pipeline("passthrough").fit(X), X)


@pytest.mark.parametrize(
    "step",
    [
        QuantileTransformer(n_quantiles=10),
        PowerTransformer(),
        Normalizer(),
        ColumnTransformer([("scale", StandardScaler(), [0, 1])], remainder="passthrough"),
        FeatureUnion([("scale", StandardScaler())]),
        TruncatedSVD(3, random_state=0),
        Doubler(),
    ],
    ids=lambda step: type(step).__name__,
)
def test_rejects_unknown_steps(step):
    pipeline = Pipeline([("first", make_pipeline(StandardScaler())), ("odd", step), ("pca", PCA(1))]).fit(X)
    with pytest.raises(
        TypeError, match=rf"step 'odd' \({type(step).__name__}\) is not a known affine bijection"
    ):
        log_likelihood_scorer(pipeline, X)


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (MinMaxScaler(clip=True), "clip=True"),
        (PCA(3), "keeps 3 of 4 components"),
        (FunctionTransformer(np.log1p), "has func"),
    ],
    ids=["clip", "fewer", "function"],
)
def test_rejects_steps_that_are_not_bijections(step, why):
    pipeline = make_pipeline(make_pipeline(step), PCA(1)).fit(X)
    name = type(step).__name__
    with pytest.raises(ValueError, match=rf"step 'pipeline__{name.lower()}' \({name}\) .*{why}.* outside"):
        log_likelihood_scorer(pipeline, X)


def test_rejects_unfitted_steps():
    with pytest.raises(NotFittedError):
        log_likelihood_scorer(make_pipeline(StandardScaler(), PCA(2)), X)


@pytest.mark.parametrize(
    "model",
    [
        AutoencoderTransformer(1, hidden_layer_sizes=(), loss="binary_cross_entropy", max_iter=5),
        VAETransformer(1, hidden_layer_sizes=(), likelihood="bernoulli", max_iter=5),
        VAETransformer(1, hidden_layer_sizes=(), likelihood="poisson", max_iter=5),
    ],
    ids=["binary_cross_entropy", "bernoulli", "poisson"],
)
def test_log_probabilities_have_no_jacobian(model):
    binary = np.greater(X, np.median(X, axis=0)).astype(float)
    model = clone(model).set_params(random_state=0).fit(binary)
    expected = model.score(binary)
    assert expected == pytest.approx(log_likelihood_scorer(model, binary), rel=1e-12)
    for same in (
        StandardScaler(with_mean=False, with_std=False),
        FunctionTransformer(),
        MinMaxScaler(),
        None,
    ):
        pipeline = make_pipeline(same, FrozenEstimator(model)).fit(binary)
        assert log_likelihood_scorer(pipeline, binary) == pytest.approx(expected, rel=1e-9)
    for other in (MinMaxScaler((0, 0.5)), StandardScaler(with_std=False), PCA()):
        step = clone(other).fit(binary)
        with pytest.raises(ValueError, match="gives log-probabilities"):
            log_likelihood_scorer(Pipeline([("step", step), ("model", model)]), binary)
