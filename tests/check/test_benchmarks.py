"""The examples and benchmarks run and print what their readers rely on."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(folder, *args):
    """Run Python in a folder, warnings as errors; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *map(str, args)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


@pytest.fixture
def data(tmp_path):
    """A folder laid out as the benchmark expects it: a table, images, gene expression, MNIST."""
    rng = np.random.RandomState(0)
    (tmp_path / "adbench").mkdir()
    (tmp_path / "matrices").mkdir()
    t = rng.uniform(-2, 2, 120)
    curve = np.column_stack([t, t**2, np.sin(2 * t), np.ones_like(t)])  # with a constant column
    np.savez(tmp_path / "adbench" / "1_curve.npz", X=curve, y=np.arange(120) % 10 == 0)
    savemat(tmp_path / "matrices" / "faces.mat", {"X": rng.randint(0, 256, (30, 20)).astype(np.uint8)})
    savemat(tmp_path / "matrices" / "genes.mat", {"X": rng.randint(-2, 3, (30, 20)).astype(np.int16)})
    digits = {f"X_{part}": rng.randint(0, 256, (40, 28, 28)).astype(np.uint8) for part in ("train", "test")}
    np.savez(tmp_path / "mnist.npz", **digits)
    return tmp_path


def test_versus_pca(data):
    script = EXAMPLES / "benchmarks" / "versus_pca.py"
    out = run(data, script, "--data", data, "--quick", "--only", "curve", "matrices", "mnist", "linnerud")
    cases = [line.split() for line in out.splitlines() if line.endswith(tuple("0123456789"))]
    found = {(case[0], *map(int, case[1:5])) for case in cases if len(case) == 12}
    assert found == {
        ("sklearn/linnerud", 20, 3, 2, 0),
        ("adbench/curve", 108, 4, 2, 0),
        ("matrices/faces", 30, 20, 5, 0),
        ("matrices/genes", 30, 20, 5, 0),
        ("mnist", 80, 784, 5, 0),
    }
    for case in cases:
        if case[8:9] == ["shut"]:
            assert float(case[5]) == pytest.approx(1, abs=0.1)  # PCA of all training rows
    assert "| AutoencoderTransformer | 5 |" in out
    assert "| MLPRegressor(X, X) | 5 |" in out
    assert "| textbook PyTorch autoencoder | 5 |" in out


def test_versus_pca_without_peers_and_data(tmp_path):
    script = EXAMPLES / "benchmarks" / "versus_pca.py"
    out = run(tmp_path, script, "--only", "linnerud", "--seeds", 2, "--no-peers")
    assert "| AutoencoderTransformer | 2 |" in out
    assert "MLPRegressor" not in out


def test_engine(tmp_path):
    """One tiny network instead of the benchmark's three."""
    code = (
        "import sys; sys.argv[1:] = ['--repeats', '1']\n"
        f"sys.path.insert(0, {str(EXAMPLES / 'benchmarks')!r})\n"
        "import engine\n"
        "engine.SHAPES = {'tiny': (200, (6, 4, 2), 100)}\n"
        "engine.main()"
    )
    rows = [line.split() for line in run(tmp_path, "-c", code).splitlines()[1:]]
    assert [row[:2] for row in rows] == [["tiny", "neither"], ["tiny", "both"]]
    assert all(float(row[-1]) > 0 for row in rows)


def test_gpu_benchmark(tmp_path):
    """Two tiny rows of the tables, on the CPU."""
    code = (
        "import sys; sys.argv[1:] = ['--repeats', '1', '--seconds', '0.01', '--device', 'cpu']\n"
        f"sys.path.insert(0, {str(EXAMPLES / 'benchmarks')!r})\n"
        "import gpu\n"
        "gpu.SHAPES = {'tiny': (200, (6, 4, 2), 100, ['float32'])}\n"
        "gpu.MODELS = {'short': gpu.AutoencoderTransformer(2, max_iter=2)}\n"
        "gpu.main()"
    )
    out = run(tmp_path, "-c", code)
    speeds = re.findall(r"^tiny +float32 +(neither|both) +[\d.]+ +[\d.]+ +([\d.]+)x", out, re.MULTILINE)
    assert [mode for mode, _ in speeds] == ["neither", "both"]
    assert all(float(ratio) > 0 for _, ratio in speeds)
    # the CPU agrees with itself, and not with itself under another seed
    apart = re.findall(r"^short +(?:final loss|error) +\S+ +\S+ +(\S+) +(\S+)$", out, re.MULTILINE)
    assert [float(own) for own, _ in apart] == [0.0, 0.0]
    assert all(float(seeds) > 0 for _, seeds in apart)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says so only where there is no GPU")
def test_gpu_benchmark_without_a_gpu(tmp_path):
    out = run(tmp_path, EXAMPLES / "benchmarks" / "gpu.py")
    assert len(out.splitlines()) == 1
    assert "no CUDA device" in out


def test_scaling(tmp_path):
    """Time per epoch does not grow faster than its bound, even over few small sizes."""
    out = run(tmp_path, EXAMPLES / "benchmarks" / "scaling.py", "--quick")
    slopes = re.findall(
        r"^time of (.+) against (\w+): exponent (-?[\d.]+); (-?[\d.]+) from", out, re.MULTILINE
    )
    assert [slope[:2] for slope in slopes] == [
        (what, name) for name in ("rows", "columns") for what in ("an epoch", "all else")
    ]
    assert out.count("at most 1.05: ") == 2
    few, wide, all_columns = (float(line.split()[-3]) for line in out.splitlines()[-3:])
    assert few > 0
    assert wide < all_columns  # seconds of training


def test_likelihood(data):
    script = EXAMPLES / "benchmarks" / "likelihood.py"
    short = ("--epochs", 1, 2, "--rows", 10, "--draws", 20, "--only", "curve", "linnerud")
    out = run(data, script, "--data", data, "--quick", *short)
    mnist, tables = out.split("## Held-out rows")
    trainings = [line.split("|")[1:-1] for line in mnist.splitlines() if line.startswith("| 0 ")]
    assert {int(training[4]) for training in trainings} == {1, 2}  # epochs, by their seconds
    for _, _, _, textbook, _, ours, gain in trainings:
        assert float(textbook) - float(ours) == pytest.approx(float(gain), abs=0.011)
        assert 0 < float(ours) < 784
    cases = [line for line in tables.splitlines() if re.match(r"\| (sklearn|adbench)/", line)]
    assert [case.count("**") for case in cases] == [2, 2]  # the best of each
    for method in ("PCA", "GaussianMixture", "VAETransformer", "VAE, mixture prior"):
        assert f"\n| {method} | " in tables


def test_outliers_benchmark(tmp_path):
    """On scikit-learn's bundled sets, by the smaller parts of the script."""
    script = EXAMPLES / "benchmarks" / "outliers.py"
    out = run(tmp_path, script, "--quick", "--without-pyod", "--part", "sets", "--part", "contamination")
    line = r"^one class +(\S.*\S)  +([\d.]+) +[\d.]+ +[\d.]+ +[\d.]+ +3$"
    means = dict(re.findall(line, out, re.MULTILINE))
    assert len(means) == 7
    assert float(means["AEOutlierDetector"]) > float(means["PCA reconstruction"])
    gains = re.findall(r"^(\d+%) +robust=(True|False) +([\d.]+)", out, re.MULTILINE)
    assert len(gains) == 8
    assert all(float(auc) > 50 for *_, auc in gains)


def test_latent_size_benchmark(data):
    script = EXAMPLES / "benchmarks" / "latent_size.py"
    quick = ("--draws", 2, "--only", "adbench/curve", "sklearn/linnerud", "--max-iter", 20)
    out = run(data, script, "--data", data, *quick)
    counts = dict(re.findall(r"^rank found by rule='(\w+)': (\d) of 2$", out, re.MULTILINE))
    assert set(counts) == {"best", "1se"}
    assert all(int(count) >= 1 for count in counts.values())
    line = r"^(\S+/\S+) +\d+ +\d+ +\d+ +(\d+) +(\d+) +([\d.]+) +([\d.]+) +(yes|NO) "
    rows = re.findall(line, out, re.MULTILINE)
    assert [row[0] for row in rows] == ["adbench/curve", "sklearn/linnerud"]
    for _, _, _, below, error, agree in rows:
        assert (agree == "yes") == (float(below) <= float(error))
    assert re.search(r"^agree: \d of \d; time, median [\d.]+, most [\d.]+$", out, re.MULTILINE)


def test_memory_benchmark(tmp_path):
    script = EXAMPLES / "benchmarks" / "memory.py"
    out = run(tmp_path, script, "--gigabytes", 0.003, "--only-fit", "--epochs", 4, "--chunks", 800)
    line = r"^fit, 2 epochs and all else +(\d+) +-?\d+ +([\d.]+) +[\d.]+$"
    ((peak, seconds),) = re.findall(line, out, re.MULTILINE)
    assert float(seconds) > 0
    assert int(peak) > 50 or not sys.platform.startswith("linux")  # Python and torch alone take more
    (ratio,) = re.findall(r"^digits +1634 +4 +[\d.]+ +([\d.]+)$", out, re.MULTILINE)
    assert 0.7 < float(ratio) < 1.6


def test_time_to_quality(tmp_path):
    """The tables' rows for a small curved set; our fit reaches the bar."""
    rng = np.random.RandomState(0)
    z = rng.normal(size=(500, 3))
    X = np.column_stack([z, np.sin(2 * z), z**2]) + 0.01 * rng.normal(size=(500, 9))
    (tmp_path / "adbench").mkdir()
    np.savez(tmp_path / "adbench" / "28_pendigits.npz", X=X, y=np.zeros(500))
    code = (
        "import sys\n"
        f"sys.argv[1:] = ['--sets', 'pendigits', '--patience', '1', '--data', {str(tmp_path)!r}]\n"
        f"sys.path.insert(0, {str(EXAMPLES / 'benchmarks')!r})\n"
        "import time_to_quality as script\n"
        "script.TABLE_STEPS = 200\n"
        "script.PEERS.pop('pyod AutoEncoder')\n"
        "script.main()"
    )
    out = run(tmp_path, "-c", code)
    bar = float(re.search(r"bar ([\d.]+)", out)[1])
    errors = re.findall(
        r"^(AutoencoderTransformer|bare loop, \d+ epochs) +([\d.]+) +[\d.]+", out, re.MULTILINE
    )
    assert [float(error) <= bar for _, error in errors] == [True, True]
    assert len(re.findall(r"^(?:MLPRegressor|skorch)", out, re.MULTILINE)) == 2


def test_classic(tmp_path):
    """Starts at PCA and gets better: the script's report for a few images."""
    rng = np.random.RandomState(0)
    images = 255 * (rng.uniform(size=(300, 4)) @ rng.uniform(size=(4, 784)) > 1).reshape(-1, 28, 28)
    np.savez(
        tmp_path / "mnist.npz", X_train=images[:200].astype(np.uint8), X_test=images[200:].astype(np.uint8)
    )
    out = run(tmp_path, EXAMPLES / "benchmarks" / "classic.py", "--data", tmp_path, "--epochs", "5")
    test, training, pca = map(
        float, re.search(r"test ([\d.]+), training ([\d.]+), PCA ([\d.]+)", out).groups()
    )
    assert training < test
    assert test < pca
    assert "5 epochs" in out


def test_small_data(tmp_path):
    """Both grids choose the same size."""
    out = run(tmp_path, EXAMPLES / "benchmarks" / "small_data.py", "--quick")
    assert len(re.findall(r"^fit (?:digits|wine)", out, re.MULTILINE)) == 4
    one, two = re.findall(r"chose (\d+), (-?[\d.]+) nats", out)
    assert one == two
