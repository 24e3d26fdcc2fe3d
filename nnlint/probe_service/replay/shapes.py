"""Run a graph on torch's meta device: every shape and every operand is checked, nothing is allocated.

Only a graph that came through here is run for real, so the size of each of its results is known
beforehand, and with it about how much memory a training step needs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from nnlint.probe_service.encode.scalars import dtype_of, scalar_of
from nnlint.probe_service.experiments.needs import Needs
from nnlint.probe_service.operators import reviewed
from nnlint.probe_service.replay.decode import Call, decode
from nnlint.probe_service.replay.program import replaced_types
from nnlint.probe_service.replay.schema import Slot, signature
from nnlint.probe_service.replay.violations import refuse
from nnlint.protos.v1 import graph_pb2, probe_service_pb2

# More parts than this no model cuts a tensor into.
_MOST_PARTS = 1 << 16
_META = torch.device("meta")


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes that a training step needs.

    Attributes:
        state: Parameters, buffers, constants, inputs and targets.
        trained: Trainable parameters alone.
        forward: Largest sum of results that exist at one time in the forward pass.
        saved: Results that autograd keeps for the backward pass.
        largest: The largest result.
        host: Bytes of the blobs, where they lie in the same memory as the tensors.
    """

    state: int
    trained: int
    forward: int
    saved: int
    largest: int
    host: int

    def total(self, needs: Sequence[Needs]) -> int:
        """Return the most that a step takes at one time.

        Args:
            needs: Of the experiments.
        """
        extra = max(
            (
                self.trained * (each.optimizer + each.copies)
                + (self.state + self.host) * each.programs
                for each in needs
            ),
            default=0,
        )
        # At the height of the backward pass two gradients of values exist beside what is saved.
        backward = self.saved + self.trained + 2 * self.largest
        return self.state + self.host + extra + max(self.forward, backward)


def check(
    graph: graph_pb2.Graph,
    *,
    limits: probe_service_pb2.Limits,
    precision: int,
    device: torch.device,
    journal: Callable[[int], None] | None = None,
) -> Estimate:
    """Check every node of a graph whose structure has been checked.

    Args:
        graph: The graph.
        limits: Of the server.
        precision: Of the probe, for the estimate.
        device: Of the probe, for the estimate.
        journal: Is told each node before it is looked at.

    Raises:
        InvalidGraphError: An operator would refuse its operands, or gives something else than the
            graph says.
    """
    try:
        return _Dry(graph, limits, precision, device).run(journal)
    finally:
        torch.set_grad_enabled(True)


class _Dry:
    """One graph while it runs without data."""

    def __init__(
        self,
        graph: graph_pb2.Graph,
        limits: probe_service_pb2.Limits,
        precision: int,
        device: torch.device,
    ) -> None:
        self.graph = graph
        self.limits = limits
        self.device = device
        self.half = bool(replaced_types(precision))
        self.decoded = decode(graph, device=_META)
        self.values: list[Any] = [None] * self.decoded.slots
        for index, tensor in enumerate(graph.tensors):
            self.values[index] = _without_data(tensor)
        self.book = _Book(self.values[: len(graph.tensors)], half=self.half)

    def run(self, journal: Callable[[int], None] | None) -> Estimate:
        last: dict[int, int] = {}
        for call in self.decoded.calls:
            last |= dict.fromkeys((*call.operands, *call.results), call.node)
        frees: list[list[int]] = [[] for _ in self.decoded.calls]
        for slot, node in last.items():
            if slot >= len(self.graph.tensors) and slot != self.decoded.loss:
                frees[node].append(slot)
        with torch.autograd.graph.saved_tensors_hooks(self.book.save, lambda saved: saved):
            for call in self.decoded.calls:
                if journal is not None:
                    journal(call.node)
                for slot, result in zip(
                    call.results, self._results(call, frees[call.node]), strict=True
                ):
                    self.values[slot] = result
                    self.book.hold(result)
                self.book.settle()
                for slot in frees[call.node]:
                    self.book.release(self.values[slot])
                    self.values[slot] = None
        return self._estimate()

    def _results(self, call: Call, frees: Collection[int]) -> list[Any]:
        """Return the results of a node; those that nothing takes may differ from the graph's.

        Some kernels leave what only their backward pass needs in other sizes on another device.
        """
        field = f"graph.nodes[{call.node}]"
        declared = self.graph.nodes[call.node].outputs
        self._review(field, call)
        arguments, keywords = call.with_values(self.values)
        region = self.graph.regions[call.region]
        loose = any(autocast.enabled for autocast in region.autocasts)
        if loose and not call.written:
            arguments, keywords = _one_type(arguments), _one_type(keywords)
        torch.set_grad_enabled(region.grad_enabled)
        try:
            results = call.results_of(call.function(*arguments, **keywords))
        except NotImplementedError:
            # There is no meta kernel; what the graph declares is bounded, and must do.
            results = [_of_type(output) for output in declared]
        except Exception as error:
            raise refuse(field, f"{call.name} refuses its operands: {_short(error)}") from error
        if len(results) != len(declared):
            raise refuse(f"{field}.outputs", f"{call.name} has {len(results)} results")
        return [
            result
            if index and slot in frees
            else self._compared(f"{field}.outputs[{index}]", result, output, loose=loose)
            for index, (slot, result, output) in enumerate(
                zip(call.results, results, declared, strict=True)
            )
        ]

    def _compared(
        self, field: str, result: Any, declared: graph_pb2.ValueType, *, loose: bool
    ) -> Any:
        if not isinstance(result, torch.Tensor):
            if declared.dtype:
                raise refuse(field, "the result is no tensor")
            return result
        if not declared.dtype:
            raise refuse(field, f"the result is a tensor of sizes {list(result.shape)}")
        if list(result.shape) != list(declared.shape):
            raise refuse(
                field, f"the result has sizes {list(result.shape)}, not {list(declared.shape)}"
            )
        if scalar_of(result.dtype) == declared.dtype:
            return result
        if loose and result.is_floating_point():
            # What autocast makes of it depends on the device.
            return result.to(dtype_of(declared.dtype))
        raise refuse(field, f"the result is of type {result.dtype}, not {dtype_of(declared.dtype)}")

    def _review(self, field: str, call: Call) -> None:
        """Check what the operator itself would not, or not before it has taken memory for it."""
        declared = signature(call.name)
        assert declared is not None
        names = [formal.name for formal in declared.formals]
        given = dict(zip(names, call.arguments, strict=False)) | dict(call.keywords)
        check = reviewed()[call.name].check
        if check is not None:
            wrong = check({name: self._shapes(value) for name, value in given.items()})
            if wrong:
                raise refuse(field, f"{call.name}: {wrong}")
        if declared.returns_list:
            self._bound_parts(field, call, given)

    def _shapes(self, value: Any) -> Any:
        if isinstance(value, Slot):
            return tuple(self.values[value.index].shape)
        if isinstance(value, list):
            return [self._shapes(item) for item in value]
        return value

    def _bound_parts(self, field: str, call: Call, given: Mapping[str, Any]) -> None:
        """Refuse to cut a tensor into more parts than the graph declares, before they exist."""
        sizes = self._shapes(given.get("self", given.get("input")))
        dimension = given.get("dim", 0)
        counts = [
            value
            for name in ("chunks", "sections", "indices", "indices_or_sections")
            if isinstance(value := given.get(name), int)
        ]
        size = 0
        if isinstance(sizes, tuple) and isinstance(dimension, int):
            known = -len(sizes) <= dimension < len(sizes)
            size = sizes[dimension] if known else 0
        if "unbind" in call.name:
            counts.append(size)
        elif isinstance(step := given.get("split_size"), int):
            counts.append(-(-size // max(step, 1)))
        if any(count > _MOST_PARTS for count in counts):
            raise refuse(field, f"{call.name} would make more than {_MOST_PARTS} parts")

    def _estimate(self) -> Estimate:
        state = trained = host = 0
        for index, tensor in enumerate(self.graph.tensors):
            count = self.book.bytes_of(self.values[index])
            state += count
            if tensor.role == graph_pb2.Tensor.ROLE_PARAMETER and tensor.requires_grad:
                trained += count
            if self.device.type == "cpu":
                host += tensor.digest.size_bytes
        return Estimate(
            state=state,
            trained=trained,
            forward=self.book.most,
            saved=self.book.saved_bytes,
            largest=self.book.largest,
            host=host,
        )


class _Book:
    """Keeps account of the memory that results would take."""

    def __init__(self, given: Sequence[torch.Tensor], *, half: bool) -> None:
        self.half = half
        self.given = {_storage(tensor) for tensor in given}
        # Storage -> how many slots hold it, and its bytes.
        self.held: dict[int, list[int]] = {}
        # Saved tensors are kept, so that the identity of a storage is not used twice.
        self.kept: dict[int, torch.Tensor] = {}
        self.saved_bytes = self.now = self.most = self.largest = 0

    def bytes_of(self, tensor: torch.Tensor) -> int:
        count = tensor.untyped_storage().nbytes()
        return count // 2 if self.half and tensor.dtype == torch.float32 else count

    def save(self, tensor: torch.Tensor) -> torch.Tensor:
        """Note what autograd keeps."""
        storage = _storage(tensor)
        if storage not in self.given and storage not in self.kept:
            self.kept[storage] = tensor
            self.saved_bytes += self.bytes_of(tensor)
            if storage not in self.held:
                self.now += self.bytes_of(tensor)
        return tensor

    def hold(self, value: Any) -> None:
        if not isinstance(value, torch.Tensor):
            return
        storage = _storage(value)
        if storage in self.given:
            return
        count = self.bytes_of(value)
        self.largest = max(self.largest, count)
        if storage in self.held:
            self.held[storage][0] += 1
            return
        self.held[storage] = [1, count]
        if storage not in self.kept:
            self.now += count

    def release(self, value: Any) -> None:
        if not isinstance(value, torch.Tensor):
            return
        entry = self.held.get(_storage(value))
        if entry is None:
            return
        entry[0] -= 1
        if not entry[0]:
            del self.held[_storage(value)]
            if _storage(value) not in self.kept:
                self.now -= entry[1]

    def settle(self) -> None:
        self.most = max(self.most, self.now)


def _without_data(tensor: graph_pb2.Tensor) -> torch.Tensor:
    dtype = dtype_of(tensor.dtype)
    shape = list(tensor.shape)
    if tensor.strides:
        made = torch.empty_strided(shape, list(tensor.strides), dtype=dtype, device=_META)
    else:
        made = torch.empty(shape, dtype=dtype, device=_META)
    return made.requires_grad_(tensor.requires_grad)


def _of_type(output: graph_pb2.ValueType) -> torch.Tensor | None:
    if not output.dtype:
        return None
    return torch.empty(list(output.shape), dtype=dtype_of(output.dtype), device=_META)


def _one_type(given: Any) -> Any:
    """Give operands one floating type, as autocast does before it picks its own."""
    values = list(given.values()) if isinstance(given, dict) else given
    types = {each.dtype for each in _tensors(values) if each.is_floating_point()}
    if len(types) < 2:
        return given
    if isinstance(given, dict):
        return {name: _widened(value) for name, value in given.items()}
    return [_widened(value) for value in given]


def _widened(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.to(torch.float32)
    if isinstance(value, list):
        return [_widened(item) for item in value]
    return value


def _tensors(values: Sequence[Any]) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, list):
            found += _tensors(value)
    return found


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - the identity of a storage


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0].strip().rstrip(". ")[:300] if lines else "") or type(error).__name__
