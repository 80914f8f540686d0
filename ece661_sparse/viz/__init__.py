"""The book's figures: ``show`` and ``frame_slider``, and each part's live explorers."""

from ece661_sparse.viz.figures import (
    COLORS,
    PALETTES,
    Frames,
    frame_slider,
    show,
    use_style,
)
from ece661_sparse.viz.gates import draw_hardening, explore_hardening
from ece661_sparse.viz.proximal import (
    draw_prox,
    draw_proximal_path,
    draw_trimmed,
    explore_prox,
    explore_proximal_path,
    explore_trimmed,
)
from ece661_sparse.viz.saliency import draw_splicing, explore_splicing

__all__ = [
    "COLORS",
    "PALETTES",
    "Frames",
    "draw_hardening",
    "draw_prox",
    "draw_proximal_path",
    "draw_splicing",
    "draw_trimmed",
    "explore_hardening",
    "explore_prox",
    "explore_proximal_path",
    "explore_splicing",
    "explore_trimmed",
    "frame_slider",
    "show",
    "use_style",
]
