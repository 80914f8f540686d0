"""Part II as recipes: the rows of the slide "Pruning results", and one-shot pruning.

All start from the shared dense network, prune it by one method, and retrain what is
left; the settings of that, ``training``, are those of
:func:`~ece661_sparse.reproduce.recipes.finish.retrain`. Its label smoothing is used
while pruning, too. All settings were chosen on validation images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ChainedScheduler, CosineAnnealingLR, MultiStepLR

from ece661_sparse.gates import bake, gate, gate_groups
from ece661_sparse.reproduce.recipes.dense import warmup_and_drops
from ece661_sparse.reproduce.recipes.finish import retrain
from ece661_sparse.reproduce.recipes.run import Outcome, Run
from ece661_sparse.saliency import (
    GSM,
    GradualKeep,
    allocation,
    apply_mask,
    averaged_taylor,
    global_mask,
    kernels,
    magnitude,
    nonzero_mask,
)
from ece661_sparse.saliency.baselines import (
    ADMM,
    DNS,
    TrainableGate,
    clip_gates,
    gate_penalty,
    geometric_schedule,
    input_hessians,
    layer_groups,
    prune_and_retrain,
    prune_layers,
)

# --- at once ---------------------------------------------------------------------


def one_shot(
    run: Run, model: str, keep: int, criterion: str, epochs: int, **training: Any
) -> Outcome:
    """Cut once by ``criterion``, ``"magnitude"`` or ``"taylor"``, then retrain."""
    net = run.base(model)
    if criterion == "magnitude":
        scores = magnitude(net)
    else:
        batches = zip(run.train.x.split(128), run.train.y.split(128), strict=True)
        scores = averaged_taylor(net, batches)
    apply_mask(net, global_mask(scores, keep))
    retrain(run, net, epochs, **training)
    return Outcome(net, retrained=True)


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
    retrain(run, net, epochs, **training)
    return _outcome(net)


# --- while training --------------------------------------------------------------


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
        n = last if i == rounds - 1 else epochs
        retrain(run, net, n, stage=f"round{i}", **training)

    prune_and_retrain(net, budgets, finish_round)
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
    both: dict[str, Any] = {"batch_size": batch_size, "shift": shift}
    run.fit(
        "admm",
        net,
        optimizer,
        epochs=epochs,
        scheduler=CosineAnnealingLR(optimizer, epochs, eta_min=lr / 10),
        loss=_loss(**training),
        **both,
    )
    distance = optimizer.distance()
    optimizer.project_()
    retrain(run, net, retrain_epochs, **both, **training)
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
        loss=_loss(**training),
        shift=surgery_shift,
    )
    retrain(run, net, retrain_epochs, batch_size=batch_size, **training)
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
    gate(net, partial(TrainableGate, start=start))
    optimizer = SGD(gate_groups(net, lr, gate_lr), momentum=0.9)
    clip_gates(optimizer, net)
    task = _loss(**training)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return task(logits, labels) + gate_penalty(net, lam1, lam2)

    run.fit("gates", net, optimizer, epochs=epochs, batch_size=batch_size, loss=loss)
    bake(net)
    retrain(run, net, retrain_epochs, batch_size=batch_size, **training)
    return _outcome(net)


def _loss(label_smoothing: float = 0.0, **_: Any) -> Callable[..., Tensor]:
    return partial(F.cross_entropy, label_smoothing=label_smoothing)


def _outcome(model: nn.Module, **extra: Any) -> Outcome:
    kept = {n: k.kept for n, k in allocation(nonzero_mask(model)).items()}
    return Outcome(model, retrained=True, extra={"kept": kept, **extra})


# --- Global Sparse Momentum ------------------------------------------------------


def gsm(
    run: Run,
    model: str,
    keep: int,
    start: int,
    epochs: int,
    retrain_epochs: int,
    lr: float = 0.01,
    momentum: float = 0.99,
    weight_decay: float = 1e-3,
    average: float = 0.9,
    batch_size: int = 256,
    label_smoothing: float = 0.1,
    retrain_label_smoothing: float = 0.1,
    retrain_lr: float = 0.05,
    retrain_batch_size: int = 128,
    shift: int = 0,
) -> Outcome:
    """GSM from the dense network, the cut by global magnitude, masked retraining.

    In a quarter of the published 280 epochs. What is done differently for it:

    - Q falls gradually to its end, and the saliency is an average over batches. With
      the saliency of single batches the active set is reshuffled at every step: the
      weights that come back again and again never decay, and cutting them off costs
      accuracy.
    - Label smoothing. 4,436 weights still fit every training image of MNIST; what is
      lost to the dense network is generalisation.
    - Masked retraining, a few epochs, after the cut by magnitude.
    - For LeNet-5 and for LeNet-300 at 100x, images shifted by up to a pixel,
      differently in every epoch. 3,444 and 1,435 weights of LeNet-5 no longer fit all
      of these, and are retrained without label smoothing.

    Args:
        keep, start: Q at the end, and at the beginning.
        shift: move the images by up to so many pixels, in both trainings.
    """
    network = run.base(model)
    optimizer = GSM(
        network.parameters(),
        lr=lr,
        keep=keep,
        momentum=momentum,
        weight_decay=weight_decay,
        average=average,
    )
    drops = MultiStepLR(optimizer, [round(0.75 * epochs), round(0.875 * epochs)])
    gradual = GradualKeep(optimizer, start, epochs=round(0.7 * epochs))
    run.fit(
        "gsm",
        network,
        optimizer,
        epochs=epochs,
        batch_size=batch_size,
        loss=_loss(label_smoothing),
        scheduler=ChainedScheduler([gradual, drops], optimizer),
        shift=shift,
    )
    norm_cut_off = _cut(network, keep)
    retrain(
        run,
        network,
        retrain_epochs,
        retrain_lr=retrain_lr,
        batch_size=retrain_batch_size,
        label_smoothing=retrain_label_smoothing,
        shift=shift,
    )
    return Outcome(
        network, retrained=retrain_epochs > 0, extra={"norm_cut_off": norm_cut_off}
    )


def gsm_published(
    run: Run,
    model: str,
    keep: int,
    epochs: int = 600,
    drops: Sequence[int] = (400, 500),
    lr: float = 5e-3,
    momentum: float = 0.98,
    weight_decay: float = 1e-4,
    batch_size: int = 64,
    warmup: int = 5,
) -> Outcome:
    """GSM as published: Q fixed, saliency of single batches, a cut, no retraining."""
    network = run.base(model)
    optimizer = GSM(network.parameters(), lr, keep, momentum, weight_decay)
    run.fit(
        "gsm",
        network,
        optimizer,
        epochs=epochs,
        batch_size=batch_size,
        scheduler=warmup_and_drops(optimizer, warmup, drops),
    )
    _cut(network, keep)
    return Outcome(network)


def _cut(network: nn.Module, keep: int) -> float:
    """Keep the largest weights; the norm of the others as a part of the whole."""
    weights = torch.cat([w.detach().flatten() for w in kernels(network).values()])
    apply_mask(network, global_mask(magnitude(network), keep))
    kept = torch.cat([w.detach().flatten() for w in kernels(network).values()])
    return float((weights - kept).norm() / weights.norm())
