"""Outlier scores and contributions, compared with the detector's own methods."""

import numpy as np
import pandas as pd
import pytest
from inspection.figures import drawn, legend_of
from sklearn.datasets import load_iris
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import KernelDensity
from sklearn.preprocessing import StandardScaler

from sklearn_ae.inspection import OutlierScoreDisplay

IRIS = load_iris(as_frame=True).data


def counts(ax):
    return np.array([patch.get_height() for patch in ax.containers[0]])


def threshold_of(ax):
    (line,) = (line for line in ax.get_lines() if line.get_label().startswith("Threshold"))
    return line.get_xdata()[0]


def test_histogram_holds_all_samples_and_the_threshold(detector, wine):
    display = drawn(OutlierScoreDisplay.from_estimator(detector, wine))
    np.testing.assert_array_equal(display.scores, detector.score_samples(wine))
    assert counts(display.ax_).sum() == len(wine)
    assert threshold_of(display.ax_) == detector[-1].offset_
    n_outliers = np.count_nonzero(detector.predict(wine) == -1)
    assert n_outliers > 0
    assert f"Outliers: {n_outliers} of 178" in legend_of(display.ax_)
    (area,) = (patch for patch in display.ax_.patches if str(patch.get_label()).startswith("Outliers"))
    extent = area.get_patch_transform().transform_path(area.get_path()).get_extents()
    assert extent.x1 == pytest.approx(detector[-1].offset_)
    assert extent.x0 <= display.scores.min()


def test_bars_are_the_contributions_to_the_lowest_scores(detector, wine):
    display = drawn(OutlierScoreDisplay.from_estimator(detector, wine, max_features=5, n_explained=2))
    scores = detector.score_samples(wine)
    assert len(display.axes_) == 3
    for ax, i in zip(display.axes_[1:], np.argsort(scores)[:2], strict=True):
        contributions = detector[-1].explain(detector[0].transform(wine.iloc[[i]]))[0]
        largest = np.argsort(-contributions)[:5]
        np.testing.assert_allclose([patch.get_width() for patch in ax.patches], contributions[largest])
        labels = [label.get_text().replace("\n", "") for label in ax.get_yticklabels()]
        assert labels == list(wine.columns[largest])
        assert ax.get_title() == f"Sample {i}: contributions"


def test_detectors_without_explain_have_only_the_histogram(wine):
    forest = IsolationForest(n_estimators=5, random_state=0).fit(wine)
    display = drawn(OutlierScoreDisplay.from_estimator(forest, wine))
    assert len(display.axes_) == 1
    assert threshold_of(display.ax_) == forest.offset_
    assert f"Outliers: {np.count_nonzero(forest.predict(wine) == -1)} of" in legend_of(display.ax_)[0]


def test_detectors_without_offset_have_no_threshold():
    display = drawn(OutlierScoreDisplay.from_estimator(KernelDensity().fit(IRIS), IRIS))
    assert counts(display.ax_).sum() == len(IRIS)
    assert not display.ax_.get_lines()
    assert display.ax_.get_legend() is None


def test_given_contributions_are_those_of_all_samples():
    contributions = pd.DataFrame([[1.0, 2.0], [3.0, 0.5], [0.0, -1.0]], columns=["a", "b"])
    display = drawn(OutlierScoreDisplay.from_predictions([0.0, -3.0, -1.0], contributions=contributions))
    assert [patch.get_width() for patch in display.axes_[1].patches] == [3.0, 0.5]
    assert [label.get_text() for label in display.axes_[1].get_yticklabels()] == ["a", "b"]
    assert "sum of all 2: 3.5" in display.axes_[1].get_xlabel()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": [0, 1]}, "y has 2 values"),
        ({"y": np.arange(12)}, "y must hold at most 8 classes"),
        ({"y": np.linspace(0, 1, 12)}, "y must hold at most 8 classes"),
        ({"contributions": np.ones((2, 3))}, r"contributions must have shape .*n_samples=12.*\(2, 3\)"),
        ({"contributions": np.ones((12, 3)), "feature_names": ["a"]}, "feature_names has 1 names"),
        ({"max_features": 0}, "max_features"),
        ({"n_explained": 0}, "n_explained"),
    ],
)
def test_errors_name_the_parameter(options, message):
    with pytest.raises(ValueError, match=message):
        OutlierScoreDisplay.from_predictions(np.arange(12.0), **options)


def test_refuses_estimators_without_scores():
    with pytest.raises(TypeError, match=r"detector must have score_samples.*got StandardScaler"):
        OutlierScoreDisplay.from_estimator(StandardScaler().fit(IRIS), IRIS)
    with pytest.raises(TypeError, match=r"detector must have score_samples.*got the class IsolationForest"):
        OutlierScoreDisplay.from_estimator(IsolationForest, IRIS)
