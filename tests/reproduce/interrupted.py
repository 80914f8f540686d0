"""Ways to interrupt a run, what it must then have made, and every recipe cut short."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from ece661_sparse.reproduce import TABLES, Row, load_table
from ece661_sparse.reproduce.engine.datasets import DATASETS
from ece661_sparse.reproduce.engine.results import result_path, weights_path
from ece661_sparse.reproduce.engine.runner import Options, run_row
from ece661_sparse.reproduce.recipes.dense import NETWORKS, sgd_cosine
from ece661_sparse.training import Checkpoint, Data, Images
from ece661_sparse.training.distributed import processes


@contextmanager
def cut_off(saves: int, before: bool = False) -> Iterator[None]:
    """Stop a run at a certain checkpoint, before it is written or right after."""
    count, save = 0, Checkpoint.save

    def stop(self, **state):
        nonlocal count
        count += 1
        if count == saves and before:
            raise KeyboardInterrupt
        save(self, **state)
        if count == saves:
            raise KeyboardInterrupt

    with patch.object(Checkpoint, "save", stop):
        yield


def what_it_made(results: Path, row: Row) -> tuple[dict[str, Any], bytes]:
    """The result without its clocks, and the bytes of the weights."""
    result = json.loads(result_path(results, row).read_text())
    for name in ("minutes", "base_minutes", "commit"):
        del result[name]
    result["extra"] = [
        {k: v for k, v in extra.items() if "seconds" not in k and "speedup" not in k}
        for extra in result["extra"]
    ]
    return result, weights_path(results, row).read_bytes()


LAYERS = {"fc1": 2_000, "fc2": 500, "fc3": 100}  # of LeNet-300
SHORT: dict[str, dict[str, Any]] = {
    "han": {"keep": 3_000, "rounds": 2, "epochs": 1, "last": 2},
    "lobs": {"keep": LAYERS, "rounds": 2, "epochs": 3},
    "admm": {"keep": LAYERS, "rho": 0.1, "epochs": 3, "retrain_epochs": 1},
    "dns": {"gamma": 0.05, "epochs": 3, "retrain_epochs": 1},
    "srinivas": {"gate_lr": 2e3, "epochs": 3, "retrain_epochs": 1},
    "gsm": {"epochs": 3, "retrain_epochs": 1},
    "hard_concrete": {"epochs": 3, "retrain_epochs": 1},
    # a price at which few gates are left so near s = 0 that rounding decides
    "continuous_sparsification": {
        "lam": 1e-4,
        "rounds": 2,
        "epochs": 2,
        "retrain_epochs": 1,
    },
    "branchy_lenet": {"epochs": 1, "joint_epochs": 2, "held_out": 20},
    "six_exits": {"epochs": 3, "held_out": 20},
    "channel_gating": {"epochs": 3},
    "dynamic_convolution": {"epochs": 3},
    "one_shot": {"epochs": 3},
    "proximal": {"epochs": 3, "retrain_epochs": 1},
    "gsm_published": {"keep": 100, "epochs": 4, "drops": [3], "warmup": 2},
}
"""What each recipe's settings are changed to. All recipes of all tables are here."""

ROWS = {
    row.recipe.__name__: replace(row, keep_weights=True)
    for table in reversed(TABLES)
    for row in reversed(load_table(table))
    if row.recipe is not None
}
"""The first row of each recipe."""


def noise(*shape: int) -> Data:
    """In the place of MNIST, or CIFAR-10."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(180, *shape, generator=generator)
    images = Images(x, torch.randint(10, (180,), generator=generator))
    return Data(images.subset(slice(140)), images.subset(slice(140, None)))


def small_resnet() -> nn.Module:
    """In the place of ResNet-56: batch normalisation and a mean over all places."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )  # fmt: skip


def short(recipe: str) -> Row:
    """A row by this recipe that takes part of a second."""
    row = ROWS[recipe]
    settings = row.settings.get("quick", row.settings.get("full")) | SHORT[recipe]
    settings |= {name: 48 for name in settings if name.endswith("batch_size")}
    return replace(row, settings={"quick": settings})


def run(recipe: str, folder: Path) -> None:
    """Run the recipe on noise, from a dense network of two epochs."""
    quick = {"epochs": 2, "lr": 0.05, "batch_size": 48}
    networks = {
        name: replace(NETWORKS[name], settings={"quick": quick}, recipe=sgd_cosine)
        for name in ("lenet300", "lenet5", "resnet56")
    }
    networks["resnet56"] = replace(networks["resnet56"], build=small_resnet)
    datasets = {
        name: replace(
            DATASETS[name],
            load=lambda profile, device, shape=shape: noise(*shape),
            held_out={"quick": 20},
        )
        for name, shape in (("mnist", (1, 28, 28)), ("cifar10", (3, 32, 32)))
    }
    options = Options(
        "quick", torch.device("cpu"), folder / "checkpoints", folder / "results"
    )
    with patch.dict(NETWORKS, networks), patch.dict(DATASETS, datasets):
        run_row(short(recipe), options, [0])


def run_in_company(recipe: str, folder: Path) -> None:
    """The same in one of several processes."""
    with processes(torch.device("cpu")):
        run(recipe, folder)
