"""Drawings of contributions, compared with ``component_contributions``."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from inspection.figures import bar_labels, drawn, texts_of
from matplotlib.colors import Normalize, same_color
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae.inspection import ComponentContributionsDisplay, component_contributions

X = load_iris().data
FRAME = pd.DataFrame(X, columns=["a", "b", "c", "d"])
CANCER = load_breast_cancer()


@pytest.fixture(scope="module")
def pca():
    return PCA(2).fit(X)


@pytest.mark.parametrize("side", ["decoder", "encoder"])
@pytest.mark.parametrize("feature_scale", ["per_column", "shared"])
def test_images_have_the_contributions_on_one_symmetric_scale(digits, digits_pca, side, feature_scale):
    options = {"side": side, "feature_scale": feature_scale, "image_shape": (8, 8)}
    display = drawn(ComponentContributionsDisplay.from_estimator(digits_pca, digits, **options))
    expected = component_contributions(digits_pca, digits, feature_scale=feature_scale)[side]
    for image, contributions in zip(display.artists_, expected, strict=True):
        np.testing.assert_allclose(image.get_array(), contributions.reshape(8, 8))
        low, high = image.get_clim()
        assert low == -high
        assert 0 < high <= np.abs(expected).max()
    assert display.artists_[0].get_clim() == display.artists_[1].get_clim()
    (label,) = bar_labels(display)
    assert label.startswith("sd of the component" if side == "encoder" else "sd of the feature")
    assert ("rms" in label) == (feature_scale == "shared")


def test_heat_maps_have_the_largest_features_first():
    model = make_pipeline(StandardScaler(), PCA(3)).fit(CANCER.data)
    names = list(CANCER.feature_names)
    display = drawn(
        ComponentContributionsDisplay.from_estimator(
            model, CANCER.data, feature_names=names, max_features=5, components=[2, 0]
        )
    )
    expected = component_contributions(model, CANCER.data).decoder[[2, 0]]
    shown = [label.get_text() for label in display.ax_.get_yticklabels()]
    largest = np.sort(np.abs(expected).max(axis=0))[::-1][:5]
    np.testing.assert_allclose(np.abs(display.artists_[0].get_array()).max(axis=1), largest)
    columns = [names.index(name) for name in shown]
    np.testing.assert_allclose(display.artists_[0].get_array(), expected[:, columns].T)
    assert [label.get_text().split("\n")[0] for label in display.ax_.get_xticklabels()] == [
        "Component 3",
        "Component 1",
    ]
    assert display.ax_.get_title().endswith("(largest 5 of 30 features)")
    assert f"{display.artists_[0].get_array()[0, 0]:.2f}".replace("-", "\N{MINUS SIGN}") in texts_of(
        display.figure_
    )


def test_curves_have_the_contributions(digits, digits_pca):
    display = drawn(ComponentContributionsDisplay.from_estimator(digits_pca, digits))
    expected = component_contributions(digits_pca, digits).decoder
    assert display.axes_.shape == (2, 1)
    for line, contributions in zip(display.artists_, expected, strict=True):
        np.testing.assert_allclose(line.get_ydata(), contributions)
    named = ComponentContributionsDisplay.from_predictions(expected, feature_names=np.arange(64) * 10)
    np.testing.assert_array_equal(named.artists_[0].get_xdata(), np.arange(64) * 10)


def test_linear_shares_are_shown():
    contributions = np.array([[3.0, -4.0], [0.0, 0.0]])
    shares = np.array([[0.0, 1.0], [1.0, 1.0]])
    display = drawn(ComponentContributionsDisplay.from_predictions(contributions, shares))
    headings = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert headings == ["Component 1\n64% linear", "Component 2\n100% linear"]
    assert {"3.00 (0%)", "−4.00 (100%)"} <= texts_of(display.figure_)
    without = ComponentContributionsDisplay.from_predictions(contributions)
    assert not any("%" in text for text in texts_of(drawn(without).figure_))
    linear = ComponentContributionsDisplay.from_predictions(contributions, np.ones((2, 2)))
    assert "−4.00" in texts_of(drawn(linear).figure_)


def test_many_components_are_cut(digits):
    pca = PCA(20).fit(digits)
    display = ComponentContributionsDisplay.from_estimator(pca, digits, image_shape=(8, 8))
    assert len(display.artists_) == 16
    assert display.axes_.shape == (4, 4)
    assert "Decoder contributions of PCA\n(first 16 of 20 components)" in texts_of(display.figure_)
    few = ComponentContributionsDisplay.from_estimator(pca, digits, image_shape=(8, 8), components=range(7))
    assert [ax.axison for ax in few.axes_.flat] == 7 * [True] + [False]
    assert "Decoder contributions of PCA" in texts_of(few.figure_)
    one = ComponentContributionsDisplay.from_estimator(pca, digits, image_shape=(8, 8), components=3)
    assert one.ax_.get_title().startswith("Component 4")


def test_extreme_values_do_not_hide_the_others():
    contributions = np.random.RandomState(0).uniform(-1, 1, size=(2, 400))
    contributions[0, 0] = 50
    display = ComponentContributionsDisplay.from_predictions(contributions, image_shape=(20, 20))
    assert display.artists_[0].get_clim()[1] < 1.1
    same = ComponentContributionsDisplay.from_predictions(np.full((1, 4), -2.0), image_shape=(2, 2))
    assert same.artists_[0].get_clim() == (-2, 2)
    zero = ComponentContributionsDisplay.from_predictions(np.zeros((1, 4)), image_shape=(2, 2))
    assert zero.artists_[0].get_clim() == (-1, 1)


def test_images_have_the_shape_of_the_convolutional_network(convolutional, digits):
    display = ComponentContributionsDisplay.from_estimator(convolutional, digits[:50])
    assert display.artists_[0].get_array().shape == (8, 8)


def test_channels_are_averaged():
    contributions = np.arange(12.0).reshape(1, 12)
    display = ComponentContributionsDisplay.from_predictions(contributions, image_shape=(3, 2, 2))
    np.testing.assert_allclose(display.artists_[0].get_array(), [[4, 5], [6, 7]])


def test_names_of_a_data_frame_and_of_the_model():
    display = ComponentContributionsDisplay.from_estimator(PCA(2).fit(FRAME), FRAME, name="Model")
    assert sorted(label.get_text() for label in display.ax_.get_yticklabels()) == list("abcd")
    assert display.ax_.get_title() == "Decoder contributions of Model"
    again = ComponentContributionsDisplay.from_predictions(
        pd.DataFrame(display.contributions, columns=list("efgh"))
    )
    assert sorted(label.get_text() for label in again.ax_.get_yticklabels()) == list("efgh")


def test_title_and_style(pca, digits, digits_pca):
    options = {"title": "Own $title", "im_kwargs": {"cmap": "PuOr", "vmin": -3}}
    heatmap = ComponentContributionsDisplay.from_estimator(pca, X, **options)
    images = ComponentContributionsDisplay.from_estimator(pca, X, image_shape=(2, 2), **options)
    for display in (heatmap, images):
        assert display.artists_[0].get_cmap().name == "PuOr"
        assert display.artists_[0].get_clim()[0] == -3
        assert "Own $title" in texts_of(display.figure_)
    curves = ComponentContributionsDisplay.from_estimator(
        digits_pca, digits, line_kwargs={"color": "red", "lw": 3}
    )
    assert same_color(curves.artists_[0].get_color(), "red")
    assert curves.artists_[0].get_linewidth() == 3
    assert "Other" in texts_of(curves.plot(title="Other").figure_)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "picture"}, "kind='picture' is not known"),
        ({"kind": "image"}, "pass image_shape="),
        ({"image_shape": (3, 3)}, "image_shape=.* does not fit samples of 4 features"),
        ({"side": "both"}, "side='both' is not known"),
        ({"feature_scale": "own"}, "feature_scale='own' is not known"),
        ({"components": 2}, "components must be an integer from 0 to 1"),
        ({"components": []}, "components must hold at least one"),
        ({"max_features": 0}, "max_features == 0, must be >= 1"),
        ({"feature_names": ["a"]}, "feature_names has 1 names"),
    ],
)
def test_errors_name_the_parameter(pca, options, message):
    with pytest.raises(ValueError, match=message):
        ComponentContributionsDisplay.from_estimator(pca, X, **options)
    assert not plt.get_fignums()


def test_predictions_must_fit():
    with pytest.raises(ValueError, match="linear_share must have the shape of contributions"):
        ComponentContributionsDisplay.from_predictions(np.ones((2, 4)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="contributions contains NaN"):
        ComponentContributionsDisplay.from_predictions([[np.nan, 1]])


def test_models_that_cannot_decode_are_refused():
    with pytest.raises(TypeError, match="estimator must be a fitted transformer"):
        ComponentContributionsDisplay.from_estimator(StandardScaler, X)


def test_a_norm_replaces_the_limits(digits, digits_pca):
    norm = Normalize(-1, 1)
    for shape in (None, (8, 8)):
        kind = "heatmap" if shape is None else "image"
        display = ComponentContributionsDisplay.from_estimator(
            digits_pca, digits, image_shape=shape, kind=kind, im_kwargs={"norm": norm}
        )
        assert display.artists_[0].norm is norm
