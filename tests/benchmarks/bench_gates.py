"""A training step of LeNet-5 with gates against the plain step, and the baked model."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import SGD, Adam, Optimizer

from ece661_sparse.gates import (
    ContinuousGate,
    Gate,
    HardConcrete,
    bake,
    expected_l0,
    gate,
    gate_groups,
    gates,
)
from ece661_sparse.models import LeNet5
from tests.benchmarks.harness import Bar, inference, training

PART = "Gates"

BATCH = 128


def lenet5() -> LeNet5:
    torch.manual_seed(0)
    return LeNet5().to(memory_format=torch.channels_last)


def gated(
    optimizer: Callable[..., Optimizer],
    kind: type[Gate],
    groups: str,
    gate_lr: float,
    lam: float,
) -> Callable[[], None]:
    model = gate(lenet5(), kind, groups)
    if kind is ContinuousGate:
        for found in gates(model).values():
            found.beta = 200.0
    parameters = gate_groups(model, lr=1e-3, gate_lr=gate_lr)
    return training(
        model, optimizer(parameters), BATCH, lambda: lam * expected_l0(model)
    )


def plain(optimizer: Callable[..., Optimizer]) -> Callable[[], None]:
    model = lenet5()
    return training(model, optimizer(model.parameters(), lr=1e-3), BATCH)


def sgd(parameters: Any, **options: float) -> Optimizer:
    return SGD(parameters, momentum=0.9, nesterov=True, **options)


def adam(parameters: Any, **options: float) -> Optimizer:
    return Adam(parameters, fused=True, **options)


def bars() -> list[Bar]:
    """Weight gates 1.6 times the plain step, group gates 1.15, baked 1."""
    network = lenet5()
    baked = bake(gate(copy.deepcopy(network), HardConcrete, "unit"))
    x = torch.randn(BATCH, 1, 28, 28).to(memory_format=torch.channels_last)
    plain_sgd, plain_adam = plain(sgd), plain(adam)

    def step(
        name: str, ours: Callable[[], None], theirs: Callable[[], None], most: float
    ) -> Bar:
        name = f"LeNet-5 step, {name} gates"
        return Bar(name, "no gates", ours, theirs, at_most=most, repeats=15)

    continuous = gated(sgd, ContinuousGate, "weight", 1.0, 1e-8)
    units, weights = (
        gated(adam, HardConcrete, groups, 1e-2, 1e-6) for groups in ("unit", "weight")
    )
    return [
        step("continuous weight", continuous, plain_sgd, 1.6),
        step("hard concrete group", units, plain_adam, 1.15),
        step("hard concrete weight", weights, plain_adam, 1.6),
        Bar(
            "LeNet-5 inference, baked",
            "no gates",
            inference(baked, x, times=5),
            inference(network, x, times=5),
            at_most=1.05,
            repeats=25,
        ),
    ]
