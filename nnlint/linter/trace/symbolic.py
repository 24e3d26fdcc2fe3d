"""Trace a module with torch.fx: no inputs needed, a few hundredths of a second.

The tracer keeps what rules need and fx forgets: the exact place in forward, the module path of
functional calls, whether gradients are recorded, and layers that forward builds or that hide in
plain lists.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.fx

from nnlint.linter.findings import Location
from nnlint.linter.operators.base import table
from nnlint.linter.trace.positions import UserCode


@dataclass(frozen=True, slots=True)
class Mark:
    """What the tracer knows about one fx node beside the node itself."""

    call: Location | None
    path: str
    grad: bool
    in_container: bool = False
    custom: bool = False


@dataclass(slots=True)
class SymbolicTrace:
    """A finished symbolic trace.

    Attributes:
        graph: The fx graph.
        marks: By fx node.
        orphans: Modules that are called but not registered, by the name in the graph.
        created: Modules with parameters that forward built, with the place.
    """

    graph: torch.fx.Graph
    marks: dict[torch.fx.Node, Mark]
    orphans: dict[str, torch.nn.Module] = field(default_factory=dict)
    created: list[tuple[torch.nn.Module, Location | None]] = field(default_factory=list)


class Tracer(torch.fx.Tracer):
    """A torch.fx tracer that records positions and does not stop at unregistered layers."""

    def __init__(self, code: UserCode, defaults: Mapping[str, Any]) -> None:
        super().__init__(param_shapes_constant=True)
        self.code = code
        self.defaults = defaults
        self.marks: dict[torch.fx.Node, Mark] = {}
        self.orphans: dict[str, torch.nn.Module] = {}
        # For each autograd.Function that is being applied: whether gradients were on outside.
        self.functions: list[bool] = []
        self.created: list[tuple[torch.nn.Module, Location | None]] = []
        self._stack: list[tuple[str, torch.nn.Module]] = []
        self._paths: dict[int, str] = {}

    def create_args_for_root(
        self, root_fn: Any, is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        """Make a placeholder of each forward parameter, except those that keep their default.

        fx's own version turns every default into a graph input with an assertion, and warns for
        strings; `*args` and `**kwargs` are left empty here unless there is nothing else.
        """
        del is_module, concrete_args
        signature = inspect.signature(root_fn)
        positional: list[Any] = [self.root]
        keywords: dict[str, Any] = {}
        for parameter in list(signature.parameters.values())[1:]:
            others = len(positional) + len(keywords) > 1
            if parameter.kind == parameter.VAR_KEYWORD:
                continue
            if parameter.kind == parameter.VAR_POSITIONAL and others:
                continue
            if parameter.name in self.defaults:
                value = self.defaults[parameter.name]
            else:
                value = self.create_proxy("placeholder", parameter.name, (), {})
            if parameter.kind == parameter.KEYWORD_ONLY:
                keywords[parameter.name] = value
            else:
                positional.append(value)

        @functools.wraps(root_fn)
        def call(*args: Any) -> Any:
            return root_fn(*args, **keywords)

        return call, positional

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        """Stop at layers of the operator table, subclasses included that keep forward as it is."""
        return super().is_leaf_module(m, module_qualified_name) or _keeps_forward(m)

    def path_of_module(self, mod: torch.nn.Module) -> str:
        """Return the qualified name, making one up for a module that is not registered."""
        if not self._paths:
            self._paths = {id(m): name for name, m in reversed(list(self.root.named_modules()))}
        known = self._paths.get(id(mod))
        if known is None:
            known = f"<{type(mod).__name__} {len(self.orphans)}>"
            self._paths[id(mod)] = known
            self.orphans[known] = mod
        return known

    def call_module(
        self,
        m: torch.nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Keep a stack of module paths around fx's own handling."""
        self._stack.append((self.path_of_module(m), m))
        try:
            return super().call_module(m, forward, args, kwargs)
        finally:
            self._stack.pop()

    def create_proxy(self, kind: str, target: Any, args: Any, *rest: Any, **kwargs: Any) -> Any:
        """Create a value, but refuse to write into a real tensor: what is written would be lost."""
        writes = kind == "call_method" and (
            target == "__setitem__" or target[-1:] == "_" != target[-2:-1]
        )
        if writes and args and isinstance(args[0], torch.Tensor):
            raise torch.fx.proxy.TraceError("forward writes into a tensor that it creates")
        return super().create_proxy(kind, target, args, *rest, **kwargs)

    def create_node(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> torch.fx.Node:
        """Create the node and note where in the user's code that happens."""
        node = super().create_node(kind, target, *args, **kwargs)
        parent = self._stack[-2][1] if len(self._stack) > 1 else self.root
        self.marks[node] = Mark(
            call=self.code.site(sys._getframe(1)),  # noqa: SLF001 - the documented way to a frame
            path=self._stack[-1][0] if self._stack else "",
            grad=self.functions[0] if self.functions else torch.is_grad_enabled(),
            in_container=kind == "call_module" and isinstance(parent, torch.nn.Sequential),
            custom=bool(self.functions),
        )
        return node


def symbolic_trace(
    model: torch.nn.Module, code: UserCode, *, passed: frozenset[str] = frozenset()
) -> SymbolicTrace:
    """Trace `model` in the mode it is in.

    Args:
        model: The module; neither its parameters nor its buffers change.
        code: Tells the user's frames.
        passed: Optional forward parameters that become inputs; the others keep their default.

    Raises:
        Exception: Whatever forward or torch.fx raises; the caller tells them apart.
    """
    tracer = Tracer(code, call_defaults(model, passed))
    with watching(tracer):
        graph = tracer.trace(model)
    return SymbolicTrace(graph, tracer.marks, tracer.orphans, tracer.created)


def is_layer(module: torch.nn.Module) -> bool:
    """Tell whether a module is one operation of the graph: a layer of torch.nn, no container."""
    own = type(module).__module__.startswith(("torch.nn", "torch.ao.nn"))
    return (own and not isinstance(module, torch.nn.Sequential)) or _keeps_forward(module)


def _keeps_forward(module: torch.nn.Module) -> bool:
    for base in type(module).__mro__[1:]:
        if base in table().by_module:
            return type(module).forward is base.forward  # type: ignore[attr-defined] # a Module class
    return False


def call_defaults(model: torch.nn.Module, passed: frozenset[str]) -> dict[str, Any]:
    """Return the forward parameters that keep their default, with the value."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(model.forward).parameters.items()
        if name not in passed and parameter.default is not parameter.empty
    }


class Watcher(Protocol):
    """What follows a forward: the fx tracers, and the recorder of a run."""

    code: UserCode
    functions: list[bool]
    created: list[tuple[torch.nn.Module, Location | None]]


@contextmanager
def watching(tracer: Watcher) -> Iterator[None]:
    """Prepare for a trace that sees everything, and undo that.

    Modules that forward builds are recorded. Gradients are on, so that a no_grad block shows; the
    ones inside checkpoints and custom autograd functions, which compute their gradients by other
    means, do not count. Python functions that were hidden with `torch.fx.wrap` are traced like all
    others.
    """
    original = torch.nn.Module.__init__
    wrapped = torch.fx._symbolic_trace._wrapped_fns_to_patch  # noqa: SLF001 - fx has no public list
    opaque = {
        key: scope
        for key, scope in wrapped.items()
        if isinstance(scope.get(key[1]), types.FunctionType)
    }

    def recording(self: torch.nn.Module, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        tracer.created.append((self, tracer.code.site(sys._getframe(1))))  # noqa: SLF001 - as above

    checkpoint = getattr(sys.modules.get("torch.utils.checkpoint"), "CheckpointFunction", None)
    apply = torch.autograd.Function.__dict__["apply"]

    def applying(cls: type, *args: Any, **kwargs: Any) -> Any:
        if cls is checkpoint:
            return args[0](*args[2:])
        tracer.functions.append(torch.is_grad_enabled())
        try:
            return apply.__get__(None, cls)(*args, **kwargs)
        finally:
            tracer.functions.pop()

    torch.autograd.Function.apply = classmethod(applying)  # type: ignore[assignment, method-assign] # restored below
    torch.nn.Module.__init__ = recording  # type: ignore[method-assign] # restored below
    for key in opaque:
        del wrapped[key]
    try:
        with torch.enable_grad():
            yield
    finally:
        wrapped.update(opaque)
        torch.autograd.Function.apply = apply  # type: ignore[method-assign]
        torch.nn.Module.__init__ = original  # type: ignore[method-assign]
        tracer.created = [
            (m, at)
            for m, at in tracer.created
            if next(m.parameters(recurse=False), None) is not None
        ]
