"""Points coloured by class or by a number."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from sklearn_ae.inspection._colouring import (
    Classes,
    Numbers,
    Uniform,
    check_y,
    colouring,
    densest,
    is_discrete,
    point_style,
)

Y = np.repeat([0, 1, 2], 50)
NAMES = np.array(["setosa", "versicolor", "virginica"])


def scatter(colouring):
    """Draw random points; return them and their collections."""
    points = np.random.RandomState(0).normal(size=(colouring.n, 2))
    ax = plt.figure().subplots()
    return points, colouring.scatter(ax, *points.T, {})


def styles_of(scatters):
    """Return the colour and marker of each collection."""
    return [(to_rgba(s.get_facecolor()[0]), s.get_paths()[0].vertices.tobytes()) for s in scatters]


# -- targets ------------------------------------------------------------------------------


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
def test_names_and_few_integers_are_classes(y, discrete):
    assert is_discrete(check_y(y, 150)) == discrete
    assert isinstance(colouring(y, None, 150), Classes if discrete else Numbers)


def test_points_without_a_target_have_one_colour():
    points, (collection,) = scatter(colouring(None, None, 20))
    np.testing.assert_array_equal(collection.get_offsets(), points)
    assert len(collection.get_facecolor()) == 1


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (Y[:-1], "y has 149 values, but there are 150 samples"),
        (np.where(Y == 1, np.nan, Y), "y has missing values"),
        (np.where(Y == 1, None, Y), "y has missing values"),
    ],
)
def test_targets_that_do_not_fit_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        check_y(y, 150)


def test_more_points_are_smaller_and_more_transparent():
    few = point_style(100, 1)
    many = point_style(20_000, 1)
    assert many["s"] < few["s"]
    assert many["alpha"] < few["alpha"]
    assert point_style(100, 0.5)["s"] == few["s"] / 2


# -- classes ------------------------------------------------------------------------------


def test_each_class_has_a_colour_and_a_marker():
    points, scatters = scatter(Classes(NAMES[Y], "species"))
    for i, collection in enumerate(scatters):
        np.testing.assert_array_equal(collection.get_offsets(), points[i == Y])
        assert collection.get_label() == NAMES[i]
    colours, markers = zip(*styles_of(scatters), strict=True)
    assert len(set(colours)) == len(set(markers)) == 3


def test_twenty_classes_differ_in_colour_or_marker():
    _, scatters = scatter(Classes(np.arange(40) % 20, "y"))
    assert len(set(styles_of(scatters))) == 20


def test_classes_beyond_twenty_are_joined():
    y = np.repeat([f"class {i:02d}" for i in range(30)], np.arange(30, 0, -1))
    points, scatters = scatter(Classes(y, "y"))
    assert [s.get_label() for s in scatters] == [f"class {i:02d}" for i in range(19)] + ["11 others"]
    np.testing.assert_array_equal(scatters[-1].get_offsets(), points[y >= "class 19"])


def test_labels_of_integral_floats_are_integers():
    assert Classes(Y.astype(float), "y").labels == ["0", "1", "2"]


def test_small_classes_lie_on_top():
    _, scatters = scatter(Classes(np.repeat(["few", "many", "some"], [10, 100, 40]), "y"))
    few, many, some = (collection.get_zorder() for collection in scatters)
    assert many < some < few


@pytest.mark.parametrize("n_classes", [3, 10])
def test_histograms_of_classes_hold_all_points(n_classes):
    x = np.random.RandomState(0).normal(size=150)
    ax = plt.figure().subplots()
    Classes(np.arange(150) % n_classes, "y").histogram(ax, x)
    if n_classes == 10:  # stacked bars instead of outlines
        assert sum(patch.get_height() for patch in ax.patches) == pytest.approx(150)
    else:
        low, high = ax.patches[0].get_xy()[:, 0].min(), ax.patches[0].get_xy()[:, 0].max()
        assert (low, high) == (x.min(), x.max())
        assert len(ax.patches) == 3


def test_labels_are_in_the_denser_of_two_clusters():
    rng = np.random.RandomState(0)
    points = np.concatenate([rng.normal(-10, 0.1, (60, 2)), rng.normal(10, 1, (40, 2))])
    np.testing.assert_allclose(densest(points), (-10, -10), atol=0.3)


@pytest.mark.parametrize("n_classes", [7, 8, 12, 13])
def test_eight_to_twelve_classes_are_labelled_in_the_plot(n_classes):
    y = np.arange(40) % n_classes
    points = np.random.RandomState(0).normal(size=(40, 2))
    ax = plt.figure().subplots()
    Classes(y, "y").label_points(ax, *points.T)
    assert len(ax.texts) == (n_classes if 8 <= n_classes <= 12 else 0)
    for text in ax.texts:
        assert (points[y == int(text.get_text())] == text.xy).all(axis=1).any()


# -- numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extreme", "extend"), [({}, "neither"), ({3: 1000}, "max"), ({3: -1000}, "min"), ({3: 9, 5: -9}, "both")]
)
def test_extreme_numbers_do_not_determine_the_scale(extreme, extend):
    y = np.linspace(0, 1, 500)
    y[list(extreme)] = list(extreme.values())
    numbers = Numbers(y, "age")
    assert numbers.extend == extend
    assert -1 < numbers.low < 0.1
    assert 0.9 < numbers.high < 2
    _, (collection,) = scatter(numbers)
    np.testing.assert_array_equal(collection.get_array(), y)
    assert collection.get_clim() == (numbers.low, numbers.high)


def test_colour_bar_is_opaque_and_named():
    numbers = Numbers(np.linspace(0, 1, 150), "age")
    ax = plt.figure().subplots()
    collection = ax.scatter(np.arange(150), np.arange(150), c=numbers.values, alpha=0.4)
    numbers.add_legend(ax, [collection])
    assert collection.colorbar.ax.get_ylabel() == "age"
    assert collection.colorbar.alpha is None
    assert collection.get_alpha() == 0.4


def test_uniform_histogram_holds_all_points():
    ax = plt.figure().subplots()
    Uniform(150).line(ax, np.arange(150.0), {})
    assert sum(patch.get_height() for patch in ax.patches) == 150
    assert ax.get_ylabel() == "Number of samples"
