r"""The slide "Direct parameter selection": which parameters stay is itself learned.

.. math:: \theta_j = \tilde\theta_j z_j, \qquad \|\theta\|_0 = \sum_j z_j

A gate multiplies the weight of a layer by :math:`z`. It is a parametrization
(:mod:`torch.nn.utils.parametrize`): the layer, its state dict and the training loop
stay what they are, and any ``nn.Linear`` or ``nn.Conv*`` can have one.

>>> gate(model, HardConcrete, groups="unit")
>>> optimizer = Adam(gate_groups(model, lr=1e-3, gate_lr=1e-2))
>>> loss = loss + lam * expected_l0(model)      # while training
>>> bake(model)                                 # a plain model with exact zeros

Biases have no gate. An output channel that is switched off is the constant of its
bias, so a baked model gives the outputs of the gated one in evaluation mode.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize

from ece661_sparse.core.arguments import check_count, check_number
from ece661_sparse.core.networks import owners

GROUPS = ("weight", "input", "output")
Model = TypeVar("Model", bound=nn.Module)


class Gate(nn.Module, ABC):
    """One gate for every weight of a tensor, or one for every slice along ``dim``.

    A subclass makes its parameters with :meth:`new_parameter` and says what the
    gates are while training, what they are at test time, and what they cost.

    Args:
        weight: the tensor to gate; its shape, dtype and device are taken over.
        dim: the dimension that is gated: ``z`` has its size there and 1 elsewhere.
            None: a gate for each weight, ``z`` has the weight's shape.

    Raises:
        ValueError: ``dim`` is not a dimension of ``weight``.
    """

    def __init__(self, weight: Tensor, dim: int | None = None) -> None:
        super().__init__()
        if dim is not None:
            check_count("dim", dim, at_most=weight.ndim - 1)
        self.shape = torch.Size(
            n if dim in (None, i) else 1 for i, n in enumerate(weight.shape)
        )
        self.weights_per_gate = weight.numel() // self.shape.numel()
        self._dtype, self._device = weight.dtype, weight.device

    def new_parameter(self, value: float) -> nn.Parameter:
        """A parameter with one entry a gate, all equal to ``value``."""
        full = torch.full(self.shape, value, dtype=self._dtype, device=self._device)
        return nn.Parameter(full)

    @abstractmethod
    def z(self) -> Tensor:
        """The gates of one training step, shaped ``shape``; differentiable."""

    @abstractmethod
    def z_hat(self) -> Tensor:
        """The gates at test time: the same at every call, zeros exactly zero."""

    @abstractmethod
    def probability(self) -> Tensor:
        r""":math:`P(z \ne 0)` of each gate, or what stands for it; differentiable."""

    def forward(self, weight: Tensor) -> Tensor:
        r""":math:`\tilde\theta z` in training mode, :math:`\tilde\theta\hat z` else."""
        z = self.z() if self.training else self.z_hat()
        return weight * z.to(weight.dtype)

    def expected_l0(self) -> Tensor:
        """The expected number of weights that are not zero, a scalar.

        Half precision is summed in single: float16 ends at 65,504 weights.
        """
        p = self.probability()
        dtype = torch.promote_types(p.dtype, torch.float32)
        return self.weights_per_gate * p.sum(dtype=dtype)

    @torch.no_grad()
    def mask(self) -> Tensor:
        """Which gates are open at test time, a boolean tensor of ``shape``."""
        return self.z_hat() != 0

    def extra_repr(self) -> str:
        return f"shape={tuple(self.shape)}, weights_per_gate={self.weights_per_gate}"


def gate(
    model: Model,
    make_gate: Callable[[Tensor, int | None], Gate],
    groups: str | Mapping[str, str] = "weight",
) -> Model:
    """Put a gate on the weight of every dense and convolutional layer, in place.

    Args:
        model: any module, its layers not gated yet.
        make_gate: called with a weight and a dimension (:class:`Gate`'s arguments): a
            class of gates, or a ``functools.partial`` of one.
        groups: what one gate switches. ``"weight"``: one weight; ``"input"``: all
            weights that read one input unit or channel; ``"output"``: all that write
            one output; ``"unit"``: inputs of dense layers, outputs of convolutions. A
            dictionary from names of layers to these gates the layers it names.

    Returns:
        ``model``.

    Raises:
        ValueError: an unknown group or name; no layer to gate; a layer that is gated
            already, or is not initialised, or shares its weight with another module
            (:func:`bake` would multiply the gates into both); an input of a grouped
            convolution (its weights belong to several inputs); an input or output of a
            layer with a bank of kernels, such as a dynamic convolution.
    """
    layers = {n: m for n, m in model.named_modules() if _is_gateable(m)}
    chosen = dict.fromkeys(layers, groups) if isinstance(groups, str) else dict(groups)
    if not chosen:
        raise ValueError(f"model has no dense or convolutional layer: {model}")
    dims = {}
    for name, group in chosen.items():
        if name not in layers:
            raise ValueError(
                f"groups names {name!r}, which is no dense or convolutional layer of "
                f"the model; those are {', '.join(layers)}"
            )
        if name in gates(model):
            raise ValueError(f"the weight of layer {name!r} is gated already")
        tied = owners(model, layers[name].weight)
        if len(tied) > 1:
            raise ValueError(
                f"the weight of layer {name!r} has several owners, "
                f"{', '.join(tied)}: bake would multiply its gates into all of them"
            )
        dims[name] = _dimension(name, layers[name], group)
    for name, dim in dims.items():
        layer = layers[name]
        new = make_gate(layer.weight, dim).train(layer.training)
        parametrize.register_parametrization(layer, "weight", new)
    return model


def gates(model: nn.Module) -> dict[str, Gate]:
    """The gates of a model by the name of their layer, in the model's order."""
    return {
        name: parametrization
        for name, layer in model.named_modules()
        if parametrize.is_parametrized(layer, "weight")
        for parametrization in layer.parametrizations.weight
        if isinstance(parametrization, Gate)
    }


def expected_l0(model: nn.Module) -> Tensor:
    """The expected number of non-zero weights in all gated layers, a scalar.

    Raises:
        ValueError: no layer is gated.
    """
    return torch.stack([g.expected_l0() for g in _some_gates(model).values()]).sum()


@torch.no_grad()
def bake(model: Model) -> Model:
    """Multiply the test-time gates into the weights and remove them, in place.

    The model is then a plain one: no parametrizations, exact zeros, and the outputs
    that the gated model gives in evaluation mode.

    Returns:
        ``model``.

    Raises:
        ValueError: no layer is gated.
    """
    for name, found in _some_gates(model).items():
        found.eval()
        layer = model.get_submodule(name)
        # torch removes the gated weight from the layer's class, which it shares with
        # the layer's copies: they would lose theirs
        shared = type(layer)
        layer.__class__ = type(shared.__name__, shared.__bases__, {**vars(shared)})
        parametrize.remove_parametrizations(layer, "weight")
    return model


def gate_groups(
    model: nn.Module, lr: float, gate_lr: float, weight_decay: float = 0.0
) -> list[dict[str, Any]]:
    """Two parameter groups for any torch optimizer: the model's own, and the gates'.

    Weight decay would pull the gates to the middle, where they are least decided: they
    have none.

    Raises:
        ValueError: a number below 0; no layer is gated.
    """
    for name, value in (
        ("lr", lr),
        ("gate_lr", gate_lr),
        ("weight_decay", weight_decay),
    ):
        check_number(name, value, at_least=0)
    of_gates = [p for g in _some_gates(model).values() for p in g.parameters()]
    known = set(map(id, of_gates))
    own = [p for p in model.parameters() if id(p) not in known]
    return [
        {"params": own, "lr": lr, "weight_decay": weight_decay},
        {"params": of_gates, "lr": gate_lr, "weight_decay": 0.0},
    ]


def _some_gates(model: nn.Module) -> dict[str, Gate]:
    found = gates(model)
    if not found:
        raise ValueError(f"no layer of the model is gated: {model}")
    return found


def _is_gateable(module: nn.Module) -> bool:
    return isinstance(module, (nn.Linear, _ConvNd))


def _dimension(name: str, layer: Any, group: str) -> int | None:
    """The dimension of the layer's weight that a group of gates runs along."""
    if nn.parameter.is_lazy(layer.weight):
        raise ValueError(f"layer {name!r} has no weights yet: run the model once")
    if group == "unit":
        group = "output" if isinstance(layer, _ConvNd) else "input"
    if group not in GROUPS:
        raise ValueError(
            f"group of {name!r} must be one of {', '.join(GROUPS)} or unit, "
            f"got {group!r}"
        )
    if group == "weight":
        return None
    if isinstance(layer, _ConvNd) and layer.weight.ndim != len(layer.kernel_size) + 2:
        raise ValueError(
            f"layer {name!r} has a bank of kernels, {tuple(layer.weight.shape)}: a "
            f"slice of its weight is no {group}. Gate its weights"
        )
    transposed = isinstance(layer, _ConvTransposeNd)
    dim = int((group == "input") != transposed)  # 0 is the output, unless transposed
    if dim == 1 and getattr(layer, "groups", 1) > 1:
        raise ValueError(
            f"layer {name!r} is a grouped convolution: one slice of its weight is read "
            f"by several {group}s. Gate its weights or the other side"
        )
    return dim
