"""Linear autoencoders equal PCA in all attributes and methods of PCA."""

import numpy as np
import pytest
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA, IncrementalPCA

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.bottlenecks import Ordered

SHAPES = {"tall": (200, 12), "very tall": (500, 8), "wide": (30, 80)}


def linear(n_components, **params):
    return AutoencoderTransformer(n_components, hidden_layer_sizes=(), random_state=0, **params)


def correlated(shape, seed=0):
    rng = np.random.RandomState(seed)
    n, d = shape
    return 100 + 3 * rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) @ np.diag(np.logspace(0, -2, d))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("k", [1, 5])
class TestEqualsPCA:
    @pytest.fixture
    def pair(self, shape, k):
        X = correlated(shape)
        return X, PCA(k, svd_solver="full").fit(X), linear(k).fit(X)

    def test_attributes(self, pair):
        _, pca, ae = pair
        for name in (
            "components_",
            "explained_variance_",
            "explained_variance_ratio_",
            "singular_values_",
            "mean_",
            "noise_variance_",
        ):
            np.testing.assert_allclose(
                getattr(ae, name), getattr(pca, name), rtol=1e-6, atol=1e-9, err_msg=name
            )
        assert ae.n_components_ == pca.n_components_
        assert ae.n_samples_ == pca.n_samples_

    def test_codes_and_reconstructions(self, pair):
        X, pca, ae = pair
        Z = pca.transform(X)
        np.testing.assert_allclose(ae.transform(X), Z, rtol=1e-6, atol=1e-6 * np.abs(Z).max())
        np.testing.assert_allclose(ae.inverse_transform(Z), pca.inverse_transform(Z), rtol=1e-6)

    def test_likelihood(self, pair):
        X, pca, ae = pair
        fresh = correlated(X.shape, seed=1)
        np.testing.assert_allclose(ae.score_samples(fresh), pca.score_samples(fresh), rtol=1e-6)
        assert ae.score(X) == pytest.approx(pca.score(X), rel=1e-6)
        np.testing.assert_allclose(ae.get_covariance(), pca.get_covariance(), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(ae.get_precision(), pca.get_precision(), rtol=1e-5, atol=1e-7)

    def test_whitened(self, pair, shape, k):
        X, plain, _ = pair
        pca, ae = PCA(k, svd_solver="full", whiten=True).fit(X), linear(k, whiten=True).fit(X)
        Z = pca.transform(X)
        np.testing.assert_allclose(ae.transform(X), Z, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(ae.inverse_transform(Z), pca.inverse_transform(Z), rtol=1e-6)
        # scikit-learn's PCA has a wrong covariance with whiten=True; the correct one is unwhitened PCA's.
        np.testing.assert_allclose(ae.get_covariance(), plain.get_covariance(), rtol=1e-6, atol=1e-9)

    def test_truncation_is_pca_with_fewer_components(self, pair, shape, k):
        X, _, ae = pair
        pca, short = PCA(1, svd_solver="full").fit(X), ae.truncate(1)
        np.testing.assert_allclose(short.transform(X), ae.transform(X)[:, :1], rtol=1e-12)
        assert short.score(X) == pytest.approx(pca.score(X), rel=1e-6)
        assert short.noise_variance_ == pytest.approx(pca.noise_variance_, rel=1e-6)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_all_components(shape):
    X = correlated(shape)
    pca, ae = PCA(svd_solver="full").fit(X), linear(None).fit(X)
    assert ae.n_components_ == min(shape)
    np.testing.assert_allclose(ae.inverse_transform(ae.transform(X)), X, rtol=1e-8)
    rank = min(shape) - (shape[0] < shape[1])  # centring reduces the rank of wide data by one
    np.testing.assert_allclose(ae.singular_values_[:rank], pca.singular_values_[:rank], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        np.abs(ae.transform(X)[:, :rank]), np.abs(pca.transform(X)[:, :rank]), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_share_of_variance(share, digits):
    assert linear(share).fit(digits).n_components_ == PCA(share).fit(digits).n_components_


def test_float32(digits):
    X = digits.astype(np.float32)
    pca, ae = PCA(8).fit(X), linear(8).fit(X)
    np.testing.assert_allclose(ae.transform(X), pca.transform(X), atol=1e-3)
    assert ae.transform(X).dtype == ae.inverse_transform(pca.transform(X)).dtype == np.float32


def test_scores_of_rank_deficient_data_are_finite_and_ordered():
    """scikit-learn's PCA returns 7e16 or -inf, or raises LinAlgError."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(100, 3)) @ rng.normal(size=(3, 10))
    for k in (2, 3, 5):
        ae = linear(k).fit(X)
        inside, near, far = ae.score(X), ae.score(X + 1e-3 * rng.normal(size=X.shape)), ae.score(X + 10)
        assert np.isfinite([inside, near, far]).all()
        assert inside > near > far


def test_gradient_training_finds_the_subspace(digits):
    params = {"early_stopping": False, "alpha": 0, "max_iter": 150, "learning_rate_init": 0.01}
    ae, pca = linear(8, init="random", **params).fit(digits), PCA(8).fit(digits)
    assert subspace_angles(ae.components_.T, pca.components_.T).max() < 0.03
    # The likelihood that follows from the decoder is PCA's.
    assert ae.score(digits) == pytest.approx(pca.score(digits), rel=1e-3)
    np.testing.assert_allclose(
        ae.get_covariance(), pca.get_covariance(), atol=0.01 * np.abs(pca.get_covariance()).max()
    )


@pytest.mark.slow
def test_ordered_codes_and_weight_decay_find_the_directions(digits):
    ae = linear(
        4,
        init="random",
        early_stopping=False,
        alpha=0.1,
        bottleneck=Ordered(full_rate=0),
        max_iter=300,
        learning_rate_init=0.01,
    ).fit(digits)
    pca = PCA(4).fit(digits)
    found = ae.components_ / np.linalg.norm(ae.components_, axis=1, keepdims=True)
    cosines = np.abs(np.sum(found * pca.components_, axis=1))
    assert cosines.min() > 0.99


def test_missing_attributes_of_nonlinear_models_name_alternatives(curve):
    params = {"hidden_layer_sizes": (8,), "max_iter": 1, "early_stopping": False, "random_state": 0}
    ae = AutoencoderTransformer(1, **params).fit(curve)
    assert ae.uses_network_
    for name in ("components_", "explained_variance_", "singular_values_", "explained_variance_ratio_"):
        with pytest.raises(AttributeError, match=r"instead|ordered"):
            getattr(ae, name)
        assert not hasattr(ae, name)
    for method in (ae.get_covariance, ae.get_precision):
        with pytest.raises(AttributeError, match="score_samples"):
            method()


def test_partial_fit_equals_incremental_pca(digits):
    ae, ipca = linear(5), IncrementalPCA(5)
    for chunk in np.array_split(digits, 4):
        ae.partial_fit(chunk)
        ipca.partial_fit(chunk)
    np.testing.assert_allclose(ae.transform(digits), ipca.transform(digits), rtol=1e-6, atol=1e-8)
    assert ae.n_samples_ == len(digits)


def test_partial_fit_continues_from_fit(digits):
    """Samples of fit and of the chunks have the same weight, so the result is close to PCA of all of them."""
    ae = linear(20).fit(digits[:1000]).partial_fit(digits[1000:])
    pca = PCA(20).fit(digits)
    assert ae.n_samples_ == len(digits)
    np.testing.assert_allclose(ae.mean_, pca.mean_)
    np.testing.assert_allclose(ae.explained_variance_[:5], pca.explained_variance_[:5], rtol=0.01)
    assert ae.explained_variance_ratio_.sum() == pytest.approx(pca.explained_variance_ratio_.sum(), rel=0.01)
