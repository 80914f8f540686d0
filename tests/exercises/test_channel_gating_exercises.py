"""The references of the exercises on channel gating against independent ones."""

import numpy as np
import pytest
import torch
from answers import right_answers
from scipy import stats
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ece661_sparse.dynamic import GatedResidualBlock, batch_shaping, gumbel_sigmoid
from ece661_sparse.exercises.bank import channel_gating as solutions


def gradient_by_autograd(log_alpha, u, temperature):
    log_alpha = log_alpha.clone().requires_grad_()
    odds = (log_alpha.exp() * u / (1 - u)) ** (1 / temperature)
    return torch.autograd.grad((odds / (1 + odds)).sum(), log_alpha)[0]


def shaping_by_numpy(p, a=0.6, b=0.4):
    n = len(p)
    distance = np.arange(1, n + 1) / (n + 1) - stats.beta(a, b).cdf(np.sort(p.numpy()))
    return float((distance**2).mean())


def collapsed_by_sum(n):
    return sum((1 - i / (n + 1)) ** 2 for i in range(1, n + 1)) / n


def flops_by_channel(is_open, in_channels, out_channels, size):
    counts = []
    for image in is_open.tolist():
        one_channel = 2 * 9 * size * size * (in_channels + out_channels)
        counts.append(sum(one_channel for gate in image if gate))
    return torch.tensor(counts)


test_a_right_answer_written_differently = right_answers(
    "channel_gating",
    gate_gradient=[gradient_by_autograd],
    batch_shaping_loss=[shaping_by_numpy],
    collapsed_loss=[collapsed_by_sum],
    gated_flops=[flops_by_channel],
)


@pytest.mark.parametrize("temperature", [0.2, 2 / 3, 3.0])
def test_gate_gradient_is_what_autograd_sends_through_the_gate(temperature):
    log_alpha = torch.linspace(-3, 3, 50, dtype=torch.float64).requires_grad_()
    seeded = [torch.Generator().manual_seed(0) for _ in range(2)]
    z = gumbel_sigmoid(log_alpha, temperature, generator=seeded[0])
    z.sum().backward()
    u = torch.rand(50, generator=seeded[1], dtype=torch.float64)
    found = solutions.gate_gradient(log_alpha.detach(), u, temperature)
    torch.testing.assert_close(found, log_alpha.grad)


@pytest.mark.parametrize("n", [1, 5, 60])
def test_batch_shaping_loss_is_the_packages(n):
    p = torch.from_numpy(np.random.default_rng(n).random(n))
    torch.testing.assert_close(solutions.batch_shaping_loss(p), batch_shaping(p))


@pytest.mark.parametrize("n", [1, 2, 50, 1000])
def test_collapsed_loss_is_the_loss_of_a_collapsed_gate(n):
    found = solutions.collapsed_loss(n)
    for constant in (0.0, 1.0):
        p = torch.full((n,), constant, dtype=torch.float64)
        assert found == pytest.approx(batch_shaping(p).item())


def test_gated_flops_are_those_the_counter_sees():
    torch.manual_seed(0)
    block = GatedResidualBlock(3, 6, middle=9).eval()
    block.shortcut = nn.Conv2d(3, 6, 1, bias=False)
    last = block.gate.logits[3]
    nn.init.zeros_(last.weight)
    nn.init.normal_(last.bias)
    x = torch.randn(1, 3, 11, 11)
    is_open = (last.bias > 0)[None]
    with FlopCounterMode(display=False) as inside, torch.no_grad():
        block(x)
    without = inside.get_total_flops()
    with FlopCounterMode(display=False) as gate, torch.no_grad():
        block.gate(x)
        block.shortcut(x)
    found = solutions.gated_flops(is_open, 3, 6, 11)
    assert 0 < is_open.sum() < 9
    assert found.tolist() == [without - gate.get_total_flops()]
