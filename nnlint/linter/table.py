"""A report as a plain-text table, for notebooks and `print`."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence

from nnlint.linter.comparison import Comparison
from nnlint.linter.findings import Finding, Outcome, Report, Severity
from nnlint.linter.notebook import written
from nnlint.linter.probed import Layer, Probed, layers
from nnlint.linter.verdicts import verdicts

MESSAGE_WIDTH = 60
_PLACE_WIDTH = 40
_HEADER = ("severity", "rule", "where", "message")
_LAYER_HEADER = ("layer", "kind", "activation", "gradient", "update", "units")


def render(report: Report) -> str:
    """Return the findings as a table of severity, rule, place and message, and the counts.

    After a probe, a table of the layers of each model comes first.
    """
    parts = [_probe(probed) for probed in report.probes]
    if report.findings:
        parts.append(_table([_HEADER, *(_row(finding, report) for finding in report)]))
    if report.comparison is not None:
        parts.append(_comparison(report.comparison))
    return "\n\n".join([*parts, counts(report)])


def _table(rows: Sequence[Sequence[str]]) -> str:
    cells = [[_lines(cell, column) for column, cell in enumerate(row)] for row in rows]
    widths = [max(len(line) for row in cells for line in row[i]) for i in range(len(rows[0]))]
    lines = [line for row in cells for line in _laid_out(row, widths)]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([lines[0], rule, *lines[1:]])


def _probe(probed: Probed) -> str:
    measured = probed.measured
    if measured is None:
        return f"{_clean(probed.model)} was not probed: {_clean(probed.reason)}"
    ending = [] if probed.complete else [f"{probed.status}: {_clean(probed.reason)}"]
    told = [
        _clean(f"{verdict.label}: {'; '.join((verdict.text, *verdict.lines))}")
        for verdict in verdicts(measured)
    ]
    if "gradients" not in measured.experiments.asked:
        title = f"{probed.model} on {measured.device}, batch {measured.batch_size}"
        return "\n".join([_clean(title), *told, *ending])
    losses = " -> ".join(f"{loss:.4g}" for loss in measured.losses) or "unknown"
    steps = f"{measured.steps} step{'s' * (measured.steps != 1)}"
    loss = "loss" if measured.loss_known else "stand-in for a loss"
    title = (
        f"{probed.model} on {measured.device}, {steps} of {measured.optimizer}, batch "
        f"{measured.batch_size}; {loss} {losses}"
    )
    table = _table([_LAYER_HEADER, *(_layer(layer) for layer in layers(measured))])
    return "\n".join([_clean(title), *told, table, *ending])


def _layer(layer: Layer) -> tuple[str, ...]:
    shape = "x".join(map(str, layer.shape))
    units = [
        f"{share:.0%} {word}"
        for share, word in ((layer.dead, "dead"), (layer.saturated, "saturated"))
        if share is not None
    ]
    return (
        layer.path or "(model)",
        f"{layer.operator} {shape}".strip(),
        _magnitude(layer.activation_rms),
        _magnitude(layer.gradient_rms) or "none",
        _magnitude(layer.update_ratio),
        ", ".join(units),
    )


def _magnitude(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _clean(text: str) -> str:
    return "".join(c if unicodedata.category(c)[0] != "C" else "?" for c in text)


def _comparison(comparison: Comparison) -> str:
    """Return how much has changed; `Report.comparison` has what."""
    lines = [f"compared with {comparison.baseline}:"]
    for model in comparison.models:
        counts = (
            (model.new_findings, "new findings"),
            (model.gone_findings, "gone findings"),
            (model.layers, "changed layers"),
            (model.new_layers, "new layers"),
            (model.gone_layers, "gone layers"),
        )
        told = [f"{word}: {len(found)}" for found, word in counts if found]
        lines.append(f"{model.model}: {', '.join(told) or 'nothing has changed'}")
    return "\n".join(map(_clean, lines))


def _row(finding: Finding, report: Report) -> tuple[str, str, str, str]:
    modules = finding.modules
    more = f" and {len(modules) - 1} more" if len(modules) > 1 else ""
    where = written(finding.location.path, finding.location.line, report.sources)
    if modules:
        where = f"{modules[0]}{more} ({where})"
    return finding.severity.value, finding.rule, where, finding.message


def _lines(text: str, column: int) -> list[str]:
    clean = _clean(text)
    if column < 2:
        return [clean]
    return textwrap.wrap(clean, MESSAGE_WIDTH if column == 3 else _PLACE_WIDTH) or [""]


def _laid_out(row: Sequence[list[str]], widths: Sequence[int]) -> list[str]:
    height = max(map(len, row))
    padded = [lines + [""] * (height - len(lines)) for lines in row]
    return [
        "  ".join(
            f"{lines[i]:{width}}" for lines, width in zip(padded, widths, strict=True)
        ).rstrip()
        for i in range(height)
    ]


def counts(report: Report) -> str:
    """Return how many findings and checks there are, and which models were not analysed."""
    parts = []
    for severity in Severity:
        number = sum(finding.severity is severity for finding in report)
        if number:
            parts.append(f"{number} {severity.value}{'s' * (number > 1)}")
    text = ", ".join(parts) or "no findings"
    if report.checks:
        passed, missed = report.count(Outcome.PASSED), report.count(Outcome.NOT_CHECKED)
        total = f"{len(report.checks)} check{'s' * (len(report.checks) > 1)}"
        text += f" ({total}: {passed} passed, {missed} not checked)"
    missing = [f"{m.name} was not analysed: {m.reason}" for m in report.models if not m.analysed]
    return "\n".join([text, *missing])
