"""Explorers of Part IV: early exit, channel gating, dynamic convolution."""

from __future__ import annotations

import math

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ece661_sparse import dynamic
from ece661_sparse.viz.explorers import explorer, slider
from ece661_sparse.viz.figures import COLORS

# --- early exit -----------------------------------------------------------------------


def draw_early_exit(threshold: float, skill: float, cost: float) -> Figure:
    """A thousand made-up inputs, easy to hard, and one early exit with a threshold.

    On the left the early exit's entropies, of right and of wrong answers; on the right
    cost and accuracy of every threshold, and where this one is.

    Args:
        threshold: entropy below which an input leaves.
        skill: how well the early exit tells easy inputs apart.
        cost: of the early exit, as a part of the whole.
    """
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(10, (1000,), generator=generator)
    easy = torch.rand(1000, 1, generator=generator)
    noise = torch.randn(2, 1000, 10, generator=generator)
    signal = torch.stack([2 * skill * easy, 4 + 8 * easy])
    logits = noise + signal * torch.nn.functional.one_hot(y, 10)
    costs = [cost, 1.0]
    here = dynamic.tradeoff(dynamic.EntropyThreshold(threshold), logits, y, costs)
    all_thresholds = [
        dynamic.tradeoff(policy, logits, y, costs)
        for policy in dynamic.entropy_candidates(logits, 60)
    ]
    entropy = dynamic.entropy(logits[0].softmax(1))
    right = logits[0].argmax(1) == y
    fig, (left, curve) = plt.subplots(1, 2, figsize=(7.2, 3.4))
    left.hist(
        [entropy[right].numpy(), entropy[~right].numpy()],
        bins=23,
        range=(0, 2.3),
        stacked=True,
        color=[COLORS["entropy"], COLORS["wrong"]],
        label=["right", "wrong"],
    )
    left.axvline(threshold, color="black", linestyle="--")
    left.set(title=f"{here.shares[0]:.0%} leave", xlabel="entropy at the early exit")
    left.legend()
    curve.plot(
        [t.cost for t in all_thresholds],
        [t.accuracy for t in all_thresholds],
        color=COLORS["entropy"],
    )
    curve.plot(here.cost, here.accuracy, "o", color="black")
    curve.set(
        title=f"cost {here.cost:.2f}, accuracy {here.accuracy:.1f} %",
        xlabel="mean cost",
        ylabel="accuracy (%)",
        xlim=(0, 1.02),
    )
    return fig


def explore_early_exit() -> widgets.Widget:
    """Sliders for the threshold, skill and cost of an early exit: does it pay?"""
    return explorer(
        draw_early_exit,
        threshold=slider("T", 0.0, 2.35, 0.5),
        skill=slider("skill", 0.5, 6.0, 4.0),
        cost=slider("cost", 0.05, 0.9, 0.2),
    )


# --- channel gating -------------------------------------------------------------------


def draw_batch_shaping(centre: float, spread: float, a: float, b: float) -> Figure:
    r"""One gate over a batch of 200 images, beside the Beta(a, b) it is shaped towards.

    Its logits are the quantiles of a normal distribution; the shaded area on the right
    is what :func:`~ece661_sparse.dynamic.batch_shaping` squares.

    Args:
        centre, spread: mean and deviation of :math:`\log\alpha` over the batch.
        a, b: shapes of the Beta distribution.
    """
    rank = torch.arange(1, 201, dtype=torch.float64) / 201
    p = torch.sigmoid(centre + spread * torch.special.ndtri(rank))
    x = torch.linspace(0, 1, 201, dtype=torch.float64)
    inside = x[2:-2].clone().requires_grad_()
    (density,) = torch.autograd.grad(dynamic.beta_cdf(inside, a, b).sum(), inside)
    colour, beta = COLORS["channel_gating"], f"Beta({a:.2g}, {b:.2g})"
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.4))
    left.hist(p.numpy(), bins=20, range=(0, 1), density=True, color=colour, alpha=0.6)
    left.plot(inside.detach(), density, color="black", label=beta)
    left.set(title="how often the gate says p", xlabel="p", ylim=(0, 6))
    left.legend(loc="upper center")
    shaped = dynamic.beta_cdf(p, a, b)
    loss = dynamic.batch_shaping(p, a, b).item()
    right.fill_between(rank, shaped, rank, color=colour, alpha=0.3)
    right.plot(rank, rank, color="black", label="i / (N + 1)")
    right.plot(rank, shaped, color=colour, label="F(p), sorted")
    right.set(title=f"batch shaping: {loss:.3f}", xlabel="i / (N + 1)", ylim=(0, 1))
    right.legend(loc="upper left")
    return fig


def explore_batch_shaping() -> widgets.Widget:
    """Sliders for centre and spread of a gate: when is it conditional enough?"""
    return explorer(
        draw_batch_shaping,
        centre=slider("log α", -6.0, 6.0, 2.0),
        spread=slider("spread", 0.05, 8.0, 0.5),
        a=slider("a", 0.1, 4.0, 0.6),
        b=slider("b", 0.1, 4.0, 0.4),
    )


# --- dynamic convolution --------------------------------------------------------------


def draw_mixed_kernel(angle: float, contrast: float, temperature: float) -> Figure:
    r"""Stripes, the shares they give to four kernels, and the kernel they mix.

    The kernels are lines at 0, 45, 90 and 135 degrees. The logit of the kernel at
    :math:`\theta_k` is ``contrast`` times :math:`\cos 2(\text{angle} - \theta_k)`.

    Args:
        angle: of the stripes, in degrees.
        contrast: the largest logit.
        temperature: T of the softmax.
    """
    degrees = torch.arange(0.0, 180.0, 45.0, dtype=torch.float64)
    kernels = torch.stack([_line(math.radians(d), 7) for d in degrees.tolist()])
    z = contrast * torch.cos(2 * torch.deg2rad(angle - degrees))
    pi = (z / temperature).softmax(0)
    y, x = _coordinates(40)
    across = x * math.sin(math.radians(angle)) - y * math.cos(math.radians(angle))
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(7.2, 2.9))
    left.imshow(torch.cos(across).numpy(), cmap="gray")
    left.set(title="an image")
    names = [f"{d:.0f}°" for d in degrees.tolist()]
    middle.bar(names, pi.numpy(), color=COLORS["dynamic_conv"])
    middle.set(title=f"its shares, T = {temperature:g}", ylim=(0, 1))
    mixed = torch.tensordot(pi, kernels, 1)
    right.imshow(mixed.numpy(), cmap="gray", vmin=-0.5, vmax=1)
    right.set(title="its kernel")
    for ax in (left, right):
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
    return fig


def _coordinates(size: int) -> tuple[Tensor, Tensor]:
    """Row upwards and column, from the centre."""
    steps = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    y, x = torch.meshgrid(-steps, steps, indexing="ij")
    return y, x


def _line(radians: float, size: int) -> Tensor:
    """A bright line through the centre, dark on both sides; its sum is 0."""
    y, x = _coordinates(size)
    across = x * math.sin(radians) - y * math.cos(radians)
    line = torch.exp(-(across**2))
    return line - line.mean()


def explore_mixed_kernel() -> widgets.Widget:
    """Sliders for stripes, contrast and temperature: which kernel do they get?"""
    return explorer(
        draw_mixed_kernel,
        angle=widgets.FloatSlider(30, min=0, max=180, step=5, description="angle"),
        contrast=slider("contrast", 0.0, 8.0, 4.0),
        temperature=slider("T", 0.1, 30.0, 1.0),
    )
