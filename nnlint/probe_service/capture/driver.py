"""Capture the models of a file, each in a process of its own. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from nnlint.errors import UsageError
from nnlint.linter.check import Progress, lint_paths
from nnlint.linter.findings import Finding, Location, Report
from nnlint.linter.load.pool import Pool
from nnlint.linter.load.tasks import Order, TaskResult
from nnlint.linter.rules.base import Rule
from nnlint.linter.settings import LintSettings
from nnlint.probe_service.capture.bundle import Capture, CaptureRefused
from nnlint.probe_service.capture.scratch import scratch
from nnlint.probe_service.options import ProbeOptions

# By name, since importing it would import torch.
_TASK = "nnlint.probe_service.capture.task:run"


def capture_file(
    path: str,
    settings: LintSettings,
    *,
    rules: Sequence[type[Rule]],
    options: ProbeOptions,
    data: str = "",
    stdin_text: str | None = None,
    stdin_filename: str = "",
    pool: Pool | None = None,
    progress: Progress | None = None,
) -> tuple[Report, tuple[Capture | CaptureRefused, ...]]:
    """Lint the models of a file and capture a training step of each.

    Args:
        path: A file, `file.py:Name`, or "-" for `stdin_text`.
        settings: The settings of the lint; its time limit holds for the lint, and
            `options.seconds` for the capture of each model, which runs it on the CPU.
        rules: The rules to run.
        options: How it is probed.
        data: The user's own batch: a .npz or .safetensors file, or "module.py:loader".
        stdin_text: The source that "-" stands for.
        stdin_filename: The file that it is meant to be.
        pool: Where the file is run; a new one by default.
        progress: Called with what is being done.

    Returns:
        What the rules say, and for each model of the report its capture or why there is none.

    Raises:
        UsageError: The path, the data or the loss is wrong.
        NoModelError: There is no model.
    """
    results: list[TaskResult] = []
    with scratch() as folder:
        order = Order(
            _TASK,
            {**dataclasses.asdict(options), "data": data, "folder": folder},
            results.append,
            options.seconds,
        )
        report = lint_paths(
            [path],
            settings,
            rules=rules,
            stdin_text=stdin_text,
            stdin_filename=stdin_filename,
            pool=pool,
            progress=progress,
            order=order,
        )
        return report, tuple(_outcomes(report, results))


def _outcomes(report: Report, results: Sequence[TaskResult]) -> list[Capture | CaptureRefused]:
    known = {result.model: result for result in results}
    outcomes: list[Capture | CaptureRefused] = []
    for model in report.models:
        result = known.get(model.name)
        if result is None:
            finding = next((f for f in report.findings if f.model == model.name), None)
            place = Location(model.path, model.line)
            outcomes.append(_refused(model.name, finding, place, model.reason))
        elif result.data is None:
            place = Location(model.path, model.line)
            outcomes.append(_refused(model.name, result.finding, place))
        elif (wrong := result.data.get("usage")) is not None:
            raise UsageError(wrong["message"], hint=wrong["hint"])
        elif (refused := result.data.get("refused")) is not None:
            outcomes.append(CaptureRefused.from_dict(refused))
        else:
            outcomes.append(Capture.read(Path(result.data["folder"])))
    return outcomes


def _refused(
    model: str, finding: Finding | None, place: Location, reason: str = ""
) -> CaptureRefused:
    """Return the refusal for a model whose lint or capture did not come to its end."""
    if finding is None:
        return CaptureRefused(model, place, reason)
    return CaptureRefused(model, finding.location, reason or finding.message, finding.help)
