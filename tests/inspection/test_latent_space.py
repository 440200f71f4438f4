"""Scatter plots of codes, compared with the model's own ``transform``."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from inspection.figures import drawn, legend_of, texts_of
from matplotlib.colors import same_color
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA, KernelPCA, TruncatedSVD
from sklearn.manifold import TSNE
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae.inspection import LatentSpaceDisplay
from sklearn_ae.inspection._latent_space import _select_components

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])


@pytest.fixture(scope="module")
def pca():
    return PCA(2).fit(X)


def points(display):
    return np.concatenate([scatter.get_offsets() for scatter in display.scatters_])


# -- one or two components ----------------------------------------------------------------


def test_points_are_codes(pca):
    np.testing.assert_allclose(points(LatentSpaceDisplay.from_estimator(pca, X)), pca.transform(X))


def test_name_is_in_the_title(pca):
    display = LatentSpaceDisplay.from_estimator(pca, X, name="my model")
    assert "Latent space of my model" in texts_of(display.figure_)


def test_legend_is_beside_the_axes(pca):
    display = drawn(LatentSpaceDisplay.from_estimator(pca, X, pd.Series(NAMES[Y], name="species")))
    legend = display.ax_.get_legend()
    assert legend.get_title().get_text() == "species"
    assert legend_of(display.ax_) == NAMES.tolist()
    box = legend.get_window_extent()
    assert box.x0 > display.ax_.get_window_extent().x1
    assert box.x1 <= display.figure_.bbox.x1


def test_many_classes_are_labelled_inside_the_plot(digits, digits_pca):
    y = np.arange(len(digits)) % 10
    display = LatentSpaceDisplay.from_estimator(digits_pca, digits, y)
    assert [text.get_text() for text in display.ax_.texts] == list("0123456789")


def test_numbers_have_a_colour_bar(pca):
    y = pd.Series(np.linspace(0, 1, len(X)), name="age")
    (scatter,) = LatentSpaceDisplay.from_estimator(pca, X, y).scatters_
    np.testing.assert_array_equal(scatter.get_array(), y)
    assert scatter.get_clim() == (0, 1)
    assert scatter.colorbar.ax.get_ylabel() == "age"
    assert scatter.colorbar.extend == "neither"


@pytest.mark.parametrize("pipeline", [False, True])
def test_score_colours_by_log_likelihood(pipeline):
    model = (make_pipeline(StandardScaler(), PCA(2)) if pipeline else PCA(2)).fit(X)
    display = LatentSpaceDisplay.from_estimator(model, X, Y, color_by="score")
    (scatter,) = display.scatters_
    np.testing.assert_allclose(scatter.get_array(), model.score_samples(X))
    assert scatter.colorbar.ax.get_ylabel() == "Log-likelihood (nats)"


def test_score_of_a_vae_is_its_log_likelihood(vae, curve):
    (scatter,) = LatentSpaceDisplay.from_estimator(vae, curve[:5], color_by="score").scatters_
    np.testing.assert_allclose(scatter.get_array(), vae.score_samples(curve[:5]))


def test_components_are_shown_in_the_given_order():
    pca = PCA(4).fit(X)
    display = LatentSpaceDisplay.from_estimator(pca, X, components=(3, 1))
    np.testing.assert_allclose(points(display), pca.transform(X)[:, [3, 1]])
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("Component 4", "Component 2")


def test_one_component_without_target_is_a_histogram():
    display = LatentSpaceDisplay.from_estimator(PCA(1).fit(X), X)
    assert sum(patch.get_height() for patch in display.ax_.patches) == len(X)
    assert display.ax_.get_ylabel() == "Number of samples"


def test_one_component_with_classes_is_a_strip_per_class():
    codes = PCA(1).fit_transform(X)[:, 0]
    display = LatentSpaceDisplay.from_predictions(codes, NAMES[Y])
    for i, (scatter, line) in enumerate(zip(display.scatters_, display.ax_.lines, strict=True)):
        x, y = scatter.get_offsets().T
        np.testing.assert_allclose(x, codes[i == Y])
        assert np.abs(y - i).max() < 0.31
        np.testing.assert_allclose(line.get_xdata(), np.median(codes[i == Y]))
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == NAMES.tolist()


def test_one_component_is_drawn_against_a_number():
    codes = PCA(1).fit_transform(X)
    y = np.linspace(3, 4, len(X))
    display = LatentSpaceDisplay.from_predictions(codes, y, y_name="age")
    np.testing.assert_allclose(points(display), np.column_stack([codes, y]))
    assert display.ax_.get_ylabel() == "age"


def test_options_replace_the_defaults(pca):
    options = {"s": 77, "alpha": 0.3, "lw": 2, "color": "red"}
    (scatter,) = LatentSpaceDisplay.from_estimator(pca, X, scatter_kwargs=options).scatters_
    assert scatter.get_sizes() == [77]
    assert scatter.get_alpha() == 0.3
    assert scatter.get_linewidth() == [2]
    assert same_color(scatter.get_facecolor()[0], (1, 0, 0, 0.3))


def test_accepts_sparse_samples(trained, curve):
    for model in (trained, TruncatedSVD(2, random_state=0).fit(curve)):
        display = LatentSpaceDisplay.from_estimator(model, sparse.csr_array(curve))
        np.testing.assert_allclose(display.codes, model.transform(curve))


# -- scatter matrix -----------------------------------------------------------------------


def test_matrix_has_a_panel_for_each_pair():
    pca = PCA(4).fit(X)
    display = LatentSpaceDisplay.from_estimator(pca, X, components=(0, 2, 3))
    codes = pca.transform(X)[:, [0, 2, 3]]
    for i, j in ((1, 0), (2, 0), (2, 1)):
        (scatter,) = display.axes_[i, j].collections
        np.testing.assert_allclose(scatter.get_offsets(), codes[:, [j, i]])
    for i in range(3):
        assert sum(patch.get_height() for patch in display.axes_[i, i].patches) == len(X)
        assert display.axes_[2, i].get_xlabel() == f"Component {[1, 3, 4][i]}"
    assert not any(display.axes_[i, j].has_data() for i, j in ((0, 1), (0, 2), (1, 2)))
    assert display.axes_[2, 0].get_ylabel() == "Component 4"
    assert not display.axes_[2, 1].get_ylabel()


@pytest.mark.parametrize("y", [NAMES[Y], np.linspace(0, 1, 150), np.arange(150) % 10])
def test_panels_of_a_matrix_are_equally_large(y):
    display = drawn(LatentSpaceDisplay.from_predictions(X[:, :3], y))
    boxes = [display.axes_[i, i].get_window_extent() for i in range(3)]
    np.testing.assert_allclose([box.height for box in boxes], boxes[0].height, rtol=0.02)
    np.testing.assert_allclose([box.width for box in boxes], boxes[0].width, rtol=0.02)


def test_matrix_shows_at_most_five_components_by_default():
    assert _select_components(None, 7) == [0, 1, 2, 3, 4]
    assert _select_components(range(6), 7) == [0, 1, 2, 3, 4, 5]
    assert _select_components(None, 3) == [0, 1, 2]


# -- errors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": Y[:-1]}, "y has 149 values, but there are 150 samples"),
        ({"y": np.where(Y == 1, np.nan, Y)}, "y has missing values"),
        ({"components": 2}, "components must be an integer"),
        ({"components": (0, 0)}, "components must hold different indices"),
        ({"components": ()}, "components must hold different indices"),
        ({"color_by": "density"}, "color_by='density' is not known; valid strings are 'y' and 'score'"),
    ],
)
def test_errors_name_the_parameter(pca, options, message):
    with pytest.raises(ValueError, match=message):
        LatentSpaceDisplay.from_estimator(pca, X, **options)
    assert not plt.get_fignums()


def test_refuses_estimators_without_transform_or_likelihood():
    with pytest.raises(TypeError, match=r"TSNE.*LatentSpaceDisplay\.from_predictions"):
        LatentSpaceDisplay.from_estimator(TSNE(), X)
    with pytest.raises(TypeError, match="score_samples, and KernelPCA has none"):
        LatentSpaceDisplay.from_estimator(KernelPCA(2).fit(X), X, color_by="score")
