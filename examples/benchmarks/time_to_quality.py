"""Seconds until an autoencoder has the error of a bare PyTorch loop after a fixed number of epochs.

The target for each dataset is the squared error per test sample of a bare loop (Adam at 1e-3, batches of
128) after 12 epochs of MNIST, or 4,000 steps on tabular data. All methods have the same hidden layers and
number of components. The seconds are those of training or fitting alone, on the default number of threads
of torch.

    python examples/benchmarks/time_to_quality.py --data DIR

- AutoencoderTransformer: defaults, with the smallest of several ``max_iter`` that reaches the target; the
  seconds are those of this whole fit.
- MLPRegressor(X, X): defaults, epoch by epoch with ``partial_fit``.
- skorch: NeuralNetRegressor with defaults except Adam at 1e-3 (plain SGD at 0.01 stays far from the target),
  epoch by epoch with ``partial_fit``.
- pyod: AutoEncoder with defaults except preprocessing=False, if pyod is installed.

Methods that do not reach the target within ``--patience`` times the seconds of AutoencoderTransformer are
stopped; the table gives the error they reached.
"""

import argparse
import time
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_ae import AutoencoderTransformer

SETS = {  # file, number of components, hidden layers
    "MNIST": ("mnist.npz", 32, (512, 256)),
    "pendigits": ("adbench/28_pendigits.npz", 4, (256, 128)),
    "landsat": ("adbench/19_landsat.npz", 6, (256, 128)),
    "shuttle": ("adbench/32_shuttle.npz", 3, (256, 128)),
}
MNIST_EPOCHS = 12
TABLE_STEPS = 4_000
OUR_EPOCHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 150)


def load(path):
    """Return training and test samples: MNIST in [0, 1], or standardised normal samples split 4 to 1."""
    data = np.load(path)
    if "X_train" in data:
        parts = (data[name].reshape(-1, 784) / 255 for name in ("X_train", "X_test"))
        return tuple(part.astype(np.float32) for part in parts)
    train, test = train_test_split(data["X"][data["y"] == 0], test_size=0.2, random_state=0)
    scaler = StandardScaler().fit(train)
    return tuple(scaler.transform(part).astype(np.float32) for part in (train, test))


def layers(d, hidden, k):
    """Return a textbook autoencoder: ReLU except on the code and the output."""
    sizes = (d, *hidden, k, *reversed(hidden), d)
    modules = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        if i not in (0, len(hidden) + 1):
            modules.append(nn.ReLU())
        modules.append(nn.Linear(n_in, n_out))
    return nn.Sequential(*modules)


def error(X_hat, X):
    """Return the squared error per sample, summed over the features."""
    return float(np.square(X_hat - X).sum(axis=1).mean())


def bare_loop(train, test, k, hidden, n_epochs):
    """Train a textbook autoencoder; return the seconds and the test error."""
    torch.manual_seed(0)
    net = layers(train.shape[1], hidden, k)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    X, T = torch.from_numpy(train), torch.from_numpy(test)
    start = time.perf_counter()
    for _ in range(n_epochs):
        for index in torch.randperm(len(X)).split(128):
            optimizer.zero_grad()
            batch = X[index]
            nn.functional.mse_loss(net(batch), batch).backward()
            optimizer.step()
    seconds = time.perf_counter() - start
    with torch.no_grad():
        return seconds, error(net(T).numpy(), test)


def ours(train, test, k, hidden, target):
    """Return the seconds and the test error of the shortest fit that reaches the target."""
    for n_epochs in OUR_EPOCHS:
        est = AutoencoderTransformer(k, hidden_layer_sizes=hidden, max_iter=n_epochs, random_state=0)
        start = time.perf_counter()
        est.fit(train)
        seconds = time.perf_counter() - start
        reached = float(est.reconstruction_error(test).mean())
        if reached <= target:
            break
    return seconds, reached


def epoch_by_epoch(one_epoch, predict, test, target, limit):
    """Train until the target error or the time limit; return the seconds and the test error."""
    seconds, reached = 0.0, np.inf
    while reached > target and seconds < limit:
        start = time.perf_counter()
        one_epoch()
        seconds += time.perf_counter() - start
        reached = error(predict(), test)
    return seconds, reached


def mlp_regressor(train, test, k, hidden, target, limit):
    """Train MLPRegressor epoch by epoch."""
    net = MLPRegressor(hidden_layer_sizes=(*hidden, k, *reversed(hidden)), random_state=0)
    return epoch_by_epoch(
        lambda: net.partial_fit(train, train), lambda: net.predict(test), test, target, limit
    )


def skorch_net(train, test, k, hidden, target, limit):
    """Train a skorch net epoch by epoch."""
    from skorch import NeuralNetRegressor

    torch.manual_seed(0)
    net = NeuralNetRegressor(
        layers(train.shape[1], hidden, k), optimizer=torch.optim.Adam, lr=1e-3, max_epochs=1, verbose=0
    )
    return epoch_by_epoch(
        lambda: net.partial_fit(train, train), lambda: net.predict(test), test, target, limit
    )


def pyod_autoencoder(train, test, k, hidden, target, limit):
    """Fit for the default ten epochs; the score is the root of the squared error."""
    from pyod.models.auto_encoder import AutoEncoder

    detector = AutoEncoder(hidden_neuron_list=[*hidden, k], preprocessing=False, verbose=0, random_state=0)
    start = time.perf_counter()
    detector.fit(train)
    seconds = time.perf_counter() - start
    return seconds, float(np.square(detector.decision_function(test)).mean())


PEERS = {
    "MLPRegressor(X, X)": mlp_regressor,
    "skorch, Adam": skorch_net,
    "pyod AutoEncoder": pyod_autoencoder,
}


def print_row(name, seconds, reached, target, own=None):
    """Print a row of the table; ">" marks times after which the target was not reached."""
    mark = "" if reached <= target else ">"
    ratio = f"{mark}{seconds / own:.1f}x" if own else ""
    print(f"{name:32} {reached:10.4f} {mark + format(seconds, '.2f'):>9} {ratio:>8}", flush=True)


def compare(name, train, test, k, hidden, patience):
    """Print the table of a dataset."""
    n_steps = -(-len(train) // 128)
    n_epochs = MNIST_EPOCHS if name == "MNIST" else -(-TABLE_STEPS // n_steps)
    bare_loop(train[:1000], test, k, hidden, 1)  # the first calls initialise libraries
    ours(train[:1000], test, k, hidden, np.inf)
    loop_seconds, target = bare_loop(train, test, k, hidden, n_epochs)
    print(f"\n{name}, {len(train)} x {train.shape[1]}, k={k}, hidden {hidden}: target {target:.4f}")
    print(f"{'':32} {'error':>10} {'seconds':>9} {'to ours':>8}")
    own, reached = ours(train, test, k, hidden, target)
    print_row("AutoencoderTransformer", own, reached, target)
    print_row(f"bare loop, {n_epochs} epochs", loop_seconds, target, target, own)
    for peer, fit in PEERS.items():
        try:
            print_row(peer, *fit(train, test, k, hidden, target, patience * own), target, own)
        except ImportError as error:
            print(f"{peer:32} {error}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--patience", type=float, default=25.0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")  # short trainings on purpose
    print(f"threads: {args.threads}")
    for name in args.sets:
        file, k, hidden = SETS[name]
        compare(name, *load(args.data / file), k, hidden, args.patience)


if __name__ == "__main__":
    main()
