"""Encoding and decoding with any transformer."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_ae._utils.transformers import check_decoder, decode, dense_samples, encode, kind

X = load_iris().data


def test_single_samples_have_codes_of_two_dimensions():
    frame = pd.DataFrame(X, columns=list("abcd"))
    pca = PCA(2).fit(frame)
    expected = pca.transform(frame[:1])
    np.testing.assert_allclose(encode(pca, frame.iloc[0], "x"), expected)
    np.testing.assert_allclose(encode(PCA(2).fit(X), X[0], "x"), expected)
    np.testing.assert_allclose(encode(PCA(2).fit(X), X[0].tolist(), "x"), expected)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array, sparse.csr_matrix, pd.DataFrame, list])
def test_codes_are_arrays(make):
    codes = encode(TruncatedSVD(2, random_state=0).fit(X), make(X), "X")
    assert type(codes) is np.ndarray
    assert codes.shape == (150, 2)
    assert type(dense_samples(make(X))) is np.ndarray


def test_sparse_codes_are_dense_arrays():
    model = FunctionTransformer(sparse.csr_array, lambda Z: Z)
    np.testing.assert_array_equal(encode(model, X, "X"), X)


def test_decode_keeps_leading_axes_and_precision():
    pca = PCA(2).fit(X.astype(np.float32))
    codes = np.random.RandomState(0).normal(size=(3, 5, 2))
    decoded = decode(pca, codes, np.float32)
    assert decoded.shape == (3, 5, 4)
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded[1, 2], pca.inverse_transform(codes[1, 2:3].astype("f"))[0], rtol=1e-6)


def test_errors_of_the_model_name_the_parameter():
    with pytest.raises(ValueError, match="3 features") as caught:
        encode(PCA(2).fit(X), X[:, :3], "X_start")
    assert caught.value.__notes__ == ["Raised by PCA.transform for X_start."]
    with pytest.raises(ValueError, match=r"X_start must have 1 dimension .one sample. or 2; got 3"):
        encode(PCA(2).fit(X), X[None], "X_start")
    with pytest.raises(ValueError, match=r"transform\(X_start\).*NaN"):
        encode(FunctionTransformer(lambda X: X * np.nan, lambda Z: Z), X, "X_start")


def test_check_decoder():
    check_decoder(PCA())
    with pytest.raises(TypeError, match=r"estimator must be .* got NoneType without transform and inverse"):
        check_decoder(None, "estimator")
    with pytest.raises(TypeError, match="got the class StandardScaler, not an instance"):
        check_decoder(StandardScaler)
    assert kind(PCA) == "the class PCA"
    assert kind(PCA()) == "PCA"
