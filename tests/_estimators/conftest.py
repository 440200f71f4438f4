"""Fixtures for the tests of the estimators."""

import pytest


@pytest.fixture
def same_input(request):
    """Skip with --perturb, which would change only one of two inputs that must be identical."""
    if request.config.getoption("--perturb"):
        pytest.skip("--perturb changes one side of an exact comparison")
