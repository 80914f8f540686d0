"""What the tests of every part's explorers share."""

import itertools

import matplotlib.pyplot as plt
import numpy as np


def controls(explorer):
    return {w._kwarg: w for w in explorer.kwargs_widgets}


def corners(controls):
    """Every combination of the sliders' ends and starts."""
    sliders = {name: w for name, w in controls.items() if hasattr(w, "min")}
    values = [sorted({w.min, w.value, w.max}) for w in sliders.values()]
    for chosen in itertools.product(*values):
        yield dict(zip(sliders, chosen, strict=True))


def draw(function, **settings):
    fig = function(**settings)
    for ax in fig.axes:
        for drawn in ax.lines:
            assert np.isfinite(np.asarray(drawn.get_ydata(), dtype=float)).all()
    plt.close(fig)
