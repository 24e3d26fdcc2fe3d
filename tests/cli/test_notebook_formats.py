"""How the formats tell the places of a notebook."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from nnlint.cli.formats import RenderOptions, load_format
from nnlint.cli.formats.json import json_schema
from nnlint.linter.findings import Finding, Location, ModelReport, Related, Report, Severity
from nnlint.linter.notebook import python_of
from nnlint.linter.probed import Probed
from tests.cli.sarif_schema import SCHEMA as SARIF

GOLDEN = Path(__file__).parent / "golden"
CELLS = (
    ["%matplotlib inline\n", "from torch import nn\n"],
    ["class Net(nn.Module):\n", "    def forward(self, x):\n", "        return x.softmax(1)"],
    ["loss = criterion(net(x), y)"],
)
DATA = json.dumps(
    {"cells": [{"cell_type": "code", "source": list(source)} for source in CELLS]}, indent=1
)
TEXT = python_of(DATA)
PATH = "book.ipynb"


def place(marker: str) -> Location:
    lines = TEXT.split("\n")
    number = next(n for n, line in enumerate(lines, 1) if marker in line)
    column = lines[number - 1].index(marker) + 1
    return Location(PATH, number, column, number, column + len(marker))


def values(marker: str, **more: Any) -> Finding:
    return Finding("some-rule", "NNL990", Severity.ERROR, "it is so", place(marker), **more)


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    monkeypatch.chdir(tmp_path)
    (tmp_path / PATH).write_text(DATA)
    loss = Related(place("criterion(net(x), y)"), "the loss is computed here", "loss")
    hidden = {"suppression": {"line": 2, "cell": 2, "reason": "as in the paper"}}
    return Report(
        findings=(values("x.softmax(1)", help="Do not.", model="Net", related=(loss,)),),
        models=(
            ModelReport("Net", PATH, place("Net").line, analysed=True, capture="fx"),
            ModelReport("net", PATH, place("loss").line, analysed=False, reason="it has no end"),
        ),
        suppressed=(values("def forward(self, x):", evidence=hidden),),
        sources={PATH: TEXT},
    )


def render(name: str, report: Report, **options: Any) -> str:
    return load_format(name).render(report, RenderOptions(**options))


def test_text_names_the_cell_and_counts_lines_in_it(report: Report, golden: Any) -> None:
    text = render("text", report, verbose=True, show_suppressed=True)
    golden(GOLDEN / "notebook-text.txt", text)


def test_annotations_stand_on_the_lines_of_the_file(report: Report, golden: Any) -> None:
    golden(GOLDEN / "notebook-github.txt", render("github", report))


def test_json_has_the_cell(report: Report) -> None:
    content = json.loads(render("json", report, show_suppressed=True))
    jsonschema.validate(content, json_schema())
    (finding,), (hidden,) = content["findings"], content["suppressed"]
    assert (finding["cell"], finding["line"], finding["end_line"]) == (2, 3, 3)
    assert (finding["related"][0]["cell"], finding["related"][0]["line"]) == (3, 1)
    assert (hidden["cell"], hidden["line"]) == (2, 2)
    assert [(model["cell"], model["line"]) for model in content["models"]] == [(2, 1), (3, 1)]


def test_other_files_have_no_cell() -> None:
    finding = Finding("some-rule", "NNL990", Severity.NOTE, "it is so", Location("net.py", 3))
    content = json.loads(render("json", Report((finding,))))
    assert content["findings"][0]["cell"] is None


def test_sarif_has_the_lines_of_the_file_and_the_cell_in_words(report: Report) -> None:
    content = json.loads(render("sarif", report))
    jsonschema.validate(content, SARIF)
    (result,) = content["runs"][0]["results"]
    assert result["message"]["text"] == "cell 2, line 3: it is so. Do not."
    places = [result["locations"][0], result["relatedLocations"][0]]
    lines = [place["physicalLocation"]["region"]["startLine"] for place in places]
    shown = [DATA.split("\n")[line - 1].strip(' ",') for line in lines]
    assert shown == ["return x.softmax(1)", "loss = criterion(net(x), y)"]
    (note,) = content["runs"][0]["invocations"][0]["toolExecutionNotifications"]
    assert note["locations"][0]["physicalLocation"]["region"]["startLine"] == lines[1]


def test_the_table_of_a_report_names_the_cell(report: Report) -> None:
    assert "book.ipynb:cell 2:3" in str(report)


@pytest.mark.parametrize("located", [True, False])
def test_a_probe_is_told_by_its_cell(report: Report, located: bool) -> None:
    where = place("loss") if located else None
    probed = Probed("Net", PATH, place("Net").line, "not-probed", "it has no loss", location=where)
    whole = Report(sources=report.sources, probes=(probed,), models=report.models)
    expected = "book.ipynb:cell 3:1" if located else "book.ipynb:cell 2:1"
    assert expected in render("text", whole)
    (content,) = json.loads(render("json", whole))["probes"]
    assert (content["cell"], content["line"]) == (2, 1)
    assert content["reason_cell"] == (3 if located else None)
