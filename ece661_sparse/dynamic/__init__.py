"""Part IV of the lecture: early exit, channel gating, dynamic convolution."""

from ece661_sparse.dynamic.channel_gating import (
    ChannelGate,
    GatedConv2d,
    GatedResidualBlock,
    GateRecord,
    batch_shaping,
    beta_cdf,
    class_similarity,
    expected_open,
    gate_loss,
    gumbel_sigmoid,
    penalty_weights,
    record_gates,
)

__all__ = [
    "ChannelGate",
    "GateRecord",
    "GatedConv2d",
    "GatedResidualBlock",
    "batch_shaping",
    "beta_cdf",
    "class_similarity",
    "expected_open",
    "gate_loss",
    "gumbel_sigmoid",
    "penalty_weights",
    "record_gates",
]
