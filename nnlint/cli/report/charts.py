"""Charts of a model's layers, as specifications of Vega-Lite (https://vega.github.io/vega-lite).

A chart knows its data, and which layer each mark is about (`i`); the page's script gives it two
signals: `query`, what is searched for, and `selected`, the position of the chosen layer. Colours
and fonts are the script's, by the names of styles, since they change with the theme.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnlint.cli.report.content import LayerRow, ModelContent
from nnlint.cli.report.numbers import logarithm, number, percent, plotted, word

Spec = dict[str, Any]
_ROW = 15  # height of a layer, in pixels
# More layers than this have no room for their names below a chart.
_NAMED = 32
_LABEL = 19  # characters of a layer's name at an axis; what tells it apart stands at its end
_HEIGHT = 220
# The least range of colours, in powers of ten, so that gradients much alike look alike.
_DECADES = 3
_SIGNALS = [{"name": "query", "value": ""}, {"name": "selected", "value": -1}]
_SEARCHED = {"filter": "query == '' || indexof(lower(datum.layer), query) >= 0"}
CHOSEN = "datum.i == selected"
_SHORT = f"length(datum.label) > {_LABEL} ? '…' + slice(datum.label, {1 - _LABEL}) : datum.label"


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with what is said above and below it.

    Attributes:
        name: Of its kind, "gradients".
        title: What it shows.
        text: How it is read, may be empty.
        spec: Of Vega-Lite.
        tall: Whether its height grows with the number of layers.
    """

    name: str
    title: str
    text: str
    spec: Spec
    tall: bool = False


def layer_charts(model: ModelContent) -> list[Chart]:
    """Return the charts of a model's layers that there is data for."""
    rows = model.layers
    if not any(row.gradients for row in rows):
        return []
    charts = [_heat_map(rows), _profile(rows, model.predicted)]
    if any(row.dead is not None or row.saturated is not None for row in rows):
        charts.append(_activity(rows))
    return charts


def _heat_map(rows: Sequence[LayerRow]) -> Chart:
    values = [
        {
            "i": row.index,
            "layer": row.name,
            "step": step,
            "log": logarithm(value),
            "text": number(value, none="none"),
            "word": word(value),
        }
        for row in rows
        for step, value in enumerate(row.gradients, 1)
    ]
    logs = [value["log"] for value in values if isinstance(value["log"], float)]
    top = math.ceil(max(logs, default=0.0))
    color = {
        "field": "log",
        "type": "quantitative",
        "scale": {
            "scheme": "viridis",
            "domain": [min([math.floor(min(logs, default=0.0)), top - _DECADES]), top],
        },
        "legend": {
            "title": "root mean square",
            "orient": "top",
            "direction": "horizontal",
            "gradientLength": 160,
            "labelExpr": "'1e' + datum.label",
            "format": "d",
            "tickMinStep": 1,
        },
    }
    cells: Spec = {
        # Rows without a number keep their places among the others.
        "mark": {
            "type": "rect",
            "style": "cell",
            "invalid": "show",
            "aria": False,
            "cursor": "pointer",
        },
        "encoding": {
            # A cell without a number has no place on the scale: a word stands in it.
            "color": {"condition": {"test": "isValid(datum.log)", **color}, "value": "transparent"},
            "strokeWidth": {"condition": {"test": CHOSEN, "value": 2}, "value": 0},
            "tooltip": _tooltip(layer="layer", step="step", text="gradient"),
        },
    }
    words: Spec = {
        "mark": {"type": "text", "style": "word", "aria": False},
        "encoding": {"text": {"field": "word"}},
    }
    spec = layered(
        values,
        [cells, words] if any(value["word"] for value in values) else [cells],
        description="Gradients by layer and step as colours on a logarithmic scale",
        height={"step": _ROW},
        encoding={
            "x": {
                "field": "step",
                "type": "ordinal",
                "axis": {"labelAngle": 0, "labelOverlap": True, "title": "step"},
            },
            "y": names("y"),
        },
    )
    return Chart(
        "gradients",
        "Gradients by layer and step",
        "Root mean square of each layer's gradients; brighter is larger, and a cell without a "
        "colour says why. A click selects the layer.",
        spec,
        tall=True,
    )


def _profile(rows: Sequence[LayerRow], predicted: str) -> Chart:
    """Return gradients from the first layer to the last, measured and predicted."""
    series: dict[str, list[float | None]] = {}
    if predicted:
        series["measured at step 1"] = [row.gradients[0] if row.gradients else None for row in rows]
        series["predicted"] = [row.predicted for row in rows]
        title = "Predicted and measured gradients"
    else:
        series["last step"] = [row.gradient for row in rows]
        title = "Gradients from the first layer to the last"
    values = [
        {
            "i": row.index,
            "layer": row.name,
            "series": name,
            "value": plotted(value) if value is not None and value > 0 else None,
            "text": number(value, none="none"),
        }
        for name, found in series.items()
        for row, value in zip(rows, found, strict=True)
    ]
    return Chart(
        "profile",
        title,
        predicted or "Root mean square by layer, in the order in which they are run.",
        by_layer(values, rows, list(series), "root mean square"),
    )


def by_layer(
    values: Sequence[Mapping[str, Any]], rows: Sequence[LayerRow], series: Sequence[str], title: str
) -> Spec:
    """Return a chart with a line for each series over the layers, on a logarithmic scale."""
    encoding = {
        "x": names("x", labels=len(rows) <= _NAMED),
        "y": {
            "field": "value",
            "type": "quantitative",
            "scale": {"type": "log"},
            "axis": {"title": title, "format": ".0e", "labelOverlap": True, "tickCount": 6},
        },
    }
    told = told_apart(series)
    dashed = {key: each for key, each in told.items() if key != "shape"}
    shaped = {key: each for key, each in told.items() if key != "strokeDash"}
    marks: list[Spec] = [
        {"mark": {"type": "line", "aria": False}, "encoding": dashed},
        {
            "mark": {"type": "point", "filled": False, "cursor": "pointer", "aria": False},
            "encoding": {
                **shaped,
                "size": {"condition": {"test": CHOSEN, "value": 220}, "value": 36},
                "strokeWidth": {"condition": {"test": CHOSEN, "value": 3}, "value": 1.5},
                "tooltip": _tooltip(layer="layer", series="what", text="gradient"),
            },
        },
    ]
    words = f"{title} by layer: {', '.join(series)}"
    return layered(values, marks, description=words, height=_HEIGHT, encoding=encoding)


def told_apart(series: Sequence[str]) -> dict[str, Any]:
    """Return what tells series apart: colour, dashes and the shape of points; none for one."""
    if len(series) < 2:
        return {}
    common = {"field": "series", "type": "nominal"}
    domain = list(series)
    legend = {"orient": "top", "title": None, "labelLimit": 240, "columns": 2}
    dashes = [[1, 0], [6, 3], [2, 2], [8, 2, 2, 2], [1, 3], [10, 4]]
    return {
        "color": {**common, "scale": {"domain": domain}, "legend": legend},
        "strokeDash": {
            **common,
            "scale": {"domain": domain, "range": [dashes[i % 6] for i in range(len(domain))]},
            "legend": legend,
        },
        "shape": {**common, "scale": {"domain": domain}, "legend": legend},
    }


def _activity(rows: Sequence[LayerRow]) -> Chart:
    values = [
        {
            "i": row.index,
            "layer": row.name,
            "kind": kind,
            "share": round(share, 4),
            "text": f"{percent(share)} {kind}",
        }
        for row in rows
        for kind, share in (("dead", row.dead), ("saturated", row.saturated))
        if share is not None
    ]
    kinds = sorted({str(value["kind"]) for value in values})
    encoding: dict[str, Any] = {
        "y": names("y"),
        "x": {
            "field": "share",
            "type": "quantitative",
            "scale": {"domain": [0, 1]},
            "axis": {"format": "%", "title": "share of units", "tickCount": 5},
        },
    }
    if len(kinds) > 1:
        encoding["yOffset"] = {"field": "kind"}
    bars: Spec = {
        "mark": {"type": "bar", "style": "bar", "aria": False, "cursor": "pointer"},
        "encoding": {
            "color": {"field": "kind", "scale": {"domain": ["dead", "saturated"]}, "legend": None},
            "strokeWidth": {"condition": {"test": CHOSEN, "value": 2}, "value": 0},
            "tooltip": _tooltip(layer="layer", text="units"),
        },
    }
    labels: Spec = {
        "mark": {"type": "text", "style": "barlabel", "cursor": "pointer"},
        "encoding": {"text": {"field": "text"}},
    }
    spec = layered(
        values,
        [bars, labels],
        description="Shares of dead and saturated units by layer",
        height={"step": _ROW + 3 if len(kinds) == 1 else 2 * _ROW},
        encoding=encoding,
    )
    return Chart(
        "activity",
        "Activity of units",
        "Dead units never fired over all samples; saturated ones were always in their flat region.",
        spec,
        tall=True,
    )


def names(channel: str, *, labels: bool = True) -> dict[str, Any]:
    """Return the layers along an axis, in the order of the data."""
    axis: dict[str, Any] = {"title": None if channel == "y" else "layers", "labels": labels}
    axis |= {"labelExpr": _SHORT, "labelLimit": 160, "ticks": labels}
    if channel == "x":
        axis |= {"labelAngle": -50, "labelOverlap": True}
    return {"field": "layer", "type": "nominal", "sort": None, "axis": axis}


def layered(
    values: Sequence[Mapping[str, Any]],
    layer: Sequence[Mapping[str, Any]],
    *,
    description: str,
    height: Any,
    encoding: Mapping[str, Any],
) -> Spec:
    """Return a chart about layers, whose marks are searched and selected."""
    return {
        "description": description,
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "params": _SIGNALS,
        "data": {"values": list(values)},
        "transform": [_SEARCHED],
        "encoding": dict(encoding),
        "layer": list(layer),
    }


def _tooltip(**fields: str) -> list[dict[str, str]]:
    return [{"field": key, "title": title} for key, title in fields.items()]
