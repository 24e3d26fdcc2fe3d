"""From a report to the text of its page."""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import importlib.resources
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

import nnlint
from nnlint.cli.comparison_text import render
from nnlint.cli.console import escape
from nnlint.cli.formats import RenderOptions
from nnlint.cli.json_object import jsonable
from nnlint.cli.report.charts import Chart, layer_charts
from nnlint.cli.report.code import Place
from nnlint.cli.report.content import LayerRow, ModelContent, Said, content
from nnlint.cli.report.curves import bins, steps
from nnlint.cli.report.histograms import histograms, labels
from nnlint.cli.report.numbers import logarithm, number, percent
from nnlint.cli.report.sections import Section, sections
from nnlint.cli.wording import count_of, summary
from nnlint.linter.findings import Report

_FOLDER = importlib.resources.files(__package__ or "nnlint.cli.report")
# The least range of a bar, so that healthy models look alike: six powers of ten.
_DECADES = 6.0
_HISTOGRAMS = ("parameters", "gradients", "activations")


@dataclass(frozen=True, slots=True)
class Shown:
    """A model as the template takes it.

    Attributes:
        content: What is said of it.
        charts: Of its layers and its losses.
        sections: Of its experiments.
        bars: For each layer the length of its gradient's bar, from 0 to 1.
    """

    content: ModelContent
    charts: tuple[Chart, ...]
    sections: tuple[Section, ...]
    bars: tuple[float, ...]


def page(report: Report) -> str:
    """Return the whole page."""
    models, rest = content(report)
    shown = [_shown(model) for model in models]
    has_charts = any(each.charts or each.sections for each in shown)
    scripts = [_asset("page.js")] if has_charts else []
    if has_charts:
        scripts.insert(0, _library())
    missed = [
        (escape(each.name), escape(each.reason)) for each in report.models if not each.analysed
    ]
    text = _template().render(
        version=nnlint.__version__,
        summary=summary(report),
        models=shown,
        rest=rest,
        missed=missed,
        comparison=_comparison(report),
        style=_asset("page.css"),
        scripts=scripts,
        hashes=[_hash(script) for script in scripts],
        data=_data(shown) if has_charts else "",
    )
    # A file name may hold lone surrogates, which are no valid Unicode.
    return text.encode("utf-8", "backslashreplace").decode()


def _comparison(report: Report) -> str:
    if report.comparison is None:
        return ""
    return render(report.comparison, RenderOptions(verbose=True))


def _shown(model: ModelContent) -> Shown:
    charts = layer_charts(model)
    measured = model.probed.measured
    if measured is not None and measured.losses:
        spec = steps({"loss": measured.losses}, "loss")
        charts.append(Chart("losses", "Loss by step", "Before each step of the optimiser.", spec))
    return Shown(model, tuple(charts), tuple(sections(model)), tuple(_bars(model.layers)))


def _bars(rows: Sequence[LayerRow]) -> Iterator[float]:
    logs = [logarithm(row.gradient) for row in rows]
    known = [log for log in logs if log is not None]
    top = max(known, default=0.0)
    bottom = min([*known, top - _DECADES])
    for log in logs:
        yield 0.0 if log is None else round(max((log - bottom) / (top - bottom), 0.02), 3)


def _data(shown: Sequence[Shown]) -> str:
    """Return what the script needs, as JSON that cannot close the element it stands in."""
    data = {
        "models": [_model(each) for each in shown],
        "bins": labels(),
        "histogram": bins(_HISTOGRAMS),
    }
    text = json.dumps(jsonable(data), separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _model(shown: Shown) -> Mapping[str, Any]:
    measured = shown.content.probed.measured
    counts = {} if measured is None else histograms(measured)
    charts = [*shown.charts, *(chart for each in shown.sections for chart in each.charts)]
    return {
        "layers": [_layer(row, counts.get(row.path, {})) for row in shown.content.layers],
        "findings": [_finding(each) for each in shown.content.findings],
        "charts": {chart.name: chart.spec for chart in charts},
    }


def _layer(row: LayerRow, counts: Mapping[str, Sequence[int]]) -> Mapping[str, Any]:
    return {
        "name": row.name,
        "facts": list(_layer_facts(row)),
        "gradients": [number(value, none="none") for value in row.gradients],
        "parameters": [dataclasses.astuple(each) for each in row.parameters],
        "called": _place(row.called),
        "built": _place(row.built),
        "findings": row.findings,
        "histograms": counts,
    }


def _layer_facts(row: LayerRow) -> Iterator[tuple[str, str]]:
    yield "kind", f"{row.kind} {row.shape}".strip()
    yield "parameters", f"{row.elements:,}"
    if row.activation is not None:
        yield "activation", number(row.activation)
    yield "gradient", number(row.gradient, none="none")
    if row.predicted is not None:
        yield "predicted at step 1", number(row.predicted)
    if row.update is not None:
        yield "update", number(row.update)
    for share, state in ((row.dead, "dead"), (row.saturated, "saturated")):
        if share is not None:
            yield "units", f"{percent(share)} {state}"


def _finding(said: Said) -> Mapping[str, str]:
    return {"severity": said.severity, "rule": said.rule, "message": said.message}


def _place(place: Place | None) -> Mapping[str, Any] | None:
    if place is None:
        return None
    return {"text": place.text, "code": [dataclasses.astuple(line) for line in place.code]}


def _asset(name: str) -> str:
    return _FOLDER.joinpath(name).read_text(encoding="utf-8")


@functools.cache
def _library() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script."""
    import vl_convert

    text: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    assert "</script" not in text.lower()
    assert "<!--" not in text
    return text


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"number": number, "percent": percent, "count_of": count_of}
    return environment.get_template("page.html")
