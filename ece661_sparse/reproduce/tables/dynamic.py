"""Part IV on all of MNIST: early exit, channel gating, dynamic convolution.

Slides "Early exit model" and "Effectiveness of early exiting"; for the others the
slides report no figures on MNIST.
"""

from functools import partial

from ece661_sparse.dynamic import EarlyExit
from ece661_sparse.models import BranchyLeNet, GatedResNet, NarrowCNN
from ece661_sparse.reproduce.engine.row import Row
from ece661_sparse.reproduce.recipes import dynamic

row = partial(Row, table="dynamic", dataset="mnist", seeds=(0, 1, 2))
NOTE = "trained without the images that its threshold was chosen on"

ROWS = (
    row(
        name="branchy-lenet",
        method="BranchyNet, entropy",
        model="B-LeNet",
        published={"base_top1": 99.20, "top1": 99.25},
        recipe=dynamic.branchy_lenet,
        settings={
            "quick": {"epochs": 8, "joint_epochs": 8, "held_out": 800, "within": 0.25},
            "full": {"epochs": 10, "joint_epochs": 8, "held_out": 5000, "within": 0.04},
        },
        note=NOTE,
        build=lambda: EarlyExit(BranchyLeNet()),
        measure=dynamic.measure_branchy_lenet,
    ),
    row(
        name="six-exits",
        method="Entropy against patience",
        model="CNN with six exits",
        published={},
        recipe=dynamic.six_exits,
        settings={
            "quick": {"epochs": 10, "held_out": 800},
            "full": {"epochs": 8, "held_out": 5000},
        },
        note=NOTE,
        build=lambda: EarlyExit(dynamic.cnn_with_six_exits()),
        measure=dynamic.measure_six_exits,
    ),
    row(
        name="channel-gating",
        method="Channel gating",
        model="Gated ResNet",
        published={},
        recipe=dynamic.channel_gating,
        settings={
            "quick": {"epochs": 12, "lr": 3e-3, "lam": 1.0},
            "full": {"epochs": 10, "lr": 3e-3, "lam": 0.2},
        },
        build=GatedResNet,
        measure=dynamic.measure_channel_gating,
    ),
    *(
        row(
            name=f"{name}-{width}",
            method=method,
            model=f"CNN, width {width}",
            published={},
            recipe=dynamic.dynamic_convolution,
            settings={
                "quick": {"width": width, "epochs": 12, "lr": 3e-2, "kind": kind},
                "full": {"width": width, "epochs": 8, "lr": 3e-2, "kind": kind},
            },
            build=partial(NarrowCNN, 2 * width)
            if kind == "wide"
            else partial(dynamic.dynamic_cnn, width),
            measure=dynamic.measure_dynamic_convolution,
        )
        for width in (2, 4)
        for name, method, kind in (
            ("dynamic-conv", "Dynamic convolution", "annealed"),
            ("dynamic-conv-cold", "Dynamic convolution, T = 1", "cold"),
            ("twice-as-wide", "Static, same storage", "wide"),
        )
    ),
)
