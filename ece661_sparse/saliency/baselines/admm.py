r"""The rows "Zhang et al." of the slide "Pruning results": ADMM.

At most n weights may be non-zero. Instead of cutting after every step, keep a second
copy Z that obeys, and pull the weights towards it:

.. math::

    W &\leftarrow \text{steps of Adam on } L(W) + \tfrac\rho2 \|W - Z + U\|^2 \\
    Z &\leftarrow \text{the } n \text{ largest of } W + U, \text{ the rest } 0 \\
    U &\leftarrow U + W - Z

U adds up how far a weight has been from its copy. At the end the cut costs little,
because W and Z nearly agree.

Zhang et al., "A Systematic DNN Weight Pruning Framework using Alternating Direction
Method of Multipliers", ECCV 2018.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam

from ece661_sparse.core.arguments import check_count, check_number
from ece661_sparse.core.optimizers import closure_first
from ece661_sparse.proximal.projections import project_top_n
from ece661_sparse.saliency.baselines.groups import with_options


class ADMM(Adam):
    r"""Adam on the augmented loss, with the updates of Z and U every so many steps.

    The kernels of a parameter group share ``keep`` places: one group of all layers
    makes it a global budget, :func:`layer_groups` one for each layer, as
    published. Biases are trained, and neither projected nor counted; frozen kernels
    are left alone.

    After the first step, which nothing pulls yet, Z starts at the projection of W, and
    U at zero. Both live in the optimizer's state, so that ``state_dict`` holds all of
    a run.

    Args:
        params: the parameters, or groups with a ``keep`` each; None: a group is trained
            by Adam alone. A group may have its own ``rho`` and ``every``, too.
        lr: Adam's step.
        keep: weights to keep in each group without a ``keep`` of its own.
        rho: :math:`\rho > 0`, how hard Z pulls.
        every: steps between two updates of Z and U.
        weight_decay: ℓ2 in the loss, as in Adam.

    Raises:
        ValueError: an argument outside its range; ``keep`` more than a group has.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        keep: int | None = None,
        rho: float = 1e-4,
        every: int = 1000,
        weight_decay: float = 0.0,
    ) -> None:
        options = {"keep": keep, "rho": rho, "every": every, "steps": 0}
        groups = with_options(params, options)
        super().__init__(groups, lr=lr, weight_decay=weight_decay)
        self.defaults |= options  # torch gives them to groups that are added later

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; what it does not say is as in the others."""
        super().add_param_group(param_group)
        group = self.param_groups.pop()  # to come back once it is checked
        check_number("rho", group["rho"], above=0)
        check_count("every", group["every"], at_least=1)
        if group["keep"] is not None:
            total = sum(p.numel() for p in _kernels(group))
            check_count("keep", group["keep"], at_most=total)
        self.param_groups.append(group)

    @closure_first
    def step(self) -> None:
        """One step on W; every ``every`` steps Z and U follow.

        The pull is added to ``p.grad``, in place.
        """
        for group in self._groups():
            for p in _kernels(group):
                state = self.state[p]
                if "Z" in state and p.grad is not None:
                    p.grad.add_(p - state["Z"] + state["U"], alpha=group["rho"])
        # Adam starts a kernel at its first gradient, and only if its state is empty
        kernels = [p for group in self._groups() for p in _kernels(group)]
        waiting = [p for p in kernels if "exp_avg" not in self.state[p]]
        aside = {p: self.state.pop(p) for p in waiting}
        super().step()
        for p, copies in aside.items():
            self.state[p] = copies | self.state[p]
        for group in self._groups():
            if any("Z" not in self.state[p] for p in _kernels(group)):
                self._start_copies(group)
            group["steps"] += 1
            if group["steps"] % group["every"] == 0:
                self._update_copies(group)

    @torch.no_grad()
    def project_(self) -> None:
        """The final cut: all but the largest ``keep`` weights become zero."""
        for group in self._groups():
            weights = _kernels(group)
            project_top_n(weights, group["keep"], out=weights)

    @torch.no_grad()
    def distance(self) -> float:
        r""":math:`\|W - Z\| / \|W\|` over all groups: what the cut still costs.

        Raises:
            ValueError: no group has a budget, or there was no step yet to start Z.
        """
        kernels = [p for group in self._groups() for p in _kernels(group)]
        if not kernels:
            raise ValueError("distance needs a group with a budget, got keep=None")
        if any("Z" not in self.state[p] for p in kernels):
            raise ValueError("distance needs a step first: Z starts after it")
        pairs = [(p, self.state[p]["Z"]) for p in kernels]
        away = sum((p - z).square().sum() for p, z in pairs)
        return float((away / sum(p.square().sum() for p, _ in pairs)) ** 0.5)

    def _groups(self) -> list[dict[str, Any]]:
        """Groups with a budget and kernels to train."""
        groups = [group for group in self.param_groups if _kernels(group)]
        return [group for group in groups if group["keep"] is not None]

    def _start_copies(self, group: dict[str, Any]) -> None:
        weights = _kernels(group)
        copies = project_top_n([p.detach() for p in weights], group["keep"])
        for p, z in zip(weights, copies, strict=True):
            state = self.state[p]
            state["Z"], state["U"] = z, torch.zeros_like(p)
            state.setdefault("step", torch.tensor(0.0))  # Adam asks for it on loading

    def _update_copies(self, group: dict[str, Any]) -> None:
        states = [(p, self.state[p]) for p in _kernels(group)]
        copies = project_top_n([p + s["U"] for p, s in states], group["keep"])
        for (p, state), z in zip(states, copies, strict=True):
            state["Z"].copy_(z)
            state["U"].add_(p - z)


def _kernels(group: dict[str, Any]) -> list[Tensor]:
    return [p for p in group["params"] if p.ndim >= 2 and p.requires_grad]
