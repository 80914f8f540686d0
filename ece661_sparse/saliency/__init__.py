"""Part II of the lecture: saliency, Global Sparse Momentum, rows of Table 1."""

__all__: list[str] = []
