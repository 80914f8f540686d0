"""Part II of the lecture: saliency, Global Sparse Momentum, and Table 1's other rows."""

__all__: list[str] = []
