"""Explorers of Part I: every operator of Table I, the proximal path, trimmed ℓ1.

Slides: figures of "Improvements from ℓ1" (Table I), "Proximal gradient update" and
"Optimization of Trimmed ℓ1".
"""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ece661_sparse import proximal
from ece661_sparse.viz.explorers import explorer, slider
from ece661_sparse.viz.figures import COLORS

_OPERATORS: dict[str, tuple[str, Callable[[float, float], proximal.Penalty]]] = {
    "ℓ0": ("l0", lambda lam, _: proximal.L0(lam)),
    "ℓ1": ("l1", lambda lam, _: proximal.L1(lam)),
    "ℓq": ("lq", proximal.Lq),
    "q-shrinkage": ("q_shrinkage", proximal.QShrinkage),
    "SCAD": ("scad", proximal.SCAD),
    "MCP": ("mcp", proximal.MCP),
    "firm": ("firm", lambda lam, ratio: proximal.Firm(lam, mu=ratio * lam)),
}

# The shape parameter: its name, smallest, largest and first value, for steps up to 1.
_SHAPES = {
    "ℓq": ("q", 0.05, 0.95, 0.5),
    "q-shrinkage": ("q", -3.0, 0.95, 0.5),
    "SCAD": ("a", 2.1, 8.0, 3.7),
    "MCP": ("γ", 1.1, 8.0, 3.0),
    "firm": ("μ/λ", 1.1, 8.0, 3.0),
}


def draw_prox(operator: str, lam: float, shape: float, step: float) -> Figure:
    """A row of Table I beside soft thresholding: the penalty, and its operator.

    Args:
        operator: a key of the explorer's menu, such as ``"SCAD"``.
        lam: the penalty's strength.
        shape: its q, a, γ or μ/λ; ignored by ℓ0 and ℓ1.
        step: the step of the proximal operator.
    """
    key, make = _OPERATORS[operator]
    penalty, soft = make(lam, shape), proximal.L1(lam)
    x = torch.linspace(-3, 3, 601, dtype=torch.float64)
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.4))
    for ax, y, soft_y in (
        (left, penalty.value(x), soft.value(x)),
        (right, penalty.prox(x, step), soft.prox(x, step)),
    ):
        ax.plot(x, soft_y, "--", color=COLORS["l1"], label="ℓ1")
        ax.plot(x, y, color=COLORS[key], label=operator)
    right.plot(x, x, ":", color="#737373", linewidth=1)
    left.set(title="penalty P(x)", xlabel="x", ylim=(-0.1, 3 * lam + 0.1))
    right.set(title="operator, prox of step · P", xlabel="t", ylim=(-3, 3))
    left.legend()
    return fig


def explore_prox() -> widgets.Widget:
    """Sliders for the rows of Table I: each beside soft thresholding."""
    menu = widgets.Dropdown(
        options=list(_OPERATORS), value="SCAD", description="operator"
    )
    shape = widgets.FloatSlider()

    def fit_shape(_: object = None) -> None:
        name, low, high, first = _SHAPES.get(menu.value, ("none", 0.0, 1.0, 0.5))
        with shape.hold_trait_notifications():  # min may be above max for a moment
            shape.min, shape.max, shape.value, shape.step = low, high, first, 0.05
        shape.description, shape.disabled = name, menu.value not in _SHAPES

    fit_shape()
    menu.observe(fit_shape, names="value")  # before `interactive` starts to listen
    return explorer(
        draw_prox,
        operator=menu,
        lam=slider("λ", 0.1, 2.0, 0.8),
        shape=shape,
        step=slider("step", 0.1, 1.0, 1.0),
    )


def draw_proximal_path(lam: float, step: float) -> Figure:
    r"""Subgradient against proximal updates on a two-dimensional problem.

    Minimises :math:`\tfrac12(\theta-c)^\top A(\theta-c) + \lambda\|\theta\|_1` by 30
    updates from one start. Steps up to 1.4 converge: the largest eigenvalue is 1.3.
    """
    matrix = torch.tensor([[1.0, 0.3], [0.3, 1.0]], dtype=torch.float64)
    centre = torch.tensor([1.6, 0.3], dtype=torch.float64)

    def subgradient(theta: Tensor) -> Tensor:
        return theta - step * (matrix @ (theta - centre) + lam * theta.sign())

    def proximal_update(theta: Tensor) -> Tensor:
        return proximal.prox_l1(theta - step * matrix @ (theta - centre), lam, step)

    fig, (plane, time) = plt.subplots(1, 2, figsize=(7.2, 3.4))
    _objective_contours(plane, matrix, centre, lam)
    for name, update, color, style in (
        ("subgradient", subgradient, COLORS["sgd"], ".--"),
        ("proximal", proximal_update, COLORS["l1"], ".-"),
    ):
        path = [torch.tensor([-1.0, 1.5], dtype=torch.float64)]
        for _ in range(30):
            path.append(update(path[-1]))
        points = torch.stack(path)
        plane.plot(points[:, 0], points[:, 1], style, color=color, linewidth=1.2)
        time.plot(points[:, 1], style, color=color, linewidth=1.2, label=name)
    plane.set(title="path of θ", xlabel="θ₁", xlim=(-1.5, 2.5), ylim=(-1.5, 2))
    time.set(title="θ₂", xlabel="update", ylim=(-1.5, 2))
    time.legend()
    return fig


def _objective_contours(ax: Axes, matrix: Tensor, centre: Tensor, lam: float) -> None:
    x = torch.linspace(-1.5, 2.5, 81, dtype=torch.float64)
    y = torch.linspace(-1.5, 2.0, 71, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    offset = grid - centre
    loss = 0.5 * ((offset @ matrix) * offset).sum(-1)
    ax.contour(
        x, y, loss + lam * grid.abs().sum(-1), 12, colors="#A8A8A8", linewidths=0.7
    )


def explore_proximal_path() -> widgets.Widget:
    """Sliders for λ and the step: which update oscillates, and which reaches zero?"""
    return explorer(
        draw_proximal_path,
        lam=slider("λ", 0.0, 2.0, 0.8),
        step=slider("step", 0.05, 1.4, 0.5),
    )


_TRIMMED_TARGET = (2.4, -2.0, 1.7, 1.3, -1.1, 0.9, -0.7, 0.55, 0.4, -0.3, 0.2, 0.1)


def draw_trimmed(h: int, lam: float, tau: float, updates: int) -> Figure:
    r"""Trimmed ℓ1 on :math:`\tfrac12\|\theta-c\|^2`: w, and the thresholded θ.

    Every update is Algorithm 1 with step 1: project :math:`w-\tau|\theta|`, then
    soft-threshold c at :math:`\lambda w`.
    """
    target = torch.tensor(_TRIMMED_TARGET, dtype=torch.float64)
    p = target.numel()
    theta, w = target, torch.full_like(target, (p - h) / p)
    for _ in range(updates):
        w = proximal.project_capped_simplex(w - tau * theta.abs(), p - h)
        theta = proximal.prox_l1(target, lam * w)
    fig, (top, bottom) = plt.subplots(2, 1, figsize=(5.6, 4.4), sharex=True)
    entries = range(1, p + 1)
    top.bar(entries, w.numpy(), color=COLORS["trimmed_l1"])
    top.set(title="w: who pays the penalty", ylim=(0, 1.05))
    bottom.axhline(0, color="#737373", linewidth=0.8)
    bottom.plot(entries, target, "o", mfc="none", color=COLORS["dense"], label="c")
    bottom.plot(entries, theta, "o", color=COLORS["trimmed_l1"], label="θ")
    bottom.set(
        title=f"θ: {int(theta.count_nonzero())} non-zeros, h = {h}",
        xlabel="entry, by decreasing size",
        xticks=entries,
        ylim=(-2.7, 2.7),
    )
    bottom.legend(loc="upper right", ncols=2)
    return fig


def explore_trimmed() -> widgets.Widget:
    """Sliders for h, λ and τ: the penalty settles on the smallest entries."""
    p = len(_TRIMMED_TARGET)
    return explorer(
        draw_trimmed,
        h=widgets.IntSlider(4, 0, p, description="h"),
        lam=slider("λ", 0.0, 3.0, 1.0),
        tau=slider("τ", 0.05, 2.0, 0.3),
        updates=widgets.IntSlider(3, 0, 30, description="updates"),
    )
