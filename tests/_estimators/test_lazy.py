"""Methods that are lazy for dask arrays and data frames: values, dtypes, chunks, names and refusals."""

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {"hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0, "init": "random"}
AUTOENCODER = ("transform", "reconstruction_error", "score_samples")
METHODS = {
    AutoencoderTransformer(2, **SMALL): AUTOENCODER,
    AutoencoderTransformer(2, **SMALL, whiten=True): AUTOENCODER,
    AutoencoderTransformerCV([1, 2], cv=2, **SMALL): ("transform", "score_samples"),
    VAETransformer(2, **SMALL): (*AUTOENCODER, "posterior", "kl_divergence", "elbo"),
    AEOutlierDetector(n_estimators=1, random_state=0): (
        *("transform", "score_samples", "decision_function", "predict", "pvalues", "explain"),
    ),
}
CASES = [
    pytest.param(model, method, id=f"{type(model).__name__}-{method}")
    for model, methods in METHODS.items()
    for method in methods
]


def refused(block):
    raise AssertionError("computed")


@pytest.fixture
def uncomputed():
    """Data that cannot be computed."""
    lazy = da.ones((30, 5), chunks=(10, 5))
    return lazy.map_blocks(refused, dtype=float, meta=np.empty((0, 5)))


@pytest.fixture(scope="module")
def fitted(curve):
    """Return a function that fits each model once."""
    models = {}

    def fit(model):
        if model not in models:
            models[model] = model.fit(curve)
        return models[model]

    return fit


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("model", "method"), CASES)
def test_blocks_are_the_results_of_blocks(model, method, dtype, fitted, curve):
    call = getattr(fitted(model), method)
    X = curve.astype(dtype)
    whole = call(da.from_array(X, chunks=(250, 3)))
    expected = [call(X[start : start + 250]) for start in (0, 250, 500)]
    if not isinstance(whole, tuple):
        whole, expected = (whole,), [(part,) for part in expected]
    for lazy, *parts in zip(whole, *expected, strict=True):
        assert isinstance(lazy, da.Array)
        assert lazy.chunks[0] == (250, 250, 100)
        assert lazy.dtype == parts[0].dtype
        assert lazy.shape == (600, *parts[0].shape[1:])
        computed = lazy.compute()
        assert computed.dtype == lazy.dtype
        np.testing.assert_array_equal(computed, np.concatenate(parts))


def test_codes_are_decoded_lazily(fitted, curve):
    for model in METHODS:
        model = fitted(model)
        codes = da.from_array(model.transform(curve), chunks=(250, 1))
        decoded = model.inverse_transform(codes)
        assert decoded.chunks == ((250, 250, 100), (5,))
        np.testing.assert_array_equal(decoded[:250].compute(), model.inverse_transform(codes[:250].compute()))
        with pytest.raises(ValueError, match="n_components_="):
            model.inverse_transform(da.ones((9, 7)))


def test_nothing_is_computed_before_it_is_asked_for(fitted, uncomputed):
    for model, methods in METHODS.items():
        for method in methods:
            getattr(fitted(model), method)(uncomputed)


@pytest.mark.parametrize(("model", "method"), CASES)
def test_other_features_are_refused_at_once(model, method, fitted, uncomputed):
    with pytest.raises(ValueError, match="expecting 5 features"):
        getattr(fitted(model), method)(uncomputed[:, :3])


def test_parameters_of_methods_are_used(curve):
    model = AutoencoderTransformer(2, **SMALL).fit(curve)
    log_p, std = model.score_samples(da.from_array(curve, chunks=(300, 5)), n_draws=16, return_std=True)
    expected = model.score_samples(curve[:300], n_draws=16, return_std=True)
    np.testing.assert_array_equal(log_p[:300].compute(), expected[0])
    np.testing.assert_array_equal(std[:300].compute(), expected[1])
    with pytest.raises(ValueError, match="n_draws"):
        model.score_samples(da.from_array(curve), n_draws=0)


def test_the_score_is_a_number(curve):
    model = AutoencoderTransformer(2, **SMALL).fit(curve)
    lazy = da.from_array(curve, chunks=(250, 5))
    for X in (lazy, dd.from_dask_array(lazy)):
        score = model.score(X)
        assert isinstance(score, float)
        assert score == pytest.approx(model.score(curve))


def test_an_unfitted_model_is_refused(uncomputed):
    with pytest.raises(AttributeError, match="not fitted"):
        AutoencoderTransformer().transform(uncomputed)


def test_results_are_those_of_the_model_that_was_asked(curve):
    model = AutoencoderTransformer(2, **SMALL).fit(curve)
    expected = model.transform(curve)
    before = model.transform(da.from_array(curve, chunks=-1))
    model.partial_fit(curve + 1)
    model.fit(2 * curve)
    np.testing.assert_array_equal(before.compute(), expected)


def test_fit_transform_is_lazy(curve):
    codes = AutoencoderTransformer(2, **SMALL).fit_transform(da.from_array(curve, chunks=(200, 5)))
    assert codes.chunks == ((200, 200, 200), (2,))


# -- data frames ----------------------------------------------------------------------------


@pytest.fixture
def frame(curve):
    return pd.DataFrame(curve, columns=list("abcde"), index=np.arange(600) * 2)


def test_frames_give_arrays(frame):
    model = AutoencoderTransformer(2, **SMALL).fit(frame)
    lazy = dd.from_pandas(frame, npartitions=3)
    codes = model.transform(lazy)
    assert isinstance(codes, da.Array)
    assert codes.shape[1] == 2
    # The order in which pandas stores a frame decides the last digits.
    np.testing.assert_allclose(codes.compute(), model.transform(frame), rtol=1e-9, atol=1e-12)
    assert model.score_samples(lazy).compute().shape == (600,)


def test_empty_partitions_give_no_results(frame):
    model = AutoencoderTransformer(2, **SMALL).fit(frame)
    lazy = dd.from_pandas(frame, npartitions=3)
    codes = model.transform(lazy.query("index < 100"))
    expected = model.transform(frame.query("index < 100"))
    np.testing.assert_allclose(codes.compute(), expected, rtol=1e-9, atol=1e-12)


def test_other_names_are_refused_at_once(frame):
    model = AutoencoderTransformer(2, **SMALL).fit(frame)
    lazy = dd.from_pandas(frame, npartitions=3)
    lazy = lazy.map_partitions(refused, meta=lazy._meta)
    with pytest.raises(ValueError, match="feature names should match"):
        model.transform(lazy.rename(columns={"a": "z"}))


def test_set_output_gives_lazy_frames(frame):
    model = AutoencoderTransformer(2, **SMALL).fit(frame).set_output(transform="pandas")
    lazy = dd.from_pandas(frame, npartitions=3)
    for codes in (model.transform(lazy), model.fit_transform(lazy)):
        assert isinstance(codes, dd.DataFrame)
        assert list(codes.columns) == model.get_feature_names_out().tolist()
        assert codes.compute().index.equals(frame.index)
    model = AutoencoderTransformer(2, **SMALL).fit(frame.to_numpy()).set_output(transform="pandas")
    codes = model.transform(da.from_array(frame.to_numpy(), chunks=(200, 5)))
    assert isinstance(codes, dd.DataFrame)
    pd.testing.assert_frame_equal(codes.partitions[0].compute(), model.transform(frame.to_numpy()[:200]))


def test_missing_values_are_refused_when_they_are_computed_and_scored_by_the_detector(curve):
    X = curve.copy()
    X[10, 0] = np.nan
    lazy = da.from_array(X, chunks=(200, 5))
    codes = AutoencoderTransformer(2, **SMALL).fit(curve).transform(lazy)
    with dask.config.set(scheduler="synchronous"), pytest.raises(ValueError, match="contains NaN"):
        codes.compute()
    detector = AEOutlierDetector(n_estimators=1, random_state=0).fit(curve)
    assert np.isfinite(detector.score_samples(lazy).compute()).all()
