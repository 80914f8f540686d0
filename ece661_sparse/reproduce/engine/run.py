"""The run that a recipe works with: it trains in checkpoints and counts the minutes."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import Any, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from ece661_sparse.reproduce.recipes.dense import NETWORKS
from ece661_sparse.reproduce.recipes.run import Run
from ece661_sparse.training import Checkpoint, Images, random_shift, set_seed, train
from ece661_sparse.training.checkpoint import replacing
from ece661_sparse.training.distributed import locked, rank

M = TypeVar("M", bound=nn.Module)

IN_A_LOG = {
    "delay": 60,
    "mininterval": 60,
    "bar_format": "{desc}: {percentage:.0f} %, {remaining} left\n",
    "leave": False,
}
"""The progress bar where stderr is no terminal: a line a minute at most."""


@dataclass
class CheckpointedRun(Run):
    """One seed of one row, with its checkpoints on the disk.

    Attributes:
        profile: ``"quick"`` or ``"full"``.
        folder: the checkpoints of this row, seed and settings.
        shared: the folder of the dense networks that all rows start from.
        label: of the progress bars.
        training: options of ``train`` in every stage that does not say otherwise.
    """

    train: Images
    seed: int
    profile: str
    device: torch.device
    folder: Path
    shared: Path
    label: str
    training: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._stages: set[str] = set()
        self.clock = Clock(self.folder / "minutes.json", self.device)
        self.base_minutes = 0.0

    @property
    def minutes(self) -> float:
        """Time that went into this run, over all its interruptions."""
        return self.clock.minutes()

    def fit(
        self,
        stage: str,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        epochs: int,
        images: Images | None = None,
        shift: int = 0,
        evaluate: Callable[[nn.Module], dict[str, Any]] | None = None,
        **options: Any,
    ) -> list[dict[str, Any]]:
        if stage in self._stages:
            raise ValueError(f"stage {stage!r} was run twice: it needs another name")
        self._stages.add(stage)

        def tick(model: nn.Module) -> dict[str, Any]:
            numbers = evaluate(model) if evaluate else {}
            self.clock.tick()
            return numbers

        label = f"{self.label} {stage}"
        options = {
            "seed": zlib.crc32(f"{self.seed} {stage}".encode()),
            **self.training,
            **options,
        }
        if shift:
            options["augment"] = partial(random_shift, pixels=shift)
        before = self.minutes
        history = train(
            model,
            optimizer,
            self.train if images is None else images,
            epochs=epochs,
            evaluate=tick,
            checkpoint=Checkpoint(self.folder / f"{stage}.pt"),
            progress={"desc": label, **({} if sys.stderr.isatty() else IN_A_LOG)},
            **options,
        )
        if self.minutes > before:  # otherwise it was finished already
            print(
                f"{label}: {len(history)} epochs, loss "
                f"{history[-1]['loss']:.4f}, {self.minutes:.1f} min so far",
                file=sys.stderr,
                flush=True,
            )
        return history

    def untrained(self, build: Callable[[], M]) -> M:
        set_seed(self.seed)
        # Convolutions on a CPU are much faster with the channels last.
        return build().to(self.device).to(memory_format=torch.channels_last)

    def base(self, name: str) -> nn.Module:
        network = NETWORKS[name]
        settings = network.settings[self.profile]
        kind = fingerprint(settings, network.recipe, len(self.train), self.device)
        folder = self.shared / name / f"{self.profile}-seed{self.seed}-{kind}"
        run = replace(self, folder=folder, label=f"{name} seed {self.seed}")
        folder.mkdir(parents=True, exist_ok=True)
        self.clock.tick()
        with locked(folder / "lock"):  # another row may want it at the same time
            model = run.untrained(network.build)
            network.recipe(run, model, **settings)
        self.clock.skip()
        self.base_minutes = run.minutes
        return model


class Clock:
    """Minutes of work, kept in a file so that an interruption does not lose them.

    On a CPU, the smaller of wall clock and processor time: what else the machine was
    doing does not count, nor that there are several threads.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self.path = path
        self._timers = [time.monotonic]
        if device.type == "cpu":
            self._timers.append(time.process_time)
        self._seconds = float(json.loads(path.read_text())) if path.exists() else 0.0
        self.skip()

    def skip(self) -> None:
        """Leave out the time since the last call."""
        self._last = [now() for now in self._timers]

    def tick(self) -> None:
        """Count the time since the last call."""
        passed = zip(self._timers, self._last, strict=True)
        self._seconds += min(now() - then for now, then in passed)
        self.skip()
        if rank() == 0:
            with replacing(self.path) as file:
                file.write(json.dumps(self._seconds).encode())

    def minutes(self) -> float:
        """All that was counted."""
        return self._seconds / 60


def fingerprint(settings: Any, recipe: Callable[..., Any], *other: Any) -> str:
    """Short hash of what a checkpoint must not survive: settings and code.

    Comments and layout of the recipe's own lines do not count; nor does code that it
    calls, for which there is ``--again``.
    """
    code = ast.dump(ast.parse(dedent(inspect.getsource(recipe))))
    text = json.dumps([settings, code, *map(str, other)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
