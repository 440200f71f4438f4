"""Training on given pairs of noisy and clean samples."""

import numpy as np
import pytest
import sklearn
import torch
from scipy import sparse
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AutoencoderTransformer, VAETransformer
from sklearn_ae.likelihoods import Gaussian

pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")


def error(X, Y):
    return np.square(X - Y).sum(axis=1).mean()


def restored(model, X):
    return model.inverse_transform(model.transform(X))


@pytest.fixture(scope="module")
def pairs(digits):
    """Noisy and clean digits: stripes, which are far from isotropic noise, and white noise."""
    rng = np.random.RandomState(0)
    stripes = rng.normal(size=(5, 64))
    noise = 1.4 * rng.normal(size=(len(digits), 5)) @ stripes + 1.5 * rng.normal(size=digits.shape)
    return digits + noise, digits


@pytest.fixture(scope="module")
def ridge_error(pairs):
    noisy, clean = pairs
    return error(Ridge().fit(noisy[:1400], clean[:1400]).predict(noisy[1400:]), clean[1400:])


def test_a_linear_model_of_all_components_is_the_regression_of_clean_on_noisy_samples(pairs, ridge_error):
    noisy, clean = pairs
    model = AutoencoderTransformer(64, hidden_layer_sizes=(), random_state=0)
    model.fit(noisy[:1400], X_clean=clean[:1400])
    assert error(restored(model, noisy[1400:]), clean[1400:]) == pytest.approx(ridge_error, rel=0.05)


@pytest.mark.parametrize("kind", [AutoencoderTransformer, VAETransformer])
def test_pairs_remove_noise_that_training_on_noisy_samples_keeps(kind, pairs, ridge_error):
    noisy, clean = pairs
    models = [kind(32, max_iter=25, random_state=0) for _ in range(2)]
    alone = restored(models[0].fit(noisy[:1400]), noisy[1400:])
    model = models[1].fit(noisy[:1400], X_clean=clean[:1400])
    assert model.uses_network_
    assert error(restored(model, noisy[1400:]), clean[1400:]) < 2 * ridge_error
    assert error(alone, clean[1400:]) > 3 * ridge_error


def test_the_fallback_is_the_pca_of_the_clean_samples():
    """Noise far below the residuals leaves nothing to learn."""
    rng = np.random.RandomState(0)
    clean = rng.normal(size=(300, 64)) * np.linspace(3, 1, 64)
    noisy = clean + 1e-4 * rng.normal(size=clean.shape) + 1e-3
    model = AutoencoderTransformer(3, hidden_layer_sizes=(), random_state=0).fit(noisy, X_clean=clean)
    assert not model.uses_network_
    axes = np.linalg.svd(clean - clean.mean(axis=0), full_matrices=False)[2]
    np.testing.assert_allclose(model.pca_.mean_, clean.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(np.abs(model.pca_.components_ @ axes[:3].T), np.eye(3), atol=1e-4)


def test_factor_analysis_is_that_of_the_clean_samples(curve):
    noisy = curve + np.array([3.0, 0.0, 0.0, 0.0, 0.0]) * np.random.RandomState(0).normal(size=curve.shape)
    params = {"likelihood": Gaussian(noise="per_column"), "hidden_layer_sizes": (4,), "random_state": 0}
    untrained = {**params, "learning_rate_init": 1e-9, "max_iter": 1, "early_stopping": False}
    model = VAETransformer(2, **untrained).fit(noisy, X_clean=curve)
    clean = VAETransformer(2, **untrained).fit(curve)
    codes = np.random.RandomState(1).normal(size=(20, 2))
    np.testing.assert_allclose(
        np.abs(model.inverse_transform(codes) - curve.mean(axis=0)),
        np.abs(clean.inverse_transform(codes) - curve.mean(axis=0)),
        atol=1e-3,
    )


def test_equal_pairs_are_the_same_as_no_pairs(curve):
    params = {"hidden_layer_sizes": (8,), "max_iter": 5, "init": "random", "random_state": 0}
    given = AutoencoderTransformer(2, **params).fit(curve, X_clean=curve.copy())
    np.testing.assert_allclose(
        given.transform(curve), AutoencoderTransformer(2, **params).fit(curve).transform(curve), atol=1e-5
    )


def quick(**params):
    return AutoencoderTransformer(2, hidden_layer_sizes=(8,), max_iter=3, random_state=0, **params)


@pytest.mark.parametrize(
    "params", [{"corruption": "gaussian"}, {"loss": "huber"}, {"penalty": "contractive"}]
)
def test_pairs_combine_with_other_options(params, pairs):
    noisy, clean = pairs
    codes = quick(**params, init="random").fit(noisy[:300], X_clean=clean[:300]).transform(noisy)
    assert np.isfinite(codes).all()
    assert not np.allclose(codes, quick(**params, init="random").fit(noisy[:300]).transform(noisy))


def test_the_range_of_the_loss_is_that_of_the_clean_samples(digits):
    clean = digits[:300] / 16
    noisy = clean + np.random.RandomState(0).normal(size=clean.shape)
    model = quick(loss="binary_cross_entropy").fit(noisy, X_clean=clean)
    assert (restored(model, noisy) <= 1).all()
    with pytest.raises(ValueError, match="binary_cross_entropy"):
        quick(loss="binary_cross_entropy").fit(clean, X_clean=noisy)


@pytest.mark.parametrize(
    "form",
    [
        lambda noisy, clean: (sparse.csr_array(noisy), clean),
        lambda noisy, clean: (noisy, sparse.csr_array(clean)),
        lambda noisy, clean: (noisy.astype(np.float32), clean.tolist()),
    ],
    ids=["sparse noisy", "sparse clean", "lists"],
)
def test_every_container_gives_the_same(form, pairs, unperturbed):
    noisy, clean = (part[:300] for part in pairs)
    given, target = form(noisy, clean)
    model = quick(init="random", early_stopping=False).fit(given, X_clean=target)
    expected = quick(init="random", early_stopping=False).fit(noisy, X_clean=clean)
    np.testing.assert_allclose(model.transform(noisy), expected.transform(noisy), rtol=1e-2, atol=0.1)


def test_metadata_reaches_a_step_of_a_pipeline(pairs):
    noisy, clean = (part[:200] for part in pairs)
    scaler = StandardScaler().fit(noisy)
    expected = quick().fit(scaler.transform(noisy), X_clean=scaler.transform(clean))
    with sklearn.config_context(enable_metadata_routing=True):
        step = quick().set_fit_request(X_clean=True)
        pipeline = make_pipeline(StandardScaler(), step, transform_input=["X_clean"])
        pipeline.fit(noisy, X_clean=clean)
    np.testing.assert_allclose(
        pipeline.transform(noisy), expected.transform(scaler.transform(noisy)), rtol=1e-4
    )


def test_searches_split_the_pairs(pairs):
    noisy, clean = (part[:200] for part in pairs)

    def denoising_score(model, X, y=None):
        return -float(np.square(restored(model, X)).sum())

    search = GridSearchCV(quick(), {"alpha": [0.0, 0.1]}, cv=2, scoring=denoising_score)
    assert search.fit(noisy, X_clean=clean).best_estimator_.pca_.mean_ == pytest.approx(clean.mean(axis=0))


def test_pairs_that_do_not_match_are_refused(pairs):
    noisy, clean = (part[:50] for part in pairs)
    for message, call in {
        "X_clean has 49 samples, but X has 50": lambda: quick().fit(noisy, X_clean=clean[:49]),
        "X_clean does not match X": lambda: quick().fit(noisy, X_clean=clean[:, :9]),
        "X_val and X_clean cannot be combined": lambda: quick().fit(noisy, X_clean=clean, X_val=noisy),
        "X_clean needs X as an array": lambda: quick().fit(iter_of([noisy]), X_clean=clean),
    }.items():
        with pytest.raises(ValueError, match=message):
            call()


def iter_of(chunks):
    return lambda: iter([np.tile(chunk, (2_000, 1)) for chunk in chunks] * 20)


@pytest.mark.parametrize("kind", [AutoencoderTransformer, VAETransformer])
def test_targets_passed_as_y_warn(kind, pairs):
    noisy, clean = (part[:60] for part in pairs)
    model = kind(2, hidden_layer_sizes=(), random_state=0)
    with pytest.warns(UserWarning, match=r"y has the shape of X, but is ignored.*X_clean=y"):
        model.fit(noisy, clean)
    with pytest.warns(UserWarning, match="X_clean=y"):
        model.fit_transform(noisy, clean.astype(np.float32))
    with pytest.warns(UserWarning, match="X_clean=y"):
        model.fit(noisy, torch.tensor(clean, requires_grad=True))
    for y in (None, noisy, clean.astype(int), clean[:, 0], np.arange(60), [[1], [2, 3]], object()):
        model.fit(noisy, y)  # no warning
