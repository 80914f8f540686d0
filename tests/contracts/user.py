"""What a user writes, of all parts, checked with ``mypy --strict``."""

from functools import partial
from typing import assert_type

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import ChainedScheduler, CosineAnnealingLR

from ece661_sparse import dynamic, gates, saliency
from ece661_sparse.core import Schedule, linear
from ece661_sparse.models import LeNet300, NarrowCNN
from ece661_sparse.proximal import MCP, ProximalOptimizer, weight_groups
from ece661_sparse.saliency import baselines
from ece661_sparse.training import Images, accuracy, train

images = Images(torch.randn(40, 784), torch.randint(10, (40,)))
fit = partial(train, images=images, epochs=1, progress=False)


def with_a_closure() -> float:
    """Part I, step by step."""
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


def pruned(keep: int = 5000) -> float:
    """Part II: GSM, the cut, masked retraining."""
    model = LeNet300()
    gsm = saliency.GSM(model.parameters(), lr=0.01, keep=keep, average=0.9)
    fit(model, gsm, scheduler=saliency.GradualKeep(gsm, start=20_000, epochs=1))
    saliency.apply_mask(model, saliency.global_mask(saliency.magnitude(model), keep))
    with saliency.keep_zeros(model):
        fit(model, SGD(model.parameters(), lr=0.1))
    assert sum(int(w.count_nonzero()) for w in saliency.kernels(model).values()) <= keep
    return accuracy(model, images)


def compared() -> None:
    """Two rows of Table 1: optimizers of torch, too."""
    model = LeNet300()
    keep = {"fc1": 9408, "fc2": 2100, "fc3": 120}
    admm = baselines.ADMM(baselines.layer_groups(model, keep=keep))
    dns = baselines.DNS(baselines.layer_groups(model, c={"fc1": 1.0}), lr=0.01)
    optimizers: list[Optimizer] = [admm, dns]
    for optimizer in optimizers:
        fit(model, optimizer)
    admm.project_()


def gated(lam: float = 1e-6) -> None:
    """Part III, and the gates of Srinivas: a gated model has the type that it had."""
    model = gates.gate(LeNet300(), gates.HardConcrete, groups="unit")
    assert_type(model, LeNet300)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels) + lam * gates.expected_l0(model)

    fit(model, Adam(gates.gate_groups(model, lr=1e-3, gate_lr=1e-2)), loss=loss)
    assert_type(gates.bake(model), LeNet300)

    binary = gates.gate(LeNet300(), partial(baselines.TrainableGate, start=0.8))
    sgd = SGD(gates.gate_groups(binary, lr=0.02, gate_lr=1.0))
    baselines.clip_gates(sgd, binary)
    assert_type(baselines.gate_penalty(binary, lam1=0, lam2=lam), Tensor)
    fit(gates.bake(binary), sgd)


def adaptive(epochs: int = 1) -> None:
    """Part IV, gates that harden, and a schedule of one's own."""
    model = dynamic.make_dynamic(NarrowCNN(2), skip=("conv1",))
    assert_type(model, NarrowCNN)
    digits = Images(images.x.view(-1, 1, 28, 28), images.y)
    adam = Adam(model.parameters())
    annealing = dynamic.TemperatureAnnealing(adam, model, epochs=epochs)
    both = ChainedScheduler([CosineAnnealingLR(adam, epochs), annealing])
    train(model, adam, digits, epochs=epochs, scheduler=both, progress=False)
    assert_type(dynamic.with_average_attention(model, digits.x), NarrowCNN)

    soft = gates.gate(LeNet300(), gates.ContinuousGate)
    sgd = SGD(gates.gate_groups(soft, lr=0.1, gate_lr=1.0))
    schedule = Schedule(sgd, lam=linear(0, 1e-6, steps=epochs))
    assert_type(schedule["lam"], float)
    fit(soft, sgd, scheduler=gates.hardening(sgd, soft, steps=epochs + 1))


def main() -> None:
    """All of it."""
    with_a_closure()
    pruned()
    compared()
    gated()
    adaptive()
