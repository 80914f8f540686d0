r"""The slides "Dynamic model architecture" to "What is learnt in the gate?".

A small gating module looks at the input of a layer and decides, image by image, which
of the layer's channels are worth computing:

.. math::

    \log\alpha = W_2\,\mathrm{ReLU}(\mathrm{norm}(W_1\,\mathrm{pool}(x))), \qquad
    z_c = [\log\alpha_c + \ln u_c - \ln(1 - u_c) > 0], \quad u_c \sim \mathcal U(0, 1).

The noise is there in training only; at test time a gate is open if
:math:`\sigma(\log\alpha_c) > \tfrac12`, and what a closed gate would multiply by zero
is not computed.

Bejnordi, Blankevoort and Welling, "Batch-shaping for learning conditional channel gated
networks", ICLR 2020.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ece661_sparse.core.arguments import check_number, check_tensor
from ece661_sparse.core.networks import evaluating

# --- the gate -------------------------------------------------------------------------


def gumbel_sigmoid(
    log_alpha: Tensor,
    temperature: float = 2 / 3,
    *,
    hard: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""A random gate for every entry, open with probability :math:`\sigma(\log\alpha)`.

    .. math:: s = \sigma\big((\log\alpha + \ln u - \ln(1-u)) / \tau\big), \qquad
              z = [s > \tfrac12]

    ``hard`` returns z, exactly 0 or 1, with the gradient of s: the temperature
    :math:`\tau` bends that gradient and has no influence on z. With ``hard=False`` s
    itself, the concrete relaxation.

    Args:
        log_alpha: logits, any shape.
        temperature: :math:`\tau > 0`.
        hard: round forwards, differentiate as if not.
        generator: source of u; None is torch's global one.

    Raises:
        ValueError: a temperature not above 0, or logits that are not floating point.
    """
    check_tensor("log_alpha", log_alpha)
    check_number("temperature", temperature, above=0)
    # half precision has too few values of u: its tails would be cut off
    wide = torch.promote_types(log_alpha.dtype, torch.float32)
    u = torch.empty_like(log_alpha, dtype=wide).uniform_(generator=generator)
    noise = torch.logit(u, eps=torch.finfo(wide).eps / 2)  # finite at u = 0
    logits = log_alpha + noise
    s = torch.sigmoid(logits / temperature)
    return (_RoundForward.apply(s, logits) if hard else s).to(log_alpha.dtype)


class _RoundForward(torch.autograd.Function):
    """[logits > 0] forwards, the identity in s backwards."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, logits: Tensor) -> Tensor:
        return (logits > 0).to(s.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class ChannelGate(nn.Module):
    """The slide "Typical gating module": global average pooling, then two small layers.

    Shapes: ``(N, in_channels, height, width)`` to gates ``(N, channels)``, each 0 or 1:
    random in training mode, ``p > 0.5`` in evaluation mode.

    Args:
        in_channels: channels of what it looks at, the input of the gated layer.
        channels: number of gates.
        hidden: width of the layer between.
        temperature: of :func:`gumbel_sigmoid`.
        device, dtype: of its parameters.

    Attributes:
        log_alpha: the logits of the last batch, ``(N, channels)``, with their graph:
            what :func:`gate_loss` reads. Not part of the state; copies lack it.

    Raises:
        ValueError: a size below 1, or a temperature not above 0.
    """

    log_alpha: Tensor | None

    def __init__(
        self,
        in_channels: int,
        channels: int,
        hidden: int = 16,
        temperature: float = 2 / 3,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        for name, size in {
            "in_channels": in_channels,
            "channels": channels,
            "hidden": hidden,
        }.items():
            check_number(name, size, at_least=1)
        check_number("temperature", temperature, above=0)
        self.temperature = temperature
        options = {"device": device, "dtype": dtype}
        self.logits = nn.Sequential(
            nn.Linear(in_channels, hidden, **options),
            nn.BatchNorm1d(hidden, **options),
            nn.ReLU(),
            nn.Linear(hidden, channels, **options),
        )
        self.log_alpha = None

    def forward(self, x: Tensor) -> Tensor:
        self.log_alpha = self.logits(x.mean((2, 3)))
        if self.training:
            return gumbel_sigmoid(self.log_alpha, self.temperature)
        return (self.log_alpha > 0).to(x.dtype)

    def __getstate__(self) -> dict[str, Any]:
        # a tensor with a graph can be neither copied nor pickled
        return {**self.__dict__, "log_alpha": None}


# --- what the gates are trained with --------------------------------------------------


def expected_open(log_alpha: Tensor) -> Tensor:
    r"""The ℓ0 penalty: expected number of open gates of one image, a scalar.

    .. math:: \frac1N \sum_{n,c} P(z_{nc} = 1)
              = \frac1N \sum_{n,c} \sigma(\log\alpha_{nc})

    Args:
        log_alpha: logits ``(N, channels)``.
    """
    return torch.sigmoid(log_alpha).sum(1).mean()


_DEPTH = 32  # of the continued fraction: 12 digits up to the largest shape
_LARGEST_SHAPE = 10


def beta_cdf(x: Tensor, a: float = 0.6, b: float = 0.4) -> Tensor:
    r"""The distribution function of Beta(a, b), differentiable in x.

    .. math:: F(x) = I_x(a, b) = \frac{1}{B(a, b)} \int_0^x t^{a-1} (1-t)^{b-1}\,dt

    by its continued fraction, on whichever of :math:`I_x(a, b)` and
    :math:`1 - I_{1-x}(b, a)` it converges fast. The derivative is the density, exactly;
    where that is infinite (at 0 and 1, for shapes below 1) its value one rounding error
    further in is used. Half precision is computed in single.

    Args:
        x: between 0 and 1; values outside count as the nearer end.
        a, b: shapes, in (0, 10].

    Raises:
        ValueError: a shape outside its range, or x not floating point.
    """
    check_tensor("x", x)
    check_number("a", a, above=0, at_most=_LARGEST_SHAPE)
    check_number("b", b, above=0, at_most=_LARGEST_SHAPE)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return _BetaCDF.apply(wide, a, b).to(x.dtype)


class _BetaCDF(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, a: float, b: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.shapes = a, b
        x = x.clamp(0, 1)
        mirrored = x > (a + 1) / (a + b + 2)
        front = _power_product(x, a, b) / _beta_function(a, b)
        y = torch.where(mirrored, 1 - x, x)
        here = front / (a * _continued_fraction(y, a, b))
        there = 1 - front / (b * _continued_fraction(y, b, a))
        return torch.where(mirrored, there, here)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        a, b = ctx.shapes
        info = torch.finfo(x.dtype)
        inside = x.clamp(info.tiny, 1 - info.eps / 2)
        density = _power_product(inside, a - 1, b - 1) / _beta_function(a, b)
        return grad * density, None, None


def _power_product(x: Tensor, a: float, b: float) -> Tensor:
    return x**a * (1 - x) ** b


def _beta_function(a: float, b: float) -> float:
    return math.exp(math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b))


def _continued_fraction(x: Tensor, a: float, b: float) -> Tensor:
    r""":math:`1 + d_1/(1 + d_2/(1 + \dots))` from its tail.

    Abramowitz and Stegun, equation 26.5.8.
    """
    fraction = torch.ones_like(x)
    for k in range(_DEPTH, 0, -1):
        m, odd = divmod(k, 2)
        d = -(a + m) * (a + b + m) / (a + k) if odd else m * (b - m) / (a + k - 1)
        d /= a + (k - 1 if odd else k)
        fraction = 1 + d * x / fraction
    return fraction


def batch_shaping(p: Tensor, a: float = 0.6, b: float = 0.4) -> Tensor:
    r"""How far each gate's openings over a batch are from Beta(a, b).

    With :math:`p_{(i)}` the i-th smallest of the N values of a gate,

    .. math:: \frac1N \sum_{i=1}^{N} \Big( \frac{i}{N+1} - F(p_{(i)}) \Big)^2,

    a Cramér-von Mises distance. Beta(0.6, 0.4) is a valley with walls at 0 and 1: a
    gate that says the same to every image is pulled apart, into images it is sure to
    open for and images it is sure to close for.

    Args:
        p: opening probabilities ``(N, ...)``, the batch first.
        a, b: shapes of the Beta distribution.

    Returns:
        One number for each gate, of shape ``p.shape[1:]``: 0 if the values are the
        quantiles :math:`i/(N+1)`, near 1/3 if all are 0 or all are 1.

    Raises:
        ValueError: a shape outside (0, 10], an empty batch, or p not floating point.
    """
    check_tensor("p", p)
    if p.ndim == 0 or len(p) == 0:
        raise ValueError(f"p must have a batch of images first, got {tuple(p.shape)}")
    n = len(p)
    # in the dtype of p, or at least single: bfloat16 cannot tell 255/257 from 1
    ordered = beta_cdf(p.float() if p.element_size() < 4 else p, a, b).sort(0).values
    i = torch.arange(1, n + 1, device=p.device, dtype=ordered.dtype)
    target = (i / (n + 1)).view(n, *(1,) * (p.ndim - 1))
    return (target - ordered).square().mean(0).to(p.dtype)


def gate_loss(model: nn.Module, shaping: float, lam: float) -> Tensor:
    r"""What the gates of the last batch add to the loss.

    .. math:: \frac1C \sum_c \big( \gamma\,\mathrm{BS}_c
              + \lambda\,\tfrac1N \textstyle\sum_n \sigma(\log\alpha_{nc}) \big)

    over all C gates of the network: a mean, so that γ and λ do not depend on its width.
    λ is the price of having all gates open.

    Args:
        model: with at least one :class:`ChannelGate`, after a forward pass.
        shaping: weight γ of :func:`batch_shaping`.
        lam: weight λ of the share of gates expected to be open.

    Raises:
        ValueError: a negative weight; no gates, or gates that have not run yet.
    """
    check_number("shaping", shaping, at_least=0)
    check_number("lam", lam, at_least=0)
    logits = [gate.log_alpha for gate in _gates(model)]
    if not logits:
        raise ValueError(f"model has no ChannelGate: {type(model).__name__}")
    if any(log_alpha is None for log_alpha in logits):
        raise ValueError("model has gates without logits: call it on a batch first")
    log_alpha = torch.cat([x for x in logits if x is not None], dim=1)
    loss = lam * expected_open(log_alpha) / log_alpha.shape[1]
    if shaping:
        loss = loss + shaping * batch_shaping(torch.sigmoid(log_alpha)).mean()
    return loss


def penalty_weights(
    progress: float, lam: float, shaping: float = 0.75
) -> tuple[float, float]:
    r"""The two weights of :func:`gate_loss` in the course of a training.

    γ falls to 0 over the first third: the gates become conditional while they are still
    free. Then λ rises to its value over the second third, and stays: the gates that
    are worth least close. (The order is the paper's, the thirds are ours.)

    Args:
        progress: part of the training done, in [0, 1].
        lam: final λ.
        shaping: first γ.

    Returns:
        ``(shaping, lam)`` at this moment.

    Raises:
        ValueError: progress outside [0, 1], or a negative weight.
    """
    check_number("progress", progress, at_least=0, at_most=1)
    check_number("lam", lam, at_least=0)
    check_number("shaping", shaping, at_least=0)
    fall = max(0.0, 1 - 3 * progress)
    rise = min(1.0, max(0.0, 3 * progress - 1))
    return shaping * fall, lam * rise


# --- gated layers ---------------------------------------------------------------------


class GatedConv2d(nn.Conv2d):
    """A convolution whose output channels are opened and closed image by image.

    Closed channels are zero, bias included. In evaluation mode the channels that are
    closed for the whole batch are not computed: for a batch of one, all closed ones.
    Takes images ``(N, C, H, W)`` or ``(C, H, W)``.

    Args:
        in_channels, out_channels, kernel_size: as in ``nn.Conv2d``, and so are the
            other keyword arguments.
        hidden, temperature: of the :class:`ChannelGate`.

    Attributes:
        skip: set it to False to compute closed channels and multiply them by zero.

    Raises:
        ValueError: ``groups`` other than 1: a closed channel would leave its group.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        hidden: int = 16,
        temperature: float = 2 / 3,
        **options: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)
        if self.groups != 1:
            raise ValueError(f"groups must be 1, got groups={self.groups}")
        self.gate = ChannelGate(
            in_channels,
            out_channels,
            hidden,
            temperature,
            options.get("device"),
            options.get("dtype"),
        )
        self.skip = True

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 3:
            return self(x[None])[0]
        gate = self.gate(x)
        # nobody knows which gates are open on the meta device
        if self.training or not self.skip or x.is_meta:
            return super().forward(x) * gate[:, :, None, None]
        kept, gate = _open_for_some(gate)
        kernel = self.weight.index_select(0, kept)
        bias = None if self.bias is None else self.bias.index_select(0, kept)
        y = self._conv_forward(x, kernel, bias) * gate
        whole = y.new_zeros(len(y), self.out_channels, *y.shape[2:])
        return whole.index_copy_(1, kept, y)

    def channel_flops(self, height: int, width: int) -> int:
        """FLOPs of one channel for one image, at this size of the output."""
        return 2 * self.weight[0].numel() * height * width


class GatedResidualBlock(nn.Module):
    """The slide's gated ResNet block: its middle channels are gated.

    ``relu(shortcut(x) + norm2(conv2(gate(x) * relu(norm1(conv1(x))))))``. A closed gate
    saves an output channel of the first convolution and an input channel of the
    second; the shortcut is never gated. In evaluation mode the channels that are closed
    for the whole batch are not computed. What is left of ``conv1`` and ``norm1`` is one
    convolution then, and hooks on the two do not run. With ``norm1`` in training mode,
    to measure its statistics anew, all channels are computed.

    Shapes: ``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``.

    Args:
        in_channels, out_channels, stride: as in a ResNet; the shortcut is a 1x1
            convolution if they change the shape, else the identity.
        middle: channels between the convolutions, ``out_channels`` if None.
        gated: False for the same block without a gate.
        hidden, temperature: of the :class:`ChannelGate`.

    Attributes:
        skip: set it to False to compute closed channels and multiply them by zero.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        middle: int | None = None,
        *,
        gated: bool = True,
        hidden: int = 16,
        temperature: float = 2 / 3,
    ) -> None:
        super().__init__()
        middle = out_channels if middle is None else middle
        self.conv1 = nn.Conv2d(in_channels, middle, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, out_channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
        self.gate = (
            ChannelGate(in_channels, middle, hidden, temperature) if gated else None
        )
        self.skip = True

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.norm2(self._residual(x)))

    def _residual(self, x: Tensor) -> Tensor:
        if self.gate is None:
            return self.conv2(F.relu(self.norm1(self.conv1(x))))
        gate = self.gate(x)
        # nobody knows which gates are open on the meta device
        if self.training or self.norm1.training or not self.skip or x.is_meta:
            y = F.relu(self.norm1(self.conv1(x)))
            return self.conv2(y * gate[:, :, None, None])
        kept, gate = _open_for_some(gate)
        kernel, bias = self._conv1_with_norm(kept)
        y = F.relu(self.conv1._conv_forward(x, kernel, bias)) * gate
        # index_select copies rows several times faster than an index in brackets
        kernel = self.conv2.weight.index_select(1, kept)
        return self.conv2._conv_forward(y, kernel, None)

    def _conv1_with_norm(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """At test time the norm is a scale and a shift of the convolution."""
        norm = self.norm1
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        bias = norm.bias - scale * norm.running_mean
        scale, bias = scale.index_select(0, kept), bias.index_select(0, kept)
        kernel = self.conv1.weight.index_select(0, kept)
        return kernel * scale[:, None, None, None], bias

    def channel_flops(self, height: int, width: int) -> int:
        """FLOPs of one gated channel for one image, at this size of the output."""
        kernels = self.conv1.weight[0].numel() + self.conv2.weight[:, 0].numel()
        return 2 * kernels * height * width


def _open_for_some(gate: Tensor) -> tuple[Tensor, Tensor]:
    """The channels open for an image of the batch, and their gates."""
    kept = gate.any(0).nonzero().flatten()
    if not len(kept):
        kept = kept.new_zeros(1)  # a convolution needs a channel, if a closed one
    return kept, gate.index_select(1, kept)[:, :, None, None]


# --- what is learnt in the gate -------------------------------------------------------


@dataclass(frozen=True)
class GateRecord:
    """What every gate of a network did on N images; see :func:`record_gates`.

    Attributes:
        open: for each gated layer, by name, whether each gate was open,
            ``(N, channels)``, bool.
        channel_flops: for each gated layer the FLOPs of one of its channels for one
            image.
    """

    open: dict[str, Tensor]
    channel_flops: dict[str, int]

    @property
    def all_open(self) -> Tensor:
        """The gates of all layers side by side, ``(N, C)``."""
        return torch.cat(list(self.open.values()), dim=1)

    @property
    def rate(self) -> Tensor:
        """How often each gate was open, ``(C,)``, from 0 to 1."""
        return self.all_open.double().mean(0)

    @property
    def flops(self) -> Tensor:
        """FLOPs of the gated convolutions for each image, ``(N,)``."""
        return sum(
            (
                self.channel_flops[name] * is_open.sum(1)
                for name, is_open in self.open.items()
            ),
            start=torch.zeros((), dtype=torch.int64),
        )

    @property
    def full_flops(self) -> int:
        """FLOPs of the gated convolutions for an image that opens every gate."""
        return sum(
            self.channel_flops[name] * is_open.shape[1]
            for name, is_open in self.open.items()
        )

    @property
    def saved(self) -> float:
        """Part of the gated FLOPs that was not needed, from 0 to 1."""
        return 1 - self.flops.double().mean().item() / self.full_flops

    def kinds(self, tolerance: float = 0.01) -> dict[str, int]:
        """Number of gates that are always on, never on, and conditional.

        Args:
            tolerance: "always" is more often than ``1 - tolerance``, "never" is more
                seldom than ``tolerance``; 0 counts every exception.

        Raises:
            ValueError: a tolerance outside [0, 0.5).
        """
        check_number("tolerance", tolerance, at_least=0, below=0.5)
        rate = self.rate
        always = int(((rate > 1 - tolerance) | (rate == 1)).sum())
        never = int(((rate < tolerance) | (rate == 0)).sum())
        return {
            "always on": always,
            "never on": never,
            "conditional": len(rate) - always - never,
        }

    def by_class(self, labels: Tensor, classes: int = 10) -> Tensor:
        """How often each gate was open for the images of a class, ``(classes, C)``.

        Raises:
            ValueError: not one label for each image, or a class without images.
        """
        is_open = self.all_open.double()
        if labels.shape != (len(is_open),):
            raise ValueError(
                f"labels must be one for each of the {len(is_open)} images, got shape "
                f"{tuple(labels.shape)}"
            )
        members = F.one_hot(labels, classes).double()
        if not members.any(0).all():
            raise ValueError(f"labels must name each of the {classes} classes")
        return members.T @ is_open / members.sum(0)[:, None]


def record_gates(model: nn.Module, x: Tensor, batch_size: int = 1000) -> GateRecord:
    """Run a network on images, in evaluation mode, and note what its gates do.

    Args:
        model: with gated layers of this module; every module keeps its mode.
        x: images ``(N, channels, height, width)``.
        batch_size: images at a time.

    Raises:
        ValueError: the model has no gated layers, or ``batch_size`` is 0.
    """
    check_number("batch_size", batch_size, at_least=1)
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (GatedConv2d, GatedResidualBlock))
        and module.gate is not None
    }
    if not layers:
        raise ValueError(f"model has no gated layer: {type(model).__name__}")
    opened: dict[str, list[Tensor]] = {name: [] for name in layers}
    flops: dict[str, int] = {}

    def note(name: str, layer: Any, output: Tensor) -> None:
        opened[name].append(layer.gate.log_alpha > 0)
        flops[name] = layer.channel_flops(*output.shape[2:])

    hooks = [
        layer.register_forward_hook(
            lambda layer, _, output, name=name: note(name, layer, output)
        )
        for name, layer in layers.items()
    ]
    try:
        with torch.no_grad(), evaluating(model):
            for batch in x.split(batch_size):
                model(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return GateRecord({name: torch.cat(parts) for name, parts in opened.items()}, flops)


def class_similarity(rates: Tensor) -> Tensor:
    """How alike the classes are in the gates they open, ``(classes, classes)``.

    The cosine between the classes' rows of firing rates, after the mean over the
    classes is taken off every gate: what all classes open says nothing about two.

    Args:
        rates: :meth:`GateRecord.by_class`, ``(classes, C)``.
    """
    unusual = F.normalize(rates - rates.mean(0), dim=1)
    return unusual @ unusual.T


def _gates(model: nn.Module) -> Iterator[ChannelGate]:
    return (m for m in model.modules() if isinstance(m, ChannelGate))
