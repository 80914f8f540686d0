"""The dense networks that the rows of the tables start from ("Base Top1")."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    LinearLR,
    MultiStepLR,
)

from ece661_sparse.models import LeNet5, LeNet300, densenet40, resnet20, resnet56
from ece661_sparse.reproduce.recipes.run import Run


@dataclass(frozen=True)
class Network:
    """A dense network and how it is trained.

    Attributes:
        title: as the table prints it.
        build: makes it, untrained.
        recipe: ``recipe(run, model, **settings)`` trains it in place.
        settings: the recipe's keyword arguments for each profile.
    """

    title: str
    build: Callable[[], nn.Module]
    recipe: Callable[..., None]
    settings: Mapping[str, Mapping[str, Any]]


def sgd_cosine(
    run: Run,
    model: nn.Module,
    epochs: int,
    lr: float,
    batch_size: int,
    weight_decay: float = 5e-4,
    label_smoothing: float = 0.0,
    shift: int = 0,
    stage: str = "dense",
) -> None:
    """SGD with Nesterov momentum, the learning rate falling to zero as a cosine."""
    sgd = SGD(
        model.parameters(), lr, momentum=0.9, nesterov=True, weight_decay=weight_decay
    )
    run.fit(
        stage,
        model,
        sgd,
        epochs=epochs,
        batch_size=batch_size,
        loss=partial(F.cross_entropy, label_smoothing=label_smoothing),
        scheduler=CosineAnnealingLR(sgd, epochs),
        shift=shift,
    )


def warmup_and_drops(
    optimizer: Optimizer, warmup: int, drops: Sequence[int]
) -> ChainedScheduler:
    """The learning rate rises for ``warmup`` epochs and falls tenfold at ``drops``."""
    rise = LinearLR(optimizer, 1 / warmup, total_iters=warmup - 1)
    return ChainedScheduler([rise, MultiStepLR(optimizer, drops)], optimizer)


def sgd_drops(
    run: Run,
    model: nn.Module,
    epochs: int,
    drops: Sequence[int],
    lr: float,
    batch_size: int,
    weight_decay: float,
    warmup: int = 5,
) -> None:
    """SGD with momentum as Ding et al. train the dense networks of Table 2."""
    sgd = SGD(model.parameters(), lr, momentum=0.9, weight_decay=weight_decay)
    run.fit(
        "dense",
        model,
        sgd,
        epochs=epochs,
        batch_size=batch_size,
        scheduler=warmup_and_drops(sgd, warmup, drops),
    )


# The authors' code for ResNet-56. They left none for DenseNet-40.
DING = {
    "epochs": 500,
    "drops": [100, 200, 300, 400],
    "lr": 0.1,
    "batch_size": 64,
    "weight_decay": 1e-4,
}
SHORT = {"epochs": 100, "lr": 0.1, "batch_size": 128}

NETWORKS = {
    "lenet300": Network(
        "LeNet-300",
        LeNet300,
        sgd_cosine,
        {
            "quick": {"epochs": 20, "lr": 0.05, "batch_size": 64},
            "full": {"epochs": 30, "lr": 0.05, "batch_size": 128},
        },
    ),
    "lenet5": Network(
        "LeNet-5",
        LeNet5,
        sgd_cosine,
        {
            "quick": {"epochs": 15, "lr": 0.03, "batch_size": 64},
            "full": {
                "epochs": 15,
                "lr": 0.02,
                "batch_size": 64,
                "label_smoothing": 0.1,
            },
        },
    ),
    "resnet20": Network(
        "ResNet-20", resnet20, sgd_cosine, {"full": SHORT | {"epochs": 5}}
    ),
    "resnet56": Network("ResNet-56", resnet56, sgd_drops, {"full": DING}),
    "resnet56-short": Network("ResNet-56", resnet56, sgd_cosine, {"full": SHORT}),
    "densenet40": Network("DenseNet-40", densenet40, sgd_drops, {"full": DING}),
    "densenet40-short": Network("DenseNet-40", densenet40, sgd_cosine, {"full": SHORT}),
}
