"""The examples of the gallery run, warnings as errors, and print what their texts say.

Each has a check of what it prints in CHECKS. Tables have two spaces or more between
their columns; ``table`` reads them.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PNG = b"\x89PNG\r\n\x1a\n"
SAVED = {"replace_pca": ["replace_pca.png"]}  # the files that an example writes


# -- reading what was printed ---------------------------------------------------------------


def table(out):
    """Lines whose cells but the first are numbers, as {first cell: array of the others}.

    Per cent signs are dropped.
    """
    found = {}
    for line in out.splitlines():
        name, *cells = re.split(r" {2,}", line.strip())
        try:
            values = [float(cell.rstrip(" %")) for cell in cells]
        except ValueError:
            continue
        if values:
            assert name not in found, f"two lines begin with {name!r}"
            found[name] = np.array(values)
    return found


def number(out, pattern):
    """The one number that a pattern finds, such as r"chosen: (\\d+)"."""
    (found,) = re.findall(pattern, out)
    return float(found)


# -- what each example finds ----------------------------------------------------------------


CHECKS = {}


# -- tests ----------------------------------------------------------------------------------


def run(script, folder):
    """Run an example in an empty folder; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:FigureCanvasAgg is non-interactive", str(script)],
        cwd=folder,
        env={**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


@pytest.mark.parametrize("name", CHECKS)
def test_example(name, tmp_path):
    pytest.importorskip("matplotlib")
    CHECKS[name](run(EXAMPLES / f"{name}.py", tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == SAVED.get(name, [])
    assert all(path.read_bytes().startswith(PNG) for path in tmp_path.iterdir())


def test_every_example_is_checked():
    assert set(CHECKS) == {path.stem for path in EXAMPLES.glob("*.py")}
