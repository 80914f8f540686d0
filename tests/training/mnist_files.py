"""MNIST's four files with other images in them."""

from pathlib import Path

import numpy as np


def write_mnist(folder: Path, n: int) -> np.ndarray:
    """Write n random images, labelled 0, 1, 2, ..., for training and for the test."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (n, 28, 28), dtype=np.uint8)
    labels = np.arange(n, dtype=np.uint8) % 10
    for part in ("train", "t10k"):
        for name, array in ("images-idx3", pixels), ("labels-idx1", labels):
            head = bytes([0, 0, 8, array.ndim])  # 8: of bytes
            shape = np.array(array.shape, dtype=">i4").tobytes()
            file = raw / f"{part}-{name}-ubyte"
            file.write_bytes(head + shape + array.tobytes())
    return pixels
