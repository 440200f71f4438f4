"""Messages for the mistakes that users make: each names the parameter or the features, and a remedy."""

import copy
import pickle
from datetime import date, datetime, time, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer
from sklearn_ae._estimators import validation
from sklearn_ae._utils.runtime import main_memory
from sklearn_ae.corruptions import CORRUPTIONS, GaussianNoise
from sklearn_ae.networks import Conv
from sklearn_ae.outlier_scores import OUTLIER_SCORES

N = 40
X = np.random.RandomState(0).normal(size=(N, 4))
HUGE = 10**9

LINEAR = AutoencoderTransformer(2, hidden_layer_sizes=())
ESTIMATORS = {
    "ae": LINEAR,
    "vae": VAETransformer(2, hidden_layer_sizes=()),
    "cv": AutoencoderTransformerCV([1, 2], hidden_layer_sizes=(), cv=2),
    "detector": AEOutlierDetector(LINEAR, robust=False, n_estimators=2, random_state=0),
}
TRANSFORMERS = ("ae", "vae")


@pytest.fixture(scope="module")
def fitted():
    return {name: clone(estimator).fit(X) for name, estimator in ESTIMATORS.items()}


def uses(name, fitted, make):
    """Return calls by which the estimator can get samples; ``make`` returns bad ones of 4 features."""
    model = clone(ESTIMATORS[name])
    calls = [lambda: model.fit(make()), lambda: model.fit_transform(make())]
    calls += [
        lambda method=method: getattr(fitted[name], method)(make())
        for method in ("transform", "score_samples", "predict", "explain", "pvalues", "elbo", "posterior")
        if hasattr(fitted[name], method)
    ]
    if name in TRANSFORMERS:
        calls += [
            lambda: model.partial_fit(make()),
            lambda: copy.copy(fitted[name]).partial_fit(make()),
            lambda: model.fit(X, X_val=make()),
            lambda: model.fit(X, X_clean=make()),
            lambda: model.fit(lambda: iter([X, make()])),
            lambda: model.fit(X, X_val=lambda: iter([make()])),
        ]
    return calls


def messages(calls, kind=ValueError):
    """Return what calls that must fail say."""
    said = []
    for call in calls:
        with pytest.raises(kind) as error:
            call()
        said.append(str(error.value))
    return said


# -- features that are not numbers ---------------------------------------------------------

DAYS = pd.date_range("2020-01-01", periods=N)
MOMENT = datetime(2020, 1, 1)
TIMES = {
    "dates": DAYS,
    "zone": DAYS.tz_localize("Europe/Berlin"),
    "period": pd.period_range("2020-01", periods=N, freq="M"),
    "difference": DAYS - DAYS[0],
    "arrow": DAYS.astype("timestamp[us][pyarrow]"),
    "objects": pd.Series([date(2020, 1, 1)] * N, dtype=object),
}
POLARS_TIMES = {
    "date": [date(2020, 1, 1)] * N,
    "datetime": [MOMENT] * N,
    "duration": [timedelta(days=1)] * N,
    "time": [time(1)] * N,
}


@pytest.mark.filterwarnings("ignore:X has feature names:UserWarning")
@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("kind", TIMES)
def test_dates_in_pandas_are_named_with_a_remedy(name, kind, fitted):
    def make():
        return pd.DataFrame({"a": X[:, 0], "when": TIMES[kind], "b": X[:, 1], "then": TIMES[kind]})

    for message in messages(uses(name, fitted, make)):
        assert "has dates or times in features 'when', 'then'." in message
        assert "number of days" in message


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("kind", POLARS_TIMES)
@pytest.mark.parametrize("make", [pl.DataFrame, pa.table, lambda data: pa.RecordBatch.from_pydict(data)])
def test_dates_in_polars_and_arrow_are_named_with_a_remedy(name, kind, make):
    frame = make({"a": X[:, 0], "when": POLARS_TIMES[kind]})
    (message,) = messages([lambda: clone(ESTIMATORS[name]).fit(frame)])
    assert message.startswith("X has dates or times in feature 'when'.")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_frames_and_arrays_of_nothing_but_dates_are_refused(name):
    days = np.tile(DAYS.to_numpy()[:, None], (1, 4))
    for dates in (days, days - days[0, 0], pd.DataFrame(days), days.astype("M8[D]").astype(object)):
        assert "dates or times" in messages([lambda: clone(ESTIMATORS[name]).fit(dates)])[0]  # noqa: B023


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize(
    "make",
    [
        lambda data: pd.DataFrame(data),
        lambda data: pd.DataFrame(data).astype({"kind": "category", "colour": "category"}),
        lambda data: pl.DataFrame(data),
        lambda data: pl.DataFrame(data).with_columns(pl.col("kind", "colour").cast(pl.Categorical)),
        lambda data: pl.DataFrame(data).with_columns(pl.col("kind", "colour").cast(pl.Enum(["x", "y"]))),
        lambda data: pa.table(data),
    ],
    ids=["pandas", "pandas-category", "polars", "polars-category", "polars-enum", "arrow"],
)
def test_text_and_categories_are_named_with_a_remedy(name, make):
    words = ["x", "y"] * (N // 2)
    frame = make({"a": X[:, 0], "kind": words, "b": X[:, 1], "colour": [None, *words[1:]]})
    (message,) = messages([lambda: clone(ESTIMATORS[name]).fit(frame)])
    assert message.startswith("X has features that are not numeric: 'kind', 'colour'.")
    assert "OneHotEncoder" in message


@pytest.mark.parametrize("name", ESTIMATORS)
def test_text_in_arrays_is_found_by_its_index(name):
    mixed = X.astype(object)
    mixed[3, 2] = "x"
    for samples in (mixed, mixed.astype(str), mixed.tolist()):
        (message,) = messages([lambda: clone(ESTIMATORS[name]).fit(samples)])  # noqa: B023
        assert message.startswith("X has features that are not numeric: 2.")


def test_both_kinds_are_named():
    frame = pd.DataFrame({"a": X[:, 0], "kind": "x", "when": [date(2020, 1, 1)] * N})
    (message,) = messages([lambda: clone(LINEAR).fit(frame)])
    assert "times in feature 'when'" in message
    assert "not numeric: 'kind'" in message


@pytest.mark.parametrize("name", ESTIMATORS)
def test_numeric_categories_are_numbers(name):
    codes = np.tile([1, 2, 3, 5], N // 4)
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "size": pd.Categorical(codes)})
    numbers = np.column_stack([X[:, :3], codes])
    model = clone(ESTIMATORS[name])
    as_categories = model.fit(frame).transform(frame)
    np.testing.assert_allclose(as_categories, clone(model).fit(numbers).transform(numbers))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_query_is_to_be_collected(name):
    query = pl.LazyFrame({"a": X[:, 0], "b": X[:, 1]})
    (message,) = messages([lambda: clone(ESTIMATORS[name]).fit(query)], TypeError)
    assert "pass its result, X.collect()" in message


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("given", ["samples.csv", {"a": [1.0, 2.0]}], ids=["str", "dict"])
def test_a_file_name_and_a_dict_are_no_samples(name, given):
    (message,) = messages([lambda: clone(ESTIMATORS[name]).fit(given)])
    assert message == f"X is a {type(given).__name__}; pass an array or a data frame."


# -- images --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize(
    ("shape", "image"),
    [
        ((N, 8, 6), "(8, 6)"),
        ((N, 3, 8, 6), "(3, 8, 6)"),
        ((N, 8, 6, 3), "(3, 8, 6)"),
        ((N, 5, 5, 5, 5), None),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy, np.ndarray.tolist])
def test_images_are_to_be_flattened(name, shape, image, kind, fitted):
    images = np.random.RandomState(0).normal(size=shape)
    calls = uses(name, fitted, lambda: kind(images))
    for message in messages(calls if kind is np.asarray else calls[:1]):
        assert f"has shape {shape}" in message
        assert "reshape to (n_samples, -1)" in message
        assert ("transpose(0, 3, 1, 2)" in message) == (shape[-1] == 3)
        assert ("Conv" in message) == (image is not None)
        assert image is None or f"network=Conv(image_shape={image})" in message


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_the_name_of_the_samples_is_given(name, fitted):
    model = clone(ESTIMATORS[name])
    bad = np.where(np.eye(N, 4) > 0, np.nan, X)
    for samples in (X.reshape(N, 2, 2), bad):
        for parameter in ("X_val", "X_clean"):
            assert messages([lambda: model.fit(X, **{parameter: samples})])[0].startswith(parameter)  # noqa: B023
        assert messages([lambda: model.fit(X, X_val=lambda: iter([samples]))])[0].startswith("X_val")  # noqa: B023


def test_items_of_a_dataset_are_to_be_flattened():
    images = torch.utils.data.TensorDataset(torch.from_numpy(X.reshape(N, 2, 2)))
    (message,) = messages([lambda: clone(LINEAR).fit(images)])
    assert "a transform that calls torch.flatten" in message


# -- missing and infinite values -----------------------------------------------------------


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("as_sparse", [False, True], ids=["dense", "sparse"])
def test_nan_and_infinity_name_the_features(name, dtype, as_sparse, fitted):
    for value, said in ((np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")):
        if said == "NaN" and name == "detector":  # it accepts missing values
            continue
        bad = X.astype(dtype)
        bad[5, 1] = bad[7, 3] = value
        if as_sparse:
            make, n_calls = (lambda bad=bad: sparse.csr_array(bad)), 4
        else:
            make, n_calls = (lambda bad=bad: bad), None
        for message in messages(uses(name, fitted, make)[:n_calls]):
            assert f"contains {said} in features 1, 3." in message
            assert "HistGradientBoosting" not in message
            pipeline = f"make_pipeline(SimpleImputer(), {type(ESTIMATORS[name]).__name__}(...))"
            assert (pipeline in message) == (said == "NaN")


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"detector"}))
def test_features_of_frames_are_named_a_few_at_most(name):
    columns = {f"c{j}": [None, *X[1:, 0]] for j in range(12)}
    frames = [
        pd.DataFrame({"a": X[:, 0], **columns}),
        pd.DataFrame({"a": X[:, 0], **columns}).astype("Float64"),
        pd.DataFrame({"a": X[:, 0], **{key: pd.Series([pd.NA, *X[1:, 0]]) for key in columns}}),
        pl.DataFrame({"a": X[:, 0], **columns}),
        pa.table({"a": X[:, 0], **columns}),
    ]
    for frame in frames:
        (message,) = messages([lambda: clone(ESTIMATORS[name]).fit(frame)])  # noqa: B023
        assert message.startswith("X contains NaN in features 'c0', 'c1', 'c2', 'c3', 'c4' and 7 more.")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_codes_with_nan_name_the_component(name, fitted):
    codes = fitted[name].transform(X)
    codes[2, 0] = np.nan
    decode = fitted[name].inverse_transform
    message, other = messages([lambda: decode(codes), lambda: decode(codes[:, :, None])])
    assert message.startswith("X contains NaN in component 0.")
    assert "imputer" not in message.lower()
    assert "(n_samples, n_components_)" in other


# -- networks ------------------------------------------------------------------------------


class TwoHeads(nn.Module):
    """Encoder that returns (mu, log_var), as most tutorials on VAEs have it."""

    def __init__(self, joined=False):
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.mu, self.log_var = nn.Linear(4, 8), nn.Linear(8, 2), nn.Linear(8, 2)
        self.joined = joined

    def forward(self, x):
        h = self.hidden(x).tanh()
        parts = self.mu(h), self.log_var(h)
        return torch.cat(parts, dim=1) if self.joined else parts


class ThreeOutputs(TwoHeads):
    """Encoder that returns a sample as well."""

    def forward(self, x):
        mu, log_var = super().forward(x)
        return mu, mu, log_var


def pair(joined=False, kind=TwoHeads):
    return kind(joined), nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 4))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("init", ["pca", "random"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_tuple_of_means_and_log_variances_equals_the_joined_tensor(init, method):
    state = torch.get_rng_state()
    networks = pair(), pair(joined=True)
    for mine, other in zip(*networks, strict=True):
        mine.load_state_dict(other.state_dict())
    torch.set_rng_state(state)
    results = []
    for network in networks:
        model = VAETransformer(2, network=network, init=init, max_iter=3, random_state=0)
        getattr(model, method)(X)
        restored = pickle.loads(pickle.dumps(model))
        results.append([*model.posterior(X), model.score_samples(X, n_draws=8), model.elbo(X, n_draws=8)])
        for mine, other in zip(results[-1], [*restored.posterior(X)], strict=False):
            np.testing.assert_array_equal(mine, other)
        results[-1].append(restored.partial_fit(X).transform(X))
    for mine, other in zip(*results, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_other_outputs_of_an_encoder_are_refused():
    refused = [
        (AutoencoderTransformer, TwoHeads, "tuple of 2; expected a tensor of shape (32, 2)."),
        (VAETransformer, ThreeOutputs, "tuple of 3; expected a tensor of shape (32, 4), the means followed"),
    ]
    for estimator, kind, said in refused:
        model = estimator(2, network=pair(kind=kind), max_iter=1)
        for message in messages([lambda: model.fit(X), lambda: model.partial_fit(X)]):  # noqa: B023
            assert message.startswith("The encoder of network returns a ")
            assert said in message
    narrow = VAETransformer(2, network=(nn.Linear(4, 2), nn.Linear(2, 4)))
    (message,) = messages([lambda: narrow.fit(X)])
    assert "maps (32, 4) to (32, 2); expected (32, 4), the means followed by" in message


@pytest.mark.parametrize("name", ["ae", "vae", "cv"])
@pytest.mark.parametrize(
    "network",
    [
        nn.Linear(4, 2),
        nn.Sequential(nn.Linear(4, 2)),
        (nn.Linear(4, 2),),
        (nn.Linear(4, 2), None),
        (nn.Linear,) * 2,
    ],
    ids=["module", "sequential", "single", "none", "classes"],
)
def test_a_single_module_is_no_pair(name, network):
    model = clone(ESTIMATORS[name]).set_params(network=network)
    (message,) = messages([lambda: model.fit(X)], TypeError)
    assert message.startswith("network=")
    assert "pass network=(encoder, decoder)" in message
    assert "in_features" not in message


@pytest.mark.parametrize("shape", [(28, 28, 3), (32, 32, 4), (28, 28, 1), (480, 640, 3)])
def test_channels_at_the_end_are_explained(shape):
    h, w, c = shape
    for n_features in (h * w * c, 784):
        (message,) = messages([lambda: Conv(image_shape=shape).check(n_features, tied=False)])  # noqa: B023
        assert message.startswith(f"image_shape={shape} of Conv seems to have its channels at the end")
        assert f"pass image_shape={(c, h, w)}" in message
        assert f"X.reshape(-1, {h}, {w}, {c}).transpose(0, 3, 1, 2).reshape(len(X), -1)" in message
        assert f"exchange height and width: {(h, c, w)}" in message
    Conv(image_shape=(h, c, w)).check(h * w * c, tied=False)


@pytest.mark.parametrize(
    "shape", [(3, 28, 28), (1, 28, 3), (28, 3), (2, 4, 4), (8, 4, 4), (16, 128, 1), (4, 4, 4)]
)
def test_channels_at_the_front_are_accepted(shape):
    Conv(image_shape=shape).check(int(np.prod(shape)), tied=False)


# -- options -------------------------------------------------------------------------------

NESTED = [
    ("ae", "corruption", "gaussian", "scale", "GaussianNoise"),
    ("ae", "corruption", None, "rate", "Masking"),
    ("ae", "loss", "huber", "delta", "Huber"),
    ("ae", "loss", "squared_error", "delta", "Huber"),
    ("ae", "bottleneck", "topk", "n_active", "TopK"),
    ("ae", "penalty", "kl_sparsity", "target", "KLSparsity"),
    ("ae", "penalty", "contractive", "weight", "Contractive"),
    ("ae", "network", "conv", "channels", "Conv"),
    ("cv", "corruption", "gaussian", "scale", "GaussianNoise"),
    ("vae", "likelihood", "gaussian", "noise", "Gaussian"),
    ("vae", "divergence", "mmd", "weight", "MMD"),
    ("vae", "divergence", "kl", "beta", "BetaTC"),
    ("vae", "prior", "mixture", "max_components", "Mixture"),
    ("ae", "prior", "normal", "transforms", "Flow"),
    ("vae", "network", "conv", "channels", "Conv"),
    ("detector", "outlier_score", "neighbors", "n_neighbors", "Neighbors"),
    ("detector", "outlier_score", "auto", "residuals", "Mahalanobis"),
    ("detector", "autoencoder", None, "max_iter", "AutoencoderTransformer"),
]


@pytest.mark.parametrize(("name", "slot", "value", "parameter", "option"), NESTED)
def test_parameters_of_strings_need_an_object(name, slot, value, parameter, option):
    model = clone(ESTIMATORS[name]).set_params(**{slot: value})
    in_pipeline = make_pipeline(StandardScaler(), clone(model))
    prefix = f"{type(model).__name__.lower()}__"
    nested = f"{slot}__{parameter}"
    search = GridSearchCV(model, {nested: [1, 2]}, scoring=lambda *args: 0.0, cv=2)
    said = messages(
        [
            lambda: model.set_params(**{nested: 1}),
            lambda: clone(model).set_params(**{slot: value, nested: 1}),
            lambda: in_pipeline.set_params(**{prefix + nested: 1}),
            lambda: search.fit(X),
        ]
    )
    for message in said:
        assert message.startswith(f"{nested} cannot be set, because {slot}={value!r}")
        assert message.endswith(f"pass {slot}={option}().")


def test_parameters_are_set_beside_their_object():
    model = AutoencoderTransformer(corruption="gaussian")
    model.set_params(corruption=GaussianNoise(), corruption__scale=0.25)
    assert model.corruption.scale == 0.25
    with pytest.raises(ValueError, match="corruption=GaussianNoise"):
        AEOutlierDetector(AutoencoderTransformer(corruption="gaussian")).set_params(
            autoencoder__corruption__scale=1
        )
    with pytest.raises(ValueError, match="Invalid parameter 'corruptio'"):
        model.set_params(corruptio__scale=1)


ALIASES = [
    *[
        ("ae", "loss", alias, "squared_error")
        for alias in ("mse", "MSE", "l2", "MSELoss", "mean_squared_error")
    ],
    *[("ae", "loss", alias, "absolute_error") for alias in ("mae", "l1", "L1Loss", "mean_absolute_error")],
    *[("ae", "loss", alias, "binary_cross_entropy") for alias in ("bce", "BCELoss", "binary_crossentropy")],
    ("ae", "loss", "smooth_l1", "huber"),
    ("cv", "loss", "mse", "squared_error"),
    ("ae", "corruption", "dropout", "masking"),
    ("ae", "corruption", "normal", "gaussian"),
    ("ae", "corruption", "salt-and-pepper", "salt_and_pepper"),
    ("ae", "penalty", "L1", "l1"),
    ("ae", "penalty", "kl", "kl_sparsity"),
    ("ae", "bottleneck", "k_sparse", "topk"),
    ("ae", "network", "mlp", "dense"),
    ("vae", "network", "cnn", "conv"),
    ("vae", "likelihood", "mse", "gaussian"),
    ("vae", "likelihood", "bce", "bernoulli"),
    ("vae", "divergence", "kld", "kl"),
    ("vae", "prior", "gaussian", "normal"),
    ("vae", "prior", "gmm", "mixture"),
    ("ae", "prior", "NSF", "flow"),
    ("detector", "outlier_score", "knn", "neighbors"),
    ("detector", "outlier_score", "KNN", "neighbors"),
    ("detector", "outlier_score", "mse", "reconstruction"),
    ("ae", "activation", "sigmoid", "logistic"),
    ("vae", "activation", "swish", "silu"),
    ("cv", "activation", "ReLU", "relu"),
]


@pytest.mark.parametrize(("name", "slot", "alias", "meant"), ALIASES)
def test_names_of_other_packages_are_understood(name, slot, alias, meant):
    model = clone(ESTIMATORS[name]).set_params(**{slot: alias})
    (message,) = messages([lambda: model.fit(X)])
    assert message.endswith(f"Did you mean {meant!r}?")
    assert slot in message


def test_weight_decay_is_not_a_penalty():
    (message,) = messages([lambda: AutoencoderTransformer(2, penalty="l2").fit(X)])
    assert message.endswith("For weight decay, set alpha.")


@pytest.mark.parametrize(
    ("name", "params", "listed"),
    [
        (
            "ae",
            {"loss": "x9"},
            ["squared_error", "absolute_error", "huber", "binary_cross_entropy", "poisson"],
        ),
        ("ae", {"corruption": "x9"}, list(CORRUPTIONS)),
        ("detector", {"outlier_score": "x9"}, list(OUTLIER_SCORES)),
        *[
            (
                name,
                {"activation": "x9"},
                ["elu", "gelu", "identity", "logistic", "relu", "silu", "softplus", "tanh"],
            )
            for name in ("ae", "vae", "cv")
        ],
        ("ae", {"init": "x9"}, ["pca", "random"]),
        ("ae", {"precision": "x9"}, ["auto", "bfloat16", "float32"]),
        ("cv", {"rule": "x9"}, ["1se", "best"]),
    ],
)
def test_valid_values_are_listed_in_a_fixed_order(name, params, listed):
    (message,) = messages([lambda: clone(ESTIMATORS[name]).set_params(**params).fit(X)])
    assert ", ".join(map(repr, listed)) in message


# -- memory --------------------------------------------------------------------------------

TOO_LARGE = [
    ("ae", {"n_components": HUGE, "penalty": "l1"}, "n_components"),
    ("ae", {"hidden_layer_sizes": (HUGE,)}, "hidden_layer_sizes"),
    ("ae", {"hidden_layer_sizes": HUGE, "init": "random", "tied_weights": True}, "hidden_layer_sizes"),
    ("ae", {"hidden_layer_sizes": (10**6, 10**6)}, "hidden_layer_sizes"),
    ("ae", {"network": Conv(channels=(HUGE,))}, "channels of Conv"),
    ("vae", {"n_components": HUGE}, "n_components"),
    ("vae", {"n_components": HUGE, "hidden_layer_sizes": (256, 128)}, "n_components"),
    ("vae", {"hidden_layer_sizes": (HUGE,)}, "hidden_layer_sizes"),
    ("cv", {"n_components": [1, HUGE], "penalty": "l1"}, "n_components"),
    ("cv", {"hidden_layer_sizes": (HUGE,)}, "hidden_layer_sizes"),
    ("detector", {"autoencoder__hidden_layer_sizes": (HUGE,)}, "hidden_layer_sizes"),
]


@pytest.mark.parametrize(("name", "params", "parameter"), TOO_LARGE)
def test_what_memory_does_not_hold_is_refused(name, params, parameter, monkeypatch):
    monkeypatch.setattr(validation, "main_memory", lambda: 64e9)
    model = clone(ESTIMATORS[name]).set_params(**params)
    calls = [lambda: model.fit(X)]
    if name in TRANSFORMERS:
        calls.append(lambda: model.partial_fit(X))
    for message in messages(calls):
        assert f"GB of memory, but there are 64 GB: decrease {parameter} (" in message


def test_networks_that_memory_holds_are_fitted(monkeypatch):
    model = AutoencoderTransformer(2, hidden_layer_sizes=(20_000,), max_iter=1)
    needed = 12 * 2 * 20_000 * 6
    monkeypatch.setattr(validation, "main_memory", lambda: needed / 2)
    assert "hidden_layer_sizes" in messages([lambda: model.fit(X)])[0]
    monkeypatch.setattr(validation, "main_memory", lambda: 10 * needed)
    model.fit(X)


def test_the_memory_of_this_machine_is_known():
    assert 1e8 < main_memory() <= 2**42
