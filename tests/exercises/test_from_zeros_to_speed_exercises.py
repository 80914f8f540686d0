"""The references of the exercises of "From zeros to speed" against other ones."""

import pytest
import torch
from answers import EXERCISES, right_answers
from torch import nn

from ece661_sparse.exercises.bank import from_zeros_to_speed as solutions
from ece661_sparse.synthesis import compact


def bias_by_running_the_network(W, b, W_next, b_next):
    """What comes out beyond what the other units put in."""
    x = torch.linspace(-1, 1, W.shape[1], dtype=W.dtype)
    units = (W @ x + b).relu()
    varies = W.abs().sum(1) > 0
    return W_next @ units + b_next - W_next[:, varies] @ units[varies]


def units_by_removing(W1, W2, W3):
    """Remove one unit at a time until nothing changes."""
    W1, W2, W3 = W1.clone(), W2.clone(), W3.clone()
    for _ in range(len(W1) + len(W2)):
        for one, two in ((W1, W2), (W2, W3)):
            for unit in range(len(one)):
                if not one[unit].any() or not two[:, unit].any():
                    one[unit], two[:, unit] = 0, 0
    return torch.stack((W1.any(1).sum(), W2.any(1).sum()))


def speedup_by_loop(time, faster):
    after = 0.0
    for t, f in zip(time.tolist(), faster.tolist(), strict=True):
        after += t / f
    return float(time.sum()) / after


test_a_right_answer_written_differently = right_answers(
    "from_zeros_to_speed",
    folded_bias=[bias_by_running_the_network],
    units_left=[units_by_removing],
    overall_speedup=[
        speedup_by_loop,
        lambda time, faster: float(1 / (time / time.sum() / faster).sum()),
    ],
)


@pytest.mark.parametrize(
    "matrices", EXERCISES["units_left"].cases + EXERCISES["units_left"].edges
)
def test_the_package_leaves_as_many_units(matrices):
    layers = [nn.Linear(*W.shape[::-1]).double() for W in matrices]
    with torch.no_grad():
        for layer, W in zip(layers, matrices, strict=True):
            layer.weight.copy_(W)
    one, two, three = layers
    small = compact(nn.Sequential(one, nn.ReLU(), two, nn.ReLU(), three))
    left = [m.out_features for m in small if isinstance(m, nn.Linear)][:2]
    # a layer keeps one unit even where none is needed
    expected = solutions.units_left(*matrices).clamp(min=1).tolist()
    assert left == expected


def test_no_part_can_do_more_than_vanish():
    time = torch.tensor([1.0, 4.0], dtype=torch.float64)
    never = torch.tensor([1.0, float("inf")], dtype=torch.float64)
    assert solutions.overall_speedup(time, never) == 5.0
