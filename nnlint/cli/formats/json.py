"""The report as JSON, described by `docs/schema/report.json`."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field

from nnlint import __version__
from nnlint.cli.comparison_json import ComparisonObject, comparison_object
from nnlint.cli.formats import RenderOptions
from nnlint.cli.json_object import JsonObject, jsonable
from nnlint.cli.probe_json import CELL, ProbeObject, probe_object
from nnlint.linter.findings import (
    Check,
    Finding,
    Location,
    ModelReport,
    Obstacle,
    Outcome,
    Related,
    Report,
)
from nnlint.linter.notebook import located

SCHEMA_VERSION: Literal[1] = 1


class RelatedObject(JsonObject):
    """A second place; lines and columns count from 1, the end column is one past the end."""

    message: str
    role: Literal["built", "call", "class", "loss", "evidence"]
    path: str
    cell: int | None = Field(description=CELL)
    line: int = Field(ge=1)
    column: int = Field(ge=1)
    end_line: int = Field(ge=1)
    end_column: int = Field(ge=1)


class FindingObject(JsonObject):
    """One thing that is wrong, at one place; lines and columns as in `RelatedObject`."""

    rule: str
    code: str
    severity: Literal["error", "warning", "note"]
    message: str
    path: str
    cell: int | None = Field(description=CELL)
    line: int = Field(ge=1)
    column: int = Field(ge=1)
    end_line: int = Field(ge=1)
    end_column: int = Field(ge=1)
    module: str | None = Field(description="The first of `modules`.")
    modules: list[str] = Field(description="Module paths that the finding holds for.")
    model: str = Field(description="Name of the model, empty for a finding about the file.")
    help: str
    evidence: dict[str, Any]
    related: list[RelatedObject]


class ModelObject(JsonObject):
    """What became of one model."""

    name: str
    class_name: str | None = Field(
        serialization_alias="class", description="Name of its class, where it is known."
    )
    path: str
    cell: int | None = Field(description=CELL)
    line: int
    status: Literal["analysed", "not-analysed"]
    reason: str | None = Field(description="Why it was not analysed.")
    obstacle: Obstacle | None = Field(description="The kind of `reason`.")
    capture: Literal["fx", "run"] | None = Field(description="How its graph was taken.")
    assumed: dict[str, str] = Field(
        description="Constructor arguments that no source tells, with the values they were given."
    )


class NotCheckedObject(JsonObject):
    """A check that could not be made."""

    rule: str
    code: str
    model: str
    reason: str


class ChecksObject(JsonObject):
    """How the checks ended; a check is one rule on one model."""

    found: int
    passed: int
    not_checked: int
    not_checked_list: list[NotCheckedObject]


class ReportObject(JsonObject):
    """The result of `nnlint check --output-format json`, and of `nnlint probe`."""

    schema_version: Literal[1] = Field(description="Changes when a field changes or goes.")
    nnlint: str = Field(description="Version that wrote the report.")
    findings: list[FindingObject]
    suppressed: list[FindingObject] | None = Field(
        description="Findings that a comment suppresses; null unless --show-suppressed is given."
    )
    models: list[ModelObject]
    checks: ChecksObject
    probes: list[ProbeObject] = Field(description="Empty after a check.")
    comparison: ComparisonObject | None = Field(description="null unless --baseline is given.")


class JsonFormat:
    """The whole report as one JSON object."""

    name = "json"

    def render(self, report: Report, options: RenderOptions) -> str:
        """Return the object, indented, in ASCII and without NaN, as strict parsers want it."""
        content = report_object(report, show_suppressed=options.show_suppressed)
        return dump_json(content.model_dump(mode="json", by_alias=True))


def report_object(report: Report, *, show_suppressed: bool = False) -> ReportObject:
    """Return a report as the object of the schema."""
    return ReportObject(
        schema_version=SCHEMA_VERSION,
        nnlint=__version__,
        findings=[_finding(finding, report) for finding in report],
        suppressed=[_finding(f, report) for f in report.suppressed] if show_suppressed else None,
        models=[_model(model, report) for model in report.models],
        checks=ChecksObject(
            found=report.count(Outcome.FOUND),
            passed=report.count(Outcome.PASSED),
            not_checked=report.count(Outcome.NOT_CHECKED),
            not_checked_list=[
                _not_checked(check)
                for check in report.checks
                if check.outcome is Outcome.NOT_CHECKED
            ],
        ),
        probes=[probe_object(probed, report.sources) for probed in report.probes],
        comparison=comparison_object(report.comparison) if report.comparison else None,
    )


def dump_json(content: object) -> str:
    """Return JSON text that every parser and every terminal can read."""
    return json.dumps(jsonable(content), indent=2, allow_nan=False) + "\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of the report."""
    schema = ReportObject.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _place(whole: Location, report: Report) -> dict[str, Any]:
    cell, place = located(whole, report.sources)
    return {
        "path": jsonable(place.path),
        "cell": cell,
        "line": max(place.line, 1),
        "column": max(place.column, 1),
        "end_line": max(place.end_line, 1),
        "end_column": max(place.end_column, 1),
    }


def _finding(finding: Finding, report: Report) -> FindingObject:
    modules = jsonable(finding.modules)
    return FindingObject(
        **_place(finding.location, report),
        rule=finding.rule,
        code=finding.code,
        severity=finding.severity.value,
        message=jsonable(finding.message),
        module=modules[0] if modules else None,
        modules=modules,
        model=jsonable(finding.model),
        help=jsonable(finding.help),
        evidence=jsonable(finding.evidence),
        related=[_related(place, report) for place in finding.related],
    )


def _related(place: Related, report: Report) -> RelatedObject:
    return RelatedObject(
        **_place(place.location, report), message=jsonable(place.message), role=place.role
    )


def _model(model: ModelReport, report: Report) -> ModelObject:
    cell, place = located(Location(model.path, model.line), report.sources)
    return ModelObject(
        name=jsonable(model.name),
        class_name=jsonable(model.class_name) or None,
        path=jsonable(model.path),
        cell=cell,
        line=place.line,
        status="analysed" if model.analysed else "not-analysed",
        reason=jsonable(model.reason) or None,
        obstacle=model.obstacle or None,
        assumed=jsonable(model.assumed),
        capture=model.capture,
    )


def _not_checked(check: Check) -> NotCheckedObject:
    return NotCheckedObject(
        rule=check.rule,
        code=check.code,
        model=jsonable(check.model),
        reason=jsonable(check.reason),
    )


FORMAT = JsonFormat()
