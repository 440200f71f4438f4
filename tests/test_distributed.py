"""Fits in several processes: the model of a single one, the same on all ranks, and no rank left waiting."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rank_scenarios
from rank_scenarios import DETERMINISTIC, RANDOM, curved, deterministic
from sklearn.base import clone
from sklearn.decomposition import PCA

pytestmark = pytest.mark.filterwarnings("ignore")  # few epochs

SCRIPT = Path(rank_scenarios.__file__)
TOO_LONG = 300  # seconds; a safety net
LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def results(folder, names):
    """Return for each scenario the outcomes of the ranks: result, error and seconds."""
    files = {name: [Path(folder, f"{name} {rank}.pkl") for rank in (0, 1)] for name in names}
    return {
        name: [pickle.loads(file.read_bytes()) for file in found if file.exists()]
        for name, found in files.items()
    }


def launched(folder, names):
    """Run scenarios under torchrun."""
    command = [*LAUNCHER, SCRIPT, folder, *names]
    done = subprocess.run(command, timeout=TOO_LONG, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    return results(folder, names)


def in_group(folder, names):
    """Run scenarios in two processes whose script makes the process group; the second may be killed."""
    command = [sys.executable, str(SCRIPT), str(folder), *names]
    surroundings = [environment(RANK=str(rank), RANKS_OF_USER="1") for rank in (0, 1)]
    processes = [subprocess.Popen(command, env=env, stderr=subprocess.PIPE) for env in surroundings]
    try:
        errors = [process.communicate(timeout=TOO_LONG)[1].decode() for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert processes[0].returncode == 0, errors
    return results(folder, names)


def environment(**more):
    path = os.pathsep.join([str(SCRIPT.parents[1]), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **more}


def assert_same(a, b):
    """Assert that results are equal to the last bit."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    else:
        np.testing.assert_array_equal(a, b)


def assert_equal(ranks, alone):
    """Assert that a model is that of a single process within 1e-4, with the same decisions."""
    assert ranks["decisions"] == alone["decisions"]
    for name, weights in alone["weights"].items():
        np.testing.assert_allclose(ranks["weights"][name], weights, rtol=1e-4, atol=1e-4, err_msg=name)
    for curve, expected in zip(ranks["curves"], alone["curves"], strict=True):
        np.testing.assert_allclose(curve, expected, rtol=1e-4)
    np.testing.assert_allclose(
        ranks["codes"], alone["codes"], rtol=1e-4, atol=1e-4 * np.abs(alone["codes"]).max()
    )


AGREED = [
    "deterministic_models",
    "random_models",
    "fresh_entropy",
    "own_modules",
    "warm_start",
    "linear_sources",
    "sources",
    "vae_sources",
    "wide_source",
    "fewer_blocks_than_ranks",
    "search",
    "composites",
]
APART = ["items_read", "thread_on_one_rank", "switched_off", "warnings_of_ranks", "partial_fit", "group"]
FAILURES = [
    "bad_data",
    "raising_callback",
    "interrupted_rank",
    "one_rank_stops",
    "other_parameters",
    "other_data",
    "different_blocks",
    "different_ranges",
]


@pytest.fixture(scope="module")
def torchrun(tmp_path_factory):
    """Outcomes of scenarios under torchrun."""
    return launched(tmp_path_factory.mktemp("ranks"), [*AGREED, *APART])


@pytest.fixture(scope="module")
def failures(tmp_path_factory):
    """Outcomes of failing fits in the process group of a script, one after the other."""
    names = [*FAILURES, "missing_rank", "late_rank", "warm_start", "group", "killed_rank"]
    return in_group(tmp_path_factory.mktemp("failures"), names)


# -- the same model on all ranks -----------------------------------------------------------------


@pytest.mark.parametrize("name", AGREED)
def test_ranks_end_with_the_same_model(torchrun, name):
    (first, error, _), (second, other, _) = torchrun[name]
    assert error is None
    assert other is None
    assert_same(first, second)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_model_is_that_of_one_process(torchrun, name):
    models = torchrun["deterministic_models"][0][0]
    assert_equal(models[name], deterministic(name))


def test_network_beats_pca(torchrun):
    """Otherwise equality says little."""
    models = torchrun["deterministic_models"][0][0]
    assert models["dense"]["decisions"][0]
    assert models["wide"]["decisions"][0]


@pytest.mark.parametrize("name", RANDOM)
def test_random_models_agree_statistically(torchrun, name):
    ranks, alone = (
        torchrun["random_models"][0][0][name],
        rank_scenarios.state(clone(RANDOM[name]).fit(curved())),
    )
    np.testing.assert_allclose(ranks["error"], alone["error"], rtol=0.1)
    np.testing.assert_allclose(ranks["score"], alone["score"], atol=0.5)


def test_warm_start_goes_on_as_in_one_process(torchrun):
    assert_equal(torchrun["warm_start"][0][0], rank_scenarios.warm_start())


def test_fresh_entropy_is_fresh(torchrun):
    first, second = torchrun["fresh_entropy"][0][0]
    assert np.abs(first["codes"] - second["codes"]).max() > 0


# -- sources -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", rank_scenarios.FORMS)
def test_linear_model_of_a_source_is_pca(torchrun, form):
    pca = PCA(2).fit(curved())
    codes = torchrun["linear_sources"][0][0][form]["codes"]
    expected = pca.transform(curved(50, seed=1))
    np.testing.assert_allclose(codes, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_subspace_iteration_is_reduced(torchrun):
    pca = PCA(2).fit(curved())
    codes = torchrun["wide_source"][0][0]["mapped"]["codes"]
    expected = pca.transform(curved(50, seed=1))
    np.testing.assert_allclose(codes, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("form", rank_scenarios.FORMS[:-1])
def test_model_of_a_source_is_as_good_as_that_of_an_array(torchrun, form):
    models = torchrun["sources"][0][0]
    assert models[form]["decisions"][0]
    np.testing.assert_allclose(models[form]["error"], models["array"]["error"], rtol=0.2)


@pytest.mark.parametrize("form", ["mapped", "chunks"])
def test_vae_of_a_source(torchrun, form):
    model = rank_scenarios.VAETransformer(2, **rank_scenarios.QUICK, early_stopping=form == "mapped")
    alone = rank_scenarios.state(model.fit(curved()))
    ranks = torchrun["vae_sources"][0][0][form]
    np.testing.assert_allclose(ranks["score"], alone["score"], atol=0.5)


def test_each_rank_reads_its_share(torchrun):
    read = [set(found) for found, _, _ in torchrun["items_read"]]
    assert read[0] | read[1] == set(range(100))
    assert not read[0] & read[1]


# -- searches, workers, threads, state -----------------------------------------------------------------


def test_search_is_that_of_one_process(torchrun):
    scores, _ = torchrun["search"][0][0]
    np.testing.assert_allclose(scores, rank_scenarios.search()[0], rtol=1e-3)


def test_threads_fit_alone(torchrun):
    (found,), error, _ = torchrun["thread_on_one_rank"][0]
    assert error is None
    model = rank_scenarios.AutoencoderTransformer(2, **{**rank_scenarios.QUICK, "max_iter": 2})
    assert_same(found["codes"], rank_scenarios.state(model.fit(curved(200)))["codes"])


def test_processes_can_fit_models_of_their_own(torchrun):
    assert [found for found, _, _ in torchrun["switched_off"]] == [(1, 1), (2, 2)]


def test_only_the_first_rank_warns(torchrun):
    first, second = (found for found, _, _ in torchrun["warnings_of_ranks"])
    assert len(first) == 1
    assert not second


def test_partial_fit_is_refused(torchrun):
    for _, (kind, message), _ in torchrun["partial_fit"]:
        assert kind == "RuntimeError"
        assert "pass all chunks to" in message


def test_no_group_is_left(torchrun):
    assert [found for found, _, _ in torchrun["group"]] == [(False, 0), (False, 0)]


@pytest.mark.slow
def test_example_runs_in_several_processes():
    script = SCRIPT.parents[1] / "examples" / "train_with_torchrun.py"
    command = [*LAUNCHER, script]
    done = subprocess.run(command, timeout=TOO_LONG, capture_output=True, text=True, env=environment())
    assert done.stdout.startswith("2 process"), done.stderr


@pytest.mark.slow
def test_workers_fit_alone(tmp_path):
    (first, error, _), (second, _, _) = launched(tmp_path, ["search_in_workers"])["search_in_workers"]
    assert error is None
    assert_same(first, second)
    assert_same(first, rank_scenarios.search()[0])


# -- failures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bad_data", [("RuntimeError", "rank 1 raised ValueError: X"), ("ValueError", "NaN")]),
        ("raising_callback", [("RuntimeError", "rank 1 raised MemoryError"), ("MemoryError", "no memory")]),
        (
            "interrupted_rank",
            [("RuntimeError", "rank 1 raised Keyboard"), ("KeyboardInterrupt", "on all ranks")],
        ),
        ("one_rank_stops", 2 * [("RuntimeError", "The ranks have lost step")]),
        ("other_parameters", 2 * [("ValueError", "n_components differs: 1 on rank 0, 2 on rank 1")]),
        ("other_data", 2 * [("ValueError", "the hash of X differs")]),
        ("different_blocks", 2 * [("ValueError", "the hash of the blocks of X differs")]),
        ("different_ranges", 2 * [("ValueError", "the hash of the ranges of X differs")]),
    ],
)
def test_error_of_a_rank_ends_the_fit_on_all(failures, name, expected):
    for (_, error, seconds), (kind, message) in zip(failures[name], expected, strict=True):
        assert error is not None
        assert error[0] == kind
        assert message in error[1]
        assert seconds < 60


def test_missing_rank_is_named(failures):
    _, (kind, message), _ = failures["missing_rank"][0]
    assert kind == "RuntimeError"
    assert "not on rank 1 of 2" in message
    assert "did not wait" in failures["late_rank"][1][1][1]


def test_fits_work_after_failures(failures):
    (first, error, _), (second, _, _) = failures["warm_start"]
    assert error is None
    assert_same(first, second)


def test_group_of_the_user_is_kept(failures):
    assert [found for found, _, _ in failures["group"]] == [(True, 1), (True, 1)]


def test_killed_rank_ends_the_fit(failures):
    ((_, error, _),) = failures["killed_rank"]
    assert error[0] == "RuntimeError"
    assert "rank 0 has lost the connection" in error[1]
