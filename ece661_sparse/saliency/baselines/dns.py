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

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD

from ece661_sparse.core.arguments import check_count, check_number
from ece661_sparse.core.optimizers import closure_first
from ece661_sparse.saliency.baselines.groups import with_options

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
    k, layer by layer: often at first, then seldom. The draw comes from torch's global
    generator.

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
    ) -> None:
        options = {"c": c, "gamma": gamma, "power": power, "stop": stop, "ramp": ramp}
        options |= {"steps": 0, "size": None, "threshold": None}
        groups = with_options(params, options)
        super().__init__(
            groups, lr, momentum, weight_decay=weight_decay, nesterov=nesterov
        )
        self.defaults |= options  # torch gives them to groups that are added later

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; what it does not say is as in the others."""
        super().add_param_group(param_group)
        group = self.param_groups.pop()  # to come back once it is checked
        check_number("gamma", group["gamma"], at_least=0)
        check_number("power", group["power"], at_least=0)
        check_count("ramp", group["ramp"])
        if group["stop"] is not None:
            check_count("stop", group["stop"])
        if group["c"] is not None:
            check_number("c", group["c"])
        self.param_groups.append(group)

    @closure_first
    def step(self) -> None:
        """Step on the dense weights, perhaps a new mask, and the parameters masked."""
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

    def _is_due(self, group: dict[str, Any]) -> bool:
        k = group["steps"]
        probability = (1 + group["gamma"] * k) ** -group["power"]
        draw = torch.rand(()).item()
        return draw < probability and (group["stop"] is None or k < group["stop"])


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
