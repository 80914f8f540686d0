"""A convolutional network that is too small for its task, for "Dynamic convolution"."""

from torch import Tensor, nn

from ece661_sparse.core.arguments import check_count


class NarrowCNN(nn.Module):
    """Three 3x3 convolutions with batch normalisation, an average, one dense layer.

    At width 4 it has some 1,000 weights: with so few kernels it matters what each of
    them can do. Shapes: ``(N, 1, 28, 28)`` to logits ``(N, 10)``.

    Args:
        width: channels of the first layer; the other two have twice as many.

    Raises:
        ValueError: ``width`` below 1.
    """

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        check_count("width", width, at_least=1)
        self.conv1 = nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(2 * width)
        self.conv3 = nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(2 * width)
        self.fc = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        x = self.bn3(self.conv3(x)).relu()
        return self.fc(x.mean((2, 3)))
