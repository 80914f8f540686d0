"""What every schedule must do. A new one gets all of it by a line in SCHEDULES."""

import copy
import pickle
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ChainedScheduler, StepLR

from ece661_sparse.core import Schedule, linear
from ece661_sparse.dynamic import DynamicConv2d, TemperatureAnnealing
from ece661_sparse.gates import ContinuousGate, gate, gate_groups, gates, hardening
from ece661_sparse.saliency import GSM, GradualKeep
from ece661_sparse.training import Checkpoint, Images, train

STEPS = 4  # after which each of them has reached its end


def network(layer):
    return nn.Sequential(layer, nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 3))


def dense():
    return network(nn.Conv2d(1, 4, 3))


def set_momentum(schedule):
    for group in schedule.optimizer.param_groups:
        group["momentum"] = schedule["momentum"]


def momentum(optimizer):
    return Schedule(optimizer, set_momentum, momentum=linear(0.9, 0.1, STEPS))


def sgd(model):
    return SGD(model.parameters(), lr=0.01)


# A model, an optimizer of it, a schedule for both, and where its number arrives.
SCHEDULES = {
    "Schedule": (
        dense,
        sgd,
        lambda optimizer, model: momentum(optimizer),
        lambda optimizer, model: optimizer.param_groups[0]["momentum"],
    ),
    "GradualKeep": (
        dense,
        lambda model: GSM(model.parameters(), lr=0.01, keep=20),
        lambda optimizer, model: GradualKeep(optimizer, start=80, epochs=STEPS),
        lambda optimizer, model: optimizer.keep,
    ),
    "hardening": (
        lambda: gate(dense(), ContinuousGate),
        lambda model: SGD(gate_groups(model, lr=0.01, gate_lr=0.05)),
        lambda optimizer, model: hardening(optimizer, model, steps=STEPS + 1),
        lambda optimizer, model: gates(model)["0"].beta,
    ),
    "TemperatureAnnealing": (
        lambda: network(DynamicConv2d(1, 4, 3)),
        sgd,
        partial(TemperatureAnnealing, epochs=STEPS),
        lambda optimizer, model: model[0].attention.temperature.item(),
    ),
}
each_schedule = pytest.mark.parametrize("name", SCHEDULES)


def start(name):
    torch.manual_seed(0)
    make_model, make_optimizer, make_schedule, _ = SCHEDULES[name]
    model = make_model()
    optimizer = make_optimizer(model)
    return model, optimizer, make_schedule(optimizer, model)


def number(name, model, optimizer):
    return SCHEDULES[name][3](optimizer, model)


def step(model, optimizer, schedule):
    optimizer.zero_grad()
    model(torch.randn(5, 1, 4, 4)).square().sum().backward()
    optimizer.step()
    schedule.step()


def course(name):
    """The number at the times 0, 1, 2, …"""
    model, optimizer, schedule = start(name)
    seen = [number(name, model, optimizer)]
    for _ in range(STEPS + 2):
        step(model, optimizer, schedule)
        seen.append(number(name, model, optimizer))
    return seen


@each_schedule
def test_the_number_moves_to_its_end_and_stays(name):
    seen = course(name)
    assert len(set(seen)) == STEPS + 1
    assert seen in (sorted(seen), sorted(seen, reverse=True))
    assert seen[STEPS:] == [seen[-1]] * 3


@each_schedule
@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_learning_rates_stay_also_those_of_late_groups(name, kind):
    model, optimizer, schedule = start(name)
    for group in optimizer.param_groups:
        group["lr"], group["fused"] = kind(0.25), False
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], "lr": 0.5})
    for _ in range(3):
        step(model, optimizer, schedule)
    *first, late = (group["lr"] for group in optimizer.param_groups)
    assert {float(lr) for lr in first} == {0.25} and late == 0.5
    assert isinstance(first[0], type(kind(0.25)))


@each_schedule
def test_it_goes_together_with_a_schedule_of_the_learning_rate(name):
    def both():
        model, optimizer, schedule = start(name)
        halving = StepLR(optimizer, 1, gamma=0.5)
        return model, optimizer, ChainedScheduler([halving, schedule])

    model, optimizer, chained = both()
    lr = optimizer.param_groups[0]["lr"]
    for done, expected in enumerate(course(name)[1:4], start=1):
        step(model, optimizer, chained)
        assert number(name, model, optimizer) == expected
        assert optimizer.param_groups[0]["lr"] == pytest.approx(lr * 0.5**done)
    model, optimizer, resumed = both()
    resumed.load_state_dict(chained.state_dict())
    assert number(name, model, optimizer) == expected


def pickled(run):
    return pickle.loads(pickle.dumps(run))


# torch pickles no parametrized layer, and so no model whose gates harden
@pytest.mark.parametrize(
    ("name", "copied"),
    [(name, copy.deepcopy) for name in SCHEDULES]
    + [(name, pickled) for name in SCHEDULES if name != "hardening"],
)
def test_the_copy_of_all_three_drives_the_copy(name, copied):
    run = start(name)
    step(*run)
    twin = copied(run)
    for time in (2, 3):
        step(*twin)
        assert number(name, *twin[:2]) == course(name)[time]
    assert number(name, *run[:2]) == course(name)[1]


@each_schedule
def test_its_state_is_plain_and_brings_the_number_back(name, tmp_path):
    model, optimizer, schedule = start(name)
    for _ in range(2):
        step(model, optimizer, schedule)
    torch.save(schedule.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    plain = (bool, int, float, str, list, type(None))
    assert all(isinstance(value, plain) for value in state.values())

    model, optimizer, resumed = start(name)
    resumed.load_state_dict(state)
    assert number(name, model, optimizer) == course(name)[2]
    step(model, optimizer, resumed)
    assert number(name, model, optimizer) == course(name)[3]


@each_schedule
def test_a_run_cut_in_two_ends_with_the_same_bits(name, tmp_path):
    generator = torch.Generator().manual_seed(0)
    images = Images(torch.randn(20, 1, 4, 4, generator=generator), torch.arange(20) % 3)

    def run(epochs, checkpoint=None):
        model, optimizer, schedule = start(name)
        options = {"scheduler": schedule, "checkpoint": checkpoint, "progress": False}
        train(model, optimizer, images, epochs=epochs, batch_size=10, **options)
        return number(name, model, optimizer), model.state_dict()

    expected = run(STEPS + 1)
    run(2, Checkpoint(tmp_path / "run.pt"))
    found = run(STEPS + 1, Checkpoint(tmp_path / "run.pt"))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
