"""What no open gate can reach is cut off, and the outputs do not notice."""

import pytest
import torch
from torch import nn

from ece661_sparse.gates import HardConcrete, bake, gate, gates
from ece661_sparse.models import LeNet5, LeNet300
from ece661_sparse.reproduce.recipes.gates import architecture, cut_dead_ends
from ece661_sparse.training import nonzeros


def baked(network):
    """A LeNet with about half of its groups closed, and its layers in order."""
    torch.manual_seed(0)
    model = gate(network(), HardConcrete, "unit").eval()
    for name, found in gates(model).items():
        nn.init.normal_(found.log_alpha, mean=-4 if name == "fc1" else -2.5, std=3)
    layers = [model.get_submodule(name) for name in gates(model)]
    return bake(model), layers


@pytest.mark.parametrize("network", [LeNet5, LeNet300])
def test_cutting_dead_ends_removes_weights_and_keeps_the_outputs(network):
    model, layers = baked(network)
    images = torch.randn(8, 1, 28, 28)
    with torch.no_grad():
        expected, before = model(images), nonzeros(model)
        cut_dead_ends(layers)
        torch.testing.assert_close(model(images), expected)
    assert nonzeros(model) < 0.6 * before
    counts = architecture(layers)
    if network is LeNet300:  # as many weights as a dense network of that size
        pixels, hidden1, hidden2 = counts
        dense = pixels * hidden1 + hidden1 * hidden2 + hidden2 * 10
        assert nonzeros(model) == dense
    else:
        maps1, _, inputs, units = counts
        assert nonzeros(model.conv1) == 25 * maps1
        assert nonzeros(model.fc1) == inputs * units


def test_the_architecture_counts_maps_and_inputs():
    model = LeNet5()
    layers = [model.conv1, model.conv2, model.fc1, model.fc2]
    assert architecture(layers) == [20, 50, 800, 500]
    with torch.no_grad():
        model.conv2.weight[:3] = 0
        model.fc1.weight[:, :5] = 0
        model.fc1.weight[0] = 0  # a row is no input
    assert architecture(layers) == [20, 47, 795, 500]
