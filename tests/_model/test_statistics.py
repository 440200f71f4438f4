"""Statistics of a trained model: the significance of a gain over PCA, and the correction of the noise."""

import math

import numpy as np
import pytest
import torch
from builders import Bound

from sklearn_ae import AutoencoderTransformer, VAETransformer
from sklearn_ae._data.in_memory import ArraySamples
from sklearn_ae._model.statistics import MIN_VALIDATION_SAMPLES, CodeMoments, noise_correction, shows_a_gain
from sklearn_ae.likelihoods import Gaussian


@pytest.fixture
def errors():
    """Errors of 50 validation samples, all positive, of very different magnitude."""
    return np.exp(np.random.RandomState(0).normal(size=50))


class TestSignificance:
    def test_a_clear_gain_is_shown(self, errors):
        assert shows_a_gain(errors, 0.5 * errors)
        assert shows_a_gain(errors, errors * np.random.RandomState(1).uniform(0.3, 1.05, 50))

    def test_no_gain_is_shown(self, errors):
        assert not shows_a_gain(errors, errors)
        assert not shows_a_gain(errors, 1.2 * errors)
        assert not shows_a_gain(errors, errors * np.random.RandomState(1).uniform(0.8, 1.2, 50))

    def test_a_gain_of_a_single_sample_is_not_enough(self, errors):
        initial, network = errors.copy(), errors.copy()
        initial[7], network[7] = 1e4, 1.0
        assert network.mean() < 0.1 * initial.mean()
        assert not shows_a_gain(initial, network)

    def test_small_gains_do_not_outweigh_a_loss_of_one_sample(self, errors):
        network = 0.8 * errors
        network[7] = 1e3
        assert not shows_a_gain(errors, network)

    def test_too_few_samples_show_nothing(self, errors):
        few = errors[: MIN_VALIDATION_SAMPLES - 1]
        assert not shows_a_gain(few, 0.01 * few)
        assert shows_a_gain(errors[:MIN_VALIDATION_SAMPLES], 0.01 * errors[:MIN_VALIDATION_SAMPLES])

    def test_objectives_may_have_any_sign(self, errors):
        """Losses of counts may be negative."""
        for shift in (1.0, 3.0, 100.0):
            assert shows_a_gain(errors - shift, 0.3 * errors - shift)
            assert not shows_a_gain(errors - shift, errors - shift)

    def test_does_not_depend_on_units(self, errors):
        rng = np.random.RandomState(2)
        for gain in (0.9, 0.95, 1.0):
            network = gain * errors * rng.uniform(0.7, 1.3, 50)
            assert shows_a_gain(errors, network) == shows_a_gain(1e-9 * errors, 1e-9 * network)

    def test_chance_gains_are_rare(self):
        """The models are equally good, in 500 repetitions."""
        rng = np.random.RandomState(3)
        shown = [shows_a_gain(*np.exp(rng.normal(size=(2, 60)))) for _ in range(500)]
        assert np.mean(shown) < 0.01


# -- noise variance -------------------------------------------------------------------------


@pytest.mark.parametrize("noise", ["shared", "per_column", "full", "decoder"])
def test_calibration_sets_the_misfit_to_one(noise):
    bound = Bound(Gaussian(noise))
    bound.x = bound.x.repeat(25, 1)

    def misfit_of_fresh_draws():
        out = bound.forward(seed=1)
        return float(Gaussian().noise_misfit(out.eta, out.target, out.log_noise).mean())

    assert abs(misfit_of_fresh_draws() - 1) > 0.2
    samples = ArraySamples(np.tile(bound.X, (25, 1)))
    change = math.log(noise_correction(bound.module, samples, seed=0))
    bound.module.noise.replace(bound.module.noise.log_variance + change)
    assert misfit_of_fresh_draws() == pytest.approx(1, abs=0.05)


# -- codes ----------------------------------------------------------------------------------


def test_moments_in_parts_are_those_of_all(monkeypatch):
    Z = torch.from_numpy(np.random.RandomState(0).normal(size=(5000, 3)) @ np.diag([1, 2, 3]) + 5)
    whole = CodeMoments.of(Z.numpy())
    monkeypatch.setattr("sklearn_ae._model.statistics._MAX_CODES", 1_000)
    parts = CodeMoments.of_parts(Z.split(130), Z.shape[1])
    np.testing.assert_allclose(parts.mean, whole.mean)
    np.testing.assert_allclose(parts.root, whole.root, atol=1e-12)
    positions = np.flatnonzero((Z.numpy()[:, None] == parts.landmarks).all(2).any(1))
    assert len(parts.landmarks) == len(whole.landmarks) == len(positions)
    assert abs(positions.mean() - 2500) < 250  # from all parts


@pytest.mark.parametrize("cls", [AutoencoderTransformer, VAETransformer])
def test_samples_that_overflow_in_units_of_the_training_samples_are_refused(cls):
    X = 1e-120 * np.random.RandomState(0).normal(size=(30, 2))
    model = cls(1, hidden_layer_sizes=(3,), max_iter=1, random_state=0).fit(X)
    for method in (model.transform, model.score_samples):
        with pytest.raises(ValueError, match=r"Feature 1 of X reaches 1e\+200, too far"):
            method(np.array([[0.0, 1e200]]))
