"""Ratios of two times, measured in one interleaved run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


def nothing() -> None:
    pass


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
    prepare: Callable[[], object] = nothing
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
        if self.at_most is not None:
            ratio, holds = ours / theirs, ours / theirs <= self.at_most
        else:
            assert self.at_least is not None
            ratio, holds = theirs / ours, theirs / ours >= self.at_least
        return {
            "name": self.name,
            "peer": self.peer,
            "ours_s": ours,
            "theirs_s": theirs,
            "ratio": ratio,
            "at_most": self.at_most,
            "at_least": self.at_least,
            "holds": holds,
        }


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
        value = self.value()
        return {
            "name": self.name,
            "peer": self.peer,
            "ratio": value,
            "at_most": self.at_most,
            "at_least": None,
            "holds": value <= self.at_most,
        }
