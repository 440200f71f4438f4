"""Properties shared by all displays."""

import importlib
import inspect
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from inspection.figures import drawn, texts_of
from matplotlib.colors import LogNorm, same_color
from matplotlib.patches import Polygon
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
    TraversalDisplay,
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
    "traversals": lambda model, ax: TraversalDisplay.from_estimator(model, X, n_steps=3, ax=ax),
    "walks": lambda model, ax: InterpolationDisplay.from_estimator(model, X[:2], X[60:62], n_steps=3, ax=ax),
}
NAMES = (*OF_TRANSFORMERS, "loss curve", "outlier score")
NAMED_AXES = {
    "Component 1",
    "Position between start and end",
    "Quantile of the component",
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
    "name",
    ["reconstruction", "explained variance", "plane", "curves", "contributions", "walks", "traversals"],
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
        TraversalDisplay.from_estimator(model, X, feature_names=names, name=name),
        ExplainedVarianceDisplay.from_estimator({name: model}, X),
        ComponentContributionsDisplay.from_estimator(model, X, feature_names=names, name=name),
        OutlierScoreDisplay.from_estimator(detector, X, classes, feature_names=names),
    ]
    for display in displays:
        shown = texts_of(drawn(display).figure_)
        assert not any("$" in text.replace(r"\$", "") for text in shown)
        assert any(name in " ".join(text.replace(r"\$", "$").split()) for text in shown)


# -- titles and styles -------------------------------------------------------------------

STYLES = {
    "reconstruction": ["im_kwargs", "line_kwargs"],
    "explained variance": ["line_kwargs"],
    "latent space": ["scatter_kwargs", "hist_kwargs"],
    "latent grid": ["im_kwargs", "line_kwargs"],
    "interpolation": ["im_kwargs", "line_kwargs"],
    "traversal": ["im_kwargs", "line_kwargs"],
    "component contributions": ["im_kwargs", "line_kwargs"],
    "loss curve": ["line_kwargs"],
    "outlier score": ["hist_kwargs", "bar_kwargs"],
}


@pytest.fixture(scope="module")
def stored(model, detector, wine):
    """Displays of all classes."""
    return {
        "reconstruction": ReconstructionDisplay.from_estimator(model, X),
        "explained variance": ExplainedVarianceDisplay.from_estimator(model, X),
        "latent space": LatentSpaceDisplay.from_estimator(model, X),
        "latent grid": LatentGridDisplay.from_estimator(model, X, n_steps=3),
        "interpolation": InterpolationDisplay.from_estimator(model, X[:2], X[60:62], n_steps=3),
        "traversal": TraversalDisplay.from_estimator(model, X, n_steps=3),
        "component contributions": ComponentContributionsDisplay.from_estimator(model, X),
        "loss curve": LossCurveDisplay(
            [3.0, 2.0], [3.0, 2.5], terms={"Term": ([1.0, 2.0], None)}, name="Model"
        ).plot(),
        "outlier score": OutlierScoreDisplay.from_estimator(detector, wine),
    }


def test_every_display_is_tested_here(stored):
    assert {type(display).__name__ for display in stored.values()} == {
        name for name in sklearn_ae.inspection.__all__ if name.endswith("Display")
    }


@pytest.mark.parametrize("name", STYLES)
def test_all_ways_to_plot_take_a_title_and_styles(stored, name):
    cls = type(stored[name])
    ways = [getattr(cls, way) for way in ("from_estimator", "from_predictions", "plot") if hasattr(cls, way)]
    for way in ways:
        parameters = inspect.signature(way).parameters
        for option in ("title", *STYLES[name]):
            assert parameters[option].kind is inspect.Parameter.KEYWORD_ONLY
            assert parameters[option].default is None
            assert f"{option} : " in way.__doc__


@pytest.mark.parametrize("name", STYLES)
def test_a_title_replaces_the_default(stored, name):
    before = texts_of(stored[name].figure_)
    display = drawn(stored[name].plot(title="My title"))
    found = texts_of(display.figure_)
    assert "My title" in found
    assert len(before - found) == 1


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name, options in STYLES.items() for option in options]
)
def test_matplotlib_refuses_unknown_properties(stored, name, option):
    display = stored[name]
    kind = getattr(display, "kind", None)
    if option == "line_kwargs" and kind is not None:
        display.kind = "curve"
    try:
        with pytest.raises(AttributeError, match="colour"):
            display.plot(**{option: {"colour": "red"}})
    finally:
        if kind is not None:
            display.kind = kind


def test_aliases_of_properties_replace_the_defaults(stored):
    style = {"lw": 5, "c": "red"}
    for name in ("explained variance", "loss curve"):
        line = stored[name].plot(line_kwargs=style).lines_[0]
        assert (line.get_linewidth(), line.get_color()) == (5, "red")
    curves = ReconstructionDisplay(X, {"copy": X + 1}, kind="curve").plot(line_kwargs=style, residuals=True)
    for ax in curves.axes_[0]:
        assert ax.get_lines()[1].get_linewidth() == 5
    for name in ("interpolation", "traversal", "latent grid"):
        stored[name].kind = "curve"
        lines = stored[name].plot(line_kwargs={"lw": 5}).lines_
        stored[name].kind = "auto"
        assert np.ravel(lines)[0].get_linewidth()[0] == 5


def test_styles_of_images_are_not_those_of_residuals():
    display = ReconstructionDisplay(X, {"copy": X + 1}, image_shape=(2, 2))
    style = {"cmap": "magma", "vmin": -100, "interpolation": "bilinear"}
    display.plot(residuals=True, im_kwargs=style)
    original, reconstruction, residual = (ax.images[0] for ax in display.axes_)
    assert original.get_cmap().name == reconstruction.get_cmap().name == "magma"
    assert original.get_clim()[0] == -100
    assert residual.get_cmap().name != "magma"
    np.testing.assert_allclose(residual.get_clim(), (-1, 1))
    assert residual.get_interpolation() == "bilinear"
    norm = LogNorm(1, 10)
    assert display.plot(im_kwargs={"norm": norm}).ax_.images[0].norm is norm


def test_styles_of_histograms_and_bars(detector, wine):
    y = np.arange(len(wine)) % 2
    display = OutlierScoreDisplay.from_estimator(
        detector, wine, y, hist_kwargs={"bins": 4, "histtype": "step"}, bar_kwargs={"color": "red"}
    )
    outlines = [patch for patch in display.ax_.patches if isinstance(patch, Polygon)]
    assert len(outlines) >= 2
    assert all(same_color(bar.get_facecolor(), "red") for bar in display.axes_[1].patches)
    line = LatentSpaceDisplay.from_estimator(PCA(1).fit(X), X, hist_kwargs={"bins": 3, "fc": "red"})
    assert len(line.ax_.patches) == 3
    assert same_color(line.ax_.patches[0].get_facecolor()[:3], "red")
    classes = LatentSpaceDisplay.from_estimator(PCA(3).fit(X), X, Y, hist_kwargs={"bins": 3})
    corners = classes.axes_[0, 0].patches[0].get_xy()[:, 0]
    assert len(np.unique(corners)) == 4
