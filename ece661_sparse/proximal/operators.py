r"""Proximal operators of the lecture, right for every step.

Slides: "Proximal gradient update", "Special case: Revisit ℓ1 regularization",
"Improvements from ℓ1" (Table I, rows iii to vii).

For a penalty :math:`P` and a step :math:`\eta` every function computes

.. math:: \operatorname{prox}_{\eta P}(x)
          = \operatorname*{argmin}_z \; \eta\,P(z) + \tfrac12 (z - x)^2

entry by entry. The lecture's operators are those of :math:`\eta = 1`.

**Knots.** Soft, firm and SCAD thresholding are piecewise linear: sums of soft
thresholds, one for each knot (a place where the slope changes), weighted by the change
of slope there. The code uses these sums up to the last knot only. Beyond it the result
is x to the last bit: a rounding error there, repeated at every step of a training,
would pull on weights that are meant to be free.

**In place.** The result is `out`, or a new tensor shaped like x. ``out=x`` overwrites
x, also when x is a parameter: an operator with `out` is not recorded by autograd.
Without `out` all are differentiable.

Below each operator stands its formula in plain torch; ``blocks.py`` applies it. Entries
of x are finite. Half precision is computed in float32 and rounded once.
"""

import torch
from torch import Tensor, hardshrink

from ece661_sparse.core.arguments import check_coefficient, check_number, check_tensor
from ece661_sparse.proximal.blocks import (
    LARGE,
    Coefficient,
    beyond_into,
    elementwise,
    firm_into,
    representable,
    scad_into,
    softshrink,
    widest,
)


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
        out: where to write the result, or None for a new tensor.

    Raises:
        ValueError: an argument outside its range.
    """
    _check(x, lam, step, out)
    threshold = (2 * step * lam) ** 0.5
    hard = _hard if isinstance(threshold, Tensor) else hardshrink
    return elementwise(hard, x, out, threshold)


def _hard(x: Tensor, threshold: Tensor) -> Tensor:
    return torch.where(x.abs() > threshold, x, 0)


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
        out: where to write the result, or None for a new tensor.

    Raises:
        ValueError: an argument outside its range.
    """
    _check(x, lam, step, out)
    threshold = step * lam
    soft = _soft if isinstance(threshold, Tensor) else softshrink
    return elementwise(soft, x, out, threshold)


def _soft(x: Tensor, threshold: Tensor) -> Tensor:
    return x - x.clamp(-threshold, threshold)


def prox_firm(
    x: Tensor, lam: float, mu: float, step: float = 1.0, *, out: Tensor | None = None
) -> Tensor:
    r"""Firm threshold: zero up to ηλ, untouched beyond μ, a straight line between.

    .. math:: \operatorname{prox}(x) = \begin{cases}
              0 & |x| \le \eta\lambda \\
              \operatorname{sign}(x)\,(|x| - \eta\lambda)\,\mu / (\mu - \eta\lambda)
                & \eta\lambda < |x| \le \mu \\
              x & |x| > \mu \end{cases}

    It is a sum of two soft thresholds,
    :math:`(1 + w)\,\mathrm{soft}(x, \eta\lambda) - w\,\mathrm{soft}(x, \mu)` with
    :math:`w = \eta\lambda / (\mu - \eta\lambda)`, and :func:`prox_mcp` with
    :math:`\mu = \gamma\lambda`. Source: Table I (vii).

    Args:
        x: floating point tensor of any shape.
        lam: :math:`\lambda \ge 0`.
        mu: :math:`\mu > \max(1, \eta)\,\lambda`, beyond which x is left alone.
        step: :math:`\eta > 0`.
        out: where to write the result, or None for a new tensor.

    Raises:
        ValueError: an argument outside its range.
    """
    _check(x, lam, step, out)
    check_number("mu", mu, above=max(1, step) * lam, why="above lam and step * lam")
    knots = representable(x.dtype, step * lam, mu)
    return elementwise(_firm, x, out, *knots, into=firm_into)


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
        out: where to write the result, or None for a new tensor.

    Raises:
        ValueError: an argument outside its range.
    """
    _check(x, lam, step, out)
    check_number("gamma", gamma, above=max(1, step), why="above 1 and step")
    knots = representable(x.dtype, step * lam, gamma * lam)
    return elementwise(_firm, x, out, *knots, into=firm_into)


def _firm(x: Tensor, threshold: float, mu: float) -> Tensor:
    # Taken apart at μ, each part is exact. The sum of soft thresholds would subtract
    # nearly equal numbers when the slope is steep, and round x beyond μ.
    slope = mu / (mu - threshold)  # the line reaches x at μ
    large = hardshrink(x, mu)
    line = softshrink(x - large, threshold)
    return torch.add(large, line, alpha=slope)


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
        out: where to write the result, or None for a new tensor.

    Raises:
        ValueError: an argument outside its range.
    """
    _check(x, lam, step, out)
    check_number("a", a, above=max(2, 1 + step), why="above 2 and 1 + step")
    knots = representable(x.dtype, step * lam, (1 + step) * lam, a * lam)
    return elementwise(_scad, x, out, *knots, into=scad_into)


def _scad(x: Tensor, threshold: float, knee: float, last: float) -> Tensor:
    # Taken apart at the last knot, as in _firm.
    weight = threshold / (last - knee)  # change of slope: the line reaches x at aλ
    large = hardshrink(x, last)
    rest = x - large
    steeper = softshrink(rest, knee)
    return torch.add(softshrink(rest, threshold), steeper, alpha=weight) + large


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
        out: where to write the result, or None for a new tensor.

    Raises:
        ValueError: an argument outside its range.
    """
    _check(x, lam, step, out)
    check_number("q", q, above=0, below=1)
    into = _lq_into if x.device.type == "cpu" else None
    return elementwise(_lq, x, out, step * lam, q, into=into, per_core=LARGE)


def _lq(x: Tensor, c: Coefficient, q: float) -> Tensor:
    _, tau = _lq_jump(c, q)
    return torch.where(x.abs() > tau, _lq_beyond(x, c, q), 0)


def _lq_into(x: Tensor, c: Coefficient, q: float, out: Tensor) -> None:
    _, tau = _lq_jump(c, q)
    beyond_into(tau, _lq_beyond, x, c, q, out=out)


def _lq_beyond(x: Tensor, c: Coefficient, q: float) -> Tensor:
    _, tau = _lq_jump(c, q)
    y = _lq_root(x.abs().clamp(min=tau), c, q)
    return y.to(x.dtype).copysign(x)


def _lq_jump(c: Coefficient, q: float) -> tuple[Coefficient, Coefficient]:
    """The jump β of the operator and the place τ where it happens, for c = ηλ."""
    beta = (2 * c * (1 - q)) ** (1 / (2 - q))
    return beta, beta * (2 - q) / (2 - 2 * q)


def _lq_root(t: Tensor, c: Coefficient, q: float) -> Tensor:
    """Solve h(y) = c·q·y^(q−1) + y − t = 0 for y >= β, by Newton's method."""
    # So many give a relative error of 1e-8 in float32 and 1e-14 in float64.
    steps = 1 + (q > 0.5) + (t.dtype == torch.float64)
    if q > 0.5:  # y is a small difference of large numbers
        t, c = widest(t), widest(c) if isinstance(c, Tensor) else c
    t = t.clamp(min=torch.finfo(t.dtype).tiny)  # y = 0 (for λ = 0) has no power q − 2

    def newton(y: Tensor) -> Tensor:
        pull = c * q * y ** (q - 2)  # slope of the penalty at y, divided by y
        return torch.addcmul(t, pull, y, value=q - 2) / (1 - (1 - q) * pull)

    with torch.no_grad():
        # h is convex: its tangent at β, and so every step, ends right of the root.
        beta, tau = _lq_jump(c, q)
        y = torch.minimum(t, beta + (t - tau) / (1 - q / 2))
        for _ in range(steps):
            y = newton(y)
    # Autograd records the last step only. It hardly moves y, but it carries the
    # derivative of the root, dy/dt = 1 / h'(y), by the implicit function theorem.
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
        out: where to write the result, or None for a new tensor.

    Raises:
        ValueError: an argument outside its range.
    """
    _check(x, lam, step, out)
    check_number("q", q, at_most=1)
    if q < 1:
        limit = 1 + 1 / (1 - q)
        check_number("step", step, above=0, below=limit, why="below 1 + 1 / (1 - q)")
    if lam == 0:
        return prox_l1(x, 0.0, out=out)
    return elementwise(_q_shrinkage, x, out, lam, q, step, per_core=LARGE)


def _q_shrinkage(x: Tensor, lam: float, q: float, step: float) -> Tensor:
    t = q_shrinkage_root(x.abs(), lam, q, step)
    y = t - lam * (t / lam) ** (q - 1)
    return torch.where(x.abs() > step * lam, y.copysign(x), 0)


def q_shrinkage_root(size: Tensor, lam: float, q: float, step: float) -> Tensor:
    """Solve F(t) = t − (1 − step)·λ^(2−q)·t^(q−1) = size for t >= λ by Newton's method.

    Step 0 inverts the slide's operator, which is how the penalty gets its value. A
    size below F(λ) = step·λ, which the operator sets to zero, gives t = λ.
    """
    size = size.clamp(min=step * lam)
    if step == 1:
        return size

    def newton(t: Tensor) -> Tensor:
        pull = (1 - step) * lam * (t / lam) ** (q - 1)
        return (size + (2 - q) * pull) / (1 + (1 - q) * pull / t)

    with torch.no_grad():
        # For step < 1, F is concave and the start left of the root; for step > 1 it is
        # convex and the start right of it. Either way t moves in one direction.
        t = size.clamp(min=lam)
        tolerance = 4 * torch.finfo(t.dtype).eps
        for _ in range(60):  # needed only near the largest step, where F is flat
            t, last = newton(t).clamp(min=lam), t
            if t.is_meta or torch.allclose(t, last, tolerance, 0, equal_nan=True):
                break
    return newton(t)  # recorded by autograd, as in _lq_root


def _check(x: Tensor, lam: Coefficient, step: Coefficient, out: Tensor | None) -> None:
    check_tensor("x", x, out)
    check_coefficient("lam", lam, x)
    check_coefficient("step", step, x, positive=True)
