"""Part III on the full MNIST: what gates leave of LeNet-300 and LeNet-5.

Louizos et al. report the sizes that group gates find; continuous sparsification was
published on CIFAR-10 and ImageNet only, so its rows have a goal instead of a figure.
"""

from functools import partial

from ece661_sparse.reproduce.engine.row import Row
from ece661_sparse.reproduce.recipes.gates import (
    continuous_sparsification,
    hard_concrete,
)

SEEDS = (0, 1, 2)
row = partial(Row, table="gates", dataset="mnist")

ROWS = (
    row(
        name="hard-concrete-lenet300",
        method="Hard concrete, group gates",
        model="lenet300",
        published={"top1": 98.2, "nonzero": 26642},
        recipe=hard_concrete,
        settings={
            "quick": {
                "model": "lenet300",
                "lam": {"fc1": 1e-5, "fc2": 1e-5, "fc3": 3e-4},
                "epochs": 15,
                "retrain_epochs": 5,
                "gate_lr": 2e-2,
                "batch_size": 64,
            },
            "full": {
                "model": "lenet300",
                "lam": {"fc1": 1.1e-6, "fc2": 1.7e-5, "fc3": 4.5e-4},
                "epochs": 50,
                "retrain_epochs": 30,
                "retrain_weight_decay": 5e-4,
            },
        },
        seeds=SEEDS,
        note="published as 266-88-33 at 1.8 % error; the non-zeros are that product",
    ),
    row(
        name="hard-concrete-lenet5",
        method="Hard concrete, group gates",
        model="lenet5",
        published={"top1": 99.1, "nonzero": 38410},
        recipe=hard_concrete,
        settings={
            "quick": {
                "model": "lenet5",
                "lam": {"conv1": 1e-5, "conv2": 5e-6, "fc1": 2e-5, "fc2": 1e-4},
                "epochs": 8,
                "retrain_epochs": 3,
                "gate_lr": 2e-2,
                "batch_size": 64,
            },
            "full": {
                "model": "lenet5",
                "lam": {"conv1": 1e-5, "conv2": 2e-6, "fc1": 4.3e-6, "fc2": 5e-5},
                "epochs": 12,
                "retrain_epochs": 5,
                "retrain_weight_decay": 5e-4,
            },
        },
        note="published as 20-25-45-462 at 0.9 % error; the non-zeros are that product",
    ),
    row(
        name="continuous-lenet300",
        method="Continuous sparsification",
        model="lenet300",
        published={},
        recipe=continuous_sparsification,
        settings={
            "quick": {
                "model": "lenet300",
                "lam": 1e-5,
                "rounds": 2,
                "epochs": 10,
                "retrain_epochs": 5,
                "batch_size": 64,
            },
            "full": {
                "model": "lenet300",
                "lam": 7e-6,
                "rounds": 3,
                "epochs": 12,
                "retrain_epochs": 10,
            },
        },
        seeds=SEEDS,
        note="the goal is 98.2 % with at most 2 % of the weights (5,324)",
    ),
    row(
        name="continuous-lenet5",
        method="Continuous sparsification",
        model="lenet5",
        published={},
        recipe=continuous_sparsification,
        settings={
            "quick": {
                "model": "lenet5",
                "lam": 1e-5,
                "rounds": 2,
                "epochs": 6,
                "retrain_epochs": 3,
                "lr": 0.02,
                "batch_size": 64,
            },
            "full": {
                "model": "lenet5",
                "lam": 4.5e-6,
                "rounds": 2,
                "epochs": 6,
                "retrain_epochs": 10,
                "lr": 0.02,
                "batch_size": 128,
                "retrain_lr": 0.02,
            },
        },
        note="the goal is 99.2 % with at most 1 % of the weights (4,305)",
    ),
)
