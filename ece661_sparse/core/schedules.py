r"""Numbers other than the learning rate that change while a network trains.

A λ, a β, a temperature, a budget: each is a function of the time t = 0, 1, 2, …, and a
:class:`Schedule` moves the time on, as the schedules of ``torch.optim`` do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ece661_sparse.core.arguments import check_number


def geometric(start: float, end: float, steps: float) -> Callable[[int], float]:
    r"""From ``start`` to ``end`` by the same factor each time, and then ``end``.

    .. math:: \text{start} \cdot (\text{end}/\text{start})^{\min(t/\text{steps},\, 1)}

    Args:
        start, end: numbers above 0.
        steps: the time at which ``end`` is reached, above 0.

    Returns:
        The function of t. It can be pickled.

    Raises:
        ValueError: ``start``, ``end`` or ``steps`` not above 0.
    """
    for name, value in (("start", start), ("end", end), ("steps", steps)):
        check_number(name, value, above=0)
    return partial(_geometric, start, end, steps)


def linear(start: float, end: float, steps: float) -> Callable[[int], float]:
    r"""From ``start`` to ``end`` by the same amount each time, and then ``end``.

    .. math:: \text{start} + (\text{end} - \text{start}) \min(t/\text{steps},\, 1)

    Args:
        start, end: any numbers.
        steps: the time at which ``end`` is reached, above 0.

    Returns:
        The function of t. It can be pickled.

    Raises:
        ValueError: ``steps`` not above 0, or a number that is not finite.
    """
    check_number("start", start)
    check_number("end", end)
    check_number("steps", steps, above=0)
    return partial(_linear, start, end, steps)


# Not inside the functions above: what is defined there cannot be pickled.
def _geometric(start: float, end: float, steps: float, t: int) -> float:
    return start * (end / start) ** min(t / steps, 1)


def _linear(start: float, end: float, steps: float, t: int) -> float:
    return start + (end - start) * min(t / steps, 1)


class Schedule(LRScheduler):
    """Numbers that change with the time, beside the learning rate.

    A schedule of ``torch.optim`` in all but one thing: it leaves the learning rates
    alone. So it can be chained with one that does not,
    ``ChainedScheduler([cosine, schedule])``. Whoever calls ``step()`` decides whether
    the time counts epochs or updates.

    >>> schedule = Schedule(optimizer, lam=linear(0, 1e-6, steps=10))
    >>> loss = loss + schedule["lam"] * expected_l0(model)
    >>> schedule.step()

    Copied or pickled together with its model and optimizer, it drives the copies; for
    this the listener has to be a function of a module, or a ``functools.partial`` of
    one.

    Args:
        optimizer: of the training.
        listener: called with the schedule at the start, after every step and after
            loading, to hand the numbers on: to the gates of a model, or to the groups
            of the optimizer.
        numbers: for each name a function from the time 0, 1, 2, … to a number.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        listener: Callable[[Schedule], object] | None = None,
        **numbers: Callable[[int], float],
    ) -> None:
        self._listener, self._numbers = listener, numbers
        super().__init__(optimizer)

    def __getitem__(self, name: str) -> float:
        """The number of that name now."""
        return self._numbers[name](self.last_epoch)

    def step(self, epoch: int | None = None) -> None:
        """Move on to the next epoch, or update."""
        super().step(epoch)
        self._notify()

    def get_lr(self) -> list[float | Tensor]:
        """The learning rates as they are."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """The time and what torch counts, plain values; not the functions."""
        state = super().state_dict()
        return {k: v for k, v in state.items() if k not in ("_listener", "_numbers")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put the time back, and hand the numbers of that time on."""
        super().load_state_dict(state_dict)
        self._notify()

    def _notify(self) -> None:
        if self._listener is not None:
            self._listener(self)
