"""Draw the mark of the book: a weight matrix with few entries left.

``python book/_tools/logo.py`` writes, into ``book/_static``,

- ``logo.svg``, the mark and icon, made of the same squares in light and dark;
- ``preview.png``, what a link to the book shows: the mark beside its title.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

STATIC = Path(__file__).resolve().parents[1] / "_static"
sys.path.insert(0, str(STATIC.parents[1]))

from ece661_sparse.viz import COLORS  # noqa: E402

TITLE = "Sparse networks,\nby optimization"
# Four by four reads at 16 pixels: what is left, and what became zero.
KEPT = {(0, 0): "l1", (1, 2): "lq", (2, 1): "scad", (3, 3): "l1"}
ZERO = "#9AA3AD"  # seen on white and on black
CELL, GAP = 13, 3
SIDE = 4 * CELL + 5 * GAP


def squares() -> list[tuple[int, int, str, float]]:
    """x, y, colour and opacity of each entry."""
    return [
        (
            GAP + column * (CELL + GAP),
            GAP + row * (CELL + GAP),
            COLORS[KEPT[row, column]] if (row, column) in KEPT else ZERO,
            1.0 if (row, column) in KEPT else 0.35,
        )
        for row in range(4)
        for column in range(4)
    ]


def logo() -> bytes:
    """The mark as SVG."""
    shapes = "".join(
        f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" rx="3" '
        f'fill="{colour}" fill-opacity="{opacity:g}"/>\n'
        for x, y, colour, opacity in squares()
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}" '
        f'role="img" aria-label="A weight matrix with four entries left">\n'
        f"{shapes}</svg>\n"
    ).encode()


def preview() -> bytes:
    """The mark and the title as PNG, of the size that social networks ask for."""
    with mpl.rc_context({"font.family": "DejaVu Sans"}):
        fig = plt.figure(figsize=(12, 6.3), dpi=100, facecolor="white")
        ax = fig.add_axes((0.06, 0.14, 0.378, 0.72))
        ax.set(xlim=(0, SIDE), ylim=(SIDE, 0), aspect="equal")
        ax.axis("off")
        for x, y, colour, opacity in squares():
            style = "round,pad=0,rounding_size=2.5"
            look = {"facecolor": colour, "alpha": opacity, "linewidth": 0}
            ax.add_patch(
                FancyBboxPatch(
                    (x, y), CELL, CELL, boxstyle=style, mutation_aspect=1, **look
                )
            )
        fig.text(0.47, 0.53, TITLE, fontsize=42, weight="bold", va="center")
        fig.text(
            0.47, 0.3, "A book that runs, in PyTorch", fontsize=24, color="#555555"
        )
        file = io.BytesIO()
        fig.savefig(file, metadata={"Software": None})
        plt.close(fig)
    return file.getvalue()


FILES = {"logo.svg": logo, "preview.png": preview}


if __name__ == "__main__":
    for name, draw in FILES.items():
        (STATIC / name).write_bytes(draw())
