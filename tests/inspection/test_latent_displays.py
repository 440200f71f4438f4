"""Displays of the latent space: what is drawn, against the models' own transform and inverse_transform."""

import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import same_color, to_rgba
from scipy import sparse
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA, KernelPCA
from sklearn.exceptions import NotFittedError
from sklearn.manifold import TSNE
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AutoencoderTransformer, VAETransformer
from sklearn_ae.inspection import InterpolationDisplay, LatentGridDisplay, LatentSpaceDisplay
from sklearn_ae.latent import interpolate, latent_grid

pytestmark = pytest.mark.filterwarnings("ignore:The loss was still falling steeply")

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])
DIGITS, DIGIT = load_digits(return_X_y=True)
CURVES = np.sin(np.linspace(1, 3, 50)[:, np.newaxis] * np.linspace(0, 6, 40))
FRAME = pd.DataFrame(X, columns=["a", "b", "c", "d"])


@pytest.fixture(autouse=True)
def clean(unchanged_globals):
    """No display changes the options of matplotlib, and no figure stays."""
    before = dict(matplotlib.rcParams)
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == before


@pytest.fixture(scope="module")
def pca():
    return PCA(2).fit(X)


@pytest.fixture(scope="module")
def digits_pca():
    return PCA(2).fit(DIGITS)


@pytest.fixture(scope="module")
def vae():
    return VAETransformer(2, hidden_layer_sizes=(8,), max_iter=5, random_state=0).fit(DIGITS)


def points(display):
    return np.concatenate([scatter.get_offsets() for scatter in display.scatters_])


def in_rows(a, b):
    """Whether two sets of rows are the same, in any order."""
    return np.allclose(a[np.lexsort(a.T)], b[np.lexsort(b.T)])


def words(figure):
    return {text.get_text() for text in figure.findobj(matplotlib.text.Text)}


def reconstruct(model, rows):
    return model.inverse_transform(model.transform(rows))


# -- all three ----------------------------------------------------------------------------

DRAW = {
    "plane": lambda model, ax: LatentSpaceDisplay.from_estimator(model, X, Y, components=(0, 1), ax=ax),
    "line": lambda model, ax: LatentSpaceDisplay.from_estimator(model, X, Y, components=0, ax=ax),
    "matrix": lambda model, ax: LatentSpaceDisplay.from_estimator(model, X, Y, ax=ax),
    "heat maps": lambda model, ax: LatentGridDisplay.from_estimator(model, X, n_steps=3, ax=ax),
    "pictures": lambda model, ax: LatentGridDisplay.from_estimator(model, X, image_shape=(2, 2), ax=ax),
    "curves": lambda model, ax: LatentGridDisplay.from_estimator(model, X, kind="curve", ax=ax),
    "walks": lambda model, ax: InterpolationDisplay.from_estimator(model, X[:2], X[60:62], ax=ax),
}


@pytest.fixture(params=DRAW)
def draw(request):
    return DRAW[request.param]


@pytest.fixture(scope="module")
def standardised():
    return make_pipeline(StandardScaler(), PCA(3)).fit(FRAME.to_numpy())


class TestEveryDisplay:
    def test_draws_in_the_given_axes(self, draw, standardised):
        figure, axes = plt.subplots(1, 2)
        display = draw(standardised, axes[1])
        assert display.figure_ is figure
        assert not axes[0].has_data()
        figure.canvas.draw()
        right_of = axes[0].get_window_extent().x1
        assert all(ax.get_window_extent().x0 >= right_of for ax in display.axes_.flat)

    def test_makes_a_figure_of_its_own(self, draw, standardised):
        figure, _ = plt.subplots()
        display = draw(standardised, None)
        assert display.figure_ is not figure
        assert display.ax_.get_figure(root=True) is display.figure_
        display.figure_.canvas.draw()  # warnings of the layout would be errors

    def test_plots_again_what_it_stores(self, draw, standardised):
        display = draw(standardised, None)
        first = display.figure_
        before = [len(ax.get_children()) for ax in display.axes_.flat]
        assert display.plot() is display
        assert display.figure_ is not first
        assert [len(ax.get_children()) for ax in display.axes_.flat] == before

    def test_has_a_title_and_named_axes(self, draw, standardised):
        found = words(draw(standardised, None).figure_)
        assert any(word.endswith("PCA") for word in found)
        assert found & {"Component 1", "Share of the way from the reconstruction of start to that of end"}

    def test_name_in_the_title(self, pca):
        assert "Latent space of my model" in words(
            LatentSpaceDisplay.from_estimator(pca, X, name="my model").figure_
        )

    def test_says_that_matplotlib_is_missing(self, draw, standardised, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
        with pytest.raises(ImportError, match="needs matplotlib: pip install matplotlib"):
            draw(standardised, None)

    def test_stored_displays_need_matplotlib_only_to_plot(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
        display = LatentSpaceDisplay(codes=X[:, :2])
        with pytest.raises(ImportError, match="LatentSpaceDisplay needs matplotlib"):
            display.plot()

    def test_unfitted_models_are_named(self, draw):
        with pytest.raises(NotFittedError, match="PCA"):
            draw(PCA(3), None)
        assert not plt.get_fignums()

    def test_takes_transformers_of_data_frames(self, draw):
        plain = draw(PCA(3).fit(X), None)
        framed = draw(PCA(3).fit(X).set_output(transform="pandas"), None)
        for name in ("codes", "rows", "walks"):
            np.testing.assert_array_equal(getattr(framed, name, 0), getattr(plain, name, 0))


# -- latent space -------------------------------------------------------------------------


class TestLatentSpace:
    def test_points_are_codes(self, pca):
        display = LatentSpaceDisplay.from_estimator(pca, X)
        np.testing.assert_allclose(points(display), pca.transform(X))

    def test_each_class_has_its_rows_colour_and_marker(self, pca):
        display = LatentSpaceDisplay.from_estimator(pca, X, NAMES[Y])
        codes, looks = pca.transform(X), set()
        for i, scatter in enumerate(display.scatters_):
            np.testing.assert_allclose(scatter.get_offsets(), codes[i == Y])
            assert scatter.get_label() == NAMES[i]
            looks.add((to_rgba(scatter.get_facecolor()[0]), scatter.get_paths()[0].vertices.tobytes()))
        assert len({colour for colour, _ in looks}) == len({marker for _, marker in looks}) == 3

    def test_legend_lies_beside_the_axes(self, pca):
        display = LatentSpaceDisplay.from_estimator(pca, X, pd.Series(NAMES[Y], name="species"))
        display.figure_.canvas.draw()
        legend = display.ax_.get_legend()
        assert legend.get_title().get_text() == "species"
        assert [text.get_text() for text in legend.get_texts()] == NAMES.tolist()
        box = legend.get_window_extent()
        assert box.x0 > display.ax_.get_window_extent().x1
        assert box.x1 <= display.figure_.bbox.x1

    def test_twenty_classes_differ_in_colour_or_marker(self):
        codes, y = np.random.RandomState(0).normal(size=(400, 2)), np.arange(400) % 20
        scatters = LatentSpaceDisplay.from_predictions(codes, y).scatters_
        looks = {(to_rgba(s.get_facecolor()[0]), s.get_paths()[0].vertices.tobytes()) for s in scatters}
        assert len(looks) == 20

    def test_classes_beyond_twenty_are_joined(self):
        rng = np.random.RandomState(0)
        y = np.repeat([f"class {i:02d}" for i in range(30)], np.arange(30, 0, -1))
        codes = rng.normal(size=(len(y), 2))
        display = LatentSpaceDisplay.from_predictions(codes, y)
        assert [s.get_label() for s in display.scatters_] == [f"class {i:02d}" for i in range(19)] + [
            "11 others"
        ]
        assert in_rows(display.scatters_[-1].get_offsets(), codes[y >= "class 19"])

    def test_many_classes_are_named_inside_their_own_points(self, digits_pca):
        display = LatentSpaceDisplay.from_estimator(digits_pca, DIGITS, DIGIT)
        codes = digits_pca.transform(DIGITS)
        assert [text.get_text() for text in display.ax_.texts] == list("0123456789")
        for text in display.ax_.texts:
            own = codes[int(text.get_text()) == DIGIT]
            assert (own == text.xy).all(axis=1).any()

    def test_names_go_to_the_denser_of_two_clusters(self):
        rng = np.random.RandomState(0)
        codes, y = rng.normal(size=(800, 2)), np.arange(800) % 8
        codes[y == 0] = np.concatenate([rng.normal(-10, 0.1, (60, 2)), rng.normal(10, 1, (40, 2))])
        text = LatentSpaceDisplay.from_predictions(codes, y).ax_.texts[0]
        np.testing.assert_allclose(text.xy, (-10, -10), atol=0.3)

    def test_numbers_make_a_colour_bar(self, pca):
        y = pd.Series(np.linspace(0, 1, len(X)), name="age")
        display = LatentSpaceDisplay.from_estimator(pca, X, y)
        (scatter,) = display.scatters_
        np.testing.assert_array_equal(scatter.get_array(), y)
        assert scatter.get_clim() == (0, 1)
        assert scatter.colorbar.ax.get_ylabel() == "age"
        assert scatter.colorbar.extend == "neither"

    def test_an_extreme_number_does_not_take_all_colours(self, pca):
        y = np.linspace(0, 1, len(X))
        y[3] = 1000
        (scatter,) = LatentSpaceDisplay.from_estimator(pca, X, y).scatters_
        assert scatter.get_clim()[1] < 2
        assert scatter.colorbar.extend == "max"

    def test_small_classes_lie_on_top(self):
        y = np.repeat(["few", "many", "some"], [10, 100, 40])
        scatters = LatentSpaceDisplay.from_predictions(X[:, :2], y).scatters_
        few, many, some = (scatter.get_zorder() for scatter in scatters)
        assert many < some < few

    @pytest.mark.parametrize(
        ("y", "discrete"),
        [
            (Y, True),
            (Y.astype(float), True),
            (Y > 0, True),
            (NAMES[Y].astype(object), True),
            (pd.Series(NAMES[Y], dtype="category"), True),
            (Y.astype(object), True),
            (np.arange(150), False),
            (Y + 0.5, False),
            (np.arange(150).astype(object), False),
        ],
    )
    def test_what_counts_as_classes(self, y, discrete):
        display = LatentSpaceDisplay.from_predictions(X[:, :2], y)
        assert (display.ax_.get_legend() is not None) == discrete
        assert (display.scatters_[0].get_array() is None) == discrete

    def test_labels_of_whole_floats_are_whole(self):
        texts = LatentSpaceDisplay.from_predictions(X[:, :2], Y.astype(float)).ax_.get_legend().get_texts()
        assert [text.get_text() for text in texts] == ["0", "1", "2"]

    @pytest.mark.parametrize("pipeline", [False, True])
    def test_colours_by_log_likelihood(self, pipeline):
        model = (make_pipeline(StandardScaler(), PCA(2)) if pipeline else PCA(2)).fit(X)
        display = LatentSpaceDisplay.from_estimator(model, X, Y, color_by="score")
        (scatter,) = display.scatters_
        np.testing.assert_allclose(scatter.get_array(), model.score_samples(X))
        assert scatter.colorbar.ax.get_ylabel() == "Log-likelihood (nats)"

    def test_colours_by_the_likelihood_of_an_autoencoder(self, vae):
        (scatter,) = LatentSpaceDisplay.from_estimator(vae, DIGITS[:50], color_by="score").scatters_
        np.testing.assert_allclose(scatter.get_array(), vae.score_samples(DIGITS[:50]))

    def test_chosen_components_in_their_order(self):
        pca = PCA(4).fit(X)
        display = LatentSpaceDisplay.from_estimator(pca, X, components=(3, 1))
        np.testing.assert_allclose(points(display), pca.transform(X)[:, [3, 1]])
        assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("Component 4", "Component 2")

    def test_matrix_has_a_panel_for_each_pair(self):
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

    @pytest.mark.parametrize("y", [NAMES[Y], np.linspace(0, 1, 150), np.arange(150) % 10])
    def test_rows_of_a_matrix_are_equally_tall(self, y):
        display = LatentSpaceDisplay.from_predictions(X, y)
        display.figure_.canvas.draw()
        boxes = [display.axes_[i, i].get_window_extent() for i in range(4)]
        np.testing.assert_allclose([box.height for box in boxes], boxes[0].height, rtol=0.02)
        np.testing.assert_allclose([box.width for box in boxes], boxes[0].width, rtol=0.02)

    def test_five_components_at_most_unless_asked_for(self):
        codes = np.random.RandomState(0).normal(size=(30, 7))
        assert LatentSpaceDisplay.from_predictions(codes).axes_.shape == (5, 5)
        assert LatentSpaceDisplay.from_predictions(codes, components=range(6)).axes_.shape == (6, 6)

    def test_one_component_without_target_is_a_histogram(self):
        display = LatentSpaceDisplay.from_estimator(PCA(1).fit(X), X)
        assert sum(patch.get_height() for patch in display.ax_.patches) == len(X)
        assert display.ax_.get_ylabel() == "Number of rows"

    def test_one_component_and_classes_are_strips_with_medians(self):
        codes = PCA(1).fit_transform(X)[:, 0]
        display = LatentSpaceDisplay.from_predictions(codes, NAMES[Y])
        for i, (scatter, line) in enumerate(zip(display.scatters_, display.ax_.lines, strict=True)):
            x, y = scatter.get_offsets().T
            np.testing.assert_allclose(x, codes[i == Y])
            assert np.abs(y - i).max() < 0.31
            np.testing.assert_allclose(line.get_xdata(), np.median(codes[i == Y]))
        assert [label.get_text() for label in display.ax_.get_yticklabels()] == NAMES.tolist()

    def test_one_component_against_a_number(self):
        codes, y = PCA(1).fit_transform(X), np.linspace(3, 4, len(X))
        display = LatentSpaceDisplay.from_predictions(codes, y, y_name="age")
        np.testing.assert_allclose(points(display), np.column_stack([codes, y]))
        assert display.ax_.get_ylabel() == "age"

    def test_more_points_are_smaller_and_more_transparent(self):
        codes = np.random.RandomState(0).normal(size=(20_000, 2))
        (few,), (many,) = (LatentSpaceDisplay.from_predictions(codes[:n]).scatters_ for n in (100, 20_000))
        assert many.get_sizes()[0] < few.get_sizes()[0]
        assert many.get_alpha() < few.get_alpha()

    def test_options_of_the_user_win(self, pca):
        options = {"s": 77, "alpha": 0.3, "lw": 2, "color": "red"}
        (scatter,) = LatentSpaceDisplay.from_estimator(pca, X, scatter_kwargs=options).scatters_
        assert scatter.get_sizes() == [77]
        assert scatter.get_alpha() == 0.3
        assert scatter.get_linewidth() == [2]
        assert same_color(scatter.get_facecolor()[0], (1, 0, 0, 0.3))

    def test_sparse_rows(self):
        model = AutoencoderTransformer(2, hidden_layer_sizes=(4,), max_iter=3, early_stopping=False).fit(X)
        display = LatentSpaceDisplay.from_estimator(model, sparse.csr_array(X), Y)
        np.testing.assert_allclose(display.codes, model.transform(X))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"y": Y[:-1]}, "y has 149 entries, but there are 150 rows"),
            ({"y": np.where(Y == 1, np.nan, Y)}, "y has missing entries"),
            ({"y": np.where(Y == 1, None, Y)}, "y has missing entries"),
            ({"components": 2}, "components must be an integer from 0 to 1"),
            ({"components": (0, 0)}, "components must hold different indices"),
            ({"components": ()}, "components must hold different indices"),
            ({"color_by": "density"}, "color_by='density' is not known; valid strings are 'y' and 'score'"),
        ],
    )
    def test_refuses_with_a_remedy(self, pca, options, message):
        with pytest.raises(ValueError, match=message):
            LatentSpaceDisplay.from_estimator(pca, X, **options)
        assert not plt.get_fignums()

    def test_refuses_what_has_no_transform_or_likelihood(self):
        with pytest.raises(TypeError, match=r"TSNE.*LatentSpaceDisplay\.from_predictions"):
            LatentSpaceDisplay.from_estimator(TSNE(), X)
        with pytest.raises(TypeError, match="score_samples, and KernelPCA has none"):
            LatentSpaceDisplay.from_estimator(KernelPCA(2).fit(X), X, color_by="score")


# -- latent grid --------------------------------------------------------------------------


class TestLatentGrid:
    def test_pictures_stand_where_their_codes_are(self, digits_pca):
        display = LatentGridDisplay.from_estimator(digits_pca, DIGITS, n_steps=5, image_shape=(8, 8))
        right, up = display.grid_values
        picture = np.asarray(display.image_.get_array())
        assert picture.shape == (40, 40)
        assert list(display.image_.get_extent()) == [0, 5, 0, 5]
        for i, j in ((0, 0), (1, 4), (3, 2)):
            row = digits_pca.inverse_transform([[right[j], up[i]]]).reshape(8, 8)
            np.testing.assert_allclose(picture[8 * i : 8 * i + 8, 8 * j : 8 * j + 8], row)

    def test_ticks_are_the_values_of_the_codes(self, digits_pca):
        ax = LatentGridDisplay.from_estimator(digits_pca, DIGITS, n_steps=5, image_shape=(8, 8)).ax_
        right, up = latent_grid(digits_pca, 5, X=DIGITS).grid_values
        for axis, values in ((ax.xaxis, right), (ax.yaxis, up[::-1])):
            shown = [float(t.get_text().replace("\N{MINUS SIGN}", "-")) for t in axis.get_ticklabels()]
            np.testing.assert_allclose(axis.get_ticklocs(), np.arange(5) + 0.5)
            np.testing.assert_allclose(shown, values, atol=0.5)

    def test_is_latent_grid(self, digits_pca):
        options = {"components": (1, 0), "quantile_range": (0.2, 0.7)}
        display = LatentGridDisplay.from_estimator(digits_pca, DIGITS, n_steps=4, kind="curve", **options)
        expected = latent_grid(digits_pca, 4, X=DIGITS, **options)
        np.testing.assert_array_equal(display.rows, expected.rows)
        np.testing.assert_array_equal(display.grid_values, expected.grid_values)
        assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("Component 2", "Component 1")

    def test_covers_the_prior_without_rows(self, vae):
        display = LatentGridDisplay.from_estimator(vae, n_steps=3, image_shape=(8, 8))
        np.testing.assert_allclose(display.grid_values[0], [-1.6449, 0, 1.6449], atol=1e-4)

    def test_wide_pictures_and_few_extreme_pixels(self):
        rows = np.random.RandomState(0).uniform(size=(3, 3, 200))
        rows[0, 0, 0] = 1000
        display = LatentGridDisplay(
            rows=rows, grid_values=([0, 1, 2], [2, 1, 0]), image_shape=(10, 20)
        ).plot()
        assert list(display.image_.get_extent()) == [0, 3, 0, 1.5]
        assert display.image_.get_clim()[1] < 2

    @pytest.mark.parametrize("scale", [1, 255])
    def test_colours_of_pictures(self, scale):
        rows = np.random.RandomState(0).uniform(size=(2, 2, 3 * 4 * 5)) * scale
        rows[0, 0, 0], rows[0, 0, 1] = -0.1 * scale, 1.1 * scale
        display = LatentGridDisplay(rows=rows, grid_values=([0, 1], [1, 0]), image_shape=(3, 4, 5)).plot()
        picture = np.asarray(display.image_.get_array())
        assert picture.shape == (8, 10, 3)
        channels = rows[1, 0].reshape(3, 4, 5) / scale
        np.testing.assert_allclose(picture[4:, :5], np.moveaxis(channels, 0, -1))
        assert picture[0, 0, 0] == 0
        assert picture[0, 1, 0] == 1

    def test_curves_lie_in_their_cells_on_one_scale(self):
        pca = PCA(2).fit(CURVES)
        display = LatentGridDisplay.from_estimator(pca, CURVES, n_steps=4)
        lines = display.lines_.get_segments()
        low, high = display.rows.min(), display.rows.max()
        heights = []
        for line, (i, j) in zip(lines, np.ndindex(4, 4), strict=True):
            assert (line >= (j, 3 - i)).all()
            assert (line <= (j + 1, 4 - i)).all()
            share = (display.rows[i, j] - low) / (high - low)
            slope, _ = np.polyfit(share, line[:, 1], 1)
            assert np.corrcoef(share, line[:, 1])[0, 1] > 1 - 1e-9
            heights.append(slope)
        np.testing.assert_allclose(heights, heights[0])

    def test_heat_map_of_a_plane_is_that_plane(self, pca):
        display = LatentGridDisplay.from_estimator(pca, FRAME.to_numpy(), feature_names=list("abcd"))
        right, up = display.grid_values
        x, y = np.meshgrid(np.linspace(right[0], right[-1], 101), np.linspace(up[0], up[-1], 101))
        rows = pca.inverse_transform(np.column_stack([x.ravel(), y.ravel()]))  # linear in the codes
        assert len(display.heatmaps_) == 4
        for column, image in enumerate(display.heatmaps_):
            np.testing.assert_allclose(image.get_array(), rows[:, column].reshape(101, 101))
            np.testing.assert_allclose(image.get_extent(), [right[0], right[-1], up[-1], up[0]])
            assert image.axes.get_title() == "abcd"[column]
            assert image.colorbar is not None

    def test_names_of_data_frames_and_chosen_columns(self):
        model = PCA(2).fit(FRAME)
        display = LatentGridDisplay.from_estimator(model, FRAME, features=["c", 0])
        assert [image.axes.get_title() for image in display.heatmaps_] == ["c", "a"]
        assert display.feature_names == list("abcd")

    def test_says_that_columns_are_left_out(self):
        rows = np.random.RandomState(0).uniform(size=(2, 2, 20))
        display = LatentGridDisplay(rows=rows, grid_values=([0, 1], [1, 0])).plot()
        assert len(display.heatmaps_) == 16
        assert "Latent grid (first 16 of 20 columns)" in words(display.figure_)

    def test_auto_looks_at_the_columns(self, pca):
        tables = LatentGridDisplay.from_estimator(pca, X)
        curves = LatentGridDisplay.from_estimator(PCA(2).fit(CURVES), CURVES, n_steps=3)
        assert tables.heatmaps_
        assert curves.lines_ is not None

    def test_asks_a_convolutional_network_for_the_shape(self):
        model = AutoencoderTransformer(2, network="conv", max_iter=1, early_stopping=False).fit(DIGITS[:200])
        display = LatentGridDisplay.from_estimator(model, DIGITS[:200], n_steps=3)
        assert display.image_.get_array().shape == (24, 24)

    def test_repeated_quantiles(self):
        values = np.array([0.0, 0.0, 0.0, 1.0])
        rows = np.tile(values[:, np.newaxis], (4, 1, 2))
        display = LatentGridDisplay(rows=rows, grid_values=(values, values[::-1])).plot()
        shown = np.asarray(display.heatmaps_[0].get_array())
        np.testing.assert_allclose(shown[0], np.linspace(0, 1, 101))

    def test_options_of_the_user_win(self, pca):
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
            ({"image_shape": (3, 3)}, "image_shape=.* does not fit rows of 4 columns"),
            ({"image_shape": (2, 1, 2)}, "has 2 channels"),
            ({"components": (0, 2)}, "components must be an integer from 0 to 1"),
            ({"n_steps": 1}, "n_steps == 1, must be >= 2"),
            ({"quantile_range": (1, 0)}, "quantile_range must hold"),
            ({"features": ["z"]}, "'z' is neither"),
            ({"features": []}, "one at least"),
            ({"feature_names": ["a"]}, "feature_names has 1 names, but rows have 4 columns"),
        ],
    )
    def test_refuses_with_a_remedy(self, pca, options, message):
        with pytest.raises(ValueError, match=message):
            LatentGridDisplay.from_estimator(pca, X, **options)
        assert not plt.get_fignums()

    def test_refuses_what_spans_no_plane(self, pca):
        with pytest.raises(ValueError, match="pass rows whose codes the grid is to cover"):
            LatentGridDisplay.from_estimator(pca)
        flat = np.zeros((2, 2, 3))
        with pytest.raises(ValueError, match="choose other components"):
            LatentGridDisplay(rows=flat, grid_values=([0, 0], [1, 0])).plot()

    @pytest.mark.parametrize("rows", [(X,), (X, X)], ids=["grid", "walks"])
    def test_refuses_what_cannot_decode(self, rows):
        cls = LatentGridDisplay if len(rows) == 1 else InterpolationDisplay
        with pytest.raises(TypeError, match="got TSNE without transform and inverse_transform"):
            cls.from_estimator(TSNE(), *rows)
        with pytest.raises(TypeError, match="got the class PCA, not an instance"):
            cls.from_estimator(PCA, *rows)


# -- interpolation ------------------------------------------------------------------------


class TestInterpolation:
    @pytest.mark.parametrize("method", ["linear", "spherical"])
    def test_walks_between_the_originals(self, digits_pca, method):
        start, end = DIGITS[:2], DIGITS[7:9]
        display = InterpolationDisplay.from_estimator(
            digits_pca, start, end, n_steps=5, method=method, image_shape=(8, 8)
        )
        walks = interpolate(digits_pca, start, end, 5, method)
        np.testing.assert_array_equal(display.walks, walks)
        shown = [np.asarray(image.get_array()) for image in display.images_]
        for pair in range(2):
            first, walk, last = shown[3 * pair : 3 * pair + 3]
            np.testing.assert_array_equal(first, start[pair].reshape(8, 8))
            np.testing.assert_array_equal(last, end[pair].reshape(8, 8))
            np.testing.assert_allclose(walk[:, :8], reconstruct(digits_pca, start)[pair].reshape(8, 8))
            np.testing.assert_allclose(walk[:, -8:], reconstruct(digits_pca, end)[pair].reshape(8, 8))
            np.testing.assert_array_equal(walk[:, 16:24], walks[pair, 2].reshape(8, 8))

    def test_pairs_stand_below_one_another_with_framed_ends(self, digits_pca):
        display = InterpolationDisplay.from_estimator(digits_pca, DIGITS[:3], DIGITS[3:6], image_shape=(8, 8))
        extents = np.array([image.get_extent() for image in display.images_]).reshape(3, 3, 4)
        assert (np.diff(extents[:, :, 3], axis=0) < 0).all()
        assert (extents[:, :-1, 1] < extents[:, 1:, 0]).all()
        frames = {tuple(np.round(patch.get_xy(), 6)) for patch in display.ax_.patches}
        assert frames == {tuple(np.round(extents[i, j, [0, 2]], 6)) for i in range(3) for j in (0, 2)}
        ticks = [label.get_text() for label in display.ax_.get_xticklabels()]
        assert {"start", "end", "0", "1"} <= set(ticks)
        assert [t.get_text() for t in display.ax_.get_yticklabels()] == ["Pair 1", "Pair 2", "Pair 3"]

    def test_originals_set_the_scale_of_pictures(self, digits_pca):
        display = InterpolationDisplay.from_estimator(digits_pca, DIGITS[:2], DIGITS[2:4], image_shape=(8, 8))
        assert {image.get_clim() for image in display.images_} == {(0, DIGITS[:4].max())}

    def test_single_rows_in_one_dimension(self, digits_pca):
        display = InterpolationDisplay.from_estimator(digits_pca, DIGITS[0], DIGITS[1], image_shape=(8, 8))
        assert display.walks.shape == (1, 10, 64)
        np.testing.assert_array_equal(display.X_start, DIGITS[:1])

    def test_walks_alone(self, digits_pca):
        walks = interpolate(digits_pca, DIGITS[:2], DIGITS[3:5])
        display = InterpolationDisplay(walks=walks, image_shape=(8, 8)).plot()
        assert len(display.images_) == 2
        assert not display.ax_.patches
        assert "start" not in words(display.figure_)

    def test_curves_on_one_scale_with_the_originals_apart(self):
        pca = PCA(2).fit(CURVES)
        display = InterpolationDisplay.from_estimator(pca, CURVES[:2], CURVES[40:42], n_steps=4)
        start, walk, end = display.lines_[:3]
        assert [len(part.get_segments()) for part in (start, walk, end)] == [1, 4, 1]
        assert same_color(start.get_color(), end.get_color())
        assert not same_color(start.get_color(), walk.get_color())
        for part, rows in ((start, CURVES[:1]), (walk, display.walks[0]), (end, CURVES[40:41])):
            for line, row in zip(part.get_segments(), rows, strict=True):
                slope, offset = np.polyfit(row, line[:, 1], 1)
                np.testing.assert_allclose(line[:, 1], slope * row + offset, atol=1e-9)
                np.testing.assert_allclose(
                    [slope, offset], np.polyfit(CURVES[0], start.get_segments()[0][:, 1], 1)
                )

    def test_heat_map_scales_each_column_and_writes_its_values(self, pca):
        display = InterpolationDisplay.from_estimator(pca, X[:2], X[100:102], n_steps=3)
        everything = np.concatenate([X[:2, np.newaxis], display.walks, X[100:102, np.newaxis]], axis=1)
        low, high = everything.min(axis=(0, 1)), everything.max(axis=(0, 1))
        walk = np.asarray(display.images_[1].get_array())
        np.testing.assert_allclose(walk, ((display.walks[0] - low) / (high - low)).T)
        written = [text for text in display.ax_.texts if "Pair" not in text.get_text()]
        assert len(written) == everything.size
        (value,) = [t.get_text() for t in written if np.allclose(t.get_position(), self.place(display, 0, 0))]
        assert value == f"{X[0, 0]:.3g}"

    @staticmethod
    def place(display, pair, column):
        """Middle of the cell of a column of the first row."""
        left, right, bottom, top = display.images_[3 * pair].get_extent()
        return (left + right) / 2, top - (column + 0.5) * (top - bottom) / display.walks.shape[-1]

    def test_large_tables_have_no_numbers(self):
        rows = np.random.RandomState(0).uniform(size=(4, 10, 25))
        assert not [
            t for t in InterpolationDisplay(walks=rows).plot().ax_.texts if "Pair" not in t.get_text()
        ]

    def test_constant_columns(self):
        rows = np.ones((1, 4, 3))
        display = InterpolationDisplay(walks=rows).plot()
        np.testing.assert_array_equal(display.images_[0].get_array(), 0)

    def test_names_of_data_frames(self):
        display = InterpolationDisplay.from_estimator(PCA(2).fit(FRAME), FRAME[:1], FRAME[1:2])
        assert [label.get_text() for label in display.ax_.get_yticklabels()] == list("abcd")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"X_end": X[:3]}, "X_start has 2 rows and X_end 3"),
            ({"method": "round"}, "method='round' is not known"),
            ({"kind": "walk"}, "kind='walk' is not known"),
            ({"n_steps": 1}, "n_steps == 1, must be >= 2"),
            ({"image_shape": (3, 3)}, "does not fit rows of 4 columns"),
        ],
    )
    def test_refuses_with_a_remedy(self, pca, options, message):
        with pytest.raises(ValueError, match=message):
            InterpolationDisplay.from_estimator(pca, **{"X_start": X[:2], "X_end": X[2:4], **options})
        assert not plt.get_fignums()
