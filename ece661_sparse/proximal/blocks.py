"""The fast path: formulas applied to tensors of every size, dtype and layout.

The operators are written as formulas in plain torch. What happens here leaves their
results as they are and saves time and memory:

- A large tensor is worked on in blocks that stay, with all intermediate results, in the
  caches of a CPU. A formula of several operations then costs little more than one of
  them, and the result can overwrite x.
- Half precision is widened to float32 block by block, and rounded once.
- An operator that is zero up to a threshold solves its equation beyond it only.
"""

from collections.abc import Callable
from itertools import repeat

import numpy as np
import torch
from torch import Tensor, hardshrink
from torch.nn import functional as F

Coefficient = float | Tensor
Formula = Callable[..., Tensor]

# Entries of a block, for every core. CACHED fit its caches with all intermediate
# results. Powers and sums depend, in their last bits, on where a block ends (the last
# powers of a block are computed with other instructions); LARGE keeps those bits.
CACHED = 2**15
LARGE = 2**18

softshrink: Formula = F.softshrink  # its type stub does not know `out`


def elementwise(
    formula: Formula,
    x: Tensor,
    out: Tensor | None,
    *coefficients: Coefficient,
    per_core: int = CACHED,
) -> Tensor:
    """``formula(x, *coefficients)``, written to ``out`` or to a new tensor.

    When autograd records, the formula is called once, on all of x.

    Args:
        formula: of tensors in float32 or float64, without changing them.
        x: floating point tensor of any shape.
        out: shaped like x, or x itself; what is written to it is not recorded.
        coefficients: numbers, or tensors that broadcast to x.
        per_core: entries of a block for every core of a CPU.

    Returns:
        `out`, or a new tensor with the shape and dtype of x.
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    coefficients = tuple(
        c.expand(x.shape).to(dtype) if isinstance(c, Tensor) else c
        for c in coefficients
    )
    if out is None and _recorded(x, *coefficients):
        return formula(x.to(dtype), *coefficients).to(x.dtype)
    with torch.no_grad():
        out = torch.empty_like(x) if out is None else out
        if not (x.is_contiguous() and out.is_contiguous()):
            copy = x.clone(memory_format=torch.contiguous_format)
            elementwise(formula, copy, copy, *coefficients, per_core=per_core)
            return out.copy_(copy)
        if formula in (hardshrink, softshrink) and x.dtype == dtype:
            return formula(x, *coefficients, out=out)  # already one pass
        size = block_size(x, per_core)
        columns = (
            t.reshape(-1).split(size) if isinstance(t, Tensor) else repeat(t)
            for t in (x, out, *coefficients)
        )
        for source, target, *block in zip(*columns, strict=False):
            target.copy_(formula(source.to(dtype), *block))
        return out


def where_beyond(
    threshold: Coefficient, formula: Formula, x: Tensor, *coefficients: Coefficient
) -> Tensor:
    """``torch.where(x.abs() > threshold, formula(x, *coefficients), 0)``.

    Few entries are beyond the threshold: a CPU calls the formula for those alone.
    """
    if x.device.type != "cpu" or _recorded(x, threshold, *coefficients):
        return torch.where(x.abs() > threshold, formula(x, *coefficients), 0)
    # NumPy compares and counts faster.
    at = torch.from_numpy(np.flatnonzero(np.abs(x.numpy()) > np.asarray(threshold)))
    few = (c[at] if isinstance(c, Tensor) else c for c in coefficients)
    return torch.zeros_like(x).index_copy_(0, at, formula(x[at], *few))


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


def _recorded(*arguments: Coefficient) -> bool:
    """Whether autograd records what is computed from them."""
    return torch.is_grad_enabled() and any(
        t.requires_grad for t in arguments if isinstance(t, Tensor)
    )
