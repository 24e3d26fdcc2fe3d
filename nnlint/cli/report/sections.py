"""What each experiment found: its verdict, its charts and its table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from nnlint.cli.console import escape
from nnlint.cli.report.charts import Chart, by_layer
from nnlint.cli.report.content import LayerRow, ModelContent, Said
from nnlint.cli.report.curves import Mark, rates, steps
from nnlint.cli.report.numbers import number, plotted, sizes
from nnlint.linter.experiments import (
    Clipping,
    InputStatistics,
    LearningRateRange,
    Overfit,
    Seeds,
)
from nnlint.linter.measured import Measured
from nnlint.linter.rules.base import ProbeRule, rule_by_key
from nnlint.linter.verdicts import Verdict, verdicts

_LABELS = 12
_RAISED = frozenset({"error", "warning"})


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under their titles; columns from the second one on hold numbers."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """One experiment.

    Attributes:
        name: As on the command line.
        label: The same for people.
        state: "found" where a rule has something to say of it, "skipped", or "done".
        text: The verdict.
        lines: Further sentences.
        charts: In order.
        table: None where there is none.
    """

    name: str
    label: str
    state: str
    text: str
    lines: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    table: Table | None = None


def sections(model: ModelContent) -> list[Section]:
    """Return the experiments of a model in the order in which they were asked for."""
    measured = model.probed.measured
    if measured is None:
        return []
    raised = set(_raised(model.findings))
    return [_section(each, measured, model, raised) for each in verdicts(measured)]


def _raised(findings: Iterable[Said]) -> Iterator[str]:
    """Yield the names of the experiments that a rule warns of."""
    for finding in findings:
        rule = rule_by_key().get(finding.code)
        if rule is not None and issubclass(rule, ProbeRule) and finding.severity in _RAISED:
            yield rule.experiment


def _section(
    verdict: Verdict, measured: Measured, model: ModelContent, raised: set[str]
) -> Section:
    experiments = measured.experiments
    state = "found" if verdict.name in raised else "done"
    if verdict.label in {"skipped", "no result"}:
        text = verdict.text.removeprefix(f"{verdict.name}: ")
        return Section(verdict.name, verdict.name, "skipped", escape(f"{verdict.label}: {text}"))
    charts: tuple[Chart, ...] = ()
    table = None
    match verdict.name:
        case "overfit" if experiments.overfit is not None:
            charts = _overfit(experiments.overfit)
        case "lr-range" if experiments.lr_range is not None:
            charts = _range(experiments.lr_range)
        case "clip" if experiments.clip is not None:
            charts = _clip(experiments.clip)
        case "seeds" if experiments.seeds is not None:
            charts = _seeds(experiments.seeds, measured, model.layers)
        case "input" if experiments.input is not None:
            table = _inputs(experiments.input.tensors)
        case "train-eval" if experiments.train_eval is not None:
            found = experiments.train_eval
            modes = (("training", found.train_losses), ("evaluation", found.eval_losses))
            rows = [(mode, ", ".join(number(x, 4) for x in losses)) for mode, losses in modes]
            table = Table(("mode", "losses"), tuple(rows))
    return Section(
        verdict.name,
        verdict.label,
        state,
        escape(verdict.text),
        # The table of inputs says the same.
        () if verdict.name == "input" else tuple(map(escape, verdict.lines)),
        charts,
        table,
    )


def _overfit(found: Overfit) -> tuple[Chart, ...]:
    series = {f"lr {each.learning_rate:g}": each.losses for each in found.attempts if each.losses}
    if not series:
        return ()
    marks = [Mark("floor", found.floor)] if found.floor else []
    spec = steps(series, "loss", marks=marks, log=True)
    text = f"The loss over {found.samples} samples, before each step."
    return (Chart("overfit", "Learning a few samples by heart", text, spec),)


def _range(found: LearningRateRange) -> tuple[Chart, ...]:
    if not found.learning_rates:
        return ()
    told = (("steepest", found.steepest), ("valley", found.valley), ("diverges", found.diverged))
    marks = [Mark(name, value) for name, value in told if value is not None]
    spec = rates(
        found.learning_rates, found.losses, found.smoothed, marks=marks, linear=found.linear
    )
    text = "The loss while the learning rate grows; suggested rates are marked."
    return (Chart("lr-range", "Loss by learning rate", text, spec),)


def _clip(found: Clipping) -> tuple[Chart, ...]:
    losses = {"without clipping": found.losses, "with clipping": found.clipped_losses}
    norms = {"without clipping": found.norms, "with clipping": found.clipped_norms}
    limit = [Mark("limit", found.max_norm)]
    return (
        Chart(
            "clip-loss",
            "Loss without and with clipping",
            "The same steps from the same weights.",
            steps(losses, "loss", log=True),
        ),
        Chart(
            "clip-norm",
            "Norm of all gradients",
            "Before they are clipped; what is above the limit is scaled down to it.",
            steps(norms, "norm", marks=limit, log=True),
        ),
    )


def _seeds(found: Seeds, measured: Measured, layers: tuple[LayerRow, ...]) -> tuple[Chart, ...]:
    """Return the gradients of each layer: of the captured weights, the least and the largest."""
    positions = {row.name: row.index for row in layers}
    groups: dict[int, list[int]] = {}
    for position, parameter in enumerate(measured.parameters):
        path = escape(parameter.name.rpartition(".")[0]) or "(model)"
        if path in positions:
            groups.setdefault(positions[path], []).append(position)
    values = []
    captured, least, largest = "as captured", "least", "largest"
    for index in sorted(groups):
        sized = [
            _joined(each.gradient_rms, groups[index], measured) for each in found.initialisations
        ]
        known = [value for value in sized if value is not None and value > 0]
        if not known:
            continue
        told: Mapping[str, float | None] = {
            captured: sized[0],
            least: min(known),
            largest: max(known),
        }
        for name, value in told.items():
            shown = plotted(value) if value is not None and value > 0 else None
            values.append(
                {
                    "i": index,
                    "layer": layers[index].name,
                    "series": name,
                    "value": shown,
                    "text": number(value, none="none"),
                }
            )
    if not values:
        return ()
    spec = by_layer(values, layers, [captured, least, largest], "gradient at step 1")
    text = f"Gradients before the first step, at {len(found.initialisations)} initialisations."
    return (Chart("seeds", "Spread over initialisations", text, spec),)


def _joined(
    gradients: tuple[float | None, ...], positions: list[int], measured: Measured
) -> float | None:
    """Return the RMS over several parameters."""
    total = count = 0.0
    for position in positions:
        value = gradients[position] if position < len(gradients) else None
        if value is not None and math.isfinite(value):
            elements = measured.parameters[position].elements
            total += value * value * elements
            count += elements
    return math.sqrt(total / count) if count else None


def _inputs(tensors: Iterable[InputStatistics]) -> Table:
    titles = ("tensor", "shape", "type", "mean", "deviation", "least", "largest", "odd", "labels")
    return Table(titles, tuple(map(_input, tensors)))


def _input(each: InputStatistics) -> tuple[str, ...]:
    counts = ((each.nans, "NaN"), (each.infinities, "inf"), (each.repeated_samples, "repeated"))
    labels = [f"{label}: {count:,}" for label, count in sorted(each.labels.items())]
    more = f" and {len(labels) - _LABELS} more" if len(labels) > _LABELS else ""
    return (
        escape(f"{each.name} (target)" if each.target else each.name),
        sizes(each.shape),
        escape(each.dtype),
        number(each.mean),
        number(each.standard_deviation),
        number(each.minimum),
        number(each.maximum),
        ", ".join(f"{count:,} {word}" for count, word in counts if count) or "none",
        ", ".join(labels[:_LABELS]) + more,
    )
