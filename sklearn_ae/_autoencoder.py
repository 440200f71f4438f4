"""Deterministic autoencoders: one estimator, whose slots make it any of them."""

from __future__ import annotations

from sklearn_ae._base import BaseAutoencoder
from sklearn_ae._building import Slots
from sklearn_ae._options import resolve
from sklearn_ae.bottlenecks import BOTTLENECKS, Bottleneck
from sklearn_ae.corruptions import resolve_corruption
from sklearn_ae.losses import LOSSES, Loss
from sklearn_ae.networks import resolve_network
from sklearn_ae.penalties import PENALTIES, Penalty


class AutoencoderTransformer(BaseAutoencoder):
    def __init__(
        self,
        n_components=2,
        *,
        hidden_layer_sizes=(256, 128),
        activation="gelu",
        network="dense",
        init="pca",
        bottleneck="plain",
        corruption=None,
        loss="squared_error",
        penalty=None,
        alpha=0.01,
        tied_weights=False,
        whiten=False,
        batch_size="auto",
        learning_rate_init=0.003,
        max_iter="auto",
        early_stopping=True,
        validation_fraction=0.1,
        n_iter_no_change=400,
        tol=1e-4,
        warm_start=False,
        random_state=None,
        device="cpu",
        precision="auto",
        callbacks=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.network = network
        self.init = init
        self.bottleneck = bottleneck
        self.corruption = corruption
        self.loss = loss
        self.penalty = penalty
        self.alpha = alpha
        self.tied_weights = tied_weights
        self.whiten = whiten
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.precision = precision
        self.callbacks = callbacks
        self.verbose = verbose

    def _resolve_slots(self) -> Slots:
        return Slots(
            network=resolve_network(self.network),
            bottleneck=resolve(self.bottleneck, BOTTLENECKS, "bottleneck", Bottleneck),
            corruption=resolve_corruption(self.corruption),
            loss=resolve(self.loss, LOSSES, "loss", Loss),
            penalty=resolve(self.penalty, PENALTIES, "penalty", Penalty),
        )
