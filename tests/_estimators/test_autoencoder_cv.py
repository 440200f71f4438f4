"""AutoencoderTransformerCV: equal to a grid search unless nonlinear codes are truncated."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    LeaveOneGroupOut,
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import InvalidParameterError
from skorch.callbacks import Callback

from sklearn_ae import AutoencoderTransformer, AutoencoderTransformerCV
from sklearn_ae._estimators.size_selection import best, one_standard_error
from sklearn_ae.bottlenecks import TopK

LINEAR = {"hidden_layer_sizes": (), "random_state": 0}
QUICK = {"hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0}
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
    return AutoencoderTransformerCV([1, 3, 5], cv=3, **QUICK).fit(low_rank(0))


# -- comparison with other estimators ----------------------------------------------------


@pytest.mark.parametrize("scoring", [None, minus_squared_error])
def test_linear_autoencoders_equal_a_grid_search_over_pca(scoring):
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


def test_codes_that_cannot_be_truncated_equal_a_grid_search(unperturbed):
    X, sizes = low_rank(2), [2, 6, 14]  # topk codes may be overcomplete
    params = QUICK | {"bottleneck": TopK(n_active=2)}
    ours = AutoencoderTransformerCV(sizes, cv=2, scoring=minus_squared_error, **params).fit(X)
    one = AutoencoderTransformer(**params)
    grid = GridSearchCV(one, {"n_components": sizes}, cv=2, scoring=minus_squared_error).fit(X)
    for i in range(2):
        ours_scores, grid_scores = (m.cv_results_[f"split{i}_test_score"] for m in (ours, grid))
        np.testing.assert_array_equal(ours_scores, grid_scores)


@pytest.mark.parametrize("rank", [1, 4])
def test_the_rank_of_noisy_data_is_recovered(rank):
    model = AutoencoderTransformerCV(range(1, 7), cv=3, hidden_layer_sizes=(16,), max_iter=10, random_state=0)
    assert model.fit(low_rank(rank, rank=rank)).n_components_ == rank


@pytest.mark.slow
def test_a_curve_needs_fewer_components_than_pca(curve):
    sizes = [1, 2, 3, 4]
    ours = AutoencoderTransformerCV(sizes, cv=3, rule="1se", max_iter=60, random_state=0).fit(curve)
    pca = GridSearchCV(PCA(), {"n_components": sizes}, cv=3).fit(curve)
    assert ours.uses_network_
    assert ours.n_components_ <= 2 < pca.best_params_["n_components"]
    assert ours.best_score_ > pca.best_score_ + 1


@pytest.mark.slow
def test_no_size_scores_significantly_below_pca(digits):
    X, sizes = digits[:900], [1, 4, 16, 40]
    ours = AutoencoderTransformerCV(
        sizes, cv=3, scoring=minus_squared_error, hidden_layer_sizes=(64,), max_iter=90, random_state=0
    ).fit(X)
    ratios = [
        ours.cv_results_["mean_test_score"][i]
        / cross_val_score(PCA(k), X, cv=3, scoring=minus_squared_error).mean()
        for i, k in enumerate(sizes)
    ]
    assert max(ratios) < 1.02  # of squared errors, so smaller is better
    assert min(ratios) < 0.9


def test_the_result_equals_an_autoencoder_of_the_selected_size(fitted):
    X = low_rank(0)
    alone = AutoencoderTransformer(fitted.n_components_, **QUICK).fit(X)
    np.testing.assert_array_equal(fitted.transform(X), alone.transform(X))
    np.testing.assert_array_equal(fitted.score_samples(X), alone.score_samples(X))
    np.testing.assert_array_equal(
        fitted.inverse_transform(fitted.transform(X)), alone.inverse_transform(alone.transform(X))
    )
    assert fitted.uses_network_ == alone.uses_network_


@pytest.mark.parametrize(
    "params",
    [
        {"init": "random", "corruption": "gaussian"},
        {"early_stopping": False, "penalty": "l1", "whiten": True},
        {"loss": "absolute_error", "tied_weights": True},
        {"bottleneck": "ordered"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of the final fit
def test_options_are_passed_to_the_autoencoder(params):
    X = low_rank(3)
    model = AutoencoderTransformerCV([1, 3], cv=2, **(QUICK | params)).fit(X)
    alone = AutoencoderTransformer(model.n_components_, **(QUICK | params)).fit(X)
    np.testing.assert_array_equal(model.transform(X), alone.transform(X))
    assert np.isfinite(model.cv_results_["mean_test_score"]).all()


# -- rules and candidate sizes -----------------------------------------------------------


def test_the_rule_is_applied():
    X = np.random.RandomState(2).normal(size=(80, 10)) * np.geomspace(3, 1, 10)
    model = AutoencoderTransformerCV(range(1, 9), **LINEAR)
    parsimonious = clone(model).set_params(rule="1se").fit(X)
    folds = np.array([parsimonious.cv_results_[f"split{i}_test_score"] for i in range(5)])
    assert model.fit(X).best_index_ == best(folds)
    assert parsimonious.best_index_ == one_standard_error(folds) < best(folds)


@pytest.mark.parametrize("sizes", [[0, 1], [], [1.5], ["a", 1], [[1, None]]])
def test_invalid_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="positive integers, or be 'auto'"):
        AutoencoderTransformerCV(sizes, **QUICK).fit(low_rank(0))


def test_a_size_too_large_for_a_fold_is_refused():
    with pytest.raises(
        ValueError, match=r"n_components=13 .* min\(n_samples, n_features\)=12 .*n_samples=160"
    ):
        AutoencoderTransformerCV([2, 13], **QUICK).fit(low_rank(0))


@pytest.mark.parametrize(
    "params", [{"rule": "2se"}, {"n_components": "all"}, {"cv": 0.5}, {"scoring": "pca"}]
)
def test_invalid_parameters_are_named(params):
    with pytest.raises((InvalidParameterError, ValueError), match=next(iter(params))):
        AutoencoderTransformerCV(**params).fit(low_rank(0))


# -- within scikit-learn ------------------------------------------------------------------


def test_results_are_consistent(fitted):
    results = fitted.cv_results_
    folds = np.array([results[f"split{i}_test_score"] for i in range(fitted.n_splits_)])
    np.testing.assert_allclose(results["mean_test_score"], folds.mean(axis=0))
    np.testing.assert_allclose(results["std_test_score"], folds.std(axis=0))
    assert results["rank_test_score"][fitted.best_index_] == 1
    assert results["param_n_components"][fitted.best_index_] == fitted.n_components_
    assert fitted.best_score_ == results["mean_test_score"][fitted.best_index_]
    assert fitted.transform(low_rank(0)).shape[1] == fitted.n_components_


@pytest.mark.slow
def test_parallel_folds_give_the_same_result(fitted):
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
    params = QUICK | {"cv": 2, "early_stopping": False, "max_iter": 2}
    codes = [
        AutoencoderTransformerCV([1, 2], **(params | {"random_state": np.random.RandomState(seed)}))
        .fit(X)
        .transform(X)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(codes[0], codes[1])
    assert np.abs(codes[0] - codes[2]).max() > 1e-3
    AutoencoderTransformerCV([1, 2], **(params | {"random_state": None})).fit(X)


def test_callbacks_are_used_in_the_final_fit_only():
    class Count(Callback):
        n = 0

        def on_epoch_end(self, net, **kwargs):
            self.n += 1

    counter = Count()
    model = AutoencoderTransformerCV([1, 2], cv=2, callbacks=[("count", counter)], **QUICK)
    model.fit(low_rank(0)[:90])  # too few samples for validation: nothing is trained
    assert counter.n == 0
    model.set_params(early_stopping=False).fit(low_rank(0))
    assert len(model.loss_curve_) == 3


def test_partial_fit_and_warm_start_are_not_available():
    with pytest.raises(AttributeError, match="requires all samples at once"):
        AutoencoderTransformerCV().partial_fit(low_rank(0))
    assert "warm_start" not in AutoencoderTransformerCV().get_params()


def test_folds_emit_no_convergence_warnings(curve):
    """The few epochs of the folds would cause a warning, those of the final fit do not."""
    params = {"hidden_layer_sizes": (32,), "init": "random", "early_stopping": False, "random_state": 0}
    with pytest.warns(ConvergenceWarning):
        AutoencoderTransformer(2, max_iter=10, **params).fit(curve)
    AutoencoderTransformerCV([1, 2], cv=2, max_iter=30, **params).fit(curve)  # warnings are errors here


def test_fit_leaves_the_global_state_unchanged(unchanged_globals):
    AutoencoderTransformerCV([1, 2], cv=2, **QUICK).fit(low_rank(0))


# -- groups --------------------------------------------------------------------------------

GROUPS = np.random.RandomState(3).randint(8, size=200)


class Recorded(GroupKFold):
    """Splitter that keeps the splits that it has made."""

    def split(self, X, y=None, groups=None):
        self.made = list(super().split(X, y, groups))
        return iter(self.made)


def assert_folds_of(splitter, groups=GROUPS):
    assert len(splitter.made) == splitter.n_splits
    for train, test in splitter.made:
        assert not set(groups[train]) & set(groups[test])


def test_groups_are_in_one_fold_each():
    X, splitter = low_rank(0), Recorded(3)
    found = AutoencoderTransformerCV([1, 3], cv=splitter, **LINEAR).fit(X, groups=GROUPS.tolist())
    assert_folds_of(splitter)
    expected = AutoencoderTransformerCV([1, 3], cv=splitter.made, **LINEAR).fit(X)
    for name in ("mean_test_score", "std_test_score", "split2_test_score"):
        np.testing.assert_array_equal(found.cv_results_[name], expected.cv_results_[name])
    codes = AutoencoderTransformerCV([1, 3], cv=splitter, **LINEAR).fit_transform(X, groups=GROUPS)
    np.testing.assert_array_equal(codes, expected.transform(X))


ROUTES = {
    "last step": lambda cv, X, y: make_pipeline(StandardScaler(), cv).fit(X, y, groups=GROUPS),
    "step": lambda cv, X, y: make_pipeline(cv, Ridge()).fit(X, y, groups=GROUPS),
    "fit": lambda cv, X, y: cv.fit(X, y, groups=GROUPS),
    "fit_transform": lambda cv, X, y: cv.fit_transform(X, y, groups=GROUPS),
}


@pytest.mark.parametrize("route", ROUTES)
def test_groups_are_routed_to_the_splitter(route):
    X, splitter = low_rank(0), Recorded(3)
    with config_context(enable_metadata_routing=True):
        ROUTES[route](AutoencoderTransformerCV([1, 3], cv=splitter, **LINEAR), X, X[:, 0])
    assert_folds_of(splitter)


def test_groups_are_routed_through_a_search():
    """The folds of the search and those within it keep the groups together."""
    outer, made = Recorded(2), []

    class Inner(Recorded):
        def split(self, X, y=None, groups=None):
            made.append((groups, list(super().split(X, y, groups))))
            return iter(self.made)

    with config_context(enable_metadata_routing=True):
        model = AutoencoderTransformerCV([1, 3], cv=Inner(3), **LINEAR)
        cross_validate(model, low_rank(0), cv=outer, params={"groups": GROUPS})
    assert_folds_of(outer)
    assert len(made) == 2
    for (train, _), (groups, splits) in zip(outer.made, made, strict=True):
        np.testing.assert_array_equal(groups, GROUPS[train])
        assert all(not set(groups[train]) & set(groups[test]) for train, test in splits)


def test_pipelines_pass_groups_to_a_named_step_without_routing():
    splitter = Recorded(3)
    model = Pipeline([("ae", AutoencoderTransformerCV([1, 3], cv=splitter, **LINEAR))])
    model.fit(low_rank(0), ae__groups=GROUPS)
    assert_folds_of(splitter)


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("splitter", [GroupKFold(3), LeaveOneGroupOut(), StratifiedGroupKFold(2)], ids=str)
def test_missing_groups_are_named(splitter, routing):
    with config_context(enable_metadata_routing=routing):
        model = AutoencoderTransformerCV([1, 3], cv=splitter, **LINEAR)
        with pytest.raises(ValueError, match=rf"cv={type(splitter).__name__}\(.*needs groups: pass"):
            model.fit(low_rank(0), GROUPS > 3)


def test_groups_of_another_length_are_refused():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        AutoencoderTransformerCV([1, 3], cv=GroupKFold(3), **LINEAR).fit(low_rank(0), groups=GROUPS[:-1])
