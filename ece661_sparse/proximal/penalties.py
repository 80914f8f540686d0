r"""Penalties of the lecture: a value to look at, a proximal operator to train with.

Slides: "Special case: ℓ0 as indicator function", "Special case: Revisit ℓ1
regularization", "Improvements from ℓ1" (Table I).

A penalty is a small frozen dataclass that holds its parameters. `value` is what a
subgradient method differentiates, `prox` is what a proximal method calls:

>>> penalty = MCP(lam=0.1, gamma=3.0)
>>> loss = loss + penalty.value(w).sum()      # regularised training
>>> w = penalty.prox(w - step * grad, step)   # proximal gradient
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ece661_sparse.core.arguments import check_count, check_number
from ece661_sparse.proximal import operators
from ece661_sparse.proximal.projections import project_top_n

Step = float | Sequence[float | Tensor]


class Penalty(ABC):
    """What every penalty can do; a new one needs `value` and `prox`.

    Attributes:
        elementwise_steps: whether `prox` is right for steps of any size, also for a
            tensor with a step for each entry (Adam's).
        shared_budget: whether the tensors of a parameter group share a budget, so that
            all of them count, also those that took no step.
    """

    elementwise_steps: ClassVar[bool] = False
    shared_budget: ClassVar[bool] = False

    @abstractmethod
    def value(self, x: Tensor) -> Tensor:
        """The penalty of each entry, shaped like `x`; differentiable by autograd."""

    @abstractmethod
    def prox(self, x: Tensor, step: Any = 1.0, *, out: Tensor | None = None) -> Tensor:
        r""":math:`\operatorname{argmin}_z \eta P(z) + \tfrac12 \|z - x\|^2`."""

    def prepare_(self, tensors: list[Tensor], state: dict[str, Any]) -> None:
        """Called before the gradient step; a penalty with variables moves them here."""
        return None

    def prox_(self, tensors: list[Tensor], step: Step, state: dict[str, Any]) -> None:
        """Apply `prox` in place to the tensors of one parameter group.

        Args:
            tensors: parameters, overwritten.
            step: the step taken: a number for all, or for each parameter a number or
                a tensor; 0 for a parameter of a shared budget that took none.
            state: what the penalty remembers between steps.
        """
        steps = step if isinstance(step, Sequence) else [step] * len(tensors)
        for tensor, eta in zip(tensors, steps, strict=True):
            self.prox(tensor, eta, out=tensor)


@dataclass(frozen=True)
class L0(Penalty):
    r"""Count of non-zeros, :math:`P(x) = \lambda\,[x \ne 0]`.

    Its derivative is zero wherever it exists, so a subgradient method ignores it.
    """

    lam: float
    elementwise_steps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_number("lam", self.lam, at_least=0)

    def value(self, x: Tensor) -> Tensor:
        return self.lam * x.sign().abs()

    def prox(self, x: Tensor, step: Any = 1.0, *, out: Tensor | None = None) -> Tensor:
        """Hard threshold, :func:`prox_l0`."""
        return operators.prox_l0(x, self.lam, step, out=out)


@dataclass(frozen=True)
class L1(Penalty):
    r""":math:`P(x) = \lambda |x|`."""

    lam: float
    elementwise_steps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_number("lam", self.lam, at_least=0)

    def value(self, x: Tensor) -> Tensor:
        return self.lam * x.abs()

    def prox(self, x: Tensor, step: Any = 1.0, *, out: Tensor | None = None) -> Tensor:
        """Soft threshold, :func:`prox_l1`."""
        return operators.prox_l1(x, self.lam, step, out=out)


@dataclass(frozen=True)
class Lq(Penalty):
    r""":math:`P(x) = \lambda |x|^q`, :math:`0 < q < 1`. Source: Table I (iii).

    Its slope at 0 is infinite; `value` differentiates to 0 there.
    """

    lam: float
    q: float = 0.5
    elementwise_steps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_number("lam", self.lam, at_least=0)
        check_number("q", self.q, above=0, below=1)

    def value(self, x: Tensor) -> Tensor:
        # The power is taken of 1 in the place of 0, where its derivative is infinite.
        nonzero = x != 0
        size = torch.where(nonzero, x.abs(), 1)
        return torch.where(nonzero, self.lam * size**self.q, 0)

    def prox(self, x: Tensor, step: Any = 1.0, *, out: Tensor | None = None) -> Tensor:
        """:func:`prox_lq`."""
        return operators.prox_lq(x, self.lam, self.q, step, out=out)


@dataclass(frozen=True)
class QShrinkage(Penalty):
    r"""The penalty that q-shrinkage implies, :math:`q \le 1`. Source: Table I (iv).

    The table says N/A, since there is no closed form in x. With the root
    :math:`t \ge \lambda` of :math:`t - \lambda^{2-q} t^{q-1} = |x|` and
    :math:`\ell = \ln(t/\lambda)`, integrating :math:`P'(|x|) = t - |x|` gives

    .. math:: P(x) = \lambda^2 \left[ \frac{e^{q\ell} - 1}{q}
                     - \frac{e^{(2q-2)\ell} - 1}{2} \right]

    (the fraction is :math:`\ell` for q = 0). q = 1 is :math:`\lambda |x|`.
    """

    lam: float
    q: float = 0.5

    def __post_init__(self) -> None:
        check_number("lam", self.lam, at_least=0)
        check_number("q", self.q, at_most=1)

    def value(self, x: Tensor) -> Tensor:
        lam, q = self.lam, self.q
        if lam == 0:
            return 0 * x
        log = (operators.q_shrinkage_root(x.abs(), lam, q, step=0) / lam).log()
        growth = torch.expm1(q * log) / q if q != 0 else log
        return lam**2 * (growth - torch.expm1((2 * q - 2) * log) / 2)

    def prox(self, x: Tensor, step: Any = 1.0, *, out: Tensor | None = None) -> Tensor:
        """:func:`prox_q_shrinkage`."""
        return operators.prox_q_shrinkage(x, self.lam, self.q, step, out=out)


@dataclass(frozen=True)
class SCAD(Penalty):
    r"""Smoothly clipped absolute deviation, :math:`a > 2`. Source: Table I (v).

    .. math:: P(x) = \begin{cases}
              \lambda |x| & |x| < \lambda \\
              \dfrac{2a\lambda|x| - x^2 - \lambda^2}{2(a - 1)}
                & \lambda \le |x| < a\lambda \\
              (a + 1)\lambda^2 / 2 & |x| \ge a\lambda \end{cases}
    """

    lam: float
    a: float = 3.7

    def __post_init__(self) -> None:
        check_number("lam", self.lam, at_least=0)
        check_number("a", self.a, above=2)

    def value(self, x: Tensor) -> Tensor:
        lam, a = self.lam, self.a
        size = x.abs().clamp(max=a * lam)  # constant from there on
        bend = (2 * a * lam * size - size**2 - lam**2) / (2 * (a - 1))
        return torch.where(size < lam, lam * size, bend)

    def prox(self, x: Tensor, step: Any = 1.0, *, out: Tensor | None = None) -> Tensor:
        """:func:`prox_scad`."""
        return operators.prox_scad(x, self.lam, self.a, step, out=out)


@dataclass(frozen=True)
class MCP(Penalty):
    r"""Minimax concave penalty, :math:`\gamma > 1`. Source: Table I (vi).

    .. math:: P(x) = \lambda \int_0^{|x|} \max(1 - t / (\gamma\lambda), 0)\,dt
              = \lambda m - \frac{m^2}{2\gamma}, \qquad m = \min(|x|, \gamma\lambda)
    """

    lam: float
    gamma: float = 3.0

    def __post_init__(self) -> None:
        check_number("lam", self.lam, at_least=0)
        check_number("gamma", self.gamma, above=1)

    def value(self, x: Tensor) -> Tensor:
        m = x.abs().clamp(max=self.gamma * self.lam)
        return self.lam * m - m**2 / (2 * self.gamma)

    def prox(self, x: Tensor, step: Any = 1.0, *, out: Tensor | None = None) -> Tensor:
        """Firm threshold, :func:`prox_mcp`."""
        return operators.prox_mcp(x, self.lam, self.gamma, step, out=out)


@dataclass(frozen=True)
class Firm(Penalty):
    r"""The penalty of the firm threshold, :math:`\mu > \lambda`. Source: Table I (vii).

    .. math:: P(x) = \lambda \left( m - \frac{m^2}{2\mu} \right),
              \qquad m = \min(|x|, \mu)

    The same as :class:`MCP` with :math:`\gamma = \mu / \lambda`.
    """

    lam: float
    mu: float

    def __post_init__(self) -> None:
        check_number("lam", self.lam, at_least=0)
        check_number("mu", self.mu, above=self.lam, why="above lam")

    def value(self, x: Tensor) -> Tensor:
        m = x.abs().clamp(max=self.mu)
        return self.lam * (m - m**2 / (2 * self.mu))

    def prox(self, x: Tensor, step: Any = 1.0, *, out: Tensor | None = None) -> Tensor:
        """:func:`prox_firm`."""
        return operators.prox_firm(x, self.lam, self.mu, step, out=out)


@dataclass(frozen=True)
class L0Ball(Penalty):
    r"""At most n non-zeros: 0 inside the ball, infinity outside.

    Slide: "Special case: ℓ0 as indicator function". Its proximal operator is the
    projection of iterative pruning, whatever the step. In a proximal optimizer all
    tensors of a parameter group share the n places.
    """

    n: int
    elementwise_steps: ClassVar[bool] = True
    shared_budget: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_count("n", self.n)

    def value(self, x: Tensor) -> Tensor:
        """The indicator of all of `x`, a tensor without dimensions."""
        inside = torch.count_nonzero(x) <= self.n
        return torch.where(inside, 0.0, torch.inf).to(x.dtype)

    def prox(self, x: Tensor, step: Any = 1.0, *, out: Tensor | None = None) -> Tensor:
        """Keep the n largest magnitudes, :func:`project_top_n`."""
        return project_top_n(x, self.n, out=out)

    def prox_(self, tensors: list[Tensor], step: Step, state: dict[str, Any]) -> None:
        """Keep the n largest magnitudes of all tensors together."""
        project_top_n(tensors, self.n, out=tensors)
