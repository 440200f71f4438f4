"""Draws from densities fitted to codes, against moments, clusters and PCA's planes."""

import numpy as np
import pytest
from known_codes import CODES
from scipy.stats import kstest
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

from sklearn_ae.latent import sample_latent

X = load_iris().data


@pytest.fixture(scope="module")
def pca():
    return PCA(2).fit(X)


class TestGaussian:
    def test_has_the_moments_of_the_codes(self, pca):
        samples = sample_latent(pca, X, 20_000, random_state=0)
        P = pca.components_.T @ pca.components_
        covariance = P @ np.cov(X.T) @ P
        se = np.sqrt(np.diag(covariance) / 20_000)
        assert (np.abs(samples.mean(axis=0) - X.mean(axis=0)) < 4 * se).all()
        np.testing.assert_allclose(np.cov(samples.T), covariance, atol=0.04 * covariance.max())
        np.testing.assert_allclose(pca.inverse_transform(pca.transform(samples)), samples)

    def test_is_normal(self, pca):
        _, codes = sample_latent(pca, X, 2000, random_state=0, return_codes=True)
        standard = codes / pca.transform(X).std(axis=0, ddof=1)
        assert all(kstest(component, "norm").pvalue > 0.01 for component in standard.T)

    @pytest.mark.parametrize("n", [1, 2, 3])
    @pytest.mark.parametrize("density", ["gaussian", "mixture"])
    def test_few_samples(self, n, density):
        """The draws stay in the affine subspace of the codes."""
        samples = sample_latent(CODES, X[:n], 50, density=density, random_state=0)
        directions = np.linalg.svd(X[:n] - X[:n].mean(axis=0))[2][n - 1 :]
        np.testing.assert_allclose((samples - X[0]) @ directions.T, 0, atol=1e-12)
        assert np.linalg.matrix_rank(samples - X[0], tol=1e-9) == n - 1

    @pytest.mark.parametrize("density", ["gaussian", "mixture"])
    def test_dependent_codes(self, density):
        doubled = np.column_stack([X, X[:, 0] + X[:, 1], np.full(len(X), 7.0)])
        samples = sample_latent(CODES, doubled, 50, density=density, random_state=0)
        np.testing.assert_allclose(samples[:, 4], samples[:, 0] + samples[:, 1])
        np.testing.assert_allclose(samples[:, 5], 7)

    @pytest.mark.parametrize("density", ["gaussian", "mixture"])
    def test_equal_samples(self, density):
        samples = sample_latent(CODES, np.tile(X[0], (40, 1)), 5, density=density, random_state=0)
        np.testing.assert_allclose(samples, np.tile(X[0], (5, 1)))


class TestMixture:
    CENTRES = np.array([[0.0, 0], [100, 0], [0, 100], [100, 100]])

    def clusters(self, n=400):
        rng = np.random.RandomState(0)
        return self.CENTRES[np.arange(n) % 4] + rng.normal(size=(n, 2))

    @pytest.mark.parametrize("units", [(1, 1), (1, 1e-6), (1e6, 1)])
    def test_draws_are_in_the_clusters(self, units):
        samples = (
            sample_latent(CODES, self.clusters() * units, 400, density="mixture", random_state=0) / units
        )
        distances = np.linalg.norm(samples[:, np.newaxis] - self.CENTRES, axis=2)
        assert (distances.min(axis=1) < 10).all()
        counts = np.bincount(distances.argmin(axis=1), minlength=4)
        assert (np.abs(counts - 100) < 40).all()

    def test_draws_from_a_gaussian_are_outside_the_clusters(self):
        samples = sample_latent(CODES, self.clusters(), 400, random_state=0)
        distances = np.linalg.norm(samples[:, np.newaxis] - self.CENTRES, axis=2)
        assert np.median(distances.min(axis=1)) > 20

    @pytest.mark.parametrize("density", ["mixture", GaussianMixture(4)])
    def test_order_is_random(self, density):
        samples = sample_latent(CODES, self.clusters(), 400, density=density, random_state=0)
        nearest = np.linalg.norm(samples[:, np.newaxis] - self.CENTRES, axis=2).argmin(axis=1)
        assert 200 < (np.diff(nearest) != 0).sum() < 380  # 3 if sorted by component, 299 expected

    def test_is_one_gaussian_for_normal_codes(self):
        codes = np.random.RandomState(0).normal(size=(500, 3))
        gaussian, mixture = (
            sample_latent(CODES, codes, 5000, density=density, random_state=1)
            for density in ("gaussian", "mixture")
        )
        np.testing.assert_allclose(np.cov(mixture.T), np.cov(gaussian.T), atol=0.1)

    @pytest.mark.parametrize("unit", [1e-8, 1e8])
    def test_does_not_depend_on_units(self, unit):
        samples, scaled = (
            sample_latent(CODES, codes, 50, density="mixture", random_state=0)
            for codes in (self.clusters(), self.clusters() * unit)
        )
        np.testing.assert_allclose(scaled, samples * unit, rtol=1e-6, atol=1e-6 * unit)


class TestEstimators:
    def test_are_cloned_and_fitted_to_the_codes(self, pca):
        kde = KernelDensity(bandwidth=1e-6)
        _, codes = sample_latent(pca, X, 50, density=kde, random_state=0, return_codes=True)
        nearest = np.abs(codes[:, np.newaxis] - pca.transform(X)).max(axis=2).min(axis=1)
        assert (nearest < 1e-4).all()
        assert not hasattr(kde, "tree_")

    def test_keep_their_own_random_state(self, pca):
        density = GaussianMixture(2, random_state=0)
        first, second = (sample_latent(pca, X, 9, density=density, random_state=s) for s in (1, 2))
        np.testing.assert_allclose(np.sort(first, axis=0), np.sort(second, axis=0))

    def test_must_draw_codes(self, pca):
        class Narrow(KernelDensity):
            def sample(self, n_samples=1, random_state=None):
                return super().sample(n_samples, random_state)[:, :1]

        with pytest.raises(ValueError, match=r"drew an array of shape \(5, 1\) instead of \(5, 2\)"):
            sample_latent(pca, X, 5, density=Narrow())

    def test_errors(self, pca):
        with pytest.raises(ValueError, match=r"density='normal' is not known; use 'gaussian', 'mixture'"):
            sample_latent(pca, X, density="normal")
        with pytest.raises(TypeError, match=r"density=PCA\(\) has no fit and sample"):
            sample_latent(pca, X, density=PCA())
