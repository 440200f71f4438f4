"""Wide data are trained in the row space of X, and the result is an autoencoder of all features."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse

from sklearn_ae import AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer
from sklearn_ae._data.in_memory import ArraySamples
from sklearn_ae._data.sources import ArraySource, DataSummary
from sklearn_ae._fitting.pipeline import training_space
from sklearn_ae._fitting.row_space import LeadingDirections, RowSpace
from sklearn_ae._model.initialization import initialize
from sklearn_ae._model.objectives import make_objective
from sklearn_ae._utils.arrays import BLOCK_VALUES
from sklearn_ae.corruptions import CORRUPTIONS
from sklearn_ae.losses import LOSSES, SquaredError
from sklearn_ae.networks import NETWORKS
from sklearn_ae.penalties import PENALTIES, Contractive, Penalty

N, D, K = 30, 90, 3


class NotRotationInvariant(SquaredError):
    """Squared error that is trained in all features."""

    rotation_invariant = False


class FirstFeature(Penalty):
    """User-defined penalty, which may depend on the basis of the features."""

    def __call__(self, x, a, z, generator):
        return x[:, 0].square()


def samples_on_surface(n, d, seed=0):
    """Return samples near a curved surface that does not depend on the seed."""
    t = np.random.RandomState(seed).uniform(-1, 1, (n, 2))
    waves = np.column_stack([t, *(np.sin(3 * t + shift) for shift in range(3))])
    noise = np.random.RandomState(seed + 1).normal(size=(n, d))
    return waves @ np.random.RandomState(99).normal(size=(8, d)) + 0.1 * noise


def start(**params):
    """Return the row space, a module of random weights, its projection to the space, and the objective."""
    X = samples_on_surface(N, D)
    ae = AutoencoderTransformer(K, hidden_layer_sizes=(6,), **params)
    at_pca = initialize(replace(ae._model_spec(), n_components=K), ArraySamples(X), seed=0)
    module = at_pca.module
    generator = torch.Generator().manual_seed(1)
    for p in module.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    space = RowSpace(X, X.mean(axis=0), 0)
    projected = space.leave(space.enter(module), module)
    return space, module, projected, make_objective(at_pca, N, has_warmup=True)


def working(module, X):
    return (torch.from_numpy(X) - module.offset) / module.scale


def inside(space, module, X):
    return torch.from_numpy(space.coordinates(X) / module.scale)


STARTS = {
    "default": {},
    "tied": {"tied_weights": True},
    "random start": {"init": "random"},
    "ordered": {"bottleneck": "ordered"},
    "contractive": {"penalty": Contractive() + PENALTIES["l1"]()},
}


@pytest.mark.parametrize("params", STARTS.values(), ids=STARTS)
def test_codes_and_objective_equal_those_in_all_features(params):
    """The part of unseen samples orthogonal to the space enters the objective, but not the encoder."""
    space, module, projected, objective = start(**params)
    rotated = space.enter(module)
    for X in (samples_on_surface(N, D), samples_on_surface(7, D, seed=5)):
        coordinates, all_features = inside(space, module, X), working(projected, X)
        torch.testing.assert_close(
            rotated.encode(coordinates[:, :-1]), projected.encode(all_features), rtol=0, atol=1e-10
        )
        generators = [torch.Generator().manual_seed(1) for _ in range(2)]
        found = space.objective(objective).per_sample(rotated.eval()(coordinates, generators[0]))
        expected = objective.per_sample(projected.eval()(all_features, generators[1]))
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    # Training samples lie in the space, so that the projection does not change their codes.
    x = working(module, samples_on_surface(N, D))
    torch.testing.assert_close(projected.encode(x), module.encode(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("params", STARTS.values(), ids=STARTS)
def test_gradient_descent_does_not_leave_the_space(params):
    """Plain gradient descent is invariant to rotations, and ends at the same autoencoder."""
    space, module, projected, objective = start(**params)
    X = samples_on_surface(N, D)
    rotated = space.enter(module)
    cases = (
        (rotated, space.objective(objective), inside(space, module, X)),
        (projected, objective, working(projected, X)),
    )
    for net, criterion, x in cases:
        generator = torch.Generator().manual_seed(1)
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
        for _ in range(20):
            optimizer.zero_grad()
            criterion(net.train()(x, generator)).backward()
            optimizer.step()
    assert not torch.equal(next(projected.parameters()), next(module.parameters()))
    folded = space.leave(rotated, module)
    for found, expected in zip(folded.parameters(), projected.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("params", [{}, {"tied_weights": True}], ids=str)
def test_steps_of_adam_have_the_same_length(params):
    """The first step changes every entry by the learning rate."""
    space, module, projected, objective = start(**params)
    X = samples_on_surface(N, D)
    rotated = space.enter(module)
    lengths = []
    for net, criterion, x in (
        (rotated, space.objective(objective), inside(space, module, X)),
        (projected, objective, working(projected, X)),
    ):
        net.train()
        before = copy.deepcopy(net)
        groups = [{**group, "lr": 1e-3 * group["lr_multiplier"]} for group in net.param_groups(alpha=0.0)]
        optimizer = torch.optim.AdamW(groups, eps=0.0)
        criterion(net(x)).backward()
        optimizer.step()
        moved = [p - q for p, q in zip(net.parameters(), before.parameters(), strict=True)]
        lengths.append(torch.stack([m.norm() for m in moved]))
    torch.testing.assert_close(*lengths, rtol=1e-6, atol=0)


def test_directions_without_variance_are_left_out():
    X = np.repeat(samples_on_surface(N // 2, D), 2, axis=0)
    space = RowSpace(X, X.mean(axis=0), 0)
    assert space.basis.shape == (N // 2 - 1, D)
    np.testing.assert_allclose(space.basis @ space.basis.T, np.eye(N // 2 - 1), atol=1e-12)
    np.testing.assert_allclose(space.coordinates(X)[:, -1], 0, atol=1e-10)


# -- conditions ----------------------------------------------------------------------------


def uses_row_space(X=None, estimator=AutoencoderTransformer, **params):
    """Return True if a fit would be trained in the row space."""
    samples = ArraySamples(np.random.RandomState(0).normal(size=(N, D)) if X is None else X)
    spec = replace(estimator(K, **params)._model_spec(), n_components=K)
    return samples.is_wide and spec.is_rotation_invariant


def test_options_that_can_use_the_row_space():
    def used(name, registry):
        return {value for value in registry if uses_row_space(**{name: value})}

    assert used("loss", LOSSES) == {"squared_error"}
    assert used("corruption", CORRUPTIONS) == {"gaussian"}
    assert used("penalty", PENALTIES) == set(PENALTIES)
    assert used("network", NETWORKS) == {"dense"}
    assert uses_row_space(penalty=Contractive() + Contractive())
    assert not uses_row_space(penalty=Contractive() + FirstFeature())
    assert not uses_row_space(penalty=lambda z: z.sum(1))
    assert not uses_row_space(corruption=torch.abs)
    assert not uses_row_space(network=(torch.nn.Linear(D, K), torch.nn.Linear(K, D)))
    assert not uses_row_space(estimator=VAETransformer)


def test_only_wide_arrays_in_memory_use_the_row_space():
    assert not uses_row_space(np.zeros((N, 2 * N)))
    assert uses_row_space(np.zeros((N, 2 * N + 1)))
    assert not uses_row_space(np.zeros((2_001, 4_100), dtype=np.float32))
    X = np.arange(40.0).reshape(2, 20)
    assert not ArraySource(X, DataSummary.of([X])).is_wide


def test_the_space_is_that_of_the_training_samples():
    X = samples_on_surface(N, D)
    samples = ArraySamples(X)
    at_pca = initialize(replace(AutoencoderTransformer(K)._model_spec(), n_components=K), samples, seed=0)
    train, _ = samples.hold_out(6, np.random.RandomState(0))
    space = training_space(train, samples, at_pca, seed=0)
    assert isinstance(space, RowSpace)
    np.testing.assert_allclose(space.coordinates(train.array)[:, -1], 0, atol=1e-9)


# -- fitted models -----------------------------------------------------------------------


def model(**params):
    settings = {"hidden_layer_sizes": (32, 16), "max_iter": 60, "random_state": 0}
    return AutoencoderTransformer(2, **{**settings, **params})


def pca_error(fitted, X):
    """Return the mean squared error of a model's initial PCA."""
    return np.square(X - fitted.pca_.inverse_transform(fitted.pca_.transform(X))).sum(axis=1).mean()


@pytest.fixture(scope="module")
def wide():
    """Training, validation and test samples with 400 features."""
    return [samples_on_surface(n, 400, seed) for n, seed in ((120, 0), (40, 10), (200, 20))]


@pytest.fixture(scope="module")
def fitted(wide):
    X, X_val, _ = wide
    return model().fit(X, X_val=X_val)


def test_validation_loss_includes_the_part_orthogonal_to_the_space(wide, fitted):
    """The validation curve is the error of the fitted model in all features."""
    _, X_val, _ = wide
    assert fitted.uses_network_
    error = fitted.reconstruction_error(X_val).mean() / (400 * fitted.scale_**2)
    assert fitted.validation_loss_curve_[fitted.best_iter_ - 1] == pytest.approx(error, rel=1e-5)
    assert fitted.pca_loss_ == pytest.approx(pca_error(fitted, X_val) / (400 * fitted.scale_**2), rel=1e-5)


def test_codes_ignore_the_part_orthogonal_to_the_space(wide, fitted):
    X, _, X_test = wide
    V = np.linalg.svd(X - fitted.mean_, full_matrices=False)[2][:-1]
    centred = X_test - fitted.mean_
    orthogonal = centred - centred @ V.T @ V
    assert np.linalg.norm(orthogonal, axis=1).min() > 1
    np.testing.assert_allclose(fitted.transform(X_test - orthogonal), fitted.transform(X_test), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("params", [{}, {"bottleneck": "ordered"}, {"tied_weights": True}], ids=str)
def test_result_is_as_good_as_in_all_features(wide, params):
    """Also after the refit on all samples."""
    X, _, X_test = wide
    settings = {"validation_fraction": 0.2, "max_iter": 150, **params}
    found, other = (model(loss=loss, **settings).fit(X) for loss in ("squared_error", NotRotationInvariant()))
    assert found.uses_network_
    assert other.uses_network_
    errors = [m.reconstruction_error(X_test).mean() for m in (found, other)]
    assert errors[0] < pca_error(found, X_test)
    assert errors[0] < 1.05 * errors[1]
    assert found.noise_variance_ == pytest.approx(other.noise_variance_, rel=0.2)


def test_fallback_is_the_same_pca():
    X = np.random.RandomState(0).normal(size=(100, 300))
    found, other = (model(loss=loss, max_iter=5).fit(X) for loss in ("squared_error", NotRotationInvariant()))
    assert not found.uses_network_
    np.testing.assert_array_equal(found.transform(X), other.transform(X))
    np.testing.assert_array_equal(found.score_samples(X), other.score_samples(X))


@pytest.mark.filterwarnings("ignore:The loss was still decreasing steeply")
def test_warm_start_continues_in_the_space(wide, fitted, monkeypatch):
    entered = []
    enter = RowSpace.enter
    monkeypatch.setattr(RowSpace, "enter", lambda self, m: entered.append(self) or enter(self, m))
    X, X_val, X_test = wide
    again = copy.deepcopy(fitted).set_params(warm_start=True, max_iter=5)
    again.fit(X, X_val=X_val)
    assert entered
    # Before its first step the warm start is the fitted model.
    start = entered[-1].leave(entered[-1].enter(fitted.net_.module_), fitted.net_.module_)
    x = torch.from_numpy((X_val - fitted.mean_) / fitted.scale_).float()
    expected = fitted.net_.module_.encode(x).detach()
    torch.testing.assert_close(start.encode(x).detach(), expected, rtol=0, atol=1e-3)
    entered.clear()
    again.fit(X_test[:100], X_val=X_val)  # other samples, whose space does not contain the weights
    assert not entered


def test_repeated_fit_pickle_and_partial_fit(wide, fitted):
    X, _, X_test = wide
    np.testing.assert_array_equal(model().fit(*wide[:1], X_val=wide[1]).transform(X), fitted.transform(X))
    restored = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(restored.transform(X_test), fitted.transform(X_test))
    assert np.isfinite(restored.score_samples(X_test)).all()
    before = restored.reconstruction_error(X).mean()
    for _ in range(3):
        restored.partial_fit(X)
    assert restored.net_.module_.offset.shape == (400,)
    assert restored.reconstruction_error(X).mean() < 1.1 * before


def test_size_selection_on_wide_data(wide):
    X, _, X_test = wide
    search = AutoencoderTransformerCV([1, 2], cv=2, hidden_layer_sizes=32, max_iter=40, random_state=0)
    search.fit(X)
    assert search.n_components_ == 2
    assert np.isfinite(search.score(X_test))


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array], ids=lambda form: form.__name__)
@pytest.mark.parametrize("estimator", [AutoencoderTransformer, VAETransformer])
@pytest.mark.parametrize("n_distinct", [0, 1, 3])
def test_mostly_equal_samples_are_fitted(n_distinct, estimator, form):
    """Empty documents, for example; equal samples have a row space without dimensions."""
    X = np.zeros((170, 600))
    X[:n_distinct] = np.random.RandomState(0).normal(size=(n_distinct, 600))
    model = estimator(2, hidden_layer_sizes=(8,), max_iter=2, random_state=0).fit(form(X))
    assert np.isfinite(model.score_samples(form(X))).all()
    np.testing.assert_allclose(model.inverse_transform(model.transform(form(X[-9:]))), 0, atol=0.2)


# -- sparse samples ------------------------------------------------------------------------


def topics(n, d=700, seed=0):
    """Return sparse counts of words; one number determines how frequent each word is."""
    t = np.random.RandomState(seed).uniform(0, 1, (n, 1))
    centres, heights = np.random.RandomState(99).uniform(0, 1, d), np.random.RandomState(98).uniform(0, 3, d)
    rates = heights * np.exp(-0.5 * ((t - centres) / 0.1) ** 2)
    return sparse.csr_array(np.random.RandomState(seed + 1).poisson(rates).astype(float))


def low_rank(n, d, rank):
    """Return sparse samples that span a space of few dimensions."""
    rng = np.random.RandomState(0)
    left, right = (sparse.random(*shape, density=0.2, random_state=rng) for shape in ((n, rank), (rank, d)))
    return sparse.csr_array(left @ right)


def sparse_space(X, k=2):
    """Return the space in which sparse samples are trained, and their initial PCA."""
    spec = replace(AutoencoderTransformer(k)._model_spec(), n_components=k)
    samples = ArraySamples(X)
    at_pca = initialize(spec, samples, seed=0)
    return training_space(samples, samples, at_pca, seed=0), at_pca.pca


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csc_matrix])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_coordinates_of_sparse_samples_are_those_of_dense_ones(form, dtype):
    X = form(topics(80).astype(dtype))
    space, pca = sparse_space(X)
    assert isinstance(space, LeadingDirections)
    assert space.basis.dtype == dtype
    V, centred = space.basis.astype(float), X.toarray() - pca.mean_
    np.testing.assert_allclose(V @ V.T, np.eye(len(V)), atol=1e-5 if dtype == np.float32 else 1e-12)
    found = space.coordinates(X)
    np.testing.assert_allclose(found[:, :-1], centred @ V.T, atol=1e-3 if dtype == np.float32 else 1e-9)
    outside = np.linalg.norm(centred - centred @ V.T @ V, axis=1)
    np.testing.assert_allclose(found[:, -1], outside, atol=0.2 if dtype == np.float32 else 1e-5)


def test_space_of_sparse_samples_holds_pca_and_the_leading_directions_of_its_residuals(monkeypatch):
    monkeypatch.setattr("sklearn_ae._fitting.row_space.N_DIRECTIONS", 6)
    X = topics(200)
    space, pca = sparse_space(X)
    exact = np.linalg.svd(X.toarray() - pca.mean_, full_matrices=False)[2]
    assert len(space.basis) == 8
    np.testing.assert_allclose(pca.components_ @ space.basis.T @ space.basis, pca.components_, atol=1e-9)
    # The first directions are well separated from the others, so that the subspace iteration has converged.
    assert np.linalg.norm(exact[:5] @ space.basis.T, axis=1).min() > 0.999


@pytest.mark.parametrize(("k", "n_dimensions"), [(2, 5), (5, 5)])
def test_directions_that_explain_the_residuals_suffice(k, n_dimensions):
    space, _ = sparse_space(low_rank(60, 400, 5), k)
    assert len(space.basis) <= n_dimensions


def test_sparse_samples_are_never_converted_as_a_whole(monkeypatch):
    rows = []
    toarray = sparse.csr_array.toarray
    monkeypatch.setattr(sparse.csr_array, "toarray", lambda X, *a: rows.append(X.shape[0]) or toarray(X, *a))
    X = topics(1_200, 3_000)
    fitted = AutoencoderTransformer(2, hidden_layer_sizes=(8,), max_iter=2, random_state=0)
    fitted.fit(X).transform(X)
    assert 0 < max(rows) <= BLOCK_VALUES // 3_000


@pytest.mark.slow
@pytest.mark.parametrize("n_samples", [150, 400])
def test_sparse_samples_are_reconstructed_as_well_as_in_all_features(n_samples):
    X, X_test = topics(n_samples), topics(300, seed=20)
    settings = {"max_iter": 40, "validation_fraction": 0.2}
    found, other = (model(loss=loss, **settings).fit(X) for loss in ("squared_error", NotRotationInvariant()))
    assert found.uses_network_
    errors = [m.reconstruction_error(X_test).mean() for m in (found, other)]
    assert errors[0] < pca_error(found, X_test.toarray())
    assert errors[0] < 1.01 * errors[1]


def test_warm_start_of_sparse_samples_continues_in_the_space(monkeypatch):
    X, X_val = topics(100), topics(60, seed=20)
    fitted = model(max_iter=30).fit(X, X_val=X_val)
    assert fitted.uses_network_
    entered = []
    enter = LeadingDirections.enter
    monkeypatch.setattr(LeadingDirections, "enter", lambda self, m: entered.append(m) or enter(self, m))
    error = fitted.reconstruction_error(X_val).mean()
    fitted.set_params(warm_start=True, max_iter=3).fit(X, X_val=X_val)
    assert len(entered) == 2  # the start, and the weights of the previous fit
    assert fitted.reconstruction_error(X_val).mean() < 1.1 * error
    entered.clear()
    fitted.fit(topics(100, seed=40), X_val=X_val)  # other samples, whose space does not contain the weights
    assert not entered
    fitted.partial_fit(X)
    assert np.isfinite(fitted.score_samples(X_val)).all()
