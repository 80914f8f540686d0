"""Refuse bad arguments at the door, naming the argument, its value and its range."""

from __future__ import annotations

import math
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Integral, Real

import torch
from torch import Tensor


def check_number(
    name: str,
    value: float,
    *,
    at_least: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    at_most: float = math.inf,
    why: str = "",
) -> None:
    """Refuse anything but a finite real number inside the interval."""
    if (
        isinstance(value, Real)
        and math.isfinite(value)
        and at_least <= value <= at_most
        and above < value < below
    ):
        return
    bounds = ((">=", at_least), (">", above), ("<", below), ("<=", at_most))
    interval = " and ".join(f"{s} {b:g}" for s, b in bounds if math.isfinite(b))
    number = f"a finite number {interval}".rstrip()
    raise ValueError(
        f"{name} must be {number}{why and f' ({why})'}, got {name}={value!r}"
    )


def check_count(
    name: str, value: int, *, at_least: int = 0, at_most: int | None = None
) -> None:
    """Refuse anything but a whole number from `at_least` to `at_most`."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < at_least or (at_most is not None and value > at_most):
        limit = "" if at_most is None else f" and <= {at_most}"
        raise ValueError(
            f"{name} must be a whole number >= {at_least}{limit}, got {name}={value!r}"
        )


def check_tensor(name: str, x: Tensor, out: Tensor | None = None) -> None:
    """Refuse tensors that are not real floating point, and an `out` unlike `x`."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"{name} must be a floating point tensor, got {kind}")
    if out is not None and (out.shape, out.dtype, out.device) != (
        x.shape,
        x.dtype,
        x.device,
    ):
        raise ValueError(
            f"out must have the shape, dtype and device of {name}, "
            f"{tuple(x.shape)} {x.dtype} {x.device}, "
            f"got {tuple(out.shape)} {out.dtype} {out.device}"
        )


def check_coefficient(
    name: str, value: float | Tensor, x: Tensor, *, positive: bool = False
) -> None:
    """Refuse a λ < 0 or a step <= 0, and a tensor that does not broadcast to x."""
    if not isinstance(value, Tensor):
        if positive:
            return check_number(name, value, above=0)
        return check_number(name, value, at_least=0)
    try:
        value.expand(x.shape)
    except RuntimeError:
        raise ValueError(
            f"{name} must broadcast to the shape of x, {tuple(x.shape)}, "
            f"got {name} of shape {tuple(value.shape)}"
        ) from None
    if value.is_meta or value.numel() == 0:
        return None
    low, high = (bound.item() for bound in torch.aminmax(value.detach()))
    # a NaN anywhere makes both bounds NaN, and every comparison with it is False
    if not (low >= 0 and high < math.inf) or (positive and low == 0):
        raise ValueError(
            f"{name} must be finite and {'>' if positive else '>='} 0 everywhere, "
            f"got {name} from {low:g} to {high:g}"
        )
    return None


def check_known(kind: str, name: object, names: Iterable[str]) -> None:
    """Refuse a name that is not among ``names``, and say which is nearest."""
    names = list(names)
    if name not in names:
        close = get_close_matches(str(name), names, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
        raise ValueError(f"there is no {kind} {name!r}; {hint}")
