r"""Explorers of Part III: gates that are random, and gates that harden.

Slides: from "Stochastic binary gates" to "Hard concrete ℓ0 regularization".
"""

from __future__ import annotations

import math

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from ece661_sparse.gates import ContinuousGate
from ece661_sparse.viz.explorers import explorer, slider
from ece661_sparse.viz.figures import COLORS


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
    left.legend(loc="upper left", fontsize=10)
    right.plot(
        s, (c * z - c) ** 2 / 2 + lam * z, color=COLORS["continuous"], label="converted"
    )
    for ends, level in (((-1, 0), c**2 / 2), ((0, 1), lam)):
        label = "original" if level == lam else None
        right.plot(ends, (level, level), ":", color=COLORS["sgd"], label=label)
    best = "open" if lam < c**2 / 2 else "closed"
    right.set(title=f"loss: best {best}", xlabel="s", ylim=(0, None))
    right.legend(fontsize=10)
    return fig


def explore_hardening() -> widgets.Widget:
    """β, λ and the weight under your fingers: a step, and a slope that dies."""
    return explorer(
        draw_hardening,
        beta=widgets.FloatLogSlider(
            4.0, min=0, max=math.log10(200), base=10, description="β"
        ),
        lam=slider("λ", 0.0, 1.0, 0.3),
        c=slider("c", 0.1, 1.5, 1.0),
    )
