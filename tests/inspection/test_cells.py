"""Choice of the drawing, and samples in the cells of a grid."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from sklearn_ae.inspection._cells import (
    as_samples,
    cell_curves,
    format_values,
    grid_images,
    image_options,
    infer_image_shape,
    mosaic,
    resolve_feature_names,
    resolve_kind,
    tick_indices,
)

RNG = np.random.RandomState(0)


# -- parameters ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image_shape", "n_features", "kind"),
    [((5, 6), 30, "image"), (None, 30, "heatmap"), (None, 31, "curve")],
)
def test_auto_depends_on_shape_and_number_of_features(image_shape, n_features, kind):
    assert resolve_kind("auto", image_shape, n_features) == kind
    assert resolve_kind("curve", image_shape, n_features) == "curve"


def test_refuses_unknown_kinds_and_images_without_a_shape():
    with pytest.raises(ValueError, match="kind='bars' is not known"):
        resolve_kind("bars", None, 4)
    with pytest.raises(ValueError, match="pass image_shape="):
        resolve_kind("image", None, 4)


def convolutional_model(image_shape, n_features=12):
    network = SimpleNamespace(image_shape=image_shape)
    return SimpleNamespace(network_=network, n_features_in_=n_features)


@pytest.mark.parametrize(
    ("image_shape", "n_features", "expected"),
    [((3, 4), 12, (1, 3, 4)), ((3, 2, 2), 12, (3, 2, 2)), (None, 16, (1, 4, 4))],
)
def test_shape_of_images_is_that_of_the_network(image_shape, n_features, expected):
    model = convolutional_model(image_shape, n_features)
    assert infer_image_shape(model, None, n_features) == expected
    assert infer_image_shape(SimpleNamespace(autoencoder_=model, n_features_in_=n_features), None, 16) == (
        expected if n_features == 16 else None
    )
    assert infer_image_shape(model, (2, 6), n_features) == (2, 6)


def test_no_shape_without_a_convolutional_network_of_these_features():
    assert infer_image_shape(PCA(2), None, 12) is None
    model = make_pipeline(PCA(2), convolutional_model((3, 4)))
    assert infer_image_shape(model, None, 12) == (1, 3, 4)
    assert infer_image_shape(model, None, 20) is None  # the first step changes the features


def test_names_come_from_parameter_frame_or_model():
    frame = pd.DataFrame(RNG.normal(size=(5, 3)), columns=["a", "b", "c"])
    model = PCA(2).fit(frame)
    assert resolve_feature_names(None, 3, frame) == ["a", "b", "c"]
    assert resolve_feature_names(None, 3, frame.to_numpy(), model) == ["a", "b", "c"]
    assert resolve_feature_names([1, 2, 3], 3, frame) == ["1", "2", "3"]
    assert resolve_feature_names(None, 2, frame) == ["x0", "x1"]
    with pytest.raises(ValueError, match="feature_names has 1 names, but samples have 3 features"):
        resolve_feature_names(["a"], 3)


def test_samples_may_be_single_sparse_or_incomplete():
    np.testing.assert_array_equal(as_samples([1, 2], "X"), [[1.0, 2.0]])
    np.testing.assert_array_equal(as_samples(sparse.csr_array(np.eye(2)), "X"), np.eye(2))
    np.testing.assert_array_equal(as_samples([[np.nan, 1]], "X"), [[np.nan, 1]])


# -- cells --------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1, 255])
def test_colours_are_scaled_and_clipped(scale):
    samples = RNG.uniform(size=(2, 2, 3 * 4 * 5)) * scale
    samples[0, 0, 0] = -0.1 * scale
    samples[0, 0, 1] = 1.1 * scale
    images = grid_images(samples, (3, 4, 5))
    assert images.shape == (2, 2, 4, 5, 3)
    channels = samples[1, 0].reshape(3, 4, 5) / scale
    np.testing.assert_allclose(images[1, 0], np.moveaxis(channels, 0, -1))
    assert images[0, 0, 0, 0, 0] == 0
    assert images[0, 0, 0, 1, 0] == 1


def test_images_need_one_three_or_four_channels():
    assert grid_images(np.ones((1, 16)), (4, 2, 2)).shape == (1, 2, 2, 4)
    with pytest.raises(ValueError, match="has 2 channels; pass 1, 3 or 4"):
        grid_images(np.ones((1, 4)), (2, 1, 2))


def test_tiles_of_a_mosaic_are_the_images():
    images = RNG.normal(size=(2, 3, 4, 5))
    joined = mosaic(images)
    assert joined.shape == (8, 15)
    np.testing.assert_array_equal(joined[4:, 5:10], images[1, 1])


def test_scale_of_images_ignores_a_few_extreme_pixels():
    images = RNG.uniform(size=(3, 3, 10, 20))
    images[0, 0, 0, 0] = 1000
    images[0, 0, 0, 1] = np.nan
    options = image_options(images)
    assert 0 <= options["vmin"] < 0.1
    assert 0.9 < options["vmax"] <= 1


def test_curves_lie_in_their_cells_on_one_scale():
    samples = RNG.normal(size=(2, 3, 7))
    limits = samples.min(), samples.max()
    lines = cell_curves(samples, np.arange(3), np.array([4.0, 0.0]), height=2, limits=limits)
    slopes = []
    for line, (i, j) in zip(lines, np.ndindex(2, 3), strict=True):
        assert (line >= (j, [4, 0][i])).all()
        assert (line <= (j + 1, [4, 0][i] + 2)).all()
        slope, offset = np.polyfit(samples[i, j], line[:, 1], 1)
        np.testing.assert_allclose(line[:, 1], slope * samples[i, j] + offset)
        slopes.append(slope)
    np.testing.assert_allclose(slopes, slopes[0])


@pytest.mark.parametrize("n", [1, 2, 8, 9, 15, 100])
def test_ticks_are_few_and_evenly_spaced(n):
    ticks = tick_indices(n)
    assert ticks[0] == 0
    assert ticks[-1] < n
    assert len(ticks) <= 8
    assert len(set(np.diff(ticks))) <= 1


def test_decimals_distinguish_neighbours():
    assert format_values(np.array([-10.2, 0.1, 12.3])) == ["\N{MINUS SIGN}10", "0", "12"]
    assert format_values(np.array([-0.01, 0.0, 0.05])) == ["\N{MINUS SIGN}0.01", "0.00", "0.05"]
    assert format_values(np.array([-1e-9, 5.0])) == ["0", "5"]
