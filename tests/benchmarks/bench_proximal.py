"""A proximal optimizer against the torch optimizer inside it: a training step."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD, Adam, Optimizer

from ece661_sparse.models import LeNet5, LeNet300
from ece661_sparse.proximal import (
    L1,
    MCP,
    Penalty,
    ProximalOptimizer,
    weight_groups,
)
from tests.benchmarks.harness import Bar

PART = "Optimizers"
BATCH, STEPS = 256, 5


def training(
    network: type[nn.Module],
    base: Callable[..., Optimizer],
    penalty: Penalty | None,
) -> Callable[[], None]:
    """A few steps of a network, its weights penalised and its biases not."""
    torch.manual_seed(0)
    model = network().to(memory_format=torch.channels_last)
    x = torch.randn(BATCH, 1, 28, 28).to(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (BATCH,))
    optimizer = base(weight_groups(model))
    if penalty is not None:
        optimizer = ProximalOptimizer(optimizer, [penalty, None])

    def run() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()

    return run


def bars() -> list[Bar]:
    """The operator is a few more passes over the weights; the bars are guesses."""

    def sgd(groups: list[dict]) -> Optimizer:
        return SGD(groups, lr=1e-3, momentum=0.9)

    def adam(groups: list[dict]) -> Optimizer:
        return Adam(groups, lr=1e-3)

    cases = [
        ("SGD + MCP", "torch.optim.SGD", sgd, MCP(1e-6, gamma=200.0)),
        ("Adam + L1", "torch.optim.Adam", adam, L1(1e-6)),
    ]
    return [
        Bar(
            f"{name}, a training step of {network.__name__}, batch {BATCH}",
            peer,
            ours=training(network, base, penalty),
            theirs=training(network, base, None),
            at_most=at_most,
            repeats=25,
        )
        for network, at_most in ((LeNet300, 1.6), (LeNet5, 1.25))
        for name, peer, base, penalty in cases
    ]
