"""The abstract run of a whole file: what is run, in which order, with what budget."""

from __future__ import annotations

import ast

from nnlint.linter.discover.classes import ClassInfo, FunctionDef, mentions, required_parameters
from nnlint.linter.discover.machine import State
from nnlint.linter.discover.project import Project
from nnlint.linter.discover.statements import Statements
from nnlint.linter.discover.unit import Unit
from nnlint.linter.discover.values import (
    Arguments,
    Bound,
    ClassRef,
    Function,
    Made,
    Opaque,
    Output,
    Partial,
    Ref,
    Value,
    is_none,
    options,
    parts,
)

_BUDGET = 40_000
_BUDGET_PER_NODE = 3
_ROOT_BUDGET = 2_000
_BUILDER_BUDGET = 10_000
_MAX_OBJECTS = 4
_MAX_FOREIGN = 16
_EVALUATION = frozenset(("validation_step", "test_step", "predict_step"))
_NO_FACTORY = ("main", "train", "test", "fit", "run", "eval")


class Interpreter(Statements):
    """The abstract run of one file.

    Attributes:
        mentions: Identifiers that each top-level function reads.
        factories: Zero-argument functions that build and return a model, with what they return.
        loss_parameters: Optional forward parameters that reach a loss inside forward, by class.
    """

    def __init__(self, unit: Unit, project: Project) -> None:
        super().__init__(unit, project, _BUDGET + _BUDGET_PER_NODE * unit.names.size)
        self.functions = unit.functions
        self.mentions = {name: mentions(node) for name, node in unit.functions.items()}
        self._built: dict[ClassInfo, list[Made]] = {}
        self.factories: dict[str, tuple[Made, ...]] = {}
        self.loss_parameters: dict[str, frozenset[str]] = {}

    def run(self) -> None:
        """Run the file, then whatever in it nothing has called."""
        self.importing = True
        self.execute(self.source.tree.body)
        self.importing = False
        builders = {
            name
            for name, dotted in self.names.bindings.items()
            if dotted in ("torch", "torch.nn", "torch.nn.Sequential")
        }
        building = self._relevant(builders | self._imported_names())
        for name, node in self.functions.items():
            if name in building:
                self._try_factory(name, node)
        for made in self.made:
            if made.info is not None and not made.proto:
                self._built.setdefault(made.info, []).append(made)
        for info in self.classes.values():
            if info.module and not info.criterion_like:
                for made in self._objects(info):
                    self._run_model_methods(info, made)
        self._run_foreign()
        relevant = self._relevant(self._imported_names())
        for name, info in self.classes.items():
            if not info.module and name in relevant:
                self._run_methods(info)
        for name, node in self.functions.items():
            if node not in self.visited and name in relevant:
                self._root(Function(node, (0,)))
        for info in self.classes.values():
            if info.module:
                self._study_forward(info)
        self._look_into_constructors()

    def forget(self) -> None:
        """Let go of what only the run itself needs."""
        self.refill(0)
        self.state = State()

    def _imported_names(self) -> set[str]:
        """Return the names that the file imports from elsewhere in the project."""
        bindings = self.unit.names.bindings
        found = {
            name for name, dotted in bindings.items() if self.project.within(self.unit, dotted)
        }
        for other in self.project.starred(self.unit):
            found.update(other.classes, other.functions, other.names.bindings)
        return found

    def _run_foreign(self) -> None:
        """Run the methods of objects that this file makes of classes from other files.

        Their own file does so too, but does not know what this one gives them.
        """
        foreign = [info for info in self._built if info.source is not self.unit.source]
        for info in foreign[:_MAX_FOREIGN]:
            if not info.module:
                self._run_methods(info)
                continue
            for made in self._objects(info):
                if not info.criterion_like and any(map(_holds_code, made.arguments.values)):
                    self._run_model_methods(info, made)

    def _look_into_constructors(self) -> None:
        """Run constructors, to see with which arguments models build their parts."""
        saved = list(self.records), list(self.passed), list(self.given), list(self.made)
        for info in self.classes.values():
            if info.module and not info.criterion_like and info not in self._built:
                self.builders.append(self.stand_in(info))
        self.refill(_BUILDER_BUDGET)
        # Those that are built on the way are looked into as well.
        for made in self.builders:
            if self.budget <= 0:
                break
            self.start(made)
        self.builders = []
        self.records, self.passed, self.given, self.made = saved

    def _relevant(self, also: set[str]) -> set[str]:
        """Return the classes and functions that can get hold of a model by themselves."""
        relevant = also | {name for name, info in self.classes.items() if info.module}
        relevant |= self.globals.keys()
        relevant |= {made.info.name for made in self.made if made.info is not None}
        readers: dict[str, list[str]] = {}
        for name, info in self.classes.items():
            for mentioned in info.mentions | _annotations(info.node):
                readers.setdefault(mentioned, []).append(name)
        for name, node in self.functions.items():
            for mentioned in self.mentions[name] | _annotations(node):
                readers.setdefault(mentioned, []).append(name)
        stack = list(relevant)
        while stack:
            for reader in readers.pop(stack.pop(), ()):
                if reader not in relevant:
                    relevant.add(reader)
                    stack.append(reader)
        return relevant

    def _refill(self) -> None:
        self.refill(_ROOT_BUDGET)

    def _root(self, function: Function, me: Value | None = None) -> Value:
        self._refill()
        quiet = isinstance(function.node, FunctionDef) and function.node.name in _EVALUATION
        self.no_grad += quiet
        value = self.inline(function, Arguments() if me is None else Arguments((me,)))
        self.no_grad -= quiet
        return value

    def _try_factory(self, name: str, node: FunctionDef) -> None:
        if required_parameters(node, skip=0) or not _returns(node):
            return
        before = self.activity
        value = self._root(Function(node, (0,)))
        choices = [option for option in options(value) if not is_none(option)]
        made = tuple(option.root for option in choices if isinstance(option, Made))
        built_here = all(any(called is node for called, _ in one.trail) for one in made)
        if (
            made
            and len(made) == len(choices)
            and built_here
            and self.activity == before
            and not name.startswith(_NO_FACTORY)
        ):
            self.factories[name] = made

    def _objects(self, info: ClassInfo) -> list[Made]:
        """Return the latest objects of a class that the file builds, or one that stands for any."""
        built = self._built.get(info, [])
        return built[-_MAX_OBJECTS:] or [self.stand_in(info)]

    def _run_model_methods(self, info: ClassInfo, made: Made) -> None:
        self.set_mode(made, evaluating=False)
        for each in info.mro:
            for name, node in each.methods.items():
                overridden = info.method(name) != (each, node)
                if overridden or name == "forward" or _dunder(name):
                    continue
                self._method_root(each, node, made)

    def _run_methods(self, info: ClassInfo) -> None:
        if all(node in self.visited for node in info.methods.values()):
            return
        made = self._objects(info)[-1]
        self._refill()
        self.start(made)
        for node in info.methods.values():
            if node not in self.visited:
                self._method_root(info, node, made)

    def _method_root(self, owner: ClassInfo, node: FunctionDef, made: Made) -> None:
        self._refill()
        self.no_grad += node.name in _EVALUATION
        self.inline_method((owner, node), made, Arguments())
        self.no_grad -= node.name in _EVALUATION

    def _study_forward(self, info: ClassInfo) -> None:
        """Find the optional parameters of forward that its own source feeds into a loss."""
        found = info.method("forward")
        if found is None:
            return
        arguments = found[1].args
        count = len(arguments.args) - min(len(arguments.defaults), len(arguments.args))
        optional = [arg.arg for arg in arguments.args[count:]]
        optional += [
            arg.arg
            for arg, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
            if default is not None
        ]
        if not optional:
            return
        given: dict[str, Value] = {name: Opaque(params=frozenset((name,))) for name in optional}
        saved = list(self.records), list(self.passed), list(self.given), list(self.made)
        self._refill()
        self.loss_params = set()
        stand_in = self.stand_in(info)
        self.start(stand_in)

        def study() -> bool:
            self.inline_method(found, stand_in, Arguments((), given))
            return False

        self.state.branch(study)
        self.loss_parameters[info.name] = frozenset(self.loss_params)
        self.loss_params = None
        self.records, self.passed, self.given, self.made = saved


def _holds_code(value: Value) -> bool:
    """Tell whether a value is, or holds, a model, a loss or a function."""
    return any(
        isinstance(part, Made | Function | Partial | ClassRef | Bound | Output)
        or (isinstance(part, Ref) and part.dotted.startswith("torch."))
        for part in parts(value)
    )


def _dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _annotations(node: ast.ClassDef | FunctionDef) -> frozenset[str]:
    """Return the names, and quoted names, that parameters are annotated with."""
    methods = node.body if isinstance(node, ast.ClassDef) else [node]
    found: set[str] = set()
    for method in methods:
        if isinstance(method, FunctionDef):
            for arg in (*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs):
                annotation = arg.annotation
                while isinstance(annotation, ast.Attribute):
                    annotation = annotation.value
                if isinstance(annotation, ast.Name):
                    found.add(annotation.id)
                elif isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
                    found.add(annotation.value)
    return frozenset(found)


def _returns(node: FunctionDef) -> bool:
    """Tell whether a function returns a value, and is no generator or coroutine."""
    if isinstance(node, ast.AsyncFunctionDef):
        return False
    found = False
    stack: list[ast.AST] = list(node.body)
    while stack:
        inner = stack.pop()
        if isinstance(inner, ast.Yield | ast.YieldFrom):
            return False
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(inner, ast.Return) and inner.value is not None:
            found = found or not isinstance(inner.value, ast.Constant)
        stack.extend(ast.iter_child_nodes(inner))
    return found
