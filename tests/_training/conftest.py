"""The first fit and score of a process, inspected by several tests."""

import json
import subprocess
import sys

import pytest

FIRST_FIT = """
import json, sys, tempfile, warnings
import numpy as np
from sklearn_ae import AutoencoderTransformer, VAETransformer

def no_folder(*args):
    raise FileNotFoundError("as in a container without a writable folder")

tempfile._get_default_tempdir = no_folder
before = list(warnings.filters)
X = np.random.RandomState(0).normal(size=(60, 3))
model = AutoencoderTransformer(1, max_iter=2, early_stopping=False, random_state=0).fit(X)
model.score(X)
contractive = {"penalty": "contractive", "bottleneck": "relu"}
AutoencoderTransformer(1, max_iter=2, init="random", **contractive).fit(X).score(X)
VAETransformer(1, max_iter=2, init="random", likelihood="gaussian", prior="mixture").fit(X).score(X)
facts = {
    "n_iter": model.n_iter_,
    "keeps_filters": list(warnings.filters) == before,
    "imports_compiler": "torch._dynamo" in sys.modules,
}
print(json.dumps(facts))
"""


@pytest.fixture(scope="session")
def first_fit():
    """Facts about the first fit and score of a process that has no folder for temporary files."""
    command = [sys.executable, "-W", "ignore", "-c", FIRST_FIT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    facts = json.loads(done.stdout)
    assert facts["n_iter"] == 2
    return facts
