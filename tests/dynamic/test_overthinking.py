"""Overthinking on outputs small enough to count by hand."""

import pytest
import torch
import torch.nn.functional as F

from ece661_sparse.dynamic import (
    confusion,
    confusion_score,
    destructive,
    exit_accuracy,
    first_right,
    wasteful,
)

Y = torch.tensor([0, 1, 2, 0, 1])
SAID = torch.tensor(
    [
        [0, 2, 0, 0, 0],  # first exit
        [0, 1, 0, 1, 0],  # second
        [0, 1, 2, 1, 0],  # last
    ]
)


def outputs():
    return 4.0 * F.one_hot(SAID, 3)


def test_accuracy_of_each_exit():
    assert exit_accuracy(outputs(), Y) == pytest.approx([40, 40, 60])


def test_first_right():
    assert first_right(outputs(), Y).tolist() == [0, 1, 2, 0, 3]


def test_who_overthinks():
    assert wasteful(outputs(), Y).tolist() == [True, True, False, True, False]
    assert destructive(outputs(), Y).tolist() == [False, False, False, True, False]


def test_confusion_by_hand():
    sure = torch.tensor([50.0, 0, 0])
    other = torch.tensor([0.0, 50, 0])
    logits = torch.stack(
        [
            torch.stack([sure, sure, sure]),
            torch.stack([sure, other, other]),
            torch.stack([sure, sure, other]),
        ]
    )
    # all agree; one of two exits is elsewhere; the first is
    torch.testing.assert_close(confusion(logits), torch.tensor([0.0, 2.0, 2.0]))
    half = torch.zeros(2, 1, 2)
    half[1, 0, 0] = 50
    torch.testing.assert_close(confusion(half), torch.tensor([1.0]))


def test_confusion_score_is_standard_on_the_training_data():
    generator = torch.Generator().manual_seed(0)
    training = torch.randn(4, 200, 5, generator=generator, dtype=torch.float64)
    score = confusion_score(training, training)
    assert float(score.mean()) == pytest.approx(0, abs=1e-12)
    assert float(score.std(correction=0)) == pytest.approx(1)
    some = training[:, :7]
    torch.testing.assert_close(confusion_score(some, training), score[:7])
