"""Draw the figures of the tutorial from what `nnlint probe` measures.

Usage: python docs/tutorial/figures.py

Needs vl-convert-python, which `nnlint[report]` brings.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import vl_convert

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SIZE = {"width": 420, "height": 160}
# Readable on white and on black.
GREY = "#888888"
CONFIG = {
    "background": None,
    "view": {"stroke": None},
    "axis": {"labelColor": GREY, "titleColor": GREY, "gridColor": GREY, "gridOpacity": 0.3},
    "legend": {"labelColor": GREY, "titleColor": GREY},
    "header": {"labelColor": GREY},
    "range": {"category": ["#d1495b", "#2f7fc1", "#3a9a5b"]},
}

Rows = list[dict[str, Any]]


def probe(path: str, *options: str) -> dict[str, Any]:
    """Run `nnlint probe` and return the only probe of its JSON report."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.json"
        command = [sys.executable, "-m", "nnlint", "probe", path, *options, "--exit-zero", "-q"]
        subprocess.run([*command, "--output-format", f"json:{file}"], cwd=ROOT, check=True)  # noqa: S603 - our own program
        (found,) = json.loads(file.read_text(encoding="utf-8"))["probes"]
        return dict(found)


def gradients(name: str, probed: dict[str, Any]) -> Rows:
    """Return the gradient's root mean square of each weight at the last step; none where it is 0."""
    return [
        {"model": name, "layer": each["name"].rpartition(".")[0], "y": each["gradient_rms"][-1]}
        for each in probed["parameters"]
        if each["name"].endswith(".weight") and each["gradient_rms"][-1]
    ]


def curve(name: str, losses: Iterable[float], rates: Iterable[float] | None = None) -> Rows:
    """Return a loss for each step, or for each learning rate."""
    xs = range(1, 1_000_000) if rates is None else rates
    return [{"model": name, "x": x, "y": y} for x, y in zip(xs, losses, strict=False)]


def lines(rows: Rows, across: str, down: str = "loss", *, log: bool = False) -> dict[str, Any]:
    """Return a chart of lines."""
    scale = {"type": "log"} if log else {}
    return {
        "data": {"values": rows},
        "mark": {"type": "line", "clip": True},
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "title": across, "scale": scale},
            "y": {
                "field": "y",
                "type": "quantitative",
                "title": down,
                "scale": {"zero": not log},
            },
            "color": {"field": "model", "type": "nominal", "title": None},
        },
    }


def bars(rows: Rows) -> dict[str, Any]:
    """Return gradients layer by layer on a log scale."""
    return {
        "data": {"values": rows},
        "mark": {"type": "point", "filled": True, "size": 80},
        "encoding": {
            "x": {
                "field": "layer",
                "type": "nominal",
                "sort": None,
                "title": None,
                "axis": {"labelAngle": 0},
            },
            "y": {
                "field": "y",
                "type": "quantitative",
                "title": "RMS of the gradient",
                "scale": {"type": "log"},
                "axis": {"format": ".0e", "tickCount": 6},
            },
            "color": {"field": "model", "type": "nominal", "title": None},
        },
    }


def overfit() -> dict[str, Any]:
    """Return the losses of two networks on 56 samples."""
    rows: Rows = []
    for name, path in (
        ("sigmoid as output", "examples/sigmoid_head.py"),
        ("logits as output", "docs/tutorial/models/digits.py"),
    ):
        attempts = probe(path, "--experiment", "overfit")["experiments"]["overfit"]["attempts"]
        rows += curve(name, attempts[0]["losses"])
    return lines(rows, "step")


def forgotten() -> dict[str, Any]:
    """Return the gradients of a network that forgets a layer."""
    probed = probe("docs/tutorial/models/forgotten.py")
    return bars(gradients("a layer is missing", probed))


def rates() -> dict[str, Any]:
    """Return the loss under a growing learning rate, with the suggestion."""
    data = ("--data", "docs/tutorial/models/digits.py:scaled")
    probed = probe("docs/tutorial/models/digits.py", "--experiment", "lr-range", *data)
    found = probed["experiments"]["lr_range"]
    rows = curve("moving average", found["smoothed"][:-2], found["learning_rates"])
    mark = {
        "data": {"values": [{"x": found["steepest"]}]},
        "mark": {"type": "rule", "strokeDash": [4, 3], "color": "#2f7fc1"},
        "encoding": {"x": {"field": "x", "type": "quantitative"}},
    }
    return {"layer": [lines(rows, "learning rate", log=True), mark]}


def vanishing() -> dict[str, Any]:
    """Return the gradients of the same network with two activations."""
    rows = gradients("sigmoid", probe("examples/sigmoid_everywhere.py"))
    return bars(rows + gradients("ReLU", probe("examples/relu_twin.py")))


def initialised() -> dict[str, Any]:
    """Return the gradients of the same layers with two initialisations."""
    rows = gradients("every weight 100", probe("examples/weights_of_100.py", "--steps", "1"))
    return bars(rows + gradients("He", probe("examples/well_initialised.py", "--steps", "1")))


def evaluated() -> dict[str, Any]:
    """Return the losses of one batch with several random streams, in both modes."""
    rows: Rows = []
    for name, kind in (("always on", "Always"), ("in training alone", "Right")):
        path = f"docs/tutorial/models/dropped.py:{kind}"
        found = probe(path, "--experiment", "train-eval")["experiments"]["train_eval"]
        for mode in ("train", "eval"):
            rows += [{"model": name, "mode": mode, "y": y} for y in found[f"{mode}_losses"]]
    return {
        "data": {"values": rows},
        "mark": {"type": "tick", "thickness": 2},
        "encoding": {
            "x": {"field": "y", "type": "quantitative", "title": "loss", "scale": {"zero": False}},
            "y": {"field": "mode", "type": "nominal", "title": None, "sort": None},
            "row": {"field": "model", "type": "nominal", "title": None},
            "color": {"field": "model", "type": "nominal", "title": None, "legend": None},
        },
        "height": 40,
    }


FIGURES = {
    "overfit": overfit,
    "forgotten": forgotten,
    "rates": rates,
    "vanishing": vanishing,
    "initialised": initialised,
    "evaluated": evaluated,
}


def main() -> int:
    """Write the figures that are named, or all."""
    for name in sys.argv[1:] or FIGURES:
        spec = {
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
            **SIZE,
            "config": CONFIG,
        }
        svg = vl_convert.vegalite_to_svg({**spec, **FIGURES[name]()})
        (HERE / f"{name}.svg").write_text(svg, encoding="utf-8")
        print(f"{name}.svg: {len(svg):,} bytes", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
