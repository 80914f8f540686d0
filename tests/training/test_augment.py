"""Random views of a batch: each is one of torchvision's, and all occur."""

import pytest
import torch

from ece661_sparse.training import crop_and_flip, random_shift

pytest.importorskip("torchvision")
from torchvision.transforms import functional as tv
from torchvision.transforms import v2


def every_view(image, padding, mode):
    """All crops of one padded image, by torchvision."""
    padded = tv.pad(image, padding, padding_mode=mode)
    height, width = image.shape[1:]
    crops = [
        tv.crop(padded, top, left, height, width)
        for top in range(2 * padding + 1)
        for left in range(2 * padding + 1)
    ]
    return torch.stack(crops)


def shifted(image, pixels):
    return every_view(image, pixels, "edge")


def cropped_and_flipped(image, padding):
    crops = every_view(image, padding, "constant")
    return torch.cat([crops, tv.hflip(crops)])


BOTH = pytest.mark.parametrize(
    ("augment", "every"),
    [(random_shift, shifted), (crop_and_flip, cropped_and_flipped)],
)


@BOTH
def test_each_image_is_some_view_of_itself_and_all_views_occur_equally_often(
    augment, every
):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 5)
    n = 2 * 500 * len(every(x[0], 1))
    many = x.repeat(n // 2, 1, 1, 1)
    out = augment(many, 1)
    assert out.shape == many.shape and out.dtype == x.dtype
    for k in range(2):
        views = every(x[k], 1).flatten(1)
        matches = (out[k::2].flatten(1)[:, None] == views).all(-1)
        assert (matches.sum(1) == 1).all()
        counts = matches.sum(0)  # 500 of each are expected, give or take 22
        assert counts.min() > 400 and counts.max() < 600


@BOTH
def test_the_images_of_a_batch_are_moved_one_by_one(augment, every):
    """As torchvision's do not: it has one random place for all images of a batch."""
    x = torch.randn(1, 3, 32, 32).repeat(64, 1, 1, 1)
    assert len(augment(x, 4).unique(dim=0)) > 30
    assert len(v2.RandomCrop(32, 4)(x).unique(dim=0)) == 1


@BOTH
def test_the_same_seed_gives_the_same_views_with_channels_last_in_memory(
    augment, every
):
    x = torch.randn(7, 3, 32, 32).to(memory_format=torch.channels_last)
    before = x.clone()
    torch.manual_seed(3)
    first = augment(x)
    torch.manual_seed(3)
    again = augment(x.contiguous())
    assert torch.equal(first, again) and torch.equal(x, before)
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(augment(x), first)


@BOTH
def test_views_are_made_on_the_device_of_the_images(augment, every):
    x = torch.zeros(5, 3, 8, 8, device="meta", dtype=torch.bfloat16)
    assert augment(x).is_meta and augment(x).dtype == torch.bfloat16


def test_a_shift_has_at_least_one_pixel():
    with pytest.raises(ValueError, match=r"pixels must be .* >= 1, got pixels=0"):
        random_shift(torch.zeros(1, 1, 4, 4), 0)
