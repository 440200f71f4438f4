"""Stored models: every way to store and copy one, and the refusal of models of another format."""

import copy
import io
import pickle

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_threads import X_of, fitted, names

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer
from sklearn_ae._training.net import AutoencoderNet
from sklearn_ae._utils import storage
from sklearn_ae._utils.stored_modules import from_tree, to_tree

pytestmark = pytest.mark.filterwarnings("ignore")  # few epochs

CLASSES = [AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer, AEOutlierDetector]
NAMES = ["default", "cv", "vae", "detector"]


def through_joblib(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


def through_skops(model):
    skops = pytest.importorskip("skops.io")
    data = skops.dumps(model)
    trusted = skops.get_untrusted_types(data=data)
    assert all(kind.startswith(("sklearn_ae.", "sklearn.")) for kind in trusted)
    return skops.loads(data, trusted=trusted)


WAYS = {
    "skops": through_skops,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "joblib": through_joblib,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("way", WAYS)
def test_stored_and_copied_models_are_the_same(way, name):
    if way == "skops" and name == "callable":
        pytest.skip("holds code of the user")
    model, X = fitted(name), X_of(name)
    twin = WAYS[way](model)
    assert vars(twin).keys() == vars(model).keys()
    np.testing.assert_array_equal(twin.transform(X), model.transform(X))
    assert pickle.loads(pickle.dumps(twin)).get_params().keys() == model.get_params().keys()


def stored_by(monkeypatch, model, number):
    """Return the model as stored by a version with another format, or by one without a number."""
    with monkeypatch.context() as patch:
        if number is None:
            patch.setattr(storage.StoredEstimator, "__getstate__", BaseEstimator.__getstate__)
        else:
            patch.setattr(storage, "_FORMAT", number)
        return pickle.dumps(model)


@pytest.mark.parametrize("number", [None, storage._FORMAT + 1])
@pytest.mark.parametrize("name", NAMES)
def test_models_of_another_format_are_refused_with_the_remedy(name, number, monkeypatch):
    for model in (fitted(name), make_pipeline(StandardScaler(), fitted(name))):
        stored = stored_by(monkeypatch, model, number)
        with pytest.raises(ValueError, match=rf"format {number}.* reads format 2\. Fit it again, or install"):
            pickle.loads(stored)
        assert pickle.loads(pickle.dumps(model)) is not None


@pytest.mark.parametrize("number", [None, storage._FORMAT + 1])
@pytest.mark.parametrize("cls", CLASSES)
def test_unfitted_estimators_of_another_format_are_loaded(cls, number, monkeypatch):
    loaded = pickle.loads(stored_by(monkeypatch, cls(random_state=3), number))
    assert repr(loaded) == repr(cls(random_state=3))
    assert vars(clone(loaded)).keys() == vars(cls()).keys()


# -- what a file holds --------------------------------------------------------------------


def n_bytes(model):
    return len(pickle.dumps(model))


def weights(module):
    return {name: tensor for name, tensor in module.state_dict().items() if tensor.is_floating_point()}


@pytest.fixture(scope="module")
def digits():
    return load_digits().data


@pytest.mark.parametrize("cls", [AutoencoderTransformer, VAETransformer])
def test_a_file_holds_the_weights_once_in_single_precision(cls, digits):
    model = cls(8, max_iter=5, random_state=0).fit(digits)
    assert model.uses_network_
    assert n_bytes(model) < 1.15 * 4 * sum(tensor.numel() for tensor in weights(model.module_).values())


def test_a_file_of_a_model_that_fell_back_holds_no_networks():
    X = np.random.RandomState(0).normal(size=(60, 40))  # too few to show a gain
    model = AutoencoderTransformer(3, max_iter=10, random_state=0).fit(X)
    assert not model.uses_network_
    assert n_bytes(model) < n_bytes(model.pca_) + 4 * 8 * 3 * 40 + 12_000


@pytest.mark.parametrize("name", names())
def test_weights_and_nets_are_restored(name):
    model = fitted(name)
    if not hasattr(model, "net_"):
        pytest.skip("has no net of its own")
    twin = pickle.loads(pickle.dumps(model))
    for got, expected in ((twin.module_, model.module_), (twin.net_.module_, model.net_.module_)):
        got, expected = got.state_dict(), expected.state_dict()
        assert got.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(got[name], tensor, rtol=0, atol=0)
            assert got[name].dtype == tensor.dtype
    assert list(twin.net_.history) == list(model.net_.history)
    frozen = [not p.requires_grad for p in model.module_.parameters()]
    assert [not p.requires_grad for p in twin.module_.parameters()] == frozen


@pytest.mark.parametrize("params", [{}, {"tied_weights": True}, {"network": "conv"}])
@pytest.mark.parametrize("cls", [AutoencoderTransformer, VAETransformer])
def test_chunks_continue_after_loading(cls, params, digits):
    model = cls(3, random_state=0, **params).partial_fit(digits[:600]).partial_fit(digits[600:1200])
    twins = [pickle.loads(pickle.dumps(model)), through_skops(model)]
    for continued in (model, *twins):
        continued.partial_fit(digits[1200:])
    for twin in twins:
        np.testing.assert_array_equal(twin.transform(digits), model.transform(digits))


def test_training_continues_after_loading(digits):
    model = AutoencoderTransformer(3, max_iter=10, warm_start=True, random_state=0).fit(digits)
    twin = pickle.loads(pickle.dumps(model))
    for continued in (model, twin):
        continued.fit(digits)
    np.testing.assert_array_equal(twin.transform(digits), model.transform(digits))


def test_chunks_train_networks_after_a_fallback():
    """A model that fell back has no networks; they start anew."""
    rng = np.random.RandomState(0)
    model = AutoencoderTransformer(1, max_iter=30, random_state=0).fit(
        rng.normal(size=(40, 3))
    )  # too few to show a gain
    assert not model.uses_network_
    t = rng.uniform(-2, 2, 1_000)
    X = np.column_stack([t, t**2, t**3]) + 0.05 * rng.normal(size=(1_000, 3))
    for _ in range(40):
        model.partial_fit(X)
    assert model.uses_network_
    linear = AutoencoderTransformer(1, hidden_layer_sizes=(), random_state=0).fit(X)
    assert model.reconstruction_error(X).mean() < 0.8 * linear.reconstruction_error(X).mean()


def test_a_memory_mapped_file_is_copied(digits, tmp_path):
    model = AutoencoderTransformer(3, max_iter=3, random_state=0).partial_fit(digits)
    joblib.dump(model, tmp_path / "model.joblib")
    twin = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    twin.partial_fit(digits)
    assert not np.array_equal(twin.transform(digits), model.transform(digits))


def test_unfitted_estimators_are_stored_by_skops():
    for cls in CLASSES:
        assert repr(through_skops(cls(random_state=3))) == repr(cls(random_state=3))


def test_pipelines_are_stored_by_skops(digits):
    model = make_pipeline(StandardScaler(), AutoencoderTransformer(3, max_iter=3, random_state=0)).fit(digits)
    np.testing.assert_array_equal(through_skops(model).transform(digits), model.transform(digits))


def test_a_layer_of_encoder_and_decoder_stays_shared(digits):
    shared = torch.nn.PReLU()
    encoder = torch.nn.Sequential(torch.nn.Linear(64, 8), shared, torch.nn.Linear(8, 3))
    decoder = torch.nn.Sequential(torch.nn.Linear(3, 8), shared, torch.nn.Linear(8, 64))
    model = AutoencoderTransformer(3, network=(encoder, decoder), random_state=0).partial_fit(digits)
    twin = pickle.loads(pickle.dumps(model))
    assert len(list(twin.module_.parameters())) == len(list(model.module_.parameters()))
    for continued in (model, twin):
        continued.partial_fit(digits)
    np.testing.assert_array_equal(twin.transform(digits), model.transform(digits))


class Twice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(64, 3)

    def forward(self, x):
        return 2 * self.layer(x)


def with_network(encoder, decoder, X, init):
    """Return an estimator with modules of the user, fitted unless ``init`` is None."""
    params = {"network": (encoder, decoder), "max_iter": 3, "random_state": 0}
    model = AutoencoderTransformer(3, init=init or "pca", **params)
    return model if init is None else model.fit(X)


INITS = ["random", "pca", None]  # with a network, fallen back to PCA, not fitted


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("wrapped", [False, True])
def test_layers_of_torch_are_stored_by_skops(wrapped, init):
    X = np.random.RandomState(0).normal(size=(60, 64))  # too few to show a gain
    model = with_network(torch.nn.Linear(64, 3), torch.nn.Linear(3, 64), X, init)
    if wrapped:
        detector = AEOutlierDetector(model, outlier_score="reconstruction", random_state=0)
        model = detector if init is None else detector.fit(X)
    twin = through_skops(model)
    network = (twin.autoencoder if wrapped else twin).network
    assert isinstance(network, tuple)
    assert [type(part) for part in network] == [torch.nn.Linear, torch.nn.Linear]
    if init is not None:
        np.testing.assert_array_equal(twin.score_samples(X), model.score_samples(X))


@pytest.mark.parametrize("init", INITS)
def test_modules_of_users_are_stored_by_pickle_and_refused_by_skops_with_the_remedy(init, digits):
    skops = pytest.importorskip("skops.io")
    X = digits[:60]
    model = with_network(Twice(), torch.nn.Linear(3, 64), X, init)
    twin = pickle.loads(pickle.dumps(model))
    assert isinstance(twin.network[0], Twice)
    if init is not None:
        np.testing.assert_array_equal(twin.transform(X), model.transform(X))
    with pytest.raises(TypeError, match=r"Twice.*joblib"):
        skops.dumps(model)


@pytest.mark.parametrize("init", INITS)
def test_weights_that_two_networks_of_the_user_share_stay_shared(init, digits):
    both = torch.nn.Linear(64, 64)
    encoder = torch.nn.Sequential(both, torch.nn.Linear(64, 3))
    model = with_network(encoder, torch.nn.Sequential(torch.nn.Linear(3, 64), both), digits[:60], init)
    twin = pickle.loads(pickle.dumps(model))
    assert twin.network[0][0] is twin.network[1][1]
    assert copy.deepcopy(model).network[0][0] is not both


def test_the_net_of_a_loaded_model_is_built_on_first_use(digits):
    model = pickle.loads(pickle.dumps(AutoencoderTransformer(3, max_iter=3, random_state=0).fit(digits)))
    assert not isinstance(vars(model)["net_"], AutoencoderNet)
    model.transform(digits)
    assert not isinstance(vars(model)["net_"], AutoencoderNet)
    assert len(model.loss_curve_) == model.n_iter_
    assert isinstance(vars(model)["net_"], AutoencoderNet)
    with pytest.raises(NotFittedError):
        AutoencoderTransformer().net_  # noqa: B018


def test_a_file_names_no_foreign_classes():
    tree = to_tree(torch.nn.Linear(2, 3))
    assert isinstance(from_tree(tree), torch.nn.Linear)
    for kind in (["os", "system"], ["torch.nn.modules.linear", "init"], ["torch.nn.modules.nothing", "X"]):
        with pytest.raises((ValueError, ModuleNotFoundError), match="module"):
            from_tree(tree | {"kind": kind})


def test_shared_weights_of_a_network_stay_shared(digits):
    encoder, decoder = torch.nn.Linear(64, 64), torch.nn.Linear(64, 64)
    both = torch.nn.Sequential(encoder, torch.nn.Tanh(), encoder, torch.nn.Linear(64, 3))
    twin = from_tree(to_tree(both))
    assert twin[0].weight is twin[2].weight
    decoder.weight = encoder.weight
    twin = from_tree(to_tree(torch.nn.Sequential(encoder, decoder)))
    assert twin[0].weight is twin[1].weight
