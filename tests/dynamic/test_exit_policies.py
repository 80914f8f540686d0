"""Policies against loops over single samples; choosing without the test set."""

import inspect
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy

from ece661_sparse.dynamic import (
    ConfidenceThreshold,
    EntropyThreshold,
    Patience,
    best_policy,
    budget_policy,
    budget_shares,
    cheapest_policy,
    decide,
    entropy,
    entropy_candidates,
    tradeoff,
)

EXITS, N, CLASSES = 5, 300, 4
COSTS = [0.1, 0.3, 0.5, 0.8, 1.1]


def recorded(seed=0, spread=2.0):
    """Outputs that get better from exit to exit, as float64, and the labels."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(CLASSES, (N,), generator=generator)
    noise = torch.randn(EXITS, N, CLASSES, generator=generator, dtype=torch.float64)
    signal = F.one_hot(y, CLASSES) * torch.linspace(1, 4, EXITS)[:, None, None]
    return spread * (noise + signal), y


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


# --- entropy ---------------------------------------------------------------------


def test_entropy_has_the_right_sign_and_range():
    one_hot = torch.eye(10)[3]
    assert entropy(one_hot).item() == 0  # and not NaN
    uniform = torch.full((2, 10), 0.1)
    torch.testing.assert_close(entropy(uniform), torch.full((2,), math.log(10)))
    y = torch.rand(7, 10, dtype=torch.float64)
    y /= y.sum(1, keepdim=True)
    torch.testing.assert_close(
        entropy(y), torch.from_numpy(scipy_entropy(y.numpy(), axis=1))
    )


def test_branchynets_threshold_as_a_confidence():
    """T = 0.025 is p_max = 0.99725 if the other nine classes share the rest."""
    p = 0.99725
    y = torch.tensor([p] + [(1 - p) / 9] * 9, dtype=torch.float64)
    assert entropy(y).item() == pytest.approx(0.025, abs=2e-4)


# --- every policy, sample by sample ----------------------------------------------


def first(outputs, leaves):
    """The first exit that a sample leaves at, and what is said there."""
    early = (n for n, z in enumerate(outputs[:-1]) if leaves(n, z))
    n = next(early, len(outputs) - 1)
    return n, outputs[n]


def by_entropy(outputs, thresholds):
    return first(outputs, lambda n, z: scipy_entropy(softmax(z)) < thresholds[n])


def by_confidence(outputs, thresholds):
    return first(outputs, lambda n, z: softmax(z).max() >= thresholds[n])


def by_confidence_or_the_best(outputs, threshold):
    n, z = by_confidence(outputs, [threshold] * 4)
    best = max(outputs, key=lambda z: softmax(z).max())
    return n, z if n < len(outputs) - 1 else best


def by_patience(outputs, p):
    """p + 1 classifiers in a row say the same."""
    said = [z.argmax() for z in outputs]
    return first(outputs, lambda n, z: n >= p and len(set(said[n - p : n + 1])) == 1)


T = (0.3, 0.2, 0.4, 0.1)
C = (0.9, 0.8, 0.95, 0.7)
CASES = [
    (EntropyThreshold(T), lambda o: by_entropy(o, T)),
    (EntropyThreshold(0.3), lambda o: by_entropy(o, [0.3] * 4)),
    (ConfidenceThreshold(C), lambda o: by_confidence(o, C)),
    (ConfidenceThreshold(0.99, True), lambda o: by_confidence_or_the_best(o, 0.99)),
    *((Patience(p), lambda o, p=p: by_patience(o, p)) for p in range(6)),
]


@pytest.mark.parametrize(
    ("policy", "loop"), CASES, ids=lambda c: "" if callable(c) else repr(c)
)
def test_decide_is_the_loop_over_samples(policy, loop):
    logits, _ = recorded()
    found = decide(logits, policy)
    for i in range(N):
        exit, answer = loop(list(logits[:, i].numpy()))
        assert found.exit[i].item() == exit
        np.testing.assert_array_equal(found.logits[i].numpy(), answer)


def test_policies_refuse():
    for make, wrong in (
        (EntropyThreshold, -0.1),
        (EntropyThreshold, math.nan),
        (ConfidenceThreshold, (0.5, -1.0)),
        (Patience, -1),
        (Patience, 1.5),
    ):
        with pytest.raises(ValueError, match=r"(threshold|p) must be"):
            make(wrong)


# --- what a policy costs ---------------------------------------------------------


def test_tradeoff_by_hand():
    logits = torch.tensor([[[9.0, 0], [1, 1.1], [0, 9]], [[9, 0], [0, 9], [9, 0]]])
    y = torch.tensor([0, 0, 0])
    got = tradeoff(ConfidenceThreshold(0.9), logits, y, [1.0, 4.0])
    assert got.shares == pytest.approx((2 / 3, 1 / 3))
    assert got.cost == pytest.approx((1 + 4 + 1) / 3)
    assert got.accuracy == pytest.approx(100 / 3)
    with pytest.raises(ValueError, match="each of the 2 exits, got 3"):
        tradeoff(Patience(1), logits, y, [1.0, 2.0, 3.0])


# --- choosing --------------------------------------------------------------------

CHOOSERS = (cheapest_policy, best_policy, budget_policy, entropy_candidates)


@pytest.mark.parametrize("choose", CHOOSERS)
def test_what_chooses_takes_recorded_outputs_and_no_data_set(choose):
    """No model, images or data set can come in, so no test set can."""
    allowed = {"candidates", "logits", "y", "costs", "accuracy", "cost", "shares", "n"}
    assert set(inspect.signature(choose).parameters) <= allowed


@pytest.mark.parametrize("accuracy", [80.0, 90.0, 97.0])
def test_cheapest_policy_by_search(accuracy):
    logits, y = recorded()
    candidates = [*entropy_candidates(logits), *(Patience(p) for p in range(5))]
    chosen = cheapest_policy(candidates, logits, y, COSTS, accuracy)
    assert chosen.accuracy >= accuracy
    every = [tradeoff(policy, logits, y, COSTS) for policy in candidates]
    assert chosen.cost == min(t.cost for t in every if t.accuracy >= accuracy)


@pytest.mark.parametrize("cost", [0.2, 0.45, 0.9])
def test_best_policy_by_search(cost):
    logits, y = recorded()
    candidates = entropy_candidates(logits)
    chosen = best_policy(candidates, logits, y, COSTS, cost)
    assert chosen.cost <= cost
    every = [tradeoff(policy, logits, y, COSTS) for policy in candidates]
    assert chosen.accuracy == max(t.accuracy for t in every if t.cost <= cost)


def test_impossible_targets_are_refused():
    logits, y = recorded()
    with pytest.raises(ValueError, match=r"accuracy >= 100\.5"):
        cheapest_policy(entropy_candidates(logits), logits, y, COSTS, 100.5)
    with pytest.raises(ValueError, match=r"cost <= 0\.05"):
        best_policy(entropy_candidates(logits), logits, y, COSTS, 0.05)


def test_candidates_reach_from_nobody_to_everybody():
    logits, y = recorded()
    candidates = entropy_candidates(logits, 50)
    assert len(candidates) == 50
    costs = [tradeoff(policy, logits, y, COSTS).cost for policy in candidates]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] == pytest.approx(COSTS[-1])
    assert costs[-1] == pytest.approx(COSTS[0])
    assert len(set(costs)) > 40


# --- budget ----------------------------------------------------------------------


def test_budget_shares_are_geometric():
    assert budget_shares(20, 4) == pytest.approx([0.25] * 4)
    assert budget_shares(10, 3) == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    assert budget_shares(40, 2) == pytest.approx([1 / 3, 2 / 3])
    with pytest.raises(ValueError, match="p must be"):
        budget_shares(0, 3)


@given(st.integers(1, 60), st.integers(0, 5))
def test_budget_policy_lets_the_wanted_shares_go(p, seed):
    logits, y = recorded(seed, spread=0.7)  # no two samples are equally confident
    wanted = budget_shares(p, EXITS)
    got = tradeoff(budget_policy(logits, wanted), logits, y, COSTS)
    assert got.shares == pytest.approx(wanted, abs=EXITS / N)


def test_budget_of_nothing_and_of_everything():
    logits, y = recorded()
    for shares in ([0.0, 0, 0, 0, 1], [1.0, 0, 0, 0, 0], [0.0, 0.5, 0, 0.5, 0]):
        got = tradeoff(budget_policy(logits, shares), logits, y, COSTS)
        assert got.shares == pytest.approx(shares, abs=1 / N)


def test_equal_confidences_leave_together():
    logits = torch.zeros(2, 10, 3)
    logits[0, :6, 0] = 5
    policy = budget_policy(logits, [0.3, 0.7])
    assert (decide(logits, policy).exit == 0).sum() == 6


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.5] * 5, [1.5, -0.5, 0, 0, 0]])
def test_budget_policy_refuses(shares):
    logits, _ = recorded()
    with pytest.raises(ValueError, match="5 numbers >= 0 that sum to 1"):
        budget_policy(logits, shares)
