"""A summary of models as one HTML page without scripts or links."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nnlint.cli.summary_table import number, scale, share

if TYPE_CHECKING:
    from nnlint.cli.summarising import Summary

_STYLE = """
body { font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; border-bottom: 2px solid #888; }
td, th { padding: 0.2em 0.8em 0.2em 0; white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td.bar { width: 30%; }
td.bar div { background: #2a7; height: 0.9em; }
"""
_HEAD = (
    '<tr><th>layer</th><th>type</th><th>output</th><th class="n">parameters</th><th>initialiser</th>'
    '<th class="n">activation</th><th class="n">gradient</th><th>(log scale)</th></tr>'
)


def page(summaries: Sequence[Summary]) -> str:
    """Return the whole page."""
    body = "\n".join(_model(summary) for summary in summaries)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>nnlint summary</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _model(summary: Summary) -> str:
    place = html.escape(f"{summary.path}:{summary.line}")
    title = f"<h2>{html.escape(summary.name)}</h2>\n<p>{place}"
    if summary.reason:
        return f"{title}: not analysed: {html.escape(summary.reason)}</p>"
    layers = summary.data["layers"]
    bounds = scale(layers)
    loss = summary.data["loss"]
    rows = []
    for layer in layers:
        part = share(layer["predicted_gradient_rms"], bounds)
        bar = "" if part is None else f'<div style="width: {100 * part:.1f}%"></div>'
        shape = layer["output_shape"]
        rows.append(
            f"<tr><td>{html.escape(layer['path'] or '(model)')}</td>"
            f"<td>{html.escape(layer['type'])}</td>"
            f"<td>{'?' if shape is None else 'x'.join(map(str, shape))}</td>"
            f'<td class="n">{layer["parameters"]:,}</td>'
            f"<td>{html.escape(layer['initialiser'] or '?')}</td>"
            f'<td class="n">{number(layer["predicted_activation_rms"])}</td>'
            f'<td class="n">{number(layer["predicted_gradient_rms"])}</td>'
            f'<td class="bar">{bar}</td></tr>'
        )
    told = f"loss {html.escape(loss)}" if loss else "no loss known"
    facts = f"{len(layers)} layers, {summary.data['parameters']:,} parameters, {told}"
    return f"{title}: {facts}</p>\n<table>\n{_HEAD}\n" + "\n".join(rows) + "\n</table>"
