"""A training step of LeNet-5 with gates against the plain step, and the baked model."""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from ece661_sparse.gates import HardConcrete, bake, expected_l0, gate, gate_groups
from ece661_sparse.models import LeNet5
from tests.benchmarks.harness import Bar

PART = "Gates"

BATCH, STEPS = 128, 5


def training(groups: str | None) -> Callable[[], None]:
    """A few steps of LeNet-5 with the gates of ``groups``; None: a plain LeNet-5."""
    torch.manual_seed(0)
    model = LeNet5().to(memory_format=torch.channels_last)
    x = torch.randn(BATCH, 1, 28, 28).to(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (BATCH,))
    if groups is None:
        parameters = [{"params": list(model.parameters()), "lr": 1e-3}]
    else:
        gate(model, HardConcrete, groups)
        parameters = gate_groups(model, lr=1e-3, gate_lr=1e-2)
    optimizer = torch.optim.Adam(parameters, fused=True)

    def run() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            if groups is not None:
                loss = loss + 1e-6 * expected_l0(model)
            loss.backward()
            optimizer.step()

    return run


def inference(model: nn.Module) -> Callable[[], None]:
    x = torch.randn(BATCH, 1, 28, 28).to(memory_format=torch.channels_last)
    model.eval()

    def run() -> None:
        with torch.no_grad():
            for _ in range(STEPS):
                model(x)

    return run


def bars() -> list[Bar]:
    """Group gates 1.15 times the plain step, per-weight gates 1.6, baked 1."""
    plain = LeNet5().to(memory_format=torch.channels_last)
    baked = bake(gate(copy.deepcopy(plain), HardConcrete, "unit"))
    step = training(None)
    return [
        Bar(
            "LeNet-5 step, hard concrete group gates",
            "no gates",
            ours=training("unit"),
            theirs=step,
            at_most=1.15,
            repeats=15,
        ),
        Bar(
            "LeNet-5 step, hard concrete weight gates",
            "no gates",
            ours=training("weight"),
            theirs=step,
            at_most=1.6,
            repeats=15,
        ),
        Bar(
            "LeNet-5 inference, baked",
            "no gates",
            ours=inference(baked),
            theirs=inference(plain),
            at_most=1.05,
            repeats=25,
        ),
    ]
