"""How the recipes end: what is left is trained on, its zeros held at zero."""

from __future__ import annotations

from torch import nn

from ece661_sparse.reproduce.recipes.dense import sgd_cosine
from ece661_sparse.reproduce.recipes.run import Run
from ece661_sparse.saliency import keep_zeros


def retrain(
    run: Run,
    model: nn.Module,
    epochs: int,
    *,
    retrain_lr: float,
    batch_size: int = 128,
    weight_decay: float = 0.0,
    label_smoothing: float = 0.0,
    retrain_label_smoothing: float | None = None,
    shift: int = 0,
    stage: str = "retrain",
) -> None:
    """Masked retraining: trained as the dense networks are, the zeros held at zero.

    The keyword arguments have the names that they have in the settings of the rows.

    Args:
        run, model: whose stage, and what is trained in place.
        epochs: 0 leaves the model as it is.
        retrain_lr: the learning rate, which falls to zero as a cosine.
        label_smoothing: of the whole recipe.
        retrain_label_smoothing: of the retraining, where it is not that of the recipe.
        shift: move the images by up to so many pixels. Few weights of LeNet-5 no longer
            fit all of these, and are better retrained without label smoothing.
        stage: its name, for recipes that retrain several times.
    """
    if epochs == 0:
        return
    if retrain_label_smoothing is None:
        retrain_label_smoothing = label_smoothing
    with keep_zeros(model):
        sgd_cosine(
            *(run, model, epochs, retrain_lr, batch_size),
            weight_decay=weight_decay,
            label_smoothing=retrain_label_smoothing,
            shift=shift,
            stage=stage,
        )
