"""The book's figures: one style, frames that move without a kernel, live explorers.

A figure of the book is plain HTML: an ``<img>`` with its data and its alternative
text inside. Several of them on one slider need neither a kernel nor a script file, so
they move on the web, from a folder, in JupyterLab and in Colab. The explorers at the
end need a kernel; they are ipywidgets (7.x API, which is what Colab has).

Slides: figures of "Improvements from ℓ1" (Table I), "Proximal gradient update" and
"Optimization of Trimmed ℓ1".
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

import ipywidgets as widgets
import matplotlib as mpl
import matplotlib.pyplot as plt
import torch
from cycler import cycler
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ece661_sparse import proximal

__all__ = [
    "COLORS",
    "Frames",
    "explore_prox",
    "explore_proximal_path",
    "explore_trimmed",
    "frame_slider",
    "show",
    "use_style",
]

#: One colour for each method in every chapter: Okabe and Ito's palette, extended so
#: that any two stay apart with red- or green-blind eyes.
COLORS = {
    "sgd": "#000000",
    "dense": "#737373",
    "magnitude": "#645B12",
    "l0": "#D55E00",
    "l1": "#0072B2",
    "lq": "#DD9105",
    "q_shrinkage": "#4AA3D8",
    "scad": "#009E73",
    "mcp": "#CC79A7",
    "firm": "#8A1050",
    "trimmed_l1": "#1F1270",
}

_STYLE: dict[Any, Any] = {
    "figure.figsize": (5.6, 3.5),  # at phone width its 12 pt are still 10 px
    "figure.constrained_layout.use": True,
    "figure.max_open_warning": 0,  # a slider draws dozens of frames
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(
        color=[
            COLORS[k] for k in ("l1", "l0", "scad", "lq", "mcp", "q_shrinkage", "sgd")
        ]
    ),
    "grid.color": "#D9D9D9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 2.2,
    "legend.frameon": False,
    "svg.fonttype": "path",  # a reader's fonts cannot move the labels
    "svg.hashsalt": "ece661",  # ids depend on the drawing alone
}

_PIXELS_PER_INCH = 100
_FORMATS = ("svg", "png")
_SAFE = " /:=;,!*'()@$+-_.~?[]|"  # what a quoted data URI may contain as it is

# Inline, since a <script> or an id would not survive every front end.
_ON_INPUT = (
    "var g=this.closest('.viz-frames'),f=g.querySelectorAll('figure'),k=+this.value;"
    "f.forEach(function(e,i){e.hidden=i!==k});"
    "g.querySelector('output').value=f[k].dataset.label;"
    "this.setAttribute('aria-valuetext',f[k].dataset.label)"
)


def use_style() -> None:
    """Set the book's matplotlib style: phone-legible, colour-blind-safe, reproducible.

    With it, and the same matplotlib, the same figure gives the same bytes.
    """
    mpl.rcParams.update(_STYLE)


def _data_uri(fig: Figure, fmt: str) -> str:
    buffer = io.BytesIO()
    with mpl.rc_context({k: _STYLE[k] for k in ("svg.fonttype", "svg.hashsalt")}):
        fig.savefig(
            buffer,
            format=fmt,
            dpi=2 * _PIXELS_PER_INCH,
            transparent=True,  # the page puts what suits it behind the lines
            metadata={"Date": None} if fmt == "svg" else {"Software": None},
        )
    if fmt == "svg":
        svg = _compact(buffer.getvalue().decode())
        return "data:image/svg+xml," + quote(svg, _SAFE)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _compact(svg: str) -> str:
    """A third smaller: no prologue, comments, names, line breaks or long decimals."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)  # names of parts, never referred to
    svg = re.sub(r">\s+<", "><", re.sub(r"\s+", " ", svg))
    svg = re.sub(
        r' (d|x|y)="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), svg
    )
    return svg.replace("'", "&apos;").replace('"', "'")  # the HTML around it needs "


class Frames:
    """Figures as HTML: one is a figure, several are a slider over them.

    Made by :func:`show` and :func:`frame_slider`, which say what the arguments mean.
    """

    def __init__(
        self,
        figs: Sequence[Figure],
        labels: Sequence[str],
        alts: Sequence[str],
        *,
        name: str,
        start: int = 0,
        fmt: str = "svg",
        caption: str = "",
        photo: bool = False,
    ) -> None:
        if not figs:
            raise ValueError("figs is empty: it needs at least one figure")
        for argument, given in {"labels": labels, "alts": alts}.items():
            if isinstance(given, str) or len(given) != len(figs):
                raise ValueError(
                    f"{argument} must be a list with one text for each of the "
                    f"{len(figs)} figures, got {given!r}"
                )
        if not all(alt.strip() for alt in alts):
            raise ValueError("alt must say what the figure shows, got an empty text")
        if not 0 <= start < len(figs):
            raise ValueError(f"start={start} must be in 0..{len(figs) - 1}")
        if fmt not in _FORMATS:
            raise ValueError(f"fmt={fmt!r} must be one of {', '.join(_FORMATS)}")
        self._labels, self._alts = list(labels), list(alts)
        self._name, self._start, self._caption = name, start, caption
        self._class = "viz-frames viz-photo" if photo else "viz-frames"
        self._images = [
            _image(fig, alt, fmt) for fig, alt in zip(figs, alts, strict=True)
        ]
        for fig in figs:
            plt.close(fig)  # else the notebook would show it a second time

    def _repr_html_(self) -> str:
        caption = f"<figcaption>{escape(self._caption)}</figcaption>" * bool(
            self._caption
        )
        figures = "".join(
            f'<figure data-label="{escape(label)}" style="margin:0"'
            f"{'' if i == self._start else ' hidden'}>{image}{caption}</figure>"
            for i, (label, image) in enumerate(
                zip(self._labels, self._images, strict=True)
            )
        )
        if len(self._images) == 1:
            return f'<div class="{self._class}">{figures}</div>'
        group = f'role="group" aria-label="{escape(self._name)}"'
        return f'<div class="{self._class}" {group}>{figures}{self._control()}</div>'

    def _control(self) -> str:
        name, label = escape(self._name), escape(self._labels[self._start])
        return (
            '<label style="display:flex;gap:.75em;align-items:center;flex-wrap:wrap">'
            f'<span>{name}</span><input type="range" min="0" '
            f'max="{len(self._images) - 1}" value="{self._start}" autocomplete="off" '
            f'aria-label="{name}" aria-valuetext="{label}" '
            'data-lm-suppress-shortcuts="true" style="flex:1;min-width:9em" '
            f'oninput="{escape(_ON_INPUT)}">'
            f'<output aria-live="off">{label}</output></label>'
        )

    def __repr__(self) -> str:
        if len(self._images) == 1:
            return f"Figure: {self._alts[0]}"
        return (
            f"Slider {self._name!r}: {len(self._images)} frames, "
            f"{self._labels[0]} to {self._labels[-1]}"
        )


def _image(fig: Figure, alt: str, fmt: str) -> str:
    width, height = (
        round(_PIXELS_PER_INCH * inches) for inches in fig.get_size_inches()
    )
    return (
        f'<img src="{_data_uri(fig, fmt)}" alt="{escape(alt)}" width="{width}" '
        f'height="{height}" style="max-width:100%;height:auto;background:#fff">'
    )


def show(
    fig: Figure,
    alt: str,
    caption: str = "",
    *,
    fmt: str = "svg",
    photo: bool = False,
) -> Frames:
    """One figure of the book; closes ``fig``.

    Args:
        fig: the matplotlib figure.
        alt: what it shows, for a reader who cannot see it.
        caption: a line below the figure.
        fmt: ``"svg"``, or ``"png"`` for dense plots.
        photo: True for images (digits, feature maps), whose greys keep their meaning:
            in the dark the page then leaves the figure as it is.

    Raises:
        ValueError: if ``alt`` is empty or ``fmt`` unknown.
    """
    return Frames([fig], [""], [alt], name="", fmt=fmt, caption=caption, photo=photo)


def frame_slider(
    figs: Sequence[Figure],
    labels: Sequence[str],
    *,
    name: str,
    alts: Sequence[str],
    start: int = 0,
    fmt: str = "svg",
    photo: bool = False,
) -> Frames:
    """A slider over figures that moves without a kernel; closes ``figs``.

    Fix the axes' limits, else the frames jump.

    Args:
        figs: the frames, all of one size.
        labels: the slider's value at each frame, such as ``"λ = 0.5"``.
        name: what the slider changes.
        alts: for each frame what it shows, for a reader who cannot see it.
        start: index of the first frame shown.
        fmt: ``"svg"``, or ``"png"`` for dense plots.
        photo: see :func:`show`.

    Raises:
        ValueError: if a list has the wrong length, a text is empty, or ``start`` or
            ``fmt`` is out of range.
    """
    return Frames(figs, labels, alts, name=name, start=start, fmt=fmt, photo=photo)


# Live explorers: a function that draws, and the sliders that drive it. The sliders'
# bounds are the parameters' valid ranges.

_OPERATORS: dict[str, tuple[str, Callable[[float, float], proximal.Penalty]]] = {
    "ℓ0": ("l0", lambda lam, _: proximal.L0(lam)),
    "ℓ1": ("l1", lambda lam, _: proximal.L1(lam)),
    "ℓq": ("lq", proximal.Lq),
    "q-shrinkage": ("q_shrinkage", proximal.QShrinkage),
    "SCAD": ("scad", proximal.SCAD),
    "MCP": ("mcp", proximal.MCP),
    "firm": ("firm", lambda lam, ratio: proximal.Firm(lam, mu=ratio * lam)),
}

# name of the shape parameter, smallest, largest, first value; steps up to 1
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
    for ax, of, of_soft in (
        (left, penalty.value(x), soft.value(x)),
        (right, penalty.prox(x, step), soft.prox(x, step)),
    ):
        ax.plot(x, of_soft, "--", color=COLORS["l1"], label="ℓ1")
        ax.plot(x, of, color=COLORS[key], label=operator)
    right.plot(x, x, ":", color="#737373", linewidth=1)
    left.set(title="penalty P(x)", xlabel="x", ylim=(-0.1, 3 * lam + 0.1))
    right.set(title="operator, prox of step · P", xlabel="t", ylim=(-3, 3))
    left.legend()
    return fig


def explore_prox() -> widgets.Widget:
    """Every row of Table I under your fingers: penalty, operator, soft thresholding."""
    menu = widgets.Dropdown(
        options=list(_OPERATORS), value="SCAD", description="operator"
    )
    shape = widgets.FloatSlider()

    def fit_shape(_: object = None) -> None:
        name, low, high, first = _SHAPES.get(menu.value, ("none", 0.0, 1.0, 0.5))
        with shape.hold_trait_notifications():  # min above max for a moment is fine
            shape.min, shape.max, shape.value, shape.step = low, high, first, 0.05
        shape.description, shape.disabled = name, menu.value not in _SHAPES

    fit_shape()
    menu.observe(fit_shape, names="value")  # before `interactive` starts to listen
    return _explorer(
        draw_prox,
        operator=menu,
        lam=_slider("λ", 0.1, 2.0, 0.8),
        shape=shape,
        step=_slider("step", 0.1, 1.0, 1.0),
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
    """λ and the step under your fingers: who oscillates, and who reaches zero."""
    return _explorer(
        draw_proximal_path,
        lam=_slider("λ", 0.0, 2.0, 0.8),
        step=_slider("step", 0.05, 1.4, 0.5),
    )


_TRIMMED_TARGET = (2.4, -2.0, 1.7, 1.3, -1.1, 0.9, -0.7, 0.55, 0.4, -0.3, 0.2, 0.1)


def draw_trimmed(h: int, lam: float, tau: float, updates: int) -> Figure:
    r"""Trimmed ℓ1 on :math:`\tfrac12\|\theta-c\|^2`: the w's and the thresholded θ.

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
    """h, λ and τ under your fingers: the w's settle on the smallest entries."""
    p = len(_TRIMMED_TARGET)
    return _explorer(
        draw_trimmed,
        h=widgets.IntSlider(4, 0, p, description="h"),
        lam=_slider("λ", 0.0, 3.0, 1.0),
        tau=_slider("τ", 0.05, 2.0, 0.3),
        updates=widgets.IntSlider(3, 0, 30, description="updates"),
    )


def _slider(name: str, low: float, high: float, value: float) -> widgets.FloatSlider:
    return widgets.FloatSlider(value, min=low, max=high, step=0.05, description=name)


def _explorer(
    draw: Callable[..., Figure], **controls: widgets.Widget
) -> widgets.Widget:
    def redraw(**values: object) -> None:
        settings = ", ".join(f"{name} = {value}" for name, value in values.items())
        display(show(draw(**values), alt=f"{draw.__name__} at {settings}"))

    return widgets.interactive(redraw, **controls)
