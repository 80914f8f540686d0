"""Part III as recipes: gates on the trained dense network, bake, masked retraining.

Choices that differ from the papers were made on validation images; each recipe says
which. Both recipes smooth the labels: a few thousand weights still fit every training
image of MNIST, and what is lost to the dense network is generalisation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import CosineAnnealingLR

from ece661_sparse.gates import (
    Bernoulli,
    ContinuousGate,
    HardConcrete,
    bake,
    expected_l0,
    gate,
    gate_groups,
    gates,
    hardening,
    remaining,
    start_round,
)
from ece661_sparse.reproduce.recipes.finish import retrain
from ece661_sparse.reproduce.recipes.run import Outcome, Run
from ece661_sparse.synthesis.dead_units import Layer, cut_dead_ends

KINDS = {"hard_concrete": HardConcrete, "bernoulli": Bernoulli}


def hard_concrete(
    run: Run,
    model: str,
    lam: Mapping[str, float],
    epochs: int,
    retrain_epochs: int,
    lr: float = 1e-3,
    gate_lr: float = 1e-2,
    log_alpha: float = 1.0,
    batch_size: int = 128,
    label_smoothing: float = 0.1,
    retrain_lr: float = 0.05,
    retrain_weight_decay: float = 0.0,
    kind: str = "hard_concrete",
    groups: str = "unit",
) -> Outcome:
    """Gates on every layer of a LeNet, ``"hard_concrete"`` or ``"bernoulli"``.

    What is done differently from Louizos et al. (200 epochs of Adam from scratch,
    averaged weights):

    - It starts from the dense network, and the gates learn ten times faster than the
      weights: the whole takes less than half of the epochs.
    - Every layer has a λ of its own, as in the paper's second LeNet-5: the gates of a
      layer hold as many weights as it has outputs, so one λ for all hardly closes the
      last ones.
    - After baking, what no gate left open can reach is cut off too, and the rest is
      retrained. (Without weight decay the retraining loses what the noise of the gates
      had won.)

    Args:
        lam: λ, by the layer's name.
        groups: what a gate opens, ``"unit"`` or ``"weight"``.
    """
    one_gate = partial(KINDS[kind], log_alpha=log_alpha)
    network = gate(run.base(model), one_gate, groups)
    smoothed = partial(F.cross_entropy, label_smoothing=label_smoothing)
    found = gates(network)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        costs = [lam[name] * g.expected_l0() for name, g in found.items()]
        return smoothed(logits, labels) + torch.stack(costs).sum()

    adam = Adam(gate_groups(network, lr, gate_lr))
    run.fit(
        "gates",
        network,
        adam,
        epochs=epochs,
        batch_size=batch_size,
        loss=loss,
        scheduler=CosineAnnealingLR(adam, epochs),
    )
    open_gates = [int(g.mask().sum()) for g in found.values()]
    layers = [cast(Layer, network.get_submodule(name)) for name in found]
    bake(network)
    cut_dead_ends(layers)
    retrain(
        run,
        network,
        retrain_epochs,
        retrain_lr=retrain_lr,
        batch_size=batch_size,
        weight_decay=retrain_weight_decay,
        label_smoothing=label_smoothing,
    )
    return Outcome(
        network,
        retrained=retrain_epochs > 0,
        extra={"open_gates": open_gates, "architecture": architecture(layers)},
    )


def architecture(layers: Sequence[Layer]) -> list[int]:
    """As the paper counts: maps of convolutions, inputs of dense layers, in use."""
    return [
        int(layer.weight.flatten(1).any(int(isinstance(layer, nn.Conv2d))).sum())
        for layer in layers
    ]


def continuous_sparsification(
    run: Run,
    model: str,
    lam: float,
    rounds: int,
    epochs: int,
    retrain_epochs: int,
    lr: float = 0.05,
    gate_lr: float = 50.0,
    weight_decay: float = 5e-4,
    beta: float = 200.0,
    batch_size: int = 256,
    label_smoothing: float = 0.1,
    retrain_lr: float = 0.05,
    retrain_batch_size: int = 128,
) -> Outcome:
    """Rounds of ``epochs`` with hardening gates, bake, masked retraining.

    What is done differently from the authors' settings:

    - The gates' learning rate is far above the weights'. The gradient of a gate is that
      of its weight times the weight: small numbers. The authors leave the gates near
      s = 0 and let β decide; here they move, and λ decides.
    - Few weights are removed at a time: a small λ and several rounds, the weights going
      on from one to the next. One round with a larger λ keeps as many and is less
      accurate.
    """
    network = gate(run.base(model), ContinuousGate)
    smoothed = partial(F.cross_entropy, label_smoothing=label_smoothing)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return smoothed(logits, labels) + lam * expected_l0(network)

    left = []
    for number in range(1, rounds + 1):
        if number > 1:
            start_round(network)
        groups = gate_groups(network, lr, gate_lr, weight_decay)
        sgd = SGD(groups, momentum=0.9, nesterov=True)
        run.fit(
            f"round-{number}",
            network,
            sgd,
            epochs=epochs,
            batch_size=batch_size,
            loss=loss,
            scheduler=hardening(sgd, network, epochs, beta),
        )
        left.append(remaining(network))
    bake(network)
    retrain(
        run,
        network,
        retrain_epochs,
        retrain_lr=retrain_lr,
        batch_size=retrain_batch_size,
        label_smoothing=label_smoothing,
    )
    return Outcome(network, retrained=retrain_epochs > 0, extra={"remaining": left})
