"""Chains of layers that a gradient has to pass one after the other, with nothing to reset its size.

Where a norm lies between two layers, or a way around them, sizes tell little: these end a chain.
"""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnlint.linter.graph import ModelGraph, Node, takes_one
from nnlint.linter.operators.base import Family
from nnlint.linter.operators.linear import WEIGHTED

if TYPE_CHECKING:
    from nnlint.linter.signal.propagate import Signal

_HANDED_ON = (
    Family.ACTIVATION,
    Family.POOL,
    Family.SHAPE,
    Family.DROPOUT,
    Family.PASS,
    Family.ELEMENTWISE,
)


@dataclass(frozen=True, slots=True)
class Chain:
    """Layers in a row.

    Attributes:
        layers: Linear layers and convolutions, in order.
        between: For each layer but the last, the activations that follow it.
    """

    layers: tuple[Node, ...]
    between: tuple[tuple[Node, ...], ...]

    def activations(self, first: int, last: int) -> list[Node]:
        """Return the activations behind layer `first` and before layer `last`."""
        return [node for nodes in self.between[first:last] for node in nodes]


@dataclass(frozen=True, slots=True)
class Fade:
    """How a gradient changes on its way back along a chain.

    Attributes:
        chain: The layers.
        first: Place of the layer that it arrives at.
        last: Place of the layer that it is compared with.
        ratio: Norm of the gradient at the first layer's output over that at the last one's.
        steady: The same without the single largest change.
    """

    chain: Chain
    first: int
    last: int
    ratio: float
    steady: float

    @property
    def span(self) -> int:
        """How many layers lie between, the last one counted."""
        return self.last - self.first

    @property
    def gain(self) -> float:
        """Change for each layer."""
        return float(self.ratio ** (1 / max(self.span, 1)))

    @property
    def layers(self) -> tuple[Node, ...]:
        """The layers that the gradient fades or grows at."""
        return self.chain.layers[self.first : self.last + 1]


def chains(graph: ModelGraph, least: int = 2) -> list[Chain]:
    """Return the chains of a graph with at least so many layers.

    Layers that get trained weights after they are built are left out: how they start is not known.
    """
    loaded = _loaded(graph)
    following: dict[Node, tuple[Node, tuple[Node, ...]]] = {}
    reached: set[Node] = set()
    for node in graph.nodes:
        if node.op in WEIGHTED and node.grad and not node.stitched:
            if any(f"{node.path}.".startswith(prefix) for prefix in loaded):
                continue
            found = _next(node)
            if found is not None and found[0] not in reached:
                following[node] = found
                reached.add(found[0])
    result = []
    for start in following:
        if start in reached:
            continue
        layers, between = [start], []
        seen = {id(start.module)} if start.module is not None else set()
        while layers[-1] in following:
            layer, passed = following[layers[-1]]
            if layer.module is not None and id(layer.module) in seen:
                break  # a layer that is used again and again: steps of a recurrence
            seen.add(id(layer.module))
            layers.append(layer)
            between.append(passed)
        if len(layers) >= least:
            result.append(Chain(tuple(layers), tuple(between)))
    return result


def _loaded(graph: ModelGraph) -> list[str]:
    """Return the beginnings of the paths of modules that trained weights are meant for."""
    from nnlint.linter.load.weights import LOADED

    paths = (path for path, module in graph.model.named_modules() if LOADED in module.__dict__)
    return [f"{path}." if path else "" for path in paths]


def _next(node: Node) -> tuple[Node, tuple[Node, ...]] | None:
    """Return the one layer that a layer's values go to, and the activations on the way."""
    passed: list[Node] = []
    while True:
        users = [u for u in node.users if u.kind != "output" and not u.family(Family.PYTHON)]
        if len(users) != 1:
            return None
        user = users[0]
        if user.op in WEIGHTED:
            return (user, tuple(passed)) if user.grad and not user.stitched else None
        if not user.family(*_HANDED_ON) or not takes_one(user):
            return None
        if user.family(Family.ACTIVATION):
            passed.append(user)
        node = user


def arriving(signal: Signal, layer: Node) -> float | None:
    """Return the norm of the gradient of a layer's output, None where it is not known."""
    g = signal.gradients.get(layer)
    if g is None or layer in signal.unsure or math.isnan(g.total):
        return None
    return math.sqrt(g.total * math.prod(g.shape)) if math.isfinite(g.total) else math.inf


def fades(chain: Chain, signal: Signal) -> Iterator[Fade]:
    """Yield how the gradient changes towards the first layer: the largest loss, the largest gain."""
    norms = [arriving(signal, layer) for layer in chain.layers]
    known = [i for i, norm in enumerate(norms) if norm is not None and norm > 0]
    if len(known) < 2:
        return
    sizes = {i: float(norms[i] or 0.0) for i in known}
    top = max(known, key=lambda i: sizes[i])
    before = [i for i in known if i < top]
    if before:
        low = min(before, key=lambda i: sizes[i])
        yield _fade(chain, sizes, low, top)
    first = min(known)
    if top == first or sizes[first] > sizes[known[-1]]:
        yield _fade(chain, sizes, first, known[-1])


def _fade(chain: Chain, sizes: dict[int, float], first: int, last: int) -> Fade:
    inside = [i for i in sizes if first <= i <= last]
    ratio = sizes[first] / sizes[last]
    steps = [sizes[a] / sizes[b] for a, b in itertools.pairwise(inside)]
    largest = min(steps) if ratio < 1 else max(steps)
    return Fade(chain, first, last, ratio, ratio / largest if largest else 0.0)


_CACHE: weakref.WeakKeyDictionary[ModelGraph, Signal] = weakref.WeakKeyDictionary()


def signal_of(graph: ModelGraph) -> Signal:
    """Return the prediction for a graph, made once."""
    from nnlint.linter.signal.propagate import predict

    found = _CACHE.get(graph)
    if found is None:
        found = _CACHE[graph] = predict(graph)
    return found
