"""Read an earlier JSON report to compare a probe with it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

import pydantic

from nnlint.errors import UsageError
from nnlint.linter.comparison import Earlier, Noted
from nnlint.linter.findings import Location
from nnlint.linter.measured import Measured, MeasuredParameter
from nnlint.linter.probed import layers

_WRITE = "write one with `nnlint probe ... --output-format json:FILE`"
_Number = float | Literal["nan", "inf", "-inf"] | None


class _Read(pydantic.BaseModel):
    """A part of a report; what newer versions add is passed over."""

    model_config = pydantic.ConfigDict(extra="ignore", frozen=True)


class _Parameter(_Read):
    name: str
    shape: list[int]
    gradient_rms: list[_Number]


class _Experiments(_Read):
    asked: list[str]


class _Probe(_Read):
    model: str
    path: str
    seed: int
    device: str | None
    precision: str | None
    batch_size: int | None
    data: str | None
    optimizer: str | None
    learning_rate: _Number
    losses: list[_Number]
    parameters: list[_Parameter]
    experiments: _Experiments | None = None


class _Finding(_Read):
    rule: str
    code: str
    severity: str
    message: str
    model: str
    modules: list[str]
    path: str


class _Report(_Read):
    schema_version: Literal[1]
    findings: list[_Finding]
    probes: list[_Probe]


def read_baseline(path: str) -> tuple[Earlier, ...]:
    """Read the models of an earlier report.

    Raises:
        UsageError: It cannot be read, is no report of nnlint, one of another version, or one
            without probes.
    """
    report = _parsed(path, _content(path))
    if not report.probes:
        raise UsageError(f"{path} has no probe in it", hint=_WRITE)
    return tuple(_earlier(probe, report) for probe in report.probes)


def _content(path: str) -> Any:
    try:
        text = Path(path).read_text("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no JSON report of nnlint", hint=_WRITE) from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise UsageError(f"{path} is no JSON report of nnlint", hint=_WRITE) from None


def _parsed(path: str, content: Any) -> _Report:
    if not isinstance(content, dict) or "schema_version" not in content or "nnlint" not in content:
        raise UsageError(f"{path} is no JSON report of nnlint", hint=_WRITE)
    if content["schema_version"] != 1:
        version = content["nnlint"]
        raise UsageError(
            f"{path} was written by nnlint {version}, in a form that this version does not read",
            hint="make the baseline again with this version",
        )
    try:
        return _Report.model_validate(content)
    except pydantic.ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise UsageError(
            f"{path} is no complete report of a probe: {place} is missing or wrong", hint=_WRITE
        ) from None


def _earlier(probe: _Probe, report: _Report) -> Earlier:
    measured = probe.batch_size is not None
    settings: dict[str, Any] = {"seed": probe.seed}
    if measured:
        settings |= {
            "batch_size": probe.batch_size,
            "data": probe.data,
            "optimizer": probe.optimizer,
            "learning_rate": _number(probe.learning_rate),
            "precision": probe.precision,
            "device": probe.device,
            "steps": len(probe.losses),
        }
    mine = [each for each in report.findings if each.model == probe.model]
    return Earlier(
        probe.model,
        probe.path,
        settings,
        _gradients(probe) if probe.losses else None,
        [_noted(each) for each in mine if each.path == probe.path]
        or [_noted(each) for each in mine],
        frozenset(probe.experiments.asked if probe.experiments else ["gradients"]),
    )


def _noted(finding: _Finding) -> Noted:
    return Noted(
        code=finding.code,
        rule=finding.rule,
        severity=finding.severity,
        model=finding.model,
        modules=frozenset(finding.modules),
        message=finding.message,
        path=finding.path,
    )


def _gradients(probe: _Probe) -> dict[str, float | None]:
    """Return the gradients of the layers, which are computed from those of their parameters."""
    parameters = tuple(
        MeasuredParameter(
            each.name, tuple(each.shape), gradient_rms=tuple(map(_number, each.gradient_rms))
        )
        for each in probe.parameters
    )
    rebuilt = Measured(probe.model, Location(probe.path, 1), 1, (), (), parameters)
    return {layer.path: layer.gradient_rms for layer in layers(rebuilt)}


def _number(value: _Number) -> float | None:
    return (
        {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[value]
        if isinstance(value, str)
        else value
    )
