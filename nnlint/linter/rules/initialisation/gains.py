"""What a layer's weights were drawn from, and what suits the activation behind it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnlint.linter.findings import Location
from nnlint.linter.graph import Node
from nnlint.linter.operators import activation as a
from nnlint.linter.operators.linear import TRANSPOSED_CONVOLUTIONS
from nnlint.linter.signal.chains import Fade

if TYPE_CHECKING:
    import torch

    from nnlint.linter.operators.base import Operator
    from nnlint.linter.signal.propagate import Signal

_RELUS = frozenset({a.RELU, a.RELU6, a.GELU, a.SILU, a.MISH, a.HARDSWISH, a.SOFTPLUS})
_LEAKY = frozenset({a.LEAKY_RELU, a.PRELU, a.RRELU})
_ELUS = frozenset({a.SELU, a.ELU, a.CELU})
_BOUNDED = frozenset({a.SIGMOID, a.HARDSIGMOID, a.TANH, a.HARDTANH, a.SOFTSIGN})
# Root mean square of an activation's derivative below which it is taken to saturate: that of a
# sigmoid is at most 1/4, that of tanh near its start 1.
FLAT = 1 / 3


# The same of activations whose gradient is not followed on its own, as before a max pool.
_SLOPES: dict[Operator | None, float] = dict.fromkeys(_RELUS, 0.5**0.5)


@dataclass(frozen=True, slots=True)
class Remedy:
    """How weights in front of an activation are drawn best."""

    name: str
    call: str


HE = Remedy("He", "nn.init.kaiming_normal_(weight, nonlinearity='relu')")
HE_LEAKY = Remedy("He", "nn.init.kaiming_normal_(weight, a=slope, nonlinearity='leaky_relu')")
LECUN = Remedy("LeCun", "nn.init.kaiming_normal_(weight, nonlinearity='linear')")
XAVIER_TANH = Remedy(
    "Xavier", "nn.init.xavier_normal_(weight, gain=nn.init.calculate_gain('tanh'))"
)
XAVIER = Remedy("Xavier", "nn.init.xavier_normal_(weight)")


def remedy(activations: Iterable[Node]) -> Remedy:
    """Return what suits most of the activations."""
    counts: dict[Remedy, int] = {}
    for node in activations:
        found = _suited(node.op)
        counts[found] = counts.get(found, 0) + 1
    return max(counts, key=lambda each: counts[each], default=XAVIER)


def _suited(op: Operator | None) -> Remedy:
    if op in _RELUS:
        return HE
    if op in _LEAKY:
        return HE_LEAKY
    if op in _ELUS:
        return LECUN
    if op in {a.TANH, a.HARDTANH, a.SOFTSIGN}:
        return XAVIER_TANH
    return XAVIER


def is_default(layer: Node) -> bool:
    """Tell whether a layer has the weights that PyTorch gives it: uniform up to 1 / sqrt(inputs).

    By what was recorded while the model was built, else by the numbers: the largest lies just below
    that bound, and their spread is that of a uniform distribution.
    """
    from nnlint.linter.load.initialised import last_write

    if (write := last_write(layer.module, "weight")) is not None:
        return write.kind == "default"
    weight = layer.parameter("weight")
    if weight is None or weight.is_meta or weight.numel() < 32 or weight.dim() < 2:
        return False
    fan = weight[0].numel()
    if layer.op in TRANSPOSED_CONVOLUTIONS:
        fan = weight.shape[1] * math.prod(weight.shape[2:])
    bound = 1 / math.sqrt(fan)
    largest = float(weight.detach().abs().max()) / bound
    spread = float(weight.detach().double().std()) / bound * math.sqrt(3)
    near = 1 - 12 / weight.numel()
    return near < largest <= 1 + 1e-5 and abs(spread - 1) < 3 / math.sqrt(weight.numel()) + 0.01


def drawn_by(layers: Iterable[Node]) -> tuple[str, list[Location]]:
    """Return the name of what wrote most of the layers' weights, "" where unknown, and its lines."""
    from nnlint.linter.load.initialised import last_write

    found = [last_write(layer.module, "weight") for layer in layers]
    known = [write for write in found if write is not None and write.kind != "default"]
    if not known:
        return "", []
    name, _ = Counter(write.name for write in known).most_common(1)[0]
    lines = (write.location for write in known if write.name == name)
    return name, list(dict.fromkeys(line for line in lines if line is not None))


def saturating(fade: Fade, signal: Signal) -> list[Node]:
    """Return the activations of a fade that are bounded and flat where their inputs lie."""
    return [
        node
        for node in fade.chain.activations(fade.first, fade.last)
        if node.op in _BOUNDED and _derivative(node, signal) < FLAT
    ]


def _derivative(node: Node, signal: Signal) -> float:
    """Return the root mean square of an activation's derivative, by the gradients around it."""
    source = node.inputs[0]
    after = signal.gradients.get(node)
    before = signal.gradients.get(source)
    if after is None or before is None or after.total <= 0:
        return 0.25 if node.op in {a.SIGMOID, a.HARDSIGMOID} else _SLOPES.get(node.op, 1.0)
    return math.sqrt(max(before.total / after.total, 0.0))


def gains(fade: Fade, signal: Signal) -> tuple[float, float]:
    """Return what the weights do to sizes, forward and backward, over all layers but the last.

    sqrt(inputs E w^2 E f'^2) and sqrt(outputs E w^2 E f'^2), as He's and Xavier's schemes count them:
    one of both is 1 for weights that suit the activation, whatever padding and pooling do.
    """
    forward = backward = 1.0
    for place in range(fade.first, fade.last):
        layer = fade.chain.layers[place]
        weight = layer.parameter("weight")
        if weight is None:
            continue
        square = float(weight.detach().float().square().mean())
        fan_in, fan_out = weight[0].numel(), weight.shape[0] * math.prod(weight.shape[2:])
        slope = math.prod(_derivative(node, signal) ** 2 for node in fade.chain.between[place])
        forward *= math.sqrt(fan_in * square * slope)
        backward *= math.sqrt(fan_out * square * slope)
    return forward, backward


def name_of(layer: Node) -> str:
    """Return what a layer is called in a message."""
    return layer.path or layer.name or str(layer.op.name if layer.op else layer.target)


def times(factor: float) -> str:
    """Write a factor with two digits."""
    if factor >= 1e4:
        return f"{factor:.1e}"
    return f"{factor:.0f}" if factor >= 10 else f"{factor:.1f}"


def weight_gradients(fade: Fade, signal: Signal) -> dict[str, float]:
    """Return the predicted gradients of the weights of a fade."""
    found: dict[str, float] = {}
    for layer in fade.layers[:32]:
        weight: torch.Tensor | None = layer.parameter("weight")
        rms = None if weight is None else signal.gradient_rms(weight)
        if rms is not None and math.isfinite(rms):
            found[name_of(layer)] = rms
    return found


def words(layers: Iterable[Node]) -> str:
    """Name layers, the middle ones left out where there are many."""
    names = [f"`{name_of(layer)}`" for layer in layers]
    if len(names) > 4:
        return f"{names[0]}, {names[1]} ... {names[-1]}"
    return ", ".join(names)
