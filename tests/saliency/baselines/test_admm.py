"""ADMM against its three lines, its fixed point, budgets; see tests/contracts, too."""

import copy

import pytest
import torch
from torch import nn

from ece661_sparse.models import LeNet300
from ece661_sparse.saliency.baselines import ADMM, layer_groups

DOUBLE = {"dtype": torch.float64}


def quadratic(centre):
    weight = nn.Parameter(torch.zeros_like(centre))

    def gradient():
        weight.grad = weight.detach() - centre

    return weight, gradient


def keep_largest(x, n):
    kept = torch.zeros_like(x)
    index = x.abs().flatten().sort(descending=True, stable=True).indices[:n]
    kept.view(-1)[index] = x.flatten()[index]
    return kept


def test_steps_are_adam_on_the_augmented_loss_then_the_two_updates():
    torch.manual_seed(1)
    centre = torch.randn(4, 5, **DOUBLE)
    weight, gradient = quadratic(centre)
    admm = ADMM([weight], lr=0.05, keep=6, rho=0.7, every=3)

    w = nn.Parameter(torch.zeros_like(centre))
    adam = torch.optim.Adam([w], lr=0.05)
    z = u = None
    for k in range(20):
        gradient()
        admm.step()
        w.grad = w.detach() - centre
        if z is not None:
            w.grad += 0.7 * (w.detach() - z + u)
        adam.step()
        if z is None:
            z, u = keep_largest(w.detach(), 6), torch.zeros_like(centre)
        if (k + 1) % 3 == 0:
            z = keep_largest(w.detach() + u, 6)
            u = u + w.detach() - z
        torch.testing.assert_close(weight, w)
        torch.testing.assert_close(admm.state[weight]["Z"], z)
        torch.testing.assert_close(admm.state[weight]["U"], u)
    assert int(z.count_nonzero()) == 6
    assert u.any()


def test_fixed_point_is_the_projection_and_the_cut_then_costs_nothing():
    centre = torch.tensor([[3.0, -2.0, 0.3], [0.2, -1.0, 0.1]], **DOUBLE)
    weight, gradient = quadratic(centre)
    admm = ADMM([weight], lr=0.02, keep=3, rho=1.0, every=20)
    for _ in range(4000):
        gradient()
        admm.step()
    expected = keep_largest(centre, 3)
    torch.testing.assert_close(admm.state[weight]["Z"], expected, rtol=0, atol=1e-3)
    assert admm.distance() < 1e-3
    admm.project_()
    assert torch.equal(weight != 0, expected != 0)


def test_the_cut_alone_would_cost_more():
    """U pulls what a single penalty would leave standing."""
    centre = torch.tensor([[3.0, 2.0, 0.8, 0.7]], **DOUBLE)
    away = {}
    for rounds in (1, 60):
        weight, gradient = quadratic(centre)
        admm = ADMM([weight], lr=0.02, keep=2, rho=1.0, every=3000 // rounds)
        for _ in range(3000):
            gradient()
            admm.step()
        away[rounds] = admm.distance()
    assert away[60] < 0.1 * away[1]


def steps(model, optimizer, n):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(16, 784, generator=generator), torch.arange(16) % 10
    for _ in range(n):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


@pytest.mark.parametrize("by_layer", [True, False])
def test_budgets_by_layer_and_one_for_all(by_layer):
    model = LeNet300()
    budgets = {"fc1": 500, "fc2": 90, "fc3": 30}
    if by_layer:
        admm = ADMM(layer_groups(model, keep=budgets), every=2)
    else:
        admm = ADMM(model.parameters(), every=2, keep=620)
    before = copy.deepcopy(model)
    steps(model, admm, 4)
    admm.project_()
    counts = {n: int(m.weight.count_nonzero()) for n, m in model.named_children()}
    assert sum(counts.values()) == 620 and (counts == budgets) == by_layer
    for layer, old in zip(model.children(), before.children(), strict=True):
        assert layer.bias.all() and not torch.equal(layer.bias, old.bias)


def test_a_group_without_a_budget_is_adam():
    model = LeNet300()
    twin = copy.deepcopy(model)
    options = {"lr": 0.01, "weight_decay": 1e-3}
    steps(model, ADMM(model.parameters(), **options), 3)
    steps(twin, torch.optim.Adam(twin.parameters(), **options), 3)
    torch.testing.assert_close(model.state_dict(), twin.state_dict(), rtol=0, atol=0)


def test_a_kernel_may_get_its_first_gradient_later():
    """Two heads trained in turn: each is Adam's from its first gradient on."""
    a, b = (nn.Parameter(torch.ones(2, 3, **DOUBLE)) for _ in range(2))
    admm = ADMM([a, b], lr=0.1, keep=7, rho=1e-9)
    twins = [nn.Parameter(torch.ones(2, 3, **DOUBLE)) for _ in range(2)]
    adam = torch.optim.Adam(twins, lr=0.1)
    for step in range(5):
        for head, twin in zip((a, b), twins, strict=True):
            head.grad = twin.grad = None
        trained = step % 2
        (a, b)[trained].grad = torch.full_like(a, step + 1)
        twins[trained].grad = torch.full_like(a, step + 1)
        admm.step()
        adam.step()
    for head, twin in zip((a, b), twins, strict=True):
        torch.testing.assert_close(head, twin)
        assert admm.state[head].keys() == {*adam.state[twin], "Z", "U"}


def test_distance_needs_a_budget_and_a_step():
    weight = nn.Parameter(torch.ones(2, 2))
    with pytest.raises(ValueError, match=r"a budget.*keep=None"):
        ADMM([weight]).distance()
    with pytest.raises(ValueError, match="a step first"):
        ADMM([weight], keep=2).distance()


def test_a_group_may_have_options_of_its_own_and_come_later():
    a, b, c = (nn.Parameter(torch.ones(2, 3)) for _ in range(3))
    admm = ADMM([{"params": [a], "every": 5, "rho": 0.5}], keep=4)
    admm.add_param_group({"params": [b], "keep": None})
    admm.add_param_group({"params": [c], "keep": 2, "every": 1})
    names = ("keep", "rho", "every")
    assert [[g[name] for name in names] for g in admm.param_groups] == [
        [4, 0.5, 5],
        [None, 1e-4, 1000],
        [2, 1e-4, 1],
    ]
    for p in (a, b, c):
        p.grad = torch.ones_like(p)
    admm.step()
    assert admm.state[c]["U"].any() and not admm.state[a]["U"].any()
    assert "Z" not in admm.state[b]
    with pytest.raises(ValueError, match=r"keep .*<= 6"):
        ADMM([a], keep=2).add_param_group({"params": [b], "keep": 7})


def test_frozen_kernels_are_neither_counted_nor_cut():
    trained = nn.Parameter(torch.tensor([[1.0, 2.0, 3.0]]))
    frozen = nn.Parameter(torch.full((2, 3), 9.0), requires_grad=False)
    admm = ADMM([trained, frozen], lr=1e-6, keep=2)
    trained.grad = torch.ones_like(trained)
    admm.step()
    assert frozen not in admm.state
    admm.project_()
    assert (trained != 0).tolist() == [[False, True, True]]
    assert (frozen == 9).all()
    with pytest.raises(ValueError, match=r"keep .*<= 3"):
        ADMM([trained, frozen], keep=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rho": 0.0}, "rho .*> 0"),
        ({"every": 0}, "every .*>= 1"),
        ({"keep": 5}, "keep .*<= 4"),
        ({"keep": 1.5}, "keep must be a whole number"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        ADMM([nn.Parameter(torch.ones(2, 2))], **{"keep": 2, **options})
