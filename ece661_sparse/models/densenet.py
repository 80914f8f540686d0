r"""The densely connected network of the slide "Pruning results", Table 1.

Huang et al., "Densely Connected Convolutional Networks", CVPR 2017: three blocks in
which every layer sees the outputs of all layers before it, with transitions between
the blocks. DenseNet-40 with growth 12, without bottlenecks or compression, has
1,001,616 kernel weights (1002K).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DenseLayer(nn.Module):
    r"""Adds ``growth`` channels to its input, :math:`y = [x,\; w * (\hat x)_+]`.

    :math:`\hat x` is the batch-normalised input. Shapes: ``(N, channels, H, W)`` to
    ``(N, channels + growth, H, W)``.
    """

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(F.relu(self.bn(x)))], dim=1)


class DenseNet(nn.Module):
    r"""``head(stages(stem(x)))``, each a ``Sequential``; a stage is one dense block.

    The second and third stage begin with the transition into them.
    Shapes: ``(N, 3, 32, 32)`` to logits ``(N, classes)``.

    Args:
        depth: :math:`3n + 4` layers, such as 40.
        growth: channels that each layer adds.
        classes: number of logits.

    Raises:
        ValueError: a depth that is not :math:`3n + 4` with :math:`n \ge 1`.
    """

    def __init__(self, depth: int = 40, growth: int = 12, classes: int = 10) -> None:
        super().__init__()
        if depth < 7 or (depth - 4) % 3:
            raise ValueError(f"depth must be 3n + 4 with n >= 1, got depth={depth}")
        layers = (depth - 4) // 3
        channels = 16
        self.stem = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.stages = nn.Sequential()
        for stage in range(3):
            block = [] if stage == 0 else _transition(channels)
            for _ in range(layers):
                block.append(DenseLayer(channels, growth))
                channels += growth
            self.stages.append(nn.Sequential(*block))
        self.head = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(self.stem(x)))


def densenet40(classes: int = 10) -> DenseNet:
    """Growth 12; 1,001,616 kernel weights with ten classes, the table's."""
    return DenseNet(40, 12, classes)


def _transition(channels: int) -> list[nn.Module]:
    """Mix the channels, halve height and width."""
    return [
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.AvgPool2d(2),
    ]
