"""ProximalOptimizer against scikit-learn, hand-written loops and its own promises."""

import copy
from functools import partial

import pytest
import torch
from sklearn.linear_model import Lasso
from torch import nn
from torch.optim import LBFGS, SGD, Adam, AdamW, RMSprop

from ece661_sparse.proximal.operators import prox_l1
from ece661_sparse.proximal.optim import (
    ProximalOptimizer,
    momentum_step,
    regularized,
    weight_groups,
)
from ece661_sparse.proximal.penalties import (
    L1,
    MCP,
    SCAD,
    Firm,
    L0Ball,
    QShrinkage,
)
from ece661_sparse.proximal.projections import project_capped_simplex
from ece661_sparse.proximal.trimmed import TrimmedL1

N, P, LAM = 60, 20, 0.15


def least_squares(seed=0):
    """A sparse regression problem: design, targets, and the loss 1/2n |Xθ - y|²."""
    generator = torch.Generator().manual_seed(seed)
    design = torch.randn(N, P, dtype=torch.float64, generator=generator)
    truth = torch.zeros(P, dtype=torch.float64)
    truth[:5] = torch.tensor([2.0, -1.5, 1.0, -0.7, 0.4], dtype=torch.float64)
    noise = torch.randn(N, dtype=torch.float64, generator=generator)
    y = design @ truth + 0.1 * noise
    return design, y, lambda theta: (design @ theta - y).square().sum() / (2 * N)


def minimise(optimizer, theta, loss, steps, scheduler=None):
    for _ in range(steps):
        optimizer.zero_grad()
        loss(theta).backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return theta.detach()


def parameter(p=P, value=0.0):
    return nn.Parameter(torch.full((p,), value, dtype=torch.float64))


@pytest.fixture(scope="module")
def lasso():
    design, y, _ = least_squares()
    model = Lasso(alpha=LAM, fit_intercept=False, tol=1e-14, max_iter=10**6)
    solution = torch.from_numpy(model.fit(design.numpy(), y.numpy()).coef_)
    assert 0 < (solution == 0).sum() < P  # a solution with zeros and non-zeros
    return solution


BASES = {
    "sgd": lambda p: SGD(p, lr=0.3),
    "momentum": lambda p: SGD(p, lr=0.05, momentum=0.9),
    "nesterov": lambda p: SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "dampening": lambda p: SGD(p, lr=0.1, momentum=0.8, dampening=0.6),
    "adam": lambda p: Adam(p, lr=0.03),
    "adam amsgrad": lambda p: Adam(p, lr=0.03, amsgrad=True),
    "adamw": lambda p: AdamW(p, lr=0.03, weight_decay=0.0),
}


@pytest.mark.parametrize("base", BASES)
def test_l1_converges_to_the_lasso_solution(base, lasso):
    *_, loss = least_squares()
    theta = parameter()
    optimizer = ProximalOptimizer(BASES[base]([theta]), L1(LAM))
    found = minimise(optimizer, theta, loss, 1000)
    torch.testing.assert_close(found, lasso, rtol=0, atol=1e-8)
    assert torch.equal(found == 0, lasso == 0)


@pytest.mark.parametrize("base", ["momentum", "adam"])
def test_the_learning_rate_in_place_of_the_step_solves_another_problem(base, lasso):
    """The oracle above can fail: with lr as the step, momentum and Adam miss it."""
    *_, loss = least_squares()
    theta = parameter()
    wrong = ProximalOptimizer(
        BASES[base]([theta]), L1(LAM), step_size=lambda group: group["lr"]
    )
    assert (minimise(wrong, theta, loss, 1000) - lasso).abs().max() > 0.05


@pytest.mark.parametrize("attached_to", ["wrapper", "base"])
@pytest.mark.parametrize("base", ["sgd", "momentum"])
def test_a_schedule_may_be_attached_to_either_object(base, attached_to, lasso):
    *_, loss = least_squares()
    theta = parameter()
    inner = BASES[base]([theta])
    optimizer = ProximalOptimizer(inner, L1(LAM))
    scheduler = torch.optim.lr_scheduler.StepLR(
        optimizer if attached_to == "wrapper" else inner, 200, gamma=0.5
    )
    found = minimise(optimizer, theta, loss, 1000, scheduler)
    assert inner.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    assert inner.param_groups[0]["lr"] < BASES[base]([theta]).defaults["lr"] / 10
    torch.testing.assert_close(found, lasso, rtol=0, atol=1e-8)


def test_a_schedule_that_starts_at_zero_moves_nothing():
    *_, loss = least_squares()
    theta = parameter(value=0.5)
    optimizer = ProximalOptimizer(SGD([theta], lr=0.3), L1(LAM))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: k / 10)
    minimise(optimizer, theta, loss, 1, scheduler)
    assert torch.equal(theta, torch.full_like(theta, 0.5))
    minimise(optimizer, theta, loss, 1, scheduler)
    assert not torch.equal(theta, torch.full_like(theta, 0.5))


def test_plain_sgd_is_ista_bit_for_bit():
    *_, loss = least_squares()
    theta, by_hand = parameter(), torch.zeros(P, dtype=torch.float64)
    optimizer = ProximalOptimizer(SGD([theta], lr=0.3), L1(LAM))
    for _ in range(50):
        minimise(optimizer, theta, loss, 1)
        leaf = by_hand.clone().requires_grad_()
        [gradient] = torch.autograd.grad(loss(leaf), leaf)
        by_hand = prox_l1(by_hand.add(gradient, alpha=-0.3), LAM, 0.3)
        assert torch.equal(theta, by_hand)


@pytest.mark.parametrize("base", BASES)
def test_no_penalty_is_the_base_optimizer_bit_for_bit(base):
    *_, loss = least_squares()
    plain, wrapped = parameter(), parameter()
    minimise(BASES[base]([plain]), plain, loss, 30)
    minimise(ProximalOptimizer(BASES[base]([wrapped]), None), wrapped, loss, 30)
    assert torch.equal(plain, wrapped)


def test_momentum_step_is_what_a_constant_gradient_moves_a_weight():
    for group in (
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
        {"lr": 0.2, "momentum": 0.7, "dampening": 0.4},
    ):
        theta = nn.Parameter(torch.tensor(0.0, dtype=torch.float64))
        optimizer = SGD([theta], **group)
        for _ in range(400):
            before = theta.item()
            theta.grad = torch.tensor(3.0, dtype=torch.float64)
            optimizer.step()
        moved = (before - theta.item()) / 3
        assert momentum_step(optimizer.param_groups[0]) == pytest.approx(moved)


def test_mcp_finds_a_minimiser_where_the_bias_is_gone():
    """1/2 (θ - c)² + MCP has the closed-form minimiser prox(c), at every step."""
    c = torch.tensor([0.05, -0.3, 0.5, -4.0], dtype=torch.float64)
    penalty = MCP(0.2, gamma=3.0)
    for lr, momentum in ((0.5, 0.0), (0.1, 0.8)):
        theta = parameter(4, 1.0)
        optimizer = ProximalOptimizer(SGD([theta], lr=lr, momentum=momentum), penalty)
        found = minimise(optimizer, theta, lambda t: (t - c).square().sum() / 2, 1200)
        torch.testing.assert_close(found, penalty.prox(c), rtol=0, atol=1e-10)
        assert found[3] == pytest.approx(-4)


def test_l0_ball_is_projected_gradient_descent():
    """On an orthogonal design: the n largest of the least-squares solution."""
    design, y, _ = least_squares()
    q, _ = torch.linalg.qr(design)
    theta = parameter(value=0.3)
    optimizer = ProximalOptimizer(SGD([theta], lr=1.0), L0Ball(4))
    loss = lambda t: (q @ t - y).square().sum() / 2  # noqa: E731
    for _ in range(5):
        minimise(optimizer, theta, loss, 1)
        assert theta.count_nonzero() == 4
    full = q.T @ y
    largest = full.abs().argsort(descending=True)[:4]
    expected = torch.zeros(P, dtype=torch.float64)
    expected[largest] = full[largest]
    torch.testing.assert_close(theta.detach(), expected)


@pytest.mark.parametrize("base", BASES)
def test_l0_ball_leaves_n_non_zeros_over_all_layers_after_every_step(base):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = ProximalOptimizer(BASES[base](weight_groups(model)), [L0Ball(17), None])
    for _ in range(10):
        optimizer.zero_grad()
        model(torch.randn(5, 6)).square().sum().backward()
        optimizer.step()
        kernels = model[0].weight.count_nonzero() + model[2].weight.count_nonzero()
        assert kernels == 17
    assert model[0].bias.count_nonzero() == 8


def test_groups_have_their_own_penalties_and_learning_rates():
    a, b, c = parameter(3, 1.0), parameter(3, 1.0), parameter(3, 1.0)
    optimizer = ProximalOptimizer(
        SGD([{"params": [a], "lr": 0.1}, {"params": [b]}, {"params": [c]}], lr=0.2),
        [L1(1.0), L1(2.0), None],
    )
    for p in (a, b, c):
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert (a[0].item(), b[0].item(), c[0].item()) == pytest.approx((0.9, 0.6, 1.0))


def test_a_parameter_without_a_gradient_is_left_alone():
    used, frozen = parameter(3, 1.0), parameter(3, 1.0)
    for base in (SGD([used, frozen], lr=0.1), Adam([used, frozen], lr=0.1)):
        used.grad = torch.zeros_like(used)
        ProximalOptimizer(base, L1(1.0)).step()
        assert torch.equal(frozen, torch.ones_like(frozen))
        assert (used < 1).all()


def in_turn(optimizer, parameters, steps):
    """As two heads on one trunk: at every step one of them has a (zero) gradient."""
    for k in range(steps):
        for i, p in enumerate(parameters):
            p.grad = torch.zeros_like(p) if i == k % len(parameters) else None
        optimizer.step()


@pytest.mark.parametrize("base", BASES)
def test_a_shared_budget_counts_tensors_without_a_gradient(base):
    torch.manual_seed(0)
    a, b = (nn.Parameter(torch.randn(n, dtype=torch.float64)) for n in (10, 6))
    optimizer = ProximalOptimizer(BASES[base]([a, b]), L0Ball(7))
    for steps in (1, 2):
        in_turn(optimizer, [a, b], steps)
        assert a.count_nonzero() + b.count_nonzero() == 7
    with pytest.raises(ValueError, match="n"):
        in_turn(ProximalOptimizer(BASES[base]([a, b]), L0Ball(17)), [a, b], 1)


@pytest.mark.parametrize("sizes", [(10, 10), (10, 6)])
def test_trimmed_l1_shrinks_the_head_that_trains_and_counts_the_other(sizes):
    """Algorithm 1 with the gates of both heads, and the second line for one of them."""
    torch.manual_seed(0)
    a, b = (nn.Parameter(torch.randn(n, dtype=torch.float64)) for n in sizes)
    optimizer = ProximalOptimizer(SGD([a, b], lr=0.1), TrimmedL1(0.5, h=5, tau=0.3))
    heads, p = [a.detach().clone(), b.detach().clone()], sum(sizes)
    w = torch.full((p,), (p - 5) / p, dtype=torch.float64)
    for k in range(40):
        w = project_capped_simplex(w - 0.3 * torch.cat(heads).abs(), p - 5)
        own = w.split(sizes)[k % 2]
        heads[k % 2] = prox_l1(heads[k % 2], 0.5 * own, 0.1)
    in_turn(optimizer, [a, b], 40)
    torch.testing.assert_close(torch.cat(optimizer.penalty_states[0]["w"]), w)
    torch.testing.assert_close([a.detach(), b.detach()], heads)


def test_a_frozen_tensor_has_no_part_in_the_budget():
    a, b = parameter(6, 1.0), parameter(4, 1.0)
    for penalty in (L0Ball(3), TrimmedL1(0.1, 3)):
        optimizer = ProximalOptimizer(SGD([a, b], lr=0.1), penalty)
        for trainable in (True, False, True):  # frozen and freed in between
            b.requires_grad_(trainable)
            before = b.detach().clone()
            in_turn(optimizer, [a, b], 1)
            assert trainable or torch.equal(b, before)
    assert len(optimizer.penalty_states[0]["w"]) == 2


def test_other_optimizers_take_their_step_from_step_size(lasso):
    *_, loss = least_squares()
    theta = parameter()
    optimizer = ProximalOptimizer(
        torch.optim.ASGD([theta], lr=0.3, lambd=0),
        L1(LAM),
        step_size=lambda group: 0.3,
    )
    found = minimise(optimizer, theta, loss, 300)
    torch.testing.assert_close(found, lasso, rtol=0, atol=1e-2)


# --- saving, and all or nothing (the rest is in tests/contracts) -------------------


def test_the_state_of_another_optimizer_is_refused():
    theta = parameter()
    optimizer = ProximalOptimizer(SGD([theta], lr=0.1), L1(LAM))
    with pytest.raises(ValueError, match="must hold 1 penalty_states"):
        optimizer.load_state_dict(SGD([theta], lr=0.1).state_dict())


def test_a_step_that_is_not_finite_is_named():
    a, b = parameter(3, 1.0), parameter(2, 1.0)
    optimizer = ProximalOptimizer(SGD([a, b], lr=0.1), L1(LAM))
    a.grad, b.grad = torch.ones_like(a), torch.tensor([1.0, torch.nan]).double()
    with pytest.raises(ValueError, match=r"parameter 1 of group 0 \(shape \(2,\)\)"):
        optimizer.step()


def test_a_penalty_that_refuses_the_step_changes_nothing():
    """A learning rate raised beyond MCP's range, in the second of two groups."""
    a, b = parameter(3, 1.0), parameter(3, 1.0)
    optimizer = ProximalOptimizer(
        SGD([{"params": [a]}, {"params": [b]}], lr=1.0, momentum=0.5),
        [L1(0.1), MCP(0.1, gamma=3.0)],
    )
    for p in (a, b):
        p.grad = torch.ones_like(p)
    optimizer.step()
    optimizer.param_groups[1]["lr"] = 1.6  # the step is twice that
    before = copy.deepcopy([a, b, optimizer.state_dict()])
    with pytest.raises(ValueError, match="gamma"):
        optimizer.step()
    after = [a, b, optimizer.state_dict()]
    torch.testing.assert_close(after, before, rtol=0, atol=0)


# --- what is refused ---------------------------------------------------------------

MOST = r"group 0.*have no bound\. Use SGD"  # steps of Adam


@pytest.mark.parametrize(
    ("base", "penalty", "message"),
    [
        (SGD, [L1(0.1), None], r"one entry per parameter group \(1\), got 2"),
        (Adam, SCAD(0.1), MOST),
        (Adam, MCP(0.1), MOST),
        (Adam, Firm(0.1, 0.5), MOST),
        (AdamW, QShrinkage(0.1), MOST),
        (partial(SGD, maximize=True), L1(0.1), "maximize"),
        (partial(Adam, maximize=True), L1(0.1), "maximize"),
        (partial(SGD, momentum=1.0), L1(0.1), r"momentum must be in \[0, 1\)"),
        (
            partial(SGD, momentum=0.9, dampening=1.0),
            L1(0.1),
            r"dampening must be in \[0, 1\)",
        ),
        (partial(AdamW, weight_decay=0.01), L1(0.1), r"weight_decay=0\.01"),
        (RMSprop, L1(0.1), r"step of RMSprop is not known.*step_size"),
        (LBFGS, L1(0.1), "LBFGS.*several times a step"),
        (LBFGS, None, "LBFGS.*several times a step"),
    ],
)
def test_what_has_no_minimiser_or_no_known_step_is_refused(base, penalty, message):
    with pytest.raises(ValueError, match=message):
        ProximalOptimizer(base([parameter()], lr=0.1), penalty)
    if base is not LBFGS:
        ProximalOptimizer(base([parameter()], lr=0.1), None)  # nothing to minimise
    if message is MOST:
        ProximalOptimizer(SGD([parameter()], lr=0.1), penalty)


# --- the baseline and the groups ----------------------------------------------------


def test_regularized_is_the_loss_plus_the_penalty_of_every_tensor():
    a = torch.tensor([1.0, -2.0], requires_grad=True)
    b = torch.tensor([[0.0, 3.0]], requires_grad=True)
    loss = regularized(a.sum() * 0 + 10.0, [a, b], L1(0.5))
    assert loss.item() == pytest.approx(10 + 0.5 * 6)
    loss.backward()
    assert a.grad.tolist() == [0.5, -0.5] and b.grad.tolist() == [[0.0, 0.5]]


def test_subgradient_descent_makes_no_exact_zero_where_the_prox_does():
    *_, loss = least_squares()
    theta = parameter()
    found = minimise(
        SGD([theta], lr=0.3), theta, lambda t: regularized(loss(t), [t], L1(LAM)), 500
    )
    assert found.count_nonzero() == P
    theta = parameter()
    found = minimise(ProximalOptimizer(SGD([theta], lr=0.3), L1(LAM)), theta, loss, 500)
    assert found.count_nonzero() < P / 2


def test_weight_groups_split_kernels_from_the_rest():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 5))
    kernels, rest = (group["params"] for group in weight_groups(model))
    assert kernels[0] is model[0].weight and kernels[1] is model[2].weight
    assert len(rest) == 4 and all(p.ndim == 1 for p in rest)
    assert len(kernels) == 2
