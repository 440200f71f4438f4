"""The size of the code by cross-validation: exact where models are linear, honest where they are cut."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils._param_validation import InvalidParameterError
from skorch.callbacks import Callback
from torch import Generator

from sklearn_ae import AutoencoderTransformer, AutoencoderTransformerCV
from sklearn_ae._estimators.size_selection import (
    Nested,
    best,
    check_sizes,
    models_of_sizes,
    one_standard_error,
)
from sklearn_ae.bottlenecks import TopK

LINEAR = {"hidden_layer_sizes": (), "random_state": 0}
QUICK = {"hidden_layer_sizes": (16,), "max_iter": 5, "random_state": 0}
TIMES = {"mean_fit_time", "std_fit_time", "mean_score_time", "std_score_time"}


def low_rank(seed, n=200, d=12, rank=3, noise=0.5):
    rng = np.random.RandomState(seed)
    return rng.normal(size=(n, rank)) @ rng.normal(size=(rank, d)) + noise * rng.normal(size=(n, d))


def minus_squared_error(model, X, y=None):
    return -np.square(X - model.inverse_transform(model.transform(X))).sum(axis=1).mean()


def minus_squared_error_and_y(model, X, y):
    return minus_squared_error(model, X) + y.mean()


@pytest.fixture(scope="module")
def fitted():
    return AutoencoderTransformerCV([1, 2, 3, 5], cv=3, **QUICK).fit(low_rank(0))


# -- oracles -----------------------------------------------------------------------------


@pytest.mark.parametrize("scoring", [None, minus_squared_error])
def test_linear_autoencoders_give_what_a_grid_search_over_pca_gives(scoring):
    X, sizes = low_rank(1), [1, 2, 3, 4, 7]
    ours = AutoencoderTransformerCV(sizes, scoring=scoring, **LINEAR).fit(X)
    grid = GridSearchCV(PCA(), {"n_components": sizes}, scoring=scoring).fit(X)
    assert set(ours.cv_results_) == set(grid.cv_results_)
    for name, column in grid.cv_results_.items():
        if name == "params":
            assert ours.cv_results_[name] == column
        elif name not in TIMES:
            np.testing.assert_allclose(ours.cv_results_[name], column, rtol=1e-6, err_msg=name)
    assert ours.best_params_ == grid.best_params_
    assert ours.best_score_ == pytest.approx(grid.best_score_)
    np.testing.assert_allclose(ours.transform(X), grid.transform(X), atol=1e-6)


def test_sizes_that_cannot_be_cut_are_trained_as_a_grid_search_does():
    X, sizes = low_rank(2), [2, 6, 14]  # topk codes may be larger than X
    params = QUICK | {"bottleneck": TopK(n_active=2)}
    ours = AutoencoderTransformerCV(sizes, cv=2, scoring=minus_squared_error, **params).fit(X)
    one = AutoencoderTransformer(**params)
    grid = GridSearchCV(one, {"n_components": sizes}, cv=2, scoring=minus_squared_error).fit(X)
    for i in range(2):
        ours_scores, grid_scores = (m.cv_results_[f"split{i}_test_score"] for m in (ours, grid))
        np.testing.assert_array_equal(ours_scores, grid_scores)


def test_the_rank_of_noisy_tables_is_found():
    found = [
        AutoencoderTransformerCV(range(1, 8), max_iter=15, random_state=0).fit(low_rank(seed, rank=rank))
        for seed, rank in enumerate([1, 2, 4, 5])
    ]
    assert [model.n_components_ for model in found] == [1, 2, 4, 5]


def test_a_curve_needs_fewer_components_than_pca(curve):
    sizes = [1, 2, 3, 4]
    ours = AutoencoderTransformerCV(sizes, cv=3, rule="1se", max_iter=60, random_state=0).fit(curve)
    pca = GridSearchCV(PCA(), {"n_components": sizes}, cv=3).fit(curve)
    assert ours.uses_network_
    assert ours.n_components_ <= 2 < pca.best_params_["n_components"]
    assert ours.best_score_ > pca.best_score_ + 1


def test_no_size_scores_credibly_below_pca(digits):
    X, sizes = digits[:900], [1, 4, 16, 40]
    ours = AutoencoderTransformerCV(
        sizes, cv=3, scoring=minus_squared_error, hidden_layer_sizes=(64,), max_iter=90, random_state=0
    ).fit(X)
    gains = [
        ours.cv_results_["mean_test_score"][i]
        / cross_val_score(PCA(k), X, cv=3, scoring=minus_squared_error).mean()
        for i, k in enumerate(sizes)
    ]
    assert max(gains) < 1.02  # errors, so smaller is better
    assert min(gains) < 0.9


def test_the_result_is_the_autoencoder_of_that_size(fitted):
    X = low_rank(0)
    alone = AutoencoderTransformer(fitted.n_components_, **QUICK).fit(X)
    np.testing.assert_array_equal(fitted.transform(X), alone.transform(X))
    np.testing.assert_array_equal(fitted.score_samples(X), alone.score_samples(X))
    np.testing.assert_array_equal(
        fitted.inverse_transform(fitted.transform(X)), alone.inverse_transform(alone.transform(X))
    )
    assert fitted.uses_network_ == alone.uses_network_


# -- nested codes ------------------------------------------------------------------------


def test_nested_codes_keep_a_prefix_of_each_size_in_equal_shares():
    a, sizes = torch.ones(60, 7), (1, 2, 7)
    nested = Nested(sizes)
    kept = nested(a, Generator().manual_seed(0))
    lengths = kept.sum(1).int()
    assert torch.equal(kept, (torch.arange(7) < lengths[:, None]).float())
    assert {k: int((lengths == k).sum()) for k in sizes} == dict.fromkeys(sizes, 20)
    assert torch.equal(nested.evaluate(a, Generator().manual_seed(0)), kept)
    assert torch.equal(nested(a), a)


def test_models_of_sizes_are_autoencoders_of_their_size(curve):
    one = AutoencoderTransformer(hidden_layer_sizes=(32,), max_iter=60, random_state=0)
    for k, model in zip([1, 2, 4], models_of_sizes(one, [1, 2, 4], curve), strict=True):
        assert model.transform(curve).shape == (len(curve), k)
        pca = PCA(k).fit(curve)
        floor = np.square(curve - pca.inverse_transform(pca.transform(curve))).sum(axis=1).mean()
        assert model.reconstruction_error(curve).mean() < (0.5 if model.uses_network_ else 1 + 1e-9) * floor
        assert model.uses_network_ or k == 4


def test_a_largest_size_that_explains_everything_does_not_end_the_others(curve):
    X = np.column_stack([curve, curve[:, :2]])  # of rank 5
    one = AutoencoderTransformer(hidden_layer_sizes=(32,), max_iter=60, random_state=0)
    small, whole = models_of_sizes(one, [1, 5], X)
    assert small.uses_network_
    assert not whole.uses_network_


def test_a_gate_that_is_shut_leaves_the_pca_of_all_rows():
    X = np.random.RandomState(0).normal(size=(200, 6))  # nothing to gain
    for k, model in zip([1, 3], models_of_sizes(AutoencoderTransformer(**QUICK), [1, 3], X), strict=True):
        assert not model.uses_network_
        np.testing.assert_allclose(model.score_samples(X), PCA(k).fit(X).score_samples(X), rtol=1e-8)


@pytest.mark.parametrize(
    "params",
    [
        {"init": "random"},
        {"early_stopping": False},
        {"corruption": "gaussian"},
        {"penalty": "l1"},
        {"loss": "absolute_error"},
        {"whiten": True},
        {"tied_weights": True},
        {"bottleneck": "ordered"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of the last fit
def test_every_slot_is_kept(params):
    X = low_rank(3)
    model = AutoencoderTransformerCV([1, 3], cv=2, **(QUICK | params)).fit(X)
    alone = AutoencoderTransformer(model.n_components_, **(QUICK | params)).fit(X)
    np.testing.assert_array_equal(model.transform(X), alone.transform(X))
    assert np.isfinite(model.cv_results_["mean_test_score"]).all()


# -- rules and sizes ---------------------------------------------------------------------


def test_rules():
    scores = np.array([[1.0, 3.0, 3.1, 2.0], [1.0, 2.0, 2.5, 2.0], [1.0, 1.0, 1.0, 2.0]])
    assert best(scores) == 2
    assert one_standard_error(scores) == 1  # 2.0 is within 1.08 / sqrt(3) of 2.2
    assert one_standard_error(scores - np.array([0, 0.5, 0, 0])) == 2
    assert best(np.array([[1.0, 2.0, 2.0]] * 2)) == 1
    assert one_standard_error(np.array([[1.0, 2.0, 2.0]] * 2)) == 1
    assert best(np.array([[np.nan, 2.0, -np.inf]] * 2)) == 1
    with pytest.raises(ValueError, match="finite mean score"):
        best(np.full((2, 3), np.nan))


def test_rule_is_used():
    X = np.random.RandomState(2).normal(size=(80, 10)) * np.geomspace(3, 1, 10)
    model = AutoencoderTransformerCV(range(1, 9), **LINEAR)
    frugal = clone(model).set_params(rule="1se").fit(X)
    folds = np.array([frugal.cv_results_[f"split{i}_test_score"] for i in range(5)])
    assert model.fit(X).best_index_ == best(folds)
    assert frugal.best_index_ == one_standard_error(folds) < best(folds)


def test_sizes():
    assert check_sizes("auto", 100, 9, False) == [1, 2, 3, 4, 6, 8]
    assert check_sizes("auto", 4, 9, False) == [1, 2, 3]
    assert check_sizes("auto", 100, 1, False) == [1]
    assert check_sizes(np.array([4, 2, 2]), 100, 9, False) == [2, 4]
    assert check_sizes(3, 100, 9, False) == [3]
    assert check_sizes([20], 100, 9, True) == [20]


@pytest.mark.parametrize("sizes", [[0, 1], [], [1.5], ["a", 1], [[1, None]]])
def test_sizes_that_are_none(sizes):
    with pytest.raises(ValueError, match="positive integers, or be 'auto'"):
        AutoencoderTransformerCV(sizes, **QUICK).fit(low_rank(0))


def test_a_size_too_large_for_a_fold():
    with pytest.raises(
        ValueError, match=r"n_components=13 .* min\(n_samples, n_features\)=12 .*n_samples=160"
    ):
        AutoencoderTransformerCV([2, 13], **QUICK).fit(low_rank(0))


@pytest.mark.parametrize(
    "params", [{"rule": "2se"}, {"n_components": "all"}, {"cv": 0.5}, {"scoring": "pca"}]
)
def test_wrong_parameters_are_named(params):
    with pytest.raises((InvalidParameterError, ValueError), match=next(iter(params))):
        AutoencoderTransformerCV(**params).fit(low_rank(0))


# -- as a scikit-learn estimator -----------------------------------------------------------


def test_results_agree_with_each_other(fitted):
    results = fitted.cv_results_
    folds = np.array([results[f"split{i}_test_score"] for i in range(fitted.n_splits_)])
    np.testing.assert_allclose(results["mean_test_score"], folds.mean(axis=0))
    np.testing.assert_allclose(results["std_test_score"], folds.std(axis=0))
    assert results["rank_test_score"][fitted.best_index_] == 1
    assert results["param_n_components"][fitted.best_index_] == fitted.n_components_
    assert fitted.best_score_ == results["mean_test_score"][fitted.best_index_]
    assert fitted.transform(low_rank(0)).shape[1] == fitted.n_components_


def test_folds_in_parallel_change_nothing(fitted):
    both = clone(fitted).set_params(n_jobs=2).fit(low_rank(0))
    for i in range(3):
        name = f"split{i}_test_score"
        np.testing.assert_array_equal(both.cv_results_[name], fitted.cv_results_[name])
    np.testing.assert_array_equal(both.transform(low_rank(0)), fitted.transform(low_rank(0)))


def test_folds_and_scores_may_depend_on_y():
    X, y = low_rank(5), np.repeat([0, 1], 100)  # sorted: unshuffled folds would hold one class
    model = AutoencoderTransformerCV([2], cv=StratifiedKFold(2), scoring=minus_squared_error_and_y, **LINEAR)
    with_y = model.fit(X, y).best_score_
    without = clone(model).set_params(scoring=minus_squared_error).fit(X, y).best_score_
    assert with_y == pytest.approx(without + 0.5)


def test_data_frames_sparse_matrices_and_pipelines():
    X = low_rank(6)
    frame = pd.DataFrame(X, columns=[f"c{j}" for j in range(X.shape[1])])
    model = AutoencoderTransformerCV([1, 3], cv=2, **LINEAR).set_output(transform="pandas")
    codes = model.fit_transform(frame)
    assert list(codes.columns) == [f"autoencodertransformercv{j}" for j in range(model.n_components_)]
    assert list(model.feature_names_in_) == list(frame.columns)
    thin = AutoencoderTransformerCV([1, 3], cv=2, **LINEAR).fit(sparse.csr_matrix(X))
    np.testing.assert_allclose(thin.cv_results_["mean_test_score"], model.cv_results_["mean_test_score"])
    y = (X[:, 0] > 0).astype(int)
    pipeline = make_pipeline(AutoencoderTransformerCV([1, 3], cv=2, **LINEAR), LogisticRegression())
    assert pipeline.fit(X, y).score(X, y) > 0.8


def test_pickle_and_clone(fitted):
    X = low_rank(0)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).transform(X), fitted.transform(X))
    assert not hasattr(clone(fitted), "cv_results_")
    assert clone(fitted).get_params() == fitted.get_params()


def test_random_states():
    X = low_rank(7)
    params = QUICK | {"cv": 2, "early_stopping": False}
    codes = [
        AutoencoderTransformerCV([1, 2], **(params | {"random_state": np.random.RandomState(seed)}))
        .fit(X)
        .transform(X)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(codes[0], codes[1])
    assert np.abs(codes[0] - codes[2]).max() > 1e-3
    AutoencoderTransformerCV([1, 2], **(params | {"random_state": None})).fit(X)


def test_callbacks_attend_the_last_fit_alone():
    class Count(Callback):
        n = 0

        def on_epoch_end(self, net, **kwargs):
            self.n += 1

    counter = Count()
    model = AutoencoderTransformerCV([1, 2], cv=2, callbacks=[("count", counter)], **QUICK)
    model.fit(low_rank(0)[:90])  # too few rows to gate: nothing is trained
    assert counter.n == 0
    model.set_params(early_stopping=False).fit(low_rank(0))
    assert len(model.loss_curve_) == 5


def test_what_is_not_there():
    with pytest.raises(AttributeError, match="folds need all rows at once"):
        AutoencoderTransformerCV().partial_fit(low_rank(0))
    assert "warm_start" not in AutoencoderTransformerCV().get_params()


def test_folds_say_nothing_of_convergence(curve):
    """Their few epochs would warn if they stood alone; the last fit has enough of them."""
    params = {"hidden_layer_sizes": (32,), "init": "random", "early_stopping": False, "random_state": 0}
    with pytest.warns(ConvergenceWarning):
        AutoencoderTransformer(2, max_iter=10, **params).fit(curve)
    AutoencoderTransformerCV([1, 2], cv=2, max_iter=30, **params).fit(curve)  # warnings are errors here


def test_global_state_stays(unchanged_globals):
    AutoencoderTransformerCV([1, 2], cv=2, **QUICK).fit(low_rank(0))
