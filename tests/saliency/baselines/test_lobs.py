"""L-OBS against least squares: whatever is deleted, the rest is the best fit."""

from contextlib import nullcontext
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

from ece661_sparse.gates import gate
from ece661_sparse.models import LeNet5
from ece661_sparse.saliency.baselines import (
    TrainableGate,
    delete_weight,
    deletion_saliency,
    input_hessians,
    prune_layers,
    prune_rows,
)

DOUBLE = {"dtype": torch.float64}


def problem(n=60, d=6, outputs=4, seed=0):
    """Correlated inputs, so that one weight can stand in for another."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=generator, **DOUBLE)
    x = torch.randn(n, d, generator=generator, **DOUBLE) @ mix
    rows = torch.randn(outputs, d, generator=generator, **DOUBLE)
    return x, rows, x.T @ x / n


def best_fit(x, row, support):
    """Least squares on the support, by numpy, from the data and not from H."""
    fit = np.zeros(len(row))
    y = (x @ row).numpy()
    fit[support] = np.linalg.lstsq(x[:, support].numpy(), y, rcond=None)[0]
    return torch.from_numpy(fit)


def error(x, row, other):
    return 0.5 * (x @ (row - other)).square().mean()


def test_one_deletion_is_the_refit_without_that_weight():
    x, rows, h = problem()
    inverse, row = torch.linalg.inv(h), rows[0]
    for q in range(6):
        new, reduced = delete_weight(row, inverse, q)
        others = [i for i in range(6) if i != q]
        torch.testing.assert_close(new, best_fit(x, row, others))
        assert new[q] == 0
        saliency = deletion_saliency(row, inverse)[q]
        torch.testing.assert_close(error(x, row, new), saliency)
        block = torch.linalg.inv(h[others][:, others])
        torch.testing.assert_close(reduced[others][:, others], block)


def test_several_deletions_in_any_order_are_the_refit_on_what_is_left():
    x, rows, h = problem()
    for gone in ([1, 4], [4, 1], [0, 5, 2], [5, 2, 0]):
        row, inverse = rows[1], torch.linalg.inv(h)
        for q in gone:
            row, inverse = delete_weight(row, inverse, q)
        support = [i for i in range(6) if i not in gone]
        torch.testing.assert_close(row, best_fit(x, rows[1], support))
        assert not row[gone].any()


@pytest.mark.parametrize("free", [0, 1])
@pytest.mark.parametrize(
    ("keep", "rounds"), [(320, 1), (200, 1), (200, 5), (41, 8), (5, 3)]
)
def test_a_layer_is_the_refit_row_by_row(keep, rounds, free):
    """Free columns are never deleted, and refitted, too."""
    x, rows, h = problem(d=9, outputs=40)
    rows[:, -1] *= 1e-3  # the least of all
    pruned = prune_rows(rows, h, keep, rounds=rounds, free=free)
    assert int(pruned[:, : 9 - free].count_nonzero()) == keep
    assert pruned[:, 9 - free :].all()
    for row, new in zip(rows, pruned, strict=True):
        support = new.nonzero().flatten().tolist()
        torch.testing.assert_close(new, best_fit(x, row, support))


def test_with_one_weight_a_round_it_deletes_as_the_surgeon_does():
    _, rows, h = problem(outputs=3)
    inverses = [torch.linalg.inv(h)] * 3
    slow = list(rows)
    for _ in range(10):  # of 18
        saliencies = torch.stack(
            [deletion_saliency(w, inv) for w, inv in zip(slow, inverses, strict=True)]
        ).nan_to_num(torch.inf)
        i, q = divmod(int(saliencies.argmin()), 6)
        slow[i], inverses[i] = delete_weight(slow[i], inverses[i], q)
    fast = prune_rows(rows, h, 8, rounds=200)  # some rounds delete none, none two
    torch.testing.assert_close(fast, torch.stack(slow))


def test_ranking_again_beats_ranking_once_and_magnitude():
    x, rows, h = problem(n=500, d=12, outputs=30, seed=5)
    keep = 120

    def cost(pruned):
        return float((x @ (rows - pruned).T).square().mean())

    top = rows.abs().flatten().argsort(descending=True)[:keep]
    magnitude = torch.zeros(rows.numel(), **DOUBLE)
    magnitude[top] = rows.flatten()[top]
    again, once = (prune_rows(rows, h, keep, rounds=r) for r in (12, 1))
    assert cost(again) < 0.6 * cost(once)
    assert cost(again) < 0.6 * cost(magnitude.view_as(rows))


def test_one_row_is_not_far_from_the_best_of_all_subsets():
    x, rows, h = problem(d=8, outputs=1, seed=2)
    best = min(
        error(x, rows[0], best_fit(x, rows[0], list(support)))
        for support in combinations(range(8), 4)
    )
    found = error(x, rows[0], prune_rows(rows, h, 4, rounds=8)[0])
    assert best <= found * (1 + 1e-9)
    assert found < 2 * best


# --- the Hessians -------------------------------------------------------------------


def test_hessian_of_a_dense_layer_is_the_second_moment_with_a_one():
    model = nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 2, bias=False))
    x = torch.randn(70, 5)
    found = input_hessians(model, x.split(32), damping=0.01)
    extended = torch.cat([x, torch.ones(70, 1)], dim=1).double()
    expected = extended.T @ extended / 70 + 0.01 * torch.eye(6)
    torch.testing.assert_close(found["0"], expected)
    hidden = model[:2](x).detach().double()
    expected = hidden.T @ hidden / 70 + 0.01 * torch.eye(3)
    torch.testing.assert_close(found["2"], expected)


def test_hessian_does_not_depend_on_the_batches():
    torch.manual_seed(0)
    model, x = LeNet5(), torch.randn(24, 1, 28, 28)
    one, many = (input_hessians(model, x.split(size)) for size in (24, 7))
    assert one.keys() == {"conv1", "conv2", "fc1", "fc2"}
    for name in one:
        torch.testing.assert_close(one[name], many[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "bias": False}]
)
def test_hessian_of_a_convolution_measures_the_change_of_its_outputs(options):
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, (3, 2), **options).double()
    x = torch.randn(5, 2, 9, 8, **DOUBLE)
    h = input_hessians(layer, [x], damping=1e-12)[""]
    with torch.no_grad():
        before = layer(x)
        change = [torch.randn_like(p) for p in layer.parameters()]
        for p, delta in zip(layer.parameters(), change, strict=True):
            p.add_(delta)
        moved = (layer(x) - before).square().mean((0, 2, 3))
    rows = torch.cat([delta.reshape(3, -1) for delta in change], dim=1)
    torch.testing.assert_close(((rows @ h) * rows).sum(1), moved)


@pytest.mark.parametrize("width", [4, 5])
def test_every_module_is_left_in_its_mode_also_by_an_error(width):
    model = nn.Sequential(
        nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.9), nn.Linear(3, 2)
    )
    model[1].eval()
    x, fails = torch.randn(30, width), pytest.raises(RuntimeError)
    with fails if width == 5 else nullcontext():
        one, two = (input_hessians(model, [x]) for _ in range(2))
        torch.testing.assert_close(one["3"], two["3"])  # no dropout inside
    assert [m.training for m in model.modules()] == [True, True, False, True, True]
    assert not model[0]._forward_pre_hooks


def test_a_layer_that_saw_no_input_is_named():
    model = nn.Sequential(nn.Linear(3, 4), nn.TransformerEncoderLayer(4, 2, 8))
    with pytest.raises(ValueError, match=r"no input .* \['1.self_attn.out_proj'\]"):
        input_hessians(model, [torch.randn(5, 2, 3)])
    with pytest.raises(ValueError, match=r"no input .* \['0', '2'\]"):
        input_hessians(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), [])


def test_gated_layers_are_refused():
    """The gates would go on computing the weight from the old one."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    hessians = input_hessians(model, [torch.randn(9, 3)])
    before = model[0].weight.detach().clone()
    gate(model[1], TrainableGate)
    with pytest.raises(ValueError, match=r"'1' has gates .*: bake"):
        prune_layers(model, hessians, {"0": 2, "1": 3})
    assert torch.equal(model[0].weight, before)


def test_network_is_pruned_layer_by_layer_with_its_biases_adjusted():
    torch.manual_seed(0)
    model = LeNet5()
    x = nn.functional.avg_pool2d(torch.randn(40, 1, 30, 30), 3, stride=1)  # smooth
    dense = {n: p.detach().clone() for n, p in model.named_parameters()}
    h = input_hessians(model, [x], damping=1e-3)
    prune_layers(model, h, {"conv1": 100, "conv2": 2_000, "fc2": 500})
    assert int(model.conv1.weight.count_nonzero()) == 100
    assert int(model.conv2.weight.count_nonzero()) == 2_000
    assert int(model.fc2.weight.count_nonzero()) == 500
    assert torch.equal(model.fc1.weight, dense["fc1.weight"])
    assert not torch.equal(model.conv1.bias, dense["conv1.bias"])
    # the first layer's outputs: closer than the same weights without the update
    masked = torch.where(model.conv1.weight == 0, 0, dense["conv1.weight"])
    conv = torch.nn.functional.conv2d
    truth = conv(x, dense["conv1.weight"], dense["conv1.bias"])
    cut = (conv(x, masked, dense["conv1.bias"]) - truth).square().mean()
    assert (model.conv1(x) - truth).square().mean() < 0.5 * cut


def test_refusals():
    _, rows, h = problem()
    for keep in (0, 25, -1):
        with pytest.raises(ValueError, match="keep"):
            prune_rows(rows, h, keep)
    with pytest.raises(ValueError, match="rounds"):
        prune_rows(rows, h, 5, rounds=0)
    model = nn.Linear(3, 2)
    with pytest.raises(ValueError, match=r"damping .*> 0"):
        input_hessians(model, [], damping=0)
    with pytest.raises(ValueError, match=r"keep must name .* got \['other'\]"):
        prune_layers(model, input_hessians(model, [torch.randn(9, 3)]), {"other": 1})
    for bad in (nn.Conv2d(2, 2, 3, groups=2), nn.Conv2d(2, 2, 3, padding="same")):
        with pytest.raises(ValueError, match="must have"):
            input_hessians(bad, [torch.randn(1, 2, 5, 5)])
