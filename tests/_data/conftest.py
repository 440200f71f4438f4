"""Fixtures that lower the size limits of large data, and write samples to memory maps."""

import numpy as np
import pytest


@pytest.fixture
def low_limits(monkeypatch):
    """Treat more than 1,000 entries as large; read blocks of 900 entries and shuffle within 3,000."""
    for module in ("_data.sources", "_estimators.validation"):
        monkeypatch.setattr(f"sklearn_ae.{module}.LARGE", 1_000)
    monkeypatch.setattr("sklearn_ae._data.sources.SHUFFLE_VALUES", 3_000)
    monkeypatch.setattr("sklearn_ae._data.sources.BLOCK_VALUES", 900)
    monkeypatch.setattr("sklearn_ae._data.sources._RUN_VALUES", 90)


@pytest.fixture
def mapped(tmp_path):
    """Function that writes samples to a file and returns its memory map."""

    def write(X):
        np.save(tmp_path / "samples.npy", X)
        return np.load(tmp_path / "samples.npy", mmap_mode="r")

    return write
