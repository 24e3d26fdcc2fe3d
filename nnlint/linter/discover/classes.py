"""The classes of a file: what they derive from, what they define and what they mention."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from nnlint.linter.discover import sinks
from nnlint.linter.discover.names import Names, chain, on_import
from nnlint.linter.discover.source import Source
from nnlint.linter.findings import Location

FunctionDef = ast.FunctionDef | ast.AsyncFunctionDef
FindBase = Callable[[ast.expr], "ClassInfo | None"]

_MODULE_BASES = frozenset(("torch.jit.ScriptModule", "torch.fx.GraphModule"))
_CONTAINERS = frozenset(("torch.nn.Module", "torch.nn.ModuleList", "torch.nn.ModuleDict"))
_TORCH_LOSS_BASES = frozenset(("torch.nn._Loss", "torch.nn._WeightedLoss"))
_LABELS = re.compile(r"target|label|truth|^y$|^y_?true$|^gt|^trg|^tgt")
_LOSS_NAME = re.compile(r"loss|criterion", re.IGNORECASE)
_NOT_BUILDING = frozenset(("isinstance", "issubclass", "super", "cast", "hasattr"))
_TORCH_REQUIRED = {
    "Linear": ("in_features", "out_features"),
    "Embedding": ("num_embeddings", "embedding_dim"),
    "LayerNorm": ("normalized_shape",),
    "GroupNorm": ("num_groups", "num_channels"),
    "MultiheadAttention": ("embed_dim", "num_heads"),
    "TransformerEncoderLayer": ("d_model", "nhead"),
    "TransformerDecoderLayer": ("d_model", "nhead"),
    **dict.fromkeys(("RNN", "LSTM", "GRU"), ("input_size", "hidden_size")),
    **{f"{name}Cell": ("input_size", "hidden_size") for name in ("RNN", "LSTM", "GRU")},
    **{f"BatchNorm{size}d": ("num_features",) for size in (1, 2, 3)},
    **{
        f"Conv{kind}{size}d": ("in_channels", "out_channels", "kernel_size")
        for kind in ("", "Transpose")
        for size in (1, 2, 3)
    },
}


def collect(
    source: Source,
    names: Names,
    found: dict[str, ClassInfo] | None = None,
    base: FindBase | None = None,
) -> dict[str, ClassInfo]:
    """Return the top-level classes of a file by name, in the order of their definition.

    Args:
        source: The file.
        names: What it imports.
        found: Where the classes are put, one after the other.
        base: Looks in other files for the class that an expression among the bases stands for.
    """
    found = {} if found is None else found
    for node, _ in on_import(source.tree.body):
        if isinstance(node, ast.ClassDef):
            info = _read(node, source, found, names, base)
            found.pop(node.name, None)
            found[node.name] = info
    return found


def functions(source: Source) -> dict[str, FunctionDef]:
    """Return the top-level functions of a file by name."""
    return {
        node.name: node for node, _ in on_import(source.tree.body) if isinstance(node, FunctionDef)
    }


def registries(source: Source) -> dict[str, ast.expr]:
    """Return the dicts, lists and tuples that the top level of a file assigns to names."""
    found: dict[str, ast.expr] = {}
    for node, _ in on_import(source.tree.body):
        if isinstance(node, ast.Assign) and _is_display(node.value):
            found.update(
                (target.id, node.value) for target in node.targets if isinstance(target, ast.Name)
            )
    return found


def _is_display(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "dict"
    return isinstance(node, ast.Dict | ast.List | ast.Tuple)


def required_parameters(node: FunctionDef, *, skip: int) -> tuple[str, ...]:
    """Return the parameters of a function that have no default, without the first `skip`."""
    positional = [*node.args.posonlyargs, *node.args.args]
    without = positional[: len(positional) - len(node.args.defaults)]
    keyword_only = [
        arg.arg
        for arg, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        if default is None
    ]
    return (*(arg.arg for arg in without[skip:]), *keyword_only)


def mentions(root: ast.AST) -> frozenset[str]:
    """Return the identifiers that code reads as values: not annotations, bases, isinstance."""
    found: set[str] = set()
    stack: list[ast.AST] = list(_children(root))
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            if not isinstance(node.value, ast.Name):
                stack.append(node.value)
        elif isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in _NOT_BUILDING:
                continue
            if isinstance(called, ast.Attribute):
                found.update(chain(called)[:1])
            stack.extend(_children(node))
        else:
            stack.extend(_children(node))
    return frozenset(found)


def name_location(source: Source, node: ast.ClassDef | FunctionDef) -> Location:
    """Return the range of the name in a `class` or `def` line."""
    text = source.lines[node.lineno - 1] if node.lineno <= len(source.lines) else ""
    start = source.character(node.lineno, node.col_offset) - 1
    at = re.compile(rf"\b{re.escape(node.name)}\b").search(text, start)
    if at is None:
        return source.location(node)
    return Location(source.path, node.lineno, at.start() + 1, node.lineno, at.end() + 1)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.ClassDef):
        yield from node.body
        return
    for field in node._fields:
        if field in ("annotation", "returns", "bases"):
            continue
        value = getattr(node, field, None)
        if isinstance(value, ast.AST):
            yield value
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, ast.AST):
                    yield item


def _read(
    node: ast.ClassDef,
    source: Source,
    known: dict[str, ClassInfo],
    names: Names,
    find: FindBase | None,
) -> ClassInfo:
    local: list[ClassInfo] = []
    foreign: list[str] = []
    for base in node.bases:
        plain = base.value if isinstance(base, ast.Subscript) else base
        if isinstance(plain, ast.Name) and plain.id in known:
            local.append(known[plain.id])
        elif find is not None and (parent := find(plain)) is not None:
            local.append(parent)
        elif dotted := names.resolve(plain):
            foreign.append(dotted)
    methods: dict[str, FunctionDef] = {}
    attributes: dict[str, ast.expr] = {}
    fields: list[str] = []
    for statement in node.body:
        if isinstance(statement, FunctionDef):
            methods[statement.name] = statement
        elif isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    attributes[target.id] = statement.value
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            fields.append(statement.target.id)
            if statement.value is not None:
                attributes[statement.target.id] = statement.value
    # Not quite the C3 order, but the same wherever a method is defined once.
    mro: dict[ClassInfo, None] = {}
    for parent in local:
        mro.update(dict.fromkeys(parent.mro))
    info = ClassInfo(
        node.name, node, source, tuple(local), tuple(foreign), methods, attributes, tuple(fields)
    )
    info.mro = (info, *mro)
    info.mentions = mentions(node)
    info.module = (
        any(parent.module for parent in local)
        or any(map(_is_module_base, foreign))
        or (any(map(_is_from_package, foreign)) and _has_inputs(methods.get("forward")))
    )
    info.lightning = any(parent.lightning for parent in local) or any(
        dotted.endswith("LightningModule") for dotted in foreign
    )
    info.learned = _builds_learned(node, names)
    return info


def _is_module_base(dotted: str) -> bool:
    return (
        sinks.is_layer_class(dotted)
        or dotted in _MODULE_BASES
        or dotted in _TORCH_LOSS_BASES
        or dotted.endswith("LightningModule")
    )


def _is_from_package(dotted: str) -> bool:
    """Tell whether a base is of an installed package other than torch, so it may be a module."""
    package = dotted.lstrip(".").partition(".")[0]
    return package not in sys.stdlib_module_names and package != "torch"


def _has_inputs(forward: FunctionDef | None) -> bool:
    if forward is None or len(forward.args.args) < 2:
        return False
    decorators = {one.id for one in forward.decorator_list if isinstance(one, ast.Name)}
    return not decorators & {"staticmethod", "classmethod"}


def _builds_learned(node: ast.ClassDef, names: Names) -> bool:
    calls = (child for child in ast.walk(node) if isinstance(child, ast.Call))
    return any(names.resolve(call.func) in sinks.LEARNED for call in calls)


def _stub(node: FunctionDef) -> bool:
    """Tell whether a method only raises, passes or documents itself."""
    body: Iterable[ast.stmt] = node.body
    for statement in body:
        if isinstance(statement, ast.Raise | ast.Pass):
            continue
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        return False
    return True


@dataclass(slots=True, eq=False)
class ClassInfo:
    """One top-level class.

    Attributes:
        source: The file that defines it.
        bases: Its bases in the project; `foreign` holds the dotted names of the others.
        attributes: What the class body assigns.
        fields: Annotated names of the class body, in order, as a dataclass has them.
        mro: The class and its ancestors in the project, nearest first.
        mentions: Identifiers that its body reads as values.
        module: Whether it derives from nn.Module.
        learned: Whether its own body builds a layer with weights.
    """

    name: str
    node: ast.ClassDef
    source: Source
    bases: tuple[ClassInfo, ...]
    foreign: tuple[str, ...]
    methods: dict[str, FunctionDef]
    attributes: dict[str, ast.expr]
    fields: tuple[str, ...]
    mro: tuple[ClassInfo, ...] = ()
    mentions: frozenset[str] = frozenset()
    module: bool = False
    lightning: bool = False
    learned: bool = False

    def method(self, name: str) -> tuple[ClassInfo, FunctionDef] | None:
        """Return a method with the class that defines it, through its ancestors."""
        for info in self.mro:
            if name in info.methods:
                return info, info.methods[name]
        return None

    @property
    def ancestors(self) -> tuple[str, ...]:
        """Dotted names of the bases from elsewhere, those of its ancestors too."""
        return tuple(dotted for info in self.mro for dotted in info.foreign)

    @property
    def required(self) -> tuple[str, ...]:
        """Constructor parameters without a default."""
        found = self.method("__init__")
        if found is not None:
            return required_parameters(found[1], skip=1)
        for dotted in self.ancestors:
            if sinks.is_layer_class(dotted):
                return _TORCH_REQUIRED.get(dotted.rpartition(".")[2], ())
        return ()

    @property
    def torch_loss(self) -> str | None:
        """The torch loss class that it derives from."""
        for dotted in self.ancestors:
            if dotted in sinks.LOSS_CLASSES or dotted in _TORCH_LOSS_BASES:
                return dotted
        return None

    @property
    def has_forward(self) -> bool:
        """Whether a call of it computes something: its own forward, or a torch layer's."""
        if found := self.method("forward") or self.method("__call__"):
            return not _stub(found[1])
        return any(
            sinks.is_layer_class(dotted) and dotted not in _CONTAINERS for dotted in self.ancestors
        )

    @property
    def abstract(self) -> bool:
        """Whether its forward, or any other method, is left to subclasses to define."""
        found = self.method("forward")
        if found is not None and _stub(found[1]):
            return True
        decorators = (
            decorator for node in self.methods.values() for decorator in node.decorator_list
        )
        return any(
            (isinstance(node, ast.Name) and node.id == "abstractmethod")
            or (isinstance(node, ast.Attribute) and node.attr == "abstractmethod")
            for node in decorators
        )

    @property
    def criterion_like(self) -> bool:
        """Whether it looks like a loss: by its name, or by labels as an input and no weights."""
        if not self.module:
            return False
        if self.torch_loss or _LOSS_NAME.search(self.name):
            return True
        found = self.method("forward")
        if found is None or any(info.learned for info in self.mro):
            return False
        inputs = required_parameters(found[1], skip=1)
        return any(_LABELS.search(name) for name in inputs[1:])
