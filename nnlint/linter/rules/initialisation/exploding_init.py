"""The rule exploding-init (NNL204)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnlint.linter.findings import Finding, Related, Severity
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.initialisation.gains import (
    drawn_by,
    name_of,
    remedy,
    times,
    words,
)
from nnlint.linter.signal.chains import Chain, Fade, chains, fades, signal_of

if TYPE_CHECKING:
    from nnlint.linter.signal.propagate import Signal

# Growth along a chain that no training recovers from: steps of the first layer are this much
# larger than those of the last one.
GROWTH = 1e4
# Product of the layers' gains below which nothing can grow so much, so no prediction is needed.
HARMLESS = 1e2


class ExplodingInit(Rule):
    """Initial weights blow up activations or gradients, up to overflow.

    ## What it does
    Predicts activations and gradients along layers that follow one another, and speaks where they
    overflow or grow beyond 10000 times.

    ## Why is this bad?
    The loss starts at a huge value or at NaN, and the first step throws the weights anywhere.
    Clipping gradients keeps numbers finite, but their direction is that of the largest layer.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(64, 128)
            self.second = nn.Linear(128, 128)
            self.out = nn.Linear(128, 10)
            for layer in (self.first, self.second, self.out):
                nn.init.normal_(layer.weight, std=10.0)

        def forward(self, x):
            x = torch.relu(self.first(x))
            return self.out(torch.relu(self.second(x)))
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(64, 128)
            self.second = nn.Linear(128, 128)
            self.out = nn.Linear(128, 10)
            for layer in (self.first, self.second, self.out):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

        def forward(self, x):
            x = torch.relu(self.first(x))
            return self.out(torch.relu(self.second(x)))
    ```

    ## How it is decided
    The prediction of docs/signal.md gives the root mean square of each layer's output and the norm
    of its gradient, for standard normal inputs. Along layers without norm or residual connection
    between them, the rule speaks where the output of a layer is more than 10000 times what went
    into the chain, where the gradient at the first layer is more than 10000 times that at the last
    one, and where either overflows. Outputs that a norm brings back to size do not count.
    `nnlint probe` measures it: exploding-gradient, non-finite.

    ## Known limits
    Inputs that are far smaller than one are taken as one.

    ## References
    - Glorot, Bengio: Understanding the difficulty of training deep feedforward neural networks,
      2010, https://proceedings.mlr.press/v9/glorot10a.html
    """

    name = "exploding-init"
    code = "NNL204"
    severity = Severity.ERROR
    category = Category.INITIALISATION
    probe = "exploding-gradient"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield one finding for the model, at the first layer of the chain that explodes most."""
        rows = [chain for chain in chains(graph) if _gain(chain) > HARMLESS]
        if not rows:
            return
        signal = signal_of(graph)
        found = [growth for chain in rows if (growth := _growth(chain, signal)) is not None]
        if found:
            yield self._found(graph, max(found, key=lambda growth: growth.size))
        elif not any(signal.value(chain.layers[-1]) for chain in rows):
            reason = next(iter(signal.unfollowed.values()), signal.reason)
            yield NotChecked(f"activations could not be followed: {reason}")

    def _found(self, graph: ModelGraph, growth: Growth) -> Finding:
        first, last = growth.layers[0], growth.layers[-1]
        fit = remedy(node for nodes in growth.chain.between for node in nodes)
        _, lines = drawn_by(growth.layers)
        weight = last.parameter("weight")
        spread = float(weight.detach().abs().mean()) if weight is not None else 0.0
        factor = "and overflow" if math.isinf(growth.size) else f"{times(growth.size)} times"
        what, way = (
            ("activations", f"from `{name_of(first)}` to `{name_of(last)}`")
            if growth.forward
            else ("gradients", f"from `{name_of(last)}` back to `{name_of(first)}`")
        )
        return self.finding(
            graph,
            first.built or first,
            f"{what} grow {factor} {way}: weights of {words(growth.layers)} are {spread:.3g} on "
            "average",
            help=f"initialise them after {fit.name}: {fit.call}",
            related=[Related(line, "their weights are drawn here") for line in lines[:4]],
            evidence={
                "growth": growth.size if math.isfinite(growth.size) else "overflow",
                "direction": "forward" if growth.forward else "backward",
                "layers": len(growth.layers),
            },
            modules=[layer.path for layer in growth.layers if layer.path],
        )


@dataclass(frozen=True, slots=True)
class Growth:
    """How much something grows along a chain."""

    chain: Chain
    layers: tuple[Node, ...]
    size: float
    forward: bool


def _gain(chain: Chain) -> float:
    """Return the product of what layers can make sizes grow by, without activations."""
    result = 1.0
    for layer in chain.layers:
        weight = layer.parameter("weight")
        if weight is None or weight.is_meta:
            return math.inf
        size = float(weight.detach().norm())
        result *= max(size / math.sqrt(max(min(weight.shape[0], weight.shape[1]), 1)), 1.0)
    return result if math.isfinite(result) else math.inf


def _growth(chain: Chain, signal: Signal) -> Growth | None:
    sizes = [_size(layer, signal) for layer in chain.layers]
    first = chain.layers[0].input
    source = None if first is None else signal.value(first)
    start = source.rms if source is not None else 1.0
    start = max(start, 1.0) if math.isfinite(start) else 1.0
    best: Growth | None = None
    known = [(i, size) for i, size in enumerate(sizes) if size is not None]
    if known:
        place, size = max(known, key=lambda pair: pair[1])
        if size > GROWTH * start:
            best = Growth(chain, chain.layers[: place + 1], size / start, forward=True)
    for fade in fades(chain, signal):
        if fade.ratio > GROWTH and (best is None or _more(fade, best)):
            best = Growth(chain, fade.layers, fade.ratio, forward=False)
    return best


def _more(fade: Fade, best: Growth) -> bool:
    return fade.ratio > best.size


def _size(layer: Node, signal: Signal) -> float | None:
    value = signal.value(layer)
    if value is None:
        return None
    rms = value.rms
    if math.isnan(rms):
        return None
    return rms if math.isfinite(rms) and rms < 1e19 else math.inf
