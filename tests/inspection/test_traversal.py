"""Traversals of the components, against direct decoding, and their labels."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from inspection.figures import drawn, texts_of
from scipy.stats import norm
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.inspection import TraversalDisplay
from sklearn_ae.latent import traverse

IRIS = load_iris(as_frame=True).data
CURVES = np.sin(np.linspace(1, 3, 50)[:, np.newaxis] * np.linspace(0, 6, 40))


def xticks(display):
    return [label.get_text() for label in display.ax_.get_xticklabels()]


def yticks(display):
    return [label.get_text() for label in display.ax_.get_yticklabels()]


# -- what is drawn ------------------------------------------------------------------------


def test_images_are_decoded_codes(digits):
    pca = PCA(3).fit(digits)
    display = drawn(TraversalDisplay.from_estimator(pca, digits, n_steps=5, image_shape=(8, 8)))
    codes = pca.transform(digits)
    levels = np.linspace(0.05, 0.95, 5)
    assert len(display.images_) == 3
    for component, image in enumerate(display.images_):
        wanted = np.tile(np.median(codes, axis=0), (5, 1))
        wanted[:, component] = np.quantile(codes[:, component], levels)
        tiles = np.asarray(image.get_array()).reshape(8, 5, 8).swapaxes(0, 1)
        np.testing.assert_allclose(tiles.reshape(5, 64), pca.inverse_transform(wanted), atol=1e-9)
        np.testing.assert_allclose(display.values[component], wanted[:, component])
    bottoms = [image.get_extent()[2] for image in display.images_]
    assert (np.diff(bottoms) < 0).all()  # the first component on top
    assert xticks(display) == ["5 %", "27.5 %", "50 %", "72.5 %", "95 %"]
    assert [text.split("\n")[0] for text in yticks(display)] == ["Component 1", "Component 2", "Component 3"]
    assert display.ax_.get_title() == "Traversal of PCA"


def test_a_sample_and_values_can_be_given():
    model = make_pipeline(StandardScaler(), PCA(3)).fit(IRIS)
    display = TraversalDisplay.from_estimator(model, x=IRIS.iloc[0], components=[2, 0], values=[-1, 0, 0.5])
    for samples, component in zip(display.samples, (2, 0), strict=True):
        np.testing.assert_allclose(samples, traverse(model, IRIS.iloc[0], component, [-1, 0, 0.5]))
    assert xticks(drawn(display)) == ["\N{MINUS SIGN}1.0", "0.0", "0.5"]
    assert {"Component 3", "Component 1"} <= texts_of(display.figure_)
    assert display.ax_.get_xlabel() == "Value of the component"
    assert display.ax_.get_title() == "Traversal of PCA (2 of 3 components)"
    assert set(IRIS.columns) <= set(yticks(display))


def test_the_prior_of_a_vae_needs_no_samples(vae):
    display = drawn(TraversalDisplay.from_estimator(vae))
    np.testing.assert_allclose(display.values, np.tile(norm.ppf(np.linspace(0.05, 0.95, 10)), (2, 1)))


def test_curves_share_a_scale():
    display = drawn(TraversalDisplay.from_estimator(PCA(2).fit(CURVES), CURVES, n_steps=4))
    assert [len(lines.get_segments()) for lines in display.lines_] == [4, 4]
    drawn_values = np.array([[line[:, 1] for line in lines.get_segments()] for lines in display.lines_])
    for of_component, samples in zip(drawn_values, display.samples, strict=True):
        slopes = [np.polyfit(sample, line, 1)[0] for sample, line in zip(samples, of_component, strict=True)]
        np.testing.assert_allclose(slopes, np.polyfit(display.samples[0, 0], drawn_values[0, 0], 1)[0])


def test_convolutional_networks_give_the_shape(convolutional, digits):
    display = TraversalDisplay.from_estimator(convolutional, digits[:50])
    assert display.image_shape == (1, 8, 8)
    assert len(display.images_) == 2


# -- choice of components -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_features", "n_components", "n_shown"), [(64, 20, 10), (64, 4, 4), (4, 3, 3), (13, 8, 3), (30, 5, 1)]
)
def test_first_components_are_shown_by_default(n_features, n_components, n_shown):
    X = np.random.RandomState(0).normal(size=(80, n_features))
    display = TraversalDisplay.from_estimator(PCA(n_components).fit(X), X)
    assert display.components == list(range(n_shown))
    title = "Traversal of PCA"
    if n_shown < n_components:
        title += f" ({n_shown} of {n_components} components)"
    assert display.ax_.get_title() == title


def test_titles_do_not_overlap_the_names_of_components():
    display = drawn(TraversalDisplay.from_estimator(PCA(2).fit(IRIS), IRIS))
    renderer = display.figure_.canvas.get_renderer()
    title = display.ax_.title.get_window_extent(renderer)
    names = [text for text in display.ax_.texts if text.get_text().startswith("Component")]
    assert len(names) == 2
    assert not any(title.overlaps(name.get_window_extent(renderer)) for name in names)


# -- interface ----------------------------------------------------------------------------


def test_given_traversals_are_drawn():
    X = IRIS.to_numpy()
    samples = traverse(PCA(2).fit(X), X[0], [0, 1], [-2.0, 2.0])
    _, ax = plt.subplots()
    display = TraversalDisplay(samples=samples, values=[-2.0, 2.0]).plot(ax, title="Mine")
    assert display.ax_ is ax
    assert display.axes_[0, 0] is ax
    assert drawn(display).ax_.get_title() == "Mine"
    assert xticks(display) == ["\N{MINUS SIGN}2", "2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"X": None}, "X=None needs a standard normal prior"),
        ({"components": [0, 5]}, "components must be an integer from 0 to 1"),
        ({"components": []}, "at least one"),
        ({"n_steps": 1}, "n_steps == 1"),
        ({"quantile_range": (0.9, 0.1)}, "quantile_range must hold"),
        ({"values": [0, np.nan]}, "values contains NaN"),
        ({"x": IRIS.to_numpy()[:2]}, "x must be a single sample"),
        ({"kind": "tile"}, "kind='tile' is not known"),
        ({"kind": "image"}, "kind='image' needs the shape"),
        ({"image_shape": (3, 2)}, "image_shape=\\(3, 2\\) does not fit"),
        ({"feature_names": ["a"]}, "feature_names has 1 names"),
    ],
    ids=str,
)
def test_errors_name_the_parameter(options, message):
    pca = PCA(2).fit(IRIS.to_numpy())
    with pytest.raises(ValueError, match=message):
        TraversalDisplay.from_estimator(pca, **{"X": IRIS.to_numpy()} | options)
    assert not plt.get_fignums()


def test_refuses_estimators_that_cannot_decode():
    with pytest.raises(TypeError, match="estimator must be a fitted transformer"):
        TraversalDisplay.from_estimator(StandardScaler, IRIS)
    assert (
        TraversalDisplay.from_estimator(TruncatedSVD(2, random_state=0).fit(IRIS), IRIS).name
        == "TruncatedSVD"
    )


@pytest.mark.parametrize("components", [[True, False], [5], []], ids=str)
def test_wrong_components_are_named(components):
    X = np.random.RandomState(0).normal(size=(30, 4))
    with pytest.raises(ValueError, match="components must"):
        TraversalDisplay.from_estimator(PCA(3).fit(X), X, components=components)


def test_a_model_without_components_has_nothing_to_vary():
    X = np.random.RandomState(0).normal(size=(30, 4))
    with pytest.raises(ValueError, match="no components"):
        TraversalDisplay.from_estimator(AutoencoderTransformer(0).fit(X), X)
