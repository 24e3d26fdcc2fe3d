"""The rule init-never-applied (NNL205)."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnlint.linter.discover.source import Source
from nnlint.linter.findings import Finding, Location, Related, Severity
from nnlint.linter.graph import ModelGraph
from nnlint.linter.rules.base import Category, NotChecked, Rule

if TYPE_CHECKING:
    from torch import nn

    from nnlint.linter.load.initialised import Write

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# What torch itself calls, while it builds or moves modules.
_CALLED_BY_TORCH = frozenset({"reset_parameters", "_reset_parameters", "__init__", "__setstate__"})
# Names that stand in code that trains.
_TRAINING = frozenset({"backward", "zero_grad", "SGD", "Adam", "AdamW", "RMSprop", "Adagrad"})
_FILLS = frozenset({"normal_", "uniform_", "fill_", "zero_", "copy_"})
_DRAWS = frozenset({"normal_", "uniform_", "trunc_normal_"})
# Attributes of layers that a fan is computed from.
_SIZES = frozenset({"kernel_size", "in_channels", "out_channels", "in_features", "out_features"})


class InitNeverApplied(Rule):
    """An initialisation is written and has no effect: never called, or overwritten by another.

    ## What it does
    Finds methods and functions that initialise weights and that nothing in the file calls,
    although the file trains the model; weights that are initialised on purpose and then
    initialised again for the whole model; and a fan that is computed for the initialisation and
    then not used by it; and weights written although weight norm computes them from others.

    ## Why is this bad?
    The model trains from PyTorch's defaults, or from the second initialisation, and nothing says
    so.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(16, 32)
            self.out = nn.Linear(32, 4)

        def init_weights(self):
            for layer in (self.hidden, self.out):
                nn.init.kaiming_normal_(layer.weight)

        def forward(self, x):
            return self.out(torch.relu(self.hidden(x)))


    def train():
        model = Net()
        return torch.optim.SGD(model.parameters(), lr=0.1)
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(16, 32)
            self.out = nn.Linear(32, 4)
            self.init_weights()

        def init_weights(self):
            for layer in (self.hidden, self.out):
                nn.init.kaiming_normal_(layer.weight)

        def forward(self, x):
            return self.out(torch.relu(self.hidden(x)))


    def train():
        model = Net()
        return torch.optim.SGD(model.parameters(), lr=0.1)
    ```

    ## How it is decided
    A method of one of the model's classes, or a function of the file, counts as an initialisation
    if its body calls a function of torch.nn.init or fills `.data`. It counts as never applied if
    its name stands nowhere else in the file, and the file builds the model and trains it. Names that
    torch or another base class calls are left out. An initialisation counts as overwritten if a later one
    writes all that its line wrote, and more; loading weights does not count, nor does a parameter
    that is made with values. A fan is a local variable that is computed from the sizes of a layer,
    next to a call that draws its weights, and never read: a note.

    ## Known limits
    Where another file trains the model, and may call the method, the check is not made.

    ## References
    - torch.nn.Module.apply, https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html
    """

    name = "init-never-applied"
    code = "NNL205"
    severity = Severity.WARNING
    category = Category.INITIALISATION

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield each initialisation without effect."""
        if graph.source is not None:
            yield from self._unused(graph, graph.source)
            yield from self._unused_fans(graph, graph.source)
        for lost in _overwritten(graph.model):
            yield self._lost(graph, lost)
        for write, paths in _recomputed(graph.model).items():
            yield self.finding(
                graph,
                write.location,
                f"{write.name} on {_listed(paths)} has no effect: weight norm computes the weight"
                " anew before each call",
                help="initialise before weight_norm is applied, or write weight_v and weight_g",
                evidence={"parameters": paths},
                modules=[path.rpartition(".")[0] for path in paths],
            )

    def _unused(self, graph: ModelGraph, source: Source) -> Iterator[Finding | NotChecked]:
        classes = _own_classes(graph.model, source)
        names = _names(source.tree)
        trains = _builds(source.tree, type(graph.model).__name__) and _TRAINING & set(names)
        elsewhere = False
        for function, owner in _functions(source.tree):
            if owner is not None and owner not in classes:
                continue
            if names.count(function.name) or not _initialises(function):
                continue
            if owner is None and not _takes_module(function):
                continue
            if owner is not None and _inherited(classes[owner], function.name):
                continue
            if not trains:
                elsewhere = True
                continue
            what = "method" if owner is not None else "function"
            call = f"self.{function.name}()" if owner is not None else f"{function.name}"
            yield self.finding(
                graph,
                source.location(function),
                f"the {what} {function.name} initialises weights and is never called",
                help=(
                    f"call {call} at the end of __init__"
                    if owner is not None
                    else f"apply it to the model: model.apply({call})"
                ),
                evidence={"name": function.name},
            )
        if elsewhere:
            yield NotChecked("whoever trains the model may call its initialisation")

    def _unused_fans(self, graph: ModelGraph, source: Source) -> Iterator[Finding]:
        classes = _own_classes(graph.model, source)
        for function, owner in _functions(source.tree):
            if owner not in classes:
                continue
            for assigned, name, draw in _unread_fans(function):
                yield self.finding(
                    graph,
                    source.location(assigned),
                    f"{name}, a fan of the layer, is computed and never used: {ast.unparse(draw)}"
                    " does not depend on it",
                    help=f"draw with a standard deviation of sqrt(2 / {name}), or delete {name}",
                    severity=Severity.NOTE,
                    related=[Related(source.location(draw), "the weights are drawn here")],
                    evidence={"name": name},
                )

    def _lost(self, graph: ModelGraph, lost: Lost) -> Finding:
        return self.finding(
            graph,
            lost.first.location,
            f"{lost.first.name} on {_listed(lost.paths)} has no effect: {lost.second.name}"
            " overwrites it",
            help="initialise single layers after the whole model, not before",
            related=[Related(lost.at, "it is overwritten here")],
            evidence={"parameters": list(lost.paths), "by": lost.second.name},
            modules=[path.rpartition(".")[0] for path in lost.paths],
        )


@dataclass(frozen=True, slots=True)
class Lost:
    """A line that initialises parameters, all of which a later line writes again."""

    first: Write
    second: Write
    at: Location
    paths: tuple[str, ...]


def _listed(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(f"`{path}`" for path in paths[:3]) + more


def _recomputed(model: nn.Module) -> dict[Write, list[str]]:
    """Return what was written to weights that `torch.nn.utils.weight_norm` computes from others."""
    from nnlint.linter.load.initialised import recomputed, writes

    found: dict[Write, list[str]] = {}
    for path, module in model.named_modules():
        for name in recomputed(module):
            for write in writes(module, name):
                if write.location is not None:
                    found.setdefault(write, []).append(f"{path}.{name}" if path else name)
    return found


def _overwritten(model: nn.Module) -> Iterator[Lost]:
    from nnlint.linter.load.initialised import writes

    histories = {
        f"{path}.{name}" if path else name: found
        for path, module in model.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if (found := writes(module, name))
    }
    written: dict[Location, set[str]] = {}
    for path, history in histories.items():
        for write in history:
            if write.location is not None:
                written.setdefault(write.location, set()).add(path)
    for place, paths in written.items():
        ends = {_after(histories[path], place) for path in paths}
        if len(ends) != 1:
            continue
        pair = next(iter(ends))
        if pair is None or pair[1].location is None:
            continue
        first, second = pair
        if second.location is not None and paths < written[second.location]:
            yield Lost(first, second, second.location, tuple(sorted(paths)))


def _after(history: tuple[Write, ...], place: Location) -> tuple[Write, Write] | None:
    """Return a write from a line and the last one, if that is another function's."""
    first = next((write for write in history if write.location == place), None)
    last = history[-1]
    if first is None or last.location == place or first.within in _CALLED_BY_TORCH - {"__init__"}:
        return None
    if last.name in {first.name, "copy_", "assignment"}:
        return None
    if first is history[0] and not first.name.endswith("_"):
        return None  # torch.randn makes the parameter, it need not be meant to initialise it
    return first, last


def _unread_fans(
    function: ast.FunctionDef | ast.AsyncFunctionDef,
) -> Iterator[tuple[ast.Assign, str, ast.Call]]:
    """Yield variables made of a layer's sizes that nothing reads, and the draw beside them."""
    read = {
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    for block in ast.walk(function):
        found = getattr(block, "body", None)
        body: list[ast.stmt] = found if isinstance(found, list) else []
        for place, node in enumerate(body):
            match node:
                case ast.Assign(targets=[ast.Name(id=name)]) if name not in read:
                    sizes = {n.attr for n in ast.walk(node.value) if isinstance(n, ast.Attribute)}
                    draw = next(filter(None, map(_draw, body[place + 1 :])), None)
                    if sizes & _SIZES and draw is not None:
                        yield node, name, draw


def _draw(statement: ast.stmt) -> ast.Call | None:
    """Return the call of a statement that draws weights."""
    match statement:
        case ast.Expr(ast.Call(func=ast.Attribute(attr=name)) as call) if name in _DRAWS:
            return call
    return None


def _own_classes(model: nn.Module, source: Source) -> dict[str, type]:
    """Return the classes of the model's modules that the file defines, by name."""
    defined = {node.name for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef)}
    found = {type(module).__name__: type(module) for module in model.modules()}
    return {
        name: cls
        for name, cls in found.items()
        if name in defined and not cls.__module__.startswith("torch.")
    }


def _functions(
    tree: ast.Module,
) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, str | None]]:
    """Yield functions of the file with None and methods with the name of their class."""
    for node in tree.body:
        if isinstance(node, _FUNCTIONS):
            yield node, None
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, _FUNCTIONS) and not inner.decorator_list:
                    yield inner, node.name


def _names(tree: ast.Module) -> list[str]:
    """Return every name, attribute and string that stands in the file, imported names included."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.append(node.id)
        elif isinstance(node, ast.Attribute):
            found.append(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def _builds(tree: ast.Module, name: str) -> bool:
    """Tell whether the file calls a class."""
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(
        (isinstance(called, ast.Name) and called.id == name)
        or (isinstance(called, ast.Attribute) and called.attr == name)
        for called in calls
    )


def _initialises(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Tell whether a function calls torch.nn.init or fills `.data`."""
    if function.name in _CALLED_BY_TORCH or function.name == "forward":
        return False
    for node in ast.walk(function):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = node.func.value
        if node.func.attr.endswith("_") and (
            (isinstance(owner, ast.Attribute) and owner.attr == "init")
            or (isinstance(owner, ast.Name) and owner.id == "init")
        ):
            return True
        if node.func.attr in _FILLS and isinstance(owner, ast.Attribute) and owner.attr == "data":
            return True
    return False


def _takes_module(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Tell whether a function takes one thing, as Module.apply gives it."""
    arguments = function.args
    needed = len(arguments.args) - len(arguments.defaults)
    return needed == 1 and not arguments.vararg


def _inherited(cls: type, name: str) -> bool:
    """Tell whether a base class may call a method: it has it as well, or is of some library."""
    own = cls.__module__
    for base in cls.__mro__[1:]:
        if base.__module__ in {own, "builtins"}:
            continue
        if not base.__module__.startswith("torch.") or name in vars(base):
            return True
    return False
