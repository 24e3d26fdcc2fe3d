"""Joins what a probe says of a model with what the lint says of it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence

from nnlint.errors import CaptureError, NnlintError
from nnlint.linter.findings import Check, Finding, Location, Report
from nnlint.linter.load.files import read_text
from nnlint.linter.outcomes import run_probe_rules
from nnlint.linter.probed import Probed
from nnlint.linter.rules.base import Rule
from nnlint.probe_service.capture.bundle import Capture, CaptureRefused
from nnlint.probe_service.client.outcome import Outcome
from nnlint.probe_service.client.telling import not_probed, probed
from nnlint.probe_service.diagnose import join
from nnlint.probe_service.options import ProbeOptions


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """One probe with what the rules say of it.

    Attributes:
        probed: What became of it.
        findings: Of the probe rules.
        checks: How these ended.
    """

    probed: Probed
    findings: tuple[Finding, ...] = ()
    checks: tuple[Check, ...] = ()


def judge(
    outcome: Outcome, options: ProbeOptions, rules: Iterable[type[Rule]], *, server: str = ""
) -> Judged:
    """Have the probe rules judge what a service measured.

    Args:
        outcome: What the service answered.
        options: What was asked for.
        rules: The rules of the run, others than those of a probe among them.
        server: Address of the service, "" for one of the client's own.
    """
    what = probed(outcome, options, server)
    assert what.measured is not None
    findings, checks = run_probe_rules(what.measured, rules)
    return Judged(what, findings, checks)


def refused(refusal: CaptureRefused, place: Location, seed: int) -> Judged:
    """Return what is told of a model that could not be captured."""
    error = CaptureError(refusal.reason, location=refusal.location, hint=refusal.hint)
    return Judged(not_probed(refusal.model, place, error, seed))


def unserved(capture: Capture, error: NnlintError, seed: int) -> Judged:
    """Return what is told of a model that the service did not run."""
    return Judged(not_probed(capture.model, capture.location, error, seed))


def with_probe(report: Report, judged: Judged) -> Report:
    """Return a report with one more probe, whose findings are joined with those of the lint."""
    measured = judged.probed.measured
    findings: Sequence[Finding] = (*report.findings, *judged.findings)
    if measured is not None:
        findings = join(report.findings, judged.findings, judged.checks, measured)
    return dataclasses.replace(
        report,
        findings=tuple(sorted(findings, key=_order)),
        checks=(*report.checks, *judged.checks),
        sources={**_sources(findings), **report.sources},
        probes=(*report.probes, judged.probed),
    )


def merged(reports: Sequence[Report]) -> Report:
    """Return the reports of several files as one."""
    return Report(
        findings=tuple(sorted((finding for report in reports for finding in report), key=_order)),
        models=tuple(model for report in reports for model in report.models),
        checks=tuple(check for report in reports for check in report.checks),
        suppressed=tuple(finding for report in reports for finding in report.suppressed),
        sources={path: text for report in reports for path, text in report.sources.items()},
        probes=tuple(each for report in reports for each in report.probes),
    )


def _order(finding: Finding) -> tuple[str, int, int, str, str, str]:
    place = finding.location
    return place.path, place.line, place.column, finding.code, finding.model, finding.message


def _sources(findings: Iterable[Finding]) -> dict[str, str]:
    """Return the text of every file that the findings point at."""
    places = {
        place.path
        for finding in findings
        for place in (finding.location, *(each.location for each in finding.related))
    }
    found = {}
    for path in sorted(places):
        with contextlib.suppress(OSError, SyntaxError, LookupError):
            found[path] = read_text(path)
    return found
