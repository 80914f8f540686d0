r"""The slides "Proximal gradient update" and "Special case: ℓ0", for any optimizer.

One step of the slides, with the step :math:`\alpha` that was really taken:

.. math::

    \hat\theta = \theta - \alpha \nabla L(\theta), \qquad
    \theta \leftarrow \mathrm{prox}_{\alpha P}(\hat\theta).

The slide writes :math:`\mathrm{prox}_{P}`, without :math:`\alpha`: its fixed point
minimises :math:`L + P / \alpha`, so changing the learning rate would change the
problem. With :math:`\alpha P` the fixed point is the minimiser of :math:`L + P`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adam, AdamW, Optimizer

from ece661_sparse.core.optimizers import closure_first
from ece661_sparse.proximal.penalties import Penalty


class ProximalOptimizer(Optimizer):
    r"""Let any optimizer take its step, then apply the prox of the penalty.

    The prox must use the step that the optimizer takes at the solution, where the
    gradient no longer changes; only then is the solution a minimiser of
    :math:`L + P`:

    - SGD with momentum :math:`m` and dampening :math:`d` (Nesterov or not):
      a constant gradient moves a weight by :math:`\alpha (1-d)/(1-m)` times it;
    - Adam and AdamW: by :math:`\alpha / (\sqrt{\hat v} + \epsilon)`, another step for
      every weight. SCAD, MCP, firm and q-shrinkage are refused: they are valid up
      to a largest step only, and these steps have no bound.

    The parameter groups and the state are those of ``optimizer`` itself, so a
    learning-rate schedule may be attached to either object. Parameters without a
    gradient are left alone, as in every torch optimizer. Only a budget that a group
    shares (L0Ball, TrimmedL1) counts them as long as they require one: L0Ball then
    projects all of them, TrimmedL1 does not shrink them.

    Args:
        optimizer: the optimizer that follows the gradient.
        penalty: one penalty for all parameter groups, or one per group; None for a
            group that is not penalised. See :func:`weight_groups`.
        step_size: the step of a group at a constant gradient, for optimizers other
            than the three above, from the group's dictionary:
            ``lambda group: group["lr"]``.

    Raises:
        ValueError: the optimizer is LBFGS, which needs several gradients a step; the
            number of penalties is not the number of groups; a group maximises; the
            momentum is not below 1; AdamW decays its weights (its decay does not follow
            Adam's step, so that no sum :math:`L + P` is minimised); the penalty does
            not allow Adam's steps; the step of the optimizer is not known.
    """

    optimizer: Optimizer
    penalties: list[Penalty | None]
    penalty_states: list[dict[str, Any]]
    step_size: Callable[[dict[str, Any]], float] | None

    def __init__(
        self,
        optimizer: Optimizer,
        penalty: Penalty | Sequence[Penalty | None] | None,
        *,
        step_size: Callable[[dict[str, Any]], float] | None = None,
    ) -> None:
        if isinstance(optimizer, LBFGS):
            raise ValueError(
                "optimizer must take one step for one gradient, got LBFGS, which "
                "evaluates the loss several times a step"
            )
        groups = optimizer.param_groups
        if penalty is None or isinstance(penalty, Penalty):
            penalties = [penalty] * len(groups)
        else:
            penalties = list(penalty)
        if len(penalties) != len(groups):
            raise ValueError(
                f"penalty must have one entry per parameter group ({len(groups)}), "
                f"got {len(penalties)}"
            )
        # Optimizer.__init__ would build parameter groups of its own.
        self.__setstate__(
            {
                "optimizer": optimizer,
                "penalties": penalties,
                "step_size": step_size,
                "penalty_states": [{} for _ in groups],
            }
        )
        for i, (group, entry) in enumerate(zip(groups, penalties, strict=True)):
            if entry is not None:
                self._check_group(i, group, entry)

    @closure_first
    def step(self) -> None:
        """Gradient step, then prox.

        The step is done completely or not at all: parameters, the optimizer's state
        and the penalties' state are restored if anything raises.

        Raises:
            ValueError: the gradient step made a parameter infinite or NaN; the
                message names its group and index. Or a penalty refuses the step.
        """
        with self._all_or_nothing():
            for _, penalty, tensors, state in self._penalised():
                penalty.prepare_(tensors, state)
            self.optimizer.step()
            self._check_finite()
            for group, penalty, tensors, state in self._penalised():
                # Warm-up schedules start at 0, where the prox is the identity.
                if group.get("lr") != 0:
                    steps = [self._step_taken(group, p) for p in tensors]
                    penalty.prox_(tensors, steps, state)

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state dictionary, and the penalties' state beside it."""
        return {**self.optimizer.state_dict(), "penalty_states": self.penalty_states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned.

        Raises:
            ValueError: the dictionary is not from a ProximalOptimizer with the same
                parameter groups.
        """
        states = state_dict.get("penalty_states")
        if states is None or len(states) != len(self.penalties):
            raise ValueError(
                f"state_dict must hold {len(self.penalties)} penalty_states, one per "
                f"parameter group, got {states if states is None else len(states)}"
            )
        self.optimizer.load_state_dict(state_dict)
        # A penalty's state is lists of tensors, each living beside its parameter.
        self.penalty_states = [
            {
                key: [
                    saved.to(p.device, copy=True)
                    for saved, p in zip(tensors, group["params"], strict=False)
                ]
                for key, tensors in state.items()
            }
            for state, group in zip(states, self.param_groups, strict=True)
        ]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Not supported: add the group to the optimizer before wrapping it."""
        raise NotImplementedError(
            "add the group to the optimizer first, then wrap it with its penalties"
        )

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The wrapped optimizer's own groups."""
        return self.optimizer.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        """The wrapped optimizer's own state."""
        return self.optimizer.state

    @property
    def defaults(self) -> dict[str, Any]:  # type: ignore[override]
        """The wrapped optimizer's own defaults."""
        return self.optimizer.defaults

    def __getstate__(self) -> dict[str, Any]:
        """What ``__setstate__`` takes, for pickle and copy."""
        names = ("optimizer", "penalties", "step_size", "penalty_states")
        return {name: self.__dict__[name] for name in names}

    def _check_group(self, i: int, group: dict[str, Any], penalty: Penalty) -> None:
        known = isinstance(self.optimizer, (SGD, Adam, AdamW))
        if self.step_size is None and not known:
            raise ValueError(
                f"the step of {type(self.optimizer).__name__} is not known: give "
                "step_size, a function from a parameter group to its step"
            )
        if group.get("maximize"):
            raise ValueError(f"group {i} has maximize=True: a penalty is minimised")
        if self.step_size is not None:
            return
        if isinstance(self.optimizer, SGD):
            momentum_step(group)
        elif not penalty.elementwise_steps:
            raise ValueError(
                f"group {i}: the prox of {penalty} is valid up to a largest step, and "
                f"the steps of {type(self.optimizer).__name__}, lr / sqrt(v), have no "
                "bound. Use SGD, or one of L0, L1, Lq, L0Ball, TrimmedL1"
            )
        decoupled = group.get("decoupled_weight_decay", False)
        if group["weight_decay"] and (decoupled or isinstance(self.optimizer, AdamW)):
            raise ValueError(
                f"group {i} has weight_decay={group['weight_decay']}: AdamW's decay "
                "does not follow its step, so no sum of loss and penalty would be "
                "minimised. Use weight_decay=0, or Adam"
            )

    def _penalised(
        self,
    ) -> Iterator[tuple[dict[str, Any], Penalty, list[Tensor], dict[str, Any]]]:
        """Group, penalty, tensors, and state of the penalised groups with a gradient.

        The tensors are those with a gradient, and of a shared budget all trainable.
        """
        for group, penalty, state in zip(
            self.param_groups, self.penalties, self.penalty_states, strict=True
        ):
            tensors = [p for p in group["params"] if p.grad is not None]
            if penalty is None or not tensors:
                continue
            if penalty.shared_budget:
                tensors = [
                    p for p in group["params"] if p.requires_grad or p.grad is not None
                ]
            yield group, penalty, tensors, state

    def _step_taken(self, group: dict[str, Any], p: Tensor) -> float | Tensor:
        """The step of a parameter: 0 without a gradient."""
        if p.grad is None:
            return 0.0
        if self.step_size is not None:
            return self.step_size(group)
        if isinstance(self.optimizer, SGD):
            return momentum_step(group)
        return adam_step(group, self.state[p])

    def _check_finite(self) -> None:
        for i, group in enumerate(self.param_groups):
            for j, p in enumerate(group["params"]):
                # The sum is finite if all entries are, and six times cheaper to test;
                # only it can also overflow.
                if not p.sum().isfinite() and not p.isfinite().all():
                    raise ValueError(
                        f"the gradient step made parameter {j} of group {i} (shape "
                        f"{tuple(p.shape)}) infinite or NaN: a learning rate too "
                        "large, or a NaN in the data or the loss. The step was undone"
                    )

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Undo what happened inside if it raises."""
        parameters = [p for group in self.param_groups for p in group["params"]]
        values = [p.clone() for p in parameters]
        state = {p: deepcopy(entry) for p, entry in self.state.items()}
        penalty_states = deepcopy(self.penalty_states)
        try:
            yield
        except BaseException:
            for p, value in zip(parameters, values, strict=True):
                p.copy_(value)
            self.state.clear()
            self.state.update(state)
            self.penalty_states = penalty_states
            raise


def momentum_step(group: dict[str, Any]) -> float:
    r"""SGD's step at a constant gradient, :math:`\alpha (1 - d) / (1 - m)`.

    The velocity :math:`v \leftarrow m v + (1 - d) g` settles at
    :math:`g (1 - d)/(1 - m)`; Nesterov's look-ahead settles at the same value.

    Raises:
        ValueError: momentum not in [0, 1), or dampening not in [0, 1).
    """
    for name in ("momentum", "dampening"):
        if not 0 <= group[name] < 1:
            raise ValueError(f"{name} must be in [0, 1), got {group[name]}")
    return float(group["lr"]) * (1 - group["dampening"]) / (1 - group["momentum"])


def adam_step(group: dict[str, Any], state: dict[str, Any]) -> Tensor:
    r"""Adam's step for every weight, :math:`\alpha / (\sqrt{\hat v} + \epsilon)`.

    :math:`\hat v = v / (1 - \beta_2^t)`; with ``amsgrad`` :math:`v` is its largest
    value so far.
    """
    v = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
    correction = 1 - group["betas"][1] ** float(state["step"])
    return group["lr"] / ((v / correction).sqrt() + group["eps"])


def regularized(loss: Tensor, tensors: Iterable[Tensor], penalty: Penalty) -> Tensor:
    r"""The slide "Recall: Regularized training", :math:`L + \sum_i P(\theta_i)`.

    Autograd differentiates the penalty too, at its kink with a subgradient: this is
    the baseline that the proximal update improves on.
    """
    return loss + sum(penalty.value(x).sum() for x in tensors)


def weight_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Two parameter groups: kernels (two or more dimensions), and everything else.

    Example:
        ``ProximalOptimizer(SGD(weight_groups(model), lr=0.1), [L1(1e-4), None])``
        penalises the kernels only.
    """
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim >= 2]},
        {"params": [p for p in parameters if p.ndim < 2]},
    ]
