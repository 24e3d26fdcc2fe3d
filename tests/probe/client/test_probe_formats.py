from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from nnlint.cli.formats import RenderOptions, format_names, load_format
from nnlint.cli.formats.json import json_schema
from nnlint.linter.findings import Location, Report
from nnlint.linter.measured import Measured, MeasuredNode, MeasuredParameter, Units
from nnlint.linter.probed import Probed, layers
from tests.cli.sarif_schema import SCHEMA as SARIF
from tests.probe.client import made

HERE = Path(__file__).parent
# The page is looked at in a browser, by tests/report.
WRITTEN = sorted({*format_names()} - {"html"})
EXTENSIONS = {"json": "json", "sarif": "json"}


def render(name: str, report: Report, **options: Any) -> str:
    return load_format(name).render(report, RenderOptions(**options))


@pytest.mark.parametrize("name", WRITTEN)
def test_each_format_of_a_probe_matches_its_golden_file(
    name: str, golden: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    path = HERE / "golden" / f"probe-{name}.{EXTENSIONS.get(name, 'txt')}"
    golden(path, render(name, made.report()))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("narrow", {"width": 60}),
        ("middle", {"width": 80}),
        ("wide-color", {"width": 160, "color": True}),
        ("ascii", {"ascii": True}),
    ],
)
def test_the_table_fits_the_terminal(name: str, options: Any, golden: Any) -> None:
    report = dataclasses.replace(made.report(), findings=())
    text = render("text", report, **options)
    golden(HERE / "golden" / f"probe-text-{name}.txt", text)
    if not options.get("color"):
        width = options.get("width", 100)
        assert all(len(line) <= width for line in text.splitlines()[:20])
        assert not options.get("ascii") or "█" not in text


def test_the_objects_follow_the_schema() -> None:
    content = json.loads(render("json", made.report()))
    jsonschema.validate(content, json_schema())
    jsonschema.validate(json.loads(render("sarif", made.report())), SARIF)
    net, other, third = content["probes"]
    assert net["parameters"][1]["gradient_rms"] == [None, None, None]
    assert other["losses"] == ["nan"]
    assert other["operations"][0]["activation_rms"] == ["inf"]
    assert other["non_finite"][0]["operands"][0]["maximum"] == 3e38
    assert third["reason"] == "forward branches on a value"
    assert (third["reason_path"], third["reason_line"]) == ("net.py", 33)


@pytest.mark.parametrize("name", format_names())
def test_hostile_names_do_not_reach_the_terminal(name: str) -> None:
    hostile = "\x1b]0;title\x07\u202e\udcff[bold]x[/bold]\n::error::"
    place = Location(hostile, 3)
    measured = Measured(
        hostile,
        place,
        4,
        (1.0,),
        (MeasuredNode(0, hostile, made.site(hostile, 3), parameters=(0,)),),
        (made.parameter(f"{hostile}.weight", (2, 2), 1.0, 0),),
        loss=hostile,
        device=hostile,
    )
    both = (
        Probed(hostile, hostile, 3, measured=measured, notes=(hostile,)),
        Probed(hostile, hostile, 3, "not-probed", hostile, hint=hostile, location=place),
    )
    text = render(name, Report(probes=both))
    text.encode()
    assert not {"\x1b", "\x07", "\u202e", "\udcff"} & set(text)


def test_layers_are_in_order_with_the_units_of_the_activation_after_them() -> None:
    found = layers(made.measured())
    assert [layer.path for layer in found] == ["stem", "名前", "head"]
    assert [layer.operator for layer in found] == ["conv2d", "linear", "linear"]
    assert [layer.dead for layer in found] == [5 / 8, None, None]
    assert [layer.saturated for layer in found] == [None, 1 / 16, None]
    assert found[0].gradient_rms == pytest.approx(1.5e-7)
    assert found[0].elements == 80
    assert found[2].gradient_rms == pytest.approx(
        (0.0421**2 * 160 / 170 + 0.05**2 * 10 / 170) ** 0.5
    )


def test_a_layer_that_is_not_run_and_a_measurement_without_steps_have_a_row() -> None:
    parameters = (MeasuredParameter("a.weight", (2,)), MeasuredParameter("scale", ()))
    measured = made.measured(nodes=(), parameters=parameters, losses=(), units=(Units(9, 1, 1),))
    assert [(x.path, x.gradient_rms) for x in layers(measured)] == [("a", None), ("", None)]
    assert "(model)" in str(Report(probes=(made.probed(measured=measured),)))


def test_without_a_step_there_is_no_table() -> None:
    early = made.probed(
        status="out-of-memory", reason="a step needs 3 GiB", measured=made.measured(losses=())
    )
    assert render("text", Report(probes=(early,))).splitlines()[:5] == [
        "Net (net.py:5), probed on CPU, 2 threads:",
        "  run: 0 steps of SGD (lr 0.01), batch 16 of random data, float32, seed 0",
        "  loss: cross_entropy at train.py:30",
        "  parity: loss and 4 gradients of the captured graph equal the model's to the bit",
        "out of memory: Net: a step needs 3 GiB",
    ]


def test_the_kind_of_a_layer_is_the_operation_that_takes_its_parameters() -> None:
    nodes = (
        made.node(0, "add_", made.site("norm", 9)),
        made.node(1, "batch_norm", made.site("norm", 9), parameters=(0,)),
    )
    parameters = (made.parameter("norm.weight", (8,), 0.1, 1),)
    (layer,) = layers(made.measured(nodes=nodes, parameters=parameters, units=()))
    assert layer.operator == "batch_norm"


def test_of_many_layers_the_first_and_last_are_shown() -> None:
    nodes = tuple(
        made.node(i, "linear", made.site(f"layer{i}", 9), parameters=(i,)) for i in range(100)
    )
    parameters = tuple(made.parameter(f"layer{i}.weight", (2, 2), 0.1, i) for i in range(100))
    many = made.measured(nodes=nodes, parameters=parameters, units=())
    report = Report(probes=(made.probed(measured=many),))
    text = render("text", report)
    assert "layer19 " in text
    assert "layer20 " not in text
    assert "60 layers left out" in text
    assert "layer20 " in render("text", report, verbose=True)


def test_a_report_is_printed_with_a_table_of_the_layers() -> None:
    lines = str(Report(probes=(made.probed(), made.refused()))).splitlines()
    assert lines == [
        "Net on CPU, 2 threads, 3 steps of sgd, batch 16; loss 2.303 -> 2.301 -> 2.299",
        "layer  kind            activation  gradient  update  units",
        "-----  --------------  ----------  --------  ------  ------------",
        "stem   conv2d 8x1x3x3  0.5         1.5e-07   0.002   62% dead",
        "名前     linear 16x8     0.125       0.000325  0.002   6% saturated",
        "head   linear 10x16    0.0833      0.0426    0.002",
        "",
        "Third was not probed: forward branches on a value",
        "",
        "no findings",
    ]
