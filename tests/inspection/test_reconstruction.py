"""Samples and their reconstructions."""

import numpy as np
import pandas as pd
import pytest
from inspection.figures import drawn, reconstruct
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError

from sklearn_ae.inspection import ReconstructionDisplay

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

IRIS = load_iris(as_frame=True).data


def test_reconstructions_are_those_of_the_models(digits):
    models = {"Coarse": PCA(2).fit(digits), "Fine": PCA(16).fit(digits)}
    display = ReconstructionDisplay.from_estimator(models, digits, max_samples=1)
    assert list(display.reconstructions) == ["Coarse", "Fine"]
    for name, model in models.items():
        np.testing.assert_allclose(display.reconstructions[name], reconstruct(model, digits), atol=1e-9)
    np.testing.assert_array_equal(display.X, digits)


def test_models_of_one_class_are_numbered():
    models = [PCA(1).fit(IRIS), PCA(2).fit(IRIS), PCA(3).fit(IRIS)]
    display = ReconstructionDisplay.from_estimator(models, IRIS)
    assert list(display.reconstructions) == ["PCA", "PCA 2", "PCA 3"]


def test_image_shape_is_that_of_a_convolutional_network(convolutional, digits, digits_pca):
    display = ReconstructionDisplay.from_estimator([digits_pca, convolutional], digits[:20])
    assert display.image_shape == (1, 8, 8)
    np.testing.assert_array_equal(display.ax_.images[0].get_array()[:8, :8], digits[0].reshape(8, 8))
    assert "Autoencoder\nTransformer" in display.axes_[2].get_ylabel()


@pytest.mark.parametrize(("n_features", "artists"), [(30, "images"), (31, "lines")])
def test_many_features_are_a_curve_and_few_a_heat_map(n_features, artists):
    X = np.random.RandomState(0).normal(size=(2, n_features))
    display = ReconstructionDisplay.from_predictions(X, X)
    assert len(getattr(display.ax_, artists)) > 0


def test_names_of_a_data_frame_label_the_features():
    display = ReconstructionDisplay.from_predictions(
        pd.DataFrame({"a": [1.0, 2], "b": [3, 4]}), np.ones((2, 2))
    )
    assert display.feature_names == ["a", "b"]
    assert [label.get_text() for label in display.axes_[-1].get_xticklabels()] == ["a", "b"]


def test_draws_all_samples_if_there_are_fewer():
    X = np.arange(12.0).reshape(3, 4)
    display = drawn(ReconstructionDisplay.from_predictions(sparse.csr_matrix(X), X + 1, max_samples=8))
    np.testing.assert_array_equal(display.ax_.images[0].get_array(), X)
    assert display.axes_[1].get_ylabel() == "Reconstruction\nsquared error 4"
    assert display.figure_.get_suptitle() == "Samples and reconstructions"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "bars"}, "kind='bars' is not known"),
        ({"kind": "image"}, "pass image_shape"),
        ({"image_shape": (3, 3)}, r"image_shape=\(3, 3\) does not fit samples of 4 features"),
        ({"image_shape": (2, 1, 2)}, "has 2 channels"),
        ({"max_samples": 0}, "max_samples"),
        ({"feature_names": ["a"]}, "feature_names has 1 names"),
        ({"X_hat": np.ones((150, 3))}, r"X_hat must have the shape of X, \(150, 4\).*\(150, 3\)"),
    ],
)
def test_errors_name_the_parameter(options, message):
    with pytest.raises(ValueError, match=message):
        ReconstructionDisplay.from_predictions(IRIS, **{"X_hat": IRIS, **options})


def test_refuses_models_that_are_not_fitted_or_cannot_decode():
    with pytest.raises(TypeError, match="IsolationForest"):
        ReconstructionDisplay.from_estimator(IsolationForest(), IRIS)
    with pytest.raises(NotFittedError):
        ReconstructionDisplay.from_estimator(PCA(), IRIS)
    with pytest.raises(ValueError, match="at least one"):
        ReconstructionDisplay.from_estimator([], IRIS)
