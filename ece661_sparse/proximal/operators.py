r"""Proximal operators of the lecture, right for every step.

Slides: "Proximal gradient update", "Special case: Revisit ℓ1 regularization",
"Improvements from ℓ1" (Table I, rows iii to vii).

For a penalty :math:`P` and a step :math:`\eta` every function computes

.. math:: \operatorname{prox}_{\eta P}(x)
          = \operatorname*{argmin}_z \; \eta\,P(z) + \tfrac12 (z - x)^2

entry by entry. The lecture's operators are those of :math:`\eta = 1`.

**Knots.** Soft, firm and SCAD thresholding are piecewise linear. Such an operator is
known from its knots, the places where its slope changes, and a soft threshold is the
simplest one: its slope goes from 0 to 1 at a single knot. The others are sums of soft
thresholds, one for every knot, weighted by the change of slope there. A firm threshold
is a blend of two, SCAD a sum of three. The code takes these sums up to the last knot
only. Beyond it the operator is x to the last bit: a rounding there, repeated at every
step of a training, would pull on weights that are meant to be free.

**In place.** ``out=x`` overwrites x, also when x is a parameter: an operator with `out`
is not recorded by autograd. Without `out` all are differentiable.

Entries of x are finite. Half precision is computed in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat

import numpy as np
import torch
from torch import Tensor, hardshrink
from torch.nn import functional as F

from ece661_sparse.core.arguments import check_coefficient, check_number, check_tensor

Coefficient = float | Tensor

softshrink: Callable[..., Tensor] = F.softshrink  # its stub does not know `out`
Buffers = tuple[Tensor | None, Tensor | None]
NO_BUFFERS: Buffers = (None, None)


def prox_l0(
    x: Tensor, lam: Coefficient, step: Coefficient = 1.0, *, out: Tensor | None = None
) -> Tensor:
    r"""Hard threshold, the proximal operator of :math:`\lambda\,[x \ne 0]`.

    .. math:: \operatorname{prox}(x) = x \text{ if } |x| > \sqrt{2\eta\lambda}
              \text{ else } 0

    At the threshold x and 0 are both minimisers; the result is 0.

    Args:
        x: floating point tensor of any shape.
        lam: :math:`\lambda \ge 0`, a number or a tensor that broadcasts to x.
        step: :math:`\eta > 0`, a number or a tensor that broadcasts to x.
        out: where to write the result; x itself works in place.

    Returns:
        `out`, or a new tensor shaped like x.

    Raises:
        ValueError: an argument outside its range.
    """
    _check(x, lam, step, out)
    energy = 2 * step * lam
    if isinstance(energy, Tensor):
        return blockwise(_hard_each, x, out, energy.sqrt())
    threshold = energy**0.5
    return blockwise(_hard, x, out, threshold, blocks=False)


def prox_l1(
    x: Tensor, lam: Coefficient, step: Coefficient = 1.0, *, out: Tensor | None = None
) -> Tensor:
    r"""Soft threshold, the proximal operator of :math:`\lambda |x|`.

    .. math:: \operatorname{prox}(x)
              = \operatorname{sign}(x)\,\max(|x| - \eta\lambda,\, 0)

    Source: slide "Special case: Revisit ℓ1 regularization".

    Args:
        x: floating point tensor of any shape.
        lam: :math:`\lambda \ge 0`, a number or a tensor that broadcasts to x.
        step: :math:`\eta > 0`, a number or a tensor that broadcasts to x.
        out: where to write the result; x itself works in place.

    Returns:
        `out`, or a new tensor shaped like x.

    Raises:
        ValueError: an argument outside its range.
    """
    _check(x, lam, step, out)
    threshold = step * lam
    if isinstance(threshold, Tensor):
        return blockwise(_soft_each, x, out, threshold)
    return blockwise(_soft, x, out, threshold, blocks=False)


def prox_firm(
    x: Tensor, lam: float, mu: float, step: float = 1.0, *, out: Tensor | None = None
) -> Tensor:
    r"""Firm threshold: zero up to ηλ, untouched beyond μ, a straight line between.

    .. math:: \operatorname{prox}(x) = \begin{cases}
              0 & |x| \le \eta\lambda \\
              \operatorname{sign}(x)\,(|x| - \eta\lambda)\,\mu / (\mu - \eta\lambda)
                & \eta\lambda < |x| \le \mu \\
              x & |x| > \mu \end{cases}

    It is a blend of two soft thresholds,
    :math:`(1 + w)\,\mathrm{soft}(x, \eta\lambda) - w\,\mathrm{soft}(x, \mu)` with
    :math:`w = \eta\lambda / (\mu - \eta\lambda)`, and :func:`prox_mcp` with
    :math:`\mu = \gamma\lambda`. Source: Table I (vii).

    Args:
        x: floating point tensor of any shape.
        lam: :math:`\lambda \ge 0`.
        mu: :math:`\mu > \max(1, \eta)\,\lambda`, beyond which x is left alone.
        step: :math:`\eta > 0`.
        out: where to write the result; x itself works in place.

    Returns:
        `out`, or a new tensor shaped like x.

    Raises:
        ValueError: an argument outside its range.
    """
    _check(x, lam, step, out)
    check_number("mu", mu, above=max(1, step) * lam, why="above lam and step * lam")
    return _firm(x, step * lam, mu, out)


def prox_mcp(
    x: Tensor,
    lam: float,
    gamma: float = 3.0,
    step: float = 1.0,
    *,
    out: Tensor | None = None,
) -> Tensor:
    r"""Proximal operator of the minimax concave penalty, a firm threshold.

    .. math:: \operatorname{prox}(x) = \begin{cases}
              0 & |x| \le \eta\lambda \\
              \operatorname{sign}(x)\,(|x| - \eta\lambda) / (1 - \eta/\gamma)
                & \eta\lambda < |x| \le \gamma\lambda \\
              x & |x| > \gamma\lambda \end{cases}

    The step moves the threshold and the slope, not the knot γλ. So with a step it is
    the slide's operator with :math:`\eta\lambda` and :math:`\gamma/\eta`; scaling λ
    alone is wrong. Source: Table I (vi), Zhang (2010).

    Args:
        x: floating point tensor of any shape.
        lam: :math:`\lambda \ge 0`.
        gamma: :math:`\gamma > \max(1, \eta)`.
        step: :math:`\eta > 0`.
        out: where to write the result; x itself works in place.

    Returns:
        `out`, or a new tensor shaped like x.

    Raises:
        ValueError: an argument outside its range.
    """
    _check(x, lam, step, out)
    check_number("gamma", gamma, above=max(1, step), why="above 1 and step")
    return _firm(x, step * lam, gamma * lam, out)


def _firm(x: Tensor, threshold: float, mu: float, out: Tensor | None) -> Tensor:
    threshold, mu = representable(x.dtype, threshold, mu)
    slope = mu / (mu - threshold)  # arrives at x itself at μ

    def formula(x: Tensor, out: Tensor | None, work: Buffers) -> Tensor:
        # Taken apart at μ, each part is exact. The blend would subtract numbers that
        # are nearly equal when the slope is steep, and round x beyond μ.
        large = hardshrink(x, mu, out=work[0])
        line = softshrink(torch.sub(x, large, out=out), threshold, out=out)
        return torch.add(large, line, alpha=slope, out=out)

    return blockwise(formula, x, out)


def prox_scad(
    x: Tensor,
    lam: float,
    a: float = 3.7,
    step: float = 1.0,
    *,
    out: Tensor | None = None,
) -> Tensor:
    r"""Proximal operator of the smoothly clipped absolute deviation (SCAD).

    .. math:: \operatorname{prox}(x) = \begin{cases}
              \operatorname{sign}(x)\max(|x| - \eta\lambda, 0)
                & |x| \le (1 + \eta)\lambda \\
              \dfrac{(a - 1)\,x - \operatorname{sign}(x)\,a\eta\lambda}{a - 1 - \eta}
                & (1 + \eta)\lambda < |x| \le a\lambda \\
              x & |x| > a\lambda \end{cases}

    A sum of three soft thresholds: :math:`\mathrm{soft}(x, \eta\lambda)
    + w\,\mathrm{soft}(x, (1 + \eta)\lambda) - w\,\mathrm{soft}(x, a\lambda)` with
    :math:`w = \eta / (a - 1 - \eta)`. Source: Table I (v), Fan and Li (2001).

    Args:
        x: floating point tensor of any shape.
        lam: :math:`\lambda \ge 0`.
        a: :math:`a > \max(2, 1 + \eta)`.
        step: :math:`\eta > 0`.
        out: where to write the result; x itself works in place.

    Returns:
        `out`, or a new tensor shaped like x.

    Raises:
        ValueError: an argument outside its range.
    """
    _check(x, lam, step, out)
    check_number("a", a, above=max(2, 1 + step), why="above 2 and 1 + step")
    knots = representable(x.dtype, step * lam, (1 + step) * lam, a * lam)
    threshold, knee, last = knots
    # the change of slope at the knee, so that the line arrives at x itself at aλ
    weight = threshold / (last - knee)

    def formula(x: Tensor, out: Tensor | None, work: Buffers) -> Tensor:
        # as in _firm, taken apart at the last knot
        large = hardshrink(x, last, out=work[0])
        rest = torch.sub(x, large, out=out)
        steeper = softshrink(rest, knee, out=work[1])
        line = torch.add(
            softshrink(rest, threshold, out=out), steeper, alpha=weight, out=out
        )
        return torch.add(line, large, out=out)

    return blockwise(formula, x, out)


def prox_lq(
    x: Tensor,
    lam: Coefficient,
    q: float = 0.5,
    step: Coefficient = 1.0,
    *,
    out: Tensor | None = None,
) -> Tensor:
    r"""Proximal operator of :math:`\lambda |x|^q`, a threshold with a jump.

    With :math:`\beta = [2\eta\lambda(1 - q)]^{1/(2 - q)}` and
    :math:`\tau = \beta + \eta\lambda q \beta^{q-1}`,

    .. math:: \operatorname{prox}(x) = \operatorname{sign}(x)\,y
              \text{ if } |x| > \tau \text{ else } 0, \qquad
              h(y) = \eta\lambda q\,y^{q-1} + y - |x| = 0,\; y \in [\beta, |x|]

    At the threshold :math:`\tau` the result is 0. Source: Table I (iii).

    Args:
        x: floating point tensor of any shape.
        lam: :math:`\lambda \ge 0`, a number or a tensor that broadcasts to x.
        q: :math:`0 < q < 1`.
        step: :math:`\eta > 0`, a number or a tensor that broadcasts to x.
        out: where to write the result; x itself works in place.

    Returns:
        `out`, or a new tensor shaped like x.

    Raises:
        ValueError: an argument outside its range.
    """
    _check(x, lam, step, out)
    check_number("q", q, above=0, below=1)

    def formula(x: Tensor, c: Coefficient, out: Tensor | None, work: Buffers) -> Tensor:
        _, tau = _lq_jump(c, q)
        if out is None or x.device.type != "cpu":
            y = _lq_root(x.abs().clamp(min=tau), c, q)
            return torch.where(x.abs() > tau, y.to(x.dtype).copysign(x), 0)
        # Few entries are beyond τ: a CPU had better solve for those alone. (NumPy
        # compares much faster.)
        beyond = torch.abs(x, out=work[0]).numpy() > np.asarray(tau)
        at = torch.from_numpy(beyond).nonzero().squeeze(1)
        t = x.index_select(0, at)
        y = _lq_root(t.abs(), c[at] if isinstance(c, Tensor) else c, q)
        return out.zero_().index_copy_(0, at, y.to(x.dtype).copysign_(t))

    return blockwise(formula, x, out, step * lam)


def _lq_jump(c: Coefficient, q: float) -> tuple[Coefficient, Coefficient]:
    """The jump β of the operator and the place τ where it happens, for c = ηλ."""
    beta = (2 * c * (1 - q)) ** (1 / (2 - q))
    return beta, beta * (2 - q) / (2 - 2 * q)


def _lq_root(t: Tensor, c: Coefficient, q: float) -> Tensor:
    """Solve h(y) = c·q·y^(q−1) + y − t = 0 for y >= β.

    The closer q is to 1, the more y is a small difference of large numbers: float64.
    """
    # enough for a relative error of 1e-8 in float32 and 1e-14 in float64, for every t
    steps = 1 + (q > 0.5) + (t.dtype == torch.float64)
    if q > 0.5:
        t, c = widest(t), widest(c) if isinstance(c, Tensor) else c
    t = t.clamp(min=torch.finfo(t.dtype).tiny)  # y = 0 (for λ = 0) has no power q − 2

    def newton(y: Tensor) -> Tensor:
        pull = c * q * y ** (q - 2)  # of the penalty at y, divided by y
        return torch.addcmul(t, pull, y, value=q - 2) / (1 - (1 - q) * pull)

    with torch.no_grad():
        # h is convex: its tangent at β, and so every step, ends right of the root
        beta, tau = _lq_jump(c, q)
        y = torch.minimum(t, beta + (t - tau) / (1 - q / 2))
        for _ in range(steps):
            y = newton(y)
    # The last step is recorded by autograd. It hardly moves y, but it carries the
    # derivative: dy/dt = 1 / h'(y), the implicit function theorem.
    return newton(y)


def prox_q_shrinkage(
    x: Tensor,
    lam: float,
    q: float = 0.5,
    step: float = 1.0,
    *,
    out: Tensor | None = None,
) -> Tensor:
    r"""q-shrinkage: subtract less from a large entry than from a small one.

    .. math:: \operatorname{prox}(x)
              = \operatorname{sign}(x)\,\max(|x| - \lambda^{2-q} |x|^{q-1},\, 0)
              \qquad (\eta = 1)

    q = 1 is the soft threshold, :math:`q \to -\infty` the hard one. The penalty has no
    closed form, but this operator defines it, :math:`P'(y) = t - y` at
    :math:`y = t - \lambda^{2-q} t^{q-1}`. So with another step, for
    :math:`|x| > \eta\lambda`,

    .. math:: \operatorname{prox}(x)
              = \operatorname{sign}(x)\,(t - \lambda^{2-q} t^{q-1}), \qquad
              t - (1 - \eta)\,\lambda^{2-q} t^{q-1} = |x|,\; t \ge \lambda

    Source: Table I (iv).

    Args:
        x: floating point tensor of any shape.
        lam: :math:`\lambda \ge 0`.
        q: :math:`q \le 1`.
        step: :math:`0 < \eta < 1 + 1/(1 - q)`.
        out: where to write the result; x itself works in place.

    Returns:
        `out`, or a new tensor shaped like x.

    Raises:
        ValueError: an argument outside its range.
    """
    _check(x, lam, step, out)
    check_number("q", q, at_most=1)
    if q < 1:
        limit = 1 + 1 / (1 - q)
        check_number("step", step, above=0, below=limit, why="below 1 + 1 / (1 - q)")

    def formula(x: Tensor, out: Tensor | None, work: Buffers) -> Tensor:
        t = q_shrinkage_root(x.abs(), lam, q, step)
        y = t - lam * (t / lam) ** (q - 1)
        return torch.where(x.abs() > step * lam, y.copysign(x), 0)

    return prox_l1(x, 0.0, out=out) if lam == 0 else blockwise(formula, x, out)


def q_shrinkage_root(size: Tensor, lam: float, q: float, step: float) -> Tensor:
    """Solve F(t) = t − (1 − step)·λ^(2−q)·t^(q−1) = size for t >= λ by Newton's method.

    Step 0 inverts the slide's operator, which is how the penalty gets its value.
    Sizes below F(λ) = step·λ, which the operator sets to zero, give t = λ.
    """
    size = size.clamp(min=step * lam)
    if step == 1:
        return size

    def newton(t: Tensor) -> Tensor:
        pull = (1 - step) * lam * (t / lam) ** (q - 1)
        return (size + (2 - q) * pull) / (1 + (1 - q) * pull / t)

    with torch.no_grad():
        # F is concave and the start left of the root for step < 1, convex and right of
        # it for step > 1: either way the steps go in one direction.
        t = size.clamp(min=lam)
        tolerance = 4 * torch.finfo(t.dtype).eps
        for _ in range(60):  # reached only where F is flat, next to the largest step
            t, last = newton(t).clamp(min=lam), t
            if t.is_meta or torch.allclose(t, last, tolerance, 0, equal_nan=True):
                break
    return newton(t)  # recorded by autograd, as in _lq_root


def _soft(x: Tensor, t: float, out: Tensor | None, work: Buffers) -> Tensor:
    return softshrink(x, t, out=out)


def _hard(x: Tensor, t: float, out: Tensor | None, work: Buffers) -> Tensor:
    return hardshrink(x, t, out=out)


def _soft_each(x: Tensor, t: Tensor, out: Tensor | None, work: Buffers) -> Tensor:
    # what a soft threshold takes away is x clipped to ±t
    return torch.sub(x, torch.clamp(x, -t, t, out=work[0]), out=out)


def _hard_each(x: Tensor, t: Tensor, out: Tensor | None, work: Buffers) -> Tensor:
    return torch.where(x.abs() > t, x, 0)


def widest(x: Tensor) -> Tensor:
    """x in float64, except on Apple's GPUs, which do not have it."""
    return x if x.device.type == "mps" else x.double()


def representable(dtype: torch.dtype, *numbers: float) -> list[float]:
    """Round to numbers that a tensor can hold, each larger than the one before.

    Slopes computed from them fit the knots that the tensor will see.
    """
    kind = np.float64 if dtype == torch.float64 else np.float32
    rounded: list[np.floating] = []
    for number in numbers:
        value = kind(min(number, float(np.finfo(kind).max) / 2))
        if rounded:
            value = max(value, np.nextafter(rounded[-1], kind(np.inf)))
        rounded.append(value)
    return [float(value) for value in rounded]


def block_size(x: Tensor) -> int:
    """Entries to handle at once.

    A CPU keeps so many, and the intermediate results, in the caches of its cores: a
    formula of several operations then costs little more than one of them.
    """
    return 2**18 * torch.get_num_threads() if x.device.type == "cpu" else 2**24


def _check(x: Tensor, lam: Coefficient, step: Coefficient, out: Tensor | None) -> None:
    check_tensor("x", x, out)
    check_coefficient("lam", lam, x)
    check_coefficient("step", step, x, positive=True)


def blockwise(
    formula: Callable[..., Tensor],
    x: Tensor,
    out: Tensor | None,
    *coefficients: Coefficient,
    blocks: bool = True,
) -> Tensor:
    """Apply an elementwise formula to x, and to coefficients that broadcast to it.

    The formula gets a block of x, the coefficients, the block `out` to write to, which
    may be that of x, and two buffers. It returns `out` or a new tensor. When autograd
    records, it gets all of x at once, and None for what it must not write to.
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    coefficients = tuple(
        c.expand(x.shape).to(dtype) if isinstance(c, Tensor) else c
        for c in coefficients
    )
    tensors = [t for t in (x, *coefficients) if isinstance(t, Tensor)]
    recorded = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    if out is None and recorded:
        return formula(x.to(dtype), *coefficients, None, NO_BUFFERS).to(x.dtype)
    with torch.no_grad():
        out = torch.empty_like(x) if out is None else out
        if not (x.is_contiguous() and out.is_contiguous()):
            copy = x.clone(memory_format=torch.contiguous_format)
            return out.copy_(
                blockwise(formula, copy, copy, *coefficients, blocks=blocks)
            )
        if not blocks and x.dtype == dtype:
            return formula(x, *coefficients, out, NO_BUFFERS)
        size = block_size(x)
        work = x.new_empty((2, min(size, x.numel())), dtype=dtype).unbind()
        columns = (
            t.reshape(-1).split(size) if isinstance(t, Tensor) else repeat(t)
            for t in (x, out, *coefficients)
        )
        for source, target, *block in zip(*columns, strict=False):
            wide = source.to(dtype)  # a copy if x is half precision
            if len(wide) < len(work[0]):
                work = tuple(buffer[: len(wide)] for buffer in work)
            place = target if target.dtype == dtype else wide
            result = formula(wide, *block, place, work)
            if result is not target:
                target.copy_(result)
        return out
