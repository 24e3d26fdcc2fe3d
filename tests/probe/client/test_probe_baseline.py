"""A probe beside an earlier report: layers whose gradients changed, findings that came and went."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnlint.cli.formats import RenderOptions, load_format
from nnlint.cli.formats.json import json_schema
from nnlint.errors import UsageError
from nnlint.linter.baseline import read_baseline
from nnlint.linter.comparison import Comparison, compare
from nnlint.linter.experiments import Experiments
from nnlint.linter.findings import Finding, Location, Report, Severity
from nnlint.linter.measured import MeasuredParameter
from nnlint.linter.probed import Probed
from tests.probe.client import made
from tests.probe.client.made import INF, NAN

HERE = Path(__file__).parent


def finding(code: str, *modules: str, line: int = 8, **changes: Any) -> Finding:
    values: dict[str, Any] = {
        "rule": f"rule-{code}",
        "code": code,
        "severity": Severity.WARNING,
        "message": "something is 3.1 times too large",
        "location": Location("net.py", line),
        "model": "Net",
        "modules": modules,
    }
    return Finding(**{**values, **changes})


def net(gradients: dict[str, float | None], **changes: Any) -> Probed:
    parameters = tuple(
        MeasuredParameter(f"{name}.weight", (4, 4), gradient_rms=(value and 0.5, value))
        for name, value in gradients.items()
    )
    values = {"parameters": parameters, "nodes": (), "units": ()}
    return made.probed(measured=made.measured(**{**values, **changes}))


def read(report: Report, folder: Path) -> Any:
    path = folder / "old.json"
    path.write_text(load_format("json").render(report, RenderOptions()))
    return read_baseline(str(path))


def compared(now: Report, then: Report, folder: Path) -> Comparison:
    return compare(now, read(then, folder), "old.json")


def test_a_report_beside_itself_has_no_changes(tmp_path: Path) -> None:
    report = made.report()
    found = compared(report, report, tmp_path)
    assert [each.model for each in found.models] == ["Net", "Other", "Third"]
    assert not any(each.changed or each.settings for each in found.models)
    assert not found.new_models
    assert not found.gone_models


def test_layers_that_changed_by_more_than_three_times_are_told_the_most_first(
    tmp_path: Path,
) -> None:
    then = {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0, "e": 0.0, "f": NAN, "old": 1.0, "g": INF}
    now = {"a": 2.9, "b": 0.1, "c": 3.1, "d": None, "e": 1e-9, "f": NAN, "new": 1.0, "g": 1.0}
    (found,) = compared(Report(probes=(net(now),)), Report(probes=(net(then),)), tmp_path).models
    assert {each.layer for each in found.layers[:3]} == {"d", "e", "g"}
    assert [each.layer for each in found.layers[3:]] == ["b", "c"]
    assert found.layers[3].factor == pytest.approx(0.1)
    assert found.new_layers == ("new",)
    assert found.gone_layers == ("old",)


def test_findings_are_the_same_by_rule_model_and_modules_but_not_by_line_or_message(
    tmp_path: Path,
) -> None:
    then = (
        finding("NNL802", "a", "b"),
        finding("NNL804", "a"),
        finding("NNL804", "b"),
        finding("NNL999", model="Elsewhere"),
    )
    now = (
        finding("NNL802", "b", "c", line=80, message="another number"),
        finding("NNL804", "b", line=81),
        finding("NNL803"),
    )
    probes = (net({"a": 1.0}),)
    (found,) = compared(Report(now, probes=probes), Report(then, probes=probes), tmp_path).models
    assert [each.code for each in found.new_findings] == ["NNL803"]
    assert [(each.code, each.modules) for each in found.gone_findings] == [("NNL804", {"a"})]


def test_the_second_of_two_equal_findings_is_new(tmp_path: Path) -> None:
    probes = (net({}),)
    one, two = (finding("NNL801"),), (finding("NNL801"), finding("NNL801", line=9))
    (found,) = compared(Report(two, probes=probes), Report(one, probes=probes), tmp_path).models
    assert len(found.new_findings) == 1
    assert not found.gone_findings


def test_what_only_one_of_the_two_probes_looked_for_has_neither_come_nor_gone(
    tmp_path: Path,
) -> None:
    more = net({}, experiments=Experiments(("gradients", "overfit")))
    found = (finding("NNL809"), finding("NNL802"), finding("NNL402"))
    now, then = Report(found, probes=(more,)), Report(probes=(net({}),))
    (after,) = compared(now, then, tmp_path).models
    assert [each.code for each in after.new_findings] == ["NNL802", "NNL402"]
    (before,) = compared(then, now, tmp_path).models
    assert [each.code for each in before.gone_findings] == ["NNL802", "NNL402"]
    (same,) = compared(now, Report(probes=(more,)), tmp_path).models
    assert len(same.new_findings) == 3


def test_a_report_without_experiments_measured_gradients(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    content = json.loads(load_format("json").render(Report(probes=(net({}),)), RenderOptions()))
    del content["probes"][0]["experiments"]
    path.write_text(json.dumps(content))
    assert read_baseline(str(path))[0].asked == {"gradients"}


def test_what_the_two_probes_were_made_with_is_told_where_it_differs(tmp_path: Path) -> None:
    then = net({"a": 1.0}, optimizer="adamw", learning_rate=0.001)
    now = net({"a": 1.0}, batch_size=32)
    (found,) = compared(Report(probes=(now,)), Report(probes=(then,)), tmp_path).models
    assert found.settings == {
        "batch_size": (16, 32),
        "optimizer": ("adamw", "sgd"),
        "learning_rate": (0.001, 0.01),
    }


def test_a_model_is_found_again_in_another_folder_where_its_name_is_clear(tmp_path: Path) -> None:
    then = Report(probes=(dataclasses.replace(net({"a": 1.0}), path="old/net.py"),))
    assert len(compared(Report(probes=(net({"a": 1.0}),)), then, tmp_path).models) == 1
    two = (net({"a": 1.0}), dataclasses.replace(net({"a": 1.0}), path="b.py"))
    found = compared(Report(probes=two), then, tmp_path)
    assert found.new_models == ("Net", "Net")
    assert found.gone_models == ("Net",)


def test_without_gradients_only_findings_are_compared(tmp_path: Path) -> None:
    then, now = net({"a": 1.0}), net({"a": 9.0}, losses=())
    (found,) = compared(Report(probes=(now,)), Report(probes=(then,)), tmp_path).models
    assert not found.compared
    assert not found.layers


def comparison(folder: Path) -> Report:
    many = {f"layer{i}": 10.0**-i for i in range(14)}
    then = Report(
        (finding("NNL804", "stem", message="half of it is dead\x1b[0m"),),
        probes=(
            net({"stem": 1.0, "head": 1.0, "old": 1.0}, batch_size=8),
            dataclasses.replace(net(many), model="Deep"),
            dataclasses.replace(net({}), model="Same"),
            dataclasses.replace(net({}), model="Gone"),
        ),
    )
    now = Report(
        (finding("NNL802", "stem", severity=Severity.ERROR, message="it fades"),),
        probes=(
            net({"stem": 2e-4, "head": None, "new": 1.0}),
            dataclasses.replace(net(dict.fromkeys(many, 1.0)), model="Deep"),
            dataclasses.replace(net({}), model="Same"),
            dataclasses.replace(net({}), model="Added"),
        ),
    )
    return dataclasses.replace(now, comparison=compared(now, then, folder))


@pytest.mark.parametrize("verbose", [False, True])
def test_the_comparison_as_text_is_short(verbose: bool, tmp_path: Path, golden: Any) -> None:
    report = dataclasses.replace(comparison(tmp_path), probes=(), findings=())
    text = load_format("text").render(report, RenderOptions(verbose=verbose))
    assert "\x1b" not in text
    name = "probe-comparison-verbose" if verbose else "probe-comparison"
    golden(HERE / "golden" / f"{name}.txt", text)


def test_a_printed_report_counts_what_has_changed(tmp_path: Path) -> None:
    report = dataclasses.replace(comparison(tmp_path), probes=(), findings=())
    assert str(report).splitlines()[:5] == [
        "compared with old.json:",
        "Net: new findings: 1, gone findings: 1, changed layers: 2, new layers: 1, gone layers: 1",
        "Deep: changed layers: 13",
        "Same: nothing has changed",
        "",
    ]


def test_the_comparison_as_json_follows_the_schema(tmp_path: Path) -> None:
    content = json.loads(load_format("json").render(comparison(tmp_path), RenderOptions()))
    jsonschema.validate(content, json_schema())
    found = content["comparison"]
    assert found["models"][0]["settings"] == {"batch_size": [8, 16]}
    assert {each["layer"]: each["after"] for each in found["models"][0]["layers"]} == {
        "stem": 2e-4,
        "head": None,
    }
    assert found["models"][0]["new_findings"][0]["rule"] == "rule-NNL802"
    assert found["gone_models"] == ["Gone"]


WRONG = {
    "binary": (b"\xff\xfe\x00", "is no JSON report of nnlint"),
    "text": (b"Net is fine", "is no JSON report of nnlint"),
    "list": (b"[]", "is no JSON report of nnlint"),
    "foreign": (b'{"schema_version": 1, "results": []}', "is no JSON report of nnlint"),
    "deep": (b"[" * 100_000, "is no JSON report of nnlint"),
    "newer": (b'{"schema_version": 2, "nnlint": "9.0"}', "was written by nnlint 9.0"),
    "check": (
        b'{"schema_version": 1, "nnlint": "0.1.0", "findings": [], "probes": []}',
        "has no probe in it",
    ),
    "older": (b'{"schema_version": 1, "nnlint": "0.0.1", "findings": []}', "probes is missing"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_is_no_report_of_a_probe_is_refused(name: str, tmp_path: Path) -> None:
    content, said = WRONG[name]
    path = tmp_path / "old.json"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_baseline(str(path))
    assert said in str(caught.value)
    assert caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["", "missing.json"])
def test_a_file_that_cannot_be_read_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_baseline(str(tmp_path / name))


VALUES = st.none() | st.floats(min_value=0) | st.just(NAN)


@given(
    st.dictionaries(st.sampled_from("abcdef"), VALUES),
    st.dictionaries(st.sampled_from("abcdef"), VALUES),
)
def test_what_changes_one_way_changes_the_other_way(
    one: dict[str, float | None], two: dict[str, float | None]
) -> None:
    from nnlint.linter.comparison import Earlier, _compared

    before, after = Earlier("Net", "net.py", {}, one), Earlier("Net", "net.py", {}, two)
    there, back = _compared(before, after), _compared(after, before)
    assert {each.layer for each in there.layers} == {each.layer for each in back.layers}
    assert set(there.new_layers) == set(back.gone_layers)
    assert not _compared(before, before).changed
