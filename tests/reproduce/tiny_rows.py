"""Rows small enough for tests; python tiny_rows.py ARGUMENTS is their command line."""

import os
import signal
import sys
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from ece661_sparse.reproduce import Outcome, Row, Run, cli
from ece661_sparse.reproduce.engine.datasets import DATASETS, Dataset
from ece661_sparse.reproduce.engine.run import CheckpointedRun
from ece661_sparse.reproduce.engine.runner import Options
from ece661_sparse.reproduce.recipes.dense import NETWORKS, Network
from ece661_sparse.reproduce.tables import table1
from ece661_sparse.saliency import apply_mask, global_mask, keep_zeros, magnitude
from ece661_sparse.training import Data, Images

TRAIN, TEST, HELD_OUT = 90, 37, 20
EPOCHS = 4  # of each of the three stages
PUBLISHED = {"base_top1": 98.0, "top1": 97.0, "nonzero": 40}


def tiny_images(n: int, seed: int) -> Images:
    x = torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return Images(x, (x.mean((1, 2, 3)) > 0).long())


def load_tiny(profile: str, device: torch.device) -> Data:
    return Data(tiny_images(TRAIN, 0), tiny_images(TEST, 1))


class GuardedData(SimpleNamespace):
    """A data set whose test images nobody may look at."""

    @property
    def test(self):
        raise AssertionError("somebody looked at the test set")


def tiny_network() -> nn.Module:
    """Dropout draws from torch's generator, batch normalisation has buffers."""
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Dropout(0.3),
        nn.ReLU(), nn.Linear(12, 2),
    )  # fmt: skip


epochs = count(1)


def count_epochs(model: nn.Module) -> dict[str, float]:
    """A number for the history, a line for each epoch, and the end of a process.

    ``LOSE="1 6"`` in the environment kills rank 1 after six epochs.
    """
    print("epoch", flush=True)
    if os.environ.get("LOSE") == f"{os.environ.get('RANK')} {next(epochs)}":
        os.kill(os.getpid(), signal.SIGKILL)
    return {"norm": float(model[0].weight.detach().norm())}


def dense(run: Run, model: nn.Module, lr: float) -> None:
    sgd = torch.optim.SGD(model.parameters(), lr, momentum=0.9)
    run.fit(
        "dense", model, sgd, epochs=EPOCHS, batch_size=11, evaluate=count_epochs
    )  # fmt: skip


def three_stages(run: Run, keep: int, lr: float) -> Outcome:
    """Dense network, training with noisy weights, pruning, masked retraining."""
    model = run.base("tiny")
    with torch.no_grad():  # between stages: done again, with the same random numbers
        for p in model.parameters():
            p += 0.01 * torch.randn_like(p)
    sgd = torch.optim.SGD(model.parameters(), lr, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(sgd, 2)
    options = {"epochs": EPOCHS, "batch_size": 11, "evaluate": count_epochs}
    history = run.fit("sparse", model, sgd, scheduler=schedule, **options)
    apply_mask(model, global_mask(magnitude(model), keep))
    adam = torch.optim.Adam(model.parameters(), lr / 10)
    with keep_zeros(model):
        history += run.fit("retrain", model, adam, **options)
    return Outcome(
        model, retrained=True, extra={"losses": [record["loss"] for record in history]}
    )


NETWORK = Network(
    "Tiny", tiny_network, dense, {"quick": {"lr": 0.05}, "full": {"lr": 0.05}}
)
DATASET = Dataset(load_tiny, {"quick": HELD_OUT, "full": HELD_OUT}, lambda: True)
ROW = Row(
    table="table1",
    name="tiny",
    method="Tiny et al.",
    model="tiny",
    dataset="tiny",
    published=PUBLISHED,
    recipe=three_stages,
    settings={p: {"keep": 30, "lr": 0.05} for p in ("quick", "full")},
    note="the slide has a typo",
)
NOBODY = Row(
    "table1", "untried", "Nobody", "tiny", "tiny", {"top1": 99.0, "nonzero": 10}
)


CPU = torch.device("cpu")


def install(patch: pytest.MonkeyPatch) -> None:
    """Table 1 has these two rows, on these data and with this network."""
    patch.setitem(NETWORKS, "tiny", NETWORK)
    patch.setitem(DATASETS, "tiny", DATASET)
    patch.setattr(table1, "ROWS", (ROW, NOBODY))


def options(folder: Path, **changes: Any) -> Options:
    """How to run rows with everything in one folder."""
    given = {"profile": "quick", "device": CPU, "out": folder / "results"} | changes
    return Options(checkpoints=folder / "checkpoints", **given)


def result(seed: int = 0, **changes: Any) -> dict[str, Any]:
    """A result of the row, as its file has it."""
    return {
        "row": "tiny",
        "table": "table1",
        "method": "Tiny et al.",
        "model": "tiny",
        "dataset": "tiny",
        "profile": "full",
        "split": "test",
        "device": "cpu",
        "versions": {"python": "3.12.0", "torch": "2.4.0"},
        "parameters": 60,
        "kernel_parameters": 51,
        "retrained": True,
        "published": dict(ROW.published),
        "recipe": {"keep": 30},
        "weights_sha256": f"weights of {seed}",
        "seeds": [seed],
        "commit": [f"commit {seed}"],
        "minutes": [1.5 + seed],
        "base_minutes": [0.5],
        "nonzero": [30 + seed],
        "base_top1": [98.1],
        "top1": [97.0 + seed / 10],
        "extra": [{"seed": seed}],
    } | changes


class UntrainedBase(CheckpointedRun):
    """A run on noise that starts from initial weights: nothing about accuracy."""

    def __init__(self, folder: Path, images: int = 200) -> None:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(images, 1, 28, 28, generator=generator)
        y = torch.randint(10, (images,), generator=generator)
        super().__init__(Images(x, y), 0, "quick", CPU, folder, folder, "test")

    def base(self, name: str) -> nn.Module:
        return self.untrained(NETWORKS[name].build)


def main(*arguments: str) -> int:
    install(pytest.MonkeyPatch())
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
