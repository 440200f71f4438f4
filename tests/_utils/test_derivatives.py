"""Entrywise derivatives, under every gradient mode of torch."""

import pytest
import torch

from sklearn_ae._utils.derivatives import entrywise_derivatives, positive_information

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
