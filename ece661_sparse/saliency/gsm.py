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

from collections.abc import Iterable, Iterator
from itertools import compress
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD

from ece661_sparse.core.arguments import check_count, check_number
from ece661_sparse.core.optimizers import closure_first
from ece661_sparse.core.schedules import Schedule, geometric


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
            Frozen kernels keep their values and take no place.
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
        ValueError: an argument outside its range; no kernels among ``params``; a
            ``keep`` or ``average`` for one group.
    """

    _workspace: Tensor | None = None  # for the saliencies, the same memory every step
    _last: float = 0.0  # the keep-th saliency of the step before

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
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            nesterov=nesterov and momentum > 0,
        )
        total = sum(p.numel() for p in self._kernels())
        if total == 0:
            raise ValueError("params must hold a kernel (two or more dimensions)")
        check_count("keep", keep, at_least=1, at_most=total)
        self.defaults |= {"keep": keep, "average": average}
        for group in self.param_groups:  # where state_dict looks for them
            group["keep"], group["average"] = keep, average

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Split a group: its kernels compete, the rest is free and does not decay.

        Raises:
            ValueError: a ``keep`` or ``average`` for the group alone.
        """
        if own := {"keep", "average"} & param_group.keys():
            raise ValueError(
                "keep and average hold for all groups, because all kernels compete "
                f"together: give them to GSM itself, got a group with {sorted(own)}"
            )
        group = dict(param_group)
        super().add_param_group(group)  # checks and completes it
        self.param_groups.pop()
        # one pass over the memory instead of four, where torch has it
        has_fused = all(p.device.type in ("cpu", "cuda") for p in group["params"])
        group["fused"] = param_group.get("fused", has_fused or None)
        for competes in (True, False):
            inside = [(p.ndim >= 2) is competes for p in group["params"]]
            if any(inside):
                part = {**group, "competes": competes}
                for key in {"params", "param_names"} & group.keys():
                    part[key] = list(compress(group[key], inside))
                if not competes:
                    part["weight_decay"] = 0.0
                self.param_groups.append(part)

    @property
    def keep(self) -> int:
        """Q, the weights that see the gradient."""
        return self.param_groups[0]["keep"]

    @closure_first
    def step(self) -> None:
        """Mask the gradients (in place), then take SGD's step.

        Raises:
            ValueError: a saliency is NaN or infinite; nothing is changed. (Not on a
                GPU: the check would have to wait for the device.)
        """
        kernels = [p for p in self._kernels() if p.grad is not None]
        if kernels:
            saliency = self._saliency(kernels)
            active = saliency.ge_(self._last_place(saliency))
            for p, part in _parts(active, kernels):
                p.grad.mul_(part.view(p.shape))  # type: ignore[union-attr]
            self._match_layouts(kernels)
        super().step()

    def _kernels(self) -> list[Tensor]:
        groups = [group for group in self.param_groups if group["competes"]]
        return [p for group in groups for p in group["params"]]

    def _match_layouts(self, kernels: list[Tensor]) -> None:
        """Order the memory as the weights': fused SGD pairs entries by address."""
        for p in kernels:
            gradient, state = p.grad, self.state.get(p, {})
            if gradient is not None and gradient.stride() != p.stride():
                p.grad = torch.empty_like(p).copy_(gradient)
            momentum = state.get("momentum_buffer")
            if momentum is not None and momentum.stride() != p.stride():
                state["momentum_buffer"] = torch.empty_like(p).copy_(momentum)

    def _saliency(self, kernels: list[Tensor]) -> Tensor:
        """The saliencies of all kernels as one vector, to be overwritten."""
        size, device = sum(p.numel() for p in kernels), kernels[0].device
        flat = self._workspace
        if flat is None or len(flat) != size or flat.device != device:
            flat = torch.cat([p.flatten() for p in kernels])
            flat = flat.to(torch.promote_types(flat.dtype, torch.float32))
            self._workspace = flat
        for p, part in _parts(flat, kernels):
            wide = p.to(flat.dtype)  # in half precision small products are zero
            torch.mul(wide, p.grad, out=part.view(p.shape))  # type: ignore[arg-type]
        flat.abs_()
        if flat.device.type == "cpu" and not flat.sum().isfinite():
            raise ValueError(
                "a gradient is infinite or NaN: a learning rate too large, or a NaN in "
                "the data or the loss. No parameter was changed"
            )
        if average := self.param_groups[0]["average"]:
            for p, part in _parts(flat, kernels):
                state = self.state[p]
                if "saliency" not in state:
                    state["saliency"] = torch.zeros_like(part, dtype=p.dtype)
                part.copy_(state["saliency"].lerp_(part.to(p.dtype), 1 - average))
        return flat

    def _last_place(self, saliency: Tensor) -> Tensor | float:
        """The ``keep``-th largest saliency."""
        keep = min(self.keep, len(saliency))
        if saliency.device.type != "cpu":
            return saliency.topk(keep, sorted=False).values.amin()
        # NumPy's partition is ten times faster than topk, and the fewer candidates the
        # better: first those near the last step's value, then all that are not zero.
        values = saliency.numpy()
        for low in (0.8 * self._last, 0.0):
            near = values.compress(values > low)  # as values[...], but faster
            if len(near) >= keep:
                near.partition(len(near) - keep)
                self._last = near[-keep].item()
                return self._last
        return 0.0


class GradualKeep(Schedule):
    r"""Let more weights compete at first: ``keep`` falls from ``start`` to its end.

    .. math:: Q_e = \text{start} \cdot (Q / \text{start})^{\min(1,\, e/\text{epochs})}

    Advanced once an epoch :math:`e`, like a learning-rate schedule; both together
    are a ``torch.optim.lr_scheduler.ChainedScheduler``.

    Args:
        optimizer: the end is the ``keep`` that it was made with.
        start: the first ``keep``, no smaller than the end.
        epochs: when the end is reached.

    Raises:
        ValueError: an argument outside its range.
    """

    def __init__(self, optimizer: GSM, start: int, epochs: int) -> None:
        total = sum(p.numel() for p in optimizer._kernels())
        end = optimizer.defaults["keep"]  # a loaded optimizer may be on the way there
        check_count("start", start, at_least=end, at_most=total)
        check_number("epochs", epochs, above=0)
        super().__init__(optimizer, _set_keep, keep=geometric(start, end, epochs))


def _set_keep(schedule: Schedule) -> None:
    for group in schedule.optimizer.param_groups:
        group["keep"] = round(schedule["keep"])


def _parts(flat: Tensor, kernels: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Each kernel with its part of a vector."""
    sizes = [p.numel() for p in kernels]
    return zip(kernels, flat.split(sizes), strict=True)
