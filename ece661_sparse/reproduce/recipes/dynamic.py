"""Part IV as recipes: networks whose work depends on the image, and what to measure.

Each is trained by Adam, the learning rate falling to zero as a cosine, beside a network
without the method that is trained the same way. Thresholds of early exit are chosen on
validation images that the network was not trained on, and are part of the network.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import partial
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import ChainedScheduler, CosineAnnealingLR, LRScheduler
from torch.utils.flop_counter import FlopCounterMode

from ece661_sparse.dynamic import (
    BRANCHYNET_WEIGHTS,
    EarlyExit,
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
from ece661_sparse.models import BranchyLeNet, GatedResNet, MultiExitCNN, NarrowCNN
from ece661_sparse.reproduce.recipes.run import Outcome, Run
from ece661_sparse.training import Images, accuracy, hold_out, set_seed


def _adam_and_cosine(
    model: nn.Module, lr: float, epochs: int
) -> tuple[Adam, CosineAnnealingLR]:
    adam = Adam(model.parameters(), lr)
    return adam, CosineAnnealingLR(adam, epochs)


# --- early exit ------------------------------------------------------------------


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
    network = run.untrained(BranchyLeNet)
    trunk = network.trunk()
    _fit_exits(run, "trunk", trunk, images, epochs, 2e-3, F.cross_entropy)
    base = deepcopy(trunk)
    loss = partial(exit_loss, weights=BRANCHYNET_WEIGHTS)
    _fit_exits(run, "joint", network, images, joint_epochs, 1e-3, loss)

    logits = exit_logits(network, validation.x)
    chosen = cheapest_policy(
        entropy_candidates(logits),
        logits,
        validation.y,
        exit_costs(network, validation.x).shares,
        accuracy(base, validation) - within,
    )
    threshold = _threshold(chosen.policy)
    return Outcome(
        EarlyExit(network, threshold).to(run.device),
        base_top1_model=base,
        extra={
            "threshold": threshold,
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
    assert isinstance(model, EarlyExit)
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
        full, early = _seconds(
            (trunk, lambda part: network.infer(part, policy)), x.split(size)
        )
        numbers |= {
            f"full_seconds_batch{size}": full,
            f"early_seconds_batch{size}": early,
            f"speedup_batch{size}": full / early,
        }
    return numbers


def six_exits(run: Run, epochs: int, held_out: int) -> Outcome:
    """Patience against entropy: one network with six exits and PABEE's weights.

    The network answers by entropy, at the threshold that is best on validation images
    among those that cost no more than a patience of 1.
    """
    images, validation = hold_out(run.train, held_out)
    network = run.untrained(cnn_with_six_exits)
    loss = partial(exit_loss, weights=pabee_weights(6))
    _fit_exits(run, "joint", network, images, epochs, 2e-3, loss)
    logits = exit_logits(network, validation.x)
    recorded = logits, validation.y, exit_costs(network, validation.x).shares
    patience = tradeoff(Patience(1), *recorded)
    entropy = best_policy(entropy_candidates(logits), *recorded, patience.cost)
    threshold = _threshold(entropy.policy)
    return Outcome(
        EarlyExit(network, threshold).to(run.device),
        base_top1_model=network,
        extra={
            "threshold": threshold,
            "trained_on": len(images),
            "validation_patience_top1": patience.accuracy,
            "validation_entropy_top1": entropy.accuracy,
        },
    )


def cnn_with_six_exits() -> MultiExit:
    """A convolutional network with an exit after each of its six stages."""
    return MultiExitCNN((1, 2, 3, 4, 5, 6))


def measure_six_exits(model: nn.Module, test: Images) -> dict[str, float]:
    """Accuracy and cost, as a part of the trunk's FLOPs, of both policies."""
    assert isinstance(model, EarlyExit)
    logits = exit_logits(model.network, test.x)
    recorded = logits, test.y, exit_costs(model.network, test.x).shares
    patience = tradeoff(Patience(1), *recorded)
    entropy = tradeoff(model.policy, *recorded)
    return {
        "patience_top1": patience.accuracy,
        "patience_flops_ratio": patience.cost,
        "entropy_top1": entropy.accuracy,
        "entropy_flops_ratio": entropy.cost,
    }


def _fit_exits(
    run: Run,
    stage: str,
    model: nn.Module,
    images: Images,
    epochs: int,
    lr: float,
    loss: Callable[..., Tensor],
) -> None:
    adam, cosine = _adam_and_cosine(model, lr, epochs)
    run.fit(
        stage,
        model,
        adam,
        epochs=epochs,
        images=images,
        batch_size=128,
        scheduler=cosine,
        loss=loss,
    )


def _threshold(policy: Any) -> float:
    assert isinstance(policy, EntropyThreshold)
    assert isinstance(policy.threshold, float)  # one for all exits
    return policy.threshold


@torch.no_grad()
def _seconds(
    functions: Iterable[Callable[[Tensor], object]], batches: tuple[Tensor, ...]
) -> list[float]:
    """Median times of the functions over all batches, in turn, after one to warm up."""
    times: list[list[float]] = []
    for _ in range(6):
        times.append([])
        for function in functions:
            start = time.perf_counter()
            for part in batches:
                function(part)
            if batches[0].is_cuda:
                torch.cuda.synchronize()
            times[-1].append(time.perf_counter() - start)
    return [median(column) for column in zip(*times[1:], strict=True)]


# --- channel gating --------------------------------------------------------------


def channel_gating(run: Run, epochs: int, lr: float, lam: float) -> Outcome:
    """A gated residual network, and its twin without gates trained the same way.

    Args:
        epochs, lr: of both.
        lam: final weight of the share of open gates, see ``penalty_weights``.
    """

    def trained(stage: str, gated: bool) -> nn.Module:
        model = run.untrained(partial(GatedResNet, gated=gated))
        adam, cosine = _adam_and_cosine(model, lr, epochs)

        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            value = F.cross_entropy(logits, labels)
            if not gated:
                return value
            # the scheduler is in the checkpoint, so a resumed run knows where it is
            weights = penalty_weights(cosine.last_epoch / epochs, lam)
            return value + gate_loss(model, *weights)

        run.fit(
            stage,
            model,
            adam,
            epochs=epochs,
            batch_size=128,
            scheduler=cosine,
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


# --- dynamic convolution ---------------------------------------------------------


def dynamic_cnn(width: int) -> nn.Module:
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
        epochs, lr: of both.
        kind: ``"annealed"``: dynamic, the temperature falls from 30 to 1 over half of
            the epochs; ``"cold"``: dynamic, it is 1 throughout; ``"wide"``: static
            again and twice as wide, which stores as much as the dynamic ones.
    """

    def trained(stage: str, model: nn.Module, annealed: bool) -> nn.Module:
        model = model.to(run.device)
        adam, cosine = _adam_and_cosine(model, lr, epochs)
        schedules: list[LRScheduler] = [cosine]
        if annealed:
            schedules.append(TemperatureAnnealing(adam, model, epochs=epochs // 2))
        run.fit(
            stage,
            model,
            adam,
            epochs=epochs,
            batch_size=128,
            scheduler=ChainedScheduler(schedules),
            seed=run.seed,
        )
        return model

    set_seed(run.seed)
    base = trained("static", NarrowCNN(width), annealed=False)
    set_seed(run.seed)
    model = NarrowCNN(2 * width) if kind == "wide" else dynamic_cnn(width)
    return Outcome(
        trained(kind, model, annealed=kind == "annealed"), base_top1_model=base
    )


def measure_dynamic_convolution(model: nn.Module, test: Images) -> dict[str, float]:
    """FLOPs of one image."""
    model.eval()
    with FlopCounterMode(display=False) as counter:
        model(test.x[:1])
    return {"flops": counter.get_total_flops()}
