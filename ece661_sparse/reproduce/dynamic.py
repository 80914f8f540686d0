"""Part IV on all of MNIST: early exit.

Slides "Early exit model" and "Effectiveness of early exiting". Thresholds are chosen on
validation images that the network was not trained on, and are part of the network.
"""

from __future__ import annotations

import time
from copy import deepcopy
from functools import partial
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import ChainedScheduler, LRScheduler
from torch.utils.flop_counter import FlopCounterMode

from ece661_sparse.dynamic import (
    BRANCHYNET_WEIGHTS,
    EntropyThreshold,
    MultiExit,
    Patience,
    TemperatureAnnealing,
    best_policy,
    cheapest_policy,
    dynamic_layers,
    entropy_candidates,
    exit_costs,
    exit_logits,
    exit_loss,
    gate_loss,
    make_dynamic,
    pabee_weights,
    penalty_weights,
    record_gates,
    tradeoff,
)
from ece661_sparse.models import (
    BranchyLeNet,
    GatedResNet,
    MultiExitCNN,
    NarrowCNN,
)
from ece661_sparse.reproduce.rows import Outcome, Row, Run
from ece661_sparse.training import Images, accuracy, hold_out, set_seed

SEEDS = (0, 1, 2)

# --- early exit ------------------------------------------------------------------


class EntropyExits(nn.Module):
    """A multi-exit network that answers where the entropy falls below its threshold.

    The threshold is a buffer, stored with the weights it was chosen for.
    """

    threshold: Tensor

    def __init__(self, network: MultiExit, threshold: float = 0.0) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("threshold", torch.tensor(threshold))

    @property
    def policy(self) -> EntropyThreshold:
        return EntropyThreshold(self.threshold.item())

    def forward(self, x: Tensor) -> Tensor:
        return self.network.infer(x, self.policy).logits


def _train(
    run: Run,
    stage: str,
    model: nn.Module,
    images: Images,
    epochs: int,
    lr: float,
    **options: Any,
) -> None:
    """Adam, as BranchyNet has it; the learning rate falls to zero as a cosine."""
    optimizer = torch.optim.Adam(model.parameters(), lr)
    run.fit(
        stage,
        model,
        optimizer,
        epochs=epochs,
        images=images,
        batch_size=128,
        scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs),
        **options,
    )


def branchy_lenet(
    run: Run, epochs: int, joint_epochs: int, held_out: int, within: float
) -> Outcome:
    """BranchyNet's recipe: train the network, then all of it with its early exit.

    Args:
        epochs: of the network without the exit, the base.
        joint_epochs: of both exits together.
        held_out: images not trained on, to choose the threshold on.
        within: percentage points below the base's accuracy that the threshold may
            cost on those.
    """
    images, validation = hold_out(run.train, held_out)
    set_seed(run.seed)
    network = BranchyLeNet().to(run.device).to(memory_format=torch.channels_last)
    trunk = network.trunk()
    _train(run, "trunk", trunk, images, epochs, lr=2e-3)
    base = deepcopy(trunk)
    loss = partial(exit_loss, weights=BRANCHYNET_WEIGHTS)
    _train(run, "joint", network, images, joint_epochs, lr=1e-3, loss=loss)

    logits = exit_logits(network, validation.x)
    chosen = cheapest_policy(
        entropy_candidates(logits),
        logits,
        validation.y,
        exit_costs(network, validation.x).shares,
        accuracy(base, validation) - within,
    )
    assert isinstance(chosen.policy, EntropyThreshold)
    assert isinstance(chosen.policy.threshold, float)
    return Outcome(
        EntropyExits(network, chosen.policy.threshold).to(run.device),
        base_top1_model=base,
        extra={
            "threshold": chosen.policy.threshold,
            "trained_on": len(images),
            "validation_first_exit_share": chosen.shares[0],
            "validation_top1": chosen.accuracy,
        },
    )


def measure_branchy_lenet(model: nn.Module, test: Images) -> dict[str, float]:
    """Where the test images leave, the work that is left, and seconds on this machine.

    Seconds are of the whole test set in batches of 256, and of its first 500 images
    one by one, with the early exit and of the network without it.
    """
    assert isinstance(model, EntropyExits)
    model.eval()
    network, policy = model.network, model.policy
    logits = exit_logits(network, test.x)
    got = tradeoff(policy, logits, test.y, exit_costs(network, test.x).shares)
    numbers = {
        "first_exit_share": got.shares[0],
        "flops_ratio": got.cost,
        "full_top1": 100 * (logits[-1].argmax(1) == test.y).double().mean().item(),
    }
    trunk = network.trunk()
    for size, x in ((256, test.x), (1, test.x[:500])):
        batches = x.split(size)
        full, early = _seconds(
            lambda part: trunk(part), lambda part: network.infer(part, policy), batches
        )
        numbers |= {
            f"full_seconds_batch{size}": full,
            f"early_seconds_batch{size}": early,
            f"speedup_batch{size}": full / early,
        }
    return numbers


@torch.no_grad()
def _seconds(full: Any, early: Any, batches: tuple[Tensor, ...]) -> list[float]:
    """Median times of both over all batches, in turn, after a round to warm up."""
    times: list[list[float]] = []
    for _ in range(6):
        times.append([])
        for function in (full, early):
            start = time.perf_counter()
            for part in batches:
                function(part)
            if batches[0].is_cuda:
                torch.cuda.synchronize()
            times[-1].append(time.perf_counter() - start)
    return [median(column) for column in zip(*times[1:], strict=True)]


def six_exits(run: Run, epochs: int, held_out: int) -> Outcome:
    """Patience against entropy: one network with six exits and PABEE's weights.

    The network answers by entropy, at the threshold that is best on validation images
    among those that cost no more than a patience of 1.
    """
    images, validation = hold_out(run.train, held_out)
    set_seed(run.seed)
    network = _six_exits().to(run.device).to(memory_format=torch.channels_last)
    loss = partial(exit_loss, weights=pabee_weights(6))
    _train(run, "joint", network, images, epochs, lr=2e-3, loss=loss)
    logits = exit_logits(network, validation.x)
    recorded = logits, validation.y, exit_costs(network, validation.x).shares
    patience = tradeoff(Patience(1), *recorded)
    entropy = best_policy(entropy_candidates(logits), *recorded, patience.cost)
    assert isinstance(entropy.policy, EntropyThreshold)
    assert isinstance(entropy.policy.threshold, float)
    return Outcome(
        EntropyExits(network, entropy.policy.threshold).to(run.device),
        base_top1_model=network,
        extra={
            "threshold": entropy.policy.threshold,
            "trained_on": len(images),
            "validation_patience_top1": patience.accuracy,
            "validation_entropy_top1": entropy.accuracy,
        },
    )


def measure_six_exits(model: nn.Module, test: Images) -> dict[str, float]:
    """Accuracy and cost, as a part of the trunk's FLOPs, of both policies."""
    assert isinstance(model, EntropyExits)
    logits = exit_logits(model.network, test.x)
    recorded = logits, test.y, exit_costs(model.network, test.x).shares
    patience, entropy = (
        tradeoff(policy, *recorded) for policy in (Patience(1), model.policy)
    )
    return {
        "patience_top1": patience.accuracy,
        "patience_flops_ratio": patience.cost,
        "entropy_top1": entropy.accuracy,
        "entropy_flops_ratio": entropy.cost,
    }


def _six_exits() -> MultiExit:
    return MultiExitCNN((1, 2, 3, 4, 5, 6))


EARLY_EXIT = (
    Row(
        table="dynamic",
        name="branchy-lenet",
        method="BranchyNet, entropy",
        model="B-LeNet",
        dataset="mnist",
        published={"base_top1": 99.20, "top1": 99.25},
        recipe=branchy_lenet,
        settings={
            "quick": {"epochs": 8, "joint_epochs": 8, "held_out": 800, "within": 0.25},
            "full": {"epochs": 10, "joint_epochs": 8, "held_out": 5000, "within": 0.04},
        },
        seeds=SEEDS,
        note="trained without the images that its threshold was chosen on",
        build=lambda: EntropyExits(BranchyLeNet()),
        measure=measure_branchy_lenet,
    ),
    Row(
        table="dynamic",
        name="six-exits",
        method="Entropy against patience",
        model="CNN with six exits",
        dataset="mnist",
        published={},
        recipe=six_exits,
        settings={
            "quick": {"epochs": 10, "held_out": 800},
            "full": {"epochs": 8, "held_out": 5000},
        },
        seeds=SEEDS,
        note="trained without the images that its threshold was chosen on",
        build=lambda: EntropyExits(_six_exits()),
        measure=measure_six_exits,
    ),
)

# --- channel gating --------------------------------------------------------------


def channel_gating(run: Run, epochs: int, lr: float, lam: float) -> Outcome:
    """A gated residual network, and its twin without gates trained the same way.

    Args:
        epochs, lr: of both: Adam, the learning rate falling to zero as a cosine.
        lam: final weight of the share of open gates, see ``penalty_weights``.
    """

    def trained(stage: str, gated: bool) -> nn.Module:
        set_seed(run.seed)
        model = GatedResNet(gated=gated).to(run.device)
        model = model.to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(model.parameters(), lr)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)

        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            value = F.cross_entropy(logits, labels)
            if not gated:
                return value
            # the scheduler is in the checkpoint, so a resumed run knows where it is
            weights = penalty_weights(scheduler.last_epoch / epochs, lam)
            return value + gate_loss(model, *weights)

        run.fit(
            stage,
            model,
            optimizer,
            epochs=epochs,
            batch_size=128,
            scheduler=scheduler,
            loss=loss,
            seed=run.seed,
        )
        return model

    base = trained("ungated", gated=False)
    return Outcome(trained("gated", gated=True), base_top1_model=base)


def measure_channel_gating(model: nn.Module, test: Images) -> dict[str, float]:
    """Gated FLOPs saved, per image; gates that are always, never or sometimes open."""
    record = record_gates(model, test.x)
    flops = record.flops.double()
    return {
        "saved": record.saved,
        "full_flops": record.full_flops,
        "least_flops": flops.min().item(),
        "most_flops": flops.max().item(),
        **{name.replace(" ", "_"): n for name, n in record.kinds().items()},
    }


CHANNEL_GATING = (
    Row(
        table="dynamic",
        name="channel-gating",
        method="Channel gating",
        model="Gated ResNet",
        dataset="mnist",
        published={},
        recipe=channel_gating,
        settings={
            "quick": {"epochs": 12, "lr": 3e-3, "lam": 1.0},
            "full": {"epochs": 10, "lr": 3e-3, "lam": 0.2},
        },
        seeds=SEEDS,
        build=GatedResNet,
        measure=measure_channel_gating,
    ),
)

# --- dynamic convolution ---------------------------------------------------------


def _dynamic(width: int) -> nn.Module:
    """Four kernels in all convolutions but the first, as in the paper."""
    model = make_dynamic(NarrowCNN(width), kernels=4, skip=("conv1",))
    for _, layer in dynamic_layers(model):
        layer.reset_parameters()
    return model


def dynamic_convolution(
    run: Run, width: int, epochs: int, lr: float, kind: str
) -> Outcome:
    """A narrow static network, and one with more kernels trained the same way.

    Args:
        width: of both.
        epochs, lr: of both: Adam, the learning rate falling to zero as a cosine.
        kind: ``"annealed"``: dynamic, the temperature falls from 30 to 1 over half of
            the epochs; ``"cold"``: dynamic, it is 1 throughout; ``"wide"``: static
            again and twice as wide, which stores as much as the dynamic ones.
    """

    def trained(stage: str, model: nn.Module, annealed: bool) -> nn.Module:
        model = model.to(run.device)
        optimizer = torch.optim.Adam(model.parameters(), lr)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        schedules: list[LRScheduler] = [cosine]
        if annealed:
            annealing = TemperatureAnnealing(optimizer, model, epochs=epochs // 2)
            schedules.append(annealing)
        run.fit(
            stage,
            model,
            optimizer,
            epochs=epochs,
            batch_size=128,
            scheduler=ChainedScheduler(schedules),
            seed=run.seed,
        )
        return model

    set_seed(run.seed)
    base = trained("static", NarrowCNN(width), annealed=False)
    set_seed(run.seed)
    model = NarrowCNN(2 * width) if kind == "wide" else _dynamic(width)
    return Outcome(
        trained(kind, model, annealed=kind == "annealed"), base_top1_model=base
    )


def measure_dynamic_convolution(model: nn.Module, test: Images) -> dict[str, float]:
    """FLOPs of one image."""
    model.eval()
    with FlopCounterMode(display=False) as counter:
        model(test.x[:1])
    return {"flops": counter.get_total_flops()}


DYNAMIC_CONVOLUTION = tuple(
    Row(
        table="dynamic",
        name=f"{name}-{width}",
        method=method,
        model=f"CNN, width {width}",
        dataset="mnist",
        published={},
        recipe=dynamic_convolution,
        settings={
            "quick": {"width": width, "epochs": 12, "lr": 3e-2, "kind": kind},
            "full": {"width": width, "epochs": 8, "lr": 3e-2, "kind": kind},
        },
        seeds=SEEDS,
        build=partial(NarrowCNN, 2 * width)
        if kind == "wide"
        else partial(_dynamic, width),
        measure=measure_dynamic_convolution,
    )
    for width in (2, 4)
    for name, method, kind in (
        ("dynamic-conv", "Dynamic convolution", "annealed"),
        ("dynamic-conv-cold", "Dynamic convolution, T = 1", "cold"),
        ("twice-as-wide", "Static, same storage", "wide"),
    )
)

ROWS = (
    *EARLY_EXIT,
    *CHANNEL_GATING,
    *DYNAMIC_CONVOLUTION,
)
