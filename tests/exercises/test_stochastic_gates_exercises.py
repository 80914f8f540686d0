"""The references of the exercises on stochastic gates against independent ones."""

import math
from itertools import pairwise

import pytest
import torch
from answers import right_answers
from scipy.optimize import brentq
from torch import nn

from ece661_sparse.exercises.bank import stochastic_gates as solutions
from ece661_sparse.gates import (
    HardConcrete,
    bake,
    exact_gradient,
    gate,
    gates,
    sample_bernoulli,
    sample_hard_concrete,
    z_hat,
)
from ece661_sparse.models import LeNet300


def reinforce_by_autograd(losses, z, log_alpha):
    """Sample by sample, through torch's own log probability."""
    rows = []
    for k in range(len(losses)):
        free = log_alpha.clone().requires_grad_()
        baseline = torch.cat([losses[:k], losses[k + 1 :]]).mean()
        log_p = torch.distributions.Bernoulli(logits=free).log_prob(z[k]).sum()
        ((losses[k] - baseline) * log_p).backward()
        rows.append(free.grad)
    return torch.stack(rows)


def hard_concrete_by_odds(u, log_alpha, beta, gamma, zeta):
    odds = (u / (1 - u) * log_alpha.exp()) ** (1 / beta)
    stretched = (zeta * odds + gamma) / (1 + odds)
    return torch.minimum(torch.ones(()), torch.maximum(torch.zeros(()), stretched))


def closing_by_root(gamma, zeta):
    return brentq(lambda x: (zeta - gamma) / (1 + math.exp(-x)) + gamma, -50, 50)


def weights_by_masks(pixels, hidden1, hidden2):
    """An explicit mask for every layer: read by its input and by its output."""
    ten = torch.ones(10)
    chain = [pixels, hidden1, hidden2, ten]
    masks = [torch.outer(out != 0, inp != 0) for inp, out in pairwise(chain)]
    return sum(int(mask.sum()) for mask in masks)


test_a_right_answer_written_differently = right_answers(
    "stochastic_gates",
    reinforce=[reinforce_by_autograd],
    hard_concrete=[hard_concrete_by_odds],
    closing_log_alpha=[closing_by_root],
    weights_left=[weights_by_masks],
)


def test_reinforce_is_right_on_average():
    target = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    log_alpha = torch.tensor([0.4, -1.2, 2.0], dtype=torch.float64)

    def loss(z):
        return (z @ target - 1).square() + 3

    generator = torch.Generator().manual_seed(0)
    z = sample_bernoulli(log_alpha, 50_000, generator=generator)
    estimates = solutions.reinforce(loss(z), z, log_alpha)
    error = estimates.std(0) / len(z) ** 0.5
    exact = exact_gradient(loss, log_alpha)
    assert ((estimates.mean(0) - exact).abs() < 4 * error).all()


def test_hard_concrete_is_the_samplers_formula(monkeypatch):
    u = torch.rand(1000, generator=torch.Generator().manual_seed(0)).double()
    log_alpha = torch.linspace(-4, 4, 1000, dtype=torch.float64)
    monkeypatch.setattr(torch, "rand", lambda *shape, **options: u.clone())
    torch.testing.assert_close(
        solutions.hard_concrete(u, log_alpha, 0.5, -0.2, 1.3),
        sample_hard_concrete(log_alpha, 0.5, -0.2, 1.3),
    )


@pytest.mark.parametrize(("gamma", "zeta"), [(-0.1, 1.1), (-0.7, 1.05)])
def test_closing_log_alpha_is_where_the_package_closes(gamma, zeta):
    edge = torch.tensor(solutions.closing_log_alpha(gamma, zeta), dtype=torch.float64)
    assert z_hat(edge - 1e-9, gamma, zeta) == 0
    assert z_hat(edge + 1e-9, gamma, zeta) > 0


def test_weights_left_is_what_can_be_cut_out_without_a_change():
    torch.manual_seed(0)
    model = gate(LeNet300(), HardConcrete, "input").eval()
    for found in gates(model).values():
        nn.init.normal_(found.log_alpha, std=3.0)
    pixels, hidden1, hidden2 = (g.z_hat().detach()[0] for g in gates(model).values())
    count = solutions.weights_left(pixels, hidden1, hidden2)
    images = torch.randn(5, 784)
    with torch.no_grad():
        expected = model(images)
        bake(model)
        # cut the network down to what is read, as a small dense one
        kept = [z.nonzero()[:, 0] for z in (pixels, hidden1, hidden2)]
        x = images[:, kept[0]]
        weights = 0
        for layer, rows, columns in (
            (model.fc1, kept[1], kept[0]),
            (model.fc2, kept[2], kept[1]),
            (model.fc3, torch.arange(10), kept[2]),
        ):
            small = layer.weight[rows][:, columns]
            weights += small.numel()
            x = x @ small.T + layer.bias[rows]
            if layer is not model.fc3:
                x = x.relu()
    torch.testing.assert_close(x, expected)
    assert weights == count
