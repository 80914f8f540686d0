"""The references of the exercises of "Choosing a method" against other ones."""

import math
from statistics import mean, variance

import numpy as np
import pytest
import torch
from answers import right_answers

from ece661_sparse.exercises.bank import choosing_a_method as solutions


def front_by_loop(nonzeros, top1):
    result = []
    for n, accuracy in zip(nonzeros.tolist(), top1.tolist(), strict=True):
        others = zip(nonzeros.tolist(), top1.tolist(), strict=True)
        result.append(
            not any(
                m <= n and other >= accuracy and (m, other) != (n, accuracy)
                for m, other in others
            )
        )
    return torch.tensor(result)


def errors_by_hand(a, b):
    a, b = a.tolist(), b.tolist()
    error = math.sqrt(variance(a) / len(a) + variance(b) / len(b))
    return (mean(a) - mean(b)) / error


def strength_by_numpy(strengths, nonzeros, target):
    x, y = np.log(strengths.numpy()[::-1]), np.log(nonzeros.numpy()[::-1])
    return float(np.exp(np.interp(np.log(target), y, x)))


test_a_right_answer_written_differently = right_answers(
    "choosing_a_method",
    not_dominated=[front_by_loop],
    difference_in_errors=[errors_by_hand],
    strength_for=[strength_by_numpy],
)


def test_the_difference_is_welchs():
    from scipy.stats import ttest_ind

    a, b = torch.tensor([98.5, 98.3, 98.4]), torch.tensor([98.0, 98.2, 97.9, 98.3])
    expected = ttest_ind(a.numpy(), b.numpy(), equal_var=False).statistic
    assert solutions.difference_in_errors(a, b) == pytest.approx(expected, rel=1e-4)
