"""Memory that a constructor leaves unwritten is seen, and is no hindrance later."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from nnlint.linter.files import lint_file
from nnlint.linter.load import unwritten


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.empty(3),
        lambda: torch.FloatTensor(3),
        lambda: torch.Tensor(2, 2),
        lambda: torch.zeros(1).new(3),
        lambda: torch.zeros(3).new_empty(2),
        lambda: torch.empty_like(torch.zeros(3)),
    ],
)
def test_fresh_memory_is_marked_and_written_memory_is_not(make) -> None:
    with unwritten.marking():
        raw, written = nn.Parameter(make()), nn.Parameter(make().fill_(1.0))
    assert unwritten.is_marked(raw)
    assert not unwritten.is_marked(written)


def test_marking_leaves_torch_as_it_was(recwarn: pytest.WarningsRecorder) -> None:
    before = torch.get_deterministic_debug_mode()
    with unwritten.marking():
        # Has no deterministic variant; a warning of it would be for the user of the mode.
        torch.zeros(4).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
    assert torch.get_deterministic_debug_mode() == before
    assert not recwarn.list


def test_layers_of_torch_write_all_of_theirs() -> None:
    with unwritten.marking(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layers = [nn.Linear(3, 4), nn.LSTM(3, 4), nn.MultiheadAttention(4, 2), nn.Bilinear(2, 3, 4)]
        layers += [nn.Conv2d(3, 4, 3), nn.EmbeddingBag(5, 3), nn.BatchNorm1d(4), nn.PReLU()]
    assert not any(unwritten.is_marked(p) for layer in layers for p in layer.parameters())


def test_what_is_unwritten_becomes_zero_before_a_model_runs() -> None:
    with unwritten.marking():
        layer = nn.Linear(2, 2)
        layer.extra = nn.Parameter(torch.empty(2))
    unwritten.settle(layer)
    assert layer.extra.tolist() == [0.0, 0.0]
    assert bool(layer.weight.all())


def test_the_linter_builds_models_so(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text(
        "import torch\nfrom torch import nn\n\n\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.gain = nn.Parameter(torch.FloatTensor(4))\n"
        "        self.fc = nn.Linear(4, 2)\n\n"
        "    def forward(self, x):\n        return self.fc(x * self.gain)\n"
    )
    report = lint_file(path, select=["uninitialised-parameter"])
    assert [(f.location.line, f.severity.value) for f in report] == [(8, "error")]
