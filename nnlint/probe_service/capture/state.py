"""Parameters, buffers and constants of an exported step: each tensor once, whatever its names."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.export.graph_signature import InputKind

from nnlint.errors import CaptureError
from nnlint.probe_service.capture.flatten import Flat
from nnlint.probe_service.capture.wrapper import MODEL, TrainingStep
from nnlint.probe_service.encode.step import Entry, Operation, Ref
from nnlint.protos.v1 import graph_pb2

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_CONSTANT = graph_pb2.Tensor.ROLE_CONSTANT
_PARAMETER = graph_pb2.Tensor.ROLE_PARAMETER
_BUFFER = graph_pb2.Tensor.ROLE_BUFFER
_ROLES = {InputKind.PARAMETER: _PARAMETER, InputKind.BUFFER: _BUFFER}


@dataclass(slots=True)
class Held:
    """One tensor that the model holds.

    Attributes:
        tensor: The tensor itself.
        role: What it is to the model.
        names: Every name it has, without the wrapper's prefix.
        objects: How many tensor objects share exactly this memory.
    """

    tensor: torch.Tensor
    role: graph_pb2.Tensor.Role
    names: list[str] = field(default_factory=list)
    objects: set[int] = field(default_factory=set)

    @property
    def trainable(self) -> bool:
        """Whether gradients are taken of it."""
        return self.role == _PARAMETER and self.tensor.requires_grad


class State:
    """The tensors of one step, numbered from `first` in the order in which they are met.

    Args:
        program: The exported step.
        step: The wrapper that was exported.
        first: Position of the first one among the tensors of the graph.
    """

    def __init__(self, program: ExportedProgram, step: TrainingStep, first: int) -> None:
        self.held: list[Held] = []
        self._first = first
        self._known: dict[object, int] = {}
        self._live: dict[str, torch.Tensor] = {
            **dict(step.named_parameters(remove_duplicate=False)),
            **dict(step.named_buffers(remove_duplicate=False)),
        }
        self._constants: Mapping[str, object] = program.constants

    def placeholder(self, kind: InputKind, target: str) -> Ref:
        """Return a reference to a parameter, buffer or constant by its qualified name."""
        tensor = self._live.get(target)
        if tensor is None:
            found = self._constants.get(target)
            if not isinstance(found, torch.Tensor):
                raise CaptureError(f"{_own(target)} is no tensor")
            tensor = found
        return self._add(tensor, _ROLES.get(kind, _CONSTANT), _own(target))

    def constant(self, tensor: torch.Tensor) -> Ref:
        """Return a reference to a tensor that the graph holds itself."""
        return self._add(tensor, _CONSTANT, "")

    def finish(self, used: set[int]) -> tuple[list[Entry], list[Held], dict[int, int]]:
        """Choose the tensors that go into the graph: what is used, and what is trained.

        Args:
            used: Positions that operations refer to.

        Returns:
            The entries, what they hold, and for each old position the new one.

        Raises:
            CaptureError: A tensor is not on the CPU in plain dense memory.
        """
        order = sorted(
            (i for i, h in enumerate(self.held) if i + self._first in used or h.trainable),
            key=lambda i: (_ORDER[self.held[i].role], i),
        )
        kept = [self.held[index] for index in order]
        places = {old + self._first: new + self._first for new, old in enumerate(order)}
        return [_entry(held) for held in kept], kept, places

    def notes(self) -> tuple[str, ...]:
        """Return what the user should know about tensors that share memory."""
        return tuple(
            f"{' and '.join(held.names[:2])} are separate parameters in the same memory: they are "
            "stepped as one"
            for held in self.held
            if held.role == _PARAMETER and len(held.objects) > 1
        )

    def refuse_overlaps(self, flat: Flat) -> None:
        """Refuse tensors that share a part of their memory, where one of them changes.

        Raises:
            CaptureError: Naming both.
        """
        changing = _written(flat)
        spans: list[tuple[int, int, int]] = []
        for index, held in enumerate(self.held):
            if held.tensor.numel() and held.tensor.layout == torch.strided:
                start = held.tensor.data_ptr()
                spans.append((start, start + _extent(held.tensor), index))
        spans.sort()
        for (_, end, one), (start, _, other) in itertools.pairwise(spans):
            if start >= end:
                continue
            pair = self.held[one], self.held[other]
            if (
                any(h.trainable for h in pair)
                or {one + self._first, other + self._first} & changing
            ):
                names = " and ".join(held.names[0] or "a constant" for held in pair)
                raise CaptureError(
                    f"{names} share a part of their memory, and one of them changes in training"
                )

    def _add(self, tensor: torch.Tensor, role: graph_pb2.Tensor.Role, name: str) -> Ref:
        key = _identity(tensor)
        index = self._known.get(key)
        if index is None:
            index = self._known[key] = len(self.held)
            self.held.append(Held(tensor, role))
        held = self.held[index]
        if role == _PARAMETER and (held.role != _PARAMETER or not held.tensor.requires_grad):
            held.tensor, held.role = tensor, role
        if role == _PARAMETER:
            held.objects.add(id(tensor))
        held.names.append(name)
        return Ref("tensor", index + self._first)


_ORDER = {_PARAMETER: 0, _BUFFER: 1, _CONSTANT: 2}


def _own(target: str) -> str:
    return target.removeprefix(f"{MODEL}.")


def _identity(tensor: torch.Tensor) -> object:
    """Return what two tensors have in common only when they are the same elements."""
    if tensor.layout != torch.strided or not tensor.numel():
        return id(tensor)
    return tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tuple(tensor.stride())


def _extent(tensor: torch.Tensor) -> int:
    """Return the bytes from the first element to the end of the last one."""
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.element_size()


def _entry(held: Held) -> Entry:
    tensor = held.tensor
    name = held.names[0] or "a constant"
    if type(tensor) not in {torch.Tensor, torch.nn.Parameter, torch.nn.Buffer}:
        raise CaptureError(f"{name} is a {type(tensor).__name__}, not a plain tensor")
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise CaptureError(f"{name} is not a dense tensor ({tensor.layout})")
    if tensor.device.type != "cpu":
        raise CaptureError(f"{name} is on {tensor.device}, which holds no values that can be sent")
    return Entry(
        held.role,
        tuple(tensor.shape),
        tensor.dtype,
        requires_grad=held.trainable,
        contents=(tensor.detach(),),
    )


def _written(flat: Flat) -> set[int]:
    """Return the positions of tensors that operations change, also through views."""
    roots: list[set[int]] = []
    changed: set[int] = set()
    for operation in flat.operations:
        aliased, written = _aliases(operation)
        reached = {root for ref in aliased for root in _roots(ref, roots)}
        changed |= {root for ref in written for root in _roots(ref, roots)}
        roots.append(reached)
        if operation.operator in _STATISTICS:
            changed |= {ref.index for ref in _references(operation) if ref.kind == "tensor"}
    return changed


# Their running statistics change, which their schemas do not say.
_STATISTICS = frozenset({"aten.batch_norm.default", "aten.instance_norm.default"})


def _roots(ref: Ref, roots: Sequence[set[int]]) -> set[int]:
    return {ref.index} if ref.kind == "tensor" else roots[ref.index]


def _aliases(operation: Operation) -> tuple[list[Ref], list[Ref]]:
    """Return the references that results alias, and those that are written to."""
    schema = schema_of(operation.operator)
    aliased: list[Ref] = []
    written: list[Ref] = []
    for position, argument in enumerate(schema.arguments):
        info = argument.alias_info
        if info is None:
            continue
        value = (
            operation.arguments[position]
            if position < len(operation.arguments)
            else operation.keywords.get(argument.name)
        )
        refs = [value] if isinstance(value, Ref) else value if isinstance(value, list) else []
        found = [ref for ref in refs if isinstance(ref, Ref)]
        aliased += found
        written += found if info.is_write else []
    return aliased, written


def _references(operation: Operation) -> list[Ref]:
    return [value for value in operation.arguments if isinstance(value, Ref)]


def schema_of(name: str) -> Any:
    """Return the schema of an operator by its full overload name."""
    return _overload(name)._schema  # noqa: SLF001 - no public way to it


def tags_of(name: str) -> Sequence[torch.Tag]:
    """Return the tags of an operator by its full overload name."""
    found: Sequence[torch.Tag] = _overload(name).tags
    return found


def _overload(name: str) -> Any:
    namespace, operator, overload = name.split(".")
    return getattr(getattr(getattr(torch.ops, namespace), operator), overload)
