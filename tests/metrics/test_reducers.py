"""Comparison of reducers, against scikit-learn's cross-validation on the same folds."""

import builtins

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import load_iris
from sklearn.decomposition import NMF, PCA, FactorAnalysis, KernelPCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV, SGDClassifier
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler
from sklearn.utils import Bunch

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, VAETransformer
from sklearn_ae.metrics import (
    compare_reducers,
    explained_variance_scorer,
    log_likelihood_scorer,
    neg_reconstruction_error_scorer,
)

# Few epochs suffice for the properties tested here
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")

X, Y = load_iris(return_X_y=True)  # Sorted by class
WIDTHS = X[:, 3] + 0.01 * np.arange(150)
CV = KFold(3, shuffle=True, random_state=0)
SMALL = AutoencoderTransformer(hidden_layer_sizes=(8,), max_iter=5)
MODELS = {
    "pca": PCA(),
    "kernel": KernelPCA(kernel="rbf", gamma=0.1, fit_inverse_transform=True),
    "nmf": NMF(init="random", tol=1e-3, max_iter=1000),
    "autoencoder": SMALL,
    "pipeline": make_pipeline(StandardScaler(), PCA()),
}
SIZES = [1, 2]
MEASURES = ["reconstruction_error", "explained_variance", "log_likelihood"]
TIMES = ["fit_time", "transform_time"]


def reconstruction_scorer(estimator, X, y=None):
    return -neg_reconstruction_error_scorer(estimator, X)


def sized(model, k, seed=0):
    """Return a clone of the given size and seed."""
    model = clone(model)
    last = model[-1] if isinstance(model, Pipeline) else model
    last.set_params(n_components=k, **({"random_state": seed} if "random_state" in last.get_params() else {}))
    return model


def same(table, other, rtol=1e-12):
    """Assert that two tables agree except for the times."""
    pd.testing.assert_frame_equal(table.drop(columns=TIMES), other.drop(columns=TIMES), rtol=rtol)


@pytest.fixture(scope="module")
def table():
    return compare_reducers(MODELS, X, SIZES, Y, cv=CV, random_state=0).set_index(
        ["estimator", "n_components"]
    )


# -- measures -----------------------------------------------------------------------------


@pytest.mark.parametrize("k", SIZES)
@pytest.mark.parametrize("name", MODELS)
def test_reconstructions_and_densities_are_those_of_cross_validation(table, name, k):
    scoring = {"reconstruction_error": reconstruction_scorer, "explained_variance": explained_variance_scorer}
    if name not in ("kernel", "nmf"):
        scoring["log_likelihood"] = log_likelihood_scorer
    expected = cross_validate(sized(MODELS[name], k), X, cv=CV, scoring=scoring)
    row = table.loc[(name, k)]
    for measure in scoring:
        assert row[measure] == pytest.approx(expected[f"test_{measure}"].mean(), rel=1e-9)
        assert row[f"{measure}_std"] == pytest.approx(expected[f"test_{measure}"].std(), rel=1e-6)


@pytest.mark.parametrize("name", ["pca", "kernel", "pipeline"])
def test_accuracy_is_that_of_a_pipeline(table, name):
    model = sized(MODELS[name], 2)
    whole = make_pipeline(model, StandardScaler(), LogisticRegression(max_iter=1000))
    expected = cross_validate(whole, X, Y, cv=CV)["test_score"]
    row = table.loc[(name, 2)]
    assert (row["accuracy"], row["accuracy_std"]) == pytest.approx(
        (expected.mean(), expected.std()), rel=1e-9
    )


def test_r2_of_numbers_is_that_of_a_pipeline():
    found = compare_reducers([PCA()], X, 2, WIDTHS, cv=CV)
    expected = cross_validate(make_pipeline(PCA(2), StandardScaler(), RidgeCV()), X, WIDTHS, cv=CV)
    assert found["r2"][0] == pytest.approx(expected["test_score"].mean(), rel=1e-9)


@pytest.mark.parametrize(
    ("predictor", "y", "metric"),
    [
        (KNeighborsClassifier(3), Y, "accuracy"),
        (Ridge(), Y, "r2"),
        (Ridge(), np.column_stack([WIDTHS, X[:, 0]]), "r2"),
    ],
    ids=["classifier", "regressor", "two outputs"],
)
def test_predictor(predictor, y, metric):
    found = compare_reducers([PCA()], X, 2, y, cv=CV, predictor=predictor)
    expected = cross_validate(make_pipeline(PCA(2), predictor), X, y, cv=CV)["test_score"]
    assert found[metric][0] == pytest.approx(expected.mean(), rel=1e-9)


def test_columns(table):
    spreads = [f"{measure}_std" for measure in (*MEASURES, "accuracy")]
    assert list(table.columns) == [*MEASURES, "accuracy", *TIMES, *spreads]
    without = compare_reducers([PCA()], X, 2)
    assert list(without.columns) == ["estimator", "n_components", *MEASURES, *TIMES, *spreads[:3]]


def test_rows_in_order(table):
    assert list(table.index) == [(name, k) for name in MODELS for k in SIZES]


@pytest.mark.parametrize(
    ("y", "predictor", "cv"),
    [
        (Y, "auto", StratifiedKFold(5)),
        (Y, Ridge(), KFold(5)),
        (None, "auto", KFold(5)),
        (WIDTHS, "auto", KFold(5)),
    ],
    ids=["classes", "classes as numbers", "no y", "numbers"],
)
def test_folds_are_those_of_cross_validate(y, predictor, cv):
    """The folds matter, because iris is sorted by class."""
    found = compare_reducers([PCA()], X, 1, y, predictor=predictor)
    expected = cross_validate(PCA(1), X, y if y is Y else None, cv=cv, scoring=reconstruction_scorer)
    assert found["reconstruction_error"][0] == pytest.approx(expected["test_score"].mean(), rel=1e-9)


def test_folds_may_be_given():
    groups = np.arange(150) % 4
    splits = list(GroupKFold(2).split(X, groups=groups))
    same(compare_reducers([PCA()], X, 2, cv=splits), compare_reducers([PCA()], X, 2, cv=iter(splits)))


# -- undefined measures -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["kernel", "nmf"])
def test_no_density(table, name):
    assert np.isnan(table.loc[(name, 2)][["log_likelihood", "log_likelihood_std"]].astype(float)).all()


def test_pipelines_with_steps_that_are_not_affine_have_no_density():
    model = make_pipeline(QuantileTransformer(n_quantiles=10), PCA())
    found = compare_reducers([model], X, 2).iloc[0]
    assert np.isnan(found["log_likelihood"])
    assert found["explained_variance"] > 0


def test_singular_density():
    """scikit-learn raises LinAlgError for PCA with more components than the rank of X."""
    samples = np.column_stack([X, np.zeros((150, 2))])
    with pytest.raises(np.linalg.LinAlgError):
        PCA(5).fit(samples).score_samples(samples)
    found = compare_reducers([PCA()], samples, [3, 5])
    assert list(np.isnan(found["log_likelihood"])) == [False, True]
    assert found["explained_variance"][1] == pytest.approx(1)


def test_supervised_reducer_without_inverse():
    found = compare_reducers([LinearDiscriminantAnalysis()], X, 2, Y, cv=CV).iloc[0]
    assert np.isnan(found[MEASURES].astype(float)).all()
    model = make_pipeline(
        LinearDiscriminantAnalysis(n_components=2), StandardScaler(), LogisticRegression(max_iter=1000)
    )
    assert found["accuracy"] == pytest.approx(cross_validate(model, X, Y, cv=CV)["test_score"].mean())


def test_outlier_detectors_have_no_density():
    detector = AEOutlierDetector(SMALL.set_params(n_components=2), n_estimators=1, random_state=0)
    found = compare_reducers([detector], X, cv=[(np.arange(100), np.arange(100, 150))]).iloc[0]
    assert found["n_components"] == 2
    assert np.isnan(found["log_likelihood"])
    assert np.isfinite(found["reconstruction_error"])


# -- estimators and sizes ----------------------------------------------------------------


def test_names_of_a_list():
    models = [PCA(2), TruncatedSVD(2), make_pipeline(StandardScaler(), PCA(2)), PCA(1)]
    found = compare_reducers(models, X, cv=CV, random_state=0)
    assert list(found["estimator"]) == ["PCA", "TruncatedSVD", "PCA 2", "PCA 3"]
    assert list(found["n_components"]) == [2, 2, 2, 1]


def test_sizes_of_the_estimators_themselves():
    share = 0.95
    found = compare_reducers({"share": PCA(share), "all": PCA()}, X, cv=CV)
    sizes = [PCA(share).fit(X[train]).n_components_ for train, _ in CV.split(X)]
    assert list(found["n_components"]) == [np.mean(sizes), 4]
    assert found["explained_variance"][1] == pytest.approx(1)


def test_size_of_the_step_that_has_one():
    nested = Pipeline([("scale", StandardScaler()), ("rest", make_pipeline(None, PCA(), StandardScaler()))])
    plain = make_pipeline(StandardScaler(), PCA())
    a, b = (compare_reducers({"it": model}, X, SIZES, Y) for model in (nested, plain))
    assert a["explained_variance"].tolist() == pytest.approx(b["explained_variance"].tolist())
    assert a["accuracy"].tolist() == b["accuracy"].tolist()


class Prior(BaseEstimator):
    """Option with a parameter of the same name, which is not the size of the code."""

    def __init__(self, n_components=7):
        self.n_components = n_components


class First(TransformerMixin, BaseEstimator):
    """Model that keeps the first features, and records each fit."""

    fits = []

    def __init__(self, n_components=1, prior=None, random_state=None):
        self.n_components = n_components
        self.prior = prior
        self.random_state = random_state

    def fit(self, X, y=None):
        self.fits.append(Bunch(**self.get_params(), n_samples=len(X)))
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return X[:, : self.n_components]

    def inverse_transform(self, X):
        return np.pad(X, ((0, 0), (0, self.n_features_in_ - X.shape[1])))


def test_one_fit_for_each_size_and_fold(monkeypatch):
    monkeypatch.setattr(First, "fits", [])
    found = compare_reducers([First(prior=Prior())], X, [1, 3], Y, cv=CV, random_state=5)
    assert sorted((fit.n_components, fit.n_samples) for fit in First.fits) == [(1, 100)] * 3 + [(3, 100)] * 3
    assert {(fit.random_state, fit.prior__n_components) for fit in First.fits} == {(5, 7)}
    expected = [np.square(X[:, k:]).sum(axis=1).mean() for k in (1, 3)]  # folds of equal size
    np.testing.assert_allclose(found["reconstruction_error"], expected, rtol=1e-12)


def test_parameters_are_not_modified():
    models = {"pca": PCA(3), "pipeline": make_pipeline(StandardScaler(), NMF(3)), "autoencoder": clone(SMALL)}
    samples, predictor = X.copy(), LogisticRegression(max_iter=1000)
    before = {name: (repr(model), set(vars(model))) for name, model in models.items()}
    steps = [set(vars(step)) for step in models["pipeline"]]
    del models["pipeline"].steps[0]  # NMF needs nonnegative input
    before["pipeline"] = (repr(models["pipeline"]), set(vars(models["pipeline"])))
    compare_reducers(models, samples, 2, Y, cv=2, predictor=predictor, random_state=0)
    assert {name: (repr(model), set(vars(model))) for name, model in models.items()} == before
    assert set(vars(models["pipeline"][-1])) == steps[1]
    assert not hasattr(predictor, "coef_")
    np.testing.assert_array_equal(samples, X)


# -- seeds, processes and kinds of input ------------------------------------------------------


def test_random_state(unchanged_globals):
    models = [clone(SMALL).set_params(early_stopping=False), NMF(init="random", tol=1e-1, max_iter=1000)]
    options = {"n_components": 2, "cv": 2}
    first, again, other = (
        compare_reducers(models, X[::3], random_state=seed, **options) for seed in (3, 3, 4)
    )
    same(first, again)
    assert (first["reconstruction_error"] != other["reconstruction_error"]).all()
    drawn = np.random.RandomState(3), np.random.RandomState(3)
    same(*(compare_reducers(models, X[::3], random_state=rng, **options) for rng in drawn))
    compare_reducers(models, X[::3], **options)
    fixed = [model.set_params(random_state=8) for model in models]
    same(*(compare_reducers(fixed, X[::3], random_state=seed, **options) for seed in (3, 4)))


def test_folds_are_independent_of_each_other():
    """With a warm start they would not be, if the same object were fitted twice."""
    model = clone(SMALL).set_params(early_stopping=False, alpha=0.0)
    predictor = SGDClassifier(max_iter=2, tol=None)
    cold = compare_reducers([model], X[::3], 2, Y[::3], cv=CV, predictor=predictor, random_state=0)
    model.set_params(warm_start=True), predictor.set_params(warm_start=True)
    same(compare_reducers([model], X[::3], 2, Y[::3], cv=CV, predictor=predictor, random_state=0), cold)


def test_threads(table):
    with parallel_config(backend="threading"):
        found = compare_reducers(MODELS, X, SIZES, Y, cv=CV, random_state=0, n_jobs=2)
    same(found, table.reset_index(), rtol=1e-9)


@pytest.mark.slow
def test_processes(table):
    found = compare_reducers(MODELS, X, SIZES, Y, cv=CV, random_state=0, n_jobs=2)
    same(found, table.reset_index(), rtol=1e-9)


def test_data_frames_and_lists():
    models = [PCA(), AutoencoderTransformer(hidden_layer_sizes=())]
    expected = compare_reducers(models, X, 2, Y, cv=CV, random_state=0)
    frame, labels = pd.DataFrame(X, columns=list("abcd")), pd.Series(Y).map({0: "a", 1: "b", 2: "c"})
    same(compare_reducers(models, frame, 2, labels, cv=CV, random_state=0), expected)
    same(compare_reducers(models, X.tolist(), 2, Y.tolist(), cv=CV, random_state=0), expected)


@pytest.mark.parametrize("make", [sparse.csr_array, sparse.csc_matrix, sparse.coo_array])
def test_sparse_matrices(make):
    models = [TruncatedSVD(), AutoencoderTransformer(hidden_layer_sizes=())]
    expected = compare_reducers(models, X, 2, Y, cv=CV, random_state=0)
    same(compare_reducers(models, make(X), 2, Y, cv=CV, random_state=0), expected, rtol=1e-6)


def without_pandas(name, *args, importing=builtins.__import__, **options):
    if name == "pandas":
        raise ImportError(name)
    return importing(name, *args, **options)


def test_without_pandas(monkeypatch):
    expected = compare_reducers([PCA()], X, SIZES, Y, cv=CV)
    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", without_pandas)
        found = compare_reducers([PCA()], X, SIZES, Y, cv=CV)
    assert isinstance(found, dict)
    assert list(found) == list(expected.columns)
    same(pd.DataFrame(found), expected)


# -- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("models", "sizes", "message"),
    [
        ({"big": PCA()}, [2, 9], r"big, n_components=9 \(120 training samples\): .*n_components=9 must be"),
        ([PCA(9)], None, r"PCA \(120 training samples\): "),
        ([KernelPCA()], 2, r"KernelPCA, n_components=2 .*fit_inverse_transform"),
        ([StandardScaler()], 2, "'StandardScaler' has none"),
        (
            {"two": make_pipeline(PCA(), PCA())},
            2,
            "'two' has several: pca-1__n_components, pca-2__n_components",
        ),
        ([PCA()], 0, "n_components must be a positive integer"),
        ([PCA()], [0.9], "n_components must be a positive integer"),
        ([PCA()], [], "n_components must be a positive integer"),
    ],
)
def test_rejects_sizes(models, sizes, message):
    with pytest.raises(ValueError, match=message):
        compare_reducers(models, X, sizes)


@pytest.mark.parametrize(
    ("model", "kind"),
    [(FactorAnalysis(2), TypeError), (KernelPCA(2, fit_inverse_transform=True), NotImplementedError)],
    ids=["type", "not implemented"],
)
def test_other_errors_name_the_estimator(model, kind):
    with pytest.raises(kind, match=r"it \(2 training samples\): .*[Ss]parse"):
        compare_reducers({"it": model}, sparse.csr_array(X), cv=[([0, 1], [2, 3])])


@pytest.mark.parametrize("models", [PCA(), [], {}, None])
def test_rejects_anything_but_a_collection(models):
    with pytest.raises(TypeError, match="estimators must be a dict"):
        compare_reducers(models, X)


@pytest.mark.parametrize("model", [PCA, LogisticRegression(), "pca"])
def test_rejects_anything_but_transformers(model):
    with pytest.raises(TypeError, match="estimators must be transformers"):
        compare_reducers({"it": model}, X)


def test_rejects_predictors():
    with pytest.raises(ValueError, match="needs y"):
        compare_reducers([PCA()], X, 2, predictor=Ridge())
    with pytest.raises(TypeError, match="predictor must be 'auto', a classifier or a regressor"):
        compare_reducers([PCA()], X, 2, Y, predictor=PCA())
    with pytest.raises(ValueError, match="multilabel-indicator"):
        compare_reducers([PCA()], X, 2, np.eye(3, dtype=int)[Y])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        compare_reducers([PCA()], X, 2, Y[:-1])


def test_variational_autoencoder_has_one_size():
    found = compare_reducers([VAETransformer(hidden_layer_sizes=(), prior="mixture", max_iter=3)], X, 2, cv=2)
    assert found["n_components"][0] == 2
    assert np.isfinite(found["log_likelihood"][0])


def test_names_are_not_predictors():
    X = np.random.RandomState(0).normal(size=(20, 3))
    with pytest.raises(TypeError, match="a classifier or a regressor; got 'logistic'"):
        compare_reducers([PCA(1)], X, y=X[:, 0] > 0, predictor="logistic")


def test_groups_are_in_one_fold_each():
    groups = np.random.RandomState(0).randint(6, size=len(X))
    splits = list(GroupKFold(3).split(X, groups=groups))
    found, expected = (
        compare_reducers([PCA()], X, [1, 2], cv=cv, groups=given).drop(columns=["fit_time", "transform_time"])
        for cv, given in ((GroupKFold(3), groups), (splits, None))
    )
    pd.testing.assert_frame_equal(found, expected)
    with pytest.raises(ValueError, match=r"cv=GroupKFold\(.*needs groups: pass"):
        compare_reducers([PCA()], X, cv=GroupKFold(3))
