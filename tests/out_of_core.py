"""Out-of-core forms of X, and small models that are fitted to them."""

import numpy as np
import torch
from scipy import sparse
from torch.utils.data import DataLoader, Dataset, TensorDataset

from sklearn_ae import AutoencoderTransformer


def quick(k=2, kind=AutoencoderTransformer, **params):
    """Return a small transformer that is trained for a few epochs."""
    params = {"hidden_layer_sizes": (32,), "max_iter": 6, "random_state": 0, **params}
    return kind(k, **params)


class Chunks:
    """Chunks that can be iterated again."""

    def __init__(self, *chunks):
        self.chunks = chunks

    def __iter__(self):
        return iter(self.chunks)


class NumberedDataset(Dataset):
    """Dataset that records the indices that are read, and returns each with its sample."""

    def __init__(self, X):
        self.X = X
        self.read = []

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        self.read.append(int(i))
        return self.X[i], i


def thirds(X):
    """Return samples in three chunks."""
    return Chunks(*np.array_split(X, 3))


# Functions of the samples, and of a function that writes an array to a file and maps it.
FORMS = {
    "array": lambda X, mapped: X,
    "float32 array": lambda X, mapped: X.astype(np.float32),
    "mapped": lambda X, mapped: mapped(X),
    "mapped bytes": lambda X, mapped: mapped(X.astype(np.uint8)),
    "chunks": lambda X, mapped: thirds(X),
    "tuples": lambda X, mapped: Chunks(*((c, np.arange(len(c))) for c in np.array_split(X, 5))),
    "sparse chunks": lambda X, mapped: Chunks(*(sparse.csr_array(c) for c in np.array_split(X, 5))),
    "function": lambda X, mapped: lambda: (torch.from_numpy(c) for c in np.array_split(X, 9)),
    "dataset": lambda X, mapped: NumberedDataset(X),
    "loader": lambda X, mapped: DataLoader(TensorDataset(torch.from_numpy(X)), 50, shuffle=True),
    "loader of chunks": lambda X, mapped: DataLoader(np.array_split(X, 9), batch_size=None),
}
