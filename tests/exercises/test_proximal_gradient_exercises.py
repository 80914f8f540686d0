"""The references of the exercises of "Proximal gradient" against independent ones."""

from itertools import combinations

import numpy as np
import pytest
import torch
from answers import EXERCISES, INPUTS, assert_minimises, right_answers
from sklearn.linear_model import Lasso, lasso_path

from ece661_sparse.exercises.bank import proximal_gradient as solutions
from ece661_sparse.exercises.bank.inputs import double
from ece661_sparse.exercises.verdict import judge
from ece661_sparse.proximal import project_top_n, prox_l1


def soft_by_loop(x, threshold):
    result = x.clone()
    for i, value in enumerate(x.flatten().tolist()):
        size = max(abs(value) - threshold, 0.0)
        result.view(-1)[i] = size if value > 0 else -size
    return result


def step_by_clamping(theta, grad, step, lam):
    moved = theta - step * grad
    bound = step * lam
    return moved - moved.clamp(-bound, bound)


def top_n_where_the_last_tie_wins(x, n):
    keep = sorted(range(x.numel()), key=lambda i: (-abs(x.flatten()[i]), -i))[:n]
    result = torch.zeros_like(x).flatten()
    result[keep] = x.flatten()[keep]
    return result.reshape(x.shape)


test_a_right_answer_written_differently = right_answers(
    "proximal_gradient",
    soft_threshold=[soft_by_loop, torch.nn.functional.softshrink],
    proximal_step=[step_by_clamping],
    keep_top_n=[top_n_where_the_last_tie_wins],
    smallest_silencing_lam=[
        lambda X, y: float(torch.linalg.vector_norm(X.T @ y, ord=float("inf")))
    ],
)


def test_a_mistake_is_named_whatever_its_convention_at_the_knot():
    exercise = EXERCISES["soft_threshold"]

    def hard(x, threshold):
        return torch.where(x.abs() >= threshold, x, 0)  # the mistake has >

    assert judge(exercise, hard).message == exercise.mistakes[0].message


@pytest.mark.parametrize(
    "answer",
    [
        lambda x, n: solutions.keep_top_n(x, max(n - 1, 0)),
        lambda x, n: solutions.keep_top_n(x, n).abs(),
        lambda x, n: solutions.keep_top_n(x, n).roll(1),
        lambda x, n: 2 * solutions.keep_top_n(x, n),
    ],
)
def test_keeping_fewer_or_other_entries_is_not_a_tie(answer):
    assert judge(EXERCISES["keep_top_n"], answer).state == "not yet"


@pytest.mark.parametrize("threshold", [0.0, 0.4, 1.3])
def test_soft_threshold_minimises_its_objective(threshold):
    x = torch.from_numpy(INPUTS)
    result = solutions.soft_threshold(x, threshold)
    assert_minimises(result, lambda z, x: threshold * np.abs(z) + (z - x) ** 2 / 2)
    torch.testing.assert_close(result, prox_l1(x, threshold))


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
@pytest.mark.parametrize("x", [[1, -2, 2, 0.5, -2, 3], [0.3, -0.1, 0, 2, -2, 0.7]])
def test_keep_top_n_is_the_nearest_of_all_subsets(x, n):
    x = double(x)
    result = solutions.keep_top_n(x, n)
    assert int((result != 0).sum()) <= n
    nearest = min(float(x[list(cut)].norm()) for cut in combinations(range(6), 6 - n))
    assert float((result - x).norm()) == pytest.approx(nearest)
    torch.testing.assert_close(result, project_top_n(x, n))


def test_smallest_silencing_lam_is_where_sklearns_path_starts():
    generator = np.random.default_rng(1)
    X, y = generator.normal(size=(20, 5)), generator.normal(size=20)
    found = solutions.smallest_silencing_lam(torch.from_numpy(X), torch.from_numpy(y))
    lam = float(found)
    alphas, _, _ = lasso_path(X, y)
    assert lam == pytest.approx(20 * alphas[0])
    for factor, silent in ((1.001, True), (0.999, False)):
        lasso = Lasso(alpha=factor * lam / 20, fit_intercept=False, tol=1e-12)
        lasso.fit(X, y)
        assert (not lasso.coef_.any()) == silent
