"""The explorer of dynamic network surgery draws at all corners, and shows its point."""

from itertools import pairwise

import ipywidgets
import matplotlib.pyplot as plt

from ece661_sparse import viz
from tests.viz.driving import controls, corners, draw


def test_at_every_corner():
    for settings in corners(controls(viz.explore_splicing())):
        draw(viz.draw_splicing, **settings)


def test_moving_a_control_redraws(capsys, caplog):
    explorer = viz.explore_splicing()
    first = capsys.readouterr().out
    for widget in controls(explorer).values():
        assert isinstance(widget, ipywidgets.FloatSlider)
        widget.value = widget.max
    assert capsys.readouterr().out not in ("", first)
    assert not caplog.records


def flips(**settings):
    fig = viz.draw_splicing(**settings)
    mask = fig.axes[1].lines[0].get_ydata()
    title = fig.axes[0].get_title()
    plt.close(fig)
    count = sum(a != b for a, b in pairwise(mask))
    assert title == f"the mask changes {count} times"
    return count


def test_two_thresholds_calm_the_mask():
    one, paper, wide = (flips(band=b, noise=0.1, pull=1.0) for b in (0.0, 0.1, 0.3))
    assert one > paper > wide
    assert flips(band=0.1, noise=0.0, pull=1.0) == 0


def test_a_weight_the_loss_wants_comes_back():
    fig = viz.draw_splicing(band=0.1, noise=0.1, pull=1.5)
    assert fig.axes[1].lines[0].get_ydata()[-1] == 1
    plt.close(fig)
