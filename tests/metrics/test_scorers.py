"""Scorers: pooled variance by hand, scikit-learn's own searches, and densities by change of variables."""

import math
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import multivariate_normal, norm
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.covariance import EllipticEnvelope
from sklearn.datasets import load_iris
from sklearn.decomposition import NMF, PCA, FactorAnalysis, KernelPCA, TruncatedSVD
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError, UndefinedMetricWarning
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import r2_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, cross_validate, validation_curve
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
from sklearn_ae.metrics import (
    _scorers,
    explained_variance_scorer,
    log_likelihood_scorer,
    neg_reconstruction_error_scorer,
)

# few epochs suffice for what is tested here
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still falling steeply")

ROWS = load_iris().data[np.random.RandomState(0).permutation(150)]
X, HELD = ROWS[:100] * [1, 5, 0.3, 20], ROWS[100:] * [1, 5, 0.3, 20]  # columns of different scales
CV = KFold(3, shuffle=True, random_state=0)
SCORERS = {
    "explained_variance": explained_variance_scorer,
    "error": neg_reconstruction_error_scorer,
    "log_likelihood": log_likelihood_scorer,
}
RECONSTRUCTIONS = [explained_variance_scorer, neg_reconstruction_error_scorer]
SMALL = AutoencoderTransformer(2, hidden_layer_sizes=(8,), max_iter=5, random_state=0)
MODELS = {
    "pca": PCA(2),
    "kernel": KernelPCA(3, kernel="rbf", gamma=0.01, fit_inverse_transform=True),
    "nmf": NMF(2, init="nndsvda", tol=1e-2, max_iter=500),
    "svd": TruncatedSVD(2, random_state=0),
    "autoencoder": SMALL,
    "pipeline": make_pipeline(StandardScaler(), PCA(2)),
    "search": GridSearchCV(PCA(), {"n_components": [1, 2]}, cv=2),
}


def sums(model, rows):
    """SSE and SST, by hand."""
    rows_hat = model.inverse_transform(model.transform(rows))
    return ((rows - rows_hat) ** 2).sum(), ((rows - rows.mean(axis=0)) ** 2).sum()


def scores(model, rows):
    return [scorer(model, rows) for scorer in SCORERS.values()]


# -- reconstruction ----------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_reconstruction_scores_by_hand(name):
    model = clone(MODELS[name]).fit(X)
    sse, sst = sums(model, HELD)
    assert explained_variance_scorer(model, HELD) == pytest.approx(1 - sse / sst, rel=1e-9)
    assert neg_reconstruction_error_scorer(model, HELD) == pytest.approx(-sse / len(HELD), rel=1e-9)


def test_explained_variance_is_r2_weighted_by_variance():
    model = PCA(2).fit(X)
    rows_hat = model.inverse_transform(model.transform(HELD))
    r2 = r2_score(HELD, rows_hat, multioutput="variance_weighted")
    assert explained_variance_scorer(model, HELD) == pytest.approx(r2, rel=1e-12)


def test_explained_variance_of_the_training_rows_is_that_of_pca():
    model = PCA(2).fit(X)
    share = model.explained_variance_ratio_.sum()
    assert explained_variance_scorer(model, X) == pytest.approx(share, rel=1e-12)


@pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)
def test_order_of_the_rows_does_not_matter(scorer):
    model = PCA(2).fit(X)
    assert scorer(model, HELD[::-1]) == pytest.approx(scorer(model, HELD), rel=1e-12)


@pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)
def test_y_is_ignored(scorer):
    model = PCA(2).fit(X)
    assert scorer(model, HELD, np.arange(len(HELD))) == scorer(model, HELD)


def test_units_of_x():
    """Times c: the same share, c^2 times the error, d log c nats less."""
    c, d = 7.0, X.shape[1]
    share, error, nats = scores(PCA(2).fit(X), HELD)
    scaled = scores(PCA(2).fit(c * X + 3), c * HELD + 3)
    assert scaled == pytest.approx([share, c**2 * error, nats - d * math.log(c)], rel=1e-9)


def test_scores_far_from_the_origin():
    model = PCA(2, svd_solver="full")  # others lose digits themselves
    near = [scorer(model.fit(X), HELD) for scorer in RECONSTRUCTIONS]
    far = [scorer(model.fit(X + 1e7), HELD + 1e7) for scorer in RECONSTRUCTIONS]
    assert far == pytest.approx(near, rel=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_a_constant_column_does_not_matter(value):
    def with_constant(rows):
        return np.column_stack([rows, np.full(len(rows), value)])

    for scorer in RECONSTRUCTIONS:
        expected = scorer(PCA(2).fit(X), HELD)
        assert scorer(PCA(2).fit(with_constant(X)), with_constant(HELD)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_all_columns_constant_as_in_r2(shift):
    constant = np.full((5, 3), 0.1)
    model = FunctionTransformer(inverse_func=lambda codes: codes + shift).fit(constant)
    expected = r2_score(constant, constant + shift)
    assert expected == 1 - shift
    assert explained_variance_scorer(model, constant) == expected


def test_rounding_of_a_mean_is_no_variance():
    constant = np.full((10, 2), 0.1)
    assert (constant.mean(axis=0) != 0.1).all()
    model = FunctionTransformer(inverse_func=lambda codes: codes + 1).fit(constant)
    assert explained_variance_scorer(model, constant) == 0


def test_one_row_as_in_r2():
    with pytest.warns(UndefinedMetricWarning, match="two at least"):
        assert math.isnan(explained_variance_scorer(PCA(2).fit(X), HELD[:1]))
    with pytest.warns(UndefinedMetricWarning):
        assert math.isnan(r2_score([[1.0, 2.0]], [[1.0, 2.5]]))


def test_reconstructions_that_are_not_finite():
    def give(value):
        return FunctionTransformer(inverse_func=lambda codes: np.full_like(codes, value)).fit(X)

    assert explained_variance_scorer(give(np.inf), X) == -np.inf
    assert neg_reconstruction_error_scorer(give(np.inf), X) == -np.inf
    assert math.isnan(explained_variance_scorer(give(np.nan), X))


class Recorder(TransformerMixin, BaseEstimator):
    """The identity, which notes how many rows it decodes at a time."""

    def fit(self, X, y=None):
        self.decoded_ = []
        return self

    def transform(self, X):
        return X

    def inverse_transform(self, X):
        self.decoded_.append(X.shape[0])
        return X


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array, sparse.csc_matrix, sparse.coo_matrix])
def test_blocks(monkeypatch, make):
    """Rows become dense, and are decoded, a few at a time; codes are computed from all."""
    monkeypatch.setattr(_scorers, "_BLOCK_VALUES", 12)
    model = Recorder().fit(X)
    assert explained_variance_scorer(model, make(HELD)) == 1
    assert (max(model.decoded_), sum(model.decoded_)) == (3, len(HELD))
    nmf = clone(MODELS["nmf"]).fit(X)
    sse, sst = sums(nmf, HELD)
    assert explained_variance_scorer(nmf, make(HELD)) == pytest.approx(1 - sse / sst, rel=1e-6)


# -- what goes in --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pca", "autoencoder", "pipeline"])
def test_data_frames_keep_their_names(name):
    """Without the names, a model that was fitted with them would warn."""
    expected = scores(clone(MODELS[name]).fit(X), HELD)
    names = list("abcd")
    model = clone(MODELS[name]).fit(pd.DataFrame(X, columns=names))
    assert scores(model, pd.DataFrame(HELD, columns=names)) == pytest.approx(expected, rel=1e-9)


def test_output_as_data_frames():
    model = make_pipeline(StandardScaler(), PCA(2)).fit(X)
    expected = scores(model, HELD)
    frames = make_pipeline(StandardScaler(), PCA(2)).set_output(transform="pandas").fit(X)
    assert scores(frames, HELD) == pytest.approx(expected, rel=1e-12)


def test_sparse_rows():
    model = make_pipeline(MaxAbsScaler(), AutoencoderTransformer(2, hidden_layer_sizes=()))
    expected = scores(clone(model).fit(X), HELD)
    found = scores(clone(model).fit(sparse.csr_array(X)), sparse.csr_array(HELD))
    assert found == pytest.approx(expected, rel=1e-6)


def test_single_precision():
    expected = scores(PCA(2).fit(X), HELD)
    assert scores(PCA(2).fit(X.astype("f")), HELD.astype("f")) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("scorer", RECONSTRUCTIONS)
def test_refuses_what_cannot_decode(scorer):
    with pytest.raises(TypeError, match="GaussianMixture has no transform and no inverse_transform"):
        scorer(GaussianMixture().fit(X), X)
    with pytest.raises(TypeError, match="Normalizer has no inverse_transform"):
        scorer(Normalizer().fit(X), X)
    with pytest.raises(ValueError, match=r"gives rows of \(2,\) columns, but X has 4"):
        scorer(FunctionTransformer(lambda rows: rows[:, :2]).fit(X), X)
    with pytest.raises(ValueError, match="NaN"):
        scorer(PCA(2).fit(X), [[1.0, 2.0, np.nan, 4.0]])
    with pytest.raises(NotFittedError):
        scorer(PCA(2), X)


# -- in scikit-learn's tools -------------------------------------------------------------


def by_folds(model, scorer):
    return [scorer(clone(model).fit(ROWS[train]), ROWS[test]) for train, test in CV.split(ROWS)]


@pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)
def test_cross_validation(scorer):
    for model in (PCA(2), make_pipeline(StandardScaler(), PCA(2))):
        found = cross_val_score(model, ROWS, cv=CV, scoring=scorer)
        np.testing.assert_allclose(found, by_folds(model, scorer), rtol=1e-12)


def test_search_with_several_scorers():
    grid = {"pca__n_components": [1, 2, 3]}
    model = Pipeline([("scale", StandardScaler()), ("pca", PCA())])
    search = GridSearchCV(model, grid, scoring=SCORERS, refit="log_likelihood", cv=CV).fit(ROWS)
    for name, scorer in SCORERS.items():
        expected = [
            np.mean(by_folds(clone(model).set_params(pca__n_components=k), scorer)) for k in (1, 2, 3)
        ]
        np.testing.assert_allclose(search.cv_results_[f"mean_test_{name}"], expected, rtol=1e-12)
    best = search.cv_results_["mean_test_log_likelihood"].argmax()
    assert search.best_params_ == {"pca__n_components": [1, 2, 3][best]}


def test_validation_curve():
    _, found = validation_curve(
        *(PCA(), ROWS, None),
        param_name="n_components",
        param_range=[1, 3],
        scoring=explained_variance_scorer,
        cv=CV,
    )
    expected = [by_folds(PCA(k), explained_variance_scorer) for k in (1, 3)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_metadata_routing():
    expected = cross_validate(PCA(2), ROWS, cv=CV, scoring=SCORERS)
    with config_context(enable_metadata_routing=True):
        found = cross_validate(PCA(2), ROWS, cv=CV, scoring=SCORERS)
    for name in SCORERS:
        np.testing.assert_allclose(found[f"test_{name}"], expected[f"test_{name}"], rtol=1e-12)


@pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)
def test_pickle_and_repr(scorer):
    assert pickle.loads(pickle.dumps(scorer)) is scorer
    assert scorer.__name__ in repr(GridSearchCV(PCA(), {}, scoring=scorer))


# -- densities ----------------------------------------------------------------------------

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


def normal_of(rows):
    return multivariate_normal(rows.mean(axis=0), np.cov(rows.T, bias=True))


@pytest.mark.parametrize("name", STEPS)
def test_an_equivariant_model_has_the_same_density_behind_any_affine_steps(name):
    pipeline = make_pipeline(*STEPS[name], GaussianMixture(reg_covar=0)).fit(X)
    expected = normal_of(X).logpdf(HELD).mean()
    assert log_likelihood_scorer(pipeline, HELD) == pytest.approx(expected, rel=1e-9)


def by_finite_differences(pipeline, rows):
    """Log-density, with the determinant of what the steps make of differences: exact for affine ones."""
    steps, d = pipeline[:-1], rows.shape[1]
    jacobian = steps.transform(rows[0] + np.eye(d)) - steps.transform(np.tile(rows[0], (d, 1)))
    return pipeline[-1].score_samples(steps.transform(rows)).mean() + np.linalg.slogdet(jacobian)[1]


@pytest.mark.parametrize("name", STEPS)
def test_jacobian_is_that_of_finite_differences(name):
    pipeline = make_pipeline(*STEPS[name], KernelDensity()).fit(X)
    expected = by_finite_differences(pipeline, HELD)
    assert log_likelihood_scorer(pipeline, HELD) == pytest.approx(expected, rel=1e-10)


def test_whitening_of_a_column_without_variance():
    """PCA divides by its floor there."""
    rows = np.column_stack([X[:, :2], np.full(len(X), 2.0)])
    pipeline = make_pipeline(PCA(whiten=True), KernelDensity()).fit(rows)
    found = log_likelihood_scorer(pipeline, rows)
    assert found == pytest.approx(by_finite_differences(pipeline, rows), rel=1e-6)
    assert found > 20


def test_scaled_pca_is_a_normal_distribution_of_the_rows():
    pipeline = make_pipeline(StandardScaler(), PCA(2)).fit(X)
    scaler, pca = pipeline
    spread = np.diag(scaler.scale_)
    normal = multivariate_normal(scaler.mean_, spread @ pca.get_covariance() @ spread)
    assert log_likelihood_scorer(pipeline, HELD) == pytest.approx(normal.logpdf(HELD).mean(), rel=1e-10)


@pytest.mark.parametrize("model", [PCA(2), PCA(2, whiten=True), FactorAnalysis(2), SMALL], ids=str)
def test_without_steps_it_is_the_score_of_the_model(model):
    model = clone(model).fit(X)
    assert log_likelihood_scorer(model, HELD) == pytest.approx(model.score(HELD), rel=1e-12)
    assert log_likelihood_scorer(make_pipeline(model), HELD) == pytest.approx(model.score(HELD), rel=1e-12)


def test_kernel_density_is_per_row_and_has_bandwidths_in_the_units_of_x():
    pipeline = make_pipeline(StandardScaler(), KernelDensity(bandwidth=0.5)).fit(X)
    kernels = norm.logpdf(HELD[:, None], X[None], 0.5 * pipeline[0].scale_).sum(axis=2)
    expected = np.log(np.exp(kernels).mean(axis=1)).mean()
    assert log_likelihood_scorer(pipeline, HELD) == pytest.approx(expected, rel=1e-9)


def test_density_integrates_to_one():
    column = X[:, 3:]
    pipeline = make_pipeline(MinMaxScaler((0, 50)), KernelDensity(bandwidth=3)).fit(column)
    grid = np.linspace(-100, 200, 3001)
    density = np.exp([log_likelihood_scorer(pipeline, [[x]]) for x in grid])
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=1e-9)


def test_a_density_of_zero():
    tophat = KernelDensity(kernel="tophat").fit(X)
    assert log_likelihood_scorer(tophat, [[1e3, 0, 0, 0]]) == -np.inf


def test_a_column_without_variance_is_not_scaled():
    rows = np.column_stack([X, np.full(len(X), 3.0)])
    held = np.column_stack([HELD, np.full(len(HELD), 3.0)])
    pipeline = make_pipeline(StandardScaler(), PCA(2)).fit(rows)
    expected = pipeline.score(held) - np.log(X.std(axis=0)).sum()
    assert log_likelihood_scorer(pipeline, held) == pytest.approx(expected, rel=1e-10)


def test_searches_and_frozen_pipelines_are_opened():
    pipeline = make_pipeline(StandardScaler(), PCA(2)).fit(X)
    expected = log_likelihood_scorer(pipeline, HELD)
    search = GridSearchCV(pipeline, {"pca__n_components": [2]}, cv=2).fit(X)
    assert search.score_samples(HELD).mean() != pytest.approx(expected)  # in scaled units
    for model in (search, FrozenEstimator(pipeline), Pipeline([("all", pipeline), ("end", "passthrough")])):
        assert log_likelihood_scorer(model, HELD) == pytest.approx(expected, rel=1e-12)


def test_scaling_changes_the_autoencoders_score_by_its_jacobian():
    pipeline = make_pipeline(StandardScaler(), SMALL).fit(X)
    expected = pipeline.score(HELD) - np.log(X.std(axis=0)).sum()
    assert log_likelihood_scorer(pipeline, HELD) == pytest.approx(expected, rel=1e-9)


# -- no density ----------------------------------------------------------------------------


class Doubler(StandardScaler):
    """What the rule for StandardScaler does not know."""

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
def test_refuses_outlier_detectors(model):
    with pytest.raises(TypeError, match=f"{type(model).__name__} is an outlier score"):
        log_likelihood_scorer(clone(model).fit(X), X)
    pipeline = make_pipeline(StandardScaler(), model).fit(X)
    with pytest.raises(TypeError, match="is an outlier score"):
        log_likelihood_scorer(pipeline, X)


def test_refuses_what_has_no_likelihood():
    with pytest.raises(TypeError, match="AEOutlierDetector is an outlier score"):
        log_likelihood_scorer(AEOutlierDetector(), X)
    with pytest.raises(TypeError, match="BernoulliRBM is a pseudo-likelihood"):
        log_likelihood_scorer(BernoulliRBM(n_iter=1).fit(X > 1), X > 1)
    with pytest.raises(TypeError, match="KernelPCA has no score_samples"):
        log_likelihood_scorer(KernelPCA(2).fit(X), X)
    with pytest.raises(TypeError, match=r"step 'nmf' \(NMF\) has no score_samples"):
        log_likelihood_scorer(make_pipeline(MinMaxScaler(), clone(MODELS["nmf"])).fit(X), X)
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
def test_refuses_steps_that_it_does_not_know(step):
    pipeline = Pipeline([("first", make_pipeline(StandardScaler())), ("odd", step), ("pca", PCA(1))]).fit(X)
    with pytest.raises(TypeError, match=rf"step 'odd' \({type(step).__name__}\) is not an affine bijection"):
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
def test_refuses_steps_that_are_no_bijections(step, why):
    pipeline = make_pipeline(make_pipeline(step), PCA(1)).fit(X)
    name = type(step).__name__
    with pytest.raises(ValueError, match=rf"step 'pipeline__{name.lower()}' \({name}\) .*{why}.* outside"):
        log_likelihood_scorer(pipeline, X)


def test_refuses_steps_that_are_not_fitted():
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


@pytest.mark.parametrize("scorer", [explained_variance_scorer, neg_reconstruction_error_scorer])
def test_a_class_is_no_estimator(scorer):
    with pytest.raises(TypeError, match=r"estimator must be a fitted transformer.*got the class PCA"):
        scorer(PCA, np.ones((3, 2)))
