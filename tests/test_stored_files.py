"""Files of fitted estimators that earlier versions have made; every later version must read them.

    python tests/test_stored_files.py      writes files for the current format, once for each format

Files of a format stay for as long as versions read it. They are those of skops, which do not depend on the
version of NumPy; pickle stores the same state.
"""

import warnings
from pathlib import Path
from zipfile import ZIP_DEFLATED

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_threads import X_of, estimators, fitted

from sklearn_ae import AutoencoderTransformer
from sklearn_ae._utils.storage import _FORMAT

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")

FOLDER = Path(__file__).parent / "stored" / f"format_{_FORMAT}"
WITH_USER_CODE = ("callable",)  # whose type the user must trust
N = 5


def models():
    """Return the fitted estimators that are stored, with samples."""
    kept = {name: (fitted(name), X_of(name)[:N]) for name in estimators() if name not in WITH_USER_CODE}
    X = X_of("default")
    pipeline = make_pipeline(StandardScaler(), AutoencoderTransformer(2, max_iter=3, random_state=0))
    return kept | {"pipeline": (pipeline.fit(X), X[:N])}


def results(model, X):
    """Return what is compared: codes, reconstructions and scores."""
    Z = model.transform(X)
    found = {"codes": Z}
    if hasattr(model, "score_samples"):
        found["scores"] = model.score_samples(X)
    return found | ({"decoded": model.inverse_transform(Z)} if hasattr(model, "inverse_transform") else {})


def stem(name):
    return name.replace(", ", "_").replace(" ", "_").replace("-", "_")


def write():
    import skops.io

    FOLDER.mkdir(parents=True)  # files that exist stay as they are
    for name, (model, X) in models().items():
        skops.io.dump(model, FOLDER / f"{stem(name)}.skops", compression=ZIP_DEFLATED)
        np.savez_compressed(FOLDER / f"{stem(name)}.npz", X=X, **results(model, X))


@pytest.mark.parametrize("name", [path.stem for path in sorted(FOLDER.glob("*.skops"))])
def test_files_of_earlier_versions_are_read_and_give_the_same_results(name):
    skops = pytest.importorskip("skops.io")
    if name == "flow":
        pytest.importorskip("zuko")
    file = FOLDER / f"{name}.skops"
    model = skops.load(file, trusted=skops.get_untrusted_types(file=file))
    with np.load(FOLDER / f"{name}.npz") as expected:
        found = results(model, expected["X"])
        np.testing.assert_allclose(found["codes"], expected["codes"], rtol=1e-6, atol=1e-6)
        if "decoded" in expected:
            np.testing.assert_allclose(found["decoded"], expected["decoded"], rtol=1e-6, atol=1e-6)
        if hasattr(model, "summary"):
            assert model.summary().decision
        # Integrals over the codes may take another path of their mode search on another processor.
        if "scores" in expected:
            np.testing.assert_allclose(found["scores"], expected["scores"], rtol=1e-3, atol=1e-2)


def test_there_is_a_file_of_each_estimator():
    stored = {path.stem for path in FOLDER.glob("*.skops")}
    assert stored == {stem(name) for name in estimators() if name not in WITH_USER_CODE} | {"pipeline"}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    write()
