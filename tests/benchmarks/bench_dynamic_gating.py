"""Does it pay to skip closed channels? A gated block, half of its gates open.

Skipping is compared with the same block computing everything and multiplying by zero.
It pays where the convolutions are large against copying the open channels' weights:
one image, 64 channels or more. In a batch each image has its own open channels, and
almost every channel is open for some image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ece661_sparse.dynamic import GatedResidualBlock
from tests.benchmarks.harness import Bar, inference

PART = "Dynamic layers"


class HalfOpen(nn.Module):
    """A gate's arithmetic, and then half of the channels, others for each image."""

    def __init__(self, gate: nn.Module, channels: int) -> None:
        super().__init__()
        self.gate, self.channels = gate, channels
        generator = torch.Generator().manual_seed(0)
        order = [torch.randperm(channels, generator=generator) for _ in range(256)]
        self.patterns = (torch.stack(order) < channels // 2).float()

    def forward(self, x: Tensor) -> Tensor:
        self.gate(x)
        return self.patterns[: len(x)]


def block(channels: int, *, skip: bool) -> nn.Module:
    torch.manual_seed(0)
    made = GatedResidualBlock(channels, channels).eval()
    made.gate = HalfOpen(made.gate, channels)  # type: ignore[assignment]
    made.skip = skip
    return made.to(memory_format=torch.channels_last)


def bar(
    name: str, peer: str, channels: int, side: int, n: int, size: int, most: float
) -> Bar:
    x = torch.randn(n, channels, side, side).to(memory_format=torch.channels_last)
    return Bar(
        f"gated block, {channels} channels, {side}x{side}, {name}",
        peer,
        ours=inference(block(channels, skip=True), x, size),
        theirs=inference(block(channels, skip=False), x),
        at_most=most,
        repeats=15,
    )


def bars() -> list[Bar]:
    """What skipping gains for one image, and what it costs where it gains nothing."""
    return [
        bar("one image, skip", "mask", 128, 28, 1, 1, 0.8),
        bar("one image, skip", "mask", 64, 28, 1, 1, 0.95),
        # nothing to gain here, and this is what trying costs
        bar("one image, skip", "mask", 16, 14, 1, 1, 1.6),
        bar("64 images, skip", "mask", 64, 14, 64, 64, 1.3),
        # one by one every image skips its own half, and loses what a batch gains
        bar("64 images one by one, skip", "mask, in one batch", 64, 14, 64, 1, 3.0),
    ]
