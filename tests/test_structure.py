"""Who may import whom: each file only from those above it, and nothing optional at import time."""

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "sklearn_ae"

# each file imports only from files above it
ORDER = (
    "_compat",
    "_options",
    "losses",
    "likelihoods",
    "corruptions",
    "bottlenecks",
    "penalties",
    "divergences",
    "priors",
    "networks",
    "_module",
    "_elbo",
    "_resources",
    "_sources",
    "_streams",
    "_batches",
    "_callbacks",
    "_optimizer",
    "_graphs",
    "_training",
    "_streamed_pca",
    "_anchor",
    "_building",
    "_row_space",
    "_validation",
    "_describing",
    "_likelihood",
    "_observations",
    "_latent_model",
    "_laplace",
    "_scoring",
    "_variational",
    "_linear",
    "_generative",
    "_fitting",
    "_passes",
    "_wide",
    "_chunks",
    "_base",
    "_autoencoder",
    "_selection",
    "_autoencoder_cv",
    "_vae",
    "_scatter",
    "_gauges",
    "scores",
    "_detecting",
    "_score_parameter",
    "_judging",
    "_outlier",
    "_pipelines",
    "_codes",
    "latent",
    "metrics",
    "inspection",
    "__init__",
)
SLOTS = {
    *("losses", "likelihoods", "corruptions", "bottlenecks"),
    *("penalties", "divergences", "priors", "networks", "scores"),
}
# a likelihood stands in the place of the loss; scores are made of fitted_scores
SAME_SLOT = {"likelihoods": {"losses"}, "scores": {"_gauges", "_scatter"}}
OPTIONAL = ("matplotlib", "pandas", "polars", "pyarrow", "tqdm", "numpydoc")
MAX_LINES = 330
MEDIAN_BODY = 12

# "losses", or "metrics/_scorers" for a file of a subpackage
FILES = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def imported(tree):
    """Full names of the modules that a file imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""


def part(name):
    """The place of a file in ORDER: its own, or that of its subpackage."""
    return name.partition("/")[0]


def imported_files(name):
    """The parts of the package that a file imports."""
    own = [module.removeprefix("sklearn_ae.") for module in imported(TREES[name]) if "sklearn_ae." in module]
    return {module.split(".")[0] for module in own}


def bodies():
    """Lines of every function's body, its docstring aside."""
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                yield body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_every_file_has_its_place():
    assert {part(name) for name in FILES} == set(ORDER)


@pytest.mark.parametrize("name", FILES)
def test_imports_only_from_above(name):
    own = {part(name)} if "/" in name else set()
    above = own | set(ORDER[: ORDER.index(part(name))])
    assert imported_files(name) <= above, f"{name} imports {imported_files(name) - above}"


@pytest.mark.parametrize("name", sorted(SLOTS))
def test_slots_know_nothing_of_each_other(name):
    assert imported_files(name) <= {"_options", "_compat"} | SAME_SLOT.get(name, set())


@pytest.mark.parametrize("name", sorted(set(FILES) - {"_compat"}))
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


@pytest.mark.parametrize("name", FILES)
def test_nothing_optional_at_module_level(name):
    top = ast.Module([n for n in TREES[name].body if isinstance(n, (ast.Import, ast.ImportFrom))], [])
    assert not {module.split(".")[0] for module in imported(top)} & set(OPTIONAL)


def test_imports_without_what_is_optional():
    """scikit-learn imports pandas where there is one, so sys.modules is emptied rather than read."""
    absent = [name for name in OPTIONAL if name != "tqdm"]  # skorch needs tqdm
    code = f"import sys; sys.modules.update(dict.fromkeys({absent!r})); import sklearn_ae"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_import_adds_no_optional_module():
    code = (
        "import sys, torch, skorch, scipy.linalg, sklearn.decomposition, sklearn.utils.validation\n"
        "before = set(sys.modules)\n"
        "import sklearn_ae\n"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert not set(out.split()) & set(OPTIONAL)


@pytest.mark.parametrize("name", FILES)
def test_files_stay_short(name):
    assert len(FILES[name].read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_functions_stay_short():
    assert statistics.median(bodies()) < MEDIAN_BODY
