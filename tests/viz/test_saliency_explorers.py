"""The explorers of saliency and GSM draw at all corners, and show what is true."""

import ipywidgets
import matplotlib.pyplot as plt
import pytest

from ece661_sparse import viz
from tests.viz.driving import controls, corners, draw

EXPLORERS = {
    viz.explore_taylor: viz.draw_taylor,
    viz.explore_passive: viz.draw_passive,
}


@pytest.mark.parametrize("explore", EXPLORERS)
def test_at_every_corner(explore):
    for settings in corners(controls(explore())):
        draw(EXPLORERS[explore], **settings)


@pytest.mark.parametrize("explore", EXPLORERS)
def test_moving_a_control_redraws(explore, capsys, caplog):
    explorer = explore()
    first = capsys.readouterr().out
    for widget in controls(explorer).values():
        assert isinstance(widget, ipywidgets.FloatSlider)
        widget.value = widget.min
    assert capsys.readouterr().out not in ("", first)
    assert not caplog.records


@pytest.mark.parametrize("weight", [-1.0, 0.4])
def test_without_curvature_the_tangent_is_exact(weight):
    titles = []
    for curvature in (0.0, 1.0):
        fig = viz.draw_taylor(weight, 0.5, curvature)
        titles.append(fig.axes[0].get_title())
        plt.close(fig)
    predicted = f"{-0.5 * weight:+.2f}"
    assert titles[0] == f"predicted {predicted}, exact {predicted}"
    assert titles[1] == (
        f"predicted {predicted}, exact {-0.5 * weight + weight**2 / 2:+.2f}"
    )


def test_a_passive_weight_of_the_published_settings():
    fig = viz.draw_passive(0.99, -3.30103, -2.0)
    path = fig.axes[0].lines[0].get_ydata()
    title = fig.axes[0].get_title()
    plt.close(fig)
    # 17,561 iterations by its eigenvalue, 74.7 epochs; the simple law is 5 % slower
    assert path[74] > 1e-4 > path[76]
    assert title == "to 1e-4 in 78 epochs"
