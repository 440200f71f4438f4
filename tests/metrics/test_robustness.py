"""Shift under noise, Lipschitz constants and round trips, against PCA, autograd and known functions."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_iris, load_wine
from sklearn.decomposition import NMF, PCA, TruncatedSVD
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_ae import AutoencoderTransformer, VAETransformer
from sklearn_ae.metrics import lipschitz_estimate, noise_sensitivity, round_trip_error
from sklearn_ae.priors import Mixture

# Few epochs suffice for the properties tested here
pytestmark = pytest.mark.filterwarnings(
    "ignore:The loss was still decreasing steeply", "ignore:Only . of . components are active"
)

X = load_iris().data
WINE = load_wine().data
CONSTANT = FunctionTransformer(lambda X: np.zeros((len(X), 1)), lambda Z: np.zeros((len(Z), 4)))


def encoder(function):
    """Return a model that encodes by a function, and whose decoder is the identity."""
    return FunctionTransformer(function, lambda Z: Z)


@pytest.fixture(scope="module")
def curved(curve):
    model = AutoencoderTransformer(
        2, hidden_layer_sizes=(16,), max_iter=15, early_stopping=False, random_state=0
    )
    return model.fit(curve)


@pytest.fixture(scope="module")
def vae():
    return VAETransformer(2, max_iter=20, random_state=0).fit(X)


# -- shift under noise ----------------------------------------------------------------------


class TestNoiseSensitivity:
    @pytest.mark.parametrize("scale", [0.01, 0.1, 1.0])
    def test_of_pca_is_the_ratio_of_the_variances(self, scale):
        pca = PCA(3).fit(X)
        noise = scale**2 * X.var(axis=0).mean()
        truth = np.sqrt(3 * noise / pca.transform(X).var(axis=0).sum())
        assert noise_sensitivity(pca, X, noise_scale=scale, n_repeats=20, random_state=0) == pytest.approx(
            truth, rel=0.03
        )

    def test_of_pca_with_noise_per_feature(self):
        pca = PCA(3).fit(WINE)
        noise = 0.01 * np.sum(WINE.var(axis=0) * np.square(pca.components_))
        truth = np.sqrt(noise / pca.transform(WINE).var(axis=0).sum())
        value = noise_sensitivity(pca, WINE, noise="per_column", n_repeats=20, random_state=0)
        assert value == pytest.approx(truth, rel=0.05)
        assert noise_sensitivity(pca, WINE, n_repeats=20, random_state=0) < 0.6 * truth

    def test_does_not_depend_on_units(self):
        for name, unit in (("shared", 1000.0), ("per_column", 10.0 ** np.arange(-2, 2))):
            values = [
                noise_sensitivity(
                    make_pipeline(
                        FunctionTransformer(lambda X, u=u: X / u, lambda X, u=u: X * u), PCA(2)
                    ).fit(X * u),
                    X * u,
                    noise=name,
                    random_state=0,
                )
                for u in (1.0, unit)
            ]
            assert values[0] == pytest.approx(values[1], rel=1e-9)
        assert noise_sensitivity(PCA(2).fit(X), X, random_state=0) == pytest.approx(
            noise_sensitivity(PCA(2).fit(9 * X), 9 * X, random_state=0), rel=1e-9
        )

    def test_of_a_code_that_saturates(self):
        """The sign of x changes by 2 if noise moves it across zero, with a known probability."""
        samples = np.where(np.arange(4000) % 2, 1.0, -1.0)[:, None]
        value = noise_sensitivity(encoder(np.sign), samples, noise_scale=1.0, random_state=0)
        assert value == pytest.approx(np.sqrt(4 * 0.15866), rel=0.03)
        assert noise_sensitivity(encoder(np.sign), samples, noise_scale=0.1, random_state=0) == 0

    def test_is_zero_without_noise(self, curved, curve):
        assert noise_sensitivity(curved, curve, noise_scale=0.0) == 0

    def test_grows_with_the_jacobian_of_the_encoder(self, curved, curve):
        """Small noise shifts a code by sigma^2 ||J||_F^2 on average."""
        scale = 1e-3
        jac = autograd_jacobians(curved, curve)
        truth = scale * np.sqrt(curve.var(axis=0).mean() * np.square(jac).sum((1, 2)).mean())
        truth /= np.sqrt(curved.transform(curve).var(axis=0).sum())
        value = noise_sensitivity(curved, curve, noise_scale=scale, random_state=0)
        assert value == pytest.approx(truth, rel=0.03)

    def test_depends_only_on_the_seed(self, vae, unchanged_globals):
        first, second, other = (noise_sensitivity(vae, X, random_state=seed) for seed in (1, 1, 2))
        assert first == second != other
        assert noise_sensitivity(vae, X) != noise_sensitivity(vae, X)

    def test_invalid_input(self):
        pca = PCA(2).fit(X)
        for options, message in (
            ({"noise_scale": -1}, "noise_scale"),
            ({"noise_scale": np.nan}, "noise_scale"),
            ({"noise": "white"}, "noise='white'"),
            ({"n_repeats": 0}, "n_repeats"),
        ):
            with pytest.raises(ValueError, match=message):
                noise_sensitivity(pca, X, **options)
        with pytest.raises(ValueError, match="the same code"):
            noise_sensitivity(CONSTANT, X)
        with pytest.raises(TypeError, match="inverse_transform"):
            noise_sensitivity(StandardScaler, X)


# -- local Lipschitz constants --------------------------------------------------------------


def autograd_jacobians(model, samples):
    """Return the Jacobians of the codes with respect to X, of shape (n, k, d)."""
    module = model.module_.double()

    def encode(x):
        return model.scale_ * module.encode(((x - module.offset) / model.scale_)[None])[0]

    return torch.func.vmap(torch.func.jacrev(encode))(torch.from_numpy(samples)).detach().numpy()


class TestLipschitzEstimate:
    def test_of_pca(self):
        pca, white = PCA(3).fit(X), PCA(3, whiten=True).fit(X)
        np.testing.assert_allclose(lipschitz_estimate(pca, X), 1, rtol=1e-9)
        steepest = 1 / np.sqrt(white.explained_variance_.min())
        np.testing.assert_allclose(lipschitz_estimate(white, X), steepest, rtol=1e-9)

    def test_of_a_pipeline_is_that_of_its_matrix(self):
        pipeline = make_pipeline(StandardScaler(), PCA(4)).fit(WINE)
        matrix = pipeline[-1].components_ / pipeline[0].scale_
        np.testing.assert_allclose(lipschitz_estimate(pipeline, WINE), np.linalg.norm(matrix, 2), rtol=1e-6)

    def test_of_an_autoencoder_is_that_of_autograd(self, curved, curve):
        truth = np.linalg.norm(autograd_jacobians(curved, curve), ord=2, axis=(1, 2))
        assert truth.std() > 0.01 * truth.mean()
        np.testing.assert_allclose(lipschitz_estimate(curved, curve), truth, rtol=1e-4)

    def test_of_a_sine(self):
        samples = np.linspace(0, 6, 50)[:, None]
        model = encoder(lambda X: np.sin(3 * X))
        np.testing.assert_allclose(
            lipschitz_estimate(model, samples)[:, None], abs(3 * np.cos(3 * samples)), atol=1e-4
        )

    def test_of_more_components_than_features(self):
        model = encoder(lambda X: X @ np.arange(8.0).reshape(1, 8))
        np.testing.assert_allclose(lipschitz_estimate(model, X[:, :1]), np.sqrt(140), rtol=1e-9)

    def test_constant_features_have_a_step(self):
        samples = np.column_stack([X[:, 0], np.full(len(X), 7.0)])
        model = encoder(lambda X: X[:, :1] + 5 * X[:, 1:])
        np.testing.assert_allclose(lipschitz_estimate(model, samples), np.sqrt(26), rtol=1e-9)
        np.testing.assert_allclose(lipschitz_estimate(model, np.ones((3, 2))), np.sqrt(26), rtol=1e-9)

    def test_blocks_make_no_difference(self, monkeypatch, curved, curve):
        whole = lipschitz_estimate(curved, curve)
        monkeypatch.setattr("sklearn_ae._utils.differences._BLOCK_VALUES", 400)
        np.testing.assert_allclose(lipschitz_estimate(curved, curve), whole, rtol=1e-9)

    def test_needs_two_samples(self):
        with pytest.raises(ValueError, match="at least 2 samples"):
            lipschitz_estimate(PCA(2).fit(X), X[:1])


# -- round trips --------------------------------------------------------------------------------


class Shrunk(TransformerMixin, BaseEstimator):
    """Model that decodes by a factor of 2, and encodes by a factor of 1/4."""

    def transform(self, X):
        return np.asarray(X) / 4

    def inverse_transform(self, Z):
        return 2 * np.asarray(Z)


class TestRoundTripError:
    def test_of_pca_is_zero(self):
        for model in (PCA(3), PCA(2, whiten=True), make_pipeline(StandardScaler(), PCA(2))):
            assert round_trip_error(model.fit(X), X, random_state=0) == pytest.approx(0, abs=1e-12)

    def test_of_a_folded_decoder(self):
        """z is recovered as |z|, so half of the codes err by 2 |z|, which is 2 in units of the variance."""
        samples = np.random.RandomState(0).normal(size=(2000, 1))
        samples = (samples - samples.mean()) / samples.std()
        fold = FunctionTransformer(lambda X: X, np.abs)
        assert round_trip_error(fold, samples, 50_000, random_state=0) == pytest.approx(2, rel=0.03)

    @pytest.mark.parametrize("density", ["gaussian", "mixture", GaussianMixture(3), KernelDensity()])
    def test_of_codes_that_are_halved(self, density):
        """The error is a quarter of the squared codes."""
        samples = X - X.mean(axis=0)
        value = round_trip_error(Shrunk(), samples, 4000, density=density, random_state=0)
        assert value == pytest.approx(0.25, rel=0.02)

    def test_of_a_linear_vae_is_the_shrinkage_of_its_posterior(self):
        """Means are recovered times 1 - noise / variance."""
        vae = VAETransformer(2, hidden_layer_sizes=(), random_state=0).fit(WINE / WINE.std(axis=0))
        pca = PCA(2).fit(WINE / WINE.std(axis=0))
        shrinkage = pca.noise_variance_ / pca.explained_variance_
        assert round_trip_error(vae, n_samples=20_000, random_state=0) == pytest.approx(
            np.square(shrinkage).mean(), rel=0.1
        )

    def test_draws_from_the_prior_of_the_model(self, vae):
        codes = np.random.RandomState(0).standard_normal((500, 2))
        back = vae.transform(vae.inverse_transform(codes))
        truth = np.square(back - codes).sum(1).mean() / codes.var(axis=0).sum()
        assert round_trip_error(vae, n_samples=500, random_state=0) == pytest.approx(truth, rel=1e-6)
        pipeline = make_pipeline(FunctionTransformer(lambda X: X / 2, lambda X: 2 * X), vae)
        assert round_trip_error(pipeline, n_samples=500, random_state=0) == pytest.approx(truth, rel=1e-6)
        named = VAETransformer(2, max_iter=20, random_state=0).fit(pd.DataFrame(X, columns=list("abcd")))
        assert round_trip_error(named, n_samples=500, random_state=0) == pytest.approx(truth, rel=1e-6)
        assert round_trip_error(vae, X, 500, density="gaussian", random_state=0) != pytest.approx(
            truth, rel=1e-6
        )

    def test_draws_from_a_fitted_prior(self):
        rng = np.random.RandomState(0)
        samples = 3 * rng.choice(2, size=(400, 1)) @ np.ones((1, 5)) + rng.normal(size=(400, 5)) * [
            1,
            0.5,
            0.3,
            0.3,
            0.3,
        ]
        model = VAETransformer(2, prior=Mixture(8), max_iter=20, random_state=0).fit(samples)
        assert model.module_.prior is not None
        codes = model.module_.prior.draw(300, np.random.RandomState(0))
        back = model.transform(model.inverse_transform(codes))
        truth = np.square(back - codes).sum(1).mean() / codes.var(axis=0).sum()
        assert round_trip_error(model, n_samples=300, random_state=0) == pytest.approx(truth, rel=1e-6)

    def test_depends_only_on_the_seed(self, vae, curved, curve, unchanged_globals):
        for model, samples in ((vae, None), (curved, curve)):
            first, second, other = (
                round_trip_error(model, samples, 50, random_state=seed) for seed in (1, 1, 2)
            )
            assert first == second != other
            assert round_trip_error(model, samples, 50) != round_trip_error(model, samples, 50)

    def test_invalid_input(self, vae):
        pca = PCA(2).fit(X)
        with pytest.raises(ValueError, match="X=None needs density='auto'"):
            round_trip_error(pca)
        with pytest.raises(ValueError, match="X=None needs density='auto'"):
            round_trip_error(vae, density="gaussian")
        with pytest.raises(ValueError, match="density='normal'"):
            round_trip_error(pca, X, density="normal")
        with pytest.raises(ValueError, match="n_samples"):
            round_trip_error(pca, X, 1)
        with pytest.raises(ValueError, match="drawn codes are the same"):
            round_trip_error(CONSTANT, X)
        with pytest.raises(TypeError, match="inverse_transform"):
            round_trip_error(StandardScaler, X)


# -- kinds of input -----------------------------------------------------------------------------

MEASURES = {
    "shift": lambda model, X: noise_sensitivity(model, X, random_state=0),
    "lipschitz": lipschitz_estimate,
    "round trip": lambda model, X: round_trip_error(model, X, random_state=0),
}


@pytest.mark.parametrize("name", MEASURES)
class TestEveryMeasure:
    def test_accepts_data_frames(self, name):
        frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(len(X))[::-1])
        pca = PCA(2).fit(X)
        np.testing.assert_allclose(
            MEASURES[name](PCA(2).fit(frame), frame), MEASURES[name](pca, X), atol=1e-12
        )
        named = PCA(2).set_output(transform="pandas").fit(frame)
        np.testing.assert_allclose(MEASURES[name](named, frame), MEASURES[name](pca, X), atol=1e-12)

    def test_accepts_polars_frames(self, name):
        polars = pytest.importorskip("polars")
        frame = polars.DataFrame(X, schema=list("abcd"))
        values = [MEASURES[name](PCA(2).fit(samples), samples) for samples in (frame, X)]
        np.testing.assert_allclose(*values, atol=1e-12)

    def test_accepts_sparse_matrices(self, name):
        svd = TruncatedSVD(2, random_state=0).fit(X)
        values = [MEASURES[name](svd, samples) for samples in (sparse.csr_matrix(X), X)]
        np.testing.assert_allclose(*values, rtol=1e-6, atol=1e-12)

    def test_input_of_nonnegative_models_stays_nonnegative(self, name):
        samples = np.maximum(X - X.mean(axis=0), 0)
        nmf = NMF(2, init="nndsvda", max_iter=5000, tol=1e-10).fit(samples)
        assert np.all(MEASURES[name](nmf, samples) > 0)
