"""The benchmark scripts run on small data with warnings as errors, and print consistent tables."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def run(folder, *args):
    """Run Python in a folder with warnings as errors; return its output.

    There is no time limit, because a busy machine would miss it.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", *map(str, args)],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


def patched(name, arguments, *statements, **constants):
    """Return code that runs a benchmark script with other constants, to make it smaller."""
    lines = [
        f"import sys; sys.argv[1:] = {arguments!r}",
        f"sys.path.insert(0, {str(EXAMPLES / 'benchmarks')!r})",
        f"import {name} as script",
        *(f"script.{constant} = {value!r}" for constant, value in constants.items()),
        *statements,
        "script.main()",
    ]
    return "\n".join(lines)


@pytest.fixture
def data(tmp_path):
    """Folder with small datasets of each kind: a table, images, gene expression, MNIST."""
    rng = np.random.RandomState(0)
    (tmp_path / "adbench").mkdir()
    (tmp_path / "matrices").mkdir()
    t = rng.uniform(-2, 2, 120)
    curve = np.column_stack([t, t**2, np.sin(2 * t), np.ones_like(t)])  # with a constant feature
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
    shapes = {(case[0], *map(int, case[1:5])) for case in cases if len(case) == 12}
    assert shapes == {
        ("sklearn/linnerud", 20, 3, 2, 0),
        ("adbench/curve", 108, 4, 2, 0),
        ("matrices/faces", 30, 20, 5, 0),
        ("matrices/genes", 30, 20, 5, 0),
        ("mnist", 80, 784, 5, 0),
    }
    for case in cases:
        if case[8:9] == ["PCA"]:
            assert float(case[5]) == pytest.approx(1, abs=0.1)  # after the fallback to PCA
    assert "| AutoencoderTransformer | 5 |" in out
    assert "| MLPRegressor(X, X) | 5 |" in out
    assert "| textbook PyTorch autoencoder | 5 |" in out


def test_versus_pca_on_unseen_datasets(tmp_path):
    """Normal samples of both parts, with the same report."""
    rng = np.random.RandomState(0)
    (tmp_path / "oddbench").mkdir()
    X = rng.normal(size=(130, 4))
    np.savez(
        tmp_path / "oddbench" / "oddbench_plane.npz",
        X_train=X[:80],
        X_test=X[80:],
        y_test=(np.arange(50) < 10).astype(int),
    )
    script = EXAMPLES / "benchmarks" / "versus_pca.py"
    out = run(tmp_path, script, "--data", tmp_path, "--unseen", "--seeds", 1, "--no-peers")
    assert re.search(r"^oddbench_plane +120 +4 +2 +0 ", out, re.MULTILINE)
    assert "| AutoencoderTransformer | 1 |" in out


def test_record(tmp_path):
    """Record a run without a data folder and without the other methods."""
    script, results = EXAMPLES / "benchmarks" / "record.py", tmp_path / "results.json"
    arguments = ("--only", "linnerud", "--seeds", 2, "--no-peers")
    out = run(tmp_path, script, "versus_pca", "--results", results, *arguments)
    assert "| AutoencoderTransformer | 2 |" in out
    assert "MLPRegressor" not in out
    (record,) = json.loads(results.read_text())
    assert record.keys() == {"benchmark", "command", "date", "machine", "versions", "figures"}
    assert record["command"].endswith("versus_pca.py --only linnerud --seeds 2 --no-peers")
    assert record["figures"]["AutoencoderTransformer"]["cases"] == 2


def recorded():
    """Return the records of the benchmarks."""
    return json.loads((EXAMPLES / "benchmarks" / "results.json").read_text(encoding="utf-8"))


def test_recorded_figures_are_documented():
    """Every recorded figure appears in the benchmark pages."""
    pages = ROOT.glob("docs/benchmarks/*.md")
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    documented = {float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", text)}
    for record in recorded():
        assert (ROOT / record["command"].split()[1]).exists()
        for case, figures in record["figures"].items():
            values = {float(str(value).removeprefix(">")) for value in figures.values()}
            assert values <= documented, f"{record['benchmark']}, {case}"


def test_tables_of_the_readme_are_recorded():
    """Every number in a table of README.md is a figure of the method in the records of the named command."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tables = re.findall(r"<!-- (\w+): begin. Refresh with: (.+?) -->\n(.*?)<!-- \1: end -->", text, re.DOTALL)
    assert [name for name, *_ in tables] == ["versus_pca", "outliers"]
    for name, command, table in tables:
        figures = [
            (case, value)
            for record in recorded()
            if record["benchmark"] == name and record["command"].startswith(command)
            for case, values in record["figures"].items()
            for value in values.values()
        ]
        rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")][2:]
        assert len(rows) >= 3
        for method, *cells in rows:
            values = [value for case, value in figures if case.endswith(method)]
            for cell in cells:
                decimals = len(cell.partition(".")[2])
                assert float(cell) in {round(value, decimals) for value in values}, (
                    f"{name}: {method}, {cell}"
                )


def test_engine(tmp_path):
    """One tiny network instead of three."""
    code = patched("engine", ["--repeats", "1"], SHAPES={"tiny": (200, (6, 4, 2), 100)})
    rows = [line.split() for line in run(tmp_path, "-c", code).splitlines()[1:]]
    assert [row[:2] for row in rows] == [["tiny", "neither"], ["tiny", "both"]]
    assert all(float(row[-1]) > 0 for row in rows)


def test_gpu_benchmark(tmp_path):
    """One tiny network and one short fit, on the CPU."""
    code = patched(
        "gpu",
        ["--repeats", "1", "--seconds", "0.01", "--device", "cpu"],
        "script.MODELS = {'short': script.AutoencoderTransformer(2, max_iter=2)}",
        SHAPES={"tiny": (200, (6, 4, 2), 100, ["float32"])},
    )
    out = run(tmp_path, "-c", code)
    speeds = re.findall(r"^tiny +float32 +(neither|both) +[\d.]+ +[\d.]+ +([\d.]+)x", out, re.MULTILINE)
    assert [mode for mode, _ in speeds] == ["neither", "both"]
    assert all(float(ratio) > 0 for _, ratio in speeds)
    # Fits on the CPU are reproducible, and differ between seeds.
    differences = re.findall(r"^short +(?:final loss|error) +\S+ +\S+ +(\S+) +(\S+)$", out, re.MULTILINE)
    assert [float(devices) for devices, _ in differences] == [0.0, 0.0]
    assert all(float(seeds) > 0 for _, seeds in differences)


@pytest.mark.skipif(torch.cuda.is_available(), reason="tests the message without a GPU")
def test_gpu_benchmark_without_a_gpu(tmp_path):
    out = run(tmp_path, EXAMPLES / "benchmarks" / "gpu.py")
    assert len(out.splitlines()) == 1
    assert "no CUDA device" in out


def test_scaling(tmp_path):
    """The tables of both parts, over few small sizes."""
    out = run(tmp_path, EXAMPLES / "benchmarks" / "scaling.py", "--quick")
    slopes = re.findall(
        r"^time of (.+) against (\w+): exponent (-?[\d.]+); (-?[\d.]+) from", out, re.MULTILINE
    )
    assert [slope[:2] for slope in slopes] == [
        (part, size) for size in ("samples", "features") for part in ("an epoch", "the rest")
    ]
    assert out.count("at most 1.05: ") == 2
    seconds = [float(line.split()[-3]) for line in out.splitlines()[-3:]]
    assert min(seconds) >= 0


def test_likelihood(data):
    script = EXAMPLES / "benchmarks" / "likelihood.py"
    short = ("--epochs", 1, 2, "--importance-epochs", 1, "--samples", 10, "--draws", 20)
    short += ("--only", "curve", "linnerud", "--validation")
    out = run(data, script, "--data", data, "--quick", *short)
    mnist, tables = out.split("## Held-out samples", 1)
    trainings = [line.split("|")[1:-1] for line in mnist.splitlines() if line.startswith("| 0 ")]
    assert "(6 training images held out, 20 draws" in mnist  # of 40
    *trainings, weighted = trainings
    assert weighted[4].strip() == "2 + 1 with 50 draws"
    assert 0 < float(weighted[5]) < 784
    assert {int(training[4]) for training in trainings} == {1, 2}  # epochs, sorted by seconds
    for _, _, _, textbook, _, ours, gain in trainings:
        assert float(textbook) - float(ours) == pytest.approx(float(gain), abs=0.011)
        assert 0 < float(ours) < 784
    cases = [line for line in tables.splitlines() if re.match(r"\| (sklearn|adbench)/", line)]
    assert [case.count("**") for case in cases] == [2, 2]  # the best method of each case
    for method in ("PCA", "GaussianMixture", "neural spline flow", "VAETransformer, auto"):
        assert tables.count(f"\n| {method} | ") == 3  # all datasets, and both halves


def test_densities(data):
    """Curves and tables, with smaller models: the true density is the highest, and drawn rows are samples."""
    code = patched(
        "densities",
        ["--data", str(data)],
        "import likelihood; likelihood.FLOW_SECONDS = 1",
        "script.VAETransformer = functools.partial(script.VAETransformer, max_iter=5)",
        "script.AutoencoderTransformer = functools.partial(script.AutoencoderTransformer, max_iter=5)",
        "script.MLPClassifier = functools.partial(script.MLPClassifier, max_iter=20)",
        TABLES=("curve",),
        NOISE=0.3,
    )
    out = run(data, "-c", f"import functools\n{code}")
    curves = re.findall(
        r"^\| (?:sine|parabola|circle|spiral) \| (-?[\d.]+) \| (-?[\d.]+) \| (.*) \|$", out, re.M
    )
    assert len(curves) == 4
    for truth, _, rest in curves:
        for cell in rest.split(" | "):
            nats, integral = map(float, cell.split(", "))
            assert nats < float(truth) + 0.02
            assert 0.9 < integral < 1.1
    assert len(re.findall(r"^\| [\w, ]+ \| \d+% \| \d+ \|$", out, re.M)) == 6
    assert re.search(r"^\| adbench/curve \| \d+ \| .* \|$", out, re.M)


def test_outliers_benchmark(tmp_path):
    """Two parts of the script on bundled datasets, with fewer of these and fewer shares of outliers."""
    code = patched(
        "outliers",
        ["--quick", "--without-pyod", "--part", "sets", "--part", "contamination"],
        WITHOUT_DATA={"breast_cancer": 0, "wine": 2},
        SHARES=(0.0, 0.1),
    )
    out = run(tmp_path, "-c", code)
    line = r"^scikit-learn, (one class|unsupervised) +(\S.*?\S)  +([\d.]+) +([\d.]+) +([\d.]+|-) .* 2$"
    means = {case[:2]: case[2:] for case in re.findall(line, out, re.MULTILINE)}
    assert len(means) == 2 * 10
    means = {method: values for (setting, method), values in means.items() if setting == "unsupervised"}
    auc = {method: float(values[0]) for method, values in means.items()}
    assert auc["AEOutlierDetector"] > auc["PCA reconstruction"]
    ceiling = auc.pop("best of each case")
    single = ("IsolationForest", "LocalOutlierFactor", "5 nearest neighbours", "Mahalanobis")
    assert ceiling >= max(auc[method] for method in single)
    ranks = [float(rank) for _, _, rank in means.values() if rank != "-"]
    assert np.mean(ranks) == pytest.approx(5, abs=0.01)  # of nine methods
    aucs = re.findall(r"^scikit-learn, 10% outliers +robust=(True|False) +([\d.]+)", out, re.MULTILINE)
    assert [auc[0] for auc in aucs] == ["True", "False"]
    assert float(aucs[0][1]) > float(aucs[1][1])  # robust with contamination


def test_outliers_benchmark_of_unseen_datasets(tmp_path):
    """A table in the format of KEEL, with categories and incomplete rows, and one digit of ten."""
    rng = np.random.RandomState(0)
    header = "@relation vowel0\n@attribute kind {a, b}\n@attribute size real [0, 20]\n"
    header += "@attribute Class {positive, negative}\n@inputs kind, size\n@outputs Class\n@data\n"
    rows = [f"{rng.choice(['a', 'b'])}, {rng.uniform():.3f}, negative" for _ in range(80)]
    rows += [f"a, {10 + rng.uniform():.3f}, positive" for _ in range(8)] + ["a, <null>, negative"]
    (tmp_path / "vowel0").mkdir()
    (tmp_path / "vowel0" / "vowel0.dat").write_text(header + "\n".join(rows) + "\n")
    arguments = ["--data", str(tmp_path), "--unseen", "--part", "sets", "--without-pyod", "--seeds", "1"]
    fewer = "find = script.find_unseen; script.find_unseen = lambda folder: find(folder)[:2]"
    out = run(tmp_path, "-c", patched("outliers", arguments, fewer))
    assert "digits, 5% outliers" in out
    auc = dict(re.findall(r"^KEEL, unsupervised +(\S.*?\S)  +([\d.]+) .* 1$", out, re.MULTILINE))
    assert len(auc) == 10
    assert min(float(auc[method]) for method in ("AEOutlierDetector", "IsolationForest", "MCD")) > 95


def test_outliers_benchmark_of_published_splits(tmp_path):
    """Outliers are mixed into a training part of normal samples, which are fewer if the outliers are few."""
    rng = np.random.RandomState(0)
    (tmp_path / "oddbench").mkdir()
    X = rng.normal(size=(230, 3))
    X[200:] += 8
    y = (np.arange(130) >= 100).astype(int)
    np.savez(tmp_path / "oddbench" / "oddbench_shifted.npz", X_train=X[:100], X_test=X[100:], y_test=y)
    sys_path = f"import sys; sys.path.insert(0, {str(EXAMPLES / 'benchmarks')!r})"
    code = "\n".join(
        [
            sys_path,
            "import outliers",
            "from pathlib import Path",
            f"(_, _, load), = outliers.find_sets(Path({str(tmp_path)!r}))",
            "for share in (0.0, 0.1, 0.2):",
            "    train, test, y = outliers.prepare(load(), share, 0)",
            "    print(len(train), len(test), y.sum(), abs(train.mean()) < 1e-6)",
        ]
    )
    sizes = [line.split() for line in run(tmp_path, "-c", code).splitlines()]
    assert sizes == [
        ["100", "130", "30", "True"],
        ["110", "120", "19", "True"],
        ["75", "155", "15", "True"],
    ]


def test_latent_size_benchmark(data):
    arguments = ["--draws", "2", "--only", "adbench/curve", "sklearn/linnerud", "--max-iter", "20", "--data"]
    code = patched("latent_size", [*arguments, str(data)], N_SPLITS=3, RANKS=range(1, 4))
    out = run(data, "-c", code)
    counts = dict(re.findall(r"^rank found by rule='(\w+)': (\d) of 2$", out, re.MULTILINE))
    assert set(counts) == {"best", "1se"}
    assert all(int(count) >= 1 for count in counts.values())
    line = r"^(\S+/\S+) +\d+ +\d+ +\d+ +(\d+) +(\d+) +([\d.]+) +([\d.]+) +(yes|NO) "
    rows = re.findall(line, out, re.MULTILINE)
    assert [row[0] for row in rows] == ["adbench/curve", "sklearn/linnerud"]
    for *_, below, error, agree in rows:
        if below != error:  # as printed
            assert (agree == "yes") == (float(below) < float(error))
    line = r"^agree: \d of \d; time, median [\d.]+, most [\d.]+, at most a quarter: \d$"
    assert re.search(line, out, re.MULTILINE)


def test_memory_benchmark(tmp_path):
    script = EXAMPLES / "benchmarks" / "memory.py"
    out = run(tmp_path, script, "--gigabytes", 0.003, "--only-fit", "--epochs", 4, "--chunks", 800)
    line = r"^fit, 2 epochs and the rest +(\d+) +-?\d+ +([\d.]+) +[\d.]+$"
    ((peak, seconds),) = re.findall(line, out, re.MULTILINE)
    assert float(seconds) > 0
    assert int(peak) > 50 or not sys.platform.startswith("linux")  # less than Python and torch use
    (ratio,) = re.findall(r"^digits +1634 +4 +[\d.]+ +([\d.]+)$", out, re.MULTILINE)
    assert 0.7 < float(ratio) < 1.6


def test_time_to_quality(tmp_path):
    """Every method on a small curved dataset; AutoencoderTransformer reaches the target."""
    rng = np.random.RandomState(0)
    z = rng.normal(size=(500, 3))
    X = np.column_stack([z, np.sin(2 * z), z**2]) + 0.01 * rng.normal(size=(500, 9))
    (tmp_path / "adbench").mkdir()
    np.savez(tmp_path / "adbench" / "28_pendigits.npz", X=X, y=np.zeros(500))
    code = patched(
        "time_to_quality",
        ["--sets", "pendigits", "--patience", "1", "--data", str(tmp_path)],
        "script.PEERS.pop('pyod AutoEncoder')",
        TABLE_STEPS=200,
    )
    out = run(tmp_path, "-c", code)
    target = float(re.search(r"target ([\d.]+)", out)[1])
    errors = re.findall(
        r"^(AutoencoderTransformer|bare loop, \d+ epochs) +([\d.]+) +[\d.]+", out, re.MULTILINE
    )
    assert [float(error) <= target for _, error in errors] == [True, True]
    assert len(re.findall(r"^(?:MLPRegressor|skorch)", out, re.MULTILINE)) == 2


def test_classic(tmp_path):
    """The report for a few images, on which training improves on PCA."""
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


def test_scoring(tmp_path):
    """Short fits have close log-likelihoods, and keep as much of sparse text as TruncatedSVD."""
    out = run(tmp_path, EXAMPLES / "benchmarks" / "scoring.py", "--quick")
    rows = re.findall(
        r"^(?:digits|wine|breast|sine|para|circle)[^:]*? +[\d.]+ +([\d.]+) +[\d.]+ +[\d.]+$", out, re.M
    )
    assert len(rows) == 7
    assert max(map(float, rows)) < 0.2
    assert float(re.search(r"TruncatedSVD's: ([\d.]+)", out).group(1)) < 1.1
    assert len(re.findall(r"[\d.]+ x PCA$", out, re.MULTILINE)) == 4


def test_small_data(tmp_path):
    """The choice of the grid search does not depend on the number of jobs."""
    out = run(tmp_path, EXAMPLES / "benchmarks" / "small_data.py", "--quick")
    assert len(re.findall(r"^fit (?:digits|wine)", out, re.MULTILINE)) == 4
    (k, nats), (k_two_jobs, nats_two_jobs) = re.findall(r"chose (\d+), (-?[\d.]+) nats", out)
    assert k == k_two_jobs
    assert float(nats) == pytest.approx(float(nats_two_jobs), rel=0.01)


def test_few_samples(tmp_path):
    """Where a tenth of the samples is too few for a comparison, folds find the gain of a curve."""
    rng = np.random.RandomState(0)
    (tmp_path / "adbench").mkdir()
    (tmp_path / "oddbench").mkdir()
    t = rng.uniform(-2, 2, (400, 2))
    curve = np.column_stack([t, t**2, np.sin(2 * t)]) + 0.02 * rng.normal(size=(400, 6))
    np.savez(tmp_path / "adbench" / "1_curve.npz", X=curve, y=np.zeros(400))
    normal = {"X_train": curve[:200], "X_test": curve[200:], "y_test": np.zeros(200)}
    np.savez(tmp_path / "oddbench" / "curve.npz", **normal)
    out = run(tmp_path, EXAMPLES / "benchmarks" / "few_samples.py", "--data", tmp_path, "--quick")
    one_set, folds = (line.split(" | ") for line in out.splitlines() if line.startswith("| 60 "))
    assert one_set[2:5] == ["2", "0", "1.000"]
    assert folds[2:4] == ["2", "2"]
    assert float(folds[4]) < 0.9


def test_imputation(tmp_path):
    out = run(tmp_path, EXAMPLES / "benchmarks" / "imputation.py", "--quick")
    rows = re.findall(r"^\| (\w+) \| 200 x \d+ \| 30 % at random \| ([\d. |]+) \|", out, re.MULTILINE)
    assert {name for name, _ in rows} == {"breast_cancer", "diabetes", "digits"}
    for _, errors in rows:
        mean, *_, ours = map(float, errors.split(" | "))
        assert ours < mean
    assert float(re.search(r"over that of KNN: ([\d.]+)", out).group(1)) < 1
    assert len(re.findall(r"^\| average \|(?: 0\.\d+ \|){4}$", out, re.MULTILINE)) == 1
