"""The references of the exercises on Taylor saliency against independent ones."""

import math

import pytest
import torch
import torch.nn.functional as F
from answers import right_answers
from torch import nn

from ece661_sparse.exercises.bank import taylor_saliency as solutions
from ece661_sparse.saliency import averaged_taylor, first_order, loss_change


def tangent_by_loop(loss, grad, w):
    result = torch.empty_like(w)
    for i, (g, v) in enumerate(zip(grad.flatten(), w.flatten(), strict=True)):
        result.view(-1)[i] = loss - g * v
    return result


def mean_by_loop(w, grads):
    total = torch.zeros_like(w)
    for g in grads:
        total = total + torch.maximum(g * w, -g * w)
    return total / grads.shape[0]


test_a_right_answer_written_differently = right_answers(
    "taylor_saliency",
    predicted_loss=[tangent_by_loop],
    mean_saliency=[mean_by_loop],
    largest_safe_weight=[lambda curvature, rise: math.sqrt(rise / (curvature / 2))],
)


def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    return model, torch.randn(12, 4).double(), torch.randint(3, (12,))


def test_predicted_loss_is_the_loss_itself_where_weights_are_tiny():
    model, x, y = network()
    with torch.no_grad():
        model[0].weight.mul_(1e-4)
    loss = F.cross_entropy(model(x), y)
    (grad,) = torch.autograd.grad(loss, [model[0].weight])
    w = model[0].weight.detach()
    exact = loss_change(model, x, y, {"0.weight": torch.arange(20)})["0.weight"]
    predicted = solutions.predicted_loss(loss.detach(), grad, w)
    actual = loss.detach() + exact.view(5, 4)
    assert (predicted - actual).abs().max() < 1e-3 * exact.abs().max()
    torch.testing.assert_close(
        predicted - loss.detach(), first_order(model, x, y)["0.weight"]
    )


def test_mean_saliency_is_the_packages_average():
    model, x, y = network()
    parts = list(zip(x.split(4), y.split(4), strict=True))
    grads = torch.stack(
        [
            torch.autograd.grad(F.cross_entropy(model(a), b), [model[2].weight])[0]
            for a, b in parts
        ]
    )
    torch.testing.assert_close(
        solutions.mean_saliency(model[2].weight.detach(), grads),
        averaged_taylor(model, parts)["2.weight"],
    )


@pytest.mark.parametrize(("curvature", "rise"), [(2.0, 0.3), (0.1, 1e-3), (30.0, 2.0)])
def test_largest_safe_weight_on_a_parabola(curvature, rise):
    """The loss has its minimum at w; removing the weight walks to zero."""
    w = torch.tensor(float(solutions.largest_safe_weight(curvature, rise)))

    def loss(v):
        return curvature * (v - w) ** 2 / 2

    assert float(loss(torch.tensor(0.0)) - loss(w)) == pytest.approx(rise, rel=1e-5)
