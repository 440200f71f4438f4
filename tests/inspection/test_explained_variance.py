"""Explained variance, compared with the ratios of PCA and with models of each size."""

import numpy as np
import pytest
from inspection.figures import drawn, legend_of
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.inspection import ExplainedVarianceDisplay
from sklearn_ae.metrics import explained_variance_scorer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

IRIS = load_iris(as_frame=True).data


def test_line_of_pca_is_its_cumulative_ratio(digits):
    pca = PCA(12).fit(digits)
    display = drawn(ExplainedVarianceDisplay.from_estimator(pca, digits))
    sizes, ratios = display.ax_.get_lines()[0].get_data()
    np.testing.assert_array_equal(sizes, np.arange(1, 13))
    np.testing.assert_allclose(ratios, np.cumsum(pca.explained_variance_ratio_))
    assert legend_of(display.ax_) == ["PCA"]
    assert display.ax_.get_xlabel() == "Number of components"


NESTED = {
    "whitened": lambda k: PCA(k, whiten=True),
    "scaled": lambda k: make_pipeline(StandardScaler(), PCA(k)),
    "svd": lambda k: TruncatedSVD(k, algorithm="arpack", random_state=0),
    "linear": lambda k: make_pipeline(StandardScaler(), AutoencoderTransformer(k, hidden_layer_sizes=())),
}


@pytest.mark.parametrize("make", NESTED.values(), ids=NESTED)
def test_leading_components_are_the_model_of_that_size(digits_split, make):
    train, test = digits_split
    display = ExplainedVarianceDisplay.from_estimator(make(6).fit(train), test, n_components=[2, 4, 6, 8])
    sizes, ratios = display.ax_.get_lines()[0].get_data()
    np.testing.assert_array_equal(sizes, [2, 4, 6])
    expected = [explained_variance_scorer(make(k).fit(train), test) for k in sizes]
    np.testing.assert_allclose(ratios, expected, atol=1e-6)


def test_ordered_models_are_truncated_and_others_are_points(curve):
    options = {"hidden_layer_sizes": (4,), "max_iter": 2, "early_stopping": False, "random_state": 0}
    ordered = AutoencoderTransformer(3, bottleneck="ordered", **options).fit(curve)
    plain = [AutoencoderTransformer(k, **options).fit(curve) for k in (3, 1)]
    models = {"Ordered": ordered, "One": plain[0], "Several": plain}
    display = drawn(ExplainedVarianceDisplay.from_estimator(models, curve))
    expected = {
        "Ordered": ([1, 2, 3], [explained_variance_scorer(ordered.truncate(k), curve) for k in (1, 2, 3)]),
        "One": ([3], [explained_variance_scorer(plain[0], curve)]),
        "Several": ([1, 3], [explained_variance_scorer(model, curve) for model in plain[::-1]]),
    }
    assert legend_of(display.ax_) == list(expected)
    for line, (sizes, ratios) in zip(display.lines_, expected.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), sizes)
        np.testing.assert_allclose(line.get_ydata(), ratios, rtol=1e-6)
    assert [line.get_linestyle() for line in display.lines_] == ["-", "None", "-"]


def test_a_number_is_the_largest_size_and_many_sizes_are_thinned(digits):
    pca = PCA().fit(digits[:200])
    some = ExplainedVarianceDisplay.from_estimator(pca, digits[:200], n_components=3)
    np.testing.assert_array_equal(some.lines_[0].get_xdata(), [1, 2, 3])
    sizes = ExplainedVarianceDisplay.from_estimator(pca, digits[:200]).lines_[0].get_xdata()
    assert len(sizes) == 50
    assert sizes[0] == 1
    assert sizes[-1] == 64


def test_given_ratios_are_drawn():
    curves = {"A": ([1, 2, 4], [0.1, 0.2, 0.3]), "B": ([3], [-0.5])}
    display = drawn(ExplainedVarianceDisplay.from_predictions(curves))
    for line, pair in zip(display.lines_, curves.values(), strict=True):
        np.testing.assert_array_equal(line.get_data(), pair)
    assert legend_of(display.ax_) == ["A", "B"]


@pytest.mark.parametrize("n_components", [0, 1.5, "all", [], [[1]]], ids=str)
def test_n_components_must_be_positive_integers(n_components):
    with pytest.raises(ValueError, match="n_components must be a positive integer"):
        ExplainedVarianceDisplay.from_estimator(PCA(2).fit(IRIS), IRIS, n_components=n_components)


def test_errors_name_the_parameter():
    with pytest.raises(ValueError, match="X has no variance"):
        ExplainedVarianceDisplay.from_estimator(PCA(2).fit(IRIS), IRIS.iloc[[0, 0]])
    with pytest.raises(ValueError, match=r"curves\['A'\] must be a pair"):
        ExplainedVarianceDisplay.from_predictions({"A": ([1, 2], [0.1])})
    with pytest.raises(ValueError, match="curves must be a dict"):
        ExplainedVarianceDisplay.from_predictions({})


def test_refuses_estimators_that_cannot_decode():
    with pytest.raises(TypeError, match=r"estimators .*IsolationForest"):
        ExplainedVarianceDisplay.from_estimator(
            IsolationForest(n_estimators=1, random_state=0).fit(IRIS.to_numpy()), IRIS
        )
    with pytest.raises(TypeError, match=r"estimators .*the class PCA"):
        ExplainedVarianceDisplay.from_estimator(PCA, IRIS)
