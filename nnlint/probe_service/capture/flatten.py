"""From torch.export's nested graphs to one list of operations with their modes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from nnlint.probe_service.encode.step import Autocast, Mode, Operation, Ref, Result, Value

# Operators that leave memory as it is are replaced by those that set it to zero: any content is as
# good, and none of it is another's.
_UNSET = {
    "aten.empty.memory_format": "aten.zeros.default",
    "aten.empty_like.default": "aten.zeros_like.default",
    "aten.new_empty.default": "aten.new_zeros.default",
    "aten.empty_strided.default": "aten.zeros.default",
    "aten.new_empty_strided.default": "aten.new_zeros.default",
    "aten.empty_permuted.default": "aten.zeros.default",
}
_ASSERTIONS = (
    "aten._assert_",
    "aten.sym_constrain_range",
    "aten._functional_assert",
    "aten._functional_sym_constrain",
)
_DEVICES = frozenset({"cpu", "cuda"})
_DROPPED = ("layout", "pin_memory", "generator")


class NotFlatError(Exception):
    """A node that has no place in a flat graph.

    Attributes:
        node: The node.
    """

    def __init__(self, message: str, node: torch.fx.Node) -> None:
        super().__init__(message)
        self.node = node


@dataclass(slots=True)
class Flat:
    """Operations in order, with the node that each comes from.

    Attributes:
        operations: The operations.
        sources: For each, its node in torch.export's graph.
        modes: The modes that the operations refer to.
        results: What the outermost graph returns.
    """

    operations: list[Operation]
    sources: list[torch.fx.Node]
    modes: list[Mode]
    results: tuple[Any, ...] = ()


def flatten(
    module: torch.fx.GraphModule,
    placeholders: Mapping[str, Any],
    constant: Callable[[torch.Tensor], Ref],
) -> Flat:
    """Flatten a graph and the graphs within it.

    Args:
        module: The outermost graph.
        placeholders: What stands for each of its placeholders: a reference, or a plain value.
        constant: Makes a reference to a tensor that the graph holds itself.

    Raises:
        NotFlatError: A node is neither an ATen operator nor a known mode.
    """
    flat = Flat([], [], [Mode()])
    values = [placeholders[n.name] for n in module.graph.nodes if n.op == "placeholder"]
    flat.results = _Walk(flat, module, constant, _Modes(flat.modes)).run(values)
    return flat


class _Modes:
    """The mode that holds at a place of the graph: a block under autocast, and gradients."""

    def __init__(self, modes: list[Mode]) -> None:
        self.modes = modes
        self.grad = modes[0].grad
        self._blocks = [0]
        self._other: dict[int, int] = {}

    @property
    def current(self) -> int:
        """Position of the mode that holds."""
        block = self._blocks[-1]
        if self.modes[block].grad == self.grad:
            return block
        if block not in self._other:
            self._other[block] = len(self.modes)
            self.modes.append(replace(self.modes[block], grad=self.grad, parent=block))
        return self._other[block]

    def enter(self, device: str, dtype: torch.dtype | None, enabled: object, _: object) -> None:
        """Begin a block; each is a mode of its own, since what autocast has cached ends with it.

        Whether it caches is not told: tracing turns that off for all blocks. Nearly all do, and
        for one that does not the comparison with the live model says so.
        """
        current = self.current
        casts = self.modes[current].autocasts
        if device in _DEVICES:  # on others it has no effect where a probe runs
            wanted = dtype if dtype is not None else torch.get_autocast_dtype(device)
            cast = Autocast(device, wanted, enabled=bool(enabled), cache_enabled=True)
            casts = (*(other for other in casts if other.device != device), cast)
        self._blocks.append(len(self.modes))
        self.modes.append(Mode(self.grad, casts, current))

    def leave(self) -> None:
        """End a block."""
        self._blocks.pop()


class _Walk:
    """One graph in the course of being flattened."""

    def __init__(
        self,
        flat: Flat,
        module: torch.fx.GraphModule,
        constant: Callable[[torch.Tensor], Ref],
        modes: _Modes,
    ) -> None:
        self.flat = flat
        self.modes = modes
        self.module = module
        self.constant = constant
        self.known: dict[torch.fx.Node, Any] = {}

    def run(self, arguments: Sequence[Any]) -> tuple[Any, ...]:
        """Add the operations of the graph and return what it returns."""
        rest = iter(arguments)
        for node in self.module.graph.nodes:
            match node.op:
                case "placeholder":
                    self.known[node] = next(rest)
                case "get_attr":
                    self.known[node] = self._attribute(node)
                case "call_function":
                    self.known[node] = self._call(node)
                case "output":
                    returned = self._values(node.args[0])
                    return tuple(returned) if isinstance(returned, (tuple, list)) else (returned,)
                case _:
                    raise NotFlatError(f"{node.op} is not supported", node)
        return ()

    def _attribute(self, node: torch.fx.Node) -> Any:
        found: Any = self.module
        for part in str(node.target).split("."):
            found = getattr(found, part)
        return self.constant(found) if isinstance(found, torch.Tensor) else found

    def _call(self, node: torch.fx.Node) -> Any:
        target = node.target
        if target is operator.getitem:
            whole, index = self._values(node.args)
            if isinstance(whole, (tuple, list)):
                return whole[index]
            raise NotFlatError("an element of what is no sequence", node)
        if isinstance(target, torch._ops.OpOverload):  # noqa: SLF001 - the class of what stands in the graph
            return self._operation(node, target)
        name = getattr(target, "__name__", str(target))
        arguments = self._values(node.args)
        match name:
            case "_set_grad_enabled":
                self.modes.grad = bool(arguments[0])
            case "_enter_autocast":
                self.modes.enter(*arguments)
            case "_exit_autocast":
                self.modes.leave()
            case "wrap_with_set_grad_enabled":
                enabled, inner, *rest = arguments
                before, self.modes.grad = self.modes.grad, bool(enabled)
                returned = self._inner(inner, rest)
                self.modes.grad = before
                return returned
            case "wrap_with_autocast":
                *given, inner = arguments[:5]
                self.modes.enter(*given)
                returned = self._inner(inner, arguments[5:])
                self.modes.leave()
                return returned
            case _:
                raise NotFlatError(f"{name} is no ATen operator", node)
        return None

    def _inner(self, module: Any, arguments: Sequence[Any]) -> Any:
        return _Walk(self.flat, module, self.constant, self.modes).run(arguments)

    def _operation(self, node: torch.fx.Node, target: Any) -> Any:
        name = str(target)
        if name.startswith(_ASSERTIONS):
            return None
        arguments = [self._plain(value, node) for value in self._values(node.args)]
        keywords = {
            key: self._plain(value, node)
            for key, value in self._values(dict(node.kwargs)).items()
            if not _left_out(key, value)
        }
        if (out := keywords.get("out")) is not None:
            return self._written(node, target, arguments, keywords, out)
        if name in _UNSET:
            arguments, keywords = _zeros(name, arguments, keywords)
            name = _UNSET[name]
        return self._add(node, name, arguments, keywords)

    def _written(
        self,
        node: torch.fx.Node,
        target: Any,
        arguments: list[Value],
        keywords: dict[str, Value],
        out: Value,
    ) -> Any:
        """Replace an operator that writes into `out` by the plain one and a copy."""
        plain = _without_out(target)
        if plain is None or not isinstance(out, Ref):
            raise NotFlatError(f"{target} with out=", node)
        others = {key: value for key, value in keywords.items() if key != "out"}
        made = self._add(node, plain, arguments, others)
        return self._add(node, "aten.copy_.default", [out, made], {})

    def _add(
        self,
        node: torch.fx.Node,
        name: str,
        arguments: Sequence[Value],
        keywords: dict[str, Value],
    ) -> Any:
        value = node.meta.get("val")
        several = isinstance(value, (tuple, list))
        results = value if isinstance(value, (tuple, list)) else (value,)
        position = len(self.flat.operations)
        self.flat.operations.append(
            Operation(
                name,
                tuple(arguments),
                keywords,
                self.modes.current,
                tuple(self._result(each, node) for each in results),
            )
        )
        self.flat.sources.append(node)
        if several:
            return tuple(Ref("node", position, output) for output in range(len(results)))
        return Ref("node", position)

    def _result(self, value: Any, node: torch.fx.Node) -> Result:
        if not isinstance(value, torch.Tensor):
            if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
                raise NotFlatError("a size or number that is only known when forward runs", node)
            return Result()
        sizes = tuple(value.shape)
        if not all(type(size) is int for size in sizes):
            raise NotFlatError("a size that is only known when forward runs", node)
        return Result(value.dtype, sizes)

    def _plain(self, value: Any, node: torch.fx.Node) -> Value:
        if isinstance(value, (tuple, list)):
            if any(isinstance(each, (tuple, list)) for each in value):
                raise NotFlatError("a list of lists as an argument", node)
            return [self._plain(each, node) for each in value]  # type: ignore[misc] # no list is within
        if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
            raise NotFlatError("a size or number that is only known when forward runs", node)
        if isinstance(value, torch.device) and value.type not in _DEVICES:
            raise NotFlatError(f"a tensor on the device {value}", node)
        return value  # type: ignore[no-any-return]

    def _values(self, value: Any) -> Any:
        if isinstance(value, torch.fx.Node):
            return self.known[value]
        if isinstance(value, (tuple, list)):
            return [self._values(each) for each in value]
        if isinstance(value, dict):
            return {key: self._values(each) for key, each in value.items()}
        return value


def _without_out(target: Any) -> str | None:
    """Return the overload that takes the same arguments but `out`, and returns a new tensor."""
    wanted = [(a.name, str(a.type)) for a in target._schema.arguments if a.name != "out"]  # noqa: SLF001 - no public way to it
    packet = target._overloadpacket  # noqa: SLF001 - as above
    for name in packet.overloads():
        overload = getattr(packet, name)
        schema = overload._schema  # noqa: SLF001 - as above
        if not schema.is_mutable and [(a.name, str(a.type)) for a in schema.arguments] == wanted:
            return str(overload)
    return None


def _left_out(key: str, value: Any) -> bool:
    if key not in _DROPPED:
        return False
    return value is None or value is False or value is torch.strided


def _zeros(
    name: str, arguments: list[Value], keywords: dict[str, Value]
) -> tuple[list[Value], dict[str, Value]]:
    """Return the arguments for the operator in `_UNSET`, which takes no strides or order."""
    kept = {"aten.empty_like.default": 1, "aten.new_empty.default": 2}
    count = kept.get(name, 2 if name.startswith("aten.new_") else 1)
    if name != "aten.empty_like.default":
        keywords = {key: value for key, value in keywords.items() if key != "memory_format"}
    return arguments[:count], keywords


def live(flat: Flat, wanted: Sequence[Any], writes: Callable[[str], bool]) -> Flat:
    """Return the operations that `wanted` depends on, and those with an effect of their own.

    Args:
        flat: All operations.
        wanted: References to keep.
        writes: Tells whether an operator changes a tensor, or draws from the random stream.

    Returns:
        The rest, with references (and `results`) renumbered.
    """
    needed = {ref.index for ref in wanted if isinstance(ref, Ref) and ref.kind == "node"}
    for index in range(len(flat.operations) - 1, -1, -1):
        operation = flat.operations[index]
        if index in needed or writes(operation.operator):
            needed.add(index)
            needed |= {r.index for r in references(operation) if r.kind == "node"}
    kept = sorted(needed)
    places = {old: new for new, old in enumerate(kept)}

    def moved(value: Any) -> Any:
        if isinstance(value, Ref):
            if value.kind == "tensor":
                return value
            return Ref("node", places[value.index], value.output) if value.index in places else None
        if isinstance(value, (list, tuple)):
            return type(value)(moved(each) for each in value)
        return value

    operations = [
        replace(
            flat.operations[old],
            arguments=moved(flat.operations[old].arguments),
            keywords={k: moved(v) for k, v in flat.operations[old].keywords.items()},
        )
        for old in kept
    ]
    sources = [flat.sources[old] for old in kept]
    return Flat(operations, sources, flat.modes, moved(flat.results))


def references(operation: Operation) -> list[Ref]:
    """Return what an operation takes."""
    found: list[Ref] = []
    for value in (*operation.arguments, *operation.keywords.values()):
        if isinstance(value, Ref):
            found.append(value)
        elif isinstance(value, list):
            found += [each for each in value if isinstance(each, Ref)]
    return found
