"""Trimmed ℓ1 against subset brute force, closed forms and the lecture's claims."""

from itertools import combinations

import pytest
import torch
from torch import nn
from torch.optim import SGD

from ece661_sparse.proximal.operators import prox_l1
from ece661_sparse.proximal.optim import ProximalOptimizer, weight_groups
from ece661_sparse.proximal.trimmed import TrimmedL1, trimmed_l1

DOUBLE = {"dtype": torch.float64}


def separable(c):
    """The gradient of 1/2 |θ - c|², whose Lipschitz constant is 1."""
    return lambda theta: theta - c


def regression(seed=0, n=40, p=12):
    """A least-squares problem with three true weights, and its gradient."""
    generator = torch.Generator().manual_seed(seed)
    design = torch.randn(n, p, generator=generator, **DOUBLE)
    truth = torch.zeros(p, **DOUBLE)
    truth[:3] = torch.tensor([3.0, -2.0, 1.0], **DOUBLE)
    y = design @ truth + 0.3 * torch.randn(n, generator=generator, **DOUBLE)
    return design, y, lambda theta: design.T @ (design @ theta - y)


def indicator_of_smallest(theta, count):
    w = torch.zeros_like(theta)
    w[theta.abs().argsort()[:count]] = 1
    return w


# --- the penalty itself ---------------------------------------------------------------


def test_value_is_the_minimum_over_the_gates():
    x = torch.tensor([3.0, -1.0, 0.5, -4.0, 0.0], **DOUBLE)
    for h in range(6):
        # A linear function over the gates' polytope is least at a vertex.
        least = min(
            sum(abs(x[j]) for j in chosen) for chosen in combinations(range(5), 5 - h)
        )
        assert TrimmedL1(0.7, h).value(x).sum() == pytest.approx(0.7 * float(least))


def test_value_penalises_only_the_smallest_and_is_differentiable():
    x = torch.tensor([3.0, -1.0, 0.5, -4.0], requires_grad=True)
    value = TrimmedL1(2.0, 2).value(x)
    assert value.tolist() == [0, 2, 1, 0]
    value.sum().backward()
    assert x.grad.tolist() == [0, -2, 2, 0]


def brute_force_prox(x, threshold, h):
    """Try every set of h free entries; the others are soft-thresholded."""
    best = None
    for free in combinations(range(len(x)), h):
        z = torch.sign(x) * (x.abs() - threshold).clamp(min=0)
        z[list(free)] = x[list(free)]
        penalised = [j for j in range(len(x)) if j not in free]
        objective = threshold * z[penalised].abs().sum() + (z - x).square().sum() / 2
        if best is None or objective < best[0]:
            best = objective, z
    return best[1]


@pytest.mark.parametrize("h", [0, 1, 3, 6])
@pytest.mark.parametrize("step", [0.3, 1.0])
def test_prox_is_the_best_of_all_subsets(h, step):
    generator = torch.Generator().manual_seed(h)
    x = torch.randn(6, generator=generator, **DOUBLE)
    expected = brute_force_prox(x, 0.8 * step, h)
    penalty = TrimmedL1(0.8, h)
    torch.testing.assert_close(penalty.prox(x, step), expected)
    assert penalty.prox(x, step, out=x) is x
    torch.testing.assert_close(x, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-0.1, 3), "lam .*>= 0.* got lam=-0.1"),
        ((float("nan"), 3), "lam .*>= 0.* got lam=nan"),
        ((0.1, -1), "h .*>= 0.* got h=-1"),
        ((0.1, 3, 0.0), "tau .*> 0.* got tau=0"),
        ((0.1, 3, float("inf")), "tau .*finite.* got tau=inf"),
    ],
)
def test_bad_parameters_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        TrimmedL1(*arguments)


def test_h_beyond_the_number_of_weights_is_refused_on_use():
    penalty, x = TrimmedL1(0.1, 4), torch.ones(3)
    for use in (
        lambda: penalty.value(x),
        lambda: penalty.prox(x),
        lambda: penalty.prepare_([x], {}),
        lambda: trimmed_l1(separable(x), x, 0.1, 4, 1.0),
    ):
        with pytest.raises(ValueError, match=r"h must be at most .* 3, got 4"):
            use()


# --- the gates ------------------------------------------------------------------------


def test_gates_start_constant_and_of_equal_weights_they_stay_so():
    tensors, state = [torch.full((3, 4), 0.3), torch.full((5,), -0.3)], {}
    penalty = TrimmedL1(0.1, 4)
    penalty.prepare_(tensors, state)
    for gates in (penalty.start(tensors), state["w"]):
        assert [w.shape for w in gates] == [(3, 4), (5,)]
        for w in gates:
            torch.testing.assert_close(w, torch.full_like(w, (17 - 4) / 17))


def test_a_huge_tau_makes_one_step_the_indicator():
    tensors, state = [torch.randn(4, 5, **DOUBLE), torch.randn(7, **DOUBLE)], {}
    TrimmedL1(0.1, 9, tau=1e9).prepare_(tensors, state)
    joined = torch.cat([t.flatten() for t in tensors])
    w = torch.cat([t.flatten() for t in state["w"]])
    expected = indicator_of_smallest(joined, 27 - 9)
    torch.testing.assert_close(w, expected, rtol=0, atol=1e-6)


def test_gates_stay_feasible_and_become_the_indicator_of_the_smallest():
    c = torch.tensor([2.0, -0.9, 0.5, 1.4, -0.2, 0.1], **DOUBLE)
    result = trimmed_l1(
        separable(c), torch.zeros(6, **DOUBLE), 0.3, 2, 0.5, tau=0.1, history=True
    )
    for _, w in result.history:
        assert w.min() >= 0 and w.max() <= 1
        assert w.sum() == pytest.approx(4, abs=1e-6)
    expected = indicator_of_smallest(c, 4)
    torch.testing.assert_close(result.w, expected, rtol=0, atol=1e-6)
    halfway = result.history[len(result.history) // 10][1]
    assert (halfway - result.w).abs().max() > 0.01  # it took more than one step


# --- Algorithm 1 ----------------------------------------------------------------------


@pytest.mark.parametrize("h", [0, 1, 2, 4, 6])
@pytest.mark.parametrize("tau", [0.05, 1.0, 100.0])
def test_fixed_point_keeps_the_h_largest_and_shrinks_the_rest(h, tau):
    c = torch.tensor([2.0, -0.9, 0.5, 1.4, -0.2, 0.1], **DOUBLE)
    found = trimmed_l1(separable(c), torch.zeros(6, **DOUBLE), 0.3, h, 0.5, tau)
    expected = brute_force_prox(c, 0.3, h)
    torch.testing.assert_close(found.theta, expected, rtol=0, atol=1e-6)


def test_one_iteration_is_the_two_lines_of_the_slide():
    _, _, gradient = regression()
    theta = torch.linspace(-1, 1, 12, **DOUBLE)
    result = trimmed_l1(gradient, theta, 0.4, 12, 0.01, iterations=1)
    torch.testing.assert_close(result.w, torch.zeros(12, **DOUBLE))  # h = p: free
    torch.testing.assert_close(result.theta, theta - 0.01 * gradient(theta))
    result = trimmed_l1(gradient, theta, 0.4, 0, 0.01, iterations=1)
    torch.testing.assert_close(result.w, torch.ones(12, **DOUBLE))  # h = 0: ℓ1
    expected = prox_l1(theta - 0.01 * gradient(theta), 0.4, 0.01)
    torch.testing.assert_close(result.theta, expected)


@pytest.mark.parametrize("seed", range(4))
def test_authors_linear_setting_descends_and_finds_the_support(seed):
    """η = 1/|X|², τ = 1, w⁰ = (p-h)/p: the objective never rises."""
    design, y, gradient = regression(seed)
    lam, h, start = 15.0, 3, torch.zeros(12, **DOUBLE)
    step = 1 / torch.linalg.matrix_norm(design, 2).item() ** 2
    result = trimmed_l1(gradient, start, lam, h, step, history=True)
    objective = torch.stack(
        [
            (design @ theta - y).square().sum() / 2 + lam * (w * theta.abs()).sum()
            for theta, w in result.history
        ]
    )
    assert (objective.diff() <= 1e-9 * objective[0]).all()
    assert result.theta.nonzero().flatten().tolist() == [0, 1, 2]
    # The h free weights carry no bias: they are the least-squares fit.
    fit = torch.linalg.lstsq(design[:, :3], y).solution
    torch.testing.assert_close(result.theta[:3], fit, rtol=0, atol=1e-6)


@pytest.mark.parametrize("h", [1, 3, 5])
def test_h_bounds_the_non_zeros_only_for_a_large_enough_lam(h):
    generator = torch.Generator().manual_seed(h)
    c = torch.randn(10, generator=generator, **DOUBLE)
    next_largest = c.abs().sort(descending=True).values[h].item()
    for factor in (1.001, 0.95, 0.5, 0.01):
        lam = factor * next_largest
        found = trimmed_l1(separable(c), torch.zeros(10, **DOUBLE), lam, h, 0.5)
        count = int(found.theta.count_nonzero())
        assert count == max(h, int((c.abs() > lam).sum()))
        assert (count <= h) is (lam >= next_largest)


def test_history_runs_from_the_start_to_the_solution():
    c, start = torch.tensor([1.0, -2.0, 0.1]), torch.ones(3)
    result = trimmed_l1(separable(c), start, 0.2, 1, 0.5, iterations=4, history=True)
    assert len(result.history) == 5
    assert torch.equal(result.history[0][0], torch.ones(3))
    assert result.history[-1] == (result.theta, result.w)
    assert torch.equal(start, torch.ones(3))
    short = trimmed_l1(separable(c), start, 0.2, 1, 0.5, iterations=4)
    assert short.history == () and torch.equal(short.theta, result.theta)


def test_the_loop_ends_when_nothing_moves():
    c = torch.tensor([1.0, -2.0, 0.1])
    result = trimmed_l1(separable(c), c, 0.2, 1, 1.0, iterations=10**6, history=True)
    assert len(result.history) < 100


def test_a_bad_step_is_refused():
    x = torch.ones(3)
    for step in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="step"):
            trimmed_l1(separable(x), x, 0.1, 1, step)


# --- in a network ---------------------------------------------------------------------


def test_the_optimizer_runs_algorithm_1():
    """Plain SGD on the full loss equals the vector algorithm, iterate by iterate."""
    _, _, gradient = regression()
    start = torch.zeros(12, **DOUBLE)
    theta = nn.Parameter(start.clone())
    optimizer = ProximalOptimizer(SGD([theta], lr=0.01), TrimmedL1(5.0, 3, tau=0.5))
    vector = trimmed_l1(gradient, start, 5.0, 3, 0.01, 0.5, 200, history=True)
    for expected, w in vector.history[1:]:
        theta.grad = gradient(theta.detach())
        optimizer.step()
        torch.testing.assert_close(theta.detach(), expected)
        torch.testing.assert_close(optimizer.penalty_states[0]["w"][0], w)


def train_network(lam, *h):
    """One h is shared between the layers, two are theirs."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 3))
    model.double()
    x = torch.randn(200, 20, **DOUBLE)
    y = (x[:, :3] + 0.3 * x[:, 3:6]).argmax(1)
    kernels, rest = weight_groups(model)
    layers = [{"params": [p]} for p in kernels["params"]]
    groups = [*layers, rest] if len(h) == 2 else [kernels, rest]
    penalties = [*(TrimmedL1(lam, entry) for entry in h), None]
    optimizer = ProximalOptimizer(SGD(groups, lr=0.1, momentum=0.9), penalties)
    for _ in range(600):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return [p.detach() for p in kernels["params"]], optimizer


def test_layer_wise_h_holds_in_every_layer():
    kernels, optimizer = train_network(0.03, 30, 10)
    assert [int(k.count_nonzero()) for k in kernels] == [30, 10]
    for kernel, state in zip(kernels, optimizer.penalty_states, strict=False):
        w = state["w"][0]
        assert w.shape == kernel.shape
        assert torch.equal(w < 0.5, kernel != 0)


def test_global_h_is_shared_between_layers_as_the_weights_decide():
    kernels, optimizer = train_network(0.04, 40)
    counts = [int(k.count_nonzero()) for k in kernels]
    assert 30 <= sum(counts) <= 40
    for kernel, w in zip(kernels, optimizer.penalty_states[0]["w"], strict=True):
        assert (w[kernel != 0] < 0.5).all()  # what is left is free of penalty
    total = sum(float(w.sum()) for w in optimizer.penalty_states[0]["w"])
    assert total == pytest.approx(20 * 16 + 16 * 3 - 40, rel=1e-4)


def test_a_small_lam_leaves_more_than_h_in_a_network_too():
    kernels, _ = train_network(1e-4, 40)
    assert sum(int(k.count_nonzero()) for k in kernels) > 40
