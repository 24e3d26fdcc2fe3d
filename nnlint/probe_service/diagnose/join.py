"""What a probe says about the findings of the lint: confirmed, refuted, or not seen.

A static finding names the probe rule that can settle it (`Rule.probe`). Where that rule found
something at the same place, the finding is confirmed and the two refer to each other. It is refuted
only where the run looked at exactly that and found it well: units that fire, gradients that
arrive. A NaN that did not occur within a few steps refutes nothing: it was not seen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from nnlint.linter.findings import Check, Finding, Location, Outcome, Related, Severity
from nnlint.linter.measured import Measured, MeasuredParameter
from nnlint.linter.rules.base import rule_by_key
from nnlint.linter.rules.probe.reading import MIN_SAMPLES, is_finite, sound_steps
from nnlint.linter.rules.probe.units import NOTE_SHARE, layer_of

Verdict = Literal["confirmed", "refuted", "not-seen"]

# Rules whose place is one operation: a module has many.
_BY_LINE = frozenset({"non-finite"})
# Rules about the whole model, whose place is its class.
_OF_MODEL = frozenset({"cannot-overfit", "initial-loss"})
# Certain without a run: a probe can show what comes of it, and says nothing by its silence.
_CERTAIN = frozenset({"constant-init", "relu-on-logits", "discarded-result"})
_PLACES = frozenset({"built", "call"})


def join(
    static: Iterable[Finding],
    probe: Iterable[Finding],
    checks: Iterable[Check],
    measured: Measured,
) -> tuple[Finding, ...]:
    """Return the static findings with the probe's verdicts, then those of the probe.

    The verdict stands in `evidence["probe"]`: "verdict", "by" (the name of the probe rule) and
    "message". A finding that is refuted is a note. Findings about other models, and those whose
    probe rule did not run or could not judge, stay as they are.

    Args:
        static: Findings of a lint.
        probe: Findings of the probe rules about `measured`.
        checks: How the probe rules ended.
        measured: What they judged.
    """
    found = list(probe)
    outcomes = {check.rule: check.outcome for check in checks if check.model == measured.model}
    joined = []
    for finding in static:
        rule = rule_by_key().get(finding.code)
        by = rule.probe if rule is not None else ""
        if not by or not _is_about(finding, measured) or by not in outcomes:
            joined.append(finding)
            continue
        matching = [i for i, each in enumerate(found) if each.rule == by and _match(finding, each)]
        if matching:
            first = found[matching[0]]
            joined.append(_confirmed(finding, first))
            for index in matching:
                found[index] = _referring(found[index], finding)
        elif outcomes[by] is Outcome.NOT_CHECKED or finding.rule in _CERTAIN:
            joined.append(finding)
        elif (text := _refutation(finding, measured)) is not None:
            joined.append(_marked(finding, "refuted", by, text, Severity.NOTE))
        else:
            text = f"not seen in {measured.steps} steps" if measured.steps else "not seen"
            joined.append(_marked(finding, "not-seen", by, text))
    return (*joined, *found)


def _is_about(finding: Finding, measured: Measured) -> bool:
    models = finding.evidence.get("models")
    named = models if isinstance(models, list) else [finding.model]
    return measured.model in named and finding.location.path == measured.location.path


def _places(finding: Finding) -> set[tuple[str, int]]:
    related = (each.location for each in finding.related if each.role in _PLACES)
    return {(place.path, place.line) for place in (finding.location, *related)}


def _match(static: Finding, probe: Finding) -> bool:
    """Return whether two findings are about the same layer or line."""
    if probe.rule in _OF_MODEL:
        return True
    if probe.rule in _BY_LINE:
        place: Location = probe.location
        return (place.path, place.line) in _places(static)
    if set(static.modules) & set(probe.modules):
        return True
    return bool(_places(static) & _places(probe))


def _marked(
    finding: Finding, verdict: Verdict, by: str, text: str, severity: Severity | None = None
) -> Finding:
    evidence = {**finding.evidence, "probe": {"verdict": verdict, "by": by, "message": text}}
    return dataclasses.replace(finding, evidence=evidence, severity=severity or finding.severity)


def _confirmed(finding: Finding, probe: Finding) -> Finding:
    marked = _marked(finding, "confirmed", probe.rule, probe.message)
    if probe.location == finding.location:
        return marked
    place = Related(probe.location, f"the probe saw it here: {probe.message}")
    return dataclasses.replace(marked, related=_with(finding, place))


def _referring(probe: Finding, static: Finding) -> Finding:
    place = Related(static.location, f"{static.rule} says why: {static.message}")
    return dataclasses.replace(probe, related=_with(probe, place))


def _with(finding: Finding, place: Related) -> tuple[Related, ...]:
    return tuple(dict.fromkeys((*finding.related, place)))


def _refutation(finding: Finding, measured: Measured) -> str | None:
    """Return why a finding does not hold, None where the run does not say that."""
    judge = _REFUTING.get(finding.rule)
    return judge(finding, measured) if judge is not None and finding.modules else None


def _units_fire(finding: Finding, measured: Measured) -> str | None:
    nodes = {node.index: node for node in measured.nodes}
    told = []
    for units in measured.units:
        node = nodes.get(units.node)
        if node is None or units.dead is None or not units.count:
            continue
        layer = layer_of(node, nodes)
        if layer is None or layer.site.path not in finding.modules:
            continue
        if units.samples < MIN_SAMPLES or len(units.dead) / units.count >= NOTE_SHARE:
            return None
        told.append(f"{units.count - len(units.dead)} of {units.count} units fire")
    return told[0] if told else None


def _gradients_arrive(finding: Finding, measured: Measured) -> str | None:
    sound = sound_steps(measured)
    members = [p for p in measured.parameters if _belongs(p, finding.modules)]
    if not members or not sound:
        return None
    for parameter in members:
        if not any(is_finite(value) and value > 0 for value in parameter.gradient_rms[:sound]):
            return None
    return f"gradients arrive at all {len(members)} of its parameters"


def _belongs(parameter: MeasuredParameter, modules: Iterable[str]) -> bool:
    return any(parameter.name == m or parameter.name.startswith(f"{m}.") for m in modules)


# Static rules that a run can refute, with what shows it.
_REFUTING: Mapping[str, Callable[[Finding, Measured], str | None]] = {
    "dead-relu-bias": _units_fire,
    "detached-path": _gradients_arrive,
    "unused-layer": _gradients_arrive,
    "single-output-cross-entropy": _gradients_arrive,
}
