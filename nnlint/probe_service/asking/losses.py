"""What the loss of a graph is made of: weighted terms, each one operator that compares.

Nothing is guessed: a loss that is computed in another way is named, not interpreted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from nnlint.protos.v1 import graph_pb2

Reduction = Literal["mean", "sum", "mixed"]


def names(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


# Operators that compare, with what they take; the reduction is 0 for none, 1 for mean, 2 for sum.
_TAKEN = {
    "binary_cross_entropy": "self target weight reduction",
    "binary_cross_entropy_with_logits": "self target weight pos_weight reduction",
    "cosine_embedding_loss": "self other target margin reduction",
    "cross_entropy_loss": "self target weight reduction ignore_index label_smoothing",
    "hinge_embedding_loss": "self target margin reduction",
    "huber_loss": "self target reduction delta",
    "kl_div": "self target reduction log_target",
    "l1_loss": "self target reduction",
    "margin_ranking_loss": "self other target margin reduction",
    "mse_loss": "self target reduction",
    "multi_margin_loss": "self target p margin weight reduction",
    "multilabel_margin_loss": "self target reduction",
    "nll_loss": "self target weight reduction ignore_index",
    "nll_loss2d": "self target weight reduction ignore_index",
    "nll_loss_nd": "self target weight reduction ignore_index",
    "poisson_nll_loss": "self target log_input full eps reduction",
    "smooth_l1_loss": "self target reduction beta",
    "soft_margin_loss": "self target reduction",
    "triplet_margin_loss": "self target negative margin p eps swap reduction",
}
# Results with the values of the first operand, all of them and in another form at most.
PASSING = names(
    """
    _to_copy _unsafe_view alias clone contiguous detach expand flatten lift_fresh_copy movedim
    permute reshape squeeze to transpose type_as unflatten unsqueeze view
    """
)


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a loss.

    Attributes:
        operator: "cross_entropy_loss"; "square" or "absolute" for a distance written out.
        node: Its position.
        weight: What it is multiplied with.
        reduction: How its elements become one; "mixed" for a mean of sums and the like.
        values: What it takes, by name.
        elements: How many values are averaged or summed, where none is left out.
    """

    operator: str
    node: int
    weight: float
    reduction: Reduction
    values: Mapping[str, graph_pb2.Argument]
    elements: int

    @property
    def name(self) -> str:
        """What people call it."""
        return self.operator.removesuffix("_loss") if "entropy" in self.operator else self.operator

    def given(self, name: str) -> bool:
        """Tell whether an argument is there and is not None."""
        return name in self.values and self.values[name].WhichOneof("value") is not None

    def number(self, name: str, default: float) -> float:
        """Return a number that it takes."""
        found = _number(self.values.get(name))
        return default if found is None else found

    def operand(self, name: str) -> graph_pb2.Reference | None:
        """Return a tensor that it takes, None where there is none."""
        if not self.given(name) or self.values[name].WhichOneof("value") != "reference":
            return None
        return self.values[name].reference


class UnknownLossError(Exception):
    """The loss is computed in a way that is not known; the text says by which operator."""


class Reader:
    """Reads a graph from its results backwards."""

    def __init__(self, graph: graph_pb2.Graph) -> None:
        self.graph = graph

    def operator(self, reference: graph_pb2.Reference) -> str:
        """Return the base name of the operator that made a value, "" for a tensor of the graph."""
        if reference.WhichOneof("source") != "node":
            return ""
        name = self.graph.operators[self.graph.nodes[reference.node].operator]
        return name.split(".")[1].removesuffix("_")

    def arguments(self, reference: graph_pb2.Reference) -> list[graph_pb2.Argument]:
        """Return the positional arguments of the operator that made a value."""
        return list(self.graph.nodes[reference.node].arguments)

    def operands(self, reference: graph_pb2.Reference) -> list[graph_pb2.Reference]:
        """Return the tensors among them."""
        return [
            each.reference
            for each in self.arguments(reference)
            if each.WhichOneof("value") == "reference"
        ]

    def type_of(self, reference: graph_pb2.Reference) -> tuple[int, tuple[int, ...]]:
        """Return element type and sizes of a value."""
        if reference.WhichOneof("source") == "node":
            output = self.graph.nodes[reference.node].outputs[reference.output]
            return output.dtype, tuple(output.shape)
        tensor = self.graph.tensors[reference.tensor]
        return tensor.dtype, tuple(tensor.shape)

    def origin(self, reference: graph_pb2.Reference) -> graph_pb2.Reference:
        """Follow a value back through views and copies."""
        while True:
            name = self.operator(reference)
            if name == "broadcast_tensors":
                items = self.arguments(reference)[0].list.items
                reference = items[reference.output].reference
            elif name in PASSING and (before := self.operands(reference)):
                reference = before[0]
            else:
                return reference

    def stored(self, reference: graph_pb2.Reference) -> int | None:
        """Return which tensor of the graph a value is a view or copy of, None for a computed one."""
        found = self.origin(reference)
        return found.tensor if found.WhichOneof("source") == "tensor" else None

    def terms(self) -> tuple[Term, ...]:
        """Return what the loss is the sum of.

        Raises:
            UnknownLossError: It is computed in another way.
        """
        return tuple(self._terms(self.graph.loss, 1.0, None))

    def _terms(
        self, reference: graph_pb2.Reference, weight: float, outer: Reduction | None
    ) -> Iterator[Term]:
        name = self.operator(reference)
        if not name:
            raise UnknownLossError("no operation")
        arguments = self.arguments(reference)
        if name in _TAKEN:
            yield self._compared(reference, name, weight, outer)
            return
        if name in PASSING:
            yield from self._terms(arguments[0].reference, weight, outer)
            return
        if name in {"mean", "sum"}:
            operand = arguments[0].reference
            inner: Reduction = "mean" if name == "mean" else "sum"
            if not self.type_of(operand)[1]:
                yield from self._terms(operand, weight, outer)
                return
            yield from self._terms(operand, weight, inner if outer in {None, inner} else "mixed")
            return
        if name in {"add", "sub", "neg", "mul", "div"}:
            yield from self._combined(reference, name, weight, outer)
            return
        if distance := self._distance(reference, name):
            yield self._term(reference, distance, weight, outer or "mixed", {"self": arguments[0]})
            return
        raise UnknownLossError(name)

    def _combined(
        self, reference: graph_pb2.Reference, name: str, weight: float, outer: Reduction | None
    ) -> Iterator[Term]:
        arguments = self.arguments(reference)
        keywords = {each.name: each.value for each in self.graph.nodes[reference.node].keywords}
        if name == "mul" and (distance := self._distance(reference, name)):
            yield self._term(reference, distance, weight, outer or "mixed", {"self": arguments[0]})
            return
        numbers = [_number(each) for each in arguments]
        if name == "neg":
            yield from self._terms(arguments[0].reference, -weight, outer)
        elif name in {"add", "sub"}:
            sign = (_number(keywords.get("alpha")) or 1.0) * (-1 if name == "sub" else 1)
            for argument, factor in zip(arguments, (1.0, sign), strict=False):
                number = _number(argument)
                if number is None and argument.WhichOneof("value") == "reference":
                    yield from self._terms(argument.reference, weight * factor, outer)
                elif number != 0:
                    raise UnknownLossError(name)
        elif numbers[0] is None and numbers[1]:
            factor = numbers[1] if name == "mul" else 1 / numbers[1]
            yield from self._terms(arguments[0].reference, weight * factor, outer)
        else:
            raise UnknownLossError(name)

    def _distance(self, reference: graph_pb2.Reference, name: str) -> str:
        arguments = self.arguments(reference)
        if name == "abs":
            return "absolute"
        squared = name == "pow" and len(arguments) > 1 and _number(arguments[1]) == 2
        same = name == "mul" and len(arguments) > 1 and arguments[0] == arguments[1]
        return "square" if name == "square" or squared or same else ""

    def _compared(
        self, reference: graph_pb2.Reference, name: str, weight: float, outer: Reduction | None
    ) -> Term:
        node = self.graph.nodes[reference.node]
        values = dict(zip(_TAKEN[name].split(), node.arguments, strict=False))
        values |= {each.name: each.value for each in node.keywords}
        own = int(_number(values.get("reduction"), 1) or 0)
        reduction: Reduction = outer or "mixed"
        if own:
            reduction = "mean" if own == 1 else "sum"
        return self._term(reference, name, weight, reduction, values)

    def _term(
        self,
        reference: graph_pb2.Reference,
        name: str,
        weight: float,
        reduction: Reduction,
        values: Mapping[str, graph_pb2.Argument],
    ) -> Term:
        counted = values["self"].reference
        target = values.get("target")
        by_label = name.startswith(("cross_entropy", "nll_", "multi_"))
        if by_label and target is not None and self._whole(target.reference):
            counted = target.reference
        elements = math.prod(self.type_of(counted)[1])
        return Term(name, reference.node, weight, reduction, values, elements)

    def _whole(self, reference: graph_pb2.Reference) -> bool:
        return self.type_of(reference)[0] in INTEGERS


INTEGERS = frozenset(
    {
        graph_pb2.SCALAR_TYPE_INT64,
        graph_pb2.SCALAR_TYPE_INT32,
        graph_pb2.SCALAR_TYPE_INT16,
        graph_pb2.SCALAR_TYPE_INT8,
        graph_pb2.SCALAR_TYPE_UINT8,
    }
)


def _number(argument: graph_pb2.Argument | None, default: float | None = None) -> float | None:
    match argument.WhichOneof("value") if argument is not None else None:
        case "integer":
            assert argument is not None
            return float(argument.integer)
        case "real":
            assert argument is not None
            return argument.real
        case _:
            return default
