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
    flat.results = _Walk(flat, module, constant).run(values, 0)
    return flat


class _Walk:
    """One graph in the course of being flattened."""

    def __init__(
        self, flat: Flat, module: torch.fx.GraphModule, constant: Callable[[torch.Tensor], Ref]
    ) -> None:
        self.flat = flat
        self.module = module
        self.constant = constant
        self.known: dict[torch.fx.Node, Any] = {}

    def run(self, arguments: Sequence[Any], mode: int) -> tuple[Any, ...]:
        """Add the operations of the graph and return what it returns."""
        rest = iter(arguments)
        for node in self.module.graph.nodes:
            match node.op:
                case "placeholder":
                    self.known[node] = next(rest)
                case "get_attr":
                    self.known[node] = self._attribute(node)
                case "call_function":
                    if node.target is torch._C._set_grad_enabled:  # noqa: SLF001 - as it stands in the graph
                        mode = self._mode(replace(self.flat.modes[mode], grad=bool(node.args[0])))
                    else:
                        self.known[node] = self._call(node, mode)
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

    def _call(self, node: torch.fx.Node, mode: int) -> Any:
        target = node.target
        if target is operator.getitem:
            whole, index = self._values(node.args)
            if isinstance(whole, (tuple, list)):
                return whole[index]
            raise NotFlatError("an element of what is no sequence", node)
        if isinstance(target, torch._ops.OpOverload):  # noqa: SLF001 - the class of what stands in the graph
            return self._operation(node, target, mode)
        name = getattr(target, "__name__", str(target))
        current = self.flat.modes[mode]
        arguments = self._values(node.args)
        if name == "wrap_with_set_grad_enabled":
            enabled, inner, *rest = arguments
            return self._inner(inner, rest, replace(current, grad=bool(enabled)))
        if name == "wrap_with_autocast":
            device, dtype, enabled, cache, inner, *rest = arguments
            cast = Autocast(
                str(device),
                dtype if dtype is not None else torch.get_autocast_dtype(str(device)),
                bool(enabled),
                True if cache is None else bool(cache),
            )
            others = tuple(each for each in current.autocasts if each.device != cast.device)
            return self._inner(inner, rest, replace(current, autocasts=(*others, cast)))
        raise NotFlatError(f"{name} is no ATen operator", node)

    def _inner(self, module: Any, arguments: Sequence[Any], mode: Mode) -> Any:
        walk = _Walk(self.flat, module, self.constant)
        return walk.run(arguments, self._mode(mode))

    def _mode(self, mode: Mode) -> int:
        if mode not in self.flat.modes:
            self.flat.modes.append(mode)
        return self.flat.modes.index(mode)

    def _operation(self, node: torch.fx.Node, target: Any, mode: int) -> Any:
        name = str(target)
        if name.startswith(_ASSERTIONS):
            return None
        arguments = [self._plain(value, node) for value in self._values(node.args)]
        keywords = {
            key: self._plain(value, node)
            for key, value in self._values(dict(node.kwargs)).items()
            if not _left_out(key, value)
        }
        if name in _UNSET:
            arguments, keywords = _zeros(name, arguments, keywords)
            name = _UNSET[name]
        value = node.meta.get("val")
        several = isinstance(value, (tuple, list))
        results = value if isinstance(value, (tuple, list)) else (value,)
        position = len(self.flat.operations)
        self.flat.operations.append(
            Operation(
                name,
                tuple(arguments),
                keywords,
                mode,
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
        if isinstance(value, torch.device) and value.type not in {"cpu", "cuda"}:
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
