"""Properties shared by all displays."""

import importlib
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from inspection.figures import drawn, texts_of
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklearn_ae.inspection
from sklearn_ae import AEOutlierDetector, AutoencoderTransformer
from sklearn_ae.inspection import (
    ComponentContributionsDisplay,
    ExplainedVarianceDisplay,
    InterpolationDisplay,
    LatentGridDisplay,
    LatentSpaceDisplay,
    LossCurveDisplay,
    OutlierScoreDisplay,
    ReconstructionDisplay,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)

# Displays of any transformer, as functions of the model and the axes
OF_TRANSFORMERS = {
    "reconstruction": lambda model, ax: ReconstructionDisplay.from_estimator(
        model, X, max_samples=3, residuals=True, ax=ax
    ),
    "explained variance": lambda model, ax: ExplainedVarianceDisplay.from_estimator(model, X, ax=ax),
    "plane": lambda model, ax: LatentSpaceDisplay.from_estimator(model, X, Y, components=(0, 1), ax=ax),
    "line": lambda model, ax: LatentSpaceDisplay.from_estimator(model, X, Y, components=0, ax=ax),
    "matrix": lambda model, ax: LatentSpaceDisplay.from_estimator(model, X, Y, ax=ax),
    "heat maps": lambda model, ax: LatentGridDisplay.from_estimator(
        model, X, n_steps=3, features=[0, 3], ax=ax
    ),
    "images": lambda model, ax: LatentGridDisplay.from_estimator(
        model, X, n_steps=3, image_shape=(2, 2), ax=ax
    ),
    "curves": lambda model, ax: LatentGridDisplay.from_estimator(model, X, n_steps=3, kind="curve", ax=ax),
    "contributions": lambda model, ax: ComponentContributionsDisplay.from_estimator(model, X, ax=ax),
    "images of contributions": lambda model, ax: ComponentContributionsDisplay.from_estimator(
        model, X, image_shape=(2, 2), ax=ax
    ),
    "curves of contributions": lambda model, ax: ComponentContributionsDisplay.from_estimator(
        model, X, kind="curve", ax=ax
    ),
    "walks": lambda model, ax: InterpolationDisplay.from_estimator(model, X[:2], X[60:62], n_steps=3, ax=ax),
}
NAMES = (*OF_TRANSFORMERS, "loss curve", "outlier score")
NAMED_AXES = {
    "Component 1",
    "Position between start and end",
    "Number of components",
    "Epoch",
    "Score (lower is more abnormal)",
    "Difference\n(units of X)",
    "sd of the feature\nper sd of the component",
}


@pytest.fixture(scope="module")
def model():
    return make_pipeline(StandardScaler(), PCA(3)).fit(X)


@pytest.fixture(scope="module")
def makers(model, trained, detector, wine):
    """Functions that create each display on the given axes."""
    makers = {name: lambda ax, make=make: make(model, ax) for name, make in OF_TRANSFORMERS.items()}
    return makers | {
        "loss curve": lambda ax: LossCurveDisplay.from_estimator(trained, ax=ax),
        "outlier score": lambda ax: OutlierScoreDisplay.from_estimator(detector, wine, max_features=3, ax=ax),
    }


@pytest.mark.slow
@pytest.mark.parametrize("layout", [None, "constrained"])
@pytest.mark.parametrize("name", NAMES)
def test_draws_into_given_axes(makers, name, layout):
    figure, (left, right) = plt.subplots(1, 2, layout=layout)
    display = drawn(makers[name](right))
    assert plt.get_fignums() == [figure.number]
    assert display.figure_ is figure
    assert display.ax_.get_figure(root=True) is figure
    assert not left.has_data()
    assert display.ax_ is right or not right.axison  # several panels replace the axes
    # neither the axes nor, apart from a small overlap, their labels reach into the left half
    edge = left.get_window_extent().x1
    assert all(ax.get_window_extent().x0 >= edge for ax in np.ravel(getattr(display, "axes_", display.ax_)))
    assert display.ax_.get_tightbbox().x0 > figure.bbox.width / 2 - 60


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_creates_a_figure_and_plots_again(makers, name):
    other, _ = plt.subplots()
    display = drawn(makers[name](None))
    first = display.figure_
    contents = [(type(artist), artist.get_zorder()) for artist in display.ax_.get_children()]
    data = [line.get_ydata() for line in display.ax_.get_lines()]
    assert first is not other
    assert display.ax_.get_figure(root=True) is first
    found = texts_of(first)
    assert found & NAMED_AXES
    if name in OF_TRANSFORMERS:
        assert any("PCA" in text for text in found)
    assert display.plot() is display
    assert display.figure_ is not first
    assert display.ax_.get_figure(root=True) is display.figure_
    if name not in ("reconstruction", "outlier score"):  # their options are not stored
        again = [(type(artist), artist.get_zorder()) for artist in display.ax_.get_children()]
        assert again == contents
    for line, before in zip(display.ax_.get_lines(), data, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), before)


@pytest.mark.parametrize("name", NAMES)
def test_missing_matplotlib_is_named(makers, name, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"Display needs matplotlib: pip install matplotlib"):
        makers[name](None)


def test_stored_displays_need_matplotlib_only_to_plot(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    display = LatentSpaceDisplay(codes=X[:, :2])
    with pytest.raises(ImportError, match="LatentSpaceDisplay needs matplotlib"):
        display.plot()


def test_imports_without_matplotlib(monkeypatch):
    monkeypatch.setattr(sklearn_ae, "inspection", sklearn_ae.inspection)  # restored afterwards
    for name in list(sys.modules):
        if name.split(".")[0] == "matplotlib":
            monkeypatch.setitem(sys.modules, name, None)
        elif name.startswith("sklearn_ae.inspection"):
            monkeypatch.delitem(sys.modules, name)
    assert "LatentSpaceDisplay" in importlib.import_module("sklearn_ae.inspection").__all__


@pytest.mark.parametrize("name", OF_TRANSFORMERS)
def test_unfitted_models_are_named(name):
    with pytest.raises(NotFittedError, match="PCA"):
        OF_TRANSFORMERS[name](PCA(3), None)
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    "name", ["reconstruction", "explained variance", "plane", "curves", "contributions", "walks"]
)
def test_accepts_transformers_that_output_data_frames(name):
    plain = OF_TRANSFORMERS[name](PCA(3).fit(X), None)
    framed = OF_TRANSFORMERS[name](PCA(3).fit(X).set_output(transform="pandas"), None)
    attributes = [
        name
        for name in ("reconstructions", "curves", "codes", "samples", "walks", "contributions")
        if hasattr(plain, name)
    ]
    assert attributes
    for attribute in attributes:
        np.testing.assert_equal(getattr(framed, attribute), getattr(plain, attribute))


@pytest.mark.parametrize("name", ["$x_{$", "cost in $, price in $", "$"])
def test_names_are_shown_literally(name):
    """Between dollar signs matplotlib reads mathematics, and fails if it is none."""
    names, classes = [name, "b", "c", "d"], np.where(Y == 0, name, "other")
    model = PCA(2).fit(X)
    detector = AEOutlierDetector(AutoencoderTransformer(2, hidden_layer_sizes=()), random_state=0).fit(X)
    displays = [
        ReconstructionDisplay.from_estimator({name: model}, X[:5], feature_names=names),
        LatentSpaceDisplay.from_estimator(model, X, classes),
        LatentGridDisplay.from_estimator(model, X, feature_names=names),
        InterpolationDisplay.from_estimator(model, X[:2], X[2:4], feature_names=names, name=name),
        ExplainedVarianceDisplay.from_estimator({name: model}, X),
        ComponentContributionsDisplay.from_estimator(model, X, feature_names=names, name=name),
        OutlierScoreDisplay.from_estimator(detector, X, classes, feature_names=names),
    ]
    for display in displays:
        shown = texts_of(drawn(display).figure_)
        assert not any("$" in text.replace(r"\$", "") for text in shown)
        assert any(name in " ".join(text.replace(r"\$", "$").split()) for text in shown)
