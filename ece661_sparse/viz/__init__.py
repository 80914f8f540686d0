"""The book's figures: ``show`` and ``frame_slider``, and each part's live explorers."""

from ece661_sparse.viz.dynamic import (
    draw_batch_shaping,
    draw_early_exit,
    draw_mixed_kernel,
    explore_batch_shaping,
    explore_early_exit,
    explore_mixed_kernel,
)
from ece661_sparse.viz.figures import (
    COLORS,
    PALETTES,
    Frames,
    frame_slider,
    show,
    use_style,
)
from ece661_sparse.viz.gates import (
    draw_hard_concrete,
    draw_hardening,
    explore_hard_concrete,
    explore_hardening,
)
from ece661_sparse.viz.proximal import (
    draw_prox,
    draw_proximal_path,
    draw_trimmed,
    explore_prox,
    explore_proximal_path,
    explore_trimmed,
)
from ece661_sparse.viz.saliency import (
    draw_passive,
    draw_splicing,
    draw_taylor,
    explore_passive,
    explore_splicing,
    explore_taylor,
)
from ece661_sparse.viz.synthesis import (
    draw_dead_units,
    draw_seeds,
    explore_dead_units,
    explore_seeds,
)

__all__ = [
    "COLORS",
    "PALETTES",
    "Frames",
    "draw_batch_shaping",
    "draw_dead_units",
    "draw_early_exit",
    "draw_hard_concrete",
    "draw_hardening",
    "draw_mixed_kernel",
    "draw_passive",
    "draw_prox",
    "draw_proximal_path",
    "draw_seeds",
    "draw_splicing",
    "draw_taylor",
    "draw_trimmed",
    "explore_batch_shaping",
    "explore_dead_units",
    "explore_early_exit",
    "explore_hard_concrete",
    "explore_hardening",
    "explore_mixed_kernel",
    "explore_passive",
    "explore_prox",
    "explore_proximal_path",
    "explore_seeds",
    "explore_splicing",
    "explore_taylor",
    "explore_trimmed",
    "frame_slider",
    "show",
    "use_style",
]
