"""`nnlint summary`: the layers of models as a table, as JSON, and as a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nnlint.cli import main

MODEL = """import torch
import torch.nn.functional as F
from torch import nn


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(40, 16)
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.spare = nn.Linear(4, 4)
        self.again = self.spare
        self.head = nn.Linear(16, 40, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(self.encoder(self.embedding(tokens))).transpose(1, 2)


def loss(tokens, labels):
    model = Tied()
    return F.cross_entropy(model(tokens), labels)


class Needy(nn.Module):
    def __init__(self, width):
        super().__init__()
        if width is None or not isinstance(width, dict) or "missing" not in width:
            raise ValueError("no width")
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run the command once for all formats."""
    folder: Path = tmp_path_factory.mktemp("summary")
    path = folder / "model.py"
    path.write_text(MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        written: list[str] = []
        patch.setattr("nnlint.cli.summarising.write_stdout", written.append)
        arguments = ["summary", "model.py:Tied", "--quiet", "--isolated", "--html", "page.html"]
        code = main([*arguments, "--format", "json"])
        plain = main(["summary", "model.py:Tied", "--quiet", "--isolated", "--color", "never"])
    return {
        "codes": (code, plain),
        "data": json.loads(written[0]),
        "text": written[1],
        "page": (folder / "page.html").read_text(),
    }


def layers(told: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {layer["path"]: layer for layer in told["data"]["models"][0]["layers"]}


def test_each_layer_has_its_figures(told: dict[str, Any]) -> None:
    assert told["codes"] == (0, 0)
    assert told["data"]["schema_version"] == 1
    model = told["data"]["models"][0]
    assert (model["name"], model["status"], model["loss"]) == ("Tied", "analysed", "cross_entropy")
    embedding = layers(told)["embedding"]
    assert embedding["type"] == "Embedding"
    assert embedding["output_shape"][-1] == 16
    assert embedding["predicted_activation_rms"] == pytest.approx(1.0, rel=0.2)
    assert embedding["predicted_gradient_rms"] > 0
    assert set(embedding) == {
        "path",
        "type",
        "output_shape",
        "parameters",
        "initialiser",
        "predicted_activation_rms",
        "predicted_gradient_rms",
    }


def test_tied_and_shared_layers_count_once(told: dict[str, Any]) -> None:
    found = layers(told)
    assert found["embedding"]["parameters"] == 40 * 16
    assert found["head"]["parameters"] == 0
    assert "spare" in found
    assert "again" not in found
    total = sum(layer["parameters"] for layer in found.values())
    assert total == told["data"]["models"][0]["parameters"]


def test_a_layer_without_use_has_no_gradient(told: dict[str, Any]) -> None:
    spare = layers(told)["spare"]
    assert spare["output_shape"] is None
    assert spare["predicted_gradient_rms"] is None


def test_layers_come_in_the_order_in_which_they_run(told: dict[str, Any]) -> None:
    paths = list(layers(told))
    assert paths[0] == "embedding"
    assert paths.index("encoder.linear1") < paths.index("head") < paths.index("spare")


def test_the_table_has_a_row_and_a_bar_for_each_layer(told: dict[str, Any]) -> None:
    lines = told["text"].splitlines()
    assert lines[0].startswith("Tied (model.py:6): ")
    row = next(line for line in lines if line.split()[:1] == ["embedding"])
    assert row.split()[1] == "Embedding"
    assert any(character in row for character in "█#▏▎▍▌▋▊▉")


def test_the_page_stands_alone(told: dict[str, Any]) -> None:
    assert told["page"].startswith("<!doctype html>")
    assert "<td>embedding</td>" in told["page"]
    assert "<script" not in told["page"]
    assert "http" not in told["page"]


def test_a_model_that_cannot_be_built_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    code = main(["summary", "model.py:Needy", "--quiet", "--isolated", "--color", "never"])
    assert code == 1
    assert "Needy (model.py:25): not analysed: " in capsys.readouterr().out


def test_standard_input_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "-"]) == 2
    assert "standard input" in capsys.readouterr().err
