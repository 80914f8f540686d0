"""Network surgery against a loop over single weights; splicing; thresholds."""

import numpy as np
import pytest
import torch
from torch import nn

from ece661_sparse.models import LeNet300
from ece661_sparse.saliency.baselines import DNS, layer_groups, splice


def test_mask_has_two_thresholds_with_nothing_changing_between_them():
    weight = torch.tensor([0.5, 0.9, 0.95, 1.05, 1.1, 1.2, -0.5, -1.2, 0.0])
    off = torch.zeros_like(weight)
    on = torch.ones_like(weight)
    assert splice(weight, on, 1.0).tolist() == [0, 0, 1, 1, 1, 1, 0, 1, 0]
    assert splice(weight, off, 1.0).tolist() == [0, 0, 0, 0, 0, 1, 0, 1, 0]
    assert splice(torch.zeros(2), torch.ones(2), 0.0).tolist() == [0, 0]


def by_hand(weight, bias, x, y, steps, lr, c):
    """The method weight by weight in numpy, for a squared loss; masks every step."""
    dense = np.concatenate([weight.ravel(), bias])
    size = np.abs(dense)
    t = size.mean() + c * size.std()
    mask, shape = np.ones_like(dense), weight.shape
    for _ in range(steps):
        at = dense * mask
        w, b = at[: weight.size].reshape(shape), at[weight.size :]
        residual = x @ w.T + b - y
        gradient = np.concatenate([(residual.T @ x).ravel(), residual.sum(0)]) / len(x)
        dense = dense - lr * gradient
        for k in range(len(dense)):
            if mask[k] == 1 and abs(dense[k]) <= 0.9 * t:
                mask[k] = 0
            elif mask[k] == 0 and abs(dense[k]) > 1.1 * t:
                mask[k] = 1
    return dense, mask


def test_against_a_loop_over_single_weights():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 6)), rng.standard_normal((50, 4))
    layer = nn.Linear(6, 4).double()
    start = [p.detach().numpy().copy() for p in layer.parameters()]
    dense, mask = by_hand(*start, x, y, steps=25, lr=0.2, c=0.3)
    assert 0 < mask.sum() < 28
    params = [{"params": list(layer.parameters()), "c": 0.3}]
    dns = DNS(params, lr=0.2, gamma=0.0, momentum=0.0)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(25):
        dns.zero_grad()
        (0.5 * (layer(inputs) - targets).square().sum() / 50).backward()
        dns.step()
    states = [dns.state[p] for p in layer.parameters()]
    found = torch.cat([s["dense"].flatten() for s in states]).numpy()
    np.testing.assert_allclose(found, dense)
    found = torch.cat([s["mask"].flatten() for s in states]).numpy()
    assert (found == mask).all()
    held = torch.cat([p.detach().flatten() for p in layer.parameters()]).numpy()
    np.testing.assert_allclose(held, dense * mask)


def one_layer(*weights):
    weight = nn.Parameter(torch.tensor([weights]))
    return weight, DNS([{"params": [weight], "c": 0.0}], lr=1.0, gamma=0, momentum=0)


def test_a_cut_weight_feels_its_gradient_and_is_spliced_in_again():
    weight, dns = one_layer(1.0, 1.0, 0.1)  # threshold 0.7

    def step(push):
        weight.grad = torch.tensor([[0.0, 0.0, -push]])
        dns.step()
        return weight[0, 2].item()

    assert step(0.0) == 0
    assert step(0.4) == 0  # dense 0.5: on its way
    assert step(0.25) == 0  # dense 0.75: above t, below 1.1 t
    assert step(0.1) == pytest.approx(0.85)
    assert step(-0.2) == pytest.approx(0.65)  # below t, above 0.9 t: stays
    assert step(-0.1) == 0
    assert weight[0, :2].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("ramp", "course"), [(0, [2.0] * 4), (4, [0.0, 0.5, 1.0, 1.5, 2.0, 2.0])]
)
def test_threshold_is_that_of_the_start_and_rises_over_the_ramp(ramp, course):
    """Weights and biases have one together."""
    torch.manual_seed(0)
    layer = nn.Linear(30, 20)
    size = torch.cat([p.detach().flatten() for p in layer.parameters()]).abs().numpy()
    dns = DNS(layer_groups(layer, c={"": 2.0}), lr=0.1, ramp=ramp)
    for c in course:
        for p in layer.parameters():
            p.grad = torch.randn_like(p)
        dns.step()
        found = float(dns.param_groups[0]["threshold"])
        assert found == pytest.approx(size.mean() + c * size.std(), rel=1e-5)


def test_with_a_ramp_fewer_units_die():
    """Cut at once, a unit without weights has no gradient and stays dead."""
    alive = []
    for ramp in (0, 60):
        torch.manual_seed(0)
        model = LeNet300()
        dns = DNS(layer_groups(model, c={"fc2": 3.0}), lr=0.05, ramp=ramp)
        steps(model, dns, 80)
        alive.append(int((model.fc2.weight != 0).any(1).sum()))
    assert alive[1] > alive[0], alive


def test_updates_become_rare():
    torch.manual_seed(0)
    dns = DNS([nn.Parameter(torch.ones(1))], lr=0.1, c=0.0, gamma=0.01, power=2.0)
    group = dns.param_groups[0]

    def share(k):
        group["steps"] = k
        return sum(dns._is_due(group) for _ in range(4000)) / 4000

    for k in (0, 50, 200):
        assert share(k) == pytest.approx((1 + 0.01 * k) ** -2, abs=0.03)
    group["stop"] = 200
    assert share(199) > 0
    assert share(200) == 0


def small_problem():
    torch.manual_seed(0)
    model = LeNet300()
    groups = layer_groups(model, c={"fc1": 0.5, "fc2": 0.2})
    return model, DNS(groups, lr=0.05, gamma=0.1, weight_decay=1e-4)


def steps(model, dns, n):
    x = torch.linspace(-1, 1, 16 * 784).view(16, 784).sin()
    y = torch.arange(16) % 10
    for _ in range(n):
        dns.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        dns.step()


def test_a_group_may_have_options_of_its_own_and_come_later():
    a, b, c = (nn.Parameter(torch.ones(2, 3)) for _ in range(3))
    dns = DNS([{"params": [a], "gamma": 0.5, "stop": 7}], lr=0.1, c=1.0, ramp=3)
    dns.add_param_group({"params": [b], "c": None})
    dns.add_param_group({"params": [c], "ramp": 9})
    names = ("c", "gamma", "power", "stop", "ramp")
    assert [[g[name] for name in names] for g in dns.param_groups] == [
        [1.0, 0.5, 1.0, 7, 3],
        [None, 1e-4, 1.0, None, 3],
        [1.0, 1e-4, 1.0, None, 9],
    ]
    for p in (a, b, c):
        p.grad = torch.ones_like(p)
    dns.step()
    assert "mask" in dns.state[c] and "mask" not in dns.state[b]
    with pytest.raises(ValueError, match="gamma"):
        DNS([{"params": [a], "gamma": -1.0}], lr=0.1, c=1.0)


def test_frozen_parameters_have_no_part_in_the_threshold():
    layer = nn.Linear(6, 4)
    layer.weight.requires_grad_(False)
    size = layer.bias.detach().abs()
    dns = DNS(layer.parameters(), lr=0.1, c=0.5)
    layer(torch.randn(3, 6)).sum().backward()
    dns.step()
    expected = size.mean() + 0.5 * size.std(correction=0)
    torch.testing.assert_close(dns.param_groups[0]["threshold"], expected)
    assert layer.weight not in dns.state


def test_layers_without_c_stay_dense_and_biases_are_cut():
    model, dns = small_problem()
    steps(model, dns, 3)
    assert model.fc3.weight.all()
    assert model.fc3.bias.all()
    assert not model.fc1.bias.all()
    assert "mask" not in dns.state[model.fc3.weight]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": -1.0}, "gamma .*>= 0"),
        ({"power": -1.0}, "power .*>= 0"),
        ({"stop": -1}, "stop must be a whole number"),
        ({"ramp": -1}, "ramp must be a whole number"),
        ({"c": float("nan")}, "c must be a finite number"),
        ({"lr": -1.0}, "learning rate"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        DNS([nn.Parameter(torch.ones(2, 2))], **{"lr": 0.1, "c": 1.0, **options})
