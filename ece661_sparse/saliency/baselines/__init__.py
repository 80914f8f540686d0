"""The other rows of the slide "Pruning results", a file for each method."""

from ece661_sparse.saliency.baselines.admm import ADMM
from ece661_sparse.saliency.baselines.dns import DNS, splice
from ece661_sparse.saliency.baselines.groups import layer_groups
from ece661_sparse.saliency.baselines.han import (
    budget_mask,
    geometric_schedule,
    prune_and_retrain,
    quality_mask,
    standardised_magnitude,
)
from ece661_sparse.saliency.baselines.lobs import (
    delete_weight,
    deletion_saliency,
    input_hessians,
    prune_layers,
    prune_rows,
)
from ece661_sparse.saliency.baselines.srinivas import (
    TrainableGate,
    clip_gates,
    gate_penalty,
)

__all__ = [
    "ADMM",
    "DNS",
    "TrainableGate",
    "budget_mask",
    "clip_gates",
    "delete_weight",
    "deletion_saliency",
    "gate_penalty",
    "geometric_schedule",
    "input_hessians",
    "layer_groups",
    "prune_and_retrain",
    "prune_layers",
    "prune_rows",
    "quality_mask",
    "splice",
    "standardised_magnitude",
]
