"""The references of the exercises on early exit against independent ones."""

import math
from itertools import groupby, product

import pytest
import torch
from answers import right_answers
from scipy.stats import entropy as scipy_entropy

from ece661_sparse.dynamic import (
    EntropyThreshold,
    Patience,
    decide,
    entropy_candidates,
    exit_costs,
    tradeoff,
)
from ece661_sparse.exercises.bank import early_exit as solutions
from ece661_sparse.models import BranchyLeNet


def by_cumulative_sums(h, early, late, accuracy):
    order = h.sort().indices
    zero = torch.zeros(1, dtype=torch.long)
    left = torch.cat([zero, early[order].long().cumsum(0)])
    stayed = late.sum() - torch.cat([zero, late[order].long().cumsum(0)])
    enough = ((left + stayed) / len(h) >= accuracy / 100 - 1e-12).nonzero()
    return int(enough.max()) / len(h) if len(enough) else 0.0


def by_groups(answers, p):
    start = 0
    for _, group in groupby(answers):
        length = len(list(group))
        if length > p:
            return start + p
        start += length
    return len(answers) - 1


test_a_right_answer_written_differently = right_answers(
    "early_exit",
    exit_entropy=[lambda y: torch.special.entr(y).sum(-1)],
    safe_share=[by_cumulative_sums],
    break_even_share=[lambda first, last: 1 - (1 - first) / (last - first)],
    patient_exit=[by_groups],
)


def test_exit_entropy_is_scipys():
    y = torch.rand(50, 7, dtype=torch.float64)
    y[:10, 3] = 0
    y /= y.sum(1, keepdim=True)
    expected = torch.from_numpy(scipy_entropy(y.numpy(), axis=1))
    torch.testing.assert_close(solutions.exit_entropy(y), expected)
    assert solutions.exit_entropy(torch.full((10,), 0.1)).item() == pytest.approx(
        math.log(10)
    )


@pytest.mark.parametrize("accuracy", [50.0, 65.0, 80.0])
def test_safe_share_is_what_the_best_threshold_lets_go(accuracy):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 60, 3, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (60,), generator=generator)
    logits += torch.tensor([1.0, 2.0]).view(2, 1, 1) * torch.eye(3)[y]
    h = solutions.exit_entropy(logits[0].softmax(1))
    early, late = logits.argmax(2) == y
    shares = [
        t.shares[0]
        for threshold in [*h.tolist(), 2.0]  # below each sample, and below nobody
        if (t := tradeoff(EntropyThreshold(threshold), logits, y, [0.1, 1.0])).accuracy
        >= accuracy - 1e-9
    ]
    assert shares
    assert solutions.safe_share(h, early, late, accuracy) == pytest.approx(max(shares))
    assert entropy_candidates(logits)


def test_break_even_share_is_where_the_mean_cost_is_the_trunks():
    costs = exit_costs(BranchyLeNet(), torch.zeros(1, 1, 28, 28)).shares
    for first, last in (costs, (0.3, 1.1)):
        share = solutions.break_even_share(first, last)
        assert share * first + (1 - share) * last == pytest.approx(1)
        assert 0 < share < 1


@pytest.mark.parametrize("p", range(5))
def test_patient_exit_is_the_packages_patience(p):
    every = torch.tensor(list(product(range(3), repeat=4)))
    logits = torch.nn.functional.one_hot(every.T, 3).double()
    exits = decide(logits, Patience(p)).exit
    for answers, exit in zip(every.tolist(), exits.tolist(), strict=True):
        assert solutions.patient_exit(answers, p) == exit
