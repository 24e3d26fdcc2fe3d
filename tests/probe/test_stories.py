"""The stories of the examples, told by a probe on an embedded server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


WEIGHTS_OF_100_IN_MANY_LAYERS = """
import torch.nn.functional as F
from torch import nn


class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.ModuleList(nn.Linear(64, 64) for _ in range(16))
        self.out = nn.Linear(64, 10)
        for layer in (*self.hidden, self.out):
            nn.init.normal_(layer.weight, std=100.0)

    def forward(self, x):
        for layer in self.hidden:
            x = F.relu(layer(x))
        return self.out(x)


def train(x, labels):
    model = Deep()
    F.cross_entropy(model(x), labels).backward()
"""


def probe(path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "nnlint", "probe", str(path)]
    done = subprocess.run(
        [*command, "--output-format", "json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode in (0, 1), done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def loud(report: dict[str, Any]) -> set[str]:
    return {f["rule"] for f in report["findings"] if f["severity"] in ("error", "warning")}


@pytest.mark.parametrize(
    ("example", "rules"),
    [
        ("sigmoid_everywhere", {"vanishing-gradient"}),
        ("weights_of_100", {"exploding-gradient"}),
        ("biases_kill_relus", {"dead-units", "no-gradient"}),
    ],
)
def test_a_probe_sees_what_is_wrong(example: str, rules: set[str]) -> None:
    assert rules <= loud(probe(EXAMPLES / f"{example}.py"))


def test_a_probe_of_a_healthy_net_finds_nothing() -> None:
    report = probe(EXAMPLES / "well_initialised.py")
    assert not loud(report)
    assert len(report["probes"]) == 1


def test_weights_of_100_in_many_layers_overflow_and_the_probe_says_where(tmp_path: Path) -> None:
    path = tmp_path / "deep.py"
    path.write_text(WEIGHTS_OF_100_IN_MANY_LAYERS)
    report = probe(path)
    (found,) = [f for f in report["findings"] if f["rule"] == "non-finite"]
    assert found["severity"] == "error"
    assert path.read_text().splitlines()[found["line"] - 1].strip() == "x = F.relu(layer(x))"
