"""Each rule fires on its bad fixtures, exactly where they say, and on nothing else.

A fixture is a runnable model file in tests/fixtures/rules/<rule-name>/. `fires_*.py` marks each
line where the rule must speak with `# expect: rule-name` (with ` severity` behind it where it
is not the rule's usual one); `silent_*.py` must stay without a finding of the rule, and where a
fixture says `# not-checked: rule-name` that check must end so.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nnlint.linter.findings import Outcome
from nnlint.linter.rules.base import HEADINGS, ProbeRule, Rule, ToolRule, all_rules, rule_by_key
from tests.support import lint_text

FIXTURES = Path(__file__).parents[2] / "fixtures" / "rules"
EXPECT = re.compile(r"# expect: (?P<rule>[a-z0-9-]+)(?: (?P<severity>error|warning|note))?")
NOT_CHECKED = re.compile(r"# not-checked: (?P<rule>[a-z0-9-]+)")
GRAPH_RULES = [rule for rule in all_rules() if not issubclass(rule, (ToolRule, ProbeRule))]


def fixtures() -> list[Path]:
    return sorted(FIXTURES.glob("*/*.py"))


def title(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", fixtures(), ids=title)
def test_a_rule_speaks_where_its_fixture_expects_it(path: Path) -> None:
    text = path.read_text()
    rule = rule_by_key()[path.parent.name]
    expected = [
        (number, found["severity"] or rule.severity.value)
        for number, line in enumerate(text.splitlines(), start=1)
        for found in EXPECT.finditer(line)
        if found["rule"] == rule.name
    ]
    assert bool(expected) == path.stem.startswith("fires"), "fires_* expects, silent_* does not"
    findings, checks = lint_text(text, path=str(path), rules=[rule])
    assert sorted((f.location.line, f.severity.value) for f in findings) == sorted(expected), [
        (f.location.line, f.message) for f in findings
    ]
    if NOT_CHECKED.search(text):
        assert any(check.outcome is Outcome.NOT_CHECKED for check in checks), checks


@pytest.mark.parametrize("rule", GRAPH_RULES, ids=lambda rule: rule.name)
def test_the_example_of_a_rule_fires_and_its_remedy_is_silent(rule: type[Rule]) -> None:
    bad, _ = lint_text(rule.example("Example"), rules=[rule])
    assert bad, "the example must fire"
    good, _ = lint_text(rule.example("Use instead"), rules=[rule])
    assert not good, [f.message for f in good]


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.name)
def test_a_rule_is_documented_under_every_heading(rule: type[Rule]) -> None:
    assert list(rule.sections()) == list(HEADINGS)
    assert all(rule.sections().values())
    assert rule.summary().endswith(".")


@pytest.mark.parametrize("rule", GRAPH_RULES, ids=lambda rule: rule.name)
def test_a_rule_has_at_least_three_fixtures_of_each_kind(rule: type[Rule]) -> None:
    folder = FIXTURES / rule.name
    assert len(list(folder.glob("fires_*.py"))) >= 3
    assert len(list(folder.glob("silent_*.py"))) >= 3
