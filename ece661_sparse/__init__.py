"""Optimization-based methods for sparse neural networks.

The companion package of ECE 661, lecture 16. The folders follow the lecture:

=================  ==========================================================
``core``           tensors and modules: what all parts stand on
``proximal``       Part I: proximal operators, projections, trimmed ℓ1
``saliency``       Part II: saliency, Global Sparse Momentum, the rows of Table 1
``gates``          Part III: ℓ0 by stochastic and by continuous gates
``dynamic``        Part IV: early exit, channel gating, dynamic convolution
``synthesis``      Part V: what the zeros are good for
``models``         the networks of the experiments
``training``       data, a readable loop, metrics, checkpoints
``exercises``      the checker behind the book's exercise cells
``reproduce``      the published tables as experiments, and the command line
``viz``            the book's figures and live explorers
=================  ==========================================================

The rooms of the methods import ``core`` and nothing else: take one with you.
"""

__version__ = "0.2.0"
