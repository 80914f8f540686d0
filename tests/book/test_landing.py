"""What the landing page says about its figure is what the committed result says."""

import json
import re
from statistics import mean

from conftest import ROOT

from ece661_sparse.models import LeNet300
from ece661_sparse.training import load_sparse

RESULT = ROOT / "book" / "results" / "table1" / "gsm-lenet300-60x"
TEXT = (ROOT / "book" / "intro.md").read_text(encoding="utf-8")


def test_the_caption_has_the_numbers_of_the_result():
    result = json.loads(RESULT.with_suffix(".json").read_text(encoding="utf-8"))
    (kept,) = set(result["nonzero"])
    assert result["profile"] == "full" and len(result["seeds"]) == 3
    assert f"{kept:,} of its {result['kernel_parameters']:,} weights" in TEXT
    assert f"{mean(result['top1']):.2f} % of the test digits are right" in TEXT
    assert f"against {mean(result['base_top1']):.2f} % before" in TEXT


def test_the_caption_has_the_numbers_of_the_weights():
    model = load_sparse(RESULT.with_suffix(".safetensors"), LeNet300())
    pixels = (model.fc1.weight != 0).any(0).sum().item()
    units = (model.fc2.weight != 0).any(1).sum().item()
    assert f"{pixels} of 784 pixels are still looked at" in TEXT
    assert f"{units} of the 100 units of layer 2 still look" in TEXT


def test_the_figure_is_there_and_light():
    (name,) = re.findall(r"\{figure\} (\S+)", TEXT)
    assert 0 < (ROOT / "book" / name).stat().st_size < 100_000
