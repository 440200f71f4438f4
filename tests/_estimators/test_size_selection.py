"""Selection of the code size: nested codes, models of all sizes, rules and candidate sizes."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Generator

from sklearn_ae import AutoencoderTransformer
from sklearn_ae._estimators.size_selection import (
    Nested,
    _split,
    best,
    check_sizes,
    fit_sizes,
    one_standard_error,
)

TRAINED = {"hidden_layer_sizes": (32,), "max_iter": 60, "random_state": 0}


# -- nested codes ------------------------------------------------------------------------


def test_nested_codes_keep_the_leading_components_of_each_size_equally_often():
    a, sizes = torch.ones(60, 7), (1, 2, 7)
    nested = Nested(sizes)
    kept = nested(a, Generator().manual_seed(0))
    lengths = kept.sum(1).int()
    assert torch.equal(kept, (torch.arange(7) < lengths[:, None]).float())
    assert {k: int((lengths == k).sum()) for k in sizes} == dict.fromkeys(sizes, 20)
    assert torch.equal(nested.evaluate(a, Generator().manual_seed(0)), kept)
    assert torch.equal(nested(a), a)


def test_models_have_their_size_and_are_not_worse_than_pca(curve):
    estimator = AutoencoderTransformer(**TRAINED)
    for k, model in zip([1, 2, 4], fit_sizes(estimator, [1, 2, 4], curve), strict=True):
        assert model.transform(curve).shape == (len(curve), k)
        pca = PCA(k).fit(curve)
        pca_error = np.square(curve - pca.inverse_transform(pca.transform(curve))).sum(axis=1).mean()
        bound = 0.5 if model.uses_network_ else 1 + 1e-9
        assert model.reconstruction_error(curve).mean() < bound * pca_error
        assert model.uses_network_ or k == 4


def test_the_noise_of_each_size_is_that_of_its_components_on_held_out_samples(curve):
    estimator = AutoencoderTransformer(4, **TRAINED)
    held_out = _split(estimator, curve)[1]["X_val"]
    for k, model in zip([1, 2], fit_sizes(estimator, [1, 2, 4], curve), strict=False):
        assert model.uses_network_
        errors = model.reconstruction_error(held_out)
        assert model.noise_variance_ == pytest.approx(errors.mean() / (curve.shape[1] - k), rel=1e-4)


def test_a_largest_size_that_explains_everything_does_not_affect_the_others(curve):
    X = np.column_stack([curve, curve[:, :2]])  # of rank 5
    small, largest = fit_sizes(AutoencoderTransformer(**TRAINED), [1, 5], X)
    assert small.uses_network_
    assert not largest.uses_network_


def test_models_without_gain_are_the_pca_of_all_samples():
    X = np.random.RandomState(0).normal(size=(200, 6))
    estimator = AutoencoderTransformer(hidden_layer_sizes=(16,), max_iter=5, random_state=0)
    for k, model in zip([1, 3], fit_sizes(estimator, [1, 3], X), strict=True):
        assert not model.uses_network_
        np.testing.assert_allclose(model.score_samples(X), PCA(k).fit(X).score_samples(X), rtol=1e-8)


# -- rules and candidate sizes -----------------------------------------------------------


def test_rules():
    scores = np.array([[1.0, 3.0, 3.1, 2.0], [1.0, 2.0, 2.5, 2.0], [1.0, 1.0, 1.0, 2.0]])
    assert best(scores) == 2
    assert one_standard_error(scores) == 1  # 2.0 is within 1.08 / sqrt(3) of 2.2
    assert one_standard_error(scores - np.array([0, 0.5, 0, 0])) == 2
    assert best(np.array([[1.0, 2.0, 2.0]] * 2)) == 1
    assert one_standard_error(np.array([[1.0, 2.0, 2.0]] * 2)) == 1
    assert best(np.array([[np.nan, 2.0, -np.inf]] * 2)) == 1
    with pytest.raises(ValueError, match="finite mean score"):
        best(np.full((2, 3), np.nan))


def test_candidate_sizes():
    assert check_sizes("auto", 100, 9, False) == [1, 2, 3, 4, 6, 8]
    assert check_sizes("auto", 4, 9, False) == [1, 2, 3]
    assert check_sizes("auto", 100, 1, False) == [1]
    assert check_sizes(np.array([4, 2, 2]), 100, 9, False) == [2, 4]
    assert check_sizes(3, 100, 9, False) == [3]
    assert check_sizes([20], 100, 9, True) == [20]
