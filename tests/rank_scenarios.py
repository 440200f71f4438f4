"""What the ranks of tests/test_distributed.py do: ``python rank_scenarios.py FOLDER SCENARIO ...``.

Each rank stores the result or the error of each scenario in FOLDER. With RANKS_OF_USER set, the script
makes a process group itself, as scripts of users do.
"""

import os
import pickle
import signal
import sys
import threading
import time
import warnings
from datetime import timedelta
from pathlib import Path

import dask.array
import numpy as np
import pyarrow
import pyarrow.dataset
import pyarrow.parquet
import torch
import torch.distributed as dist
from out_of_core import NumberedDataset
from skorch.callbacks import Callback
from torch.utils.data import DataLoader, TensorDataset

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer

RANK = int(os.environ.get("RANK", 0))
STEADY = {"learning_rate_init": 1e-3, "max_iter": 4, "random_state": 0, "hidden_layer_sizes": (16,)}
QUICK = {"max_iter": 6, "random_state": 0, "hidden_layer_sizes": (32,)}


def curved(n=400, d=8, seed=0):
    """Return samples on a curved surface, of which networks reconstruct more than PCA."""
    rng = np.random.RandomState(seed)
    t = rng.uniform(-2, 2, size=(n, 2))
    features = np.column_stack([t, np.sin(2 * t), t**2, t[:, :1] * t[:, 1:]])
    return features @ rng.normal(size=(features.shape[1], d)) + 0.01 * rng.normal(size=(n, d))


def state(model):
    """Return numbers of a fitted model that must be the same on all ranks."""
    X = curved(50, model.n_features_in_, seed=1)
    weights = {name: tensor.numpy() for name, tensor in model.module_.state_dict().items()}
    curves = [np.array(model.loss_curve_), np.array(model.validation_loss_curve_)]
    if isinstance(model, VAETransformer):
        curves += [np.array(model.reconstruction_loss_curve_), np.array(model.validation_divergence_curve_)]
    return {
        "weights": weights,
        "curves": curves,
        "codes": model.transform(X),
        "error": model.reconstruction_error(X).mean(),
        "score": np.mean(model.score_samples(X[:20], n_draws=32)),
        "decisions": (model.uses_network_, model.n_iter_, model.best_iter_, model.n_samples_),
        "net": [p.detach().numpy() for p in model.net_.module_.parameters()],
    }


# -- fits of arrays in memory -----------------------------------------------------------------

DETERMINISTIC = {
    "dense": {"max_iter": 25, "learning_rate_init": 2e-3},
    "tied": {"tied_weights": True},
    "linear": {"hidden_layer_sizes": ()},
    "linear, absolute error": {"hidden_layer_sizes": (), "loss": "absolute_error"},
    "random start": {"init": "random"},
    "without validation": {"early_stopping": False},
    "one sample per batch": {"batch_size": 1, "max_iter": 1},
    # at PCA, gradients are rounding errors, which Adam's first steps would amplify
    "odd batches": {"batch_size": 37, "alpha": 0.1, "init": "random"},
    "float32": {},
    "wide": {"early_stopping": False, "learning_rate_init": 1e-4},
    "sparsified": {"bottleneck": "relu", "penalty": "l1"},
}
RANDOM = {
    "ordered": AutoencoderTransformer(2, bottleneck="ordered", **QUICK),
    "denoising": AutoencoderTransformer(2, corruption="gaussian", **QUICK),
    "vae": VAETransformer(2, **QUICK),
    "mixture": VAETransformer(2, prior="mixture", **QUICK),
}


def deterministic(name):
    """Return the state of a model that draws no random numbers in training."""
    X = {"wide": curved(60, 300), "one sample per batch": curved(100)}.get(name, curved())
    X = X.astype(np.float32) if name == "float32" else X
    return state(AutoencoderTransformer(2, **{**STEADY, **DETERMINISTIC[name]}).fit(X))


def deterministic_models():
    return {name: deterministic(name) for name in DETERMINISTIC}


def random_models():
    return {name: state(model.fit(curved())) for name, model in RANDOM.items()}


def fresh_entropy():
    params = {**QUICK, "random_state": None, "max_iter": 2, "early_stopping": False}
    return [state(AutoencoderTransformer(2, **params).fit(curved(200))) for _ in range(2)]


def own_modules():
    """User's modules have other random weights on each rank."""
    torch.manual_seed(RANK)
    encoder = torch.nn.Sequential(torch.nn.Linear(8, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
    decoder = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.Tanh(), torch.nn.Linear(5, 8))
    params = {**QUICK, "network": (encoder, decoder), "init": "random"}
    del params["hidden_layer_sizes"]
    return state(AutoencoderTransformer(2, **params).fit(curved()))


def warm_start():
    model = AutoencoderTransformer(2, warm_start=True, **STEADY).fit(curved())
    return state(model.fit(curved()))


# -- fits of sources --------------------------------------------------------------------------


FORMS = "mapped", "chunks", "dataset", "loader", "dask", "files", "array"


def forms(X, folder):
    """Return out-of-core forms of X."""
    file = Path(folder, f"X{os.environ.get('RANK', 'alone')}.npy")
    np.save(file, X)
    return {
        "mapped": np.load(file, mmap_mode="r"),
        "chunks": lambda: iter(np.array_split(X, 5)),
        "dataset": NumberedDataset(X),
        "loader": DataLoader(TensorDataset(torch.from_numpy(X)), 50, shuffle=True),
        "dask": dask.array.from_array(X, chunks=(max(1, len(X) // 5), -1)),
        "files": parquet_files(X, file.with_suffix("")),
        "array": X,
    }


def parquet_files(X, folder):
    """Return a dataset of three files with row groups of unequal sizes."""
    folder.mkdir(exist_ok=True)
    for i, part in enumerate(np.array_split(X, [len(X) // 2, len(X) // 2 + 30])):
        table = pyarrow.table({f"x{j}": column for j, column in enumerate(part.T)})
        pyarrow.parquet.write_table(table, folder / f"{i}.parquet", row_group_size=max(1, len(X) // 7))
    return pyarrow.dataset.dataset(folder)


def with_small_limits(function):
    """Treat small data as large."""
    from sklearn_ae._data import sources
    from sklearn_ae._estimators import validation

    limits = validation.LARGE, sources.LARGE
    validation.LARGE = sources.LARGE = 1_000
    try:
        return function()
    finally:
        validation.LARGE, sources.LARGE = limits


def sources_of(model, names=FORMS):
    found = forms(curved(), FOLDER)
    return with_small_limits(lambda: {name: state(model().fit(found[name])) for name in names})


def linear_sources():
    return sources_of(lambda: AutoencoderTransformer(2, hidden_layer_sizes=(), random_state=0))


def sources():
    return sources_of(lambda: AutoencoderTransformer(2, **QUICK))


def vae_sources():
    kinds = {"mapped": VAETransformer(2, **QUICK), "chunks": VAETransformer(2, early_stopping=False, **QUICK)}
    return {name: sources_of(lambda m=m: m, [name])[name] for name, m in kinds.items()}


def fewer_blocks_than_ranks():
    """A rank without samples."""
    X = curved()
    table = pyarrow.table({f"x{j}": column for j, column in enumerate(X.T)})
    blocks = {
        "dask": dask.array.from_array(X, chunks=X.shape),
        "files": pyarrow.dataset.dataset(table),
        "chunks": lambda: iter([X]),
        "few items": NumberedDataset(X[:3]),
    }
    kinds = [AutoencoderTransformer, VAETransformer]
    models = [kind(1, early_stopping=False, **{**QUICK, "max_iter": 2}) for kind in kinds]
    return [with_small_limits(lambda m=m, X=X: state(m.fit(X))) for m in models for X in blocks.values()]


def different_blocks():
    X = curved()
    lazy = dask.array.from_array(X, chunks=(100 if RANK else 400, -1))
    with_small_limits(lambda: AutoencoderTransformer(2, **QUICK).fit(lazy))


def different_ranges():
    lazy = dask.array.from_array(curved() + RANK, chunks=(100, -1))
    with_small_limits(lambda: AutoencoderTransformer(2, **QUICK).fit(lazy))


def wide_source():
    """Subspace iteration reduces its products over the ranks."""
    from sklearn_ae._model import pca

    pca._COVARIANCE_MAX = 4
    return sources_of(lambda: AutoencoderTransformer(2, hidden_layer_sizes=(), random_state=0), ["mapped"])


def items_read():
    """Return the items that this rank reads after the first pass."""
    data = NumberedDataset(curved(100))
    with_small_limits(
        lambda: AutoencoderTransformer(2, early_stopping=False, **{**QUICK, "max_iter": 2}).fit(data)
    )
    return data.read


# -- searches, workers and threads --------------------------------------------------------------


def search():
    from sklearn.model_selection import GridSearchCV

    model = AutoencoderTransformer(2, **{**QUICK, "max_iter": 2})
    found = GridSearchCV(model, {"n_components": [1, 2]}, cv=2).fit(curved(200))
    return found.cv_results_["mean_test_score"], state(found.best_estimator_)


def search_in_workers():
    from sklearn.model_selection import GridSearchCV

    model = AutoencoderTransformer(2, **{**QUICK, "max_iter": 2})
    search = GridSearchCV(model, {"n_components": [1, 2]}, cv=2, n_jobs=2, refit=False)
    return search.fit(curved(200)).cv_results_["mean_test_score"]


def composites():
    cv = AutoencoderTransformerCV([1, 2], cv=2, max_iter=4, hidden_layer_sizes=(8,)).fit(curved(200))
    detector = AEOutlierDetector(
        AutoencoderTransformer(2, max_iter=3, hidden_layer_sizes=(8,)), n_estimators=1
    ).fit(curved(200))
    return state(cv), detector.offset_, detector.score_samples(curved(200))


def thread_on_one_rank():
    """A thread fits alone: the other rank does not know of it."""
    found = []
    if RANK == 0:
        model = AutoencoderTransformer(2, **{**QUICK, "max_iter": 2})
        thread = threading.Thread(target=lambda: found.append(state(model.fit(curved(200)))))
        thread.start()
        thread.join()
    return found


def switched_off():
    os.environ["SKLEARN_AE_RANKS"] = "0"
    try:
        model = AutoencoderTransformer(1 + RANK, **{**QUICK, "max_iter": 2}).fit(curved(200))
        return model.n_components_, model.partial_fit(curved(200)).n_components_
    finally:
        del os.environ["SKLEARN_AE_RANKS"]


def warnings_of_ranks():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        AutoencoderTransformer(2, **QUICK).fit(curved(), curved())  # y looks like clean samples
    return [str(warning.message) for warning in caught if "y has the shape" in str(warning.message)]


def partial_fit():
    AutoencoderTransformer(2).partial_fit(curved())


# -- failures -------------------------------------------------------------------------------------


class Raises(Callback):
    """Raise an error on one rank in the second epoch."""

    def __init__(self, error, rank):
        self.error = error
        self.rank = rank

    def on_epoch_end(self, net, **kwargs):
        if rank_of_group() == self.rank and len(net.history) == 2:
            raise self.error


def rank_of_group():
    return dist.get_rank() if dist.is_initialized() else RANK


def bad_data():
    X = curved()
    if RANK == 1:
        X[3, 2] = np.nan
    AutoencoderTransformer(2, **QUICK).fit(X)


def raising_callback():
    AutoencoderTransformer(2, callbacks=[Raises(MemoryError("no memory"), 1)], **QUICK).fit(curved())


def interrupted_rank():
    """Rank 1 has a Ctrl-C in the middle of an epoch."""

    class Interrupts(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if RANK == 1 and len(net.history) == 2:
                os.kill(os.getpid(), signal.SIGINT)

    AutoencoderTransformer(2, callbacks=[Interrupts()], **{**QUICK, "max_iter": 200}).fit(curved())


def one_rank_stops():
    AutoencoderTransformer(2, callbacks=[Raises(KeyboardInterrupt(), 1)], **QUICK).fit(curved())


def other_parameters():
    AutoencoderTransformer(1 + RANK, **QUICK).fit(curved())


def other_data():
    AutoencoderTransformer(2, **QUICK).fit(curved(seed=RANK))


def missing_rank():
    if RANK == 0:
        STORE.set_timeout(timedelta(seconds=2))
        AutoencoderTransformer(2, **QUICK).fit(curved())
    while RANK and not Path(FOLDER, "missing_rank 0.pkl").exists():
        time.sleep(0.1)


def late_rank():
    STORE.set_timeout(timedelta(seconds=60))
    if RANK == 1:
        AutoencoderTransformer(2, **QUICK).fit(curved())


def killed_rank():
    class Exits(Callback):
        def on_epoch_end(self, net, **kwargs):
            if RANK == 1:
                os._exit(1)

    AutoencoderTransformer(2, callbacks=[Exits()], **QUICK).fit(curved())


def group():
    """Return what is left of the fits."""
    return dist.is_initialized(), len(torch.distributed.distributed_c10d._world.pg_map)


# -- script ---------------------------------------------------------------------------------------


def outcome(name):
    """Return the result of a scenario, or its error, and the time that it took."""
    start = time.perf_counter()
    try:
        result = globals()[name](), None
    except (Exception, KeyboardInterrupt) as error:
        result = None, (type(error).__name__, str(error))
    return (*result, time.perf_counter() - start)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    FOLDER, *NAMES = sys.argv[1:]
    if "RANKS_OF_USER" in os.environ:
        STORE = dist.FileStore(str(Path(FOLDER, "store")), 2)
        dist.init_process_group("gloo", store=STORE, rank=RANK, world_size=2)
    for scenario in NAMES:
        found = outcome(scenario)
        Path(FOLDER, f"{scenario} {RANK}.pkl").write_bytes(pickle.dumps(found))
