"""The references of the exercises of Part I against independent ones."""

from itertools import combinations

import numpy as np
import pytest
import torch
from answers import assert_correct, each_answer, exercises_of
from scipy.optimize import LinearConstraint, minimize
from sklearn.linear_model import Lasso, lasso_path

import ece661_sparse.proximal as package
from ece661_sparse.exercises import proximal as solutions
from ece661_sparse.exercises.checker import _verdict


def vector(*entries):
    return torch.tensor(entries, dtype=torch.float64)


def loop_soft(x, threshold):
    result = x.clone()
    for i, value in enumerate(x.flatten().tolist()):
        size = max(abs(value) - threshold, 0.0)
        result.view(-1)[i] = size if value > 0 else -size
    return result


def step_of_slide(theta, grad, step, lam):
    moved = theta - step * grad
    bound = step * lam
    return moved - moved.clamp(-bound, bound)


def top_n_last_tie_wins(x, n):
    keep = sorted(range(x.numel()), key=lambda i: (-abs(x.flatten()[i]), -i))[:n]
    result = torch.zeros_like(x).flatten()
    result[keep] = x.flatten()[keep]
    return result.reshape(x.shape)


def silencing_by_norm(X, y):
    return float(torch.linalg.vector_norm(X.T @ y, ord=float("inf")))


def scad_by_masks(x, lam, a=3.7):
    result, size = x.clone(), x.abs()
    low, middle = size < 2 * lam, (size >= 2 * lam) & (size < a * lam)
    result[low] = torch.nn.functional.softshrink(x[low], lam)
    result[middle] = ((a - 1) * x - x.sign() * a * lam)[middle] / (a - 2)
    return result


def mcp_by_firm(x, lam, gamma, step):
    size = gamma * (x.abs() - step * lam) / (gamma - step)
    return torch.copysign(torch.minimum(size.clamp(min=0), x.abs()), x)


def tau_in_one_line(lam, q):
    return (2 - q) / (2 - 2 * q) * (2 * lam * (1 - q)) ** (1 / (2 - q))


def unbiased_by_names(penalty):
    name, lam = type(penalty).__name__, penalty.lam
    return {
        "L0": lambda: np.sqrt(2 * lam),
        "L1": lambda: np.inf,
        "SCAD": lambda: penalty.a * lam,
        "MCP": lambda: penalty.gamma * lam,
        "Firm": lambda: penalty.mu,
    }[name]()


def box_by_breakpoints(z, total):
    knots = torch.cat([z, z - 1]).sort().values
    sums = (z - knots[:, None]).clamp(0, 1).sum(1)
    after = int((sums > total).sum())
    if after == 0:
        return (z - knots[0]).clamp(0, 1)
    left, right = knots[after - 1], knots[after]
    share = (sums[after - 1] - total) / (sums[after - 1] - sums[after])
    return (z - (left + share * (right - left))).clamp(0, 1)


def trimmed_by_topk(x, lam, h):
    result = torch.nn.functional.softshrink(x, lam)
    free = x.abs().flip(0).topk(h).indices  # flipped: the last of two ties is free
    free = len(x) - 1 - free
    result[free] = x[free]
    return result


def gates_by_breakpoints(w, theta, tau, h):
    return box_by_breakpoints(w - tau * theta.abs(), w.numel() - h)


def lam_by_sorted(h, c):
    return [*sorted((abs(v) for v in c.tolist()), reverse=True), 0][h]


ALTERNATIVES = {
    "soft_threshold": [loop_soft, torch.nn.functional.softshrink],
    "proximal_step": [step_of_slide],
    "keep_top_n": [top_n_last_tie_wins],
    "smallest_silencing_lam": [silencing_by_norm],
    "scad_prox": [scad_by_masks],
    "mcp_prox_with_step": [mcp_by_firm],
    "lq_threshold": [tau_in_one_line],
    "unbiased_from": [unbiased_by_names],
    "project_box_simplex": [box_by_breakpoints],
    "trimmed_prox": [trimmed_by_topk],
    "gate_step": [gates_by_breakpoints],
    "lam_for_at_most": [lam_by_sorted],
}


@each_answer(ALTERNATIVES, "proximal_gradient", "beyond_l1", "trimmed_l1")
def test_a_right_answer_written_differently_is_accepted(exercise, answer):
    assert_correct(exercise, answer)


def test_a_mistake_is_named_whatever_its_convention_at_the_knot():
    exercise = exercises_of("proximal_gradient")["soft_threshold"]

    def hard(x, threshold):
        return torch.where(x.abs() >= threshold, x, 0)  # the mistake has >

    assert _verdict(exercise, hard).message == exercise.mistakes[0].message


def test_keeping_fewer_or_other_entries_is_not_a_tie():
    exercise = exercises_of("proximal_gradient")["keep_top_n"]
    for answer in (
        lambda x, n: solutions.keep_top_n(x, max(n - 1, 0)),
        lambda x, n: solutions.keep_top_n(x, n).abs(),
        lambda x, n: solutions.keep_top_n(x, n).roll(1),
        lambda x, n: 2 * solutions.keep_top_n(x, n),
    ):
        assert _verdict(exercise, answer).state == "not yet"


# --- the references against something independent --------------------------------

INPUTS = np.array([-6.3, -2.1, -1.0, -0.55, -0.01, 0.0, 0.3, 0.9, 1.7, 2.6, 4.4])
GRID = np.linspace(-8, 8, 160_001)


def assert_minimises(result, objective):
    """No grid point beats the result, for any input."""
    for x, z in zip(INPUTS, result.numpy(), strict=True):
        assert objective(z, x) <= objective(GRID, x).min() + 1e-9


@pytest.mark.parametrize("threshold", [0.0, 0.4, 1.3])
def test_soft_threshold_minimises_its_objective(threshold):
    result = solutions.soft_threshold(torch.from_numpy(INPUTS), threshold)
    assert_minimises(result, lambda z, x: threshold * np.abs(z) + (z - x) ** 2 / 2)
    torch.testing.assert_close(
        result, package.prox_l1(torch.from_numpy(INPUTS), threshold)
    )


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_proximal_step_converges_to_the_lasso_of_sklearn_for_any_step(share):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(30, 8, generator=generator, dtype=torch.float64)
    y = torch.randn(30, generator=generator, dtype=torch.float64)
    lam = 4.0
    lasso = Lasso(alpha=lam / 30, fit_intercept=False, tol=1e-14, max_iter=100_000)
    expected = torch.from_numpy(lasso.fit(X.numpy(), y.numpy()).coef_)
    assert 0 < int((expected == 0).sum()) < 8

    theta = torch.zeros(8, dtype=torch.float64)
    step = share / float(torch.linalg.matrix_norm(X, 2)) ** 2
    for _ in range(2000):
        theta = solutions.proximal_step(theta, X.T @ (X @ theta - y), step, lam)
    torch.testing.assert_close(theta, expected, rtol=1e-6, atol=1e-8)
    assert torch.equal(theta == 0, expected == 0)


@pytest.mark.parametrize("n", range(7))
def test_keep_top_n_is_the_nearest_of_all_subsets(n):
    for x in (vector(1, -2, 2, 0.5, -2, 3), vector(0.3, -0.1, 0, 2, -2, 0.7)):
        result = solutions.keep_top_n(x, n)
        assert int((result != 0).sum()) <= n
        distances = []
        for kept in combinations(range(6), n):
            candidate = torch.zeros(6, dtype=torch.float64)
            candidate[list(kept)] = x[list(kept)]
            distances.append(float((candidate - x).norm()))
        assert float((result - x).norm()) == pytest.approx(min(distances))
        torch.testing.assert_close(result, package.project_top_n(x, n))


def test_smallest_silencing_lam_is_where_sklearns_path_starts():
    generator = np.random.default_rng(1)
    X, y = generator.normal(size=(20, 5)), generator.normal(size=20)
    lam = float(
        solutions.smallest_silencing_lam(torch.from_numpy(X), torch.from_numpy(y))
    )
    alphas, _, _ = lasso_path(X, y)
    assert lam == pytest.approx(20 * alphas[0])
    for factor, silent in ((1.001, True), (0.999, False)):
        lasso = Lasso(alpha=factor * lam / 20, fit_intercept=False, tol=1e-12)
        lasso.fit(X, y)
        assert (not lasso.coef_.any()) == silent


@pytest.mark.parametrize(("lam", "a"), [(1.0, 3.7), (0.4, 2.5), (0.9, 6.0)])
def test_scad_prox_minimises_the_penalty_of_the_slide(lam, a):
    def penalty(z):
        z = np.abs(z)
        middle = (2 * a * lam * z - z**2 - lam**2) / (2 * (a - 1))
        flat = (a + 1) * lam**2 / 2
        return np.where(z < lam, lam * z, np.where(z < a * lam, middle, flat))

    result = solutions.scad_prox(torch.from_numpy(INPUTS), lam, a)
    assert_minimises(result, lambda z, x: penalty(z) + (z - x) ** 2 / 2)
    torch.testing.assert_close(
        result, package.prox_scad(torch.from_numpy(INPUTS), lam, a)
    )


@pytest.mark.parametrize("step", [0.1, 0.5, 1.0, 1.5])
@pytest.mark.parametrize(("lam", "gamma"), [(1.0, 2.0), (0.5, 4.0)])
def test_mcp_prox_with_step_minimises_step_times_the_integral(lam, gamma, step):
    knots = np.linspace(0, 8, 80_001)
    slope = lam * np.maximum(1 - knots / (gamma * lam), 0)
    area = np.concatenate([[0], np.cumsum((slope[1:] + slope[:-1]) / 2)]) * 1e-4

    def objective(z, x):
        return step * np.interp(np.abs(z), knots, area) + (z - x) ** 2 / 2

    result = solutions.mcp_prox_with_step(torch.from_numpy(INPUTS), lam, gamma, step)
    for x, z in zip(INPUTS, result.numpy(), strict=True):
        assert objective(z, x) <= objective(GRID, x).min() + 1e-6
    torch.testing.assert_close(
        result, package.prox_mcp(torch.from_numpy(INPUTS), lam, gamma, step)
    )


@pytest.mark.parametrize("lam", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("q", [0.25, 0.5, 2 / 3, 0.9])
def test_lq_threshold_is_where_zero_stops_being_the_minimum(lam, q):
    tau = float(solutions.lq_threshold(lam, q))
    z = np.linspace(0, 8, 800_001)
    for t, stays in ((0.999 * tau, True), (1.001 * tau, False)):
        best = z[np.argmin(lam * z**q + (z - t) ** 2 / 2)]
        assert (best == 0) == stays
    if q == 0.5:
        assert tau == pytest.approx(1.5 * lam ** (2 / 3))
    if q == 2 / 3:
        assert tau == pytest.approx(2 * (2 * lam / 3) ** 0.75)


@pytest.mark.parametrize(
    "penalty",
    [
        package.L0(0.5),
        package.L0(0.1),
        package.MCP(0.5, 3.0),
        package.MCP(1.2, 1.5),
        package.SCAD(0.5, 3.7),
        package.SCAD(1.2, 2.5),
        package.Firm(0.5, 2.0),
    ],
    ids=repr,
)
def test_unbiased_from_is_where_the_operator_starts_to_return_its_input(penalty):
    size = float(solutions.unbiased_from(penalty))
    beyond = vector(1.001 * size, -1.5 * size, 40 * size)
    torch.testing.assert_close(penalty.prox(beyond), beyond)
    below = vector(0.99 * size, -0.99 * size)
    assert ((penalty.prox(below) - below).abs() > 1e-4 * size).all()


def test_l1_is_never_unbiased():
    assert solutions.unbiased_from(package.L1(0.5)) == float("inf")
    assert package.L1(0.5).prox(vector(1e6)) == 1e6 - 0.5


def nearest_in_box(z, total):
    """The projection by a general solver that knows nothing of its structure."""
    p = len(z)
    solved = minimize(
        lambda w: ((w - z) ** 2).sum() / 2,
        np.full(p, total / p),
        jac=lambda w: w - z,
        method="SLSQP",
        bounds=[(0, 1)] * p,
        constraints=LinearConstraint(np.ones(p), total, total),
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert solved.success
    return torch.from_numpy(solved.x)


@pytest.mark.parametrize("total", [0.5, 2.0, 3.3, 5.5])
@pytest.mark.parametrize("seed", range(3))
def test_project_box_simplex_agrees_with_a_general_solver(total, seed):
    generator = torch.Generator().manual_seed(seed)
    z = 1.5 * torch.randn(6, generator=generator, dtype=torch.float64)
    result = solutions.project_box_simplex(z, total)
    torch.testing.assert_close(
        result, nearest_in_box(z.numpy(), total), rtol=0, atol=1e-6
    )
    torch.testing.assert_close(
        result, package.project_capped_simplex(z, total), rtol=0, atol=1e-7
    )


@pytest.mark.parametrize("lam", [0.2, 0.8, 1.6])
@pytest.mark.parametrize("h", range(6))
def test_trimmed_prox_is_the_best_of_all_subsets(lam, h):
    x = vector(1.4, -2.0, 0.3, 0.9, -1.1)
    candidates = []
    for free in combinations(range(5), h):
        w = torch.ones(5, dtype=torch.float64)
        w[list(free)] = 0
        z = torch.from_numpy(
            np.array(
                [
                    GRID[np.argmin(lam * wi * abs(GRID) + (GRID - xi) ** 2 / 2)]
                    for wi, xi in zip(w.numpy(), x.numpy(), strict=True)
                ]
            )
        )
        cost = float((lam * w * z.abs() + (z - x) ** 2 / 2).sum())
        candidates.append((cost, z))
    _, best = min(candidates, key=lambda pair: pair[0])
    result = solutions.trimmed_prox(x, lam, h)
    torch.testing.assert_close(result, best, rtol=0, atol=1e-4)


@pytest.mark.parametrize("h", [1, 2, 4])
@pytest.mark.parametrize("tau", [0.1, 0.7, 5.0])
def test_gate_step_is_a_descent_step_and_a_projection(h, tau):
    w, theta = torch.full((6,), (6 - h) / 6).double(), vector(2, -0.3, 0.8, -1.5, 0, 1)
    result = solutions.gate_step(w, theta, tau, h)
    expected = nearest_in_box((w - tau * theta.abs()).numpy(), 6 - h)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)
    assert float((result * theta.abs()).sum()) <= float((w * theta.abs()).sum()) + 1e-9


@pytest.mark.parametrize("h", range(6))
def test_lam_for_at_most_is_the_smallest_that_bounds_the_nonzeros(h):
    c = vector(1.4, -2.0, 0.3, 0.9, -1.1)
    lam = float(solutions.lam_for_at_most(h, c))

    def nonzeros(lam):
        """Of the best of all trimmed solutions, subset by subset."""
        best = (float("inf"), 0)
        for free in combinations(range(5), h):
            z = c.sign() * (c.abs() - lam).clamp(min=0)
            z[list(free)] = c[list(free)]
            paid = [j for j in range(5) if j not in free]
            cost = float(((z - c) ** 2).sum() / 2 + lam * z[paid].abs().sum())
            best = min(best, (cost, int((z != 0).sum())))
        return best[1]

    assert nonzeros(lam + 1e-9) <= h
    if h < 5:
        assert nonzeros(lam - 1e-6) > h
    else:
        assert lam == 0
