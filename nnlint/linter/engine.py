"""Run the rules over one model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nnlint.linter.findings import Check, Finding, Location, ModelReport, Related
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.outcomes import run_each
from nnlint.linter.rules.base import ProbeRule, Rule, ToolRule, rule_by_key
from nnlint.linter.trace import stitch
from nnlint.linter.trace.capture import (
    Captured,
    ForwardError,
    NotTraceableError,
    Subject,
    capture,
)
from nnlint.linter.trace.positions import UserCode

_NOTHING: Mapping[str, str] = MappingProxyType({})

if TYPE_CHECKING:
    import torch

    from nnlint.linter.discover.source import Source
    from nnlint.linter.discover.targets import Target
    from nnlint.linter.settings import ModelSettings
    from nnlint.linter.trace.convert import BuiltAt


@dataclass(frozen=True, slots=True)
class ModelResult:
    """What one model gave: its report, its findings, how each check ended, and its graph."""

    report: ModelReport
    findings: tuple[Finding, ...]
    checks: tuple[Check, ...]
    graph: ModelGraph | None = None


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
    assumed: Mapping[str, str] = _NOTHING,
) -> ModelResult:
    """Trace a live model and run `rules` over its graph.

    Never raises for what the user's forward does: that becomes a finding (NNL001 where forward
    raises, NNL003 where it cannot be traced). A forward that raises in a model with assumed
    arguments is no fault of the model: a note, NNL004.

    Args:
        model: The module, in the mode it is to be judged in (training).
        target: What discovery knows of it.
        source: The file it stands in, None for a live module without one.
        settings: The user's inputs and loss.
        rules: The rules to run.
        code: Tells the user's frames; made from `source` where None.
        built_at: Tells where a layer was built.
        loss: A loss module or function that overrides `settings.loss`.
        assumed: The constructor's arguments that were assumed.
    """
    report = ModelReport(
        target.name,
        target.location.path,
        target.location.line,
        analysed=True,
        class_name=type(model).__name__,
        assumed=dict(assumed),
    )
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
            assumed=assumed,
        )
    except ForwardError as error:
        reason = f"forward raises {error}"
        related = tuple(Related(place, "raised from here") for place in error.related)
        at = error.location or target.location
        if assumed:
            text = f"{target.name} was not analysed: with assumed arguments, {reason}"
            finding = _tool_finding("NNL004", text, at, target, related=related)
        else:
            finding = _tool_finding("NNL001", reason, at, target, related=related)
        failed = replace(report, analysed=False, reason=reason, obstacle="forward")
        return ModelResult(failed, (finding,), ())
    except NotTraceableError as error:
        reason = f"the graph cannot be traced: {error}"
        wanted = error.obstacle == "inputs"
        finding = _tool_finding(
            "NNL003",
            reason,
            error.location or target.location,
            target,
            help="give example inputs, e.g. --input 2x3x224x224" if wanted else "",
        )
        failed = replace(report, analysed=False, reason=reason, obstacle=error.obstacle)
        return ModelResult(failed, (finding,), ())
    findings, checks = run_rules(graph, rules)
    return ModelResult(replace(report, capture=graph.capture), findings, checks, graph)


def model_graph(
    model: torch.nn.Module,
    *,
    target: Target,
    source: Source | None,
    settings: ModelSettings,
    code: UserCode,
    built_at: BuiltAt,
    loss: Any = "",
    assumed: Mapping[str, str] = _NOTHING,
) -> ModelGraph:
    """Capture a model with its loss.

    Raises:
        ForwardError: Forward fails for certain.
        NotTraceableError: No way of capture works.
    """
    known = False
    uses = stitch.happening(target.uses, model)

    def add_loss(nodes: list[Node]) -> None:
        nonlocal known
        if loss:
            known = stitch.stitch_named(nodes, loss, target.location)
        else:
            known = stitch.stitch(nodes, uses)

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
            uses=uses,
            assumed=dict(assumed),
            written=target.written and target.kind == "class",
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
    """Run each rule about graphs; one that crashes becomes NNL002 and the others go on."""
    chosen = [rule for rule in rules if not issubclass(rule, (ToolRule, ProbeRule))]
    return run_each(chosen, lambda rule: rule().check(graph), graph.name, graph.location)


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
