"""Options of all registries: resolution of strings, validation, and scikit-learn's conventions."""

import doctest
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from torch import nn

from sklearn_ae import AutoencoderTransformer, VAETransformer
from sklearn_ae._options import Option, resolve, wrapping
from sklearn_ae.bottlenecks import BOTTLENECKS, Bottleneck
from sklearn_ae.corruptions import CORRUPTIONS, CallableNoise, Corruption
from sklearn_ae.divergences import DIVERGENCES, Divergence
from sklearn_ae.likelihoods import LIKELIHOODS, Likelihood
from sklearn_ae.losses import LOSSES, Loss
from sklearn_ae.networks import NETWORKS, Modules, Network, as_modules
from sklearn_ae.penalties import L1, PENALTIES, Contractive, Penalty, Sum
from sklearn_ae.priors import PRIORS, Prior

SLOTS = {
    "bottleneck": (BOTTLENECKS, Bottleneck),
    "corruption": (CORRUPTIONS, Corruption),
    "loss": (LOSSES, Loss),
    "network": (NETWORKS, Network),
    "penalty": (PENALTIES, Penalty),
    "likelihood": (LIKELIHOODS, Likelihood),
    "divergence": (DIVERGENCES, Divergence),
    "prior": (PRIORS, Prior),
}
ESTIMATORS = {
    slot: VAETransformer if slot in ("likelihood", "divergence", "prior") else AutoencoderTransformer
    for slot in SLOTS
}
RESOLVE = {
    "corruption": lambda value: resolve(
        value, CORRUPTIONS, "corruption", Corruption, optional=True, wrapper=wrapping(CallableNoise)
    ),
    "network": lambda value: resolve(value, NETWORKS, "network", Network, wrapper=as_modules),
    **{
        slot: lambda value, slot=slot: resolve(value, SLOTS[slot][0], slot, SLOTS[slot][1])
        for slot in SLOTS
        if slot not in ("corruption", "network")
    },
}
STRINGS = [(slot, string) for slot, (registry, _) in SLOTS.items() for string in registry]
CLASSES = [option for registry, _ in SLOTS.values() for option in registry.values()]
PARAMETERS = [
    (slot, string, parameter)
    for slot, string in STRINGS
    for parameter in SLOTS[slot][0][string]().get_params()
]
# Values other than the default for every parameter of every class.
CHANGED = {
    "Huber": {"delta": 2.5},
    "GaussianNoise": {"scale": 0.7},
    "Masking": {"rate": 0.9},
    "SaltAndPepper": {"rate": 0.4},
    "RayleighNoise": {"scale": 0.7},
    "Ordered": {"full_rate": 0.25},
    "TopK": {"n_active": 3},
    "ThresholdedReLU": {"threshold": 0.2},
    "L1": {"weight": 0.5},
    "KLSparsity": {"weight": 2.0, "target": 0.2, "temperature": 0.3},
    "Contractive": {"weight": 3.0, "n_probes": 2},
    "Conv": {"image_shape": (2, 4, 8), "channels": (4,)},
    "Gaussian": {"noise": "per_column", "normal_scores": True},
    "Bernoulli": {"dynamic_binarization": True},
    "BetaTC": {"beta": 3.0},
    "MMD": {"weight": 20.0, "kl": 0.5},
    "Mixture": {"max_components": 4},
    "Flow": {"transforms": 2, "hidden_layer_sizes": (8,)},
}


def changed(option):
    parameters = option().get_params()
    wanted = CHANGED[option.__name__] if parameters else {}
    assert set(wanted) == set(parameters), f"CHANGED has no complete entry for {option.__name__}"
    return option(**wanted)


def fit(X=None, **params):
    X = np.random.RandomState(0).normal(size=(40, 6)) if X is None else X
    estimator = next((ESTIMATORS[slot] for slot in params if slot in SLOTS), AutoencoderTransformer)
    return estimator(2, hidden_layer_sizes=(), max_iter=1, random_state=0, **params).fit(X)


# -- from a value to an option ------------------------------------------------------


@pytest.mark.parametrize(("slot", "string"), STRINGS)
def test_strings_resolve_to_the_class_with_its_defaults(slot, string):
    option = RESOLVE[slot](string)
    assert type(option) is SLOTS[slot][0][string]
    assert option.get_params() == type(option)().get_params()


@pytest.mark.parametrize("slot", SLOTS)
def test_unknown_strings_are_refused_with_the_valid_ones(slot):
    with pytest.raises(ValueError) as error:
        fit(**{slot: "zebra"})
    message = str(error.value)
    assert f"{slot}='zebra'" in message
    assert all(repr(string) in message for string in SLOTS[slot][0])
    assert "Did you mean" not in message


@pytest.mark.parametrize(("slot", "string"), STRINGS)
def test_a_similar_string_is_suggested(slot, string):
    with pytest.raises(ValueError, match=f"Did you mean {string!r}"):
        RESOLVE[slot](string + "x")


@pytest.mark.parametrize("slot", SLOTS)
def test_wrong_objects_raise_a_type_error_with_the_parameter(slot):
    other = "loss" if slot == "penalty" else "penalty"
    wrong_option = next(iter(SLOTS[other][0].values()))()
    example = next(iter(SLOTS[slot][0].values()))
    for wrong in (wrong_option, 3, example, object()):
        with pytest.raises(TypeError, match=rf"^{slot}=.*{example.__name__}\(\)"):
            fit(**{slot: wrong})


@pytest.mark.parametrize("slot", ["bottleneck", "loss", "network", "likelihood", "divergence", "prior"])
def test_none_is_refused_if_an_option_is_required(slot):
    with pytest.raises((TypeError, ValueError), match=slot):
        fit(**{slot: None})


@pytest.mark.parametrize(("slot", "string", "parameter"), PARAMETERS)
def test_invalid_parameters_of_options_are_named(slot, string, parameter):
    for wrong in (-1, "much", None if parameter != "image_shape" else 0.5):
        option = SLOTS[slot][0][string](**{parameter: wrong})
        with pytest.raises(ValueError, match=rf"'{parameter}' parameter of {type(option).__name__}"):
            fit(**{slot: option})


def test_parameters_are_validated_within_a_sum():
    with pytest.raises(ValueError, match="'weight' parameter of Contractive"):
        fit(penalty=L1(0.1) + Contractive(-1))
    with pytest.raises(TypeError, match="penalties"):
        fit(penalty=Sum(L1(), "contractive"))


@pytest.mark.parametrize("option", CLASSES)
def test_resolving_copies_the_object(option):
    (slot,) = (slot for slot, (registry, _) in SLOTS.items() if option in registry.values())
    given = changed(option)
    resolved = RESOLVE[slot](given)
    assert resolved is not given
    assert type(resolved) is option
    assert resolved.get_params() == given.get_params()


def test_a_fitted_model_is_independent_of_the_passed_object():
    noise = CORRUPTIONS["gaussian"](scale=0.3)
    model = fit(corruption=noise)
    noise.scale = 99
    assert model.corruption_.scale == 0.3
    assert model.corruption is noise


# -- options are estimators ---------------------------------------------------------


@pytest.mark.parametrize("option", CLASSES)
def test_clone_repr_and_pickle_keep_the_parameters(option):
    one = changed(option)
    namespace = {option.__name__: option}
    for twin in (clone(one), pickle.loads(pickle.dumps(one)), eval(repr(one), namespace)):
        assert type(twin) is option
        assert twin.get_params() == one.get_params()
        assert repr(twin) == repr(one)


@pytest.mark.parametrize(("slot", "string", "parameter"), PARAMETERS)
def test_nested_parameters_can_be_set_on_the_estimator(slot, string, parameter):
    option = SLOTS[slot][0][string]
    value = CHANGED[option.__name__][parameter]
    model = ESTIMATORS[slot](**{slot: option()})
    assert model.get_params()[f"{slot}__{parameter}"] == getattr(option(), parameter)
    model.set_params(**{f"{slot}__{parameter}": value})
    assert getattr(getattr(model, slot), parameter) == value
    twin = clone(model)
    assert twin.get_params()[f"{slot}__{parameter}"] == value
    assert getattr(twin, slot) is not getattr(model, slot)


def test_nested_parameters_of_a_sum():
    model = AutoencoderTransformer(penalty=Contractive(0.1) + L1(0.01))
    model.set_params(penalty__first__weight=5, penalty__second__weight=7)
    assert (model.penalty.first.weight, model.penalty.second.weight) == (5, 7)
    with pytest.raises(ValueError, match="third"):
        model.set_params(penalty__third__weight=1)


def test_every_parameter_is_constrained():
    for option in CLASSES:
        assert set(option._parameter_constraints) == set(option().get_params()), option


# -- documentation ------------------------------------------------------------------


@pytest.mark.parametrize("option", [*CLASSES, Sum, Modules])
def test_classes_have_a_documented_example(option):
    assert issubclass(option, Option)
    assert doctest.DocTestParser().get_examples(option.__doc__), "no example"
    names = [] if option is Modules else option._get_param_names()
    for name in names or option._get_param_names():
        assert f"{name}" in option.__doc__.split("Parameters")[1], f"{name} is not documented"


def test_modules_are_cloned_with_their_weights():
    option = Modules(nn.Linear(4, 2), nn.Linear(2, 4))
    twin = clone(option)
    assert twin.encoder is not option.encoder
    assert np.array_equal(twin.encoder.weight.detach(), option.encoder.weight.detach())
