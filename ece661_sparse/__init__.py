"""Optimization-based methods for sparse neural networks.

The companion package of ECE 661, lecture 16. The folders follow the lecture:

=================  ==========================================================
``proximal``       Part I: proximal operators, projections, trimmed ℓ1
``models``         the networks of the experiments
``training``       data, a readable loop, metrics, checkpoints
``exercises``      the checker behind the book's exercise cells
``viz``            the book's figures and live explorers
=================  ==========================================================

Methods import neither ``training`` nor ``viz``: take one with you.
"""

__version__ = "0.1.0"
