"""Captures a training step in the process in which the user's code runs."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnlint.errors import CaptureError, NnlintError
from nnlint.linter.load.tasks import Work
from nnlint.probe_service.capture.bundle import CaptureRefused
from nnlint.probe_service.capture.data import load
from nnlint.probe_service.capture.session import Subject, capture
from nnlint.probe_service.options import ProbeOptions

# The name under which the linter's worker finds `run`.
NAME = f"{__name__}:run"


def run(work: Work) -> dict[str, Any]:
    """Capture one model.

    Returns:
        The folder that holds the capture, or the refusal. What the user got wrong (a file of
        data that does not fit) is told apart: it is an error of the call, not of the model.
    """
    options = _options(work.options)
    data = work.options.get("data")
    try:
        batch = None
        if isinstance(data, str) and data:
            batch = load(data, work.model, options, work.code)
        captured = capture(
            Subject(
                model=work.model,
                target=work.target,
                code=work.code,
                built_at=work.built_at,
                settings=work.settings,
                graph=work.graph,
                batch=batch,
            ),
            options,
        )
    except CaptureError as error:
        refused = CaptureRefused(
            work.target.name, error.location or work.target.location, str(error), error.hint
        )
        return {"refused": refused.to_dict()}
    except NnlintError as error:
        return {"usage": {"message": str(error), "hint": error.hint}}
    folder = Path(tempfile.mkdtemp(dir=str(work.options["folder"])))
    captured.write(folder)
    return {"folder": str(folder)}


def _options(given: Mapping[str, object]) -> ProbeOptions:
    names = {field.name for field in dataclasses.fields(ProbeOptions)}
    values: dict[str, Any] = {key: value for key, value in given.items() if key in names}
    return ProbeOptions(**values)
