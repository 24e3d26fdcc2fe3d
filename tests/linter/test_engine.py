"""The rule runner: outcomes, crashes, merging."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nnlint.linter.findings import Finding, Location, Outcome, Severity
from nnlint.linter.graph import ModelGraph
from nnlint.linter.operators.activation import RELU
from nnlint.linter.outcomes import merge
from nnlint.linter.rules.base import HEADINGS, Category, NotChecked, Rule
from tests.support import lint_text

DOC = "A rule.\n\n" + "\n".join(f"## {heading}\nText.\n" for heading in HEADINGS)
MODEL = """from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(3))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x
"""


class Every(Rule):
    __doc__ = DOC
    name = "every-relu"
    code = "NNL997"
    severity = Severity.NOTE
    category = Category.ACTIVATION

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        for node in graph.ops(RELU):
            yield self.finding(graph, node, "a ReLU")


class Crashing(Every):
    __doc__ = DOC
    name = "crashing"
    code = "NNL998"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        raise KeyError("oops")


class Undecided(Every):
    __doc__ = DOC
    name = "undecided"
    code = "NNL999"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        yield NotChecked("there is no evidence")


def test_a_rule_that_crashes_is_a_finding_and_the_others_go_on() -> None:
    findings, checks = lint_text(MODEL, rules=[Crashing, Every])
    assert [f.code for f in findings] == ["NNL002", "NNL997"]
    assert "crashing crashed: KeyError: 'oops'" in findings[0].message
    assert findings[0].evidence["rule"] == "crashing"
    assert {c.rule: c.outcome for c in checks} == {
        "crashing": Outcome.NOT_CHECKED,
        "every-relu": Outcome.FOUND,
    }


def test_a_loop_gives_one_finding_with_all_its_modules() -> None:
    findings, _ = lint_text(MODEL, rules=[Every])
    assert len(findings) == 1
    assert findings[0].location.line == 7
    assert findings[0].modules == ("blocks.0.1", "blocks.1.1", "blocks.2.1")


def test_a_rule_without_evidence_is_not_checked_and_says_why() -> None:
    findings, checks = lint_text(MODEL, rules=[Undecided])
    assert not findings
    assert [(c.outcome, c.reason) for c in checks] == [
        (Outcome.NOT_CHECKED, "there is no evidence")
    ]


def test_findings_at_different_places_stay_apart() -> None:
    def finding(column: int) -> Finding:
        return Finding(
            "a",
            "NNL997",
            Severity.NOTE,
            "m",
            Location("model.py", 3, column),
            modules=(str(column),),
        )

    assert len(merge([finding(1), finding(9)])) == 2
    assert merge([finding(1), finding(1)])[0].modules == ("1",)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("name", "No Kebab"),
        ("name", "use-something"),
        ("code", "ABC1"),
        ("__doc__", "No headings."),
    ],
)
def test_a_rule_with_wrong_metadata_is_refused(attribute: str, value: str) -> None:
    members = {
        "__doc__": DOC,
        "name": "good",
        "code": "NNL996",
        "check": Every.check,
        attribute: value,
    }
    with pytest.raises(AssertionError):
        type("Wrong", (Rule,), members)
