"""Parameters of every estimator and option: constraints, errors, and the tags that follow from them."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.utils import get_tags
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.estimator_checks import check_param_validation, check_positive_only_tag_during_fit

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer
from sklearn_ae.corruptions import GaussianNoise
from sklearn_ae.likelihoods import Bernoulli, Likelihood
from sklearn_ae.losses import Loss, Poisson
from sklearn_ae.networks import Conv
from sklearn_ae.penalties import L1

CLASSES = [AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer, AEOutlierDetector]
X = np.random.RandomState(0).uniform(size=(40, 4))


class Incomplete(Loss):
    """Loss without ``__call__``."""


class NotNegative(Loss):
    """Loss of the user's own that declares its range."""

    positive_only = True

    def __call__(self, eta, x):
        return (eta - x).square()


@pytest.mark.parametrize("cls", CLASSES)
def test_all_parameters_are_validated(cls):
    check_param_validation(cls.__name__, cls())


BAD = {
    AutoencoderTransformer: [
        {"loss": "zebra"},
        {"loss": Poisson},
        {"loss": Incomplete()},
        {"network": 3},
        {"network": Conv(channels=(0,))},
        {"network": Conv(image_shape=(4,))},
        {"bottleneck": b"ordered"},
        {"corruption": GaussianNoise(-1)},
        {"corruption": L1()},
        {"penalty": L1(-1)},
        {"penalty": L1() + L1(-1)},
        {"n_components": "mle"},
        {"n_components": 0.0},
        {"hidden_layer_sizes": (8, 0)},
        {"hidden_layer_sizes": (8, "a")},
        {"callbacks": [3]},
        {"device": "zebra"},
        {"whiten": "yes"},
    ],
    AutoencoderTransformerCV: [{"n_components": []}, {"n_components": [1, 0]}, {"rule": "worst"}],
    VAETransformer: [
        {"likelihood": "zebra"},
        {"divergence": 3},
        {"prior": Bernoulli},
        {"corruption": 3},
        {"beta": -1},
    ],
    AEOutlierDetector: [
        {"outlier_score": "zebra"},
        {"outlier_score": 3},
        {"contamination": 0},
        {"autoencoder": AutoencoderTransformer},
        {"autoencoder": AutoencoderTransformer(loss="zebra")},
    ],
}
CASES = [(cls, params) for cls, cases in BAD.items() for params in cases]
CASES += [
    (AutoencoderTransformerCV, params) for params in BAD[AutoencoderTransformer] if "n_com" not in str(params)
]


@pytest.mark.parametrize(
    ("cls", "params"), CASES, ids=lambda value: getattr(value, "__name__", str(value)[:40])
)
def test_bad_values_raise_the_error_of_scikit_learn(cls, params):
    """It is a ValueError and a TypeError, and names the parameter or the option."""
    with pytest.raises(InvalidParameterError) as error:
        cls(**params).fit(X)
    named = *params, "loss", "GaussianNoise", "Conv", "L1", "Incomplete"
    assert any(name in str(error.value) for name in named)


def test_bad_arguments_of_methods_raise_it_too():
    vae = VAETransformer(2, hidden_layer_sizes=()).fit(X)
    linear = AutoencoderTransformer(2, hidden_layer_sizes=()).fit(X)
    calls = [
        lambda: vae.score_samples(X, n_draws=0),
        lambda: vae.sample(2.5),
        lambda: vae.elbo(X, n_draws="many"),
        lambda: linear.truncate(3),
    ]
    for call in calls:
        with pytest.raises(InvalidParameterError):
            call()


# -- nonnegative samples -------------------------------------------------------------------


POSITIVE = [
    AutoencoderTransformer(1, loss="poisson"),
    AutoencoderTransformer(1, loss="binary_cross_entropy"),
    AutoencoderTransformer(1, loss=Poisson()),
    AutoencoderTransformerCV([1, 2], cv=2, loss="poisson"),
    VAETransformer(1, likelihood="poisson"),
    VAETransformer(1, likelihood="bernoulli"),
    VAETransformer(1, likelihood=Bernoulli(dynamic_binarization=True)),
]
WRAPPED = [AEOutlierDetector(clone(model), n_estimators=1) for model in POSITIVE]


@pytest.mark.parametrize("model", POSITIVE + WRAPPED, ids=str)
def test_models_that_refuse_negative_values_have_the_tag(model):
    assert get_tags(model).input_tags.positive_only
    check_positive_only_tag_during_fit(type(model).__name__, model)


def test_other_models_do_not_have_the_tag():
    for model in [cls() for cls in CLASSES] + [AEOutlierDetector(VAETransformer())]:
        assert not get_tags(model).input_tags.positive_only


@pytest.mark.parametrize("loss", ["zebra", 3, None, [], Poisson, torch.nn.MSELoss()])
def test_tags_of_invalid_losses_raise_no_error(loss):
    for model in (AutoencoderTransformer(loss=loss), VAETransformer(likelihood=loss)):
        get_tags(AEOutlierDetector(model))


def test_losses_of_the_users_own_may_declare_the_tag():
    assert get_tags(AutoencoderTransformer(loss=NotNegative())).input_tags.positive_only
    assert not Likelihood.positive_only
