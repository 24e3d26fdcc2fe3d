"""Find the first operation that made a value non-finite, by running the step again.

The step runs once more from the same state with the same random stream, and every operand and
result is looked at. What counts as an origin:

* An operation whose result has NaN or infinity although its operands were finite.
* Infinity that the graph asks for is none: a mask filled with minus infinity, a constant, a buffer
  or an input that holds it, and whatever passes it on. It is how attention masks work, and softmax
  takes it back to zero. An operation that makes NaN of such infinities is an origin (a softmax over
  a row that is masked as a whole).
* Of several origins the one counts from which the loss got its non-finite value. Where the loss is
  finite, the gradients are followed: each operation's backward whose incoming gradients were finite
  and whose outgoing one is not is an origin, and the one counts that reaches a parameter. If that
  operation itself had met a non-finite value in the forward pass (the logarithm of zero, hidden by
  a later `where`), the origin of that value counts instead.
* Infinity that neither reaches the loss nor the gradient of a parameter is not reported: `1 / (1 +
  exp(x))` overflows on its way to a correct zero. NaN always is: no computation means to make it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from nnlint.probe_service.encode.scalars import scalar_of
from nnlint.probe_service.replay.decode import Call
from nnlint.probe_service.replay.plan import Plan
from nnlint.probe_service.replay.program import Journal, Program
from nnlint.probe_service.replay.ranges import Range, range_of
from nnlint.protos.v1 import graph_pb2, measurement_pb2

Phase = measurement_pb2.NonFinite


@dataclass(frozen=True, slots=True)
class Origin:
    """Where non-finite values began.

    Attributes:
        order: Origins are compared by it.
        intended: Whether it is infinity that the graph asks for.
        finding: As it is reported, without the step.
    """

    order: int
    intended: bool
    finding: measurement_pb2.NonFinite


def localise(
    program: Program, step: int, *, journal: Journal | None = None
) -> measurement_pb2.NonFinite | None:
    """Run a step again and return the origin of its non-finite values.

    Inputs and random stream of the step are set already, and its state is that before the step.

    Returns:
        None where every value turned out finite, or infinite as the graph asks for.
    """
    forward = _Forward(program)
    loss = program.forward(journal=journal, inspector=forward)
    found = forward.origin_of_loss(loss)
    if found is None:
        backward = _Backward(program, forward)
        backward.watch()
        program.backward(loss)
        found = backward.origin() or forward.first_nan()
    forward.release()
    if found is None:
        return None
    finding = measurement_pb2.NonFinite()
    finding.CopyFrom(found.finding)
    finding.step = step
    return finding


def after_step(
    program: Program, positions: Sequence[int], before: Sequence[Range], step: int
) -> measurement_pb2.NonFinite | None:
    """Return the first parameter that the optimiser's step has made non-finite.

    Args:
        program: After the step.
        positions: Which of its parameters are suspected, among the trainable ones.
        before: Their values before the step.
        step: Which step it was.
    """
    for position, earlier in zip(positions, before, strict=True):
        tensor = program.parameters[position]
        now = range_of(program.tensor(tensor))
        if earlier.finite and not now.finite:
            finding = _finding(Phase.PHASE_STEP, now, tensor=tensor)
            finding.step = step
            reference = graph_pb2.Reference(tensor=tensor)
            finding.operands.extend(
                [_operand(reference, earlier), _operand(reference, now, result=True)]
            )
            return finding
    return None


def as_seen(
    plan: Plan, statistics: measurement_pb2.StepStatistics
) -> measurement_pb2.NonFinite | None:
    """Return the first observed node that was not finite, for a step that a second run did not repeat.

    That happens on devices whose sums depend on the order in which threads come.
    """
    peaks = statistics.activation_abs_max
    for observed, peak in zip(plan.nodes, peaks, strict=True):
        if math.isnan(peak):
            return measurement_pb2.NonFinite(
                step=statistics.step,
                phase=Phase.PHASE_FORWARD,
                node=observed.node,
                element_count=observed.elements,
            )
    for tensor, peak in zip(plan.parameters, statistics.parameter_gradient_abs_max, strict=True):
        if not math.isfinite(peak):
            return measurement_pb2.NonFinite(
                step=statistics.step, phase=Phase.PHASE_BACKWARD, tensor=tensor
            )
    return None


@dataclass(slots=True)
class _Seen:
    """What is known of the tensor in one slot."""

    version: int
    range: Range
    origin: Origin | None


class _Forward:
    """Sees every node of the forward pass."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.references = _references(program)
        self.seen: dict[int, _Seen] = {}
        # In-place writes show in every view of the same memory.
        self.written: dict[int, Origin] = {}
        self.operands: dict[int, list[tuple[int, _Seen]]] = {}
        self.results: dict[int, list[_Seen]] = {}
        # For each node the tensors that it gave, while the backward pass is being prepared.
        self.tensors: list[tuple[int, torch.Tensor]] = []
        self.nan: Origin | None = None
        self.last: Origin | None = None
        self.order = itertools.count()

    def before(self, call: Call, values: list[Any]) -> None:
        self.operands[call.node] = [
            (slot, self._current(slot, values[slot])) for slot in call.operands
        ]

    def after(self, call: Call, values: list[Any]) -> None:
        ranges = [
            (slot, values[slot], range_of(values[slot]))
            for slot in call.results
            if isinstance(values[slot], torch.Tensor)
        ]
        origin = self._origin(call, [each for _, _, each in ranges])
        self.results[call.node] = []
        for slot, value, its_range in ranges:
            its_origin = None if its_range.finite else origin
            self.seen[slot] = _Seen(_version(value), its_range, its_origin)
            self.results[call.node].append(self.seen[slot])
            if value.requires_grad:
                self.tensors.append((call.node, value))
            if call.written and its_origin is not None:
                self.written[_memory(value)] = its_origin
            if its_range.nans and self.nan is None and its_origin is not None:
                self.nan = its_origin

    def origin_of_loss(self, loss: torch.Tensor) -> Origin | None:
        """Return why the loss is not finite, None where it is."""
        its_range = range_of(loss)
        if its_range.finite:
            return None
        reference = self.program.graph.loss
        seen = self.results[reference.node][reference.output]
        return seen.origin or self.last

    def first_nan(self) -> Origin | None:
        return self.nan

    def met(self, node: int) -> Origin | None:
        """Return the first unintended origin among what a node took and gave."""
        met = [seen.origin for _, seen in self.operands.get(node, [])]
        met += [seen.origin for seen in self.results.get(node, [])]
        real = [origin for origin in met if origin is not None and not origin.intended]
        return min(real, key=lambda origin: origin.order, default=None)

    def release(self) -> None:
        self.tensors.clear()

    def _current(self, slot: int, value: torch.Tensor) -> _Seen:
        """Return what a slot holds now; a write since it was last seen makes it new."""
        known = self.seen.get(slot)
        version = _version(value)
        if known is not None and known.version == version:
            return known
        its_range = range_of(value)
        origin = known.origin if known is not None else None
        if its_range.finite:
            origin = None
        elif origin is None:
            origin = self.written.get(_memory(value))
            if origin is None and slot < len(self.program.graph.tensors):
                origin = self._given(slot, its_range)
            origin = origin or self.last
        self.seen[slot] = _Seen(version, its_range, origin)
        return self.seen[slot]

    def _given(self, slot: int, its_range: Range) -> Origin:
        """Return the origin for a tensor that was not finite before anything ran."""
        trained = self.program.graph.tensors[slot].role == graph_pb2.Tensor.ROLE_PARAMETER
        finding = _finding(Phase.PHASE_INPUT, its_range, tensor=slot)
        finding.operands.append(_operand(graph_pb2.Reference(tensor=slot), its_range))
        return self._new(finding, intended=not trained and not its_range.nans)

    def _origin(self, call: Call, results: Sequence[Range]) -> Origin | None:
        bad = next((each for each in results if not each.finite), None)
        if bad is None:
            return None
        origins = [seen.origin for _, seen in self.operands[call.node] if seen.origin is not None]
        real = [origin for origin in origins if not origin.intended]
        if real:
            return min(real, key=lambda origin: origin.order)
        makes_nan = any(each.nans for each in results)
        if origins and not makes_nan:
            return min(origins, key=lambda origin: origin.order)
        asked = any(math.isinf(number) for number in _numbers(call))
        return self._new(self._of_node(call, bad), intended=asked and not makes_nan)

    def _of_node(self, call: Call, bad: Range) -> measurement_pb2.NonFinite:
        finding = _finding(Phase.PHASE_FORWARD, bad, node=call.node)
        for slot, seen in self.operands[call.node]:
            finding.operands.append(_operand(self.references[slot], seen.range))
        finding.operands.append(_operand(graph_pb2.Reference(node=call.node), bad, result=True))
        return finding

    def _new(self, finding: measurement_pb2.NonFinite, *, intended: bool) -> Origin:
        origin = Origin(next(self.order), intended, finding)
        if self.last is None or not intended:
            self.last = origin
        return origin


class _Backward:
    """Follows gradients through autograd's own nodes, each of which belongs to one of ours."""

    def __init__(self, program: Program, forward: _Forward) -> None:
        self.program = program
        self.forward = forward
        # Autograd's objects by identity; they are kept alive, so that identities stay apart.
        self.kept: dict[int, Any] = {}
        self.tainted: dict[int, Origin] = {}
        self.nan: Origin | None = None
        self.order = itertools.count()

    def watch(self) -> None:
        """Find which of autograd's nodes each of ours has made, and hook them."""
        for node, value in self.forward.tensors:
            pending = [value.grad_fn]
            while pending:
                function = pending.pop()
                if function is None or id(function) in self.kept:
                    continue
                self.kept[id(function)] = function
                if not hasattr(function, "variable"):
                    function.register_hook(self._hook(node, function))
                pending += [following for following, _ in function.next_functions]

    def origin(self) -> Origin | None:
        """Return what made the gradient of a parameter non-finite, or any gradient NaN."""
        reached = []
        for function in self.kept.values():
            if id(function) in self.tainted and hasattr(function, "variable"):
                reached.append(self.tainted[id(function)])
        found = min(reached, key=lambda origin: origin.order, default=None)
        return found or self._summed() or self.nan

    def _summed(self) -> Origin | None:
        """Return a parameter whose finite gradients from several uses add up to infinity."""
        for tensor in self.program.parameters:
            gradient = self.program.tensor(tensor).grad
            if gradient is None or (its_range := range_of(gradient)).finite:
                continue
            reference = graph_pb2.Reference(tensor=tensor)
            user = next(call.node for call in self.program.calls if tensor in call.operands)
            finding = _finding(Phase.PHASE_BACKWARD, its_range, node=user, tensor=tensor)
            finding.operands.append(_operand(reference, range_of(self.program.tensor(tensor))))
            return Origin(next(self.order), intended=False, finding=finding)
        return None

    def _hook(self, node: int, function: Any) -> Any:
        def see(
            outgoing: tuple[torch.Tensor | None, ...], incoming: tuple[torch.Tensor | None, ...]
        ) -> None:
            before = [range_of(each) for each in incoming if each is not None]
            origin = self.tainted.get(id(function))
            for each, (following, _) in zip(outgoing, function.next_functions, strict=False):
                if each is None or following is None:
                    continue
                its_range = range_of(each)
                if its_range.finite:
                    continue
                if origin is None:
                    origin = self._new(node, following, its_range, before)
                if its_range.nans and self.nan is None:
                    self.nan = origin
                self.tainted.setdefault(id(following), origin)

        return see

    def _new(self, node: int, following: Any, its_range: Range, before: Sequence[Range]) -> Origin:
        met = self.forward.met(node)
        if met is not None:
            return Origin(next(self.order), intended=False, finding=met.finding)
        parameter = self._parameter(following)
        finding = _finding(Phase.PHASE_BACKWARD, its_range, node=node, tensor=parameter)
        for slot, seen in self.forward.operands[node]:
            finding.operands.append(_operand(self.forward.references[slot], seen.range))
        for incoming in before[:1]:
            finding.operands.append(_operand(graph_pb2.Reference(node=node), incoming, result=True))
        return Origin(next(self.order), intended=False, finding=finding)

    def _parameter(self, function: Any) -> int | None:
        variable = getattr(function, "variable", None)
        if variable is None:
            return None
        return next(
            (each for each in self.program.parameters if self.program.tensor(each) is variable),
            None,
        )


def _finding(
    phase: measurement_pb2.NonFinite.Phase,
    its_range: Range,
    *,
    node: int | None = None,
    tensor: int | None = None,
) -> measurement_pb2.NonFinite:
    return measurement_pb2.NonFinite(
        phase=phase,
        node=node,
        tensor=tensor,
        nan_count=its_range.nans,
        infinite_count=its_range.infinities,
        element_count=its_range.elements,
    )


def _operand(
    reference: graph_pb2.Reference, its_range: Range, *, result: bool = False
) -> measurement_pb2.NonFinite.Operand:
    return measurement_pb2.NonFinite.Operand(
        reference=reference,
        minimum=its_range.minimum,
        maximum=its_range.maximum,
        non_finite=its_range.nans + its_range.infinities,
        result=result,
        dtype=scalar_of(its_range.dtype),
    )


def _references(program: Program) -> dict[int, graph_pb2.Reference]:
    references = {
        index: graph_pb2.Reference(tensor=index) for index in range(len(program.graph.tensors))
    }
    for call in program.calls:
        for output, slot in enumerate(call.results):
            references[slot] = graph_pb2.Reference(node=call.node, output=output)
    return references


def _numbers(call: Call) -> Iterator[float]:
    for argument in (*call.arguments, *call.keywords.values()):
        for item in argument if isinstance(argument, list) else [argument]:
            if isinstance(item, float):
                yield item


def _version(value: torch.Tensor) -> int:
    return value._version  # noqa: SLF001 - the one way to learn of writes in place


def _memory(value: torch.Tensor) -> int:
    return value.untyped_storage().data_ptr()
