"""Judge measurements made by hand with one rule."""

from __future__ import annotations

from nnlint.linter.findings import Finding, Outcome
from nnlint.linter.measured import Measured
from nnlint.linter.outcomes import run_probe_rules
from nnlint.linter.rules.base import rule_by_key
from tests.probe.diagnose.made import (
    chain,
)

HEALTHY = chain([1e-3, 2e-3, 3e-3, 1e-2])


def judge(rule: str, measured: Measured) -> list[Finding]:
    findings, _ = run_probe_rules(measured, [rule_by_key()[rule]])
    assert not [f for f in findings if f.code == "NNL002"], findings
    return list(findings)


def only(rule: str, measured: Measured) -> Finding:
    found = judge(rule, measured)
    assert len(found) == 1, found
    return found[0]


def reason(rule: str, measured: Measured) -> str:
    findings, checks = run_probe_rules(measured, [rule_by_key()[rule]])
    assert not findings
    assert checks[0].outcome is Outcome.NOT_CHECKED
    return checks[0].reason
