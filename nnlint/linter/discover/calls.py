"""Calls in the abstract run: functions and methods of the project are followed, models are noted."""

from __future__ import annotations

import ast
import re

from nnlint.linter.discover import sinks
from nnlint.linter.discover.binding import complete, customised, defaults, match, prepend
from nnlint.linter.discover.classes import ClassInfo, FunctionDef
from nnlint.linter.discover.constructing import construction_of
from nnlint.linter.discover.joining import join, join_all
from nnlint.linter.discover.machine import MAX_CALLS, MAX_DEPTH, Frame
from nnlint.linter.discover.names import chain
from nnlint.linter.discover.objects import Objects
from nnlint.linter.discover.targets import Step
from nnlint.linter.discover.values import (
    NOTHING,
    Arguments,
    Bound,
    ClassRef,
    Constant,
    Either,
    Flow,
    Function,
    Made,
    Method,
    Opaque,
    Output,
    Partial,
    Ref,
    Sequence,
    Value,
    is_none,
    literal,
    outputs_in,
)

_MAX_CONSTRUCTIONS = 24
# Of many models that the user may choose from, none may take the time that the others need.
_FEW_CHOICES = 3
_CHOICES_SHARE = 4
_LEAST_SHARE = 50
_NO_GRAD = ("torch.no_grad", "torch.inference_mode")
_IMPORTS = ("importlib.import_module", "builtins.__import__")
_LOSS_HINT = re.compile(r"loss|criterion|criteria", re.IGNORECASE)


class Calls(Objects):
    """The part of the abstract run that calls."""

    def call(self, callee: Value, arguments: Arguments, node: ast.expr, hint: str = "") -> Value:
        """Call a value; `hint` is the last identifier of the called expression."""
        if self.depth >= MAX_DEPTH:
            return NOTHING
        self.depth += 1
        try:
            return self._dispatch(callee, arguments, node, hint)
        finally:
            self.depth -= 1

    def _dispatch(self, callee: Value, arguments: Arguments, node: ast.expr, hint: str) -> Value:
        self.calling = node
        if isinstance(callee, Ref):
            if callee.dotted in _IMPORTS:
                return self.import_module(node, literal(arguments.get(0, "name")))
            return self.external(callee.dotted, arguments, node)
        if isinstance(callee, Function):
            return self.inline(callee, arguments)
        if isinstance(callee, Bound):
            return self.inline(callee.function, prepend(callee.me, arguments))
        if isinstance(callee, Method):
            return self.call_method(callee.base, callee.name, arguments, node)
        if isinstance(callee, ClassRef):
            return self.construct(callee.info, arguments)
        if isinstance(callee, Made):
            return self.invoke(callee, arguments, node)
        if isinstance(callee, Partial):
            return self.call(callee.callee, complete(callee.arguments, arguments), node, hint)
        if isinstance(callee, Either):
            return self._call_any(callee, arguments, node, hint)
        return self.unknown_call(callee, arguments, hint)

    def unknown_call(self, callee: Value, arguments: Arguments, hint: str) -> Value:
        """Call something whose code is not known: its callbacks may run, its result is lost."""
        if hint and _LOSS_HINT.search(hint):
            for value in arguments.values:
                self.note_loss_argument(value)
        self.run_callbacks(arguments)
        return Opaque(callee.ops) if isinstance(callee, Opaque) else NOTHING

    def run_callbacks(self, arguments: Arguments) -> None:
        """Run the functions of the file that are handed to unknown code."""
        for value in arguments.values:
            if isinstance(value, Function) and value.node not in self.visited:
                self.inline(value, Arguments())
            elif isinstance(value, Bound) and value.function.node not in self.visited:
                self.inline(value.function, Arguments((value.me,)))

    def _call_any(self, callee: Either, arguments: Arguments, node: ast.expr, hint: str) -> Value:
        guards = callee.guards or ((),) * len(callee.options)
        choices = [
            (option, guard)
            for option, guard in zip(callee.options, guards, strict=True)
            if not is_none(option)
        ]
        kinds = {self._kind(option) for option, _ in choices} - {"model"}
        doubtful = len(kinds) > 1 and not callee.guards
        self.doubt += doubtful
        results = []
        share = max(self.budget // (_CHOICES_SHARE * len(choices) + 1), _LEAST_SHARE)
        for option, guard in choices:
            kept = self.budget
            if len(choices) > _FEW_CHOICES:
                self.budget = min(share, kept)
            before = self.budget
            with self.guarded(guard, chosen=len(kinds) > 1):
                results.append(self.call(option, arguments, node, hint))
            self.budget = kept - (before - self.budget)
        self.doubt -= doubtful
        return join_all(results)

    def _kind(self, callee: Value) -> object:
        """Return what is the same for callees between which no doubt about the loss remains."""
        while isinstance(callee, Partial):
            callee = callee.callee
        if isinstance(callee, Ref):
            return sinks.loss(callee.dotted) or callee.dotted
        if isinstance(callee, Made):
            if callee.dotted in sinks.LOSS_CLASSES:
                return callee.dotted
            if callee.info is not None and (callee.info.criterion_like or not callee.info.module):
                return callee.info
            return "model"
        if isinstance(callee, ClassRef):
            return "model" if callee.info.module else callee.info
        if isinstance(callee, Function):
            return callee.node
        if isinstance(callee, Bound):
            return callee.function.node
        return None

    def construct(self, info: ClassInfo, arguments: Arguments) -> Value:
        """Build an object of a class of the project."""
        made = self.new_made(info=info, arguments=arguments)
        made.custom = customised(info, arguments)
        if info.module:
            self.give(made)
            self.note_construction(made, info)
        else:
            self.start(made)
        return made

    def note_construction(self, made: Made, info: ClassInfo) -> None:
        """Write down the call that builds a model, once for each place and depth of knowledge."""
        known = self.constructions.setdefault(info, [])
        if len(known) >= _MAX_CONSTRUCTIONS or made.site is None:
            return
        known.append(construction_of(made, info))
        self.builders.append(made)

    def invoke(self, made: Made, arguments: Arguments, node: ast.expr) -> Value:
        """Call an object: a loss, a model, a layer, or anything with `__call__`."""
        info = made.info
        if info is None:
            return self._invoke_layer(made, arguments, node)
        found = info.method("forward") or info.method("__call__")
        if not info.module:
            if found := info.method("__call__"):
                return self.inline_method(found, made, arguments)
            return self.unknown_call(made, arguments, "")
        loss = info.torch_loss
        if loss and found is None and loss in sinks.LOSS_CLASSES:
            return self.loss(loss, made.arguments, arguments, node)
        received = outputs_in(arguments.values)
        from_another = received is not None and any(
            flow.made.root is not made.root for flow in received.flows
        )
        if info.criterion_like and found is not None and (from_another or loss):
            self.criteria.add(info)
            return self.inline_method(found, made, arguments)
        self.models_called.add(info)
        self._note_passed(made, info, arguments)
        return self.output_of(made, node)

    def output_of(self, made: Made, node: ast.expr) -> Output:
        """Return the fresh output of a model."""
        training = not self.no_grad and not self.evaluating(made)
        return Output((Flow(made, self.source.location(node), (), training),))

    def _invoke_layer(self, made: Made, arguments: Arguments, node: ast.expr) -> Value:
        if made.dotted in sinks.LOSS_CLASSES:
            return self.loss(made.dotted, made.arguments, arguments, node)
        received = outputs_in(arguments.values)
        if made.dotted == "torch.nn.Sequential":
            if made.root not in self.global_roots and (
                received is not None or any(_is_model(part) for part in made.arguments.positional)
            ):
                return self._through(made, arguments, node)
            return self.output_of(made, node)
        if received is None:
            return self.output_of(made, node) if made.dotted in sinks.LEARNED else NOTHING
        args, kwargs = made.arguments.literals()
        step = Step("call", made.dotted, self.source.location(node), args, kwargs)
        return received.then(step)

    def _through(self, made: Made, arguments: Arguments, node: ast.expr) -> Value:
        """Call the items of a Sequential one after the other."""
        if made.arguments.open:
            return self.output_of(made, node)
        value: Value = NOTHING
        given = arguments
        for part in made.arguments.positional:
            value = self.call(part, given, node)
            given = Arguments((value,))
        return value

    def _note_passed(self, made: Made, info: ClassInfo, arguments: Arguments) -> None:
        found = info.method("forward")
        if found is None:
            return
        parameters = found[1].args
        names = [arg.arg for arg in (*parameters.posonlyargs, *parameters.args)][1:]
        given = dict(zip(names, arguments.positional, strict=False))
        given.update(arguments.keywords)
        optional = set(defaults(found[1]))
        # A literal is a switch and not an input: tracing keeps to the default.
        passed = {
            name
            for name, value in given.items()
            if name in optional and not isinstance(value, Constant)
        }
        if passed:
            self.passed.append((made, frozenset(passed)))

    def inline_method(
        self, found: tuple[ClassInfo, FunctionDef], me: Value, arguments: Arguments
    ) -> Value:
        """Run a method of the file on an object."""
        owner, node = found
        decorators = {one.id for one in node.decorator_list if isinstance(one, ast.Name)}
        if "staticmethod" in decorators:
            return self.inline(Function(node, (self.home(owner),), owner), arguments)
        if "classmethod" in decorators and isinstance(me, Made) and me.info is not None:
            me = ClassRef(me.info)
        return self.inline(Function(node, (self.home(owner),), owner), prepend(me, arguments))

    def inline(self, function: Function, arguments: Arguments) -> Value:
        """Run a function of the file and return what it returns."""
        node = function.node
        if node in self.active or len(self.active) >= MAX_CALLS or self.budget <= 0:
            return NOTHING
        self.visited.add(node)
        scope = self.number()
        frame = Frame((scope, *function.scopes), node, function.owner)
        bound = self._bind(node, arguments, function.scopes)
        for name, value in bound.items():
            self.state.set((scope, name), value)
        frame.me = next(iter(bound.values()), None)
        top_level = len(function.scopes) == 1 and function.owner is None
        outer = self.frame, self.importing, self.no_grad
        self.frame, self.importing = frame, False
        self.no_grad += not isinstance(node, ast.Lambda) and any(
            self.is_static(decorator, *_NO_GRAD) for decorator in node.decorator_list
        )
        self.active.append(node)
        if top_level and isinstance(node, FunctionDef):
            self.trail.append((node, bool(arguments.values) or arguments.open))
        try:
            if isinstance(node, ast.Lambda):
                frame.returns.append(self.evaluate(node.body))
            else:
                self.execute(node.body)
                for nested in frame.nested:
                    if nested.node not in self.visited:
                        self.inline(nested, Arguments())
        finally:
            if top_level and isinstance(node, FunctionDef):
                self.trail.pop()
            self.active.pop()
            self.frame, self.importing, self.no_grad = outer
            self.restore_modes(frame)
        if frame.yields:
            return Sequence((join_all(frame.yields),), "list", open=True)
        return join_all([*frame.returns, *frame.spare])

    def _bind(
        self, node: FunctionDef | ast.Lambda, arguments: Arguments, scopes: tuple[int, ...]
    ) -> dict[str, Value]:
        """Match arguments to parameters; what is missing has its default, or is unknown."""
        parameters = node.args
        bound = match(node, arguments)
        given = defaults(node)
        caller, self.frame = self.frame, Frame(scopes, node)
        for arg in (*parameters.posonlyargs, *parameters.args, *parameters.kwonlyargs):
            if arg.arg not in bound:
                bound[arg.arg] = self._missing(arg, given.get(arg.arg), arguments)
            elif isinstance(bound[arg.arg], Opaque) and arg.annotation is not None:
                bound[arg.arg] = self._annotated(arg) or bound[arg.arg]
        self.frame = caller
        return bound

    def _missing(self, arg: ast.arg, default: ast.expr | None, arguments: Arguments) -> Value:
        if default is None:
            return self._annotated(arg) or NOTHING
        value = self.evaluate(default)
        if arguments.open and not isinstance(value, Constant):
            return join(value, NOTHING)
        return value

    def _annotated(self, arg: ast.arg) -> Value | None:
        """Return some instance of the model class that a parameter is annotated with."""
        annotation = arg.annotation
        value: Value = NOTHING
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            value = self.lookup(annotation.value)
        elif isinstance(annotation, ast.Name | ast.Attribute) and chain(annotation):
            value = self.evaluate(annotation)
        info = value.info if isinstance(value, ClassRef) else None
        if info is None or not info.module or info.criterion_like:
            return None
        return self.stand_in(info)


def _is_model(value: Value) -> bool:
    return isinstance(value, Made) and value.info is not None and value.info.module
