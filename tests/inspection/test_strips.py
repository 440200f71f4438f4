"""Drawings of samples and their reconstructions."""

import numpy as np
import pytest
from inspection.figures import bar_labels, drawn, reconstruct
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae.inspection import ReconstructionDisplay
from sklearn_ae.inspection._strips import comparable, feature_places, title_of

IRIS = load_iris(as_frame=True).data


def squared_error(X, X_hat):
    """Return the mean over samples of the squared error summed over features, with three digits."""
    return f"squared error {np.square(X - X_hat).sum(axis=1).mean():.3g}"


@pytest.fixture(scope="module")
def two_models(digits):
    return {"Coarse": PCA(2).fit(digits), "Fine": PCA(16).fit(digits)}


@pytest.fixture(scope="module")
def reconstructions(digits, two_models):
    return [reconstruct(model, digits) for model in two_models.values()]


# -- images -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image_display(digits, two_models):
    """Display of five images and the residuals of two models."""
    display = ReconstructionDisplay.from_estimator(
        two_models, digits, image_shape=(8, 8), max_samples=5, residuals=True
    )
    return drawn(display)


def tiles(ax, n):
    """Return the 8 x 8 images of a strip, and True if the gaps between them are empty."""
    strip = np.ma.filled(ax.images[0].get_array().astype(float), np.nan)
    step = (strip.shape[1] + 1) // n
    return [strip[:, i * step : i * step + 8] for i in range(n)], np.isnan(strip[:, 8::step]).all()


def test_images_are_the_samples_and_their_reconstructions(image_display, digits, reconstructions):
    assert len(image_display.axes_) == 5
    axes = image_display.axes_[[0, 1, 3]]
    for ax, expected in zip(axes, [digits, *reconstructions], strict=True):
        images, separate = tiles(ax, 5)
        np.testing.assert_allclose(images, expected[:5].reshape(5, 8, 8), atol=1e-9)
        assert separate
    scales = {ax.images[0].get_clim() for ax in axes}
    assert scales == {(digits[:5].min(), digits[:5].max())}


def test_residuals_are_centred_and_have_a_colour_bar(image_display, digits, reconstructions):
    residuals = [(digits - X_hat)[:5] for X_hat in reconstructions]
    largest = np.abs(residuals).max()
    for ax, expected in zip(image_display.axes_[2::2], residuals, strict=True):
        np.testing.assert_allclose(tiles(ax, 5)[0], expected.reshape(5, 8, 8), atol=1e-9)
        np.testing.assert_allclose(ax.images[0].get_clim(), (-largest, largest))
    assert bar_labels(image_display) == ["Original − reconstruction (units of X)"]


def test_labels_name_the_model_and_its_error_over_all_samples(image_display, digits, reconstructions):
    coarse, fine = (squared_error(digits, X_hat) for X_hat in reconstructions)
    assert [ax.get_ylabel() for ax in image_display.axes_] == [
        "Original",
        f"Coarse\n{coarse}",
        "Original −\nCoarse",
        f"Fine\n{fine}",
        "Original −\nFine",
    ]
    assert image_display.figure_.get_suptitle() == "First 5 of 1,797 samples"


def test_colours_are_those_of_the_channels():
    X = np.random.RandomState(0).uniform(-1, 1, size=(4, 3 * 2 * 2))
    X[0, :2] = -1, 1
    display = drawn(ReconstructionDisplay.from_predictions(X, X, image_shape=(3, 2, 2), residuals=True))
    strip = display.axes_[0].images[0].get_array()
    np.testing.assert_allclose(strip[:, :2], np.moveaxis(X[0].reshape(3, 2, 2), 0, -1) / 2 + 0.5)
    assert not np.any(display.axes_[2].images[0].get_array()[:, :2])


# -- heat maps ----------------------------------------------------------------------------


def test_heat_map_of_comparable_features_is_in_their_unit():
    pca = PCA(1).fit(IRIS)
    display = drawn(ReconstructionDisplay.from_estimator(pca, IRIS, residuals=True))
    X = IRIS.to_numpy()
    X_hat = reconstruct(pca, IRIS)
    for ax, expected in zip(display.axes_, (X, X_hat, X - X_hat), strict=True):
        np.testing.assert_allclose(ax.images[0].get_array(), expected[:8], atol=1e-12)
    assert [label.get_text() for label in display.axes_[-1].get_xticklabels()] == list(IRIS.columns)
    assert bar_labels(display) == ["Value\n(units of X)", "Difference\n(units of X)"]


def test_heat_map_of_features_with_different_ranges_is_in_standard_deviations(wine):
    model = make_pipeline(StandardScaler(), PCA(3)).fit(wine)
    display = drawn(ReconstructionDisplay.from_estimator(model, wine, max_samples=4))
    scaled = model[0].transform(wine)
    np.testing.assert_allclose(display.axes_[0].images[0].get_array(), scaled[:4], atol=1e-9)
    error = np.square(wine - reconstruct(model, wine)).sum(axis=1).mean()
    assert display.axes_[1].get_ylabel() == f"PCA\nsquared error {error:.0f}\n(units of X)"
    assert bar_labels(display) == ["Value\n(standard deviations)"]


def test_features_are_comparable_in_range_and_location():
    X = np.random.RandomState(0).normal(size=(50, 3))
    assert comparable(X)
    assert comparable(X * [1, 2, 0])  # constant features have no range
    assert not comparable(X * [1, 1, 20])
    assert not comparable(X + np.array([0, 0, 100]))
    assert comparable(np.ones((3, 2)))


def test_extreme_values_do_not_determine_the_scale():
    X = np.random.RandomState(0).normal(size=(50, 5))
    X[0, 0] = 20
    display = drawn(ReconstructionDisplay.from_predictions(X, X, max_samples=50))
    np.testing.assert_allclose(display.ax_.images[0].get_clim(), np.quantile(X, [0.01, 0.99]))


# -- curves -------------------------------------------------------------------------------


def test_curves_are_overlaid_at_their_wavelengths(digits, two_models, reconstructions):
    places = np.linspace(400, 700, 64)
    display = ReconstructionDisplay.from_estimator(
        two_models, digits, max_samples=5, residuals=True, feature_names=places
    )
    drawn(display)
    assert display.axes_.shape == (5, 2)
    for i, (ax, residual_ax) in enumerate(display.axes_):
        curves = [line.get_ydata() for line in ax.get_lines()]
        np.testing.assert_allclose(curves, [digits[i], *(X_hat[i] for X_hat in reconstructions)], atol=1e-9)
        np.testing.assert_allclose(ax.get_lines()[0].get_xdata(), places)
        residuals = [line.get_ydata() for line in residual_ax.get_lines()[1:]]
        np.testing.assert_allclose(residuals, [digits[i] - X_hat[i] for X_hat in reconstructions], atol=1e-9)
    assert len({ax.get_ylim() for ax in display.axes_[:, 0]}) == 1  # samples can be compared
    assert display.axes_[-1, -1].get_xlabel() == "Feature"
    texts = [text.get_text() for text in display.figure_.legends[0].get_texts()]
    coarse, fine = (squared_error(digits, X_hat) for X_hat in reconstructions)
    assert texts == ["Original", f"Coarse, {coarse}", f"Fine, {fine}"]


def test_features_without_numeric_names_are_numbered():
    np.testing.assert_array_equal(feature_places(["a", "b"], 2), [0, 1])
    np.testing.assert_array_equal(feature_places(None, 2), [0, 1])
    np.testing.assert_array_equal(feature_places(["0.5", "7"], 2), [0.5, 7])


# -- all drawings -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["heatmap", "curve"])
def test_constant_samples_can_be_drawn(kind):
    X = np.ones((2, 3))
    drawn(ReconstructionDisplay.from_predictions(X, X, residuals=True, kind=kind))


def test_title_names_the_number_of_samples():
    assert title_of(1, 2000) == "First of 2,000 samples"
    assert title_of(3, 2000) == "First 3 of 2,000 samples"
    assert title_of(4, 4) == "Samples and reconstructions"
