"""The explorers of Part V draw at all corners, and show their point."""

from statistics import NormalDist

import ipywidgets
import matplotlib.pyplot as plt
import pytest

from ece661_sparse import viz
from tests.viz.driving import controls, corners, draw

EXPLORERS = {
    viz.explore_dead_units: viz.draw_dead_units,
    viz.explore_seeds: viz.draw_seeds,
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


def wrong(**settings):
    """Percent of the papers in which the worse method looks better."""
    fig = viz.draw_seeds(**settings)
    title = fig.axes[0].get_title()
    plt.close(fig)
    return int(title.split(" in ")[1].split("%")[0])


def test_seeds_tell_methods_apart():
    assert wrong(difference=0.0, spread=0.1, seeds=3) == 50
    by_chance = 100 * NormalDist(0.1, 0.1 * 2**0.5).cdf(0)  # one seed each
    assert wrong(difference=0.1, spread=0.1, seeds=1) == round(by_chance)
    assert wrong(difference=0.1, spread=0.1, seeds=30) == 0
