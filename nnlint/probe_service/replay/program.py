"""A graph that runs: our own loop over its nodes, on one device.

The client's parity check and the server's measurements run this same loop. Autograd records the
operators as it does for the model itself, so gradients equal those of eager PyTorch to the bit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self

import torch

from nnlint.probe_service.draw import stream
from nnlint.probe_service.replay.blobs import Read, Source, source
from nnlint.probe_service.replay.decode import Call, decode, filled
from nnlint.probe_service.replay.modes import Modes
from nnlint.probe_service.replay.schema import Slot
from nnlint.protos.v1 import graph_pb2, probe_service_pb2

Journal = Callable[[int], None]
# For each node what is done with its first result, None for one that is not observed.
Watch = Sequence[Callable[[torch.Tensor], None] | None]
_STEPPED = frozenset({graph_pb2.Tensor.ROLE_INPUT, graph_pb2.Tensor.ROLE_TARGET})


class Inspector(Protocol):
    """Sees every node with what it takes and gives; slower than a `Watch`."""

    def before(self, call: Call, values: list[Any]) -> None:
        """See the operands of a node, which runs next."""

    def after(self, call: Call, values: list[Any]) -> None:
        """See the results of a node."""


def replaced_types(precision: int) -> dict[torch.dtype, torch.dtype]:
    """Return the element types that a precision replaces.

    In bfloat16 every float32 becomes bfloat16, also where a node names the type: a capture in
    float32 cannot tell `x.float()` from `x.to(y.dtype)`, and a mixture would not run at all.
    """
    if precision == probe_service_pb2.ProbeSettings.PRECISION_BFLOAT16:
        return {torch.float32: torch.bfloat16}
    return {}


class Program:
    """One graph on one device, with its parameters, buffers and the inputs of the current step.

    Attributes:
        graph: The graph.
        device: Where it runs.
        seed: Of drawn inputs and of dropout.
        calls: The nodes, decoded.
        modes: The regions.
        parameters: Positions of the trainable parameters among the tensors.
    """

    def __init__(
        self,
        graph: graph_pb2.Graph,
        sources: Sequence[Source],
        *,
        device: torch.device,
        precision: int,
        seed: int,
    ) -> None:
        self.graph = graph
        self.device = device
        self.seed = seed
        decoded = decode(graph, device=device, types=replaced_types(precision))
        self.calls = decoded.calls
        self.modes = Modes(graph, device, precision)
        self.parameters = tuple(
            index
            for index, tensor in enumerate(graph.tensors)
            if tensor.role == graph_pb2.Tensor.ROLE_PARAMETER and tensor.requires_grad
        )
        self._sources = sources
        # Batches that are gone through again and again, where there are any.
        self._held: tuple[Mapping[int, torch.Tensor], ...] = ()
        self._loss = decoded.loss
        self._values: list[Any] = [None] * decoded.slots
        self._steps = _compile(decoded.calls, len(graph.tensors), decoded.loss)
        for index, each in enumerate(sources):
            if each.declared.role not in _STEPPED:
                self._values[index] = self._fresh(each, 0)

    @classmethod
    def load(
        cls,
        graph: graph_pb2.Graph,
        read: Read,
        *,
        device: torch.device,
        precision: int = probe_service_pb2.ProbeSettings.PRECISION_FLOAT32,
        seed: int = 0,
    ) -> Self:
        """Bring a graph onto a device.

        Args:
            graph: A graph whose structure has been checked.
            read: Returns the content of a blob. The content is referred to, not copied, for as
                long as the program lives, and never written to.
            device: Where to run.
            precision: Of parameters and arithmetic.
            seed: Of drawn inputs and of dropout.

        Raises:
            InvalidGraphError: Arguments do not fit their operator.
        """
        half = replaced_types(precision).get(torch.float32)
        sources = [
            source(tensor, index, read, half=half) for index, tensor in enumerate(graph.tensors)
        ]
        return cls(graph, sources, device=device, precision=precision, seed=seed)

    def with_calls(self, calls: Sequence[Call]) -> Self:
        """Return a program that runs other calls on the same tensors.

        Args:
            calls: One for each node, with the operands and results that the node's call has here.
        """
        made = copy.copy(self)
        made.calls = tuple(calls)
        made._steps = _compile(made.calls, len(self.graph.tensors), self._loss)  # noqa: SLF001 - its own class
        return made

    def going_through(self, batches: int) -> Self:
        """Return a program on the same tensors whose steps go through a few batches for ever.

        Step i has the inputs, targets and random stream of step i modulo `batches`; the batches are
        kept on the device.
        """
        made = copy.copy(self)
        made._held = tuple(dict(self.inputs(step)) for step in range(batches))  # noqa: SLF001 - its own class
        return made

    def tensor(self, index: int) -> torch.Tensor:
        """Return a tensor of the graph as it is now, for one that a step draws after `inputs`."""
        value = self._values[index]
        assert isinstance(value, torch.Tensor)
        return value

    def trained(self) -> list[torch.Tensor]:
        """Return the trainable parameters, in order."""
        return [self.tensor(index) for index in self.parameters]

    def state(self) -> dict[int, torch.Tensor]:
        """Return parameters, buffers and constants by position: what a step may change."""
        return {
            index: self._values[index]
            for index, each in enumerate(self._sources)
            if each.declared.role not in _STEPPED
        }

    def changing(self) -> dict[int, torch.Tensor]:
        """Return buffers and constants by position: what a forward pass alone may change."""
        trained = graph_pb2.Tensor.ROLE_PARAMETER
        return {
            index: tensor
            for index, tensor in self.state().items()
            if self.graph.tensors[index].role != trained
        }

    def reset(self) -> None:
        """Return parameters, buffers and constants to what was captured, without gradients."""
        with torch.no_grad():
            for index, value in self.state().items():
                value.copy_(self._sources[index].content(seed=self.seed, step=0))
        self.clear_gradients()

    def clear_gradients(self) -> None:
        """Set every gradient to None."""
        for index, each in enumerate(self._sources):
            if each.declared.requires_grad and self._values[index] is not None:
                self._values[index].grad = None

    def batches(self) -> int | None:
        """Return how many different batches there are, None where inputs are drawn."""
        counts = [
            None if each.stored is None else len(each.stored)
            for each in self._sources
            if each.declared.role == graph_pb2.Tensor.ROLE_INPUT
        ]
        known = [count for count in counts if count is not None]
        return max(known, default=1) if len(known) == len(counts) else None

    def inputs(self, step: int) -> Mapping[int, torch.Tensor]:
        """Set the inputs and targets for a step, and return them by position."""
        if self._held:
            # The graph may write into them.
            made = {
                index: tensor.detach().clone().requires_grad_(tensor.requires_grad)
                for index, tensor in self._held[step % len(self._held)].items()
            }
        else:
            made = {
                index: self._fresh(each, step)
                for index, each in enumerate(self._sources)
                if each.declared.role in _STEPPED
            }
        for index, value in made.items():
            self._values[index] = value
        return made

    def seed_step(self, step: int) -> None:
        """Begin the random stream of a step."""
        self.seed_stream(self.step_seed(step))

    def seed_stream(self, seed: int) -> None:
        """Seed what the operators draw from, as torch.manual_seed does for this device.

        torch.manual_seed itself formats the stack for each kind of device that is not there.
        """
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed_all(seed)

    def step_seed(self, step: int) -> int:
        """Return the seed of the random stream of a step: dropout draws from it in both worlds."""
        return stream(self.seed, step % len(self._held) if self._held else step)

    def forward(
        self,
        *,
        journal: Journal | None = None,
        watch: Watch | None = None,
        inspector: Inspector | None = None,
        gradients: bool = True,
    ) -> torch.Tensor:
        """Run all nodes and return the loss. The caller has set the inputs and seeded torch.

        Args:
            journal: Is told the position of each node before it runs, and -1 after the last one.
            watch: What is done with the results.
            inspector: Sees every node.
            gradients: False keeps autograd off throughout.
        """
        values = self._values
        region = -1
        with self.modes.entered(gradients=gradients) as switch:
            for step in self._steps:
                node, function, template, fills, nested, keywords, one, results, frees, mode = step
                if mode != region:
                    switch.to(mode)
                    region = mode
                if journal is not None:
                    journal(node)
                if inspector is not None:
                    inspector.before(self.calls[node], values)
                arguments = template.copy()
                for position, slot in fills:
                    arguments[position] = values[slot]
                for position, argument in nested:
                    arguments[position] = filled(argument, values)
                if keywords:
                    returned = function(
                        *arguments,
                        **{name: filled(argument, values) for name, argument in keywords.items()},
                    )
                else:
                    returned = function(*arguments)
                if one:
                    values[results[0]] = returned
                else:
                    for slot, value in zip(results, returned, strict=True):
                        values[slot] = value
                if watch is not None and (observe := watch[node]) is not None:
                    observe(values[results[0]])
                if inspector is not None:
                    inspector.after(self.calls[node], values)
                for slot in frees:
                    values[slot] = None
        if journal is not None:
            journal(-1)
        loss = values[self._loss]
        values[self._loss] = None
        assert isinstance(loss, torch.Tensor)
        return loss

    def backward(self, loss: torch.Tensor) -> None:
        """Differentiate the loss; gradients are added to those that are there."""
        if loss.requires_grad:
            loss.reshape(()).backward()  # type: ignore[no-untyped-call]

    def _fresh(self, each: Source, step: int) -> torch.Tensor:
        value = each.fresh(self.device, seed=self.seed, step=step)
        return value.requires_grad_(each.declared.requires_grad)


def _compile(calls: Sequence[Call], tensors: int, loss: int) -> list[tuple[Any, ...]]:
    """Lay out what the loop needs of each node, and find where each result is used last."""
    last: dict[int, int] = {}
    for call in calls:
        for slot in (*call.operands, *call.results):
            last[slot] = call.node
    frees: list[list[int]] = [[] for _ in calls]
    for slot, node in last.items():
        if slot >= tensors and slot != loss:
            frees[node].append(slot)
    return [_laid_out(call, tuple(frees[call.node])) for call in calls]


def _laid_out(call: Call, frees: tuple[int, ...]) -> tuple[Any, ...]:
    fills, nested = [], []
    for position, argument in enumerate(call.arguments):
        if isinstance(argument, Slot):
            fills.append((position, argument.index))
        elif isinstance(argument, list) and any(isinstance(item, Slot) for item in argument):
            nested.append((position, argument))
    return (
        call.node,
        call.function,
        list(call.arguments),
        tuple(fills),
        tuple(nested),
        dict(call.keywords),
        call.returns_one,
        call.results,
        frees,
        call.region,
    )
