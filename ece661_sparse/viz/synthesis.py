"""Explorers of Part V: who is better, and which zeros save time."""

from __future__ import annotations

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ece661_sparse.viz.explorers import explorer, slider
from ece661_sparse.viz.figures import COLORS

UNITS = 200


def draw_seeds(difference: float, spread: float, seeds: int) -> Figure:
    r"""How often does the worse of two methods look better?

    Their accuracies are normal with means ``difference`` apart and the same spread
    :math:`s`. The means of n seeds then differ by :math:`d \pm s\sqrt{2/n}`, and the
    sign is wrong with probability :math:`\Phi(-d / (s\sqrt{2/n}))`.

    Args:
        difference: d, in points of accuracy.
        spread: s, between the seeds of one method, in points.
        seeds: n, of each method.
    """
    error = spread * (2 / seeds) ** 0.5
    measured = torch.distributions.Normal(difference, error)
    x = torch.linspace(-1, 1.5, 501, dtype=torch.float64)
    density = measured.log_prob(x).exp()
    wrong = measured.cdf(torch.tensor(0.0)).item()
    fig, ax = plt.subplots()
    ax.fill_between(x, density, color="#BBBBBB", linewidth=0)
    ax.fill_between(x[x <= 0], density[x <= 0], color=COLORS["l0"], linewidth=0)
    ax.axvline(difference, color="black", linewidth=1)
    ax.set(
        xlim=(-1, 1.5),
        ylim=(0, None),
        yticks=[],
        xlabel="measured difference of the means (points)",
        title=f"the worse one looks better in {wrong:.0%} of all papers",
    )
    ax.title.set_fontsize(12)
    return fig


def explore_seeds() -> widgets.Widget:
    """Sliders for difference, spread and seeds: can two methods be told apart?"""
    return explorer(
        draw_seeds,
        difference=slider("difference", 0.0, 1.0, 0.1),
        spread=slider("spread", 0.05, 0.5, 0.1),
        seeds=widgets.IntSlider(1, min=1, max=30, description="seeds"),
    )


def draw_dead_units(log_density: float, inputs: int, unevenness: float) -> Figure:
    r"""How many of 200 units lose all their weights at this density?

    The weights that stay are drawn at random, for each unit at a rate of its own,
    :math:`d\, e^{s g} / \text{mean}` with a normal :math:`g`. At the same rate for
    all a unit dies with probability :math:`(1 - d)^n`.

    Args:
        log_density: :math:`\log_{10} d`, the share of weights that stay.
        inputs: n, the weights of each unit.
        unevenness: s; 0 treats all units alike.
    """
    generator = torch.Generator().manual_seed(0)
    skill = torch.randn(UNITS, 1, generator=generator, dtype=torch.float64)
    noise = torch.rand(UNITS, inputs, generator=generator, dtype=torch.float64)
    weight = (unevenness * skill).softmax(0) * UNITS

    def rates(log_density: float) -> Tensor:
        """The part of each unit's weights that stays."""
        return (weight * 10**log_density).clamp(max=1)

    def dead(log_density: float) -> float:
        """Expected percentage of units without any weight."""
        return 100 * ((1 - rates(log_density)) ** inputs).mean().item()

    kept = noise < rates(log_density)
    kept = kept[kept.sum(1).argsort(descending=True)]
    gone = int((~kept.any(1)).sum())
    picture = torch.ones(UNITS, inputs, 3)
    picture[~kept.any(1)] = torch.tensor([0.8, 0.89, 0.94])
    picture[kept] = 0.25

    fig, (left, right) = plt.subplots(1, 2, figsize=(7.5, 3.6))
    left.imshow(picture.numpy(), aspect="auto", interpolation="nearest")
    left.grid(False)
    left.set(
        xlabel="input",
        ylabel="unit, fullest first",
        title=f"{kept.double().mean():.1%} left, {gone} of {UNITS} units gone",
    )
    left.title.set_fontsize(11)
    places = torch.linspace(-3, 0, 61, dtype=torch.float64)
    right.plot(10**places, [dead(p) for p in places.tolist()], color=COLORS["compact"])
    right.plot(10**log_density, 100 * gone / UNITS, "o", color="black")
    right.set(
        xscale="log",
        ylim=(-3, 103),
        xlabel="share of weights left",
        ylabel="units gone (%)",
    )
    return fig


def explore_dead_units() -> widgets.Widget:
    """Sliders for density, inputs and unevenness: when do zeros empty whole units?"""
    return explorer(
        draw_dead_units,
        log_density=slider("log₁₀ left", -3.0, 0.0, -2.0),
        inputs=widgets.IntSlider(300, min=5, max=800, step=5, description="inputs"),
        unevenness=slider("unevenness", 0.0, 3.0, 0.0),
    )
