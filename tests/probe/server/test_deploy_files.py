"""What the files for systemd and Docker and the documentation say is what the program has."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from nnlint.cli.commands.serve import command, settings_from
from nnlint.probe_service.server import metrics
from nnlint.probe_service.server.settings import Limits, Settings

ROOT = Path(__file__).parents[3]
UNIT = ROOT / "deploy" / "nnlint.service"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
PAGE = ROOT / "docs" / "serving.md"
OPTIONS = {name for parameter in command.params for name in parameter.opts}


@pytest.mark.parametrize("path", [UNIT, DOCKERFILE, PAGE], ids=lambda path: path.name)
def test_every_option_of_serve_exists(path: Path) -> None:
    text = path.read_text().replace("\\\n", " ")
    calls = re.findall(r'nnlint"?,? "?serve"?(.*)|nnlint \\?\s+(--listen.*)', text)
    used = {option for call in calls for option in re.findall(r"--[a-z-]+", " ".join(call))}
    assert used
    assert used <= OPTIONS


def test_the_page_has_the_defaults() -> None:
    rows = dict(re.findall(r"\| `(--[a-z-]+)` \| .* \| ([^|]+) \|", PAGE.read_text()))
    defaults = {parameter.opts[0]: parameter.default for parameter in command.params}
    for option, shown in rows.items():
        default = defaults[option]
        if isinstance(default, (int, float, str)) and default:
            assert str(default).removesuffix(".0") == shown, option


def test_the_command_line_has_the_defaults_of_the_settings() -> None:
    context = command.make_context("serve", [])
    settings = settings_from(**context.params)
    assert settings == Settings()
    assert settings.limits == Limits()


def test_the_page_names_every_metric() -> None:
    told = metrics.Metrics()
    names = {family.name for family in told.registry.collect()}
    text = PAGE.read_text()
    ours = {name for name in names if name.startswith(("probe_", "cas_", "grpc_"))}
    assert ours
    assert not [name for name in ours if name not in text]


def test_the_grace_fits_into_systemds_patience() -> None:
    text = UNIT.read_text()
    grace = float(re.search(r"--grace (\d+)", text)[1])  # type: ignore[index]
    patience = float(re.search(r"TimeoutStopSec=(\d+)", text)[1])  # type: ignore[index]
    assert patience >= grace + 10


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    program = tmp_path / "nnlint"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "nnlint.service"
    unit.write_text(UNIT.read_text().replace("/opt/nnlint/bin/nnlint", str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    about_it = [line for line in done.stderr.splitlines() if "nnlint.service" in line]
    assert not about_it, done.stderr
