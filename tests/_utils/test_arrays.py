"""Dense and sparse arrays in blocks."""

import numpy as np
import pytest
import torch
from scipy import sparse

from sklearn_ae._utils.arrays import dense, sample_blocks, stacked

X = np.arange(30.0).reshape(10, 3)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array, sparse.csr_matrix])
def test_blocks_are_dense_and_complete(make):
    blocks = list(sample_blocks(make(X), n_values=12))
    assert [len(block) for block in blocks] == [4, 4, 2]
    assert all(type(block) is np.ndarray for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), X)
    assert [len(block) for block in sample_blocks(make(X), n_values=1)] == [1] * 10


def test_sources_yield_their_own_blocks():
    class Source:
        def blocks(self, n_values):
            yield X[:n_values]

    assert [len(block) for block in sample_blocks(Source(), 4)] == [4]


def test_dense_keeps_dense_arrays():
    assert dense(X) is X
    np.testing.assert_array_equal(dense(sparse.csc_matrix(X)), X)


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_stacked(make):
    found = stacked((make(X[i : i + 4]) for i in (0, 4, 8)), 10)
    np.testing.assert_array_equal(found, X)
    assert found.dtype == np.float64
    assert stacked([make(X[:, 0].astype(np.float32))], 10).dtype == np.float32
