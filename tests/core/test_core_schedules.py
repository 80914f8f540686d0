"""Numbers as functions of the time; what all schedules do is in ``contracts``."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD

from ece661_sparse.core import Schedule, geometric, linear


@pytest.mark.parametrize(
    ("ramp", "expected"),
    [
        (geometric(1, 16, 4), [1, 2, 4, 8, 16, 16, 16]),
        (geometric(100, 1, 2), [100, 10, 1, 1, 1, 1, 1]),
        (linear(0, 2, 4), [0, 0.5, 1, 1.5, 2, 2, 2]),
        (linear(1, -1, 2.5), [1, 0.2, -0.6, -1, -1, -1, -1]),
        (linear(3, 3, 1), [3] * 7),
    ],
)
def test_from_the_start_to_the_end_and_then_the_end(ramp, expected):
    assert [ramp(t) for t in range(7)] == pytest.approx(expected)
    again = pickle.loads(pickle.dumps(ramp))
    assert [again(t) for t in range(7)] == [ramp(t) for t in range(7)]


@pytest.mark.parametrize(
    ("make", "wrong", "name"),
    [
        (geometric, (0, 2, 5), "start"),
        (geometric, (1, -2, 5), "end"),
        (geometric, (1, 2, 0), "steps"),
        (linear, (float("nan"), 2, 5), "start"),
        (linear, (1, float("inf"), 5), "end"),
        (linear, (1, 2, 0), "steps"),
    ],
)
def test_ramps_without_an_end_are_refused(make, wrong, name):
    with pytest.raises(ValueError, match=f"{name} must be a finite number"):
        make(*wrong)


def test_a_schedule_tells_its_listener_at_the_start_at_steps_and_after_loading():
    optimizer = SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    told = []

    def listen(schedule):
        told.append([schedule["beta"], schedule["share"]])

    def made():
        numbers = {"beta": geometric(1, 16, 4), "share": lambda t: 1 / (1 + t)}
        return Schedule(optimizer, listen, **numbers)

    schedule = made()
    for _ in range(3):
        optimizer.step()
        schedule.step()
    made().load_state_dict(schedule.state_dict())
    expected = [[1, 1], [2, 1 / 2], [4, 1 / 3], [8, 1 / 4], [1, 1], [8, 1 / 4]]
    assert np.array(told) == pytest.approx(np.array(expected))
    with pytest.raises(KeyError):
        schedule["lam"]


def test_a_schedule_without_a_listener_is_read():
    optimizer = SGD([torch.zeros(2, requires_grad=True)], lr=0.1)
    schedule = Schedule(optimizer, lam=linear(0, 1e-6, steps=10))
    optimizer.step()
    schedule.step()
    assert schedule["lam"] == pytest.approx(1e-7)
