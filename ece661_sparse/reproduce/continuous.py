"""Continuous sparsification on MNIST: rounds of hardening gates, then retraining.

What is done differently from the authors' settings, each choice made on validation
images:

- The gates' learning rate is far above the weights'. The gradient of a gate is that of
  its weight times the weight: small numbers. The authors leave the gates near s = 0 and
  let β decide; here they move, and λ decides.
- Few weights are removed at a time: a small λ and several rounds, the weights going on
  from one to the next. One round with a larger λ keeps as many and is less accurate.
- Label smoothing: a few thousand weights still fit every training image of MNIST; what
  is lost to the dense network is generalisation.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR

from ece661_sparse.gates import (
    ContinuousGate,
    bake,
    expected_l0,
    gate,
    gate_groups,
    hardening,
    remaining,
    start_round,
)
from ece661_sparse.reproduce.rows import Outcome, Run


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
    """Rounds of ``epochs`` from the dense network, bake, masked retraining."""
    network = gate(run.base(model), ContinuousGate)
    smoothed = partial(F.cross_entropy, label_smoothing=label_smoothing)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return smoothed(logits, labels) + lam * expected_l0(network)

    left = []
    for number in range(1, rounds + 1):
        if number > 1:
            start_round(network)
        groups = gate_groups(network, lr, gate_lr, weight_decay)
        optimizer = torch.optim.SGD(groups, momentum=0.9, nesterov=True)
        run.fit(
            f"round-{number}",
            network,
            optimizer,
            epochs=epochs,
            batch_size=batch_size,
            loss=loss,
            scheduler=hardening(optimizer, network, epochs, beta),
        )
        left.append(remaining(network))
    bake(network)
    if retrain_epochs:
        sgd = torch.optim.SGD(
            network.parameters(), retrain_lr, momentum=0.9, nesterov=True
        )
        run.retrain(
            "retrain",
            network,
            sgd,
            epochs=retrain_epochs,
            batch_size=retrain_batch_size,
            loss=smoothed,
            scheduler=CosineAnnealingLR(sgd, retrain_epochs),
        )
    return Outcome(network, retrained=retrain_epochs > 0, extra={"remaining": left})
