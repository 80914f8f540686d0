"""Part IV of the lecture: early exit, channel gating, dynamic convolution."""

__all__: list[str] = []
