"""Structure of the project: size of files and functions, public names, imports, versions.

The layers are checked by import-linter (``make lint``, contracts in ``pyproject.toml``).
"""

import ast
import importlib.util
import io
import json
import re
import statistics
import subprocess
import sys
import tokenize
import tomllib
from importlib import import_module
from itertools import chain
from pathlib import Path

import pytest

import sklearn_ae
from sklearn_ae import AutoencoderTransformer

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sklearn_ae"
ESTIMATORS = {
    *("AEImputer", "AEOutlierDetector"),
    *("AutoencoderTransformer", "AutoencoderTransformerCV", "VAETransformer"),
}
SLOTS = {
    *("corruptions", "networks", "bottlenecks", "losses", "penalties"),
    *("likelihoods", "divergences", "priors", "outlier_scores"),
}
TOOLS = {"inspection", "latent", "metrics"}
WITH_LIBRARY = {"onnx"}  # imported by name only, because it needs an optional package
OPTIONAL = ("matplotlib", "pandas", "polars", "pyarrow", "numpydoc", "zuko", "skl2onnx", "onnx")
OPTIONAL += ("dask", "distributed", "ray")
SLOW_TO_IMPORT = ("tqdm",)  # required, but only used by verbose fits

MAX_LINES_OF_CODE = 350
MEDIAN_BODY = 12
# Bounds on the path of a default fit through the package
MAX_FILES = 16
MAX_CHANGES_OF_FILE = 50

NO_CODE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT),
    *(tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER),
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

FILES = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


# -- imports in the source ----------------------------------------------------------------


def imported(tree):
    """Yield the full names of the modules that a file imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""


@pytest.mark.parametrize("name", sorted(set(FILES) - {"_utils/compat"}))
def test_private_helpers_of_scikit_learn_are_imported_in_one_place(name):
    private = [m for m in imported(TREES[name]) if m.startswith("sklearn.") and "._" in m]
    names = [
        alias.name
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sklearn"
        for alias in node.names
        if alias.name.startswith("_")
    ]
    assert not private + names


@pytest.mark.parametrize("name", [name for name in FILES if name.partition("/")[0] not in WITH_LIBRARY])
def test_nothing_optional_at_module_level(name):
    top = ast.Module([n for n in TREES[name].body if isinstance(n, (ast.Import, ast.ImportFrom))], [])
    assert not {module.split(".")[0] for module in imported(top)} & {*OPTIONAL, *SLOW_TO_IMPORT}


# -- imports at run time ------------------------------------------------------------------

IMPORTS = """
import json, sys

class Refused:
    def __init__(self, names):
        self.names, self.tried = names, []

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            self.tried.append(name)
            raise ModuleNotFoundError(name)

refused = Refused(sys.argv[1:])
sys.meta_path.insert(0, refused)
import torch, skorch, scipy.linalg, sklearn.decomposition, sklearn.utils.validation
refused.tried.clear()  # scikit-learn imports pandas where it is installed

import sklearn_ae
loaded = [name for name in dir(sklearn_ae) if f"sklearn_ae.{name}" in sys.modules]
modules = [getattr(sklearn_ae, name).__name__ for name in ("inspection", "latent", "metrics")]
print(json.dumps({"tried": refused.tried, "loaded": loaded, "modules": modules}))
"""


@pytest.fixture(scope="module")
def imports():
    """Record of an import in a new process in which the optional packages cannot be imported."""
    command = [sys.executable, "-W", "error", "-c", IMPORTS, *OPTIONAL]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_import_works_without_optional_packages_and_imports_none(imports):
    assert imports["tried"] == []


def test_subpackages_are_loaded_at_their_first_use(imports):
    assert not set(imports["loaded"]) & TOOLS
    assert imports["modules"] == ["sklearn_ae.inspection", "sklearn_ae.latent", "sklearn_ae.metrics"]


# -- public names -------------------------------------------------------------------------


def test_public_names():
    assert set(sklearn_ae.__all__) == ESTIMATORS
    assert set(dir(sklearn_ae)) == ESTIMATORS | SLOTS | TOOLS | {"__version__"}
    assert all(hasattr(sklearn_ae, name) for name in dir(sklearn_ae))


def test_every_public_module_is_listed():
    public = {name.partition("/")[0] for name in FILES if not name.startswith("_")}
    assert public == SLOTS | TOOLS | WITH_LIBRARY


@pytest.mark.parametrize("name", sorted(SLOTS | TOOLS))
def test_submodules_are_attributes(name):
    assert getattr(sklearn_ae, name) is import_module(f"sklearn_ae.{name}")


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="module 'sklearn_ae' has no attribute 'pca'"):
        sklearn_ae.pca  # noqa: B018


def test_the_package_is_typed():
    assert (PACKAGE / "py.typed").is_file()


# -- versions -----------------------------------------------------------------------------


def pins(file):
    """Return the versions that a file of constraints pins, by name."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


def release(version):
    """Return a version as a tuple without trailing zeros, so that 2.6 equals 2.6.0."""
    return tuple(int(part) for part in re.sub(r"(\.0)+$", "", version).split("."))


def test_the_lowest_versions_are_the_tested_ones():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    own, *of_tests = extras["test"]
    of_extras = (extras[name] for name in re.findall(r"\w+", own.partition("[")[2]))
    tested = pins("constraints-min.txt")
    for requirement in [*project["dependencies"], *chain.from_iterable(of_extras), *of_tests]:
        name, version = requirement.split(">=")
        assert release(tested[name.partition("[")[0]]) == release(version), name


def test_pre_commit_runs_the_pinned_tools():
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    revisions = dict(re.findall(r"repo: .*/([\w-]+)\n +rev: v(\S+)", text))
    pinned = pins("constraints.txt")
    assert revisions == {"ruff-pre-commit": pinned["ruff"], "codespell": pinned["codespell"]}


def test_the_citation_has_the_version():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {sklearn_ae.__version__}\n" in text


# -- sizes --------------------------------------------------------------------------------


def lines_of_code(name):
    """Return the number of lines of a file without docstrings, comments and blank lines."""
    tokens = tokenize.generate_tokens(io.StringIO(FILES[name].read_text(encoding="utf-8")).readline)
    code = {line for t in tokens if t.type not in NO_CODE for line in range(t.start[0], t.end[0] + 1)}
    for node in ast.walk(TREES[name]):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            code -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(code)


def bodies():
    """Yield the number of lines of every function's body without its docstring."""
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                yield body[-1].end_lineno - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("name", FILES)
def test_files_stay_short(name):
    assert lines_of_code(name) <= MAX_LINES_OF_CODE


def test_functions_stay_short():
    assert statistics.median(bodies()) < MEDIAN_BODY


# -- path of fit --------------------------------------------------------------------------


def script(path):
    """Import a script that is not part of a package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_fit_takes_a_short_path(digits):
    """Each pair of functions counts once, so that the path does not depend on the length of the training."""
    model = AutoencoderTransformer(8, max_iter=3, random_state=0)
    trace = script(ROOT / "tools" / "trace_fit.py").traced(model, digits)
    assert not trace.upwards
    assert len(trace.files) <= MAX_FILES
    assert len(trace.changes) <= MAX_CHANGES_OF_FILE
