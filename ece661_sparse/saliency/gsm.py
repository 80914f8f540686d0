r"""The slide "Global Sparse Momentum (GSM) SGD".

.. math::

    Z \leftarrow \beta Z + \eta W + B \circ \frac{\partial L}{\partial W}, \qquad
    W \leftarrow W - \alpha Z

:math:`B` is 1 at the Q weights of the whole network whose saliency
:math:`T = |W \, \partial L / \partial W|` is largest, and 0 elsewhere. There the loss
has no say: weight decay and what is left of the momentum bring the weight to zero.

Ding et al., "Global Sparse Momentum SGD for Pruning Very Deep Neural Networks",
NeurIPS 2019.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD
from torch.optim.lr_scheduler import LRScheduler

from ece661_sparse.proximal._checks import check_count, check_number


class GSM(SGD):
    r"""Momentum SGD in which only the ``keep`` most salient weights see the gradient.

    It is :class:`torch.optim.SGD` in all but one thing, the mask :math:`B` on the
    gradient; with ``keep`` = all weights the two are equal. Kernels (parameters of
    two or more dimensions) compete for the ``keep`` places across all layers. Biases
    and normalisation parameters always see their gradient and never decay.

    After training, most weights outside the final ``keep`` are near zero:
    ``global_mask`` of the magnitudes cuts them off.

    Args:
        params: the parameters, or parameter groups; one competition for all of them.
        lr: :math:`\alpha > 0`.
        keep: :math:`Q`, between 1 and the number of kernel weights. Of equal
            saliencies at the last place all pass.
        momentum: :math:`\beta` in [0, 1).
        weight_decay: :math:`\eta \ge 0`, of the kernels.
        nesterov: look ahead by one step, as the paper's code does.
        average: 0 ranks by the saliency of the current batch, as published. In
            (0, 1): by an exponential average, :math:`\bar T \leftarrow
            a \bar T + (1 - a) T`, so that single batches do not reshuffle the active
            set.

    Raises:
        ValueError: an argument outside its range; no kernels among ``params``.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        keep: int,
        momentum: float = 0.99,
        weight_decay: float = 5e-4,
        nesterov: bool = True,
        average: float = 0.0,
    ) -> None:
        check_number("lr", lr, above=0)
        check_number("momentum", momentum, at_least=0, below=1)
        check_number("weight_decay", weight_decay, at_least=0)
        check_number("average", average, at_least=0, below=1)
        groups: list[dict[str, Any]] = []
        for group in _as_groups(params):
            kernels = [p for p in group["params"] if p.ndim >= 2]
            others = [p for p in group["params"] if p.ndim < 2]
            if kernels:
                groups.append({**group, "params": kernels, "competes": True})
            if others:
                free = {"competes": False, "weight_decay": 0.0}
                groups.append({**group, "params": others, **free})
        super().__init__(
            groups,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            nesterov=nesterov and momentum > 0,
        )
        total = sum(p.numel() for p in self._kernels())
        if total == 0:
            raise ValueError("params must hold a kernel (two or more dimensions)")
        check_count("keep", keep, at_most=total)
        check_number("keep", keep, at_least=1)
        for group in self.param_groups:  # where state_dict looks for them
            group["keep"], group["average"] = keep, average

    @property
    def keep(self) -> int:
        """Q, the weights that see the gradient."""
        return self.param_groups[0]["keep"]

    @torch.no_grad()
    def step(  # type: ignore[override]
        self, closure: Callable[[], float] | None = None
    ) -> float | None:
        """Mask the gradients (in place), then take SGD's step.

        Args:
            closure: recomputes the loss and its gradients; called once.

        Raises:
            ValueError: a saliency is NaN or infinite; nothing is changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        kernels = [p for p in self._kernels() if p.grad is not None]
        for p, active in zip(kernels, self._active(kernels), strict=True):
            p.grad.mul_(active)  # type: ignore[union-attr]
        super().step()
        return loss

    def _kernels(self) -> list[Tensor]:
        groups = [group for group in self.param_groups if group["competes"]]
        return [p for group in groups for p in group["params"]]

    def _active(self, kernels: list[Tensor]) -> list[Tensor]:
        """The masks B."""
        saliency = torch.cat([(p * p.grad).abs_().flatten() for p in kernels])
        if not saliency.sum().isfinite():
            raise ValueError(
                "a gradient is infinite or NaN: a learning rate too large, or a NaN in "
                "the data or the loss. No parameter was changed"
            )
        average = self.param_groups[0]["average"]
        if average:
            sizes = [p.numel() for p in kernels]
            for p, new in zip(kernels, saliency.split(sizes), strict=True):
                state = self.state[p]
                if "saliency" not in state:
                    state["saliency"] = torch.zeros_like(new)
                state["saliency"].lerp_(new, 1 - average)
            saliency = torch.cat([self.state[p]["saliency"] for p in kernels])
        active = (saliency >= _nth_largest(saliency, self.keep)).to(saliency.dtype)
        parts = active.split([p.numel() for p in kernels])
        return [part.view_as(p) for part, p in zip(parts, kernels, strict=True)]


class GradualKeep(LRScheduler):
    r"""Let more weights compete at first: ``keep`` falls from ``start`` to its end.

    .. math:: Q_e = \text{start} \cdot (Q / \text{start})^{\min(1,\, e/\text{epochs})}

    Advanced once an epoch :math:`e`, like a learning-rate schedule; both together
    are a ``torch.optim.lr_scheduler.ChainedScheduler``.

    Args:
        optimizer: its ``keep`` is the end.
        start: the first ``keep``, no smaller than the end.
        epochs: when the end is reached.

    Raises:
        ValueError: an argument outside its range.
    """

    def __init__(self, optimizer: GSM, start: int, epochs: int) -> None:
        check_count(
            "start", start, at_most=sum(p.numel() for p in optimizer._kernels())
        )
        check_number("start", start, at_least=optimizer.keep)
        check_number("epochs", epochs, above=0)
        self.start, self.end, self.epochs = start, optimizer.keep, epochs
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        """Set ``keep``; the learning rates stay as they are."""
        done = min(1.0, self.last_epoch / self.epochs)
        keep = round(self.start * (self.end / self.start) ** done)
        for group in self.optimizer.param_groups:
            group["keep"] = keep
        return [group["lr"] for group in self.optimizer.param_groups]


def _nth_largest(x: Tensor, n: int) -> Tensor:
    """The n-th largest entry of a vector without negative entries."""
    if x.device.type != "cpu":
        return x.topk(n, sorted=False).values.amin()
    # A partition is slow where many entries are equal, and the weights of pixels that
    # are never lit all have saliency zero.
    positive = x.to(torch.promote_types(x.dtype, torch.float32)).numpy()
    positive = positive[positive > 0]
    if len(positive) < n:
        return x.new_zeros(())
    positive.partition(len(positive) - n)
    return torch.from_numpy(positive)[len(positive) - n].to(x.dtype)


def _as_groups(params: Iterable[Any]) -> list[dict[str, Any]]:
    """What any torch optimizer takes, as parameter groups."""
    entries = list(params)
    if entries and isinstance(entries[0], dict):
        return [{**group, "params": list(group["params"])} for group in entries]
    return [{"params": entries}]
