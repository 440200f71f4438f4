"""Displays of reconstructions, training, explained variance and outlier scores: what is drawn is so."""

import subprocess
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.datasets import load_iris, load_wine
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.metrics import mean_squared_error
from sklearn.neighbors import KernelDensity
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import huber_loss

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, VAETransformer
from sklearn_ae.inspection import (
    ExplainedVarianceDisplay,
    LossCurveDisplay,
    OutlierScoreDisplay,
    ReconstructionDisplay,
)
from sklearn_ae.metrics import explained_variance_scorer
from sklearn_ae.networks import Conv
from sklearn_ae.penalties import L1

matplotlib.use("Agg")  # no window is needed
import matplotlib.pyplot as plt

# few epochs suffice for what is tested here
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still falling steeply")

IRIS = load_iris(as_frame=True).data
WINE = load_wine(as_frame=True)
SMALL = {"hidden_layer_sizes": (8,), "random_state": 0}


@pytest.fixture(autouse=True)
def leaves_nothing_behind(tmp_path, monkeypatch, unchanged_globals):
    """No display writes files, keeps figures to itself, or changes matplotlib's settings."""
    monkeypatch.chdir(tmp_path)
    settings = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == settings
    assert not list(tmp_path.iterdir())
    plt.close("all")


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def draw(display):
    """Everything in the figure can be drawn, without a warning."""
    display.figure_.canvas.draw()
    return display


def reconstruct(model, X):
    return model.inverse_transform(model.transform(X))


# -- what all have in common --------------------------------------------------------------


@pytest.fixture(scope="module")
def detector():
    steps = StandardScaler(), AEOutlierDetector(n_estimators=1, random_state=0)
    return make_pipeline(*steps).fit(WINE.data)


@pytest.fixture(scope="module")
def trained(curve):
    return AutoencoderTransformer(2, max_iter=15, **SMALL).fit(curve)


@pytest.fixture
def displays(detector, trained, curve):
    """Each display, as a function of the axes to draw on."""
    pca = PCA(2).fit(curve)
    return {
        ReconstructionDisplay: lambda ax=None: ReconstructionDisplay.from_estimator(
            [pca, trained], curve, residuals=True, ax=ax
        ),
        LossCurveDisplay: lambda ax=None: LossCurveDisplay.from_estimator(trained, ax=ax),
        ExplainedVarianceDisplay: lambda ax=None: ExplainedVarianceDisplay.from_estimator(pca, curve, ax=ax),
        OutlierScoreDisplay: lambda ax=None: OutlierScoreDisplay.from_estimator(detector, WINE.data, ax=ax),
    }


CLASSES = (ReconstructionDisplay, LossCurveDisplay, ExplainedVarianceDisplay, OutlierScoreDisplay)
each_display = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


@each_display
@pytest.mark.parametrize("layout", [None, "constrained"])
def test_draws_into_the_axes_that_it_is_given(displays, cls, layout):
    figure, axes = plt.subplots(1, 2, layout=layout)
    display = draw(displays[cls](axes[1]))
    assert plt.get_fignums() == [figure.number]  # and makes no figure
    assert display.figure_ is figure
    assert display.ax_.get_figure(root=True) is figure
    assert display.ax_.get_tightbbox().x0 > figure.bbox.width / 2 - 60  # and leaves the other half alone
    assert not axes[0].has_data()
    assert display.ax_ is axes[1] or not axes[1].axison  # which the panels take the place of


@each_display
def test_plots_again_into_a_figure_of_its_own(displays, cls):
    display = draw(displays[cls]())
    first = display.figure_, [line.get_ydata() for line in display.ax_.get_lines()]
    assert display.plot() is display
    draw(display)
    assert display.figure_ is not first[0]
    for line, before in zip(display.ax_.get_lines(), first[1], strict=True):
        np.testing.assert_array_equal(line.get_ydata(), before)


@each_display
def test_without_matplotlib_says_how_to_get_it(displays, cls, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=rf"{cls.__name__} needs matplotlib: pip install"):
        displays[cls]()


def test_imports_without_matplotlib():
    code = "import sys; sys.modules['matplotlib'] = None; import sklearn_ae.inspection"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_several_panels_need_a_cell_of_a_grid():
    ax = plt.figure().add_axes((0.1, 0.1, 0.8, 0.8))
    with pytest.raises(ValueError, match=r"ax must be a cell of a grid.*ReconstructionDisplay"):
        ReconstructionDisplay.from_predictions(IRIS, IRIS, ax=ax)


# -- reconstructions ----------------------------------------------------------------------


def tiles(ax, height, width, n):
    """The images of a strip, and whether nothing is drawn between them."""
    strip = np.ma.filled(ax.images[0].get_array().astype(float), np.nan)
    step = (strip.shape[1] + 1) // n
    gaps = strip[:, width::step]
    return [strip[:, i * step : i * step + width] for i in range(n)], np.isnan(gaps).all()


@pytest.fixture(scope="module")
def two_models(digits):
    return {"Coarse": PCA(2).fit(digits), "Fine": PCA(16).fit(digits)}


def test_images_are_the_rows_and_their_reconstructions(digits, two_models):
    display = ReconstructionDisplay.from_estimator(two_models, digits, image_shape=(8, 8), n_rows=5)
    draw(display)
    rows = [digits, *(reconstruct(model, digits) for model in two_models.values())]
    assert len(display.axes_) == 3
    for ax, wanted in zip(display.axes_, rows, strict=True):
        images, separate = tiles(ax, 8, 8, 5)
        np.testing.assert_allclose(images, wanted[:5].reshape(5, 8, 8), atol=1e-9)
        assert separate


def test_images_share_the_grey_scale_of_the_originals(digits, two_models):
    display = ReconstructionDisplay.from_estimator(two_models, digits, image_shape=(8, 8), n_rows=5)
    scales = {ax.images[0].get_clim() for ax in display.axes_}
    assert scales == {(digits[:5].min(), digits[:5].max())}


def test_labels_name_the_model_and_its_error_over_all_rows(digits, two_models):
    display = ReconstructionDisplay.from_estimator(two_models, digits, image_shape=(8, 8), n_rows=3)
    labels = [ax.get_ylabel() for ax in display.axes_]
    errors = [mean_squared_error(digits, reconstruct(model, digits)) for model in two_models.values()]
    assert labels == ["Original", f"Coarse\nMSE {errors[0]:.3g}", f"Fine\nMSE {errors[1]:.3g}"]
    assert display.figure_.get_suptitle().startswith("The first 3 of 1,797 rows")


def test_residuals_are_centred_and_have_a_colour_bar(digits, two_models):
    display = ReconstructionDisplay.from_estimator(two_models, digits, image_shape=(8, 8), residuals=True)
    draw(display)
    left = [(digits - reconstruct(model, digits))[:8] for model in two_models.values()]
    largest = np.abs(left).max()
    for ax, wanted in zip(display.axes_[2::2], left, strict=True):
        np.testing.assert_allclose(tiles(ax, 8, 8, 8)[0], wanted.reshape(8, 8, 8), atol=1e-9)
        np.testing.assert_allclose(ax.images[0].get_clim(), (-largest, largest))
    bars = [ax.get_ylabel() for ax in display.figure_.axes if ax not in display.axes_]
    assert bars == ["Original − reconstruction (units of X)"]


def test_colours_are_those_of_the_channels():
    rows = np.random.RandomState(0).uniform(-1, 1, size=(4, 3 * 2 * 2))
    rows[0, 0], rows[0, 1] = -1, 1
    display = draw(ReconstructionDisplay.from_predictions(rows, rows, image_shape=(3, 2, 2), residuals=True))
    strip = display.axes_[0].images[0].get_array()
    np.testing.assert_allclose(strip[:, :2], np.moveaxis(rows[0].reshape(3, 2, 2), 0, -1) / 2 + 0.5)
    assert not np.any(display.axes_[2].images[0].get_array()[:, :2])


def test_knows_the_shape_of_a_convolutional_network(digits):
    network = Conv(image_shape=(1, 8, 8), channels=(2,))
    model = AutoencoderTransformer(2, network=network, max_iter=1, early_stopping=False, **SMALL)
    display = ReconstructionDisplay.from_estimator([PCA(2).fit(digits), model.fit(digits[:100])], digits)
    assert display.image_shape == (1, 8, 8)
    np.testing.assert_array_equal(tiles(display.ax_, 8, 8, 8)[0][0], digits[0].reshape(8, 8))
    assert "Autoencoder\nTransformer" in display.axes_[2].get_ylabel()


def test_heat_map_of_comparable_columns_is_in_their_unit():
    pca = PCA(1).fit(IRIS)
    display = draw(ReconstructionDisplay.from_estimator(pca, IRIS, residuals=True))
    X, X_hat = IRIS.to_numpy(), reconstruct(pca, IRIS)
    for ax, wanted in zip(display.axes_, (X, X_hat, X - X_hat), strict=True):
        np.testing.assert_allclose(ax.images[0].get_array(), wanted[:8], atol=1e-12)
    assert [label.get_text() for label in display.axes_[-1].get_xticklabels()] == list(IRIS.columns)
    bars = [ax.get_ylabel() for ax in display.figure_.axes if ax not in display.axes_]
    assert bars == ["Value\n(units of X)", "Difference\n(units of X)"]


def test_heat_map_of_columns_in_all_units_is_in_standard_deviations():
    model = make_pipeline(StandardScaler(), PCA(3)).fit(WINE.data)
    display = draw(ReconstructionDisplay.from_estimator(model, WINE.data, n_rows=4))
    rows, scaled = display.axes_[0].images[0].get_array(), model[0].transform(WINE.data)
    np.testing.assert_allclose(rows, scaled[:4], atol=1e-9)
    error = mean_squared_error(scaled, reconstruct(model[1], scaled))
    assert display.axes_[1].get_ylabel() == f"PCA\nMSE {error:.3g}"
    bars = [ax.get_ylabel() for ax in display.figure_.axes if ax not in display.axes_]
    assert bars == ["Value\n(standard deviations)"]


def test_extreme_values_do_not_take_all_colours():
    rows = np.random.RandomState(0).normal(size=(50, 5))
    rows[0, 0] = 20
    display = draw(ReconstructionDisplay.from_predictions(rows, rows, n_rows=50))
    np.testing.assert_allclose(display.ax_.images[0].get_clim(), np.quantile(rows, [0.01, 0.99]))


def test_curves_lie_upon_each_other_at_their_wavelengths(digits):
    models = {"Coarse": PCA(2).fit(digits), "Fine": PCA(16).fit(digits)}
    places = np.linspace(400, 700, 64)
    display = ReconstructionDisplay.from_estimator(
        models, digits, n_rows=5, residuals=True, feature_names=places
    )
    draw(display)
    assert display.axes_.shape == (5, 2)
    X_hat = [reconstruct(model, digits) for model in models.values()]
    for i, (ax, residual_ax) in enumerate(display.axes_):
        drawn = [line.get_ydata() for line in ax.get_lines()]
        np.testing.assert_allclose(drawn, [digits[i], *(rows[i] for rows in X_hat)])
        np.testing.assert_allclose(ax.get_lines()[0].get_xdata(), places)
        left = [line.get_ydata() for line in residual_ax.get_lines()[1:]]
        np.testing.assert_allclose(left, [digits[i] - rows[i] for rows in X_hat])
    assert len({ax.get_ylim() for ax in display.axes_[:, 0]}) == 1  # rows can be compared
    texts = [text.get_text() for text in display.figure_.legends[0].get_texts()]
    errors = [mean_squared_error(digits, rows) for rows in X_hat]
    assert texts == ["Original", f"Coarse, MSE {errors[0]:.3g}", f"Fine, MSE {errors[1]:.3g}"]


@pytest.mark.parametrize(("n_columns", "kind"), [(30, "images"), (31, "lines")])
def test_many_columns_are_a_curve_and_few_a_heat_map(n_columns, kind):
    rows = np.random.RandomState(0).normal(size=(9, n_columns))
    display = ReconstructionDisplay.from_predictions(rows, rows)
    assert len(getattr(display.ax_, kind)) > 0


def test_all_rows_are_drawn_where_there_are_fewer():
    rows = np.arange(12.0).reshape(3, 4)
    display = draw(ReconstructionDisplay.from_predictions(sparse.csr_matrix(rows), rows + 1, n_rows=8))
    np.testing.assert_array_equal(display.ax_.images[0].get_array(), rows)
    assert display.axes_[1].get_ylabel() == "Reconstruction\nMSE 1"


def test_models_of_one_class_are_told_apart(digits):
    models = [PCA(2).fit(digits), PCA(4).fit(digits), PCA(8).fit(digits)]
    display = ReconstructionDisplay.from_estimator(models, digits, image_shape=(8, 8))
    assert list(display.reconstructions) == ["PCA", "PCA 2", "PCA 3"]


def test_rows_that_are_all_alike_can_be_drawn():
    rows = np.ones((4, 3))
    draw(ReconstructionDisplay.from_predictions(rows, rows, residuals=True))
    draw(ReconstructionDisplay.from_predictions(rows, rows, residuals=True, kind="curve"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "bars"}, "kind='bars' is not known"),
        ({"kind": "image"}, "pass image_shape"),
        ({"image_shape": (3, 3)}, r"image_shape=\(3, 3\) does not fit rows of 4 columns"),
        ({"image_shape": (2, 1, 2)}, "has 2 channels"),
        ({"n_rows": 0}, "n_rows"),
        ({"feature_names": ["a"]}, "feature_names has 1 names"),
        ({"X_hat": np.ones((150, 3))}, r"X_hat must have the shape of X, \(150, 4\).*\(150, 3\)"),
    ],
)
def test_reconstruction_errors_name_the_parameter(options, message):
    with pytest.raises(ValueError, match=message):
        ReconstructionDisplay.from_predictions(IRIS, **{"X_hat": IRIS, **options})


def test_reconstruction_takes_fitted_models_that_decode():
    with pytest.raises(TypeError, match="transform and inverse_transform; got IsolationForest"):
        ReconstructionDisplay.from_estimator(IsolationForest(), IRIS)
    with pytest.raises(NotFittedError):
        ReconstructionDisplay.from_estimator(PCA(), IRIS)
    with pytest.raises(ValueError, match="at least one"):
        ReconstructionDisplay.from_estimator([], IRIS)


# -- loss curves --------------------------------------------------------------------------


def by_label(ax):
    return {line.get_label().split(" (")[0].split(",")[0]: line for line in ax.get_lines()}


def test_curves_are_those_of_the_model(trained):
    display = draw(LossCurveDisplay.from_estimator(trained))
    lines = by_label(display.ax_)
    np.testing.assert_array_equal(lines["Training"].get_ydata(), trained.loss_curve_)
    np.testing.assert_array_equal(lines["Validation"].get_ydata(), trained.validation_loss_curve_)
    np.testing.assert_array_equal(lines["Validation"].get_xdata(), np.arange(1, 16))
    best = lines["Best epoch"].get_xydata()[0]
    np.testing.assert_array_equal(best, [trained.best_iter_, min(trained.validation_loss_curve_)])
    assert display.ax_.get_ylabel() == "Unexplained share of the variance"
    assert display.ax_.get_xlabel() == "Epoch"
    assert legend(display.ax_) == [line.get_label() for line in display.lines_]


@pytest.mark.parametrize("options", [{}, {"penalty": "l1"}, {"loss": "huber"}], ids=str)
def test_line_of_pca_is_its_objective_on_the_validation_rows(curve, options):
    X, X_val = 10 * curve[:400] + 5, 10 * curve[400:] + 5
    model = AutoencoderTransformer(2, max_iter=3, **SMALL, **options).fit(X, X_val=X_val)
    drawn = by_label(LossCurveDisplay.from_estimator(model).ax_)["PCA"].get_ydata()[0]
    pca = PCA(2).fit(X)
    codes = pca.transform(X_val) / model.scale_
    error = torch.from_numpy((X_val - pca.inverse_transform(pca.transform(X_val))) / model.scale_)
    objectives = {
        "": error.square().mean(),
        "penalty": error.square().mean() + L1().weight * np.abs(codes).sum(1).mean() / X.shape[1],
        "loss": huber_loss(error, torch.zeros_like(error)),
    }
    assert drawn == pytest.approx(float(objectives[next(iter(options), "")]), rel=1e-4)


def test_line_of_pca_of_a_vae_is_its_likelihood(curve):
    """Training draws the codes of a VAE once for each row; PCA's score is the integral."""
    X, X_val = curve[:400], curve[400:]
    model = make_pipeline(VAETransformer(2, max_iter=3, **SMALL)).fit(X, vaetransformer__X_val=X_val)
    drawn = by_label(LossCurveDisplay.from_estimator(model).ax_)["PCA"].get_ydata()[0]
    assert drawn == pytest.approx(-PCA(2).fit(X).score(X_val), abs=0.05)


def test_no_line_of_pca_without_validation_rows(curve):
    model = AutoencoderTransformer(2, max_iter=2, early_stopping=False, **SMALL).fit(curve)
    assert set(by_label(LossCurveDisplay.from_estimator(model).ax_)) == {"Training"}


def test_curves_of_a_vae_are_in_nats(curve):
    model = VAETransformer(2, max_iter=3, **SMALL).fit(curve)
    display = LossCurveDisplay.from_estimator(model)
    assert display.ax_.get_ylabel() == "Negative ELBO (nats per row)"


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({"init": "random"}, "Unexplained share of the variance"),
        ({"penalty": "l1"}, "Objective (per row and column)"),
        ({"loss": "huber"}, "Objective (per row and column)"),
    ],
)
def test_axis_says_what_the_loss_is(curve, options, label):
    model = AutoencoderTransformer(2, max_iter=3, **SMALL, **options).fit(curve)
    display = draw(LossCurveDisplay.from_estimator(model))
    assert display.ax_.get_ylabel() == label
    assert ("PCA" in by_label(display.ax_)) == ("init" not in options)


def test_says_that_the_gate_is_shut():
    noise = np.random.RandomState(0).normal(size=(300, 4))
    model = AutoencoderTransformer(2, max_iter=3, **SMALL).fit(noise)
    assert not model.uses_network_
    display = draw(LossCurveDisplay.from_estimator(model))
    assert "gate shut, PCA was kept" in display.ax_.get_title()
    assert "Best epoch" not in by_label(display.ax_)


def test_wide_ranges_are_drawn_on_a_logarithmic_axis():
    assert draw(LossCurveDisplay([100.0, 10.0, 1.0]).plot()).ax_.get_yscale() == "log"
    assert draw(LossCurveDisplay([3.0, 2.0, 1.0]).plot()).ax_.get_yscale() == "linear"
    assert draw(LossCurveDisplay([3.0, 0.1, -1.0]).plot()).ax_.get_yscale() == "linear"


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_takes_other_models_with_a_loss_curve(curve):
    model = MLPRegressor(hidden_layer_sizes=(4,), max_iter=3, random_state=0).fit(curve, curve[:, 0])
    display = LossCurveDisplay.from_estimator(model)
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), model.loss_curve_)


def test_loss_curve_says_why_there_is_none(curve):
    with pytest.raises(ValueError, match="nothing was trained, and the model is PCA"):
        LossCurveDisplay.from_estimator(AutoencoderTransformer(2, hidden_layer_sizes=()).fit(curve))
    with pytest.raises(TypeError, match=r"estimator must have a loss_curve_.*got PCA"):
        LossCurveDisplay.from_estimator(make_pipeline(PCA(2)).fit(curve))
    with pytest.raises(NotFittedError):
        LossCurveDisplay.from_estimator(AutoencoderTransformer())


# -- explained variance -------------------------------------------------------------------


def test_line_of_pca_is_its_cumulative_ratio(digits):
    pca = PCA(12).fit(digits)
    display = draw(ExplainedVarianceDisplay.from_estimator(pca, digits))
    sizes, shares = display.ax_.get_lines()[0].get_data()
    np.testing.assert_array_equal(sizes, np.arange(1, 13))
    np.testing.assert_allclose(shares, np.cumsum(pca.explained_variance_ratio_))
    assert legend(display.ax_) == ["PCA"]
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
    sizes, shares = display.ax_.get_lines()[0].get_data()
    np.testing.assert_array_equal(sizes, [2, 4, 6])
    wanted = [explained_variance_scorer(make(k).fit(train), test) for k in sizes]
    np.testing.assert_allclose(shares, wanted, atol=1e-6)


def test_ordered_model_is_truncated_and_others_are_points(curve):
    ordered = AutoencoderTransformer(3, bottleneck="ordered", max_iter=15, **SMALL).fit(curve)
    assert ordered.uses_network_
    plain = [AutoencoderTransformer(k, max_iter=15, **SMALL).fit(curve) for k in (3, 1)]
    models = {"Ordered": ordered, "One": plain[0], "Several": plain}
    display = draw(ExplainedVarianceDisplay.from_estimator(models, curve))
    expected = {
        "Ordered": ([1, 2, 3], [explained_variance_scorer(ordered.truncate(k), curve) for k in (1, 2, 3)]),
        "One": ([3], [explained_variance_scorer(plain[0], curve)]),
        "Several": ([1, 3], [explained_variance_scorer(model, curve) for model in plain[::-1]]),
    }
    assert legend(display.ax_) == list(expected)
    for line, (sizes, shares) in zip(display.lines_, expected.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), sizes)
        np.testing.assert_allclose(line.get_ydata(), shares, rtol=1e-6)
    assert [line.get_linestyle() for line in display.lines_] == ["-", "None", "-"]


def test_a_number_is_the_largest_size_and_many_sizes_are_thinned(digits):
    pca = PCA().fit(digits)
    some = ExplainedVarianceDisplay.from_estimator(pca, digits, n_components=3)
    np.testing.assert_array_equal(some.lines_[0].get_xdata(), [1, 2, 3])
    sizes = ExplainedVarianceDisplay.from_estimator(pca, digits).lines_[0].get_xdata()
    assert len(sizes) == 50
    assert sizes[0] == 1
    assert sizes[-1] == 64


def test_given_shares_are_drawn():
    curves = {"A": ([1, 2, 4], [0.1, 0.2, 0.3]), "B": ([3], [-0.5])}
    display = draw(ExplainedVarianceDisplay.from_predictions(curves))
    for line, pair in zip(display.lines_, curves.values(), strict=True):
        np.testing.assert_array_equal(line.get_data(), pair)
    assert legend(display.ax_) == ["A", "B"]


def test_explained_variance_errors_name_the_parameter():
    pca = PCA(2).fit(IRIS)
    for n_components in (0, 1.5, "all", [], [[1]]):
        with pytest.raises(ValueError, match="n_components must be a positive integer"):
            ExplainedVarianceDisplay.from_estimator(pca, IRIS, n_components=n_components)
    with pytest.raises(ValueError, match="X has no variance"):
        ExplainedVarianceDisplay.from_estimator(pca, IRIS.iloc[[0, 0]])
    with pytest.raises(ValueError, match=r"curves\['A'\] must be a pair"):
        ExplainedVarianceDisplay.from_predictions({"A": ([1, 2], [0.1])})
    with pytest.raises(ValueError, match="curves must be a dict"):
        ExplainedVarianceDisplay.from_predictions({})
    with pytest.raises(TypeError, match="inverse_transform"):
        ExplainedVarianceDisplay.from_estimator(IsolationForest(random_state=0).fit(IRIS.to_numpy()), IRIS)


# -- outlier scores -----------------------------------------------------------------------


def counts(ax):
    return np.array([patch.get_height() for patch in ax.containers[0]])


def threshold_line(ax):
    (line,) = (line for line in ax.get_lines() if line.get_label().startswith("Threshold"))
    return line.get_xdata()[0]


def shaded(ax):
    (patch,) = (patch for patch in ax.patches if str(patch.get_label()).startswith("Outliers"))
    return patch


def test_histogram_has_all_rows_and_the_threshold(detector):
    display = draw(OutlierScoreDisplay.from_estimator(detector, WINE.data))
    assert counts(display.ax_).sum() == len(WINE.data)
    assert threshold_line(display.ax_) == detector[-1].offset_
    n_outliers = np.count_nonzero(detector.predict(WINE.data) == -1)
    assert n_outliers > 0
    assert f"Outliers: {n_outliers} of 178" in legend(display.ax_)
    area = shaded(display.ax_)
    assert area.get_x() + area.get_width() == pytest.approx(detector[-1].offset_)
    assert area.get_x() <= display.scores.min()


def test_bars_are_the_columns_of_the_oddest_row(detector):
    display = draw(OutlierScoreDisplay.from_estimator(detector, WINE.data, n_columns=5, n_oddest=2))
    scores = detector.score_samples(WINE.data)
    assert len(display.axes_) == 3
    for ax, row in zip(display.axes_[1:], np.argsort(scores)[:2], strict=True):
        contributions = detector[-1].explain(detector[0].transform(WINE.data.iloc[[row]]))[0]
        largest = np.argsort(-contributions)[:5]
        widths = [patch.get_width() for patch in ax.patches]
        np.testing.assert_allclose(widths, contributions[largest])
        labels = [label.get_text().replace("\n", "") for label in ax.get_yticklabels()]
        assert labels == list(WINE.data.columns[largest])
        assert ax.get_title() == f"Why row {row} is odd"
        assert ax.yaxis_inverted()  # the largest is on top


def test_detector_without_explain_has_the_histogram_alone():
    forest = IsolationForest(random_state=0).fit(WINE.data)
    display = draw(OutlierScoreDisplay.from_estimator(forest, WINE.data))
    assert len(display.axes_) == 1
    assert threshold_line(display.ax_) == forest.offset_
    assert f"Outliers: {np.count_nonzero(forest.predict(WINE.data) == -1)} of" in legend(display.ax_)[0]


def test_scores_without_a_threshold():
    density = KernelDensity().fit(IRIS)
    display = draw(OutlierScoreDisplay.from_estimator(density, IRIS))
    assert counts(display.ax_).sum() == len(IRIS)
    assert not display.ax_.get_lines()
    assert display.ax_.get_legend() is None


def test_each_class_is_a_histogram_of_its_shares():
    scores = np.r_[np.zeros(90), np.full(10, -5.0)]
    y = np.repeat(["inlier", "outlier"], [90, 10])
    display = draw(OutlierScoreDisplay.from_predictions(scores, -2.0, y))
    assert legend(display.ax_)[:2] == ["inlier (90 rows)", "outlier (10 rows)"]
    outlines = [patch for patch in display.ax_.patches if "rows)" in str(patch.get_label())][:2]
    tops = [patch.get_xy()[:, 1].max() for patch in outlines]
    np.testing.assert_allclose(tops, 1)  # rare as they are, outliers can be seen
    places = [patch.get_xy()[:, 0][patch.get_xy()[:, 1].argmax()] for patch in outlines]
    assert places[0] > -2 > places[1]


def test_long_tails_stretch_the_axis_and_keep_all_rows():
    rng = np.random.RandomState(0)
    scores = np.r_[rng.normal(size=200), -1e4]
    display = draw(OutlierScoreDisplay.from_predictions(scores, -3.0))
    assert display.ax_.get_xscale() == "asinh"
    assert counts(display.ax_).sum() == 201
    assert np.count_nonzero(counts(display.ax_)) > 5  # the body is not in one bar
    assert OutlierScoreDisplay.from_predictions(scores[:-1]).ax_.get_xscale() == "linear"


def test_legend_stands_above_the_bars():
    scores = np.r_[np.zeros(50), -np.ones(50)]
    display = draw(OutlierScoreDisplay.from_predictions(scores, -0.5))
    bottom = display.ax_.transData.inverted().transform(display.ax_.get_legend().get_window_extent())[0, 1]
    assert bottom > counts(display.ax_).max()


def test_given_contributions_are_those_of_all_rows():
    contributions = pd.DataFrame([[1.0, 2.0], [3.0, 0.5], [0.0, -1.0]], columns=["a", "b"])
    display = draw(OutlierScoreDisplay.from_predictions([0.0, -3.0, -1.0], contributions=contributions))
    assert [patch.get_width() for patch in display.axes_[1].patches] == [3.0, 0.5]
    assert [label.get_text() for label in display.axes_[1].get_yticklabels()] == ["a", "b"]
    assert "sum of all 2: 3.5" in display.axes_[1].get_xlabel()


def test_scores_that_are_all_equal_can_be_drawn():
    display = draw(OutlierScoreDisplay.from_predictions(np.ones(10), 1.0))
    assert counts(display.ax_).sum() == 10
    assert "Outliers: 0 of 10" in legend(display.ax_)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": [0, 1]}, "y has 2 entries"),
        ({"y": np.arange(12)}, "y must hold at most 8 classes"),
        ({"y": np.linspace(0, 1, 12)}, "y must hold at most 8 classes"),
        ({"contributions": np.ones((2, 3))}, "contributions must have a row for each of the 12 scores"),
        ({"contributions": np.ones((12, 3)), "feature_names": ["a"]}, "feature_names has 1 names"),
        ({"n_columns": 0}, "n_columns"),
        ({"n_oddest": 0}, "n_oddest"),
    ],
)
def test_outlier_score_errors_name_the_parameter(options, message):
    with pytest.raises(ValueError, match=message):
        OutlierScoreDisplay.from_predictions(np.arange(12.0), **options)


def test_outlier_score_takes_detectors():
    with pytest.raises(TypeError, match=r"detector must have score_samples.*got StandardScaler"):
        OutlierScoreDisplay.from_estimator(StandardScaler().fit(IRIS), IRIS)


def test_a_class_is_no_model():
    with pytest.raises(TypeError, match=r"detector must have score_samples.*got the class IsolationForest"):
        OutlierScoreDisplay.from_estimator(IsolationForest, IRIS)
    with pytest.raises(TypeError, match=r"estimators must be a fitted transformer.*got the class PCA"):
        ExplainedVarianceDisplay.from_estimator(PCA, IRIS)
