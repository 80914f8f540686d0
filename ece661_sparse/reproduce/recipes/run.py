"""What a recipe is given, and what it returns.

A recipe is a function ``recipe(run, **settings) -> Outcome``. It trains on
``run.train`` and returns the network that its method makes; it never sees the test set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from ece661_sparse.training import Images

M = TypeVar("M", bound=nn.Module)


@dataclass
class Outcome:
    """What a recipe returns.

    Attributes:
        model: the final network, plain (parametrizations baked in).
        retrained: was it trained on with its zeros held at zero?
        base_top1_model: the dense network to compare with. None: ``run.base``.
        extra: anything else for the JSON; plain numbers, texts, lists.
    """

    model: nn.Module
    retrained: bool = False
    base_top1_model: nn.Module | None = None
    extra: dict[str, Any] = field(default_factory=dict)


class Run(Protocol):
    """One seed of one row, as its recipe sees it.

    Attributes:
        train: all the images it may train and choose on.
        seed: of the initial weights and of the order of the images.
        device: where ``train`` lives and the networks go.
    """

    train: Images
    seed: int
    device: torch.device

    def fit(
        self,
        stage: str,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        epochs: int,
        images: Images | None = None,
        shift: int = 0,
        evaluate: Callable[[nn.Module], dict[str, Any]] | None = None,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """:func:`~ece661_sparse.training.train` on ``self.train``, in a checkpoint.

        Started again, a finished stage puts its end state into ``model``,
        ``optimizer`` and torch's generators, and an unfinished one goes on where it
        was. Whatever else changes during a stage (a mask, dual variables) has to be
        a buffer of the model or in the optimizer's state; what a recipe computes
        between stages is computed again.

        Args:
            stage: name of the checkpoint, different for each ``fit`` of a recipe. The
                order of the images follows from the run's seed and from this name.
            model, optimizer, epochs, evaluate, options: as ``train`` has them.
            images: instead of ``self.train``.
            shift: move each image by up to so many pixels, differently in every epoch.

        Raises:
            ValueError: a stage of this name has been run before.
        """

    def untrained(self, build: Callable[[], M]) -> M:
        """The network that ``build`` makes, with this seed's initial weights."""

    def base(self, name: str) -> nn.Module:
        """A fresh copy of the trained dense network ``name`` of this seed.

        Trained once for each seed, profile and training set, then shared by all rows.
        """
