"""Searches and fits on clusters of two processes: the numbers of one process."""

import dask.array as da
import joblib
import numpy as np
import pytest
from distributed import Client, LocalCluster
from sklearn.model_selection import GridSearchCV

from sklearn_ae import AutoencoderTransformer, AutoencoderTransformerCV

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

PARAMS = {"hidden_layer_sizes": (16,), "max_iter": 5, "random_state": 0}


@pytest.fixture(scope="module")
def cluster():
    """A dask cluster of two processes."""
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster:
        yield cluster


@pytest.fixture
def dask_backend(cluster):
    with Client(cluster):
        yield "dask"


@pytest.fixture
def ray_backend():
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    register_ray()
    yield "ray"
    ray.shutdown()


def searches(n_jobs):
    """Return searches for the number of components, by scikit-learn's class and by this package's."""
    grid = {"n_components": [1, 2, 3]}
    return [
        GridSearchCV(AutoencoderTransformer(**PARAMS), grid, cv=2, n_jobs=n_jobs),
        AutoencoderTransformerCV([1, 2, 3], cv=2, n_jobs=n_jobs, **PARAMS),
    ]


def assert_searches_equal_serial_ones(backend, X):
    for search, serial in zip(searches(n_jobs=2), searches(n_jobs=None), strict=True):
        with joblib.parallel_config(backend):
            search.fit(X)
        serial.fit(X)
        for name in ("split0_test_score", "split1_test_score"):
            np.testing.assert_array_equal(search.cv_results_[name], serial.cv_results_[name])
        np.testing.assert_array_equal(search.transform(X), serial.transform(X))


@pytest.mark.slow
def test_searches_on_a_dask_cluster_give_the_serial_numbers(dask_backend, curve):
    assert_searches_equal_serial_ones(dask_backend, curve)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::ray")
def test_searches_on_a_ray_cluster_give_the_serial_numbers(ray_backend, curve):
    assert_searches_equal_serial_ones(ray_backend, curve)


def fit_and_score(X):
    """Return the codes of a model that is fitted to blocks of X, and its scores, which dask computes."""
    lazy = da.from_array(X, chunks=(100, X.shape[1])).persist()
    model = AutoencoderTransformer(2, **PARAMS).fit(lazy)
    return model.transform(lazy).compute(), model.score(lazy)


@pytest.fixture
def out_of_core(monkeypatch):
    monkeypatch.setattr("sklearn_ae._estimators.validation.LARGE", 1_000)


@pytest.mark.slow
def test_fits_on_a_cluster_of_processes_give_the_numbers_of_one(cluster, curve, out_of_core):
    expected, expected_score = fit_and_score(curve)
    with Client(cluster):
        codes, score = fit_and_score(curve)
    np.testing.assert_array_equal(codes, expected)
    assert score == expected_score


def test_fits_with_a_client_give_the_numbers_of_threads(curve, out_of_core):
    expected, expected_score = fit_and_score(curve)
    with Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0"):
        codes, score = fit_and_score(curve)
    np.testing.assert_array_equal(codes, expected)
    assert score == expected_score
