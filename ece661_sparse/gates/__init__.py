"""Part III of the lecture: ℓ0 by gates, stochastic and continuous."""

__all__: list[str] = []
