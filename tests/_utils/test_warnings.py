"""Warnings point at the user's line, also if other estimators call ``fit``."""

import sys
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AutoencoderTransformer
from sklearn_ae._utils.warnings import _stacklevel, warn_user


def unfinished():
    """Return a transformer whose loss is still decreasing when training ends."""
    params = {"hidden_layer_sizes": (8,), "max_iter": 4, "learning_rate_init": 0.02, "random_state": 0}
    return AutoencoderTransformer(1, init="random", early_stopping=False, **params)


CALLS = {
    "fit": lambda X: unfinished().fit(X),
    "fit_transform": lambda X: unfinished().fit_transform(X),
    "fit with validation": lambda X: unfinished().set_params(early_stopping=True).fit(X, X_val=X),
    "pipeline": lambda X: make_pipeline(StandardScaler(), unfinished()).fit(X),
    "pipeline, fit_transform": lambda X: make_pipeline(unfinished(), StandardScaler()).fit_transform(X),
    "grid search": lambda X: GridSearchCV(unfinished(), {"alpha": [0, 1e-4]}, cv=2).fit(X),
    "cross-validation": lambda X: cross_val_score(unfinished(), X, cv=2),
}


@pytest.fixture(scope="module")
def X():
    t = np.random.RandomState(0).uniform(-2, 2, 200)
    return np.column_stack([t, t**2, np.sin(2 * t)])


def recorded(call, X):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call(X)
    return [w for w in found if issubclass(w.category, ConvergenceWarning)]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_warning_of_training_points_at_the_callers_line(call, X):
    found = recorded(call, X)
    assert found
    for warning in found:
        assert warning.filename == __file__
        assert warning.lineno == call.__code__.co_firstlineno


def test_a_warning_of_a_script_points_at_its_line(X):
    script = compile("\n\nmodel.fit(X)\n", "script.py", "exec")
    (warning,) = recorded(lambda X: exec(script, {"model": unfinished(), "X": X}), X)
    assert (warning.filename, warning.lineno) == ("script.py", 3)


def test_category_and_message_are_kept():
    with pytest.warns(RuntimeWarning, match="of this kind"):
        warn_user("a warning of this kind", RuntimeWarning)
    with pytest.warns(UserWarning, match="default") as found:
        warn_user("by default")
    assert [w.filename for w in found] == [__file__]


def test_the_stack_level_counts_frames_from_the_caller(monkeypatch):
    """Python before 3.12 cannot skip files."""
    assert _stacklevel() == 1
    monkeypatch.setattr(sys, "version_info", (3, 11))
    with pytest.warns(UserWarning, match="older") as found:
        warn_user("older Python")
    assert [w.filename for w in found] == [__file__]
