"""``AEImputer``: imputation as a step of a pipeline."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_ae import AEImputer, AutoencoderTransformer, VAETransformer
from sklearn_ae.likelihoods import Gaussian

LINEAR = AutoencoderTransformer(2, hidden_layer_sizes=(), random_state=0)
SMALL = AutoencoderTransformer(1, hidden_layer_sizes=(4,), max_iter=3)


@pytest.fixture(scope="module")
def table():
    """Return correlated features in different units, and the same with gaps."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 6)) + 0.3 * rng.normal(size=(300, 6))
    X = X * [1, 10, 100, 0.01, 1, 5] + [0, 5, 1000, 0, -3, 2]
    return X, np.where(rng.uniform(size=X.shape) < 0.2, np.nan, X)


@parametrize_with_checks([AEImputer(SMALL)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_linear_models_impute_the_conditional_mean_of_a_normal_distribution(table):
    X, gaps = table
    imputer = AEImputer(LINEAR).fit(gaps)
    filled = imputer.transform(gaps)
    np.testing.assert_array_equal(filled[~np.isnan(gaps)], X[~np.isnan(gaps)])
    model, unit = imputer.autoencoder_, imputer.scale_
    covariance = model.get_covariance() * unit[:, None] * unit
    mean = imputer.mean_ + unit * model.mean_
    for i in np.flatnonzero(np.isnan(gaps).any(axis=1))[:20]:
        o = ~np.isnan(gaps[i])
        slope = np.linalg.solve(covariance[np.ix_(o, o)], covariance[np.ix_(o, ~o)])
        expected = mean[~o] + (gaps[i, o] - mean[o]) @ slope
        expected = np.clip(expected, np.nanmin(gaps, axis=0)[~o], np.nanmax(gaps, axis=0)[~o])
        np.testing.assert_allclose(filled[i, ~o], expected, rtol=1e-6, atol=1e-6 * unit[~o].max())


def test_units_do_not_matter(table):
    _, gaps = table
    factors, offsets = np.array([1e-3, 1, 7, 1e4, 3, 1]), np.arange(6.0)
    first = AEImputer(LINEAR).fit_transform(gaps)
    second = AEImputer(LINEAR).fit_transform(gaps * factors + offsets)
    np.testing.assert_allclose(second, first * factors + offsets, rtol=1e-6)


def test_the_default_is_better_than_the_mean(table):
    X, gaps = table
    imputer = AEImputer(random_state=0).fit(gaps)
    hidden = np.isnan(gaps)
    error = ((imputer.transform(gaps) - X) / X.std(axis=0))[hidden]
    assert (error**2).mean() < 0.5
    assert imputer.autoencoder_.n_components_ == 3
    again = AEImputer(random_state=0).fit_transform(gaps)
    np.testing.assert_array_equal(again, imputer.transform(gaps))


def test_a_network_imputes_curved_data():
    rng = np.random.RandomState(0)
    t = rng.uniform(-2, 2, 1000)
    X = np.column_stack([t, t**2, np.sin(2 * t)]) + 0.05 * rng.normal(size=(1000, 3))
    gaps = np.where((rng.uniform(size=X.shape) < 0.25) & [False, True, True], np.nan, X)
    hidden = np.isnan(gaps)
    errors = []
    for autoencoder in (AutoencoderTransformer(1, random_state=0), LINEAR):
        filled = AEImputer(autoencoder).fit_transform(gaps)
        errors.append(((filled - X)[hidden] ** 2).mean())
    assert errors[0] < 0.3 * errors[1]


def test_draws_have_the_spread_of_the_conditional_distribution(table):
    X, gaps = table
    imputer = AEImputer(LINEAR).fit(gaps)
    draws = imputer.impute(gaps, n_draws=200, random_state=0)
    missing = np.isnan(gaps)
    np.testing.assert_array_equal(draws[:, ~missing], np.broadcast_to(X, draws.shape)[:, ~missing])
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    n_inside = int(((low <= X) & (high >= X))[missing].sum())
    assert stats.binomtest(n_inside, int(missing.sum()), 0.9).proportion_ci(0.9999).low < 0.9
    assert n_inside / missing.sum() > 0.84
    np.testing.assert_array_equal(draws, imputer.impute(gaps, n_draws=200, random_state=0))


def test_vae(table):
    X, gaps = table
    vae = VAETransformer(2, likelihood=Gaussian(noise="per_column"), hidden_layer_sizes=(), random_state=0)
    filled = AEImputer(vae).fit_transform(gaps)
    error = ((filled - X) / X.std(axis=0))[np.isnan(gaps)]
    assert (error**2).mean() < 0.5


def test_in_a_pipeline(table):
    X, gaps = table
    y = X[:, 0] > 0
    pipeline = make_pipeline(AEImputer(SMALL, random_state=0), PCA(3), LogisticRegression())
    grid = {"aeimputer__autoencoder__n_components": [1, 2], "aeimputer__random_state": [0]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(gaps, y)
    assert search.score(gaps, y) > 0.8


def test_names_and_data_frames(table):
    _, gaps = table
    frame = pd.DataFrame(gaps, columns=list("abcdef"), index=np.arange(300)[::-1])
    imputer = AEImputer(LINEAR).set_output(transform="pandas").fit(frame)
    filled = imputer.transform(frame)
    assert list(filled.columns) == list("abcdef")
    assert filled.index.equals(frame.index)
    assert not filled.isna().any(axis=None)


def test_empty_constant_and_integer_features():
    X = np.column_stack([np.full(20, np.nan), np.full(20, 7.0), np.arange(20)])
    X[3, 1:] = np.nan
    filled = AEImputer(clone(LINEAR).set_params(n_components=1)).fit_transform(X)
    np.testing.assert_array_equal(filled[:, 0], 0.0)
    np.testing.assert_array_equal(filled[:, 1], 7.0)
    assert 0 <= filled[3, 2] <= 19


def test_float32_and_order_of_samples(table):
    _, gaps = table
    imputer = AEImputer(LINEAR).fit(gaps.astype(np.float32))
    filled = imputer.transform(gaps.astype(np.float32))
    assert filled.dtype == np.float32
    np.testing.assert_allclose(filled, AEImputer(LINEAR).fit_transform(gaps), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(imputer.transform(gaps[::-1]), imputer.transform(gaps)[::-1], rtol=1e-12)


def test_errors(table):
    _, gaps = table
    with pytest.raises(ValueError, match="pass autoencoder=AutoencoderTransformer"):
        AEImputer().set_params(autoencoder__n_components=3)
    with pytest.raises(ValueError, match="infinity in feature 2"):
        AEImputer(SMALL).fit(np.where(np.arange(6) == 2, np.inf, gaps))
    with pytest.raises(ValueError, match="NaN only"):
        AEImputer(SMALL).fit(np.full((5, 3), np.nan))
    with pytest.raises(ValueError, match="n_draws"):
        AEImputer(SMALL).fit(gaps).impute(gaps, n_draws=0)
    with pytest.raises(ValueError, match="full"):
        AEImputer(VAETransformer(2, likelihood=Gaussian(noise="full"))).fit(gaps)


def test_a_failed_fit_leaves_the_imputer_as_it_was(table):
    _, gaps = table
    imputer = AEImputer(LINEAR).fit(gaps)
    before = imputer.transform(gaps)
    with pytest.raises(ValueError, match="infinity"):
        imputer.fit(np.full((5, 6), np.inf))
    np.testing.assert_array_equal(imputer.transform(gaps), before)
    assert imputer.n_features_in_ == 6


def test_random_state_is_that_of_the_autoencoder_unless_given(table):
    _, gaps = table
    own = AEImputer(clone(SMALL).set_params(random_state=3)).fit(gaps)
    given = AEImputer(SMALL, random_state=3).fit(gaps)
    np.testing.assert_array_equal(own.transform(gaps), given.transform(gaps))
