"""The references of the exercises on dynamic convolution against other ones."""

import math

import pytest
import torch
import torch.nn.functional as F
from answers import right_answers
from scipy.optimize import brentq
from torch.utils.flop_counter import FlopCounterMode

from ece661_sparse.dynamic import DynamicConv2d, mixed_conv2d
from ece661_sparse.exercises.bank import dynamic_convolution as solutions


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def mix_the_outputs(x, pi, weight):
    outputs = torch.stack([F.conv2d(x, kernel) for kernel in weight], dim=1)
    return (pi[:, :, None, None, None] * outputs).sum(1)


def flops_by_sum(in_channels, out_channels, size, kernels):
    hidden = max(in_channels // 4, kernels)
    weights = out_channels * in_channels * 3 * 3
    return (
        2 * weights * size * size
        + 2 * kernels * weights
        + 2 * in_channels * hidden
        + 2 * hidden * kernels
    )


def temperature_by_bisection(gap, share, kernels):
    def excess(temperature):
        others = (kernels - 1) * math.exp(-gap / temperature)
        return 1 / (1 + others) - share

    return brentq(excess, 1e-3, 1e9, xtol=1e-12)


def average_of_the_mixed(pi, weight):
    return torch.einsum("nk,koihw->noihw", pi, weight).mean(0)


test_a_right_answer_written_differently = right_answers(
    "dynamic_convolution",
    mixed_convolution=[mix_the_outputs],
    dynamic_flops=[flops_by_sum],
    temperature_for=[temperature_by_bisection],
    average_kernel=[average_of_the_mixed],
)


def test_mixed_convolution_is_the_packages():
    x, weight = random(5, 3, 6, 7), random(4, 2, 3, 3, 2, seed=1)
    pi = random(5, 4, seed=2).softmax(1)
    result = solutions.mixed_convolution(x, pi, weight)
    torch.testing.assert_close(result, mixed_conv2d(x, pi, weight))


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "size", "kernels"),
    [(64, 64, 16, 4), (4, 8, 14, 4), (20, 7, 5, 3), (3, 3, 1, 1)],
)
def test_dynamic_flops_are_those_the_counter_sees(
    in_channels, out_channels, size, kernels
):
    with torch.device("meta"):
        layer = DynamicConv2d(
            in_channels, out_channels, 3, padding=1, bias=False, kernels=kernels
        )
        x = torch.zeros(1, in_channels, size, size)
    with FlopCounterMode(display=False) as counter:
        layer(x)
    found = solutions.dynamic_flops(in_channels, out_channels, size, kernels)
    assert found == counter.get_total_flops()


@pytest.mark.parametrize("kernels", [2, 4, 9])
@pytest.mark.parametrize("share", [0.55, 0.9, 0.999])
def test_temperature_for_gives_the_share_it_was_asked_for(share, kernels):
    gap = 1.7
    temperature = solutions.temperature_for(gap, share, kernels)
    logits = torch.zeros(kernels, dtype=torch.float64)
    logits[0] = gap
    shares = (logits / temperature).softmax(0)
    assert float(shares[0]) == pytest.approx(share)


def test_average_kernel_is_the_static_layer_nearest_to_the_dynamic_one():
    """No other kernel is nearer to the kernels that the images get."""
    pi, weight = random(6, 3).softmax(1), random(3, 2, 2, 3, 3, seed=1)
    kernels = (pi @ weight.flatten(1)).view(6, -1)
    nearest = torch.linalg.lstsq(torch.ones(6, 1).double(), kernels).solution
    result = solutions.average_kernel(pi, weight)
    torch.testing.assert_close(result.flatten(), nearest[0])
