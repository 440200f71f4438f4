"""Likelihoods and losses of features of different kinds: densities, groups, errors, fitted models."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse, stats
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from sklearn_ae import (
    AEOutlierDetector,
    AutoencoderTransformer,
    AutoencoderTransformerCV,
    VAETransformer,
    likelihoods,
    losses,
)
from sklearn_ae._data.in_memory import ArraySamples
from sklearn_ae._density.observations import ObservedFeatures, OptionObservation
from sklearn_ae.likelihoods import ByFeature, NegativeBinomial
from sklearn_ae.networks import Conv

GROUPS = {
    "poisson": [4],
    "gaussian": [0, 7],
    "categorical": [[1, 2, 3], [8, 9], [10, 12, 11]],
    "bernoulli": 5,
    "negative_binomial": slice(6, 7),
}
NAMES = ["age", "colour_a", "colour_b", "colour_c", "visits", "smokes", "items", "size"]
NAMES += ["sex_f", "sex_m", "city_p", "city_q", "city_r"]
LOSS_GROUPS = {**GROUPS, "poisson": [4, 6]}
del LOSS_GROUPS["negative_binomial"]
SMALL = {"hidden_layer_sizes": (8,), "max_iter": 3, "early_stopping": False, "random_state": 0}


def one_hot(labels, n):
    return np.eye(n)[labels]


def table(n=400, seed=0):
    """Samples of features of all kinds that depend on one variable."""
    rng = np.random.RandomState(seed)
    z = rng.normal(size=n)
    sex, city = rng.randint(2, size=n), np.digitize(-z + rng.normal(size=n), [-1, 1])
    columns = [
        1e4 + 100 * (z + 0.3 * rng.normal(size=n)),
        one_hot(np.digitize(z + 0.3 * rng.normal(size=n), [-0.5, 0.5]), 3),
        rng.poisson(np.exp(z)),
        rng.uniform(size=n) < 1 / (1 + np.exp(-2 * z)),
        rng.poisson(3 * np.exp(0.5 * z) * rng.gamma(2, 0.5, size=n)),
        1e-3 * rng.normal(size=n),
        one_hot(sex, 2),
        one_hot(city, 3)[:, [0, 2, 1]],
    ]
    return np.column_stack(columns).astype(float)


X = table()


def fitted_option(option, X=X):
    return option.for_samples(ArraySamples(X), None)


def tensors(n=5, seed=0):
    """Decoder outputs and log noise variances of random samples."""
    rng = np.random.RandomState(seed)
    return torch.from_numpy(rng.normal(size=(n, 13))), torch.from_numpy(0.3 * rng.normal(size=13))


# -- densities ------------------------------------------------------------------------------


def log_prob_by_scipy(eta, x, log_noise):
    """Return the log-probability of each sample for real features in their units."""
    total = np.zeros(len(x))
    for j in (0, 7):
        total += stats.norm.logpdf(x[:, j], eta[:, j], np.exp(0.5 * log_noise[j]))
    total += stats.poisson.logpmf(x[:, 4], np.exp(eta[:, 4]))
    total += stats.bernoulli.logpmf(x[:, 5].astype(int), 1 / (1 + np.exp(-eta[:, 5])))
    r, mean = np.exp(-log_noise[6]), np.exp(eta[:, 6])
    total += stats.nbinom.logpmf(x[:, 6], r, r / (r + mean))
    for group in ([1, 2, 3], [8, 9], [10, 12, 11]):
        p = np.exp(eta[:, group]) / np.exp(eta[:, group]).sum(axis=1, keepdims=True)
        total += [stats.multinomial.logpmf(row, 1, q) for row, q in zip(x[:, group], p, strict=True)]
    return total


def in_loss_units(x):
    """Standardise the real features, as the decoder does."""
    x = x.copy()
    for j in (0, 7):
        x[:, j] = (x[:, j] - X[:, j].mean()) / X[:, j].std()
    return x


def test_log_probabilities_are_those_of_scipy():
    option = fitted_option(ByFeature(GROUPS))
    eta, log_noise = tensors()
    x = in_loss_units(X[:5])
    entries = option.log_prob(eta, torch.from_numpy(x), log_noise)
    assert entries.shape == eta.shape
    expected = log_prob_by_scipy(eta.numpy(), x, log_noise.numpy())
    np.testing.assert_allclose(entries.sum(1).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("mean", [0.1, 3.0, 200.0])
@pytest.mark.parametrize("dispersion", [0.01, 1.0, 20.0])
def test_negative_binomial_is_that_of_scipy(mean, dispersion):
    x = torch.arange(0.0, 50.0, dtype=torch.float64)[:, None]
    eta, log_noise = (
        torch.full_like(x, np.log(mean)),
        torch.full((1,), np.log(dispersion), dtype=torch.float64),
    )
    r = 1 / dispersion
    expected = stats.nbinom.logpmf(x.numpy(), r, r / (r + mean))
    np.testing.assert_allclose(NegativeBinomial().log_prob(eta, x, log_noise), expected, rtol=1e-9)


def test_negative_binomial_without_dispersion_is_poisson():
    x = torch.arange(0.0, 9.0, dtype=torch.float64)[:, None]
    eta = torch.full_like(x, 0.5)
    log_p = NegativeBinomial().log_prob(eta, x, torch.full((1,), -20.0, dtype=torch.float64))
    np.testing.assert_allclose(log_p, likelihoods.Poisson().log_prob(eta, x), atol=5e-3)


@pytest.mark.parametrize("option", [ByFeature(GROUPS), losses.ByFeature(LOSS_GROUPS)])
def test_log_probabilities_of_features_add_up(option):
    eta, log_noise = tensors()
    observation = OptionObservation(fitted_option(option), log_noise)
    x = torch.from_numpy(in_loss_units(X[:5]))
    entries = observation.entries(eta, x)
    np.testing.assert_allclose(entries.sum(1), -observation.misfit(eta, x), rtol=1e-12)
    x[:, [0, 1, 2, 3]] = torch.nan
    rest = ObservedFeatures(observation).misfit(eta, x)
    np.testing.assert_allclose(rest, -entries[:, 4:].sum(1), rtol=1e-12)


def total_log_prob(option, x, log_noise):
    return lambda eta: option._entries(eta, x, log_noise).sum()


@pytest.mark.parametrize("option", [ByFeature(GROUPS), losses.ByFeature(LOSS_GROUPS)])
def test_slopes_and_information_are_derivatives(option):
    option = fitted_option(option)
    eta, log_noise = tensors()
    x = torch.from_numpy(in_loss_units(X[:5]))
    function = total_log_prob(option, x, log_noise)
    slope = torch.autograd.functional.jacobian(function, eta)
    np.testing.assert_allclose(option.slope(eta, x, log_noise), slope, atol=1e-10)
    mean = option.inverse_link(eta)
    hessian = torch.autograd.functional.hessian(total_log_prob(option, mean, log_noise), eta)
    diagonal = hessian.reshape(65, 65).diagonal().reshape(eta.shape)
    np.testing.assert_allclose(option.information(eta, x, log_noise), -diagonal, atol=1e-10)


def test_misfits_of_pairs_differ_by_a_constant_of_each_sample():
    option = fitted_option(ByFeature(GROUPS))
    eta, log_noise = tensors(3)
    x = torch.from_numpy(in_loss_units(X[:4]))
    all_pairs = -option.log_prob(eta.expand(4, -1, -1), x[:, None].expand(-1, 3, -1), log_noise).sum(-1)
    rest = all_pairs - option.pairwise_misfit(eta, x, log_noise)
    np.testing.assert_allclose(rest, rest[:, :1].expand(4, 3), atol=1e-9)


def test_links_are_inverse_and_probabilities_add_up():
    option = fitted_option(ByFeature(GROUPS))
    eta, _ = tensors()
    mean = option.inverse_link(eta)
    for group in GROUPS["categorical"]:
        np.testing.assert_allclose(mean[:, group].sum(1), 1.0)
    inside = mean.clamp(0.1, None)
    inside[:, 5] = inside[:, 5].clamp(0.1, 0.9)
    for group in GROUPS["categorical"]:
        inside[:, group] /= inside[:, group].sum(1, keepdim=True)
    np.testing.assert_allclose(option.inverse_link(option.link(inside)), inside, rtol=1e-9)


def test_a_group_of_zeros_adds_nothing():
    option = fitted_option(ByFeature(GROUPS))
    eta, log_noise = tensors()
    x = torch.from_numpy(in_loss_units(X[:5]))
    x[:, 1:4] = 0
    for values in (option.log_prob(eta, x, log_noise), option.slope(eta, x, log_noise)):
        assert not values[:, 1:4].any()


def test_any_finite_value_gives_finite_entries():
    option = fitted_option(ByFeature(GROUPS))
    eta, log_noise = tensors()
    for filler in (-7.3, 0.0, 1e6):
        assert option.log_prob(eta, torch.full_like(eta, filler), log_noise).isfinite().all()


def test_draws_follow_the_distribution():
    option = fitted_option(ByFeature(GROUPS))
    eta, log_noise = tensors(1)
    draws = option.draw(eta.expand(40_000, -1), log_noise, torch.Generator().manual_seed(0))
    error = draws.std(0) / 200
    assert ((draws.mean(0) - option.inverse_link(eta)[0]).abs() < 5 * error + 1e-12).all()
    mean, a = float(eta[0, 6].exp()), float(log_noise[6].exp())
    assert float(draws[:, 6].var()) == pytest.approx(mean + a * mean**2, rel=0.1)
    for group in GROUPS["categorical"]:
        assert (draws[:, group].sum(1) == 1).all()


# -- fitted models --------------------------------------------------------------------------


def test_without_components_the_density_is_that_of_independent_features():
    groups = {"gaussian": [0, 7], "bernoulli": 5, "poisson": 4, "categorical": [[1, 2, 3], [8, 9]]}
    A = X[:, :10][:, [0, 1, 2, 3, 4, 5, 5, 7, 8, 9]]
    groups["bernoulli"] = [5, 6]
    expected = np.zeros(len(A))
    for j in (0, 7):
        expected += stats.norm.logpdf(A[:, j], A[:, j].mean(), A[:, j].std())
    expected += stats.poisson.logpmf(A[:, 4], A[:, 4].mean())
    expected += 2 * stats.bernoulli.logpmf(A[:, 5].astype(int), A[:, 5].mean())
    for group in groups["categorical"]:
        expected += np.log(A[:, group] @ A[:, group].mean(axis=0))
    for model in (
        VAETransformer(0, likelihood=ByFeature(groups)),
        AutoencoderTransformer(0, loss=losses.ByFeature(groups)),
    ):
        np.testing.assert_allclose(model.fit(A).score_samples(A), expected, rtol=1e-6)


def test_densities_change_with_the_units_of_real_features_only():
    unit = np.ones(13)
    unit[[0, 7]] = 1e-2, 1e3
    model = VAETransformer(1, likelihood=ByFeature(GROUPS), hidden_layer_sizes=(), **_untrained())
    scores = model.fit(X).score_samples(X)
    scaled = clone(model).fit(X * unit).score_samples(X * unit)
    np.testing.assert_allclose(scaled + np.log(unit).sum(), scores, atol=1e-2)


def _untrained():
    return {"max_iter": 1, "learning_rate_init": 1e-12, "random_state": 0}


def test_sum_of_probabilities_is_one():
    groups = {"categorical": [[0, 1, 2], [3, 4, 5]], "bernoulli": 6}
    A = X[:, [1, 2, 3, 10, 11, 12, 5]]
    grid = np.array([[*one_hot(i, 3), *one_hot(j, 3), b] for i in range(3) for j in range(3) for b in (0, 1)])
    vae = VAETransformer(1, likelihood=ByFeature(groups), **SMALL).fit(A)
    assert np.exp(vae.score_samples(grid)).sum() == pytest.approx(1, abs=0.02)
    ae = AutoencoderTransformer(1, loss=losses.ByFeature(groups), **SMALL).fit(A)
    assert np.exp(ae.score_samples(grid)).sum() == pytest.approx(1, abs=0.02)


def test_dependent_features_are_better_than_independent_ones():
    T = table(seed=1)
    alone = VAETransformer(0, likelihood=ByFeature(GROUPS)).fit(X).score(T)
    vae = VAETransformer(1, likelihood=ByFeature(GROUPS), max_iter=40, random_state=0).fit(X)
    assert vae.score(T) > alone + 0.5
    assert vae.elbo(T).mean() <= vae.score(T) + 0.05


def test_every_kind_is_described_by_the_code():
    """Real features with much variance do not drown others: each kind is predicted from the code."""
    T = table(2000, seed=1)
    for model in (
        VAETransformer(1, likelihood=ByFeature(GROUPS), max_iter=30, random_state=0),
        AutoencoderTransformer(1, loss=losses.ByFeature(LOSS_GROUPS), max_iter=30, random_state=0),
    ):
        reconstruction = model.fit(X).inverse_transform(model.transform(T))
        for j in (0, 1, 3, 4, 5, 6, 10, 12):
            assert np.corrcoef(T[:, j], reconstruction[:, j])[0, 1] > 0.1


def test_attributes():
    vae = VAETransformer(1, likelihood=ByFeature(GROUPS), **SMALL).fit(X)
    assert vae.scale_.shape == vae.noise_variance_.shape == (13,)
    assert list(np.flatnonzero(np.isfinite(vae.noise_variance_))) == [0, 7]
    assert 0 < vae.noise_variance_[0] <= 1.2 * X[:, 0].var()
    with pytest.raises(AttributeError, match="noise_covariance_"):
        _ = vae.noise_covariance_
    nb = VAETransformer(1, likelihood="negative_binomial", **SMALL).fit(X[:, [4, 6]])
    with pytest.raises(AttributeError, match="noise_variance_"):
        _ = nb.noise_variance_
    assert nb.dispersion_.shape == (2,)
    assert list(np.flatnonzero(np.isfinite(vae.dispersion_))) == [6]
    for model in (VAETransformer(1), VAETransformer(1, likelihood=ByFeature({"gaussian": [0, 1]}))):
        with pytest.raises(AttributeError, match=r"dispersion_.*'negative_binomial'"):
            _ = model.set_params(**SMALL).fit(X[:, [0, 7]]).dispersion_


def test_negative_binomial_is_better_than_poisson_for_overdispersed_counts():
    rng = np.random.RandomState(0)
    counts = rng.poisson(5 * rng.gamma(1, 1, size=(600, 4)))
    models = [VAETransformer(0, likelihood=name).fit(counts) for name in ("negative_binomial", "poisson")]
    scores = [model.score(counts) for model in models]
    assert scores[0] > scores[1] + 1
    np.testing.assert_allclose(models[0].dispersion_, 1.0, atol=0.2)
    expected = stats.nbinom.logpmf(counts, 1, 1 / 6).sum(axis=1).mean()
    assert scores[0] == pytest.approx(expected, abs=0.1)


MODELS = [
    VAETransformer(1, likelihood=ByFeature(GROUPS), **SMALL),
    VAETransformer(1, likelihood=ByFeature(GROUPS), init="random", **SMALL),
    VAETransformer(2, likelihood=ByFeature(GROUPS), tied_weights=True, n_importance_samples=2, **SMALL),
    VAETransformer(1, likelihood=ByFeature(GROUPS), prior="mixture", corruption="masking", **SMALL),
    VAETransformer(2, likelihood=ByFeature(GROUPS), **(SMALL | {"hidden_layer_sizes": ()})),
    AutoencoderTransformer(2, loss=losses.ByFeature(LOSS_GROUPS), **SMALL),
    AutoencoderTransformer(2, loss=losses.ByFeature(LOSS_GROUPS), whiten=True, init="random", **SMALL),
    AutoencoderTransformer(2, loss=losses.ByFeature(LOSS_GROUPS), bottleneck="ordered", **SMALL),
]


@pytest.mark.parametrize("model", MODELS, ids=range(len(MODELS)))
class TestModels:
    def test_results_are_those_of_other_forms_of_the_samples(self, model):
        model = clone(model).fit(X)
        scores, Z = model.score_samples(X), model.transform(X)
        assert np.isfinite(scores).all()
        back = model.inverse_transform(Z)
        for group in GROUPS["categorical"]:
            np.testing.assert_allclose(back[:, group].sum(axis=1), 1.0, rtol=1e-6)
        assert (back[:, 4] > 0).all()
        assert (model.reconstruction_error(X) >= 0).all()
        as_sparse = clone(model).fit(sparse.csr_array(X))
        np.testing.assert_allclose(as_sparse.transform(sparse.csr_array(X)), Z, atol=1e-2)
        copy = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(copy.score_samples(X), scores)
        assert repr(copy) == repr(model)

    def test_float32(self, model):
        single = X.astype(np.float32)
        Z = clone(model).fit(single).transform(single)
        assert Z.dtype == np.float32
        assert np.isfinite(Z).all()

    def test_out_of_core_data(self, model):
        chunks = [X[:150], X[150:]]
        model = clone(model).fit(lambda: iter(chunks))
        assert np.isfinite(model.score_samples(X)).all()


def test_a_source_is_fitted_like_an_array(monkeypatch):
    from sklearn_ae._estimators import validation

    monkeypatch.setattr(validation, "LARGE", 100)
    vae = MODELS[0]
    streamed = clone(vae).fit(lambda: iter([X[:150], X[150:]]))
    np.testing.assert_allclose(streamed.scale_, clone(vae).fit(X).scale_, rtol=1e-9)
    assert abs(streamed.score(X) - clone(vae).fit(X).score(X)) < 1


@pytest.mark.parametrize("model", [MODELS[0], MODELS[5]])
def test_clean_samples_are_reconstructed_from_noisy_ones(model):
    noisy = X + np.random.RandomState(0).normal(size=X.shape) * X.std(axis=0)
    model = clone(model).fit(noisy, X_clean=X)
    np.testing.assert_allclose(model.scale_[0], X[:, 0].std())
    back = model.inverse_transform(model.transform(noisy))
    np.testing.assert_allclose(back[:, 1:4].sum(axis=1), 1.0)
    with pytest.raises(ValueError, match="'categorical'"):
        model.fit(X, X_clean=noisy)


def test_partial_fit_and_warm_start():
    for model in (MODELS[0], MODELS[5]):
        model = clone(model).partial_fit(X[:200])
        scale = model.scale_
        model.partial_fit(X[200:])
        np.testing.assert_array_equal(model.scale_, scale)
        np.testing.assert_allclose(model.mean_, X.mean(axis=0), rtol=1e-6, atol=1e-9)
        assert np.isfinite(model.score_samples(X)).all()
        warm = clone(model).set_params(warm_start=True).fit(X)
        warm.fit(X[:300])
        assert np.isfinite(warm.score_samples(X)).all()
        slot = "likelihood" if isinstance(model, VAETransformer) else "loss"
        other = {**LOSS_GROUPS, "gaussian": [0], "bernoulli": 5, "poisson": [4, 6]}
        other["gaussian"] = [0, 7, 5]
        del other["bernoulli"]
        for method in ("fit", "partial_fit"):
            with pytest.raises(ValueError, match=r"groups|loss|likelihood"):
                getattr(warm.set_params(**{f"{slot}__groups": other}), method)(X)


@pytest.mark.parametrize(("before", "after"), [("poisson", True), (True, "poisson")])
def test_warm_start_with_another_loss_is_refused(before, after):
    groups = {"poisson": [0], "bernoulli": [1]}
    values = [losses.ByFeature(groups) if value is True else value for value in (before, after)]
    model = AutoencoderTransformer(1, loss=values[0], warm_start=True, **SMALL).fit(X[:, 4:6])
    with pytest.raises(ValueError, match="changed"):
        model.set_params(loss=values[1]).fit(X[:, 4:6])


def test_skops(tmp_path):
    skops = pytest.importorskip("skops.io")
    for model in (MODELS[0], MODELS[5]):
        model = clone(model).fit(X)
        data = skops.dumps(model)
        names = skops.get_untrusted_types(data=data)
        copy = skops.loads(data, trusted=names)
        np.testing.assert_array_equal(copy.score_samples(X), model.score_samples(X))


def test_other_estimators():
    loss = losses.ByFeature(LOSS_GROUPS)
    cv = AutoencoderTransformerCV(2, loss=loss, cv=2, **SMALL).fit(X)
    assert np.isfinite(cv.score(X))
    for model in (MODELS[0], AutoencoderTransformer(1, loss=loss, **SMALL)):
        for score in ("log_likelihood", "auto"):
            detector = AEOutlierDetector(
                clone(model), outlier_score=score, n_estimators=2, robust=False, random_state=0
            )
            assert np.isfinite(detector.fit(X).score_samples(X)).all()


def test_an_unusual_category_is_an_outlier():
    """A category that contradicts the number beside it is found, though both are common."""
    detector = AEOutlierDetector(
        VAETransformer(1, likelihood=ByFeature(GROUPS), max_iter=30),
        outlier_score="log_likelihood",
        n_estimators=2,
        robust=False,
        random_state=0,
    ).fit(X)
    odd = X[X[:, 3] == 1][:20].copy()
    usual = detector.score_samples(odd)
    odd[:, [1, 3]] = odd[:, [3, 1]]
    assert (detector.score_samples(odd) < usual).mean() > 0.8


def test_grid_search_over_kinds():
    A = X[:, [0, 4, 6]]
    grid = {
        "likelihood__groups": [{"gaussian": 0, kind: [1, 2]} for kind in ("poisson", "negative_binomial")]
    }
    search = GridSearchCV(
        VAETransformer(1, likelihood=ByFeature(grid["likelihood__groups"][0]), **SMALL), grid
    )
    assert "negative_binomial" in search.fit(A).best_params_["likelihood__groups"]


# -- groups ---------------------------------------------------------------------------------


def frame():
    return pd.DataFrame(X, columns=NAMES)


BY_NAME = {
    "gaussian": ["age", "size"],
    "categorical": ["colour", "sex_", ["city_p", "city_q", "city_r"]],
    "poisson": "visits",
    "negative_binomial": "items",
    "bernoulli": "smokes",
}


def test_names_and_prefixes():
    by_name = ByFeature(BY_NAME).for_samples(ArraySamples(X), NAMES)
    by_index = fitted_option(ByFeature(GROUPS))
    eta, log_noise = tensors()
    x = torch.from_numpy(in_loss_units(X[:5]))
    log_ps = [option.log_prob(eta, x, log_noise) for option in (by_name, by_index)]
    np.testing.assert_allclose(*log_ps)
    assert np.isfinite(VAETransformer(1, likelihood=ByFeature(BY_NAME), **SMALL).fit(frame()).score(frame()))


def changed(**groups):
    return {kind: value for kind, value in (BY_NAME | groups).items() if value is not None}


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (changed(gaussian="age"), "no group for 1 feature of X: 'size'.*'gaussian'"),
        (changed(poisson=["visits", "age"]), "feature 'age' in more than one group"),
        (changed(poisson="visit"), "'visit' is neither.*mean 'visits'"),
        (changed(categorical=["color", "sex", "city"]), "mean 'colour'"),
        (changed(poisson=[99]), "99 .*13 features"),
        (
            changed(categorical=["colour", ["sex_f"], ["sex_m"], "city"]),
            "'sex_f' has no other.*OneHotEncoder",
        ),
        (changed(categorical=[["colour", "sex"], "city"]), "2 features of its group.*sample 0"),
        (changed(poisson=["visits", "size"], gaussian="age"), "'size' .*'poisson' .*(negative|fractional)"),
        (changed(bernoulli=["smokes", "visits"], poisson=None), "'visits' .*'bernoulli' .*ranges"),
        (
            changed(
                categorical=["colour", "sex", "city", ["visits", "items"]],
                poisson=None,
                negative_binomial=None,
            ),
            "'visits' .*'categorical' .*OneHotEncoder",
        ),
        (changed(poisson=None, poison="visits"), "'poison' is no kind.*mean 'poisson'"),
        (changed(poisson=3.5), "3.5 is no group"),
        ([0, 1], "must map kinds"),
    ],
)
def test_errors_name_the_feature_and_the_remedy(groups, message):
    with pytest.raises(ValueError, match=message):
        VAETransformer(1, likelihood=ByFeature(groups), **SMALL).fit(frame())


def test_names_need_named_features():
    with pytest.raises(ValueError, match=r"'age', but X has no feature names.*set_output"):
        VAETransformer(1, likelihood=ByFeature(BY_NAME)).fit(X)


def test_rows_of_zeros_are_refused_in_training_only():
    A = X.copy()
    A[7, 1:4] = 0
    with pytest.raises(ValueError, match=r"feature 1 is zero in a training sample.*drop=None"):
        VAETransformer(1, likelihood=ByFeature(GROUPS)).fit(A)
    vae = VAETransformer(1, likelihood=ByFeature(GROUPS), **SMALL).fit(X)
    assert (vae.score_samples(A[7:8]) > vae.score_samples(X[7:8])).all()  # nothing is said of the colour
    A[7, 1:3] = 1
    for method in (vae.score_samples, vae.elbo):
        with pytest.raises(ValueError, match="2 features of its group"):
            method(A)
    with pytest.raises(ValueError, match="X_val"):
        vae.fit(X, X_val=A)


def test_refused_combinations():
    with pytest.raises(ValueError, match="network='dense'"):
        VAETransformer(1, likelihood=ByFeature(GROUPS), network=Conv(image_shape=(1, 1, 13))).fit(X)
    with pytest.raises(ValueError, match="dispersion is learned by VAETransformer"):
        AutoencoderTransformer(1, loss=losses.ByFeature(GROUPS)).fit(X)
    with pytest.raises(ValueError, match=r"losses.ByFeature"):
        AutoencoderTransformer(1, loss=ByFeature(GROUPS)).fit(X)
    with pytest.raises(ValueError, match=r"likelihoods.ByFeature"):
        VAETransformer(1, likelihood=losses.ByFeature(LOSS_GROUPS)).fit(X)
    with pytest.raises(ValueError, match=r"counts in feature 0.*fractional"):
        VAETransformer(1, likelihood="negative_binomial").fit(X[:, [0, 4]] + 0.5)


def test_codes_are_exported_to_onnx_and_reconstructions_are_refused():
    pytest.importorskip("skl2onnx")
    from onnxruntime import InferenceSession

    from sklearn_ae.onnx import to_onnx

    for model in (MODELS[0], MODELS[5]):
        model = clone(model).fit(X)
        session = InferenceSession(to_onnx(model, X[:1]).SerializeToString())
        (codes,) = session.run(None, {session.get_inputs()[0].name: X})
        np.testing.assert_allclose(codes, model.transform(X), atol=1e-5)
        with pytest.raises(NotImplementedError, match="ByFeature"):
            to_onnx(model, X[:1, : model.n_components_], "inverse_transform")


# -- transformers ---------------------------------------------------------------------------


def raw(n=300, seed=0):
    rng = np.random.RandomState(seed)
    z = rng.normal(size=n)
    return pd.DataFrame(
        {
            "age": 40 + 10 * z,
            "colour": np.array(["red", "green", "blue"])[
                np.digitize(z + 0.3 * rng.normal(size=n), [-0.5, 0.5])
            ],
            "sex": rng.choice(["f", "m"], n),
            "visits": rng.poisson(np.exp(z)),
        }
    )


def preprocessing(**encoder):
    return ColumnTransformer(
        [
            ("num", StandardScaler(), ["age"]),
            ("cat", make_pipeline(OneHotEncoder(sparse_output=False, **encoder)), ["colour", "sex"]),
            ("rest", "passthrough", ["visits"]),
        ]
    )


@pytest.mark.parametrize("declared", ["visits", "rest__visits", -1])
def test_from_a_column_transformer(declared):
    ct = preprocessing().fit(raw())
    option = ByFeature.from_transformer(ct, poisson=declared)
    assert option.groups == {"gaussian": [0], "categorical": [[1, 2, 3], [4, 5]], "poisson": [6]}
    assert ByFeature.from_transformer(ct).groups["gaussian"] == [0, 6]


def test_from_encoders():
    encoder = OneHotEncoder(drop="if_binary").fit(raw()[["colour", "sex"]])
    assert ByFeature.from_transformer(encoder).groups == {"categorical": [[0, 1, 2]], "bernoulli": [3]}
    rare = OneHotEncoder(max_categories=2).fit(raw()[["colour", "sex"]])
    assert losses.ByFeature.from_transformer(rare).groups == {"categorical": [[0, 1], [2, 3]]}
    with pytest.raises(ValueError, match="drop=None"):
        ByFeature.from_transformer(preprocessing(drop="first").fit(raw()))
    with pytest.raises(ValueError, match="OneHotEncoder"):
        ByFeature.from_transformer(OrdinalEncoder().fit(raw()[["colour"]]))
    with pytest.raises(ValueError, match="mean 'rest__visits'"):
        ByFeature.from_transformer(preprocessing().fit(raw()), poisson="rest__visit")


def test_samples_are_categories_and_counts():
    table = raw()
    ct = preprocessing(handle_unknown="ignore").fit(table)
    vae = VAETransformer(1, likelihood=ByFeature.from_transformer(ct, poisson="visits"), **SMALL)
    pipeline = make_pipeline(ct, vae).fit(table)
    drawn = pipeline[-1].sample(50, random_state=0)
    encoder = ct.named_transformers_["cat"]
    categories = encoder.inverse_transform(drawn[:, ct.output_indices_["cat"]])
    assert set(categories[:, 0]) <= {"red", "green", "blue"}
    assert set(categories[:, 1]) <= {"f", "m"}
    assert (drawn[:, 6] == drawn[:, 6].astype(int)).all()
    unknown = table[:1].assign(colour="violet")
    assert np.isfinite(pipeline.score(unknown))


# -- missing values -------------------------------------------------------------------------

VARIABLES = [[0], [1, 2, 3], [4], [5], [6], [7], [8, 9], [10, 12, 11]]
INCOMPLETE = [
    VAETransformer(1, likelihood=ByFeature(GROUPS), missing="mask", **SMALL),
    VAETransformer(0, likelihood=ByFeature(GROUPS), missing="mask", **SMALL),
    AutoencoderTransformer(2, loss=losses.ByFeature(LOSS_GROUPS), missing="mask", **SMALL),
    AutoencoderTransformer(
        2, loss=losses.ByFeature(LOSS_GROUPS), missing="mask", **(SMALL | {"init": "random"})
    ),
]


def with_gaps(X, share=0.3, seed=0):
    """Return samples of which a share of the variables is missing."""
    rng = np.random.RandomState(seed)
    X = X.copy()
    for features in VARIABLES:
        X[np.ix_(rng.uniform(size=len(X)) < share, features)] = np.nan
    return X


GAPS = with_gaps(X)


def log_joint(vae, x, z):
    """Return log p(x, z) of the observed features of one sample x for codes z (m, 1)."""
    mean = vae.inverse_transform(z)
    total = stats.norm.logpdf(z[:, 0])
    for j in (0, 7):
        if not np.isnan(x[j]):
            total += stats.norm.logpdf(x[j], mean[:, j], np.sqrt(vae.noise_variance_[j]))
    if not np.isnan(x[4]):
        total += stats.poisson.logpmf(x[4], mean[:, 4])
    if not np.isnan(x[6]):
        r = 1 / vae.dispersion_[6]
        total += stats.nbinom.logpmf(x[6], r, r / (r + mean[:, 6]))
    if not np.isnan(x[5]):
        total += np.log(mean[:, 5] if x[5] else 1 - mean[:, 5])
    for group in GROUPS["categorical"]:
        if not np.isnan(x[group[0]]):
            total += np.log(mean[:, group] @ x[group])
    return total


def test_densities_and_draws_of_incomplete_samples_are_those_of_quadrature():
    vae = clone(INCOMPLETE[0]).set_params(max_iter=30).fit(GAPS)
    z = np.linspace(-8, 8, 1601)[:, None]
    test = with_gaps(table(12, seed=1), share=0.4, seed=1)
    joint = np.array([log_joint(vae, x, z) for x in test])
    highest = joint.max(axis=1, keepdims=True)
    weights = np.exp(joint - highest)
    expected = highest[:, 0] + np.log(weights.sum(axis=1) * 0.01)
    np.testing.assert_allclose(vae.score_samples(test), expected, atol=0.1)

    draws = vae.impute(test, n_draws=2000, random_state=0)
    mean = weights / weights.sum(axis=1, keepdims=True) @ vae.inverse_transform(z)
    for features in ([1, 2, 3], [8, 9], [10, 11, 12], [5]):
        rows = np.isnan(test[:, features[0]])
        drawn = draws[:, rows][..., features].mean(axis=0)
        error = np.abs(drawn - mean[rows][:, features])
        assert error.mean() < 0.02
        assert error.max() < 0.07
    rows = np.isnan(test[:, 0])
    assert np.corrcoef(draws[:, rows, 0].mean(axis=0), mean[rows, 0])[0, 1] > 0.95


def test_the_density_of_incomplete_numbers_is_that_of_their_normal_distribution():
    rng = np.random.RandomState(0)
    A = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 5)) + 0.5 * rng.normal(size=(300, 5))
    A = A * [1, 10, 0.1, 3, 1] + 5
    A[rng.uniform(size=A.shape) < 0.2] = np.nan
    params = {"hidden_layer_sizes": (), "missing": "mask", "max_iter": 5, "random_state": 0}
    vae = VAETransformer(2, likelihood=ByFeature({"gaussian": slice(None)}), **params).fit(A)
    origin, *points = vae.inverse_transform(np.vstack([np.zeros(2), np.eye(2)]))
    W = np.array(points) - origin
    covariance = W.T @ W + np.diag(vae.noise_variance_)
    expected = []
    for x in A:
        j = np.flatnonzero(~np.isnan(x))
        normal = stats.multivariate_normal(origin[j], covariance[np.ix_(j, j)]) if len(j) else None
        expected.append(normal.logpdf(x[j]) if len(j) else 0.0)
    np.testing.assert_allclose(vae.score_samples(A), expected, atol=1e-5)


@pytest.mark.parametrize("model", INCOMPLETE, ids=range(len(INCOMPLETE)))
class TestIncompleteSamples:
    def test_filled_categories_are_probabilities_and_drawn_ones_are_one_hot(self, model):
        model = clone(model).fit(GAPS)
        missing = np.isnan(GAPS)
        filled, drawn = model.impute(GAPS), model.impute(GAPS, n_draws=2, random_state=0)
        for whole in (filled, *drawn):
            np.testing.assert_array_equal(whole[~missing], GAPS[~missing])
            for group in GROUPS["categorical"]:
                np.testing.assert_allclose(whole[:, group].sum(axis=1), 1.0, rtol=1e-6)
        discrete = [j for j in range(13) if j not in GROUPS["gaussian"]]
        assert ((drawn[..., discrete] >= 0) & (drawn[..., discrete] % 1 == 0)).all()
        one_hot = [j for group in GROUPS["categorical"] for j in group]
        assert (drawn[..., [*one_hot, 5]] <= 1).all()
        assert not np.array_equal(*drawn)
        np.testing.assert_array_equal(model.impute(GAPS, n_draws=2, random_state=0), drawn)

    def test_missing_features_add_nothing(self, model):
        model = clone(model).fit(GAPS)
        nothing = np.full((1, 13), np.nan)
        np.testing.assert_allclose(model.score_samples(nothing), 0.0, atol=1e-6)
        np.testing.assert_allclose(model.reconstruction_error(nothing), 0.0)
        for features in ([1, 2, 3], [8, 9]):  # the probability of a category is at most one
            some = with_gaps(table(50, seed=2), seed=2)
            some = some[~np.isnan(some[:, features[0]])]
            rest = some.copy()
            rest[:, features] = np.nan
            scores, errors = zip(
                *(model.score_samples(x, return_std=True) for x in (some, rest)), strict=True
            )
            assert (scores[0] < scores[1] + 1e-6 + 3 * np.hypot(*errors)).all()

    def test_features_of_a_category_are_hidden_together(self, model):
        module = clone(model).fit(GAPS).module_
        x = torch.zeros((2000, 13), dtype=module.offset.dtype)
        hidden = module._thinned(x, torch.Generator().manual_seed(0)).isnan().numpy()
        for features in VARIABLES:
            assert 0.2 < hidden[:, features[0]].mean() < 0.3
            assert (hidden[:, features] == hidden[:, features[:1]]).all()
        assert len(np.unique(hidden[:, [features[0] for features in VARIABLES]], axis=0)) > 50

    def test_partly_missing_categories_are_refused(self, model):
        model = clone(model).fit(GAPS)
        for values in ([1, np.nan, np.nan], [0, 0, np.nan], [1, 1, np.nan]):
            A = GAPS.copy()
            A[5, 1:4] = values
            for method in (model.fit, model.score_samples, model.impute):
                with pytest.raises(ValueError, match=r"3 features of its group are NaN in sample 5: .* all"):
                    method(A)

    def test_copies(self, model):
        model = clone(model).fit(GAPS)
        copy = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(copy.impute(GAPS), model.impute(GAPS))
        np.testing.assert_array_equal(copy.score_samples(GAPS), model.score_samples(GAPS))


def test_imputation_uses_the_other_features():
    """A missing category follows from a number, and a missing number from a category."""
    complete = table(400, seed=3)
    for model in (INCOMPLETE[0], INCOMPLETE[2]):
        model = clone(model).set_params(max_iter=30).fit(GAPS)
        A = complete.copy()
        A[:, 1:4] = np.nan
        hits = model.impute(A)[:, 1:4].argmax(axis=1) == complete[:, 1:4].argmax(axis=1)
        assert hits.mean() > 0.6
        A = complete.copy()
        A[:, 0] = np.nan
        assert np.corrcoef(model.impute(A)[:, 0], complete[:, 0])[0, 1] > 0.7
