r"""Multi-exit networks of "Early exit model" and "Effectiveness of early exiting".

Each is a :class:`~ece661_sparse.dynamic.MultiExit`: stages, and a head after each.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ece661_sparse.dynamic.early_exit import MultiExit, exit_costs
from ece661_sparse.models.resnet import ResNet, resnet56


class BranchyLeNet(MultiExit):
    """LeNet with one early exit, after B-LeNet (Teerapittayanon et al. 2016).

    As there, it has three 5x5 convolutions and two dense layers, and a branch after the
    first convolution. An early exit saves only what comes after the branch. So the stem
    is cheap, by its stride of 2, and the branch has two small dense layers: together
    they take 3.3 % of the multiplications.

    Shapes: ``(N, 1, 28, 28)`` to logits ``(N, 10)``.
    """

    def __init__(self) -> None:
        stem = nn.Sequential(nn.Conv2d(1, 16, 5, stride=2), nn.ReLU())
        trunk = nn.Sequential(
            nn.Conv2d(16, 32, 5, padding=2),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(32, 64, 5, padding=2),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * 3 * 3, 500),
            nn.ReLU(),
        )
        branch = nn.Sequential(
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * 6 * 6, 128),
            nn.ReLU(),
            nn.Linear(128, 10),
        )
        super().__init__([stem, trunk], [branch, nn.Linear(500, 10)])


class MultiExitCNN(MultiExit):
    """Convolutions in a row, and an exit after some of them.

    The first, 5x5 with stride 2, has 16 maps, the second 32 maps and 2x2 pooling; all
    others have 64 maps of 6x6. The three exits of the default come after 1, 14 and
    100 % of the work.

    Shapes: ``(N, 1, 28, 28)`` to logits ``(N, 10)``.

    Args:
        exits: after how many convolutions each exit comes, increasing; the last
            number is the depth of the network.

    Raises:
        ValueError: no exits, or numbers that do not increase from 1 or more.
    """

    def __init__(self, exits: Sequence[int] = (1, 2, 6)) -> None:
        edges = [0, *exits]
        if len(edges) == 1 or any(a >= b for a, b in pairwise(edges)):
            raise ValueError(f"exits must increase from 1 on, got {tuple(exits)}")
        layers = [
            nn.Sequential(nn.Conv2d(1, 16, 5, stride=2), nn.ReLU()),
            nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
        ]
        for channels in [32, *[64] * exits[-1]]:
            layers.append(
                nn.Sequential(nn.Conv2d(channels, 64, 3, padding=1), nn.ReLU())
            )
        features = {1: 16 * 6 * 6, 2: 32 * 3 * 3}
        super().__init__(
            (nn.Sequential(*layers[a:b]) for a, b in pairwise(edges)),
            (_pooled(features.get(n, 64 * 3 * 3)) for n in exits),
        )


class MixedPool(nn.Module):
    r"""Shallow-deep networks' feature reduction, to at most ``size`` x ``size``.

    .. math:: \alpha\,\text{max-pool}(x) + (1 - \alpha)\,\text{average-pool}(x),

    with a learned :math:`\alpha`, one half at first.
    """

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        self.size = size
        self.alpha = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        largest = F.adaptive_max_pool2d(x, self.size)
        return torch.lerp(F.adaptive_avg_pool2d(x, self.size), largest, self.alpha)


def shallow_deep(
    network: ResNet,
    shares: Sequence[float] = (0.15, 0.3, 0.45, 0.6, 0.75, 0.9),
    image_size: int = 32,
) -> MultiExit:
    """A residual network with an internal classifier after each share of its work.

    An internal classifier (mixed pooling, one dense layer) follows the block at which
    the FLOPs so far are nearest to the share. The network's own layers are used, not
    copies.

    Args:
        network: the backbone; its head is the last exit.
        shares: parts of the FLOPs, increasing, in (0, 1).
        image_size: height and width of the images for which FLOPs are counted.

    Raises:
        ValueError: shares so close that two of them fall on one block.

    Source: Kaya et al., "Shallow-Deep Networks", ICML 2019.
    """
    stages = cast(list[nn.Sequential], list(network.stages))
    blocks = [network.stem, *(block for stage in stages for block in stage)]
    classes = cast(nn.Linear, network.head[-1]).out_features
    # without heads: the cost of each exit is the work of the blocks before it
    counting = MultiExit(blocks, [nn.Identity()] * (len(blocks) - 1) + [network.head])
    image = torch.empty(1, 3, image_size, image_size, device="meta")
    done = exit_costs(counting, image).shares[:-1]
    cuts = [min(range(len(done)), key=lambda i: abs(done[i] - s)) + 1 for s in shares]
    if len({0, *cuts, len(blocks)}) != len(cuts) + 2:
        raise ValueError(f"shares {tuple(shares)} need more than {len(blocks)} blocks")
    edges = [0, *cuts, len(blocks)]
    parts = [nn.Sequential(*blocks[a:b]) for a, b in pairwise(edges)]
    heads = [
        nn.Sequential(
            MixedPool(), nn.Flatten(), nn.Linear(_channels(stage) * 4 * 4, classes)
        )
        for stage in parts[:-1]
    ]
    return MultiExit(parts, [*heads, network.head])


def sdn_resnet56(classes: int = 10) -> MultiExit:
    """ResNet-56 with six internal classifiers, at 15 to 90 % of its FLOPs."""
    return shallow_deep(resnet56(classes))


def _pooled(features: int) -> nn.Sequential:
    """The smallest branch: 2x2 max pooling and one dense layer."""
    return nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(features, 10))


def _channels(stage: nn.Module) -> int:
    """The number of maps that a stage of convolutions puts out."""
    convolutions = [m for m in stage.modules() if isinstance(m, nn.Conv2d)]
    return convolutions[-1].out_channels
