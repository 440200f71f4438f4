"""Drawings of interpolations."""

import numpy as np
import pytest
from inspection.figures import reconstruct
from matplotlib.colors import same_color
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA

from sklearn_ae.inspection import InterpolationDisplay
from sklearn_ae.inspection._cells import format_number

X = load_iris().data
CURVES = np.sin(np.linspace(1, 3, 50)[:, np.newaxis] * np.linspace(0, 6, 40))


# -- images -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image_display(digits, digits_pca):
    """Display of three pairs."""
    return InterpolationDisplay.from_estimator(
        digits_pca, digits[:3], digits[3:6], n_steps=5, image_shape=(8, 8)
    )


def test_reconstructions_are_between_the_originals(image_display, digits, digits_pca):
    shown = [np.asarray(image.get_array()) for image in image_display.images_]
    for pair in range(3):
        first, walk, last = shown[3 * pair : 3 * pair + 3]
        np.testing.assert_array_equal(first, digits[pair].reshape(8, 8))
        np.testing.assert_array_equal(last, digits[3 + pair].reshape(8, 8))
        ends = reconstruct(digits_pca, digits[[pair, 3 + pair]]).reshape(2, 8, 8)
        np.testing.assert_allclose([walk[:, :8], walk[:, -8:]], ends)
        np.testing.assert_array_equal(walk[:, 16:24], image_display.walks[pair, 2].reshape(8, 8))


def test_pairs_are_below_one_another_with_framed_ends(image_display):
    extents = np.array([image.get_extent() for image in image_display.images_]).reshape(3, 3, 4)
    assert (np.diff(extents[:, :, 3], axis=0) < 0).all()
    assert (extents[:, :-1, 1] < extents[:, 1:, 0]).all()
    frames = {tuple(np.round(patch.get_xy(), 6)) for patch in image_display.ax_.patches}
    assert frames == {tuple(np.round(extents[i, j, [0, 2]], 6)) for i in range(3) for j in (0, 2)}
    ticks = [label.get_text() for label in image_display.ax_.get_xticklabels()]
    assert {"start", "end", "0", "0.25", "1"} <= set(ticks)
    names = [label.get_text() for label in image_display.ax_.get_yticklabels()]
    assert names == ["Pair 1", "Pair 2", "Pair 3"]


def test_originals_define_the_scale_of_images(image_display, digits):
    assert {image.get_clim() for image in image_display.images_} == {(0, digits[:6].max())}


# -- curves -------------------------------------------------------------------------------


def test_curves_share_a_scale_and_originals_have_another_colour():
    pca = PCA(2).fit(CURVES)
    display = InterpolationDisplay.from_estimator(pca, CURVES[:2], CURVES[40:42], n_steps=4)
    start, walk, end = display.lines_[:3]
    assert [len(part.get_segments()) for part in (start, walk, end)] == [1, 4, 1]
    assert same_color(start.get_color(), end.get_color())
    assert not same_color(start.get_color(), walk.get_color())
    scale = np.polyfit(CURVES[0], start.get_segments()[0][:, 1], 1)
    for part, samples in ((start, CURVES[:1]), (walk, display.walks[0]), (end, CURVES[40:41])):
        for line, sample in zip(part.get_segments(), samples, strict=True):
            slope, offset = np.polyfit(sample, line[:, 1], 1)
            np.testing.assert_allclose(line[:, 1], slope * sample + offset, atol=1e-9)
            np.testing.assert_allclose([slope, offset], scale)


# -- heat maps ----------------------------------------------------------------------------


def test_heat_maps_scale_each_feature_and_show_its_values():
    display = InterpolationDisplay.from_estimator(PCA(2).fit(X), X[:2], X[100:102], n_steps=3)
    everything = np.concatenate([X[:2, np.newaxis], display.walks, X[100:102, np.newaxis]], axis=1)
    low = everything.min(axis=(0, 1))
    high = everything.max(axis=(0, 1))
    walk = np.asarray(display.images_[1].get_array())
    np.testing.assert_allclose(walk, ((display.walks[0] - low) / (high - low)).T)
    written = [text for text in display.ax_.texts if "Pair" not in text.get_text()]
    assert len(written) == everything.size
    left, right, _, top = display.images_[0].get_extent()
    height = (top - display.images_[0].get_extent()[2]) / 4
    first = ((left + right) / 2, top - height / 2)
    assert [t.get_text() for t in written if np.allclose(t.get_position(), first)] == [f"{X[0, 0]:.3g}"]


def test_large_heat_maps_have_no_numbers():
    samples = np.random.RandomState(0).uniform(size=(4, 10, 25))
    display = InterpolationDisplay(walks=samples).plot()
    assert {text.get_text() for text in display.ax_.texts} == {"Pair 1", "Pair 2", "Pair 3", "Pair 4"}


def test_constant_features_have_the_lowest_colour():
    display = InterpolationDisplay(walks=np.ones((1, 4, 3))).plot()
    np.testing.assert_array_equal(display.images_[0].get_array(), 0)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1.2345, "1.23"), (-0.00123, "-0.0012"), (12345.6, "12346"), (1e-5, "1e-05"), (2e6, "2e+06")],
)
def test_numbers_fit_a_cell(value, text):
    assert format_number(value) == text


@pytest.mark.parametrize("kind", ["curve", "heatmap"])
def test_many_steps_have_narrower_cells(kind):
    samples = np.random.RandomState(0).uniform(size=(2, 60, 5))
    display = InterpolationDisplay(walks=samples, kind=kind).plot()
    assert display.figure_.get_figwidth() < 14
    few = InterpolationDisplay(walks=samples[:, :5], kind=kind).plot()
    assert few.figure_.get_figwidth() < display.figure_.get_figwidth()
