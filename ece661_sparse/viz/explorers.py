"""What every live explorer is made of: a function that draws, sliders that drive it.

Explorers need a kernel; they are ipywidgets (7.x API, which is what Colab has). The
sliders' bounds are the parameters' valid ranges.
"""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as widgets
from IPython.display import display
from matplotlib.figure import Figure

from ece661_sparse.viz.figures import show


def slider(name: str, low: float, high: float, value: float) -> widgets.FloatSlider:
    return widgets.FloatSlider(value, min=low, max=high, step=0.05, description=name)


def explorer(draw: Callable[..., Figure], **controls: widgets.Widget) -> widgets.Widget:
    def redraw(**values: object) -> None:
        settings = ", ".join(f"{name} = {value}" for name, value in values.items())
        display(show(draw(**values), alt=f"{draw.__name__} at {settings}"))

    return widgets.interactive(redraw, **controls)
