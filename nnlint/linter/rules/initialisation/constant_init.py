"""The rule constant-init (NNL202)."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Related, Severity
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.operators import linear
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.initialisation.units import Ends, Units, dies, ends, units, weighs_alike


class ConstantInit(Rule):
    """All units of a layer start with the same weights.

    ## What it does
    Finds layers whose weight matrix or kernel is the same for every output unit: filled with one
    value, with ones, with zeros.

    ## Why is this bad?
    Equal units compute equal values. Where the next layer weighs them alike, they get equal
    gradients too and stay equal: a layer of 128 units is then worth one. Where the next layer
    tells them apart, they still start as one feature. And a layer of zeros in front of a ReLU
    has a gradient of exactly zero: it never learns.

    ## Example
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(20, 128)
            self.head = nn.Linear(128, 5)
            nn.init.constant_(self.hidden.weight, 0.1)
            nn.init.constant_(self.head.weight, 0.1)

        def forward(self, x):
            return self.head(self.hidden(x).relu())
    ```

    ## Use instead
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(20, 128)
            self.head = nn.Linear(128, 5)
            nn.init.kaiming_normal_(self.hidden.weight, nonlinearity="relu")
            nn.init.zeros_(self.head.weight)

        def forward(self, x):
            return self.head(self.hidden(x).relu())
    ```

    ## How it is decided
    By the values of the weights that the model was built with, and by what follows. Two equal
    units stay equal exactly if the weights into them and the weights out of them are equal. So it
    is an error where every next layer gives all units the same weights, and where weights and
    bias are zero and a ReLU follows. It is a warning where the next layer tells the units apart
    and only the start is lost.

    Silent are: the last layer (labels tell its units apart), zeros that end in a residual add, a
    gate or a product (zero-initialised branches, adapters, modulation), layers of one unit,
    depthwise convolutions, frozen weights, embeddings unless the next layer weighs them alike,
    and everything that is no weight: biases, scales, norms, positions, tokens.

    ## Known limits
    Biases that differ from unit to unit break the symmetry a little; this is not counted. The
    projections inside `nn.MultiheadAttention` and transformer layers are not looked at.

    ## References
    - Goodfellow et al., Deep Learning, section 8.4, https://www.deeplearningbook.org
    - Zhang et al., Fixup Initialization, https://arxiv.org/abs/1901.09321
    """

    name = "constant-init"
    code = "NNL202"
    severity = Severity.ERROR
    category = Category.INITIALISATION
    probe = "no-gradient"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield a finding for each layer whose units start equal, to their harm."""
        for node in graph.nodes:
            if node.stitched or not node.grad:
                continue
            found = units(node)
            if found is None or not found.equal:
                continue
            if found.zero and dies(node):
                text = "and so are its biases: behind a ReLU its gradient is 0 for ever"
                yield self._found(graph, node, found, f"{_start(node, found)}, {text}", None)
                continue
            way = ends(node)
            if (severity := _judged(node, found, way)) is None:
                continue
            if severity is Severity.ERROR:
                text = "and the next layer weighs them alike: they work as one"
            elif found.zero:
                text = "so nothing before the layer gets a gradient in the first step"
            else:
                text = "so the layer starts as a single feature"
            yield self._found(graph, node, found, f"{_start(node, found)}, {text}", severity)

    def _found(
        self, graph: ModelGraph, node: Node, found: Units, text: str, severity: Severity | None
    ) -> Finding:
        place = node.location if node.built is not None and node.built != node.location else None
        return self.finding(
            graph,
            node.built or node.location,
            text,
            help="draw the weights at random, e.g. nn.init.kaiming_normal_(layer.weight)",
            severity=severity,
            related=[Related(place, "it is called here", "call")] if place else [],
            evidence={"units": found.count, "value": found.value},
            modules=[node.path] if node.path else [],
        )


def _judged(node: Node, found: Units, way: Ends) -> Severity | None:
    """Weigh where equal units go; None where they do no harm."""
    if way.open or (way.joins and found.zero) or not (way.layers or way.joins):
        return None
    if not way.joins and all(weighs_alike(layer) for layer in way.layers):
        return Severity.ERROR
    return None if node.op is linear.EMBEDDING else Severity.WARNING


def _start(node: Node, found: Units) -> str:
    kind = "filters" if node.op in linear.CONVOLUTIONS | linear.TRANSPOSED_CONVOLUTIONS else "units"
    value = found.value
    if value == 0:
        return f"all weights of the {found.count} {kind} are 0"
    return f"all {found.count} {kind} start equal" + (
        f" (every weight is {value:g})" if value is not None else ""
    )
