"""The networks of the lecture's result tables."""

from ece661_sparse.models.lenet import LeNet5, LeNet300

__all__ = ["LeNet5", "LeNet300"]
