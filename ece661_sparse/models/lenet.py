"""The two networks of the slide "Pruning results", Table 1.

The table's budgets (60x, 125x, ...) count kernel weights: 266,200 for LeNet-300 and
430,500 for LeNet-5. Its column "Origin" (267K, 431K) includes the biases.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class LeNet300(nn.Module):
    """LeNet-300-100: three dense layers, 784-300-100-10 (LeCun et al. 1998).

    Shapes: ``(N, 1, 28, 28)`` or ``(N, 784)`` to logits ``(N, 10)``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(28 * 28, 300)
        self.fc2 = nn.Linear(300, 100)
        self.fc3 = nn.Linear(100, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


class LeNet5(nn.Module):
    """LeNet-5 in Caffe's form, the one the pruning literature uses.

    Two 5x5 convolutions (20 and 50 maps), each followed by 2x2 max pooling, then two
    dense layers (500 and 10). As in Caffe, the only ReLU sits between the dense
    layers: the pooling is the nonlinearity of the convolutions.

    Shapes: ``(N, 1, 28, 28)`` to logits ``(N, 10)``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, kernel_size=5)
        self.conv2 = nn.Conv2d(20, 50, kernel_size=5)
        self.fc1 = nn.Linear(50 * 4 * 4, 500)
        self.fc2 = nn.Linear(500, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv1(x), 2)
        x = F.max_pool2d(self.conv2(x), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)
