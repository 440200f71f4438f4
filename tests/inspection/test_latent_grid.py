"""Decoded planes, compared with ``latent_grid``."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import same_color
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from sklearn_ae.inspection import LatentGridDisplay
from sklearn_ae.latent import latent_grid

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = load_iris().data
FRAME = pd.DataFrame(X, columns=["a", "b", "c", "d"])


@pytest.fixture(scope="module")
def pca():
    return PCA(2).fit(X)


def test_plots_the_latent_grid(digits, digits_pca):
    options = {"components": (1, 0), "quantile_range": (0.2, 0.7)}
    display = LatentGridDisplay.from_estimator(digits_pca, digits, n_steps=4, kind="curve", **options)
    expected = latent_grid(digits_pca, 4, X=digits, **options)
    np.testing.assert_array_equal(display.samples, expected.samples)
    np.testing.assert_array_equal(display.grid_values, expected.grid_values)
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("Component 2", "Component 1")


def test_covers_the_prior_without_samples(vae):
    display = LatentGridDisplay.from_estimator(vae, n_steps=3, kind="curve")
    np.testing.assert_allclose(display.grid_values[0], [-1.6449, 0, 1.6449], atol=1e-4)


@pytest.mark.parametrize(
    ("options", "kind"),
    [({}, "heatmaps_"), ({"kind": "curve"}, "lines_"), ({"image_shape": (2, 2)}, "image_")],
)
def test_artists_are_attributes(pca, options, kind):
    display = LatentGridDisplay.from_estimator(pca, X, n_steps=3, **options)
    artists = {"image_": display.image_, "lines_": display.lines_, "heatmaps_": display.heatmaps_}
    assert [name for name, artist in artists.items() if artist] == [kind]


def test_images_have_the_shape_of_the_convolutional_network(convolutional, digits):
    display = LatentGridDisplay.from_estimator(convolutional, digits[:50], n_steps=3)
    assert display.image_.get_array().shape == (24, 24)


def test_names_of_a_data_frame_select_features():
    display = LatentGridDisplay.from_estimator(PCA(2).fit(FRAME), FRAME, features=["c", 0])
    assert [image.axes.get_title() for image in display.heatmaps_] == ["c", "a"]
    assert display.feature_names == list("abcd")


def test_options_replace_the_defaults(pca):
    options = {"im_kwargs": {"cmap": "magma", "vmin": -3}}
    display = LatentGridDisplay.from_estimator(pca, X, image_shape=(2, 2), **options)
    assert display.image_.get_cmap().name == "magma"
    assert display.image_.get_clim()[0] == -3
    curves = LatentGridDisplay.from_estimator(pca, X, kind="curve", line_kwargs={"color": "red"})
    assert same_color(curves.lines_.get_color(), "red")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "picture"}, "kind='picture' is not known"),
        ({"kind": "image"}, "pass image_shape="),
        ({"image_shape": (3, 3)}, "image_shape=.* does not fit samples of 4 features"),
        ({"image_shape": (2, 1, 2)}, "has 2 channels"),
        ({"components": (0, 2)}, "components must be an integer"),
        ({"n_steps": 1}, "n_steps == 1, must be >= 2"),
        ({"quantile_range": (1, 0)}, "quantile_range must hold"),
        ({"features": ["z"]}, "'z' is neither"),
        ({"features": []}, "at least one"),
        ({"feature_names": ["a"]}, "feature_names has 1 names, but samples have 4 features"),
        ({"X": None}, "X=None"),
    ],
)
def test_errors_name_the_parameter(pca, options, message):
    with pytest.raises(ValueError, match=message):
        LatentGridDisplay.from_estimator(pca, **{"X": X, **options})
    assert not plt.get_fignums()


def test_refuses_estimators_that_cannot_decode():
    with pytest.raises(TypeError, match="TSNE"):
        LatentGridDisplay.from_estimator(TSNE(), X)
    with pytest.raises(TypeError, match="the class PCA"):
        LatentGridDisplay.from_estimator(PCA, X)
