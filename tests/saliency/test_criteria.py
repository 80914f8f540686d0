"""Saliencies against autograd on copies, finite differences and plain ablation."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ece661_sparse.models import LeNet5, LeNet300
from ece661_sparse.saliency import (
    averaged_taylor,
    first_order,
    global_mask,
    kernels,
    loss_change,
    magnitude,
    taylor,
)


def close(a, b, atol=1e-12):
    torch.testing.assert_close(a, b, rtol=1e-9, atol=atol)


def net(seed=0):
    torch.manual_seed(seed)
    layers = (nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    return nn.Sequential(*layers).double()


def batch(n=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=generator, dtype=torch.float64)
    return x, torch.randint(3, (n,), generator=generator)


@torch.no_grad()
def ablated(model, name, position, x, y, loss=F.cross_entropy, part=1.0):
    """The slow, obviously right twin: a copy of the network without the weight."""
    pruned = copy.deepcopy(model)
    pruned.get_parameter(name).view(-1)[position] *= 1 - part
    return loss(pruned(x), y) - loss(model(x), y)


# --- criteria --------------------------------------------------------------------


def test_criteria_are_their_formulas_and_leave_gradients_alone():
    model, (x, y) = net(), batch()
    found = magnitude(model), first_order(model, x, y), taylor(model, x, y)
    assert all(p.grad is None for p in model.parameters())
    F.cross_entropy(model(x), y).backward()
    for name, p in kernels(model).items():
        change = (-p.grad * p).detach()
        expected = (p.detach().abs(), change, change.abs())
        close(tuple(scores.pop(name) for scores in found), expected)
    assert not any(found)  # kernels only


def test_first_order_is_the_slope_towards_zero_with_its_sign():
    model, (x, y) = net(), batch()
    every = {name: torch.arange(p.numel()) for name, p in kernels(model).items()}
    slope = loss_change(model, x, y, every, part=1e-6)
    for name, predicted in first_order(model, x, y).items():
        close(slope[name] * 1e6, predicted.flatten(), atol=1e-5)
        assert (predicted > 0).any() and (predicted < 0).any()


def test_a_weight_that_is_zero_or_unused_has_no_saliency():
    model, (x, y) = net(), batch()
    with torch.no_grad():
        model[0].weight[2] = 0
    assert not taylor(model, x, y)["0.weight"][2].any()

    class WithSpare(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.spare = nn.Linear(6, 3).double(), nn.Linear(6, 3).double()

        def forward(self, x):
            return self.used(x)

    assert not taylor(WithSpare(), x, y)["spare.weight"].any()


def test_averaged_taylor_is_the_mean_over_batches_not_that_of_their_union():
    model, (x, y) = net(), batch()
    parts = list(zip(x.split(8), y.split(8), strict=True))
    mean = averaged_taylor(model, parts)
    whole = taylor(model, x, y)
    for name in mean:
        each = torch.stack([taylor(model, *part)[name] for part in parts])
        close(mean[name], each.mean(0))
        assert (mean[name] >= whole[name] - 1e-15).all()  # |mean| <= mean of | |
        assert (mean[name] > 1.01 * whole[name]).any()
    assert averaged_taylor(model, iter(parts)).keys() == mean.keys()


def test_averaged_taylor_wants_a_batch():
    with pytest.raises(ValueError, match="at least one batch"):
        averaged_taylor(net(), [])


def test_averaged_taylor_of_half_precision_is_added_up_in_single():
    torch.manual_seed(0)
    model = nn.Linear(6, 3, dtype=torch.bfloat16)
    x, y = batch()
    x = x.to(torch.bfloat16)
    mean = averaged_taylor(model, [(x, y)] * 600)["weight"]
    assert mean.dtype == torch.float32
    one = taylor(model, x, y)["weight"].float()
    torch.testing.assert_close(mean, one, rtol=1e-4, atol=0)


def test_a_frozen_kernel_is_named():
    model, (x, y) = net(), batch()
    model[2].weight.requires_grad_(False)
    for criterion in (first_order, taylor):
        with pytest.raises(ValueError, match=r"frozen \['2\.weight'\]"):
            criterion(model, x, y)


def test_another_loss():
    model, (x, _) = net(), batch()
    target = torch.randn(32, 3, dtype=torch.float64)
    (g,) = torch.autograd.grad(F.mse_loss(model(x), target), [model[2].weight])
    predicted = first_order(model, x, target, loss=F.mse_loss)["2.weight"]
    close(predicted, (-g * model[2].weight).detach())
    change = loss_change(
        model, x, target, {"2.weight": torch.tensor([5])}, loss=F.mse_loss
    )["2.weight"]
    close(change[0], ablated(model, "2.weight", 5, x, target, F.mse_loss))


# --- the exact change ------------------------------------------------------------


class Wild(nn.Module):
    """Every convolution's option, a skip connection, and a layer used twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.grouped = nn.Conv2d(4, 6, (3, 2), stride=2, groups=2, dilation=(2, 1))
        self.same = nn.Conv2d(6, 6, 3, padding="same", bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = F.relu(self.first(x))
        x = self.grouped(x)
        x = x + F.relu(self.norm(self.same(torch.tanh(self.same(x)))))
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize(
    ("make", "shape"),
    [(LeNet300, (1, 28, 28)), (LeNet5, (1, 28, 28)), (Wild, (2, 9, 8))],
)
@pytest.mark.parametrize("part", [1.0, -0.5])
def test_loss_change_is_what_a_pruned_copy_of_the_network_gives(make, shape, part):
    torch.manual_seed(0)
    model = make().double().eval()
    x = torch.randn(7, *shape, dtype=torch.float64)
    y = torch.randint(3, (7,))
    weights = {
        name: torch.randperm(p.numel())[:6] for name, p in kernels(model).items()
    }
    changes = loss_change(model, x, y, weights, part=part, chunk_size=4)
    for name, positions in weights.items():
        for position, change in zip(positions, changes[name], strict=True):
            expected = ablated(model, name, position, x, y, part=part)
            close(change, expected, atol=1e-14)
        assert changes[name].abs().max() > 1e-9


def test_loss_change_of_every_weight_of_a_linear_model_is_exactly_first_order():
    torch.manual_seed(1)
    model = nn.Linear(5, 1, bias=False).double()
    x = torch.randn(9, 5, dtype=torch.float64)

    def loss(out, _):
        return out.mean()

    every = {"weight": torch.arange(5)}
    exact = loss_change(model, x, x, every, loss)["weight"]
    close(exact, first_order(model, x, x, loss)["weight"].flatten())


def test_loss_change_leaves_no_trace():
    model, (x, y) = net(), batch()
    state, out = copy.deepcopy(model.state_dict()), model(x)
    loss_change(model, x, y, {"0.weight": torch.tensor([1, 2])})
    with pytest.raises(RuntimeError):
        loss_change(model, x[:, :5], y, {"0.weight": torch.tensor([1])})
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert torch.equal(model(x), out)


def test_loss_change_of_nothing_and_on_other_devices_and_precisions():
    model, (x, y) = net(), batch()
    none = loss_change(model, x, y, {"0.weight": torch.arange(0)})["0.weight"]
    assert none.shape == (0,)
    model = LeNet5().to(torch.bfloat16)
    x = torch.randn(4, 1, 28, 28, dtype=torch.bfloat16)
    positions = {name: torch.tensor([3]) for name in kernels(model)}
    changes = loss_change(model, x, torch.arange(4), positions)
    assert {c.dtype for c in changes.values()} == {torch.bfloat16}
    model, x, y = (t.to("meta") for t in (model, x, torch.arange(4)))
    scores = taylor(model, x, y)
    assert {s.device.type for s in scores.values()} == {"meta"}
    assert global_mask(scores, 9)["fc1.weight"].is_meta
    on_meta = {name: p.to("meta") for name, p in positions.items()}
    assert all(c.is_meta for c in loss_change(model, x, y, on_meta).values())


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2)

    def forward(self, x):
        return self.attention(x, x, x)[0]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)))


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


CIRCULAR = nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")


@pytest.mark.parametrize(
    ("model", "name", "positions", "message"),
    [
        (net(), "0.bias", [0], "must name kernels.*'0.bias'"),
        (net(), "7.weight", [0], "must name kernels.*'7.weight'"),
        (net(), "0.weight", [48], "from 0 to 47, got 48 to 48"),
        (net(), "0.weight", [-1, 3], "from 0 to 47, got -1 to 3"),
        (net(), "0.weight", [0.0], "int64"),
        (net(), "0.weight", 0, "one dimension"),
        (
            Attention(),
            "attention.out_proj.weight",
            [1],
            "is never called",
        ),
        (Tied(), "a.weight", [1], r"'a.weight', which is tied.*'b.weight'\] are one"),
        (Doubled(6, 3), "weight", [1], "no forward of a subclass.*'weight'"),
        (CIRCULAR, "weight", [0], "zero padding"),
    ],
)
def test_loss_change_refuses(model, name, positions, message):
    x, y = batch()
    with pytest.raises(ValueError, match=message):
        loss_change(model, x.float(), y, {name: torch.tensor(positions)})
    assert not any(module._forward_hooks for module in model.modules())


def test_loss_change_refuses_a_part_that_is_no_number():
    with pytest.raises(ValueError, match="part must be a finite number"):
        loss_change(net(), *batch(), {}, part=float("nan"))
