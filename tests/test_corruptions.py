"""Corruptions: distributions of the noise, replaced values, and denoising."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.base import clone
from sklearn.decomposition import PCA
from torch import Generator

from sklearn_ae import AutoencoderTransformer
from sklearn_ae._data.in_memory import ArraySamples
from sklearn_ae._model.initialization import feature_stats
from sklearn_ae._model.pca import InitialPCA
from sklearn_ae.corruptions import (
    CORRUPTIONS,
    Corruption,
    GaussianNoise,
    Masking,
    RayleighNoise,
    SaltAndPepper,
)

# strong noise of each kind, for the tests on data
STRONG = {
    "gaussian": GaussianNoise(0.5),
    "masking": Masking(0.3),
    "salt_and_pepper": SaltAndPepper(0.2),
    "rayleigh": RayleighNoise(0.5),
}
MEANS = [0.0, 1e6]


def generator(seed=0):
    return Generator().manual_seed(seed)


@pytest.fixture(params=MEANS, ids="mean {:g}".format)
def samples(request):
    """Samples in the units of X and in working units, feature statistics, and the map back to units of X."""
    rng = np.random.RandomState(0)
    X = request.param + rng.normal(size=(5000, 6)) * [1, 2, 3, 4, 5, 6]
    offset, scale = X.mean(0), 3.7
    x = torch.from_numpy((X - offset) / scale)
    return (
        X,
        x,
        feature_stats(ArraySamples(X), InitialPCA(None, offset, scale)),
        lambda x: offset + scale * x.numpy(),
    )


@pytest.mark.parametrize("name", CORRUPTIONS)
class TestEveryCorruption:
    def test_same_generator_state_gives_the_same_noise(self, name, samples):
        _, x, statistics, _ = samples
        noise = clone(STRONG[name])
        assert torch.equal(noise(x, generator(), statistics), noise(x, generator(), statistics))
        running = generator()
        assert not torch.equal(noise(x, running, statistics), noise(x, running, statistics))

    def test_leaves_the_global_state_and_the_samples_unchanged(self, name, samples, unchanged_globals):
        _, x, statistics, _ = samples
        before = x.clone()
        STRONG[name](x, generator(), statistics)
        assert torch.equal(x, before)

    def test_zero_strength_is_no_noise(self, name, samples):
        _, x, statistics, _ = samples
        (parameter,) = STRONG[name].get_params()
        silent = clone(STRONG[name]).set_params(**{parameter: 0})
        assert torch.equal(silent(x, generator(), statistics), x)

    def test_keeps_the_dtype(self, name, samples):
        _, x, statistics, _ = samples
        statistics32 = type(statistics)(*(part.float() for part in statistics))
        assert STRONG[name](x.float(), generator(), statistics32).dtype == torch.float32


@pytest.mark.parametrize(
    ("noise", "distribution"),
    [(GaussianNoise(0.3), stats.norm(scale=0.3)), (RayleighNoise(0.3), stats.rayleigh(scale=0.3))],
    ids=["gaussian", "rayleigh"],
)
def test_additive_noise_has_its_distribution(noise, distribution):
    x = torch.randn((4000, 5), generator=generator(1), dtype=torch.float64)
    added = (noise(x, generator(2), None) - x).numpy()
    n = added.size
    assert stats.kstest(added.ravel(), distribution.cdf).pvalue > 0.001
    mean, variance, kurtosis = distribution.stats("mvk")
    assert added.mean() == pytest.approx(mean, abs=5 * np.sqrt(variance / n))
    assert added.var() == pytest.approx(variance, abs=5 * variance * np.sqrt((kurtosis + 2) / n))
    # independent of the samples and across features
    assert np.abs(np.corrcoef(added.T, x.T) - np.eye(10))[:5].max() < 5 / np.sqrt(len(x))


def assert_rate(hit, rate):
    assert hit.mean() == pytest.approx(rate, abs=5 * np.sqrt(rate * (1 - rate) / hit.size))
    n = len(hit)  # also for each feature
    np.testing.assert_allclose(hit.mean(0), rate, atol=5 * np.sqrt(rate * (1 - rate) / n))


@pytest.mark.parametrize("rate", [0.1, 0.7, 1.0])
def test_masking_sets_a_share_of_the_entries_to_zero_in_units_of_x(rate, samples):
    X, x, statistics, in_units = samples
    noisy = Masking(rate)(x, generator(), statistics)
    changed = (noisy != x).numpy()
    assert_rate(changed, rate)
    np.testing.assert_allclose(in_units(noisy)[changed], 0, atol=1e-9 * np.abs(X).max())


@pytest.mark.parametrize("rate", [0.1, 0.7, 1.0])
def test_salt_and_pepper_sets_entries_to_the_minimum_or_maximum_of_the_feature(rate, samples):
    X, x, statistics, in_units = samples
    noisy = in_units(SaltAndPepper(rate)(x, generator(), statistics))
    tolerance = 1e-9 * np.abs(X).max()
    low, high = (np.abs(noisy - bound) < tolerance for bound in (X.min(0), X.max(0)))
    assert_rate(low, rate / 2)
    assert_rate(high, rate / 2)
    np.testing.assert_allclose(noisy[~(low | high)], X[~(low | high)], atol=tolerance)


# -- in the model -------------------------------------------------------------------


def denoiser(corruption, **params):
    params = {"hidden_layer_sizes": (64,), "max_iter": 30, "random_state": 0, **params}
    return AutoencoderTransformer(params.pop("n_components", 16), corruption=corruption, **params)


@pytest.fixture(scope="module")
def clean_models(digits_split):
    train, _ = digits_split
    return denoiser(None).fit(train), PCA(16).fit(train)


@pytest.fixture(scope="module", params=CORRUPTIONS)
def denoised(request, digits_split):
    """A model trained with noise, held-out samples, and the same samples with noise."""
    train, test = digits_split
    noise = STRONG[request.param]
    model = denoiser(noise).fit(train)
    statistics = feature_stats(ArraySamples(train), InitialPCA(None, model.mean_, model.scale_))
    noisy = noise(torch.from_numpy((test - model.mean_) / model.scale_), generator(99), statistics)
    return model, test, model.mean_ + model.scale_ * noisy.numpy()


def error(model, X, target):
    return np.square(model.inverse_transform(model.transform(X)) - target).sum(1).mean()


class TestDenoising:
    def test_reconstructions_of_noisy_samples_are_closer_to_the_clean_samples(self, denoised, clean_models):
        model, clean, noisy = denoised
        plain, pca = clean_models
        ours = error(model, noisy, clean)
        assert ours < 0.9 * np.square(noisy - clean).sum(1).mean(), "than the noisy samples"
        assert ours < 0.9 * error(pca, noisy, clean), "than PCA's"
        assert ours < 0.9 * error(plain, noisy, clean), "than those of the same net without corruption"

    def test_codes_have_no_noise(self, denoised):
        model, clean, _ = denoised
        module, x = model.module_, torch.from_numpy((clean - model.mean_) / model.scale_)
        codes = module.bottleneck(module.encoder(x)) * model.scale_
        np.testing.assert_allclose(model.transform(clean), codes, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(model.transform(clean), model.transform(clean))

    def test_the_source_is_noisy_and_the_target_is_clean(self, denoised):
        model, clean, _ = denoised
        net = model.net_.module_
        x = torch.from_numpy((clean - model.mean_) / model.scale_).float()
        for training in (True, False):  # the validation loss measures denoising, too
            out = net.train(training)(x, generator())
            assert torch.equal(out.target, x)
            assert not torch.equal(out.source, x)
        net.eval()

    def test_noise_in_training_uses_the_range_of_each_feature(self, denoised, digits_split):
        net, train = denoised[0].net_.module_, digits_split[0]
        low, high = (net.in_units(bound).numpy() for bound in (net.low, net.high))
        np.testing.assert_allclose(low, train.min(0), atol=1e-4)
        np.testing.assert_allclose(high, train.max(0), atol=1e-4)
        np.testing.assert_allclose(net.in_units(net.zero).numpy(), 0, atol=1e-4)


# -- user-defined functions ---------------------------------------------------------


def test_a_function_is_called_with_clean_samples_in_training_only(curve):
    seen = []

    def spy(x):
        seen.append(x.clone())
        return x + 1

    model = denoiser(spy, n_components=1, max_iter=2, batch_size=len(curve), early_stopping=False).fit(curve)
    assert len(seen) == 2
    working = (curve - model.mean_) / model.scale_
    np.testing.assert_allclose(seen[0].numpy(), working, atol=1e-5)
    del seen[:]
    model.inverse_transform(model.transform(curve))
    model.score(curve[:20])
    assert not seen


def test_nothing_is_learned_from_input_without_information(curve):
    """If the noisy samples were the target, the loss would vanish."""
    model = denoiser(torch.zeros_like, n_components=1, early_stopping=False).fit(curve)
    assert min(model.loss_curve_) > 0.99


def test_a_random_function_is_reproducible(curve):
    def jitter(x):
        return x + 0.2 * torch.randn_like(x)

    def fit(seed):
        return denoiser(jitter, n_components=1, max_iter=3, random_state=seed).fit(curve)

    first = fit(0).loss_curve_
    with torch.random.fork_rng():
        torch.rand(5)  # changes the state of the global generator
        state = torch.get_rng_state()
        assert fit(0).loss_curve_ == first
        assert torch.equal(torch.get_rng_state(), state)
    assert fit(1).loss_curve_ != first


@pytest.mark.parametrize(
    ("function", "got"),
    [
        (lambda x: x[:, 1:], r"shape \(\d+, 4\)"),
        (lambda x: x.sum(), r"shape \(\)"),
        (lambda x: x.numpy(), "ndarray"),
        (lambda x: None, "NoneType"),
    ],
    ids=["fewer features", "a number", "an array", "nothing"],
)
def test_a_function_must_return_a_tensor_of_the_same_shape(function, got, curve):
    model = denoiser(function, n_components=1)
    with pytest.raises(ValueError, match=rf"corruption must return a tensor of shape .*got {got}"):
        model.fit(curve)
    assert not hasattr(model, "module_")


def test_functions_and_options_are_resolved():
    def resolved(value):
        return AutoencoderTransformer(2, corruption=value)._model_spec().corruption

    assert resolved(torch.relu).function is torch.relu
    assert type(resolved(Masking(0.2))) is Masking
    assert resolved(None) is None
    with pytest.raises(TypeError, match=r"corruption=Masking is a class; pass an instance"):
        resolved(Masking)


class InPlaceMasking(Corruption):
    def __call__(self, x, generator, stats):
        x[:, ::2] = 0
        return x


class CopiedMasking(Corruption):
    def __call__(self, x, generator, stats):
        return InPlaceMasking()(x.clone(), generator, stats)


def masked_in_place(x):
    x[:, ::2] = 0
    return x


@pytest.mark.parametrize("corruption", [InPlaceMasking(), masked_in_place], ids=["class", "function"])
@pytest.mark.parametrize("batch_size", [100, 600], ids=str)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_corruptions_may_work_in_place(corruption, batch_size, curve):
    """Neither the targets nor the training samples are changed."""
    X = curve.copy()
    params = {"hidden_layer_sizes": (8,), "max_iter": 3, "early_stopping": False, "random_state": 0}
    ours, expected = (
        AutoencoderTransformer(2, corruption=option, batch_size=batch_size, **params).fit(X)
        for option in (corruption, CopiedMasking())
    )
    np.testing.assert_array_equal(X, curve)
    np.testing.assert_array_equal(ours.transform(X), expected.transform(X))
