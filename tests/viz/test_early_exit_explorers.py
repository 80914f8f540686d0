"""The explorer of early exit draws at all corners, and what it should."""

import matplotlib.pyplot as plt
import pytest

from ece661_sparse import viz
from tests.viz.driving import controls, corners, draw


def test_explore_early_exit_at_every_corner():
    for settings in corners(controls(viz.explore_early_exit())):
        draw(viz.draw_early_exit, **settings)


def point(**settings):
    fig = viz.draw_early_exit(**settings)
    cost, accuracy = (float(v[0]) for v in fig.axes[1].lines[-1].get_data())
    leaving = fig.axes[0].get_title()
    plt.close(fig)
    return cost, accuracy, leaving


def test_the_ends_of_the_threshold_are_nobody_and_everybody():
    cost, accuracy, leaving = point(threshold=0.0, skill=4.0, cost=0.2)
    assert (cost, leaving) == (1.0, "0% leave")
    cheap, early, leaving = point(threshold=2.35, skill=4.0, cost=0.2)
    assert (cheap, leaving) == (pytest.approx(0.2), "100% leave")
    assert early < accuracy - 5


def test_some_threshold_is_cheap_and_as_accurate():
    cost, accuracy, _ = point(threshold=0.2, skill=4.0, cost=0.2)
    _, full, _ = point(threshold=0.0, skill=4.0, cost=0.2)
    assert cost < 0.8
    assert accuracy > full - 0.5


def test_moving_a_control_redraws(capsys, caplog):
    explorer = viz.explore_early_exit()
    first = capsys.readouterr().out
    for widget in controls(explorer).values():
        widget.value = widget.max
    assert capsys.readouterr().out not in ("", first)
    assert not caplog.records
