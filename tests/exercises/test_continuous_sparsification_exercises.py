"""The references of the exercises on continuous sparsification against others."""

import math

import pytest
import torch
from answers import right_answers
from scipy.optimize import brentq
from torch import nn

from ece661_sparse.exercises.bank import continuous_sparsification as solutions
from ece661_sparse.exercises.bank.inputs import double
from ece661_sparse.gates import ContinuousGate, gate, gates, start_round
from ece661_sparse.proximal import Lq


def by_autograd(grad, theta, s, beta, lam):
    s = s.clone().requires_grad_()
    objective = (grad * theta / (1 + torch.exp(-beta * s))).sum()
    (objective + lam * torch.sigmoid(beta * s).sum()).backward()
    return s.grad


def band_by_root(beta, eps):
    def excess(s):
        return 1 / (1 + math.exp(-beta * s)) - (1 - eps)

    return brentq(excess, 0, 40 / beta, xtol=1e-15)


def loop_round(s, beta, s0):
    return torch.tensor([min(beta * v, s0) for v in s.tolist()], dtype=s.dtype)


def least_over_all_gates(theta, lam, decay):
    z = torch.linspace(1e-5, 1, 400_001, dtype=torch.float64)
    return torch.stack([(lam * z + decay * (t / z) ** 2 / 2).min() for t in theta])


def loss_by_hand(theta, s, c, beta, lam):
    total = 0.0
    for t, x, target in zip(theta.tolist(), s.tolist(), c.tolist(), strict=True):
        z = 1 / (1 + math.exp(-beta * x))
        total += (t * z - target) ** 2 / 2 + lam * z
    return total


test_a_right_answer_written_differently = right_answers(
    "continuous_sparsification",
    converted_loss=[loss_by_hand],
    mask_gradient=[by_autograd],
    undecided_band=[band_by_root],
    next_round=[loop_round],
    implied_penalty=[least_over_all_gates],
)


def linear_gate(theta, s, beta):
    layer = nn.Linear(len(theta), 1, bias=False).double()
    layer.weight.data.copy_(theta[None])
    gate(layer, ContinuousGate)
    (found,) = gates(layer).values()
    found.s.data.copy_(s[None])
    found.beta = beta
    return layer, found


@pytest.mark.parametrize("beta", [1.0, 4.0, 50.0])
def test_loss_and_gradient_are_those_of_the_package(beta):
    theta, s, c = (
        double([1.2, -0.8, 2.0]),
        double([0.4, -0.3, 0.02]),
        double([1, -1, 0]),
    )
    layer, found = linear_gate(theta, s, beta)
    z = layer.weight[0] / found.scale  # the slide has no 1/σ(s⁰)
    loss = (z - c).square().sum() / 2 + 0.3 * found.expected_l0()
    assert loss.item() == pytest.approx(
        float(solutions.converted_loss(theta, s, c, beta, 0.3))
    )
    (by_package,) = torch.autograd.grad(loss, found.s)
    grad = theta * torch.sigmoid(beta * s) - c
    expected = solutions.mask_gradient(grad, theta, s, beta, 0.3)
    torch.testing.assert_close(by_package[0], expected)


@pytest.mark.parametrize("eps", [0.3, 0.01, 1e-4])
def test_the_band_is_where_the_packages_gate_is_undecided(eps):
    band = float(solutions.undecided_band(20.0, eps))
    s = double([-1.001 * band, -0.999 * band, 0.999 * band, 1.001 * band])
    soft = linear_gate(s, s, 20.0)[1].probability()[0]
    assert ((soft > eps) & (soft < 1 - eps)).tolist() == [False, True, True, False]


@pytest.mark.parametrize("s0", [-0.1, 0.0, 0.3])
def test_next_round_is_the_packages(s0):
    s = double([0.3, 0.02, -0.01, -0.2])
    layer, found = linear_gate(s, s, 200.0)
    found.s0 = s0
    start_round(layer)
    torch.testing.assert_close(found.s.data[0], solutions.next_round(s, 200.0, s0))


@pytest.mark.parametrize(("lam", "decay"), [(0.1, 1.0), (2.0, 0.3), (1e-3, 5e-2)])
def test_implied_penalty_is_the_least_over_all_gates(lam, decay):
    theta = double([-2.5, -0.7, -0.05, 0.01, 0.3, 1.4])
    result = solutions.implied_penalty(theta, lam, decay)
    expected = least_over_all_gates(theta, lam, decay)
    torch.testing.assert_close(result, expected, rtol=1e-6, atol=0)
    # below the knot it is Part I's penalty with q = 2/3
    small = theta[theta.abs() < math.sqrt(lam / decay)]
    strength = 1.5 * (lam**2 * decay) ** (1 / 3)
    torch.testing.assert_close(
        solutions.implied_penalty(small, lam, decay), Lq(strength, 2 / 3).value(small)
    )
