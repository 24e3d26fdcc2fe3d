"""From the nodes of a graph to calls of torch's operators.

An operator is looked up by its name only after that name was found among the reviewed ones; no
other text of a client gets near an attribute access.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from nnlint.probe_service.replay.schema import Converter, Signature, Slot, signature
from nnlint.probe_service.replay.violations import refuse
from nnlint.protos.v1 import graph_pb2

if TYPE_CHECKING:
    from torch._ops import OpOverload


@dataclass(frozen=True, slots=True)
class Call:
    """One node, ready to run.

    Attributes:
        node: Position of the node.
        name: Of the operator.
        function: The operator.
        arguments: Positional arguments; a `Slot` stands for a tensor, also within lists.
        keywords: Keyword arguments, likewise.
        region: Position of the region.
        results: Slots of the results.
        returns_one: Whether the operator returns one tensor and no sequence.
        operands: Slots of the tensors that it takes, each once.
        written: Slots of the tensors that it writes into.
    """

    node: int
    name: str
    function: OpOverload[..., Any]
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    region: int
    results: tuple[int, ...]
    returns_one: bool
    operands: tuple[int, ...]
    written: tuple[int, ...]

    def with_values(self, values: list[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments with tensors in place of the slots.

        Args:
            values: One entry for each slot.
        """
        return (
            [filled(argument, values) for argument in self.arguments],
            {name: filled(argument, values) for name, argument in self.keywords.items()},
        )

    def results_of(self, returned: Any) -> list[Any]:
        """Return what the operator returned as a list of results."""
        return [returned] if self.returns_one else list(returned or ())


def filled(argument: Any, values: list[Any]) -> Any:
    """Return an argument with tensors in place of the slots."""
    if isinstance(argument, Slot):
        return values[argument.index]
    if isinstance(argument, list):
        return [filled(item, values) for item in argument]
    return argument


@dataclass(frozen=True, slots=True)
class Calls:
    """All nodes of a graph.

    Attributes:
        calls: In execution order.
        slots: How many slots there are.
        loss: The slot of the loss.
        converter: How references became slots.
    """

    calls: tuple[Call, ...]
    slots: int
    loss: int
    converter: Converter


def decode(
    graph: graph_pb2.Graph,
    *,
    device: torch.device,
    types: Mapping[torch.dtype, torch.dtype] | None = None,
) -> Calls:
    """Decode the nodes of a graph whose structure has been checked.

    Args:
        graph: The graph.
        device: Where the calls will run.
        types: Element types that are replaced.

    Raises:
        InvalidGraphError: Arguments do not fit their operator.
    """
    starts, slots = [], len(graph.tensors)
    for node in graph.nodes:
        starts.append(slots)
        slots += len(node.outputs)
    converter = Converter(device, starts, types or {})
    signatures = []
    for index, name in enumerate(graph.operators):
        found = signature(name)
        if found is None:
            raise refuse(f"graph.operators[{index}]", f"{name} is not in torch {torch.__version__}")
        signatures.append(found)
    calls = tuple(
        _Node(graph, index, signatures[node.operator], converter).call()
        for index, node in enumerate(graph.nodes)
    )
    return Calls(calls, slots, converter.slot(graph.loss), converter)


class _Node:
    """One node while it is decoded."""

    def __init__(
        self, graph: graph_pb2.Graph, index: int, declared: Signature, converter: Converter
    ) -> None:
        self.index = index
        self.field = f"graph.nodes[{index}]"
        self.node = graph.nodes[index]
        self.name = graph.operators[self.node.operator]
        self.declared = declared
        self.converter = converter
        self.given: set[str] = set()
        self.written: list[int] = []

    def call(self) -> Call:
        arguments = self._positional()
        keywords = self._keywords()
        missing = [
            formal.name
            for formal in self.declared.formals
            if formal.required and formal.name not in self.given
        ]
        if missing:
            raise refuse(self.field, f"{self.name} needs {', '.join(missing)}")
        operands = tuple(dict.fromkeys(_slots([*arguments, *keywords.values()])))
        if not operands:
            self._complete(keywords)
        self._count_results()
        start = self.converter.slots[self.index]
        return Call(
            node=self.index,
            name=self.name,
            function=_lenient(self.declared.function),
            arguments=tuple(arguments),
            keywords=keywords,
            region=self.node.region,
            results=tuple(range(start, start + len(self.node.outputs))),
            returns_one=self.declared.returns == ("Tensor",),
            operands=operands,
            written=tuple(dict.fromkeys(self.written)),
        )

    def _positional(self) -> list[Any]:
        formals = [formal for formal in self.declared.formals if not formal.keyword_only]
        count = len(self.node.arguments)
        if count > len(formals):
            raise refuse(
                f"{self.field}.arguments[{len(formals)}]",
                f"{self.name} takes {len(formals)} positional arguments",
            )
        converted = []
        for position, (formal, argument) in enumerate(
            zip(formals, self.node.arguments, strict=False)
        ):
            field = f"{self.field}.arguments[{position}]"
            converted.append(self._value(field, formal.name, argument))
        return converted

    def _keywords(self) -> dict[str, Any]:
        converted = {}
        for position, keyword in enumerate(self.node.keywords):
            field = f"{self.field}.keywords[{position}]"
            formal = self.declared.formal(keyword.name)
            if formal is None:
                raise refuse(f"{field}.name", f"{self.name} has no such argument")
            if formal.name in self.given:
                raise refuse(f"{field}.name", f"{formal.name} is given twice")
            # The name is torch's own string, no longer the client's.
            converted[formal.name] = self._value(f"{field}.value", formal.name, keyword.value)
        return converted

    def _value(self, field: str, name: str, argument: graph_pb2.Argument) -> Any:
        formal = self.declared.formal(name)
        assert formal is not None
        self.given.add(name)
        value = self.converter.convert(field, formal, argument)
        if formal.written:
            slots = list(_slots([value]))
            if not slots:
                raise refuse(field, f"{self.name} writes into {name}, which is no tensor")
            self.written += slots
        return value

    def _complete(self, keywords: dict[str, Any]) -> None:
        """Say where a new tensor is made, and of what type, where its node leaves it open."""
        names = {formal.name for formal in self.declared.formals if formal.keyword_only}
        if "device" in names and keywords.get("device") is None:
            keywords["device"] = self.converter.device
        outputs = self.node.outputs
        if "dtype" in names and keywords.get("dtype") is None and outputs and outputs[0].dtype:
            dtype = self.converter.dtype(outputs[0].dtype)
            if dtype.is_floating_point:
                keywords["dtype"] = dtype

    def _count_results(self) -> None:
        if self.declared.returns_list:
            return
        count = len(self.declared.returns)
        if len(self.node.outputs) != count:
            raise refuse(f"{self.field}.outputs", f"{self.name} has {count} results")


def _slots(values: list[Any]) -> Iterator[int]:
    for value in values:
        if isinstance(value, Slot):
            yield value.index
        elif isinstance(value, list):
            yield from _slots(value)


def _lenient(function: OpOverload[..., Any]) -> OpOverload[..., Any]:
    """Return what runs in place of an operator that depends on how its operand lies in memory.

    Export leaves out a `contiguous()` that does nothing on the client's CPU. Attention on another
    device, or on meta, lays its result out otherwise; `reshape` is the same view wherever one is
    possible, and the copy that the user's `contiguous()` makes elsewhere.
    """
    if function is torch.ops.aten.view.default:
        return torch.ops.aten.reshape.default
    return function
