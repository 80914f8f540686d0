"""What a user writes: every optimizer and gates, checked with ``mypy --strict``."""

from functools import partial
from typing import assert_type

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import ChainedScheduler, CosineAnnealingLR

from ece661_sparse.gates import HardConcrete, bake, expected_l0, gate, gate_groups
from ece661_sparse.models import LeNet300
from ece661_sparse.proximal import MCP, ProximalOptimizer, weight_groups
from ece661_sparse.saliency import (
    GSM,
    GradualKeep,
    apply_mask,
    global_mask,
    keep_zeros,
    kernels,
    magnitude,
)
from ece661_sparse.saliency.baselines import (
    ADMM,
    DNS,
    TrainableGate,
    clip_gates,
    gate_penalty,
    layer_groups,
)
from ece661_sparse.training import Images, accuracy, train


def with_a_closure(images: Images) -> float:
    """Part I, a step at a time."""
    model = LeNet300()
    sgd = SGD(weight_groups(model), lr=0.1, momentum=0.9)
    optimizer = ProximalOptimizer(sgd, [MCP(1e-4, gamma=50.0), None])

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images.x), images.y)
        loss.backward()  # type: ignore[no-untyped-call]  # of torch
        return loss

    loss = optimizer.step(closure)
    assert_type(loss, Tensor)
    assert_type(optimizer.step(lambda: 0.5), float)
    optimizer.step()
    return loss.item()


def pruned(images: Images, keep: int = 5000) -> float:
    """Part II: GSM, the cut, masked retraining."""
    model = LeNet300()
    optimizer = GSM(model.parameters(), lr=0.01, keep=keep, average=0.9)
    gradual = GradualKeep(optimizer, start=20_000, epochs=1)
    both = ChainedScheduler([gradual, CosineAnnealingLR(optimizer, 1)], optimizer)
    train(model, optimizer, images, epochs=1, scheduler=both, progress=False)
    apply_mask(model, global_mask(magnitude(model), keep))
    with keep_zeros(model):
        train(model, SGD(model.parameters(), lr=0.1), images, epochs=1, progress=False)
    assert sum(int(w.count_nonzero()) for w in kernels(model).values()) <= keep
    return accuracy(model, images)


def compared(images: Images) -> None:
    """Two rows of Table 1; both are optimizers of torch."""
    model = LeNet300()
    admm = ADMM(layer_groups(model, keep={"fc1": 9408, "fc2": 2100, "fc3": 120}))
    dns = DNS(layer_groups(model, c={"fc1": 1.0, "fc2": 0.5}), lr=0.01)
    optimizers: list[Optimizer] = [admm, dns]
    for optimizer in optimizers:
        train(model, optimizer, images, epochs=1, progress=False)
    admm.project_()


def gated(images: Images, lam: float = 1e-6) -> None:
    """Part III, and Srinivas's gates; a gated model has the type that it had."""
    model = gate(LeNet300(), HardConcrete, groups="unit")
    assert_type(model, LeNet300)
    adam = Adam(gate_groups(model, lr=1e-3, gate_lr=1e-2))

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels) + lam * expected_l0(model)

    train(model, adam, images, epochs=1, loss=loss, progress=False)
    assert_type(bake(model), LeNet300)

    binary = gate(LeNet300(), partial(TrainableGate, start=0.8))
    sgd = SGD(gate_groups(binary, lr=0.02, gate_lr=1.0))
    clip_gates(sgd, binary)

    def penalised(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels) + gate_penalty(binary, 0, 1e-6)

    train(binary, sgd, images, epochs=1, loss=penalised, progress=False)
    bake(binary)


def main() -> None:
    images = Images(torch.randn(40, 784), torch.randint(10, (40,)))
    with_a_closure(images)
    pruned(images)
    compared(images)
    gated(images)
