"""Fits end to end: the fallback to PCA without a gain, and the network otherwise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from sklearn_ae import AutoencoderTransformer, VAETransformer
from sklearn_ae._fitting.pipeline import MIN_SAMPLES_IN_FOLDS, Trained
from sklearn_ae._fitting.retraining import lost_its_gain
from sklearn_ae.bottlenecks import TopK

# Few epochs suffice for the properties that are tested here.
pytestmark = pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")


def fit(X, k=1, X_val=None, **params):
    params = {"hidden_layer_sizes": (32,), "max_iter": 60, "random_state": 0, **params}
    return AutoencoderTransformer(k, **params).fit(X, X_val=X_val)


def assert_is_pca(model, X, pca):
    Z = pca.transform(X)
    assert not model.uses_network_
    assert model.best_iter_ == 0
    np.testing.assert_allclose(model.transform(X), Z, rtol=1e-6, atol=1e-6 * np.abs(Z).max())
    np.testing.assert_allclose(model.inverse_transform(Z), pca.inverse_transform(Z), rtol=1e-6, atol=1e-9)
    assert model.score(X) == pytest.approx(pca.score(X), rel=1e-6)


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("seed", range(3))
def test_noise_falls_back_to_the_pca_of_all_samples(k, seed):
    X = np.random.RandomState(seed).normal(size=(400, 6)) * [6, 5, 4, 3, 2, 1] + 10
    model = fit(X, k, max_iter=15, random_state=seed)
    assert len(model.loss_curve_) == 15  # the network was trained and rejected
    assert_is_pca(model, X, PCA(k, svd_solver="full").fit(X))


def test_curved_data_use_the_network_and_beat_pca(curve):
    train, test = curve[:450], curve[450:]
    model, pca = fit(train), PCA(1).fit(train)
    assert model.uses_network_
    assert model.best_iter_ > 0
    theirs = np.square(test - pca.inverse_transform(pca.transform(test))).sum(1).mean()
    assert model.reconstruction_error(test).mean() < 0.2 * theirs


def test_too_few_validation_samples_give_pca_without_training(curve):
    X = curve[: MIN_SAMPLES_IN_FOLDS - 1]
    model = fit(X)
    assert_is_pca(model, X, PCA(1, svd_solver="full").fit(X))
    assert model.loss_curve_ == []
    assert model.n_iter_ == 1
    # also if they are passed as X_val
    assert_is_pca(fit(X, X_val=curve[-9:]), X, PCA(1, svd_solver="full").fit(X))
    assert fit(X, X_val=curve[-60:]).uses_network_


def test_a_network_worse_than_pca_is_not_used(curve):
    """The model is PCA if the learning rate is so large that the loss increases."""
    model = fit(curve, max_iter=5, learning_rate_init=2.0)
    assert min(model.loss_curve_) > 1
    assert_is_pca(model, curve, PCA(1, svd_solver="full").fit(curve))


def test_without_early_stopping_there_is_no_fallback(curve):
    model = fit(np.random.RandomState(0).normal(size=(300, 6)), 2, max_iter=10, early_stopping=False)
    assert model.uses_network_
    assert model.validation_loss_curve_ == []
    assert model.best_iter_ == model.n_iter_ == 10


def test_random_initialization_has_no_fallback():
    X = np.random.RandomState(0).normal(size=(300, 6))
    model = fit(X, 2, max_iter=10, init="random")
    assert model.uses_network_
    Z = PCA(2).fit_transform(X)
    assert not np.allclose(model.transform(X), Z, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("bottleneck", [TopK(2), "relu"], ids=str)
def test_models_that_do_not_start_at_pca_have_no_fallback(bottleneck):
    """The best epoch is kept, with the initial model as a candidate."""
    X = np.random.RandomState(0).normal(size=(400, 6)) * [3, 3, 3, 1, 1, 1]
    model = fit(X, 4, max_iter=3, bottleneck=bottleneck, learning_rate_init=2.0)
    assert model.uses_network_
    assert model.pca_loss_ is None
    assert model.best_iter_ == 0  # every later epoch is worse at this learning rate
    assert not hasattr(model, "explained_variance_ratio_")
    Z = model.transform(X)
    assert (Z == 0).any()
    np.testing.assert_allclose(Z[Z != 0], model.pca_.transform(X)[Z != 0], rtol=1e-4)


# -- modes of torch ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("estimator", [AutoencoderTransformer, VAETransformer])
def test_fits_do_not_depend_on_the_grad_mode_and_keep_it(mode, estimator, curve):
    params = {"hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0}
    expected = estimator(1, **params).fit(curve)
    with mode():
        model = estimator(1, **params).fit(curve)
        scores = model.score_samples(curve[:5])
        model.partial_fit(curve)
        assert not torch.is_grad_enabled()
    assert model.loss_curve_[:3] == expected.loss_curve_
    np.testing.assert_array_equal(scores, expected.score_samples(curve[:5]))


@pytest.mark.parametrize(
    ("loss", "expected"), [(0.1, False), (0.2, False), (0.7, True), (1.5, True)], ids=str
)
def test_a_second_training_that_lost_its_gain_is_not_used(loss, expected):
    trained = Trained(None, None, is_warm=False, pca_losses=np.ones(20), losses=np.full(20, 0.2))
    assert lost_its_gain(np.full(100, loss), trained) == expected
    assert not lost_its_gain(np.full(100, loss), replace(trained, pca_losses=None))
