"""Drawings of decoded planes, compared with the model's own ``inverse_transform``."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA

from sklearn_ae.inspection import LatentGridDisplay
from sklearn_ae.inspection._planes import HeatMapPlane
from sklearn_ae.latent import latent_grid

X = load_iris().data
CURVES = np.sin(np.linspace(1, 3, 50)[:, np.newaxis] * np.linspace(0, 6, 40))


def grid_display(samples, **options):
    """Return a display of given samples at evenly spaced codes."""
    values = np.arange(len(samples))
    return LatentGridDisplay(samples=samples, grid_values=(values, values[::-1]), **options)


# -- images -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image_display(digits, digits_pca):
    return LatentGridDisplay.from_estimator(digits_pca, digits, n_steps=5, image_shape=(8, 8))


def test_images_are_at_their_codes(image_display, digits_pca):
    right, up = image_display.grid_values
    image = np.asarray(image_display.image_.get_array())
    assert image.shape == (40, 40)
    assert list(image_display.image_.get_extent()) == [0, 5, 0, 5]
    for i, j in ((0, 0), (1, 4), (3, 2)):
        sample = digits_pca.inverse_transform([[right[j], up[i]]]).reshape(8, 8)
        np.testing.assert_allclose(image[8 * i : 8 * i + 8, 8 * j : 8 * j + 8], sample)


def test_ticks_are_the_values_of_the_codes(image_display, digits, digits_pca):
    right, up = latent_grid(digits_pca, 5, X=digits).grid_values
    ax = image_display.ax_
    for axis, values in ((ax.xaxis, right), (ax.yaxis, up[::-1])):
        shown = [float(t.get_text().replace("\N{MINUS SIGN}", "-")) for t in axis.get_ticklabels()]
        np.testing.assert_allclose(axis.get_ticklocs(), np.arange(5) + 0.5)
        np.testing.assert_allclose(shown, values, atol=0.5)


def test_cells_have_the_proportions_of_the_images():
    samples = np.random.RandomState(0).uniform(size=(3, 3, 200))
    samples[0, 0, 0] = 1000
    display = grid_display(samples, image_shape=(10, 20)).plot()
    assert list(display.image_.get_extent()) == [0, 3, 0, 1.5]
    assert display.image_.get_clim()[1] < 2  # despite the extreme pixel


def test_colour_images_are_joined():
    samples = np.random.RandomState(0).uniform(size=(2, 2, 3 * 4 * 5))
    image = np.asarray(grid_display(samples, image_shape=(3, 4, 5)).plot().image_.get_array())
    assert image.shape == (8, 10, 3)
    np.testing.assert_allclose(image[4:, :5], np.moveaxis(samples[1, 0].reshape(3, 4, 5), 0, -1))


# -- curves -------------------------------------------------------------------------------


def test_curves_are_in_their_cells_on_one_scale():
    display = LatentGridDisplay.from_estimator(PCA(2).fit(CURVES), CURVES, n_steps=4)
    lines = display.lines_.get_segments()
    heights = []
    for line, (i, j) in zip(lines, np.ndindex(4, 4), strict=True):
        assert (line >= (j, 3 - i)).all()
        assert (line <= (j + 1, 4 - i)).all()
        sample = display.samples[i, j]
        slope, _ = np.polyfit(sample, line[:, 1], 1)
        assert np.corrcoef(sample, line[:, 1])[0, 1] > 1 - 1e-9
        heights.append(slope)
    np.testing.assert_allclose(heights, heights[0])


# -- heat maps ----------------------------------------------------------------------------


def test_heat_maps_of_a_linear_model_are_planes():
    pca = PCA(2).fit(X)
    display = LatentGridDisplay.from_estimator(pca, X, feature_names=list("abcd"))
    right, up = display.grid_values
    x, y = np.meshgrid(np.linspace(right[0], right[-1], 101), np.linspace(up[0], up[-1], 101))
    samples = pca.inverse_transform(np.column_stack([x.ravel(), y.ravel()]))
    assert len(display.heatmaps_) == 4
    for feature, image in enumerate(display.heatmaps_):
        np.testing.assert_allclose(image.get_array(), samples[:, feature].reshape(101, 101))
        np.testing.assert_allclose(image.get_extent(), [right[0], right[-1], up[-1], up[0]])
        assert image.axes.get_title() == "abcd"[feature]
        assert image.colorbar is not None


def test_title_mentions_omitted_features():
    samples = np.random.RandomState(0).uniform(size=(2, 2, 20))
    drawing = HeatMapPlane(grid_display(samples), None)
    assert drawing.features == list(range(16))
    assert drawing.title == "Latent grid (first 16 of 20 features)"
    assert HeatMapPlane(grid_display(samples, features=[19]), None).title == "Latent grid"
    assert HeatMapPlane(grid_display(samples), "Mine").title == "Mine"


def test_repeated_quantiles_are_interpolated():
    values = np.array([0.0, 0.0, 0.0, 1.0])
    samples = np.tile(values[:, np.newaxis], (4, 1, 2))
    display = LatentGridDisplay(samples=samples, grid_values=(values, values[::-1])).plot()
    shown = np.asarray(display.heatmaps_[0].get_array())
    np.testing.assert_allclose(shown[0], np.linspace(0, 1, 101))


def test_constant_components_are_refused():
    with pytest.raises(ValueError, match="choose other components"):
        LatentGridDisplay(samples=np.zeros((2, 2, 3)), grid_values=([0, 0], [1, 0])).plot()
