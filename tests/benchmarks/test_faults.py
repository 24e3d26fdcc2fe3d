"""The faults of the mutation bench are really put in, and ask for rules that there are."""

from __future__ import annotations

import ast

import pytest

from benchmarks import mutations, overfit
from benchmarks.faults.edits import after_init, before_head, replace, substitute
from benchmarks.faults.table import FAULTS, MODELS, Fault, text_of
from nnlint.linter.findings import Finding, Location, Report, Severity
from nnlint.linter.rules.base import rule_by_key
from tests.support import lint_text

MODEL = "from torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_changes_every_model_that_it_applies_to(fault: Fault) -> None:
    for model in MODELS:
        text = fault.applied(model, text_of(model))
        assert (text is None) == (model in fault.reasons)
        if text is not None:
            assert ast.dump(ast.parse(text)) != ast.dump(ast.parse(text_of(model)))


def test_at_least_150_pairs_of_12_models_and_15_faults_are_made() -> None:
    assert len(MODELS) == 12
    assert len(FAULTS) >= 15
    assert sum(model not in fault.reasons for fault in FAULTS for model in MODELS) >= 150


def test_every_accepted_rule_exists_and_is_a_note_only_where_said() -> None:
    for fault in FAULTS:
        assert fault.accepted
        assert fault.accepted <= set(rule_by_key())
        assert fault.notes <= fault.accepted


@pytest.mark.parametrize("model", MODELS)
def test_a_healthy_model_is_silent_before_it_is_probed(model: str) -> None:
    findings, checks = lint_text(text_of(model), path=f"{model}.py")
    assert checks
    assert not [f.message for f in findings if f.severity is not Severity.NOTE]


@pytest.mark.parametrize("edit", [replace("absent", "x"), substitute("abs+ent", "x")])
def test_an_edit_that_finds_nothing_raises(edit) -> None:
    with pytest.raises(ValueError, match="ent"):
        edit(MODEL)


def test_lines_are_added_to_the_end_of_the_last_init_and_import_what_they_use() -> None:
    text = after_init("self.act = F.relu")(
        "import torch\n" + MODEL + "\n    def forward(self): ...\n"
    )
    assert "import torch\nimport torch.nn.functional as F\n" in text
    assert "        super().__init__()\n        self.act = F.relu\n\n    def forward" in text


def test_a_finding_counts_for_its_fault_at_warning_or_where_notes_are_enough() -> None:
    def outcome(rule: str, severity: Severity) -> mutations.Outcome:
        found = Finding(rule, rule_by_key()[rule].code, severity, "", Location("m.py", 1))
        return mutations.Outcome(Report((found,), (), (), {}), "", 0.0)

    loud, quiet = FAULTS[0], next(fault for fault in FAULTS if fault.notes)
    rule, note = next(iter(loud.accepted)), next(iter(quiet.notes))
    assert outcome(rule, Severity.WARNING).rules(loud) == (rule,)
    assert outcome(rule, Severity.NOTE).rules(loud) == ()
    assert outcome(note, Severity.NOTE).rules(quiet) == (note,)
    assert outcome("unused-layer", Severity.ERROR).rules(quiet) == ()


def test_the_set_of_the_overfit_bench_has_twenty_of_each() -> None:
    cases = list(overfit.cases())
    assert sum(case.sound for case in cases) == sum(not case.sound for case in cases) == 20
    assert len({case.name for case in cases}) == 40
    assert before_head("x = 0")(text_of("mlp")) != text_of("mlp")
