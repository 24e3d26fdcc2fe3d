"""GitHub workflow commands: annotations on the lines of a pull request."""

from __future__ import annotations

from pathlib import PurePath

from nnlint.cli.console import escape
from nnlint.cli.formats import RenderOptions
from nnlint.linter.findings import Finding, Location, Report, Severity
from nnlint.linter.notebook_lines import in_file
from nnlint.linter.probed import Probed

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


class GithubFormat:
    """One workflow command per finding, the worst first, then one per probe that is incomplete.

    GitHub shows ten errors and ten warnings of a step and drops the rest without a word, see
    https://github.com/actions/toolkit/issues/734.
    """

    name = "github"

    def render(self, report: Report, options: RenderOptions) -> str:  # noqa: ARG002 - the protocol's signature
        """Return the commands."""
        findings = sorted(report.findings, key=lambda finding: -finding.severity.rank)
        commands = [_command(finding, report) for finding in findings]
        commands += [_incomplete(probed, report) for probed in report.probes if not probed.complete]
        return "".join(f"{command}\n" for command in commands)


def _command(finding: Finding, report: Report) -> str:
    cell, place = in_file(finding.location, report.sources)
    properties = {
        "title": f"{finding.rule} ({finding.code})",
        "file": PurePath(place.path).as_posix(),
        "line": str(max(place.line, 1)),
    }
    # GitHub ignores columns of a range over several lines.
    if place.end_line == place.line:
        properties |= {"col": str(place.column), "endLine": str(place.end_line)}
        properties |= {"endColumn": str(place.end_column)}
    else:
        properties["endLine"] = str(place.end_line)
    listed = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    text = f"{cell}: {finding.message}" if cell else finding.message
    text = f"{text}\n{finding.help}" if finding.help else text
    return f"::{_COMMANDS[finding.severity]} {listed}::{_data(text)}"


def _incomplete(probed: Probed, report: Report) -> str:
    place = probed.location or Location(probed.path, probed.line)
    place = in_file(place, report.sources)[1]
    file, line = PurePath(place.path).as_posix(), str(max(place.line, 1))
    properties = f"title=not probed,file={_property(file)},line={line}"
    return f"::warning {properties}::{_data(f'{probed.model}: {probed.reason}')}"


def _data(text: str) -> str:
    safe = escape(text, keep="\r\n").replace("%", "%25")
    return safe.replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


FORMAT = GithubFormat()
