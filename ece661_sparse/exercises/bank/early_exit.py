"""Exercises of "Early exit": solutions, then inputs and known mistakes."""

import math
from itertools import pairwise

import torch

from ece661_sparse.exercises.bank.inputs import double
from ece661_sparse.exercises.exercise import Exercise, Mistake


def exit_entropy(y):
    """The slide's sum with its sign; classes without probability add nothing."""
    return -torch.where(y > 0, y * y.log(), 0).sum(-1)


def safe_share(h, early, late, accuracy):
    """Let the most certain leave, one more at a time; the last time it was enough."""
    order = h.argsort()
    early, late = early[order], late[order]
    share = 0.0
    for k in range(len(h) + 1):
        right = int(early[:k].sum() + late[k:].sum())
        if 100 * right >= accuracy * len(h):
            share = k / len(h)
    return share


def break_even_share(first, last):
    """Where share * first + (1 - share) * last is 1, the cost without exits."""
    return (last - 1) / (last - first)


def patient_exit(answers, p):
    """Count confirmations in a row; an answer that differs starts at 0 again."""
    confirmed = 0
    for n, answer in enumerate(answers):
        if n > 0:
            confirmed = confirmed + 1 if answer == answers[n - 1] else 0
        if confirmed >= p:
            return n
    return len(answers) - 1


# --- inputs and known mistakes -------------------------------------------------

_PROBABILITIES = double(
    [[0.7, 0.2, 0.1], [0.25, 0.25, 0.5], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]
)

EXIT_ENTROPY = Exercise(
    exit_entropy,
    chapter="early_exit",
    minutes=5,
    difficulty=1,
    cases=(
        (_PROBABILITIES,),
        (_PROBABILITIES[:2],),
        (double([0.25, 0.25, 0.25, 0.25]),),
    ),
    edges=((double([0.0, 1.0]),), (_PROBABILITIES.view(2, 2, 3),)),
    mistakes=(
        Mistake(
            lambda y: torch.xlogy(y, y).sum(-1),
            "That is the sum as the slide prints it, and it is never positive: "
            "logarithms of probabilities are not. An entropy needs the minus sign.",
        ),
        Mistake(
            lambda y: -(y * y.log()).sum(-1),
            "NaN where a class has probability 0: 0 · ln 0 is NaN for the computer, "
            "and 0 in the formula, since y ln y goes to 0 with y.",
        ),
        Mistake(
            lambda y: torch.special.entr(y).sum(-1) / math.log(2),
            "That is the entropy in bits. The slide, and BranchyNet's thresholds, use "
            "the natural logarithm.",
        ),
        Mistake(
            lambda y: torch.special.entr(y).mean(-1),
            "You average over the classes. The entropy is the sum over them.",
        ),
        Mistake(
            lambda y: torch.special.entr(y).sum(),
            "You sum over the samples as well. Every sample has an entropy of its own: "
            "sum over the last dimension only.",
        ),
    ),
)

_H = double([0.9, 0.1, 0.5, 0.02, 1.4, 0.3, 0.7, 2.0])
_EARLY = torch.tensor([False, True, True, True, False, False, True, False])
_LATE = torch.tensor([True, True, False, True, True, True, False, True])


def _until_the_first_failure(h, early, late, accuracy):
    early, late = early[h.argsort()], late[h.argsort()]
    for k in range(len(h) + 1):
        if 100 * int(early[:k].sum() + late[k:].sum()) < accuracy * len(h):
            return max(k - 1, 0) / len(h)
    return 1.0


def _of_those_who_leave(h, early, late, accuracy):
    right = early[h.argsort()].cumsum(0).tolist()
    enough = [k for k, r in enumerate(right, 1) if 100 * r >= accuracy * k]
    return max(enough, default=0) / len(h)


SAFE_SHARE = Exercise(
    safe_share,
    chapter="early_exit",
    minutes=15,
    difficulty=2,
    cases=(
        (_H, _EARLY, _LATE, 75.0),
        (_H, _EARLY, _LATE, 87.5),
        (_H, _EARLY, _LATE, 60.0),
        (_H, _LATE, _EARLY, 50.0),
    ),
    edges=(
        (_H, _EARLY, _LATE, 100.0),
        (_H, _EARLY, _LATE, 0.0),
        (_H, _EARLY, _EARLY, 50.0),
    ),
    mistakes=(
        Mistake(
            _until_the_first_failure,
            "You stop at the first number of leavers that is not accurate enough. The "
            "accuracy can recover: a sample that only the early exit gets right brings "
            "it up again. Try all numbers and keep the largest that is enough.",
        ),
        Mistake(
            lambda h, *others: safe_share(-h, *others),
            "You send the least certain away first. A low entropy means certain: sort "
            "it in ascending order.",
        ),
        Mistake(
            _of_those_who_leave,
            "You measure the accuracy of those who leave. The target is for all: add "
            "the right answers of those who stay, from the last exit.",
        ),
        Mistake(
            lambda h, *others: safe_share(torch.arange(len(h)), *others),
            "The order is that of the samples, not of their entropy: sort both lists "
            "of right answers by h first.",
        ),
    ),
)

BREAK_EVEN_SHARE = Exercise(
    break_even_share,
    chapter="early_exit",
    minutes=10,
    difficulty=2,
    cases=((0.1, 1.02), (0.3, 1.1), (0.5, 1.4)),
    edges=((0.2, 1.0), (0.0, 1.25)),
    mistakes=(
        Mistake(
            lambda first, last: (last - 1) / last,
            "Leaving early is not free: those who leave pay `first`. Put it into the "
            "average cost, share · first + (1 − share) · last.",
        ),
        Mistake(
            lambda first, last: last - 1,
            "That is what the extra head costs a sample that stays. How many must "
            "leave, each saving last − first, to pay it for all?",
        ),
        Mistake(
            lambda first, last: (last - 1) / (1 - first),
            "A sample that leaves saves last − first, not 1 − first: without leaving "
            "it would have paid for the unused head as well.",
        ),
        Mistake(
            lambda first, last: (1 - first) / (last - first),
            "That is the share that stays at break-even. Which share leaves?",
        ),
    ),
)


def _never_starts_again(answers, p):
    for n in range(len(answers)):
        if sum(a == b for a, b in pairwise(answers[: n + 1])) >= p:
            return n
    return len(answers) - 1


def _agrees_with_the_first(answers, p):
    for n in range(len(answers)):
        if answers[1 : n + 1].count(answers[0]) >= p:
            return n
    return len(answers) - 1


PATIENT_EXIT = Exercise(
    patient_exit,
    chapter="early_exit",
    minutes=10,
    difficulty=2,
    cases=(
        ([3, 3, 5, 3, 3, 3], 2),
        ([3, 5, 5, 8, 8, 8], 1),
        ([1, 7, 1, 1, 7, 7], 1),
        ([4, 4, 4, 4, 4, 4], 3),
    ),
    edges=(([2, 9, 9], 0), ([2, 9, 9], 5), ([0, 1, 0, 1], 1)),
    mistakes=(
        Mistake(
            _never_starts_again,
            "You never start again: confirmations have to come in a row, so an exit "
            "that disagrees with the one before sets the count back to 0.",
        ),
        Mistake(
            lambda answers, p: patient_exit(answers, p - 1),
            "One exit too early. Patience p means p confirmations, that is p + 1 equal "
            "answers in a row; the first of them confirms nothing.",
        ),
        Mistake(
            lambda answers, p: patient_exit(answers, p + 1),
            "One exit too late. p + 1 equal answers in a row are p confirmations: "
            "leave as soon as the count is p.",
        ),
        Mistake(
            _agrees_with_the_first,
            "You compare with the first exit. What counts is whether an exit agrees "
            "with the one just before it.",
        ),
    ),
)

EXERCISES = (BREAK_EVEN_SHARE, EXIT_ENTROPY, SAFE_SHARE, PATIENT_EXIT)
