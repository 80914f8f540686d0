r"""The slide "Early exit model", its exit criteria: who may leave, and at what price.

A policy looks at the logits of one exit and says which samples leave. Its thresholds
are chosen on the outputs for **validation** data: every function below that chooses
takes recorded outputs ``(exits, N, classes)`` and their labels, and never a data set.

Teerapittayanon et al. 2016 (entropy), Kaya et al. 2019 (confidence), Zhou et al. 2020
(patience), Huang et al. 2018 (budget).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ece661_sparse.core.arguments import check_count, check_number

State = Tensor | None


class Exits(NamedTuple):
    """What a batch was answered, and where.

    Attributes:
        logits: the answers, ``(N, classes)``.
        exit: how far each sample went, ``(N,)``, counted from 0.
    """

    logits: Tensor
    exit: Tensor


def entropy(y: Tensor) -> Tensor:
    r"""The uncertainty of class probabilities, :math:`-\sum_c y_c \ln y_c`.

    From 0 (one-hot) to :math:`\ln C` (uniform over C classes). The slide, like the
    paper, lost the minus sign.

    Args:
        y: probabilities, ``(..., C)``.
    """
    return torch.special.entr(y).sum(-1)


class Policy(ABC):
    """When a sample leaves.

    A policy that must remember something about the samples that go on returns it as
    ``state``, a tensor with one row for each sample; whoever runs the network drops
    the rows of those that left.
    """

    @abstractmethod
    def leave(self, n: int, logits: Tensor, state: State) -> tuple[Tensor, State]:
        """Who leaves at exit ``n`` (from 0; never the last), and the new state.

        Args:
            n: the exit.
            logits: its outputs for the samples still on their way, ``(N, classes)``.
            state: what :meth:`leave` returned at the exit before; None at the first.
        """

    def answer(self, logits: Tensor, state: State) -> Tensor:
        """What to say for samples that reach the last exit, whose logits are given."""
        return logits


@dataclass(frozen=True)
class EntropyThreshold(Policy):
    r"""BranchyNet: leave where :math:`-\sum_c y_c \ln y_c < T`.

    Args:
        threshold: T, in nats; one number, or one for each exit but the last. At 0
            nobody leaves, above :math:`\ln C` everybody at once.
    """

    threshold: float | Sequence[float]

    def __post_init__(self) -> None:
        _check_thresholds(self.threshold)

    def leave(self, n: int, logits: Tensor, state: State) -> tuple[Tensor, State]:
        return entropy(logits.softmax(1)) < _at(self.threshold, n), None


@dataclass(frozen=True)
class ConfidenceThreshold(Policy):
    r"""Shallow-deep networks: leave where :math:`\max_c y_c \ge T`.

    Args:
        threshold: T; one number, or one for each exit but the last. Above 1 nobody
            leaves, at 0 everybody at once.
        most_confident: where no exit was confident enough, answer with the most
            confident of all instead of the last, as Kaya et al. do.
    """

    threshold: float | Sequence[float]
    most_confident: bool = False

    def __post_init__(self) -> None:
        _check_thresholds(self.threshold)

    def leave(self, n: int, logits: Tensor, state: State) -> tuple[Tensor, State]:
        confident = logits.softmax(1).amax(1) >= _at(self.threshold, n)
        return confident, self.answer(logits, state) if self.most_confident else None

    def answer(self, logits: Tensor, state: State) -> Tensor:
        """Of these logits and the best so far, for each sample the more confident."""
        if state is None:
            return logits
        more = logits.softmax(1).amax(1) >= state.softmax(1).amax(1)
        return torch.where(more[:, None], logits, state)


@dataclass(frozen=True)
class Patience(Policy):
    """PABEE, the slide's "output consistency": leave after ``p + 1`` equal answers.

    Args:
        p: how often in a row an exit must confirm the one before. At 0 everybody
            leaves at once; from the number of exits minus 1 on, nobody leaves early.
    """

    p: int

    def __post_init__(self) -> None:
        check_count("p", self.p)

    def leave(self, n: int, logits: Tensor, state: State) -> tuple[Tensor, State]:
        """The state is each sample's last answer and how often it was confirmed."""
        said = logits.argmax(1)
        confirmed = torch.zeros_like(said)
        if state is not None:
            before, count = state.unbind(1)
            confirmed = torch.where(said == before, count + 1, 0)
        return confirmed >= self.p, torch.stack([said, confirmed], 1)


# --- on recorded outputs ---------------------------------------------------------


def decide(logits: Tensor, policy: Policy) -> Exits:
    """What a policy does with the outputs of all exits: the full computation.

    Args:
        logits: ``(exits, N, classes)``.
        policy: who leaves where.
    """
    *early, last = logits
    answers = torch.empty_like(last)
    exits = torch.full_like(last[:, 0], len(early), dtype=torch.long)
    on_the_way = torch.ones_like(exits, dtype=torch.bool)
    state: State = None
    for n, here in enumerate(early):
        leave, state = policy.leave(n, here, state)
        now = leave & on_the_way
        answers[now], exits[now] = here[now], n
        on_the_way &= ~leave
    answers[on_the_way] = policy.answer(last, state)[on_the_way]
    return Exits(answers, exits)


@dataclass(frozen=True)
class Tradeoff:
    """What a policy gets, and what for.

    Attributes:
        policy: the policy.
        accuracy: percentage of right answers.
        cost: mean cost of a sample, in the unit of the given costs.
        shares: part of the samples that leaves at each exit.
    """

    policy: Policy
    accuracy: float
    cost: float
    shares: tuple[float, ...]


def tradeoff(
    policy: Policy, logits: Tensor, y: Tensor, costs: Sequence[float]
) -> Tradeoff:
    """Accuracy and mean cost of a policy on recorded outputs.

    Args:
        policy: who leaves where.
        logits: ``(exits, N, classes)``.
        y: labels, ``(N,)``.
        costs: of a sample that leaves at each exit.

    Raises:
        ValueError: not one cost for each exit.
    """
    if len(costs) != len(logits):
        raise ValueError(
            f"costs must hold one number for each of the {len(logits)} exits, "
            f"got {len(costs)}"
        )
    answers, exits = decide(logits, policy)
    counts = exits.bincount(minlength=len(logits)).tolist()
    return Tradeoff(
        policy,
        accuracy=100 * int((answers.argmax(1) == y).sum()) / len(y),
        cost=sum(n * c for n, c in zip(counts, costs, strict=True)) / len(y),
        shares=tuple(n / len(y) for n in counts),
    )


# --- chosen on validation outputs ------------------------------------------------


def cheapest_policy(
    candidates: Iterable[Policy],
    logits: Tensor,
    y: Tensor,
    costs: Sequence[float],
    accuracy: float,
) -> Tradeoff:
    """Of the policies that are accurate enough on validation data, the cheapest.

    Args:
        candidates: policies to choose from.
        logits: outputs for validation data, ``(exits, N, classes)``.
        y: their labels, ``(N,)``.
        costs: of a sample that leaves at each exit.
        accuracy: percentage of right answers to reach.

    Raises:
        ValueError: no candidate reaches it.
    """
    tried = [tradeoff(policy, logits, y, costs) for policy in candidates]
    enough = [t for t in tried if t.accuracy >= accuracy]
    if not enough:
        raise ValueError(f"none of {len(tried)} policies has accuracy >= {accuracy:g}")
    return min(enough, key=lambda t: (t.cost, -t.accuracy))


def best_policy(
    candidates: Iterable[Policy],
    logits: Tensor,
    y: Tensor,
    costs: Sequence[float],
    cost: float,
) -> Tradeoff:
    """Of the policies that are cheap enough on validation data, the most accurate.

    Args:
        candidates, logits, y, costs: as in :func:`cheapest_policy`.
        cost: mean cost that may be spent, in the unit of ``costs``.

    Raises:
        ValueError: no candidate is that cheap.
    """
    tried = [tradeoff(policy, logits, y, costs) for policy in candidates]
    enough = [t for t in tried if t.cost <= cost]
    if not enough:
        raise ValueError(f"none of {len(tried)} policies has cost <= {cost:g}")
    return min(enough, key=lambda t: (-t.accuracy, t.cost))


def entropy_candidates(logits: Tensor, n: int = 100) -> list[EntropyThreshold]:
    """Thresholds that make a difference: ``n`` quantiles of the early exits' entropies.

    Args:
        logits: outputs for validation data, ``(exits, N, classes)``.
        n: how many; the first lets nobody leave, the last everybody at once.
    """
    of_early = entropy(logits[:-1].softmax(2)).flatten().double().sort().values
    at = torch.linspace(0, len(of_early) - 1, n - 2).round().long()
    return [EntropyThreshold(t) for t in (0.0, *of_early[at].tolist(), math.inf)]


def budget_shares(p: float, exits: int) -> list[float]:
    r"""MSDNet's exit shares, :math:`q_k \propto (p / 20)^k`, for k = 1 to ``exits``.

    Args:
        p: the budget's knob, above 0: below 20 most leave early, above it late.
        exits: how many there are.

    Source: Huang et al., "Multi-scale dense networks", ICLR 2018, and their code.
    """
    check_number("p", p, above=0)
    weights = [(p / 20) ** k for k in range(1, exits + 1)]
    return [w / sum(weights) for w in weights]


def budget_policy(logits: Tensor, shares: Sequence[float]) -> ConfidenceThreshold:
    """Confidence thresholds at which the wanted share of samples leaves at each exit.

    Exit by exit, the most confident of those still on their way leave. Samples of
    equal confidence leave together, so a share can come out larger than wanted.

    Args:
        logits: outputs for validation data, ``(exits, N, classes)``.
        shares: part of all samples to leave at each exit; they sum to 1.

    Raises:
        ValueError: not one share for each exit, or shares that do not sum to 1.
    """
    if len(shares) != len(logits) or abs(sum(shares) - 1) > 1e-6 or min(shares) < 0:
        raise ValueError(
            f"shares must be {len(logits)} numbers >= 0 that sum to 1, got {shares}"
        )
    confidence = logits.softmax(2).amax(2)
    on_the_way = torch.ones_like(confidence[0], dtype=torch.bool)
    thresholds = []
    for here, share in zip(confidence[:-1], shares[:-1], strict=True):
        waiting = here[on_the_way].sort(descending=True).values
        count = min(round(share * confidence.shape[1]), len(waiting))
        thresholds.append(float(waiting[count - 1]) if count else math.inf)
        on_the_way &= here < thresholds[-1]
    return ConfidenceThreshold(tuple(thresholds))


def _at(threshold: float | Sequence[float], n: int) -> float:
    if not isinstance(threshold, Sequence):
        return threshold
    if n >= len(threshold):
        raise ValueError(
            "threshold must be one number, or one for each exit but the last: at least "
            f"{n + 1}, got {len(threshold)}"
        )
    return threshold[n]


def _check_thresholds(threshold: float | Sequence[float]) -> None:
    """Refuse NaN and negative numbers; infinity stands for always or never."""
    every = threshold if isinstance(threshold, Sequence) else (threshold,)
    if not all(t >= 0 for t in every):
        raise ValueError(f"threshold must be >= 0, got {threshold!r}")
