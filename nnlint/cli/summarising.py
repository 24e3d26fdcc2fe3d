"""What `nnlint summary` does: build and trace the models, and write what is told of them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnlint.cli.checking import (
    STDIN,
    check_paths,
    find_configuration,
    merge,
    model_settings,
    without_excluded,
)
from nnlint.cli.console import encodes, terminal_width, wants_color, write_stdout
from nnlint.cli.progress import Progress
from nnlint.errors import UsageError
from nnlint.linter.load.tasks import Order, TaskResult

SCHEMA_VERSION = 1
# Seconds that the prediction for one model may take.
SECONDS = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """One model.

    Attributes:
        name: Display name.
        path: The file.
        line: Line of its definition.
        reason: Why nothing is told of it, "" otherwise.
        data: Inputs, loss, parameters and layers.
    """

    name: str
    path: str
    line: int
    reason: str = ""
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-compatible data."""
        return {
            "name": self.name,
            "path": self.path,
            "line": self.line,
            "status": "not-analysed" if self.reason else "analysed",
            "reason": self.reason or None,
            "inputs": list(self.data.get("inputs", ())),
            "loss": self.data.get("loss"),
            "parameters": self.data.get("parameters"),
            "layers": list(self.data.get("layers", ())),
        }


def summarise(paths: Sequence[str], **options: Any) -> int:
    """Run `nnlint summary` and return the exit code."""
    if STDIN in paths:
        raise UsageError("a summary takes files, not standard input")
    check_paths(paths, "", command="nnlint summary")
    default_model = model_settings(options["arguments"], options["inputs"], options["loss"])
    options |= {"stdin_filename": "", "select": (), "ignore": ()}
    with contextlib.ExitStack() as stack:
        from nnlint.linter.load.pool import Pool

        pool = stack.enter_context(Pool())
        pool.start()
        config = find_configuration(paths, options)
        settings = merge(config, options, default_model)
        from nnlint.linter.check import lint_paths
        from nnlint.linter.signal import TASK

        found: dict[tuple[str, str], TaskResult] = {}

        def take(result: TaskResult) -> None:
            found[result.path, result.model] = result

        with Progress(enabled=not options["quiet"]) as progress:
            report = lint_paths(
                without_excluded(paths, config),
                settings,
                rules=[],
                pool=pool,
                progress=progress,
                order=Order(TASK, {}, take, SECONDS),
            )
    summaries = [
        _summary(
            model.name, model.path, model.line, model.reason, found.get((model.path, model.name))
        )
        for model in report.models
    ]
    _write(summaries, options)
    return int(any(each.reason for each in summaries) or not summaries)


def _summary(name: str, path: str, line: int, reason: str, result: TaskResult | None) -> Summary:
    if result is not None and result.data is not None and not reason:
        return Summary(name, path, line, data=result.data)
    if result is not None and result.finding is not None:
        reason = reason or result.finding.message
    return Summary(name, path, line, reason or "it could not be analysed")


def _write(summaries: Sequence[Summary], options: Mapping[str, Any]) -> None:
    if options["html"]:
        from nnlint.cli.summary_page import page

        try:
            Path(options["html"]).write_text(page(summaries), encoding="utf-8", newline="\n")
        except OSError as error:
            raise UsageError(f"cannot write {options['html']}: {error.strerror or error}") from None
    if options["form"] == "json":
        from nnlint.cli.json_object import jsonable

        data = {
            "schema_version": SCHEMA_VERSION,
            "models": [jsonable(each.to_dict()) for each in summaries],
        }
        write_stdout(json.dumps(data, indent=2) + "\n")
        return
    from nnlint.cli.summary_table import table

    color = wants_color(options["color"], sys.stdout)
    plain = not encodes(sys.stdout, "█")
    width = terminal_width(sys.stdout)
    write_stdout(
        "\n".join(table(each, width=width, color=color, plain=plain) for each in summaries)
    )
