"""A compact model leaves PyTorch: torch.export, and onnxruntime's own predictions."""

import warnings

import onnxruntime
import pytest
import torch
from test_compact import committed

from ece661_sparse.models import resnet20
from ece661_sparse.synthesis import compact, cut_channels


def exported(model, x):
    batch = torch.export.Dim("batch", min=1)
    return torch.export.export(model, (x[:2],), dynamic_shapes=({0: batch},))


def test_export(digits, tmp_path):
    x = digits[:100]
    small = compact(committed("gsm-lenet5-300x"))
    program = exported(small, x)
    torch.export.save(program, tmp_path / "model.pt2")
    # The file needs nothing of this package.
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    with torch.no_grad():
        assert torch.allclose(loaded(x), small(x), atol=1e-6)


@pytest.mark.parametrize("row", ["gsm-lenet5-300x", "gsm-lenet300-60x"])
def test_onnxruntime_predicts_the_same(row, digits, tmp_path):
    model = committed(row)
    check_onnx(compact(model), model, digits, tmp_path / "model.onnx")


def test_a_cut_resnet_runs_there_too(tmp_path):
    torch.manual_seed(0)
    model = resnet20().eval()
    for stage in model.stages:
        for block in stage:
            block.bn1.weight.data[::2] = 0
    small = cut_channels(model, torch.zeros(1, 3, 32, 32))
    check_onnx(small, model, torch.randn(20, 3, 32, 32), tmp_path / "model.onnx")


def check_onnx(small, model, x, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(exported(small, x), f=path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (name,) = (entry.name for entry in session.get_inputs())
    (logits,) = session.run(None, {name: x.numpy()})
    with torch.no_grad():
        expected = model(x)
    assert torch.equal(torch.from_numpy(logits).argmax(1), expected.argmax(1))
    assert torch.allclose(torch.from_numpy(logits), expected, rtol=1e-4, atol=1e-4)
