"""Fixtures of the tests of displays: figures that leave no traces, and fitted models shared by files."""

import matplotlib

matplotlib.use("Agg")  # no window is needed

import matplotlib.pyplot as plt
import pytest
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, VAETransformer
from sklearn_ae.networks import Conv


@pytest.fixture(autouse=True)
def no_traces(tmp_path, monkeypatch, unchanged_globals):
    """Check that displays write no files and change no settings of matplotlib; close their figures."""
    monkeypatch.chdir(tmp_path)
    settings = dict(matplotlib.rcParams)
    plt.close("all")  # those of doctests, which may run in the same process
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == settings
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="session")
def wine():
    return load_wine(as_frame=True).data


@pytest.fixture(scope="session")
def digits_pca(digits):
    return PCA(2).fit(digits)


@pytest.fixture(scope="session")
def trained(curve):
    """A network that reconstructs the curve clearly better than PCA."""
    model = AutoencoderTransformer(2, hidden_layer_sizes=(8,), max_iter=15, random_state=0).fit(curve)
    assert model.uses_network_
    return model


@pytest.fixture(scope="session")
def vae(curve):
    return VAETransformer(2, hidden_layer_sizes=(4,), max_iter=3, random_state=0).fit(curve)


@pytest.fixture(scope="session")
def convolutional(digits):
    network = Conv(channels=(2,))
    model = AutoencoderTransformer(
        2, network=network, hidden_layer_sizes=(), max_iter=1, early_stopping=False, random_state=0
    )
    return model.fit(digits[:50])


@pytest.fixture(scope="session")
def detector(wine):
    linear = AutoencoderTransformer(4, hidden_layer_sizes=())
    steps = StandardScaler(), AEOutlierDetector(linear, n_estimators=1, random_state=0)
    return make_pipeline(*steps).fit(wine)
