r"""Explorers of Part III: gates that are random, and gates that harden.

Slides: from "Stochastic binary gates" to "Hard concrete ℓ0 regularization".
"""

from __future__ import annotations

import math

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from ece661_sparse.gates import (
    ContinuousGate,
    concrete_density,
    probability_nonzero,
    probability_one,
    stretched_density,
)
from ece661_sparse.viz.explorers import explorer, slider
from ece661_sparse.viz.figures import COLORS


def draw_hard_concrete(
    log_alpha: float, beta: float, gamma: float = -0.1, zeta: float = 1.1
) -> Figure:
    r"""From concrete to hard concrete: the densities of s, of :math:`\bar s`, and z.

    What :math:`\bar s` has beyond 0 and 1 becomes the two stems of z, labelled with
    their probabilities.
    """
    color = COLORS["hard_concrete"]
    location = torch.tensor(log_alpha, dtype=torch.float64)
    inside = torch.linspace(0.002, 0.998, 499, dtype=torch.float64)
    s_bar = inside * (zeta - gamma) + gamma
    density = stretched_density(s_bar, location, beta, gamma, zeta)
    zero = 1 - probability_nonzero(location, beta, gamma, zeta).item()
    one = probability_one(location, beta, gamma, zeta).item()
    fig, axes = plt.subplots(1, 3, figsize=(7.2, 3.2), sharey=True)
    axes[0].plot(inside, concrete_density(inside, location, beta), color=color)
    axes[1].plot(s_bar, density, color=color)
    for beyond in (s_bar <= 0, s_bar >= 1):
        axes[1].fill_between(s_bar[beyond], density[beyond], color=color, alpha=0.35)
    within = (s_bar > 0) & (s_bar < 1)
    axes[2].plot(s_bar[within], density[within], color=color)
    for at, mass in ((0, zero), (1, one)):
        axes[2].plot([at, at], [0, 3 * mass], color=color, linewidth=5)
        axes[2].text(at, 3.08, f"{mass:.2f}", ha="center")
    for ax, name in zip(axes, ("s", "stretched s", "z"), strict=True):
        ax.set(title=name, xlim=(gamma - 0.1, zeta + 0.1), ylim=(0, 3.4))
        ax.set_xticks([0, 0.5, 1], ["0", "½", "1"])
    axes[0].set_ylabel("density")
    return fig


def explore_hard_concrete() -> widgets.Widget:
    """Sliders for log α, β and the stretch: how likely are 0 and 1?"""
    return explorer(
        draw_hard_concrete,
        log_alpha=slider("log α", -5.0, 5.0, 0.0),
        beta=slider("β", 0.1, 2.0, 0.65),
        gamma=slider("γ", -1.0, -0.05, -0.1),
        zeta=slider("ζ", 1.05, 2.0, 1.1),
    )


def draw_hardening(beta: float, lam: float, c: float) -> Figure:
    r"""One weight behind a continuous gate: the gate, its slope, and what it costs.

    The loss is :math:`\tfrac12(\tilde\theta z - c)^2` with :math:`\tilde\theta = c`:
    a closed gate costs :math:`c^2/2`, an open one :math:`\lambda`.

    Args:
        beta: the slide's :math:`\beta`.
        lam: the price of an open gate.
        c: the value that the weight should have.
    """
    s = torch.linspace(-1, 1, 801, dtype=torch.float64)
    gate = ContinuousGate(s)
    gate.beta = beta
    gate.s.data.copy_(s)
    z = gate.probability()
    (slope,) = torch.autograd.grad(z.sum(), gate.s)
    z = z.detach()
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.6))
    left.plot(s, z, color=COLORS["continuous"], label="gate σ(βs)")
    left.plot(s, slope / (beta / 4), "--", color=COLORS["sgd"], label="slope / (β/4)")
    left.set(title="the gate", xlabel="s", ylim=(-0.05, 1.05))
    right.plot(
        s,
        (c * z - c) ** 2 / 2 + lam * z,
        color=COLORS["continuous"],
        label="loss, converted",
    )
    for ends, level in (((-1, 0), c**2 / 2), ((0, 1), lam)):
        label = "loss, original" if level == lam else None
        right.plot(ends, (level, level), ":", color=COLORS["sgd"], label=label)
    best = "open" if lam < c**2 / 2 else "closed"
    right.set(title=f"loss: best {best}", xlabel="s", ylim=(0, None))
    fig.legend(loc="outside lower center", ncols=4, fontsize=10)
    return fig


def explore_hardening() -> widgets.Widget:
    """Sliders for β, λ and the weight: the gate becomes a step, its slope dies."""
    return explorer(
        draw_hardening,
        beta=widgets.FloatLogSlider(
            4.0, min=0, max=math.log10(200), base=10, description="β"
        ),
        lam=slider("λ", 0.0, 1.0, 0.3),
        c=slider("c", 0.1, 1.5, 1.0),
    )
