r"""The two slides "Continuous Sparsification": a gate that hardens while it learns.

.. math:: z_j = \sigma(\beta s_j) = \frac{1}{1 + e^{-\beta s_j}}, \qquad
          L_\beta = L\bigl(\tilde\theta_j\, \sigma(\beta s_j)\bigr)
                    + \lambda \sum_j \sigma(\beta s_j)

Nothing is drawn at random: given the batch, the gradient is exact and has no variance.
The price is that the network which trains is not the network which is kept, until
:math:`\beta` is large; and with a large :math:`\beta` the gates no longer learn, since
:math:`\partial z / \partial s = \beta\,\sigma(\beta s)\,(1 - \sigma(\beta s))` vanishes
everywhere but at :math:`s = 0`.

>>> gate(model, ContinuousGate)
>>> optimizer = SGD(gate_groups(model, lr=0.1, gate_lr=0.1), momentum=0.9)
>>> schedule = hardening(optimizer, model, steps=epochs)
>>> loss = loss + lam * expected_l0(model)      # every update
>>> schedule.step()                             # every epoch
>>> bake(model)                                 # keeps s > 0

Savarese, Silva and Maire, "Winning the Lottery with Continuous Sparsification",
NeurIPS 2020.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ece661_sparse.core.arguments import check_number
from ece661_sparse.core.schedules import Schedule, geometric
from ece661_sparse.gates.gating import Gate, gates


class ContinuousGate(Gate):
    r"""Gates :math:`\sigma(\beta s)` while training, :math:`1[s > 0]` at test time.

    Both are divided by :math:`\sigma(s^0)`, as the authors do: all gates start at 1,
    so the network starts as it was without them. An open gate ends at
    :math:`1/\sigma(s^0)` (2 for :math:`s^0 = 0`), a factor that :func:`bake` leaves in
    the weights. The penalty counts :math:`\sigma(\beta s)` without the factor.

    Args:
        weight: the tensor to gate.
        dim: the dimension that is gated; None: every weight has a gate.
        s0: the start :math:`s^0` of all :math:`s`. At 0 every gate is undecided, and
            closed at test time; a negative start gives fewer non-zeros.

    Attributes:
        s: the parameter; a gate ends open where it is positive.
        beta: the slide's :math:`\beta`, from 1 up; :func:`hardening` raises it. It is
            saved with :math:`s`; a state dict that has none leaves it as it is.

    Raises:
        ValueError: ``s0`` is not a number above -80 (:math:`1/\sigma(s^0)` would leave
            float32); ``dim`` is not a dimension of ``weight``.
    """

    def __init__(
        self, weight: Tensor, dim: int | None = None, *, s0: float = 0.0
    ) -> None:
        super().__init__(weight, dim)
        check_number("s0", s0, above=-80)
        self.s0 = float(s0)
        self.s = self.new_parameter(self.s0)
        self.beta = 1.0

    @property
    def scale(self) -> float:
        r"""The value of an open gate, :math:`1/\sigma(s^0) = 1 + e^{-s^0}`."""
        return 1 + math.exp(-self.s0)

    def z(self) -> Tensor:
        return self.probability() * self.scale

    def z_hat(self) -> Tensor:
        return (self.s > 0).to(self.s.dtype) * self.scale

    def probability(self) -> Tensor:
        r""":math:`\sigma(\beta s)`, which takes the place of a probability."""
        return torch.sigmoid(self.beta * self.s)

    def get_extra_state(self) -> Tensor:
        r""":math:`\beta`, for the state dict."""
        return torch.tensor(self.beta, dtype=torch.float64, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        self.beta = float(state)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        # a strict load of a state dict without β is no error
        state_dict.setdefault(f"{prefix}_extra_state", self.get_extra_state())
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, s0={self.s0:g}, beta={self.beta:g}"


def hardening(
    optimizer: Optimizer, model: nn.Module, steps: int, beta: float = 200.0
) -> Schedule:
    r"""Raise the :math:`\beta` of all gates from 1 to ``beta``, and keep it there.

    .. math:: \beta_e = \beta^{\,e / (E - 1)}, \qquad e = 0, \dots, E - 1

    ``step()`` moves on by one, once an epoch or once an update. In
    :func:`~ece661_sparse.training.train` it is the ``scheduler``; its state is then in
    the checkpoint.

    Args:
        optimizer: of the training; its learning rates stay as they are.
        model: gated with :class:`ContinuousGate`.
        steps: :math:`E`, the number of epochs (or updates) of a round; at least 2.
        beta: the last :math:`\beta`, at least 1. The authors use 200.

    Raises:
        ValueError: ``steps`` or ``beta`` out of range; no continuous gate in the model.
    """
    check_number("steps", steps, at_least=2)
    check_number("beta", beta, at_least=1)
    set_beta = partial(_set_beta, list(_continuous(model).values()))
    return Schedule(optimizer, set_beta, beta=geometric(1.0, beta, steps - 1))


# Not inside the function above: so a schedule can be pickled, and the copy of a model
# with its schedule has its own gates.
def _set_beta(found: list[ContinuousGate], schedule: Schedule) -> None:
    for gate in found:
        gate.beta = schedule["beta"]


@torch.no_grad()
def remaining(model: nn.Module) -> int:
    """The number of gated weights that would be kept now: those with :math:`s > 0`.

    Counting the exact zeros of the soft gates instead, as the authors' code does, finds
    almost none: in float32 a sigmoid is zero only below about -88.

    Raises:
        ValueError: no continuous gate in the model.
    """
    return sum(
        gate.weights_per_gate * int(gate.mask().sum())
        for gate in _continuous(model).values()
    )


@torch.no_grad()
def start_round(model: nn.Module) -> None:
    r"""Between two rounds of a ticket search: soften the gates, keep what is closed.

    .. math:: s \leftarrow \min(\beta s,\, s^0), \qquad \beta \leftarrow 1

    An open gate starts again at :math:`s^0`. A closed one stays as closed as the last
    :math:`\beta` left it. The next round needs a new optimizer and a new
    :func:`hardening`: the old ones still have the momentum and the time of the last.

    Raises:
        ValueError: no continuous gate in the model.
    """
    for gate in _continuous(model).values():
        gate.s.mul_(gate.beta).clamp_(max=gate.s0)
        gate.beta = 1.0


def rewind_weights(model: nn.Module, early: Mapping[str, Tensor]) -> None:
    r"""Give a gated model its early weights back, and leave the gates as they are.

    At the end of a search, with :func:`bake` after it, this makes the ticket: the
    weights of an early epoch under the final mask :math:`1[s > 0]`. The authors' code
    rewinds there only; between rounds its weights go on.

    Args:
        model: gated.
        early: its ``state_dict`` of an early epoch (a deep copy: a state dict holds the
            parameters themselves).

    Raises:
        ValueError: ``early`` is of another model; no continuous gate.
    """
    of_gates = set(_continuous(model).values())
    own = model.state_dict()
    kept = {
        f"{name}.{key}": value
        for name, module in model.named_modules(remove_duplicate=False)
        if module in of_gates
        for key, value in module.state_dict().items()
    }
    early = {**early, **kept}
    if early.keys() != own.keys():
        raise ValueError(
            "early must be a state_dict of the gated model; it differs in "
            f"{', '.join(sorted(early.keys() ^ own.keys()))}"
        )
    model.load_state_dict(early)


def _continuous(model: nn.Module) -> dict[str, ContinuousGate]:
    found = {n: g for n, g in gates(model).items() if isinstance(g, ContinuousGate)}
    if not found:
        raise ValueError(f"no layer of the model has a continuous gate: {model}")
    return found
