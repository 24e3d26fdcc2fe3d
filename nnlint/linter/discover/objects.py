"""Objects in the abstract run: their construction, attributes, items and methods."""

from __future__ import annotations

import ast

from nnlint.linter.discover import sinks
from nnlint.linter.discover.classes import ClassInfo, FunctionDef
from nnlint.linter.discover.containers import chosen, sliced, table_method
from nnlint.linter.discover.joining import join_all
from nnlint.linter.discover.modules import Space
from nnlint.linter.discover.names import canonical
from nnlint.linter.discover.recording import Recording
from nnlint.linter.discover.targets import Step
from nnlint.linter.discover.values import (
    NOTHING,
    Arguments,
    Bound,
    ClassRef,
    Constant,
    Either,
    Function,
    Made,
    Method,
    Opaque,
    Output,
    Ref,
    Sequence,
    Super,
    Table,
    Value,
    literal,
    parts,
)
from nnlint.linter.discover.vocabulary import NO_TENSOR, RETURN_SELF, TOUCH, TRAINS, WRAPS

_PROPERTIES = ("property", "cached_property")


class Objects(Recording):
    """The part of the abstract run that knows objects."""

    def new_made(
        self,
        info: ClassInfo | None = None,
        dotted: str = "",
        arguments: Arguments | None = None,
    ) -> Made:
        """Return a new object."""
        made = Made(self.number(), info, dotted, arguments or Arguments(), tuple(self.trail))
        made.site = (self.source, self.calling) if self.calling is not None else None
        if not self.inside_model:
            self.made.append(made)
        return made

    def give(self, made: Made) -> None:
        """Note what a model gets as building blocks."""
        for value in made.arguments.values:
            self.given.extend((made, part) for part in parts(value))

    def stand_in(self, info: ClassInfo) -> Made:
        """Return the object that stands for any instance of a class."""
        if info not in self.stand_ins:
            self.stand_ins[info] = Made(self.number(), info)
        return self.stand_ins[info]

    def start(self, made: Made) -> None:
        """Run the constructor of an object, once; models only when an attribute is asked for."""
        info = made.info
        if made.started or info is None:
            return
        made.started = True
        found = info.method("__init__")
        if found is None:
            fields = [name for each in reversed(info.mro) for name in each.fields]
            given = dict(zip(fields, made.arguments.positional, strict=False))
            given.update(made.arguments.keywords)
            for name, value in given.items():
                self.state.set((made.number, name), value)
        elif info.module:
            saved = self.doubt, self.no_grad
            self.doubt = self.no_grad = 0
            self.inside_model += 1
            with self.state.settled():
                self.inline_method(found, made, made.arguments)
            self.inside_model -= 1
            self.doubt, self.no_grad = saved
        else:
            self.inline_method(found, made, made.arguments)

    def stored(self, made: Made, name: str) -> Value | None:
        """Return an attribute that was assigned on an object, or on what it is a copy of."""
        for one in (made, made.root):
            self.start(one)
            value = self.state.get((one.number, name))
            if value is not None:
                return value
        return None

    def set_attribute(self, base: Value, name: str, value: Value) -> None:
        """Assign an attribute."""
        for made in base.options if isinstance(base, Either) else (base,):
            if isinstance(made, Ref):
                self.patch(made.dotted, name, value)
            if isinstance(made, Made):
                if self.frame.me is not made:
                    self.start(made)
                    made.root.touched = made.root.altered = True
                self.state.set((made.number, name), value)

    def attribute(self, base: Value, name: str, node: ast.expr) -> Value:
        """Read an attribute of a value."""
        if isinstance(base, Ref):
            known = self.patched(base.dotted, Constant(name)) if self.patches else None
            return known or Ref(canonical(f"{base.dotted}.{name}"))
        if isinstance(base, Space):
            if name == "__dict__":
                return self.namespace(base.unit)
            return self.member(base.unit, name) or NOTHING
        if isinstance(base, Made):
            return self._made_attribute(base, name)
        if isinstance(base, Output):
            if name in NO_TENSOR:
                return NOTHING
            if name == "indices" and (picked := _picked(base)):
                return Opaque((picked,))
            return base.then(Step("attr", name, self.source.location(node)))
        if isinstance(base, ClassRef):
            return self._class_attribute(base, name)
        if isinstance(base, Either):
            return join_all([self.attribute(option, name, node) for option in base.options])
        if isinstance(base, Opaque):
            return NOTHING if name in NO_TENSOR else base
        return Method(base, name)

    def chosen_attribute(self, base: Value, name: Value, node: ast.expr) -> Value:
        """Read an attribute whose name is a value: one that is known, or any of a module's."""
        if isinstance(base, Space):
            return self.item(self.namespace(base.unit), name, node)
        if isinstance(base, Ref) and (value := self.patched(base.dotted, name)):
            return value
        known = literal(name)
        return self.attribute(base, known, node) if isinstance(known, str) else NOTHING

    def _made_attribute(self, made: Made, name: str) -> Value:
        value = self.stored(made, name)
        if value is not None:
            return value
        info = made.info
        if info is not None:
            found = info.method(name)
            if found is not None and name not in ("forward", "__call__"):
                owner, method = found
                if _decorated(method, *_PROPERTIES):
                    return self.inline_method(found, made, Arguments())
                function = Function(method, (self.home(owner),), owner)
                return function if _decorated(method, "staticmethod") else Bound(function, made)
            for each in info.mro:
                if name in each.attributes:
                    return self.evaluate_global(each.attributes[name], each)
        if name == "module":
            return made
        return Method(made, name)

    def _class_attribute(self, base: ClassRef, name: str) -> Value:
        found = base.info.method(name)
        if found is not None:
            function = Function(found[1], (self.home(found[0]),), found[0])
            return Bound(function, base) if _decorated(found[1], "classmethod") else function
        for each in base.info.mro:
            if name in each.attributes:
                return self.evaluate_global(each.attributes[name], each)
        return NOTHING

    def evaluate_global(self, node: ast.expr, owner: ClassInfo) -> Value:
        """Evaluate an expression of a class body."""
        frame = self.frame
        self.frame = type(frame)((self.home(owner),), owner.source.tree)
        value = self.evaluate(node)
        self.frame = frame
        return value

    def item(self, base: Value, key: Value, node: ast.expr) -> Value:
        """Read an item of a value."""
        known = literal(key)
        if isinstance(base, Output):
            if known == 1 and (picked := _picked(base)):
                return Opaque((picked,))
            return base.then(Step("item", repr(known), self.source.location(node), key=known))
        if isinstance(base, Sequence):
            if isinstance(known, slice):
                return Sequence(sliced(base.items, known))
            if isinstance(known, int) and -len(base.items) <= known < len(base.items):
                return base.items[known]
            return join_all(base.items)
        if isinstance(base, Table):
            return chosen(base, key)
        if isinstance(base, Ref) and base.dotted.endswith(".__dict__"):
            return self.patched(base.dotted, key) or NOTHING
        if isinstance(base, Either):
            return join_all([self.item(option, key, node) for option in base.options])
        return base if isinstance(base, Opaque) else NOTHING

    def call_method(self, base: Value, name: str, arguments: Arguments, node: ast.expr) -> Value:
        """Call a method of a value."""
        if name in TRAINS:
            self.activity += 1
        if isinstance(base, Made):
            return self._made_method(base, name, arguments, node)
        if isinstance(base, Output):
            return self._output_method(base, name, arguments, node)
        if isinstance(base, Super):
            return self._super_method(base, name, arguments, node)
        if isinstance(base, Either):
            choices = [one for one in base.options if not isinstance(one, Constant)]
            return join_all([self.call_method(one, name, arguments, node) for one in choices])
        if isinstance(base, Table):
            return table_method(base, name, arguments)
        if isinstance(base, Ref | ClassRef | Space):
            return self.call(self.attribute(base, name, node), arguments, node, name)
        if isinstance(base, Opaque):
            if name in WRAPS and any(isinstance(one, Made) for one in arguments.values):
                first = arguments.positional
                return first[0] if len(first) == 1 else Sequence(first)
            self.unknown_call(base, arguments, name)
            return NOTHING if name in NO_TENSOR else base.then(f".{name}")
        return self.unknown_call(base, arguments, name)

    def _made_method(self, made: Made, name: str, arguments: Arguments, node: ast.expr) -> Value:
        info = made.info
        module = info is None or info.module
        if module and name in ("forward", "__call__"):
            return self.invoke(made, arguments, node)
        if name in TOUCH or "init" in name:
            made.root.touched = True
            if self.frame.me is not made and name != "load_state_dict":
                made.root.written = True
        found = info.method(name) if info is not None else None
        if found is not None and not _decorated(found[1], *_PROPERTIES):
            return self.inline_method(found, made, arguments)
        value = self.stored(made, name)
        if value is not None:
            return self.call(value, arguments, node, name)
        if module and name in ("train", "eval"):
            mode = literal(arguments.get(0, "mode")) if arguments.values else True
            self.set_mode(made, evaluating=name == "eval" or mode is False)
        if module and name in RETURN_SELF:
            return made
        attribute = self._made_attribute(made, name)
        if not isinstance(attribute, Method):
            return self.call(attribute, arguments, node, name)
        return self.unknown_call(NOTHING, arguments, name)

    def _output_method(
        self, base: Output, name: str, arguments: Arguments, node: ast.expr
    ) -> Value:
        if name in NO_TENSOR:
            return NOTHING
        sink = sinks.pick(f"torch.{name}")
        if sink and self.picks(sink, arguments):
            return self.pick(sink, base, arguments, node)
        args, kwargs = arguments.literals()
        taken = base.then(Step("method", name, self.source.location(node), args, kwargs))
        if sinks.logarithm(f"torch.{name}"):
            self.logarithm(f"torch.{name}", taken, node)
        return taken

    def _super_method(self, base: Super, name: str, arguments: Arguments, node: ast.expr) -> Value:
        me = base.me
        info = me.info if isinstance(me, Made | ClassRef) else None
        mro = info.mro if info is not None else ()
        after = mro[mro.index(base.owner) + 1 :] if base.owner in mro else ()
        for each in after:
            if name in each.methods:
                return self.inline_method((each, each.methods[name]), me, arguments)
        loss = info.torch_loss if info is not None else None
        if name == "forward" and loss in sinks.LOSS_CLASSES and isinstance(me, Made):
            return self.loss(str(loss), me.arguments, arguments, node)
        if name in ("train", "eval") and isinstance(me, Made):
            return me
        return NOTHING


def _picked(value: Output) -> str | None:
    """Return the pick that gave a pair of values and indices."""
    step = value.flows[0].steps[-1] if value.flows[0].steps else None
    if step is None or step.kind != "method" or step.name not in ("max", "topk"):
        return None
    return f"torch.{step.name}"


def _decorated(node: FunctionDef, *names: str) -> bool:
    for decorator in node.decorator_list:
        last = decorator.attr if isinstance(decorator, ast.Attribute) else ""
        if last in names or (isinstance(decorator, ast.Name) and decorator.id in names):
            return True
    return False
