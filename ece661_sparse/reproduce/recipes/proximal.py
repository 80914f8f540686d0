"""Part I as a recipe: the prox of a penalty after each step of SGD."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR

from ece661_sparse.proximal import (
    L0,
    L1,
    MCP,
    SCAD,
    L0Ball,
    Lq,
    Penalty,
    ProximalOptimizer,
    QShrinkage,
    TrimmedL1,
    weight_groups,
)
from ece661_sparse.reproduce.recipes.finish import retrain
from ece661_sparse.reproduce.recipes.run import Outcome, Run

PENALTIES: Mapping[str, Callable[..., Penalty]] = {
    "l0": L0,
    "l0-ball": L0Ball,
    "l1": L1,
    "lq": Lq,
    "q-shrinkage": QShrinkage,
    "scad": SCAD,
    "mcp": MCP,
    "trimmed-l1": TrimmedL1,
}


def proximal(
    run: Run,
    model: str,
    penalty: str,
    shape: Mapping[str, float],
    epochs: int,
    lr: float,
    retrain_epochs: int,
    batch_size: int,
    **training: Any,
) -> Outcome:
    """SGD with the prox of a penalty on the weights, then retrain what is not zero.

    Args:
        penalty: a key of ``PENALTIES``.
        shape: its arguments.
        lr: falling to zero as a cosine.
    """
    net = run.base(model)
    sgd = SGD(weight_groups(net), lr, momentum=0.9)
    run.fit(
        "proximal",
        net,
        ProximalOptimizer(sgd, [PENALTIES[penalty](**shape), None]),
        epochs=epochs,
        batch_size=batch_size,
        scheduler=CosineAnnealingLR(sgd, epochs),
    )
    retrain(run, net, retrain_epochs, batch_size=batch_size, **training)
    return Outcome(net, retrained=True)
