"""The explorer of continuous sparsification draws at all corners, and is right."""

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest

from ece661_sparse import viz
from tests.viz.driving import controls, corners, draw


def test_explore_hardening_at_every_corner():
    widgets = controls(viz.explore_hardening())
    beta = widgets.pop("beta")
    assert isinstance(beta, ipywidgets.FloatLogSlider)
    for value in (beta.base**beta.min, beta.value, beta.base**beta.max):
        for settings in corners(widgets):
            draw(viz.draw_hardening, beta=value, **settings)


def test_moving_a_control_redraws(capsys, caplog):
    explorer = viz.explore_hardening()
    first = capsys.readouterr().out
    for widget in controls(explorer).values():
        widget.value = getattr(widget, "base", 1) ** widget.max
    assert capsys.readouterr().out not in ("", first)
    assert not caplog.records


@pytest.mark.parametrize(("lam", "best"), [(0.3, "open"), (0.7, "closed")])
def test_the_curve_ends_on_the_two_levels_of_the_original(lam, best):
    fig = viz.draw_hardening(200.0, lam, 1.0)
    curve, closed, opened = (line.get_ydata() for line in fig.axes[1].lines)
    plt.close(fig)
    assert curve[0] == pytest.approx(closed[0]) == pytest.approx(0.5)
    assert curve[-1] == pytest.approx(opened[0]) == pytest.approx(lam)
    assert best in fig.axes[1].get_title()


def test_the_slope_is_shown_relative_to_its_peak():
    for beta in (1.0, 20.0):
        fig = viz.draw_hardening(beta, 0.3, 1.0)
        slope = fig.axes[0].lines[1].get_ydata()
        plt.close(fig)
        assert np.argmax(slope) == len(slope) // 2
        assert max(slope) == pytest.approx(1)
