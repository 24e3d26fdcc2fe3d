"""Run the rules over one model."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nnlint.linter.findings import Check, Finding, Location, ModelReport, Outcome, Related
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.rules.base import NotChecked, Rule, ToolRule, rule_by_key
from nnlint.linter.trace import stitch
from nnlint.linter.trace.capture import (
    Captured,
    ForwardError,
    NotTraceableError,
    Subject,
    capture,
)
from nnlint.linter.trace.positions import UserCode

if TYPE_CHECKING:
    import torch

    from nnlint.linter.discover.source import Source
    from nnlint.linter.discover.targets import Target
    from nnlint.linter.settings import ModelSettings
    from nnlint.linter.trace.convert import BuiltAt

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelResult:
    """What one model gave: its report, its findings, and how each check ended."""

    report: ModelReport
    findings: tuple[Finding, ...]
    checks: tuple[Check, ...]


def analyse(
    model: torch.nn.Module,
    *,
    target: Target,
    source: Source | None,
    settings: ModelSettings,
    rules: Sequence[type[Rule]],
    code: UserCode | None = None,
    built_at: BuiltAt = lambda _: None,
    loss: Any = None,
) -> ModelResult:
    """Trace a live model and run `rules` over its graph.

    Never raises for what the user's forward does: that becomes a finding (NNL001 where forward
    raises, NNL003 where it cannot be traced).

    Args:
        model: The module, in the mode it is to be judged in (training).
        target: What discovery knows of it.
        source: The file it stands in, None for a live module without one.
        settings: The user's inputs and loss.
        rules: The rules to run.
        code: Tells the user's frames; made from `source` where None.
        built_at: Tells where a layer was built.
        loss: A loss module or function that overrides `settings.loss`.
    """
    report = ModelReport(target.name, target.location.path, target.location.line, analysed=True)
    code = code or UserCode(target.location.path, source.text if source else "", "")
    loss = loss if loss is not None else settings.loss
    try:
        graph = model_graph(
            model,
            target=target,
            source=source,
            settings=settings,
            code=code,
            built_at=built_at,
            loss=loss,
        )
    except ForwardError as error:
        reason = f"forward raises {error}"
        related = tuple(Related(place, "raised from here") for place in error.related)
        finding = _tool_finding(
            "NNL001", reason, error.location or target.location, target, related=related
        )
        return ModelResult(replace(report, analysed=False, reason=reason), (finding,), ())
    except NotTraceableError as error:
        reason = f"the graph cannot be traced: {error}"
        finding = _tool_finding(
            "NNL003",
            reason,
            error.location or target.location,
            target,
            help="give example inputs, e.g. --input 2x3x224x224",
        )
        return ModelResult(replace(report, analysed=False, reason=reason), (finding,), ())
    findings, checks = run_rules(graph, rules)
    return ModelResult(replace(report, capture=graph.capture), findings, checks)


def model_graph(
    model: torch.nn.Module,
    *,
    target: Target,
    source: Source | None,
    settings: ModelSettings,
    code: UserCode,
    built_at: BuiltAt,
    loss: Any = "",
) -> ModelGraph:
    """Capture a model with its loss.

    Raises:
        ForwardError: Forward fails for certain.
        NotTraceableError: No way of capture works.
    """
    known = False

    def add_loss(nodes: list[Node]) -> None:
        nonlocal known
        if loss:
            known = stitch.stitch_named(nodes, loss, target.location)
        else:
            known = stitch.stitch(nodes, target.uses)

    def take() -> Captured:
        return capture(Subject(model, code, built_at, settings.inputs, target.passed, add_loss))

    def build(captured: Captured) -> ModelGraph:
        graph = ModelGraph(
            name=target.name,
            nodes=captured.nodes,
            model=model,
            capture=captured.capture,
            location=target.location,
            source=source,
            created=captured.created,
            failure=captured.failure,
            built_at=built_at,
            inputs_given=settings.inputs is not None,
            uses=target.uses,
        )
        graph.loss_known = known or bool(graph.losses)
        graph.loss_given = bool(loss)
        return graph

    def evaluate() -> ModelGraph | None:
        modes = {m: m.training for m in model.modules()}
        model.eval()
        try:
            return build(take())
        except (ForwardError, NotTraceableError):
            return None
        finally:
            for module, mode in modes.items():
                module.training = mode

    graph = build(take())
    graph.evaluate = evaluate
    return graph


def run_rules(
    graph: ModelGraph, rules: Iterable[type[Rule]]
) -> tuple[tuple[Finding, ...], tuple[Check, ...]]:
    """Run each rule; one that crashes becomes NNL002 and the others go on."""
    findings: list[Finding] = []
    checks: list[Check] = []
    for rule in rules:
        if issubclass(rule, ToolRule):
            continue
        try:
            results = list(rule().check(graph))
        except Exception as error:  # noqa: BLE001 - one of the two places: a rule may have any defect
            _log.debug("rule %s crashed", rule.name, exc_info=True)
            findings.append(_crashed(rule, graph, error))
            checks.append(
                Check(rule.name, rule.code, graph.name, Outcome.NOT_CHECKED, "the rule crashed")
            )
            continue
        found = [r for r in results if isinstance(r, Finding)]
        declined = [r.reason for r in results if isinstance(r, NotChecked)]
        findings.extend(merge(found))
        outcome = Outcome.FOUND if found else Outcome.NOT_CHECKED if declined else Outcome.PASSED
        reason = declined[0] if declined and not found else ""
        checks.append(Check(rule.name, rule.code, graph.name, outcome, reason))
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


def _tool_finding(
    code: str,
    message: str,
    at: Location,
    target: Target,
    *,
    related: tuple[Related, ...] = (),
    help: str = "",  # noqa: A002 - the word that the report uses
) -> Finding:
    rule = rule_by_key()[code]
    return Finding(
        rule.name, rule.code, rule.severity, message, at, help, target.name, related=related
    )


def _crashed(rule: type[Rule], graph: ModelGraph, error: Exception) -> Finding:
    crash = rule_by_key()["NNL002"]
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return Finding(
        crash.name,
        crash.code,
        crash.severity,
        f"the rule {rule.name} crashed: {text}",
        graph.location,
        "this is a defect of nnlint; the other rules ran. Please report it with the model",
        graph.name,
        evidence={"rule": rule.name, "at": f"{frame.name}:{frame.lineno}"},
    )
