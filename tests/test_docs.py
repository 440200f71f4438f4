"""Documents: their code runs and prints the documented output, links exist, docstrings are complete.

``python tests/test_docs.py [DOCUMENT ...]`` runs the code of the documents (by default of all of them) and
writes its output into their text blocks.
"""

import contextlib
import importlib
import inspect
import io
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from numpydoc.validate import validate
from sklearn.datasets import load_iris

import sklearn_ae
from sklearn_ae import (
    AEImputer,
    AEOutlierDetector,
    AutoencoderTransformer,
    AutoencoderTransformerCV,
    VAETransformer,
    inspection,
    latent,
    metrics,
    onnx,
)
from sklearn_ae._options import Option

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PAGES = [
    page
    for folder in (".", "guide", "coming_from", "benchmarks")
    for page in sorted((ROOT / "docs" / folder).glob("*.md"))
]
WITH_CODE = [
    README,
    CONTRIBUTING,
    *(page for page in PAGES if "```python" in page.read_text(encoding="utf-8")),
]
IN_MAKE_TEST = {
    README,
    CONTRIBUTING,
    ROOT / "docs" / "guide" / "big_data.md",
}  # the others run in `make check`
CODE_BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n^```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+\.?\d*")
SLOT_MODULES = [
    *("losses", "likelihoods", "corruptions", "bottlenecks"),
    *("penalties", "divergences", "priors", "networks", "outlier_scores"),
]

# numpydoc's checks: a summary that ends in a period; all parameters with their types, in order;
# the returned values; sections with valid names, in order
CODES = {"GL05", "GL06", "GL07", "GL08", "GL09", "SS01", "SS03", "SS04"}
CODES |= {"PR01", "PR02", "PR03", "PR04", "PR05", "PR06", "PR07", "PR10", "RT01", "YD01"}


# -- code in the documents ---------------------------------------------------------------


def run_blocks(text: str) -> Iterator[tuple[str, str]]:
    """Run the Python blocks of a document in one namespace; yield the documented and the actual output."""
    namespace: dict[str, Any] = {"__name__": "document"}
    for number, (code, documented) in enumerate(CODE_BLOCK.findall(text), start=1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"block {number}", "exec"), namespace)
        yield documented, printed.getvalue()


def agree(documented: str, printed: str) -> bool:
    """Return True if two outputs have the same words, and numbers within a fifth of each other.

    Training is reproducible on one machine, but not between machines.
    """
    if NUMBER.sub("#", documented).split() != NUMBER.sub("#", printed).split():
        return False
    pairs = zip(NUMBER.findall(documented), NUMBER.findall(printed), strict=True)
    return all(float(a) == pytest.approx(float(b), rel=0.2, abs=last_digit(a)) for a, b in pairs)


def last_digit(number: str) -> float:
    """Return slightly more than one unit in the last digit of a printed number."""
    return 1.1 * 10.0 ** -len(number.partition(".")[2])


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(
            page, id=str(page.relative_to(ROOT)), marks=() if page in IN_MAKE_TEST else pytest.mark.slow
        )
        for page in WITH_CODE
    ],
)
def test_code_prints_the_documented_output(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCIPY_ARRAY_API", os.environ.get("SCIPY_ARRAY_API", "0"))  # restored afterwards
    for documented, printed in run_blocks(document.read_text(encoding="utf-8")):
        assert agree(documented, printed), f"The document says\n{documented}\nbut the code prints\n{printed}"


@pytest.mark.parametrize("document", [README, CONTRIBUTING], ids=lambda path: path.name)
def test_commands_are_targets_of_the_makefile(document):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    text = document.read_text(encoding="utf-8")
    named = re.findall(r"\bmake ([a-z-]+)(?=`|\s{2,}|$)", text, re.MULTILINE)
    assert {"demo", "test"} <= set(targets)
    assert named
    assert set(named) <= set(targets)


@pytest.mark.parametrize(
    "document",
    [*ROOT.glob("*.md"), *PAGES, *ROOT.glob("docs/api/*.md")],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_links_and_scripts_exist(document):
    text = document.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    scripts = re.findall(r"python ((?:examples|tests)/\S+\.py)", text)
    missing = [link for link in links if not (document.parent / link).exists()]
    missing += [script for script in scripts if not (ROOT / script).exists()]
    assert not missing


def test_links_to_sections_exist():
    """Links such as ``measuring.md#scorers`` name a heading of the page."""
    missing = []
    for document in PAGES:
        for link, section in re.findall(r"\]\(([^)#]+\.md)#([^)]+)\)", document.read_text(encoding="utf-8")):
            target = (document.parent / link).read_text(encoding="utf-8")
            headings = re.findall(r"^#+ (.*)$", target, re.MULTILINE)
            if section not in [
                re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings
            ]:
                missing.append((document.name, link, section))
    assert not missing


def test_pages_of_the_api_link_to_existing_guides():
    """``:doc:`/guide/...``` in the API reference names a page of the guide."""
    text = "".join(page.read_text(encoding="utf-8") for page in ROOT.glob("docs/api/*.rst"))
    guides = re.findall(r":doc:`/(guide/\w+)`", text)
    assert guides
    assert not [guide for guide in guides if not (ROOT / "docs" / f"{guide}.md").exists()]


def test_changelog_names_the_version():
    assert f"## [{sklearn_ae.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


# -- docstrings --------------------------------------------------------------------------


def exported(module: ModuleType) -> dict[str, Any]:
    """Return the public objects of a module by full name."""
    return {f"{module.__name__}.{name}": getattr(module, name) for name in module.__all__}


def estimators() -> dict[str, type]:
    return {name: value for name, value in exported(sklearn_ae).items() if inspect.isclass(value)}


def options() -> dict[str, type]:
    """Return the option classes that users instantiate, without the base class of each slot."""
    found = {}
    for name in SLOT_MODULES:
        module = f"sklearn_ae.{name}"
        for value in vars(importlib.import_module(module)).values():
            own = inspect.isclass(value) and value.__module__ == module and issubclass(value, Option)
            if (
                own
                and not value.__name__.startswith("_")
                and any(parent.__module__ == module for parent in value.__bases__)
            ):
                found[f"{module}.{value.__name__}"] = value
    return found


def latent_functions() -> dict[str, Callable]:
    """Return the public functions that ``sklearn_ae.latent`` defines."""
    return {
        f"sklearn_ae.latent.{name}": value
        for name, value in vars(latent).items()
        if inspect.isfunction(value) and value.__module__ == latent.__name__ and not name.startswith("_")
    }


ESTIMATORS = estimators()
DISPLAYS = {name: value for name, value in exported(inspection).items() if inspect.isclass(value)}
CLASSES = ESTIMATORS | options() | DISPLAYS
FUNCTIONS = latent_functions() | exported(metrics) | exported(onnx)
FUNCTIONS |= {name: value for name, value in exported(inspection).items() if inspect.isfunction(value)}


def public_attributes(cls: type) -> Iterator[tuple[str, bool]]:
    """Yield the name of each public method or property that this package defines, and True for properties."""
    for name in dir(cls):
        if name.startswith("_"):
            continue
        attribute = inspect.getattr_static(cls, name)
        function = attribute.fget if isinstance(attribute, property) else attribute
        if callable(function) and getattr(function, "__module__", "").startswith("sklearn_ae"):
            yield name, isinstance(attribute, property)


METHODS = [
    f"{path}.{name}"
    for path, cls in (ESTIMATORS | DISPLAYS).items()
    for name, is_property in public_attributes(cls)
    if not is_property
]
PROPERTIES = [
    pytest.param(cls, name, id=f"{cls.__name__}-{name}")
    for cls in ESTIMATORS.values()
    for name, is_property in public_attributes(cls)
    if is_property
]


def test_the_checked_objects_are_complete():
    assert len(ESTIMATORS) == 5
    assert {path.split(".")[1] for path in CLASSES} >= set(SLOT_MODULES)
    assert "sklearn_ae.latent.interpolate" in FUNCTIONS
    assert "sklearn_ae.losses.Loss" not in CLASSES


@pytest.mark.parametrize("name", [*CLASSES, *METHODS, *FUNCTIONS])
def test_docstring_follows_numpydoc(name):
    errors = [f"{code}: {text}" for code, text in validate(name)["errors"] if code in CODES]
    assert not errors, "\n".join(errors)


@pytest.mark.parametrize("name", [*CLASSES, *FUNCTIONS])
def test_class_or_function_has_a_runnable_example(name):
    doc = inspect.cleandoc((CLASSES | FUNCTIONS)[name].__doc__ or "")
    assert re.search(r"^Examples\n-+\n+>>> ", doc, re.MULTILINE)


@pytest.mark.parametrize(("cls", "name"), PROPERTIES)
def test_property_is_described(cls, name):
    assert inspect.getattr_static(cls, name).__doc__


@pytest.mark.parametrize(
    "estimator",
    [
        AEOutlierDetector(
            AutoencoderTransformer(1, max_iter=1), robust=False, n_estimators=1, random_state=0
        ),
        AEImputer(AutoencoderTransformer(1, max_iter=1), random_state=0),
        AutoencoderTransformer(1, max_iter=1, random_state=0),
        AutoencoderTransformerCV([1], cv=2, max_iter=1, random_state=0),
        VAETransformer(1, max_iter=1, random_state=0),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_fitted_attributes_are_described(estimator):
    """The docstring of the class describes every public attribute that ``fit`` sets."""
    estimator.fit(load_iris(as_frame=True).data)
    fitted = {name for name in vars(estimator) if name.endswith("_") and not name.startswith("_")}
    assert {"n_features_in_", "feature_names_in_"} < fitted
    described = re.findall(r"^ *(\w[\w, ]*_) : ", type(estimator).__doc__ or "", re.MULTILINE)
    assert fitted <= {name for names in described for name in names.split(", ")}


# -- refreshing --------------------------------------------------------------------------


def refresh(path: Path) -> None:
    """Write the output of a document's code into its text blocks."""
    text = path.read_text(encoding="utf-8")
    outputs = (printed for _, printed in run_blocks(text))

    def with_output(match: re.Match) -> str:
        printed = next(outputs)
        if match[2] is None and not printed:
            return match[0]
        return f"```python\n{match[1]}```\n\n```text\n{printed}```\n"

    path.write_text(CODE_BLOCK.sub(with_output, text), encoding="utf-8")


if __name__ == "__main__":
    documents = [Path(name).absolute() for name in sys.argv[1:]] or WITH_CODE
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for document in documents:
            refresh(document)
