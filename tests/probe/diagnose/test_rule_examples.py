"""The examples of the rules about probes, probed: the bad one fires, the good one is silent."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from nnlint.linter.findings import Outcome
from nnlint.linter.rules.base import ProbeRule, all_rules
from nnlint.probe_service.client.request import kinds_of
from tests.probe.probing import probe_text

PROBE_RULES = [rule for rule in all_rules() if issubclass(rule, ProbeRule)]
COMMAND = "# nnlint probe "


def options_of(text: str) -> dict[str, Any]:
    """Read the options of the command in the first line of an example, if it has one."""
    first = text.partition("\n")[0]
    words = shlex.split(first.removeprefix(COMMAND)) if first.startswith(COMMAND) else []
    options: dict[str, Any] = {}
    for name, value in zip(words[::2], words[1::2], strict=True):
        if name == "--lr":
            options["learning_rate"] = float(value)
        elif name == "--experiment":
            options["experiments"] = kinds_of([value])
        elif name == "--data":
            options["loader"] = value.removeprefix("model.py:")
        else:
            field = name.removeprefix("--").replace("-", "_")
            options[field] = int(value) if value.isdecimal() else value
    return options


@pytest.mark.parametrize("rule", PROBE_RULES, ids=lambda rule: rule.name)
def test_the_example_of_a_probe_rule_fires_and_its_remedy_is_silent(rule: type[ProbeRule]) -> None:
    text = rule.example("Example")
    found, _ = probe_text(text, [rule], **options_of(text))
    assert [f.severity for f in found] == [rule.severity]
    assert found[0].help
    assert 1 <= found[0].location.line <= text.count("\n")
    text = rule.example("Use instead")
    silent, checks = probe_text(text, [rule], **options_of(text))
    assert not silent, [f.message for f in silent]
    assert checks[0].outcome is Outcome.PASSED
