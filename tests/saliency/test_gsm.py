"""GSM against torch's SGD, the slide written out, and the law of decay."""

import copy
import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD

from ece661_sparse.proximal import weight_groups
from ece661_sparse.saliency import (
    GSM,
    GradualKeep,
    apply_mask,
    global_mask,
    kernels,
    magnitude,
    nonzero_mask,
)


def net():
    torch.manual_seed(0)
    layers = (nn.Linear(6, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 3))
    return nn.Sequential(*layers).double()


TOTAL = 6 * 8 + 8 * 3


def backward(model, seed):
    model.zero_grad()
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(16, 6, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (16,), generator=generator)
    F.cross_entropy(model(x), y).backward()


def run(model, optimizer, seeds):
    for seed in seeds:
        backward(model, seed)
        optimizer.step()


# --- the update ------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.99])
@pytest.mark.parametrize("nesterov", [True, False])
def test_with_all_weights_kept_it_is_torchs_sgd(momentum, nesterov):
    model, other = net(), net()
    run(
        model, GSM(model.parameters(), 0.05, TOTAL, momentum, 0.01, nesterov), range(30)
    )
    weights, biases = weight_groups(other)
    options = {"momentum": momentum, "nesterov": nesterov and momentum > 0}
    sgd = SGD([weights | {"weight_decay": 0.01}, biases], lr=0.05, **options)
    run(other, sgd, range(30))
    close = {"rtol": 1e-12, "atol": 1e-14}
    torch.testing.assert_close(model.state_dict(), other.state_dict(), **close)


@pytest.mark.parametrize("keep", [1, 10, TOTAL // 2, TOTAL])
def test_a_step_is_the_two_lines_of_the_slide(keep):
    """Biases and normalisation see every gradient and never decay."""
    lr, beta, decay = 0.1, 0.9, 0.02
    model = net()
    gsm = GSM(model.parameters(), lr, keep, beta, decay, nesterov=False)
    theta = {n: p.detach().clone() for n, p in model.named_parameters()}
    Z = {n: torch.zeros_like(p) for n, p in theta.items()}
    for seed in range(5):
        backward(model, seed)
        grad = {n: p.grad.clone() for n, p in model.named_parameters()}
        gsm.step()
        T = {n: (grad[n] * w).abs() for n, w in theta.items() if w.ndim == 2}
        Qth = torch.cat([t.flatten() for t in T.values()]).sort().values[-keep]
        B = {n: (Qth <= t).double() for n, t in T.items()}
        assert sum(b.sum() for b in B.values()) == keep
        for n, p in model.named_parameters():
            masked = B[n] * grad[n] if n in B else grad[n]
            assert torch.equal(p.grad, masked)
            Z[n] = beta * Z[n] + (decay * theta[n] if n in B else 0) + masked
            theta[n] = theta[n] - lr * Z[n]
            torch.testing.assert_close(p.detach(), theta[n], rtol=1e-12, atol=1e-15)


def test_layers_compete_with_each_other():
    model = net()
    with torch.no_grad():
        model[0].weight.mul_(1e-6)
    gsm = GSM(model.parameters(), 0.05, 24)
    backward(model, 0)
    gsm.step()
    assert not model[0].weight.grad.any()
    assert model[3].weight.grad.all()


def test_of_tied_saliencies_at_the_last_place_all_pass():
    w = nn.Parameter(torch.tensor([[1.0, 2.0, 1.0, 4.0]]))
    gsm = GSM([w], lr=0.1, keep=2)
    w.grad = torch.tensor([[2.0, -1.0, 0.5, 4.0]])  # T = 2, 2, 0.5, 16
    gsm.step()
    assert w.grad.tolist() == [[2, -1, 0, 4]]


def test_many_zero_saliencies_and_fewer_than_q_positive():
    w = nn.Parameter(torch.zeros(5, 40))
    with torch.no_grad():
        w[0, :3] = torch.tensor([1.0, -2.0, 3.0])
    gsm = GSM([w], lr=0.1, keep=2, weight_decay=0.0)
    w.grad = torch.ones_like(w)
    gsm.step()
    assert w.grad.nonzero().tolist() == [[0, 1], [0, 2]]
    gsm = GSM([w], lr=0.1, keep=50, weight_decay=0.0)  # zeros share the last place
    w.grad = torch.ones_like(w)
    gsm.step()
    assert w.grad.all()


def test_the_last_place_does_not_depend_on_the_step_before():
    """It is looked for near its last value first; a leap must not matter."""
    model, other = net(), net()
    gsm = GSM(model.parameters(), 0.0001, 9)
    for scale in (1, 100, 1e-3, 1e-3, 1):
        backward(model, 0)
        backward(other, 0)
        for p in model.parameters():
            p.grad.mul_(scale)
        gsm.step()
        fresh = GSM(other.parameters(), 0.0001, 9)
        fresh.step()
        for p, q in zip(kernels(model).values(), kernels(other).values(), strict=True):
            assert torch.equal(p.grad != 0, q.grad != 0)
        other.load_state_dict(model.state_dict())


# --- passive weights -------------------------------------------------------------


def recursion(alpha, beta, eta):
    """What one iteration does to (W, Z) of a passive weight."""
    rows = [[1 - alpha * eta, -alpha * beta], [eta, beta]]
    return torch.tensor(rows, dtype=torch.float64)


def passive(alpha, beta, eta, nesterov, steps, w=1.0):
    """A weight that is never active beside one that always is; its path."""
    p = nn.Parameter(torch.tensor([[w, 100.0]], dtype=torch.float64))
    gsm = GSM([p], alpha, 1, beta, eta, nesterov)
    path = [w]
    for _ in range(steps):
        p.grad = torch.tensor([[1e-9, 1.0]], dtype=torch.float64)
        gsm.step()
        with torch.no_grad():
            p[0, 1] = 100.0
        path.append(p[0, 0].item())
    return torch.tensor(path, dtype=torch.float64)


@pytest.mark.parametrize(
    ("alpha", "beta", "eta"), [(0.01, 0.99, 5e-4), (0.1, 0.9, 0.05), (0.05, 0.5, 0.1)]
)
def test_a_passive_weight_follows_the_linear_recursion(alpha, beta, eta):
    step = recursion(alpha, beta, eta)
    state = torch.tensor([1.0, 0.0], dtype=torch.float64)
    for w in passive(alpha, beta, eta, False, 300):
        assert w == pytest.approx(state[0].item(), rel=1e-9, abs=1e-12)
        state = step @ state


@pytest.mark.parametrize("nesterov", [True, False])
def test_it_decays_at_the_rate_of_the_largest_eigenvalue(nesterov):
    alpha, beta, eta = 0.01, 0.99, 5e-4
    path = passive(alpha, beta, eta, nesterov, 2000)
    rate = -(path[2000] / path[1200]).log().item() / 800
    step = recursion(alpha, beta, eta)
    largest = torch.linalg.eigvals(step).abs().max().item()
    if not nesterov:
        assert rate == pytest.approx(-math.log(largest), rel=1e-4)
    assert rate == pytest.approx(alpha * eta / (1 - beta), rel=0.06)
    # the figure of the book: iterations until 1e-4 of the weight is left
    if not nesterov:
        assert math.log(1e-4) / math.log(largest) == pytest.approx(17_561, rel=0.01)


# --- averaging, gradual budgets --------------------------------------------------


def test_averaged_saliency_is_the_exponential_mean():
    model = net()
    gsm = GSM(model.parameters(), 0.05, 12, average=0.8)
    mean = {n: torch.zeros_like(p) for n, p in kernels(model).items()}
    for seed in range(6):
        backward(model, seed)
        for n, p in kernels(model).items():
            mean[n] = 0.8 * mean[n] + 0.2 * (p * p.grad).abs().detach()
        mask = global_mask(mean, 12)
        gsm.step()
        for n, p in kernels(model).items():
            assert torch.equal(p.grad != 0, mask[n])


def test_averaging_keeps_the_active_set_together():
    def replaced(average):
        model = net()
        gsm = GSM(model.parameters(), 0.001, 12, average=average)
        masks = []
        for seed in range(30):
            backward(model, seed)
            gsm.step()
            masks.append(torch.cat([p.grad.flatten() for p in kernels(model).values()]))
        pairs = pairwise(masks[10:])
        return sum(int(((a != 0) & (b == 0)).sum()) for a, b in pairs)

    assert replaced(0.95) < replaced(0.0) / 2


def test_the_budget_falls_geometrically_to_its_end():
    model = net()
    gsm = GSM(model.parameters(), 0.1, keep=4)
    gradual = GradualKeep(gsm, start=64, epochs=4)
    for epoch, keep in enumerate([64, 32, 16, 8, 4, 4, 4]):
        run(model, gsm, [epoch])
        passed = [int(p.grad.count_nonzero()) for p in kernels(model).values()]
        assert sum(passed) == gsm.keep == keep
        gradual.step()


def test_the_end_is_the_budget_that_the_optimizer_was_made_with():
    gsm, resumed = (GSM(net().parameters(), 0.1, keep=4) for _ in range(2))
    GradualKeep(gsm, start=64, epochs=4)
    resumed.load_state_dict(gsm.state_dict())  # half-way, before the schedule is made
    gradual = GradualKeep(resumed, start=64, epochs=4)
    for _ in range(4):
        resumed.step()
        gradual.step()
    assert resumed.keep == 4


# --- the final mask --------------------------------------------------------------


def test_long_enough_training_leaves_nothing_to_cut():
    model = net()
    gsm = GSM(model.parameters(), 0.05, 10, 0.9, weight_decay=0.1, average=0.9)
    run(model, gsm, [0] * 800)
    before = copy.deepcopy(model.state_dict())
    apply_mask(model, global_mask(magnitude(model), 10))
    assert sum(int(m.sum()) for m in nonzero_mask(model).values()) == 10
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=1e-6)
    assert all(p.all() for p in model.parameters() if p.ndim < 2)  # never pruned


# --- layouts, precision, refusals (the rest is in tests/contracts) ---------------


def test_a_group_added_later_competes_with_the_others():
    model = net()
    gsm = GSM(model[0].parameters(), 0.05, 10)
    gsm.add_param_group({"params": model[3].parameters(), "lr": 0.01})
    assert [g["competes"] for g in gsm.param_groups] == [True, False, True, False]
    assert [g["weight_decay"] > 0 for g in gsm.param_groups] == [True, False] * 2
    run(model, gsm, [1])
    passed = [int(p.grad.count_nonzero()) for p in kernels(model).values()]
    assert sum(passed) == 10 and all(passed)


def test_frozen_kernels_take_no_place():
    model = net()
    model[0].weight.requires_grad_(False)
    run(model, GSM(model.parameters(), 0.05, 10), range(3))
    assert int(model[3].weight.grad.count_nonzero()) == 10
    gsm = GSM(model.parameters(), 0.05, TOTAL)  # more than can compete
    run(model, gsm, range(3))
    assert model[3].weight.grad.all()


def test_small_products_of_half_precision_are_told_apart():
    w = nn.Parameter(torch.full((4, 8), 0.01, dtype=torch.float16))
    gsm = GSM([w], lr=0.01, keep=10)
    w.grad = torch.arange(1, 33).view(4, 8).to(torch.float16) * 2**-24
    assert not (w * w.grad).any()
    gsm.step()
    assert int(w.grad.count_nonzero()) == 10


@pytest.mark.parametrize("when", [0, 1])
@pytest.mark.parametrize("change", ["moved", "loaded", "by hand"])
def test_another_layout_gives_the_same_network(change, when):
    """Of the model, of a loaded momentum, or of gradients set by hand."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 16, 3, 8, 8, generator=generator, dtype=torch.float64)
    torch.manual_seed(0)
    start = nn.Conv2d(3, 4, 3).double()

    def train(change):
        model = copy.deepcopy(start)
        gsm = GSM(model.parameters(), 0.05, 40, average=0.5)
        for step, images in enumerate(x):
            if change and step == when:
                state = gsm.state_dict()
                model = copy.deepcopy(model) if change == "loaded" else model
                model = model.to(memory_format=torch.channels_last)
                assert not model.weight.is_contiguous()
                if change == "loaded":
                    gsm = GSM(model.parameters(), 0.05, 40, average=0.5)
                    gsm.load_state_dict(state)
            gsm.zero_grad()
            model(images).square().mean().backward()
            if change == "by hand":
                model.weight.grad = model.weight.grad.contiguous()
            gsm.step()
        return model

    found, expected = train(change).state_dict(), train(None).state_dict()
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "lr must be a finite number > 0"),
        ({"lr": math.nan}, "lr must be"),
        ({"keep": 0}, f"keep must be a whole number >= 1 and <= {TOTAL}"),
        ({"keep": TOTAL + 1}, f"keep must be a whole number >= 1 and <= {TOTAL}"),
        ({"keep": 2.5}, "keep must be a whole number"),
        ({"momentum": 1.0}, "momentum must be .* < 1"),
        ({"momentum": -0.1}, "momentum must be"),
        ({"weight_decay": -1e-4}, "weight_decay must be"),
        ({"average": 1.0}, "average must be"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GSM(net().parameters(), **({"lr": 0.1, "keep": 5} | options))


def test_without_kernels_there_is_nothing_to_prune():
    with pytest.raises(ValueError, match="must hold a kernel"):
        GSM([nn.Parameter(torch.ones(3))], 0.1, 1)


def test_a_budget_for_one_group_is_refused():
    params = list(net().parameters())
    for option in ("keep", "average"):
        with pytest.raises(ValueError, match=f"all groups.*got .*'{option}'"):
            GSM([{"params": params, option: 0.5}], 0.1, 4)
    gsm = GSM(params, 0.1, 4)
    with pytest.raises(ValueError, match="all groups"):
        gsm.add_param_group({"params": [nn.Parameter(torch.ones(2, 2))], "keep": 3})


@pytest.mark.parametrize(
    ("start", "epochs", "message"),
    [
        (3, 5, "start must be .* >= 4"),
        (TOTAL + 1, 5, f"start must be .* <= {TOTAL}"),
        (8, 0, "epochs must be"),
    ],
)
def test_gradual_keep_refuses(start, epochs, message):
    gsm = GSM(net().parameters(), 0.1, 4)
    with pytest.raises(ValueError, match=message):
        GradualKeep(gsm, start, epochs)
