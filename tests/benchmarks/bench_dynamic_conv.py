"""A dynamic convolution with four kernels: one static layer's time, almost.

In training the bar of 1.3 is out of reach of torch's own operations: where we looked
(two threads of an AVX-512 processor, no page faults) the grouped convolution alone took
1.2 times as long as the static one, forwards and backwards, before any kernel was mixed
and any gradient of a mixed kernel was read again.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ece661_sparse.dynamic import DynamicConv2d
from tests.benchmarks.harness import Bar, inference

PART = "Dynamic layers"

BATCH, CHANNELS, SIZE, KERNELS, STEPS = 32, 64, 16, 4, 5


class MixedOutputs(nn.Module):
    """The slide's weighted sum taken after K convolutions, as one of 4 times the size.

    This is the faster way to do it; K convolutions one by one take longer.
    """

    def __init__(self, layer: DynamicConv2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        layer, pi = self.layer, self.layer.attention(x)
        y = nn.functional.conv2d(
            x, layer.weight.flatten(0, 1), layer.bias.flatten(), padding=1
        )
        y = y.unflatten(1, (layer.kernels, -1)).flatten(2)
        return (pi[:, None] @ y).view(len(x), -1, *x.shape[2:])


def forwards(layer: nn.Module) -> Callable[[], None]:
    return inference(layer, torch.randn(BATCH, CHANNELS, SIZE, SIZE), times=STEPS)


def backwards(layer: nn.Module) -> Callable[[], None]:
    x = torch.randn(BATCH, CHANNELS, SIZE, SIZE, requires_grad=True)
    direction = torch.randn(BATCH, CHANNELS, SIZE, SIZE)

    def run() -> None:
        for _ in range(STEPS):
            layer.zero_grad()
            x.grad = None
            layer(x).backward(direction)

    return run


def bars() -> list[Bar]:
    """At most 1.3 times the static layer, at least 2.5 times faster than K outputs."""
    static = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
    dynamic = DynamicConv2d(CHANNELS, CHANNELS, 3, padding=1, kernels=KERNELS)
    outputs = MixedOutputs(dynamic)
    return [
        Bar(
            f"dynamic convolution, {name}",
            peer,
            ours=work(dynamic),
            theirs=work(theirs),
            repeats=21,
            **limit,
        )
        for name, work in (("inference", forwards), ("training", backwards))
        for peer, theirs, limit in (
            ("one static layer", static, {"at_most": 1.3}),
            ("mixing K outputs", outputs, {"at_least": 2.5}),
        )
    ]
