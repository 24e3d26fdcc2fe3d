"""What has changed since an earlier probe: gradients of layers, and findings. Plain data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnlint.linter.rules.base import ProbeRule, rule_by_key

if TYPE_CHECKING:
    from nnlint.linter.findings import Finding, Report
    from nnlint.linter.probed import Probed

# With one seed, layers that were not touched have equal gradients; between seeds those of healthy
# layers differ by less than half.
FACTOR = 3.0


@dataclass(frozen=True, slots=True)
class Noted:
    """A finding, as far as it is the same one after an edit: without its line and its numbers.

    Attributes:
        code: Of its rule.
        rule: Name of it.
        severity: "error", "warning" or "note".
        model: Display name.
        modules: Module paths that it holds for.
        message: For people; it may differ.
        path: Its file.
    """

    code: str
    rule: str
    severity: str
    model: str
    modules: frozenset[str]
    message: str
    path: str

    @classmethod
    def of(cls, finding: Finding) -> Noted:
        """Return what is compared of a finding."""
        return cls(
            code=finding.code,
            rule=finding.rule,
            severity=finding.severity.value,
            model=finding.model,
            modules=frozenset(finding.modules),
            message=finding.message,
            path=finding.location.path,
        )


@dataclass(frozen=True, slots=True)
class Earlier:
    """One model of an earlier report.

    Attributes:
        model: Display name.
        path: Its file.
        settings: Name -> what the probe was made with.
        gradients: Layer -> RMS of its gradient at the last step; None where gradients were not
            measured.
        findings: Those of this model.
        asked: Names of the experiments that were asked for.
    """

    model: str
    path: str
    settings: Mapping[str, Any]
    gradients: Mapping[str, float | None] | None
    findings: Sequence[Noted] = ()
    asked: frozenset[str] = frozenset({"gradients"})


@dataclass(frozen=True, slots=True)
class LayerChange:
    """A layer whose gradient has changed by more than `FACTOR`; None stands for no gradient."""

    layer: str
    before: float | None
    after: float | None

    @property
    def factor(self) -> float:
        """The new gradient divided by the old one; NaN where that says nothing."""
        if self.before is None or self.after is None:
            return math.nan
        if self.before == 0:
            return math.inf if self.after > 0 else math.nan
        return self.after / self.before


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """One model now and then.

    Attributes:
        model: Display name.
        path: Its file.
        settings: Name -> values of before and now, where they differ.
        layers: Those whose gradients have changed, the most first.
        new_layers: Layers that there were not.
        gone_layers: Layers that there are no more.
        new_findings: Findings that there were not, of what both probes looked at.
        gone_findings: Findings that there are no more.
        compared: Whether both probes measured gradients.
    """

    model: str
    path: str
    settings: Mapping[str, tuple[Any, Any]]
    layers: tuple[LayerChange, ...] = ()
    new_layers: tuple[str, ...] = ()
    gone_layers: tuple[str, ...] = ()
    new_findings: tuple[Noted, ...] = ()
    gone_findings: tuple[Noted, ...] = ()
    compared: bool = True

    @property
    def changed(self) -> bool:
        """Whether there is anything to tell."""
        return bool(
            self.layers
            or self.new_layers
            or self.gone_layers
            or self.new_findings
            or self.gone_findings
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """A probe beside an earlier one.

    Attributes:
        baseline: File of the earlier report.
        models: Those that are in both.
        new_models: Names of models that are not in the baseline.
        gone_models: Names of models that are in it alone.
    """

    baseline: str
    models: tuple[ModelComparison, ...]
    new_models: tuple[str, ...] = ()
    gone_models: tuple[str, ...] = ()


def compare(report: Report, earlier: Sequence[Earlier], baseline: str) -> Comparison:
    """Compare a report with the models of an earlier one.

    A model is the same where its file and name are, or its name where there is one of it in both.
    """
    now = [earlier_of(probed, report.findings) for probed in report.probes]
    pairs = list(_pairs(now, earlier))
    mine = {id(each) for each, _ in pairs}
    theirs = {id(each) for _, each in pairs}
    return Comparison(
        baseline=baseline,
        models=tuple(_compared(before, after) for after, before in pairs),
        new_models=tuple(each.model for each in now if id(each) not in mine),
        gone_models=tuple(each.model for each in earlier if id(each) not in theirs),
    )


def earlier_of(probed: Probed, findings: Iterable[Finding]) -> Earlier:
    """Return what is compared of a probe."""
    from nnlint.linter.probed import layers

    measured = probed.measured
    settings: dict[str, Any] = {"seed": probed.seed}
    gradients = None
    asked = frozenset({"gradients"})
    if measured is not None:
        asked = frozenset(measured.experiments.asked)
        settings |= {
            "batch_size": measured.batch_size,
            "data": measured.data,
            "optimizer": measured.optimizer,
            "learning_rate": measured.learning_rate,
            "precision": measured.precision,
            "device": measured.device,
            "steps": measured.steps,
        }
        if measured.losses:
            gradients = {layer.path: layer.gradient_rms for layer in layers(measured)}
    mine = [Noted.of(finding) for finding in findings]
    return Earlier(
        probed.model,
        probed.path,
        settings,
        gradients,
        [each for each in mine if (each.model, each.path) == (probed.model, probed.path)]
        or [each for each in mine if each.model == probed.model],
        asked,
    )


def _pairs(now: Sequence[Earlier], then: Sequence[Earlier]) -> Iterator[tuple[Earlier, Earlier]]:
    exact = {(each.path, each.model): each for each in then}
    for each in now:
        same = [other for other in then if other.model == each.model]
        alone = len(same) == 1 and sum(other.model == each.model for other in now) == 1
        found = exact.get((each.path, each.model)) or (same[0] if alone else None)
        if found is not None:
            yield each, found


def _compared(before: Earlier, after: Earlier) -> ModelComparison:
    names = [name for name in after.settings if name in before.settings]
    old, new = before.gradients, after.gradients
    both = before.asked & after.asked
    then = [each for each in before.findings if _is_comparable(each, both)]
    now = [each for each in after.findings if _is_comparable(each, both)]
    changes = [] if old is None or new is None else list(_layers(old, new))
    return ModelComparison(
        model=after.model,
        path=after.path,
        settings={
            name: (before.settings[name], after.settings[name])
            for name in names
            if before.settings[name] != after.settings[name]
        },
        layers=tuple(sorted(changes, key=_size, reverse=True)),
        new_layers=tuple(layer for layer in new or () if old is not None and layer not in old),
        gone_layers=tuple(layer for layer in old or () if new is not None and layer not in new),
        new_findings=tuple(_without(now, then)),
        gone_findings=tuple(_without(then, now)),
        compared=old is not None and new is not None,
    )


def _is_comparable(finding: Noted, asked: frozenset[str]) -> bool:
    """Return whether a finding could be made by both probes."""
    rule = rule_by_key().get(finding.code)
    return rule is None or not issubclass(rule, ProbeRule) or rule.experiment in asked


def _layers(
    before: Mapping[str, float | None], after: Mapping[str, float | None]
) -> Iterator[LayerChange]:
    for layer, new in after.items():
        if layer in before and _is_change(before[layer], new):
            yield LayerChange(layer, before[layer], new)


def _is_change(before: float | None, after: float | None) -> bool:
    if before is None or after is None:
        return before is not after
    if not math.isfinite(before) or not math.isfinite(after):
        return math.isfinite(before) != math.isfinite(after)
    small, large = sorted((before, after))
    return large > FACTOR * small


def _size(change: LayerChange) -> float:
    """Return how much a gradient has changed, in decades; what is lost comes first."""
    factor = change.factor
    return abs(math.log10(factor)) if 0 < factor < math.inf else math.inf


def _without(findings: Sequence[Noted], others: Sequence[Noted]) -> list[Noted]:
    """Return the findings that have no partner among the others.

    One of the same rule for the same modules is a partner, then one that shares a module: a finding
    for several layers is the same one with a layer more or less.
    """
    left = list(others)
    rest = []
    for finding in findings:
        same = [each for each in left if _key(each) == _key(finding)]
        if same:
            left.remove(same[0])
        else:
            rest.append(finding)
    alone = []
    for finding in rest:
        near = [
            each for each in left if each.code == finding.code and each.modules & finding.modules
        ]
        if near:
            left.remove(near[0])
        else:
            alone.append(finding)
    return alone


def _key(finding: Noted) -> tuple[str, frozenset[str]]:
    return finding.code, finding.modules
