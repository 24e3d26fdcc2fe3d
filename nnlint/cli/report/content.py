"""What the report says of each model, as plain data for the page and its charts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nnlint.cli.console import escape
from nnlint.cli.report.code import Place, Sources
from nnlint.cli.report.numbers import middle, number, sizes
from nnlint.cli.wording import count_of
from nnlint.linter.findings import Finding, Report
from nnlint.linter.measured import Measured, MeasuredNode, MeasuredParameter
from nnlint.linter.notebook import written
from nnlint.linter.probed import Probed, gradients_by_step, last, layers

_RELATED = 3
_OPTIMIZERS = {"sgd": "SGD", "adamw": "AdamW"}


@dataclass(frozen=True, slots=True)
class Said:
    """A finding.

    Attributes:
        severity: "error", "warning" or "note".
        rule: Its name.
        code: Its code.
        message: One sentence.
        help: What to do next, may be empty.
        verdict: What the probe says of a finding of the lint, may be empty.
        place: Where it belongs.
        related: Other places, each with what is said of it.
        modules: Paths of the layers that it holds for.
        layers: Positions of these among the layers of the page.
    """

    severity: str
    rule: str
    code: str
    message: str
    help: str
    verdict: str
    place: Place
    related: tuple[tuple[str, str], ...]
    modules: tuple[str, ...]
    layers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ParameterRow:
    """A parameter of a layer at the last step."""

    name: str
    shape: str
    rms: str
    gradient: str
    update: str


@dataclass(frozen=True, slots=True)
class LayerRow:
    """A layer with parameters of its own.

    Attributes:
        index: Position among the layers of the model.
        path: As it is in the model.
        name: The same for people, "(model)" for the model itself.
        kind: The operation that takes its parameters.
        shape: Of the first parameter.
        elements: Of all parameters.
        activation: RMS of its result at the last step.
        gradients: RMS of its parameters' gradients at each step.
        update: RMS of the optimiser's change divided by that of the parameters.
        predicted: What `gradients` begins with by prediction.
        dead: Share of the units after it that never fired.
        saturated: Share of them that were always saturated.
        parameters: One row for each.
        called: Where it is called, None where that is not known, or the line that builds it.
        built: Where it is built, None where that is not known.
        findings: Positions of the findings about it.
    """

    index: int
    path: str
    name: str
    kind: str
    shape: str
    elements: int
    activation: float | None
    gradients: tuple[float | None, ...]
    update: float | None
    predicted: float | None
    dead: float | None
    saturated: float | None
    parameters: tuple[ParameterRow, ...]
    called: Place | None
    built: Place | None
    findings: tuple[int, ...] = ()

    @property
    def gradient(self) -> float | None:
        """The gradient at the last step that has one."""
        return last(self.gradients)


@dataclass(frozen=True, slots=True)
class ModelContent:
    """One probed model.

    Attributes:
        name: Display name.
        place: Line of its definition.
        problem: How its probe ended where it did not complete, "" otherwise.
        hint: What to do about that.
        facts: What was run, each with a label.
        layers: In the order in which they are run.
        findings: About this model.
        predicted: How the predicted gradients are to be read; "" without any.
        probed: The probe itself.
        gradients: Whether they were measured.
    """

    name: str
    place: str
    problem: str
    hint: str
    facts: tuple[tuple[str, str], ...]
    layers: tuple[LayerRow, ...]
    findings: tuple[Said, ...]
    predicted: str
    probed: Probed
    gradients: bool


def content(report: Report) -> tuple[list[ModelContent], list[Said]]:
    """Return what is said of each probed model, and the findings about anything else."""
    sources = Sources(report.sources)
    models = [_model(probed, report, sources) for probed in report.probes]
    about = {(probed.path, probed.model) for probed in report.probes}
    rest = [f for f in report if not any(_is_about(f, path, name) for path, name in about)]
    return models, [_said(finding, sources) for finding in rest]


def _is_about(finding: Finding, path: str, model: str) -> bool:
    models = finding.evidence.get("models")
    named = models if isinstance(models, list) else [finding.model]
    places = [finding.location, *(each.location for each in finding.related)]
    return model in named and any(place.path == path for place in places)


def _model(probed: Probed, report: Report, sources: Sources) -> ModelContent:
    found = [_said(f, sources) for f in report if _is_about(f, probed.path, probed.model)]
    measured = probed.measured
    rows = [] if measured is None else list(_rows(probed, measured, sources))
    scale, predicted = _prediction(probed, rows)
    if scale != 1.0:
        rows = [
            row
            if row.predicted is None
            else dataclasses.replace(row, predicted=row.predicted * scale)
            for row in rows
        ]
    positions = {row.name: row.index for row in rows}
    said = tuple(
        dataclasses.replace(
            each, layers=tuple(positions[m] for m in each.modules if m in positions)
        )
        for each in found
    )
    rows = [
        dataclasses.replace(
            row, findings=tuple(i for i, each in enumerate(said) if row.index in each.layers)
        )
        for row in rows
    ]
    reason = escape(probed.reason)
    problem = "" if probed.complete else f"{probed.status.replace('-', ' ')}: {reason}"
    return ModelContent(
        name=escape(probed.model),
        place=escape(written(probed.path, probed.line, report.sources)),
        problem=problem,
        hint="" if probed.complete else escape(probed.hint),
        facts=() if measured is None else tuple(_facts(probed, measured)),
        layers=tuple(rows),
        findings=said,
        predicted=predicted,
        probed=probed,
        gradients=measured is not None and "gradients" in measured.experiments.asked,
    )


def _facts(probed: Probed, measured: Measured) -> Iterator[tuple[str, str]]:
    yield "device", escape(measured.device)
    if probed.server:
        yield "server", escape(probed.server)
    steps = count_of(measured.steps, "step")
    rate = f"{measured.learning_rate:g}"
    yield "run", f"{steps} of {_OPTIMIZERS[measured.optimizer]}, learning rate {rate}"
    data = "your data" if measured.data == "user" else "random data"
    yield "batch", f"{count_of(measured.batch_size, 'sample')} of {data}"
    yield "precision", f"{measured.precision}, seed {probed.seed}"
    kind = {"stand-in": ", a stand-in", "given": ", as given", "forward": ", computed in forward"}
    yield "loss", escape(f"{measured.loss}{kind.get(probed.loss_source, '')}")
    if measured.losses:
        ends = [measured.losses[0], *measured.losses[1:][-1:]]
        yield "loss values", " to ".join(number(loss, 4) for loss in ends)
    if probed.gradient_error is not None:
        compared = count_of(probed.gradients, "gradient")
        yield (
            "parity",
            f"loss and {compared} of the captured graph equal the model's to the bit"
            if probed.bit_equal
            else f"loss and {compared} within {probed.gradient_error:.1g} of the model's",
        )
    for note in probed.notes:
        yield "note", escape(note)


def _rows(probed: Probed, measured: Measured, sources: Sources) -> Iterator[LayerRow]:
    by_step = gradients_by_step(measured)
    told = probed.predicted.layers if probed.predicted is not None else ()
    predicted = {each.path: each.gradient_rms for each in told}
    owned: dict[str, list[MeasuredParameter]] = {}
    for parameter in measured.parameters:
        owned.setdefault(parameter.name.rpartition(".")[0], []).append(parameter)
    nodes = {node.index: node for node in measured.nodes}
    for index, layer in enumerate(layers(measured)):
        parameters = owned[layer.path]
        called, built = _places(nodes, parameters, sources)
        yield LayerRow(
            index=index,
            path=layer.path,
            name=escape(layer.path) or "(model)",
            kind=escape(layer.operator),
            shape=sizes(layer.shape),
            elements=layer.elements,
            activation=layer.activation_rms,
            gradients=by_step[layer.path],
            update=layer.update_ratio,
            predicted=predicted.get(layer.path),
            dead=layer.dead,
            saturated=layer.saturated,
            parameters=tuple(map(_parameter, parameters)),
            called=called,
            built=built,
        )


def _parameter(parameter: MeasuredParameter) -> ParameterRow:
    return ParameterRow(
        name=escape(parameter.name.rpartition(".")[2]),
        shape=sizes(parameter.shape),
        rms=number(last(parameter.rms)),
        gradient=number(last(parameter.gradient_rms), none="none"),
        update=number(last(parameter.update_ratio)),
    )


def _places(
    nodes: Mapping[int, MeasuredNode], parameters: Sequence[MeasuredParameter], sources: Sources
) -> tuple[Place | None, Place | None]:
    """Return where a layer is called and where it is built, as far as that is known."""
    first = next((index for each in parameters for index in each.nodes), None)
    node = None if first is None else nodes.get(first)
    own = parameters[0].site
    site = own if node is None else node.site
    call = site.call or site.location or own.call
    built = site.built or own.built or own.location
    if call == built:
        call = None
    return (
        None if call is None else sources.place(call),
        None if built is None else sources.place(built),
    )


def _prediction(probed: Probed, rows: Iterable[LayerRow]) -> tuple[float, str]:
    """Return what predicted gradients are to be multiplied with, and how they are to be read."""
    if probed.predicted is None:
        return 1.0, ""
    pairs = [(row.predicted, row.gradients[0]) for row in rows if row.gradients]
    known = [(p, m) for p, m in pairs if p is not None and m is not None and p > 0 and m > 0]
    if not known:
        return 1.0, ""
    if probed.predicted.loss:
        return 1.0, "Predicted from the initial weights alone, without a run."
    middles = middle(m for _, m in known), middle(p for p, _ in known)
    if None in middles:
        return 1.0, ""
    assert middles[0] is not None
    assert middles[1] is not None
    return 10 ** (middles[0] - middles[1]), (
        "Predicted from the initial weights alone, without a run; scaled to the measured ones, "
        "since what the loss multiplies gradients with is not known."
    )


def _said(finding: Finding, sources: Sources) -> Said:
    probe = finding.evidence.get("probe")
    verdict = ""
    if isinstance(probe, Mapping) and "verdict" in probe:
        begins, message = str(probe["verdict"]).replace("-", " "), str(probe.get("message", ""))
        verdict = message if message.startswith(begins) else f"{begins}: {message}"
    here = (finding.location.path, finding.location.line)
    related = {
        (each.location.path, each.location.line): each
        for each in reversed(finding.related)
        if each.role != "class" and (each.location.path, each.location.line) != here
    }
    return Said(
        severity=finding.severity.value,
        rule=escape(finding.rule),
        code=escape(finding.code),
        message=escape(finding.message),
        help=escape(finding.help, keep="\n"),
        verdict=escape(verdict),
        place=sources.place(finding.location),
        related=tuple(
            (escape(each.message), escape(written(path, line, sources.texts)))
            for (path, line), each in list(reversed(related.items()))[:_RELATED]
        ),
        modules=tuple(escape(module) for module in finding.modules),
    )
