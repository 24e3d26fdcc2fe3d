"""What the rules of this folder ask about a loss: its prediction, its place, its classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from nnlint.linter.discover import sinks
from nnlint.linter.findings import Related
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.operators.base import Operator
from nnlint.linter.rules.base import NotChecked
from nnlint.linter.rules.loss.origins import Origin, Origins


def predictions(graph: ModelGraph, ops: frozenset[Operator]) -> Iterator[tuple[Node, Node]]:
    """Yield each training loss of the given operators with its prediction."""
    for loss in graph.losses:
        prediction = loss.args.get("input")
        if loss.op in ops and loss.grad and isinstance(prediction, Node):
            yield loss, prediction


def without_loss(graph: ModelGraph, relevant: Callable[[Node], bool]) -> Iterator[NotChecked]:
    """Yield why a rule about the loss cannot judge a model that has none.

    Args:
        graph: The graph.
        relevant: Tells whether an output would be wrong before some loss.
    """
    if graph.losses or not any(relevant(output) for output in graph.outputs):
        return
    uses = [use for use in graph.uses if sinks.loss(use.sink)]
    if any(use.training and not use.certain for use in uses):
        yield NotChecked("which loss the output meets is chosen at run time; name it with --loss")
    elif uses:
        yield NotChecked("only evaluation code computes a loss; name that of training with --loss")
    else:
        yield NotChecked("no loss was found for this model; name it with --loss")


def hidden_behind_unknown(
    origins: Origins, origin: Origin, ops: frozenset[Operator]
) -> Node | None:
    """Return an operation not in the table whose own input is made by one of `ops`."""
    for node in origin.nodes:
        unknown = node.kind == "op" and node.op is None
        if unknown and any(ops & origins.of(above).ops for above in node.inputs):
            return node
    return None


def unknown_operation(node: Node) -> NotChecked:
    """Return the reason that an operation between the model and its loss is not in the table."""
    return NotChecked(f"what {title(node)} does between the output and its loss is not known")


BY_ASSUMPTION = NotChecked("an argument that was assumed may choose the last activation")


def title(node: Node) -> str:
    """Return the name of a node's operation as messages show it."""
    return (
        node.op.name if node.op is not None else str(getattr(node.target, "__name__", node.target))
    )


def loss_place(graph: ModelGraph, loss: Node) -> list[Related]:
    """Return where the loss is computed, unless the user named it on the command line."""
    if loss.location is None or (graph.loss_given and loss.stitched):
        return []
    return [Related(loss.location, f"{title(loss)} is computed here", "loss")]


def class_count(prediction: Node) -> int | None:
    """Return the size of the dimension that a multi-class loss takes for the classes."""
    shape = prediction.info.shape
    if not shape:
        return None
    return shape[1] if len(shape) > 1 else shape[0]


def lowest_loss(classes: int) -> float:
    """Return the least cross-entropy that inputs in [0, 1] reach: 1 for the label, 0 elsewhere."""
    return math.log1p((classes - 1) / math.e)
