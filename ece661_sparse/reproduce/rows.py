"""A row of a results table, and what its recipe works with.

A recipe is a function ``recipe(run, **settings) -> Outcome``: it trains on
``run.train`` and hands back a pruned network. It never sees the test set.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from tqdm.auto import tqdm

from ece661_sparse.reproduce.networks import NETWORKS
from ece661_sparse.saliency.masks import keep_zeros
from ece661_sparse.training import (
    Checkpoint,
    Images,
    random_shift,
    set_seed,
    train,
)
from ece661_sparse.training.checkpoint import replacing
from ece661_sparse.training.distributed import locked, on_rank_0, rank

TABLES = ("table1", "table2", "gates", "dynamic", "pareto")
"""The tables that ``reproduce`` knows, each a module of this package."""


@dataclass(frozen=True)
class Row:
    """One line of a results table.

    Attributes:
        table: module of this package that holds the row: ``"table1"``.
        name: of the row's files, and the value of ``--row``.
        method: as the table prints it.
        model: a key of ``NETWORKS``.
        dataset: a key of ``DATASETS``.
        published: what the table claims: ``base_top1``, ``top1`` (percent) and
            ``nonzero`` (kernel weights).
        recipe: ``recipe(run, **settings)``; None: nobody has written it yet.
        settings: the recipe's keyword arguments for each profile, plain values.
        seeds: the runs that make the row.
        note: what the printed table has wrong about this row, for its caption.
        build: the untrained final network, into which the stored weights go. None:
            the plain network ``model``.
        measure: ``measure(model, test images)``: further numbers from the test set.
        keep_weights: store the weights of the first seed beside the JSON, for
            ``--verify``? Not for the many points of a sweep.
    """

    table: str
    name: str
    method: str
    model: str
    dataset: str
    published: Mapping[str, float]
    recipe: Callable[..., Outcome] | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    note: str = ""
    build: Callable[[], nn.Module] | None = None
    measure: Callable[[nn.Module, Images], dict[str, float]] | None = None
    keep_weights: bool = True

    def untrained(self) -> nn.Module:
        """A network of the final shape."""
        return (self.build or NETWORKS[self.model].build)()


@dataclass
class Outcome:
    """What a recipe returns.

    Attributes:
        model: the final network, plain (parametrizations baked in).
        retrained: was it trained on with its zeros held at zero?
        base_top1_model: the dense network to compare with. None: ``run.base``.
        extra: anything else for the JSON; plain numbers, texts, lists.
    """

    model: nn.Module
    retrained: bool = False
    base_top1_model: nn.Module | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class Run:
    """One seed of one row, as its recipe sees it.

    Attributes:
        train: all the images it may train and choose on.
        seed: of the initial weights and of the order of the images.
        profile: ``"quick"`` or ``"full"``.
        device: where ``train`` lives and the networks go.
        folder: the checkpoints of this row, seed and settings.
        shared: the folder of the dense networks that all rows start from.
        label: of the progress bars.
        training: what ``fit`` hands to ``train`` unless told otherwise.
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
        """:func:`~ece661_sparse.training.train` on ``self.train``, in a checkpoint.

        Started again, a finished stage puts its end state into ``model``,
        ``optimizer`` and torch's generators, and an unfinished one goes on where it
        was. Whatever else changes during a stage (a mask, dual variables) has to be
        a buffer of the model or in the optimizer's state; what a recipe computes
        between stages is computed again.

        Args:
            stage: name of the checkpoint, different for each ``fit`` of a recipe.
            epochs, evaluate, options: as ``train`` has them. The order of the
                images follows from the run's seed and the stage.
            images: instead of ``self.train``.
            shift: move each image by up to so many pixels, differently in every epoch.

        Raises:
            ValueError: a stage of this name has been run before.
        """
        if stage in self._stages:
            raise ValueError(f"stage {stage!r} was run twice: it needs another name")
        self._stages.add(stage)

        def tick(model: nn.Module) -> dict[str, Any]:
            numbers = evaluate(model) if evaluate else {}
            self.clock.tick()
            pace.tick()
            return numbers

        label = f"{self.label} {stage}"
        checkpoint = Checkpoint(self.folder / f"{stage}.pt")
        done = on_rank_0(lambda: len((checkpoint.load() or {"history": ()})["history"]))
        pace = Pace(label, done, epochs)
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
            checkpoint=checkpoint,
            progress=sys.stderr.isatty() and label,
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

    def retrain(
        self, stage: str, model: nn.Module, optimizer: Optimizer, **options: Any
    ) -> list[dict[str, Any]]:
        """:meth:`fit` with the kernels' zeros held at zero: masked retraining."""
        with keep_zeros(model):
            return self.fit(stage, model, optimizer, **options)

    def untrained(self, name: str) -> nn.Module:
        """The dense network ``name`` with this seed's initial weights."""
        set_seed(self.seed)
        model = NETWORKS[name].build()
        # Convolutions on a CPU are much faster with the channels last.
        return model.to(self.device).to(memory_format=torch.channels_last)

    def base(self, name: str) -> nn.Module:
        """A fresh copy of the trained dense network ``name`` of this seed.

        Trained once for each seed, profile and training set, then shared by all rows.
        """
        network = NETWORKS[name]
        settings = network.settings[self.profile]
        kind = fingerprint(settings, network.recipe, len(self.train), self.device)
        folder = self.shared / name / f"{self.profile}-seed{self.seed}-{kind}"
        run = replace(self, folder=folder, label=f"{name} seed {self.seed}")
        folder.mkdir(parents=True, exist_ok=True)
        self.clock.tick()
        with locked(folder / "lock"):  # another row may want it at the same time
            model = run.untrained(name)
            network.recipe(run, model, **settings)
        self.clock.skip()
        self.base_minutes = run.minutes
        return model


@dataclass
class Pace:
    """In a log file, instead of a progress bar: how long a stage will still take.

    Attributes:
        label: of the stage.
        done: epochs behind it.
        epochs: of the whole stage.
    """

    label: str
    done: int
    epochs: int

    def __post_init__(self) -> None:
        self._before = self.done
        self._started = self._told = time.monotonic()

    def tick(self) -> None:
        """An epoch more; a line if the last one is a minute old."""
        self.done += 1
        now = time.monotonic()
        if sys.stderr.isatty() or now - self._told < 60:
            return
        self._told = now
        each = (now - self._started) / (self.done - self._before)
        left = tqdm.format_interval(each * (self.epochs - self.done))
        print(
            f"{self.label}: {self.done} of {self.epochs} epochs, {left} left",
            file=sys.stderr,
            flush=True,
        )


def load_table(name: str) -> tuple[Row, ...]:
    """The rows of a table.

    Raises:
        ValueError: there is no such table.
    """
    check_known("table", name, TABLES)
    return import_module(f"ece661_sparse.reproduce.{name}").ROWS


def check_known(kind: str, name: str, names: Sequence[str]) -> None:
    """Refuse a name that is not among ``names``, with the nearest that is."""
    if name not in names:
        close = get_close_matches(name, names, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
        raise ValueError(f"there is no {kind} {name!r}; {hint}")


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
