"""The references of the exercises of "Trimmed ℓ1" against independent ones."""

from itertools import combinations

import numpy as np
import pytest
import torch
from answers import GRID, right_answers
from scipy.optimize import LinearConstraint, minimize

from ece661_sparse.exercises.bank import trimmed_l1 as solutions
from ece661_sparse.exercises.bank.inputs import double
from ece661_sparse.proximal import project_capped_simplex


def box_by_breakpoints(z, total):
    knots = torch.cat([z, z - 1]).sort().values
    sums = (z - knots[:, None]).clamp(0, 1).sum(1)
    after = int((sums > total).sum())
    if after == 0:
        return (z - knots[0]).clamp(0, 1)
    left, right = knots[after - 1], knots[after]
    share = (sums[after - 1] - total) / (sums[after - 1] - sums[after])
    return (z - (left + share * (right - left))).clamp(0, 1)


def gates_by_breakpoints(w, theta, tau, h):
    return box_by_breakpoints(w - tau * theta.abs(), w.numel() - h)


def trimmed_by_topk(x, lam, h):
    result = torch.nn.functional.softshrink(x, lam)
    free = x.abs().flip(0).topk(h).indices  # flipped: the last of two ties is free
    free = len(x) - 1 - free
    result[free] = x[free]
    return result


test_a_right_answer_written_differently = right_answers(
    "trimmed_l1",
    project_box_simplex=[box_by_breakpoints],
    trimmed_prox=[trimmed_by_topk],
    gate_step=[gates_by_breakpoints],
    lam_for_at_most=[lambda h, c: [*c.abs().sort(descending=True)[0].tolist(), 0][h]],
)


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
    for expected, atol in (
        (nearest_in_box(z.numpy(), total), 1e-6),
        (project_capped_simplex(z, total), 1e-7),
    ):
        torch.testing.assert_close(result, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("h", [1, 2, 4])
@pytest.mark.parametrize("tau", [0.1, 0.7, 5.0])
def test_gate_step_is_a_descent_step_and_a_projection(h, tau):
    w, theta = (
        torch.full((6,), (6 - h) / 6).double(),
        double([2, -0.3, 0.8, -1.5, 0, 1]),
    )
    result = solutions.gate_step(w, theta, tau, h)
    expected = nearest_in_box((w - tau * theta.abs()).numpy(), 6 - h)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)
    assert float((result * theta.abs()).sum()) <= float((w * theta.abs()).sum()) + 1e-9


SIZES = double([1.4, -2.0, 0.3, 0.9, -1.1])


@pytest.mark.parametrize("lam", [0.2, 0.8, 1.6])
@pytest.mark.parametrize("h", range(6))
def test_trimmed_prox_is_the_best_of_all_subsets(lam, h):
    candidates = []
    for free in combinations(range(5), h):
        w = np.array([0.0 if j in free else 1.0 for j in range(5)])
        costs = [
            lam * wj * abs(GRID) + (GRID - xj) ** 2 / 2
            for wj, xj in zip(w, SIZES.tolist(), strict=True)
        ]
        z = GRID[np.argmin(costs, axis=1)]
        candidates.append((np.min(costs, axis=1).sum(), torch.from_numpy(z)))
    _, best = min(candidates, key=lambda pair: pair[0])
    result = solutions.trimmed_prox(SIZES, lam, h)
    torch.testing.assert_close(result, best, rtol=0, atol=1e-4)


@pytest.mark.parametrize("h", range(6))
def test_lam_for_at_most_is_the_smallest_that_bounds_the_nonzeros(h):
    def nonzeros(lam):
        """Of the best of all trimmed solutions, subset by subset."""
        best = (float("inf"), 0)
        for free in combinations(range(5), h):
            z = SIZES.sign() * (SIZES.abs() - lam).clamp(min=0)
            z[list(free)] = SIZES[list(free)]
            paid = [j for j in range(5) if j not in free]
            cost = float(((z - SIZES) ** 2).sum() / 2 + lam * z[paid].abs().sum())
            best = min(best, (cost, int((z != 0).sum())))
        return best[1]

    lam = float(solutions.lam_for_at_most(h, SIZES))
    assert nonzeros(lam + 1e-9) <= h
    if h < 5:
        assert nonzeros(lam - 1e-6) > h
    else:
        assert lam == 0
