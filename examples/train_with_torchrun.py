"""
Train one autoencoder in several processes
==========================================

The same script runs in one process and in several, on one machine or more::

    python examples/train_with_torchrun.py
    torchrun --nproc-per-node 2 examples/train_with_torchrun.py

Each process takes its part of every batch and gradients are averaged, so that all processes end with the
same model: that of a single process with the same ``batch_size``.
"""

# sphinx_gallery_thumbnail_path = '_static/thumbnails/train_with_torchrun.png'
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA

from sklearn_ae import AutoencoderTransformer

# %%
# Samples on a curved surface, in a file that each process maps. Here every process writes its own copy;
# usually the file lies on a disk that all of them see, and of a map with more than 2**26 entries each
# process reads its share alone.
rank = int(os.environ.get("RANK", 0))
rng = np.random.RandomState(0)
t = rng.uniform(-2, 2, size=(5_000, 3))
curved = np.column_stack([t, np.sin(2 * t), t**2])
X = curved @ rng.normal(size=(curved.shape[1], 20)) + 0.05 * rng.normal(size=(len(t), 20))

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder, "X.npy")
    np.save(file, X.astype(np.float32))
    mapped = np.load(file, mmap_mode="r")

    # %%
    # ``batch_size`` is that of all processes together.
    start = time.perf_counter()
    ae = AutoencoderTransformer(3, hidden_layer_sizes=(64, 32), batch_size=256, random_state=0).fit(mapped)
    seconds = time.perf_counter() - start
    del mapped

# %%
# The fitted models are equal, so that one process can go on alone.
if rank == 0:
    pca = PCA(3).fit(X)
    of_pca = np.square(X - pca.inverse_transform(pca.transform(X))).sum(axis=1).mean()
    n_processes = int(os.environ.get("WORLD_SIZE", 1))
    print(f"{n_processes} process(es), {seconds:.1f} s, {ae.n_iter_} epochs of {ae.n_samples_} samples")
    print(f"squared error per sample: PCA {of_pca:.2f}, autoencoder {ae.reconstruction_error(X).mean():.2f}")
