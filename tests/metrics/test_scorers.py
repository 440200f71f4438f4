"""Scorers, against sums by hand and scikit-learn's own searches."""

import math
import pickle
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import load_iris
from sklearn.decomposition import NMF, PCA, KernelPCA, TruncatedSVD
from sklearn.exceptions import NotFittedError, UndefinedMetricWarning
from sklearn.metrics import r2_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, cross_validate, validation_curve
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    Normalizer,
    StandardScaler,
)

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.metrics import (
    _scorers,
    explained_variance_scorer,
    log_likelihood_scorer,
    neg_reconstruction_error_scorer,
)

# Few epochs suffice for the properties tested here
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")

IRIS = load_iris().data[np.random.RandomState(0).permutation(150)]
X, HELD_OUT = IRIS[:100] * [1, 5, 0.3, 20], IRIS[100:] * [1, 5, 0.3, 20]  # Features of different scales
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


def sums(model, X):
    """Return SSE and SST."""
    X_hat = model.inverse_transform(model.transform(X))
    return ((X - X_hat) ** 2).sum(), ((X - X.mean(axis=0)) ** 2).sum()


def scores(model, X):
    return [scorer(model, X) for scorer in SCORERS.values()]


# -- reconstruction ----------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_reconstruction_scores_by_hand(name):
    model = clone(MODELS[name]).fit(X)
    sse, sst = sums(model, HELD_OUT)
    assert explained_variance_scorer(model, HELD_OUT) == pytest.approx(1 - sse / sst, rel=1e-9)
    assert neg_reconstruction_error_scorer(model, HELD_OUT) == pytest.approx(-sse / len(HELD_OUT), rel=1e-9)


def test_explained_variance_is_r2_weighted_by_variance():
    model = PCA(2).fit(X)
    X_hat = model.inverse_transform(model.transform(HELD_OUT))
    r2 = r2_score(HELD_OUT, X_hat, multioutput="variance_weighted")
    assert explained_variance_scorer(model, HELD_OUT) == pytest.approx(r2, rel=1e-12)


def test_explained_variance_of_the_training_data_is_that_of_pca():
    model = PCA(2).fit(X)
    share = model.explained_variance_ratio_.sum()
    assert explained_variance_scorer(model, X) == pytest.approx(share, rel=1e-12)


@pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)
def test_order_of_the_samples_does_not_matter(scorer):
    model = PCA(2).fit(X)
    assert scorer(model, HELD_OUT[::-1]) == pytest.approx(scorer(model, HELD_OUT), rel=1e-12)


@pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)
def test_y_is_ignored(scorer):
    model = PCA(2).fit(X)
    assert scorer(model, HELD_OUT, np.arange(len(HELD_OUT))) == scorer(model, HELD_OUT)


def test_units_of_x():
    """A factor c keeps the share, multiplies the error by c^2, and subtracts d log c nats."""
    c, d = 7.0, X.shape[1]
    share, error, nats = scores(PCA(2).fit(X), HELD_OUT)
    scaled = scores(PCA(2).fit(c * X + 3), c * HELD_OUT + 3)
    assert scaled == pytest.approx([share, c**2 * error, nats - d * math.log(c)], rel=1e-9)


def test_scores_far_from_the_origin():
    model = PCA(2, svd_solver="full")  # Other solvers themselves lose precision
    near = [scorer(model.fit(X), HELD_OUT) for scorer in RECONSTRUCTIONS]
    far = [scorer(model.fit(X + 1e7), HELD_OUT + 1e7) for scorer in RECONSTRUCTIONS]
    assert far == pytest.approx(near, rel=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_constant_feature_does_not_matter(value):
    def with_constant(X):
        return np.column_stack([X, np.full(len(X), value)])

    for scorer in RECONSTRUCTIONS:
        expected = scorer(PCA(2).fit(X), HELD_OUT)
        assert scorer(PCA(2).fit(with_constant(X)), with_constant(HELD_OUT)) == pytest.approx(
            expected, rel=1e-9
        )


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_all_features_constant_as_in_r2(shift):
    constant = np.full((5, 3), 0.1)
    model = FunctionTransformer(inverse_func=lambda codes: codes + shift).fit(constant)
    expected = r2_score(constant, constant + shift)
    assert expected == 1 - shift
    assert explained_variance_scorer(model, constant) == expected


def test_rounding_error_of_the_mean_is_not_variance():
    constant = np.full((10, 2), 0.1)
    assert (constant.mean(axis=0) != 0.1).all()
    model = FunctionTransformer(inverse_func=lambda codes: codes + 1).fit(constant)
    assert explained_variance_scorer(model, constant) == 0


def test_one_sample_as_in_r2():
    with pytest.warns(UndefinedMetricWarning, match="at least two"):
        assert math.isnan(explained_variance_scorer(PCA(2).fit(X), HELD_OUT[:1]))
    with pytest.warns(UndefinedMetricWarning):
        assert math.isnan(r2_score([[1.0, 2.0]], [[1.0, 2.5]]))


def test_reconstructions_that_are_not_finite():
    def give(value):
        return FunctionTransformer(inverse_func=lambda codes: np.full_like(codes, value)).fit(X)

    assert explained_variance_scorer(give(np.inf), X) == -np.inf
    assert neg_reconstruction_error_scorer(give(np.inf), X) == -np.inf
    assert math.isnan(explained_variance_scorer(give(np.nan), X))


class Recorder(TransformerMixin, BaseEstimator):
    """Identity that records how many samples it decodes at a time."""

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
    """Samples are decoded in dense blocks, and encoded together."""
    monkeypatch.setattr(_scorers, "sample_blocks", partial(_scorers.sample_blocks, n_values=12))
    model = Recorder().fit(X)
    assert explained_variance_scorer(model, make(HELD_OUT)) == 1
    assert (max(model.decoded_), sum(model.decoded_)) == (3, len(HELD_OUT))
    nmf = clone(MODELS["nmf"]).fit(X)
    sse, sst = sums(nmf, HELD_OUT)
    assert explained_variance_scorer(nmf, make(HELD_OUT)) == pytest.approx(1 - sse / sst, rel=1e-6)


# -- kinds of input --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pca", "autoencoder", "pipeline"])
def test_data_frames_keep_their_feature_names(name):
    """Without them, a model that was fitted with names would warn."""
    expected = scores(clone(MODELS[name]).fit(X), HELD_OUT)
    names = list("abcd")
    model = clone(MODELS[name]).fit(pd.DataFrame(X, columns=names))
    assert scores(model, pd.DataFrame(HELD_OUT, columns=names)) == pytest.approx(expected, rel=1e-9)


def test_output_as_data_frames():
    model = make_pipeline(StandardScaler(), PCA(2)).fit(X)
    expected = scores(model, HELD_OUT)
    frames = make_pipeline(StandardScaler(), PCA(2)).set_output(transform="pandas").fit(X)
    assert scores(frames, HELD_OUT) == pytest.approx(expected, rel=1e-12)


def test_sparse_matrices():
    model = make_pipeline(MaxAbsScaler(), AutoencoderTransformer(2, hidden_layer_sizes=()))
    expected = scores(clone(model).fit(X), HELD_OUT)
    found = scores(clone(model).fit(sparse.csr_array(X)), sparse.csr_array(HELD_OUT))
    assert found == pytest.approx(expected, rel=1e-6)


def test_single_precision():
    expected = scores(PCA(2).fit(X), HELD_OUT)
    assert scores(PCA(2).fit(X.astype("f")), HELD_OUT.astype("f")) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("scorer", RECONSTRUCTIONS)
def test_rejects_models_that_cannot_decode(scorer):
    with pytest.raises(TypeError, match="GaussianMixture has no transform and no inverse_transform"):
        scorer(GaussianMixture().fit(X), X)
    with pytest.raises(TypeError, match="Normalizer has no inverse_transform"):
        scorer(Normalizer().fit(X), X)
    with pytest.raises(ValueError, match=r"samples of shape \(2,\), but those of X have shape \(4,\)"):
        scorer(FunctionTransformer(lambda X: X[:, :2]).fit(X), X)
    with pytest.raises(ValueError, match="NaN"):
        scorer(PCA(2).fit(X), [[1.0, 2.0, np.nan, 4.0]])
    with pytest.raises(NotFittedError):
        scorer(PCA(2), X)


# -- in scikit-learn's tools -------------------------------------------------------------


def by_folds(model, scorer):
    return [scorer(clone(model).fit(IRIS[train]), IRIS[test]) for train, test in CV.split(IRIS)]


@pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)
def test_cross_validation(scorer):
    for model in (PCA(2), make_pipeline(StandardScaler(), PCA(2))):
        found = cross_val_score(model, IRIS, cv=CV, scoring=scorer)
        np.testing.assert_allclose(found, by_folds(model, scorer), rtol=1e-12)


def test_search_with_several_scorers():
    grid = {"pca__n_components": [1, 2, 3]}
    model = Pipeline([("scale", StandardScaler()), ("pca", PCA())])
    search = GridSearchCV(model, grid, scoring=SCORERS, refit="log_likelihood", cv=CV).fit(IRIS)
    for name, scorer in SCORERS.items():
        expected = [
            np.mean(by_folds(clone(model).set_params(pca__n_components=k), scorer)) for k in (1, 2, 3)
        ]
        np.testing.assert_allclose(search.cv_results_[f"mean_test_{name}"], expected, rtol=1e-12)
    best = search.cv_results_["mean_test_log_likelihood"].argmax()
    assert search.best_params_ == {"pca__n_components": [1, 2, 3][best]}


def test_validation_curve():
    _, found = validation_curve(
        *(PCA(), IRIS, None),
        param_name="n_components",
        param_range=[1, 3],
        scoring=explained_variance_scorer,
        cv=CV,
    )
    expected = [by_folds(PCA(k), explained_variance_scorer) for k in (1, 3)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_metadata_routing():
    expected = cross_validate(PCA(2), IRIS, cv=CV, scoring=SCORERS)
    with config_context(enable_metadata_routing=True):
        found = cross_validate(PCA(2), IRIS, cv=CV, scoring=SCORERS)
    for name in SCORERS:
        np.testing.assert_allclose(found[f"test_{name}"], expected[f"test_{name}"], rtol=1e-12)


@pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)
def test_pickle_and_repr(scorer):
    assert pickle.loads(pickle.dumps(scorer)) is scorer
    assert scorer.__name__ in repr(GridSearchCV(PCA(), {}, scoring=scorer))


@pytest.mark.parametrize("scorer", [explained_variance_scorer, neg_reconstruction_error_scorer])
def test_classes_are_not_estimators(scorer):
    with pytest.raises(TypeError, match=r"estimator must be a fitted transformer.*got the class PCA"):
        scorer(PCA, np.ones((3, 2)))
