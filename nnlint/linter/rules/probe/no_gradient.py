"""The rule no-gradient (NNL806)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nnlint.linter.findings import Finding, Related, Severity
from nnlint.linter.rules.base import NotChecked, ProbeRule
from nnlint.linter.rules.probe.flow import Flow, Why
from nnlint.linter.rules.probe.reading import (
    MIN_STEPS,
    at,
    listing,
    owner,
    places,
    short,
    sound_steps,
)

if TYPE_CHECKING:
    from nnlint.linter.measured import Measured, MeasuredNode, MeasuredParameter, Site


@dataclass(slots=True)
class _Group:
    """Parameters without a gradient for the same reason."""

    why: Why | None
    node: MeasuredNode | None
    members: list[MeasuredParameter] = field(default_factory=list)


class NoGradient(ProbeRule):
    """A trainable parameter gets no gradient: its grad is None, or zero at every step.

    ## What it does
    Looks at the gradient of each parameter with `requires_grad=True` after each backward pass, and
    says where the way from the parameter to the loss ends.

    ## Why is this bad?
    Such a parameter keeps its random initial value for ever, while the loss still falls: the other
    layers learn to live with it.

    ## Example
    ```python
    import torch
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Linear(20, 64)
            self.head = nn.Linear(64, 3)

        def forward(self, x):
            x = torch.relu(self.encoder(x))
            return self.head(x.detach())


    def loss(model, x, labels):
        return F.cross_entropy(model(x), labels)
    ```

    ## Use instead
    ```python
    import torch
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Linear(20, 64)
            self.head = nn.Linear(64, 3)

        def forward(self, x):
            x = torch.relu(self.encoder(x))
            return self.head(x)


    def loss(model, x, labels):
        return F.cross_entropy(model(x), labels)
    ```

    ## How it is decided
    A grad of None is certain at once; the measured graph says whether the way ends at `detach()`,
    under `torch.no_grad()`, in a result that nobody uses, or in an output that the loss does not
    take. A gradient that is exactly zero must be so at three steps or more: zero-initialised heads
    and branches have none at the first step. Biases that a batch norm takes away again, and
    queries and keys of an attention over a single position, are zero by arithmetic and left out.
    A parameter that is never used, one that feeds only an output without a loss, and a whole
    sub-model under `torch.no_grad()` are notes: they may be meant.

    ## Known limits
    Only the path that this run took is seen: a layer behind a flag may be used in another one.

    ## References
    - https://docs.pytorch.org/docs/stable/notes/autograd.html
    """

    name = "no-gradient"
    code = "NNL806"
    severity = Severity.WARNING

    def judge(self, measured: Measured) -> Iterator[Finding | NotChecked]:
        """Yield one finding for each reason."""
        if measured.steps == 0:
            yield NotChecked("no step was measured")
            return
        flow = Flow(measured)
        sound = sound_steps(measured)
        missing: dict[tuple[object, ...], _Group] = {}
        zero: dict[bool, _Group] = {}
        undecided = False
        for parameter in measured.parameters:
            values = [at(parameter.gradient_rms, step) for step in range(measured.steps)]
            if not parameter.elements or (parameter.nodes and not parameter.gradient_rms):
                continue
            if all(value is None for value in values):
                ending = flow.ending(parameter)
                where = ending.node if ending.why in {Why.CUT, Why.NO_GRAD} else None
                key = (ending.why, where.index if where is not None else None)
                missing.setdefault(key, _Group(ending.why, ending.node)).members.append(parameter)
            elif sound and all(value == 0 for value in values[:sound]):
                if sound < MIN_STEPS:
                    undecided = True
                elif not flow.is_cancelled(parameter):
                    shut = flow.shut(parameter) or flow.starved(parameter)
                    zero.setdefault(shut is None, _Group(None, shut)).members.append(parameter)
        for group in missing.values():
            yield self._missing(measured, group)
        for group in zero.values():
            yield self._zero(measured, group, sound)
        if undecided:
            yield NotChecked(
                f"a gradient of zero is judged over {MIN_STEPS} steps, and {sound} were sound"
            )

    def _missing(self, measured: Measured, group: _Group) -> Finding:
        named, verb = _named(group.members), "gets" if len(_owners(group.members)) == 1 else "get"
        count = _count(group.members)
        if group.why is Why.UNUSED:
            verb = "is" if verb == "gets" else "are"
            text = f"{named} {verb} never used ({count}), so no gradient comes there"
            remedy = "use it in forward, or delete it"
        elif group.why is Why.NO_GRAD:
            text = f"{named} {verb} no gradient ({count}): used under torch.no_grad()"
            remedy = "take it out of no_grad, or say that it stays as it is: requires_grad_(False)"
        elif group.why is Why.CUT and group.node is not None:
            text = f"{named} {verb} no gradient ({count}): `{short(group.node)}` cuts it off"
            remedy = "remove the cut, or say that it stays as it is: requires_grad_(False)"
        elif group.why is Why.OUTPUT:
            text = f"{named} {verb} no gradient ({count}): the loss does not use its output"
            remedy = "add a term for that output to the loss, or name the whole loss with --loss"
        elif group.why is Why.DISCARDED:
            text = f"{named} {verb} no gradient ({count}): its result is not used"
            remedy = "use the result, or remove the layer"
        else:
            text = f"{named} {verb} no gradient ({count}): its grad is None after backward"
            remedy = (
                "look for what cuts the way to the loss: .data, .item(), NumPy, a custom function"
            )
        site = _site(group)
        return self.report(
            measured,
            site,
            text,
            help=remedy,
            severity=_severity(measured, group),
            related=_others(group, site),
            evidence={
                "reason": group.why.value if group.why is not None else "",
                "gradient": None,
                "parameters": [p.name for p in group.members[:32]],
                "elements": sum(p.elements for p in group.members),
            },
            modules=_owners(group.members),
        )

    def _zero(self, measured: Measured, group: _Group, sound: int) -> Finding:
        named, count = _named(group.members), _count(group.members)
        whole = len(group.members) == len([p for p in measured.parameters if p.gradient_rms])
        if whole and group.node is None:
            text = f"the gradient of every parameter is exactly 0 at all {sound} steps"
            remedy = (
                "the loss does not depend on the model: look at its last operations, e.g. a softmax "
                "over one class, or a ReLU that is shut"
            )
        elif group.node is not None:
            text = (
                f"the gradient of {named} is exactly 0 at all {sound} steps ({count}): no unit of "
                f"`{short(group.node)}` fires"
            )
            remedy = "see dead-units: start the biases at zero, or use a leaky ReLU"
        else:
            text = f"the gradient of {named} is exactly 0 at all {sound} steps ({count})"
            remedy = "look for a factor of 0 between here and the loss: a mask, a weight, a flat activation"
        if measured.precision == "autocast-float16":
            remedy += "; float16 ends at 6e-8, so scale the loss (torch.amp.GradScaler)"
        site = _site(group)
        return self.report(
            measured,
            site,
            text,
            help=remedy,
            related=_others(group, site),
            evidence={
                "reason": "zero",
                "gradient": 0.0,
                "steps": sound,
                "parameters": [p.name for p in group.members[:32]],
                "elements": sum(p.elements for p in group.members),
            },
            modules=_owners(group.members),
        )


def _owners(members: Sequence[MeasuredParameter]) -> list[str]:
    return list(dict.fromkeys(owner(p) or p.name for p in members))


def _named(members: Sequence[MeasuredParameter]) -> str:
    owners = _owners(members)
    if len(members) == 1:
        return f"`{members[0].name}`"
    return listing(owners)


def _count(members: Sequence[MeasuredParameter]) -> str:
    values = sum(p.elements for p in members)
    return f"{values:,} parameter{'s' * (values != 1)}"


def _site(group: _Group) -> Site:
    """Return the place of the cut, else that of the first layer."""
    if group.node is not None and group.why in {Why.CUT, Why.NO_GRAD}:
        return group.node.site
    return group.members[0].site


def _others(group: _Group, site: Site) -> list[Related]:
    known = {site.location, site.built, site.call}
    return [place for place in places(group.members) if place.location not in known]


def _severity(measured: Measured, group: _Group) -> Severity | None:
    if group.why in {Why.UNUSED, Why.OUTPUT}:
        return Severity.NOTE
    if group.why is Why.NO_GRAD:
        tops = {p.name.partition(".")[0] for p in group.members}
        parts = [p for p in measured.parameters if p.name.partition(".")[0] in tops]
        nested = all(p.name.count(".") > 1 for p in group.members)
        # A whole sub-model, not a single layer: a teacher, or a frozen backbone.
        if (
            len(tops) == 1
            and nested
            and len(parts) == len(group.members) < len(measured.parameters)
        ):
            return Severity.NOTE
    return None
