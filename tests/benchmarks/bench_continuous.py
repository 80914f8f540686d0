"""A training step of LeNet-5 with a continuous gate on every weight, and without."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from ece661_sparse.gates import (
    ContinuousGate,
    expected_l0,
    gate,
    gate_groups,
    gates,
)
from ece661_sparse.models import LeNet5
from tests.benchmarks.harness import Bar

PART = "Gates"

BATCH, STEPS = 128, 5


def training(gated: bool) -> Callable[[], None]:
    """A few steps of SGD with momentum, as the long runs take them."""
    torch.manual_seed(0)
    model = LeNet5().to(memory_format=torch.channels_last)
    x = torch.randn(BATCH, 1, 28, 28).to(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (BATCH,))
    groups = [{"params": list(model.parameters()), "lr": 1e-3}]
    if gated:
        gate(model, ContinuousGate)
        groups = gate_groups(model, lr=1e-3, gate_lr=1.0)
        for found in gates(model).values():
            found.beta = 200.0
    optimizer = torch.optim.SGD(groups, momentum=0.9, nesterov=True)

    def run() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            if gated:
                loss = loss + 1e-8 * expected_l0(model)
            loss.backward()
            optimizer.step()

    return run


def bars() -> list[Bar]:
    """A gate on every weight costs at most 1.6 times the plain step."""
    return [
        Bar(
            "LeNet-5 step, continuous weight gates",
            "no gates",
            ours=training(gated=True),
            theirs=training(gated=False),
            at_most=1.6,
            repeats=15,
        )
    ]
