"""The traced model as the rules see it: one graph of canonical operators with positions.

`torch.fx` traces and recorded runs both become a `ModelGraph`. The loss, when
it is known, is part of it: operations that the training code applies to the model's output are
appended as nodes, up to the criterion.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from nnlint.linter.operators.base import Family, Operator
from nnlint.linter.operators.moving import GETITEM

if TYPE_CHECKING:
    import torch

    from nnlint.linter.discover.source import Source
    from nnlint.linter.discover.targets import OutputUse
    from nnlint.linter.findings import Location

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Shape and element type of a value; `batch` lists the dimensions that grow with the batch.

    Attributes:
        shape: Sizes for the batch that was propagated, None where unknown.
        kind: Element kind.
        batch: Dimensions that are exactly the batch, e.g. (0,); None where unknown.
        mixed: Whether some dimension holds the batch multiplied with something else.
    """

    shape: Shape | None = None
    kind: Literal["float", "int", "bool"] | None = None
    batch: tuple[int, ...] | None = None
    mixed: bool = False

    @property
    def rank(self) -> int | None:
        """Number of dimensions, None where unknown."""
        return None if self.shape is None else len(self.shape)


@dataclass(slots=True, eq=False)
class Node:
    """One operation, input or parameter of the model.

    Attributes:
        index: Position in execution order.
        kind: "input", "param" (a parameter or buffer read directly), "op", "output".
        op: Canonical operator; None for inputs, parameters, and operations not in the table.
        target: What the trace calls: a function, method name, module class or parameter path.
        args: Bound arguments by parameter name; a value is a Node, a plain Python value, or a
            tuple, list or dict of these.
        inputs: Nodes among the arguments, in order, without repetition.
        users: Nodes that take this one as an input.
        module: The torch.nn leaf module that is called here, if any.
        path: Qualified path of the module in which (or by which) the operation happens.
        info: Shape of the result, as far as known.
        value: The plain Python value of a node that yields one (a size, an integer), else None.
        location: Where a finding about this node belongs in the user's code.
        call: The place in forward; equals `location` unless the layer sits in a container.
        built: Where the layer was built, if any.
        grad: Whether gradients are recorded here (False under torch.no_grad()).
        custom: Whether it happens inside a torch.autograd.Function, which has its own backward.
        stitched: Whether the node comes from training code outside the model (the loss path).
        training: False for a stitched node that only evaluation code runs.
    """

    index: int
    kind: Literal["input", "param", "op", "output"]
    op: Operator | None = None
    target: Any = None
    name: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Node, ...] = ()
    users: list[Node] = field(default_factory=list)
    module: torch.nn.Module | None = None
    path: str = ""
    info: TensorInfo = TensorInfo()
    value: Any = None
    location: Location | None = None
    call: Location | None = None
    built: Location | None = None
    grad: bool = True
    custom: bool = False
    stitched: bool = False
    training: bool = True
    tensor: torch.Tensor | None = None

    def __repr__(self) -> str:
        label = self.op.name if self.op else (self.name or str(self.target))
        return f"<{self.kind} {self.index} {label}{' ' + self.path if self.path else ''}>"

    @property
    def input(self) -> Node | None:
        """The main (first) input node."""
        return self.inputs[0] if self.inputs else None

    def family(self, *families: Family) -> bool:
        """Tell whether the node's operator is of one of `families`."""
        return self.op is not None and self.op.family in families

    def arg(self, name: str, default: Any = None) -> Any:
        """Return an argument of the call or, failing that, the module's attribute of that name.

        So `node.arg("p")` reads the rate of `nn.Dropout(0.3)` and of `F.dropout(x, 0.3)` alike.
        A node that carries a known Python value (a size) is replaced by that value.
        """
        found = self.args.get(name, _MISSING)
        if found is _MISSING and self.module is not None:
            found = getattr(self.module, name, _MISSING)
        if found is _MISSING:
            return default
        if isinstance(found, Node) and found.value is not None:
            return found.value
        return found

    def parameter(self, name: str) -> torch.Tensor | None:
        """Return the tensor of a parameter argument ("weight", "bias"), however it is passed."""
        found = self.arg(name)
        if isinstance(found, Node):
            found = found.tensor
        if hasattr(found, "materialize"):  # a lazy layer's parameter has no shape yet
            return None
        return found if hasattr(found, "requires_grad") else None


_MISSING: Any = object()


@dataclass(slots=True, eq=False, weakref_slot=True)
class ModelGraph:
    """A model's operations in execution order, with everything that a rule may ask.

    Attributes:
        name: Display name of the model.
        nodes: Execution order; stitched loss nodes come last.
        model: The live module; rules read it and never change or call it.
        capture: How the graph was taken.
        source: The file that defines the model; None for a live module without one.
        location: The line of the class (or factory, or instance).
        loss_known: Whether any loss was found or given for this model.
        loss_given: Whether the user named the loss.
        uses: Where the file's code takes the output: losses, argmax.
        evaluate: Traces the model again in eval mode, on demand; None where that fails.
        created: Modules with parameters that forward itself built: (module, location).
        failure: A shape error that the propagation met, if any.
        assumed: Constructor arguments whose values were assumed, "Net(num_classes)" -> "10". What
            rests on them, such as the sizes of such a model, says nothing of the user's.
        written: Whether code outside of its class may write its parameters once it is built.
    """

    name: str
    nodes: Sequence[Node]
    model: torch.nn.Module
    capture: Literal["fx", "run"]
    location: Location
    source: Source | None = None
    loss_known: bool = False
    loss_given: bool = False
    uses: tuple[OutputUse, ...] = ()
    evaluate: Callable[[], ModelGraph | None] = lambda: None
    created: tuple[tuple[torch.nn.Module, Location | None], ...] = ()
    failure: ShapeFailure | None = None
    built_at: Callable[[torch.nn.Module], Location | None] = lambda _: None
    inputs_given: bool = False
    assumed: Mapping[str, str] = field(default_factory=dict)
    written: bool = False

    @property
    def losses(self) -> list[Node]:
        """Loss nodes that training runs, in forward or stitched."""
        return [n for n in self.nodes if n.family(Family.LOSS) and n.training]

    @property
    def outputs(self) -> tuple[Node, ...]:
        """The nodes that the model returns."""
        return tuple(i for n in self.nodes if n.kind == "output" for i in n.inputs)

    def ops(self, *ops: Operator) -> Iterator[Node]:
        """Yield the nodes of the given operators, in order."""
        return (n for n in self.nodes if n.op is not None and n.op in ops)

    def of_family(self, *families: Family) -> Iterator[Node]:
        """Yield the nodes of the given families, in order."""
        return (n for n in self.nodes if n.family(*families))


@dataclass(frozen=True, slots=True)
class ShapeFailure:
    """A call whose shapes cannot fit.

    Attributes:
        node: The call that fails.
        message: What it got and what it needs.
        certain: Whether it fails for every input size that was tried.
    """

    node: Node
    message: str
    certain: bool
    got: Shape | None = None
    expected: str = ""


# Families that hand values on without changing what they mean.
TRANSPARENT = frozenset({Family.SHAPE, Family.PASS, Family.DROPOUT})


def sources(node: Node, through: frozenset[Family] = TRANSPARENT) -> list[Node]:
    """Walk back from `node` through transparent operators to the nodes that make its values.

    Follows every data input of concatenations and stacks. `node` itself is returned when it is
    not transparent.
    """
    found: list[Node] = []
    seen: set[int] = set()
    stack = [node]
    while stack:
        current = stack.pop()
        if current.index in seen:
            continue
        seen.add(current.index)
        if current.op is not None and current.op.family in through and current.inputs:
            stack.extend(reversed(data_inputs(current)))
        else:
            found.append(current)
    return found


def data_inputs(node: Node) -> tuple[Node, ...]:
    """Return the inputs that carry values (not sizes): nodes without a plain Python value."""
    return tuple(i for i in node.inputs if _carries_values(i))


def takes_one(node: Node) -> bool:
    """Tell whether exactly one input carries values, without a look at all of very many."""
    return len(_first_two(node)) == 1


def takes_several(node: Node) -> bool:
    """Tell whether more than one input carries values."""
    return len(_first_two(node)) == 2


def _first_two(node: Node) -> tuple[Node, ...]:
    return tuple(itertools.islice(filter(_carries_values, node.inputs), 2))


def _carries_values(node: Node) -> bool:
    return node.value is None and node.kind != "param" and not _is_size(node)


def _is_size(node: Node) -> bool:
    """Tell a size whose number is unknown: x.size(0), x.shape, x.shape[0]."""
    if node.family(Family.PYTHON):
        return True
    return node.op is GETITEM and bool(node.inputs) and node.inputs[0].family(Family.PYTHON)


def consumers(node: Node, through: frozenset[Family] = TRANSPARENT) -> list[Node]:
    """Walk forward from `node` through transparent operators to the nodes that use its values."""
    found: list[Node] = []
    seen: set[int] = set()
    stack = list(reversed(node.users))
    while stack:
        current = stack.pop()
        if current.index in seen:
            continue
        seen.add(current.index)
        if current.op is not None and current.op.family in through and current.kind == "op":
            stack.extend(reversed(current.users))
        else:
            found.append(current)
    return found


def in_place(node: Node) -> bool:
    """Tell whether an operation overwrites its first input with its result."""
    if node.kind != "op":
        return False
    if node.args.get("inplace") is True or getattr(node.module, "inplace", False) is True:
        return True
    schema = getattr(node.target, "_schema", None)
    name = schema.name if schema is not None else getattr(node.target, "__name__", node.target)
    if not isinstance(name, str):
        return False
    return name in _ASSIGNING or (name.endswith("_") and not name.endswith("__"))


# What `x += y` and its relatives call.
_ASSIGNING = frozenset({"iadd", "isub", "imul", "itruediv", "ifloordiv", "ipow", "imatmul"})
