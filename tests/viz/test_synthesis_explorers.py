"""The explorer of dead units draws at all corners, and shows its point."""

import ipywidgets
import matplotlib.pyplot as plt
import pytest

from ece661_sparse import viz
from tests.viz.driving import controls, corners, draw


def test_at_every_corner():
    for settings in corners(controls(viz.explore_dead_units())):
        draw(viz.draw_dead_units, **settings)


def test_moving_a_control_redraws(capsys, caplog):
    explorer = viz.explore_dead_units()
    first = capsys.readouterr().out
    for widget in controls(explorer).values():
        assert isinstance(widget, ipywidgets.FloatSlider | ipywidgets.IntSlider)
        widget.value = widget.max
    assert capsys.readouterr().out not in ("", first)
    assert not caplog.records


def gone(**settings):
    """Percent of the units, and the curve at the same density."""
    fig = viz.draw_dead_units(**settings)
    left, right = fig.axes
    curve, point = right.lines
    title = left.get_title()
    (density,), (percent,) = point.get_data()
    nearest = abs(curve.get_xdata() - density).argmin()
    expected = curve.get_ydata()[int(nearest)]
    plt.close(fig)
    assert title.endswith(f"{round(2 * percent)} of 200 units gone")
    return percent, expected


def test_few_units_die_of_scattered_zeros():
    # one weight in a hundred left, and (0.99)^300 is 5 %
    percent, expected = gone(log_density=-2.0, inputs=300, unevenness=0.0)
    assert expected == pytest.approx(100 * 0.99**300)
    assert percent == pytest.approx(expected, abs=4)
    assert gone(log_density=0.0, inputs=300, unevenness=0.0) == (0, 0)


def test_uneven_and_narrow_layers_lose_more():
    even, _ = gone(log_density=-2.0, inputs=300, unevenness=0.0)
    uneven, _ = gone(log_density=-2.0, inputs=300, unevenness=2.0)
    narrow, _ = gone(log_density=-2.0, inputs=25, unevenness=0.0)
    assert uneven > 3 * even
    assert narrow > 3 * even
