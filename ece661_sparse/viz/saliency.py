r"""Explorers of Part II: saliency, Global Sparse Momentum, the rows of Table 1.

Slides: figures of "Moving beyond absolute values" to "Pruning results".
"""

from __future__ import annotations

from itertools import pairwise

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from ece661_sparse.viz.explorers import explorer, slider
from ece661_sparse.viz.figures import COLORS


def draw_splicing(band: float, noise: float, pull: float) -> Figure:
    r"""One weight of dynamic network surgery over 120 steps, and its mask.

    The dense weight is drawn to ``pull`` and shaken by the gradient's noise; the
    threshold is 1. The mask goes off at :math:`1 - \text{band}` and on above
    :math:`1 + \text{band}`.

    Args:
        band: half the distance of the two thresholds; the paper has 0.1.
        noise: standard deviation of a step.
        pull: where the loss wants the weight.
    """
    generator = torch.Generator().manual_seed(3)
    shakes = noise * torch.randn(120, generator=generator, dtype=torch.float64)
    weight, on = 1.0, True
    path, mask = [], []
    for shake in shakes.tolist():
        weight += 0.1 * (pull - weight) + shake
        if abs(weight) <= 1 - band:
            on = False
        elif abs(weight) > 1 + band:
            on = True
        path.append(weight)
        mask.append(on)
    flips = sum(a != b for a, b in pairwise(mask))
    steps = range(1, 121)
    fig, (top, bottom) = plt.subplots(
        2, 1, figsize=(6, 4.4), sharex=True, height_ratios=(3, 1)
    )
    top.axhspan(1 - band, 1 + band, color="#E8E8E8", label="no change")
    top.plot(steps, path, color=COLORS["dense"], label="dense weight")
    used = [w if m else 0.0 for w, m in zip(path, mask, strict=True)]
    top.plot(steps, used, ".", color=COLORS["dns"], label="what the network uses")
    top.set(ylim=(-0.1, 2.1), title=f"the mask changes {flips} times")
    top.legend(loc="upper left", ncols=3, fontsize=9)
    bottom.step(steps, [int(m) for m in mask], where="mid", color=COLORS["dns"])
    bottom.set(ylim=(-0.2, 1.2), yticks=(0, 1), xlabel="step", ylabel="mask")
    return fig


def explore_splicing() -> widgets.Widget:
    """Sliders for two thresholds: how far apart until a weight settles?"""
    return explorer(
        draw_splicing,
        band=slider("band", 0.0, 0.5, 0.1),
        noise=slider("noise", 0.0, 0.3, 0.1),
        pull=slider("pull", 0.5, 1.5, 1.0),
    )


def draw_taylor(weight: float, gradient: float, curvature: float) -> Figure:
    r"""A loss along one weight, its tangent at the weight, and both at zero.

    The loss is :math:`g (v - w) + \tfrac12 h (v - w)^2` above its value at
    :math:`w`: pruning moves :math:`v` to zero.

    Args:
        weight: w.
        gradient: g, the slope at w.
        curvature: h.
    """
    v = torch.linspace(-1.5, 1.5, 301, dtype=torch.float64)
    step = v - weight
    predicted = -gradient * weight
    exact = predicted + curvature * weight**2 / 2
    fig, ax = plt.subplots(figsize=(6, 4))
    ax.plot(
        v, gradient * step + curvature * step**2 / 2, color=COLORS["sgd"], label="loss"
    )
    ax.plot(v, gradient * step, "--", color=COLORS["taylor"], label="tangent at w")
    ax.axvline(0, color=COLORS["dense"], linewidth=1)
    ax.plot(weight, 0.0, "o", color="black", label="w")
    ax.plot(0.0, exact, "s", color=COLORS["sgd"], label="pruned")
    ax.plot(0.0, predicted, "D", color=COLORS["taylor"], label="predicted")
    ax.set(
        xlabel="value of the weight",
        ylabel="change of the loss",
        ylim=(-2, 2),
        title=f"predicted {predicted:+.2f}, exact {exact:+.2f}",
    )
    fig.legend(loc="outside lower center", ncols=5, fontsize=9)
    return fig


def explore_taylor() -> widgets.Widget:
    """Sliders for weight, slope and curvature: when is the tangent enough?"""
    return explorer(
        draw_taylor,
        weight=slider("w", -1.2, 1.2, 0.8),
        gradient=slider("g", -1.0, 1.0, 0.4),
        curvature=slider("h", 0.0, 2.0, 0.5),
    )


def draw_passive(momentum: float, log_decay: float, log_lr: float) -> Figure:
    r"""What is left of a passive weight of GSM, by epoch (235 iterations each).

    Args:
        momentum: :math:`\beta`.
        log_decay: :math:`\log_{10} \eta`, of the weight decay.
        log_lr: :math:`\log_{10} \alpha`, of the learning rate.
    """
    decay, lr = 10.0**log_decay, 10.0**log_lr
    rows = [[1 - lr * decay, -lr * momentum], [decay, momentum]]
    epoch = torch.linalg.matrix_power(torch.tensor(rows, dtype=torch.float64), 235)
    state = torch.tensor([1.0, 0.0], dtype=torch.float64)
    left = [1.0]
    for _ in range(280):
        state = epoch @ state
        left.append(max(abs(float(state[0])), 1e-12))
    rate = lr * decay / (1 - momentum)
    epochs = torch.arange(281, dtype=torch.float64)
    fig, ax = plt.subplots(figsize=(6, 4))
    ax.semilogy(epochs, left, color=COLORS["gsm"], label="passive weight")
    law = (-rate * 235 * epochs).exp().clamp(min=1e-12)
    ax.semilogy(epochs, law, ":", color=COLORS["sgd"], label="exp(−αη/(1−β) k)")
    ax.axhline(1e-4, color=COLORS["dense"], linewidth=1)
    ax.set(
        xlabel="epoch",
        ylabel="part of the weight that is left",
        ylim=(1e-6, 2),
        title=f"to 1e-4 in {9.21 / (235 * rate):,.0f} epochs",
    )
    ax.legend()
    return fig


def explore_passive() -> widgets.Widget:
    """Sliders for β, η and α: how long until a passive weight is gone?"""
    return explorer(
        draw_passive,
        momentum=widgets.FloatSlider(
            0.99, min=0.0, max=0.99, step=0.01, description="β"
        ),
        log_decay=slider("log₁₀ η", -4.0, -2.0, -3.3),
        log_lr=slider("log₁₀ α", -4.0, -1.0, -2.0),
    )
