"""The text that people read: one line per finding, stable for ever, with the code below it."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from nnlint.cli.console import escape, style
from nnlint.cli.formats import RenderOptions
from nnlint.cli.frame import code_frame
from nnlint.cli.wording import assumed, count_of, list_some, summary
from nnlint.linter.findings import Check, Finding, ModelReport, Outcome, Related, Report
from nnlint.linter.notebook import located, written

_INDENT = "    "
_RELATED_SHOWN = 3
_ASSUMED_SHOWN = 5
_ROLE_ORDER = {"loss": 0, "evidence": 1, "built": 2, "call": 3}


class TextFormat:
    """`path:line:col: severity: message [rule-name]`, and what helps to understand it.

    In a notebook the path is followed by the cell: `path:cell 3:line:col`.
    """

    name = "text"

    def render(self, report: Report, options: RenderOptions) -> str:
        """Return the findings, then what was not analysed, then the counts."""
        several = len({(model.path, model.name) for model in report.models}) > 1
        blocks = [*_probes(report, options)]
        blocks += [_finding(f, report, options, several=several) for f in report.findings]
        if report.comparison is not None:
            from nnlint.cli.comparison_text import render

            blocks.append(render(report.comparison, options))
        if options.show_suppressed:
            blocks += [_suppressed(finding, report, options) for finding in report.suppressed]
        blocks.append("".join(_not_analysed(report, options)))
        if not options.quiet:
            blocks.append("".join(_assumed(report, options)))
        if options.verbose:
            blocks.append("".join(_verbose(report, options)))
        if options.statistics:
            blocks.append("".join(_statistics(report)))
        if not options.quiet:
            blocks.append(_summary(report, options) + "\n")
        return "\n".join(block for block in blocks if block)


def _probes(report: Report, options: RenderOptions) -> Iterator[str]:
    if not report.probes:
        return
    # It imports rich, which a lint has no use for.
    from nnlint.cli.probe_table import render

    for probed in report.probes:
        told = probed.measured is None and _is_told(probed.path, probed.reason, report)
        if not told:
            yield render(probed, options, report.sources)


def _finding(finding: Finding, report: Report, options: RenderOptions, *, several: bool) -> str:
    lines = [_headline(finding, report, options)]
    place = finding.location
    text = report.sources.get(place.path)
    frame = code_frame(text, place, options.width - len(_INDENT)) if text is not None else None
    if frame is not None:
        carets = style(frame[1], finding.severity.value, color=options.color)
        lines += [f"{_INDENT}{frame[0]}", _INDENT + carets.rstrip()]
    if where := _modules(finding, several=several):
        lines.append(f"  in {escape(where)}")
    if verdict := _verdict(finding):
        lines += _wrapped("probe", verdict, options)
    for related in _related(finding):
        at = written(related.location.path, related.location.line, report.sources)
        lines.append(f"  {_label('note', options)} {escape(f'{related.message}: {at}')}")
    if finding.help:
        lines += _wrapped("help", finding.help, options)
    return "\n".join(lines) + "\n"


def _verdict(finding: Finding) -> str:
    """Return what a probe says about a finding of the lint."""
    probe = finding.evidence.get("probe")
    if not isinstance(probe, Mapping) or "verdict" not in probe:
        return ""
    verdict, message = str(probe["verdict"]).replace("-", " "), str(probe.get("message", ""))
    return message if message.startswith(verdict) else f"{verdict}: {message}"


def _headline(finding: Finding, report: Report, options: RenderOptions) -> str:
    cell, place = located(finding.location, report.sources)
    path = style(escape(place.path), "bold", color=options.color)
    severity = style(finding.severity.value, finding.severity.value, color=options.color)
    rule = style(f"[{escape(finding.rule)}]", "dim", color=options.color)
    message = escape(finding.message)
    where = (
        f"{place.line}:{place.column}"
        if cell is None
        else f"cell {cell}:{place.line}:{place.column}"
    )
    return f"{path}:{where}: {severity}: {message} {rule}"


def _label(word: str, options: RenderOptions) -> str:
    return style(f"{word}:", "bold", color=options.color)


def _wrapped(word: str, text: str, options: RenderOptions) -> list[str]:
    lines = textwrap.wrap(
        escape(text, keep="\n"),
        max(options.width - 2, 20),
        initial_indent=f"  {word}: ",
        subsequent_indent=" " * (len(word) + 4),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [lines[0].replace(f"{word}:", _label(word, options), 1), *lines[1:]] if lines else []


def _modules(finding: Finding, *, several: bool) -> str:
    modules = list_some(finding.modules)
    if not several or not finding.model:
        return modules
    return f"{modules} of {finding.model}" if modules else finding.model


def _related(finding: Finding) -> Sequence[Related]:
    """Return the few places that say more than the finding's own line does."""
    seen = {(finding.location.path, finding.location.line)}
    shown = []
    for place in sorted(finding.related, key=lambda place: _ROLE_ORDER.get(place.role, 9)):
        at = (place.location.path, place.location.line)
        if place.role != "class" and at not in seen:
            seen.add(at)
            shown.append(place)
    return shown[:_RELATED_SHOWN]


def _suppressed(finding: Finding, report: Report, options: RenderOptions) -> str:
    by = finding.evidence.get("suppression", {})
    reason = f", because: {by['reason']}" if by.get("reason") else ""
    cell = f" of cell {by['cell']}" if "cell" in by else ""
    text = f"  suppressed on line {by.get('line', finding.location.line)}{cell}{reason}"
    return f"{_headline(finding, report, options)}\n{escape(text)}\n"


def _not_analysed(report: Report, options: RenderOptions) -> Iterator[str]:
    for model in report.models:
        if not model.analysed and not _is_told(model.path, model.reason, report):
            word = style("not analysed", "warning", color=options.color)
            place = written(model.path, model.line, report.sources)
            yield f"{word}: {escape(f'{model.name} ({place}): {model.reason}')}\n"


def _assumed(report: Report, options: RenderOptions) -> Iterator[str]:
    models = [model for model in report.models if model.analysed and model.assumed]
    shown = len(models) if options.verbose else _ASSUMED_SHOWN
    word = _label("assumed", options)
    for model in models[:shown]:
        yield f"{word} {escape(f'{model.name} is built with {assumed(model)}')}\n"
    if len(models) > shown:
        yield f"{word} arguments of {count_of(len(models) - shown, 'further model')}\n"


def _is_told(path: str, reason: str, report: Report) -> bool:
    """Return whether a finding says already why a model was not analysed."""
    return any(
        finding.location.path == path and reason in (finding.message, finding.help)
        for finding in report
    )


def _verbose(report: Report, options: RenderOptions) -> Iterator[str]:
    for model in report.models:
        if not model.analysed:
            continue
        checks = [check for check in report.checks if check.model == model.name]
        title = style(escape(model.name), "bold", color=options.color)
        place = escape(written(model.path, model.line, report.sources))
        yield f"{title} ({place}), {_capture(model)}:\n"
        yield from _outcomes(checks, options)


def _capture(model: ModelReport) -> str:
    return f"traced by torch.{model.capture}" if model.capture else "analysed"


def _outcomes(checks: Sequence[Check], options: RenderOptions) -> Iterator[str]:
    for word, outcome in (("found", Outcome.FOUND), ("passed", Outcome.PASSED)):
        names = sorted({check.rule for check in checks if check.outcome is outcome})
        if names:
            yield "\n".join(_wrapped(word, escape(", ".join(names)), options)) + "\n"
    for check in checks:
        if check.outcome is Outcome.NOT_CHECKED:
            text = f"{check.rule}: {check.reason or 'no reason is given'}"
            yield "\n".join(_wrapped("not checked", text, options)) + "\n"


def _statistics(report: Report) -> Iterator[str]:
    counts = Counter((finding.code, finding.rule) for finding in report.findings)
    for (code, rule), number in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        yield f"{number:5d}  {escape(code)}  {escape(rule)}\n"


def _summary(report: Report, options: RenderOptions) -> str:
    notes = []
    if options.hidden:
        notes.append(f"{options.hidden} hidden by --show")
    if report.suppressed:
        notes.append(f"{count_of(len(report.suppressed), 'finding')} suppressed")
    text = "; ".join([summary(report), *notes])
    severity = report.worst.value if report.worst else "good"
    return style(text, severity, color=options.color)


FORMAT = TextFormat()
