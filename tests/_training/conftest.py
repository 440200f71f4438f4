"""The first fit of a process, inspected by several tests."""

import json
import subprocess
import sys

import pytest

FIRST_FIT = """
import json, sys, warnings
import numpy as np
from sklearn_ae import AutoencoderTransformer

before = list(warnings.filters)
X = np.random.RandomState(0).normal(size=(60, 3))
model = AutoencoderTransformer(1, max_iter=2, early_stopping=False, random_state=0).fit(X)
facts = {
    "n_iter": model.n_iter_,
    "keeps_filters": list(warnings.filters) == before,
    "imports_compiler": "torch._dynamo" in sys.modules,
}
print(json.dumps(facts))
"""


@pytest.fixture(scope="session")
def first_fit():
    """Facts about the first fit of a process."""
    command = [sys.executable, "-W", "ignore", "-c", FIRST_FIT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    facts = json.loads(done.stdout)
    assert facts["n_iter"] == 2
    return facts
