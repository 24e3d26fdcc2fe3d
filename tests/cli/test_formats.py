from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from nnlint.cli.formats import RenderOptions, format_names, load_format, parse_destinations
from nnlint.cli.formats.json import json_schema
from nnlint.cli.frame import code_frame
from nnlint.errors import UsageError
from nnlint.linter.findings import Finding, Location, ModelReport, Report, Severity
from tests.cli.sarif_schema import SCHEMA as SARIF

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
# The page is looked at in a browser, by tests/report.
WRITTEN = sorted({*format_names()} - {"html"})
EXTENSIONS = {"json": "json", "sarif": "json"}


def render(name: str, report: Report, **options: Any) -> str:
    return load_format(name).render(report, RenderOptions(**options))


def sarif(report: Report, **options: Any) -> dict[str, Any]:
    run: dict[str, Any] = json.loads(render("sarif", report, **options))["runs"][0]
    return run


def finding(path: str = "m.py", line: int = 1, **values: Any) -> Finding:
    values = {"severity": Severity.NOTE, "message": "m", **values}
    return Finding("some-rule", "NNL990", location=Location(path, line), **values)


@pytest.mark.parametrize("name", WRITTEN)
def test_each_format_matches_its_golden_file(
    name: str, report: Report, golden: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    golden(HERE / "golden" / f"format-{name}.{EXTENSIONS.get(name, 'txt')}", render(name, report))


def test_text_with_everything_matches_its_golden_file(report: Report, golden: Any) -> None:
    options = {"verbose": True, "statistics": True, "show_suppressed": True, "color": True}
    golden(HERE / "golden" / "format-text-all.txt", render("text", report, **options, hidden=2))


@pytest.mark.parametrize("name", format_names())
def test_each_format_renders_an_empty_report_and_hostile_text(name: str) -> None:
    render(name, Report())
    hostile = "\x1b]0;title\x07\u202e\udcff\n::error::\ttext %0A"
    one = finding(hostile, 10**9, message=hostile, help=hostile, model=hostile, modules=(hostile,))
    models = (ModelReport(hostile, hostile, 0, analysed=False, reason=hostile),)
    text = render(name, Report((one,), models, (), (one,), {hostile: hostile}), verbose=True)
    text.encode()
    assert not {"\x1b", "\x07", "\u202e"} & set(text)


@pytest.mark.parametrize("name", format_names())
def test_output_is_deterministic(name: str, report: Report) -> None:
    assert render(name, report) == render(name, report)


def test_the_first_line_of_a_finding_is_stable(report: Report) -> None:
    assert render("text", report).splitlines()[0] == (
        "model.py:8:21: warning: momentum 0 keeps the running statistics, at 0 and 1, for ever "
        "[frozen-batch-norm]"
    )


def test_a_clean_report_says_so() -> None:
    models = (ModelReport("Net", "m.py", 1, analysed=True),)
    assert render("text", Report(models=models)) == "no findings in 1 model\n"
    assert render("text", Report()) == "no findings, no models found\n"
    assert render("text", Report(), quiet=True) == ""


@pytest.mark.parametrize(
    ("line", "column", "end", "expected"),
    [
        ("    x = f(y)", 9, 13, ("x = f(y)", "    ^^^^")),
        ("\tx\t= f(y)", 6, 10, ("x   = f(y)", "      ^^^^")),
        ("s = '全角' + f(y)", 12, 16, ("s = '全角' + f(y)", " " * 13 + "^^^^")),
        ("s = '全角'", 6, 8, ("s = '全角'", "     ^^^^")),
        ("s = 'e\u0301' + f", 12, 13, ("s = 'e\u0301' + f", " " * 10 + "^")),
        ("x = 1", 40, 50, ("x = 1", "    ^")),
        ("x = '\x1b'", 1, 2, ("x = '\\x1b'", "^")),
    ],
)
def test_carets_stand_below_the_exact_columns(
    line: str, column: int, end: int, expected: tuple[str, str]
) -> None:
    assert code_frame(line, Location("m.py", 1, column, 1, end), 80) == expected


def test_a_long_line_is_cut_around_the_place() -> None:
    line = "x = " + "a + " * 200 + "softmax(y)" + " + b" * 200
    start = line.index("softmax") + 1
    shown, carets = code_frame(line, Location("m.py", 1, start, 1, start + 10), 60) or ("", "")
    assert len(shown) <= 60
    assert shown[carets.index("^") : carets.rindex("^") + 1] == "softmax(y)"
    assert shown.startswith("...")
    assert shown.endswith("...")


def test_a_place_outside_of_the_text_has_no_frame() -> None:
    assert code_frame("x = 1\n\n", Location("m.py", 2), 80) is None
    assert code_frame("x = 1", Location("m.py", 9), 80) is None


def test_json_output_is_valid_against_its_schema(report: Report) -> None:
    for show in (False, True):
        content = json.loads(render("json", report, show_suppressed=show))
        jsonschema.validate(content, json_schema())
        assert (content["suppressed"] is not None) is show


def test_the_report_schema_in_the_documentation_is_current(golden: Any) -> None:
    golden(DOCS / "schema" / "report.json", json.dumps(json_schema(), indent=2) + "\n")


def test_sarif_has_what_github_requires(report: Report) -> None:
    log = json.loads(render("sarif", report))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "nnlint"
    for rule in driver["rules"]:
        assert rule["id"]
        assert 0 < len(rule["shortDescription"]["text"]) <= 1024
        assert 0 < len(rule["fullDescription"]["text"]) <= 1024
        assert rule["help"]["text"]
        assert rule["properties"]["precision"] in {"very-high", "high", "medium", "low"}
        assert rule["properties"]["problem.severity"] in {"error", "warning", "recommendation"}
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        (location,) = result["locations"]
        region = location["physicalLocation"]["region"]
        assert 1 <= region["startLine"] == region["endLine"]
        assert 1 <= region["startColumn"] < region["endColumn"]
        uri = location["physicalLocation"]["artifactLocation"]["uri"]
        assert not uri.startswith(("/", "."))
        assert set(result["partialFingerprints"]) == {"nnlint/v1"}


@pytest.mark.parametrize("show", [False, True])
def test_sarif_is_valid_against_the_standard(report: Report, show: bool) -> None:
    for each in (report, Report()):
        log = json.loads(render("sarif", each, show_suppressed=show))
        jsonschema.Draft7Validator(SARIF).validate(log)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), "2.0.0"),
        (("runs", 0, "tool", "driver", "name"), 3),
        (("runs", 0, "results", 0, "level"), "fatal"),
        (("runs", 0, "results", 0, "rule"), "unknown property"),
        (("runs", 0, "results", 0, "message"), {"markdown": "no text"}),
    ],
)
def test_the_restated_standard_refuses_what_is_wrong(
    report: Report, path: tuple[Any, ...], value: object
) -> None:
    log = json.loads(render("sarif", report))
    place = log
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(SARIF).validate(log)


def test_sarif_is_valid_against_the_official_schema(report: Report) -> None:
    path = os.environ.get("NNLINT_SARIF_SCHEMA")
    if not path:
        pytest.skip(
            "the OASIS schema is not part of this project; NNLINT_SARIF_SCHEMA names a copy"
        )
    schema = json.loads(Path(path).read_text(encoding="utf-8"))
    for show in (False, True):
        log = json.loads(render("sarif", report, show_suppressed=show))
        jsonschema.Draft4Validator(schema).validate(log)
    jsonschema.Draft4Validator(schema).validate(json.loads(render("sarif", Report())))


def test_sarif_results_are_the_worst_first_and_cut() -> None:
    notes = [finding(line=line) for line in range(1, 5100)]
    error = finding(line=6000, severity=Severity.ERROR)
    run = sarif(Report((*notes, error)))
    assert len(run["results"]) == 5000
    assert run["results"][0]["level"] == "error"
    notice = run["invocations"][0]["toolExecutionNotifications"][0]
    assert notice["message"]["text"] == "100 results were left out"


def test_sarif_fingerprints_survive_lines_above_and_differ_for_twins() -> None:
    before = {"m.py": "x = f(y)\nx = f(y)\n"}
    after = {"m.py": "import os\n\nx  =  f(y)\nx = f(y)\n".replace("  ", " ")}
    first = Report((finding(), finding(line=2)), sources=before)
    second = Report((finding(line=3), finding(line=4)), sources=after)
    prints = [
        [result["partialFingerprints"]["nnlint/v1"] for result in sarif(report)["results"]]
        for report in (first, second)
    ]
    assert prints[0] == prints[1]
    assert len(set(prints[0])) == 2


def test_sarif_paths_are_relative_to_the_path_base(tmp_path: Path) -> None:
    inside = tmp_path / "a b" / "ü#.py"
    outside = tmp_path.parent / "other.py"
    report = Report((finding(str(inside)), finding(str(outside), line=2)))
    run = sarif(report, path_base=str(tmp_path))
    places = [
        result["locations"][0]["physicalLocation"]["artifactLocation"] for result in run["results"]
    ]
    assert {"uri": "a%20b/%C3%BC%23.py", "uriBaseId": "%SRCROOT%"} in places
    assert {"uri": outside.resolve().as_uri()} in places


def test_sarif_has_suppressed_results_only_on_request(report: Report) -> None:
    assert not any("suppressions" in result for result in sarif(report)["results"])
    shown = [r for r in sarif(report, show_suppressed=True)["results"] if "suppressions" in r]
    assert [r["suppressions"] for r in shown] == [
        [{"kind": "inSource", "justification": "the statistics are loaded"}]
    ]


def test_sarif_text_holds_no_accidental_link() -> None:
    run = sarif(Report((finding(message="x[0](y) and [a]"),)))
    assert run["results"][0]["message"]["text"] == r"x\[0\](y) and [a]"


def test_github_escapes_values_and_properties() -> None:
    one = finding("a,b:c%.py", message="50 %\r\nof: x, y", severity=Severity.NOTE)
    assert render("github", Report((one,))) == (
        "::notice title=some-rule (NNL990),file=a%2Cb%3Ac%25.py,line=1,col=1,endLine=1,endColumn=2"
        "::50 %25%0D%0Aof: x, y\n"
    )


def test_destinations_are_read() -> None:
    places = parse_destinations(["text", r"sarif:C:\out\x.sarif", "json:a:b.json"])
    assert [(place.format, place.path) for place in places] == [
        ("text", ""),
        ("sarif", r"C:\out\x.sarif"),
        ("json", "a:b.json"),
    ]
    assert parse_destinations(["json:-"])[0].path == ""


@pytest.mark.parametrize(
    ("values", "message", "hint"),
    [
        (["sarf"], "unknown output format 'sarf'", "did you mean 'sarif'?"),
        (["xml"], "unknown output format 'xml'", "one of: github, html, json, sarif, text"),
        (["json:"], "names no file", "json:FILE"),
        (["json", "text"], "at most one", "a file"),
        (["json:x", "sarif:x"], "two output formats would write 'x'", ""),
    ],
)
def test_wrong_destinations_are_usage_errors(values: list[str], message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_destinations(values)
    assert hint in caught.value.hint


def test_assumed_arguments_are_said_in_one_line_a_model() -> None:
    values = {
        "Net(size)": "64",
        "args.depth": "2",
        "Part(size)": "64",
        "Net(c)": "3",
        "Net(d)": "1",
    }
    models = (
        ModelReport("Net", "m.py", 1, analysed=True, class_name="Net", assumed=values),
        ModelReport("Lost", "m.py", 9, analysed=False, obstacle="arguments", assumed=values),
    )
    text = render("text", Report(models=models))
    shown = "size=64, args.depth=2, Part(size)=64, c=3 and 1 more"
    assert f"assumed: Net is built with {shown}\n" in text
    assert "Lost is built" not in text
    assert "assumed" not in render("text", Report(models=models[:1]), quiet=True)
    net, lost = json.loads(render("json", Report(models=models)))["models"]
    assert (net["class"], net["assumed"], net["obstacle"]) == ("Net", values, None)
    assert (lost["class"], lost["obstacle"]) == (None, "arguments")


def test_the_assumed_arguments_of_many_models_are_counted() -> None:
    models = tuple(
        ModelReport(f"Net{i}", "m.py", i + 1, analysed=True, assumed={f"Net{i}(x)": "1"})
        for i in range(8)
    )
    text = render("text", Report(models=models))
    assert text.count("is built with") == 5
    assert "assumed: arguments of 3 further models" in text
    assert render("text", Report(models=models), verbose=True).count("is built with") == 8


def test_findings_of_several_models_name_theirs(report: Report) -> None:
    assert "  in relus.1, relus.2 and 6 more of Net\n" in render("text", report)
    single = dataclasses.replace(report, models=report.models[:1])
    assert "  in relus.1, relus.2 and 6 more\n" in render("text", single)
