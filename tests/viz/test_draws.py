"""What the explorers' pictures show is true."""

from itertools import pairwise
from statistics import NormalDist

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import stats

from ece661_sparse.viz.dynamic import (
    draw_batch_shaping,
    draw_early_exit,
    draw_mixed_kernel,
)
from ece661_sparse.viz.gates import draw_hard_concrete, draw_hardening
from ece661_sparse.viz.proximal import draw_proximal_path
from ece661_sparse.viz.saliency import draw_passive, draw_splicing, draw_taylor
from ece661_sparse.viz.synthesis import draw_dead_units, draw_seeds


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_proximal_path_shows_who_reaches_zero():
    time = draw_proximal_path(0.8, 0.5).axes[1]
    ends = {line.get_label(): line.get_ydata()[-1] for line in time.lines}
    assert ends["proximal"] == 0
    assert ends["subgradient"] != 0


# --- saliency -----------------------------------------------------------------------


def flips(**settings):
    top, bottom = draw_splicing(**settings).axes
    count = sum(a != b for a, b in pairwise(bottom.lines[0].get_ydata()))
    assert top.get_title() == f"the mask changes {count} times"
    return count


def test_two_thresholds_calm_the_mask():
    one, paper, wide = (flips(band=b, noise=0.1, pull=1.0) for b in (0.0, 0.1, 0.3))
    assert one > paper > wide
    assert flips(band=0.1, noise=0.0, pull=1.0) == 0


def test_a_weight_the_loss_wants_comes_back():
    mask = draw_splicing(band=0.1, noise=0.1, pull=1.5).axes[1].lines[0]
    assert mask.get_ydata()[-1] == 1


@pytest.mark.parametrize("weight", [-1.0, 0.4])
@pytest.mark.parametrize("curvature", [0.0, 1.0])
def test_without_curvature_the_tangent_is_exact(weight, curvature):
    predicted, exact = -0.5 * weight, -0.5 * weight + curvature * weight**2 / 2
    title = draw_taylor(weight, 0.5, curvature).axes[0].get_title()
    assert title == f"predicted {predicted:+.2f}, exact {exact:+.2f}"


def test_a_passive_weight_of_the_published_settings():
    (ax,) = draw_passive(0.99, -3.30103, -2.0).axes
    # 17,561 iterations by its eigenvalue, 74.7 epochs; the simple law is 5 % slower
    path = ax.lines[0].get_ydata()
    assert path[74] > 1e-4 > path[76]
    assert ax.get_title() == "to 1e-4 in 78 epochs"


# --- gates --------------------------------------------------------------------------


@pytest.mark.parametrize("log_alpha", [-2.0, 0.0, 1.0])
def test_stems_and_curve_of_z_add_up_to_one(log_alpha):
    _, stretched, gate = draw_hard_concrete(log_alpha, 0.65).axes
    curve, *stems = gate.lines
    x, density = curve.get_data()
    masses = [stem.get_ydata()[1] / 3 for stem in stems]
    assert np.trapezoid(density, x) + sum(masses) == pytest.approx(1, abs=0.02)
    labels = [float(text.get_text()) for text in gate.texts]
    assert labels == pytest.approx(masses, abs=0.006)
    # what lies beyond 0 and 1 is what the stems stand for, up to the ends not drawn
    x, density = stretched.lines[0].get_data()
    noise = 0.65 * np.log(0.002 / 0.998)
    ends = 1 / (1 + np.exp(-noise + log_alpha)), 1 / (1 + np.exp(-noise - log_alpha))
    for part, mass, end in zip((x <= 0, x >= 1), masses, ends, strict=True):
        drawn = np.trapezoid(density[part], x[part])
        assert drawn + end == pytest.approx(mass, abs=0.02)


@pytest.mark.parametrize(("lam", "best"), [(0.3, "open"), (0.7, "closed")])
def test_the_curve_ends_on_the_two_levels_of_the_original(lam, best):
    loss = draw_hardening(200.0, lam, 1.0).axes[1]
    curve, closed, opened = (line.get_ydata() for line in loss.lines)
    assert curve[0] == pytest.approx(closed[0]) == pytest.approx(0.5)
    assert curve[-1] == pytest.approx(opened[0]) == pytest.approx(lam)
    assert best in loss.get_title()


@pytest.mark.parametrize("beta", [1.0, 20.0])
def test_the_slope_is_shown_relative_to_its_peak(beta):
    slope = draw_hardening(beta, 0.3, 1.0).axes[0].lines[1].get_ydata()
    assert np.argmax(slope) == len(slope) // 2
    assert max(slope) == pytest.approx(1)


# --- dynamic networks ---------------------------------------------------------------


def point(threshold):
    """Cost, accuracy and how many leave."""
    left, curve = draw_early_exit(threshold, skill=4.0, cost=0.2).axes
    cost, accuracy = (float(v[0]) for v in curve.lines[-1].get_data())
    return cost, accuracy, left.get_title()


def test_a_threshold_lets_nobody_leave_or_everybody_or_the_right_ones():
    cost, accuracy, leaving = point(0.0)
    assert (cost, leaving) == (1.0, "0% leave")
    cheap, early, leaving = point(2.35)
    assert (cheap, leaving) == (pytest.approx(0.2), "100% leave")
    assert early < accuracy - 5
    cost, good, _ = point(0.2)
    assert cost < 0.8
    assert good > accuracy - 0.5


def test_the_density_drawn_is_scipys_and_the_loss_is_in_the_title():
    left, right = draw_batch_shaping(2.0, 0.5, 0.6, 0.4).axes
    x, y = left.lines[0].get_data()
    np.testing.assert_allclose(y, stats.beta(0.6, 0.4).pdf(x))
    target, shaped = (line.get_ydata() for line in right.lines)
    loss = float(right.get_title().split()[-1])
    assert loss == pytest.approx(((target - shaped) ** 2).mean(), abs=5e-4)


def mixed(angle, contrast, temperature):
    """The shares of the four kernels, and the kernel they mix."""
    _, bars, kernel = draw_mixed_kernel(angle, contrast, temperature).axes
    image = np.asarray(kernel.images[0].get_array(), dtype=float)
    return [bar.get_height() for bar in bars.patches], image


@pytest.mark.parametrize(("angle", "chosen"), [(0, 0), (50, 1), (85, 2), (140, 3)])
def test_a_cold_attention_chooses_the_kernel_along_the_stripes(angle, chosen):
    shares, _ = mixed(angle, 4.0, 0.1)
    assert int(np.argmax(shares)) == chosen
    assert shares[chosen] > 0.99


def test_a_hot_attention_gives_every_image_the_same_round_kernel():
    shares, one = mixed(0, 1.0, 30.0)
    assert np.allclose(shares, 0.25, atol=0.02)
    _, other = mixed(45, 1.0, 30.0)
    assert np.allclose(one, other, atol=0.05)
    assert np.allclose(one, one.T, atol=0.05)


def test_a_horizontal_line_is_bright_along_its_row():
    _, kernel = mixed(0, 8.0, 0.1)
    middle = len(kernel) // 2
    assert kernel[middle].min() > 0.5
    assert kernel[0].max() < 0
    _, kernel = mixed(45, 8.0, 0.1)
    assert kernel[0, -1] > 0.5  # rows count downwards
    assert kernel[0, 0] < 0


# --- synthesis ----------------------------------------------------------------------


def gone(log_density, inputs, unevenness):
    """Percent of the units, and the curve at the same density."""
    left, right = draw_dead_units(log_density, inputs, unevenness).axes
    curve, here = right.lines
    (density,), (percent,) = here.get_data()
    nearest = abs(curve.get_xdata() - density).argmin()
    assert left.get_title().endswith(f"{round(2 * percent)} of 200 units gone")
    return percent, curve.get_ydata()[int(nearest)]


def test_few_units_die_of_scattered_zeros():
    # one weight in a hundred left, and (0.99)^300 is 5 %
    percent, expected = gone(-2.0, 300, 0.0)
    assert expected == pytest.approx(100 * 0.99**300)
    assert percent == pytest.approx(expected, abs=4)
    assert gone(0.0, 300, 0.0) == (0, 0)


def test_uneven_and_narrow_layers_lose_more():
    even, uneven, narrow = (
        gone(-2.0, *layer)[0] for layer in ((300, 0.0), (300, 2.0), (25, 0.0))
    )
    assert uneven > 3 * even
    assert narrow > 3 * even


def wrong(difference, seeds):
    """Percent of the papers in which the worse method looks better."""
    title = draw_seeds(difference, spread=0.1, seeds=seeds).axes[0].get_title()
    return int(title.split(" in ")[1].split("%")[0])


def test_seeds_tell_methods_apart():
    assert wrong(0.0, 3) == 50
    by_chance = 100 * NormalDist(0.1, 0.1 * 2**0.5).cdf(0)  # one seed each
    assert wrong(0.1, 1) == round(by_chance)
    assert wrong(0.1, 30) == 0
