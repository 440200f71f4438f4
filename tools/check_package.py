"""Check the wheel and the sdist in a folder: contents, and use in a new environment outside the checkout.

    python tools/check_package.py dist

``make package`` builds them first. Both are installed, one after the other, with the versions of
constraints.txt.
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
MAX_FILE_SIZE = 1_000_000  # bytes
# Top-level entries of the sdist; the last two are written by hatch.
IN_SDIST = {
    *("sklearn_ae", "docs", "examples", "tests", "tools"),
    *("CHANGELOG.md", "CITATION.cff", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "LICENSE", "README.md"),
    *("SECURITY.md", "Makefile", "constraints.txt", "constraints-min.txt", "pyproject.toml"),
    *(".gitignore", "PKG-INFO"),
}
BUILT = {"__pycache__", "_build", "generated", "gallery", "node_modules"}

SMOKE = """
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import sklearn_ae
from sklearn.datasets import load_iris

package = Path(sklearn_ae.__file__).parent
assert package.is_relative_to(sys.prefix), f"imported from {package}"
assert (package / "py.typed").exists()
assert version("sklearn-ae") == sklearn_ae.__version__

X = load_iris().data
ae = sklearn_ae.AutoencoderTransformer(2, random_state=0)
X_hat = ae.inverse_transform(ae.fit_transform(X))
assert X_hat.shape == X.shape
assert np.isfinite(X_hat).all()
labels = sklearn_ae.AEOutlierDetector(n_estimators=2, random_state=0).fit_predict(X)
assert set(labels) == {-1, 1}
print(f"sklearn_ae {sklearn_ae.__version__} works in {package}")
"""


def check_wheel(path):
    """Check that a wheel has the package and its metadata, and nothing else."""
    names = zipfile.ZipFile(path).namelist()
    top = {name.partition("/")[0] for name in names}
    metadata = {name for name in top if name.endswith(".dist-info")}
    assert top - metadata == {"sklearn_ae"}, f"{path.name} contains {sorted(top)}"
    (folder,) = metadata
    description = zipfile.ZipFile(path).read(f"{folder}/METADATA").decode()
    relative = re.findall(r"\]\((?!https?:|#)[^)]*|<img src=\"(?!https?:)[^\"]*", description)
    assert not relative, f"the description on PyPI has relative links: {relative}"
    in_checkout = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "sklearn_ae").rglob("*")
        if file.suffix in (".py", ".typed")
    }
    in_wheel = {name for name in names if name.startswith("sklearn_ae/")}
    assert in_wheel == in_checkout, f"{path.name} differs from the checkout: {sorted(in_wheel ^ in_checkout)}"
    return len(names)


def check_sdist(path):
    """Check that an sdist has the files of the repository, and none that were built or are large."""
    with tarfile.open(path) as archive:
        files = [member for member in archive.getmembers() if member.isfile()]
    names = [PurePosixPath(*PurePosixPath(file.name).parts[1:]) for file in files]
    top = {name.parts[0] for name in names}
    assert top == IN_SDIST, f"{path.name} differs in {sorted(top ^ IN_SDIST)}"
    built = [str(name) for name in names if BUILT & set(name.parts)]
    assert not built, f"{path.name} contains {built}"
    large = [file.name for file in files if file.size > MAX_FILE_SIZE]
    assert not large, f"{path.name} contains large files: {large}"
    return len(names)


def check_installed(archives):
    """Install each archive in a new environment, and use it outside the checkout."""
    with tempfile.TemporaryDirectory() as folder:
        print("Setting up a new environment with PyTorch, which takes some minutes.", flush=True)
        venv.create(folder, with_pip=True)
        python = Path(folder) / ("Scripts" if os.name == "nt" else "bin") / "python"

        def run(*arguments):
            variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            subprocess.run([python, *arguments], cwd=folder, env=variables, check=True)

        install = ("-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"))
        run(*install, "torch")
        for archive in archives:
            run(*install, str(archive))
            run("-m", "pip", "check")
            run("-W", "error", "-c", SMOKE)
            run("-m", "pip", "uninstall", "--quiet", "--yes", "sklearn-ae")


def main():
    (folder,) = map(Path, sys.argv[1:])
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    print(f"{wheel.name}: {check_wheel(wheel)} files, {sdist.name}: {check_sdist(sdist)} files", flush=True)
    check_installed([wheel.absolute(), sdist.absolute()])


if __name__ == "__main__":
    main()
