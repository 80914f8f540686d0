r"""The residual networks for CIFAR of the slides "Pruning results" and "Early exit".

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2: three
stages of :math:`n` blocks with 16, 32 and 64 channels, :math:`6n + 2` layers deep. The
two shortcuts that change the shape are 1x1 convolutions, which gives ResNet-56 the
851,504 kernel weights (852K) of the table.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    r"""Two 3x3 convolutions and a shortcut, :math:`y = (F(x) + s(x))_+`.

    The shortcut :math:`s` is the identity, or a 1x1 convolution where the shape
    changes. Shapes: ``(N, channels, H, W)`` to ``(N, out, H / stride, W / stride)``.
    """

    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    r"""``head(stages(stem(x)))``, each a ``Sequential``; a stage holds its blocks.

    Shapes: ``(N, 3, 32, 32)`` to logits ``(N, classes)``; any image size works, the
    head averages.

    Args:
        depth: :math:`6n + 2` layers, such as 20 or 56.
        classes: number of logits.

    Raises:
        ValueError: a depth that is not :math:`6n + 2` with :math:`n \ge 1`.
    """

    def __init__(self, depth: int, classes: int = 10) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth must be 6n + 2 with n >= 1, got depth={depth}")
        blocks = (depth - 2) // 6
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.stages = nn.Sequential(
            _stage(16, 16, blocks, stride=1),
            _stage(16, 32, blocks, stride=2),
            _stage(32, 64, blocks, stride=2),
        )
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(self.stem(x)))


def resnet20(classes: int = 10) -> ResNet:
    """Three blocks a stage; 270,896 kernel weights with ten classes."""
    return ResNet(20, classes)


def resnet56(classes: int = 10) -> ResNet:
    """Nine blocks a stage; 851,504 kernel weights with ten classes, the table's."""
    return ResNet(56, classes)


def _stage(channels: int, out: int, blocks: int, stride: int) -> nn.Sequential:
    """One block that changes the shape, and ``blocks - 1`` that keep it."""
    return nn.Sequential(
        ResidualBlock(channels, out, stride),
        *(ResidualBlock(out, out) for _ in range(blocks - 1)),
    )
