"""Part III on the full MNIST: what gates leave of LeNet-300 and LeNet-5.

Louizos et al. report the sizes that group gates find; continuous sparsification was
published on CIFAR-10 and ImageNet only, so its rows have a goal instead of a figure.
"""

from ece661_sparse.reproduce.continuous import continuous_sparsification
from ece661_sparse.reproduce.rows import Row

SEEDS = (0, 1, 2)

ROWS = (
    Row(
        table="gates",
        name="continuous-lenet300",
        method="Continuous sparsification",
        model="lenet300",
        dataset="mnist",
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
                "lam": 1.2e-5,
                "rounds": 3,
                "epochs": 12,
                "retrain_epochs": 10,
            },
        },
        seeds=SEEDS,
        note="the goal is 98.2 % with at most 2 % of the weights (5,324)",
    ),
    Row(
        table="gates",
        name="continuous-lenet5",
        method="Continuous sparsification",
        model="lenet5",
        dataset="mnist",
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
                "lam": 1e-5,
                "rounds": 3,
                "epochs": 5,
                "retrain_epochs": 4,
                "lr": 0.02,
                "batch_size": 128,
            },
        },
        note="the goal is 99.2 % with at most 1 % of the weights (4,305)",
    ),
)
