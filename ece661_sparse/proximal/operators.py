r"""Proximal operators of the lecture, right for every step.

Slides: "Proximal gradient update", "Special case: Revisit ℓ1 regularization",
"Improvements from ℓ1" (Table I, rows iii to vii).

For a penalty :math:`P` and a step :math:`\eta` every function computes

.. math:: \operatorname{prox}_{\eta P}(x)
          = \operatorname*{argmin}_z \; \eta\,P(z) + \tfrac12 (z - x)^2

entry by entry. The lecture's operators are those of :math:`\eta = 1`.

**Knots.** Soft, firm and SCAD thresholding are piecewise linear. Such an operator is
known from its knots, the places where its slope changes, and a soft threshold is the
simplest of them: its slope goes from 0 to 1 at one knot. So each of the others is a sum
of soft thresholds, one for every knot, weighted by the change of slope there. A firm
threshold is a blend of two, SCAD a sum of three.

**In place.** ``out=x`` overwrites `x`, also when `x` is a parameter: operators
with `out` are not recorded by autograd. Without `out` they are differentiable.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ._checks import check_coefficient, check_number, check_tensor

Coefficient = float | Tensor

# Entries handled at once: few enough for intermediate results to stay in a CPU's cache.
CPU_BLOCK = 2**15
BLOCK = 2**24


def prox_l0(
    x: Tensor, lam: Coefficient, step: Coefficient = 1.0, *, out: Tensor | None = None
) -> Tensor:
    r"""Hard threshold, the proximal operator of :math:`\lambda\,[x \ne 0]`.

    .. math:: \operatorname{prox}(x) = x \text{ if } |x| > \sqrt{2\eta\lambda}
              \text{ else } 0

    At the threshold both 0 and x are minimisers; the result is 0 there.

    Args:
        x: floating point tensor of any shape.
        lam: :math:`\lambda \ge 0`, a number or a tensor broadcastable to `x`.
        step: :math:`\eta > 0`, a number or a tensor broadcastable to `x`.
        out: where to write the result; `x` itself works in place.

    Returns:
        `out`, or a new tensor shaped like `x`.

    Raises:
        ValueError: if an argument is outside its range.
    """
    _check(x, lam, step, out)
    energy = 2 * step * lam
    if isinstance(energy, Tensor):
        return _blockwise(
            lambda x, energy: torch.where(x.abs() > energy.sqrt(), x, 0),
            x,
            out,
            energy,
        )
    return _blockwise(lambda x: F.hardshrink(x, energy**0.5), x, out)


def prox_l1(
    x: Tensor, lam: Coefficient, step: Coefficient = 1.0, *, out: Tensor | None = None
) -> Tensor:
    r"""Soft threshold, the proximal operator of :math:`\lambda |x|`.

    .. math:: \operatorname{prox}(x)
              = \operatorname{sign}(x)\,\max(|x| - \eta\lambda,\, 0)

    Slide: "Special case: Revisit ℓ1 regularization".

    Args:
        x: floating point tensor of any shape.
        lam: :math:`\lambda \ge 0`, a number or a tensor broadcastable to `x`.
        step: :math:`\eta > 0`, a number or a tensor broadcastable to `x`.
        out: where to write the result; `x` itself works in place.

    Returns:
        `out`, or a new tensor shaped like `x`.

    Raises:
        ValueError: if an argument is outside its range.
    """
    _check(x, lam, step, out)
    threshold = step * lam
    if isinstance(threshold, Tensor):
        # what soft thresholding removes is x clipped to ±threshold
        return _blockwise(lambda x, t: x - x.clamp(-t, t), x, out, threshold)
    return _blockwise(lambda x: F.softshrink(x, threshold), x, out)


def prox_firm(
    x: Tensor, lam: float, mu: float, step: float = 1.0, *, out: Tensor | None = None
) -> Tensor:
    r"""Firm threshold: zero up to ηλ, untouched beyond μ, a straight line between.

    .. math:: \operatorname{prox}(x) = \begin{cases}
              0 & |x| \le \eta\lambda \\
              \operatorname{sign}(x)\,(|x| - \eta\lambda)\,\mu / (\mu - \eta\lambda)
                & \eta\lambda < |x| \le \mu \\
              x & |x| > \mu \end{cases}

    Source: Table I (vii). It is the proximal operator of the minimax concave penalty
    with :math:`\mu = \gamma\lambda`, and the blend
    :math:`(1 + w)\,\mathrm{soft}(x, \eta\lambda) - w\,\mathrm{soft}(x, \mu)` of two soft
    thresholds, :math:`w = \eta\lambda / (\mu - \eta\lambda)`.

    Args:
        x: floating point tensor of any shape.
        lam: :math:`\lambda \ge 0`.
        mu: :math:`\mu > \max(1, \eta)\lambda`; beyond it x is left alone.
        step: :math:`\eta > 0`.
        out: where to write the result; `x` itself works in place.

    Returns:
        `out`, or a new tensor shaped like `x`.

    Raises:
        ValueError: if an argument is outside its range.
    """
    _check(x, lam, step, out)
    check_number("mu", mu, above=max(1, step) * lam, why="above lam and above step*lam")
    return _firm(x, step * lam, mu, out)


def prox_mcp(
    x: Tensor,
    lam: float,
    gamma: float = 3.0,
    step: float = 1.0,
    *,
    out: Tensor | None = None,
) -> Tensor:
    r"""Firm threshold with knots ηλ and γλ, the proximal operator of MCP.

    .. math:: \operatorname{prox}(x) = \begin{cases}
              0 & |x| \le \eta\lambda \\
              \operatorname{sign}(x)\,(|x| - \eta\lambda) / (1 - \eta/\gamma)
                & \eta\lambda < |x| \le \gamma\lambda \\
              x & |x| > \gamma\lambda \end{cases}

    Source: Table I (vi); Zhang (2010). The step changes the threshold and the slope, not
    the knot γλ: :math:`\operatorname{prox}_{\eta\,\mathrm{MCP}(\lambda, \gamma)}` is the
    lecture's operator with :math:`(\eta\lambda, \gamma/\eta)`. Scaling λ alone is wrong.

    Args:
        x: floating point tensor of any shape.
        lam: :math:`\lambda \ge 0`.
        gamma: :math:`\gamma > \max(1, \eta)`.
        step: :math:`\eta > 0`.
        out: where to write the result; `x` itself works in place.

    Returns:
        `out`, or a new tensor shaped like `x`.

    Raises:
        ValueError: if an argument is outside its range.
    """
    _check(x, lam, step, out)
    check_number("gamma", gamma, above=max(1, step), why="above 1 and above step")
    return _firm(x, step * lam, gamma * lam, out)


def _firm(x: Tensor, threshold: float, mu: float, out: Tensor | None) -> Tensor:
    threshold, mu = _representable(x.dtype, threshold, mu)
    # the slope that arrives at x itself at μ; knots that round to one leave a jump
    slope = mu / (mu - threshold) if mu > threshold else 0.0

    def formula(x: Tensor) -> Tensor:
        # Split x at μ and each part is exact; the blend of two soft thresholds would
        # subtract nearly equal numbers when the slope is steep.
        large = F.hardshrink(x, mu)
        return large.add(F.softshrink(x - large, threshold), alpha=slope)

    return _blockwise(formula, x, out)


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

    Source: Table I (v); Fan and Li (2001). In terms of knots:
    :math:`\mathrm{soft}(x, \eta\lambda) + w\,\mathrm{soft}(x, (1 + \eta)\lambda)
    - w\,\mathrm{soft}(x, a\lambda)`, :math:`w = \eta / (a - 1 - \eta)`.

    Args:
        x: floating point tensor of any shape.
        lam: :math:`\lambda \ge 0`.
        a: :math:`a > \max(2, 1 + \eta)`.
        step: :math:`\eta > 0`.
        out: where to write the result; `x` itself works in place.

    Returns:
        `out`, or a new tensor shaped like `x`.

    Raises:
        ValueError: if an argument is outside its range.
    """
    _check(x, lam, step, out)
    check_number("a", a, above=max(2, 1 + step), why="above 2 and above 1 + step")
    threshold, knee, end = _representable(
        x.dtype, step * lam, (1 + step) * lam, a * lam
    )
    weight = threshold / (end - knee) if end > knee else 0.0

    def formula(x: Tensor) -> Tensor:
        large = F.hardshrink(x, end)
        rest = x - large  # beyond the last knot nothing is left to threshold
        return (large + F.softshrink(rest, threshold)).add(
            F.softshrink(rest, knee), alpha=weight
        )

    return _blockwise(formula, x, out)


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

    Source: Table I (iii). Newton's method finds the root: h is convex and increasing on
    the interval, so starting right of the root it only moves left.

    Args:
        x: floating point tensor of any shape.
        lam: :math:`\lambda \ge 0`, a number or a tensor broadcastable to `x`.
        q: :math:`0 < q < 1`.
        step: :math:`\eta > 0`, a number or a tensor broadcastable to `x`.
        out: where to write the result; `x` itself works in place.

    Returns:
        `out`, or a new tensor shaped like `x`.

    Raises:
        ValueError: if an argument is outside its range.
    """
    _check(x, lam, step, out)
    check_number("q", q, above=0, below=1)
    c = step * lam

    def formula(x: Tensor, c: Coefficient = c) -> Tensor:
        beta = (2 * c * (1 - q)) ** (1 / (2 - q))
        tau = beta * (2 - q) / (2 - 2 * q)
        t = torch.maximum(x.abs(), torch.as_tensor(tau, dtype=x.dtype, device=x.device))
        y = _lq_root(t, c, q, beta, tau)
        return torch.where(x.abs() > tau, y.copysign(x), 0)

    coefficients = (c,) if isinstance(c, Tensor) else ()
    return _blockwise(formula, x, out, *coefficients)


def _lq_root(t: Tensor, c: Coefficient, q: float, beta: Coefficient, tau: Coefficient):
    """Root of h(y) = c·q·y^(q-1) + y − t in [β, t]."""

    def newton(y: Tensor) -> Tensor:
        pull = c * q * y ** (q - 1)
        return (t - (2 - q) * pull) / (1 - (1 - q) * pull / y)

    # the tangent of h at β meets zero right of the root, and so does y = t
    start = torch.minimum(t, beta + (t - tau) / (1 - q / 2))
    return _solve(newton, start)


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

    Source: Table I (iv). q = 1 is the soft threshold; :math:`q \to -\infty` the hard one.
    The penalty has no closed form, but the operator defines it: :math:`P'(y) = t - y` at
    :math:`y = t - \lambda^{2-q} t^{q-1}`. With another step the operator is therefore
    :math:`|z| = t - \lambda^{2-q} t^{q-1}` where
    :math:`t - (1 - \eta)\,\lambda^{2-q} t^{q-1} = |x|`, for :math:`|x| > \eta\lambda`.

    Args:
        x: floating point tensor of any shape.
        lam: :math:`\lambda \ge 0`.
        q: :math:`q \le 1`.
        step: :math:`0 < \eta < 1 + 1/(1 - q)`.
        out: where to write the result; `x` itself works in place.

    Returns:
        `out`, or a new tensor shaped like `x`.

    Raises:
        ValueError: if an argument is outside its range.
    """
    _check(x, lam, step, out)
    check_number("q", q, at_most=1)
    if q < 1:
        check_number("step", step, above=0, below=1 + 1 / (1 - q), why="1 + 1/(1 - q)")

    def formula(x: Tensor) -> Tensor:
        t = q_shrinkage_root(x.abs(), lam, q, step)
        pull = lam * (t / lam) ** (q - 1)
        return torch.where(x.abs() > step * lam, (t - pull).copysign(x), 0)

    if lam == 0:
        return _blockwise(lambda x: x.clone(), x, out)
    return _blockwise(formula, x, out)


def q_shrinkage_root(size: Tensor, lam: float, q: float, step: float) -> Tensor:
    """Solve t − (1 − step)·λ^(2−q)·t^(q−1) = size for t >= λ."""
    start = size.clamp(min=max(1, step) * lam)

    def newton(t: Tensor) -> Tensor:
        pull = (1 - step) * lam * (t / lam) ** (q - 1)
        return (size.clamp(min=step * lam) + (2 - q) * pull) / (1 + (1 - q) * pull / t)

    return start if step == 1 else _solve(newton, start)


def _solve(newton: Callable[[Tensor], Tensor], y: Tensor) -> Tensor:
    """Repeat a Newton step until no entry moves.

    The last step is recorded by autograd. It does not move the root any more, but carries
    its derivative: the implicit function theorem, for free.
    """
    with torch.no_grad():
        for _ in range(100):
            y, last = newton(y), y
            if y.is_meta or torch.allclose(
                y, last, rtol=4 * torch.finfo(y.dtype).eps, atol=0, equal_nan=True
            ):
                break
    return newton(y)


def _check(x: Tensor, lam: Coefficient, step: Coefficient, out: Tensor | None) -> None:
    check_tensor("x", x, out)
    check_coefficient("lam", lam, x)
    check_coefficient("step", step, x, positive=True)


def _representable(dtype: torch.dtype, *knots: float) -> tuple[float, ...]:
    """Round knots to numbers of the tensor, so that slopes fit the knots it sees."""
    if dtype == torch.float64:
        return knots
    limit = torch.finfo(torch.float32).max
    return tuple(float(np.float32(min(knot, limit))) for knot in knots)


def _blockwise(
    formula: Callable[..., Tensor], x: Tensor, out: Tensor | None, *coefficients: Tensor
) -> Tensor:
    """Apply an elementwise formula to x and tensors that broadcast to it, in blocks.

    Blocks that fit into the cache make a formula of several operations cost little more
    than one. Half precision is computed in float32 and rounded once, at the end.
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    coefficients = tuple(c.expand(x.shape) for c in coefficients)
    inputs = (x, *coefficients)
    if out is None and torch.is_grad_enabled() and any(i.requires_grad for i in inputs):
        return formula(*(i.to(dtype) for i in inputs)).to(x.dtype)
    with torch.no_grad():
        if out is None:
            out = torch.empty_like(x)
        if not (x.is_contiguous() and out.is_contiguous()):
            copy = x.clone(memory_format=torch.contiguous_format)
            return out.copy_(_blockwise(formula, copy, copy, *coefficients))
        size = CPU_BLOCK if x.device.type == "cpu" else BLOCK
        blocks = (i.reshape(-1).split(size) for i in (out, *inputs))
        for target, *sources in zip(*blocks, strict=True):
            target.copy_(formula(*(s.to(dtype) for s in sources)))
        return out
