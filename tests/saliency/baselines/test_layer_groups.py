"""Parameter groups by layer."""

import pytest
from torch import nn

from ece661_sparse.models import LeNet5
from ece661_sparse.saliency.baselines import layer_groups


def test_every_parameter_is_in_one_group_and_options_stay_with_their_layer():
    model = LeNet5()
    groups = layer_groups(model, c={"conv1": 1.0, "fc2": 2.5}, stop={"fc2": 7})
    assert [{k: v for k, v in g.items() if k != "params"} for g in groups] == [
        {"c": 1.0},
        {"c": 2.5, "stop": 7},
        {},
    ]
    assert groups[0]["params"] == [model.conv1.weight, model.conv1.bias]
    assert groups[1]["params"] == [model.fc2.weight, model.fc2.bias]
    together = [id(p) for group in groups for p in group["params"]]
    assert sorted(together) == sorted(map(id, model.parameters()))


def test_no_rest_when_all_layers_are_named():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert len(layer_groups(model, keep={"0": 1, "2": 1})) == 2


def test_a_layer_that_is_none_is_named():
    with pytest.raises(ValueError, match=r"keep must name .*fc2.* got \['fc9'\]"):
        layer_groups(LeNet5(), keep={"fc9": 3})
