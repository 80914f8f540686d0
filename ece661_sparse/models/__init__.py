"""The networks of the lecture's result tables."""

from ece661_sparse.models.branchy import (
    BranchyLeNet,
    MultiExitCNN,
    sdn_resnet56,
    shallow_deep,
)
from ece661_sparse.models.densenet import DenseNet, densenet40
from ece661_sparse.models.gated_resnet import GatedResNet
from ece661_sparse.models.lenet import LeNet5, LeNet300
from ece661_sparse.models.narrow import NarrowCNN
from ece661_sparse.models.resnet import ResNet, resnet20, resnet56

__all__ = [
    "BranchyLeNet",
    "DenseNet",
    "GatedResNet",
    "LeNet5",
    "LeNet300",
    "MultiExitCNN",
    "NarrowCNN",
    "ResNet",
    "densenet40",
    "resnet20",
    "resnet56",
    "sdn_resnet56",
    "shallow_deep",
]
