"""The one mechanism: any layer, any group, and what each group means.

What every kind of gate must do is in ``tests/contracts/test_gates.py``.
"""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from ece661_sparse.dynamic import DynamicConv2d
from ece661_sparse.gates import (
    Gate,
    HardConcrete,
    bake,
    expected_l0,
    gate,
    gate_groups,
    gates,
)
from ece661_sparse.models import LeNet5, LeNet300

LAYERS = {
    "linear": (lambda: nn.Linear(6, 4), (3, 6)),
    "conv1d": (lambda: nn.Conv1d(6, 4, 3), (3, 6, 8)),
    "conv2d": (lambda: nn.Conv2d(6, 4, 3, padding=1), (3, 6, 8, 8)),
    "conv2d, grouped": (lambda: nn.Conv2d(6, 4, 3, groups=2), (3, 6, 8, 8)),
    "conv3d": (lambda: nn.Conv3d(6, 4, 2), (3, 6, 4, 4, 4)),
    "transposed": (lambda: nn.ConvTranspose2d(6, 4, 3), (3, 6, 4, 4)),
}


def half_open(model):
    """Half of the gates open and half closed at test time, at random."""
    generator = torch.Generator().manual_seed(0)
    for found in gates(model).values():
        found.log_alpha.data.copy_(
            8 * (torch.rand(found.shape, generator=generator) - 0.5)
        )
    return model


@pytest.mark.parametrize("group", ["weight", "input", "output"])
@pytest.mark.parametrize("name", LAYERS)
def test_any_layer_any_group(name, group):
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer, x = make(), torch.randn(shape)
    plain = copy.deepcopy(layer)
    if name == "conv2d, grouped" and group == "input":
        with pytest.raises(ValueError, match="grouped convolution"):
            gate(layer, HardConcrete, group)
        return
    assert gate(layer, HardConcrete, group) is layer
    found = gates(half_open(layer).eval())[""]
    total = plain.weight.numel()
    number = {"weight": total, "input": 6, "output": 4}[group]
    assert found.shape.numel() == number
    assert found.weights_per_gate * number == total

    z_hat = found.z_hat().detach().flatten()
    assert 0 < (z_hat == 0).sum() < number
    bias = plain.bias.view(1, -1, *[1] * (x.ndim - 2))
    if group == "weight":
        plain.weight.data.mul_(z_hat.view_as(plain.weight))
        expected = plain(x)
    elif group == "input":
        expected = plain(x * z_hat.view(1, -1, *[1] * (x.ndim - 2)))
    else:
        expected = (plain(x) - bias) * z_hat.view_as(bias) + bias
    torch.testing.assert_close(layer(x), expected)


def test_a_closed_channel_is_the_constant_of_its_bias():
    model = gate(nn.Conv2d(1, 2, 3), partial(HardConcrete, log_alpha=-9.0), "output")
    output = model.eval()(torch.randn(2, 1, 5, 5))
    expected = model.bias.view(1, 2, 1, 1).expand_as(output)
    torch.testing.assert_close(output, expected)


def test_unit_means_inputs_of_dense_layers_and_outputs_of_convolutions():
    found = gates(gate(LeNet5(), HardConcrete, "unit"))
    assert {name: g.shape for name, g in found.items()} == {
        "conv1": (20, 1, 1, 1),
        "conv2": (50, 1, 1, 1),
        "fc1": (1, 800),
        "fc2": (1, 500),
    }


def test_a_dictionary_gates_the_layers_it_names():
    model = gate(LeNet300(), HardConcrete, {"fc2": "output", "fc1": "weight"})
    assert {n: g.shape for n, g in gates(model).items()} == {
        "fc1": (300, 784),
        "fc2": (100, 1),
    }
    assert expected_l0(model) < 784 * 300 + 300 * 100
    # then the rest
    gate(model, HardConcrete, {"fc3": "input"})
    assert list(gates(model)) == ["fc1", "fc2", "fc3"]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("row", "fc1.*weight, input, output or unit, got 'row'"),
        ({"fc4": "input"}, "'fc4'.*fc1, fc2, fc3"),
    ],
)
def test_unknown_groups_and_names_are_refused(groups, message):
    model = LeNet300()
    with pytest.raises(ValueError, match=message):
        gate(model, HardConcrete, groups)
    assert not gates(model)


@pytest.mark.parametrize("group", ["input", "output", "unit"])
def test_a_bank_of_kernels_is_gated_by_weights_only(group):
    model = nn.Sequential(DynamicConv2d(3, 5, 3))
    with pytest.raises(ValueError, match=r"'0' has a bank of kernels.*no (in|out)put"):
        gate(model, HardConcrete, {"0": group})
    half_open(gate(model, HardConcrete, {"0": "weight"})).eval()
    x = torch.randn(2, 3, 6, 6)
    expected = model(x)
    assert torch.equal(bake(model)(x), expected)


@pytest.mark.parametrize(
    "use", [expected_l0, bake, partial(gate_groups, lr=1, gate_lr=1)]
)
def test_a_model_without_gates_is_refused(use):
    with pytest.raises(ValueError, match="no layer of the model is gated"):
        use(nn.Linear(2, 2))


def test_a_learning_rate_below_zero_is_refused():
    model = gate(nn.Linear(2, 2), HardConcrete)
    with pytest.raises(ValueError, match="gate_lr must be a finite number >= 0"):
        gate_groups(model, lr=0.1, gate_lr=-1)


def test_a_gate_is_three_methods():
    class Constant(Gate):
        def __init__(self, weight, dim=None):
            super().__init__(weight, dim)
            self.open = self.new_parameter(0.25)

        def z(self):
            return self.open

        z_hat = probability = z

    model = gate(nn.Linear(4, 2), Constant)
    torch.testing.assert_close(
        model.weight, 0.25 * model.parametrizations.weight.original
    )
    assert expected_l0(model) == 2
