"""The recipe of channel gating makes two networks of one shape, and measures them."""

import torch

from ece661_sparse.dynamic import GatedResidualBlock
from ece661_sparse.reproduce.dynamic import channel_gating, measure_channel_gating
from ece661_sparse.reproduce.rows import Run
from ece661_sparse.training import Images

EPOCHS = 3


def recipe(folder):
    generator = torch.Generator().manual_seed(0)
    images = Images(
        torch.randn(96, 1, 28, 28, generator=generator),
        torch.randint(0, 10, (96,), generator=generator),
    )
    device = torch.device("cpu")
    run = Run(images, 0, "quick", device, folder, folder / "shared", "test")
    return channel_gating(run, epochs=EPOCHS, lr=1e-3, lam=0.5)


def test_both_networks_have_one_shape_and_the_measures_add_up(tmp_path):
    outcome = recipe(tmp_path)
    gated = {n for n, m in outcome.model.named_modules() if "gate" in n}
    assert gated and not any(
        "gate" in n for n, _ in outcome.base_top1_model.named_modules()
    )
    assert all(
        block.gate is None
        for block in outcome.base_top1_model.modules()
        if isinstance(block, GatedResidualBlock)
    )
    x = torch.randn(20, 1, 28, 28)
    found = measure_channel_gating(outcome.model, Images(x, torch.zeros(20).long()))
    assert found["always_on"] + found["never_on"] + found["conditional"] == 80
    assert found["least_flops"] <= (1 - found["saved"]) * found["full_flops"]
    assert found["most_flops"] >= (1 - found["saved"]) * found["full_flops"]
