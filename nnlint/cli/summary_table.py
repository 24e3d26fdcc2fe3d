"""A summary of a model as a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nnlint.cli.console import escape, style, width_of
from nnlint.cli.wording import count_of

if TYPE_CHECKING:
    from nnlint.cli.summarising import Summary

_TITLES = ("layer", "type", "output", "parameters", "initialiser", "activation", "gradient", "")
_RIGHT = frozenset({3, 5, 6})
# What goes first where there is no room.
_DROPPED = (4, 2, 7)
_CELLS = 12
_LONGEST = 20  # characters of a type
# The least range of a bar, so that healthy models look alike.
_DECADES = 6.0
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def table(summary: Summary, *, width: int, color: bool, plain: bool) -> str:
    """Return one model as text."""
    title = style(escape(summary.name), "bold", color=color)
    place = escape(f"{summary.path}:{summary.line}")
    if summary.reason:
        return f"{title} ({place}): not analysed: {escape(summary.reason)}\n"
    layers: Sequence[Mapping[str, Any]] = summary.data["layers"]
    facts = [count_of(len(layers), "layer"), f"{summary.data['parameters']:,} parameters"]
    shapes = [_sizes(each["shape"]) for each in summary.data["inputs"] if each["shape"]]
    if shapes:
        facts.append(f"input {', '.join(shapes)}")
    loss = summary.data["loss"]
    facts.append(f"loss {loss}" if loss else "no loss known: gradients of the output's size 1")
    lines = [f"{title} ({place}): {escape(', '.join(facts))}"]
    bounds = scale(layers)
    rows = [_TITLES, *(_row(layer, bounds, plain=plain) for layer in layers)]
    columns = list(range(len(_TITLES)))
    for dropped in _DROPPED:
        if _total(rows, columns) > width:
            columns.remove(dropped)
    widths = {c: max(width_of(row[c]) for row in rows) for c in columns}
    for number, row in enumerate(rows):
        cells = [_padded(row[c], widths[c], right=c in _RIGHT) for c in columns]
        text = "  " + "  ".join(cells).rstrip()
        lines.append(style(text, "dim", color=color) if number == 0 else text)
    return "\n".join(lines) + "\n"


def _total(rows: Sequence[Sequence[str]], columns: Sequence[int]) -> int:
    return 2 + sum(2 + max(width_of(row[c]) for row in rows) for c in columns)


def _padded(text: str, width: int, *, right: bool) -> str:
    gap = " " * (width - width_of(text))
    return gap + text if right else text + gap


def scale(layers: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the powers of ten that bars run between."""
    known = [layer["predicted_gradient_rms"] for layer in layers]
    logs = [math.log10(value) for value in known if value]
    if not logs:
        return -_DECADES, 0.0
    high = max(logs)
    return min(*logs, high - _DECADES), high


def share(value: float | None, bounds: tuple[float, float]) -> float | None:
    """Return how far a gradient lies between the bounds, on a log scale."""
    if value is None:
        return None
    if value <= 0:
        return 0.0
    low, high = bounds
    return (math.log10(value) - low) / (high - low) if high > low else 1.0


def number(value: float | None) -> str:
    """Write a size with two digits."""
    return (
        "?"
        if value is None
        else f"{value:.1e}"
        if value and not 0.01 <= value < 1e4
        else f"{value:.3g}"
    )


def _row(layer: Mapping[str, Any], bounds: tuple[float, float], *, plain: bool) -> tuple[str, ...]:
    return (
        escape(layer["path"] or "(model)"),
        _cut(escape(layer["type"])),
        _sizes(layer["output_shape"]),
        f"{layer['parameters']:,}",
        escape(layer["initialiser"] or "?"),
        number(layer["predicted_activation_rms"]),
        number(layer["predicted_gradient_rms"]),
        _bar(share(layer["predicted_gradient_rms"], bounds), plain=plain),
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 2] + ".."


def _sizes(shape: Sequence[int] | None) -> str:
    return "?" if shape is None else "x".join(map(str, shape))


def _bar(part: float | None, *, plain: bool) -> str:
    if part is None:
        return ""
    if plain:
        return "#" * round(part * _CELLS)
    eighths = round(part * _CELLS * 8)
    return (_EIGHTHS[-1] * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()
