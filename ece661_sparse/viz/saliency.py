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
    """Two thresholds under your fingers: how far apart until a weight settles?"""
    return explorer(
        draw_splicing,
        band=slider("band", 0.0, 0.5, 0.1),
        noise=slider("noise", 0.0, 0.3, 0.1),
        pull=slider("pull", 0.5, 1.5, 1.0),
    )
