"""CIFAR-10 as torchvision reads it and as JPEG files; bfloat16."""

import hashlib
import pickle

import numpy as np
import pytest
import torch

from ece661_sparse.training import half_precision, load_cifar10, load_cifar10_jpeg

pytest.importorskip("torchvision")
from torchvision.datasets import CIFAR10, cifar

NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
    "truck",
)  # fmt: skip
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def normalised(pixels):
    """(N, 32, 32, 3) of bytes, by the book."""
    x = pixels.astype(np.float64) / 255
    return torch.from_numpy((x - MEAN) / STD).permute(0, 3, 1, 2).float()


@pytest.fixture
def batches(tmp_path, monkeypatch):
    """Five files of training images and one of test images, with checksums to match."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (6, 2, 32, 32, 3), np.uint8)

    def write(name, content):
        (folder / name).write_bytes(data := pickle.dumps(content))
        return [name, hashlib.md5(data).hexdigest()]

    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    files = [
        # red, then green, then blue; each row by row
        write(
            name, {"data": part.transpose(0, 3, 1, 2).reshape(2, -1), "labels": [i, 9]}
        )
        for i, (name, part) in enumerate(zip(names, pixels, strict=True))
    ]
    meta = write("batches.meta", {"label_names": list("abcdefghij")})
    monkeypatch.setattr(CIFAR10, "train_list", files[:5])
    monkeypatch.setattr(CIFAR10, "test_list", files[5:])
    monkeypatch.setattr(CIFAR10, "meta", dict(CIFAR10.meta, md5=meta[1]))
    return pixels


def no_network(url, *_, **__):
    raise RuntimeError(f"no route to {url}")


@pytest.mark.parametrize("by", ["root", "environment"])
def test_what_is_there_is_read(tmp_path, monkeypatch, batches, by):
    monkeypatch.setattr(cifar, "download_and_extract_archive", no_network)
    if by == "environment":
        monkeypatch.setenv("ECE661_DATA", str(tmp_path))
    data = load_cifar10(root=tmp_path if by == "root" else None)
    torch.testing.assert_close(
        data.train.x, normalised(batches[:5].reshape(-1, 32, 32, 3))
    )
    torch.testing.assert_close(data.test.x, normalised(batches[5]))
    assert data.train.y.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    assert data.test.y.dtype == torch.int64 and data.test.y.tolist() == [5, 9]


def test_data_go_to_the_device(tmp_path, batches):
    assert load_cifar10("meta", tmp_path).train.x.is_meta


@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_missing_or_damaged_data_say_what_where_and_how(
    tmp_path, monkeypatch, batches, damage
):
    one = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    if damage == "missing":
        one.unlink()
    else:
        one.write_bytes(one.read_bytes()[:100])
    monkeypatch.setattr(cifar, "download_and_extract_archive", no_network)
    monkeypatch.setenv("ECE661_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError) as caught:
        load_cifar10()
    message = str(caught.value)
    assert str(one.parent) in message and "no route to" in message
    assert "cifar-10-python.tar.gz" in message and "ECE661_DATA" in message


def test_jpeg_files_have_the_labels_of_their_folders(tmp_path):
    image = pytest.importorskip("PIL.Image")
    shades = np.random.default_rng(0).integers(0, 256, (10, 3), np.uint8)
    for part in ("train", "test"):
        for name, shade in zip(NAMES, shades, strict=True):
            folder = tmp_path / "CIFAR-10-images" / part / name
            folder.mkdir(parents=True)
            plain = np.broadcast_to(shade, (32, 32, 3)).copy()
            image.fromarray(plain).save(folder / "0001.jpg", quality=100)
    data = load_cifar10_jpeg(root=tmp_path)
    assert data.train.y.tolist() == data.test.y.tolist() == list(range(10))
    expected = normalised(np.broadcast_to(shades[:, None, None], (10, 32, 32, 3)))
    torch.testing.assert_close(data.train.x, expected, atol=0.05, rtol=0)


@pytest.mark.parametrize("part", ["train", "test"])
def test_missing_jpeg_files_say_where_to_put_them(tmp_path, part):
    (tmp_path / "CIFAR-10-images" / part).mkdir(parents=True)
    with pytest.raises(FileNotFoundError) as caught:
        load_cifar10_jpeg(root=tmp_path)
    for text in (str(tmp_path / "CIFAR-10-images"), "github.com", "ECE661_DATA"):
        assert text in str(caught.value)


# --- bfloat16 -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capability", "dtype"), [((7, 5), None), ((8, 0), torch.bfloat16)]
)
def test_gpus_without_bfloat16_compute_in_float32(monkeypatch, capability, dtype):
    """Colab's T4 is a 7.5: torch would emulate it, slowly."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert half_precision("cuda") is dtype


@pytest.mark.parametrize("native", [False, True])
def test_cpus_without_bfloat16_compute_in_float32(monkeypatch, native):
    name = "_is_avx512_bf16_supported"
    monkeypatch.setattr(torch.cpu, name, lambda: native, raising=False)
    assert half_precision("cpu") is (torch.bfloat16 if native else None)
    monkeypatch.delattr(torch.cpu, name)
    assert half_precision("cpu") is None  # an older torch does not know
    assert half_precision("meta") is None
