"""Kernels, layers and owners by name; a look that changes nothing."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from ece661_sparse.core import effective_kernels, evaluating, kernels, layers, owners


def network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3)
    )


def test_kernels_have_two_dimensions_or_more():
    assert list(kernels(network())) == ["0.weight", "3.weight"]


def test_layers_are_linear_and_conv2d():
    model = network()
    model.append(nn.Conv1d(1, 1, 1))
    assert dict(layers(model)) == {"0": model[0], "3": model[3]}


def test_owners_are_all_modules_that_hold_a_parameter():
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Embedding(2, 2)})
    assert owners(model, model["a"].weight) == ["a.weight"]
    model["b"].weight = model["a"].weight
    assert owners(model, model["a"].weight) == ["a.weight", "b.weight"]
    assert owners(model, torch.ones(2, 2)) == []


def test_a_parametrized_kernel_is_what_the_network_computes_with():
    model = network()
    parametrizations.weight_norm(model[3])
    found = dict(effective_kernels(model))
    assert list(found) == ["0.weight", "3.weight"]
    assert torch.equal(found["3.weight"], model[3].weight)
    assert not found["3.weight"].requires_grad


def test_every_module_gets_its_own_mode_back_also_after_an_error():
    model = network()
    model[1].eval()

    def fail():
        with evaluating(model):
            assert not any(module.training for module in model.modules())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [m for m in model.modules() if not m.training] == [model[1]]
