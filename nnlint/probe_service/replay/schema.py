"""Compare the arguments of a node with the schema of its operator, and convert them."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch._ops import OpOverload

from nnlint.probe_service.encode.scalars import dtype_of, memory_format_of
from nnlint.probe_service.operators import reviewed
from nnlint.probe_service.replay.violations import refuse
from nnlint.protos.v1 import graph_pb2

_WRAPPED = re.compile(r"(Optional|List)\[(.*)\]")


@dataclass(frozen=True, slots=True)
class Slot:
    """Stands in an argument for a tensor that is known when the node runs.

    Attributes:
        index: Position among all tensors and results of a graph.
    """

    index: int


@dataclass(frozen=True, slots=True)
class Formal:
    """One argument that an operator declares.

    Attributes:
        name: Its name.
        kind: "Tensor", "int", "float", "number", "bool", "ScalarType", "Device", "str" ...
        optional: Whether None may be given.
        listed: Whether a list is taken.
        item_optional: Whether None may stand in the list.
        single: Whether one number may be given instead of a list.
        required: Whether it has no default.
        keyword_only: Whether it is given by name alone.
        written: Whether the operator writes into it.
    """

    name: str
    kind: str
    optional: bool
    listed: bool
    item_optional: bool
    single: bool
    required: bool
    keyword_only: bool
    written: bool


@dataclass(frozen=True, slots=True)
class Signature:
    """An operator with what it takes and returns.

    Attributes:
        function: The operator.
        formals: What it takes, in order.
        returns: Types of its results; a list of tensors is "Tensor[]".
    """

    function: OpOverload[..., Any]
    formals: tuple[Formal, ...]
    returns: tuple[str, ...]

    @property
    def returns_list(self) -> bool:
        """Whether the number of results depends on the arguments."""
        return self.returns == ("Tensor[]",)

    def formal(self, name: str) -> Formal | None:
        """Return the argument of a name."""
        return next((formal for formal in self.formals if formal.name == name), None)


@functools.cache
def signature(name: str) -> Signature | None:
    """Return a reviewed operator, None for one that this version of torch does not have.

    Args:
        name: "aten.conv2d.default". Only the names of the reviewed list are ever looked up.

    Raises:
        InvalidGraphError: The operator has not been reviewed.
    """
    if name not in reviewed():
        raise refuse("graph.operators", f"{name[:60]!a} is not among the reviewed operators")
    namespace, packet, overload = name.split(".")
    assert namespace == "aten", name
    found = getattr(getattr(torch.ops.aten, packet, None), overload, None)
    if not isinstance(found, OpOverload):
        return None
    schema = found._schema  # noqa: SLF001 - torch has no public way to a schema
    return Signature(
        function=found,
        formals=tuple(_formal(argument) for argument in schema.arguments),
        returns=tuple(
            "Tensor[]" if str(each.type) == "List[Tensor]" else str(each.type)
            for each in schema.returns
        ),
    )


def _formal(argument: Any) -> Formal:
    kind = str(argument.real_type)
    optional = listed = item_optional = False
    while match := _WRAPPED.fullmatch(kind):
        if match[1] == "List":
            listed = True
        elif listed:
            item_optional = True
        else:
            optional = True
        kind = match[2]
    return Formal(
        name=argument.name,
        kind=kind,
        optional=optional,
        listed=listed,
        item_optional=item_optional,
        single=listed and argument.N is not None,
        required=not argument.has_default_value(),
        keyword_only=argument.kwarg_only,
        written=argument.alias_info is not None and argument.alias_info.is_write,
    )


@dataclass(frozen=True, slots=True)
class Converter:
    """Turns arguments of the wire into those of torch.

    Attributes:
        device: Stands for "the device that the probe runs on".
        slots: For each node, the slot of its first result; the tensors' slots come first.
        types: Element types that are replaced, as float32 by bfloat16.
    """

    device: torch.device
    slots: list[int]
    types: Mapping[torch.dtype, torch.dtype]

    def slot(self, reference: graph_pb2.Reference) -> int:
        """Return the slot that a reference means."""
        if reference.WhichOneof("source") == "tensor":
            return reference.tensor
        return self.slots[reference.node] + reference.output

    def dtype(self, scalar: graph_pb2.ScalarType) -> torch.dtype:
        """Return torch's element type, as the precision of the probe has it."""
        dtype = dtype_of(scalar)
        assert dtype is not None
        return self.types.get(dtype, dtype)

    def convert(self, field: str, formal: Formal, argument: graph_pb2.Argument) -> Any:
        """Return the value for one formal argument.

        Raises:
            InvalidGraphError: The type is not what the operator takes.
        """
        kind = argument.WhichOneof("value")
        if kind is None:
            if not formal.optional:
                raise refuse(field, f"{formal.name} is not optional")
            return None
        if formal.listed:
            if kind == "list":
                return [
                    self._item(f"{field}.list.items[{index}]", formal, item)
                    for index, item in enumerate(argument.list.items)
                ]
            if not formal.single or kind == "reference":
                raise refuse(field, f"{formal.name} is a list")
        return self._one(field, formal, argument, kind)

    def _item(self, field: str, formal: Formal, item: graph_pb2.Argument) -> Any:
        kind = item.WhichOneof("value")
        if kind is None:
            if not formal.item_optional:
                raise refuse(field, f"{formal.name} has no empty items")
            return None
        return self._one(field, formal, item, kind)

    def _one(self, field: str, formal: Formal, argument: graph_pb2.Argument, kind: str) -> Any:
        match formal.kind, kind:
            case "Tensor", "reference":
                return Slot(self.slot(argument.reference))
            # A number where a tensor is expected counts as one without dimensions.
            case ("int", "integer") | ("Tensor" | "number" | "float", "integer"):
                return argument.integer
            case "Tensor" | "number" | "float", "real":
                return argument.real
            case "Tensor" | "number" | "bool", "boolean":
                if argument.boolean and formal.name == "pin_memory":
                    raise refuse(field, "no memory is pinned")
                return argument.boolean
            case "ScalarType", "dtype":
                return self.dtype(argument.dtype)
            case "MemoryFormat", "memory_format":
                return memory_format_of(argument.memory_format)
            case "Device", "device":
                return self.device
            case "str", "text":
                return argument.text
        raise refuse(field, f"{formal.name} is {_ARTICLES.get(formal.kind, formal.kind)}")


_ARTICLES = {
    "Tensor": "a tensor",
    "int": "an integer",
    "float": "a real number",
    "number": "a number",
    "bool": "a truth value",
    "ScalarType": "an element type",
    "MemoryFormat": "a memory format",
    "Device": "a device",
    "str": "a word",
    "Layout": "left out: every tensor is strided",
    "Generator": "left out: there is one random stream",
}
