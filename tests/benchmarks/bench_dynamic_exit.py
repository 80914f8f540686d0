"""Leaving early against running the whole network, in batches of 256 and one by one.

Thresholds are set so that the stated share leaves at every early exit; weights are
random, for the time does not depend on them. The whole network has no early heads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ece661_sparse.dynamic import (
    ConfidenceThreshold,
    MultiExit,
    budget_policy,
    decide,
    exit_logits,
)
from ece661_sparse.models import BranchyLeNet, MultiExitCNN
from tests.benchmarks.harness import Bar, inference

PART = "Dynamic layers"

IMAGES = 2560


def leaving(network: MultiExit, x: Tensor, rate: float) -> ConfidenceThreshold:
    """The policy by which `rate` of the samples that reach an exit leave there."""
    shares = [(1 - rate) ** n * rate for n in range(len(network) - 1)]
    logits = exit_logits(network, x)
    policy = budget_policy(logits, [*shares, 1 - sum(shares)])
    left = (decide(logits, policy).exit == 0).double().mean().item()
    assert abs(left - rate) < 0.01
    return policy


def bar(make: type[MultiExit], rate: float, size: int, **limit: float) -> Bar:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(IMAGES, 1, 28, 28, generator=generator)
    x = x.to(memory_format=torch.channels_last)
    network = make().eval().to(memory_format=torch.channels_last)
    policy = leaving(network, x, rate)
    if size == 1:
        x = x[:300]

    @torch.inference_mode()
    def early() -> None:
        for part in x.split(size):
            network.infer(part, policy)

    return Bar(
        f"early exit, {make.__name__}, batch {size}, {rate:.0%} leave",
        "the whole network",
        ours=early,
        theirs=inference(network.trunk(), x, size),
        **limit,
    )


def bars() -> list[Bar]:
    """Bars of Part IV; 0.97 leave our BranchyLeNet's first exit, 0.90 are promised."""
    return [
        bar(MultiExitCNN, 0.5, 256, at_most=0.50),
        bar(MultiExitCNN, 0.8, 256, at_most=0.28),
        bar(MultiExitCNN, 0.95, 256, at_most=0.20),
        bar(BranchyLeNet, 0.97, 256, at_least=3.0),
        bar(BranchyLeNet, 0.9, 256, at_least=3.0),
        # one image: a call costs more than most of the arithmetic it saves
        bar(BranchyLeNet, 0.9, 1, at_least=1.5),
    ]
