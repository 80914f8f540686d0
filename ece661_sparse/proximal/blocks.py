"""The fast path: formulas applied to tensors of every size, dtype and layout.

The operators are written as formulas in plain torch. What happens here leaves their
results as they are and saves time and memory:

- A large tensor is worked on in blocks that stay, with all intermediate results, in the
  caches of a CPU. A formula of several operations then costs little more than one of
  them, and the result can overwrite x.
- Half precision is widened to float32 block by block, and rounded once.
- Some formulas have a twin, ``…_into``, that writes to the place of the result, or that
  solves an equation only for the entries that do not become zero.
"""

from collections.abc import Callable
from itertools import repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor, hardshrink
from torch.nn import functional as F

Coefficient = float | Tensor
Formula = Callable[..., Tensor]

# Entries of a block, for every core. CACHED fit its caches with all intermediate
# results. Powers and sums depend, in their last bits, on where a block ends (the last
# powers of a block are computed with other instructions); LARGE keeps those bits.
CACHED = 2**16
LARGE = 2**18

softshrink: Formula = F.softshrink  # its type stub does not know `out`


def elementwise(
    formula: Formula,
    x: Tensor,
    out: Tensor | None,
    *coefficients: Coefficient,
    into: Callable[..., object] | None = None,
    per_core: int = CACHED,
) -> Tensor:
    """``formula(x, *coefficients)``, written to ``out`` or to a new tensor.

    When autograd records, the formula is called once, on all of x.

    Args:
        formula: of tensors in float32 or float64, without changing them.
        x: floating point tensor of any shape.
        out: shaped like x, or x itself; what is written to it is not recorded.
        coefficients: numbers, or tensors that broadcast to x.
        into: a faster twin, ``into(x, *coefficients, out)``; its `out` may be x.
        per_core: entries of a block for every core of a CPU.

    Returns:
        `out`, or a new tensor with the shape and dtype of x.
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    coefficients = tuple(
        c.expand(x.shape).to(dtype) if isinstance(c, Tensor) else c
        for c in coefficients
    )
    tensors = [t for t in (x, *coefficients) if isinstance(t, Tensor)]
    recorded = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    if out is None and recorded:
        return formula(x.to(dtype), *coefficients).to(x.dtype)
    with torch.no_grad():
        out = torch.empty_like(x) if out is None else out
        if not (x.is_contiguous() and out.is_contiguous()):
            copy = x.clone(memory_format=torch.contiguous_format)
            options: dict[str, Any] = {"into": into, "per_core": per_core}
            return out.copy_(elementwise(formula, copy, copy, *coefficients, **options))
        if formula in (hardshrink, softshrink) and x.dtype == dtype:
            return formula(x, *coefficients, out=out)  # already one pass
        size = block_size(x, per_core)
        columns = (
            t.reshape(-1).split(size) if isinstance(t, Tensor) else repeat(t)
            for t in (x, out, *coefficients)
        )
        for source, target, *block in zip(*columns, strict=False):
            wide = source.to(dtype)
            if into is None:
                target.copy_(formula(wide, *block))
                continue
            place = target if target.dtype == dtype else wide
            into(wide, *block, place)
            if place is not target:
                target.copy_(place)
        return out


def firm_into(x: Tensor, threshold: float, mu: float, out: Tensor) -> None:
    """Firm thresholding, as in ``operators.py``."""
    large = hardshrink(x, mu)
    softshrink(torch.sub(x, large, out=out), threshold, out=out)
    torch.add(large, out, alpha=mu / (mu - threshold), out=out)


def scad_into(
    x: Tensor, threshold: float, knee: float, last: float, out: Tensor
) -> None:
    """SCAD, as in ``operators.py``."""
    large = hardshrink(x, last)
    steeper = softshrink(torch.sub(x, large, out=out), knee)
    softshrink(out, threshold, out=out)
    out.add_(steeper, alpha=threshold / (last - knee)).add_(large)


def beyond_into(
    threshold: Coefficient,
    formula: Formula,
    x: Tensor,
    *coefficients: Coefficient,
    out: Tensor,
) -> None:
    """Zero up to the threshold, beyond it the formula, for those few entries alone.

    The same as ``torch.where(x.abs() > threshold, formula(x, *coefficients), 0)``, on a
    CPU.
    """
    # NumPy compares and counts faster than torch.
    beyond = np.flatnonzero(x.abs().numpy() > np.asarray(threshold))
    at = torch.from_numpy(beyond)
    few = (c[at] if isinstance(c, Tensor) else c for c in coefficients)
    values = formula(x[at], *few)
    out.zero_().index_copy_(0, at, values)


def block_size(x: Tensor, per_core: int) -> int:
    """Entries to work on at once: on a CPU so many for every core."""
    return per_core * torch.get_num_threads() if x.device.type == "cpu" else 2**24


def widest(x: Tensor) -> Tensor:
    """Convert to float64, except on Apple's GPUs, which do not have it."""
    return x if x.device.type == "mps" else x.double()


def representable(dtype: torch.dtype, *numbers: float) -> list[float]:
    """Round to numbers that a tensor can hold, each larger than the one before.

    Slopes computed from rounded knots fit the knots that the tensor is compared with.
    """
    kind = np.float64 if dtype == torch.float64 else np.float32
    rounded: list[np.floating] = []
    for number in numbers:
        value = kind(min(number, float(np.finfo(kind).max) / 2))
        if rounded:
            value = max(value, np.nextafter(rounded[-1], kind(np.inf)))
        rounded.append(value)
    return [float(value) for value in rounded]
