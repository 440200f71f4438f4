"""Histogram of outlier scores and bars of contributions."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from inspection.figures import legend_of

from sklearn_ae.inspection._score_histogram import draw_contributions, draw_scores, shortened


@pytest.fixture
def ax():
    return plt.figure().subplots()


def counts(ax):
    return np.array([patch.get_height() for patch in ax.containers[0]])


def test_each_class_has_a_histogram_of_its_fractions(ax):
    scores = np.r_[np.zeros(90), np.full(10, -5.0)]
    y = np.repeat(["inlier", "outlier"], [90, 10])
    draw_scores(ax, scores, -2.0, y)
    assert legend_of(ax)[:2] == ["inlier (90 samples)", "outlier (10 samples)"]
    outlines = [patch for patch in ax.patches if "samples)" in str(patch.get_label())][:2]
    tops = [patch.get_xy()[:, 1].max() for patch in outlines]
    np.testing.assert_allclose(tops, 1)  # rare outliers are visible
    places = [patch.get_xy()[:, 0][patch.get_xy()[:, 1].argmax()] for patch in outlines]
    assert places[0] > -2 > places[1]


def test_long_tails_stretch_the_axis_and_keep_all_samples(ax):
    scores = np.r_[np.random.RandomState(0).normal(size=200), -1e4]
    draw_scores(ax, scores, -3.0, None)
    ax.figure.canvas.draw()
    assert ax.get_xscale() == "asinh"
    assert counts(ax).sum() == 201
    assert np.count_nonzero(counts(ax)) > 5  # the bulk is not in a single bar


def test_short_tails_have_a_linear_axis(ax):
    draw_scores(ax, np.random.RandomState(0).normal(size=200), None, None)
    assert ax.get_xscale() == "linear"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Score (lower is more abnormal)", "Number of samples")


def test_legend_is_above_the_bars(ax):
    draw_scores(ax, np.r_[np.zeros(50), -np.ones(50)], -0.5, None)
    ax.figure.canvas.draw()
    bottom = ax.transData.inverted().transform(ax.get_legend().get_window_extent())[0, 1]
    assert bottom > counts(ax).max()


def test_outliers_are_marked_one_by_one(ax):
    draw_scores(ax, np.arange(10.0), 2.5, None)
    np.testing.assert_array_equal(ax.get_lines()[-1].get_xdata(), [0, 1, 2])


def test_equal_scores_can_be_drawn(ax):
    draw_scores(ax, np.ones(10), 1.0, None)
    ax.figure.canvas.draw()
    assert counts(ax).sum() == 10
    assert "Outliers: 0 of 10" in legend_of(ax)


@pytest.mark.parametrize("narrow", [False, True])
def test_largest_contributions_are_on_top(ax, narrow):
    names = ["a", "b" * 25, "c", "d"]
    draw_contributions(ax, np.array([1.0, 4.0, -2.0, 3.0]), names, 3, narrow=narrow)
    assert [patch.get_width() for patch in ax.patches] == [4.0, 3.0, 1.0]
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["b" * 17 + "…" if narrow else "b" * 25, "d", "a"]
    assert ax.yaxis_inverted()
    assert "sum of all 4: 6" in ax.get_xlabel()


def test_long_names_are_cut():
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abcde…"
