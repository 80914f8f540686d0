"""What every live explorer is made of: a function that draws, and its sliders.

Explorers are ipywidgets and need a kernel. They use the 7.x API, which is what Colab
has. The bounds of a slider are the parameter's valid range.
"""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as widgets
from IPython.display import display
from matplotlib.figure import Figure

from ece661_sparse.viz.figures import show


def slider(name: str, low: float, high: float, value: float) -> widgets.FloatSlider:
    """A slider from ``low`` to ``high`` that starts at ``value``."""
    return widgets.FloatSlider(value, min=low, max=high, step=0.05, description=name)


def explorer(draw: Callable[..., Figure], **controls: widgets.Widget) -> widgets.Widget:
    """A widget that calls ``draw`` with the values of the controls, and shows it."""

    def redraw(**values: object) -> None:
        settings = ", ".join(f"{name} = {value}" for name, value in values.items())
        display(show(draw(**values), alt=f"{draw.__name__} at {settings}"))

    return widgets.interactive(redraw, **controls)
