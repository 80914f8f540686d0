"""Slide "Pruning results", Table 2: CIFAR-10, ResNet-56 and DenseNet-40.

Each published row twice: with the settings of the authors' code for ResNet-56 (500
epochs of dense training, 600 of GSM, no retraining), and with Table 1's recipe in a
sixth of the epochs. Days and hours on a GPU; the last row, a smaller network, is what
a CPU can do. No CIFAR-10 comes along, so that there is no quick profile.
"""

from functools import partial
from typing import Any

from ece661_sparse.reproduce.engine.row import Row
from ece661_sparse.reproduce.recipes.saliency import gsm, gsm_published

row = partial(Row, table="table2")


def _short(model: str, keep: int, **changes: Any) -> dict[str, Any]:
    """Table 1's recipe: more decay for fewer epochs, Q falling, masked retraining."""
    return {
        "model": model,
        "keep": keep,
        "start": 4 * keep,
        "epochs": 80,
        "retrain_epochs": 20,
        "momentum": 0.98,
        "weight_decay": 5e-4,
        "batch_size": 64,
        "label_smoothing": 0.0,
        "retrain_label_smoothing": 0.0,
        **changes,
    }


PUBLISHED = (  # network, compression, base Top1, pruned Top1, non-zeros
    ("resnet56", "6.6x", 94.05, 94.10, 127_725),
    ("resnet56", "10x", 94.05, 93.80, 85_150),
    ("densenet40", "6.6x", 93.86, 94.07, 150_242),
    ("densenet40", "8x", 93.86, 94.02, 125_202),
    ("densenet40", "10x", 93.86, 93.90, 100_161),
)

ROWS = (
    *(
        row(
            name=f"gsm-{model}-{compression}",
            method="GSM",
            model=model,
            dataset="cifar10",
            published={"base_top1": base_top1, "top1": top1, "nonzero": keep},
            recipe=gsm_published,
            settings={"full": {"model": model, "keep": keep}},
        )
        for model, compression, base_top1, top1, keep in PUBLISHED
    ),
    *(
        row(
            name=f"gsm-{model}-{compression}-short",
            method="GSM, 200 epochs in all",
            model=f"{model}-short",
            dataset="cifar10",
            published={"base_top1": base_top1, "top1": top1, "nonzero": keep},
            recipe=gsm,
            settings={"full": _short(f"{model}-short", keep)},
        )
        for model, compression, base_top1, top1, keep in PUBLISHED
    ),
    row(
        name="gsm-resnet20-5x-short",
        method="GSM, 11 epochs in all",
        model="resnet20",
        dataset="cifar10-jpeg",
        published={},
        note="a smaller network and few epochs, for one core of a CPU, on images "
        "recompressed as JPEG: not comparable with the published figures",
        recipe=gsm,
        settings={
            "full": _short(
                "resnet20", 54_179, epochs=4, retrain_epochs=2, weight_decay=4e-3
            )
        },
    ),
)
