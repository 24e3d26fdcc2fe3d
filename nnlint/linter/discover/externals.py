"""Calls of imported and built-in functions in the abstract run."""

from __future__ import annotations

import ast

from nnlint.linter.discover import sinks
from nnlint.linter.discover.calls import Calls
from nnlint.linter.discover.joining import join_all
from nnlint.linter.discover.modules import Space
from nnlint.linter.discover.names import canonical
from nnlint.linter.discover.targets import UNKNOWN, Step
from nnlint.linter.discover.values import (
    NOTHING,
    Arguments,
    ClassRef,
    Constant,
    Either,
    Made,
    Opaque,
    Output,
    Partial,
    Sequence,
    Super,
    Table,
    Value,
    literal,
    outputs_in,
)

_MAX_UNROLL = 4
_IDENTITY = frozenset(("torch.autograd.Variable", "torch.as_tensor", "typing.cast"))
_COPIES = frozenset(("copy.deepcopy", "copy.copy"))
_TENSOR = ("torch.", "numpy.")
_TRAINING = ("torch.utils.data.DataLoader", "datasets.load_dataset", "torchvision.datasets.")


class Externals(Calls):
    """The part of the abstract run that knows torch, the standard library and builtins."""

    def external(self, dotted: str, arguments: Arguments, node: ast.expr) -> Value:
        """Call something imported or built in."""
        dotted = canonical(dotted)
        if dotted.startswith("builtins."):
            return self._builtin(dotted.partition(".")[2], arguments, node)
        first = arguments.positional[0] if arguments.positional else None
        loss = sinks.loss(dotted)
        if loss in sinks.LOSS_FUNCTIONS:
            return self.loss(str(loss), Arguments(), arguments, node)
        if dotted in sinks.DATA_PARALLEL and isinstance(first, Made | Either):
            return first
        if sinks.is_layer_class(dotted):
            return self._layer(dotted, arguments)
        if dotted.startswith(_TRAINING):
            self.activity += 1
        if dotted == "functools.partial" and first is not None:
            return Partial(first, arguments.after(1))
        if dotted in _COPIES and first is not None:
            return self._copy(first)
        if dotted == "typing.cast" and len(arguments.positional) > 1:
            return arguments.positional[1]
        if dotted in _IDENTITY and first is not None:
            return first
        if dotted == "apex.amp.initialize":
            return Sequence(arguments.positional[:2])
        if dotted.startswith("torch.") and isinstance(first, Made):
            if dotted.startswith("torch.nn.init."):
                first.root.touched = True
            return first
        return self._function(dotted, arguments, node)

    def _function(self, dotted: str, arguments: Arguments, node: ast.expr) -> Value:
        """Apply a function to tensors: one more step on the way of a model's output."""
        values = arguments.values
        if values and isinstance(values[0], ClassRef) and values[0].info.module:
            # build(Net, block=Block): what goes along with a model class are its parts.
            self.give(Made(self.number(), values[0].info, arguments=arguments.after(1)))
        received = outputs_in(values)
        if received is None:
            self.run_callbacks(arguments)
            first = values[0] if values and dotted.startswith(_TENSOR) else NOTHING
            return (first if isinstance(first, Opaque) else NOTHING).then(dotted)
        at = next((at for at, value in enumerate(values) if outputs_in((value,))), 0)
        count = len(arguments.positional)
        rest = arguments
        if at < count:
            others = (*arguments.positional[:at], *arguments.positional[at + 1 :])
            rest = Arguments(others, arguments.keywords, arguments.open)
        else:
            name = list(arguments.keywords)[at - count]
            keywords = {key: value for key, value in arguments.keywords.items() if key != name}
            rest = Arguments(arguments.positional, keywords, arguments.open)
        pick = sinks.pick(dotted)
        if pick and at in (0, count) and self.picks(pick, rest):
            return self.pick(pick, received, rest, node)
        args, kwargs = rest.literals()
        return received.then(Step("call", dotted, self.source.location(node), args, kwargs))

    def _layer(self, dotted: str, arguments: Arguments) -> Value:
        first = arguments.positional[0] if arguments.positional else None
        if dotted in ("torch.nn.ModuleList", "torch.nn.ModuleDict"):
            empty: Value = Sequence(()) if dotted.endswith("List") else Table({})
            return empty if first is None else first
        made = self.new_made(dotted=dotted, arguments=arguments)
        if dotted == "torch.nn.Sequential":
            self.give(made)
        return made

    def _copy(self, value: Value) -> Value:
        if not isinstance(value, Made):
            return value
        copy = self.new_made(value.info, value.dotted, value.arguments)
        copy.trail = value.trail
        copy.proto = value
        copy.started = True
        return copy

    def _builtin(self, name: str, arguments: Arguments, node: ast.expr) -> Value:
        values = arguments.positional
        first = values[0] if values else NOTHING
        if name == "super":
            return self._super(values)
        if name == "getattr" and len(values) > 1:
            return self.chosen_attribute(first, values[1], node)
        if name in ("globals", "locals"):
            return self.namespace(self.here)
        if name == "vars" and isinstance(first, Space):
            return self.namespace(first.unit)
        if name == "setattr" and len(values) == 3:
            attribute = literal(values[1])
            if isinstance(attribute, str):
                self.set_attribute(first, attribute, values[2])
            return NOTHING
        if name in ("list", "tuple", "set", "iter", "reversed", "sorted"):
            return first if isinstance(first, Sequence | Output | Either) else NOTHING
        if name == "next":
            return join_all(self.elements(first))
        if name == "enumerate":
            return Sequence(tuple(Sequence((NOTHING, one)) for one in self.elements(first)))
        if name == "zip":
            return self._zip(values)
        if name == "map" and len(values) > 1:
            given = [Arguments((one,)) for one in self.elements(values[1])]
            return Sequence(tuple(self.call(first, one, node) for one in given))
        if name == "dict":
            known = first.items if isinstance(first, Table) else {}
            return Table({**known, **arguments.keywords})
        received = outputs_in(values)
        if name in ("sum", "abs", "round") and received is not None:
            return received.then(Step("call", f"builtins.{name}", self.source.location(node)))
        self.run_callbacks(arguments)
        return NOTHING

    def _super(self, values: tuple[Value, ...]) -> Value:
        me = self.frame.me
        owner = self.frame.owner
        if len(values) == 2 and isinstance(values[0], ClassRef):
            owner, me = values[0].info, values[1]
        return NOTHING if owner is None or me is None else Super(owner, me)

    def _zip(self, values: tuple[Value, ...]) -> Value:
        columns = [self.elements(value) for value in values]
        length = max((len(column) for column in columns), default=0)
        # A column that is not known item by item has one element, which stands for all.
        rows = [
            tuple(column[at] if len(column) == length else join_all(column) for column in columns)
            for at in range(length)
        ]
        return Sequence(tuple(Sequence(row) for row in rows))

    def elements(self, value: Value) -> list[Value]:
        """Return what iterating over a value gives: its few items, or one that stands for all."""
        if isinstance(value, Table):
            value = Sequence(tuple(Constant(key) for key in value.items))
        if isinstance(value, Sequence) and value.items:
            return list(value.items) if len(value.items) <= _MAX_UNROLL else [join_all(value.items)]
        if isinstance(value, Output):
            where = value.flows[0].through
            return [value.then(Step("item", repr(UNKNOWN), where, key=UNKNOWN))]
        if isinstance(value, Either):
            return [join_all([join_all(self.elements(option)) for option in value.options])]
        return [Opaque(params=value.params) if isinstance(value, Opaque) else NOTHING]
