"""Steps of nested pipelines."""

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.feature_selection import VarianceThreshold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_ae._utils.pipelines import (
    before_last_step,
    by_class,
    first_step,
    last_step,
    names_before_last_step,
)

X = np.random.RandomState(0).normal(size=(20, 3))
DOUBLE = FunctionTransformer(lambda X: 2 * X)
SHIFT = FunctionTransformer(lambda X: X + 1)


def test_ends_of_nested_pipelines():
    pca = PCA(2)
    nested = make_pipeline(make_pipeline(DOUBLE, SHIFT), make_pipeline(SHIFT, pca))
    assert first_step(nested) is DOUBLE
    assert last_step(nested) is pca
    assert first_step(pca) is last_step(pca) is pca


def test_input_of_the_last_step():
    nested = make_pipeline(make_pipeline(DOUBLE, SHIFT), make_pipeline(SHIFT, PCA(2))).fit(X)
    np.testing.assert_allclose(before_last_step(nested, X), 2 * X + 2)
    assert before_last_step(make_pipeline(PCA(2)).fit(X), X) is X
    assert before_last_step(PCA(2), X) is X


def test_feature_names_are_those_of_the_input_of_the_last_step():
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    permuted = make_column_transformer(("passthrough", ["c", "a"]), verbose_feature_names_out=False)
    nested = make_pipeline(permuted, make_pipeline(StandardScaler(), PCA(1))).fit(frame)
    assert list(names_before_last_step(nested, frame.columns)) == ["c", "a"]
    assert list(names_before_last_step(nested, None)) == ["c", "a"]
    unnamed = make_pipeline(DOUBLE, PCA(1)).fit(frame)  # a function does not say whether it keeps the order
    assert names_before_last_step(unnamed, frame.columns) is None
    assert names_before_last_step(PCA(1), frame.columns) is frame.columns
    indexed = make_pipeline(VarianceThreshold(np.sort(X.var(axis=0))[1]), PCA(1)).fit(X)
    assert list(names_before_last_step(indexed, None)) == [f"x{X.var(axis=0).argmax()}"]


def test_names_are_those_of_classes_and_numbered():
    models = [PCA(1), make_pipeline(StandardScaler(), PCA(2)), StandardScaler(), PCA(3)]
    named = by_class(models)
    assert list(named) == ["PCA", "PCA 2", "StandardScaler", "PCA 3"]
    assert list(named.values()) == models
