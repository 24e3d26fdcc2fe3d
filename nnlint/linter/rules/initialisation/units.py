"""Which units of a layer start equal, and where their values go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nnlint.linter.graph import Node, takes_one
from nnlint.linter.operators import activation, linear
from nnlint.linter.operators.base import Family

if TYPE_CHECKING:
    import torch

# Each unit's value goes through these by itself, the same way for every unit.
_ALIKE = frozenset(
    {
        Family.ACTIVATION,
        Family.NORM,
        Family.POOL,
        Family.SHAPE,
        Family.DROPOUT,
        Family.PASS,
        Family.ELEMENTWISE,
        Family.REDUCTION,
    }
)
# A value of 0 stays 0 on the way through these.
_KEEPS_ZERO = frozenset({Family.SHAPE, Family.DROPOUT, Family.PASS, Family.POOL})
# Their gradient at 0 is 0 in PyTorch.
_FLAT_AT_ZERO = frozenset({activation.RELU, activation.RELU6})
_GATES = {linear.LSTM: 4, linear.GRU: 3, linear.RNN: 1}


@dataclass(frozen=True, slots=True)
class Units:
    """The weights of a layer, seen as units.

    Attributes:
        weights: Trained tensors, the units along dimension 0, without gates.
        count: Number of units.
    """

    weights: tuple[torch.Tensor, ...]
    count: int

    @property
    def equal(self) -> bool:
        """Whether all units have the same weights."""
        return all(_equal(weight) for weight in self.weights)

    @property
    def zero(self) -> bool:
        """Whether every weight is 0."""
        return not any(bool(weight.any()) for weight in self.weights)

    @property
    def value(self) -> float | None:
        """The value that all weights share, None where they differ."""
        first = float(self.weights[0].detach().flatten()[0])
        return first if all(bool((w == first).all()) for w in self.weights) else None


def units(node: Node) -> Units | None:
    """Return the trained units of a layer, None where it has none or only one.

    Depthwise convolutions are left out: each unit sees a channel of its own.
    """
    if node.op in _GATES and node.module is not None:
        tensors = list(_recurrent_weights(node))
        if tensors and all(map(_trained, tensors)):
            gates = _GATES[node.op]
            split = (t.reshape(gates, -1, t.shape[1]).transpose(0, 1) for t in tensors)
            return _units(*split)
        return None
    weight = _weight(node)
    if weight is None or not _trained(weight) or weight.dim() < 2 or _depthwise(node, weight):
        return None
    return _units(weight if _unit_dim(node) == 0 else weight.transpose(0, 1))


def weighs_alike(node: Node) -> bool | None:
    """Tell whether a layer gives all of its inputs the same weights; None where unknown."""
    if node.op in _GATES and node.module is not None:
        weight = getattr(node.module, "weight_ih_l0", None)
        return None if weight is None or not _readable(weight) else _equal(weight.transpose(0, 1))
    weight = _weight(node)
    if weight is None or not _readable(weight) or weight.dim() < 2:
        return None
    inputs_first = _unit_dim(node) == 1 or _depthwise(node, weight)
    return _equal(weight if inputs_first else weight.transpose(0, 1))


@dataclass(slots=True)
class Ends:
    """Where the values of a layer end.

    Attributes:
        layers: The next layers.
        joins: Operations that mix them with other values: residual adds, gates, products.
        open: Whether some leave the model, meet the loss, or go where they cannot be followed.
    """

    layers: list[Node] = field(default_factory=list)
    joins: list[Node] = field(default_factory=list)
    open: bool = False


def ends(node: Node) -> Ends:
    """Follow the values of a layer to the next layers, joins and exits."""
    found = Ends()
    for user in _beyond(node):
        if user.family(Family.STOP, Family.PYTHON, Family.COMPARE):
            continue
        if user.kind == "output" or user.op is None or user.family(Family.LOSS):
            found.open = True
        elif user.family(Family.RECURRENT):
            found.layers.append(user)
        elif not takes_one(user):
            found.joins.append(user)
        elif user.family(Family.LINEAR, Family.ATTENTION):
            found.layers.append(user)
        else:
            found.open = True
    return found


def dies(node: Node) -> bool:
    """Tell whether a layer that yields exactly 0 goes into nothing but ReLUs, directly."""
    bias = node.parameter("bias")
    if bias is not None and (not _readable(bias) or bool(bias.any())):
        return False
    reached = list(_beyond(node, keep=_keeps_zero))
    return bool(reached) and all(user.op in _FLAT_AT_ZERO for user in reached)


def _beyond(node: Node, keep: object = None) -> Iterator[Node]:
    """Yield the first nodes behind `node` that do more than hand each value on."""
    passes = keep if callable(keep) else _handed_on
    seen: set[Node] = set()
    stack = list(reversed(node.users))
    while stack:
        user = stack.pop()
        if user in seen or user.family(Family.PYTHON):
            continue
        seen.add(user)
        if passes(user):
            stack.extend(reversed(user.users))
        else:
            yield user


def _handed_on(node: Node) -> bool:
    return node.family(*_ALIKE) and takes_one(node)


def _keeps_zero(node: Node) -> bool:
    if not takes_one(node):
        return False
    if node.family(Family.NORM):
        bias = node.parameter("bias")
        return bias is None or (_readable(bias) and not bool(bias.any()))
    return node.family(*_KEEPS_ZERO)


def _units(*weights: torch.Tensor) -> Units | None:
    count = weights[0].shape[0]
    return Units(weights, count) if count > 1 and all(w.numel() for w in weights) else None


def _weight(node: Node) -> torch.Tensor | None:
    """Return the weight of a layer, or the parameter that a matrix product multiplies with."""
    if node.op in linear.WEIGHTED or node.op is linear.EMBEDDING:
        return node.parameter("weight")
    if node.op is linear.MATMUL:
        other = node.args.get("other")
        if isinstance(other, Node) and other.kind == "param":
            return other.tensor if other.tensor is not None and other.tensor.dim() == 2 else None
    return None


def _unit_dim(node: Node) -> int:
    """Return the dimension that the units run along; the inputs run along the other one."""
    return 0 if node.op in linear.CONVOLUTIONS or node.op is linear.LINEAR else 1


def _depthwise(node: Node, weight: torch.Tensor) -> bool:
    groups = node.arg("groups", 1)
    return isinstance(groups, int) and groups > 1 and weight.shape[1] == 1


def _recurrent_weights(node: Node) -> Iterator[torch.Tensor]:
    for name, weight in node.module.named_parameters() if node.module is not None else ():
        if name.startswith("weight_") and not name.startswith("weight_hr"):
            yield weight


def _readable(weight: torch.Tensor) -> bool:
    """Tell whether a tensor has values: neither lazy nor on the meta device."""
    return not hasattr(weight, "materialize") and not weight.is_meta


def _trained(weight: torch.Tensor) -> bool:
    return _readable(weight) and weight.requires_grad


def _equal(weight: torch.Tensor) -> bool:
    """Compare each slice of dimension 0 with the first; two of them settle it nearly always."""
    first = weight[0]
    if weight.shape[0] < 2 or not first.equal(weight[1]):
        return False
    return bool((weight == first).all())
