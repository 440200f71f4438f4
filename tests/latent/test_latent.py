"""Functions on the latent space, against PCA's linear algebra; errors and kinds of input."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import norm
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

# Few epochs suffice for the properties tested here
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")

X, Y = load_iris(return_X_y=True)
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
    """Model with the methods that indicate a standard normal prior."""

    def fit(self, X, y=None):
        self.n_components_ = X.shape[1]
        return self

    def transform(self, X):
        return np.asarray(X)

    inverse_transform = posterior = transform

    def sample(self, n_samples=1):
        raise AssertionError("A grid needs no draws.")


def reconstruct(model, X):
    return model.inverse_transform(model.transform(X))


def in_plane(pca, samples):
    """Return True if samples are in the subspace that PCA projects to."""
    samples = samples.reshape(-1, samples.shape[-1])
    return np.allclose(reconstruct(pca, samples), samples)


# -- every model ----------------------------------------------------------------------


class TestEveryModel:
    @pytest.mark.parametrize("method", ["linear", "spherical"])
    def test_paths_start_and_end_at_reconstructions(self, model, method, unchanged_globals):
        paths = interpolate(model, X[:3], X[100:103], n_steps=4, method=method)
        assert paths.shape == (3, 4, 4)
        np.testing.assert_allclose(paths[:, 0], reconstruct(model, X[:3]), rtol=1e-10)
        np.testing.assert_allclose(paths[:, -1], reconstruct(model, X[100:103]), rtol=1e-10)

    @pytest.mark.parametrize("method", ["linear", "spherical"])
    def test_a_path_does_not_depend_on_the_others(self, model, method):
        one = interpolate(model, X[1], X[101], n_steps=4, method=method)
        several = interpolate(model, X[:3], X[100:103], n_steps=4, method=method)
        np.testing.assert_allclose(one, several[1], rtol=1e-10)

    def test_traverse_sets_one_component(self, model, unchanged_globals):
        code = model.transform(X[:1])
        codes = np.repeat(code, 3, axis=0)
        codes[:, 1] = [-0.5, code[0, 1], 0.5]
        samples = traverse(model, X[0], 1, codes[:, 1])
        np.testing.assert_allclose(samples, model.inverse_transform(codes), rtol=1e-10)
        np.testing.assert_allclose(samples[1], reconstruct(model, X[:1])[0], rtol=1e-10)

    def test_traverse_takes_quantiles_of_the_codes(self, model, unchanged_globals):
        codes = model.transform(X)
        samples, decoded = traverse(model, X[0], 1, X=X, return_codes=True)
        np.testing.assert_allclose(decoded[:, 1], np.quantile(codes[:, 1], np.linspace(0.05, 0.95, 10)))
        others = np.delete(decoded, 1, axis=1)
        np.testing.assert_allclose(others, np.tile(np.delete(codes[0], 1), (10, 1)), rtol=1e-10)
        np.testing.assert_allclose(samples, model.inverse_transform(decoded), rtol=1e-10)

    def test_traverse_varies_the_medians_without_a_sample(self, model, unchanged_globals):
        codes = model.transform(X)
        _, decoded = traverse(model, None, 0, [1.0, 2.0], X=X, return_codes=True)
        np.testing.assert_allclose(decoded[:, 0], [1, 2])
        np.testing.assert_allclose(decoded[:, 1:], np.tile(np.median(codes[:, 1:], axis=0), (2, 1)))

    def test_traverse_varies_several_components_in_turn(self, model, unchanged_globals):
        options = {"X": X, "n_steps": 3, "quantile_range": (0.2, 0.6)}
        together = traverse(model, X[0], [1, 0], **options)
        assert together.shape == (2, 3, 4)
        for samples, component in zip(together, (1, 0), strict=True):
            np.testing.assert_allclose(samples, traverse(model, X[0], component, **options), rtol=1e-6)

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
        assert grid.samples.shape == (5, 5, 4)
        for i, j in ((0, 0), (1, 3)):
            sample = model.inverse_transform(grid.codes[i, j : j + 1])[0]
            np.testing.assert_allclose(grid.samples[i, j], sample, rtol=1e-10)

    @pytest.mark.parametrize("density", ["gaussian", "mixture", KernelDensity(), GaussianMixture(2)])
    def test_draws_depend_only_on_the_seed(self, model, density, unchanged_globals):
        samples, codes = sample_latent(model, X[::3], 6, density=density, random_state=3, return_codes=True)
        assert samples.shape == (6, 4)
        np.testing.assert_allclose(samples, model.inverse_transform(codes))
        np.testing.assert_array_equal(
            sample_latent(model, X[::3], 6, density=density, random_state=3), samples
        )
        state = np.random.RandomState(3)
        first, second = (
            sample_latent(model, X[::3], 6, density=density, random_state=state) for _ in range(2)
        )
        np.testing.assert_array_equal(first, samples)
        assert not np.isclose(second, first).any(axis=1).all()

    def test_fresh_entropy_without_a_seed(self, model, unchanged_globals):
        for density in ("gaussian", "mixture", KernelDensity(), GaussianMixture(2)):
            first, second = (sample_latent(model, X[::3], density=density) for _ in range(2))
            assert not np.array_equal(first, second)


# -- interpolation ----------------------------------------------------------------------


def test_linear_path_of_pca_is_the_line_between_reconstructions(pca):
    start, end = reconstruct(pca, X[:5]), reconstruct(pca, X[70:75])
    paths = interpolate(pca, X[:5], X[70:75], n_steps=7)
    np.testing.assert_allclose(paths, np.linspace(start, end, 7, axis=1))


# -- grid -------------------------------------------------------------------------------


class TestGrid:
    def test_lies_in_pcas_plane_at_quantiles_of_the_codes(self, pca):
        grid = latent_grid(pca, n=6, X=X, quantile_range=(0, 1))
        assert in_plane(pca, grid.samples)
        codes, (right, up) = pca.transform(X), grid.grid_values
        levels = np.linspace(0, 1, 6)
        np.testing.assert_allclose(right, np.quantile(codes[:, 0], levels))
        np.testing.assert_allclose(up, np.quantile(codes[:, 1], levels[::-1]))

    def test_has_the_layout_of_a_scatter_plot(self):
        model = FunctionTransformer(inverse_func=lambda Z: Z)  # Samples are their own codes
        grid = latent_grid(model, n=4, X=X, components=(2, 1))
        right, up = grid.grid_values
        assert (np.diff(right) > 0).all()
        assert (np.diff(up) < 0).all()
        np.testing.assert_array_equal(grid.samples[:, :, 2], np.tile(right, (4, 1)))
        np.testing.assert_array_equal(grid.samples[:, :, 1], np.tile(up, (4, 1)).T)
        for other in (0, 3):
            assert (grid.samples[:, :, other] == np.median(X[:, other])).all()

    @pytest.mark.parametrize("pipeline", [False, True])
    def test_uses_the_prior_if_there_is_one(self, pipeline):
        model = (make_pipeline(StandardScaler(with_std=False), Prior()) if pipeline else Prior()).fit(X)
        grid = latent_grid(model, n=3, quantile_range=(0.1, 0.9))
        np.testing.assert_allclose(grid.grid_values[0], norm.ppf([0.1, 0.5, 0.9]), atol=1e-15)
        assert grid.codes.shape == (3, 3, 4)
        assert not grid.codes[:, :, 2:].any()
        with pytest.raises(ValueError, match=r"quantile_range must be inside \(0, 1\)"):
            latent_grid(model, quantile_range=(0, 0.9))
        given = latent_grid(model, n=3, X=X)  # Takes precedence over the prior
        np.testing.assert_allclose(given.grid_values[0][1], np.median(model.transform(X)[:, 0]))

    def test_uses_the_prior_of_a_vae(self):
        vae = VAETransformer(2, hidden_layer_sizes=(), random_state=0).fit(X)
        grid = latent_grid(vae, n=3)
        np.testing.assert_allclose(grid.grid_values[1], norm.ppf([0.95, 0.5, 0.05]), atol=1e-15)
        np.testing.assert_allclose(grid.samples[1, 1], vae.inverse_transform(np.zeros((1, 2)))[0])

    def test_unfitted_model_with_a_prior(self):
        with pytest.raises(NotFittedError):
            latent_grid(Prior())

    def test_needs_samples_without_a_prior(self, pca):
        with pytest.raises(ValueError, match=r"X=None needs a standard normal prior.*PCA.*X=X_train"):
            latent_grid(pca)

    def test_needs_two_components(self):
        with pytest.raises(ValueError, match="2 components, but this model has 1: use traverse"):
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


class TestTraverse:
    def test_uses_the_prior_without_samples(self):
        vae = VAETransformer(2, hidden_layer_sizes=()).fit(X)
        _, codes = traverse(vae, None, 1, return_codes=True)
        np.testing.assert_allclose(codes[:, 1], norm.ppf(np.linspace(0.05, 0.95, 10)))
        np.testing.assert_array_equal(codes[:, 0], 0)

    @pytest.mark.parametrize("x", [X[0], None])
    def test_needs_samples_without_a_prior(self, pca, x):
        with pytest.raises(ValueError, match="samples whose codes determine the quantiles"):
            traverse(pca, x, 0)

    @pytest.mark.parametrize("values", [None, [1.0]])
    def test_medians_need_samples_without_a_prior(self, pca, values):
        with pytest.raises(ValueError, match="X=None needs a standard normal prior"):
            traverse(pca, None, 0, values)

    @pytest.mark.parametrize("component", [2, -1, 0.0, "0", None, [0, 2]])
    def test_components_must_exist(self, pca, component):
        with pytest.raises(ValueError, match="component must be an integer from 0 to 1"):
            traverse(pca, X[0], component, X=X)

    def test_needs_a_component(self, pca):
        with pytest.raises(ValueError, match="at least one"):
            traverse(pca, X[0], [], X=X)

    @pytest.mark.parametrize("n_steps", [1, 0])
    def test_needs_two_steps(self, pca, n_steps):
        with pytest.raises(ValueError, match="n_steps == "):
            traverse(pca, X[0], 0, X=X, n_steps=n_steps)

    def test_keeps_the_precision_of_the_model(self):
        model = PCA(2).fit(X.astype(np.float32))
        assert traverse(model, X[0].astype(np.float32), 0, X=X.astype(np.float32)).dtype == np.float32


# -- attributes ---------------------------------------------------------------------------


def test_attribute_of_pca_is_the_projected_difference_of_means(pca):
    difference = X[Y == 2].mean(axis=0) - X[Y == 0].mean(axis=0)
    vector = attribute_vector(pca, X[Y == 2], X[Y == 0])
    P = pca.components_.T @ pca.components_
    moved = apply_attribute(pca, X[:9], vector, strength=1.5)
    np.testing.assert_allclose(moved, reconstruct(pca, X[:9]) + 1.5 * difference @ P)


# -- kinds of input and models --------------------------------------------------------------


def call_all(model, X, sample):
    """Yield the decoded samples of every function."""
    half = X[:60], X[60:120]
    yield interpolate(model, *half)
    yield interpolate(model, sample, sample, method="spherical")
    yield traverse(model, sample, 0, [0.0, 1.0])
    yield traverse(model, sample, [0, 1], X=X)
    yield latent_grid(model, 3, X=X).samples
    yield apply_attribute(model, X, attribute_vector(model, *half))
    yield apply_attribute(model, sample, attribute_vector(model, *half))
    yield sample_latent(model, X, 5, random_state=0)


@pytest.mark.parametrize("kind", ["list", "frame", "pandas output", "csr_matrix", "csr_array"])
def test_kinds_of_input(kind):
    """The results are arrays, equal to those for arrays, without warnings about feature names."""
    model = TruncatedSVD(2, algorithm="arpack", random_state=0)
    expected = list(call_all(model.fit(X), X, X[3]))
    if kind in ("frame", "pandas output"):
        if kind == "pandas output":
            model = make_pipeline(model, FunctionTransformer()).set_output(transform="pandas")
        samples, sample = FRAME, FRAME.iloc[3]
    else:
        samples = X.tolist() if kind == "list" else getattr(sparse, kind)(X)
        try:
            sample = samples[3]
        except NotImplementedError:  # Sparse arrays of one dimension need scipy 1.13
            sample = samples[[3]]
    for found, wanted in zip(call_all(model.fit(samples), samples, sample), expected, strict=True):
        assert type(found) is np.ndarray
        np.testing.assert_allclose(found.reshape(wanted.shape), wanted)


def test_single_precision_stays():
    X32 = X.astype(np.float32)
    model = PCA(2).fit(X32)
    assert {samples.dtype for samples in call_all(model, X32, X32[3])} == {np.dtype(np.float32)}


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
        TypeError, match=r"model must be .* without .*inverse_transform\. Use, for instance, PCA"
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
def test_errors_of_the_model_name_the_parameter(pca, name, call):
    for bad, message in ((X[:1] * np.nan, "contains NaN"), (X[:1, :3], "3 features.*expecting 4")):
        with pytest.raises(ValueError, match=message) as caught:
            call(pca, bad)
        assert caught.value.__notes__ == [f"Raised by PCA.transform for {name}."]
    with pytest.raises(ValueError, match=f"{name} must have 1 dimension .one sample. or 2; got 3"):
        call(pca, X[np.newaxis])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: interpolate(m, X[0], X[1], n_steps=1), ValueError, "n_steps == 1, must be >= 2"),
        (lambda m: interpolate(m, X[0], X[1], n_steps=2.0), TypeError, "n_steps must be an instance of int"),
        (lambda m: interpolate(m, X[0], X[1], method="slerp"), ValueError, "method='slerp'.*'spherical'"),
        (lambda m: interpolate(m, X[:2], X[:3]), ValueError, "X_start has 2 samples and X_end 3"),
        (lambda m: traverse(m, X[:2], 0, [0]), ValueError, "x must be a single sample; got 2"),
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
def test_invalid_parameters(pca, call, error, message):
    with pytest.raises(error, match=message):
        call(pca)


def test_codes_that_are_not_finite_are_named():
    broken = FunctionTransformer(lambda Z: np.asarray(Z) * np.nan, lambda Z: Z)
    with pytest.raises(ValueError, match=r"transform\(X\).*NaN"):
        sample_latent(broken, X)
