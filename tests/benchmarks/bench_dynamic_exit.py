"""Leaving early against running the whole network, in batches of 256 and one by one.

Thresholds are set so that the stated share leaves at every early exit; weights are
random, for the time does not depend on them. The whole network has no early heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ece661_sparse.dynamic import (
    ConfidenceThreshold,
    MultiExit,
    budget_policy,
    decide,
    exit_logits,
)
from ece661_sparse.models import BranchyLeNet, MultiExitCNN
from tests.benchmarks.harness import Bar

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


@torch.no_grad()
def whole(trunk: nn.Module, batches: tuple[Tensor, ...]) -> None:
    for part in batches:
        trunk(part)


def early(
    network: MultiExit, policy: ConfidenceThreshold, batches: tuple[Tensor, ...]
) -> None:
    for part in batches:
        network.infer(part, policy)


def bars() -> list[Bar]:
    """Bars of Part IV; 0.97 leave our BranchyLeNet's first exit, 0.90 are promised."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(IMAGES, 1, 28, 28, generator=generator)
    x = x.to(memory_format=torch.channels_last)

    def bar(
        make: type[MultiExit],
        rate: float,
        size: int,
        *,
        at_most: float | None = None,
        at_least: float | None = None,
    ) -> Bar:
        torch.manual_seed(0)
        network = make().eval().to(memory_format=torch.channels_last)
        policy, trunk = leaving(network, x, rate), network.trunk()
        batches = x.split(size) if size > 1 else x[:300].split(1)
        return Bar(
            f"early exit, {make.__name__}, batch {size}, {rate:.0%} leave",
            "the whole network",
            ours=lambda: early(network, policy, batches),
            theirs=lambda: whole(trunk, batches),
            at_most=at_most,
            at_least=at_least,
        )

    return [
        bar(MultiExitCNN, 0.5, 256, at_most=0.50),
        bar(MultiExitCNN, 0.8, 256, at_most=0.28),
        bar(MultiExitCNN, 0.95, 256, at_most=0.20),
        bar(BranchyLeNet, 0.97, 256, at_least=3.0),
        bar(BranchyLeNet, 0.9, 256, at_least=3.0),
        # one image: a call costs more than most of the arithmetic it saves
        bar(BranchyLeNet, 0.9, 1, at_least=1.5),
    ]
