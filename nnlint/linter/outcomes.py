"""Run rules and say how each of them ended: found, passed, not checked, crashed. No torch."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from nnlint.linter.findings import Check, Finding, Location, Outcome
from nnlint.linter.measured import Measured
from nnlint.linter.rules.base import NotChecked, ProbeRule, Rule, rule_by_key

_log = logging.getLogger(__name__)

Chosen = TypeVar("Chosen", bound=Rule)


def run_probe_rules(
    measured: Measured, rules: Iterable[type[Rule]]
) -> tuple[tuple[Finding, ...], tuple[Check, ...]]:
    """Judge a measurement by those of `rules` that are about probes.

    One that crashes becomes NNL002 and the others go on.
    """
    asked = measured.experiments.asked
    chosen = [rule for rule in rules if issubclass(rule, ProbeRule) and rule.experiment in asked]
    return run_each(chosen, lambda rule: rule().judge(measured), measured.model, measured.location)


def run_each(
    rules: Iterable[type[Chosen]],
    run: Callable[[type[Chosen]], Iterator[Finding | NotChecked]],
    model: str,
    location: Location,
) -> tuple[tuple[Finding, ...], tuple[Check, ...]]:
    """Run each rule on one model; one that crashes becomes NNL002 and the others go on.

    Args:
        rules: The rules.
        run: Starts one of them.
        model: Display name of the model.
        location: Where a crash is reported.
    """
    findings: list[Finding] = []
    checks: list[Check] = []
    for rule in rules:
        try:
            results = list(run(rule))
        except Exception as error:  # noqa: BLE001 - one of the two places: a rule may have any defect
            _log.debug("rule %s crashed", rule.name, exc_info=True)
            findings.append(_crashed(rule, model, location, error))
            checks.append(
                Check(rule.name, rule.code, model, Outcome.NOT_CHECKED, "the rule crashed")
            )
            continue
        found = [r for r in results if isinstance(r, Finding)]
        declined = [r.reason for r in results if isinstance(r, NotChecked)]
        findings.extend(merge(found))
        outcome = Outcome.FOUND if found else Outcome.NOT_CHECKED if declined else Outcome.PASSED
        reason = declined[0] if declined and not found else ""
        checks.append(Check(rule.name, rule.code, model, outcome, reason))
    return tuple(findings), tuple(checks)


def merge(findings: Iterable[Finding]) -> list[Finding]:
    """Join findings of one rule at one place (a loop, a shared layer) into one with all modules."""
    merged: dict[tuple[Any, ...], Finding] = {}
    for finding in findings:
        key = (
            finding.code,
            finding.location.path,
            finding.location.line,
            finding.location.column,
            finding.severity,
        )
        first = merged.get(key)
        if first is None:
            merged[key] = finding
        else:
            modules = tuple(dict.fromkeys((*first.modules, *finding.modules)))
            related = tuple(dict.fromkeys((*first.related, *finding.related)))
            merged[key] = replace(first, modules=modules, related=related)
    return list(merged.values())


def _crashed(rule: type[Rule], model: str, location: Location, error: Exception) -> Finding:
    crash = rule_by_key()["NNL002"]
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return Finding(
        crash.name,
        crash.code,
        crash.severity,
        f"the rule {rule.name} crashed: {text}",
        location,
        "this is a defect of nnlint; the other rules ran. Please report it with the model",
        model,
        evidence={"rule": rule.name, "at": f"{frame.name}:{frame.lineno}"},
    )
