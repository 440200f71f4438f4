"""Figures on loadings."""

from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.inspection import ComponentContributionsDisplay


def loadings():
    """Contributions of the features of tumours."""
    data = load_breast_cancer()
    model = make_pipeline(StandardScaler(), AutoencoderTransformer(3, max_iter=100, random_state=0))
    display = ComponentContributionsDisplay.from_estimator(
        model.fit(data.data), data.data, feature_names=data.feature_names, max_features=12
    )
    return display.figure_


def loadings_images():
    """Contributions of the pixels of digits."""
    X = load_digits().data
    model = AutoencoderTransformer(8, max_iter=40, random_state=0).fit(X)
    display = ComponentContributionsDisplay.from_estimator(
        model, X, feature_scale="shared", image_shape=(8, 8)
    )
    return display.figure_
