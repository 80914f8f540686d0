r"""The rows "DNS" of the slide "Pruning results": dynamic network surgery.

The network computes with :math:`W \circ T`, T a mask of zeros and ones. The gradient
at that point moves **all** of W, the masked weights too:

.. math:: W \leftarrow W - \alpha \frac{\partial L}{\partial (W \circ T)}

so a weight that was cut by mistake can grow, and is spliced in again. Two thresholds
for each layer keep it from flickering:

.. math::

    T \leftarrow \begin{cases} 0 & |W| \le 0.9\,t \\ 1 & |W| > 1.1\,t \\
    T & \text{between} \end{cases} \qquad
    t = \operatorname{mean}|W| + c \cdot \operatorname{std}|W| .

Guo et al., "Dynamic Network Surgery for Efficient DNNs", NeurIPS 2016.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD

from ece661_sparse.core.arguments import check_count, check_number

OFF, ON = 0.9, 1.1  # of the threshold


def splice(weight: Tensor, mask: Tensor, threshold: float | Tensor) -> Tensor:
    """The mask's next value: off at 0.9 of the threshold or below, on above 1.1.

    Args:
        weight: dense weights.
        mask: zeros and ones, shaped like the weights.
        threshold: of the layer.
    """
    size = weight.abs()
    off, on = size <= OFF * threshold, size > ON * threshold
    return torch.where(off, 0, torch.where(on, 1, mask))


class DNS(SGD):
    r"""SGD on dense weights behind a mask that is updated while they train.

    The parameters always hold :math:`W \circ T`, ready to be evaluated or saved; the
    dense W and the mask T are in the optimizer's state (``"dense"``, ``"mask"``).

    Every group with a ``c`` is one layer in the sense of the paper: its weights and
    its biases have one threshold, taken from their magnitudes at the first step, and
    biases are cut like weights (:func:`layer_groups` makes such groups).
    Masks are updated with probability :math:`(1 + \gamma k)^{-\text{power}}` at step
    k, layer by layer: often at first, then seldom. The draw comes from ``generator``
    (on the CPU), whose state ``state_dict`` then holds and a copy carries on, or from
    torch's global one, which a checkpoint restores.

    Args:
        params: parameter groups, with a ``c`` each; None for those left dense. A group
            may have its own ``gamma``, ``power``, ``stop`` and ``ramp``, too. Frozen
            parameters are left alone.
        lr: step of SGD.
        c: of groups without their own. Larger keeps fewer weights.
        gamma: how fast updates become rare, ≥ 0.
        power: likewise, ≥ 0.
        stop: masks are frozen from this step on; None: never.
        ramp: c rises from 0 to its value over so many steps. With 0, as published, the
            first update cuts to the last threshold. A unit that loses all its weights
            is constant; with ReLU it sends no gradient back, and nothing of it can be
            spliced in again.
        momentum, weight_decay, nesterov: as in SGD, on the dense weights.
        generator: of the draws.

    Raises:
        ValueError: an argument outside its range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        c: float | None = None,
        gamma: float = 1e-4,
        power: float = 1.0,
        stop: int | None = None,
        ramp: int = 0,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(
            params, lr, momentum, weight_decay=weight_decay, nesterov=nesterov
        )
        self.generator = generator
        self.defaults |= {"c": c, "gamma": gamma, "power": power}
        self.defaults |= {"stop": stop, "ramp": ramp}
        for group in self.param_groups:
            _complete(group, self.defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; what it does not say is as in the others."""
        super().add_param_group(param_group)
        if "c" in self.defaults:  # not yet: torch is adding the first ones
            _complete(self.param_groups[-1], self.defaults)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles; a generator goes by its state."""
        generator = self.generator and self.generator.get_state()
        return super().__getstate__() | {"generator": generator}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(saved := state.get("generator"), Tensor):
            state = state | {"generator": torch.Generator().set_state(saved)}
        super().__setstate__(state)

    def state_dict(self) -> dict[str, Any]:
        """As of any optimizer, and the state of a generator of its own."""
        saved = super().state_dict()
        if self.generator is not None:
            saved["generator"] = self.generator.get_state()
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As of any optimizer; a generator of its own goes on where it was."""
        super().load_state_dict(state_dict)
        if self.generator is not None and "generator" in state_dict:
            self.generator.set_state(state_dict["generator"].cpu())

    @torch.no_grad()
    def step(  # type: ignore[override]
        self, closure: Callable[[], float] | None = None
    ) -> float | None:
        """Step on the dense weights, perhaps a new mask, and the parameters masked.

        Args:
            closure: recomputes the loss and its gradients; called once.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = [g for g in self.param_groups if g["c"] is not None and _trained(g)]
        for group in groups:
            if group["size"] is None:
                group["size"] = _mean_and_deviation(_trained(group))
            group["threshold"] = _threshold(group)
            for p in _trained(group):
                state = self.state[p]
                if "dense" not in state:
                    state["dense"], state["mask"] = p.clone(), torch.ones_like(p)
                p.copy_(state["dense"])
        super().step()
        for group in groups:
            update = self._is_due(group)
            for p in _trained(group):
                state = self.state[p]
                state["dense"].copy_(p)
                if update:
                    state["mask"].copy_(splice(p, state["mask"], group["threshold"]))
                p.mul_(state["mask"])
            group["steps"] += 1
        return loss

    def _is_due(self, group: dict[str, Any]) -> bool:
        k = group["steps"]
        probability = (1 + group["gamma"] * k) ** -group["power"]
        draw = torch.rand((), generator=self.generator).item()
        return draw < probability and (group["stop"] is None or k < group["stop"])


def _complete(group: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Options that the group does not have, and a start at step 0."""
    for option, value in defaults.items():
        group.setdefault(option, value)
    check_number("gamma", group["gamma"], at_least=0)
    check_number("power", group["power"], at_least=0)
    if group["stop"] is not None:
        check_count("stop", group["stop"])
    check_count("ramp", group["ramp"])
    if group["c"] is not None:
        check_number("c", group["c"])
    group.update(steps=0, size=None, threshold=None)


def _trained(group: dict[str, Any]) -> list[Tensor]:
    return [p for p in group["params"] if p.requires_grad]


def _mean_and_deviation(params: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Of the magnitudes of one layer."""
    size = torch.cat([p.abs().flatten() for p in params])
    return size.mean(), size.std(correction=0)


def _threshold(group: dict[str, Any]) -> Tensor:
    r""":math:`t = \operatorname{mean}|W| + c \operatorname{std}|W|`, 0 if negative."""
    mean, deviation = group["size"]
    done = min(1.0, group["steps"] / group["ramp"]) if group["ramp"] else 1.0
    return (mean + done * group["c"] * deviation).clamp(min=0)
