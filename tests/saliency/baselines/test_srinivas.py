"""Trainable gates: what goes forward, what comes back, and what is baked in."""

import copy

import pytest
import torch
from torch import nn

from ece661_sparse.models import LeNet5, LeNet300
from ece661_sparse.saliency.baselines import (
    TrainableGate,
    add_gates,
    clip_gates,
    gate_penalty,
    gates,
    remove_gates,
)


def gated_layer(values, **options):
    layer = nn.Linear(len(values), 1, bias=False)
    add_gates(layer, **options)
    [gate] = gates(layer)
    gate.data.copy_(torch.tensor([values]))
    return layer, gate


def test_forward_is_exactly_the_threshold():
    values = [0.0, 0.3, 0.5, 0.50001, 0.7, 1.0]
    layer, _ = gated_layer(values)
    dense = layer.parametrizations.weight.original
    assert torch.equal(layer.weight != 0, torch.tensor([[0, 0, 0, 1, 1, 1]]).bool())
    assert torch.equal(layer.weight[0, 3:], dense[0, 3:])


def test_backward_is_straight_through():
    layer, gate = gated_layer([0.2, 0.8, 0.6])
    dense = layer.parametrizations.weight.original
    x = torch.tensor([[3.0, -2.0, 0.5]])
    layer(x).sum().backward()
    z = torch.tensor([[0.0, 1.0, 1.0]])
    torch.testing.assert_close(dense.grad, x * z)
    torch.testing.assert_close(gate.grad, x * dense.detach())  # closed gates too


def test_draws_have_their_probability_and_evaluation_has_none():
    torch.manual_seed(0)
    layer, _ = gated_layer([0.1, 0.5, 0.9], sample=True)
    share = torch.stack([layer.weight != 0 for _ in range(3000)]).float().mean(0)
    torch.testing.assert_close(
        share, torch.tensor([[0.1, 0.5, 0.9]]), rtol=0, atol=0.03
    )
    parametrization = layer.parametrizations.weight[0]
    parametrization.eval()
    assert (layer.weight != 0).tolist() == [[False, False, True]]


def test_penalty_is_the_formula_and_its_slope_changes_sign_at_a_half():
    model = LeNet300()
    add_gates(model, start=0.75)
    total = 266_200
    found = gate_penalty(model, lam1=2e-3, lam2=3e-3).item()
    assert found == pytest.approx(total * (2e-3 * 0.75 * 0.25 + 3e-3 * 0.75), rel=1e-4)
    layer, gate = gated_layer([0.25, 0.75])
    gate_penalty(layer, lam1=1.0, lam2=0.2).backward()
    torch.testing.assert_close(gate.grad, torch.tensor([[0.7, -0.3]]))


def test_gates_stay_between_zero_and_one():
    layer, gate = gated_layer([0.1, 0.9])
    optimizer = torch.optim.SGD(layer.parameters(), lr=10.0)
    clip_gates(optimizer, layer)
    gate_penalty(layer, lam1=1.0, lam2=0.0).backward()
    optimizer.step()
    assert gate.tolist() == [[0, 1]]


def test_baking_leaves_plain_layers_with_the_same_outputs():
    torch.manual_seed(0)
    model = LeNet5()
    names = [name for name, _ in model.named_parameters()]
    add_gates(model, sample=True)
    for gate in gates(model):
        gate.data.uniform_()
    kept = sum(int((g > 0.5).sum()) for g in gates(model))
    model.eval()
    x = torch.randn(2, 1, 28, 28)
    expected = model(x)
    model.train()
    remove_gates(model)
    assert model.training
    assert sorted(n for n, _ in model.named_parameters()) == sorted(names)
    assert torch.equal(model(x), expected)
    found = sum(int(p.count_nonzero()) for p in model.parameters() if p.ndim >= 2)
    assert found == kept
    assert not any(isinstance(m, TrainableGate) for m in model.modules())


def test_an_unneeded_gate_closes_and_a_needed_one_does_not():
    """y depends on the first input alone."""
    torch.manual_seed(0)
    x = torch.randn(200, 2)
    y = 2 * x[:, :1]
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data.copy_(torch.tensor([[2.0, 0.3]]))
    add_gates(layer)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.02)
    clip_gates(optimizer, layer)
    for _ in range(200):
        optimizer.zero_grad()
        loss = (layer(x) - y).square().mean() + gate_penalty(layer, 0.2, 0.5)
        loss.backward()
        optimizer.step()
    remove_gates(layer)
    assert layer.weight[0, 1] == 0
    assert layer.weight[0, 0].item() == pytest.approx(2.0, abs=0.1)


def test_state_dict_of_the_model_holds_the_gates():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    add_gates(model, start=0.6)
    twin = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    add_gates(twin)
    twin.load_state_dict(copy.deepcopy(model.state_dict()))
    assert all(
        torch.equal(a, b) for a, b in zip(gates(model), gates(twin), strict=True)
    )


def test_refusals():
    with pytest.raises(ValueError, match=r"start .*<= 1"):
        add_gates(nn.Linear(2, 2), start=1.5)
    with pytest.raises(ValueError, match=r"lam1 .*>= 0"):
        gate_penalty(nn.Linear(2, 2), -1.0, 0.0)
    with pytest.raises(ValueError, match="add_gates"):
        gate_penalty(nn.Linear(2, 2), 0.0, 1.0)


def test_plain_untied_weights_are_required():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    add_gates(model[1])
    with pytest.raises(ValueError, match=r"'1' has gates .* already"):
        add_gates(model)
    assert len(list(gates(model))) == 1
    remove_gates(model)
    with pytest.raises(ValueError, match="must have gates"):
        remove_gates(model)
    model[1].weight = model[0].weight
    with pytest.raises(ValueError, match=r"\['0', '1'\] share one"):
        add_gates(model)
    embedding = nn.ModuleList([nn.Embedding(5, 3), nn.Linear(3, 5)])
    embedding[1].weight = embedding[0].weight
    with pytest.raises(ValueError, match=r"\['0', '1'\] share one"):
        add_gates(embedding)


def test_baking_leaves_every_module_in_its_mode():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    model[1].eval()
    add_gates(model)
    remove_gates(model)
    assert [module.training for module in model.modules()] == [True, True, False, True]


def test_on_the_meta_device():
    layer = nn.Linear(3, 2, device="meta")
    add_gates(layer)
    x = torch.zeros(1, 3, device="meta")
    (layer(x).sum() + gate_penalty(layer, 0.1, 0.1)).backward()
    assert all(gate.grad.is_meta for gate in gates(layer))
