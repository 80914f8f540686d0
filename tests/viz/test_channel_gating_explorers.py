"""The explorer of channel gating draws at all corners of what its controls allow."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import stats

from ece661_sparse import viz
from tests.viz.driving import controls, corners, draw


def test_explore_batch_shaping_at_every_corner():
    for settings in corners(controls(viz.explore_batch_shaping())):
        draw(viz.draw_batch_shaping, **settings)


def test_moving_a_control_redraws(capsys, caplog):
    explorer = viz.explore_batch_shaping()
    first = capsys.readouterr().out
    for widget in controls(explorer).values():
        widget.value = widget.max
    assert capsys.readouterr().out not in ("", first)
    assert not caplog.records  # ipywidgets logs what a callback raises


def test_the_density_drawn_is_scipys_and_the_loss_is_in_the_title():
    fig = viz.draw_batch_shaping(2.0, 0.5, 0.6, 0.4)
    (density,) = fig.axes[0].lines
    x, y = density.get_data()
    np.testing.assert_allclose(y, stats.beta(0.6, 0.4).pdf(x))
    target, shaped = (drawn.get_ydata() for drawn in fig.axes[1].lines)
    loss = float(fig.axes[1].get_title().split()[-1])
    assert loss == pytest.approx(((target - shaped) ** 2).mean(), abs=5e-4)
    plt.close(fig)
