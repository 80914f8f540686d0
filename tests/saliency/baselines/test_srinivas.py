"""Trainable gates: what goes forward, what comes back; see tests/contracts, too."""

from functools import partial

import pytest
import torch
from torch import nn

from ece661_sparse.gates import bake, gate, gates
from ece661_sparse.models import LeNet300
from ece661_sparse.saliency.baselines import TrainableGate, clip_gates, gate_penalty


def gated_layer(values, **options):
    layer = nn.Linear(len(values), 1, bias=False)
    gate(layer, partial(TrainableGate, **options))
    [found] = gates(layer).values()
    found.gate.data.copy_(torch.tensor([values]))
    return layer, found.gate


def test_forward_is_exactly_the_threshold():
    layer, _ = gated_layer([0.0, 0.3, 0.5, 0.50001, 0.7, 1.0])
    dense = layer.parametrizations.weight.original
    z = torch.tensor([[0.0, 0, 0, 1, 1, 1]])
    assert torch.equal(layer.weight, dense * z)


def test_backward_is_straight_through():
    layer, g = gated_layer([0.2, 0.8, 0.6])
    dense = layer.parametrizations.weight.original
    x = torch.tensor([[3.0, -2.0, 0.5]])
    layer(x).sum().backward()
    z = torch.tensor([[0.0, 1.0, 1.0]])
    torch.testing.assert_close(dense.grad, x * z)
    torch.testing.assert_close(g.grad, x * dense.detach())  # closed gates too


def test_draws_have_the_probability_of_the_gate():
    torch.manual_seed(0)
    layer, g = gated_layer([0.1, 0.5, 0.9], sample=True)
    share = torch.stack([layer.weight != 0 for _ in range(3000)]).float().mean(0)
    torch.testing.assert_close(share, g.detach(), rtol=0, atol=0.03)
    assert (layer.eval().weight != 0).tolist() == [[False, False, True]]


def test_penalty_is_the_formula_and_its_slope_changes_sign_at_a_half():
    model = gate(LeNet300(), partial(TrainableGate, start=0.75))
    total = 266_200
    found = gate_penalty(model, lam1=2e-3, lam2=3e-3).item()
    assert found == pytest.approx(total * (2e-3 * 0.75 * 0.25 + 3e-3 * 0.75), rel=1e-4)
    layer, g = gated_layer([0.25, 0.75])
    gate_penalty(layer, lam1=1.0, lam2=0.2).backward()
    torch.testing.assert_close(g.grad, torch.tensor([[0.7, -0.3]]))


def test_gates_stay_between_zero_and_one():
    layer, g = gated_layer([0.1, 0.9], sample=True)
    optimizer = torch.optim.SGD(layer.parameters(), lr=10.0)
    clip_gates(optimizer, layer)
    gate_penalty(layer, lam1=1.0, lam2=0.0).backward()
    optimizer.step()
    assert g.tolist() == [[0, 1]]


def test_an_unneeded_gate_closes_and_a_needed_one_does_not():
    """y depends on the first input alone."""
    torch.manual_seed(0)
    x = torch.randn(200, 2)
    y = 2 * x[:, :1]
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data.copy_(torch.tensor([[2.0, 0.3]]))
    gate(layer, TrainableGate)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.02)
    clip_gates(optimizer, layer)
    for _ in range(200):
        optimizer.zero_grad()
        loss = (layer(x) - y).square().mean() + gate_penalty(layer, 0.2, 0.5)
        loss.backward()
        optimizer.step()
    bake(layer)
    assert layer.weight[0, 1] == 0
    assert layer.weight[0, 0].item() == pytest.approx(2.0, abs=0.1)


def test_refusals():
    with pytest.raises(ValueError, match=r"start .*<= 1"):
        TrainableGate(torch.ones(2, 2), start=1.5)
    with pytest.raises(ValueError, match=r"lam1 .*>= 0"):
        gate_penalty(nn.Linear(2, 2), -1.0, 0.0)
    with pytest.raises(ValueError, match="must have gates"):
        gate_penalty(nn.Linear(2, 2), 0.0, 1.0)
    with pytest.raises(ValueError, match="must have gates"):
        clip_gates(torch.optim.SGD([nn.Parameter(torch.ones(1))]), nn.Linear(2, 2))


def test_baking_leaves_every_module_in_its_mode():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    model[1].eval()
    bake(gate(model, TrainableGate))
    assert [module.training for module in model.modules()] == [True, True, False, True]


def test_a_gate_may_stand_on_another_parametrization():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
    x, expected = torch.randn(2, 4), layer.weight.detach().clone()
    gate(layer, partial(TrainableGate, start=0.8))
    y = layer.eval()(x)
    bake(layer)
    assert type(layer) is nn.Linear
    assert torch.equal(layer.weight, expected) and torch.equal(layer(x), y)
