"""Export a training step in training mode, and make plain operations and tensors of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.export.graph_signature import InputKind, OutputKind

from nnlint.errors import CaptureError, NnlintError
from nnlint.linter.load import failures
from nnlint.linter.measured import Site
from nnlint.linter.operators.base import Family, table
from nnlint.probe_service.capture import causal
from nnlint.probe_service.capture.bundle import TensorSite
from nnlint.probe_service.capture.eager import undisturbed
from nnlint.probe_service.capture.exporting import exporting
from nnlint.probe_service.capture.feed import Feed
from nnlint.probe_service.capture.flatten import (
    Flat,
    NotFlatError,
    flatten,
    live,
    references,
)
from nnlint.probe_service.capture.places import Places
from nnlint.probe_service.capture.state import State, schema_of, tags_of
from nnlint.probe_service.capture.wrapper import TrainingStep
from nnlint.probe_service.encode.step import Entry, Operation, Ref, Step
from nnlint.probe_service.operators import reviewed
from nnlint.protos.v1 import graph_pb2


@dataclass(frozen=True, slots=True)
class Exported:
    """A step with what the client keeps of it.

    Attributes:
        step: Operations and tensors.
        nodes: For each operation, where it stands.
        tensors: For each tensor, what it is called.
        loss_nodes: Positions of the operations that belong to the loss.
        groups: For each trainable parameter (its position among the tensors) the names under
            which the model has it.
        notes: What the user should know.
    """

    step: Step
    nodes: tuple[Site, ...]
    tensors: tuple[TensorSite, ...]
    loss_nodes: frozenset[int]
    groups: Mapping[int, tuple[str, ...]]
    notes: tuple[str, ...]


def export(
    step: TrainingStep,
    feeds: Sequence[Feed],
    *,
    inputs: int,
    batch_size: int,
    seed: int,
    places: Places,
    forward_loss: bool,
    causal_masks: Sequence[bool] = (),
) -> Exported:
    """Export a step.

    Args:
        step: The model with its loss, which export leaves as it is.
        feeds: Inputs, then labels.
        inputs: How many of them are inputs.
        batch_size: Samples.
        seed: The probe's seed.
        places: Tells where nodes stand.
        forward_loss: Whether forward computes the loss itself.
        causal_masks: What transformer layers of the live model found out about their masks.

    Raises:
        CaptureError: torch.export cannot follow forward, or the probe cannot run what it gives.
    """
    with causal.repeated(causal_masks):
        program = _program(step, feeds, seed=seed, places=places)
    fed = [
        Entry(
            graph_pb2.Tensor.ROLE_INPUT if index < inputs else graph_pb2.Tensor.ROLE_TARGET,
            feed.shape,
            feed.dtype,
            contents=feed.batches,
            draw=feed.draw,
        )
        for index, feed in enumerate(feeds)
    ]
    state = State(program, step, len(fed))
    try:
        flat = flatten(program.graph_module, _placeholders(program, state), state.constant)
        flat = live(flat, _returned(program, flat), _acts)
    except NotFlatError as error:
        raise CaptureError(
            f"forward cannot be captured: {error}", location=places.line(error.node)
        ) from None
    _review(flat, places)
    state.refuse_overlaps(flat)
    loss, *outputs = _returned(program, flat)
    used = {ref.index for ref in (loss, *outputs) if ref.kind == "tensor"}
    for operation in flat.operations:
        used |= {ref.index for ref in references(operation) if ref.kind == "tensor"}
    entries, held, moved = state.finish(used)
    return Exported(
        Step(
            tensors=[*fed, *entries],
            modes=flat.modes,
            operations=[_renumbered(operation, moved) for operation in flat.operations],
            loss=_moved(loss, moved),
            outputs=tuple(dict.fromkeys(_moved(output, moved) for output in outputs)),
            batch_size=batch_size,
        ),
        nodes=tuple(places.site(node) for node in flat.sources),
        tensors=(
            *(TensorSite(feed.name) for feed in feeds),
            *(places.tensor(each.names[0]) for each in held),
        ),
        loss_nodes=_loss_nodes(flat, places, forward_loss=forward_loss),
        groups={len(fed) + i: tuple(each.names) for i, each in enumerate(held) if each.trainable},
        notes=state.notes(),
    )


def _program(
    step: TrainingStep, feeds: Sequence[Feed], *, seed: int, places: Places
) -> torch.export.ExportedProgram:
    tensors = tuple(feed.tensor(seed=seed, index=index) for index, feed in enumerate(feeds))
    try:
        with undisturbed(seed), exporting():
            return torch.export.export(step, tensors, strict=False)
    except NnlintError:
        raise
    except Exception as error:
        location, _ = places.code.raised(error.__traceback__)
        raise CaptureError(
            f"forward cannot be captured: {_obstacle(error)}",
            location=location or places.fallback,
        ) from error


def _obstacle(error: Exception) -> str:
    """Say what stops torch.export, in the user's terms where that is known."""
    text = str(error)
    if "data-dependent" in text or "DataDependent" in type(error).__name__:
        return "it decides, loops or computes a size on a value that is only known when it runs"
    if "Constraints violated" in text or "Guard" in text:
        return "it depends on the sizes of its inputs in a way that cannot be kept"
    if ".numpy()" in text:
        return "it hands values to NumPy, where they are computed outside of PyTorch"
    return failures.describe(error)


def _placeholders(program: torch.export.ExportedProgram, state: State) -> dict[str, Any]:
    """Return what stands for each placeholder: a tensor of the step, or a plain value."""
    found: dict[str, Any] = {}
    fed = 0
    for spec in program.graph_signature.input_specs:
        argument = spec.arg
        if spec.kind == InputKind.USER_INPUT:
            found[argument.name] = Ref("tensor", fed)
            fed += 1
        elif spec.kind in {InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR}:
            assert spec.target is not None
            found[argument.name] = state.placeholder(spec.kind, spec.target)
        else:
            raise CaptureError(f"forward takes a {spec.kind.name.lower().replace('_', ' ')}")
    return found


def _returned(program: torch.export.ExportedProgram, flat: Flat) -> list[Ref]:
    """Return references to the loss and to the model's outputs."""
    kinds = [spec.kind for spec in program.graph_signature.output_specs]
    results = [
        result
        for kind, result in zip(kinds, flat.results, strict=True)
        if kind in {OutputKind.USER_OUTPUT, OutputKind.LOSS_OUTPUT}
    ]
    assert results
    if not isinstance(results[0], Ref):
        raise CaptureError("the loss is a constant")
    return [result for result in results if isinstance(result, Ref)]


def _acts(name: str) -> bool:
    """Tell whether an operator changes a tensor or draws from the random stream."""
    try:
        schema, tags = schema_of(name), tags_of(name)
    except AttributeError:
        return False
    return schema.is_mutable or torch.Tag.nondeterministic_seeded in tags


def _review(flat: Flat, places: Places) -> None:
    """Refuse operators and text arguments that are not on the reviewed list."""
    known = reviewed()
    for operation, node in zip(flat.operations, flat.sources, strict=True):
        entry = known.get(operation.operator)
        if entry is None:
            raise CaptureError(
                f"forward uses {operation.operator}, {_unreviewed(operation.operator)}",
                location=places.line(node),
            )
        for value in (*operation.arguments, *operation.keywords.values()):
            if isinstance(value, str) and not entry.allows(value):
                raise CaptureError(
                    f"{operation.operator} is not run with {value!r:.80}",
                    location=places.line(node),
                )


def _unreviewed(name: str) -> str:
    if name.split(".")[1] in _DEPENDENT:
        return "whose result has a size or value that is only known when forward runs"
    if not name.startswith("aten."):
        return "which is not an operator of PyTorch itself, and servers run no other code"
    return "which is not on the list of operators that servers run"


_DEPENDENT = frozenset(
    (
        "item",
        "_local_scalar_dense",
        "nonzero",
        "nonzero_numpy",
        "masked_select",
        "unique",
        "unique_dim",
        "_unique2",
        "unique_consecutive",
        "bincount",
        "repeat_interleave",
        "argwhere",
        "equal",
        "allclose",
        "is_nonzero",
    )
)


def _renumbered(operation: Operation, moved: Mapping[int, int]) -> Operation:
    return replace(
        operation,
        arguments=tuple(_moved(value, moved) for value in operation.arguments),
        keywords={key: _moved(value, moved) for key, value in operation.keywords.items()},
    )


def _moved(value: Any, moved: Mapping[int, int]) -> Any:
    if isinstance(value, Ref):
        if value.kind == "tensor":
            return Ref("tensor", moved.get(value.index, value.index))
        return value
    return [_moved(each, moved) for each in value] if isinstance(value, list) else value


def _loss_nodes(flat: Flat, places: Places, *, forward_loss: bool) -> frozenset[int]:
    """Return the operations outside the model; with a loss in forward, from its operator on."""
    found: set[int] = set()
    for index, (operation, node) in enumerate(zip(flat.operations, flat.sources, strict=True)):
        if places.in_loss(node):
            found.add(index)
        elif forward_loss:
            match = table().function(node.target) if callable(node.target) else None
            inputs = {ref.index for ref in references(operation) if ref.kind == "node"}
            if (match is not None and match.op.family is Family.LOSS) or inputs & found:
                found.add(index)
    return frozenset(found)
