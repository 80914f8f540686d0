"""Do the committed weights do what the committed numbers say?"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ece661_sparse.reproduce.engine.datasets import DATASETS
from ece661_sparse.reproduce.engine.results import (
    read_result,
    result_path,
    weights_path,
)
from ece661_sparse.reproduce.engine.row import Row
from ece661_sparse.training import (
    Images,
    accuracy,
    load_sparse,
    nonzeros,
    sparsity_report,
)

# Points of accuracy. The same images: another CPU or GPU adds in another order.
SLACK = {"full": 0.05, "quick": 0.2}
# 1,000 other images: three standard deviations at 98 %. The quick digits are among
# MNIST's training images, so a network trained on those can only look better.
QUICK_FOR_FULL = 1.5


@dataclass(frozen=True)
class Check:
    """A row's weights, counted and measured again.

    Attributes:
        row: whose weights.
        result: what the JSON says; None: it could not be read.
        nonzero, top1: what was found; None: nothing could be found.
        images: what ``top1`` was measured on.
        faults: what disagrees with the JSON; empty: nothing.
    """

    row: Row
    result: dict[str, Any] | None = None
    nonzero: int | None = None
    top1: float | None = None
    images: str = ""
    faults: tuple[str, ...] = ()


def verify_row(row: Row, folder: Path, device: torch.device) -> Check | None:
    """Check the row's files in ``folder``; None: nobody has run the row."""
    path = weights_path(folder, row)
    try:
        result = read_result(folder, row)
        if result is None:
            if path.exists():
                raise ValueError(f"{path.name} without {result_path(folder, row).name}")
            return None
        if not row.keep_weights:
            return Check(row, result, images="weights not kept")
        model = load_sparse(path, row.untrained()).to(device)
    except (ValueError, FileNotFoundError) as error:
        return Check(row, faults=(str(error),))
    images, profile = _images(row, result, device)
    top1 = None if images is None else accuracy(model, images)
    faults = _count_faults(row, result, model)
    if sha256(path.read_bytes()).hexdigest() != result["weights_sha256"]:
        faults.append("the weights are not the file that the JSON names")
    if top1 is not None:
        faults += _accuracy_faults(result, top1, profile)
    return Check(row, result, nonzeros(model), top1, profile, tuple(faults))


def _images(
    row: Row, result: dict[str, Any], device: torch.device
) -> tuple[Images | None, str]:
    """The test images to measure on, and which they are."""
    dataset, profile = DATASETS[row.dataset], result["profile"]
    if profile == "full" and not dataset.full_is_here():
        profile = "quick"
    if profile not in dataset.held_out:
        return None, f"not checked: no {row.dataset} here"
    return dataset.load(profile, device).test, profile


def _count_faults(row: Row, result: dict[str, Any], model: nn.Module) -> list[str]:
    found = {
        "row": row.name,
        "table": row.table,
        "published": dict(row.published),
        "nonzero": nonzeros(model),
        "parameters": sum(p.numel() for p in model.parameters()),
        "kernel_parameters": sparsity_report(model).total,
    }
    claimed = result | {"nonzero": result["nonzero"][0]}
    state = model.state_dict().items()
    return [
        f"{name}: {ours} instead of {claimed[name]}"
        for name, ours in found.items()
        if ours != claimed[name]
    ] + [
        f"{name} is not finite" for name, tensor in state if not tensor.isfinite().all()
    ]


def _accuracy_faults(result: dict[str, Any], top1: float, profile: str) -> list[str]:
    claimed = result["top1"][0]
    if profile == result["profile"]:
        slack = SLACK[profile]
        wrong = abs(top1 - claimed) > slack + 1e-9
    else:
        slack = QUICK_FOR_FULL
        wrong = top1 < claimed - slack
    fault = f"accuracy {top1:.2f} on the {profile} test images, claimed {claimed:.2f}"
    return [fault] if wrong else []
