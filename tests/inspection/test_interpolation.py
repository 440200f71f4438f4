"""Decoded interpolations, compared with ``interpolate``."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from inspection.figures import texts_of
from matplotlib.colors import same_color
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from sklearn_ae.inspection import InterpolationDisplay
from sklearn_ae.latent import interpolate

X = load_iris().data


@pytest.mark.parametrize("method", ["linear", "spherical"])
def test_plots_the_interpolation(digits, digits_pca, method):
    start = digits[:2]
    end = digits[7:9]
    display = InterpolationDisplay.from_estimator(
        digits_pca, start, end, n_steps=5, method=method, image_shape=(8, 8)
    )
    np.testing.assert_array_equal(display.walks, interpolate(digits_pca, start, end, 5, method))
    np.testing.assert_array_equal(display.X_start, start)
    np.testing.assert_array_equal(display.X_end, end)
    assert len(display.images_) == 6
    assert not display.lines_


def test_accepts_single_samples_of_one_dimension(digits, digits_pca):
    display = InterpolationDisplay.from_estimator(digits_pca, digits[0], digits[1], image_shape=(8, 8))
    assert display.walks.shape == (1, 10, 64)
    np.testing.assert_array_equal(display.X_start, digits[:1])


def test_walks_can_be_plotted_alone(digits, digits_pca):
    walks = interpolate(digits_pca, digits[:2], digits[3:5])
    display = InterpolationDisplay(walks=walks, image_shape=(8, 8)).plot()
    assert len(display.images_) == 2
    assert not display.ax_.patches
    assert "start" not in texts_of(display.figure_)


def test_names_of_a_data_frame_label_the_features():
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    display = InterpolationDisplay.from_estimator(PCA(2).fit(frame), frame[:1], frame[1:2], n_steps=2)
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == list("abcd")


def test_options_replace_the_defaults():
    walks = np.random.RandomState(0).normal(size=(1, 3, 4))
    image = InterpolationDisplay(walks=walks).plot(im_kwargs={"cmap": "magma"}).images_[0]
    assert image.get_cmap().name == "magma"
    line = InterpolationDisplay(walks=walks, kind="curve").plot(line_kwargs={"color": "red"}).lines_[0]
    assert same_color(line.get_color(), "red")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"X_end": X[:3]}, "X_start .* X_end"),
        ({"method": "round"}, "method='round' is not known"),
        ({"kind": "walk"}, "kind='walk' is not known"),
        ({"n_steps": 1}, "n_steps == 1, must be >= 2"),
        ({"image_shape": (3, 3)}, "does not fit samples of 4 features"),
    ],
)
def test_errors_name_the_parameter(options, message):
    with pytest.raises(ValueError, match=message):
        InterpolationDisplay.from_estimator(PCA(2).fit(X), **{"X_start": X[:2], "X_end": X[2:4], **options})
    assert not plt.get_fignums()


def test_refuses_estimators_that_cannot_decode():
    with pytest.raises(TypeError, match="TSNE"):
        InterpolationDisplay.from_estimator(TSNE(), X, X)
    with pytest.raises(TypeError, match="the class PCA"):
        InterpolationDisplay.from_estimator(PCA, X, X)
