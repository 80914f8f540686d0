"""Every method of the lecture on the same trained LeNet-300, over a sweep of budgets.

Most methods take the number of weights to keep. Penalties and gates take a strength,
and what is left follows from it: their sweeps run over λ (DNS: over its thresholds),
chosen to cover the same range on validation images. All start from the shared dense
network, have forty epochs, and end with masked retraining.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from ece661_sparse.proximal import (
    L1,
    MCP,
    SCAD,
    Lq,
    Penalty,
    ProximalOptimizer,
    TrimmedL1,
    weight_groups,
)
from ece661_sparse.reproduce.baselines import admm, dns, han, lobs, retrain, srinivas
from ece661_sparse.reproduce.continuous import continuous_sparsification
from ece661_sparse.reproduce.gsm import gsm
from ece661_sparse.reproduce.hard_concrete import hard_concrete
from ece661_sparse.reproduce.rows import Outcome, Row, Run
from ece661_sparse.saliency import (
    apply_mask,
    averaged_taylor,
    global_mask,
    magnitude,
)

WEIGHTS = 266_200
SHARES = (0.1, 0.05, 0.02, 0.01, 0.005)
"""Of the weights that are kept, by the methods that take a budget."""

RETRAINING = {"retrain_lr": 0.05, "weight_decay": 1e-4, "smoothing": 0.1}


def one_shot(
    run: Run,
    model: str,
    keep: int,
    criterion: str,
    retrain_epochs: int,
    **training: Any,
) -> Outcome:
    """Cut once by ``criterion``, ``"magnitude"`` or ``"taylor"``, then retrain."""
    net = run.base(model)
    if criterion == "magnitude":
        scores = magnitude(net)
    else:
        batches = zip(run.train.x.split(128), run.train.y.split(128), strict=True)
        scores = averaged_taylor(net, batches)
    apply_mask(net, global_mask(scores, keep))
    retrain(run, "retrain", net, retrain_epochs, **training)
    return Outcome(net, retrained=True)


PENALTIES: Mapping[str, Callable[..., Penalty]] = {
    "l1": L1,
    "lq": Lq,
    "scad": SCAD,
    "mcp": MCP,
    "trimmed_l1": TrimmedL1,
}


def proximal(
    run: Run,
    model: str,
    penalty: str,
    shape: Mapping[str, float],
    epochs: int,
    lr: float,
    momentum: float,
    retrain_epochs: int,
    batch_size: int = 256,
    **training: Any,
) -> Outcome:
    """SGD with the prox of a penalty on the weights, then retrain what is not zero.

    Args:
        penalty: a key of ``PENALTIES``.
        shape: its arguments.
        lr: falling to zero as a cosine.
    """
    net = run.base(model)
    sgd = torch.optim.SGD(weight_groups(net), lr, momentum=momentum)
    run.fit(
        "proximal",
        net,
        ProximalOptimizer(sgd, [PENALTIES[penalty](**shape), None]),
        epochs=epochs,
        batch_size=batch_size,
        scheduler=CosineAnnealingLR(sgd, epochs),
    )
    retrain(run, "retrain", net, retrain_epochs, batch_size=batch_size, **training)
    return Outcome(net, retrained=True)


def _layers(keep: int) -> dict[str, int]:
    """For methods that want a budget a layer: the shares of Zhang et al."""
    last = min(round(0.02 * keep), 1_000)
    second = round(0.2 * keep)
    return {"fc1": keep - second - last, "fc2": second, "fc3": last}


def _budgets(share: float) -> dict[str, tuple[Callable[..., Outcome], dict[str, Any]]]:
    """The methods that keep this share of the weights."""
    keep = round(WEIGHTS * share)
    shot = RETRAINING | {"keep": keep, "retrain_epochs": 40, "batch_size": 256}
    baseline = RETRAINING | {"batch_size": 256}
    return {
        "magnitude": (one_shot, shot | {"criterion": "magnitude"}),
        "taylor": (one_shot, shot | {"criterion": "taylor"}),
        "han": (han, baseline | {"keep": keep, "rounds": 5, "epochs": 5, "last": 20}),
        "lobs": (
            lobs,
            baseline
            | {"keep": _layers(keep), "rounds": 10, "damping": 1e-3, "epochs": 40},
        ),
        "admm": (
            admm,
            baseline
            | {
                "keep": _layers(keep),
                "rho": 1e-3,
                "rounds_per_epoch": 2,
                "epochs": 20,
                "lr": 1e-3,
                "retrain_epochs": 20,
            },
        ),
        "gsm": (
            gsm,
            {
                "keep": keep,
                "start": min(20 * keep, WEIGHTS // 2),
                "epochs": 30,
                "retrain_epochs": 10,
                "weight_decay": 2e-3,
            },
        ),
    }


def _proximal(penalty: str, **shape: float) -> tuple[Any, dict[str, Any]]:
    settings = {
        "penalty": penalty,
        "shape": shape,
        "epochs": 25,
        "lr": 0.05,
        "momentum": 0.9,
        "retrain_epochs": 15,
    }
    return proximal, RETRAINING | settings


FREE = 0.1
"""From this size on, a weight of LeNet-300 is not shrunk by SCAD and MCP."""


def _strengths(i: int) -> dict[str, tuple[Callable[..., Outcome], dict[str, Any]]]:
    """The methods whose strength decides how many weights are left."""
    l1 = (3e-5, 6e-5, 1.5e-4, 3e-4, 6e-4)[i]
    lq = (3e-5, 6e-5, 1.2e-4, 2e-4, 4e-4)[i]
    clipped = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3)[i]
    gate_penalty = (1e-6, 3e-6, 7e-6, 2e-5, 5e-5)[i]
    stochastic = (3e-7, 1e-6, 3e-6, 8e-6, 2e-5)[i]
    return {
        "l1": _proximal("l1", lam=l1),
        "lq": _proximal("lq", lam=lq, q=0.5),
        "scad": _proximal("scad", lam=clipped, a=FREE / clipped),
        "mcp": _proximal("mcp", lam=clipped, gamma=FREE / clipped),
        "trimmed-l1": _proximal(
            "trimmed_l1", lam=6e-4, h=round(WEIGHTS * SHARES[i] * 0.8)
        ),
        "dns": (
            dns,
            RETRAINING
            | {
                "c": {"fc1": (2.5, 4.5, 7.5, 9.5, 12.0)[i], "fc2": 3.5, "fc3": 0.7},
                "gamma": 1e-4,
                "epochs": 25,
                "lr": 0.05,
                "retrain_epochs": 15,
                "batch_size": 256,
            },
        ),
        "srinivas": (
            srinivas,
            RETRAINING
            | {
                "lam1": 5e-6,
                "lam2": (5e-6, 1e-5, 2e-5, 4e-5, 8e-5)[i],
                "start": 0.8,
                "gate_lr": 20.0,
                "epochs": 25,
                "lr": 0.05,
                "retrain_epochs": 15,
                "batch_size": 256,
            },
        ),
        "continuous": (
            continuous_sparsification,
            {"lam": gate_penalty, "rounds": 2, "epochs": 15, "retrain_epochs": 10},
        ),
        "hard-concrete": (
            hard_concrete,
            {
                "groups": "weight",
                "lam": dict.fromkeys(("fc1", "fc2", "fc3"), stochastic),
                "epochs": 30,
                "retrain_epochs": 10,
                "batch_size": 256,
            },
        ),
    }


TITLES = {
    "magnitude": "Magnitude, once",
    "taylor": "Taylor saliency, once",
    "han": "Han et al.",
    "lobs": "L-OBS",
    "admm": "Zhang et al. (ADMM)",
    "gsm": "GSM",
    "l1": "Proximal, ℓ1",
    "lq": "Proximal, ℓ1/2",
    "scad": "Proximal, SCAD",
    "mcp": "Proximal, MCP",
    "trimmed-l1": "Trimmed ℓ1",
    "dns": "DNS",
    "srinivas": "Srinivas et al.",
    "continuous": "Continuous sparsification",
    "hard-concrete": "Hard concrete",
}


def _row(method: str, i: int, recipe: Callable[..., Outcome], settings: Any) -> Row:
    settings = {"model": "lenet300"} | settings
    return Row(
        table="pareto",
        name=f"{method}-{i + 1}",
        method=TITLES[method],
        model="lenet300",
        dataset="mnist",
        published={},
        recipe=recipe,
        settings={"quick": settings, "full": settings},
        seeds=(0, 1, 2) if SHARES[i] == 0.02 else (0,),
        keep_weights=False,
    )


ROWS = tuple(
    _row(method, i, *made)
    for i, share in enumerate(SHARES)
    for method, made in (_budgets(share) | _strengths(i)).items()
)
