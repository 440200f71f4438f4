"""The gallery examples run with warnings as errors, and their output supports their prose.

Each example has a function in CHECKS that reads its output. The columns of a printed table are separated by
at least two spaces; see ``table``.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PNG = b"\x89PNG\r\n\x1a\n"
SAVED = {"replace_pca": ["replace_pca.png"]}  # files that an example writes


# -- reading the output ---------------------------------------------------------------------


def table(out):
    """Return the lines whose cells are all numbers except the first, as {first cell: array of the others}.

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
    """Return the only number that a pattern matches, such as r"chosen: (\\d+)"."""
    (found,) = re.findall(pattern, out, re.MULTILINE)
    return float(found)


# -- checks of the output -------------------------------------------------------------------


def check_replace_pca(out):
    found = table(out)
    sizes = ("2", "4", "8", "16")
    pca, ae = (
        np.array([found[f"{name}, {k} components"][:2] for k in sizes]).T for name in ("PCA", "Autoencoder")
    )
    gains = np.array([found[k] for k in sizes]).T
    np.testing.assert_allclose(gains[0], ae[0] - pca[0], atol=0.11)
    np.testing.assert_allclose(gains[1], 100 * (ae[1] / pca[1] - 1), atol=1.1)
    assert (gains[0, :2] > 4).all()  # few components
    assert (gains[0] > -4).all()
    assert (gains[1] < -25).all()
    conclusion = out.splitlines()[-1]
    assert f"With 4 numbers per image, the classifier recognises {ae[0, 1]:.0f}% of" in conclusion
    assert f"instead of {pca[0, 1]:.0f}%" in conclusion
    as_good = re.findall(r"with ([\d and]+), PCA is as good", conclusion)
    equal = [k for k, gain in zip(sizes, gains[0], strict=True) if abs(gain) <= 2]
    assert as_good == ([" and ".join(equal)] if equal else [])
    assert ("PCA is better" in conclusion) == (gains[0] < -2).any()


def check_choose_latent_size(out):
    found = table(out)
    assert found["Flat, pca"][0] == found["Flat, autoencoder"][0] == 3  # the true number
    assert found["Flat, autoencoder"][1] == pytest.approx(found["Flat, pca"][1], abs=0.02)  # fallback to PCA
    assert found["Curved, pca"][0] == 5
    assert found["Curved, autoencoder"][0] == 2  # the true number
    assert found["Curved, autoencoder"][1] > found["Curved, pca"][1] + 2
    assert number(out, r"explained variance and 1se: (\d+) of 6") == 6
    assert number(out, r"nats of PCA: (\d+) of 48") == 48
    components = [number(out, rf"{name} +(\d+) components") for name in ("PCA", "Ordered autoencoder")]
    assert components[1] <= components[0] - 3
    shares = [found[f"{name}, 8"][0] for name in ("PCA", "Ordered autoencoder", "Plain autoencoders")]
    assert shares[0] + 5 < shares[1] < shares[2] - 4


def check_denoise_digits(out):
    found = table(out)
    assert list(found) == ["Gaussian", "masking", "salt and pepper", "Rayleigh"]
    noisy, pca, best_pca, plain, linear, denoising = np.array(list(found.values())).T
    assert (denoising < 0.85 * linear).all()
    assert (linear < 0.95 * best_pca).all()
    assert (best_pca < 0.9 * pca).all()  # 32 components retain much of the noise
    assert (denoising < 0.5 * plain).all()
    assert (pca < noisy).all()
    assert out.rstrip().endswith(": none, Gaussian, masking, salt and pepper, Rayleigh")


def check_linear_is_pca(out):
    same, angles, error, axes = out.split("\n\n")
    differences = table(same)
    assert len(differences) == 9
    assert max(value[0] for value in differences.values()) < 1e-6
    largest = [value[0] for value in table(angles).values()]
    assert largest[0] > 45  # random weights
    assert largest[2] < 20
    assert largest[-1] < 0.1
    assert number(error, r"PCA's: ([\d.]+)") == pytest.approx(1, abs=1e-4)
    assert table(axes)["trained"].min() < 0.9
    assert table(axes)["recovered"].min() > 0.999


def check_reconstructions(out):
    found = table(out)
    assert list(found) == ["2", "4", "8", "16", "32"]
    pca, dense, convolutional = np.array(list(found.values())).T
    for errors in (dense, convolutional):
        assert (errors[:4] < 0.75 * pca[:4]).all()
        assert errors[4] < 0.9 * pca[4]
    np.testing.assert_allclose(convolutional, dense, rtol=0.2)  # no gain from convolutions


def check_compression(out):
    numbers, rounding, archive, lossless = out.split("\n\n")
    errors = table(numbers.partition("\n")[2])
    pca, small, large = (errors[name] for name in ("PCA", "Small autoencoder", "Autoencoder"))
    assert (errors["NMF"] > pca).all()
    assert large[2] < 1.1 * pca[4]  # 8 components against 16
    assert (large[:-2] < 0.95 * small[:-2]).all()  # the larger sizes come close to each other
    assert (small < 0.85 * pca).all()
    assert (errors["Ordered autoencoder"] < pca).all()
    assert (errors["Ordered autoencoder"] > 1.05 * large).all()
    assert all(-1 < share[0] < 6 for share in table(rounding).values())
    images = {name: cells[-1] for name, cells in table(archive).items()}  # methods that become cheaper
    assert 3_000 < images["Small autoencoder"] < 20_000
    assert images["Autoencoder"] > 20_000
    assert not {"NMF", "PCA"} & set(images)
    assert number(lossless, r"(\d+) bits") > 4 * table(archive)["Autoencoder"][0]


def check_contractive_curve(out):
    found = table(out)
    distance, correlation, along, across, largest, shift = np.array(list(found.values())).T
    assert list(found) == ["PCA", "Autoencoder", "Contractive"]
    assert (distance[1:] < 0.05 * distance[0]).all()
    assert distance[2] < 1.1 * distance[1]  # the penalty costs nothing
    assert correlation[2] > correlation[1] > correlation[0] + 0.05
    assert along[2] == pytest.approx(np.sqrt(12) / 12, rel=0.1)  # a constant rate
    assert across[2] < 0.7 * across[1] < 0.2 * across[0]
    assert largest[2] < 0.95 * largest[1]
    assert shift[2] < 0.9 * shift[1] < shift[0]


def check_sparse_features(out):
    found = table(out)
    pixels, pca, sparse, kernel = (
        found[name] for name in ("pixels", "PCA, 32", "sparse, 128", "pixels, kernel SVM")
    )
    assert number(out, r"in use: (\d+) of 128") == 128
    assert number(out, r"active features per digit: (\d+) of 128") < 32
    assert number(out, r"by sparse: ([\d.]+)%") < number(out, r"by PCA: ([\d.]+)%") - 5
    assert (sparse > np.maximum(pixels, pca) + 0.3).all()
    assert sparse[0] > pixels[0] + 3  # few labels
    assert (pca < pixels + 0.7).all()
    assert sparse[0] > kernel[0] + 3
    assert kernel[-1] > sparse[-1]  # many labels


def check_attribute_arithmetic(out):
    found = table(out)
    errors = {name: values[:3] for name, values in found.items()}
    classified = {name: values[3] for name, values in found.items()}
    assert (errors["VAE"] < 0.5 * errors["PCA"]).all()
    assert (errors["VAE"] < 0.9 * errors["pixels"]).all()
    assert (errors["VAE"] < 0.6 * errors["unchanged"]).all()
    assert (errors["VAE, reconstruction"] < errors["VAE"]).all()
    assert (errors["pixels"] < errors["PCA"]).all()
    assert classified["VAE"] > 0.95
    assert classified["unchanged"] < 0.05
    assert min(map(float, re.findall(r"on new faces: (\S+)%", out))) > 99


def check_outliers_in_tables(out):
    found = table(out)
    reconstruction, default, forest, neighbours = (
        found[name]
        for name in (
            "AEOutlierDetector, reconstruction",
            "AEOutlierDetector",
            "IsolationForest",
            "LocalOutlierFactor",
        )
    )
    assert reconstruction[0] > 0.93
    assert reconstruction[0] > default[0] > neighbours[0] + 0.05
    assert forest[0] < 0.7
    np.testing.assert_allclose([default[1], forest[1], neighbours[1]], 0.945, atol=0.02)
    plain, adjusted = np.array(re.findall(r"(\d+)% of them false, (\d+)% of the faulty", out), dtype=float)
    assert plain[0] > 25
    assert adjusted[0] < 20
    assert adjusted[1] > 80
    assert number(out, r"explain (\d+)%") > 80
    assert number(out, r"most extreme value (\d+)%") < 30


def check_mixed_types(out):
    found = table(out)
    gain = np.array([found[f"Autoencoder, {k}"] - found[f"PCA, {k}"] for k in (1, 2, 4, 6)])
    assert (gain[:2, 0] > 15).all()
    assert (gain[2:, 0] > 5).all()
    assert (gain[:2, 1] > 5).all()
    assert (np.abs(gain[2:, 1]) < 5).all()  # PCA serves the classifier as well
    for category, more in {"kind": 15, "fuel": 2}.items():
        right = [found[f"{name}, {category} decoded correctly"][0] for name in ("PCA", "Autoencoder")]
        assert right[1] > right[0] + more
    chosen = number(out, r"accuracy on test cars: ([\d.]+)%")
    assert chosen == pytest.approx(number(out, r"all features ([\d.]+)%"), abs=8)
    assert "kind_sports car" in out
    assert re.search(r"^codes: (pca|autoencodertransformer)0, \1\d", out, re.MULTILINE)


def check_mixed_table(out):
    scores = [number(out, rf"^{name} +(\S+) nats") for name in ("VAE", "independent columns")]
    assert scores[0] > scores[1] + 1
    assert number(out, r"active components (\d)$") == 3
    errors = [number(out, rf"^{name} +mean diff.* (\S+)$") for name in ("synthetic", "independent columns")]
    assert errors[0] < 0.5 * errors[1]
    found = table(out)
    for name in ("age", "log_income", "floor_space", "children", "journeys"):
        assert found[name][0] < found[name][1]
    for name in ("dwelling", "region", "car"):
        assert found[name][0] > found[name][1]
    assert found["floor_space"][0] < 0.6 * found["floor_space"][1]
    assert found["dwelling"][0] > found["dwelling"][1] + 0.2
    for name in ("age", "log_income", "floor_space"):
        assert number(out, rf"^{name} +(\d+)% of the hidden") == pytest.approx(80, abs=15)


def check_latent_space(out):
    found = table(out)
    confident = {name: values[0] for name, values in found.items()}
    assert all(values[1] == 10 for name, values in found.items() if "shuffled" not in name)
    assert confident["VAE, mixture prior"] > confident["VAE"] > confident["PCA, gaussian"]
    assert confident["VAE, mixture prior"] > 0.85 * confident["Real"]
    for name in ("Autoencoder", "PCA"):
        assert confident[f"{name}, mixture"] > confident[f"{name}, gaussian"] + 20
    assert confident["Real, pixels shuffled"] < 10  # the classifier rejects noise
    assert number(out, r"(\d+)% are classified as eights") > 90


def check_export_to_onnx(out):
    assert number(out, r"equal labels: (\d+) %") == 100
    assert number(out, r"largest difference of probabilities: (\S+)") < 1e-5
    assert number(out, r"accuracy: ([\d.]+) %") > 90
    assert number(out, r"times faster: (\d+)") > 8  # 30 on an idle machine


def check_search_on_a_cluster(out):
    assert number(out, r"(\d+) workers") == 2
    assert number(out, r"from one process: (\S+)") == 0
    assert len(table(out)) == 4


def check_train_with_torchrun(out, n_processes=1):
    assert number(out, r"(\d+) process") == n_processes
    assert number(out, r"of (\d+) samples") == 5_000
    assert number(out, r"autoencoder ([\d.]+)$") < 0.02 * number(out, r"PCA ([\d.]+)")


def check_impute_missing_values(out):
    accuracy = {name: float(x) for name, x in re.findall(r"^(.+): accuracy ([\d.]+)", out, re.MULTILINE)}
    error = {name: float(x) for name, x in re.findall(r"^(.+): .* hidden pixels ([\d.]+)", out, re.MULTILINE)}
    assert len(accuracy) == 7
    assert min(error, key=error.get) in ("AEImputer", "nearest neighbours")
    assert error["AEImputer"] < 0.7 * error["mean"]
    assert accuracy["AEImputer"] > accuracy["mean"] + 0.02
    assert accuracy["24 codes of incomplete samples"] > accuracy["mean, then 24 principal components"]


CHECKS = {
    "replace_pca": check_replace_pca,
    "choose_latent_size": check_choose_latent_size,
    "denoise_digits": check_denoise_digits,
    "linear_is_pca": check_linear_is_pca,
    "reconstructions": check_reconstructions,
    "compression": check_compression,
    "export_to_onnx": check_export_to_onnx,
    "contractive_curve": check_contractive_curve,
    "sparse_features": check_sparse_features,
    "attribute_arithmetic": check_attribute_arithmetic,
    "outliers_in_tables": check_outliers_in_tables,
    "impute_missing_values": check_impute_missing_values,
    "mixed_types": check_mixed_types,
    "mixed_table": check_mixed_table,
    "latent_space": check_latent_space,
    "search_on_a_cluster": check_search_on_a_cluster,
    "train_with_torchrun": check_train_with_torchrun,
}


# -- tests ----------------------------------------------------------------------------------


def run(script, folder):
    """Run an example in an empty folder; return its output."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:FigureCanvasAgg is non-interactive", str(script)],
        cwd=folder,
        env={**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
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


def test_every_example_has_a_check():
    assert set(CHECKS) == {path.stem for path in EXAMPLES.glob("*.py")}
