"""The explorers of Part I draw at all corners of what their controls allow."""

import ipywidgets
import matplotlib.pyplot as plt
import pytest

from ece661_sparse import viz
from ece661_sparse.viz import proximal
from tests.viz.driving import controls, corners, draw

EXPLORERS = {
    viz.explore_prox: viz.draw_prox,
    viz.explore_proximal_path: viz.draw_proximal_path,
    viz.explore_trimmed: viz.draw_trimmed,
}


@pytest.mark.parametrize("operator", proximal._OPERATORS)
def test_explore_prox_at_every_corner(operator):
    widgets = controls(viz.explore_prox())
    widgets["operator"].value = operator
    for settings in corners(widgets):
        draw(viz.draw_prox, operator=operator, **settings)


@pytest.mark.parametrize("explore", [viz.explore_proximal_path, viz.explore_trimmed])
def test_explorers_at_every_corner(explore):
    for settings in corners(controls(explore())):
        draw(EXPLORERS[explore], **settings)


def test_the_menu_gives_each_operator_its_own_parameter():
    widgets = controls(viz.explore_prox())
    for operator in [*proximal._OPERATORS, *reversed(proximal._OPERATORS)]:
        widgets["operator"].value = operator
        shape = widgets["shape"]
        assert shape.disabled == (operator in ("ℓ0", "ℓ1"))
        assert shape.min <= shape.value <= shape.max
        name = proximal._SHAPES[operator][0] if operator in proximal._SHAPES else "none"
        assert shape.description == name


@pytest.mark.parametrize("explore", EXPLORERS)
def test_moving_a_control_redraws(explore, capsys, caplog):
    explorer = explore()
    first = capsys.readouterr().out
    for widget in controls(explorer).values():
        if isinstance(widget, ipywidgets.FloatSlider):
            widget.value = widget.max
    assert capsys.readouterr().out not in ("", first)
    assert not caplog.records  # ipywidgets logs what a callback raises


def test_proximal_path_shows_who_reaches_zero():
    fig = viz.draw_proximal_path(0.8, 0.5)
    ends = {drawn.get_label(): drawn.get_ydata()[-1] for drawn in fig.axes[1].lines}
    plt.close(fig)
    assert ends["proximal"] == 0
    assert ends["subgradient"] != 0
