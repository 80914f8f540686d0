"""Draw the landing page's figure from a committed result.

    python book/_tools/landing.py

It shows LeNet-300 after Global Sparse Momentum, as `reproduce` left it, with 60 times
fewer weights than at the start: which pixels the first layer still sees, and which
units the second one does.
"""

from pathlib import Path

import matplotlib.pyplot as plt

from ece661_sparse.models import LeNet300
from ece661_sparse.training import load_mnist, load_sparse
from ece661_sparse.viz import use_style

BOOK = Path(__file__).resolve().parents[1]
WEIGHTS = BOOK / "results" / "table1" / "gsm-lenet300-60x.safetensors"
FIGURE = BOOK / "_static" / "sparse_training.png"


def main() -> None:
    """Write the figure."""
    use_style()
    model = load_sparse(WEIGHTS, LeNet300())
    first, second = (w.detach() for w in (model.fc1.weight, model.fc2.weight))
    images = load_mnist("quick").train.x
    panels = {
        "Ink of all digits": images.mean(0).view(28, 28),
        "Weights left at each pixel": (first != 0).sum(0).view(28, 28),
        "Layer 2: a dot for every weight left": (second != 0).float(),
    }
    ink, left, layer = panels
    fig, axes = plt.subplot_mosaic(
        [[ink, left], [layer, layer]],
        figsize=(5.6, 4.9),
        height_ratios=(3, 2),
        layout="constrained",
    )
    for title, ax in axes.items():
        ax.imshow(panels[title], cmap="Greys", interpolation="nearest")
        ax.set(title=title, xticks=[], yticks=[])
        ax.grid(visible=False)
        ax.spines[:].set_visible(True)
    fig.savefig(FIGURE, dpi=120, transparent=True, metadata={"Software": None})
    plt.close(fig)


if __name__ == "__main__":
    main()
