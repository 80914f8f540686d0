"""The recipe of channel gating resumes to the same bits, its schedule included."""

import pytest
import torch

from ece661_sparse.dynamic import GatedResidualBlock
from ece661_sparse.reproduce.dynamic import channel_gating, measure_channel_gating
from ece661_sparse.reproduce.rows import Run
from ece661_sparse.training import Checkpoint, Images

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


@pytest.mark.parametrize("saves", [EPOCHS + 1, EPOCHS + 2])
def test_a_run_cut_off_among_the_gates_ends_with_the_same_bits(
    tmp_path, monkeypatch, saves
):
    whole = recipe(tmp_path / "whole")
    count, save = 0, Checkpoint.save

    def cut_off(self, **state):
        nonlocal count
        count += 1
        save(self, **state)
        if count == saves:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", cut_off)
        with pytest.raises(KeyboardInterrupt):
            recipe(tmp_path / "cut")
    torch.rand(5)  # whatever else the session did in between
    resumed = recipe(tmp_path / "cut")
    for one, other in (
        (whole.model, resumed.model),
        (whole.base_top1_model, resumed.base_top1_model),
    ):
        states = one.state_dict(), other.state_dict()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


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
