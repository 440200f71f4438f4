"""The initial PCA: exact for arrays and sparse matrices, and truncated without a refit."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.decomposition import PCA, IncrementalPCA

from sklearn_ae._data.in_memory import ArraySamples
from sklearn_ae._data.sources import ArraySource, DataSummary
from sklearn_ae._model.pca import InitialPCA, fit_pca, streamed_pca, truncated_pca, with_chunk


@pytest.mark.parametrize("shape", [(300, 8), (30, 20), (20, 50)])
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_initial_pca_is_exact(shape, k, form):
    X = np.random.RandomState(0).normal(size=shape) @ np.diag(np.linspace(1, 3, shape[1])) + 2
    ours, exact = fit_pca(ArraySamples(form(X)), k, seed=0), PCA(k, svd_solver="full").fit(X)
    for name in ("components_", "explained_variance_", "mean_", "noise_variance_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(exact, name), rtol=1e-6, atol=1e-9)


ATTRIBUTES = ("components_", "explained_variance_", "explained_variance_ratio_", "noise_variance_")


@pytest.mark.parametrize("shape", [(1_300, 1_010), (400, 60)], ids=str)
@pytest.mark.parametrize("far", [0.0, 1e4])
def test_the_covariance_gives_the_same_pca_as_a_singular_value_decomposition(shape, far):
    rng = np.random.RandomState(0)
    scales = np.r_[np.linspace(20, 4, 6), np.ones(shape[1] - 6)]
    X = rng.normal(size=shape) * scales + far * rng.normal(size=shape[1])
    ours = fit_pca(ArraySamples(X), 5, seed=0)
    exact = PCA(5, svd_solver="full").fit(X - X.mean(axis=0))
    assert ours.svd_solver == "covariance_eigh"
    for name in ATTRIBUTES:
        np.testing.assert_allclose(getattr(ours, name), getattr(exact, name), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(ours.mean_, X.mean(axis=0), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_variances_near_the_rounding_errors_of_the_covariance_are_precise(dtype):
    """The last component has 1e-13 of the largest variance (float32: 1e-9, as its digits allow)."""
    small = 10.0 ** (-6.5 if dtype is np.float64 else -4.5)
    rng = np.random.RandomState(0)
    axes = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    codes = np.linalg.qr(rng.normal(size=(300, 6)) - rng.normal(size=6))[0]
    X = ((codes - codes.mean(axis=0)) * np.r_[1, 0.5, 0.3, 0.2, 0.1, small] @ axes).astype(dtype)
    ours = fit_pca(ArraySamples(X), 6, seed=0)
    exact = PCA(6, svd_solver="full").fit(X.astype(np.float64))
    np.testing.assert_allclose(ours.explained_variance_, exact.explained_variance_, rtol=1e-6)
    assert ours.svd_solver == ("full" if dtype is np.float64 else "covariance_eigh")


@pytest.mark.parametrize("seed", range(3))
def test_initial_pca_of_sparse_samples_of_low_rank_is_reproducible(seed):
    k, rng = 3, np.random.RandomState(seed)
    X = np.tile(rng.normal(size=5), (4, 1))
    X[0] = rng.normal(size=5)
    fits = [fit_pca(ArraySamples(sparse.csr_matrix(X)), k, seed=0) for _ in range(20)]
    assert len({pca.components_.tobytes() for pca in fits}) == 1
    exact = PCA(1, svd_solver="full").fit(X)
    np.testing.assert_allclose(fits[0].explained_variance_[:1], exact.explained_variance_)
    np.testing.assert_allclose(fits[0].components_ @ fits[0].components_.T, np.eye(k), atol=1e-9)


@pytest.mark.parametrize("shape", [(200, 12), (12, 40)])
@pytest.mark.parametrize("k", [1, 3, 6])
def test_truncated_pca_is_pca_with_fewer_components(shape, k):
    X = np.random.RandomState(0).normal(size=shape)
    long, exact = PCA(6, svd_solver="full").fit(X), PCA(k, svd_solver="full").fit(X)
    short = truncated_pca(long, k, shape[0])
    for name in ("components_", "explained_variance_", "explained_variance_ratio_", "singular_values_"):
        np.testing.assert_allclose(getattr(short, name), getattr(exact, name), rtol=1e-9, atol=1e-12)
    assert short.noise_variance_ == pytest.approx(exact.noise_variance_, rel=1e-9)
    assert short.n_components_ == k
    assert long.n_components_ == 6


@pytest.mark.parametrize("shape", [(100, 7), (6, 30)])
def test_scale_is_the_root_of_the_mean_feature_variance(shape):
    X = np.random.RandomState(0).normal(size=shape) * 3
    for k in (1, 4, 5):
        scale = InitialPCA.of(PCA(k, svd_solver="full").fit(X)).scale
        assert scale == pytest.approx(np.sqrt(X.var(0, ddof=1).mean()), rel=1e-9)


@pytest.mark.parametrize("shape", [(2_000, 3), (30, 20), (20, 50), (30, 2_100)], ids=str)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_large_means_do_not_hide_the_spread_of_single_precision(shape, form):
    """Coordinates in metres: the PCA of float32 samples is that of the same numbers in float64."""
    rng = np.random.RandomState(0)
    X = (1e6 + 10 * rng.normal(size=shape) * np.linspace(1, 3, shape[1])).astype(np.float32)
    ours = fit_pca(ArraySamples(form(X)), 2, seed=0)
    exact = fit_pca(ArraySamples(form(X.astype(np.float64))), 2, seed=0)
    np.testing.assert_allclose(ours.mean_, exact.mean_, rtol=0, atol=1e-3)
    np.testing.assert_allclose(ours.explained_variance_, exact.explained_variance_, rtol=1e-4)
    assert InitialPCA.of(ours).scale == pytest.approx(InitialPCA.of(exact).scale, rel=1e-4)


@pytest.mark.parametrize("value", [1.0, 0.1, 1e6 / 3])
@pytest.mark.parametrize("form", ["array", "csr", "source", "chunk"])
def test_constant_features_have_no_variance(value, form):
    """Rounding errors of the mean are not taken for variance, which would make the scale tiny."""
    X = np.full((50, 3), value)
    forms = {
        "array": lambda: fit_pca(ArraySamples(X), 2, seed=0),
        "csr": lambda: fit_pca(ArraySamples(sparse.csr_matrix(X)), 2, seed=0),
        "source": lambda: fit_pca(source_of(X), 2, seed=0),
        "chunk": lambda: with_chunk(IncrementalPCA(2), X),
    }
    with np.errstate(invalid="ignore", divide="ignore"):
        pca = forms[form]()
    assert not pca.explained_variance_.any()
    assert pca.noise_variance_ == 0
    assert InitialPCA.of(pca).scale == 1


# -- out-of-core data ------------------------------------------------------------------------


def source_of(X):
    """Return a source of X without held-out samples."""
    return ArraySource(X, DataSummary.of([X]))


@pytest.mark.parametrize("k", [3, 0.9])
@pytest.mark.parametrize("far", [0.0, 1e6])
def test_pca_of_a_source_is_exact(k, far, digits):
    X = digits + far
    ours, exact = streamed_pca(source_of(X), k, 0), PCA(k, svd_solver="full").fit(X)
    assert ours.n_components_ == exact.n_components_
    for name in ("mean_", "components_", "explained_variance_", "explained_variance_ratio_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(exact, name), rtol=1e-6, atol=1e-6)
    for name in ("singular_values_", "noise_variance_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(exact, name), rtol=1e-6)
    np.testing.assert_allclose(ours.transform(X[:9]), exact.transform(X[:9]), atol=1e-4)


def test_pca_of_too_many_features_for_a_covariance_matrix(digits, monkeypatch):
    monkeypatch.setattr("sklearn_ae._model.pca._COVARIANCE_MAX", 10)
    ours, exact = streamed_pca(source_of(digits), 5, 0), PCA(5, svd_solver="full").fit(digits)
    np.testing.assert_allclose(ours.explained_variance_, exact.explained_variance_, rtol=1e-6)
    np.testing.assert_allclose(ours.noise_variance_, exact.noise_variance_, rtol=1e-6)
    np.testing.assert_allclose(np.abs((ours.components_ * exact.components_).sum(1)), 1, atol=1e-4)
    with pytest.raises(ValueError, match="integer"):
        streamed_pca(source_of(digits), 0.9, 0)
