"""The examples of the tool's own rules, run as files: the bad one fires, the good one is silent."""

from __future__ import annotations

from pathlib import Path

import pytest

import nnlint
from nnlint.linter.rules.base import ToolRule, all_rules

TOOL_RULES = [rule for rule in all_rules() if issubclass(rule, ToolRule)]


def codes(folder: Path, name: str, text: str) -> set[str]:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return {finding.code for finding in nnlint.lint_file(path)}


@pytest.mark.parametrize("rule", TOOL_RULES, ids=lambda rule: rule.name)
def test_the_example_of_a_tool_rule_fires_and_its_remedy_is_silent(
    tmp_path: Path, rule: type[ToolRule]
) -> None:
    bad = codes(tmp_path, "bad.py", rule.example("Example"))
    assert (rule.code in bad) == rule.example_fires
    assert rule.code not in codes(tmp_path, "good.py", rule.example("Use instead"))


def test_the_catalogue_of_tool_rules_is_complete() -> None:
    assert [rule.code for rule in TOOL_RULES] == [f"NNL00{number}" for number in range(1, 7)]
