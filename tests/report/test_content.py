"""What stands in the page, without a browser."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import re
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from nnlint.cli.report import check_report, html_of, write_html
from nnlint.cli.report.content import content
from nnlint.cli.report.histograms import histograms, labels
from nnlint.errors import UsageError
from nnlint.linter.comparison import Comparison
from nnlint.linter.findings import Location, ModelReport, Report
from nnlint.linter.measured import HISTOGRAM_BINS
from nnlint.linter.notebook import python_of
from nnlint.linter.probed import Predicted, PredictedLayer, gradients_by_step
from tests.report import made


def data(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


@pytest.mark.parametrize("missing", ["vl_convert", "jinja2"])
def test_a_missing_package_is_named_with_what_installs_it(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == missing else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(UsageError, match=missing) as caught:
        html_of(made.report())
    assert caught.value.hint == "pip install 'nnlint[report]'"
    monkeypatch.undo()
    check_report()


def test_a_file_that_cannot_be_written_is_an_error_of_the_call(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        write_html(Report(), str(tmp_path / "no such folder" / "report.html"))


def test_a_lint_needs_no_script() -> None:
    missed = ModelReport("Other", "net.py", 30, analysed=False, reason="it has <b> arguments")
    page = html_of(Report((made.finding(),), (missed,), sources={"net.py": made.SOURCE}))
    assert "<script" not in page
    assert "script-src &#39;none&#39;" in page or "script-src 'none'" in page
    assert "<mark>torch.relu(self.stem(x</mark>" in page
    assert "Other: it has &lt;b&gt; arguments" in page


def test_no_text_of_the_user_can_end_a_script() -> None:
    what = made.measured(layers=(made.HOSTILE,), model=made.HOSTILE)
    whole = made.report(made.probed(what), findings=(made.finding(message=made.HOSTILE),))
    page = html_of(whole)
    assert page.count("</script") == 3
    assert page.count("<script") == 3
    assert "<img src=x" not in page
    assert "{{7*7}}" in page
    assert data(page)["models"][0]["layers"][0]["name"] == made.HOSTILE


def test_the_page_may_load_nothing() -> None:
    found = re.search(r'Content-Security-Policy" content="([^"]*)"', html_of(made.report()))
    assert found
    policy = dict(part.split(maxsplit=1) for part in found[1].split("; "))
    assert policy["default-src"] == "'none'"
    assert all(word.startswith("'sha256-") for word in policy["script-src"].split())
    assert "connect-src" not in policy


def test_a_report_with_the_same_content_is_the_same_page() -> None:
    assert html_of(made.report()) == html_of(made.report())


def test_no_number_of_the_data_is_not_finite() -> None:
    what = made.measured(losses=(math.nan, math.inf, 1.0, -math.inf))
    text = json.dumps(data(html_of(made.report(made.probed(what)))), allow_nan=False)
    assert '"NaN"' in text
    assert '"-inf"' in text


def test_gradients_that_were_not_asked_for_are_not_called_missing() -> None:
    whole = made.measured()
    others = dataclasses.replace(whole.experiments, asked=("lr-range",))
    quiet = tuple(dataclasses.replace(p, gradient_rms=()) for p in whole.parameters)
    what = dataclasses.replace(whole, losses=(), parameters=quiet, experiments=others)
    page = html_of(made.report(made.probed(what)))
    assert '<td class="n">none</td>' not in page
    assert set(data(page)["models"][0]["charts"]) == {"lr-range"}


@pytest.mark.parametrize("loss", [True, False])
def test_predictions_without_a_loss_are_scaled_to_what_was_measured(loss: bool) -> None:
    told = tuple(PredictedLayer(path, 10.0**i * 5) for i, path in enumerate(made.LAYERS))
    models, _ = content(made.report(made.probed(predicted=Predicted(told, loss=loss))))
    first = models[0].layers[0]
    assert first.predicted == pytest.approx(5.0 if loss else 1e-6)
    assert ("scaled" in models[0].predicted) is not loss


def test_a_layer_knows_where_it_is_called_and_built_and_what_is_said_of_it() -> None:
    models, rest = content(made.report(findings=(made.finding(), made.finding(model="Else"))))
    row = models[0].layers[0]
    assert row.called is not None
    assert row.built is not None
    assert (row.called.text, row.built.text) == ("net.py:13", "net.py:8")
    assert row.findings == (0,)
    assert [each.place.text for each in rest] == ["net.py:13"]


def test_code_is_shown_without_its_common_indentation_and_marked_where_it_is_meant() -> None:
    text = "class A:\n\tdef f(self):\n\t\treturn g(\n\t\t\t1)\n"
    place = Location("a.py", 3, 10, 4, 6)
    whole = Report((made.finding(location=place),), sources={"a.py": text})
    _, rest = content(whole)
    code = rest[0].place.code
    assert [line.number for line in code] == [1, 2, 3, 4]
    assert (code[2].before, code[2].marked, code[2].after) == ("        return ", "g(", "")
    assert code[3].marked == "1)"


def test_a_place_in_a_notebook_is_told_by_its_cell() -> None:
    cells = [{"cell_type": "code", "source": text} for text in ("import torch", "a = 1\nb = 2")]
    text = python_of(json.dumps({"cells": cells}))
    line = text.split("\n").index("b = 2") + 1
    whole = Report(
        (made.finding(location=Location("n.ipynb", line, 5, line, 6)),), sources={"n.ipynb": text}
    )
    _, rest = content(whole)
    place = rest[0].place
    assert place.text == "n.ipynb:cell 2:2"
    assert [(each.number, each.before, each.marked) for each in place.code] == [(2, "b = ", "2")]


def test_a_place_in_a_file_that_is_gone_has_no_code() -> None:
    _, rest = content(Report((made.finding(location=Location("gone.py", 3)),)))
    assert rest[0].place.text == "gone.py:3"
    assert rest[0].place.code == ()


def test_a_probe_that_was_not_made_is_told_with_what_to_do() -> None:
    refused = made.probed(
        measured=None, status="not-probed", reason="forward <branches>", hint="give a batch"
    )
    page = html_of(made.report(refused, findings=()))
    assert "not probed: forward &lt;branches&gt;" in page
    assert "give a batch" in page
    assert "<script" not in page


def test_changes_since_a_baseline_are_told() -> None:
    whole = dataclasses.replace(made.report(), comparison=Comparison("before<.json", ()))
    assert "compared with before&lt;.json" in html_of(whole)


def test_gradients_of_a_layer_are_those_of_its_elements_together() -> None:
    what = made.measured()
    weight, bias = what.parameters[:2]
    parameters = (
        dataclasses.replace(weight, gradient_rms=(3.0, None, 1.0, 1.0)),
        dataclasses.replace(bias, gradient_rms=(0.0, None, None)),
    )
    found = gradients_by_step(dataclasses.replace(what, parameters=parameters))
    share = weight.elements / (weight.elements + bias.elements)
    assert found["stem"] == pytest.approx((3.0 * math.sqrt(share), None, 1.0, 1.0))


def test_histograms_are_joined_in_pairs_under_their_magnitudes() -> None:
    names = labels()
    counts = histograms(made.measured())["stem"]["parameters"]
    assert len(names) == len(counts) == HISTOGRAM_BINS // 2 + 1
    # 30 to 35 hold 4, 16, 64, 32, 8 and 4; the 30th is [2^-11, 2^-10).
    assert counts[names.index("2^-11")] == 20
    assert counts[names.index("2^-9")] == 96
    assert sum(counts) == 128
    assert names[0] == "< 2^-39"
    assert names[-2:] == ["≥ 2^21", "not finite"]
