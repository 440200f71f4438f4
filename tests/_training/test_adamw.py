"""The optimizer takes torch's own steps."""

import copy
import pickle
import subprocess
import sys

import pytest
import torch
from torch import nn

from sklearn_ae._training.adamw import FusedAdamW


def problem(optimizer_class):
    """A small network, two groups of parameters, and its optimizer."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 5))
    weights = [p for p in net.parameters() if p.ndim > 1]
    biases = [p for p in net.parameters() if p.ndim == 1]
    groups = [{"params": weights, "weight_decay": 0.3}, {"params": biases, "weight_decay": 0.0}]
    return net, optimizer_class(groups, lr=0.02, fused=True)


def backward(net, step):
    x = torch.randn(16, 5, generator=torch.Generator().manual_seed(step))
    (net(x) - x).square().mean().backward()


def same(net, other):
    return all(torch.equal(p, q) for p, q in zip(net.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("frozen_at", [None, 0, 3])
def test_steps_are_those_of_torch(frozen_at):
    """Bit for bit, with a rate that changes, and where a parameter is frozen for some steps."""
    (net, quick), (twin, usual) = problem(FusedAdamW), problem(torch.optim.AdamW)
    for step in range(8):
        for model, optimizer in ((net, quick), (twin, usual)):
            model[0].bias.requires_grad_(frozen_at is None or not frozen_at <= step < frozen_at + 2)
            for group in optimizer.param_groups:
                group["lr"] = 0.02 / (1 + step)
            optimizer.zero_grad() if optimizer is usual else optimizer.clear_gradients()
            backward(model, step)
            optimizer.step() if optimizer is usual else optimizer.advance()
        assert same(net, twin)
    assert not same(net, problem(FusedAdamW)[0])


@pytest.mark.parametrize("carry", ["pickle", "deepcopy", "load_state_dict"])
def test_goes_on_from_a_copy(carry):
    """The state is torch's, and goes where the optimizer goes."""
    (net, quick), (twin, usual) = problem(FusedAdamW), problem(torch.optim.AdamW)
    for step in range(6):
        if step == 3 and carry == "load_state_dict":
            quick.load_state_dict(copy.deepcopy(quick.state_dict()))
        elif step == 3:
            both = (net, quick)
            net, quick = pickle.loads(pickle.dumps(both)) if carry == "pickle" else copy.deepcopy(both)
        quick.clear_gradients()
        usual.zero_grad()
        backward(net, step)
        backward(twin, step)
        quick.advance()
        usual.step()
        assert same(net, twin)


def test_a_fit_does_without_torchs_compiler():
    """Which takes longer to import than to fit a small model; a process of joblib would pay for it, too."""
    code = (
        "import sys, numpy as np\n"
        "from sklearn_ae import AutoencoderTransformer\n"
        "X = np.random.RandomState(0).normal(size=(120, 5))\n"
        "assert AutoencoderTransformer(2, max_iter=2, random_state=0).fit(X).n_iter_ == 2\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
