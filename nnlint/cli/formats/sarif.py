"""SARIF 2.1.0 for code scanning, with the fields that GitHub asks for beyond the standard.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html and
https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nnlint import __version__
from nnlint.cli.formats import RenderOptions
from nnlint.cli.formats.json import dump_json
from nnlint.cli.frame import source_line
from nnlint.linter.findings import Finding, Location, Report, Severity
from nnlint.linter.notebook_lines import in_file
from nnlint.linter.rules.base import Rule, rule_by_key

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
BASE_ID = "%SRCROOT%"
MAX_RESULTS = 5000
"""GitHub keeps this many results of a run, and not the worst ones: the order is ours to make."""
MAX_TEXT = 1024
_PRECISION = {Severity.ERROR: "very-high", Severity.WARNING: "high", Severity.NOTE: "medium"}
_PROBLEM = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "recommendation"}


class SarifFormat:
    """One run with the rules, the results, and what could not be analysed."""

    name = "sarif"

    def render(self, report: Report, options: RenderOptions) -> str:
        """Return the log."""
        return dump_json({"$schema": SCHEMA, "version": "2.1.0", "runs": [_run(report, options)]})


def _run(report: Report, options: RenderOptions) -> dict[str, Any]:
    suppressed = report.suppressed if options.show_suppressed else ()
    prints = _fingerprints((*report.findings, *report.suppressed), report.sources, options)
    findings = sorted((*report.findings, *suppressed), key=_order)
    used = [*findings, *report.suppressed]
    rules = _rules(used, (check.code for check in report.checks))
    index = {rule["id"]: position for position, rule in enumerate(rules)}
    hidden = {id(finding) for finding in suppressed}
    return {
        "tool": {
            "driver": {
                "name": "nnlint",
                "version": __version__,
                "semanticVersion": __version__,
                "rules": rules,
            }
        },
        "invocations": [_invocation(report, len(findings), options)],
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {
            BASE_ID: {"description": {"text": "The folder that the paths are relative to."}}
        },
        "results": [
            _result(
                finding,
                index[finding.code],
                prints[id(finding)],
                report,
                options,
                suppressed=id(finding) in hidden,
            )
            for finding in findings[:MAX_RESULTS]
        ],
    }


def _order(finding: Finding) -> tuple[int, Location, str]:
    return -finding.severity.rank, finding.location, finding.code


def _invocation(report: Report, number: int, options: RenderOptions) -> dict[str, Any]:
    notes = []
    for model in report.models:
        if not model.analysed:
            note = _note("warning", f"{model.name} was not analysed: {model.reason}")
            place = Location(model.path, max(model.line, 1))
            notes.append({**note, "locations": [_location(place, report, options)]})
    for probed in report.probes:
        if not probed.complete:
            text = f"the probe of {probed.model} did not complete: {probed.reason}"
            place = probed.location or Location(probed.path, max(probed.line, 1))
            notes.append(
                {**_note("warning", text), "locations": [_location(place, report, options)]}
            )
    if number > MAX_RESULTS:
        notes.append(_note("warning", f"{number - MAX_RESULTS} results were left out"))
    extra = {"toolExecutionNotifications": notes} if notes else {}
    return {"executionSuccessful": True, **extra}


def _note(level: str, text: str) -> dict[str, Any]:
    return {"level": level, "message": {"text": text}}


def _rules(findings: Iterable[Finding], checked: Iterable[str]) -> list[dict[str, Any]]:
    """Describe every rule that ran or found something."""
    described = {finding.code: _bare_rule(finding) for finding in findings}
    known = rule_by_key()
    for code in {*described, *checked}:
        if code in known:
            described[code] = _rule(known[code])
    return [described[code] for code in sorted(described)]


def _rule(rule: type[Rule]) -> dict[str, Any]:
    sections, summary = rule.sections(), rule.summary()
    full = _plain(f"{summary} {sections['Why is this bad?']}")
    document = inspect.cleandoc(rule.__doc__ or "")
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": _short(_plain(summary))},
        "fullDescription": {"text": _short(full)},
        "help": {"text": document, "markdown": document},
        "defaultConfiguration": {"level": rule.severity.value},
        "properties": _properties(rule.severity, ["pytorch", rule.category.value]),
    }


def _bare_rule(finding: Finding) -> dict[str, Any]:
    text = _short(finding.rule.replace("-", " "))
    return {
        "id": finding.code,
        "name": finding.rule,
        "shortDescription": {"text": text},
        "fullDescription": {"text": text},
        "help": {"text": finding.help or text},
        "defaultConfiguration": {"level": finding.severity.value},
        "properties": _properties(finding.severity, ["pytorch"]),
    }


def _properties(severity: Severity, tags: list[str]) -> dict[str, Any]:
    return {
        "precision": _PRECISION[severity],
        "problem.severity": _PROBLEM[severity],
        "tags": tags,
    }


def _plain(markdown: str) -> str:
    return " ".join(markdown.replace("`", "").split())


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


def _result(
    finding: Finding,
    rule_index: int,
    fingerprint: str,
    report: Report,
    options: RenderOptions,
    *,
    suppressed: bool,
) -> dict[str, Any]:
    # The first sentence is the title of GitHub's alert.
    text = f"{finding.message}. {finding.help}" if finding.help else finding.message
    if cell := in_file(finding.location, report.sources)[0]:
        text = f"{cell}: {text}"
    location = _location(finding.location, report, options)
    if names := _logical(finding):
        location["logicalLocations"] = names
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": rule_index,
        "level": finding.severity.value,
        "message": {"text": _unlinked(text)},
        "locations": [location],
        "partialFingerprints": {"nnlint/v1": fingerprint},
        "properties": {
            "model": finding.model,
            "modules": finding.modules,
            "evidence": finding.evidence,
        },
    }
    if finding.related:
        result["relatedLocations"] = [
            {
                "id": number,
                **_location(place.location, report, options),
                "message": {"text": _unlinked(place.message) or place.role},
            }
            for number, place in enumerate(finding.related, start=1)
        ]
    if suppressed:
        reason = finding.evidence.get("suppression", {}).get("reason")
        justified = {"justification": reason} if reason else {}
        result["suppressions"] = [{"kind": "inSource", **justified}]
    return result


def _unlinked(text: str) -> str:
    """Escape what SARIF would read as a link: `[text](target)`."""
    return re.sub(r"\[([^\[\]]*)\](?=\()", r"\\[\1\\]", text)


def _logical(finding: Finding) -> list[dict[str, str]]:
    prefix = f"{finding.model}." if finding.model else ""
    return [{"fullyQualifiedName": prefix + module, "kind": "module"} for module in finding.modules]


def _location(whole: Location, report: Report, options: RenderOptions) -> dict[str, Any]:
    _, place = in_file(whole, report.sources)
    return {
        "physicalLocation": {
            "artifactLocation": _artifact(place.path, options),
            "region": _region(place),
        }
    }


def _region(place: Location) -> dict[str, int]:
    """Return the place cut to its first line: GitHub shows an alert only if all lines are new."""
    line, column = max(place.line, 1), max(place.column, 1)
    end = place.end_column if place.end_line == place.line else column + 1
    return {
        "startLine": line,
        "startColumn": column,
        "endLine": line,
        "endColumn": max(end, column + 1),
    }


def _artifact(path: str, options: RenderOptions) -> dict[str, str]:
    relative = _relative(path, options)
    if relative is None:
        return {"uri": Path(path).resolve().as_uri()}
    return {"uri": quote(relative, errors="surrogateescape"), "uriBaseId": BASE_ID}


def _relative(path: str, options: RenderOptions) -> str | None:
    """Return a path relative to the base with forward slashes, None outside of it."""
    try:
        base = Path(options.path_base or ".").resolve()
        return Path(path).resolve().relative_to(base).as_posix()
    except ValueError:
        return None


def _fingerprints(
    findings: Iterable[Finding], sources: Mapping[str, str], options: RenderOptions
) -> dict[int, str]:
    """Return an identity for each finding that stays when lines above it come or go."""
    seen: Counter[tuple[str, ...]] = Counter()
    prints = {}
    for finding in sorted(findings, key=lambda finding: (finding.location, finding.code)):
        subject = finding.modules[0] if finding.modules else finding.message
        path = _relative(finding.location.path, options) or finding.location.path
        key = (finding.code, path, subject, _source_line(finding.location, sources))
        text = "\0".join((*key, str(seen[key])))
        prints[id(finding)] = hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()
        seen[key] += 1
    return prints


def _source_line(place: Location, sources: Mapping[str, str]) -> str:
    line = source_line(sources.get(place.path, ""), place.line)
    return " ".join((line or "").split())


FORMAT = SarifFormat()
