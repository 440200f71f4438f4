"""Nets as arrays and plain values: what training needs to go on, and the weights if nobody else has them."""

from __future__ import annotations

from typing import Any

import torch
from skorch.history import History

from sklearn_ae._model.module import Autoencoder
from sklearn_ae._training.net import AutoencoderNet
from sklearn_ae._utils.stored_modules import from_tree, to_tree

_PARAMETERS = (
    "lr",
    "max_epochs",
    "batch_size",
    "alpha",
    "betas",
    "seed",
    "bf16",
    "capturable",
    "warmup",
    "verbose",
    "callbacks",
)
_RESULTS = ("interrupted_", "graph_fallback_reason_", "callbacks_")


class StoredNet:
    """Net of a loaded model, built on first use: only training needs it.

    Parameters
    ----------
    state : dict
        Stored form of the net.
    module : Autoencoder
        Module of the loaded model.
    """

    def __init__(self, state: dict[str, Any], module: Autoencoder) -> None:
        self.state = state
        self.module = module

    def built(self) -> AutoencoderNet:
        """Return the net."""
        return net_from_state(self.state, self.module)


def net_to_state(net: AutoencoderNet, module: Autoencoder) -> dict[str, Any]:
    """Return the stored form of a net whose weights are, if possible, those of a stored module."""
    states = net.optimizer_.state
    moments = [
        {name: moment.detach().cpu().numpy() for name, moment in states[p].items()} if p in states else None
        for group in net.optimizer_.param_groups
        for p in group["params"]
    ]
    return {
        "module": to_tree(net.module_, like=module),
        "criterion": to_tree(net.criterion_),
        "parameters": {name: getattr(net, name) for name in _PARAMETERS},
        "results": {name: getattr(net, name) for name in _RESULTS},
        "history": list(net.history),
        "moments": moments if any(moments) else None,
    }


def net_from_state(state: dict[str, Any], module: Autoencoder) -> AutoencoderNet:
    """Return the net of a stored form."""
    criterion = from_tree(state["criterion"])
    net = AutoencoderNet(
        from_tree(state["module"], like=module), criterion, device="cpu", **state["parameters"]
    )
    net.initialize()
    net.history = History(state["history"])
    for name, value in state["results"].items():
        setattr(net, name, value)
    if state["moments"] is not None:
        params = [p for group in net.optimizer_.param_groups for p in group["params"]]
        for p, moments in zip(params, state["moments"], strict=True):
            if moments is not None:
                net.optimizer_.state[p] = {
                    name: torch.from_numpy(moment.copy()) for name, moment in moments.items()
                }
    net.module_.eval()
    return net
