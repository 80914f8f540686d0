r"""The slides "Further modification: Trimmed ℓ1" to "Optimization of Trimmed ℓ1".

.. math::

    \min_{\theta,\; w \in [0,1]^p} L(\theta) + \lambda \sum_j w_j |\theta_j|
    \quad \text{s.t.} \quad \mathbf 1^\top w = p - h

The :math:`p - h` smallest weights are penalised, the :math:`h` largest are free. The
slide calls :math:`h` the number of non-zeros to keep; it is an upper bound, and holds
only if :math:`\lambda` is large enough.

Yun et al., "Trimming the ℓ1 Regularizer: Statistical Analysis, Optimization, and
Applications to Deep Learning", ICML 2019.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ece661_sparse.core.arguments import check_count, check_number
from ece661_sparse.proximal.operators import prox_l1
from ece661_sparse.proximal.penalties import Penalty, Step
from ece661_sparse.proximal.projections import project_capped_simplex, project_top_n


@dataclass(frozen=True)
class TrimmedL1(Penalty):
    r"""ℓ1 on all but the ``h`` largest weights, with the gates ``w`` of Algorithm 1.

    In a :class:`~ece661_sparse.proximal.optim.ProximalOptimizer`, one parameter group
    with all layers makes ``h`` a global budget, one group per layer makes it the
    layer's. ``w`` starts at :math:`(p-h)/p`, again when a layer of the group is frozen
    or unfrozen, and is saved by ``state_dict``.

    Without gates, :meth:`value` and :meth:`prox` are those of the penalty minimised
    over ``w``: zero on the ``h`` largest entries, :math:`\lambda|x|` on the rest.

    Args:
        lam: strength :math:`\lambda \ge 0`.
        h: weights left free, in ``[0, p]``.
        tau: step :math:`\tau > 0` of ``w``; as it grows, one step puts ``w`` on the
            indicator of the :math:`p - h` smallest weights.

    Raises:
        ValueError: a parameter outside its range; on use, ``h > p``.
    """

    lam: float
    h: int
    tau: float = 1.0

    elementwise_steps: ClassVar[bool] = True
    shared_budget: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_number("lam", self.lam, at_least=0)
        check_count("h", self.h)
        check_number("tau", self.tau, above=0)

    def value(self, x: Tensor) -> Tensor:
        r"""0 on the ``h`` largest entries, :math:`\lambda |x|` elsewhere."""
        return torch.where(self._is_free(x), 0, self.lam * x.abs())

    def prox(self, x: Tensor, step: Any = 1.0, *, out: Tensor | None = None) -> Tensor:
        r"""Keep the ``h`` largest entries, soft-threshold the rest."""
        result = torch.where(self._is_free(x), x, prox_l1(x, self.lam, step))
        return result if out is None else out.copy_(result)

    def prepare_(self, tensors: list[Tensor], state: dict[str, Any]) -> None:
        r"""Algorithm 1, first line: :math:`w \leftarrow proj_S[w - \tau|\theta|]`."""
        if [w.shape for w in state.get("w", ())] != [t.shape for t in tensors]:
            state["w"] = self.start(tensors)
        z = torch.cat(
            [
                (w - self.tau * theta.abs()).flatten()
                for w, theta in zip(state["w"], tensors, strict=True)
            ]
        )
        w = project_capped_simplex(z, z.numel() - self.h)
        sizes = [theta.numel() for theta in tensors]
        state["w"] = [
            part.view_as(theta)
            for part, theta in zip(w.split(sizes), tensors, strict=True)
        ]

    def prox_(self, tensors: list[Tensor], step: Step, state: dict[str, Any]) -> None:
        r"""Algorithm 1, second line: soft-threshold by :math:`\eta\lambda w_j`."""
        steps = step if isinstance(step, Sequence) else [step] * len(tensors)
        for theta, w, eta in zip(tensors, state["w"], steps, strict=True):
            if isinstance(eta, Tensor) or eta != 0:
                prox_l1(theta, self.lam * w, eta, out=theta)

    def start(self, tensors: list[Tensor]) -> list[Tensor]:
        r""":math:`w^0 = (p - h)/p` for every weight."""
        p = sum(theta.numel() for theta in tensors)
        self._check_size(p)
        return [torch.full_like(theta, (p - self.h) / p) for theta in tensors]

    def _is_free(self, x: Tensor) -> Tensor:
        self._check_size(x.numel())
        return project_top_n(x.detach(), self.h) != 0

    def _check_size(self, p: int) -> None:
        if self.h > p:
            raise ValueError(
                f"h must be at most the number of weights {p}, got {self.h}"
            )


@dataclass(frozen=True)
class TrimmedL1Result:
    r"""The iterates of :func:`trimmed_l1`.

    Attributes:
        theta: the solution, shape ``(p,)``.
        w: its gates, shape ``(p,)``: 1 where penalised, 0 where free.
        history: with ``history=True``, the pair :math:`(\theta^k, w^k)` of every
            iteration, from the start to the solution.
    """

    theta: Tensor
    w: Tensor
    history: tuple[tuple[Tensor, Tensor], ...] = ()


def trimmed_l1(
    gradient: Callable[[Tensor], Tensor],
    theta: Tensor,
    lam: float,
    h: int,
    step: float,
    tau: float = 1.0,
    iterations: int = 1000,
    *,
    history: bool = False,
) -> TrimmedL1Result:
    r"""Algorithm 1: block coordinate descent for a problem with one vector.

    Both lines lower the objective if :math:`\eta \le 1/\mathrm{Lip}(\nabla L)`, for
    any :math:`\tau`. The loop ends early when neither iterate moves by more than
    rounding.

    Args:
        gradient: :math:`\nabla L`, from ``(p,)`` to ``(p,)``.
        theta: the start :math:`\theta^0`, shape ``(p,)``; not changed.
        lam: strength :math:`\lambda`.
        h: weights left free, in ``[0, p]``.
        step: step :math:`\eta > 0` of :math:`\theta`.
        tau: step :math:`\tau > 0` of :math:`w`.
        iterations: the most iterations to do.
        history: keep every iterate.

    Raises:
        ValueError: a parameter outside its range.
    """
    p = theta.numel()
    [w] = TrimmedL1(lam, h, tau).start([theta])
    iterates = [(theta, w)]
    for _ in range(iterations):
        previous = theta, w
        w = project_capped_simplex(w - tau * theta.abs(), p - h)
        theta = prox_l1(theta - step * gradient(theta), lam * w, step)
        if history:
            iterates.append((theta, w))
        if all(map(_same, (theta, w), previous)):
            break
    return TrimmedL1Result(theta, w, tuple(iterates) if history else ())


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two iterates are equal but for rounding."""
    eps = torch.finfo(a.dtype).eps
    return torch.allclose(a, b, rtol=eps, atol=eps)
