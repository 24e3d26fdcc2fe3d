"""A probe as text: what was run, a row for each layer, and how the run ended."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nnlint.cli.console import escape, style
from nnlint.cli.formats import RenderOptions
from nnlint.cli.sparkline import sparkline
from nnlint.cli.wording import count_of
from nnlint.linter.measured import Measured
from nnlint.linter.notebook import written
from nnlint.linter.probed import Layer, Probed, layers
from nnlint.linter.verdicts import verdicts

# More layers than this are shown by their first and last ones, unless all are asked for.
_MOST_ROWS = 40
# So few more are shown as well, rather than left out with a word about them.
_FEW = 10
_BAR_CELLS = 12
# The least range of a bar, so that a healthy model's look alike: six powers of ten.
_DECADES = 6.0
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_BAR = "(log scale)"
# What goes first where there is no room.
_DROPPED = ("shape", "kind", "update", _BAR)
_FOLDED = ("layer", "units")
_GAP = 3  # blanks between two columns
_WORDS = {
    "not-probed": "not probed",
    "out-of-memory": "out of memory",
    "operator-failed": "an operation failed",
    "worker-crashed": "the worker crashed",
    "timed-out": "out of time",
    "cancelled": "cancelled",
}


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the table with its cells, aligned right for numbers."""

    title: str
    cells: list[Text]
    right: bool = True

    @property
    def width(self) -> int:
        return max(cell.cell_len for cell in [Text(self.title), *self.cells])


def render(probed: Probed, options: RenderOptions, sources: Mapping[str, str]) -> str:
    """Return the probe of one model as text; `sources` has the text of its file."""
    place = written(probed.path, probed.line, sources)
    where = probed.location
    at = written(where.path, where.line, sources) if where and where.path and where.line else ""
    if probed.measured is None:
        return "\n".join(_ending(probed, options, at or place)) + "\n"
    title = style(escape(probed.model), "bold", color=options.color)
    lines = [f"{title} ({escape(place)}), probed on {escape(probed.measured.device)}:"]
    lines += _facts(probed, probed.measured, options)
    lines += _experiments(probed.measured, options)
    if probed.measured.losses:
        lines.append(_table(layers(probed.measured), options))
    return "\n".join([*lines, *_ending(probed, options, at)]).rstrip() + "\n"


def _facts(probed: Probed, measured: Measured, options: RenderOptions) -> Iterator[str]:
    data = "your data" if measured.data == "user" else "random data"
    batch = f"batch {measured.batch_size} of {data}, {measured.precision}, seed {probed.seed}"
    if "gradients" in measured.experiments.asked:
        rate = f"lr {measured.learning_rate:g}"
        batch = (
            f"{count_of(measured.steps, 'step')} of {_optimizer(measured)} ({rate}), {batch}"
            f"{'; the last one is shown' if measured.steps > 1 else ''}"
        )
    yield from _labelled("run", batch, options)
    losses = " -> ".join(_number(loss, 4) for loss in _some(measured.losses))
    told = [losses, _loss(probed, measured)] if losses else [_loss(probed, measured)]
    yield from _labelled("loss", ", ".join(told), options)
    if probed.gradient_error is not None:
        yield from _labelled("parity", _parity(probed), options)
    for note in probed.notes:
        yield from _labelled("note", note, options)


def _experiments(measured: Measured, options: RenderOptions) -> Iterator[str]:
    for verdict in verdicts(measured):
        yield from _labelled(verdict.label, verdict.text, options)
        indent = " " * (len(verdict.label) + 4)
        for line in verdict.lines:
            yield from _wrapped(line, options, indent)
        for curve in verdict.curves:
            drawn = sparkline(
                curve.values, plain=options.ascii, floor=curve.floor, ceiling=curve.ceiling
            )
            if drawn:
                yield f"{indent}{curve.label} {style(drawn, 'note', color=options.color)}"


def _optimizer(measured: Measured) -> str:
    return {"sgd": "SGD", "adamw": "AdamW"}[measured.optimizer]


def _loss(probed: Probed, measured: Measured) -> str:
    match probed.loss_source:
        case "stand-in":
            return f"{measured.loss}, a stand-in"
        case "given":
            return f"{measured.loss}, as given"
        case "forward":
            return f"{measured.loss}, computed in forward"
        case _:
            return measured.loss


def _parity(probed: Probed) -> str:
    compared = f"loss and {count_of(probed.gradients, 'gradient')} of the captured graph"
    if probed.bit_equal:
        return f"{compared} equal the model's to the bit"
    return f"{compared} are within {probed.gradient_error:.1g} of the model's"


def _some(losses: Sequence[float]) -> Sequence[float]:
    """Return the losses, of many the first and the last ones."""
    return losses if len(losses) <= 8 else [*losses[:4], *losses[-3:]]


def _labelled(word: str, text: str, options: RenderOptions) -> list[str]:
    label = f"  {word}: "
    lines = _wrapped(text, options, label, " " * len(label))
    bold = style(f"{word}:", "bold", color=options.color)
    return [lines[0].replace(f"{word}:", bold, 1), *lines[1:]] if lines else []


def _wrapped(text: str, options: RenderOptions, first: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        escape(" ".join(text.split())),
        max(options.width, 40),
        initial_indent=first,
        subsequent_indent=indent or first,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _ending(probed: Probed, options: RenderOptions, at: str) -> Iterator[str]:
    """Yield why a probe was not made or did not complete."""
    if probed.complete:
        return
    word = style(_WORDS[probed.status], "warning", color=options.color)
    subject = f"{probed.model} ({at})" if at else probed.model
    yield f"{word}: {escape(f'{subject}: {probed.reason}')}"
    if probed.hint:
        yield from _labelled("help", probed.hint, options)


def _table(rows: Sequence[Layer], options: RenderOptions) -> str:
    """Return the layers as a table that fits the width."""
    if not rows:
        return "  no layer has parameters"
    width = min(options.width, 120)
    table, left_out = _filled(rows, options, width)
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=width,
        force_terminal=options.color,
        color_system="standard" if options.color else None,
        no_color=not options.color,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )
    console.print(table)
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    if left_out:
        lines.append(f"  {count_of(left_out, 'layer')} left out; -v shows all")
    return "\n".join(lines)


def _filled(rows: Sequence[Layer], options: RenderOptions, width: int) -> tuple[Table, int]:
    bars = _bars([row.gradient_rms for row in rows], plain=options.ascii)
    pairs = list(zip(rows, bars, strict=True))
    half = len(pairs)
    if len(pairs) > _MOST_ROWS + _FEW and not options.verbose:
        half = _MOST_ROWS // 2
        pairs = [*pairs[:half], *pairs[-half:]]
    columns = _fitting(
        [
            _Column(
                "layer", [Text(escape(row.path) or "(model)") for row, _ in pairs], right=False
            ),
            _Column("kind", [Text(escape(row.operator)) for row, _ in pairs], right=False),
            _Column(
                "shape", [Text("x".join(map(str, row.shape))) for row, _ in pairs], right=False
            ),
            _Column("activation", [_cell(row.activation_rms) for row, _ in pairs]),
            _Column("gradient", [_cell(row.gradient_rms, none="none") for row, _ in pairs]),
            _Column(_BAR, [Text(bar, style="cyan") for _, bar in pairs], right=False),
            _Column("update", [_cell(row.update_ratio) for row, _ in pairs]),
            _Column("units", [_units(row) for row, _ in pairs]),
        ],
        width,
    )
    table = Table(
        box=box.ASCII if options.ascii else box.SIMPLE_HEAD, show_edge=False, header_style="bold"
    )
    for column in columns:
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=column.title not in _FOLDED,
            overflow="fold",
        )
    for position, cells in enumerate(zip(*(column.cells for column in columns), strict=True)):
        if position == half:
            table.add_row("...")
        table.add_row(*cells)
    return table, len(rows) - len(pairs)


def _fitting(columns: list[_Column], width: int) -> list[_Column]:
    """Return the columns without those that there is no room for, the least important first."""
    for title in _DROPPED:
        if sum(column.width + _GAP for column in columns) - 1 <= width:
            break
        columns = [column for column in columns if column.title != title]
    return columns


def _cell(value: float | None, none: str = "") -> Text:
    if value is None:
        return Text(none, style="dim")
    return Text(_number(value), style="" if math.isfinite(value) else "bold red")


def _number(value: float, digits: int = 3) -> str:
    """Return a magnitude in some digits: 0.0123, 45.6, 1.2e-07."""
    if not math.isfinite(value):
        return str(value)
    if value == 0 or 0.001 <= abs(value) < 10_000:
        return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"
    return f"{value:.1e}"


def _units(row: Layer) -> Text:
    told = [
        f"{_percent(share)} {word}"
        for share, word in ((row.dead, "dead"), (row.saturated, "saturated"))
        if share is not None
    ]
    loud = max(row.dead or 0.0, row.saturated or 0.0) >= 0.5
    return Text(", ".join(told), style="bold yellow" if loud else "")


def _percent(share: float) -> str:
    if 0 < share < 0.01:
        return "<1%"
    return f"{math.floor(100 * share)}%"


def _bars(values: Sequence[float | None], *, plain: bool) -> list[str]:
    """Return a bar for each magnitude; the largest fills it, and each cell is a factor."""
    known = [math.log10(v) for v in values if v is not None and v > 0 and math.isfinite(v)]
    if not known:
        return [""] * len(values)
    top = max(known)
    bottom = min(*known, top - _DECADES)
    return [_bar(value, bottom, top, plain=plain) for value in values]


def _bar(value: float | None, bottom: float, top: float, *, plain: bool) -> str:
    if value is None or not math.isfinite(value) or value <= 0:
        return ""
    share = (math.log10(value) - bottom) / (top - bottom)
    if plain:
        return "#" * max(round(share * _BAR_CELLS), 1)
    eighths = max(round(share * _BAR_CELLS * 8), 1)
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")
