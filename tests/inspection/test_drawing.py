"""Helpers shared by the displays."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae.inspection import ReconstructionDisplay
from sklearn_ae.inspection._drawing import as_images, axes_and_figure, by_name, canvas, wrapped


def test_axes_without_ax_are_those_of_a_new_figure():
    ax, figure = axes_and_figure(None, None, figsize=(3, 2))
    assert figure.axes == [ax]
    assert axes_and_figure(None, ax) == (ax, figure)


def test_several_panels_need_a_cell_of_a_grid():
    ax = plt.figure().add_axes((0.1, 0.1, 0.8, 0.8))
    with pytest.raises(ValueError, match=r"ax must be a cell of a grid.*ReconstructionDisplay"):
        ReconstructionDisplay.from_predictions(np.ones((3, 2)), np.ones((3, 2)), ax=ax)


def test_panels_replace_the_axes():
    _, axes = plt.subplots(1, 2)
    panel = canvas(None, axes[1], (3, 2))
    assert not axes[1].axison
    assert panel.bbox.x0 >= axes[0].bbox.x1


def test_models_are_named_by_their_classes():
    models = [PCA(2), make_pipeline(StandardScaler(), PCA(4)), StandardScaler()]
    assert by_name(models) == {"PCA": models[0], "PCA 2": models[1], "StandardScaler": models[2]}
    assert by_name(models[1]) == {"PCA": models[1]}
    assert by_name({1: models[0]}) == {"1": models[0]}


@pytest.mark.parametrize("models", [[], {}, ()])
def test_no_models_are_refused(models):
    with pytest.raises(ValueError, match="at least one"):
        by_name(models)


@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3)])
def test_images_of_one_channel_are_two_dimensional(shape):
    samples = np.arange(12.0).reshape(2, 6)
    np.testing.assert_array_equal(as_images(samples, shape), samples.reshape(2, 2, 3))


def test_channels_of_images_come_last():
    samples = np.arange(24.0).reshape(2, 12)
    np.testing.assert_array_equal(as_images(samples, (3, 2, 2))[..., 1], samples[:, 4:8].reshape(2, 2, 2))


@pytest.mark.parametrize("shape", [(3, 3), (4,), (1, 1, 2, 2)])
def test_images_of_another_size_are_refused(shape):
    with pytest.raises(ValueError, match=r"image_shape=.* does not fit samples of 4 features"):
        as_images(np.ones((2, 4)), shape)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("PCA", ["PCA"]),
        ("AutoencoderTransformer", ["Autoencoder", "Transformer"]),
        ("od280/od315_of_diluted_wines", ["od280/od315_of_", "diluted_wines"]),
        ("a model with spaces in its name", ["a model with spaces", "in its name"]),
    ],
)
def test_long_names_break_where_words_begin(name, lines):
    assert wrapped(name).split("\n") == lines
