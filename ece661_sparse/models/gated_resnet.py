"""A small residual network for digits, with gates or without."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ece661_sparse.dynamic.channel_gating import GatedResidualBlock


class GatedResNet(nn.Module):
    """A stem, residual blocks whose middle channels are gated, pooling, a classifier.

    The stem halves the image, and so does every block that changes the width.

    Shapes: ``(N, 1, 28, 28)`` to logits ``(N, 10)``.

    Args:
        widths: channels of each block's output; the stem has as many as the first.
        middle: channels between the two convolutions of each block, ``widths`` if None.
            With ``gated=False``, fewer of them make a static network of fewer FLOPs.
        gated: False for the same network without gates.

    Raises:
        ValueError: ``middle`` has another length than ``widths``.
    """

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 32),
        middle: Sequence[int] | None = None,
        *,
        gated: bool = True,
    ) -> None:
        super().__init__()
        middle = widths if middle is None else middle
        if len(middle) != len(widths):
            raise ValueError(
                f"middle must have one number for each of the {len(widths)} blocks, "
                f"got {middle!r}"
            )
        self.stem = nn.Sequential(
            nn.Conv2d(1, widths[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        before = (widths[0], *widths)
        self.blocks = nn.Sequential(
            *(
                GatedResidualBlock(
                    inside, width, 1 if width == inside else 2, between, gated=gated
                )
                for inside, width, between in zip(before, widths, middle, strict=False)
            )
        )
        self.classifier = nn.Linear(widths[-1], 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))
