"""What the documents promise: README's code runs and prints what it says, docstrings are complete.

``python tests/test_docs.py`` writes the output of the documents' code into their text blocks
(or of those documents that are named).
"""

import contextlib
import importlib
import inspect
import io
import os
import re
import sys
import tempfile
from pathlib import Path

import pytest
from numpydoc.validate import validate

import sklearn_ae
from sklearn_ae import inspection, latent, metrics
from sklearn_ae._options import Option

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PAGES = [ROOT / "docs" / "start.md", *sorted(ROOT.glob("docs/guide/*.md"))]
PAGES += sorted(ROOT.glob("docs/coming_from/*.md"))
WITH_CODE = [
    README,
    CONTRIBUTING,
    *(page for page in PAGES if "```python" in page.read_text(encoding="utf-8")),
]
BLOCK_VALUES = re.compile(r"^```python\n(.*?)^```\n(?:\n^```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+\.?\d*")
SLOT_MODULES = (
    *("losses", "likelihoods", "corruptions", "bottlenecks"),
    *("penalties", "divergences", "priors", "networks", "outlier_scores"),
)

# numpydoc's codes: a summary that ends in a period; every parameter, with its type, in order;
# what is returned; sections with the right names, in the right order
CODES = {"GL05", "GL06", "GL07", "GL08", "GL09", "SS01", "SS03", "SS04"}
CODES |= {"PR01", "PR02", "PR03", "PR04", "PR05", "PR06", "PR07", "PR10", "RT01", "YD01"}


# -- code in the documents ---------------------------------------------------------------


def run_blocks(text):
    """Run the python blocks of a document in one namespace; yield what was said and what was printed."""
    namespace = {"__name__": "document"}
    for number, (code, said) in enumerate(BLOCK_VALUES.findall(text), start=1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"block {number}", "exec"), namespace)
        yield said, printed.getvalue()


def alike(said, printed):
    """Whether two outputs have the same words, and numbers that differ by a fifth at most.

    Fits are reproducible on one machine but not from machine to machine.
    """
    if NUMBER.sub("#", said).split() != NUMBER.sub("#", printed).split():
        return False
    pairs = zip(NUMBER.findall(said), NUMBER.findall(printed), strict=True)
    return all(float(a) == pytest.approx(float(b), rel=0.2, abs=1.1 * 10.0 ** -decimals(a)) for a, b in pairs)


def decimals(number):
    return len(number.partition(".")[2])


@pytest.mark.parametrize("document", WITH_CODE, ids=lambda path: path.stem)
def test_code_runs_and_prints_what_the_document_says(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for said, printed in run_blocks(document.read_text(encoding="utf-8")):
        assert alike(said, printed), f"The document says\n{said}\nbut the code prints\n{printed}"


@pytest.mark.parametrize("document", [README, CONTRIBUTING], ids=lambda path: path.name)
def test_commands_are_targets_of_the_makefile(document):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(
        re.findall(r"\bmake ([a-z]+)\b(?=`|\s{2,}|$)", document.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert {"demo", "test"} <= targets
    assert named
    assert named <= targets


@pytest.mark.parametrize(
    "document", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=lambda path: path.name
)
def test_links_and_scripts_exist(document):
    text = document.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    scripts = re.findall(r"python ((?:examples|tests)/\S+\.py)", text)
    missing = [link for link in links if not (document.parent / link).exists()]
    missing += [script for script in scripts if not (ROOT / script).exists()]
    assert not missing


def test_changelog_names_the_version():
    assert f"## [{sklearn_ae.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


# -- docstrings --------------------------------------------------------------------------


def estimators():
    return {f"sklearn_ae.{name}": getattr(sklearn_ae, name) for name in sklearn_ae.__all__}


def options():
    """Every option that a user can build; the base class of a slot, or of a part of it, is none."""
    found = {}
    for module in SLOT_MODULES:
        for name, value in vars(importlib.import_module(f"sklearn_ae.{module}")).items():
            own = inspect.isclass(value) and value.__module__ == f"sklearn_ae.{module}"
            if own and issubclass(value, Option) and not (value.__doc__ or "").startswith("Base of"):
                found[f"sklearn_ae.{module}.{name}"] = value
    return found


def exported(module):
    """What a subpackage offers, by full name."""
    return {f"{module.__name__}.{name}": getattr(module, name) for name in module.__all__}


FUNCTIONS = {
    f"sklearn_ae.latent.{name}": value
    for name, value in vars(latent).items()
    if inspect.isfunction(value) and value.__module__ == latent.__name__ and not name.startswith("_")
} | exported(metrics)
DISPLAYS = exported(inspection)
CLASSES = {name: value for name, value in (estimators() | options()).items() if inspect.isclass(value)}
CLASSES |= DISPLAYS


def public_methods(cls):
    """Methods and properties that users see and that this package defines."""
    for name in dir(cls):
        if name.startswith("_"):
            continue
        member = inspect.getattr_static(cls, name)
        function = member.fget if isinstance(member, property) else member
        if callable(function) and getattr(function, "__module__", "").startswith("sklearn_ae"):
            yield name, isinstance(member, property)


METHODS = [
    f"{path}.{name}"
    for path, cls in (estimators() | DISPLAYS).items()
    if inspect.isclass(cls)
    for name, is_property in public_methods(cls)
    if not is_property
]
PROPERTIES = [
    (cls, name)
    for cls in estimators().values()
    if inspect.isclass(cls)
    for name, is_property in public_methods(cls)
    if is_property
]


@pytest.mark.parametrize("name", [*CLASSES, *METHODS, *FUNCTIONS])
def test_docstring_follows_numpydoc(name):
    errors = [f"{code}: {text}" for code, text in validate(name)["errors"] if code in CODES]
    assert not errors, "\n".join(errors)


@pytest.mark.parametrize("name", [*CLASSES, *FUNCTIONS])
def test_class_or_function_has_a_runnable_example(name):
    doc = inspect.cleandoc((CLASSES | FUNCTIONS)[name].__doc__ or "")
    assert re.search(r"^Examples\n-+\n+>>> ", doc, re.MULTILINE)


@pytest.mark.parametrize(("cls", "name"), PROPERTIES, ids=lambda value: getattr(value, "__name__", value))
def test_property_is_described(cls, name):
    assert inspect.getattr_static(cls, name).__doc__


@pytest.mark.parametrize("cls", [cls for cls in estimators().values() if inspect.isclass(cls)])
def test_fitted_attributes_are_described(cls):
    """Every public attribute that ``fit`` sets stands in the class's docstring."""
    source = inspect.getsource(inspect.getmodule(cls.fit))
    assigned = set(re.findall(r"\bself\.([a-z]\w*_)\b(?=[^=\n]* = )", source))
    if hasattr(cls, "_fitted_slots"):
        assigned |= set(re.findall(r'"([a-z]\w*_)": slots\.', inspect.getsource(cls._fitted_slots)))
    assert assigned
    described = re.findall(r"^ *(\w[\w, ]*_) : ", cls.__doc__ or "", re.MULTILINE)
    assert assigned <= {name for names in described for name in names.split(", ")}


# -- refreshing --------------------------------------------------------------------------


def refresh(path):
    """Write the output of a document's code into its text blocks."""
    text = path.read_text(encoding="utf-8")
    outputs = (printed for _, printed in run_blocks(text))

    def filled(match):
        printed = next(outputs)
        if match[2] is None and not printed:
            return match[0]
        return f"```python\n{match[1]}```\n\n```text\n{printed}```\n"

    path.write_text(BLOCK_VALUES.sub(filled, text), encoding="utf-8")


if __name__ == "__main__":
    documents = [Path(name).absolute() for name in sys.argv[1:]] or WITH_CODE
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for document in documents:
            refresh(document)
