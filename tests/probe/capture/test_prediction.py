from __future__ import annotations

import math
from pathlib import Path

import pytest

from nnlint.probe_service.capture.bundle import Capture
from nnlint.probe_service.options import ProbeOptions
from tests.probe.probing import capture_text, replay

MODEL = """import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 128)
        self.second = nn.Linear(128, 128)
        self.last = nn.Linear(128, 10)

    def forward(self, x):
        return self.last(torch.relu(self.second(torch.relu(self.first(x)))))
"""
LOSS = """

def train(images, labels):
    return nn.functional.cross_entropy(Net()(images), labels)
"""


def predicting(text: str, **options: int) -> tuple[Capture, ProbeOptions]:
    chosen = ProbeOptions(predict=True, steps=1, **options)  # type: ignore[arg-type]
    return capture_text(text, options=chosen), chosen


@pytest.mark.parametrize("batch_size", [8, 64])
@pytest.mark.parametrize("text", [MODEL + LOSS, MODEL], ids=["its own loss", "a stand-in"])
def test_predicted_gradients_are_those_of_the_batch_and_the_loss_that_are_run(
    text: str, batch_size: int
) -> None:
    captured, options = predicting(text, batch_size=batch_size)
    assert captured.predicted is not None
    assert captured.predicted.loss
    told = {each.path: each.gradient_rms for each in captured.predicted.layers}
    weights = {p.name: p for p in replay(captured, options).parameters}
    for path in ("first", "second", "last"):
        measured, expected = weights[f"{path}.weight"].gradient_rms[0], told[path]
        assert measured is not None
        assert expected is not None
        assert abs(math.log10(expected / measured)) < 0.15


def test_nothing_is_predicted_unless_it_is_asked_for() -> None:
    assert capture_text(MODEL + LOSS, options=ProbeOptions(steps=1)).predicted is None


def test_a_prediction_survives_the_way_from_the_process_that_made_it(tmp_path: Path) -> None:
    captured, _ = predicting(MODEL + LOSS)
    captured.write(tmp_path)
    assert captured.predicted is not None
    assert Capture.read(tmp_path).predicted == captured.predicted
