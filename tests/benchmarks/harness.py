"""Ratios of two times, measured in one interleaved run, and what most of them time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer


def inference(
    model: nn.Module, x: Tensor, batch_size: int | None = None, times: int = 1
) -> Callable[[], None]:
    """The model on all of x, in batches."""
    model.eval()

    @torch.inference_mode()
    def run() -> None:
        for _ in range(times):
            for part in x.split(batch_size or len(x)):
                model(part)

    return run


def training(
    model: nn.Module,
    optimizer: Optimizer,
    batch_size: int,
    penalty: Callable[[], Tensor] | None = None,
) -> Callable[[], None]:
    """Five training steps of a network for digits."""
    x = torch.randn(batch_size, 1, 28, 28).to(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (batch_size,))

    def run() -> None:
        for _ in range(5):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            if penalty is not None:
                loss = loss + penalty()
            loss.backward()
            optimizer.step()

    return run


@dataclass
class Bar:
    """A claim about speed: ours against theirs.

    Args:
        name: what of this package.
        peer: what it is compared with.
        ours: one run of this package's code.
        theirs: one run of the peer.
        at_most: largest allowed ratio ours / theirs, or
        at_least: smallest allowed ratio theirs / ours.
        prepare: called before every run, outside the measured time.
        repeats: runs of each, in turn.
    """

    name: str
    peer: str
    ours: Callable[[], object]
    theirs: Callable[[], object]
    at_most: float | None = None
    at_least: float | None = None
    prepare: Callable[[], object] = lambda: None
    repeats: int = 9

    def __post_init__(self) -> None:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError(f"{self.name}: give either at_most or at_least")

    def measure(self) -> dict[str, object]:
        """Median times in seconds, their ratio, and whether the claim holds."""
        seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
        for repeat in range(self.repeats + 1):
            for side, times in seconds.items():
                self.prepare()
                start = time.perf_counter()
                getattr(self, side)()
                if repeat:  # the first round warms up
                    times.append(time.perf_counter() - start)
        ours, theirs = (median(times) for times in seconds.values())
        ratio = ours / theirs if self.at_least is None else theirs / ours
        return _verdict(self, ratio, {"ours_s": ours, "theirs_s": theirs})


@dataclass
class Figure:
    """A claim about one number that is not a time."""

    name: str
    value: Callable[[], float]
    at_most: float
    peer: str = ""
    at_least: None = None

    def measure(self) -> dict[str, object]:
        """The number, and whether the claim holds."""
        return _verdict(self, self.value(), {})


def _verdict(
    claim: Bar | Figure, ratio: float, times: dict[str, float]
) -> dict[str, object]:
    low, high = claim.at_least, claim.at_most
    return {
        "name": claim.name,
        "peer": claim.peer,
        **times,
        "ratio": ratio,
        "at_most": high,
        "at_least": low,
        "holds": (low is None or ratio >= low) and (high is None or ratio <= high),
    }
