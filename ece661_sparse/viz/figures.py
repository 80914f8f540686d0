"""The book's figures: one style, and frames that move without a kernel.

A figure of the book is plain HTML: an ``<img>`` with its data and its alternative
text inside. Several of them on one slider need neither a kernel nor a script file, so
they move on the web, from a folder, in JupyterLab and in Colab.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

import matplotlib as mpl
import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib.figure import Figure

PALETTES = {
    "every part": {"sgd": "#000000", "dense": "#737373", "magnitude": "#645B12"},
    "proximal": {
        "l0": "#D55E00",
        "l1": "#0072B2",
        "lq": "#DD9105",
        "q_shrinkage": "#4AA3D8",
        "scad": "#009E73",
        "mcp": "#CC79A7",
        "firm": "#8A1050",
        "trimmed_l1": "#1F1270",
    },
    "saliency": {
        "gsm": "#0072B2",
        "taylor": "#D55E00",
        "han": "#DD9105",
        "lobs": "#4AA3D8",
        "admm": "#009E73",
        "dns": "#CC79A7",
        "srinivas": "#8A1050",
    },
    "gates": {
        "bernoulli": "#D55E00",
        "straight_through": "#DD9105",
        "hard_concrete": "#009E73",
        "continuous": "#0072B2",
    },
    "dynamic": {
        "entropy": "#0072B2",
        "confidence": "#DD9105",
        "patience": "#009E73",
        "budget": "#CC79A7",
        "channel_gating": "#D55E00",
        "dynamic_conv": "#4AA3D8",
        "cold": "#1F1270",
        "wrong": "#8A1050",
    },
    "synthesis": {"compact": "#0072B2", "csr": "#D55E00"},
}
"""One colour for each method, by part of the lecture.

Okabe and Ito's palette, extended so that readers who are red- or green-blind can tell
any two colours of a part apart.
"""
COLORS = {name: colour for part in PALETTES.values() for name, colour in part.items()}
"""The colour of every method, in all figures."""

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
            transparent=True,  # the page chooses what is behind the lines
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
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)  # names that nothing refers to
    svg = re.sub(r">\s+<", "><", re.sub(r"\s+", " ", svg))
    svg = re.sub(
        r' (d|x|y)="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), svg
    )
    return svg.replace("'", "&apos;").replace('"', "'")  # it goes between two "


class Frames:
    """Figures as HTML: one by itself, or several with a slider over them.

    :func:`show` and :func:`frame_slider` make it, and say what the arguments mean.
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
    caption: str = "",
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
        caption: a line below all frames, such as where their data comes from.
        fmt: ``"svg"``, or ``"png"`` for dense plots.
        photo: see :func:`show`.

    Raises:
        ValueError: if a list has the wrong length, a text is empty, or ``start`` or
            ``fmt`` is out of range.
    """
    return Frames(
        figs,
        labels,
        alts,
        name=name,
        start=start,
        fmt=fmt,
        caption=caption,
        photo=photo,
    )
