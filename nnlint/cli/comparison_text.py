"""What has changed since an earlier probe, as text for a review."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from nnlint.cli.console import escape, style
from nnlint.cli.formats import RenderOptions
from nnlint.cli.wording import list_some
from nnlint.linter.comparison import Comparison, LayerChange, ModelComparison, Noted
from nnlint.linter.rules.probe.reading import times

# More are counted, unless all are asked for.
_SHOWN = 10


def render(comparison: Comparison, options: RenderOptions) -> str:
    """Return the section of a report that compares it with another one."""
    title = style("compared with", "bold", color=options.color)
    lines = [f"{title} {escape(comparison.baseline)}:"]
    for model in comparison.models:
        lines += _model(model, options)
    for word, names in (
        ("not in the baseline", comparison.new_models),
        ("in the baseline alone", comparison.gone_models),
    ):
        if names:
            lines.append(f"  {word}: {escape(list_some(names, _SHOWN))}")
    return "\n".join(lines) + "\n"


def _model(model: ModelComparison, options: RenderOptions) -> Iterator[str]:
    what = "" if model.changed else ": no layer and no finding has changed"
    if not model.compared and not model.changed:
        what = ": no finding has changed"
    yield f"  {style(escape(model.model), 'bold', color=options.color)}{what}"
    if model.settings:
        told = [f"{name} {_setting(a)} -> {_setting(b)}" for name, (a, b) in model.settings.items()]
        yield f"    made otherwise: {escape(', '.join(told))}"
    if not model.compared:
        yield "    gradients are not compared: one of the two probes did not measure them"
    for finding in model.new_findings:
        yield f"    new {_finding(finding, options)}"
    for finding in model.gone_findings:
        yield f"    gone {_finding(finding, options)}"
    most = len(model.layers) if options.verbose else _SHOWN
    for change in model.layers[:most]:
        yield f"    gradient of {escape(change.layer or '(model)')}: {_change(change)}"
    if len(model.layers) > most:
        yield f"    {len(model.layers) - most} further layers have changed; -v shows all"
    yield from _layers("new", model.new_layers)
    yield from _layers("gone", model.gone_layers)


def _layers(word: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        shown = list_some([name or "(model)" for name in names], _SHOWN)
        yield f"    {word} layer{'s' * (len(names) != 1)}: {escape(shown)}"


def _finding(finding: Noted, options: RenderOptions) -> str:
    known = finding.severity in {"error", "warning", "note"}
    severity = escape(finding.severity)
    word = style(severity, finding.severity, color=options.color) if known else severity
    return f"{word}: {escape(finding.message)} [{escape(finding.rule)}]"


def _change(change: LayerChange) -> str:
    numbers = f"{_number(change.before)} -> {_number(change.after)}"
    factor = change.factor
    if not 0 < factor < math.inf:
        return numbers
    word = "larger" if factor > 1 else "smaller"
    return f"{numbers}, {times(max(factor, 1 / factor))} times {word}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


def _setting(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
