"""The explorer of the hard concrete draws at all corners, and its parts agree."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from ece661_sparse import viz
from tests.viz.driving import controls, corners, draw


def test_explore_hard_concrete_at_every_corner():
    for settings in corners(controls(viz.explore_hard_concrete())):
        draw(viz.draw_hard_concrete, **settings)


def test_moving_a_control_redraws(capsys, caplog):
    explorer = viz.explore_hard_concrete()
    first = capsys.readouterr().out
    for widget in controls(explorer).values():
        widget.value = widget.max
    assert capsys.readouterr().out not in ("", first)
    assert not caplog.records


@pytest.mark.parametrize("log_alpha", [-2.0, 0.0, 1.0])
def test_stems_and_curve_of_z_add_up_to_one(log_alpha):
    fig = viz.draw_hard_concrete(log_alpha, 0.65)
    curve, *stems = fig.axes[2].lines
    stretched = fig.axes[1].lines[0]
    labels = [float(text.get_text()) for text in fig.axes[2].texts]
    plt.close(fig)
    x, density = curve.get_data()
    area = np.trapezoid(density, x)
    masses = [stem.get_ydata()[1] / 3 for stem in stems]
    assert area + sum(masses) == pytest.approx(1, abs=0.02)
    assert labels == pytest.approx(masses, abs=0.006)
    # what lies beyond 0 and 1 is what the stems stand for, up to the ends not drawn
    x, density = stretched.get_data()
    noise = 0.65 * np.log(0.002 / 0.998)
    ends = 1 / (1 + np.exp(-noise + log_alpha)), 1 / (1 + np.exp(-noise - log_alpha))
    for part, mass, end in zip((x <= 0, x >= 1), masses, ends, strict=True):
        drawn = np.trapezoid(density[part], x[part])
        assert drawn + end == pytest.approx(mass, abs=0.02)
