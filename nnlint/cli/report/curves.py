"""Charts of a run: losses by step, the learning-rate curve, and histograms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnlint.cli.report.charts import Spec, told_apart
from nnlint.cli.report.numbers import number, odd, plotted

_HEIGHT = 220
# A loss this many times the first one says no more than that it grew.
_MOST = 3.0
# Heights that differ by more than this are easier to read as powers of ten.
_WIDE = 20.0
_TICKS = 8


@dataclass(frozen=True, slots=True)
class Mark:
    """A value that is marked across a chart, with a name."""

    name: str
    value: float


def steps(
    series: Mapping[str, Sequence[float]],
    title: str,
    *,
    marks: Sequence[Mark] = (),
    log: bool = False,
) -> Spec:
    """Return lines by step.

    Args:
        series: By name; a value that is not finite has no place on the line: a word stands for it.
        title: Of the vertical axis.
        marks: Heights to mark.
        log: Whether heights may be logarithmic: where they are positive and far apart.
    """
    found = [value for values in series.values() for value in values if not odd(value)]
    log = log and bool(found) and min(found) > 0 and max(found) > _WIDE * min(found)
    values = [
        {
            "step": step,
            "series": name,
            "value": plotted(value),
            "text": number(value, 4),
            "word": odd(value),
        }
        for name, each in series.items()
        for step, value in enumerate(each, 1)
    ]
    shown = [mark for mark in marks if not log or mark.value > 0]
    return {
        "description": f"{title} by step: {', '.join(series)}",
        "width": "container",
        "height": _HEIGHT,
        "layer": [
            _lines(
                values,
                {
                    "field": "step",
                    "type": "quantitative",
                    "scale": {"nice": False, "zero": False},
                    "axis": {"title": "step", "format": "d", "values": _ticks(series)},
                },
                _height(title, log=log),
                list(series),
                points=len(values) <= 120,
            ),
            *_across(shown, "y"),
        ],
    }


def rates(
    learning_rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    *,
    marks: Sequence[Mark],
    linear: bool,
) -> Spec:
    """Return the loss by learning rate, measured and smoothed, with rates that are marked."""
    series = {"loss": losses, "smoothed": smoothed}
    values = [
        {
            "rate": plotted(rate),
            "series": name,
            "value": plotted(value),
            "text": number(value, 4),
            "word": odd(value),
        }
        for name, each in series.items()
        for rate, value in zip(learning_rates, each, strict=False)
    ]
    height = _height("loss", log=False)
    finite = [value for value in (*losses, *smoothed) if not odd(value)]
    if finite:
        # Where it diverges it leaves the chart: what comes before is to be seen.
        first, least = finite[0], min(finite)
        top = max(first + _MOST * abs(first - least), first + 0.1 * abs(first) + 1e-6)
        height["scale"] = {
            "zero": False,
            "domain": [plotted(least), plotted(min(top, max(*finite, least + 1e-6)))],
            "nice": True,
        }
    axis: Spec = {
        "title": "learning rate",
        "format": "~g" if linear else "~e",
        "labelOverlap": True,
    }
    axis["tickCount"] = 8
    rate = {
        "field": "rate",
        "type": "quantitative",
        "scale": {"type": "linear" if linear else "log"},
        "axis": axis,
    }
    return {
        "description": "Loss by learning rate, with suggested rates",
        "width": "container",
        "height": _HEIGHT + 40,
        "layer": [
            _lines(values, rate, height, list(series), points=False),
            *_across(marks, "x"),
        ],
    }


def bins(series: Sequence[str]) -> Spec:
    """Return the chart of how many values have which magnitude; its data are yet to be given."""
    told = told_apart(series)
    told.pop("shape")
    return {
        "description": "Shares of values by magnitude",
        "width": "container",
        "height": 140,
        "data": {"values": []},
        "mark": {"type": "line", "interpolate": "step", "aria": False},
        "encoding": {
            "x": {
                "field": "bin",
                "type": "ordinal",
                "sort": None,
                "axis": {"title": "magnitude", "labelOverlap": True, "labelAngle": 0},
            },
            "y": {
                "field": "share",
                "type": "quantitative",
                "axis": {"title": "share of values", "format": "%", "tickCount": 4},
            },
            **told,
        },
    }


def _lines(
    values: Sequence[Mapping[str, Any]],
    x: Mapping[str, Any],
    y: Mapping[str, Any],
    series: Sequence[str],
    *,
    points: bool,
) -> dict[str, Any]:
    told = told_apart(series)
    common = {"y": dict(y), **told}
    hint = [{"field": str(x["field"]), "title": str(x["axis"]["title"])}]
    hint += [{"field": "series", "title": "what"}] if len(series) > 1 else []
    hint += [{"field": "text", "title": "value"}]
    # Small points look like a part of the line: they are there to be pointed at.
    size = {"filled": False} if points else {"filled": True, "size": 5}
    layer: list[dict[str, Any]] = [
        {
            "mark": {
                "type": "line",
                "clip": True,
                "aria": False,
                "strokeWidth": 2 if points else 1.2,
            },
            "encoding": {key: each for key, each in common.items() if key != "shape"},
        },
        {
            "mark": {"type": "point", "clip": True, "aria": False, **size},
            "encoding": {
                **{key: each for key, each in common.items() if key != "strokeDash"},
                "tooltip": hint,
            },
        },
    ]
    if any(value["word"] for value in values):
        # What has no height stands at the bottom.
        layer.append(
            {
                "transform": [{"filter": "datum.word != ''"}],
                "mark": {"type": "text", "style": "word", "dy": -8},
                "encoding": {"y": {"value": _HEIGHT}, "text": {"field": "word"}},
            }
        )
    return {"data": {"values": list(values)}, "encoding": {"x": dict(x)}, "layer": layer}


def _across(marks: Sequence[Mark], channel: str) -> Iterator[dict[str, Any]]:
    for index, mark in enumerate(marks):
        value = {"datum": plotted(mark.value), "type": "quantitative"}
        if value["datum"] is None:
            continue
        upright = channel == "x"
        place = {"y": {"value": 10 + 14 * index}} if upright else {"x": {"value": 4}}
        text = {
            "type": "text",
            "style": "marklabel",
            "text": f"{mark.name} {number(mark.value)}",
            # Towards the middle, so that it stays inside.
            "align": {"expr": "scale('x', datum.at) > width / 2 ? 'right' : 'left'"}
            if upright
            else "left",
            "dx": {"expr": "scale('x', datum.at) > width / 2 ? -5 : 5"} if upright else 0,
            "dy": 0 if upright else -6,
        }
        data = {"values": [{"at": value["datum"]}]}
        yield {
            "data": data,
            "mark": {"type": "rule", "style": "marked", "strokeDash": _DASHES[index % 3]},
            "encoding": {channel: value},
        }
        yield {"data": data, "mark": text, "encoding": {channel: value, **place}}


_DASHES = ([1, 0], [6, 3], [2, 2])


def _height(title: str, *, log: bool) -> dict[str, Any]:
    scale = {"type": "log"} if log else {"zero": False}
    axis = {"title": title, "format": ".4~g", "tickCount": 6, "labelOverlap": True}
    return {"field": "value", "type": "quantitative", "scale": scale, "axis": axis}


def _ticks(series: Mapping[str, Sequence[float]]) -> list[int]:
    """Return a few of the steps."""
    count = max(map(len, series.values()), default=0)
    every = max(math.ceil(count / _TICKS), 1)
    return list(range(1, count + 1, every))
