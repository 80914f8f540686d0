"""Explorers draw wherever their controls can be, and again when one is moved."""

import itertools

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest

from ece661_sparse import viz
from ece661_sparse.viz import dynamic, explorers, gates, proximal, saliency, synthesis

DRAWS = {
    viz.explore_prox: proximal.draw_prox,
    viz.explore_proximal_path: proximal.draw_proximal_path,
    viz.explore_trimmed: proximal.draw_trimmed,
    viz.explore_taylor: saliency.draw_taylor,
    viz.explore_passive: saliency.draw_passive,
    viz.explore_splicing: saliency.draw_splicing,
    viz.explore_hard_concrete: gates.draw_hard_concrete,
    viz.explore_hardening: gates.draw_hardening,
    viz.explore_early_exit: dynamic.draw_early_exit,
    viz.explore_batch_shaping: dynamic.draw_batch_shaping,
    viz.explore_mixed_kernel: dynamic.draw_mixed_kernel,
    viz.explore_seeds: synthesis.draw_seeds,
    viz.explore_dead_units: synthesis.draw_dead_units,
}
CASES = [(explore, {}) for explore in DRAWS if explore is not viz.explore_prox]
CASES += [(viz.explore_prox, {"operator": name}) for name in proximal._OPERATORS]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Only the text that stands for a picture, which says what was drawn."""

    def show(fig, alt):
        plt.close(fig)
        return alt

    monkeypatch.setattr(explorers, "show", show)


def controls(explorer):
    return {w._kwarg: w for w in explorer.kwargs_widgets}


def ends(widget):
    if isinstance(widget, ipywidgets.FloatLogSlider):
        return widget.base**widget.min, widget.base**widget.max
    return widget.min, widget.max


def places(sliders):
    """All corners, and from the start to both ends of each slider."""
    start = {name: w.value for name, w in sliders.items()}
    for corner in itertools.product(*map(ends, sliders.values())):
        yield dict(zip(sliders, corner, strict=True))
    yield start
    for name, w in sliders.items():
        yield from (start | {name: end} for end in ends(w))


def test_every_explorer_is_tried():
    public = {name for name in viz.__all__ if name.startswith("explore_")}
    assert {explore.__name__ for explore in DRAWS} == public


@pytest.mark.parametrize(("explore", "menu"), CASES)
def test_finite_lines_wherever_the_controls_can_be(explore, menu):
    sliders = controls(explore())
    for name, option in menu.items():
        sliders.pop(name).value = option
    for place in places(sliders):
        fig = DRAWS[explore](**place, **menu)
        for line in itertools.chain(*(ax.lines for ax in fig.axes)):
            assert np.isfinite(np.asarray(line.get_ydata(), dtype=float)).all()
        plt.close(fig)


@pytest.mark.parametrize("explore", DRAWS)
def test_moving_a_control_redraws(explore, capsys, caplog):
    widgets = controls(explore())
    assert capsys.readouterr().out.count(DRAWS[explore].__name__) == 1
    for name, widget in widgets.items():
        choices = getattr(widget, "options", None) or ends(widget)
        widget.value = next(v for v in choices if v != widget.value)
        assert f"{name} = {widget.value}" in capsys.readouterr().out
    assert not caplog.records  # ipywidgets logs what a callback raises


def test_what_is_shown_is_a_figure_of_the_book(monkeypatch, capsys):
    monkeypatch.setattr(explorers, "show", viz.show)
    controls(viz.explore_seeds())["seeds"].value = 2
    assert "Figure: draw_seeds at difference = 0.1" in capsys.readouterr().out
    assert plt.get_fignums() == []


def test_the_menu_gives_each_operator_its_own_parameter():
    widgets = controls(viz.explore_prox())
    for operator in [*proximal._OPERATORS, *reversed(proximal._OPERATORS)]:
        widgets["operator"].value = operator
        shape = widgets["shape"]
        assert shape.disabled == (operator in ("ℓ0", "ℓ1"))
        assert shape.min <= shape.value <= shape.max
        name = proximal._SHAPES[operator][0] if operator in proximal._SHAPES else "none"
        assert shape.description == name
