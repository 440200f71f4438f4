"""
Search on a cluster
===================

A grid search passes its fits to joblib, which can run them on a cluster of machines. Here the cluster has two
processes on this machine, started by dask; for other machines, only the address of their scheduler is needed.
The scores are those of a search in one process, digit by digit.
"""

# %%
# The search
# ----------
# Number of components and input noise, scored by the log-likelihood of held-out digits.

# sphinx_gallery_thumbnail_path = '_static/thumbnails/search_on_a_cluster.png'
import joblib
import numpy as np
from distributed import Client, LocalCluster
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from sklearn_ae import AutoencoderTransformer

X = load_digits().data[:900]
model = AutoencoderTransformer(max_iter=20, random_state=0)
search = GridSearchCV(model, {"n_components": [2, 8], "corruption": [None, "gaussian"]}, cv=2)

# %%
# One process
# -----------


def scores(search):
    """Return the mean score of each setting."""
    return search.fit(X).cv_results_["mean_test_score"]


# %%
# Two processes
# -------------
# The workers are new processes that import this script, so that everything below must not run in them.

if __name__ == "__main__":
    serial = scores(search)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,  # Client("address:8786") connects to other machines
    ):
        n_workers = len(client.scheduler_info()["workers"])
        with joblib.parallel_config("dask"):
            distributed = scores(search.set_params(n_jobs=n_workers))
    print(f"{n_workers} workers")
    print("components, corruption  nats")
    for params, score in zip(search.cv_results_["params"], distributed, strict=True):
        print(f"{params['n_components']}, {params['corruption']}  {score:.1f}")
    print(f"largest difference from one process: {np.abs(distributed - serial).max():g}")
