"""The explorer of dynamic convolution draws at all corners, and what it should."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from ece661_sparse import viz
from tests.viz.driving import controls, corners, draw


def test_explore_mixed_kernel_at_every_corner():
    for settings in corners(controls(viz.explore_mixed_kernel())):
        draw(viz.draw_mixed_kernel, **settings)


def shares(**settings):
    fig = viz.draw_mixed_kernel(**settings)
    heights = [bar.get_height() for bar in fig.axes[1].patches]
    kernel = np.asarray(fig.axes[2].images[0].get_array(), dtype=float)
    plt.close(fig)
    return heights, kernel


@pytest.mark.parametrize(("angle", "chosen"), [(0, 0), (50, 1), (85, 2), (140, 3)])
def test_a_cold_attention_chooses_the_kernel_along_the_stripes(angle, chosen):
    heights, _ = shares(angle=angle, contrast=4.0, temperature=0.1)
    assert int(np.argmax(heights)) == chosen
    assert heights[chosen] > 0.99


def test_a_hot_attention_gives_every_image_the_same_round_kernel():
    heights, one = shares(angle=0, contrast=1.0, temperature=30.0)
    assert np.allclose(heights, 0.25, atol=0.02)
    _, other = shares(angle=45, contrast=1.0, temperature=30.0)
    assert np.allclose(one, other, atol=0.05)
    assert np.allclose(one, one.T, atol=0.05)


def test_a_horizontal_line_is_bright_along_its_row():
    _, kernel = shares(angle=0, contrast=8.0, temperature=0.1)
    middle = len(kernel) // 2
    assert kernel[middle].min() > 0.5
    assert kernel[0].max() < 0
    _, kernel = shares(angle=45, contrast=8.0, temperature=0.1)
    assert kernel[0, -1] > 0.5  # rows count downwards
    assert kernel[0, 0] < 0


def test_moving_a_control_redraws(capsys, caplog):
    explorer = viz.explore_mixed_kernel()
    first = capsys.readouterr().out
    for widget in controls(explorer).values():
        widget.value = widget.max
    assert capsys.readouterr().out not in ("", first)
    assert not caplog.records
