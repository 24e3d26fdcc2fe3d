"""A report as a piece of HTML, for the end of a notebook's cell.

It has no script and no style sheet, which notebooks may take away, and no colour of text or
background, since it stands on the notebook's own. Pages with charts are the command line's.
"""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from nnlint.linter.findings import Finding, Report, Severity
from nnlint.linter.notebook import written
from nnlint.linter.probed import Layer, Probed, layers
from nnlint.linter.table import counts
from nnlint.linter.verdicts import verdicts

# More layers than this are shown by their first and last ones.
_MOST_ROWS = 60
# The least range of a bar, so that healthy models look alike: six powers of ten.
_DECADES = 6.0
_LEFT = "text-align:left;vertical-align:top"
_RIGHT = "text-align:right;vertical-align:top"
_COLORS = {Severity.ERROR: "#d93025", Severity.WARNING: "#c77700", Severity.NOTE: "#3b78e7"}
_HEADER = (
    ("layer", _LEFT),
    ("kind", _LEFT),
    ("activation", _RIGHT),
    ("gradient", _RIGHT),
    ("(log scale)", _LEFT),
    ("update", _RIGHT),
    ("units", _LEFT),
)


def fragment(report: Report) -> str:
    """Return the probes, the findings with the user's lines, and the counts."""
    parts = [part for probed in report.probes for part in _probe(probed)]
    if report.findings:
        parts.append(_table((), (_finding(finding, report) for finding in report)))
    parts.append(f"<p>{_text(counts(report)).replace(chr(10), '<br>')}</p>")
    return f"<div>{''.join(parts)}</div>"


def _probe(probed: Probed) -> Iterator[str]:
    measured = probed.measured
    if measured is None:
        yield f"<p><b>{_text(probed.model)}</b> was not probed: {_text(probed.reason)}</p>"
        return
    losses = " → ".join(f"{loss:.4g}" for loss in measured.losses)
    facts = f"{measured.device}, {measured.optimizer}, batch {measured.batch_size}"
    facts += f", loss {losses}" if losses else ""
    yield f"<p><b>{_text(probed.model)}</b>: {_text(facts)}</p>"
    for verdict in verdicts(measured):
        yield f"<p><b>{_text(verdict.label)}</b>: {_text(verdict.text)}</p>"
    if "gradients" in measured.experiments.asked:
        yield _table(_HEADER, _layers(layers(measured)))
    if not probed.complete:
        yield f"<p><b>{_text(probed.status)}</b>: {_text(probed.reason)}</p>"


def _layers(rows: Sequence[Layer]) -> Iterator[str]:
    known = [math.log10(v) for row in rows if (v := row.gradient_rms) and math.isfinite(v)]
    top = max(known, default=0.0)
    bottom = min([*known, top - _DECADES])
    half = _MOST_ROWS // 2
    for index, row in enumerate(rows):
        if len(rows) > _MOST_ROWS and half <= index < len(rows) - half:
            if index == half:
                yield f"<td>{len(rows) - 2 * half} more</td>"
            continue
        units = [
            f"{math.floor(100 * share)}% {word}"
            for share, word in ((row.dead, "dead"), (row.saturated, "saturated"))
            if share is not None
        ]
        cells = (
            (f"<code>{_text(row.path) or '(model)'}</code>", _LEFT),
            (_text(f"{row.operator} {'x'.join(map(str, row.shape))}"), _LEFT),
            (_number(row.activation_rms), _RIGHT),
            (_number(row.gradient_rms) or "none", _RIGHT),
            (_bar(row.gradient_rms, bottom, top), _LEFT),
            (_number(row.update_ratio), _RIGHT),
            (", ".join(units), _LEFT),
        )
        yield "".join(f'<td style="{style}">{cell}</td>' for cell, style in cells)


def _bar(value: float | None, bottom: float, top: float) -> str:
    if not value or not math.isfinite(value):
        return ""
    share = (math.log10(value) - bottom) / (top - bottom)
    width = max(round(100 * share), 1)
    style = f"background:#2f7d4f;height:0.8em;width:{width}px"
    return f'<div style="{style}"></div>'


def _finding(finding: Finding, report: Report) -> str:
    place = finding.location
    where = _text(written(place.path, place.line, report.sources))
    lines = report.sources.get(place.path, "").split("\n")
    code = lines[place.line - 1].strip() if 1 <= place.line <= len(lines) else ""
    shown = f"<br><code>{_text(code)}</code>" if code else ""
    more = f"<br>{_text(finding.help)}" if finding.help else ""
    color = _COLORS[finding.severity]
    return (
        f'<td style="{_LEFT};border-left:4px solid {color}"><b>{finding.severity.value}</b></td>'
        f'<td style="{_LEFT};white-space:normal">{_text(finding.message)} '
        f"[{_text(finding.rule)}]<br>{where}{shown}{more}</td>"
    )


def _table(header: Sequence[tuple[str, str]], rows: Iterable[str]) -> str:
    titles = "".join(f'<th style="{style}">{title}</th>' for title, style in header)
    head = f"<thead><tr>{titles}</tr></thead>" if header else ""
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table>{head}<tbody>{body}</tbody></table>"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _text(text: str) -> str:
    """Return text with markup and control characters made harmless."""
    clean = "".join(c if unicodedata.category(c)[0] != "C" or c == "\n" else "?" for c in text)
    return html.escape(clean)
