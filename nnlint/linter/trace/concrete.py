"""Trace with torch.fx for given input shapes, so that code may branch and loop on sizes.

A plain symbolic trace stops at `if x.size(1) > n`. Here each value knows its shape from the
operator table, and sizes are plain integers.
"""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.fx
from torch.overrides import TorchFunctionMode

from nnlint.linter.graph import Node, ShapeFailure
from nnlint.linter.operators.arithmetic import ARANGE, CREATE, CREATE_FULL
from nnlint.linter.operators.base import resolve
from nnlint.linter.operators.shapes import UNKNOWN, ShapeError, Tensor
from nnlint.linter.trace import propagate
from nnlint.linter.trace.convert import BuiltAt, Converter
from nnlint.linter.trace.positions import UserCode
from nnlint.linter.trace.symbolic import Tracer, call_defaults, watching

_DTYPES = {"float": torch.float32, "int": torch.int64, "bool": torch.bool}


class SizedProxy(torch.fx.Proxy):
    """A traced value whose sizes are plain integers where they are known."""

    @property
    def _known(self) -> Any:
        return self.tracer.values.get(self.node, UNKNOWN)  # type: ignore[attr-defined] # a SizedTracer

    def _shape(self) -> tuple[int, ...] | None:
        known = self._known
        return known.shape if isinstance(known, Tensor) else None

    @property
    def shape(self) -> Any:
        """The sizes, or a traced attribute where they are unknown."""
        found = self._shape()
        return self.__getattr__("shape") if found is None else torch.Size(found)

    def size(self, dim: int | None = None) -> Any:
        """Follow Tensor.size."""
        found = self._shape()
        if found is None:
            return self.__getattr__("size")(*(() if dim is None else (dim,)))
        return torch.Size(found) if dim is None else found[dim]

    def dim(self) -> Any:
        """Follow Tensor.dim."""
        found = self._shape()
        return self.__getattr__("dim")() if found is None else len(found)

    @property
    def ndim(self) -> Any:
        """Follow Tensor.ndim."""
        return self.dim()

    def numel(self) -> Any:
        """Follow Tensor.numel."""
        found = self._shape()
        return self.__getattr__("numel")() if found is None else torch.Size(found).numel()

    @property
    def device(self) -> torch.device:
        """The device that everything runs on here."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """The element type as far as the operator table tells."""
        known = self._known
        kind = known.kind if isinstance(known, Tensor) else None
        return _DTYPES[kind or "float"]

    @property
    def is_cuda(self) -> bool:
        """Tell that no value is on a GPU."""
        return False

    def __setitem__(self, key: Any, value: Any) -> None:
        """Follow an assignment to a part: from here on, this value is the changed one."""
        changed = self.tracer.create_proxy(
            "call_function", operator.setitem, (self, key, value), {}
        )
        self.node = changed.node

    def __len__(self) -> int:
        known = self._known
        if isinstance(known, tuple):
            return len(known)
        found = self._shape()
        if found:
            return found[0]
        raise torch.fx.proxy.TraceError("len() of a value of unknown size")

    def _item(self, index: int) -> Any:
        return self.tracer.create_proxy("call_function", operator.getitem, (self, index), {})

    def __iter__(self) -> Iterator[Any]:
        known = self._known
        if isinstance(known, tuple):
            return iter([self._item(i) for i in range(len(known))])
        if found := self._shape():
            return iter([self._item(i) for i in range(found[0])])
        return super().__iter__()


class SizedTracer(Tracer):
    """Computes the shape of each value as it is traced."""

    def __init__(
        self,
        code: UserCode,
        model: torch.nn.Module,
        built_at: BuiltAt,
        inputs: Mapping[str, Tensor],
        defaults: Mapping[str, Any],
    ) -> None:
        super().__init__(code, defaults)
        self.values: dict[torch.fx.Node, Any] = {}
        self.failure: ShapeFailure | None = None
        self.converter = Converter(model, built_at)
        self.by_node: dict[Node, Any] = {}
        self._inputs = inputs
        self._busy = False

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Turn parameters that forward reads into values, but not those that shape rules read."""
        if self._busy:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def proxy(self, node: torch.fx.Node) -> torch.fx.Proxy:
        """Wrap a node, now that its arguments are complete."""
        self._busy = True
        try:
            count = len(self.converter.nodes)
            converted = self.converter.add(node, self.marks.get(node), self.orphans)
            for constant in self.converter.nodes[count:-1]:
                self.by_node[constant] = propagate.value_of(constant, self.by_node, self._inputs)
            value = propagate.value_of(converted, self.by_node, self._inputs)
        except ShapeError as error:
            value = Tensor()
            self.failure = self.failure or ShapeFailure(
                converted, str(error), certain=False, got=error.got, expected=error.expected
            )
        finally:
            self._busy = False
        self.values[node] = self.by_node[converted] = value
        return SizedProxy(node, self)

    def create_proxy(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> Any:
        """Create a value; one that is a plain Python number becomes that number."""
        proxy = super().create_proxy(kind, target, *args, **kwargs)
        value = self.values.get(proxy.node)
        return value if isinstance(value, int) and not isinstance(value, bool) else proxy


def sized_trace(
    model: torch.nn.Module,
    code: UserCode,
    built_at: BuiltAt,
    inputs: Mapping[str, Tensor],
    *,
    passed: frozenset[str] = frozenset(),
) -> SizedTracer:
    """Trace `model` for inputs of given shapes.

    Args:
        model: The module.
        code: Tells the user's frames.
        built_at: Tells where a layer was built.
        inputs: Shapes by forward parameter name.
        passed: Optional forward parameters that become inputs.

    Returns:
        The tracer, with `converter.nodes`, `by_node` values and `failure`.

    Raises:
        Exception: Whatever forward or torch.fx raises.
    """
    defaults = call_defaults(model, passed | frozenset(inputs))
    tracer = SizedTracer(code, model, built_at, inputs, defaults)
    with watching(tracer), _Factories(tracer):
        graph = tracer.trace(model)
        output = next(n for n in reversed(graph.nodes) if n.op == "output")
        tracer.converter.add(output, tracer.marks.get(output), tracer.orphans)
    return tracer


class _Factories(TorchFunctionMode):
    """Turns tensors that the user's forward creates into traced values.

    A real tensor would swallow what is written into it (`out[:, t] = step(x)`).
    """

    def __init__(self, tracer: SizedTracer) -> None:
        super().__init__()
        self._tracer = tracer

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Trace a factory that the user's code calls; leave torch's own calls alone."""
        del types
        if func in _factories():
            caller = sys._getframe(1).f_code.co_filename  # noqa: SLF001 - the documented way to a caller
            if not caller.startswith(_TORCH):
                kept = {k: v for k, v in (kwargs or {}).items() if k not in ("device", "out")}
                return self._tracer.create_proxy("call_function", func, args, kept)
        return func(*args, **(kwargs or {}))


@functools.cache
def _factories() -> frozenset[Any]:
    names = (CREATE, CREATE_FULL, ARANGE)
    return frozenset(found for op in names for name in op.functions if (found := resolve(name)))


_TORCH = str(Path(torch.__file__).parent)
