"""A proximal optimizer against the torch optimizer inside it: a training step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
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
from tests.benchmarks.harness import Bar, training

PART = "Optimizers"

BATCH = 256
CASES = [
    ("SGD + MCP", partial(SGD, lr=1e-3, momentum=0.9), MCP(1e-6, gamma=200.0)),
    ("Adam + L1", partial(Adam, lr=1e-3), L1(1e-6)),
]


def steps(
    network: type[nn.Module],
    base: Callable[..., Optimizer],
    penalty: Penalty | None = None,
) -> Callable[[], None]:
    """A network's weights penalised, and its biases not."""
    torch.manual_seed(0)
    model = network().to(memory_format=torch.channels_last)
    optimizer = base(weight_groups(model))
    if penalty is not None:
        optimizer = ProximalOptimizer(optimizer, [penalty, None])
    return training(model, optimizer, BATCH)


def bars() -> list[Bar]:
    """The operator is a few more passes over the weights; the bars are guesses."""
    return [
        Bar(
            f"{name}, a training step of {network.__name__}, batch {BATCH}",
            f"torch.optim.{base.func.__name__}",
            ours=steps(network, base, penalty),
            theirs=steps(network, base),
            at_most=at_most,
            repeats=25,
        )
        for network, at_most in ((LeNet300, 1.6), (LeNet5, 1.25))
        for name, base, penalty in CASES
    ]
