"""Writing down where a model's output arrives."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterable

from nnlint.linter.discover import sinks
from nnlint.linter.discover.machine import Record
from nnlint.linter.discover.modules import Modules
from nnlint.linter.discover.targets import UNKNOWN, OutputUse, Step
from nnlint.linter.discover.values import (
    Arguments,
    Opaque,
    Output,
    Value,
    is_none,
    options,
)


def labels_made(value: Value | None) -> tuple[str, ...]:
    """Return the dotted names of what was done to a label tensor."""
    for option in options(value) if value is not None else ():
        if isinstance(option, Opaque):
            return option.ops
        if isinstance(option, Output):
            steps = option.flows[0].steps
            return tuple(f".{step.name}" if step.kind == "method" else step.name for step in steps)
    return ()


def diverging(branches: Iterable[list[Record]]) -> set[int]:
    """Return the identities of records whose model meets another loss in another branch."""
    losses: dict[int, list[set[str]]] = {}
    kept = [
        [record for record in records if sinks.loss(record.use.sink) and record.use.training]
        for records in branches
    ]
    for records in kept:
        here: dict[int, set[str]] = {}
        for record in records:
            here.setdefault(id(record.made.root), set()).add(record.use.sink)
        for number, names in here.items():
            losses.setdefault(number, []).append(names)
    torn = {
        number for number, sets in losses.items() if len({frozenset(names) for names in sets}) > 1
    }
    return {id(record) for records in kept for record in records if id(record.made.root) in torn}


def merge(uses: Iterable[OutputUse]) -> tuple[OutputUse, ...]:
    """Join the uses that are the same way to the same place, in source order."""
    merged: dict[object, OutputUse] = {}
    for use in uses:
        way = tuple((step.kind, step.name) for step in use.steps)
        key = (use.sink, use.location, use.slot, way, use.conditions)
        known = merged.get(key)
        merged[key] = use if known is None else _join(known, use)
    return tuple(sorted(merged.values(), key=lambda use: (use.location, use.slot)))


def _join(left: OutputUse, right: OutputUse) -> OutputUse:
    if right.training and not left.training:
        left, right = right, left
    keys = {**left.kwargs, **right.kwargs}
    kwargs = {
        key: left.kwargs[key]
        if key in left.kwargs
        and key in right.kwargs
        and _equal(left.kwargs[key], right.kwargs[key])
        else UNKNOWN
        for key in keys
    }
    return dataclasses.replace(
        left,
        args=left.args if _equal(left.args, right.args) else (UNKNOWN,) * len(left.args),
        kwargs=kwargs,
        certain=left.certain or right.certain,
        target_steps=left.target_steps or right.target_steps,
    )


def _equal(left: object, right: object) -> bool:
    return type(left) is type(right) and bool(left == right)


class Recording(Modules):
    """The part of the abstract run that meets losses and picks."""

    def loss(
        self, dotted: str, made_with: Arguments, arguments: Arguments, node: ast.expr
    ) -> Value:
        """Record the model outputs among the arguments of a loss."""
        self.activity += 1
        names = sinks.parameters(dotted)
        tensors = [arguments.get(position, name) for position, name in enumerate(names)]
        label = next((at for at, name in enumerate(names) if name.startswith("target")), None)
        made = labels_made(tensors[label]) if label is not None else ()
        args, kwargs = made_with.literals()
        more, named = arguments.after(len(names)).literals()
        kwargs.update((key, value) for key, value in named.items() if key not in names)
        for slot, value in enumerate(tensors):
            if value is None:
                continue
            self.note_loss_argument(value)
            use = OutputUse(
                sink=dotted,
                location=self.source.location(node),
                args=(*args, *more),
                kwargs=kwargs,
                target_steps=made if slot != label else (),
                slot=slot,
            )
            self.record(value, use)
        return Opaque((dotted,))

    def pick(self, sink: str, value: Output, arguments: Arguments, node: ast.expr) -> Value:
        """Record a call that picks a class; `arguments` are those after the value."""
        args, kwargs = arguments.literals()
        use = OutputUse(
            sink=sink, location=self.source.location(node), args=args, kwargs=kwargs, slot=0
        )
        self.record(value, use)
        if sink == "torch.argmax":
            return Opaque((sink,))
        name = sink.rpartition(".")[2]
        return value.then(Step("method", name, self.source.location(node), args, kwargs))

    def logarithm(self, sink: str, value: Value, node: ast.expr) -> None:
        """Record a logarithm; it is the last step of `value`, since more may follow."""
        self.record(value, OutputUse(sink=sink, location=self.source.location(node)))

    def record(self, value: Value, use: OutputUse) -> None:
        """Record that the flows of a value end in a sink."""
        flows = [flow for one in options(value) if isinstance(one, Output) for flow in one.flows]
        for flow in flows:
            conditions = tuple(
                dict.fromkeys(
                    each.condition
                    for group in self.guards
                    for each in group
                    if each.made is flow.made.root
                )
            )
            chosen = all(any(one.made is flow.made.root for one in group) for group in self.choices)
            ended = dataclasses.replace(
                use,
                steps=flow.steps,
                training=flow.training and not self.no_grad,
                through=flow.through,
                certain=flow.certain and not self.doubt and chosen,
                conditions=conditions,
            )
            self.records.append(Record(flow.made, ended))

    @staticmethod
    def picks(sink: str, arguments: Arguments) -> bool:
        """Tell whether a call with these arguments after the value runs along a dimension."""
        if sink == "torch.argmax" or "dim" in arguments.keywords or "axis" in arguments.keywords:
            return True
        if not arguments.positional:
            return False
        if sink == "torch.topk":
            return True
        dimension = arguments.literals()[0][0]
        return isinstance(dimension, int) and not is_none(arguments.positional[0])
