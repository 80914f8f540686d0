"""Recipes of the slide "Pruning results" for the methods that GSM is compared with.

All start from the shared dense network, prune it by one method, and end with masked
retraining: SGD with Nesterov momentum, a cosine, light weight decay and label
smoothing, all chosen on validation images. Where a row's settings have a ``shift``, its
images are moved by up to so many pixels; few weights of LeNet-5 no longer fit all of
these, and are retrained without label smoothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from ece661_sparse.reproduce.rows import Outcome, Run
from ece661_sparse.saliency import allocation, kernels, nonzero_mask
from ece661_sparse.saliency.baselines import (
    ADMM,
    DNS,
    add_gates,
    clip_gates,
    gate_penalty,
    gates,
    geometric_schedule,
    input_hessians,
    layer_groups,
    prune_and_retrain,
    prune_layers,
    remove_gates,
)


def han(
    run: Run,
    model: str,
    keep: int | Mapping[str, int],
    rounds: int,
    epochs: int,
    last: int,
    **training: Any,
) -> Outcome:
    """Prune by magnitude over the layer's deviation, ``epochs`` after each round.

    Args:
        keep: weights left after the last round, of all layers together, or of each.
        last: epochs after the last round.
    """
    net = run.base(model)
    sizes = {name: w.numel() for name, w in kernels(net).items()}
    budgets: list[int | Mapping[str, int]] = []
    if isinstance(keep, Mapping):
        columns = {
            f"{name}.weight": geometric_schedule(sizes[f"{name}.weight"], n, rounds)
            for name, n in keep.items()
        }
        for row in zip(*columns.values(), strict=True):
            budgets.append(dict(zip(columns, row, strict=True)))
    else:
        budgets += geometric_schedule(sum(sizes.values()), keep, rounds)

    def finish_round(i: int) -> None:
        retrain(run, f"round{i}", net, last if i == rounds - 1 else epochs, **training)

    prune_and_retrain(net, budgets, finish_round)
    return _outcome(net)


def lobs(
    run: Run,
    model: str,
    keep: Mapping[str, int],
    rounds: int,
    damping: float,
    epochs: int,
    **training: Any,
) -> Outcome:
    """Prune each layer by its own Hessian, then retrain.

    Args:
        keep: weights left in each layer.
        rounds: rankings on the way there.
    """
    net = run.base(model)
    batches = run.train.x.split(1000)
    prune_layers(net, input_hessians(net, batches, damping), keep, rounds=rounds)
    retrain(run, "retrain", net, epochs, **training)
    return _outcome(net)


def admm(
    run: Run,
    model: str,
    keep: Mapping[str, int],
    rho: float,
    rounds_per_epoch: int,
    epochs: int,
    lr: float,
    retrain_epochs: int,
    shift: int = 0,
    batch_size: int = 128,
    **training: Any,
) -> Outcome:
    """Adam with a projected copy of the weights, the cut, then retraining.

    Args:
        keep: weights left in each layer.
        rounds_per_epoch: updates of Z and U.
        lr: of Adam, falling to a tenth as a cosine.
        shift: move the images by up to so many pixels, in both trainings.
    """
    net = run.base(model)
    every = len(run.train) // batch_size // rounds_per_epoch
    optimizer = ADMM(layer_groups(net, keep=keep), lr, rho=rho, every=every)
    schedule = CosineAnnealingLR(optimizer, epochs, eta_min=lr / 10)
    run.fit(
        "admm",
        net,
        optimizer,
        epochs=epochs,
        batch_size=batch_size,
        scheduler=schedule,
        loss=_loss(training),
        shift=shift,
    )
    distance = optimizer.distance()
    optimizer.project_()
    training |= {"batch_size": batch_size, "shift": shift}
    retrain(run, "retrain", net, retrain_epochs, **training)
    return _outcome(net, distance=round(distance, 4))


def dns(
    run: Run,
    model: str,
    c: Mapping[str, float],
    gamma: float,
    epochs: int,
    lr: float,
    retrain_epochs: int,
    ramp: int = 0,
    surgery_shift: int = 0,
    batch_size: int = 128,
    **training: Any,
) -> Outcome:
    """Surgery while training, then retraining under the last mask.

    Args:
        c: threshold of each layer, in deviations above the mean magnitude. Biases are
            cut by it as well, as published.
        lr: of the surgery, constant.
        ramp: epochs over which the thresholds rise to c.
        surgery_shift: shift the images by up to so many pixels in the surgery, too.
    """
    net = run.base(model)
    optimizer = DNS(
        layer_groups(net, c=c),
        lr,
        gamma=gamma,
        ramp=ramp * -(-len(run.train) // batch_size),
        weight_decay=training.get("weight_decay", 0.0),
        nesterov=True,
    )
    run.fit(
        "surgery",
        net,
        optimizer,
        epochs=epochs,
        batch_size=batch_size,
        loss=_loss(training),
        shift=surgery_shift,
    )
    retrain(run, "retrain", net, retrain_epochs, batch_size=batch_size, **training)
    biases = [p for p in net.parameters() if p.ndim < 2]
    return _outcome(net, nonzero_biases=sum(int(b.count_nonzero()) for b in biases))


def srinivas(
    run: Run,
    model: str,
    lam1: float,
    lam2: float,
    start: float,
    gate_lr: float,
    epochs: int,
    lr: float,
    retrain_epochs: int,
    batch_size: int = 128,
    **training: Any,
) -> Outcome:
    """Train weights and gates together, round the gates, then retrain.

    Args:
        lam1, lam2: strengths of the bimodal and of the sparsity term.
        start: first value of all gates.
        gate_lr: step of the gates; lr: of the weights. Both constant.
    """
    net = run.base(model)
    add_gates(net, start)
    gate_parameters = list(gates(net))
    own = {id(g) for g in gate_parameters}
    weights = [p for p in net.parameters() if id(p) not in own]
    groups: list[dict[str, Any]] = [
        {"params": weights},
        {"params": gate_parameters, "lr": gate_lr},
    ]
    optimizer = SGD(groups, lr, momentum=0.9)
    clip_gates(optimizer, net)
    task = _loss(training)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return task(logits, labels) + gate_penalty(net, lam1, lam2)

    run.fit("gates", net, optimizer, epochs=epochs, batch_size=batch_size, loss=loss)
    remove_gates(net)
    retrain(run, "retrain", net, retrain_epochs, batch_size=batch_size, **training)
    return _outcome(net)


def _loss(training: Mapping[str, Any]) -> Any:
    return partial(F.cross_entropy, label_smoothing=training.get("smoothing", 0.0))


def retrain(
    run: Run,
    stage: str,
    model: nn.Module,
    epochs: int,
    *,
    retrain_lr: float,
    batch_size: int = 128,
    weight_decay: float = 0.0,
    smoothing: float = 0.0,
    retrain_smoothing: float | None = None,
    shift: int = 0,
) -> None:
    """Masked retraining; ``retrain_smoothing``, if not that of the pruning."""
    if retrain_smoothing is None:
        retrain_smoothing = smoothing
    optimizer: Optimizer = SGD(
        model.parameters(),
        retrain_lr,
        momentum=0.9,
        nesterov=True,
        weight_decay=weight_decay,
    )
    run.retrain(
        stage,
        model,
        optimizer,
        epochs=epochs,
        batch_size=batch_size,
        scheduler=CosineAnnealingLR(optimizer, epochs),
        loss=partial(F.cross_entropy, label_smoothing=retrain_smoothing),
        shift=shift,
    )


def _outcome(model: nn.Module, **extra: Any) -> Outcome:
    kept = {n: k.kept for n, k in allocation(nonzero_mask(model)).items()}
    return Outcome(model, retrained=True, extra={"kept": kept, **extra})
