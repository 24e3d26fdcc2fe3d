"""One training step as plain Python and live tensors, before it is encoded."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from nnlint.protos.v1 import graph_pb2

Role = graph_pb2.Tensor.Role


@dataclass(frozen=True, slots=True)
class Ref:
    """A tensor that exists: one of the step's tensors, or a result of an operation.

    Attributes:
        kind: What `index` counts.
        index: Position in `Step.tensors` or `Step.operations`.
        output: Which result of an operation that has several.
    """

    kind: str
    index: int
    output: int = 0


Scalar = None | bool | int | float | str | torch.dtype | torch.memory_format | torch.device
Value = Scalar | Ref | list[Scalar | Ref]


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor that exists before the first operation.

    Attributes:
        role: What it is to the model.
        shape: Sizes in one step.
        dtype: Element type.
        requires_grad: Whether gradients are taken of it.
        contents: Its elements, on the CPU; for the user's data one tensor for each batch.
        draw: How its elements are drawn, where it has no contents.
    """

    role: graph_pb2.Tensor.Role
    shape: tuple[int, ...]
    dtype: torch.dtype
    requires_grad: bool = False
    contents: tuple[torch.Tensor, ...] = ()
    draw: graph_pb2.Draw | None = None


@dataclass(frozen=True, slots=True)
class Autocast:
    """torch.autocast for one kind of device."""

    device: str
    dtype: torch.dtype
    enabled: bool
    cache_enabled: bool


@dataclass(frozen=True, slots=True)
class Mode:
    """The gradient and autocast modes of an operation.

    Attributes:
        grad: False under torch.no_grad().
        autocasts: For each kind of device the innermost one.
        parent: Position of the mode in which this one is entered.
    """

    grad: bool = True
    autocasts: tuple[Autocast, ...] = ()
    parent: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """Type of a result; no dtype for one that is no tensor."""

    dtype: torch.dtype | None = None
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of an ATen operator.

    Attributes:
        operator: Full overload name, "aten.conv2d.default".
        arguments: Positional arguments.
        keywords: Keyword arguments.
        mode: Position in `Step.modes`.
        results: What it returns.
    """

    operator: str
    arguments: tuple[Value, ...]
    keywords: dict[str, Value]
    mode: int
    results: tuple[Result, ...]


@dataclass(slots=True)
class Step:
    """One training step: the model and its loss.

    Attributes:
        tensors: Inputs and targets first, then parameters, buffers and constants.
        modes: The first is the outermost one.
        operations: In execution order.
        loss: The scalar that is differentiated.
        outputs: The model's own results.
        batch_size: Samples in one step.
    """

    tensors: list[Entry] = field(default_factory=list)
    modes: list[Mode] = field(default_factory=lambda: [Mode()])
    operations: list[Operation] = field(default_factory=list)
    loss: Ref = field(default_factory=lambda: Ref("node", 0))
    outputs: tuple[Ref, ...] = ()
    batch_size: int = 1
