"""What the optimizers of all parts do alike."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast, overload

import torch

Loss = TypeVar("Loss")


class Step(Protocol):
    """An optimizer's ``step``: it returns what the closure returned, if any."""

    @overload
    def __call__(self, closure: None = None) -> None: ...
    @overload
    def __call__(self, closure: Callable[[], Loss]) -> Loss: ...


def closure_first(step: Callable[[Any], None]) -> Step:
    """Turn the body of a step into the ``step(closure=None)`` of ``torch.optim``.

    The closure recomputes the loss and its gradients. It is called once, with gradients
    on; the body then runs with gradients off.
    """

    @torch.no_grad()
    def with_closure(self: Any, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        step(self)
        return loss

    with_closure.__doc__ = step.__doc__
    return cast(Step, with_closure)
