"""Latent space: walks, sweeps, attributes and draws, against PCA's linear algebra and great circles."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.spatial import geometric_slerp
from scipy.stats import kstest, norm
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA, KernelPCA, TruncatedSVD
from sklearn.exceptions import NotFittedError
from sklearn.manifold import TSNE
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_ae import AutoencoderTransformer, VAETransformer
from sklearn_ae.latent import (
    apply_attribute,
    attribute_vector,
    interpolate,
    latent_grid,
    sample_latent,
    traverse,
)

# few epochs suffice for what is tested here
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still falling steeply")

X, Y = load_iris(return_X_y=True)
CODES = FunctionTransformer(inverse_func=lambda Z: Z)  # rows are their own codes
FRAME = pd.DataFrame(X, columns=list("abcd"))

MODELS = {
    "pca": PCA(2),
    "whitened": PCA(3, whiten=True),
    "kernel": KernelPCA(3, kernel="rbf", fit_inverse_transform=True),
    "pipeline": make_pipeline(StandardScaler(), PCA(2)),
    "autoencoder": AutoencoderTransformer(2, hidden_layer_sizes=(8,), max_iter=5, early_stopping=False),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param].fit(X)


@pytest.fixture(scope="module")
def pca():
    return PCA(2).fit(X)


class Prior(TransformerMixin, BaseEstimator):
    """What says of a model that its codes are standard normal."""

    def fit(self, X, y=None):
        self.n_components_ = X.shape[1]
        return self

    def transform(self, X):
        return np.asarray(X)

    inverse_transform = posterior = transform

    def sample(self, n_samples=1):
        raise AssertionError("a grid needs no draws")


def reconstruct(model, X):
    return model.inverse_transform(model.transform(X))


def in_plane(pca, rows):
    """Whether rows lie in the plane (line, ...) that PCA projects to."""
    rows = rows.reshape(-1, rows.shape[-1])
    return np.allclose(reconstruct(pca, rows), rows)


# -- every model ----------------------------------------------------------------------


class TestEveryModel:
    @pytest.mark.parametrize("method", ["linear", "spherical"])
    def test_walks_start_and_end_at_reconstructions(self, model, method, unchanged_globals):
        walks = interpolate(model, X[:3], X[100:103], n_steps=4, method=method)
        assert walks.shape == (3, 4, 4)
        np.testing.assert_allclose(walks[:, 0], reconstruct(model, X[:3]), rtol=1e-10)
        np.testing.assert_allclose(walks[:, -1], reconstruct(model, X[100:103]), rtol=1e-10)

    @pytest.mark.parametrize("method", ["linear", "spherical"])
    def test_one_walk_is_like_that_among_several(self, model, method):
        one = interpolate(model, X[1], X[101], n_steps=4, method=method)
        several = interpolate(model, X[:3], X[100:103], n_steps=4, method=method)
        np.testing.assert_allclose(one, several[1], rtol=1e-10)

    def test_traverse_sets_one_component(self, model, unchanged_globals):
        code = model.transform(X[:1])
        codes = np.repeat(code, 3, axis=0)
        codes[:, 1] = [-0.5, code[0, 1], 0.5]
        rows = traverse(model, X[0], 1, codes[:, 1])
        np.testing.assert_allclose(rows, model.inverse_transform(codes), rtol=1e-10)
        np.testing.assert_allclose(rows[1], reconstruct(model, X[:1])[0], rtol=1e-10)

    def test_attribute_between_groups_moves_their_mean_code(self, model, unchanged_globals):
        vector = attribute_vector(model, X[Y == 1], X[Y == 0])
        codes = model.transform(X)
        np.testing.assert_allclose(codes[Y == 0].mean(0) + vector, codes[Y == 1].mean(0))
        np.testing.assert_allclose(vector, -attribute_vector(model, X[Y == 0], X[Y == 1]))
        moved = apply_attribute(model, X[:2], vector, strength=0.5)
        np.testing.assert_allclose(moved, model.inverse_transform(codes[:2] + 0.5 * vector), rtol=1e-10)
        unmoved = apply_attribute(model, X[0], vector, strength=0)
        np.testing.assert_allclose(unmoved, reconstruct(model, X[:1])[0], rtol=1e-10)

    def test_grid_decodes_its_codes(self, model, unchanged_globals):
        grid = latent_grid(model, n=5, X=X, components=(1, 0))
        assert grid.rows.shape == (5, 5, 4)
        for i, j in ((0, 0), (1, 3)):
            row = model.inverse_transform(grid.codes[i, j : j + 1])[0]
            np.testing.assert_allclose(grid.rows[i, j], row, rtol=1e-10)

    @pytest.mark.parametrize("density", ["gaussian", "mixture", KernelDensity(), GaussianMixture(2)])
    def test_draws_depend_on_the_seed_alone(self, model, density, unchanged_globals):
        rows, codes = sample_latent(model, X, 6, density=density, random_state=3, return_codes=True)
        assert rows.shape == (6, 4)
        np.testing.assert_allclose(rows, model.inverse_transform(codes))
        np.testing.assert_array_equal(sample_latent(model, X, 6, density=density, random_state=3), rows)
        state = np.random.RandomState(3)
        first, second = (sample_latent(model, X, 6, density=density, random_state=state) for _ in range(2))
        np.testing.assert_array_equal(first, rows)
        assert not np.isclose(second, first).any(axis=1).all()

    def test_fresh_entropy_without_a_seed(self, model, unchanged_globals):
        for density in ("gaussian", "mixture", KernelDensity(), GaussianMixture(2)):
            first, second = (sample_latent(model, X, density=density) for _ in range(2))
            assert not np.array_equal(first, second)


# -- walks ------------------------------------------------------------------------------


def test_linear_walk_of_pca_is_the_line_between_reconstructions(pca):
    start, end = reconstruct(pca, X[:5]), reconstruct(pca, X[70:75])
    walks = interpolate(pca, X[:5], X[70:75], n_steps=7)
    np.testing.assert_allclose(walks, np.linspace(start, end, 7, axis=1))


def spherical(start, end, n_steps=9):
    return interpolate(CODES, start, end, n_steps, method="spherical")


class TestSpherical:
    @pytest.mark.parametrize("k", [2, 3, 20])
    def test_is_scipys_slerp_on_the_sphere(self, k):
        u, v = np.random.RandomState(0).normal(size=(2, 5, k))
        u, v = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (u, v))
        expected = [geometric_slerp(a, b, np.linspace(0, 1, 9)) for a, b in zip(u, v, strict=True)]
        np.testing.assert_allclose(spherical(u, v), expected, atol=1e-12)

    def test_turns_at_constant_speed_while_the_length_changes_linearly(self):
        start, end = np.random.RandomState(1).normal(size=(2, 6)) * [[1], [5]]
        walk = spherical(start, end)
        lengths = np.linalg.norm(walk, axis=1)
        np.testing.assert_allclose(lengths, np.linspace(lengths[0], lengths[-1], 9))
        unit = walk / lengths[:, np.newaxis]
        cosines = (unit[1:] * unit[:-1]).sum(axis=1)
        np.testing.assert_allclose(cosines, cosines[0])
        assert np.arccos(cosines).sum() == pytest.approx(np.arccos(unit[0] @ unit[-1]))
        assert np.linalg.matrix_rank(walk, tol=1e-9) == 2  # stays in the plane of its ends

    def test_does_not_cut_past_the_origin_in_many_dimensions(self):
        start, end = np.random.RandomState(2).normal(size=(2, 500))
        middle = spherical(start, end)[4]
        assert np.linalg.norm(middle) == pytest.approx(np.sqrt(500), rel=0.1)
        assert np.linalg.norm(interpolate(CODES, start, end, 9)[4]) < 0.8 * np.sqrt(500)

    @pytest.mark.parametrize("tilt", [0, 1e-300, 1e-16, 1e-12, 1e-9, 1e-6])
    def test_nearly_parallel_codes(self, tilt):
        start, end = np.array([1.0, 0, 0]), np.array([3.0, 3 * tilt, 0])
        t = np.linspace(0, 1, 9)
        walk = spherical(start, end)
        np.testing.assert_allclose(walk[:, 0], 1 + 2 * t, rtol=1e-11)
        np.testing.assert_allclose(walk[:, 1], (1 + 2 * t) * t * tilt, rtol=1e-9, atol=1e-200)
        np.testing.assert_array_equal(walk[:, 2], 0)

    def test_a_zero_code_takes_the_others_direction(self):
        zero, end = np.zeros(3), np.array([1.0, -2, 2])
        t = np.linspace(0, 1, 9)[:, np.newaxis]
        np.testing.assert_allclose(spherical(zero, end), t * end)
        np.testing.assert_allclose(spherical(end, zero), (1 - t) * end)
        np.testing.assert_array_equal(spherical(zero, zero), np.zeros((9, 3)))

    @pytest.mark.parametrize("tilt", [0, 1e-12])
    def test_opposite_codes_are_an_error_that_names_the_row(self, tilt):
        start, end = np.array([[1.0, 1], [2, 0]]), np.array([[1.0, 0], [-1, tilt]])
        with pytest.raises(ValueError, match=r"opposite codes \(row 1\).*method='linear'"):
            spherical(start, end)
        with pytest.raises(ValueError, match="opposite codes"):
            spherical(start.astype(np.float32), end.astype(np.float32))

    def test_nearly_opposite_codes_keep_length_and_plane(self):
        walk = spherical([1.0, 0, 0], [-1.0, 1e-6, 0], 3)
        np.testing.assert_allclose(walk, [[1, 0, 0], [5e-7, 1, 0], [-1, 1e-6, 0]], atol=1e-9)

    def test_codes_of_one_component_of_one_sign_are_joined_straight(self):
        np.testing.assert_allclose(spherical([[1.0]], [[3.0]], 3)[0], [[1], [2], [3]])


# -- grid -------------------------------------------------------------------------------


class TestGrid:
    def test_lies_in_pcas_plane_at_quantiles_of_the_codes(self, pca):
        grid = latent_grid(pca, n=6, X=X, quantile_range=(0, 1))
        assert in_plane(pca, grid.rows)
        codes, (right, up) = pca.transform(X), grid.grid_values
        levels = np.linspace(0, 1, 6)
        np.testing.assert_allclose(right, np.quantile(codes[:, 0], levels))
        np.testing.assert_allclose(up, np.quantile(codes[:, 1], levels[::-1]))

    def test_is_laid_out_as_a_scatter_plot(self):
        grid = latent_grid(CODES, n=4, X=X, components=(2, 1))
        right, up = grid.grid_values
        assert (np.diff(right) > 0).all()
        assert (np.diff(up) < 0).all()
        np.testing.assert_array_equal(grid.rows[:, :, 2], np.tile(right, (4, 1)))
        np.testing.assert_array_equal(grid.rows[:, :, 1], np.tile(up, (4, 1)).T)
        for other in (0, 3):
            assert (grid.rows[:, :, other] == np.median(X[:, other])).all()

    @pytest.mark.parametrize("pipeline", [False, True])
    def test_takes_the_prior_where_there_is_one(self, pipeline):
        model = (make_pipeline(StandardScaler(with_std=False), Prior()) if pipeline else Prior()).fit(X)
        grid = latent_grid(model, n=3, quantile_range=(0.1, 0.9))
        np.testing.assert_allclose(grid.grid_values[0], norm.ppf([0.1, 0.5, 0.9]), atol=1e-15)
        assert grid.codes.shape == (3, 3, 4)
        assert not grid.codes[:, :, 2:].any()
        with pytest.raises(ValueError, match=r"quantile_range must be inside of \(0, 1\)"):
            latent_grid(model, quantile_range=(0, 0.9))
        given = latent_grid(model, n=3, X=X)  # goes before the prior
        np.testing.assert_allclose(given.grid_values[0][1], np.median(model.transform(X)[:, 0]))

    def test_takes_the_prior_of_a_vae(self):
        vae = VAETransformer(2, hidden_layer_sizes=(), random_state=0).fit(X)
        grid = latent_grid(vae, n=3)
        np.testing.assert_allclose(grid.grid_values[1], norm.ppf([0.95, 0.5, 0.05]), atol=1e-15)
        np.testing.assert_allclose(grid.rows[1, 1], vae.inverse_transform(np.zeros((1, 2)))[0])

    def test_unfitted_model_with_a_prior(self):
        with pytest.raises(NotFittedError):
            latent_grid(Prior())

    def test_needs_rows_where_there_is_no_prior(self, pca):
        with pytest.raises(ValueError, match=r"X=None needs a standard normal prior.*PCA.*X=X_train"):
            latent_grid(pca)

    def test_needs_two_components(self):
        with pytest.raises(ValueError, match=r"2 components, and this model has 1: use traverse"):
            latent_grid(PCA(1).fit(X), X=X)

    @pytest.mark.parametrize("components", [(0, 2), (-1, 0), (0, 1.0)])
    def test_components_must_exist(self, pca, components):
        with pytest.raises(ValueError, match="components must be an integer from 0 to 1"):
            latent_grid(pca, X=X, components=components)

    @pytest.mark.parametrize("components", [(0,), (0, 1, 2), 0, "01", None])
    def test_components_must_be_a_pair(self, pca, components):
        with pytest.raises(ValueError, match="components must be a pair"):
            latent_grid(pca, X=X, components=components)

    def test_components_must_differ(self, pca):
        with pytest.raises(ValueError, match="components must differ"):
            latent_grid(pca, X=X, components=(1, 1))

    @pytest.mark.parametrize("quantile_range", [(0.9, 0.1), (0.5, 0.5), (-0.1, 1), (0, 1.1), (0, np.nan)])
    def test_quantiles_must_ascend_within_the_unit_interval(self, pca, quantile_range):
        with pytest.raises(ValueError, match=r"quantile_range must hold 0 <= low < high <= 1"):
            latent_grid(pca, X=X, quantile_range=quantile_range)


# -- attributes ---------------------------------------------------------------------------


def test_attribute_of_pca_is_the_projected_difference_of_means(pca):
    difference = X[Y == 2].mean(axis=0) - X[Y == 0].mean(axis=0)
    vector = attribute_vector(pca, X[Y == 2], X[Y == 0])
    P = pca.components_.T @ pca.components_
    moved = apply_attribute(pca, X[:9], vector, strength=1.5)
    np.testing.assert_allclose(moved, reconstruct(pca, X[:9]) + 1.5 * difference @ P)


# -- draws --------------------------------------------------------------------------------


class TestGaussian:
    def test_has_the_moments_of_the_codes(self, pca):
        rows = sample_latent(pca, X, 20_000, random_state=0)
        P = pca.components_.T @ pca.components_
        covariance = P @ np.cov(X.T) @ P
        se = np.sqrt(np.diag(covariance) / 20_000)
        assert (np.abs(rows.mean(axis=0) - X.mean(axis=0)) < 4 * se).all()
        np.testing.assert_allclose(np.cov(rows.T), covariance, atol=0.04 * covariance.max())
        assert in_plane(pca, rows)

    def test_is_normal(self, pca):
        _, codes = sample_latent(pca, X, 2000, random_state=0, return_codes=True)
        standard = codes / pca.transform(X).std(axis=0, ddof=1)
        assert all(kstest(column, "norm").pvalue > 0.01 for column in standard.T)

    @pytest.mark.parametrize("n", [1, 2, 3])
    @pytest.mark.parametrize("density", ["gaussian", "mixture"])
    def test_few_rows(self, n, density):
        """The draws stay in the flat that the codes span."""
        rows = sample_latent(CODES, X[:n], 50, density=density, random_state=0)
        directions = np.linalg.svd(X[:n] - X[:n].mean(axis=0))[2][n - 1 :]
        np.testing.assert_allclose((rows - X[0]) @ directions.T, 0, atol=1e-12)
        assert np.linalg.matrix_rank(rows - X[0], tol=1e-9) == n - 1

    @pytest.mark.parametrize("density", ["gaussian", "mixture"])
    def test_dependent_codes(self, density):
        doubled = np.column_stack([X, X[:, 0] + X[:, 1], np.full(len(X), 7.0)])
        rows = sample_latent(CODES, doubled, 50, density=density, random_state=0)
        np.testing.assert_allclose(rows[:, 4], rows[:, 0] + rows[:, 1])
        np.testing.assert_allclose(rows[:, 5], 7)

    @pytest.mark.parametrize("density", ["gaussian", "mixture"])
    def test_equal_rows(self, density):
        rows = sample_latent(CODES, np.tile(X[0], (40, 1)), 5, density=density, random_state=0)
        np.testing.assert_allclose(rows, np.tile(X[0], (5, 1)))


class TestMixture:
    CENTRES = np.array([[0.0, 0], [100, 0], [0, 100], [100, 100]])

    def clusters(self, n=400):
        rng = np.random.RandomState(0)
        return self.CENTRES[np.arange(n) % 4] + rng.normal(size=(n, 2))

    @pytest.mark.parametrize("units", [(1, 1), (1, 1e-6), (1e6, 1)])
    def test_puts_draws_into_the_clusters(self, units):
        rows = sample_latent(CODES, self.clusters() * units, 400, density="mixture", random_state=0) / units
        distances = np.linalg.norm(rows[:, np.newaxis] - self.CENTRES, axis=2)
        assert (distances.min(axis=1) < 10).all()
        counts = np.bincount(distances.argmin(axis=1), minlength=4)
        assert (np.abs(counts - 100) < 40).all()

    def test_a_gaussian_does_not(self):
        rows = sample_latent(CODES, self.clusters(), 400, random_state=0)
        distances = np.linalg.norm(rows[:, np.newaxis] - self.CENTRES, axis=2)
        assert np.median(distances.min(axis=1)) > 20

    @pytest.mark.parametrize("density", ["mixture", GaussianMixture(4)])
    def test_order_says_nothing(self, density):
        rows = sample_latent(CODES, self.clusters(), 400, density=density, random_state=0)
        nearest = np.linalg.norm(rows[:, np.newaxis] - self.CENTRES, axis=2).argmin(axis=1)
        assert 200 < (np.diff(nearest) != 0).sum() < 380  # 3 if grouped, 299 expected

    def test_is_one_gaussian_where_the_codes_are(self):
        codes = np.random.RandomState(0).normal(size=(500, 3))
        gaussian, mixture = (
            sample_latent(CODES, codes, 5000, density=density, random_state=1)
            for density in ("gaussian", "mixture")
        )
        np.testing.assert_allclose(np.cov(mixture.T), np.cov(gaussian.T), atol=0.1)

    @pytest.mark.parametrize("unit", [1e-8, 1e8])
    def test_is_indifferent_to_units(self, unit):
        rows, scaled = (
            sample_latent(CODES, codes, 50, density="mixture", random_state=0)
            for codes in (self.clusters(), self.clusters() * unit)
        )
        np.testing.assert_allclose(scaled, rows * unit, rtol=1e-6, atol=1e-6 * unit)


class TestEstimators:
    def test_are_cloned_and_fitted_to_the_codes(self, pca):
        kde = KernelDensity(bandwidth=1e-6)
        _, codes = sample_latent(pca, X, 50, density=kde, random_state=0, return_codes=True)
        nearest = np.abs(codes[:, np.newaxis] - pca.transform(X)).max(axis=2).min(axis=1)
        assert (nearest < 1e-4).all()
        assert not hasattr(kde, "tree_")

    def test_keep_a_random_state_of_their_own(self, pca):
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
        with pytest.raises(ValueError, match=r"density='normal' is not known.*'gaussian' and 'mixture'"):
            sample_latent(pca, X, density="normal")
        with pytest.raises(TypeError, match=r"density=PCA\(\) has no fit and sample"):
            sample_latent(pca, X, density=PCA())


# -- kinds of rows and models ---------------------------------------------------------------


def call_all(model, X, row):
    """Every function's rows."""
    half = X[:60], X[60:120]
    yield interpolate(model, *half)
    yield interpolate(model, row, row, method="spherical")
    yield traverse(model, row, 0, [0.0, 1.0])
    yield latent_grid(model, 3, X=X).rows
    yield apply_attribute(model, X, attribute_vector(model, *half))
    yield apply_attribute(model, row, attribute_vector(model, *half))
    yield sample_latent(model, X, 5, random_state=0)


@pytest.mark.parametrize("kind", ["list", "frame", "pandas output", "csr_matrix", "csr_array"])
def test_kinds_of_rows(kind):
    """All give what arrays give, as arrays, and no warning about names."""
    model = TruncatedSVD(2, algorithm="arpack", random_state=0)
    expected = list(call_all(model.fit(X), X, X[3]))
    if kind in ("frame", "pandas output"):
        if kind == "pandas output":
            model = make_pipeline(model, FunctionTransformer()).set_output(transform="pandas")
        rows, row = FRAME, FRAME.iloc[3]
    else:
        rows = X.tolist() if kind == "list" else getattr(sparse, kind)(X)
        row = rows[3]
    for found, wanted in zip(call_all(model.fit(rows), rows, row), expected, strict=True):
        assert type(found) is np.ndarray
        np.testing.assert_allclose(found.reshape(wanted.shape), wanted)  # csr_matrix has no single rows


def test_single_precision_stays():
    X32 = X.astype(np.float32)
    model = PCA(2).fit(X32)
    assert {rows.dtype for rows in call_all(model, X32, X32[3])} == {np.dtype(np.float32)}


def test_sparse_codes():
    model = FunctionTransformer(sparse.csr_array, lambda Z: Z)
    np.testing.assert_array_equal(apply_attribute(model, X[:5], np.ones(4)), X[:5] + 1)


@pytest.mark.parametrize("model", [PCA(2), make_pipeline(StandardScaler(), PCA(2)), AutoencoderTransformer()])
def test_unfitted_models(model):
    with pytest.raises(NotFittedError):
        interpolate(model, X[:2], X[2:4])


def test_kernel_pca_without_inverse():
    with pytest.raises(NotFittedError, match="fit_inverse_transform"):
        traverse(KernelPCA(2).fit(X), X[0], 0, [0])


@pytest.mark.parametrize("model", [TSNE(), make_pipeline(FunctionTransformer(), TSNE()), None])
def test_models_that_cannot_decode(model):
    with pytest.raises(
        TypeError, match=r"model must be .* without .*inverse_transform\. Use for instance PCA"
    ):
        sample_latent(model, X)


def test_class_instead_of_model():
    with pytest.raises(TypeError, match="got the class PCA, not an instance"):
        latent_grid(PCA)


# -- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("X_start", lambda m, bad: interpolate(m, bad, X[:1])),
        ("X_end", lambda m, bad: interpolate(m, X[:1], bad)),
        ("x", lambda m, bad: traverse(m, bad, 0, [0])),
        ("X", lambda m, bad: latent_grid(m, X=bad)),
        ("X_with", lambda m, bad: attribute_vector(m, bad, X)),
        ("X_without", lambda m, bad: attribute_vector(m, X, bad)),
        ("X", lambda m, bad: apply_attribute(m, bad, [0, 0])),
        ("X", lambda m, bad: sample_latent(m, bad)),
    ],
)
def test_rows_that_the_model_refuses_are_named(pca, name, call):
    for bad, message in ((X[:1] * np.nan, "contains NaN"), (X[:1, :3], "3 features.*expecting 4")):
        with pytest.raises(ValueError, match=message) as caught:
            call(pca, bad)
        assert caught.value.__notes__ == [f"Raised by PCA.transform for {name}."]
    with pytest.raises(ValueError, match=f"{name} must have 1 dimension .one row. or 2; got 3"):
        call(pca, X[np.newaxis])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: interpolate(m, X[0], X[1], n_steps=1), ValueError, "n_steps == 1, must be >= 2"),
        (lambda m: interpolate(m, X[0], X[1], n_steps=2.0), TypeError, "n_steps must be an instance of int"),
        (lambda m: interpolate(m, X[0], X[1], method="slerp"), ValueError, "method='slerp'.*'spherical'"),
        (lambda m: interpolate(m, X[:2], X[:3]), ValueError, "X_start has 2 rows and X_end 3"),
        (lambda m: traverse(m, X[:2], 0, [0]), ValueError, "x must be one row; got 2"),
        (lambda m: traverse(m, X[0], 2, [0]), ValueError, "component must be an integer from 0 to 1.*got 2"),
        (lambda m: traverse(m, X[0], "0", [0]), ValueError, "component must be an integer.*got '0'"),
        (lambda m: traverse(m, X[0], 0, 0.0), ValueError, "values must have 1 dimension; got 0"),
        (lambda m: traverse(m, X[0], 0, [np.nan]), ValueError, "(?s)values.*NaN"),
        (lambda m: traverse(m, X[0], 0, []), ValueError, "0 sample"),
        (lambda m: latent_grid(m, 1, X=X), ValueError, "n == 1, must be >= 2"),
        (lambda m: apply_attribute(m, X, [0, 0, 0]), ValueError, "vector has 3 entries.*2 components"),
        (lambda m: apply_attribute(m, X, [[0, 0]]), ValueError, "vector must have 1 dimension; got 2"),
        (lambda m: apply_attribute(m, X, [0, np.inf]), ValueError, "(?s)vector.*infinity"),
        (lambda m: apply_attribute(m, X, [0, 0], np.inf), ValueError, "strength must be finite"),
        (lambda m: apply_attribute(m, X, [0, 0], "1"), TypeError, "strength must be an instance of float"),
        (lambda m: sample_latent(m, X, 0), ValueError, "n_samples == 0, must be >= 1"),
        (lambda m: sample_latent(m, X, 1.5), TypeError, "n_samples must be an instance of int"),
        (lambda m: sample_latent(m, X, random_state="0"), ValueError, "seed"),
    ],
)
def test_parameters_are_checked(pca, call, error, message):
    with pytest.raises(error, match=message):
        call(pca)


def test_codes_that_are_not_finite_are_named():
    broken = FunctionTransformer(lambda Z: np.asarray(Z) * np.nan, lambda Z: Z)
    with pytest.raises(ValueError, match=r"transform\(X\).*NaN"):
        sample_latent(broken, X)
