"""The stories of the examples, told by a probe on an embedded server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def probe(example: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "nnlint", "probe", f"examples/{example}.py"]
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
    assert rules <= loud(probe(example))


def test_a_probe_of_a_healthy_net_finds_nothing() -> None:
    report = probe("well_initialised")
    assert not loud(report)
    assert len(report["probes"]) == 1
