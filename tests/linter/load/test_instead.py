"""A model that a script makes and changes with what is not there: one that is built alike is linted."""

from __future__ import annotations

NET = """
import nowhere
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, words, width, pad):
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=pad)
        self.fc = nn.Linear(width, 2)

    def forward(self, ids):
        return self.fc(self.embedding(ids).mean(dim=1))

vocabulary = nowhere.build(min_count=5)
pad = vocabulary["<pad>"]
"""


def test_what_a_script_makes_of_what_is_not_there_and_changes(lint):
    text = """
    model = Net(len(vocabulary), 30, pad)
    vectors = nowhere.vectors(vocabulary)
    model.embedding.weight.data.copy_(vectors)
    model = model.to("cpu")
    """
    report = lint(NET + text.replace("\n    ", "\n"))
    (model,) = report.models
    assert model.analysed, model.reason
    assert (model.name, model.class_name) == ("model", "Net")
    assert model.assumed.keys() == {"Net(words)", "Net(pad)"}  # the width is known
    assert report.findings == ()


def test_a_model_that_can_be_made_is_taken_as_it_is(lint):
    report = lint(NET + "model = Net(50, 30, 1)\nmodel = model.to('cpu')\n")
    (model,) = report.models
    assert model.analysed
    assert model.assumed == {}


def test_a_model_with_another_last_layer_is_not_what_its_class_gives(lint):
    text = """
    model = Net(len(vocabulary), 30, pad)
    model.fc = nowhere.Head(30, 5)
    model = model.to("cpu")
    """
    report = lint(NET + text.replace("\n    ", "\n"))
    (model,) = report.models
    assert not model.analysed
    assert "nowhere is not installed" in model.reason
