"""The book's figures: ``show`` and ``frame_slider``, and each part's live explorers."""

from ece661_sparse.viz.dynamic import (
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
    explore_prox,
    explore_proximal_path,
    explore_trimmed,
)
from ece661_sparse.viz.saliency import explore_passive, explore_splicing, explore_taylor
from ece661_sparse.viz.synthesis import explore_dead_units, explore_seeds

__all__ = [
    "COLORS",
    "PALETTES",
    "Frames",
    "draw_hard_concrete",
    "draw_hardening",
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
