"""The slide "What is learnt in the gate?": which gates open for which images.

What the closed ones save is counted here, too.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ece661_sparse.core.arguments import check_count, check_number
from ece661_sparse.core.networks import evaluating
from ece661_sparse.dynamic.channel_gating import GatedConv2d, GatedResidualBlock


@dataclass(frozen=True)
class GateRecord:
    """What every gate of a network did on N images; see :func:`record_gates`.

    Attributes:
        open: for each gated layer, by name, whether each gate was open,
            ``(N, channels)``, bool.
        channel_flops: for each gated layer the FLOPs of one of its channels for one
            image.
    """

    open: dict[str, Tensor]
    channel_flops: dict[str, int]

    @property
    def all_open(self) -> Tensor:
        """The gates of all layers side by side, ``(N, C)``."""
        return torch.cat(list(self.open.values()), dim=1)

    @property
    def rate(self) -> Tensor:
        """How often each gate was open, ``(C,)``, from 0 to 1."""
        return self.all_open.double().mean(0)

    @property
    def flops(self) -> Tensor:
        """FLOPs of the gated convolutions for each image, ``(N,)``."""
        layers = [self.channel_flops[n] * z.sum(1) for n, z in self.open.items()]
        return torch.stack(layers).sum(0)

    @property
    def full_flops(self) -> int:
        """FLOPs of the gated convolutions for an image that opens every gate."""
        return sum(self.channel_flops[n] * z.shape[1] for n, z in self.open.items())

    @property
    def saved(self) -> float:
        """Part of the gated FLOPs that was not needed, from 0 to 1."""
        return 1 - self.flops.double().mean().item() / self.full_flops

    def kinds(self, tolerance: float = 0.01) -> dict[str, int]:
        """Number of gates that are always on, never on, and conditional.

        Args:
            tolerance: "always" is more often than ``1 - tolerance``, "never" is more
                seldom than ``tolerance``; 0 counts every exception.

        Raises:
            ValueError: a tolerance outside [0, 0.5).
        """
        check_number("tolerance", tolerance, at_least=0, below=0.5)
        rate = self.rate
        always = int(((rate > 1 - tolerance) | (rate == 1)).sum())
        never = int(((rate < tolerance) | (rate == 0)).sum())
        return {
            "always on": always,
            "never on": never,
            "conditional": len(rate) - always - never,
        }

    def by_class(self, labels: Tensor, classes: int = 10) -> Tensor:
        """How often each gate was open for the images of a class, ``(classes, C)``.

        Raises:
            ValueError: not one label for each image, or a class without images.
        """
        is_open = self.all_open.double()
        if labels.shape != (len(is_open),):
            raise ValueError(
                f"labels must be one for each of the {len(is_open)} images, got shape "
                f"{tuple(labels.shape)}"
            )
        members = F.one_hot(labels, classes).double()
        if not members.any(0).all():
            raise ValueError(f"labels must name each of the {classes} classes")
        return members.T @ is_open / members.sum(0)[:, None]


def record_gates(model: nn.Module, x: Tensor, batch_size: int = 1000) -> GateRecord:
    """Run a network on images, in evaluation mode, and note what its gates do.

    Args:
        model: with gated layers; every module keeps its mode.
        x: images ``(N, channels, height, width)``.
        batch_size: images at a time.

    Raises:
        ValueError: the model has no gated layers, or ``batch_size`` is 0.
    """
    check_count("batch_size", batch_size, at_least=1)
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (GatedConv2d, GatedResidualBlock))
        and module.gate is not None
    }
    if not layers:
        raise ValueError(f"model has no gated layer: {type(model).__name__}")
    opened: dict[str, list[Tensor]] = {name: [] for name in layers}
    flops: dict[str, int] = {}

    def note(name: str, layer: Any, args: Any, output: Tensor) -> None:
        opened[name].append(layer.gate.log_alpha > 0)
        flops[name] = layer.channel_flops(*output.shape[2:])

    with ExitStack() as hooks, torch.no_grad(), evaluating(model):
        for name, layer in layers.items():
            hooks.enter_context(layer.register_forward_hook(partial(note, name)))
        for batch in x.split(batch_size):
            model(batch)
    return GateRecord({name: torch.cat(parts) for name, parts in opened.items()}, flops)


def class_similarity(rates: Tensor) -> Tensor:
    """How alike the classes are in the gates they open, ``(classes, classes)``.

    The cosine between the classes' rows of firing rates, after the mean over the
    classes is taken off every gate: what all classes open says nothing about two.

    Args:
        rates: :meth:`GateRecord.by_class`, ``(classes, C)``.
    """
    unusual = F.normalize(rates - rates.mean(0), dim=1)
    return unusual @ unusual.T
