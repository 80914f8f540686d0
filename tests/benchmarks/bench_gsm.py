"""GSM against torch's fused SGD: the step alone, and a whole training step."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from ece661_sparse.models import LeNet5, LeNet300
from ece661_sparse.saliency import GSM
from ece661_sparse.training import load_mnist
from tests.benchmarks.harness import Bar

PART = "Optimizers"

BATCH, WARM_UP = 256, 30


def sgd(model: nn.Module) -> Optimizer:
    """What GSM does besides ranking."""
    options = {"momentum": 0.99, "weight_decay": 5e-4, "nesterov": True}
    return SGD(model.parameters(), lr=0.01, fused=True, **options)


class Training:
    """A network that has been trained for a while, its optimizer and a batch."""

    def __init__(
        self,
        network: type[nn.Module],
        optimizer: Callable[[nn.Module], Optimizer],
    ) -> None:
        torch.manual_seed(0)
        images = load_mnist("quick").train
        channels_last = {"memory_format": torch.channels_last}
        self.x, self.y = images.x[:BATCH].to(**channels_last), images.y[:BATCH]
        self.model = network().to(**channels_last)
        self.optimizer: Optimizer = optimizer(self.model)
        for _ in range(WARM_UP):
            self.step()
        for group in self.optimizer.param_groups:
            group["lr"] = 1e-9  # a network like this one, for all the repeats
        self.backward()
        self.gradients = [p.grad.clone() for p in self.model.parameters()]

    def backward(self) -> Tensor:
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(self.x), self.y)
        loss.backward()
        return loss

    def step(self) -> None:
        self.backward()
        self.optimizer.step()

    def fresh_gradients(self) -> None:
        """GSM masks them in place."""
        for p, gradient in zip(self.model.parameters(), self.gradients, strict=True):
            p.grad.copy_(gradient)


def bars() -> list[Bar]:
    result = []
    for network, keep, whole in ((LeNet300, 4436, 1.2), (LeNet5, 3444, 1.05)):

        def gsm(model: nn.Module, keep: int = keep) -> Optimizer:
            return GSM(model.parameters(), lr=0.01, keep=keep)

        ours, theirs = Training(network, gsm), Training(network, sgd)

        def prepare(pair: tuple[Training, ...] = (ours, theirs)) -> None:
            for training in pair:
                training.fresh_gradients()

        name = network.__name__
        result += [
            Bar(
                f"GSM, the step alone, {name}",
                "torch.optim.SGD, fused",
                ours.optimizer.step,
                theirs.optimizer.step,
                at_most=5.5,
                prepare=prepare,
                repeats=301,
            ),
            Bar(
                f"GSM, a training step of {name}, batch {BATCH}",
                "torch.optim.SGD, fused",
                ours.step,
                theirs.step,
                at_most=whole,
                repeats=101,
            ),
        ]
    return result
