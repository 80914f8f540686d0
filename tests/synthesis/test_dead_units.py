"""Weights of dead units are set to zero, and the outputs do not notice."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from ece661_sparse.gates import HardConcrete, bake, gate, gates
from ece661_sparse.models import LeNet5, LeNet300
from ece661_sparse.synthesis.dead_units import cut_dead_ends
from ece661_sparse.training import nonzeros


@pytest.mark.parametrize("network", [LeNet5, LeNet300])
def test_weights_are_left_only_between_living_units(network):
    """About half of the groups are closed; of what is left nothing leads nowhere."""
    torch.manual_seed(0)
    model = gate(network(), HardConcrete, "unit").eval()
    for name, found in gates(model).items():
        nn.init.normal_(found.log_alpha, mean=-4 if name == "fc1" else -2.5, std=3)
    layers = [model.get_submodule(name) for name in gates(model)]
    bake(model)
    parameters = list(model.parameters())
    images = torch.randn(8, 1, 28, 28)
    with torch.no_grad():
        expected, before = model(images), nonzeros(model)
        cut_dead_ends(layers)
        torch.testing.assert_close(model(images), expected)
    assert nonzeros(model) < 0.6 * before
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))

    used = [w.reshape(*w.shape[:2], -1).any(2) for w in (m.weight for m in layers)]
    for layer, reads in zip(layers, used, strict=True):
        rows, columns = int(reads.any(1).sum()), int(reads.any(0).sum())
        assert nonzeros(layer) == rows * columns * layer.weight[0, 0].numel()
    for before, after in pairwise(used):  # flattened maps have several inputs
        read = after.any(0).view(len(before), -1).any(1)
        assert torch.equal(before.any(1), read)


def test_a_constant_map_goes_through_the_pooling_but_not_into_a_padding():
    for padding, moved in ((0, True), (1, False)):
        conv = nn.Conv2d(1, 2, 3)
        after = nn.Conv2d(2, 3, 3, padding=padding, bias=False)
        model = nn.Sequential(conv, nn.MaxPool2d(2), after)
        x = torch.randn(2, 1, 12, 12)
        with torch.no_grad():
            conv.weight[0], conv.bias[0] = 0, 2.0
            expected = model(x)
        cut_dead_ends([conv, after])
        torch.testing.assert_close(model(x), expected)
        assert after.weight[:, 0].any() != moved
