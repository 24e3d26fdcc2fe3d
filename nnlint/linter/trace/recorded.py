"""Record a real run of forward as a graph: whatever forward decides on, one path is taken.

Works where no trace can follow: loops and branches on values, `.item()`, lists of lengths, numpy.
Each call of a torch function, of a tensor's method or of a layer becomes a node with its real
shape. A copy of the model runs, on small tensors.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch.overrides import TorchFunctionMode

from nnlint.linter.findings import Location
from nnlint.linter.graph import Node, TensorInfo
from nnlint.linter.operators.moving import ITEM
from nnlint.linter.trace.convert import (
    BuiltAt,
    bind_function,
    bind_method,
    bind_module,
    link,
    nodes_in,
)
from nnlint.linter.trace.ghost import Ghost, preserved, seeded, silence, uncompiled
from nnlint.linter.trace.positions import UserCode
from nnlint.linter.trace.symbolic import is_layer, watching

# A run that makes more nodes than this is one whose loops are as long as its data.
MAX_NODES = 20_000

# Methods that read a value out of a tensor: what depends on them is no longer seen.
_READS = frozenset({"item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__"})
# Operators as the trace of fx names them; reflected ones have their arguments swapped.
_OPERATORS = {
    f"__{name}__": getattr(operator, f"__{name}__")
    for name in (
        *("getitem", "setitem", "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"),
        *("and", "or", "xor", "invert", "neg", "abs", "eq", "ne", "lt", "le", "gt", "ge"),
        *("iadd", "isub", "imul", "itruediv", "ifloordiv", "ipow", "imod", "iand", "ior", "ixor"),
    )
}
_REFLECTED = {
    f"__r{name}__": getattr(operator, name)
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_")
} | {"__rdiv__": operator.truediv, "__rand__": operator.and_, "__ror__": operator.or_}


class StoppedError(BaseException):
    """The run takes too long; no `except Exception` of the user's may catch it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The call that a run ended in.

    Attributes:
        node: The call, not in the graph, with its arguments.
        error: What it raised.
    """

    node: Node
    error: Exception


@dataclass(slots=True)
class Run:
    """What a run has shown.

    Attributes:
        nodes: What happened, in order, up to the error if there was one.
        created: Modules with parameters that forward built, with the place.
        error: What forward raised.
        failed: The call that raised it, None where it was raised elsewhere.
    """

    nodes: list[Node]
    created: tuple[tuple[torch.nn.Module, Location | None], ...] = ()
    error: Exception | None = None
    failed: Failed | None = None

    @property
    def progress(self) -> int:
        """How many calls it came through."""
        return sum(node.kind == "op" for node in self.nodes)


@dataclass(slots=True)
class _Part:
    """A tensor inside the result of a call; the node that takes it out is made when it is used."""

    whole: Node
    path: tuple[Any, ...]


@dataclass(slots=True)
class _Written:
    """A tensor into which something was written through a view of it."""

    before: Node | _Part | _Written
    value: Node


@dataclass(slots=True)
class _Known:
    tensor: torch.Tensor  # kept, so that its identity is not used again
    source: Node | _Part | _Written


@dataclass(slots=True)
class _Place:
    path: str
    module: torch.nn.Module
    leaf: bool = False
    nodes: list[Node] = field(default_factory=list)


def run(
    ghost: Ghost,
    code: UserCode,
    built_at: BuiltAt,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    names: Mapping[int, str],
    until: float,
) -> Run:
    """Run forward and record what it calls.

    Args:
        ghost: The copy of the model.
        code: Tells the user's frames.
        built_at: Tells where a layer was built.
        args: Arguments of forward.
        kwargs: Its keyword arguments.
        names: Names of the input tensors, by their identity.
        until: Processor time of this thread at which to give up.
    """
    recorder = _Recorder(ghost, code, built_at, until)
    recorder.enter(args, kwargs, names)
    result: Any = None
    error: Exception | None = None
    with (
        preserved(ghost.model),
        watching(recorder),
        recorder,
        recorder.layers(),
        silence(),
        uncompiled(),
        seeded(),
    ):
        try:
            result = ghost.model(*args, **kwargs)
            if isinstance(result, Iterator):
                result = list(result)
        except Exception as raised:  # noqa: BLE001 - the user's forward may raise anything
            error = raised
        except StoppedError:
            error = TimeoutError("forward takes too long")
    if error is None:
        recorder.leave(result)
    failed = recorder.failed if recorder.failed and recorder.failed.error is error else None
    return Run(recorder.nodes, tuple(recorder.created), error, failed)


class _Recorder(TorchFunctionMode):
    def __init__(self, ghost: Ghost, code: UserCode, built_at: BuiltAt, until: float) -> None:
        super().__init__()
        self.code = code
        self.nodes: list[Node] = []
        self.failed: Failed | None = None
        self.functions: list[bool] = []
        self.created: list[tuple[torch.nn.Module, Location | None]] = []
        self._ghost = ghost
        self._built_at = built_at
        self._until = until
        self._known: dict[int, _Known] = {}
        self._memory: dict[tuple[Any, ...], _Known] = {}
        self._stack: list[_Place] = []
        self._quiet = 0
        model = ghost.model
        self._paths = {id(m): n for n, m in reversed(list(model.named_modules()))}
        self._state = {id(t): n for n, t in (*model.named_buffers(), *model.named_parameters())}
        self._orphans = 0

    def enter(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], names: Mapping[int, str]
    ) -> None:
        """Make a node of each input tensor."""
        for tensor in tensors_in((args, kwargs)):
            node = self._add(Node(0, "input", name=names.get(id(tensor), "input")), tensor)
            self._know(tensor, node)

    def leave(self, result: Any) -> None:
        """Make the node of what forward returns."""
        self._append(Node(0, "output", name="output", args={"input": self._values(result)}))

    @contextlib.contextmanager
    def layers(self) -> Iterator[None]:
        """Record calls of modules as well."""
        original = torch.nn.Module.__call__
        recorder = self

        @functools.wraps(original)
        def call(self: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
            return recorder.call(original, self, args, kwargs)

        torch.nn.Module.__call__ = call  # type: ignore[method-assign] # restored below
        try:
            yield
        finally:
            torch.nn.Module.__call__ = original  # type: ignore[method-assign]

    def call(
        self, original: Any, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call a module: a layer becomes one node, any other module what happens in it."""
        if self._quiet:
            return original(module, *args, **kwargs)
        place = _Place(self._path(module), module)
        self._stack.append(place)
        try:
            if module is self._ghost.model or not is_layer(module):
                return original(module, *args, **kwargs)
            self._stop_in_time()
            versions = _versions((args, kwargs))
            self._quiet += 1
            try:
                result = original(module, *args, **kwargs)
            except Exception as error:
                self._fail(self._layer(module, args, kwargs), error)
                raise
            finally:
                self._quiet -= 1
            node = self._layer(module, args, kwargs)
            return self._took_place(node, result, versions)
        finally:
            self._stack.pop()

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Record one call of a torch function or of a tensor's method."""
        del types
        kwargs = kwargs or {}
        if self._quiet:
            return func(*args, **kwargs)
        self._stop_in_time()
        name = getattr(func, "__name__", "")
        versions = _versions((args, kwargs))
        try:
            result = func(*args, **kwargs)
        except Exception as error:
            self._fail(self._called(func, name, args, kwargs), error)
            raise
        if name == "__setitem__":
            self._write(self._called(func, name, args, kwargs), args[0])
        elif name in _READS:
            node = self._called(func, name, args, kwargs)
            node.op = ITEM
            self._append(node)
        elif name == "__set__" and isinstance(args[0], torch.Tensor):  # x.data = y
            self._write(self._called(func, name, args, kwargs), args[0])
        elif any(True for _ in tensors_in(result)):
            return self._took_place(self._called(func, name, args, kwargs), result, versions)
        return result

    def _fail(self, node: Node, error: Exception) -> None:
        node.inputs = nodes_in(node.args)
        self.failed = Failed(node, error)

    def _took_place(self, node: Node, result: Any, versions: Mapping[int, int]) -> Any:
        """Enter a call into the graph and remember where its results come from."""
        if isinstance(result, torch.Tensor) and id(result) in versions:
            if result._version != versions[id(result)]:  # noqa: SLF001 - the documented counter
                self._write(node, result)
                return result
            # The same object is handed back; another one keeps both values apart.
            self._quiet += 1
            try:
                result = result.view_as(result)
            except RuntimeError:
                self._quiet -= 1
                self._know(result, self._add(node, result))
                return result
            self._quiet -= 1
        self._add(node, result)
        for path, tensor in _parts(result):
            self._know(tensor, _Part(node, path) if path else node)
        return result

    def _write(self, node: Node, target: torch.Tensor) -> None:
        """Enter a call that changes a tensor in place: from here on, that is another value."""
        self._add(node, target)
        base = target._base  # noqa: SLF001 - the documented way to what is viewed
        self._know(target, node)
        if base is not None and (known := self._known.get(id(base))) is not None:
            known.source = _Written(known.source, node)

    def _add(self, node: Node, result: Any) -> Node:
        node.info = _info(result)
        return self._append(node)

    def _append(self, node: Node) -> Node:
        node.index = len(self.nodes)
        self.nodes.append(node)
        link(node)
        return node

    def _know(self, tensor: torch.Tensor, source: Node | _Part) -> None:
        known = self._known[id(tensor)] = _Known(tensor, source)
        if (key := _memory_of(tensor)) is not None:
            self._memory[key] = known

    def _path(self, module: torch.nn.Module) -> str:
        path = self._paths.get(id(module))
        if path is None:
            path = self._paths[id(module)] = f"<{type(module).__name__} {self._orphans}>"
            self._orphans += 1
        return path

    def _placed(self, node: Node) -> Node:
        node.call = node.location = self.code.site(sys._getframe(1))  # noqa: SLF001 - the documented way to a frame
        node.path = self._stack[-1].path if self._stack else ""
        node.grad = self.functions[0] if self.functions else torch.is_grad_enabled()
        node.custom = bool(self.functions)
        return node

    def _layer(self, module: torch.nn.Module, args: Any, kwargs: Any) -> Node:
        node = self._placed(Node(0, "op"))
        original = self._ghost.of(module)
        bind_module(node, original, self._values(args), self._values(kwargs))
        node.name = node.path
        node.built = self._built_at(original)
        parent = self._stack[-2].module if len(self._stack) > 1 else None
        if isinstance(parent, torch.nn.Sequential) and node.built is not None:
            node.location = node.built
        return node

    def _called(self, func: Any, name: str, args: Any, kwargs: Any) -> Node:
        node = self._placed(Node(0, "op", target=func, name=name))
        values, named = self._values(args), self._values(kwargs)
        if name in ("__get__", "__set__"):
            node.target = node.name = func.__self__.__name__
            bind_method(node, f".{node.name}", values, named)
        elif name in _OPERATORS or name in _REFLECTED:
            reflected = _REFLECTED.get(name)
            node.target = reflected or _OPERATORS[name]
            bind_function(node, node.target, values[::-1] if reflected else values, named)
        elif hasattr(torch.Tensor, name) and getattr(torch.Tensor, name) is func:
            node.target = name
            bind_method(node, name, values, named)
        else:
            bind_function(node, func, values, named)
        return node

    def _values(self, value: Any) -> Any:
        """Replace tensors by nodes, in containers too; other objects by what they hold."""
        if isinstance(value, torch.Tensor):
            return self._node_of(value)
        if isinstance(value, (tuple, list)):
            found = [self._values(v) for v in value]
            return found if isinstance(value, list) else tuple(found)
        if isinstance(value, Mapping):
            return {k: self._values(v) for k, v in value.items()}
        if isinstance(value, slice):
            return slice(*map(self._values, (value.start, value.stop, value.step)))
        if is_dataclass(value) and not isinstance(value, type):
            return {f.name: self._values(getattr(value, f.name, None)) for f in fields(value)}
        return value

    def _node_of(self, tensor: torch.Tensor) -> Node:
        known = self._known.get(id(tensor))
        if known is None and id(tensor) not in self._state:
            # Another object for the same memory: Variable(x), the result of a custom function.
            key = _memory_of(tensor)
            known = self._memory.get(key) if key is not None else None
        if known is None:
            self._know(tensor, self._stored(tensor))
            known = self._known[id(tensor)]
        known.source = self._made(known.source, known.tensor)
        return known.source

    def _stored(self, tensor: torch.Tensor) -> Node:
        """Make the node of a parameter, a buffer, or a constant of unknown origin."""
        original = self._ghost.of(tensor)
        name = self._state.get(id(tensor), f"_tensor_constant{len(self.nodes)}")
        return self._add(
            Node(0, "param", path=name, target=name, name=name, tensor=original), tensor
        )

    def _made(self, source: Node | _Part | _Written, tensor: torch.Tensor) -> Node:
        if isinstance(source, Node):
            return source
        if isinstance(source, _Part):
            node = source.whole
            for key in source.path:
                taken = Node(0, "op", target=operator.getitem, name="getitem")
                bind_function(taken, operator.getitem, (node, key), {})
                taken.call = taken.location = node.call
                taken.path, taken.grad, taken.custom = node.path, node.grad, node.custom
                node = self._append(taken)
        else:
            before = self._made(source.before, tensor)
            node = Node(0, "op", target=operator.setitem, name="setitem")
            bind_function(node, operator.setitem, (before, None, source.value), {})
            node.call = node.location = source.value.call
            node.path, node.grad = source.value.path, source.value.grad
            self._append(node)
        node.info = _info(tensor)
        return node

    def _stop_in_time(self) -> None:
        if len(self.nodes) > MAX_NODES or time.thread_time() > self._until:
            raise StoppedError


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in a value, in order."""
    yield from (tensor for _, tensor in _parts(value))


def _parts(
    value: Any, path: tuple[Any, ...] = ()
) -> Iterator[tuple[tuple[Any, ...], torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, (tuple, list)):
        for i, item in enumerate(value):
            yield from _parts(item, (*path, i))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _parts(item, (*path, key))
    elif is_dataclass(value) and not isinstance(value, type):
        for f in fields(value):
            yield from _parts(getattr(value, f.name, None), (*path, f.name))
    elif isinstance(value, SimpleNamespace):
        yield from _parts(vars(value), path)


def _versions(value: Any) -> dict[int, int]:
    return {
        id(t): t._version  # noqa: SLF001 - the documented counter
        for t in tensors_in(value)
        if not t.is_inference()
    }


def _memory_of(tensor: torch.Tensor) -> tuple[Any, ...] | None:
    try:
        place = tensor.data_ptr()
    except RuntimeError:  # a tensor without memory
        return None
    return (place, tuple(tensor.shape), tensor.stride()) if place else None


def _info(value: Any) -> TensorInfo:
    if not isinstance(value, torch.Tensor):
        return TensorInfo()
    dtype = value.dtype
    kind: Literal["float", "int", "bool"] = "int"
    if dtype.is_floating_point or dtype.is_complex:
        kind = "float"
    elif dtype == torch.bool:
        kind = "bool"
    return TensorInfo(tuple(value.shape), kind)
