"""Validation of parameters."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import KernelDensity

from sklearn_ae._utils.parameters import check_density, check_positive, finite_number, finite_vector, index


def test_valid_parameters():
    assert finite_vector([1, 2], "values").tolist() == [1.0, 2.0]
    assert finite_number(np.float32(0.5), "strength") == 0.5
    assert index(np.int64(1), 2, "component") == 1
    for density in ("gaussian", "mixture", KernelDensity()):
        check_density(density)
    check_positive("n_draws", 1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: finite_vector([[1.0]], "values"), ValueError, "values must have 1 dimension; got 2"),
        (lambda: finite_vector([np.nan], "values"), ValueError, "(?s)values.*NaN"),
        (lambda: finite_number(np.inf, "strength"), ValueError, "strength must be finite"),
        (lambda: finite_number("1", "strength"), TypeError, "strength must be an instance of float"),
        (lambda: index(2, 2, "component"), ValueError, "component must be an integer from 0 to 1.*got 2"),
        (lambda: index(-1, 2, "component"), ValueError, "component must be an integer"),
        (lambda: index(0.0, 2, "component"), ValueError, "component must be an integer"),
        (lambda: check_density("normal"), ValueError, "density='normal' is not known"),
        (lambda: check_density(PCA()), TypeError, r"density=PCA\(\) has no fit and sample"),
        (lambda: check_positive("n_draws", 0), ValueError, "n_draws must be a positive integer; got 0"),
        (lambda: check_positive("n_draws", 1.5), ValueError, "n_draws must be a positive integer; got 1.5"),
    ],
)
def test_invalid_parameters(call, error, message):
    with pytest.raises(error, match=message):
        call()
