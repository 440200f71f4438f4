"""Stored models: every way to store and copy one, and the refusal of models of another format."""

import copy
import io
import pickle

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_threads import X_of, fitted, names

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer
from sklearn_ae._utils import storage

pytestmark = pytest.mark.filterwarnings("ignore")  # few epochs

CLASSES = [AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer, AEOutlierDetector]
NAMES = ["default", "cv", "vae", "detector"]


def through_joblib(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


WAYS = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "joblib": through_joblib,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("way", WAYS)
def test_stored_and_copied_models_are_the_same(way, name):
    model, X = fitted(name), X_of(name)
    twin = WAYS[way](model)
    assert vars(twin).keys() == vars(model).keys()
    np.testing.assert_array_equal(twin.transform(X), model.transform(X))
    assert pickle.loads(pickle.dumps(twin)).get_params().keys() == model.get_params().keys()


def stored_by(monkeypatch, model, number):
    """Return the model as stored by a version with another format, or by one without a number."""
    with monkeypatch.context() as patch:
        if number is None:
            patch.setattr(storage.StoredEstimator, "__getstate__", BaseEstimator.__getstate__)
        else:
            patch.setattr(storage, "_FORMAT", number)
        return pickle.dumps(model)


@pytest.mark.parametrize("number", [None, storage._FORMAT + 1])
@pytest.mark.parametrize("name", NAMES)
def test_models_of_another_format_are_refused_with_the_remedy(name, number, monkeypatch):
    for model in (fitted(name), make_pipeline(StandardScaler(), fitted(name))):
        stored = stored_by(monkeypatch, model, number)
        with pytest.raises(ValueError, match=rf"format {number}.* reads format 2\. Fit it again, or install"):
            pickle.loads(stored)
        assert pickle.loads(pickle.dumps(model)) is not None


@pytest.mark.parametrize("number", [None, storage._FORMAT + 1])
@pytest.mark.parametrize("cls", CLASSES)
def test_unfitted_estimators_of_another_format_are_loaded(cls, number, monkeypatch):
    loaded = pickle.loads(stored_by(monkeypatch, cls(random_state=3), number))
    assert repr(loaded) == repr(cls(random_state=3))
    assert vars(clone(loaded)).keys() == vars(cls()).keys()
