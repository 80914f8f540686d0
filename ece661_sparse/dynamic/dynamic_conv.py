r"""The slides "Variant of dynamic model" and "Case study: Dynamic convolution".

A layer has K kernels. Every input mixes them into one of its own,

.. math::

    y = \Big(\sum_{k=1}^K \pi_k(x)\, W_k\Big) * x + \sum_{k=1}^K \pi_k(x)\, b_k,
    \qquad \pi(x) = \operatorname{softmax}(z(x) / T),

with logits :math:`z` from a small network that sees the average of each channel.
Convolution is linear in its kernel, so the mixed kernel gives what mixing the K outputs
gives, at the price of one convolution. The arithmetic is close to that of one static
layer; the storage is K times as large.

Chen et al., "Dynamic Convolution: Attention over Convolution Kernels", CVPR 2020.
"""

import copy
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from ece661_sparse.core.arguments import check_count, check_number
from ece661_sparse.core.networks import evaluating
from ece661_sparse.core.schedules import Schedule, linear
from ece661_sparse.dynamic.mixed_conv import mixed_conv2d

Model = TypeVar("Model", bound=nn.Module)


class KernelAttention(nn.Module):
    r"""How much of each kernel an image gets, :math:`\pi = \mathrm{softmax}(z/T)`.

    Average of each channel, dense layer to a quarter of the channels (at least K),
    ReLU, dense layer to K logits :math:`z`, softmax. At a high temperature :math:`T`
    all kernels get nearly the same share, so that all of them are trained.
    Shapes: ``(N, C, H, W)`` to ``(N, K)``.

    Attributes:
        temperature: :math:`T`, a buffer (it is saved with the weights); see
            :func:`set_temperature`.
    """

    temperature: Tensor

    def __init__(
        self, channels: int, kernels: int, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        options = {"device": device, "dtype": dtype}
        hidden = max(channels // 4, kernels)
        self.fc1 = nn.Linear(channels, hidden, **options)
        self.fc2 = nn.Linear(hidden, kernels, **options)
        self.register_buffer("temperature", torch.ones((), **options))

    def logits(self, x: Tensor) -> Tensor:
        """:math:`z`, before temperature and softmax."""
        # Unlike that of a mean, the gradient of a sum is a view, not a tensor of the
        # size of x. In half precision the sum would overflow.
        dtype = torch.promote_types(x.dtype, torch.float32)
        average = (x.sum((2, 3), dtype=dtype) / x.shape[2:].numel()).to(x.dtype)
        return self.fc2(F.relu(self.fc1(average)))

    def forward(self, x: Tensor) -> Tensor:
        z = self.logits(x)
        # under autocast the softmax is in single precision, the convolution is not
        return (z / self.temperature).softmax(1).to(z.dtype)


class DynamicConv2d(nn.Conv2d):
    r"""A drop-in replacement of ``nn.Conv2d`` with K kernels and an attention.

    .. math:: y = \Big(\sum_k \pi_k(x) W_k\Big) * x + \sum_k \pi_k(x) b_k

    For images ``(N, C, H, W)`` or ``(C, H, W)``. Every kernel starts as ``nn.Conv2d``
    starts its only one.

    Args:
        args, options: those of ``nn.Conv2d``, in the same order.
        kernels: number of kernels :math:`K \ge 1`.

    Attributes:
        weight: ``(K, out, C / groups, height, width)``.
        bias: ``(K, out)`` or None.
        attention: the :class:`KernelAttention`.

    Raises:
        ValueError: ``kernels`` below 1, and what ``nn.Conv2d`` refuses.
    """

    def __init__(self, *args: Any, kernels: int = 4, **options: Any) -> None:
        check_count("kernels", kernels, at_least=1)
        super().__init__(*args, **options)
        place = {"device": self.weight.device, "dtype": self.weight.dtype}
        self.weight = _bank(self.weight, kernels)
        if self.bias is not None:
            self.bias = _bank(self.bias, kernels)
        self.attention = KernelAttention(self.in_channels, kernels, **place)
        self.reset_parameters()

    @property
    def kernels(self) -> int:
        """K."""
        return len(self.weight)

    def reset_parameters(self) -> None:
        """Draw every kernel and bias as ``nn.Conv2d`` draws its own."""
        # nn.Conv2d calls this, too, while there is one kernel
        bound = self.weight.shape[-3:].numel() ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 3:
            return self(x[None])[0]
        pi = self.attention(x)
        x, padding = self._padded(x)
        return mixed_conv2d(
            x.to(pi.dtype),
            pi,
            self.weight.to(pi.dtype),
            None if self.bias is None else self.bias.to(pi.dtype),
            self.stride,
            padding,
            self.dilation,
            self.groups,
        )

    def _padded(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """``x``, and the zeros that the convolution is still to add around it."""
        left, right, top, bottom = self._reversed_padding_repeated_twice
        if self.padding_mode == "zeros" and (left, top) == (right, bottom):
            return x, (top, left)
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        return F.pad(x, (left, right, top, bottom), mode), (0, 0)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, kernels={self.kernels}"

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, kernels: int = 4) -> "DynamicConv2d":
        """A layer that computes what ``conv`` does: its kernel, K times.

        In training the copies become different as soon as the attention tells images
        apart. To train from scratch, call ``reset_parameters`` first.
        """
        layer = cls(**_options(conv), kernels=kernels)
        layer.train(conv.training)
        layer.weight = _bank(conv.weight, kernels)
        if conv.bias is not None:
            layer.bias = _bank(conv.bias, kernels)
        return layer


def make_dynamic(
    model: Model, kernels: int = 4, *, skip: Collection[str] = ()
) -> Model:
    """Replace the convolutions of ``model``, in place, and return it.

    The network still computes what it did (:meth:`DynamicConv2d.from_conv`).

    Args:
        model: any network with ``nn.Conv2d`` layers.
        kernels: K of every layer.
        skip: names (as in ``named_modules``) of convolutions that stay as they are; in
            the paper, the first. One of several names of a convolution is enough.

    Raises:
        ValueError: a name in ``skip`` that is no convolution; nothing to replace.
    """
    convs = {
        name: module
        for name, module in model.named_modules(remove_duplicate=False)
        if type(module) is nn.Conv2d
    }
    if unknown := set(skip) - set(convs):
        raise ValueError(f"skip names no convolution: {sorted(unknown)}")
    skipped = {convs[name] for name in skip}
    chosen = [conv for conv in dict.fromkeys(convs.values()) if conv not in skipped]
    if not chosen or model in chosen:
        raise ValueError(
            "model must hold convolutions to replace (for a single layer, "
            "DynamicConv2d.from_conv)"
        )
    for conv in chosen:
        _replace(model, conv, DynamicConv2d.from_conv(conv, kernels))
    return model


def dynamic_layers(model: nn.Module) -> Iterator[tuple[str, DynamicConv2d]]:
    """Names and layers, in the order of the network."""
    for name, module in model.named_modules():
        if isinstance(module, DynamicConv2d):
            yield name, module


def set_temperature(model: nn.Module, temperature: float) -> None:
    """Set the temperature of every attention in ``model``.

    Raises:
        ValueError: a temperature that is not a finite number above 0.
    """
    check_number("temperature", temperature, above=0)
    for module in model.modules():
        if isinstance(module, KernelAttention):
            module.temperature.fill_(temperature)


def kernel_attention(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The shares of every dynamic layer for the images ``x``, ``{layer: (N, K)}``.

    The model runs in evaluation mode; afterwards each module is in the mode it had.
    """
    shares: dict[str, Tensor] = {}

    def note(name: str, module: nn.Module, args: Any, pi: Tensor) -> None:
        shares[name] = pi

    with ExitStack() as hooks, torch.no_grad(), evaluating(model):
        for name, layer in dynamic_layers(model):
            hook = layer.attention.register_forward_hook(partial(note, name))
            hooks.enter_context(hook)
        model(x)
    return shares


def with_average_attention(model: Model, x: Tensor) -> Model:
    r"""A static copy of ``model``: each layer keeps one kernel, the average one.

    .. math:: \bar W = \sum_k \bar\pi_k W_k, \qquad
              \bar\pi = \tfrac1N \sum_n \pi(x_n)

    It loses what the attention did for single images.
    """
    shares = kernel_attention(model, x)
    static = copy.deepcopy(model)
    for name, layer in list(dynamic_layers(static)):
        pi = shares[name].mean(0)
        # on the meta device: its initial weights are not wanted
        conv = nn.Conv2d(**_options(layer) | {"device": "meta"})
        conv.weight = nn.Parameter(torch.tensordot(pi, layer.weight.detach(), 1))
        if layer.bias is not None:
            conv.bias = nn.Parameter(pi @ layer.bias.detach())
        _replace(static, layer, conv.train(layer.training))
    return static


class TemperatureAnnealing(Schedule):
    r"""Lower the temperature of all attentions from ``start`` to ``end``, linearly.

    .. math:: T_e = \max\{end,\; start - (start - end)\, e / epochs\}

    Like a schedule of ``torch.optim.lr_scheduler``, ``step()`` once an epoch, but it
    leaves the learning rates alone; ``ChainedScheduler([lr_schedule, annealing])`` does
    both.

    Args:
        optimizer: of the training.
        model: with :class:`DynamicConv2d` layers.
        start, end: temperatures above 0; the paper's are 30 and 1.
        epochs: over how many epochs; the paper's are 10 of 300.

    Raises:
        ValueError: a temperature not above 0, ``epochs`` below 1.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        model: nn.Module,
        start: float = 30.0,
        end: float = 1.0,
        epochs: int = 10,
    ) -> None:
        check_number("start", start, above=0)
        check_number("end", end, above=0)
        check_number("epochs", epochs, at_least=1)
        temperature = linear(start, end, epochs)
        super().__init__(optimizer, partial(_anneal, model), temperature=temperature)


def _anneal(model: nn.Module, schedule: Schedule) -> None:
    set_temperature(model, schedule["temperature"])


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put ``new`` wherever ``old`` is: a layer may have several names."""
    for parent in model.modules():
        for name, child in parent._modules.items():
            if child is old:
                setattr(parent, name, new)


def _options(conv: nn.Conv2d) -> dict[str, Any]:
    """The arguments that ``conv`` was made with."""
    return {
        "in_channels": conv.in_channels,
        "out_channels": conv.out_channels,
        "kernel_size": conv.kernel_size,
        "stride": conv.stride,
        "padding": conv.padding,
        "dilation": conv.dilation,
        "groups": conv.groups,
        "bias": conv.bias is not None,
        "padding_mode": conv.padding_mode,
        "device": conv.weight.device,
        "dtype": conv.weight.dtype,
    }


def _bank(one: Tensor, kernels: int) -> nn.Parameter:
    """K copies of a kernel or a bias."""
    copies = one.detach().expand(kernels, *one.shape).clone()
    return nn.Parameter(copies, requires_grad=one.requires_grad)
