"""Calls of imported and built-in functions in the abstract run."""

from __future__ import annotations

import ast
import dataclasses
from typing import Any, Literal

from nnlint.linter.discover import folding, sinks
from nnlint.linter.discover.configured import Configured
from nnlint.linter.discover.containers import entries, sequence
from nnlint.linter.discover.joining import join_all
from nnlint.linter.discover.names import canonical
from nnlint.linter.discover.plain import fold, key_of, plain
from nnlint.linter.discover.targets import UNKNOWN, Step
from nnlint.linter.discover.values import (
    MAX_ITEMS,
    NOTHING,
    Arguments,
    ClassRef,
    Constant,
    Either,
    Made,
    Opaque,
    Outcome,
    Output,
    Partial,
    Ref,
    Sequence,
    Settings,
    Super,
    Table,
    Value,
    Wanted,
    literal,
    outputs_in,
)

MAX_UNROLL = 4
# What a machine without an accelerator says, where models are built for being looked at.
_MACHINE: dict[str, bool | int] = {
    "torch.backends.mps.is_available": False,
    "torch.cuda.device_count": 0,
    "torch.cuda.is_available": False,
    "torch.cuda.is_bf16_supported": False,
    "torch.xpu.is_available": False,
}
_COLLECTING = frozenset(("list", "tuple", "set", "iter", "reversed", "sorted"))
_INSPECTING = frozenset(("eval", "globals", "hasattr", "locals", "open", "vars"))
_IDENTITY = frozenset(("torch.autograd.Variable", "torch.as_tensor", "typing.cast"))
_COPIES = frozenset(("copy.deepcopy", "copy.copy"))
_TENSOR = ("torch.", "numpy.")
_TRAINING = ("torch.utils.data.DataLoader", "datasets.load_dataset", "torchvision.datasets.")


class Externals(Configured):
    """The part of the abstract run that knows torch, the standard library and builtins."""

    def external(self, dotted: str, arguments: Arguments, node: ast.expr) -> Value:
        """Call something imported or built in."""
        dotted = canonical(dotted)
        if dotted.startswith("builtins."):
            return self._builtin(dotted.partition(".")[2], arguments, node)
        first = arguments.positional[0] if arguments.positional else None
        if dotted in _MACHINE:
            return Constant(_MACHINE[dotted], usual=True)
        known = self.configure(dotted, arguments, node)
        if known is not None:
            return known
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
                first.root.touched = first.root.written = True
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
            known = folded(dotted, arguments)
            if known is not None:
                return known
            self.run_callbacks(arguments)
            first = values[0] if values and dotted.startswith(_TENSOR) else NOTHING
            result = (first if isinstance(first, Opaque) else NOTHING).then(dotted)
            return Outcome(result.ops, result.params, dotted, arguments)
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
        taken = received.then(Step("call", dotted, self.source.location(node), args, kwargs))
        if sinks.logarithm(dotted):
            self.logarithm(dotted, taken, node)
        return taken

    def _layer(self, dotted: str, arguments: Arguments) -> Value:
        first = arguments.positional[0] if arguments.positional else None
        if dotted in ("torch.nn.ModuleList", "torch.nn.ModuleDict"):
            empty: Value = Sequence((), "list") if dotted.endswith("List") else Table({})
            held = empty if first is None else first
            if isinstance(held, Sequence | Table):
                return dataclasses.replace(held, kind="modules")
            return held
        made = self.new_made(dotted=dotted, arguments=arguments)
        if dotted == "torch.nn.Sequential":
            self.give(made)
        return made

    def _copy(self, value: Value) -> Value:
        if isinstance(value, Settings):
            return Settings(dict(value.values), value.fields)
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
            found = self.chosen_attribute(first, values[1], node)
            return values[2] if isinstance(found, Wanted) and len(values) > 2 else found
        if name == "setattr" and len(values) == 3:
            attribute = literal(values[1])
            if isinstance(attribute, str):
                self.set_attribute(first, attribute, values[2])
            return NOTHING
        if name in _COLLECTING and (drawn := self._collected(name, first, arguments)) is not None:
            return drawn
        if name == "next":
            return join_all(self.elements(first))
        if name == "enumerate":
            return self._enumerated(first, arguments.get(1, "start"))
        if name == "zip":
            return self._zip(values)
        if name == "map" and len(values) > 1:
            elements, exact = self.drawn(values[1])
            results = [self.call(first, Arguments((one,)), node) for one in elements]
            return sequence(tuple(results), Sequence((), "list", not exact))
        if name == "dict":
            return _dict(first, arguments)
        if name == "len" and isinstance(first, Sequence | Table) and not first.open:
            return Constant(len(first.items))
        if name == "isinstance" and len(values) == 2:
            return _is_instance(*values)
        if name in _INSPECTING:
            return self.inspect(name, arguments)
        received = outputs_in(values)
        if name in ("sum", "abs", "round") and received is not None:
            return received.then(Step("call", f"builtins.{name}", self.source.location(node)))
        known = folded(f"builtins.{name}", arguments)
        if known is not None:
            return known
        self.run_callbacks(arguments)
        return NOTHING

    def _collected(self, name: str, first: Value, arguments: Arguments) -> Value | None:
        """Return what `list(...)` and its like make of a value, None where that is not known."""
        if not arguments.positional:
            return folded(f"builtins.{name}", arguments)
        kind: Literal["list", "tuple", "set"] = "list"
        if name in ("tuple", "set"):
            kind = "tuple" if name == "tuple" else "set"
        known = folded(f"builtins.{name}", arguments)
        if known is not None:
            return known
        if isinstance(first, Sequence | Table | Settings):
            elements, exact = self.drawn(first)
            exact = exact and name != "sorted"
            items = reversed(elements) if name == "reversed" else elements
            return sequence(tuple(items), Sequence((), kind, not exact))
        return first if isinstance(first, Output | Either) else None

    def _enumerated(self, value: Value, start: Value | None) -> Value:
        elements, exact = self.drawn(value)
        offset = 0 if start is None else literal(start)
        if not exact or not isinstance(offset, int):
            pairs = tuple(Sequence((NOTHING, one)) for one in elements)
            return Sequence(pairs, "list", open=not exact)
        numbered = enumerate(elements, offset)
        return Sequence(tuple(Sequence((Constant(at), one)) for at, one in numbered), "list")

    def _super(self, values: tuple[Value, ...]) -> Value:
        me = self.frame.me
        owner = self.frame.owner
        if len(values) == 2 and isinstance(values[0], ClassRef):
            owner, me = values[0].info, values[1]
        return NOTHING if owner is None or me is None else Super(owner, me)

    def _zip(self, values: tuple[Value, ...]) -> Value:
        drawn = [self.drawn(value) for value in values]
        if drawn and all(exact for _, exact in drawn):
            pairs = zip(*(elements for elements, _ in drawn), strict=False)
            return Sequence(tuple(map(Sequence, pairs)), "list")
        columns = [self.elements(value) for value in values]
        length = max((len(column) for column in columns), default=0)
        # A column that is not known item by item has one element, which stands for all.
        rows = [
            tuple(column[at] if len(column) == length else join_all(column) for column in columns)
            for at in range(length)
        ]
        return Sequence(tuple(Sequence(row) for row in rows), "list", open=True)

    def drawn(self, value: Value) -> tuple[list[Value], bool]:
        """Return what iterating over a value gives, and whether that is each of its elements."""
        if isinstance(value, Constant) and isinstance(value.value, range | str):
            if len(value.value) <= MAX_ITEMS:
                return [Constant(each) for each in value.value], True
            return [NOTHING], False
        if isinstance(value, Table | Settings):
            items = value.items if isinstance(value, Table) else value.values
            is_open = isinstance(value, Table) and value.open
            value = Sequence(tuple(Constant(key) for key in items), open=is_open)
        if isinstance(value, Sequence):
            if value.items or not value.open:
                return list(value.items), not value.open
            return [NOTHING], False
        return self.elements(value), False

    def elements(self, value: Value) -> list[Value]:
        """Return what iterating over a value gives: its few items, or one that stands for all."""
        if isinstance(value, Constant) and isinstance(value.value, range) and self.inside_model:
            elements = self.drawn(value)[0]
            rest = elements[MAX_UNROLL:]
            return [*elements[:MAX_UNROLL], join_all(rest)] if rest else elements or [NOTHING]
        if isinstance(value, Table):
            value = Sequence(tuple(Constant(key) for key in value.items))
        if isinstance(value, Sequence) and value.items:
            return list(value.items) if len(value.items) <= MAX_UNROLL else [join_all(value.items)]
        if isinstance(value, Output):
            where = value.flows[0].through
            return [value.then(Step("item", repr(UNKNOWN), where, key=UNKNOWN))]
        if isinstance(value, Either):
            return [join_all([join_all(self.elements(option)) for option in value.options])]
        return [Opaque(params=value.params) if isinstance(value, Opaque) else NOTHING]


def folded(dotted: str, arguments: Arguments) -> Value | None:
    """Return what a pure function gives for known arguments, None where that is not known."""
    if arguments.open or not folding.is_function(dotted):
        return None
    count, names = len(arguments.positional), tuple(arguments.keywords)

    def apply(*given: Any) -> Any:
        return folding.function(dotted, given[:count], dict(zip(names, given[count:], strict=True)))

    return fold(apply, *arguments.values)


def _dict(first: Value, arguments: Arguments) -> Value:
    known = entries(first) or {}
    vague = arguments.open or (bool(arguments.positional) and entries(first) is None)
    if isinstance(first, Table):
        known = dict(first.items)
        vague = vague or first.open
    if isinstance(first, Sequence):
        pairs = [one.items for one in first.items if isinstance(one, Sequence)]
        keyed = [(key_of(pair[0]), pair[1]) for pair in pairs if len(pair) == 2]
        known = {key: item for key, item in keyed if key is not UNKNOWN}
        vague = arguments.open or first.open or len(known) != len(first.items)
    return Table({**known, **arguments.keywords}, open=vague)


def _is_instance(value: Value, kinds: Value) -> Value:
    """Tell whether a plain value is of some of Python's own types."""
    wanted = kinds.items if isinstance(kinds, Sequence) else (kinds,)
    names = {one.dotted for one in wanted if isinstance(one, Ref)}
    known = plain(value)
    if known is UNKNOWN or isinstance(value, Either) or not names:
        return NOTHING
    found = any(f"builtins.{kind.__name__}" in names for kind in type(known).__mro__[:-1])
    foreign = len(names) < len(wanted) or not all(one.startswith("builtins.") for one in names)
    return NOTHING if foreign and not found else Constant(found)
