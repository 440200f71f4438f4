"""Entrywise derivatives, under every gradient mode of torch."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from sklearn_ae._utils.derivatives import entrywise_derivatives, jacobian, positive_information

X = torch.tensor([[0.3, -1.2], [2.0, 0.7]], dtype=torch.float64)


def function(x, scale, unused=None):
    return scale * x**3


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_derivatives_are_those_of_the_closed_form(mode):
    with mode():
        scale = torch.tensor([2.0, 3.0], dtype=torch.float64)
        first, second = entrywise_derivatives(function, X.clone(), scale, None)
        torch.testing.assert_close(first, 3 * scale * X**2)
        torch.testing.assert_close(second, 6 * scale * X)
        assert not first.requires_grad
        assert not second.requires_grad


def test_linear_and_constant_functions_have_derivatives_of_zero():
    first, second = entrywise_derivatives(lambda x: 2.0 * x, X)
    assert torch.equal(first, torch.full_like(X, 2.0))
    assert torch.equal(second, torch.zeros_like(X))
    for part in entrywise_derivatives(torch.ones_like, X):
        assert torch.equal(part, torch.zeros_like(X))


def test_information_is_minus_the_second_derivative_or_the_squared_slope():
    information = positive_information(torch.tensor([3.0, 3.0, 3.0]), torch.tensor([-2.0, 0.0, 5.0]))
    assert information.tolist() == [2.0, 9.0, 9.0]


# -- Jacobians ----------------------------------------------------------------------------


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Sine(torch.autograd.Function):
    """Sine whose derivative is computed outside of autograd, so that it has none."""

    @staticmethod
    def forward(ctx, z):
        ctx.z = z.detach()
        return z.sin()

    @staticmethod
    def backward(ctx, gradient):
        return torch.from_numpy(gradient.detach().numpy() * ctx.z.cos().numpy())


class OnceDifferentiable(Sine):
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient * ctx.z.cos()


attention = nn.MultiheadAttention(4, 2, batch_first=True).double().eval()


def attended(z):
    sequence = (z @ normal(4, 12)).view(-1, 3, 4)
    return attention(sequence, sequence, sequence, need_weights=False)[0].flatten(1)


DECODERS = {
    "dense": lambda z: torch.sin(z @ normal(4, 5)),
    "wide": lambda z: torch.sin(z @ normal(4, 1)),
    "in place": nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 3)).double(),
    "distances": lambda z: torch.cdist(z, normal(6, 4, seed=3)),
    "attention": attended,
    "own derivative": lambda z: z + Sine.apply(z),
    "own derivative, once": lambda z: z + OnceDifferentiable.apply(z),
    "constant": lambda z: torch.ones((len(z), 2), dtype=z.dtype),
}


@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("n", [1, 7, 130])
@pytest.mark.parametrize("name", DECODERS)
def test_jacobians_are_those_of_reverse_mode(name, n, mode, by_rows):
    decode, u = DECODERS[name], normal(n, 4, seed=1)
    expected = torch.stack([torch.autograd.functional.jacobian(decode, v[None])[0, :, 0] for v in u])
    with mode():
        value, jac = jacobian(decode, u.clone(), by_rows=by_rows)
    torch.testing.assert_close(value, decode(u).detach())
    torch.testing.assert_close(jac, expected)
    assert not value.requires_grad
    assert not jac.requires_grad


def test_jacobians_are_finite_if_the_function_overflows():
    _, jac = jacobian(lambda z: torch.exp(z), torch.tensor([[1.0], [1e4]], dtype=torch.float64))
    assert jac.isfinite().all()
    assert float(jac[0]) == pytest.approx(2.718281828)


def test_jacobians_need_no_compiler():
    """Importing it takes a second and creates a folder of temporary files."""
    code = (
        "import sys, torch; from sklearn_ae._utils.derivatives import jacobian; before = set(sys.modules)\n"
        "jacobian(torch.sin, torch.ones((2, 3))); print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
